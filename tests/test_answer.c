/* SPDX-License-Identifier: MIT */
/* The bytes of every answer, as the contract has them. */
#include "authorizer/answer.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"

#include "tests/check.h"

#include <stdlib.h>

#include "common/banned.h"

#define ID "req_0123456789abcdef01234567"
#define NOW_US (INT64_C(1767225600) * US_PER_SECOND) /* 2026-01-01 */
#define HOUR_US (3600 * US_PER_SECOND)

static char storage[ANSWER_SIZE];
static struct buf out = { storage, sizeof(storage), 0, false };

static const char *
deny(const struct denial *denial, enum compat compat)
{
    answer_denial(denial, ID, compat, NOW_US, &out);
    return buf_text(&out);
}

/* The value of a header line, or NULL. Valid until the next call. */
static const char *
header(const char *answer, const char *name)
{
    static char value[ANSWER_SIZE];
    size_t name_length = strlen(name);
    const char *end = strstr(answer, "\r\n\r\n");

    for (const char *line = answer; line < end; line = strstr(line, "\r\n") + 2) {
        if (strncmp(line, name, name_length) == 0 && strncmp(line + name_length, ": ", 2) == 0) {
            size_t length = strcspn(line + name_length + 2, "\r");

            memcpy(value, line + name_length + 2, length);
            value[length] = '\0';
            return value;
        }
    }
    return NULL;
}

static const char *
body(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");

    return end == NULL ? NULL : end + 4;
}

/* What holds for every denial. */
static void
check_denial(const char *what, const char *answer, int status, const char *want_body)
{
    char text[64];
    char decoded[ANSWER_BODY_SIZE] = "";
    struct buf line;
    size_t length = 0;
    const char *encoded;

    buf_init(&line, text, sizeof(text));
    buf_add_format(&line, "Status: %d ", status);
    CHECK_INT(what, 0, strncmp(answer, text, line.length)); /* the very first line */
    CHECK_STRING(what, "application/json", header(answer, "Content-Type"));
    CHECK_STRING(what, "no-store", header(answer, "Cache-Control"));
    buf_clear(&line);
    buf_add_int(&line, status);
    CHECK_STRING(what, text, header(answer, "X-Spendgate-Status"));
    encoded = header(answer, "X-Spendgate-Denial");
    CHECK_TRUE(what, encoded != NULL && base64url_decode(encoded, strlen(encoded), decoded,
                                                         sizeof(decoded) - 1, &length));
    CHECK_STRING(what, want_body, body(answer));
    CHECK_STRING(what, want_body, decoded);
    CHECK_TRUE(what, strstr(answer, "Variable-") == NULL);
    CHECK_TRUE(what, strstr(answer, "Content-Length") == NULL);
}

static void
test_simple_denials(void)
{
    static const struct {
        enum denial_code code;
        int status;
        const char *body, *challenge, *retry_after;
    } cases[] = {
        { DENIAL_MISSING_CREDENTIAL, 401,
          "{\"error\":\"missing_credential\",\"message\":\"Send a credential: Authorization: "
          "Bearer "
          "KEY.\",\"request_id\":\"" ID "\"}",
          "Bearer realm=\"spendgate\"", NULL },
        { DENIAL_INVALID_KEY, 401,
          "{\"error\":\"invalid_key\",\"message\":\"This credential is not valid here.\","
          "\"request_id\":\"" ID "\"}",
          "Bearer realm=\"spendgate\", error=\"invalid_token\"", NULL },
        { DENIAL_INVALID_PATH, 400,
          "{\"error\":\"invalid_path\",\"message\":\"The path of this request is malformed or "
          "ambiguous.\",\"request_id\":\"" ID "\"}",
          NULL, NULL },
        { DENIAL_FROZEN, 403,
          "{\"error\":\"frozen\",\"message\":\"This account is frozen.\",\"request_id\":\"" ID
          "\"}",
          NULL, NULL },
        { DENIAL_NO_PLAN, 403,
          "{\"error\":\"no_plan\",\"message\":\"No plan applies to this credential.\","
          "\"request_id\":\"" ID "\"}",
          NULL, NULL },
        { DENIAL_NO_ROUTE, 403,
          "{\"error\":\"no_route\",\"message\":\"This path is not open.\",\"request_id\":\"" ID
          "\"}",
          NULL, NULL },
        { DENIAL_UNAVAILABLE, 503,
          "{\"error\":\"auth_unavailable\",\"message\":\"This request could not be checked. Please "
          "try again.\",\"request_id\":\"" ID "\"}",
          NULL, "1" },
    };

    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        struct denial denial = { .code = cases[i].code };
        const char *answer = deny(&denial, false);

        check_denial(denial_name(cases[i].code), answer, cases[i].status, cases[i].body);
        CHECK_STRING("challenge", cases[i].challenge, header(answer, "WWW-Authenticate"));
        CHECK_STRING("retry", cases[i].retry_after, header(answer, "Retry-After"));
        CHECK_STRING("no limits", NULL, header(answer, "RateLimit"));
    }
}

static void
test_zero_is_the_failure(void)
{
    struct denial denial = { 0 };

    CHECK_INT("503", 0, strncmp(deny(&denial, false), "Status: 503 ", 12));
}

static void
test_reason_of_an_invalid_key(void)
{
    struct denial denial = { .code = DENIAL_INVALID_KEY, .reason = "revoked" };

    check_denial("revoked", deny(&denial, false), 401,
                 "{\"error\":\"invalid_key\",\"message\":\"This credential is not valid here.\","
                 "\"request_id\":\"" ID "\",\"reason\":\"revoked\"}");
    denial.reason = "";
    CHECK_TRUE("none", strstr(deny(&denial, false), "reason") == NULL);
}

static void
test_scopes_that_a_route_requires(void)
{
    struct scope_set required = { .count = 2, .names = { "proxy.chat", "proxy.read" } };
    struct denial denial = { .code = DENIAL_SCOPE, .required = &required };
    const char *answer = deny(&denial, false);

    check_denial(
        "scope", answer, 403,
        "{\"error\":\"insufficient_scope\",\"message\":\"This credential may not do that.\","
        "\"request_id\":\"" ID "\",\"required\":\"proxy.chat proxy.read\"}");
    CHECK_STRING("challenge",
                 "Bearer realm=\"spendgate\", error=\"insufficient_scope\", "
                 "scope=\"proxy.chat proxy.read\"",
                 header(answer, "WWW-Authenticate"));
}

static void
test_longest_scopes_still_fit(void)
{
    struct scope_set *required = calloc(1, sizeof(*required));
    struct denial denial = { .code = DENIAL_SCOPE, .required = required };
    const char *answer;

    required->count = SCOPES_MAX;
    for (size_t i = 0; i < SCOPES_MAX; i++)
        memset(required->names[i], 's', SCOPE_SIZE - 1);
    answer = deny(&denial, false);
    check_denial(
        "scope", answer, 403,
        "{\"error\":\"insufficient_scope\",\"message\":\"This credential may not do that.\","
        "\"request_id\":\"" ID "\"}");
    CHECK_TRUE("line", strlen(header(answer, "WWW-Authenticate")) < ANSWER_LINE_MAX - 20);
    free(required);
}

static struct verdict
over_budget(void)
{
    struct verdict verdict = { .reason = REASON_BUDGET,
                               .account = "user_1",
                               .own_account = true,
                               .period = PERIOD_DAY,
                               .limit_nanos = 300000000,
                               .spent_nanos = 280000000,
                               .held_nanos = 10000001,
                               .resets_us = NOW_US + HOUR_US + 1 };

    return verdict;
}

static void
test_budget_of_ones_own(void)
{
    struct verdict verdict = over_budget();
    struct denial denial = { .code = DENIAL_BUDGET, .verdict = &verdict };
    const char *answer = deny(&denial, false);

    check_denial("budget", answer, 429,
                 "{\"error\":\"budget_exceeded\",\"message\":\"The budget is used up.\","
                 "\"request_id\":\"" ID "\",\"account\":\"user_1\",\"period\":\"day\","
                 "\"limit_usd\":\"0.3\",\"spent_usd\":\"0.28\",\"held_usd\":\"0.010000001\","
                 "\"resets_at\":\"2026-01-01T01:00:00.000001Z\"}");
    CHECK_STRING("retry", "3601", header(answer, "Retry-After"));
    CHECK_STRING("should not", "false", header(answer, "x-should-retry"));
    CHECK_STRING("policy", "\"budget\";q=30;qu=\"usd-cents\"", header(answer, "RateLimit-Policy"));
    CHECK_STRING("limit", "\"budget\";r=0;t=3601", header(answer, "RateLimit"));
}

static void
test_budget_of_another_account_tells_no_numbers(void)
{
    struct verdict verdict = over_budget();
    struct denial denial = { .code = DENIAL_BUDGET, .verdict = &verdict };
    const char *answer;

    verdict.own_account = false;
    CHECK_TRUE("name", text_copy(verdict.account, sizeof(verdict.account), "org_secret"));
    answer = deny(&denial, false);
    check_denial("budget", answer, 429,
                 "{\"error\":\"budget_exceeded\",\"message\":\"The budget is used up.\","
                 "\"request_id\":\"" ID "\",\"account\":\"organization\",\"period\":\"day\","
                 "\"resets_at\":\"2026-01-01T01:00:00.000001Z\"}");
    CHECK_STRING("policy", NULL, header(answer, "RateLimit-Policy"));
    CHECK_STRING("limit", "\"budget\";r=0;t=3601", header(answer, "RateLimit"));
}

static void
test_budget_without_a_period_has_no_retry_after(void)
{
    struct verdict verdict = over_budget();
    struct denial denial = { .code = DENIAL_BUDGET, .verdict = &verdict };
    const char *answer;

    verdict.period = PERIOD_NONE;
    verdict.resets_us = PERIOD_NEVER_US;
    answer = deny(&denial, false);
    CHECK_STRING("retry", NULL, header(answer, "Retry-After"));
    CHECK_STRING("limit", "\"budget\";r=0", header(answer, "RateLimit"));
    CHECK_TRUE("null", strstr(body(answer), "\"resets_at\":null}") != NULL);
}

static void
test_rate_of_ones_own_and_of_others(void)
{
    struct verdict verdict = { .reason = REASON_RATE,
                               .account = "user_1",
                               .own_account = true,
                               .rate = { .count = 60, .per_us = 60 * US_PER_SECOND },
                               .rate_text = "60/1m",
                               .retry_after_us = 11500000 };
    struct denial denial = { .code = DENIAL_RATE, .verdict = &verdict };
    const char *answer = deny(&denial, false);

    check_denial(
        "rate", answer, 429,
        "{\"error\":\"rate_limited\",\"message\":\"Too many requests.\",\"request_id\":\"" ID
        "\",\"limit\":\"60/1m\"}");
    CHECK_STRING("retry", "12", header(answer, "Retry-After"));
    CHECK_STRING("policy", "\"requests\";q=60;w=60", header(answer, "RateLimit-Policy"));
    CHECK_STRING("limit", "\"requests\";r=0;t=12", header(answer, "RateLimit"));
    CHECK_STRING("should", NULL, header(answer, "x-should-retry"));
    verdict.own_account = false;
    answer = deny(&denial, false);
    CHECK_TRUE("no number", strstr(answer, "60") == NULL);
    CHECK_STRING("limit", "\"requests\";r=0;t=12", header(answer, "RateLimit"));
}

static void
test_concurrency(void)
{
    struct verdict verdict = { .reason = REASON_CONCURRENCY,
                               .account = "user_1",
                               .own_account = true,
                               .concurrency = 5,
                               .retry_after_us = 99 * US_PER_SECOND };
    struct denial denial = { .code = DENIAL_CONCURRENCY, .verdict = &verdict };
    const char *answer = deny(&denial, false);

    check_denial("concurrency", answer, 429,
                 "{\"error\":\"concurrency_exceeded\",\"message\":\"Too many requests at once.\","
                 "\"request_id\":\"" ID "\",\"limit\":5}");
    CHECK_STRING("retry", "1", header(answer, "Retry-After"));
    CHECK_STRING("policy", "\"concurrency\";q=5;qu=\"concurrent-requests\"",
                 header(answer, "RateLimit-Policy"));
}

static void
test_too_many_attempts(void)
{
    struct rate rate = { .count = 20, .per_us = 60 * US_PER_SECOND };
    struct denial denial = { .code = DENIAL_TOO_MANY, .rate = &rate, .retry_after_us = 2500000 };
    const char *answer = deny(&denial, false);

    check_denial(
        "attempts", answer, 429,
        "{\"error\":\"too_many_attempts\",\"message\":\"Too many failed attempts from this "
        "address.\",\"request_id\":\"" ID "\"}");
    CHECK_STRING("retry", "3", header(answer, "Retry-After"));
    CHECK_STRING("policy", "\"attempts\";q=20;w=60", header(answer, "RateLimit-Policy"));
}

static void
test_expired_account(void)
{
    struct verdict verdict = { .reason = REASON_EXPIRED, .expired_us = NOW_US - HOUR_US };
    struct denial denial = { .code = DENIAL_EXPIRED, .verdict = &verdict };

    check_denial(
        "expired", deny(&denial, false), 401,
        "{\"error\":\"expired\",\"message\":\"This account has expired.\",\"request_id\":\"" ID
        "\",\"expired_at\":\"2025-12-31T23:00:00Z\"}");
}

static void
test_compat_answers_as_agentkey_does(void)
{
    struct scope_set required = { .count = 1, .names = { "proxy.chat" } };
    struct verdict verdict = over_budget();
    const struct {
        struct denial denial;
        int status;
        const char *body;
    } cases[] = {
        { { .code = DENIAL_MISSING_CREDENTIAL }, 401, "{\"error\":\"Missing API key\"}" },
        { { .code = DENIAL_INVALID_KEY, .reason = "revoked" }, 401, "{\"error\":\"invalid_key\"}" },
        { { .code = DENIAL_UNAVAILABLE }, 500, "{\"error\":\"auth_unavailable\"}" },
        { { .code = DENIAL_BUDGET, .verdict = &verdict }, 429, "{\"error\":\"budget_exceeded\"}" },
        { { .code = DENIAL_SCOPE, .required = &required },
          403,
          "{\"error\":\"insufficient_scope\",\"required\":\"proxy.chat\"}" },
    };

    for (size_t i = 0; i < CHECK_COUNT(cases); i++)
        check_denial(cases[i].body, deny(&cases[i].denial, true), cases[i].status, cases[i].body);
}

static void
test_compat_answers_as_openai_does(void)
{
    struct scope_set required = { .count = 1, .names = { "proxy.chat" } };
    struct verdict verdict = over_budget();
    const struct {
        struct denial denial;
        int status;
        const char *begin, *end;
    } cases[] = {
        { { .code = DENIAL_INVALID_KEY },
          401,
          "This credential is not valid here.\",\"type\":\"invalid_request_error\",\"param\":null,"
          "\"code\":\"invalid_api_key\",\"spendgate_error\":\"invalid_key\"",
          "" },
        { { .code = DENIAL_BUDGET, .verdict = &verdict },
          429,
          "The budget is used up.\",\"type\":\"insufficient_quota\",\"param\":null,"
          "\"code\":\"insufficient_quota\",\"spendgate_error\":\"budget_exceeded\"",
          ",\"account\":\"" },
        { { .code = DENIAL_RATE },
          429,
          "Too many requests.\",\"type\":\"requests\",\"param\":null,\"code\":"
          "\"rate_limit_exceeded\",\"spendgate_error\":\"rate_limited\"",
          "" },
        { { .code = DENIAL_SCOPE, .required = &required },
          403,
          "This credential may not do that.\",\"type\":\"invalid_request_error\",\"param\":null,"
          "\"code\":\"insufficient_scope\",\"spendgate_error\":\"insufficient_scope\"",
          ",\"required\":\"proxy.chat\"" },
        { { .code = DENIAL_UNAVAILABLE },
          503,
          "This request could not be checked. Please try again.\",\"type\":\"server_error\","
          "\"param\":null,\"code\":\"auth_unavailable\",\"spendgate_error\":"
          "\"auth_unavailable\"",
          "" },
    };

    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        char want[ANSWER_BODY_SIZE], got[ANSWER_BODY_SIZE];
        struct json *object = NULL;
        struct buf text;

        buf_init(&text, want, sizeof(want));
        buf_add_format(&text, "{\"error\":{\"message\":\"%s,\"request_id\":\"" ID "\"%s",
                       cases[i].begin, cases[i].end);
        CHECK_TRUE("body",
                   text_copy(got, sizeof(got), body(deny(&cases[i].denial, COMPAT_OPENAI))));
        CHECK_INT("status", cases[i].status, denial_status(cases[i].denial.code, COMPAT_OPENAI));
        CHECK_INT("JSON", STATUS_OK, json_parse(got, strlen(got), &object, NULL));
        json_free(object);
        got[strlen(want)] = '\0';
        CHECK_STRING("begin", want, got);
    }
}

/* ---- allow --------------------------------------------------------------------------------------
 */

struct allow_fixture {
    struct identity identity;
    struct plan plan;
    struct route route;
    struct verdict verdict;
    struct allow allow;
};

static void
set_up_allow(struct allow_fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->identity = (struct identity){ .kind = CREDENTIAL_API_KEY,
                                     .subject = "user_1",
                                     .key_id = "ak_1",
                                     .organization = "org_1",
                                     .claims_length = 9,
                                     .claims = "TIER\0pro" };
    CHECK_TRUE("plan", text_copy(f->plan.name, sizeof(f->plan.name), "pro"));
    f->plan.scopes = (struct scope_set){ .count = 2, .names = { "proxy.chat", "proxy.read" } };
    CHECK_TRUE("route", text_copy(f->route.prefix, sizeof(f->route.prefix), "/api/"));
    f->verdict = (struct verdict){ .allow = true,
                                   .has_budget = true,
                                   .limit_nanos = 5000000000,
                                   .remaining_nanos = 4950000000,
                                   .resets_us = NOW_US + HOUR_US,
                                   .hold_placed = true,
                                   .hold = { .id = 7, .nonce = 0xabc, .amount_nanos = 50000000 },
                                   .warn = "user_1 month" };
    f->allow = (struct allow){ &f->identity, &f->plan, &f->route, &f->verdict, ID };
}

static void
test_allow_is_variables_and_nothing_else(void)
{
    struct allow_fixture f;

    set_up_allow(&f);
    CHECK_TRUE("fits", answer_allow(&f.allow, &out));
    CHECK_STRING("answer",
                 "Status: 200\r\n"
                 "Variable-REMOTE_USER: user_1\r\n"
                 "Variable-SPENDGATE_SUBJECT: user_1\r\n"
                 "Variable-SPENDGATE_KEY_ID: ak_1\r\n"
                 "Variable-SPENDGATE_KIND: api_key\r\n"
                 "Variable-SPENDGATE_ORG: org_1\r\n"
                 "Variable-SPENDGATE_PLAN: pro\r\n"
                 "Variable-SPENDGATE_SCOPES: proxy.chat proxy.read\r\n"
                 "Variable-SPENDGATE_ROUTE: /api/\r\n"
                 "Variable-SPENDGATE_HOLD_ID: hld_000000000007000000000abc\r\n"
                 "Variable-SPENDGATE_HOLD_USD: 0.05\r\n"
                 "Variable-SPENDGATE_LIMIT_USD: 5\r\n"
                 "Variable-SPENDGATE_REMAINING_USD: 4.95\r\n"
                 "Variable-SPENDGATE_RESET: 1767229200\r\n"
                 "Variable-SPENDGATE_WARN: user_1 month\r\n"
                 "Variable-SPENDGATE_REQUEST_ID: " ID "\r\n"
                 "Variable-SPENDGATE_CLAIM_TIER: pro\r\n"
                 "\r\n",
                 buf_text(&out));
}

static void
test_allow_without_hold_budget_and_route(void)
{
    struct allow_fixture f;

    set_up_allow(&f);
    f.verdict = (struct verdict){ .allow = true };
    f.allow.route = NULL;
    f.identity.organization[0] = '\0';
    f.identity.claims_length = 0;
    CHECK_TRUE("fits", answer_allow(&f.allow, &out));
    CHECK_STRING("organization", "", header(buf_text(&out), "Variable-SPENDGATE_ORG"));
    CHECK_STRING("route", "", header(buf_text(&out), "Variable-SPENDGATE_ROUTE"));
    CHECK_STRING("hold", "", header(buf_text(&out), "Variable-SPENDGATE_HOLD_ID"));
    CHECK_STRING("amount", "0", header(buf_text(&out), "Variable-SPENDGATE_HOLD_USD"));
    CHECK_STRING("limit", "", header(buf_text(&out), "Variable-SPENDGATE_LIMIT_USD"));
    CHECK_STRING("remaining", "", header(buf_text(&out), "Variable-SPENDGATE_REMAINING_USD"));
    CHECK_STRING("reset", "", header(buf_text(&out), "Variable-SPENDGATE_RESET"));
    CHECK_STRING("body", "", body(buf_text(&out)));
}

static void
test_budget_that_never_resets_has_no_reset(void)
{
    struct allow_fixture f;

    set_up_allow(&f);
    f.verdict.resets_us = PERIOD_NEVER_US;
    CHECK_TRUE("fits", answer_allow(&f.allow, &out));
    CHECK_STRING("reset", "", header(buf_text(&out), "Variable-SPENDGATE_RESET"));
}

static void
test_value_that_would_end_its_line_is_no_allow(void)
{
    struct allow_fixture f;

    set_up_allow(&f);
    f.verdict.warn[3] = '\n';
    CHECK_FALSE("refused", answer_allow(&f.allow, &out));
}

static void
test_bare_allow(void)
{
    answer_allow_bare(&out);
    CHECK_STRING("answer", "Status: 200\r\n\r\n", buf_text(&out));
}

static void
test_largest_allow_fits(void)
{
    struct allow_fixture f;

    set_up_allow(&f);
    memset(f.identity.claims, 'c', IDENTITY_CLAIMS_SIZE);
    for (size_t i = 63; i < IDENTITY_CLAIMS_SIZE; i += 64)
        f.identity.claims[i] = '\0';
    f.identity.claims_length = IDENTITY_CLAIMS_SIZE;
    f.plan.scopes.count = SCOPES_MAX;
    for (size_t i = 0; i < SCOPES_MAX; i++) {
        memset(f.plan.scopes.names[i], 's', SCOPE_SIZE - 1);
        f.plan.scopes.names[i][SCOPE_SIZE - 1] = '\0';
    }
    CHECK_TRUE("fits", answer_allow(&f.allow, &out));
}

/* ---- again --------------------------------------------------------------------------------------
 */

static const char *
again(const char *text, const char *query, enum compat compat)
{
    const struct denial_call call = { .text = text, .query = query };

    answer_denial_again(&call, ID, compat, &out);
    return buf_text(&out);
}

static void
test_denial_comes_back_as_it_was(void)
{
    struct verdict verdict = over_budget();
    struct denial denials[] = {
        { .code = DENIAL_BUDGET, .verdict = &verdict },
        { .code = DENIAL_MISSING_CREDENTIAL },
        { .code = DENIAL_FROZEN },
        { .code = DENIAL_INVALID_PATH },
        { .code = DENIAL_UNAVAILABLE },
    };

    for (size_t i = 0; i < CHECK_COUNT(denials); i++) {
        for (enum compat compat = COMPAT_NONE; compat <= COMPAT_OPENAI; compat++) {
            char want[ANSWER_BODY_SIZE];
            char encoded[8192];

            CHECK_TRUE("body", text_copy(want, sizeof(want), body(deny(&denials[i], compat))));
            CHECK_TRUE("header", text_copy(encoded, sizeof(encoded),
                                           header(buf_text(&out), "X-Spendgate-Denial")));
            check_denial(want, again(encoded, "status=401", compat),
                         denial_status(denials[i].code, compat), want);
        }
    }
}

/* Under Apache the other headers of the denial are still there, and would be doubled. */
static void
test_error_page_is_the_denial_without_its_headers(void)
{
    const char *const statuses[] = { "401", "500" };
    struct verdict verdict = over_budget();
    struct denial denial = { .code = DENIAL_BUDGET, .verdict = &verdict };
    char want[ANSWER_BODY_SIZE];
    char encoded[8192];
    char query[8192 + 32];

    CHECK_TRUE("body", text_copy(want, sizeof(want), body(deny(&denial, false))));
    CHECK_TRUE("header",
               text_copy(encoded, sizeof(encoded), header(buf_text(&out), "X-Spendgate-Denial")));
    snprintf(query, sizeof(query), "status=401&denial=%s", encoded);
    for (size_t i = 0; i < CHECK_COUNT(statuses); i++) {
        struct denial_call call = { .query = query, .redirect = statuses[i] };
        char answer[ANSWER_SIZE];

        snprintf(answer, sizeof(answer),
                 "Status: 429 Too Many Requests\r\nContent-Type: application/json\r\n\r\n%s", want);
        answer_denial_again(&call, ID, false, &out);
        CHECK_STRING("by the query", answer, buf_text(&out));
        call = (struct denial_call){ .text = encoded, .redirect = statuses[i] };
        answer_denial_again(&call, ID, false, &out);
        CHECK_STRING("by the parameter", answer, buf_text(&out));
        call = (struct denial_call){ .query = "status=503", .redirect = statuses[i] };
        answer_denial_again(&call, ID, false, &out);
        CHECK_STRING("nothing was there", "1", header(buf_text(&out), "Retry-After"));
    }
    check_denial("no error page", again(NULL, query, false), 429, want);
    CHECK_INT("a denial that is none of ours", 0,
              strncmp(again(NULL, "denial=AAAA&status=401", false), "Status: 503 ", 12));
    memset(query, 'A', sizeof(query) - 1);
    memcpy(query, "denial=", 7);
    query[sizeof(query) - 1] = '\0';
    CHECK_INT("one that is too long", 0, strncmp(again(NULL, query, false), "Status: 503 ", 12));
}

static void
test_body_has_nothing_that_base64_and_base64url_write_differently(void)
{
    struct scope_set required = { .count = 3, .names = { "~a", "b?>", "\"<c~" } };
    struct denial denial = { .code = DENIAL_SCOPE, .required = &required };
    const char *answer = deny(&denial, false);

    check_denial("scopes", answer, 403,
                 "{\"error\":\"insufficient_scope\",\"message\":\"This credential may not do "
                 "that.\",\"request_id\":\"" ID
                 "\",\"required\":\"\\u007ea b\\u003f\\u003e \\\"<c\\u007e\"}");
    for (int code = 0; code < DENIAL_CODES; code++) {
        denial = (struct denial){ .code = (enum denial_code)code, .required = &required };
        for (enum compat compat = COMPAT_NONE; compat <= COMPAT_OPENAI; compat++)
            CHECK_STRING(denial_name(denial.code), NULL,
                         strpbrk(header(deny(&denial, compat), "X-Spendgate-Denial"), "-_"));
    }
}

static void
test_status_of_the_query(void)
{
    CHECK_INT("429", 0, strncmp(again(NULL, "status=429", false), "Status: 429 ", 12));
    CHECK_TRUE("body", strstr(body(buf_text(&out)), "{\"error\":\"limit_reached\",") != NULL);
    CHECK_INT("401", 0, strncmp(again(NULL, "a=b&status=401&c", false), "Status: 401 ", 12));
    CHECK_STRING("challenge", "Bearer realm=\"spendgate\"",
                 header(buf_text(&out), "WWW-Authenticate"));
    CHECK_INT("403", 0, strncmp(again(NULL, "status=403", false), "Status: 403 ", 12));
    CHECK_INT("400", 0, strncmp(again(NULL, "status=400", false), "Status: 400 ", 12));
    CHECK_INT("503", 0, strncmp(again(NULL, "status=503", false), "Status: 503 ", 12));
    CHECK_STRING("retry", "1", header(buf_text(&out), "Retry-After"));
}

static void
test_anything_unusable_is_503(void)
{
    static const char *const queries[] = {
        NULL,        "",           "status=",     "status=200", "status=302",
        "status=99", "status=999", "status=4290", "status=4x9", "xstatus=429",
        "status=500"
    };
    static const char *const texts[] = {
        "",
        "!",
        "e30",
        "W10",
        "eyJlcnJvciI6Im5vbmUifQ", /* {"error":"none"} */
        "e30=",
        "AAAA",
        "eyJlcnJvciI6MX0" /* {"error":1} */
    };

    for (size_t i = 0; i < CHECK_COUNT(queries); i++)
        CHECK_INT(queries[i] != NULL ? queries[i] : "NULL", 0,
                  strncmp(again(NULL, queries[i], false), "Status: 503 ", 12));
    for (size_t i = 0; i < CHECK_COUNT(texts); i++)
        CHECK_INT(texts[i], 0, strncmp(again(texts[i], "status=429", false), "Status: 503 ", 12));
    CHECK_INT("compat", 0, strncmp(again(NULL, NULL, true), "Status: 500 ", 12));
    CHECK_STRING("by status alone",
                 "{\"error\":{\"message\":\"The budget is used up, or requests come too fast.\","
                 "\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"limit_reached\","
                 "\"request_id\":\"" ID "\"}}",
                 body(again(NULL, "status=429", COMPAT_OPENAI)));
}

static void
test_denial_text_of_any_length_is_survived(void)
{
    size_t size = 100000;
    char *text = malloc(size);

    memset(text, 'A', size - 1);
    text[size - 1] = '\0';
    CHECK_INT("503", 0, strncmp(again(text, NULL, false), "Status: 503 ", 12));
    free(text);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_simple_denials),
        CHECK_TEST(test_zero_is_the_failure),
        CHECK_TEST(test_reason_of_an_invalid_key),
        CHECK_TEST(test_scopes_that_a_route_requires),
        CHECK_TEST(test_longest_scopes_still_fit),
        CHECK_TEST(test_budget_of_ones_own),
        CHECK_TEST(test_budget_of_another_account_tells_no_numbers),
        CHECK_TEST(test_budget_without_a_period_has_no_retry_after),
        CHECK_TEST(test_rate_of_ones_own_and_of_others),
        CHECK_TEST(test_concurrency),
        CHECK_TEST(test_too_many_attempts),
        CHECK_TEST(test_expired_account),
        CHECK_TEST(test_compat_answers_as_agentkey_does),
        CHECK_TEST(test_compat_answers_as_openai_does),
        CHECK_TEST(test_allow_is_variables_and_nothing_else),
        CHECK_TEST(test_allow_without_hold_budget_and_route),
        CHECK_TEST(test_budget_that_never_resets_has_no_reset),
        CHECK_TEST(test_value_that_would_end_its_line_is_no_allow),
        CHECK_TEST(test_bare_allow),
        CHECK_TEST(test_largest_allow_fits),
        CHECK_TEST(test_denial_comes_back_as_it_was),
        CHECK_TEST(test_error_page_is_the_denial_without_its_headers),
        CHECK_TEST(test_body_has_nothing_that_base64_and_base64url_write_differently),
        CHECK_TEST(test_status_of_the_query),
        CHECK_TEST(test_anything_unusable_is_503),
        CHECK_TEST(test_denial_text_of_any_length_is_survived),
    };

    return check_main("answer", tests, CHECK_COUNT(tests));
}
