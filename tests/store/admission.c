/* SPDX-License-Identifier: MIT */
/*
 * What a first request makes, how many holds fit, and what a settlement returns.
 */
#include "tests/store/fixture.h"

#include "common/banned.h"

static void
test_first_sight_creates_the_accounts_and_admits(void)
{
    struct fixture *f = setup();
    struct budget_line line;

    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    CHECK_TRUE("hold", f->verdict.hold_placed);
    CHECK_INT("hold amount", 5 * CENT, f->verdict.hold.amount_nanos);
    CHECK_INT("remaining", 95 * CENT, f->verdict.remaining_nanos);
    line = line_of(f, "user_1", PERIOD_MONTH, NOON);
    CHECK_INT("held", 5 * CENT, line.held_nanos);
    CHECK_INT("spent", 0, line.spent_nanos);
    CHECK_INT("start", MONTH_START, line.period.start_us);
    CHECK_STRING("plan", "pro", f->ledger.accounts[0].plan);
    CHECK_INT("live holds", 1, f->ledger.accounts[0].live_holds);
    teardown(f);
}

static void
test_a_budget_of_the_last_plan_is_shown_before_it_counts(void)
{
    struct fixture *f = setup();
    struct plan *day = add_plan(f, "day", 0);
    struct chain_names names = names_of("ak_1", "user_1", "org_1");
    const struct actor actor = { "operator", NULL };

    add_budget(day, PERIOD_DAY, 7 * CENT);
    add_budget(day, PERIOD_YEAR, USD)->per = PER_ORG;
    CHECK_TRUE("allow", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STATUS(STATUS_OK,
                 store_account_change(f->store, "user_1", ACCOUNT_PLAN, 0, "day", &actor, NOON,
                                      &f->result, &f->err),
                 &f->err);
    CHECK_INT("limit", 7 * CENT, line_of(f, "user_1", PERIOD_DAY, NOON).base_limit_nanos);
    CHECK_INT("not the organization's", -1, line_of(f, "user_1", PERIOD_YEAR, NOON).spent_nanos);
    CHECK_INT("not the key's", -1, line_of(f, "key:ak_1", PERIOD_DAY, NOON).spent_nanos);
    teardown(f);
}

static void
test_exactly_as_many_holds_as_fit_pass(void)
{
    struct fixture *f = setup();

    for (int i = 0; i < 20; i++)
        CHECK_TRUE("allow", admit(f, "user_1", NOON));
    CHECK_FALSE("21st", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_BUDGET, f->verdict.reason);
    CHECK_STRING("account", "user_1", f->verdict.account);
    CHECK_INT("held", USD, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_settling_returns_the_hold_and_counts_the_cost(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    struct budget_line line;

    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("outcome", OUTCOME_DONE, spend_hold(f, id, NULL, 3 * CENT, NOON + SECOND));
    CHECK_STRING("word", "settled", f->result.hold_word);
    CHECK_STRING("account", "user_1", f->result.charge.account);
    CHECK_STRING("key", "ak_1", f->result.charge.key_id);
    line = line_of(f, "user_1", PERIOD_MONTH, NOON);
    CHECK_INT("held", 0, line.held_nanos);
    CHECK_INT("spent", 3 * CENT, line.spent_nanos);
    CHECK_INT("live holds", 0, f->ledger.accounts[0].live_holds);
    teardown(f);
}

static void
test_settling_twice_answers_the_same_bytes_and_counts_once(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE], first[256];

    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("first", OUTCOME_DONE, spend_hold(f, id, NULL, 3 * CENT, NOON));
    (void)!text_copy(first, sizeof(first), buf_text(&f->reply));
    CHECK_INT("again", OUTCOME_REPLAYED, spend_hold(f, id, NULL, 3 * CENT, NOON + SECOND));
    CHECK_STRING("reply", first, buf_text(&f->reply));
    CHECK_INT("other amount", OUTCOME_HOLD_SETTLED,
              spend_hold(f, id, NULL, 4 * CENT, NOON + SECOND));
    CHECK_INT("spent", 3 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_spend_without_a_hold_counts_once_per_key(void)
{
    struct fixture *f = setup();
    char first[256];

    CHECK_INT("unknown", OUTCOME_UNKNOWN_ACCOUNT, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    CHECK_INT("first", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    (void)!text_copy(first, sizeof(first), buf_text(&f->reply));
    CHECK_INT("again", OUTCOME_REPLAYED, spend_as(f, "user_1", CENT, "a", NOON + SECOND));
    CHECK_STRING("reply", first, buf_text(&f->reply));
    CHECK_INT("reuse", OUTCOME_KEY_REUSED, spend_as(f, "user_1", 2 * CENT, "a", NOON));
    CHECK_INT("no key", OUTCOME_DONE, spend_as(f, "user_1", CENT, NULL, NOON));
    CHECK_INT("spent", 2 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_public_ids_are_parsed_whole_or_refused(void)
{
    char text[PUBLIC_ID_SIZE];
    uint64_t nonce;
    int64_t id;

    public_id_format("hld_", 0x1234, 0xabcdef012345, text);
    CHECK_STRING("text", "hld_000000001234abcdef012345", text);
    CHECK_TRUE("parse", public_id_parse("hld_", text, &id, &nonce));
    CHECK_INT("id", 0x1234, id);
    CHECK_INT("nonce", 0xabcdef012345, nonce);
    CHECK_FALSE("other prefix", public_id_parse("chg_", text, &id, &nonce));
    CHECK_FALSE("zero", public_id_parse("hld_", "hld_000000000000abcdef012345", &id, &nonce));
    CHECK_FALSE("upper", public_id_parse("hld_", "hld_000000001234ABCDEF012345", &id, &nonce));
    CHECK_FALSE("upper number",
                public_id_parse("hld_", "hld_00000000123Aabcdef012345", &id, &nonce));
    CHECK_FALSE("short", public_id_parse("hld_", "hld_000000001234abcdef01234", &id, &nonce));
    CHECK_FALSE("long", public_id_parse("hld_", "hld_000000001234abcdef0123450", &id, &nonce));
    CHECK_FALSE("empty", public_id_parse("hld_", "", &id, &nonce));
}

static void
test_an_url_of_no_known_store_is_refused(void)
{
    struct fixture *f = setup();
    struct store_options options = f->options;
    struct store *store;
    int applied;

    options.url = "mysql:/x";
    CHECK_STATUS(STATUS_INVALID, store_open(&options, &store, &f->err), &f->err);
    CHECK_TRUE("none", store == NULL);
    CHECK_STATUS(STATUS_INVALID, store_migrate(&options, &applied, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, store_migrate(&f->options, &applied, &f->err), &f->err);
    CHECK_INT("nothing to apply", 0, applied);
    CHECK_STATUS(STATUS_OK, store_check(f->store, &f->err), &f->err);
    store_close(NULL);
    teardown(f);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_first_sight_creates_the_accounts_and_admits),
    CHECK_TEST(test_a_budget_of_the_last_plan_is_shown_before_it_counts),
    CHECK_TEST(test_exactly_as_many_holds_as_fit_pass),
    CHECK_TEST(test_settling_returns_the_hold_and_counts_the_cost),
    CHECK_TEST(test_settling_twice_answers_the_same_bytes_and_counts_once),
    CHECK_TEST(test_spend_without_a_hold_counts_once_per_key),
    CHECK_TEST(test_public_ids_are_parsed_whole_or_refused),
    CHECK_TEST(test_an_url_of_no_known_store_is_refused),
};
const struct check_group store_admission_tests = { tests, CHECK_COUNT(tests) };
