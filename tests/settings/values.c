/* SPDX-License-Identifier: MIT */
/*
 * Each kind of value at the ends of its range, and the table of all keys.
 */
#include "tests/settings/fixture.h"

#include "common/banned.h"

static void
check_value_refused(const char *pattern, const char *value, const char *key, const char *accepted)
{
    char storage[1024];
    const char *text = with_value(pattern, value, storage, sizeof(storage));
    char want[1024];
    struct told told;
    struct error err;

    (void)snprintf(want, sizeof(want), "spendgate.conf:1: %s: \"%s\" is not %s", key, value,
                   accepted);
    (void)read_bytes(text, strlen(text), STATUS_INVALID, &told, &err);
    CHECK_STRING("error", want, err.message);
}

struct range_case {
    const char *pattern;
    const char *key;
    const char *accepted;
    const char *good[6];
    const char *bad[10];
};

static void
check_ranges(const struct range_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct range_case *c = &cases[i];

        for (size_t j = 0; j < CHECK_COUNT(c->good) && c->good[j] != NULL; j++)
            check_accepted(c->pattern, c->good[j]);
        for (size_t j = 0; j < CHECK_COUNT(c->bad) && c->bad[j] != NULL; j++)
            check_value_refused(c->pattern, c->bad[j], c->key, c->accepted);
    }
}

static void
test_durations_keep_their_range(void)
{
    static const struct range_case cases[] = {
        { "clerk { cache_ttl = \"%s\" }",
          "clerk.cache_ttl",
          "a duration from 1s to 1d",
          { "1s", "1000ms", "24h", "1d" },
          { "999ms", "86401s", "25h", "0s", "1", "s", "", "1 s", "-1s", "1.5s" } },
        { "clerk { negative_ttl = \"%s\" }",
          "clerk.negative_ttl",
          "a duration from 1s to 1d",
          { "1s", "1d" },
          { "0s", "2d", "99999999999999999999d" } },
        { "clerk { stale_if_error = \"%s\" }",
          "clerk.stale_if_error",
          "a duration from 0s to 7d",
          { "0s", "0d", "7d" },
          { "8d", "9223372036854775807d", "9223372036854775808ms" } },
        { "clerk { timeout = 1m connect_timeout = \"%s\" }",
          "clerk.connect_timeout",
          "a duration from 10ms to 1m",
          { "10ms", "1m" },
          { "9ms", "61s" } },
        { "clerk { connect_timeout = 10ms timeout = \"%s\" }",
          "clerk.timeout",
          "a duration from 10ms to 1m",
          { "10ms", "1m" },
          { "9ms", "61s", "1w", "1S", "1us" } },
        { "clerk { clock_skew = \"%s\" }",
          "clerk.clock_skew",
          "a duration from 0s to 5m",
          { "0s", "300s" },
          { "301s" } },
        { "plan \"a\" { expires_in = \"%s\" }",
          "plan.expires_in",
          "a duration from 0s to 3660d",
          { "0s", "3660d" },
          { "3661d" } },
        { "ledger { hold_ttl = \"%s\" }",
          "ledger.hold_ttl",
          "a duration from 1s to 7d",
          { "1s", "7d" },
          { "999ms", "169h" } },
        { "ledger { idempotency_ttl = \"%s\" }",
          "ledger.idempotency_ttl",
          "a duration from 1d to 366d",
          { "1d", "366d" },
          { "23h", "367d" } },
    };

    check_ranges(cases, CHECK_COUNT(cases));
}

static void
test_money_keeps_its_range(void)
{
    static const char money[] = "an amount of USD from \"0\" to \"1000000000\"";
    static const struct range_case cases[] = {
        { "plan \"a\" { budget \"b\" { period = day limit_usd = \"%s\" } }",
          "plan.budget.limit_usd",
          money,
          { "0", "0.000000001", "1000000000", "5.00" },
          { "1000000000.000000001", "-1", "1e3", "$5", "", ".5", "5.", "1,5", "0.0000000001" } },
        { "plan \"a\" { hold_usd = auto hold_max_usd = \"1000000000\" hold_min_usd = \"%s\" }",
          "plan.hold_min_usd",
          money,
          { "0", "1000000000" },
          { "1000000001", "auto" } },
        { "plan \"a\" { hold_usd = auto hold_min_usd = \"0\" hold_max_usd = \"%s\" }",
          "plan.hold_max_usd",
          money,
          { "0", "1000000000" },
          { "1000000001" } },
        { "route \"/a\" { hold_min_usd = \"%s\" }",
          "route.hold_min_usd",
          money,
          { "0", "1000000000" },
          { "1000000001" } },
        { "route \"/a\" { hold_max_usd = \"%s\" }",
          "route.hold_max_usd",
          money,
          { "0", "1000000000" },
          { "1000000001" } },
        { "plan \"a\" { hold_usd = \"%s\" }",
          "plan.hold_usd",
          "an amount of USD from \"0\" to \"1000000000\", or \"auto\"",
          { "0", "1000000000", "auto" },
          { "1000000001", "Auto", "" } },
        { "route \"/a\" { hold_usd = \"%s\" }",
          "route.hold_usd",
          "an amount of USD from \"0\" to \"1000000000\", or \"auto\"",
          { "0", "1000000000", "auto" },
          { "1000000001", "-0.01" } },
        { "ledger { max_charge_usd = \"%s\" }",
          "ledger.max_charge_usd",
          "an amount of USD from \"0.000000001\" to \"1000000000\"",
          { "0.000000001", "1000000000" },
          { "0", "1000000001" } },
    };

    check_ranges(cases, CHECK_COUNT(cases));
}

static void
test_rates_keep_their_range(void)
{
    static const char rate[] = "a rate such as \"60/1m\": 1 to 1000000 per 1ms to 31d";
    static const struct range_case cases[] = {
        { "clerk { rate = \"%s\" }",
          "clerk.rate",
          rate,
          { "1/1ms", "1000000/31d", "5/s", "5/ms", "5/744h" },
          { "0/1s", "1000001/1s", "1/0ms", "1/32d", "60", "60/", "/1m", "60/1", "-1/s",
            "60/1m " } },
        { "clerk { failure_rate = \"%s\" }", "clerk.failure_rate", rate, { "1/d" }, { "" } },
        { "plan \"a\" { rate = \"%s\" }", "plan.rate", rate, { "1/d" }, { "1/w", "1/1m/1" } },
        { "plan \"a\" { key_rate = \"%s\" }", "plan.key_rate", rate, { "1/d" }, { "1" } },
        { "plan \"a\" { org_rate = \"%s\" }", "plan.org_rate", rate, { "1/d" }, { "1" } },
        { "route \"/a\" { rate = \"%s\" }",
          "route.rate",
          rate,
          { "1/d", "0000000000000000000001/1m" },
          { "1", "00000000000000000000000000000000000001/1m" } },
    };

    check_ranges(cases, CHECK_COUNT(cases));
}

static void
test_whole_numbers_keep_their_range(void)
{
    static const char burst[] = "a whole number from 1 to 1000000";
    static const struct range_case cases[] = {
        { "clerk { max_waiting = \"%s\" }",
          "clerk.max_waiting",
          "a whole number from 0 to 10000",
          { "0", "10000" },
          { "10001", "-1", "1.0", "0x10", "", "9223372036854775808", "+1" } },
        { "plan \"a\" { rate = 1/s burst = \"%s\" }",
          "plan.burst",
          burst,
          { "1", "1000000" },
          { "0", "1000001" } },
        { "plan \"a\" { key_rate = 1/s key_burst = \"%s\" }",
          "plan.key_burst",
          burst,
          { "1", "1000000" },
          { "0", "1000001" } },
        { "plan \"a\" { org_rate = 1/s org_burst = \"%s\" }",
          "plan.org_burst",
          burst,
          { "1", "1000000" },
          { "0", "1000001" } },
        { "route \"/a\" { rate = 1/s burst = \"%s\" }",
          "route.burst",
          burst,
          { "1", "1000000" },
          { "0", "1000001" } },
        { "plan \"a\" { concurrency = \"%s\" }",
          "plan.concurrency",
          "a whole number from 0 to 1000000",
          { "0", "1000000" },
          { "1000001" } },
        { "plan \"a\" { budget \"b\" { period = month limit_usd = 1 anchor_day = \"%s\" } }",
          "plan.budget.anchor_day",
          "a whole number from 1 to 31",
          { "1", "31" },
          { "0", "32", "4294967297" } },
        { "plan \"a\" { budget \"b\" { period = month limit_usd = 1 alerts = { \"%s\" } } }",
          "plan.budget.alerts",
          "a percentage from 1 to 1000",
          { "1", "1000" },
          { "0", "1001", "50%" } },
    };

    check_ranges(cases, CHECK_COUNT(cases));
}

static void
test_words_are_among_those_known(void)
{
    static const struct range_case cases[] = {
        { "default_route = \"%s\"",
          "default_route",
          "\"deny\" or \"allow\"",
          { "deny", "allow" },
          { "Deny", "" } },
        { "compat = \"%s\"",
          "compat",
          "\"\", \"agentkey\" or \"openai\"",
          { "", "agentkey", "openai" },
          { "x" } },
        { "metrics_token = \"%s\"",
          "metrics_token",
          "true or false",
          { "true", "false", "yes", "no", "on", "off" },
          { "1", "True", "" } },
        { "clerk { session_cookie = %s }",
          "clerk.session_cookie",
          "true or false",
          { "true", "false" },
          { "maybe" } },
        { "clerk { issuer = \"https://i\" machine_id = mch_1 accept = { \"%s\" } }",
          "clerk.accept",
          "\"api_key\", \"m2m_token\", \"session_token\" or \"oauth_token\"",
          { "api_key", "m2m_token", "session_token", "oauth_token" },
          { "apikey", "" } },
        { "plan \"a\" { budget \"b\" { limit_usd = 1 period = \"%s\" } }",
          "plan.budget.period",
          "\"hour\", \"day\", \"week\", \"month\", \"year\" or \"none\"",
          { "hour", "day", "week", "month", "year", "none" },
          { "monthly", "", "minute" } },
        { "plan \"a\" { budget \"b\" { limit_usd = 1 period = week week_start = \"%s\" } }",
          "plan.budget.week_start",
          "\"sunday\", \"monday\", \"tuesday\", \"wednesday\", \"thursday\", \"friday\" or "
          "\"saturday\"",
          { "sunday", "monday", "saturday" },
          { "Sunday", "1" } },
        { "plan \"a\" { budget \"b\" { limit_usd = 1 period = day per = \"%s\" } }",
          "plan.budget.per",
          "\"subject\", \"key\" or \"org\"",
          { "subject", "key", "org" },
          { "user" } },
        { "plan \"a\" { budget \"b\" { limit_usd = 1 period = day enforce = \"%s\" } }",
          "plan.budget.enforce",
          "\"hard\", \"warn\" or \"off\"",
          { "hard", "warn", "off" },
          { "soft" } },
        { "plan \"a\" { budget \"b\" { limit_usd = 1 period = day overage = \"%s\" } }",
          "plan.budget.overage",
          "\"forgive\" or \"carry\"",
          { "forgive", "carry" },
          { "keep" } },
        { "tracker { token \"t\" { sha256 = " SHA_A " role = \"%s\" } }",
          "tracker.token.role",
          "\"post\", \"read\" or \"admin\"",
          { "post", "read", "admin" },
          { "write" } },
        { "ledger { on_expiry = \"%s\" }",
          "ledger.on_expiry",
          "\"release\" or \"charge\"",
          { "release", "charge" },
          { "keep" } },
        { "route \"/\" { accept = %s }",
          "route.accept",
          "\"api_key\", \"m2m_token\", \"session_token\" or \"oauth_token\"",
          { "api_key" },
          { "none" } },
    };

    check_ranges(cases, CHECK_COUNT(cases));
}

static void
test_names_paths_and_urls_have_their_form(void)
{
    static const char name[] = "a name of letters, digits and . _ : -";
    static const char url[] = "an https URL (http to a loopback address) without query and user";
    static const struct range_case cases[] = {
        { "default_plan = \"%s\"", "default_plan", name, { "" }, { "a b", "a/b", "\xc3\xa9" } },
        { "store { group = \"%s\" }", "store.group", name, { "", "www-data" }, { "www data" } },
        { "cache { path = \"%s\" }",
          "cache.path",
          "an absolute path",
          { "/a", "/a b/c" },
          { "", "/", "a/b", "./a" } },
        { "clerk { api_url = \"%s\" }",
          "clerk.api_url",
          url,
          { "https://a", "https://a:8443/x/", "http://127.0.0.1:8000", "http://localhost",
            "http://[::1]/x" },
          { "http://example.com", "http://127.0.0.1.example.com", "ftp://a", "https://",
            "https:///x", "https://u@a", "https://a?b", "https://a#b", "", "https://a b" } },
        { "clerk { issuer = \"%s\" }",
          "clerk.issuer",
          url,
          { "", "https://clerk.example.com" },
          { "clerk.example.com", "http://clerk.example.com" } },
        { "clerk { machine_id = \"%s\" }", "clerk.machine_id", name, { "mch_1" }, { "mch 1" } },
        { "clerk { authorized_parties = { \"%s\" } }",
          "clerk.authorized_parties",
          "a text of visible ASCII characters",
          { "https://a" },
          { "", "a b" } },
        { "clerk { pass_claims = { \"%s\" } }",
          "clerk.pass_claims",
          "a text of visible ASCII characters",
          { "tier" },
          { "" } },
        { "plan \"a\" { match = { \"%s\" } }",
          "plan.match",
          "a match such as \"claims.tier=pro\"",
          { "a=", "a.b=c d", "a=b=c" },
          { "a", "=b", ".a=b", "a.=b", "a..b=c", "a b=c", "" } },
        { "plan \"a\" { parent_claim = \"%s\" }",
          "plan.parent_claim",
          "a path into the verified object, such as \"claims.team\"",
          { "", "claims.team", "a" },
          { "a..b", ".a", "a.", "a b" } },
        { "plan \"a\" { scopes = { \"%s\" } }",
          "plan.scopes",
          "a scope (visible ASCII, \"*\" only at the end)",
          { "a.b", "a*", "*" },
          { "*a", "a**", "a b", "" } },
        { "route \"/a\" { scopes = { \"%s\" } }",
          "route.scopes",
          "a scope (visible ASCII without \"*\")",
          { "a.b" },
          { "a*", "*", "a b", "" } },
        { "plan \"a\" { budget \"b\" { limit_usd = 1 period = day timezone = \"%s\" } }",
          "plan.budget.timezone",
          "an IANA time zone that this machine knows",
          { "UTC", "Europe/Berlin" },
          { "Europe/Atlantis", "/etc/localtime", "../zoneinfo/UTC", "" } },
        { "trusted_proxies = { \"%s\" }",
          "trusted_proxies",
          "an address range such as \"10.0.0.0/8\"",
          { "0.0.0.0/0", "::/0", "10.0.0.1/32", "::1" },
          { "10.0.0.1/8", "10.0.0.0/33", "::1/129", "::1/64", "10.0.0", "example.com", "10.0.0.0/",
            "", "10.0.0.0/-1", "/8" } },
        { "alerts { command = \"%s\" }",
          "alerts.command",
          "an absolute path",
          { "", "/bin/x y" },
          { "x" } },
        { "gate { root = \"%s\" }", "gate.root", "an absolute path", { "", "/x" }, { "x" } },
        { "gate { interpreter \".php\" { command = \"%s\" } }",
          "gate.interpreter.command",
          "an absolute path",
          { "/x" },
          { "", "php" } },
    };

    check_ranges(cases, CHECK_COUNT(cases));
}

static void
test_values_that_are_too_long_say_how_long_they_may_be(void)
{
    char text[8192];
    char name[PLAN_NAME_SIZE + 1];

    memset(name, 'n', sizeof(name));
    name[PLAN_NAME_SIZE - 1] = '\0';
    (void)snprintf(text, sizeof(text), "plan \"%s\" { match = 'a=b' }", name);
    settings_close(load_with(text, ""));
    name[PLAN_NAME_SIZE - 1] = 'n';
    name[PLAN_NAME_SIZE] = '\0';
    (void)snprintf(text, sizeof(text), "default_plan = \"%s\"", name);
    check_refused_too(text,
                      "spendgate.conf:1: default_plan: "
                      "\"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\" is "
                      "longer than 63 bytes");
    (void)snprintf(text, sizeof(text), "plan \"%s\" { match = 'a=b' }", name);
    check_refused(text, "spendgate.conf:1: plan: the title "
                        "\"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\" is "
                        "longer than 63 bytes");
}

static void
test_lists_say_how_many_values_they_take(void)
{
    check_refused(
        "plan \"p\" { match = 'a=b'\n"
        "  budget \"b\" { enforce = off period = day limit_usd = 1\n"
        "    alerts = { 1, 2, 3, 4, 5, 6, 7, 8,\n9 } } }",
        "spendgate.conf:4: plan.budget.alerts: \"9\" is one value more than the 8 that fit");
    check_refused("plan \"p\" { match = { 'a=1', 'a=2', 'a=3', 'a=4', 'a=5', 'a=6', 'a=7', 'a=8', "
                  "'a=9', 'a=10', 'a=11', 'a=12', 'a=13', 'a=14', 'a=15', 'a=16', 'a=17' } }",
                  "spendgate.conf:1: plan.match: \"a=17\" is one value more than the 16 that fit");
}

static void
collect(void *context, const char *text)
{
    struct buf *out = context;

    buf_add(out, text);
    buf_add_char(out, '\n');
}

static void
test_describe_tells_every_key_with_default_and_range(void)
{
    static char storage[32768];
    struct buf out;

    buf_init(&out, storage, sizeof(storage));
    settings_describe(collect, &out);
    CHECK_FALSE("fits", buf_failed(&out));
    CHECK_TRUE("duration",
               strstr(storage,
                      "\nclerk.cache_ttl\tduration\t60s\ta duration from 1s to 1d\thow long "
                      "a verification is believed\n") != NULL);
    CHECK_TRUE("required", strstr(storage, "\nplan.budget.limit_usd\tmoney\trequired\tan amount of "
                                           "USD from \"0\" to \"1000000000\"\t") != NULL);
    CHECK_TRUE("none", strstr(storage, "\nclerk.issuer\turl\tnone\t") != NULL);
    CHECK_TRUE("list",
               strstr(storage, "\tat most") == NULL &&
                   strstr(storage, "a match such as \"claims.tier=pro\", at most 16\t") != NULL);
    CHECK_INT("top first", 0, strncmp(storage, "default_plan\tname\tnone\t", 23));
}

static void
test_duration_parser_takes_whole_numbers_with_a_unit(void)
{
    int64_t us = 7;

    CHECK_TRUE("ms", settings_parse_duration("500ms", &us));
    CHECK_INT("ms", 500000, us);
    CHECK_TRUE("d", settings_parse_duration("30d", &us));
    CHECK_INT("d", 30 * DAY_US, us);
    CHECK_TRUE("most", settings_parse_duration("106751991d", &us));
    CHECK_INT("most", 106751991 * DAY_US, us);
    CHECK_FALSE("overflow", settings_parse_duration("106751992d", &us));
    CHECK_FALSE("no number", settings_parse_duration("d", &us));
    CHECK_FALSE("no unit", settings_parse_duration("5", &us));
    CHECK_FALSE("long", settings_parse_duration("000000000000000000000000000005s", &us));
    CHECK_INT("untouched", 106751991 * DAY_US, us);
}

static void
test_address_ranges_are_mapped_to_ipv6(void)
{
    struct address_range range = { { 0 }, 7 };
    const uint8_t v4[16] = { [10] = 0xff, [11] = 0xff, [12] = 10, [13] = 32 };
    const uint8_t v6[16] = { 0x20, 0x01, 0x0d, 0xb8 };

    CHECK_TRUE("v4", settings_parse_address_range("10.32.0.0/11", &range));
    CHECK_INT("bytes", 0, memcmp(v4, range.address, 16));
    CHECK_INT("bits", 107, range.prefix_bits);
    CHECK_TRUE("v6", settings_parse_address_range("2001:DB8::/29", &range));
    CHECK_INT("bytes", 0, memcmp(v6, range.address, 16));
    CHECK_INT("bits", 29, range.prefix_bits);
    CHECK_FALSE("host bits", settings_parse_address_range("10.32.0.0/10", &range));
    CHECK_FALSE("zone", settings_parse_address_range("fe80::1%eth0", &range));
    CHECK_FALSE("long", settings_parse_address_range("0000:0000:0000:0000:0000:0000:0000:0000:0000:"
                                                     "0000",
                                                     &range));
    CHECK_INT("untouched", 29, range.prefix_bits);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_durations_keep_their_range),
    CHECK_TEST(test_money_keeps_its_range),
    CHECK_TEST(test_rates_keep_their_range),
    CHECK_TEST(test_whole_numbers_keep_their_range),
    CHECK_TEST(test_words_are_among_those_known),
    CHECK_TEST(test_names_paths_and_urls_have_their_form),
    CHECK_TEST(test_values_that_are_too_long_say_how_long_they_may_be),
    CHECK_TEST(test_lists_say_how_many_values_they_take),
    CHECK_TEST(test_describe_tells_every_key_with_default_and_range),
    CHECK_TEST(test_duration_parser_takes_whole_numbers_with_a_unit),
    CHECK_TEST(test_address_ranges_are_mapped_to_ipv6),
};
const struct check_group settings_values_tests = { tests, CHECK_COUNT(tests) };
