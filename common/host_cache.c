/* SPDX-License-Identifier: MIT */
#include "common/host_cache.h"

#include "common/host_cache_file.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "common/banned.h"

#define SUM_BYTES 16
#define CHECKPOINT_FRAMES 1000
#define PURGED "purged" /* the state with the time of the last purge */
#define PRUNE_EVERY_US (60 * US_PER_SECOND)

const char *const host_cache_statements[STATEMENT_COUNT] = {
    [ROW_GET] = "SELECT valid, checked_us, verified_us, reason, identity, sum"
                " FROM verification WHERE key = ?1",
    [ROW_PUT] = "INSERT INTO verification (key, valid, checked_us, verified_us, reason,"
                " identity, sum) VALUES (?1, ?5, ?2, ?2, '', ?3, ?4)"
                " ON CONFLICT (key) DO UPDATE SET valid = ?5, checked_us = ?2,"
                " verified_us = ?2, reason = '', identity = ?3, sum = ?4",
    [ROW_PUT_INVALID] = "INSERT INTO verification (key, valid, checked_us, verified_us, reason)"
                        " VALUES (?1, 0, ?2, 0, ?3) ON CONFLICT (key) DO UPDATE SET valid = 0,"
                        " checked_us = ?2, reason = ?3, identity = NULL, sum = NULL",
    [STATE_GET] = "SELECT v0, v1, v2, v3, v4 FROM state WHERE name = ?1",
    [STATE_PUT] = "INSERT INTO state (name, until_us, v0, v1, v2, v3, v4)"
                  " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO UPDATE SET"
                  " until_us = ?2, v0 = ?3, v1 = ?4, v2 = ?5, v3 = ?6, v4 = ?7",
    [DROP_NEVER_VALID] = "DELETE FROM verification WHERE verified_us = 0 AND checked_us < ?1",
    [DROP_OLD] = "DELETE FROM verification WHERE verified_us > 0 AND verified_us < ?1",
    [DROP_STATE] = "DELETE FROM state WHERE until_us < ?1",
    [DROP_QUARTER] = "DELETE FROM verification WHERE key IN (SELECT key FROM verification"
                     " ORDER BY verified_us, checked_us"
                     " LIMIT 1 + (SELECT count(*) FROM verification) / 4)",
    [FORGET_ROWS] = "DELETE FROM verification",
    [FORGET_STATES] = "DELETE FROM state WHERE instr(name, ':') > 0",
};

const char host_cache_schema[] =
    "BEGIN IMMEDIATE;"
    "PRAGMA application_id = " HOST_CACHE_APPLICATION_ID ";"
    "PRAGMA user_version = " HOST_CACHE_FORMAT ";"
    "CREATE TABLE host (boot_id TEXT NOT NULL);"
    "CREATE TABLE verification (key BLOB PRIMARY KEY, valid INTEGER NOT NULL,"
    " checked_us INTEGER NOT NULL, verified_us INTEGER NOT NULL, reason TEXT NOT NULL,"
    " identity BLOB, sum BLOB) WITHOUT ROWID;"
    "CREATE INDEX verification_age ON verification (verified_us, checked_us);"
    "CREATE TABLE state (name TEXT PRIMARY KEY, until_us INTEGER NOT NULL,"
    " v0 INTEGER NOT NULL, v1 INTEGER NOT NULL, v2 INTEGER NOT NULL, v3 INTEGER NOT NULL,"
    " v4 INTEGER NOT NULL) WITHOUT ROWID;"
    "COMMIT";

/* ---- public -------------------------------------------------------------------------------------
 */

enum status
host_cache_open(const struct host_cache_options *options, struct host_cache **out,
                struct error *err)
{
    struct host_cache *cache;

    *out = NULL;
    if (strlen(options->path) + HOST_CACHE_SUFFIX_SIZE > FILE_PATH_SIZE)
        return error_set(err, STATUS_OVERFLOW, "cache { path } is too long");
    cache = calloc(1, sizeof(*cache));
    if (cache == NULL)
        return error_set(err, STATUS_NO_MEMORY, "cache: out of memory");
    cache->lock_fd = -1;
    cache->negative_keep_us = options->negative_keep_us;
    cache->page_max = options->page_max > 0 ? options->page_max : HOST_CACHE_PAGES_MAX;
    if (!text_copy(cache->path, sizeof(cache->path), options->path) ||
        !text_copy(cache->group, sizeof(cache->group), options->group)) {
        host_cache_close(cache);
        return error_set(err, STATUS_OVERFLOW, "cache: a name is too long");
    }
    *out = cache;
    return STATUS_OK;
}

void
host_cache_close(struct host_cache *cache)
{
    if (cache == NULL)
        return;
    host_cache_shut(cache);
    free(cache);
}

bool
host_cache_usable(struct host_cache *cache, int64_t boot_us)
{
    return host_cache_ready(cache, boot_us);
}

/* Ties the bytes to their key, so that a damaged file cannot hand one caller what is another's. */
static void
make_sum(const uint8_t key[HOST_CACHE_KEY_BYTES], const void *bytes, size_t length,
         uint8_t sum[SHA256_BYTES])
{
    crypto_hmac_sha256(key, HOST_CACHE_KEY_BYTES, bytes, length, sum);
}

static bool
read_bytes(sqlite3_stmt *statement, const uint8_t key[HOST_CACHE_KEY_BYTES], struct buf *out)
{
    const void *bytes = sqlite3_column_blob(statement, 4);
    int length = sqlite3_column_bytes(statement, 4);
    const void *stored_sum = sqlite3_column_blob(statement, 5);
    uint8_t sum[SHA256_BYTES];

    if (bytes == NULL || stored_sum == NULL || sqlite3_column_bytes(statement, 5) != SUM_BYTES)
        return false;
    make_sum(key, bytes, (size_t)length, sum);
    if (!crypto_equal(sum, stored_sum, SUM_BYTES))
        return false;
    buf_add_bytes(out, bytes, (size_t)length);
    return !buf_failed(out);
}

static bool
read_row(sqlite3_stmt *statement, const uint8_t key[HOST_CACHE_KEY_BYTES], int64_t boot_us,
         struct host_row *out, struct buf *bytes)
{
    const char *reason = (const char *)sqlite3_column_text(statement, 3);

    out->kind = (enum host_row_kind)sqlite3_column_int(statement, 0);
    out->checked_us = sqlite3_column_int64(statement, 1);
    out->verified_us = sqlite3_column_int64(statement, 2);
    if (reason == NULL || !text_copy(out->reason, sizeof(out->reason), reason))
        out->reason[0] = '\0';
    if (out->checked_us > boot_us || out->verified_us > boot_us)
        return false; /* not of this boot, whatever the file says */
    if (boot_us - out->verified_us > HOST_CACHE_KEEP_US)
        out->verified_us = 0;
    return out->kind == HOST_ROW_INVALID || read_bytes(statement, key, bytes);
}

bool
host_cache_get(struct host_cache *cache, const uint8_t key[HOST_CACHE_KEY_BYTES], int64_t boot_us,
               struct host_row *out, struct buf *bytes)
{
    sqlite3_stmt *statement;
    bool found = false;
    int rc;

    *out = (struct host_row){ .kind = HOST_ROW_INVALID };
    if (!host_cache_ready(cache, boot_us))
        return false;
    statement = cache->prepared[ROW_GET];
    rc = sqlite3_bind_blob(statement, 1, key, HOST_CACHE_KEY_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        found = read_row(statement, key, boot_us, out, bytes);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    if (!found)
        *out = (struct host_row){ .kind = HOST_ROW_INVALID };
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        host_cache_give_up(cache, rc, boot_us);
    return found;
}

static int
step_and_reset(sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);

    sqlite3_reset(statement);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* One writing statement, its own transaction. A full file first loses its oldest quarter. */
static void
write_row(struct host_cache *cache, sqlite3_stmt *statement, int64_t boot_us)
{
    int rc = SQLITE_BUSY;

    if (host_cache_lock(cache)) {
        rc = step_and_reset(statement);
        if (rc == SQLITE_FULL) {
            rc = step_and_reset(cache->prepared[DROP_QUARTER]);
            if (rc == SQLITE_OK)
                rc = step_and_reset(statement);
        }
        host_cache_unlock(cache);
    }
    sqlite3_clear_bindings(statement);
    if (rc != SQLITE_OK)
        host_cache_give_up(cache, rc, boot_us);
}

void
host_cache_put(struct host_cache *cache, const uint8_t key[HOST_CACHE_KEY_BYTES],
               enum host_row_kind kind, const void *bytes, size_t length, int64_t boot_us)
{
    uint8_t sum[SHA256_BYTES];
    sqlite3_stmt *statement;
    int rc;

    assert(kind != HOST_ROW_INVALID && length <= INT32_MAX);
    if (!host_cache_ready(cache, boot_us))
        return;
    make_sum(key, bytes, length, sum);
    statement = cache->prepared[ROW_PUT];
    rc = sqlite3_bind_blob(statement, 1, key, HOST_CACHE_KEY_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, 2, boot_us);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob(statement, 3, bytes, (int)length, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob(statement, 4, sum, SUM_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int(statement, 5, (int)kind);
    if (rc == SQLITE_OK)
        write_row(cache, statement, boot_us);
    else
        host_cache_give_up(cache, rc, boot_us);
}

void
host_cache_put_invalid(struct host_cache *cache, const uint8_t key[HOST_CACHE_KEY_BYTES],
                       const char *reason, int64_t boot_us)
{
    sqlite3_stmt *statement;
    int rc;

    if (!host_cache_ready(cache, boot_us))
        return;
    statement = cache->prepared[ROW_PUT_INVALID];
    rc = sqlite3_bind_blob(statement, 1, key, HOST_CACHE_KEY_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, 2, boot_us);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(statement, 3, reason, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        write_row(cache, statement, boot_us);
    else
        host_cache_give_up(cache, rc, boot_us);
}

/* ---- shared numbers -----------------------------------------------------------------------------
 */

int
host_cache_read_state(struct host_cache *cache, const char *name, struct host_state *out)
{
    sqlite3_stmt *statement = cache->prepared[STATE_GET];
    int rc = sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);

    *out = (struct host_state){ { 0 } };
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    for (int i = 0; rc == SQLITE_ROW && i < HOST_STATE_VALUES; i++)
        out->values[i] = sqlite3_column_int64(statement, i);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int
write_state(struct host_cache *cache, const char *name, const struct host_state *state,
            int64_t until_us)
{
    sqlite3_stmt *statement = cache->prepared[STATE_PUT];
    int rc = sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);

    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, 2, until_us);
    for (int i = 0; rc == SQLITE_OK && i < HOST_STATE_VALUES; i++)
        rc = sqlite3_bind_int64(statement, 3 + i, state->values[i]);
    if (rc == SQLITE_OK)
        rc = step_and_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

/* Under the writers' lock, so nobody changes the numbers between the reading and the writing. */
static int
change_state(struct host_cache *cache, const char *name,
             bool (*change)(void *context, struct host_state *state, int64_t *until_us),
             void *context)
{
    struct host_state state;
    int64_t until_us = 0;
    int rc = host_cache_read_state(cache, name, &state);

    if (rc != SQLITE_OK || !change(context, &state, &until_us))
        return rc;
    rc = write_state(cache, name, &state, until_us);
    if (rc != SQLITE_FULL)
        return rc;
    rc = step_and_reset(cache->prepared[DROP_QUARTER]);
    return rc == SQLITE_OK ? write_state(cache, name, &state, until_us) : rc;
}

bool
host_cache_change(struct host_cache *cache, const char *name,
                  bool (*change)(void *context, struct host_state *state, int64_t *until_us),
                  void *context, int64_t boot_us)
{
    int rc = SQLITE_BUSY;

    if (!host_cache_ready(cache, boot_us))
        return false;
    if (host_cache_lock(cache)) {
        rc = change_state(cache, name, change, context);
        host_cache_unlock(cache);
    }
    if (rc != SQLITE_OK)
        host_cache_give_up(cache, rc, boot_us);
    return rc == SQLITE_OK;
}

bool
host_cache_read(struct host_cache *cache, const char *name, struct host_state *out, int64_t boot_us)
{
    int rc;

    *out = (struct host_state){ { 0 } };
    if (!host_cache_ready(cache, boot_us))
        return false;
    rc = host_cache_read_state(cache, name, out);
    if (rc != SQLITE_OK)
        host_cache_give_up(cache, rc, boot_us);
    return rc == SQLITE_OK;
}

/* ---- housekeeping -------------------------------------------------------------------------------
 */

static int
drop_old(struct host_cache *cache, int64_t boot_us)
{
    static const enum host_cache_statement which[] = { DROP_NEVER_VALID, DROP_OLD, DROP_STATE };
    const int64_t before_us[] = { boot_us - cache->negative_keep_us, boot_us - HOST_CACHE_KEEP_US,
                                  boot_us };
    int rc = SQLITE_OK;

    for (size_t i = 0; rc == SQLITE_OK && i < sizeof(which) / sizeof(which[0]); i++) {
        sqlite3_stmt *statement = cache->prepared[which[i]];

        rc = sqlite3_bind_int64(statement, 1, before_us[i]);
        if (rc == SQLITE_OK)
            rc = step_and_reset(statement);
    }
    return rc;
}

/* One write and then a passive checkpoint, with the writers kept out, so that it never starts on a
 * WAL that has been copied wholly (design document, section 5, rule 3). The file lies on tmpfs and
 * is small: this takes a millisecond. */
static int
checkpoint(struct host_cache *cache, int64_t boot_us)
{
    struct host_state mark = { { boot_us } };
    int rc = drop_old(cache, boot_us);

    if (rc == SQLITE_OK)
        rc = write_state(cache, "checkpoint", &mark, INT64_MAX);
    if (rc == SQLITE_OK)
        rc = sqlite3_wal_checkpoint_v2(cache->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return rc == SQLITE_BUSY ? SQLITE_OK : rc; /* a reader was in the way: another time */
}

void
host_cache_after(struct host_cache *cache, int64_t boot_us)
{
    int rc;

    if (cache->db == NULL ||
        (cache->wal_frames < CHECKPOINT_FRAMES && boot_us - cache->pruned_us < PRUNE_EVERY_US))
        return;
    cache->pruned_us = boot_us;
    if (cache->wal_frames == 0 || !host_cache_ready(cache, boot_us))
        return; /* this process wrote nothing: whoever did will do it */
    if (flock(cache->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return;
    rc = checkpoint(cache, boot_us);
    host_cache_unlock(cache);
    cache->wal_frames = 0;
    if (rc != SQLITE_OK)
        host_cache_give_up(cache, rc, boot_us);
}

/* ---- purging ------------------------------------------------------------------------------------
 */

static bool
note_purge(void *context, struct host_state *state, int64_t *until_us)
{
    const int64_t *boot_us = context;

    state->values[0] = *boot_us;
    *until_us = INT64_MAX;
    return true;
}

/* Under the writers' lock. */
static int
forget(struct host_cache *cache, int64_t boot_us, int64_t *rows)
{
    int rc = step_and_reset(cache->prepared[FORGET_ROWS]);

    *rows = sqlite3_changes(cache->db);
    if (rc == SQLITE_OK)
        rc = step_and_reset(cache->prepared[FORGET_STATES]);
    if (rc == SQLITE_OK)
        rc = change_state(cache, PURGED, note_purge, &boot_us);
    return rc;
}

enum status
host_cache_purge(struct host_cache *cache, int64_t boot_us, int64_t *rows, struct error *err)
{
    enum status status = STATUS_OK;
    int rc;

    *rows = 0;
    if (cache->db == NULL)
        status = host_cache_try(cache, err);
    if (status != STATUS_OK)
        return status;
    if (!host_cache_lock(cache))
        return error_set(err, STATUS_BUSY, "%s.lock is held by another process", cache->path);
    rc = forget(cache, boot_us, rows);
    if (rc == SQLITE_OK)
        rc = checkpoint(cache, boot_us);
    host_cache_unlock(cache);
    return rc == SQLITE_OK ? STATUS_OK : host_cache_sqlite_error(cache, rc, err);
}

int64_t
host_cache_purged_us(struct host_cache *cache, int64_t boot_us)
{
    struct host_state state;

    return host_cache_read(cache, PURGED, &state, boot_us) ? state.values[0] : 0;
}
