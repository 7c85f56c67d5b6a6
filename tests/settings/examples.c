/* SPDX-License-Identifier: MIT */
/*
 * What loads, and with which values: an empty file, and the example of the contract.
 */
#include "tests/settings/fixture.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/banned.h"

static void
test_empty_file_loads_with_every_default(void)
{
    struct settings *s = load("");

    CHECK_STRING("file", FILE_NAME, s->file);
    CHECK_STRING("store.url", "sqlite:/var/lib/spendgate/spendgate.db", s->store_url);
    CHECK_STRING("store.group", "", s->store_group);
    CHECK_STRING("cache.path", "/run/spendgate/cache.db", s->cache_path);
    CHECK_FALSE("secret", secret_is_set(&s->clerk.secret_key));
    CHECK_STRING("api_url", "https://api.clerk.com", s->clerk.api_url);
    CHECK_INT("accept", CREDENTIAL_API_KEY, s->clerk.accept);
    CHECK_INT("cache_ttl", 60 * US_PER_SECOND, s->clerk.cache_ttl_us);
    CHECK_INT("negative_ttl", 10 * US_PER_SECOND, s->clerk.negative_ttl_us);
    CHECK_INT("stale_if_error", 0, s->clerk.stale_if_error_us);
    CHECK_INT("connect_timeout", 300000, s->clerk.connect_timeout_us);
    CHECK_INT("timeout", 1500000, s->clerk.timeout_us);
    CHECK_STRING("rate", "1000/10s", s->clerk.rate.text);
    CHECK_INT("rate per", 10 * US_PER_SECOND, s->clerk.rate.per_us);
    CHECK_INT("failure_rate", 20, s->clerk.failure_rate.count);
    CHECK_INT("failure_rate per", 60 * US_PER_SECOND, s->clerk.failure_rate.per_us);
    CHECK_INT("failure_rate burst", 20, s->clerk.failure_rate.burst);
    CHECK_INT("max_waiting", 0, s->clerk.max_waiting);
    CHECK_STRING("issuer", "", s->clerk.issuer);
    CHECK_INT("authorized_parties", 0, s->clerk.authorized_parties.count);
    CHECK_STRING("machine_id", "", s->clerk.machine_id);
    CHECK_INT("clock_skew", 5 * US_PER_SECOND, s->clerk.clock_skew_us);
    CHECK_FALSE("session_cookie", s->clerk.session_cookie);
    CHECK_INT("pass_claims", 0, s->clerk.pass_claims.count);
    CHECK_INT("plans", 0, s->policy.plan_count);
    CHECK_INT("routes", 0, s->policy.route_count);
    CHECK_STRING("default_plan", "", s->policy.default_plan);
    CHECK_INT("tokens", 0, s->token_count);
    CHECK_INT("hold_ttl", 300 * US_PER_SECOND, s->hold_ttl_us);
    CHECK_FALSE("on_expiry", s->charge_on_expiry);
    CHECK_INT("max_charge_usd", 1000 * USD, s->max_charge_nanos);
    CHECK_INT("idempotency_ttl", 32 * DAY_US, s->idempotency_ttl_us);
    CHECK_STRING("webhook_url", "", s->alerts_webhook_url);
    CHECK_STRING("command", "", s->alerts_command);
    CHECK_INT("compat", COMPAT_NONE, s->compat);
    CHECK_TRUE("metrics_token", s->metrics_token);
    CHECK_INT("trusted_proxies", 0, s->trusted_proxy_count);
    CHECK_STRING("gate.root", "", s->gate_root);
    CHECK_INT("interpreters", 0, s->interpreter_count);
    settings_close(s);
    settings_close(NULL);
}

/* The example of the contract, with files that exist. */
static const char contract_example[] =
    "store { url = \"sqlite:/var/lib/spendgate/spendgate.db\" group = \"www-data\" }  # comment\n"
    "cache { path = \"/run/spendgate/cache.db\" }\n"
    "clerk {\n"
    "    secret_key_file    = \"%s/secret\"  // another comment\n"
    "    api_url            = \"https://api.clerk.com/\"\n"
    "    accept             = { \"api_key\", \"m2m_token\", \"session_token\" }\n"
    "    cache_ttl          = \"90s\"\n"
    "    stale_if_error     = \"1h\"\n"
    "    rate               = \"100/10s\"\n"
    "    failure_rate       = \"5/m\"\n"
    "    max_waiting        = 3\n"
    "    jwt_key_file       = \"\"\n"
    "    issuer             = \"https://clerk.example.com\"\n"
    "    authorized_parties = { \"https://a.example.com\", 'https://b.example.com' }\n"
    "    machine_id         = \"mch_123\"\n"
    "    session_cookie     = true\n"
    "    pass_claims        = { \"tier\" }\n"
    "}\n"
    "/* plans\n"
    "   in file order */\n"
    "plan \"pro\" {\n"
    "    match   = { \"claims.tier=pro\", \"pla=u:pro\" }\n"
    "    budget \"month\" { limit_usd = \"200.00\"  period = \"month\"  timezone = "
    "\"America/New_York\"  alerts = { 100, 50, 80, 50 } anchor_day = 31 }\n"
    "    budget \"day\"   { limit_usd = \"20.00\"   period = \"day\" enforce = \"warn\" }\n"
    "    budget \"team\"  { limit_usd = \"0\" period = \"week\" week_start = \"sunday\" per = "
    "\"org\" "
    "overage = \"carry\" }\n"
    "    budget \"key\"  { limit_usd = \"1\" period = \"none\" per = \"key\" enforce = \"off\" }\n"
    "    scopes      = { \"proxy.*\" }\n"
    "    hold_usd    = \"0.05\"\n"
    "    rate        = \"60/1m\"    burst = 10\n"
    "    key_rate    = \"30/1m\"    key_burst = 5\n"
    "    org_rate    = \"600/1h\"   org_burst = 50\n"
    "    concurrency = 5\n"
    "    expires_in  = \"30d\"\n"
    "    parent_claim = \"claims.team\"\n"
    "}\n"
    "plan \"free\" { budget \"month\" { limit_usd = \"5.00\"  period = \"month\" }  scopes = { "
    "\"proxy.chat\", \"proxy.read\" } hold_usd = \"auto\" }\n"
    "default_plan = \"free\"\n"
    "route \"/api/chat\" { scopes = { \"proxy.chat\" }  hold_usd = \"auto\" hold_min_usd = "
    "\"0.001\" "
    "hold_max_usd = \"0.5\" accept = { \"api_key\" } }\n"
    "route \"//api/./x/../\"     { scopes = { \"proxy.read\" } rate = \"5/s\" burst = 7 }\n"
    "default_route = \"deny\"\n"
    "tracker {\n"
    "    token \"php\" { sha256 = \"" SHA_A "\"  role = \"post\" }\n"
    "    token \"ops\" { sha256 = \"" SHA_B "\"  role = \"admin\" }\n"
    "}\n"
    "ledger { hold_ttl = \"10m\"  on_expiry = \"charge\"  max_charge_usd = \"50\"  idempotency_ttl "
    "= "
    "\"40d\" }\n"
    "alerts { webhook_url = \"https://hooks.example.com/x?y=z\"  webhook_secret_file = \"\"  "
    "command = "
    "\"/usr/local/bin/alert me\" }\n"
    "gate { root = \"/home/me/private\"  interpreter \".php\" { command = \"/usr/bin/php-cgi\" } "
    "}\n"
    "compat = \"agentkey\"\n"
    "trusted_proxies = { \"10.0.0.0/8\", \"2001:db8::/32\", \"127.0.0.1\" }\n"
    "metrics_token = no\n";

static struct settings *
load_contract_example(void)
{
    char text[8192];
    char folder[512];

    write_bytes("secret", "sk_test_abc\n", 12, 0600);
    CHECK_TRUE("folder", getcwd(folder, sizeof(folder)) != NULL);
    (void)snprintf(text, sizeof(text), contract_example, folder);
    return load_with(text, "");
}

static void
test_contract_example_loads_clerk_and_the_rest(void)
{
    struct settings *s = load_contract_example();

    CHECK_INT("secret", 11, s->clerk.secret_key.length);
    CHECK_STRING("secret", "sk_test_abc", (const char *)s->clerk.secret_key.bytes);
    CHECK_STRING("api_url loses its slash", "https://api.clerk.com", s->clerk.api_url);
    CHECK_INT("accept", CREDENTIAL_API_KEY | CREDENTIAL_M2M_TOKEN | CREDENTIAL_SESSION_TOKEN,
              s->clerk.accept);
    CHECK_INT("parties", 2, s->clerk.authorized_parties.count);
    CHECK_STRING("single quotes", "https://b.example.com", s->clerk.authorized_parties.items[1]);
    CHECK_INT("failure_rate", 60 * US_PER_SECOND, s->clerk.failure_rate.per_us);
    CHECK_STRING("pass_claims", "tier", s->clerk.pass_claims.items[0]);
    CHECK_TRUE("session_cookie", s->clerk.session_cookie);
    CHECK_INT("tokens", 2, s->token_count);
    CHECK_STRING("token", "php", s->tokens[0].name);
    CHECK_INT("role", TOKEN_POST, s->tokens[0].role);
    CHECK_INT("digest", 0x11, s->tokens[0].sha256[1]);
    CHECK_INT("upper case digest", 0xff, s->tokens[1].sha256[0]);
    CHECK_INT("role", TOKEN_ADMIN, s->tokens[1].role);
    CHECK_TRUE("on_expiry", s->charge_on_expiry);
    CHECK_INT("max_charge_usd", 50 * USD, s->max_charge_nanos);
    CHECK_STRING("webhook_url", "https://hooks.example.com/x?y=z", s->alerts_webhook_url);
    CHECK_STRING("command", "/usr/local/bin/alert me", s->alerts_command);
    CHECK_STRING("root", "/home/me/private", s->gate_root);
    CHECK_STRING("suffix", ".php", s->interpreters[0].suffix);
    CHECK_STRING("interpreter", "/usr/bin/php-cgi", s->interpreters[0].command);
    CHECK_INT("compat", COMPAT_AGENTKEY, s->compat);
    CHECK_FALSE("metrics_token", s->metrics_token);
    CHECK_INT("proxies", 3, s->trusted_proxy_count);
    CHECK_INT("proxy bits", 104, s->trusted_proxies[0].prefix_bits);
    CHECK_INT("proxy bits", 32, s->trusted_proxies[1].prefix_bits);
    CHECK_INT("proxy bits", 128, s->trusted_proxies[2].prefix_bits);
    settings_close(s);
}

static void
test_contract_example_loads_plans(void)
{
    struct settings *s = load_contract_example();
    const struct plan *pro = &s->policy.plans[0];
    const struct plan *free_plan = &s->policy.plans[1];

    CHECK_INT("plans", 2, s->policy.plan_count);
    CHECK_STRING("name", "pro", pro->name);
    CHECK_INT("matches", 2, pro->match_count);
    CHECK_STRING("match", "pla=u:pro", pro->matches[1]);
    CHECK_STRING("scope", "proxy.*", pro->scopes.names[0]);
    CHECK_TRUE("hold", pro->hold.set && !pro->hold.automatic);
    CHECK_INT("hold", USD / 20, pro->hold.nanos);
    CHECK_INT("rate", 60, pro->rate.count);
    CHECK_INT("burst", 10, pro->rate.burst);
    CHECK_INT("key_rate", 30, pro->key_rate.count);
    CHECK_INT("key_burst", 5, pro->key_rate.burst);
    CHECK_INT("org_rate", HOUR_US, pro->org_rate.per_us);
    CHECK_INT("org_burst", 50, pro->org_rate.burst);
    CHECK_INT("concurrency", 5, pro->concurrency);
    CHECK_INT("expires_in", 30 * DAY_US, pro->expires_in_us);
    CHECK_STRING("parent_claim", "claims.team", pro->parent_claim);
    CHECK_TRUE("auto", free_plan->hold.set && free_plan->hold.automatic);
    CHECK_INT("least hold", USD / 100, free_plan->hold.min_nanos);
    CHECK_INT("largest hold", USD, free_plan->hold.max_nanos);
    CHECK_INT("no rate", 0, free_plan->rate.count);
    CHECK_STRING("default_plan", "free", s->policy.default_plan);
    settings_close(s);
}

static void
test_contract_example_loads_budgets(void)
{
    struct settings *s = load_contract_example();
    const struct plan_budget *budgets = s->policy.plans[0].budgets;

    CHECK_INT("budgets", 4, s->policy.plans[0].budget_count);
    CHECK_STRING("name", "month", budgets[0].name);
    CHECK_INT("limit", 200 * USD, budgets[0].limit_nanos);
    CHECK_INT("kind", PERIOD_MONTH, budgets[0].spec.kind);
    CHECK_STRING("timezone", "America/New_York", budgets[0].spec.timezone);
    CHECK_INT("anchor_day", 31, budgets[0].spec.anchor_day);
    CHECK_INT("alerts are ascending", 3, budgets[0].alert_count);
    CHECK_INT("alert", 50, budgets[0].alerts[0]);
    CHECK_INT("alert", 80, budgets[0].alerts[1]);
    CHECK_INT("alert", 100, budgets[0].alerts[2]);
    CHECK_INT("per", PER_SUBJECT, budgets[0].per);
    CHECK_INT("enforce", ENFORCE_HARD, budgets[0].enforce);
    CHECK_INT("overage", OVERAGE_FORGIVE, budgets[0].overage);
    CHECK_INT("enforce", ENFORCE_WARN, budgets[1].enforce);
    CHECK_STRING("timezone", "UTC", budgets[1].spec.timezone);
    CHECK_INT("week_start", 0, budgets[2].spec.week_start);
    CHECK_INT("per", PER_ORG, budgets[2].per);
    CHECK_INT("overage", OVERAGE_CARRY, budgets[2].overage);
    CHECK_INT("limit", 0, budgets[2].limit_nanos);
    CHECK_INT("kind", PERIOD_NONE, budgets[3].spec.kind);
    CHECK_INT("per", PER_KEY, budgets[3].per);
    CHECK_INT("enforce", ENFORCE_OFF, budgets[3].enforce);
    settings_close(s);
}

static void
test_contract_example_loads_routes(void)
{
    struct settings *s = load_contract_example();
    const struct route *routes = s->policy.routes;

    CHECK_INT("routes", 2, s->policy.route_count);
    CHECK_STRING("prefix", "/api/chat", routes[0].prefix);
    CHECK_STRING("scope", "proxy.chat", routes[0].scopes.names[0]);
    CHECK_TRUE("auto", routes[0].hold.automatic);
    CHECK_INT("least hold", USD / 1000, routes[0].hold.min_nanos);
    CHECK_INT("largest hold", USD / 2, routes[0].hold.max_nanos);
    CHECK_INT("accept", CREDENTIAL_API_KEY, routes[0].accept);
    CHECK_STRING("normalised", "/api/", routes[1].prefix);
    CHECK_INT("accept", 0, routes[1].accept);
    CHECK_FALSE("no hold", routes[1].hold.set);
    CHECK_INT("burst", 7, routes[1].rate.burst);
    CHECK_FALSE("default_route", s->policy.default_route_allow);
    settings_close(s);
}

static void
test_default_route_without_routes_is_allow_unless_it_is_given(void)
{
    struct settings *s = load("");

    CHECK_TRUE("not given", s->policy.default_route_allow);
    settings_close(s);
    s = load_with("default_route = deny",
                  "warning spendgate.conf:1: default_route: \"deny\" without any route "
                  "section refuses every request with no_route\n" NO_PLAN);
    CHECK_FALSE("given", s->policy.default_route_allow);
    settings_close(s);
    s = load("default_route = \"allow\"");
    CHECK_TRUE("given", s->policy.default_route_allow);
    settings_close(s);
    s = load("route \"/a\" {}");
    CHECK_FALSE("with a route", s->policy.default_route_allow);
    settings_close(s);
    s = load("route \"/a\" {} default_route = allow");
    CHECK_TRUE("with a route, given", s->policy.default_route_allow);
    settings_close(s);
}

static void
test_section_may_come_in_parts_and_lists_may_grow(void)
{
    struct settings *s = load("clerk { cache_ttl = 5s }\n"
                              "clerk { pass_claims = { \"a\" } pass_claims += { \"b\", }\n"
                              "        authorized_parties = \"https://one\" }\n"
                              "trusted_proxies = {}\n");

    CHECK_INT("first part", 5 * US_PER_SECOND, s->clerk.cache_ttl_us);
    CHECK_INT("grown", 2, s->clerk.pass_claims.count);
    CHECK_STRING("grown", "b", s->clerk.pass_claims.items[1]);
    CHECK_INT("a list of one without braces", 1, s->clerk.authorized_parties.count);
    CHECK_INT("an empty list", 0, s->trusted_proxy_count);
    settings_close(s);
}

static void
test_escapes_stand_for_their_character(void)
{
    struct settings *s = load("alerts { command = \"/a\\\\b \\\"c\\\" \\${d}\" }"
                              "gate { root = '/it\\'s \\\\ ${e} \"f\"' }");

    CHECK_STRING("double quotes", "/a\\b \"c\" ${d}", s->alerts_command);
    CHECK_STRING("single quotes", "/it's \\ ${e} \"f\"", s->gate_root);
    settings_close(s);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_empty_file_loads_with_every_default),
    CHECK_TEST(test_contract_example_loads_clerk_and_the_rest),
    CHECK_TEST(test_contract_example_loads_plans),
    CHECK_TEST(test_contract_example_loads_budgets),
    CHECK_TEST(test_contract_example_loads_routes),
    CHECK_TEST(test_default_route_without_routes_is_allow_unless_it_is_given),
    CHECK_TEST(test_section_may_come_in_parts_and_lists_may_grow),
    CHECK_TEST(test_escapes_stand_for_their_character),
};
const struct check_group settings_examples_tests = { tests, CHECK_COUNT(tests) };
