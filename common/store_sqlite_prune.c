/* SPDX-License-Identifier: MIT */
/*
 * What is past keeping goes.
 */
#include "common/store_sqlite.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "common/buf.h"
#include "common/log.h"

#include "common/banned.h"

#define PRUNE_FOUND_MAX 50000 /* rows looked up at once */
/* Rows of a piece: as many as are removed in about PIECE_US, since every request waits for it. */
#define PIECE_MIN 20
#define PIECE_FIRST 100
#define PIECE_MAX 500
#define PIECE_US 2000
#define ADMISSION_SWEEP \
    1024 /* admissions noted by one process before it removes those that are over */

/*
 * What may go is found without a lock, into a table of this connection, and removed in short
 * pieces. A row that is found stays removable, but for a charge. Order matters: charges
 * go once no period row contains them, refunds before their charge, holds after their charge. ?1 is
 * the step's own time. Rows are found in the order of their keys and each look begins behind the
 * last one, so that none is looked at twice.
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

/* The periods of a line do not overlap: the last one that begins by then contains the charge, or
 * none does. Looked at again under the lock: a refund may have come, or a period that somebody
 * began with the sum of its charges. */
#define NOT_NEEDED                                                                          \
    "NOT EXISTS (SELECT 1 FROM charge r WHERE r.refund_of = c.id AND r.refund_of <> 0) "    \
    "AND NOT EXISTS (SELECT 1 FROM chain_account m JOIN budget b ON b.id > m.account_id * " \
    "256 AND b.id < m.account_id * 256 + 256 WHERE m.chain_id = c.chain_id AND (SELECT "    \
    "p.end_us FROM budget_period p WHERE p.budget_id = b.id AND p.start_us <= c.at_us "     \
    "ORDER BY p.start_us DESC LIMIT 1) > c.at_us)"

#define DELETE_CHARGES \
    "DELETE FROM charge AS c WHERE id IN (SELECT a FROM doomed WHERE id <= ?1) AND " NOT_NEEDED

static const struct {
    const char *behind;  /* the key of the last row that was found */
    const char *order;   /* the key's columns */
    const char *columns; /* the same as two, for `doomed` */
    const char *from;
    const char *remove;
} prune_sql[] = {
    [PRUNE_ADMISSIONS] = { "key > ?3", "key", "key, NULL",
                           "FROM admission WHERE expires_us <= ?1 AND NOT " ADMISSION_HOLD_LIVES,
                           "DELETE FROM admission WHERE key IN (SELECT a FROM doomed WHERE id <= "
                           "?1)" },
    [PRUNE_REPLIES] = { "(scope, key) > (?3, ?4)", "scope, key", "scope, key",
                        "FROM idempotency WHERE created_us < ?1",
                        "DELETE FROM idempotency WHERE (scope, key) IN (SELECT a, b FROM doomed "
                        "WHERE id <= ?1)" },
    [PRUNE_EVENTS] = { "id > ?3", "id", "id, NULL",
                       "FROM event WHERE told_us <> 0 AND created_us < ?1",
                       "DELETE FROM event WHERE id IN (SELECT a FROM doomed WHERE id <= ?1)" },
    [PRUNE_PERIODS] = { "(budget_id, start_us) > (?3, ?4)", "budget_id, start_us",
                        "budget_id, start_us",
                        "FROM budget_period WHERE end_us <= ?1 AND held_nanos = 0",
                        "DELETE FROM budget_period WHERE (budget_id, start_us) IN (SELECT a, b "
                        "FROM doomed WHERE id <= ?1) AND held_nanos = 0" },
    [PRUNE_REFUNDS] = { "c.id > ?3", "c.id", "c.id, NULL",
                        "FROM charge c WHERE c.kind = 1 AND c.at_us < ?1 AND c.created_us < ?1 "
                        "AND " NOT_NEEDED,
                        DELETE_CHARGES },
    [PRUNE_CHARGES] = { "c.id > ?3", "c.id", "c.id, NULL",
                        "FROM charge c WHERE c.kind = 0 AND c.at_us < ?1 AND c.created_us < ?1 "
                        "AND " NOT_NEEDED,
                        DELETE_CHARGES },
    [PRUNE_HOLDS] = { "h.id > ?3", "h.id", "h.id, NULL",
                      "FROM hold h WHERE h.state <> 0 AND h.expires_us < ?1 "
                      "AND NOT EXISTS (SELECT 1 FROM charge c WHERE c.id IN (h.charge_id, "
                      "h.expiry_charge_id))",
                      "DELETE FROM hold WHERE state <> 0 AND id IN (SELECT a FROM doomed "
                      "WHERE id <= ?1)" },
};

/* One statement of its own with at most two numbers; `*changed` is the rows it changed. */
static enum status
run_once(struct sqlite_store *s, const char *sql, int64_t first, int64_t second, int64_t *changed,
         struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);
    enum status status;

    if (rc == SQLITE_OK) {
        sqlite3_bind_int64(stmt, 1, first);
        if (sqlite3_bind_parameter_count(stmt) > 1)
            sqlite3_bind_int64(stmt, 2, second);
        status = sqlite_run(s, stmt, "prune", err);
    } else {
        status = sqlite_failed(s, rc, "prune", err);
    }
    *changed = status == STATUS_OK ? sqlite3_changes64(s->db) : 0;
    sqlite3_finalize(stmt);
    return status;
}

/* The key that was found last: the next look begins behind it. */
struct last_key {
    sqlite3_value *a, *b; /* ours; NULL at first */
};

static void
last_key_clear(struct last_key *key)
{
    sqlite3_value_free(key->a);
    sqlite3_value_free(key->b);
    key->a = key->b = NULL;
}

static enum status
note_last_key(struct sqlite_store *s, struct last_key *key, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db, "SELECT a, b FROM doomed ORDER BY id DESC LIMIT 1", -1,
                                &stmt, NULL);
    bool row = false;
    enum status status = rc == SQLITE_OK ? sqlite_next(s, stmt, &row, "prune", err)
                                         : sqlite_failed(s, rc, "prune", err);

    if (status == STATUS_OK && row) {
        last_key_clear(key);
        key->a = sqlite3_value_dup(sqlite3_column_value(stmt, 0));
        key->b = sqlite3_value_dup(sqlite3_column_value(stmt, 1));
        if (key->a == NULL || key->b == NULL)
            status = sqlite_failed(s, SQLITE_NOMEM, "prune", err);
    }
    sqlite3_finalize(stmt);
    return status;
}

static enum status
insert_doomed(struct sqlite_store *s, const char *sql, int64_t time_us, const struct last_key *key,
              int64_t *count, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);
    enum status status;

    if (rc == SQLITE_OK) {
        sqlite3_bind_int64(stmt, 1, time_us);
        sqlite3_bind_int64(stmt, 2, PRUNE_FOUND_MAX);
        if (sqlite3_bind_parameter_count(stmt) > 2)
            rc = sqlite3_bind_value(stmt, 3, key->a);
        if (rc == SQLITE_OK && sqlite3_bind_parameter_count(stmt) > 3)
            rc = sqlite3_bind_value(stmt, 4, key->b);
    }
    status =
        rc == SQLITE_OK ? sqlite_run(s, stmt, "prune", err) : sqlite_failed(s, rc, "prune", err);
    *count = status == STATUS_OK ? sqlite3_changes64(s->db) : 0;
    sqlite3_finalize(stmt);
    return status;
}

static enum status
find_doomed(struct sqlite_store *s, enum prune_step step, int64_t time_us, struct last_key *key,
            int64_t *count, struct error *err)
{
    char text[1536];
    struct buf sql;
    enum status status =
        sqlite_execute(s,
                       "CREATE TEMP TABLE IF NOT EXISTS doomed (id INTEGER PRIMARY KEY, a, b);"
                       "DELETE FROM doomed",
                       "prune", err);

    *count = 0;
    buf_init(&sql, text, sizeof(text));
    buf_add_format(&sql, "INSERT INTO doomed (a, b) SELECT %s %s", prune_sql[step].columns,
                   prune_sql[step].from);
    if (key->a != NULL)
        buf_add_format(&sql, " AND %s", prune_sql[step].behind);
    buf_add_format(&sql, " ORDER BY %s LIMIT ?2", prune_sql[step].order);
    assert(!buf_failed(&sql));
    if (status == STATUS_OK)
        status = insert_doomed(s, text, time_us, key, count, err);
    return status == STATUS_OK && *count > 0 ? note_last_key(s, key, err) : status;
}

/* One short transaction: what was found, up to that number. */
static enum status
remove_piece(struct sqlite_store *s, enum prune_step step, int64_t last, int64_t *removed,
             struct error *err)
{
    int64_t changed = 0, cleared;
    enum status status = run_once(s, prune_sql[step].remove, last, 0, &changed, err);

    if (status == STATUS_OK)
        status = run_once(s, "DELETE FROM doomed WHERE id <= ?1", last, 0, &cleared, err);
    if (status != STATUS_OK) {
        sqlite_rollback(&s->base);
        return status;
    }
    status = sqlite_commit(&s->base, false, err);
    if (status == STATUS_OK)
        *removed += changed;
    return status;
}

static int64_t
next_piece(int64_t piece, int64_t took_us)
{
    if (took_us > PIECE_US)
        return piece / 2 > PIECE_MIN ? piece / 2 : PIECE_MIN;
    if (took_us < PIECE_US / 2)
        return piece * 2 < PIECE_MAX ? piece * 2 : PIECE_MAX;
    return piece;
}

/* The lock is not fair: who takes it again at once leaves those who wait asleep. */
static void
give_way(int64_t took_us)
{
    struct timespec pause = { took_us / 1000000, took_us % 1000000 * 1000 };

    nanosleep(&pause, NULL);
}

/* Remove what was found, in pieces, and be away for as long as each of them took. */
static enum status
remove_doomed(struct sqlite_store *s, enum prune_step step, int64_t count, int64_t *removed,
              struct error *err)
{
    enum status status = STATUS_OK;
    int64_t piece = PIECE_FIRST, took_us = 0, done = 0;

    while (done < count && status == STATUS_OK) {
        if (done > 0)
            give_way(took_us);
        status = sqlite_begin(&s->base, STORE_WRITE, err);
        if (status != STATUS_OK)
            return status;
        took_us = sqlite_monotonic_us();
        done += piece;
        status = remove_piece(s, step, done, removed, err);
        took_us = sqlite_monotonic_us() - took_us;
        piece = next_piece(piece, took_us);
        if (s->wal_frames > CHECKPOINT_FRAMES) /* not left to a request */
            sqlite_checkpoint_if_alone(s);
    }
    return status;
}

static enum status
prune_step(struct sqlite_store *s, enum prune_step step, int64_t time_us, int64_t *removed,
           struct error *err)
{
    struct last_key key = { NULL, NULL };
    int64_t count;
    enum status status;

    do {
        status = find_doomed(s, step, time_us, &key, &count, err);
        if (status == STATUS_OK && count > 0)
            status = remove_doomed(s, step, count, removed, err);
    } while (status == STATUS_OK && count == PRUNE_FOUND_MAX);
    last_key_clear(&key);
    return status;
}

/* From here on a period row that is missing before `time_us` is no contradiction. */
static enum status
note_pruned(struct sqlite_store *s, int64_t time_us, struct error *err)
{
    int64_t changed;
    enum status status = sqlite_begin(&s->base, STORE_WRITE, err);

    if (status != STATUS_OK)
        return status;
    status = run_once(s, "UPDATE counter SET value = max(value, ?1) WHERE name = 'pruned_until_us'",
                      time_us, 0, &changed, err);
    if (status == STATUS_OK)
        return sqlite_commit(&s->base, false, err);
    sqlite_rollback(&s->base);
    return status;
}

enum status
sqlite_prune(struct store_backend *backend, int64_t keep_us, int64_t older_than_us, int64_t now_us,
             int64_t *removed, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    int64_t oldest_us = older_than_us < keep_us ? older_than_us : keep_us;
    enum status status = prune_step(s, PRUNE_ADMISSIONS, now_us, removed, err);

    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_REPLIES, keep_us, removed, err);
    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_EVENTS, keep_us, removed, err);
    if (status != STATUS_OK || older_than_us == 0)
        return status;
    status = note_pruned(s, older_than_us, err);
    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_PERIODS, older_than_us, removed, err);
    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_REFUNDS, oldest_us, removed, err);
    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_CHARGES, oldest_us, removed, err);
    return status == STATUS_OK ? prune_step(s, PRUNE_HOLDS, oldest_us, removed, err) : status;
}

enum status
sqlite_pruned_until(struct store_backend *backend, int64_t *out, struct error *err)
{
    return sqlite_pragma_int(sqlite_of(backend),
                             "SELECT value FROM counter WHERE name = 'pruned_until_us'", out, err);
}

void
sqlite_after(struct store_backend *backend)
{
    struct sqlite_store *s = sqlite_of(backend);
    struct error err;
    int64_t removed = 0;

    if (s->in_transaction || s->batch)
        return;
    if (s->admissions_written >= ADMISSION_SWEEP) {
        s->admissions_written = 0;
        if (prune_step(s, PRUNE_ADMISSIONS, s->now_us, &removed, &err) != STATUS_OK)
            log_failure("store_after", &err, NULL);
    }
    if (s->wal_frames > CHECKPOINT_FRAMES)
        sqlite_checkpoint_if_alone(s);
}
