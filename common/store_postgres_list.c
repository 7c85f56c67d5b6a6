/* SPDX-License-Identifier: MIT */
/* The PostgreSQL store: listings, reports, and what `spendgate verify` reads. */
#include "common/store_postgres.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

#define SQL_SIZE 4096
#define CHAINS_MAX 1000 /* looked at one by one for a page of charges */

/* Run one statement of a listing; its text depends on the filter. */
static enum status
list(struct postgres_store *s, const struct buf *sql, const char *doing, const struct pg_params *p,
     PGresult **out, struct error *err)
{
    *out = NULL;
    if (buf_failed(sql))
        return error_set(err, STATUS_INTERNAL, "store %s: a query is too long", s->place);
    return pg_run_listing(s, buf_text(sql), doing, p, out, err);
}

enum status
postgres_account_names(struct store_backend *backend, const char *after, size_t limit,
                       bool (*visit)(void *context, const char *name), void *context,
                       struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_string(&p, after);
    pg_int(&p, (int64_t)limit);
    status = pg_run(postgres_of(backend), PG_ACCOUNT_NAMES, &p, &result, err);
    for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++) {
        if (!visit(context, PQgetvalue(result, row, 0)))
            break;
    }
    PQclear(result);
    return status;
}

/* What counts on the account whose name is in the parameter. */
static void
add_account_filter(struct buf *sql, struct pg_params *p, const char *chain_column,
                   const char *prefix, const char *name, int roles)
{
    pg_string(p, name);
    buf_add_format(sql,
                   " AND %s IN (SELECT m.chain_id FROM spendgate.chain_account m JOIN "
                   "spendgate.account a ON a.id = m.account_id WHERE a.name = %s$%d::text",
                   chain_column, prefix, p->count);
    if (roles != 0)
        buf_add_format(sql, " AND m.roles & %d <> 0", roles);
    buf_add(sql, ")");
}

/* Where the newest charges of a page are looked for. */
enum way {
    WAY_ALL,   /* every charge counts on it */
    WAY_NONE,  /* none does */
    WAY_CHAIN, /* chain by chain, in the order of their newest charges */
    WAY_TIME   /* back in time, leaving out what does not count: its chains are too many */
};

struct charge_page {
    const struct charge_filter *filter;
    enum way way;
    char *chains; /* WAY_CHAIN: "{1,2,…}", ours */
};

/* Which chains count on the filter's account and key. The account `all` is in each. */
static void
add_chain_filters(struct buf *sql, struct pg_params *p, const struct charge_filter *filter)
{
    buf_add(sql, "SELECT n.id FROM spendgate.chain n WHERE true");
    if (filter->account != NULL && strcmp(filter->account, "all") != 0)
        add_account_filter(sql, p, "n.id", "", filter->account, 0);
    if (filter->key_id != NULL)
        add_account_filter(sql, p, "n.id", "'key:' || ", filter->key_id, CHAIN_KEY);
}

static enum status
choose_way(struct postgres_store *s, struct charge_page *page, struct error *err)
{
    const struct charge_filter *filter = page->filter;
    struct pg_params p = { 0 };
    char text[SQL_SIZE];
    struct buf sql, list_text;
    PGresult *result;
    size_t size;
    enum status status;

    page->way = WAY_ALL;
    if (filter->key_id == NULL && (filter->account == NULL || strcmp(filter->account, "all") == 0))
        return STATUS_OK;
    buf_init(&sql, text, sizeof(text));
    add_chain_filters(&sql, &p, filter);
    buf_add_format(&sql, " LIMIT %d", CHAINS_MAX + 1);
    status = list(s, &sql, "list charges", &p, &result, err);
    if (status != STATUS_OK)
        return status;
    size = (size_t)PQntuples(result);
    page->way = size == 0 ? WAY_NONE : size > CHAINS_MAX ? WAY_TIME : WAY_CHAIN;
    if (page->way == WAY_CHAIN) {
        size = size * PG_NUMBER_SIZE + sizeof("{}");
        page->chains = malloc(size);
        if (page->chains == NULL)
            status = error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->place);
    }
    if (page->chains != NULL) {
        buf_init(&list_text, page->chains, size);
        for (int row = 0; row < PQntuples(result); row++)
            buf_add_format(&list_text, "%c%s", row == 0 ? '{' : ',', PQgetvalue(result, row, 0));
        buf_add_char(&list_text, '}');
    }
    PQclear(result);
    return status;
}

/* The conditions of a page on the charge y; $1 to $4 are the parameters of postgres_charges(), the
 * route's and the model's come next. */
static void
add_page_conditions(struct buf *sql, const struct charge_filter *filter)
{
    int number = 4;

    buf_add(sql, "y.id < $1 AND y.created_us >= $2 AND y.created_us < $3");
    if (filter->route != NULL)
        buf_add_format(sql, " AND y.route = $%d", ++number);
    if (filter->model != NULL)
        buf_add_format(sql, " AND y.model = $%d", ++number);
}

/* At most 1 + limit chains can have a charge on the page: those whose newest ones are the newest.
 */
static void
add_page_by_chain(struct buf *sql, struct pg_params *p, const struct charge_page *page)
{
    pg_string(p, page->chains);
    buf_add_format(sql,
                   "SELECT x.* FROM (SELECT n.chain_id FROM unnest($%d::bigint[]) AS n (chain_id) "
                   "CROSS JOIN LATERAL (SELECT y.id FROM spendgate.charge y WHERE "
                   "y.chain_id = n.chain_id AND ",
                   p->count);
    add_page_conditions(sql, page->filter);
    buf_add(sql, " ORDER BY y.id DESC LIMIT 1) t ORDER BY t.id DESC LIMIT $4) n "
                 "CROSS JOIN LATERAL (SELECT y.* FROM spendgate.charge y WHERE "
                 "y.chain_id = n.chain_id AND ");
    add_page_conditions(sql, page->filter);
    buf_add(sql, " ORDER BY y.id DESC LIMIT $4) x ORDER BY x.id DESC LIMIT $4");
}

/* IS TRUE: else the planner would begin with the chains. */
static void
add_page_by_time(struct buf *sql, const struct charge_page *page)
{
    buf_add(sql, "SELECT y.* FROM spendgate.charge y WHERE ");
    add_page_conditions(sql, page->filter);
    if (page->way == WAY_TIME)
        buf_add(sql, " AND (y.chain_id IN (SELECT id FROM counting)) IS TRUE");
    buf_add(sql, " ORDER BY y.id DESC LIMIT $4");
}

/* Names and holds are looked up for the rows of the page only. */
static void
add_page(struct buf *sql, struct pg_params *p, const struct charge_page *page)
{
    const struct charge_filter *filter = page->filter;

    pg_int(p, filter->before_id);
    pg_int(p, filter->from_us);
    pg_int(p, filter->to_us);
    pg_int(p, (int64_t)filter->limit);
    if (filter->route != NULL)
        pg_string(p, filter->route);
    if (filter->model != NULL)
        pg_string(p, filter->model);
    if (page->way == WAY_TIME) {
        buf_add(sql, "WITH counting AS MATERIALIZED (");
        add_chain_filters(sql, p, filter);
        buf_add(sql, ") ");
    }
    buf_add(sql, "SELECT " PG_CHARGE_COLUMNS " FROM (");
    if (page->way == WAY_CHAIN)
        add_page_by_chain(sql, p, page);
    else
        add_page_by_time(sql, page);
    buf_add(sql, ") c " PG_CHARGE_HOLD "ORDER BY c.id DESC");
}

enum status
postgres_charges(struct store_backend *backend, const struct charge_filter *filter,
                 bool (*visit)(void *context, const struct charge *charge), void *context,
                 struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct charge_page page = { .filter = filter };
    struct pg_params p = { 0 };
    char text[SQL_SIZE];
    struct charge_row charge;
    struct buf sql;
    PGresult *result = NULL;
    enum status status = choose_way(s, &page, err);

    if (status == STATUS_OK && page.way != WAY_NONE) {
        buf_init(&sql, text, sizeof(text));
        add_page(&sql, &p, &page);
        status = list(s, &sql, "list charges", &p, &result, err);
    }
    for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++) {
        if (!pg_read_charge(result, row, &charge))
            status = pg_too_long(s, err);
        else if (!visit(context, &charge.charge))
            break;
    }
    PQclear(result);
    free(page.chains);
    return status;
}

/* Summed by what is stored first: a name is then looked up once per group. */
static const struct {
    const char *column; /* of the charge c */
    const char *name;   /* of the group g, whose column is k */
    const char *joins;
} groups[] = {
    [REPORT_ACCOUNT] = { "c.chain_id", "a.name",
                         "LEFT JOIN spendgate.chain n ON n.id = g.k "
                         "LEFT JOIN spendgate.account a ON a.id = n.payer_id" },
    [REPORT_KEY] = { "c.chain_id", "coalesce(substr(a.name, 5), '')",
                     "LEFT JOIN spendgate.chain_account m ON m.chain_id = g.k AND m.position = 0 "
                     "AND m.roles & 1 <> 0 LEFT JOIN spendgate.account a ON a.id = m.account_id" },
    [REPORT_ROUTE] = { "c.route", "coalesce(g.k, '')", "" },
    [REPORT_MODEL] = { "c.model", "coalesce(g.k, '')", "" },
    [REPORT_DAY] = { "c.created_us / 86400000000",
                     "to_char(date '1970-01-01' + g.k::integer, 'YYYY-MM-DD')", "" },
};

enum status
postgres_report(struct store_backend *backend, enum report_by by, int64_t from_us, int64_t to_us,
                bool (*visit)(void *context, const struct report_row *row), void *context,
                struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    char text[SQL_SIZE];
    struct report_row row;
    struct buf sql;
    PGresult *result;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add_format(&sql,
                   "SELECT x.name, sum(x.spent)::bigint, sum(x.charges)::bigint FROM (SELECT %s "
                   "AS name, g.spent, g.charges FROM (SELECT %s AS k, sum(CASE c.kind WHEN 1 THEN "
                   "-c.amount_nanos ELSE c.amount_nanos END) AS spent, count(*) FILTER (WHERE "
                   "c.kind = 0) AS charges FROM spendgate.charge c WHERE c.created_us >= $1 "
                   "AND c.created_us < $2 GROUP BY 1) g %s) x GROUP BY 1 "
                   "ORDER BY %s x.name COLLATE \"C\"",
                   groups[by].name, groups[by].column, groups[by].joins,
                   by == REPORT_DAY ? "" : "2 DESC,");
    pg_int(&p, from_us);
    pg_int(&p, to_us);
    status = list(s, &sql, "report", &p, &result, err);
    for (int i = 0; status == STATUS_OK && i < PQntuples(result); i++) {
        row.spent_nanos = pg_get_int(result, i, 1);
        row.charge_count = pg_get_int(result, i, 2);
        if (!pg_get_text(result, i, 0, row.name, sizeof(row.name)))
            status = pg_too_long(s, err);
        else if (!visit(context, &row))
            break;
    }
    PQclear(result);
    return status;
}

enum status
postgres_holds(struct store_backend *backend, const char *account, enum hold_state state,
               size_t limit,
               bool (*visit)(void *context, const struct hold *hold, const char *account),
               void *context, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    char text[SQL_SIZE], payer[ACCOUNT_NAME_SIZE];
    struct hold hold;
    struct buf sql;
    PGresult *result;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    pg_int(&p, (int64_t)limit);
    buf_add_format(&sql,
                   "SELECT " PG_HOLD_COLUMNS ", CASE WHEN h.charge_id <> 0 THEN (SELECT "
                   "c.amount_nanos FROM spendgate.charge c WHERE c.id = h.charge_id) END, "
                   "(SELECT a.name FROM spendgate.chain n JOIN spendgate.account a "
                   "ON a.id = n.payer_id WHERE n.id = h.chain_id) FROM spendgate.hold h "
                   "WHERE h.state = %d",
                   (int)state);
    if (account != NULL)
        add_account_filter(&sql, &p, "h.chain_id", "", account, 0);
    buf_add(&sql, " ORDER BY h.id DESC LIMIT $1");
    status = list(s, &sql, "list holds", &p, &result, err);
    for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++) {
        if (!pg_read_hold(result, row, 0, &hold) ||
            !pg_get_text(result, row, PG_HOLD_WIDTH + 1, payer, sizeof(payer))) {
            status = pg_too_long(s, err);
            break;
        }
        hold.charged_nanos = pg_get_int(result, row, PG_HOLD_WIDTH);
        if (!visit(context, &hold, payer))
            break;
    }
    PQclear(result);
    return status;
}

/* ---- verify --------------------------------------------------------------------------------- */

/* Two sums, not one with OR: each is looked up in the index of its own. */
#define IN_JOURNAL                                                                      \
    "(coalesce((SELECT sum(CASE c.kind WHEN 1 THEN -c.amount_nanos ELSE "               \
    "c.amount_nanos END) FROM spendgate.charge c WHERE c.id = h.expiry_charge_id), 0) " \
    "- coalesce((SELECT sum(CASE r.kind WHEN 1 THEN r.amount_nanos ELSE "               \
    "-r.amount_nanos END) FROM spendgate.charge r WHERE r.refund_of = "                 \
    "h.expiry_charge_id AND r.refund_of <> 0), 0))"
/* Before that its charge may have been pruned already. */
#define PLACED_SINCE_PRUNE \
    "h.placed_us >= (SELECT value FROM spendgate.counter WHERE name = 'pruned_until_us')"

static const char *const scan_sql[] = {
    [SCAN_ACCOUNTS] = "SELECT " PG_ACCOUNT_COLUMNS " FROM spendgate.account a ORDER BY a.id",
    [SCAN_LINES] = "SELECT " PG_LINE_COLUMNS ", b.account_id FROM spendgate.budget b ORDER BY b.id",
    [SCAN_PERIODS] = "SELECT budget_id, start_us, end_us, spent_nanos, held_nanos "
                     "FROM spendgate.budget_period ORDER BY budget_id, start_us",
    [SCAN_CHAINS] = "SELECT m.chain_id, m.account_id, n.payer_id FROM spendgate.chain_account m "
                    "JOIN spendgate.chain n ON n.id = m.chain_id ORDER BY m.chain_id, m.position",
    [SCAN_CHARGES] = "SELECT id, kind, chain_id, amount_nanos, at_us, created_us, hold_id, "
                     "refund_of FROM spendgate.charge ORDER BY id",
    [SCAN_HOLDS] = "SELECT " PG_HOLD_COLUMNS ", c.amount_nanos FROM spendgate.hold h "
                   "LEFT JOIN spendgate.charge c ON c.id = h.charge_id AND h.charge_id <> 0 "
                   "ORDER BY h.id",
    [SCAN_CREDITS] = "SELECT 0 FROM spendgate.credit",
    [SCAN_PRICED] = "SELECT c.id, c.amount_nanos, c.price_id, c.usage, p.rates FROM "
                    "spendgate.charge c LEFT JOIN spendgate.price p ON p.id = c.price_id "
                    "WHERE c.price_id <> 0 ORDER BY c.id",
    [SCAN_CONTRADICTIONS] =
        "SELECT 'I7', 'chain ' || n.id || ': its payer ' || n.payer_id || ' is not one of its "
        "accounts' FROM spendgate.chain n WHERE NOT EXISTS (SELECT 1 FROM spendgate.chain_account "
        "m WHERE m.chain_id = n.id AND m.account_id = n.payer_id) "
        "UNION ALL SELECT 'I7', 'chain ' || m.chain_id || ': account ' || m.account_id || ' is "
        "missing' FROM spendgate.chain_account m WHERE NOT EXISTS (SELECT 1 FROM "
        "spendgate.account a WHERE a.id = m.account_id) "
        "UNION ALL SELECT 'I7', 'account ' || a.id || ': its parent is missing' "
        "FROM spendgate.account a WHERE a.parent_id <> 0 AND NOT EXISTS (SELECT 1 FROM "
        "spendgate.account p WHERE p.id = a.parent_id) "
        "UNION ALL SELECT 'I7', 'budget ' || b.id || ': its account is missing' "
        "FROM spendgate.budget b WHERE NOT EXISTS (SELECT 1 FROM spendgate.account a "
        "WHERE a.id = b.account_id) "
        "UNION ALL SELECT 'I7', 'clerk_note ' || n.account_id || ': its account is missing' "
        "FROM spendgate.clerk_note n WHERE NOT EXISTS (SELECT 1 FROM spendgate.account a "
        "WHERE a.id = n.account_id) "
        "UNION ALL SELECT 'I7', 'period ' || p.start_us || ' of budget ' || p.budget_id || "
        "': the budget is missing' FROM spendgate.budget_period p WHERE NOT EXISTS (SELECT 1 FROM "
        "spendgate.budget b WHERE b.id = p.budget_id) "
        "UNION ALL SELECT 'I7', 'credit ' || c.id || ': its budget is missing' "
        "FROM spendgate.credit c WHERE NOT EXISTS (SELECT 1 FROM spendgate.budget b "
        "WHERE b.id = c.budget_id) "
        "UNION ALL SELECT 'I7', 'budget ' || b.id || ': credits stored ' || b.credits_nanos || "
        "' nanos, in the journal ' || coalesce(sum(c.amount_nanos), 0) FROM spendgate.budget b "
        "LEFT JOIN spendgate.credit c ON c.budget_id = b.id GROUP BY b.id "
        "HAVING b.credits_nanos <> coalesce(sum(c.amount_nanos), 0) "
        "UNION ALL SELECT 'I7', 'charge ' || r.refund_of || ': refunds ' || r.nanos || "
        "' nanos of ' || coalesce(c.amount_nanos, 0) FROM (SELECT refund_of, sum(amount_nanos) AS "
        "nanos FROM spendgate.charge WHERE refund_of <> 0 GROUP BY refund_of) r "
        "LEFT JOIN spendgate.charge c ON c.id = r.refund_of "
        "WHERE c.id IS NULL OR r.nanos > c.amount_nanos "
        "UNION ALL SELECT 'I4', 'charge ' || min(c.id) || ': ' || count(*) || "
        "' charges have this number' FROM spendgate.charge c GROUP BY c.id HAVING count(*) > 1 "
        "UNION ALL SELECT 'I4', 'charge ' || c.id || ': another one is noted for its unknown hold' "
        "FROM spendgate.charge c LEFT JOIN spendgate.charge_hold_text t ON t.hold_text = "
        "c.hold_text WHERE c.hold_text IS NOT NULL AND t.charge_id IS DISTINCT FROM c.id "
        "UNION ALL SELECT 'I5', 'charge ' || c.id || ': hold ' || h.id || ' has another charge' "
        "FROM spendgate.charge c JOIN spendgate.hold h ON h.id = c.hold_id WHERE c.kind = 0 "
        "AND h.charge_id <> c.id AND h.expiry_charge_id <> c.id "
        "UNION ALL SELECT 'I5', 'hold ' || h.id || ': its expiry charged ' || "
        "h.expiry_charged_nanos || ' nanos, in the journal ' || " IN_JOURNAL
        " FROM spendgate.hold h WHERE h.expiry_charge_id <> 0 AND h.charge_id = 0 "
        "AND " PLACED_SINCE_PRUNE " AND h.expiry_charged_nanos <> " IN_JOURNAL,
};

static void
read_scan_charge(const PGresult *r, struct charge_row *out)
{
    memset(out, 0, sizeof(*out));
    out->charge.id = pg_get_int(r, 0, 0);
    out->charge.kind = (enum charge_kind)pg_get_int(r, 0, 1);
    out->chain_id = pg_get_int(r, 0, 2);
    out->charge.amount_nanos = pg_get_int(r, 0, 3);
    out->charge.at_us = pg_get_int(r, 0, 4);
    out->charge.created_us = pg_get_int(r, 0, 5);
    out->hold_number = pg_get_int(r, 0, 6);
    out->charge.refund_of = pg_get_int(r, 0, 7);
}

static bool
read_scan_hold(const PGresult *r, struct hold *out)
{
    if (!pg_read_hold(r, 0, 0, out))
        return false;
    out->charged_nanos = pg_is_null(r, 0, PG_HOLD_WIDTH) ? -1 : pg_get_int(r, 0, PG_HOLD_WIDTH);
    return true;
}

static bool
read_scan_row(const PGresult *r, enum scan_kind kind, struct scan_row *out)
{
    switch (kind) {
    case SCAN_ACCOUNTS:
        return pg_read_account(r, 0, 0, &out->account);
    case SCAN_LINES:
        out->account_id = pg_get_int(r, 0, PG_LINE_WIDTH);
        return pg_read_line(r, 0, 0, 0, &out->line);
    case SCAN_PERIODS:
        out->line.id = pg_get_int(r, 0, 0);
        out->line.period.start_us = pg_get_int(r, 0, 1);
        out->line.period.end_us = pg_get_int(r, 0, 2);
        out->line.spent_nanos = pg_get_int(r, 0, 3);
        out->line.held_nanos = pg_get_int(r, 0, 4);
        return true;
    case SCAN_CHAINS:
        out->chain_id = pg_get_int(r, 0, 0);
        out->account_id = pg_get_int(r, 0, 1);
        out->payer_id = pg_get_int(r, 0, 2);
        return true;
    case SCAN_CHARGES:
        read_scan_charge(r, &out->charge);
        return true;
    case SCAN_HOLDS:
        return read_scan_hold(r, &out->hold);
    case SCAN_CREDITS:
        return true;
    case SCAN_PRICED:
        out->charge.charge.id = pg_get_int(r, 0, 0);
        out->charge.charge.amount_nanos = pg_get_int(r, 0, 1);
        out->charge.charge.price_id = pg_get_int(r, 0, 2);
        out->usage = PQgetvalue(r, 0, 3);
        out->rates = pg_is_null(r, 0, 4) ? NULL : PQgetvalue(r, 0, 4);
        return true;
    case SCAN_CONTRADICTIONS:
        out->invariant = PQgetvalue(r, 0, 0);
        out->text = PQgetvalue(r, 0, 1);
        return true;
    }
    return false;
}

struct scan {
    enum scan_kind kind;
    bool (*visit)(void *context, const struct scan_row *row);
    void *context;
    struct scan_row *row;
    bool too_long;
};

static bool
visit_row(void *context, const PGresult *result)
{
    struct scan *scan = context;

    scan->too_long = !read_scan_row(result, scan->kind, scan->row);
    return !scan->too_long && scan->visit(scan->context, scan->row);
}

enum status
postgres_scan(struct store_backend *backend, enum scan_kind kind,
              bool (*visit)(void *context, const struct scan_row *row), void *context,
              struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct scan scan = { .kind = kind, .visit = visit, .context = context };
    enum status status = pg_ensure_begun(s, err);

    if (status == STATUS_OK) /* whatever limit the server sets */
        status = pg_queue(s, PG_LISTING, NULL, NULL, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status != STATUS_OK)
        return status;
    scan.row = calloc(1, sizeof(*scan.row));
    if (scan.row == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    status = pg_stream(s, scan_sql[kind], "scan", visit_row, &scan, err);
    free(scan.row);
    return status == STATUS_OK && scan.too_long ? pg_too_long(s, err) : status;
}
