/* SPDX-License-Identifier: MIT */
/*
 * The one door to OpenSSL's libcrypto: digests, random bytes, constant-time comparison, RSA
 * signatures, and the text forms of bytes.
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
/* The same for bytes that come piece by piece. */
struct sha256 {
    uint64_t state[16]; /* libcrypto's */
};
void sha256_begin(struct sha256 *digest);
void sha256_add(struct sha256 *digest, const void *bytes, size_t length);
void sha256_end(struct sha256 *digest, uint8_t out[SHA256_BYTES]); /* begin anew after it */
void crypto_hmac_sha256(const void *key, size_t key_length, const void *bytes, size_t length,
                        uint8_t out[SHA256_BYTES]);
/* Unpredictable bytes; aborts when there are none. */
void crypto_random(void *out, size_t length);
/* Equal in a time that depends on `length` only. */
bool crypto_equal(const void *a, const void *b, size_t length);
/* Overwrite in a way that the compiler keeps. */
void crypto_wipe(void *bytes, size_t length);

#define RSA_KEY_BITS_MIN 2048
#define RSA_KEY_BITS_MAX 8192
#define RSA_SIGNATURE_MAX (RSA_KEY_BITS_MAX / 8)

enum rsa_digest { RSA_SHA256, RSA_SHA384, RSA_SHA512 };

struct rsa_key; /* a public one */

/*
 * Read a public key: a PEM "PUBLIC KEY" (SPKI, RFC 7468 section 13), whose line ends may be
 * missing, or written as spaces or as a backslash and an "n", as an environment variable may have
 * them; or the modulus and exponent of a JSON web key, as big-endian bytes. Refused: anything but
 * RSA, fewer than RSA_KEY_BITS_MIN or more than RSA_KEY_BITS_MAX bits, an exponent that is even,
 * below 65537 or of more than 8 bytes (FIPS 186-5, section 5.1, and a limit of ours). On STATUS_OK
 * the caller has a key to rsa_key_free. Errors: STATUS_INVALID, STATUS_NO_MEMORY.
 */
enum status rsa_key_from_pem(const char *text, size_t length, struct rsa_key **out,
                             struct error *err) MUST_CHECK;
enum status rsa_key_from_parts(const void *modulus, size_t modulus_length, const void *exponent,
                               size_t exponent_length, struct rsa_key **out,
                               struct error *err) MUST_CHECK;
void rsa_key_free(struct rsa_key *key); /* NULL is fine */
bool rsa_key_equal(const struct rsa_key *a, const struct rsa_key *b);
/* Whether `signature` is `key`'s over these bytes: RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2). False
 * also when it cannot be found out. */
bool rsa_key_verify(const struct rsa_key *key, enum rsa_digest digest, const void *bytes,
                    size_t length, const void *signature, size_t signature_length) MUST_CHECK;

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
