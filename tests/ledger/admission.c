/* SPDX-License-Identifier: MIT */
/*
 * I9, I10: who is refused, in which order, and what an admission leaves behind.
 */
#include "tests/ledger/fixture.h"

#include "common/banned.h"

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
    ledger.accounts[SUBJECT].plan[0] = '\0';
    CHECK_TRUE("the first request of one that was made before", admit(0));
    CHECK_INT("expires", NOW + 9 * MINUTE, ledger.accounts[SUBJECT].expires_us);
    ledger.accounts[SUBJECT].plan[0] = '\0';
    ledger.accounts[SUBJECT].expires_us = NOW + 1;
    CHECK_TRUE("and was renewed", admit(0));
    CHECK_INT("stays", NOW + 1, ledger.accounts[SUBJECT].expires_us);
    plan.expires_in_us = ledger.accounts[SUBJECT].expires_us = 0;
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

static const struct check_test tests[] = {
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
    CHECK_TEST(test_the_kind_of_an_account_is_in_its_name),
    CHECK_TEST(test_account_names_are_visible_and_safe_in_a_path),
    CHECK_TEST(test_events_and_states_have_names),
};
const struct check_group ledger_admission_tests = { tests, CHECK_COUNT(tests) };
