/* SPDX-License-Identifier: MIT */
#include "common/host_cache_file.h"

#include "common/buf.h"
#include "common/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/banned.h"

#define BOOT_ID_SIZE 40
#define LOCK_WAIT_US 500000
#define BUSY_WAIT_MS 100

/* ---- files --------------------------------------------------------------------------------------
 */

static void
path_with(const struct host_cache *cache, const char *suffix, char out[FILE_PATH_SIZE])
{
    struct buf path;

    buf_init(&path, out, FILE_PATH_SIZE);
    buf_add(&path, cache->path);
    buf_add(&path, suffix);
    assert(!buf_failed(&path)); /* cache_open left room */
}

/* Only our own file may be believed: whoever can write it can invent identities. */
static enum status
check_owner(const struct host_cache *cache, const struct stat *file, const char *path,
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
give_to_group(const struct host_cache *cache, int fd, const char *path, struct error *err)
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
open_file(const struct host_cache *cache, const char *path, int *out_fd, struct stat *out_stat,
          struct error *err)
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
check_folder(const struct host_cache *cache, struct error *err)
{
    char folder[FILE_PATH_SIZE];
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
bool
host_cache_lock(struct host_cache *cache)
{
    int64_t step_us = 50;

    for (int64_t waited_us = 0; waited_us < LOCK_WAIT_US; waited_us += step_us) {
        if (flock(cache->lock_fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return false;
        sleep_us(step_us);
        step_us = step_us < 2000 ? step_us * 2 : step_us;
    }
    return false;
}

void
host_cache_unlock(struct host_cache *cache)
{
    (void)!flock(cache->lock_fd, LOCK_UN);
}

/* ---- opening ------------------------------------------------------------------------------------
 */

void
host_cache_shut(struct host_cache *cache)
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

enum status
host_cache_sqlite_error(const struct host_cache *cache, int rc, struct error *err)
{
    return error_set(err, is_broken(rc) ? STATUS_CORRUPT : STATUS_IO, "%s: %s", cache->path,
                     sqlite3_errstr(rc));
}

static int
wal_hook(void *context, sqlite3 *db, const char *name, int frames)
{
    struct host_cache *cache = context;

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
check_format(struct host_cache *cache, bool *empty, struct error *err)
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
        return host_cache_sqlite_error(cache, rc, err);
    *empty = strcmp(id, "0") == 0 && strcmp(version, "0") == 0 && strcmp(tables, "0") == 0;
    if (*empty)
        return STATUS_OK;
    if (strcmp(id, HOST_CACHE_APPLICATION_ID) != 0)
        return error_set(err, STATUS_INVALID,
                         "%s is a database of something else: choose another cache { path }",
                         cache->path);
    if (strcmp(version, HOST_CACHE_FORMAT) != 0)
        return error_set(err, STATUS_CORRUPT, "%s is of another version of this program",
                         cache->path);
    return STATUS_OK;
}

/* Under the writers' lock: make the tables if there are none, and drop what an earlier boot left.
 */
static enum status
prepare_content(struct host_cache *cache, struct error *err)
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
        rc = run(cache->db, host_cache_schema);
    if (rc == SQLITE_OK)
        rc = read_text(cache->db, "SELECT boot_id FROM host", text, sizeof(text));
    if (rc != SQLITE_OK)
        return host_cache_sqlite_error(cache, rc, err);
    if (strcmp(text, boot_id) == 0)
        return STATUS_OK;
    buf_init(&insert, sql, sizeof(sql));
    buf_add_format(&insert, "INSERT INTO host VALUES ('%s')", boot_id);
    rc = run(cache->db, "DELETE FROM verification; DELETE FROM state; DELETE FROM host");
    if (rc == SQLITE_OK)
        rc = run(cache->db, sql);
    return rc == SQLITE_OK ? STATUS_OK : host_cache_sqlite_error(cache, rc, err);
}

static enum status
prepare_connection(struct host_cache *cache, struct error *err)
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
        return host_cache_sqlite_error(cache, rc, err);
    sqlite3_wal_hook(cache->db, wal_hook, cache);
    return prepare_content(cache, err);
}

static enum status
prepare_statements(struct host_cache *cache, struct error *err)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        int rc = sqlite3_prepare_v3(cache->db, host_cache_statements[i], -1,
                                    SQLITE_PREPARE_PERSISTENT, &cache->prepared[i], NULL);

        if (rc != SQLITE_OK)
            return host_cache_sqlite_error(cache, rc, err);
    }
    return STATUS_OK;
}

/* Moved, not removed: a wrong `cache { path }` must not cost anybody a file. */
static void
set_aside(const struct host_cache *cache)
{
    static const char *const suffixes[][2] = { { "-shm", ".damaged-shm" },
                                               { "-wal", ".damaged-wal" },
                                               { "", ".damaged" } };
    char from[FILE_PATH_SIZE];
    char to[FILE_PATH_SIZE];

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        path_with(cache, suffixes[i][0], from);
        path_with(cache, suffixes[i][1], to);
        (void)!rename(from, to);
    }
}

/* Under the writers' lock. */
static enum status
open_database(struct host_cache *cache, struct error *err)
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
open_locked(struct host_cache *cache, struct error *err)
{
    enum status status = open_database(cache, err);
    int lock_fd = cache->lock_fd;

    if (status != STATUS_CORRUPT)
        return status;
    log_event(LOG_WARN, "cache_recreated", "path", cache->path, "message", err->message, "effect",
              "the old file has .damaged behind its name", NULL);
    cache->lock_fd = -1; /* keep the lock while the connection goes */
    host_cache_shut(cache);
    cache->lock_fd = lock_fd;
    set_aside(cache);
    return open_database(cache, err);
}

enum status
host_cache_try(struct host_cache *cache, struct error *err)
{
    char path[FILE_PATH_SIZE];
    struct stat file;
    enum status status = check_folder(cache, err);

    if (status != STATUS_OK)
        return status;
    path_with(cache, ".lock", path);
    status = open_file(cache, path, &cache->lock_fd, &file, err);
    if (status != STATUS_OK)
        return status;
    if (!host_cache_lock(cache))
        status = error_set(err, STATUS_BUSY, "%s is held by another process", path);
    else
        status = open_locked(cache, err);
    if (status == STATUS_OK)
        host_cache_unlock(cache);
    else
        host_cache_shut(cache);
    return status;
}

/* ---- looking in from outside
 * ---------------------------------------------------------------------
 */

static bool
is_of_this_boot(struct host_cache *cache)
{
    char boot_id[BOOT_ID_SIZE];
    char text[BOOT_ID_SIZE];
    struct error err;
    bool empty;

    return check_format(cache, &empty, &err) == STATUS_OK && !empty &&
           read_boot_id(boot_id, &err) == STATUS_OK &&
           read_text(cache->db, "SELECT boot_id FROM host", text, sizeof(text)) == SQLITE_OK &&
           strcmp(text, boot_id) == 0;
}

static bool
open_to_look(struct host_cache *cache, const struct host_cache_options *options)
{
    struct stat file;
    struct error err;

    if (!text_copy(cache->path, sizeof(cache->path), options->path) ||
        !text_copy(cache->group, sizeof(cache->group), options->group))
        return false;
    if (lstat(cache->path, &file) != 0 || check_owner(cache, &file, cache->path, &err) != STATUS_OK)
        return false;
    return sqlite3_open_v2(cache->path, &cache->db,
                           SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
                           NULL) == SQLITE_OK &&
           sqlite3_busy_timeout(cache->db, BUSY_WAIT_MS) == SQLITE_OK &&
           sqlite3_db_config(cache->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) == SQLITE_OK &&
           sqlite3_db_config(cache->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL) == SQLITE_OK &&
           is_of_this_boot(cache) &&
           sqlite3_prepare_v2(cache->db, host_cache_statements[STATE_GET], -1,
                              &cache->prepared[STATE_GET], NULL) == SQLITE_OK;
}

bool
host_cache_peek(const struct host_cache_options *options, const char *const *names, size_t count,
                struct host_state *out)
{
    struct host_cache *cache = calloc(1, sizeof(*cache));
    bool found;

    if (cache == NULL)
        return false;
    cache->lock_fd = -1;
    found = open_to_look(cache, options);
    for (size_t i = 0; found && i < count; i++)
        found = host_cache_read_state(cache, names[i], &out[i]) == SQLITE_OK;
    host_cache_shut(cache);
    free(cache);
    return found;
}

/* ---- going without ------------------------------------------------------------------------------
 */

static void
go_without(struct host_cache *cache, const struct error *err, int64_t boot_us)
{
    host_cache_shut(cache);
    cache->retry_us = boot_us + HOST_CACHE_RETRY_US;
    if (!cache->bypassed)
        log_event(LOG_WARN, "cache_bypassed", "path", cache->path, "message", err->message,
                  "effect", "every process verifies by itself until the file works again", NULL);
    cache->bypassed = true;
}

static bool
was_replaced(const struct host_cache *cache)
{
    struct stat file;

    return stat(cache->path, &file) != 0 || file.st_dev != cache->device ||
           file.st_ino != cache->inode;
}

/* A statement failed. A broken file is made anew at the next use; with anything else we wait. */
void
host_cache_give_up(struct host_cache *cache, int rc, int64_t boot_us)
{
    struct error err;

    (void)!host_cache_sqlite_error(cache, rc, &err);
    if (is_broken(rc) && !cache->bypassed) {
        log_event(LOG_WARN, "cache_recreated", "path", cache->path, "message", err.message,
                  "effect", "the old file has .damaged behind its name", NULL);
        if (host_cache_lock(cache) && !was_replaced(cache))
            set_aside(cache);
        host_cache_shut(cache);
        return;
    }
    go_without(cache, &err, boot_us);
}

/* The file is open and still the one at the path. */
bool
host_cache_ready(struct host_cache *cache, int64_t boot_us)
{
    struct error err;

    if (cache->db != NULL && !was_replaced(cache))
        return true;
    host_cache_shut(cache);
    if (cache->bypassed && boot_us < cache->retry_us)
        return false;
    if (host_cache_try(cache, &err) != STATUS_OK) {
        go_without(cache, &err, boot_us);
        return false;
    }
    if (cache->bypassed)
        log_event(LOG_INFO, "cache_in_use", "path", cache->path, NULL);
    cache->bypassed = false;
    return true;
}
