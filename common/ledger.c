/* SPDX-License-Identifier: MIT */
#include "common/ledger.h"

#include "common/buf.h"
#include "common/clock.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/banned.h"

/* ---- names ---------------------------------------------------------------------------------- */

enum account_kind
account_kind_of(const char *name)
{
    static const struct {
        const char *prefix;
        enum account_kind kind;
    } prefixes[] = {
        { "user_", ACCOUNT_USER }, { "org_", ACCOUNT_ORGANIZATION }, { "mch_", ACCOUNT_MACHINE },
        { "key:", ACCOUNT_KEY },   { "group:", ACCOUNT_GROUP },
    };

    if (strcmp(name, "all") == 0)
        return ACCOUNT_ALL;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strncmp(name, prefixes[i].prefix, strlen(prefixes[i].prefix)) == 0)
            return prefixes[i].kind;
    }
    return ACCOUNT_SUBJECT;
}

const char *
account_kind_name(enum account_kind kind)
{
    static const char *const names[] = {
        [ACCOUNT_SUBJECT] = "subject",
        [ACCOUNT_USER] = "user",
        [ACCOUNT_ORGANIZATION] = "organization",
        [ACCOUNT_MACHINE] = "machine",
        [ACCOUNT_KEY] = "key",
        [ACCOUNT_GROUP] = "group",
        [ACCOUNT_ALL] = "all",
    };

    return names[kind];
}

bool
account_name_valid(const char *name)
{
    size_t length = strnlen(name, ACCOUNT_NAME_SIZE);

    if (length == 0 || length == ACCOUNT_NAME_SIZE)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (name[i] <= ' ' || name[i] > '~' || strchr("/?#%\"\\", name[i]) != NULL)
            return false;
    }
    return true;
}

const char *
event_kind_name(enum event_kind kind)
{
    static const char *const names[] = {
        [EVENT_THRESHOLD] = "threshold",
        [EVENT_OVERRUN] = "overrun",
        [EVENT_HOLD_EXPIRED] = "hold_expired",
        [EVENT_ACCOUNT_FROZEN] = "account_frozen",
        [EVENT_ADMIN] = "admin",
    };

    return names[kind];
}

const char *
hold_state_name(enum hold_state state)
{
    static const char *const names[] = {
        [HOLD_HELD] = "held",
        [HOLD_SETTLED] = "settled",
        [HOLD_VOIDED] = "voided",
        [HOLD_EXPIRED] = "expired",
    };

    return names[state];
}

/* ---- the rule of a line ---------------------------------------------------------------------- */

int
ledger_payer(const struct ledger *ledger)
{
    if (ledger->subject >= 0)
        return ledger->subject;
    if (ledger->key >= 0)
        return ledger->key;
    return ledger->account_count > 0 ? 0 : -1;
}

static int
budget_account(const struct ledger *ledger, enum budget_per per)
{
    switch (per) {
    case PER_KEY:
        return ledger->key;
    case PER_ORG:
        return ledger->organization >= 0 ? ledger->organization : ledger->subject;
    default:
        return ledger->subject;
    }
}

static struct budget_line *
line_find(struct ledger *ledger, int account, const struct period_spec *spec)
{
    for (size_t i = 0; i < ledger->line_count; i++) {
        struct budget_line *line = &ledger->lines[i];

        if (line->account == account && period_spec_equal(&line->spec, spec))
            return line;
    }
    return NULL;
}

/* Of two budgets on one line the tighter rules: it refuses sooner. */
static bool
budget_tighter(const struct plan_budget *budget, const struct budget_line *line)
{
    if (!line->limited)
        return true;
    if (budget->enforce != line->enforce)
        return budget->enforce < line->enforce;
    return budget->limit_nanos < line->base_limit_nanos;
}

static void
line_take_budget(struct budget_line *line, const struct plan_budget *budget, int index)
{
    if (!budget_tighter(budget, line))
        return;
    line->limited = true;
    line->from_plan = true;
    line->plan_index = index;
    line->base_limit_nanos = budget->limit_nanos;
    line->enforce = budget->enforce;
    line->overage = budget->overage;
    line->alert_count = budget->alert_count;
    memcpy(line->alerts, budget->alerts, sizeof(line->alerts));
}

static void
line_take_hand(struct budget_line *line)
{
    if (line->hand_limited) {
        line->limited = true;
        line->from_plan = false;
        line->base_limit_nanos = line->hand_limit_nanos;
    }
    if (line->hand_enforced)
        line->enforce = line->hand_enforce;
}

enum status
ledger_bind(struct ledger *ledger, const struct plan *plan, int64_t now_us, struct error *err)
{
    for (size_t i = 0; i < ledger->line_count; i++) {
        struct budget_line *line = &ledger->lines[i];

        line->limited = line->from_plan = false;
        line->plan_index = -1;
        line->base_limit_nanos = 0;
        line->enforce = ENFORCE_HARD;
        line->overage = OVERAGE_FORGIVE;
        line->alert_count = 0;
    }
    for (size_t i = 0; plan != NULL && i < plan->budget_count; i++) {
        const struct plan_budget *budget = &plan->budgets[i];
        int account = budget_account(ledger, budget->per);
        struct budget_line *line;

        if (account < 0)
            continue;
        line = line_find(ledger, account, &budget->spec);
        if (line == NULL) {
            if (ledger->line_count == LEDGER_LINES_MAX)
                return error_set(err, STATUS_OVERFLOW,
                                 "account %s: a request may count on at most %d budgets",
                                 ledger->accounts[account].name, LEDGER_LINES_MAX);
            line = &ledger->lines[ledger->line_count++];
            *line = (struct budget_line){ .account = account,
                                          .spec = budget->spec,
                                          .created_us = now_us };
        }
        line_take_budget(line, budget, (int)i);
    }
    for (size_t i = 0; i < ledger->line_count; i++)
        line_take_hand(&ledger->lines[i]);
    return STATUS_OK;
}

int64_t
ledger_limit(const struct budget_line *line)
{
    int64_t limit = line->base_limit_nanos + line->credit_nanos - line->carry_nanos;

    if (limit < 0)
        return 0;
    return limit < MONEY_MAX_NANOS ? limit : MONEY_MAX_NANOS;
}

int64_t
ledger_remaining(const struct budget_line *line)
{
    return money_sub_floor(ledger_limit(line), line->spent_nanos + line->held_nanos);
}

/* Periods without a row between two instants pay off one base limit each. */
static enum status
carry_pay_off(const struct budget_line *line, int64_t from_us, int64_t until_us,
              int64_t *carry_nanos, struct error *err)
{
    int64_t base = line->base_limit_nanos, count, most;
    enum status status;

    if (*carry_nanos == 0 || base == 0)
        return STATUS_OK;
    most = *carry_nanos / base + 1;
    status = period_count(&line->spec, from_us, until_us, most, &count, err);
    if (status == STATUS_OK)
        *carry_nanos = count == most ? 0 : *carry_nanos - count * base;
    return status;
}

enum status
ledger_carry(const struct budget_line *line, const struct period_history *history, size_t count,
             int64_t start_us, int64_t *carry_nanos, struct error *err)
{
    int64_t carry = 0, end_us = 0;
    enum status status;

    *carry_nanos = 0;
    for (size_t i = 0; i < count; i++) {
        const struct period_history *h = &history[i];

        if (h->period.end_us <= line->created_us) /* there was no limit yet to overrun */
            continue;
        status = carry_pay_off(line, end_us, h->period.start_us, &carry, err);
        if (status != STATUS_OK)
            return status;
        carry += h->spent_nanos - line->base_limit_nanos - h->credit_nanos;
        if (carry < 0)
            carry = 0;
        if (carry > MONEY_MAX_NANOS)
            return error_set(err, STATUS_OVERFLOW, "the carried overage passes the largest amount");
        end_us = h->period.end_us;
    }
    status = carry_pay_off(line, end_us, start_us, &carry, err);
    if (status == STATUS_OK)
        *carry_nanos = carry;
    return status;
}

/* ---- changing counters ------------------------------------------------------------------------
 */

/* What one event does to every line: first the parts that are taken away, then those that come. */
struct move {
    int64_t held_less, held_more;
    int64_t spent_less, spent_more;
};

static enum status
line_moved(const struct ledger *ledger, const struct budget_line *line, const struct move *move,
           int64_t *spent_nanos, int64_t *held_nanos, struct error *err)
{
    if (!money_sub(line->spent_nanos, move->spent_less, spent_nanos) ||
        !money_sub(line->held_nanos, move->held_less, held_nanos))
        return error_set(err, STATUS_CORRUPT,
                         "account %s: a %s counter would become negative; run spendgate verify",
                         ledger->accounts[line->account].name, period_kind_name(line->spec.kind));
    if (!money_add(*spent_nanos, move->spent_more, spent_nanos) ||
        !money_add(*held_nanos, move->held_more, held_nanos))
        return error_set(err, STATUS_OVERFLOW,
                         "account %s: a %s counter would pass the largest amount",
                         ledger->accounts[line->account].name, period_kind_name(line->spec.kind));
    return STATUS_OK;
}

/* All lines, or none (I6): the first pass only asks. */
static enum status
lines_move(struct ledger *ledger, const struct move *move, struct error *err)
{
    int64_t spent, held;
    enum status status;

    for (size_t i = 0; i < ledger->line_count; i++) {
        status = line_moved(ledger, &ledger->lines[i], move, &spent, &held, err);
        if (status != STATUS_OK)
            return status;
    }
    for (size_t i = 0; i < ledger->line_count; i++) {
        struct budget_line *line = &ledger->lines[i];

        status = line_moved(ledger, line, move, &spent, &held, err);
        assert(status == STATUS_OK);
        if (spent != line->spent_nanos || held != line->held_nanos)
            line->changed = true;
        line->spent_nanos = spent;
        line->held_nanos = held;
    }
    return STATUS_OK;
}

/* The hold stops to be one of its payer's live ones, and its amount leaves the lines, together with
 * what else `move` says. */
static enum status
hold_release(struct ledger *ledger, struct hold *hold, enum hold_state state, struct move move,
             struct error *err)
{
    int payer = ledger_payer(ledger);
    enum status status;

    if (payer < 0 || ledger->accounts[payer].live_holds < 1)
        return error_set(err, STATUS_CORRUPT,
                         "account %s: the number of live holds is wrong; run spendgate verify",
                         payer < 0 ? "(none)" : ledger->accounts[payer].name);
    move.held_less = hold->amount_nanos;
    status = lines_move(ledger, &move, err);
    if (status != STATUS_OK)
        return status;
    ledger->accounts[payer].live_holds--;
    ledger->accounts[payer].changed = true;
    hold->state = state;
    hold->changed = true;
    return STATUS_OK;
}

static bool
hold_live(const struct hold *hold, int64_t now_us)
{
    return hold->state == HOLD_HELD && now_us < hold->expires_us;
}

/* ---- telling -----------------------------------------------------------------------------------
 */

static void
event_add(struct ledger *ledger, enum event_kind kind, int line, int percent)
{
    assert(ledger->event_count < LEDGER_EVENTS_MAX);
    ledger->events[ledger->event_count++] =
        (struct ledger_event){ .kind = kind, .line = line, .percent = percent };
}

/* Thresholds and the overrun that a line has reached and not told yet in this period. */
static void
line_announce(struct ledger *ledger, int index)
{
    struct budget_line *line = &ledger->lines[index];
    int told = line->alerted % LEDGER_OVERRUN_TOLD;
    bool overrun_told = line->alerted >= LEDGER_OVERRUN_TOLD;
    int64_t limit = ledger_limit(line);

    for (size_t i = 0; i < line->alert_count; i++) {
        int percent = line->alerts[i];

        if (percent <= told || (__int128)line->spent_nanos * 100 < (__int128)limit * percent)
            continue;
        event_add(ledger, EVENT_THRESHOLD, index, percent);
        told = percent;
    }
    if (!overrun_told && line->enforce == ENFORCE_HARD && line->spent_nanos > limit) {
        event_add(ledger, EVENT_OVERRUN, index, 0);
        overrun_told = true;
    }
    told += overrun_told ? LEDGER_OVERRUN_TOLD : 0;
    if (told != line->alerted) {
        line->alerted = told;
        line->changed = true;
    }
}

static void
announce(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->line_count; i++) {
        const struct budget_line *line = &ledger->lines[i];

        if (line->limited && line->enforce != ENFORCE_OFF && line->spent_nanos > 0)
            line_announce(ledger, (int)i);
    }
}

static bool
line_hard(const struct budget_line *line)
{
    return line->limited && line->enforce == ENFORCE_HARD;
}

static void
effect_measure(const struct ledger *ledger, struct charge_effect *out)
{
    for (size_t i = 0; i < ledger->line_count; i++) {
        const struct budget_line *line = &ledger->lines[i];
        int64_t overrun = line_hard(line) ? line->spent_nanos - ledger_limit(line) : 0;

        if (overrun > out->overrun_nanos)
            out->overrun_nanos = overrun;
    }
    out->over_budget = out->overrun_nanos > 0;
}

/* ---- admission ---------------------------------------------------------------------------------
 */

static bool
refuse(const struct ledger *ledger, int account, enum reason reason, struct verdict *out)
{
    out->reason = reason;
    memcpy(out->account, ledger->accounts[account].name, sizeof(out->account));
    out->own_account = account == ledger->key || account == ledger->subject;
    return false;
}

static bool
none_revoked(const struct ledger *ledger, struct verdict *out)
{
    for (size_t i = 0; i < ledger->account_count; i++) {
        if (ledger->accounts[i].revoked)
            return refuse(ledger, (int)i, REASON_REVOKED, out);
    }
    return true;
}

static bool
verification_new_enough(const struct ledger *ledger, int64_t verification, struct verdict *out)
{
    for (size_t i = 0; i < ledger->account_count; i++) {
        if (verification < ledger->accounts[i].verify_after)
            return refuse(ledger, (int)i, REASON_REVERIFY, out);
    }
    return true;
}

static bool
none_frozen(const struct ledger *ledger, struct verdict *out)
{
    for (size_t i = 0; i < ledger->account_count; i++) {
        if (ledger->accounts[i].frozen)
            return refuse(ledger, (int)i, REASON_FROZEN, out);
    }
    return true;
}

static bool
none_expired(const struct ledger *ledger, int64_t now_us, struct verdict *out)
{
    for (size_t i = 0; i < ledger->account_count; i++) {
        int64_t expires_us = ledger->accounts[i].expires_us;

        if (expires_us != 0 && now_us >= expires_us) {
            out->expired_us = expires_us;
            return refuse(ledger, (int)i, REASON_EXPIRED, out);
        }
    }
    return true;
}

static bool
scopes_granted(const char *missing_scope, struct verdict *out)
{
    if (missing_scope == NULL)
        return true;
    out->reason = REASON_SCOPE;
    return false;
}

/* Asks only; all of them have to allow before any is taken. */
static bool
rates_allow(const struct ledger *ledger, int64_t now_us, struct verdict *out)
{
    int64_t retry_after_us;

    for (size_t i = 0; i < ledger->rate_count; i++) {
        const struct rate_row *row = &ledger->rates[i];

        if (rate_would_allow(&row->rate, row->tat_ns, now_us, &retry_after_us) ||
            retry_after_us <= out->retry_after_us)
            continue;
        out->retry_after_us = retry_after_us;
        out->rate = row->rate;
        memcpy(out->rate_text, row->rate.text, sizeof(out->rate_text));
        refuse(ledger, row->account, REASON_RATE, out);
    }
    return out->reason != REASON_RATE;
}

static void
rates_take(struct ledger *ledger, int64_t now_us)
{
    int64_t retry_after_us;

    for (size_t i = 0; i < ledger->rate_count; i++) {
        struct rate_row *row = &ledger->rates[i];

        /* untaken: a rate that refuses does not get here, rates_allow has asked them all */
        if (row->rate.count > 0 && rate_take(&row->rate, &row->tat_ns, now_us, &retry_after_us))
            row->changed = true;
    }
}

static bool
concurrency_allows(const struct ledger *ledger, const struct plan *plan, struct verdict *out)
{
    int payer = ledger_payer(ledger);

    if (plan == NULL || plan->concurrency == 0 ||
        ledger->accounts[payer].live_holds < plan->concurrency)
        return true;
    out->concurrency = plan->concurrency;
    out->retry_after_us = US_PER_SECOND;
    return refuse(ledger, payer, REASON_CONCURRENCY, out);
}

/* I1. A hold of 0 holds nothing, so something has to be left. */
static bool
line_refuses(const struct budget_line *line, int64_t hold_nanos)
{
    int64_t used = line->spent_nanos + line->held_nanos, limit = ledger_limit(line);

    return hold_nanos > 0 ? used + hold_nanos > limit : used >= limit;
}

static bool
line_before(const struct budget_line *a, const struct budget_line *b)
{
    int64_t a_remaining = ledger_remaining(a), b_remaining = ledger_remaining(b);

    if (a_remaining != b_remaining)
        return a_remaining < b_remaining;
    if (a->account != b->account)
        return a->account < b->account;
    if (a->plan_index != b->plan_index)
        return (unsigned)a->plan_index < (unsigned)b->plan_index; /* -1, not in the plan, is last */
    return a->spec.kind < b->spec.kind;
}

/* The hard line with the smallest remaining, or NULL. If any refuses, this one does. */
static const struct budget_line *
line_tightest(const struct ledger *ledger)
{
    const struct budget_line *tightest = NULL;

    for (size_t i = 0; i < ledger->line_count; i++) {
        const struct budget_line *line = &ledger->lines[i];

        if (line_hard(line) && (tightest == NULL || line_before(line, tightest)))
            tightest = line;
    }
    return tightest;
}

static void
tell_budget(const struct ledger *ledger, struct verdict *out)
{
    const struct budget_line *line = line_tightest(ledger);

    if (line == NULL)
        return;
    out->has_budget = true;
    out->period = line->spec.kind;
    out->limit_nanos = ledger_limit(line);
    out->spent_nanos = line->spent_nanos;
    out->held_nanos = line->held_nanos;
    out->remaining_nanos = ledger_remaining(line);
    out->resets_us = line->period.end_us;
}

static bool
budgets_allow(const struct ledger *ledger, int64_t hold_nanos, struct verdict *out)
{
    const struct budget_line *line = line_tightest(ledger);

    if (line == NULL || !line_refuses(line, hold_nanos))
        return true;
    tell_budget(ledger, out);
    return refuse(ledger, line->account, REASON_BUDGET, out);
}

/* Names the `warn` budgets that would refuse; one that does not fit is left out whole. */
static void
tell_warnings(const struct ledger *ledger, int64_t hold_nanos, bool held_already,
              struct verdict *out)
{
    char entry[ACCOUNT_NAME_SIZE + 16];
    struct buf warn;

    buf_init(&warn, out->warn, sizeof(out->warn));
    for (size_t i = 0; i < ledger->line_count; i++) {
        const struct budget_line *line = &ledger->lines[i];
        int64_t used = line->spent_nanos + line->held_nanos;
        int length;

        if (!line->limited || line->enforce != ENFORCE_WARN)
            continue;
        if (held_already ? used <= ledger_limit(line) : !line_refuses(line, hold_nanos))
            continue;
        length = snprintf(entry, sizeof(entry), "%s%s %s", warn.length > 0 ? "," : "",
                          ledger->accounts[line->account].name, period_kind_name(line->spec.kind));
        if (warn.length + (size_t)length < warn.size)
            buf_add(&warn, entry);
    }
}

/* Put `hold` on every line and among the payer's live holds. */
static enum status
hold_put(struct ledger *ledger, struct hold *hold, int64_t now_us, struct error *err)
{
    struct move move = { .held_more = hold->amount_nanos };
    struct account *payer = &ledger->accounts[ledger_payer(ledger)];
    enum status status = lines_move(ledger, &move, err);

    if (status != STATUS_OK)
        return status;
    payer->live_holds++;
    payer->changed = true;
    hold->state = HOLD_HELD;
    hold->placed_us = now_us;
    hold->expires_us = now_us + hold->ttl_us;
    hold->changed = true;
    return STATUS_OK;
}

static void
note_plan(struct ledger *ledger, const struct plan *plan, int64_t now_us)
{
    struct account *subject;

    if (plan == NULL || ledger->subject < 0)
        return;
    subject = &ledger->accounts[ledger->subject];
    /* One without a plan was made by an operator, a webhook or a post: this is its first request.
     */
    if ((subject->id == 0 || (subject->plan[0] == '\0' && subject->expires_us == 0)) &&
        plan->expires_in_us > 0) {
        subject->expires_us = now_us + plan->expires_in_us;
        subject->changed = true;
    }
    if (strcmp(subject->plan, plan->name) != 0) {
        memcpy(subject->plan, plan->name, sizeof(subject->plan));
        subject->changed = true;
    }
}

void
ledger_admit(struct ledger *ledger, const struct admission_event *event, int64_t now_us,
             struct verdict *out)
{
    const struct plan *plan = event->plan;
    bool in_place = event->repeated && event->earlier != NULL && hold_live(event->earlier, now_us);
    bool counted = in_place || (event->repeated && event->earlier == NULL);
    bool due = !event->free && (event->hold_due || event->hold_nanos > 0 ||
                                (plan != NULL && plan->concurrency > 0));

    *out = (struct verdict){ 0 };
    if (ledger->account_count == 0 || event->hold_nanos < 0 || event->hold_nanos > MONEY_MAX_NANOS)
        return;
    if (!none_revoked(ledger, out) || !verification_new_enough(ledger, event->verification, out) ||
        !none_frozen(ledger, out) || !none_expired(ledger, now_us, out) ||
        !scopes_granted(event->missing_scope, out))
        return;
    if (!counted && !rates_allow(ledger, now_us, out))
        return;
    if (!in_place && !event->free &&
        (!concurrency_allows(ledger, plan, out) || !budgets_allow(ledger, event->hold_nanos, out)))
        return;
    tell_warnings(ledger, event->hold_nanos, in_place, out);
    if (in_place) {
        out->hold = *event->earlier;
    } else if (due) {
        out->hold.amount_nanos = event->hold_nanos;
        out->hold.ttl_us = event->hold_ttl_us;
        if (plan != NULL)
            memcpy(out->hold.plan, plan->name, sizeof(out->hold.plan));
        if (hold_put(ledger, &out->hold, now_us, NULL) != STATUS_OK) {
            *out = (struct verdict){ 0 };
            return;
        }
    }
    if (!counted)
        rates_take(ledger, now_us);
    note_plan(ledger, plan, now_us);
    tell_budget(ledger, out);
    out->hold_placed = in_place || due;
    out->allow = true;
}

/* ---- spending ----------------------------------------------------------------------------------
 */

static enum status
amount_check(int64_t nanos, struct error *err)
{
    if (nanos < 0 || nanos > MONEY_MAX_NANOS)
        return error_set(err, STATUS_INVALID, "an amount is outside 0 to one billion dollars");
    return STATUS_OK;
}

static enum status
hold_conflict(const struct hold *hold, struct error *err)
{
    return error_set(err, STATUS_CONFLICT, "the hold is %s%s already", hold_state_name(hold->state),
                     hold->state == HOLD_EXPIRED ? " and charged" : "");
}

enum status
ledger_charge(struct ledger *ledger, int64_t cost_nanos, int64_t now_us, struct charge_effect *out,
              struct error *err)
{
    struct move move = { .spent_more = cost_nanos };
    enum status status = amount_check(cost_nanos, err);

    (void)now_us; /* the lines are those of now already */
    *out = (struct charge_effect){ 0 };
    if (status == STATUS_OK)
        status = lines_move(ledger, &move, err);
    if (status != STATUS_OK)
        return status;
    announce(ledger);
    effect_measure(ledger, out);
    return STATUS_OK;
}

enum status
ledger_settle(struct ledger *ledger, struct hold *hold, int64_t cost_nanos, int64_t now_us,
              struct charge_effect *out, struct error *err)
{
    struct move move = { .spent_more = cost_nanos };
    enum status status = amount_check(cost_nanos, err);

    (void)now_us; /* a post after the time still belongs to the hold's own period */
    *out = (struct charge_effect){ 0 };
    if (status != STATUS_OK)
        return status;
    if (hold->state == HOLD_HELD) {
        status = hold_release(ledger, hold, HOLD_SETTLED, move, err);
    } else if (hold->state == HOLD_EXPIRED && hold->charge_id == 0) {
        move.spent_less = hold->expiry_charged_nanos;
        status = lines_move(ledger, &move, err);
    } else {
        return hold_conflict(hold, err);
    }
    if (status != STATUS_OK)
        return status;
    hold->charged_nanos = cost_nanos;
    hold->changed = true;
    announce(ledger);
    effect_measure(ledger, out);
    out->over_hold = hold->amount_nanos > 0 && cost_nanos > hold->amount_nanos;
    return STATUS_OK;
}

enum status
ledger_void(struct ledger *ledger, struct hold *hold, int64_t now_us, struct error *err)
{
    (void)now_us; /* giving back is never too late */
    if (hold->state == HOLD_VOIDED)
        return STATUS_OK;
    if (hold->state != HOLD_HELD)
        return error_set(err, STATUS_CONFLICT, "the hold is %s already",
                         hold_state_name(hold->state));
    return hold_release(ledger, hold, HOLD_VOIDED, (struct move){ 0 }, err);
}

enum status
ledger_expire(struct ledger *ledger, struct hold *hold, bool charge, int64_t now_us,
              struct error *err)
{
    struct move move = { .spent_more = charge ? hold->amount_nanos : 0 };
    enum status status;

    if (hold->state != HOLD_HELD)
        return error_set(err, STATUS_CONFLICT, "the hold is %s already",
                         hold_state_name(hold->state));
    if (hold_live(hold, now_us))
        return error_set(err, STATUS_CONFLICT, "the hold's time is not over");
    status = hold_release(ledger, hold, HOLD_EXPIRED, move, err);
    if (status == STATUS_OVERFLOW) {
        /* A full counter: the hold must not stand in everybody's way. */
        move.spent_more = 0;
        status = hold_release(ledger, hold, HOLD_EXPIRED, move, err);
    }
    if (status != STATUS_OK)
        return status;
    hold->expiry_charged_nanos = move.spent_more;
    event_add(ledger, EVENT_HOLD_EXPIRED, -1, 0);
    announce(ledger);
    return STATUS_OK;
}

int64_t
hold_extend_at(const struct hold *hold, int64_t now_us)
{
    return hold->state == HOLD_HELD ? hold->placed_us : now_us;
}

/* A hold that has expired comes back only as a request of its full amount would. */
static enum status
hold_readmit(struct ledger *ledger, const struct plan *plan, struct hold *hold, int64_t now_us,
             struct verdict *out, struct error *err)
{
    if (!none_revoked(ledger, out) || !none_frozen(ledger, out) ||
        !none_expired(ledger, now_us, out) || !concurrency_allows(ledger, plan, out) ||
        !budgets_allow(ledger, hold->amount_nanos, out))
        return STATUS_OK;
    tell_warnings(ledger, hold->amount_nanos, false, out);
    out->allow = true;
    return hold_put(ledger, hold, now_us, err);
}

static enum status
hold_raise(struct ledger *ledger, struct hold *hold, int64_t add_nanos, int64_t now_us,
           struct verdict *out, struct error *err)
{
    struct move move = { .held_more = add_nanos };

    if (!none_revoked(ledger, out) || !none_frozen(ledger, out))
        return STATUS_OK;
    if (add_nanos > 0 && !budgets_allow(ledger, add_nanos, out))
        return STATUS_OK;
    tell_warnings(ledger, add_nanos, add_nanos == 0, out);
    out->allow = true;
    hold->expires_us = now_us + hold->ttl_us;
    hold->changed = true;
    return lines_move(ledger, &move, err);
}

enum status
ledger_extend(struct ledger *ledger, const struct plan *plan, struct hold *hold, int64_t add_nanos,
              int64_t now_us, struct verdict *out, struct error *err)
{
    enum status status = amount_check(add_nanos, err);
    struct hold changed = *hold;

    *out = (struct verdict){ 0 };
    if (status != STATUS_OK)
        return status;
    if (ledger->account_count == 0)
        return error_set(err, STATUS_CORRUPT, "the hold has no accounts; run spendgate verify");
    if (hold->state == HOLD_SETTLED || hold->state == HOLD_VOIDED || hold->charge_id > 0 ||
        hold->expiry_charge_id > 0 || hold->expiry_charged_nanos > 0)
        return hold_conflict(hold, err);
    if (!money_add(hold->amount_nanos, add_nanos, &changed.amount_nanos))
        return error_set(err, STATUS_OVERFLOW, "the hold would pass the largest amount");
    if (hold->state == HOLD_EXPIRED)
        status = hold_readmit(ledger, plan, &changed, now_us, out, err);
    else if (hold_live(hold, now_us))
        status = hold_raise(ledger, &changed, add_nanos, now_us, out, err);
    else
        return error_set(err, STATUS_CONFLICT, "the hold is past its time and not expired yet");
    if (status != STATUS_OK)
        *out = (struct verdict){ 0 };
    if (!out->allow)
        return status;
    *hold = changed;
    out->hold = changed;
    out->hold_placed = true;
    tell_budget(ledger, out);
    return STATUS_OK;
}

enum status
ledger_refund(struct ledger *ledger, int64_t charge_nanos, int64_t refunded_nanos,
              int64_t amount_nanos, struct error *err)
{
    struct move move = { .spent_less = amount_nanos };
    enum status status = amount_check(amount_nanos, err);

    if (status != STATUS_OK)
        return status;
    if (amount_nanos > money_sub_floor(charge_nanos, refunded_nanos))
        return error_set(err, STATUS_CONFLICT, "refunds of a charge never exceed it");
    return lines_move(ledger, &move, err);
}

/* ---- rates -------------------------------------------------------------------------------------
 */

#define NANOS_PER_US INT64_C(1000)
#define BURST_MAX_NS (INT64_C(36525) * 86400 * 1000000000) /* a hundred years */
/* Later readings (the year 2162 and on) count as this one, so that no sum overflows. */
#define RATE_NOW_MAX_US \
    (INT64_MAX / NANOS_PER_US - BURST_MAX_NS / NANOS_PER_US - 2 * RATE_CLOCK_SLACK_US)

/* A rate with a limit, as times. */
struct gcra {
    int64_t interval_ns;
    int64_t full_ns; /* the TAT when the whole burst is taken now */
    int64_t tat_ns;  /* not before now */
};

static struct gcra
gcra_of(const struct rate *rate, int64_t tat_ns, int64_t now_us)
{
    int64_t now_ns = (now_us < RATE_NOW_MAX_US ? now_us : RATE_NOW_MAX_US) * NANOS_PER_US;
    int64_t burst_ns;
    struct gcra gcra;

    gcra.interval_ns = rate->per_us * NANOS_PER_US / rate->count;
    burst_ns = rate->burst > BURST_MAX_NS / gcra.interval_ns ? BURST_MAX_NS
                                                             : rate->burst * gcra.interval_ns;
    gcra.full_ns = now_ns + burst_ns;
    gcra.tat_ns = tat_ns > now_ns ? tat_ns : now_ns;
    if (gcra.tat_ns > gcra.full_ns + RATE_CLOCK_SLACK_US * NANOS_PER_US)
        gcra.tat_ns = gcra.full_ns - gcra.interval_ns;
    return gcra;
}

bool
rate_take(const struct rate *rate, int64_t *tat_ns, int64_t now_us, int64_t *retry_after_us)
{
    struct gcra gcra;
    int64_t next_ns;

    *retry_after_us = 0;
    if (rate->count == 0)
        return true;
    gcra = gcra_of(rate, *tat_ns, now_us);
    next_ns = gcra.tat_ns + gcra.interval_ns;
    if (next_ns > gcra.full_ns) {
        *retry_after_us = (next_ns - gcra.full_ns + NANOS_PER_US - 1) / NANOS_PER_US;
        return false;
    }
    *tat_ns = next_ns;
    return true;
}

int64_t
rate_left(const struct rate *rate, int64_t tat_ns, int64_t now_us)
{
    struct gcra gcra;

    if (rate->count == 0)
        return rate->burst;
    gcra = gcra_of(rate, tat_ns, now_us);
    return gcra.tat_ns > gcra.full_ns ? 0 : (gcra.full_ns - gcra.tat_ns) / gcra.interval_ns;
}

bool
rate_would_allow(const struct rate *rate, int64_t tat_ns, int64_t now_us, int64_t *retry_after_us)
{
    return rate_take(rate, &tat_ns, now_us, retry_after_us);
}
