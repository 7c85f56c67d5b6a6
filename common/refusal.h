/* SPDX-License-Identifier: MIT */
/*
 * Why a call of the tracker, or a post that is replayed for it, was refused: a status, a code and a
 * sentence, as {"error","message","request_id"}. Source: contract, section 5.
 */
#ifndef SPENDGATE_REFUSAL_H
#define SPENDGATE_REFUSAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/ledger.h"

#define REFUSAL_ITEM_SIZE 8192 /* fits any refusal as JSON, with its NUL */

/* Why a call was refused. The first reason stays; all-zero is none. */
struct refusal {
    int http_status;  /* 0: none */
    const char *code; /* static storage */
    char message[ERROR_MESSAGE_SIZE];
    int64_t retry_after_s;
    const char *challenge;
    bool logged; /* the line of its cause says more than one of its own */
    /* A denial of the ledger: its numbers become extra members. */
    const struct verdict *verdict;
};

/* Note a refusal unless there is one already. A message that is too long is cut. */
void refusal_set(struct refusal *refusal, int http_status, const char *code, const char *format,
                 ...) PRINTF_LIKE(4, 5);
static inline bool
refused(const struct refusal *refusal)
{
    return refusal->http_status != 0;
}

/* The refusal as one JSON object; with `item` it begins with "status", as an element of a batch
 * does. */
void refusal_write(struct buf *out, const struct refusal *refusal, const char *request_id,
                   bool item);

#endif
