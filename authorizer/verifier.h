/* SPDX-License-Identifier: MIT */
/*
 * Verifiers: each turns credentials of one kind and form into an identity. This is their registry,
 * and the contract that each of them keeps. The cache, the single flight and the quota are not
 * their business (verification.h). Source: clerk-api document; contract, section 3.
 */
#ifndef SPENDGATE_VERIFIER_H
#define SPENDGATE_VERIFIER_H

#include <stdbool.h>
#include <stdint.h>

#include "authorizer/credential.h"
#include "authorizer/identity.h"
#include "authorizer/jwks.h"
#include "common/error.h"
#include "common/settings.h"

/* What a verifier works with. Borrowed. */
struct verifier_tools {
    const struct settings *settings;
    struct clerk_http *clerk; /* NULL for a verifier that does not ask Clerk */
    struct jwks *keys;        /* of a JWT */
};

struct verifier_question {
    const struct credential *credential;
    enum credential_kind kind; /* the verifier's own */
    bool known;          /* it was valid here before: the reserved part of the quota may be used */
    int64_t now_us;      /* UTC, for expiry */
    int64_t deadline_us; /* boot clock */
};

struct verifier_finding {
    bool valid; /* `identity` is set, without `verification` and `verified_us` */
    /* Of an invalid one that once was valid: "revoked", "expired"; else "". Static. */
    const char *reason;
    struct error why;       /* of an invalid one, for the log; its message may be "" */
    int64_t retry_after_us; /* of STATUS_UNAVAILABLE: when to try again, 0 unknown */
    struct identity identity;
};

struct verifier {
    enum credential_kind kind;
    enum credential_form form;
    bool asks_clerk; /* its answers are cached and counted on the quota */
    /*
     * Judge one credential of this kind and form. STATUS_OK: it was judged, `out->valid` says how.
     * Anything else: it could not be, and is neither valid nor invalid (STATUS_UNAVAILABLE); `err`
     * says what an operator has to do. `out->valid` is false unless STATUS_OK.
     */
    enum status (*check)(const struct verifier_tools *tools,
                         const struct verifier_question *question, struct verifier_finding *out,
                         struct error *err);
};

extern const struct verifier verifier_api_key;
extern const struct verifier verifier_m2m_opaque;
extern const struct verifier verifier_oauth_opaque;
extern const struct verifier verifier_session_jwt;
extern const struct verifier verifier_m2m_jwt;
extern const struct verifier verifier_oauth_jwt;

/* All of them, ended by NULL: the rows of the registry. */
extern const struct verifier *const verifiers[];

/* The row of a kind and form in `rows` (ended by NULL), or NULL. */
const struct verifier *verifier_find(const struct verifier *const *rows, enum credential_kind kind,
                                     enum credential_form form);

/* STATUS_INVALID, naming the kind and where it is accepted, when the settings accept a kind that
 * has no verifier here. */
enum status verifier_check_settings(const struct verifier *const *rows,
                                    const struct settings *settings, struct error *err) MUST_CHECK;

/*
 * What Clerk answered to the verification of an opaque credential of this kind, as a finding.
 * `answer` was CLERK_ANSWERED. Public for its tests and fuzz target. Errors: STATUS_UNAVAILABLE (an
 * answer that says nothing about the credential).
 */
enum status verifier_opaque_read(enum credential_kind kind, const struct clerk_answer *answer,
                                 const struct settings *settings, int64_t now_us,
                                 struct verifier_finding *out, struct error *err) MUST_CHECK;

/*
 * Judge the claims of a JWT of this kind whose signature is good (verifier_jwt.c). Public for its
 * tests and fuzz target. Sets `out->valid`, and `out->why` when it is not.
 */
struct jwt;
void verifier_jwt_read(enum credential_kind kind, const struct jwt *jwt,
                       const struct settings *settings, int64_t now_us,
                       struct verifier_finding *out);

#endif
