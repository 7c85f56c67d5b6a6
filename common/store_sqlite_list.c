/* SPDX-License-Identifier: MIT */
/*
 * Listings, reports, and what `spendgate verify` reads.
 */
#include "common/store_sqlite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

enum status
sqlite_account_names(struct store_backend *backend, const char *after, size_t limit,
                     bool (*visit)(void *context, const char *name), void *context,
                     struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    bool row;
    enum status status = sqlite_prepared(s, SQL_ACCOUNT_NAMES, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite_bind_text(stmt, 1, after);
    sqlite3_bind_int64(stmt, 2, (int64_t)limit);
    while ((status = sqlite_next(s, stmt, &row, "list accounts", err)) == STATUS_OK && row) {
        if (!visit(context, (const char *)sqlite3_column_text(stmt, 0))) {
            sqlite3_reset(stmt);
            return STATUS_OK;
        }
    }
    return status;
}

#define LISTING_LOOK 10000 /* SQLite's own steps between two looks at the clock: some 0.2 ms */

static int
time_is_over(void *context)
{
    const struct sqlite_store *s = context;

    return sqlite_monotonic_us() > s->listing_end_us;
}

/* A statement of a listing: its text depends on the filter, so it is prepared each time. From here
 * on it has the store's listing_ms, until finish(). */
static enum status
prepare_once(struct sqlite_store *s, const struct buf *sql, sqlite3_stmt **out, struct error *err)
{
    int rc;

    *out = NULL;
    if (buf_failed(sql))
        return error_set(err, STATUS_INTERNAL, "store %s: a query is too long", s->path);
    rc = sqlite3_prepare_v2(s->db, sql->data, -1, out, NULL);
    if (rc == SQLITE_OK && s->listing_ms != 0) {
        s->listing_end_us = sqlite_monotonic_us() + (int64_t)s->listing_ms * 1000;
        sqlite3_progress_handler(s->db, LISTING_LOOK, time_is_over, s);
    }
    return rc == SQLITE_OK ? STATUS_OK : sqlite_failed(s, rc, "prepare a listing", err);
}

static void
finish(struct sqlite_store *s, sqlite3_stmt *stmt)
{
    sqlite3_finalize(stmt);
    sqlite3_progress_handler(s->db, 0, NULL, NULL);
}

/* Charges that count on the account named in the bound parameter `number`. */
static void
add_account_filter(struct buf *sql, const char *chain_column, const char *parameter,
                   const char *prefix, int roles)
{
    buf_add_format(sql,
                   " AND %s IN (SELECT m.chain_id FROM chain_account m JOIN account a ON "
                   "a.id = m.account_id WHERE a.name = %s%s",
                   chain_column, prefix, parameter);
    if (roles != 0)
        buf_add_format(sql, " AND m.roles & %d", roles);
    buf_add(sql, ")");
}

static enum status
visit_charges(struct sqlite_store *s, sqlite3_stmt *stmt,
              bool (*visit)(void *context, const struct charge *charge), void *context,
              struct error *err)
{
    struct charge_row row;
    bool more;
    enum status status;

    while ((status = sqlite_next(s, stmt, &more, "list charges", err)) == STATUS_OK && more) {
        if (!sqlite_read_charge(stmt, &row))
            return sqlite_too_long(s, stmt, err);
        if (!visit(context, &row.charge))
            break;
    }
    return status;
}

enum status
sqlite_charges(struct store_backend *backend, const struct charge_filter *filter,
               bool (*visit)(void *context, const struct charge *charge), void *context,
               struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    char text[2048];
    struct buf sql;
    sqlite3_stmt *stmt = NULL;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "SELECT " CHARGE_COLUMNS " " CHARGE_FROM
                  "WHERE c.id < ?1 AND c.created_us >= ?2 AND c.created_us < ?3");
    if (filter->account != NULL)
        add_account_filter(&sql, "c.chain_id", "?4", "", 0);
    if (filter->key_id != NULL)
        add_account_filter(&sql, "c.chain_id", "?5", "'key:' || ", CHAIN_KEY);
    if (filter->route != NULL)
        buf_add(&sql, " AND c.route = ?6");
    if (filter->model != NULL)
        buf_add(&sql, " AND c.model = ?7");
    buf_add(&sql, " ORDER BY c.id DESC LIMIT ?8");
    status = prepare_once(s, &sql, &stmt, err);
    if (status == STATUS_OK) {
        sqlite3_bind_int64(stmt, 1, filter->before_id);
        sqlite3_bind_int64(stmt, 2, filter->from_us);
        sqlite3_bind_int64(stmt, 3, filter->to_us);
        sqlite_bind_optional(stmt, 4, filter->account);
        sqlite_bind_optional(stmt, 5, filter->key_id);
        sqlite_bind_optional(stmt, 6, filter->route);
        sqlite_bind_optional(stmt, 7, filter->model);
        sqlite3_bind_int64(stmt, 8, (int64_t)filter->limit);
        status = visit_charges(s, stmt, visit, context, err);
    }
    finish(s, stmt);
    return status;
}

enum status
sqlite_report(struct store_backend *backend, enum report_by by, int64_t from_us, int64_t to_us,
              bool (*visit)(void *context, const struct report_row *row), void *context,
              struct error *err)
{
    static const char *const names[] = {
        [REPORT_ACCOUNT] = "(SELECT a.name FROM chain n JOIN account a ON a.id = n.payer_id "
                           "WHERE n.id = c.chain_id)",
        [REPORT_KEY] = "coalesce((SELECT substr(a.name, 5) FROM chain_account m JOIN account a "
                       "ON a.id = m.account_id WHERE m.chain_id = c.chain_id AND m.position = 0 "
                       "AND m.roles & 1), '')",
        [REPORT_ROUTE] = "coalesce(c.route, '')",
        [REPORT_MODEL] = "coalesce(c.model, '')",
        [REPORT_DAY] = "date(c.created_us / 1000000, 'unixepoch')",
    };
    struct sqlite_store *s = sqlite_of(backend);
    struct report_row row;
    char text[1024];
    struct buf sql;
    sqlite3_stmt *stmt = NULL;
    bool more;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add_format(
        &sql,
        "SELECT %s AS name, sum(CASE c.kind WHEN 1 THEN -c.amount_nanos ELSE c.amount_nanos "
        "END) AS spent, sum(c.kind = 0) FROM charge c WHERE c.created_us >= ?1 "
        "AND c.created_us < ?2 GROUP BY 1 ORDER BY %s",
        names[by], by == REPORT_DAY ? "1" : "2 DESC, 1");
    status = prepare_once(s, &sql, &stmt, err);
    if (status == STATUS_OK) {
        sqlite3_bind_int64(stmt, 1, from_us);
        sqlite3_bind_int64(stmt, 2, to_us);
    }
    while (status == STATUS_OK &&
           (status = sqlite_next(s, stmt, &more, "report", err)) == STATUS_OK && more) {
        if (!sqlite_text(stmt, 0, row.name, sizeof(row.name))) {
            status = sqlite_too_long(s, stmt, err);
            break;
        }
        row.spent_nanos = sqlite3_column_int64(stmt, 1);
        row.charge_count = sqlite3_column_int64(stmt, 2);
        if (!visit(context, &row))
            break;
    }
    finish(s, stmt);
    return status;
}

enum status
sqlite_holds(struct store_backend *backend, const char *account, enum hold_state state,
             size_t limit,
             bool (*visit)(void *context, const struct hold *hold, const char *account),
             void *context, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    char text[1024], payer[ACCOUNT_NAME_SIZE];
    struct hold hold;
    struct buf sql;
    sqlite3_stmt *stmt = NULL;
    bool more;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql,
            "SELECT " HOLD_COLUMNS ", c.amount_nanos, (SELECT a.name FROM chain n JOIN account a "
            "ON a.id = n.payer_id WHERE n.id = h.chain_id) FROM hold h "
            "LEFT JOIN charge c ON c.id = h.charge_id WHERE ");
    buf_add(&sql, state == HOLD_HELD ? "h.state = 0" : "h.state = ?1");
    if (account != NULL)
        add_account_filter(&sql, "h.chain_id", "?2", "", 0);
    buf_add(&sql, " ORDER BY h.id DESC LIMIT ?3");
    status = prepare_once(s, &sql, &stmt, err);
    if (status == STATUS_OK) {
        sqlite3_bind_int(stmt, 1, (int)state);
        sqlite_bind_optional(stmt, 2, account);
        sqlite3_bind_int64(stmt, 3, (int64_t)limit);
    }
    while (status == STATUS_OK &&
           (status = sqlite_next(s, stmt, &more, "list holds", err)) == STATUS_OK && more) {
        if (!sqlite_read_hold(stmt, 0, &hold) ||
            !sqlite_text(stmt, HOLD_WIDTH + 1, payer, sizeof(payer))) {
            status = sqlite_too_long(s, stmt, err);
            break;
        }
        hold.charged_nanos = sqlite3_column_int64(stmt, HOLD_WIDTH);
        if (!visit(context, &hold, payer))
            break;
    }
    finish(s, stmt);
    return status;
}

/* Before that its charge may have been pruned already. */
#define PLACED_SINCE_PRUNE \
    "h.placed_us >= (SELECT value FROM counter WHERE name = 'pruned_until_us')"

static const char *const scan_sql[] = {
    [SCAN_ACCOUNTS] = "SELECT " ACCOUNT_COLUMNS " FROM account a ORDER BY a.id",
    [SCAN_LINES] = "SELECT " LINE_COLUMNS ", b.account_id FROM budget b ORDER BY b.id",
    [SCAN_PERIODS] =
        "SELECT budget_id, start_us, end_us, spent_nanos, held_nanos FROM budget_period "
        "ORDER BY budget_id, start_us",
    [SCAN_CHAINS] = "SELECT m.chain_id, m.account_id, n.payer_id FROM chain_account m JOIN chain n "
                    "ON n.id = m.chain_id ORDER BY m.chain_id, m.position",
    [SCAN_CHARGES] =
        "SELECT id, kind, chain_id, amount_nanos, at_us, created_us, hold_id, refund_of "
        "FROM charge ORDER BY id",
    [SCAN_HOLDS] = "SELECT " HOLD_COLUMNS ", c.amount_nanos FROM hold h "
                   "LEFT JOIN charge c ON c.id = h.charge_id ORDER BY h.id",
    [SCAN_CREDITS] = "SELECT 0 FROM credit",
    [SCAN_PRICED] = "SELECT c.id, c.amount_nanos, c.price_id, c.usage, p.rates FROM charge c "
                    "LEFT JOIN price p ON p.id = c.price_id WHERE c.price_id <> 0 ORDER BY c.id",
    [SCAN_CONTRADICTIONS] =
        "SELECT 'I7', 'chain ' || n.id || ': its payer ' || n.payer_id || ' is not one of its "
        "accounts' "
        "FROM chain n WHERE NOT EXISTS (SELECT 1 FROM chain_account m WHERE m.chain_id = n.id "
        "AND m.account_id = n.payer_id) "
        "UNION ALL SELECT 'I7', 'chain ' || m.chain_id || ': account ' || m.account_id || ' is "
        "missing' "
        "FROM chain_account m WHERE NOT EXISTS (SELECT 1 FROM account a WHERE a.id = m.account_id) "
        "UNION ALL SELECT 'I7', 'account ' || a.id || ': its parent is missing' FROM account a "
        "WHERE a.parent_id <> 0 AND NOT EXISTS (SELECT 1 FROM account p WHERE p.id = a.parent_id) "
        "UNION ALL SELECT 'I7', 'budget ' || b.id || ': its account is missing' FROM budget b "
        "WHERE NOT EXISTS (SELECT 1 FROM account a WHERE a.id = b.account_id) "
        "UNION ALL SELECT 'I7', 'clerk_note ' || n.account_id || ': its account is missing' "
        "FROM clerk_note n WHERE NOT EXISTS (SELECT 1 FROM account a WHERE a.id = n.account_id) "
        "UNION ALL SELECT 'I7', 'period ' || p.start_us || ' of budget ' || p.budget_id || "
        "': the budget is missing' FROM budget_period p WHERE NOT EXISTS (SELECT 1 FROM budget b "
        "WHERE b.id = p.budget_id) "
        "UNION ALL SELECT 'I7', 'credit ' || c.id || ': its budget is missing' FROM credit c "
        "WHERE NOT EXISTS (SELECT 1 FROM budget b WHERE b.id = c.budget_id) "
        "UNION ALL SELECT 'I7', 'budget ' || b.id || ': credits stored ' || b.credits_nanos || "
        "' nanos, in the journal ' || coalesce(sum(c.amount_nanos), 0) FROM budget b "
        "LEFT JOIN credit c ON c.budget_id = b.id GROUP BY b.id "
        "HAVING b.credits_nanos <> coalesce(sum(c.amount_nanos), 0) "
        "UNION ALL SELECT 'I7', 'charge ' || r.refund_of || ': refunds ' || sum(r.amount_nanos) || "
        "' nanos of ' || coalesce(c.amount_nanos, 0) FROM charge r LEFT JOIN charge c "
        "ON c.id = r.refund_of WHERE r.refund_of <> 0 GROUP BY r.refund_of "
        "HAVING c.id IS NULL OR sum(r.amount_nanos) > c.amount_nanos "
        "UNION ALL SELECT 'I5', 'charge ' || c.id || ': hold ' || h.id || ' has another charge' "
        "FROM charge c JOIN hold h ON h.id = c.hold_id WHERE c.kind = 0 AND h.charge_id <> c.id "
        "AND h.expiry_charge_id <> c.id "
        "UNION ALL SELECT 'I5', 'hold ' || h.id || ': its expiry charged ' || "
        "h.expiry_charged_nanos || "
        "' nanos, in the journal ' || coalesce((SELECT sum(CASE c.kind WHEN 1 THEN -c.amount_nanos "
        "ELSE c.amount_nanos END) FROM charge c WHERE c.id = h.expiry_charge_id "
        "OR (c.refund_of <> 0 AND c.refund_of = h.expiry_charge_id)), 0) FROM hold h "
        "WHERE h.expiry_charge_id <> 0 AND h.charge_id = 0 AND " PLACED_SINCE_PRUNE
        " AND h.expiry_charged_nanos <> "
        "coalesce((SELECT sum(CASE c.kind WHEN 1 THEN -c.amount_nanos ELSE c.amount_nanos END) "
        "FROM charge c WHERE c.id = h.expiry_charge_id OR (c.refund_of <> 0 "
        "AND c.refund_of = h.expiry_charge_id)), 0)",
};

static void
read_scan_charge(sqlite3_stmt *stmt, struct charge_row *out)
{
    memset(out, 0, sizeof(*out));
    out->charge.id = sqlite3_column_int64(stmt, 0);
    out->charge.kind = (enum charge_kind)sqlite3_column_int(stmt, 1);
    out->chain_id = sqlite3_column_int64(stmt, 2);
    out->charge.amount_nanos = sqlite3_column_int64(stmt, 3);
    out->charge.at_us = sqlite3_column_int64(stmt, 4);
    out->charge.created_us = sqlite3_column_int64(stmt, 5);
    out->hold_number = sqlite3_column_int64(stmt, 6);
    out->charge.refund_of = sqlite3_column_int64(stmt, 7);
}

static bool
read_scan_hold(sqlite3_stmt *stmt, struct hold *out)
{
    bool charged = sqlite3_column_type(stmt, HOLD_WIDTH) != SQLITE_NULL;

    if (!sqlite_read_hold(stmt, 0, out))
        return false;
    out->charged_nanos = charged ? sqlite3_column_int64(stmt, HOLD_WIDTH) : -1;
    return true;
}

static bool
read_scan_row(sqlite3_stmt *stmt, enum scan_kind kind, struct scan_row *out)
{
    switch (kind) {
    case SCAN_ACCOUNTS:
        return sqlite_read_account(stmt, 0, &out->account);
    case SCAN_LINES:
        out->account_id = sqlite3_column_int64(stmt, LINE_WIDTH);
        return sqlite_read_line(stmt, 0, 0, &out->line);
    case SCAN_PERIODS:
        out->line.id = sqlite3_column_int64(stmt, 0);
        out->line.period.start_us = sqlite3_column_int64(stmt, 1);
        out->line.period.end_us = sqlite3_column_int64(stmt, 2);
        out->line.spent_nanos = sqlite3_column_int64(stmt, 3);
        out->line.held_nanos = sqlite3_column_int64(stmt, 4);
        return true;
    case SCAN_CHAINS:
        out->chain_id = sqlite3_column_int64(stmt, 0);
        out->account_id = sqlite3_column_int64(stmt, 1);
        out->payer_id = sqlite3_column_int64(stmt, 2);
        return true;
    case SCAN_CHARGES:
        read_scan_charge(stmt, &out->charge);
        return true;
    case SCAN_HOLDS:
        return read_scan_hold(stmt, &out->hold);
    case SCAN_CREDITS:
        return true;
    case SCAN_PRICED:
        out->charge.charge.id = sqlite3_column_int64(stmt, 0);
        out->charge.charge.amount_nanos = sqlite3_column_int64(stmt, 1);
        out->charge.charge.price_id = sqlite3_column_int64(stmt, 2);
        out->usage = (const char *)sqlite3_column_text(stmt, 3);
        out->rates = (const char *)sqlite3_column_text(stmt, 4);
        return true;
    case SCAN_CONTRADICTIONS:
        out->invariant = (const char *)sqlite3_column_text(stmt, 0);
        out->text = (const char *)sqlite3_column_text(stmt, 1);
        return true;
    }
    return false;
}

enum status
sqlite_scan(struct store_backend *backend, enum scan_kind kind,
            bool (*visit)(void *context, const struct scan_row *row), void *context,
            struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt = NULL;
    struct scan_row *row = calloc(1, sizeof(*row));
    bool more;
    int rc;
    enum status status = STATUS_OK;

    if (row == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    rc = sqlite3_prepare_v2(s->db, scan_sql[kind], -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        status = sqlite_failed(s, rc, "prepare a scan", err);
    while (status == STATUS_OK &&
           (status = sqlite_next(s, stmt, &more, "scan", err)) == STATUS_OK && more) {
        if (!read_scan_row(stmt, kind, row)) {
            status = sqlite_too_long(s, stmt, err);
            break;
        }
        if (!visit(context, row))
            break;
    }
    sqlite3_finalize(stmt);
    free(row);
    return status;
}
