/* SPDX-License-Identifier: MIT */
/*
 * Holds whose time is over: journalled by whoever looks first, before its own transaction.
 */

#include <string.h>

#include "common/store_internal.h"

#include "common/banned.h"

void
store_charge_of_hold(struct store *s, struct charge_row *row, const struct hold *hold,
                     enum charge_kind kind, int64_t amount_nanos, int64_t now_us)
{
    memset(row, 0, sizeof(*row));
    row->chain_id = hold->chain_id;
    row->hold_number = hold->id;
    row->charge.nonce = store_new_nonce(s);
    row->charge.kind = kind;
    row->charge.amount_nanos = amount_nanos;
    row->charge.at_us = hold->placed_us;
    row->charge.created_us = now_us;
    public_id_format("hld_", hold->id, hold->nonce, row->charge.hold_id);
    (void)!text_copy(row->charge.route, sizeof(row->charge.route), hold->route);
}

/* Journal one expired hold, inside a write transaction. One that was settled or renewed meanwhile
 * is left alone. */
static enum status
expire_hold(struct store *s, const struct hold *which, int64_t now_us, struct error *err)
{
    struct store_load *load = &s->load;
    struct hold *hold = &load->hold;
    struct charge_row charge;
    enum status status;

    memset(load, 0, sizeof(*load));
    s->ledger.rate_count = 0;
    load->ledger = &s->ledger;
    load->hold_id = which->id;
    load->hold_nonce = which->nonce;
    load->now_us = now_us;
    status = s->ops->load(s->backend, load, err);
    if (status != STATUS_OK || !load->hold_found || hold->state != HOLD_HELD ||
        hold->expires_us > now_us)
        return status;
    status = lines_prepare(s, &s->ledger, policy_plan_named(s->policy, hold->plan), hold->placed_us,
                           now_us, err);
    if (status == STATUS_OK)
        status = ledger_expire(&s->ledger, hold, s->charge_on_expiry, now_us, err);
    if (status == STATUS_OK && hold->expiry_charged_nanos > 0) {
        store_charge_of_hold(s, &charge, hold, CHARGE_SPEND, hold->expiry_charged_nanos, now_us);
        (void)!text_copy(charge.charge.note, sizeof(charge.charge.note), "hold expired");
        status = s->ops->charge_write(s->backend, &charge, err);
        hold->expiry_charge_id = charge.charge.id;
    }
    if (status == STATUS_OK)
        status = s->ops->hold_write(s->backend, hold, err);
    return status == STATUS_OK ? lines_write(s, &s->ledger, hold->id, now_us, err) : status;
}

static enum status
expire_piece(struct store *s, size_t *count, int64_t now_us, struct error *err)
{
    bool together = s->ops->one_transaction_for_all;
    enum status status = s->ops->begin(s->backend, together ? STORE_WRITE : STORE_READ, err);

    if (status != STATUS_OK)
        return status;
    status = s->ops->expired(s->backend, now_us, s->expired, count, err);
    if (status == STATUS_OK && !together)
        status = s->ops->commit(s->backend, false, err);
    for (size_t i = 0; i < *count && status == STATUS_OK; i++) {
        if (!together)
            status = s->ops->begin(s->backend, STORE_WRITE, err);
        if (status == STATUS_OK)
            status = expire_hold(s, &s->expired[i], now_us, err);
        if (status == STATUS_OK && !together)
            status = s->ops->commit(s->backend, false, err);
    }
    if (status != STATUS_OK)
        return store_give_up(s, status);
    return together ? s->ops->commit(s->backend, false, err) : STATUS_OK;
}

enum status
store_expire_holds(struct store *s, int64_t now_us, struct error *err)
{
    size_t done = 0, count;
    enum status status;

    do {
        count = EXPIRE_PIECE;
        status = expire_piece(s, &count, now_us, err);
        done += count;
    } while (status == STATUS_OK && count == EXPIRE_PIECE &&
             (s->ops->expire_max == 0 || done < s->ops->expire_max));
    return status;
}
