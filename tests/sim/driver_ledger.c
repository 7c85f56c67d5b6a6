/* SPDX-License-Identifier: MIT */
/*
 * The real ledger over tables in memory: a store without a disk, as small as it can be. It loads
 * the rows that an operation needs, lets ledger.c decide, and writes back what is marked as
 * changed, or forgets all of it (a crash before the commit).
 */
#include "tests/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define DAY (INT64_C(86400) * 1000000)
#define SPECS (PERIOD_NONE + 1)
#define PERIODS_MAX 2048 /* hours in the span, and some */

struct period_row {
    struct period period;
    int64_t spent, held;
    int alerted;
};
struct line_row {
    bool exists, hand_limited, hand_enforced;
    int64_t created_us, hand_limit;
    enum enforce hand_enforce;
    size_t period_count;
    struct period_row periods[PERIODS_MAX];
};
struct charge_entry {
    int credential, number; /* NOBODY: no operation's own (an expiry) */
    int64_t at_us, amount, refunded;
};
struct credit_entry {
    int account;
    enum period_kind kind;
    int64_t amount, from_us, until_us;
};
struct request_entry {
    bool counted;
    int hold; /* operation, NOBODY */
    int64_t until_us;
};

struct tables {
    const struct world *world;
    struct account accounts[ACCOUNTS]; /* id 0: not there */
    struct line_row lines[ACCOUNTS][SPECS];
    struct {
        int64_t tat_ns;
    } rates[ACCOUNTS][3];
    int credential_of[SIM_OPS_MAX]; /* whose hold it is */
    struct hold holds[SIM_OPS_MAX]; /* by operation; id 0: none */
    int live[SIM_OPS_MAX];          /* operations whose holds may be held */
    size_t live_count, charge_count, credit_count;
    struct charge_entry charges[3 * SIM_OPS_MAX];
    int charge_of[SIM_OPS_MAX]; /* by operation: index + 1 */
    struct credit_entry credits[SIM_OPS_MAX];
    struct request_entry requests[SIM_OPS_MAX];
    bool done[SIM_OPS_MAX]; /* idempotency keys */
    int64_t verifications;
    struct ledger ledger;
};

static struct period
period_at(enum period_kind kind, int64_t at_us)
{
    struct period_spec spec = { .kind = kind, .timezone = "UTC", .anchor_day = 1, .week_start = 1 };
    struct period period;

    if (period_containing(&spec, at_us, &period, NULL) != STATUS_OK)
        abort();
    return period;
}

static bool
on_chain(int credential, int account)
{
    int chain[CHAIN_MAX], length = sim_chain(credential, chain);

    for (int i = 0; i < length; i++) {
        if (chain[i] == account)
            return true;
    }
    return false;
}

static struct period_row *
period_find(struct line_row *row, int64_t at_us)
{
    for (size_t i = row->period_count; i-- > 0;) {
        if (row->periods[i].period.start_us <= at_us && at_us < row->periods[i].period.end_us)
            return &row->periods[i];
    }
    return NULL;
}

/* A line that is new to the account starts at what its journal holds. */
static void
journal_sum(const struct tables *t, int account, struct budget_line *line)
{
    for (size_t i = 0; i < t->charge_count; i++) {
        const struct charge_entry *c = &t->charges[i];

        if (c->at_us >= line->period.start_us && c->at_us < line->period.end_us &&
            on_chain(c->credential, account))
            line->spent_nanos += c->amount;
    }
    for (size_t i = 0; i < t->live_count; i++) {
        const struct hold *hold = &t->holds[t->live[i]];

        if (hold->state == HOLD_HELD && hold->placed_us >= line->period.start_us &&
            hold->placed_us < line->period.end_us &&
            on_chain(t->credential_of[t->live[i]], account))
            line->held_nanos += hold->amount_nanos;
    }
}

static int64_t
credit_sum(const struct tables *t, int account, enum period_kind kind, int64_t from_us,
           int64_t until_us)
{
    int64_t sum = 0;

    for (size_t i = 0; i < t->credit_count; i++) {
        const struct credit_entry *c = &t->credits[i];

        if (c->account == account && c->kind == kind && c->from_us < until_us &&
            c->until_us > from_us)
            sum += c->amount;
    }
    return sum;
}

static int
history_order(const void *a, const void *b)
{
    int64_t x = ((const struct period_history *)a)->period.start_us;
    int64_t y = ((const struct period_history *)b)->period.start_us;

    return x < y ? -1 : x > y;
}

static void
carry_fill(struct tables *t, int account, struct budget_line *line)
{
    struct line_row *row = &t->lines[account][line->spec.kind];
    struct period_history history[PERIODS_MAX];
    size_t count = 0, skip;

    for (size_t i = 0; i < row->period_count; i++) {
        const struct period_row *p = &row->periods[i];

        if (p->period.end_us > line->period.start_us)
            continue;
        history[count++] = (struct period_history){
            .period = p->period,
            .spent_nanos = p->spent,
            .credit_nanos =
                credit_sum(t, account, line->spec.kind, p->period.start_us, p->period.end_us),
        };
    }
    qsort(history, count, sizeof(history[0]), history_order);
    skip = count > LEDGER_CARRY_PERIODS_MAX ? count - LEDGER_CARRY_PERIODS_MAX : 0;
    if (ledger_carry(line, history + skip, count - skip, line->period.start_us, &line->carry_nanos,
                     NULL) != STATUS_OK)
        abort();
}

/* Which account of the world the ledger's is. */
static int
account_of(const struct ledger *ledger, int index)
{
    return (int)ledger->accounts[index].first_seen_us; /* lent for it */
}

static void
line_load(struct tables *t, int index, enum period_kind kind, int64_t at_us)
{
    struct ledger *ledger = &t->ledger;
    struct line_row *row = &t->lines[account_of(ledger, index)][kind];
    struct budget_line *line = &ledger->lines[ledger->line_count];
    const struct period_row *p = period_find(row, at_us);

    if (!row->exists)
        return;
    *line = (struct budget_line){ .id = 1, .account = index, .created_us = row->created_us };
    ledger->line_count++;
    line->spec =
        (struct period_spec){ .kind = kind, .timezone = "UTC", .anchor_day = 1, .week_start = 1 };
    line->hand_limited = row->hand_limited;
    line->hand_limit_nanos = row->hand_limit;
    line->hand_enforced = row->hand_enforced;
    line->hand_enforce = row->hand_enforce;
    if (p == NULL)
        return;
    line->period_stored = true;
    line->period = p->period;
    line->spent_nanos = p->spent;
    line->held_nanos = p->held;
    line->alerted = p->alerted;
}

/* Rows of a credential's chain in the periods of `at_us`, with the rules of `plan`. */
static struct ledger *
load(struct tables *t, int credential, int plan, int64_t at_us, int64_t now_us)
{
    struct ledger *ledger = &t->ledger;
    int chain[CHAIN_MAX], length = sim_chain(credential, chain);
    struct error err;

    ledger->account_count = (size_t)length;
    ledger->line_count = ledger->rate_count = ledger->event_count = 0;
    ledger->key = ledger->subject = ledger->organization = -1;
    for (int i = 0; i < length; i++) {
        ledger->accounts[i] = t->accounts[chain[i]];
        ledger->accounts[i].changed = false;
        ledger->accounts[i].first_seen_us = chain[i];
        snprintf(ledger->accounts[i].name, ACCOUNT_NAME_SIZE, "%s", sim_accounts[chain[i]]);
        if (chain[i] == sim_credentials[credential].key)
            ledger->key = i;
        if (chain[i] == sim_credentials[credential].subject)
            ledger->subject = i;
        if (chain[i] == sim_credentials[credential].organization)
            ledger->organization = i;
        for (int k = 0; k < KINDS; k++)
            line_load(t, i, sim_kinds[k], at_us);
    }
    if (ledger_bind(ledger, plan == NOBODY ? NULL : &t->world->plans[plan], now_us, &err) !=
        STATUS_OK)
        abort();
    for (size_t i = 0; i < ledger->line_count; i++) {
        struct budget_line *line = &ledger->lines[i];
        int account = account_of(ledger, line->account);
        int64_t look_us;

        if (!line->period_stored) {
            line->period = period_at(line->spec.kind, at_us);
            journal_sum(t, account, line);
            line->changed = line->spent_nanos != 0 || line->held_nanos != 0;
        }
        look_us = now_us < line->period.end_us ? now_us : line->period.end_us - 1;
        line->credit_nanos = credit_sum(t, account, line->spec.kind, look_us, look_us + 1);
        if (line->limited && line->overage == OVERAGE_CARRY)
            carry_fill(t, account, line);
    }
    return ledger;
}

static void
write_back(struct tables *t)
{
    struct ledger *ledger = &t->ledger;

    for (size_t i = 0; i < ledger->account_count; i++) {
        int which = account_of(ledger, (int)i);
        bool born = ledger->accounts[i].id == 0;

        if (!born && !ledger->accounts[i].changed)
            continue;
        t->accounts[which] = ledger->accounts[i];
        t->accounts[which].id = which + 1;
    }
    for (size_t i = 0; i < ledger->line_count; i++) {
        struct budget_line *line = &ledger->lines[i];
        struct line_row *row = &t->lines[account_of(ledger, line->account)][line->spec.kind];
        struct period_row *p = period_find(row, line->period.start_us);

        if (!row->exists) {
            row->exists = true;
            row->created_us = line->created_us;
        }
        if (!line->changed)
            continue;
        if (p == NULL) {
            if (row->period_count == PERIODS_MAX)
                abort();
            p = &row->periods[row->period_count++];
        }
        *p =
            (struct period_row){ line->period, line->spent_nanos, line->held_nanos, line->alerted };
    }
    for (size_t i = 0; i < ledger->rate_count; i++) {
        const struct rate_row *rate = &ledger->rates[i];

        if (rate->changed)
            t->rates[account_of(ledger, rate->account)][rate->account_id].tat_ns = rate->tat_ns;
    }
}

static void
count_events(const struct ledger *ledger, struct answer *out)
{
    for (size_t i = 0; i < ledger->event_count; i++) {
        out->thresholds += ledger->events[i].kind == EVENT_THRESHOLD;
        out->overruns += ledger->events[i].kind == EVENT_OVERRUN;
        out->expired_holds += ledger->events[i].kind == EVENT_HOLD_EXPIRED;
    }
}

static void
charge_add(struct tables *t, int credential, int number, int64_t at_us, int64_t amount)
{
    t->charges[t->charge_count++] = (struct charge_entry){ credential, number, at_us, amount, 0 };
    if (number != NOBODY)
        t->charge_of[number] = (int)t->charge_count;
}

static int
plan_named(const struct world *world, const char *name)
{
    for (int i = 0; i < PLANS; i++) {
        if (strcmp(world->plans[i].name, name) == 0)
            return i;
    }
    return NOBODY;
}

/* The operation whose hold's time ended first; what is held no more leaves the list. */
static int
oldest_expired(struct tables *t, int64_t now_us)
{
    int oldest = NOBODY;

    for (size_t i = 0; i < t->live_count;) {
        const struct hold *hold = &t->holds[t->live[i]];

        if (hold->state != HOLD_HELD) {
            t->live[i] = t->live[--t->live_count];
            continue;
        }
        if (hold->expires_us <= now_us &&
            (oldest == NOBODY || hold->expires_us < t->holds[oldest].expires_us ||
             (hold->expires_us == t->holds[oldest].expires_us && t->live[i] < oldest)))
            oldest = t->live[i];
        i++;
    }
    return oldest;
}

/* Expire one hold, and look a second time as another process might. */
static enum status
expire(struct tables *t, int op, int64_t now_us, struct answer *out, struct error *err)
{
    struct hold *hold = &t->holds[op];
    int credential = t->credential_of[op], plan = plan_named(t->world, hold->plan);
    bool charged = t->world->charge_on_expiry;
    struct ledger *ledger = load(t, credential, plan, hold->placed_us, now_us);
    enum status status = ledger_expire(ledger, hold, charged, now_us, err);

    if (status != STATUS_OK)
        return status;
    if (hold->expiry_charged_nanos > 0) {
        charge_add(t, credential, NOBODY, hold->placed_us, hold->expiry_charged_nanos);
        hold->expiry_charge_id = (int64_t)t->charge_count;
    }
    count_events(ledger, out);
    write_back(t);
    ledger = load(t, credential, plan, hold->placed_us, now_us);
    if (ledger_expire(ledger, hold, charged, now_us, NULL) != STATUS_CONFLICT)
        return error_set(err, STATUS_CORRUPT, "I5: a hold that had expired expired again");
    return STATUS_OK;
}

/* In front of every operation, and committed by itself. */
static enum status
sweep(struct tables *t, int64_t now_us, struct answer *out, struct error *err)
{
    enum status status = STATUS_OK;

    for (int op; status == STATUS_OK && (op = oldest_expired(t, now_us)) != NOBODY;)
        status = expire(t, op, now_us, out, err);
    return status;
}

static int
place_of(const struct ledger *ledger, const char *name)
{
    for (size_t i = 0; i < ledger->account_count; i++) {
        if (strcmp(ledger->accounts[i].name, name) == 0)
            return account_of(ledger, (int)i);
    }
    return NOBODY;
}

static void
verdict_tell(const struct ledger *ledger, const struct verdict *v, struct answer *out)
{
    out->allow = v->allow;
    out->reason = v->reason;
    out->account = v->allow ? NOBODY : place_of(ledger, v->account);
    out->has_budget = v->has_budget;
    out->retry_after_us = v->allow ? 0 : v->retry_after_us;
    out->expired_us = v->expired_us;
    if (v->reason == REASON_BUDGET) {
        out->limit = v->limit_nanos;
        out->spent = v->spent_nanos;
        out->held = v->held_nanos;
    }
    if (v->allow)
        out->remaining = v->remaining_nanos;
    out->warned = warnings_count(v->warn);
    if (v->hold_placed) {
        out->hold_op = (int)v->hold.id - 1; /* a new one has none yet */
        out->hold_nanos = v->hold.amount_nanos;
        out->hold_expires_us = v->hold.expires_us;
    }
}

static void
rates_load(struct tables *t, struct ledger *ledger, int plan)
{
    const struct plan *p = &t->world->plans[plan];
    const struct rate *limits[] = { &p->key_rate, &p->rate, &p->org_rate };
    const int holders[] = { ledger->key, ledger->subject, ledger->organization };

    for (int i = 0; i < 3; i++) {
        if (holders[i] < 0)
            continue;
        ledger->rates[ledger->rate_count++] = (struct rate_row){
            .account_id = i,
            .account = holders[i],
            .rate = *limits[i],
            .tat_ns = t->rates[account_of(ledger, holders[i])][i].tat_ns,
        };
    }
}

/* What a store adds: the plan last seen on key and organization too, and on whatever is seen for
 * the first time, also when it is refused; then also the subject's end. */
static void
greet(struct ledger *ledger, const struct plan *plan, bool allow, int64_t now_us)
{
    struct account *subject = &ledger->accounts[ledger->subject];
    const int places[] = { ledger->key, ledger->subject, ledger->organization };

    if (!allow && subject->id == 0 && plan->expires_in_us > 0)
        subject->expires_us = now_us + plan->expires_in_us;
    for (int i = 0; i < 3; i++) {
        struct account *account = places[i] >= 0 ? &ledger->accounts[places[i]] : NULL;

        if (account == NULL || (allow ? account == subject : account->id != 0))
            continue; /* the subject's is the ledger's to note */
        snprintf(account->plan, sizeof(account->plan), "%s", plan->name);
        account->changed = true;
    }
}

static void
run_admit(struct tables *t, const struct op *op, int root, int64_t now_us, bool lose,
          struct answer *out)
{
    struct request_entry *request = &t->requests[root];
    struct ledger *ledger = load(t, op->credential, op->plan, now_us, now_us);
    struct admission_event event = {
        .plan = &t->world->plans[op->plan],
        .verification = t->verifications - (op->stale && t->verifications > 0),
        .hold_nanos = op->amount_nanos,
        .hold_ttl_us = SIM_HOLD_TTL_US,
        .repeated = request->counted && (request->hold != NOBODY || now_us < request->until_us),
        .earlier = request->hold != NOBODY ? &t->holds[request->hold] : NULL,
    };
    struct verdict verdict;
    bool counted;

    rates_load(t, ledger, op->plan);
    ledger_admit(ledger, &event, now_us, &verdict);
    verdict_tell(ledger, &verdict, out);
    if (verdict.hold_placed && verdict.hold.id == 0)
        out->hold_op = op->number;
    if (lose)
        return;
    greet(ledger, &t->world->plans[op->plan], verdict.allow, now_us);
    if (!verdict.allow) { /* the accounts and lines of a first sight stay, as in a store */
        write_back(t);
        return;
    }
    counted = event.repeated && (event.earlier == NULL || verdict.hold.id != 0);
    if (verdict.hold_placed && verdict.hold.id == 0) {
        t->live[t->live_count++] = op->number;
        t->credential_of[op->number] = op->credential;
        t->holds[op->number] = verdict.hold;
        t->holds[op->number].id = op->number + 1;
        *request = (struct request_entry){ true, op->number, 0 };
    } else if (!counted) {
        *request = (struct request_entry){ true, NOBODY, now_us + SIM_REPEAT_US };
    }
    write_back(t);
}

static enum status
run_settle(struct tables *t, const struct op *op, int64_t now_us, bool lose, struct answer *out,
           struct error *err)
{
    struct hold hold = t->holds[op->ref];
    int credential = t->credential_of[op->ref];
    struct charge_effect effect;
    struct ledger *ledger =
        load(t, credential, plan_named(t->world, hold.plan), hold.placed_us, now_us);
    enum status status = ledger_settle(ledger, &hold, op->amount_nanos, now_us, &effect, err);

    out->word = WORD_DONE;
    if (status == STATUS_CONFLICT) {
        out->word = hold.charge_id > 0 && hold.charged_nanos == op->amount_nanos ? WORD_REPLAYED
                                                                                 : WORD_CONFLICT;
        return STATUS_OK;
    }
    out->over = effect.over_budget;
    out->overrun = effect.overrun_nanos;
    if (status != STATUS_OK || lose)
        return status;
    if (hold.expiry_charged_nanos > 0)
        charge_add(t, credential, NOBODY, hold.placed_us, -hold.expiry_charged_nanos);
    charge_add(t, credential, op->number, hold.placed_us, op->amount_nanos);
    hold.charge_id = (int64_t)t->charge_count;
    t->holds[op->ref] = hold;
    count_events(ledger, out);
    write_back(t);
    return STATUS_OK;
}

static enum status
run_spend(struct tables *t, const struct op *op, int64_t now_us, bool lose, struct answer *out,
          struct error *err)
{
    int plan = plan_named(t->world, t->accounts[sim_credentials[op->credential].subject].plan);
    struct ledger *ledger = load(t, op->credential, plan, now_us, now_us);
    struct charge_effect effect;
    enum status status = ledger_charge(ledger, op->amount_nanos, now_us, &effect, err);

    out->word = WORD_DONE;
    out->over = effect.over_budget;
    out->overrun = effect.overrun_nanos;
    if (status != STATUS_OK || lose)
        return status;
    charge_add(t, op->credential, op->number, now_us, op->amount_nanos);
    count_events(ledger, out);
    write_back(t);
    return STATUS_OK;
}

static enum status
run_void(struct tables *t, const struct op *op, int64_t now_us, bool lose, struct answer *out,
         struct error *err)
{
    struct hold hold = t->holds[op->ref];
    struct ledger *ledger =
        load(t, t->credential_of[op->ref], plan_named(t->world, hold.plan), hold.placed_us, now_us);
    enum status status = ledger_void(ledger, &hold, now_us, err);

    out->word = status == STATUS_CONFLICT ? WORD_CONFLICT : WORD_DONE;
    if (status == STATUS_OK && !lose) {
        t->holds[op->ref] = hold;
        write_back(t);
    }
    return status == STATUS_CONFLICT ? STATUS_OK : status;
}

static enum status
run_extend(struct tables *t, const struct op *op, int64_t now_us, bool lose, struct answer *out,
           struct error *err)
{
    struct hold hold = t->holds[op->ref];
    int plan = plan_named(t->world, hold.plan);
    struct verdict verdict;
    struct ledger *ledger =
        load(t, t->credential_of[op->ref], plan, hold_extend_at(&hold, now_us), now_us);
    enum status status = ledger_extend(ledger, &t->world->plans[plan], &hold, op->amount_nanos,
                                       now_us, &verdict, err);

    if (status == STATUS_CONFLICT) {
        out->word = WORD_CONFLICT;
        return STATUS_OK;
    }
    if (status != STATUS_OK)
        return status;
    verdict_tell(ledger, &verdict, out);
    out->word = verdict.allow ? WORD_DONE : WORD_DENIED;
    if (verdict.allow && !lose) {
        if (t->holds[op->ref].state != HOLD_HELD)
            t->live[t->live_count++] = op->ref;
        t->holds[op->ref] = hold;
        write_back(t);
    }
    return STATUS_OK;
}

static enum status
run_refund(struct tables *t, const struct op *op, int64_t now_us, bool lose, struct answer *out,
           struct error *err)
{
    struct charge_entry *charge = &t->charges[t->charge_of[op->ref] - 1];
    int64_t left = charge->amount - charge->refunded;
    int64_t amount = op->amount_nanos < 0 ? left : op->amount_nanos;
    int plan = plan_named(t->world, t->accounts[sim_credentials[charge->credential].subject].plan);
    struct ledger *ledger = load(t, charge->credential, plan, charge->at_us, now_us);
    enum status status;

    out->word = WORD_CONFLICT;
    if (left == 0)
        return STATUS_OK;
    status = ledger_refund(ledger, charge->amount, charge->refunded, amount, err);
    if (status != STATUS_OK)
        return status == STATUS_CONFLICT ? STATUS_OK : status;
    out->word = WORD_DONE;
    if (lose)
        return STATUS_OK;
    charge->refunded += amount;
    charge_add(t, charge->credential, NOBODY, charge->at_us, -amount);
    write_back(t);
    return STATUS_OK;
}

static void
run_account(struct tables *t, const struct op *op, int64_t now_us, bool lose, struct answer *out)
{
    struct account *account = &t->accounts[op->account];

    out->word = WORD_UNKNOWN;
    if (account->id == 0 && op->change != ACCOUNT_FREEZE && op->change != ACCOUNT_REVOKE)
        return;
    out->word = WORD_DONE;
    if (lose)
        return;
    account->id = op->account + 1;
    switch (op->change) {
    case ACCOUNT_FREEZE:
    case ACCOUNT_UNFREEZE:
        account->frozen = op->change == ACCOUNT_FREEZE;
        break;
    case ACCOUNT_REVOKE:
    case ACCOUNT_UNREVOKE:
        account->revoked = op->change == ACCOUNT_REVOKE;
        break;
    case ACCOUNT_RENEW:
        account->expires_us = op->until_us == 0 ? 0 : now_us + op->until_us;
        break;
    default:
        account->verify_after = ++t->verifications;
        break;
    }
}

/* A new line starts at its journal's sum, and a top-up has to be remembered with its period, for
 * the overage that it pays off. */
static void
period_touch(struct tables *t, int account, struct line_row *row, struct period period)
{
    struct budget_line line = { .period = period };

    if (period_find(row, period.start_us) != NULL)
        return;
    journal_sum(t, account, &line);
    if (row->period_count == PERIODS_MAX)
        abort();
    row->periods[row->period_count++] =
        (struct period_row){ period, line.spent_nanos, line.held_nanos, 0 };
}

static void
run_budget(struct tables *t, const struct op *op, int64_t now_us, bool lose, struct answer *out)
{
    enum period_kind kind = sim_kinds[op->period];
    struct line_row *row = &t->lines[op->account][kind];
    struct period period = period_at(kind, now_us);

    bool limited = row->hand_limited ||
                   world_plan_limits(t->world, plan_named(t->world, t->accounts[op->account].plan),
                                     op->account, kind);

    out->word = WORD_UNKNOWN;
    if (t->accounts[op->account].id == 0 || (op->kind == OP_CREDIT && !limited) ||
        (op->kind == OP_BUDGET_CLEAR && !row->exists))
        return;
    out->word = WORD_DONE;
    if (lose)
        return;
    if (op->kind == OP_CREDIT || !row->exists)
        period_touch(t, op->account, row, period);
    if (!row->exists)
        row->created_us = now_us;
    row->exists = true;
    if (op->kind == OP_CREDIT) {
        t->credits[t->credit_count++] =
            (struct credit_entry){ op->account, kind, op->amount_nanos,
                                   op->until_us > 0 ? now_us : period.start_us,
                                   op->until_us > 0 ? now_us + op->until_us : period.end_us };
        return;
    }
    row->hand_limited = op->kind == OP_BUDGET_SET;
    row->hand_limit = op->amount_nanos;
    if (op->kind == OP_BUDGET_CLEAR || op->enforce >= 0)
        row->hand_enforced = op->kind == OP_BUDGET_SET;
    if (op->enforce >= 0)
        row->hand_enforce = (enum enforce)op->enforce;
}

static enum status
dispatch(struct tables *t, const struct op *op, int64_t now_us, bool lose, struct answer *out,
         struct error *err)
{
    switch (op->kind) {
    case OP_ADMIT:
        run_admit(t, op, op->number, now_us, lose, out);
        return STATUS_OK;
    case OP_AGAIN:
        run_admit(t, op, op->ref, now_us, lose, out);
        return STATUS_OK;
    case OP_SETTLE:
        return run_settle(t, op, now_us, lose, out, err);
    case OP_SPEND:
        return run_spend(t, op, now_us, lose, out, err);
    case OP_VOID:
        return run_void(t, op, now_us, lose, out, err);
    case OP_EXTEND:
        return run_extend(t, op, now_us, lose, out, err);
    case OP_REFUND:
        return run_refund(t, op, now_us, lose, out, err);
    case OP_ACCOUNT:
        run_account(t, op, now_us, lose, out);
        return STATUS_OK;
    case OP_PLAN_EDIT:
        out->word = WORD_DONE;
        return STATUS_OK;
    default:
        run_budget(t, op, now_us, lose, out);
        return STATUS_OK;
    }
}

static bool
ledger_run(void *state, const struct op *op, int64_t now_us, bool lose, struct answer *out,
           char *problem, size_t problem_size)
{
    bool keyed = op->kind == OP_SPEND || op->kind == OP_EXTEND || op->kind == OP_REFUND ||
                 op->kind == OP_CREDIT;
    struct tables *t = state;
    struct error err = { 0 };
    enum status status;

    *out = (struct answer){ .account = NOBODY, .hold_op = NOBODY };
    status = sweep(t, now_us, out, &err);
    if (status == STATUS_OK && keyed && t->done[op->number])
        out->word = WORD_REPLAYED;
    else if (status == STATUS_OK)
        status = dispatch(t, op, now_us, lose, out, &err);
    if (status != STATUS_OK) {
        snprintf(problem, problem_size, "%s", err.message);
        return false;
    }
    if (!lose && out->word == WORD_DONE)
        t->done[op->number] = true;
    return true;
}

static void *
ledger_open(const struct world *world)
{
    struct tables *t = calloc(1, sizeof(*t));

    if (t == NULL)
        abort();
    t->world = world;
    t->accounts[USER_B].id = USER_B + 1;
    t->accounts[GROUP].id = GROUP + 1;
    t->accounts[ALL].id = ALL + 1;
    return t;
}

static int
ledger_counters(void *state, int account, int64_t now_us, struct counter out[COUNTERS_MAX],
                int64_t *live_holds)
{
    struct tables *t = state;
    int count = 0;

    if (t->accounts[account].id == 0)
        return -1;
    *live_holds = t->accounts[account].live_holds;
    for (int k = 0; k < KINDS; k++) {
        struct line_row *row = &t->lines[account][sim_kinds[k]];
        const struct period_row *p = period_find(row, now_us);

        if (row->exists && p != NULL)
            out[count++] = (struct counter){ .kind = sim_kinds[k],
                                             .start_us = p->period.start_us,
                                             .spent = p->spent,
                                             .held = p->held };
    }
    return count;
}

static enum hold_state
ledger_hold_state(void *state, int op)
{
    return ((struct tables *)state)->holds[op].state;
}

/* Everything is committed; there is nothing to lose. Every period row has to be what the journal
 * says. */
static bool
ledger_restart(void *state, int64_t now_us, char *problem, size_t problem_size)
{
    struct tables *t = state;

    (void)now_us;
    for (int account = 0; account < ACCOUNTS; account++) {
        for (int k = 0; k < KINDS; k++) {
            const struct line_row *row = &t->lines[account][sim_kinds[k]];

            for (size_t i = 0; i < row->period_count; i++) {
                struct budget_line line = { .period = row->periods[i].period };

                journal_sum(t, account, &line);
                if (line.spent_nanos == row->periods[i].spent &&
                    line.held_nanos == row->periods[i].held)
                    continue;
                snprintf(problem, problem_size,
                         "I7: %s %s from %lld: the row differs from the journal",
                         sim_accounts[account], period_kind_name(sim_kinds[k]),
                         (long long)line.period.start_us);
                return false;
            }
        }
    }
    return true;
}

const struct driver sim_driver_ledger = {
    .name = "ledger",
    .open = ledger_open,
    .close = free,
    .run = ledger_run,
    .counters = ledger_counters,
    .hold_state = ledger_hold_state,
    .restart = ledger_restart,
};
