/* SPDX-License-Identifier: MIT */
/*
 * The keys that sign Clerk's JWTs: a PEM from the settings, or the key set of the instance, fetched
 * with its secret key and shared by the processes of the host through the cache file. Source:
 * clerk-api document, section 6; contract, section 3.
 */
#ifndef SPENDGATE_JWKS_H
#define SPENDGATE_JWKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "authorizer/flight.h"
#include "authorizer/verification_cache.h"
#include "common/clerk_http.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/error.h"
#include "common/secret.h"

#define JWKS_PATH "/v1/jwks"
#define JWKS_KEYS_MAX 16
#define JWKS_KID_SIZE 256
#define JWKS_FRESH_US (300 * US_PER_SECOND) /* then it is fetched again, after an answer */
#define JWKS_PAUSE_US (10 * US_PER_SECOND)  /* between two fetches of a host */

struct jwks;

struct jwks_options {
    const struct secret *pem; /* when it is set there is no network; only read by jwks_open */
    const struct verification_cache *cache; /* borrowed */
    struct flight *flight;                  /* borrowed */
    struct clock clock;
    /* clerk_http_call, by whoever has the connection. */
    enum status (*ask)(void *context, const struct clerk_call *call, struct clerk_answer *out,
                       struct error *err);
    void *context;
};

/* Fetches nothing. Errors: STATUS_INVALID (the PEM), STATUS_NO_MEMORY. */
enum status jwks_open(const struct jwks_options *options, struct jwks **out,
                      struct error *err) MUST_CHECK;
void jwks_close(struct jwks *jwks); /* NULL is fine */

/*
 * The key called `key_id` for a signature with `digest`. With a PEM every id means that key. An
 * unknown id fetches the key set again, at most once per JWKS_PAUSE_US and host, while nobody else
 * does. A set that cannot be fetched again is used for HOST_CACHE_KEEP_US.
 *
 *   key_id       may be NULL: such a token has a key only where there is a PEM.
 *   deadline_us  boot clock, for the fetch.
 *   out          NULL on STATUS_OK: there is no such key. Valid until the next call of this module.
 *
 * Errors: STATUS_UNAVAILABLE and STATUS_BUSY: it could not be found out.
 */
enum status jwks_find(struct jwks *jwks, const char *key_id, enum rsa_digest digest,
                      int64_t deadline_us, const struct rsa_key **out,
                      struct error *err) MUST_CHECK;

/* Work put off until the answer is out: fetch a set that is no longer fresh. */
void jwks_after(struct jwks *jwks, int64_t timeout_us);

/* A set fetched at `until_us` (boot clock) or before is not used any more. */
void jwks_forget(struct jwks *jwks, int64_t until_us);

/* One usable key of a set. */
struct jwks_key {
    char id[JWKS_KID_SIZE];
    int digest; /* enum rsa_digest that its alg says; -1 any */
    struct rsa_key *key;
};

/*
 * The usable keys of a key set: public RSA keys for signatures with a kid; of two of the same kid
 * the first, and at most JWKS_KEYS_MAX. Whatever else is in the set is passed over. The keys are
 * the caller's. Public for its tests and fuzz target. Errors: STATUS_INVALID (no key set),
 * STATUS_NO_MEMORY.
 */
enum status jwks_read(const char *text, size_t length, struct jwks_key keys[JWKS_KEYS_MAX],
                      size_t *count, struct error *err) MUST_CHECK;

#endif
