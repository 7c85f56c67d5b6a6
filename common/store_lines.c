/* SPDX-License-Identifier: MIT */
/*
 * The lines of a loaded ledger: periods that have no row yet, credits, carried overage, and the
 * rules of the plan; and writing back what an event changed.
 */

#include "common/store_internal.h"

#include "common/banned.h"

/* The calendar is asked once per spec and period; its answer never changes. */
static enum status
find_period(struct store *s, const struct period_spec *spec, int64_t at_us, struct period *out,
            struct error *err)
{
    size_t slot = (size_t)spec->kind * 7 + (size_t)spec->anchor_day + (size_t)spec->week_start * 3;
    struct period_memo *memo;
    enum status status;

    for (const char *c = spec->timezone; *c != '\0'; c++)
        slot = slot * 31 + (unsigned char)*c;
    memo = &s->periods[slot % PERIOD_MEMO_SLOTS];
    if (memo->period.start_us <= at_us && at_us < memo->period.end_us &&
        period_spec_equal(&memo->spec, spec)) {
        *out = memo->period;
        return STATUS_OK;
    }
    status = period_containing(spec, at_us, out, err);
    if (status == STATUS_OK) {
        memo->spec = *spec;
        memo->period = *out;
    }
    return status;
}

enum status
line_fill_missing_period(struct store *s, struct ledger *ledger, struct budget_line *line,
                         int64_t at_us, int64_t now_us, struct error *err)
{
    int64_t account_id = ledger->accounts[line->account].id, credit_us;
    enum status status = find_period(s, &line->spec, at_us, &line->period, err);

    line->spent_nanos = line->held_nanos = 0;
    line->alerted = 0;
    if (status == STATUS_OK && account_id != 0 &&
        (line->id == 0 || line->created_us > line->period.start_us ||
         line->period.end_us <= now_us)) {
        status =
            s->ops->journal_sum(s->backend, account_id, line->period.start_us, line->period.end_us,
                                &line->spent_nanos, &line->held_nanos, &line->later_us, err);
        line->changed = true; /* so that the next look finds a row */
    }
    if (status == STATUS_OK && line->has_credits) {
        credit_us = now_us < line->period.end_us ? now_us : line->period.end_us - 1;
        status = s->ops->credit_sum(s->backend, line->id, credit_us, credit_us + 1,
                                    &line->credit_nanos, err);
    }
    return status;
}

/* The period rows of a new line from its birth on, but for the one it was made with. */
static enum status
write_later_periods(struct store *s, int64_t account_id, const struct budget_line *line,
                    struct error *err)
{
    struct budget_line later = *line;
    enum status status = STATUS_OK;

    later.alerted = 0;
    if (line->created_us < line->period.start_us) /* it was made for what is later than now */
        status = s->ops->journal_sum(s->backend, account_id, line->created_us, line->created_us,
                                     &later.spent_nanos, &later.held_nanos, &later.later_us, err);
    while (status == STATUS_OK && later.later_us != 0) {
        status = find_period(s, &line->spec, later.later_us, &later.period, err);
        if (status != STATUS_OK)
            break;
        if (later.period.start_us == line->period.start_us) {
            later.later_us = line->later_us;
            continue;
        }
        status =
            s->ops->journal_sum(s->backend, account_id, later.period.start_us, later.period.end_us,
                                &later.spent_nanos, &later.held_nanos, &later.later_us, err);
        if (status == STATUS_OK)
            status = s->ops->period_write(s->backend, &later, err);
    }
    return status;
}

enum status
line_write(struct store *s, int64_t account_id, struct budget_line *line, struct error *err)
{
    bool born = line->id == 0;
    enum status status = s->ops->line_write(s->backend, account_id, line, err);

    if (status == STATUS_OK && born)
        status = s->ops->period_write(s->backend, line, err);
    if (status != STATUS_OK || !born)
        return status;
    line->period_stored = true;
    return write_later_periods(s, account_id, line, err);
}

static enum status
fill_carry(struct store *s, struct budget_line *line, struct error *err)
{
    size_t count = LEDGER_CARRY_PERIODS_MAX;
    enum status status = STATUS_OK;

    if (line->id == 0 || line->spec.kind == PERIOD_NONE)
        return STATUS_OK;
    status = s->ops->history(s->backend, line->id, line->period.start_us, s->history, &count, err);
    if (status != STATUS_OK)
        return status;
    return ledger_carry(line, s->history, count, line->period.start_us, &line->carry_nanos, err);
}

enum status
lines_prepare(struct store *s, struct ledger *ledger, const struct plan *plan, int64_t at_us,
              int64_t now_us, struct error *err)
{
    int64_t credits[LEDGER_LINES_MAX];
    size_t loaded = ledger->line_count;
    enum status status;

    for (size_t i = 0; i < loaded; i++) /* binding clears them */
        credits[i] = ledger->lines[i].credit_nanos;
    status = ledger_bind(ledger, plan, now_us, err);
    for (size_t i = 0; i < ledger->line_count && status == STATUS_OK; i++) {
        struct budget_line *line = &ledger->lines[i];

        line->credit_nanos = i < loaded ? credits[i] : 0;
        line->carry_nanos = 0;
        if (!line->period_stored)
            status = line_fill_missing_period(s, ledger, line, at_us, now_us, err);
        if (status == STATUS_OK && line->limited && line->overage == OVERAGE_CARRY)
            status = fill_carry(s, line, err);
    }
    return status;
}

bool
lines_any_unborn(const struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->line_count; i++) {
        if (ledger->lines[i].id == 0)
            return true;
    }
    return false;
}

void
lines_drop_unborn(struct ledger *ledger)
{
    size_t kept = 0;

    for (size_t i = 0; i < ledger->line_count; i++) {
        if (ledger->lines[i].id != 0)
            ledger->lines[kept++] = ledger->lines[i];
    }
    ledger->line_count = kept;
}

void
lines_drop_others(struct ledger *ledger, int account)
{
    size_t kept = 0;

    for (size_t i = 0; i < ledger->line_count; i++) {
        if (ledger->lines[i].account == account)
            ledger->lines[kept++] = ledger->lines[i];
    }
    ledger->line_count = kept;
}

static enum status
write_lines(struct store *s, struct ledger *ledger, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < ledger->line_count && status == STATUS_OK; i++) {
        struct budget_line *line = &ledger->lines[i];

        if (line->id == 0)
            status = line_write(s, ledger->accounts[line->account].id, line, err);
        else if (line->changed)
            status = s->ops->period_write(s->backend, line, err);
    }
    return status;
}

static enum status
write_accounts(struct store *s, struct ledger *ledger, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < ledger->account_count && status == STATUS_OK; i++) {
        if (ledger->accounts[i].changed)
            status = s->ops->account_write(s->backend, &ledger->accounts[i], err);
    }
    return status;
}

static enum status
write_rates(struct store *s, struct ledger *ledger, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < ledger->rate_count && status == STATUS_OK; i++) {
        if (ledger->rates[i].changed)
            status = s->ops->rate_write(s->backend, &ledger->rates[i], err);
    }
    return status;
}

enum status
lines_write_events(struct store *s, const struct ledger *ledger, int64_t hold_number,
                   int64_t now_us, struct error *err)
{
    enum status status = STATUS_OK;
    int payer = ledger_payer(ledger);

    for (size_t i = 0; i < ledger->event_count && status == STATUS_OK; i++) {
        const struct ledger_event *event = &ledger->events[i];
        const struct budget_line *line = event->line >= 0 ? &ledger->lines[event->line] : NULL;
        struct event_row row = {
            .kind = event->kind,
            .account_id = line != NULL ? ledger->accounts[line->account].id
                          : payer >= 0 ? ledger->accounts[payer].id
                                       : 0,
            .budget_id = line != NULL ? line->id : 0,
            .period_start_us = line != NULL ? line->period.start_us : 0,
            .hold_number = hold_number,
            .percent = event->percent,
            .created_us = now_us,
            .who = "",
            .text = "",
            .note = "",
        };

        status = s->ops->event_write(s->backend, &row, err);
    }
    return status;
}

enum status
lines_write(struct store *s, struct ledger *ledger, int64_t hold_number, int64_t now_us,
            struct error *err)
{
    enum status status = write_lines(s, ledger, err);

    if (status == STATUS_OK)
        status = write_accounts(s, ledger, err);
    if (status == STATUS_OK)
        status = write_rates(s, ledger, err);
    if (status == STATUS_OK)
        status = lines_write_events(s, ledger, hold_number, now_us, err);
    return status;
}
