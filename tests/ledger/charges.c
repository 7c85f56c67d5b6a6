/* SPDX-License-Identifier: MIT */
/*
 * What a charge does to its lines, and which events it causes.
 */
#include "tests/ledger/fixture.h"

#include "common/banned.h"

static void
test_a_charge_larger_than_hold_and_budget_is_recorded_in_full(void)
{
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    line_add(ALL, PERIOD_DAY, 90);
    line_add(ALL, PERIOD_YEAR, 240);
    line_add(ALL, PERIOD_HOUR, 10)->enforce = ENFORCE_WARN;
    line_add(ALL, PERIOD_MONTH, -1);
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 250, NOW, &effect, &err), &err);
    for (size_t i = 0; i < ledger.line_count; i++) {
        CHECK_INT("spent", 250, ledger.lines[i].spent_nanos);
        CHECK_INT("held", 0, ledger.lines[i].held_nanos);
    }
    CHECK_TRUE("over", effect.over_budget);
    CHECK_INT("by the tightest hard one", 160, effect.overrun_nanos);
    CHECK_FALSE("the gate closes", admit(0));
}

static void
test_a_charge_above_its_hold_is_told_also_within_the_budget(void)
{
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 11, NOW, &effect, &err), &err);
    CHECK_TRUE("over the hold", effect.over_hold);
    CHECK_FALSE("over a budget", effect.over_budget);
    CHECK_INT("overrun", 0, effect.overrun_nanos);
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 10, NOW, &effect, &err), &err);
    CHECK_FALSE("as held", effect.over_hold);
    plan.concurrency = 1;
    hold = hold_placed(0); /* a slot, and nothing set aside */
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 10, NOW, &effect, &err), &err);
    CHECK_FALSE("nothing was held", effect.over_hold);
}

static void
test_a_frozen_account_is_still_charged(void)
{
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(10);
    ledger.accounts[SUBJECT].frozen = true;
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 10, NOW, &effect, &err), &err);
    CHECK_STATUS(STATUS_OK, ledger_charge(&ledger, 5, NOW, &effect, &err), &err);
    CHECK_INT("spent", 15, ledger.lines[0].spent_nanos);
}

static void
check_event(size_t index, enum event_kind kind, int line, int percent)
{
    CHECK_TRUE("there", index < ledger.event_count);
    CHECK_INT("kind", kind, ledger.events[index].kind);
    CHECK_INT("line", line, ledger.events[index].line);
    CHECK_INT("percent", percent, ledger.events[index].percent);
}

static void
test_thresholds_and_overruns_are_told_once(void)
{
    struct budget_line *line;

    fresh();
    line = line_add(SUBJECT, PERIOD_DAY, 200);
    line->alert_count = 3;
    memcpy(line->alerts, ((int[]){ 50, 80, 120 }), 3 * sizeof(int));
    charge(99);
    CHECK_INT("one nano below", 0, ledger.event_count);
    charge(1);
    CHECK_INT("events", 1, ledger.event_count);
    check_event(0, EVENT_THRESHOLD, 0, 50);
    CHECK_TRUE("changed", line->changed);
    CHECK_STATUS(STATUS_OK, ledger_refund(&ledger, 100, 0, 50, &err), &err);
    charge(50);
    CHECK_INT("not again", 0, ledger.event_count);
    charge(100);
    CHECK_INT("at the limit", 1, ledger.event_count);
    check_event(0, EVENT_THRESHOLD, 0, 80);
    charge(1);
    CHECK_INT("over", 1, ledger.event_count);
    check_event(0, EVENT_OVERRUN, 0, 0);
    charge(100);
    CHECK_INT("over, told", 1, ledger.event_count);
    check_event(0, EVENT_THRESHOLD, 0, 120);
    CHECK_INT("noted", LEDGER_OVERRUN_TOLD + 120, line->alerted);
    charge(100);
    CHECK_INT("all told", 0, ledger.event_count);
    line->alerted = 0; /* another period's row */
    charge(0);
    CHECK_INT("several at once", 4, ledger.event_count);
    CHECK_TRUE("a charge of nothing still notes it", line->changed);
    check_event(3, EVENT_OVERRUN, 0, 0);
}

static void
test_thresholds_are_of_the_effective_limit(void)
{
    struct budget_line *line;

    fresh();
    line = line_add(SUBJECT, PERIOD_DAY, 100);
    line->alert_count = 1;
    line->alerts[0] = 100;
    line->credit_nanos = 100;
    line->carry_nanos = 1;
    charge(198);
    CHECK_INT("below", 0, ledger.event_count);
    charge(1);
    CHECK_INT("reached", 1, ledger.event_count);
}

static void
test_alerts_are_told_for_hard_and_warning_budgets_only(void)
{
    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100)->enforce = ENFORCE_OFF;
    line_add(SUBJECT, PERIOD_HOUR, 100)->enforce = ENFORCE_WARN;
    line_add(SUBJECT, PERIOD_WEEK, -1);
    line_add(SUBJECT, PERIOD_NONE, 0);
    for (size_t i = 0; i < ledger.line_count; i++) {
        ledger.lines[i].alert_count = 1;
        ledger.lines[i].alerts[0] = 100;
    }
    charge(0);
    CHECK_INT("nothing spent", 0, ledger.event_count);
    charge(101);
    CHECK_INT("events", 3, ledger.event_count);
    check_event(0, EVENT_THRESHOLD, 1, 100);
    check_event(1, EVENT_THRESHOLD, 3, 100);
    check_event(2, EVENT_OVERRUN, 3, 0);
}

static void
test_the_events_of_one_change_always_fit(void)
{
    struct hold hold;

    fresh();
    hold = hold_placed(MONEY_MAX_NANOS);
    for (int i = 0; i < LEDGER_LINES_MAX; i++) {
        struct budget_line *line = line_add(SUBJECT, PERIOD_DAY, 1);

        line->held_nanos = MONEY_MAX_NANOS;
        line->alert_count = BUDGET_ALERTS_MAX;
        for (int k = 0; k < BUDGET_ALERTS_MAX; k++)
            line->alerts[k] = 10 + k;
    }
    CHECK_STATUS(STATUS_OK, ledger_expire(&ledger, &hold, true, NOW + 5 * MINUTE, &err), &err);
    CHECK_INT("events", LEDGER_EVENTS_MAX, ledger.event_count);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_charge_larger_than_hold_and_budget_is_recorded_in_full),
    CHECK_TEST(test_a_charge_above_its_hold_is_told_also_within_the_budget),
    CHECK_TEST(test_a_frozen_account_is_still_charged),
    CHECK_TEST(test_thresholds_and_overruns_are_told_once),
    CHECK_TEST(test_thresholds_are_of_the_effective_limit),
    CHECK_TEST(test_alerts_are_told_for_hard_and_warning_budgets_only),
    CHECK_TEST(test_the_events_of_one_change_always_fit),
};
const struct check_group ledger_charges_tests = { tests, CHECK_COUNT(tests) };
