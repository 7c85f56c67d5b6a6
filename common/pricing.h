/* SPDX-License-Identifier: MIT */
/*
 * What a usage costs: a vendor's own usage object, the price of its model, and one exact sum. Pure;
 * where prices are kept is the store's business.
 *
 * A price is nano-dollars per 1,000,000 units, so that every published price (USD per million
 * tokens, nine decimals) is a whole number, and a charge is rounded up once, at the end (I8).
 * Source: contract, section 6.
 */
#ifndef SPENDGATE_PRICING_H
#define SPENDGATE_PRICING_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/json.h"

#define PRICE_UNSET INT64_C(-1)
#define PRICE_RATES_SIZE 4096                  /* a price's rates as JSON, with the NUL */
#define USAGE_UNITS_MAX INT64_C(1000000000000) /* of one part of one usage */

/* What is counted, each unit in exactly one part. A tool is counted in calls, all else in tokens.
 */
enum price_part {
    PRICE_INPUT,
    PRICE_CACHE_READ,
    PRICE_CACHE_WRITE, /* of the vendor's default lifetime (5 minutes) */
    PRICE_CACHE_WRITE_1H,
    PRICE_OUTPUT,
    PRICE_REASONING,
    PRICE_AUDIO_INPUT,
    PRICE_AUDIO_CACHE_READ,
    PRICE_AUDIO_OUTPUT,
    PRICE_IMAGE_INPUT,
    PRICE_IMAGE_OUTPUT,
    PRICE_WEB_SEARCH,
    PRICE_PARTS,
};

enum price_tier { PRICE_STANDARD, PRICE_BATCH, PRICE_FLEX, PRICE_PRIORITY, PRICE_TIERS };

/* Long-context steps: a whole request is priced by the step its input (cached parts included) is
 * above. */
enum price_step { PRICE_BASE, PRICE_ABOVE_200K, PRICE_ABOVE_272K, PRICE_STEPS };

struct price {
    /* Nano-dollars per 1,000,000 units, 0..MONEY_MAX_NANOS, or PRICE_UNSET. */
    int64_t rates[PRICE_TIERS][PRICE_STEPS][PRICE_PARTS];
};

/* Every rate unset. */
void price_init(struct price *price);
/*
 * The rate that applies: the one that is set for tier, step and part; where none is, the dearer of
 * the same part without the step and without the tier; then the part it is a kind of (reasoning:
 * output; cache, audio and image input: input; audio and image output: output; one-hour cache
 * writes: cache writes). PRICE_UNSET when nothing is known: then the usage cannot be priced.
 */
int64_t price_rate(const struct price *price, enum price_tier tier, enum price_step step,
                   enum price_part part);

/* As JSON, one member per rate that is set:
 * {"input":"3","input.above_200k":"6","output.priority":"30"}. USD per 1,000,000 units.
 * `price_parse` refuses unknown members and anything money_parse_usd refuses. */
void price_write(const struct price *price, struct buf *out);
enum status price_parse(const struct json *rates, struct price *out, struct error *err) MUST_CHECK;
/* The rate named by such a member ("cache_read.above_200k.priority"), for the importers; NULL when
 * unknown. */
int64_t *price_rate_named(struct price *price, const char *name);

enum usage_shape {
    USAGE_UNKNOWN,
    USAGE_OPENAI_CHAT,      /* prompt_tokens; also embeddings */
    USAGE_OPENAI_RESPONSES, /* input_tokens with input_tokens_details */
    USAGE_ANTHROPIC,        /* input_tokens beside cache_… members */
    USAGE_GEMINI,           /* promptTokenCount */
};

struct usage {
    enum usage_shape shape;
    enum price_tier tier;
    enum price_step step;
    int64_t units[PRICE_PARTS];
    int64_t input_tokens, output_tokens; /* totals, for the charge's record */
};

/*
 * Read a vendor's usage object. `provider` decides between the shapes where the members do not
 * ("anthropic", or anything else); it may be NULL. Unknown members are ignored, except that a count
 * which is not a whole number 0..USAGE_UNITS_MAX is refused. Errors: STATUS_INVALID (no known
 * shape, a bad count, or parts that exceed their whole: usage_inconsistent).
 */
enum status usage_parse(const struct json *object, const char *provider, struct usage *out,
                        struct error *err) MUST_CHECK;

/*
 * The cost: the sum of units times rates, exact, rounded up once to a nano-dollar.
 * Errors: STATUS_NOT_FOUND (a part that was used has no price), STATUS_OVERFLOW.
 */
enum status usage_cost(const struct usage *usage, const struct price *price, int64_t *nanos,
                       struct error *err) MUST_CHECK;

#endif
