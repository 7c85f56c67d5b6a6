/* SPDX-License-Identifier: MIT */
#include "authorizer/jwt.h"

#include "authorizer/credential.h"
#include "common/clock.h"

#include <assert.h>
#include <string.h>

#include "common/banned.h"

#define NUMERIC_DATE_MAX (INT64_C(1) << 53)
#define PART_MAX (CREDENTIAL_JWT_MAX / 4 * 3)

struct span {
    const char *text;
    size_t length;
};

/* Exactly three parts between two dots. */
static bool
split(const char *text, size_t length, struct span parts[3])
{
    size_t part = 0;
    size_t start = 0;

    for (size_t i = 0; i <= length; i++) {
        if (i < length && text[i] != '.')
            continue;
        if (part == 3 || i == start)
            return false;
        parts[part++] = (struct span){ text + start, i - start };
        start = i + 1;
    }
    return part == 3;
}

static struct json *
parse_object(const struct span *part)
{
    unsigned char bytes[PART_MAX];
    struct json *object = NULL;
    size_t length = 0;

    if (!base64url_decode(part->text, part->length, bytes, sizeof(bytes), &length) ||
        json_parse((const char *)bytes, length, &object, NULL) != STATUS_OK)
        object = NULL;
    crypto_wipe(bytes, sizeof(bytes));
    if (object != NULL && json_type(object) != JSON_OBJECT) {
        json_free(object);
        object = NULL;
    }
    return object;
}

static bool
digest_of(const char *algorithm, enum rsa_digest *out)
{
    static const struct {
        const char *name;
        enum rsa_digest digest;
    } algorithms[] = { { "RS256", RSA_SHA256 }, { "RS384", RSA_SHA384 }, { "RS512", RSA_SHA512 } };

    for (size_t i = 0; algorithm != NULL && i < 3; i++) {
        if (strcmp(algorithm, algorithms[i].name) == 0) {
            *out = algorithms[i].digest;
            return true;
        }
    }
    return false;
}

/* An optional text of the header; false when it is there and is none. */
static bool
read_text(const struct json *header, const char *name, const char **out)
{
    *out = json_string(json_member(header, name));
    return *out != NULL || !json_has(header, name);
}

static enum status
read_header(struct jwt *jwt, struct error *err)
{
    const struct json *header = jwt->header;

    if (!digest_of(json_string(json_member(header, "alg")), &jwt->digest))
        return error_set(err, STATUS_INVALID, "the JWT's alg is not RS256, RS384 or RS512");
    if (json_has(header, "crit"))
        return error_set(err, STATUS_INVALID, "the JWT's header has crit: no extension is known");
    if (!read_text(header, "kid", &jwt->key_id) || !read_text(header, "typ", &jwt->type) ||
        !read_text(header, "cat", &jwt->category))
        return error_set(err, STATUS_INVALID, "the JWT's kid, typ or cat is no text");
    return STATUS_OK;
}

static enum status
parse_parts(const struct span parts[3], struct jwt *out, struct error *err)
{
    enum status status;

    out->header = parse_object(&parts[0]);
    if (out->header == NULL)
        return error_set(err, STATUS_INVALID, "the JWT's header is no JSON object");
    status = read_header(out, err);
    if (status != STATUS_OK)
        return status;
    out->claims = parse_object(&parts[1]);
    if (out->claims == NULL)
        return error_set(err, STATUS_INVALID, "the JWT's payload is no JSON object");
    if (!base64url_decode(parts[2].text, parts[2].length, out->signature, sizeof(out->signature),
                          &out->signature_length))
        return error_set(err, STATUS_INVALID, "the JWT's signature is no base64url");
    return STATUS_OK;
}

enum status
jwt_parse(const char *text, size_t length, struct jwt *out, struct error *err)
{
    struct span parts[3];
    enum status status;

    out->header = out->claims = NULL;
    if (length > CREDENTIAL_JWT_MAX || !split(text, length, parts))
        return error_set(err, STATUS_INVALID, "the JWT has not three parts, or is too long");
    out->signed_text = text;
    out->signed_length = parts[0].length + 1 + parts[1].length;
    status = parse_parts(parts, out, err);
    if (status != STATUS_OK)
        jwt_clear(out);
    return status;
}

void
jwt_clear(struct jwt *jwt)
{
    json_free(jwt->header);
    json_free(jwt->claims);
    jwt->header = jwt->claims = NULL;
    crypto_wipe(jwt->signature, sizeof(jwt->signature));
}

bool
jwt_signed_by(const struct jwt *jwt, const struct rsa_key *key)
{
    return rsa_key_verify(key, jwt->digest, jwt->signed_text, jwt->signed_length, jwt->signature,
                          jwt->signature_length);
}

/* A NumericDate in microseconds, INT64_MAX for one far beyond. */
static bool
read_date(const struct json *value, int64_t *out_us)
{
    if (!json_int64(value, 0, NUMERIC_DATE_MAX, out_us))
        return false;
    if (__builtin_mul_overflow(*out_us, US_PER_SECOND, out_us))
        *out_us = INT64_MAX;
    return true;
}

/* nbf or iat: true when it is not there. */
static bool
has_begun(const struct json *claims, const char *name, int64_t latest_us)
{
    int64_t begin_us;

    if (!json_has(claims, name))
        return true;
    return read_date(json_member(claims, name), &begin_us) && begin_us <= latest_us;
}

enum status
jwt_check_times(const struct jwt *jwt, int64_t now_us, int64_t skew_us, int64_t *expires_us,
                bool *expired, struct error *err)
{
    assert(skew_us >= 0);
    *expired = false;
    if (!read_date(json_member(jwt->claims, "exp"), expires_us))
        return error_set(err, STATUS_INVALID, "the JWT's exp is no time");
    if (__builtin_add_overflow(*expires_us, skew_us, expires_us))
        *expires_us = INT64_MAX;
    if (!has_begun(jwt->claims, "nbf", now_us + skew_us) ||
        !has_begun(jwt->claims, "iat", now_us + skew_us))
        return error_set(err, STATUS_INVALID,
                         "the JWT's nbf or iat is no time, or still to come: see "
                         "clerk { clock_skew }");
    *expired = *expires_us <= now_us;
    if (*expired)
        return error_set(err, STATUS_INVALID, "the JWT has expired");
    return STATUS_OK;
}
