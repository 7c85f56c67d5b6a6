/* SPDX-License-Identifier: MIT */
/*
 * What a backend's work cost, as it posts it: the members of POST /v1/spend, checked, and recorded.
 * Used for a post that arrives at the tracker and for one that waited in a spool, so that both have
 * the same fingerprint, and the same answer is kept for both. Source: contract, section 5.
 */
#ifndef SPENDGATE_SPEND_POST_H
#define SPENDGATE_SPEND_POST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/fields.h"
#include "common/refusal.h"
#include "common/store.h"
#include "common/usage_post.h"

/* One post, checked. Texts that were not given are "". */
struct spend_post {
    char hold_id[HOLD_TEXT_SIZE];
    char subject[ACCOUNT_NAME_SIZE];
    char key_id[ACCOUNT_NAME_SIZE];
    int64_t cost_nanos; /* of a usage: not before spend_price */
    int64_t occurred_us;
    bool by_usage;
    struct usage_post usage; /* where `by_usage` */
    int64_t price_id;        /* the version that priced it; 0 none */
    char model[TEXT_FIELD_SIZE], route[ROUTE_PREFIX_SIZE], tags[TEXT_FIELD_SIZE];
    char metadata[METADATA_SIZE];
    uint8_t fingerprint[SHA256_BYTES];
};

/* Read and check the members, except the idempotency key. On a refusal `out` is not to be used. */
void spend_parse(const struct fields *fields, int64_t max_charge_nanos, struct spend_post *out,
                 struct refusal *refusal);
/* Give a checked post that has a usage its cost; nothing for one that has a cost. Before a batch is
 * begun, so that nobody waits for it. Refusals and errors: usage_post_price. */
enum status spend_price(struct store *store, struct spend_post *post, int64_t max_charge_nanos,
                        int64_t now_us, struct refusal *refusal, struct error *err) MUST_CHECK;
/*
 * Record one checked and priced post, durably, in the name of `token`; `reply` (of REPLY_SIZE)
 * receives the answer's bytes when the outcome is DONE or REPLAYED. What the post itself is to
 * blame for before there is an outcome is a refusal; errors are the store's.
 */
enum status spend_record(struct store *store, const struct spend_post *post, const char *token,
                         const struct idempotency *idempotency, int64_t now_us,
                         struct result *result, struct buf *reply, struct refusal *refusal,
                         struct error *err) MUST_CHECK;

#endif
