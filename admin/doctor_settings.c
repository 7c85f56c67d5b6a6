/* SPDX-License-Identifier: MIT */
/* spendgate doctor: the settings, and what they allow. */
#include "admin/doctor.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "admin/output.h"
#include "common/clock.h"
#include "common/money.h"

#include "common/banned.h"

#define HOLD_TTL_SHORT_US (30 * US_PER_SECOND)
#define SCHEME_LENGTH 7 /* of "sqlite:" */

/* ---- reading -------------------------------------------------------------------------------- */

static void
take_problem(void *context, bool warning, const char *text)
{
    const struct doctor *doctor = context;

    finding_tell(&doctor->sink, warning ? FINDING_WARNING : FINDING_PROBLEM, "settings", "%s",
                 text);
}

bool
doctor_settings(struct doctor *doctor)
{
    const struct settings_problems problems = { .report = take_problem, .context = doctor };
    struct admin *admin = doctor->admin;
    struct error err;

    settings_close(admin->settings);
    doctor->settings = NULL;
    if (settings_open(admin->config, &problems, &admin->settings, &err) != STATUS_OK) {
        if (doctor->found[FINDING_PROBLEM] == 0)
            take_problem(doctor, false, err.message);
        return false;
    }
    doctor->settings = admin->settings;
    if (settings_require_clerk(admin->settings, &problems, &err) == STATUS_OK)
        finding_tell(&doctor->sink, FINDING_OK, "settings", "%s: can be used",
                     admin->settings->file);
    return true;
}

/* ---- plans and routes ----------------------------------------------------------------------- */

/* The tightest hard limit of a plan; INT64_MAX: none. */
static int64_t
tightest_limit(const struct plan *plan)
{
    int64_t tightest = INT64_MAX;

    for (size_t i = 0; i < plan->budget_count; i++) {
        const struct plan_budget *budget = &plan->budgets[i];

        if (budget->enforce == ENFORCE_HARD && budget->limit_nanos < tightest)
            tightest = budget->limit_nanos;
    }
    return tightest;
}

/* A limit of 0 is a prepaid account's. */
static void
check_hold(struct doctor *doctor, const struct plan *plan, const struct hold_rule *hold,
           const char *where, const char *name)
{
    int64_t limit = tightest_limit(plan);
    int64_t most = hold->automatic ? hold->min_nanos : hold->nanos;
    char hold_text[HUMAN_SIZE], limit_text[HUMAN_SIZE];

    if (!hold->set || most == 0 || limit == INT64_MAX || limit == 0)
        return;
    (void)human_money(most, hold_text);
    (void)human_money(limit, limit_text);
    if (most > limit)
        finding_tell(&doctor->sink, FINDING_PROBLEM, "settings",
                     "%s \"%s\": a request holds %s, and the plan \"%s\" allows %s: nobody of it "
                     "ever passes\nlower hold_usd there, or raise limit_usd",
                     where, name, hold_text, plan->name, limit_text);
    else if (plan->concurrency > 0 && most > limit / plan->concurrency)
        finding_tell(&doctor->sink, FINDING_WARNING, "settings",
                     "%s \"%s\": %lld requests at once hold more than the %s that the plan \"%s\" "
                     "allows, so concurrency = %lld is never reached\nlower hold_usd or "
                     "concurrency",
                     where, name, (long long)plan->concurrency, limit_text, plan->name,
                     (long long)plan->concurrency);
}

static void
check_plans(struct doctor *doctor)
{
    const struct policy *policy = &doctor->settings->policy;

    for (size_t i = 0; i < policy->plan_count; i++) {
        const struct plan *plan = &policy->plans[i];

        if (plan->budget_count == 0)
            finding_tell(&doctor->sink, FINDING_WARNING, "settings",
                         "plan \"%s\" has no budget: its callers spend without a cap\ngive it a "
                         "budget section",
                         plan->name);
        check_hold(doctor, plan, &plan->hold, "plan", plan->name);
        for (size_t j = 0; j < policy->route_count; j++)
            check_hold(doctor, plan, &policy->routes[j].hold, "route", policy->routes[j].prefix);
    }
}

static void
check_routes(struct doctor *doctor)
{
    const struct policy *policy = &doctor->settings->policy;

    if (policy->route_count > 0 && policy->default_route_allow)
        finding_tell(&doctor->sink, FINDING_WARNING, "settings",
                     "default_route = \"allow\": a path that no route names needs no scope, so a "
                     "misspelt or new path is open to every valid credential\n"
                     "default_route = \"deny\", and a route for each path that is meant");
    if (policy->route_count == 0 && policy->default_route_allow)
        finding_tell(&doctor->sink, FINDING_NOTE, "settings",
                     "there is no route: every path that the web server asks about is open to "
                     "every valid credential, within its budgets");
}

/* ---- who is asking -------------------------------------------------------------------------- */

static void
check_credentials(struct doctor *doctor)
{
    const struct clerk_settings *clerk = &doctor->settings->clerk;
    const struct finding_sink *sink = &doctor->sink;
    bool sessions = (clerk->accept & CREDENTIAL_SESSION_TOKEN) != 0;
    char text[HUMAN_SIZE];

    if (sessions && clerk->authorized_parties.count == 0)
        finding_tell(sink, FINDING_WARNING, "settings",
                     "session tokens are accepted from any page of your Clerk instance%s\n"
                     "clerk { authorized_parties = { \"https://your.app\" } }",
                     clerk->session_cookie
                         ? ", and from a cookie: another site can make a browser spend"
                         : "");
    if (!secret_is_set(&clerk->webhook_secret))
        finding_tell(sink, sessions ? FINDING_WARNING : FINDING_NOTE, "settings",
                     "no webhook secret: a banned or deleted user is refused only when cache_ttl "
                     "is over%s\nmake an endpoint /v1/webhooks/clerk at Clerk, and "
                     "clerk { webhook_secret_file = \"...\" }",
                     sessions ? ", and the token of an ended session until it expires" : "");
    if (clerk->stale_if_error_us > 0)
        finding_tell(sink, FINDING_NOTE, "settings",
                     "stale_if_error = %s: while Clerk is away, a key revoked there is taken for "
                     "that much longer",
                     human_duration(clerk->stale_if_error_us, text));
    if (clerk->key_scopes)
        finding_tell(
            sink, FINDING_NOTE, "settings",
            "key_scopes: whoever may make keys at Clerk decides on their scopes; keys that "
            "users make themselves carry none");
}

static void
check_proxies(struct doctor *doctor)
{
    const struct settings *settings = doctor->settings;

    for (size_t i = 0; i < settings->trusted_proxy_count; i++) {
        /* an IPv4 range is 96 bits into IPv6 */
        if (settings->trusted_proxies[i].prefix_bits % 96 == 0)
            finding_tell(&doctor->sink, FINDING_WARNING, "settings",
                         "trusted_proxies has everybody in it: a client that names another address "
                         "in X-Forwarded-For with each request passes failure_rate\nname your own "
                         "proxies only");
    }
}

/* ---- spending ------------------------------------------------------------------------------- */

static bool
has_post_token(const struct settings *settings)
{
    for (size_t i = 0; i < settings->token_count; i++) {
        if (settings->tokens[i].role == TOKEN_POST || settings->tokens[i].role == TOKEN_ADMIN)
            return true;
    }
    return false;
}

static bool
any_hold(const struct policy *policy)
{
    for (size_t i = 0; i < policy->plan_count; i++) {
        if (policy->plans[i].hold.automatic || policy->plans[i].hold.nanos > 0)
            return true;
    }
    for (size_t i = 0; i < policy->route_count; i++) {
        if (policy->routes[i].hold.automatic || policy->routes[i].hold.nanos > 0)
            return true;
    }
    return false;
}

static void
check_ledger(struct doctor *doctor)
{
    const struct settings *settings = doctor->settings;
    char text[HUMAN_SIZE];

    if (!has_post_token(settings))
        finding_tell(&doctor->sink, FINDING_WARNING, "settings",
                     "no tracker token may post: no page can say what it cost, and every hold %s\n"
                     "spendgate token new, and its line into tracker { }",
                     settings->charge_on_expiry ? "is charged when its time is over"
                                                : "gives its money back");
    if (any_hold(&settings->policy) && settings->hold_ttl_us < HOLD_TTL_SHORT_US)
        finding_tell(&doctor->sink, FINDING_WARNING, "settings",
                     "hold_ttl = %s: a page that runs longer, and does not extend its hold, can "
                     "take its subject above the cap\nledger { hold_ttl = \"5m\" }, or as long as "
                     "your slowest page",
                     human_duration(settings->hold_ttl_us, text));
}

/* ---- what the file itself gives away -------------------------------------------------------- */

static bool
url_has_password(const char *url)
{
    const char *authority = strstr(url, "://");
    const char *end, *at, *colon;

    if (strncmp(url, "sqlite:", SCHEME_LENGTH) == 0)
        return false;
    if (strstr(url, "password=") != NULL)
        return true;
    if (authority == NULL)
        return false;
    authority += 3;
    end = authority + strcspn(authority, "/?");
    at = memchr(authority, '@', (size_t)(end - authority));
    if (at == NULL)
        return false;
    colon = memchr(authority, ':', (size_t)(at - authority));
    return colon != NULL && colon + 1 < at;
}

static void
check_file(struct doctor *doctor)
{
    const struct settings *settings = doctor->settings;
    struct stat st;

    if (stat(settings->file, &st) == 0 && (st.st_mode & S_IROTH) != 0 &&
        url_has_password(settings->store_url))
        finding_tell(&doctor->sink, FINDING_PROBLEM, "settings",
                     "%s: everybody on this machine may read it, and store { url } has a password "
                     "in it\nchmod o-r %s, or keep the password in ~/.pgpass of the servers' user",
                     settings->file, settings->file);
}

void
doctor_policy(struct doctor *doctor)
{
    check_file(doctor);
    check_plans(doctor);
    check_routes(doctor);
    check_credentials(doctor);
    check_proxies(doctor);
    check_ledger(doctor);
}
