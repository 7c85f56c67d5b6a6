/* SPDX-License-Identifier: MIT */
#include "common/account_json.h"

#include "tests/check.h"

#include <string.h>

#include "common/banned.h"

#define USD INT64_C(1000000000)
#define AT_US INT64_C(1795241525000000) /* 2026-11-21T06:12:05Z */

static struct ledger ledger;
static char storage[ACCOUNT_JSON_SIZE];
static struct buf out;

static void
start(void)
{
    memset(&ledger, 0, sizeof(ledger));
    ledger.key = ledger.subject = ledger.organization = -1;
    buf_init(&out, storage, sizeof(storage));
}

static struct account *
add_account(const char *name)
{
    struct account *account = &ledger.accounts[ledger.account_count++];

    CHECK_TRUE("name fits", text_copy(account->name, sizeof(account->name), name));
    return account;
}

/* A limited line of account `account`; plan_index -1: set by hand. */
static struct budget_line *
add_line(int account, enum period_kind kind, int plan_index, int64_t limit_nanos)
{
    struct budget_line *line = &ledger.lines[ledger.line_count++];

    line->account = account;
    line->spec.kind = kind;
    line->plan_index = plan_index;
    line->limited = true;
    line->from_plan = plan_index >= 0;
    line->hand_limited = plan_index < 0;
    line->base_limit_nanos = limit_nanos;
    line->enforce = ENFORCE_HARD;
    line->period.start_us = kind == PERIOD_NONE ? 0 : AT_US;
    line->period.end_us = kind == PERIOD_NONE ? PERIOD_NEVER_US : AT_US + 3600 * INT64_C(1000000);
    return line;
}

static void
test_account_without_anything_has_nulls_and_empty_lists(void)
{
    start();
    add_account("user_1");
    account_json_add(&out, &ledger, 0, NULL, NULL);
    CHECK_STRING("json",
                 "{\"account\":\"user_1\",\"kind\":\"user\",\"plan\":null,\"parent\":null,"
                 "\"scopes\":[],\"frozen\":false,\"revoked\":false,\"expires_at\":null,"
                 "\"budgets\":[]}",
                 buf_text(&out));
}

static void
test_account_shows_plan_parent_scopes_switches_and_end(void)
{
    static struct plan plan;
    struct account *account;

    start();
    account = add_account("key:ak_1");
    account->frozen = account->revoked = true;
    account->expires_us = AT_US;
    CHECK_TRUE("plan", text_copy(account->plan, sizeof(account->plan), "pro"));
    plan.scopes.count = 2;
    CHECK_TRUE("scope", text_copy(plan.scopes.names[0], SCOPE_SIZE, "proxy.*"));
    CHECK_TRUE("scope", text_copy(plan.scopes.names[1], SCOPE_SIZE, "a\"b"));
    account_json_add(&out, &ledger, 0, "group:x", &plan);
    CHECK_STRING("json",
                 "{\"account\":\"key:ak_1\",\"kind\":\"key\",\"plan\":\"pro\","
                 "\"parent\":\"group:x\",\"scopes\":[\"proxy.*\",\"a\\\"b\"],\"frozen\":true,"
                 "\"revoked\":true,\"expires_at\":\"2026-11-21T06:12:05Z\",\"budgets\":[]}",
                 buf_text(&out));
}

static void
test_budget_shows_effective_limit_and_never_a_negative_rest(void)
{
    struct budget_line *line;

    start();
    add_account("user_1");
    line = add_line(0, PERIOD_HOUR, 0, 5 * USD);
    line->credit_nanos = 2 * USD;
    line->carry_nanos = USD;
    line->spent_nanos = 6 * USD + USD / 2;
    line->held_nanos = USD / 20;
    account_json_add_budget(&out, &ledger, 0);
    CHECK_STRING("json",
                 "{\"account\":\"user_1\",\"period\":\"hour\",\"limit_usd\":\"6\","
                 "\"spent_usd\":\"6.5\",\"held_usd\":\"0.05\",\"remaining_usd\":\"0\","
                 "\"starts_at\":\"2026-11-21T06:12:05Z\",\"resets_at\":\"2026-11-21T07:12:05Z\","
                 "\"enforce\":\"hard\",\"origin\":\"plan\"}",
                 buf_text(&out));
}

static void
test_budget_without_period_has_no_times_and_hand_origin(void)
{
    struct budget_line *line;

    start();
    add_account("group:all-of-us");
    line = add_line(0, PERIOD_NONE, -1, USD);
    line->enforce = ENFORCE_WARN;
    account_json_add_budget(&out, &ledger, 0);
    CHECK_STRING("json",
                 "{\"account\":\"group:all-of-us\",\"period\":\"none\",\"limit_usd\":\"1\","
                 "\"spent_usd\":\"0\",\"held_usd\":\"0\",\"remaining_usd\":\"1\","
                 "\"starts_at\":null,\"resets_at\":null,\"enforce\":\"warn\",\"origin\":\"hand\"}",
                 buf_text(&out));
}

/* The accounts and periods of a list of budgets, as "account period". */
static void
check_order(const char *what, const char *want)
{
    char names[512], *at = storage;
    struct buf text;

    buf_init(&text, names, sizeof(names));
    while ((at = strstr(at, "{\"account\":\"")) != NULL) {
        at += strlen("{\"account\":\"");
        buf_add(&text, text.length > 0 ? ", " : "");
        buf_add_bytes(&text, at, strcspn(at, "\""));
        at = strstr(at, "\"period\":\"") + strlen("\"period\":\"");
        buf_add_char(&text, ' ');
        buf_add_bytes(&text, at, strcspn(at, "\""));
    }
    CHECK_STRING(what, want, buf_text(&text));
}

static void
test_budgets_are_in_plan_order_then_by_hand_and_only_with_a_limit(void)
{
    start();
    add_account("key:ak_1");
    add_account("user_1");
    add_account("all");
    add_line(2, PERIOD_YEAR, -1, USD);
    add_line(1, PERIOD_NONE, -1, USD);
    add_line(1, PERIOD_DAY, -1, USD);
    add_line(1, PERIOD_WEEK, 0, USD)->limited = false;
    add_line(1, PERIOD_DAY, 2, USD);
    add_line(0, PERIOD_HOUR, 1, USD);
    add_line(1, PERIOD_MONTH, 0, USD);
    account_json_add_budgets(&out, &ledger, -1);
    check_order("all",
                "user_1 month, key:ak_1 hour, user_1 day, user_1 day, user_1 none, all year");
    buf_clear(&out);
    account_json_add_budgets(&out, &ledger, 1);
    check_order("one account", "user_1 month, user_1 day, user_1 day, user_1 none");
    buf_clear(&out);
    account_json_add_budgets(&out, &ledger, 0);
    check_order("key", "key:ak_1 hour");
}

static struct charge
sample_charge(void)
{
    struct charge charge = {
        .id = 0x12,
        .nonce = 0xabcdef,
        .amount_nanos = 12300000,
        .at_us = AT_US,
        .created_us = AT_US,
        .account = "user_1",
    };

    return charge;
}

static void
test_charge_has_eight_members_and_null_for_what_is_not_there(void)
{
    struct charge charge = sample_charge();

    start();
    account_json_add_charge(&out, &charge);
    CHECK_STRING("json",
                 "{\"charge_id\":\"chg_000000000012000000abcdef\",\"account\":\"user_1\","
                 "\"key_id\":null,\"hold_id\":null,\"cost_usd\":\"0.0123\",\"model\":null,"
                 "\"route\":null,\"created_at\":\"2026-11-21T06:12:05Z\"}",
                 buf_text(&out));
}

static void
test_charge_shows_what_was_posted_with_it(void)
{
    struct charge charge = sample_charge();

    start();
    CHECK_TRUE("key", text_copy(charge.key_id, sizeof(charge.key_id), "ak_1"));
    CHECK_TRUE("hold", text_copy(charge.hold_id, sizeof(charge.hold_id), "hld_x"));
    CHECK_TRUE("model", text_copy(charge.model, sizeof(charge.model), "gpt \"x\""));
    CHECK_TRUE("route", text_copy(charge.route, sizeof(charge.route), "/api/"));
    CHECK_TRUE("tags", text_copy(charge.tags, sizeof(charge.tags), "a,b c"));
    CHECK_TRUE("metadata", text_copy(charge.metadata, sizeof(charge.metadata), "{\"n\":1}"));
    charge.occurred_us = AT_US - 5 * INT64_C(1000000);
    account_json_add_charge(&out, &charge);
    CHECK_STRING("json",
                 "{\"charge_id\":\"chg_000000000012000000abcdef\",\"account\":\"user_1\","
                 "\"key_id\":\"ak_1\",\"hold_id\":\"hld_x\",\"cost_usd\":\"0.0123\","
                 "\"model\":\"gpt \\\"x\\\"\",\"route\":\"/api/\","
                 "\"created_at\":\"2026-11-21T06:12:05Z\","
                 "\"occurred_at\":\"2026-11-21T06:12:00Z\",\"tags\":[\"a\",\"b c\"],"
                 "\"metadata\":{\"n\":1}}",
                 buf_text(&out));
}

static void
test_refund_is_negative_and_names_its_charge(void)
{
    struct charge charge = sample_charge();

    start();
    charge.kind = CHARGE_REFUND;
    charge.refund_of = 0x11;
    charge.refund_of_nonce = 0x5;
    CHECK_TRUE("note", text_copy(charge.note, sizeof(charge.note), "sorry"));
    account_json_add_charge(&out, &charge);
    CHECK_STRING("json",
                 "{\"charge_id\":\"chg_000000000012000000abcdef\",\"account\":\"user_1\","
                 "\"key_id\":null,\"hold_id\":null,\"cost_usd\":\"-0.0123\",\"model\":null,"
                 "\"route\":null,\"created_at\":\"2026-11-21T06:12:05Z\","
                 "\"refund_of\":\"chg_000000000011000000000005\",\"note\":\"sorry\"}",
                 buf_text(&out));
    buf_clear(&out);
    charge.refund_of = 0;
    charge.note[0] = '\0';
    account_json_add_refund(&out, &charge, &ledger);
    CHECK_TRUE("without a charge", strstr(buf_text(&out), "\"refund_of\":null") != NULL);
    CHECK_TRUE("what was given back",
               strstr(buf_text(&out), ",\"amount_usd\":\"0.0123\",\"budgets\":[]}") != NULL);
}

static void
test_hold_shows_state_times_and_the_charge_once_there_is_one(void)
{
    struct hold hold = {
        .id = 3,
        .nonce = 4,
        .state = HOLD_HELD,
        .amount_nanos = USD / 20,
        .placed_us = AT_US,
        .expires_us = AT_US + 300 * INT64_C(1000000),
        .route = "/api/",
    };

    start();
    account_json_add_hold(&out, &hold, "user_1");
    CHECK_STRING("held",
                 "{\"hold_id\":\"hld_000000000003000000000004\",\"account\":\"user_1\","
                 "\"state\":\"held\",\"amount_usd\":\"0.05\",\"route\":\"/api/\","
                 "\"placed_at\":\"2026-11-21T06:12:05Z\",\"expires_at\":\"2026-11-21T06:17:05Z\"}",
                 buf_text(&out));
    buf_clear(&out);
    hold.state = HOLD_SETTLED;
    hold.charge_id = 9;
    hold.charged_nanos = USD / 25;
    hold.route[0] = '\0';
    account_json_add_hold(&out, &hold, NULL);
    CHECK_STRING("settled",
                 "{\"hold_id\":\"hld_000000000003000000000004\",\"account\":null,"
                 "\"state\":\"settled\",\"amount_usd\":\"0.05\",\"route\":null,"
                 "\"placed_at\":\"2026-11-21T06:12:05Z\",\"expires_at\":\"2026-11-21T06:17:05Z\","
                 "\"charged_usd\":\"0.04\"}",
                 buf_text(&out));
}

static void
test_hold_with_budgets_names_the_payer(void)
{
    struct hold hold = { .id = 3, .nonce = 4 };

    start();
    add_account("key:ak_1");
    add_account("user_1");
    ledger.key = 0;
    ledger.subject = 1;
    add_line(1, PERIOD_NONE, 0, USD);
    account_json_add_hold_budgets(&out, &hold, &ledger);
    CHECK_TRUE("subject pays", strstr(buf_text(&out), "\"account\":\"user_1\",\"state\"") != NULL);
    CHECK_TRUE("budgets", strstr(buf_text(&out), ",\"budgets\":[{\"account\":\"user_1\"") != NULL);
    buf_clear(&out);
    ledger.subject = -1;
    account_json_add_hold_budgets(&out, &hold, &ledger);
    CHECK_TRUE("key pays", strstr(buf_text(&out), "\"account\":\"key:ak_1\",\"state\"") != NULL);
}

static void
test_what_does_not_fit_fails_the_buffer(void)
{
    struct charge charge = sample_charge();
    char small[40];

    start();
    add_account("user_1");
    buf_init(&out, small, sizeof(small));
    account_json_add(&out, &ledger, 0, NULL, NULL);
    CHECK_TRUE("account", buf_failed(&out));
    buf_clear(&out);
    account_json_add_charge(&out, &charge);
    CHECK_TRUE("charge", buf_failed(&out));
}

/* The named maximum is enough: longest names, every line, every scope. */
static void
test_the_largest_account_fits(void)
{
    static struct plan plan;
    char name[ACCOUNT_NAME_SIZE], parent[ACCOUNT_NAME_SIZE];

    start();
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    memcpy(parent, name, sizeof(parent));
    add_account(name);
    for (int i = 0; i < LEDGER_LINES_MAX; i++)
        add_line(0, PERIOD_MONTH, i, MONEY_MAX_NANOS - 1)->spent_nanos = MONEY_MAX_NANOS - 1;
    plan.scopes.count = SCOPES_MAX;
    for (size_t i = 0; i < SCOPES_MAX; i++)
        memset(plan.scopes.names[i], '"', SCOPE_SIZE - 1);
    account_json_add(&out, &ledger, 0, parent, &plan);
    CHECK_FALSE("failed", buf_failed(&out));
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_account_without_anything_has_nulls_and_empty_lists),
        CHECK_TEST(test_account_shows_plan_parent_scopes_switches_and_end),
        CHECK_TEST(test_budget_shows_effective_limit_and_never_a_negative_rest),
        CHECK_TEST(test_budget_without_period_has_no_times_and_hand_origin),
        CHECK_TEST(test_budgets_are_in_plan_order_then_by_hand_and_only_with_a_limit),
        CHECK_TEST(test_charge_has_eight_members_and_null_for_what_is_not_there),
        CHECK_TEST(test_charge_shows_what_was_posted_with_it),
        CHECK_TEST(test_refund_is_negative_and_names_its_charge),
        CHECK_TEST(test_hold_shows_state_times_and_the_charge_once_there_is_one),
        CHECK_TEST(test_hold_with_budgets_names_the_payer),
        CHECK_TEST(test_what_does_not_fit_fails_the_buffer),
        CHECK_TEST(test_the_largest_account_fits),
    };

    return check_main("account_json", tests, CHECK_COUNT(tests));
}
