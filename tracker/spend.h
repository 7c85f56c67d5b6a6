/* SPDX-License-Identifier: MIT */
/*
 * POST /v1/spend and POST /v1/spend/batch: what a backend's work cost.
 * Source: contract, section 5.
 */
#ifndef SPENDGATE_TRACKER_SPEND_H
#define SPENDGATE_TRACKER_SPEND_H

#include <stdbool.h>
#include <stdint.h>

#include "tracker/call.h"

#define BATCH_MAX 1000

/* One post, checked. Texts that were not given are "". */
struct spend_post {
    char hold_id[HOLD_TEXT_SIZE];
    char subject[ACCOUNT_NAME_SIZE];
    char key_id[ACCOUNT_NAME_SIZE];
    int64_t cost_nanos;
    int64_t occurred_us;
    char model[TEXT_FIELD_SIZE], route[ROUTE_PREFIX_SIZE], tags[TEXT_FIELD_SIZE];
    char metadata[METADATA_SIZE];
    uint8_t fingerprint[SHA256_BYTES];
};

/* Read and check the members, except the idempotency key. On a refusal `out` is not to be used. */
void spend_parse(const struct fields *fields, int64_t max_charge_nanos, struct spend_post *out,
                 struct refusal *refusal);

void spend_post_one(struct call *call);
void spend_post_batch(struct call *call);

#endif
