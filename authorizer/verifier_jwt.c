/* SPDX-License-Identifier: MIT */
/*
 * JWTs, judged here: session tokens of both versions, M2M tokens and OAuth access tokens. The
 * signature comes before the claims. Where Clerk's documents leave something open, the reading that
 * refuses is taken; docs/decisions.md lists where. Source: clerk-api document, sections 3 to 6.
 */
#include "authorizer/features.h"
#include "authorizer/jwks.h"
#include "authorizer/jwt.h"
#include "authorizer/verifier.h"

#include "common/log.h"

#include <assert.h>
#include <string.h>

#include "common/banned.h"

#define CATEGORY_SESSION "cl_B7d4PD111AAA"
#define CATEGORY_TEMPLATE "cl_B7d4PD222AAA"
#define CATEGORY_MACHINE "cl_B7d4PD333AAA"
#define CATEGORY_SESSION_IGNORED "cl_I7d4PD111III"

static void
refuse(struct verifier_finding *out, const char *why)
{
    out->valid = false;
    (void)error_set(&out->why, STATUS_INVALID, "%s", why);
}

static bool
equals(const char *text, const char *wanted)
{
    return text != NULL && strcmp(text, wanted) == 0;
}

static bool
is_machine(const char *subject)
{
    return strncmp(subject, "mch_", 4) == 0;
}

/* ---- the header ---------------------------------------------------------------------------------
 */

static bool
category_fits(enum credential_kind kind, const char *category)
{
    if (category == NULL)
        return true;
    switch (kind) {
    case CREDENTIAL_SESSION_TOKEN:
        return equals(category, CATEGORY_SESSION) || equals(category, CATEGORY_SESSION_IGNORED);
    case CREDENTIAL_M2M_TOKEN:
        return equals(category, CATEGORY_MACHINE);
    default: /* what an OAuth token has there is not published, only what others have */
        return !equals(category, CATEGORY_SESSION) && !equals(category, CATEGORY_TEMPLATE) &&
               !equals(category, CATEGORY_MACHINE) && !equals(category, CATEGORY_SESSION_IGNORED);
    }
}

static bool
type_fits(enum credential_kind kind, const char *type)
{
    if (kind == CREDENTIAL_OAUTH_TOKEN)
        return equals(type, "at+jwt") || equals(type, "application/at+jwt");
    return type == NULL || equals(type, "JWT");
}

/* ---- claims -------------------------------------------------------------------------------------
 */

static const char *
claim(const struct jwt *jwt, const char *name)
{
    return json_string(json_member(jwt->claims, name));
}

/* Pinned for every kind where it is set; session tokens are not accepted without. */
static bool
issuer_fits(enum credential_kind kind, const struct jwt *jwt, const struct clerk_settings *clerk)
{
    if (clerk->issuer[0] == '\0')
        return kind != CREDENTIAL_SESSION_TOKEN;
    return equals(claim(jwt, "iss"), clerk->issuer);
}

static bool
party_fits(const struct jwt *jwt, const struct text_list *parties)
{
    const char *party = claim(jwt, "azp");

    for (size_t i = 0; i < parties->count; i++) {
        if (equals(party, parties->items[i]))
            return true;
    }
    return parties->count == 0;
}

/* Why a session token is refused, or NULL. */
static const char *
session_problem(const struct jwt *jwt, const struct settings *settings)
{
    const struct json *version = json_member(jwt->claims, "v");
    int64_t number;

    if (json_has(jwt->claims, "v") && !json_int64(version, 2, 2, &number))
        return "the session token is of an unknown version";
    if (!party_fits(jwt, &settings->clerk.authorized_parties))
        return "the JWT's azp is not among clerk { authorized_parties }";
    if (json_has(jwt->claims, "sts") && !equals(claim(jwt, "sts"), "active"))
        return "the session is not active (sts)";
    if (json_has(jwt->claims, "v") && json_has(jwt->claims, "o") &&
        json_string(json_path(jwt->claims, "o.id")) == NULL)
        return "the session token's organization has no id";
    if (is_machine(claim(jwt, "sub")))
        return "a machine has no session";
    return NULL;
}

/* `scopes` with spaces between, else `aud`: the machines that may receive the token. */
static bool
machine_is_named(const struct jwt *jwt, const char *machine_id)
{
    const struct json *audience = json_member(jwt->claims, "aud");
    const char *scopes = claim(jwt, "scopes");
    size_t length = strlen(machine_id);

    if (length == 0)
        return false;
    while (scopes != NULL && *scopes != '\0') {
        size_t here = strcspn(scopes, " ");

        if (here == length && memcmp(scopes, machine_id, length) == 0)
            return true;
        scopes += here + strspn(scopes + here, " ");
    }
    if (json_has(jwt->claims, "scopes") || json_type(audience) != JSON_ARRAY)
        return false;
    for (size_t i = 0; i < json_count(audience); i++) {
        if (equals(json_string(json_element(audience, i)), machine_id))
            return true;
    }
    return false;
}

static const char *
machine_problem(const struct jwt *jwt, const struct settings *settings)
{
    if (!is_machine(claim(jwt, "sub")))
        return "the M2M token's subject is no machine";
    if (!machine_is_named(jwt, settings->clerk.machine_id))
        return "the M2M token is not for clerk { machine_id }";
    return NULL;
}

static const char *
problem_of(enum credential_kind kind, const struct jwt *jwt, const struct settings *settings)
{
    if (claim(jwt, "sub") == NULL)
        return "the JWT's sub is no text";
    if (!issuer_fits(kind, jwt, &settings->clerk))
        return "the JWT's iss is not clerk { issuer }";
    if (kind == CREDENTIAL_SESSION_TOKEN)
        return session_problem(jwt, settings);
    if (kind == CREDENTIAL_M2M_TOKEN)
        return machine_problem(jwt, settings);
    return is_machine(claim(jwt, "sub")) ? "the OAuth token's subject is a machine" : NULL;
}

/* ---- who it is ----------------------------------------------------------------------------------
 */

static const char *
key_id_of(enum credential_kind kind, const struct jwt *jwt)
{
    if (kind == CREDENTIAL_SESSION_TOKEN)
        return claim(jwt, "sid");
    return claim(jwt, kind == CREDENTIAL_M2M_TOKEN ? "jti" : "client_id");
}

static const struct json *
organization_of(enum credential_kind kind, const struct json *claims)
{
    if (kind == CREDENTIAL_M2M_TOKEN)
        return NULL;
    if (kind == CREDENTIAL_SESSION_TOKEN && json_has(claims, "v"))
        return json_path(claims, "o.id");
    return json_member(claims, "org_id");
}

/* RFC 9068 has `scope`, a text; Clerk's tokens may have `scp`, an array. */
static void
add_oauth_scopes(const struct json *claims, struct identity *identity)
{
    const struct json *list = json_member(claims, "scp");
    const char *text = json_has(claims, "scp") ? NULL : json_string(json_member(claims, "scope"));

    for (size_t i = 0; i < json_count(list); i++) {
        const char *scope = json_string(json_element(list, i));

        if (scope != NULL)
            identity_scope_add(identity, scope, strlen(scope));
    }
    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, " ");

        identity_scope_add(identity, text, length);
        text += length + strspn(text + length, " ");
    }
}

static void
identify(enum credential_kind kind, const struct jwt *jwt, const struct settings *settings,
         struct verifier_finding *out)
{
    struct identity *identity = &out->identity;
    const char *key_id = key_id_of(kind, jwt);

    identity->kind = kind;
    identity->scopes[0] = '\0';
    if (key_id == NULL) {
        refuse(out, kind == CREDENTIAL_SESSION_TOKEN ? "the session token has no sid"
                                                     : "the JWT's jti or client_id is missing");
        return;
    }
    if (!text_copy(identity->subject, sizeof(identity->subject), claim(jwt, "sub")) ||
        !text_copy(identity->key_id, sizeof(identity->key_id), key_id)) {
        refuse(out, "the JWT's sub, sid, jti or client_id is too long for an account's name");
        return;
    }
    if (identity_complete(identity, jwt->claims, jwt->claims, organization_of(kind, jwt->claims),
                          settings, &out->why) != STATUS_OK)
        return;
    if (settings->clerk.key_scopes && kind == CREDENTIAL_SESSION_TOKEN)
        features_add_scopes(jwt->claims, identity);
    else if (settings->clerk.key_scopes && kind == CREDENTIAL_OAUTH_TOKEN)
        add_oauth_scopes(jwt->claims, identity);
    out->valid = true;
}

void
verifier_jwt_read(enum credential_kind kind, const struct jwt *jwt, const struct settings *settings,
                  int64_t now_us, struct verifier_finding *out)
{
    const char *problem;
    bool expired;

    out->valid = false;
    out->reason = "";
    out->why.message[0] = '\0';
    out->identity.subject[0] = '\0';
    if (jwt_check_times(jwt, now_us, settings->clerk.clock_skew_us, &out->identity.expires_us,
                        &expired, &out->why) != STATUS_OK) {
        if (expired)
            out->reason = "expired";
        return;
    }
    problem = problem_of(kind, jwt, settings);
    if (problem != NULL)
        refuse(out, problem);
    else
        identify(kind, jwt, settings, out);
}

/* ---- the whole ----------------------------------------------------------------------------------
 */

static enum status
check_parsed(const struct jwt *jwt, const struct verifier_tools *tools,
             const struct verifier_question *question, struct verifier_finding *out,
             struct error *err)
{
    const struct rsa_key *key;
    enum status status;

    if (!category_fits(question->kind, jwt->category) || !type_fits(question->kind, jwt->type)) {
        refuse(out, "the JWT's typ or cat is that of another kind of token");
        return STATUS_OK;
    }
    status = jwks_find(tools->keys, jwt->key_id, jwt->digest, question->deadline_us, &key, err);
    if (status != STATUS_OK)
        return status;
    if (key == NULL)
        refuse(out,
               "the JWT's kid is not in Clerk's key set: it is of another instance, or forged");
    else if (!jwt_signed_by(jwt, key))
        refuse(out, "the JWT's signature is wrong");
    else
        verifier_jwt_read(question->kind, jwt, tools->settings, question->now_us, out);
    return STATUS_OK;
}

static enum status
check(const struct verifier_tools *tools, const struct verifier_question *question,
      struct verifier_finding *out, struct error *err)
{
    const struct credential *credential = question->credential;
    struct jwt jwt;
    enum status status;

    out->valid = false;
    out->reason = "";
    if (jwt_parse(credential->text, credential->length, &jwt, &out->why) != STATUS_OK)
        return STATUS_OK;
    status = check_parsed(&jwt, tools, question, out, err);
    jwt_clear(&jwt);
    return status;
}

const struct verifier verifier_session_jwt = {
    .kind = CREDENTIAL_SESSION_TOKEN,
    .form = CREDENTIAL_JWT,
    .check = check,
};
const struct verifier verifier_m2m_jwt = {
    .kind = CREDENTIAL_M2M_TOKEN,
    .form = CREDENTIAL_JWT,
    .check = check,
};
const struct verifier verifier_oauth_jwt = {
    .kind = CREDENTIAL_OAUTH_TOKEN,
    .form = CREDENTIAL_JWT,
    .check = check,
};
