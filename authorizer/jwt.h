/* SPDX-License-Identifier: MIT */
/*
 * JSON web tokens as Clerk makes them: JWS compact serialization with an RSASSA-PKCS1-v1_5
 * signature. Taken apart here, and their signature and times judged; which key it has to be is
 * jwks.h's business, and what else a kind of token must say is the verifiers'. Source: RFC 7515,
 * RFC 7519; clerk-api document, section 5.
 */
#ifndef SPENDGATE_JWT_H
#define SPENDGATE_JWT_H

#include <stddef.h>
#include <stdint.h>

#include "common/crypto.h"
#include "common/error.h"
#include "common/json.h"

struct jwt {
    struct json *header, *claims; /* objects; owned */
    enum rsa_digest digest;       /* of the header's alg */
    const char *key_id;           /* kid, or NULL; like the next two, it lives in `header` */
    const char *type;             /* typ, or NULL */
    const char *category;         /* cat, or NULL */
    const char *signed_text;      /* borrowed from the text that was parsed */
    size_t signed_length;
    unsigned char signature[RSA_SIGNATURE_MAX];
    size_t signature_length;
};

/*
 * Take `length` bytes apart; nothing they say is to be believed before jwt_signed_by. Strict:
 * exactly three parts of unpadded base64url, none of them empty, together at most
 * CREDENTIAL_JWT_MAX bytes; two JSON objects; alg RS256, RS384 or RS512; kid, typ and cat text
 * where they are there; no crit (we know no extension). `out` is to be cleared after STATUS_OK
 * only, and borrows `text`. Errors: STATUS_INVALID, saying what is wrong for the log.
 */
enum status jwt_parse(const char *text, size_t length, struct jwt *out,
                      struct error *err) MUST_CHECK;
void jwt_clear(struct jwt *jwt);

bool jwt_signed_by(const struct jwt *jwt, const struct rsa_key *key) MUST_CHECK;

/*
 * Judge exp, nbf and iat at `now_us`: each a whole number 0..2^53 of seconds without fraction or
 * exponent; exp is required. Expired when exp <= now - skew; not yet valid when nbf or iat > now +
 * skew. `*expires_us` is when it will be refused (UTC, the skew included). STATUS_INVALID;
 * `*expired` says that only its age is wrong.
 */
enum status jwt_check_times(const struct jwt *jwt, int64_t now_us, int64_t skew_us,
                            int64_t *expires_us, bool *expired, struct error *err) MUST_CHECK;

#endif
