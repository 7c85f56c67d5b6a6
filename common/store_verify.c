/* SPDX-License-Identifier: MIT */
/*
 * Recompute every balance from its journal. One pass over each table in one consistent state; what
 * it keeps in memory grows with accounts, chains and period rows, not with charges.
 */
#include "common/store_backend.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"

#include "common/banned.h"

#define NONE SIZE_MAX
#define TEXT_SIZE 512
#define PRICE_SLOTS 64

struct seen_account {
    int64_t id;
    char name[ACCOUNT_NAME_SIZE];
    int64_t live_holds, counted; /* stored, and live holds that it pays */
    size_t first_line;           /* NONE: it has none */
};

struct seen_line {
    int64_t id;
    struct period_spec spec;
    int64_t created_us;
    size_t account;
    size_t next; /* of the same account, or NONE */
    size_t first_period, period_count;
};

struct seen_period {
    size_t line;
    struct period period;
    int64_t spent_nanos, held_nanos;         /* stored */
    int64_t sum_spent_nanos, sum_held_nanos; /* in the journal */
};

struct seen_chain {
    int64_t id;
    size_t payer;
    size_t first_member, member_count;
};

struct vector {
    void *items;
    size_t count, capacity, size;
};

/* A price version that was read, so that not every charge reads it again. */
struct seen_price {
    int64_t id;
    bool readable;
    struct price price;
};

struct verify {
    void (*report)(void *context, const char *invariant, const char *text);
    void *context;
    struct verify_summary *summary;
    bool no_memory;
    int64_t pruned_until_us;
    struct seen_price *prices;                               /* PRICE_SLOTS of them */
    struct vector accounts, lines, periods, chains, members; /* members: size_t, index of account */
};

/* ---- growing arrays ------------------------------------------------------------------------- */

static void *
append(struct verify *v, struct vector *vector)
{
    void *items;
    char *slot;

    if (vector->count == vector->capacity) {
        vector->capacity = vector->capacity == 0 ? 64 : vector->capacity * 2;
        items = reallocarray(vector->items, vector->capacity, vector->size);
        if (items == NULL) {
            v->no_memory = true;
            return NULL;
        }
        vector->items = items;
    }
    slot = (char *)vector->items + vector->count++ * vector->size;
    memset(slot, 0, vector->size);
    return slot;
}

static struct seen_account *
account_at(const struct verify *v, size_t i)
{
    return (struct seen_account *)v->accounts.items + i;
}

static struct seen_line *
line_at(const struct verify *v, size_t i)
{
    return (struct seen_line *)v->lines.items + i;
}

static struct seen_period *
period_at(const struct verify *v, size_t i)
{
    return (struct seen_period *)v->periods.items + i;
}

/* Every seen struct that is looked up by its number begins with it. */
static size_t
find(const struct vector *vector, int64_t id)
{
    size_t low = 0, high = vector->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int64_t at;

        memcpy(&at, (const char *)vector->items + middle * vector->size, sizeof(at));
        if (at == id)
            return middle;
        if (at < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NONE;
}

/* ---- differences ---------------------------------------------------------------------------- */

static void
difference(struct verify *v, const char *invariant, struct buf *text)
{
    v->summary->differences++;
    v->report(v->context, invariant, buf_text(text));
}

static void
add_line_name(const struct verify *v, struct buf *text, const struct seen_line *line)
{
    buf_add_format(text, "account %s, budget %s %s (%" PRId64 ")",
                   account_at(v, line->account)->name, period_kind_name(line->spec.kind),
                   line->spec.timezone, line->id);
}

static void
balance_differs(struct verify *v, const struct seen_period *p, const char *what, int64_t stored,
                int64_t journal)
{
    char storage[TEXT_SIZE];
    struct buf text;

    if (stored == journal)
        return;
    buf_init(&text, storage, sizeof(storage));
    add_line_name(v, &text, line_at(v, p->line));
    buf_add_format(&text, ", period from ");
    buf_add_json_time(&text, p->period.start_us == 0 ? 1 : p->period.start_us);
    buf_add_format(&text, ": %s stored %" PRId64 " nanos, in the journal %" PRId64, what, stored,
                   journal);
    difference(v, "I7", &text);
}

/* ---- what is stored ------------------------------------------------------------------------- */

static bool
see_account(void *context, const struct scan_row *row)
{
    struct verify *v = context;
    struct seen_account *account = append(v, &v->accounts);

    if (account == NULL)
        return false;
    account->id = row->account.id;
    memcpy(account->name, row->account.name, sizeof(account->name));
    account->live_holds = row->account.live_holds;
    account->first_line = NONE;
    v->summary->accounts++;
    return true;
}

static bool
see_line(void *context, const struct scan_row *row)
{
    struct verify *v = context;
    size_t account = find(&v->accounts, row->account_id);
    struct seen_line *line;

    if (account == NONE) /* SCAN_CONTRADICTIONS tells it */
        return true;
    line = append(v, &v->lines);
    if (line == NULL)
        return false;
    line->id = row->line.id;
    line->spec = row->line.spec;
    line->created_us = row->line.created_us;
    line->account = account;
    line->next = account_at(v, account)->first_line;
    account_at(v, account)->first_line = v->lines.count - 1;
    return true;
}

static bool
see_period(void *context, const struct scan_row *row)
{
    struct verify *v = context;
    size_t index = find(&v->lines, row->line.id);
    struct seen_line *line;
    struct seen_period *period;
    char storage[TEXT_SIZE];
    struct buf text;

    if (index == NONE)
        return true;
    period = append(v, &v->periods);
    if (period == NULL)
        return false;
    period->line = index;
    period->period = row->line.period;
    period->spent_nanos = row->line.spent_nanos;
    period->held_nanos = row->line.held_nanos;
    line = line_at(v, index);
    if (line->period_count == 0)
        line->first_period = v->periods.count - 1;
    else if (period_at(v, v->periods.count - 2)->period.end_us > period->period.start_us) {
        buf_init(&text, storage, sizeof(storage));
        add_line_name(v, &text, line);
        buf_add_format(&text, ": two periods overlap at %" PRId64, period->period.start_us);
        difference(v, "I7", &text);
    }
    line->period_count++;
    v->summary->periods++;
    return true;
}

static bool
see_chain(void *context, const struct scan_row *row)
{
    struct verify *v = context;
    struct seen_chain *chain = NULL;
    size_t account = find(&v->accounts, row->account_id), *member;

    if (account == NONE)
        return true;
    if (v->chains.count > 0)
        chain = (struct seen_chain *)v->chains.items + v->chains.count - 1;
    if (chain == NULL || chain->id != row->chain_id) {
        chain = append(v, &v->chains);
        if (chain == NULL)
            return false;
        chain->id = row->chain_id;
        chain->payer = find(&v->accounts, row->payer_id);
        chain->first_member = v->members.count;
    }
    member = append(v, &v->members);
    if (member == NULL)
        return false;
    *member = account;
    chain->member_count++;
    return true;
}

/* ---- the journal ---------------------------------------------------------------------------- */

static struct seen_period *
period_of(const struct verify *v, const struct seen_line *line, int64_t at_us)
{
    size_t low = line->first_period, high = line->first_period + line->period_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct seen_period *p = period_at(v, middle);

        if (p->period.start_us <= at_us && at_us < p->period.end_us)
            return p;
        if (p->period.start_us <= at_us)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* A sum that no counter could hold is a difference like any other. */
static void
sum(int64_t *total, int64_t nanos)
{
    if (__builtin_add_overflow(*total, nanos, total))
        *total = nanos < 0 ? INT64_MIN : INT64_MAX;
}

/*
 * Count one journal row on every line of its chain. Each line has a period row for it, unless it is
 * of nothing, was pruned, or lies before the line's birth and nobody has looked there since: a line
 * takes what lies in the period of its birth and behind it with it when it is born, and counts the
 * rest as it comes (store_lines.c).
 */
static void
count_on_chain(struct verify *v, int64_t chain_id, int64_t at_us, int64_t spent, int64_t held,
               const char *what, int64_t id)
{
    size_t index = find(&v->chains, chain_id);
    const struct seen_chain *chain;
    char storage[TEXT_SIZE];
    struct buf text;

    if (index == NONE)
        return;
    chain = (const struct seen_chain *)v->chains.items + index;
    for (size_t m = 0; m < chain->member_count; m++) {
        size_t account = ((const size_t *)v->members.items)[chain->first_member + m];
        size_t l = account_at(v, account)->first_line;

        for (; l != NONE; l = line_at(v, l)->next) {
            struct seen_period *period = period_of(v, line_at(v, l), at_us);

            if (period != NULL) {
                sum(&period->sum_spent_nanos, spent);
                sum(&period->sum_held_nanos, held);
            } else if ((spent != 0 || held != 0) && at_us >= v->pruned_until_us &&
                       at_us >= line_at(v, l)->created_us) {
                buf_init(&text, storage, sizeof(storage));
                add_line_name(v, &text, line_at(v, l));
                buf_add_format(&text, ": no period row for %s %" PRId64, what, id);
                difference(v, "I6", &text);
            }
        }
    }
}

static bool
count_charge(void *context, const struct scan_row *row)
{
    struct verify *v = context;
    const struct charge *c = &row->charge.charge;
    char storage[TEXT_SIZE];
    struct buf text;

    v->summary->charges++;
    buf_init(&text, storage, sizeof(storage));
    if (c->amount_nanos < 0 || (c->kind != CHARGE_SPEND && c->kind != CHARGE_REFUND)) {
        buf_add_format(&text, "charge %" PRId64 ": kind %d, amount %" PRId64 " nanos", c->id,
                       (int)c->kind, c->amount_nanos);
        difference(v, "I8", &text);
    }
    if (find(&v->chains, row->charge.chain_id) == NONE) {
        buf_add_format(&text, "charge %" PRId64 ": its chain is missing", c->id);
        difference(v, "I7", &text);
    }
    count_on_chain(v, row->charge.chain_id, c->at_us,
                   c->kind == CHARGE_REFUND ? -c->amount_nanos : c->amount_nanos, 0, "charge",
                   c->id);
    return true;
}

/* A charge of before `pruned_until_us` may be gone while its hold is still there: the hold goes in
 * a later step of the same prune, and stays when the prune is killed between the two, or when it
 * was renewed for long. Whether such a charge was lost is told by the balances of the periods kept.
 */
static const char *
hold_contradiction(const struct hold *hold, int64_t pruned_until_us)
{
    bool pruned = hold->placed_us < pruned_until_us;

    switch (hold->state) {
    case HOLD_HELD:
        return hold->charge_id != 0 || hold->expiry_charge_id != 0 ? "held, but has a charge"
                                                                   : NULL;
    case HOLD_SETTLED:
        return hold->charged_nanos < 0 && !pruned ? "settled, but its charge is missing" : NULL;
    case HOLD_VOIDED:
        return hold->charge_id != 0 || hold->expiry_charge_id != 0 ? "voided, but has a charge"
                                                                   : NULL;
    case HOLD_EXPIRED:
        return hold->charge_id != 0 && hold->charged_nanos < 0 && !pruned
                   ? "its late charge is missing"
                   : NULL;
    }
    return "in no known state";
}

static bool
count_hold(void *context, const struct scan_row *row)
{
    struct verify *v = context;
    const struct hold *hold = &row->hold;
    const char *wrong = hold_contradiction(hold, v->pruned_until_us);
    size_t chain = find(&v->chains, hold->chain_id);
    char storage[TEXT_SIZE];
    struct buf text;

    v->summary->holds++;
    buf_init(&text, storage, sizeof(storage));
    if (wrong != NULL) {
        buf_add_format(&text, "hold %" PRId64 ": %s", hold->id, wrong);
        difference(v, "I5", &text);
    }
    if (chain == NONE) {
        buf_clear(&text);
        buf_add_format(&text, "hold %" PRId64 ": its chain is missing", hold->id);
        difference(v, "I7", &text);
        return true;
    }
    if (hold->state != HOLD_HELD)
        return true;
    if (((struct seen_chain *)v->chains.items + chain)->payer != NONE)
        account_at(v, ((struct seen_chain *)v->chains.items + chain)->payer)->counted++;
    count_on_chain(v, hold->chain_id, hold->placed_us, 0, hold->amount_nanos, "hold", hold->id);
    return true;
}

static bool
count_credit(void *context, const struct scan_row *row)
{
    struct verify *v = context;

    (void)row;
    v->summary->credits++;
    return true;
}

static const struct price *
price_of(struct verify *v, int64_t id, const char *rates)
{
    struct seen_price *seen = &v->prices[(uint64_t)id % PRICE_SLOTS];

    if (seen->id != id) {
        seen->id = id;
        seen->readable = price_parse_text(rates, strlen(rates), &seen->price, NULL) == STATUS_OK;
    }
    return seen->readable ? &seen->price : NULL;
}

static bool
usage_of(const char *text, struct usage *out)
{
    struct json *json = NULL;
    bool ok = text != NULL && json_parse(text, strlen(text), &json, NULL) == STATUS_OK &&
              usage_read(json, out, NULL) == STATUS_OK;

    json_free(json);
    return ok;
}

/* What a charge cost follows from what is kept with it. */
static bool
recompute_charge(void *context, const struct scan_row *row)
{
    struct verify *v = context;
    const struct charge *c = &row->charge.charge;
    const struct price *price = row->rates != NULL ? price_of(v, c->price_id, row->rates) : NULL;
    struct usage usage;
    int64_t nanos = -1;
    char storage[TEXT_SIZE];
    struct buf text;

    v->summary->priced++;
    buf_init(&text, storage, sizeof(storage));
    buf_add_format(&text, "charge %" PRId64 ": ", c->id);
    if (row->rates == NULL)
        buf_add_format(&text, "its price version %" PRId64 " is missing", c->price_id);
    else if (price == NULL)
        buf_add_format(&text, "its price version %" PRId64 " cannot be read", c->price_id);
    else if (!usage_of(row->usage, &usage))
        buf_add(&text, "its usage cannot be read");
    else if (usage_cost(&usage, price, &nanos, NULL) != STATUS_OK)
        buf_add_format(&text, "price version %" PRId64 " does not price its usage", c->price_id);
    else if (nanos != c->amount_nanos)
        buf_add_format(&text,
                       "charged %" PRId64 " nanos, its usage costs %" PRId64
                       " by price version %" PRId64,
                       c->amount_nanos, nanos, c->price_id);
    else
        return true;
    difference(v, "I8", &text);
    return true;
}

static bool
tell_contradiction(void *context, const struct scan_row *row)
{
    struct verify *v = context;
    char storage[TEXT_SIZE];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    buf_add(&text, row->text);
    difference(v, row->invariant, &text);
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void
compare(struct verify *v)
{
    char storage[TEXT_SIZE];
    struct buf text;

    for (size_t i = 0; i < v->periods.count; i++) {
        const struct seen_period *p = period_at(v, i);

        balance_differs(v, p, "spent", p->spent_nanos, p->sum_spent_nanos);
        balance_differs(v, p, "held", p->held_nanos, p->sum_held_nanos);
    }
    for (size_t i = 0; i < v->accounts.count; i++) {
        const struct seen_account *a = account_at(v, i);

        if (a->live_holds == a->counted)
            continue;
        buf_init(&text, storage, sizeof(storage));
        buf_add_format(&text, "account %s: live holds stored %" PRId64 ", counted %" PRId64,
                       a->name, a->live_holds, a->counted);
        difference(v, "I7", &text);
    }
}

enum status
store_verify_rows(const struct store_ops *ops, struct store_backend *backend,
                  void (*report)(void *context, const char *invariant, const char *text),
                  void *context, struct verify_summary *out, struct error *err)
{
    static const struct {
        enum scan_kind kind;
        bool (*visit)(void *context, const struct scan_row *row);
    } passes[] = {
        { SCAN_ACCOUNTS, see_account },
        { SCAN_LINES, see_line },
        { SCAN_PERIODS, see_period },
        { SCAN_CHAINS, see_chain },
        { SCAN_CHARGES, count_charge },
        { SCAN_HOLDS, count_hold },
        { SCAN_CREDITS, count_credit },
        { SCAN_PRICED, recompute_charge },
        { SCAN_CONTRADICTIONS, tell_contradiction },
    };
    struct verify v = {
        .report = report,
        .context = context,
        .summary = out,
        .prices = calloc(PRICE_SLOTS, sizeof(*v.prices)),
        .accounts = { .size = sizeof(struct seen_account) },
        .lines = { .size = sizeof(struct seen_line) },
        .periods = { .size = sizeof(struct seen_period) },
        .chains = { .size = sizeof(struct seen_chain) },
        .members = { .size = sizeof(size_t) },
    };
    enum status status = v.prices != NULL
                             ? ops->pruned_until(backend, &v.pruned_until_us, err)
                             : error_set(err, STATUS_NO_MEMORY, "store: out of memory");

    for (size_t i = 0; i < sizeof(passes) / sizeof(passes[0]) && status == STATUS_OK; i++) {
        status = ops->scan(backend, passes[i].kind, passes[i].visit, &v, err);
        if (v.no_memory)
            status = error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    }
    if (status == STATUS_OK)
        compare(&v);
    free(v.prices);
    free(v.accounts.items);
    free(v.lines.items);
    free(v.periods.items);
    free(v.chains.items);
    free(v.members.items);
    return status;
}
