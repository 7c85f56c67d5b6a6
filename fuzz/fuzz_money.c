/* SPDX-License-Identifier: MIT */
/* Decimal money: what is taken is in range, and parse -> print -> parse is the same. */
#include <assert.h>
#include <string.h>

#include "common/money.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

static void
check_round_trip(int64_t nanos)
{
    char storage[MONEY_TEXT_SIZE];
    struct buf text;
    int64_t again = -1;

    assert(nanos >= 0 && nanos <= MONEY_MAX_NANOS);
    buf_init(&text, storage, sizeof(storage));
    money_add_usd(&text, nanos);
    assert(!buf_failed(&text));
    assert(money_parse_usd(buf_text(&text), &again));
    assert(again == nanos);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[64];
    int64_t usd = -1, cents = -1, hundredfold = -1;

    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    fuzz_result(money_parse_usd(text, &usd));
    if (usd >= 0)
        check_round_trip(usd);
    if (money_parse_cents(text, &cents)) {
        check_round_trip(cents);
        /* the same digits as dollars are a hundred times as much, or too much */
        assert(usd >= 0 ? money_mul_div(cents, 100, 1, &hundredfold) && hundredfold == usd
                        : !money_mul_div(cents, 100, 1, &hundredfold));
    }
    return 0;
}
