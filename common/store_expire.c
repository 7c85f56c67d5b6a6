/* SPDX-License-Identifier: MIT */
/*
 * Holds whose time is over: journalled by whoever looks first, before its own transaction.
 */

#include <string.h>

#include "common/log.h"
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
expire_piece(struct store *s, const struct expiry_scope *scope, size_t *count, bool *more,
             int64_t now_us, struct error *err)
{
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);

    if (status != STATUS_OK)
        return status;
    status = s->ops->expired(s->backend, scope, now_us, s->expired, count, more, err);
    for (size_t i = 0; i < *count && status == STATUS_OK; i++)
        status = expire_hold(s, &s->expired[i], now_us, err);
    if (status == STATUS_OK)
        status = s->ops->commit(s->backend, false, err);
    return status == STATUS_OK ? status : store_give_up(s, status);
}

static enum status
expire_up_to(struct store *s, const struct expiry_scope *scope, size_t max, int64_t now_us,
             struct error *err)
{
    size_t done = 0, count;
    bool more = false;
    enum status status;

    do {
        count = EXPIRE_PIECE;
        status = expire_piece(s, scope, &count, &more, now_us, err);
        done += count;
    } while (status == STATUS_OK && more && (max == 0 || done < max));
    return status;
}

enum status
store_expire_holds(struct store *s, const struct expiry_scope *scope, int64_t now_us,
                   struct error *err)
{
    return expire_up_to(s, scope, s->ops->expire_max, now_us, err);
}

static bool
has_lines(const struct ledger *ledger, size_t account)
{
    for (size_t i = 0; i < ledger->line_count; i++) {
        if (ledger->lines[i].account == (int)account)
            return true;
    }
    return false;
}

/* By the accounts and not by the chain, which may have been made in the transaction that was rolled
 * back. Every hold counts on `all`, but that matters only where it has a budget. */
enum status
store_expire_of_load(struct store *s, int64_t now_us, struct error *err)
{
    const struct ledger *ledger = &s->ledger;
    struct expiry_scope scope = { .account_count = 0 };

    for (size_t i = 0; i < ledger->account_count; i++) {
        if (account_kind_of(ledger->accounts[i].name) != ACCOUNT_ALL || has_lines(ledger, i))
            scope.accounts[scope.account_count++] = ledger->accounts[i].id;
    }
    return store_expire_holds(s, &scope, now_us, err);
}

void
store_note_expiry(struct store *s, int64_t now_us)
{
    if (!s->load.expiry_elsewhere)
        return;
    s->expiry_elsewhere = true;
    s->expiry_now_us = now_us;
}

void
store_expire_elsewhere(struct store *s)
{
    const struct expiry_scope scope = { .unless_busy = true };
    struct error err;

    if (!s->expiry_elsewhere)
        return;
    s->expiry_elsewhere = false;
    if (expire_up_to(s, &scope, EXPIRE_AFTER, s->expiry_now_us, &err) != STATUS_OK)
        log_failure("expire", &err, NULL); /* the next request comes by again */
}
