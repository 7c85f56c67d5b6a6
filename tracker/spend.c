/* SPDX-License-Identifier: MIT */
#include "tracker/spend.h"

#include "common/crypto.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

/* spend_record, and what its outcome says to the client. */
static enum status
record(struct call *call, struct store *store, const struct spend_post *post,
       const struct idempotency *idempotency, struct result *result, struct buf *reply,
       struct refusal *refusal, struct error *err)
{
    enum status status = spend_record(store, post, call->actor, idempotency, call->now_us, result,
                                      reply, refusal, err);

    if (status == STATUS_OK && !refused(refusal))
        call_outcome(call, result, refusal);
    return status;
}

void
spend_post_one(struct call *call)
{
    struct refusal refusal = { .http_status = 0 };
    struct tracker *tracker = call->tracker;
    struct idempotency idempotency;
    struct spend_post post;
    struct result result;
    struct fields fields;
    struct store *store;
    struct error err;
    struct buf reply;

    call_fields(call, &fields, &refusal);
    if (!refused(&refusal))
        spend_parse(&fields, tracker->settings->max_charge_nanos, &post, &refusal);
    if (!refused(&refusal))
        call_idempotency(call, &fields, &idempotency, &refusal);
    if (refused(&refusal))
        goto out;
    memcpy(idempotency.fingerprint, post.fingerprint, sizeof(post.fingerprint));
    store = call_store(call, &refusal);
    if (store == NULL)
        goto out;
    buf_init(&reply, tracker->json, REPLY_SIZE);
    if (spend_price(store, &post, tracker->settings->max_charge_nanos, call->now_us, &refusal,
                    &err) != STATUS_OK ||
        (!refused(&refusal) &&
         record(call, store, &post, &idempotency, &result, &reply, &refusal, &err) != STATUS_OK))
        call_store_failed(call, &err, &refusal);
    if (!refused(&refusal))
        call_reply(call, &result, &reply);
out:
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}

/* ---- many at once --------------------------------------------------------------------------- */

/* One element, checked before the store is locked, so that others wait for the writing only. */
struct batch_item {
    struct spend_post post;
    char key[IDEMPOTENCY_KEY_SIZE]; /* "" none */
    struct refusal refusal;
};

struct batch {
    size_t count;
    struct batch_item *items; /* owned; BATCH_MAX of them */
    const char *header_key;   /* Idempotency-Key of the whole batch, or NULL */
    size_t recorded, replayed;
};

/* The key that an element has from the batch's: its place in it. A hold_id needs none. */
static void
derive_key(const struct batch *batch, struct batch_item *item)
{
    uint8_t digest[SHA256_BYTES];
    struct buf key;

    if (batch->header_key == NULL || item->post.hold_id[0] != '\0')
        return;
    crypto_sha256(batch->header_key, strlen(batch->header_key), digest);
    buf_init(&key, item->key, sizeof(item->key));
    buf_add(&key, "batch:");
    buf_add_hex(&key, digest, sizeof(digest));
    buf_add_format(&key, ":%zu", batch->count);
}

/* Check one element and append it. */
static void
batch_add(struct call *call, struct batch *batch, const struct fields *fields)
{
    struct batch_item *item = &batch->items[batch->count];
    const char *member;

    if (!refused(&item->refusal))
        spend_parse(fields, call->tracker->settings->max_charge_nanos, &item->post, &item->refusal);
    member = fields_text(fields, "idempotency_key", &item->refusal);
    if (member == NULL)
        derive_key(batch, item);
    else if (!idempotency_key_valid(member) || !text_copy(item->key, sizeof(item->key), member))
        refusal_set(&item->refusal, 400, "invalid_field", IDEMPOTENCY_KEY_PROBLEM,
                    IDEMPOTENCY_KEY_SIZE - 1);
    batch->count++;
}

static void
refuse_too_many(struct refusal *refusal)
{
    refusal_set(refusal, 413, "body_too_large", "A batch has at most %d charges.", BATCH_MAX);
}

static void
read_array(struct call *call, struct batch *batch, struct refusal *refusal)
{
    struct json *root = NULL;
    struct error err;

    if (json_parse(call->body.data, call->body.length, &root, &err) != STATUS_OK)
        refusal_set(refusal, 400, "invalid_json", "The body is not JSON: %s", err.message);
    else if (json_type(root) != JSON_ARRAY)
        refusal_set(refusal, 400, "invalid_json", "The body has to be a JSON array of charges.");
    else if (json_count(root) > BATCH_MAX)
        refuse_too_many(refusal);
    for (size_t i = 0; !refused(refusal) && i < json_count(root); i++) {
        struct fields fields = { .root = NULL };

        fields_borrow(&fields, json_element(root, i), &batch->items[batch->count].refusal);
        batch_add(call, batch, &fields);
        fields_clear(&fields);
    }
    json_free(root);
}

/* The line of `length` bytes has more than white space in it. */
static bool
line_is_filled(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return true;
    }
    return false;
}

static void
read_lines(struct call *call, struct batch *batch, struct refusal *refusal)
{
    const char *at = call->body.data, *end = at + call->body.length;

    while (at < end && !refused(refusal)) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = newline != NULL ? (size_t)(newline - at) : (size_t)(end - at);
        struct fields fields;

        if (!line_is_filled(at, length)) {
            at += length + 1;
            continue;
        }
        if (batch->count == BATCH_MAX) {
            refuse_too_many(refusal);
            return;
        }
        fields_read_json(&fields, at, length, &batch->items[batch->count].refusal);
        batch_add(call, batch, &fields);
        fields_clear(&fields);
        at += length + 1;
    }
}

/* Lines of JSON that were sent as application/json: the first line is an object, and not the end.
 */
static bool
body_is_lines(const struct call *call)
{
    const char *newline = memchr(call->body.data, '\n', call->body.length);
    size_t length = newline != NULL ? (size_t)(newline - call->body.data) : 0;
    struct json *root = NULL;
    bool lines;

    if (newline == NULL || !line_is_filled(newline + 1, call->body.length - length - 1))
        return false;
    lines = json_parse(call->body.data, length, &root, NULL) == STATUS_OK &&
            json_type(root) == JSON_OBJECT;
    json_free(root);
    return lines;
}

static void
batch_read(struct call *call, struct batch *batch, struct refusal *refusal)
{
    struct idempotency idempotency;

    call_idempotency(call, NULL, &idempotency, refusal);
    batch->header_key = idempotency.key;
    switch (call->body_type) {
    case BODY_EMPTY:
        refusal_set(refusal, 400, "missing_field", "A JSON array or NDJSON of charges is needed.");
        break;
    case BODY_JSON:
        if (body_is_lines(call))
            read_lines(call, batch, refusal);
        else
            read_array(call, batch, refusal);
        break;
    case BODY_NDJSON:
        read_lines(call, batch, refusal);
        break;
    case BODY_FORM:
    case BODY_OTHER:
        refusal_set(refusal, 415, "unsupported_media_type",
                    "Send a JSON array (application/json) or application/x-ndjson.");
        break;
    }
}

/* Append the result of one element to the answer. */
static void
batch_answer(struct call *call, const struct batch_item *item, const struct buf *reply)
{
    char storage[REFUSAL_ITEM_SIZE];
    struct buf text;

    if (!refused(&item->refusal)) {
        /* The reply is an object; its members follow the status. */
        answer_add_text(call->answer, "{\"status\":200,");
        answer_add(call->answer, reply->data + 1, reply->length - 1);
        return;
    }
    buf_init(&text, storage, sizeof(storage));
    refusal_write(&text, &item->refusal, call->request_id, true);
    answer_add_buf(call->answer, &text);
    call_log(call, &item->refusal);
}

static enum status
batch_record_one(struct call *call, struct store *store, struct batch *batch,
                 struct batch_item *item, struct error *err)
{
    struct idempotency idempotency = { .scope = call->actor,
                                       .key = item->key[0] != '\0' ? item->key : NULL };
    enum status status = STATUS_OK;
    struct result result;
    struct buf reply;

    buf_init(&reply, call->tracker->json, REPLY_SIZE);
    memcpy(idempotency.fingerprint, item->post.fingerprint, sizeof(idempotency.fingerprint));
    if (!refused(&item->refusal))
        status =
            record(call, store, &item->post, &idempotency, &result, &reply, &item->refusal, err);
    if (status != STATUS_OK)
        return status;
    if (!refused(&item->refusal)) {
        batch->recorded++;
        batch->replayed += result.outcome == OUTCOME_REPLAYED;
    }
    batch_answer(call, item, &reply);
    return STATUS_OK;
}

/* Before the store is locked for the batch. */
static void
batch_price(struct call *call, struct store *store, struct batch *batch, struct refusal *refusal)
{
    int64_t max_charge_nanos = call->tracker->settings->max_charge_nanos;
    enum status status = STATUS_OK;
    struct error err;

    for (size_t i = 0; status == STATUS_OK && i < batch->count; i++) {
        struct batch_item *item = &batch->items[i];

        if (!refused(&item->refusal))
            status = spend_price(store, &item->post, max_charge_nanos, call->now_us, &item->refusal,
                                 &err);
    }
    if (status != STATUS_OK)
        call_store_failed(call, &err, refusal);
}

/* All elements in one transaction. */
static void
batch_record(struct call *call, struct store *store, struct batch *batch, struct refusal *refusal)
{
    struct error err, end_err;
    enum status status = store_batch_begin(store, &err);

    if (status == STATUS_OK) {
        for (size_t i = 0; status == STATUS_OK && i < batch->count; i++) {
            if (i > 0)
                answer_add_text(call->answer, ",");
            status = batch_record_one(call, store, batch, &batch->items[i], &err);
        }
        /* After a failure nothing is kept: an element without a key would count twice when the
         * batch is posted again. The first error is the one to tell. */
        if (store_batch_end(store, status == STATUS_OK, &end_err) != STATUS_OK &&
            status == STATUS_OK) {
            status = end_err.status;
            err = end_err;
        }
    }
    if (status != STATUS_OK)
        call_store_failed(call, &err, refusal);
}

/* The same body has the same request_id, so that a repeat with refusals in it answers the same
 * bytes too. */
static void
batch_request_id(struct call *call)
{
    uint8_t digest[SHA256_BYTES];
    struct buf id;

    crypto_sha256(call->body.data, call->body.length, digest);
    buf_init(&id, call->request_id, sizeof(call->request_id));
    buf_add_hex(&id, digest, CALL_REQUEST_ID_BYTES);
}

void
spend_post_batch(struct call *call)
{
    struct batch batch = { .items = calloc(BATCH_MAX, sizeof(*batch.items)) };
    struct refusal refusal = { .http_status = 0 };
    struct store *store;

    batch_request_id(call);
    if (batch.items == NULL) {
        call_no_memory(&refusal);
        goto out;
    }
    batch_read(call, &batch, &refusal);
    if (refused(&refusal))
        goto out;
    store = call_store(call, &refusal);
    if (store == NULL)
        goto out;
    batch_price(call, store, &batch, &refusal);
    if (refused(&refusal))
        goto out;
    answer_add_text(call->answer, "{\"results\":[");
    batch_record(call, store, &batch, &refusal);
    answer_add_text(call->answer, "]}");
    call->answer->http_status = 200;
    call->answer->replayed = batch.recorded > 0 && batch.recorded == batch.replayed;
out:
    if (refused(&refusal))
        call_refuse(call, &refusal);
    free(batch.items);
}
