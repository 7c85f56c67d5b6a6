/* SPDX-License-Identifier: MIT */
/*
 * Holds whose time is over while many of them wait: more than a request looks through, and more
 * than one transaction journals. How many: SPENDGATE_EXPIRED_HOLDS.
 */
#include "tests/store/fixture.h"

#include <stdlib.h>

#include "common/banned.h"

#define HOLDS_VARIABLE "SPENDGATE_EXPIRED_HOLDS"
#define HOLDS_DEFAULT 300
#define HOLDS_MIN 300
#define HOLDS_MAX 100000
#define PIECE 64 /* as many are journalled in one transaction */
#define LATE (NOON + 2 * TTL)

static int
many(void)
{
    const char *text = getenv(HOLDS_VARIABLE);
    int64_t value = HOLDS_DEFAULT;

    if (text != NULL && !text_to_int64(text, HOLDS_MIN, HOLDS_MAX, &value))
        abort();
    return (int)value;
}

/* Of one account each, which nobody asks for again. */
static void
leave_behind(struct fixture *f, int count, int64_t now_us)
{
    for (int i = 0; i < count; i++) {
        char key[24], subject[24];
        struct chain_names names;
        struct buf text;

        buf_init(&text, key, sizeof(key));
        buf_add_format(&text, "ak_o%d", i);
        buf_init(&text, subject, sizeof(subject));
        buf_add_format(&text, "user_o%d", i);
        names = names_of(key, subject, "");
        CHECK_TRUE("other", admit_names(f, &names, &f->plans[0], now_us));
    }
}

/* All of user_1, a microsecond after each other. */
static void
leave_own(struct fixture *f, int count, int64_t now_us)
{
    for (int i = 0; i < count; i++)
        CHECK_TRUE("own", admit(f, "user_1", now_us + i));
}

static bool
count_hold(void *context, const struct hold *hold, const char *account)
{
    (void)hold;
    (void)account;
    ++*(int64_t *)context;
    return true;
}

static int64_t
holds_of(struct fixture *f, const char *account, enum hold_state state)
{
    int64_t count = 0;

    CHECK_STATUS(STATUS_OK,
                 store_holds(f->store, account, state, 2 * HOLDS_MAX, count_hold, &count, &f->err),
                 &f->err);
    return count;
}

/* Everyone gets `count` holds' worth. */
static void
limit_to(struct fixture *f, int64_t count)
{
    f->plans[0].budgets[0].limit_nanos = count * 5 * CENT;
}

static enum outcome
place(struct fixture *f, const char *subject, int64_t nanos, int64_t now_us)
{
    const struct hold_request request = { .subject = subject, .amount_nanos = nanos };

    CHECK_STATUS(
        STATUS_OK,
        store_hold_place(f->store, &request, NULL, &writer, now_us, &f->result, &f->reply, &f->err),
        &f->err);
    return f->result.outcome;
}

static enum outcome
extend(struct fixture *f, const char *id, int64_t nanos, int64_t now_us)
{
    CHECK_STATUS(STATUS_OK,
                 store_hold_extend(f->store, id, nanos, NULL, &writer, now_us, &f->result,
                                   &f->reply, &f->err),
                 &f->err);
    return f->result.outcome;
}

static bool
explain(struct fixture *f, const struct chain_names *names, const struct plan *plan, int64_t now_us)
{
    const struct admission ask = {
        .names = names, .plan = plan, .verification = 1, .unique_id = ""
    };

    CHECK_STATUS(STATUS_OK, store_explain(f->store, &ask, now_us, &f->ledger, &f->verdict, &f->err),
                 &f->err);
    return f->verdict.allow;
}

/* ---- others' -------------------------------------------------------------------------------- */

static void
test_an_expired_hold_frees_its_room_whatever_others_left_behind(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    limit_to(f, 1);
    leave_behind(f, many(), NOON);
    CHECK_TRUE("mine", admit(f, "user_1", NOON + SECOND));
    CHECK_TRUE("its time is over", admit(f, "user_1", LATE));
    CHECK_INT("outside a request", OUTCOME_DONE, place(f, "user_1", 5 * CENT, LATE + TTL));
    hold_text(&f->result.hold, id);
    CHECK_TRUE("again", admit(f, "user_1", LATE + 2 * TTL));
    CHECK_INT("no room for two", OUTCOME_DENIED, extend(f, id, 0, LATE + 2 * TTL));
    CHECK_INT("back again", OUTCOME_DONE, extend(f, id, 0, LATE + 3 * TTL));
    CHECK_INT("held", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, LATE + 3 * TTL).held_nanos);
    CHECK_INT("others' still wait", many(), holds_of(f, NULL, HOLD_HELD) - 1);
    teardown(f);
}

static void
test_an_expired_slot_is_free_whatever_others_left_behind(void)
{
    struct fixture *f = setup();

    f->plans[0].concurrency = 1;
    leave_behind(f, many(), NOON);
    CHECK_TRUE("mine", admit(f, "user_1", NOON + SECOND));
    CHECK_FALSE("one at a time", admit(f, "user_1", NOON + SECOND));
    CHECK_INT("reason", REASON_CONCURRENCY, f->verdict.reason);
    CHECK_TRUE("its time is over", admit(f, "user_1", LATE));
    teardown(f);
}

static void
test_expired_holds_of_others_are_journalled_after_answers(void)
{
    struct fixture *f = setup();
    int answers = 0;

    leave_behind(f, many(), NOON);
    CHECK_INT("held", many(), holds_of(f, NULL, HOLD_HELD));
    f->plans[0].hold.nanos = 0;
    while (holds_of(f, NULL, HOLD_HELD) > 0 && answers < many()) {
        CHECK_TRUE("mine", admit(f, "user_1", LATE));
        store_after(f->store);
        answers++;
    }
    CHECK_INT("expired", many(), holds_of(f, NULL, HOLD_EXPIRED));
    CHECK_INT("told", many(), events_told(f, EVENT_HOLD_EXPIRED, 0));
    CHECK_TRUE("some of them each time", answers > 1 && answers < many());
    teardown(f);
}

static void
test_prune_journals_the_expired_holds_of_accounts_that_nobody_asks_for(void)
{
    struct fixture *f = setup();
    int64_t removed;

    leave_behind(f, many(), NOON);
    leave_own(f, 3, LATE - TTL + 1);
    CHECK_STATUS(STATUS_OK, store_prune(f->store, 0, LATE, &removed, &f->err), &f->err);
    CHECK_INT("expired", many(), holds_of(f, NULL, HOLD_EXPIRED));
    CHECK_INT("told", many(), events_told(f, EVENT_HOLD_EXPIRED, 0));
    CHECK_INT("not yet", 3, holds_of(f, NULL, HOLD_HELD));
    teardown(f);
}

/* ---- its own -------------------------------------------------------------------------------- */

static void
test_a_request_that_needs_the_room_of_all_its_expired_holds_gets_it(void)
{
    struct fixture *f = setup();
    const struct plan *large = add_plan(f, "large", many() * (int64_t)(5 * CENT));
    struct chain_names names = names_of("ak_1", "user_1", "");

    add_budget(&f->plans[1], PERIOD_MONTH, many() * (int64_t)(5 * CENT));
    limit_to(f, many());
    leave_own(f, many(), NOON);
    CHECK_FALSE("full", admit(f, "user_1", NOON + SECOND));
    CHECK_FALSE("full", admit_names(f, &names, large, NOON + SECOND));
    CHECK_FALSE("two are over", admit_names(f, &names, large, NOON + TTL + 1));
    CHECK_TRUE("all of it", admit_names(f, &names, large, LATE));
    CHECK_INT("told", many(), events_told(f, EVENT_HOLD_EXPIRED, 0));
    CHECK_FALSE("not twice", admit_names(f, &names, large, LATE));
    teardown(f);
}

/* What it needs, and no more: the others are for after the answer. */
static void
test_a_request_journals_no_more_of_its_expired_holds_than_it_needs(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    limit_to(f, many());
    leave_own(f, many() - 1, NOON);
    CHECK_TRUE("youngest", admit(f, "user_1", NOON + SECOND));
    hold_text(&f->verdict.hold, id);
    CHECK_TRUE("room", admit(f, "user_1", LATE));
    CHECK_INT("journalled", PIECE, holds_of(f, "user_1", HOLD_EXPIRED));
    CHECK_INT("two pieces more", OUTCOME_DONE, place(f, "user_1", 2 * PIECE * 5 * CENT, LATE));
    CHECK_INT("journalled", 3 * PIECE, holds_of(f, "user_1", HOLD_EXPIRED));
    CHECK_INT("a late post", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, LATE));
    CHECK_STRING("of the youngest", "expired", f->result.hold_word);
    CHECK_INT("journalled", 4 * PIECE, holds_of(f, "user_1", HOLD_EXPIRED));
    teardown(f);
}

static void
test_slots_of_many_expired_holds_are_free(void)
{
    struct fixture *f = setup();

    limit_to(f, 10 * (int64_t)many());
    f->plans[0].concurrency = many();
    leave_own(f, many(), NOON);
    CHECK_FALSE("full", admit(f, "user_1", NOON + SECOND));
    f->plans[0].concurrency = 1;
    CHECK_TRUE("all are over", admit(f, "user_1", LATE));
    CHECK_INT("one lives", 1, holds_of(f, "user_1", HOLD_HELD));
    teardown(f);
}

static void
test_a_look_at_an_account_shows_no_expired_hold(void)
{
    struct fixture *f = setup();

    limit_to(f, many());
    leave_own(f, many(), NOON);
    leave_behind(f, 3, NOON);
    CHECK_INT("held", 0, line_of(f, "user_1", PERIOD_MONTH, LATE).held_nanos);
    CHECK_INT("others'", 3, holds_of(f, NULL, HOLD_HELD));
    teardown(f);
}

/* ---- of a chain that shares an account ------------------------------------------------------ */

static void
test_a_hold_of_another_member_frees_the_organizations_room(void)
{
    struct fixture *f = setup();
    struct chain_names first = names_of("ak_1", "user_1", "org_1");
    struct chain_names second = names_of("ak_2", "user_2", "org_1");
    struct chain_names third = names_of("ak_3", "user_3", "org_1");

    f->plans[0].budgets[0].per = PER_ORG;
    limit_to(f, 1);
    leave_behind(f, many(), NOON); /* of their own budgets: no organization */
    CHECK_TRUE("first", admit_names(f, &first, &f->plans[0], NOON + SECOND));
    CHECK_FALSE("full", admit_names(f, &second, &f->plans[0], NOON + SECOND));
    CHECK_TRUE("another member", admit_names(f, &second, &f->plans[0], LATE));
    CHECK_FALSE("explained", explain(f, &third, &f->plans[0], LATE));
    CHECK_TRUE("explained", explain(f, &third, &f->plans[0], LATE + TTL));
    CHECK_TRUE("a new member", admit_names(f, &third, &f->plans[0], LATE + TTL));
    CHECK_INT("held", 5 * CENT, line_of(f, "org_1", PERIOD_MONTH, LATE + TTL).held_nanos);
    teardown(f);
}

static void
test_with_a_budget_on_all_every_expired_hold_frees_its_room(void)
{
    struct fixture *f = setup();

    leave_behind(f, many(), NOON);
    CHECK_INT("all", OUTCOME_DONE,
              set_budget(f, "all", PERIOD_MONTH, many() * (int64_t)(5 * CENT)));
    CHECK_FALSE("full", admit(f, "user_1", NOON + SECOND));
    CHECK_TRUE("room", admit(f, "user_1", LATE));
    CHECK_INT("all of it", OUTCOME_DONE, set_budget(f, "all", PERIOD_MONTH, (int64_t)(10 * CENT)));
    CHECK_TRUE("room", admit(f, "user_1", LATE));
    CHECK_FALSE("full", admit(f, "user_1", LATE));
    CHECK_INT("told", many(), events_told(f, EVENT_HOLD_EXPIRED, 0));
    teardown(f);
}

/* ---- what an expiry does -------------------------------------------------------------------- */

static void
test_explain_agrees_while_expired_holds_wait(void)
{
    struct fixture *f = setup();
    const struct plan *large = add_plan(f, "large", many() * (int64_t)(5 * CENT));
    struct chain_names names = names_of("ak_1", "user_1", "");
    int64_t remaining;

    add_budget(&f->plans[1], PERIOD_MONTH, many() * (int64_t)(5 * CENT));
    limit_to(f, many());
    leave_behind(f, many(), NOON);
    leave_own(f, many(), NOON);
    CHECK_FALSE("full", explain(f, &names, large, NOON + SECOND));
    CHECK_TRUE("few", explain(f, &names, &f->plans[0], LATE));
    remaining = f->verdict.remaining_nanos;
    CHECK_TRUE("few", admit(f, "user_1", LATE));
    CHECK_INT("the same numbers", f->verdict.remaining_nanos, remaining);
    CHECK_FALSE("all but one", explain(f, &names, large, LATE));
    CHECK_FALSE("all but one", admit_names(f, &names, large, LATE));
    CHECK_TRUE("all", explain(f, &names, large, LATE + TTL));
    CHECK_TRUE("all", admit_names(f, &names, large, LATE + TTL));
    teardown(f);
}

/* Two periods, a day line that comes later, two plans: the lines of each hold are those of its own
 * placement, and teardown has verify look at every one of them. */
static void
test_expired_holds_are_charged_in_the_periods_of_their_placement(void)
{
    struct fixture *f = setup();
    const struct plan *other = add_plan(f, "other", 2 * CENT);
    struct chain_names names = names_of("ak_1", "user_1", "");
    int64_t late_us = NEXT_MONTH + HOUR;

    add_budget(&f->plans[0], PERIOD_HOUR, 100 * USD);
    add_budget(&f->plans[1], PERIOD_MONTH, 100 * USD);
    limit_to(f, 10000);
    store_close(f->store);
    f->options.charge_on_expiry = true;
    open_store(f);
    for (int i = 0; i < 40; i++) {
        CHECK_TRUE("before", admit(f, "user_1", NEXT_MONTH - 20 * SECOND + i * SECOND));
        CHECK_TRUE("other", admit_names(f, &names, other, NEXT_MONTH - 20 * SECOND + i * SECOND));
    }
    add_budget(&f->plans[0], PERIOD_DAY, 100 * USD);
    CHECK_TRUE("after", admit(f, "user_1", late_us));
    CHECK_INT("month", 20 * 7 * CENT,
              line_of(f, "user_1", PERIOD_MONTH, NEXT_MONTH - 1).spent_nanos);
    CHECK_INT("next month", 20 * 7 * CENT, line_of(f, "user_1", PERIOD_MONTH, late_us).spent_nanos);
    CHECK_INT("hour", 20 * 7 * CENT, line_of(f, "user_1", PERIOD_HOUR, NEXT_MONTH - 1).spent_nanos);
    CHECK_INT("next hour", 20 * 7 * CENT,
              line_of(f, "user_1", PERIOD_HOUR, NEXT_MONTH).spent_nanos);
    CHECK_INT("day", 20 * 7 * CENT, line_of(f, "user_1", PERIOD_DAY, late_us).spent_nanos);
    CHECK_INT("held", 5 * CENT, line_of(f, "user_1", PERIOD_DAY, late_us).held_nanos);
    CHECK_INT("charges", 80, charges(f, (struct charge_filter){ .to_us = INT64_MAX }).count);
    CHECK_INT("told", 80, events_told(f, EVENT_HOLD_EXPIRED, 0));
    teardown(f);
}

/* A charge of its own makes no room: what was held is spent, and the budget stays closed. */
static void
test_on_expiry_charge_leaves_no_room_and_tells_its_thresholds_once(void)
{
    static const int alerts[] = { 50, 100 };
    struct fixture *f = setup();

    limit_to(f, many());
    f->plans[0].budgets[0].alert_count = CHECK_COUNT(alerts);
    memcpy(f->plans[0].budgets[0].alerts, alerts, sizeof(alerts));
    store_close(f->store);
    f->options.charge_on_expiry = true;
    open_store(f);
    leave_own(f, many(), NOON);
    CHECK_FALSE("full", admit(f, "user_1", LATE));
    CHECK_INT("spent", many() * (int64_t)(5 * CENT),
              line_of(f, "user_1", PERIOD_MONTH, LATE).spent_nanos);
    CHECK_INT("half", 1, events_told(f, EVENT_THRESHOLD, 50));
    CHECK_INT("all", 1, events_told(f, EVENT_THRESHOLD, 100));
    CHECK_INT("no overrun", 0, events_told(f, EVENT_OVERRUN, 0));
    CHECK_INT("expired", many(), events_told(f, EVENT_HOLD_EXPIRED, 0));
    teardown(f);
}

static void
test_a_batch_journals_the_expired_holds_of_its_elements(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    limit_to(f, many());
    leave_own(f, PIECE + 6, NOON);
    hold_text(&f->verdict.hold, id);
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_INT("late", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, LATE));
    CHECK_STRING("word", "expired", f->result.hold_word);
    CHECK_INT("no hold", OUTCOME_DONE, spend_as(f, "user_1", CENT, "k", LATE));
    CHECK_STATUS(STATUS_OK, store_batch_end(f->store, true, &f->err), &f->err);
    CHECK_INT("expired", PIECE + 6, holds_of(f, NULL, HOLD_EXPIRED));
    teardown(f);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_an_expired_hold_frees_its_room_whatever_others_left_behind),
    CHECK_TEST(test_an_expired_slot_is_free_whatever_others_left_behind),
    CHECK_TEST(test_expired_holds_of_others_are_journalled_after_answers),
    CHECK_TEST(test_prune_journals_the_expired_holds_of_accounts_that_nobody_asks_for),
    CHECK_TEST(test_a_request_that_needs_the_room_of_all_its_expired_holds_gets_it),
    CHECK_TEST(test_a_request_journals_no_more_of_its_expired_holds_than_it_needs),
    CHECK_TEST(test_slots_of_many_expired_holds_are_free),
    CHECK_TEST(test_a_look_at_an_account_shows_no_expired_hold),
    CHECK_TEST(test_a_hold_of_another_member_frees_the_organizations_room),
    CHECK_TEST(test_with_a_budget_on_all_every_expired_hold_frees_its_room),
    CHECK_TEST(test_explain_agrees_while_expired_holds_wait),
    CHECK_TEST(test_expired_holds_are_charged_in_the_periods_of_their_placement),
    CHECK_TEST(test_on_expiry_charge_leaves_no_room_and_tells_its_thresholds_once),
    CHECK_TEST(test_a_batch_journals_the_expired_holds_of_its_elements),
};
const struct check_group store_expiry_tests = { tests, CHECK_COUNT(tests) };
