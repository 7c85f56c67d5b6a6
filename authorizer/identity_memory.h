/* SPDX-License-Identifier: MIT */
/*
 * A worker's own copy of the identities it verified or read last, so that the hot path reads no
 * file. Of a fixed size, made once; the one not used for longest gives way. Whether an entry is
 * still good is the caller's question. Source: design document, section 8.
 */
#ifndef SPENDGATE_IDENTITY_MEMORY_H
#define SPENDGATE_IDENTITY_MEMORY_H

#include <stdint.h>

#include "authorizer/identity.h"
#include "common/crypto.h"

struct identity_memory;

/* Room for `entries` >= 1. Errors: STATUS_NO_MEMORY. */
enum status identity_memory_open(uint32_t entries, struct identity_memory **out,
                                 struct error *err) MUST_CHECK;
void identity_memory_close(struct identity_memory *memory); /* NULL is fine */

/* The identity of the credential with this SHA-256, or NULL. Valid until the next put or remove. */
const struct identity *identity_memory_get(struct identity_memory *memory,
                                           const uint8_t digest[SHA256_BYTES]);
void identity_memory_put(struct identity_memory *memory, const uint8_t digest[SHA256_BYTES],
                         const struct identity *identity);
void identity_memory_remove(struct identity_memory *memory, const uint8_t digest[SHA256_BYTES]);

/* Copy an identity without the room for claims that it does not use. */
void identity_copy(struct identity *to, const struct identity *from);

#endif
