/* SPDX-License-Identifier: MIT */
#include "authorizer/verification_cache.h"

#include <assert.h>
#include <string.h>

#include "common/banned.h"

static void
make_key(const struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
         uint8_t key[HOST_CACHE_KEY_BYTES])
{
    memcpy(key, cache->scope, CACHE_SCOPE_BYTES);
    memcpy(key + CACHE_SCOPE_BYTES, digest, SHA256_BYTES);
}

void
cache_get(const struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
          int64_t boot_us, struct cache_entry *out)
{
    uint8_t key[HOST_CACHE_KEY_BYTES];
    char storage[IDENTITY_ENCODED_SIZE];
    struct host_row row;
    struct buf bytes;

    make_key(cache, digest, key);
    buf_init(&bytes, storage, sizeof(storage));
    out->found = host_cache_get(cache->host, key, boot_us, &row, &bytes);
    out->valid = row.kind == HOST_ROW_VALID;
    if (out->found && out->valid &&
        identity_decode(storage, bytes.length, &out->identity, NULL) != STATUS_OK) {
        row = (struct host_row){ .kind = HOST_ROW_INVALID };
        out->found = out->valid = false;
    }
    out->checked_us = row.checked_us;
    out->verified_us = row.verified_us;
    memcpy(out->reason, row.reason, sizeof(out->reason));
}

void
cache_put_valid(const struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
                const struct identity *identity, int64_t boot_us)
{
    char storage[IDENTITY_ENCODED_SIZE];
    uint8_t key[HOST_CACHE_KEY_BYTES];
    struct buf bytes;

    make_key(cache, digest, key);
    buf_init(&bytes, storage, sizeof(storage));
    identity_encode(identity, &bytes);
    assert(!buf_failed(&bytes));
    host_cache_put(cache->host, key, HOST_ROW_VALID, storage, bytes.length, boot_us);
}

void
cache_put_invalid(const struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
                  const char *reason, int64_t boot_us)
{
    uint8_t key[HOST_CACHE_KEY_BYTES];

    make_key(cache, digest, key);
    host_cache_put_invalid(cache->host, key, reason, boot_us);
}

/* No credential has its digest: that of a name with a colon. */
static void
make_document_key(const struct verification_cache *cache, const char *name,
                  uint8_t key[HOST_CACHE_KEY_BYTES])
{
    uint8_t digest[SHA256_BYTES];

    crypto_sha256(name, strlen(name), digest);
    make_key(cache, digest, key);
}

bool
cache_document_get(const struct verification_cache *cache, const char *name, int64_t boot_us,
                   struct buf *out, int64_t *put_us)
{
    uint8_t key[HOST_CACHE_KEY_BYTES];
    struct host_row row;
    bool found;

    make_document_key(cache, name, key);
    found = host_cache_get(cache->host, key, boot_us, &row, out);
    *put_us = row.checked_us;
    return found && row.kind == HOST_ROW_DOCUMENT && row.verified_us > 0;
}

void
cache_document_put(const struct verification_cache *cache, const char *name, const char *text,
                   size_t length, int64_t boot_us)
{
    uint8_t key[HOST_CACHE_KEY_BYTES];

    assert(length <= CACHE_DOCUMENT_MAX);
    make_document_key(cache, name, key);
    host_cache_put(cache->host, key, HOST_ROW_DOCUMENT, text, length, boot_us);
}
