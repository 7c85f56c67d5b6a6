/* SPDX-License-Identifier: MIT */
/*
 * What a store holds, table by table, and copying it row by row.
 */
#include "common/store_rows.h"

#include <assert.h>
#include <string.h>

#include "common/store_internal.h"

#include "common/banned.h"

/* A new column of a schema step: one line here. */
const struct row_table row_tables[ROW_TABLES] = {
    { "counter",
      1,
      "name = 'checkpoint'", /* of the SQLite file */
      { { "name", ROW_TEXT, false }, { "value", ROW_INT, false } } },
    { "account",
      1,
      NULL,
      { { "id", ROW_INT, false },
        { "name", ROW_TEXT, false },
        { "plan", ROW_TEXT, false },
        { "parent_id", ROW_INT, false },
        { "frozen", ROW_INT, false },
        { "revoked", ROW_INT, false },
        { "expires_us", ROW_INT, false },
        { "verify_after", ROW_INT, false },
        { "live_holds", ROW_INT, false },
        { "first_seen_us", ROW_INT, false } } },
    { "clerk_note",
      1,
      NULL,
      { { "account_id", ROW_INT, false },
        { "title", ROW_TEXT, false },
        { "expires_us", ROW_INT, false },
        { "gone", ROW_INT, false },
        { "listed_us", ROW_INT, false } } },
    { "chain",
      1,
      NULL,
      { { "id", ROW_INT, false }, { "spec", ROW_TEXT, false }, { "payer_id", ROW_INT, false } } },
    { "chain_account",
      2,
      NULL,
      { { "chain_id", ROW_INT, false },
        { "position", ROW_INT, false },
        { "account_id", ROW_INT, false },
        { "roles", ROW_INT, false } } },
    { "budget",
      1,
      NULL,
      { { "id", ROW_INT, false },
        { "account_id", ROW_INT, false },
        { "kind", ROW_INT, false },
        { "timezone", ROW_TEXT, false },
        { "anchor_day", ROW_INT, false },
        { "week_start", ROW_INT, false },
        { "created_us", ROW_INT, false },
        { "hand_limit_nanos", ROW_INT, true },
        { "hand_enforce", ROW_INT, true },
        { "credits_nanos", ROW_INT, false } } },
    { "budget_period",
      2,
      NULL,
      { { "budget_id", ROW_INT, false },
        { "start_us", ROW_INT, false },
        { "end_us", ROW_INT, false },
        { "spent_nanos", ROW_INT, false },
        { "held_nanos", ROW_INT, false },
        { "alerted", ROW_INT, false } } },
    { "hold",
      1,
      NULL,
      { { "id", ROW_INT, false },
        { "nonce", ROW_INT, false },
        { "chain_id", ROW_INT, false },
        { "state", ROW_INT, false },
        { "amount_nanos", ROW_INT, false },
        { "placed_us", ROW_INT, false },
        { "expires_us", ROW_INT, false },
        { "ttl_us", ROW_INT, false },
        { "charge_id", ROW_INT, false },
        { "expiry_charged_nanos", ROW_INT, false },
        { "expiry_charge_id", ROW_INT, false },
        { "caller", ROW_BYTES, true },
        { "plan", ROW_TEXT, false },
        { "route", ROW_TEXT, false } } },
    { "charge",
      1,
      NULL,
      { { "id", ROW_INT, false },
        { "nonce", ROW_INT, false },
        { "kind", ROW_INT, false },
        { "chain_id", ROW_INT, false },
        { "amount_nanos", ROW_INT, false },
        { "at_us", ROW_INT, false },
        { "created_us", ROW_INT, false },
        { "occurred_us", ROW_INT, false },
        { "hold_id", ROW_INT, false },
        { "refund_of", ROW_INT, false },
        { "hold_text", ROW_TEXT, true },
        { "model", ROW_TEXT, true },
        { "route", ROW_TEXT, true },
        { "tags", ROW_TEXT, true },
        { "token", ROW_TEXT, true },
        { "note", ROW_TEXT, true },
        { "metadata", ROW_TEXT, true },
        { "usage", ROW_TEXT, true },
        { "price_id", ROW_INT, false } } },
    { "credit",
      1,
      NULL,
      { { "id", ROW_INT, false },
        { "budget_id", ROW_INT, false },
        { "amount_nanos", ROW_INT, false },
        { "from_us", ROW_INT, false },
        { "until_us", ROW_INT, false },
        { "created_us", ROW_INT, false },
        { "who", ROW_TEXT, false },
        { "note", ROW_TEXT, false } } },
    { "idempotency",
      2,
      NULL,
      { { "scope", ROW_TEXT, false },
        { "key", ROW_TEXT, false },
        { "fingerprint", ROW_BYTES, false },
        { "reply", ROW_BYTES, false },
        { "created_us", ROW_INT, false } } },
    { "event",
      1,
      NULL,
      { { "id", ROW_INT, false },
        { "kind", ROW_INT, false },
        { "account_id", ROW_INT, false },
        { "budget_id", ROW_INT, false },
        { "period_start_us", ROW_INT, false },
        { "hold_id", ROW_INT, false },
        { "percent", ROW_INT, false },
        { "created_us", ROW_INT, false },
        { "told_us", ROW_INT, false },
        { "who", ROW_TEXT, false },
        { "text", ROW_TEXT, false },
        { "note", ROW_TEXT, false } } },
    { "rate",
      2,
      NULL,
      { { "account_id", ROW_INT, false },
        { "name", ROW_TEXT, false },
        { "tat_ns", ROW_INT, false } } },
    { "admission",
      1,
      NULL,
      { { "key", ROW_BYTES, false },
        { "hold_id", ROW_INT, false },
        { "expires_us", ROW_INT, false } } },
    { "price",
      1,
      NULL,
      { { "id", ROW_INT, false },
        { "provider", ROW_TEXT, false },
        { "model", ROW_TEXT, false },
        { "from_us", ROW_INT, false },
        { "rates", ROW_TEXT, false },
        { "source", ROW_TEXT, false } } },
};

size_t
row_column_count(const struct row_table *table)
{
    size_t count = 0;

    while (count < ROW_COLUMNS_MAX && table->columns[count].name != NULL)
        count++;
    return count;
}

bool
row_table_is_seeded(const struct row_table *table)
{
    return strcmp(table->name, "account") == 0 || strcmp(table->name, "counter") == 0;
}

/* ---- out ------------------------------------------------------------------------------------ */

enum status
store_rows_begin(struct store *s, struct error *err)
{
    return s->ops->begin(s->backend, STORE_INSPECT, err);
}

enum status
store_rows_count(struct store *s, const struct row_table *table, int64_t *out, struct error *err)
{
    return s->ops->rows_count(s->backend, table, out, err);
}

enum status
store_rows_visit(struct store *s, const struct row_table *table,
                 bool (*visit)(void *context, const struct row_value *values), void *context,
                 struct error *err)
{
    return s->ops->rows_visit(s->backend, table, visit, context, err);
}

void
store_rows_end(struct store *s)
{
    s->ops->rollback(s->backend);
}

/* ---- in ------------------------------------------------------------------------------------- */

/* Rows that no store is without: the programs count on them. */
static const struct {
    const char *table, *column, *text;
} always_there[] = {
    { "counter", "name", "verification" },
    { "counter", "name", "pruned_until_us" },
    { "account", "name", "all" },
};
_Static_assert(sizeof(always_there) / sizeof(always_there[0]) == FILL_ALWAYS_THERE, "one bit each");

static void
note_if_always_there(struct store *s, const struct row_table *table, const struct row_value *values)
{
    for (size_t i = 0; i < FILL_ALWAYS_THERE; i++) {
        const char *text = always_there[i].text;

        for (size_t c = 0; strcmp(always_there[i].table, table->name) == 0 && c < ROW_COLUMNS_MAX &&
                           table->columns[c].name != NULL;
             c++) {
            if (strcmp(table->columns[c].name, always_there[i].column) == 0 &&
                values[c].length == strlen(text) &&
                memcmp(values[c].bytes, text, values[c].length) == 0)
                s->filled |= 1U << i;
        }
    }
}

enum status
store_fill_begin(struct store *s, struct error *err)
{
    s->filled = 0;
    return s->ops->fill_begin(s->backend, err);
}

enum status
store_fill_row(struct store *s, const struct row_table *table, const struct row_value *values,
               struct error *err)
{
    note_if_always_there(s, table, values);
    return s->ops->fill_row(s->backend, table, values, err);
}

enum status
store_fill_end(struct store *s, bool keep, struct error *err)
{
    enum status status;

    for (size_t i = 0; keep && i < FILL_ALWAYS_THERE; i++) {
        if ((s->filled & 1U << i) != 0)
            continue;
        status = s->ops->fill_end(s->backend, false, err);
        assert(status == STATUS_OK);
        return error_set(err, STATUS_INVALID,
                         "no row of %s is called '%s': this is not all of a store",
                         always_there[i].table, always_there[i].text);
    }
    /* Nothing of what this process remembers of the store is true any more. */
    memset(s->chains, 0, CHAIN_MEMO_SLOTS * sizeof(*s->chains));
    return s->ops->fill_end(s->backend, keep, err);
}
