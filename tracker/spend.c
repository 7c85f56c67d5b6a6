/* SPDX-License-Identifier: MIT */
#include "tracker/spend.h"

#include "common/crypto.h"
#include "common/money.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

static const char *const spend_names[] = {
    "hold_id", "subject",  "key_id", "cost_usd", "cost_cents", "usage",       "idempotency_key",
    "model",   "provider", "route",  "tags",     "metadata",   "occurred_at", NULL
};

/* ---- reading a post ------------------------------------------------------------------------- */

/* A cost of 0..`max_nanos` from `name`; `cents` says in which unit. */
static int64_t
parse_cost(const struct fields *fields, const char *name, bool cents, int64_t max_nanos,
           struct refusal *refusal)
{
    const char *text = fields_decimal(fields, name);
    int64_t nanos = 0;
    bool parsed = cents ? money_parse_cents(text, &nanos) : money_parse_usd(text, &nanos);

    if (!parsed) {
        refusal_set(
            refusal, 400, "invalid_cost",
            "%s: has to be a plain decimal (digits and one point) with at most nine decimals "
            "of a dollar",
            name);
    } else if (nanos > max_nanos) {
        char storage[MONEY_TEXT_SIZE];
        struct buf limit;

        buf_init(&limit, storage, sizeof(storage));
        money_add_usd(&limit, max_nanos);
        refusal_set(refusal, 400, "invalid_cost", "%s: above max_charge_usd of the settings, %s",
                    name, buf_text(&limit));
    }
    return nanos;
}

/* A usage is priced from the price table, which has no price for any model yet. */
static void
refuse_usage(const struct fields *fields, struct refusal *refusal)
{
    char model[TEXT_FIELD_SIZE];

    fields_object(fields, "usage", NULL, refusal);
    fields_copy(fields, "model", model, sizeof(model), refusal);
    if (model[0] == '\0')
        refusal_set(refusal, 400, "missing_field", "model: is needed to price a usage");
    refusal_set(refusal, 422, "unknown_model",
                "usage: the price table has no price for model %s; post cost_usd instead", model);
}

static void
read_cost(const struct fields *fields, int64_t max_nanos, struct spend_post *out,
          struct refusal *refusal)
{
    bool usd = fields_has(fields, "cost_usd"), cents = fields_has(fields, "cost_cents");
    bool usage = fields_has(fields, "usage");
    int given = usd + cents + usage;

    /* A null beside another cost is none; alone it is a cost that was forgotten. */
    if (given == 0 && fields_is_null(fields, "cost_usd"))
        refusal_set(refusal, 400, "invalid_cost", "cost_usd: null is no amount");
    else if (given == 0)
        refusal_set(refusal, 400, "missing_field",
                    "cost_usd: one of cost_usd, cost_cents and usage is needed");
    else if (given > 1)
        refusal_set(refusal, 400, "invalid_field",
                    "cost_usd: only one of cost_usd, cost_cents and usage can be given");
    else if (usage)
        refuse_usage(fields, refusal);
    else
        out->cost_nanos =
            parse_cost(fields, usd ? "cost_usd" : "cost_cents", cents, max_nanos, refusal);
}

/* An id of 1..64 visible ASCII characters; whether it is one of ours is for the store to say, since
 * the money of an unknown one is recorded all the same. */
static void
read_hold_id(const struct fields *fields, char out[HOLD_TEXT_SIZE], struct refusal *refusal)
{
    const char *text = fields_text(fields, "hold_id", refusal);

    out[0] = '\0';
    if (text == NULL)
        return;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at < 0x21 || *at > 0x7e)
            refusal_set(refusal, 404, "unknown_hold", "There is no such hold.");
    }
    if (!text_copy(out, HOLD_TEXT_SIZE, text))
        refusal_set(refusal, 404, "unknown_hold", "There is no such hold.");
}

static void
read_who(const struct fields *fields, struct spend_post *out, struct refusal *refusal)
{
    read_hold_id(fields, out->hold_id, refusal);
    call_read_account(fields, "subject", "", out->subject, refusal);
    call_read_account(fields, "key_id", "key:", out->key_id, refusal);
    if (out->hold_id[0] == '\0' && out->subject[0] == '\0' && out->key_id[0] == '\0')
        refusal_set(refusal, 400, "missing_field",
                    "subject: without a hold_id, a subject or a key_id is needed");
}

static void
read_details(const struct fields *fields, struct spend_post *out, struct refusal *refusal)
{
    char provider[TEXT_FIELD_SIZE];
    struct buf text;

    fields_copy(fields, "model", out->model, sizeof(out->model), refusal);
    fields_copy(fields, "provider", provider, sizeof(provider), refusal);
    fields_copy(fields, "route", out->route, sizeof(out->route), refusal);
    out->occurred_us = fields_time(fields, "occurred_at", refusal);
    buf_init(&text, out->tags, sizeof(out->tags));
    fields_tags(fields, "tags", &text, refusal);
    buf_init(&text, out->metadata, sizeof(out->metadata));
    fields_object(fields, "metadata", &text, refusal);
}

static void
take_fingerprint(struct spend_post *post)
{
    struct fingerprint fingerprint;

    fingerprint_init(&fingerprint, "POST /v1/spend");
    fingerprint_add_int(&fingerprint, "cost_nanos", post->cost_nanos);
    fingerprint_add(&fingerprint, "hold_id", post->hold_id);
    /* Of the post of a hold only the cost is compared. */
    if (post->hold_id[0] == '\0') {
        fingerprint_add(&fingerprint, "subject", post->subject);
        fingerprint_add(&fingerprint, "key_id", post->key_id);
        fingerprint_add(&fingerprint, "model", post->model);
        fingerprint_add(&fingerprint, "route", post->route);
        fingerprint_add(&fingerprint, "tags", post->tags);
        fingerprint_add(&fingerprint, "metadata", post->metadata);
        fingerprint_add_int(&fingerprint, "occurred_us", post->occurred_us);
    }
    fingerprint_take(&fingerprint, post->fingerprint);
}

void
spend_parse(const struct fields *fields, int64_t max_charge_nanos, struct spend_post *out,
            struct refusal *refusal)
{
    *out = (struct spend_post){ .cost_nanos = 0 };
    read_cost(fields, max_charge_nanos, out, refusal);
    read_who(fields, out, refusal);
    read_details(fields, out, refusal);
    fields_only(fields, spend_names, refusal);
    if (!refused(refusal))
        take_fingerprint(out);
}

/* ---- recording it --------------------------------------------------------------------------- */

/* The 200 answer; runs inside the store's transaction. */
static void
write_reply(void *context, const struct result *result, struct buf *out)
{
    char id[PUBLIC_ID_SIZE];

    (void)context;
    public_id_format("chg_", result->charge.id, result->charge.nonce, id);
    buf_add(out, "{\"charge_id\":");
    buf_add_json_string(out, id);
    buf_add(out, ",\"cost_usd\":");
    buf_add_json_money(out, result->charge.amount_nanos);
    buf_add(out, ",\"hold\":");
    buf_add_json_string(out, result->hold_word);
    buf_add(out, ",\"over_budget\":");
    buf_add(out, result->effect.over_budget ? "true" : "false");
    buf_add(out, ",\"overrun_usd\":");
    buf_add_json_money(out, result->effect.overrun_nanos);
    buf_add(out, ",\"budgets\":");
    account_json_add_budgets(out, result->ledger, -1);
    buf_add_char(out, '}');
}

static const char *
text_or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

/* Record one checked post; `reply` receives the answer's bytes unless it is refused. An error is
 * the store's; what the post itself is to blame for is a refusal. */
static enum status
record(struct call *call, struct store *store, const struct spend_post *post,
       const struct idempotency *idempotency, struct result *result, struct buf *reply,
       struct refusal *refusal, struct error *err)
{
    const struct reply_writer writer = { .write = write_reply };
    const struct spend spend = {
        .hold_id = text_or_null(post->hold_id),
        .subject = text_or_null(post->subject),
        .key_id = text_or_null(post->key_id),
        .cost_nanos = post->cost_nanos,
        .occurred_us = post->occurred_us,
        .model = text_or_null(post->model),
        .route = text_or_null(post->route),
        .tags = text_or_null(post->tags),
        .metadata = text_or_null(post->metadata),
        .token = call->actor,
    };
    enum status status =
        store_spend(store, &spend, idempotency, &writer, call->now_us, result, reply, err);

    if (status == STATUS_OVERFLOW) {
        refusal_set(refusal, 400, "invalid_cost", "cost_usd: %s", err->message);
        return STATUS_OK;
    }
    if (status == STATUS_OK)
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
    if (record(call, store, &post, &idempotency, &result, &reply, &refusal, &err) != STATUS_OK)
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
    else if (!call_key_valid(member) || !text_copy(item->key, sizeof(item->key), member))
        refusal_set(&item->refusal, 400, "invalid_field", CALL_KEY_PROBLEM,
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
    struct idempotency idempotency = { .scope = call->actor, .key = text_or_null(item->key) };
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
