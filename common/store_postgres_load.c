/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL store: what is read on the way of a request, and the text of every statement that
 * is used more than now and then.
 */
#include "common/store_postgres.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

/* The accounts of a chain, their lines, and the period row of each that contains the instant `AT`;
 * a credit counts when it is in force now ($2), or at the last instant of a period that is over. */
#define PERIOD_COLUMNS                                                                           \
    "p.start_us, p.end_us, p.spent_nanos, p.held_nanos, p.alerted, "                             \
    "CASE WHEN b.credits_nanos <> 0 AND p.end_us IS NOT NULL THEN (SELECT sum(c.amount_nanos) "  \
    "FROM spendgate.credit c WHERE c.budget_id = b.id AND c.from_us <= least($2, p.end_us - 1) " \
    "AND c.until_us > least($2, p.end_us - 1))::bigint ELSE 0 END"
#define PERIOD_JOIN(at)                                                                    \
    "LEFT JOIN LATERAL (SELECT * FROM spendgate.budget_period q WHERE q.budget_id = b.id " \
    "AND q.start_us <= " at " ORDER BY q.start_us DESC LIMIT 1) p ON true "
#define CHAIN_COLUMNS PG_ACCOUNT_COLUMNS ", m.roles, " PG_LINE_COLUMNS ", " PERIOD_COLUMNS
#define CHAIN_JOINS                                                                 \
    "JOIN spendgate.account a ON a.id = m.account_id LEFT JOIN spendgate.budget b " \
    "ON b.id > a.id * 256 AND b.id < a.id * 256 + 256 "
#define LOCK_ACCOUNTS(chain)                                                        \
    "SELECT a.id FROM spendgate.account a WHERE a.id IN (SELECT m.account_id FROM " \
    "spendgate.chain_account m WHERE m.chain_id = " chain ") ORDER BY a.id "        \
    "FOR NO KEY UPDATE OF a"
#define HOLD_BY_ID \
    "SELECT " PG_HOLD_COLUMNS " FROM spendgate.hold h WHERE h.id = $1 AND h.nonce = $2"

const struct pg_text pg_texts[PG_STATEMENTS] = {
    [PG_BEGIN_READ] = { "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "begin", false },
    [PG_BEGIN_WRITE] = { "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", "begin", false },
    /* Shorter than our own wait for the answer; a process that is stopped in the middle does not
     * keep its locks for longer than the last. */
    [PG_LIMITS] = { "SELECT set_config('lock_timeout', '2000', true), "
                    "set_config('statement_timeout', '4000', true), "
                    "set_config('idle_in_transaction_session_timeout', '5000', true), "
                    "set_config('synchronous_commit', 'off', true)",
                    "begin", false },
    [PG_COMMIT] = { "COMMIT", "commit", false },
    [PG_ROLLBACK] = { "ROLLBACK", "roll back", false },
    [PG_SAVEPOINT] = { "SAVEPOINT element", "begin", false },
    [PG_RELEASE] = { "RELEASE SAVEPOINT element", "commit", false },
    [PG_ROLLBACK_TO] = { "ROLLBACK TO SAVEPOINT element", "roll back", false },
    /* A transaction without a record of its own would not be flushed. */
    [PG_FLUSH] = { "SELECT set_config('synchronous_commit', 'on', true), "
                   "pg_logical_emit_message(true, 'spendgate', '')",
                   "flush the log", false },
    [PG_CLOCK] = { "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
                   "read the clock", false },
    [PG_SCHEMA] = { "SELECT coalesce(max(number), 0) FROM spendgate.schema_step",
                    "read the schema version", false },
    [PG_BLOCK_HOLD] = { "SELECT nextval('spendgate.hold_number')", "number holds", false },
    [PG_BLOCK_CHARGE] = { "SELECT nextval('spendgate.charge_number')", "number charges", false },
    [PG_BLOCK_CREDIT] = { "SELECT nextval('spendgate.credit_number')", "number credits", false },
    [PG_BLOCK_EVENT] = { "SELECT nextval('spendgate.event_number')", "number events", false },
    [PG_LOCK_CHAIN] = { LOCK_ACCOUNTS("$1"), "lock accounts", false },
    [PG_LOCK_CHAIN_OF_HOLD] = { LOCK_ACCOUNTS("(SELECT h.chain_id FROM spendgate.hold h "
                                              "WHERE h.id = $1 AND h.nonce = $2)"),
                                "lock accounts", false },
    [PG_LOAD_CHAIN] = { "SELECT " CHAIN_COLUMNS
                        " FROM spendgate.chain_account m " CHAIN_JOINS PERIOD_JOIN(
                            "$3") "WHERE m.chain_id = $1 ORDER BY m.position, b.id",
                        "read a chain", false },
    [PG_LOAD_CHAIN_OF_HOLD] = { "SELECT " CHAIN_COLUMNS
                                " FROM spendgate.hold h JOIN spendgate.chain_account m "
                                "ON m.chain_id = h.chain_id " CHAIN_JOINS PERIOD_JOIN(
                                    "CASE WHEN $3::bigint = 0 THEN h.placed_us ELSE $3 "
                                    "END") "WHERE h.id = $1 AND h.nonce = $4 ORDER BY "
                                           "m.position, b.id",
                                "read a chain", false },
    [PG_LINES] = { "SELECT " PG_LINE_COLUMNS ", " PERIOD_COLUMNS
                   " FROM spendgate.budget b " PERIOD_JOIN(
                       "$3") "WHERE b.id > $1::bigint * 256 AND b.id < $1 * 256 + 256 ORDER BY "
                             "b.id",
                   "read budget lines", false },
    [PG_OLDEST] = { "SELECT min(expires_us) FROM spendgate.hold WHERE state = 0",
                    "look for expired holds", false },
    [PG_RATE] = { "SELECT tat_ns FROM spendgate.rate WHERE account_id = $1 AND name = $2",
                  "read a rate", false },
    [PG_HOLD] = { HOLD_BY_ID, "read a hold", false },
    [PG_HOLD_LOCKED] = { HOLD_BY_ID " FOR NO KEY UPDATE OF h", "read a hold", false },
    [PG_CHARGED] = { "SELECT amount_nanos FROM spendgate.charge WHERE id = $1", "read a charge",
                     false },
    [PG_CHARGE] = { "SELECT " PG_CHARGE_COLUMNS " " PG_CHARGE_FROM
                    "WHERE c.id = $1 AND c.nonce = $2",
                    "read a charge", false },
    [PG_REFUNDED] = { "SELECT coalesce(sum(amount_nanos), 0)::bigint FROM spendgate.charge "
                      "WHERE refund_of = $1 AND refund_of <> 0",
                      "read refunds", false },
    [PG_ADMISSION] = { "SELECT " PG_HOLD_COLUMNS ", a.hold_id FROM spendgate.admission a "
                       "LEFT JOIN spendgate.hold h ON h.id = a.hold_id AND a.hold_id <> 0 "
                       "WHERE a.key = $1 AND (a.expires_us > $2 OR h.state = 0)",
                       "read an admission", false },
    [PG_IDEMPOTENCY] = { "SELECT fingerprint, reply FROM spendgate.idempotency WHERE scope = $1 "
                         "AND key = $2",
                         "read an idempotency key", true },
    [PG_ACCOUNT_BY_NAME] = { "SELECT " PG_ACCOUNT_COLUMNS
                             " FROM spendgate.account a WHERE a.name = $1",
                             "read an account", false },
    [PG_ACCOUNT_LOCK] = { "SELECT a.id FROM spendgate.account a WHERE a.name = $1 "
                          "FOR NO KEY UPDATE OF a",
                          "lock an account", false },
    [PG_ACCOUNT_BY_ID] = { "SELECT " PG_ACCOUNT_COLUMNS " FROM spendgate.account a WHERE a.id = $1",
                           "read an account", false },
    [PG_TREE_LOCK] = { "SELECT pg_advisory_xact_lock(hashtextextended('spendgate.parents', 0))",
                       "lock the parents", false },
    [PG_GENERATIONS] = { "WITH RECURSIVE below (id, depth) AS (VALUES ($1::bigint, 0) UNION ALL "
                         "SELECT a.id, b.depth + 1 FROM below b JOIN spendgate.account a "
                         "ON a.parent_id = b.id AND a.parent_id <> 0 WHERE b.depth < $2::integer) "
                         "SELECT max(depth) FROM below",
                         "look below an account", false },
    [PG_CHAIN_FIND] = { "SELECT id FROM spendgate.chain WHERE spec = $1", "find a chain", false },
    [PG_CHAIN_INSERT] = { "INSERT INTO spendgate.chain (spec, payer_id) VALUES ($1, $2) "
                          "ON CONFLICT (spec) DO NOTHING",
                          "make a chain", false },
    [PG_CHAIN_MEMBERS] = { "INSERT INTO spendgate.chain_account (chain_id, position, account_id, "
                           "roles) SELECT n.id, u.position - 1, u.account_id, u.roles "
                           "FROM spendgate.chain n, unnest($2::bigint[], $3::integer[]) "
                           "WITH ORDINALITY AS u (account_id, roles, position) WHERE n.spec = $1 "
                           "ON CONFLICT DO NOTHING",
                           "make a chain", false },
    [PG_LAST_SEEN] = { "SELECT coalesce((SELECT o.name FROM spendgate.chain_account n JOIN "
                       "spendgate.account o "
                       "ON o.id = n.account_id WHERE n.chain_id = m.chain_id AND n.roles & "
                       "$3::integer <> 0), "
                       "'') FROM spendgate.account a JOIN spendgate.chain_account m ON "
                       "m.account_id = a.id "
                       "WHERE a.name = $1 AND m.roles & $2::integer <> 0 ORDER BY m.chain_id DESC "
                       "LIMIT 1",
                       "find a name last seen", false },
    [PG_SPENT] = { "SELECT coalesce(sum(CASE c.kind WHEN 1 THEN -c.amount_nanos "
                   "ELSE c.amount_nanos END), 0)::bigint FROM spendgate.chain_account m "
                   "JOIN spendgate.charge c ON c.chain_id = m.chain_id WHERE m.account_id = $1 "
                   "AND c.at_us >= $2 AND c.at_us < $3",
                   "sum the journal", false },
    [PG_HELD] = { "SELECT coalesce(sum(h.amount_nanos), 0)::bigint FROM spendgate.hold h "
                  "WHERE h.state = 0 AND h.placed_us >= $2 AND h.placed_us < $3 AND EXISTS "
                  "(SELECT 1 FROM spendgate.chain_account m WHERE m.account_id = $1 "
                  "AND m.chain_id = h.chain_id)",
                  "sum the journal", false },
    [PG_CREDIT_SUM] = { "SELECT coalesce(sum(amount_nanos), 0)::bigint FROM spendgate.credit "
                        "WHERE budget_id = $1 AND from_us < $3 AND until_us > $2",
                        "sum credits", false },
    [PG_HISTORY] = { "SELECT p.start_us, p.end_us, p.spent_nanos, "
                     "(SELECT coalesce(sum(c.amount_nanos), 0)::bigint FROM spendgate.credit c "
                     "WHERE c.budget_id = p.budget_id AND c.from_us < p.end_us "
                     "AND c.until_us > p.start_us) FROM spendgate.budget_period p "
                     "WHERE p.budget_id = $1 AND p.end_us <= $2 ORDER BY p.start_us DESC LIMIT $3",
                     "read earlier periods", false },
    [PG_ROUTE_AMOUNTS] = { "SELECT amount_nanos FROM spendgate.charge WHERE route = $1 "
                           "AND kind = 0 ORDER BY id DESC LIMIT $2",
                           "read a route's charges", false },
    [PG_EXPIRED] = { "SELECT id, nonce FROM spendgate.hold WHERE state = 0 AND expires_us <= $1 "
                     "ORDER BY expires_us LIMIT $2",
                     "read expired holds", false },
    [PG_UNKNOWN_HOLD] = { "SELECT " PG_CHARGE_COLUMNS " " PG_CHARGE_FROM
                          "WHERE c.id = (SELECT t.charge_id FROM spendgate.charge_hold_text t "
                          "WHERE t.hold_text = $1)",
                          "read a charge", false },
    [PG_PRICE_FIND] = { "SELECT p.id, p.provider, p.model, p.from_us, p.source, p.rates "
                        "FROM spendgate.price p WHERE p.model = $1 AND ($2::text IS NULL OR "
                        "p.provider = $2) AND p.from_us = coalesce((SELECT max(q.from_us) FROM "
                        "spendgate.price q WHERE q.model = p.model AND q.provider = p.provider AND "
                        "q.from_us <= coalesce((SELECT h.placed_us FROM spendgate.hold h WHERE "
                        "h.id = $3 AND h.nonce = $4), $5)), (SELECT min(q.from_us) FROM "
                        "spendgate.price q WHERE q.model = p.model AND q.provider = p.provider AND "
                        "q.from_us <= $5)) ORDER BY p.provider LIMIT 2",
                        "read a price", false },
    [PG_PRICE_LOCK] = { "SELECT pg_advisory_xact_lock(hashtextextended('spendgate.price', 0))",
                        "lock the prices", false },
    [PG_PRICE_INSERT] = { "INSERT INTO spendgate.price (provider, model, from_us, source, rates) "
                          "VALUES ($1, $2, $3, $4, $5)",
                          "write a price", false },
    [PG_VERIFICATION] = { "SELECT value FROM spendgate.counter WHERE name = 'verification'",
                          "read the verification counter", false },
    [PG_VERIFICATION_NEXT] = { "UPDATE spendgate.counter SET value = value + 1 "
                               "WHERE name = 'verification' RETURNING value",
                               "advance the verification counter", false },
    [PG_PRUNED_UNTIL] = { "SELECT value FROM spendgate.counter WHERE name = 'pruned_until_us'",
                          "read what was pruned", false },
    [PG_ACCOUNT_INSERT] = { "INSERT INTO spendgate.account (name, plan, parent_id, frozen, "
                            "revoked, "
                            "expires_us, verify_after, live_holds, first_seen_us) "
                            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
                            "ON CONFLICT (name) DO NOTHING RETURNING id",
                            "make an account", false },
    [PG_ACCOUNT_UPDATE] = { "UPDATE spendgate.account SET plan = $2, parent_id = $3, frozen = $4, "
                            "revoked = $5, expires_us = $6, verify_after = $7, live_holds = $8 "
                            "WHERE id = $1",
                            "write an account", false },
    [PG_LINE_NEXT] = { "SELECT coalesce(max(id), $1::bigint * 256) + 1 FROM spendgate.budget "
                       "WHERE id > $1 * 256 AND id < $1 * 256 + 256",
                       "make a budget line", false },
    [PG_LINE_INSERT] = { "INSERT INTO spendgate.budget (id, account_id, kind, timezone, "
                         "anchor_day, week_start, created_us, hand_limit_nanos, hand_enforce) "
                         "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                         "make a budget line", false },
    [PG_LINE_UPDATE] = { "UPDATE spendgate.budget SET hand_limit_nanos = $2, hand_enforce = $3 "
                         "WHERE id = $1",
                         "write a budget line", false },
    [PG_PERIOD_WRITE] = { "INSERT INTO spendgate.budget_period (budget_id, start_us, end_us, "
                          "spent_nanos, held_nanos, alerted) VALUES ($1, $2, $3, $4, $5, $6) "
                          "ON CONFLICT (budget_id, start_us) DO UPDATE SET "
                          "spent_nanos = excluded.spent_nanos, held_nanos = excluded.held_nanos, "
                          "alerted = excluded.alerted",
                          "write a period", false },
    [PG_HOLD_INSERT] = { "INSERT INTO spendgate.hold (id, nonce, chain_id, state, amount_nanos, "
                         "placed_us, expires_us, ttl_us, charge_id, caller, plan, route) "
                         "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                         "place a hold", false },
    [PG_HOLD_UPDATE] = { "UPDATE spendgate.hold SET state = $2, amount_nanos = $3, "
                         "expires_us = $4, charge_id = $5, placed_us = $6, "
                         "expiry_charged_nanos = $7, expiry_charge_id = $8 WHERE id = $1",
                         "write a hold", false },
    [PG_CHARGE_INSERT] = { "INSERT INTO spendgate.charge (id, nonce, kind, chain_id, "
                           "amount_nanos, at_us, created_us, occurred_us, hold_id, refund_of, "
                           "hold_text, model, route, tags, token, note, metadata, usage, price_id) "
                           "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, "
                           "$15, $16, $17, $18, $19)",
                           "record a charge", false },
    [PG_CHARGE_HOLD_TEXT] = { "INSERT INTO spendgate.charge_hold_text (hold_text, charge_id) "
                              "VALUES ($1, $2)",
                              "record a charge", false },
    [PG_CREDIT_INSERT] = { "INSERT INTO spendgate.credit (id, budget_id, amount_nanos, from_us, "
                           "until_us, created_us, who, note) "
                           "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                           "record a credit", false },
    [PG_CREDIT_ADD] = { "UPDATE spendgate.budget SET credits_nanos = credits_nanos + $2 "
                        "WHERE id = $1",
                        "record a credit", false },
    [PG_RATE_WRITE] = { "INSERT INTO spendgate.rate (account_id, name, tat_ns) VALUES ($1, $2, $3) "
                        "ON CONFLICT (account_id, name) DO UPDATE SET tat_ns = excluded.tat_ns",
                        "write a rate", false },
    [PG_ADMISSION_WRITE] = { "INSERT INTO spendgate.admission (key, hold_id, expires_us) "
                             "VALUES ($1, $2, $3) ON CONFLICT (key) DO UPDATE SET "
                             "hold_id = excluded.hold_id, expires_us = excluded.expires_us",
                             "note an admission", false },
    [PG_IDEMPOTENCY_WRITE] = { "INSERT INTO spendgate.idempotency (scope, key, fingerprint, reply, "
                               "created_us) VALUES ($1, $2, $3, $4, $5)",
                               "keep a reply", false },
    [PG_EVENT_INSERT] = { "INSERT INTO spendgate.event (id, kind, account_id, budget_id, "
                          "period_start_us, hold_id, percent, created_us, who, text, note) "
                          "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                          "write an event", false },
    [PG_ACCOUNT_NAMES] = { "SELECT name FROM spendgate.account WHERE name > $1 ORDER BY name "
                           "LIMIT $2",
                           "list accounts", false },
};

/* ---- columns -------------------------------------------------------------------------------- */

bool
pg_is_null(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) != 0;
}

/* The server writes bigints in full and in range. */
int64_t
pg_get_int(const PGresult *result, int row, int column)
{
    const char *text = row < PQntuples(result) ? PQgetvalue(result, row, column) : "";
    bool negative = text[0] == '-';
    uint64_t value = 0;

    for (text += negative; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    return (int64_t)(negative ? 0 - value : value);
}

bool
pg_get_text(const PGresult *result, int row, int column, char *out, size_t size)
{
    return text_copy(out, size, PQgetvalue(result, row, column)); /* "" for NULL */
}

enum status
pg_too_long(const struct postgres_store *s, struct error *err)
{
    return error_set(err, STATUS_CORRUPT,
                     "store %s: a stored text is longer than it can be; run `spendgate verify`",
                     s->place);
}

bool
pg_read_account(const PGresult *r, int row, int first, struct account *out)
{
    memset(out, 0, sizeof(*out));
    out->id = pg_get_int(r, row, first);
    out->parent_id = pg_get_int(r, row, first + 3);
    out->frozen = pg_get_int(r, row, first + 4) != 0;
    out->revoked = pg_get_int(r, row, first + 5) != 0;
    out->expires_us = pg_get_int(r, row, first + 6);
    out->verify_after = pg_get_int(r, row, first + 7);
    out->live_holds = pg_get_int(r, row, first + 8);
    out->first_seen_us = pg_get_int(r, row, first + 9);
    return pg_get_text(r, row, first + 1, out->name, sizeof(out->name)) &&
           pg_get_text(r, row, first + 2, out->plan, sizeof(out->plan));
}

bool
pg_read_line(const PGresult *r, int row, int first, int account, struct budget_line *out)
{
    memset(out, 0, sizeof(*out));
    out->account = account;
    out->id = pg_get_int(r, row, first);
    out->spec.kind = (enum period_kind)pg_get_int(r, row, first + 1);
    out->spec.anchor_day = (int)pg_get_int(r, row, first + 3);
    out->spec.week_start = (int)pg_get_int(r, row, first + 4);
    out->created_us = pg_get_int(r, row, first + 5);
    out->hand_limited = !pg_is_null(r, row, first + 6);
    out->hand_limit_nanos = pg_get_int(r, row, first + 6);
    out->hand_enforced = !pg_is_null(r, row, first + 7);
    out->hand_enforce = (enum enforce)pg_get_int(r, row, first + 7);
    out->has_credits = pg_get_int(r, row, first + 8) != 0;
    return pg_get_text(r, row, first + 2, out->spec.timezone, sizeof(out->spec.timezone));
}

/* The last period row that starts at or before `at_us`; it is the one asked for only when it has
 * not ended by then. */
static void
read_period(const PGresult *r, int row, int first, int64_t at_us, struct budget_line *line)
{
    if (pg_is_null(r, row, first) || pg_get_int(r, row, first + 1) <= at_us)
        return;
    line->period_stored = true;
    line->period.start_us = pg_get_int(r, row, first);
    line->period.end_us = pg_get_int(r, row, first + 1);
    line->spent_nanos = pg_get_int(r, row, first + 2);
    line->held_nanos = pg_get_int(r, row, first + 3);
    line->alerted = (int)pg_get_int(r, row, first + 4);
    line->credit_nanos = pg_get_int(r, row, first + 5);
}

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void
read_caller(const char *hex, uint8_t out[CALLER_BYTES])
{
    for (size_t i = 0; i < CALLER_BYTES && hex_digit(hex[0]) >= 0 && hex_digit(hex[1]) >= 0; i++) {
        out[i] = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
        hex += 2;
    }
}

bool
pg_read_hold(const PGresult *r, int row, int first, struct hold *out)
{
    memset(out, 0, sizeof(*out));
    out->id = pg_get_int(r, row, first);
    out->nonce = (uint64_t)pg_get_int(r, row, first + 1);
    out->chain_id = pg_get_int(r, row, first + 2);
    out->state = (enum hold_state)pg_get_int(r, row, first + 3);
    out->amount_nanos = pg_get_int(r, row, first + 4);
    out->placed_us = pg_get_int(r, row, first + 5);
    out->expires_us = pg_get_int(r, row, first + 6);
    out->ttl_us = pg_get_int(r, row, first + 7);
    out->charge_id = pg_get_int(r, row, first + 8);
    read_caller(PQgetvalue(r, row, first + 9), out->caller);
    out->expiry_charged_nanos = pg_get_int(r, row, first + 12);
    out->expiry_charge_id = pg_get_int(r, row, first + 13);
    return pg_get_text(r, row, first + 10, out->plan, sizeof(out->plan)) &&
           pg_get_text(r, row, first + 11, out->route, sizeof(out->route));
}

bool
pg_read_charge(const PGresult *r, int row, struct charge_row *out)
{
    struct charge *c = &out->charge;

    memset(out, 0, sizeof(*out));
    c->id = pg_get_int(r, row, 0);
    c->nonce = (uint64_t)pg_get_int(r, row, 1);
    c->kind = (enum charge_kind)pg_get_int(r, row, 2);
    out->chain_id = pg_get_int(r, row, 3);
    c->amount_nanos = pg_get_int(r, row, 4);
    c->at_us = pg_get_int(r, row, 5);
    c->created_us = pg_get_int(r, row, 6);
    c->occurred_us = pg_get_int(r, row, 7);
    out->hold_number = pg_get_int(r, row, 8);
    c->refund_of = pg_get_int(r, row, 9);
    c->refund_of_nonce = (uint64_t)pg_get_int(r, row, 20);
    c->price_id = pg_get_int(r, row, 22);
    if (!pg_get_text(r, row, 10, c->hold_id, sizeof(c->hold_id)))
        return false;
    if (out->hold_number != 0 && !pg_is_null(r, row, 11))
        public_id_format("hld_", out->hold_number, (uint64_t)pg_get_int(r, row, 11), c->hold_id);
    return pg_get_text(r, row, 12, c->account, sizeof(c->account)) &&
           pg_get_text(r, row, 13, c->key_id, sizeof(c->key_id)) &&
           pg_get_text(r, row, 14, c->model, sizeof(c->model)) &&
           pg_get_text(r, row, 15, c->route, sizeof(c->route)) &&
           pg_get_text(r, row, 16, c->tags, sizeof(c->tags)) &&
           pg_get_text(r, row, 17, c->token, sizeof(c->token)) &&
           pg_get_text(r, row, 18, c->note, sizeof(c->note)) &&
           pg_get_text(r, row, 19, c->metadata, sizeof(c->metadata)) &&
           pg_get_text(r, row, 21, c->usage, sizeof(c->usage));
}

/* ---- accounts ------------------------------------------------------------------------------- */

static enum status
read_one_account(struct postgres_store *s, const PGresult *result, struct account *out,
                 struct error *err)
{
    memset(out, 0, sizeof(*out));
    if (PQntuples(result) == 0)
        return STATUS_OK;
    return pg_read_account(result, 0, 0, out) ? STATUS_OK : pg_too_long(s, err);
}

#define NAMES_MAX 8

enum status
postgres_accounts_find(struct store_backend *backend, const char *const *names, size_t count,
                       struct account *out, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    PGresult *found[NAMES_MAX] = { NULL };
    enum status status = pg_ensure_begun(s, err);

    assert(count <= NAMES_MAX);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        struct pg_params p = { 0 };

        pg_string(&p, names[i]);
        status = pg_queue(s, PG_ACCOUNT_BY_NAME, &p, &found[i], err);
    }
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        status = read_one_account(s, found[i], &out[i], err);
    for (size_t i = 0; i < count; i++)
        PQclear(found[i]);
    return status;
}

enum status
postgres_account_lock(struct store_backend *backend, const char *name, struct account *out,
                      struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    enum status status = pg_ensure_begun(s, err);

    pg_string(&p, name);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_ACCOUNT_LOCK, &p, NULL, err);
    return status == STATUS_OK ? postgres_accounts_find(backend, &name, 1, out, err) : status;
}

enum status
postgres_account_get(struct store_backend *backend, int64_t id, struct account *out,
                     struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_int(&p, id);
    status = pg_run(s, PG_ACCOUNT_BY_ID, &p, &result, err);
    if (status == STATUS_OK)
        status = read_one_account(s, result, out, err);
    PQclear(result);
    if (status == STATUS_OK && out->id == 0)
        return error_set(err, STATUS_NOT_FOUND, "store %s: there is no account %" PRId64, s->place,
                         id);
    return status;
}

/* The one integer of the one row; `fallback` when there is no row or NULL. */
static enum status
one_int(struct postgres_store *s, enum pg_statement which, const struct pg_params *p,
        int64_t fallback, int64_t *out, struct error *err)
{
    PGresult *result;
    enum status status = pg_run(s, which, p, &result, err);

    *out = fallback;
    if (status == STATUS_OK && PQntuples(result) > 0 && !pg_is_null(result, 0, 0))
        *out = pg_get_int(result, 0, 0);
    PQclear(result);
    return status;
}

enum status
postgres_generations_below(struct store_backend *backend, int64_t id, int *out, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    int64_t depth = 0;
    enum status status = pg_ensure_begun(s, err);

    pg_int(&p, id);
    pg_int(&p, LEDGER_PARENTS_MAX + 1); /* a circle made by hand ends here */
    if (status == STATUS_OK && s->mode == STORE_WRITE)
        status = pg_queue(s, PG_TREE_LOCK, NULL, NULL, err);
    if (status == STATUS_OK)
        status = one_int(s, PG_GENERATIONS, &p, 0, &depth, err);
    *out = (int)depth;
    return status;
}

enum status
postgres_last_seen(struct store_backend *backend, enum chain_role role, const char *key_id,
                   const char *subject, char out[ACCOUNT_NAME_SIZE], struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    char name[ACCOUNT_NAME_SIZE + 4];
    struct pg_params p = { 0 };
    struct buf text;
    PGresult *result;
    enum status status;

    out[0] = '\0';
    buf_init(&text, name, sizeof(name));
    buf_add_format(&text, "%s%s", key_id[0] != '\0' ? "key:" : "",
                   key_id[0] != '\0' ? key_id : subject);
    pg_string(&p, name);
    pg_int(&p, key_id[0] != '\0' ? (int64_t)CHAIN_KEY : (int64_t)CHAIN_SUBJECT);
    pg_int(&p, (int64_t)role);
    status = pg_run(s, PG_LAST_SEEN, &p, &result, err);
    if (status == STATUS_OK && PQntuples(result) > 0 &&
        !pg_get_text(result, 0, 0, out, ACCOUNT_NAME_SIZE))
        status = pg_too_long(s, err);
    PQclear(result);
    return status;
}

/* ---- load ----------------------------------------------------------------------------------- */

/* The answers of one load; NULL where nothing was asked. */
struct answers {
    PGresult *hold, *refunded, *idempotency, *admission, *oldest, *chain, *clock;
    PGresult *rates[LEDGER_RATES_MAX];
    PGresult *blocks[PG_BLOCKS];
};

static void
clear_answers(struct answers *a)
{
    PQclear(a->hold);
    PQclear(a->refunded);
    PQclear(a->idempotency);
    PQclear(a->admission);
    PQclear(a->oldest);
    PQclear(a->chain);
    PQclear(a->clock);
    for (size_t i = 0; i < LEDGER_RATES_MAX; i++)
        PQclear(a->rates[i]);
    for (size_t i = 0; i < PG_BLOCKS; i++)
        PQclear(a->blocks[i]);
}

/* The line in columns `first`.. with its period, appended to the ledger. */
static enum status
append_line(struct postgres_store *s, const PGresult *r, int row, int first, int account,
            int64_t at_us, struct ledger *ledger, struct error *err)
{
    struct budget_line *line;

    if (ledger->line_count == LEDGER_LINES_MAX)
        return error_set(
            err, STATUS_OVERFLOW,
            "store %s: a request counts on more than %d budget lines; give its accounts fewer",
            s->place, LEDGER_LINES_MAX);
    line = &ledger->lines[ledger->line_count++];
    if (!pg_read_line(r, row, first, account, line))
        return pg_too_long(s, err);
    read_period(r, row, first + PG_LINE_WIDTH, at_us, line);
    return STATUS_OK;
}

static enum status
append_account(struct postgres_store *s, const PGresult *r, int row, struct ledger *ledger,
               struct error *err)
{
    int index = (int)ledger->account_count;
    int64_t roles = pg_get_int(r, row, PG_ACCOUNT_WIDTH);

    if (index == LEDGER_ACCOUNTS_MAX)
        return error_set(err, STATUS_CORRUPT, "store %s: a chain has too many accounts", s->place);
    if (!pg_read_account(r, row, 0, &ledger->accounts[index]))
        return pg_too_long(s, err);
    ledger->account_count++;
    if ((roles & CHAIN_KEY) != 0)
        ledger->key = index;
    if ((roles & CHAIN_SUBJECT) != 0)
        ledger->subject = index;
    if ((roles & CHAIN_ORGANIZATION) != 0)
        ledger->organization = index;
    return STATUS_OK;
}

static enum status
read_chain(struct postgres_store *s, const PGresult *r, int64_t at_us, struct ledger *ledger,
           struct error *err)
{
    int64_t account = 0;
    enum status status = STATUS_OK;

    for (int row = 0; row < PQntuples(r) && status == STATUS_OK; row++) {
        if (pg_get_int(r, row, 0) != account) {
            account = pg_get_int(r, row, 0);
            status = append_account(s, r, row, ledger, err);
        }
        if (status == STATUS_OK && !pg_is_null(r, row, PG_ACCOUNT_WIDTH + 1))
            status = append_line(s, r, row, PG_ACCOUNT_WIDTH + 1, (int)ledger->account_count - 1,
                                 at_us, ledger, err);
    }
    return status;
}

enum status
postgres_load_lines(struct store_backend *backend, struct ledger *ledger, int index, int64_t at_us,
                    int64_t now_us, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_int(&p, ledger->accounts[index].id);
    pg_int(&p, now_us);
    pg_int(&p, at_us);
    status = pg_run(s, PG_LINES, &p, &result, err);
    for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++)
        status = append_line(s, result, row, 0, index, at_us, ledger, err);
    PQclear(result);
    return status;
}

/* A charge never changes, so it is read before its accounts are locked: it says which they are. */
static enum status
load_charge(struct postgres_store *s, struct store_load *load, struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_int(&p, load->charge_id);
    pg_int(&p, (int64_t)load->charge_nonce);
    status = pg_run(s, PG_CHARGE, &p, &result, err);
    load->charge_found = status == STATUS_OK && PQntuples(result) > 0;
    if (load->charge_found && !pg_read_charge(result, 0, &load->charge))
        status = pg_too_long(s, err);
    PQclear(result);
    return status;
}

static enum status
queue_locks(struct postgres_store *s, const struct store_load *load, int64_t chain,
            struct error *err)
{
    struct pg_params p = { 0 };

    if (chain != 0) {
        pg_int(&p, chain);
        return pg_queue(s, PG_LOCK_CHAIN, &p, NULL, err);
    }
    if (load->hold_id == 0)
        return STATUS_OK;
    pg_int(&p, load->hold_id);
    pg_int(&p, (int64_t)load->hold_nonce);
    return pg_queue(s, PG_LOCK_CHAIN_OF_HOLD, &p, NULL, err);
}

static enum status
queue_chain(struct postgres_store *s, const struct store_load *load, int64_t chain, int64_t at_us,
            PGresult **out, struct error *err)
{
    struct pg_params p = { 0 };

    if (chain == 0 && load->hold_id == 0)
        return STATUS_OK;
    pg_int(&p, chain != 0 ? chain : load->hold_id);
    pg_int(&p, load->now_us);
    pg_int(&p, at_us);
    if (chain == 0)
        pg_int(&p, (int64_t)load->hold_nonce);
    return pg_queue(s, chain != 0 ? PG_LOAD_CHAIN : PG_LOAD_CHAIN_OF_HOLD, &p, out, err);
}

static enum status
queue_hold(struct postgres_store *s, const struct store_load *load, PGresult **out,
           struct error *err)
{
    struct pg_params p = { 0 };

    if (load->hold_id == 0)
        return STATUS_OK;
    pg_int(&p, load->hold_id);
    pg_int(&p, (int64_t)load->hold_nonce);
    return pg_queue(s, s->mode == STORE_WRITE ? PG_HOLD_LOCKED : PG_HOLD, &p, out, err);
}

/* What may be in the store about this very request: earlier replies, calls and refunds. */
static enum status
queue_earlier(struct postgres_store *s, const struct store_load *load, struct answers *a,
              struct error *err)
{
    struct pg_params charge = { 0 }, key = { 0 }, admission = { 0 };
    enum status status = STATUS_OK;

    if (load->charge_found) {
        pg_int(&charge, load->charge_id);
        status = pg_queue(s, PG_REFUNDED, &charge, &a->refunded, err);
    }
    if (status == STATUS_OK && load->idempotency != NULL) {
        pg_string(&key, load->idempotency_scope);
        pg_string(&key, load->idempotency_key);
        status = pg_queue(s, PG_IDEMPOTENCY, &key, &a->idempotency, err);
    }
    if (status == STATUS_OK && load->admission_key != NULL) {
        pg_bytes(&admission, load->admission_key, ADMISSION_KEY_BYTES);
        pg_int(&admission, load->now_us);
        status = pg_queue(s, PG_ADMISSION, &admission, &a->admission, err);
    }
    return status;
}

static enum status
queue_rates(struct postgres_store *s, const struct ledger *ledger, struct answers *a,
            struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < ledger->rate_count && status == STATUS_OK; i++) {
        struct pg_params p = { 0 };

        pg_int(&p, ledger->rates[i].account_id);
        pg_string(&p, ledger->rates[i].name);
        status = pg_queue(s, PG_RATE, &p, &a->rates[i], err);
    }
    return status;
}

/* What costs no round trip when it is asked for here: numbers for what will be written, and the
 * clock. */
static enum status
queue_supplies(struct postgres_store *s, struct answers *a, struct error *err)
{
    static const enum pg_statement fetch[] = { PG_BLOCK_HOLD, PG_BLOCK_CHARGE, PG_BLOCK_CREDIT,
                                               PG_BLOCK_EVENT };
    enum status status = STATUS_OK;

    if (pg_clock_due(s))
        status = pg_queue(s, PG_CLOCK, NULL, &a->clock, err);
    for (size_t i = 0; i < PG_BLOCKS && status == STATUS_OK && s->mode == STORE_WRITE; i++) {
        if (s->blocks[i].next == s->blocks[i].end)
            status = pg_queue(s, fetch[i], NULL, &a->blocks[i], err);
    }
    return status;
}

static void
read_supplies(struct postgres_store *s, const struct answers *a)
{
    if (a->clock != NULL)
        pg_note_clock(s, pg_get_int(a->clock, 0, 0));
    for (size_t i = 0; i < PG_BLOCKS; i++) {
        if (a->blocks[i] == NULL)
            continue;
        s->blocks[i].next = pg_get_int(a->blocks[i], 0, 0);
        s->blocks[i].end = s->blocks[i].next + PG_ID_BLOCK;
    }
}

static enum status
read_idempotency(struct postgres_store *s, const PGresult *result, struct idempotency_row *out,
                 struct error *err)
{
    size_t length;

    out->found = PQntuples(result) > 0;
    out->reply_length = 0;
    if (!out->found)
        return STATUS_OK;
    length = (size_t)PQgetlength(result, 0, 1);
    if (PQgetlength(result, 0, 0) != SHA256_BYTES || length >= sizeof(out->reply))
        return pg_too_long(s, err);
    memcpy(out->fingerprint, PQgetvalue(result, 0, 0), SHA256_BYTES);
    memcpy(out->reply, PQgetvalue(result, 0, 1), length);
    out->reply[length] = '\0';
    out->reply_length = length;
    return STATUS_OK;
}

/* The hold that was named, or that an earlier call of this client request placed. */
static enum status
read_load_hold(struct postgres_store *s, const struct answers *a, struct store_load *load,
               struct error *err)
{
    const PGresult *from = a->hold;

    if (a->admission != NULL && PQntuples(a->admission) > 0) {
        load->admission_found = true;
        load->admission_hold = pg_get_int(a->admission, 0, PG_HOLD_WIDTH);
        if (load->admission_hold != 0)
            from = a->admission;
    }
    load->hold_found = from != NULL && PQntuples(from) > 0 && !pg_is_null(from, 0, 0);
    if (load->hold_found && !pg_read_hold(from, 0, 0, &load->hold))
        return pg_too_long(s, err);
    return STATUS_OK;
}

static enum status
read_answers(struct postgres_store *s, const struct answers *a, struct store_load *load,
             int64_t at_us, struct error *err)
{
    struct ledger *ledger = load->ledger;
    enum status status = read_load_hold(s, a, load, err);

    read_supplies(s, a);
    if (a->refunded != NULL)
        load->refunded_nanos = pg_get_int(a->refunded, 0, 0);
    if (status == STATUS_OK && a->idempotency != NULL)
        status = read_idempotency(s, a->idempotency, load->idempotency, err);
    if (a->oldest != NULL && !pg_is_null(a->oldest, 0, 0))
        load->oldest_expiry_us = pg_get_int(a->oldest, 0, 0);
    for (size_t i = 0; i < ledger->rate_count; i++)
        ledger->rates[i].tat_ns = pg_get_int(a->rates[i], 0, 0); /* 0 without a row */
    if (at_us == 0)
        at_us = load->hold_found ? load->hold.placed_us : load->now_us;
    if (status == STATUS_OK && a->chain != NULL)
        status = read_chain(s, a->chain, at_us, ledger, err);
    return status;
}

static enum status
queue_load(struct postgres_store *s, const struct store_load *load, int64_t chain, int64_t at_us,
           struct answers *a, struct error *err)
{
    /* One state for all of it, and no second round trip to end it. */
    bool alone = s->mode == STORE_READ && !s->batch;
    enum status status =
        alone ? pg_queue(s, PG_BEGIN_READ, NULL, NULL, err) : pg_ensure_begun(s, err);

    if (status == STATUS_OK && s->mode == STORE_WRITE)
        status = queue_locks(s, load, chain, err);
    if (status == STATUS_OK)
        status = queue_hold(s, load, &a->hold, err);
    if (status == STATUS_OK)
        status = queue_earlier(s, load, a, err);
    if (status == STATUS_OK && load->want_expiry)
        status = pg_queue(s, PG_OLDEST, NULL, &a->oldest, err);
    if (status == STATUS_OK)
        status = queue_chain(s, load, chain, at_us, &a->chain, err);
    if (status == STATUS_OK)
        status = queue_rates(s, load->ledger, a, err);
    if (status == STATUS_OK)
        status = queue_supplies(s, a, err);
    return status == STATUS_OK && alone ? pg_queue(s, PG_COMMIT, NULL, NULL, err) : status;
}

/* Only a post that is repeated asks for it. */
static enum status
load_charged(struct postgres_store *s, struct hold *hold, struct error *err)
{
    struct pg_params p = { 0 };

    pg_int(&p, hold->charge_id);
    return one_int(s, PG_CHARGED, &p, 0, &hold->charged_nanos, err);
}

enum status
postgres_load(struct store_backend *backend, struct store_load *load, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct ledger *ledger = load->ledger;
    int64_t chain = load->chain_id, at_us = load->at_us;
    struct answers a;
    enum status status = STATUS_OK;

    memset(&a, 0, sizeof(a));
    s->now_us = load->now_us;
    load->hold_found = load->charge_found = load->admission_found = false;
    load->refunded_nanos = load->admission_hold = 0;
    load->oldest_expiry_us = INT64_MAX;
    ledger->chain_id = chain;
    ledger->account_count = ledger->line_count = ledger->event_count = 0;
    ledger->key = ledger->subject = ledger->organization = -1;
    if (load->charge_id != 0)
        status = load_charge(s, load, err);
    if (chain == 0 && load->hold_id == 0 && load->charge_found) {
        chain = load->charge.chain_id;
        at_us = at_us != 0 ? at_us : load->charge.charge.at_us;
    }
    if (chain != 0 && at_us == 0)
        at_us = load->now_us;
    if (status == STATUS_OK)
        status = queue_load(s, load, chain, at_us, &a, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status == STATUS_OK)
        status = read_answers(s, &a, load, at_us, err);
    clear_answers(&a);
    if (status == STATUS_OK && ledger->account_count > 0)
        ledger->chain_id = chain != 0 ? chain : load->hold.chain_id;
    if (status == STATUS_OK && load->hold_found && load->hold.charge_id != 0)
        status = load_charged(s, &load->hold, err);
    return status;
}

/* ---- single questions ----------------------------------------------------------------------- */

enum status
postgres_idempotency_find(struct store_backend *backend, const char *scope, const char *key,
                          struct idempotency_row *out, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    out->found = false;
    out->reply_length = 0;
    pg_string(&p, scope);
    pg_string(&p, key);
    status = pg_run(s, PG_IDEMPOTENCY, &p, &result, err);
    if (status == STATUS_OK)
        status = read_idempotency(s, result, out, err);
    PQclear(result);
    return status;
}

enum status
postgres_journal_sum(struct store_backend *backend, int64_t account_id, int64_t start_us,
                     int64_t end_us, int64_t *spent_nanos, int64_t *held_nanos, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *spent = NULL, *held = NULL;
    enum status status = pg_ensure_begun(s, err);

    pg_int(&p, account_id);
    pg_int(&p, start_us);
    pg_int(&p, end_us);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_SPENT, &p, &spent, err);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_HELD, &p, &held, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status == STATUS_OK) {
        *spent_nanos = pg_get_int(spent, 0, 0);
        *held_nanos = pg_get_int(held, 0, 0);
    }
    PQclear(spent);
    PQclear(held);
    return status;
}

enum status
postgres_credit_sum(struct store_backend *backend, int64_t budget_id, int64_t from_us,
                    int64_t to_us, int64_t *nanos, struct error *err)
{
    struct pg_params p = { 0 };

    pg_int(&p, budget_id);
    pg_int(&p, from_us);
    pg_int(&p, to_us);
    return one_int(postgres_of(backend), PG_CREDIT_SUM, &p, 0, nanos, err);
}

enum status
postgres_history(struct store_backend *backend, int64_t budget_id, int64_t before_us,
                 struct period_history *out, size_t *count, struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result;
    int rows;
    enum status status;

    pg_int(&p, budget_id);
    pg_int(&p, before_us);
    pg_int(&p, (int64_t)*count);
    status = pg_run(postgres_of(backend), PG_HISTORY, &p, &result, err);
    rows = status == STATUS_OK ? PQntuples(result) : 0;
    for (int row = 0; row < rows; row++) { /* newest first */
        struct period_history *h = &out[rows - 1 - row];

        h->period.start_us = pg_get_int(result, row, 0);
        h->period.end_us = pg_get_int(result, row, 1);
        h->spent_nanos = pg_get_int(result, row, 2);
        h->credit_nanos = pg_get_int(result, row, 3);
    }
    *count = (size_t)rows;
    PQclear(result);
    return status;
}

enum status
postgres_route_amounts(struct store_backend *backend, const char *route, int64_t *out,
                       size_t *count, struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result;
    int rows;
    enum status status;

    pg_string(&p, route);
    pg_int(&p, (int64_t)*count);
    status = pg_run(postgres_of(backend), PG_ROUTE_AMOUNTS, &p, &result, err);
    rows = status == STATUS_OK ? PQntuples(result) : 0;
    for (int row = 0; row < rows; row++)
        out[row] = pg_get_int(result, row, 0);
    *count = (size_t)rows;
    PQclear(result);
    return status;
}

enum status
postgres_expired(struct store_backend *backend, int64_t now_us, struct hold *out, size_t *count,
                 struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result;
    int rows;
    enum status status;

    pg_int(&p, now_us);
    pg_int(&p, (int64_t)*count);
    status = pg_run(postgres_of(backend), PG_EXPIRED, &p, &result, err);
    rows = status == STATUS_OK ? PQntuples(result) : 0;
    for (int row = 0; row < rows; row++) {
        memset(&out[row], 0, sizeof(out[row]));
        out[row].id = pg_get_int(result, row, 0);
        out[row].nonce = (uint64_t)pg_get_int(result, row, 1);
    }
    *count = (size_t)rows;
    PQclear(result);
    return status;
}

enum status
postgres_unknown_hold(struct store_backend *backend, const char *hold_text, bool *found,
                      struct charge_row *out, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_string(&p, hold_text);
    status = pg_run(s, PG_UNKNOWN_HOLD, &p, &result, err);
    *found = status == STATUS_OK && PQntuples(result) > 0;
    if (*found && !pg_read_charge(result, 0, out))
        status = pg_too_long(s, err);
    PQclear(result);
    return status;
}

enum status
postgres_verification_number(struct store_backend *backend, bool advance, int64_t *out,
                             struct error *err)
{
    return one_int(postgres_of(backend), advance ? PG_VERIFICATION_NEXT : PG_VERIFICATION, NULL, 0,
                   out, err);
}

enum status
postgres_pruned_until(struct store_backend *backend, int64_t *out, struct error *err)
{
    return one_int(postgres_of(backend), PG_PRUNED_UNTIL, NULL, 0, out, err);
}
