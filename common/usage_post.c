/* SPDX-License-Identifier: MIT */
#include "common/usage_post.h"

#include "common/money.h"

#include "common/banned.h"

void
usage_post_read(const struct fields *fields, struct usage_post *out, struct refusal *refusal)
{
    struct json *owned;
    const struct json *usage = fields_json(fields, "usage", &owned, refusal);
    const char *tier = fields_text(fields, "service_tier", refusal);
    struct error err;

    fields_copy(fields, "model", out->model, sizeof(out->model), refusal);
    fields_copy(fields, "provider", out->provider, sizeof(out->provider), refusal);
    if (usage == NULL)
        refusal_set(refusal, 400, "missing_field", "usage: is needed");
    else if (out->model[0] == '\0')
        refusal_set(refusal, 400, "missing_field", "model: is needed to price a usage");
    else if (usage_parse(usage, tier, &out->usage, &err) != STATUS_OK)
        refusal_set(refusal, 422, "usage_inconsistent", "%s", err.message);
    json_free(owned);
}

/* Why there is not the one price. */
static void
refuse_model(const struct usage_post *post, size_t providers, struct refusal *refusal)
{
    bool named = post->provider[0] != '\0';

    if (providers > 1)
        refusal_set(refusal, 422, "unknown_model",
                    "usage: the price table has model %s of several providers; name the provider",
                    post->model);
    else
        refusal_set(refusal, 422, "unknown_model",
                    "usage: the price table has no price for model %s%s%s; import one, or post "
                    "cost_usd instead",
                    post->model, named ? " of provider " : "", post->provider);
}

static void
refuse_cost(int64_t max_charge_nanos, struct refusal *refusal)
{
    char storage[MONEY_TEXT_SIZE];
    struct buf limit;

    buf_init(&limit, storage, sizeof(storage));
    money_add_usd(&limit, max_charge_nanos);
    refusal_set(refusal, 400, "invalid_cost", "usage: costs more than max_charge_usd, %s",
                buf_text(&limit));
}

enum status
usage_post_price(struct store *store, const struct usage_post *post, const char *hold_id,
                 int64_t max_charge_nanos, int64_t now_us, struct price_version *version,
                 int64_t *cost_nanos, struct refusal *refusal, struct error *err)
{
    const char *provider = post->provider[0] != '\0' ? post->provider : NULL;
    struct error why;
    size_t count;
    enum status status =
        store_price_find(store, post->model, provider, hold_id, now_us, version, &count, err);

    *cost_nanos = 0;
    if (status != STATUS_OK)
        return status;
    if (count != 1) {
        refuse_model(post, count, refusal);
        return STATUS_OK;
    }
    switch (usage_cost(&post->usage, &version->price, cost_nanos, &why)) {
    case STATUS_OK:
        if (*cost_nanos > max_charge_nanos)
            refuse_cost(max_charge_nanos, refusal);
        break;
    case STATUS_NOT_FOUND:
        refusal_set(refusal, 422, "unknown_model", "usage: %s: %s", post->model, why.message);
        break;
    default:
        refuse_cost(max_charge_nanos, refusal);
        break;
    }
    return STATUS_OK;
}
