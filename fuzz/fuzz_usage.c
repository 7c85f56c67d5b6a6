/* SPDX-License-Identifier: MIT */
/* A vendor's usage object: what is taken has every token in one part, costs the sum of its parts,
 * and is kept in a form that reads back the same. */
#include <assert.h>
#include <string.h>

#include "common/money.h"
#include "common/usage.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

static bool
parse(const char *text, size_t length, struct usage *out)
{
    struct json *json = NULL;
    struct error err;
    bool taken = json_parse(text, length, &json, &err) == STATUS_OK &&
                 usage_parse(json, NULL, out, &err) == STATUS_OK;

    json_free(json);
    return taken;
}

/* A cent and a bit per thousand units of every part. */
static void
check_cost(const struct usage *usage)
{
    struct price price;
    struct error err;
    unsigned __int128 sum = 0;
    int64_t nanos = -1, rate = INT64_C(10000000001);

    price_init(&price);
    for (int part = 0; part < PRICE_PARTS; part++) {
        price.rates[PRICE_STANDARD][PRICE_BASE][part] = rate;
        sum += (unsigned __int128)usage->units[part] * (unsigned __int128)rate;
    }
    price.factors[PRICE_FAST] = MONEY_NANOS_PER_USD;
    assert(usage_cost(usage, &price, &nanos, &err) == STATUS_OK);
    assert((unsigned __int128)nanos * PRICE_UNITS >= sum);
    assert((unsigned __int128)nanos * PRICE_UNITS < sum + PRICE_UNITS);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char storage[USAGE_TEXT_SIZE];
    struct usage usage, again;
    struct json *json = NULL;
    struct error err;
    struct buf text;
    bool taken = parse((const char *)data, size, &usage);

    fuzz_result(taken);
    if (!taken)
        return 0;
    for (int part = 0; part < PRICE_PARTS; part++)
        assert(usage.units[part] >= 0 && usage.units[part] <= USAGE_UNITS_MAX);
    check_cost(&usage);
    buf_init(&text, storage, sizeof(storage));
    usage_write(&usage, &text);
    assert(!buf_failed(&text));
    assert(json_parse(buf_text(&text), text.length, &json, &err) == STATUS_OK);
    assert(usage_read(json, &again, &err) == STATUS_OK);
    json_free(json);
    assert(memcmp(usage.units, again.units, sizeof(usage.units)) == 0);
    assert(usage.tier == again.tier && usage.step == again.step);
    assert(usage.fast == again.fast && usage.regional == again.regional);
    return 0;
}
