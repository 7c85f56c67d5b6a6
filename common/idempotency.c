/* SPDX-License-Identifier: MIT */
#include "common/idempotency.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/banned.h"

bool
idempotency_key_valid(const char *key)
{
    size_t length = strlen(key);

    for (size_t i = 0; i < length; i++) {
        if (key[i] < 0x21 || key[i] > 0x7e)
            return false;
    }
    return length >= 1 && length < IDEMPOTENCY_KEY_SIZE;
}

void
fingerprint_init(struct fingerprint *fingerprint, const char *call)
{
    buf_init(&fingerprint->text, fingerprint->storage, sizeof(fingerprint->storage));
    fingerprint_add(fingerprint, "call", call);
}

void
fingerprint_add(struct fingerprint *fingerprint, const char *name, const char *value)
{
    /* No text holds a NUL, so that two different lists of members never give the same bytes. */
    buf_add_bytes(&fingerprint->text, name, strlen(name) + 1);
    buf_add_bytes(&fingerprint->text, value, strlen(value) + 1);
}

void
fingerprint_add_int(struct fingerprint *fingerprint, const char *name, int64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    fingerprint_add(fingerprint, name, text);
}

void
fingerprint_take(const struct fingerprint *fingerprint, uint8_t out[SHA256_BYTES])
{
    /* The sizes of the members bound the text; a cut one would make different requests look equal.
     */
    assert(!buf_failed(&fingerprint->text));
    crypto_sha256(fingerprint->text.data, fingerprint->text.length, out);
}
