/* SPDX-License-Identifier: MIT */
/* How often Clerk may be called: the rate and its reserved part, the pause of a 429, the breaker,
 * across processes. */
#include "common/clerk_quota.h"

#include "tests/check.h"
#include "tests/scratch.h"

#include <sys/wait.h>

#include "common/banned.h"

#define NOW_US (INT64_C(100000) * US_PER_SECOND)

struct fixture {
    struct scratch scratch;
    char path[128];
    struct rate rate;
    struct host_cache *cache;
    struct clerk_quota *quota;
    int64_t retry_us;
    struct error err;
};

static void
open_quota(struct fixture *f)
{
    const struct host_cache_options options = { .path = f->path, .group = "" };

    CHECK_STATUS(STATUS_OK, host_cache_open(&options, &f->cache, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, clerk_quota_open(f->cache, &f->rate, &f->quota, &f->err), &f->err);
}

static void
set_up(struct fixture *f, const char *name, int64_t count)
{
    memset(f, 0, sizeof(*f));
    scratch_open(&f->scratch);
    scratch_catch_log(&f->scratch);
    scratch_path(&f->scratch, name, f->path);
    f->rate = (struct rate){ .count = count, .per_us = 10 * US_PER_SECOND, .burst = count };
    open_quota(f);
}

static void
close_quota(struct fixture *f)
{
    clerk_quota_close(f->quota);
    host_cache_close(f->cache);
}

static void
tear_down(struct fixture *f)
{
    close_quota(f);
    scratch_close(&f->scratch);
}

static int
take_all(struct fixture *f, bool known, int64_t boot_us)
{
    int taken = 0;

    while (clerk_quota_take(f->quota, known ? QUOTA_FOR_KNOWN : QUOTA_FOR_NEW, boot_us,
                            &f->retry_us) == QUOTA_GRANTED)
        taken++;
    return taken;
}

static enum quota_answer
take(struct fixture *f, int64_t boot_us)
{
    f->retry_us = -1;
    return clerk_quota_take(f->quota, QUOTA_FOR_KNOWN, boot_us, &f->retry_us);
}

static void
report(struct fixture *f, enum quota_report what, int64_t boot_us)
{
    clerk_quota_report(f->quota, QUOTA_FOR_KNOWN, what, 0, boot_us);
}

static void
check_rate(const char *name)
{
    struct fixture f;

    set_up(&f, name, 100);
    CHECK_INT("at once", 100, take_all(&f, true, NOW_US));
    CHECK_INT("then one in a tenth of a second", 100000, f.retry_us);
    CHECK_INT("not sooner", QUOTA_PAUSED, take(&f, NOW_US + 99999));
    CHECK_INT("then", QUOTA_GRANTED, take(&f, NOW_US + 100000));
    tear_down(&f);
}

static void
test_rate_is_kept(void)
{
    check_rate("cache.db");
}

static void
test_rate_is_kept_by_each_process_when_there_is_no_file(void)
{
    check_rate("absent/cache.db");
}

static void
test_quota_without_any_cache_counts_for_itself(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    close_quota(&f);
    f.cache = NULL;
    CHECK_STATUS(STATUS_OK, clerk_quota_open(NULL, &f.rate, &f.quota, &f.err), &f.err);
    CHECK_INT("known", 100, take_all(&f, true, NOW_US));
    CHECK_INT("bulk", QUOTA_PAUSED, clerk_quota_take(f.quota, QUOTA_FOR_BULK, NOW_US, &f.retry_us));
    report(&f, QUOTA_CALL_ANSWERED, NOW_US);
    for (int i = 0; i < BREAKER_FAILURES; i++)
        report(&f, QUOTA_CALL_FAILED, NOW_US);
    CHECK_INT("broken", QUOTA_BROKEN, take(&f, NOW_US + US_PER_SECOND));
    tear_down(&f);
}

static void
test_a_fifth_is_reserved_for_known_credentials(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    CHECK_INT("unknown", 80, take_all(&f, false, NOW_US));
    CHECK_INT("known", 20, take_all(&f, true, NOW_US));
    CHECK_INT("nobody", QUOTA_PAUSED, take(&f, NOW_US));
    tear_down(&f);
}

static void
test_rate_of_one_serves_both(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 1);
    CHECK_INT("unknown", 1, take_all(&f, false, NOW_US));
    CHECK_INT("known", 0, take_all(&f, true, NOW_US));
    CHECK_INT("known", 1, take_all(&f, true, NOW_US + 10 * US_PER_SECOND));
    tear_down(&f);
}

static void
test_processes_share_the_rate(void)
{
    struct fixture f;
    int total = 0;

    set_up(&f, "cache.db", 60);
    close_quota(&f);
    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            int taken;

            open_quota(&f);
            taken = take_all(&f, true, NOW_US);
            close_quota(&f);
            _exit(taken);
        }
    }
    for (int i = 0; i < 4; i++) {
        int ended = 0;

        CHECK_TRUE("wait", wait(&ended) > 0);
        CHECK_TRUE("exited", WIFEXITED(ended));
        total += WEXITSTATUS(ended);
    }
    CHECK_INT("together", 60, total);
    open_quota(&f);
    tear_down(&f);
}

static void
test_retry_after_stops_everybody_until_then(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    clerk_quota_report(f.quota, QUOTA_FOR_KNOWN, QUOTA_CALL_LIMITED, 7 * US_PER_SECOND, NOW_US);
    close_quota(&f); /* another process */
    open_quota(&f);
    CHECK_INT("paused", QUOTA_PAUSED, take(&f, NOW_US + 1));
    CHECK_INT("for", 7 * US_PER_SECOND - 1, f.retry_us);
    CHECK_INT("over", QUOTA_GRANTED, take(&f, NOW_US + 7 * US_PER_SECOND));
    tear_down(&f);
}

static void
test_pause_is_never_shortened_and_never_absurd(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    clerk_quota_report(f.quota, QUOTA_FOR_KNOWN, QUOTA_CALL_LIMITED, 7 * US_PER_SECOND, NOW_US);
    clerk_quota_report(f.quota, QUOTA_FOR_KNOWN, QUOTA_CALL_LIMITED, 1 * US_PER_SECOND, NOW_US);
    CHECK_INT("paused", QUOTA_PAUSED, take(&f, NOW_US));
    CHECK_INT("for", 7 * US_PER_SECOND, f.retry_us);
    clerk_quota_report(f.quota, QUOTA_FOR_KNOWN, QUOTA_CALL_LIMITED, INT64_MAX / 2, NOW_US);
    CHECK_INT("paused", QUOTA_PAUSED, take(&f, NOW_US));
    CHECK_INT("for", QUOTA_PAUSE_MAX_US, f.retry_us);
    tear_down(&f);
}

static void
open_breaker(struct fixture *f)
{
    for (int i = 0; i < BREAKER_FAILURES; i++) {
        CHECK_INT("closed", QUOTA_GRANTED, take(f, NOW_US));
        report(f, QUOTA_CALL_FAILED, NOW_US);
    }
}

static void
check_breaker(const char *name)
{
    struct fixture f;

    set_up(&f, name, 100);
    open_breaker(&f);
    CHECK_INT("open", QUOTA_BROKEN, take(&f, NOW_US + 1));
    CHECK_INT("for", BREAKER_OPEN_US - 1, f.retry_us);
    CHECK_INT("one log line", 1, scratch_log_count(&f.scratch, "event=clerk_breaker_open"));
    CHECK_INT("probe", QUOTA_GRANTED, take(&f, NOW_US + BREAKER_OPEN_US));
    CHECK_INT("others wait", QUOTA_BROKEN, take(&f, NOW_US + BREAKER_OPEN_US));
    CHECK_INT("for", US_PER_SECOND, f.retry_us);
    report(&f, QUOTA_CALL_ANSWERED, NOW_US + BREAKER_OPEN_US + 1);
    CHECK_INT("closed", QUOTA_GRANTED, take(&f, NOW_US + BREAKER_OPEN_US + 1));
    CHECK_INT("says so", 1, scratch_log_count(&f.scratch, "event=clerk_breaker_closed"));
    tear_down(&f);
}

static void
test_breaker_opens_after_five_failures_and_probes(void)
{
    check_breaker("cache.db");
}

static void
test_breaker_works_without_a_file(void)
{
    check_breaker("absent/cache.db");
}

static void
test_answer_in_between_forgets_the_failures(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    for (int i = 0; i < BREAKER_FAILURES - 1; i++)
        report(&f, QUOTA_CALL_FAILED, NOW_US);
    report(&f, QUOTA_CALL_ANSWERED, NOW_US);
    for (int i = 0; i < BREAKER_FAILURES - 1; i++)
        report(&f, QUOTA_CALL_FAILED, NOW_US);
    CHECK_INT("closed", QUOTA_GRANTED, take(&f, NOW_US));
    report(&f, QUOTA_CALL_FAILED, NOW_US);
    CHECK_INT("open", QUOTA_BROKEN, take(&f, NOW_US));
    tear_down(&f);
}

static void
test_failed_probe_opens_it_again(void)
{
    int64_t later_us = NOW_US + BREAKER_OPEN_US;
    struct fixture f;

    set_up(&f, "cache.db", 100);
    open_breaker(&f);
    CHECK_INT("probe", QUOTA_GRANTED, take(&f, later_us));
    report(&f, QUOTA_CALL_FAILED, later_us);
    CHECK_INT("open", QUOTA_BROKEN, take(&f, later_us));
    CHECK_INT("for", BREAKER_OPEN_US, f.retry_us);
    CHECK_INT("probe", QUOTA_GRANTED, take(&f, later_us + BREAKER_OPEN_US));
    tear_down(&f);
}

static void
test_lost_probe_is_given_up(void)
{
    int64_t later_us = NOW_US + BREAKER_OPEN_US;
    struct fixture f;

    set_up(&f, "cache.db", 100);
    open_breaker(&f);
    CHECK_INT("probe", QUOTA_GRANTED, take(&f, later_us));
    CHECK_INT("waits", QUOTA_BROKEN, take(&f, later_us + BREAKER_PROBE_US - 1));
    CHECK_INT("another", QUOTA_GRANTED, take(&f, later_us + BREAKER_PROBE_US));
    tear_down(&f);
}

static void
test_429_means_that_clerk_is_well(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    open_breaker(&f);
    clerk_quota_report(f.quota, QUOTA_FOR_KNOWN, QUOTA_CALL_LIMITED, US_PER_SECOND, NOW_US + 1);
    CHECK_INT("paused, not broken", QUOTA_PAUSED, take(&f, NOW_US + 2));
    CHECK_INT("granted", QUOTA_GRANTED, take(&f, NOW_US + 1 + US_PER_SECOND));
    tear_down(&f);
}

/* The key set costs no quota and waits for no 429, but asks the breaker. */
static void
test_uncounted_call_asks_the_breaker_only(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 1);
    CHECK_INT("all taken", 1, take_all(&f, true, 1000));
    CHECK_INT("uncounted", QUOTA_GRANTED,
              clerk_quota_take(f.quota, QUOTA_FOR_UNCOUNTED, 1000, &f.retry_us));
    clerk_quota_report(f.quota, QUOTA_FOR_KNOWN, QUOTA_CALL_LIMITED, 60 * US_PER_SECOND, 1000);
    CHECK_INT("paused", QUOTA_GRANTED,
              clerk_quota_take(f.quota, QUOTA_FOR_UNCOUNTED, 2000, &f.retry_us));
    for (int i = 0; i < BREAKER_FAILURES; i++)
        clerk_quota_report(f.quota, QUOTA_FOR_KNOWN, QUOTA_CALL_FAILED, 0, 3000);
    CHECK_INT("broken", QUOTA_BROKEN,
              clerk_quota_take(f.quota, QUOTA_FOR_UNCOUNTED, 4000, &f.retry_us));
    CHECK_INT("until it probes", BREAKER_OPEN_US - 1000, f.retry_us);
    tear_down(&f);
}

/* ---- work that can wait -------------------------------------------------------------------------
 */

static enum quota_answer
take_bulk(struct fixture *f, int64_t boot_us)
{
    f->retry_us = -1;
    return clerk_quota_take(f->quota, QUOTA_FOR_BULK, boot_us, &f->retry_us);
}

static void
test_bulk_work_gets_a_steady_fifth(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    CHECK_INT("one", QUOTA_GRANTED, take_bulk(&f, NOW_US));
    CHECK_INT("no burst", QUOTA_PAUSED, take_bulk(&f, NOW_US));
    CHECK_INT("one in half a second", US_PER_SECOND / 2, f.retry_us);
    CHECK_INT("then", QUOTA_GRANTED, take_bulk(&f, NOW_US + US_PER_SECOND / 2));
    CHECK_INT("it counts", 99, take_all(&f, true, NOW_US + US_PER_SECOND / 2));
    tear_down(&f);
}

static void
test_bulk_work_leaves_half_to_the_others(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    for (int i = 0; i < 49; i++)
        CHECK_INT("others", QUOTA_GRANTED, take(&f, NOW_US));
    CHECK_INT("51 are left", QUOTA_GRANTED, take_bulk(&f, NOW_US));
    CHECK_INT("50 are left", QUOTA_PAUSED, take_bulk(&f, NOW_US + US_PER_SECOND / 20));
    CHECK_TRUE("soon again", f.retry_us > 0 && f.retry_us <= US_PER_SECOND / 2);
    CHECK_INT("the others go on", QUOTA_GRANTED, take(&f, NOW_US));
    tear_down(&f);
}

static void
test_bulk_work_heeds_the_pause_of_the_others(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    clerk_quota_report(f.quota, QUOTA_FOR_NEW, QUOTA_CALL_LIMITED, 7 * US_PER_SECOND, NOW_US);
    CHECK_INT("paused", QUOTA_PAUSED, take_bulk(&f, NOW_US + 1));
    CHECK_INT("until then", 7 * US_PER_SECOND - 1, f.retry_us);
    tear_down(&f);
}

static void
test_429_of_bulk_work_stops_bulk_work_only(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    CHECK_INT("one", QUOTA_GRANTED, take_bulk(&f, NOW_US));
    clerk_quota_report(f.quota, QUOTA_FOR_BULK, QUOTA_CALL_LIMITED, 7 * US_PER_SECOND, NOW_US);
    CHECK_INT("paused", QUOTA_PAUSED, take_bulk(&f, NOW_US + 2 * US_PER_SECOND));
    CHECK_INT("until then", 5 * US_PER_SECOND, f.retry_us);
    CHECK_INT("the others are not", QUOTA_GRANTED, take(&f, NOW_US));
    CHECK_INT("then", QUOTA_GRANTED, take_bulk(&f, NOW_US + 7 * US_PER_SECOND));
    tear_down(&f);
}

/* A listing that fails says nothing about verification: it neither opens the breaker, nor closes
 * it, nor is it the probe. */
static void
test_bulk_work_heeds_the_breaker_and_leaves_it_alone(void)
{
    struct fixture f;
    int64_t at_us = NOW_US;

    set_up(&f, "cache.db", 100);
    for (int i = 0; i < 2 * BREAKER_FAILURES; i++)
        clerk_quota_report(f.quota, QUOTA_FOR_BULK, QUOTA_CALL_FAILED, 0, at_us);
    CHECK_INT("closed", QUOTA_GRANTED, take(&f, at_us));
    for (int i = 0; i < BREAKER_FAILURES; i++)
        report(&f, QUOTA_CALL_FAILED, at_us);
    CHECK_INT("open", QUOTA_BROKEN, take_bulk(&f, at_us + 1));
    CHECK_INT("how long", BREAKER_OPEN_US - 1, f.retry_us);
    clerk_quota_report(f.quota, QUOTA_FOR_BULK, QUOTA_CALL_ANSWERED, 0, at_us + 1);
    CHECK_INT("still", QUOTA_BROKEN, take(&f, at_us + 2));
    at_us += BREAKER_OPEN_US;
    CHECK_INT("it may try", QUOTA_GRANTED, take_bulk(&f, at_us));
    CHECK_INT("and is not the probe", QUOTA_GRANTED, take(&f, at_us));
    CHECK_INT("which this was", QUOTA_BROKEN, take(&f, at_us));
    tear_down(&f);
}

/* ---- little is left -----------------------------------------------------------------------------
 */

static void
test_little_left_is_one_line_a_minute_for_all_processes(void)
{
    struct fixture f;

    set_up(&f, "cache.db", 100);
    for (int i = 0; i < 90; i++)
        CHECK_INT("taken", QUOTA_GRANTED, take(&f, NOW_US));
    CHECK_INT("10 are left", 0, scratch_log_count(&f.scratch, "\n"));
    (void)take_all(&f, true, NOW_US);
    CHECK_INT("warned", 1, scratch_log_count(&f.scratch, "event=clerk_quota_low share=all left=9"));
    close_quota(&f); /* another process */
    open_quota(&f);
    (void)take_all(&f, true, NOW_US + QUOTA_WARN_US - 1);
    CHECK_INT("once", 1, scratch_log_count(&f.scratch, "\n"));
    (void)take_all(&f, true, NOW_US + 2 * QUOTA_WARN_US);
    CHECK_INT("a minute later", 2, scratch_log_count(&f.scratch, "share=all left=9 of=100"));
    CHECK_INT("lines", 2, scratch_log_count(&f.scratch, "\n"));
    tear_down(&f);
}

static void
test_little_left_for_new_credentials_is_said_as_well(void)
{
    struct fixture f;

    set_up(&f, "absent/cache.db", 100);
    (void)take_all(&f, false, NOW_US);
    (void)take_all(&f, false, NOW_US);
    CHECK_INT("warned", 1,
              scratch_log_count(&f.scratch, "event=clerk_quota_low share=new left=7 of=80"));
    CHECK_INT("the others have enough", 0, scratch_log_count(&f.scratch, "share=all"));
    tear_down(&f);
}

static bool
peek(const struct fixture *f, int64_t boot_us, struct clerk_quota_state *out)
{
    const struct host_cache_options options = { .path = f->path, .group = "" };

    return clerk_quota_peek(&options, &f->rate, boot_us, out);
}

static void
test_peek_tells_how_it_stands(void)
{
    struct clerk_quota_state state;
    struct fixture f;

    set_up(&f, "cache.db", 100);
    CHECK_FALSE("nobody called yet", peek(&f, NOW_US, &state));
    (void)take(&f, NOW_US);
    CHECK_TRUE("peek", peek(&f, NOW_US, &state));
    CHECK_INT("calls", 100, state.calls);
    CHECK_INT("left", 99, state.calls_left);
    CHECK_INT("new", 80, state.new_calls);
    CHECK_INT("left", 80, state.new_calls_left);
    CHECK_INT("never low", 0, state.low_us);
    CHECK_INT("pause", 0, state.pause_us);
    CHECK_FALSE("breaker", state.breaker_open);
    (void)take_all(&f, false, NOW_US);
    (void)take_all(&f, true, NOW_US);
    clerk_quota_report(f.quota, QUOTA_FOR_NEW, QUOTA_CALL_LIMITED, 7 * US_PER_SECOND, NOW_US);
    for (int i = 0; i < BREAKER_FAILURES; i++)
        report(&f, QUOTA_CALL_FAILED, NOW_US);
    CHECK_TRUE("peek", peek(&f, NOW_US + US_PER_SECOND, &state));
    CHECK_INT("left", 10, state.calls_left);
    CHECK_INT("left", 8, state.new_calls_left);
    CHECK_INT("low", NOW_US, state.low_us);
    CHECK_INT("low", NOW_US, state.new_low_us);
    CHECK_INT("pause", 6 * US_PER_SECOND, state.pause_us);
    CHECK_TRUE("breaker", state.breaker_open);
    tear_down(&f);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_rate_is_kept),
        CHECK_TEST(test_rate_is_kept_by_each_process_when_there_is_no_file),
        CHECK_TEST(test_quota_without_any_cache_counts_for_itself),
        CHECK_TEST(test_a_fifth_is_reserved_for_known_credentials),
        CHECK_TEST(test_rate_of_one_serves_both),
        CHECK_TEST(test_processes_share_the_rate),
        CHECK_TEST(test_retry_after_stops_everybody_until_then),
        CHECK_TEST(test_pause_is_never_shortened_and_never_absurd),
        CHECK_TEST(test_breaker_opens_after_five_failures_and_probes),
        CHECK_TEST(test_breaker_works_without_a_file),
        CHECK_TEST(test_answer_in_between_forgets_the_failures),
        CHECK_TEST(test_failed_probe_opens_it_again),
        CHECK_TEST(test_lost_probe_is_given_up),
        CHECK_TEST(test_429_means_that_clerk_is_well),
        CHECK_TEST(test_uncounted_call_asks_the_breaker_only),
        CHECK_TEST(test_bulk_work_gets_a_steady_fifth),
        CHECK_TEST(test_bulk_work_leaves_half_to_the_others),
        CHECK_TEST(test_bulk_work_heeds_the_pause_of_the_others),
        CHECK_TEST(test_429_of_bulk_work_stops_bulk_work_only),
        CHECK_TEST(test_bulk_work_heeds_the_breaker_and_leaves_it_alone),
        CHECK_TEST(test_little_left_is_one_line_a_minute_for_all_processes),
        CHECK_TEST(test_little_left_for_new_credentials_is_said_as_well),
        CHECK_TEST(test_peek_tells_how_it_stands),
    };

    return check_main("clerk_quota", tests, CHECK_COUNT(tests));
}
