/* SPDX-License-Identifier: MIT */
/*
 * Rates, and repeated calls of one client request.
 */
#include "tests/ledger/fixture.h"

#include "common/banned.h"

static void
test_a_repeated_call_counts_nothing_again_while_its_hold_lives(void)
{
    struct admission_event event = { .plan = &plan, .hold_nanos = 60, .hold_ttl_us = MINUTE };
    struct ledger before;
    struct hold hold;

    fresh();
    plan.concurrency = 1;
    line_add(SUBJECT, PERIOD_DAY, 100);
    line_add(ALL, PERIOD_DAY, 59)->enforce = ENFORCE_WARN;
    ledger.rate_count = 2;
    ledger.rates[0] =
        (struct rate_row){ .account = SUBJECT,
                           .rate = { .count = 1, .per_us = MINUTE, .burst = 1, .text = "1/1m" } };
    ledger.rates[1] = (struct rate_row){ .account = KEY, /* with room for more */
                                         .rate = { .count = 1, .per_us = MINUTE, .burst = 9 } };
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_TRUE("first", verdict.allow);
    hold = verdict.hold;
    hold.id = 5;
    before = ledger;
    event.repeated = true;
    event.earlier = &hold;
    ledger_admit(&ledger, &event, NOW + 1, &verdict);
    CHECK_TRUE("again", verdict.allow);
    CHECK_TRUE("hold", verdict.hold_placed);
    CHECK_INT("the same", 5, verdict.hold.id);
    CHECK_INT("remaining", 40, verdict.remaining_nanos);
    CHECK_STRING("warning", "all day", verdict.warn);
    CHECK_INT("rows", 0, memcmp(&before, &ledger, sizeof(ledger)));
    ledger.accounts[KEY].frozen = before.accounts[KEY].frozen = true;
    ledger_admit(&ledger, &event, NOW + 1, &verdict);
    check_refused(&before, REASON_FROZEN, KEY);
    ledger.accounts[KEY].frozen = before.accounts[KEY].frozen = false;
    ledger_admit(&ledger, &event, NOW + MINUTE, &verdict); /* past its time */
    CHECK_INT("like a first one", REASON_CONCURRENCY, verdict.reason);
    hold.state = HOLD_SETTLED;
    ledger_admit(&ledger, &event, NOW + 1, &verdict);
    check_refused(&before, REASON_RATE, SUBJECT);
}

static void
test_a_repeated_call_without_a_hold_is_not_rated_again(void)
{
    struct admission_event event = { .plan = &plan, .hold_ttl_us = MINUTE };
    struct ledger before;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    ledger.rate_count = 1;
    ledger.rates[0] =
        (struct rate_row){ .account = SUBJECT,
                           .rate = { .count = 1, .per_us = MINUTE, .burst = 1, .text = "1/1m" } };
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_TRUE("first", verdict.allow);
    ledger.rates[0].changed = false;
    event.repeated = true;
    before = ledger;
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_TRUE("again", verdict.allow);
    CHECK_FALSE("no hold", verdict.hold_placed);
    CHECK_INT("rows", 0, memcmp(&before, &ledger, sizeof(ledger)));
    event.hold_nanos = 10; /* settings that changed in between */
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_TRUE("due by now", verdict.hold_placed);
    CHECK_INT("held", 10, ledger.lines[0].held_nanos);
    CHECK_FALSE("not rated", ledger.rates[0].changed);
    ledger.lines[0].spent_nanos = 91;
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_INT("budgets are asked", REASON_BUDGET, verdict.reason);
    event.repeated = false;
    ledger.lines[0].spent_nanos = 0;
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_INT("another request is rated", REASON_RATE, verdict.reason);
}

static void
test_rate_allows_the_burst_and_then_one_per_interval(void)
{
    const struct rate rate = { .count = 60, .per_us = MINUTE, .burst = 3 };
    int64_t tat_ns = 0, retry_us = -1, at_us = NOW;

    for (int i = 0; i < 3; i++)
        CHECK_TRUE("burst", rate_take(&rate, &tat_ns, at_us, &retry_us));
    CHECK_INT("no wait", 0, retry_us);
    CHECK_FALSE("too fast", rate_take(&rate, &tat_ns, at_us, &retry_us));
    CHECK_INT("retry", US_PER_SECOND, retry_us);
    CHECK_INT("left alone", (NOW + 3 * US_PER_SECOND) * 1000, tat_ns);
    CHECK_FALSE("a microsecond early",
                rate_take(&rate, &tat_ns, at_us + US_PER_SECOND - 1, &retry_us));
    CHECK_INT("retry", 1, retry_us);
    CHECK_TRUE("asked", rate_would_allow(&rate, tat_ns, at_us + US_PER_SECOND, &retry_us));
    CHECK_TRUE("in time", rate_take(&rate, &tat_ns, at_us + US_PER_SECOND, &retry_us));
    CHECK_FALSE("asked", rate_would_allow(&rate, tat_ns, at_us + US_PER_SECOND, &retry_us));
    at_us += 100 * US_PER_SECOND; /* the bucket is full again, not fuller */
    for (int i = 0; i < 3; i++)
        CHECK_TRUE("burst", rate_take(&rate, &tat_ns, at_us, &retry_us));
    CHECK_FALSE("too fast", rate_take(&rate, &tat_ns, at_us, &retry_us));
}

static void
test_rate_tells_what_is_left(void)
{
    const struct rate rate = { .count = 60, .per_us = MINUTE, .burst = 3 };
    const struct rate none = { .burst = 7 };
    int64_t tat_ns = 0, retry_us;

    CHECK_INT("all", 3, rate_left(&rate, tat_ns, NOW));
    for (int left = 2; left >= 0; left--) {
        CHECK_TRUE("take", rate_take(&rate, &tat_ns, NOW, &retry_us));
        CHECK_INT("left", left, rate_left(&rate, tat_ns, NOW));
    }
    CHECK_INT("not yet", 0, rate_left(&rate, tat_ns, NOW + US_PER_SECOND - 1));
    CHECK_INT("one more", 1, rate_left(&rate, tat_ns, NOW + US_PER_SECOND));
    CHECK_INT("all again", 3, rate_left(&rate, tat_ns, NOW + MINUTE));
    CHECK_INT("an earlier clock", 0, rate_left(&rate, tat_ns, NOW - US_PER_SECOND));
    CHECK_INT("a clock that was wrong", 1, rate_left(&rate, INT64_MAX, NOW));
    CHECK_INT("no limit", 7, rate_left(&none, tat_ns, NOW));
}

static void
test_rate_is_exact_in_nanoseconds(void)
{
    const struct rate rate = { .count = 3, .per_us = US_PER_SECOND, .burst = 3 };
    int64_t tat_ns = 0, retry_us, at_us, taken = 0;

    for (at_us = NOW; taken < 3; taken++)
        CHECK_TRUE("burst", rate_take(&rate, &tat_ns, at_us, &retry_us));
    CHECK_FALSE("too fast", rate_take(&rate, &tat_ns, at_us, &retry_us));
    CHECK_INT("rounded up", 333334, retry_us);
    for (taken = 0; at_us < NOW + 3 * US_PER_SECOND; at_us++)
        taken += rate_take(&rate, &tat_ns, at_us, &retry_us);
    CHECK_INT("the ninth is due at 2.999999997 s", 8, taken);
    CHECK_TRUE("the ninth", rate_take(&rate, &tat_ns, at_us, &retry_us));
}

static void
test_rate_does_not_loosen_when_requests_overtake_each_other(void)
{
    const struct rate rate = { .count = 60, .per_us = MINUTE, .burst = 2 };
    int64_t tat_ns = 0, retry_us;

    CHECK_TRUE("first", rate_take(&rate, &tat_ns, NOW, &retry_us));
    CHECK_TRUE("second", rate_take(&rate, &tat_ns, NOW, &retry_us));
    CHECK_FALSE("an older reading", rate_take(&rate, &tat_ns, NOW - 1, &retry_us));
    CHECK_FALSE("the oldest", rate_take(&rate, &tat_ns, NOW - RATE_CLOCK_SLACK_US, &retry_us));
    CHECK_INT("retry", US_PER_SECOND + RATE_CLOCK_SLACK_US, retry_us);
    CHECK_INT("left alone", (NOW + 2 * US_PER_SECOND) * 1000, tat_ns);
}

static void
test_rate_forgets_a_clock_that_was_wrong(void)
{
    const struct rate rate = { .count = 60, .per_us = MINUTE, .burst = 3 };
    int64_t tat_ns = INT64_MAX, retry_us;

    CHECK_TRUE("cut", rate_take(&rate, &tat_ns, NOW, &retry_us));
    CHECK_INT("a full burst", (NOW + 3 * US_PER_SECOND) * 1000, tat_ns);
    CHECK_FALSE("too fast", rate_take(&rate, &tat_ns, NOW, &retry_us));
    tat_ns = (NOW + 3 * US_PER_SECOND + RATE_CLOCK_SLACK_US) * 1000;
    CHECK_FALSE("the slack", rate_take(&rate, &tat_ns, NOW, &retry_us));
    tat_ns++;
    CHECK_TRUE("past the slack", rate_take(&rate, &tat_ns, NOW, &retry_us));
}

static void
test_rate_stays_in_range_at_the_extremes(void)
{
    const struct rate slow = { .count = 1, .per_us = 31 * DAY_US, .burst = 1000000 };
    const struct rate fast = { .count = 1000000, .per_us = 1000, .burst = 1000000 };
    const struct rate none = { 0 };
    int64_t tat_ns = 0, retry_us, taken = 0;

    while (rate_take(&slow, &tat_ns, NOW, &retry_us))
        taken++;
    CHECK_INT("a hundred years of a burst", 36525 / 31, taken);
    tat_ns = 0;
    for (int i = 0; i < 1000000; i++)
        CHECK_TRUE("fast", rate_take(&fast, &tat_ns, NOW, &retry_us));
    CHECK_FALSE("too fast", rate_take(&fast, &tat_ns, NOW, &retry_us));
    CHECK_INT("retry", 1, retry_us);
    tat_ns = 5;
    CHECK_TRUE("no limit", rate_take(&none, &tat_ns, NOW, &retry_us));
    CHECK_INT("left alone", 5, tat_ns);
    tat_ns = 0;
    CHECK_TRUE("a clock beyond all", rate_take(&slow, &tat_ns, INT64_MAX, &retry_us));
    CHECK_TRUE("in range", tat_ns > 0);
}

static void
test_all_rates_have_to_allow_before_one_is_taken(void)
{
    struct ledger before;

    fresh();
    ledger.rate_count = 4;
    for (int i = 0; i < 4; i++) {
        ledger.rates[i].account = i == 0 ? KEY : i == 1 ? SUBJECT : ORGANIZATION;
        ledger.rates[i].rate = (struct rate){ .count = 10, .per_us = MINUTE, .burst = 10 };
    }
    ledger.rates[3].rate.count = 0;
    CHECK_TRUE("allow", admit(0));
    for (int i = 0; i < 4; i++)
        CHECK_INT("taken", i < 3, ledger.rates[i].changed);
    ledger.rates[1].tat_ns = (NOW + MINUTE + 1) * 1000;
    ledger.rates[2].tat_ns = (NOW + MINUTE + 2) * 1000;
    before = ledger;
    CHECK_FALSE("two refuse", admit(0));
    check_refused(&before, REASON_RATE, ORGANIZATION);
    CHECK_INT("the longer wait", 6 * US_PER_SECOND + 2, verdict.retry_after_us);
    ledger.rates[1].tat_ns = before.rates[1].tat_ns = (NOW + MINUTE + 3) * 1000;
    CHECK_FALSE("two refuse", admit(0));
    check_refused(&before, REASON_RATE, SUBJECT);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_repeated_call_counts_nothing_again_while_its_hold_lives),
    CHECK_TEST(test_a_repeated_call_without_a_hold_is_not_rated_again),
    CHECK_TEST(test_rate_allows_the_burst_and_then_one_per_interval),
    CHECK_TEST(test_rate_tells_what_is_left),
    CHECK_TEST(test_rate_is_exact_in_nanoseconds),
    CHECK_TEST(test_rate_does_not_loosen_when_requests_overtake_each_other),
    CHECK_TEST(test_rate_forgets_a_clock_that_was_wrong),
    CHECK_TEST(test_rate_stays_in_range_at_the_extremes),
    CHECK_TEST(test_all_rates_have_to_allow_before_one_is_taken),
};
const struct check_group ledger_rates_tests = { tests, CHECK_COUNT(tests) };
