/* SPDX-License-Identifier: MIT */
/*
 * The values of the settings file: what each type accepts, how it is written into a field, and how
 * the accepted range is told to a person. Which keys there are is settings.c's table.
 * Source: contract, section 2.
 */
#ifndef SPENDGATE_SETTINGS_VALUE_H
#define SPENDGATE_SETTINGS_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/policy.h"

struct address_range { /* CIDR; IPv4 as mapped IPv6 */
    uint8_t address[16];
    int prefix_bits;
};

enum value_type {
    VALUE_TEXT,        /* char[]; visible ASCII without spaces */
    VALUE_NAME,        /* char[]; letters, digits and ".", "_", ":", "-" */
    VALUE_PATH,        /* char[]; absolute */
    VALUE_URL,         /* char[]; https, or http to a loopback address; no query, no final "/" */
    VALUE_LINK,        /* char[]; the same with a query, kept as it is */
    VALUE_STORE_URL,   /* char[] */
    VALUE_CLAIM_PATH,  /* char[]; "a.b.c" */
    VALUE_TIMEZONE,    /* char[] */
    VALUE_SECRET_FILE, /* struct secret, one line; the path is the value (settings.c reads it) */
    VALUE_PEM_FILE,    /* struct secret, a PEM public key */
    VALUE_DURATION,    /* int64_t microseconds */
    VALUE_MONEY,       /* int64_t nano-dollars */
    VALUE_HOLD,        /* struct hold_rule: money or "auto" */
    VALUE_RATE,        /* struct rate */
    VALUE_INTEGER,     /* int or int64_t */
    VALUE_BOOLEAN,     /* bool */
    VALUE_WORD,        /* an enum, or a bool */
    VALUE_SHA256,      /* uint8_t[32] */
    VALUE_LIST_FIRST,  /* from here on each value is one element of a list */
    VALUE_WORDS = VALUE_LIST_FIRST, /* unsigned, a mask */
    VALUE_TEXTS,                    /* char[][] */
    VALUE_SCOPES,                   /* char[][]; RFC 6749 scope tokens, "*" only at the end */
    VALUE_WHOLE_SCOPES,             /* the same without "*" */
    VALUE_MATCHES,                  /* char[][]; "path=text" */
    VALUE_PERCENTS,                 /* int[], kept ascending */
    VALUE_RANGES,                   /* struct address_range[] */
};

struct value_word { /* of an enumeration; the last one has no name */
    const char *name;
    int value;
};

/* What is accepted for one key. */
struct value_rule {
    enum value_type type;
    int64_t min, max; /* of numbers, in the field's unit; of lists: `max` elements */
    const struct value_word *words;
    bool empty;  /* "" is accepted and means none */
    size_t size; /* bytes of the field, or of one element */
};

/* "a duration from 1s to 1d": completes the sentence "… is not …". */
void value_describe(const struct value_rule *rule, struct buf *out);
const char *value_type_name(enum value_type type); /* one word: "duration" */

/* What is wrong with a `text` that value_parse refused: "is not a duration from 1s to 1d". Does not
 * quote the text. `count` as in value_parse. */
void value_explain(const struct value_rule *rule, const char *text, const size_t *count,
                   struct buf *out);

/*
 * Parse `text` into `field`; for a list, append to the `*count` elements at `field` (NULL for the
 * others). False, with the field untouched, when the rule does not accept it, also when the list is
 * full. Not for VALUE_SECRET_FILE and VALUE_PEM_FILE, whose text is checked only.
 */
bool value_parse(const struct value_rule *rule, const char *text, void *field,
                 size_t *count) MUST_CHECK;

/* Parsers of single values, public for their tests and fuzz target. */
bool settings_parse_duration(const char *text, int64_t *us) MUST_CHECK;  /* 500ms 60s 5m 24h 30d */
bool settings_parse_rate(const char *text, struct rate *out) MUST_CHECK; /* N/unit, N/Ms */
/* "10.0.0.0/8", "2001:db8::/32", or one address. Bits beyond the prefix must be zero. */
bool settings_parse_address_range(const char *text, struct address_range *out) MUST_CHECK;

#endif
