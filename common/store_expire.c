/* SPDX-License-Identifier: MIT */
/*
 * Holds whose time is over: journalled once, by whoever comes first (store_internal.h says who
 * does).
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

/* Journal one on the lines that are loaded; lines and accounts are the caller's to write. */
static enum status
expire_hold(struct store *s, struct hold *hold, int64_t now_us, struct error *err)
{
    struct charge_row charge;
    enum status status = ledger_expire(&s->ledger, hold, s->charge_on_expiry, now_us, err);

    if (status == STATUS_OK && hold->expiry_charged_nanos > 0) {
        store_charge_of_hold(s, &charge, hold, CHARGE_SPEND, hold->expiry_charged_nanos, now_us);
        (void)!text_copy(charge.charge.note, sizeof(charge.charge.note), "hold expired");
        status = s->ops->charge_write(s->backend, &charge, err);
        hold->expiry_charge_id = charge.charge.id;
    }
    return status == STATUS_OK ? s->ops->hold_write(s->backend, hold, err) : status;
}

/* The lines of a hold's placement, which the chain of `s->load` has. */
static enum status
prepare_for(struct store *s, const struct hold *hold, int64_t now_us, struct error *err)
{
    return lines_prepare(s, &s->ledger, chain_plan_named(s, &s->ledger, hold->plan),
                         hold->placed_us, now_us, err);
}

static bool
same_lines(const struct ledger *ledger, const struct hold *before, const struct hold *hold)
{
    if (strcmp(before->plan, hold->plan) != 0)
        return false;
    for (size_t i = 0; i < ledger->line_count; i++) {
        const struct period *period = &ledger->lines[i].period;

        if (hold->placed_us < period->start_us || hold->placed_us >= period->end_us)
            return false;
    }
    return true;
}

static enum status
load_lines_of(struct store *s, const struct hold *hold, int64_t now_us, struct error *err)
{
    struct store_load *load = &s->load;
    enum status status;

    memset(load, 0, sizeof(*load));
    load->ledger = &s->ledger;
    load->chain_id = hold->chain_id;
    load->at_us = hold->placed_us;
    load->now_us = now_us;
    status = s->ops->load(s->backend, load, err);
    return status == STATUS_OK ? prepare_for(s, hold, now_us, err) : status;
}

/* Journal `hold` and the `count` others of its chain that were loaded with it. Lines and accounts
 * are written once for all that stand in the same periods; new lines before an event names them. */
static enum status
expire_loaded(struct store *s, struct hold *hold, size_t count, int64_t now_us, struct error *err)
{
    struct ledger *ledger = &s->ledger;
    struct hold *last = hold;
    enum status status = prepare_for(s, hold, now_us, err);

    for (size_t i = 0; i <= count && status == STATUS_OK; i++) {
        struct hold *next = i == 0 ? hold : &s->expired[i - 1];

        if (!same_lines(ledger, last, next)) {
            status = lines_write(s, ledger, 0, now_us, err);
            if (status == STATUS_OK)
                status = load_lines_of(s, next, now_us, err);
        }
        if (status == STATUS_OK)
            status = expire_hold(s, next, now_us, err);
        if (status == STATUS_OK && lines_any_unborn(ledger))
            status = lines_write(s, ledger, next->id, now_us, err);
        else if (status == STATUS_OK)
            status = lines_write_events(s, ledger, next->id, now_us, err);
        ledger->event_count = 0;
        last = next;
    }
    return status == STATUS_OK ? lines_write(s, ledger, 0, now_us, err) : status;
}

/* What one transaction is about: holds that stand for their chains, and what it has done. */
struct piece {
    size_t count, done;
    struct hold which[EXPIRE_CHAINS];
    int64_t ids[EXPIRE_PIECE];
};

static bool
is_done(const struct piece *piece, int64_t id)
{
    for (size_t i = 0; i < piece->done; i++) {
        if (piece->ids[i] == id)
            return true;
    }
    return false;
}

/* Journal one and what else of its chain waits. One that was settled or renewed meanwhile is left
 * alone, and the others with it: they have somebody who looks after them. */
static enum status
expire_chain_of(struct store *s, const struct hold *which, struct piece *piece, int64_t now_us,
                struct error *err)
{
    struct store_load *load = &s->load;
    struct hold hold;
    enum status status;

    memset(load, 0, sizeof(*load));
    s->ledger.rate_count = 0;
    load->ledger = &s->ledger;
    load->hold_id = which->id;
    load->hold_nonce = which->nonce;
    load->now_us = now_us;
    load->will_charge = s->charge_on_expiry;
    load->expired = s->expired;
    load->expired_count = EXPIRE_PIECE - piece->done - 1;
    status = s->ops->load(s->backend, load, err);
    if (status != STATUS_OK || !store_hold_is_late(s, now_us))
        return status;
    hold = load->hold;
    piece->ids[piece->done++] = hold.id;
    for (size_t i = 0; i < load->expired_count; i++)
        piece->ids[piece->done++] = s->expired[i].id;
    return expire_loaded(s, &hold, load->expired_count, now_us, err);
}

static enum status
expire_chains(struct store *s, struct piece *piece, int64_t now_us, int64_t *from_us,
              struct error *err)
{
    enum status status = STATUS_OK;

    if (piece->count > 1)
        status = s->ops->lock_chains(s->backend, piece->which, piece->count, err);
    for (size_t i = 0; i < piece->count && piece->done < EXPIRE_PIECE && status == STATUS_OK; i++) {
        *from_us = piece->which[i].expires_us;
        if (!is_done(piece, piece->which[i].id))
            status = expire_chain_of(s, &piece->which[i], piece, now_us, err);
    }
    return status;
}

/* One transaction: `first`, if that is not NULL, and what there is of the scope from `*from_us` on.
 */
static enum status
expire_piece(struct store *s, const struct expiry_scope *scope, const struct hold *first,
             int64_t now_us, int64_t *from_us, bool *found, struct error *err)
{
    struct piece piece = { .count = first != NULL };
    size_t others = EXPIRE_CHAINS - piece.count;
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);

    *found = false;
    if (status != STATUS_OK)
        return status;
    if (first != NULL)
        piece.which[0] = *first;
    status = s->ops->expired(s->backend, scope, *from_us, now_us, &piece.which[piece.count],
                             &others, err);
    if (status == STATUS_OK)
        piece.count += others;
    *found = piece.count > 0;
    if (status == STATUS_OK && *found)
        status = expire_chains(s, &piece, now_us, from_us, err);
    if (status == STATUS_OK)
        status = s->ops->commit(s->backend, false, err);
    return status == STATUS_OK ? status : store_give_up(s, status);
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

/* By the accounts and not by the chain, which may have been made in a transaction that was rolled
 * back. */
static struct expiry_scope
scope_of(const struct ledger *ledger)
{
    struct expiry_scope scope = { .account_count = 0 };

    for (size_t i = 0; i < ledger->account_count; i++) {
        if (account_kind_of(ledger->accounts[i].name) != ACCOUNT_ALL || has_lines(ledger, i))
            scope.accounts[scope.account_count++] = ledger->accounts[i].id;
    }
    return scope;
}

bool
store_hold_is_late(const struct store *s, int64_t now_us)
{
    const struct hold *hold = &s->load.hold;

    return s->load.hold_found && hold->state == HOLD_HELD && hold->expires_us <= now_us;
}

enum status
store_make_room(struct store *s, struct room *room, int64_t now_us, struct error *err)
{
    struct expiry_scope scope = scope_of(&s->ledger);
    const struct hold hold = s->load.hold;
    bool late = store_hold_is_late(s, now_us), found = false;
    int64_t from_us = room->from_us;
    enum status status = STATUS_OK;

    scope.unless_busy = !room->looked;
    if (scope.account_count > 0)
        status = expire_piece(s, &scope, late ? &hold : NULL, now_us, &from_us, &found, err);
    if (status == STATUS_OK && !late)
        room->from_us = from_us;
    room->spent = room->looked && !found;
    room->looked = true;
    return status;
}

bool
store_lacks_room(const struct verdict *verdict)
{
    return !verdict->allow &&
           (verdict->reason == REASON_BUDGET || verdict->reason == REASON_CONCURRENCY);
}

enum status
store_expire_all(struct store *s, int64_t account_id, int64_t now_us, struct error *err)
{
    const struct expiry_scope scope = { .account_count = account_id != 0,
                                        .accounts = { account_id } };
    int64_t from_us = 0;
    int tries = 0;
    bool found;
    enum status status;

    do
        status = expire_piece(s, &scope, NULL, now_us, &from_us, &found, err);
    while ((status == STATUS_OK && found) || store_once_more(s, status, true, &tries));
    return status;
}

enum status
store_expired_in_ledger(struct store *s, int64_t now_us, bool *found, struct error *err)
{
    const struct expiry_scope scope = scope_of(&s->ledger);
    struct hold hold;
    size_t count = 1;
    enum status status = STATUS_OK;

    if (scope.account_count > 0)
        status = s->ops->expired(s->backend, &scope, 0, now_us, &hold, &count, err);
    *found = status == STATUS_OK && scope.account_count > 0 && count > 0;
    return status;
}

void
store_note_expiry(struct store *s, int64_t now_us)
{
    s->expiry_waits = s->load.expiry_waits;
    s->expiry_now_us = now_us;
}

void
store_expire_elsewhere(struct store *s)
{
    const struct expiry_scope scope = { .unless_busy = true };
    bool more = s->expiry_waits;
    int64_t from_us = 0;
    struct error err;
    enum status status = STATUS_OK;

    s->expiry_waits = false;
    for (int i = 0; i < EXPIRE_AFTER && more && status == STATUS_OK; i++)
        status = expire_piece(s, &scope, NULL, s->expiry_now_us, &from_us, &more, &err);
    /* Who was only in the way is not told of: the next answer comes by again. */
    if (status != STATUS_OK && status != STATUS_BUSY &&
        s->ops->failure(s->backend) != STORE_TRY_AGAIN)
        log_failure("expire", &err, NULL);
}
