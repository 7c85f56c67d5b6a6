/* SPDX-License-Identifier: MIT */
#include "tracker/budgets.h"

#include <string.h>

#include "common/banned.h"

/* ---- limits --------------------------------------------------------------------------------- */

/* The period that the path names. */
static enum period_kind
path_period(const struct call *call, struct refusal *refusal)
{
    enum period_kind period = PERIOD_NONE;

    if (!period_kind_parse(call->captures[1], &period))
        refusal_set(refusal, 404, "unknown_budget",
                    "A period is one of hour, day, week, month, year and none.");
    return period;
}

/* The word of `name` in `out`; false when it is not there. */
static bool
read_enforce(const struct fields *fields, enum enforce *out, struct refusal *refusal)
{
    const char *text = fields_text(fields, "enforce", refusal);

    if (text == NULL)
        return false;
    if (!enforce_parse(text, out))
        refusal_set(refusal, 400, "invalid_field", "enforce: has to be hard, warn or off");
    return true;
}

/* What both ways end with: the outcome, then the account as it now is. */
static void
finish(struct call *call, const char *account, enum status status, const struct result *result,
       const struct error *err, struct refusal *refusal)
{
    if (status == STATUS_OVERFLOW)
        refusal_set(refusal, 400, "invalid_field", "limit_usd: %s", err->message);
    else if (status != STATUS_OK)
        call_store_failed(call, err, refusal);
    else
        call_outcome(call, result, refusal);
    call_answer_account(call, account, refusal);
}

void
budgets_set(struct call *call)
{
    static const char *const names[] = { "limit_usd", "enforce", "note", NULL };
    enum enforce enforce = ENFORCE_HARD;
    struct refusal refusal = { .http_status = 0 };
    struct call_actor actor;
    struct result result;
    struct fields fields;
    struct store *store;
    struct error err;
    enum period_kind period;
    const char *account;
    int64_t limit_nanos;
    bool has_enforce;

    call_fields(call, &fields, &refusal);
    account = call_account(call, &refusal);
    period = path_period(call, &refusal);
    limit_nanos = fields_money_required(&fields, "limit_usd", &refusal);
    has_enforce = read_enforce(&fields, &enforce, &refusal);
    call_actor_read(call, &fields, &actor, &refusal);
    fields_only(&fields, names, &refusal);
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL)
        finish(call, account,
               store_budget_set(store, account, period, limit_nanos, has_enforce ? &enforce : NULL,
                                &actor.actor, call->now_us, &result, &err),
               &result, &err, &refusal);
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}

void
budgets_clear(struct call *call)
{
    static const char *const names[] = { "note", NULL };
    struct refusal refusal = { .http_status = 0 };
    struct call_actor actor;
    struct result result;
    struct fields fields;
    struct store *store;
    struct error err;
    enum period_kind period;
    const char *account;

    call_fields(call, &fields, &refusal);
    account = call_account(call, &refusal);
    period = path_period(call, &refusal);
    call_actor_read(call, &fields, &actor, &refusal);
    fields_only(&fields, names, &refusal);
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL)
        finish(
            call, account,
            store_budget_clear(store, account, period, &actor.actor, call->now_us, &result, &err),
            &result, &err, &refusal);
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}

/* ---- credits -------------------------------------------------------------------------------- */

/* What the 200 answer repeats of the request. */
struct credit_reply {
    const struct credit_request *request;
    const char *note;
};

/* The period that was credited: the one that was named, else that of the only budget. */
static const char *
credited_period(const struct credit_request *request, const struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->line_count && request->period == 0; i++) {
        if (ledger->lines[i].limited)
            return period_kind_name(ledger->lines[i].spec.kind);
    }
    return request->period != 0 ? period_kind_name(request->period) : NULL;
}

/* Runs inside the store's transaction. */
static void
write_credit(void *context, const struct result *result, struct buf *out)
{
    const struct credit_reply *reply = context;
    const struct credit_request *request = reply->request;

    buf_add(out, "{\"account\":");
    buf_add_json_string(out, request->account);
    buf_add(out, ",\"amount_usd\":");
    buf_add_json_money(out, request->amount_nanos);
    buf_add(out, ",\"period\":");
    buf_add_json_string(out, credited_period(request, result->ledger));
    buf_add(out, ",\"expires_at\":");
    buf_add_json_time(out, request->expires_us);
    buf_add(out, ",\"note\":");
    account_json_add_text(out, reply->note);
    buf_add(out, ",\"budgets\":");
    account_json_add_budgets(out, result->ledger, -1);
    buf_add_char(out, '}');
}

static void
credit_parse(const struct fields *fields, struct credit_request *out, struct refusal *refusal)
{
    static const char *const names[] = { "amount_usd", "period",          "expires_at",
                                         "note",       "idempotency_key", NULL };
    const char *period = fields_text(fields, "period", refusal);

    out->amount_nanos = fields_money_required(fields, "amount_usd", refusal);
    if (out->amount_nanos == 0)
        refusal_set(refusal, 400, "invalid_field", "amount_usd: has to be more than 0");
    if (period != NULL && !period_kind_parse(period, &out->period))
        refusal_set(refusal, 400, "invalid_field",
                    "period: has to be hour, day, week, month, year or none");
    out->expires_us = fields_time(fields, "expires_at", refusal);
    fields_only(fields, names, refusal);
}

static void
credit_fingerprint(const struct credit_request *request, const char *note,
                   uint8_t out[SHA256_BYTES])
{
    struct fingerprint fingerprint;

    fingerprint_init(&fingerprint, "POST /v1/accounts/credits");
    fingerprint_add(&fingerprint, "account", request->account);
    fingerprint_add_int(&fingerprint, "amount_nanos", request->amount_nanos);
    fingerprint_add_int(&fingerprint, "period", request->period);
    fingerprint_add_int(&fingerprint, "expires_us", request->expires_us);
    fingerprint_add(&fingerprint, "note", note);
    fingerprint_take(&fingerprint, out);
}

/* Ask the store, once the request is known to be well formed. */
static void
credit_record(struct call *call, struct store *store, const struct credit_request *request,
              const struct actor *actor, const struct idempotency *idempotency,
              struct refusal *refusal)
{
    struct credit_reply context = { request, actor->note };
    const struct reply_writer writer = { write_credit, &context };
    struct result result;
    struct error err;
    struct buf reply;
    enum status status;

    buf_init(&reply, call->tracker->json, REPLY_SIZE);
    status = store_credit(store, request, actor, idempotency, &writer, call->now_us, &result,
                          &reply, &err);
    if (status == STATUS_OVERFLOW)
        refusal_set(refusal, 400, "invalid_field", "amount_usd: %s", err.message);
    else if (status == STATUS_INVALID) /* not asked before: a repeat may come after the end */
        refusal_set(refusal, 400, "invalid_field", "expires_at: is in the past");
    else if (status != STATUS_OK)
        call_store_failed(call, &err, refusal);
    else if (result.outcome == OUTCOME_UNKNOWN_BUDGET && request->period == 0)
        refusal_set(refusal, 400, "missing_field",
                    "period: is needed, since the account has not exactly one budget");
    else
        call_outcome(call, &result, refusal);
    if (!refused(refusal))
        call_reply(call, &result, &reply);
}

void
budgets_credit(struct call *call)
{
    struct refusal refusal = { .http_status = 0 };
    struct credit_request request = { .period = 0 };
    struct idempotency idempotency;
    struct call_actor actor;
    struct fields fields;
    struct store *store;

    call_fields(call, &fields, &refusal);
    request.account = call_account(call, &refusal);
    credit_parse(&fields, &request, &refusal);
    call_actor_read(call, &fields, &actor, &refusal);
    call_idempotency(call, &fields, &idempotency, &refusal);
    credit_fingerprint(&request, actor.note, idempotency.fingerprint);
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL)
        credit_record(call, store, &request, &actor.actor, &idempotency, &refusal);
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}
