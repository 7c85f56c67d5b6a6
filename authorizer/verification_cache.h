/* SPDX-License-Identifier: MIT */
/*
 * What the processes of one host know together about credentials: rows of the host's cache file,
 * keyed by the SHA-256 of the credential. It only ever saves work: a file that cannot be used
 * answers "not found" (see host_cache.h).
 */
#ifndef SPENDGATE_VERIFICATION_CACHE_H
#define SPENDGATE_VERIFICATION_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "authorizer/identity.h"
#include "common/crypto.h"
#include "common/host_cache.h"

#define CACHE_SCOPE_BYTES (HOST_CACHE_KEY_BYTES - SHA256_BYTES)
#define CACHE_REASON_SIZE HOST_CACHE_REASON_SIZE

/* The caller's storage; both members are his to set. */
struct verification_cache {
    struct host_cache *host; /* borrowed */
    /* What the answers depend on beside the credential (Clerk instance, plans, ...): rows of
     * another scope are not seen. */
    uint8_t scope[CACHE_SCOPE_BYTES];
};

struct cache_entry {
    bool found;                     /* there is a row */
    bool valid;                     /* the last answer was: valid. Only then `identity` is set */
    int64_t checked_us;             /* of the last answer, boot clock */
    int64_t verified_us;            /* of the last answer that was valid; 0: never (for a day) */
    char reason[CACHE_REASON_SIZE]; /* of an invalid one that once was valid: "revoked", "expired";
                                       or "" */
    struct identity identity;
};

/* Look a credential up. `found` is false when it is not there or the file cannot be used. */
void cache_get(const struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
               int64_t boot_us, struct cache_entry *out);
void cache_put_valid(const struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
                     const struct identity *identity, int64_t boot_us);
void cache_put_invalid(const struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
                       const char *reason, int64_t boot_us);

/* A text of ours that the processes share, for a day: Clerk's key set. Names are no credential's
 * text: they hold a colon. */
#define CACHE_DOCUMENT_MAX 65536
/* Append it to `out`, and say when it was put (boot clock); false when there is none that fits. */
bool cache_document_get(const struct verification_cache *cache, const char *name, int64_t boot_us,
                        struct buf *out, int64_t *put_us);
void cache_document_put(const struct verification_cache *cache, const char *name, const char *text,
                        size_t length, int64_t boot_us);

#endif
