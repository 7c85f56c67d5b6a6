/* SPDX-License-Identifier: MIT */
#include "tracker/call.h"

#include "common/clock.h"
#include "common/crypto.h"
#include "common/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/banned.h"

const char *const call_no_names[] = { NULL };

void
call_log(const struct call *call, const struct refusal *refusal)
{
    char http_status[16];

    if (refusal->logged)
        return;
    (void)snprintf(http_status, sizeof(http_status), "%d", refusal->http_status);
    log_event(refusal->http_status >= 500 ? LOG_ERROR : LOG_WARN, "tracker_refusal", "status",
              http_status, "error", refusal->code, "message", refusal->message, "path",
              call->tracker->path, "token", call->actor, "request_id", call->request_id, NULL);
}

void
call_refuse(struct call *call, const struct refusal *refusal)
{
    answer_refuse(call->answer, refusal, call->request_id);
    call_log(call, refusal);
}

void
call_store_failed(struct call *call, const struct error *err, struct refusal *refusal)
{
    log_event(LOG_ERROR, "tracker_store", "status", status_name(err->status), "message",
              err->message, "path", call->tracker->path, "token", call->actor, "request_id",
              call->request_id, NULL);
    refusal->logged = true;
    refusal_set(refusal, 503, "store_unavailable",
                "The store is not available. Nothing was recorded, or it is not known: the same "
                "idempotency key settles it.");
    refusal->retry_after_s = 1;
    if (err->status == STATUS_UNAVAILABLE && call->tracker->store != NULL &&
        !store_comes_back(call->tracker->store)) {
        store_close(call->tracker->store);
        call->tracker->store = NULL;
    }
}

void
call_listing_failed(struct call *call, const struct error *err, struct refusal *refusal)
{
    bool slow = err->status == STATUS_BUSY; /* nobody locks what is only read */

    if (slow)
        refusal_set(refusal, 503, "store_unavailable",
                    "This took longer than %d s and was given up. Ask for less: a shorter time "
                    "with from= and to=, or other filters.",
                    LISTING_MS / 1000);
    call_store_failed(call, err, refusal);
    if (slow)
        refusal->retry_after_s = LISTING_RETRY_S;
}

void
call_no_memory(struct refusal *refusal)
{
    refusal_set(refusal, 503, "store_unavailable", "Out of memory; nothing was recorded.");
    refusal->retry_after_s = 1;
}

enum status
call_open_store(struct call *call, struct store **out, struct error *err)
{
    struct tracker *tracker = call->tracker;
    const struct settings *settings = tracker->settings;
    const struct store_options options = {
        .url = settings->store_url,
        .group = settings->store_group,
        .policy = &settings->policy,
        .hold_ttl_us = settings->hold_ttl_us,
        .charge_on_expiry = settings->charge_on_expiry,
        .idempotency_ttl_us = settings->idempotency_ttl_us,
        .create = true,
        .lazy = true,
        .listing_ms = LISTING_MS,
    };
    enum status status = STATUS_OK;

    *out = NULL;
    if (tracker->store == NULL)
        status = store_open(&options, &tracker->store, err);
    if (status != STATUS_OK)
        return status;
    if (!call->clock_read)
        call->now_us = store_now_us(tracker->store, call->now_us);
    call->clock_read = true;
    *out = tracker->store;
    return STATUS_OK;
}

struct store *
call_store(struct call *call, struct refusal *refusal)
{
    struct store *store;
    struct error err;

    if (call_open_store(call, &store, &err) != STATUS_OK)
        call_store_failed(call, &err, refusal);
    return store;
}

/* Whole seconds until `time_us`, at least 1; 0 when it never comes. */
static int64_t
seconds_until(int64_t time_us, int64_t now_us)
{
    if (time_us == PERIOD_NEVER_US)
        return 0;
    return time_us <= now_us ? 1 : (time_us - now_us - 1) / US_PER_SECOND + 1;
}

/* A denial of the ledger. The statuses are those of a verdict, but never 401, which here speaks of
 * the token. */
static void
refuse_denied(const struct verdict *verdict, int64_t now_us, struct refusal *refusal)
{
    switch (verdict->reason) {
    case REASON_BUDGET:
        refusal_set(refusal, 429, "budget_exceeded",
                    "The budget of %s for this period (%s) has no room.", verdict->account,
                    period_kind_name(verdict->period));
        refusal->retry_after_s = seconds_until(verdict->resets_us, now_us);
        break;
    case REASON_RATE:
        refusal_set(refusal, 429, "rate_limited", "Too many requests of %s.", verdict->account);
        refusal->retry_after_s = seconds_until(verdict->retry_after_us, 0);
        break;
    case REASON_CONCURRENCY:
        refusal_set(refusal, 429, "concurrency_exceeded", "%s holds as many holds as it may.",
                    verdict->account);
        refusal->retry_after_s = 1;
        break;
    case REASON_FROZEN:
        refusal_set(refusal, 403, "frozen", "%s is frozen.", verdict->account);
        break;
    case REASON_REVOKED:
        refusal_set(refusal, 403, "invalid_key", "%s is revoked.", verdict->account);
        break;
    case REASON_EXPIRED:
        refusal_set(refusal, 403, "expired", "%s has expired.", verdict->account);
        break;
    default:
        refusal_set(refusal, 403, "forbidden", "%s may not do this now.", verdict->account);
        break;
    }
    refusal->verdict = verdict;
}

static const char *
why_settled(const struct hold *hold)
{
    if (hold->state != HOLD_EXPIRED || hold->charge_id != 0)
        return "A charge was posted for this hold: it can be changed no more, and a post of "
               "another amount is not recorded.";
    if (hold->expiry_charge_id != 0)
        return "This hold has expired and was charged: a post of its real cost corrects that.";
    return "This hold has expired: nothing is set aside any more.";
}

void
call_outcome(const struct call *call, const struct result *result, struct refusal *refusal)
{
    switch (result->outcome) {
    case OUTCOME_DONE:
    case OUTCOME_REPLAYED:
        break;
    case OUTCOME_KEY_REUSED:
        refusal_set(refusal, 422, "idempotency_key_reuse",
                    "This idempotency key was used for another request.");
        break;
    case OUTCOME_UNKNOWN_ACCOUNT:
        refusal_set(refusal, 404, "unknown_account", "There is no such account.");
        break;
    case OUTCOME_UNKNOWN_HOLD:
        refusal_set(refusal, 404, "unknown_hold", "There is no such hold.");
        break;
    case OUTCOME_UNKNOWN_CHARGE:
        refusal_set(refusal, 404, "unknown_charge", "There is no such charge.");
        break;
    case OUTCOME_UNKNOWN_BUDGET:
        refusal_set(refusal, 404, "unknown_budget", "The account has no budget of this period.");
        break;
    case OUTCOME_HOLD_SETTLED:
        refusal_set(refusal, 409, "hold_already_settled", "%s", why_settled(&result->hold));
        break;
    case OUTCOME_HOLD_VOIDED:
        refusal_set(refusal, 409, "hold_voided", "This hold was given back.");
        break;
    case OUTCOME_REFUND_EXCEEDS:
        refusal_set(refusal, 409, "refund_exceeds_charge",
                    "All refunds of a charge together cannot pass it.");
        break;
    case OUTCOME_NO_PLAN:
        refusal_set(refusal, 403, "no_plan",
                    "The settings have no plan for this account any more, and no default_plan.");
        break;
    case OUTCOME_DENIED:
        refuse_denied(&result->verdict, call->now_us, refusal);
        break;
    case OUTCOME_NONE:
        refusal_set(refusal, 503, "store_unavailable", "The store gave no answer.");
        refusal->retry_after_s = 1;
        break;
    }
}

void
call_fields(struct call *call, struct fields *fields, struct refusal *refusal)
{
    *fields = (struct fields){ .root = NULL };
    switch (call->body_type) {
    case BODY_EMPTY:
        break;
    case BODY_JSON:
        fields_read_json(fields, call->body.data, call->body.length, refusal);
        break;
    case BODY_FORM:
        fields_read_form(fields, call->body.data, call->body.length, refusal);
        break;
    case BODY_NDJSON:
    case BODY_OTHER:
        refusal_set(refusal, 415, "unsupported_media_type",
                    "Send application/json or application/x-www-form-urlencoded.");
        break;
    }
}

void
call_query(struct call *call, struct fields *fields, struct refusal *refusal)
{
    struct tracker *tracker = call->tracker;
    const char *query = request_param(call->request, "QUERY_STRING");

    *fields = (struct fields){ .root = NULL };
    if (query == NULL)
        return;
    /* One byte more is what the decoder needs. */
    if (!text_copy(tracker->query, sizeof(tracker->query) - 1, query)) {
        refusal_set(refusal, 400, "invalid_field", "The query is longer than %zu bytes.",
                    sizeof(tracker->query) - 2);
        return;
    }
    fields_read_form(fields, tracker->query, strlen(tracker->query), refusal);
}

const char *
call_account(const struct call *call, struct refusal *refusal)
{
    if (account_name_valid(call->captures[0]))
        return call->captures[0];
    refusal_set(refusal, 404, "unknown_account", "There is no such account.");
    return "";
}

void
call_actor_read(const struct call *call, const struct fields *fields, struct call_actor *out,
                struct refusal *refusal)
{
    fields_copy(fields, "note", out->note, sizeof(out->note), refusal);
    out->actor.who = call->actor;
    out->actor.note = out->note[0] != '\0' ? out->note : NULL;
}

const char *
call_id(const struct call *call, const char *code, struct refusal *refusal)
{
    if (strlen(call->captures[0]) < HOLD_TEXT_SIZE)
        return call->captures[0];
    refusal_set(refusal, 404, code, "There is no such id.");
    return "";
}

void
call_idempotency(const struct call *call, const struct fields *fields, struct idempotency *out,
                 struct refusal *refusal)
{
    const char *header = request_param(call->request, "HTTP_IDEMPOTENCY_KEY");
    const char *member = NULL;

    if (fields != NULL)
        member = fields_text(fields, "idempotency_key", refusal);
    out->scope = call->actor;
    out->key = member != NULL ? member : header;
    if (out->key == NULL)
        return;
    if (!idempotency_key_valid(out->key) || (header != NULL && !idempotency_key_valid(header)))
        refusal_set(refusal, 400, "invalid_field", IDEMPOTENCY_KEY_PROBLEM,
                    IDEMPOTENCY_KEY_SIZE - 1);
    else if (header != NULL && strcmp(out->key, header) != 0)
        refusal_set(refusal, 400, "invalid_field",
                    "idempotency_key: the member and the header differ");
}

void
call_reply(struct call *call, const struct result *result, const struct buf *reply)
{
    call->answer->http_status = 200;
    call->answer->replayed = result->outcome == OUTCOME_REPLAYED;
    answer_add_buf(call->answer, reply);
}

void
call_add_account(struct call *call, const char *parent)
{
    struct tracker *tracker = call->tracker;
    const struct plan *plan =
        policy_plan_named(&tracker->settings->policy, tracker->ledger.accounts[0].plan);
    struct buf text;

    buf_init(&text, tracker->json, sizeof(tracker->json));
    account_json_add(&text, &tracker->ledger, 0, parent, plan);
    answer_add_buf(call->answer, &text);
}

void
call_load_account(struct call *call, struct store *store, const char *account,
                  char parent[ACCOUNT_NAME_SIZE], struct refusal *refusal)
{
    struct error err;
    enum status status =
        store_account_load(store, account, call->now_us, &call->tracker->ledger, parent, &err);

    if (status == STATUS_NOT_FOUND)
        refusal_set(refusal, 404, "unknown_account", "There is no such account.");
    else if (status != STATUS_OK)
        call_store_failed(call, &err, refusal);
}

void
call_answer_account(struct call *call, const char *account, struct refusal *refusal)
{
    struct store *store = refused(refusal) ? NULL : call_store(call, refusal);
    char parent[ACCOUNT_NAME_SIZE];

    if (store == NULL)
        return;
    call_load_account(call, store, account, parent, refusal);
    if (refused(refusal))
        return;
    call->answer->http_status = 200;
    call_add_account(call, parent);
}
