/* SPDX-License-Identifier: MIT */
#include "tracker/router.h"

#include "common/crypto.h"
#include "common/log.h"

#include "tracker/accounts.h"
#include "tracker/budgets.h"
#include "tracker/charges.h"
#include "common/form.h"
#include "tracker/health.h"
#include "tracker/holds.h"
#include "tracker/me.h"
#include "tracker/quote.h"
#include "tracker/spend.h"
#include "tracker/token.h"
#include "tracker/webhook.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/banned.h"

#define SEGMENTS_MAX 8

/* ---- the calls ------------------------------------------------------------------------------ */

struct call_route {
    const char *method;
    const char *pattern; /* "*" stands for one segment, which is captured */
    enum token_role role;
    void (*handle)(struct call *call);
};

static const struct call_route call_routes[] = {
    { "POST", "/v1/spend", TOKEN_POST, spend_post_one },
    { "POST", "/v1/spend/batch", TOKEN_POST, spend_post_batch },
    { "POST", "/v1/holds", TOKEN_POST, holds_place },
    { "POST", "/v1/holds/*/extend", TOKEN_POST, holds_extend },
    { "POST", "/v1/holds/*/void", TOKEN_POST, holds_void },
    { "POST", "/v1/quote", TOKEN_POST, quote_post },
    { "POST", "/v1/charges/*/refund", TOKEN_ADMIN, charges_refund },
    { "GET", "/v1/accounts", TOKEN_READ, accounts_list },
    { "GET", "/v1/accounts/*", TOKEN_READ, accounts_get },
    { "PUT", "/v1/accounts/*/budgets/*", TOKEN_ADMIN, budgets_set },
    { "DELETE", "/v1/accounts/*/budgets/*", TOKEN_ADMIN, budgets_clear },
    { "POST", "/v1/accounts/*/credits", TOKEN_ADMIN, budgets_credit },
    { "POST", "/v1/accounts/*/freeze", TOKEN_ADMIN, accounts_freeze },
    { "POST", "/v1/accounts/*/unfreeze", TOKEN_ADMIN, accounts_unfreeze },
    { "POST", "/v1/accounts/*/revoke", TOKEN_ADMIN, accounts_revoke },
    { "POST", "/v1/accounts/*/unrevoke", TOKEN_ADMIN, accounts_unrevoke },
    { "POST", "/v1/accounts/*/reverify", TOKEN_ADMIN, accounts_reverify },
    { "GET", "/v1/charges", TOKEN_READ, charges_list },
    { "GET", "/v1/report", TOKEN_READ, charges_report },
    { "GET", "/v1/me", TOKEN_NONE, me_get },
    { "OPTIONS", "/v1/me", TOKEN_NONE, me_preflight },
    { "POST", "/v1/webhooks/clerk", TOKEN_NONE, webhook_clerk },
    { "GET", "/healthz", TOKEN_NONE, health_live },
    { "GET", "/readyz", TOKEN_NONE, health_ready },
    { "GET", "/metrics", TOKEN_READ, health_metrics },
};

#define CALL_COUNT (sizeof(call_routes) / sizeof(call_routes[0]))

/* ---- path ----------------------------------------------------------------------------------- */

/* "http://host/path" as "/path"; anything else as it is. */
static const char *
without_origin(const char *target)
{
    const char *host;

    if (*target == '/')
        return target;
    host = strstr(target, "://");
    if (host == NULL)
        return "";
    host += strlen("://");
    return host + strcspn(host, "/?#");
}

/* What follows the prefix, which ends at a segment's end; NULL when the path is not below it. */
static const char *
below_prefix(const char *path, const char *prefix)
{
    size_t length = strlen(prefix);

    while (length > 0 && prefix[length - 1] == '/')
        length--;
    if (strncmp(path, prefix, length) != 0 || path[length] != '/')
        return NULL;
    return path + length;
}

bool
router_path(const char *path_info, const char *request_uri, const char *prefix, char *out,
            size_t size)
{
    const char *path = path_info;
    size_t length;

    *out = '\0';
    if (path == NULL || *path == '\0')
        path = request_uri != NULL
                   ? below_prefix(without_origin(request_uri), prefix != NULL ? prefix : "")
                   : NULL;
    if (path == NULL || *path != '/')
        return false;
    length = strcspn(path, "?#");
    if (length >= size)
        return false;
    memcpy(out, path, length);
    out[length] = '\0';
    return true;
}

struct segments {
    size_t count;
    const char *texts[SEGMENTS_MAX];
};

/* Cut `path` at its slashes, then decode each piece (so that an escaped slash stays in its piece).
 * A server that hands PATH_INFO on decoded is understood as well as one that does not: no name has
 * a "%". */
static bool
split(char *path, struct segments *out)
{
    const char *const end = path + strlen(path);

    out->count = 0;
    /* `path` is where a slash was: decoding puts the end of the piece before it there. */
    while (path < end) {
        char *segment = path + 1;
        size_t length = strcspn(segment, "/");

        if (out->count == SEGMENTS_MAX || !percent_decode(segment, length, false))
            return false;
        out->texts[out->count++] = segment;
        path = segment + length;
    }
    return true;
}

/* Whether the segments are those of the pattern; what stands for "*" goes to `captures`. */
static bool
matches(const char *pattern, const struct segments *segments, const char **captures)
{
    size_t captured = 0;

    for (size_t i = 0; i < segments->count; i++) {
        size_t length;

        if (*pattern != '/')
            return false;
        pattern++;
        length = strcspn(pattern, "/");
        if (length == 1 && *pattern == '*' && *segments->texts[i] != '\0')
            captures[captured++] = segments->texts[i];
        else if (strlen(segments->texts[i]) != length ||
                 memcmp(segments->texts[i], pattern, length) != 0)
            return false;
        pattern += length;
    }
    return *pattern == '\0';
}

/* The call for path and method; NULL with a refusal: 404, or 405 with the methods there are. */
static const struct call_route *
find_route(struct call *call, const struct segments *segments, const char *method,
           struct refusal *refusal)
{
    struct buf allow;

    buf_init(&allow, call->tracker->allow, sizeof(call->tracker->allow));
    for (size_t i = 0; i < CALL_COUNT; i++) {
        const struct call_route *route = &call_routes[i];

        if (!matches(route->pattern, segments, call->captures))
            continue;
        if (strcmp(route->method, method) == 0)
            return route;
        buf_add(&allow, allow.length > 0 ? ", " : "");
        buf_add(&allow, strcmp(route->method, "GET") == 0 ? "GET, HEAD" : route->method);
    }
    if (allow.length == 0) {
        refusal_set(refusal, 404, "not_found", "There is no such call.");
        return NULL;
    }
    call->answer->allow = buf_text(&allow);
    refusal_set(refusal, 405, "method_not_allowed", "Here only %s can be used.", buf_text(&allow));
    return NULL;
}

/* ---- token ---------------------------------------------------------------------------------- */

static const char *
authorization(const struct call *call)
{
    const char *value = request_param(call->request, "HTTP_AUTHORIZATION");

    /* After an internal redirect Apache has it under this name. */
    if (value == NULL || *value == '\0')
        value = request_param(call->request, "REDIRECT_HTTP_AUTHORIZATION");
    return value;
}

static void
check_token(struct call *call, enum token_role need, struct refusal *refusal)
{
    const char *presented = token_presented(authorization(call));

    if (need == TOKEN_NONE)
        return;
    call->token = token_find(call->tracker->settings, presented);
    if (call->token == NULL) {
        refusal_set(refusal, 401, "invalid_token",
                    presented == NULL ? "A tracker token is needed: Authorization: Bearer …"
                                      : "This is no token of this tracker.");
        refusal->challenge = presented == NULL
                                 ? "Bearer realm=\"spendgate\""
                                 : "Bearer realm=\"spendgate\", error=\"invalid_token\"";
        return;
    }
    call->actor = call->token->name;
    if (!token_allows(call->token->role, need))
        refusal_set(refusal, 403, "forbidden", "The role of this token does not allow this call.");
}

/* The role that a call needs here; the settings may open /metrics. */
static enum token_role
role_needed(const struct call *call, const struct call_route *route)
{
    if (route->handle == health_metrics && !call->tracker->settings->metrics_token)
        return TOKEN_NONE;
    return route->role;
}

/* ---- body ----------------------------------------------------------------------------------- */

enum body_type
router_body_type(const char *content_type)
{
    static const struct {
        const char *name;
        enum body_type type;
    } types[] = {
        { "application/json", BODY_JSON },       { "application/x-www-form-urlencoded", BODY_FORM },
        { "application/x-ndjson", BODY_NDJSON }, { "application/ndjson", BODY_NDJSON },
        { "application/jsonl", BODY_NDJSON },
    };
    size_t length;

    if (content_type == NULL)
        return BODY_OTHER;
    content_type += strspn(content_type, " \t");
    length = strcspn(content_type, "; \t");
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strlen(types[i].name) == length &&
            strncasecmp(types[i].name, content_type, length) == 0)
            return types[i].type;
    }
    return BODY_OTHER;
}

static void
read_body(struct call *call, struct refusal *refusal)
{
    struct error err;
    enum status status = request_read_body(call->request, &call->body, &err);

    if (status == STATUS_OVERFLOW)
        refusal_set(refusal, 413, "body_too_large", "A body has at most %d bytes.",
                    TRACKER_BODY_MAX);
    else if (status != STATUS_OK)
        refusal_set(refusal, 400, "invalid_json", "The body broke off: %s", err.message);
    else if (call->body.length > 0)
        call->body_type = router_body_type(request_param(call->request, "CONTENT_TYPE"));
}

/* ---- one request ---------------------------------------------------------------------------- */

static void
make_request_id(struct call *call)
{
    const char *given = request_param(call->request, "SPENDGATE_REQUEST_ID");
    uint8_t random[CALL_REQUEST_ID_BYTES];
    struct buf id;

    /* Behind the authorizer its id is used, so that both log lines can be found together. */
    if (given != NULL && idempotency_key_valid(given) &&
        text_copy(call->request_id, sizeof(call->request_id), given))
        return;
    crypto_random(random, sizeof(random));
    buf_init(&id, call->request_id, sizeof(call->request_id));
    buf_add_hex(&id, random, sizeof(random));
}

/* Everything up to the handler; NULL with a refusal. */
static const struct call_route *
prepare(struct call *call, const char *method, struct refusal *refusal)
{
    struct tracker *tracker = call->tracker;
    const struct call_route *route;
    struct segments segments;

    if (!router_path(request_param(call->request, "PATH_INFO"),
                     request_param(call->request, "REQUEST_URI"),
                     request_param(call->request, "SPENDGATE_PREFIX"), tracker->path,
                     sizeof(tracker->path)) ||
        !text_copy(tracker->segments, sizeof(tracker->segments), tracker->path) ||
        !split(tracker->segments, &segments)) {
        refusal_set(refusal, 404, "not_found", "There is no such call.");
        return NULL;
    }
    route = find_route(call, &segments, method, refusal);
    if (route == NULL)
        return NULL;
    check_token(call, role_needed(call, route), refusal);
    if (!refused(refusal) && strcmp(route->method, "GET") != 0)
        read_body(call, refusal);
    return refused(refusal) ? NULL : route;
}

/* In the authorizer role a 200 of ours would be an allow, and there is no body to read. */
static void
deny_authorizer(struct call *call)
{
    struct refusal refusal = { .http_status = 0 };

    refusal_set(&refusal, 403, "forbidden",
                "This is the tracker; the authorizer is spendgate-authorizer.");
    call_refuse(call, &refusal);
}

static void
answer(struct call *call, const char *method)
{
    struct refusal refusal = { .http_status = 0 };
    const struct call_route *route = prepare(call, method, &refusal);

    if (route != NULL) {
        route->handle(call);
        return;
    }
    /* Unread input would cost the client the answer under some servers. */
    request_drain_body(call->request);
    call_refuse(call, &refusal);
}

static void
handle(void *context, struct request *request, int64_t now_us)
{
    struct tracker *tracker = context;
    struct call call = {
        .tracker = tracker,
        .request = request,
        .actor = "",
        .now_us = now_us,
        .answer = &tracker->answer,
    };
    const char *method = request_param(request, "REQUEST_METHOD");
    bool head = method != NULL && strcmp(method, "HEAD") == 0;
    struct error err;

    answer_reset(&tracker->answer);
    tracker->path[0] = '\0';
    buf_init(&call.body, tracker->body, sizeof(tracker->body));
    make_request_id(&call);
    if (request_role(request) == REQUEST_AUTHORIZER)
        deny_authorizer(&call);
    else
        answer(&call, head ? "GET" : method != NULL ? method : "");
    if (answer_send(&tracker->answer, request, call.request_id, head, &err) != STATUS_OK)
        log_failure("tracker_answer", &err, call.request_id);
}

/* The settings cannot be used: also then an answer is JSON, as every other. */
static void
unavailable(struct request *request, const struct error *cause)
{
    const char *method = request_param(request, "REQUEST_METHOD");
    struct refusal refusal = { .retry_after_s = 1 };
    struct answer answer = { .http_status = 0 };
    struct call call = { .request = request };
    struct error err;

    if (request_role(request) != REQUEST_AUTHORIZER)
        request_drain_body(request);
    make_request_id(&call);
    log_event(LOG_ERROR, "tracker_refusal", "status", "503", "error", "store_unavailable",
              "message", cause->message, "request_id", call.request_id, NULL);
    refusal_set(&refusal, 503, "store_unavailable",
                "The tracker cannot be used now; nothing was recorded. Its error log says why.");
    answer_refuse(&answer, &refusal, call.request_id);
    if (answer_send(&answer, request, call.request_id,
                    method != NULL && strcmp(method, "HEAD") == 0, &err) != STATUS_OK)
        log_failure("tracker_answer", &err, call.request_id);
    answer_clear(&answer);
}

/* ---- the worker ----------------------------------------------------------------------------- */

/* The store is opened by the first request that needs it: a plain CGI start pays only for what it
 * uses, and a store that is not there yet is a 503 to tell and not a worker that dies. */
static enum status
open_tracker(const struct settings *settings, const struct server_start *start, void **context,
             struct error *err)
{
    struct tracker *tracker = calloc(1, sizeof(*tracker));

    (void)start;
    *context = NULL;
    if (tracker == NULL)
        return error_set(err, STATUS_NO_MEMORY, "tracker: out of memory");
    tracker->settings = settings;
    *context = tracker;
    return STATUS_OK;
}

static void
after_request(void *context)
{
    struct tracker *tracker = context;

    if (tracker->store != NULL)
        store_after(tracker->store);
}

static void
close_tracker(void *context)
{
    struct tracker *tracker = context;

    if (tracker == NULL)
        return;
    store_close(tracker->store);
    answer_clear(&tracker->answer);
    free(tracker);
}

const struct server_program tracker_program = {
    .name = "spendgate-tracker",
    .summary =
        "Record what requests cost and answer what is left (FastCGI responder or plain CGI).",
    .open = open_tracker,
    .unavailable = unavailable,
    .handle = handle,
    .after = after_request,
    .close = close_tracker,
};
