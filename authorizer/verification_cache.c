/* SPDX-License-Identifier: MIT */
#include "authorizer/verification_cache.h"

#include "common/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/banned.h"

#define CACHE_FORMAT 1
#define APPLICATION_ID "1397770051" /* "SPGC": this database is a cache of ours */
#define KEY_BYTES (CACHE_SCOPE_BYTES + SHA256_BYTES)
#define SUM_BYTES 16
#define PATH_TEXT_SIZE 4096
#define SUFFIX_SIZE 16
#define BOOT_ID_SIZE 40
#define LOCK_WAIT_US 500000
#define BUSY_WAIT_MS 100
#define CHECKPOINT_FRAMES 1000
#define PRUNE_EVERY_US (60 * US_PER_SECOND)

enum statement {
    ROW_GET,
    ROW_PUT_VALID,
    ROW_PUT_INVALID,
    DOCUMENT_GET,
    DOCUMENT_PUT,
    STATE_GET,
    STATE_PUT,
    DROP_NEVER_VALID,
    DROP_OLD,
    DROP_STATE,
    DROP_QUARTER,
    STATEMENT_COUNT,
};

static const char *const statements[STATEMENT_COUNT] = {
    [ROW_GET] = "SELECT valid, checked_us, verified_us, reason, identity, sum"
                " FROM verification WHERE key = ?1",
    [ROW_PUT_VALID] = "INSERT INTO verification (key, valid, checked_us, verified_us, reason,"
                      " identity, sum) VALUES (?1, 1, ?2, ?2, '', ?3, ?4)"
                      " ON CONFLICT (key) DO UPDATE SET valid = 1, checked_us = ?2,"
                      " verified_us = ?2, reason = '', identity = ?3, sum = ?4",
    [ROW_PUT_INVALID] = "INSERT INTO verification (key, valid, checked_us, verified_us, reason)"
                        " VALUES (?1, 0, ?2, 0, ?3) ON CONFLICT (key) DO UPDATE SET valid = 0,"
                        " checked_us = ?2, reason = ?3, identity = NULL, sum = NULL",
    /* A row of the same table, which ages and is dropped like the others; no credential has its
     * digest, and it is not `valid = 1`. */
    [DOCUMENT_GET] = "SELECT checked_us, identity, sum FROM verification WHERE key = ?1"
                     " AND valid = 2",
    [DOCUMENT_PUT] = "INSERT INTO verification (key, valid, checked_us, verified_us, reason,"
                     " identity, sum) VALUES (?1, 2, ?2, ?2, '', ?3, ?4)"
                     " ON CONFLICT (key) DO UPDATE SET valid = 2, checked_us = ?2,"
                     " verified_us = ?2, reason = '', identity = ?3, sum = ?4",
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
};

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "PRAGMA application_id = " APPLICATION_ID ";"
    "PRAGMA user_version = 1;"
    "CREATE TABLE host (boot_id TEXT NOT NULL);"
    "CREATE TABLE verification (key BLOB PRIMARY KEY, valid INTEGER NOT NULL,"
    " checked_us INTEGER NOT NULL, verified_us INTEGER NOT NULL, reason TEXT NOT NULL,"
    " identity BLOB, sum BLOB) WITHOUT ROWID;"
    "CREATE INDEX verification_age ON verification (verified_us, checked_us);"
    "CREATE TABLE state (name TEXT PRIMARY KEY, until_us INTEGER NOT NULL,"
    " v0 INTEGER NOT NULL, v1 INTEGER NOT NULL, v2 INTEGER NOT NULL, v3 INTEGER NOT NULL,"
    " v4 INTEGER NOT NULL) WITHOUT ROWID;"
    "COMMIT";

struct verification_cache {
    char path[PATH_TEXT_SIZE];
    char group[NAME_SIZE];
    uint8_t scope[CACHE_SCOPE_BYTES];
    int64_t negative_keep_us;
    int64_t page_max;

    sqlite3 *db; /* NULL: not open */
    sqlite3_stmt *prepared[STATEMENT_COUNT];
    int lock_fd;
    dev_t device; /* of the open file, so that a replaced one is noticed */
    ino_t inode;
    int wal_frames;
    int64_t pruned_us;

    bool bypassed;    /* the file cannot be used, and that has been logged */
    int64_t retry_us; /* not before this */
};

/* ---- files --------------------------------------------------------------------------------------
 */

static void
path_with(const struct verification_cache *cache, const char *suffix, char out[PATH_TEXT_SIZE])
{
    struct buf path;

    buf_init(&path, out, PATH_TEXT_SIZE);
    buf_add(&path, cache->path);
    buf_add(&path, suffix);
    assert(!buf_failed(&path)); /* cache_open left room */
}

/* Only our own file may be believed: whoever can write it can invent identities. */
static enum status
check_owner(const struct verification_cache *cache, const struct stat *file, const char *path,
            struct error *err)
{
    mode_t writable = S_IWOTH | (cache->group[0] == '\0' ? S_IWGRP : 0);

    if (!S_ISREG(file->st_mode))
        return error_set(err, STATUS_INVALID, "%s is not a regular file: remove it", path);
    if (file->st_uid != geteuid())
        return error_set(err, STATUS_INVALID,
                         "%s belongs to another user (uid %lu): remove it, or give it to uid %lu",
                         path, (unsigned long)file->st_uid, (unsigned long)geteuid());
    if ((file->st_mode & writable) != 0)
        return error_set(err, STATUS_INVALID, "%s may be written by others: remove it", path);
    return STATUS_OK;
}

static enum status
give_to_group(const struct verification_cache *cache, int fd, const char *path, struct error *err)
{
    struct group *group;

    if (cache->group[0] == '\0')
        return STATUS_OK;
    group = getgrnam(cache->group);
    if (group == NULL)
        return error_set(err, STATUS_INVALID, "store { group }: there is no group %s",
                         cache->group);
    if (fchown(fd, (uid_t)-1, group->gr_gid) != 0 || fchmod(fd, 0660) != 0)
        return error_set(err, STATUS_IO, "%s cannot be given to group %s: %s", path, cache->group,
                         strerror(errno));
    return STATUS_OK;
}

/* Open or make a file of ours. On STATUS_OK `*out_fd` is the caller's. */
static enum status
open_file(const struct verification_cache *cache, const char *path, int *out_fd,
          struct stat *out_stat, struct error *err)
{
    enum status status;
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

    *out_fd = -1;
    if (fd < 0 && errno == ENOENT) {
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 && give_to_group(cache, fd, path, err) != STATUS_OK) {
            close(fd);
            unlink(path);
            return err->status;
        }
        if (fd < 0 && errno == EEXIST) /* another process was quicker */
            fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    }
    if (fd < 0)
        return error_set(err, STATUS_IO, "%s cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, out_stat) != 0)
        status = error_set(err, STATUS_IO, "%s: %s", path, strerror(errno));
    else
        status = check_owner(cache, out_stat, path, err);
    if (status != STATUS_OK) {
        close(fd);
        return status;
    }
    *out_fd = fd;
    return STATUS_OK;
}

static enum status
check_folder(const struct verification_cache *cache, struct error *err)
{
    char folder[PATH_TEXT_SIZE];
    struct stat file;
    char *slash;

    path_with(cache, "", folder);
    slash = strrchr(folder, '/');
    if (slash == NULL)
        return error_set(err, STATUS_INVALID, "cache { path } is not an absolute path: %s", folder);
    *slash = '\0';
    if (stat(folder[0] == '\0' ? "/" : folder, &file) != 0)
        return error_set(err, STATUS_IO, "the folder of the cache, %s: %s", folder,
                         strerror(errno));
    if ((file.st_mode & S_IWOTH) != 0 && (file.st_mode & S_ISVTX) == 0)
        return error_set(err, STATUS_INVALID,
                         "the folder of the cache, %s, may be written by others", folder);
    return STATUS_OK;
}

static void
sleep_us(int64_t us)
{
    struct timespec time = { .tv_sec = us / US_PER_SECOND, .tv_nsec = (us % US_PER_SECOND) * 1000 };

    nanosleep(&time, NULL);
}

/* The writers' lock of this file. The wait is bounded, because a stopped process may hold it, and
 * polled, because flock has no timeout: what is done under it takes some 30 microseconds. */
static bool
lock_writers(int fd)
{
    int64_t step_us = 50;

    for (int64_t waited_us = 0; waited_us < LOCK_WAIT_US; waited_us += step_us) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return false;
        sleep_us(step_us);
        step_us = step_us < 2000 ? step_us * 2 : step_us;
    }
    return false;
}

static void
unlock_writers(int fd)
{
    (void)!flock(fd, LOCK_UN);
}

/* ---- opening ------------------------------------------------------------------------------------
 */

static void
close_database(struct verification_cache *cache)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        sqlite3_finalize(cache->prepared[i]);
        cache->prepared[i] = NULL;
    }
    if (cache->db != NULL) {
        int rc = sqlite3_close(cache->db);

        assert(rc == SQLITE_OK); /* else a statement leaked */
        cache->db = NULL;
    }
    if (cache->lock_fd >= 0) {
        close(cache->lock_fd);
        cache->lock_fd = -1;
    }
}

static bool
is_broken(int rc)
{
    /* SQLITE_ERROR: the file is ours by its header, but its tables are not what we made. */
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB ||
           (rc & 0xff) == SQLITE_ERROR;
}

static enum status
sqlite_error(const struct verification_cache *cache, int rc, struct error *err)
{
    return error_set(err, is_broken(rc) ? STATUS_CORRUPT : STATUS_IO, "%s: %s", cache->path,
                     sqlite3_errstr(rc));
}

static int
wal_hook(void *context, sqlite3 *db, const char *name, int frames)
{
    struct verification_cache *cache = context;

    (void)db;
    (void)name;
    cache->wal_frames = frames;
    return SQLITE_OK;
}

static int
run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* The first column of the first row of `sql` as text ("" for none). */
static int
read_text(sqlite3 *db, const char *sql, char *out, size_t size)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    out[0] = '\0';
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);

        if (text != NULL && !text_copy(out, size, text))
            out[0] = '\0';
    }
    sqlite3_finalize(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static enum status
read_boot_id(char out[BOOT_ID_SIZE], struct error *err)
{
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, out, BOOT_ID_SIZE - 1);

    if (fd >= 0)
        close(fd);
    if (length < 36)
        return error_set(err, STATUS_IO, "%s cannot be read, so old entries cannot be told apart",
                         path);
    out[36] = '\0';
    return STATUS_OK;
}

/* Whether the open database is ours, empty, or somebody else's. */
static enum status
check_format(struct verification_cache *cache, bool *empty, struct error *err)
{
    char id[BOOT_ID_SIZE];
    char version[BOOT_ID_SIZE];
    char tables[BOOT_ID_SIZE];
    int rc = read_text(cache->db, "PRAGMA application_id", id, sizeof(id));

    if (rc == SQLITE_OK)
        rc = read_text(cache->db, "PRAGMA user_version", version, sizeof(version));
    if (rc == SQLITE_OK)
        rc = read_text(cache->db, "SELECT count(*) FROM sqlite_schema", tables, sizeof(tables));
    if (rc != SQLITE_OK)
        return sqlite_error(cache, rc, err);
    *empty = strcmp(id, "0") == 0 && strcmp(version, "0") == 0 && strcmp(tables, "0") == 0;
    if (*empty)
        return STATUS_OK;
    if (strcmp(id, APPLICATION_ID) != 0)
        return error_set(err, STATUS_INVALID,
                         "%s is a database of something else: choose another cache { path }",
                         cache->path);
    _Static_assert(CACHE_FORMAT == 1, "the schema and the comparison below say it too");
    if (strcmp(version, "1") != 0)
        return error_set(err, STATUS_CORRUPT, "%s is of another version of this program",
                         cache->path);
    return STATUS_OK;
}

/* Under the writers' lock: make the tables if there are none, and drop what an earlier boot left.
 */
static enum status
prepare_content(struct verification_cache *cache, struct error *err)
{
    char boot_id[BOOT_ID_SIZE];
    char text[BOOT_ID_SIZE];
    char sql[128];
    struct buf insert;
    bool empty;
    int rc;

    if (check_format(cache, &empty, err) != STATUS_OK || read_boot_id(boot_id, err) != STATUS_OK)
        return err->status;
    rc = run(cache->db, "PRAGMA journal_mode = WAL");
    if (rc == SQLITE_OK && empty)
        rc = run(cache->db, schema);
    if (rc == SQLITE_OK)
        rc = read_text(cache->db, "SELECT boot_id FROM host", text, sizeof(text));
    if (rc != SQLITE_OK)
        return sqlite_error(cache, rc, err);
    if (strcmp(text, boot_id) == 0)
        return STATUS_OK;
    buf_init(&insert, sql, sizeof(sql));
    buf_add_format(&insert, "INSERT INTO host VALUES ('%s')", boot_id);
    rc = run(cache->db, "DELETE FROM verification; DELETE FROM state; DELETE FROM host");
    if (rc == SQLITE_OK)
        rc = run(cache->db, sql);
    return rc == SQLITE_OK ? STATUS_OK : sqlite_error(cache, rc, err);
}

static enum status
prepare_connection(struct verification_cache *cache, struct error *err)
{
    char pages[64];
    struct buf limit;
    int rc =
        sqlite3_open_v2(cache->path, &cache->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);

    buf_init(&limit, pages, sizeof(pages));
    buf_add_format(&limit, "PRAGMA max_page_count = %lld", (long long)cache->page_max);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(cache->db, BUSY_WAIT_MS);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(cache->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(cache->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* Nothing here has to survive the machine: after a crash of it every row is of an earlier boot.
     */
    if (rc == SQLITE_OK)
        rc = run(cache->db, "PRAGMA synchronous = OFF;"
                            "PRAGMA wal_autocheckpoint = 0; PRAGMA trusted_schema = OFF;"
                            "PRAGMA cell_size_check = ON");
    if (rc == SQLITE_OK)
        rc = run(cache->db, pages);
    if (rc != SQLITE_OK)
        return sqlite_error(cache, rc, err);
    sqlite3_wal_hook(cache->db, wal_hook, cache);
    return prepare_content(cache, err);
}

static enum status
prepare_statements(struct verification_cache *cache, struct error *err)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        int rc = sqlite3_prepare_v3(cache->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &cache->prepared[i], NULL);

        if (rc != SQLITE_OK)
            return sqlite_error(cache, rc, err);
    }
    return STATUS_OK;
}

/* Moved, not removed: a wrong `cache { path }` must not cost anybody a file. */
static void
set_aside(const struct verification_cache *cache)
{
    static const char *const suffixes[][2] = { { "-shm", ".damaged-shm" },
                                               { "-wal", ".damaged-wal" },
                                               { "", ".damaged" } };
    char from[PATH_TEXT_SIZE];
    char to[PATH_TEXT_SIZE];

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        path_with(cache, suffixes[i][0], from);
        path_with(cache, suffixes[i][1], to);
        (void)!rename(from, to);
    }
}

/* Under the writers' lock. */
static enum status
open_database(struct verification_cache *cache, struct error *err)
{
    struct stat file;
    enum status status;
    int fd = -1;

    status = open_file(cache, cache->path, &fd, &file, err);
    if (status != STATUS_OK)
        return status;
    /* Closing it drops no lock of ours: SQLite has the file not open yet. */
    close(fd);
    cache->device = file.st_dev;
    cache->inode = file.st_ino;
    status = prepare_connection(cache, err);
    if (status == STATUS_OK)
        status = prepare_statements(cache, err);
    return status;
}

static enum status
open_locked(struct verification_cache *cache, struct error *err)
{
    enum status status = open_database(cache, err);
    int lock_fd = cache->lock_fd;

    if (status != STATUS_CORRUPT)
        return status;
    log_event(LOG_WARN, "cache_recreated", "path", cache->path, "message", err->message, "effect",
              "the old file has .damaged behind its name", NULL);
    cache->lock_fd = -1; /* keep the lock while the connection goes */
    close_database(cache);
    cache->lock_fd = lock_fd;
    set_aside(cache);
    return open_database(cache, err);
}

static enum status
open_cache(struct verification_cache *cache, struct error *err)
{
    char path[PATH_TEXT_SIZE];
    struct stat file;
    enum status status = check_folder(cache, err);

    if (status != STATUS_OK)
        return status;
    path_with(cache, ".lock", path);
    status = open_file(cache, path, &cache->lock_fd, &file, err);
    if (status != STATUS_OK)
        return status;
    if (!lock_writers(cache->lock_fd))
        status = error_set(err, STATUS_BUSY, "%s is held by another process", path);
    else
        status = open_locked(cache, err);
    if (status == STATUS_OK)
        unlock_writers(cache->lock_fd);
    else
        close_database(cache);
    return status;
}

/* ---- going without ------------------------------------------------------------------------------
 */

static void
go_without(struct verification_cache *cache, const struct error *err, int64_t boot_us)
{
    close_database(cache);
    cache->retry_us = boot_us + CACHE_RETRY_US;
    if (!cache->bypassed)
        log_event(LOG_WARN, "cache_bypassed", "path", cache->path, "message", err->message,
                  "effect", "every process verifies by itself until the file works again", NULL);
    cache->bypassed = true;
}

static bool
was_replaced(const struct verification_cache *cache)
{
    struct stat file;

    return stat(cache->path, &file) != 0 || file.st_dev != cache->device ||
           file.st_ino != cache->inode;
}

/* A statement failed. A broken file is made anew at the next use; with anything else we wait. */
static void
give_up(struct verification_cache *cache, int rc, int64_t boot_us)
{
    struct error err;

    (void)!sqlite_error(cache, rc, &err);
    if (is_broken(rc) && !cache->bypassed) {
        log_event(LOG_WARN, "cache_recreated", "path", cache->path, "message", err.message,
                  "effect", "the old file has .damaged behind its name", NULL);
        if (lock_writers(cache->lock_fd) && !was_replaced(cache))
            set_aside(cache);
        close_database(cache);
        return;
    }
    go_without(cache, &err, boot_us);
}

/* The file is open and still the one at the path. */
static bool
ready(struct verification_cache *cache, int64_t boot_us)
{
    struct error err;

    if (cache->db != NULL && !was_replaced(cache))
        return true;
    close_database(cache);
    if (cache->bypassed && boot_us < cache->retry_us)
        return false;
    if (open_cache(cache, &err) != STATUS_OK) {
        go_without(cache, &err, boot_us);
        return false;
    }
    if (cache->bypassed)
        log_event(LOG_INFO, "cache_in_use", "path", cache->path, NULL);
    cache->bypassed = false;
    return true;
}

/* ---- public -------------------------------------------------------------------------------------
 */

enum status
cache_open(const struct cache_options *options, struct verification_cache **out, struct error *err)
{
    struct verification_cache *cache;

    *out = NULL;
    if (strlen(options->path) + SUFFIX_SIZE > PATH_TEXT_SIZE)
        return error_set(err, STATUS_OVERFLOW, "cache { path } is too long");
    cache = calloc(1, sizeof(*cache));
    if (cache == NULL)
        return error_set(err, STATUS_NO_MEMORY, "cache: out of memory");
    cache->lock_fd = -1;
    cache->negative_keep_us = options->negative_keep_us;
    cache->page_max = options->page_max > 0 ? options->page_max : CACHE_PAGES_MAX;
    memcpy(cache->scope, options->scope, sizeof(cache->scope));
    if (!text_copy(cache->path, sizeof(cache->path), options->path) ||
        !text_copy(cache->group, sizeof(cache->group), options->group)) {
        cache_close(cache);
        return error_set(err, STATUS_OVERFLOW, "cache: a name is too long");
    }
    *out = cache;
    return STATUS_OK;
}

void
cache_close(struct verification_cache *cache)
{
    if (cache == NULL)
        return;
    close_database(cache);
    free(cache);
}

static void
make_key(const struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
         uint8_t key[KEY_BYTES])
{
    memcpy(key, cache->scope, CACHE_SCOPE_BYTES);
    memcpy(key + CACHE_SCOPE_BYTES, digest, SHA256_BYTES);
}

/* Ties an identity to its key, so that a damaged file cannot hand one caller another's. */
static void
make_sum(const uint8_t key[KEY_BYTES], const void *identity, size_t length,
         uint8_t sum[SHA256_BYTES])
{
    crypto_hmac_sha256(key, KEY_BYTES, identity, length, sum);
}

static bool
read_identity(sqlite3_stmt *statement, const uint8_t key[KEY_BYTES], struct identity *out)
{
    const void *bytes = sqlite3_column_blob(statement, 4);
    int length = sqlite3_column_bytes(statement, 4);
    const void *stored_sum = sqlite3_column_blob(statement, 5);
    uint8_t sum[SHA256_BYTES];

    if (bytes == NULL || stored_sum == NULL || sqlite3_column_bytes(statement, 5) != SUM_BYTES)
        return false;
    make_sum(key, bytes, (size_t)length, sum);
    return crypto_equal(sum, stored_sum, SUM_BYTES) &&
           identity_decode(bytes, (size_t)length, out, NULL) == STATUS_OK;
}

static void
read_row(sqlite3_stmt *statement, const uint8_t key[KEY_BYTES], int64_t boot_us,
         struct cache_entry *out)
{
    const char *reason = (const char *)sqlite3_column_text(statement, 3);

    out->valid = sqlite3_column_int(statement, 0) == 1;
    out->checked_us = sqlite3_column_int64(statement, 1);
    out->verified_us = sqlite3_column_int64(statement, 2);
    if (reason == NULL || !text_copy(out->reason, sizeof(out->reason), reason))
        out->reason[0] = '\0';
    if (out->checked_us > boot_us || out->verified_us > boot_us)
        return; /* not of this boot, whatever the file says */
    if (out->valid && !read_identity(statement, key, &out->identity))
        return;
    if (boot_us - out->verified_us > CACHE_KEEP_US)
        out->verified_us = 0;
    out->found = true;
}

void
cache_get(struct verification_cache *cache, const uint8_t digest[SHA256_BYTES], int64_t boot_us,
          struct cache_entry *out)
{
    uint8_t key[KEY_BYTES];
    sqlite3_stmt *statement;
    int rc;

    out->found = false;
    out->valid = false;
    out->verified_us = 0;
    if (!ready(cache, boot_us))
        return;
    make_key(cache, digest, key);
    statement = cache->prepared[ROW_GET];
    rc = sqlite3_bind_blob(statement, 1, key, KEY_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        read_row(statement, key, boot_us, out);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    if (!out->found) {
        out->valid = false;
        out->verified_us = 0;
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        give_up(cache, rc, boot_us);
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
write_row(struct verification_cache *cache, sqlite3_stmt *statement, int64_t boot_us)
{
    int rc = SQLITE_BUSY;

    if (lock_writers(cache->lock_fd)) {
        rc = step_and_reset(statement);
        if (rc == SQLITE_FULL) {
            rc = step_and_reset(cache->prepared[DROP_QUARTER]);
            if (rc == SQLITE_OK)
                rc = step_and_reset(statement);
        }
        unlock_writers(cache->lock_fd);
    }
    sqlite3_clear_bindings(statement);
    if (rc != SQLITE_OK)
        give_up(cache, rc, boot_us);
}

/* A row with bytes: ?1 its key, ?2 the time, ?3 and ?4 the bytes and what ties them to the key. */
static void
put_bytes(struct verification_cache *cache, sqlite3_stmt *statement, const uint8_t key[KEY_BYTES],
          const void *bytes, size_t length, int64_t boot_us)
{
    uint8_t sum[SHA256_BYTES];
    int rc;

    make_sum(key, bytes, length, sum);
    rc = sqlite3_bind_blob(statement, 1, key, KEY_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, 2, boot_us);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob(statement, 3, bytes, (int)length, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob(statement, 4, sum, SUM_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        write_row(cache, statement, boot_us);
    else
        give_up(cache, rc, boot_us);
}

void
cache_put_valid(struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
                const struct identity *identity, int64_t boot_us)
{
    char bytes[IDENTITY_ENCODED_SIZE];
    uint8_t key[KEY_BYTES];
    struct buf encoded;

    if (!ready(cache, boot_us))
        return;
    make_key(cache, digest, key);
    buf_init(&encoded, bytes, sizeof(bytes));
    identity_encode(identity, &encoded);
    assert(!buf_failed(&encoded));
    put_bytes(cache, cache->prepared[ROW_PUT_VALID], key, bytes, encoded.length, boot_us);
}

void
cache_put_invalid(struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
                  const char *reason, int64_t boot_us)
{
    uint8_t key[KEY_BYTES];
    sqlite3_stmt *statement;
    int rc;

    if (!ready(cache, boot_us))
        return;
    make_key(cache, digest, key);
    statement = cache->prepared[ROW_PUT_INVALID];
    rc = sqlite3_bind_blob(statement, 1, key, KEY_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, 2, boot_us);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(statement, 3, reason, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        write_row(cache, statement, boot_us);
    else
        give_up(cache, rc, boot_us);
}

/* ---- shared texts -------------------------------------------------------------------------------
 */

static void
make_document_key(const struct verification_cache *cache, const char *name, uint8_t key[KEY_BYTES])
{
    uint8_t digest[SHA256_BYTES];

    crypto_sha256(name, strlen(name), digest);
    make_key(cache, digest, key);
}

static bool
read_document(sqlite3_stmt *statement, const uint8_t key[KEY_BYTES], int64_t boot_us,
              struct buf *out, int64_t *put_us)
{
    const void *bytes = sqlite3_column_blob(statement, 1);
    int length = sqlite3_column_bytes(statement, 1);
    const void *stored_sum = sqlite3_column_blob(statement, 2);
    uint8_t sum[SHA256_BYTES];

    *put_us = sqlite3_column_int64(statement, 0);
    if (bytes == NULL || stored_sum == NULL || sqlite3_column_bytes(statement, 2) != SUM_BYTES ||
        *put_us > boot_us || boot_us - *put_us > CACHE_KEEP_US)
        return false;
    make_sum(key, bytes, (size_t)length, sum);
    if (!crypto_equal(sum, stored_sum, SUM_BYTES))
        return false;
    buf_add_bytes(out, bytes, (size_t)length);
    return !buf_failed(out);
}

bool
cache_document_get(struct verification_cache *cache, const char *name, int64_t boot_us,
                   struct buf *out, int64_t *put_us)
{
    uint8_t key[KEY_BYTES];
    sqlite3_stmt *statement;
    bool found = false;
    int rc;

    *put_us = 0;
    if (!ready(cache, boot_us))
        return false;
    make_document_key(cache, name, key);
    statement = cache->prepared[DOCUMENT_GET];
    rc = sqlite3_bind_blob(statement, 1, key, KEY_BYTES, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        found = read_document(statement, key, boot_us, out, put_us);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        give_up(cache, rc, boot_us);
    return found;
}

void
cache_document_put(struct verification_cache *cache, const char *name, const char *text,
                   size_t length, int64_t boot_us)
{
    uint8_t key[KEY_BYTES];

    assert(length <= CACHE_DOCUMENT_MAX);
    if (!ready(cache, boot_us))
        return;
    make_document_key(cache, name, key);
    put_bytes(cache, cache->prepared[DOCUMENT_PUT], key, text, length, boot_us);
}

/* ---- shared numbers -----------------------------------------------------------------------------
 */

static int
read_state(struct verification_cache *cache, const char *name, struct cache_state *out)
{
    sqlite3_stmt *statement = cache->prepared[STATE_GET];
    int rc = sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);

    *out = (struct cache_state){ { 0 } };
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    for (int i = 0; rc == SQLITE_ROW && i < CACHE_STATE_VALUES; i++)
        out->values[i] = sqlite3_column_int64(statement, i);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int
write_state(struct verification_cache *cache, const char *name, const struct cache_state *state,
            int64_t until_us)
{
    sqlite3_stmt *statement = cache->prepared[STATE_PUT];
    int rc = sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);

    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, 2, until_us);
    for (int i = 0; rc == SQLITE_OK && i < CACHE_STATE_VALUES; i++)
        rc = sqlite3_bind_int64(statement, 3 + i, state->values[i]);
    if (rc == SQLITE_OK)
        rc = step_and_reset(statement);
    sqlite3_clear_bindings(statement);
    return rc;
}

/* Under the writers' lock, so nobody changes the numbers between the reading and the writing. */
static int
change_state(struct verification_cache *cache, const char *name,
             bool (*change)(void *context, struct cache_state *state, int64_t *until_us),
             void *context)
{
    struct cache_state state;
    int64_t until_us = 0;
    int rc = read_state(cache, name, &state);

    if (rc != SQLITE_OK || !change(context, &state, &until_us))
        return rc;
    rc = write_state(cache, name, &state, until_us);
    if (rc != SQLITE_FULL)
        return rc;
    rc = step_and_reset(cache->prepared[DROP_QUARTER]);
    return rc == SQLITE_OK ? write_state(cache, name, &state, until_us) : rc;
}

bool
cache_state_change(struct verification_cache *cache, const char *name,
                   bool (*change)(void *context, struct cache_state *state, int64_t *until_us),
                   void *context, int64_t boot_us)
{
    int rc = SQLITE_BUSY;

    if (!ready(cache, boot_us))
        return false;
    if (lock_writers(cache->lock_fd)) {
        rc = change_state(cache, name, change, context);
        unlock_writers(cache->lock_fd);
    }
    if (rc != SQLITE_OK)
        give_up(cache, rc, boot_us);
    return rc == SQLITE_OK;
}

bool
cache_state_read(struct verification_cache *cache, const char *name, struct cache_state *out,
                 int64_t boot_us)
{
    int rc;

    *out = (struct cache_state){ { 0 } };
    if (!ready(cache, boot_us))
        return false;
    rc = read_state(cache, name, out);
    if (rc != SQLITE_OK)
        give_up(cache, rc, boot_us);
    return rc == SQLITE_OK;
}

/* ---- housekeeping -------------------------------------------------------------------------------
 */

static int
drop_old(struct verification_cache *cache, int64_t boot_us)
{
    static const enum statement which[] = { DROP_NEVER_VALID, DROP_OLD, DROP_STATE };
    const int64_t before_us[] = { boot_us - cache->negative_keep_us, boot_us - CACHE_KEEP_US,
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
checkpoint(struct verification_cache *cache, int64_t boot_us)
{
    struct cache_state mark = { { boot_us } };
    int rc = drop_old(cache, boot_us);

    if (rc == SQLITE_OK)
        rc = write_state(cache, "checkpoint", &mark, INT64_MAX);
    if (rc == SQLITE_OK)
        rc = sqlite3_wal_checkpoint_v2(cache->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return rc == SQLITE_BUSY ? SQLITE_OK : rc; /* a reader was in the way: another time */
}

void
cache_after(struct verification_cache *cache, int64_t boot_us)
{
    int rc;

    if (cache->db == NULL ||
        (cache->wal_frames < CHECKPOINT_FRAMES && boot_us - cache->pruned_us < PRUNE_EVERY_US))
        return;
    cache->pruned_us = boot_us;
    if (cache->wal_frames == 0 || !ready(cache, boot_us))
        return; /* this process wrote nothing: whoever did will do it */
    if (flock(cache->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return;
    rc = checkpoint(cache, boot_us);
    unlock_writers(cache->lock_fd);
    cache->wal_frames = 0;
    if (rc != SQLITE_OK)
        give_up(cache, rc, boot_us);
}
