/* SPDX-License-Identifier: MIT */
#include "common/usage.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "common/money.h"

#include "common/banned.h"

#define STEP_200K 200000
#define STEP_272K 272000

/* Counts are read one after the other; the first that is wrong is the one to tell. */
struct reader {
    enum status status;
    struct error *err;
};

/* A count that may be missing or null (0). */
static int64_t
count_of(struct reader *reader, const struct json *object, const char *name)
{
    const struct json *value = json_member(object, name);
    int64_t count = 0;

    if (reader->status != STATUS_OK || json_type(value) == JSON_NULL)
        return 0;
    if (!json_int64(value, 0, USAGE_UNITS_MAX, &count))
        reader->status =
            error_set(reader->err, STATUS_INVALID, "usage: %s is not a whole number from 0", name);
    return reader->status == STATUS_OK ? count : 0;
}

static void
refuse(struct reader *reader, const char *problem)
{
    if (reader->status == STATUS_OK)
        reader->status = error_set(reader->err, STATUS_INVALID, "usage: %s", problem);
}

/* `whole` without `part`, which must be inside it. */
static int64_t
without(struct reader *reader, int64_t whole, int64_t part, const char *what)
{
    if (reader->status != STATUS_OK)
        return 0;
    if (part > whole) {
        reader->status = error_set(reader->err, STATUS_INVALID,
                                   "usage: %s exceed the tokens they are part of", what);
        return 0;
    }
    return whole - part;
}

/* A vendor's total that its parts exceed is wrong somewhere; one that is larger counts what we do
 * not know of and is the vendor's business. */
static void
check_total(struct reader *reader, const struct json *object, const char *name, int64_t parts)
{
    int64_t total = count_of(reader, object, name);

    if (reader->status == STATUS_OK && json_type(json_member(object, name)) != JSON_NULL &&
        parts > total)
        reader->status = error_set(reader->err, STATUS_INVALID, "usage: its parts exceed %s", name);
}

static enum price_step
step_of(const struct usage *usage)
{
    static const enum price_part inputs[] = {
        PRICE_INPUT,       PRICE_CACHE_READ,       PRICE_CACHE_WRITE, PRICE_CACHE_WRITE_1H,
        PRICE_AUDIO_INPUT, PRICE_AUDIO_CACHE_READ, PRICE_IMAGE_INPUT, PRICE_IMAGE_CACHE_READ,
    };
    int64_t tokens = 0;

    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++)
        tokens += usage->units[inputs[i]];
    if (tokens > STEP_272K)
        return PRICE_ABOVE_272K;
    return tokens > STEP_200K ? PRICE_ABOVE_200K : PRICE_BASE;
}

/* ---- OpenAI and Gemini: parts inside a whole ------------------------------------------------ */

enum medium { AUDIO, IMAGE, MEDIA };

/* An input whose cached tokens and media are inside it, and may be the same tokens. */
struct input {
    int64_t tokens, cached, written;
    int64_t media[MEDIA];
    bool cached_told; /* which of the cached tokens are media */
    int64_t cached_media[MEDIA];
};

/* Where it is not told which tokens are cached, text is taken first: it is the cheapest, so that
 * the discount is never larger than it was. */
static void
place_cached(struct input *input)
{
    int64_t left =
        input->cached + input->written + input->media[AUDIO] + input->media[IMAGE] - input->tokens;

    for (int medium = 0; medium < MEDIA && left > 0; medium++) {
        int64_t some = left < input->media[medium] ? left : input->media[medium];

        input->cached_media[medium] = some < input->cached ? some : input->cached;
        left -= input->cached_media[medium];
    }
}

static void
split_input(struct reader *reader, struct input *input, struct usage *out)
{
    int64_t rest;

    if (!input->cached_told)
        place_cached(input);
    out->units[PRICE_AUDIO_CACHE_READ] = input->cached_media[AUDIO];
    out->units[PRICE_IMAGE_CACHE_READ] = input->cached_media[IMAGE];
    out->units[PRICE_CACHE_WRITE] = input->written;
    out->units[PRICE_AUDIO_INPUT] =
        without(reader, input->media[AUDIO], input->cached_media[AUDIO], "cached audio tokens");
    out->units[PRICE_IMAGE_INPUT] =
        without(reader, input->media[IMAGE], input->cached_media[IMAGE], "cached image tokens");
    rest = without(reader, input->cached, input->cached_media[AUDIO], "cached audio tokens");
    out->units[PRICE_CACHE_READ] =
        without(reader, rest, input->cached_media[IMAGE], "cached image tokens");
    rest = without(reader, input->tokens, input->cached, "cached tokens");
    rest = without(reader, rest, input->written, "cache writes");
    rest = without(reader, rest, out->units[PRICE_AUDIO_INPUT], "audio tokens");
    out->units[PRICE_INPUT] = without(reader, rest, out->units[PRICE_IMAGE_INPUT], "image tokens");
}

/* The first of two members that is there. */
static const struct json *
either(const struct json *object, const char *name, const char *other)
{
    const struct json *value = json_member(object, name);

    return value != NULL ? value : json_member(object, other);
}

static void
parse_openai_input(struct reader *reader, const struct json *object, bool chat, struct input *out)
{
    const struct json *in =
        chat ? json_member(object, "prompt_tokens_details")
             : either(object, "input_tokens_details", "input_token_details" /* realtime */);
    const struct json *cached = json_member(in, "cached_tokens_details");

    *out = (struct input){
        .tokens = count_of(reader, object, chat ? "prompt_tokens" : "input_tokens"),
        .cached = count_of(reader, in, "cached_tokens"),
        .written = count_of(reader, in, "cache_write_tokens"),
        .media = { [AUDIO] = count_of(reader, in, "audio_tokens"),
                   [IMAGE] = count_of(reader, in, "image_tokens") },
        .cached_told = json_type(cached) == JSON_OBJECT,
        .cached_media = { [AUDIO] = count_of(reader, cached, "audio_tokens"),
                          [IMAGE] = count_of(reader, cached, "image_tokens") },
    };
    if (json_has(in, "cached_tokens"))
        return;
    /* DeepSeek, then Moonshot */
    out->cached = count_of(reader, object,
                           json_has(object, "prompt_cache_hit_tokens") ? "prompt_cache_hit_tokens"
                                                                       : "cached_tokens");
}

static void
parse_openai(struct reader *reader, const struct json *object, bool chat, struct usage *out)
{
    const struct json *made = chat
                                  ? json_member(object, "completion_tokens_details")
                                  : either(object, "output_tokens_details", "output_token_details");
    int64_t output = count_of(reader, object, chat ? "completion_tokens" : "output_tokens");
    int64_t reasoning = count_of(reader, made, "reasoning_tokens");
    struct input input;
    int64_t rest;

    parse_openai_input(reader, object, chat, &input);
    /* xAI counts reasoning beside the completion, which shows in the total only. */
    if (reasoning > 0 &&
        count_of(reader, object, "total_tokens") == input.tokens + output + reasoning)
        output += reasoning;
    check_total(reader, object, "total_tokens", input.tokens + output);
    split_input(reader, &input, out);
    out->units[PRICE_REASONING] = reasoning;
    out->units[PRICE_AUDIO_OUTPUT] = count_of(reader, made, "audio_tokens");
    out->units[PRICE_IMAGE_OUTPUT] = count_of(reader, made, "image_tokens");
    rest = without(reader, output, reasoning, "reasoning tokens");
    rest = without(reader, rest, out->units[PRICE_AUDIO_OUTPUT], "audio tokens");
    out->units[PRICE_OUTPUT] =
        without(reader, rest, out->units[PRICE_IMAGE_OUTPUT], "image tokens");
}

/* The tokens of one modality in a Gemini details list. */
static int64_t
modality(struct reader *reader, const struct json *list, const char *name)
{
    int64_t sum = 0;

    for (size_t i = 0; i < json_count(list) && sum <= USAGE_UNITS_MAX; i++) {
        const struct json *entry = json_element(list, i);
        const char *kind = json_string(json_member(entry, "modality"));

        if (kind != NULL && strcasecmp(kind, name) == 0)
            sum += count_of(reader, entry, "tokenCount");
    }
    return sum;
}

/* Cached tokens are inside the prompt; thoughts stand beside the candidates, tool results beside
 * the prompt. The live API says "response" where the other says "candidates". */
static void
parse_gemini(struct reader *reader, const struct json *object, struct usage *out)
{
    const struct json *prompt = json_member(object, "promptTokensDetails");
    const struct json *cached = json_member(object, "cacheTokensDetails");
    const struct json *made = either(object, "candidatesTokensDetails", "responseTokensDetails");
    int64_t output = count_of(reader, object,
                              json_has(object, "candidatesTokenCount") ? "candidatesTokenCount"
                                                                       : "responseTokenCount");
    int64_t thoughts = count_of(reader, object, "thoughtsTokenCount");
    int64_t tools = count_of(reader, object, "toolUsePromptTokenCount");
    struct input input = {
        .tokens = count_of(reader, object, "promptTokenCount"),
        .cached = count_of(reader, object, "cachedContentTokenCount"),
        .media = { [AUDIO] = modality(reader, prompt, "AUDIO"),
                   [IMAGE] =
                       modality(reader, prompt, "IMAGE") + modality(reader, prompt, "VIDEO") },
        .cached_told = json_type(cached) == JSON_ARRAY,
        .cached_media = { [AUDIO] = modality(reader, cached, "AUDIO"),
                          [IMAGE] = modality(reader, cached, "IMAGE") +
                                    modality(reader, cached, "VIDEO") },
    };
    int64_t rest;

    check_total(reader, object, "totalTokenCount", input.tokens + tools + output + thoughts);
    split_input(reader, &input, out);
    out->units[PRICE_INPUT] += tools;
    out->units[PRICE_REASONING] = thoughts;
    out->units[PRICE_AUDIO_OUTPUT] = modality(reader, made, "AUDIO");
    out->units[PRICE_IMAGE_OUTPUT] = modality(reader, made, "IMAGE");
    out->units[PRICE_VIDEO_OUTPUT] = modality(reader, made, "VIDEO");
    rest = without(reader, output, out->units[PRICE_AUDIO_OUTPUT], "audio tokens");
    rest = without(reader, rest, out->units[PRICE_IMAGE_OUTPUT], "image tokens");
    out->units[PRICE_OUTPUT] =
        without(reader, rest, out->units[PRICE_VIDEO_OUTPUT], "video tokens");
}

/* ---- Anthropic: parts beside each other ----------------------------------------------------- */

/* Add one object's counts. Cached tokens stand beside the input; thinking is inside the output. */
static void
add_anthropic(struct reader *reader, const struct json *object, struct usage *out)
{
    const struct json *lifetimes = json_member(object, "cache_creation");
    int64_t written = count_of(reader, object, "cache_creation_input_tokens");
    int64_t five_minutes = count_of(reader, lifetimes, "ephemeral_5m_input_tokens");
    int64_t one_hour = count_of(reader, lifetimes, "ephemeral_1h_input_tokens");
    struct usage one = { .shape = USAGE_ANTHROPIC };

    if (json_type(json_member(object, "cache_creation_input_tokens")) == JSON_NULL)
        written = five_minutes + one_hour;
    if (five_minutes + one_hour > written)
        refuse(reader, "cache writes exceed cache_creation_input_tokens");
    one.units[PRICE_INPUT] = count_of(reader, object, "input_tokens");
    one.units[PRICE_CACHE_READ] = count_of(reader, object, "cache_read_input_tokens");
    one.units[PRICE_CACHE_WRITE_1H] = one_hour;
    /* What no lifetime is told of has the default one. */
    one.units[PRICE_CACHE_WRITE] = without(reader, written, one_hour, "cache writes");
    one.units[PRICE_OUTPUT] = count_of(reader, object, "output_tokens");
    if (step_of(&one) > out->step)
        out->step = step_of(&one);
    for (int part = 0; part < PRICE_PARTS; part++)
        out->units[part] += one.units[part];
}

/* The counts on top are without those of compactions, which were requests of their own. */
static void
parse_anthropic(struct reader *reader, const struct json *object, struct usage *out)
{
    const struct json *iterations = json_member(object, "iterations");

    add_anthropic(reader, object, out);
    for (size_t i = 0; i < json_count(iterations) && reader->status == STATUS_OK; i++) {
        const struct json *one = json_element(iterations, i);
        const char *type = json_string(json_member(one, "type"));

        if (type != NULL && strcmp(type, "compaction") == 0)
            add_anthropic(reader, one, out);
    }
}

/* ---- what all shapes have ------------------------------------------------------------------- */

static enum usage_shape
shape_of(const struct json *object)
{
    if (json_has(object, "promptTokenCount") || json_has(object, "totalTokenCount"))
        return USAGE_GEMINI;
    if (json_has(object, "prompt_tokens"))
        return USAGE_OPENAI_CHAT;
    if (!json_has(object, "input_tokens"))
        return USAGE_UNKNOWN;
    /* Without any of these the two count the same. */
    if (json_has(object, "cache_creation_input_tokens") ||
        json_has(object, "cache_read_input_tokens") || json_has(object, "cache_creation") ||
        json_has(object, "iterations"))
        return USAGE_ANTHROPIC;
    return USAGE_OPENAI_RESPONSES;
}

/* A text member; NULL for none. */
static const char *
text_of(struct reader *reader, const struct json *object, const char *name)
{
    const struct json *value = json_member(object, name);
    const char *text = json_string(value);

    if (text == NULL && json_type(value) != JSON_NULL && reader->status == STATUS_OK)
        reader->status = error_set(reader->err, STATUS_INVALID, "usage: %s is no text", name);
    return text;
}

/* The tier. An unknown one is refused: it may have a price of its own. */
static void
parse_tier(struct reader *reader, const struct json *object, const char *told, struct usage *out)
{
    static const char *const names[] = { "service_tier", "serviceTier", "trafficType" };
    const char *name = NULL;
    enum price_tier tier;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && name == NULL; i++)
        name = text_of(reader, object, names[i]);
    if (name != NULL && !price_tier_parse(name, &out->tier))
        refuse(reader, "unknown service_tier");
    if (told == NULL)
        return;
    if (!price_tier_parse(told, &tier))
        refuse(reader, "unknown service_tier");
    else if (name != NULL && out->tier != tier)
        refuse(reader, "the service_tier beside it is another than its own");
    else
        out->tier = tier;
}

static void
parse_factors(struct reader *reader, const struct json *object, struct usage *out)
{
    static const char *const anywhere[] = { "", "global", "not_available" };
    const char *speed = text_of(reader, object, "speed");
    const char *geo = text_of(reader, object, "inference_geo");

    out->fast = speed != NULL && strcmp(speed, "fast") == 0;
    if (speed != NULL && !out->fast && strcmp(speed, "standard") != 0)
        refuse(reader, "unknown speed");
    out->regional = geo != NULL;
    for (size_t i = 0; i < sizeof(anywhere) / sizeof(anywhere[0]) && geo != NULL; i++)
        out->regional = out->regional && strcmp(anywhere[i], geo) != 0;
}

static void
parse_tools(struct reader *reader, const struct json *object, struct usage *out)
{
    const struct json *tools = json_member(object, "server_tool_use");

    out->units[PRICE_WEB_SEARCH] = count_of(reader, tools, "web_search_requests");
    out->units[PRICE_FILE_SEARCH] = count_of(reader, tools, "file_search_requests");
    out->units[PRICE_CODE_INTERPRETER] = count_of(reader, tools, "code_interpreter_sessions");
}

enum status
usage_parse(const struct json *object, const char *service_tier, struct usage *out,
            struct error *err)
{
    struct reader reader = { .status = STATUS_OK, .err = err };

    memset(out, 0, sizeof(*out));
    out->shape = shape_of(object);
    switch (out->shape) { /* untaken: shape_of answers nothing else */
    case USAGE_OPENAI_CHAT:
    case USAGE_OPENAI_RESPONSES:
        parse_openai(&reader, object, out->shape == USAGE_OPENAI_CHAT, out);
        break;
    case USAGE_ANTHROPIC:
        parse_anthropic(&reader, object, out);
        break;
    case USAGE_GEMINI:
        parse_gemini(&reader, object, out);
        break;
    case USAGE_UNKNOWN:
        refuse(&reader, "neither OpenAI's, Anthropic's nor Gemini's usage object");
        break;
    }
    parse_tier(&reader, object, service_tier, out);
    parse_factors(&reader, object, out);
    parse_tools(&reader, object, out);
    for (int part = 0; part < PRICE_PARTS; part++) {
        if (out->units[part] > USAGE_UNITS_MAX)
            refuse(&reader, "a count is too large");
    }
    if (out->shape != USAGE_ANTHROPIC)
        out->step = step_of(out);
    return reader.status;
}

/* ---- as it is kept -------------------------------------------------------------------------- */

void
usage_write(const struct usage *usage, struct buf *out)
{
    const char *separator = "{";

    for (int part = 0; part < PRICE_PARTS; part++) {
        if (usage->units[part] == 0)
            continue;
        buf_add_format(out, "%s\"%s\":%" PRId64, separator, price_part_name((enum price_part)part),
                       usage->units[part]);
        separator = ",";
    }
    if (usage->tier != PRICE_STANDARD) {
        buf_add_format(out, "%s\"tier\":\"%s\"", separator, price_tier_name(usage->tier));
        separator = ",";
    }
    if (usage->step != PRICE_BASE) {
        buf_add_format(out, "%s\"step\":\"%s\"", separator, price_step_name(usage->step));
        separator = ",";
    }
    if (usage->fast) {
        buf_add_format(out, "%s\"fast\":true", separator);
        separator = ",";
    }
    if (usage->regional) {
        buf_add_format(out, "%s\"regional\":true", separator);
        separator = ",";
    }
    buf_add(out, *separator == '{' ? "{}" : "}");
}

struct read_state {
    struct usage *usage;
    bool ok;
};

static bool
read_member(const char *name, const struct json *value, void *context)
{
    struct read_state *state = context;
    struct usage *usage = state->usage;
    const char *text = json_string(value);
    bool ok = false;

    if (strcmp(name, "tier") == 0) {
        ok = text != NULL && price_tier_parse(text, &usage->tier);
    } else if (strcmp(name, "step") == 0) {
        for (int step = 0; step < PRICE_STEPS && text != NULL && !ok; step++) {
            usage->step = (enum price_step)step;
            ok = strcmp(text, price_step_name(usage->step)) == 0;
        }
    } else if (strcmp(name, "fast") == 0 || strcmp(name, "regional") == 0) {
        *(*name == 'f' ? &usage->fast : &usage->regional) = json_boolean(value, false);
        ok = json_type(value) == JSON_BOOLEAN;
    }
    for (int part = 0; part < PRICE_PARTS && !ok; part++)
        ok = strcmp(name, price_part_name((enum price_part)part)) == 0 &&
             json_int64(value, 0, USAGE_UNITS_MAX, &usage->units[part]);
    state->ok = ok;
    return ok;
}

enum status
usage_read(const struct json *kept, struct usage *out, struct error *err)
{
    struct read_state state = { .usage = out, .ok = json_type(kept) == JSON_OBJECT };

    memset(out, 0, sizeof(*out));
    json_each(kept, read_member, &state);
    return state.ok ? STATUS_OK : error_set(err, STATUS_INVALID, "usage: none as we keep it");
}

/* ---- cost ----------------------------------------------------------------------------------- */

int64_t
usage_rate(const struct usage *usage, const struct price *price, enum price_part part)
{
    int64_t rate = price_rate(price, usage->tier, usage->step, part);
    int64_t regional = price->factors[PRICE_REGIONAL];

    if (rate == PRICE_UNSET || part >= PRICE_WEB_SEARCH)
        return rate;
    if (usage->fast && price->factors[PRICE_FAST] == PRICE_UNSET)
        return PRICE_UNSET;
    if (usage->fast)
        rate = price_multiply(rate, price->factors[PRICE_FAST]);
    /* Where no factor is published a region costs nothing. */
    return usage->regional && regional != PRICE_UNSET ? price_multiply(rate, regional) : rate;
}

enum status
usage_cost(const struct usage *usage, const struct price *price, int64_t *nanos, struct error *err)
{
    unsigned __int128 sum = 0; /* some twenty parts of at most 10^12 * 10^18: fits */

    for (int part = 0; part < PRICE_PARTS; part++) {
        int64_t rate;

        if (usage->units[part] == 0)
            continue;
        rate = usage_rate(usage, price, (enum price_part)part);
        if (rate == PRICE_UNSET)
            return error_set(err, STATUS_NOT_FOUND, "price: this model has no price for %s%s",
                             price_part_name((enum price_part)part),
                             usage->fast && part < PRICE_WEB_SEARCH ? " in the fast mode" : "");
        assert(rate >= 0 && usage->units[part] >= 0);
        sum += (unsigned __int128)usage->units[part] * (unsigned __int128)rate;
    }
    sum = (sum + PRICE_UNITS - 1) / PRICE_UNITS;
    if (sum > (unsigned __int128)MONEY_MAX_NANOS)
        return error_set(err, STATUS_OVERFLOW, "price: the cost passes one billion dollars");
    *nanos = (int64_t)sum;
    return STATUS_OK;
}

void
usage_add_part_cost(struct buf *out, int64_t units, int64_t rate)
{
    const int decimals = 15; /* nano-dollars, a millionth of them */
    unsigned __int128 value = (unsigned __int128)units * (unsigned __int128)rate;
    char digits[48];
    int at = (int)sizeof(digits);

    digits[--at] = '\0';
    for (int i = 0; i <= decimals || value != 0; i++) {
        if (i == decimals && digits[at] != '\0')
            digits[--at] = '.';
        if (i >= decimals || digits[at] != '\0' || value % 10 != 0)
            digits[--at] = (char)('0' + (int)(value % 10));
        value /= 10;
    }
    buf_add(out, digits + at);
}
