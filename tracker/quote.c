/* SPDX-License-Identifier: MIT */
#include "tracker/quote.h"

#include <inttypes.h>

#include "common/usage_post.h"

#include "common/banned.h"

struct quote_post {
    char hold_id[HOLD_TEXT_SIZE]; /* "" none */
    struct usage_post usage;
};

static void
quote_parse(const struct fields *fields, struct quote_post *out, struct refusal *refusal)
{
    static const char *const names[] = { "usage",        "model",   "provider",
                                         "service_tier", "hold_id", NULL };

    fields_copy(fields, "hold_id", out->hold_id, sizeof(out->hold_id), refusal);
    usage_post_read(fields, &out->usage, refusal);
    fields_only(fields, names, refusal);
}

static void
add_parts(struct buf *out, const struct usage *usage, const struct price *price)
{
    const char *separator = "";

    for (int i = 0; i < PRICE_PARTS; i++) {
        enum price_part part = (enum price_part)i;
        int64_t units = usage->units[part], rate = usage_rate(usage, price, part);

        if (units == 0)
            continue;
        buf_add_format(out,
                       "%s{\"part\":\"%s\",\"units\":%" PRId64 ",\"usd_per_million\":", separator,
                       price_part_name(part), units);
        buf_add_json_money(out, rate);
        buf_add(out, ",\"cost_usd\":\"");
        usage_add_part_cost(out, units, rate);
        buf_add(out, "\"}");
        separator = ",";
    }
}

static void
add_quote(struct buf *out, const struct usage *usage, const struct price_version *version,
          int64_t cost_nanos)
{
    const char *step = price_step_name(usage->step);
    char id[PRICE_ID_SIZE];

    price_id_format(version->id, id);
    buf_add(out, "{\"cost_usd\":");
    buf_add_json_money(out, cost_nanos);
    buf_add(out, ",\"model\":");
    buf_add_json_string(out, version->model);
    buf_add(out, ",\"provider\":");
    account_json_add_text(out, version->provider);
    buf_add(out, ",\"price_id\":");
    buf_add_json_string(out, id);
    buf_add(out, ",\"price_from\":");
    buf_add_json_time(out, version->from_us);
    buf_add_format(out, ",\"service_tier\":\"%s\",\"step\":", price_tier_name(usage->tier));
    account_json_add_text(out, step);
    buf_add(out, ",\"parts\":[");
    add_parts(out, usage, &version->price);
    buf_add(out, "]}");
}

static void
answer_quote(struct call *call, struct store *store, const struct quote_post *post,
             struct refusal *refusal)
{
    const char *hold_id = post->hold_id[0] != '\0' ? post->hold_id : NULL;
    struct price_version version;
    int64_t cost_nanos;
    struct error err;
    struct buf text;

    if (usage_post_price(store, &post->usage, hold_id, call->tracker->settings->max_charge_nanos,
                         call->now_us, &version, &cost_nanos, refusal, &err) != STATUS_OK)
        call_store_failed(call, &err, refusal);
    if (refused(refusal))
        return;
    buf_init(&text, call->tracker->json, sizeof(call->tracker->json));
    add_quote(&text, &post->usage.usage, &version, cost_nanos);
    answer_add_buf(call->answer, &text);
    call->answer->http_status = 200;
}

void
quote_post(struct call *call)
{
    struct refusal refusal = { .http_status = 0 };
    struct quote_post post;
    struct fields fields;
    struct store *store;

    call_fields(call, &fields, &refusal);
    quote_parse(&fields, &post, &refusal);
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL)
        answer_quote(call, store, &post, &refusal);
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}
