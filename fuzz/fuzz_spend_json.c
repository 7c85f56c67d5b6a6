/* SPDX-License-Identifier: MIT */
/* A spend post as JSON: what is taken keeps the rules, and is taken again the same. */
#include <assert.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "tracker/spend.h"

#include "common/banned.h"

#define MAX_CHARGE (INT64_C(1000) * MONEY_NANOS_PER_USD)

static bool
parse(const uint8_t *data, size_t size, struct spend_post *out)
{
    struct refusal refusal = { .http_status = 0 };
    struct fields fields;

    fields_read_json(&fields, (const char *)data, size, &refusal);
    spend_parse(&fields, MAX_CHARGE, out, &refusal);
    fields_clear(&fields);
    assert(refused(&refusal) == (refusal.code != NULL));
    return !refused(&refusal);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct spend_post post, again;
    bool taken = parse(data, size, &post);

    fuzz_result(taken);
    if (!taken)
        return 0;
    assert(post.cost_nanos >= 0 && post.cost_nanos <= MAX_CHARGE);
    assert(post.hold_id[0] != '\0' || post.subject[0] != '\0' || post.key_id[0] != '\0');
    assert(post.subject[0] == '\0' || account_name_valid(post.subject));
    assert(parse(data, size, &again));
    assert(memcmp(post.fingerprint, again.fingerprint, sizeof(post.fingerprint)) == 0);
    return 0;
}
