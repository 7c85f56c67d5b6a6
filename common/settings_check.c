/* SPDX-License-Identifier: MIT */
/* What has to hold between settings; see settings_check.h. */
#include "common/settings_check.h"

#include <string.h>

#include "common/banned.h"

static bool
ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_length = strlen(end);

    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* ---- clerk ---------------------------------------------------------------------------------- */

/* A machine's own secret key verifies only the tokens that name it; with the instance's key we have
 * to look ourselves. */
static bool
is_machine_key(const struct secret *secret)
{
    return secret->length >= 3 && memcmp(secret->bytes, "ak_", 3) == 0;
}

static void
check_clerk(const struct clerk_settings *clerk, const struct settings_lines *lines,
            struct problem_list *problems)
{
    if ((clerk->accept & CREDENTIAL_SESSION_TOKEN) != 0 && clerk->issuer[0] == '\0')
        problem_error(problems, lines->accept, "clerk.accept",
                      "session_token needs clerk.issuer, the iss of your session tokens");
    if ((clerk->accept & CREDENTIAL_M2M_TOKEN) != 0 && clerk->machine_id[0] == '\0' &&
        !is_machine_key(&clerk->secret_key))
        problem_error(problems, lines->accept, "clerk.accept",
                      "m2m_token needs clerk.machine_id, the mch_ id that tokens for us name");
    if (clerk->machine_id[0] != '\0' && strncmp(clerk->machine_id, "mch_", 4) != 0)
        problem_error(problems, lines->accept, "clerk.machine_id", "does not begin with mch_");
    if (ends_with(clerk->api_url, "/v1"))
        problem_error(problems, lines->api_url, "clerk.api_url", "is given without /v1");
    if (clerk->connect_timeout_us > clerk->timeout_us)
        problem_error(problems, lines->timeout, "clerk.timeout",
                      "is shorter than clerk.connect_timeout");
}

/* ---- plans and routes ----------------------------------------------------------------------- */

static void
check_rate(const struct rate *rate, int line, const char *key, const char *rate_key,
           struct problem_list *problems)
{
    if (rate->count == 0 && rate->burst != 0)
        problem_error(problems, line, key, "has no meaning without %s", rate_key);
}

static void
check_hold(const struct hold_rule *hold, int line, const char *key, struct problem_list *problems)
{
    if (hold->automatic && hold->min_nanos > hold->max_nanos)
        problem_error(problems, line, key, "is more than hold_max_usd");
}

static void
check_budget_period(const struct plan_budget *budget, int line, struct problem_list *problems)
{
    enum period_kind kind = budget->spec.kind;

    if (kind == 0)
        return; /* a bad value, told already */
    if (budget->spec.anchor_day != 1 && kind != PERIOD_MONTH && kind != PERIOD_YEAR)
        problem_error(problems, line, "plan.budget.anchor_day",
                      "has a meaning for the periods month and year only");
    if (budget->spec.week_start != 1 && kind != PERIOD_WEEK)
        problem_error(problems, line, "plan.budget.week_start",
                      "has a meaning for the period week only");
    if (kind == PERIOD_NONE && strcmp(budget->spec.timezone, "UTC") != 0)
        problem_error(problems, line, "plan.budget.timezone", "has no meaning for the period none");
}

/* Whether two budgets of a plan would be one counter line with two limits. */
static bool
same_line(const struct plan_budget *a, const struct plan_budget *b)
{
    struct period_spec a_spec = a->spec;
    struct period_spec b_spec = b->spec;

    if (a->spec.kind == 0 || b->spec.kind == 0)
        return false; /* a bad value, told already */
    period_spec_normalize(&a_spec);
    period_spec_normalize(&b_spec);
    return a->per == b->per && period_spec_equal(&a_spec, &b_spec);
}

static void
check_budgets(const struct plan *plan, const int *lines, struct problem_list *problems)
{
    for (size_t i = 0; i < plan->budget_count; i++) {
        const struct plan_budget *budget = &plan->budgets[i];
        size_t first = 0;

        check_budget_period(budget, lines[i], problems);
        while (first < i && !same_line(&plan->budgets[first], budget))
            first++;
        if (first < i)
            problem_error(problems, lines[i], "plan.budget",
                          "\"%s\" counts the same as \"%s\": give the plan \"%s\" one of them",
                          budget->name, plan->budgets[first].name, plan->name);
    }
}

static bool
has_hard_budget(const struct plan *plan)
{
    for (size_t i = 0; i < plan->budget_count; i++) {
        if (plan->budgets[i].enforce == ENFORCE_HARD)
            return true;
    }
    return false;
}

/* Whether every request that can pass at all finds a hold_usd in its route. */
static bool
every_route_holds(const struct policy *policy)
{
    if (policy->default_route_allow)
        return false;
    for (size_t i = 0; i < policy->route_count; i++) {
        if (!policy->routes[i].hold.set && !policy->routes[i].free)
            return false;
    }
    return true;
}

static void
check_plan(const struct policy *policy, const struct plan *plan, int line,
           struct problem_list *problems)
{
    check_rate(&plan->rate, line, "plan.burst", "rate", problems);
    check_rate(&plan->key_rate, line, "plan.key_burst", "key_rate", problems);
    check_rate(&plan->org_rate, line, "plan.org_burst", "org_rate", problems);
    check_hold(&plan->hold, line, "plan.hold_min_usd", problems);
    if (has_hard_budget(plan) && !plan->hold.set && !every_route_holds(policy))
        problem_warning(problems, line, "plan.hold_usd",
                        "the plan \"%s\" has a hard budget and no hold: parallel requests can pass "
                        "it together (hold_usd = \"0\" says that this is meant)",
                        plan->name);
    if (plan->match_count == 0 && strcmp(plan->name, policy->default_plan) != 0)
        problem_warning(problems, line, "plan.match",
                        "the plan \"%s\" matches nobody and is not default_plan", plan->name);
}

static void
check_plans(const struct policy *policy, const struct settings_lines *lines,
            struct problem_list *problems)
{
    if (policy->default_plan[0] != '\0' && policy_plan_named(policy, policy->default_plan) == NULL)
        problem_error(problems, lines->default_plan, "default_plan", "there is no plan \"%s\"",
                      policy->default_plan);
    for (size_t i = 0; i < policy->plan_count; i++) {
        check_plan(policy, &policy->plans[i], lines->plans[i], problems);
        check_budgets(&policy->plans[i], lines->budgets[i], problems);
    }
}

/* "/api" and "/api/" are one prefix. */
static bool
same_prefix(const char *a, const char *b)
{
    size_t a_length = strlen(a);
    size_t b_length = strlen(b);

    a_length -= a_length > 0 && a[a_length - 1] == '/';
    b_length -= b_length > 0 && b[b_length - 1] == '/';
    return a_length == b_length && memcmp(a, b, a_length) == 0;
}

static bool
any_plan_grants(const struct policy *policy, const char *scope)
{
    for (size_t i = 0; i < policy->plan_count; i++) {
        if (policy_scope_granted(&policy->plans[i].scopes, scope))
            return true;
    }
    return false;
}

static void
check_route(const struct settings *settings, const struct route *route, int line,
            struct problem_list *problems)
{
    check_rate(&route->rate, line, "route.burst", "rate", problems);
    check_hold(&route->hold, line, "route.hold_min_usd", problems);
    if (route->free && route->hold.set)
        problem_error(problems, line, "route.free",
                      "the route \"%s\" is free and has a hold_usd as well", route->prefix);
    if ((route->accept & ~settings->clerk.accept) != 0)
        problem_error(problems, line, "route.accept",
                      "the route \"%s\" accepts a kind that clerk.accept does not", route->prefix);
    for (size_t i = 0; i < route->scopes.count && !settings->clerk.key_scopes; i++) {
        if (!any_plan_grants(&settings->policy, route->scopes.names[i]))
            problem_warning(problems, line, "route.scopes",
                            "no plan grants \"%s\": the route \"%s\" refuses everybody",
                            route->scopes.names[i], route->prefix);
    }
}

static void
check_routes(const struct settings *settings, const struct settings_lines *lines,
             struct problem_list *problems)
{
    const struct policy *policy = &settings->policy;

    for (size_t i = 0; i < policy->route_count; i++) {
        const struct route *route = &policy->routes[i];
        size_t first = 0;

        check_route(settings, route, lines->routes[i], problems);
        while (first < i && !same_prefix(policy->routes[first].prefix, route->prefix))
            first++;
        if (first < i && route->prefix[0] != '\0')
            problem_error(problems, lines->routes[i], "route",
                          "\"%s\" is the same prefix as \"%s\" on line %d", route->prefix,
                          policy->routes[first].prefix, lines->routes[first]);
    }
}

/* ---- tracker -------------------------------------------------------------------------------- */

static bool
same_token(const struct tracker_token *a, const struct tracker_token *b)
{
    static const uint8_t none[sizeof(a->sha256)]; /* a bad value, told already */

    return memcmp(a->sha256, b->sha256, sizeof(none)) == 0 &&
           memcmp(a->sha256, none, sizeof(none)) != 0;
}

static void
check_tokens(const struct settings *settings, const struct settings_lines *lines,
             struct problem_list *problems)
{
    for (size_t i = 0; i < settings->token_count; i++) {
        const struct tracker_token *token = &settings->tokens[i];
        size_t first = 0;

        while (first < i && !same_token(&settings->tokens[first], token))
            first++;
        if (first < i)
            problem_error(problems, lines->tokens[i], "tracker.token.sha256",
                          "\"%s\" and \"%s\" are the same token", token->name,
                          settings->tokens[first].name);
    }
}

void
settings_check(const struct settings *settings, const struct settings_lines *lines,
               struct problem_list *problems)
{
    check_clerk(&settings->clerk, lines, problems);
    check_plans(&settings->policy, lines, problems);
    check_routes(settings, lines, problems);
    check_tokens(settings, lines, problems);
    if (settings->policy.route_count == 0 && lines->default_route > 0 &&
        !settings->policy.default_route_allow)
        problem_warning(problems, lines->default_route, "default_route",
                        "\"deny\" without any route section refuses every request with no_route");
    if (settings->policy.plan_count == 0)
        problem_warning(problems, 0, NULL, "no plan: every request will be refused with no_plan");
}
