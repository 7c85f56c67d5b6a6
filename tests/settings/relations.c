/* SPDX-License-Identifier: MIT */
/*
 * Values that have to fit each other.
 */
#include "tests/settings/fixture.h"

#include <fcntl.h>
#include <stdlib.h>

#include "common/banned.h"

static void
test_session_tokens_need_an_issuer(void)
{
    check_refused_too(
        "clerk {\n accept = { session_token } }",
        "spendgate.conf:2: clerk.accept: session_token needs clerk.issuer, the iss of "
        "your session tokens");
    check_accepted("clerk { accept = { session_token } issuer = \"%s\" }", "https://a");
}

static void
test_m2m_tokens_need_a_machine_or_its_own_key(void)
{
    static const char no_machine[] =
        "spendgate.conf:1: clerk.accept: m2m_token needs clerk.machine_id, the mch_ id that tokens "
        "for us name";

    check_refused_too("clerk { accept = { m2m_token } }", no_machine);
    check_refused_too("clerk { accept = { m2m_token } machine_id = x }",
                      "spendgate.conf:1: clerk.machine_id: does not begin with mch_");
    check_accepted("clerk { accept = { m2m_token } machine_id = %s }", "mch_1");
    CHECK_INT("set", 0, setenv("CLERK_SECRET_KEY", "sk_test_1", 1));
    check_refused_too("clerk { accept = { m2m_token } }", no_machine);
    CHECK_INT("set", 0, setenv("CLERK_SECRET_KEY", "ak_1", 1));
    check_accepted("clerk { accept = { %s } }", "m2m_token");
    CHECK_INT("unset", 0, unsetenv("CLERK_SECRET_KEY"));
}

static void
test_clerk_values_fit_each_other(void)
{
    check_refused_too("clerk { api_url = \"https://api.clerk.com/v1/\" }",
                      "spendgate.conf:1: clerk.api_url: is given without /v1");
    check_refused_too("clerk {\nconnect_timeout = 2s\n timeout = 1s }",
                      "spendgate.conf:3: clerk.timeout: is shorter than clerk.connect_timeout");
}

static void
test_default_plan_is_one_of_the_plans(void)
{
    check_refused("plan \"a\" { match = 'a=b' }\ndefault_plan = b",
                  "spendgate.conf:2: default_plan: there is no plan \"b\"");
}

static void
test_plan_that_nobody_gets_is_a_warning(void)
{
    settings_close(load_with("plan \"a\" { }",
                             "warning spendgate.conf:1: plan.match: the plan \"a\" "
                             "matches nobody and is not default_plan"));
    settings_close(load_with("plan \"a\" { } default_plan = a", ""));
}

static void
test_two_budgets_of_one_counter_line_are_refused(void)
{
    check_refused("default_plan = p plan \"p\" { hold_usd = \"0\"\n"
                  " budget \"a\" { limit_usd = 1 period = day }\n"
                  " budget \"b\" { limit_usd = 2 period = day timezone = UTC }\n"
                  " budget \"c\" { limit_usd = 2 period = day per = org }\n"
                  " budget \"d\" { limit_usd = 2 period = day timezone = \"Europe/Berlin\" } }",
                  "spendgate.conf:3: plan.budget: \"b\" counts the same as \"a\": give the plan "
                  "\"p\" one of them");
}

static void
test_budget_keys_of_another_period_are_refused(void)
{
    check_refused(
        "default_plan = p plan \"p\" { hold_usd = \"0\"\n"
        " budget \"a\" { limit_usd = 1 period = day anchor_day = 5 }\n"
        " budget \"b\" { limit_usd = 1 period = month week_start = friday }\n"
        " budget \"c\" { limit_usd = 1 period = none timezone = \"Europe/Berlin\" }\n"
        " budget \"d\" { limit_usd = 1 period = year anchor_day = 5 } }",
        "spendgate.conf:2: plan.budget.anchor_day: has a meaning for the periods month and "
        "year only\n"
        "spendgate.conf:3: plan.budget.week_start: has a meaning for the period week only\n"
        "spendgate.conf:4: plan.budget.timezone: has no meaning for the period none");
}

#define NO_HOLD                                                                               \
    "warning spendgate.conf:1: plan.hold_usd: the plan \"p\" has a hard budget and no hold: " \
    "parallel requests can pass it together (hold_usd = \"0\" says that this is meant)"
#define PLAN_P(rest) \
    "default_plan = p plan \"p\" { budget \"b\" { limit_usd = 1 period = day } " rest " }\n"

static void
test_hard_budget_without_a_hold_is_a_warning(void)
{
    settings_close(load_with(PLAN_P(""), NO_HOLD));
    settings_close(load_with(PLAN_P("hold_usd = \"0\""), ""));
    settings_close(load_with(PLAN_P("hold_usd = auto"), ""));
    settings_close(load_with(PLAN_P("concurrency = 5"), NO_HOLD));
    settings_close(load_with(PLAN_P("") "route \"/a\" { hold_usd = \"0.01\" }", ""));
    settings_close(
        load_with(PLAN_P("") "route \"/a\" { hold_usd = \"0.01\" } route \"/b\" {}", NO_HOLD));
    settings_close(
        load_with(PLAN_P("") "default_route = allow route \"/a\" { hold_usd = \"1\" }", NO_HOLD));
    settings_close(load_with("default_plan = p plan \"p\" { budget \"b\" { limit_usd = 1 "
                             "period = day enforce = warn } }",
                             ""));
}

static void
test_bursts_need_their_rate(void)
{
    check_refused("default_plan = p plan \"p\" { burst = 1 key_burst = 2\n org_burst = 3 }\n"
                  "route \"/a\" { burst = 4 }",
                  "spendgate.conf:1: plan.burst: has no meaning without rate\n"
                  "spendgate.conf:1: plan.key_burst: has no meaning without key_rate\n"
                  "spendgate.conf:1: plan.org_burst: has no meaning without org_rate\n"
                  "spendgate.conf:3: route.burst: has no meaning without rate");
}

static void
test_automatic_holds_have_a_range(void)
{
    check_refused("default_plan = p plan \"p\" { hold_usd = auto hold_min_usd = 2 }\n"
                  "route \"/a\" { hold_usd = auto hold_max_usd = \"0.001\" }",
                  "spendgate.conf:1: plan.hold_min_usd: is more than hold_max_usd\n"
                  "spendgate.conf:2: route.hold_min_usd: is more than hold_max_usd");
    check_accepted("plan \"p\" { hold_usd = \"0.5\" hold_min_usd = %s }", "2");
}

static void
test_routes_are_different_prefixes(void)
{
    check_refused_too("route \"/a\" {}\nroute \"/b\" {}\nroute \"/a/\" {}",
                      "spendgate.conf:3: route: \"/a/\" is the same prefix as \"/a\" on line 1");
    check_refused_too("route \"/a%20b\" {}\nroute \"/a b\" {}",
                      "spendgate.conf:2: route: \"/a b\" is the same prefix as \"/a b\" on line 1");
    check_accepted("route \"/a\" {} route \"/%s\" {} route \"/\" {}", "a/b");
}

static void
test_routes_accept_no_more_than_clerk_does(void)
{
    check_refused_too("route \"/a\" { accept = { api_key, oauth_token } }",
                      "spendgate.conf:1: route.accept: the route \"/a\" accepts a kind that "
                      "clerk.accept does not");
    check_accepted("clerk { accept = { api_key, oauth_token } } route \"/a\" { accept = %s }",
                   "oauth_token");
}

static void
test_a_free_route_has_no_hold(void)
{
    check_refused_too("route \"/me\" { free = true hold_usd = \"0\" }",
                      "spendgate.conf:1: route.free: the route \"/me\" is free and has a hold_usd "
                      "as well");
    check_accepted("route \"/me\" { free = %s }", "true");
    settings_close(load_with("default_plan = p plan \"p\" { budget \"m\" { limit_usd = \"1\" "
                             "period = month } }\nroute \"/me\" { free = true }",
                             ""));
}

static void
test_scope_that_no_plan_grants_is_a_warning(void)
{
    settings_close(
        load_with("default_plan = p plan \"p\" { scopes = { \"x.*\" } }\n"
                  "route \"/a\" { scopes = { \"x.y\", \"y\" } }",
                  "warning spendgate.conf:2: route.scopes: no plan grants \"y\": the route "
                  "\"/a\" refuses everybody"));
}

static void
test_tokens_are_different(void)
{
    check_refused_too("tracker { token \"a\" { role = post sha256 = \"" SHA_A "\" }\n"
                      "token \"b\" { role = read sha256 = \"" SHA_A "\" } }",
                      "spendgate.conf:2: tracker.token.sha256: \"b\" and \"a\" are the same token");
}

static const struct check_test tests[] = {
    CHECK_TEST(test_session_tokens_need_an_issuer),
    CHECK_TEST(test_m2m_tokens_need_a_machine_or_its_own_key),
    CHECK_TEST(test_clerk_values_fit_each_other),
    CHECK_TEST(test_default_plan_is_one_of_the_plans),
    CHECK_TEST(test_plan_that_nobody_gets_is_a_warning),
    CHECK_TEST(test_two_budgets_of_one_counter_line_are_refused),
    CHECK_TEST(test_budget_keys_of_another_period_are_refused),
    CHECK_TEST(test_hard_budget_without_a_hold_is_a_warning),
    CHECK_TEST(test_bursts_need_their_rate),
    CHECK_TEST(test_automatic_holds_have_a_range),
    CHECK_TEST(test_routes_are_different_prefixes),
    CHECK_TEST(test_routes_accept_no_more_than_clerk_does),
    CHECK_TEST(test_a_free_route_has_no_hold),
    CHECK_TEST(test_scope_that_no_plan_grants_is_a_warning),
    CHECK_TEST(test_tokens_are_different),
};
const struct check_group settings_relations_tests = { tests, CHECK_COUNT(tests) };
