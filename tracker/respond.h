/* SPDX-License-Identifier: MIT */
/*
 * The answer of one call: a body that grows up to a limit, the few headers the tracker uses, and
 * refusals in the shape {"error","message","request_id"}. An answer is built whole and sent once,
 * so that nothing is on the wire before the money is safe. Source: contract, section 5.
 */
#ifndef SPENDGATE_TRACKER_RESPOND_H
#define SPENDGATE_TRACKER_RESPOND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/refusal.h"
#include "common/request.h"

#define ANSWER_BODY_MAX (64 * 1024 * 1024) /* a batch of 1,000 with the longest replies fits */
#define ANSWER_KEEP_MAX (1024 * 1024)      /* storage kept from one request to the next */
#define REQUEST_ID_SIZE 65

struct answer {
    int http_status;          /* 0: nothing was decided yet */
    const char *content_type; /* static storage, as the next two; NULL: application/json */
    const char *allow;
    const char *challenge; /* WWW-Authenticate */
    int64_t retry_after_s; /* 0 none */
    /* CORS: the origin that may read the answer, borrowed; NULL none. */
    const char *allow_origin;
    bool vary_origin;   /* another origin may get another answer */
    bool allow_cookies; /* a page may send its cookies along */
    bool preflight;     /* this is the answer to a preflight */
    bool replayed;
    char *body; /* owned; not terminated */
    size_t length, size;
    bool failed; /* sticky: out of memory, or over ANSWER_BODY_MAX */
};

void answer_clear(struct answer *answer); /* frees; the answer is as new */
void answer_reset(
    struct answer *answer); /* for the next request; storage up to ANSWER_KEEP_MAX stays */
void answer_add(struct answer *answer, const void *bytes, size_t length);
void answer_add_text(struct answer *answer, const char *text);
void answer_add_buf(struct answer *answer,
                    const struct buf *buf); /* a failed buf fails the answer */

/* Replace the answer by this refusal. */
void answer_refuse(struct answer *answer, const struct refusal *refusal, const char *request_id);

/* Send the answer; for `head` without its body. An answer that failed is sent as 503. */
enum status answer_send(struct answer *answer, struct request *request, const char *request_id,
                        bool head, struct error *err) MUST_CHECK;

#endif
