/* SPDX-License-Identifier: MIT */
/* A spend post as a form: what is taken keeps the rules; the name and value of every pair are
 * terminated UTF-8. */
#include <assert.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "tracker/spend.h"

#include "common/banned.h"

#define MAX_CHARGE (INT64_C(1000) * MONEY_NANOS_PER_USD)

#define BODY_MAX 65536

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char body[BODY_MAX + 1];
    static struct spend_post post;
    struct refusal refusal = { .http_status = 0 };
    struct fields fields;

    if (size > BODY_MAX)
        return 0;
    memcpy(body, data, size);
    fields_read_form(&fields, body, size, &refusal);
    for (size_t i = 0; i < fields.form.count; i++) {
        const struct form_pair *pair = &fields.form.pairs[i];

        assert(pair->name >= body && pair->name + strlen(pair->name) <= body + size);
        assert(pair->value >= body && pair->value + strlen(pair->value) <= body + size);
        assert(form_value(&fields.form, pair->name) == pair->value);
    }
    spend_parse(&fields, MAX_CHARGE, &post, &refusal);
    fields_clear(&fields);
    assert(refused(&refusal) == (refusal.code != NULL));
    fuzz_result(!refused(&refusal));
    if (!refused(&refusal))
        assert(post.cost_nanos >= 0 && post.cost_nanos <= MAX_CHARGE);
    return 0;
}
