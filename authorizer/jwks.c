/* SPDX-License-Identifier: MIT */
#include "authorizer/jwks.h"

#include "common/json.h"
#include "common/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define NAME "clerk:jwks" /* of the document, the shared numbers and the flight */

struct jwks {
    struct rsa_key *pem; /* NULL: the set counts */
    const struct verification_cache *cache;
    struct flight *flight;
    struct clock clock;
    enum status (*ask)(void *context, const struct clerk_call *call, struct clerk_answer *out,
                       struct error *err);
    void *context;
    bool loaded;        /* there is a set, perhaps an empty one */
    int64_t fetched_us; /* when Clerk gave it, boot clock */
    struct jwks_key keys[JWKS_KEYS_MAX];
    size_t count;
    int64_t own_attempt_us; /* of this process, for when the cache file cannot be used */
    bool refresh_wanted;
    char text[CACHE_DOCUMENT_MAX + 1];
};

/* ---- a set --------------------------------------------------------------------------------------
 */

static bool
member_is(const struct json *object, const char *name, const char *text)
{
    const char *value = json_string(json_member(object, name));

    return value != NULL && strcmp(value, text) == 0;
}

/* A member that is there must say what the key is for. */
static bool
read_algorithm(const struct json *entry, int *out)
{
    *out = -1;
    if (!json_has(entry, "alg"))
        return true;
    if (member_is(entry, "alg", "RS256"))
        *out = RSA_SHA256;
    else if (member_is(entry, "alg", "RS384"))
        *out = RSA_SHA384;
    else if (member_is(entry, "alg", "RS512"))
        *out = RSA_SHA512;
    return *out >= 0;
}

static bool
read_number(const struct json *entry, const char *name, unsigned char *out, size_t size,
            size_t *length)
{
    const char *text = json_string(json_member(entry, name));

    return text != NULL && base64url_decode(text, strlen(text), out, size, length);
}

static bool
read_key(const struct json *entry, struct jwks_key *out)
{
    unsigned char modulus[RSA_SIGNATURE_MAX];
    unsigned char exponent[8];
    const char *id = json_string(json_member(entry, "kid"));
    size_t modulus_length, exponent_length;

    if (!member_is(entry, "kty", "RSA") || !member_is(entry, "use", "sig") || json_has(entry, "d"))
        return false;
    if (id == NULL || id[0] == '\0' || !text_copy(out->id, sizeof(out->id), id) ||
        !read_algorithm(entry, &out->digest))
        return false;
    return read_number(entry, "n", modulus, sizeof(modulus), &modulus_length) &&
           read_number(entry, "e", exponent, sizeof(exponent), &exponent_length) &&
           rsa_key_from_parts(modulus, modulus_length, exponent, exponent_length, &out->key,
                              NULL) == STATUS_OK;
}

static const struct jwks_key *
find_key(const struct jwks_key *keys, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i].id, id) == 0)
            return &keys[i];
    }
    return NULL;
}

enum status
jwks_read(const char *text, size_t length, struct jwks_key keys[JWKS_KEYS_MAX], size_t *count,
          struct error *err)
{
    struct json *set = NULL;
    const struct json *entries;
    enum status status = json_parse(text, length, &set, err);

    *count = 0;
    if (status != STATUS_OK)
        return status;
    entries = json_member(set, "keys");
    if (json_type(entries) != JSON_ARRAY)
        status = error_set(err, STATUS_INVALID, "no JSON web key set");
    for (size_t i = 0; status == STATUS_OK && i < json_count(entries); i++) {
        struct jwks_key key = { .key = NULL };

        if (*count == JWKS_KEYS_MAX || !read_key(json_element(entries, i), &key))
            continue;
        if (find_key(keys, *count, key.id) != NULL)
            rsa_key_free(key.key);
        else
            keys[(*count)++] = key;
    }
    json_free(set);
    return status;
}

static void
free_keys(struct jwks *jwks)
{
    for (size_t i = 0; i < jwks->count; i++)
        rsa_key_free(jwks->keys[i].key);
    jwks->count = 0;
}

/* The set in `text` takes the place of ours, if it is one. */
static enum status
adopt(struct jwks *jwks, const char *text, size_t length, int64_t fetched_us, struct error *err)
{
    struct jwks_key keys[JWKS_KEYS_MAX];
    size_t count;
    enum status status = jwks_read(text, length, keys, &count, err);

    if (status != STATUS_OK)
        return status;
    free_keys(jwks);
    memcpy(jwks->keys, keys, count * sizeof(keys[0]));
    jwks->count = count;
    jwks->loaded = true;
    jwks->fetched_us = fetched_us;
    return STATUS_OK;
}

void
jwks_forget(struct jwks *jwks, int64_t until_us)
{
    if (!jwks->loaded || jwks->fetched_us > until_us)
        return;
    free_keys(jwks);
    jwks->loaded = false;
}

/* ---- opening ------------------------------------------------------------------------------------
 */

enum status
jwks_open(const struct jwks_options *options, struct jwks **out, struct error *err)
{
    struct jwks *jwks = calloc(1, sizeof(*jwks));
    struct error why;

    *out = NULL;
    if (jwks == NULL)
        return error_set(err, STATUS_NO_MEMORY, "jwks: out of memory");
    jwks->cache = options->cache;
    jwks->flight = options->flight;
    jwks->clock = options->clock;
    jwks->ask = options->ask;
    jwks->context = options->context;
    if (secret_is_set(options->pem) &&
        rsa_key_from_pem((const char *)options->pem->bytes, options->pem->length, &jwks->pem,
                         &why) != STATUS_OK) {
        jwks_close(jwks);
        return error_set(err, why.status, "clerk { jwt_key_file } or CLERK_JWT_KEY: %s",
                         why.message);
    }
    *out = jwks;
    return STATUS_OK;
}

void
jwks_close(struct jwks *jwks)
{
    if (jwks == NULL)
        return;
    free_keys(jwks);
    rsa_key_free(jwks->pem);
    free(jwks);
}

/* ---- fetching -----------------------------------------------------------------------------------
 */

/* Take over the set of another process if it is newer than ours. */
static void
load(struct jwks *jwks, int64_t boot_us)
{
    struct buf text;
    int64_t put_us;

    buf_init(&text, jwks->text, sizeof(jwks->text));
    if (cache_document_get(jwks->cache, NAME, boot_us, &text, &put_us) &&
        (!jwks->loaded || put_us > jwks->fetched_us))
        (void)!adopt(jwks, jwks->text, text.length, put_us, NULL);
}

struct attempt {
    int64_t boot_us;
    bool granted;
};

static bool
note_attempt(void *context, struct host_state *state, int64_t *until_us)
{
    struct attempt *attempt = context;
    int64_t last_us = state->values[0];

    attempt->granted = last_us == 0 || attempt->boot_us - last_us >= JWKS_PAUSE_US;
    state->values[0] = attempt->boot_us;
    *until_us = attempt->boot_us + JWKS_PAUSE_US;
    return attempt->granted;
}

/* Whether this host may fetch now; then nobody else may for a while. */
static bool
may_fetch(struct jwks *jwks, int64_t boot_us)
{
    struct attempt attempt = { .boot_us = boot_us };
    struct host_state own = { { jwks->own_attempt_us } };
    int64_t until_us;

    if (!host_cache_change(jwks->cache->host, NAME, note_attempt, &attempt, boot_us))
        (void)note_attempt(&attempt, &own, &until_us);
    if (attempt.granted)
        jwks->own_attempt_us = boot_us;
    return attempt.granted;
}

static enum status
fetch(struct jwks *jwks, int64_t deadline_us, struct error *err)
{
    struct clerk_call call = { .path = JWKS_PATH,
                               .use = QUOTA_FOR_UNCOUNTED,
                               .deadline_us = deadline_us };
    int64_t boot_us = clock_boot_us(&jwks->clock); /* its age counts from before the question */
    struct clerk_answer answer;
    struct error why;
    enum status status = jwks->ask(jwks->context, &call, &answer, err);

    if (status != STATUS_OK)
        return status;
    if (answer.http_status != 200 || !answer.json || answer.body_length > CACHE_DOCUMENT_MAX ||
        adopt(jwks, answer.body, answer.body_length, boot_us, &why) != STATUS_OK)
        return error_set(err, STATUS_UNAVAILABLE,
                         "Clerk's key set cannot be used (HTTP %d): check clerk { api_url }",
                         answer.http_status);
    cache_document_put(jwks->cache, NAME, answer.body, answer.body_length, boot_us);
    return STATUS_OK;
}

/* The key as it is known here; a set of yesterday is none. */
static const struct jwks_key *
known_key(struct jwks *jwks, const char *key_id, int64_t boot_us)
{
    if (!jwks->loaded || boot_us - jwks->fetched_us > HOST_CACHE_KEEP_US)
        return NULL;
    return find_key(jwks->keys, jwks->count, key_id);
}

/* As the only process of the host that does it: look what the one before got, or fetch. */
static enum status
fetch_in_turn(struct jwks *jwks, const char *key_id, int64_t deadline_us, struct error *err)
{
    int64_t boot_us = clock_boot_us(&jwks->clock);

    load(jwks, boot_us);
    if (known_key(jwks, key_id, boot_us) != NULL)
        return STATUS_OK;
    if (may_fetch(jwks, boot_us))
        return fetch(jwks, deadline_us, err);
    if (jwks->loaded && boot_us - jwks->fetched_us < JWKS_PAUSE_US)
        return STATUS_OK; /* that was the fetch */
    return error_set(err, STATUS_UNAVAILABLE,
                     "Clerk's key set could not be fetched a moment ago: see the error before");
}

static enum status
refetch(struct jwks *jwks, const char *key_id, int64_t deadline_us, struct error *err)
{
    uint8_t digest[SHA256_BYTES];
    enum status status;

    if (!flight_take_slot(jwks->flight, false))
        return error_set(err, STATUS_BUSY,
                         "clerk { max_waiting } processes wait for Clerk already");
    crypto_sha256(NAME, strlen(NAME), digest);
    if (flight_join(jwks->flight, digest, deadline_us)) {
        status = fetch_in_turn(jwks, key_id, deadline_us, err);
        flight_leave(jwks->flight);
    } else {
        status = error_set(err, STATUS_BUSY, "another process still fetches Clerk's key set");
    }
    flight_give_slot(jwks->flight);
    return status;
}

/* ---- public -------------------------------------------------------------------------------------
 */

static bool
is_fresh(const struct jwks *jwks, int64_t boot_us, int64_t for_us)
{
    return jwks->loaded && boot_us - jwks->fetched_us < for_us;
}

enum status
jwks_find(struct jwks *jwks, const char *key_id, enum rsa_digest digest, int64_t deadline_us,
          const struct rsa_key **out, struct error *err)
{
    int64_t boot_us = clock_boot_us(&jwks->clock);
    const struct jwks_key *key;
    enum status status = STATUS_OK;

    *out = jwks->pem;
    if (jwks->pem != NULL || key_id == NULL)
        return STATUS_OK;
    key = known_key(jwks, key_id, boot_us);
    if (key == NULL ? !is_fresh(jwks, boot_us, JWKS_PAUSE_US)
                    : !is_fresh(jwks, boot_us, JWKS_FRESH_US)) {
        load(jwks, boot_us);
        key = known_key(jwks, key_id, boot_us);
    }
    if (key == NULL && !is_fresh(jwks, boot_us, JWKS_PAUSE_US)) {
        status = refetch(jwks, key_id, deadline_us, err);
        key = known_key(jwks, key_id, boot_us);
    }
    if (key != NULL && !is_fresh(jwks, boot_us, JWKS_FRESH_US))
        jwks->refresh_wanted = true;
    if (key == NULL)
        return status;
    if (key->digest < 0 || key->digest == (int)digest)
        *out = key->key;
    return STATUS_OK;
}

void
jwks_after(struct jwks *jwks, int64_t timeout_us)
{
    int64_t boot_us;
    uint8_t digest[SHA256_BYTES];
    struct error err;

    if (!jwks->refresh_wanted)
        return;
    jwks->refresh_wanted = false;
    boot_us = clock_boot_us(&jwks->clock);
    crypto_sha256(NAME, strlen(NAME), digest);
    if (!flight_take_slot(jwks->flight, false))
        return; /* the set in hand still verifies; the next request wants it again */
    if (flight_join(jwks->flight, digest, boot_us)) {
        load(jwks, boot_us);
        if (!is_fresh(jwks, boot_us, JWKS_FRESH_US) && may_fetch(jwks, boot_us) &&
            fetch(jwks, boot_us + timeout_us, &err) != STATUS_OK)
            log_failure("jwks", &err, NULL);
        flight_leave(jwks->flight);
    }
    flight_give_slot(jwks->flight);
}
