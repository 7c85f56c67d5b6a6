/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL store: all rows as they are, out of one database and into another. They come out
 * one by one in one snapshot, and go in by COPY in one transaction that locks every table and every
 * sequence. The session leaves pipeline mode for that, which knows no COPY.
 */
#include "common/store_postgres.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/crypto.h"

#include "common/banned.h"

#define SQL_SIZE 1024
#define COPY_PIECE (64 * 1024)      /* sent at once */
#define COPY_SIZE (4 * 1024 * 1024) /* and the longest row behind it */
#define MESSAGE_SIZE 256

/* Where numbers come from: a sequence, or (NULL) the column itself. */
static const struct {
    const char *table, *sequence;
} numbered[] = {
    { "account", NULL },
    { "chain", NULL },
    { "price", NULL },
    { "hold", "hold_number" },
    { "charge", "charge_number" },
    { "credit", "credit_number" },
    { "event", "event_number" },
};
#define NUMBERED (sizeof(numbered) / sizeof(numbered[0]))

static void
add_columns(struct buf *sql, const struct row_table *table, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_add_format(sql, "%s%s", i > 0 ? ", " : "", table->columns[i].name);
}

static void
add_source(struct buf *sql, const struct row_table *table)
{
    buf_add_format(sql, " FROM spendgate.%s", table->name);
    if (table->left_out != NULL)
        buf_add_format(sql, " WHERE NOT (%s)", table->left_out);
}

/* ---- out ------------------------------------------------------------------------------------ */

/* A stream begins with an empty queue, in a transaction that has begun. Whoever reads it may take
 * his time, whatever limits the server has. */
static enum status
begin_now(struct postgres_store *s, struct error *err)
{
    enum status status = pg_ensure_begun(s, err);

    if (status == STATUS_OK)
        status = pg_queue_text(s,
                               "SELECT set_config('statement_timeout', '0', true), "
                               "set_config('idle_in_transaction_session_timeout', '0', true), "
                               "set_config('jit', 'off', true)",
                               "begin", NULL, NULL, err);
    return status == STATUS_OK ? pg_exchange(s, PG_ANSWER_MS, err) : status;
}

enum status
postgres_rows_count(struct store_backend *backend, const struct row_table *table, int64_t *out,
                    struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    PGresult *result = NULL;
    char text[SQL_SIZE];
    struct buf sql;
    enum status status = begin_now(s, err);

    *out = 0;
    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "SELECT count(*)");
    add_source(&sql, table);
    assert(!buf_failed(&sql));
    if (status == STATUS_OK)
        status = pg_queue_text(s, text, "count rows", NULL, &result, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_LISTING_MS, err);
    if (status == STATUS_OK)
        *out = pg_get_int(result, 0, 0);
    PQclear(result);
    return status;
}

struct stream {
    const struct row_table *table;
    size_t count;
    bool (*visit)(void *context, const struct row_value *values);
    void *context;
    char *bytes; /* decoded, of one row */
    size_t room;
    bool failed;
};

/* Bytes come as hex; false: no memory, or it is none. */
static bool
decode(struct stream *stream, size_t *used, struct row_value *value)
{
    size_t length;

    if (!hex_decode(value->bytes, value->length, stream->bytes + *used, stream->room - *used,
                    &length))
        return false;
    value->bytes = stream->bytes + *used;
    value->length = length;
    *used += length;
    return true;
}

/* Room for all bytes of a row, so that none moves while others are decoded. */
static bool
make_room(struct stream *stream, const PGresult *row)
{
    size_t wanted = 1;
    char *bytes;

    for (size_t i = 0; i < stream->count; i++) {
        if (stream->table->columns[i].type == ROW_BYTES)
            wanted += (size_t)PQgetlength(row, 0, (int)i) / 2;
    }
    if (wanted <= stream->room)
        return true;
    bytes = realloc(stream->bytes, wanted);
    if (bytes == NULL)
        return false;
    stream->bytes = bytes;
    stream->room = wanted;
    return true;
}

static bool
visit_row(void *context, const PGresult *row)
{
    struct row_value values[ROW_COLUMNS_MAX];
    struct stream *stream = context;
    size_t used = 0;

    stream->failed = !make_room(stream, row);
    for (size_t i = 0; i < stream->count && !stream->failed; i++) {
        enum row_type type = stream->table->columns[i].type;

        values[i] = (struct row_value){ .null = pg_is_null(row, 0, (int)i) };
        if (values[i].null)
            continue;
        values[i].bytes = PQgetvalue(row, 0, (int)i);
        values[i].length = (size_t)PQgetlength(row, 0, (int)i);
        if (type == ROW_INT)
            values[i].number = pg_get_int(row, 0, (int)i);
        else if (type == ROW_BYTES)
            stream->failed = !decode(stream, &used, &values[i]);
    }
    return !stream->failed && stream->visit(stream->context, values);
}

enum status
postgres_rows_visit(struct store_backend *backend, const struct row_table *table,
                    bool (*visit)(void *context, const struct row_value *values), void *context,
                    struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct stream stream = {
        .table = table, .count = row_column_count(table), .visit = visit, .context = context
    };
    char text[SQL_SIZE];
    struct buf sql;
    enum status status = begin_now(s, err);

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "SELECT ");
    for (size_t i = 0; i < stream.count; i++)
        buf_add_format(&sql, table->columns[i].type == ROW_BYTES ? "%sencode(%s, 'hex')" : "%s%s",
                       i > 0 ? ", " : "", table->columns[i].name);
    add_source(&sql, table);
    for (size_t i = 0; i < table->key_columns; i++) /* by bytes, whatever the database's order */
        buf_add_format(&sql, "%s%s%s", i > 0 ? ", " : " ORDER BY ", table->columns[i].name,
                       table->columns[i].type == ROW_TEXT ? " COLLATE \"C\"" : "");
    assert(!buf_failed(&sql));
    if (status == STATUS_OK)
        status = pg_stream(s, text, "copy rows", visit_row, &stream, err);
    free(stream.bytes);
    if (status == STATUS_OK && stream.failed)
        return error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->place);
    return status;
}

/* ---- in: statements outside of pipeline mode ------------------------------------------------- */

static enum status
refused(const struct postgres_store *s, const PGresult *result, const char *doing,
        struct error *err)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *said = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (sqlstate == NULL)
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: %s: the connection was closed; look at the server and the "
                         "network",
                         s->place, doing);
    if (strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0)
        return error_set(err, STATUS_INVALID,
                         "store %s: %s: a row breaks a rule of the schema: %s (%s)", s->place,
                         doing, said, sqlstate);
    if (strcmp(sqlstate, "42501") == 0)
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: %s: %s (%s); run this as the owner of the schema, as "
                         "`spendgate migrate`",
                         s->place, doing, said, sqlstate);
    if (strcmp(sqlstate, "55P03") == 0 || strncmp(sqlstate, "40", 2) == 0)
        return error_set(err, STATUS_BUSY,
                         "store %s: %s: programs are using it; stop them and try again", s->place,
                         doing);
    return error_set(err, STATUS_UNAVAILABLE, "store %s: %s: %s (%s)", s->place, doing, said,
                     sqlstate);
}

/* One or more statements; the first value of the last one's first row. */
static enum status
execute(struct postgres_store *s, const char *sql, const char *doing, int64_t *out,
        struct error *err)
{
    PGresult *result = PQexec(s->conn, sql);
    ExecStatusType got = PQresultStatus(result);
    enum status status = STATUS_OK;

    if (got != PGRES_COMMAND_OK && got != PGRES_TUPLES_OK)
        status = refused(s, result, doing, err);
    else if (out != NULL)
        *out = pg_get_int(result, 0, 0);
    PQclear(result);
    return status;
}

/* ---- in: the beginning ----------------------------------------------------------------------- */

/* Nobody reads, writes or takes a number until the end. A transaction that has taken one keeps the
 * lock of its sequence, so none that begins before us uses its number behind us. */
static enum status
lock_everything(struct postgres_store *s, struct error *err)
{
    enum status status = STATUS_OK;
    char text[SQL_SIZE];
    struct buf sql;

    for (size_t i = 0; i < NUMBERED && status == STATUS_OK; i++) {
        if (numbered[i].sequence == NULL)
            continue;
        buf_init(&sql, text, sizeof(text)); /* changes nothing but the lock */
        buf_add_format(&sql, "ALTER SEQUENCE spendgate.%s NO CYCLE", numbered[i].sequence);
        status = execute(s, text, "lock the numbers", NULL, err);
    }
    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "LOCK TABLE spendgate.charge_hold_text");
    for (size_t i = 0; i < ROW_TABLES; i++)
        buf_add_format(&sql, ", spendgate.%s", row_tables[i].name);
    buf_add(&sql, " IN ACCESS EXCLUSIVE MODE");
    assert(!buf_failed(&sql));
    return status == STATUS_OK ? execute(s, text, "lock the tables", NULL, err) : status;
}

static enum status
require_empty(struct postgres_store *s, struct error *err)
{
    char text[SQL_SIZE];
    struct buf sql;
    int64_t found = 0;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "SELECT (EXISTS (SELECT FROM spendgate.account WHERE name <> 'all')");
    for (size_t i = 0; i < ROW_TABLES; i++) {
        if (!row_table_is_seeded(&row_tables[i]))
            buf_add_format(&sql, " OR EXISTS (SELECT FROM spendgate.%s)", row_tables[i].name);
    }
    buf_add(&sql, ")::int");
    assert(!buf_failed(&sql));
    status = execute(s, text, "look whether it is empty", &found, err);
    if (status == STATUS_OK && found != 0)
        return error_set(err, STATUS_CONFLICT,
                         "store %s: it is not empty; only a new one can be filled: name another "
                         "database in the settings",
                         s->place);
    return status;
}

static enum status
leave_pipeline(struct postgres_store *s, struct error *err)
{
    if (!PQexitPipelineMode(s->conn) || PQsetnonblocking(s->conn, 0) != 0)
        return error_set(err, STATUS_INTERNAL, "store %s: the session is not idle", s->place);
    return STATUS_OK;
}

enum status
postgres_fill_begin(struct store_backend *backend, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status = s->base.ops->begin(backend, STORE_WRITE, err);

    if (status != STATUS_OK)
        return status;
    s->filling = calloc(1, COPY_SIZE); /* what is not used is never touched */
    if (s->filling == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->place);
    buf_init(&s->copy, s->filling, COPY_SIZE);
    s->fill_table = NULL;
    status = leave_pipeline(s, err);
    if (status == STATUS_OK) /* the dump may come slowly */
        status = execute(s,
                         "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
                         "SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = 0;"
                         "SET LOCAL idle_in_transaction_session_timeout = 0;"
                         "SET LOCAL synchronous_commit = on",
                         "begin", NULL, err);
    if (status == STATUS_OK)
        status = lock_everything(s, err);
    if (status == STATUS_OK)
        status = require_empty(s, err);
    if (status == STATUS_OK)
        status = execute(s, "DELETE FROM spendgate.account; DELETE FROM spendgate.counter",
                         "make room", NULL, err);
    return status;
}

/* ---- in: rows -------------------------------------------------------------------------------- */

static enum status
copy_send(struct postgres_store *s, struct error *err)
{
    int sent = PQputCopyData(s->conn, s->copy.data, (int)s->copy.length);

    buf_clear(&s->copy);
    if (sent == 1)
        return STATUS_OK;
    return error_set(err, STATUS_UNAVAILABLE,
                     "store %s: the connection was closed; look at the server and the network",
                     s->place);
}

/* The end of one table's rows; what is wrong with one of them shows here. `why` gives them up. */
static enum status
copy_end(struct postgres_store *s, const char *why, struct error *err)
{
    enum status status = STATUS_OK;
    char doing[MESSAGE_SIZE];
    struct buf text;
    PGresult *result;

    if (s->fill_table == NULL)
        return STATUS_OK;
    buf_init(&text, doing, sizeof(doing));
    buf_add_format(&text, "fill %s", s->fill_table->name);
    s->fill_table = NULL;
    if (why == NULL && s->copy.length > 0)
        status = copy_send(s, err);
    buf_clear(&s->copy);
    if (PQputCopyEnd(s->conn, why) != 1 && status == STATUS_OK)
        status =
            error_set(err, STATUS_UNAVAILABLE, "store %s: the connection was closed", s->place);
    while ((result = PQgetResult(s->conn)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            status = refused(s, result, doing, err);
        PQclear(result);
        if (PQstatus(s->conn) != CONNECTION_OK)
            break;
    }
    return status;
}

/* A partition for each month from the first charge's until now: what lay in the default one would
 * have to be moved out of it later. */
static enum status
make_partitions(struct postgres_store *s, int64_t first_us, struct error *err)
{
    char text[SQL_SIZE];
    struct buf sql;

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "SELECT spendgate.charge_partitions(");
    buf_add_int(&sql, first_us);
    buf_add(&sql, ", extract(year FROM age)::integer * 12 + extract(month FROM age)::integer + 1) "
                  "FROM age(now(), to_timestamp(");
    buf_add_int(&sql, first_us / 1000000);
    buf_add(&sql, ")) age");
    assert(!buf_failed(&sql));
    return execute(s, text, "make partitions", NULL, err);
}

static enum status
copy_begin(struct postgres_store *s, const struct row_table *table, const struct row_value *first,
           struct error *err)
{
    char text[SQL_SIZE];
    struct buf sql;
    PGresult *result;
    enum status status = copy_end(s, NULL, err);

    if (status == STATUS_OK && strcmp(table->name, "charge") == 0) {
        for (size_t i = 0; i < row_column_count(table); i++) {
            if (status == STATUS_OK && strcmp(table->columns[i].name, "created_us") == 0)
                status = make_partitions(s, first[i].number, err);
        }
    }
    if (status != STATUS_OK)
        return status;
    buf_init(&sql, text, sizeof(text));
    buf_add_format(&sql, "COPY spendgate.%s (", table->name);
    add_columns(&sql, table, row_column_count(table));
    buf_add(&sql, ") FROM STDIN");
    assert(!buf_failed(&sql));
    result = PQexec(s->conn, text);
    if (PQresultStatus(result) == PGRES_COPY_IN)
        s->fill_table = table;
    else
        status = refused(s, result, "fill", err);
    PQclear(result);
    return status;
}

/* COPY's text form: what it would read as an end or as an escape is escaped. */
static bool
add_text(struct buf *out, const struct row_value *value)
{
    for (size_t i = 0; i < value->length; i++) {
        switch (value->bytes[i]) {
        case '\0':
            return false;
        case '\\':
            buf_add(out, "\\\\");
            break;
        case '\n':
            buf_add(out, "\\n");
            break;
        case '\r':
            buf_add(out, "\\r");
            break;
        case '\t':
            buf_add(out, "\\t");
            break;
        default:
            buf_add_char(out, value->bytes[i]);
        }
    }
    return true;
}

static bool
add_value(struct buf *out, enum row_type type, const struct row_value *value)
{
    if (value->null) {
        buf_add(out, "\\N");
        return true;
    }
    if (type == ROW_TEXT)
        return add_text(out, value);
    if (type == ROW_INT) {
        buf_add_int(out, value->number);
        return true;
    }
    buf_add(out, "\\\\x");
    buf_add_hex(out, value->bytes, value->length);
    return true;
}

enum status
postgres_fill_row(struct store_backend *backend, const struct row_table *table,
                  const struct row_value *values, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    size_t count = row_column_count(table);
    enum status status = STATUS_OK;

    if (s->fill_table != table)
        status = copy_begin(s, table, values, err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        if (!add_value(&s->copy, table->columns[i].type, &values[i]))
            return error_set(err, STATUS_INVALID,
                             "store %s: fill %s: a text with a NUL byte cannot be kept in "
                             "PostgreSQL",
                             s->place, table->name);
        buf_add_char(&s->copy, i + 1 < count ? '\t' : '\n');
    }
    if (status != STATUS_OK)
        return status;
    if (buf_failed(&s->copy))
        return error_set(err, STATUS_OVERFLOW, "store %s: fill %s: a row is too long", s->place,
                         table->name);
    return s->copy.length >= COPY_PIECE ? copy_send(s, err) : STATUS_OK;
}

/* ---- in: the end ----------------------------------------------------------------------------- */

/* New numbers begin behind the highest that came. */
static enum status
restart_numbers(struct postgres_store *s, struct error *err)
{
    char text[SQL_SIZE];
    enum status status = STATUS_OK;
    int64_t next = 1;
    struct buf sql;

    for (size_t i = 0; i < NUMBERED && status == STATUS_OK; i++) {
        buf_init(&sql, text, sizeof(text));
        buf_add_format(&sql, "SELECT coalesce(max(id), 0) + 1 FROM spendgate.%s",
                       numbered[i].table);
        status = execute(s, text, "number", &next, err);
        buf_clear(&sql);
        if (numbered[i].sequence != NULL)
            buf_add_format(&sql, "ALTER SEQUENCE spendgate.%s RESTART WITH ", numbered[i].sequence);
        else
            buf_add_format(&sql, "ALTER TABLE spendgate.%s ALTER COLUMN id RESTART WITH ",
                           numbered[i].table);
        buf_add_int(&sql, next);
        if (status == STATUS_OK)
            status = execute(s, text, "number", NULL, err);
    }
    return status;
}

static enum status
finish(struct postgres_store *s, struct error *err)
{
    enum status status = copy_end(s, NULL, err);

    if (status == STATUS_OK)
        status = restart_numbers(s, err);
    if (status == STATUS_OK)
        status = execute(s,
                         "INSERT INTO spendgate.charge_hold_text (hold_text, charge_id) SELECT "
                         "hold_text, id FROM spendgate.charge WHERE hold_text IS NOT NULL",
                         "fill charge_hold_text", NULL, err);
    /* Else the first queries would be planned for empty tables. */
    for (size_t i = 0; i < ROW_TABLES && status == STATUS_OK; i++) {
        char text[SQL_SIZE];
        struct buf sql;

        buf_init(&sql, text, sizeof(text));
        buf_add_format(&sql, "ANALYZE spendgate.%s", row_tables[i].name);
        status = execute(s, text, "analyze", NULL, err);
    }
    return status;
}

static enum status
commit(struct postgres_store *s, struct error *err)
{
    enum status status = execute(s, "COMMIT", "commit", NULL, err);

    if (status != STATUS_OK && PQstatus(s->conn) != CONNECTION_OK)
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: the connection was closed while the commit was on its way: "
                         "all of it was filled or nothing; look with `spendgate account list`",
                         s->place);
    return status;
}

enum status
postgres_fill_end(struct store_backend *backend, bool keep, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status = STATUS_OK;
    struct error ignored;

    if (keep)
        status = finish(s, err);
    if (keep && status == STATUS_OK)
        status = commit(s, err);
    if ((!keep || status != STATUS_OK) && s->conn != NULL &&
        PQpipelineStatus(s->conn) == PQ_PIPELINE_OFF) {
        (void)!copy_end(s, "given up", &ignored);
        (void)!execute(s, "ROLLBACK", "roll back", NULL, &ignored);
    }
    free(s->filling);
    s->filling = NULL;
    s->fill_table = NULL;
    if (s->conn != NULL && PQpipelineStatus(s->conn) == PQ_PIPELINE_OFF &&
        (PQsetnonblocking(s->conn, 1) != 0 || !PQenterPipelineMode(s->conn)))
        pg_disconnect(s);
    s->base.ops->rollback(backend); /* of a transaction that the queue knows nothing of */
    return status;
}
