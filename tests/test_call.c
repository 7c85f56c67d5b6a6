/* SPDX-License-Identifier: MIT */
/* What the store's answers become outside, and what a fingerprint is made of. */
#include "tracker/call.h"

#include "common/clock.h"

#include "tests/check.h"

#include <string.h>

#include "common/banned.h"

#define NOW_US INT64_C(1795241525000000)

static struct result result;
static struct refusal refusal;

/* The refusal of `result` as "status code retry_after". */
static const char *
outcome(void)
{
    static char text[128];
    struct call call = { .now_us = NOW_US };
    struct buf out;

    memset(&refusal, 0, sizeof(refusal));
    call_outcome(&call, &result, &refusal);
    buf_init(&out, text, sizeof(text));
    buf_add_format(&out, "%d %s %d", refusal.http_status, refusal.code != NULL ? refusal.code : "-",
                   (int)refusal.retry_after_s);
    return buf_text(&out);
}

static void
test_outcomes_have_their_statuses_and_codes(void)
{
    static const struct {
        enum outcome outcome;
        const char *want;
    } cases[] = {
        { OUTCOME_NONE, "503 store_unavailable 1" },
        { OUTCOME_DONE, "0 - 0" },
        { OUTCOME_REPLAYED, "0 - 0" },
        { OUTCOME_KEY_REUSED, "422 idempotency_key_reuse 0" },
        { OUTCOME_UNKNOWN_ACCOUNT, "404 unknown_account 0" },
        { OUTCOME_UNKNOWN_HOLD, "404 unknown_hold 0" },
        { OUTCOME_UNKNOWN_CHARGE, "404 unknown_charge 0" },
        { OUTCOME_UNKNOWN_BUDGET, "404 unknown_budget 0" },
        { OUTCOME_HOLD_SETTLED, "409 hold_already_settled 0" },
        { OUTCOME_HOLD_VOIDED, "409 hold_voided 0" },
        { OUTCOME_REFUND_EXCEEDS, "409 refund_exceeds_charge 0" },
        { OUTCOME_NO_PLAN, "403 no_plan 0" },
    };

    memset(&result, 0, sizeof(result));
    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        result.outcome = cases[i].outcome;
        CHECK_STRING("outcome", cases[i].want, outcome());
        CHECK_TRUE("no verdict", refusal.verdict == NULL);
    }
}

static void
test_a_hold_that_cannot_be_changed_says_why(void)
{
    static const struct {
        struct hold hold;
        const char *want;
    } cases[] = {
        { { .state = HOLD_SETTLED, .charge_id = 1 }, "A charge was posted" },
        { { .state = HOLD_EXPIRED, .charge_id = 1 }, "A charge was posted" },
        { { .state = HOLD_EXPIRED, .expiry_charge_id = 1 }, "has expired and was charged" },
        { { .state = HOLD_EXPIRED }, "has expired: nothing is set aside" },
    };

    memset(&result, 0, sizeof(result));
    result.outcome = OUTCOME_HOLD_SETTLED;
    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        result.hold = cases[i].hold;
        CHECK_STRING("code", "409 hold_already_settled 0", outcome());
        CHECK_TRUE(cases[i].want, strstr(refusal.message, cases[i].want) != NULL);
    }
}

static void
test_denials_have_the_statuses_of_a_verdict_but_never_401(void)
{
    static const struct {
        enum reason reason;
        const char *want;
    } cases[] = {
        { REASON_NONE, "403 forbidden 0" },
        { REASON_REVOKED, "403 invalid_key 0" },
        { REASON_FROZEN, "403 frozen 0" },
        { REASON_EXPIRED, "403 expired 0" },
        { REASON_RATE, "429 rate_limited 3" },
        { REASON_CONCURRENCY, "429 concurrency_exceeded 1" },
        { REASON_BUDGET, "429 budget_exceeded 61" },
    };

    memset(&result, 0, sizeof(result));
    result.outcome = OUTCOME_DENIED;
    result.verdict.period = PERIOD_DAY;
    result.verdict.resets_us = NOW_US + 60 * US_PER_SECOND + 1;
    result.verdict.retry_after_us = 2 * US_PER_SECOND + 1;
    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        result.verdict.reason = cases[i].reason;
        CHECK_STRING("denial", cases[i].want, outcome());
        CHECK_TRUE("numbers", refusal.verdict == &result.verdict);
    }
}

static void
test_retry_after_is_whole_seconds_and_none_without_an_end(void)
{
    memset(&result, 0, sizeof(result));
    result.outcome = OUTCOME_DENIED;
    result.verdict.reason = REASON_BUDGET;
    result.verdict.period = PERIOD_DAY;
    result.verdict.resets_us = NOW_US + 60 * US_PER_SECOND;
    CHECK_STRING("exact", "429 budget_exceeded 60", outcome());
    result.verdict.resets_us = NOW_US;
    CHECK_STRING("now", "429 budget_exceeded 1", outcome());
    result.verdict.resets_us = NOW_US - US_PER_SECOND;
    CHECK_STRING("past", "429 budget_exceeded 1", outcome());
    result.verdict.resets_us = PERIOD_NEVER_US;
    CHECK_STRING("never", "429 budget_exceeded 0", outcome());
}

static void
test_no_memory_is_503_with_retry_after(void)
{
    memset(&refusal, 0, sizeof(refusal));
    call_no_memory(&refusal);
    CHECK_INT("status", 503, refusal.http_status);
    CHECK_STRING("code", "store_unavailable", refusal.code);
    CHECK_INT("retry", 1, refusal.retry_after_s);
}

static void
test_idempotency_key_is_1_to_255_visible_ascii(void)
{
    char key[300];

    memset(key, '~', sizeof(key));
    key[255] = '\0';
    CHECK_TRUE("255", idempotency_key_valid(key));
    key[255] = '~';
    key[256] = '\0';
    CHECK_FALSE("256", idempotency_key_valid(key));
    CHECK_TRUE("1", idempotency_key_valid("!"));
    CHECK_FALSE("0", idempotency_key_valid(""));
    CHECK_FALSE("space", idempotency_key_valid("a b"));
    CHECK_FALSE("control", idempotency_key_valid("a\n"));
    CHECK_FALSE("delete", idempotency_key_valid("a\x7f"));
    CHECK_FALSE("not ASCII", idempotency_key_valid("\xc3\xa9"));
}

/* Two lists of members give different texts even where their bytes run together the same. */
static void
test_fingerprint_keeps_members_apart(void)
{
    struct fingerprint first, second;
    uint8_t one[SHA256_BYTES], two[SHA256_BYTES];

    fingerprint_init(&first, "x");
    fingerprint_add(&first, "a", "bc");
    fingerprint_add(&first, "d", "");
    fingerprint_init(&second, "x");
    fingerprint_add(&second, "a", "b");
    fingerprint_add(&second, "cd", "");
    fingerprint_take(&first, one);
    fingerprint_take(&second, two);
    CHECK_FALSE("moved byte", memcmp(one, two, sizeof(one)) == 0);
    fingerprint_init(&second, "x");
    fingerprint_add(&second, "a", "bc");
    fingerprint_add(&second, "d", "");
    fingerprint_take(&second, two);
    CHECK_TRUE("same", memcmp(one, two, sizeof(one)) == 0);
    fingerprint_init(&second, "y");
    fingerprint_add(&second, "a", "bc");
    fingerprint_add(&second, "d", "");
    fingerprint_take(&second, two);
    CHECK_FALSE("another call", memcmp(one, two, sizeof(one)) == 0);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_outcomes_have_their_statuses_and_codes),
        CHECK_TEST(test_a_hold_that_cannot_be_changed_says_why),
        CHECK_TEST(test_denials_have_the_statuses_of_a_verdict_but_never_401),
        CHECK_TEST(test_retry_after_is_whole_seconds_and_none_without_an_end),
        CHECK_TEST(test_no_memory_is_503_with_retry_after),
        CHECK_TEST(test_idempotency_key_is_1_to_255_visible_ascii),
        CHECK_TEST(test_fingerprint_keeps_members_apart),
    };

    return check_main("call", tests, CHECK_COUNT(tests));
}
