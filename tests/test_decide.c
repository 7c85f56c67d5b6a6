/* SPDX-License-Identifier: MIT */
/*
 * One request in, one verdict out, on a real SQLite store and a real cache file; only the verifier
 * is scripted: it knows no Clerk, but says what it is told to say, and counts how often it was
 * asked.
 */
#include "authorizer/decide.h"

#include "authorizer/answer.h"
#include "common/probe.h"

#include "tests/check.h"
#include "tests/scratch.h"

#include <ctype.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "common/banned.h"

#define START_US (INT64_C(1767225600) * US_PER_SECOND)
#define BOOT_US (INT64_C(500000) * US_PER_SECOND)
#define TOKEN "ak_alice_KnownToken_0123456789"
#define TOKEN_PART "KnownToken"

static const char usual_settings[] =
    "clerk { accept = { \"api_key\" }  cache_ttl = \"60s\"  negative_ttl = \"10s\"\n"
    "        failure_rate = \"3/1m\"  timeout = \"300ms\" }\n"
    "plan \"free\" { budget \"month\" { limit_usd = \"5\"  period = \"month\" }  hold_usd = "
    "\"0.05\"\n"
    "    scopes = { \"chat\" } }\n"
    "plan \"bare\" { scopes = { \"*\" } }\n"
    "plan \"tiny\" { budget \"day\" { limit_usd = \"0.07\"  period = \"day\" }  hold_usd = "
    "\"0.05\" }\n"
    "plan \"slow\" { rate = \"1/1m\"  burst = 1 }\n"
    "plan \"single\" { concurrency = 1 }\n"
    "plan \"short\" { expires_in = \"1h\" }\n"
    "route \"/open\" { }\n"
    "route \"/chat\" { scopes = { \"chat\" } }\n"
    "route \"/admin\" { scopes = { \"admin\" } }\n";

/* ---- the scripted verifier ----------------------------------------------------------------------
 */

static struct {
    int calls;
    enum status status;
    bool invalid;
    const char *reason;
    const char *plan;
    int64_t expires_us;
    int64_t retry_after_us;
    void (*meanwhile)(void); /* what happens while Clerk is being asked */
} script;

/* "ak_alice_…" is a key of user_alice. */
static enum status
scripted_check(const struct verifier_tools *tools, const struct verifier_question *question,
               struct verifier_finding *out, struct error *err)
{
    struct identity *identity = &out->identity;
    struct buf text;

    CHECK_TRUE("http is there", tools->clerk != NULL);
    script.calls++;
    if (script.meanwhile != NULL)
        script.meanwhile();
    out->valid = false;
    out->reason = script.reason != NULL ? script.reason : "";
    out->retry_after_us = script.retry_after_us;
    if (script.status != STATUS_OK)
        return error_set(err, script.status, "the scripted Clerk does not answer");
    if (script.invalid)
        return STATUS_OK;
    memset(identity, 0, sizeof(*identity));
    identity->kind = CREDENTIAL_API_KEY;
    buf_init(&text, identity->subject, sizeof(identity->subject));
    buf_add(&text, "user_");
    for (const char *c = question->credential->text + 3; isalpha((unsigned char)*c); c++)
        buf_add_char(&text, *c);
    buf_init(&text, identity->key_id, sizeof(identity->key_id));
    buf_add_format(&text, "ak_id_of_%s", identity->subject);
    buf_init(&text, identity->plan, sizeof(identity->plan));
    buf_add(&text, script.plan);
    identity->expires_us = script.expires_us;
    out->valid = true;
    return STATUS_OK;
}

static const struct verifier scripted = { .kind = CREDENTIAL_API_KEY,
                                          .form = CREDENTIAL_OPAQUE,
                                          .asks_clerk = true,
                                          .check = scripted_check };
static const struct verifier *const scripted_rows[] = { &scripted, NULL };

/* ---- fixture ------------------------------------------------------------------------------------
 */

static struct {
    struct scratch scratch;
    char settings_path[128];
    int64_t now_us, boot_us;
    struct settings *settings;
    struct decider *decider;
    struct store *store; /* the operator's */
    struct question question;
    char storage[ANSWER_SIZE];
    struct buf out;
    struct error err;
} f;

static int64_t
fixture_now(void *context)
{
    (void)context;
    return f.now_us;
}

static int64_t
fixture_boot(void *context)
{
    (void)context;
    return f.boot_us;
}

static struct decider *
open_decider(void)
{
    struct decider *decider = NULL;
    struct decider_options options = { .settings = f.settings,
                                       .rows = scripted_rows,
                                       .workers = 4,
                                       .clock = { fixture_now, fixture_boot, NULL } };

    CHECK_STATUS(STATUS_OK, decider_open(&options, &decider, &f.err), &f.err);
    return decider;
}

static void
print_problem(void *context, bool warning, const char *text)
{
    (void)context;
    if (!warning)
        printf("%s\n", text);
}

static void
load_settings(const char *text)
{
    struct settings_problems problems = { print_problem, NULL };
    char content[8192];
    struct buf out;

    buf_init(&out, content, sizeof(content));
    buf_add_format(&out,
                   "store { url = \"sqlite:%s/store.db\" }\ncache { path = \"%s/cache.db\" }\n",
                   f.scratch.folder, f.scratch.folder);
    buf_add(&out, text);
    scratch_write(&f.scratch, "spendgate.conf", content);
    CHECK_STATUS(STATUS_OK, settings_open(f.settings_path, &problems, &f.settings, &f.err), &f.err);
    if (f.settings == NULL)
        abort();
}

static void
open_store_of_operator(void)
{
    struct store_options options = { .url = f.settings->store_url,
                                     .group = "",
                                     .policy = &f.settings->policy,
                                     .hold_ttl_us = f.settings->hold_ttl_us,
                                     .idempotency_ttl_us = f.settings->idempotency_ttl_us,
                                     .create = true };

    CHECK_STATUS(STATUS_OK, store_open(&options, &f.store, &f.err), &f.err);
}

static void
set_up_with(const char *settings)
{
    memset(&f, 0, sizeof(f));
    memset(&script, 0, sizeof(script));
    script.plan = "free";
    script.expires_us = IDENTITY_NEVER_US;
    f.now_us = START_US;
    f.boot_us = BOOT_US;
    scratch_open(&f.scratch);
    setenv("CLERK_SECRET_KEY", "sk_test_1", 1);
    setenv("CLERK_API_URL", "http://127.0.0.1:1", 1);
    scratch_path(&f.scratch, "spendgate.conf", f.settings_path);
    load_settings(settings);
    open_store_of_operator();
    f.decider = open_decider();
    f.question = (struct question){ .authorization = "Bearer " TOKEN,
                                    .target = "/open/x",
                                    .remote = "192.0.2.1" };
    buf_init(&f.out, f.storage, sizeof(f.storage));
    scratch_catch_log(&f.scratch);
}

static void
set_up(void)
{
    set_up_with(usual_settings);
}

static void
tear_down(void)
{
    CHECK_INT("no part of the credential in the log", 0, scratch_log_count(&f.scratch, TOKEN_PART));
    decider_close(f.decider);
    store_close(f.store);
    settings_close(f.settings);
    scratch_close(&f.scratch);
}

static const char *
ask_with(struct decider *decider)
{
    bool allowed = decide(decider, &f.question, f.now_us, &f.out);
    const char *answer = buf_text(&f.out);

    CHECK_INT("allowed is 200 and nothing else is", allowed,
              strncmp(answer, "Status: 200\r\n", 13) == 0);
    CHECK_TRUE("no part of the credential in the answer", strstr(answer, TOKEN_PART) == NULL);
    decider_after(decider);
    return answer;
}

static const char *
ask(void)
{
    return ask_with(f.decider);
}

static const char *
ask_as(const char *authorization)
{
    f.question.authorization = authorization;
    return ask();
}

static void
check_allowed(const char *what, const char *answer)
{
    if (!CHECK_TRUE(what, strncmp(answer, "Status: 200\r\nVariable-", 22) == 0))
        printf("%s\n", answer);
}

static void
check_denied(const char *what, const char *answer, int status, const char *error)
{
    char text[128];
    struct buf want;

    buf_init(&want, text, sizeof(text));
    buf_add_format(&want, "Status: %d ", status);
    CHECK_INT(what, 0, strncmp(answer, text, want.length));
    buf_clear(&want);
    buf_add_format(&want, "{\"error\":\"%s\"", error);
    if (!CHECK_TRUE(what, strstr(answer, text) != NULL))
        printf("%s\n", answer);
}

/* The value of a variable or header of the last answer; the caller's until the next call. */
static const char *
line(const char *name)
{
    static char value[1024];
    const char *at = strstr(f.storage, name);
    size_t length;

    if (at == NULL)
        return NULL;
    at += strlen(name) + 2;
    length = strcspn(at, "\r");
    memcpy(value, at, length);
    value[length] = '\0';
    return value;
}

static void
change_account(enum account_change change)
{
    struct actor actor = { .who = "test" };
    static struct result result;

    CHECK_STATUS(STATUS_OK,
                 store_account_change(f.store, "user_alice", change, 0, NULL, &actor, f.now_us,
                                      &result, &f.err),
                 &f.err);
    CHECK_INT("changed", OUTCOME_DONE, result.outcome);
}

static void
reverify(void)
{
    change_account(ACCOUNT_REVERIFY);
}

static void
pass_time(int64_t us)
{
    f.now_us += us;
    f.boot_us += us;
}

/* ---- the order of the checks --------------------------------------------------------------------
 */

static void
test_path_is_checked_before_the_credential(void)
{
    set_up();
    f.question.authorization = NULL;
    f.question.target = "/%zz";
    check_denied("path", ask(), 400, "invalid_path");
    f.question.target = NULL;
    check_denied("no path", ask(), 400, "invalid_path");
    CHECK_INT("says what to pass", 1,
              scratch_log_count(&f.scratch, "REQUEST_URI is missing: pass it"));
    f.question.target = "*";
    check_denied("not a path", ask(), 400, "invalid_path");
    tear_down();
}

static void
test_credential_is_checked_before_the_route(void)
{
    set_up();
    f.question.authorization = NULL;
    f.question.target = "/nowhere";
    check_denied("credential", ask(), 401, "missing_credential");
    tear_down();
}

static void
test_route_is_checked_before_the_kind(void)
{
    set_up();
    f.question.target = "/nowhere";
    check_denied("other kind", ask_as("Bearer mt_1"), 403, "no_route");
    check_denied("malformed", ask_as("Bearer a\"b"), 403, "no_route");
    tear_down();
}

static void
test_kind_is_checked_before_anybody_is_asked(void)
{
    set_up();
    check_denied("other kind", ask_as("Bearer mt_KnownToken"), 401, "invalid_key");
    check_denied("no kind", ask_as("Bearer KnownToken"), 401, "invalid_key");
    check_denied("JWT", ask_as("Bearer KnownToken.a.b"), 401, "invalid_key");
    check_denied("malformed", ask_as("Bearer ak_KnownToken\"b"), 401, "invalid_key");
    CHECK_INT("calls", 0, script.calls);
    tear_down();
}

static void
test_route_may_accept_less(void)
{
    struct route *route;

    set_up();
    route = &f.settings->policy.routes[0];
    check_allowed("before", ask());
    for (size_t i = 0; i < f.settings->policy.route_count; i++)
        f.settings->policy.routes[i].accept = CREDENTIAL_SESSION_TOKEN;
    CHECK_TRUE("routes", route->accept != 0);
    check_denied("also from memory", ask(), 401, "invalid_key");
    tear_down();
}

static void
test_verification_is_checked_before_the_plan(void)
{
    set_up();
    script.invalid = true;
    script.plan = "";
    check_denied("invalid", ask(), 401, "invalid_key");
    pass_time(11 * US_PER_SECOND);
    script.invalid = false;
    check_denied("no plan", ask(), 403, "no_plan");
    tear_down();
}

static void
test_plan_is_checked_before_the_scope(void)
{
    set_up();
    script.plan = "";
    f.question.target = "/admin";
    check_denied("no plan", ask(), 403, "no_plan");
    tear_down();
}

/* ---- allow --------------------------------------------------------------------------------------
 */

static void
test_allow_carries_the_identity_and_the_budget(void)
{
    set_up();
    f.question.target = "/chat?x=1";
    check_allowed("allowed", ask());
    CHECK_STRING("user", "user_alice", line("Variable-REMOTE_USER"));
    CHECK_STRING("key", "ak_id_of_user_alice", line("Variable-SPENDGATE_KEY_ID"));
    CHECK_STRING("plan", "free", line("Variable-SPENDGATE_PLAN"));
    CHECK_STRING("route", "/chat", line("Variable-SPENDGATE_ROUTE"));
    CHECK_STRING("scopes", "chat", line("Variable-SPENDGATE_SCOPES"));
    CHECK_STRING("hold", "0.05", line("Variable-SPENDGATE_HOLD_USD"));
    CHECK_STRING("limit", "5", line("Variable-SPENDGATE_LIMIT_USD"));
    CHECK_STRING("remaining", "4.95", line("Variable-SPENDGATE_REMAINING_USD"));
    CHECK_INT("log lines", 0, scratch_log_count(&f.scratch, "\n"));
    tear_down();
}

static void
test_redirected_header_and_absolute_target_serve_too(void)
{
    set_up();
    f.question.authorization = NULL;
    f.question.redirected_authorization = "Bearer " TOKEN;
    f.question.target = "http://example.com/open/x";
    check_allowed("allowed", ask());
    tear_down();
}

static void
test_server_may_name_the_route(void)
{
    set_up();
    f.question.target = "/whatever";
    f.question.route = "/chat";
    check_allowed("named", ask());
    CHECK_STRING("route", "/chat", line("Variable-SPENDGATE_ROUTE"));
    f.question.target = NULL;
    check_allowed("without a path", ask());
    f.question.route = "/unknown";
    check_denied("unknown", ask(), 403, "no_route");
    CHECK_INT("log", 1,
              scratch_log_count(&f.scratch, "SPENDGATE_ROUTE names no route of the settings"));
    f.question.target = "/%zz";
    f.question.route = "/chat";
    check_denied("path is still checked", ask(), 400, "invalid_path");
    tear_down();
}

static void
test_without_routes_every_path_is_allowed(void)
{
    set_up_with("plan \"free\" { }\n");
    f.question.target = "/any/thing";
    check_allowed("allowed", ask());
    CHECK_STRING("route", "", line("Variable-SPENDGATE_ROUTE"));
    CHECK_STRING("hold", "", line("Variable-SPENDGATE_HOLD_ID"));
    tear_down();
}

static void
test_default_route_that_says_deny_is_believed_without_routes(void)
{
    set_up_with("plan \"free\" { }\ndefault_route = \"deny\"\n");
    check_denied("refused", ask(), 403, "no_route");
    f.question.route = "/open";
    check_denied("named", ask(), 403, "no_route");
    tear_down();
}

static void
test_default_route_may_allow(void)
{
    set_up_with("plan \"free\" { }\nroute \"/chat\" { scopes = { \"chat\" } }\n"
                "default_route = \"allow\"\n");
    f.question.target = "/any";
    check_allowed("allowed", ask());
    f.question.target = "/chat";
    check_denied("the route's scope", ask(), 403, "insufficient_scope");
    tear_down();
}

/* ---- asked how often ----------------------------------------------------------------------------
 */

static void
test_hundred_requests_cost_one_call(void)
{
    struct decider *other;

    set_up();
    script.plan = "bare";
    for (int i = 0; i < 50; i++)
        check_allowed("one worker", ask());
    other = open_decider();
    for (int i = 0; i < 50; i++)
        check_allowed("another worker", ask_with(other));
    CHECK_INT("calls", 1, script.calls);
    decider_close(other);
    tear_down();
}

static void
test_cache_ttl_is_the_age_of_the_oldest_answer_used(void)
{
    set_up();
    check_allowed("first", ask());
    pass_time(60 * US_PER_SECOND - 1);
    check_allowed("last", ask());
    CHECK_INT("calls", 1, script.calls);
    pass_time(1);
    script.invalid = true;
    script.reason = "revoked";
    check_denied("revoked at Clerk", ask(), 401, "invalid_key");
    CHECK_TRUE("reason", strstr(f.storage, "\"reason\":\"revoked\"") != NULL);
    CHECK_INT("calls", 2, script.calls);
    tear_down();
}

static void
test_invalid_credential_is_remembered_for_negative_ttl(void)
{
    struct decider *other;

    set_up();
    script.invalid = true;
    check_denied("first", ask(), 401, "invalid_key");
    CHECK_TRUE("no reason", strstr(f.storage, "\"reason\"") == NULL);
    pass_time(10 * US_PER_SECOND - 1);
    other = open_decider();
    check_denied("remembered", ask_with(other), 401, "invalid_key");
    CHECK_INT("calls", 1, script.calls);
    pass_time(1);
    script.invalid = false;
    check_allowed("mended", ask_with(other));
    CHECK_INT("calls", 2, script.calls);
    decider_close(other);
    tear_down();
}

static void
test_identity_that_expires_is_asked_for_again(void)
{
    set_up();
    script.expires_us = START_US + 5 * US_PER_SECOND;
    check_allowed("before", ask());
    pass_time(5 * US_PER_SECOND - 1);
    check_allowed("still", ask());
    CHECK_INT("calls", 1, script.calls);
    pass_time(1);
    script.invalid = true;
    script.reason = "expired";
    check_denied("expired", ask(), 401, "invalid_key");
    CHECK_TRUE("reason", strstr(f.storage, "\"reason\":\"expired\"") != NULL);
    CHECK_INT("calls", 2, script.calls);
    tear_down();
}

static void
test_edited_plans_are_judged_anew(void)
{
    struct decider *other;

    set_up();
    check_allowed("first", ask());
    CHECK_TRUE("edit", text_copy(f.settings->policy.plans[0].matches[0], PLAN_MATCH_SIZE, "a=b"));
    f.settings->policy.plans[0].match_count = 1;
    other = open_decider();
    check_allowed("asked again", ask_with(other));
    CHECK_INT("calls", 2, script.calls);
    decider_close(other);
    tear_down();
}

/* ---- Clerk cannot be asked ----------------------------------------------------------------------
 */

static void
test_silent_clerk_is_503_and_not_remembered(void)
{
    set_up();
    script.status = STATUS_UNAVAILABLE;
    script.retry_after_us = 6500000;
    check_denied("first", ask(), 503, "auth_unavailable");
    CHECK_STRING("retry", "7", line("Retry-After"));
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "the scripted Clerk does not answer"));
    CHECK_INT("as an error", 1,
              scratch_log_count(&f.scratch, "level=error event=deny error=auth_unavailable"));
    script.status = STATUS_OK;
    check_allowed("then", ask());
    CHECK_INT("calls", 2, script.calls);
    tear_down();
}

static void
test_old_identity_is_not_used_unless_the_settings_say_so(void)
{
    set_up();
    check_allowed("first", ask());
    pass_time(60 * US_PER_SECOND);
    script.status = STATUS_UNAVAILABLE;
    check_denied("stale", ask(), 503, "auth_unavailable");
    tear_down();
}

static void
test_stale_if_error_has_an_end(void)
{
    set_up_with("clerk { cache_ttl = \"60s\"  stale_if_error = \"30s\" }\nplan \"free\" { }\n");
    check_allowed("first", ask());
    pass_time(60 * US_PER_SECOND);
    script.status = STATUS_UNAVAILABLE;
    check_allowed("stale", ask());
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "event=stale_identity"));
    pass_time(30 * US_PER_SECOND - 1);
    check_allowed("last", ask());
    pass_time(1);
    check_denied("too old", ask(), 503, "auth_unavailable");
    tear_down();
}

static void
test_stale_identity_that_expired_is_not_used(void)
{
    set_up_with("clerk { cache_ttl = \"60s\"  stale_if_error = \"1h\" }\nplan \"free\" { }\n");
    script.expires_us = START_US + 61 * US_PER_SECOND;
    check_allowed("first", ask());
    script.status = STATUS_UNAVAILABLE;
    pass_time(60 * US_PER_SECOND);
    check_allowed("stale", ask());
    pass_time(US_PER_SECOND);
    check_denied("expired", ask(), 503, "auth_unavailable");
    tear_down();
}

static void
test_broken_cache_file_costs_nothing_but_calls(void)
{
    set_up();
    CHECK_INT("chmod", 0, chmod(f.scratch.folder, 0777)); /* not a place for a cache */
    check_allowed("without", ask());
    check_allowed("from memory", ask());
    CHECK_INT("calls", 1, script.calls);
    script.invalid = true;
    check_denied("invalid", ask_as("Bearer ak_bob"), 401, "invalid_key");
    check_denied("again", ask_as("Bearer ak_bob"), 401, "invalid_key");
    CHECK_INT("calls", 3, script.calls);
    CHECK_INT("one line", 1, scratch_log_count(&f.scratch, "event=cache_bypassed"));
    tear_down();
}

/* ---- reverify -----------------------------------------------------------------------------------
 */

static void
test_reverify_asks_clerk_once_more(void)
{
    set_up();
    check_allowed("first", ask());
    reverify();
    check_allowed("asked again", ask());
    CHECK_INT("calls", 2, script.calls);
    check_allowed("and then not", ask());
    CHECK_INT("calls", 2, script.calls);
    tear_down();
}

static void
test_reverify_by_one_worker_serves_the_others(void)
{
    struct decider *other;

    set_up();
    other = open_decider();
    check_allowed("first", ask());
    check_allowed("other", ask_with(other));
    reverify();
    check_allowed("first", ask());
    check_allowed("other", ask_with(other));
    CHECK_INT("calls", 2, script.calls);
    decider_close(other);
    tear_down();
}

static void
test_reverify_refuses_what_clerk_has_revoked(void)
{
    set_up();
    check_allowed("first", ask());
    script.invalid = true;
    check_allowed("not known yet", ask());
    reverify();
    check_denied("refused", ask(), 401, "invalid_key");
    tear_down();
}

static void
test_reverify_is_not_saved_by_a_stale_identity(void)
{
    set_up_with("clerk { cache_ttl = \"60s\"  stale_if_error = \"1h\" }\nplan \"free\" { }\n");
    check_allowed("first", ask());
    reverify();
    script.status = STATUS_UNAVAILABLE;
    check_denied("refused", ask(), 503, "auth_unavailable");
    tear_down();
}

static void
reverify_once(void)
{
    script.meanwhile = NULL;
    reverify();
}

static void
test_reverify_while_clerk_is_asked_counts(void)
{
    set_up();
    check_allowed("first", ask());
    pass_time(60 * US_PER_SECOND);
    script.meanwhile = reverify_once;
    check_allowed("asked twice", ask());
    CHECK_INT("calls", 3, script.calls);
    tear_down();
}

static void
test_endless_reverify_ends_in_503(void)
{
    set_up();
    check_allowed("first", ask());
    pass_time(60 * US_PER_SECOND);
    script.meanwhile = reverify;
    check_denied("enough", ask(), 503, "auth_unavailable");
    CHECK_INT("calls", 4, script.calls);
    tear_down();
}

/* ---- what the store says ------------------------------------------------------------------------
 */

static void
test_revoked_here(void)
{
    set_up();
    check_allowed("first", ask());
    change_account(ACCOUNT_REVOKE);
    check_denied("revoked", ask(), 401, "invalid_key");
    CHECK_TRUE("reason", strstr(f.storage, "\"reason\":\"revoked\"") != NULL);
    change_account(ACCOUNT_UNREVOKE);
    check_allowed("again", ask());
    tear_down();
}

static void
test_frozen_here(void)
{
    set_up();
    check_allowed("first", ask());
    change_account(ACCOUNT_FREEZE);
    check_denied("frozen", ask(), 403, "frozen");
    change_account(ACCOUNT_UNFREEZE);
    check_allowed("again", ask());
    tear_down();
}

static void
test_expired_here_says_how_to_renew(void)
{
    set_up();
    script.plan = "short";
    check_allowed("first", ask());
    pass_time(3600 * US_PER_SECOND);
    check_denied("expired", ask(), 401, "expired");
    CHECK_TRUE("when", strstr(f.storage, "\"expired_at\":\"2026-01-01T01:00:00Z\"") != NULL);
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "spendgate account renew"));
    tear_down();
}

static void
test_scope_is_missing(void)
{
    set_up();
    f.question.target = "/admin";
    check_denied("scope", ask(), 403, "insufficient_scope");
    CHECK_TRUE("required", strstr(f.storage, "\"required\":\"admin\"") != NULL);
    CHECK_TRUE("not what is granted", strstr(f.storage, "chat") == NULL);
    tear_down();
}

static void
test_budget_rate_and_concurrency(void)
{
    set_up();
    script.plan = "tiny";
    check_allowed("first", ask_as("Bearer ak_tina"));
    check_denied("budget", ask(), 429, "budget_exceeded");
    CHECK_TRUE("numbers", strstr(f.storage, "\"limit_usd\":\"0.07\",\"spent_usd\":\"0\","
                                            "\"held_usd\":\"0.05\"") != NULL);
    script.plan = "slow";
    check_allowed("first", ask_as("Bearer ak_sam"));
    check_denied("rate", ask(), 429, "rate_limited");
    CHECK_STRING("retry", "60", line("Retry-After"));
    script.plan = "single";
    check_allowed("first", ask_as("Bearer ak_sue"));
    check_denied("concurrency", ask(), 429, "concurrency_exceeded");
    tear_down();
}

static void
test_store_that_does_not_answer_is_503(void)
{
    char path[128];
    int fd;

    set_up();
    fd = open(scratch_path(&f.scratch, "store.db.lock", path), O_RDWR | O_CLOEXEC);
    CHECK_INT("lock", 0, flock(fd, LOCK_EX));
    check_denied("busy", ask(), 503, "auth_unavailable");
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "level=error event=deny"));
    close(fd);
    check_allowed("then", ask());
    tear_down();
}

static void
test_missing_store_is_no_start(void)
{
    struct decider_options options = { .rows = scripted_rows };
    struct decider *decider;

    set_up();
    CHECK_TRUE("url",
               text_copy(f.settings->store_url, URL_SIZE, "sqlite:/nonexistent/folder/x.db"));
    options.settings = f.settings;
    options.clock = clock_system();
    CHECK_TRUE("refused", decider_open(&options, &decider, &f.err) != STATUS_OK);
    CHECK_TRUE("nothing", decider == NULL);
    decider_close(NULL);
    tear_down();
}

/* ---- attempts of one address --------------------------------------------------------------------
 */

static void
fail_three_times(void)
{
    script.invalid = true;
    check_denied("1", ask_as("Bearer ak_x1_KnownToken"), 401, "invalid_key");
    check_denied("2", ask_as("Bearer ak_x2_KnownToken"), 401, "invalid_key");
    check_denied("3", ask_as("Bearer ak_x3_KnownToken"), 401, "invalid_key");
}

static void
test_failures_of_an_address_have_a_limit(void)
{
    set_up();
    fail_three_times();
    script.invalid = false;
    check_denied("not even tried", ask_as("Bearer " TOKEN), 429, "too_many_attempts");
    CHECK_STRING("retry", "20", line("Retry-After"));
    CHECK_STRING("policy", "\"attempts\";q=3;w=60", line("RateLimit-Policy"));
    CHECK_INT("calls", 3, script.calls);
    f.question.remote = "192.0.2.2";
    check_allowed("another address", ask());
    pass_time(20 * US_PER_SECOND);
    f.question.remote = "192.0.2.1";
    script.plan = "bare";
    check_allowed("later", ask_as("Bearer ak_bob"));
    tear_down();
}

static void
test_known_credentials_pass_from_a_blocked_address(void)
{
    set_up();
    check_allowed("known", ask());
    pass_time(61 * US_PER_SECOND);
    fail_three_times();
    script.invalid = false;
    check_allowed("asked for, though blocked", ask_as("Bearer " TOKEN));
    CHECK_INT("calls", 5, script.calls);
    tear_down();
}

static void
test_successes_never_count(void)
{
    static const char *const keys[] = { "Bearer ak_a", "Bearer ak_b", "Bearer ak_c", "Bearer ak_d",
                                        "Bearer ak_e" };

    set_up();
    for (size_t i = 0; i < CHECK_COUNT(keys); i++)
        check_allowed(keys[i], ask_as(keys[i]));
    tear_down();
}

static void
test_remembered_failures_count_once(void)
{
    set_up();
    script.invalid = true;
    for (int i = 0; i < 10; i++)
        check_denied("same key", ask(), 401, "invalid_key");
    CHECK_INT("calls", 1, script.calls);
    tear_down();
}

/* ---- asked several times for one client request -------------------------------------------------
 */

static void
test_calls_of_one_client_request_share_a_hold(void)
{
    char id[PUBLIC_ID_SIZE];

    set_up();
    f.question.unique_id = "YxAbCdEf";
    check_allowed("first", ask());
    CHECK_TRUE("id", text_copy(id, sizeof(id), line("Variable-SPENDGATE_HOLD_ID")));
    CHECK_INT("hold", 0, strncmp(id, "hld_", 4));
    check_allowed("second", ask());
    CHECK_STRING("same", id, line("Variable-SPENDGATE_HOLD_ID"));
    CHECK_STRING("held once", "4.95", line("Variable-SPENDGATE_REMAINING_USD"));
    f.question.unique_id = "another";
    check_allowed("third", ask());
    CHECK_TRUE("another", strcmp(id, line("Variable-SPENDGATE_HOLD_ID")) != 0);
    tear_down();
}

static void
test_redirected_call_is_a_bare_allow(void)
{
    char id[PUBLIC_ID_SIZE];

    set_up();
    f.question.unique_id = "YxAbCdEf";
    check_allowed("first", ask());
    CHECK_TRUE("id", text_copy(id, sizeof(id), line("Variable-SPENDGATE_HOLD_ID")));
    f.question.redirected_subject = "user_alice";
    f.question.redirected_hold_id = id;
    CHECK_STRING("bare", "Status: 200\r\n\r\n", ask());
    f.question.subject = "user_alice";
    f.question.hold_id = id;
    CHECK_STRING("bare", "Status: 200\r\n\r\n", ask());
    f.question.unique_id = "another";
    check_denied("not of this request", ask(), 401, "invalid_key");
    tear_down();
}

static void
test_redirected_call_proves_nothing_by_itself(void)
{
    set_up();
    f.question.unique_id = "YxAbCdEf";
    f.question.subject = "user_bob";
    check_denied("another subject", ask(), 401, "invalid_key");
    CHECK_INT(
        "log", 1,
        scratch_log_count(&f.scratch, "SPENDGATE_SUBJECT was set before, for another caller"));
    f.question.subject = "";
    check_denied("no subject", ask(), 401, "invalid_key");
    f.question.subject = "user_alice, user_alice";
    check_denied("doubled", ask(), 401, "invalid_key");
    f.question.subject = "user_alice";
    f.question.redirected_subject = "user_bob";
    check_denied("one of two", ask(), 401, "invalid_key");
    f.question.redirected_subject = NULL;
    check_denied("no hold", ask(), 401, "invalid_key");
    f.question.hold_id = "hld_000000000001000000000001";
    check_denied("no such hold", ask(), 401, "invalid_key");
    f.question.authorization = NULL;
    check_denied("no credential", ask(), 401, "missing_credential");
    tear_down();
}

/* ---- modes --------------------------------------------------------------------------------------
 */

static void
test_compat_answers_as_agentkey_does(void)
{
    set_up();
    f.settings->compat = COMPAT_AGENTKEY;
    f.question.authorization = NULL;
    check_denied("missing", ask(), 401, "Missing API key");
    script.status = STATUS_UNAVAILABLE;
    check_denied("failure", ask_as("Bearer " TOKEN), 500, "auth_unavailable");
    tear_down();
}

/* A plain CGI start in a child: what it wrote is in `out`. */
static void
handle_cgi(const char *const *environment, char *out, size_t size)
{
    char path[128];
    FILE *file;
    int ended = -1;
    pid_t pid = fork();

    if (pid == 0) {
        struct request_source *source;
        struct request *request;
        int fd = open(scratch_path(&f.scratch, "out", path), O_RDWR | O_CREAT | O_TRUNC, 0600);
        int body = open(scratch_path(&f.scratch, "body", path), O_RDONLY | O_CREAT, 0600);

        clearenv();
        for (; *environment != NULL; environment += 2)
            setenv(environment[0], environment[1], 1);
        if (dup2(fd, STDOUT_FILENO) < 0 || dup2(body, STDIN_FILENO) < 0 ||
            request_source_open(-1, 1000, &source, &f.err) != STATUS_OK ||
            request_accept(source, &request, &f.err) != STATUS_OK)
            _exit(1);
        decider_handle(f.decider, request, f.now_us);
        request_finish(request);
        _exit(getenv("HTTP_AUTHORIZATION") != NULL && getenv("HTTP_AUTHORIZATION")[0] != '\0');
    }
    CHECK_INT("wait", pid, waitpid(pid, &ended, 0));
    CHECK_INT("exit, and the credential was wiped", 0, ended);
    file = fopen(scratch_path(&f.scratch, "out", path), "re");
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void
check_cgi(const char *what, const char *const *environment, const char *want)
{
    char out[ANSWER_SIZE];

    handle_cgi(environment, out, sizeof(out));
    if (!CHECK_INT(what, 0, strncmp(out, want, strlen(want))))
        printf("%s\n", out);
}

static void
test_modes_of_a_responder(void)
{
    static const char *const verdict[] = {
        "SPENDGATE_MODE",     "authorize",     "REQUEST_URI", "/open",
        "HTTP_AUTHORIZATION", "Bearer " TOKEN, NULL
    };
    static const char *const denial[] = { "SPENDGATE_MODE", "deny", "QUERY_STRING", "status=429",
                                          NULL };
    static const char *const unknown[] = { "SPENDGATE_MODE", "allow", "REQUEST_URI", "/open",
                                           NULL };

    set_up();
    check_cgi("authorize", verdict, "Status: 200\r\nVariable-REMOTE_USER: user_alice\r\n");
    check_cgi("deny", denial, "Status: 429 Too Many Requests\r\n");
    check_cgi("unknown", unknown, "Status: 503 Service Unavailable\r\n");
    CHECK_INT("log", 1,
              scratch_log_count(&f.scratch, "SPENDGATE_MODE is neither authorize nor deny"));
    tear_down();
}

static void
check_contains(const char *text, const char *want)
{
    if (!CHECK_TRUE(want, strstr(text, want) != NULL))
        printf("%s\n", text);
}

static void
test_a_denial_answers_the_doctor_and_an_allow_does_not(void)
{
    static const char start[] = "Status: 401 Unauthorized\r\nX-Spendgate-Doctor: version=";
    char ticket[PROBE_TICKET_SIZE], out[ANSWER_SIZE];
    const char *environment[] = { "SPENDGATE_MODE",
                                  "authorize",
                                  "REQUEST_URI",
                                  "/open",
                                  "HTTP_X_SPENDGATE_DOCTOR",
                                  ticket,
                                  "SERVER_SOFTWARE",
                                  "Web/1.0 (x\r\ny)",
                                  "FCGI_APACHE_ROLE",
                                  "ACCESS_CHECKER",
                                  "UNIQUE_ID",
                                  "u1",
                                  NULL,
                                  NULL,
                                  NULL };

    set_up();
    CHECK_STATUS(STATUS_OK, secret_set(&f.settings->clerk.secret_key, "sk_test_1", 9, &f.err),
                 &f.err);
    CHECK_TRUE("ticket", probe_ticket(&f.settings->clerk.secret_key, f.now_us, ticket));
    handle_cgi(environment, out, sizeof(out));
    CHECK_INT("Status stays first", 0, strncmp(out, start, sizeof(start) - 1));
    check_contains(out, " role=cgi mode=authorize apache=ACCESS_CHECKER unique_id=yes settings=");
    check_contains(out, " cache=yes server=Web/1.0 (x??y)\r\nContent-Type: application/json\r\n");
    check_contains(out, "\r\n\r\n{\"error\":\"missing_credential\"");

    environment[12] = "HTTP_AUTHORIZATION";
    environment[13] = "Bearer " TOKEN;
    check_cgi("an allow", environment, "Status: 200\r\nVariable-");
    handle_cgi(environment, out, sizeof(out));
    CHECK_TRUE("nothing beside it", strstr(out, "X-Spendgate") == NULL);

    environment[12] = NULL;
    ticket[strlen(ticket) - 1] ^= 1;
    handle_cgi(environment, out, sizeof(out));
    check_contains(out, "missing_credential");
    CHECK_TRUE("to a stranger", strstr(out, "X-Spendgate-Doctor") == NULL);
    tear_down();
}

static void
write_script(const char *name, const char *text)
{
    char path[128];

    scratch_write(&f.scratch, name, text);
    CHECK_INT(name, 0, chmod(scratch_path(&f.scratch, name, path), 0755));
}

static void
test_gate_becomes_the_script(void)
{
    static const char *const script_of[] = { "PATH_INFO",
                                             "/open/run.cgi/a",
                                             "REQUEST_METHOD",
                                             "POST",
                                             "CONTENT_LENGTH",
                                             "11",
                                             "SPENDGATE_SUBJECT",
                                             "user_forged",
                                             "CLERK_SECRET_KEY",
                                             "sk_test_1",
                                             "HTTP_AUTHORIZATION",
                                             "Bearer " TOKEN,
                                             NULL };
    char out[ANSWER_SIZE];
    char path[128];

    set_up();
    snprintf(f.settings->gate_root, FILE_PATH_SIZE, "%s", f.scratch.folder);
    CHECK_INT("folder", 0, mkdir(scratch_path(&f.scratch, "open", path), 0755));
    write_script("open/run.cgi", "#!/bin/sh\necho Content-Type: text/plain\necho\n"
                                 "echo \"$SPENDGATE_SUBJECT|$SCRIPT_NAME|$PATH_INFO|\"\n"
                                 "echo \"key:$CLERK_SECRET_KEY\"\npwd\ncat\n");
    scratch_write(&f.scratch, "body", "hello=world");
    handle_cgi(script_of, out, sizeof(out));
    CHECK_INT("the script's own answer", 0, strncmp(out, "Content-Type: text/plain\n\n", 26));
    check_contains(out, "\nuser_alice|/open/run.cgi|/a|\n");
    check_contains(out, "\nkey:\n");
    check_contains(out, "/open\n");
    check_contains(out, "hello=world");
    tear_down();
}

static void
test_gate_denies_as_everywhere(void)
{
    static const char *const no_credential[] = { "PATH_INFO", "/open/run.cgi", NULL };
    static const char *const no_file[] = { "PATH_INFO", "/open/absent", "HTTP_AUTHORIZATION",
                                           "Bearer " TOKEN, NULL };
    static const char *const no_runner[] = { "PATH_INFO", "/open.txt", "HTTP_AUTHORIZATION",
                                             "Bearer " TOKEN, NULL };
    static const char *const escaped[] = { "PATH_INFO", "/open%2f..", "HTTP_AUTHORIZATION",
                                           "Bearer " TOKEN, NULL };
    static const char *const no_path[] = { "HTTP_AUTHORIZATION", "Bearer " TOKEN, NULL };

    set_up_with("plan \"free\" { }\ndefault_plan = \"free\"\n");
    check_cgi("no root", no_credential, "Status: 503 Service Unavailable\r\n");
    CHECK_INT("log", 1, scratch_log_count(&f.scratch, "gate { root } is not set"));
    snprintf(f.settings->gate_root, FILE_PATH_SIZE, "%s", f.scratch.folder);
    scratch_write(&f.scratch, "open.txt", "text");
    check_cgi("no credential", no_credential, "Status: 401 Unauthorized\r\n");
    check_cgi("no file", no_file, "Status: 404 Not Found\r\n");
    check_cgi("no runner", no_runner, "Status: 403 Forbidden\r\n");
    check_cgi("escape", escaped, "Status: 400 Bad Request\r\n");
    check_cgi("no path", no_path, "Status: 400 Bad Request\r\n");
    tear_down();
}

/* The known token through every failure that there is: tear_down searches the log, ask() the
 * answer. */
static void
test_credential_is_nowhere_in_any_log_or_answer(void)
{
    static const enum status failures[] = { STATUS_UNAVAILABLE, STATUS_BUSY, STATUS_INTERNAL,
                                            STATUS_NO_MEMORY, STATUS_CORRUPT };

    set_up();
    (void)ask_as("Bearer " TOKEN " " TOKEN);
    (void)ask_as("Bearer \"" TOKEN "\"");
    (void)ask_as("Basic " TOKEN);
    (void)ask_as("Bearer mt_" TOKEN);
    (void)ask_as("Bearer oat_" TOKEN);
    (void)ask_as("Bearer " TOKEN ".b.c");
    for (size_t i = 0; i < CHECK_COUNT(failures); i++) {
        script.status = failures[i];
        check_denied("failure", ask_as("Bearer " TOKEN), 503, "auth_unavailable");
    }
    script.status = STATUS_OK;
    script.invalid = true;
    (void)ask();
    CHECK_TRUE("something was logged", scratch_log_count(&f.scratch, "\n") >= 12);
    tear_down();
}

static void
test_settings_that_cannot_work_are_refused(void)
{
    set_up();
    CHECK_STATUS(STATUS_OK, decider_check_settings(f.settings, NULL, verifiers, &f.err), &f.err);
    f.settings->clerk.accept |= CREDENTIAL_M2M_TOKEN;
    CHECK_TRUE("machine", text_copy(f.settings->clerk.machine_id, NAME_SIZE, "mch_1"));
    CHECK_STATUS(STATUS_INVALID, decider_check_settings(f.settings, NULL, scripted_rows, &f.err),
                 &f.err);
    f.settings->clerk.accept = CREDENTIAL_API_KEY;
    CHECK_TRUE("url", text_copy(f.settings->clerk.api_url, URL_SIZE, "http://api.clerk.com"));
    CHECK_STATUS(STATUS_INVALID, decider_check_settings(f.settings, NULL, verifiers, &f.err),
                 &f.err);
    CHECK_STRING("message", "clerk { api_url } must be https, or http to a loopback address",
                 f.err.message);
    tear_down();
}

static void
test_slots_follow_the_workers(void)
{
    struct clerk_settings clerk = { .max_waiting = 0 };

    CHECK_INT("no master", 4, verification_slots(&clerk, 0));
    CHECK_INT("one", 1, verification_slots(&clerk, 1));
    CHECK_INT("three", 1, verification_slots(&clerk, 3));
    CHECK_INT("eight", 4, verification_slots(&clerk, 8));
    clerk.max_waiting = 7;
    CHECK_INT("set", 7, verification_slots(&clerk, 8));
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_path_is_checked_before_the_credential),
        CHECK_TEST(test_credential_is_checked_before_the_route),
        CHECK_TEST(test_route_is_checked_before_the_kind),
        CHECK_TEST(test_kind_is_checked_before_anybody_is_asked),
        CHECK_TEST(test_route_may_accept_less),
        CHECK_TEST(test_verification_is_checked_before_the_plan),
        CHECK_TEST(test_plan_is_checked_before_the_scope),
        CHECK_TEST(test_allow_carries_the_identity_and_the_budget),
        CHECK_TEST(test_redirected_header_and_absolute_target_serve_too),
        CHECK_TEST(test_server_may_name_the_route),
        CHECK_TEST(test_without_routes_every_path_is_allowed),
        CHECK_TEST(test_default_route_that_says_deny_is_believed_without_routes),
        CHECK_TEST(test_default_route_may_allow),
        CHECK_TEST(test_hundred_requests_cost_one_call),
        CHECK_TEST(test_cache_ttl_is_the_age_of_the_oldest_answer_used),
        CHECK_TEST(test_invalid_credential_is_remembered_for_negative_ttl),
        CHECK_TEST(test_identity_that_expires_is_asked_for_again),
        CHECK_TEST(test_edited_plans_are_judged_anew),
        CHECK_TEST(test_silent_clerk_is_503_and_not_remembered),
        CHECK_TEST(test_old_identity_is_not_used_unless_the_settings_say_so),
        CHECK_TEST(test_stale_if_error_has_an_end),
        CHECK_TEST(test_stale_identity_that_expired_is_not_used),
        CHECK_TEST(test_broken_cache_file_costs_nothing_but_calls),
        CHECK_TEST(test_reverify_asks_clerk_once_more),
        CHECK_TEST(test_reverify_by_one_worker_serves_the_others),
        CHECK_TEST(test_reverify_refuses_what_clerk_has_revoked),
        CHECK_TEST(test_reverify_is_not_saved_by_a_stale_identity),
        CHECK_TEST(test_reverify_while_clerk_is_asked_counts),
        CHECK_TEST(test_endless_reverify_ends_in_503),
        CHECK_TEST(test_revoked_here),
        CHECK_TEST(test_frozen_here),
        CHECK_TEST(test_expired_here_says_how_to_renew),
        CHECK_TEST(test_scope_is_missing),
        CHECK_TEST(test_budget_rate_and_concurrency),
        CHECK_TEST(test_store_that_does_not_answer_is_503),
        CHECK_TEST(test_missing_store_is_no_start),
        CHECK_TEST(test_failures_of_an_address_have_a_limit),
        CHECK_TEST(test_known_credentials_pass_from_a_blocked_address),
        CHECK_TEST(test_successes_never_count),
        CHECK_TEST(test_remembered_failures_count_once),
        CHECK_TEST(test_calls_of_one_client_request_share_a_hold),
        CHECK_TEST(test_redirected_call_is_a_bare_allow),
        CHECK_TEST(test_redirected_call_proves_nothing_by_itself),
        CHECK_TEST(test_compat_answers_as_agentkey_does),
        CHECK_TEST(test_modes_of_a_responder),
        CHECK_TEST(test_a_denial_answers_the_doctor_and_an_allow_does_not),
        CHECK_TEST(test_gate_becomes_the_script),
        CHECK_TEST(test_gate_denies_as_everywhere),
        CHECK_TEST(test_credential_is_nowhere_in_any_log_or_answer),
        CHECK_TEST(test_settings_that_cannot_work_are_refused),
        CHECK_TEST(test_slots_follow_the_workers),
    };

    return check_main("decide", tests, CHECK_COUNT(tests));
}
