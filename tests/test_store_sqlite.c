/* SPDX-License-Identifier: MIT */
/*
 * What can go wrong with one SQLite file shared by many processes: locks that are held too long,
 * syncs and writes that fail, files of others, schemas from elsewhere, processes killed at any
 * write. Errors are injected by a VFS that stands in front of SQLite's own. What a store does when
 * nothing goes wrong is in store_contract.c.
 */
#include "common/store.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/alloc_fail.h"
#include "tests/check.h"

#include "common/banned.h"

#define CENT MONEY_NANOS_PER_CENT
#define NOON INT64_C(1795003200000000)
#define FRAMES 16000 /* a checkpoint is due above it */
#define PAGE_BYTES 2048

/* ---- what is injected ----------------------------------------------------------------------- */

enum fault {
    FAULT_NONE,
    FAULT_SYNC_WAL,
    FAULT_SYNC_DATABASE,
    FAULT_WRITE,
    FAULT_FULL,
    FAULT_KILL,
    FAULT_MEANWHILE, /* no fault: another process does something just before a lock is taken */
};

/* The seams that libc and SQLite offer have no context argument: this is the test's own state. */
static struct {
    enum fault fault;
    int after;        /* this many calls pass before it strikes */
    int64_t written;  /* bytes of the write-ahead log */
    int syncs;        /* of it */
    long file_system; /* statfs says this, when not 0 */
    int allocations;  /* this many pass, then one fails; -1: none fails */
    int wake, woken; /* FAULT_MEANWHILE: a byte into the one, then one is waited for at the other */
} inject;

struct wrapped {
    sqlite3_file base;
    bool wal;
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs shim;
static sqlite3_io_methods shim_methods;

static bool
strikes(enum fault fault)
{
    return inject.fault == fault && inject.after-- == 0;
}

static sqlite3_file *
real_of(sqlite3_file *file)
{
    return ((struct wrapped *)file)->real;
}

static int
shim_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int
shim_read(sqlite3_file *file, void *bytes, int count, sqlite3_int64 at)
{
    return real_of(file)->pMethods->xRead(real_of(file), bytes, count, at);
}

/* One piece of a write to the log, so that a fault strikes in the middle of a frame as well. */
static int
write_piece(sqlite3_file *real, const void *bytes, int count, sqlite3_int64 at)
{
    inject.written += count;
    if (strikes(FAULT_WRITE))
        return SQLITE_IOERR_WRITE;
    if (strikes(FAULT_FULL))
        return SQLITE_FULL;
    if (strikes(FAULT_KILL))
        kill(getpid(), SIGKILL);
    return real->pMethods->xWrite(real, bytes, count, at);
}

static int
shim_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 at)
{
    int rc = SQLITE_OK, piece = count;

    if (!((struct wrapped *)file)->wal)
        return real_of(file)->pMethods->xWrite(real_of(file), bytes, count, at);
    for (int done = 0; done < count && rc == SQLITE_OK; done += piece) {
        piece = count - done < 700 ? count - done : 700;
        rc = write_piece(real_of(file), (const char *)bytes + done, piece, at + done);
    }
    return rc;
}

static int
shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int
shim_sync(sqlite3_file *file, int flags)
{
    bool wal = ((struct wrapped *)file)->wal;

    inject.syncs += wal;
    if (strikes(wal ? FAULT_SYNC_WAL : FAULT_SYNC_DATABASE))
        return SQLITE_IOERR_FSYNC;
    return real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int
shim_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int
shim_lock(sqlite3_file *file, int level)
{
    char byte = 0;

    if (strikes(FAULT_MEANWHILE) &&
        (write(inject.wake, &byte, 1) != 1 || read(inject.woken, &byte, 1) != 1))
        abort();
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int
shim_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int
shim_reserved(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int
shim_control(sqlite3_file *file, int op, void *argument)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, argument);
}

static int
shim_sector(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int
shim_device(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int
shim_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}

static int
shim_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, count, flags);
}

static void
shim_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int
shim_shm_unmap(sqlite3_file *file, int remove)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

static int
shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct wrapped *w = (struct wrapped *)file;
    int rc;

    (void)vfs;
    w->real = (sqlite3_file *)&w[1];
    w->wal = (flags & SQLITE_OPEN_WAL) != 0;
    rc = real_vfs->xOpen(real_vfs, name, w->real, flags, out);
    file->pMethods = w->real->pMethods != NULL ? &shim_methods : NULL;
    return rc;
}

static void
shim_install(void)
{
    shim_methods = (sqlite3_io_methods){
        .iVersion = 2,
        .xClose = shim_close,
        .xRead = shim_read,
        .xWrite = shim_write,
        .xTruncate = shim_truncate,
        .xSync = shim_sync,
        .xFileSize = shim_size,
        .xLock = shim_lock,
        .xUnlock = shim_unlock,
        .xCheckReservedLock = shim_reserved,
        .xFileControl = shim_control,
        .xSectorSize = shim_sector,
        .xDeviceCharacteristics = shim_device,
        .xShmMap = shim_shm_map,
        .xShmLock = shim_shm_lock,
        .xShmBarrier = shim_shm_barrier,
        .xShmUnmap = shim_shm_unmap,
    };
    real_vfs = sqlite3_vfs_find(NULL);
    shim = *real_vfs;
    shim.zName = "shim";
    shim.szOsFile = (int)sizeof(struct wrapped) + real_vfs->szOsFile;
    shim.xOpen = shim_open;
    sqlite3_vfs_register(&shim, 1);
}

/* Takes the place of libc's in this program. */
int
statfs(const char *path, struct statfs *out)
{
    int rc = (int)syscall(SYS_statfs, path, out);

    if (rc == 0 && inject.file_system != 0)
        out->f_type = inject.file_system;
    return rc;
}

static sqlite3_mem_methods real_memory;

static void *
counted_malloc(int size)
{
    if (inject.allocations == 0)
        return NULL;
    inject.allocations -= inject.allocations > 0;
    return real_memory.xMalloc(size);
}

static void *
counted_realloc(void *old, int size)
{
    if (inject.allocations == 0)
        return NULL;
    inject.allocations -= inject.allocations > 0;
    return real_memory.xRealloc(old, size);
}

static void
memory_install(void)
{
    sqlite3_mem_methods mine;

    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory);
    mine = real_memory;
    mine.xMalloc = counted_malloc;
    mine.xRealloc = counted_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &mine);
}

/* ---- fixture -------------------------------------------------------------------------------- */

struct fixture {
    char folder[64];
    char path[128];
    char url[160];
    char other[192]; /* a path beside the database */
    struct plan plan;
    struct policy policy;
    struct store_options options;
    struct store *store;
    struct verdict verdict;
    struct result result;
    struct error err;
    char reply_bytes[REPLY_SIZE];
    struct buf reply;
};

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static const char *
beside(struct fixture *f, const char *suffix)
{
    struct buf text;

    buf_init(&text, f->other, sizeof(f->other));
    buf_add(&text, f->path);
    buf_add(&text, suffix);
    return f->other;
}

static enum status
open_again(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
    return store_open(&f->options, &f->store, &f->err);
}

static struct fixture *
setup_closed(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct plan_budget *budget;
    struct buf text;

    if (f == NULL)
        abort();
    (void)!text_copy(f->folder, sizeof(f->folder), "/tmp/store-sqlite-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        abort();
    buf_init(&text, f->path, sizeof(f->path));
    buf_add_format(&text, "%s/s.db", f->folder);
    buf_init(&text, f->url, sizeof(f->url));
    buf_add_format(&text, "sqlite:%s", f->path);
    (void)!text_copy(f->plan.name, sizeof(f->plan.name), "pro");
    f->plan.hold = (struct hold_rule){ .set = true, .nanos = 5 * CENT };
    budget = &f->plan.budgets[f->plan.budget_count++];
    budget->spec.kind = PERIOD_MONTH;
    budget->spec.anchor_day = budget->spec.week_start = 1;
    (void)!text_copy(budget->spec.timezone, sizeof(budget->spec.timezone), "UTC");
    period_spec_normalize(&budget->spec);
    budget->limit_nanos = MONEY_MAX_NANOS;
    f->policy.plans = &f->plan;
    f->policy.plan_count = 1;
    f->options = (struct store_options){
        .url = f->url,
        .group = "",
        .policy = &f->policy,
        .hold_ttl_us = 300 * US_PER_SECOND,
        .idempotency_ttl_us = 32 * INT64_C(86400) * US_PER_SECOND,
        .create = true,
    };
    buf_init(&f->reply, f->reply_bytes, sizeof(f->reply_bytes));
    memset(&inject, 0, sizeof(inject));
    inject.allocations = -1;
    return f;
}

static struct fixture *
setup(void)
{
    struct fixture *f = setup_closed();

    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    if (f->store == NULL)
        abort();
    return f;
}

static void
teardown(struct fixture *f)
{
    store_close(f->store);
    nftw(f->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
}

static enum status
admit(struct fixture *f)
{
    static const struct chain_names names = { .key_id = "ak_1", .subject = "user_1" };
    struct admission ask = {
        .names = &names, .plan = &f->plan, .verification = 1, .unique_id = ""
    };
    enum status status = store_admit(f->store, &ask, NOON, &f->verdict, &f->err);

    CHECK_TRUE("an allow is STATUS_OK", status == STATUS_OK || !f->verdict.allow);
    return status;
}

static void
write_reply(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    buf_add_int(out, result->charge.amount_nanos);
}

static enum status
spend(struct fixture *f, const char *hold_id, int64_t nanos, const char *key)
{
    static const struct reply_writer writer = { write_reply, NULL };
    struct spend post = {
        .hold_id = hold_id, .subject = "user_1", .cost_nanos = nanos, .token = "php"
    };
    struct idempotency idempotency = { .scope = "php", .key = key };

    return store_spend(f->store, &post, &idempotency, &writer, NOON, &f->result, &f->reply,
                       &f->err);
}

static int64_t
query_with(struct fixture *f, const char *pragma, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    int64_t out = -1;

    if (sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE, "unix") != SQLITE_OK)
        abort();
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_busy_timeout(db, 1000);
    sqlite3_exec(db, pragma, NULL, NULL, NULL);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) {
        printf("%s: %s\n", sql, sqlite3_errmsg(db));
        abort();
    }
    if (sqlite3_step(stmt) == SQLITE_ROW)
        out = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return out;
}

static int64_t
query(struct fixture *f, const char *sql)
{
    return query_with(f, "", sql);
}

/* A change by hand that even the CHECKs of the schema would refuse. */
static int64_t
query_unchecked(struct fixture *f, const char *sql)
{
    return query_with(f, "PRAGMA ignore_check_constraints = ON", sql);
}

static void
ignore_difference(void *context, const char *invariant, const char *text)
{
    char(*first)[256] = context;

    (void)invariant;
    if ((*first)[0] == '\0')
        (void)!text_copy(*first, sizeof(*first), text);
}

static int64_t
differences(struct fixture *f, char (*first)[256])
{
    struct verify_summary summary;

    (*first)[0] = '\0';
    CHECK_STATUS(STATUS_OK,
                 store_verify(f->store, NOON, ignore_difference, first, &summary, &f->err),
                 &f->err);
    return summary.differences;
}

static bool
starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool
contains(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        return true;
    printf("not in \"%s\": \"%s\"\n", text, part);
    return false;
}

static int64_t
now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- the writer lock ------------------------------------------------------------------------ */

static int
take_lock(struct fixture *f, const char *suffix)
{
    int fd = open(beside(f, suffix), O_RDWR | O_CLOEXEC);

    if (fd < 0 || flock(fd, LOCK_EX) != 0)
        abort();
    return fd;
}

/* A process that takes the writer lock and is stopped while it holds it. */
static pid_t
stopped_holder(struct fixture *f)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        take_lock(f, ".lock");
        raise(SIGSTOP);
        _exit(0);
    }
    if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
        abort();
    return pid;
}

static volatile sig_atomic_t alarms;

static void
on_alarm(int number)
{
    (void)number;
    alarms = alarms + 1;
}

static void
test_a_lock_held_by_a_stopped_process_ends_in_busy_after_two_seconds(void)
{
    struct fixture *f = setup();
    struct sigaction action = { .sa_handler = on_alarm }, old;
    struct itimerval each = { { 0, 300000 }, { 0, 300000 } }, off = { { 0, 0 }, { 0, 0 } };
    int status;
    int64_t start;
    pid_t pid;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    pid = stopped_holder(f);
    sigaction(SIGALRM, &action,
              &old); /* the program's own signals go on, and do not end the wait */
    setitimer(ITIMER_REAL, &each, NULL);
    start = now_ms();
    CHECK_STATUS(STATUS_BUSY, admit(f), &f->err);
    CHECK_TRUE("about two seconds", now_ms() - start >= 1990 && now_ms() - start < 3000);
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
    CHECK_TRUE("alarms", alarms >= 3);
    CHECK_TRUE("says why", contains(f->err.message, "is a process stopped while it holds"));
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err); /* the lock died with its process */
    CHECK_TRUE("allow", f->verdict.allow);
    teardown(f);
}

static void
test_the_wait_is_bounded_without_a_timer_too(void)
{
    struct fixture *f = setup();
    int status, held;
    int64_t start;
    pid_t pid;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    held = take_lock(f, ".lock");
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        enum status got;

        for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
            signal(number, on_alarm); /* every signal is taken: the wait is polled */
        if (open_again(f) != STATUS_OK)
            _exit(1);
        start = now_ms();
        got = admit(f);
        _exit(got == STATUS_BUSY && now_ms() - start >= 1990 && now_ms() - start < 3000 ? 0 : 2);
    }
    waitpid(pid, &status, 0);
    CHECK_INT("busy", 0, status);
    close(held);
    teardown(f);
}

static void
test_a_waiter_gets_the_lock_as_soon_as_it_is_free(void)
{
    struct fixture *f = setup();
    const struct timespec a_while = { 0, 50 * 1000000 };
    int ready[2], status;
    char byte;
    pid_t pid;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    if (pipe(ready) != 0)
        abort();
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        take_lock(f, ".lock");
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        nanosleep(&a_while, NULL); /* so that the other one really waits */
        _exit(0);
    }
    CHECK_INT("holder is ready", 1, read(ready[0], &byte, 1));
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    waitpid(pid, &status, 0);
    close(ready[0]);
    close(ready[1]);
    teardown(f);
}

static void
test_an_admission_without_hold_waits_for_no_writer(void)
{
    struct fixture *f = setup();
    int held, periods;

    f->plan.hold.nanos = 0;
    CHECK_STATUS(STATUS_OK, admit(f), &f->err); /* first sight writes */
    periods = (int)query(f, "SELECT count(*) FROM budget_period");
    held = take_lock(f, ".lock");
    inject.written = 0;
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    CHECK_INT("nothing written", 0, inject.written);
    CHECK_INT("periods", periods, query(f, "SELECT count(*) FROM budget_period"));
    close(held);
    teardown(f);
}

static void
test_a_read_only_look_makes_no_period_row(void)
{
    struct fixture *f = setup();
    static const struct chain_names names = { .key_id = "ak_1", .subject = "user_1" };
    struct admission ask = {
        .names = &names, .plan = &f->plan, .verification = 1, .unique_id = ""
    };

    f->plan.hold.nanos = 0;
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK,
                 store_admit(f->store, &ask, NOON + 31 * INT64_C(86400) * US_PER_SECOND,
                             &f->verdict, &f->err),
                 &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    CHECK_INT("nothing spent", 0, f->verdict.spent_nanos);
    CHECK_INT("rows", 1, query(f, "SELECT count(*) FROM budget_period"));
    teardown(f);
}

static void
test_another_program_that_keeps_sqlites_lock_ends_in_busy(void)
{
    struct fixture *f = setup();
    sqlite3 *db;
    int64_t start;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    if (sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE, "unix") != SQLITE_OK)
        abort();
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    start = now_ms();
    CHECK_STATUS(STATUS_BUSY, admit(f), &f->err);
    CHECK_TRUE("bounded", now_ms() - start < 4000);
    CHECK_TRUE("says why", contains(f->err.message, "another program keeps the database locked"));
    sqlite3_close(db);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    teardown(f);
}

static void
test_a_plan_that_keeps_changing_is_noted_once_a_minute(void)
{
    struct fixture *f = setup();
    static const struct chain_names one = { .key_id = "ak_1", .subject = "user_1" };
    static const struct chain_names two = { .key_id = "ak_2", .subject = "user_1" };
    struct plan other = f->plan;
    int64_t writes = 0;

    f->plan.hold.nanos = other.hold.nanos = 0;
    (void)!text_copy(other.name, sizeof(other.name), "other");
    for (int i = 0; i < 40; i++) { /* ten seconds apart, alternating: seven minutes */
        struct admission ask = {
            .names = i % 2 == 0 ? &one : &two,
            .plan = i % 2 == 0 ? &f->plan : &other,
            .verification = 1,
            .unique_id = "",
        };

        inject.written = 0;
        CHECK_STATUS(
            STATUS_OK,
            store_admit(f->store, &ask, NOON + i * 10 * US_PER_SECOND, &f->verdict, &f->err),
            &f->err);
        CHECK_TRUE("allow", f->verdict.allow);
        writes += inject.written > 0;
    }
    CHECK_TRUE("about two a minute", writes >= 10 && writes <= 18);
    teardown(f);
}

/* ---- durability ----------------------------------------------------------------------------- */

static void
test_i3_a_spend_syncs_once_and_a_hold_does_not(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    inject.syncs = 0;
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_INT("hold", 0, inject.syncs);
    public_id_format("hld_", f->verdict.hold.id, f->verdict.hold.nonce, id);
    CHECK_STATUS(STATUS_OK, spend(f, id, CENT, NULL), &f->err);
    CHECK_INT("spend", 1, inject.syncs);
    CHECK_STATUS(STATUS_OK, spend(f, id, CENT, NULL), &f->err);
    CHECK_INT("replay", OUTCOME_REPLAYED, f->result.outcome);
    CHECK_INT("a replayed answer syncs first too", 2, inject.syncs);
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    for (int i = 0; i < 5; i++)
        CHECK_STATUS(STATUS_OK, spend(f, NULL, CENT, NULL), &f->err);
    CHECK_INT("not in a batch", 2, inject.syncs);
    CHECK_STATUS(STATUS_OK, store_batch_end(f->store, true, &f->err), &f->err);
    CHECK_INT("at its end", 3, inject.syncs);
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, store_batch_end(f->store, true, &f->err), &f->err);
    CHECK_INT("nothing to sync", 3, inject.syncs);
    teardown(f);
}

static void
test_i3_after_a_failed_sync_nobody_acknowledges_until_the_marker_is_removed(void)
{
    struct fixture *f = setup();
    struct store *other;
    char id[PUBLIC_ID_SIZE], first[256];

    CHECK_STATUS(STATUS_OK, store_open(&f->options, &other, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    public_id_format("hld_", f->verdict.hold.id, f->verdict.hold.nonce, id);
    inject.fault = FAULT_SYNC_WAL;
    CHECK_STATUS(STATUS_UNAVAILABLE, spend(f, id, CENT, NULL), &f->err);
    CHECK_TRUE("says what", contains(f->err.message, "could not be synced to the disk"));
    CHECK_INT("outcome", OUTCOME_NONE, f->result.outcome);
    CHECK_INT("no reply", 0, f->reply.length);
    inject.fault = FAULT_NONE;
    CHECK_INT("marker", 0, access(beside(f, ".failed"), F_OK));
    CHECK_STATUS(STATUS_UNAVAILABLE, spend(f, id, CENT, NULL), &f->err);
    CHECK_TRUE("what to do", contains(f->err.message, "run `spendgate verify`, then remove"));
    CHECK_STATUS(STATUS_UNAVAILABLE, admit(f), &f->err);
    CHECK_STATUS(STATUS_UNAVAILABLE, store_check(f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_UNAVAILABLE, store_check(other, &f->err), &f->err);
    CHECK_INT("remove", 0, unlink(beside(f, ".failed")));
    CHECK_STATUS(STATUS_OK, store_check(other, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, id, CENT, NULL), &f->err);
    CHECK_INT("it had been recorded", OUTCOME_REPLAYED, f->result.outcome);
    CHECK_INT("verify", 0, differences(f, &first));
    store_close(other);
    teardown(f);
}

static void
test_a_batch_whose_sync_fails_is_not_acknowledged(void)
{
    struct fixture *f = setup();

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, CENT, "a"), &f->err);
    inject.fault = FAULT_SYNC_WAL;
    CHECK_STATUS(STATUS_UNAVAILABLE, store_batch_end(f->store, true, &f->err), &f->err);
    CHECK_INT("marker", 0, access(beside(f, ".failed"), F_OK));
    teardown(f);
}

/* Every write of a batch's commit fails in turn: nothing is left of any element. */
static void
test_i6_a_batch_whose_commit_fails_leaves_nothing(void)
{
    struct fixture *f = setup();
    char first[256];
    int after;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    for (after = 0; after < 100; after++) {
        int64_t charges = query(f, "SELECT count(*) FROM charge");
        enum status status;

        CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
        CHECK_STATUS(STATUS_OK, spend(f, NULL, CENT, NULL), &f->err);
        CHECK_STATUS(STATUS_OK, spend(f, NULL, CENT, NULL), &f->err);
        inject.fault = FAULT_FULL;
        inject.after = after;
        status = store_batch_end(f->store, true, &f->err);
        inject.fault = FAULT_NONE;
        if (status == STATUS_OK)
            break;
        CHECK_INT("status", STATUS_UNAVAILABLE, status);
        CHECK_INT("charges", charges, query(f, "SELECT count(*) FROM charge"));
        CHECK_STATUS(STATUS_OK, admit(f), &f->err); /* the lock was given back */
    }
    CHECK_TRUE("some failed, one passed", after > 0 && after < 100);
    CHECK_INT("verify", 0, differences(f, &first));
    teardown(f);
}

/* Memory ends at every place of an element: the batch that is not kept leaves nothing, and one that
 * is kept all the same has no half of that element. */
static void
test_i6_a_batch_with_an_element_that_fails_halfway_is_whole_or_not_there(void)
{
    struct fixture *f = setup();
    bool passed = false;
    char first[256];
    int n;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    for (n = 0; n < 5000 && !passed; n++) {
        int64_t charges = query(f, "SELECT count(*) FROM charge");
        bool keep = n % 2 == 0;
        enum status status, end;

        CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
        CHECK_STATUS(STATUS_OK, spend(f, NULL, CENT, NULL), &f->err);
        inject.allocations = n;
        status = spend(f, NULL, CENT, NULL);
        passed = status == STATUS_OK && inject.allocations > 0;
        inject.allocations = -1;
        end = store_batch_end(f->store, keep || passed, &f->err);
        if (passed)
            CHECK_STATUS(STATUS_OK, end, &f->err);
        charges += (keep || passed) && end == STATUS_OK ? 1 + (status == STATUS_OK) : 0;
        CHECK_INT("charges", charges, query(f, "SELECT count(*) FROM charge"));
    }
    CHECK_TRUE("ended", passed && n > 1);
    CHECK_INT("verify", 0, differences(f, &first));
    teardown(f);
}

static void
test_verify_reads_a_store_that_is_marked_as_failed(void)
{
    struct fixture *f = setup();
    char first[256];
    int fd;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    fd = open(beside(f, ".failed"), O_CREAT | O_WRONLY, 0600);
    close(fd);
    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    CHECK_INT("verify", 0, differences(f, &first));
    teardown(f);
}

/* ---- writes that fail ----------------------------------------------------------------------- */

static void
test_a_write_that_fails_records_nothing_and_the_next_one_works(void)
{
    struct fixture *f = setup();
    const enum fault faults[] = { FAULT_WRITE, FAULT_FULL };
    char first[256];
    int64_t held;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    for (size_t i = 0; i < 2; i++) {
        int after;

        for (after = 0; after < 100; after++) {
            held = query(f, "SELECT sum(held_nanos) FROM budget_period");
            inject.fault = faults[i];
            inject.after = after;
            if (admit(f) == STATUS_OK)
                break;
            CHECK_INT("status", STATUS_UNAVAILABLE, f->err.status);
            CHECK_TRUE("what to do", contains(f->err.message, faults[i] == FAULT_FULL
                                                                  ? "the disk is full; make room"
                                                                  : "look at the disk"));
            inject.fault = FAULT_NONE;
            CHECK_INT("held", held, query(f, "SELECT sum(held_nanos) FROM budget_period"));
            CHECK_STATUS(STATUS_OK, admit(f), &f->err);
        }
        inject.fault = FAULT_NONE;
        CHECK_TRUE("some failed, one passed", after > 5 && after < 100);
    }
    CHECK_INT("verify", 0, differences(f, &first));
    teardown(f);
}

static void
test_a_file_that_may_not_grow_denies_and_recovers(void)
{
    struct fixture *f = setup();
    char first[256];
    int status;
    pid_t pid;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        struct rlimit small = { 200000, 200000 };
        enum status got = STATUS_OK;

        signal(SIGXFSZ, SIG_IGN);
        if (open_again(f) != STATUS_OK || setrlimit(RLIMIT_FSIZE, &small) != 0)
            _exit(1);
        for (int i = 0; i < 100 && got == STATUS_OK; i++)
            got = admit(f);
        _exit(got == STATUS_UNAVAILABLE ? 0 : 2);
    }
    waitpid(pid, &status, 0);
    CHECK_INT("denied in the end", 0, status);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_INT("verify", 0, differences(f, &first));
    teardown(f);
}

static void
test_i6_a_process_killed_at_any_write_leaves_a_whole_transaction_or_none(void)
{
    struct fixture *f = setup();
    char first[256];
    int status = 1, after;
    pid_t pid;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    for (after = 0; after < 100 && status != 0; after++) {
        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            char id[PUBLIC_ID_SIZE];

            inject.fault = FAULT_KILL;
            inject.after = after;
            if (open_again(f) != STATUS_OK || admit(f) != STATUS_OK)
                _exit(1);
            public_id_format("hld_", f->verdict.hold.id, f->verdict.hold.nonce, id);
            _exit(spend(f, id, CENT, "k") == STATUS_OK ? 0 : 1);
        }
        waitpid(pid, &status, 0);
        CHECK_TRUE("killed, or done", WIFSIGNALED(status) || status == 0);
        CHECK_INT("verify", 0, differences(f, &first));
        CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    }
    CHECK_TRUE("several points, and an end", after > 20 && status == 0);
    teardown(f);
}

/* A process that makes the store when it is told to; it has opened nothing of SQLite before. */
static pid_t
maker(struct fixture *f)
{
    int wake[2], woken[2], applied;
    char byte;
    pid_t pid;

    if (pipe(wake) != 0 || pipe(woken) != 0)
        abort();
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        close(wake[1]);
        if (read(wake[0], &byte, 1) == 1) {
            (void)!store_migrate(&f->options, &applied, &f->err);
            (void)!write(woken[1], &byte, 1);
        }
        _exit(0);
    }
    close(wake[0]);
    close(woken[1]);
    inject.wake = wake[1];
    inject.woken = woken[0];
    return pid;
}

/* Before each of the looks at what kind of file this is. */
static void
test_a_store_that_another_process_makes_between_two_looks_is_opened(void)
{
    for (int look = 0; look < 4; look++) {
        struct fixture *f = setup_closed();
        pid_t pid = maker(f);

        inject.after = look;
        inject.fault = FAULT_MEANWHILE;
        CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
        inject.fault = FAULT_NONE;
        close(inject.wake);
        close(inject.woken);
        waitpid(pid, NULL, 0);
        CHECK_STATUS(STATUS_OK, admit(f), &f->err);
        teardown(f);
    }
}

static void
test_i10_no_allocation_that_fails_ends_in_an_allow(void)
{
    struct fixture *f = setup();
    char first[256];
    int failures = 0;
    bool passed = false;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    for (int n = 0; n < 20000 && !passed; n += 1 + n / 40) {
        enum status status;

        store_close(f->store);
        f->store = NULL;
        inject.allocations = n;
        status = store_open(&f->options, &f->store, &f->err);
        if (status == STATUS_OK)
            status = admit(f);
        passed = status == STATUS_OK && inject.allocations > 0;
        failures += status != STATUS_OK;
        CHECK_TRUE("says out of memory, or cannot open", status == STATUS_OK ||
                                                             status == STATUS_NO_MEMORY ||
                                                             status == STATUS_UNAVAILABLE);
        inject.allocations = -1;
    }
    CHECK_TRUE("failed", failures > 20);
    CHECK_TRUE("passed in the end", passed);
    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    CHECK_INT("verify", 0, differences(f, &first));
    teardown(f);
}

/* ---- the checkpoint ------------------------------------------------------------------------- */

static int64_t
size_of(struct fixture *f, const char *suffix)
{
    struct stat st;

    return stat(beside(f, suffix), &st) == 0 ? (int64_t)st.st_size : -1;
}

/* Admit until `frames` more frames have been written to the log. */
static void
write_frames(struct fixture *f, int64_t frames)
{
    inject.written = 0;
    while (inject.written < frames * (PAGE_BYTES + 24)) {
        if (admit(f) != STATUS_OK)
            break;
    }
}

static void
test_the_log_starts_again_once_it_is_long(void)
{
    struct fixture *f = setup();
    char first[256];
    int64_t size;

    write_frames(f, FRAMES + 100);
    CHECK_INT("nothing copied yet", PAGE_BYTES, size_of(f, ""));
    store_after(f->store);
    CHECK_TRUE("copied", size_of(f, "") > PAGE_BYTES);
    size = size_of(f, "-wal");
    for (int i = 0; i < 3; i++) {
        write_frames(f, FRAMES / 2);
        store_after(f->store);
    }
    CHECK_INT("the log did not grow", size, size_of(f, "-wal"));
    CHECK_INT("verify", 0, differences(f, &first));
    teardown(f);
}

static void
test_one_checkpoint_runs_at_a_time(void)
{
    struct fixture *f = setup();
    int held;

    write_frames(f, FRAMES + 100);
    held = take_lock(f, ".checkpoint");
    store_after(f->store);
    CHECK_INT("left to the other one", PAGE_BYTES, size_of(f, ""));
    close(held);
    store_after(f->store);
    CHECK_INT("asked for by a commit only", PAGE_BYTES, size_of(f, ""));
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    store_after(f->store);
    CHECK_TRUE("copied", size_of(f, "") > PAGE_BYTES);
    teardown(f);
}

static void
test_a_checkpoint_that_another_process_did_is_not_repeated(void)
{
    struct fixture *f = setup();
    struct store *mine = f->store;
    int64_t modified;

    write_frames(f, FRAMES + 100);
    f->store = NULL;
    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    store_after(f->store);
    modified = size_of(f, "");
    store_after(mine); /* its own count still says "long" */
    CHECK_INT("not again", modified, size_of(f, ""));
    store_close(mine);
    teardown(f);
}

static void
test_a_checkpoint_whose_sync_fails_marks_the_store(void)
{
    const enum fault faults[] = { FAULT_SYNC_WAL, FAULT_SYNC_DATABASE };

    for (size_t i = 0; i < 2; i++) {
        struct fixture *f = setup();

        write_frames(f, FRAMES + 100);
        inject.fault = faults[i];
        inject.after = 0;
        store_after(f->store);
        inject.fault = FAULT_NONE;
        CHECK_INT("marker", 0, access(beside(f, ".failed"), F_OK));
        CHECK_STATUS(STATUS_UNAVAILABLE, admit(f), &f->err);
        teardown(f);
    }
}

/* ---- files ---------------------------------------------------------------------------------- */

static int
mode_of(struct fixture *f, const char *suffix)
{
    struct stat st;

    return stat(beside(f, suffix), &st) == 0 ? (int)(st.st_mode & 07777) : -1;
}

static void
test_files_are_made_for_their_owner_alone(void)
{
    const char *suffixes[] = { "", ".lock", ".checkpoint", "-wal", "-shm" };
    mode_t before = umask(0);
    struct fixture *f = setup();

    umask(before);
    for (size_t i = 0; i < CHECK_COUNT(suffixes); i++)
        CHECK_INT(suffixes[i], 0600, mode_of(f, suffixes[i]));
    teardown(f);
}

static void
test_files_are_shared_with_the_group_of_the_settings(void)
{
    const char *suffixes[] = { "", ".lock", ".checkpoint", "-wal", "-shm" };
    const struct group *group = getgrgid(getegid());
    struct fixture *f = setup_closed();
    struct stat st;

    if (group == NULL) {
        teardown(f);
        return;
    }
    f->options.group = group->gr_name;
    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    for (size_t i = 0; i < CHECK_COUNT(suffixes); i++) {
        CHECK_INT(suffixes[i], 0660, mode_of(f, suffixes[i]));
        CHECK_INT("group", 0, stat(f->other, &st) == 0 ? (int)(st.st_gid - getegid()) : -1);
    }
    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    f->options.group = "no such group";
    CHECK_STATUS(STATUS_INVALID, open_again(f), &f->err);
    CHECK_STRING("message", "store: there is no group \"no such group\" on this machine",
                 f->err.message);
    f->options.group = "";
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("group may write", contains(f->err.message, "others may write it (mode 0660)"));
    teardown(f);
}

static void
test_files_that_others_may_write_are_refused(void)
{
    const char *suffixes[] = { "", ".lock", ".checkpoint" };

    for (size_t i = 0; i < CHECK_COUNT(suffixes); i++) {
        struct fixture *f = setup();

        CHECK_INT("chmod", 0, chmod(beside(f, suffixes[i]), 0602));
        CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
        CHECK_TRUE("says how",
                   contains(f->err.message, "others may write it (mode 0602); chmod it"));
        teardown(f);
    }
}

static void
test_a_file_of_another_user_is_refused(void)
{
    struct fixture *f = setup();

    if (geteuid() == 0) { /* only root can make one */
        CHECK_INT("chown", 0, chown(beside(f, ""), 1, (gid_t)-1));
        CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
        CHECK_TRUE("says whose", contains(f->err.message, "owned by user 1, not by the user 0"));
    }
    teardown(f);
}

static void
test_what_is_no_plain_file_is_refused(void)
{
    struct fixture *f = setup_closed();

    CHECK_INT("folder", 0, mkdir(f->path, 0700));
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("says so", contains(f->err.message, "not a regular file"));
    CHECK_INT("folder", 0, rmdir(f->path));
    CHECK_INT("link", 0, symlink("/dev/null", beside(f, ".lock")));
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("says so", contains(f->err.message, "cannot be opened"));
    teardown(f);
}

static void
test_network_file_systems_are_refused(void)
{
    struct fixture *f = setup_closed();

    inject.file_system = 0x6969;
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("says which", contains(f->err.message, "it is on a network file system (NFS)"));
    CHECK_INT("nothing made", -1, size_of(f, ""));
    inject.file_system = (long)0xFF534D42;
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("says which", contains(f->err.message, "(CIFS)"));
    inject.file_system = 0xEF53;
    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    teardown(f);
}

static void
test_paths_that_cannot_be_are_refused(void)
{
    struct fixture *f = setup_closed();
    char url[5000];

    f->options.url = "sqlite:relative.db";
    CHECK_STATUS(STATUS_INVALID, open_again(f), &f->err);
    CHECK_STRING("relative", "store sqlite:relative.db: give an absolute path, sqlite:/path",
                 f->err.message);
    memset(url, 'x', sizeof(url) - 1);
    url[sizeof(url) - 1] = '\0';
    memcpy(url, "sqlite:/", 8);
    f->options.url = url;
    CHECK_STATUS(STATUS_INVALID, open_again(f), &f->err);
    url[4096 + 5] = '\0'; /* fits, but not with ".failed" behind it */
    CHECK_STATUS(STATUS_INVALID, open_again(f), &f->err);
    f->options.url = "sqlite:/no/such/folder/s.db";
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("folder", contains(f->err.message, "the folder /no/such/folder cannot be read"));
    f->options.url = f->url;
    f->options.create = false;
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("missing", contains(f->err.message, "there is no such file; make it with"));
    CHECK_INT("nothing made", -1, size_of(f, ".lock"));
    teardown(f);
}

/* ---- schemas -------------------------------------------------------------------------------- */

static void
test_schemas_of_other_versions_are_refused_with_the_command_to_run(void)
{
    struct fixture *f = setup();
    int applied;

    query(f, "PRAGMA user_version = 99");
    CHECK_STATUS(STATUS_UNAVAILABLE, store_check(f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("newer", contains(f->err.message, "install the newer Spendgate"));
    CHECK_STATUS(STATUS_UNAVAILABLE, store_migrate(&f->options, &applied, &f->err), &f->err);
    query(f, "PRAGMA user_version = 0");
    f->options.create = false;
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("older", contains(f->err.message, "run `spendgate migrate`"));
    teardown(f);
}

/* A command right after the first start: it makes nothing itself, and does not come too early. */
static void
test_a_schema_that_another_process_is_making_is_waited_for(void)
{
    struct fixture *f = setup();
    const struct timespec a_while = { 0, 50 * 1000000 };
    char made[64], byte;
    struct buf text;
    int ready[2];
    pid_t pid;

    buf_init(&text, made, sizeof(made));
    buf_add_format(&text, "PRAGMA user_version = %d", (int)query(f, "PRAGMA user_version"));
    store_close(f->store);
    f->store = NULL;
    query(f, "PRAGMA user_version = 0");
    if (pipe(ready) != 0)
        abort();
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        take_lock(f, ".lock");
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        nanosleep(&a_while, NULL);
        query(f, made);
        _exit(0);
    }
    CHECK_INT("it is at it", 1, read(ready[0], &byte, 1));
    f->options.create = false;
    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    waitpid(pid, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    teardown(f);
}

static void
test_migrate_applies_the_missing_steps_once(void)
{
    struct fixture *f = setup_closed();
    int applied = -1;

    CHECK_STATUS(STATUS_OK, store_migrate(&f->options, &applied, &f->err), &f->err);
    CHECK_TRUE("applied", applied > 0);
    CHECK_STATUS(STATUS_OK, store_migrate(&f->options, &applied, &f->err), &f->err);
    CHECK_INT("again", 0, applied);
    f->options.create = false;
    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    teardown(f);
}

static void
make_file(struct fixture *f, const char *text, size_t size)
{
    int fd = open(f->path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, text, size) != (ssize_t)size)
        abort();
    close(fd);
}

static void
test_another_programs_database_is_refused(void)
{
    struct fixture *f = setup_closed();

    make_file(f, "", 0);
    query(f, "CREATE TABLE theirs (a)");
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("says so", contains(f->err.message, "this is another program's database"));
    CHECK_INT("left alone", 1, query(f, "SELECT count(*) FROM sqlite_schema"));
    teardown(f);
}

static void
test_a_file_that_is_no_database_or_was_cut_is_corrupt(void)
{
    struct fixture *f = setup_closed();
    char text[4096];

    memset(text, 'x', sizeof(text));
    make_file(f, text, sizeof(text));
    CHECK_STATUS(STATUS_CORRUPT, open_again(f), &f->err);
    CHECK_TRUE("what to do", contains(f->err.message, "restore a backup"));
    CHECK_INT("remove", 0, unlink(f->path));
    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    store_close(f->store);
    f->store = NULL;
    query(f, "PRAGMA wal_checkpoint(TRUNCATE)");
    CHECK_INT("cut", 0, truncate(f->path, 8192));
    CHECK_TRUE("refused", open_again(f) != STATUS_OK || admit(f) != STATUS_OK);
    CHECK_STATUS(STATUS_CORRUPT, f->err.status, &f->err);
    teardown(f);
}

static void
test_a_file_that_was_switched_out_of_wal_mode_is_refused(void)
{
    struct fixture *f = setup();
    int applied;

    store_close(f->store);
    f->store = NULL;
    query(f, "PRAGMA journal_mode = DELETE");
    CHECK_STATUS(STATUS_UNAVAILABLE, open_again(f), &f->err);
    CHECK_TRUE("what to do", contains(f->err.message, "not in WAL mode; run `spendgate migrate`"));
    CHECK_STATUS(STATUS_OK, store_migrate(&f->options, &applied, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, open_again(f), &f->err);
    teardown(f);
}

static void
test_admissions_that_are_over_are_removed_after_the_answer(void)
{
    struct fixture *f = setup();
    static const struct chain_names names = { .key_id = "ak_1", .subject = "user_1" };
    char unique[32];
    struct admission ask = {
        .names = &names, .plan = &f->plan, .verification = 1, .unique_id = unique
    };
    struct buf text;

    for (int i = 0; i < 1024; i++) {
        buf_init(&text, unique, sizeof(unique));
        buf_add_int(&text, i);
        CHECK_STATUS(STATUS_OK,
                     store_admit(f->store, &ask, NOON + i * US_PER_SECOND, &f->verdict, &f->err),
                     &f->err);
        store_after(f->store);
    }
    /* each lives as long as its hold, 300 s */
    CHECK_INT("those that live", 300, query(f, "SELECT count(*) FROM admission"));
    teardown(f);
}

/* ---- rows changed by hand ------------------------------------------------------------------- */

static void
test_i7_verify_finds_every_balance_that_was_changed_by_hand(void)
{
    static const struct {
        const char *change, *back, *text;
    } cases[] = {
        { "UPDATE budget_period SET spent_nanos = spent_nanos + 1",
          "UPDATE budget_period SET spent_nanos = spent_nanos - 1", "account user_1" },
        { "UPDATE budget_period SET held_nanos = held_nanos + 1",
          "UPDATE budget_period SET held_nanos = held_nanos - 1", "account user_1" },
        { "UPDATE account SET live_holds = live_holds + 1 WHERE name = 'user_1'",
          "UPDATE account SET live_holds = live_holds - 1 WHERE name = 'user_1'",
          "account user_1: live holds stored 2, counted 1" },
        { "UPDATE hold SET amount_nanos = amount_nanos + 1 WHERE state = 0",
          "UPDATE hold SET amount_nanos = amount_nanos - 1 WHERE state = 0", "account user_1" },
        { "UPDATE hold SET state = 3 WHERE state = 0 AND id = 2",
          "UPDATE hold SET state = 0 WHERE state = 3 AND id = 2", "account user_1" },
        { "UPDATE hold SET state = 0 WHERE state = 1", "UPDATE hold SET state = 1 WHERE id = 1",
          "hold 1: held, but has a charge" },
        { "UPDATE hold SET state = 2 WHERE id = 1", "UPDATE hold SET state = 1 WHERE id = 1",
          "hold 1: voided, but has a charge" },
        { "UPDATE hold SET charge_id = 77 WHERE id = 1",
          "UPDATE hold SET charge_id = 1 WHERE id = 1",
          "hold 1: settled, but its charge is missing" },
        { "UPDATE charge SET amount_nanos = amount_nanos + 1 WHERE id = 2",
          "UPDATE charge SET amount_nanos = amount_nanos - 1 WHERE id = 2", "account user_1" },
        { "UPDATE charge SET kind = 1 WHERE id = 2", "UPDATE charge SET kind = 0 WHERE id = 2",
          "account user_1" },
        { "UPDATE charge SET at_us = 1 WHERE id = 2",
          "UPDATE charge SET at_us = 1795003200000000 WHERE id = 2", "account user_1" },
        { "UPDATE charge SET chain_id = 99 WHERE id = 2",
          "UPDATE charge SET chain_id = 1 WHERE id = 2", "charge 2: its chain is missing" },
        { "UPDATE charge SET hold_id = 1 WHERE id = 2",
          "UPDATE charge SET hold_id = 0 WHERE id = 2", "charge 2: hold 1 has another charge" },
        { "UPDATE charge SET refund_of = 77 WHERE id = 2",
          "UPDATE charge SET refund_of = 0 WHERE id = 2", "charge 77: refunds" },
        { "UPDATE credit SET amount_nanos = amount_nanos + 1",
          "UPDATE credit SET amount_nanos = amount_nanos - 1", "budget 769: credits stored" },
        { "UPDATE credit SET budget_id = 5", "UPDATE credit SET budget_id = 769",
          "credit 1: its budget is missing" },
        { "UPDATE budget_period SET budget_id = 5", "UPDATE budget_period SET budget_id = 769",
          "account user_1, budget month UTC (769): no period row for charge 1" },
        { "UPDATE budget_period SET start_us = start_us + 1, end_us = start_us + 2",
          "UPDATE budget_period SET start_us = 1793491200000000, end_us = 1796083200000000",
          "account user_1" },
        { "UPDATE chain SET payer_id = 1", "UPDATE chain SET payer_id = 3", "account" },
        { "UPDATE chain_account SET account_id = 98 WHERE account_id = 3",
          "UPDATE chain_account SET account_id = 3 WHERE account_id = 98", "" },
        { "UPDATE account SET parent_id = 50 WHERE id = 3",
          "UPDATE account SET parent_id = 0 WHERE id = 3", "account 3: its parent is missing" },
    };
    struct fixture *f = setup();
    struct credit_request credit = { .account = "user_1", .amount_nanos = CENT };
    const struct actor actor = { "ops", NULL };
    char id[PUBLIC_ID_SIZE], first[256];

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    public_id_format("hld_", f->verdict.hold.id, f->verdict.hold.nonce, id);
    CHECK_STATUS(STATUS_OK, spend(f, id, CENT, NULL), &f->err);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, CENT, NULL), &f->err);
    CHECK_STATUS(
        STATUS_OK,
        store_credit(f->store, &credit, &actor, NULL, NULL, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("green", 0, differences(f, &first));
    query(f, "UPDATE charge SET chain_id = 1");
    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        query(f, cases[i].change);
        if (differences(f, &first) == 0 || !starts_with(first, cases[i].text)) {
            printf("%s: \"%s\"\n", cases[i].change, first);
            CHECK_TRUE("found", false);
        }
        query(f, cases[i].back);
    }
    CHECK_INT("green again", 0, differences(f, &first));
    teardown(f);
}

static void
test_verify_finds_what_the_schema_alone_would_refuse(void)
{
    struct fixture *f = setup();
    char first[256];

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, CENT, NULL), &f->err);
    query_unchecked(f, "UPDATE charge SET amount_nanos = -1");
    CHECK_TRUE("found", differences(f, &first) > 0);
    CHECK_STRING("i8", "charge 1: kind 0, amount -1 nanos", first);
    query(f, "UPDATE charge SET amount_nanos = 10000000");
    query(f, "INSERT INTO budget_period SELECT budget_id, start_us + 5, end_us, 0, 0, 0 FROM "
             "budget_period");
    CHECK_TRUE("found", differences(f, &first) > 0);
    CHECK_TRUE("overlap", contains(first, "two periods overlap"));
    query(f, "DELETE FROM budget_period WHERE start_us % 10 = 5");
    CHECK_INT("green", 0, differences(f, &first));
    query(f, "DELETE FROM budget_period");
    CHECK_TRUE("found", differences(f, &first) > 0);
    CHECK_TRUE("i6", contains(first, ": no period row for charge 1"));
    query(f, "UPDATE hold SET chain_id = 55");
    CHECK_TRUE("found", differences(f, &first) > 0);
    query_unchecked(f, "UPDATE hold SET state = 9");
    CHECK_TRUE("found", differences(f, &first) > 0);
    query(f, "DELETE FROM charge");
    CHECK_TRUE("found", differences(f, &first) > 0);
    CHECK_STRING("i5", "hold 1: in no known state", first);
    teardown(f);
}

static void
test_an_account_has_a_limited_number_of_lines(void)
{
    struct fixture *f = setup();

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    query(f,
          "WITH RECURSIVE n (i) AS (VALUES (2) UNION ALL SELECT i + 1 FROM n WHERE i < 70) "
          "INSERT INTO budget SELECT account_id * 256 + i, account_id, 2, 'UTC', i, 1, created_us, "
          "NULL, NULL, 0 FROM budget, n");
    CHECK_STATUS(STATUS_OVERFLOW, admit(f), &f->err);
    CHECK_TRUE("what to do",
               contains(f->err.message, "counts on more than 64 budget lines; give its"));
    teardown(f);
}

static void
test_events_tell_each_threshold_once_and_who_changed_what(void)
{
    struct fixture *f = setup();
    const struct actor actor = { "ops", "because" };
    struct hold hold;
    char id[PUBLIC_ID_SIZE];

    f->plan.budgets[0].limit_nanos = 10 * CENT;
    f->plan.budgets[0].alert_count = 2;
    f->plan.budgets[0].alerts[0] = 50;
    f->plan.budgets[0].alerts[1] = 100;
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    hold = f->verdict.hold;
    CHECK_STATUS(STATUS_OK, spend(f, NULL, 4 * CENT, NULL), &f->err);
    CHECK_INT("none", 0, query(f, "SELECT count(*) FROM event"));
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(STATUS_OK, spend(f, NULL, CENT, NULL), &f->err);
    CHECK_INT("50 %", 50, query(f, "SELECT group_concat(percent) + 0 FROM event WHERE kind = 1"));
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(STATUS_OK, spend(f, NULL, 3 * CENT, NULL), &f->err);
    CHECK_INT("thresholds", 2, query(f, "SELECT count(*) FROM event WHERE kind = 1"));
    CHECK_INT("overruns", 1, query(f, "SELECT count(*) FROM event WHERE kind = 2"));
    public_id_format("hld_", hold.id, hold.nonce, id);
    CHECK_STATUS(STATUS_OK, store_hold_void_as(f->store, id, &actor, NOON, &f->result, &f->err),
                 &f->err);
    CHECK_INT("void", OUTCOME_DONE, f->result.outcome);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(f->store, "user_1", ACCOUNT_FREEZE, 0, NULL, &actor, NOON,
                                      &f->result, &f->err),
                 &f->err);
    CHECK_INT("who and why", 2,
              query(f, "SELECT count(*) FROM event WHERE who = 'ops' AND note = 'because'"));
    CHECK_INT("frozen", 1, query(f, "SELECT count(*) FROM event WHERE kind = 4"));
    teardown(f);
}

#if ALLOC_FAIL_AVAILABLE
static void
test_i10_memory_that_runs_out_is_told_as_such(void)
{
    struct fixture *f = setup();
    struct verify_summary summary;
    struct store *store;
    char first[256] = "";

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    for (int n = 0; n < 3; n++) { /* our own, before SQLite's */
        alloc_fail_at(n);
        CHECK_STATUS(STATUS_NO_MEMORY, store_open(&f->options, &store, &f->err), &f->err);
        CHECK_TRUE("failed", alloc_fail_end());
        CHECK_TRUE("none", store == NULL);
    }
    for (int n = 0;; n++) {
        enum status status;

        alloc_fail_at(n);
        status = store_verify(f->store, NOON, ignore_difference, &first, &summary, &f->err);
        if (!alloc_fail_end())
            break;
        CHECK_TRUE("no memory", status != STATUS_OK || summary.differences == 0);
    }
    CHECK_INT("verify", 0, differences(f, &first));
    teardown(f);
}
#endif

static bool
count_charges(void *context, const struct charge *charge)
{
    (void)charge;
    ++*(int *)context;
    return true;
}

static void
test_a_listing_that_takes_too_long_is_given_up(void)
{
    struct fixture *f = setup();
    struct charge_filter none = {
        .model = "none", .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 10
    };
    int count = 0;

    CHECK_STATUS(STATUS_OK, spend(f, NULL, CENT, "a"), &f->err);
    query_with(
        f, "",
        "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
        "INSERT INTO charge (nonce, kind, chain_id, amount_nanos, at_us, created_us) "
        "SELECT i, 0, 1, 1, 0, 0 FROM n");
    store_close(f->store);
    f->options.listing_ms = 1;
    CHECK_STATUS(STATUS_OK, store_open(&f->options, &f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_BUSY, store_charges(f->store, &none, count_charges, &count, &f->err),
                 &f->err);
    CHECK_TRUE("message", strstr(f->err.message, "list charges: it took too long") != NULL);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, CENT, "b"), &f->err); /* of others no step is counted */
    none.model = NULL;
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &none, count_charges, &count, &f->err),
                 &f->err);
    CHECK_INT("a short one", 10, count);
    teardown(f);
}

static void
test_rows_that_no_program_of_ours_wrote_are_corrupt(void)
{
    struct fixture *f = setup();

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    query(f, "UPDATE account SET plan = printf('%.200c', 'x') WHERE name = 'user_1'");
    CHECK_STATUS(STATUS_CORRUPT, admit(f), &f->err);
    CHECK_TRUE("says so", contains(f->err.message, "longer than it can be"));
    query(f, "UPDATE account SET plan = 'pro', parent_id = id WHERE name = 'user_1'");
    CHECK_STATUS(STATUS_CORRUPT, admit(f), &f->err);
    CHECK_TRUE("says so", contains(f->err.message, "circle"));
    query(f, "UPDATE account SET parent_id = 0, live_holds = 0 WHERE name = 'user_1'");
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    teardown(f);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_a_lock_held_by_a_stopped_process_ends_in_busy_after_two_seconds),
        CHECK_TEST(test_the_wait_is_bounded_without_a_timer_too),
        CHECK_TEST(test_a_waiter_gets_the_lock_as_soon_as_it_is_free),
        CHECK_TEST(test_an_admission_without_hold_waits_for_no_writer),
        CHECK_TEST(test_a_read_only_look_makes_no_period_row),
        CHECK_TEST(test_another_program_that_keeps_sqlites_lock_ends_in_busy),
        CHECK_TEST(test_a_plan_that_keeps_changing_is_noted_once_a_minute),
        CHECK_TEST(test_i3_a_spend_syncs_once_and_a_hold_does_not),
        CHECK_TEST(test_i3_after_a_failed_sync_nobody_acknowledges_until_the_marker_is_removed),
        CHECK_TEST(test_a_batch_whose_sync_fails_is_not_acknowledged),
        CHECK_TEST(test_i6_a_batch_whose_commit_fails_leaves_nothing),
        CHECK_TEST(test_i6_a_batch_with_an_element_that_fails_halfway_is_whole_or_not_there),
        CHECK_TEST(test_verify_reads_a_store_that_is_marked_as_failed),
        CHECK_TEST(test_a_write_that_fails_records_nothing_and_the_next_one_works),
        CHECK_TEST(test_a_file_that_may_not_grow_denies_and_recovers),
        CHECK_TEST(test_i6_a_process_killed_at_any_write_leaves_a_whole_transaction_or_none),
        CHECK_TEST(test_a_store_that_another_process_makes_between_two_looks_is_opened),
        CHECK_TEST(test_i10_no_allocation_that_fails_ends_in_an_allow),
        CHECK_TEST(test_the_log_starts_again_once_it_is_long),
        CHECK_TEST(test_one_checkpoint_runs_at_a_time),
        CHECK_TEST(test_a_checkpoint_that_another_process_did_is_not_repeated),
        CHECK_TEST(test_a_checkpoint_whose_sync_fails_marks_the_store),
        CHECK_TEST(test_files_are_made_for_their_owner_alone),
        CHECK_TEST(test_files_are_shared_with_the_group_of_the_settings),
        CHECK_TEST(test_files_that_others_may_write_are_refused),
        CHECK_TEST(test_a_file_of_another_user_is_refused),
        CHECK_TEST(test_what_is_no_plain_file_is_refused),
        CHECK_TEST(test_network_file_systems_are_refused),
        CHECK_TEST(test_paths_that_cannot_be_are_refused),
        CHECK_TEST(test_schemas_of_other_versions_are_refused_with_the_command_to_run),
        CHECK_TEST(test_a_schema_that_another_process_is_making_is_waited_for),
        CHECK_TEST(test_migrate_applies_the_missing_steps_once),
        CHECK_TEST(test_another_programs_database_is_refused),
        CHECK_TEST(test_a_file_that_is_no_database_or_was_cut_is_corrupt),
        CHECK_TEST(test_a_file_that_was_switched_out_of_wal_mode_is_refused),
        CHECK_TEST(test_admissions_that_are_over_are_removed_after_the_answer),
        CHECK_TEST(test_i7_verify_finds_every_balance_that_was_changed_by_hand),
        CHECK_TEST(test_verify_finds_what_the_schema_alone_would_refuse),
        CHECK_TEST(test_an_account_has_a_limited_number_of_lines),
        CHECK_TEST(test_events_tell_each_threshold_once_and_who_changed_what),
#if ALLOC_FAIL_AVAILABLE
        CHECK_TEST(test_i10_memory_that_runs_out_is_told_as_such),
#endif
        CHECK_TEST(test_a_listing_that_takes_too_long_is_given_up),
        CHECK_TEST(test_rows_that_no_program_of_ours_wrote_are_corrupt),
    };

    inject.allocations = -1;
    memory_install();
    shim_install();
    return check_main("store_sqlite", tests, CHECK_COUNT(tests));
}
