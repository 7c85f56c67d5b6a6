/* SPDX-License-Identifier: MIT */
#include "tracker/charges.h"

#include <inttypes.h>
#include <string.h>

#include "common/banned.h"

/* ---- the list ------------------------------------------------------------------------------- */

struct charge_page {
    struct call *call;
    size_t shown, limit;
    char cursor[PUBLIC_ID_SIZE]; /* of the last one shown */
    bool more;
};

static bool
show_charge(void *context, const struct charge *charge)
{
    struct charge_page *page = context;
    struct tracker *tracker = page->call->tracker;
    struct buf text;

    if (page->shown == page->limit) {
        page->more = true;
        return false;
    }
    buf_init(&text, tracker->json, CHARGE_JSON_SIZE);
    if (page->shown > 0)
        buf_add_char(&text, ',');
    account_json_add_charge(&text, charge);
    answer_add_buf(page->call->answer, &text);
    public_id_format("chg_", charge->id, charge->nonce, page->cursor);
    page->shown++;
    return true;
}

/* The page begins below the charge that the cursor names: the last one shown. */
static int64_t
read_cursor(const struct fields *fields, struct refusal *refusal)
{
    const char *cursor = fields_text(fields, "cursor", refusal);
    int64_t id = INT64_MAX;
    uint64_t nonce;

    if (cursor != NULL && *cursor != '\0' && !public_id_parse("chg_", cursor, &id, &nonce))
        refusal_set(refusal, 400, "invalid_field", "cursor: is none of ours");
    return id;
}

/* A filter's text, NULL when it is not given. */
static const char *
read_filter(const struct fields *fields, const char *name, struct refusal *refusal)
{
    const char *text = fields_text(fields, name, refusal);

    return text != NULL && *text != '\0' ? text : NULL;
}

static void
read_range(const struct fields *fields, int64_t *from_us, int64_t *to_us, struct refusal *refusal)
{
    *from_us = fields_time(fields, "from", refusal);
    *to_us = fields_time(fields, "to", refusal);
    if (*to_us == 0)
        *to_us = INT64_MAX;
}

static void
filter_parse(const struct fields *fields, struct charge_filter *out, struct refusal *refusal)
{
    static const char *const names[] = { "account", "key",   "route",  "model", "from",
                                         "to",      "limit", "cursor", NULL };

    out->account = read_filter(fields, "account", refusal);
    out->key_id = read_filter(fields, "key", refusal);
    out->route = read_filter(fields, "route", refusal);
    out->model = read_filter(fields, "model", refusal);
    read_range(fields, &out->from_us, &out->to_us, refusal);
    out->before_id = read_cursor(fields, refusal);
    out->limit =
        (size_t)fields_number(fields, "limit", 1, PAGE_LIMIT_MAX, PAGE_LIMIT_DEFAULT, refusal);
    fields_only(fields, names, refusal);
    if (out->account != NULL && !account_name_valid(out->account))
        refusal_set(refusal, 404, "unknown_account", "There is no such account.");
}

static void
list_answer(struct call *call, struct store *store, struct charge_filter *filter,
            struct refusal *refusal)
{
    struct charge_page page = { .call = call, .limit = filter->limit };
    char parent[ACCOUNT_NAME_SIZE];
    struct error err;

    /* An empty list must not hide a misspelt name. */
    if (filter->account != NULL)
        call_load_account(call, store, filter->account, parent, refusal);
    if (refused(refusal))
        return;
    filter->limit++; /* so that a next page is known */
    answer_add_text(call->answer, "{\"charges\":[");
    if (store_charges(store, filter, show_charge, &page, &err) != STATUS_OK) {
        call_listing_failed(call, &err, refusal);
        return;
    }
    answer_add_text(call->answer, "],\"next_cursor\":");
    answer_add_text(call->answer, page.more ? "\"" : "null");
    if (page.more) {
        answer_add_text(call->answer, page.cursor);
        answer_add_text(call->answer, "\"");
    }
    answer_add_text(call->answer, "}");
    call->answer->http_status = 200;
}

void
charges_list(struct call *call)
{
    struct charge_filter filter = { .account = NULL };
    struct refusal refusal = { .http_status = 0 };
    struct fields fields;
    struct store *store;

    call_query(call, &fields, &refusal);
    filter_parse(&fields, &filter, &refusal);
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL)
        list_answer(call, store, &filter, &refusal);
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}

/* ---- refunds -------------------------------------------------------------------------------- */

/* The refund is a charge of its own, with what was asked and the budgets beside it. Runs inside the
 * store's transaction. */
static void
write_refund(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    account_json_add_refund(out, &result->charge, result->ledger);
}

static int64_t
read_refund_amount(const struct fields *fields, struct refusal *refusal)
{
    int64_t amount_nanos = fields_money(fields, "amount_usd", refusal);

    if (amount_nanos == 0)
        refusal_set(refusal, 400, "invalid_field", "amount_usd: has to be more than 0");
    return amount_nanos;
}

void
charges_refund(struct call *call)
{
    static const char *const names[] = { "amount_usd", "note", "idempotency_key", NULL };
    const struct reply_writer writer = { .write = write_refund };
    struct refusal refusal = { .http_status = 0 };
    struct idempotency idempotency;
    struct fingerprint fingerprint;
    struct call_actor actor;
    struct result result;
    struct fields fields;
    struct store *store;
    struct error err;
    struct buf reply;
    const char *charge_id;
    int64_t amount_nanos;

    call_fields(call, &fields, &refusal);
    charge_id = call_id(call, "unknown_charge", &refusal);
    amount_nanos = read_refund_amount(&fields, &refusal);
    call_actor_read(call, &fields, &actor, &refusal);
    fields_only(&fields, names, &refusal);
    call_idempotency(call, &fields, &idempotency, &refusal);
    fingerprint_init(&fingerprint, "POST /v1/charges/refund");
    fingerprint_add(&fingerprint, "charge_id", charge_id);
    fingerprint_add_int(&fingerprint, "amount_nanos", amount_nanos);
    fingerprint_add(&fingerprint, "note", actor.note);
    fingerprint_take(&fingerprint, idempotency.fingerprint);
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL) {
        buf_init(&reply, call->tracker->json, REPLY_SIZE);
        if (store_refund(store, charge_id, amount_nanos, call->actor, actor.actor.note,
                         &idempotency, &writer, call->now_us, &result, &reply, &err) != STATUS_OK)
            call_store_failed(call, &err, &refusal);
        else
            call_outcome(call, &result, &refusal);
    }
    if (store != NULL && !refused(&refusal))
        call_reply(call, &result, &reply);
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}

/* ---- report --------------------------------------------------------------------------------- */

static const char *const report_names[] = { [REPORT_ACCOUNT] = "account",
                                            [REPORT_KEY] = "key",
                                            [REPORT_ROUTE] = "route",
                                            [REPORT_MODEL] = "model",
                                            [REPORT_DAY] = "day" };

struct report_page {
    struct call *call;
    const char *by;
    size_t rows;
    int64_t spent_nanos, charge_count;
    bool overflow;
};

static bool
show_row(void *context, const struct report_row *row)
{
    struct report_page *page = context;
    struct buf text;

    buf_init(&text, page->call->tracker->json, sizeof(page->call->tracker->json));
    if (page->rows++ > 0)
        buf_add_char(&text, ',');
    buf_add_format(&text, "{\"%s\":", page->by);
    account_json_add_text(&text, row->name);
    buf_add(&text, ",\"spent_usd\":");
    account_json_add_signed_money(&text, row->spent_nanos);
    buf_add(&text, ",\"charges\":");
    buf_add_int(&text, row->charge_count);
    buf_add_char(&text, '}');
    answer_add_buf(page->call->answer, &text);
    page->charge_count += row->charge_count;
    page->overflow = page->overflow || __builtin_add_overflow(page->spent_nanos, row->spent_nanos,
                                                              &page->spent_nanos);
    return true;
}

static enum report_by
read_by(const struct fields *fields, struct refusal *refusal)
{
    const char *text = fields_text(fields, "by", refusal);

    if (text == NULL)
        refusal_set(refusal, 400, "missing_field",
                    "by: is needed: account, key, route, model or day");
    for (size_t i = 0; text != NULL && i < sizeof(report_names) / sizeof(*report_names); i++) {
        if (strcmp(text, report_names[i]) == 0)
            return (enum report_by)i;
    }
    refusal_set(refusal, 400, "invalid_field", "by: has to be account, key, route, model or day");
    return REPORT_ACCOUNT;
}

static void
report_answer(struct call *call, struct store *store, enum report_by by, int64_t from_us,
              int64_t to_us, struct refusal *refusal)
{
    struct report_page page = { .call = call, .by = report_names[by] };
    char storage[512];
    struct error err;
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    buf_add_format(&text, "{\"by\":\"%s\",\"from\":", page.by);
    buf_add_json_time(&text, from_us);
    buf_add(&text, ",\"to\":");
    buf_add_json_time(&text, to_us);
    buf_add(&text, ",\"rows\":[");
    answer_add_buf(call->answer, &text);
    if (store_report(store, by, from_us, to_us, show_row, &page, &err) != STATUS_OK) {
        call_listing_failed(call, &err, refusal);
        return;
    }
    buf_clear(&text);
    buf_add(&text, "],\"charges\":");
    buf_add_int(&text, page.charge_count);
    buf_add(&text, ",\"spent_usd\":");
    if (page.overflow)
        buf_add(&text, "null");
    else
        account_json_add_signed_money(&text, page.spent_nanos);
    buf_add_char(&text, '}');
    answer_add_buf(call->answer, &text);
    call->answer->http_status = 200;
}

void
charges_report(struct call *call)
{
    static const char *const names[] = { "by", "from", "to", NULL };
    struct refusal refusal = { .http_status = 0 };
    int64_t from_us, to_us;
    enum report_by by;
    struct fields fields;
    struct store *store;

    call_query(call, &fields, &refusal);
    by = read_by(&fields, &refusal);
    read_range(&fields, &from_us, &to_us, &refusal);
    fields_only(&fields, names, &refusal);
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL)
        report_answer(call, store, by, from_us, to_us, &refusal);
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}
