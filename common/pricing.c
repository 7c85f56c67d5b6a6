/* SPDX-License-Identifier: MIT */
#include "common/pricing.h"

#include <string.h>
#include <strings.h>

#include "common/money.h"

#include "common/banned.h"

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
    [PRICE_IMAGE_CACHE_READ] = "image_cache_read",
    [PRICE_IMAGE_OUTPUT] = "image_output",
    [PRICE_VIDEO_OUTPUT] = "video_output",
    [PRICE_WEB_SEARCH] = "web_search",
    [PRICE_FILE_SEARCH] = "file_search",
    [PRICE_CODE_INTERPRETER] = "code_interpreter",
};
static const char *const step_suffixes[PRICE_STEPS] = { "", ".above_200k", ".above_272k" };
static const char *const tier_suffixes[PRICE_TIERS] = { "", ".batch", ".flex", ".priority" };
static const char *const factor_names[PRICE_FACTORS] = { "fast_factor", "regional_factor" };

/* The part that a part without a price of its own is charged as; itself: there is none. */
static const enum price_part kind_of[PRICE_PARTS] = {
    [PRICE_INPUT] = PRICE_INPUT,
    [PRICE_CACHE_READ] = PRICE_INPUT,
    [PRICE_CACHE_WRITE] = PRICE_INPUT,
    [PRICE_CACHE_WRITE_1H] = PRICE_CACHE_WRITE,
    [PRICE_OUTPUT] = PRICE_OUTPUT,
    [PRICE_REASONING] = PRICE_OUTPUT,
    [PRICE_AUDIO_INPUT] = PRICE_INPUT,
    [PRICE_AUDIO_CACHE_READ] = PRICE_AUDIO_INPUT,
    [PRICE_AUDIO_OUTPUT] = PRICE_OUTPUT,
    [PRICE_IMAGE_INPUT] = PRICE_INPUT,
    [PRICE_IMAGE_CACHE_READ] = PRICE_IMAGE_INPUT,
    [PRICE_IMAGE_OUTPUT] = PRICE_OUTPUT,
    [PRICE_VIDEO_OUTPUT] = PRICE_OUTPUT,
    [PRICE_WEB_SEARCH] = PRICE_WEB_SEARCH,
    [PRICE_FILE_SEARCH] = PRICE_FILE_SEARCH,
    [PRICE_CODE_INTERPRETER] = PRICE_CODE_INTERPRETER,
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
    for (int factor = 0; factor < PRICE_FACTORS; factor++)
        price->factors[factor] = PRICE_UNSET;
}

bool
price_same(const struct price *a, const struct price *b)
{
    return memcmp(a->rates, b->rates, sizeof(a->rates)) == 0 &&
           memcmp(a->factors, b->factors, sizeof(a->factors)) == 0;
}

bool
price_is_empty(const struct price *price)
{
    struct price none;

    price_init(&none);
    return memcmp(price->rates, none.rates, sizeof(none.rates)) == 0;
}

/* ---- the rate that applies ------------------------------------------------------------------ */

/* a * b / divisor, rounded up, at most MONEY_MAX_NANOS; none negative, divisor not 0. */
static int64_t
multiply(int64_t a, int64_t b, int64_t divisor)
{
    unsigned __int128 product = (unsigned __int128)a * (unsigned __int128)b;
    unsigned __int128 d = (unsigned __int128)divisor;

    product = (product + d - 1) / d;
    return product > (unsigned __int128)MONEY_MAX_NANOS ? MONEY_MAX_NANOS : (int64_t)product;
}

int64_t
price_multiply(int64_t rate, int64_t factor)
{
    return multiply(rate, factor, MONEY_NANOS_PER_USD);
}

/* `rate` as another rate went from `from` to `to`. What was free tells no factor. */
static int64_t
scaled(int64_t rate, int64_t to, int64_t from)
{
    if (from == 0)
        return rate > to ? rate : to;
    return multiply(rate, to, from);
}

/* The highest step up to `step` for which the tier has a rate; -1: none. */
static int
nearest(const struct price *price, enum price_tier tier, int step, enum price_part part)
{
    while (step >= 0 && price->rates[tier][step][part] == PRICE_UNSET)
        step--;
    return step;
}

/* A part's own rate, and the tier and step that it accounts for. */
struct own_rate {
    int64_t rate;
    enum price_tier tier;
    enum price_step step;
};

static struct own_rate
find_own(const struct price *price, enum price_tier tier, enum price_step step,
         enum price_part part)
{
    int here = nearest(price, tier, (int)step, part);
    int standard = nearest(price, PRICE_STANDARD, (int)step, part);
    int before; /* the standard tier's step that the tier's rate stands beside */
    int64_t rate;

    if (here < 0 && standard < 0)
        return (struct own_rate){ PRICE_UNSET, PRICE_STANDARD, PRICE_BASE };
    if (here < 0)
        return (struct own_rate){ price->rates[PRICE_STANDARD][standard][part], PRICE_STANDARD,
                                  (enum price_step)standard };
    rate = price->rates[tier][here][part];
    if (standard <= here)
        return (struct own_rate){ rate, tier, (enum price_step)here };
    before = nearest(price, PRICE_STANDARD, here, part);
    rate = scaled(rate, price->rates[PRICE_STANDARD][standard][part],
                  before >= 0 ? price->rates[PRICE_STANDARD][before][part] : 0);
    return (struct own_rate){ rate, tier, (enum price_step)standard };
}

static bool
is_cached_media(enum price_part part)
{
    return part == PRICE_AUDIO_CACHE_READ || part == PRICE_IMAGE_CACHE_READ;
}

/* `rate` with the discount of cached text. */
static int64_t
cached(const struct price *price, enum price_tier tier, enum price_step step, int64_t rate)
{
    int64_t text = price_rate(price, tier, step, PRICE_INPUT);

    if (rate == PRICE_UNSET || text == PRICE_UNSET)
        return rate;
    return scaled(rate, price_rate(price, tier, step, PRICE_CACHE_READ), text);
}

int64_t
price_rate(const struct price *price, enum price_tier tier, enum price_step step,
           enum price_part part)
{
    struct own_rate own = find_own(price, tier, step, part);
    int64_t whole, there;

    if (kind_of[part] == part || (own.rate != PRICE_UNSET && own.tier == tier && own.step == step))
        return own.rate;
    /* Three parts deep at most. */
    whole = price_rate(price, tier, step, kind_of[part]);
    if (own.rate == PRICE_UNSET)
        return is_cached_media(part) ? cached(price, tier, step, whole) : whole;
    if (whole == PRICE_UNSET)
        return own.rate;
    there = price_rate(price, own.tier, own.step, kind_of[part]);
    if (own.rate == there)
        return whole;
    if (there == PRICE_UNSET)
        return own.rate > whole ? own.rate : whole;
    return whole > there ? scaled(own.rate, whole, there) : own.rate;
}

/* ---- names ---------------------------------------------------------------------------------- */

const char *
price_part_name(enum price_part part)
{
    return part_names[part];
}

const char *
price_step_name(enum price_step step)
{
    return step == PRICE_BASE ? "" : step_suffixes[step] + 1;
}

const char *
price_tier_name(enum price_tier tier)
{
    return tier == PRICE_STANDARD ? "standard" : tier_suffixes[tier] + 1;
}

bool
price_tier_parse(const char *name, enum price_tier *out)
{
    static const struct {
        const char *name;
        enum price_tier tier;
    } tiers[] = {
        { "standard", PRICE_STANDARD },
        { "default", PRICE_STANDARD },
        { "auto", PRICE_STANDARD },
        { "scale", PRICE_STANDARD }, /* OpenAI: paid in advance */
        { "on_demand", PRICE_STANDARD },
        { "provisioned_throughput", PRICE_STANDARD },
        { "unspecified", PRICE_STANDARD },
        { "traffic_type_unspecified", PRICE_STANDARD },
        { "service_tier_unspecified", PRICE_STANDARD },
        { "batch", PRICE_BATCH },
        { "flex", PRICE_FLEX },
        { "on_demand_flex", PRICE_FLEX },
        { "priority", PRICE_PRIORITY },
        { "on_demand_priority", PRICE_PRIORITY },
    };

    for (size_t i = 0; i < sizeof(tiers) / sizeof(tiers[0]); i++) {
        if (strcasecmp(tiers[i].name, name) == 0) {
            *out = tiers[i].tier;
            return true;
        }
    }
    return false;
}

/* ---- as JSON -------------------------------------------------------------------------------- */

void
price_write(const struct price *price, struct buf *out)
{
    const char *separator = "{";

    for (int part = 0; part < PRICE_PARTS; part++) {
        for (int cell = 0; cell < PRICE_STEPS * PRICE_TIERS; cell++) {
            int step = cell / PRICE_TIERS, tier = cell % PRICE_TIERS;
            int64_t rate = price->rates[tier][step][part];

            if (rate == PRICE_UNSET)
                continue;
            buf_add_format(out, "%s\"%s%s%s\":", separator, part_names[part], step_suffixes[step],
                           tier_suffixes[tier]);
            buf_add_json_money(out, rate);
            separator = ",";
        }
    }
    for (int factor = 0; factor < PRICE_FACTORS; factor++) {
        if (price->factors[factor] == PRICE_UNSET)
            continue;
        buf_add_format(out, "%s\"%s\":", separator, factor_names[factor]);
        buf_add_json_money(out, price->factors[factor]);
        separator = ",";
    }
    buf_add(out, *separator == '{' ? "{}" : "}");
}

/* The step and tier of `suffix` as an index into the cells of a part; -1: it is none. */
static int
find_cell(const char *suffix)
{
    for (int cell = 0; cell < PRICE_STEPS * PRICE_TIERS; cell++) {
        const char *step = step_suffixes[cell / PRICE_TIERS];
        size_t length = strlen(step);

        if (strncmp(suffix, step, length) == 0 &&
            strcmp(suffix + length, tier_suffixes[cell % PRICE_TIERS]) == 0)
            return cell;
    }
    return -1;
}

int64_t *
price_rate_named(struct price *price, const char *name)
{
    size_t length = strcspn(name, ".");
    int cell = find_cell(name + length);

    for (int factor = 0; factor < PRICE_FACTORS; factor++) {
        if (strcmp(name, factor_names[factor]) == 0)
            return &price->factors[factor];
    }
    for (int part = 0; part < PRICE_PARTS && cell >= 0; part++) {
        if (strlen(part_names[part]) == length && memcmp(part_names[part], name, length) == 0)
            return &price->rates[cell % PRICE_TIERS][cell / PRICE_TIERS][part];
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
        state->status =
            error_set(state->err, STATUS_INVALID, "price: unknown rate \"%.64s\"", name);
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

enum status
price_parse_text(const char *rates, size_t length, struct price *out, struct error *err)
{
    struct json *json = NULL;
    enum status status = json_parse(rates, length, &json, err);

    if (status == STATUS_OK)
        status = price_parse(json, out, err);
    json_free(json);
    return status;
}
