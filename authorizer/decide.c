/* SPDX-License-Identifier: MIT */
#include "authorizer/decide.h"

#include "authorizer/answer.h"
#include "authorizer/client_address.h"
#include "authorizer/credential.h"
#include "authorizer/gate.h"
#include "authorizer/probe_answer.h"
#include "common/crypto.h"
#include "common/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define LISTING_MS 10000 /* it lists nothing; and sums a journal within the limit of a request */
#define REVERIFICATIONS_MAX \
    3 /* the file's answer, Clerk's, and Clerk's again when a reverify came in between */
#define RETRY_US US_PER_SECOND
#define LOG_NUMBER_SIZE 24
#define REQUEST_ID_RANDOM ((REQUEST_ID_SIZE - 5) / 2)
#define RANDOM_POOL_SIZE 240 /* of request ids: one system call for twenty of them */

struct decider {
    const struct settings *settings;
    struct store *store;
    struct verification *verification;
    char answer[ANSWER_SIZE];
    char path[PATH_SIZE];
    uint8_t random[RANDOM_POOL_SIZE];
    size_t random_left;
};

/* One request on its way through the checks. */
struct hearing {
    struct decider *decider;
    const struct question *question;
    int64_t now_us;
    char request_id[REQUEST_ID_SIZE];
    struct credential credential;
    uint8_t digest[SHA256_BYTES];
    const struct route *route; /* NULL: none applies */
    const struct plan *plan;
    const struct identity *identity;
    struct chain_names names;
    struct verdict verdict;
    struct denial denial; /* why not; what it starts as is the failure */
    struct error err;     /* of DENIAL_UNAVAILABLE, for the log */
    bool redirected;      /* an earlier call of this client request has set the variables */
};

/* ---- opening ------------------------------------------------------------------------------------
 */

enum status
decider_check_settings(const struct settings *settings, const struct settings_problems *problems,
                       const struct verifier *const *rows, struct error *err)
{
    enum status status = settings_require_clerk(settings, problems, err);
    bool loopback;

    if (status == STATUS_OK)
        status = verifier_check_settings(rows, settings, err);
    if (status == STATUS_OK && !clerk_url_allowed(settings->clerk.api_url, &loopback))
        status = error_set(err, STATUS_INVALID,
                           "clerk { api_url } must be https, or http to a loopback address");
    return status;
}

static enum status
open_store(const struct settings *settings, struct store **out, struct error *err)
{
    return store_open(&(struct store_options){ .url = settings->store_url,
                                               .group = settings->store_group,
                                               .policy = &settings->policy,
                                               .hold_ttl_us = settings->hold_ttl_us,
                                               .charge_on_expiry = settings->charge_on_expiry,
                                               .idempotency_ttl_us = settings->idempotency_ttl_us,
                                               .create = true,
                                               .lazy = true,
                                               .listing_ms = LISTING_MS },
                      out, err);
}

enum status
decider_open(const struct decider_options *options, struct decider **out, struct error *err)
{
    enum status status;
    struct decider *decider = calloc(1, sizeof(*decider));

    *out = NULL;
    if (decider == NULL)
        return error_set(err, STATUS_NO_MEMORY, "authorizer: out of memory");
    decider->settings = options->settings;
    status = open_store(options->settings, &decider->store, err);
    if (status == STATUS_OK)
        status = verification_open(&(struct verification_options){ .settings = options->settings,
                                                                   .store = decider->store,
                                                                   .rows = options->rows,
                                                                   .workers = options->workers,
                                                                   .clock = options->clock },
                                   &decider->verification, err);
    if (status != STATUS_OK) {
        decider_close(decider);
        return status;
    }
    *out = decider;
    return STATUS_OK;
}

void
decider_close(struct decider *decider)
{
    if (decider == NULL)
        return;
    verification_close(decider->verification);
    store_close(decider->store);
    free(decider);
}

void
decider_after(struct decider *decider)
{
    store_after(decider->store);
    verification_after(decider->verification);
}

/* ---- the checks, in order; each returns false when it denies ------------------------------------
 */

static bool
deny(struct hearing *hearing, enum denial_code code)
{
    hearing->denial.code = code;
    return false;
}

static bool
fail(struct hearing *hearing, int64_t retry_after_us)
{
    hearing->denial.retry_after_us = retry_after_us;
    return deny(hearing, DENIAL_UNAVAILABLE);
}

static bool
check_path(struct hearing *hearing, const char **path)
{
    struct buf normal;

    *path = NULL;
    buf_init(&normal, hearing->decider->path, sizeof(hearing->decider->path));
    if (hearing->question->target == NULL) {
        /* Only a web server that names the route itself can do without. */
        if (hearing->question->route != NULL)
            return true;
        (void)error_set(&hearing->err, STATUS_INVALID, "REQUEST_URI is missing: pass it");
        return deny(hearing, DENIAL_INVALID_PATH);
    }
    if (policy_path_normalize(hearing->question->target, &normal, &hearing->err) != STATUS_OK)
        return deny(hearing, DENIAL_INVALID_PATH);
    *path = buf_text(&normal);
    return true;
}

static bool
check_credential(struct hearing *hearing)
{
    const struct question *question = hearing->question;
    struct credential_source source = {
        .authorization = question->authorization,
        .redirected_authorization = question->redirected_authorization,
        .cookies = hearing->decider->settings->clerk.session_cookie ? question->cookies : NULL,
    };

    credential_find(&source, &hearing->credential);
    if (hearing->credential.state == CREDENTIAL_ABSENT)
        return deny(hearing, DENIAL_MISSING_CREDENTIAL);
    return true;
}

static bool
check_route(struct hearing *hearing, const char *path)
{
    const struct policy *policy = &hearing->decider->settings->policy;
    const char *named = hearing->question->route;

    hearing->route =
        named != NULL ? policy_route_named(policy, named) : policy_route_find(policy, path);
    if (hearing->route != NULL)
        return true;
    if (named != NULL && policy->route_count > 0)
        (void)error_set(&hearing->err, STATUS_NOT_FOUND,
                        "SPENDGATE_ROUTE names no route of the settings: \"%.200s\"", named);
    else if (policy->default_route_allow) /* also set by settings without any route */
        return true;
    return deny(hearing, DENIAL_NO_ROUTE);
}

static bool
is_accepted(const struct hearing *hearing, enum credential_kind kind)
{
    unsigned accept = hearing->decider->settings->clerk.accept;

    if (hearing->route != NULL && hearing->route->accept != 0)
        accept = hearing->route->accept;
    return ((unsigned)kind & accept) != 0;
}

static bool
ask_verification(struct hearing *hearing, enum credential_kind kind, int64_t newer_than)
{
    const struct settings *settings = hearing->decider->settings;
    struct verification_query query = { .credential = &hearing->credential,
                                        .kind = kind,
                                        .digest = hearing->digest,
                                        .newer_than = newer_than,
                                        .now_us = hearing->now_us };
    struct verification_answer answer;

    client_address_find(hearing->question->remote, hearing->question->forwarded,
                        settings->trusted_proxies, settings->trusted_proxy_count, &query.address);
    verification_check(hearing->decider->verification, &query, &answer, &hearing->err);
    hearing->identity = answer.identity;
    if (answer.outcome == VERIFICATION_VALID || answer.outcome == VERIFICATION_INVALID)
        hearing->err = answer.why;
    switch (answer.outcome) {
    case VERIFICATION_VALID:
        return true;
    case VERIFICATION_INVALID:
        hearing->denial.reason = strcmp(answer.reason, "revoked") == 0   ? "revoked"
                                 : strcmp(answer.reason, "expired") == 0 ? "expired"
                                                                         : NULL;
        return deny(hearing, DENIAL_INVALID_KEY);
    case VERIFICATION_TOO_MANY:
        hearing->denial.retry_after_us = answer.retry_after_us;
        hearing->denial.rate = &settings->clerk.failure_rate;
        return deny(hearing, DENIAL_TOO_MANY);
    case VERIFICATION_UNAVAILABLE:
        break;
    }
    return fail(hearing, answer.retry_after_us);
}

/* Kind accepted, then genuine. What this worker remembers answers both without a look at the
 * credential itself. */
static bool
check_identity(struct hearing *hearing, int64_t newer_than)
{
    enum credential_kind kind;

    hearing->identity = verification_recall(hearing->decider->verification, hearing->digest,
                                            newer_than, hearing->now_us);
    kind = hearing->identity != NULL ? hearing->identity->kind
                                     : credential_kind_of(&hearing->credential);
    if (!is_accepted(hearing, kind)) {
        (void)error_set(&hearing->err, STATUS_INVALID,
                        "credentials of this kind are not accepted: %s",
                        credential_kind_name(kind));
        hearing->identity = NULL;
        return deny(hearing, DENIAL_INVALID_KEY);
    }
    return hearing->identity != NULL || ask_verification(hearing, kind, newer_than);
}

static bool
check_plan(struct hearing *hearing)
{
    const struct identity *identity = hearing->identity;
    const struct chain_names empty = { .key_id = "" };

    hearing->plan = policy_plan_named(&hearing->decider->settings->policy, identity->plan);
    if (hearing->plan == NULL)
        return deny(hearing, DENIAL_NO_PLAN);
    hearing->names = empty;
    _Static_assert(sizeof(empty.key_id) == sizeof(identity->key_id) &&
                       sizeof(empty.subject) == sizeof(identity->subject) &&
                       sizeof(empty.organization) == sizeof(identity->organization) &&
                       sizeof(empty.parent) == sizeof(identity->parent),
                   "an identity's names are those of its chain");
    memcpy(hearing->names.key_id, identity->key_id, sizeof(identity->key_id));
    memcpy(hearing->names.subject, identity->subject, sizeof(identity->subject));
    memcpy(hearing->names.organization, identity->organization, sizeof(identity->organization));
    memcpy(hearing->names.parent, identity->parent, sizeof(identity->parent));
    return true;
}

/* A call whose variables are there already must be the same caller's. Whoever can set them is the
 * web server; whoever made it set them by a mistake in its settings gets nothing from it. */
static bool
check_redirected(struct hearing *hearing)
{
    const struct question *question = hearing->question;
    const char *const claimed[] = { question->subject, question->redirected_subject };

    for (size_t i = 0; i < 2; i++) {
        if (claimed[i] == NULL)
            continue;
        hearing->redirected = true;
        if (strcmp(claimed[i], hearing->identity->subject) == 0)
            continue;
        (void)error_set(&hearing->err, STATUS_INVALID,
                        "SPENDGATE_SUBJECT was set before, for another caller");
        return deny(hearing, DENIAL_INVALID_KEY);
    }
    return true;
}

static const char *
first_text(const char *first, const char *second)
{
    if (first != NULL && first[0] != '\0')
        return first;
    return second != NULL ? second : "";
}

/* The first scope of the route that neither the plan nor, where the settings let it, the credential
 * itself has. */
static const char *
missing_scope(const struct hearing *hearing)
{
    const struct scope_set *required = &hearing->route->scopes;

    for (size_t i = 0; i < required->count; i++) {
        if (!policy_scope_granted(&hearing->plan->scopes, required->names[i]) &&
            !identity_scope_granted(hearing->identity, required->names[i]))
            return required->names[i];
    }
    return NULL;
}

static enum status
admit(struct hearing *hearing)
{
    const struct question *question = hearing->question;
    struct admission admission = {
        .names = &hearing->names,
        .plan = hearing->plan,
        .route = hearing->route,
        .verification = hearing->identity->verification,
        .unique_id = question->unique_id != NULL ? question->unique_id : "",
        .redirected = hearing->redirected,
        .redirected_hold_id = first_text(question->hold_id, question->redirected_hold_id),
    };

    if (hearing->route != NULL)
        admission.missing_scope = missing_scope(hearing);
    memcpy(admission.credential, hearing->digest, SHA256_BYTES);
    return store_admit(hearing->decider->store, &admission, hearing->now_us, &hearing->verdict,
                       &hearing->err);
}

static bool
deny_admission(struct hearing *hearing)
{
    struct denial *denial = &hearing->denial;

    denial->verdict = &hearing->verdict;
    switch (hearing->verdict.reason) {
    case REASON_REVOKED:
        denial->reason = "revoked";
        return deny(hearing, DENIAL_INVALID_KEY);
    case REASON_NOT_YOURS:
        (void)error_set(&hearing->err, STATUS_INVALID,
                        "SPENDGATE_HOLD_ID was set before, and is no hold of this request");
        return deny(hearing, DENIAL_INVALID_KEY);
    case REASON_FROZEN:
        return deny(hearing, DENIAL_FROZEN);
    case REASON_EXPIRED:
        (void)error_set(&hearing->err, STATUS_CONFLICT,
                        "`spendgate account renew %s --until 30d` (or another time, or never) "
                        "moves the date",
                        hearing->verdict.account);
        return deny(hearing, DENIAL_EXPIRED);
    case REASON_SCOPE:
        denial->required = hearing->route != NULL ? &hearing->route->scopes : NULL;
        return deny(hearing, DENIAL_SCOPE);
    case REASON_RATE:
        return deny(hearing, DENIAL_RATE);
    case REASON_CONCURRENCY:
        return deny(hearing, DENIAL_CONCURRENCY);
    case REASON_BUDGET:
        return deny(hearing, DENIAL_BUDGET);
    case REASON_REVERIFY: /* even Clerk's newest answer is older than what was asked for */
    case REASON_NONE:
        break;
    }
    (void)error_set(&hearing->err, STATUS_INTERNAL, "the admission was refused without a reason");
    return fail(hearing, RETRY_US);
}

/* Verification, plan and admission, once; and again when an account asks for a newer verification.
 */
static bool
check_caller(struct hearing *hearing)
{
    int64_t newer_than = VERIFICATION_ANY;

    for (int i = 0; i < REVERIFICATIONS_MAX; i++) {
        if (!check_identity(hearing, newer_than) || !check_plan(hearing) ||
            !check_redirected(hearing))
            return false;
        if (admit(hearing) != STATUS_OK)
            return fail(hearing, RETRY_US);
        if (hearing->verdict.allow)
            return true;
        if (hearing->verdict.reason != REASON_REVERIFY)
            return deny_admission(hearing);
        newer_than = hearing->identity->verification;
    }
    (void)error_set(&hearing->err, STATUS_BUSY, "this account is being reverified again and again");
    return fail(hearing, RETRY_US);
}

static bool
hear(struct hearing *hearing)
{
    const char *path;

    if (!check_path(hearing, &path) || !check_credential(hearing) || !check_route(hearing, path))
        return false;
    if (hearing->credential.state != CREDENTIAL_PRESENT) {
        (void)error_set(&hearing->err, STATUS_INVALID, "the credential is malformed or too long");
        return deny(hearing, DENIAL_INVALID_KEY);
    }
    crypto_sha256(hearing->credential.text, hearing->credential.length, hearing->digest);
    return check_caller(hearing);
}

/* ---- the answer ---------------------------------------------------------------------------------
 */

/* Wording that only the operator sees. */
static const char *
explanation(const struct hearing *hearing)
{
    if (hearing->err.message[0] != '\0')
        return hearing->err.message;
    if (hearing->denial.code == DENIAL_NO_PLAN)
        return "no plan matches, and there is no default_plan";
    return NULL;
}

static const char *
text_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static void
log_denial(const struct hearing *hearing)
{
    const struct denial *denial = &hearing->denial;
    const struct identity *identity = hearing->identity;
    const struct verdict *verdict = denial->verdict;
    bool failure = denial->code == DENIAL_UNAVAILABLE;
    char status[LOG_NUMBER_SIZE];
    struct buf number;

    buf_init(&number, status, sizeof(status));
    buf_add_int(&number, denial_status(denial->code, hearing->decider->settings->compat));
    log_event(failure ? LOG_ERROR : LOG_WARN, "deny", "error", denial_name(denial->code), "status",
              status, "reason", text_or_null(denial->reason), "subject",
              identity != NULL ? identity->subject : NULL, "key_id",
              identity != NULL ? identity->key_id : NULL, "account",
              verdict != NULL ? text_or_null(verdict->account) : NULL, "route",
              hearing->route != NULL ? hearing->route->prefix : NULL, "client",
              text_or_null(hearing->question->remote), "request_id", hearing->request_id, "message",
              explanation(hearing), NULL);
}

static void
format_request_id(const uint8_t *random, char out[REQUEST_ID_SIZE])
{
    struct buf id;

    buf_init(&id, out, REQUEST_ID_SIZE);
    buf_add(&id, "req_");
    buf_add_hex(&id, random, REQUEST_ID_RANDOM);
    assert(!buf_failed(&id));
}

static void
make_request_id(struct decider *decider, char out[REQUEST_ID_SIZE])
{
    if (decider->random_left < REQUEST_ID_RANDOM) {
        crypto_random(decider->random, sizeof(decider->random));
        decider->random_left = sizeof(decider->random);
    }
    decider->random_left -= REQUEST_ID_RANDOM;
    format_request_id(decider->random + decider->random_left, out);
}

/* mod_fcgid adds the variables of every answer to those of the answers before. mod_authnz_fcgi does
 * not: after an internal redirect it has none but those of this answer, and without a subject it
 * refuses. */
static bool
keeps_earlier_variables(const struct question *question)
{
    return question->apache_role == NULL || strcmp(question->apache_role, "AUTHENTICATOR") != 0;
}

static bool
write_allow(struct hearing *hearing, struct buf *out)
{
    if (hearing->redirected && keeps_earlier_variables(hearing->question)) {
        answer_allow_bare(out);
        return true;
    }
    if (answer_allow(&(struct allow){ .identity = hearing->identity,
                                      .plan = hearing->plan,
                                      .route = hearing->route,
                                      .verdict = &hearing->verdict,
                                      .request_id = hearing->request_id },
                     out))
        return true;
    (void)error_set(&hearing->err, STATUS_OVERFLOW,
                    "the variables of this caller do not fit an answer: see clerk { pass_claims }");
    return fail(hearing, RETRY_US);
}

static void
begin(struct decider *decider, const struct question *question, int64_t now_us,
      struct hearing *hearing)
{
    hearing->decider = decider;
    hearing->question = question;
    hearing->now_us = store_now_us(decider->store, now_us);
    hearing->route = NULL;
    hearing->plan = NULL;
    hearing->identity = NULL;
    hearing->verdict.allow = false;
    hearing->denial = (struct denial){ .code = DENIAL_UNAVAILABLE, .retry_after_us = RETRY_US };
    hearing->err.message[0] = '\0';
    hearing->redirected = false;
    make_request_id(decider, hearing->request_id);
}

bool
decide(struct decider *decider, const struct question *question, int64_t now_us, struct buf *out)
{
    struct hearing hearing;
    bool allowed;

    begin(decider, question, now_us, &hearing);
    allowed = hear(&hearing) && write_allow(&hearing, out);
    if (!allowed) {
        log_denial(&hearing);
        answer_denial(&hearing.denial, hearing.request_id, decider->settings->compat,
                      hearing.now_us, out);
    }
    return allowed;
}

/* ---- web servers --------------------------------------------------------------------------------
 */

static void
read_question(const struct request *request, struct question *out)
{
    out->authorization = request_param(request, "HTTP_AUTHORIZATION");
    out->redirected_authorization = request_param(request, "REDIRECT_HTTP_AUTHORIZATION");
    out->cookies = request_param(request, "HTTP_COOKIE");
    out->target = request_param(request, "REQUEST_URI");
    out->route = request_param(request, "SPENDGATE_ROUTE");
    out->unique_id = request_param(request, "UNIQUE_ID");
    out->apache_role = request_param(request, "FCGI_APACHE_ROLE");
    out->subject = request_param(request, "SPENDGATE_SUBJECT");
    out->redirected_subject = request_param(request, "REDIRECT_SPENDGATE_SUBJECT");
    out->hold_id = request_param(request, "SPENDGATE_HOLD_ID");
    out->redirected_hold_id = request_param(request, "REDIRECT_SPENDGATE_HOLD_ID");
    out->remote = request_param(request, "REMOTE_ADDR");
    out->forwarded = request_param(request, "HTTP_X_FORWARDED_FOR");
}

/* The credential stands in memory that others will reuse. */
static void
wipe_credential(const struct request *request)
{
    static const char *const names[] = { "HTTP_AUTHORIZATION=", "REDIRECT_HTTP_AUTHORIZATION=" };
    char **variables = request_environment(request);

    for (; variables != NULL && *variables != NULL; variables++) {
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            size_t length = strlen(names[i]);

            if (strncmp(*variables, names[i], length) == 0)
                crypto_wipe(*variables + length, strlen(*variables + length));
        }
    }
}

static void
deny_again(struct decider *decider, const struct request *request, struct buf *out)
{
    const struct denial_call call = {
        .text = request_param(request, "SPENDGATE_DENIAL"),
        .query = request_param(request, "QUERY_STRING"),
        .redirect = request_param(request, "REDIRECT_STATUS"),
    };
    char request_id[REQUEST_ID_SIZE];

    make_request_id(decider, request_id);
    answer_denial_again(&call, request_id, decider->settings->compat, out);
}

/* We are called in a way that we do not serve: a mistake in the web server's settings. */
static void
refuse_call(struct decider *decider, const char *message, int64_t now_us, struct buf *out)
{
    char request_id[REQUEST_ID_SIZE];

    make_request_id(decider, request_id);
    log_event(LOG_ERROR, "deny", "error", denial_name(DENIAL_UNAVAILABLE), "request_id", request_id,
              "message", message, NULL);
    answer_denial(&(struct denial){ .code = DENIAL_UNAVAILABLE, .retry_after_us = RETRY_US },
                  request_id, decider->settings->compat, now_us, out);
}

void
decider_unavailable(struct request *request, const struct error *cause)
{
    uint8_t random[REQUEST_ID_RANDOM];
    char request_id[REQUEST_ID_SIZE];
    char answer[ANSWER_SIZE];
    struct error err;
    struct buf out;

    if (request_role(request) != REQUEST_AUTHORIZER)
        request_drain_body(request);
    crypto_random(random, sizeof(random));
    format_request_id(random, request_id);
    log_event(LOG_ERROR, "deny", "error", denial_name(DENIAL_UNAVAILABLE), "request_id", request_id,
              "message", cause->message, NULL);
    buf_init(&out, answer, sizeof(answer));
    answer_denial(&(struct denial){ .code = DENIAL_UNAVAILABLE, .retry_after_us = RETRY_US },
                  request_id, false, 0, &out);
    if (request_write(request, out.data, out.length, &err) != STATUS_OK)
        log_failure("answer", &err, request_id);
    wipe_credential(request);
}

/* ---- plain CGI ----------------------------------------------------------------------------------
 */

static void
deny_script(struct decider *decider, const struct error *cause, int64_t now_us, struct buf *out)
{
    char request_id[REQUEST_ID_SIZE];
    struct denial denial = { .code = DENIAL_UNAVAILABLE, .retry_after_us = RETRY_US };

    if (cause->status == STATUS_NOT_FOUND)
        denial.code = DENIAL_NO_FILE;
    else if (cause->status == STATUS_CONFLICT)
        denial.code = DENIAL_NO_RUNNER;
    make_request_id(decider, request_id);
    log_event(denial.code == DENIAL_UNAVAILABLE ? LOG_ERROR : LOG_WARN, "deny", "error",
              denial_name(denial.code), "request_id", request_id, "message", cause->message, NULL);
    answer_denial(&denial, request_id, decider->settings->compat, now_us, out);
}

/* Returns only with a denial in `out`: after an allow this process is the script. */
static void
run_gate(struct decider *decider, const struct request *request, int64_t now_us, struct buf *out)
{
    const struct gate_target target = {
        .path = request_param(request, "PATH_INFO"),
        .translated = request_param(request, "PATH_TRANSLATED"),
        .document_root = request_param(request, "DOCUMENT_ROOT"),
        .context_root = request_param(request, "CONTEXT_DOCUMENT_ROOT"),
    };
    const char *path = target.path;
    char *environment[GATE_VARIABLES_MAX];
    char storage[ANSWER_SIZE + 2 * GATE_PATH_SIZE];
    struct gate_script script;
    struct question question;
    struct buf variables;
    struct error err;

    read_question(request, &question);
    /* The web server has decoded it: what still looks like an escape or a query is part of a name.
     */
    question.target = path != NULL && strpbrk(path, "%?#") == NULL ? path : "";
    question.subject = question.redirected_subject = NULL;
    question.hold_id = question.redirected_hold_id = NULL;
    if (!decide(decider, &question, now_us, out))
        return;
    decider_after(decider);
    buf_init(&variables, storage, sizeof(storage));
    if (gate_find(decider->settings, &target, &script, &err) != STATUS_OK ||
        gate_environment(&script, request_environment(request), buf_text(out), &variables,
                         environment, &err) != STATUS_OK ||
        gate_run(&script, environment, &err) != STATUS_OK)
        deny_script(decider, &err, now_us, out);
}

void
decider_handle(struct decider *decider, struct request *request, int64_t now_us)
{
    enum request_role role = request_role(request);
    const char *mode = role == REQUEST_AUTHORIZER ? NULL : request_param(request, "SPENDGATE_MODE");
    struct question question;
    struct error err;
    struct buf out;

    if (mode != NULL && mode[0] == '\0')
        mode = NULL;
    buf_init(&out, decider->answer, sizeof(decider->answer));
    if (mode != NULL && strcmp(mode, "deny") == 0) {
        deny_again(decider, request, &out);
    } else if (mode != NULL && strcmp(mode, "authorize") != 0) {
        refuse_call(decider, "SPENDGATE_MODE is neither authorize nor deny", now_us, &out);
    } else if (role == REQUEST_CGI && mode == NULL && decider->settings->gate_root[0] == '\0') {
        refuse_call(decider,
                    "started as plain CGI, but gate { root } is not set: set it, or use FastCGI",
                    now_us, &out);
    } else if (role == REQUEST_CGI && mode == NULL) {
        run_gate(decider, request, now_us, &out);
    } else {
        read_question(request, &question);
        (void)decide(decider, &question, now_us, &out);
    }
    wipe_credential(request);
    if (role != REQUEST_AUTHORIZER) /* else a denial is lost under mod_cgid */
        request_drain_body(request);
    if (probe_write_answer(decider->settings, decider->verification, request, now_us, &out, &err) !=
        STATUS_OK)
        log_failure("answer", &err, NULL);
}
