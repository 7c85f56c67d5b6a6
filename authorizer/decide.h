/* SPDX-License-Identifier: MIT */
/*
 * One request in, one verdict out: the order of the checks, and a denial for every way in which one
 * of them can end otherwise. Source: contract, section 4; design document, sections 4 and 8 (I10).
 */
#ifndef SPENDGATE_DECIDE_H
#define SPENDGATE_DECIDE_H

#include <stdint.h>

#include "authorizer/verification.h"
#include "authorizer/verifier.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/request.h"
#include "common/settings.h"
#include "common/store.h"

struct decider; /* what a worker has: store, verification, buffers */

struct decider_options {
    const struct settings *settings;    /* borrowed until decider_close */
    const struct verifier *const *rows; /* borrowed; `verifiers`, or a test's own */
    int workers;                        /* of our own master; 0: not ours */
    struct clock clock;
};

/* What the settings need for this program beyond being well-formed: Clerk's key, verifiers for what
 * is accepted, the API's URL. STATUS_INVALID. */
enum status decider_check_settings(const struct settings *settings,
                                   const struct settings_problems *problems,
                                   const struct verifier *const *rows,
                                   struct error *err) MUST_CHECK;

/* Errors: those of store_open and verification_open. */
enum status decider_open(const struct decider_options *options, struct decider **out,
                         struct error *err) MUST_CHECK;
void decider_close(struct decider *decider); /* NULL is fine */

/* The parameters that a verdict depends on; each may be NULL. Never changed here. */
struct question {
    const char *authorization, *redirected_authorization, *cookies;
    const char *target; /* REQUEST_URI */
    const char *route;  /* SPENDGATE_ROUTE */
    const char *unique_id;
    const char *apache_role;                  /* FCGI_APACHE_ROLE: which of Apache's modules asks */
    const char *subject, *redirected_subject; /* [REDIRECT_]SPENDGATE_SUBJECT */
    const char *hold_id, *redirected_hold_id; /* [REDIRECT_]SPENDGATE_HOLD_ID */
    const char *remote, *forwarded;           /* REMOTE_ADDR, HTTP_X_FORWARDED_FOR */
};

/*
 * Decide one request and write the whole answer to `out` (ANSWER_SIZE bytes): Status, then for an
 * allow the variables and nothing else, for a denial its headers and body. Every failure is a
 * denial, and every denial and failure one log line. True when it allows.
 */
bool decide(struct decider *decider, const struct question *question, int64_t now_us,
            struct buf *out);

/* Answer a request of a web server: a verdict, or a denial printed again (SPENDGATE_MODE=deny). */
void decider_handle(struct decider *decider, struct request *request, int64_t now_us);
/* Answer a request for which there is no decider, because of `cause`: 503, and a log line. */
void decider_unavailable(struct request *request, const struct error *cause);
/* Work put off until the answer is out. */
void decider_after(struct decider *decider);

#endif
