/* SPDX-License-Identifier: MIT */
/*
 * Calls to Clerk's Backend API, and what came of them in four words. The one door to libcurl. One
 * handle, whose connection is kept between calls; what an answer means for a credential is the
 * verifiers' business. Source: clerk-api document, sections 1, 2 and 8; design document, section 6.
 */
#ifndef SPENDGATE_CLERK_HTTP_H
#define SPENDGATE_CLERK_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clerk_quota.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"

#define CLERK_API_VERSION "2026-05-12"
#define CLERK_BODY_MAX (1024 * 1024)
#define CLERK_PATH_SIZE 1024
#define CLERK_ATTEMPTS_MAX 4

struct clerk_http;

struct clerk_http_options {
    const char *api_url;             /* https, or http to a loopback address; no final slash */
    const struct secret *secret_key; /* copied */
    int64_t connect_timeout_us;
    struct clock clock;
    struct clerk_quota *quota; /* borrowed; NULL: calls are not counted */
    size_t body_max;           /* of an answer; 0: CLERK_BODY_MAX */
};

/* Sets libcurl up for this process. Opens no connection. Errors: STATUS_INVALID (the URL),
 * STATUS_NO_MEMORY. */
enum status clerk_http_open(const struct clerk_http_options *options, struct clerk_http **out,
                            struct error *err) MUST_CHECK;
void clerk_http_close(struct clerk_http *http); /* NULL is fine */

enum clerk_outcome {
    CLERK_UNAVAILABLE = 0, /* no answer, or none that can be used; also while the breaker is open */
    CLERK_ANSWERED,        /* 200, 400 or 404 */
    CLERK_KEY_REFUSED,     /* 401, 403: our own key is wrong or may not do this */
    CLERK_RATE_LIMITED,    /* 429, or our own quota is used up */
};

struct clerk_answer {
    enum clerk_outcome outcome;
    int http_status;        /* of the last attempt; 0 when there was no answer */
    int64_t retry_after_us; /* when to ask again, if that is known; else 0 */
    bool json;              /* the body is application/json */
    const char *body;       /* terminated; until the next call */
    size_t body_length;
};

struct clerk_call {
    const char *path; /* "/v1/…", with its query, below CLERK_PATH_SIZE bytes */
    const char *body; /* NULL: a GET */
    size_t body_length;
    enum quota_use use;
    int64_t deadline_us; /* boot clock: every attempt and every pause ends before it */
};

/*
 * Call, and again after a 429, a 5xx or a broken connection while the deadline allows it. `out` is
 * set on every return. STATUS_OK when `out->outcome` is CLERK_ANSWERED; else STATUS_UNAVAILABLE,
 * with what happened and what to do in `err`. Neither the credential nor the secret key is ever in
 * a message.
 */
enum status clerk_http_call(struct clerk_http *http, const struct clerk_call *call,
                            struct clerk_answer *out, struct error *err) MUST_CHECK;

/* An address of this machine only: localhost, 127.0.0.0/8 or ::1, the last without brackets. A name
 * is not looked up. */
bool host_is_loopback(const char *host);
/* Whether the URL may be used: https, or http to a loopback address (`*loopback`). Public for its
 * test. */
bool clerk_url_allowed(const char *url, bool *loopback);

#endif
