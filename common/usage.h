/* SPDX-License-Identifier: MIT */
/*
 * What was used, and what it costs: a vendor's own usage object taken apart into units of which
 * each is in exactly one part, and one exact sum with the rates of a price. Pure.
 *
 * Shapes: OpenAI's chat completions, embeddings, responses, realtime, image and transcription
 * objects (also as DeepSeek, Moonshot and xAI write them), Anthropic's, and Gemini's usageMetadata.
 * In every shape these members are understood, so that a caller can add what a vendor tells
 * elsewhere in its answer: `service_tier`; `server_tool_use` with `web_search_requests`,
 * `file_search_requests` and `code_interpreter_sessions`; `speed` and `inference_geo`.
 * Source: contract, section 6.
 */
#ifndef SPENDGATE_USAGE_H
#define SPENDGATE_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/json.h"
#include "common/pricing.h"

#define USAGE_UNITS_MAX INT64_C(1000000000000) /* of one part of one usage */
#define USAGE_TEXT_SIZE 768                    /* any usage as we keep it, with the NUL */

enum usage_shape {
    USAGE_UNKNOWN,
    USAGE_OPENAI_CHAT,      /* prompt_tokens; also embeddings */
    USAGE_OPENAI_RESPONSES, /* input_tokens */
    USAGE_ANTHROPIC,        /* input_tokens beside cache_… members */
    USAGE_GEMINI,           /* promptTokenCount */
};

struct usage {
    enum usage_shape shape; /* not kept with a charge */
    enum price_tier tier;
    enum price_step step;
    bool fast, regional;
    int64_t units[PRICE_PARTS]; /* 0..USAGE_UNITS_MAX */
};

/*
 * Read a vendor's usage object. `service_tier` is the tier as the caller told it beside the usage,
 * or NULL; it must not contradict the object's own. Unknown members are ignored. Errors:
 * STATUS_INVALID: no known shape, a count that is not a whole number 0..USAGE_UNITS_MAX, parts that
 * exceed their whole, an unknown tier or speed.
 */
enum status usage_parse(const struct json *object, const char *service_tier, struct usage *out,
                        struct error *err) MUST_CHECK;

/* As it is kept with a charge: {"input":600,"cache_read":400,"output":40,"tier":"flex"}; what is 0
 * or usual is left out. */
void usage_write(const struct usage *usage, struct buf *out);
/* The same read back. Errors: STATUS_INVALID. */
enum status usage_read(const struct json *kept, struct usage *out, struct error *err) MUST_CHECK;

/* The rate of one part with the factors that apply, as price_rate. */
int64_t usage_rate(const struct usage *usage, const struct price *price, enum price_part part);
/*
 * The cost: the sum of units times rates, exact, rounded up once to a nano-dollar.
 * Errors: STATUS_NOT_FOUND (what was used has no price), STATUS_OVERFLOW.
 */
enum status usage_cost(const struct usage *usage, const struct price *price, int64_t *nanos,
                       struct error *err) MUST_CHECK;
/* Append the exact cost of one part, in USD without trailing zeros: up to fifteen decimals, not
 * rounded. The parts' costs add up to what usage_cost rounds. */
void usage_add_part_cost(struct buf *out, int64_t units, int64_t rate);

#endif
