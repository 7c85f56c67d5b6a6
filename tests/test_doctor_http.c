/* SPDX-License-Identifier: MIT */
/* admin/doctor_http: raw requests go out as they are, and whatever comes back is told and bounded.
 */
#include "admin/doctor_http.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "tests/check.h"
#include "tests/scripted_server.h"

#include "common/banned.h"

static struct http_answer *answer;

static void
call_server(const struct scripted_answer *script, size_t count, const struct http_call *call,
            char *request, size_t request_size)
{
    struct http_call whole = *call;
    struct scripted_server server;
    struct http_client *client;
    struct error err;

    CHECK_STATUS(STATUS_OK, http_client_open(&client, &err), &err);
    scripted_server_start(&server, script, count);
    whole.origin = server.url;
    whole.method = call->method != NULL ? call->method : "GET";
    whole.target = call->target != NULL ? call->target : "/";
    whole.timeout_us = call->timeout_us != 0 ? call->timeout_us : 5000000;
    http_call(client, &whole, answer);
    if (request != NULL)
        (void)!text_copy(request, request_size, (const char *)(uintptr_t)server.shared->last);
    scripted_server_stop(&server);
    http_client_close(client);
}

static void
call_one(const char *bytes, size_t filler, enum scripted_end end)
{
    struct scripted_answer script = { .bytes = bytes, .filler = filler, .end = end };

    call_server(&script, 1, &(struct http_call){ .method = NULL }, NULL, 0);
}

#define EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static void
check_target(const char *target)
{
    static const struct scripted_answer script = { .bytes = EMPTY, .end = SCRIPTED_CLOSE };
    char request[SCRIPTED_REQUEST_SIZE], line[256];
    struct buf want;

    call_server(&script, 1, &(struct http_call){ .target = target }, request, sizeof(request));
    buf_init(&want, line, sizeof(line));
    buf_add_format(&want, "GET %s HTTP/1.1\r\n", target);
    if (!CHECK_INT("request line", 0, strncmp(request, line, strlen(line))))
        printf("%s\n", request);
}

static void
test_targets_and_headers_go_out_as_they_are(void)
{
    static const struct scripted_answer script = { .bytes = EMPTY, .end = SCRIPTED_CLOSE };
    char request[SCRIPTED_REQUEST_SIZE];

    check_target("/x/../api/./%61%2F//y");
    check_target("/api/..;x");
    check_target("/api\\x");
    check_target("/%zz%00");
    check_target("http://127.0.0.1:1/api/");
    call_server(&script, 1,
                &(struct http_call){ .method = "SPENDGATE",
                                     .body = "abc",
                                     .body_length = 3,
                                     .headers = { "X-One: 1", "SPENDGATE_TWO: 2" } },
                request, sizeof(request));
    CHECK_INT("method", 0, strncmp(request, "SPENDGATE / HTTP/1.1\r\n", 22));
    CHECK_TRUE("one", strstr(request, "\r\nX-One: 1\r\n") != NULL);
    CHECK_TRUE("two", strstr(request, "\r\nSPENDGATE_TWO: 2\r\n") != NULL);
    CHECK_TRUE("nothing is waited for", strstr(request, "Expect") == NULL);
    CHECK_TRUE("body", strstr(request, "\r\n\r\nabc") != NULL);
}

static void
test_an_answer_is_told_as_it_is(void)
{
    char value[64];
    int64_t date_us;

    call_one(
        "HTTP/1.1 429 Too Many\r\nServer:  lighttpd \r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        "X-A: 1\r\nx-b:2\r\nX-Control: a\001b\r\nContent-Length: 4\r\n\r\nbody",
        0, SCRIPTED_CLOSE);
    CHECK_INT("answered", HTTP_ANSWERED, answer->failure);
    CHECK_INT("status", 429, answer->status);
    CHECK_INT("version", 11, answer->version);
    CHECK_STRING("body", "body", answer->body);
    CHECK_TRUE("server", http_header(answer, "server", value, sizeof(value)));
    CHECK_STRING("server", "lighttpd", value);
    CHECK_TRUE("control", http_header(answer, "X-Control", value, sizeof(value)));
    CHECK_STRING("control", "a?b", value);
    CHECK_FALSE("too long", http_header(answer, "Server", value, 4));
    CHECK_FALSE("none", http_header(answer, "Serve", value, sizeof(value)));
    CHECK_TRUE("first", http_header_like(answer, "x-", 0, value, sizeof(value)));
    CHECK_STRING("first", "X-A", value);
    CHECK_TRUE("second", http_header_like(answer, "x-", 1, value, sizeof(value)));
    CHECK_STRING("second", "x-b", value);
    CHECK_FALSE("fourth", http_header_like(answer, "x-", 3, value, sizeof(value)));
    CHECK_TRUE("date", http_date_us(answer, &date_us));
    CHECK_INT("date", INT64_C(784111777000000), date_us);
}

static void
test_a_redirection_is_not_followed_and_an_interim_answer_passed_over(void)
{
    char value[64];

    call_one("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", 0,
             SCRIPTED_CLOSE);
    CHECK_INT("status", 302, answer->status);
    CHECK_TRUE("where", http_header(answer, "Location", value, sizeof(value)));
    call_one("HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n" EMPTY, 0, SCRIPTED_CLOSE);
    CHECK_INT("status", 200, answer->status);
    CHECK_FALSE("its headers", http_header(answer, "X-Early", value, sizeof(value)));
}

static void
test_a_body_is_kept_up_to_a_limit(void)
{
    call_one("HTTP/1.1 200 OK\r\nContent-Length: 524288\r\n\r\n", HTTP_BODY_MAX, SCRIPTED_CLOSE);
    CHECK_INT("length", HTTP_BODY_MAX, answer->body_length);
    CHECK_FALSE("whole", answer->cut);
    call_one("HTTP/1.1 200 OK\r\nContent-Length: 524289\r\n\r\n", HTTP_BODY_MAX + 1, SCRIPTED_HANG);
    CHECK_INT("answered", HTTP_ANSWERED, answer->failure);
    CHECK_INT("length", HTTP_BODY_MAX, answer->body_length);
    CHECK_TRUE("cut", answer->cut);
}

static void
test_what_is_no_answer_is_told(void)
{
    static const struct scripted_answer hang = { .end = SCRIPTED_HANG };

    call_one(NULL, 0, SCRIPTED_CLOSE);
    CHECK_INT("nothing", HTTP_BROKEN, answer->failure);
    CHECK_INT("no status", 0, answer->status);
    CHECK_TRUE("in words", answer->error[0] != '\0');
    call_one(NULL, 0, SCRIPTED_RESET);
    CHECK_INT("reset", HTTP_BROKEN, answer->failure);
    call_one("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", 0, SCRIPTED_CLOSE);
    CHECK_INT("cut short", HTTP_BROKEN, answer->failure);
    call_one("no HTTP at all\r\n\r\n", 0, SCRIPTED_CLOSE);
    CHECK_TRUE("nonsense", answer->failure != HTTP_ANSWERED);
    call_server(&hang, 1, &(struct http_call){ .timeout_us = 200000 }, NULL, 0);
    CHECK_INT("silence", HTTP_TIMEOUT, answer->failure);
}

static void
test_nobody_there_is_told(void)
{
    struct http_client *client;
    struct error err;

    CHECK_STATUS(STATUS_OK, http_client_open(&client, &err), &err);
    http_call(
        client,
        &(struct http_call){
            .origin = "http://127.0.0.1:1", .method = "GET", .target = "/", .timeout_us = 2000000 },
        answer);
    CHECK_INT("refused", HTTP_NOT_REACHED, answer->failure);
    http_client_close(client);
}

static void
check_place(const char *url, const char *origin, const char *path, bool loopback)
{
    struct http_place place;
    struct error err = { .message = "" };

    CHECK_STATUS(STATUS_OK, http_place_parse(url, &place, &err), &err);
    CHECK_STRING(url, origin, place.origin);
    CHECK_STRING(url, path, place.path);
    CHECK_INT(url, loopback, place.loopback);
}

static void
test_addresses_are_taken_apart(void)
{
    static const char *const refused[] = { "ftp://x/",        "x",           "",
                                           "http://",         "http://u@x/", "http://u:p@x/",
                                           "http://x:99999/", "/api/" };
    struct http_place place;
    struct error err;

    check_place("http://example.com", "http://example.com:80", "/", false);
    check_place("https://example.com/a/../b?c#d", "https://example.com:443", "/a/../b", false);
    check_place("http://127.0.0.1:81/%61", "http://127.0.0.1:81", "/%61", true);
    check_place("http://[::1]:8080/", "http://[::1]:8080", "/", true);
    check_place("http://localhost/", "http://localhost:80", "/", true);
    check_place("http://192.0.2.1/", "http://192.0.2.1:80", "/", false);
    CHECK_STATUS(STATUS_OK, http_place_parse("http://[::1]/", &place, &err), &err);
    CHECK_TRUE("an address", place.literal);
    CHECK_STATUS(STATUS_OK, http_place_parse("http://localhost/", &place, &err), &err);
    CHECK_FALSE("a name", place.literal);
    for (size_t i = 0; i < CHECK_COUNT(refused); i++)
        CHECK_STATUS(STATUS_INVALID, http_place_parse(refused[i], &place, &err), &err);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_targets_and_headers_go_out_as_they_are),
        CHECK_TEST(test_an_answer_is_told_as_it_is),
        CHECK_TEST(test_a_redirection_is_not_followed_and_an_interim_answer_passed_over),
        CHECK_TEST(test_a_body_is_kept_up_to_a_limit),
        CHECK_TEST(test_what_is_no_answer_is_told),
        CHECK_TEST(test_nobody_there_is_told),
        CHECK_TEST(test_addresses_are_taken_apart),
    };
    int code;

    answer = malloc(sizeof(*answer));
    if (answer == NULL)
        return 99;
    code = check_main("doctor_http", tests, CHECK_COUNT(tests));
    free(answer);
    return code;
}
