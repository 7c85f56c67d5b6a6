/* SPDX-License-Identifier: MIT */
/*
 * The SQLite store: one file, one host, many processes. The three rules of the design document,
 * section 5: writers queue on a flock of their own and not in SQLite's sleeping busy handler; no
 * commit waits for the disk inside that lock, what must be durable syncs the WAL afterwards; the
 * checkpoint runs after the answer, one at a time, in two steps (store_sqlite_commit.c).
 *
 * Rows in, rows out: no money rule is here (ledger.c), and no order of events (store*.c). This file
 * opens, migrates and closes.
 */
#include "common/store_sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/schema_sqlite.h"
#include "common/sqlite_vfs.h"

#include "common/banned.h"

#define SCHEME "sqlite:"
#define APPLICATION_ID 0x53706e64 /* "Spnd": another program's database is refused */
/* A hold changes few bytes on four pages: half of SQLite's usual size costs 15 % less processor
 * time per hold, a quarter gains nothing more and makes deeper trees. */
#define PAGE_BYTES "2048"

enum status
sqlite_execute(struct sqlite_store *s, const char *sql, const char *doing, struct error *err)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? STATUS_OK
                           : sqlite_failed(s, sqlite3_extended_errcode(s->db), doing, err);
}

enum status
sqlite_pragma_int(struct sqlite_store *s, const char *sql, int64_t *out, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);
    enum status status;

    *out = 0;
    status = rc == SQLITE_OK ? sqlite_one_int(s, stmt, 0, out, "read the schema version", err)
                             : sqlite_failed(s, rc, "read the schema version", err);
    sqlite3_finalize(stmt);
    return status;
}

static int64_t
newest_step(void)
{
    return schema_sqlite[sizeof(schema_sqlite) / sizeof(schema_sqlite[0]) - 1].number;
}

/* Someone may have switched the file with another tool; the three rules need the log. */
static enum status
require_log(struct sqlite_store *s, struct error *err)
{
    int64_t is_log;
    enum status status =
        sqlite_pragma_int(s, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", &is_log, err);

    if (status == STATUS_OK && !is_log)
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: not in WAL mode; run `spendgate migrate` on a file system with "
                         "shared memory",
                         s->path);
    return status;
}

static enum status
read_version(struct sqlite_store *s, int64_t *out, struct error *err)
{
    int64_t application, objects;
    enum status status = sqlite_pragma_int(s, "PRAGMA user_version", out, err);

    if (status == STATUS_OK)
        status = sqlite_pragma_int(s, "PRAGMA application_id", &application, err);
    if (status != STATUS_OK || application == APPLICATION_ID)
        return status;
    status = sqlite_pragma_int(s, "SELECT count(*) FROM sqlite_schema", &objects, err);
    if (status == STATUS_OK && (application != 0 || objects != 0))
        return error_set(
            err, STATUS_UNAVAILABLE,
            "store %s: this is another program's database; give Spendgate a file of its own",
            s->path);
    return status;
}

/* 0: an empty file. In one transaction: between two looks another process may make the schema. */
static enum status
schema_version(struct sqlite_store *s, int64_t *out, struct error *err)
{
    enum status status = sqlite_execute(s, "BEGIN", "read the schema version", err);

    *out = 0;
    if (status != STATUS_OK)
        return status;
    status = read_version(s, out, err);
    (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

static enum status
refuse_newer(const struct sqlite_store *s, int64_t version, struct error *err)
{
    if (version <= newest_step())
        return STATUS_OK;
    return error_set(err, STATUS_UNAVAILABLE,
                     "store %s: its schema is %" PRId64 ", this program knows %" PRId64
                     "; install the newer Spendgate",
                     s->path, version, newest_step());
}

static enum status
apply_step(struct sqlite_store *s, size_t index, struct error *err)
{
    char text[128];
    struct buf sql;
    enum status status = sqlite_execute(s, "BEGIN IMMEDIATE", "begin", err);

    if (status != STATUS_OK)
        return status;
    buf_init(&sql, text, sizeof(text));
    buf_add_format(&sql, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
                   APPLICATION_ID, schema_sqlite[index].number);
    status = sqlite_execute(s, schema_sqlite[index].sql, "apply a schema step", err);
    if (status == STATUS_OK)
        status = sqlite_execute(s, text, "apply a schema step", err);
    if (status != STATUS_OK && !sqlite3_get_autocommit(s->db))
        (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* Every missing step, under the writer lock: of several processes that start at once the first
 * applies them and the others find them done. */
static enum status
apply_schema(struct sqlite_store *s, int *applied, struct error *err)
{
    int64_t version = 0;
    enum status status = sqlite_writer_lock(s, err);

    *applied = 0;
    if (status != STATUS_OK)
        return status;
    status = sqlite_execute(s, "PRAGMA page_size = " PAGE_BYTES "; PRAGMA journal_mode = WAL",
                            "switch to a write-ahead log", err);
    if (status == STATUS_OK)
        status = schema_version(s, &version, err);
    if (status == STATUS_OK)
        status = refuse_newer(s, version, err);
    for (size_t i = 0; i < sizeof(schema_sqlite) / sizeof(schema_sqlite[0]); i++) {
        if (status != STATUS_OK || schema_sqlite[i].number <= version)
            continue;
        status = apply_step(s, i, err);
        *applied += status == STATUS_OK;
    }
    sqlite_writer_unlock(s);
    if (status == STATUS_OK)
        status = require_log(s, err);
    if (status == STATUS_OK && *applied > 0)
        status = sqlite_settle_disk(&s->base, err);
    /* The names of new files: SQLite syncs them in the process that made them, which may have died.
     */
    if (status == STATUS_OK && *applied > 0 && !sqlite_sync_folder(s->path))
        status = error_set(err, STATUS_UNAVAILABLE,
                           "store %s: its folder cannot be synced (errno %d)", s->path, errno);
    return status;
}

static enum status
open_files(struct sqlite_store *s, const struct store_options *options, struct error *err)
{
    const char *path = options->url + sizeof(SCHEME) - 1;
    struct buf failed_path;
    gid_t group;
    bool missing;
    enum status status;

    if (path[0] != '/' || !text_copy(s->path, sizeof(s->path), path))
        return error_set(err, STATUS_INVALID, "store %s: give an absolute path, sqlite:/path",
                         options->url);
    buf_init(&failed_path, s->failed_path, sizeof(s->failed_path));
    buf_add(&failed_path, path);
    buf_add(&failed_path, ".failed");
    if (buf_failed(&failed_path))
        return error_set(err, STATUS_INVALID, "store %s: the path is too long", path);
    status = sqlite_find_group(options->group, &group, err);
    if (status == STATUS_OK)
        status = sqlite_check_file_system(path, err);
    if (status == STATUS_OK)
        status = sqlite_check_file(path, group, &missing, err);
    if (status != STATUS_OK)
        return status;
    if (missing && !options->create)
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: there is no such file; make it with `spendgate init`", path);
    s->lock_fd = sqlite_open_side_file(s, ".lock", group, err);
    s->checkpoint_fd = s->lock_fd < 0 ? -1 : sqlite_open_side_file(s, ".checkpoint", group, err);
    if (s->checkpoint_fd < 0)
        return STATUS_UNAVAILABLE;
    return missing ? sqlite_create_file(path, group, err) : STATUS_OK;
}

static enum status
open_database(struct sqlite_store *s, struct error *err)
{
    const char *vfs = sqlite_vfs_name();
    int rc;

    if (vfs == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->path);
    rc = sqlite3_open_v2(s->path, &s->db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                             SQLITE_OPEN_EXRESCODE,
                         vfs);
    if (s->db == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->path);
    if (rc != SQLITE_OK)
        return sqlite_failed(s, rc, "open", err);
    sqlite3_busy_timeout(s->db, LOCK_WAIT_MS);
    sqlite3_wal_hook(s->db, sqlite_on_commit,
                     s); /* takes the place of SQLite's own checkpoints too */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return sqlite_execute(
        s,
        "PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;"
        "PRAGMA cache_size = -8000",
        "configure", err);
}

static void
sqlite_close(struct store_backend *backend)
{
    struct sqlite_store *s;

    if (backend == NULL)
        return;
    s = sqlite_of(backend);
    if (s->in_transaction)
        sqlite_rollback(backend);
    for (int i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    if (s->checkpoint_fd >= 0)
        close(s->checkpoint_fd);
    if (s->timer_made)
        timer_delete(s->timer);
    free(s);
}

/* An open database of whatever schema. */
static enum status
open_any(const struct store_options *options, struct sqlite_store **out, struct error *err)
{
    struct sqlite_store *s = calloc(1, sizeof(*s));
    enum status status;

    *out = NULL;
    if (s == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    s->base.ops = &store_sqlite_ops;
    s->listing_ms = options->listing_ms;
    s->lock_fd = s->checkpoint_fd = -1;
    status = open_files(s, options, err);
    if (status == STATUS_OK)
        status = open_database(s, err);
    if (status != STATUS_OK) {
        sqlite_close(&s->base);
        return status;
    }
    *out = s;
    return STATUS_OK;
}

/* The version once nobody is in the middle of making the schema. */
static enum status
settled_version(struct sqlite_store *s, int64_t *out, struct error *err)
{
    enum status status = sqlite_writer_lock(s, err);

    if (status != STATUS_OK)
        return status;
    status = schema_version(s, out, err);
    sqlite_writer_unlock(s);
    return status;
}

static enum status
require_schema(struct sqlite_store *s, bool create, struct error *err)
{
    int64_t version;
    int applied;
    enum status status = schema_version(s, &version, err);

    /* A command right after the very first start of the servers. */
    if (status == STATUS_OK && version == 0 && !create)
        status = settled_version(s, &version, err);
    if (status == STATUS_OK && version == 0 && create) {
        status = apply_schema(s, &applied, err);
        if (status == STATUS_OK)
            status = schema_version(s, &version, err);
    }
    if (status == STATUS_OK)
        status = require_log(s, err);
    if (status == STATUS_OK)
        status = refuse_newer(s, version, err);
    if (status == STATUS_OK && version < newest_step())
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: its schema is %" PRId64 ", this program needs %" PRId64
                         "; run `spendgate migrate`",
                         s->path, version, newest_step());
    return status;
}

static enum status
sqlite_open(const struct store_options *options, struct store_backend **out, struct error *err)
{
    struct sqlite_store *s;
    gid_t group = NO_GROUP;
    enum status status = open_any(options, &s, err);

    *out = NULL;
    if (status != STATUS_OK)
        return status;
    status = require_schema(s, options->create, err);
    if (status == STATUS_OK)
        status = sqlite_find_group(options->group, &group, err);
    if (status == STATUS_OK)
        status = sqlite_share_files(s, group, err);
    if (status != STATUS_OK) {
        sqlite_close(&s->base);
        return status;
    }
    *out = &s->base;
    return STATUS_OK;
}

static enum status
sqlite_migrate(const struct store_options *options, int *applied, struct error *err)
{
    struct sqlite_store *s;
    gid_t group = NO_GROUP;
    enum status status = open_any(options, &s, err);

    *applied = 0;
    if (status != STATUS_OK)
        return status;
    status = apply_schema(s, applied, err);
    if (status == STATUS_OK)
        status = sqlite_find_group(options->group, &group, err);
    if (status == STATUS_OK)
        status = sqlite_share_files(s, group, err);
    sqlite_close(&s->base);
    return status;
}

static enum status
sqlite_check(struct store_backend *backend, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status = sqlite_refuse_if_marked(s, err);

    return status == STATUS_OK ? require_schema(s, false, err) : status;
}

static int64_t
sqlite_now_us(struct store_backend *backend, int64_t machine_now_us)
{
    (void)backend;
    return machine_now_us;
}

const struct store_ops store_sqlite_ops = {
    .scheme = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .migrate = sqlite_migrate,
    .check = sqlite_check,
    .examine = sqlite_examine,
    .after = sqlite_after,
    .now_us = sqlite_now_us,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .failure = sqlite_failure,
    .settle_disk = sqlite_settle_disk,
    .batch_begin = sqlite_batch_begin,
    .batch_end = sqlite_batch_end,
    .accounts_find = sqlite_accounts_find,
    .account_lock = sqlite_account_lock,
    .account_get = sqlite_account_get,
    .generations_below = sqlite_generations_below,
    .chain_intern = sqlite_chain_intern,
    .last_seen = sqlite_last_seen,
    .load = sqlite_load,
    .load_lines = sqlite_load_lines,
    .journal_sum = sqlite_journal_sum,
    .credit_sum = sqlite_credit_sum,
    .history = sqlite_history,
    .route_amounts = sqlite_route_amounts,
    .expired = sqlite_expired,
    .lock_chains = sqlite_lock_chains,
    .unknown_hold = sqlite_unknown_hold,
    .idempotency_find = sqlite_idempotency_find,
    .verification_number = sqlite_verification_number,
    .price_find = sqlite_price_find,
    .account_write = sqlite_account_write,
    .line_write = sqlite_line_write,
    .period_write = sqlite_period_write,
    .hold_write = sqlite_hold_write,
    .charge_write = sqlite_charge_write,
    .credit_write = sqlite_credit_write,
    .rate_write = sqlite_rate_write,
    .admission_write = sqlite_admission_write,
    .idempotency_write = sqlite_idempotency_write,
    .event_write = sqlite_event_write,
    .price_write = sqlite_price_write,
    .account_names = sqlite_account_names,
    .clerk_note_write = sqlite_clerk_note_write,
    .clerk_note_read = sqlite_clerk_note_read,
    .clerk_subjects = sqlite_clerk_subjects,
    .clerk_keys = sqlite_clerk_keys,
    .charges = sqlite_charges,
    .report = sqlite_report,
    .holds = sqlite_holds,
    .prices = sqlite_prices,
    .scan = sqlite_scan,
    .pruned_until = sqlite_pruned_until,
    .prune = sqlite_prune,
    .rows_count = sqlite_rows_count,
    .rows_visit = sqlite_rows_visit,
    .fill_begin = sqlite_fill_begin,
    .fill_row = sqlite_fill_row,
    .fill_end = sqlite_fill_end,
};
