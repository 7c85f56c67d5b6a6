/* SPDX-License-Identifier: MIT */
/* admin/doctor_reading: what the answers of section 8 of the web-servers document are taken for. An
 * answer that is not certainly a denial of ours must not be taken for one. */
#include "admin/doctor_reading.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/crypto.h"
#include "tests/check.h"

#include "common/banned.h"

#define BODY "{\"error\":\"budget_exceeded\",\"message\":\"The budget is used up.\"}"
#define APACHE_401 \
    "<!DOCTYPE HTML>\n<html><head>\n<title>401 Unauthorized</title>\n</head></html>\n"
#define NGINX_401 "<html>\r\n<head><title>401 Authorization Required</title></head></html>\r\n"
#define CHALLENGE "WWW-Authenticate: Bearer realm=\"spendgate\"\n"

static struct http_answer *answer;

/* `headers` as they come; "%" stands for our two, with this status and BODY. */
static struct reading
read_answer(int status, int denied, const char *headers, const char *body)
{
    struct reading reading;
    struct buf text;

    memset(answer, 0, sizeof(*answer));
    answer->status = status;
    buf_init(&text, answer->headers, sizeof(answer->headers));
    buf_add(&text, headers);
    if (denied != 0) {
        buf_add_format(&text, "X-Spendgate-Status: %d\nX-Spendgate-Denial: ", denied);
        buf_add_base64url(&text, BODY, strlen(BODY));
        buf_add(&text, "\n");
    }
    answer->headers_length = text.length;
    answer->body_length = strlen(body);
    memcpy(answer->body, body, strlen(body) + 1);
    reading_of(answer, false, &reading);
    return reading;
}

static void
check_kind(const char *what, enum reading_kind want, struct reading got)
{
    if (!CHECK_INT("kind", want, got.kind))
        printf("of: %s\n", what);
}

static void
test_a_denial_is_ours_to_the_last_byte(void)
{
    struct reading reading = read_answer(429, 429, "", BODY);

    check_kind("whole", READING_DENIED, reading);
    CHECK_STRING("code", "budget_exceeded", reading.code);
    CHECK_INT("denied", 429, reading.denied);
    check_kind("one byte more", READING_COVERED, read_answer(429, 429, "", BODY " "));
    check_kind("one byte less", READING_COVERED,
               read_answer(429, 429, "", "{\"error\":\"budget_exc"));
    check_kind("the body of a page", READING_COVERED, read_answer(401, 401, "", "the page"));
    CHECK_TRUE("a denial", reading_is_denial(&reading));
}

static void
test_a_denial_that_was_changed_on_its_way(void)
{
    check_kind("mod_asis", READING_REPLACED,
               read_answer(429, 429, "", "{\"error\":\"limit_reached\",\"message\":\"x\"}"));
    check_kind("mod_fcgid", READING_FLATTENED, read_answer(401, 429, CHALLENGE, APACHE_401));
    check_kind("mod_fcgid, 401", READING_FLATTENED, read_answer(401, 401, CHALLENGE, APACHE_401));
    check_kind("auth_request", READING_FLATTENED, read_answer(401, 0, CHALLENGE, NGINX_401));
    check_kind("auth_request, 429", READING_AWAY,
               read_answer(500, 0, "", "<html><head><title>500 Internal Server Error</title>"));
    CHECK_STRING("openai's form", "auth_unavailable",
                 read_answer(503, 0, "", "{\"error\":{\"code\":\"auth_unavailable\"}}").code);
    check_kind("mod_asis without mod_include", READING_FLATTENED,
               read_answer(401, 401, "", "<!--#echo var=\"SPENDGATE_DENIAL\" -->\n"));
    check_kind("another status, our JSON", READING_FLATTENED,
               read_answer(401, 503, "", "{\"error\":\"unauthorized\"}"));
}

/* The web server did not stop at the denial. */
static void
test_a_denial_that_was_not_obeyed(void)
{
    check_kind("the page, under 401", READING_COVERED, read_answer(401, 401, "", "secret"));
    check_kind("the page, under 200", READING_OPEN, read_answer(200, 401, "", "secret"));
    check_kind("no such page", READING_COVERED,
               read_answer(404, 401, "", "<html><head><title>404 Not Found</title>"));
    check_kind("a page not modified", READING_OPEN, read_answer(304, 401, "", ""));
}

/* What looks like a denial may be the guarded application's own. */
static void
test_a_denial_of_somebody_else_is_no_gate(void)
{
    check_kind("an API's 401", READING_REFUSED,
               read_answer(401, 0, "", "{\"error\":\"unauthorized\",\"message\":\"log in\"}"));
    check_kind("an API's 403", READING_REFUSED,
               read_answer(403, 0, "", "{\"error\":\"forbidden\"}"));
    check_kind("another realm", READING_REFUSED,
               read_answer(401, 0, "WWW-Authenticate: Bearer realm=\"api\"\n", "{}"));
    check_kind("a status that is none", READING_OPEN,
               read_answer(200, 0, "X-Spendgate-Status: 200\n", "page"));
    check_kind("a custom page with our challenge", READING_COVERED,
               read_answer(401, 0, CHALLENGE, "<title>Please log in</title>"));
    CHECK_TRUE("basic", read_answer(401, 0, "WWW-Authenticate: Basic realm=\"x\"\n", "").basic);
}

static void
test_what_is_no_denial(void)
{
    check_kind("nothing", READING_NONE, read_answer(0, 0, "", ""));
    check_kind("a page", READING_OPEN, read_answer(200, 0, "", "page"));
    check_kind("no content", READING_OPEN, read_answer(204, 0, "", ""));
    check_kind("a part", READING_OPEN, read_answer(206, 0, "", "p"));
    check_kind("not modified", READING_OPEN, read_answer(304, 0, "", ""));
    check_kind("elsewhere", READING_REDIRECTED, read_answer(302, 0, "Location: /\n", ""));
    check_kind("not there", READING_REFUSED, read_answer(404, 0, "", ""));
    check_kind("too long", READING_REFUSED, read_answer(431, 0, "", ""));
    check_kind("down", READING_AWAY, read_answer(503, 0, "", "x"));
    check_kind("down, with words", READING_AWAY,
               read_answer(503, 0, "", "{\"error\":\"auth_unavailable\"}"));
}

static void
test_a_head_has_no_body(void)
{
    struct reading reading;

    (void)read_answer(401, 401, "", "");
    reading_of(answer, true, &reading);
    check_kind("ours", READING_DENIED, reading);
    (void)read_answer(401, 429, "", "");
    reading_of(answer, true, &reading);
    check_kind("flattened", READING_FLATTENED, reading);
    (void)read_answer(200, 0, "", "");
    reading_of(answer, true, &reading);
    check_kind("open", READING_OPEN, reading);
}

static void
check_server(const char *header, enum reading_server server, int version)
{
    struct reading reading = read_answer(404, 0, header, "");

    if (!CHECK_INT("server", server, reading.server) ||
        !CHECK_INT("version", version, reading.server_version))
        printf("of: %s\n", header);
}

static void
test_servers_and_their_versions(void)
{
    check_server("Server: lighttpd/1.4.69\n", SERVER_LIGHTTPD, 1004069);
    check_server("server: lighttpd/1.4.77\n", SERVER_LIGHTTPD, 1004077);
    check_server("Server: lighttpd\n", SERVER_LIGHTTPD, 0);
    check_server("Server: Apache/2.4.62 (Debian)\n", SERVER_APACHE, 2004062);
    check_server("Server: Apache\n", SERVER_APACHE, 0);
    check_server("Server: nginx/1.22\n", SERVER_NGINX, 1022000);
    check_server("Server: nginx/x\n", SERVER_NGINX, 0);
    check_server("Server: nginx/1.99999999999.1\n", SERVER_NGINX, 0);
    check_server("Server: gunicorn\n", SERVER_UNKNOWN, 0);
    check_server("", SERVER_UNKNOWN, 0);
}

static void
test_the_authorizer_tells_what_it_is(void)
{
    struct reading reading = read_answer(
        401, 401,
        "X-Spendgate-Doctor: version=0.1.0 role=authorizer apache=ACCESS_CHECKER unique_id=yes "
        "settings=01234567 store=89abcdef server=Apache/2.4.62 (Debian) role=x\n",
        BODY);

    CHECK_TRUE("there", reading.probe.there);
    CHECK_STRING("version", "0.1.0", reading.probe.version);
    CHECK_STRING("role", "authorizer", reading.probe.role);
    CHECK_STRING("apache", "ACCESS_CHECKER", reading.probe.apache);
    CHECK_STRING("settings", "01234567", reading.probe.settings);
    CHECK_STRING("store", "89abcdef", reading.probe.store);
    CHECK_TRUE("unique_id", reading.probe.unique_id);
    CHECK_INT("server", SERVER_APACHE, reading.server);
    CHECK_INT("server's version", 2004062, reading.server_version);
    CHECK_FALSE("no_cache", reading.probe.no_cache);
    reading = read_answer(401, 401, "X-Spendgate-Doctor: cache=no unique_id=yes\n", BODY);
    CHECK_TRUE("no_cache", reading.probe.no_cache);
    reading = read_answer(401, 401, "X-Spendgate-Doctor: unique_id=no\n", BODY);
    CHECK_FALSE("not there", reading.probe.there);
    CHECK_FALSE("unique_id", reading.probe.unique_id);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_a_denial_is_ours_to_the_last_byte),
        CHECK_TEST(test_a_denial_that_was_changed_on_its_way),
        CHECK_TEST(test_a_denial_that_was_not_obeyed),
        CHECK_TEST(test_a_denial_of_somebody_else_is_no_gate),
        CHECK_TEST(test_what_is_no_denial),
        CHECK_TEST(test_a_head_has_no_body),
        CHECK_TEST(test_servers_and_their_versions),
        CHECK_TEST(test_the_authorizer_tells_what_it_is),
    };
    int code;

    answer = malloc(sizeof(*answer));
    if (answer == NULL)
        return 99;
    code = check_main("doctor_reading", tests, CHECK_COUNT(tests));
    free(answer);
    return code;
}
