/* SPDX-License-Identifier: MIT */
/* The PostgreSQL store: the text of every statement that is used more than now and then. */
#include "common/store_postgres.h"

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
/* `all` is locked by LIMITS. */
#define LOCK_ACCOUNTS(chain)                                                                \
    "SELECT a.id FROM spendgate.account a WHERE a.id IN (SELECT m.account_id FROM "         \
    "spendgate.chain_account m WHERE m.chain_id = " chain ") AND a.name <> 'all' ORDER BY " \
    "a.id FOR NO KEY UPDATE OF a"
/* Shorter than our own wait for the answer; a process that is stopped in the middle does not keep
 * its locks for longer than the last. Then `all`, with the first of these limits. */
#define LIMITS(lock_all)                                                            \
    "SELECT set_config('lock_timeout', '2000', true), "                             \
    "set_config('statement_timeout', '4000', true), "                               \
    "set_config('idle_in_transaction_session_timeout', '5000', true), "             \
    "set_config('synchronous_commit', 'off', true), " lock_all "(hashtextextended(" \
    "'spendgate.all', 0))"
/* Does hold h count where accounts of this array do? Asked of expired holds only, one by one: a
 * join could read every chain of a large account. */
#define IN_CHAIN_WITH(accounts)                                                      \
    "(SELECT true FROM spendgate.chain_account o WHERE o.chain_id = h.chain_id AND " \
    "o.account_id = ANY (" accounts ") LIMIT 1)"
/* Whether a hold's time is over, and whether one of the oldest of these counts on the chain, whose
 * array is made only then (`all` is one of its accounts only when it has a line). Of many that see
 * the same, the lock lets one journal it; the others decide without waiting. */
#define EXPIRY(chain)                                                                         \
    "SELECT m.oldest, CASE WHEN m.oldest <= $2 AND EXISTS (SELECT 1 FROM (SELECT x.chain_id " \
    "FROM spendgate.hold x WHERE x.state = 0 AND x.expires_us <= $2 ORDER BY x.expires_us "   \
    "LIMIT $3) h WHERE " IN_CHAIN_WITH(                                                       \
        "ARRAY (SELECT m.account_id FROM spendgate.chain_account m JOIN spendgate.account a " \
        "ON a.id = m.account_id WHERE m.chain_id = " chain " AND (a.name <> 'all' OR EXISTS " \
        "(SELECT 1 FROM spendgate.budget b WHERE b.id > a.id * 256 AND b.id < a.id * 256 + "  \
        "256)))") ") THEN " EXPIRY_TRY "::int ELSE 0 END FROM (SELECT min(expires_us) AS "    \
                  "oldest FROM spendgate.hold WHERE state = 0) m"
#define EXPIRY_TRY "pg_try_advisory_xact_lock(hashtextextended('spendgate.expiry', 0))"
#define EXPIRED(which)                                                                \
    "SELECT h.id, h.nonce, h.expires_us FROM spendgate.hold h WHERE h.state = 0 AND " \
    "h.expires_us >= $1 AND h.expires_us <= $2 " which "ORDER BY h.expires_us LIMIT $3"
/* A journal is summed chain by chain, or in one pass over the time, which few have to look for
 * their chains in (all count on `all`): the planner knows neither how many there are nor how much
 * is in them. Only one half is carried out. */
#define MEMBER_OF "SELECT m.chain_id FROM spendgate.chain_account m WHERE m.account_id = $1"
#define OF_MANY_CHAINS "(SELECT count(*) > 100 FROM (" MEMBER_OF " LIMIT 101) o)"
#define HOLD_BY_ID \
    "SELECT " PG_HOLD_COLUMNS " FROM spendgate.hold h WHERE h.id = $1 AND h.nonce = $2"

const struct pg_text pg_texts[PG_STATEMENTS] = {
    [PG_BEGIN_READ] = { "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "begin", false },
    [PG_BEGIN_WRITE] = { "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", "begin", false },
    [PG_LIMITS] = { LIMITS("pg_advisory_xact_lock_shared"), "begin", false },
    [PG_LIMITS_ALONE] = { LIMITS("pg_advisory_xact_lock"), "begin", false },
    [PG_LISTING] = { "SELECT set_config('statement_timeout', '" PG_LISTING_MS_TEXT "', true), "
                     "set_config('idle_in_transaction_session_timeout', '60000', true), "
                     /* many partitions take it seconds to compile, for what reads pages anyway */
                     "set_config('jit', 'off', true), "
                     /* what is written so is a piece that is pruned: it may come again */
                     "set_config('synchronous_commit', 'off', true)",
                     "begin", false },
    /* Nothing that is planned anew each time gains by being compiled as well. */
    [PG_LISTING_LIMIT] = { "SELECT set_config('statement_timeout', $1, true), "
                           "set_config('jit', 'off', true)",
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
    [PG_HOLD_NUMBER] = { "SELECT nextval('spendgate.hold_number')", "number a hold", false },
    [PG_CHARGE_NUMBER] = { "SELECT nextval('spendgate.charge_number')", "number a charge", false },
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
    [PG_EXPIRY_OF_CHAIN] = { EXPIRY("$1"), "look for expired holds", false },
    [PG_EXPIRY_OF_HOLD] = { EXPIRY("(SELECT o.chain_id FROM spendgate.hold o WHERE o.id = $1 AND "
                                   "o.nonce = $4)"),
                            "look for expired holds", false },
    [PG_EXPIRY_ANY] = { "SELECT min(expires_us), 0 FROM spendgate.hold WHERE state = 0",
                        "look for expired holds", false },
    /* Nobody changes these while the chain's accounts are locked. */
    [PG_EXPIRED_WITH] = { "SELECT " PG_HOLD_COLUMNS
                          " FROM spendgate.hold o CROSS JOIN LATERAL (SELECT * FROM spendgate.hold "
                          "x WHERE x.state = 0 AND x.expires_us >= o.expires_us AND x.expires_us "
                          "<= $2 ORDER BY x.expires_us LIMIT $5) h WHERE o.id = $1 AND o.nonce = "
                          "$4 AND h.chain_id = o.chain_id AND h.id <> o.id LIMIT $3",
                          "read expired holds", false },
    [PG_LOCK_CHAINS] = { LOCK_ACCOUNTS("ANY (SELECT h.chain_id FROM spendgate.hold h WHERE h.id = "
                                       "ANY ($1::bigint[]))"),
                         "lock accounts", false },
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
                       "WHERE a.name = $1 AND m.roles & $2::integer <> 0 AND EXISTS (SELECT 1 FROM "
                       "spendgate.chain_account p WHERE p.chain_id = m.chain_id AND p.roles & 2 "
                       "<> 0) ORDER BY m.chain_id DESC LIMIT 1", /* 2: CHAIN_SUBJECT */
                       "find a name last seen", false },
    [PG_PAST] = { "SELECT pg_advisory_xact_lock_shared(hashtextextended('spendgate.past', 0))",
                  "look at the past", false },
    [PG_SPENT] = { "SELECT coalesce(sum(CASE WHEN c.kind = 1 THEN -c.amount_nanos "
                   "ELSE c.amount_nanos END) FILTER (WHERE c.at_us < $3), 0)::bigint, "
                   "coalesce(min(c.at_us) FILTER (WHERE c.at_us >= $3), 0) FROM ("
                   "SELECT y.kind, y.amount_nanos, y.at_us FROM (" MEMBER_OF " LIMIT 101) n "
                   "CROSS JOIN LATERAL (SELECT y.kind, y.amount_nanos, y.at_us FROM "
                   "spendgate.charge y WHERE "
                   "y.chain_id = n.chain_id AND y.at_us >= $2 OFFSET 0) y WHERE NOT " OF_MANY_CHAINS
                   " UNION ALL SELECT y.kind, y.amount_nanos, y.at_us FROM spendgate.charge y "
                   "WHERE y.at_us >= $2 AND ((SELECT a.name = 'all' FROM spendgate.account a "
                   "WHERE a.id = $1) OR y.chain_id IN (" MEMBER_OF ")) AND " OF_MANY_CHAINS ") c",
                   "sum the journal", false },
    [PG_HELD] = { "SELECT coalesce(sum(h.amount_nanos) FILTER (WHERE h.placed_us < $3), "
                  "0)::bigint, "
                  "coalesce(min(h.placed_us) FILTER (WHERE h.placed_us >= $3), 0) "
                  "FROM spendgate.hold h WHERE h.state = 0 AND h.placed_us >= $2 AND EXISTS "
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
    [PG_EXPIRY_TRY] = { "SELECT " EXPIRY_TRY "::int", "look for others", false },
    [PG_EXPIRED] = { EXPIRED(""), "read expired holds", false },
    [PG_EXPIRED_OF] = { EXPIRED("AND " IN_CHAIN_WITH("$4::bigint[]") " "), "read expired holds",
                        false },
    [PG_UNKNOWN_HOLD] = { "SELECT " PG_CHARGE_COLUMNS " " PG_CHARGE_FROM
                          "WHERE c.id = (SELECT t.charge_id FROM spendgate.charge_hold_text t "
                          "WHERE t.hold_text = $1)",
                          "read a charge", false },
    [PG_PRICE_FIND] = { "SELECT p.id, p.provider, p.model, p.from_us, p.source, p.rates "
                        "FROM spendgate.price p WHERE p.model = $1 AND ($2::text IS NULL OR "
                        "p.provider = $2) AND p.from_us = coalesce((SELECT max(q.from_us) FROM "
                        "spendgate.price q WHERE q.model = p.model AND q.provider = p.provider AND "
                        "q.from_us <= coalesce((SELECT h.placed_us FROM spendgate.hold h WHERE "
                        "h.id = $3 AND h.nonce = $4), (SELECT c.at_us FROM "
                        "spendgate.charge_hold_text t JOIN spendgate.charge c ON "
                        "c.id = t.charge_id WHERE t.hold_text = $6), $5)), (SELECT min(q.from_us) "
                        "FROM "
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
                           "VALUES (nextval('spendgate.credit_number'), $1, $2, $3, $4, $5, $6, "
                           "$7)",
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
                          "VALUES (nextval('spendgate.event_number'), $1, $2, $3, $4, $5, $6, $7, "
                          "$8, $9, "
                          "$10)",
                          "write an event", false },
    [PG_ACCOUNT_NAMES] = { "SELECT name FROM spendgate.account WHERE name > $1 ORDER BY name "
                           "LIMIT $2",
                           "list accounts", false },
};
