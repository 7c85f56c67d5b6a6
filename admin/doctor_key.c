/* SPDX-License-Identifier: MIT */
/* spendgate doctor --url --key-file: a request that is allowed, and what it leaves behind. It runs
 * the page, and is counted like any other. */
#include "admin/doctor_gate.h"

#include <stdio.h>
#include <string.h>

#include "admin/doctor_trial.h"

#include "common/banned.h"

#define LEAK_SIZE 64
#define LEAKS_MAX 40

/* With a trial page its own content has to come, else --folder is not what the address serves. */
static void
page_to_ask(const struct gate *gate, char out[TARGET_SIZE])
{
    if (gate->doctor->trial != NULL && gate->below)
        (void)snprintf(out, TARGET_SIZE, "%s%s/%s", gate->place.path,
                       trial_name(gate->doctor->trial), trial_pages[0].name);
    else
        (void)snprintf(out, TARGET_SIZE, "%s", gate->place.path);
}

/* Headers of the authorizer's answer that reached the client. */
static void
check_leaks(const struct gate *gate)
{
    static const char *const prefixes[] = { "Variable-", "X-Spendgate-" };
    char name[LEAK_SIZE];
    struct offenders leaks;

    offenders_init(&leaks);
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        for (size_t n = 0; n < LEAKS_MAX && http_header_like(gate->doctor->answer, prefixes[i], n,
                                                             name, sizeof(name));
             n++)
            offenders_add(&leaks, name, 0);
    }
    if (leaks.count > 0)
        gate_tell(
            gate, FINDING_WARNING,
            "tells the client what is the page's business only: %s\n`Header always unset NAME' "
            "for each, outside of the <Location> (conf/apache/spendgate-fcgid.conf)",
            offenders_text(&leaks));
    else
        gate_tell(gate, FINDING_OK, "tells an allowed client nothing of the authorizer's answer");
}

/* A cache of pages, or of verdicts, that does not look at the credential. */
static void
check_not_remembered(struct gate *gate, const char *target)
{
    struct reading reading;

    if (!gate_ask(gate, &(struct question){ .target = target }, &reading))
        return;
    if (reading.kind == READING_OPEN || gate_mark_found(gate))
        gate_tell(gate, FINDING_PROBLEM,
                  "is OPEN after it was allowed once (%d): the page, or the verdict, comes from a "
                  "cache\n%s",
                  reading.status,
                  gate->server == SERVER_NGINX
                      ? "no fastcgi_cache in the location that auth_request names"
                      : "CacheQuickHandler off, and no cache in front of the gate");
    else
        gate_tell(gate, FINDING_OK, "asks again for each request");
}

/* Apache turns an allow without a Status into a refusal when it sees this; ours always has one. */
static void
check_condition(struct gate *gate, const char *target, const char *authorization)
{
    struct reading reading;

    if (!gate_ask(gate,
                  &(struct question){ .target = target,
                                      .headers = { authorization, "If-None-Match: *" } },
                  &reading))
        return;
    if (reading_is_denial(&reading) || reading.kind == READING_AWAY)
        gate_tell(gate, FINDING_WARNING,
                  "an allowed request with If-None-Match: * is answered %d\nlook for a program "
                  "between the web server and the authorizer that changes its answer",
                  reading.status);
}

static void
judge_allowed(struct gate *gate, const struct reading *reading, bool marked)
{
    bool trial = gate->doctor->trial != NULL && gate->below;

    if (trial && !marked)
        gate_tell(gate, FINDING_WARNING,
                  "the test key passes, but the page that was put into %s does not come (%d): what "
                  "was told about files there says nothing about this address\n--folder has to be "
                  "the folder whose files this address serves",
                  trial_folder(gate->doctor->trial), reading->status);
    else
        gate_tell(gate, FINDING_OK, "lets the test key pass (%d)", reading->status);
}

/* The gate of a plain CGI start looks for the page itself, after its allow. */
static bool
is_gates_own(const struct reading *reading)
{
    return strcmp(reading->code, "not_found") == 0 ||
           (strcmp(reading->code, "forbidden") == 0 && reading->kind == READING_DENIED);
}

void
gate_check_allowed(struct gate *gate)
{
    char authorization[SECRET_BYTES_MAX + 64], target[TARGET_SIZE];
    struct reading reading;

    if (!secret_is_set(&gate->doctor->key)) {
        gate_tell(gate, FINDING_NOTE,
                  "no request was allowed, so what such a one gives away was not looked at\n"
                  "--key-file FILE, with a credential for tests in it: the request is counted, and "
                  "runs the page");
        return;
    }
    page_to_ask(gate, target);
    (void)snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s",
                   (const char *)gate->doctor->key.bytes);
    if (gate_ask(gate, &(struct question){ .target = target, .headers = { authorization } },
                 &reading)) {
        if (is_gates_own(&reading)) {
            gate_tell(gate, FINDING_NOTE,
                      "lets the test key pass, to a page that does not exist or cannot be run\n"
                      "give the address of a page to see what an allowed client is told");
        } else if (reading_is_denial(&reading) || reading.kind == READING_AWAY ||
                   reading.kind == READING_NONE) {
            gate_tell(
                gate, FINDING_PROBLEM,
                "the test key is refused: %d %s%s\nlook at the authorizer's log; for a subject "
                "that is known `spendgate explain --path %s' says why",
                reading.status, reading.code,
                gate->base.probe.there && !gate->base.probe.unique_id &&
                        gate->server == SERVER_APACHE
                    ? "; without mod_unique_id Apache's second call, for the index of a "
                      "folder, is refused"
                    : "",
                gate->place.path);
        } else {
            judge_allowed(gate, &reading, gate_mark_found(gate));
            check_leaks(gate);
            check_not_remembered(gate, target);
            check_condition(gate, target, authorization);
        }
    }
    crypto_wipe(authorization, sizeof(authorization));
}
