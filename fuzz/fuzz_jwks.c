/* SPDX-License-Identifier: MIT */
/* Clerk's key set: whatever it holds, what is taken from it are public RSA keys with a name. */
#include <assert.h>
#include <string.h>

#include "authorizer/jwks.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jwks_key keys[JWKS_KEYS_MAX];
    size_t count = 99;
    bool read = jwks_read((const char *)data, size, keys, &count, NULL) == STATUS_OK;

    assert(count <= JWKS_KEYS_MAX && (read || count == 0));
    for (size_t i = 0; i < count; i++) {
        assert(keys[i].key != NULL && keys[i].id[0] != '\0');
        assert(!rsa_key_verify(keys[i].key, RSA_SHA256, data, size, data, size));
        for (size_t other = 0; other < i; other++)
            assert(strcmp(keys[i].id, keys[other].id) != 0);
        rsa_key_free(keys[i].key);
    }
    fuzz_result(count > 0);
    return 0;
}
