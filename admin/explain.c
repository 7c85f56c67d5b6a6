/* SPDX-License-Identifier: MIT */
/*
 * spendgate explain: the answer to a request that need not have happened, and every rule and number
 * behind it. The credential is taken as verified and accepted; from there on the checks are those
 * of the authorizer, and the decision is the store's own (store_explain), so that the explanation
 * cannot drift from the verdict.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/command.h"
#include "admin/output.h"
#include "common/account_json.h"
#include "common/money.h"

#include "common/banned.h"

#define EXPLAIN_JSON_SIZE 131072

enum answer { ANSWER_YES, ANSWER_NO, ANSWER_NOT_ASKED };

/* The checks in the order in which a request meets them. */
enum check {
    CHECK_PATH,
    CHECK_ROUTE,
    CHECK_PLAN,
    CHECK_REVOKED,
    CHECK_VERIFIED,
    CHECK_FROZEN,
    CHECK_EXPIRED,
    CHECK_SCOPE,
    CHECK_RATE,
    CHECK_CONCURRENCY,
    CHECK_BUDGET,
    CHECK_COUNT
};
static const char *const check_names[CHECK_COUNT] = {
    "path",    "route", "plan", "revoked",     "verified", "frozen",
    "expired", "scope", "rate", "concurrency", "budget",
};

struct explanation {
    struct admin *admin;
    char path[PATH_SIZE];
    struct chain_names names;
    const struct route *route;
    const struct plan *plan;
    const char *plan_origin; /* how the plan was found */
    const struct hold_rule *hold_rule;
    const char *missing_scope;
    bool decided; /* the store was asked: verdict and ledger are set */
    struct verdict verdict;
    struct ledger ledger;
    int64_t placed_nanos; /* the hold that the ledger's `held` contains already */
    int status;
    const char *error; /* NULL on an allow */
    struct {
        enum answer answer;
        char text[512];
    } checks[CHECK_COUNT];
};

static void check_set(struct explanation *e, enum check check, enum answer answer,
                      const char *format, ...) PRINTF_LIKE(4, 5);

static void
check_set(struct explanation *e, enum check check, enum answer answer, const char *format, ...)
{
    va_list arguments;

    e->checks[check].answer = answer;
    va_start(arguments, format);
    (void)vsnprintf(e->checks[check].text, sizeof(e->checks[check].text), format, arguments);
    va_end(arguments);
}

/* The check that refuses; the ones behind it are not asked. */
static void
deny(struct explanation *e, int status, const char *error)
{
    e->status = status;
    e->error = error;
}

/* ---- who asks ------------------------------------------------------------------------------- */

static bool
take_name(const struct admin *admin, enum option_name option, char *out, size_t size)
{
    const char *text = admin->options[option];

    if (text == NULL)
        return true;
    if (!account_name_valid(text) || !text_copy(out, size, text)) {
        (void)command_usage(admin, "--%s: '%s' is no name", option_texts[option].name, text);
        return false;
    }
    return true;
}

/* Of a key alone, the subject it was last seen with. The organization is the subject itself, or
 * what the key or subject was last seen with; so is the parent that a claim names. */
static int
find_rest(struct explanation *e)
{
    struct chain_names seen = e->names, *names = &e->names;
    struct error err = { 0 };

    if (names->subject[0] == '\0') {
        if (store_names_last_seen(e->admin->store, &seen, &err) != STATUS_OK)
            return command_error(&err);
        if (seen.subject[0] == '\0')
            return command_fail("no subject was seen with key %s yet: name its --subject too",
                                names->key_id);
        memcpy(names->subject, seen.subject, sizeof(names->subject));
    }
    if (names->organization[0] == '\0' && account_kind_of(names->subject) == ACCOUNT_ORGANIZATION)
        memcpy(names->organization, names->subject, sizeof(names->organization));
    if (store_names_last_seen(e->admin->store, names, &err) != STATUS_OK)
        return command_error(&err);
    return DONE;
}

static int
read_names(struct explanation *e)
{
    const struct admin *admin = e->admin;

    if (!command_has(admin, OPTION_PATH) ||
        (!command_has(admin, OPTION_SUBJECT) && !command_has(admin, OPTION_KEY_ID)))
        return command_usage(admin, "--path, and --subject or --key-id, are wanted");
    if (!take_name(admin, OPTION_SUBJECT, e->names.subject, sizeof(e->names.subject)) ||
        !take_name(admin, OPTION_KEY_ID, e->names.key_id, sizeof(e->names.key_id)) ||
        !take_name(admin, OPTION_ORG, e->names.organization, sizeof(e->names.organization)) ||
        !take_name(admin, OPTION_PARENT, e->names.parent, sizeof(e->names.parent)))
        return USAGE;
    return find_rest(e);
}

/* ---- what the settings say ------------------------------------------------------------------ */

static bool
settle_path(struct explanation *e)
{
    const struct policy *policy = &e->admin->settings->policy;
    struct error err = { 0 };
    struct buf path;

    buf_init(&path, e->path, sizeof(e->path));
    if (policy_path_normalize(e->admin->options[OPTION_PATH], &path, &err) != STATUS_OK) {
        check_set(e, CHECK_PATH, ANSWER_NO, "%s", err.message);
        deny(e, 400, "invalid_path");
        return false;
    }
    check_set(e, CHECK_PATH, ANSWER_YES, "is matched as %.200s", e->path);
    e->route = policy_route_find(policy, e->path);
    if (e->route != NULL) {
        check_set(e, CHECK_ROUTE, ANSWER_YES, "route %.200s", e->route->prefix);
        return true;
    }
    if (policy->route_count > 0 && !policy->default_route_allow) {
        check_set(e, CHECK_ROUTE, ANSWER_NO, "no route names this path, and default_route is deny");
        deny(e, 403, "no_route");
        return false;
    }
    check_set(e, CHECK_ROUTE, ANSWER_YES,
              policy->route_count > 0 ? "no route names this path, and default_route is allow"
                                      : "the settings have no routes: every path is allowed");
    return true;
}

/* The plan last seen on an account; NULL when there is none, with the status for a failure. */
static enum status
plan_of(struct explanation *e, const char *account, const struct plan **out, struct error *err)
{
    char parent[ACCOUNT_NAME_SIZE];
    enum status status =
        store_account_load(e->admin->store, account, e->admin->now_us, &e->ledger, parent, err);

    if (status == STATUS_OK)
        *out = policy_plan_named(&e->admin->settings->policy, e->ledger.accounts[0].plan);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* By what this key, then this subject, was judged last; else the default plan. */
static enum status
find_plan(struct explanation *e, struct error *err)
{
    const struct policy *policy = &e->admin->settings->policy;
    char key_account[ACCOUNT_NAME_SIZE];
    enum status status = STATUS_OK;

    e->plan_origin = "last seen with this key";
    if (e->names.key_id[0] != '\0') {
        (void)snprintf(key_account, sizeof(key_account), "key:%s", e->names.key_id);
        status = plan_of(e, key_account, &e->plan, err);
    }
    if (status == STATUS_OK && e->plan == NULL) {
        e->plan_origin = "last seen of this subject";
        status = plan_of(e, e->names.subject, &e->plan, err);
    }
    if (status == STATUS_OK && e->plan == NULL) {
        e->plan_origin = "the default; the credential's claims may choose another";
        e->plan = policy_plan_named(policy, policy->default_plan);
    }
    return status;
}

/* Whether the credential itself has this scope, as told by --scopes, and the settings let it count.
 */
static bool
credential_has_scope(const struct explanation *e, const char *scope)
{
    const char *at = e->admin->options[OPTION_SCOPES];
    size_t length = strlen(scope);

    if (at == NULL || !e->admin->settings->clerk.key_scopes)
        return false;
    for (;;) {
        at += strspn(at, " ");
        if (*at == '\0')
            return false;
        if (strcspn(at, " ") == length && memcmp(at, scope, length) == 0)
            return true;
        at += strcspn(at, " ");
    }
}

static const char *
find_missing_scope(const struct explanation *e)
{
    const struct scope_set *required = &e->route->scopes;

    for (size_t i = 0; i < required->count; i++) {
        if (!policy_scope_granted(&e->plan->scopes, required->names[i]) &&
            !credential_has_scope(e, required->names[i]))
            return required->names[i];
    }
    return NULL;
}

/* DONE, also for a denial; else an exit code. */
static int
settle_plan(struct explanation *e)
{
    const struct policy *policy = &e->admin->settings->policy;
    struct error err = { 0 };

    if (command_has(e->admin, OPTION_PLAN)) {
        e->plan = policy_plan_named(policy, e->admin->options[OPTION_PLAN]);
        e->plan_origin = "as asked";
        if (e->plan == NULL)
            return command_usage(e->admin, "the settings (%s) have no plan '%s'",
                                 e->admin->settings->file, e->admin->options[OPTION_PLAN]);
    } else if (find_plan(e, &err) != STATUS_OK) {
        return command_error(&err);
    }
    if (e->plan == NULL) {
        check_set(e, CHECK_PLAN, ANSWER_NO,
                  "this subject was not seen with a plan, and there is no default_plan; --plan "
                  "tells what another would say");
        deny(e, 403, "no_plan");
        return DONE;
    }
    if (e->plan->parent_claim[0] == '\0')
        e->names.parent[0] = '\0'; /* another plan's, last time */
    check_set(e, CHECK_PLAN, ANSWER_YES, "%s (%s)%s", e->plan->name, e->plan_origin,
              e->plan->parent_claim[0] != '\0' && e->names.parent[0] == '\0'
                  ? "; the parent that its claim names is not known: --parent tells it"
                  : "");
    e->hold_rule = policy_hold_rule(e->plan, e->route);
    if (e->route != NULL)
        e->missing_scope = find_missing_scope(e);
    return DONE;
}

/* ---- what the store says -------------------------------------------------------------------- */

struct denial {
    enum reason reason;
    enum check check;
    int status;
    const char *error;
};
static const struct denial denials[] = {
    { REASON_REVOKED, CHECK_REVOKED, 401, "invalid_key" },
    { REASON_REVERIFY, CHECK_VERIFIED, 401, "invalid_key" },
    { REASON_FROZEN, CHECK_FROZEN, 403, "frozen" },
    { REASON_EXPIRED, CHECK_EXPIRED, 401, "expired" },
    { REASON_SCOPE, CHECK_SCOPE, 403, "insufficient_scope" },
    { REASON_RATE, CHECK_RATE, 429, "rate_limited" },
    { REASON_CONCURRENCY, CHECK_CONCURRENCY, 429, "concurrency_exceeded" },
    { REASON_BUDGET, CHECK_BUDGET, 429, "budget_exceeded" },
};

static int
ask_store(struct explanation *e)
{
    struct admission admission = {
        .names = &e->names,
        .plan = e->plan,
        .route = e->route,
        .missing_scope = e->missing_scope,
        .unique_id = "",
        .redirected_hold_id = "",
    };
    struct error err = { 0 };

    if (store_verification_number(e->admin->store, &admission.verification, &err) != STATUS_OK ||
        store_explain(e->admin->store, &admission, e->admin->now_us, &e->ledger, &e->verdict,
                      &err) != STATUS_OK)
        return command_error(&err);
    e->decided = true;
    e->placed_nanos = e->verdict.hold_placed ? e->verdict.hold.amount_nanos : 0;
    return DONE;
}

static void
explain_accounts(struct explanation *e)
{
    char time[HUMAN_SIZE];

    check_set(e, CHECK_REVOKED, ANSWER_YES, "no account of the chain is revoked");
    check_set(e, CHECK_VERIFIED, ANSWER_YES, "taken as verified now");
    check_set(e, CHECK_FROZEN, ANSWER_YES, "no account of the chain is frozen");
    check_set(e, CHECK_EXPIRED, ANSWER_YES, "no account of the chain has expired");
    for (size_t i = e->ledger.account_count; i > 0; i--) { /* the first in the chain is told */
        const struct account *account = &e->ledger.accounts[i - 1];

        if (account->revoked)
            check_set(e, CHECK_REVOKED, ANSWER_YES, "%s is revoked: `spendgate account unrevoke'",
                      account->name);
        if (account->frozen)
            check_set(e, CHECK_FROZEN, ANSWER_YES, "%s is frozen: `spendgate account unfreeze'",
                      account->name);
        if (account->expires_us > 0 && account->expires_us <= e->admin->now_us)
            check_set(e, CHECK_EXPIRED, ANSWER_YES, "%s expired %s: `spendgate account renew'",
                      account->name, human_time(account->expires_us, time));
    }
}

static void
explain_scope(struct explanation *e)
{
    if (e->missing_scope != NULL)
        check_set(e, CHECK_SCOPE, ANSWER_YES, "the route wants %s, which plan %s does not grant%s",
                  e->missing_scope, e->plan->name,
                  e->admin->settings->clerk.key_scopes
                      ? "; the credential's own scopes are those of --scopes"
                      : "");
    else if (e->route == NULL || e->route->scopes.count == 0)
        check_set(e, CHECK_SCOPE, ANSWER_YES, "none is required");
    else
        check_set(e, CHECK_SCOPE, ANSWER_YES, "every one that the route requires is granted");
}

/* Live holds of an account, without the one that the decision placed in the ledger. */
static int64_t
live_before(const struct explanation *e, size_t account)
{
    int64_t live = e->ledger.accounts[account].live_holds;

    return e->verdict.hold_placed && (int)account == ledger_payer(&e->ledger) && live > 0 ? live - 1
                                                                                          : live;
}

static void
explain_limits(struct explanation *e)
{
    const struct verdict *v = &e->verdict;
    int payer = ledger_payer(&e->ledger);
    int64_t live = payer >= 0 ? live_before(e, (size_t)payer) : 0;
    char wait[HUMAN_SIZE];

    if (v->reason == REASON_RATE)
        check_set(e, CHECK_RATE, ANSWER_YES, "%s of %s is used up: again in %s", v->rate_text,
                  v->account, human_duration((v->retry_after_us + 999) / 1000 * 1000, wait));
    else
        check_set(e, CHECK_RATE, ANSWER_YES,
                  e->ledger.rate_count == 0 ? "no limit applies" : "within its limits");
    if (e->route != NULL && e->route->free)
        check_set(e, CHECK_CONCURRENCY, ANSWER_YES, "not asked: the route is free");
    else if (e->plan->concurrency == 0)
        check_set(e, CHECK_CONCURRENCY, ANSWER_YES, "no limit");
    else
        check_set(e, CHECK_CONCURRENCY, ANSWER_YES, "%" PRId64 " live of %" PRId64, live,
                  e->plan->concurrency);
}

/* The hard line with the smallest remaining, the first of equal ones; NULL none. */
static const struct budget_line *
tightest(const struct ledger *ledger)
{
    const struct budget_line *best = NULL;

    for (size_t i = 0; i < ledger->line_count; i++) {
        const struct budget_line *line = &ledger->lines[i];

        if (line->limited && line->enforce == ENFORCE_HARD &&
            (best == NULL || ledger_remaining(line) < ledger_remaining(best)))
            best = line;
    }
    return best;
}

static void
explain_budget(struct explanation *e)
{
    const struct verdict *v = &e->verdict;
    const struct budget_line *line = tightest(&e->ledger);
    char limit[HUMAN_SIZE], spent[HUMAN_SIZE], held[HUMAN_SIZE], resets[HUMAN_SIZE];

    if (v->reason == REASON_BUDGET)
        check_set(e, CHECK_BUDGET, ANSWER_YES,
                  "%s, %s: %s spent and %s held of %s leave no room for this request; resets %s",
                  v->account, period_kind_name(v->period), human_money(v->spent_nanos, spent),
                  human_money(v->held_nanos, held), human_money(v->limit_nanos, limit),
                  v->resets_us == PERIOD_NEVER_US ? "never" : human_time(v->resets_us, resets));
    else if (e->route != NULL && e->route->free)
        check_set(e, CHECK_BUDGET, ANSWER_YES, "not asked: the route is free");
    else if (line == NULL)
        check_set(e, CHECK_BUDGET, ANSWER_YES, "no hard budget governs this caller");
    else
        check_set(e, CHECK_BUDGET, ANSWER_YES, "%s, %s, is the tightest: %s of %s remain%s",
                  e->ledger.accounts[line->account].name, period_kind_name(line->spec.kind),
                  human_money(ledger_remaining(line), held), human_money(ledger_limit(line), limit),
                  v->allow ? " after it" : "");
}

/* Every check has its text as if it were asked; here the answers are put beside them. */
static void
settle_answers(struct explanation *e)
{
    const struct verdict *v = &e->verdict;
    const struct denial *denial = NULL;

    if (v->allow) {
        e->status = 200;
        return;
    }
    for (size_t i = 0; i < sizeof(denials) / sizeof(denials[0]); i++) {
        if (denials[i].reason == v->reason)
            denial = &denials[i];
    }
    assert(denial != NULL); /* no other reason is possible: the request is not a redirected one */
    deny(e, denial->status, denial->error);
    e->checks[denial->check].answer = ANSWER_NO;
    for (int check = (int)denial->check + 1; check < CHECK_COUNT; check++)
        e->checks[check].answer = ANSWER_NOT_ASKED;
}

static int
settle(struct explanation *e)
{
    int code;

    for (int check = 0; check < CHECK_COUNT; check++)
        check_set(e, (enum check)check, ANSWER_NOT_ASKED, "-");
    code = read_names(e);
    if (code != DONE || !settle_path(e))
        return code;
    code = settle_plan(e);
    if (code != DONE || e->plan == NULL)
        return code;
    code = ask_store(e);
    if (code != DONE)
        return code;
    explain_accounts(e);
    explain_scope(e);
    explain_limits(e);
    explain_budget(e);
    settle_answers(e);
    return DONE;
}

/* ---- for people ----------------------------------------------------------------------------- */

static void
hold_text(const struct explanation *e, char *out, size_t size)
{
    const struct hold_rule *rule = e->hold_rule;
    bool of_route = e->route != NULL && rule == &e->route->hold;
    const char *origin = of_route ? "of the route" : "of the plan";
    char amount[HUMAN_SIZE], most[HUMAN_SIZE];

    if (e->verdict.hold_placed)
        (void)snprintf(out, size, "%s, %s", human_money(e->verdict.hold.amount_nanos, amount),
                       rule != NULL && rule->set ? origin : "for the concurrency limit");
    else if (rule == NULL || !rule->set)
        (void)snprintf(out, size, "none");
    else if (rule->automatic)
        (void)snprintf(out, size, "learned, %s to %s, %s", human_money(rule->min_nanos, amount),
                       human_money(rule->max_nanos, most), origin);
    else
        (void)snprintf(out, size, "%s, %s", human_money(rule->nanos, amount), origin);
}

static void
print_chain(const struct explanation *e)
{
    (void)fputs("Chain      ", stdout);
    for (size_t i = 0; i < e->ledger.account_count; i++) {
        (void)fputs(i > 0 ? ", " : "", stdout);
        print_text(stdout, e->ledger.accounts[i].name);
        (void)fputs(e->ledger.accounts[i].id == 0 ? " (new)" : "", stdout);
    }
    (void)putchar('\n');
}

static void
print_checks(const struct explanation *e)
{
    static const char *const titles[] = { "CHECK", "ANSWER", "WHY", NULL };
    static const char *const answers[] = {
        [ANSWER_YES] = "ok", [ANSWER_NO] = "NO", [ANSWER_NOT_ASKED] = "not asked"
    };
    struct table table;

    table_init(&table, titles);
    for (int check = 0; check < CHECK_COUNT; check++) {
        table_add(&table, check_names[check]);
        table_add(&table, answers[e->checks[check].answer]);
        table_add(&table, e->checks[check].text);
    }
    (void)putchar('\n');
    (void)table_print(&table);
}

static int64_t
held_before(const struct explanation *e, const struct budget_line *line)
{
    return money_sub_floor(line->held_nanos, e->placed_nanos);
}

static void
print_lines(const struct explanation *e)
{
    static const char *const titles[] = { "ACCOUNT", "PERIOD", ">BASE",  ">CREDIT",
                                          ">CARRY",  ">LIMIT", ">SPENT", ">HELD",
                                          "ENFORCE", "ORIGIN", "RESETS", NULL };
    struct table table;
    char text[HUMAN_SIZE];

    table_init(&table, titles);
    for (size_t i = 0; i < e->ledger.line_count; i++) {
        const struct budget_line *line = &e->ledger.lines[i];

        table_add(&table, e->ledger.accounts[line->account].name);
        table_add(&table, period_kind_name(line->spec.kind));
        table_add(&table, line->limited ? human_money(line->base_limit_nanos, text) : "-");
        table_add(&table, line->limited ? human_money(line->credit_nanos, text) : "-");
        table_add(&table, line->limited ? human_money(line->carry_nanos, text) : "-");
        table_add(&table, line->limited ? human_money(ledger_limit(line), text) : "-");
        table_add(&table, human_money(line->spent_nanos, text));
        table_add(&table, human_money(held_before(e, line), text));
        table_add(&table, line->limited ? enforce_name(line->enforce) : "-");
        table_add(&table, !line->limited ? "counted" : line->hand_limited ? "hand" : "plan");
        table_add(&table, human_time(line->period.end_us, text));
    }
    (void)putchar('\n');
    if (e->ledger.line_count > 0)
        (void)table_print(&table);
    else
        (void)puts("No budget counts this request.");
    table_clear(&table);
}

/* How many requests may pass at this instant; an allow has taken its own from the ledger already.
 */
static int64_t
rate_room(const struct explanation *e, const struct rate_row *row)
{
    int64_t now_us = e->admin->now_us, taken = e->verdict.allow ? 1 : 0;
    __int128 interval_ns = (__int128)row->rate.per_us * 1000 / row->rate.count;
    __int128 ahead_ns = (__int128)row->tat_ns - (__int128)now_us * 1000;

    if (ahead_ns < 0)
        ahead_ns = 0;
    if (interval_ns * row->rate.burst <= ahead_ns)
        return taken;
    return (int64_t)((interval_ns * row->rate.burst - ahead_ns) / interval_ns) + taken;
}

static void
print_rates(const struct explanation *e)
{
    static const char *const titles[] = { "RATE", "ACCOUNT", "LIMIT", ">BURST", ">LEFT", NULL };
    struct table table;
    char text[HUMAN_SIZE];

    if (e->ledger.rate_count == 0)
        return;
    table_init(&table, titles);
    for (size_t i = 0; i < e->ledger.rate_count; i++) {
        const struct rate_row *row = &e->ledger.rates[i];

        table_add(&table, row->name);
        table_add(&table, e->ledger.accounts[row->account].name);
        table_add(&table, row->rate.text);
        (void)snprintf(text, sizeof(text), "%" PRId64, row->rate.burst);
        table_add(&table, text);
        (void)snprintf(text, sizeof(text), "%" PRId64, rate_room(e, row));
        table_add(&table, text);
    }
    (void)putchar('\n');
    (void)table_print(&table);
}

static void
print_explanation(const struct explanation *e)
{
    char hold[3 * HUMAN_SIZE];

    printf("Subject    ");
    print_text(stdout, e->names.subject);
    if (e->names.key_id[0] != '\0') {
        printf("\nKey        ");
        print_text(stdout, e->names.key_id);
    }
    (void)putchar('\n');
    if (e->decided) {
        print_chain(e);
        hold_text(e, hold, sizeof(hold));
        printf("Hold       %s\n", hold);
    }
    print_checks(e);
    if (e->decided) {
        print_lines(e);
        print_rates(e);
    }
    if (e->error == NULL)
        (void)puts("\nAnswer: 200, allowed");
    else
        printf("\nAnswer: %d %s\n", e->status, e->error);
    if (e->verdict.warn[0] != '\0') {
        (void)fputs("Warning budgets that are over: ", stdout);
        print_text(stdout, e->verdict.warn);
        (void)putchar('\n');
    }
}

/* ---- for programs --------------------------------------------------------------------------- */

static void
add_text(struct buf *json, const char *name, const char *text)
{
    buf_add_format(json, ",\"%s\":", name);
    account_json_add_text(json, text);
}

static void
add_money(struct buf *json, const char *name, int64_t nanos)
{
    buf_add_format(json, ",\"%s\":", name);
    buf_add_json_money(json, nanos);
}

static void
add_checks_json(const struct explanation *e, struct buf *json)
{
    static const char *const answers[] = {
        [ANSWER_YES] = "true", [ANSWER_NO] = "false", [ANSWER_NOT_ASKED] = "null"
    };

    buf_add(json, ",\"checks\":[");
    for (int check = 0; check < CHECK_COUNT; check++) {
        buf_add_format(json, "%s{\"check\":\"%s\",\"ok\":%s", check > 0 ? "," : "",
                       check_names[check], answers[e->checks[check].answer]);
        add_text(json, "text", e->checks[check].text);
        buf_add_char(json, '}');
    }
    buf_add_char(json, ']');
}

static void
add_accounts_json(const struct explanation *e, struct buf *json)
{
    buf_add(json, ",\"accounts\":[");
    for (size_t i = 0; i < e->ledger.account_count; i++) {
        const struct account *account = &e->ledger.accounts[i];

        buf_add_format(json, "%s{\"known\":%s", i > 0 ? "," : "",
                       account->id > 0 ? "true" : "false");
        add_text(json, "account", account->name);
        buf_add_format(json, ",\"revoked\":%s,\"frozen\":%s,\"live_holds\":%" PRId64,
                       account->revoked ? "true" : "false", account->frozen ? "true" : "false",
                       live_before(e, i));
        buf_add(json, ",\"expires_at\":");
        buf_add_json_time(json, account->expires_us);
        buf_add_char(json, '}');
    }
    buf_add_char(json, ']');
}

static void
add_line_json(const struct explanation *e, const struct budget_line *line, struct buf *json)
{
    buf_add(json, "{\"account\":");
    buf_add_json_string(json, e->ledger.accounts[line->account].name);
    add_text(json, "period", period_kind_name(line->spec.kind));
    add_text(json, "timezone", line->spec.timezone);
    add_money(json, "spent_usd", line->spent_nanos);
    add_money(json, "held_usd", held_before(e, line));
    if (line->limited) {
        add_money(json, "limit_usd", ledger_limit(line));
        add_money(json, "base_usd", line->base_limit_nanos);
        add_money(json, "credit_usd", line->credit_nanos);
        add_money(json, "carry_usd", line->carry_nanos);
        add_text(json, "enforce", enforce_name(line->enforce));
        add_text(json, "origin", line->hand_limited ? "hand" : "plan");
    } else {
        buf_add(json, ",\"limit_usd\":null");
    }
    buf_add(json, ",\"starts_at\":");
    buf_add_json_time(json, line->period.start_us);
    buf_add(json, ",\"resets_at\":");
    buf_add_json_time(json, line->period.end_us);
    buf_add_char(json, '}');
}

static void
add_limits_json(const struct explanation *e, struct buf *json)
{
    buf_add(json, ",\"budgets\":[");
    for (size_t i = 0; i < e->ledger.line_count; i++) {
        if (i > 0)
            buf_add_char(json, ',');
        add_line_json(e, &e->ledger.lines[i], json);
    }
    buf_add(json, "],\"rates\":[");
    for (size_t i = 0; i < e->ledger.rate_count; i++) {
        const struct rate_row *row = &e->ledger.rates[i];

        buf_add(json, i > 0 ? ",{\"rate\":" : "{\"rate\":");
        buf_add_json_string(json, row->name);
        add_text(json, "account", e->ledger.accounts[row->account].name);
        add_text(json, "limit", row->rate.text);
        buf_add_format(json, ",\"burst\":%" PRId64 ",\"left\":%" PRId64 "}", row->rate.burst,
                       rate_room(e, row));
    }
    buf_add_char(json, ']');
}

/* The numbers that the answer itself would tell: of the budget that refuses, or of the tightest one
 * with this request's hold in it. */
static void
add_verdict_json(const struct explanation *e, struct buf *json)
{
    const struct verdict *v = &e->verdict;

    buf_add(json, ",\"budget\":");
    if (v->has_budget) {
        buf_add_format(json, "{\"period\":\"%s\"", period_kind_name(v->period));
        add_money(json, "limit_usd", v->limit_nanos);
        add_money(json, "spent_usd", v->spent_nanos);
        add_money(json, "held_usd", v->held_nanos);
        add_money(json, "remaining_usd", v->remaining_nanos);
        buf_add(json, ",\"resets_at\":");
        buf_add_json_time(json, v->resets_us);
        buf_add_char(json, '}');
    } else {
        buf_add(json, "null");
    }
    add_text(json, "rate", v->reason == REASON_RATE ? v->rate_text : NULL);
    buf_add_format(json, ",\"retry_after_ms\":%" PRId64, (v->retry_after_us + 999) / 1000);
    if (v->reason == REASON_CONCURRENCY)
        buf_add_format(json, ",\"concurrency\":%" PRId64, v->concurrency);
}

static int
print_explanation_json(const struct explanation *e)
{
    char *storage = malloc(EXPLAIN_JSON_SIZE);
    struct buf json;
    bool ok;

    if (storage == NULL)
        return command_fail("out of memory");
    buf_init(&json, storage, EXPLAIN_JSON_SIZE);
    buf_add_format(&json, "{\"allow\":%s,\"status\":%d", e->error == NULL ? "true" : "false",
                   e->status);
    add_text(&json, "error", e->error);
    add_text(&json, "account", e->decided ? e->verdict.account : NULL);
    add_text(&json, "subject", e->names.subject);
    add_text(&json, "key_id", e->names.key_id);
    add_text(&json, "organization", e->names.organization);
    add_text(&json, "parent", e->names.parent);
    add_text(&json, "path", e->path);
    add_text(&json, "route", e->route != NULL ? e->route->prefix : NULL);
    add_text(&json, "plan", e->plan != NULL ? e->plan->name : NULL);
    add_text(&json, "warn", e->verdict.warn);
    add_money(&json, "hold_usd", e->placed_nanos);
    add_checks_json(e, &json);
    if (e->decided) {
        add_verdict_json(e, &json);
        add_accounts_json(e, &json);
        add_limits_json(e, &json);
    }
    buf_add_char(&json, '}');
    ok = print_json(&json);
    free(storage);
    return ok ? DONE : FAILED;
}

int
run_explain(struct admin *admin)
{
    struct explanation *e = calloc(1, sizeof(*e));
    int code;

    if (e == NULL)
        return command_fail("out of memory");
    e->admin = admin;
    code = settle(e);
    if (code == DONE && command_has(admin, OPTION_JSON))
        code = print_explanation_json(e);
    else if (code == DONE)
        print_explanation(e);
    if (code == DONE && e->error != NULL)
        code = FAILED;
    free(e);
    return code;
}
