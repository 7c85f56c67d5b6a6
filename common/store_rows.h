/* SPDX-License-Identifier: MIT */
/*
 * Every row of a store as it is, out of one store and into another: for `spendgate dump` and
 * `load`. No money rule is here: ids, balances, nonces and stored replies are copied bit for bit,
 * so that a hold that is live is settled by its id after the move, and a repeat gets the bytes of
 * the first answer. One table, row_tables, says what a store holds; a test compares it with both
 * schemas.
 */
#ifndef SPENDGATE_STORE_ROWS_H
#define SPENDGATE_STORE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define ROW_COLUMNS_MAX 24
#define ROW_TABLES 15

struct store;

enum row_type { ROW_INT, ROW_TEXT, ROW_BYTES };

struct row_column {
    const char *name;
    enum row_type type;
    bool nullable;
};

struct row_table {
    const char *name;
    size_t key_columns;   /* the first ones are its key; rows come in its order, texts by bytes */
    const char *left_out; /* a condition on rows that are one backend's own, or NULL */
    struct row_column columns[ROW_COLUMNS_MAX]; /* up to the one without a name */
};

/* In the order of a dump. */
extern const struct row_table row_tables[ROW_TABLES];

size_t row_column_count(const struct row_table *table);
/* Whether the schema itself puts rows into it: account and counter. */
bool row_table_is_seeded(const struct row_table *table);

/* One value. Bytes are borrowed, without a NUL at their end; a text need not be UTF-8 (a note of
 * the command line in SQLite is not checked). */
struct row_value {
    bool null;
    int64_t number;    /* ROW_INT */
    const char *bytes; /* ROW_TEXT, ROW_BYTES */
    size_t length;
};

/*
 * Read: begin, count and visit tables, end. All of it is one consistent state, also while others
 * write, and also of a store that is marked as failed. Rows are streamed; `visit` returns false to
 * stop, and its values are valid until it returns. After an error only store_rows_end may follow.
 * Errors: those of store.h.
 */
enum status store_rows_begin(struct store *store, struct error *err) MUST_CHECK;
enum status store_rows_count(struct store *store, const struct row_table *table, int64_t *out,
                             struct error *err) MUST_CHECK;
enum status store_rows_visit(struct store *store, const struct row_table *table,
                             bool (*visit)(void *context, const struct row_value *values),
                             void *context, struct error *err) MUST_CHECK;
void store_rows_end(struct store *store);

/*
 * Fill an empty store: begin, rows in the order of row_tables, end. One transaction: with `keep`
 * everything is there, durably, when store_fill_end returns STATUS_OK; else nothing is. Others can
 * neither read nor write the store meanwhile. What a database derives (sequences, partitions,
 * uniqueness over them) is set by the end. With PostgreSQL the user has to own the schema, as for
 * `spendgate migrate`.
 *
 * Errors: those of store.h; STATUS_CONFLICT when the store is not empty; STATUS_INVALID when a row
 * breaks a rule of the schema, or what every store has is missing. After an error only
 * store_fill_end without `keep` may follow, which cannot fail.
 */
enum status store_fill_begin(struct store *store, struct error *err) MUST_CHECK;
enum status store_fill_row(struct store *store, const struct row_table *table,
                           const struct row_value *values, struct error *err) MUST_CHECK;
enum status store_fill_end(struct store *store, bool keep, struct error *err) MUST_CHECK;

#endif
