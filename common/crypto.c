/* SPDX-License-Identifier: MIT */
/*
 * OpenSSL's libcrypto behind crypto.h.
 *
 * SHA-256 of a credential is taken for every request. OpenSSL 3.0, Debian 12, 40 bytes: the
 * one-shot SHA256() 288 ns and EVP_Digest(EVP_sha256()) 279 ns, because both look the algorithm up
 * in its providers each time; an EVP_MD fetched once 100 ns, but it would be mutable state at file
 * scope; SHA256_Init/Update/Final 49 ns, without state. These also spare a plain CGI start the 0.75
 * ms in which the first provider call reads openssl.cnf. They are deprecated since 3.0 in favour of
 * the slow forms and still there in 3.x; when they go, the one-shot SHA256() replaces the three
 * lines below.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "common/crypto.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/banned.h"

_Static_assert(SHA256_BYTES == SHA256_DIGEST_LENGTH, "a SHA-256 digest is 32 bytes");

void
crypto_sha256(const void *bytes, size_t length, uint8_t out[SHA256_BYTES])
{
    SHA256_CTX context;

    if (SHA256_Init(&context) != 1 || SHA256_Update(&context, bytes, length) != 1 ||
        SHA256_Final(out, &context) != 1)
        abort();
    OPENSSL_cleanse(&context, sizeof(context)); /* the last block is part of the credential */
}

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct sha256), "its state fits");
_Static_assert(_Alignof(SHA256_CTX) <= _Alignof(struct sha256), "and is aligned");

static SHA256_CTX *
context_of(struct sha256 *digest)
{
    return (SHA256_CTX *)(void *)digest->state;
}

void
sha256_begin(struct sha256 *digest)
{
    if (SHA256_Init(context_of(digest)) != 1)
        abort();
}

void
sha256_add(struct sha256 *digest, const void *bytes, size_t length)
{
    if (SHA256_Update(context_of(digest), bytes, length) != 1)
        abort();
}

void
sha256_end(struct sha256 *digest, uint8_t out[SHA256_BYTES])
{
    if (SHA256_Final(out, context_of(digest)) != 1)
        abort();
    OPENSSL_cleanse(digest, sizeof(*digest));
}

void
crypto_hmac_sha256(const void *key, size_t key_length, const void *bytes, size_t length,
                   uint8_t out[SHA256_BYTES])
{
    unsigned int out_length = 0;

    if (key_length > INT_MAX ||
        HMAC(EVP_sha256(), key, (int)key_length, bytes, length, out, &out_length) == NULL)
        abort();
    if (out_length != SHA256_BYTES)
        abort();
}

/* The kernel's generator: no state of ours, so a fork cannot make two processes draw the same
 * numbers, and nothing to seed at the start. */
void
crypto_random(void *out, size_t length)
{
    unsigned char *next = out;

    while (length > 0) {
        ssize_t got = getrandom(next, length, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();
        next += got;
        length -= (size_t)got;
    }
}

bool
crypto_equal(const void *a, const void *b, size_t length)
{
    return CRYPTO_memcmp(a, b, length) == 0;
}

void
crypto_wipe(void *bytes, size_t length)
{
    OPENSSL_cleanse(bytes, length);
}

/* ---- RSA ----------------------------------------------------------------------------------------
 */

#define PEM_BEGIN "-----BEGIN PUBLIC KEY-----"
#define PEM_END "-----END PUBLIC KEY-----"
#define DER_MAX 4096 /* of an RSA key of RSA_KEY_BITS_MAX it is about 1,100 */
#define EXPONENT_MIN 65537
#define EXPONENT_BYTES_MAX 8

/* The key itself is libcrypto's. */
static EVP_PKEY *
pkey_of(const struct rsa_key *key)
{
    return (EVP_PKEY *)(uintptr_t)key;
}

static bool
exponent_is_sane(const EVP_PKEY *pkey)
{
    BIGNUM *exponent = NULL;
    bool sane;

    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent) != 1)
        return false;
    sane = BN_is_odd(exponent) && BN_num_bytes(exponent) <= EXPONENT_BYTES_MAX &&
           BN_get_word(exponent) >= EXPONENT_MIN;
    BN_free(exponent);
    return sane;
}

/* Takes `pkey`, which may be NULL. */
static enum status
accept_key(EVP_PKEY *pkey, struct rsa_key **out, struct error *err)
{
    enum status status = STATUS_OK;

    ERR_clear_error();
    if (pkey == NULL || EVP_PKEY_get_base_id(pkey) != EVP_PKEY_RSA)
        status = error_set(err, STATUS_INVALID, "not a public RSA key");
    else if (EVP_PKEY_get_bits(pkey) < RSA_KEY_BITS_MIN ||
             EVP_PKEY_get_bits(pkey) > RSA_KEY_BITS_MAX)
        status = error_set(err, STATUS_INVALID, "an RSA key of %d bits: %d to %d are accepted",
                           EVP_PKEY_get_bits(pkey), RSA_KEY_BITS_MIN, RSA_KEY_BITS_MAX);
    else if (!exponent_is_sane(pkey))
        status = error_set(err, STATUS_INVALID, "an RSA key with an unsafe public exponent");
    if (status != STATUS_OK) {
        EVP_PKEY_free(pkey);
        return status;
    }
    *out = (struct rsa_key *)pkey;
    return STATUS_OK;
}

/* The base64 between the two marks, without what stands for line ends. */
static bool
pem_body(const char *text, size_t length, char *out, size_t size, size_t *out_length)
{
    const char *begin = memmem(text, length, PEM_BEGIN, strlen(PEM_BEGIN));
    const char *at, *end;

    *out_length = 0;
    if (begin == NULL)
        return false;
    at = begin + strlen(PEM_BEGIN);
    end = memmem(at, (size_t)(text + length - at), PEM_END, strlen(PEM_END));
    if (end == NULL)
        return false;
    for (; at < end; at++) {
        if (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')
            continue;
        if (*at == '\\' && (at[1] == 'n' || at[1] == 'r')) {
            at++; /* `end` points at a dash, so this one is inside */
            continue;
        }
        if (*out_length == size)
            return false;
        out[(*out_length)++] = *at;
    }
    return true;
}

enum status
rsa_key_from_pem(const char *text, size_t length, struct rsa_key **out, struct error *err)
{
    unsigned char der[DER_MAX];
    char base64[DER_MAX / 3 * 4];
    const unsigned char *at = der;
    EVP_PKEY *pkey;
    size_t base64_length, der_length;

    *out = NULL;
    if (!pem_body(text, length, base64, sizeof(base64), &base64_length) ||
        !base64_decode(base64, base64_length, der, sizeof(der), &der_length))
        return error_set(err, STATUS_INVALID, "not a PEM public key (" PEM_BEGIN ")");
    pkey = d2i_PUBKEY(NULL, &at, (long)der_length);
    if (pkey != NULL && at != der + der_length) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    return accept_key(pkey, out, err);
}

static EVP_PKEY *
pkey_of_numbers(const BIGNUM *modulus, const BIGNUM *exponent)
{
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *pkey = NULL;

    if (builder != NULL && context != NULL &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
        params = OSSL_PARAM_BLD_to_param(builder);
    if (params != NULL && (EVP_PKEY_fromdata_init(context) != 1 ||
                           EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1))
        pkey = NULL;
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_BLD_free(builder);
    return pkey;
}

enum status
rsa_key_from_parts(const void *modulus, size_t modulus_length, const void *exponent,
                   size_t exponent_length, struct rsa_key **out, struct error *err)
{
    BIGNUM *n, *e;
    EVP_PKEY *pkey = NULL;

    *out = NULL;
    if (modulus_length == 0 || modulus_length > RSA_KEY_BITS_MAX / 8 || exponent_length == 0 ||
        exponent_length > EXPONENT_BYTES_MAX)
        return error_set(err, STATUS_INVALID, "an RSA key whose numbers are too short or too long");
    n = BN_bin2bn(modulus, (int)modulus_length, NULL);
    e = BN_bin2bn(exponent, (int)exponent_length, NULL);
    if (n != NULL && e != NULL)
        pkey = pkey_of_numbers(n, e);
    BN_free(n);
    BN_free(e);
    return accept_key(pkey, out, err);
}

void
rsa_key_free(struct rsa_key *key)
{
    EVP_PKEY_free(pkey_of(key));
}

bool
rsa_key_equal(const struct rsa_key *a, const struct rsa_key *b)
{
    return EVP_PKEY_eq(pkey_of(a), pkey_of(b)) == 1;
}

static const EVP_MD *
md_of(enum rsa_digest digest)
{
    switch (digest) {
    case RSA_SHA256:
        return EVP_sha256();
    case RSA_SHA384:
        return EVP_sha384();
    case RSA_SHA512:
        return EVP_sha512();
    }
    return NULL;
}

bool
rsa_key_verify(const struct rsa_key *key, enum rsa_digest digest, const void *bytes, size_t length,
               const void *signature, size_t signature_length)
{
    const EVP_MD *md = md_of(digest);
    EVP_PKEY_CTX *padding = NULL; /* the context's */
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool valid = md != NULL && context != NULL &&
                 EVP_DigestVerifyInit(context, &padding, md, NULL, pkey_of(key)) == 1 &&
                 EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PADDING) == 1 &&
                 EVP_DigestVerify(context, signature, signature_length, bytes, length) == 1;

    EVP_MD_CTX_free(context);
    ERR_clear_error(); /* a bad signature leaves some */
    return valid;
}

/* ---- bytes as text ------------------------------------------------------------------------------
 */

void
buf_add_hex(struct buf *buf, const void *bytes, size_t length)
{
    const unsigned char *in = bytes;

    for (size_t i = 0; i < length; i++) {
        const char pair[2] = { "0123456789abcdef"[in[i] >> 4], "0123456789abcdef"[in[i] & 15] };

        buf_add_bytes(buf, pair, sizeof(pair));
    }
}

static const char base64url_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void
buf_add_base64url(struct buf *buf, const void *bytes, size_t length)
{
    const unsigned char *in = bytes;

    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        unsigned group = (unsigned)in[i] << 16 | (left > 1 ? (unsigned)in[i + 1] << 8 : 0) |
                         (left > 2 ? (unsigned)in[i + 2] : 0);
        const char text[4] = { base64url_alphabet[group >> 18],
                               base64url_alphabet[group >> 12 & 63],
                               base64url_alphabet[group >> 6 & 63],
                               base64url_alphabet[group & 63] };

        buf_add_bytes(buf, text, left > 2 ? 4 : left + 1);
    }
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool
hex_decode(const char *text, size_t text_length, void *out, size_t size, size_t *length)
{
    unsigned char *bytes = out;

    *length = 0;
    if (text_length % 2 != 0 || text_length / 2 > size)
        return false;
    for (size_t i = 0; i < text_length / 2; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        bytes[i] = (unsigned char)(high << 4 | low);
    }
    *length = text_length / 2;
    return true;
}

/* `symbol_62` and `symbol_63` are what base64 and base64url differ in. */
static int
base64_value(char c, char symbol_62, char symbol_63)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == symbol_62)
        return 62;
    return c == symbol_63 ? 63 : -1;
}

/* Text without padding. */
static bool
decode_unpadded(const char *text, size_t text_length, char symbol_62, char symbol_63, void *out,
                size_t size, size_t *length)
{
    unsigned char *bytes = out;
    size_t tail = text_length % 4;
    size_t count = text_length / 4 * 3 + (tail == 0 ? 0 : tail - 1);
    uint32_t bits = 0; /* the low `kept` ones are not written yet */
    unsigned kept = 0;
    size_t written = 0;

    *length = 0;
    if (tail == 1 || count > size)
        return false;
    for (size_t i = 0; i < text_length; i++) {
        int value = base64_value(text[i], symbol_62, symbol_63);

        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        kept += 6;
        if (kept < 8)
            continue;
        kept -= 8;
        bytes[written++] = (unsigned char)(bits >> kept & 0xff);
        bits &= (1U << kept) - 1;
    }
    if (bits != 0) /* two texts for the same bytes */
        return false;
    *length = count;
    return true;
}

bool
base64url_decode(const char *text, size_t text_length, void *out, size_t size, size_t *length)
{
    return decode_unpadded(text, text_length, '-', '_', out, size, length);
}

bool
base64_decode(const char *text, size_t text_length, void *out, size_t size, size_t *length)
{
    *length = 0;
    if (text_length % 4 != 0)
        return false;
    for (int i = 0; i < 2 && text_length > 0 && text[text_length - 1] == '='; i++)
        text_length--;
    return decode_unpadded(text, text_length, '+', '/', out, size, length);
}
