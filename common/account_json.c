/* SPDX-License-Identifier: MIT */
#include "common/account_json.h"

#include "common/money.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "common/banned.h"

void
account_json_add_text(struct buf *out, const char *text)
{
    buf_add_json_string(out, text != NULL && *text != '\0' ? text : NULL);
}

void
account_json_add_signed_money(struct buf *out, int64_t nanos)
{
    buf_add_char(out, '"');
    if (nanos < 0)
        buf_add_char(out, '-');
    money_add_usd(out, nanos < 0 ? -nanos : nanos);
    buf_add_char(out, '"');
}

static void
add_boolean(struct buf *out, bool value)
{
    buf_add(out, value ? "true" : "false");
}

static void
add_scopes(struct buf *out, const struct plan *plan)
{
    size_t count = plan != NULL ? plan->scopes.count : 0;

    buf_add_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        buf_add_json_string(out, plan->scopes.names[i]);
    }
    buf_add_char(out, ']');
}

void
account_json_add(struct buf *out, const struct ledger *ledger, size_t account, const char *parent,
                 const struct plan *plan)
{
    const struct account *row = &ledger->accounts[account];

    assert(account < ledger->account_count);
    buf_add(out, "{\"account\":");
    buf_add_json_string(out, row->name);
    buf_add(out, ",\"kind\":");
    buf_add_json_string(out, account_kind_name(account_kind_of(row->name)));
    buf_add(out, ",\"plan\":");
    account_json_add_text(out, row->plan);
    buf_add(out, ",\"parent\":");
    account_json_add_text(out, parent);
    buf_add(out, ",\"scopes\":");
    add_scopes(out, plan);
    buf_add(out, ",\"frozen\":");
    add_boolean(out, row->frozen);
    buf_add(out, ",\"revoked\":");
    add_boolean(out, row->revoked);
    buf_add(out, ",\"expires_at\":");
    buf_add_json_time(out, row->expires_us);
    buf_add(out, ",\"budgets\":");
    account_json_add_budgets(out, ledger, (int)account);
    buf_add_char(out, '}');
}

void
account_json_add_budget(struct buf *out, const struct ledger *ledger, size_t line)
{
    const struct budget_line *row = &ledger->lines[line];

    assert(line < ledger->line_count && row->limited);
    buf_add(out, "{\"account\":");
    buf_add_json_string(out, ledger->accounts[row->account].name);
    buf_add(out, ",\"period\":");
    buf_add_json_string(out, period_kind_name(row->spec.kind));
    buf_add(out, ",\"limit_usd\":");
    buf_add_json_money(out, ledger_limit(row));
    buf_add(out, ",\"spent_usd\":");
    buf_add_json_money(out, row->spent_nanos);
    buf_add(out, ",\"held_usd\":");
    buf_add_json_money(out, row->held_nanos);
    buf_add(out, ",\"remaining_usd\":");
    buf_add_json_money(out, ledger_remaining(row));
    buf_add(out, ",\"starts_at\":");
    buf_add_json_time(out, row->period.start_us);
    buf_add(out, ",\"resets_at\":");
    buf_add_json_time(out, row->period.end_us);
    buf_add(out, ",\"enforce\":");
    buf_add_json_string(out, enforce_name(row->enforce));
    buf_add(out, ",\"origin\":");
    buf_add_json_string(out, row->hand_limited ? "hand" : "plan");
    buf_add_char(out, '}');
}

/* Whether line `a` is shown before line `b`. */
static bool
line_before(const struct ledger *ledger, size_t a, size_t b)
{
    const struct budget_line *x = &ledger->lines[a], *y = &ledger->lines[b];
    bool x_planned = x->plan_index >= 0, y_planned = y->plan_index >= 0;

    if (x_planned != y_planned)
        return x_planned;
    if (x_planned && x->plan_index != y->plan_index)
        return x->plan_index < y->plan_index;
    if (x->account != y->account)
        return x->account < y->account;
    if (x->spec.kind != y->spec.kind)
        return x->spec.kind < y->spec.kind;
    return a < b;
}

void
account_json_add_budgets(struct buf *out, const struct ledger *ledger, int account)
{
    size_t order[LEDGER_LINES_MAX], count = 0;

    /* Insertion sort: there are seldom more than four lines. */
    for (size_t i = 0; i < ledger->line_count; i++) {
        const struct budget_line *line = &ledger->lines[i];
        size_t at = count;

        if (!line->limited || (account >= 0 && line->account != account))
            continue;
        for (; at > 0 && line_before(ledger, i, order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = i;
        count++;
    }
    buf_add_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        account_json_add_budget(out, ledger, order[i]);
    }
    buf_add_char(out, ']');
}

/* "a,b" as ["a","b"]. */
static void
add_tags(struct buf *out, const char *tags)
{
    char tag[TEXT_FIELD_SIZE];

    buf_add_char(out, '[');
    for (const char *at = tags;;) {
        size_t length = strcspn(at, ",");

        if (at != tags)
            buf_add_char(out, ',');
        assert(length < sizeof(tag));
        memcpy(tag, at, length);
        tag[length] = '\0';
        buf_add_json_string(out, tag);
        if (at[length] == '\0')
            break;
        at += length + 1;
    }
    buf_add_char(out, ']');
}

/* What only some charges have. */
static void
add_charge_extras(struct buf *out, const struct charge *charge)
{
    if (charge->occurred_us > 0) {
        buf_add(out, ",\"occurred_at\":");
        buf_add_json_time(out, charge->occurred_us);
    }
    if (charge->tags[0] != '\0') {
        buf_add(out, ",\"tags\":");
        add_tags(out, charge->tags);
    }
    if (charge->metadata[0] != '\0') {
        buf_add(out, ",\"metadata\":");
        buf_add(out, charge->metadata);
    }
    if (charge->price_id != 0) {
        char id[PRICE_ID_SIZE];

        price_id_format(charge->price_id, id);
        buf_add(out, ",\"usage\":");
        buf_add(out, charge->usage[0] != '\0' ? charge->usage : "{}");
        buf_add(out, ",\"price_id\":");
        buf_add_json_string(out, id);
    }
    if (charge->kind == CHARGE_REFUND) {
        char id[PUBLIC_ID_SIZE];

        /* Null only if the row that was refunded could not be named. */
        id[0] = '\0';
        if (charge->refund_of > 0)
            public_id_format("chg_", charge->refund_of, charge->refund_of_nonce, id);
        buf_add(out, ",\"refund_of\":");
        account_json_add_text(out, id);
    }
    if (charge->note[0] != '\0') {
        buf_add(out, ",\"note\":");
        buf_add_json_string(out, charge->note);
    }
}

/* Without the closing brace. */
static void
add_charge_members(struct buf *out, const struct charge *charge)
{
    char id[PUBLIC_ID_SIZE];
    bool refund = charge->kind == CHARGE_REFUND;

    public_id_format("chg_", charge->id, charge->nonce, id);
    buf_add(out, "{\"charge_id\":");
    buf_add_json_string(out, id);
    buf_add(out, ",\"account\":");
    account_json_add_text(out, charge->account);
    buf_add(out, ",\"key_id\":");
    account_json_add_text(out, charge->key_id);
    buf_add(out, ",\"hold_id\":");
    account_json_add_text(out, charge->hold_id);
    buf_add(out, ",\"cost_usd\":");
    account_json_add_signed_money(out, refund ? -charge->amount_nanos : charge->amount_nanos);
    buf_add(out, ",\"model\":");
    account_json_add_text(out, charge->model);
    buf_add(out, ",\"route\":");
    account_json_add_text(out, charge->route);
    buf_add(out, ",\"created_at\":");
    buf_add_json_time(out, charge->created_us);
    add_charge_extras(out, charge);
}

void
account_json_add_charge(struct buf *out, const struct charge *charge)
{
    add_charge_members(out, charge);
    buf_add_char(out, '}');
}

void
account_json_add_refund(struct buf *out, const struct charge *refund, const struct ledger *ledger)
{
    add_charge_members(out, refund);
    buf_add(out, ",\"amount_usd\":");
    buf_add_json_money(out, refund->amount_nanos);
    buf_add(out, ",\"budgets\":");
    account_json_add_budgets(out, ledger, -1);
    buf_add_char(out, '}');
}

/* Without the closing brace. */
static void
add_hold_members(struct buf *out, const struct hold *hold, const char *account)
{
    char id[PUBLIC_ID_SIZE];

    public_id_format("hld_", hold->id, hold->nonce, id);
    buf_add(out, "{\"hold_id\":");
    buf_add_json_string(out, id);
    buf_add(out, ",\"account\":");
    account_json_add_text(out, account);
    buf_add(out, ",\"state\":");
    buf_add_json_string(out, hold_state_name(hold->state));
    buf_add(out, ",\"amount_usd\":");
    buf_add_json_money(out, hold->amount_nanos);
    buf_add(out, ",\"route\":");
    account_json_add_text(out, hold->route);
    buf_add(out, ",\"placed_at\":");
    buf_add_json_time(out, hold->placed_us);
    buf_add(out, ",\"expires_at\":");
    buf_add_json_time(out, hold->expires_us);
    if (hold->charge_id > 0) {
        buf_add(out, ",\"charged_usd\":");
        buf_add_json_money(out, hold->charged_nanos);
    }
}

void
account_json_add_hold(struct buf *out, const struct hold *hold, const char *account)
{
    add_hold_members(out, hold, account);
    buf_add_char(out, '}');
}

void
account_json_add_hold_budgets(struct buf *out, const struct hold *hold, const struct ledger *ledger)
{
    int payer = ledger_payer(ledger);

    add_hold_members(out, hold, payer >= 0 ? ledger->accounts[payer].name : NULL);
    buf_add(out, ",\"budgets\":");
    account_json_add_budgets(out, ledger, -1);
    buf_add_char(out, '}');
}
