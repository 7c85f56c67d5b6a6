/* SPDX-License-Identifier: MIT */
/*
 * Sections with titles: how many there may be, and what they need.
 */
#include "tests/settings/fixture.h"

#include "common/banned.h"

/* `count` times "NAME "tN" { BODY }", after `before`. */
static const char *
many(const char *before, const char *name, const char *body, size_t count)
{
    static char storage[65536];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    buf_add(&text, before);
    for (size_t i = 0; i < count; i++)
        buf_add_format(&text, "%s \"%st%zu\" { %s }\n", name, strcmp(name, "route") == 0 ? "/" : "",
                       i, body);
    CHECK_FALSE("fits", buf_failed(&text));
    return storage;
}

static void
test_sections_have_a_largest_number(void)
{
    struct settings *s = load_with(many("", "plan", "match = 'a=b'", PLANS_MAX), "");

    CHECK_INT("plans", PLANS_MAX, s->policy.plan_count);
    CHECK_STRING("last", "t63", s->policy.plans[63].name);
    settings_close(s);
    check_refused(many("", "plan", "match = 'a=b'", PLANS_MAX + 1),
                  "spendgate.conf:65: plan: is one section more than the 64 that fit");
    s = load(many("", "route", "", ROUTES_MAX));
    CHECK_INT("routes", ROUTES_MAX, s->policy.route_count);
    settings_close(s);
    check_refused_too(many("", "route", "", ROUTES_MAX + 2),
                      "spendgate.conf:257: route: is one section more than the 256 that fit");
}

static void
test_budgets_of_a_plan_have_a_largest_number(void)
{
    check_refused(
        "plan \"p\" { hold_usd = \"0\" match = 'a=b'\n"
        "budget \"a\" { limit_usd = 1 period = hour } budget \"b\" { limit_usd = 1 period = day }\n"
        "budget \"c\" { limit_usd = 1 period = week } budget \"d\" { limit_usd = 1 period = year "
        "}\n"
        "budget \"e\" { limit_usd = 1 period = month } budget \"f\" { limit_usd = 1 period = none "
        "}\n"
        "budget \"g\" { limit_usd = 1 period = hour per = key }\n"
        "budget \"h\" { limit_usd = 1 period = day per = key }\n"
        "budget \"i\" { } budget \"j\" { } }\n",
        "spendgate.conf:7: budget: is one section more than the 8 that fit");
}

static void
test_tokens_have_a_largest_number(void)
{
    static char storage[8192];
    struct buf text;
    struct settings *s;

    buf_init(&text, storage, sizeof(storage));
    buf_add(&text, "tracker {\n");
    for (int i = 1; i <= LIST_MAX; i++)
        buf_add_format(&text, "token t%d { role = read sha256 = %064d }\n", i, i);
    buf_add(&text, "}");
    s = load(buf_text(&text));
    CHECK_INT("tokens", LIST_MAX, s->token_count);
    settings_close(s);
    buf_add(&text, "tracker { token \"more\" { } }");
    check_refused_too(buf_text(&text),
                      "spendgate.conf:34: token: is one section more than the 32 that fit");
}

static void
test_titles_are_checked(void)
{
    check_refused(
        "plan \"a b\" { match = 'a=b' }",
        "spendgate.conf:1: plan: the title \"a b\" is not a name of letters, digits and . "
        "_ : -");
    check_refused("plan \"\" { match = 'a=b' }",
                  "spendgate.conf:1: plan: the title \"\" is not a name of letters, digits and . _ "
                  ": -");
    check_refused_too(
        "tracker {\ntoken \"a/b\" { sha256 = " SHA_A " role = post } }",
        "spendgate.conf:2: tracker.token: the title \"a/b\" is not a name of letters, "
        "digits and . _ : -");
    check_refused_too(
        "gate { interpreter \"php\" { command = \"/a\" } }",
        "spendgate.conf:1: gate.interpreter: the title \"php\" is not a suffix such as "
        "\".php\"");
    check_refused_too(
        "gate { interpreter \".phpphpphpphpphp\" { command = \"/a\" } }",
        "spendgate.conf:1: gate.interpreter: the title \".phpphpphpphpphp\" is longer "
        "than 15 bytes");
}

static void
test_route_titles_are_paths(void)
{
    check_refused_too("route \"api\" {}",
                      "spendgate.conf:1: route: the title \"api\" is not a path such as \"/api/\"");
    check_refused_too(
        "route \"/a?b\" {}",
        "spendgate.conf:1: route: the title \"/a?b\" is not a path such as \"/api/\"");
    check_refused_too("route \"http://h/a\" {}",
                      "spendgate.conf:1: route: the title \"http://h/a\" is "
                      "not a path such as \"/api/\"");
    check_refused_too("\nroute \"/../a\" {}",
                      "spendgate.conf:2: route: the title \"/../a\": the path "
                      "climbs above the root");
    check_refused_too("route \"/%2fa\" {}",
                      "spendgate.conf:1: route: the title \"/%2fa\": the path "
                      "has an escaped slash");
}

static void
test_what_a_section_needs_has_to_be_given(void)
{
    check_refused(
        "plan \"p\" {\n match = 'a=b'\n budget \"b\" {\n }\n}\n",
        "spendgate.conf:4: plan.budget.limit_usd: has to be given\n"
        "spendgate.conf:4: plan.budget.period: has to be given\n"
        "warning spendgate.conf:2: plan.hold_usd: the plan \"p\" has a hard budget and no "
        "hold: parallel requests can pass it together (hold_usd = \"0\" says that this is "
        "meant)");
    check_refused_too("tracker { token \"t\" { role = post } }",
                      "spendgate.conf:1: tracker.token.sha256: has to be given");
    check_refused_too("tracker { token \"t\" { sha256 = " SHA_A " } }",
                      "spendgate.conf:1: tracker.token.role: has to be given");
    check_refused_too("gate { interpreter \".x\" { } }",
                      "spendgate.conf:1: gate.interpreter.command: has to be given");
}

static const struct check_test tests[] = {
    CHECK_TEST(test_sections_have_a_largest_number),
    CHECK_TEST(test_budgets_of_a_plan_have_a_largest_number),
    CHECK_TEST(test_tokens_have_a_largest_number),
    CHECK_TEST(test_titles_are_checked),
    CHECK_TEST(test_route_titles_are_paths),
    CHECK_TEST(test_what_a_section_needs_has_to_be_given),
};
const struct check_group settings_sections_tests = { tests, CHECK_COUNT(tests) };
