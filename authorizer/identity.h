/* SPDX-License-Identifier: MIT */
/*
 * Who a verified credential is. Plain values of a fixed size, without pointers, so that it can be
 * copied, kept in memory and written to the cache file. Source: contract, sections 3 and 4.
 */
#ifndef SPENDGATE_IDENTITY_H
#define SPENDGATE_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/ledger.h"
#include "common/policy.h"
#include "common/settings.h"

#define IDENTITY_CLAIM_MAX 1024   /* longest value of one claim that is passed on */
#define IDENTITY_CLAIMS_SIZE 4096 /* of all of them, names included */
#define IDENTITY_NEVER_US INT64_MAX
#define IDENTITY_SCOPES_SIZE 2048 /* the credential's own scopes, as text */
#define IDENTITY_ENCODED_SIZE (IDENTITY_CLAIMS_SIZE + IDENTITY_SCOPES_SIZE + 1024)

struct identity {
    enum credential_kind kind;
    char subject[ACCOUNT_NAME_SIZE];
    char key_id[ACCOUNT_NAME_SIZE - 4];   /* "key:" in front of it is an account */
    char organization[ACCOUNT_NAME_SIZE]; /* "" none */
    /* From a claim that the plan names, "" none; a claim "x" without a kind is "group:x". */
    char parent[ACCOUNT_NAME_SIZE];
    char plan[PLAN_NAME_SIZE];         /* "" when no plan is for it */
    int64_t expires_us;                /* UTC, by the credential itself; IDENTITY_NEVER_US */
    int64_t verification;              /* store_verification_number, read before it was verified */
    int64_t verified_us;               /* boot clock */
    char scopes[IDENTITY_SCOPES_SIZE]; /* its own, by `clerk { key_scopes }`: with spaces between */
    uint32_t claims_length;
    char claims[IDENTITY_CLAIMS_SIZE]; /* NAME NUL value NUL ..., see identity_claim_next */
};

struct json;

/*
 * Set organization, plan, parent and the claims to be passed on, from `object` (what Clerk
 * answered, or a JWT's claims) and `claims` (its object of custom claims, or NULL). kind, subject
 * and key_id are set by the caller before. `organization` is the one that the kind of credential
 * has, or NULL. A claim that cannot be passed on (over IDENTITY_CLAIM_MAX, control bytes, no room)
 * is left out, with a log line. Errors: STATUS_INVALID when the subject is no account's name or
 * that of a key, a group or `all`, or the key id, the organization or the parent is no account's
 * name: such a caller could not be counted on all that
 * it has to be counted on.
 */
enum status identity_complete(struct identity *identity, const struct json *object,
                              const struct json *claims, const struct json *organization,
                              const struct settings *settings, struct error *err) MUST_CHECK;

/* Walk the claims: `*offset` starts at 0; false at the end. The strings live as long as the
 * identity. */
bool identity_claim_next(const struct identity *identity, size_t *offset, const char **name,
                         const char **value);

/*
 * Add one of the credential's own scopes (identity->scopes is a text already). Passed over: one
 * that is there, one that the settings could not name either (visible ASCII without "*", '"' and
 * "\\", shorter than SCOPE_SIZE; a pattern is the operator's to grant), and, with a log line, one
 * for which there is no room.
 */
void identity_scope_add(struct identity *identity, const char *scope, size_t length);
bool identity_scope_granted(const struct identity *identity, const char *scope);

/* The bytes of an identity for the cache file; `out` fails when they do not fit
 * (IDENTITY_ENCODED_SIZE is enough). */
void identity_encode(const struct identity *identity, struct buf *out);
/* The reverse, strict: STATUS_CORRUPT for anything that identity_encode does not write. */
enum status identity_decode(const void *bytes, size_t length, struct identity *out,
                            struct error *err) MUST_CHECK;

/*
 * A NumericDate or a time in milliseconds: a number 0..2^53, its fraction cut, in units of
 * `unit_us`. False for anything else.
 */
bool identity_time(const struct json *value, int64_t unit_us, int64_t *out_us) MUST_CHECK;

#endif
