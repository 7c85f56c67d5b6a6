/* SPDX-License-Identifier: MIT */
/*
 * The one door to OpenSSL's libcrypto: digests, random bytes, constant-time comparison, and the
 * text forms of bytes.
 */
#ifndef SPENDGATE_CRYPTO_H
#define SPENDGATE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"

#define SHA256_BYTES 32
#define SHA256_HEX_SIZE (2 * SHA256_BYTES + 1)

/* SHA-256 (FIPS 180-4). Aborts when libcrypto cannot do it: nothing safe can be done then. */
void crypto_sha256(const void *bytes, size_t length, uint8_t out[SHA256_BYTES]);
void crypto_hmac_sha256(const void *key, size_t key_length, const void *bytes, size_t length,
                        uint8_t out[SHA256_BYTES]);
/* Unpredictable bytes; aborts when there are none. */
void crypto_random(void *out, size_t length);
/* Equal in a time that depends on `length` only. */
bool crypto_equal(const void *a, const void *b, size_t length);
/* Overwrite in a way that the compiler keeps. */
void crypto_wipe(void *bytes, size_t length);

void buf_add_hex(struct buf *buf, const void *bytes, size_t length); /* lower case */
/* base64url without padding (RFC 4648 section 5). */
void buf_add_base64url(struct buf *buf, const void *bytes, size_t length);

/* Strict decoders: the whole text or nothing; `*length` is set to the bytes written. False for a
 * character outside the alphabet, a wrong length, bits that are not zero at the end, or more than
 * `size` bytes. hex takes both cases; base64url takes no padding; base64 requires it. */
bool hex_decode(const char *text, size_t text_length, void *out, size_t size,
                size_t *length) MUST_CHECK;
bool base64url_decode(const char *text, size_t text_length, void *out, size_t size,
                      size_t *length) MUST_CHECK;
bool base64_decode(const char *text, size_t text_length, void *out, size_t size,
                   size_t *length) MUST_CHECK;

#endif
