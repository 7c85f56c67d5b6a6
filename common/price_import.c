/* SPDX-License-Identifier: MIT */
#include "common/price_import.h"

#include <ctype.h>
#include <string.h>

#include "common/json.h"
#include "common/money.h"

#include "common/banned.h"

/* provider, model, from and every rate: none stands there twice. */
#define CSV_COLUMNS_MAX (3 + PRICE_TIERS * PRICE_STEPS * PRICE_PARTS + PRICE_FACTORS)
#define CSV_FIELD_SIZE 256
/* A dollar per unit is 10^6 dollars, or 10^15 nano-dollars, per million. */
#define PER_UNIT_SHIFT 15

bool
price_per_unit_parse(const char *text, int64_t *nanos_per_million)
{
    int64_t digits = 0;
    int64_t exponent = 0;
    int decimals = 0;
    bool point = false, any = false;
    const char *p = text;

    for (; isdigit((unsigned char)*p) || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        any = true;
        if (digits > INT64_MAX / 10 - 1)
            return false;
        digits = digits * 10 + (*p - '0');
        decimals += point;
    }
    if (*p == 'e' || *p == 'E') {
        bool negative = p[1] == '-';

        p += p[1] == '-' || p[1] == '+' ? 2 : 1;
        if (!text_to_int64(p, 0, 99, &exponent))
            return false;
        exponent = negative ? -exponent : exponent;
        p += strlen(p);
    }
    if (!any || *p != '\0')
        return false;
    for (exponent += PER_UNIT_SHIFT - decimals; exponent < 0 && digits != 0; exponent++) {
        if (digits % 10 != 0)
            return false;
        digits /= 10;
    }
    for (; exponent > 0 && digits != 0; exponent--) {
        if (digits > MONEY_MAX_NANOS / 10)
            return false;
        digits *= 10;
    }
    if (digits > MONEY_MAX_NANOS)
        return false;
    *nanos_per_million = digits;
    return true;
}

/* A name as it can be stored and shown: UTF-8 without control characters, not empty. */
static bool
name_copy(char *out, size_t size, const char *name)
{
    size_t left = strlen(name);

    if (left == 0)
        return false;
    for (const char *at = name; left > 0;) {
        size_t length = text_utf8_length(at, left);

        if (length == 0 || (unsigned char)*at < 0x20 || *at == 0x7f)
            return false;
        at += length;
        left -= length;
    }
    return text_copy(out, size, name);
}

/* ---- LiteLLM -------------------------------------------------------------------------------- */

/* A figure's name is one of these, then at most one step, then at most one tier. Longest names
 * first where one begins another. */
static const struct {
    const char *name;
    enum price_part part;
} litellm_parts[] = {
    { "input_cost_per_token_cache_hit", PRICE_CACHE_READ },
    { "input_cost_per_token", PRICE_INPUT },
    { "input_cost_per_audio_token", PRICE_AUDIO_INPUT },
    { "input_cost_per_image_token", PRICE_IMAGE_INPUT },
    { "output_cost_per_token", PRICE_OUTPUT },
    { "output_cost_per_audio_token", PRICE_AUDIO_OUTPUT },
    { "output_cost_per_image_token", PRICE_IMAGE_OUTPUT },
    { "output_cost_per_video_token", PRICE_VIDEO_OUTPUT },
    { "output_cost_per_reasoning_token", PRICE_REASONING },
    { "cache_read_input_token_cost", PRICE_CACHE_READ },
    { "cache_read_input_audio_token_cost", PRICE_AUDIO_CACHE_READ },
    { "cache_read_input_image_token_cost", PRICE_IMAGE_CACHE_READ },
    { "cache_creation_input_token_cost_above_1hr", PRICE_CACHE_WRITE_1H },
    { "cache_creation_input_token_cost", PRICE_CACHE_WRITE },
};
static const char *const litellm_steps[PRICE_STEPS] = { "", "_above_200k_tokens",
                                                        "_above_272k_tokens" };
static const char *const litellm_tiers[PRICE_TIERS] = { "", "_batches", "_flex", "_priority" };

static int64_t *
litellm_rate(struct price *price, const char *name)
{
    for (size_t i = 0; i < sizeof(litellm_parts) / sizeof(litellm_parts[0]); i++) {
        size_t length = strlen(litellm_parts[i].name);

        if (strncmp(name, litellm_parts[i].name, length) != 0)
            continue;
        for (int step = 0; step < PRICE_STEPS; step++) {
            size_t step_length = strlen(litellm_steps[step]);

            if (strncmp(name + length, litellm_steps[step], step_length) != 0)
                continue;
            for (int tier = 0; tier < PRICE_TIERS; tier++) {
                if (strcmp(name + length + step_length, litellm_tiers[tier]) == 0)
                    return &price->rates[tier][step][litellm_parts[i].part];
            }
        }
    }
    return NULL;
}

struct litellm_state {
    const struct price_sink *sink;
    struct error *err;
    enum status status;
    struct price_entry entry;
};

static void
litellm_left_out(const struct litellm_state *state, bool whole, const char *figure, const char *why)
{
    char storage[512];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    buf_add(&text, figure);
    buf_add(&text, *figure != '\0' ? ": " : "");
    buf_add(&text, why);
    state->sink->left_out(state->sink->context, state->entry.model, whole,
                          buf_failed(&text) ? why : buf_text(&text));
}

/* Whether a figure that is no rate of ours is money all the same; then why it is left out. */
static const char *
litellm_why(const char *name)
{
    static const struct {
        const char *part;
        const char *why;
    } reasons[] = {
        { "_audio_per_second", "usage objects count tokens: sound is charged as audio_input" },
        { "_video_per_second", "usage objects count tokens: video is charged as image_input" },
        { "_per_second", "usage objects count tokens, not seconds" },
        { "input_cost_per_image", "usage objects count tokens: images are charged as image_input" },
        { "output_cost_per_image",
          "usage objects count tokens: images are charged as image_output" },
        { "_per_character", "usage objects count tokens, not characters" },
        { "_above_",
          "no step or lifetime that is known here: such requests are charged without it" },
        { "cache_creation_input_audio", "no usage object counts sound written to a cache" },
        { "cost", "no usage object counts this" },
    };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (strstr(name, reasons[i].part) != NULL)
            return reasons[i].why;
    }
    return NULL;
}

/* A factor such as 1.1; of several the largest. */
static void
litellm_factor(const struct litellm_state *state, const char *name, const struct json *value,
               int64_t *factor)
{
    const char *text = json_number_text(value);
    int64_t given;

    if (text == NULL || !money_parse_usd(text, &given))
        litellm_left_out(state, false, name, "not a factor of at most nine decimals");
    else if (given > *factor)
        *factor = given;
}

/* {"fast": 6.0, "us": 1.1} */
static bool
litellm_specific(const char *name, const struct json *value, void *context)
{
    struct litellm_state *state = context;

    if (strcmp(name, "fast") == 0)
        litellm_factor(state, name, value, &state->entry.price.factors[PRICE_FAST]);
    else if (strlen(name) == 2)
        litellm_factor(state, name, value, &state->entry.price.factors[PRICE_REGIONAL]);
    else
        litellm_left_out(state, false, name, "no factor that is known here");
    return true;
}

/* How much is searched for a query stands in no usage object: the middle one is the vendors'
 * default. */
static void
litellm_search(struct litellm_state *state, const char *name, const struct json *value)
{
    int64_t *rate = &state->entry.price.rates[PRICE_STANDARD][PRICE_BASE][PRICE_WEB_SEARCH];
    const char *low = json_number_text(json_member(value, "search_context_size_low"));
    const char *medium = json_number_text(json_member(value, "search_context_size_medium"));
    const char *high = json_number_text(json_member(value, "search_context_size_high"));
    int64_t least = 0, most = 0;

    if (medium == NULL || !price_per_unit_parse(medium, rate)) {
        *rate = PRICE_UNSET;
        litellm_left_out(state, false, name, "no price of a search of medium size");
        return;
    }
    if ((low != NULL && (!price_per_unit_parse(low, &least) || least != *rate)) ||
        (high != NULL && (!price_per_unit_parse(high, &most) || most != *rate)))
        litellm_left_out(state, false, name,
                         "no usage object tells the size of a search: taken is the medium one");
}

static bool
litellm_figure(const char *name, const struct json *value, void *context)
{
    struct litellm_state *state = context;
    int64_t *rate = litellm_rate(&state->entry.price, name);
    const char *text = json_number_text(value);
    const char *why = litellm_why(name);

    if (strcmp(name, "search_context_cost_per_query") == 0)
        litellm_search(state, name, value);
    else if (strcmp(name, "provider_specific_entry") == 0)
        json_each(value, litellm_specific, state);
    else if (strncmp(name, "regional_processing_uplift_multiplier_", 38) == 0)
        litellm_factor(state, name, value, &state->entry.price.factors[PRICE_REGIONAL]);
    else if (rate == NULL && why != NULL && json_type(value) != JSON_NULL)
        litellm_left_out(state, false, name, why);
    else if (rate != NULL && (text == NULL || !price_per_unit_parse(text, rate))) {
        *rate = PRICE_UNSET;
        litellm_left_out(state, false, name, "not a price of at most 15 decimals");
    }
    return true;
}

/* No token costs anything. */
static bool
litellm_is_free(const struct price *price)
{
    const int64_t *standard = price->rates[PRICE_STANDARD][PRICE_BASE];

    for (int part = 0; part < PRICE_WEB_SEARCH; part++) {
        if (standard[part] > 0)
            return false;
    }
    return true;
}

static bool
litellm_model(const char *model, const struct json *value, void *context)
{
    struct litellm_state *state = context;
    const char *provider = json_string(json_member(value, "litellm_provider"));
    int64_t *standard = state->entry.price.rates[PRICE_STANDARD][PRICE_BASE];

    price_init(&state->entry.price);
    state->entry.from_us = 0;
    if (!name_copy(state->entry.model, sizeof(state->entry.model), model)) {
        state->entry.model[0] = '\0';
        litellm_left_out(state, true, "", "the model's name is too long, or no text");
        return true;
    }
    if (strcmp(model, "sample_spec") == 0)
        return true; /* the file's own explanation of its members */
    if (json_type(value) != JSON_OBJECT) {
        litellm_left_out(state, true, "", "no JSON object");
        return true;
    }
    /* A file written by hand may have none; it only tells models of one name apart. */
    state->entry.provider[0] = '\0';
    if (json_has(value, "litellm_provider") &&
        (provider == NULL ||
         !name_copy(state->entry.provider, sizeof(state->entry.provider), provider))) {
        litellm_left_out(state, true, "", "litellm_provider is too long, or no text");
        return true;
    }
    json_each(value, litellm_figure, state);
    if (standard[PRICE_INPUT] == PRICE_UNSET && standard[PRICE_OUTPUT] == PRICE_UNSET) {
        litellm_left_out(state, true, "", "no price per token");
        return true;
    }
    /* Of what is not known nothing must be free; our own file can say that a model is. */
    if (litellm_is_free(&state->entry.price)) {
        litellm_left_out(state, true, "",
                         "every price per token is 0, which stands for unknown prices as well");
        return true;
    }
    /* A model that makes nothing but images calls its image tokens just output. */
    if (standard[PRICE_OUTPUT] == PRICE_UNSET)
        standard[PRICE_OUTPUT] = standard[PRICE_IMAGE_OUTPUT];
    state->status = state->sink->price(state->sink->context, &state->entry, state->err);
    return state->status == STATUS_OK;
}

static enum status
import_litellm(const char *text, size_t length, const struct price_sink *sink, struct error *err)
{
    struct litellm_state state = { .sink = sink, .err = err, .status = STATUS_OK };
    struct json *root = NULL;
    enum status status = json_parse(text, length, &root, err);

    if (status != STATUS_OK)
        return status;
    json_each(root, litellm_model, &state);
    json_free(root);
    return state.status;
}

/* ---- CSV ------------------------------------------------------------------------------------ */

struct csv {
    const char *text;
    size_t length, position;
    int line;
    char field[CSV_FIELD_SIZE];
};

enum csv_end { CSV_FIELD, CSV_LINE, CSV_BAD };

/* One field into `csv->field`; says what follows it. */
static enum csv_end
csv_next(struct csv *csv)
{
    size_t used = 0;
    bool quoted = csv->position < csv->length && csv->text[csv->position] == '"';
    bool open = quoted;

    csv->position += quoted;
    for (; csv->position < csv->length; csv->position++) {
        char c = csv->text[csv->position];

        if (open && c == '"') {
            bool escaped = csv->position + 1 < csv->length && csv->text[csv->position + 1] == '"';

            open = escaped;
            if (!escaped)
                continue;
            csv->position++;
        } else if (!open && (c == ',' || c == '\n')) {
            break;
        } else if (!open && c == '\r' && csv->position + 1 < csv->length &&
                   csv->text[csv->position + 1] == '\n') {
            csv->position++;
            break;
        } else if (c == '\0' || c == '\n' || (quoted && !open) || (!quoted && c == '"')) {
            return CSV_BAD;
        }
        if (used + 1 >= sizeof(csv->field))
            return CSV_BAD;
        csv->field[used++] = c;
    }
    csv->field[used] = '\0';
    if (open)
        return CSV_BAD;
    return csv->position < csv->length && csv->text[csv->position++] == ',' ? CSV_FIELD : CSV_LINE;
}

enum { COLUMN_PROVIDER = -1, COLUMN_MODEL = -2, COLUMN_FROM = -3 };

/* Where a column's values go: the offset of a rate in struct price, or one of the above. */
struct csv_header {
    size_t count;
    ptrdiff_t columns[CSV_COLUMNS_MAX];
};

/* Where the column of that name goes; false when there is none. */
static bool
csv_column(const char *name, ptrdiff_t *column)
{
    struct price price;
    const int64_t *rate = price_rate_named(&price, name);

    if (strcmp(name, "provider") == 0)
        *column = COLUMN_PROVIDER;
    else if (strcmp(name, "model") == 0)
        *column = COLUMN_MODEL;
    else if (strcmp(name, "from") == 0)
        *column = COLUMN_FROM;
    else if (rate != NULL)
        *column = (const char *)rate - (const char *)&price;
    else
        return false;
    return true;
}

static bool
csv_has_column(const struct csv_header *header, ptrdiff_t column)
{
    for (size_t i = 0; i < header->count; i++) {
        if (header->columns[i] == column)
            return true;
    }
    return false;
}

static enum status
csv_read_header(struct csv *csv, struct csv_header *header, struct error *err)
{
    enum csv_end end;

    header->count = 0;
    do {
        ptrdiff_t column;

        end = csv_next(csv);
        if (end == CSV_BAD)
            return error_set(err, STATUS_INVALID, "price file: line 1: not a header line");
        if (!csv_column(csv->field, &column))
            return error_set(err, STATUS_INVALID, "price file: line 1: unknown column \"%s\"",
                             csv->field);
        if (csv_has_column(header, column))
            return error_set(err, STATUS_INVALID, "price file: line 1: column \"%s\" twice",
                             csv->field);
        header->columns[header->count++] = column;
    } while (end == CSV_FIELD);
    if (!csv_has_column(header, COLUMN_MODEL))
        return error_set(err, STATUS_INVALID, "price file: line 1: no column \"model\"");
    return STATUS_OK;
}

/* RFC 3339, or a date: its first instant, UTC. */
static bool
csv_time(const char *field, int64_t *time_us)
{
    char storage[CSV_FIELD_SIZE + 16];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    buf_add(&text, field);
    if (strlen(field) == strlen("2026-01-01"))
        buf_add(&text, "T00:00:00Z");
    return text_to_time_us(buf_text(&text), time_us);
}

static bool
csv_store(const char *field, ptrdiff_t column, struct price_entry *entry)
{
    switch (column) {
    case COLUMN_PROVIDER:
        return *field == '\0' || name_copy(entry->provider, sizeof(entry->provider), field);
    case COLUMN_MODEL:
        return name_copy(entry->model, sizeof(entry->model), field);
    case COLUMN_FROM:
        return *field == '\0' || csv_time(field, &entry->from_us);
    default:
        return *field == '\0' ||
               money_parse_usd(field, (int64_t *)((char *)&entry->price + column));
    }
}

static enum status
csv_read_line(struct csv *csv, const struct csv_header *header, struct price_entry *entry,
              struct error *err)
{
    size_t column = 0;
    enum csv_end end;

    memset(entry, 0, sizeof(*entry));
    price_init(&entry->price);
    do {
        end = csv_next(csv);
        if (end == CSV_BAD || column == header->count)
            return error_set(err, STATUS_INVALID, "price file: line %d: not %zu fields of CSV",
                             csv->line, header->count);
        if (!csv_store(csv->field, header->columns[column], entry))
            return error_set(err, STATUS_INVALID, "price file: line %d: field %zu is malformed",
                             csv->line, column + 1);
        column++;
    } while (end == CSV_FIELD);
    if (column != header->count)
        return error_set(err, STATUS_INVALID, "price file: line %d: %zu fields, the header has %zu",
                         csv->line, column, header->count);
    return STATUS_OK;
}

/* An empty line that ends as Windows does. */
static bool
csv_is_blank(const struct csv *csv)
{
    return csv->length - csv->position >= 2 && memcmp(csv->text + csv->position, "\r\n", 2) == 0;
}

static enum status
import_csv(const char *text, size_t length, const struct price_sink *sink, struct error *err)
{
    static const char mark[] = "\xef\xbb\xbf"; /* spreadsheets begin UTF-8 with it */
    struct csv csv = { .text = text, .length = length, .line = 1 };
    struct csv_header header;
    enum status status;

    if (length >= strlen(mark) && memcmp(text, mark, strlen(mark)) == 0)
        csv.position = strlen(mark);
    status = csv_read_header(&csv, &header, err);

    while (status == STATUS_OK && csv.position < length) {
        struct price_entry entry;

        csv.line++;
        if (text[csv.position] == '\n' || csv_is_blank(&csv)) {
            csv.position += text[csv.position] == '\n' ? 1 : 2;
            continue;
        }
        status = csv_read_line(&csv, &header, &entry, err);
        if (status == STATUS_OK)
            status = sink->price(sink->context, &entry, err);
    }
    return status;
}

enum status
price_import(const char *text, size_t length, const struct price_sink *sink, struct error *err)
{
    size_t first = 0;

    if (length > PRICE_FILE_BYTES_MAX)
        return error_set(err, STATUS_INVALID, "price file: larger than %d bytes",
                         PRICE_FILE_BYTES_MAX);
    while (first < length && isspace((unsigned char)text[first]))
        first++;
    if (first == length)
        return error_set(err, STATUS_INVALID, "price file: empty");
    if (text[first] == '{')
        return import_litellm(text, length, sink, err);
    return import_csv(text, length, sink, err);
}
