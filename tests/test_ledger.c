/* SPDX-License-Identifier: MIT */
#include "common/clock.h"
#include "common/error.h"
#include "common/ledger.h"
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/banned.h"

#define NOW (INT64_C(1700000000) * US_PER_SECOND) /* 2023-11-14T22:13:20Z */
#define MINUTE (60 * US_PER_SECOND)
#define DOLLAR MONEY_NANOS_PER_USD

enum { KEY, SUBJECT, ORGANIZATION, PARENT, ALL, ACCOUNTS };

/* One chain with every kind of account; tests add the lines they are about. */
static struct ledger ledger;
static struct plan plan;
static struct verdict verdict;
static struct charge_effect effect;
static struct error err;

static void
fresh(void)
{
    static const char *const names[ACCOUNTS] = { "key:ak_1", "user_1", "org_1", "group:g", "all" };

    memset(&ledger, 0, sizeof(ledger));
    memset(&plan, 0, sizeof(plan));
    memset(&err, 0, sizeof(err));
    ledger.account_count = ACCOUNTS;
    ledger.key = KEY;
    ledger.subject = SUBJECT;
    ledger.organization = ORGANIZATION;
    for (int i = 0; i < ACCOUNTS; i++) {
        ledger.accounts[i].id = i + 1;
        snprintf(ledger.accounts[i].name, ACCOUNT_NAME_SIZE, "%s", names[i]);
    }
    snprintf(plan.name, sizeof(plan.name), "pro");
}

static struct budget_line *
line_add(int account, enum period_kind kind, int64_t limit_nanos)
{
    struct budget_line *line = &ledger.lines[ledger.line_count++];

    memset(line, 0, sizeof(*line));
    line->id = (int64_t)ledger.line_count;
    line->account = account;
    line->spec =
        (struct period_spec){ .kind = kind, .timezone = "UTC", .anchor_day = 1, .week_start = 1 };
    line->period.start_us = NOW - MINUTE;
    line->period.end_us = NOW + MINUTE;
    line->limited = limit_nanos >= 0;
    line->base_limit_nanos = limit_nanos >= 0 ? limit_nanos : 0;
    line->plan_index = -1;
    return line;
}

static bool
admit(int64_t hold_nanos)
{
    struct admission_event event = { .plan = &plan,
                                     .hold_due = hold_nanos > 0,
                                     .hold_nanos = hold_nanos,
                                     .hold_ttl_us = 5 * MINUTE };

    ledger_admit(&ledger, &event, NOW, &verdict);
    return verdict.allow;
}

/* A hold of that amount as the store would give it back later. */
static struct hold
hold_placed(int64_t nanos)
{
    CHECK_TRUE("admit", admit(nanos));
    CHECK_TRUE("placed", verdict.hold_placed);
    return verdict.hold;
}

/* A refusal leaves every row as it was. */
static void
check_refused(const struct ledger *before, enum reason reason, int account)
{
    CHECK_FALSE("allow", verdict.allow);
    CHECK_INT("reason", reason, verdict.reason);
    CHECK_STRING("account", account < 0 ? "" : ledger.accounts[account].name, verdict.account);
    CHECK_INT("own account", account == KEY || account == SUBJECT, verdict.own_account);
    CHECK_FALSE("hold", verdict.hold_placed);
    CHECK_INT("rows", 0, memcmp(before, &ledger, sizeof(ledger)));
}

/* ---- I1 ---- */

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

/* ---- I2, I7, I8: a schedule at random against sums kept beside it ---- */

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

/* ---- I4, I5 ---- */

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

/* ---- I6 ---- */

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

/* ---- I9, I10 and the order of the checks ---- */

static void
test_i9_revoked_and_frozen_accounts_are_refused_anywhere_in_the_chain(void)
{
    for (int account = 0; account < ACCOUNTS; account++) {
        struct ledger before;
        struct hold hold;

        fresh();
        hold = hold_placed(10);
        ledger.accounts[account].frozen = true;
        before = ledger;
        CHECK_FALSE("frozen", admit(10));
        check_refused(&before, REASON_FROZEN, account);
        CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, NULL, &hold, 0, NOW, &verdict, &err), &err);
        check_refused(&before, REASON_FROZEN, account);
        ledger.accounts[account].revoked = true;
        before = ledger;
        CHECK_FALSE("revoked", admit(10));
        check_refused(&before, REASON_REVOKED, account);
        CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, NULL, &hold, 0, NOW, &verdict, &err), &err);
        check_refused(&before, REASON_REVOKED, account);
        CHECK_STATUS(STATUS_OK, ledger_expire(&ledger, &hold, false, NOW + 5 * MINUTE, &err), &err);
        CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, NULL, &hold, 0, NOW, &verdict, &err), &err);
        CHECK_INT("no way back", REASON_REVOKED, verdict.reason);
        ledger.accounts[account].revoked = false;
        CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, NULL, &hold, 0, NOW, &verdict, &err), &err);
        CHECK_INT("no way back", REASON_FROZEN, verdict.reason);
    }
}

static void
test_i9_an_older_verification_is_not_used(void)
{
    struct admission_event event = { .plan = &plan, .verification = 7 };
    struct ledger before;

    fresh();
    ledger.accounts[ORGANIZATION].verify_after = 8;
    before = ledger;
    ledger_admit(&ledger, &event, NOW, &verdict);
    check_refused(&before, REASON_REVERIFY, ORGANIZATION);
    event.verification = 8;
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_TRUE("allow", verdict.allow);
}

static void
test_i10_nothing_known_is_no_allow(void)
{
    struct admission_event event = { .plan = &plan };

    fresh();
    memset(&ledger, 0, sizeof(ledger));
    ledger.key = ledger.subject = ledger.organization = -1;
    memset(&verdict, 0xff, sizeof(verdict));
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_FALSE("allow", verdict.allow);
    CHECK_INT("a failure", REASON_NONE, verdict.reason);
    CHECK_FALSE("hold", verdict.hold_placed);
}

/* Everything is wrong at once; each check is mended in turn. */
static void
test_admit_asks_in_the_documented_order(void)
{
    struct admission_event event = { .plan = &plan,
                                     .missing_scope = "proxy.chat",
                                     .hold_ttl_us = MINUTE };
    struct ledger before;

    fresh();
    plan.concurrency = 2;
    line_add(SUBJECT, PERIOD_DAY, 0);
    ledger.accounts[ALL].revoked = true;
    ledger.accounts[KEY].verify_after = 1;
    ledger.accounts[KEY].frozen = true;
    ledger.accounts[KEY].expires_us = NOW;
    ledger.accounts[SUBJECT].live_holds = 2;
    ledger.rate_count = 1;
    ledger.rates[0] = (struct rate_row){
        .account = SUBJECT,
        .rate = { .count = 1, .per_us = US_PER_SECOND, .burst = 1, .text = "1/1s" },
        .tat_ns = (NOW + US_PER_SECOND) * 1000,
    };
    before = ledger;
    ledger_admit(&ledger, &event, NOW, &verdict);
    check_refused(&before, REASON_REVOKED, ALL);
    ledger.accounts[ALL].revoked = before.accounts[ALL].revoked = false;
    ledger_admit(&ledger, &event, NOW, &verdict);
    check_refused(&before, REASON_REVERIFY, KEY);
    event.verification = 1;
    ledger_admit(&ledger, &event, NOW, &verdict);
    check_refused(&before, REASON_FROZEN, KEY);
    ledger.accounts[KEY].frozen = before.accounts[KEY].frozen = false;
    ledger_admit(&ledger, &event, NOW, &verdict);
    check_refused(&before, REASON_EXPIRED, KEY);
    CHECK_INT("expired", NOW, verdict.expired_us);
    ledger.accounts[KEY].expires_us = before.accounts[KEY].expires_us = NOW + 1;
    ledger_admit(&ledger, &event, NOW, &verdict);
    check_refused(&before, REASON_SCOPE, -1);
    event.missing_scope = NULL;
    ledger_admit(&ledger, &event, NOW, &verdict);
    check_refused(&before, REASON_RATE, SUBJECT);
    CHECK_STRING("rate", "1/1s", verdict.rate_text);
    CHECK_INT("rate", 1, verdict.rate.count);
    CHECK_INT("retry", US_PER_SECOND, verdict.retry_after_us);
    ledger.rates[0].tat_ns = before.rates[0].tat_ns = 0;
    ledger_admit(&ledger, &event, NOW, &verdict);
    check_refused(&before, REASON_CONCURRENCY, SUBJECT);
    CHECK_INT("concurrency", 2, verdict.concurrency);
    CHECK_INT("retry", US_PER_SECOND, verdict.retry_after_us);
    ledger.accounts[SUBJECT].live_holds = before.accounts[SUBJECT].live_holds = 1;
    ledger_admit(&ledger, &event, NOW, &verdict);
    check_refused(&before, REASON_BUDGET, SUBJECT);
    ledger.lines[0].base_limit_nanos = 1;
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_TRUE("allow", verdict.allow);
    CHECK_TRUE("concurrency places a hold", verdict.hold_placed);
    CHECK_INT("live", 2, ledger.accounts[SUBJECT].live_holds);
    CHECK_TRUE("rate", ledger.rates[0].changed);
    CHECK_INT("rate", (NOW + US_PER_SECOND) * 1000, ledger.rates[0].tat_ns);
}

/* ---- what an admission leaves behind ---- */

static void
test_admit_fills_the_hold(void)
{
    struct hold hold;

    fresh();
    hold = hold_placed(10);
    CHECK_INT("id", 0, hold.id);
    CHECK_INT("state", HOLD_HELD, hold.state);
    CHECK_INT("amount", 10, hold.amount_nanos);
    CHECK_INT("placed", NOW, hold.placed_us);
    CHECK_INT("ttl", 5 * MINUTE, hold.ttl_us);
    CHECK_INT("expires", NOW + 5 * MINUTE, hold.expires_us);
    CHECK_STRING("plan", "pro", hold.plan);
    CHECK_TRUE("changed", hold.changed);
    CHECK_TRUE("payer", ledger.accounts[SUBJECT].changed);
    CHECK_FALSE("no budget", verdict.has_budget);
    CHECK_STRING("no warning", "", verdict.warn);
}

static void
test_admit_without_a_plan_goes_by_hand_set_limits(void)
{
    struct admission_event event = { .hold_nanos = 10, .hold_ttl_us = MINUTE };

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 10);
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_TRUE("allow", verdict.allow);
    CHECK_STRING("plan", "", verdict.hold.plan);
    CHECK_STRING("none noted", "", ledger.accounts[SUBJECT].plan);
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_INT("refused", REASON_BUDGET, verdict.reason);
    ledger.lines[0].base_limit_nanos = 11;
    event.hold_nanos = 0;
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_TRUE("one is left", verdict.allow);
    CHECK_FALSE("and nothing asks for a hold", verdict.hold_placed);
}

static void
test_admit_of_what_is_free_asks_no_budget_and_holds_nothing(void)
{
    struct admission_event event = {
        .plan = &plan, .hold_due = true, .hold_nanos = 10, .free = true
    };

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 10);
    ledger.lines[0].spent_nanos = 11;
    plan.concurrency = 1;
    ledger.accounts[SUBJECT].live_holds = 1;
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_TRUE("over budget, at the limit of holds: allowed", verdict.allow);
    CHECK_FALSE("without a hold", verdict.hold_placed);
    CHECK_INT("held", 0, ledger.lines[0].held_nanos);
    CHECK_INT("live", 1, ledger.accounts[SUBJECT].live_holds);
    ledger.accounts[SUBJECT].frozen = true;
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_INT("frozen is frozen", REASON_FROZEN, verdict.reason);
    ledger.accounts[SUBJECT].frozen = false;
    event.missing_scope = "x";
    ledger_admit(&ledger, &event, NOW, &verdict);
    CHECK_INT("and a scope is a scope", REASON_SCOPE, verdict.reason);
}

static void
test_admit_notes_the_plan_and_sets_the_expiry_at_first_sight_only(void)
{
    fresh();
    plan.expires_in_us = 9 * MINUTE;
    ledger.accounts[SUBJECT].id = 0;
    CHECK_TRUE("first", admit(0));
    CHECK_STRING("plan", "pro", ledger.accounts[SUBJECT].plan);
    CHECK_INT("expires", NOW + 9 * MINUTE, ledger.accounts[SUBJECT].expires_us);
    CHECK_TRUE("changed", ledger.accounts[SUBJECT].changed);
    CHECK_INT("only the subject", 0, ledger.accounts[KEY].expires_us);
    ledger.accounts[SUBJECT].id = 2;
    ledger.accounts[SUBJECT].expires_us = 0;
    ledger.accounts[SUBJECT].changed = false;
    CHECK_TRUE("second", admit(0));
    CHECK_INT("expires", 0, ledger.accounts[SUBJECT].expires_us);
    CHECK_FALSE("nothing new", ledger.accounts[SUBJECT].changed);
    snprintf(plan.name, sizeof(plan.name), "free");
    CHECK_TRUE("third", admit(0));
    CHECK_STRING("plan", "free", ledger.accounts[SUBJECT].plan);
    CHECK_TRUE("changed", ledger.accounts[SUBJECT].changed);
    plan.expires_in_us = 0;
    ledger.accounts[SUBJECT].id = 0;
    CHECK_TRUE("a plan without an end", admit(0));
    CHECK_INT("expires", 0, ledger.accounts[SUBJECT].expires_us);
}

static void
test_the_subject_pays_else_the_key_else_the_first(void)
{
    fresh();
    CHECK_INT("subject", SUBJECT, ledger_payer(&ledger));
    ledger.subject = -1;
    CHECK_INT("key", KEY, ledger_payer(&ledger));
    CHECK_TRUE("admit", admit(5));
    CHECK_INT("live", 1, ledger.accounts[KEY].live_holds);
    CHECK_STRING("no subject, no plan noted", "", ledger.accounts[KEY].plan);
    ledger.key = -1;
    CHECK_INT("first", 0, ledger_payer(&ledger));
    ledger.account_count = 0;
    CHECK_INT("none", -1, ledger_payer(&ledger));
}

static void
test_the_tightest_budget_is_named(void)
{
    fresh();
    line_add(ALL, PERIOD_DAY, 50);
    line_add(SUBJECT, PERIOD_DAY, 80)->plan_index = 1;
    line_add(SUBJECT, PERIOD_HOUR, 50)->plan_index = -1;
    line_add(SUBJECT, PERIOD_WEEK, 50)->plan_index = 2;
    line_add(SUBJECT, PERIOD_MONTH, 50)->plan_index = 3;
    CHECK_TRUE("allow", admit(0));
    CHECK_INT("chain order, then plan order", PERIOD_WEEK, verdict.period);
    ledger.lines[3].plan_index = ledger.lines[4].plan_index = -1;
    CHECK_TRUE("allow", admit(0));
    CHECK_INT("the shorter period", PERIOD_HOUR, verdict.period);
    ledger.lines[0].held_nanos = 1;
    CHECK_TRUE("allow", admit(0));
    CHECK_INT("smallest remaining", PERIOD_DAY, verdict.period);
    CHECK_INT("remaining", 49, verdict.remaining_nanos);
    CHECK_FALSE("over", admit(50));
    CHECK_STRING("account", "all", verdict.account);
    CHECK_FALSE("own", verdict.own_account);
}

static void
test_a_warning_budget_counts_and_says_so(void)
{
    fresh();
    line_add(SUBJECT, PERIOD_DAY, 10)->enforce = ENFORCE_WARN;
    line_add(ALL, PERIOD_MONTH, 10)->enforce = ENFORCE_WARN;
    line_add(ALL, PERIOD_YEAR, 5)->enforce = ENFORCE_OFF;
    line_add(ALL, PERIOD_NONE, -1);
    CHECK_TRUE("fits", admit(10));
    CHECK_STRING("no warning", "", verdict.warn);
    CHECK_FALSE("no hard budget", verdict.has_budget);
    CHECK_TRUE("over", admit(1));
    CHECK_STRING("warning", "user_1 day,all month", verdict.warn);
    CHECK_INT("counted", 11, ledger.lines[0].held_nanos);
    CHECK_INT("counted", 11, ledger.lines[2].held_nanos);
}

static void
test_a_warning_that_does_not_fit_is_left_out_whole(void)
{
    fresh();
    for (int i = 0; i < 3; i++) {
        memset(ledger.accounts[i].name, 'a' + i, 120);
        line_add(i, PERIOD_DAY, 0)->enforce = ENFORCE_WARN;
    }
    line_add(ALL, PERIOD_DAY, 0)->enforce = ENFORCE_WARN;
    CHECK_TRUE("allow", admit(1));
    CHECK_INT("two and a short one", 124 + 1 + 124, strlen(verdict.warn));
    CHECK_INT("whole", 'b', verdict.warn[125]);
    ledger.lines[1].enforce = ENFORCE_OFF;
    ledger.lines[2].enforce = ENFORCE_OFF;
    CHECK_TRUE("allow", admit(1));
    CHECK_STRING("the short one", ",all day", verdict.warn + 124);
}

static void
test_an_extend_says_what_a_warning_budget_would(void)
{
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 10)->enforce = ENFORCE_WARN;
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, NULL, &hold, 0, NOW, &verdict, &err), &err);
    CHECK_STRING("at the limit", "", verdict.warn);
    CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, NULL, &hold, 1, NOW, &verdict, &err), &err);
    CHECK_STRING("over", "user_1 day", verdict.warn);
    CHECK_STATUS(STATUS_OK, ledger_extend(&ledger, NULL, &hold, 0, NOW, &verdict, &err), &err);
    CHECK_STRING("over", "user_1 day", verdict.warn);
}

/* ---- repeated calls of one client request ---- */

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

/* ---- charges ---- */

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
test_a_charge_above_its_hold_but_within_the_budget_is_not_over(void)
{
    struct hold hold;

    fresh();
    line_add(SUBJECT, PERIOD_DAY, 100);
    hold = hold_placed(10);
    CHECK_STATUS(STATUS_OK, ledger_settle(&ledger, &hold, 100, NOW, &effect, &err), &err);
    CHECK_FALSE("over", effect.over_budget);
    CHECK_INT("overrun", 0, effect.overrun_nanos);
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
charge(int64_t nanos)
{
    ledger.event_count = 0;
    for (size_t i = 0; i < ledger.line_count; i++)
        ledger.lines[i].changed = false;
    CHECK_STATUS(STATUS_OK, ledger_charge(&ledger, nanos, NOW, &effect, &err), &err);
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

/* ---- bind ---- */

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

/* ---- carried overage ---- */

#define DAY_US (INT64_C(86400) * US_PER_SECOND)

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

/* ---- rates ---- */

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

/* ---- names ---- */

static void
test_the_kind_of_an_account_is_in_its_name(void)
{
    const struct {
        const char *name;
        enum account_kind kind;
        const char *word;
    } wanted[] = {
        { "user_1", ACCOUNT_USER, "user" },      { "org_1", ACCOUNT_ORGANIZATION, "organization" },
        { "mch_1", ACCOUNT_MACHINE, "machine" }, { "key:ak_1", ACCOUNT_KEY, "key" },
        { "group:g", ACCOUNT_GROUP, "group" },   { "all", ACCOUNT_ALL, "all" },
        { "allan", ACCOUNT_SUBJECT, "subject" }, { "", ACCOUNT_SUBJECT, "subject" },
        { "user", ACCOUNT_SUBJECT, "subject" },
    };

    for (size_t i = 0; i < CHECK_COUNT(wanted); i++) {
        CHECK_INT(wanted[i].name, wanted[i].kind, account_kind_of(wanted[i].name));
        CHECK_STRING(wanted[i].name, wanted[i].word, account_kind_name(wanted[i].kind));
    }
}

static void
test_account_names_are_visible_and_safe_in_a_path(void)
{
    const char *const bad[] = { "",     "a b",  "a/b",   "a?b", "a#b",     "a%b",
                                "a\"b", "a\\b", "a\x7f", "a\n", "\xc3\xa9" };
    char name[ACCOUNT_NAME_SIZE + 1];

    CHECK_TRUE("plain", account_name_valid("key:ak_1-x.y~!@"));
    for (size_t i = 0; i < CHECK_COUNT(bad); i++)
        CHECK_FALSE("bad", account_name_valid(bad[i]));
    memset(name, 'a', sizeof(name));
    name[ACCOUNT_NAME_SIZE - 1] = '\0';
    CHECK_TRUE("longest", account_name_valid(name));
    name[ACCOUNT_NAME_SIZE - 1] = 'a';
    name[ACCOUNT_NAME_SIZE] = '\0';
    CHECK_FALSE("too long", account_name_valid(name));
}

static void
test_events_and_states_have_names(void)
{
    CHECK_STRING("event", "threshold", event_kind_name(EVENT_THRESHOLD));
    CHECK_STRING("event", "overrun", event_kind_name(EVENT_OVERRUN));
    CHECK_STRING("event", "hold_expired", event_kind_name(EVENT_HOLD_EXPIRED));
    CHECK_STRING("event", "account_frozen", event_kind_name(EVENT_ACCOUNT_FROZEN));
    CHECK_STRING("event", "admin", event_kind_name(EVENT_ADMIN));
    CHECK_STRING("state", "held", hold_state_name(HOLD_HELD));
    CHECK_STRING("state", "settled", hold_state_name(HOLD_SETTLED));
    CHECK_STRING("state", "voided", hold_state_name(HOLD_VOIDED));
    CHECK_STRING("state", "expired", hold_state_name(HOLD_EXPIRED));
}

int
main(void)
{
    const struct check_test tests[] = {
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
        CHECK_TEST(test_i9_revoked_and_frozen_accounts_are_refused_anywhere_in_the_chain),
        CHECK_TEST(test_i9_an_older_verification_is_not_used),
        CHECK_TEST(test_i10_nothing_known_is_no_allow),
        CHECK_TEST(test_admit_asks_in_the_documented_order),
        CHECK_TEST(test_admit_fills_the_hold),
        CHECK_TEST(test_admit_without_a_plan_goes_by_hand_set_limits),
        CHECK_TEST(test_admit_of_what_is_free_asks_no_budget_and_holds_nothing),
        CHECK_TEST(test_admit_notes_the_plan_and_sets_the_expiry_at_first_sight_only),
        CHECK_TEST(test_the_subject_pays_else_the_key_else_the_first),
        CHECK_TEST(test_the_tightest_budget_is_named),
        CHECK_TEST(test_a_warning_budget_counts_and_says_so),
        CHECK_TEST(test_a_warning_that_does_not_fit_is_left_out_whole),
        CHECK_TEST(test_an_extend_says_what_a_warning_budget_would),
        CHECK_TEST(test_a_repeated_call_counts_nothing_again_while_its_hold_lives),
        CHECK_TEST(test_a_repeated_call_without_a_hold_is_not_rated_again),
        CHECK_TEST(test_a_charge_larger_than_hold_and_budget_is_recorded_in_full),
        CHECK_TEST(test_a_charge_above_its_hold_but_within_the_budget_is_not_over),
        CHECK_TEST(test_a_frozen_account_is_still_charged),
        CHECK_TEST(test_thresholds_and_overruns_are_told_once),
        CHECK_TEST(test_thresholds_are_of_the_effective_limit),
        CHECK_TEST(test_alerts_are_told_for_hard_and_warning_budgets_only),
        CHECK_TEST(test_the_events_of_one_change_always_fit),
        CHECK_TEST(test_bind_makes_the_lines_a_plan_needs),
        CHECK_TEST(test_bind_takes_a_hand_set_limit_before_the_plans),
        CHECK_TEST(test_bind_counts_per_org_on_the_subject_without_an_organization),
        CHECK_TEST(test_bind_leaves_out_what_nobody_carries),
        CHECK_TEST(test_bind_lets_the_tighter_of_two_budgets_rule_a_line),
        CHECK_TEST(test_bind_refuses_more_lines_than_fit),
        CHECK_TEST(test_carry_hands_the_overrun_on),
        CHECK_TEST(test_carry_says_what_it_cannot_compute),
        CHECK_TEST(test_rate_allows_the_burst_and_then_one_per_interval),
        CHECK_TEST(test_rate_tells_what_is_left),
        CHECK_TEST(test_rate_is_exact_in_nanoseconds),
        CHECK_TEST(test_rate_does_not_loosen_when_requests_overtake_each_other),
        CHECK_TEST(test_rate_forgets_a_clock_that_was_wrong),
        CHECK_TEST(test_rate_stays_in_range_at_the_extremes),
        CHECK_TEST(test_all_rates_have_to_allow_before_one_is_taken),
        CHECK_TEST(test_the_kind_of_an_account_is_in_its_name),
        CHECK_TEST(test_account_names_are_visible_and_safe_in_a_path),
        CHECK_TEST(test_events_and_states_have_names),
    };

    return check_main("ledger", tests, CHECK_COUNT(tests));
}
