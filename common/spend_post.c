/* SPDX-License-Identifier: MIT */
#include "common/spend_post.h"

#include "common/account_json.h"
#include "common/idempotency.h"
#include "common/money.h"

#include "common/banned.h"

static const char *const spend_names[] = { "hold_id",         "subject",      "key_id",
                                           "cost_usd",        "cost_cents",   "usage",
                                           "idempotency_key", "model",        "provider",
                                           "route",           "tags",         "metadata",
                                           "occurred_at",     "service_tier", NULL };

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
    out->by_usage = usage;
    if (refused(refusal))
        return;
    if (usage)
        usage_post_read(fields, &out->usage, refusal);
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
    fields_account(fields, "subject", "", out->subject, refusal);
    fields_account(fields, "key_id", "key:", out->key_id, refusal);
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
    (void)fields_text(fields, "service_tier", refusal);
    fields_copy(fields, "route", out->route, sizeof(out->route), refusal);
    out->occurred_us = fields_time(fields, "occurred_at", refusal);
    buf_init(&text, out->tags, sizeof(out->tags));
    fields_tags(fields, "tags", &text, refusal);
    buf_init(&text, out->metadata, sizeof(out->metadata));
    fields_object(fields, "metadata", &text, refusal);
}

static void
write_usage(const struct usage *usage, char out[USAGE_TEXT_SIZE])
{
    struct buf text;

    buf_init(&text, out, USAGE_TEXT_SIZE);
    usage_write(usage, &text);
}

static void
take_fingerprint(struct spend_post *post)
{
    struct fingerprint fingerprint;
    char usage_text[USAGE_TEXT_SIZE];

    fingerprint_init(&fingerprint, "POST /v1/spend");
    if (post->by_usage) {
        /* Its price may change until the post is repeated, so its cost is no part of what it is. */
        write_usage(&post->usage.usage, usage_text);
        fingerprint_add(&fingerprint, "usage", usage_text);
        fingerprint_add(&fingerprint, "model", post->usage.model);
        fingerprint_add(&fingerprint, "provider", post->usage.provider);
    } else {
        fingerprint_add_int(&fingerprint, "cost_nanos", post->cost_nanos);
    }
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
    buf_add(out, result->effect.over_budget || result->effect.over_hold ? "true" : "false");
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

enum status
spend_price(struct store *store, struct spend_post *post, int64_t max_charge_nanos, int64_t now_us,
            struct refusal *refusal, struct error *err)
{
    struct price_version version;
    enum status status;

    if (!post->by_usage)
        return STATUS_OK;
    status = usage_post_price(store, &post->usage, text_or_null(post->hold_id), max_charge_nanos,
                              now_us, &version, &post->cost_nanos, refusal, err);
    if (status == STATUS_OK && !refused(refusal))
        post->price_id = version.id;
    return status;
}

enum status
spend_record(struct store *store, const struct spend_post *post, const char *token,
             const struct idempotency *idempotency, int64_t now_us, struct result *result,
             struct buf *reply, struct refusal *refusal, struct error *err)
{
    const struct reply_writer writer = { .write = write_reply };
    char usage[USAGE_TEXT_SIZE] = "";
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
        .token = token,
        .usage = usage,
        .price_id = post->price_id,
    };
    enum status status;

    if (post->by_usage)
        write_usage(&post->usage.usage, usage);
    status = store_spend(store, &spend, idempotency, &writer, now_us, result, reply, err);
    if (status == STATUS_OVERFLOW) {
        refusal_set(refusal, 400, "invalid_cost", "cost_usd: %s", err->message);
        return STATUS_OK;
    }
    return status;
}
