/* SPDX-License-Identifier: MIT */
/*
 * Every statement of a request, prepared once; what SQLite answers, turned into a status and text.
 */
#include "common/store_sqlite.h"

#include <errno.h>
#include <string.h>

#include "common/banned.h"

/* ?2 the instant whose period is wanted, ?3 now: a credit counts when it is in force now, or at the
 * last instant of a period that is over. */
#define PERIOD_COLUMNS                                                                            \
    "p.start_us, p.end_us, p.spent_nanos, p.held_nanos, p.alerted, "                              \
    "CASE WHEN b.credits_nanos THEN (SELECT sum(c.amount_nanos) FROM credit c WHERE c.budget_id " \
    "= "                                                                                          \
    "b.id "                                                                                       \
    "AND c.from_us <= min(?3, p.end_us - 1) AND c.until_us > min(?3, p.end_us - 1)) ELSE 0 END"
#define PERIOD_JOIN                                                                             \
    "LEFT JOIN budget_period p ON p.budget_id = b.id AND p.start_us = (SELECT max(q.start_us) " \
    "FROM budget_period q WHERE q.budget_id = b.id AND q.start_us <= ?2) "

static const char *const statement_sql[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN",
    [SQL_BEGIN_IMMEDIATE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_SAVEPOINT] = "SAVEPOINT element",
    [SQL_RELEASE] = "RELEASE element",
    [SQL_ROLLBACK_TO] = "ROLLBACK TO element",
    [SQL_LOAD] = "SELECT " ACCOUNT_COLUMNS ", m.roles, " LINE_COLUMNS ", " PERIOD_COLUMNS
                 " FROM chain_account m JOIN account a ON a.id = m.account_id "
                 "LEFT JOIN budget b ON b.id > a.id * 256 AND b.id < a.id * 256 + 256 " PERIOD_JOIN
                 "WHERE m.chain_id = ?1 ORDER BY m.position, b.id",
    [SQL_LINES] = "SELECT " LINE_COLUMNS ", " PERIOD_COLUMNS " FROM budget b " PERIOD_JOIN
                  "WHERE b.id > ?1 * 256 AND b.id < ?1 * 256 + 256 ORDER BY b.id",
    [SQL_OLDEST] = "SELECT min(expires_us) FROM hold WHERE state = 0",
    /* `all` is an account of a chain only when it has a line. */
    [SQL_EXPIRY_IN_CHAIN] =
        "SELECT EXISTS (SELECT 1 FROM (SELECT x.chain_id FROM hold x WHERE x.state = 0 AND "
        "x.expires_us <= ?2 ORDER BY x.expires_us LIMIT ?3) h WHERE EXISTS (SELECT 1 FROM "
        "chain_account o WHERE o.chain_id = h.chain_id AND o.account_id IN (SELECT m.account_id "
        "FROM chain_account m JOIN account a ON a.id = m.account_id WHERE m.chain_id = ?1 AND "
        "(a.name <> 'all' OR EXISTS (SELECT 1 FROM budget b WHERE b.id > a.id * 256 AND b.id < "
        "a.id * 256 + 256)))))",
    [SQL_EXPIRED_WITH] =
        "SELECT " HOLD_COLUMNS " FROM (SELECT * FROM hold x WHERE x.state = 0 AND "
        "x.expires_us >= ?5 AND x.expires_us <= ?2 ORDER BY x.expires_us LIMIT ?6) "
        "h WHERE h.chain_id = ?1 AND h.id <> ?4 LIMIT ?3",
    [SQL_RATE] = "SELECT tat_ns FROM rate WHERE account_id = ?1 AND name = ?2",
    [SQL_HOLD] = "SELECT " HOLD_COLUMNS ", c.amount_nanos FROM hold h "
                 "LEFT JOIN charge c ON c.id = h.charge_id WHERE h.id = ?1 AND h.nonce = ?2",
    [SQL_HOLD_BY_ID] = "SELECT " HOLD_COLUMNS ", c.amount_nanos FROM hold h "
                       "LEFT JOIN charge c ON c.id = h.charge_id WHERE h.id = ?1",
    [SQL_CHARGE] = "SELECT " CHARGE_COLUMNS " " CHARGE_FROM "WHERE c.id = ?1 AND c.nonce = ?2",
    [SQL_REFUNDED] = "SELECT coalesce(sum(amount_nanos), 0) FROM charge WHERE refund_of = ?1 "
                     "AND refund_of <> 0",
    [SQL_ADMISSION] =
        "SELECT hold_id FROM admission WHERE key = ?1 AND (expires_us > ?2 OR " ADMISSION_HOLD_LIVES
        ")",
    [SQL_IDEMPOTENCY] = "SELECT fingerprint, reply FROM idempotency WHERE scope = ?1 AND key = ?2",
    [SQL_ACCOUNT_BY_NAME] = "SELECT " ACCOUNT_COLUMNS " FROM account a WHERE a.name = ?1",
    [SQL_ACCOUNT_BY_ID] = "SELECT " ACCOUNT_COLUMNS " FROM account a WHERE a.id = ?1",
    [SQL_GENERATIONS] =
        "WITH RECURSIVE below (id, depth) AS (VALUES (?1, 0) UNION ALL SELECT a.id, b.depth + 1 "
        "FROM below b JOIN account a ON a.parent_id = b.id AND a.parent_id <> 0 WHERE b.depth < "
        "?2) "
        "SELECT max(depth) FROM below",
    [SQL_CHAIN_FIND] = "SELECT id FROM chain WHERE spec = ?1",
    [SQL_CHAIN_INSERT] = "INSERT INTO chain (spec, payer_id) VALUES (?1, ?2)",
    [SQL_CHAIN_MEMBER] = "INSERT INTO chain_account (chain_id, position, account_id, roles) "
                         "VALUES (?1, ?2, ?3, ?4)",
    [SQL_LAST_SEEN] =
        "SELECT coalesce((SELECT o.name FROM chain_account n JOIN account o ON o.id = n.account_id "
        "WHERE n.chain_id = m.chain_id AND n.roles & ?3), '') FROM account a JOIN chain_account m "
        "ON m.account_id = a.id WHERE a.name = ?1 AND m.roles & ?2 AND EXISTS (SELECT 1 FROM "
        "chain_account p WHERE p.chain_id = m.chain_id AND p.roles & 2) ORDER BY m.chain_id DESC "
        "LIMIT 1", /* 2: CHAIN_SUBJECT */
    [SQL_SPENT] = "SELECT coalesce(sum(CASE WHEN c.at_us >= ?3 THEN 0 WHEN c.kind = 1 "
                  "THEN -c.amount_nanos ELSE c.amount_nanos END), 0), "
                  "coalesce(min(CASE WHEN c.at_us >= ?3 THEN c.at_us END), 0) "
                  "FROM chain_account m JOIN charge c ON c.chain_id = m.chain_id "
                  "WHERE m.account_id = ?1 AND c.at_us >= ?2",
    [SQL_HELD] = "SELECT coalesce(sum(CASE WHEN h.placed_us < ?3 THEN h.amount_nanos END), 0), "
                 "coalesce(min(CASE WHEN h.placed_us >= ?3 THEN h.placed_us END), 0) "
                 "FROM hold h WHERE h.state = 0 AND h.placed_us >= ?2 AND EXISTS "
                 "(SELECT 1 FROM chain_account m WHERE m.account_id = ?1 "
                 "AND m.chain_id = h.chain_id)",
    [SQL_CREDIT_SUM] = "SELECT coalesce(sum(amount_nanos), 0) FROM credit WHERE budget_id = ?1 "
                       "AND from_us < ?3 AND until_us > ?2",
    [SQL_HISTORY] =
        "SELECT p.start_us, p.end_us, p.spent_nanos, (SELECT coalesce(sum(c.amount_nanos), "
        "0) FROM credit c WHERE c.budget_id = p.budget_id AND c.from_us < p.end_us "
        "AND c.until_us > p.start_us) FROM budget_period p WHERE p.budget_id = ?1 "
        "AND p.end_us <= ?2 ORDER BY p.start_us DESC LIMIT ?3",
    [SQL_ROUTE_AMOUNTS] = "SELECT amount_nanos FROM charge WHERE route = ?1 AND kind = 0 "
                          "ORDER BY id DESC LIMIT ?2",
    [SQL_EXPIRED] = "SELECT id, nonce, expires_us FROM hold WHERE state = 0 AND expires_us >= ?1 "
                    "AND expires_us <= ?2 ORDER BY expires_us LIMIT ?3",
    [SQL_EXPIRED_OF] =
        "SELECT h.id, h.nonce, h.expires_us FROM hold h WHERE h.state = 0 AND h.expires_us >= ?1 "
        "AND h.expires_us <= ?2 AND EXISTS (SELECT 1 FROM chain_account o WHERE o.chain_id = "
        "h.chain_id AND o.account_id IN (?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)) "
        "ORDER BY h.expires_us LIMIT ?3",
    [SQL_UNKNOWN_HOLD] = "SELECT " CHARGE_COLUMNS " " CHARGE_FROM "WHERE c.hold_text = ?1",
    [SQL_PRICE_FIND] =
        "SELECT p.id, p.provider, p.model, p.from_us, p.source, p.rates FROM price p "
        "WHERE p.model = ?1 AND (?2 IS NULL OR p.provider = ?2) AND p.from_us = coalesce("
        "(SELECT max(q.from_us) FROM price q WHERE q.model = p.model AND q.provider = p.provider "
        "AND q.from_us <= coalesce((SELECT h.placed_us FROM hold h WHERE h.id = ?3 "
        "AND h.nonce = ?4), (SELECT c.at_us FROM charge c WHERE c.hold_text = ?6), ?5)), "
        "(SELECT min(q.from_us) FROM price q WHERE q.model = p.model AND q.provider = p.provider "
        "AND q.from_us <= ?5)) ORDER BY p.provider LIMIT 2",
    [SQL_PRICE_INSERT] =
        "INSERT INTO price (provider, model, from_us, source, rates) VALUES (?1, ?2, ?3, ?4, ?5)",
    [SQL_VERIFICATION] = "SELECT value FROM counter WHERE name = 'verification'",
    [SQL_VERIFICATION_NEXT] = "UPDATE counter SET value = value + 1 WHERE name = 'verification' "
                              "RETURNING value",
    [SQL_ACCOUNT_INSERT] =
        "INSERT INTO account (name, plan, parent_id, frozen, revoked, expires_us, "
        "verify_after, live_holds, first_seen_us) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQL_ACCOUNT_UPDATE] =
        "UPDATE account SET plan = ?1, parent_id = ?2, frozen = ?3, revoked = ?4, "
        "expires_us = ?5, verify_after = ?6, live_holds = ?7 WHERE id = ?8",
    [SQL_LINE_NEXT] = "SELECT coalesce(max(id), ?1 * 256) + 1 FROM budget WHERE id > ?1 * 256 "
                      "AND id < ?1 * 256 + 256",
    [SQL_LINE_INSERT] =
        "INSERT INTO budget (id, account_id, kind, timezone, anchor_day, week_start, "
        "created_us, hand_limit_nanos, hand_enforce) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQL_LINE_UPDATE] = "UPDATE budget SET hand_limit_nanos = ?2, hand_enforce = ?3 "
                        "WHERE id = ?1",
    [SQL_PERIOD_WRITE] =
        "INSERT INTO budget_period (budget_id, start_us, end_us, spent_nanos, "
        "held_nanos, alerted) VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
        "ON CONFLICT DO UPDATE SET spent_nanos = ?4, held_nanos = ?5, alerted = ?6",
    [SQL_HOLD_INSERT] =
        "INSERT INTO hold (nonce, chain_id, state, amount_nanos, placed_us, expires_us, "
        "ttl_us, charge_id, caller, plan, route) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [SQL_HOLD_UPDATE] =
        "UPDATE hold SET state = ?2, amount_nanos = ?3, expires_us = ?4, charge_id = ?5, "
        "placed_us = ?6, expiry_charged_nanos = ?7, expiry_charge_id = ?8 "
        "WHERE id = ?1",
    [SQL_CHARGE_INSERT] =
        "INSERT INTO charge (nonce, kind, chain_id, amount_nanos, at_us, created_us, occurred_us, "
        "hold_id, refund_of, hold_text, model, route, tags, token, note, metadata, usage, "
        "price_id) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    [SQL_CREDIT_ADD] = "UPDATE budget SET credits_nanos = credits_nanos + ?2 WHERE id = ?1",
    [SQL_CREDIT_INSERT] =
        "INSERT INTO credit (budget_id, amount_nanos, from_us, until_us, created_us, "
        "who, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [SQL_RATE_WRITE] = "INSERT INTO rate (account_id, name, tat_ns) VALUES (?1, ?2, ?3) "
                       "ON CONFLICT DO UPDATE SET tat_ns = ?3",
    [SQL_ADMISSION_WRITE] = "INSERT INTO admission (key, hold_id, expires_us) VALUES (?1, ?2, ?3) "
                            "ON CONFLICT DO UPDATE SET hold_id = ?2, expires_us = ?3",
    [SQL_IDEMPOTENCY_WRITE] =
        "INSERT INTO idempotency (scope, key, fingerprint, reply, created_us) "
        "VALUES (?1, ?2, ?3, ?4, ?5)",
    [SQL_EVENT_INSERT] =
        "INSERT INTO event (kind, account_id, budget_id, period_start_us, hold_id, "
        "percent, created_us, who, text, note) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [SQL_TOUCH] = "UPDATE counter SET value = value + 1 WHERE name = 'checkpoint'",
    [SQL_CLERK_NOTE] = "SELECT n.title, n.expires_us, n.gone, n.listed_us FROM clerk_note n "
                       "JOIN account a ON a.id = n.account_id WHERE a.name = ?1",
    [SQL_CLERK_NOTE_WRITE] =
        "INSERT INTO clerk_note (account_id, title, expires_us, gone, listed_us) "
        "VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET title = ?2, expires_us = ?3, "
        "gone = ?4, listed_us = ?5",
    [SQL_CLERK_SUBJECTS] =
        "SELECT a.name FROM account a LEFT JOIN clerk_note n ON n.account_id = a.id "
        "WHERE a.name > ?2 AND a.name <> 'all' AND substr(a.name, 1, 4) <> 'key:' "
        "AND substr(a.name, 1, 6) <> 'group:' AND coalesce(n.listed_us, 0) < ?1 "
        "ORDER BY a.name LIMIT ?3",
    [SQL_CLERK_KEYS] =
        "SELECT DISTINCT k.name FROM account s JOIN chain_account m ON m.account_id = s.id "
        "AND m.roles & 2 JOIN chain_account x ON x.chain_id = m.chain_id AND x.roles & 1 "
        "JOIN account k ON k.id = x.account_id WHERE s.name = ?1 "
        "AND (substr(k.name, 1, 7) = 'key:ak_' OR substr(k.name, 1, 12) = 'key:api_key_') "
        "ORDER BY k.name",
    [SQL_ACCOUNT_NAMES] = "SELECT name FROM account WHERE name > ?1 ORDER BY name LIMIT ?2",
};

enum status
sqlite_failed(const struct sqlite_store *s, int rc, const char *doing, struct error *err)
{
    const char *text = sqlite3_errstr(rc);

    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, STATUS_BUSY,
                         "store %s: %s: another program keeps the database locked; try again",
                         s->path, doing);
    case SQLITE_INTERRUPT: /* by ourselves: store_options.listing_ms */
        return error_set(err, STATUS_BUSY, "store %s: %s: it took too long", s->path, doing);
    case SQLITE_NOMEM:
        return error_set(err, STATUS_NO_MEMORY, "store %s: %s: out of memory", s->path, doing);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return error_set(err, STATUS_CORRUPT,
                         "store %s: %s: %s; restore a backup, then run `spendgate verify`", s->path,
                         doing, text);
    case SQLITE_CONSTRAINT:
        return error_set(
            err, STATUS_CORRUPT,
            "store %s: %s: a row breaks a rule of the schema (%s); run `spendgate verify`", s->path,
            doing, sqlite3_errmsg(s->db));
    case SQLITE_FULL:
        return error_set(err, STATUS_UNAVAILABLE, "store %s: %s: the disk is full; make room",
                         s->path, doing);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: %s: %s; the file and its folder must be writable by this user",
                         s->path, doing, text);
    case SQLITE_IOERR:
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: %s: %s (errno %d); look at the disk and the system log",
                         s->path, doing, text, sqlite3_system_errno(s->db));
    case SQLITE_TOOBIG:
        return error_set(err, STATUS_OVERFLOW, "store %s: %s: a value is too long", s->path, doing);
    default:
        return error_set(err, STATUS_INTERNAL, "store %s: %s: %s", s->path, doing,
                         sqlite3_errmsg(s->db));
    }
}

enum status
sqlite_prepared(struct sqlite_store *s, enum statement which, sqlite3_stmt **out, struct error *err)
{
    int rc;

    if (s->statements[which] == NULL) {
        rc = sqlite3_prepare_v3(s->db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT,
                                &s->statements[which], NULL);
        if (rc != SQLITE_OK)
            return sqlite_failed(s, rc, "prepare a statement", err);
    }
    *out = s->statements[which];
    return STATUS_OK;
}

void
sqlite_bind_text(sqlite3_stmt *stmt, int index, const char *text)
{
    sqlite3_bind_text(stmt, index, text, -1, SQLITE_STATIC);
}

void
sqlite_bind_optional(sqlite3_stmt *stmt, int index, const char *text)
{
    if (text == NULL || text[0] == '\0')
        sqlite3_bind_null(stmt, index);
    else
        sqlite_bind_text(stmt, index, text);
}

enum status
sqlite_run(struct sqlite_store *s, sqlite3_stmt *stmt, const char *doing, struct error *err)
{
    int rc = sqlite3_step(stmt);

    if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
        rc = sqlite3_extended_errcode(s->db);
        sqlite3_reset(stmt);
        return sqlite_failed(s, rc, doing, err);
    }
    sqlite3_reset(stmt);
    return STATUS_OK;
}

enum status
sqlite_next(struct sqlite_store *s, sqlite3_stmt *stmt, bool *row, const char *doing,
            struct error *err)
{
    int rc = sqlite3_step(stmt);

    *row = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW)
        return STATUS_OK;
    if (rc != SQLITE_DONE)
        rc = sqlite3_extended_errcode(s->db);
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? STATUS_OK : sqlite_failed(s, rc, doing, err);
}

enum status
sqlite_one_int(struct sqlite_store *s, sqlite3_stmt *stmt, int64_t fallback, int64_t *out,
               const char *doing, struct error *err)
{
    bool row;
    enum status status = sqlite_next(s, stmt, &row, doing, err);

    *out = fallback;
    if (status != STATUS_OK || !row)
        return status;
    if (sqlite3_column_type(stmt, 0) != SQLITE_NULL)
        *out = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

bool
sqlite_text(sqlite3_stmt *stmt, int column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);
    size_t length = (size_t)sqlite3_column_bytes(stmt, column);

    if (text == NULL || length >= size) {
        out[0] = '\0';
        return text == NULL;
    }
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

enum status
sqlite_too_long(struct sqlite_store *s, sqlite3_stmt *stmt, struct error *err)
{
    sqlite3_reset(stmt);
    return error_set(err, STATUS_CORRUPT,
                     "store %s: a stored text is longer than it can be; run `spendgate verify`",
                     s->path);
}
