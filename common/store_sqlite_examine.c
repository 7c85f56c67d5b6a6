/* SPDX-License-Identifier: MIT */
/* What `spendgate doctor` is told about an SQLite store. Makes no file, except the lock files that
 * any program makes when the database is there. */
#include "common/store_sqlite.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "common/buf.h"

#include "common/banned.h"

#define SCHEME "sqlite:"
#define MIB (INT64_C(1024) * 1024)
#define FREE_MIN_BYTES (100 * MIB)
/* A checkpoint begins at CHECKPOINT_FRAMES pages of 2 KiB, and the file keeps its size. */
#define LOG_MAX_BYTES (256 * MIB)
/* The WAL-reset bug: two checkpoints at one instant, of which one restarts the log. */
#define RESET_BUG_FIRST 3007000
#define RESET_BUG_LAST 3051002

struct examination {
    const struct finding_sink *sink;
    const char *path;
    gid_t group;
    bool clean; /* no problem yet */
};

static void
tell_problem(struct examination *e, const char *message)
{
    e->clean = false;
    finding_tell(e->sink, FINDING_PROBLEM, "store", "%s", message);
}

/* Who may read it, beside those who may write it (sqlite_check_file refuses the wrong ones). */
static void
examine_readers(struct examination *e, const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && (st.st_mode & S_IROTH) != 0)
        finding_tell(e->sink, FINDING_WARNING, "store",
                     "%s: everybody on this machine may read it (mode %04o): who spent how much, "
                     "and on what\nchmod %s %s",
                     path, (unsigned)st.st_mode & 07777, e->group != NO_GROUP ? "0660" : "0600",
                     path);
}

static void
examine_file(struct examination *e, const char *suffix)
{
    char storage[PATH_MAX];
    struct error err;
    struct buf path;
    bool missing;

    buf_init(&path, storage, sizeof(storage));
    buf_add(&path, e->path);
    buf_add(&path, suffix);
    if (buf_failed(&path))
        return;
    if (sqlite_check_file(storage, e->group, &missing, &err) != STATUS_OK)
        tell_problem(e, err.message);
    else if (!missing)
        examine_readers(e, storage);
}

/* Whoever may write the folder may put another database, or a mark, into it. */
static void
examine_folder(struct examination *e)
{
    char folder[PATH_MAX];
    struct statvfs space;
    struct stat st;

    if (!sqlite_folder_of(e->path, folder) || stat(folder, &st) != 0)
        return; /* told by the file system's check */
    if ((st.st_mode & S_IWOTH) != 0) {
        e->clean = false;
        finding_tell(e->sink, FINDING_PROBLEM, "store",
                     "%s: everybody on this machine may write this folder (mode %04o), and so "
                     "replace the store\nchmod 0750 %s",
                     folder, (unsigned)st.st_mode & 07777, folder);
    }
    if (statvfs(folder, &space) == 0 &&
        (int64_t)space.f_bavail * (int64_t)space.f_frsize < FREE_MIN_BYTES)
        finding_tell(e->sink, FINDING_WARNING, "store",
                     "%s: less than %d MiB are free; when the disk is full every request is "
                     "answered 503\nmake room, or move the store to another disk",
                     folder, (int)(FREE_MIN_BYTES / MIB));
}

static void
examine_mark(struct examination *e)
{
    char storage[PATH_MAX];
    struct buf path;
    struct stat st;

    buf_init(&path, storage, sizeof(storage));
    buf_add(&path, e->path);
    buf_add(&path, ".failed");
    if (buf_failed(&path) || (stat(storage, &st) != 0 && errno == ENOENT))
        return;
    e->clean = false;
    finding_tell(e->sink, FINDING_PROBLEM, "store",
                 "%s: a sync of the disk failed, and nothing is acknowledged since: every request "
                 "is answered 503\nlook at the disk, then run `spendgate verify', then remove %s",
                 storage, storage);
}

static void
examine_log(struct examination *e)
{
    char storage[PATH_MAX];
    struct buf path;
    struct stat st;

    buf_init(&path, storage, sizeof(storage));
    buf_add(&path, e->path);
    buf_add(&path, "-wal");
    if (buf_failed(&path) || stat(storage, &st) != 0 || st.st_size < LOG_MAX_BYTES)
        return;
    finding_tell(e->sink, FINDING_WARNING, "store",
                 "%s: the log has %lld MiB: nobody could checkpoint it for a long time\nlook for a "
                 "program that keeps the database open in a read transaction, such as a backup or "
                 "an sqlite3 shell (fuser %s)",
                 storage, (long long)(st.st_size / MIB), e->path);
}

static void
examine_library(const struct examination *e)
{
    int version = sqlite3_libversion_number();

    if (version < RESET_BUG_FIRST || version > RESET_BUG_LAST) {
        finding_tell(e->sink, FINDING_OK, "sqlite", "SQLite %s", sqlite3_libversion());
        return;
    }
    finding_tell(
        e->sink, FINDING_OK, "sqlite",
        "SQLite %s has the WAL-reset bug (3.7.0 to 3.51.2), which needs two checkpoints at "
        "one instant; here one runs at a time, under %s.checkpoint, and none begins on a "
        "log that is fully copied. Other programs must not write or checkpoint this file",
        sqlite3_libversion(), e->path);
}

/* Opens it as a server does, and waits for the writers' lock as a server does. */
static void
examine_database(struct examination *e, const struct store_options *options)
{
    const struct store_ops *ops = &store_sqlite_ops;
    struct store_options quiet = *options;
    struct store_backend *backend = NULL;
    struct error err;

    quiet.create = false;
    if (ops->open(&quiet, &backend, &err) != STATUS_OK) {
        tell_problem(e, err.message);
        return;
    }
    if (ops->begin(backend, STORE_WRITE, &err) == STATUS_OK) {
        ops->rollback(backend);
    } else {
        e->clean = false;
        finding_tell(e->sink, FINDING_PROBLEM, "store",
                     "%s\na stopped process may hold the lock: fuser %s.lock names it", err.message,
                     e->path);
    }
    ops->close(backend);
}

void
sqlite_examine(const struct store_options *options, const struct finding_sink *sink)
{
    static const char *const suffixes[] = { "", "-wal", "-shm", ".lock", ".checkpoint" };
    struct examination e = {
        .sink = sink, .path = options->url + sizeof(SCHEME) - 1, .group = NO_GROUP, .clean = true
    };
    struct error err;
    bool missing = false;

    if (e.path[0] != '/')
        finding_tell(sink, FINDING_PROBLEM, "store", "%s: give an absolute path, sqlite:/path",
                     options->url);
    if (e.path[0] != '/')
        return;
    if (sqlite_find_group(options->group, &e.group, &err) != STATUS_OK ||
        sqlite_check_file_system(e.path, &err) != STATUS_OK) {
        tell_problem(&e, err.message);
        return;
    }
    examine_folder(&e);
    if (sqlite_check_file(e.path, e.group, &missing, &err) == STATUS_OK && missing) {
        finding_tell(sink, FINDING_WARNING, "store",
                     "%s: there is no such file; the first program that starts makes it\nif there "
                     "was one, bring it back before anything starts; else spendgate migrate",
                     e.path);
        return;
    }
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
        examine_file(&e, suffixes[i]);
    examine_mark(&e);
    examine_log(&e);
    if (e.clean) /* else its message would be the second about the same */
        examine_database(&e, options);
    if (e.clean)
        finding_tell(sink, FINDING_OK, "store",
                     "%s: opens, its schema is known, on a local disk, closed to others", e.path);
    examine_library(&e);
}
