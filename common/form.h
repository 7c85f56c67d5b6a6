/* SPDX-License-Identifier: MIT */
/*
 * application/x-www-form-urlencoded text, as a body (`curl -d`) or a query string, decoded in
 * place. Strict: a malformed escape, a NUL, text that is not UTF-8, a name that comes twice are
 * refused. Source: WHATWG URL standard, section 5.1, but nothing is repaired; contract, section 5.
 */
#ifndef SPENDGATE_FORM_H
#define SPENDGATE_FORM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define FORM_PAIRS_MAX 64

struct form_pair {
    const char *name; /* terminated, in the caller's text */
    const char *value;
};

struct form {
    size_t count;
    struct form_pair pairs[FORM_PAIRS_MAX];
};

/*
 * Decode `length` bytes at `text`, which must have room for one more byte and are overwritten; the
 * pairs point into it. Empty pieces ("a=1&&b=2") are skipped; a piece without "=" has an empty
 * value. Errors: STATUS_INVALID, with a message that names the member.
 */
enum status form_parse(char *text, size_t length, struct form *out, struct error *err) MUST_CHECK;
/* The value of `name`, or NULL. */
const char *form_value(const struct form *form, const char *name);

/* Decode the percent escapes of `length` bytes at `text` in place and terminate it; `plus` also
 * makes "+" a space. False for a malformed escape, a NUL, or text that is not UTF-8. Needs room for
 * one more byte. */
bool percent_decode(char *text, size_t length, bool plus) MUST_CHECK;

#endif
