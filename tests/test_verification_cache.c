/* SPDX-License-Identifier: MIT */
/* The host's cache file: what it remembers, and that no broken file ever matters. */
#include "authorizer/verification_cache.h"

#include "tests/check.h"
#include "tests/scratch.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "common/banned.h"

#define NOW_US (INT64_C(100000) * US_PER_SECOND)

struct fixture {
    struct scratch scratch;
    char path[128];
    struct host_cache_options options;
    struct host_cache *host;
    struct verification_cache cache;
    struct cache_entry entry;
    struct error err;
};

static void
open_fixture(struct fixture *f)
{
    CHECK_STATUS(STATUS_OK, host_cache_open(&f->options, &f->host, &f->err), &f->err);
    f->cache.host = f->host;
}

static void
set_up(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    scratch_open(&f->scratch);
    scratch_catch_log(&f->scratch);
    scratch_path(&f->scratch, "cache.db", f->path);
    memcpy(f->cache.scope, "0123456789abcde", sizeof(f->cache.scope));
    f->options = (struct host_cache_options){ .path = f->path,
                                              .group = "",
                                              .negative_keep_us = 10 * US_PER_SECOND };
    open_fixture(f);
}

static void
tear_down(struct fixture *f)
{
    host_cache_close(f->host);
    scratch_close(&f->scratch);
}

static void
reopen(struct fixture *f)
{
    host_cache_close(f->host);
    open_fixture(f);
}

static const uint8_t *
digest_of(int number)
{
    static uint8_t digest[SHA256_BYTES];

    memset(digest, 0xab, sizeof(digest));
    memcpy(digest, &number, sizeof(number));
    return digest;
}

static void
put(struct fixture *f, int number, int64_t boot_us)
{
    struct identity identity = { .kind = CREDENTIAL_API_KEY,
                                 .subject = "user_1",
                                 .key_id = "ak_1",
                                 .plan = "pro",
                                 .expires_us = IDENTITY_NEVER_US,
                                 .verification = number,
                                 .verified_us = boot_us };

    cache_put_valid(&f->cache, digest_of(number), &identity, boot_us);
}

static bool
get(struct fixture *f, int number, int64_t boot_us)
{
    memset(&f->entry, 0x5a, sizeof(f->entry));
    cache_get(&f->cache, digest_of(number), boot_us, &f->entry);
    return f->entry.found;
}

/* One number of the file, by its own connection. */
static int64_t
query(struct fixture *f, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;

    if (sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK) {
        int rc = sqlite3_step(statement);

        number = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : rc == SQLITE_DONE ? 0 : -1;
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

static bool
add_one(void *context, struct host_state *state, int64_t *until_us)
{
    int *calls = context;

    (*calls)++;
    state->values[0]++;
    state->values[4] -= 2;
    *until_us = NOW_US + US_PER_SECOND;
    return true;
}

static bool
keep_nothing(void *context, struct host_state *state, int64_t *until_us)
{
    (void)context;
    state->values[0] = 99;
    *until_us = INT64_MAX;
    return false;
}

/* ---- what it remembers --------------------------------------------------------------------------
 */

static void
test_valid_identity_is_found_again(void)
{
    struct fixture f;

    set_up(&f);
    CHECK_FALSE("before", get(&f, 1, NOW_US));
    put(&f, 1, NOW_US);
    reopen(&f);
    CHECK_TRUE("found", get(&f, 1, NOW_US + 5));
    CHECK_TRUE("valid", f.entry.valid);
    CHECK_INT("checked", NOW_US, f.entry.checked_us);
    CHECK_INT("verified", NOW_US, f.entry.verified_us);
    CHECK_STRING("reason", "", f.entry.reason);
    CHECK_STRING("subject", "user_1", f.entry.identity.subject);
    CHECK_INT("verification", 1, f.entry.identity.verification);
    CHECK_FALSE("another", get(&f, 2, NOW_US));
    CHECK_INT("log lines", 0, scratch_log_count(&f.scratch, "\n"));
    tear_down(&f);
}

static void
test_invalid_answer_keeps_when_it_was_valid(void)
{
    struct fixture f;

    set_up(&f);
    cache_put_invalid(&f.cache, digest_of(1), "", NOW_US);
    CHECK_TRUE("found", get(&f, 1, NOW_US));
    CHECK_FALSE("valid", f.entry.valid);
    CHECK_INT("never", 0, f.entry.verified_us);
    put(&f, 1, NOW_US + 1);
    cache_put_invalid(&f.cache, digest_of(1), "revoked", NOW_US + 2);
    CHECK_TRUE("found", get(&f, 1, NOW_US + 3));
    CHECK_FALSE("valid", f.entry.valid);
    CHECK_STRING("reason", "revoked", f.entry.reason);
    CHECK_INT("checked", NOW_US + 2, f.entry.checked_us);
    CHECK_INT("once", NOW_US + 1, f.entry.verified_us);
    put(&f, 1, NOW_US + 4);
    CHECK_TRUE("found", get(&f, 1, NOW_US + 5));
    CHECK_TRUE("valid again", f.entry.valid);
    CHECK_STRING("no reason", "", f.entry.reason);
    tear_down(&f);
}

static void
test_verified_is_forgotten_after_a_day(void)
{
    struct fixture f;

    set_up(&f);
    put(&f, 1, NOW_US);
    CHECK_TRUE("a day", get(&f, 1, NOW_US + HOST_CACHE_KEEP_US));
    CHECK_INT("verified", NOW_US, f.entry.verified_us);
    CHECK_TRUE("and more", get(&f, 1, NOW_US + HOST_CACHE_KEEP_US + 1));
    CHECK_INT("verified", 0, f.entry.verified_us);
    tear_down(&f);
}

static void
test_rows_of_another_scope_are_not_seen(void)
{
    struct fixture f;

    set_up(&f);
    put(&f, 1, NOW_US);
    f.cache.scope[0]++;
    reopen(&f);
    CHECK_FALSE("other scope", get(&f, 1, NOW_US));
    put(&f, 1, NOW_US);
    f.cache.scope[0]--;
    reopen(&f);
    CHECK_TRUE("first scope", get(&f, 1, NOW_US));
    CHECK_INT("rows", 2, query(&f, "SELECT count(*) FROM verification"));
    tear_down(&f);
}

static void
test_rows_of_an_earlier_boot_are_dropped(void)
{
    struct fixture f;

    set_up(&f);
    put(&f, 1, NOW_US);
    CHECK_INT("update", 0, query(&f, "UPDATE host SET boot_id = 'another'"));
    CHECK_TRUE("still open", get(&f, 1, NOW_US));
    reopen(&f);
    CHECK_FALSE("dropped", get(&f, 1, NOW_US));
    CHECK_INT("rows", 0, query(&f, "SELECT count(*) FROM verification"));
    tear_down(&f);
}

static void
test_row_from_the_future_is_not_believed(void)
{
    struct fixture f;

    set_up(&f);
    put(&f, 1, NOW_US);
    CHECK_FALSE("before it was written", get(&f, 1, NOW_US - 1));
    CHECK_INT("verified", 0, f.entry.verified_us);
    tear_down(&f);
}

/* A file that mixes up its pages must not hand one caller the identity of another. */
static void
test_identity_is_tied_to_its_key(void)
{
    struct fixture f;

    set_up(&f);
    put(&f, 1, NOW_US);
    put(&f, 2, NOW_US);
    CHECK_INT("give both the identity of one", 0,
              query(&f, "UPDATE verification SET (identity, sum) = (SELECT identity, sum FROM"
                        " verification AS other ORDER BY other.key LIMIT 1)"));
    CHECK_INT("one is right", 1, get(&f, 1, NOW_US) + get(&f, 2, NOW_US));
    put(&f, 1, NOW_US);
    CHECK_TRUE("mended", get(&f, 1, NOW_US));
    tear_down(&f);
}

static void
test_state_is_zero_at_first_and_kept(void)
{
    struct host_state state;
    struct fixture f;
    int calls = 0;

    set_up(&f);
    CHECK_TRUE("read", host_cache_read(f.host, "a", &state, NOW_US));
    CHECK_INT("zero", 0, state.values[0]);
    CHECK_TRUE("change", host_cache_change(f.host, "a", add_one, &calls, NOW_US));
    CHECK_TRUE("change", host_cache_change(f.host, "a", add_one, &calls, NOW_US));
    CHECK_TRUE("not kept", host_cache_change(f.host, "a", keep_nothing, NULL, NOW_US));
    reopen(&f);
    CHECK_TRUE("read", host_cache_read(f.host, "a", &state, NOW_US));
    CHECK_INT("first", 2, state.values[0]);
    CHECK_INT("last", -4, state.values[4]);
    CHECK_INT("calls", 2, calls);
    CHECK_TRUE("other name", host_cache_read(f.host, "b", &state, NOW_US));
    CHECK_INT("zero", 0, state.values[0]);
    tear_down(&f);
}

static void
test_old_rows_go_in_the_housekeeping(void)
{
    struct fixture f;
    int calls = 0;

    set_up(&f);
    put(&f, 1, NOW_US);
    cache_put_invalid(&f.cache, digest_of(2), "", NOW_US);
    cache_put_invalid(&f.cache, digest_of(3), "", NOW_US + 1);
    CHECK_TRUE("state", host_cache_change(f.host, "a", add_one, &calls, NOW_US));
    host_cache_after(f.host, NOW_US + f.options.negative_keep_us + 1);
    CHECK_INT("rows", 2, query(&f, "SELECT count(*) FROM verification"));
    CHECK_INT("states", 1, query(&f, "SELECT count(*) FROM state"));
    put(&f, 4, NOW_US + HOST_CACHE_KEEP_US + 1);
    host_cache_after(f.host, NOW_US + HOST_CACHE_KEEP_US + 1);
    CHECK_INT("rows", 1, query(&f, "SELECT count(*) FROM verification"));
    CHECK_TRUE("the new one", get(&f, 4, NOW_US + HOST_CACHE_KEEP_US + 1));
    tear_down(&f);
}

static void
test_wal_does_not_grow_for_ever(void)
{
    struct stat file;
    struct fixture f;
    char wal[128];

    set_up(&f);
    for (int i = 0; i < 5000; i++) {
        put(&f, i % 10, NOW_US + i);
        host_cache_after(f.host, NOW_US + i);
    }
    CHECK_INT("stat", 0, stat(scratch_path(&f.scratch, "cache.db-wal", wal), &file));
    CHECK_TRUE("under 8 MiB", file.st_size < 8 << 20);
    CHECK_INT("log lines", 0, scratch_log_count(&f.scratch, "\n"));
    tear_down(&f);
}

/* ---- several processes --------------------------------------------------------------------------
 */

static void
child(struct fixture *f, int number)
{
    struct host_cache *cache = NULL;
    int calls = 0;

    if (host_cache_open(&f->options, &cache, &f->err) != STATUS_OK)
        _exit(1);
    f->host = f->cache.host = cache;
    for (int i = 0; i < 200; i++) {
        if (!host_cache_change(cache, "shared", add_one, &calls, NOW_US))
            _exit(2);
        put(f, number, NOW_US);
        if (!get(f, number, NOW_US))
            _exit(3);
        host_cache_after(cache, NOW_US);
    }
    _exit(calls == 200 ? 0 : 4);
}

static void
test_processes_lose_no_change(void)
{
    struct host_state state;
    struct fixture f;
    pid_t children[6];

    set_up(&f);
    for (int i = 0; i < 6; i++) {
        children[i] = fork();
        if (children[i] == 0)
            child(&f, i);
    }
    for (int i = 0; i < 6; i++) {
        int ended = -1;

        CHECK_INT("wait", children[i], waitpid(children[i], &ended, 0));
        CHECK_INT("child", 0, ended);
    }
    CHECK_TRUE("read", host_cache_read(f.host, "shared", &state, NOW_US));
    CHECK_INT("sum", 1200, state.values[0]);
    CHECK_INT("log lines", 0, scratch_log_count(&f.scratch, "\n"));
    tear_down(&f);
}

static void
test_stopped_holder_of_the_lock_is_not_waited_for(void)
{
    struct fixture f;
    int ends[2];
    pid_t holder;
    char byte;

    set_up(&f);
    put(&f, 1, NOW_US);
    CHECK_INT("pipe", 0, pipe(ends));
    holder = fork();
    if (holder == 0) {
        char path[128];
        int fd = open(scratch_path(&f.scratch, "cache.db.lock", path), O_RDWR | O_CLOEXEC);

        if (fd < 0 || flock(fd, LOCK_EX) != 0 || write(ends[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    CHECK_INT("holds", 1, read(ends[0], &byte, 1));
    put(&f, 2, NOW_US);
    CHECK_INT("bypassed", 1, scratch_log_count(&f.scratch, "event=cache_bypassed"));
    CHECK_FALSE("without it", get(&f, 1, NOW_US));
    kill(holder, SIGKILL);
    CHECK_INT("wait", holder, waitpid(holder, NULL, 0));
    CHECK_TRUE("back", get(&f, 1, NOW_US + HOST_CACHE_RETRY_US));
    CHECK_INT("in use", 1, scratch_log_count(&f.scratch, "event=cache_in_use"));
    close(ends[0]);
    close(ends[1]);
    tear_down(&f);
}

/* ---- broken files -------------------------------------------------------------------------------
 */

static void
test_removed_file_is_made_anew(void)
{
    struct fixture f;

    set_up(&f);
    put(&f, 1, NOW_US);
    scratch_remove(&f.scratch, "cache.db");
    scratch_remove(&f.scratch, "cache.db-wal");
    scratch_remove(&f.scratch, "cache.db-shm");
    CHECK_FALSE("gone", get(&f, 1, NOW_US));
    put(&f, 1, NOW_US);
    CHECK_TRUE("back", get(&f, 1, NOW_US));
    CHECK_INT("in the new file", 1, query(&f, "SELECT count(*) FROM verification"));
    tear_down(&f);
}

static void
test_garbage_is_set_aside(void)
{
    char path[128];
    struct stat file;
    struct fixture f;

    set_up(&f);
    scratch_write(&f.scratch, "cache.db",
                  "This is a text of more than one hundred bytes and no database at all, which "
                  "somebody wrote where the cache should be, by mistake or otherwise. It is kept.");
    CHECK_INT("chmod", 0, chmod(f.path, 0600));
    put(&f, 1, NOW_US);
    CHECK_TRUE("works", get(&f, 1, NOW_US));
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "event=cache_recreated"));
    CHECK_INT("lines", 1, scratch_log_count(&f.scratch, "\n"));
    CHECK_INT("kept", 0, stat(scratch_path(&f.scratch, "cache.db.damaged", path), &file));
    tear_down(&f);
}

static void
test_damaged_file_is_made_anew(void)
{
    char junk[4096];
    struct fixture f;
    int fd;

    set_up(&f);
    for (int i = 0; i < 500; i++)
        put(&f, i, NOW_US);
    host_cache_after(f.host, NOW_US + 61 * US_PER_SECOND); /* into the file itself */
    host_cache_close(f.host);
    scratch_remove(&f.scratch, "cache.db-wal");
    memset(junk, 0xee, sizeof(junk));
    fd = open(f.path, O_WRONLY | O_CLOEXEC);
    for (off_t page = 1; page < 40; page++)
        CHECK_INT("write", sizeof(junk), pwrite(fd, junk, sizeof(junk), page * 4096));
    close(fd);
    open_fixture(&f);
    for (int i = 0; i < 500; i++)
        (void)get(&f, i, NOW_US);
    put(&f, 7, NOW_US);
    put(&f, 7, NOW_US);
    CHECK_TRUE("works", get(&f, 7, NOW_US));
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "event=cache_recreated"));
    CHECK_INT("lines", 1, scratch_log_count(&f.scratch, "\n"));
    CHECK_INT("rows", 1, query(&f, "SELECT count(*) FROM verification"));
    tear_down(&f);
}

static void
test_database_of_something_else_is_left_alone(void)
{
    struct fixture f;

    set_up(&f);
    host_cache_close(f.host);
    scratch_write(&f.scratch, "cache.db", "");
    CHECK_INT("chmod", 0, chmod(f.path, 0600));
    CHECK_INT("create", 0, query(&f, "CREATE TABLE charge (id INTEGER)"));
    CHECK_INT("insert", 0, query(&f, "INSERT INTO charge VALUES (7)"));
    open_fixture(&f);
    put(&f, 1, NOW_US);
    CHECK_FALSE("unused", get(&f, 1, NOW_US));
    CHECK_INT("log", 1,
              scratch_log_count(&f.scratch, "is a database of something else: choose another"));
    CHECK_INT("lines", 1, scratch_log_count(&f.scratch, "\n"));
    CHECK_INT("there", 7, query(&f, "SELECT id FROM charge"));
    CHECK_INT("journal", 0, query(&f, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"));
    tear_down(&f);
}

static void
test_cache_of_another_version_is_made_anew(void)
{
    struct fixture f;

    set_up(&f);
    put(&f, 1, NOW_US);
    CHECK_INT("version", 0, query(&f, "PRAGMA user_version = 2"));
    reopen(&f);
    CHECK_FALSE("dropped", get(&f, 1, NOW_US));
    put(&f, 1, NOW_US);
    CHECK_TRUE("works", get(&f, 1, NOW_US));
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "is of another version of this program"));
    tear_down(&f);
}

static void
test_file_that_others_may_write_is_not_believed(void)
{
    struct fixture f;

    set_up(&f);
    put(&f, 1, NOW_US);
    CHECK_INT("chmod", 0, chmod(f.path, 0666));
    reopen(&f);
    for (int i = 0; i < 20; i++)
        CHECK_FALSE("unused", get(&f, 1, NOW_US + i));
    put(&f, 1, NOW_US);
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "may be written by others: remove it"));
    CHECK_INT("lines", 1, scratch_log_count(&f.scratch, "\n"));
    CHECK_INT("chmod", 0, chmod(f.path, 0600));
    CHECK_FALSE("not yet", get(&f, 1, NOW_US + HOST_CACHE_RETRY_US - 1));
    CHECK_TRUE("again", get(&f, 1, NOW_US + HOST_CACHE_RETRY_US));
    tear_down(&f);
}

static void
test_group_may_write_only_when_it_is_named(void)
{
    struct fixture f;

    set_up(&f);
    put(&f, 1, NOW_US);
    CHECK_INT("chmod", 0, chmod(f.path, 0660));
    reopen(&f);
    CHECK_FALSE("no group", get(&f, 1, NOW_US));
    f.options.group = "root";
    reopen(&f);
    CHECK_TRUE("group", get(&f, 1, NOW_US));
    tear_down(&f);
}

static void
test_symbolic_link_is_not_followed(void)
{
    char target[128];
    struct fixture f;

    set_up(&f);
    put(&f, 1, NOW_US);
    host_cache_close(f.host);
    CHECK_INT("rename", 0, rename(f.path, scratch_path(&f.scratch, "elsewhere.db", target)));
    CHECK_INT("link", 0, symlink(target, f.path));
    open_fixture(&f);
    CHECK_FALSE("unused", get(&f, 1, NOW_US));
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "event=cache_bypassed"));
    tear_down(&f);
}

static void
test_folder_that_others_may_write_is_not_used(void)
{
    struct fixture f;

    set_up(&f);
    CHECK_INT("chmod", 0, chmod(f.scratch.folder, 0777));
    put(&f, 1, NOW_US);
    CHECK_FALSE("unused", get(&f, 1, NOW_US));
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "the folder of the cache"));
    CHECK_INT("chmod", 0, chmod(f.scratch.folder, 01777));
    put(&f, 1, NOW_US + HOST_CACHE_RETRY_US);
    CHECK_TRUE("sticky", get(&f, 1, NOW_US + HOST_CACHE_RETRY_US));
    tear_down(&f);
}

static void
test_missing_folder_costs_one_log_line(void)
{
    struct host_state state;
    struct fixture f;
    char path[128];
    int calls = 0;

    set_up(&f);
    f.options.path = scratch_path(&f.scratch, "absent/cache.db", path);
    reopen(&f);
    for (int i = 0; i < 50; i++) {
        put(&f, i, NOW_US);
        cache_put_invalid(&f.cache, digest_of(i), "", NOW_US);
        CHECK_FALSE("unused", get(&f, i, NOW_US));
        CHECK_FALSE("state", host_cache_change(f.host, "a", add_one, &calls, NOW_US));
        CHECK_FALSE("state", host_cache_read(f.host, "a", &state, NOW_US));
        host_cache_after(f.host, NOW_US);
    }
    CHECK_INT("calls", 0, calls);
    CHECK_INT("lines", 1, scratch_log_count(&f.scratch, "\n"));
    CHECK_FALSE("still", get(&f, 1, NOW_US + HOST_CACHE_RETRY_US));
    CHECK_INT("no second line", 1, scratch_log_count(&f.scratch, "\n"));
    scratch_path(&f.scratch, "absent", path);
    CHECK_INT("mkdir", 0, mkdir(path, 0700));
    scratch_path(&f.scratch, "absent/cache.db", path);
    put(&f, 1, NOW_US + 2 * HOST_CACHE_RETRY_US);
    CHECK_TRUE("works", get(&f, 1, NOW_US + 2 * HOST_CACHE_RETRY_US));
    CHECK_INT("says so", 1, scratch_log_count(&f.scratch, "event=cache_in_use"));
    tear_down(&f);
}

static void
test_full_file_loses_its_oldest_rows(void)
{
    struct fixture f;
    int64_t rows;

    set_up(&f);
    f.options.page_max = 40;
    reopen(&f);
    for (int i = 0; i < 2000; i++) {
        put(&f, i, NOW_US + i);
        CHECK_TRUE("the newest", get(&f, i, NOW_US + i));
    }
    rows = query(&f, "SELECT count(*) FROM verification");
    CHECK_TRUE("some are left", rows > 50 && rows < 1999);
    CHECK_FALSE("the first", get(&f, 0, NOW_US + 2000));
    CHECK_INT("log lines", 0, scratch_log_count(&f.scratch, "\n"));
    tear_down(&f);
}

/* In a child, because the limit is for good. */
static void
fill_the_disk(struct fixture *f)
{
    struct rlimit limit = { 300000, 300000 };

    open_fixture(f);
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(1);
    for (int i = 0; i < 500; i++) {
        put(f, i, NOW_US);
        (void)get(f, i, NOW_US);
    }
    _exit(0);
}

static void
test_full_disk_costs_one_log_line(void)
{
    struct fixture f;
    int ended = -1;
    pid_t pid;

    set_up(&f);
    pid = fork();
    if (pid == 0)
        fill_the_disk(&f);
    CHECK_INT("wait", pid, waitpid(pid, &ended, 0));
    CHECK_INT("child", 0, ended);
    CHECK_INT("bypassed", 1, scratch_log_count(&f.scratch, "event=cache_bypassed"));
    CHECK_INT("lines", 1, scratch_log_count(&f.scratch, "\n"));
    put(&f, 1, NOW_US); /* the next one has room again */
    CHECK_TRUE("works", get(&f, 1, NOW_US));
    tear_down(&f);
}

static void
test_files_are_only_for_their_owner(void)
{
    static const char *const names[] = { "cache.db", "cache.db-wal", "cache.db-shm",
                                         "cache.db.lock" };
    struct stat file;
    struct fixture f;
    char path[128];

    set_up(&f);
    put(&f, 1, NOW_US);
    for (size_t i = 0; i < CHECK_COUNT(names); i++) {
        CHECK_INT(names[i], 0, stat(scratch_path(&f.scratch, names[i], path), &file));
        CHECK_INT(names[i], 0600, file.st_mode & 07777);
    }
    tear_down(&f);
}

static void
test_path_that_is_too_long_is_refused(void)
{
    char path[5000];
    struct host_cache_options options = { .path = path, .group = "" };
    struct host_cache *cache;
    struct error err;

    memset(path, '/', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    CHECK_STATUS(STATUS_OVERFLOW, host_cache_open(&options, &cache, &err), &err);
    CHECK_STRING("message", "cache { path } is too long", err.message);
    CHECK_TRUE("nothing", cache == NULL);
    host_cache_close(NULL);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_valid_identity_is_found_again),
        CHECK_TEST(test_invalid_answer_keeps_when_it_was_valid),
        CHECK_TEST(test_verified_is_forgotten_after_a_day),
        CHECK_TEST(test_rows_of_another_scope_are_not_seen),
        CHECK_TEST(test_rows_of_an_earlier_boot_are_dropped),
        CHECK_TEST(test_row_from_the_future_is_not_believed),
        CHECK_TEST(test_identity_is_tied_to_its_key),
        CHECK_TEST(test_state_is_zero_at_first_and_kept),
        CHECK_TEST(test_old_rows_go_in_the_housekeeping),
        CHECK_TEST(test_wal_does_not_grow_for_ever),
        CHECK_TEST(test_processes_lose_no_change),
        CHECK_TEST(test_stopped_holder_of_the_lock_is_not_waited_for),
        CHECK_TEST(test_removed_file_is_made_anew),
        CHECK_TEST(test_garbage_is_set_aside),
        CHECK_TEST(test_damaged_file_is_made_anew),
        CHECK_TEST(test_database_of_something_else_is_left_alone),
        CHECK_TEST(test_cache_of_another_version_is_made_anew),
        CHECK_TEST(test_file_that_others_may_write_is_not_believed),
        CHECK_TEST(test_group_may_write_only_when_it_is_named),
        CHECK_TEST(test_symbolic_link_is_not_followed),
        CHECK_TEST(test_folder_that_others_may_write_is_not_used),
        CHECK_TEST(test_missing_folder_costs_one_log_line),
        CHECK_TEST(test_full_file_loses_its_oldest_rows),
        CHECK_TEST(test_full_disk_costs_one_log_line),
        CHECK_TEST(test_files_are_only_for_their_owner),
        CHECK_TEST(test_path_that_is_too_long_is_refused),
    };

    return check_main("verification_cache", tests, CHECK_COUNT(tests));
}
