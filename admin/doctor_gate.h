/* SPDX-License-Identifier: MIT */
/*
 * The gate at one address, for the doctor_*.c files that ask it: one request and its reading, and
 * lists of what was answered without the gate. Source: web-servers document; contract, section 4.
 */
#ifndef SPENDGATE_DOCTOR_GATE_H
#define SPENDGATE_DOCTOR_GATE_H

#include <stdbool.h>
#include <stddef.h>

#include "admin/doctor.h"
#include "admin/doctor_reading.h"
#include "common/buf.h"
#include "common/crypto.h"
#include "common/probe.h"

#define TARGET_SIZE (HTTP_PATH_SIZE + 256)
#define OFFENDERS_SIZE 1024

struct gate {
    struct doctor *doctor;
    struct http_place place;
    const char *url; /* as it was given, or what it led to */
    bool below;      /* the path ends with "/": what is below it is guarded, too */
    char ticket[PROBE_TICKET_SIZE + 32]; /* the header line, or "" */
    enum reading_server server;
    int server_version;
    char server_text[READING_SERVER_SIZE];
    struct reading base;            /* without a credential */
    char missing_page[TARGET_SIZE]; /* below it, and does not exist; "": there is no below */
    struct reading missing;         /* of that page; kind NONE: not asked */
    struct reading above; /* of one in a folder above, guarded if there is such a folder */
    bool statuses_told;   /* that they are flattened */
    bool ignored;         /* the gate denies, and the page is served: told */
    /* A path that exists nowhere, outside of what is guarded: how the site answers that. */
    int control_status;
    uint8_t control_digest[SHA256_BYTES];
};

struct question {
    const char *method;      /* NULL: GET */
    const char *target;      /* NULL: the address itself */
    const char *headers[20]; /* ended by NULL */
    const char *body;
    size_t body_length;
    enum http_version version;
    enum http_family family;
};

/* Ask, and read the answer. False when it cannot be asked (told). */
bool gate_ask(struct gate *gate, const struct question *question, struct reading *out) MUST_CHECK;
/* Whether the last answer has the mark of a trial page in it. */
bool gate_mark_found(const struct gate *gate);
/* Whether the last answer is what this site says to any path. */
bool gate_is_control(const struct gate *gate);
void gate_tell(const struct gate *gate, enum finding_level level, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Answered as if there were no gate: a page, or the web server's word about one. A 400 or 414 is a
 * refusal of the request as such. */
bool gate_was_passed(const struct reading *reading);

/* What was answered without the gate; the first few are named. */
struct offenders {
    size_t count;
    char storage[OFFENDERS_SIZE];
    struct buf text;
};
void offenders_init(struct offenders *offenders);
void offenders_add(struct offenders *offenders, const char *what, int status);
/* "GET (200), PUT (204) and 3 more"; nothing may be added after it. */
const char *offenders_text(struct offenders *offenders);

/* ---- doctor_advice.c: what to change ---- */

/* The address is open. */
const char *advice_open(const struct gate *gate);
/* Pages below it are answered without the gate, though the address itself is not; `suffix`: of what
 * kind, or NULL. */
const char *advice_below(const struct gate *gate);
/* The gate denies, and something else than the denial is sent. */
const char *advice_covered(const struct gate *gate);
const char *advice_flattened(const struct gate *gate);
const char *advice_authorization(const struct gate *gate);
const char *advice_methods(const struct gate *gate);
const char *advice_paths(const struct gate *gate);
const char *advice_slash(const struct gate *gate);
const char *advice_away(const struct gate *gate);

/* ---- doctor_requests.c: other requests for the same address ---- */
void gate_check_requests(struct gate *gate);
/* ---- doctor_below.c: other addresses ---- */
/* Fills gate->missing and gate->above, which tell why an address is open. */
void gate_look_around(struct gate *gate);
void gate_check_below(struct gate *gate);
void gate_check_paths(struct gate *gate);
void gate_check_trial(struct gate *gate);
/* ---- doctor_htaccess.c: .htaccess files that are there ---- */
void gate_check_htaccess(struct gate *gate);
/* ---- doctor_key.c: with a credential that is allowed ---- */
void gate_check_allowed(struct gate *gate);

#endif
