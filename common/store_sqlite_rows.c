/* SPDX-License-Identifier: MIT */
/*
 * All rows as they are, out of one file and into another. A fill is one transaction under the
 * writer lock: what does not fit the page cache spills into the log, so its memory does not grow
 * with it.
 */
#include "common/store_sqlite.h"

#include <assert.h>

#include "common/buf.h"

#include "common/banned.h"

#define SQL_SIZE 1024

static void
add_columns(struct buf *sql, const struct row_table *table, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_add_format(sql, "%s%s", i > 0 ? ", " : "", table->columns[i].name);
}

/* A statement of its own; the caller finalizes it. */
static enum status
prepare(struct sqlite_store *s, const struct buf *sql, sqlite3_stmt **out, struct error *err)
{
    int rc;

    *out = NULL;
    assert(!buf_failed(sql));
    rc = sqlite3_prepare_v2(s->db, buf_text(sql), -1, out, NULL);
    return rc == SQLITE_OK ? STATUS_OK : sqlite_failed(s, rc, "copy rows", err);
}

static void
add_source(struct buf *sql, const struct row_table *table)
{
    buf_add_format(sql, " FROM %s", table->name);
    if (table->left_out != NULL)
        buf_add_format(sql, " WHERE NOT (%s)", table->left_out);
}

enum status
sqlite_rows_count(struct store_backend *backend, const struct row_table *table, int64_t *out,
                  struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    char text[SQL_SIZE];
    sqlite3_stmt *stmt;
    struct buf sql;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "SELECT count(*)");
    add_source(&sql, table);
    *out = 0;
    status = prepare(s, &sql, &stmt, err);
    if (status == STATUS_OK)
        status = sqlite_one_int(s, stmt, 0, out, "count rows", err);
    sqlite3_finalize(stmt);
    return status;
}

static void
read_value(sqlite3_stmt *stmt, int column, enum row_type type, struct row_value *out)
{
    *out = (struct row_value){ .null = sqlite3_column_type(stmt, column) == SQLITE_NULL };
    if (out->null)
        return;
    if (type == ROW_INT) {
        out->number = sqlite3_column_int64(stmt, column);
        return;
    }
    out->bytes = type == ROW_TEXT ? (const char *)sqlite3_column_text(stmt, column)
                                  : sqlite3_column_blob(stmt, column);
    out->length = (size_t)sqlite3_column_bytes(stmt, column);
    if (out->bytes == NULL) /* an empty one */
        out->bytes = "";
}

enum status
sqlite_rows_visit(struct store_backend *backend, const struct row_table *table,
                  bool (*visit)(void *context, const struct row_value *values), void *context,
                  struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    struct row_value values[ROW_COLUMNS_MAX];
    size_t count = row_column_count(table);
    char text[SQL_SIZE];
    sqlite3_stmt *stmt;
    struct buf sql;
    bool more = true;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "SELECT ");
    add_columns(&sql, table, count);
    add_source(&sql, table);
    buf_add(&sql, " ORDER BY ");
    add_columns(&sql, table, table->key_columns);
    status = prepare(s, &sql, &stmt, err);
    while (status == STATUS_OK &&
           (status = sqlite_next(s, stmt, &more, "copy rows", err)) == STATUS_OK && more) {
        for (size_t i = 0; i < count; i++)
            read_value(stmt, (int)i, table->columns[i].type, &values[i]);
        if (!visit(context, values))
            break;
    }
    sqlite3_finalize(stmt);
    return status;
}

/* ---- in ------------------------------------------------------------------------------------- */

static enum status
require_empty(struct sqlite_store *s, struct error *err)
{
    char text[SQL_SIZE];
    int64_t there = 0;
    struct buf sql;
    enum status status = STATUS_OK;

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "SELECT EXISTS (SELECT 1 FROM account WHERE name <> 'all')");
    for (size_t i = 0; i < ROW_TABLES; i++) {
        const char *name = row_tables[i].name;

        if (!row_table_is_seeded(&row_tables[i]))
            buf_add_format(&sql, " OR EXISTS (SELECT 1 FROM %s)", name);
    }
    assert(!buf_failed(&sql));
    status = sqlite_pragma_int(s, text, &there, err);
    if (status == STATUS_OK && there != 0)
        return error_set(err, STATUS_CONFLICT,
                         "store %s: it is not empty; only a new one can be filled: name another "
                         "file in the settings, or move this one away",
                         s->path);
    return status;
}

enum status
sqlite_fill_begin(struct store_backend *backend, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status = sqlite_begin(backend, STORE_WRITE, err);

    if (status == STATUS_OK)
        status = require_empty(s, err);
    if (status == STATUS_OK)
        status = sqlite_execute(s,
                                "DELETE FROM account; DELETE FROM counter WHERE name <> "
                                "'checkpoint'",
                                "make room", err);
    return status;
}

static void
fill_statement_end(struct sqlite_store *s)
{
    sqlite3_finalize(s->fill);
    s->fill = NULL;
    s->fill_table = NULL;
}

static enum status
fill_statement(struct sqlite_store *s, const struct row_table *table, struct error *err)
{
    size_t count = row_column_count(table);
    char text[SQL_SIZE];
    struct buf sql;
    enum status status;

    if (s->fill_table == table)
        return STATUS_OK;
    fill_statement_end(s);
    buf_init(&sql, text, sizeof(text));
    buf_add_format(&sql, "INSERT INTO %s (", table->name);
    add_columns(&sql, table, count);
    buf_add(&sql, ") VALUES (?");
    for (size_t i = 1; i < count; i++)
        buf_add(&sql, ", ?");
    buf_add_char(&sql, ')');
    status = prepare(s, &sql, &s->fill, err);
    if (status == STATUS_OK)
        s->fill_table = table;
    return status;
}

static int
bind_value(sqlite3_stmt *stmt, int index, enum row_type type, const struct row_value *value)
{
    if (value->null)
        return sqlite3_bind_null(stmt, index);
    if (type == ROW_INT)
        return sqlite3_bind_int64(stmt, index, value->number);
    if (type == ROW_TEXT)
        return sqlite3_bind_text64(stmt, index, value->bytes, value->length, SQLITE_STATIC,
                                   SQLITE_UTF8);
    return sqlite3_bind_blob64(stmt, index, value->bytes, value->length, SQLITE_STATIC);
}

enum status
sqlite_fill_row(struct store_backend *backend, const struct row_table *table,
                const struct row_value *values, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    size_t count = row_column_count(table);
    int rc = SQLITE_OK;
    enum status status = fill_statement(s, table, err);

    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < count && rc == SQLITE_OK; i++)
        rc = bind_value(s->fill, (int)i + 1, table->columns[i].type, &values[i]);
    if (rc == SQLITE_OK && sqlite3_step(s->fill) != SQLITE_DONE)
        rc = sqlite3_extended_errcode(s->db);
    sqlite3_reset(s->fill);
    if ((rc & 0xff) == SQLITE_CONSTRAINT)
        return error_set(err, STATUS_INVALID,
                         "store %s: a row of %s breaks a rule of the schema (%s)", s->path,
                         table->name, sqlite3_errmsg(s->db));
    return rc == SQLITE_OK ? STATUS_OK : sqlite_failed(s, rc, "fill", err);
}

enum status
sqlite_fill_end(struct store_backend *backend, bool keep, struct error *err)
{
    fill_statement_end(sqlite_of(backend));
    if (keep)
        return sqlite_commit(backend, true, err);
    sqlite_rollback(backend);
    return STATUS_OK;
}
