/* SPDX-License-Identifier: MIT */
/*
 * Accounts: chains of parents, plans, what refuses an account, and who a post counts on.
 */
#include "tests/store/fixture.h"

#include "common/banned.h"

static void
test_every_account_of_the_chain_is_counted_and_the_tightest_wins(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "org_1");

    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_INT("parent", OUTCOME_DONE, change(f, "user_1", ACCOUNT_PARENT, 0, "group:west"));
    CHECK_INT("group", OUTCOME_DONE, set_budget(f, "group:west", PERIOD_MONTH, 10 * CENT));
    CHECK_INT("org", OUTCOME_DONE, set_budget(f, "org_1", PERIOD_MONTH, 50 * CENT));
    CHECK_TRUE("second", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_TRUE("third", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_FALSE("fourth", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STRING("whose", "group:west", f->verdict.account);
    CHECK_FALSE("own", f->verdict.own_account);
    CHECK_INT("group held", 10 * CENT, line_of(f, "group:west", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("org held", 15 * CENT, line_of(f, "org_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_a_changed_parent_acts_on_the_next_request_of_every_process(void)
{
    struct fixture *f = setup();
    struct store *other;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK, store_open(&f->options, &other, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(other, "user_1", ACCOUNT_PARENT, 0, "group:west", &ops, NOON,
                                      &f->result, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(other, "group:west", ACCOUNT_FREEZE, 0, NULL, &ops, NOON,
                                      &f->result, &f->err),
                 &f->err);
    store_close(other);
    CHECK_FALSE("frozen above", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_FROZEN, f->verdict.reason);
    CHECK_STRING("who", "group:west", f->verdict.account);
    CHECK_INT("none", OUTCOME_DONE, change(f, "user_1", ACCOUNT_PARENT, 0, ""));
    CHECK_TRUE("free", admit(f, "user_1", NOON));
    teardown(f);
}

static void
test_parents_neither_form_a_circle_nor_pass_four(void)
{
    struct fixture *f = setup();
    const char *up[] = { "user_1", "group:a", "group:b", "group:c", "group:d", "group:e" };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    for (int i = 0; i < 4; i++)
        CHECK_INT("parent", OUTCOME_DONE, change(f, up[i], ACCOUNT_PARENT, 0, up[i + 1]));
    CHECK_TRUE("four", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_CONFLICT,
                 store_account_change(f->store, "group:d", ACCOUNT_PARENT, 0, "user_1", &ops, NOON,
                                      &f->result, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_CONFLICT,
                 store_account_change(f->store, "user_1", ACCOUNT_PARENT, 0, "user_1", &ops, NOON,
                                      &f->result, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_CONFLICT,
                 store_account_change(f->store, "group:d", ACCOUNT_PARENT, 0, "group:e", &ops, NOON,
                                      &f->result, &f->err),
                 &f->err);
    CHECK_TRUE("still", admit(f, "user_1", NOON));
    teardown(f);
}

static void
test_a_parent_from_a_claim_counts_beside_the_stored_one(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("parent", OUTCOME_DONE, change(f, "user_1", ACCOUNT_PARENT, 0, "group:stored"));
    (void)!text_copy(names.parent, sizeof(names.parent), "group:claim");
    CHECK_TRUE("claim", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_INT("stored", OUTCOME_DONE, set_budget(f, "group:stored", PERIOD_MONTH, USD));
    CHECK_INT("claimed", OUTCOME_DONE, set_budget(f, "group:claim", PERIOD_MONTH, USD));
    CHECK_TRUE("again", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_INT("stored held", 10 * CENT, line_of(f, "group:stored", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("claim held", 10 * CENT, line_of(f, "group:claim", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_more_than_four_parents_in_all_are_no_allow(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    const char *up[] = { "user_1", "group:a", "group:b", "group:c", "group:d" };
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = ""
    };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    for (int i = 0; i < 4; i++)
        CHECK_INT("parent", OUTCOME_DONE, change(f, up[i], ACCOUNT_PARENT, 0, up[i + 1]));
    (void)!text_copy(names.parent, sizeof(names.parent), "group:claim");
    CHECK_STATUS(STATUS_OVERFLOW, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("no allow", f->verdict.allow);
    CHECK_STRING("what to do",
                 "store: key:ak_1 has more than 4 parents, one from a claim included; shorten the "
                 "chain with `spendgate account parent`",
                 f->err.message);
    (void)!text_copy(names.parent, sizeof(names.parent), "group:c"); /* one of the four */
    CHECK_TRUE("the same one twice", admit_names(f, &names, &f->plans[0], NOON));
    teardown(f);
}

static void
test_names_that_cannot_be_are_no_allow(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("", "", "");
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = ""
    };
    char parent[ACCOUNT_NAME_SIZE];

    CHECK_STATUS(STATUS_INVALID, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("nobody", f->verdict.allow);
    names = names_of("ak_1", "user 1", "");
    CHECK_STATUS(STATUS_INVALID, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("a space", f->verdict.allow);
    CHECK_INT("a space", OUTCOME_UNKNOWN_HOLD, spend_hold(f, "hld_x", NULL, CENT, NOON));
    CHECK_INT("a space", OUTCOME_UNKNOWN_ACCOUNT, spend_hold(f, "hld_x", "user 1", CENT, NOON));
    CHECK_STATUS(STATUS_NOT_FOUND,
                 store_account_load(f->store, "user 1", NOON, &f->ledger, parent, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_NOT_FOUND,
                 store_account_load(f->store, "user_1", NOON, &f->ledger, parent, &f->err),
                 &f->err);
    names = names_of("ak_1", "", "");
    CHECK_TRUE("a key alone", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_INT("it pays", 1,
              line_of(f, "key:ak_1", PERIOD_MONTH, NOON).account == 0
                  ? f->ledger.accounts[0].live_holds
                  : -1);
    teardown(f);
}

static void
test_two_keys_of_one_customer_keep_their_own_plans_and_share_the_counters(void)
{
    struct fixture *f = setup();
    struct plan *small = add_plan(f, "small", 5 * CENT);
    struct chain_names one = names_of("ak_1", "user_1", ""), two = names_of("ak_2", "user_1", "");

    add_budget(small, PERIOD_MONTH, 10 * CENT);
    CHECK_TRUE("small", admit_names(f, &two, small, NOON));
    CHECK_TRUE("pro", admit_names(f, &one, &f->plans[0], NOON));
    CHECK_FALSE("small is full", admit_names(f, &two, small, NOON));
    CHECK_TRUE("pro is not", admit_names(f, &one, &f->plans[0], NOON));
    CHECK_INT("held", 15 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    CHECK_STRING("last seen", "pro", f->ledger.accounts[0].plan);
    teardown(f);
}

static void
test_i9_frozen_revoked_and_expired_are_refused_on_the_next_request(void)
{
    struct fixture *f = setup();

    f->plans[0].expires_in_us = 100 * SECOND;
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("freeze", OUTCOME_DONE, change(f, "user_1", ACCOUNT_FREEZE, 0, NULL));
    CHECK_FALSE("frozen", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_FROZEN, f->verdict.reason);
    CHECK_INT("unfreeze", OUTCOME_DONE, change(f, "user_1", ACCOUNT_UNFREEZE, 0, NULL));
    CHECK_INT("revoke", OUTCOME_DONE, change(f, "key:ak_1", ACCOUNT_REVOKE, 0, NULL));
    CHECK_FALSE("revoked", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_REVOKED, f->verdict.reason);
    CHECK_INT("unrevoke", OUTCOME_DONE, change(f, "key:ak_1", ACCOUNT_UNREVOKE, 0, NULL));
    CHECK_TRUE("again", admit(f, "user_1", NOON + 99 * SECOND));
    CHECK_FALSE("expired", admit(f, "user_1", NOON + 100 * SECOND));
    CHECK_INT("reason", REASON_EXPIRED, f->verdict.reason);
    CHECK_INT("since", NOON + 100 * SECOND, f->verdict.expired_us);
    CHECK_INT("renew", OUTCOME_DONE, change(f, "user_1", ACCOUNT_RENEW, NOON + 200 * SECOND, NULL));
    CHECK_TRUE("renewed", admit(f, "user_1", NOON + 100 * SECOND));
    CHECK_INT("made", OUTCOME_DONE, change(f, "key:ak_9", ACCOUNT_REVOKE, 0, NULL));
    CHECK_INT("not made", OUTCOME_UNKNOWN_ACCOUNT,
              change(f, "key:ak_8", ACCOUNT_UNREVOKE, 0, NULL));
    teardown(f);
}

static void
test_an_account_made_before_its_first_request_expires_as_well(void)
{
    struct fixture *f = setup();

    f->plans[0].expires_in_us = 100 * SECOND;
    CHECK_INT("made", OUTCOME_DONE, change(f, "user_1", ACCOUNT_FREEZE, 0, NULL));
    CHECK_FALSE("frozen", admit(f, "user_1", NOON));
    CHECK_INT("thaw", OUTCOME_DONE, change(f, "user_1", ACCOUNT_UNFREEZE, 0, NULL));
    CHECK_TRUE("its first request", admit(f, "user_1", NOON + 50 * SECOND));
    CHECK_TRUE("lives", admit(f, "user_1", NOON + 149 * SECOND));
    CHECK_FALSE("so long", admit(f, "user_1", NOON + 150 * SECOND));
    CHECK_INT("reason", REASON_EXPIRED, f->verdict.reason);
    teardown(f);
}

static void
test_reverify_asks_for_a_newer_verification(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = { .names = &names, .plan = &f->plans[0], .unique_id = "" };

    CHECK_STATUS(STATUS_OK, store_verification_number(f->store, &ask.verification, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    CHECK_INT("reverify", OUTCOME_DONE, change(f, "user_1", ACCOUNT_REVERIFY, 0, NULL));
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("old", f->verdict.allow);
    CHECK_INT("reason", REASON_REVERIFY, f->verdict.reason);
    CHECK_STATUS(STATUS_OK, store_verification_number(f->store, &ask.verification, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("new", f->verdict.allow);
    teardown(f);
}

static void
test_a_post_without_a_hold_counts_on_the_parent_that_a_claim_named(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", ""), seen = names_of("ak_1", "", "");
    struct spend spend = { .subject = "user_1", .key_id = "ak_1", .cost_nanos = CENT };

    f->plans[0].hold.nanos = 0;
    (void)!text_copy(names.parent, sizeof(names.parent), "group:claim");
    CHECK_INT("parent", OUTCOME_DONE, change(f, "group:claim", ACCOUNT_FREEZE, 0, NULL));
    CHECK_INT("parent", OUTCOME_DONE, change(f, "group:claim", ACCOUNT_UNFREEZE, 0, NULL));
    CHECK_STATUS(STATUS_OK,
                 store_budget_set(f->store, "group:claim", PERIOD_MONTH, 2 * CENT, NULL, &ops, NOON,
                                  &f->result, &f->err),
                 &f->err);
    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    for (int i = 1; i <= 2; i++) {
        CHECK_STATUS(
            STATUS_OK,
            store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
            &f->err);
        CHECK_INT("group", i * CENT, line_of(f, "group:claim", PERIOD_MONTH, NOON).spent_nanos);
    }
    CHECK_FALSE("full", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STRING("who", "group:claim", f->verdict.account);
    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &seen, &f->err), &f->err);
    CHECK_STRING("last seen", "group:claim", seen.parent);
    CHECK_STRING("and no organization", "", seen.organization);
    teardown(f);
}

static void
test_a_post_without_a_hold_counts_on_the_organization_of_its_key(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "org_1");
    struct spend spend = { .subject = "user_1", .key_id = "ak_1", .cost_nanos = CENT };

    f->plans[0].hold.nanos = 0;
    add_budget(&f->plans[0], PERIOD_DAY, 2 * CENT)->per = PER_ORG;
    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("org", CENT, line_of(f, "org_1", PERIOD_DAY, NOON).spent_nanos);
    CHECK_INT("user", CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_FALSE("full", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STRING("who", "org_1", f->verdict.account);
    teardown(f);
}

static void
test_a_post_that_names_the_key_only_counts_on_its_subject_and_organization(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "org_1");
    struct spend spend = { .key_id = "ak_1", .cost_nanos = CENT };
    struct spend stranger = { .key_id = "ak_2", .cost_nanos = CENT };

    f->plans[0].hold.nanos = 0;
    add_budget(&f->plans[0], PERIOD_DAY, 5 * CENT)->per = PER_ORG;
    add_budget(&f->plans[0], PERIOD_WEEK, 5 * CENT)->per = PER_KEY;
    /* Of a key that nobody was seen with only the key is known, also later. */
    CHECK_INT("made", OUTCOME_DONE, change(f, "key:ak_1", ACCOUNT_REVOKE, 0, NULL));
    CHECK_INT("made", OUTCOME_DONE, change(f, "key:ak_1", ACCOUNT_UNREVOKE, 0, NULL));
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_STRING("who pays", "key:ak_1", f->result.charge.account);
    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    for (int i = 1; i <= 2; i++) {
        CHECK_STATUS(
            STATUS_OK,
            store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
            &f->err);
        CHECK_STRING("who pays", "user_1", f->result.charge.account);
        CHECK_STRING("by which key", "ak_1", f->result.charge.key_id);
        CHECK_INT("user", i * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
        CHECK_INT("org", i * CENT, line_of(f, "org_1", PERIOD_DAY, NOON).spent_nanos);
        CHECK_INT("key", (i + 1) * CENT, line_of(f, "key:ak_1", PERIOD_WEEK, NOON).spent_nanos);
    }
    CHECK_INT("its account as the subject", OUTCOME_DONE,
              spend_as(f, "key:ak_1", CENT, NULL, NOON));
    CHECK_INT("user", 3 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_STATUS(
        STATUS_OK,
        store_spend(f->store, &stranger, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("a key nobody knows", OUTCOME_UNKNOWN_ACCOUNT, f->result.outcome);
    teardown(f);
}

static void
test_the_names_last_seen_are_those_of_the_key_else_of_the_subject(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "org_1");
    struct chain_names asked = names_of("ak_1", "user_1", "");

    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &asked, &f->err), &f->err);
    CHECK_STRING("none yet", "", asked.organization);
    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &asked, &f->err), &f->err);
    CHECK_STRING("of the key", "org_1", asked.organization);
    asked = names_of("", "user_1", "");
    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &asked, &f->err), &f->err);
    CHECK_STRING("of the subject", "org_1", asked.organization);
    asked = names_of("ak_1", "", "");
    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &asked, &f->err), &f->err);
    CHECK_STRING("whose key it is", "user_1", asked.subject);
    CHECK_STRING("and where", "org_1", asked.organization);
    asked = names_of("", "user_1", "org_2");
    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &asked, &f->err), &f->err);
    CHECK_STRING("what is known is kept", "org_2", asked.organization);
    if (!store_has_clock())
        CHECK_INT("the machine's clock", 7, store_now_us(f->store, 7));
    teardown(f);
}

static void
test_an_organization_that_is_the_subject_counts_once(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "org_1", "org_1");

    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_TRUE("second", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_INT("held", 10 * CENT, line_of(f, "org_1", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("live", 2, f->ledger.accounts[0].live_holds);
    teardown(f);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_every_account_of_the_chain_is_counted_and_the_tightest_wins),
    CHECK_TEST(test_a_changed_parent_acts_on_the_next_request_of_every_process),
    CHECK_TEST(test_parents_neither_form_a_circle_nor_pass_four),
    CHECK_TEST(test_a_parent_from_a_claim_counts_beside_the_stored_one),
    CHECK_TEST(test_more_than_four_parents_in_all_are_no_allow),
    CHECK_TEST(test_names_that_cannot_be_are_no_allow),
    CHECK_TEST(test_two_keys_of_one_customer_keep_their_own_plans_and_share_the_counters),
    CHECK_TEST(test_i9_frozen_revoked_and_expired_are_refused_on_the_next_request),
    CHECK_TEST(test_an_account_made_before_its_first_request_expires_as_well),
    CHECK_TEST(test_reverify_asks_for_a_newer_verification),
    CHECK_TEST(test_a_post_without_a_hold_counts_on_the_parent_that_a_claim_named),
    CHECK_TEST(test_a_post_without_a_hold_counts_on_the_organization_of_its_key),
    CHECK_TEST(test_a_post_that_names_the_key_only_counts_on_its_subject_and_organization),
    CHECK_TEST(test_the_names_last_seen_are_those_of_the_key_else_of_the_subject),
    CHECK_TEST(test_an_organization_that_is_the_subject_counts_once),
};
const struct check_group store_accounts_tests = { tests, CHECK_COUNT(tests) };
