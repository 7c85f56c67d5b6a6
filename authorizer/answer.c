/* SPDX-License-Identifier: MIT */
#include "authorizer/answer.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/store.h"

#include <assert.h>
#include <string.h>

#include "common/banned.h"

#define CHALLENGE "Bearer realm=\"spendgate\""

struct denial_row {
    int status;
    int compat_status;
    const char *name;
    const char *compat_name;
    const char *message;
    const char *challenge; /* what follows the realm, or NULL for no challenge */
};

static const struct denial_row denial_rows[DENIAL_CODES] = {
    [DENIAL_UNAVAILABLE] = { 503, 500, "auth_unavailable", "auth_unavailable",
                             "This request could not be checked. Please try again.", NULL },
    [DENIAL_INVALID_PATH] = { 400, 400, "invalid_path", "invalid_path",
                              "The path of this request is malformed or ambiguous.", NULL },
    [DENIAL_MISSING_CREDENTIAL] = { 401, 401, "missing_credential", "Missing API key",
                                    "Send a credential: Authorization: Bearer KEY.", "" },
    [DENIAL_INVALID_KEY] = { 401, 401, "invalid_key", "invalid_key",
                             "This credential is not valid here.", ", error=\"invalid_token\"" },
    [DENIAL_EXPIRED] = { 401, 401, "expired", "expired", "This account has expired.",
                         ", error=\"invalid_token\"" },
    [DENIAL_FROZEN] = { 403, 403, "frozen", "frozen", "This account is frozen.", NULL },
    [DENIAL_SCOPE] = { 403, 403, "insufficient_scope", "insufficient_scope",
                       "This credential may not do that.", ", error=\"insufficient_scope\"" },
    [DENIAL_NO_PLAN] = { 403, 403, "no_plan", "no_plan", "No plan applies to this credential.",
                         NULL },
    [DENIAL_NO_ROUTE] = { 403, 403, "no_route", "no_route", "This path is not open.", NULL },
    [DENIAL_BUDGET] = { 429, 429, "budget_exceeded", "budget_exceeded", "The budget is used up.",
                        NULL },
    [DENIAL_RATE] = { 429, 429, "rate_limited", "rate_limited", "Too many requests.", NULL },
    [DENIAL_CONCURRENCY] = { 429, 429, "concurrency_exceeded", "concurrency_exceeded",
                             "Too many requests at once.", NULL },
    [DENIAL_TOO_MANY] = { 429, 429, "too_many_attempts", "too_many_attempts",
                          "Too many failed attempts from this address.", NULL },
    [DENIAL_NO_FILE] = { 404, 404, "not_found", "not_found", "There is nothing at this path.",
                         NULL },
    [DENIAL_NO_RUNNER] = { 403, 403, "forbidden", "forbidden",
                           "What is at this path cannot be run.", NULL },
};

const char *
denial_name(enum denial_code code)
{
    return denial_rows[code].name;
}

int
denial_status(enum denial_code code, enum compat compat)
{
    return compat == COMPAT_AGENTKEY ? denial_rows[code].compat_status : denial_rows[code].status;
}

static const char *
reason_phrase(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 429:
        return "Too Many Requests";
    case 500:
        return "Internal Server Error";
    default:
        return "Service Unavailable";
    }
}

/* ---- the body -----------------------------------------------------------------------------------
 */

static void
add_member(struct buf *body, const char *name, const char *text)
{
    buf_add_format(body, ",\"%s\":", name);
    buf_add_json_string(body, text);
}

static void
add_money(struct buf *body, const char *name, int64_t nanos)
{
    buf_add_format(body, ",\"%s\":", name);
    buf_add_json_money(body, nanos);
}

static void
add_time(struct buf *body, const char *name, int64_t time_us)
{
    buf_add_format(body, ",\"%s\":", name);
    buf_add_json_time(body, time_us);
}

static void
add_scopes(struct buf *out, const struct scope_set *scopes)
{
    for (size_t i = 0; i < scopes->count; i++) {
        if (i > 0)
            buf_add_char(out, ' ');
        buf_add(out, scopes->names[i]);
    }
}

/* What the credential itself brings beside the plan's. */
static void
add_own_scopes(struct buf *out, const char *own, const struct scope_set *scopes)
{
    char scope[SCOPE_SIZE];
    bool first = scopes->count == 0;

    for (; *own != '\0'; own += strspn(own, " ")) {
        struct buf text;
        size_t length = strcspn(own, " ");
        bool planned = false;

        buf_init(&text, scope, sizeof(scope));
        buf_add_bytes(&text, own, length);
        own += length;
        for (size_t i = 0; i < scopes->count; i++)
            planned = planned || strcmp(scopes->names[i], scope) == 0;
        if (planned)
            continue;
        if (!first)
            buf_add_char(out, ' ');
        first = false;
        buf_add_header_value(out, scope);
    }
}

static void
add_required(struct buf *body, const struct scope_set *required)
{
    char text[SCOPES_MAX * SCOPE_SIZE];
    struct buf scopes;

    buf_init(&scopes, text, sizeof(text));
    add_scopes(&scopes, required);
    add_member(body, "required", text);
}

/* Whose budget, and by how much. The numbers of others (organization, group, all) are not the
 * caller's business. */
static void
add_budget(struct buf *body, const struct verdict *verdict)
{
    if (verdict->own_account) {
        add_member(body, "account", verdict->account);
        add_member(body, "period", period_kind_name(verdict->period));
        add_money(body, "limit_usd", verdict->limit_nanos);
        add_money(body, "spent_usd", verdict->spent_nanos);
        add_money(body, "held_usd", verdict->held_nanos);
    } else {
        add_member(body, "account", account_kind_name(account_kind_of(verdict->account)));
        add_member(body, "period", period_kind_name(verdict->period));
    }
    add_time(body, "resets_at", verdict->resets_us);
}

static void
add_extra(struct buf *body, const struct denial *denial)
{
    const struct verdict *verdict = denial->verdict;

    if (denial->code == DENIAL_INVALID_KEY && denial->reason != NULL && denial->reason[0] != '\0')
        add_member(body, "reason", denial->reason);
    if (denial->code == DENIAL_SCOPE && denial->required != NULL)
        add_required(body, denial->required);
    if (verdict == NULL)
        return;
    if (denial->code == DENIAL_EXPIRED)
        add_time(body, "expired_at", verdict->expired_us);
    if (denial->code == DENIAL_BUDGET)
        add_budget(body, verdict);
    if (denial->code == DENIAL_RATE && verdict->own_account)
        add_member(body, "limit", verdict->rate_text);
    if (denial->code == DENIAL_CONCURRENCY && verdict->own_account)
        buf_add_format(body, ",\"limit\":%lld", (long long)verdict->concurrency);
}

/*
 * ">", "?" and "~" as escapes. They are the only bytes of a body (visible ASCII) that would need
 * "-" or
 * "_" in base64url, so with these gone X-Spendgate-Denial is base64 as well, which is what Apache's
 * mod_include can decode (conf/apache/denials).
 */
static void
escape_for_base64(struct buf *body)
{
    char bytes[ANSWER_BODY_SIZE];
    struct buf copy;

    if (buf_failed(body) || strpbrk(buf_text(body), ">?~") == NULL)
        return;
    buf_init(&copy, bytes, sizeof(bytes));
    buf_add_bytes(&copy, body->data, body->length);
    buf_clear(body);
    for (size_t i = 0; i < copy.length; i++) {
        if (strchr(">?~", bytes[i]) != NULL)
            buf_add_format(body, "\\u%04x", (unsigned)bytes[i]);
        else
            buf_add_char(body, bytes[i]);
    }
}

/* How OpenAI's API calls it: its libraries choose the exception by the status, and programs look at
 * the code. What it has no word for keeps ours. */
static void
openai_words(enum denial_code code, const char **type, const char **name)
{
    *name = denial_rows[code].name;
    *type = "invalid_request_error";
    switch (code) {
    case DENIAL_MISSING_CREDENTIAL:
    case DENIAL_INVALID_KEY:
    case DENIAL_EXPIRED:
        *name = "invalid_api_key";
        break;
    case DENIAL_BUDGET:
        *type = *name = "insufficient_quota";
        break;
    case DENIAL_RATE:
    case DENIAL_CONCURRENCY:
    case DENIAL_TOO_MANY:
        *type = "requests";
        *name = "rate_limit_exceeded";
        break;
    case DENIAL_UNAVAILABLE:
        *type = "server_error";
        break;
    default:
        break;
    }
}

/* {"error":{"message","type","param","code", and ours}}, which those libraries hand on whole. */
static void
write_openai_body(const struct denial *denial, const char *request_id, bool extra, struct buf *body)
{
    const struct denial_row *row = &denial_rows[denial->code];
    const char *type, *name;

    openai_words(denial->code, &type, &name);
    buf_clear(body);
    buf_add(body, "{\"error\":{\"message\":");
    buf_add_json_string(body, row->message);
    add_member(body, "type", type);
    buf_add(body, ",\"param\":null");
    add_member(body, "code", name);
    add_member(body, "spendgate_error", row->name);
    add_member(body, "request_id", request_id);
    if (extra)
        add_extra(body, denial);
    buf_add(body, "}}");
    escape_for_base64(body);
}

static void
write_body(const struct denial *denial, const char *request_id, enum compat compat, bool extra,
           struct buf *body)
{
    const struct denial_row *row = &denial_rows[denial->code];
    bool agentkey = compat == COMPAT_AGENTKEY;

    if (compat == COMPAT_OPENAI) {
        write_openai_body(denial, request_id, extra, body);
        return;
    }
    buf_clear(body);
    buf_add(body, "{\"error\":");
    buf_add_json_string(body, agentkey ? row->compat_name : row->name);
    if (!agentkey) {
        add_member(body, "message", row->message);
        add_member(body, "request_id", request_id);
    }
    /* agentkey-clerk's only other member */
    if (extra && (!agentkey || denial->code == DENIAL_SCOPE))
        add_extra(body, denial);
    buf_add_char(body, '}');
    escape_for_base64(body);
}

/* ---- the headers --------------------------------------------------------------------------------
 */

static int64_t
seconds_up(int64_t us)
{
    return us <= 0 ? 0 : (us - 1) / US_PER_SECOND + 1;
}

/* Seconds until it is worth trying again; 0: never, or unknown. */
static int64_t
retry_after(const struct denial *denial, int64_t now_us)
{
    const struct verdict *verdict = denial->verdict;
    int64_t seconds = 0;

    switch (denial->code) {
    case DENIAL_BUDGET:
        if (verdict == NULL || verdict->resets_us == PERIOD_NEVER_US)
            return 0;
        seconds = seconds_up(verdict->resets_us - now_us);
        break;
    case DENIAL_RATE:
        seconds = verdict == NULL ? 0 : seconds_up(verdict->retry_after_us);
        break;
    case DENIAL_CONCURRENCY:
        return 1;
    case DENIAL_TOO_MANY:
    case DENIAL_UNAVAILABLE:
        seconds = seconds_up(denial->retry_after_us);
        break;
    default:
        return 0;
    }
    return seconds > 0 ? seconds : 1;
}

static void
add_challenge(const struct denial *denial, struct buf *out)
{
    const char *challenge = denial_rows[denial->code].challenge;

    if (challenge == NULL)
        return;
    buf_add(out, "WWW-Authenticate: " CHALLENGE);
    buf_add(out, challenge);
    if (denial->code == DENIAL_SCOPE && denial->required != NULL) {
        buf_add(out, ", scope=\"");
        add_scopes(out, denial->required);
        buf_add_char(out, '"');
    }
    buf_add(out, "\r\n");
}

/* draft-ietf-httpapi-ratelimit-headers-10. `quota` < 0: how much is allowed is not told. */
static void
add_ratelimit(struct buf *out, const char *policy, int64_t quota, const char *parameters,
              int64_t window_s, int64_t reset_s)
{
    if (quota >= 0) {
        buf_add_format(out, "RateLimit-Policy: \"%s\";q=%lld%s", policy, (long long)quota,
                       parameters);
        if (window_s > 0)
            buf_add_format(out, ";w=%lld", (long long)window_s);
        buf_add(out, "\r\n");
    }
    buf_add_format(out, "RateLimit: \"%s\";r=0", policy);
    if (reset_s > 0)
        buf_add_format(out, ";t=%lld", (long long)reset_s);
    buf_add(out, "\r\n");
}

static void
add_ratelimits(const struct denial *denial, int64_t reset_s, struct buf *out)
{
    const struct verdict *verdict = denial->verdict;

    if (denial->code == DENIAL_TOO_MANY && denial->rate != NULL)
        add_ratelimit(out, "attempts", denial->rate->count, "", seconds_up(denial->rate->per_us),
                      reset_s);
    if (verdict == NULL)
        return;
    if (denial->code == DENIAL_RATE)
        add_ratelimit(out, "requests", verdict->own_account ? verdict->rate.count : -1, "",
                      seconds_up(verdict->rate.per_us), reset_s);
    if (denial->code == DENIAL_CONCURRENCY)
        add_ratelimit(out, "concurrency", verdict->own_account ? verdict->concurrency : -1,
                      ";qu=\"concurrent-requests\"", 0, reset_s);
    if (denial->code == DENIAL_BUDGET) /* in cents: a structured integer has 15 digits */
        add_ratelimit(out, "budget",
                      verdict->own_account ? verdict->limit_nanos / MONEY_NANOS_PER_CENT : -1,
                      ";qu=\"usd-cents\"", 0, reset_s);
}

static void
write_head(int status, const struct buf *body, struct buf *out)
{
    buf_add_format(out, "Status: %d %s\r\n", status, reason_phrase(status));
    buf_add(out, "Content-Type: application/json\r\nCache-Control: no-store\r\n");
    buf_add_format(out, "X-Spendgate-Status: %d\r\nX-Spendgate-Denial: ", status);
    buf_add_base64url(out, body->data, body->length);
    buf_add(out, "\r\n");
}

static void
write_denial(const struct denial *denial, const struct buf *body, enum compat compat,
             int64_t now_us, struct buf *out)
{
    int64_t reset_s = retry_after(denial, now_us);

    buf_clear(out);
    write_head(denial_status(denial->code, compat), body, out);
    add_challenge(denial, out);
    if (reset_s > 0)
        buf_add_format(out, "Retry-After: %lld\r\n", (long long)reset_s);
    add_ratelimits(denial, reset_s, out);
    if (denial->code == DENIAL_BUDGET)
        buf_add(out, "x-should-retry: false\r\n");
    buf_add(out, "\r\n");
    buf_add_bytes(out, body->data, body->length);
}

void
answer_denial(const struct denial *denial, const char *request_id, enum compat compat,
              int64_t now_us, struct buf *out)
{
    char text[ANSWER_BODY_SIZE];
    struct denial plain = { .code = denial->code, .retry_after_us = denial->retry_after_us };
    struct buf body;

    assert(denial->code >= 0 && denial->code < DENIAL_CODES);
    buf_init(&body, text, sizeof(text));
    write_body(denial, request_id, compat, true, &body);
    if (buf_failed(&body)) /* a route with very many scopes */
        write_body(denial, request_id, compat, false, &body);
    assert(!buf_failed(&body));
    write_denial(denial, &body, compat, now_us, out);
    if (!buf_failed(out))
        return;
    write_body(&plain, request_id, compat, false, &body);
    write_denial(&plain, &body, compat, now_us, out);
    assert(!buf_failed(out));
}

/* ---- an allow -----------------------------------------------------------------------------------
 */

static void
open_variable(struct buf *out, const char *name)
{
    buf_add(out, "Variable-");
    buf_add(out, name);
    buf_add(out, ": ");
}

static void
add_variable(struct buf *out, const char *name, const char *value)
{
    open_variable(out, name);
    buf_add_header_value(out, value);
    buf_add(out, "\r\n");
}

static void
add_money_variable(struct buf *out, const char *name, int64_t nanos)
{
    open_variable(out, name);
    money_add_usd(out, nanos);
    buf_add(out, "\r\n");
}

static void
add_hold_variables(const struct verdict *verdict, struct buf *out)
{
    char id[PUBLIC_ID_SIZE] = "";

    if (verdict->hold_placed)
        public_id_format("hld_", verdict->hold.id, verdict->hold.nonce, id);
    add_variable(out, "SPENDGATE_HOLD_ID", id);
    add_money_variable(out, "SPENDGATE_HOLD_USD",
                       verdict->hold_placed ? verdict->hold.amount_nanos : 0);
}

static void
add_budget_variables(const struct verdict *verdict, struct buf *out)
{
    if (!verdict->has_budget) {
        add_variable(out, "SPENDGATE_LIMIT_USD", "");
        add_variable(out, "SPENDGATE_REMAINING_USD", "");
        add_variable(out, "SPENDGATE_RESET", "");
        return;
    }
    add_money_variable(out, "SPENDGATE_LIMIT_USD", verdict->limit_nanos);
    add_money_variable(out, "SPENDGATE_REMAINING_USD", verdict->remaining_nanos);
    open_variable(out, "SPENDGATE_RESET");
    if (verdict->resets_us != PERIOD_NEVER_US)
        buf_add_int(out, seconds_up(verdict->resets_us));
    buf_add(out, "\r\n");
}

static void
add_claim_variables(const struct identity *identity, struct buf *out)
{
    const char *name;
    const char *value;
    size_t offset = 0;

    while (identity_claim_next(identity, &offset, &name, &value)) {
        buf_add(out, "Variable-SPENDGATE_CLAIM_");
        buf_add(out, name);
        buf_add(out, ": ");
        buf_add_header_value(out, value);
        buf_add(out, "\r\n");
    }
}

bool
answer_allow(const struct allow *allow, struct buf *out)
{
    const struct identity *identity = allow->identity;

    buf_clear(out);
    buf_add(out, "Status: 200\r\n");
    add_variable(out, "REMOTE_USER", identity->subject);
    add_variable(out, "SPENDGATE_SUBJECT", identity->subject);
    add_variable(out, "SPENDGATE_KEY_ID", identity->key_id);
    add_variable(out, "SPENDGATE_KIND", credential_kind_name(identity->kind));
    add_variable(out, "SPENDGATE_ORG", identity->organization);
    add_variable(out, "SPENDGATE_PLAN", allow->plan->name);
    open_variable(out, "SPENDGATE_SCOPES");
    add_scopes(out, &allow->plan->scopes);
    add_own_scopes(out, identity->scopes, &allow->plan->scopes);
    buf_add(out, "\r\n");
    add_variable(out, "SPENDGATE_ROUTE", allow->route == NULL ? "" : allow->route->prefix);
    add_hold_variables(allow->verdict, out);
    add_budget_variables(allow->verdict, out);
    add_variable(out, "SPENDGATE_WARN", allow->verdict->warn);
    add_variable(out, "SPENDGATE_REQUEST_ID", allow->request_id);
    add_claim_variables(identity, out);
    buf_add(out, "\r\n");
    return !buf_failed(out);
}

void
answer_allow_bare(struct buf *out)
{
    buf_clear(out);
    buf_add(out, "Status: 200\r\n\r\n");
}

/* ---- a denial, printed again --------------------------------------------------------------------
 */

/* The status that goes with an `error` member of ours; 0: it is none of ours. */
static int
status_of_name(const char *name)
{
    for (int i = 0; name != NULL && i < DENIAL_CODES; i++) {
        if (strcmp(name, denial_rows[i].name) == 0)
            return denial_rows[i].status;
        if (strcmp(name, denial_rows[i].compat_name) == 0)
            return denial_rows[i].compat_status;
    }
    return 0;
}

/* The body inside `text`, and its status; 0 when it is not one of ours. */
static int
decode_body(const char *text, enum compat compat, struct buf *body)
{
    struct json *object = NULL;
    size_t length = 0;
    const char *name;
    int status;

    buf_clear(body);
    if (!base64url_decode(text, strlen(text), body->data, body->size - 1, &length) ||
        json_parse(body->data, length, &object, NULL) != STATUS_OK)
        return 0;
    body->data[length] = '\0';
    body->length = length;
    name = json_string(json_member(object, "error"));
    if (name == NULL)
        name = json_string(json_path(object, "error.spendgate_error"));
    status = status_of_name(name);
    if (compat == COMPAT_AGENTKEY && status == denial_rows[DENIAL_UNAVAILABLE].status)
        status = denial_rows[DENIAL_UNAVAILABLE].compat_status;
    json_free(object);
    return status;
}

/* The last value behind `name` ("status=") in a query string, as it stands there. False: none, an
 * empty one, or one that does not fit. */
static bool
query_value(const char *query, const char *name, char *out, size_t size)
{
    size_t name_length = strlen(name);
    size_t length = 0;

    while (query != NULL && *query != '\0') {
        size_t part = strcspn(query, "&;");

        if (part >= name_length && strncmp(query, name, name_length) == 0) {
            length = part - name_length;
            if (length >= size)
                return false;
            memcpy(out, query + name_length, length);
        }
        query += part;
        query += *query != '\0';
    }
    out[length] = '\0';
    return length > 0;
}

static int
status_of_query(const char *query)
{
    char digits[4];
    int64_t status = 0;

    if (!query_value(query, "status=", digits, sizeof(digits)))
        return 0;
    return text_to_int64(digits, 100, 999, &status) ? (int)status : 0;
}

/* Which of several causes it was is not known any more. */
static void
write_plain_body(int status, const char *request_id, enum compat compat, struct buf *body)
{
    static const struct {
        int status;
        const char *name, *message;
    } plain[] = {
        { 400, "invalid_path", "The path of this request is malformed or ambiguous." },
        { 401, "unauthorized", "Send a valid credential: Authorization: Bearer KEY." },
        { 403, "forbidden", "This credential may not do that." },
        { 429, "limit_reached", "The budget is used up, or requests come too fast." },
        { 500, "auth_unavailable", "This request could not be checked. Please try again." },
        { 503, "auth_unavailable", "This request could not be checked. Please try again." },
    };
    size_t i = 0;

    while (plain[i].status != status)
        i++;
    buf_clear(body);
    if (compat == COMPAT_OPENAI) {
        buf_add(body, "{\"error\":{\"message\":");
        buf_add_json_string(body, plain[i].message);
        add_member(body, "type", status >= 500 ? "server_error" : "invalid_request_error");
        buf_add(body, ",\"param\":null");
        add_member(body, "code", plain[i].name);
        add_member(body, "request_id", request_id);
        buf_add(body, "}}");
        return;
    }
    buf_add(body, "{\"error\":");
    buf_add_json_string(body, plain[i].name);
    add_member(body, "message", plain[i].message);
    add_member(body, "request_id", request_id);
    buf_add_char(body, '}');
}

static bool
is_error_page(const struct denial_call *call)
{
    return call->redirect != NULL && (call->redirect[0] == '4' || call->redirect[0] == '5');
}

void
answer_denial_again(const struct denial_call *call, const char *request_id, enum compat compat,
                    struct buf *out)
{
    char bytes[ANSWER_BODY_SIZE];
    char named[ANSWER_BODY_SIZE * 4 / 3];
    const char *text = call->text;
    struct buf body;
    int status = 0;
    bool whole;

    buf_init(&body, bytes, sizeof(bytes));
    if (text == NULL && query_value(call->query, "denial=", named, sizeof(named)))
        text = named;
    if (text != NULL)
        status = decode_body(text, compat, &body);
    whole = status != 0;
    if (text == NULL)
        status = status_of_query(call->query);
    if (!whole && status != 400 && status != 401 && status != 403 && status != 429)
        status = denial_status(DENIAL_UNAVAILABLE, compat);
    if (!whole)
        write_plain_body(status, request_id, compat, &body);
    buf_clear(out);
    if (whole && is_error_page(call)) {
        buf_add_format(out, "Status: %d %s\r\nContent-Type: application/json\r\n", status,
                       reason_phrase(status));
    } else {
        write_head(status, &body, out);
        if (status == 401)
            buf_add(out, "WWW-Authenticate: " CHALLENGE "\r\n");
        if (status == denial_status(DENIAL_UNAVAILABLE, compat))
            buf_add(out, "Retry-After: 1\r\n");
    }
    buf_add(out, "\r\n");
    buf_add_bytes(out, body.data, body.length);
    assert(!buf_failed(out));
}
