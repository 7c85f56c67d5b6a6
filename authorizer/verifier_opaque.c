/* SPDX-License-Identifier: MIT */
/*
 * Opaque credentials, which only Clerk can judge: API keys, M2M tokens and OAuth access tokens.
 * Each kind has its own endpoint and its own object. Source: clerk-api document, sections 2 to 4.
 */
#include "authorizer/verifier.h"

#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"

#include <assert.h>
#include <string.h>

#include "common/banned.h"

#define US_PER_MS 1000
#define SECONDS_SIZED \
    INT64_C(100000000000) /* below it a "millisecond" is a second: 1973, or the year 5138 */

/* What the kinds differ in. */
struct form {
    enum credential_kind kind;
    const char *path;
    const char *question; /* the body of the call, up to the credential */
    const char *object;   /* what Clerk calls such an object */
    const char *id;       /* the member that is the key id */
};

static const struct form forms[] = {
    { CREDENTIAL_API_KEY, "/v1/api_keys/verify", "{\"secret\":\"", "api_key", "id" },
    { CREDENTIAL_M2M_TOKEN, "/v1/m2m_tokens/verify", "{\"token\":\"", "machine_to_machine_token",
      "id" },
    { CREDENTIAL_OAUTH_TOKEN, "/v1/oauth_applications/access_tokens/verify", "{\"access_token\":\"",
      "clerk_idp_oauth_access_token", "client_id" },
};

static const struct form *
form_of(enum credential_kind kind)
{
    size_t i = 0;

    while (forms[i].kind != kind) {
        i++;
        assert(i < sizeof(forms) / sizeof(forms[0]));
    }
    return &forms[i];
}

static enum status
strange(struct error *err, const char *what)
{
    return error_set(
        err, STATUS_UNAVAILABLE,
        "Clerk's answer about a credential cannot be used (%s): check clerk { api_url }", what);
}

/* Null or missing: never. The unit is said to be milliseconds, but examples have seconds. */
static bool
read_expiration(const struct json *value, int64_t *out_us)
{
    int64_t number = 0;

    *out_us = IDENTITY_NEVER_US;
    if (json_type(value) == JSON_NULL)
        return true;
    if (!identity_time(value, 1, &number))
        return false;
    return identity_time(value, number < SECONDS_SIZED ? US_PER_SECOND : US_PER_MS, out_us);
}

static enum status
invalid(struct verifier_finding *out, const char *reason)
{
    out->valid = false;
    out->reason = reason;
    return STATUS_OK;
}

/* Refused although Clerk knows it: the operator has to hear why, the caller has not. */
static enum status
unusable(struct verifier_finding *out, const char *why)
{
    log_event(LOG_WARN, "credential_unusable", "subject", out->identity.subject, "key_id",
              out->identity.key_id, "message", why, NULL);
    return invalid(out, "");
}

static enum status
read_names(const struct form *form, const struct json *object, struct identity *identity,
           struct error *err)
{
    const char *type = json_string(json_member(object, "object"));
    const char *id = json_string(json_member(object, form->id));
    const char *subject = json_string(json_member(object, "subject"));

    if (type == NULL || strcmp(type, form->object) != 0)
        return strange(err, "object is of another kind");
    if (id == NULL || !account_name_valid(id) ||
        !text_copy(identity->key_id, sizeof(identity->key_id), id))
        return strange(err, form->id);
    if (subject == NULL || !account_name_valid(subject) ||
        !text_copy(identity->subject, sizeof(identity->subject), subject))
        return strange(err, "subject");
    if (json_type(json_member(object, "revoked")) != JSON_BOOLEAN)
        return strange(err, "revoked");
    if (json_type(json_member(object, "expired")) != JSON_BOOLEAN)
        return strange(err, "expired");
    return STATUS_OK;
}

static bool
is_machine(const char *subject)
{
    return strncmp(subject, "mch_", 4) == 0;
}

/* With the instance's key Clerk verifies any machine's token: whom it is for is ours to see. A
 * machine's own key verifies only those for that machine. */
static bool
is_for_us(const struct json *scopes, const struct clerk_settings *clerk)
{
    if (clerk->machine_id[0] == '\0')
        return clerk->secret_key.length >= 3 && memcmp(clerk->secret_key.bytes, "ak_", 3) == 0;
    for (size_t i = 0; i < json_count(scopes); i++) {
        const char *scope = json_string(json_element(scopes, i));

        if (scope != NULL && strcmp(scope, clerk->machine_id) == 0)
            return true;
    }
    return false;
}

/* Why this subject may not come with this kind of credential, or NULL. */
static const char *
subject_problem(enum credential_kind kind, const struct json *object, const char *subject,
                const struct clerk_settings *clerk)
{
    /* A machine's secret key looks like an API key and may verify as one. */
    if (kind == CREDENTIAL_API_KEY && is_machine(subject) &&
        (clerk->accept & CREDENTIAL_M2M_TOKEN) == 0)
        return "its subject is a machine, and clerk { accept } has no m2m_token";
    if (kind == CREDENTIAL_OAUTH_TOKEN && is_machine(subject))
        return "its subject is a machine";
    if (kind != CREDENTIAL_M2M_TOKEN)
        return NULL;
    if (!is_machine(subject))
        return "its subject is no machine";
    return is_for_us(json_member(object, "scopes"), clerk) ? NULL
                                                           : "it is not for clerk { machine_id }";
}

static const struct json *
organization_of(enum credential_kind kind, const struct json *object, const char *subject)
{
    if (kind == CREDENTIAL_OAUTH_TOKEN)
        return json_member(object, "org_id");
    if (kind == CREDENTIAL_M2M_TOKEN)
        return NULL;
    return strncmp(subject, "org_", 4) == 0 ? json_member(object, "subject")
                                            : json_path(object, "claims.org_id");
}

/* The scopes of an M2M token are machines, not permissions. */
static void
add_scopes(struct identity *identity, const struct json *scopes)
{
    for (size_t i = 0; i < json_count(scopes); i++) {
        const char *scope = json_string(json_element(scopes, i));

        if (scope != NULL)
            identity_scope_add(identity, scope, strlen(scope));
    }
}

static enum status
read_object(const struct form *form, const struct json *object, const struct settings *settings,
            int64_t now_us, struct verifier_finding *out, struct error *err)
{
    struct identity *identity = &out->identity;
    const char *problem;
    struct error why;
    enum status status;

    if (json_has(object, "active") && !json_boolean(json_member(object, "active"), false))
        return STATUS_OK; /* all that Clerk says about an OAuth token that is no longer good */
    status = read_names(form, object, identity, err);
    if (status != STATUS_OK)
        return status;
    if (json_boolean(json_member(object, "revoked"), true))
        return invalid(out, "revoked");
    if (json_boolean(json_member(object, "expired"), true))
        return invalid(out, "expired");
    if (!read_expiration(json_member(object, "expiration"), &identity->expires_us))
        return unusable(out, "its expiration is no time");
    if (identity->expires_us <= now_us)
        return invalid(out, "expired");
    problem = subject_problem(form->kind, object, identity->subject, &settings->clerk);
    if (problem != NULL)
        return unusable(out, problem);
    identity->kind = form->kind;
    if (identity_complete(identity, object, json_member(object, "claims"),
                          organization_of(form->kind, object, identity->subject), settings,
                          &why) != STATUS_OK)
        return unusable(out, why.message);
    if (settings->clerk.key_scopes && form->kind != CREDENTIAL_M2M_TOKEN)
        add_scopes(identity, json_member(object, "scopes"));
    out->valid = true;
    return STATUS_OK;
}

enum status
verifier_opaque_read(enum credential_kind kind, const struct clerk_answer *answer,
                     const struct settings *settings, int64_t now_us, struct verifier_finding *out,
                     struct error *err)
{
    const struct form *form = form_of(kind);
    struct json *object = NULL;
    enum status status;

    out->valid = false;
    out->reason = "";
    out->why.message[0] = '\0';
    out->retry_after_us = 0;
    out->identity.subject[0] = '\0';
    out->identity.key_id[0] = '\0';
    out->identity.scopes[0] = '\0';
    out->identity.claims_length = 0;
    if (answer->http_status == 404 || answer->http_status == 400)
        return STATUS_OK; /* unknown, revoked or expired; malformed. Nobody says which */
    if (answer->http_status != 200)
        return strange(err, "status");
    if (!answer->json)
        return strange(err, "not application/json");
    if (json_parse(answer->body, answer->body_length, &object, NULL) != STATUS_OK)
        return strange(err, "not JSON");
    status = read_object(form, object, settings, now_us, out, err);
    json_free(object);
    return status;
}

static enum status
check(const struct verifier_tools *tools, const struct verifier_question *question,
      struct verifier_finding *out, struct error *err)
{
    const struct form *form = form_of(question->kind);
    char body[CREDENTIAL_OPAQUE_MAX + 32];
    struct clerk_answer answer;
    struct buf json;
    enum status status;

    out->valid = false;
    out->reason = "";
    buf_init(&json, body, sizeof(body));
    buf_add(&json, form->question);
    buf_add_bytes(&json, question->credential->text, question->credential->length);
    buf_add(&json, "\"}"); /* nothing to escape: see credential.h */
    assert(!buf_failed(&json));
    status = clerk_http_call(
        tools->clerk,
        &(struct clerk_call){ .path = form->path,
                              .body = body,
                              .body_length = json.length,
                              .use = question->known ? QUOTA_FOR_KNOWN : QUOTA_FOR_NEW,
                              .deadline_us = question->deadline_us },
        &answer, err);
    crypto_wipe(body, sizeof(body));
    if (status == STATUS_OK)
        status = verifier_opaque_read(question->kind, &answer, tools->settings, question->now_us,
                                      out, err);
    out->retry_after_us = answer.retry_after_us;
    return status;
}

const struct verifier verifier_api_key = {
    .kind = CREDENTIAL_API_KEY,
    .form = CREDENTIAL_OPAQUE,
    .asks_clerk = true,
    .check = check,
};
const struct verifier verifier_m2m_opaque = {
    .kind = CREDENTIAL_M2M_TOKEN,
    .form = CREDENTIAL_OPAQUE,
    .asks_clerk = true,
    .check = check,
};
const struct verifier verifier_oauth_opaque = {
    .kind = CREDENTIAL_OAUTH_TOKEN,
    .form = CREDENTIAL_OPAQUE,
    .asks_clerk = true,
    .check = check,
};
