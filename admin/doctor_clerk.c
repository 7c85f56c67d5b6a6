/* SPDX-License-Identifier: MIT */
/*
 * spendgate doctor: Clerk. One call that Clerk does not count (the key set), which tells whether it
 * is reached, what it thinks of our secret key, and what time it is there.
 * Source: clerk-api document, sections 1, 6 and 8.
 */
#include "admin/doctor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"

#include "common/banned.h"

#define API_VERSION "2026-05-12"
#define TIMEOUT_US (10 * US_PER_SECOND)
#define DATE_STEP_US US_PER_SECOND /* Date has whole seconds */
#define KEYS_MAX 16
#define KEY_ID_SIZE 256
#define SECONDS_OF_RATE 10
#define RATE_DEVELOPMENT 100 /* calls in that time */
#define RATE_PRODUCTION 1000

struct key_set {
    size_t count;
    char ids[KEYS_MAX][KEY_ID_SIZE];
    struct rsa_key *keys[KEYS_MAX];
};

static bool
starts_with(const struct secret *secret, const char *start)
{
    return secret->length >= strlen(start) && memcmp(secret->bytes, start, strlen(start)) == 0;
}

/* ---- the call ------------------------------------------------------------------------------- */

/* With a machine's own key a question about a token that does not exist; else the key set. */
static bool
call_clerk(struct doctor *doctor, bool machine)
{
    static const char question[] = "{\"token\":\"mt_spendgate_doctor\"}";
    const struct clerk_settings *clerk = &doctor->settings->clerk;
    char authorization[SECRET_BYTES_MAX + 64], target[HTTP_PATH_SIZE + 64];
    struct http_call call = { .method = machine ? "POST" : "GET",
                              .target = target,
                              .headers = { authorization, "Clerk-API-Version: " API_VERSION,
                                           "Accept: application/json",
                                           machine ? "Content-Type: application/json" : NULL },
                              .body = machine ? question : NULL,
                              .body_length = machine ? sizeof(question) - 1 : 0,
                              .timeout_us = TIMEOUT_US };
    struct http_place place;
    struct error err;
    bool asked;

    if (http_place_parse(clerk->api_url, &place, &err) != STATUS_OK) {
        finding_tell(&doctor->sink, FINDING_PROBLEM, "clerk", "clerk { api_url } %s", err.message);
        return false;
    }
    call.origin = place.origin;
    (void)snprintf(target, sizeof(target), "%s%s", strcmp(place.path, "/") == 0 ? "" : place.path,
                   machine ? "/v1/m2m_tokens/verify" : "/v1/jwks");
    (void)snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s",
                   (const char *)clerk->secret_key.bytes);
    doctor_progress(doctor, "Clerk");
    asked = doctor_ask(doctor, &call);
    crypto_wipe(authorization, sizeof(authorization));
    return asked;
}

static void
tell_not_reached(const struct doctor *doctor)
{
    const struct http_answer *answer = doctor->answer;
    const char *url = doctor->settings->clerk.api_url;
    const char *advice = "look at the network, the proxy (https_proxy) and clerk { api_url }";

    if (answer->failure == HTTP_TLS)
        advice = "look at the clock, at the package ca-certificates, and for a proxy that breaks "
                 "TLS open";
    finding_tell(&doctor->sink, FINDING_PROBLEM, "clerk",
                 "%s: %s; keys that are not in the cache are answered 503\n%s", url, answer->error,
                 advice);
}

/* Whether the answer is one to go on with. */
static bool
check_status(const struct doctor *doctor, bool machine)
{
    const struct finding_sink *sink = &doctor->sink;
    const char *url = doctor->settings->clerk.api_url;
    int status = doctor->answer->status;

    switch (status) {
    case 200:
        break;
    case 400:
    case 404:
        if (machine)
            break;
        finding_tell(sink, FINDING_PROBLEM, "clerk",
                     "%s: answers %d for its key set, so this is not Clerk's Backend API\n"
                     "clerk { api_url = \"https://api.clerk.com\" }",
                     url, status);
        return false;
    case 401:
    case 403:
        finding_tell(
            sink, FINDING_PROBLEM, "clerk",
            "%s: %d: our own secret key is refused, so that no new key is accepted\nput the "
            "key of your instance (Dashboard, API keys) into clerk { secret_key_file }",
            url, status);
        return false;
    case 429:
        finding_tell(sink, FINDING_WARNING, "clerk",
                     "%s: 429: the quota of this secret key is used up at the moment\nlower "
                     "clerk { rate }, raise clerk { cache_ttl }, or look for who else uses the key",
                     url);
        return false;
    default:
        finding_tell(sink, FINDING_PROBLEM, "clerk",
                     "%s: answers %d; keys that are not in the cache are answered 503\nsee "
                     "status.clerk.com, and clerk { api_url }",
                     url, status);
        return false;
    }
    finding_tell(sink, FINDING_OK, "clerk", "%s: answers in %" PRId64 " ms and takes our %s key",
                 url, doctor->answer->elapsed_us / 1000, machine ? "machine's" : "secret");
    return true;
}

static void
check_timing(const struct doctor *doctor)
{
    const struct clerk_settings *clerk = &doctor->settings->clerk;
    int64_t elapsed_us = doctor->answer->elapsed_us;

    if (elapsed_us > clerk->timeout_us)
        finding_tell(&doctor->sink, FINDING_WARNING, "clerk",
                     "an answer took %" PRId64 " ms, and clerk { timeout } is %" PRId64
                     " ms: such requests are answered 503\nraise timeout, or look at the network",
                     elapsed_us / 1000, clerk->timeout_us / 1000);
}

/* ---- the clock ------------------------------------------------------------------------------ */

static void
check_clock(const struct doctor *doctor)
{
    const struct http_answer *answer = doctor->answer;
    int64_t skew_us = doctor->settings->clerk.clock_skew_us;
    int64_t date_us, early_us, late_us, off_us = 0;

    if (!http_date_us(answer, &date_us)) {
        finding_tell(&doctor->sink, FINDING_NOTE, "clock",
                     "Clerk's answer has no Date: this host's clock could not be compared");
        return;
    }
    /* It was written at some instant of [date, date + 1 s), while the call was under way. */
    early_us = answer->began_us - (date_us + DATE_STEP_US);
    late_us = answer->began_us + answer->elapsed_us - date_us;
    if (early_us > 0)
        off_us = early_us;
    else if (late_us < 0)
        off_us = late_us;
    if (off_us > skew_us || off_us < -skew_us)
        finding_tell(&doctor->sink, FINDING_PROBLEM, "clock",
                     "this host's clock is %" PRId64 " s %s that of Clerk, more than clock_skew: "
                     "valid tokens are refused, or expired ones taken\nkeep it by NTP "
                     "(timedatectl set-ntp true)",
                     (off_us < 0 ? -off_us : off_us) / US_PER_SECOND,
                     off_us < 0 ? "behind" : "ahead of");
    else
        finding_tell(&doctor->sink, FINDING_OK, "clock", "this host's clock agrees with Clerk's");
}

/* ---- the instance --------------------------------------------------------------------------- */

static void
check_rate(const struct doctor *doctor)
{
    const struct clerk_settings *clerk = &doctor->settings->clerk;
    bool test = starts_with(&clerk->secret_key, "sk_test_");
    int64_t limit = test ? RATE_DEVELOPMENT : RATE_PRODUCTION;

    if (!test && !starts_with(&clerk->secret_key, "sk_live_"))
        return; /* not known */
    /* count / per > limit / 10 s, without a division */
    if (clerk->rate.count > 0 &&
        clerk->rate.count * SECONDS_OF_RATE * US_PER_SECOND > limit * clerk->rate.per_us)
        finding_tell(&doctor->sink, FINDING_WARNING, "clerk",
                     "rate = \"%s\", but this is a %s instance, which Clerk lets ask %" PRId64
                     " times in 10 s: past that it answers 429, and requests get 503\n"
                     "clerk { rate = \"%" PRId64 "/10s\" }",
                     clerk->rate.text, test ? "development" : "production", limit, limit);
    if (test)
        finding_tell(&doctor->sink, FINDING_NOTE, "clerk",
                     "the secret key is one of a development instance (sk_test_)");
}

/* ---- the key set ---------------------------------------------------------------------------- */

static bool
has_text(const struct json *entry, const char *name, const char *wanted)
{
    const char *text = json_string(json_member(entry, name));

    return text != NULL && strcmp(text, wanted) == 0;
}

static bool
read_part(const struct json *entry, const char *name, unsigned char *out, size_t size,
          size_t *length)
{
    const char *text = json_string(json_member(entry, name));

    return text != NULL && base64url_decode(text, strlen(text), out, size, length);
}

static void
read_entry(const struct json *entry, struct key_set *out)
{
    unsigned char modulus[RSA_SIGNATURE_MAX], exponent[8];
    size_t modulus_length, exponent_length;
    const char *id = json_string(json_member(entry, "kid"));

    if (out->count == KEYS_MAX || id == NULL || !has_text(entry, "kty", "RSA") ||
        !has_text(entry, "use", "sig") || json_has(entry, "d") ||
        !text_copy(out->ids[out->count], KEY_ID_SIZE, id) ||
        !read_part(entry, "n", modulus, sizeof(modulus), &modulus_length) ||
        !read_part(entry, "e", exponent, sizeof(exponent), &exponent_length) ||
        rsa_key_from_parts(modulus, modulus_length, exponent, exponent_length,
                           &out->keys[out->count], NULL) != STATUS_OK)
        return;
    out->count++;
}

static bool
read_set(const struct http_answer *answer, struct key_set *out)
{
    struct json *set = NULL;
    const struct json *entries;
    bool is_set;

    memset(out, 0, sizeof(*out));
    if (json_parse(answer->body, answer->body_length, &set, NULL) != STATUS_OK)
        return false;
    entries = json_member(set, "keys");
    is_set = json_type(entries) == JSON_ARRAY;
    for (size_t i = 0; is_set && i < json_count(entries); i++)
        read_entry(json_element(entries, i), out);
    json_free(set);
    return is_set;
}

static void
free_set(struct key_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        rsa_key_free(set->keys[i]);
}

static bool
has_key(const struct key_set *set, const char *id)
{
    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->ids[i], id) == 0)
            return true;
    }
    return false;
}

/* A configured PEM has to be one of the instance's keys. */
static void
check_pem(const struct doctor *doctor, const struct key_set *set)
{
    const struct secret *pem = &doctor->settings->clerk.jwt_key;
    struct rsa_key *key = NULL;
    struct error err;
    bool found = false;

    if (!secret_is_set(pem))
        return;
    if (rsa_key_from_pem((const char *)pem->bytes, pem->length, &key, &err) != STATUS_OK) {
        finding_tell(&doctor->sink, FINDING_PROBLEM, "clerk",
                     "jwt_key_file: %s\ncopy the PEM public key from the Dashboard (API keys)",
                     err.message);
        return;
    }
    for (size_t i = 0; i < set->count; i++)
        found = found || rsa_key_equal(key, set->keys[i]);
    rsa_key_free(key);
    if (!found)
        finding_tell(
            &doctor->sink, FINDING_PROBLEM, "clerk",
            "jwt_key_file is none of the %zu keys of this instance: its tokens are "
            "refused, and those of whoever has that key are taken\ncopy the PEM public key "
            "from the Dashboard, or leave jwt_key_file out",
            set->count);
}

/* The issuer publishes its key set: it has to be the one of our instance. */
static void
check_issuer(struct doctor *doctor, const struct key_set *set)
{
    const char *issuer = doctor->settings->clerk.issuer;
    char target[HTTP_PATH_SIZE + 64];
    struct http_call call = { .method = "GET", .target = target, .timeout_us = TIMEOUT_US };
    struct key_set theirs = { .count = 0 };
    struct http_place place;
    struct error err;
    bool same = false;

    if (issuer[0] == '\0' || http_place_parse(issuer, &place, &err) != STATUS_OK)
        return;
    call.origin = place.origin;
    (void)snprintf(target, sizeof(target), "%s/.well-known/jwks.json",
                   strcmp(place.path, "/") == 0 ? "" : place.path);
    doctor_progress(doctor, "the issuer");
    if (!doctor_ask(doctor, &call))
        return;
    if (doctor->answer->status != 200 || !read_set(doctor->answer, &theirs)) {
        finding_tell(&doctor->sink, FINDING_NOTE, "clerk",
                     "issuer %s: no key set at /.well-known/jwks.json (%s), so it could not be "
                     "compared with the instance of the secret key",
                     issuer,
                     doctor->answer->status != 0 ? "no JSON of that kind" : doctor->answer->error);
        return;
    }
    for (size_t i = 0; i < theirs.count; i++)
        same = same || has_key(set, theirs.ids[i]);
    free_set(&theirs);
    if (same)
        finding_tell(&doctor->sink, FINDING_OK, "clerk",
                     "the issuer %s belongs to the instance of the secret key", issuer);
    else
        finding_tell(&doctor->sink, FINDING_PROBLEM, "clerk",
                     "the issuer %s has other keys than the instance of the secret key: every "
                     "token of yours is refused\ncopy the Frontend API URL of your instance into "
                     "clerk { issuer }",
                     issuer);
}

static void
check_keys(struct doctor *doctor)
{
    unsigned jwts = CREDENTIAL_SESSION_TOKEN | CREDENTIAL_M2M_TOKEN | CREDENTIAL_OAUTH_TOKEN;
    const struct clerk_settings *clerk = &doctor->settings->clerk;
    struct key_set set;

    if ((clerk->accept & jwts) == 0)
        return;
    if (!read_set(doctor->answer, &set)) {
        finding_tell(&doctor->sink, FINDING_PROBLEM, "clerk",
                     "the key set of %s is no JSON web key set\nlook at clerk { api_url }",
                     clerk->api_url);
        return;
    }
    if (set.count == 0 && !secret_is_set(&clerk->jwt_key))
        finding_tell(&doctor->sink, FINDING_PROBLEM, "clerk",
                     "the key set has no RSA key for signatures: no token can be verified\nlook at "
                     "clerk { api_url } and at the Dashboard");
    else
        finding_tell(&doctor->sink, FINDING_OK, "clerk", "the key set has %zu key%s for tokens",
                     set.count, set.count == 1 ? "" : "s");
    check_pem(doctor, &set);
    check_issuer(doctor, &set);
    free_set(&set);
}

void
doctor_clerk(struct doctor *doctor)
{
    const struct clerk_settings *clerk = &doctor->settings->clerk;
    bool machine = starts_with(&clerk->secret_key, "ak_");

    if (!secret_is_set(&clerk->secret_key)) {
        if (secret_is_set(&clerk->jwt_key))
            finding_tell(&doctor->sink, FINDING_NOTE, "clerk",
                         "no secret key: tokens are verified with jwt_key_file, and Clerk is never "
                         "asked");
        return;
    }
    check_rate(doctor);
    if (!call_clerk(doctor, machine))
        return;
    if (doctor->answer->failure != HTTP_ANSWERED) {
        tell_not_reached(doctor);
        return;
    }
    check_clock(doctor);
    if (!check_status(doctor, machine))
        return;
    check_timing(doctor);
    if (!machine)
        check_keys(doctor);
}
