/* SPDX-License-Identifier: MIT */
/*
 * I1, I2, I7, I8: no hard cap is passed, and the counters are the sums of what happened.
 */
#include "tests/ledger/fixture.h"

#include "common/banned.h"

static void
test_i1_admit_allows_up_to_the_limit_exactly(void)
{
    struct budget_line *line;

    fresh();
    line = line_add(SUBJECT, PERIOD_MONTH, 100);
    line->spent_nanos = 60;
    line->held_nanos = 30;
    CHECK_TRUE("allow", admit(10));
    CHECK_INT("held", 40, line->held_nanos);
    CHECK_INT("spent", 60, line->spent_nanos);
    CHECK_TRUE("changed", line->changed);
    CHECK_TRUE("has budget", verdict.has_budget);
    CHECK_INT("remaining", 0, verdict.remaining_nanos);
    CHECK_INT("limit", 100, verdict.limit_nanos);
    CHECK_INT("told spent", 60, verdict.spent_nanos);
    CHECK_INT("told held", 40, verdict.held_nanos);
    CHECK_INT("period", PERIOD_MONTH, verdict.period);
    CHECK_INT("resets", NOW + MINUTE, verdict.resets_us);
}

static void
test_i1_admit_denies_one_nano_over_the_limit(void)
{
    struct budget_line *line;
    struct ledger before;

    fresh();
    line = line_add(SUBJECT, PERIOD_MONTH, 100);
    line->spent_nanos = 60;
    line->held_nanos = 30;
    before = ledger;
    CHECK_FALSE("allow", admit(11));
    check_refused(&before, REASON_BUDGET, SUBJECT);
    CHECK_INT("period", PERIOD_MONTH, verdict.period);
    CHECK_INT("limit", 100, verdict.limit_nanos);
    CHECK_INT("spent", 60, verdict.spent_nanos);
    CHECK_INT("held", 30, verdict.held_nanos);
    CHECK_INT("remaining", 10, verdict.remaining_nanos);
    CHECK_INT("resets", NOW + MINUTE, verdict.resets_us);
}

static void
test_i1_admit_without_a_hold_needs_something_left(void)
{
    struct budget_line *line;
    struct ledger before;

    fresh();
    line = line_add(SUBJECT, PERIOD_MONTH, 100);
    line->spent_nanos = 99;
    CHECK_TRUE("one left", admit(0));
    CHECK_FALSE("no hold", verdict.hold_placed);
    CHECK_FALSE("nothing to write", line->changed);
    line->held_nanos = 1;
    before = ledger;
    CHECK_FALSE("nothing left", admit(0));
    check_refused(&before, REASON_BUDGET, SUBJECT);
    line->spent_nanos = 500;
    before = ledger;
    CHECK_FALSE("over", admit(0));
    check_refused(&before, REASON_BUDGET, SUBJECT);
    CHECK_INT("remaining", 0, verdict.remaining_nanos);
}

static void
test_i1_a_hold_of_zero_holds_nothing(void)
{
    struct admission_event event = { .plan = &plan, .hold_due = true, .hold_ttl_us = MINUTE };
    struct budget_line *line;
    struct ledger before;

    fresh();
    line = line_add(SUBJECT, PERIOD_MONTH, 100);
    line->spent_nanos = 99;
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_TRUE("one left", verdict.allow);
    CHECK_TRUE("placed", verdict.hold_placed);
    CHECK_INT("live", 1, ledger.accounts[SUBJECT].live_holds);
    CHECK_FALSE("no amount, no write", line->changed);
    line->spent_nanos = 100;
    before = ledger;
    ledger_admit(&ledger, &event, NOW, &verdict);
    check_refused(&before, REASON_BUDGET, SUBJECT);
}

static void
test_i1_every_hard_budget_of_the_chain_is_asked(void)
{
    for (int account = 0; account < ACCOUNTS; account++) {
        struct ledger before;

        fresh();
        for (int i = 0; i < ACCOUNTS; i++)
            line_add(i, PERIOD_DAY, i == account ? 9 : 1000);
        before = ledger;
        CHECK_FALSE("allow", admit(10));
        check_refused(&before, REASON_BUDGET, account);
        ledger.lines[account].base_limit_nanos = 10;
        CHECK_TRUE("allow", admit(10));
        for (int i = 0; i < ACCOUNTS; i++)
            CHECK_INT("held", 10, ledger.lines[i].held_nanos);
    }
}

static void
test_i1_a_limit_of_zero_refuses_everything(void)
{
    struct ledger before;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 0);
    before = ledger;
    CHECK_FALSE("hold", admit(1));
    check_refused(&before, REASON_BUDGET, SUBJECT);
    CHECK_FALSE("no hold", admit(0));
    check_refused(&before, REASON_BUDGET, SUBJECT);
}

static void
test_i1_credits_raise_and_a_carry_lowers_the_limit(void)
{
    struct budget_line *line;

    fresh();
    line = line_add(SUBJECT, PERIOD_DAY, 100);
    line->credit_nanos = 50;
    line->carry_nanos = 30;
    CHECK_INT("limit", 120, ledger_limit(line));
    CHECK_FALSE("over", admit(121));
    CHECK_TRUE("fits", admit(120));
    CHECK_INT("remaining", 0, ledger_remaining(line));
    line->carry_nanos = 151;
    CHECK_INT("never negative", 0, ledger_limit(line));
    line->base_limit_nanos = line->credit_nanos = MONEY_MAX_NANOS;
    line->carry_nanos = 0;
    CHECK_INT("never above the largest amount", MONEY_MAX_NANOS, ledger_limit(line));
}

static void
test_i1_a_raise_must_fit_and_a_heartbeat_always_does(void)
{
    struct budget_line *line;
    struct hold hold;
    struct ledger before;

    fresh();
    line = line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(60);
    before = ledger;
    CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, &plan, &hold, 41, NOW + 1, &verdict, &err),
                 &err);
    check_refused(&before, REASON_BUDGET, SUBJECT);
    CHECK_INT("amount", 60, hold.amount_nanos);
    CHECK_INT("expires", NOW + 5 * MINUTE, hold.expires_us);
    CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, &plan, &hold, 40, NOW + 2, &verdict, &err),
                 &err);
    CHECK_TRUE("allow", verdict.allow);
    CHECK_INT("held", 100, line->held_nanos);
    CHECK_INT("amount", 100, hold.amount_nanos);
    CHECK_INT("told amount", 100, verdict.hold.amount_nanos);
    CHECK_TRUE("told", verdict.hold_placed);
    CHECK_INT("remaining", 0, verdict.remaining_nanos);
    CHECK_INT("expires", NOW + 2 + 5 * MINUTE, hold.expires_us);
    CHECK_INT("placement stays", NOW, hold.placed_us);
    CHECK_INT("live", 1, ledger.accounts[SUBJECT].live_holds);
    line->base_limit_nanos = 1;
    CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, &plan, &hold, 0, NOW + 3, &verdict, &err), &err);
    CHECK_TRUE("heartbeat", verdict.allow);
    CHECK_INT("expires", NOW + 3 + 5 * MINUTE, hold.expires_us);
    CHECK_INT("held", 100, line->held_nanos);
}

static void
test_i1_an_expired_hold_comes_back_only_as_an_admission(void)
{
    const int64_t later = NOW + 6 * MINUTE;
    struct budget_line *line;
    struct hold hold;
    struct ledger before;

    fresh();
    plan.concurrency = 1;
    line = line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(60);
    CHECK_STATUS(STATUS_CONFLICT, ledger_extend(&ledger, &plan, &hold, 0, later, &verdict, &err),
                 &err);
    CHECK_STRING("message", "the hold is past its time and not expired yet", err.message);
    CHECK_INT("acts on its placement", NOW, hold_extend_at(&hold, later));
    CHECK_STATUS(STATUS_OK, ledger_expire(&ledger, &hold, false, later, &err), &err);
    CHECK_INT("acts on now", later, hold_extend_at(&hold, later));
    line->spent_nanos = 31;
    before = ledger;
    CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, &plan, &hold, 10, later, &verdict, &err), &err);
    check_refused(&before, REASON_BUDGET, SUBJECT);
    CHECK_INT("state", HOLD_EXPIRED, hold.state);
    ledger.accounts[SUBJECT].live_holds = 1;
    before = ledger;
    CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, &plan, &hold, 0, later, &verdict, &err), &err);
    check_refused(&before, REASON_CONCURRENCY, SUBJECT);
    ledger.accounts[SUBJECT].live_holds = 0;
    ledger.accounts[ALL].expires_us = later;
    before = ledger;
    CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, &plan, &hold, 0, later, &verdict, &err), &err);
    check_refused(&before, REASON_EXPIRED, ALL);
    ledger.accounts[ALL].expires_us = 0;
    CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, &plan, &hold, 9, later, &verdict, &err), &err);
    CHECK_TRUE("allow", verdict.allow);
    CHECK_INT("state", HOLD_HELD, hold.state);
    CHECK_INT("amount", 69, hold.amount_nanos);
    CHECK_INT("held", 69, line->held_nanos);
    CHECK_INT("placement", later, hold.placed_us);
    CHECK_INT("expires", later + 5 * MINUTE, hold.expires_us);
    CHECK_INT("live", 1, ledger.accounts[SUBJECT].live_holds);
}

static uint64_t random_state;

static int64_t
pick(int64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int64_t)((random_state >> 33) % (uint64_t)below);
}

static void
test_i2_i7_i8_spent_never_passes_the_limit_when_costs_fit_their_holds(void)
{
    struct hold holds[16];
    int64_t spent = 0, held;
    size_t live = 0;

    fresh();
    random_state = 42;
    for (int i = 0; i < ACCOUNTS; i++)
        line_add(i, PERIOD_NONE, 5000 + 100 * i);
    for (int step = 0; step < 20000; step++) {
        size_t at = live > 0 ? (size_t)pick((int64_t)live) : 0;
        int64_t cost;

        if (live < CHECK_COUNT(holds) && pick(2) == 0) {
            if (admit(1 + pick(40)))
                holds[live++] = verdict.hold;
            continue;
        }
        if (live == 0)
            continue;
        if (pick(3) == 0) {
            CHECK_STATUS(STATUS_OK, ledger_void(&ledger, &holds[at], NOW, &err), &err);
        } else {
            cost = pick(holds[at].amount_nanos + 1);
            spent += cost;
            CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &holds[at], cost, NOW, &effect, &err),
                         &err);
            CHECK_FALSE("over", effect.over_budget);
            if (pick(2) == 0 && cost > 0) {
                CHECK_STATUS(STATUS_OK, ledger_refund(&ledger, cost, 0, cost, &err), &err);
                spent -= cost;
            }
        }
        holds[at] = holds[--live];
        held = 0;
        for (size_t i = 0; i < live; i++)
            held += holds[i].amount_nanos;
        for (int i = 0; i < ACCOUNTS; i++) {
            CHECK_INT("spent", spent, ledger.lines[i].spent_nanos);
            CHECK_INT("held", held, ledger.lines[i].held_nanos);
        }
        CHECK_TRUE("cap", spent + held <= 5000);
        CHECK_INT("live", live, ledger.accounts[SUBJECT].live_holds);
    }
    CHECK_TRUE("the cap was reached", spent > 4900);
}

static void
test_i8_no_negative_amount_gets_in(void)
{
    struct ledger before;
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(10);
    before = ledger;
    CHECK_STATUS(STATUS_INVALID, ledger_charge(&ledger, -1, NOW, &effect, &err), &err);
    CHECK_STRING("message", "an amount is outside 0 to one billion dollars", err.message);
    CHECK_STATUS(STATUS_INVALID, ledger_charge(&ledger, MONEY_MAX_NANOS + 1, NOW, &effect, &err),
                 &err);
    CHECK_STATUS(STATUS_INVALID, ledger_settle(&ledger, &hold, -1, NOW, &effect, &err), &err);
    CHECK_STATUS(STATUS_INVALID, ledger_extend(&ledger, &plan, &hold, -1, NOW, &verdict, &err),
                 &err);
    CHECK_STATUS(STATUS_INVALID, ledger_refund(&ledger, 10, 0, -1, &err), &err);
    CHECK_FALSE("hold below 0", admit(-1));
    CHECK_INT("a failure", REASON_NONE, verdict.reason);
    CHECK_FALSE("hold above the largest", admit(MONEY_MAX_NANOS + 1));
    CHECK_INT("rows", 0, memcmp(&before, &ledger, sizeof(ledger)));
}

static const struct check_test tests[] = {
    CHECK_TEST(test_i1_admit_allows_up_to_the_limit_exactly),
    CHECK_TEST(test_i1_admit_denies_one_nano_over_the_limit),
    CHECK_TEST(test_i1_admit_without_a_hold_needs_something_left),
    CHECK_TEST(test_i1_a_hold_of_zero_holds_nothing),
    CHECK_TEST(test_i1_every_hard_budget_of_the_chain_is_asked),
    CHECK_TEST(test_i1_a_limit_of_zero_refuses_everything),
    CHECK_TEST(test_i1_credits_raise_and_a_carry_lowers_the_limit),
    CHECK_TEST(test_i1_a_raise_must_fit_and_a_heartbeat_always_does),
    CHECK_TEST(test_i1_an_expired_hold_comes_back_only_as_an_admission),
    CHECK_TEST(test_i2_i7_i8_spent_never_passes_the_limit_when_costs_fit_their_holds),
    CHECK_TEST(test_i8_no_negative_amount_gets_in),
};
const struct check_group ledger_caps_tests = { tests, CHECK_COUNT(tests) };
