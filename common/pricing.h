/* SPDX-License-Identifier: MIT */
/*
 * The price of a model: what a unit of each part costs, by service tier and long-context step.
 * Pure; where prices are kept is the store's business, what is counted is usage.h.
 *
 * A rate is nano-dollars per 1,000,000 units, so that every published price (USD per million
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
#define PRICE_RATES_SIZE 16384 /* any price as JSON, with the NUL */
#define PRICE_UNITS 1000000    /* what a rate is the price of */
#define MODEL_NAME_SIZE 256
#define PROVIDER_NAME_SIZE 64

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
    PRICE_IMAGE_INPUT, /* and video */
    PRICE_IMAGE_CACHE_READ,
    PRICE_IMAGE_OUTPUT,
    PRICE_VIDEO_OUTPUT,
    PRICE_WEB_SEARCH, /* this and what follows: per call */
    PRICE_FILE_SEARCH,
    PRICE_CODE_INTERPRETER,
    PRICE_PARTS,
};

enum price_tier { PRICE_STANDARD, PRICE_BATCH, PRICE_FLEX, PRICE_PRIORITY, PRICE_TIERS };

/* Long-context steps: a whole request is priced by the step its input (cached parts included) is
 * above. */
enum price_step { PRICE_BASE, PRICE_ABOVE_200K, PRICE_ABOVE_272K, PRICE_STEPS };

/* What multiplies every token's rate, in billionths (1.1 is 1,100,000,000). */
enum price_factor {
    PRICE_FAST,     /* a faster mode of the same model (Anthropic's "speed") */
    PRICE_REGIONAL, /* processing bound to a region (Anthropic's "inference_geo") */
    PRICE_FACTORS,
};

struct price {
    /* Nano-dollars per 1,000,000 units, 0..MONEY_MAX_NANOS, or PRICE_UNSET. */
    int64_t rates[PRICE_TIERS][PRICE_STEPS][PRICE_PARTS];
    int64_t factors[PRICE_FACTORS]; /* or PRICE_UNSET */
};

/* Every rate and factor unset. */
void price_init(struct price *price);
/* No rate is set: a price that withdraws a model. */
bool price_is_empty(const struct price *price);
bool price_same(const struct price *a, const struct price *b);

/*
 * The rate that applies; PRICE_UNSET when nothing is known: then the usage cannot be priced. It is
 * the rate that is set for exactly that tier, step and part. Vendors publish few of them, so:
 *
 * 1. A tier's rate without this step takes the step's factor from the standard tier.
 * 2. A part whose rate is known without this tier or step is raised, never lowered, by the factor
 *    of the part it is a kind of (cache_write_1h: cache_write; cache_read, cache_write, audio_input
 *    and image_input: input; audio_cache_read and image_cache_read: their input; reasoning,
 *    audio_output, image_output and video_output: output). One that costs the same as that part
 *    goes with it both ways.
 * 3. A part without any rate is priced as the part it is a kind of; cached audio and images with
 *    the discount that cached text has.
 *
 * A rate that is computed is rounded up to a nano-dollar per 1,000,000 units, and is at most
 * MONEY_MAX_NANOS.
 */
int64_t price_rate(const struct price *price, enum price_tier tier, enum price_step step,
                   enum price_part part);
/* `rate` times a factor in billionths, rounded up; at most MONEY_MAX_NANOS. */
int64_t price_multiply(int64_t rate, int64_t factor);

/* Names as they are outside. Static storage. */
const char *price_part_name(enum price_part part); /* "cache_read" */
const char *price_tier_name(enum price_tier tier); /* "standard" */
const char *price_step_name(enum price_step step); /* "above_200k"; "" for the base */
/* "batch", as vendors and we write it, in any case. */
bool price_tier_parse(const char *name, enum price_tier *out) MUST_CHECK;

/* As JSON, one member per rate that is set:
 * {"input":"3","input.above_200k":"6","output.priority":"30","fast_factor":"6"}. USD per 1,000,000
 * units. `price_parse` refuses unknown members and anything money_parse_usd refuses. */
void price_write(const struct price *price, struct buf *out);
enum status price_parse(const struct json *rates, struct price *out, struct error *err) MUST_CHECK;
/* The same from text. */
enum status price_parse_text(const char *rates, size_t length, struct price *out,
                             struct error *err) MUST_CHECK;
/* The rate or factor named by such a member ("cache_read.above_200k.priority"), for the importers;
 * NULL when unknown. */
int64_t *price_rate_named(struct price *price, const char *name);

#endif
