/* SPDX-License-Identifier: MIT */
/*
 * Budgets: lines that are gained later, periods, hand-set limits, credits, overruns.
 */
#include "tests/store/fixture.h"

#include "common/banned.h"

/* What was spent elsewhere before counts in the periods of then: in this month, but not today. */
static void
test_an_earlier_spend_counts_in_the_periods_of_then(void)
{
    struct fixture *f = setup();
    struct spend spend = {
        .subject = "user_1", .cost_nanos = 2 * USD, .at_us = MONTH_START, .token = "import"
    };
    struct charge_filter filter = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };
    struct charge charge;

    add_budget(&f->plans[0], PERIOD_DAY, 3 * USD);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(f->store, "user_1", ACCOUNT_MAKE, 0, "pro", &ops, NOON,
                                      &f->result, &f->err),
                 &f->err);
    CHECK_INT("made", OUTCOME_DONE, f->result.outcome);
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("outcome", OUTCOME_DONE, f->result.outcome);
    CHECK_INT("month", 2 * USD, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_STRING("plan", "pro", f->ledger.accounts[0].plan);
    CHECK_INT("today", 0, line_of(f, "user_1", PERIOD_DAY, NOON).spent_nanos);
    CHECK_INT("that day", 2 * USD, line_of(f, "user_1", PERIOD_DAY, MONTH_START).spent_nanos);
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &filter, take_charge, &charge, &f->err),
                 &f->err);
    CHECK_INT("at", MONTH_START, charge.at_us);
    CHECK_INT("posted", NOON, charge.created_us);
    CHECK_FALSE("the month is over its limit", admit(f, "user_1", NOON));
    CHECK_INT("one event: the month's", 1, events_told(f, EVENT_OVERRUN, 0));
    spend.at_us = MONTH_START - 1; /* of a month that is over: no news */
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("this month", 2 * USD, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_INT("last month", 2 * USD,
              line_of(f, "user_1", PERIOD_MONTH, MONTH_START - 1).spent_nanos);
    CHECK_INT("no other event", 1, events_told(f, EVENT_OVERRUN, 0));
    teardown(f);
}

static void
test_a_refused_first_sight_leaves_an_account_that_can_be_topped_up(void)
{
    struct fixture *f = setup();
    struct credit_request credit = { .account = "user_1", .amount_nanos = USD };

    f->plans[0].budgets[0].spec.kind = PERIOD_NONE;
    f->plans[0].budgets[0].limit_nanos = 0;
    CHECK_FALSE("prepaid", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_BUDGET, f->verdict.reason);
    CHECK_STATUS(
        STATUS_OK,
        store_credit(f->store, &credit, &ops, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("credit", OUTCOME_DONE, f->result.outcome);
    CHECK_TRUE("paid", admit(f, "user_1", NOON));
    CHECK_INT("limit", USD, ledger_limit(&(struct budget_line){ .credit_nanos = USD }));
    CHECK_INT("stored limit", USD, f->verdict.limit_nanos);
    teardown(f);
}

static void
test_a_line_gained_later_starts_at_its_journal_with_live_holds(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    struct budget_line line;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_TRUE("second", admit(f, "user_1", NOON));
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 3 * CENT, NOON));
    CHECK_INT("all", OUTCOME_DONE, set_budget(f, "all", PERIOD_DAY, USD));
    line = line_of(f, "all", PERIOD_DAY, NOON);
    CHECK_INT("spent", 3 * CENT, line.spent_nanos);
    CHECK_INT("held", 5 * CENT, line.held_nanos);
    add_budget(&f->plans[0], PERIOD_YEAR, USD);
    CHECK_TRUE("third", admit(f, "user_1", NOON));
    line = line_of(f, "user_1", PERIOD_YEAR, NOON);
    CHECK_INT("year spent", 3 * CENT, line.spent_nanos);
    CHECK_INT("year held", 10 * CENT, line.held_nanos);
    teardown(f);
}

/* However far: what was placed and charged before the line came is later than its birth. */
static void
test_a_line_gained_after_the_clock_went_back_counts_what_is_later(void)
{
    struct fixture *f = setup();
    const int64_t ahead = NOON + 5 * HOUR, further = NOON + 7 * HOUR;
    char id[PUBLIC_ID_SIZE];
    struct budget_line line;

    CHECK_TRUE("seen", admit(f, "user_1", further));
    CHECK_INT("charge", OUTCOME_DONE, spend_as(f, "user_1", 2 * CENT, "k1", further + HOUR));
    CHECK_TRUE("first", admit(f, "user_1", ahead));
    hold_text(&f->verdict.hold, id);
    CHECK_TRUE("second", admit(f, "user_1", ahead));
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 3 * CENT, ahead));
    CHECK_TRUE("back", admit(f, "user_1", NOON));
    CHECK_INT("all", OUTCOME_DONE, set_budget(f, "all", PERIOD_HOUR, USD)); /* at noon */
    add_budget(&f->plans[0], PERIOD_HOUR, 16 * CENT);
    CHECK_TRUE("the plan's", admit(f, "user_1", NOON));
    CHECK_INT("verify", 0, differences(f, NOON));
    CHECK_INT("held now", 10 * CENT, line_of(f, "all", PERIOD_HOUR, NOON).held_nanos);
    CHECK_INT("held now", 10 * CENT, line_of(f, "user_1", PERIOD_HOUR, NOON).held_nanos);
    line = line_of(f, "all", PERIOD_HOUR, ahead - HOUR);
    CHECK_INT("nothing there", 0, line.spent_nanos + line.held_nanos);
    for (int i = 0; i < 2; i++) {
        line = line_of(f, i == 0 ? "all" : "user_1", PERIOD_HOUR, ahead);
        CHECK_INT("spent ahead", 3 * CENT, line.spent_nanos);
        CHECK_INT("held ahead", 5 * CENT, line.held_nanos);
    }
    CHECK_TRUE("8 of 16 are left there", admit(f, "user_1", ahead));
    CHECK_FALSE("and then 3", admit(f, "user_1", ahead));
    line = line_of(f, "all", PERIOD_HOUR, further + HOUR);
    CHECK_INT("all, further ahead", 2 * CENT, line.spent_nanos);
    line = line_of(f, "user_1", PERIOD_HOUR, further + HOUR);
    CHECK_INT("further ahead", 2 * CENT, line.spent_nanos);
    CHECK_INT("before the birth", OUTCOME_DONE, spend_as(f, "user_1", CENT, "k2", NOON - 3 * HOUR));
    line = line_of(f, "all", PERIOD_HOUR, NOON - 3 * HOUR);
    CHECK_INT("counts too", CENT, line.spent_nanos);
    teardown(f);
}

/* The post of a hold that was placed later than now, by a clock that was ahead. */
static void
test_a_line_gained_by_a_post_for_later_counts_from_its_birth(void)
{
    struct fixture *f = setup();
    const int64_t between = NOON + 2 * HOUR, ahead = NOON + 5 * HOUR;
    char id[PUBLIC_ID_SIZE];

    CHECK_TRUE("hold", admit(f, "user_1", ahead));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("charge", OUTCOME_DONE, spend_as(f, "user_1", 2 * CENT, "k1", between));
    CHECK_INT("charge", OUTCOME_DONE, spend_as(f, "user_1", 3 * CENT, "k2", ahead));
    add_budget(&f->plans[0], PERIOD_HOUR, 16 * CENT);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 4 * CENT, NOON));
    CHECK_INT("verify", 0, differences(f, NOON));
    CHECK_INT("between", 2 * CENT, line_of(f, "user_1", PERIOD_HOUR, between).spent_nanos);
    CHECK_INT("ahead", 7 * CENT, line_of(f, "user_1", PERIOD_HOUR, ahead).spent_nanos);
    teardown(f);
}

static void
test_a_new_period_is_a_new_row_and_a_late_settlement_belongs_to_the_old_one(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    int64_t before = NEXT_MONTH - SECOND, after = NEXT_MONTH + SECOND;

    CHECK_TRUE("hold", admit(f, "user_1", before));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("new month", 0, line_of(f, "user_1", PERIOD_MONTH, after).held_nanos);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 4 * CENT, after));
    CHECK_INT("new month", 0, line_of(f, "user_1", PERIOD_MONTH, after).spent_nanos);
    CHECK_INT("old month", 4 * CENT, line_of(f, "user_1", PERIOD_MONTH, before).spent_nanos);
    CHECK_INT("old held", 0, line_of(f, "user_1", PERIOD_MONTH, before).held_nanos);
    teardown(f);
}

static void
test_a_hand_set_limit_wins_until_it_is_cleared(void)
{
    struct fixture *f = setup();
    enum enforce warn = ENFORCE_WARN;

    CHECK_INT("unknown", OUTCOME_UNKNOWN_ACCOUNT, set_budget(f, "user_1", PERIOD_MONTH, USD));
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("set", OUTCOME_DONE, set_budget(f, "user_1", PERIOD_MONTH, 5 * CENT));
    CHECK_FALSE("by hand", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK,
                 store_budget_set(f->store, "user_1", PERIOD_MONTH, 5 * CENT, &warn, &ops, NOON,
                                  &f->result, &f->err),
                 &f->err);
    CHECK_TRUE("warns", admit(f, "user_1", NOON));
    CHECK_STRING("warn", "user_1 month", f->verdict.warn);
    CHECK_STATUS(
        STATUS_OK,
        store_budget_clear(f->store, "user_1", PERIOD_MONTH, &ops, NOON, &f->result, &f->err),
        &f->err);
    CHECK_INT("cleared", OUTCOME_DONE, f->result.outcome);
    CHECK_TRUE("plan", admit(f, "user_1", NOON));
    CHECK_INT("limit", USD, f->verdict.limit_nanos);
    CHECK_STATUS(
        STATUS_OK,
        store_budget_clear(f->store, "user_1", PERIOD_HOUR, &ops, NOON, &f->result, &f->err),
        &f->err);
    CHECK_INT("no hour", OUTCOME_UNKNOWN_BUDGET, f->result.outcome);
    teardown(f);
}

static void
test_a_boost_ends_by_itself_and_a_top_up_with_its_period(void)
{
    struct fixture *f = setup();
    struct credit_request request = { .account = "user_1", .amount_nanos = 2 * USD };
    int64_t later = NEXT_MONTH + SECOND;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(
        STATUS_OK,
        store_credit(f->store, &request, &ops, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    request = (struct credit_request){
        .account = "user_1", .amount_nanos = USD, .expires_us = later + SECOND, .boost = true
    };
    CHECK_STATUS(
        STATUS_OK,
        store_credit(f->store, &request, &ops, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_TRUE("both", admit(f, "user_1", NOON));
    CHECK_INT("both", 4 * USD, f->verdict.limit_nanos);
    CHECK_TRUE("boost", admit(f, "user_1", later));
    CHECK_INT("boost", 2 * USD, f->verdict.limit_nanos);
    CHECK_TRUE("over", admit(f, "user_1", later + SECOND));
    CHECK_INT("over", USD, f->verdict.limit_nanos);
    request.expires_us = 0;
    CHECK_STATUS(
        STATUS_INVALID,
        store_credit(f->store, &request, &ops, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    teardown(f);
}

static enum outcome
credit_outcome(struct fixture *f, const struct credit_request *request)
{
    CHECK_STATUS(
        STATUS_OK,
        store_credit(f->store, request, &ops, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    return f->result.outcome;
}

static void
test_a_credit_names_its_budget_where_there_are_several(void)
{
    struct fixture *f = setup();
    struct credit_request request = { .account = "user_1", .amount_nanos = USD };

    add_budget(&f->plans[0], PERIOD_DAY, USD);
    CHECK_INT("unknown", OUTCOME_UNKNOWN_ACCOUNT, credit_outcome(f, &request));
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("which", OUTCOME_UNKNOWN_BUDGET, credit_outcome(f, &request));
    request.period = PERIOD_DAY;
    CHECK_INT("day", OUTCOME_DONE, credit_outcome(f, &request));
    CHECK_INT("day", USD, line_of(f, "user_1", PERIOD_DAY, NOON).credit_nanos);
    CHECK_INT("month", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).credit_nanos);
    teardown(f);
}

/* Its plan's budgets of other accounts of the chain are none of its own: neither in a look nor
 * where a credit or a limit by hand looks for its budget. */
static void
test_an_account_alone_has_its_own_budgets_only(void)
{
    struct fixture *f = setup();
    struct chain_names member = names_of("ak_1", "user_1", "org_1");
    struct chain_names alone = names_of("ak_2", "user_2", "");
    struct chain_names itself = names_of("ak_3", "org_2", "org_2");
    struct credit_request credit = { .account = "user_1", .amount_nanos = CENT };

    add_budget(&f->plans[0], PERIOD_MONTH, 2 * USD)->per = PER_ORG;
    add_budget(&f->plans[0], PERIOD_DAY, 3 * USD)->per = PER_ORG;
    CHECK_TRUE("a member", admit_names(f, &member, &f->plans[0], NOON));
    CHECK_TRUE("without an organization", admit_names(f, &alone, &f->plans[0], NOON));
    CHECK_TRUE("an organization itself", admit_names(f, &itself, &f->plans[0], NOON));
    CHECK_INT("its own", 2 * USD, line_of(f, "org_1", PERIOD_MONTH, NOON).base_limit_nanos);
    CHECK_INT("both", USD, line_of(f, "user_2", PERIOD_MONTH, NOON).base_limit_nanos);
    CHECK_INT("both", USD, line_of(f, "org_2", PERIOD_MONTH, NOON).base_limit_nanos);
    CHECK_INT("the member's only one", OUTCOME_DONE, credit_outcome(f, &credit));
    CHECK_INT("the month", CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).credit_nanos);
    credit.period = PERIOD_DAY;
    CHECK_INT("not his", OUTCOME_UNKNOWN_BUDGET, credit_outcome(f, &credit));
    CHECK_INT("by hand", OUTCOME_DONE, set_budget(f, "user_1", PERIOD_DAY, USD));
    CHECK_INT("is his", OUTCOME_DONE, credit_outcome(f, &credit));
    credit.account = "user_2";
    CHECK_INT("counts for the want of one", OUTCOME_DONE, credit_outcome(f, &credit));
    credit.period = 0;
    CHECK_INT("so there are two", OUTCOME_UNKNOWN_BUDGET, credit_outcome(f, &credit));
    credit.account = "key:ak_1";
    CHECK_INT("a key has none", OUTCOME_UNKNOWN_BUDGET, credit_outcome(f, &credit));
    teardown(f);
}

static void
test_a_credit_that_is_over_or_too_large_is_refused(void)
{
    struct fixture *f = setup();
    struct credit_request request = { .account = "user_1",
                                      .amount_nanos = USD,
                                      .expires_us = NOON };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(
        STATUS_INVALID,
        store_credit(f->store, &request, &ops, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_STRING("why", "a credit must end in the future", f->err.message);
    request = (struct credit_request){ .account = "user_1", .amount_nanos = MONEY_MAX_NANOS };
    CHECK_STATUS(
        STATUS_OK,
        store_credit(f->store, &request, &ops, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_STATUS(
        STATUS_OVERFLOW,
        store_credit(f->store, &request, &ops, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("one", MONEY_MAX_NANOS, line_of(f, "user_1", PERIOD_MONTH, NOON).credit_nanos);
    teardown(f);
}

static void
test_a_credit_may_end_before_its_period(void)
{
    struct fixture *f = setup();
    struct credit_request request = { .account = "user_1",
                                      .amount_nanos = USD,
                                      .expires_us = NOON + SECOND };
    struct idempotency key = { .scope = "ops", .key = "c1" };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(STATUS_OK,
                     store_credit(f->store, &request, &ops, &key, &writer, NOON, &f->result,
                                  &f->reply, &f->err),
                     &f->err);
        CHECK_INT("once", i == 0 ? OUTCOME_DONE : OUTCOME_REPLAYED, f->result.outcome);
    }
    CHECK_TRUE("with it", admit(f, "user_1", NOON));
    CHECK_INT("with it", 2 * USD, f->verdict.limit_nanos);
    CHECK_TRUE("after it", admit(f, "user_1", NOON + SECOND));
    CHECK_INT("after it", USD, f->verdict.limit_nanos);
    teardown(f);
}

static void
test_an_overrun_is_carried_into_the_next_period(void)
{
    struct fixture *f = setup();

    f->plans[0].budgets[0].overage = OVERAGE_CARRY;
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("spend", OUTCOME_DONE, spend_as(f, "user_1", 3 * USD / 2, NULL, NOON));
    CHECK_TRUE("over", f->result.effect.over_budget);
    CHECK_INT("overrun", USD / 2, f->result.effect.overrun_nanos);
    CHECK_TRUE("next month", admit(f, "user_1", NEXT_MONTH));
    CHECK_INT("limit", USD / 2, f->verdict.limit_nanos);
    CHECK_TRUE("paid off", admit(f, "user_1", NEXT_MONTH + 31 * INT64_C(86400) * SECOND));
    CHECK_INT("limit", USD, f->verdict.limit_nanos);
    teardown(f);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_an_earlier_spend_counts_in_the_periods_of_then),
    CHECK_TEST(test_a_refused_first_sight_leaves_an_account_that_can_be_topped_up),
    CHECK_TEST(test_a_line_gained_later_starts_at_its_journal_with_live_holds),
    CHECK_TEST(test_a_line_gained_after_the_clock_went_back_counts_what_is_later),
    CHECK_TEST(test_a_line_gained_by_a_post_for_later_counts_from_its_birth),
    CHECK_TEST(test_a_new_period_is_a_new_row_and_a_late_settlement_belongs_to_the_old_one),
    CHECK_TEST(test_a_hand_set_limit_wins_until_it_is_cleared),
    CHECK_TEST(test_a_boost_ends_by_itself_and_a_top_up_with_its_period),
    CHECK_TEST(test_a_credit_names_its_budget_where_there_are_several),
    CHECK_TEST(test_an_account_alone_has_its_own_budgets_only),
    CHECK_TEST(test_a_credit_that_is_over_or_too_large_is_refused),
    CHECK_TEST(test_a_credit_may_end_before_its_period),
    CHECK_TEST(test_an_overrun_is_carried_into_the_next_period),
};
const struct check_group store_budgets_tests = { tests, CHECK_COUNT(tests) };
