/* SPDX-License-Identifier: MIT */
/* The bounded writer and the text helpers; see buf.h. */
#include "common/buf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/money.h"

#include "common/banned.h"

/* 9999-12-31T23:59:59.999999Z, the last instant that RFC 3339 can write. */
#define LAST_TIME_US INT64_C(253402300799999999)

void
buf_init(struct buf *buf, char *storage, size_t size)
{
    assert(storage != NULL && size >= 1);
    buf->data = storage;
    buf->size = size;
    buf_clear(buf);
}

void
buf_clear(struct buf *buf)
{
    buf->length = 0;
    buf->failed = false;
    buf->data[0] = '\0';
}

bool
buf_failed(const struct buf *buf)
{
    return buf->failed;
}

const char *
buf_text(const struct buf *buf)
{
    return buf->data;
}

void
buf_add_bytes(struct buf *buf, const void *bytes, size_t length)
{
    if (buf->failed || length >= buf->size - buf->length) {
        buf->failed = true;
        return;
    }
    if (length > 0)
        memcpy(buf->data + buf->length, bytes, length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void
buf_add(struct buf *buf, const char *text)
{
    buf_add_bytes(buf, text, strlen(text));
}

void
buf_add_char(struct buf *buf, char c)
{
    buf_add_bytes(buf, &c, 1);
}

void
buf_add_format(struct buf *buf, const char *format, ...)
{
    size_t room = buf->size - buf->length;
    va_list arguments;
    int length;

    if (buf->failed)
        return;
    va_start(arguments, format);
    length = vsnprintf(buf->data + buf->length, room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= room) {
        buf->data[buf->length] = '\0';
        buf->failed = true;
        return;
    }
    buf->length += (size_t)length;
}

void
buf_add_int(struct buf *buf, int64_t value)
{
    char digits[20];
    size_t start = sizeof(digits);
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do {
        digits[--start] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0)
        digits[--start] = '-';
    buf_add_bytes(buf, digits + start, sizeof(digits) - start);
}

void
buf_add_header_value(struct buf *buf, const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f) {
            buf->failed = true;
            return;
        }
    }
    buf_add(buf, value);
}

static bool
is_continuation(const char *c, unsigned char low, unsigned char high)
{
    return (unsigned char)*c >= low && (unsigned char)*c <= high;
}

/* RFC 3629 section 4: no overlong form, no surrogate, nothing above U+10FFFF. */
size_t
text_utf8_length(const char *text, size_t length)
{
    unsigned char lead;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    size_t want;

    if (length == 0)
        return 0;
    lead = (unsigned char)text[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    want = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (length < want || !is_continuation(text + 1, low, high))
        return 0;
    for (size_t i = 2; i < want; i++) {
        if (!is_continuation(text + i, 0x80, 0xbf))
            return 0;
    }
    return want;
}

/* One character of a JSON string; returns the bytes of `text` it took. */
static size_t
add_json_character(struct buf *buf, const char *text, size_t length)
{
    size_t bytes = text_utf8_length(text, length);
    unsigned char c = (unsigned char)*text;

    if (bytes == 0) {
        buf_add(buf, "\xef\xbf\xbd"); /* U+FFFD */
        return 1;
    }
    if (c == '"' || c == '\\')
        buf_add_char(buf, '\\');
    if (c == '\n')
        buf_add(buf, "\\n");
    else if (c == '\r')
        buf_add(buf, "\\r");
    else if (c == '\t')
        buf_add(buf, "\\t");
    else if (c < 0x20 || c == 0x7f)
        buf_add_format(buf, "\\u%04x", c);
    else
        buf_add_bytes(buf, text, bytes);
    return bytes;
}

void
buf_add_json_bytes(struct buf *buf, const char *text, size_t length)
{
    buf_add_char(buf, '"');
    for (size_t i = 0; i < length && !buf->failed;)
        i += add_json_character(buf, text + i, length - i);
    buf_add_char(buf, '"');
}

void
buf_add_json_string(struct buf *buf, const char *text)
{
    if (text == NULL)
        buf_add(buf, "null");
    else
        buf_add_json_bytes(buf, text, strlen(text));
}

void
buf_add_json_money(struct buf *buf, int64_t nanos)
{
    buf_add_char(buf, '"');
    money_add_usd(buf, nanos);
    buf_add_char(buf, '"');
}

bool
buf_add_time(struct buf *buf, int64_t time_us)
{
    time_t seconds = (time_t)(time_us / US_PER_SECOND);
    struct tm tm;

    if (time_us <= 0 || time_us > LAST_TIME_US || gmtime_r(&seconds, &tm) == NULL)
        return false;
    buf_add_format(buf, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1,
                   tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (time_us % US_PER_SECOND != 0)
        buf_add_format(buf, ".%06" PRId64, time_us % US_PER_SECOND);
    buf_add_char(buf, 'Z');
    return true;
}

void
buf_add_json_time(struct buf *buf, int64_t time_us)
{
    if (time_us <= 0 || time_us > LAST_TIME_US) {
        buf_add(buf, "null");
        return;
    }
    buf_add_char(buf, '"');
    (void)buf_add_time(buf, time_us);
    buf_add_char(buf, '"');
}

static bool
is_plain_word(const char *value)
{
    if (*value == '\0')
        return false;
    for (const char *c = value; *c != '\0'; c++) {
        if (*c <= ' ' || *c >= 0x7f || *c == '"' || *c == '\\' || *c == '=')
            return false;
    }
    return true;
}

/* One character of a quoted log value. Written whole or not at all, so that a line that is too long
 * is cut between characters. C1 controls (U+0080..U+009F) steer terminals as well as C0 ones. */
static size_t
add_log_character(struct buf *buf, const char *text, size_t length)
{
    size_t bytes = text_utf8_length(text, length);
    unsigned char c = (unsigned char)*text;

    if (c == '"' || c == '\\')
        buf_add_format(buf, "\\%c", c);
    else if (c == '\n')
        buf_add(buf, "\\n");
    else if (bytes == 0 || c < 0x20 || c == 0x7f)
        buf_add_format(buf, "\\x%02x", c);
    else if (c == 0xc2 && (unsigned char)text[1] < 0xa0)
        buf_add_format(buf, "\\xc2\\x%02x", (unsigned char)text[1]);
    else
        buf_add_bytes(buf, text, bytes);
    return bytes == 0 ? 1 : bytes;
}

void
buf_add_log_value(struct buf *buf, const char *value)
{
    bool quoted = !is_plain_word(value);
    size_t length = strlen(value);

    if (quoted)
        buf_add_char(buf, '"');
    for (size_t i = 0; i < length && !buf->failed;)
        i += add_log_character(buf, value + i, length - i);
    if (quoted)
        buf_add_char(buf, '"');
}

bool
text_copy(char *out, size_t size, const char *text)
{
    size_t length = strlen(text);

    assert(size >= 1);
    if (length >= size) {
        out[0] = '\0';
        return false;
    }
    memcpy(out, text, length + 1);
    return true;
}

bool
text_to_int64(const char *text, int64_t min, int64_t max, int64_t *out)
{
    int64_t value = 0;

    if (text == NULL || *text == '\0')
        return false;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9' || value > (INT64_MAX - (*c - '0')) / 10)
            return false;
        value = value * 10 + (*c - '0');
    }
    if (value < min || value > max)
        return false;
    *out = value;
    return true;
}

/* `count` digits at `*text`, which moves past them; -1 when there are fewer. */
static int
take_digits(const char **text, int count)
{
    int value = 0;

    for (int i = 0; i < count; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return -1;
        value = value * 10 + (**text - '0');
    }
    return value;
}

static bool
take_char(const char **text, char wanted)
{
    char c = **text;

    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (c != wanted)
        return false;
    (*text)++;
    return true;
}

/* "2026-11-21T06:12:05" as seconds since 1970. */
static bool
take_date_time(const char **text, int64_t *seconds)
{
    struct tm tm = { 0 };
    int year, month, day;
    time_t result;

    year = take_digits(text, 4);
    if (year < 1970 || !take_char(text, '-'))
        return false;
    month = take_digits(text, 2);
    if (month < 1 || month > 12 || !take_char(text, '-'))
        return false;
    day = take_digits(text, 2);
    if (day < 1 || day > 31 || !take_char(text, 'T'))
        return false;
    tm.tm_hour = take_digits(text, 2);
    if (tm.tm_hour < 0 || tm.tm_hour > 23 || !take_char(text, ':'))
        return false;
    tm.tm_min = take_digits(text, 2);
    if (tm.tm_min < 0 || tm.tm_min > 59 || !take_char(text, ':'))
        return false;
    tm.tm_sec = take_digits(text, 2);
    if (tm.tm_sec < 0 || tm.tm_sec > 59)
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    result = timegm(&tm); /* turns 30 February into 1 March, which the next line sees */
    *seconds = (int64_t)result;
    return tm.tm_mday == day;
}

/* ".5", ".123456789"; what is finer than a microsecond is cut. */
static bool
take_fraction(const char **text, int64_t *us)
{
    int64_t unit = US_PER_SECOND / 10;

    *us = 0;
    if (!take_char(text, '.'))
        return true;
    if (**text < '0' || **text > '9')
        return false;
    for (; **text >= '0' && **text <= '9'; (*text)++, unit /= 10)
        *us += (**text - '0') * unit;
    return true;
}

static bool
take_offset(const char **text, int64_t *seconds)
{
    int sign, hours, minutes;

    *seconds = 0;
    if (take_char(text, 'Z'))
        return true;
    if (**text != '+' && **text != '-')
        return false;
    sign = **text == '-' ? -1 : 1;
    (*text)++;
    hours = take_digits(text, 2);
    if (hours < 0 || hours > 23 || !take_char(text, ':'))
        return false;
    minutes = take_digits(text, 2);
    if (minutes < 0 || minutes > 59)
        return false;
    *seconds = sign * (hours * INT64_C(3600) + minutes * INT64_C(60));
    return true;
}

bool
text_to_time_us(const char *text, int64_t *out)
{
    int64_t seconds, us, offset, result;

    if (text == NULL || !take_date_time(&text, &seconds) || !take_fraction(&text, &us) ||
        !take_offset(&text, &offset) || *text != '\0')
        return false;
    result = (seconds - offset) * US_PER_SECOND + us;
    if (result < 0 || result > LAST_TIME_US)
        return false;
    *out = result;
    return true;
}
