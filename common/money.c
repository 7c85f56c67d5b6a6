/* SPDX-License-Identifier: MIT */
/* Checked arithmetic on nano-dollars, and their decimal text; see money.h. */
#include "common/money.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/banned.h"

static bool
in_range(int64_t nanos)
{
    return nanos >= 0 && nanos <= MONEY_MAX_NANOS;
}

bool
money_add(int64_t a_nanos, int64_t b_nanos, int64_t *out)
{
    if (!in_range(a_nanos) || !in_range(b_nanos) || a_nanos > MONEY_MAX_NANOS - b_nanos)
        return false;
    *out = a_nanos + b_nanos;
    return true;
}

bool
money_sub(int64_t a_nanos, int64_t b_nanos, int64_t *out)
{
    if (!in_range(a_nanos) || !in_range(b_nanos) || a_nanos < b_nanos)
        return false;
    *out = a_nanos - b_nanos;
    return true;
}

bool
money_mul_div(int64_t a_nanos, int64_t multiplier, int64_t divisor, int64_t *out)
{
    __int128 quotient;

    if (!in_range(a_nanos) || multiplier < 0 || divisor <= 0)
        return false;
    /* At most 2^60 * 2^63: no overflow. */
    quotient = ((__int128)a_nanos * multiplier + (divisor - 1)) / divisor;
    if (quotient > MONEY_MAX_NANOS)
        return false;
    *out = (int64_t)quotient;
    return true;
}

int64_t
money_sub_floor(int64_t a_nanos, int64_t b_nanos)
{
    return a_nanos > b_nanos ? a_nanos - b_nanos : 0;
}

/* One more decimal digit at the end of `nanos`; false when that passes the range or is no digit. */
static bool
append_digit(int64_t *nanos, char c)
{
    if (c < '0' || c > '9' || *nanos > (MONEY_MAX_NANOS - (c - '0')) / 10)
        return false;
    *nanos = *nanos * 10 + (c - '0');
    return true;
}

/* A plain decimal in units of 10^`decimals` nano-dollars. */
static bool
parse_decimal(const char *text, int decimals, int64_t *out)
{
    int64_t nanos = 0;
    bool fraction = false;
    const char *c = text;

    if (c == NULL || *c < '0' || *c > '9')
        return false;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (!append_digit(&nanos, *c))
            return false;
    }
    if (*c == '.') {
        c++;
        fraction = true;
    }
    for (; fraction && *c != '\0' && decimals > 0; c++, decimals--) {
        if (!append_digit(&nanos, *c))
            return false;
    }
    if (*c != '\0' || (fraction && c[-1] == '.'))
        return false;
    for (; decimals > 0; decimals--) {
        if (!append_digit(&nanos, '0'))
            return false;
    }
    *out = nanos;
    return true;
}

bool
money_parse_usd(const char *text, int64_t *nanos)
{
    return parse_decimal(text, 9, nanos);
}

bool
money_parse_cents(const char *text, int64_t *nanos)
{
    return parse_decimal(text, 7, nanos);
}

void
money_add_usd(struct buf *out, int64_t nanos)
{
    uint64_t magnitude = nanos < 0 ? 0 - (uint64_t)nanos : (uint64_t)nanos;
    uint64_t fraction = magnitude % (uint64_t)MONEY_NANOS_PER_USD;
    char digits[10] = "";
    size_t length = 9;

    if (nanos < 0)
        buf_add_char(out, '-');
    buf_add_format(out, "%" PRIu64, magnitude / (uint64_t)MONEY_NANOS_PER_USD);
    if (fraction == 0)
        return;
    for (size_t i = 9; i > 0; i--) {
        digits[i - 1] = (char)('0' + fraction % 10);
        fraction /= 10;
    }
    while (digits[length - 1] == '0')
        length--;
    buf_add_char(out, '.');
    buf_add_bytes(out, digits, length);
}
