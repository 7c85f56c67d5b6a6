/* SPDX-License-Identifier: MIT */
/*
 * What the authorizer answers, as bytes: an allow with its variables, a denial with its body and
 * headers, and a denial printed again for a web server that dropped its body. Nothing is decided
 * here. Source: contract, section 4; web-servers document, section 1.
 */
#ifndef SPENDGATE_ANSWER_H
#define SPENDGATE_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "authorizer/identity.h"
#include "common/buf.h"
#include "common/ledger.h"
#include "common/policy.h"
#include "common/settings.h"

#define ANSWER_SIZE 32768     /* fits every answer */
#define ANSWER_BODY_SIZE 4096 /* of a denial, with its NUL */
#define ANSWER_LINE_MAX 8191  /* longest header line */
#define REQUEST_ID_SIZE 29    /* "req_" and 24 hex digits, with the NUL */

/* Zero is the failure. */
enum denial_code {
    DENIAL_UNAVAILABLE = 0,
    DENIAL_INVALID_PATH,
    DENIAL_MISSING_CREDENTIAL,
    DENIAL_INVALID_KEY,
    DENIAL_EXPIRED,
    DENIAL_FROZEN,
    DENIAL_SCOPE,
    DENIAL_NO_PLAN,
    DENIAL_NO_ROUTE,
    DENIAL_BUDGET,
    DENIAL_RATE,
    DENIAL_CONCURRENCY,
    DENIAL_TOO_MANY,
    DENIAL_NO_FILE,   /* plain CGI gate: nothing is at this path */
    DENIAL_NO_RUNNER, /* plain CGI gate: the file there cannot be run */
    DENIAL_CODES,     /* how many */
};

const char *denial_name(enum denial_code code); /* "auth_unavailable" .. */
int denial_status(enum denial_code code, enum compat compat);

struct denial {
    enum denial_code code;
    const char *reason;               /* DENIAL_INVALID_KEY: "revoked", "expired", "" or NULL */
    const struct verdict *verdict;    /* EXPIRED, BUDGET, RATE, CONCURRENCY */
    const struct scope_set *required; /* SCOPE: the route's */
    const struct rate *rate;          /* TOO_MANY */
    int64_t retry_after_us;           /* TOO_MANY, UNAVAILABLE */
};

/* Write the whole answer. `compat`: with agentkey-clerk's bodies and statuses, or with bodies as
 * OpenAI's API has them. `out` is cleared first and never fails with ANSWER_SIZE bytes. */
void answer_denial(const struct denial *denial, const char *request_id, enum compat compat,
                   int64_t now_us, struct buf *out);

struct allow {
    const struct identity *identity;
    const struct plan *plan;
    const struct route *route; /* NULL: none applies */
    const struct verdict *verdict;
    const char *request_id;
};

/* `out` is cleared first. False when a value does not fit a header line: the caller then has to
 * deny. */
bool answer_allow(const struct allow *allow, struct buf *out) MUST_CHECK;
/* An allow without variables, for a call whose variables are there already. */
void answer_allow_bare(struct buf *out);

/* How a web server asks for a denial to be printed again; each may be NULL. */
struct denial_call {
    const char *text; /* SPENDGATE_DENIAL: the body, as in X-Spendgate-Denial */
    const char
        *query; /* QUERY_STRING: without `text`, its denial=... (the same), else status=NNN */
    const char
        *redirect; /* REDIRECT_STATUS: 4xx and 5xx say that this is Apache's error page, whose
                    * other headers are still those of the denial: they are not printed */
};

/* Print it. Anything that is no denial of ours becomes 503. */
void answer_denial_again(const struct denial_call *call, const char *request_id, enum compat compat,
                         struct buf *out);

#endif
