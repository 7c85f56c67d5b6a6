/* SPDX-License-Identifier: MIT */
/*
 * Several processes at once: exactly what fits passes, and nothing is counted twice.
 */
#include "tests/store/processes.h"

#include <sys/mman.h>
#include <unistd.h>

#include "common/banned.h"

static void
admit_quietly(struct fixture *f, struct shared *shared, const struct chain_names *names,
              int64_t now_us)
{
    struct admission ask = {
        .names = names, .plan = &f->plans[0], .verification = 1, .unique_id = ""
    };

    if (store_admit(f->store, &ask, now_us, &f->verdict, &f->err) != STATUS_OK) {
        printf("child: %s\n", f->err.message);
        shared->failed++;
    } else if (f->verdict.allow) {
        shared->passed++;
        if (f->verdict.hold_placed)
            hold_text(&f->verdict.hold, shared->holds[shared->hold_count++]);
    } else {
        shared->refused++;
    }
}

static void
admit_25(struct fixture *f, struct shared *shared, int index)
{
    struct chain_names names = names_of("ak_1", "user_1", "");

    (void)index;
    for (int i = 0; i < 25; i++)
        admit_quietly(f, shared, &names, NOON);
}

static void
settle_all(struct fixture *f, struct shared *shared, int index)
{
    struct spend spend = { .cost_nanos = 5 * CENT, .token = "php" };

    (void)index;
    for (int i = 0; i < shared->hold_count; i++) {
        spend.hold_id = shared->holds[i];
        if (store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err) !=
            STATUS_OK)
            shared->failed++;
        else if (f->result.outcome == OUTCOME_DONE)
            shared->passed++;
        else if (f->result.outcome == OUTCOME_REPLAYED)
            shared->refused++;
        else
            shared->failed++;
    }
}

static void
spend_cents(struct fixture *f, struct shared *shared, int index)
{
    struct spend spend = { .subject = "user_1", .cost_nanos = CENT, .token = "php" };

    (void)index;
    for (int i = 0; i < 5; i++) {
        if (store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err) !=
                STATUS_OK ||
            f->result.outcome != OUTCOME_DONE)
            shared->failed++;
    }
}

static void
test_i1_eight_processes_on_first_sight_pass_exactly_as_many_as_fit(void)
{
    static const int alerts[] = { 50, 80, 100, 110 };
    struct fixture *f = setup();
    struct shared *shared = share();
    struct plan_budget *budget = &f->plans[0].budgets[0];

    budget->alert_count = CHECK_COUNT(alerts);
    memcpy(budget->alerts, alerts, sizeof(alerts));
    make_anew(f); /* the eight make the store itself, too */
    race(f, shared, 8, admit_25);
    CHECK_INT("failed", 0, shared->failed);
    CHECK_INT("passed", 20, shared->passed);
    CHECK_INT("refused", 180, shared->refused);
    CHECK_INT("held", USD, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    shared->passed = shared->refused = 0;
    race(f, shared, 4, settle_all);
    CHECK_INT("failed", 0, shared->failed);
    CHECK_INT("settled once", 20, shared->passed);
    CHECK_INT("repeats", 60, shared->refused);
    CHECK_INT("spent", USD, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_INT("held", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("no overrun", 0, events_told(f, EVENT_OVERRUN, 0));
    race(f, shared, 8, spend_cents); /* who passes a threshold first tells it, nobody else */
    CHECK_INT("failed", 0, shared->failed);
    for (size_t i = 0; i < CHECK_COUNT(alerts); i++)
        CHECK_INT("told once", 1, events_told(f, EVENT_THRESHOLD, alerts[i]));
    CHECK_INT("the overrun, once", 1, events_told(f, EVENT_OVERRUN, 0));
    munmap(shared, sizeof(*shared));
    teardown(f);
}

static void
admit_own_key(struct fixture *f, struct shared *shared, int index)
{
    struct chain_names names = names_of("ak_1", "user_1", "org_1");

    names.key_id[3] = (char)('1' + index);
    for (int i = 0; i < 50; i++)
        admit_quietly(f, shared, &names, NOON);
}

static void
test_rates_are_exact_over_eight_processes(void)
{
    struct fixture *f = setup();
    struct shared *shared = share();

    f->plans[0].hold.nanos = 0;
    f->plans[0].rate =
        (struct rate){ .count = 100, .per_us = 60 * SECOND, .burst = 100, .text = "100/1m" };
    race(f, shared, 8, admit_own_key);
    CHECK_INT("failed", 0, shared->failed);
    CHECK_INT("passed", 100, shared->passed);
    CHECK_INT("refused", 300, shared->refused);
    munmap(shared, sizeof(*shared));
    teardown(f);
}

static void
hold_and_die(struct fixture *f, struct shared *shared, int index)
{
    struct chain_names names = names_of("ak_1", "user_1", "");

    (void)index;
    admit_quietly(f, shared, &names, NOON);
    _exit(0); /* with everything open */
}

static void
test_a_hold_whose_owner_died_frees_its_room_and_its_late_post_counts_once(void)
{
    struct fixture *f = setup();
    struct shared *shared = share();

    f->plans[0].budgets[0].limit_nanos = 5 * CENT;
    race(f, shared, 1, hold_and_die);
    CHECK_INT("passed", 1, shared->passed);
    CHECK_FALSE("full", admit(f, "user_1", NOON + TTL - 1));
    shared->passed = shared->refused = 0;
    CHECK_TRUE("free", admit(f, "user_1", NOON + TTL));
    race(f, shared, 4, settle_all);
    CHECK_INT("recorded", 1, shared->passed);
    CHECK_INT("repeats", 3, shared->refused);
    CHECK_INT("spent", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON + TTL).spent_nanos);
    munmap(shared, sizeof(*shared));
    teardown(f);
}

/* Half of the 5 cents of each hold is spent, until the budget of `all` refuses. */
static void
spend_until_all_is_full(struct fixture *f, struct shared *shared, int index)
{
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct spend spend = { .cost_nanos = 5 * CENT / 2, .token = "php" };
    char id[PUBLIC_ID_SIZE];

    names.key_id[3] = names.subject[5] = (char)('a' + index);
    f->verdict.reason = REASON_NONE;
    while (f->verdict.reason != REASON_BUDGET && shared->failed == 0) {
        admit_quietly(f, shared, &names, NOON);
        if (!f->verdict.allow)
            continue;
        spend.hold_id = hold_text(&f->verdict.hold, id);
        if (store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err) !=
            STATUS_OK)
            shared->failed++;
    }
}

/* One line after the other on `all`, each beginning at what the journal holds by then. */
static void
give_all_its_lines(struct fixture *f, struct shared *shared)
{
    static const enum period_kind kinds[] = { PERIOD_NONE, PERIOD_DAY, PERIOD_YEAR, PERIOD_MONTH };

    for (size_t i = 0; i < CHECK_COUNT(kinds); i++) {
        while (shared->passed < 30 * (int)(i + 1) && shared->failed == 0)
            usleep(1000);
        if (store_budget_set(f->store, "all", kinds[i], 6 * USD, NULL, &ops, NOON, &f->result,
                             &f->err) == STATUS_OK)
            continue;
        printf("child: %s\n", f->err.message);
        shared->failed++;
    }
}

static void
set_all_or_spend(struct fixture *f, struct shared *shared, int index)
{
    if (index == 0)
        give_all_its_lines(f, shared);
    else
        spend_until_all_is_full(f, shared, index);
}

static void
test_i7_a_budget_set_on_all_under_load_counts_every_charge_and_hold(void)
{
    struct fixture *f = setup();
    struct shared *shared = share();
    struct budget_line line;

    f->plans[0].budgets[0].limit_nanos = 100 * USD;
    race(f, shared, 8, set_all_or_spend);
    CHECK_INT("failed", 0, shared->failed);
    for (enum period_kind kind = PERIOD_DAY; kind <= PERIOD_NONE; kind++) {
        line = line_of(f, "all", kind, NOON);
        if (line.spent_nanos < 0) /* no such line */
            continue;
        CHECK_INT("spent", shared->passed * (5 * CENT / 2), line.spent_nanos);
        CHECK_INT("held", 0, line.held_nanos);
        CHECK_TRUE("I1", line.spent_nanos <= 6 * USD);
        CHECK_TRUE("full", line.spent_nanos > 6 * USD - 8 * 5 * CENT);
    }
    munmap(shared, sizeof(*shared));
    teardown(f);
}

/* ---- expired holds -------------------------------------------------------------------------- */

#define EXPIRED_HOLDS 150
#define LATE (NOON + 2 * TTL)

static struct chain_names
member(int index)
{
    static const char *const users[] = { "user_1", "user_2", "user_3", "user_4" };

    return names_of(index % 2 ? "ak_1" : "ak_2", users[index % 4], "org_1");
}

static void
admit_members(struct fixture *f, struct shared *shared, int index)
{
    for (int i = 0; i < 25; i++) {
        struct chain_names names = member(index + i);

        admit_quietly(f, shared, &names, LATE);
        store_after(f->store);
    }
}

static void
leave_expired(struct fixture *f)
{
    f->plans[0].budgets[0].per = PER_ORG;
    f->plans[0].budgets[0].limit_nanos = (int64_t)EXPIRED_HOLDS * 5 * CENT;
    for (int i = 0; i < EXPIRED_HOLDS; i++) {
        struct chain_names names = member(i);

        CHECK_TRUE("before", admit_names(f, &names, &f->plans[0], NOON + i));
    }
}

/* Of one organization that is full with what four members left behind. */
static void
test_i5_eight_processes_find_the_room_of_each_expired_hold_once(void)
{
    struct fixture *f = setup();
    struct shared *shared = share();

    leave_expired(f);
    race(f, shared, 8, admit_members);
    CHECK_INT("failed", 0, shared->failed);
    CHECK_INT("passed", EXPIRED_HOLDS, shared->passed);
    CHECK_INT("refused", 200 - EXPIRED_HOLDS, shared->refused);
    CHECK_INT("held", (int64_t)EXPIRED_HOLDS * 5 * CENT,
              line_of(f, "org_1", PERIOD_MONTH, LATE).held_nanos);
    CHECK_INT("told", EXPIRED_HOLDS, events_told(f, EVENT_HOLD_EXPIRED, 0));
    munmap(shared, sizeof(*shared));
    teardown(f);
}

static void
test_i5_eight_processes_charge_each_expired_hold_once(void)
{
    struct fixture *f = setup();
    struct shared *shared = share();

    store_close(f->store);
    f->options.charge_on_expiry = true;
    open_store(f);
    leave_expired(f);
    race(f, shared, 8, admit_members);
    CHECK_INT("failed", 0, shared->failed);
    CHECK_INT("passed", 0, shared->passed);
    CHECK_INT("spent", (int64_t)EXPIRED_HOLDS * 5 * CENT,
              line_of(f, "org_1", PERIOD_MONTH, LATE).spent_nanos);
    CHECK_INT("charges", EXPIRED_HOLDS,
              charges(f, (struct charge_filter){ .to_us = INT64_MAX }).count);
    CHECK_INT("told", EXPIRED_HOLDS, events_told(f, EVENT_HOLD_EXPIRED, 0));
    munmap(shared, sizeof(*shared));
    teardown(f);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_i5_eight_processes_find_the_room_of_each_expired_hold_once),
    CHECK_TEST(test_i5_eight_processes_charge_each_expired_hold_once),
    CHECK_TEST(test_i1_eight_processes_on_first_sight_pass_exactly_as_many_as_fit),
    CHECK_TEST(test_rates_are_exact_over_eight_processes),
    CHECK_TEST(test_a_hold_whose_owner_died_frees_its_room_and_its_late_post_counts_once),
    CHECK_TEST(test_i7_a_budget_set_on_all_under_load_counts_every_charge_and_hold),
};

int
main(void)
{
    const struct check_group all = { tests, CHECK_COUNT(tests) };
    const struct check_group *const groups[] = { &all };

    return store_main(groups, CHECK_COUNT(groups), true);
}
