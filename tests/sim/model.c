/* SPDX-License-Identifier: MIT */
#include "tests/sim/model.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/banned.h"

#define HOUR (INT64_C(3600) * 1000000)
#define TOLD_BASE_US (SIM_START_US - 40 * 24 * HOUR)
#define TOLD_HOURS (130 * 24)
#define OWN_ORDER 99 /* of a rule that is not in the plan */

/* One row of the journal: it counts on every account of its chain at `at_us`. */
struct row {
    int64_t at_us, amount;
    unsigned chain; /* bit per account */
};
struct model_hold {
    bool placed, posted, expiry_charged;
    enum hold_state state;
    int credential, plan;
    int64_t at_us, amount, expires_us, posted_amount;
};
struct model_credit {
    int account;
    enum period_kind kind;
    int64_t amount, from_us, until_us;
};

struct model {
    const struct world *world;
    bool creates_on_refusal;
    struct {
        bool exists, frozen, revoked;
        int64_t expires_us;
        int plan, verify_after;
        struct {
            bool limited, enforced;
            int64_t limit;
            enum enforce enforce;
        } hand[PERIOD_NONE + 1];
        int64_t counted_since_us[PERIOD_NONE + 1]; /* when the counter came to be; 0: it has not */
        int64_t rate_empty_ns[3]; /* when the bucket of the key, subject, org rate is empty */
    } accounts[ACCOUNTS];
    int verifications;
    bool seen[CREDENTIALS];
    size_t row_count, live_count, credit_count;
    struct row rows[3 * SIM_OPS_MAX];
    int live[SIM_OPS_MAX]; /* operations whose holds are held */
    struct model_hold holds[SIM_OPS_MAX];
    struct {
        bool made;
        int credential;
        int64_t at_us, amount, left;
    } charges[SIM_OPS_MAX];
    struct {
        bool counted;
        int hold;
        int64_t until_us;
    } requests[SIM_OPS_MAX];
    enum result_word done[SIM_OPS_MAX]; /* under the operation's idempotency key */
    struct model_credit credits[SIM_OPS_MAX];
    int told[ACCOUNTS][PERIOD_NONE + 1][TOLD_HOURS]; /* highest threshold told */
    bool overrun_told[ACCOUNTS][PERIOD_NONE + 1][TOLD_HOURS];
};

/* A budget that rules a request: of the plan, or set by hand. */
struct rule {
    int account, order;
    enum period_kind kind;
    int64_t limit;
    enum enforce enforce;
    enum overage overage;
    const struct plan_budget *budget; /* for its alerts; NULL none */
};
#define RULES_MAX 32

struct model *
model_new(const struct world *world, bool creates_on_refusal)
{
    struct model *m = calloc(1, sizeof(*m));

    if (m == NULL)
        abort();
    m->world = world;
    m->creates_on_refusal = creates_on_refusal;
    for (int i = 0; i < ACCOUNTS; i++)
        m->accounts[i].plan = NOBODY;
    m->accounts[USER_B].exists = m->accounts[GROUP].exists = m->accounts[ALL].exists = true;
    return m;
}

void
model_free(struct model *m)
{
    free(m);
}

/* ---- sums ---- */

static void
period_of(enum period_kind kind, int64_t at_us, int64_t *start_us, int64_t *end_us)
{
    int64_t length = kind == PERIOD_HOUR ? HOUR : 24 * HOUR;

    *start_us = at_us / length * length;
    *end_us = *start_us + length;
    if (kind == PERIOD_MONTH) {
        time_t t = (time_t)(at_us / 1000000);
        struct tm tm = *gmtime_r(&t, &(struct tm){ 0 });

        tm = (struct tm){ .tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = 1 };
        *start_us = timegm(&tm) * 1000000;
        tm.tm_mon++;
        *end_us = timegm(&tm) * 1000000;
    } else if (kind == PERIOD_NONE) {
        *start_us = 0;
        *end_us = PERIOD_NEVER_US;
    }
}

static int64_t
sum_rows(const struct model *m, int account, int64_t from_us, int64_t until_us)
{
    int64_t sum = 0;

    for (size_t i = 0; i < m->row_count; i++) {
        const struct row *row = &m->rows[i];

        sum += row->amount & -(int64_t)((row->chain >> account & 1) & (row->at_us >= from_us) &
                                        (row->at_us < until_us));
    }
    return sum;
}

static unsigned
chain_bits(int credential)
{
    int accounts[CHAIN_MAX], count = sim_chain(credential, accounts);
    unsigned bits = 0;

    for (int i = 0; i < count; i++)
        bits |= 1U << accounts[i];
    return bits;
}

static int64_t
sum_held(const struct model *m, int account, int64_t from_us, int64_t until_us)
{
    int64_t sum = 0;

    for (size_t i = 0; i < m->live_count; i++) {
        const struct model_hold *hold = &m->holds[m->live[i]];

        if ((chain_bits(hold->credential) >> account & 1) && hold->at_us >= from_us &&
            hold->at_us < until_us)
            sum += hold->amount;
    }
    return sum;
}

/* Credits of a counter that are in force at some instant of [from, until). */
static int64_t
sum_credits(const struct model *m, const struct rule *rule, int64_t from_us, int64_t until_us)
{
    int64_t sum = 0;

    for (size_t i = 0; i < m->credit_count; i++) {
        const struct model_credit *c = &m->credits[i];

        if (c->account == rule->account && c->kind == rule->kind && c->from_us < until_us &&
            c->until_us > from_us)
            sum += c->amount;
    }
    return sum;
}

/* What earlier days overran since there is the counter, each paying off with its own limit. */
static int64_t
carry_into(const struct model *m, const struct rule *rule, int64_t start_us)
{
    int64_t days[128] = { 0 }, first_us = TOLD_BASE_US / (24 * HOUR) * (24 * HOUR), carry = 0;
    int64_t since_us = m->accounts[rule->account].counted_since_us[rule->kind];

    if (since_us == 0)
        return 0;
    for (size_t i = 0; i < m->row_count; i++) {
        if ((m->rows[i].chain >> rule->account & 1) && m->rows[i].at_us < start_us)
            days[(m->rows[i].at_us - first_us) / (24 * HOUR)] += m->rows[i].amount;
    }
    for (int64_t day = 0, at_us = first_us; at_us < start_us; day++, at_us += 24 * HOUR) {
        if (at_us + 24 * HOUR <= since_us)
            continue;
        carry += days[day] - rule->limit - sum_credits(m, rule, at_us, at_us + 24 * HOUR);
        carry = carry > 0 ? carry : 0;
    }
    return carry;
}

static int64_t
limit_of(const struct model *m, const struct rule *rule, int64_t at_us, int64_t now_us)
{
    int64_t start_us, end_us, limit, look_us;

    period_of(rule->kind, at_us, &start_us, &end_us);
    look_us = now_us < end_us ? now_us : end_us - 1;
    limit = rule->limit + sum_credits(m, rule, look_us, look_us + 1);
    if (rule->overage == OVERAGE_CARRY && rule->kind == PERIOD_DAY)
        limit -= carry_into(m, rule, start_us);
    return limit > 0 ? limit : 0;
}

void
model_counter(const struct model *m, int account, enum period_kind kind, int64_t at_us,
              int64_t *start_us, int64_t *spent, int64_t *held)
{
    int64_t end_us;

    period_of(kind, at_us, start_us, &end_us);
    *spent = sum_rows(m, account, *start_us, end_us);
    *held = sum_held(m, account, *start_us, end_us);
}

int64_t
model_live_holds(const struct model *m, int payer)
{
    int64_t count = 0;

    for (size_t i = 0; i < m->live_count; i++)
        count += sim_credentials[m->holds[m->live[i]].credential].subject == payer;
    return count;
}

bool
model_account_exists(const struct model *m, int account)
{
    return m->accounts[account].exists;
}

int
model_hold_state(const struct model *m, int op)
{
    return m->holds[op].placed ? (int)m->holds[op].state : -1;
}

/* ---- rules ---- */

static struct rule *
rule_at(struct rule *rules, int *count, int account, enum period_kind kind)
{
    for (int i = 0; i < *count; i++) {
        if (rules[i].account == account && rules[i].kind == kind)
            return &rules[i];
    }
    rules[*count] = (struct rule){ .account = account, .kind = kind, .order = NOBODY };
    return &rules[(*count)++];
}

static int
rules_of(const struct model *m, int credential, int plan, struct rule rules[RULES_MAX])
{
    const struct sim_credential *who = &sim_credentials[credential];
    int count = 0, chain[CHAIN_MAX], length = sim_chain(credential, chain);

    for (size_t i = 0; plan != NOBODY && i < m->world->plans[plan].budget_count; i++) {
        const struct plan_budget *b = &m->world->plans[plan].budgets[i];
        int account = b->per == PER_KEY                                  ? who->key
                      : b->per == PER_ORG && who->organization != NOBODY ? who->organization
                                                                         : who->subject;
        struct rule *rule = rule_at(rules, &count, account, b->spec.kind);

        if (rule->order != NOBODY &&
            (b->enforce > rule->enforce ||
             (b->enforce == rule->enforce && b->limit_nanos >= rule->limit)))
            continue; /* the other one is as tight */
        *rule = (struct rule){ .account = account,
                               .order = (int)i,
                               .kind = b->spec.kind,
                               .limit = b->limit_nanos,
                               .enforce = b->enforce,
                               .overage = b->overage,
                               .budget = b };
    }
    for (int i = 0; i < length; i++) {
        for (int k = 0; k < KINDS; k++) {
            enum period_kind kind = sim_kinds[k];
            struct rule *rule;

            if (!m->accounts[chain[i]].hand[kind].limited)
                continue;
            rule = rule_at(rules, &count, chain[i], kind);
            rule->limit = m->accounts[chain[i]].hand[kind].limit;
            rule->order = rule->order == NOBODY ? OWN_ORDER : rule->order;
            if (m->accounts[chain[i]].hand[kind].enforced)
                rule->enforce = m->accounts[chain[i]].hand[kind].enforce;
        }
    }
    return count;
}

/* Whatever writes, makes the counters that its rules need. */
static void
count_from_now(struct model *m, int credential, int plan, int64_t now_us)
{
    struct rule rules[RULES_MAX];
    int count = rules_of(m, credential, plan, rules);

    for (int i = 0; i < count; i++) {
        int64_t *since_us = &m->accounts[rules[i].account].counted_since_us[rules[i].kind];

        *since_us = *since_us == 0 ? now_us : *since_us;
    }
}

static int
chain_place(int credential, int account)
{
    int chain[CHAIN_MAX], length = sim_chain(credential, chain), i = 0;

    while (i < length && chain[i] != account)
        i++;
    return i;
}

/* The hard rule with the smallest remaining, then in chain order, then in the plan's. */
static bool
tightest(const struct model *m, int credential, int plan, int64_t at_us, int64_t now_us,
         struct answer *out, int64_t *remaining, int *account)
{
    struct rule rules[RULES_MAX];
    int count = rules_of(m, credential, plan, rules), best_order = 0;
    bool found = false;

    for (int i = 0; i < count; i++) {
        int order = chain_place(credential, rules[i].account) * 100 + rules[i].order;
        int64_t start_us, spent, held, limit, left;

        if (rules[i].enforce != ENFORCE_HARD)
            continue;
        model_counter(m, rules[i].account, rules[i].kind, at_us, &start_us, &spent, &held);
        limit = limit_of(m, &rules[i], at_us, now_us);
        left = limit > spent + held ? limit - spent - held : 0;
        if (found && (left > *remaining || (left == *remaining && order >= best_order)))
            continue;
        found = true;
        best_order = order;
        *remaining = left;
        *account = rules[i].account;
        out->limit = limit;
        out->spent = spent;
        out->held = held;
    }
    out->has_budget = found;
    return found;
}

/* Thresholds and overruns that a charge at `at_us` reached and that were not told yet. */
static void
tell(struct model *m, int credential, int plan, int64_t at_us, int64_t now_us, struct answer *out)
{
    struct rule rules[RULES_MAX];
    int count = rules_of(m, credential, plan, rules);

    count_from_now(m, credential, plan, now_us);
    for (int i = 0; i < count; i++) {
        const struct rule *rule = &rules[i];
        int64_t start_us, spent, held, limit = limit_of(m, rule, at_us, now_us), slot;
        int *told;
        bool *overrun_told;

        model_counter(m, rule->account, rule->kind, at_us, &start_us, &spent, &held);
        if (rule->enforce == ENFORCE_HARD && spent - limit > out->overrun)
            out->overrun = spent - limit;
        if (rule->enforce == ENFORCE_OFF || spent == 0)
            continue;
        slot = rule->kind == PERIOD_NONE ? 0 : (start_us - TOLD_BASE_US) / HOUR;
        told = &m->told[rule->account][rule->kind][slot];
        overrun_told = &m->overrun_told[rule->account][rule->kind][slot];
        for (size_t a = 0; rule->budget != NULL && a < rule->budget->alert_count; a++) {
            int percent = rule->budget->alerts[a];

            if (percent > *told && (__int128)spent * 100 >= (__int128)limit * percent) {
                *told = percent;
                out->thresholds++;
            }
        }
        if (rule->enforce == ENFORCE_HARD && spent > limit && !*overrun_told) {
            *overrun_told = true;
            out->overruns++;
        }
    }
    out->over = out->overrun > 0;
}

/* ---- holds and charges ---- */

static int
last_plan(const struct model *m, int credential)
{
    return m->accounts[sim_credentials[credential].subject].plan;
}

static void
row_add(struct model *m, unsigned chain, int64_t at_us, int64_t amount)
{
    m->rows[m->row_count++] = (struct row){ at_us, amount, chain };
}

static void
hold_end(struct model *m, int op, enum hold_state state)
{
    size_t i = 0;

    while (m->live[i] != op)
        i++;
    m->live[i] = m->live[--m->live_count];
    m->holds[op].state = state;
}

static void
hold_place(struct model *m, int op, int64_t now_us)
{
    m->holds[op].placed = true;
    m->holds[op].state = HOLD_HELD;
    m->holds[op].at_us = now_us;
    m->holds[op].expires_us = now_us + SIM_HOLD_TTL_US;
    m->live[m->live_count++] = op;
}

/* The live hold whose time ended first, or NOBODY. */
static int
oldest_expired(const struct model *m, int64_t now_us)
{
    int oldest = NOBODY;

    for (size_t i = 0; i < m->live_count; i++) {
        int op = m->live[i];
        int64_t expires_us = m->holds[op].expires_us;

        if (expires_us <= now_us && (oldest == NOBODY || expires_us < m->holds[oldest].expires_us ||
                                     (expires_us == m->holds[oldest].expires_us && op < oldest)))
            oldest = op;
    }
    return oldest;
}

static void
expire_holds(struct model *m, int64_t now_us, struct answer *out)
{
    for (int op; (op = oldest_expired(m, now_us)) != NOBODY;) {
        struct model_hold *hold = &m->holds[op];
        struct answer told = { 0 };

        hold_end(m, op, HOLD_EXPIRED);
        out->expired_holds++;
        if (m->world->charge_on_expiry && hold->amount > 0) {
            hold->expiry_charged = true;
            row_add(m, chain_bits(hold->credential), hold->at_us, hold->amount);
        }
        tell(m, hold->credential, hold->plan, hold->at_us, now_us, &told);
        out->thresholds += told.thresholds;
        out->overruns += told.overruns;
    }
}

static void
charge(struct model *m, int op, int credential, int plan, int64_t at_us, int64_t cost,
       int64_t now_us, struct answer *out)
{
    row_add(m, chain_bits(credential), at_us, cost);
    m->charges[op].made = true;
    m->charges[op].at_us = at_us;
    m->charges[op].amount = m->charges[op].left = cost;
    m->charges[op].credential = credential;
    tell(m, credential, plan, at_us, now_us, out);
}

/* ---- the checks of an admission ---- */

static bool
refuse(struct answer *out, enum reason reason, int account)
{
    out->allow = false;
    out->reason = reason;
    out->account = account;
    return false;
}

static bool
standing(const struct model *m, int credential, bool fresh, bool with_expiry, int64_t now_us,
         struct answer *out)
{
    int chain[CHAIN_MAX], length = sim_chain(credential, chain);

    for (int i = 0; i < length; i++) {
        if (m->accounts[chain[i]].revoked)
            return refuse(out, REASON_REVOKED, chain[i]);
    }
    for (int i = 0; i < length; i++) {
        if (!fresh && m->accounts[chain[i]].verify_after == m->verifications &&
            m->verifications > 0)
            return refuse(out, REASON_REVERIFY, chain[i]);
    }
    for (int i = 0; i < length; i++) {
        if (m->accounts[chain[i]].frozen)
            return refuse(out, REASON_FROZEN, chain[i]);
    }
    for (int i = 0; with_expiry && i < length; i++) {
        int64_t expires_us = m->accounts[chain[i]].expires_us;

        if (expires_us > 0 && expires_us <= now_us) {
            out->expired_us = expires_us;
            return refuse(out, REASON_EXPIRED, chain[i]);
        }
    }
    return true;
}

/* A leaky bucket per limit: each request fills one interval, `burst` intervals fit. */
static bool
rates(struct model *m, int credential, int plan, int64_t now_us, bool take, struct answer *out)
{
    const struct plan *p = &m->world->plans[plan];
    const struct rate *limits[] = { &p->key_rate, &p->rate, &p->org_rate };
    const int holders[] = { sim_credentials[credential].key, sim_credentials[credential].subject,
                            sim_credentials[credential].organization };

    for (int i = 0; i < 3; i++) {
        int64_t drop, full, level, wait, *empty_ns;

        if (limits[i]->count == 0 || holders[i] == NOBODY)
            continue;
        empty_ns = &m->accounts[holders[i]].rate_empty_ns[i];
        drop = limits[i]->per_us * 1000 / limits[i]->count;
        full = limits[i]->burst * drop;
        level = *empty_ns > now_us * 1000 ? *empty_ns - now_us * 1000 : 0;
        if (level > full + RATE_CLOCK_SLACK_US * 1000) /* a clock was wrong */
            level = full - drop;
        if (take)
            *empty_ns = now_us * 1000 + level + drop;
        wait = (level + drop - full + 999) / 1000;
        if (!take && level + drop > full && wait > out->retry_after_us) {
            out->retry_after_us = wait;
            refuse(out, REASON_RATE, holders[i]);
        }
    }
    return out->reason != REASON_RATE;
}

static bool
room(const struct model *m, int credential, int plan, int64_t amount, int64_t at_us, int64_t now_us,
     struct answer *out)
{
    int64_t remaining;
    int account;

    if (!tightest(m, credential, plan, at_us, now_us, out, &remaining, &account) ||
        (amount > 0 ? remaining >= amount : remaining > 0))
        return true;
    return refuse(out, REASON_BUDGET, account);
}

static bool
slot_free(const struct model *m, int credential, int plan, struct answer *out)
{
    int payer = sim_credentials[credential].subject;
    int64_t limit = m->world->plans[plan].concurrency;

    if (limit == 0 || model_live_holds(m, payer) < limit)
        return true;
    out->retry_after_us = 1000000;
    return refuse(out, REASON_CONCURRENCY, payer);
}

static void
allow(const struct model *m, int credential, int plan, int hold_op, int64_t at_us, int64_t now_us,
      struct answer *out)
{
    struct answer budget = { 0 };
    int64_t remaining = 0;
    int account;

    tightest(m, credential, plan, at_us, now_us, &budget, &remaining, &account);
    *out = (struct answer){ .word = out->word,
                            .allow = true,
                            .account = NOBODY,
                            .has_budget = budget.has_budget,
                            .remaining = budget.has_budget ? remaining : 0,
                            .hold_op = hold_op,
                            .thresholds = out->thresholds,
                            .overruns = out->overruns,
                            .expired_holds = out->expired_holds };
    if (hold_op != NOBODY) {
        out->hold_nanos = m->holds[hold_op].amount;
        out->hold_expires_us = m->holds[hold_op].expires_us;
    }
}

/* First sight makes the accounts of the chain; the subject's gets its end from the plan. */
static void
first_sight(struct model *m, int credential, int plan, int64_t now_us)
{
    int chain[CHAIN_MAX], length = sim_chain(credential, chain);
    int subject = sim_credentials[credential].subject;

    if (!m->accounts[subject].exists) {
        m->accounts[subject].plan = plan;
        if (m->world->plans[plan].expires_in_us > 0)
            m->accounts[subject].expires_us = now_us + m->world->plans[plan].expires_in_us;
    }
    for (int i = 0; i < length; i++)
        m->accounts[chain[i]].exists = true;
    m->seen[credential] = true;
}

/* `root` is the first call of the client request, `op` this one. */
static void
run_admit(struct model *m, const struct op *op, int root, int64_t now_us, struct answer *out)
{
    int before = m->requests[root].hold, credential = op->credential, plan = op->plan;
    bool lives = m->requests[root].counted && before != NOBODY &&
                 m->holds[before].state == HOLD_HELD && now_us < m->holds[before].expires_us;
    bool counted = lives || (m->requests[root].counted && before == NOBODY &&
                             now_us < m->requests[root].until_us);

    if (m->creates_on_refusal) {
        first_sight(m, credential, plan, now_us);
        count_from_now(m, credential, plan, now_us);
    }
    if (!standing(m, credential, !op->stale, true, now_us, out) ||
        (!counted && !rates(m, credential, plan, now_us, false, out)) ||
        (!lives && (!slot_free(m, credential, plan, out) ||
                    !room(m, credential, plan, op->amount_nanos, now_us, now_us, out))))
        return;
    first_sight(m, credential, plan, now_us);
    count_from_now(m, credential, plan, now_us);
    m->accounts[sim_credentials[credential].subject].plan = plan;
    if (!counted)
        rates(m, credential, plan, now_us, true, out);
    if (!lives) {
        bool due = op->amount_nanos > 0 || m->world->plans[plan].concurrency > 0;

        if (due) {
            m->holds[op->number] = (struct model_hold){ .credential = credential,
                                                        .plan = plan,
                                                        .amount = op->amount_nanos };
            hold_place(m, op->number, now_us);
        }
        if (due || !counted) {
            m->requests[root].counted = true;
            m->requests[root].hold = due ? op->number : NOBODY;
            m->requests[root].until_us = now_us + SIM_REPEAT_US;
        }
    }
    allow(m, credential, plan, lives ? before : m->requests[root].hold, now_us, now_us, out);
}

static void
run_settle(struct model *m, const struct op *op, int64_t now_us, struct answer *out)
{
    struct model_hold *hold = &m->holds[op->ref];

    if (hold->state == HOLD_VOIDED || (hold->posted && hold->posted_amount != op->amount_nanos)) {
        out->word = WORD_CONFLICT;
        return;
    }
    out->word = hold->posted ? WORD_REPLAYED : WORD_DONE;
    if (hold->posted)
        return;
    if (hold->state == HOLD_HELD)
        hold_end(m, op->ref, HOLD_SETTLED);
    else if (hold->expiry_charged)
        row_add(m, chain_bits(hold->credential), hold->at_us, -hold->amount);
    hold->posted = true;
    hold->posted_amount = op->amount_nanos;
    charge(m, op->number, hold->credential, hold->plan, hold->at_us, op->amount_nanos, now_us, out);
}

static void
run_extend(struct model *m, const struct op *op, int64_t now_us, struct answer *out)
{
    struct model_hold *hold = &m->holds[op->ref];
    bool back = hold->state == HOLD_EXPIRED;
    int64_t total = hold->amount + op->amount_nanos, at_us = back ? now_us : hold->at_us;

    out->word = WORD_CONFLICT;
    if (hold->state == HOLD_SETTLED || hold->state == HOLD_VOIDED || hold->posted ||
        hold->expiry_charged)
        return;
    out->word = WORD_DENIED;
    if (!standing(m, hold->credential, true, back, now_us, out) ||
        (back && !slot_free(m, hold->credential, hold->plan, out)) ||
        ((back || op->amount_nanos > 0) &&
         !room(m, hold->credential, hold->plan, back ? total : op->amount_nanos, at_us, now_us,
               out)))
        return;
    hold->amount = total;
    if (back)
        hold_place(m, op->ref, now_us);
    hold->expires_us = now_us + SIM_HOLD_TTL_US;
    count_from_now(m, hold->credential, hold->plan, now_us);
    out->word = WORD_DONE;
    allow(m, hold->credential, hold->plan, op->ref, at_us, now_us, out);
}

static void
run_account(struct model *m, const struct op *op, int64_t now_us, struct answer *out)
{
    bool makes = op->change == ACCOUNT_FREEZE || op->change == ACCOUNT_REVOKE;

    out->word = m->accounts[op->account].exists || makes ? WORD_DONE : WORD_UNKNOWN;
    if (out->word != WORD_DONE)
        return;
    m->accounts[op->account].exists = true;
    if (op->change == ACCOUNT_FREEZE || op->change == ACCOUNT_UNFREEZE)
        m->accounts[op->account].frozen = op->change == ACCOUNT_FREEZE;
    else if (op->change == ACCOUNT_REVOKE || op->change == ACCOUNT_UNREVOKE)
        m->accounts[op->account].revoked = op->change == ACCOUNT_REVOKE;
    else if (op->change == ACCOUNT_RENEW)
        m->accounts[op->account].expires_us = op->until_us == 0 ? 0 : now_us + op->until_us;
    else
        m->accounts[op->account].verify_after = ++m->verifications;
}

/* The driver found the budget, or said that there is none. */
static void
run_budget(struct model *m, const struct op *op, int64_t now_us, const struct answer *got,
           struct answer *out)
{
    enum period_kind kind = sim_kinds[op->period];
    bool found = got->word == WORD_DONE || got->word == WORD_REPLAYED; /* done before a crash */
    int64_t start_us, end_us;

    out->word = m->accounts[op->account].exists && found ? WORD_DONE : WORD_UNKNOWN;
    if (out->word != WORD_DONE)
        return;
    if (m->accounts[op->account].counted_since_us[kind] == 0)
        m->accounts[op->account].counted_since_us[kind] = now_us;
    period_of(kind, now_us, &start_us, &end_us);
    if (op->kind == OP_CREDIT) {
        m->credits[m->credit_count++] = (struct model_credit){
            .account = op->account,
            .kind = kind,
            .amount = op->amount_nanos,
            .from_us = op->until_us > 0 ? now_us : start_us,
            .until_us = op->until_us > 0 ? now_us + op->until_us : end_us,
        };
        return;
    }
    m->accounts[op->account].hand[kind].limited = op->kind == OP_BUDGET_SET;
    m->accounts[op->account].hand[kind].limit = op->amount_nanos;
    if (op->kind == OP_BUDGET_CLEAR || op->enforce >= 0)
        m->accounts[op->account].hand[kind].enforced = op->kind == OP_BUDGET_SET;
    if (op->enforce >= 0)
        m->accounts[op->account].hand[kind].enforce = (enum enforce)op->enforce;
}

void
model_look(struct model *m, int64_t now_us, struct answer *want)
{
    *want = (struct answer){ .account = NOBODY, .hold_op = NOBODY };
    expire_holds(m, now_us, want);
}

void
model_overrun(const struct model *m, int credential, int plan, int64_t now_us, int64_t *spent_over,
              int64_t *held_over)
{
    struct rule rules[RULES_MAX];
    int count = rules_of(m, credential, plan, rules);

    *spent_over = *held_over = 0;
    for (int i = 0; i < count; i++) {
        int64_t start_us, spent, held, limit = limit_of(m, &rules[i], now_us, now_us);

        model_counter(m, rules[i].account, rules[i].kind, now_us, &start_us, &spent, &held);
        if (rules[i].enforce == ENFORCE_HARD && spent - limit > *spent_over)
            *spent_over = spent - limit;
        if (rules[i].enforce == ENFORCE_HARD && spent + held - limit > *held_over)
            *held_over = spent + held - limit;
    }
}

int64_t
model_hold_open(const struct model *m, int op, int64_t now_us)
{
    const struct model_hold *hold = &m->holds[op];

    return hold->placed && hold->state == HOLD_HELD && now_us < hold->expires_us ? hold->amount
                                                                                 : -1;
}

bool
model_runnable(const struct model *m, const struct op *op)
{
    if (op->kind == OP_SETTLE || op->kind == OP_VOID || op->kind == OP_EXTEND)
        return m->holds[op->ref].placed;
    if (op->kind == OP_REFUND)
        return m->charges[op->ref].made;
    return op->kind != OP_SPEND || m->seen[op->credential];
}

bool
model_run(struct model *m, const struct op *op, int64_t now_us, bool again,
          const struct answer *got, struct answer *want)
{
    bool keyed = op->kind == OP_SPEND || op->kind == OP_EXTEND || op->kind == OP_REFUND ||
                 op->kind == OP_CREDIT;

    *want = (struct answer){ .account = NOBODY, .hold_op = NOBODY };
    expire_holds(m, now_us, want);
    if (keyed && again && m->done[op->number] == WORD_DONE) {
        want->word = WORD_REPLAYED;
        return true;
    }
    switch (op->kind) {
    case OP_ADMIT:
        run_admit(m, op, op->number, now_us, want);
        break;
    case OP_AGAIN:
        run_admit(m, op, op->ref, now_us, want);
        break;
    case OP_SETTLE:
        run_settle(m, op, now_us, want);
        break;
    case OP_SPEND:
        want->word = WORD_DONE;
        charge(m, op->number, op->credential, last_plan(m, op->credential), now_us,
               op->amount_nanos, now_us, want);
        break;
    case OP_VOID:
        want->word = m->holds[op->ref].state == HOLD_HELD || m->holds[op->ref].state == HOLD_VOIDED
                         ? WORD_DONE
                         : WORD_CONFLICT;
        if (m->holds[op->ref].state == HOLD_HELD)
            hold_end(m, op->ref, HOLD_VOIDED);
        if (want->word == WORD_DONE)
            count_from_now(m, m->holds[op->ref].credential, m->holds[op->ref].plan, now_us);
        break;
    case OP_EXTEND:
        run_extend(m, op, now_us, want);
        break;
    case OP_REFUND: {
        int64_t left = m->charges[op->ref].left;
        int64_t amount = op->amount_nanos < 0 ? left : op->amount_nanos;

        want->word = left == 0 || amount > left ? WORD_CONFLICT : WORD_DONE;
        if (want->word == WORD_DONE) {
            m->charges[op->ref].left -= amount;
            count_from_now(m, m->charges[op->ref].credential,
                           last_plan(m, m->charges[op->ref].credential), now_us);
            row_add(m, chain_bits(m->charges[op->ref].credential), m->charges[op->ref].at_us,
                    -amount);
        }
        break;
    }
    case OP_ACCOUNT:
        run_account(m, op, now_us, want);
        break;
    case OP_CREDIT:
    case OP_BUDGET_SET:
    case OP_BUDGET_CLEAR:
        run_budget(m, op, now_us, got, want);
        break;
    default: /* OP_PLAN_EDIT: the settings are the world's */
        want->word = WORD_DONE;
        break;
    }
    m->done[op->number] = want->word;
    return true;
}
