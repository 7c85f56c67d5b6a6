/* SPDX-License-Identifier: MIT */
/*
 * A client's idempotency key, and the fingerprint that tells whether it is used for the same
 * request again. Source: contract, section 5.
 */
#ifndef SPENDGATE_IDEMPOTENCY_H
#define SPENDGATE_IDEMPOTENCY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/crypto.h"
#include "common/store.h"

bool idempotency_key_valid(const char *key); /* 1..255 visible ASCII */
#define IDEMPOTENCY_KEY_PROBLEM "idempotency_key: has to be 1 to %d visible ASCII characters"

/* The text that a fingerprint is made of: the call and its parsed members, in an order of our own.
 */
#define FINGERPRINT_TEXT_SIZE 8192
struct fingerprint {
    struct buf text;
    char storage[FINGERPRINT_TEXT_SIZE];
};
void fingerprint_init(struct fingerprint *fingerprint, const char *call);
void fingerprint_add(struct fingerprint *fingerprint, const char *name, const char *value);
void fingerprint_add_int(struct fingerprint *fingerprint, const char *name, int64_t value);
void fingerprint_take(const struct fingerprint *fingerprint, uint8_t out[SHA256_BYTES]);

#endif
