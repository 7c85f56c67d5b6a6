/* SPDX-License-Identifier: MIT */
/* spendgate doctor --url: the same address with other methods, headers and bodies. Whatever is
 * asked, without a credential the answer has to be a denial, or the web server's own refusal. */
#include "admin/doctor_gate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#include "common/banned.h"

#define POST_BYTES ((size_t)200 * 1024)
#define POST_TRIES 3
#define POST_SLOW_US (4 * US_PER_SECOND)
#define LONG_HEADERS 9
#define LONG_HEADER_BYTES 8000 /* nine of them are more than one FastCGI record holds */

/* ---- methods -------------------------------------------------------------------------------- */

/* The answer to TRACE: the request itself, and no page (RFC 9110, section 9.3.8). */
static bool
is_echo(const struct http_answer *answer)
{
    char type[64];

    return http_header(answer, "Content-Type", type, sizeof(type)) &&
           strcmp(type, "message/http") == 0 && strncmp(answer->body, "TRACE ", 6) == 0;
}

/* `everywhere`: no web server answers it by itself before it asks a gate. */
static const struct {
    const char *name;
    bool everywhere, body;
} methods[] = {
    { "HEAD", true, false },     { "POST", true, true },    { "PUT", true, true },
    { "DELETE", true, false },   { "PATCH", true, true },   { "OPTIONS", true, false },
    { "PROPFIND", true, false }, { "TRACE", false, false }, { "SPENDGATE", false, false },
};
#define METHODS (sizeof(methods) / sizeof(methods[0]))

/* Of a page that does not exist where there is one to ask for: Apache asks again, by GET, for the
 * index of a folder, and that would be denied. */
static bool
ask_methods(struct gate *gate, struct offenders *open, bool *options, bool *echoed)
{
    struct reading reading;

    for (size_t i = 0; i < METHODS; i++) {
        struct question question = { .method = methods[i].name,
                                     .target = gate->below ? gate->missing_page : NULL,
                                     .body = methods[i].body ? "" : NULL };

        if (!gate_ask(gate, &question, &reading))
            return false;
        if (!(methods[i].everywhere ? gate_was_passed(&reading) : reading.kind == READING_OPEN))
            continue;
        if (is_echo(gate->doctor->answer))
            *echoed = true;
        else if (strcmp(methods[i].name, "OPTIONS") == 0)
            *options = true;
        else
            offenders_add(open, methods[i].name, reading.status);
    }
    return true;
}

static void
check_methods(struct gate *gate)
{
    bool options = false, echoed = false;
    struct offenders open;

    offenders_init(&open);
    if (!ask_methods(gate, &open, &options, &echoed))
        return;
    if (open.count > 0)
        gate_tell(gate, FINDING_PROBLEM, "is OPEN to other methods: %s\n%s", offenders_text(&open),
                  advice_methods(gate));
    if (options)
        gate_tell(
            gate, FINDING_WARNING,
            "OPTIONS passes without the gate, as CORS preflights need it; a page that does its "
            "work for OPTIONS as well is open\nlet only preflights pass (the comments in "
            "conf/ say how), or %s",
            advice_methods(gate));
    if (echoed)
        gate_tell(gate, FINDING_NOTE,
                  "TRACE is answered without the gate, by an echo of the request and no page\n"
                  "TraceEnable off in Apache's configuration");
    if (open.count == 0 && !options)
        gate_tell(gate, FINDING_OK, "denies every method (%s to %s)", methods[0].name,
                  methods[METHODS - 1].name);
}

/* ---- headers -------------------------------------------------------------------------------- */

static void
check_conditions(struct gate *gate)
{
    static const char *const headers[] = {
        "If-None-Match: *", "If-Match: *",       "If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT",
        "Range: bytes=0-0", "Accept: text/html", "Upgrade: websocket",
    };
    struct offenders open;
    struct reading reading;

    offenders_init(&open);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        if (!gate_ask(gate, &(struct question){ .headers = { headers[i] } }, &reading))
            return;
        if (reading.kind == READING_OPEN)
            offenders_add(&open, headers[i], reading.status);
    }
    if (open.count > 0)
        gate_tell(gate, FINDING_PROBLEM, "is OPEN to requests with other headers: %s\n%s",
                  offenders_text(&open), advice_open(gate));
    else
        gate_tell(gate, FINDING_OK, "denies conditional and partial requests");
}

/* Whatever a client claims about itself, or about a verdict. */
static void
check_forged(struct gate *gate)
{
    static const struct question forged = {
        .headers = { "Remote-User: user_forged", "X-Remote-User: user_forged",
                     "X-Forwarded-User: user_forged", "Spendgate-Subject: user_forged",
                     "X-Spendgate-Subject: user_forged", "SPENDGATE_SUBJECT: user_forged",
                     "REDIRECT_SPENDGATE_SUBJECT: user_forged",
                     "Variable-SPENDGATE_SUBJECT: user_forged", "X-Spendgate-Status: 200",
                     "Spendgate-Mode: authorize", "Redirect-Status: 200", "Status: 200 OK",
                     "X-Accel-Redirect: /", "X-Sendfile: /", "X-Original-URL: /",
                     "X-Rewrite-URL: /", "X-HTTP-Method-Override: OPTIONS",
                     "X-Forwarded-For: 127.0.0.1" }
    };
    struct reading reading;

    if (!gate_ask(gate, &forged, &reading))
        return;
    if (reading.kind == READING_OPEN)
        gate_tell(gate, FINDING_PROBLEM,
                  "is OPEN to a client that forges headers (%d)\nno rule in front of the gate may "
                  "look at headers that a client can send (X-Forwarded-For, X-Original-URL, "
                  "Remote-User)",
                  reading.status);
    else
        gate_tell(gate, FINDING_OK, "believes no forged identity");
}

/* mod_fcgid cannot hand that much to the authorizer: closed, unless "Authoritative Off". */
static void
check_long_headers(struct gate *gate)
{
    struct question question = { .method = "GET" };
    char *lines = malloc(LONG_HEADERS * (LONG_HEADER_BYTES + 1));
    struct reading reading;

    if (lines == NULL)
        return;
    for (int i = 0; i < LONG_HEADERS; i++) {
        char *line = lines + i * (LONG_HEADER_BYTES + 1);

        memset(line, 'x', LONG_HEADER_BYTES);
        line[LONG_HEADER_BYTES] = '\0';
        memcpy(line, "X-Doctor-", 9);
        line[9] = (char)('0' + i);
        memcpy(line + 10, ": ", 2);
        question.headers[i] = line;
    }
    if (gate_ask(gate, &question, &reading) && reading.kind == READING_OPEN)
        gate_tell(
            gate, FINDING_PROBLEM,
            "is OPEN to anybody who sends %d KB of headers (%d)\nFcgidAccessCheckerAuthoritative "
            "On: with Off, whatever keeps the authorizer from answering opens the gate",
            LONG_HEADERS * LONG_HEADER_BYTES / 1000, reading.status);
    free(lines);
}

/* A cache in front of the gate says 504 to "only what is stored, please" (RFC 9111, section
 * 5.2.1.7). */
static void
check_cache(struct gate *gate)
{
    struct reading reading;

    if (!gate_ask(gate, &(struct question){ .headers = { "Cache-Control: only-if-cached" } },
                  &reading))
        return;
    if (reading.kind != READING_OPEN && reading.status != 504)
        return;
    /* another cache may well look at the credential */
    gate_tell(gate, gate->server == SERVER_APACHE ? FINDING_PROBLEM : FINDING_WARNING,
              "a cache answers before the gate (%d to only-if-cached): what it stores is given to "
              "anybody\n%s",
              reading.status,
              gate->server == SERVER_APACHE
                  ? "CacheQuickHandler off (mod_cache), or no CacheEnable for guarded pages"
                  : "let the cache pass everything below this address, or let it keep nothing that "
                    "was asked for with a credential");
}

/* ---- a body --------------------------------------------------------------------------------- */

static void
judge_post(struct gate *gate, const struct reading *reading, int64_t elapsed_us)
{
    if (reading->kind == READING_OPEN)
        gate_tell(gate, FINDING_PROBLEM, "is OPEN to a POST of 200 KB (%d)\n%s", reading->status,
                  advice_methods(gate));
    else if (reading->kind == READING_NONE)
        gate_tell(gate, FINDING_PROBLEM, "a denied POST of 200 KB breaks off: %s\n%s",
                  gate->doctor->answer->error,
                  "whatever denies has to read the body first: the authorizer does, a script of "
                  "yours that answers denials may not (mod_cgid)");
    else if (elapsed_us > POST_SLOW_US)
        gate_tell(gate, FINDING_WARNING,
                  "a denied POST of 200 KB takes %lld ms\nwhatever denies has to read the body "
                  "first (mod_cgid), and mod_fcgid needs enough processes "
                  "(FcgidMaxProcessesPerClass)",
                  (long long)(elapsed_us / 1000));
    else if (reading->kind != gate->base.kind || reading->status != gate->base.status)
        gate_tell(
            gate, FINDING_WARNING,
            "a POST of 200 KB is denied with %d, and not as a GET is (%d)\na page that prints "
            "denials must not be bound by FcgidMaxRequestLen or client_max_body_size",
            reading->status, gate->base.status);
    else
        gate_tell(gate, FINDING_OK, "denies a POST of 200 KB at once (%lld ms)",
                  (long long)(elapsed_us / 1000));
}

/* Several times, because it breaks only sometimes; the worst one is told. */
static void
check_post(struct gate *gate)
{
    char *body = malloc(POST_BYTES);
    struct question question = { .method = "POST", .body = body, .body_length = POST_BYTES };
    struct reading reading = { .kind = READING_DENIED };
    int64_t slowest_us = 0;

    if (body == NULL)
        return;
    memset(body, 'x', POST_BYTES);
    for (int i = 0; i < POST_TRIES; i++) {
        if (!gate_ask(gate, &question, &reading)) {
            free(body);
            return;
        }
        if (gate->doctor->answer->elapsed_us > slowest_us)
            slowest_us = gate->doctor->answer->elapsed_us;
        if (reading.kind == READING_NONE || reading.kind != gate->base.kind)
            break;
    }
    free(body);
    judge_post(gate, &reading, slowest_us);
}

static void
check_old_http(struct gate *gate)
{
    struct reading reading;

    if (gate_ask(gate, &(struct question){ .version = HTTP_1_0 }, &reading) &&
        reading.kind == READING_OPEN)
        gate_tell(gate, FINDING_PROBLEM, "is OPEN to HTTP/1.0 (%d)\n%s", reading.status,
                  advice_open(gate));
}

void
gate_check_requests(struct gate *gate)
{
    check_long_headers(gate);
    if (!gate->ignored)
        check_methods(gate);
    check_conditions(gate);
    check_forged(gate);
    check_cache(gate);
    check_post(gate);
    check_old_http(gate);
}
