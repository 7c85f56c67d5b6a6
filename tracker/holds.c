/* SPDX-License-Identifier: MIT */
#include "tracker/holds.h"

#include "common/settings.h"

#include <string.h>

#include "common/banned.h"

/* The 200 answer of all three calls; runs inside the store's transaction. */
static void
write_reply(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    account_json_add_hold_budgets(out, &result->hold, result->ledger);
}

static const struct reply_writer reply_writer = { .write = write_reply };

/* What a store function answered becomes the answer, or the refusal. */
static void
finish(struct call *call, enum status status, const struct result *result, const struct buf *reply,
       const struct error *err, struct refusal *refusal)
{
    if (status == STATUS_OVERFLOW)
        refusal_set(refusal, 400, "invalid_field", "amount_usd: %s", err->message);
    else if (status != STATUS_OK)
        call_store_failed(call, err, refusal);
    else
        call_outcome(call, result, refusal);
    if (!refused(refusal))
        call_reply(call, result, reply);
}

/* ---- place ---------------------------------------------------------------------------------- */

struct hold_post {
    char subject[ACCOUNT_NAME_SIZE], key_id[ACCOUNT_NAME_SIZE], route[ROUTE_PREFIX_SIZE];
    int64_t amount_nanos, ttl_us;
};

static int64_t
read_ttl(const struct fields *fields, struct refusal *refusal)
{
    const char *text = fields_text(fields, "ttl", refusal);
    int64_t ttl_us = 0;

    if (text != NULL && (!settings_parse_duration(text, &ttl_us) || ttl_us < HOLD_TTL_MIN_US ||
                         ttl_us > HOLD_TTL_MAX_US))
        refusal_set(refusal, 400, "invalid_field",
                    "ttl: has to be a time with a unit, 1s to 30d, such as \"10m\"");
    return ttl_us;
}

static void
place_parse(const struct fields *fields, struct hold_post *out, struct refusal *refusal)
{
    static const char *const names[] = { "subject", "key_id",          "route", "amount_usd",
                                         "ttl",     "idempotency_key", NULL };

    *out = (struct hold_post){ .ttl_us = 0 };
    fields_account(fields, "subject", "", out->subject, refusal);
    fields_account(fields, "key_id", "key:", out->key_id, refusal);
    if (out->subject[0] == '\0')
        refusal_set(refusal, 400, "missing_field", "subject: is needed");
    out->amount_nanos = fields_money_required(fields, "amount_usd", refusal);
    fields_copy(fields, "route", out->route, sizeof(out->route), refusal);
    out->ttl_us = read_ttl(fields, refusal);
    fields_only(fields, names, refusal);
}

static void
place_fingerprint(const struct hold_post *post, uint8_t out[SHA256_BYTES])
{
    struct fingerprint fingerprint;

    fingerprint_init(&fingerprint, "POST /v1/holds");
    fingerprint_add(&fingerprint, "subject", post->subject);
    fingerprint_add(&fingerprint, "key_id", post->key_id);
    fingerprint_add(&fingerprint, "route", post->route);
    fingerprint_add_int(&fingerprint, "amount_nanos", post->amount_nanos);
    fingerprint_add_int(&fingerprint, "ttl_us", post->ttl_us);
    fingerprint_take(&fingerprint, out);
}

void
holds_place(struct call *call)
{
    struct refusal refusal = { .http_status = 0 };
    struct idempotency idempotency;
    struct hold_post post;
    struct result result;
    struct fields fields;
    struct store *store;
    struct error err;
    struct buf reply;

    call_fields(call, &fields, &refusal);
    place_parse(&fields, &post, &refusal);
    call_idempotency(call, &fields, &idempotency, &refusal);
    place_fingerprint(&post, idempotency.fingerprint);
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL) {
        const struct hold_request request = {
            .subject = post.subject,
            .key_id = post.key_id[0] != '\0' ? post.key_id : NULL,
            .route = post.route[0] != '\0' ? post.route : NULL,
            .amount_nanos = post.amount_nanos,
            .ttl_us = post.ttl_us,
        };
        enum status status;

        buf_init(&reply, call->tracker->json, REPLY_SIZE);
        status = store_hold_place(store, &request, &idempotency, &reply_writer, call->now_us,
                                  &result, &reply, &err);
        finish(call, status, &result, &reply, &err, &refusal);
    }
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}

/* ---- extend and void ------------------------------------------------------------------------ */

/* What is done to the hold that the path names; `add_nanos` is for extend. */
static void
change(struct call *call, const char *name, const char *const *names, bool extend)
{
    struct refusal refusal = { .http_status = 0 };
    struct idempotency idempotency;
    struct fingerprint fingerprint;
    struct result result;
    struct fields fields;
    struct store *store;
    struct error err;
    struct buf reply;
    const char *hold_id;
    int64_t add_nanos = 0;

    call_fields(call, &fields, &refusal);
    hold_id = call_id(call, "unknown_hold", &refusal);
    if (extend)
        add_nanos = fields_money_required(&fields, "amount_usd", &refusal);
    fields_only(&fields, names, &refusal);
    call_idempotency(call, &fields, &idempotency, &refusal);
    fingerprint_init(&fingerprint, name);
    fingerprint_add(&fingerprint, "hold_id", hold_id);
    fingerprint_add_int(&fingerprint, "amount_nanos", add_nanos);
    fingerprint_take(&fingerprint, idempotency.fingerprint);
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL) {
        enum status status;

        buf_init(&reply, call->tracker->json, REPLY_SIZE);
        status = extend ? store_hold_extend(store, hold_id, add_nanos, &idempotency, &reply_writer,
                                            call->now_us, &result, &reply, &err)
                        : store_hold_void(store, hold_id, &idempotency, &reply_writer, call->now_us,
                                          &result, &reply, &err);
        finish(call, status, &result, &reply, &err, &refusal);
    }
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}

void
holds_extend(struct call *call)
{
    static const char *const names[] = { "amount_usd", "idempotency_key", NULL };

    change(call, "POST /v1/holds/extend", names, true);
}

void
holds_void(struct call *call)
{
    static const char *const names[] = { "idempotency_key", NULL };

    change(call, "POST /v1/holds/void", names, false);
}
