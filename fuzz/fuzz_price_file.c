/* SPDX-License-Identifier: MIT */
/* A price file, ours or LiteLLM's: every price that comes out of it has names that can be kept and
 * rates in their range, and reads back the same. */
#include <assert.h>
#include <string.h>

#include "common/money.h"
#include "common/price_import.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

static void
check_name(const char *name, size_t size)
{
    size_t length = strnlen(name, size);

    assert(length < size);
    for (size_t i = 0; i < length;) {
        size_t one = text_utf8_length(name + i, length - i);

        assert(one > 0 && (unsigned char)name[i] >= 0x20 && name[i] != 0x7f);
        i += one;
    }
}

static enum status
take(void *context, const struct price_entry *entry, struct error *err)
{
    static char storage[PRICE_RATES_SIZE];
    struct price again;
    struct buf text;

    (void)context;
    check_name(entry->provider, sizeof(entry->provider));
    check_name(entry->model, sizeof(entry->model));
    assert(entry->model[0] != '\0' && entry->from_us >= 0);
    for (int part = 0; part < PRICE_PARTS; part++) {
        for (int cell = 0; cell < PRICE_TIERS * PRICE_STEPS; cell++) {
            enum price_tier tier = (enum price_tier)(cell % PRICE_TIERS);
            enum price_step step = (enum price_step)(cell / PRICE_TIERS);
            int64_t rate = entry->price.rates[tier][step][part];

            assert(rate >= PRICE_UNSET && rate <= MONEY_MAX_NANOS);
            rate = price_rate(&entry->price, tier, step, (enum price_part)part);
            assert(rate >= PRICE_UNSET && rate <= MONEY_MAX_NANOS);
        }
    }
    buf_init(&text, storage, sizeof(storage));
    price_write(&entry->price, &text);
    assert(!buf_failed(&text));
    assert(price_parse_text(buf_text(&text), text.length, &again, err) == STATUS_OK);
    assert(price_same(&entry->price, &again));
    return STATUS_OK;
}

static void
leave_out(void *context, const char *model, bool whole, const char *why)
{
    (void)context;
    (void)whole;
    assert(model != NULL && why != NULL && *why != '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct price_sink sink = { take, leave_out, NULL };
    struct error err;

    fuzz_result(price_import((const char *)data, size, &sink, &err) == STATUS_OK);
    return 0;
}
