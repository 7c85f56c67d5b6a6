/* SPDX-License-Identifier: MIT */
/* The PostgreSQL store: its schema, applied step by step by `spendgate migrate`. */
#include "common/store_postgres.h"

#include <inttypes.h>

#include "common/buf.h"
#include "common/schema_postgres.h"

#include "common/banned.h"

#define STEPS (sizeof(schema_postgres) / sizeof(schema_postgres[0]))
#define MONTHS_AHEAD 12

int64_t
postgres_newest_step(void)
{
    return schema_postgres[STEPS - 1].number;
}

/* One command outside of pipeline mode: a schema step is many statements in one text. */
static enum status
execute(struct postgres_store *s, const char *sql, const char *doing, struct error *err)
{
    PGresult *result = PQexec(s->conn, sql);
    ExecStatusType got = PQresultStatus(result);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    enum status status = STATUS_OK;

    if (got != PGRES_COMMAND_OK && got != PGRES_TUPLES_OK)
        status = error_set(err, STATUS_UNAVAILABLE,
                           "store %s: %s: %s (%s); run this as the owner of the database, see "
                           "spendgate(8)",
                           s->place, doing, message != NULL ? message : "the connection was closed",
                           sqlstate != NULL ? sqlstate : "-");
    PQclear(result);
    return status;
}

static enum status
ask_number(struct postgres_store *s, const char *sql, const char *doing, int64_t *out,
           struct error *err)
{
    PGresult *result = PQexec(s->conn, sql);
    enum status status = STATUS_OK;

    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        *out = pg_get_int(result, 0, 0);
    else
        status = error_set(err, STATUS_UNAVAILABLE, "store %s: %s: %s", s->place, doing,
                           PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) != NULL
                               ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)
                               : "the connection was closed");
    PQclear(result);
    return status;
}

static enum status
apply_step(struct postgres_store *s, size_t index, struct error *err)
{
    char text[128];
    struct buf sql;
    enum status status = execute(s, schema_postgres[index].sql, "apply a schema step", err);

    buf_init(&sql, text, sizeof(text));
    buf_add_format(&sql, "INSERT INTO spendgate.schema_step (number) VALUES (%d)",
                   schema_postgres[index].number);
    return status == STATUS_OK ? execute(s, buf_text(&sql), "apply a schema step", err) : status;
}

/* All missing steps in one transaction: of several programs that come at once the first applies
 * them and the others find them done. */
static enum status
apply_missing(struct postgres_store *s, int *applied, struct error *err)
{
    int64_t there = 0, version = 0, utf8 = 0;
    enum status status =
        ask_number(s,
                   "SELECT (pg_encoding_to_char(encoding) = 'UTF8')::int FROM pg_database "
                   "WHERE datname = current_database()",
                   "look at the database", &utf8, err);

    if (status == STATUS_OK && utf8 == 0)
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: the database is not in UTF-8; make it with "
                         "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
                         s->place);
    if (status == STATUS_OK)
        status = execute(s, "SELECT pg_advisory_xact_lock(hashtextextended('spendgate.schema', 0))",
                         "wait for another migration", err);
    if (status == STATUS_OK)
        /* From the tables, not by to_regclass: its cache may be older than our wait. */
        status = ask_number(s,
                            "SELECT count(*) FROM pg_class c JOIN pg_namespace n "
                            "ON n.oid = c.relnamespace WHERE n.nspname = 'spendgate' "
                            "AND c.relname = 'schema_step'",
                            "look for the schema", &there, err);
    if (status == STATUS_OK && there != 0)
        status = ask_number(s, "SELECT coalesce(max(number), 0) FROM spendgate.schema_step",
                            "read the schema version", &version, err);
    if (status == STATUS_OK && version > postgres_newest_step())
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: its schema is %" PRId64 ", this program knows %" PRId64
                         "; install the newer Spendgate",
                         s->place, version, postgres_newest_step());
    for (size_t i = 0; i < STEPS && status == STATUS_OK; i++) {
        if (schema_postgres[i].number <= version)
            continue;
        status = apply_step(s, i, err);
        *applied += status == STATUS_OK;
    }
    return status;
}

static enum status
migrate_in_transaction(struct postgres_store *s, int *applied, struct error *err)
{
    struct error ignored;
    enum status status = execute(
        s,
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = on; "
        "SET LOCAL statement_timeout = 0",
        "begin", err);

    if (status == STATUS_OK)
        status = apply_missing(s, applied, err);
    if (status == STATUS_OK)
        status = execute(s, "COMMIT", "commit", err);
    if (status != STATUS_OK) {
        (void)!execute(s, "ROLLBACK", "roll back", &ignored);
        *applied = 0;
    }
    return status;
}

enum status
postgres_make_partitions(struct postgres_store *s, int64_t now_us, int *made, struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result = NULL;
    enum status status;

    pg_int(&p, now_us);
    pg_int(&p, MONTHS_AHEAD);
    status = pg_run_long(s, PG_BEGIN_WRITE, "SELECT spendgate.charge_partitions($1, $2)",
                         "make partitions", &p, &result, err);
    *made = status == STATUS_OK ? (int)pg_get_int(result, 0, 0) : 0;
    PQclear(result);
    return status;
}

enum status
postgres_apply_schema(struct postgres_store *s, int *applied, struct error *err)
{
    int made;
    enum status status;

    *applied = 0;
    if (!PQexitPipelineMode(s->conn) || PQsetnonblocking(s->conn, 0) != 0)
        return error_set(err, STATUS_INTERNAL, "store %s: the session is not idle", s->place);
    status = migrate_in_transaction(s, applied, err);
    if (status != STATUS_OK)
        return status;
    if (PQsetnonblocking(s->conn, 1) != 0 || !PQenterPipelineMode(s->conn))
        return error_set(err, STATUS_INTERNAL, "store %s: the session is not idle", s->place);
    return postgres_make_partitions(s, s->base.ops->now_us(&s->base, 0), &made, err);
}
