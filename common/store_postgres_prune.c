/* SPDX-License-Identifier: MIT */
/* The PostgreSQL store: what is past keeping goes. */
#include "common/store_postgres.h"

#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/log.h"

#include "common/banned.h"

#define PRUNE_PIECE 500
#define BUSY_TRIES 300 /* a look each BUSY_PAUSE_MS, while others are in the way */
#define BUSY_PAUSE_MS 400
#define ADMISSION_SWEEP 4096 /* admissions written by this process between two looks */
#define KEY_SIZE 600         /* of one column of a key, as text */

/*
 * One statement, one short transaction, a piece at a time. A row that a request has locked is left
 * for the next time. Order matters: charges go once no period row contains them, refunds before
 * their charge, holds after their charge. $1 is the step's own time, $2 the size of the piece, $3
 * and $4 the key behind which it looks: no row is looked at twice, and none that is dead already.
 * The answer is how many rows went, and the key of the last one that was looked at; NULL: it was
 * the last piece.
 */
enum prune_step {
    PRUNE_ADMISSIONS,
    PRUNE_REPLIES,
    PRUNE_EVENTS,
    PRUNE_PERIODS,
    PRUNE_REFUNDS,
    PRUNE_CHARGES,
    PRUNE_HOLDS
};

/* `found` and `gone` are there; the last row of the former by its key. */
#define ANSWER(order, first, second)                                      \
    " SELECT (SELECT count(*) FROM found), l.* FROM (SELECT 1) one LEFT " \
    "JOIN (SELECT " first ", " second " FROM found ORDER BY " order " LIMIT 1) l ON true"

static const struct {
    const char *first, *second; /* below every key; NULL: the key has one column */
    const char *sql;
} prune_sql[] = {
    [PRUNE_ADMISSIONS] = { "\\x", NULL,
                           "WITH found AS (SELECT key FROM spendgate.admission a WHERE key > "
                           "$3::bytea AND expires_us <= $1 AND NOT EXISTS (SELECT 1 FROM "
                           "spendgate.hold h WHERE h.id = a.hold_id AND h.state = 0) ORDER BY key "
                           "LIMIT $2 FOR UPDATE SKIP LOCKED), gone AS (DELETE FROM "
                           "spendgate.admission a USING found f WHERE a.key = f.key)" //
                           ANSWER("key DESC", "key::text", "NULL") },
    [PRUNE_REPLIES] = { "", "",
                        "WITH found AS (SELECT scope, key FROM spendgate.idempotency WHERE "
                        "(scope, key) > ($3, $4) AND created_us < $1 ORDER BY scope, key LIMIT $2 "
                        "FOR UPDATE SKIP LOCKED), gone AS (DELETE FROM spendgate.idempotency i "
                        "USING found f WHERE i.scope = f.scope AND i.key = f.key)" //
                        ANSWER("scope DESC, key DESC", "scope", "key") },
    [PRUNE_EVENTS] = { "0", NULL,
                       "WITH found AS (SELECT id FROM spendgate.event WHERE id > $3::bigint AND "
                       "told_us <> 0 AND created_us < $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP "
                       "LOCKED), gone AS (DELETE FROM spendgate.event e USING found f WHERE e.id = "
                       "f.id)" //
                       ANSWER("id DESC", "id::text", "NULL") },
    [PRUNE_PERIODS] = { "0", "0",
                        "WITH found AS (SELECT budget_id, start_us FROM spendgate.budget_period "
                        "WHERE (budget_id, start_us) > ($3::bigint, $4::bigint) AND end_us <= $1 "
                        "AND held_nanos = 0 ORDER BY budget_id, start_us LIMIT $2 FOR UPDATE SKIP "
                        "LOCKED), gone AS (DELETE FROM spendgate.budget_period p USING found f "
                        "WHERE p.budget_id = f.budget_id AND p.start_us = f.start_us)" //
                        ANSWER("budget_id DESC, start_us DESC", "budget_id::text",
                               "start_us::text") },
    /* The programs may not delete a charge; this function of the owner may, by the rule above. */
    [PRUNE_REFUNDS] = { "0", NULL,
                        "SELECT gone, last_id::text, NULL FROM spendgate.prune_charges($1, $2, "
                        "$3::bigint, 1)" },
    [PRUNE_CHARGES] = { "0", NULL,
                        "SELECT gone, last_id::text, NULL FROM spendgate.prune_charges($1, $2, "
                        "$3::bigint, 0)" },
    /* As charges: what is looked up for each of them costs more than to find them. */
    [PRUNE_HOLDS] = { "0", NULL,
                      "WITH seen AS MATERIALIZED (SELECT h.id FROM spendgate.hold h WHERE h.id > "
                      "$3::bigint AND h.state <> 0 AND h.expires_us < $1 ORDER BY h.id LIMIT $2), "
                      "found AS (SELECT h.id FROM spendgate.hold h WHERE h.id > $3::bigint AND "
                      "h.id <= (SELECT max(id) FROM seen) AND h.state <> 0 AND h.expires_us < $1 "
                      "AND NOT EXISTS (SELECT 1 FROM spendgate.charge c WHERE c.id IN "
                      "(h.charge_id, h.expiry_charge_id)) FOR UPDATE OF h SKIP LOCKED), gone AS "
                      "(DELETE FROM spendgate.hold h USING found f WHERE h.id = f.id) SELECT "
                      "(SELECT count(*) FROM found), (SELECT max(id)::text FROM seen), NULL" },
};

static enum status
prune_piece(struct postgres_store *s, enum prune_step step, int64_t time_us, char key[2][KEY_SIZE],
            bool *more, int64_t *removed, struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result = NULL;
    enum status status;

    pg_int(&p, time_us);
    pg_int(&p, PRUNE_PIECE);
    pg_string(&p, key[0]);
    if (prune_sql[step].second != NULL)
        pg_string(&p, key[1]);
    status = pg_run_long(s, PG_BEGIN_WRITE, prune_sql[step].sql, "prune", &p, &result, err);
    *more = status == STATUS_OK && !pg_is_null(result, 0, 1);
    if (status == STATUS_OK)
        *removed += pg_get_int(result, 0, 0);
    if (*more && (!pg_get_text(result, 0, 1, key[0], KEY_SIZE) ||
                  !pg_get_text(result, 0, 2, key[1], KEY_SIZE)))
        status = pg_too_long(s, err);
    PQclear(result);
    return status;
}

/* Not at once: requests queue behind whoever waits. */
static enum status
wait_for_others(struct postgres_store *s, int *tries, struct error *err)
{
    const struct timespec pause = { 0, BUSY_PAUSE_MS * 1000000L };

    if (++*tries > BUSY_TRIES)
        return error_set(err, STATUS_BUSY,
                         "store %s: prune: others do not let go of what it needs (a long batch, "
                         "dump or report: see pg_stat_activity); what is pruned is pruned, run it "
                         "again later",
                         s->place);
    nanosleep(&pause, NULL);
    return STATUS_OK;
}

static enum status
prune_step(struct postgres_store *s, enum prune_step step, int64_t time_us, int64_t *removed,
           struct error *err)
{
    const char *first = prune_sql[step].first, *second = prune_sql[step].second;
    char key[2][KEY_SIZE] = { "", "" }, before[KEY_SIZE];
    enum status status = STATUS_OK;
    bool more = true;
    int tries = 0;

    if (!text_copy(key[0], KEY_SIZE, first) ||
        (second != NULL && !text_copy(key[1], KEY_SIZE, second)))
        return error_set(err, STATUS_INTERNAL, "store %s: a key does not fit", s->place);
    while (status == STATUS_OK && more) {
        (void)!text_copy(before, KEY_SIZE, key[0]);
        status = prune_piece(s, step, time_us, key, &more, removed, err);
        if ((step != PRUNE_REFUNDS && step != PRUNE_CHARGES) || !more ||
            strcmp(before, key[0]) != 0)
            tries = 0;
        else if (status == STATUS_OK)
            status = wait_for_others(s, &tries, err);
    }
    return status;
}

/* The months to come. */
static enum status
make_partitions(struct postgres_store *s, int64_t now_us, struct error *err)
{
    int made, tries = 0;
    enum status status = postgres_make_partitions(s, now_us, &made, err);

    while (status == STATUS_OK && made < 0) {
        status = wait_for_others(s, &tries, err);
        if (status == STATUS_OK)
            status = postgres_make_partitions(s, now_us, &made, err);
    }
    return status;
}

/* From here on a period row that is missing before `time_us` is no contradiction. */
static enum status
note_pruned(struct postgres_store *s, int64_t time_us, struct error *err)
{
    struct pg_params p = { 0 };

    pg_int(&p, time_us);
    return pg_run_long(s, PG_BEGIN_WRITE,
                       "UPDATE spendgate.counter SET value = greatest(value, $1) "
                       "WHERE name = 'pruned_until_us'",
                       "prune", &p, NULL, err);
}

static enum status
prune_past(struct postgres_store *s, int64_t older_than_us, int64_t oldest_us, int64_t *removed,
           struct error *err)
{
    enum status status = note_pruned(s, older_than_us, err);

    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_PERIODS, older_than_us, removed, err);
    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_REFUNDS, oldest_us, removed, err);
    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_CHARGES, oldest_us, removed, err);
    return status == STATUS_OK ? prune_step(s, PRUNE_HOLDS, oldest_us, removed, err) : status;
}

enum status
postgres_prune(struct store_backend *backend, int64_t keep_us, int64_t older_than_us,
               int64_t now_us, int64_t *removed, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    int64_t oldest_us = older_than_us < keep_us ? older_than_us : keep_us;
    enum status status = prune_step(s, PRUNE_ADMISSIONS, now_us, removed, err);

    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_REPLIES, keep_us, removed, err);
    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_EVENTS, keep_us, removed, err);
    if (status == STATUS_OK && older_than_us != 0)
        status = prune_past(s, older_than_us, oldest_us, removed, err);
    return status == STATUS_OK ? make_partitions(s, now_us, err) : status;
}

/* Checkpoints are the server's; what is left to do is to remove admissions that are over. */
void
postgres_after(struct store_backend *backend)
{
    struct postgres_store *s = postgres_of(backend);
    struct error err;
    int64_t removed = 0;

    if (s->admissions_written < ADMISSION_SWEEP || s->in_transaction || s->batch)
        return;
    s->admissions_written = 0;
    if (prune_step(s, PRUNE_ADMISSIONS, s->now_us, &removed, &err) != STATUS_OK)
        log_failure("store_after", &err, NULL);
}
