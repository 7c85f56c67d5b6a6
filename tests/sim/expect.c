/* SPDX-License-Identifier: MIT */
#include "tests/sim/expect.h"

#include <stdlib.h>

#include "common/banned.h"

#define HOUR (INT64_C(3600) * 1000000)
#define FIRST_HOUR (SIM_START_US / (24 * HOUR) * 24)

struct expect *
expect_new(const struct world *world)
{
    struct expect *e = calloc(1, sizeof(*e));

    if (e == NULL)
        abort();
    e->model.world = world;
    for (int i = 0; i < ACCOUNTS; i++)
        e->accounts[i].plan = NOBODY;
    e->accounts[USER_B].exists = e->accounts[GROUP].exists = e->accounts[ALL].exists = true;
    return e;
}

static const struct sim_credential *
names_of(const struct caller *who)
{
    return &sim_credentials[who->credential];
}

static const struct plan *
plan_of(const struct expect *e, const struct caller *who)
{
    return &e->model.world->plans[who->plan];
}

/* The caller of an operation without a hold: his plan is the one last seen. */
static struct caller
caller_last_seen(const struct expect *e, int credential, int64_t at_us)
{
    int plan = e->accounts[sim_credentials[credential].subject].plan;

    return (struct caller){ .credential = credential, .plan = plan, .at_us = at_us };
}

static struct caller
caller_of_hold(const struct expect *e, int op)
{
    const struct model_hold *hold = &e->model.holds[op];

    return (struct caller){ hold->credential, hold->plan, hold->at_us };
}

/* ---- telling ---- */

/* Thresholds and overruns that what was spent reached and that were not told yet in the period. */
static void
tell(struct expect *e, const struct caller *who, struct answer *out)
{
    struct line lines[LINES_MAX];
    int count = model_lines(&e->model, who, lines);

    for (int i = 0; i < count; i++) {
        const struct line *l = &lines[i];
        int64_t slot = l->kind == PERIOD_NONE || l->start_us < FIRST_HOUR * HOUR
                           ? 0
                           : l->start_us / HOUR - FIRST_HOUR;
        int *percent = &e->told[l->account][l->kind][slot].percent;
        bool *overrun = &e->told[l->account][l->kind][slot].overrun;

        for (size_t a = 0; l->budget != NULL && a < l->budget->alert_count; a++) {
            int alert = l->budget->alerts[a];

            if (l->enforce == ENFORCE_OFF || l->spent == 0 || alert <= *percent ||
                (__int128)l->spent * 100 < (__int128)l->limit * alert)
                continue;
            *percent = alert;
            out->thresholds++;
        }
        if (l->enforce != ENFORCE_HARD || l->spent <= l->limit)
            continue;
        if (l->spent - l->limit > out->overrun)
            out->overrun = l->spent - l->limit;
        out->overruns += !*overrun;
        *overrun = true;
    }
    out->over = out->overrun > 0;
}

/* Whatever writes, makes the counters that its rules need. */
static void
count_from_now(struct expect *e, const struct caller *who)
{
    struct line lines[LINES_MAX];
    int count = model_lines(&e->model, who, lines);

    for (int i = 0; i < count; i++) {
        int64_t *since_us = &e->model.budgets[lines[i].account][lines[i].kind].since_us;

        *since_us = *since_us == 0 ? e->model.now_us : *since_us;
    }
}

static void
charge(struct expect *e, struct expect_past *past, const struct caller *who, int64_t amount,
       struct answer *out)
{
    past->is_charge = true;
    past->who = *who;
    past->left = amount;
    model_row_add(&e->model, who->credential, who->at_us, amount);
    tell(e, who, out);
}

/* The live hold whose time ended first, or NOBODY. */
static int
oldest_expired(const struct model *m)
{
    int oldest = NOBODY;

    for (size_t i = 0; i < m->live_count; i++) {
        int op = m->live[i];
        int64_t first_us = oldest == NOBODY ? m->now_us + 1 : m->holds[oldest].expires_us;

        if (m->holds[op].expires_us < first_us ||
            (m->holds[op].expires_us == first_us && op < oldest))
            oldest = op;
    }
    return oldest;
}

void
expect_look(struct expect *e, int64_t now_us, struct answer *out)
{
    e->model.now_us = now_us;
    for (int op; (op = oldest_expired(&e->model)) != NOBODY;) {
        struct caller who = caller_of_hold(e, op);
        int64_t amount = e->model.holds[op].amount;

        model_hold_end(&e->model, op, HOLD_EXPIRED);
        out->expired_holds++;
        e->past[op].expiry_charged = e->model.world->charge_on_expiry && amount > 0;
        if (e->past[op].expiry_charged)
            model_row_add(&e->model, who.credential, who.at_us, amount);
        tell(e, &who, out);
        out->over = false; /* is for a charge to say */
        out->overrun = 0;
        count_from_now(e, &who);
    }
}

/* ---- the checks of an admission, in their order ---- */

static bool
refuse(struct answer *out, enum reason reason, int account)
{
    out->reason = reason;
    out->account = account;
    return false;
}

static bool
stands(const struct expect *e, const struct expect_account *a, enum reason reason, bool stale)
{
    switch (reason) {
    case REASON_REVOKED:
        return !a->revoked;
    case REASON_REVERIFY:
        return !stale || e->verifications == 0 || a->verify_after < e->verifications;
    case REASON_FROZEN:
        return !a->frozen;
    default:
        return a->expires_us == 0 || e->model.now_us < a->expires_us;
    }
}

/* Every reason up to `last`, and each along the chain. */
static bool
standing(const struct expect *e, const struct caller *who, bool stale, enum reason last,
         struct answer *out)
{
    int chain[CHAIN_MAX], length = sim_chain(who->credential, chain);

    for (enum reason reason = REASON_REVOKED; reason <= last; reason++) {
        for (int i = 0; i < length; i++) {
            const struct expect_account *a = &e->accounts[chain[i]];

            if (stands(e, a, reason, stale))
                continue;
            out->expired_us = reason == REASON_EXPIRED ? a->expires_us : 0;
            return refuse(out, reason, chain[i]);
        }
    }
    return true;
}

/* A leaky bucket per limit: each request fills one interval, `burst` intervals fit. The one that
 * refuses for longest is named. */
static bool
rates(struct expect *e, const struct caller *who, bool take, struct answer *out)
{
    const struct plan *p = plan_of(e, who);
    const struct rate *limits[] = { &p->key_rate, &p->rate, &p->org_rate };
    const int holders[] = { names_of(who)->key, names_of(who)->subject,
                            names_of(who)->organization };
    int64_t now_ns = e->model.now_us * 1000;

    for (int i = 0; i < 3; i++) {
        int64_t drop, full, level, wait_us, *empty_ns;

        if (limits[i]->count == 0 || holders[i] == NOBODY)
            continue;
        empty_ns = &e->accounts[holders[i]].rate_empty_ns[i];
        drop = limits[i]->per_us * 1000 / limits[i]->count;
        full = limits[i]->burst * drop;
        level = *empty_ns > now_ns ? *empty_ns - now_ns : 0;
        if (level > full + RATE_CLOCK_SLACK_US * 1000) /* a clock was wrong */
            level = full - drop;
        wait_us = (level + drop - full + 999) / 1000;
        if (take) {
            *empty_ns = now_ns + level + drop;
        } else if (level + drop > full && wait_us > out->retry_after_us) {
            out->retry_after_us = wait_us;
            refuse(out, REASON_RATE, holders[i]);
        }
    }
    return out->reason != REASON_RATE;
}

static bool
slot_free(const struct expect *e, const struct caller *who, struct answer *out)
{
    int64_t slots = plan_of(e, who)->concurrency;

    if (slots == 0 || model_live_holds(&e->model, names_of(who)->subject) < slots)
        return true;
    out->retry_after_us = 1000000;
    return refuse(out, REASON_CONCURRENCY, names_of(who)->subject);
}

/* The hard line with the least left, then in chain order, then in the plan's. */
static bool
tightest(const struct expect *e, const struct caller *who, struct line *out)
{
    struct line lines[LINES_MAX];
    int count = model_lines(&e->model, who, lines), best = NOBODY;

    for (int i = 0; i < count; i++) {
        if (lines[i].enforce == ENFORCE_HARD &&
            (best == NOBODY || lines[i].left < lines[best].left ||
             (lines[i].left == lines[best].left && lines[i].account == lines[best].account &&
              lines[i].order < lines[best].order)))
            best = i;
    }
    if (best != NOBODY)
        *out = lines[best];
    return best != NOBODY;
}

static bool
room(const struct expect *e, const struct caller *who, int64_t amount, struct answer *out)
{
    struct line line;

    if (!tightest(e, who, &line) || (amount > 0 ? line.left >= amount : line.left > 0))
        return true;
    out->has_budget = true;
    out->limit = line.limit;
    out->spent = line.spent;
    out->held = line.held;
    return refuse(out, REASON_BUDGET, line.account);
}

/* `bare`: admitted with nothing held, so that something has to be left. */
static void
allow(const struct expect *e, const struct caller *who, int hold_op, bool bare, struct answer *out)
{
    struct line line = { 0 }, lines[LINES_MAX];
    int count = model_lines(&e->model, who, lines);

    for (int i = 0; i < count; i++) {
        int64_t over = lines[i].spent + lines[i].held - lines[i].limit;

        out->warned += lines[i].enforce == ENFORCE_WARN && (bare ? over >= 0 : over > 0);
    }

    out->allow = true;
    out->has_budget = tightest(e, who, &line);
    out->remaining = line.left;
    out->hold_op = hold_op;
    if (hold_op != NOBODY) {
        out->hold_nanos = e->model.holds[hold_op].amount;
        out->hold_expires_us = e->model.holds[hold_op].expires_us;
    }
}

/* ---- operations ---- */

/* The plan last seen; `passed`: also on accounts that were there already. */
static void
note_plan(struct expect *e, const struct caller *who, bool passed)
{
    const int places[] = { names_of(who)->key, names_of(who)->subject,
                           names_of(who)->organization };

    for (int i = 0; i < 3; i++) {
        if (places[i] != NOBODY && (passed || !e->accounts[places[i]].exists))
            e->accounts[places[i]].plan = who->plan;
    }
}

/* First sight makes the accounts of the chain, also when it is refused; the subject's gets its end
 * from the plan. */
static void
first_sight(struct expect *e, const struct caller *who)
{
    struct expect_account *subject = &e->accounts[names_of(who)->subject];
    int chain[CHAIN_MAX], length = sim_chain(who->credential, chain);

    if (!subject->exists && plan_of(e, who)->expires_in_us > 0)
        subject->expires_us = e->model.now_us + plan_of(e, who)->expires_in_us;
    note_plan(e, who, false);
    for (int i = 0; i < length; i++)
        e->accounts[chain[i]].exists = true;
    e->seen[who->credential] = true;
}

/* Who was made before, by a freeze or a post, gets his end with the first request that passes. */
static void
first_request(struct expect *e, const struct caller *who)
{
    struct expect_account *subject = &e->accounts[names_of(who)->subject];

    if (subject->plan == NOBODY && subject->expires_us == 0 && plan_of(e, who)->expires_in_us > 0)
        subject->expires_us = e->model.now_us + plan_of(e, who)->expires_in_us;
}

/* `request` is the first call of the client request, `op` this one. */
static void
run_admit(struct expect *e, const struct op *op, struct expect_past *request, struct answer *out)
{
    struct caller who = { op->credential, op->plan, e->model.now_us };
    bool lives = request->counted && request->hold != NOBODY &&
                 e->model.holds[request->hold].state == HOLD_HELD;
    bool counted = lives || (request->counted && request->hold == NOBODY &&
                             e->model.now_us < request->until_us);
    bool due = op->amount_nanos > 0 || plan_of(e, &who)->concurrency > 0;

    first_sight(e, &who);
    count_from_now(e, &who);
    if (!standing(e, &who, op->stale, REASON_EXPIRED, out) ||
        (!counted && !rates(e, &who, false, out)) ||
        (!lives && (!slot_free(e, &who, out) || !room(e, &who, op->amount_nanos, out))))
        return;
    first_request(e, &who);
    note_plan(e, &who, true);
    if (!counted)
        rates(e, &who, true, out);
    if (!lives && due) {
        e->model.holds[op->number] = (struct model_hold){ .credential = who.credential,
                                                          .plan = who.plan,
                                                          .amount = op->amount_nanos };
        model_hold_place(&e->model, op->number);
    }
    if (!lives && (due || !counted)) {
        request->counted = true;
        request->hold = due ? op->number : NOBODY;
        request->until_us = e->model.now_us + SIM_REPEAT_US;
    }
    allow(e, &who, request->hold, !lives && op->amount_nanos == 0, out);
}

static enum result_word
run_settle(struct expect *e, const struct op *op, struct answer *out)
{
    struct model_hold *hold = &e->model.holds[op->ref];
    struct expect_past *past = &e->past[op->ref];
    struct caller who = caller_of_hold(e, op->ref);

    if (hold->state == HOLD_VOIDED)
        return WORD_CONFLICT;
    if (past->posted)
        return past->posted_amount == op->amount_nanos ? WORD_REPLAYED : WORD_CONFLICT;
    if (hold->state == HOLD_HELD)
        model_hold_end(&e->model, op->ref, HOLD_SETTLED);
    if (past->expiry_charged) /* the post corrects it */
        model_row_add(&e->model, who.credential, who.at_us, -hold->amount);
    past->posted = true;
    past->posted_amount = op->amount_nanos;
    charge(e, &e->past[op->number], &who, op->amount_nanos, out);
    count_from_now(e, &who);
    return WORD_DONE;
}

static enum result_word
run_spend(struct expect *e, const struct op *op, struct answer *out)
{
    struct caller who = caller_last_seen(e, op->credential, e->model.now_us);

    charge(e, &e->past[op->number], &who, op->amount_nanos, out);
    count_from_now(e, &who);
    return WORD_DONE;
}

static enum result_word
run_void(struct expect *e, const struct op *op)
{
    struct caller who = caller_of_hold(e, op->ref);

    if (e->model.holds[op->ref].state == HOLD_HELD)
        model_hold_end(&e->model, op->ref, HOLD_VOIDED);
    if (e->model.holds[op->ref].state != HOLD_VOIDED)
        return WORD_CONFLICT;
    count_from_now(e, &who);
    return WORD_DONE;
}

/* An expired hold comes back only as an admission of all of it. */
static enum result_word
run_extend(struct expect *e, const struct op *op, struct answer *out)
{
    struct model_hold *hold = &e->model.holds[op->ref];
    struct caller who = caller_of_hold(e, op->ref);
    bool back = hold->state == HOLD_EXPIRED;
    int64_t wanted = back ? hold->amount + op->amount_nanos : op->amount_nanos;

    if (hold->state == HOLD_SETTLED || hold->state == HOLD_VOIDED || e->past[op->ref].posted ||
        e->past[op->ref].expiry_charged)
        return WORD_CONFLICT;
    if (back)
        who.at_us = e->model.now_us;
    if (!standing(e, &who, false, back ? REASON_EXPIRED : REASON_FROZEN, out) ||
        (back && !slot_free(e, &who, out)) || ((back || wanted > 0) && !room(e, &who, wanted, out)))
        return WORD_DENIED;
    hold->amount += op->amount_nanos;
    if (back)
        model_hold_place(&e->model, op->ref);
    hold->expires_us = e->model.now_us + SIM_HOLD_TTL_US;
    allow(e, &who, op->ref, back && wanted == 0, out);
    count_from_now(e, &who);
    return WORD_DONE;
}

static enum result_word
run_refund(struct expect *e, const struct op *op)
{
    struct expect_past *of = &e->past[op->ref];
    struct caller who = caller_last_seen(e, of->who.credential, of->who.at_us);
    int64_t amount = op->amount_nanos < 0 ? of->left : op->amount_nanos;

    if (of->left == 0 || amount > of->left)
        return WORD_CONFLICT;
    of->left -= amount;
    model_row_add(&e->model, who.credential, who.at_us, -amount);
    count_from_now(e, &who);
    return WORD_DONE;
}

static enum result_word
run_account(struct expect *e, const struct op *op)
{
    struct expect_account *a = &e->accounts[op->account];

    if (!a->exists && op->change != ACCOUNT_FREEZE && op->change != ACCOUNT_REVOKE)
        return WORD_UNKNOWN;
    a->exists = true;
    if (op->change == ACCOUNT_FREEZE || op->change == ACCOUNT_UNFREEZE)
        a->frozen = op->change == ACCOUNT_FREEZE;
    else if (op->change == ACCOUNT_REVOKE || op->change == ACCOUNT_UNREVOKE)
        a->revoked = op->change == ACCOUNT_REVOKE;
    else if (op->change == ACCOUNT_RENEW)
        a->expires_us = op->until_us == 0 ? 0 : e->model.now_us + op->until_us;
    else
        a->verify_after = ++e->verifications;
    return WORD_DONE;
}

/* A top-up, a boost, a limit by hand or its end: all of an account's budget of one kind. */
static enum result_word
run_budget(struct expect *e, const struct op *op)
{
    enum period_kind kind = sim_kinds[op->period];
    struct model_budget *budget = &e->model.budgets[op->account][kind];
    struct model_credit credit = { .account = op->account,
                                   .kind = kind,
                                   .amount = op->amount_nanos };

    bool limited =
        budget->limited ||
        world_plan_limits(e->model.world, e->accounts[op->account].plan, op->account, kind);

    if (!e->accounts[op->account].exists || (op->kind == OP_CREDIT && !limited) ||
        (op->kind == OP_BUDGET_CLEAR && budget->since_us == 0))
        return WORD_UNKNOWN;
    if (budget->since_us == 0)
        budget->since_us = e->model.now_us;
    model_period(kind, e->model.now_us, &credit.from_us, &credit.until_us);
    if (op->kind == OP_CREDIT && op->until_us > 0) {
        credit.from_us = e->model.now_us;
        credit.until_us = e->model.now_us + op->until_us;
    }
    if (op->kind == OP_CREDIT) {
        e->model.credits[e->model.credit_count++] = credit;
        return WORD_DONE;
    }
    budget->limited = op->kind == OP_BUDGET_SET;
    budget->limit = op->amount_nanos;
    if (op->kind == OP_BUDGET_CLEAR || op->enforce >= 0)
        budget->enforced = op->kind == OP_BUDGET_SET;
    if (op->enforce >= 0)
        budget->enforce = (enum enforce)op->enforce;
    return WORD_DONE;
}

bool
expect_runnable(const struct expect *e, const struct op *op)
{
    if (op->kind == OP_SETTLE || op->kind == OP_VOID || op->kind == OP_EXTEND)
        return e->model.holds[op->ref].placed;
    if (op->kind == OP_REFUND)
        return e->past[op->ref].is_charge;
    return op->kind != OP_SPEND || e->seen[op->credential];
}

static enum result_word
run_op(struct expect *e, const struct op *op, struct answer *out)
{
    switch (op->kind) {
    case OP_ADMIT:
        run_admit(e, op, &e->past[op->number], out);
        return WORD_NONE;
    case OP_AGAIN:
        run_admit(e, op, &e->past[op->ref], out);
        return WORD_NONE;
    case OP_SETTLE:
        return run_settle(e, op, out);
    case OP_SPEND:
        return run_spend(e, op, out);
    case OP_VOID:
        return run_void(e, op);
    case OP_EXTEND:
        return run_extend(e, op, out);
    case OP_REFUND:
        return run_refund(e, op);
    case OP_ACCOUNT:
        return run_account(e, op);
    case OP_PLAN_EDIT:
        return WORD_DONE; /* the settings are the world's */
    default:
        return run_budget(e, op);
    }
}

void
expect_run(struct expect *e, const struct op *op, int64_t now_us, bool again, struct answer *want)
{
    bool keyed = op->kind == OP_SPEND || op->kind == OP_EXTEND || op->kind == OP_REFUND ||
                 op->kind == OP_CREDIT;

    *want = (struct answer){ .account = NOBODY, .hold_op = NOBODY };
    expect_look(e, now_us, want);
    if (keyed && again && e->past[op->number].done) {
        want->word = WORD_REPLAYED;
        return;
    }
    want->word = run_op(e, op, want);
    e->past[op->number].done = want->word == WORD_DONE;
}
