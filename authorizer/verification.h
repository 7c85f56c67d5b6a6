/* SPDX-License-Identifier: MIT */
/*
 * The way from a credential to an identity: a worker's memory, the host's cache file, and last the
 * verifier, which asks Clerk, with one verification in flight per credential, a limited number of
 * waiting processes, a limit of failures per address and the quota. Source: design document,
 * sections 2 and 6.
 */
#ifndef SPENDGATE_VERIFICATION_H
#define SPENDGATE_VERIFICATION_H

#include <stdbool.h>
#include <stdint.h>

#include "authorizer/client_address.h"
#include "authorizer/credential.h"
#include "authorizer/identity.h"
#include "authorizer/verification_cache.h"
#include "authorizer/verifier.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/error.h"
#include "common/settings.h"
#include "common/store.h"

#define VERIFICATION_REMEMBERED 1024 /* identities in a worker's memory */

struct verification;

struct verification_options {
    const struct settings *settings;    /* borrowed until verification_close */
    struct store *store;                /* borrowed; asked for store_verification_number */
    const struct verifier *const *rows; /* borrowed; `verifiers`, or a test's own */
    int workers;                        /* of our own master; 0: not ours */
    struct clock clock;
};

/*
 * Opens no file, no connection and no descriptor: that comes with the first request that needs it.
 * Errors: STATUS_INVALID (a kind is accepted that has no verifier; the API's URL),
 * STATUS_NO_MEMORY, STATUS_OVERFLOW.
 */
enum status verification_open(const struct verification_options *options, struct verification **out,
                              struct error *err) MUST_CHECK;
void verification_close(struct verification *verification); /* NULL is fine */

#define VERIFICATION_ANY (-1)

/*
 * The identity of the credential with this SHA-256 if this worker has it in its memory, not older
 * than `cache_ttl`, not expired at `now_us`, and with a verification number above `newer_than`
 * (VERIFICATION_ANY); else NULL. Valid until the next call of this module. Allocates nothing.
 */
const struct identity *verification_recall(struct verification *verification,
                                           const uint8_t digest[SHA256_BYTES], int64_t newer_than,
                                           int64_t now_us);

enum verification_outcome {
    VERIFICATION_UNAVAILABLE = 0, /* it could not be found out: neither valid nor invalid */
    VERIFICATION_VALID,
    VERIFICATION_INVALID,
    VERIFICATION_TOO_MANY, /* this address failed too often: not even tried */
};

struct verification_query {
    const struct credential *credential;
    enum credential_kind kind;
    const uint8_t *digest; /* SHA-256 of the credential */
    struct client_address address;
    int64_t newer_than; /* only a verification with a larger number will do; VERIFICATION_ANY */
    int64_t now_us;
};

struct verification_answer {
    enum verification_outcome outcome;
    const struct identity
        *identity; /* VERIFICATION_VALID: until the next call of this module; else NULL */
    char reason[CACHE_REASON_SIZE]; /* VERIFICATION_INVALID */
    struct error why;               /* VERIFICATION_INVALID, for the log; its message may be "" */
    int64_t retry_after_us;         /* VERIFICATION_UNAVAILABLE and _TOO_MANY; > 0 */
};

/* `err` is set with VERIFICATION_UNAVAILABLE and VERIFICATION_TOO_MANY. */
void verification_check(struct verification *verification, const struct verification_query *query,
                        struct verification_answer *out, struct error *err);

/* Whether the host's cache file can be used, so that Clerk is not asked each time. */
bool verification_has_cache(struct verification *verification) MUST_CHECK;

/* Work put off until the answer is out. */
void verification_after(struct verification *verification);

/* How many processes of the host may wait for Clerk. Public for its test. */
int verification_slots(const struct clerk_settings *clerk, int workers);

#endif
