/* SPDX-License-Identifier: MIT */
/* A file of a spool folder: what is taken can be replayed without counting twice. */
#include <assert.h>
#include <string.h>

#include "admin/spool_file.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

#define MAX_CHARGE (INT64_C(1000000000) * MONEY_NANOS_PER_USD)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct spool_post spooled;
    struct refusal refusal = { .http_status = 0 };
    enum spool_file kind =
        spool_file_parse((const char *)data, size, MAX_CHARGE, &spooled, &refusal);

    fuzz_result(kind == SPOOL_GOOD);
    assert(refused(&refusal) == (kind != SPOOL_GOOD));
    if (kind != SPOOL_GOOD)
        return 0;
    assert(spooled.key[0] != '\0' || spooled.post.hold_id[0] != '\0');
    assert(spooled.post.cost_nanos >= 0 && spooled.post.cost_nanos <= MAX_CHARGE);
    assert(spooled.spooled_us > 0);
    return 0;
}
