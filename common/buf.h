/* SPDX-License-Identifier: MIT */
/*
 * A bounded writer over the caller's storage. It never grows and never overruns; the first write
 * that does not fit, or that is refused, makes it fail, and it stays failed (sticky), so that one
 * check covers many writes. The text is always terminated.
 */
#ifndef SPENDGATE_BUF_H
#define SPENDGATE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct buf {
    char *data;
    size_t size;   /* of the storage, the terminating NUL included */
    size_t length; /* bytes written, without the NUL */
    bool failed;
};

/* Use `size` >= 1 bytes at `storage`; keeps the pointer until the caller stops using the buf. */
void buf_init(struct buf *buf, char *storage, size_t size);
void buf_clear(struct buf *buf); /* empty again, failure forgotten */
bool buf_failed(const struct buf *buf);
const char *buf_text(const struct buf *buf); /* terminated; valid until the next write */

void buf_add(struct buf *buf, const char *text);
void buf_add_bytes(struct buf *buf, const void *bytes, size_t length);
void buf_add_char(struct buf *buf, char c);
void buf_add_format(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_add_int(struct buf *buf, int64_t value);
/* The value of a header line: printable bytes, space, tab and bytes >= 0x80. Others fail. */
void buf_add_header_value(struct buf *buf, const char *value);
/* `text` as a quoted JSON string (RFC 8259 section 7). NULL is written as null. Bytes that are not
 * valid UTF-8 are written as U+FFFD. */
void buf_add_json_string(struct buf *buf, const char *text);
/* The same for text that may hold NUL bytes. */
void buf_add_json_bytes(struct buf *buf, const char *text, size_t length);
/* Money as a quoted JSON decimal of USD, e.g. "0.05". */
void buf_add_json_money(struct buf *buf, int64_t nanos);
/* UTC microseconds as a quoted RFC 3339 time, "2026-11-21T06:12:05Z"; the fraction is written only
 * when it is not zero. INT64_MAX, 0 and less are written as null (no time), and so is
 * what lies after the year 9999. */
void buf_add_json_time(struct buf *buf, int64_t time_us);
/* The same without quotes; false, and nothing is written, where that writes null. */
bool buf_add_time(struct buf *buf, int64_t time_us);
/* One key=value of a log line: the value is quoted and escaped when it is not a plain word. */
void buf_add_log_value(struct buf *buf, const char *value);

/* Text helpers that the C library has no safe form of. */

/* Copy `text` to `out` of `size` bytes; false, and an empty `out`, when it does not fit. */
bool text_copy(char *out, size_t size, const char *text) MUST_CHECK;
/* Parse a whole non-negative decimal number: digits only, no sign, no space, `min`..`max`; false
 * otherwise, with `*out` untouched. */
bool text_to_int64(const char *text, int64_t min, int64_t max, int64_t *out) MUST_CHECK;
/* RFC 3339 with Z or a numeric offset; what is finer than a microsecond is cut; years 1970..9999;
 * no leap second (:60), which no POSIX clock shows. */
bool text_to_time_us(const char *text, int64_t *out) MUST_CHECK;

/* Bytes of the UTF-8 character (RFC 3629) that `text` begins with; 0 when it is none. */
size_t text_utf8_length(const char *text, size_t length);

#endif
