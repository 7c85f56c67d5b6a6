/* SPDX-License-Identifier: MIT */
/* The settings file: what loads, with which values, and what every bad file is told. */
#include "common/settings.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/money.h"
#include "common/crypto.h"
#include "tests/check.h"

#include "common/banned.h"

#define FILE_NAME "spendgate.conf" /* in a fresh folder, which main() makes and enters */
#define SHA_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define SHA_B "FF112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"
#define HOUR_US (3600 * US_PER_SECOND)
#define DAY_US (24 * HOUR_US)
#define USD MONEY_NANOS_PER_USD

/* Our own allocations, of which one can be made to fail (--wrap in Makefile.am). */
static int allocations_left = -1; /* -1: all succeed */

void *__real_calloc(size_t count, size_t size);
void *__real_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);

void *
__wrap_calloc(size_t count, size_t size)
{
    if (allocations_left >= 0 && allocations_left-- == 0)
        return NULL;
    return __real_calloc(count, size);
}

void *
__wrap_malloc(size_t size)
{
    if (allocations_left >= 0 && allocations_left-- == 0)
        return NULL;
    return __real_malloc(size);
}

/* What one reading told: errors as they are, warnings with "warning " before them. */
struct told {
    char storage[16384];
    struct buf text;
};

static void
tell(void *context, bool warning, const char *text)
{
    struct told *told = context;

    if (told->text.length > 0)
        buf_add_char(&told->text, '\n');
    buf_add_format(&told->text, "%s%s", warning ? "warning " : "", text);
}

static void
write_bytes(const char *name, const char *bytes, size_t length, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK_TRUE("file made", fd >= 0 && fchmod(fd, mode) == 0);
    CHECK_INT("file written", (ssize_t)length, write(fd, bytes, length));
    (void)close(fd);
}

static struct settings *
read_bytes(const char *bytes, size_t length, enum status want, struct told *told, struct error *err)
{
    const struct settings_problems problems = { tell, told };
    struct settings *settings = NULL;

    buf_init(&told->text, told->storage, sizeof(told->storage));
    *err = (struct error){ 0 };
    write_bytes(FILE_NAME, bytes, length, 0640);
    CHECK_STATUS(want, settings_open(FILE_NAME, &problems, &settings, err), err);
    return settings;
}

/* The settings of `text`, which must load and tell exactly `warnings`. */
static struct settings *
load_with(const char *text, const char *warnings)
{
    struct told told;
    struct error err;
    struct settings *settings = read_bytes(text, strlen(text), STATUS_OK, &told, &err);

    CHECK_STRING("told", warnings, buf_text(&told.text));
    if (settings == NULL) {
        printf("%s\n", err.message);
        exit(1); /* what follows reads the settings */
    }
    return settings;
}

#define NO_PLAN "warning spendgate.conf: no plan: every request will be refused with no_plan"

static struct settings *
load(const char *text)
{
    return load_with(text, NO_PLAN);
}

/* `text` is refused, telling exactly `problems`, of which the first is in the error. */
static void
check_refused_bytes(const char *text, size_t length, const char *problems)
{
    struct told told;
    struct error err;
    char first[ERROR_MESSAGE_SIZE];
    const char *line = problems;

    (void)read_bytes(text, length, STATUS_INVALID, &told, &err);
    CHECK_STRING("told", problems, buf_text(&told.text));
    while (strncmp(line, "warning ", 8) == 0)
        line = strchr(line, '\n') + 1;
    (void)snprintf(first, sizeof(first), "%.*s", (int)strcspn(line, "\n"), line);
    CHECK_STRING("error", first, err.message);
}

static void
check_refused(const char *text, const char *problems)
{
    check_refused_bytes(text, strlen(text), problems);
}

/* The same for a text that has no plan, whose warning comes first. */
static void
check_refused_too(const char *text, const char *problem)
{
    char problems[2048];

    (void)snprintf(problems, sizeof(problems), "%s\n%s", problem, NO_PLAN);
    check_refused(text, problems);
}

/* ---- shapes and defaults -------------------------------------------------------------------- */

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

/* ---- values at the ends of their ranges ----------------------------------------------------- */

/* `pattern` with `value` in place of its "%s". */
static const char *
with_value(const char *pattern, const char *value, char *storage, size_t size)
{
    const char *hole = strstr(pattern, "%s");
    struct buf text;

    buf_init(&text, storage, size);
    buf_add_bytes(&text, pattern, (size_t)(hole - pattern));
    buf_add(&text, value);
    buf_add(&text, hole + 2);
    CHECK_FALSE("fits", buf_failed(&text));
    return buf_text(&text);
}

static void
check_accepted(const char *pattern, const char *value)
{
    char storage[1024];
    const char *text = with_value(pattern, value, storage, sizeof(storage));
    struct told told;
    struct error err;

    settings_close(read_bytes(text, strlen(text), STATUS_OK, &told, &err));
}

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

/* ---- sections with titles ------------------------------------------------------------------- */

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

/* ---- every problem, with its line ----------------------------------------------------------- */

static void
test_every_bad_value_is_told_with_its_line(void)
{
    check_refused("# one\n"
                  "clerk {\n"
                  "    cache_ttl = \"0s\"   /* over\n"
                  "    two lines */ timeout = 5\n"
                  "    accept = { \"api_key\",\n"
                  "               \"cookie\" }\n"
                  "}\n"
                  "plan \"p\" { match = { 'a=b' } rate = \"often\" }\n"
                  "default_plan = \"q\"\n"
                  "ledger { on_expiry = \"keep\" }\n",
                  "spendgate.conf:6: clerk.accept: \"cookie\" is not \"api_key\", \"m2m_token\", "
                  "\"session_token\" or \"oauth_token\"\n"
                  "spendgate.conf:3: clerk.cache_ttl: \"0s\" is not a duration from 1s to 1d\n"
                  "spendgate.conf:4: clerk.timeout: \"5\" is not a duration from 10ms to 1m\n"
                  "spendgate.conf:10: ledger.on_expiry: \"keep\" is not \"release\" or \"charge\"\n"
                  "spendgate.conf:8: plan.rate: \"often\" is not a rate such as \"60/1m\": 1 to "
                  "1000000 per 1ms to 31d\n"
                  "spendgate.conf:4: clerk.timeout: is shorter than clerk.connect_timeout\n"
                  "spendgate.conf:9: default_plan: there is no plan \"q\"");
}

static void
test_problems_need_nobody_to_tell_them_to(void)
{
    const struct settings_problems nobody = { NULL, NULL };
    struct settings *settings = NULL;
    struct error err = { 0 };

    write_bytes(FILE_NAME, "x", 1, 0640);
    CHECK_STATUS(STATUS_INVALID, settings_open(FILE_NAME, NULL, &settings, &err), &err);
    CHECK_STRING("error", "spendgate.conf:1: no such option 'x'", err.message);
    CHECK_STATUS(STATUS_INVALID, settings_open(FILE_NAME, &nobody, &settings, NULL), NULL);
    CHECK_TRUE("nothing", settings == NULL);
}

static void
test_unknown_keys_end_the_reading(void)
{
    check_refused("clerk { cache_ttl = 0s }\n\nplam \"x\" {}\n", "spendgate.conf:3: no such option "
                                                                 "'plam'");
    check_refused("store { path = \"/x\" }", "spendgate.conf:1: no such option 'path'");
    check_refused("include(\"/etc/passwd\")",
                  "spendgate.conf:1: an unexpected character: quote the "
                  "value it belongs to");
    check_refused("include = \"/etc/passwd\"", "spendgate.conf:1: no such option 'include'");
}

static void
test_syntax_errors_end_the_reading(void)
{
    check_refused("\nclerk { cache_ttl \"5s\" }",
                  "spendgate.conf:2: missing equal sign after option "
                  "'cache_ttl'");
    check_refused("clerk = 5", "spendgate.conf:1: missing opening brace for section 'clerk'");
    check_refused("plan { }", "spendgate.conf:1: missing title for section 'plan'");
    check_refused("clerk {\n\n", "spendgate.conf:1: an opening brace without its closing one");
    check_refused("}", "spendgate.conf:1: a closing brace without its opening one");
    check_refused("clerk { pass_claims = { \"a\" \"b\" } }",
                  "spendgate.conf:1: unexpected token 'b'");
    check_refused("compat += agentkey", "spendgate.conf:1: attempt to append to non-list option "
                                        "'compat'");
    check_refused("compat = = agentkey", "spendgate.conf:1: unexpected token '='");
    check_refused(",", "spendgate.conf:1: unexpected token ','");
}

static void
test_braces_are_balanced(void)
{
    check_refused("clerk {\ncache { path = \"/a\" }",
                  "spendgate.conf:1: an opening brace without its "
                  "closing one");
    check_refused("clerk { pass_claims = { a, b\n",
                  "spendgate.conf:1: an opening brace without its "
                  "closing one");
    check_refused("{{{{\n{{{{{", "spendgate.conf:2: braces nested too deeply");
    check_refused("cache { }\n}", "spendgate.conf:2: a closing brace without its opening one");
}

static void
test_titles_given_twice_end_the_reading(void)
{
    check_refused("plan \"a\" {}\nplan \"b\" {}\nplan \"a\" {}",
                  "spendgate.conf:3: found duplicate title 'a'");
    check_refused("tracker { token \"t\" {} token \"t\" {} }",
                  "spendgate.conf:1: found duplicate title 't'");
    check_refused("plan \"a\" { budget \"b\" {}\n budget \"b\" {} }",
                  "spendgate.conf:2: found duplicate title 'b'");
}

static void
test_keys_given_twice_are_told(void)
{
    check_refused_too("compat = agentkey\nmetrics_token = 7\ncompat = \"\"",
                      "spendgate.conf:3: compat: is given twice\n"
                      "spendgate.conf:2: metrics_token: \"7\" is not true or false");
    check_refused_too("clerk { pass_claims = a }\nclerk { pass_claims = { b, c } }",
                      "spendgate.conf:2: pass_claims: is given twice");
}

static void
test_empty_list_is_no_way_to_the_default(void)
{
    check_refused_too("clerk {\n accept = {}\n}",
                      "spendgate.conf:3: clerk.accept: is an empty list");
}

static void
test_what_libconfuse_would_swallow_is_refused(void)
{
    static const char character[] =
        "spendgate.conf:2: an unexpected character: quote the value it belongs to";

    check_refused("\nledger { max_charge_usd = 5*3 }", character);
    check_refused("\ncompat = a+b", character);
    check_refused("\nclerk|cache_ttl = 5s", character);
    check_refused("\ncompat = ${HOME}", character);
    check_refused("\ncompat = \x01", character);
    check_refused("\ncompat = caf\xc3\xa9", character);
    check_refused_bytes("\n\0", 2, character);
    check_refused("compat = agentkey \"x\" = 1",
                  "spendgate.conf:1: a quoted text where a key belongs");
    check_refused("\"clerk|cache_ttl\" = 5s",
                  "spendgate.conf:1: a quoted text where a key belongs");
    check_refused("\n/* a\n\nb", "spendgate.conf:2: a comment without its end");
    check_refused("\n/*/", "spendgate.conf:2: a comment without its end");
}

static void
test_texts_end_on_their_line(void)
{
    static const char no_quote[] = "spendgate.conf:2: a text without its closing quote";

    check_refused("\ncompat = \"agentkey", no_quote);
    check_refused("\ncompat = \"agentkey\nmetrics_token = \"no\"", no_quote);
    check_refused("\ncompat = 'agentkey\n'", no_quote);
    check_refused("\ncompat = '", no_quote);
    check_refused_bytes("compat = \"a\0b\"", 14, "spendgate.conf:1: a control byte in a text");
    check_refused("compat = \"a\tb\"", "spendgate.conf:1: a control byte in a text");
    check_refused("compat = \"a\x7f\"", "spendgate.conf:1: a control byte in a text");
}

static void
test_texts_reach_neither_environment_nor_bytes_by_number(void)
{
    static const char escape[] = "spendgate.conf:1: an unknown escape: write \\\\ for a backslash";

    check_refused("compat = \"${HOME}\"", "spendgate.conf:1: \"${\" is not replaced from the "
                                          "environment: write \"\\${\"");
    check_refused("compat = \"\\n\"", escape);
    check_refused("compat = \"\\x41\"", escape);
    check_refused("compat = \"\\101\"", escape);
    check_refused("compat = \"\\\n\"", escape);
    check_refused("compat = '\\n'", escape);
    check_refused("compat = \"\\", escape);
    check_refused_bytes("compat = \"\\\0\"", 12, escape);
}

static void
test_comments_of_every_form_are_skipped(void)
{
    char comment[64 + 3];
    struct settings *s = load("#\n//\n/**/ /***/ # ${HOME} \" \x01\n//x\ncompat = agentkey # end");

    CHECK_INT("read", COMPAT_AGENTKEY, s->compat);
    settings_close(s);
    memset(comment, '#', sizeof(comment));
    comment[65] = '\n';
    comment[66] = '\0';
    settings_close(load(comment));
}

static void
test_last_line_needs_no_end(void)
{
    struct settings *s = load("\r\ncompat = agentkey\r\n\tmetrics_token = no");

    CHECK_INT("compat", COMPAT_AGENTKEY, s->compat);
    CHECK_FALSE("metrics_token", s->metrics_token);
    settings_close(s);
}

/* ---- between values ------------------------------------------------------------------------- */

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

/* ---- secrets -------------------------------------------------------------------------------- */

static void
test_secret_values_are_never_told(void)
{
    check_refused_too("clerk { secret_key_file = \"sk_live_topsecret\" }",
                      "spendgate.conf:1: clerk.secret_key_file: the value is not the absolute path "
                      "of a file that holds the secret");
    check_refused_too("tracker { token \"t\" { role = post sha256 = \"sgt_topsecret\" } }",
                      "spendgate.conf:1: tracker.token.sha256: the value is not a SHA-256 of 64 "
                      "hexadecimal digits");
    check_refused_too("tracker { token \"t\" { role = post sha256 = \"" SHA_A "00\" } }",
                      "spendgate.conf:1: tracker.token.sha256: the value is not a SHA-256 of 64 "
                      "hexadecimal digits");
    check_refused_too("store { url = \"mysql://u:topsecret@h/d\" }",
                      "spendgate.conf:1: store.url: the value is not \"sqlite:/absolute/path\" or "
                      "\"postgresql://...\"");
    check_refused_too(
        "alerts { webhook_url = \"http://h/topsecret\" }",
        "spendgate.conf:1: alerts.webhook_url: the value is not an https URL (http to "
        "a loopback address) without user");
    check_refused("clerk { secret_key_file = \"/a\" sk_live_0123456789012345678901234 }",
                  "spendgate.conf:1: no such option (a long word, not shown)");
}

static void
test_store_urls_are_sqlite_or_postgresql(void)
{
    static const char *const good[] = { "sqlite:/a b", "postgresql://u@h1,h2/d?x=y",
                                        "postgres://h/d" };
    static const char *const bad[] = { "sqlite:a", "sqlite:",       "sqlite:/",          "",
                                       "/a",       "postgresql:/h", "postgresql://h/d e" };
    char storage[256];

    for (size_t i = 0; i < CHECK_COUNT(good); i++)
        check_accepted("store { url = \"%s\" }", good[i]);
    for (size_t i = 0; i < CHECK_COUNT(bad); i++)
        check_refused_too(with_value("store { url = \"%s\" }", bad[i], storage, sizeof(storage)),
                          "spendgate.conf:1: store.url: the value is not \"sqlite:/absolute/path\" "
                          "or \"postgresql://...\"");
}

/* A file in the test's folder by its absolute path, in `pattern`. */
static const char *
with_file(const char *pattern, const char *name, char *storage, size_t size)
{
    char path[512];

    CHECK_TRUE("folder", getcwd(path, sizeof(path) - 32) != NULL);
    (void)snprintf(path + strlen(path), 32, "/%s", name);
    return with_value(pattern, path, storage, size);
}

static void
check_secret_refused(const char *pattern, const char *key, const char *problem)
{
    char storage[1024];
    const char *text = with_file(pattern, "secret", storage, sizeof(storage));
    char want[1024];
    struct told told;
    struct error err;

    (void)read_bytes(text, strlen(text), STATUS_INVALID, &told, &err);
    (void)snprintf(want, sizeof(want), "spendgate.conf:1: %s: ", key);
    CHECK_INT("key", 0, strncmp(want, err.message, strlen(want)));
    CHECK_TRUE(problem, strstr(err.message, problem) != NULL);
    CHECK_TRUE("not told", strstr(buf_text(&told.text), "topsecret") == NULL);
}

static void
test_secret_files_are_private_and_one_line(void)
{
    static const char pattern[] = "clerk { secret_key_file = \"%s\" }";

    write_bytes("secret", "topsecret", 9, 0604);
    check_secret_refused(pattern, "clerk.secret_key_file", "/secret: ");
    write_bytes("secret", "topsecret\nmore", 14, 0600);
    check_secret_refused(pattern, "clerk.secret_key_file",
                         "the secret is not one line of visible ASCII characters");
    write_bytes("secret", "topsecret \n", 11, 0600);
    check_secret_refused(pattern, "clerk.secret_key_file",
                         "the secret is not one line of visible ASCII characters");
    CHECK_INT("removed", 0, unlink("secret"));
    check_secret_refused(pattern, "clerk.secret_key_file", "/secret: No such file or directory");
    check_secret_refused("alerts { webhook_secret_file = \"%s\" }", "alerts.webhook_secret_file",
                         "No such file");
    check_secret_refused("clerk { webhook_secret_file = \"%s\" }", "clerk.webhook_secret_file",
                         "No such file");
}

static void
test_jwt_key_is_a_public_key(void)
{
    static const char pattern[] = "clerk { jwt_key_file = \"%s\" }";
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    char storage[1024];
    struct settings *s;

    write_bytes("secret", pem, strlen(pem), 0600);
    s = load(with_file(pattern, "secret", storage, sizeof(storage)));
    CHECK_INT("key", strlen(pem) - 1, s->clerk.jwt_key.length);
    settings_close(s);
    write_bytes("secret", "-----BEGIN PRIVATE KEY-----\ntopsecret\n", 38, 0600);
    check_secret_refused(pattern, "clerk.jwt_key_file",
                         "the secret is not a public key in PEM (-----BEGIN PUBLIC KEY-----)");
}

/* ---- environment ---------------------------------------------------------------------------- */

static void
test_environment_wins_over_the_file(void)
{
    struct settings *s;

    CHECK_INT("set", 0, setenv("SPENDGATE_STORE_URL", "sqlite:/env.db", 1));
    CHECK_INT("set", 0, setenv("CLERK_SECRET_KEY", "sk_env", 1));
    CHECK_INT("set", 0, setenv("CLERK_API_URL", "http://127.0.0.1:5000/", 1));
    CHECK_INT("set", 0, setenv("CLERK_JWT_KEY", "-----BEGIN PUBLIC KEY-----", 1));
    CHECK_INT("set", 0, setenv("CLERK_WEBHOOK_SIGNING_SECRET", "whsec_env", 1));
    s = load("store { url = \"sqlite:/file.db\" }\n"
             "clerk { secret_key_file = \"/nonexistent\" api_url = \"https://file\" }");
    CHECK_STRING("store", "sqlite:/env.db", s->store_url);
    CHECK_STRING("secret", "sk_env", (const char *)s->clerk.secret_key.bytes);
    CHECK_STRING("api_url", "http://127.0.0.1:5000", s->clerk.api_url);
    CHECK_TRUE("jwt_key", secret_is_set(&s->clerk.jwt_key));
    CHECK_STRING("webhook", "whsec_env", (const char *)s->clerk.webhook_secret.bytes);
    settings_close(s);
    CHECK_INT("unset", 0, unsetenv("SPENDGATE_STORE_URL"));
    CHECK_INT("unset", 0, unsetenv("CLERK_SECRET_KEY"));
    CHECK_INT("unset", 0, unsetenv("CLERK_API_URL"));
    CHECK_INT("unset", 0, unsetenv("CLERK_JWT_KEY"));
    CHECK_INT("unset", 0, unsetenv("CLERK_WEBHOOK_SIGNING_SECRET"));
}

static void
test_empty_environment_counts_as_none(void)
{
    struct settings *s;

    CHECK_INT("set", 0, setenv("SPENDGATE_STORE_URL", "", 1));
    CHECK_INT("set", 0, setenv("CLERK_SECRET_KEY", "", 1));
    s = load("store { url = \"sqlite:/file.db\" }");
    CHECK_STRING("store", "sqlite:/file.db", s->store_url);
    CHECK_FALSE("secret", secret_is_set(&s->clerk.secret_key));
    settings_close(s);
    CHECK_INT("unset", 0, unsetenv("SPENDGATE_STORE_URL"));
    CHECK_INT("unset", 0, unsetenv("CLERK_SECRET_KEY"));
}

static void
test_bad_environment_is_told_by_its_name(void)
{
    char big[SECRET_BYTES_MAX + 2];

    CHECK_INT("set", 0, setenv("SPENDGATE_STORE_URL", "topsecret", 1));
    CHECK_INT("set", 0, setenv("CLERK_API_URL", "x", 1));
    CHECK_INT("set", 0, setenv("CLERK_SECRET_KEY", "a b", 1));
    check_refused_too("", "spendgate.conf: SPENDGATE_STORE_URL: the value is not "
                          "\"sqlite:/absolute/path\" or \"postgresql://...\"\n"
                          "spendgate.conf: CLERK_SECRET_KEY: the secret is not one line of visible "
                          "ASCII characters\n"
                          "spendgate.conf: CLERK_API_URL: \"x\" is not an https URL (http to a "
                          "loopback address) without query and user");
    CHECK_INT("unset", 0, unsetenv("SPENDGATE_STORE_URL"));
    CHECK_INT("unset", 0, unsetenv("CLERK_API_URL"));
    memset(big, 'a', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    CHECK_INT("set", 0, setenv("CLERK_SECRET_KEY", big, 1));
    check_refused_too("", "spendgate.conf: CLERK_SECRET_KEY: a secret is longer than 4096 bytes");
    CHECK_INT("unset", 0, unsetenv("CLERK_SECRET_KEY"));
}

/* ---- the file itself ------------------------------------------------------------------------ */

static void
check_file_refused(const char *path, const char *problem)
{
    struct settings *settings = NULL;
    struct error err = { 0 };

    CHECK_STATUS(STATUS_INVALID, settings_open(path, NULL, &settings, &err), &err);
    CHECK_STRING(path, problem, err.message);
    CHECK_TRUE("nothing", settings == NULL);
}

static void
test_file_is_regular_and_written_by_its_owner_only(void)
{
    check_file_refused("missing",
                       "missing: No such file or directory: copy the sample there, or name "
                       "a file with --config");
    check_file_refused(".", ".: not a regular file");
    check_file_refused("./missing/x",
                       "./missing/x: No such file or directory: copy the sample there, "
                       "or name a file with --config");
    write_bytes("open", "", 0, 0646);
    check_file_refused("open", "open: writable by others: run chmod o-w on it");
    CHECK_INT("fifo", 0, mkfifo("fifo", 0600));
    check_file_refused("fifo", "fifo: not a regular file");
    check_file_refused(FILE_NAME "/x", FILE_NAME "/x: Not a directory");
}

static void
test_file_has_a_largest_size(void)
{
    char *text = malloc(SETTINGS_FILE_MAX + 1);

    CHECK_TRUE("memory", text != NULL);
    if (text == NULL)
        return;
    memset(text, '\n', SETTINGS_FILE_MAX + 1);
    write_bytes("big", text, SETTINGS_FILE_MAX + 1, 0640);
    check_file_refused("big", "big: larger than 1048576 bytes");
    memcpy(text + SETTINGS_FILE_MAX - 10, "compat = 5", 10);
    write_bytes("big", text, SETTINGS_FILE_MAX, 0640);
    check_file_refused("big", "big:1048567: compat: \"5\" is not \"\", \"agentkey\" or \"openai\"");
    free(text);
}

static void
test_file_is_known_by_its_digest(void)
{
    static const char one[] = "compat = agentkey", two[] = "compat = agentkey ";
    uint8_t want[SHA256_BYTES];
    struct settings *settings = NULL;
    struct error err = { 0 };

    write_bytes("one", one, sizeof(one) - 1, 0640);
    write_bytes("two", two, sizeof(two) - 1, 0640);
    crypto_sha256(one, sizeof(one) - 1, want);
    CHECK_STATUS(STATUS_OK, settings_open("one", NULL, &settings, &err), &err);
    CHECK_INT("digest", 0, memcmp(want, settings->digest, sizeof(want)));
    settings_close(settings);
    CHECK_STATUS(STATUS_OK, settings_open("two", NULL, &settings, &err), &err);
    CHECK_TRUE("another file", memcmp(want, settings->digest, sizeof(want)) != 0);
    settings_close(settings);
}

static void
test_file_is_named_by_the_caller_then_the_environment(void)
{
    struct settings *settings = NULL;
    struct error err = { 0 };
    char name[FILE_PATH_SIZE + 8];

    write_bytes("named", "compat = agentkey", 17, 0640);
    CHECK_INT("set", 0, setenv("SPENDGATE_CONFIG", "named", 1));
    CHECK_STATUS(STATUS_OK, settings_open(NULL, NULL, &settings, &err), &err);
    CHECK_STRING("file", "named", settings->file);
    CHECK_TRUE("read", settings->compat == COMPAT_AGENTKEY);
    settings_close(settings);
    check_file_refused("missing",
                       "missing: No such file or directory: copy the sample there, or name "
                       "a file with --config");
    CHECK_INT("unset", 0, unsetenv("SPENDGATE_CONFIG"));
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    CHECK_STATUS(STATUS_INVALID, settings_open(name, NULL, &settings, &err), &err);
}

static void
test_every_failed_allocation_is_out_of_memory(void)
{
    static const char text[] = "default_plan = a plan a {} route \"/a\" {}";
    struct settings *settings = NULL;
    int failures = 0;

    write_bytes(FILE_NAME, text, strlen(text), 0640);
    for (;; failures++) {
        struct error err = { 0 };
        enum status status;

        allocations_left = failures;
        status = settings_open(FILE_NAME, NULL, &settings, &err);
        if (allocations_left >= 0)
            break;
        allocations_left = -1;
        CHECK_STATUS(STATUS_NO_MEMORY, status, &err);
        CHECK_STRING("error", "settings: out of memory", err.message);
        CHECK_TRUE("nothing", settings == NULL);
    }
    allocations_left = -1;
    CHECK_INT("reading, settings, text, value, plans, routes", 6, failures);
    CHECK_TRUE("the next one succeeds", settings != NULL);
    settings_close(settings);
}

/* ---- what the authorizer needs -------------------------------------------------------------- */

static void
test_authorizer_needs_a_secret_key_unless_it_verifies_sessions_only(void)
{
    struct settings *s = load("");
    struct error err = { 0 };
    struct told told;
    const struct settings_problems problems = { tell, &told };

    buf_init(&told.text, told.storage, sizeof(told.storage));
    CHECK_STATUS(STATUS_INVALID, settings_require_clerk(s, &problems, &err), &err);
    CHECK_STRING("told",
                 "spendgate.conf: clerk.secret_key_file: no Clerk secret key: name a file with it "
                 "here, or set CLERK_SECRET_KEY",
                 buf_text(&told.text));
    CHECK_STRING("error", buf_text(&told.text), err.message);
    CHECK_STATUS(STATUS_OK, secret_set(&s->clerk.jwt_key, "pem", 3, &err), &err);
    CHECK_STATUS(STATUS_INVALID, settings_require_clerk(s, NULL, &err), &err);
    s->clerk.accept = CREDENTIAL_SESSION_TOKEN;
    CHECK_STATUS(STATUS_OK, settings_require_clerk(s, NULL, &err), &err);
    secret_clear(&s->clerk.jwt_key);
    CHECK_STATUS(STATUS_INVALID, settings_require_clerk(s, NULL, &err), &err);
    s->clerk.accept = CREDENTIAL_API_KEY;
    CHECK_STATUS(STATUS_OK, secret_set(&s->clerk.secret_key, "sk", 2, &err), &err);
    CHECK_STATUS(STATUS_OK, settings_require_clerk(s, NULL, &err), &err);
    settings_close(s);
}

/* ---- the table and single values ------------------------------------------------------------ */

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

static void
enter_new_folder(char *folder)
{
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) {
        perror(folder);
        exit(99);
    }
}

static void
remove_folder(const char *folder)
{
    static const char *const names[] = { FILE_NAME, "secret", "open", "fifo", "big", "named" };

    for (size_t i = 0; i < CHECK_COUNT(names); i++)
        (void)unlink(names[i]);
    if (chdir("/") != 0 || rmdir(folder) != 0)
        perror(folder);
}

int
main(void)
{
    static const char *const variables[] = {
        "SPENDGATE_CONFIG", "SPENDGATE_STORE_URL", "CLERK_SECRET_KEY",
        "CLERK_API_URL",    "CLERK_JWT_KEY",       "CLERK_WEBHOOK_SIGNING_SECRET",
    };
    const struct check_test tests[] = {
        CHECK_TEST(test_empty_file_loads_with_every_default),
        CHECK_TEST(test_contract_example_loads_clerk_and_the_rest),
        CHECK_TEST(test_contract_example_loads_plans),
        CHECK_TEST(test_contract_example_loads_budgets),
        CHECK_TEST(test_contract_example_loads_routes),
        CHECK_TEST(test_default_route_without_routes_is_allow_unless_it_is_given),
        CHECK_TEST(test_section_may_come_in_parts_and_lists_may_grow),
        CHECK_TEST(test_escapes_stand_for_their_character),
        CHECK_TEST(test_durations_keep_their_range),
        CHECK_TEST(test_money_keeps_its_range),
        CHECK_TEST(test_rates_keep_their_range),
        CHECK_TEST(test_whole_numbers_keep_their_range),
        CHECK_TEST(test_words_are_among_those_known),
        CHECK_TEST(test_names_paths_and_urls_have_their_form),
        CHECK_TEST(test_values_that_are_too_long_say_how_long_they_may_be),
        CHECK_TEST(test_lists_say_how_many_values_they_take),
        CHECK_TEST(test_sections_have_a_largest_number),
        CHECK_TEST(test_budgets_of_a_plan_have_a_largest_number),
        CHECK_TEST(test_tokens_have_a_largest_number),
        CHECK_TEST(test_titles_are_checked),
        CHECK_TEST(test_route_titles_are_paths),
        CHECK_TEST(test_what_a_section_needs_has_to_be_given),
        CHECK_TEST(test_every_bad_value_is_told_with_its_line),
        CHECK_TEST(test_problems_need_nobody_to_tell_them_to),
        CHECK_TEST(test_unknown_keys_end_the_reading),
        CHECK_TEST(test_syntax_errors_end_the_reading),
        CHECK_TEST(test_braces_are_balanced),
        CHECK_TEST(test_titles_given_twice_end_the_reading),
        CHECK_TEST(test_keys_given_twice_are_told),
        CHECK_TEST(test_empty_list_is_no_way_to_the_default),
        CHECK_TEST(test_what_libconfuse_would_swallow_is_refused),
        CHECK_TEST(test_texts_end_on_their_line),
        CHECK_TEST(test_texts_reach_neither_environment_nor_bytes_by_number),
        CHECK_TEST(test_comments_of_every_form_are_skipped),
        CHECK_TEST(test_last_line_needs_no_end),
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
        CHECK_TEST(test_secret_values_are_never_told),
        CHECK_TEST(test_store_urls_are_sqlite_or_postgresql),
        CHECK_TEST(test_secret_files_are_private_and_one_line),
        CHECK_TEST(test_jwt_key_is_a_public_key),
        CHECK_TEST(test_environment_wins_over_the_file),
        CHECK_TEST(test_empty_environment_counts_as_none),
        CHECK_TEST(test_bad_environment_is_told_by_its_name),
        CHECK_TEST(test_file_is_regular_and_written_by_its_owner_only),
        CHECK_TEST(test_file_has_a_largest_size),
        CHECK_TEST(test_file_is_known_by_its_digest),
        CHECK_TEST(test_file_is_named_by_the_caller_then_the_environment),
        CHECK_TEST(test_every_failed_allocation_is_out_of_memory),
        CHECK_TEST(test_authorizer_needs_a_secret_key_unless_it_verifies_sessions_only),
        CHECK_TEST(test_describe_tells_every_key_with_default_and_range),
        CHECK_TEST(test_duration_parser_takes_whole_numbers_with_a_unit),
        CHECK_TEST(test_address_ranges_are_mapped_to_ipv6),
    };
    char folder[] = "/tmp/test_settings.XXXXXX";
    int result;

    for (size_t i = 0; i < CHECK_COUNT(variables); i++)
        (void)unsetenv(variables[i]);
    (void)umask(022);
    enter_new_folder(folder);
    result = check_main("settings", tests, CHECK_COUNT(tests));
    remove_folder(folder);
    return result;
}
