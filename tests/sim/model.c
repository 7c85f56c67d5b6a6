/* SPDX-License-Identifier: MIT */
#include "tests/sim/model.h"

#include "common/banned.h"

#define HOUR (INT64_C(3600) * 1000000)
#define DAY (24 * HOUR)
#define FIRST_DAY (SIM_START_US / DAY)
#define OWN_ORDER 99 /* of a limit that is not the plan's */

/* ---- periods ---- */

void
model_period(enum period_kind kind, int64_t at_us, int64_t *start_us, int64_t *end_us)
{
    static const int64_t months[] = { 19723, 19754, 19783, 19814 }; /* of 2024, in days */
    int64_t length = kind == PERIOD_HOUR ? HOUR : DAY;

    *start_us = at_us / length * length;
    *end_us = *start_us + length;
    for (int i = 0; i < 3 && kind == PERIOD_MONTH; i++) {
        if (at_us >= months[i] * DAY && at_us < months[i + 1] * DAY) {
            *start_us = months[i] * DAY;
            *end_us = months[i + 1] * DAY;
        }
    }
    if (kind == PERIOD_NONE) {
        *start_us = 0;
        *end_us = PERIOD_NEVER_US;
    }
}

/* ---- rows and holds ---- */

static bool
on_chain(int credential, int account)
{
    const struct sim_credential *c = &sim_credentials[credential];

    return account == c->key || account == c->subject || account == c->organization ||
           account == c->parent || account == ALL;
}

void
model_row_add(struct model *m, int credential, int64_t at_us, int64_t amount)
{
    struct model_row *row = &m->rows[m->row_count++];

    *row = (struct model_row){ .at_us = at_us, .amount = amount };
    for (int account = 0; account < ACCOUNTS; account++)
        row->chain |= (unsigned)on_chain(credential, account) << account;
}

void
model_hold_place(struct model *m, int op)
{
    struct model_hold *hold = &m->holds[op];

    hold->placed = true;
    hold->state = HOLD_HELD;
    hold->at_us = m->now_us;
    hold->expires_us = m->now_us + SIM_HOLD_TTL_US;
    m->live[m->live_count++] = op;
}

void
model_hold_end(struct model *m, int op, enum hold_state state)
{
    size_t i = 0;

    while (m->live[i] != op)
        i++;
    m->live[i] = m->live[--m->live_count];
    m->holds[op].state = state;
}

/* ---- sums ---- */

void
model_counter(const struct model *m, int account, enum period_kind kind, int64_t at_us,
              struct line *out)
{
    int64_t spent = 0, start_us, end_us;

    model_period(kind, at_us, &start_us, &end_us);
    for (size_t i = 0; i < m->row_count; i++) { /* no branches: most of the time is spent here */
        const struct model_row *row = &m->rows[i];
        int counts =
            (int)(row->chain >> account & 1) & (row->at_us >= start_us) & (row->at_us < end_us);

        spent += row->amount & -(int64_t)counts;
    }
    out->spent = spent;
    out->held = 0;
    out->start_us = start_us;
    for (size_t i = 0; i < m->live_count; i++) {
        const struct model_hold *hold = &m->holds[m->live[i]];

        if (on_chain(hold->credential, account) && hold->at_us >= start_us && hold->at_us < end_us)
            out->held += hold->amount;
    }
}

int64_t
model_live_holds(const struct model *m, int payer)
{
    int64_t count = 0;

    for (size_t i = 0; i < m->live_count; i++)
        count += sim_credentials[m->holds[m->live[i]].credential].subject == payer;
    return count;
}

/* Credits that are in force at some instant of [from, until). */
static int64_t
sum_credits(const struct model *m, const struct line *line, int64_t from_us, int64_t until_us)
{
    int64_t sum = 0;

    for (size_t i = 0; i < m->credit_count; i++) {
        const struct model_credit *c = &m->credits[i];

        if (c->account == line->account && c->kind == line->kind && c->from_us < until_us &&
            c->until_us > from_us)
            sum += c->amount;
    }
    return sum;
}

/* What earlier days overran since there is the counter, each paying off with today's limit. */
static int64_t
carry_into(const struct model *m, const struct line *line)
{
    int64_t spent[SIM_SPAN_US / DAY + 2] = { 0 }, carry = 0;
    int64_t since_us = m->budgets[line->account][PERIOD_DAY].since_us;

    for (size_t i = 0; i < m->row_count; i++) {
        if (m->rows[i].chain >> line->account & 1)
            spent[m->rows[i].at_us / DAY - FIRST_DAY] += m->rows[i].amount;
    }
    for (int64_t day = FIRST_DAY; since_us != 0 && day * DAY < line->start_us; day++) {
        int64_t start_us = day * DAY, end_us = start_us + DAY;

        if (end_us > since_us)
            carry += spent[day - FIRST_DAY] - line->limit - sum_credits(m, line, start_us, end_us);
        if (carry < 0)
            carry = 0;
    }
    return carry;
}

/* ---- limits ---- */

/* Which account a budget of the plan is on. */
static int
account_of(const struct plan_budget *b, const struct sim_credential *who)
{
    if (b->per == PER_KEY)
        return who->key;
    return b->per == PER_ORG && who->organization != NOBODY ? who->organization : who->subject;
}

/* The plan's budget of the line's account and kind; of two, the one that refuses sooner. Over it,
 * what was set by hand. */
static bool
find_rule(const struct model *m, const struct caller *who, struct line *line)
{
    const struct model_budget *own = &m->budgets[line->account][line->kind];
    const struct plan *plan = who->plan != NOBODY ? &m->world->plans[who->plan] : NULL;

    for (size_t i = 0; plan != NULL && i < plan->budget_count; i++) {
        const struct plan_budget *b = &plan->budgets[i];

        if (account_of(b, &sim_credentials[who->credential]) != line->account ||
            b->spec.kind != line->kind)
            continue;
        if (line->budget != NULL && (b->enforce > line->enforce || (b->enforce == line->enforce &&
                                                                    b->limit_nanos >= line->limit)))
            continue;
        line->budget = b;
        line->order = (int)i;
        line->limit = b->limit_nanos;
        line->enforce = b->enforce;
    }
    if (own->limited) {
        line->limit = own->limit;
        line->enforce = own->enforced ? own->enforce : line->enforce;
    }
    return own->limited || line->budget != NULL;
}

/* base + credits in force now, or at the end of a period that is over, - what is carried into it */
static void
find_limit(const struct model *m, const struct caller *who, struct line *line)
{
    bool carries = line->budget != NULL && line->budget->overage == OVERAGE_CARRY;
    int64_t start_us, end_us, look_us, carry;

    model_period(line->kind, who->at_us, &start_us, &end_us);
    look_us = m->now_us < end_us ? m->now_us : end_us - 1;
    carry = carries && line->kind == PERIOD_DAY ? carry_into(m, line) : 0;
    line->limit += sum_credits(m, line, look_us, look_us + 1) - carry;
    if (line->limit < 0)
        line->limit = 0;
    line->left = line->limit - line->spent - line->held;
    if (line->left < 0)
        line->left = 0;
}

int
model_lines(const struct model *m, const struct caller *who, struct line out[LINES_MAX])
{
    int count = 0, chain[CHAIN_MAX], length = sim_chain(who->credential, chain);

    for (int i = 0; i < length * KINDS; i++) {
        struct line *line = &out[count];

        *line = (struct line){ .account = chain[i / KINDS],
                               .kind = sim_kinds[i % KINDS],
                               .order = OWN_ORDER };
        if (!find_rule(m, who, line))
            continue;
        model_counter(m, line->account, line->kind, who->at_us, line);
        find_limit(m, who, line);
        count++;
    }
    return count;
}
