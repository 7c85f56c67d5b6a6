/* SPDX-License-Identifier: MIT */
/*
 * Money: int64_t nano-dollars (10^-9 USD, as google.type.Money.nanos), 0..MONEY_MAX_NANOS. Never
 * negative, never a double. Every function that could pass the range says "no" instead.
 * Source: design document, section 3.
 */
#ifndef SPENDGATE_MONEY_H
#define SPENDGATE_MONEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"

#define MONEY_NANOS_PER_USD INT64_C(1000000000)
#define MONEY_NANOS_PER_CENT INT64_C(10000000)
#define MONEY_MAX_NANOS INT64_C(1000000000000000000) /* one billion dollars */
#define MONEY_TEXT_SIZE 24                           /* fits any amount with its NUL */

/* False, with `*out` untouched, when an argument or the result is outside 0..MONEY_MAX_NANOS. */
bool money_add(int64_t a_nanos, int64_t b_nanos, int64_t *out) MUST_CHECK;
bool money_sub(int64_t a_nanos, int64_t b_nanos, int64_t *out) MUST_CHECK;
/* a * multiplier / divisor, rounded up; exact in between. multiplier >= 0, divisor > 0. */
bool money_mul_div(int64_t a_nanos, int64_t multiplier, int64_t divisor, int64_t *out) MUST_CHECK;
/* a - b, or 0 when b is larger. Both in range. */
int64_t money_sub_floor(int64_t a_nanos, int64_t b_nanos);

/*
 * Parse a plain decimal: digits with at most one point and at least one digit on each side of it;
 * no sign, exponent, space or empty text; at most nine decimals (trailing zeros beyond that are
 * refused too); at most MONEY_MAX_NANOS. `money_parse_cents` reads cents ("1.5" is 1.5 cents, at
 * most seven decimals). False, with `*nanos` untouched, otherwise.
 */
bool money_parse_usd(const char *text, int64_t *nanos) MUST_CHECK;
bool money_parse_cents(const char *text, int64_t *nanos) MUST_CHECK;
/* Decimal USD without trailing zeros: "0.05", "12", "0". A negative amount (a sum of refunds in a
 * report) gets a minus sign. */
void money_add_usd(struct buf *out, int64_t nanos);

#endif
