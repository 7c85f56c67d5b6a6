/* SPDX-License-Identifier: MIT */
#include "tracker/webhook.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/json.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define SECRET_PREFIX "whsec_"
#define MESSAGE_SCOPE "webhook:clerk"
#define SIGNATURE_VERSION "v1,"
#define TIMESTAMP_MAX INT64_C(100000000000) /* seconds; far beyond any date */

/* ---- signature ------------------------------------------------------------------------------ */

/* HMAC-SHA256 over "id.timestamp.body". False for want of memory. */
static bool
sign(const void *key, size_t key_length, const struct webhook_headers *headers, const void *body,
     size_t length, uint8_t out[SHA256_BYTES])
{
    size_t size = strlen(headers->id) + strlen(headers->timestamp) + length + 3;
    char *storage = malloc(size);
    struct buf text;
    bool whole;

    if (storage == NULL)
        return false;
    buf_init(&text, storage, size);
    buf_add(&text, headers->id);
    buf_add_char(&text, '.');
    buf_add(&text, headers->timestamp);
    buf_add_char(&text, '.');
    buf_add_bytes(&text, body, length);
    whole = !buf_failed(&text);
    if (whole)
        crypto_hmac_sha256(key, key_length, storage, text.length, out);
    free(storage);
    return whole;
}

/* Whether one of the entries, "v1,<base64>" with spaces between, is this signature. Other versions
 * are passed over: a newer kind may stand beside ours. */
static bool
any_signature_is(const char *entries, const uint8_t want[SHA256_BYTES])
{
    bool found = false;

    while (*entries != '\0') {
        size_t length = strcspn(entries, " ");
        const size_t version = strlen(SIGNATURE_VERSION);
        uint8_t given[SHA256_BYTES];
        size_t given_length = 0;

        if (length > version && strncmp(entries, SIGNATURE_VERSION, version) == 0 &&
            base64_decode(entries + version, length - version, given, sizeof(given),
                          &given_length) &&
            given_length == SHA256_BYTES && crypto_equal(given, want, SHA256_BYTES))
            found = true;
        entries += length;
        entries += strspn(entries, " ");
    }
    return found;
}

static bool
is_recent(const char *timestamp, int64_t now_us)
{
    const int64_t now_s = now_us / US_PER_SECOND;
    int64_t sent_s;

    return text_to_int64(timestamp, 0, TIMESTAMP_MAX, &sent_s) &&
           sent_s >= now_s - WEBHOOK_TOLERANCE_S && sent_s <= now_s + WEBHOOK_TOLERANCE_S;
}

static bool
decode_secret(const struct secret *secret, uint8_t *key, size_t size, size_t *length)
{
    const char *text = (const char *)secret->bytes;
    const size_t prefix = strlen(SECRET_PREFIX);

    *length = 0;
    if (!secret_is_set(secret))
        return false;
    if (strncmp(text, SECRET_PREFIX, prefix) == 0)
        text += prefix;
    return base64_decode(text, strlen(text), key, size, length) && *length >= WEBHOOK_KEY_MIN;
}

enum webhook_check
webhook_verify(const struct secret *secret, const struct webhook_headers *headers, const void *body,
               size_t length, int64_t now_us)
{
    enum webhook_check check = WEBHOOK_FORGED;
    uint8_t key[SECRET_BYTES_MAX], want[SHA256_BYTES];
    size_t key_length;

    if (!decode_secret(secret, key, sizeof(key), &key_length))
        check = WEBHOOK_NO_SECRET;
    else if (headers->id != NULL && idempotency_key_valid(headers->id) &&
             headers->timestamp != NULL && headers->signatures != NULL &&
             is_recent(headers->timestamp, now_us) &&
             sign(key, key_length, headers, body, length, want) &&
             any_signature_is(headers->signatures, want))
        check = WEBHOOK_SIGNED;
    crypto_wipe(key, sizeof(key));
    return check;
}

/* ---- event ---------------------------------------------------------------------------------- */

/* Note that the account named by `value` is to be changed, if it names one of that kind. */
static bool
add_action(struct webhook_event *event, enum account_change change, const char *before,
           const char *kind, const struct json *value)
{
    struct webhook_action *action = &event->actions[event->action_count];
    const char *id = json_string(value);
    struct buf name;

    if (id == NULL || strncmp(id, kind, strlen(kind)) != 0 || id[strlen(kind)] == '\0')
        return false;
    buf_init(&name, action->account, sizeof(action->account));
    buf_add(&name, before);
    buf_add(&name, id);
    if (buf_failed(&name) || !account_name_valid(action->account))
        return false;
    action->change = change;
    event->action_count++;
    return true;
}

static bool
read_user(struct webhook_event *event, const struct json *data)
{
    const struct json *id = json_member(data, "id");

    if (strcmp(event->type, "user.deleted") == 0)
        return add_action(event, ACCOUNT_FREEZE, "", "user_", id);
    if (json_boolean(json_member(data, "banned"), false) &&
        !add_action(event, ACCOUNT_FREEZE, "", "user_", id))
        return false;
    return add_action(event, ACCOUNT_REVERIFY, "", "user_", id);
}

static bool
read_organization(struct webhook_event *event, const struct json *data)
{
    return add_action(event, ACCOUNT_FREEZE, "", "org_", json_member(data, "id"));
}

static bool
read_session(struct webhook_event *event, const struct json *data)
{
    return add_action(event, ACCOUNT_REVOKE, "key:", "sess_", json_member(data, "id"));
}

static bool
read_membership(struct webhook_event *event, const struct json *data)
{
    return add_action(event, ACCOUNT_REVERIFY, "", "user_",
                      json_path(data, "public_user_data.user_id"));
}

/* The payer: a user or an organization. One that is neither is nobody we know. */
static bool
read_subscription(struct webhook_event *event, const struct json *data)
{
    (void)add_action(event, ACCOUNT_REVERIFY, "", "user_", json_path(data, "payer.user_id"));
    (void)add_action(event, ACCOUNT_REVERIFY, "", "org_", json_path(data, "payer.organization_id"));
    return true;
}

/* A type that ends with "." stands for all that begin so. Roles and permissions are not here: they
 * name nobody, and stand in signed tokens only, which no new question changes. */
static const struct {
    const char *type;
    bool (*read)(struct webhook_event *event, const struct json *data);
} event_types[] = {
    { "user.deleted", read_user },
    { "user.updated", read_user },
    { "organization.deleted", read_organization },
    { "session.ended", read_session },
    { "session.removed", read_session },
    { "session.revoked", read_session },
    { "organizationMembership.", read_membership },
    { "subscription.", read_subscription },
    { "subscriptionItem.", read_subscription },
};

static bool
type_matches(const char *pattern, const char *type)
{
    size_t length = strlen(pattern);

    return pattern[length - 1] == '.' ? strncmp(type, pattern, length) == 0
                                      : strcmp(type, pattern) == 0;
}

static enum status
read_event(const struct json *root, struct webhook_event *out, struct error *err)
{
    const char *type = json_string(json_member(root, "type"));

    if (type == NULL || *type == '\0' || !text_copy(out->type, sizeof(out->type), type))
        return error_set(err, STATUS_INVALID, "type: has to name the event");
    for (size_t i = 0; i < sizeof(event_types) / sizeof(event_types[0]); i++) {
        if (!type_matches(event_types[i].type, type))
            continue;
        if (event_types[i].read(out, json_member(root, "data")))
            return STATUS_OK;
        out->action_count = 0;
        return error_set(err, STATUS_INVALID, "data: does not name whom the event is about");
    }
    return STATUS_OK;
}

enum status
webhook_read(const char *body, size_t length, struct webhook_event *out, struct error *err)
{
    struct json *root = NULL;
    enum status status;

    memset(out, 0, sizeof(*out));
    status = json_parse(body, length, &root, err);
    if (status == STATUS_OK)
        status = read_event(root, out, err);
    json_free(root);
    return status;
}

/* ---- acting --------------------------------------------------------------------------------- */

static enum status
act(struct call *call, struct store *store, const struct webhook_event *event,
    const struct webhook_headers *headers, struct error *err)
{
    char note[TEXT_FIELD_SIZE];
    struct buf text;
    const struct actor actor = { .who = MESSAGE_SCOPE, .note = note };
    enum status status = STATUS_OK;

    buf_init(&text, note, sizeof(note));
    buf_add_format(&text, "%s %s", event->type, headers->id);
    for (size_t i = 0; status == STATUS_OK && i < event->action_count; i++) {
        const struct webhook_action *action = &event->actions[i];
        struct result result;

        /* An account that is not there yet has nothing that could be verified again. */
        status = store_account_change(store, action->account, action->change, 0, NULL, &actor,
                                      call->now_us, &result, err);
    }
    return status;
}

/* The message and what it changes are one transaction: a message that was noted has acted. */
static enum status
act_once(struct call *call, struct store *store, const struct webhook_event *event,
         const struct webhook_headers *headers, struct error *err)
{
    uint8_t fingerprint[SHA256_BYTES];
    bool seen = false;
    enum status status = store_batch_begin(store, err), ended;
    struct error end_err;

    if (status != STATUS_OK)
        return status;
    crypto_sha256(call->body.data, call->body.length, fingerprint);
    status = store_message_note(store, MESSAGE_SCOPE, headers->id, fingerprint, call->now_us, &seen,
                                err);
    if (status == STATUS_OK && !seen)
        status = act(call, store, event, headers, err);
    ended = store_batch_end(store, status == STATUS_OK, &end_err);
    if (status == STATUS_OK && ended != STATUS_OK) {
        *err = end_err;
        status = ended;
    }
    call->answer->replayed = status == STATUS_OK && seen;
    return status;
}

static void
refuse_check(enum webhook_check check, struct refusal *refusal)
{
    if (check == WEBHOOK_NO_SECRET)
        refusal_set(refusal, 503, "webhook_not_configured",
                    "No signing secret of Clerk's webhooks (whsec_...) is configured here: see "
                    "clerk { webhook_secret_file }.");
    else if (check != WEBHOOK_SIGNED)
        refusal_set(refusal, 401, "invalid_signature",
                    "The signature is missing or wrong, or the message is not of now: check "
                    "clerk { webhook_secret_file } and this machine's clock.");
}

void
webhook_clerk(struct call *call)
{
    const struct webhook_headers headers = {
        .id = request_param(call->request, "HTTP_SVIX_ID"),
        .timestamp = request_param(call->request, "HTTP_SVIX_TIMESTAMP"),
        .signatures = request_param(call->request, "HTTP_SVIX_SIGNATURE"),
    };
    struct refusal refusal = { .http_status = 0 };
    struct webhook_event event;
    struct store *store = NULL;
    struct error err;

    call->actor = MESSAGE_SCOPE;
    refuse_check(webhook_verify(&call->tracker->settings->clerk.webhook_secret, &headers,
                                call->body.data, call->body.length, call->now_us),
                 &refusal);
    if (!refused(&refusal) &&
        webhook_read(call->body.data, call->body.length, &event, &err) != STATUS_OK)
        refusal_set(&refusal, 400, "invalid_json", "%s", err.message);
    if (!refused(&refusal) && event.action_count > 0)
        store = call_store(call, &refusal);
    if (store != NULL && act_once(call, store, &event, &headers, &err) != STATUS_OK)
        call_store_failed(call, &err, &refusal);
    if (refused(&refusal)) {
        call_refuse(call, &refusal);
        return;
    }
    call->answer->http_status = 200;
    answer_add_text(call->answer, "{\"received\":true}");
}
