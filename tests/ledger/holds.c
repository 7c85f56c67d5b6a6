/* SPDX-License-Identifier: MIT */
/*
 * I4, I5, I6: settlement, expiry, extension and voiding of holds.
 */
#include "tests/ledger/fixture.h"

#include "common/banned.h"

static void
test_i4_a_hold_is_charged_once(void)
{
    struct budget_line *line;
    struct hold hold;

    fresh();
    line = line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 7, NOW, &effect, &err), &err);
    CHECK_STATUS(STATUS_CONFLICT, ledger_settle(&ledger, &hold, 7, NOW, &effect, &err), &err);
    CHECK_STRING("message", "the hold is settled already", err.message);
    CHECK_INT("spent", 7, line->spent_nanos);
    CHECK_INT("held", 0, line->held_nanos);
    CHECK_INT("live", 0, ledger.accounts[SUBJECT].live_holds);
    CHECK_INT("told", 7, hold.charged_nanos);
}

static void
test_i5_a_hold_has_one_end(void)
{
    const int64_t later = NOW + 5 * MINUTE;

    for (int first = HOLD_SETTLED; first <= HOLD_EXPIRED; first++) {
        struct hold hold;
        struct ledger before;

        fresh();
        line_add(SUBJECT, PERIOD_DAY, 100);
        hold = hold_placed(10);
        if (first == HOLD_SETTLED)
            CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 7, later, &effect, &err), &err);
        else if (first == HOLD_VOIDED)
            CHECK_STATUS(STATUS_OK, ledger_void(&ledger, &hold, later, &err), &err);
        else
            CHECK_STATUS(STATUS_OK, ledger_expire(&ledger, &hold, false, later, &err), &err);
        CHECK_INT("state", first, hold.state);
        CHECK_TRUE("changed", hold.changed);
        CHECK_INT("held", 0, ledger.lines[0].held_nanos);
        CHECK_INT("live", 0, ledger.accounts[SUBJECT].live_holds);
        before = ledger;
        CHECK_STATUS(STATUS_CONFLICT, ledger_expire(&ledger, &hold, false, later, &err), &err);
        CHECK_STATUS(first == HOLD_VOIDED ? STATUS_OK : STATUS_CONFLICT,
                     ledger_void(&ledger, &hold, later, &err), &err);
        if (first != HOLD_EXPIRED) {
            CHECK_STATUS(STATUS_CONFLICT, ledger_settle(&ledger, &hold, 1, later, &effect, &err),
                         &err);
            CHECK_STATUS(STATUS_CONFLICT,
                         ledger_extend(&ledger, &plan, &hold, 0, later, &verdict, &err), &err);
            CHECK_FALSE("denied", verdict.allow);
        }
        CHECK_INT("state", first, hold.state);
        CHECK_INT("rows", 0, memcmp(&before, &ledger, sizeof(ledger)));
    }
}

static void
test_i5_a_hold_expires_at_its_time_and_not_before(void)
{
    struct hold hold;
    struct ledger before;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(10);
    before = ledger;
    CHECK_STATUS(STATUS_CONFLICT, ledger_expire(&ledger, &hold, false, NOW + 5 * MINUTE - 1, &err),
                 &err);
    CHECK_STRING("message", "the hold's time is not over", err.message);
    CHECK_INT("rows", 0, memcmp(&before, &ledger, sizeof(ledger)));
    CHECK_STATUS(STATUS_OK, ledger_expire(&ledger, &hold, false, NOW + 5 * MINUTE, &err), &err);
    CHECK_INT("held", 0, ledger.lines[0].held_nanos);
    CHECK_INT("spent", 0, ledger.lines[0].spent_nanos);
    CHECK_INT("events", 1, ledger.event_count);
    CHECK_INT("event", EVENT_HOLD_EXPIRED, ledger.events[0].kind);
    CHECK_INT("of no line", -1, ledger.events[0].line);
}

static void
test_i5_a_post_after_expiry_is_recorded_once(void)
{
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_expire(&ledger, &hold, false, NOW + 5 * MINUTE, &err), &err);
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 120, NOW, &effect, &err), &err);
    hold.charge_id = 9; /* the store's part */
    CHECK_INT("state", HOLD_EXPIRED, hold.state);
    CHECK_INT("spent", 120, ledger.lines[0].spent_nanos);
    CHECK_TRUE("over", effect.over_budget);
    CHECK_INT("overrun", 20, effect.overrun_nanos);
    CHECK_STATUS(STATUS_CONFLICT, ledger_settle(&ledger, &hold, 120, NOW, &effect, &err), &err);
    CHECK_STRING("message", "the hold is expired and charged already", err.message);
    CHECK_STATUS(STATUS_CONFLICT, ledger_extend(&ledger, &plan, &hold, 0, NOW, &verdict, &err),
                 &err);
    CHECK_STRING("message", "the hold is expired and charged already", err.message);
    CHECK_INT("spent", 120, ledger.lines[0].spent_nanos);
}

static void
test_i5_an_expiry_that_charges_is_corrected_by_the_late_post(void)
{
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100)->alert_count = 1;
    ledger.lines[0].alerts[0] = 10;
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_expire(&ledger, &hold, true, NOW + 5 * MINUTE, &err), &err);
    CHECK_INT("spent", 10, ledger.lines[0].spent_nanos);
    CHECK_INT("held", 0, ledger.lines[0].held_nanos);
    CHECK_INT("charged", 10, hold.expiry_charged_nanos);
    CHECK_INT("events", 2, ledger.event_count);
    CHECK_INT("a charge like any other", EVENT_THRESHOLD, ledger.events[1].kind);
    CHECK_STATUS(STATUS_CONFLICT, ledger_extend(&ledger, &plan, &hold, 0, NOW, &verdict, &err),
                 &err);
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 3, NOW, &effect, &err), &err);
    CHECK_INT("spent", 3, ledger.lines[0].spent_nanos);
}

/* Each look at the store journals it first, so it would refuse them all. */
static void
test_i5_an_expiry_that_a_full_counter_cannot_be_charged_frees_its_room(void)
{
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, -1);
    line_add(ALL, PERIOD_DAY, -1);
    hold = hold_placed(10);
    ledger.lines[1].spent_nanos = MONEY_MAX_NANOS - 5;
    CHECK_STATUS(STATUS_OK, ledger_expire(&ledger, &hold, true, NOW + 5 * MINUTE, &err), &err);
    CHECK_INT("state", HOLD_EXPIRED, hold.state);
    CHECK_INT("charged", 0, hold.expiry_charged_nanos);
    for (int i = 0; i < 2; i++)
        CHECK_INT("held", 0, ledger.lines[i].held_nanos);
    CHECK_INT("spent", 0, ledger.lines[0].spent_nanos);
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 5, NOW, &effect, &err), &err);
}

/* An operator may have refunded all of it. */
static void
test_i5_an_expiry_that_charged_does_not_come_back(void)
{
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_expire(&ledger, &hold, true, NOW + 5 * MINUTE, &err), &err);
    hold.expiry_charge_id = 7;
    hold.expiry_charged_nanos = 0;
    CHECK_STATUS(STATUS_CONFLICT, ledger_extend(&ledger, &plan, &hold, 0, NOW, &verdict, &err),
                 &err);
    CHECK_INT("state", HOLD_EXPIRED, hold.state);
}

static void
test_a_post_of_a_hold_past_its_time_that_nobody_expired_settles_it(void)
{
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 3, NOW + 9 * MINUTE, &effect, &err),
                 &err);
    CHECK_INT("state", HOLD_SETTLED, hold.state);
    CHECK_INT("held", 0, ledger.lines[0].held_nanos);
}

/* The last of several lines cannot take it: none may change. */
static void
test_i6_all_lines_change_or_none(void)
{
    struct hold hold, before_hold;
    struct ledger before;

    fresh();
    for (int i = 0; i < ACCOUNTS; i++)
        line_add(i, PERIOD_DAY, -1);
    hold = hold_placed(10);
    ledger.lines[ALL].spent_nanos = MONEY_MAX_NANOS - 5;
    ledger.lines[ALL].held_nanos = MONEY_MAX_NANOS - 5;
    before = ledger;
    before_hold = hold;
    CHECK_STATUS(STATUS_OVERFLOW, ledger_charge(&ledger, 6, NOW, &effect, &err), &err);
    CHECK_STRING("message", "account all: a day counter would pass the largest amount",
                 err.message);
    CHECK_STATUS(STATUS_OVERFLOW, ledger_settle(&ledger, &hold, 6, NOW, &effect, &err), &err);
    CHECK_STATUS(STATUS_OVERFLOW, ledger_extend(&ledger, NULL, &hold, 6, NOW, &verdict, &err),
                 &err);
    CHECK_FALSE("denied", verdict.allow);
    CHECK_STATUS(STATUS_OVERFLOW,
                 ledger_extend(&ledger, NULL, &hold, MONEY_MAX_NANOS, NOW, &verdict, &err), &err);
    CHECK_STRING("message", "the hold would pass the largest amount", err.message);
    CHECK_FALSE("a hold the counters cannot take", admit(6));
    CHECK_INT("is a failure", REASON_NONE, verdict.reason);
    CHECK_INT("rows", 0, memcmp(&before, &ledger, sizeof(ledger)));
    ledger.lines[ALL].spent_nanos = ledger.lines[ALL].held_nanos = 5;
    before = ledger;
    CHECK_STATUS(STATUS_CORRUPT, ledger_void(&ledger, &hold, NOW, &err), &err);
    CHECK_STRING("message",
                 "account all: a day counter would become negative; run spendgate verify",
                 err.message);
    CHECK_STATUS(STATUS_CORRUPT, ledger_expire(&ledger, &hold, true, NOW + 5 * MINUTE, &err), &err);
    CHECK_STATUS(STATUS_CORRUPT, ledger_refund(&ledger, 6, 0, 6, &err), &err);
    CHECK_INT("rows", 0, memcmp(&before, &ledger, sizeof(ledger)));
    CHECK_INT("hold", 0, memcmp(&before_hold, &hold, sizeof(hold)));
}

static void
test_i6_a_hold_that_comes_back_changes_all_lines_or_none(void)
{
    struct hold hold, before_hold;
    struct ledger before;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, -1);
    line_add(ALL, PERIOD_DAY, -1);
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_expire(&ledger, &hold, false, NOW + 5 * MINUTE, &err), &err);
    ledger.lines[1].held_nanos = MONEY_MAX_NANOS;
    before = ledger;
    before_hold = hold;
    CHECK_STATUS(STATUS_OVERFLOW, ledger_extend(&ledger, NULL, &hold, 0, NOW, &verdict, &err),
                 &err);
    CHECK_FALSE("denied", verdict.allow);
    CHECK_INT("rows", 0, memcmp(&before, &ledger, sizeof(ledger)));
    CHECK_INT("hold", 0, memcmp(&before_hold, &hold, sizeof(hold)));
}

static void
test_i7_live_holds_that_do_not_add_up_are_corrupt(void)
{
    struct hold hold;

    fresh();
    hold = hold_placed(10);
    ledger.accounts[SUBJECT].live_holds = 0;
    CHECK_STATUS(STATUS_CORRUPT, ledger_void(&ledger, &hold, NOW, &err), &err);
    CHECK_STRING("message",
                 "account user_1: the number of live holds is wrong; run spendgate verify",
                 err.message);
    ledger.account_count = 0;
    ledger.subject = ledger.key = -1;
    CHECK_STATUS(STATUS_CORRUPT, ledger_void(&ledger, &hold, NOW, &err), &err);
    CHECK_STRING("message",
                 "account (none): the number of live holds is wrong; run spendgate verify",
                 err.message);
    CHECK_STATUS(STATUS_CORRUPT, ledger_extend(&ledger, NULL, &hold, 0, NOW, &verdict, &err), &err);
    CHECK_STRING("message", "the hold has no accounts; run spendgate verify", err.message);
    CHECK_INT("state", HOLD_HELD, hold.state);
}

static void
test_i7_refunds_of_a_charge_never_exceed_it(void)
{
    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    CHECK_STATUS(STATUS_OK, ledger_charge(&ledger, 50, NOW, &effect, &err), &err);
    CHECK_STATUS(STATUS_OK, ledger_refund(&ledger, 50, 0, 20, &err), &err);
    CHECK_STATUS(STATUS_CONFLICT, ledger_refund(&ledger, 50, 20, 31, &err), &err);
    CHECK_STRING("message", "refunds of a charge never exceed it", err.message);
    CHECK_INT("spent", 30, ledger.lines[0].spent_nanos);
    CHECK_STATUS(STATUS_OK, ledger_refund(&ledger, 50, 20, 30, &err), &err);
    CHECK_INT("spent", 0, ledger.lines[0].spent_nanos);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_i4_a_hold_is_charged_once),
    CHECK_TEST(test_i5_a_hold_has_one_end),
    CHECK_TEST(test_i5_a_hold_expires_at_its_time_and_not_before),
    CHECK_TEST(test_i5_a_post_after_expiry_is_recorded_once),
    CHECK_TEST(test_i5_an_expiry_that_charges_is_corrected_by_the_late_post),
    CHECK_TEST(test_i5_an_expiry_that_a_full_counter_cannot_be_charged_frees_its_room),
    CHECK_TEST(test_i5_an_expiry_that_charged_does_not_come_back),
    CHECK_TEST(test_a_post_of_a_hold_past_its_time_that_nobody_expired_settles_it),
    CHECK_TEST(test_i6_all_lines_change_or_none),
    CHECK_TEST(test_i6_a_hold_that_comes_back_changes_all_lines_or_none),
    CHECK_TEST(test_i7_live_holds_that_do_not_add_up_are_corrupt),
    CHECK_TEST(test_i7_refunds_of_a_charge_never_exceed_it),
};
const struct check_group ledger_holds_tests = { tests, CHECK_COUNT(tests) };
