/* SPDX-License-Identifier: MIT */
/*
 * Clerk API keys: POST /v1/api_keys/verify.
 * Source: clerk-api document, section 2.
 */
#include "authorizer/verifier.h"

#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"

#include <assert.h>
#include <string.h>

#include "common/banned.h"

#define PATH "/v1/api_keys/verify"
#define US_PER_MS 1000
#define SECONDS_SIZED \
    INT64_C(100000000000) /* below it a "millisecond" is a second: 1973, or the year 5138 */

static enum status
strange(struct error *err, const char *what)
{
    return error_set(err, STATUS_UNAVAILABLE,
                     "Clerk's answer about an API key cannot be used (%s): check clerk { api_url }",
                     what);
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
read_names(const struct json *object, struct identity *identity, struct error *err)
{
    const char *type = json_string(json_member(object, "object"));
    const char *id = json_string(json_member(object, "id"));
    const char *subject = json_string(json_member(object, "subject"));

    if (type == NULL || strcmp(type, "api_key") != 0)
        return strange(err, "object is not \"api_key\"");
    if (id == NULL || !account_name_valid(id) ||
        !text_copy(identity->key_id, sizeof(identity->key_id), id))
        return strange(err, "id");
    if (subject == NULL || !account_name_valid(subject) ||
        !text_copy(identity->subject, sizeof(identity->subject), subject))
        return strange(err, "subject");
    if (json_type(json_member(object, "revoked")) != JSON_BOOLEAN)
        return strange(err, "revoked");
    if (json_type(json_member(object, "expired")) != JSON_BOOLEAN)
        return strange(err, "expired");
    return STATUS_OK;
}

static enum status
read_key(const struct json *object, const struct settings *settings, int64_t now_us,
         struct verifier_finding *out, struct error *err)
{
    struct identity *identity = &out->identity;
    const struct json *claims = json_member(object, "claims");
    const struct json *organization;
    struct error why;
    enum status status = read_names(object, identity, err);

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
    /* A machine's secret key looks like an API key and may verify as one. */
    if (strncmp(identity->subject, "mch_", 4) == 0 &&
        (settings->clerk.accept & CREDENTIAL_M2M_TOKEN) == 0)
        return unusable(out, "its subject is a machine, and clerk { accept } has no m2m_token");
    identity->kind = CREDENTIAL_API_KEY;
    organization = strncmp(identity->subject, "org_", 4) == 0 ? json_member(object, "subject")
                                                              : json_member(claims, "org_id");
    if (identity_complete(identity, object, claims, organization, settings, &why) != STATUS_OK)
        return unusable(out, why.message);
    out->valid = true;
    return STATUS_OK;
}

enum status
verifier_api_key_read(const struct clerk_answer *answer, const struct settings *settings,
                      int64_t now_us, struct verifier_finding *out, struct error *err)
{
    struct json *object = NULL;
    enum status status;

    out->valid = false;
    out->reason = "";
    out->retry_after_us = 0;
    out->identity.subject[0] = '\0';
    out->identity.key_id[0] = '\0';
    out->identity.claims_length = 0;
    if (answer->http_status == 404 || answer->http_status == 400)
        return STATUS_OK; /* unknown, revoked or expired; malformed. Nobody says which */
    if (answer->http_status != 200)
        return strange(err, "status");
    if (!answer->json)
        return strange(err, "not application/json");
    if (json_parse(answer->body, answer->body_length, &object, NULL) != STATUS_OK)
        return strange(err, "not JSON");
    status = read_key(object, settings, now_us, out, err);
    json_free(object);
    return status;
}

static enum status
check(const struct verifier_tools *tools, const struct verifier_question *question,
      struct verifier_finding *out, struct error *err)
{
    char body[CREDENTIAL_OPAQUE_MAX + 32];
    struct clerk_answer answer;
    struct buf json;
    enum status status;

    out->valid = false;
    out->reason = "";
    buf_init(&json, body, sizeof(body));
    buf_add(&json, "{\"secret\":\"");
    buf_add_bytes(&json, question->credential->text, question->credential->length);
    buf_add(&json, "\"}"); /* nothing to escape: see credential.h */
    assert(!buf_failed(&json));
    status = clerk_http_call(tools->clerk,
                             &(struct clerk_call){ .path = PATH,
                                                   .body = body,
                                                   .body_length = json.length,
                                                   .known = question->known,
                                                   .deadline_us = question->deadline_us },
                             &answer, err);
    crypto_wipe(body, sizeof(body));
    if (status == STATUS_OK)
        status = verifier_api_key_read(&answer, tools->settings, question->now_us, out, err);
    out->retry_after_us = answer.retry_after_us;
    return status;
}

const struct verifier verifier_api_key = {
    .kind = CREDENTIAL_API_KEY,
    .form = CREDENTIAL_OPAQUE,
    .asks_clerk = true,
    .check = check,
};
