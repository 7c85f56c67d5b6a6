/* SPDX-License-Identifier: MIT */
/*
 * Holds outside a request: placed, extended, voided.
 */

#include "common/store_internal.h"

#include "common/banned.h"

/* Refused, but never for the want of room that expired holds keep. `waits`: there are some. */
static enum status
change_denied(struct store *s, struct change *c, const struct verdict *verdict, bool waits,
              struct error *err)
{
    if (waits && !c->room.spent && store_lacks_room(verdict))
        return change_make_room(s, c, err);
    c->out->verdict = *verdict;
    return change_refuse(s, c, OUTCOME_DENIED);
}

static enum status
place_hold(struct store *s, const struct hold_request *request, struct change *c, struct error *err)
{
    struct admission_event event = {
        .verification = INT64_MAX, /* a tracker token asks, no credential */
        .hold_due = true,
        .hold_nanos = request->amount_nanos,
        .hold_ttl_us = request->ttl_us > 0 ? request->ttl_us : s->hold_ttl_us,
    };
    struct chain_place place;
    struct verdict verdict;
    bool known;
    enum status status =
        chain_of_post(s, request->subject, request->key_id, false, c->now_us, &place, &known, err);

    if (status == STATUS_OK && !known)
        return change_refuse(s, c, OUTCOME_UNKNOWN_ACCOUNT);
    if (status == STATUS_OK)
        status = chain_load(s, &place, c->now_us, c->now_us, err);
    if (status != STATUS_OK)
        return status;
    if (change_looks(s, c))
        return change_make_room(s, c, err);
    event.plan = chain_plan_last_seen(s, &s->ledger);
    if (event.plan == NULL && s->ledger.accounts[ledger_payer(&s->ledger)].plan[0] != '\0')
        return change_refuse(s, c, OUTCOME_NO_PLAN);
    status = lines_prepare(s, &s->ledger, event.plan, c->now_us, c->now_us, err);
    if (status != STATUS_OK)
        return status;
    ledger_admit(&s->ledger, &event, c->now_us, &verdict);
    if (!verdict.allow)
        return change_denied(s, c, &verdict, s->load.expiry_waits, err);
    verdict.hold.nonce = store_new_nonce(s);
    verdict.hold.chain_id = place.id;
    if (!change_copy_text(verdict.hold.route, sizeof(verdict.hold.route), request->route))
        return error_set(err, STATUS_INVALID, "store: the name of a route is too long");
    status = s->ops->hold_write(s->backend, &verdict.hold, err);
    if (status == STATUS_OK)
        status = lines_write(s, &s->ledger, verdict.hold.id, c->now_us, err);
    c->out->verdict = verdict;
    c->out->hold = verdict.hold;
    return status == STATUS_OK ? change_commit(s, c, NULL, false, err) : status;
}

enum status
store_hold_place(struct store *s, const struct hold_request *request,
                 const struct idempotency *idempotency, const struct reply_writer *writer,
                 int64_t now_us, struct result *out, struct buf *reply, struct error *err)
{
    struct change c = { 0 };
    int tries = 0;
    bool done;
    enum status status;

    do {
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        change_load(s, &c);
        s->load.will_hold = true;
        done = false;
        status = change_begin(s, &c, err);
        if (status == STATUS_OK)
            status = change_known_key(s, &c, &done, err);
        if (status == STATUS_OK && !done)
            status = place_hold(s, request, &c, err);
        status = change_end(s, &c, status);
    } while (change_once_more(s, &c, status, change_has_key(idempotency), &tries));
    return status;
}

static enum status
write_hold_change(struct store *s, const struct change *c, struct hold *hold, bool durable,
                  struct error *err)
{
    enum status status = s->ops->hold_write(s->backend, hold, err);

    if (status == STATUS_OK)
        status = lines_write(s, &s->ledger, hold->id, c->now_us, err);
    c->out->hold = *hold;
    return status == STATUS_OK ? change_commit(s, c, NULL, durable, err) : status;
}

static enum status
extend_hold(struct store *s, int64_t add_nanos, struct change *c, struct error *err)
{
    struct hold hold = s->load.hold;
    bool waits = s->load.expiry_waits;
    const struct plan *plan;
    int64_t at_us = hold_extend_at(&hold, c->now_us);
    struct store_load *load = &s->load;
    struct verdict verdict;
    enum status status = STATUS_OK;

    c->out->hold = hold;
    if (hold.state == HOLD_VOIDED)
        return change_refuse(s, c, OUTCOME_HOLD_VOIDED);
    if (hold.state == HOLD_SETTLED || hold.charge_id != 0 || hold.expiry_charge_id != 0)
        return change_refuse(s, c, OUTCOME_HOLD_SETTLED);
    if (at_us != hold.placed_us) { /* an admission again, in the periods of now */
        load->at_us = at_us;
        load->want_expiry = false;
        load->idempotency = NULL;
        status = s->ops->load(s->backend, load, err);
    }
    if (status != STATUS_OK)
        return status;
    plan = chain_plan_named(s, &s->ledger, hold.plan);
    if (plan == NULL && hold.plan[0] != '\0' && (add_nanos > 0 || hold.state != HOLD_HELD))
        return change_refuse(s, c, OUTCOME_NO_PLAN); /* a heartbeat takes no room */
    status = lines_prepare(s, &s->ledger, plan, at_us, c->now_us, err);
    if (status == STATUS_OK)
        status = ledger_extend(&s->ledger, plan, &hold, add_nanos, c->now_us, &verdict, err);
    if (status != STATUS_OK)
        return status;
    if (!verdict.allow)
        return change_denied(s, c, &verdict, waits, err);
    c->out->verdict = verdict;
    return write_hold_change(s, c, &hold, false, err);
}

/* Who gave a hold back at the command line, and why; on the account that pays. */
static enum status
journal_void(struct store *s, const struct change *c, const struct hold *hold, struct error *err)
{
    int payer = ledger_payer(&s->ledger);
    const struct event_row event = {
        .kind = EVENT_ADMIN,
        .account_id = payer >= 0 ? s->ledger.accounts[payer].id : 0,
        .hold_number = hold->id,
        .created_us = c->now_us,
        .who = edit_text(c->actor->who),
        .text = "void a hold",
        .note = edit_text(c->actor->note),
    };

    return s->ops->event_write(s->backend, &event, err);
}

static enum status
void_hold(struct store *s, const struct change *c, struct error *err)
{
    struct hold hold = s->load.hold;
    enum status status;

    c->out->hold = hold;
    if (hold.state != HOLD_HELD && hold.state != HOLD_VOIDED)
        return change_refuse(s, c, OUTCOME_HOLD_SETTLED);
    status = lines_prepare(s, &s->ledger, chain_plan_named(s, &s->ledger, hold.plan),
                           hold.placed_us, c->now_us, err);
    if (status == STATUS_OK)
        status = ledger_void(&s->ledger, &hold, c->now_us, err);
    if (status == STATUS_OK && c->actor != NULL)
        status = journal_void(s, c, &hold, err);
    /* Durable: with on_expiry = "charge" a void that is lost would be charged. */
    return status == STATUS_OK ? write_hold_change(s, c, &hold, true, err) : status;
}

/* A change of a hold named by its public id. `add_nanos` -1: void it. */
static enum status
change_hold(struct store *s, const char *hold_id, int64_t add_nanos, struct change *c,
            struct error *err)
{
    bool done = false;
    enum status status;

    change_load(s, c);
    if (!public_id_parse("hld_", hold_id, &s->load.hold_id, &s->load.hold_nonce)) {
        c->out->outcome = OUTCOME_UNKNOWN_HOLD;
        return STATUS_OK;
    }
    status = change_begin(s, c, err);
    if (status == STATUS_OK)
        status = change_known_key(s, c, &done, err);
    if (status == STATUS_OK && !done && !s->load.hold_found)
        return change_refuse(s, c, OUTCOME_UNKNOWN_HOLD);
    if (status == STATUS_OK && !done)
        status = add_nanos < 0 ? void_hold(s, c, err) : extend_hold(s, add_nanos, c, err);
    return change_end(s, c, status);
}

enum status
store_hold_extend(struct store *s, const char *hold_id, int64_t add_nanos,
                  const struct idempotency *idempotency, const struct reply_writer *writer,
                  int64_t now_us, struct result *out, struct buf *reply, struct error *err)
{
    struct change c = { 0 };
    int tries = 0;
    enum status status;

    do {
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        if (add_nanos < 0)
            return error_set(err, STATUS_INVALID, "store: a hold is raised by 0 or more");
        status = change_hold(s, hold_id, add_nanos, &c, err);
    } while (
        change_once_more(s, &c, status, add_nanos == 0 || change_has_key(idempotency), &tries));
    return status;
}

enum status
store_hold_void(struct store *s, const char *hold_id, const struct idempotency *idempotency,
                const struct reply_writer *writer, int64_t now_us, struct result *out,
                struct buf *reply, struct error *err)
{
    struct change c = { 0 };
    int tries = 0;
    enum status status;

    do {
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        status = change_hold(s, hold_id, -1, &c, err);
    } while (store_once_more(s, status, true, &tries));
    return status;
}

enum status
store_hold_void_as(struct store *s, const char *hold_id, const struct actor *actor, int64_t now_us,
                   struct result *out, struct error *err)
{
    struct change c = { 0 };
    int tries = 0;
    enum status status;

    do {
        change_init(&c, s, NULL, NULL, now_us, out, NULL);
        c.actor = actor;
        status = change_hold(s, hold_id, -1, &c, err);
    } while (store_once_more(s, status, true, &tries));
    return status;
}
