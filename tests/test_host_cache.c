/* SPDX-License-Identifier: MIT */
/* Looking after the host's cache file: a purge, and looking in from outside. What it remembers, and
 * that no broken file matters, is in test_verification_cache.c. */
#include "common/host_cache.h"

#include "tests/check.h"
#include "tests/scratch.h"

#include <sqlite3.h>

#include "common/banned.h"

#define NOW_US (INT64_C(100000) * US_PER_SECOND)

struct fixture {
    struct scratch scratch;
    char path[128];
    struct host_cache_options options;
    struct host_cache *cache;
    int64_t rows;
    struct error err;
};

static void
open_fixture(struct fixture *f)
{
    CHECK_STATUS(STATUS_OK, host_cache_open(&f->options, &f->cache, &f->err), &f->err);
}

static void
set_up(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    scratch_open(&f->scratch);
    scratch_catch_log(&f->scratch);
    scratch_path(&f->scratch, "cache.db", f->path);
    f->options = (struct host_cache_options){ .path = f->path,
                                              .group = "",
                                              .negative_keep_us = 10 * US_PER_SECOND };
    open_fixture(f);
}

static void
tear_down(struct fixture *f)
{
    host_cache_close(f->cache);
    CHECK_INT("log lines", 0, scratch_log_count(&f->scratch, "\n"));
    scratch_close(&f->scratch);
}

static const uint8_t *
key_of(int number)
{
    static uint8_t key[HOST_CACHE_KEY_BYTES];

    memset(key, 0xab, sizeof(key));
    memcpy(key, &number, sizeof(number));
    return key;
}

static bool
is_there(struct fixture *f, int number)
{
    char storage[64];
    struct host_row row;
    struct buf bytes;

    buf_init(&bytes, storage, sizeof(storage));
    return host_cache_get(f->cache, key_of(number), NOW_US + 10, &row, &bytes);
}

static bool
put_seven(void *context, struct host_state *state, int64_t *until_us)
{
    (void)context;
    state->values[1] = 7;
    *until_us = INT64_MAX;
    return true;
}

static int64_t
number_of(struct fixture *f, const char *name)
{
    struct host_state state;

    CHECK_TRUE("read", host_cache_read(f->cache, name, &state, NOW_US));
    return state.values[1];
}

static void
fill(struct fixture *f)
{
    host_cache_put(f->cache, key_of(1), HOST_ROW_VALID, "one", 3, NOW_US);
    host_cache_put(f->cache, key_of(2), HOST_ROW_DOCUMENT, "two", 3, NOW_US);
    host_cache_put_invalid(f->cache, key_of(3), "", NOW_US);
    CHECK_TRUE("a number", host_cache_change(f->cache, "clerk", put_seven, NULL, NOW_US));
    CHECK_TRUE("a number", host_cache_change(f->cache, "failed:1.2.3.4", put_seven, NULL, NOW_US));
}

static void
run_sql(struct fixture *f, const char *sql)
{
    sqlite3 *db = NULL;

    CHECK_INT("open", SQLITE_OK, sqlite3_open(f->path, &db));
    CHECK_INT(sql, SQLITE_OK, sqlite3_exec(db, sql, NULL, NULL, NULL));
    sqlite3_close(db);
}

/* ---- purge --------------------------------------------------------------------------------------
 */

static void
test_purge_forgets_answers_and_failures_but_not_the_quota(void)
{
    struct fixture f;

    set_up(&f);
    fill(&f);
    CHECK_INT("never yet", 0, host_cache_purged_us(f.cache, NOW_US));
    CHECK_STATUS(STATUS_OK, host_cache_purge(f.cache, NOW_US + 5, &f.rows, &f.err), &f.err);
    CHECK_INT("rows", 3, f.rows);
    for (int i = 1; i <= 3; i++)
        CHECK_FALSE("forgotten", is_there(&f, i));
    CHECK_INT("failures", 0, number_of(&f, "failed:1.2.3.4"));
    CHECK_INT("quota", 7, number_of(&f, "clerk"));
    CHECK_INT("when", NOW_US + 5, host_cache_purged_us(f.cache, NOW_US + 5));
    host_cache_put(f.cache, key_of(1), HOST_ROW_VALID, "one", 3, NOW_US + 6);
    CHECK_TRUE("works on", is_there(&f, 1));
    tear_down(&f);
}

static void
test_purge_is_seen_by_who_has_the_file_open(void)
{
    struct host_cache *other = NULL;
    struct fixture f;

    set_up(&f);
    fill(&f);
    CHECK_STATUS(STATUS_OK, host_cache_open(&f.options, &other, &f.err), &f.err);
    CHECK_STATUS(STATUS_OK, host_cache_purge(other, NOW_US + 5, &f.rows, &f.err), &f.err);
    host_cache_close(other);
    CHECK_FALSE("forgotten", is_there(&f, 1));
    CHECK_INT("when", NOW_US + 5, host_cache_purged_us(f.cache, NOW_US + 5));
    tear_down(&f);
}

static void
test_purge_says_why_it_cannot_be_done(void)
{
    char path[128];
    char want[256];
    struct fixture f;

    set_up(&f);
    host_cache_close(f.cache);
    f.options.path = scratch_path(&f.scratch, "absent/cache.db", path);
    open_fixture(&f);
    CHECK_STATUS(STATUS_IO, host_cache_purge(f.cache, NOW_US, &f.rows, &f.err), &f.err);
    snprintf(want, sizeof(want), "the folder of the cache, %s/absent: No such file or directory",
             f.scratch.folder);
    CHECK_STRING("message", want, f.err.message);
    tear_down(&f);
}

static void
test_purge_leaves_a_database_of_something_else_alone(void)
{
    struct fixture f;

    set_up(&f);
    run_sql(&f, "CREATE TABLE verification (a); INSERT INTO verification VALUES (1)");
    CHECK_INT("chmod", 0, chmod(f.path, 0600));
    CHECK_STATUS(STATUS_INVALID, host_cache_purge(f.cache, NOW_US, &f.rows, &f.err), &f.err);
    run_sql(&f, "UPDATE verification SET a = 1 / (SELECT count(*) FROM verification)");
    tear_down(&f);
}

/* ---- looking in ---------------------------------------------------------------------------------
 */

static bool
peek(struct fixture *f, struct host_state out[2])
{
    static const char *const names[] = { "clerk", "nobody's" };

    memset(out, 0x5a, 2 * sizeof(*out));
    return host_cache_peek(&f->options, names, 2, out);
}

static void
test_peek_reads_the_numbers_beside_a_writer(void)
{
    struct host_state state[2];
    struct fixture f;

    set_up(&f);
    fill(&f);
    CHECK_TRUE("read", peek(&f, state));
    CHECK_INT("number", 7, state[0].values[1]);
    CHECK_INT("none", 0, state[1].values[1]);
    CHECK_TRUE("the writer goes on",
               host_cache_change(f.cache, "clerk", put_seven, NULL, NOW_US + 1));
    host_cache_close(f.cache);
    f.cache = NULL;
    CHECK_TRUE("and nobody has it open", peek(&f, state));
    CHECK_INT("number", 7, state[0].values[1]);
    tear_down(&f);
}

static void
test_peek_makes_nothing(void)
{
    struct host_state state[2];
    struct stat file;
    struct fixture f;

    set_up(&f);
    CHECK_FALSE("nothing there", peek(&f, state));
    CHECK_INT("still nothing", -1, stat(f.path, &file));
    scratch_write(&f.scratch, "cache.db", "");
    CHECK_INT("chmod", 0, chmod(f.path, 0600));
    CHECK_FALSE("an empty file", peek(&f, state));
    CHECK_INT("stat", 0, stat(f.path, &file));
    CHECK_INT("left empty", 0, file.st_size);
    tear_down(&f);
}

static void
test_peek_believes_no_other_file(void)
{
    struct host_state state[2];
    struct fixture f;

    set_up(&f);
    fill(&f);
    CHECK_INT("chmod", 0, chmod(f.path, 0602));
    CHECK_FALSE("others may write it", peek(&f, state));
    CHECK_INT("chmod", 0, chmod(f.path, 0600));
    CHECK_TRUE("ours", peek(&f, state));
    run_sql(&f, "UPDATE host SET boot_id = 'another'");
    CHECK_FALSE("of an earlier boot", peek(&f, state));
    run_sql(&f, "PRAGMA application_id = 5");
    CHECK_FALSE("of something else", peek(&f, state));
    scratch_write(&f.scratch, "cache.db", "no database at all");
    CHECK_FALSE("garbage", peek(&f, state));
    tear_down(&f);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_purge_forgets_answers_and_failures_but_not_the_quota),
        CHECK_TEST(test_purge_is_seen_by_who_has_the_file_open),
        CHECK_TEST(test_purge_says_why_it_cannot_be_done),
        CHECK_TEST(test_purge_leaves_a_database_of_something_else_alone),
        CHECK_TEST(test_peek_reads_the_numbers_beside_a_writer),
        CHECK_TEST(test_peek_makes_nothing),
        CHECK_TEST(test_peek_believes_no_other_file),
    };

    return check_main("host_cache", tests, CHECK_COUNT(tests));
}
