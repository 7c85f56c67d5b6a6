/* SPDX-License-Identifier: MIT */
/*
 * The three rules: the writer lock, durability after it, the checkpoint; and transactions on top.
 */
#include "common/store_sqlite.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

#include "common/banned.h"

#define LOCK_TICK_MS 20 /* how often a wait for the lock looks at the time */

/* Only there so that the signal interrupts flock(2). */
static void
on_tick(int signal_number)
{
    (void)signal_number;
}

/* A signal that nobody else uses: the highest real-time one that is still at its default, or that
 * another store of this process took before. 0: none is left. */
static int
tick_signal(void)
{
    struct sigaction old, mine = { .sa_handler = on_tick };

    for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
        if (sigaction(number, NULL, &old) != 0)
            continue;
        if (old.sa_handler == on_tick)
            return number;
        if (old.sa_handler == SIG_DFL && sigaction(number, &mine, NULL) == 0)
            return number;
    }
    return 0;
}

static bool
timer_ready(struct sqlite_store *s)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL };
    sigset_t set;

    if (s->timer_made)
        return true;
    event.sigev_signo = tick_signal();
    if (event.sigev_signo == 0)
        return false;
    sigemptyset(&set);
    sigaddset(&set, event.sigev_signo);
    if (sigprocmask(SIG_UNBLOCK, &set, NULL) != 0)
        return false;
    s->timer_made = timer_create(CLOCK_MONOTONIC, &event, &s->timer) == 0;
    return s->timer_made;
}

int64_t
sqlite_monotonic_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

/*
 * Wait in the kernel, at most LOCK_WAIT_MS. flock(2) has no time limit: a timer of our own sends a
 * real-time signal every LOCK_TICK_MS, which interrupts it; a tick that comes before flock is
 * followed by the next. Without a timer (RLIMIT_SIGPENDING) the wait is polled.
 */
static bool
flock_bounded(struct sqlite_store *s, int fd)
{
    const struct itimerspec tick = { { 0, LOCK_TICK_MS * 1000000L },
                                     { 0, LOCK_TICK_MS * 1000000L } };
    const struct itimerspec stop = { { 0, 0 }, { 0, 0 } };
    const struct timespec pause = { 0, 1000000 };
    int64_t deadline_us = sqlite_monotonic_us() + LOCK_WAIT_MS * 1000;
    bool ticking = timer_ready(s) && timer_settime(s->timer, 0, &tick, NULL) == 0;
    bool locked = false;

    do {
        locked = flock(fd, ticking ? LOCK_EX : LOCK_EX | LOCK_NB) == 0;
        if (!locked && errno != EINTR && errno != EWOULDBLOCK)
            break;
        if (!locked && !ticking)
            nanosleep(&pause, NULL);
    } while (!locked && sqlite_monotonic_us() < deadline_us);
    if (ticking)
        timer_settime(s->timer, 0, &stop, NULL);
    return locked;
}

enum status
sqlite_writer_lock(struct sqlite_store *s, struct error *err)
{
    assert(!s->locked);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0 && !flock_bounded(s, s->lock_fd))
        return error_set(
            err, STATUS_BUSY,
            "store %s: the writer lock was not free within %d ms; is a process stopped "
            "while it holds %s.lock? (see lslocks)",
            s->path, LOCK_WAIT_MS, s->path);
    s->locked = true;
    return STATUS_OK;
}

void
sqlite_writer_unlock(struct sqlite_store *s)
{
    if (s->locked)
        flock(s->lock_fd, LOCK_UN);
    s->locked = false;
}

enum status
sqlite_refuse_if_marked(struct sqlite_store *s, struct error *err)
{
    if (access(s->failed_path, F_OK) != 0 && errno == ENOENT)
        return STATUS_OK;
    return error_set(
        err, STATUS_UNAVAILABLE,
        "store %s: an earlier sync to the disk failed, nothing is acknowledged any more; "
        "repair the disk, run `spendgate verify`, then remove %s",
        s->path, s->failed_path);
}

bool
sqlite_sync_folder(const char *path)
{
    char folder[PATH_MAX];
    bool synced;
    int fd;

    if (!sqlite_folder_of(path, folder))
        return false;
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return synced;
}

static void
sqlite_mark_failed(struct sqlite_store *s)
{
    struct error err;
    int fd = open(s->failed_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0) {
        error_set(&err, STATUS_IO, "%s: cannot be made (errno %d); stop the servers by hand",
                  s->failed_path, errno);
        log_failure("store_mark", &err, NULL);
        return;
    }
    fsync(fd);
    close(fd);
    (void)!sqlite_sync_folder(s->failed_path); /* the disk is failing: what can be done was done */
}

/* Sync through SQLite's own descriptor: closing another one of the database file would drop this
 * process's locks. After a sync that failed the next may lie, so that one is
 * remembered for all. */
static enum status
sqlite_sync_file(struct sqlite_store *s, int pointer, const char *what, struct error *err)
{
    sqlite3_file *file = NULL;
    int rc = sqlite3_file_control(s->db, "main", pointer, &file);

    if (rc != SQLITE_OK || file == NULL || file->pMethods == NULL)
        return error_set(err, STATUS_INTERNAL, "store %s: no descriptor of the %s (%d)", s->path,
                         what, rc);
    if (file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) != SQLITE_OK) {
        sqlite_mark_failed(s);
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: the %s could not be synced to the disk (errno %d); nothing is "
                         "acknowledged until the disk is repaired and %s removed",
                         s->path, what, errno, s->failed_path);
    }
    return STATUS_OK;
}

enum status
sqlite_settle_disk(struct store_backend *backend, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status;

    if (s->batch) {
        s->batch_unsynced = true;
        return STATUS_OK;
    }
    status = sqlite_sync_file(s, SQLITE_FCNTL_JOURNAL_POINTER, "write-ahead log", err);
    return status == STATUS_OK ? sqlite_refuse_if_marked(s, err) : status;
}

/* End the transaction without its changes, whatever state it is in. */
static void
abandon(struct sqlite_store *s)
{
    struct error ignored;
    sqlite3_stmt *stmt;

    if (!sqlite3_get_autocommit(s->db) &&
        sqlite_prepared(s, SQL_ROLLBACK, &stmt, &ignored) == STATUS_OK &&
        sqlite_run(s, stmt, "roll back", &ignored) != STATUS_OK)
        log_failure("store_rollback", &ignored, NULL);
    sqlite_writer_unlock(s);
}

static enum status
run_alone(struct sqlite_store *s, enum statement which, const char *doing, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, which, &stmt, err);

    return status == STATUS_OK ? sqlite_run(s, stmt, doing, err) : status;
}

/* Back to where the element of a batch began. When SQLite has given up the whole transaction, the
 * batch is lost. */
static void
abandon_element(struct sqlite_store *s)
{
    struct error err;

    if (sqlite3_get_autocommit(s->db) ||
        run_alone(s, SQL_ROLLBACK_TO, "roll back", &err) != STATUS_OK ||
        run_alone(s, SQL_RELEASE, "roll back", &err) != STATUS_OK)
        s->batch_lost = true;
}

void
sqlite_rollback(struct store_backend *backend)
{
    struct sqlite_store *s = sqlite_of(backend);

    for (int i = 0; i < SQL_COUNT; i++) {
        if (s->statements[i] != NULL && sqlite3_stmt_busy(s->statements[i]))
            sqlite3_reset(s->statements[i]);
    }
    if (!s->batch)
        abandon(s);
    else if (s->in_transaction)
        abandon_element(s);
    s->in_transaction = false;
}

enum store_failure
sqlite_failure(const struct store_backend *backend)
{
    (void)backend;
    return STORE_FAILED;
}

/* Begin for real: under the writer lock, when it is to write. */
static enum status
begin_outer(struct sqlite_store *s, enum store_mode mode, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status;

    status = sqlite_prepared(s, mode == STORE_WRITE ? SQL_BEGIN_IMMEDIATE : SQL_BEGIN, &stmt, err);
    if (status == STATUS_OK && mode != STORE_INSPECT)
        status = sqlite_refuse_if_marked(s, err);
    if (status == STATUS_OK && mode == STORE_WRITE)
        status = sqlite_writer_lock(s, err);
    if (status != STATUS_OK)
        return status;
    status = sqlite_run(s, stmt, "begin", err);
    if (status != STATUS_OK)
        sqlite_writer_unlock(s);
    return status;
}

static enum status
refuse_if_lost(const struct sqlite_store *s, struct error *err)
{
    if (!s->batch_lost)
        return STATUS_OK;
    return error_set(err, STATUS_UNAVAILABLE,
                     "store %s: the batch was given up after an error; post it again", s->path);
}

enum status
sqlite_begin(struct store_backend *backend, enum store_mode mode, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status;

    assert(!s->in_transaction);
    status = s->batch ? refuse_if_lost(s, err) : begin_outer(s, mode, err);
    if (status == STATUS_OK && s->batch)
        status = run_alone(s, SQL_SAVEPOINT, "begin", err);
    if (status != STATUS_OK)
        return status;
    s->mode = mode;
    s->in_transaction = true;
    return STATUS_OK;
}

enum status
sqlite_commit(struct store_backend *backend, bool durable, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status;

    assert(s->in_transaction);
    status = run_alone(s, s->batch ? SQL_RELEASE : SQL_COMMIT, "commit", err);
    if (status != STATUS_OK) {
        sqlite_rollback(backend);
        return status;
    }
    s->in_transaction = false;
    if (!s->batch)
        sqlite_writer_unlock(s);
    return durable && s->mode == STORE_WRITE ? sqlite_settle_disk(backend, err) : STATUS_OK;
}

enum status
sqlite_batch_begin(struct store_backend *backend, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status;

    assert(!s->batch && !s->in_transaction);
    status = begin_outer(s, STORE_WRITE, err);
    if (status != STATUS_OK)
        return status;
    s->batch = true;
    s->batch_unsynced = s->batch_lost = false;
    return STATUS_OK;
}

enum status
sqlite_batch_end(struct store_backend *backend, bool keep, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status = STATUS_OK;

    assert(s->batch && !s->in_transaction);
    s->batch = false;
    if (keep)
        status = refuse_if_lost(s, err);
    if (keep && status == STATUS_OK)
        status = run_alone(s, SQL_COMMIT, "commit", err);
    abandon(s); /* after a commit there is only the lock to give back */
    return keep && status == STATUS_OK && s->batch_unsynced ? sqlite_settle_disk(backend, err)
                                                            : status;
}

int
sqlite_on_commit(void *context, sqlite3 *db, const char *name, int frames)
{
    struct sqlite_store *s = context;

    (void)db;
    (void)name;
    s->wal_frames = frames;
    return SQLITE_OK;
}

/* One small write, so that a checkpoint never starts on a fully copied log: that is what
 * SQLite's WAL-reset bug (3.7.0 to 3.51.2) needs. The writer lock is kept when it succeeds. */
static enum status
touch_locked(struct sqlite_store *s, struct error *err)
{
    sqlite3_stmt *touch, *stmt;
    enum status status = sqlite_writer_lock(s, err);

    if (status == STATUS_OK)
        status = sqlite_prepared(s, SQL_TOUCH, &touch, err);
    if (status == STATUS_OK)
        status = sqlite_prepared(s, SQL_BEGIN_IMMEDIATE, &stmt, err);
    if (status == STATUS_OK)
        status = sqlite_run(s, stmt, "begin", err);
    if (status == STATUS_OK)
        status = sqlite_run(s, touch, "touch", err);
    if (status == STATUS_OK)
        status = sqlite_prepared(s, SQL_COMMIT, &stmt, err);
    if (status == STATUS_OK)
        status = sqlite_run(s, stmt, "commit", err);
    if (status != STATUS_OK)
        sqlite_rollback(&s->base);
    return status;
}

static enum status
checkpoint_passive(struct sqlite_store *s, struct error *err)
{
    int rc = sqlite3_wal_checkpoint_v2(s->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

    if (rc == SQLITE_IOERR_FSYNC)
        sqlite_mark_failed(s);
    return rc == SQLITE_OK || rc == SQLITE_BUSY ? STATUS_OK
                                                : sqlite_failed(s, rc, "checkpoint", err);
}

static enum status
sqlite_checkpoint(struct sqlite_store *s, struct error *err)
{
    enum status status = touch_locked(s, err);

    if (status != STATUS_OK)
        return status;
    sqlite_writer_unlock(s);
    if (s->wal_frames <= CHECKPOINT_FRAMES) /* another process did it in the meantime */
        return STATUS_OK;
    /* The bulk, beside the writers, and both syncs, so that little is left to do under the lock. */
    status = checkpoint_passive(s, err);
    if (status == STATUS_OK)
        status = sqlite_sync_file(s, SQLITE_FCNTL_FILE_POINTER, "database file", err);
    if (status == STATUS_OK) /* what was written meanwhile */
        status = sqlite_sync_file(s, SQLITE_FCNTL_JOURNAL_POINTER, "write-ahead log", err);
    /* The rest under the lock, so that the next writer finds everything copied and starts
     * the log again; without this a busy store's log never ends. */
    if (status == STATUS_OK)
        status = touch_locked(s, err);
    if (status != STATUS_OK)
        return status;
    status = checkpoint_passive(s, err);
    sqlite_writer_unlock(s);
    return status;
}

void
sqlite_checkpoint_if_alone(struct sqlite_store *s)
{
    struct error err;

    s->wal_frames = 0; /* whatever comes of it: ask again after the next commit */
    if (flock(s->checkpoint_fd, LOCK_EX | LOCK_NB) != 0)
        return;
    if (sqlite_refuse_if_marked(s, &err) != STATUS_OK || sqlite_checkpoint(s, &err) != STATUS_OK)
        log_failure("checkpoint", &err, NULL);
    s->wal_frames = 0;
    flock(s->checkpoint_fd, LOCK_UN);
}
