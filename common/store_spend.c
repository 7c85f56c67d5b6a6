/* SPDX-License-Identifier: MIT */
/*
 * Spend posts, batches of them, and messages that are noted once.
 */

#include <string.h>

#include "common/crypto.h"
#include "common/store_internal.h"

#include "common/banned.h"

/* Copy what the client told into the row. A text that is too long was not checked by the caller. */
static enum status
describe_charge(const struct spend *spend, struct charge *charge, struct error *err)
{
    if (!change_copy_text(charge->model, sizeof(charge->model), spend->model) ||
        !change_copy_text(charge->tags, sizeof(charge->tags), spend->tags) ||
        !change_copy_text(charge->token, sizeof(charge->token), spend->token) ||
        !change_copy_text(charge->metadata, sizeof(charge->metadata), spend->metadata) ||
        !change_copy_text(charge->usage, sizeof(charge->usage), spend->usage) ||
        (spend->route != NULL && !text_copy(charge->route, sizeof(charge->route), spend->route)))
        return error_set(err, STATUS_INVALID, "store: a text of the charge is too long");
    charge->occurred_us = spend->occurred_us;
    charge->price_id = spend->price_id;
    return STATUS_OK;
}

/* The names of the accounts in the chain, for the answer. */
static void
name_charge(const struct ledger *ledger, struct charge *charge)
{
    int payer = ledger_payer(ledger);

    if (payer >= 0)
        (void)!text_copy(charge->account, sizeof(charge->account), ledger->accounts[payer].name);
    if (ledger->key >= 0)
        (void)!text_copy(charge->key_id, sizeof(charge->key_id),
                         ledger->accounts[ledger->key].name + strlen("key:"));
}

/* Write the charge and whatever the ledger changed, and commit durably. */
static enum status
spend_finish(struct store *s, const struct change *c, struct charge_row *row, struct hold *hold,
             enum status status, struct error *err)
{
    const char *reply_key = row->charge.hold_id[0] != '\0' ? row->charge.hold_id : NULL;

    if (status != STATUS_OK)
        return status;
    name_charge(&s->ledger, &row->charge);
    status = s->ops->charge_write(s->backend, row, err);
    if (status == STATUS_OK && hold != NULL) {
        hold->charge_id = row->charge.id;
        status = s->ops->hold_write(s->backend, hold, err);
        c->out->hold = *hold;
    }
    if (status == STATUS_OK)
        status = lines_write(s, &s->ledger, hold != NULL ? hold->id : 0, c->now_us, err);
    if (status != STATUS_OK)
        return status;
    c->out->charge = row->charge;
    return change_commit(s, c, reply_key, true, err);
}

/* on_expiry = "charge" and a late post: the expiry's charge is taken back by a row of its own. */
static enum status
correct_expiry(struct store *s, const struct change *c, const struct hold *hold, struct error *err)
{
    struct charge_row row;

    if (hold->expiry_charged_nanos == 0)
        return STATUS_OK;
    store_charge_of_hold(s, &row, hold, CHARGE_REFUND, hold->expiry_charged_nanos, c->now_us);
    row.charge.refund_of = hold->expiry_charge_id;
    (void)!text_copy(row.charge.note, sizeof(row.charge.note), "corrected by the late post");
    return s->ops->charge_write(s->backend, &row, err);
}

/* Post the cost of a hold that is held, or that expired without a post. */
static enum status
spend_settle(struct store *s, const struct spend *spend, const struct change *c, struct error *err)
{
    struct hold hold = s->load.hold;
    struct charge_row row;
    enum status status;

    store_charge_of_hold(s, &row, &hold, CHARGE_SPEND, spend->cost_nanos, c->now_us);
    c->out->hold_word = hold.state == HOLD_EXPIRED ? "expired" : "settled";
    status = describe_charge(spend, &row.charge, err);
    if (status == STATUS_OK)
        status = lines_prepare(s, &s->ledger, chain_plan_named(s, &s->ledger, hold.plan),
                               hold.placed_us, c->now_us, err);
    if (status == STATUS_OK)
        status = correct_expiry(s, c, &hold, err);
    if (status == STATUS_OK)
        status =
            ledger_settle(&s->ledger, &hold, spend->cost_nanos, c->now_us, &c->out->effect, err);
    return spend_finish(s, c, &row, &hold, status, err);
}

/* The answer to a post that was recorded before, from its stored bytes, or made again from the rows
 * when they were pruned. */
static enum status
spend_replay(struct store *s, const struct change *c, const char *hold_text,
             const struct charge_row *row, struct error *err)
{
    enum status status =
        s->ops->idempotency_find(s->backend, HOLD_SCOPE, hold_text, &s->idempotency, err);

    if (status != STATUS_OK)
        return status;
    if (!s->idempotency.found && c->writer != NULL && c->reply != NULL) {
        status = lines_prepare(s, &s->ledger, chain_plan_last_seen(s, &s->ledger),
                               row->charge.at_us, c->now_us, err);
        if (status != STATUS_OK)
            return status;
        c->out->charge = row->charge;
        c->writer->write(c->writer->context, c->out, c->reply);
        if (buf_failed(c->reply))
            return error_set(err, STATUS_OVERFLOW, "store: the answer is too long");
    }
    return change_replay(s, c, err);
}

/* A post for a hold that had one already: the same cost is a repeat. */
static enum status
spend_again(struct store *s, const struct spend *spend, const struct change *c, struct error *err)
{
    const struct hold *hold = &s->load.hold;
    struct charge_row row;

    c->out->hold = *hold;
    if (hold->charged_nanos != spend->cost_nanos)
        return change_refuse(s, c, OUTCOME_HOLD_SETTLED);
    c->out->hold_word = hold->state == HOLD_EXPIRED ? "expired" : "settled";
    store_charge_of_hold(s, &row, hold, CHARGE_SPEND, hold->charged_nanos, hold->placed_us);
    row.charge.id = hold->charge_id;
    name_charge(&s->ledger, &row.charge);
    return spend_replay(s, c, row.charge.hold_id, &row, err);
}

static bool
visible_ascii(const char *text, size_t max)
{
    size_t length = strlen(text);

    for (size_t i = 0; i < length; i++) {
        if (text[i] < '!' || text[i] > '~')
            return false;
    }
    return length > 0 && length <= max;
}

/* What was spent in a period that is over is no news to anybody. */
static void
drop_old_events(struct ledger *ledger, int64_t now_us)
{
    size_t kept = 0;

    for (size_t i = 0; i < ledger->event_count; i++) {
        int line = ledger->events[i].line;

        if (line < 0 || ledger->lines[line].period.end_us > now_us)
            ledger->events[kept++] = ledger->events[i];
    }
    ledger->event_count = kept;
}

/* A post without a hold, or for one that the store does not know (a crash may have lost it, and the
 * money must not be lost): recorded once per hold id. */
static enum status
spend_without_hold(struct store *s, const struct spend *spend, struct change *c, struct error *err)
{
    bool unknown_hold = spend->hold_id != NULL, known, found = false;
    int64_t at_us = spend->at_us != 0 ? spend->at_us : c->now_us;
    struct chain_place place;
    struct charge_row row;
    enum status status = STATUS_OK;

    memset(&row, 0, sizeof(row));
    if (unknown_hold &&
        (spend->subject == NULL || !visible_ascii(spend->hold_id, HOLD_TEXT_SIZE - 1)))
        return change_refuse(s, c, OUTCOME_UNKNOWN_HOLD);
    if (unknown_hold) {
        c->out->hold_word = "unknown";
        status = s->ops->unknown_hold(s->backend, spend->hold_id, &found, &row, err);
    }
    if (status == STATUS_OK && found && row.charge.amount_nanos != spend->cost_nanos)
        return change_refuse(s, c, OUTCOME_HOLD_SETTLED);
    if (status == STATUS_OK)
        status = chain_of_post(s, spend->subject, spend->key_id, unknown_hold, c->now_us, &place,
                               &known, err);
    if (status == STATUS_OK && !known)
        return change_refuse(s, c, OUTCOME_UNKNOWN_ACCOUNT);
    if (status == STATUS_OK)
        status = chain_load(s, &place, found ? row.charge.at_us : at_us, c->now_us, err);
    if (status != STATUS_OK)
        return status;
    if (change_looks(s, c))
        return change_make_room(s, c, err);
    if (found)
        return spend_replay(s, c, spend->hold_id, &row, err);
    row.chain_id = place.id;
    row.charge.nonce = store_new_nonce(s);
    row.charge.amount_nanos = spend->cost_nanos;
    row.charge.at_us = at_us;
    row.charge.created_us = c->now_us;
    if (unknown_hold)
        (void)!text_copy(row.charge.hold_id, sizeof(row.charge.hold_id), spend->hold_id);
    status = describe_charge(spend, &row.charge, err);
    if (status == STATUS_OK)
        status = lines_prepare(s, &s->ledger, chain_plan_last_seen(s, &s->ledger), at_us, c->now_us,
                               err);
    if (status == STATUS_OK)
        status = ledger_charge(&s->ledger, spend->cost_nanos, c->now_us, &c->out->effect, err);
    if (at_us < c->now_us)
        drop_old_events(&s->ledger, c->now_us);
    return spend_finish(s, c, &row, NULL, status, err);
}

/* Which case is it? A hold that had its post decides by itself; its key, by then, is only a repeat.
 */
static enum status
spend_decide(struct store *s, const struct spend *spend, struct change *c, struct error *err)
{
    const struct hold *hold = &s->load.hold;
    bool done;
    enum status status;

    if (s->load.hold_found && hold->charge_id != 0)
        return spend_again(s, spend, c, err);
    status = change_known_key(s, c, &done, err);
    if (status != STATUS_OK || done)
        return status;
    if (s->load.hold_found && hold->state == HOLD_VOIDED) {
        c->out->hold = *hold;
        return change_refuse(s, c, OUTCOME_HOLD_VOIDED);
    }
    if (s->load.hold_found)
        return spend_settle(s, spend, c, err);
    return spend_without_hold(s, spend, c, err);
}

enum status
store_spend(struct store *s, const struct spend *spend, const struct idempotency *idempotency,
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
        if (spend->hold_id != NULL &&
            !public_id_parse("hld_", spend->hold_id, &s->load.hold_id, &s->load.hold_nonce))
            s->load.hold_id = 0;
        status = change_begin(s, &c, err);
        if (status == STATUS_OK)
            status = spend_decide(s, spend, &c, err);
        status = change_end(s, &c, status);
    } while (change_once_more(s, &c, status, spend->hold_id != NULL || change_has_key(idempotency),
                              &tries));
    return status;
}

enum status
store_batch_begin(struct store *s, struct error *err)
{
    return s->ops->batch_begin(s->backend, err);
}

enum status
store_batch_end(struct store *s, bool keep, struct error *err)
{
    return s->ops->batch_end(s->backend, keep, err);
}

enum status
store_message_note(struct store *s, const char *scope, const char *message_id,
                   const uint8_t fingerprint[SHA256_BYTES], int64_t now_us, bool *seen,
                   struct error *err)
{
    static const char reply[] = "{}";
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);

    *seen = false;
    if (status != STATUS_OK)
        return status;
    status = s->ops->idempotency_find(s->backend, scope, message_id, &s->idempotency, err);
    if (status == STATUS_OK && s->idempotency.found) {
        s->ops->rollback(s->backend);
        status = s->ops->settle_disk(s->backend, err);
        *seen = status == STATUS_OK;
        return status;
    }
    if (status == STATUS_OK)
        status = s->ops->idempotency_write(s->backend, scope, message_id, fingerprint, reply,
                                           sizeof(reply) - 1, now_us, err);
    if (status == STATUS_OK)
        status = s->ops->commit(s->backend, true, err);
    return status == STATUS_OK ? STATUS_OK : store_give_up(s, status);
}
