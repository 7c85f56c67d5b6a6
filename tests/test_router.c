/* SPDX-License-Identifier: MIT */
/* The path and type of a request, and how an answer is put together. */
#include "tracker/router.h"

#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

static const char *
path_of(const char *path_info, const char *request_uri, const char *prefix)
{
    static char out[64];

    return router_path(path_info, request_uri, prefix, out, sizeof(out)) ? out : NULL;
}

static void
test_path_info_wins(void)
{
    CHECK_STRING("both", "/v1/spend", path_of("/v1/spend", "/track/other", "/track"));
    CHECK_STRING("alone", "/v1/spend", path_of("/v1/spend", NULL, NULL));
    CHECK_STRING("without slash", NULL, path_of("v1/spend", "/track/v1/spend", "/track"));
}

static void
test_request_uri_is_read_below_the_prefix(void)
{
    CHECK_STRING("prefix", "/v1/spend", path_of(NULL, "/track/v1/spend", "/track"));
    CHECK_STRING("final slash", "/v1/spend", path_of(NULL, "/track/v1/spend", "/track/"));
    CHECK_STRING("empty path info", "/v1/spend", path_of("", "/track/v1/spend", "/track"));
    CHECK_STRING("no prefix", "/v1/spend", path_of(NULL, "/v1/spend", NULL));
    CHECK_STRING("root prefix", "/v1/spend", path_of(NULL, "/v1/spend", "/"));
    CHECK_STRING("query", "/v1/charges", path_of(NULL, "/t/v1/charges?a=/b", "/t"));
    CHECK_STRING("fragment", "/v1/charges", path_of(NULL, "/t/v1/charges#x", "/t"));
    CHECK_STRING("still encoded", "/a%2Fb", path_of(NULL, "/t/a%2Fb", "/t"));
}

static void
test_absolute_form_is_reduced_to_its_path(void)
{
    CHECK_STRING("http", "/v1/spend", path_of(NULL, "http://host:80/t/v1/spend?x", "/t"));
    CHECK_STRING("no path", NULL, path_of(NULL, "http://host", "/t"));
    CHECK_STRING("query without path", NULL, path_of(NULL, "http://host?/t/x", "/t"));
    CHECK_STRING("asterisk", NULL, path_of(NULL, "*", NULL));
}

static void
test_paths_elsewhere_have_no_call(void)
{
    CHECK_STRING("another prefix", NULL, path_of(NULL, "/other/v1/spend", "/track"));
    CHECK_STRING("half a segment", NULL, path_of(NULL, "/tracker/v1/spend", "/track"));
    CHECK_STRING("the mount point", NULL, path_of(NULL, "/track", "/track"));
    CHECK_STRING("nothing", NULL, path_of(NULL, NULL, "/track"));
    CHECK_STRING(
        "too long", NULL,
        path_of("/0123456789012345678901234567890123456789012345678901234567890123", NULL, NULL));
}

static void
test_body_type_ignores_case_and_parameters(void)
{
    CHECK_INT("json", BODY_JSON, router_body_type("application/json"));
    CHECK_INT("charset", BODY_JSON, router_body_type("Application/JSON; charset=utf-8"));
    CHECK_INT("space", BODY_JSON, router_body_type(" application/json ;charset=utf-8"));
    CHECK_INT("form", BODY_FORM, router_body_type("application/x-www-form-urlencoded;charset=x"));
    CHECK_INT("ndjson", BODY_NDJSON, router_body_type("application/x-ndjson"));
    CHECK_INT("ndjson, registered", BODY_NDJSON, router_body_type("application/ndjson"));
    CHECK_INT("jsonl", BODY_NDJSON, router_body_type("application/jsonl; charset=utf-8"));
}

static void
test_other_body_types_are_told_apart(void)
{
    CHECK_INT("none", BODY_OTHER, router_body_type(NULL));
    CHECK_INT("empty", BODY_OTHER, router_body_type(""));
    CHECK_INT("text", BODY_OTHER, router_body_type("text/plain"));
    CHECK_INT("longer", BODY_OTHER, router_body_type("application/json5"));
    CHECK_INT("shorter", BODY_OTHER, router_body_type("application/jso"));
    CHECK_INT("list", BODY_OTHER, router_body_type("application/json, text/plain"));
}

/* ---- answers -------------------------------------------------------------------------------- */

static void
test_answer_grows_and_starts_again(void)
{
    struct answer answer = { .http_status = 0 };
    char piece[1000];

    memset(piece, 'x', sizeof(piece));
    for (int i = 0; i < 2000; i++)
        answer_add(&answer, piece, sizeof(piece));
    CHECK_FALSE("failed", answer.failed);
    CHECK_INT("length", 2000000, answer.length);
    CHECK_INT("first", 'x', answer.body[0]);
    CHECK_INT("last", 'x', answer.body[1999999]);
    answer.http_status = 200;
    answer_reset(&answer);
    CHECK_INT("status", 0, answer.http_status);
    CHECK_INT("length", 0, answer.length);
    CHECK_INT("large storage is given back", 0, answer.size);
    answer_add_text(&answer, "ab");
    answer_reset(&answer);
    CHECK_TRUE("small storage is kept", answer.size > 0);
    answer_clear(&answer);
    CHECK_TRUE("cleared", answer.body == NULL);
}

static void
test_answer_ends_at_its_maximum(void)
{
    struct answer answer = { .http_status = 0 };
    char *piece = calloc(1, ANSWER_BODY_MAX / 4);

    if (piece == NULL)
        abort();
    for (int i = 0; i < 4; i++)
        answer_add(&answer, piece, ANSWER_BODY_MAX / 4);
    CHECK_FALSE("full", answer.failed);
    answer_add(&answer, piece, 1);
    CHECK_TRUE("one byte more", answer.failed);
    answer_clear(&answer);
    free(piece);
}

static void
test_answer_fails_with_the_buffer_it_is_given(void)
{
    struct answer answer = { .http_status = 0 };
    char storage[4];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    buf_add(&text, "abc");
    answer_add_buf(&answer, &text);
    CHECK_FALSE("fits", answer.failed);
    buf_add(&text, "d");
    answer_add_buf(&answer, &text);
    CHECK_TRUE("did not fit", answer.failed);
    answer_clear(&answer);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void
test_first_refusal_stays(void)
{
    struct refusal refusal = { .http_status = 0 };

    CHECK_FALSE("none", refused(&refusal));
    refusal_set(&refusal, 400, "invalid_field", "%s: %d", "limit", 5);
    refusal_set(&refusal, 404, "not_found", "later");
    CHECK_TRUE("refused", refused(&refusal));
    CHECK_INT("status", 400, refusal.http_status);
    CHECK_STRING("code", "invalid_field", refusal.code);
    CHECK_STRING("message", "limit: 5", refusal.message);
}

static const char *
refusal_text(const struct refusal *refusal, bool item)
{
    static char storage[REFUSAL_ITEM_SIZE];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    refusal_write(&text, refusal, "id", item);
    CHECK_FALSE("fits", buf_failed(&text));
    return buf_text(&text);
}

static void
test_refusal_has_error_message_and_request_id(void)
{
    struct refusal refusal = { .http_status = 0 };

    refusal_set(&refusal, 404, "unknown_hold", "No \"such\" hold.");
    CHECK_STRING("alone",
                 "{\"error\":\"unknown_hold\",\"message\":\"No \\\"such\\\" hold.\","
                 "\"request_id\":\"id\"}",
                 refusal_text(&refusal, false));
    CHECK_STRING("in a batch",
                 "{\"status\":404,\"error\":\"unknown_hold\",\"message\":\"No \\\"such\\\" hold.\","
                 "\"request_id\":\"id\"}",
                 refusal_text(&refusal, true));
}

static void
test_refusal_of_the_ledger_has_its_numbers(void)
{
    struct verdict verdict = {
        .reason = REASON_BUDGET,
        .account = "user_1",
        .period = PERIOD_NONE,
        .limit_nanos = 1000000000,
        .spent_nanos = 500000000,
        .held_nanos = 250000000,
        .resets_us = PERIOD_NEVER_US,
    };
    struct refusal refusal = { .verdict = &verdict };

    refusal_set(&refusal, 429, "x", "y");
    CHECK_STRING("budget",
                 "{\"error\":\"x\",\"message\":\"y\",\"request_id\":\"id\",\"account\":\"user_1\","
                 "\"period\":\"none\",\"limit_usd\":\"1\",\"spent_usd\":\"0.5\","
                 "\"held_usd\":\"0.25\",\"resets_at\":null}",
                 refusal_text(&refusal, false));
    verdict.reason = REASON_CONCURRENCY;
    verdict.concurrency = 5;
    CHECK_STRING("concurrency",
                 "{\"error\":\"x\",\"message\":\"y\",\"request_id\":\"id\",\"limit\":5}",
                 refusal_text(&refusal, false));
    verdict.reason = REASON_RATE;
    CHECK_TRUE("text", text_copy(verdict.rate_text, sizeof(verdict.rate_text), "60/1m"));
    CHECK_STRING("rate",
                 "{\"error\":\"x\",\"message\":\"y\",\"request_id\":\"id\",\"limit\":\"60/1m\"}",
                 refusal_text(&refusal, false));
    verdict.reason = REASON_REVOKED;
    CHECK_STRING("revoked",
                 "{\"error\":\"x\",\"message\":\"y\",\"request_id\":\"id\",\"reason\":\"revoked\"}",
                 refusal_text(&refusal, false));
    verdict.reason = REASON_EXPIRED;
    verdict.expired_us = INT64_C(1795241525000000);
    CHECK_STRING("expired",
                 "{\"error\":\"x\",\"message\":\"y\",\"request_id\":\"id\","
                 "\"expired_at\":\"2026-11-21T06:12:05Z\"}",
                 refusal_text(&refusal, false));
    verdict.reason = REASON_FROZEN;
    CHECK_STRING("frozen", "{\"error\":\"x\",\"message\":\"y\",\"request_id\":\"id\"}",
                 refusal_text(&refusal, false));
}

static void
test_refusing_replaces_what_was_answered(void)
{
    struct answer answer = { .http_status = 200, .replayed = true };
    struct refusal refusal = { .retry_after_s = 7 };

    answer_add_text(&answer, "{\"results\":[");
    answer.failed = true;
    refusal_set(&refusal, 503, "store_unavailable", "m");
    answer_refuse(&answer, &refusal, "id");
    CHECK_INT("status", 503, answer.http_status);
    CHECK_INT("retry", 7, answer.retry_after_s);
    CHECK_FALSE("replayed", answer.replayed);
    CHECK_FALSE("failed", answer.failed);
    answer_add(&answer, "", 1);
    CHECK_STRING("body",
                 "{\"error\":\"store_unavailable\",\"message\":\"m\",\"request_id\":\"id\"}",
                 answer.body);
    answer_clear(&answer);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_path_info_wins),
        CHECK_TEST(test_request_uri_is_read_below_the_prefix),
        CHECK_TEST(test_absolute_form_is_reduced_to_its_path),
        CHECK_TEST(test_paths_elsewhere_have_no_call),
        CHECK_TEST(test_body_type_ignores_case_and_parameters),
        CHECK_TEST(test_other_body_types_are_told_apart),
        CHECK_TEST(test_answer_grows_and_starts_again),
        CHECK_TEST(test_answer_ends_at_its_maximum),
        CHECK_TEST(test_answer_fails_with_the_buffer_it_is_given),
        CHECK_TEST(test_first_refusal_stays),
        CHECK_TEST(test_refusal_has_error_message_and_request_id),
        CHECK_TEST(test_refusal_of_the_ledger_has_its_numbers),
        CHECK_TEST(test_refusing_replaces_what_was_answered),
    };

    return check_main("router", tests, CHECK_COUNT(tests));
}
