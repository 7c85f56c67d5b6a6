/* SPDX-License-Identifier: MIT */
/*
 * Budget lines from plans and by hand, and overruns that are carried.
 */
#include "tests/ledger/fixture.h"

#include "common/banned.h"

static void
plan_budget_add(enum budget_per per, enum period_kind kind, int64_t limit_nanos)
{
    plan.budgets[plan.budget_count++] = (struct plan_budget){
        .per = per,
        .spec = { .kind = kind, .timezone = "UTC", .anchor_day = 1, .week_start = 1 },
        .limit_nanos = limit_nanos,
    };
}

static void
test_bind_makes_the_lines_a_plan_needs(void)
{
    fresh();
    line_add(SUBJECT, PERIOD_DAY, 77)->spent_nanos = 5;
    ledger.lines[0].credit_nanos = 3;
    line_add(SUBJECT, PERIOD_HOUR, 77); /* of an earlier plan */
    plan_budget_add(PER_SUBJECT, PERIOD_DAY, 100);
    plan_budget_add(PER_KEY, PERIOD_DAY, 10);
    plan_budget_add(PER_ORG, PERIOD_DAY, 1000);
    plan.budgets[0].alert_count = 1;
    plan.budgets[0].alerts[0] = 50;
    plan.budgets[0].overage = OVERAGE_CARRY;
    CHECK_STATUS(STATUS_OK, ledger_bind(&ledger, &plan, NOW, &err), &err);
    CHECK_INT("lines", 4, ledger.line_count);
    CHECK_INT("limit", 100, ledger.lines[0].base_limit_nanos);
    CHECK_TRUE("limited", ledger.lines[0].limited);
    CHECK_TRUE("from plan", ledger.lines[0].from_plan);
    CHECK_INT("plan index", 0, ledger.lines[0].plan_index);
    CHECK_INT("alerts", 50, ledger.lines[0].alerts[0]);
    CHECK_INT("alerts", 1, ledger.lines[0].alert_count);
    CHECK_INT("overage", OVERAGE_CARRY, ledger.lines[0].overage);
    CHECK_INT("spent stays", 5, ledger.lines[0].spent_nanos);
    CHECK_INT("credit stays", 3, ledger.lines[0].credit_nanos);
    CHECK_FALSE("not in the plan: counted only", ledger.lines[1].limited);
    CHECK_INT("no index", -1, ledger.lines[1].plan_index);
    CHECK_INT("key", KEY, ledger.lines[2].account);
    CHECK_INT("new", 0, ledger.lines[2].id);
    CHECK_INT("created", NOW, ledger.lines[2].created_us);
    CHECK_INT("limit", 10, ledger.lines[2].base_limit_nanos);
    CHECK_FALSE("no period row", ledger.lines[2].period_stored);
    CHECK_INT("organization", ORGANIZATION, ledger.lines[3].account);
}

static void
test_bind_takes_a_hand_set_limit_before_the_plans(void)
{
    struct budget_line *line;

    fresh();
    line = line_add(SUBJECT, PERIOD_DAY, -1);
    line->hand_limited = true;
    line->hand_limit_nanos = 7;
    line = line_add(SUBJECT, PERIOD_HOUR, -1);
    line->hand_enforced = true;
    line->hand_enforce = ENFORCE_WARN;
    plan_budget_add(PER_SUBJECT, PERIOD_DAY, 100);
    plan_budget_add(PER_SUBJECT, PERIOD_HOUR, 50);
    plan.budgets[0].enforce = ENFORCE_WARN;
    CHECK_STATUS(STATUS_OK, ledger_bind(&ledger, &plan, NOW, &err), &err);
    CHECK_INT("limit", 7, ledger.lines[0].base_limit_nanos);
    CHECK_FALSE("by hand", ledger.lines[0].from_plan);
    CHECK_INT("enforce of the plan", ENFORCE_WARN, ledger.lines[0].enforce);
    CHECK_INT("order of the plan", 0, ledger.lines[0].plan_index);
    CHECK_INT("limit of the plan", 50, ledger.lines[1].base_limit_nanos);
    CHECK_INT("enforce by hand", ENFORCE_WARN, ledger.lines[1].enforce);
    CHECK_STATUS(STATUS_OK, ledger_bind(&ledger, NULL, NOW, &err), &err);
    CHECK_TRUE("limited", ledger.lines[0].limited);
    CHECK_INT("limit", 7, ledger.lines[0].base_limit_nanos);
    CHECK_INT("hard without a plan", ENFORCE_HARD, ledger.lines[0].enforce);
    CHECK_FALSE("not limited", ledger.lines[1].limited);
}

static void
test_bind_counts_per_org_on_the_subject_without_an_organization(void)
{
    fresh();
    ledger.organization = -1;
    plan_budget_add(PER_ORG, PERIOD_DAY, 100);
    CHECK_STATUS(STATUS_OK, ledger_bind(&ledger, &plan, NOW, &err), &err);
    CHECK_INT("lines", 1, ledger.line_count);
    CHECK_INT("subject", SUBJECT, ledger.lines[0].account);
}

static void
test_bind_leaves_out_what_nobody_carries(void)
{
    fresh();
    ledger.key = ledger.subject = ledger.organization = -1;
    plan_budget_add(PER_KEY, PERIOD_DAY, 1);
    plan_budget_add(PER_SUBJECT, PERIOD_DAY, 1);
    plan_budget_add(PER_ORG, PERIOD_DAY, 1);
    CHECK_STATUS(STATUS_OK, ledger_bind(&ledger, &plan, NOW, &err), &err);
    CHECK_INT("lines", 0, ledger.line_count);
}

static void
test_bind_lets_the_tighter_of_two_budgets_rule_a_line(void)
{
    fresh();
    ledger.organization = SUBJECT;
    plan_budget_add(PER_SUBJECT, PERIOD_DAY, 50);
    plan.budgets[0].enforce = ENFORCE_WARN;
    plan_budget_add(PER_ORG, PERIOD_DAY, 100);
    plan_budget_add(PER_ORG, PERIOD_DAY, 90);
    plan_budget_add(PER_ORG, PERIOD_DAY, 90);
    plan_budget_add(PER_ORG, PERIOD_DAY, 10);
    plan.budgets[4].enforce = ENFORCE_OFF;
    CHECK_STATUS(STATUS_OK, ledger_bind(&ledger, &plan, NOW, &err), &err);
    CHECK_INT("lines", 1, ledger.line_count);
    CHECK_INT("limit", 90, ledger.lines[0].base_limit_nanos);
    CHECK_INT("enforce", ENFORCE_HARD, ledger.lines[0].enforce);
    CHECK_INT("the first of equals", 2, ledger.lines[0].plan_index);
}

static void
test_bind_refuses_more_lines_than_fit(void)
{
    fresh();
    for (int i = 0; i < LEDGER_LINES_MAX; i++)
        line_add(ALL, PERIOD_DAY, -1);
    plan_budget_add(PER_SUBJECT, PERIOD_DAY, 1);
    CHECK_STATUS(STATUS_OVERFLOW, ledger_bind(&ledger, &plan, NOW, &err), &err);
    CHECK_STRING("message", "account user_1: a request may count on at most 64 budgets",
                 err.message);
}

static struct period_history
day_history(int day, int64_t spent_nanos, int64_t credit_nanos)
{
    return (struct period_history){ .period = { day * DAY_US, (day + 1) * DAY_US },
                                    .spent_nanos = spent_nanos,
                                    .credit_nanos = credit_nanos };
}

static void
check_carry(const struct period_history *history, size_t count, int day, int64_t want)
{
    int64_t carry = -1;

    CHECK_STATUS(STATUS_OK,
                 ledger_carry(&ledger.lines[0], history, count, day * DAY_US, &carry, &err), &err);
    CHECK_INT("carry", want, carry);
}

static void
test_carry_hands_the_overrun_on(void)
{
    const struct period_history history[] = {
        day_history(10, 250, 0),  /* 150 over */
        day_history(11, 20, 0),   /* pays 80 */
        day_history(12, 130, 50), /* pays 20 */
        day_history(15, 310, 0),  /* 13 and 14 have no row */
    };

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    check_carry(history, 0, 11, 0);
    check_carry(history, 1, 11, 150);
    check_carry(history, 1, 12, 50);
    check_carry(history, 1, 13, 0);
    check_carry(history, 2, 12, 70);
    check_carry(history, 3, 13, 50);
    check_carry(history, 3, 14, 0);
    check_carry(history, 4, 16, 210);
    check_carry(history, 4, 18, 10);
    check_carry(history, 4, 19, 0);
    check_carry(history, 4, 30000, 0);
    ledger.lines[0].base_limit_nanos = 0;
    check_carry(history, 4, 30000, 250 + 20 + 80 + 310);
    ledger.lines[0].base_limit_nanos = 100;
    ledger.lines[0].created_us = 11 * DAY_US;
    check_carry(history, 2, 12, 0);
    ledger.lines[0].created_us = 11 * DAY_US - 1; /* in day 10, which then counts whole */
    check_carry(history, 2, 12, 70);
}

static void
test_carry_says_what_it_cannot_compute(void)
{
    const struct period_history history[] = { day_history(10, MONEY_MAX_NANOS, 0),
                                              day_history(12, MONEY_MAX_NANOS, 0) };
    int64_t carry = -1;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 1);
    CHECK_STATUS(STATUS_OVERFLOW,
                 ledger_carry(&ledger.lines[0], history, 2, 13 * DAY_US, &carry, &err), &err);
    CHECK_STRING("message", "the carried overage passes the largest amount", err.message);
    CHECK_INT("none", 0, carry);
    snprintf(ledger.lines[0].spec.timezone, TIMEZONE_SIZE, "Mars/Olympus");
    CHECK_STATUS(STATUS_INVALID,
                 ledger_carry(&ledger.lines[0], history, 1, 12 * DAY_US, &carry, &err), &err);
    CHECK_STATUS(STATUS_INVALID,
                 ledger_carry(&ledger.lines[0], history, 2, 13 * DAY_US, &carry, &err), &err);
    CHECK_INT("none", 0, carry);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_bind_makes_the_lines_a_plan_needs),
    CHECK_TEST(test_bind_takes_a_hand_set_limit_before_the_plans),
    CHECK_TEST(test_bind_counts_per_org_on_the_subject_without_an_organization),
    CHECK_TEST(test_bind_leaves_out_what_nobody_carries),
    CHECK_TEST(test_bind_lets_the_tighter_of_two_budgets_rule_a_line),
    CHECK_TEST(test_bind_refuses_more_lines_than_fit),
    CHECK_TEST(test_carry_hands_the_overrun_on),
    CHECK_TEST(test_carry_says_what_it_cannot_compute),
};
const struct check_group ledger_lines_tests = { tests, CHECK_COUNT(tests) };
