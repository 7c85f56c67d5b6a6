/* SPDX-License-Identifier: MIT */
/* Values of the settings file, by type; see settings_value.h. */
#include "common/settings_value.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/money.h"
#include "common/period.h"

#include "common/banned.h"

#define US_PER_MS INT64_C(1000)
#define US_PER_MINUTE (60 * US_PER_SECOND)
#define US_PER_HOUR (60 * US_PER_MINUTE)
#define US_PER_DAY (24 * US_PER_HOUR)

#define RATE_COUNT_MAX 1000000
#define RATE_PER_MAX_US (31 * US_PER_DAY)

#define NUMBER_TEXT_SIZE 24

/* Ascending, so that the last one that divides a duration is the shortest to write. */
static const struct {
    const char *name;
    int64_t us;
} units[] = {
    { "ms", US_PER_MS },  { "s", US_PER_SECOND }, { "m", US_PER_MINUTE },
    { "h", US_PER_HOUR }, { "d", US_PER_DAY },
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_visible(char c)
{
    return c > 0x20 && c < 0x7f;
}

static bool
is_name_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == ':' || c == '-';
}

/* ---- single values -------------------------------------------------------------------------- */

static int64_t
unit_us(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (strcmp(units[i].name, name) == 0)
            return units[i].us;
    }
    return 0;
}

/* The number that `text` begins with; `*rest` is what follows it. At least one digit. */
static bool
leading_number(const char *text, int64_t max, int64_t *out, const char **rest)
{
    char digits[NUMBER_TEXT_SIZE];
    size_t length = 0;

    while (is_digit(text[length]))
        length++;
    if (length >= sizeof(digits))
        return false;
    memcpy(digits, text, length);
    digits[length] = '\0';
    *rest = text + length;
    return text_to_int64(digits, 0, max, out);
}

bool
settings_parse_duration(const char *text, int64_t *us)
{
    const char *unit;
    int64_t number;
    int64_t each;

    if (!leading_number(text, INT64_MAX, &number, &unit))
        return false;
    each = unit_us(unit);
    if (each == 0 || number > INT64_MAX / each)
        return false;
    *us = number * each;
    return true;
}

bool
settings_parse_rate(const char *text, struct rate *out)
{
    struct rate rate = { 0 };
    const char *rest;

    if (!leading_number(text, RATE_COUNT_MAX, &rate.count, &rest) || rate.count < 1 || *rest != '/')
        return false;
    rest++;
    rate.per_us = unit_us(rest);
    if (rate.per_us == 0 && !settings_parse_duration(rest, &rate.per_us))
        return false;
    if (rate.per_us < US_PER_MS || rate.per_us > RATE_PER_MAX_US)
        return false;
    rate.burst = rate.count;
    if (!text_copy(rate.text, sizeof(rate.text), text))
        return false;
    *out = rate;
    return true;
}

/* Whether the address has no bit set beyond the prefix: "10.1.0.0/8" is a slip of the pen. */
static bool
is_network(const struct address_range *range)
{
    for (int bit = range->prefix_bits; bit < 128; bit++) {
        if ((range->address[bit / 8] & (0x80U >> (bit % 8))) != 0)
            return false;
    }
    return true;
}

bool
settings_parse_address_range(const char *text, struct address_range *out)
{
    char address[INET6_ADDRSTRLEN];
    struct address_range range = { { 0 }, 0 };
    size_t length = strcspn(text, "/");
    struct in_addr v4;
    int64_t bits = -1;
    int width = 128;

    if (length >= sizeof(address))
        return false;
    memcpy(address, text, length);
    address[length] = '\0';
    if (inet_pton(AF_INET, address, &v4) == 1) {
        width = 32;
        range.address[10] = range.address[11] = 0xff;
        memcpy(range.address + 12, &v4, sizeof(v4));
    } else if (inet_pton(AF_INET6, address, range.address) != 1) {
        return false;
    }
    if (text[length] == '\0')
        bits = width;
    else if (!text_to_int64(text + length + 1, 0, width, &bits))
        return false;
    range.prefix_bits = (int)bits + 128 - width;
    if (!is_network(&range))
        return false;
    *out = range;
    return true;
}

/* ---- texts ---------------------------------------------------------------------------------- */

static bool
all_chars(const char *text, bool (*accepts)(char c))
{
    for (const char *c = text; *c != '\0'; c++) {
        if (!accepts(*c))
            return false;
    }
    return *text != '\0';
}

static bool
is_path(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    }
    return text[0] == '/' && text[1] != '\0';
}

/* The host of what follows "http://": an address of this machine only? */
static bool
is_loopback(const char *authority)
{
    static const char *const hosts[] = { "127.0.0.1", "localhost", "[::1]" };

    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        size_t length = strlen(hosts[i]);

        if (strncmp(authority, hosts[i], length) == 0 &&
            (authority[length] == '\0' || authority[length] == ':' || authority[length] == '/'))
            return true;
    }
    return false;
}

/* No fragment and no user, and no query either where a path will be appended to it. */
static bool
is_url(const char *text, const char *refused)
{
    const char *authority;

    if (!all_chars(text, is_visible) || strpbrk(text, refused) != NULL)
        return false;
    if (strncmp(text, "https://", 8) == 0)
        authority = text + 8;
    else if (strncmp(text, "http://", 7) == 0 && is_loopback(text + 7))
        authority = text + 7;
    else
        return false;
    return *authority != '\0' && *authority != '/';
}

static bool
is_store_url(const char *text)
{
    if (strncmp(text, "sqlite:", 7) == 0)
        return is_path(text + 7);
    return all_chars(text, is_visible) &&
           (strncmp(text, "postgresql://", 13) == 0 || strncmp(text, "postgres://", 11) == 0);
}

/* "a.b.c": visible, no empty part. */
static bool
is_claim_path(const char *text, size_t length)
{
    bool empty = true;

    for (size_t i = 0; i < length; i++) {
        if (!is_visible(text[i]) || (text[i] == '.' && empty))
            return false;
        empty = text[i] == '.';
    }
    return !empty;
}

static bool
is_match(const char *text)
{
    const char *equals = strchr(text, '=');

    return equals != NULL && is_claim_path(text, (size_t)(equals - text));
}

/* RFC 6749 section 3.3. */
static bool
is_scope_char(char c)
{
    return is_visible(c) && c != '"' && c != '\\';
}

static bool
is_scope(const char *text, bool whole)
{
    const char *star = strchr(text, '*');

    return all_chars(text, is_scope_char) && (star == NULL || (!whole && star[1] == '\0'));
}

static bool
text_accepted(const struct value_rule *rule, const char *text)
{
    if (*text == '\0')
        return rule->empty;
    switch (rule->type) {
    case VALUE_TEXT:
    case VALUE_TEXTS:
        return all_chars(text, is_visible);
    case VALUE_NAME:
        return all_chars(text, is_name_char);
    case VALUE_PATH:
    case VALUE_SECRET_FILE:
    case VALUE_PEM_FILE:
        return is_path(text);
    case VALUE_URL:
        return is_url(text, "\"'<>\\#@?");
    case VALUE_LINK:
        return is_url(text, "\"'<>\\#@");
    case VALUE_STORE_URL:
        return is_store_url(text);
    case VALUE_CLAIM_PATH:
        return is_claim_path(text, strlen(text));
    case VALUE_TIMEZONE:
        return period_timezone_known(text);
    case VALUE_SCOPES:
        return is_scope(text, false);
    case VALUE_WHOLE_SCOPES:
        return is_scope(text, true);
    case VALUE_MATCHES:
        return is_match(text);
    default:
        return false;
    }
}

static bool
parse_text(const struct value_rule *rule, const char *text, char *field)
{
    size_t length = strlen(text);

    if (!text_accepted(rule, text))
        return false;
    while (rule->type == VALUE_URL && length > 0 && text[length - 1] == '/')
        length--;
    if (length >= rule->size)
        return false;
    memcpy(field, text, length);
    field[length] = '\0';
    return true;
}

/* ---- numbers and words ---------------------------------------------------------------------- */

static bool
parse_number(const struct value_rule *rule, const char *text, int64_t *out)
{
    int64_t value;

    if (rule->type == VALUE_DURATION) {
        if (!settings_parse_duration(text, &value))
            return false;
    } else if (rule->type == VALUE_MONEY) {
        if (!money_parse_usd(text, &value))
            return false;
    } else if (!text_to_int64(text, 0, INT64_MAX, &value)) {
        return false;
    }
    if (value < rule->min || value > rule->max)
        return false;
    *out = value;
    return true;
}

static bool
store_number(const struct value_rule *rule, const char *text, void *field)
{
    int64_t value;
    int narrow;

    if (!parse_number(rule, text, &value))
        return false;
    if (rule->size == sizeof(value)) {
        memcpy(field, &value, sizeof(value));
        return true;
    }
    assert(rule->size == sizeof(narrow));
    narrow = (int)value;
    memcpy(field, &narrow, sizeof(narrow));
    return true;
}

static bool
parse_hold(const struct value_rule *rule, const char *text, struct hold_rule *field)
{
    int64_t nanos = 0;
    bool automatic = strcmp(text, "auto") == 0;

    if (!automatic && (!money_parse_usd(text, &nanos) || nanos < rule->min || nanos > rule->max))
        return false;
    field->set = true;
    field->automatic = automatic;
    field->nanos = nanos;
    return true;
}

static bool
parse_word(const struct value_rule *rule, const char *text, int *out)
{
    for (const struct value_word *word = rule->words; word->name != NULL; word++) {
        if (strcmp(word->name, text) == 0) {
            *out = word->value;
            return true;
        }
    }
    return false;
}

static bool
store_word(const struct value_rule *rule, const char *text, void *field)
{
    int value;
    bool flag;

    if (!parse_word(rule, text, &value))
        return false;
    if (rule->size == sizeof(value)) {
        memcpy(field, &value, sizeof(value));
        return true;
    }
    assert(rule->size == sizeof(flag));
    flag = value != 0;
    memcpy(field, &flag, sizeof(flag));
    return true;
}

/* The words of libconfuse(3), which are those that operators know from it. */
static bool
parse_boolean(const char *text, bool *out)
{
    static const char *const yes[] = { "true", "yes", "on" };
    static const char *const no[] = { "false", "no", "off" };

    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        if (strcmp(yes[i], text) == 0 || strcmp(no[i], text) == 0) {
            *out = strcmp(yes[i], text) == 0;
            return true;
        }
    }
    return false;
}

static bool
parse_sha256(const char *text, uint8_t *field)
{
    uint8_t digest[SHA256_BYTES];
    size_t length;

    if (!hex_decode(text, strlen(text), digest, sizeof(digest), &length) ||
        length != sizeof(digest))
        return false;
    memcpy(field, digest, sizeof(digest));
    return true;
}

/* ---- lists ---------------------------------------------------------------------------------- */

/* Insert in order; one that is there already is one. */
static bool
add_percent(const struct value_rule *rule, const char *text, int *field, size_t *count)
{
    int64_t value;
    size_t at = *count;

    if (!text_to_int64(text, rule->min, 1000, &value))
        return false;
    while (at > 0 && field[at - 1] > value)
        at--;
    if (at > 0 && field[at - 1] == value)
        return true;
    if (*count >= (size_t)rule->max)
        return false;
    memmove(field + at + 1, field + at, (*count - at) * sizeof(field[0]));
    field[at] = (int)value;
    *count += 1;
    return true;
}

static bool
add_element(const struct value_rule *rule, const char *text, void *field, size_t *count)
{
    char *element = (char *)field + *count * rule->size;

    if (*count >= (size_t)rule->max)
        return false;
    if (rule->type == VALUE_RANGES) {
        struct address_range range;

        if (!settings_parse_address_range(text, &range))
            return false;
        memcpy(element, &range, sizeof(range));
    } else if (!parse_text(rule, text, element)) {
        return false;
    }
    *count += 1;
    return true;
}

static bool
add_word(const struct value_rule *rule, const char *text, unsigned *mask)
{
    int value;

    if (!parse_word(rule, text, &value))
        return false;
    *mask |= (unsigned)value;
    return true;
}

bool
value_parse(const struct value_rule *rule, const char *text, void *field, size_t *count)
{
    switch (rule->type) {
    case VALUE_TEXT:
    case VALUE_NAME:
    case VALUE_PATH:
    case VALUE_URL:
    case VALUE_LINK:
    case VALUE_STORE_URL:
    case VALUE_CLAIM_PATH:
    case VALUE_TIMEZONE:
        return parse_text(rule, text, field);
    case VALUE_SECRET_FILE:
    case VALUE_PEM_FILE:
        return text_accepted(rule, text);
    case VALUE_DURATION:
    case VALUE_MONEY:
    case VALUE_INTEGER:
        return store_number(rule, text, field);
    case VALUE_HOLD:
        return parse_hold(rule, text, field);
    case VALUE_RATE:
        return settings_parse_rate(text, field);
    case VALUE_BOOLEAN:
        return parse_boolean(text, field);
    case VALUE_WORD:
        return store_word(rule, text, field);
    case VALUE_SHA256:
        return parse_sha256(text, field);
    case VALUE_WORDS:
        return add_word(rule, text, field);
    case VALUE_PERCENTS:
        return add_percent(rule, text, field, count);
    case VALUE_TEXTS:
    case VALUE_SCOPES:
    case VALUE_WHOLE_SCOPES:
    case VALUE_MATCHES:
    case VALUE_RANGES:
        return add_element(rule, text, field, count);
    }
    return false;
}

/* ---- for people ----------------------------------------------------------------------------- */

static void
add_duration(struct buf *out, int64_t us)
{
    size_t best = 1; /* "0s", not "0ms" */

    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (us > 0 && us % units[i].us == 0)
            best = i;
    }
    if (us > 0 && us % units[best].us != 0)
        best = 0;
    buf_add_int(out, us / units[best].us);
    buf_add(out, units[best].name);
}

static void
add_words(struct buf *out, const struct value_word *words)
{
    for (const struct value_word *word = words; word->name != NULL; word++) {
        if (word != words)
            buf_add(out, word[1].name == NULL ? " or " : ", ");
        buf_add_format(out, "\"%s\"", word->name);
    }
}

static void
add_money_range(const struct value_rule *rule, struct buf *out)
{
    buf_add(out, "an amount of USD from \"");
    money_add_usd(out, rule->min);
    buf_add(out, "\" to \"");
    money_add_usd(out, rule->max);
    buf_add_char(out, '"');
}

static const struct {
    const char *name;
    const char *description; /* NULL: has numbers or words of its own */
} types[] = {
    [VALUE_TEXT] = { "text", "a text of visible ASCII characters" },
    [VALUE_NAME] = { "name", "a name of letters, digits and . _ : -" },
    [VALUE_PATH] = { "path", "an absolute path" },
    [VALUE_URL] = { "url", "an https URL (http to a loopback address) without query and user" },
    [VALUE_LINK] = { "url", "an https URL (http to a loopback address) without user" },
    [VALUE_STORE_URL] = { "url", "\"sqlite:/absolute/path\" or \"postgresql://...\"" },
    [VALUE_CLAIM_PATH] = { "path", "a path into the verified object, such as \"claims.team\"" },
    [VALUE_TIMEZONE] = { "timezone", "an IANA time zone that this machine knows" },
    [VALUE_SECRET_FILE] = { "file", "the absolute path of a file that holds the secret" },
    [VALUE_PEM_FILE] = { "file", "the absolute path of a PEM file with a public key" },
    [VALUE_DURATION] = { "duration", NULL },
    [VALUE_MONEY] = { "money", NULL },
    [VALUE_HOLD] = { "money", NULL },
    [VALUE_RATE] = { "rate", "a rate such as \"60/1m\": 1 to 1000000 per 1ms to 31d" },
    [VALUE_INTEGER] = { "number", NULL },
    [VALUE_BOOLEAN] = { "boolean", "true or false" },
    [VALUE_WORD] = { "word", NULL },
    [VALUE_SHA256] = { "sha256", "a SHA-256 of 64 hexadecimal digits" },
    [VALUE_WORDS] = { "list", NULL },
    [VALUE_TEXTS] = { "list", "a text of visible ASCII characters" },
    [VALUE_SCOPES] = { "list", "a scope (visible ASCII, \"*\" only at the end)" },
    [VALUE_WHOLE_SCOPES] = { "list", "a scope (visible ASCII without \"*\")" },
    [VALUE_MATCHES] = { "list", "a match such as \"claims.tier=pro\"" },
    [VALUE_PERCENTS] = { "list", "a percentage from 1 to 1000" },
    [VALUE_RANGES] = { "list", "an address range such as \"10.0.0.0/8\"" },
};

const char *
value_type_name(enum value_type type)
{
    return types[type].name;
}

static void
describe_numbers(const struct value_rule *rule, struct buf *out)
{
    switch (rule->type) {
    case VALUE_DURATION:
        buf_add(out, "a duration from ");
        add_duration(out, rule->min);
        buf_add(out, " to ");
        add_duration(out, rule->max);
        break;
    case VALUE_MONEY:
        add_money_range(rule, out);
        break;
    case VALUE_HOLD:
        add_money_range(rule, out);
        buf_add(out, ", or \"auto\"");
        break;
    case VALUE_WORD:
    case VALUE_WORDS:
        add_words(out, rule->words);
        break;
    default:
        buf_add(out, "a whole number from ");
        buf_add_int(out, rule->min);
        buf_add(out, " to ");
        buf_add_int(out, rule->max);
        break;
    }
}

static void
describe_one(const struct value_rule *rule, struct buf *out)
{
    if (types[rule->type].description != NULL)
        buf_add(out, types[rule->type].description);
    else
        describe_numbers(rule, out);
}

void
value_describe(const struct value_rule *rule, struct buf *out)
{
    describe_one(rule, out);
    if (rule->type >= VALUE_LIST_FIRST && rule->max > 0)
        buf_add_format(out, ", at most %d", (int)rule->max);
}

void
value_explain(const struct value_rule *rule, const char *text, const size_t *count, struct buf *out)
{
    bool list_full = count != NULL && *count >= (size_t)rule->max;
    bool is_text = rule->type <= VALUE_PEM_FILE || rule->type >= VALUE_TEXTS;

    if (list_full) {
        buf_add_format(out, "is one value more than the %d that fit", (int)rule->max);
    } else if (is_text && rule->size > 0 && text_accepted(rule, text)) {
        buf_add_format(out, "is longer than %d bytes", (int)rule->size - 1);
    } else {
        buf_add(out, "is not ");
        describe_one(rule, out);
    }
}
