/* SPDX-License-Identifier: MIT */
/* spendgate doctor --url: is the gate in front of this address, and is it ours? */
#include "admin/doctor_gate.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "admin/doctor_trial.h"
#include "common/clock.h"

#include "common/banned.h"

#define OFFENDERS_NAMED 4
#define TIMEOUT_US (20 * US_PER_SECOND)
#define LIGHTTPD_BODIES_KEPT                                             \
    1004077 /* 1.4.77: HTTP/2 bodies go to the backend (web-servers 4.4) \
             */

/* ---- asking --------------------------------------------------------------------------------- */

static void
note_server(struct gate *gate, const struct reading *reading)
{
    if (reading->server == SERVER_UNKNOWN)
        return;
    gate->server = reading->server;
    if (reading->server_version != 0 || gate->server_text[0] == '\0') {
        gate->server_version = reading->server_version;
        memcpy(gate->server_text, reading->server_text, sizeof(gate->server_text));
    }
}

bool
gate_ask(struct gate *gate, const struct question *question, struct reading *out)
{
    const char *method = question->method != NULL ? question->method : "GET";
    struct http_call call = { .origin = gate->place.origin,
                              .method = method,
                              .target =
                                  question->target != NULL ? question->target : gate->place.path,
                              .body = question->body,
                              .body_length = question->body_length,
                              .version = question->version,
                              .family = question->family,
                              .timeout_us = TIMEOUT_US };
    size_t count = 0;

    if (gate->ticket[0] != '\0')
        call.headers[count++] = gate->ticket;
    for (size_t i = 0; i < sizeof(question->headers) / sizeof(question->headers[0]); i++) {
        if (question->headers[i] == NULL)
            break;
        call.headers[count++] = question->headers[i];
    }
    doctor_progress(gate->doctor, gate->url);
    if (!doctor_ask(gate->doctor, &call))
        return false;
    reading_of(gate->doctor->answer, strcmp(method, "HEAD") == 0, out);
    note_server(gate, out);
    return true;
}

bool
gate_mark_found(const struct gate *gate)
{
    const struct http_answer *answer = gate->doctor->answer;

    return gate->doctor->trial != NULL &&
           trial_mark_found(gate->doctor->trial, answer->body, answer->body_length);
}

bool
gate_is_control(const struct gate *gate)
{
    const struct http_answer *answer = gate->doctor->answer;
    uint8_t digest[SHA256_BYTES];

    if (gate->control_status == 0 || gate->control_status != answer->status)
        return false;
    crypto_sha256(answer->body, answer->body_length, digest);
    return memcmp(digest, gate->control_digest, sizeof(digest)) == 0;
}

void
gate_tell(const struct gate *gate, enum finding_level level, const char *format, ...)
{
    char text[FINDING_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    finding_tell(&gate->doctor->sink, level, "gate", "%s: %s", gate->url, text);
}

void
offenders_init(struct offenders *offenders)
{
    offenders->count = 0;
    buf_init(&offenders->text, offenders->storage, sizeof(offenders->storage));
}

void
offenders_add(struct offenders *offenders, const char *what, int status)
{
    offenders->count++;
    if (offenders->count > OFFENDERS_NAMED)
        return;
    if (offenders->count > 1)
        buf_add(&offenders->text, ", ");
    buf_add_format(&offenders->text, "%.200s", what);
    if (status > 0)
        buf_add_format(&offenders->text, " (%d)", status);
}

const char *
offenders_text(struct offenders *offenders)
{
    if (offenders->count > OFFENDERS_NAMED)
        buf_add_format(&offenders->text, " and %zu more", offenders->count - OFFENDERS_NAMED);
    return buf_text(&offenders->text);
}

/* ---- the first answer ----------------------------------------------------------------------- */

static void
tell_not_reached(const struct gate *gate)
{
    const struct http_answer *answer = gate->doctor->answer;

    gate_tell(
        gate, FINDING_PROBLEM, "%s\n%s", answer->error,
        answer->failure == HTTP_TLS
            ? "a certificate of your own authority: name the authority's file in SSL_CERT_FILE"
            : "is the web server running, and is this its address?");
}

/* Whether the redirection stays on this host: https for http, or a slash at the end. */
static bool
leads_home(const struct gate *gate, const char *location, struct http_place *out)
{
    char whole[HTTP_ORIGIN_SIZE + HTTP_PATH_SIZE];
    struct error err;
    struct buf text;

    buf_init(&text, whole, sizeof(whole));
    if (location[0] == '/' && location[1] != '/')
        buf_add(&text, gate->place.origin);
    buf_add(&text, location);
    return !buf_failed(&text) && http_place_parse(whole, out, &err) == STATUS_OK &&
           strcasecmp(out->host, gate->place.host) == 0;
}

/* Ask without a credential; one redirection on the same host is followed, because the address that
 * was meant is where it leads. */
static bool
ask_first(struct gate *gate)
{
    char location[HTTP_ORIGIN_SIZE + HTTP_PATH_SIZE];
    struct http_place place;

    if (!gate_ask(gate, &(struct question){ .method = "GET" }, &gate->base))
        return false;
    if (gate->base.kind != READING_REDIRECTED)
        return true;
    if (!http_header(gate->doctor->answer, "Location", location, sizeof(location)) ||
        !leads_home(gate, location, &place)) {
        gate_tell(gate, FINDING_PROBLEM,
                  "answers %d, which leads to %s, without asking the gate\ngive the address of a "
                  "page that is guarded",
                  gate->base.status, location[0] != '\0' ? location : "nowhere");
        return false;
    }
    gate_tell(gate, FINDING_NOTE, "answers %d; looked at is where it leads, %s", gate->base.status,
              location);
    gate->place = place;
    gate->below = place.path[strlen(place.path) - 1] == '/';
    return gate_ask(gate, &(struct question){ .method = "GET" }, &gate->base);
}

static void
tell_flattened(struct gate *gate, const struct reading *reading)
{
    if (gate->statuses_told)
        return;
    gate->statuses_told = true;
    gate_tell(gate, FINDING_WARNING,
              "denies, but the client gets %d and a page of %s in place of our %d and JSON: a 429 "
              "or 503 looks like a bad key to it\n%s",
              reading->status, reading_server_name(gate->server),
              reading->denied != 0 ? reading->denied : 401, advice_flattened(gate));
}

static void
tell_denied(struct gate *gate)
{
    const struct reading *base = &gate->base;

    if (base->kind == READING_REPLACED)
        gate_tell(gate, FINDING_OK,
                  "is guarded: %d without a credential, with a JSON body per status (the whole one "
                  "is in X-Spendgate-Denial)",
                  base->status);
    else if (base->kind == READING_DENIED)
        gate_tell(gate, FINDING_OK, "is guarded: %d without a credential, and the denial is ours",
                  base->status);
    if (base->kind == READING_FLATTENED)
        tell_flattened(gate, base);
    /* With no credential the answer is missing_credential (compat: agentkey's words for it). */
    if (base->code[0] != '\0' && base->denied != 401 && base->denied != 0)
        gate_tell(gate, FINDING_PROBLEM, "denies with %s (%d) before it looks for a credential\n%s",
                  base->code, base->denied,
                  base->denied == 400 ? "the address has an ambiguous path: give a plain one"
                                      : "look at the authorizer's log");
}

/* What the first answer says. False when there is no gate to go on with. */
static bool
judge_first(struct gate *gate)
{
    const struct reading *base = &gate->base;

    switch (base->kind) {
    case READING_NONE:
        tell_not_reached(gate);
        return false;
    case READING_DENIED:
    case READING_REPLACED:
    case READING_FLATTENED:
        tell_denied(gate);
        return true;
    case READING_COVERED:
        gate->ignored = true;
        gate_tell(
            gate, FINDING_PROBLEM,
            "the gate denies, and %d is sent with another body than the denial: it may be the "
            "page itself\n%s",
            base->status, advice_covered(gate));
        return true;
    case READING_AWAY:
        gate_tell(gate, FINDING_PROBLEM,
                  "answers %d: it is closed, but %s gets no answer from the authorizer\n%s",
                  base->status, reading_server_name(gate->server), advice_away(gate));
        return false;
    case READING_OPEN:
        gate_tell(
            gate, FINDING_PROBLEM,
            "is OPEN: a request without a credential is answered %d, and no gate was asked\n%s",
            base->status, advice_open(gate));
        return false;
    default:
        gate_tell(gate, FINDING_PROBLEM,
                  "a request without a credential is answered %d by %s itself, so no gate was "
                  "asked%s\n%s",
                  base->status, reading_server_name(gate->server),
                  base->basic ? " (it wants a user and a password)" : "",
                  base->status == 404 ? "if there is no such page, give the address of one that is "
                                        "guarded; if there is, no gate is in front of it"
                                      : advice_open(gate));
        return false;
    }
}

/* A page that does not exist tells whether the web server went on in spite of the denial. */
static void
check_obeyed(struct gate *gate)
{
    if (gate->ignored || gate->missing.kind != READING_COVERED)
        return;
    gate->ignored = true;
    gate_tell(gate, FINDING_PROBLEM,
              "is OPEN: the gate denies, and %s goes on to the page all the same (%d for one that "
              "does not exist)\n%s",
              reading_server_name(gate->server), gate->missing.status, advice_covered(gate));
}

/* ---- is it the authorizer of these settings? ------------------------------------------------ */

static bool
any_counted(const struct policy *policy)
{
    for (size_t i = 0; i < policy->plan_count; i++) {
        const struct plan *plan = &policy->plans[i];

        if (plan->hold.automatic || plan->hold.nanos > 0 || plan->rate.count > 0 ||
            plan->concurrency > 0)
            return true;
    }
    for (size_t i = 0; i < policy->route_count; i++) {
        if (policy->routes[i].hold.automatic || policy->routes[i].hold.nanos > 0 ||
            policy->routes[i].rate.count > 0)
            return true;
    }
    return false;
}

static void
check_module(const struct gate *gate, const struct reading_probe *probe)
{
    if (strcmp(probe->apache, "AUTHORIZER") == 0)
        gate_tell(gate, FINDING_PROBLEM,
                  "is asked through FcgidAuthorizer, which Apache calls only when another module "
                  "has found a user\nFcgidAccessChecker in place of FcgidAuthorizer");
    if (probe->apache[0] != '\0')
        gate_tell(
            gate, FINDING_NOTE,
            "whoever may write `SetEnvIf' for it (the server's files, or .htaccess with "
            "AllowOverride FileInfo) can tell its pages any SPENDGATE_SUBJECT, and is trusted "
            "like the server");
    if (!probe->unique_id && gate->server != SERVER_LIGHTTPD &&
        any_counted(&gate->doctor->settings->policy))
        gate_tell(
            gate, FINDING_WARNING,
            "%s gives no UNIQUE_ID: it may ask several times for one client request, and each "
            "places a hold and counts for the rate\n%s",
            reading_server_name(gate->server),
            gate->server == SERVER_NGINX ? "fastcgi_param UNIQUE_ID $request_id; in the "
                                           "location that auth_request names"
                                         : "a2enmod unique_id");
}

static void
check_identity(const struct gate *gate)
{
    const struct reading_probe *probe = &gate->base.probe;
    const struct settings *settings = gate->doctor->settings;
    char fingerprint[PROBE_FINGERPRINT_SIZE];

    if (gate->ticket[0] == '\0') {
        gate_tell(gate, FINDING_NOTE,
                  "without a Clerk secret key the authorizer could not be asked which settings it "
                  "runs with");
        return;
    }
    if (!probe->there) {
        gate_tell(
            gate, FINDING_WARNING,
            "the authorizer there does not answer the doctor's question: it has another Clerk "
            "secret key than %s, or %s drops the header X-Spendgate-Doctor\nuse the settings "
            "of the servers (--config), and the files of conf/ for the web server",
            settings->file, reading_server_name(gate->server));
        return;
    }
    probe_store_fingerprint(settings, fingerprint);
    if (strcmp(probe->store, fingerprint) != 0)
        gate_tell(gate, FINDING_PROBLEM,
                  "the authorizer there counts in another store than %s names\ngive both the same "
                  "store { url }, and no other SPENDGATE_STORE_URL",
                  settings->file);
    probe_settings_fingerprint(settings, fingerprint);
    if (strcmp(probe->settings, fingerprint) != 0)
        gate_tell(gate, FINDING_WARNING,
                  "the authorizer there runs with other settings than %s has now\nreload it "
                  "(SIGHUP, or restart the web server that starts it), or give --config",
                  settings->file);
    else
        gate_tell(gate, FINDING_OK, "the authorizer (%s) runs with these settings", probe->version);
    if (probe->no_cache)
        gate_tell(
            gate, FINDING_PROBLEM,
            "the authorizer there cannot use its cache, so every request asks Clerk\nits log "
            "says why (event=cache_bypassed): another owner of %s or its folder, or a sandbox "
            "around the program",
            settings->cache_path);
    check_module(gate, probe);
}

/* ---- credentials ---------------------------------------------------------------------------- */

/* What is no credential of any kind: refused before anybody is asked. */
static void
check_bad_credentials(struct gate *gate)
{
    static const struct {
        const char *header, *what;
        bool bearer;
    } bad[] = {
        { "Authorization: Bearer spendgate-doctor", "a credential that does not exist", true },
        { "Authorization: Bearer spendgate-doctor, Bearer spendgate-doctor", "two credentials",
          false },
        { "Authorization: Basic c3BlbmRnYXRlOmRvY3Rvcg==", "a user and a password", false },
        { "Authorization: spendgate-doctor", "a credential without a scheme", false },
    };
    struct reading reading;
    size_t wrong = 0;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (!gate_ask(gate, &(struct question){ .headers = { bad[i].header } }, &reading))
            return;
        if (reading.kind == READING_OPEN) {
            wrong++;
            gate_tell(gate, FINDING_PROBLEM, "is OPEN to %s (%d)\n%s", bad[i].what, reading.status,
                      advice_open(gate));
        } else if (bad[i].bearer && reading.code[0] != '\0' &&
                   strcmp(reading.code, gate->base.code) == 0 && reading.denied == 401) {
            wrong++;
            gate_tell(gate, FINDING_PROBLEM,
                      "the Authorization header does not reach the authorizer: nobody can pass\n%s",
                      advice_authorization(gate));
        }
    }
    if (wrong == 0)
        gate_tell(gate, FINDING_OK, "refuses credentials that do not exist");
}

/* A path that only the authorizer refuses, with a status of its own. */
static void
check_statuses(struct gate *gate)
{
    char target[TARGET_SIZE];
    struct reading reading;

    if (!gate->below)
        return;
    (void)snprintf(target, sizeof(target), "%s..;spendgate-doctor", gate->place.path);
    if (!gate_ask(gate, &(struct question){ .target = target }, &reading))
        return;
    if (reading.kind == READING_FLATTENED || reading.kind == READING_AWAY)
        tell_flattened(gate, &reading);
    else if (reading.denied == 400 && reading.status == 400)
        gate_tell(gate, FINDING_OK, "hands on the status of a denial that is no 401");
}

/* ---- the address as a whole ----------------------------------------------------------------- */

static bool
is_private(const struct gate *gate)
{
    return gate->place.loopback || strcmp(gate->place.scheme, "https") == 0;
}

/* HTTP/2 behind a lighttpd that gives the body to the authorizer. */
static void
check_http2(struct gate *gate)
{
    struct reading reading;

    if (!gate_ask(gate, &(struct question){ .version = HTTP_2 }, &reading) ||
        gate->doctor->answer->version != 20)
        return;
    if (reading.kind == READING_OPEN)
        gate_tell(gate, FINDING_PROBLEM, "is OPEN over HTTP/2 (%d)\n%s", reading.status,
                  advice_open(gate));
    if (gate->server != SERVER_LIGHTTPD || gate->server_version >= LIGHTTPD_BODIES_KEPT)
        return;
    gate_tell(
        gate, FINDING_WARNING,
        "offers HTTP/2, and %s%s can hand the body of a POST to the authorizer: the page gets "
        "an empty one\nserver.feature-flags += ( \"server.h2proto\" => \"disable\" ), or "
        "lighttpd 1.4.77",
        gate->server_version != 0 ? gate->server_text : "lighttpd before 1.4.77",
        gate->server_version != 0 ? "" : " (this one does not tell its version)");
}

/* A name may have an address of each family, and each may lead to another virtual host. */
static void
check_families(struct gate *gate)
{
    static const enum http_family families[] = { HTTP_IPV4, HTTP_IPV6 };
    struct reading reading;

    for (size_t i = 0; i < 2; i++) {
        if (!gate_ask(gate, &(struct question){ .family = families[i] }, &reading))
            return;
        if (reading.kind == READING_OPEN)
            gate_tell(gate, FINDING_PROBLEM, "is OPEN over %s (%d)\n%s",
                      families[i] == HTTP_IPV6 ? "IPv6" : "IPv4", reading.status,
                      advice_open(gate));
    }
}

/* The same address without TLS. */
static void
check_plain_http(struct gate *gate)
{
    struct gate plain = *gate;
    struct reading reading;

    if (!is_private(gate))
        gate_tell(gate, FINDING_WARNING,
                  "is http: credentials go over the network in clear\nserve it by https only");
    if (strcmp(gate->place.scheme, "https") != 0)
        return;
    (void)snprintf(plain.place.origin, sizeof(plain.place.origin),
                   strchr(gate->place.host, ':') != NULL ? "http://[%.250s]:80"
                                                         : "http://%.250s:80",
                   gate->place.host);
    if (gate_ask(&plain, &(struct question){ .method = "GET" }, &reading) &&
        reading.kind == READING_OPEN)
        gate_tell(
            gate, FINDING_PROBLEM,
            "is OPEN as %s%s (%d)\nguard the virtual host of port 80 as well, or redirect all "
            "of it",
            plain.place.origin, plain.place.path, reading.status);
}

static void
ask_control(struct gate *gate)
{
    uint8_t random[8];
    char target[64];
    struct reading reading;
    struct buf text;

    crypto_random(random, sizeof(random));
    buf_init(&text, target, sizeof(target));
    buf_add(&text, "/spendgate-doctor-");
    buf_add_hex(&text, random, sizeof(random));
    if (!gate_ask(gate, &(struct question){ .target = target }, &reading))
        return;
    gate->control_status = reading.status;
    crypto_sha256(gate->doctor->answer->body, gate->doctor->answer->body_length,
                  gate->control_digest);
}

static bool
open_gate(struct gate *gate, struct doctor *doctor, const char *url)
{
    const struct secret *key = &doctor->settings->clerk.secret_key;
    struct clock clock = clock_system();
    char ticket[PROBE_TICKET_SIZE];
    struct error err;

    *gate = (struct gate){ .doctor = doctor, .url = url };
    if (http_place_parse(url, &gate->place, &err) != STATUS_OK) {
        finding_tell(&doctor->sink, FINDING_PROBLEM, "gate", "%s %s", url, err.message);
        return false;
    }
    gate->below = gate->place.path[strlen(gate->place.path) - 1] == '/';
    if (probe_ticket(key, clock_now_us(&clock), ticket))
        (void)snprintf(gate->ticket, sizeof(gate->ticket), PROBE_HEADER ": %s", ticket);
    return true;
}

void
doctor_gate(struct doctor *doctor, const char *url)
{
    struct gate gate;

    if (!open_gate(&gate, doctor, url) || !ask_first(&gate))
        return;
    if (gate.base.kind != READING_NONE)
        gate_look_around(&gate);
    if (!judge_first(&gate))
        return;
    check_obeyed(&gate);
    ask_control(&gate);
    check_identity(&gate);
    check_bad_credentials(&gate);
    gate_check_requests(&gate);
    if (!gate.ignored) { /* else every one of them would be told as open */
        check_statuses(&gate);
        gate_check_below(&gate);
        gate_check_paths(&gate);
        gate_check_trial(&gate);
        gate_check_htaccess(&gate);
    }
    check_http2(&gate);
    if (!gate.place.literal)
        check_families(&gate);
    check_plain_http(&gate);
    gate_check_allowed(&gate);
}
