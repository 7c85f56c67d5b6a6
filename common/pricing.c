/* SPDX-License-Identifier: MIT */
#include "common/pricing.h"

#include <assert.h>
#include <string.h>

#include "common/money.h"

#include "common/banned.h"

#define UNITS_PER_PRICE 1000000
#define STEP_200K 200000
#define STEP_272K 272000

static const char *const part_names[PRICE_PARTS] = {
    [PRICE_INPUT] = "input",
    [PRICE_CACHE_READ] = "cache_read",
    [PRICE_CACHE_WRITE] = "cache_write",
    [PRICE_CACHE_WRITE_1H] = "cache_write_1h",
    [PRICE_OUTPUT] = "output",
    [PRICE_REASONING] = "reasoning",
    [PRICE_AUDIO_INPUT] = "audio_input",
    [PRICE_AUDIO_CACHE_READ] = "audio_cache_read",
    [PRICE_AUDIO_OUTPUT] = "audio_output",
    [PRICE_IMAGE_INPUT] = "image_input",
    [PRICE_IMAGE_OUTPUT] = "image_output",
    [PRICE_WEB_SEARCH] = "web_search",
};
static const char *const step_names[PRICE_STEPS] = { "", ".above_200k", ".above_272k" };
static const char *const tier_names[PRICE_TIERS] = { "", ".batch", ".flex", ".priority" };

/* The part that a part without a price of its own is charged as; itself: there is none. */
static const enum price_part kind_of[PRICE_PARTS] = {
    [PRICE_INPUT] = PRICE_INPUT,         [PRICE_CACHE_READ] = PRICE_INPUT,
    [PRICE_CACHE_WRITE] = PRICE_INPUT,   [PRICE_CACHE_WRITE_1H] = PRICE_CACHE_WRITE,
    [PRICE_OUTPUT] = PRICE_OUTPUT,       [PRICE_REASONING] = PRICE_OUTPUT,
    [PRICE_AUDIO_INPUT] = PRICE_INPUT,   [PRICE_AUDIO_CACHE_READ] = PRICE_AUDIO_INPUT,
    [PRICE_AUDIO_OUTPUT] = PRICE_OUTPUT, [PRICE_IMAGE_INPUT] = PRICE_INPUT,
    [PRICE_IMAGE_OUTPUT] = PRICE_OUTPUT, [PRICE_WEB_SEARCH] = PRICE_WEB_SEARCH,
};

void
price_init(struct price *price)
{
    for (int tier = 0; tier < PRICE_TIERS; tier++) {
        for (int step = 0; step < PRICE_STEPS; step++) {
            for (int part = 0; part < PRICE_PARTS; part++)
                price->rates[tier][step][part] = PRICE_UNSET;
        }
    }
}

static int64_t
dearer(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* A vendor may publish a tier or a step for some parts only. The dearer of what is known never
 * charges less than was spent. */
static int64_t
part_rate(const struct price *price, enum price_tier tier, enum price_step step,
          enum price_part part)
{
    int64_t rate = PRICE_UNSET;

    for (int s = (int)step; s >= 0; s--) {
        if (price->rates[tier][s][part] != PRICE_UNSET) {
            rate = price->rates[tier][s][part];
            if (s == (int)step)
                return rate;
            break;
        }
    }
    for (int s = (int)step; s >= 0; s--) {
        if (price->rates[PRICE_STANDARD][s][part] == PRICE_UNSET)
            continue;
        /* A discounted tier without a step of its own still has the step's surcharge. */
        if (rate == PRICE_UNSET || s > 0)
            rate = dearer(rate, price->rates[PRICE_STANDARD][s][part]);
        break;
    }
    return rate;
}

int64_t
price_rate(const struct price *price, enum price_tier tier, enum price_step step,
           enum price_part part)
{
    for (;;) {
        int64_t rate = part_rate(price, tier, step, part);

        if (rate != PRICE_UNSET || kind_of[part] == part)
            return rate;
        part = kind_of[part];
    }
}

void
price_write(const struct price *price, struct buf *out)
{
    const char *separator = "{";

    for (int part = 0; part < PRICE_PARTS; part++) {
        for (int step = 0; step < PRICE_STEPS; step++) {
            for (int tier = 0; tier < PRICE_TIERS; tier++) {
                int64_t rate = price->rates[tier][step][part];

                if (rate == PRICE_UNSET)
                    continue;
                buf_add_format(out, "%s\"%s%s%s\":", separator, part_names[part], step_names[step],
                               tier_names[tier]);
                buf_add_json_money(out, rate);
                separator = ",";
            }
        }
    }
    buf_add(out, *separator == '{' ? "{}" : "}");
}

int64_t *
price_rate_named(struct price *price, const char *name)
{
    for (int part = 0; part < PRICE_PARTS; part++) {
        size_t part_length = strlen(part_names[part]);

        if (strncmp(name, part_names[part], part_length) != 0)
            continue;
        for (int step = 0; step < PRICE_STEPS; step++) {
            size_t step_length = strlen(step_names[step]);

            if (strncmp(name + part_length, step_names[step], step_length) != 0)
                continue;
            for (int tier = 0; tier < PRICE_TIERS; tier++) {
                if (strcmp(name + part_length + step_length, tier_names[tier]) == 0)
                    return &price->rates[tier][step][part];
            }
        }
    }
    return NULL;
}

struct parse_state {
    struct price *price;
    struct error *err;
    enum status status;
};

static bool
parse_rate(const char *name, const struct json *value, void *context)
{
    struct parse_state *state = context;
    int64_t *rate = price_rate_named(state->price, name);
    const char *text = json_string(value);

    if (text == NULL)
        text = json_number_text(value);
    if (rate == NULL)
        state->status = error_set(state->err, STATUS_INVALID, "price: unknown rate \"%s\"", name);
    else if (text == NULL || !money_parse_usd(text, rate))
        state->status =
            error_set(state->err, STATUS_INVALID,
                      "price: %s is not a decimal of USD with at most nine decimals", name);
    return state->status == STATUS_OK;
}

enum status
price_parse(const struct json *rates, struct price *out, struct error *err)
{
    struct parse_state state = { .price = out, .err = err, .status = STATUS_OK };

    price_init(out);
    if (json_type(rates) != JSON_OBJECT)
        return error_set(err, STATUS_INVALID, "price: the rates are no JSON object");
    json_each(rates, parse_rate, &state);
    return state.status;
}

/* ---- usage ---------------------------------------------------------------------------------- */

/* A count that may be missing or null (0). Fails sticky into `*status`. */
static int64_t
count_of(const struct json *object, const char *name, enum status *status, struct error *err)
{
    const struct json *value = json_member(object, name);
    int64_t count = 0;

    if (*status != STATUS_OK || json_type(value) == JSON_NULL)
        return 0;
    if (!json_int64(value, 0, USAGE_UNITS_MAX, &count))
        *status = error_set(err, STATUS_INVALID, "usage: %s is not a whole number from 0", name);
    return *status == STATUS_OK ? count : 0;
}

/* `whole` without `part`, which must be inside it. */
static int64_t
without(int64_t whole, int64_t part, const char *what, enum status *status, struct error *err)
{
    if (*status != STATUS_OK)
        return 0;
    if (part > whole) {
        *status =
            error_set(err, STATUS_INVALID, "usage: %s exceed the tokens they are part of", what);
        return 0;
    }
    return whole - part;
}

/* A vendor's total that its parts exceed is wrong somewhere; one that is larger counts what we do
 * not know of and is the vendor's business. */
static void
check_total(const struct json *object, const char *name, int64_t parts, enum status *status,
            struct error *err)
{
    int64_t total = count_of(object, name, status, err);

    if (*status == STATUS_OK && json_type(json_member(object, name)) != JSON_NULL && parts > total)
        *status = error_set(err, STATUS_INVALID, "usage: its parts exceed %s", name);
}

/* Cached and audio tokens inside the input, reasoning and audio tokens inside the output. */
static enum status
parse_openai(const struct json *object, bool chat, struct usage *out, struct error *err)
{
    enum status status = STATUS_OK;
    const struct json *in =
        json_member(object, chat ? "prompt_tokens_details" : "input_tokens_details");
    const struct json *made =
        json_member(object, chat ? "completion_tokens_details" : "output_tokens_details");
    int64_t input = count_of(object, chat ? "prompt_tokens" : "input_tokens", &status, err);
    int64_t output = count_of(object, chat ? "completion_tokens" : "output_tokens", &status, err);
    int64_t cached = count_of(in, "cached_tokens", &status, err);
    int64_t written = count_of(in, "cache_write_tokens", &status, err);
    int64_t audio_in = count_of(in, "audio_tokens", &status, err);
    int64_t image_in = count_of(in, "image_tokens", &status, err);
    const struct json *cached_details = json_member(in, "cached_tokens_details");
    int64_t audio_cached = count_of(cached_details, "audio_tokens", &status, err);
    int64_t reasoning = count_of(made, "reasoning_tokens", &status, err);
    int64_t audio_out = count_of(made, "audio_tokens", &status, err);
    int64_t image_out = count_of(made, "image_tokens", &status, err);
    int64_t rest;

    out->input_tokens = input;
    out->output_tokens = output;
    check_total(object, "total_tokens", input + output, &status, err);
    /* Audio may be cached: it is then in both counts, and is charged as cached audio. */
    out->units[PRICE_AUDIO_CACHE_READ] = audio_cached;
    out->units[PRICE_CACHE_READ] =
        without(cached, audio_cached, "cached audio tokens", &status, err);
    out->units[PRICE_AUDIO_INPUT] =
        without(audio_in, audio_cached, "cached audio tokens", &status, err);
    out->units[PRICE_CACHE_WRITE] = written;
    out->units[PRICE_IMAGE_INPUT] = image_in;
    rest = without(input, cached, "cached tokens", &status, err);
    rest = without(rest, written, "cached tokens", &status, err);
    rest = without(rest, out->units[PRICE_AUDIO_INPUT], "audio tokens", &status, err);
    out->units[PRICE_INPUT] = without(rest, image_in, "image tokens", &status, err);
    out->units[PRICE_REASONING] = reasoning;
    out->units[PRICE_AUDIO_OUTPUT] = audio_out;
    out->units[PRICE_IMAGE_OUTPUT] = image_out;
    rest = without(output, reasoning, "reasoning tokens", &status, err);
    rest = without(rest, audio_out, "audio tokens", &status, err);
    out->units[PRICE_OUTPUT] = without(rest, image_out, "image tokens", &status, err);
    return status;
}

/* Cached tokens stand beside the input; thinking is inside the output. */
static enum status
parse_anthropic(const struct json *object, struct usage *out, struct error *err)
{
    enum status status = STATUS_OK;
    const struct json *lifetimes = json_member(object, "cache_creation");
    const struct json *tools = json_member(object, "server_tool_use");
    int64_t input = count_of(object, "input_tokens", &status, err);
    int64_t cached = count_of(object, "cache_read_input_tokens", &status, err);
    int64_t written = count_of(object, "cache_creation_input_tokens", &status, err);
    int64_t five_minutes = count_of(lifetimes, "ephemeral_5m_input_tokens", &status, err);
    int64_t one_hour = count_of(lifetimes, "ephemeral_1h_input_tokens", &status, err);

    if (!json_has(object, "cache_creation_input_tokens"))
        written = five_minutes + one_hour;
    if (status == STATUS_OK && five_minutes + one_hour > written)
        status = error_set(err, STATUS_INVALID,
                           "usage: cache writes exceed cache_creation_input_tokens");
    out->units[PRICE_INPUT] = input;
    out->units[PRICE_CACHE_READ] = cached;
    out->units[PRICE_CACHE_WRITE_1H] = one_hour;
    /* What no lifetime is told of has the default one. */
    out->units[PRICE_CACHE_WRITE] = without(written, one_hour, "cache writes", &status, err);
    out->units[PRICE_OUTPUT] = count_of(object, "output_tokens", &status, err);
    out->units[PRICE_WEB_SEARCH] = count_of(tools, "web_search_requests", &status, err);
    out->input_tokens = input + cached + written;
    out->output_tokens = out->units[PRICE_OUTPUT];
    return status;
}

/* The tokens of one modality in a Gemini details list. */
static int64_t
modality(const struct json *list, const char *name, enum status *status, struct error *err)
{
    int64_t sum = 0;

    for (size_t i = 0; i < json_count(list) && sum <= USAGE_UNITS_MAX; i++) {
        const struct json *entry = json_element(list, i);
        const char *kind = json_string(json_member(entry, "modality"));

        if (kind != NULL && strcmp(kind, name) == 0)
            sum += count_of(entry, "tokenCount", status, err);
    }
    return sum;
}

/* Cached tokens are inside the prompt; thoughts stand beside the candidates, tool results beside
 * the prompt. */
static enum status
parse_gemini(const struct json *object, struct usage *out, struct error *err)
{
    enum status status = STATUS_OK;
    const struct json *prompt_details = json_member(object, "promptTokensDetails");
    const struct json *cache_details = json_member(object, "cacheTokensDetails");
    const struct json *made_details = json_member(object, "candidatesTokensDetails");
    int64_t prompt = count_of(object, "promptTokenCount", &status, err);
    int64_t cached = count_of(object, "cachedContentTokenCount", &status, err);
    int64_t made = count_of(object, "candidatesTokenCount", &status, err);
    int64_t thoughts = count_of(object, "thoughtsTokenCount", &status, err);
    int64_t tool_prompt = count_of(object, "toolUsePromptTokenCount", &status, err);
    int64_t audio_in = modality(prompt_details, "AUDIO", &status, err);
    int64_t audio_cached = modality(cache_details, "AUDIO", &status, err);
    int64_t audio_out = modality(made_details, "AUDIO", &status, err);
    int64_t image_out = modality(made_details, "IMAGE", &status, err);
    int64_t rest;

    out->input_tokens = prompt + tool_prompt;
    out->output_tokens = made + thoughts;
    check_total(object, "totalTokenCount", prompt + tool_prompt + made + thoughts, &status, err);
    out->units[PRICE_AUDIO_CACHE_READ] = audio_cached;
    out->units[PRICE_CACHE_READ] =
        without(cached, audio_cached, "cached audio tokens", &status, err);
    out->units[PRICE_AUDIO_INPUT] =
        without(audio_in, audio_cached, "cached audio tokens", &status, err);
    rest = without(prompt, cached, "cached tokens", &status, err);
    out->units[PRICE_INPUT] =
        without(rest, out->units[PRICE_AUDIO_INPUT], "audio tokens", &status, err) + tool_prompt;
    out->units[PRICE_REASONING] = thoughts;
    out->units[PRICE_AUDIO_OUTPUT] = audio_out;
    out->units[PRICE_IMAGE_OUTPUT] = image_out;
    rest = without(made, audio_out, "audio tokens", &status, err);
    out->units[PRICE_OUTPUT] = without(rest, image_out, "image tokens", &status, err);
    return status;
}

static enum usage_shape
shape_of(const struct json *object, const char *provider)
{
    if (json_has(object, "promptTokenCount"))
        return USAGE_GEMINI;
    if (json_has(object, "prompt_tokens"))
        return USAGE_OPENAI_CHAT;
    if (!json_has(object, "input_tokens"))
        return USAGE_UNKNOWN;
    if (json_has(object, "cache_creation_input_tokens") ||
        json_has(object, "cache_read_input_tokens") || json_has(object, "cache_creation") ||
        (provider != NULL && strcmp(provider, "anthropic") == 0))
        return USAGE_ANTHROPIC;
    return USAGE_OPENAI_RESPONSES;
}

/* "service_tier" as the vendors write it. An unknown one is refused: it may have a price of its
 * own. */
static enum status
parse_tier(const struct json *object, struct usage *out, struct error *err)
{
    static const struct {
        const char *name;
        enum price_tier tier;
    } tiers[] = {
        { "standard", PRICE_STANDARD }, { "default", PRICE_STANDARD }, { "auto", PRICE_STANDARD },
        { "scale", PRICE_STANDARD },    { "batch", PRICE_BATCH },      { "flex", PRICE_FLEX },
        { "priority", PRICE_PRIORITY },
    };
    const struct json *value = json_member(object, "service_tier");
    const char *name = json_string(value);

    out->tier = PRICE_STANDARD;
    if (json_type(value) == JSON_NULL)
        return STATUS_OK;
    for (size_t i = 0; name != NULL && i < sizeof(tiers) / sizeof(tiers[0]); i++) {
        if (strcmp(tiers[i].name, name) == 0) {
            out->tier = tiers[i].tier;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_INVALID, "usage: unknown service_tier");
}

enum status
usage_parse(const struct json *object, const char *provider, struct usage *out, struct error *err)
{
    enum status status;

    memset(out, 0, sizeof(*out));
    out->shape = shape_of(object, provider);
    switch (out->shape) {
    case USAGE_OPENAI_CHAT:
    case USAGE_OPENAI_RESPONSES:
        status = parse_openai(object, out->shape == USAGE_OPENAI_CHAT, out, err);
        break;
    case USAGE_ANTHROPIC:
        status = parse_anthropic(object, out, err);
        break;
    case USAGE_GEMINI:
        status = parse_gemini(object, out, err);
        break;
    case USAGE_UNKNOWN:
    default:
        return error_set(err, STATUS_INVALID,
                         "usage: neither OpenAI's, Anthropic's nor Gemini's usage object");
    }
    if (status == STATUS_OK)
        status = parse_tier(object, out, err);
    if (out->input_tokens > STEP_272K)
        out->step = PRICE_ABOVE_272K;
    else if (out->input_tokens > STEP_200K)
        out->step = PRICE_ABOVE_200K;
    return status;
}

enum status
usage_cost(const struct usage *usage, const struct price *price, int64_t *nanos, struct error *err)
{
    unsigned __int128 sum = 0; /* 12 parts of at most 10^12 * 10^18: fits */

    for (int part = 0; part < PRICE_PARTS; part++) {
        int64_t rate;

        if (usage->units[part] == 0)
            continue;
        rate = price_rate(price, usage->tier, usage->step, (enum price_part)part);
        if (rate == PRICE_UNSET)
            return error_set(err, STATUS_NOT_FOUND, "price: this model has no price for %s",
                             part_names[part]);
        assert(rate >= 0 && usage->units[part] >= 0);
        sum += (unsigned __int128)usage->units[part] * (unsigned __int128)rate;
    }
    sum = (sum + UNITS_PER_PRICE - 1) / UNITS_PER_PRICE;
    if (sum > (unsigned __int128)MONEY_MAX_NANOS)
        return error_set(err, STATUS_OVERFLOW, "price: the cost passes one billion dollars");
    *nanos = (int64_t)sum;
    return STATUS_OK;
}
