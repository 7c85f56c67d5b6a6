/* SPDX-License-Identifier: MIT */
/*
 * A usage as it is posted, to be priced from the store: the members `usage`, `model`, `provider`
 * and `service_tier` of POST /v1/spend and POST /v1/quote. Source: contract, sections 5 and 6.
 */
#ifndef SPENDGATE_USAGE_POST_H
#define SPENDGATE_USAGE_POST_H

#include <stdint.h>

#include "common/fields.h"
#include "common/refusal.h"
#include "common/store.h"
#include "common/usage.h"

struct usage_post {
    char model[TEXT_FIELD_SIZE], provider[TEXT_FIELD_SIZE]; /* provider "": not given */
    struct usage usage;
};

/* Read and check the members. Refusals: 400 missing_field, invalid_field; 422 usage_inconsistent.
 * `out` is then not to be used. */
void usage_post_read(const struct fields *fields, struct usage_post *out, struct refusal *refusal);

/*
 * What it costs when it is posted at `now_us` (store_price_find says at which instant's price;
 * `hold_id` NULL: none). Refusals: 422 unknown_model (no price, several providers, or no price for
 * a part of the usage), 400 invalid_cost (above `max_charge_nanos`). Errors are the store's.
 */
enum status usage_post_price(struct store *store, const struct usage_post *post,
                             const char *hold_id, int64_t max_charge_nanos, int64_t now_us,
                             struct price_version *version, int64_t *cost_nanos,
                             struct refusal *refusal, struct error *err) MUST_CHECK;

#endif
