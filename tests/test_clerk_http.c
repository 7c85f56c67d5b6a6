/* SPDX-License-Identifier: MIT */
/* Calls to Clerk against a server that answers by a script, wrongly for the most part. */
#include "common/clerk_http.h"

#include "tests/check.h"
#include "tests/scratch.h"
#include "tests/scripted_server.h"

#include "common/banned.h"

#define SECRET_KEY "sk_test_OurOwnSecretKey"
#define CREDENTIAL "ak_TheCallersCredential"
#define BODY "{\"secret\":\"" CREDENTIAL "\"}"
#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
#define EMPTY "Content-Length: 0\r\n\r\n"

struct fixture {
    struct scratch scratch;
    struct scripted_server server;
    struct clock clock;
    struct secret key;
    struct clerk_http *http;
    struct clerk_answer answer;
    struct error err;
    int64_t took_ms;
};

static void
open_http(struct fixture *f, const char *url)
{
    struct clerk_http_options options = {
        .api_url = url, .secret_key = &f->key, .connect_timeout_us = 300000, .clock = f->clock
    };

    CHECK_STATUS(STATUS_OK, clerk_http_open(&options, &f->http, &f->err), &f->err);
}

static void
set_up(struct fixture *f, const struct scripted_answer *script, size_t count)
{
    memset(f, 0, sizeof(*f));
    f->clock = clock_system();
    scratch_open(&f->scratch);
    CHECK_STATUS(STATUS_OK, secret_set(&f->key, SECRET_KEY, strlen(SECRET_KEY), &f->err), &f->err);
    scripted_server_start(&f->server, script, count);
    open_http(f, f->server.url);
}

static void
tear_down(struct fixture *f)
{
    /* Whatever happened: nothing that names a secret. */
    CHECK_TRUE("no credential", strstr(f->err.message, CREDENTIAL) == NULL);
    CHECK_TRUE("no key", strstr(f->err.message, SECRET_KEY) == NULL);
    clerk_http_close(f->http);
    scripted_server_stop(&f->server);
    scratch_close(&f->scratch);
}

static enum status
call(struct fixture *f, int64_t timeout_ms)
{
    int64_t started_us = clock_boot_us(&f->clock);
    struct clerk_call request = { .path = "/v1/api_keys/verify",
                                  .body = BODY,
                                  .body_length = strlen(BODY),
                                  .deadline_us = started_us + timeout_ms * 1000 };
    enum status status;

    f->err.message[0] = '\0';
    status = clerk_http_call(f->http, &request, &f->answer, &f->err);
    f->took_ms = (clock_boot_us(&f->clock) - started_us) / 1000;
    return status;
}

static void
check_unavailable(const struct scripted_answer *script, size_t count, int64_t timeout_ms,
                  int requests, const char *message)
{
    struct fixture f;

    set_up(&f, script, count);
    CHECK_STATUS(STATUS_UNAVAILABLE, call(&f, timeout_ms), &f.err);
    CHECK_INT(message, CLERK_UNAVAILABLE, f.answer.outcome);
    CHECK_STRING("message", message, f.err.message);
    CHECK_INT(message, requests, f.server.shared->requests);
    CHECK_TRUE("inside the deadline", f.took_ms < timeout_ms + 500);
    tear_down(&f);
}

static void
check_one(const char *bytes, enum scripted_end end, int64_t timeout_ms, int requests,
          const char *message)
{
    const struct scripted_answer script[] = { { bytes, 0, end, 0 } };

    check_unavailable(script, 1, timeout_ms, requests, message);
}

static void
check_last_has(struct fixture *f, const char *want)
{
    char last[SCRIPTED_REQUEST_SIZE];

    for (size_t i = 0; i < sizeof(last); i++)
        last[i] = f->server.shared->last[i];
    if (!CHECK_TRUE(want, strstr(last, want) != NULL))
        printf("%s\n", last);
}

static void
test_request_is_what_clerk_expects(void)
{
    const struct scripted_answer script[] = { { OK_ANSWER, 0, SCRIPTED_KEEP, 0 } };
    char last[SCRIPTED_REQUEST_SIZE];
    struct fixture f;

    set_up(&f, script, 1);
    CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    check_last_has(&f, "POST /v1/api_keys/verify HTTP/1.1\r\n");
    check_last_has(&f, "\r\nAuthorization: Bearer " SECRET_KEY "\r\n");
    check_last_has(&f, "\r\nContent-Type: application/json\r\n");
    check_last_has(&f, "\r\nClerk-API-Version: 2026-05-12\r\n");
    check_last_has(&f, "\r\nUser-Agent: spendgate\r\n");
    check_last_has(&f, "\r\n\r\n" BODY);
    for (size_t i = 0; i < sizeof(last); i++)
        last[i] = f.server.shared->last[i];
    CHECK_TRUE("no Expect", strcasestr(last, "expect:") == NULL);
    tear_down(&f);
}

static void
test_answer_is_handed_on(void)
{
    char bytes[512];
    struct scripted_answer script[] = { { NULL, 0, SCRIPTED_KEEP, 0 } };
    struct fixture f;

    script[0].bytes = scripted_json(bytes, sizeof(bytes), "200 OK", "", "{\"a\":1}");
    set_up(&f, script, 1);
    CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    CHECK_INT("outcome", CLERK_ANSWERED, f.answer.outcome);
    CHECK_INT("status", 200, f.answer.http_status);
    CHECK_TRUE("json", f.answer.json);
    CHECK_STRING("body", "{\"a\":1}", f.answer.body);
    CHECK_INT("length", 7, f.answer.body_length);
    tear_down(&f);
}

static void
test_connection_is_kept(void)
{
    const struct scripted_answer script[] = { { OK_ANSWER, 0, SCRIPTED_KEEP, 0 } };
    struct fixture f;

    set_up(&f, script, 1);
    for (int i = 0; i < 10; i++)
        CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    CHECK_INT("requests", 10, f.server.shared->requests);
    CHECK_INT("connections", 1, f.server.shared->connections);
    tear_down(&f);
}

static void
test_get_after_post_has_no_body(void)
{
    const struct scripted_answer script[] = { { OK_ANSWER, 0, SCRIPTED_KEEP, 0 } };
    struct clerk_call get = { .path = "/v1/jwks" };
    struct fixture f;

    set_up(&f, script, 1);
    CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    get.deadline_us = clock_boot_us(&f.clock) + US_PER_SECOND;
    CHECK_STATUS(STATUS_OK, clerk_http_call(f.http, &get, &f.answer, &f.err), &f.err);
    check_last_has(&f, "GET /v1/jwks HTTP/1.1\r\n");
    CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    check_last_has(&f, "\r\n\r\n" BODY);
    tear_down(&f);
}

static void
test_not_found_and_bad_request_are_answers(void)
{
    const struct scripted_answer script[] = {
        { "HTTP/1.1 404 Not Found\r\nContent-Type: application/json; charset=utf-8\r\n"
          "Content-Length: 2\r\n\r\n{}",
          0, SCRIPTED_KEEP, 0 },
        { "HTTP/1.1 400 Bad Request\r\n" EMPTY, 0, SCRIPTED_KEEP, 0 },
    };
    struct fixture f;

    set_up(&f, script, 2);
    CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    CHECK_INT("status", 404, f.answer.http_status);
    CHECK_TRUE("json", f.answer.json);
    CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    CHECK_INT("status", 400, f.answer.http_status);
    CHECK_FALSE("json", f.answer.json);
    CHECK_STRING("body", "", f.answer.body);
    tear_down(&f);
}

static void
test_content_type_is_told(void)
{
    const struct scripted_answer script[] = {
        { "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", 0,
          SCRIPTED_KEEP, 0 },
        { "HTTP/1.1 200 OK\r\nContent-Type: application/jsonp\r\nContent-Length: 2\r\n\r\n{}", 0,
          SCRIPTED_KEEP, 0 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 0, SCRIPTED_KEEP, 0 },
    };
    struct fixture f;

    set_up(&f, script, 3);
    for (int i = 0; i < 3; i++) {
        CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
        CHECK_FALSE("json", f.answer.json);
    }
    tear_down(&f);
}

static void
check_key_refused(const char *bytes, const char *message)
{
    const struct scripted_answer script[] = { { bytes, 0, SCRIPTED_KEEP, 0 } };
    struct fixture f;

    set_up(&f, script, 1);
    CHECK_STATUS(STATUS_UNAVAILABLE, call(&f, 1000), &f.err);
    CHECK_INT("outcome", CLERK_KEY_REFUSED, f.answer.outcome);
    CHECK_STRING("message", message, f.err.message);
    CHECK_INT("asked once", 1, f.server.shared->requests);
    tear_down(&f);
}

static void
test_refusal_of_our_own_key_names_the_setting(void)
{
    check_key_refused("HTTP/1.1 401 Unauthorized\r\n" EMPTY,
                      "Clerk refuses our own secret key (HTTP 401): correct clerk { "
                      "secret_key_file } or CLERK_SECRET_KEY");
    check_key_refused("HTTP/1.1 403 Forbidden\r\n" EMPTY,
                      "Clerk refuses our own secret key (HTTP 403): correct clerk { "
                      "secret_key_file } or CLERK_SECRET_KEY");
}

static void
test_server_errors_are_tried_again(void)
{
    const struct scripted_answer script[] = {
        { "HTTP/1.1 500 Internal Server Error\r\n" EMPTY, 0, SCRIPTED_KEEP, 0 },
        { "HTTP/1.1 503 Service Unavailable\r\n" EMPTY, 0, SCRIPTED_KEEP, 0 },
        { OK_ANSWER, 0, SCRIPTED_KEEP, 0 },
    };
    struct fixture f;

    set_up(&f, script, 3);
    CHECK_STATUS(STATUS_OK, call(&f, 2000), &f.err);
    CHECK_INT("requests", 3, f.server.shared->requests);
    CHECK_TRUE("with pauses", f.took_ms >= 150 && f.took_ms < 1500);
    tear_down(&f);
}

/* With pauses of at least 50, 100 and 200 ms there is no time for a fourth. */
static void
test_retries_end_at_the_deadline(void)
{
    const struct scripted_answer script[] = {
        { "HTTP/1.1 500 Internal Server Error\r\n" EMPTY, 0, SCRIPTED_KEEP, 0 },
    };
    struct fixture f;

    set_up(&f, script, 1);
    CHECK_STATUS(STATUS_UNAVAILABLE, call(&f, 340), &f.err);
    CHECK_TRUE("fewer", f.server.shared->requests < CLERK_ATTEMPTS_MAX);
    CHECK_TRUE("in time", f.took_ms < 800);
    tear_down(&f);
}

static void
test_retries_have_a_limit(void)
{
    check_one("HTTP/1.1 502 Bad Gateway\r\n" EMPTY, SCRIPTED_KEEP, 5000, CLERK_ATTEMPTS_MAX,
              "Clerk answers HTTP 502");
}

static void
test_other_statuses_are_not_tried_again(void)
{
    check_one("HTTP/1.1 402 Payment Required\r\n" EMPTY, SCRIPTED_KEEP, 1000, 1,
              "Clerk answers HTTP 402");
    check_one("HTTP/1.1 204 No Content\r\n\r\n", SCRIPTED_KEEP, 1000, 1, "Clerk answers HTTP 204");
    check_one("HTTP/1.1 418 I'm a teapot\r\n" EMPTY, SCRIPTED_KEEP, 1000, 1,
              "Clerk answers HTTP 418");
}

static void
test_redirects_are_not_followed(void)
{
    check_one("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n" EMPTY, SCRIPTED_KEEP, 1000,
              1, "Clerk answers HTTP 302");
    check_one("HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\n" EMPTY, SCRIPTED_KEEP,
              1000, 1, "Clerk answers HTTP 307");
}

static void
test_hanging_server_costs_the_timeout_and_no_more(void)
{
    check_one(NULL, SCRIPTED_HANG, 200, 1,
              "Clerk: Timeout was reached: check clerk { api_url }, the network and its proxy");
    check_one("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Le", SCRIPTED_HANG, 200,
              1, "Clerk: Timeout was reached: check clerk { api_url }, the network and its proxy");
}

static void
test_half_a_body_is_no_answer(void)
{
    const struct scripted_answer script[] = {
        { "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
          "99\r\n\r\n{\"object\"",
          0, SCRIPTED_CLOSE, 0 },
        { OK_ANSWER, 0, SCRIPTED_KEEP, 0 },
    };
    struct fixture f;

    check_unavailable(script, 1, 5000, CLERK_ATTEMPTS_MAX,
                      "Clerk: Transferred a partial file: check clerk { api_url }, the network and "
                      "its proxy");
    set_up(&f, script, 2);
    CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    CHECK_STRING("only the second's", "{}", f.answer.body);
    tear_down(&f);
}

static void
test_reset_connection_is_tried_again(void)
{
    const struct scripted_answer script[] = { { NULL, 0, SCRIPTED_RESET, 0 },
                                              { OK_ANSWER, 0, SCRIPTED_KEEP, 0 } };
    struct fixture f;

    set_up(&f, script, 2);
    CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    CHECK_INT("requests", 2, f.server.shared->requests);
    tear_down(&f);
}

static void
test_connection_closed_while_idle_is_made_anew(void)
{
    const struct scripted_answer script[] = { { OK_ANSWER, 0, SCRIPTED_CLOSE, 0 } };
    struct fixture f;

    set_up(&f, script, 1);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    CHECK_INT("connections", 3, f.server.shared->connections);
    tear_down(&f);
}

static void
test_body_has_a_limit(void)
{
    struct scripted_answer script[] = {
        { "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1048576\r\n\r\n",
          CLERK_BODY_MAX, SCRIPTED_KEEP, 0 }
    };
    struct fixture f;

    set_up(&f, script, 1);
    CHECK_STATUS(STATUS_OK, call(&f, 2000), &f.err);
    CHECK_INT("length", CLERK_BODY_MAX, f.answer.body_length);
    tear_down(&f);
    script[0].bytes = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
    script[0].filler = 10 << 20;
    script[0].end = SCRIPTED_CLOSE;
    check_unavailable(script, 1, 2000, 1, "Clerk: the answer is longer than 1048576 bytes");
}

static void
check_limited(const char *headers, int64_t retry_after_us)
{
    char bytes[512];
    struct scripted_answer script[] = { { NULL, 0, SCRIPTED_KEEP, 0 } };
    struct fixture f;

    script[0].bytes =
        scripted_json(bytes, sizeof(bytes), "429 Too Many Requests", headers, "{\"errors\":[]}");
    set_up(&f, script, 1);
    CHECK_STATUS(STATUS_UNAVAILABLE, call(&f, 300), &f.err);
    CHECK_INT(headers, CLERK_RATE_LIMITED, f.answer.outcome);
    CHECK_INT(headers, retry_after_us, f.answer.retry_after_us);
    CHECK_STRING("message", "Clerk answers 429: lower clerk { rate } or raise clerk { cache_ttl }",
                 f.err.message);
    CHECK_INT("asked once", 1, f.server.shared->requests);
    tear_down(&f);
}

static void
test_retry_after_is_read(void)
{
    check_limited("Retry-After: 7\r\n", 7 * US_PER_SECOND);
    check_limited("retry-after:  12  \r\n", 12 * US_PER_SECOND);
    check_limited("Retry-After: 99999999999999999999\r\n", QUOTA_PAUSE_MAX_US);
    check_limited("Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n", QUOTA_PAUSE_MAX_US);
}

static void
test_429_without_a_usable_retry_after_waits_a_second(void)
{
    check_limited("", US_PER_SECOND);
    check_limited("Retry-After: soon\r\n", US_PER_SECOND);
    check_limited("Retry-After: -5\r\n", US_PER_SECOND);
    check_limited("Retry-After:\r\n", US_PER_SECOND);
    check_limited("Retry-After: Thu, 01 Jan 1998 00:00:00 GMT\r\n", US_PER_SECOND);
}

static void
test_429_is_tried_again_when_there_is_time(void)
{
    const struct scripted_answer script[] = {
        { "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n" EMPTY, 0, SCRIPTED_KEEP, 0 },
        { OK_ANSWER, 0, SCRIPTED_KEEP, 0 },
    };
    struct fixture f;

    set_up(&f, script, 2);
    CHECK_STATUS(STATUS_OK, call(&f, 2000), &f.err);
    CHECK_TRUE("after a second", f.took_ms >= 1000 && f.took_ms < 1900);
    tear_down(&f);
}

static void
test_nobody_listening_is_tried_until_the_deadline(void)
{
    const struct scripted_answer script[] = { { OK_ANSWER, 0, SCRIPTED_KEEP, 0 } };
    struct fixture f;

    set_up(&f, script, 1);
    scripted_server_stop(&f.server);
    CHECK_STATUS(STATUS_UNAVAILABLE, call(&f, 400), &f.err);
    CHECK_INT("outcome", CLERK_UNAVAILABLE, f.answer.outcome);
    CHECK_STRING("message",
                 "Clerk: Couldn't connect to server: check clerk { api_url }, the network and its "
                 "proxy",
                 f.err.message);
    CHECK_TRUE("with pauses", f.took_ms >= 50 && f.took_ms < 900);
    tear_down(&f);
}

static void
test_no_time_left_is_no_call(void)
{
    const struct scripted_answer script[] = { { OK_ANSWER, 0, SCRIPTED_KEEP, 0 } };
    struct fixture f;

    set_up(&f, script, 1);
    CHECK_STATUS(STATUS_UNAVAILABLE, call(&f, 0), &f.err);
    CHECK_STRING("message", "Clerk: no time is left to ask: see clerk { timeout }", f.err.message);
    CHECK_INT("requests", 0, f.server.shared->requests);
    tear_down(&f);
}

static void
test_proxy_of_the_environment_is_never_for_this_machine(void)
{
    const struct scripted_answer script[] = { { OK_ANSWER, 0, SCRIPTED_KEEP, 0 } };
    struct fixture f;

    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    set_up(&f, script, 1);
    CHECK_STATUS(STATUS_OK, call(&f, 1000), &f.err);
    tear_down(&f);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
}

/* A host that no resolver knows: only a proxy can have answered. */
static void
test_proxy_of_the_environment_is_for_the_way_out(void)
{
    const struct scripted_answer script[] = { { "HTTP/1.1 403 Forbidden\r\n" EMPTY, 0,
                                                SCRIPTED_CLOSE, 0 } };
    struct fixture f;

    set_up(&f, script, 1);
    clerk_http_close(f.http);
    setenv("https_proxy", f.server.url, 1);
    open_http(&f, "https://api.clerk.invalid");
    CHECK_STATUS(STATUS_UNAVAILABLE, call(&f, 200), &f.err);
    check_last_has(&f, "CONNECT api.clerk.invalid:443 HTTP/1.1\r\n");
    unsetenv("https_proxy");
    tear_down(&f);
}

static void
test_quota_is_asked_and_told(void)
{
    const struct scripted_answer script[] = {
        { "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n" EMPTY, 0, SCRIPTED_KEEP, 0 },
    };
    const struct rate rate = { .count = 100, .per_us = US_PER_SECOND, .burst = 100 };
    struct host_cache *cache = NULL;
    struct clerk_quota *quota = NULL;
    char path[128];
    struct fixture f;

    set_up(&f, script, 1);
    clerk_http_close(f.http);
    CHECK_STATUS(
        STATUS_OK,
        host_cache_open(&(struct host_cache_options){ .path = scratch_path(&f.scratch, "c", path),
                                                      .group = "" },
                        &cache, &f.err),
        &f.err);
    CHECK_STATUS(STATUS_OK, clerk_quota_open(cache, &rate, &quota, &f.err), &f.err);
    CHECK_STATUS(STATUS_OK,
                 clerk_http_open(&(struct clerk_http_options){ .api_url = f.server.url,
                                                               .secret_key = &f.key,
                                                               .connect_timeout_us = 300000,
                                                               .clock = f.clock,
                                                               .quota = quota },
                                 &f.http, &f.err),
                 &f.err);
    CHECK_STATUS(STATUS_UNAVAILABLE, call(&f, 300), &f.err);
    CHECK_STATUS(STATUS_UNAVAILABLE, call(&f, 300), &f.err);
    CHECK_INT("outcome", CLERK_RATE_LIMITED, f.answer.outcome);
    CHECK_TRUE("seven seconds less a little", f.answer.retry_after_us > 6 * US_PER_SECOND);
    CHECK_STRING(
        "message",
        "the quota of calls to Clerk is used up: see clerk { rate } and clerk { cache_ttl }",
        f.err.message);
    CHECK_INT("requests", 1, f.server.shared->requests);
    clerk_http_close(f.http);
    f.http = NULL;
    clerk_quota_close(quota);
    host_cache_close(cache);
    tear_down(&f);
}

static void
check_url(const char *url, bool allowed, bool loopback)
{
    bool got_loopback;

    CHECK_INT(url, allowed, clerk_url_allowed(url, &got_loopback));
    if (allowed)
        CHECK_INT(url, loopback, got_loopback);
}

static void
test_plain_http_is_for_loopback_only(void)
{
    check_url("https://api.clerk.com", true, false);
    check_url("https://127.0.0.1:8443", true, true);
    check_url("http://127.0.0.1:8080", true, true);
    check_url("http://127.9.9.9", true, true);
    check_url("http://[::1]:8080", true, true);
    check_url("http://localhost:8080", true, true);
    check_url("http://api.clerk.com", false, false);
    check_url("http://127.0.0.1.example.com", false, false);
    check_url("http://128.0.0.1", false, false);
    check_url("http://[::2]", false, false);
    check_url("http://localhost.example.com", false, false);
    check_url("http://127.0.0.1@example.com", false, false);
    check_url("https://user:password@api.clerk.com", false, false);
    check_url("ftp://127.0.0.1", false, false);
    check_url("file:///etc/passwd", false, false);
    check_url("127.0.0.1:80", false, false);
    check_url("", false, false);
}

static void
test_url_that_is_not_allowed_opens_nothing(void)
{
    struct secret key = { .length = 1, .bytes = "k" };
    struct clerk_http_options options = { .api_url = "http://api.clerk.com",
                                          .secret_key = &key,
                                          .clock = clock_system() };
    struct clerk_http *http;
    struct error err;

    CHECK_STATUS(STATUS_INVALID, clerk_http_open(&options, &http, &err), &err);
    CHECK_STRING("message", "clerk { api_url } must be https, or http to a loopback address",
                 err.message);
    CHECK_TRUE("nothing", http == NULL);
    clerk_http_close(NULL);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_request_is_what_clerk_expects),
        CHECK_TEST(test_answer_is_handed_on),
        CHECK_TEST(test_connection_is_kept),
        CHECK_TEST(test_get_after_post_has_no_body),
        CHECK_TEST(test_not_found_and_bad_request_are_answers),
        CHECK_TEST(test_content_type_is_told),
        CHECK_TEST(test_refusal_of_our_own_key_names_the_setting),
        CHECK_TEST(test_server_errors_are_tried_again),
        CHECK_TEST(test_retries_end_at_the_deadline),
        CHECK_TEST(test_retries_have_a_limit),
        CHECK_TEST(test_other_statuses_are_not_tried_again),
        CHECK_TEST(test_redirects_are_not_followed),
        CHECK_TEST(test_hanging_server_costs_the_timeout_and_no_more),
        CHECK_TEST(test_half_a_body_is_no_answer),
        CHECK_TEST(test_reset_connection_is_tried_again),
        CHECK_TEST(test_connection_closed_while_idle_is_made_anew),
        CHECK_TEST(test_body_has_a_limit),
        CHECK_TEST(test_retry_after_is_read),
        CHECK_TEST(test_429_without_a_usable_retry_after_waits_a_second),
        CHECK_TEST(test_429_is_tried_again_when_there_is_time),
        CHECK_TEST(test_nobody_listening_is_tried_until_the_deadline),
        CHECK_TEST(test_no_time_left_is_no_call),
        CHECK_TEST(test_proxy_of_the_environment_is_never_for_this_machine),
        CHECK_TEST(test_proxy_of_the_environment_is_for_the_way_out),
        CHECK_TEST(test_quota_is_asked_and_told),
        CHECK_TEST(test_plain_http_is_for_loopback_only),
        CHECK_TEST(test_url_that_is_not_allowed_opens_nothing),
    };

    return check_main("clerk_http", tests, CHECK_COUNT(tests));
}
