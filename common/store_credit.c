/* SPDX-License-Identifier: MIT */
/*
 * Refunds and credits.
 */

#include <inttypes.h>

#include "common/store_internal.h"

#include "common/banned.h"

/* The hold of the charge, beside the charge's own periods. */
static enum status
load_refunded_hold(struct store *s, struct error *err)
{
    struct store_load *load = &s->load;

    if (load->charge.hold_number == 0 ||
        !public_id_parse("hld_", load->charge.charge.hold_id, &load->hold_id, &load->hold_nonce))
        return STATUS_OK;
    load->chain_id = load->charge.chain_id;
    load->at_us = load->charge.charge.at_us;
    load->want_expiry = false;
    load->idempotency = NULL;
    return s->ops->load(s->backend, load, err);
}

/* A refund of what an expired hold was charged leaves less for the late post to take back. */
static enum status
refund_of_expiry(struct store *s, const struct charge_row *charge, int64_t amount_nanos,
                 struct error *err)
{
    struct hold *hold = &s->load.hold;

    if (!s->load.hold_found || hold->expiry_charge_id != charge->charge.id || hold->charge_id != 0)
        return STATUS_OK;
    if (!money_sub(hold->expiry_charged_nanos, amount_nanos, &hold->expiry_charged_nanos))
        return error_set(
            err, STATUS_CORRUPT,
            "store: a refund passes what the hold's expiry charged; run `spendgate verify`");
    return s->ops->hold_write(s->backend, hold, err);
}

static enum status
record_refund(struct store *s, int64_t amount_nanos, const char *token, const char *note,
              const struct change *c, struct error *err)
{
    const struct charge_row *of = &s->load.charge;
    struct charge_row row = *of;
    int64_t left = money_sub_floor(of->charge.amount_nanos, s->load.refunded_nanos);
    enum status status;

    if (amount_nanos < 0)
        amount_nanos = left;
    if (amount_nanos > left || left == 0)
        return change_refuse(s, c, OUTCOME_REFUND_EXCEEDS);
    row.charge.id = 0;
    row.charge.nonce = store_new_nonce(s);
    row.charge.kind = CHARGE_REFUND;
    row.charge.amount_nanos = amount_nanos;
    row.charge.created_us = c->now_us;
    row.charge.occurred_us = 0;
    row.charge.refund_of = of->charge.id;
    row.charge.refund_of_nonce = of->charge.nonce;
    row.charge.metadata[0] = '\0';
    row.charge.usage[0] = '\0'; /* the charge's: a refund is no price of it */
    row.charge.price_id = 0;
    if (!change_copy_text(row.charge.token, sizeof(row.charge.token), token) ||
        !change_copy_text(row.charge.note, sizeof(row.charge.note), note))
        return error_set(err, STATUS_INVALID, "store: a text of the refund is too long");
    if (row.hold_number == 0)
        row.charge.hold_id[0] = '\0'; /* an unknown hold's id stands on its one charge only */
    status = lines_prepare(s, &s->ledger, chain_plan_last_seen(s, &s->ledger), of->charge.at_us,
                           c->now_us, err);
    if (status == STATUS_OK)
        status = ledger_refund(&s->ledger, of->charge.amount_nanos, s->load.refunded_nanos,
                               amount_nanos, err);
    if (status == STATUS_OK)
        status = s->ops->charge_write(s->backend, &row, err);
    if (status == STATUS_OK)
        status = refund_of_expiry(s, of, amount_nanos, err);
    if (status == STATUS_OK)
        status = lines_write(s, &s->ledger, row.hold_number, c->now_us, err);
    c->out->charge = row.charge;
    return status == STATUS_OK ? change_commit(s, c, NULL, true, err) : status;
}

static enum status
refund_once(struct store *s, int64_t amount_nanos, const char *token, const char *note,
            struct change *c, struct error *err)
{
    bool done = false;
    enum status status = change_begin(s, c, err);

    if (status == STATUS_OK)
        status = change_known_key(s, c, &done, err);
    if (status == STATUS_OK && !done &&
        (!s->load.charge_found || s->load.charge.charge.kind != CHARGE_SPEND))
        return change_refuse(s, c, OUTCOME_UNKNOWN_CHARGE);
    if (status == STATUS_OK && !done)
        status = load_refunded_hold(s, err);
    if (status == STATUS_OK && !done)
        status = record_refund(s, amount_nanos, token, note, c, err);
    return change_end(s, c, status);
}

enum status
store_refund(struct store *s, const char *charge_id, int64_t amount_nanos, const char *token,
             const char *note, const struct idempotency *idempotency,
             const struct reply_writer *writer, int64_t now_us, struct result *out,
             struct buf *reply, struct error *err)
{
    struct change c = { 0 };
    int tries = 0;
    enum status status;

    do {
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        change_load(s, &c);
        s->load.will_charge = true;
        if (!public_id_parse("chg_", charge_id, &s->load.charge_id, &s->load.charge_nonce)) {
            out->outcome = OUTCOME_UNKNOWN_CHARGE;
            return STATUS_OK;
        }
        status = refund_once(s, amount_nanos, token, note, &c, err);
    } while (store_once_more(s, status, change_has_key(idempotency), &tries));
    return status;
}

/* The lines that a credit raises: those of the period named, or the account's only one that has a
 * limit. */
static size_t
credited_lines(const struct ledger *ledger, enum period_kind period, size_t *first)
{
    size_t count = 0;

    for (size_t i = ledger->line_count; i-- > 0;) {
        if (!ledger->lines[i].limited || (period != 0 && ledger->lines[i].spec.kind != period))
            continue;
        *first = i;
        count++;
    }
    return count;
}

static enum status
credit_line(struct store *s, const struct credit_request *request, struct edit *e,
            struct budget_line *line, struct error *err)
{
    struct credit_row row = {
        .amount_nanos = request->amount_nanos,
        .from_us = request->boost ? e->now_us : line->period.start_us,
        .until_us = request->boost ? request->expires_us : line->period.end_us,
        .created_us = e->now_us,
        .who = edit_text(e->actor->who),
        .note = edit_text(e->actor->note),
    };
    enum status status = STATUS_OK;

    if (request->expires_us > 0 && request->expires_us < row.until_us)
        row.until_us = request->expires_us;
    if (row.until_us <= e->now_us)
        return error_set(err, STATUS_INVALID, "a credit must end in the future");
    if (!money_add(line->credit_nanos, request->amount_nanos, &line->credit_nanos))
        return error_set(err, STATUS_OVERFLOW,
                         "with this the credits of a budget would pass a billion dollars");
    line->has_credits = true;
    status = line_write(s, s->ledger.accounts[0].id, line, err);
    /* A top-up pays off a carried overage later only where the period has a row. */
    if (status == STATUS_OK && !line->period_stored)
        status = s->ops->period_write(s->backend, line, err);
    row.budget_id = line->id;
    if (status == STATUS_OK)
        status = s->ops->credit_write(s->backend, &row, err);
    return status == STATUS_OK ? edit_journal(s, e, line->id, err) : status;
}

static enum status
record_credit(struct store *s, const struct credit_request *request, struct edit *e,
              struct change *c, struct error *err)
{
    struct ledger *ledger = &s->ledger;
    size_t first = 0, count;
    bool found;
    enum status status = edit_load(s, e, false, &found, err);

    if (status != STATUS_OK)
        return status;
    if (!found)
        return change_refuse(s, c, OUTCOME_UNKNOWN_ACCOUNT);
    count = credited_lines(ledger, request->period, &first);
    if (count == 0 || (request->period == 0 && count > 1))
        return change_refuse(s, c, OUTCOME_UNKNOWN_BUDGET);
    buf_add_format(&e->what, "%s %" PRId64 " nanos", request->boost ? "boost" : "credit",
                   request->amount_nanos);
    for (size_t i = first; i < ledger->line_count && status == STATUS_OK; i++) {
        struct budget_line *line = &ledger->lines[i];

        if (line->limited && line->spec.kind == ledger->lines[first].spec.kind)
            status = credit_line(s, request, e, line, err);
    }
    lines_drop_unborn(ledger);
    return status == STATUS_OK ? change_commit(s, c, NULL, true, err) : status;
}

static enum status
credit_once(struct store *s, const struct credit_request *request, struct edit *e, struct change *c,
            struct error *err)
{
    bool done = false;
    enum status status = change_begin(s, c, err);

    if (status == STATUS_OK)
        status = change_known_key(s, c, &done, err);
    if (status == STATUS_OK && !done)
        status = record_credit(s, request, e, c, err);
    return change_end(s, c, status);
}

enum status
store_credit(struct store *s, const struct credit_request *request, const struct actor *actor,
             const struct idempotency *idempotency, const struct reply_writer *writer,
             int64_t now_us, struct result *out, struct buf *reply, struct error *err)
{
    struct change c = { 0 };
    struct edit e;
    int tries = 0;
    enum status status;

    do {
        edit_init(&e, request->account, actor, now_us, out, s);
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        change_load(s, &c);
        if (request->boost && request->expires_us == 0)
            return error_set(err, STATUS_INVALID, "a boost needs an end");
        status = credit_once(s, request, &e, &c, err);
    } while (store_once_more(s, status, change_has_key(idempotency), &tries));
    return status;
}
