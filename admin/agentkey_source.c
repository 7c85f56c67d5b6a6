/* SPDX-License-Identifier: MIT */
/* agentkey's table, read from its database; see agentkey.h. The command's own door to libpq: it is
 * another database than the store, asked once, and nothing of the store's sessions fits it. */
#include "admin/agentkey.h"

#ifdef HAVE_POSTGRES
#include <libpq-fe.h>
#endif
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

bool
agentkey_url_valid(const char *url)
{
    return strncmp(url, "postgresql://", 13) == 0 || strncmp(url, "postgres://", 11) == 0;
}

#ifdef HAVE_POSTGRES

#define SQL_SIZE 2048
#define PLACE_SIZE 256
#define MESSAGE_SIZE 300

struct agentkey_source {
    PGconn *conn;
    char place[PLACE_SIZE]; /* host and database */
};

/* How each column is asked for; what an older table lacks is NULL. */
static const struct {
    const char *name, *expression;
    bool required;
} columns[AGENTKEY_COLUMNS] = {
#define TIME_OF(column)                                                            \
    "CASE WHEN isfinite(" column "::timestamptz) THEN (extract(epoch FROM " column \
    "::timestamptz) "                                                              \
    "* 1000000)::bigint::text END"
    [AGENTKEY_ID] = { "id", "id::text", true },
    [AGENTKEY_SUBJECT] = { "external_subject", "external_subject::text", true },
    [AGENTKEY_BUDGET] = { "budget_cents", "budget_cents::text", true },
    [AGENTKEY_USED] = { "budget_used_cents", "budget_used_cents::text", true },
    [AGENTKEY_PERIOD] = { "budget_period", "budget_period::text", true },
    [AGENTKEY_RESET] = { "budget_reset_at", TIME_OF("budget_reset_at"), false },
    [AGENTKEY_SCOPES] = { "scopes", "to_json(scopes)::text", false },
    [AGENTKEY_EXPIRES] = { "expires_at", TIME_OF("expires_at"), false },
    [AGENTKEY_REVOKED] = { "revoked_at", "(revoked_at IS NOT NULL)::int::text", false },
    [AGENTKEY_CREATED] = { "created_at", TIME_OF("created_at"), false },
};

/* One line of what the server or libpq said. */
static void
add_said(struct buf *out, const char *said)
{
    bool space = false;

    for (; *said != '\0'; said++) {
        bool blank = *said == '\n' || *said == '\t' || *said == ' ';

        if (!blank && space && out->length > 0)
            buf_add_char(out, ' ');
        if (!blank)
            buf_add_char(out, *said);
        space = blank;
    }
}

static enum status
failed(const struct agentkey_source *s, const PGresult *result, const char *doing,
       struct error *err)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *said = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char storage[MESSAGE_SIZE];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    add_said(&text, said != NULL ? said : "the connection was closed");
    return error_set(err, STATUS_UNAVAILABLE, "agentkey's %s: %s: %s (%s)", s->place, doing,
                     buf_text(&text), sqlstate != NULL ? sqlstate : "-");
}

static enum status
read_place(struct agentkey_source *s, const char *url, struct error *err)
{
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    const char *host = NULL, *database = NULL;
    struct buf text;

    if (options == NULL) /* libpq's own words could quote a part of the password */
        return error_set(err, STATUS_INVALID,
                         "the url cannot be read; it is postgresql://USER@HOST/DATABASE, with "
                         "%%25 and the like for special characters");
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (strcmp(o->keyword, "host") == 0)
            host = o->val;
        if (strcmp(o->keyword, "dbname") == 0)
            database = o->val;
    }
    buf_init(&text, s->place, sizeof(s->place));
    buf_add_format(&text, "database %s/%s", host != NULL ? host : "",
                   database != NULL ? database : "");
    PQconninfoFree(options);
    return STATUS_OK;
}

static enum status
connect_to(struct agentkey_source *s, const char *url, struct error *err)
{
    static const char *const keywords[] = {
        "connect_timeout", "application_name", "dbname", "client_encoding", NULL,
    };
    const char *const values[] = { "10", "spendgate import", url, "UTF8", NULL };
    const char *password;
    char storage[MESSAGE_SIZE];
    struct buf text;

    s->conn = PQconnectdbParams(keywords, values, 1);
    if (s->conn == NULL)
        return error_set(err, STATUS_NO_MEMORY, "out of memory");
    if (PQstatus(s->conn) == CONNECTION_OK)
        return STATUS_OK;
    password = PQpass(s->conn);
    buf_init(&text, storage, sizeof(storage));
    if (password != NULL && password[0] != '\0' &&
        strstr(PQerrorMessage(s->conn), password) != NULL)
        buf_add(&text, "the connection was refused; the server's log says why");
    else
        add_said(&text, PQerrorMessage(s->conn));
    return error_set(err, STATUS_UNAVAILABLE, "agentkey's %s: cannot connect: %s", s->place,
                     buf_text(&text));
}

/* One value; "" for none. */
static enum status
ask(struct agentkey_source *s, const char *sql, const char *doing, char *out, size_t size,
    struct error *err)
{
    PGresult *result = PQexec(s->conn, sql);
    ExecStatusType got = PQresultStatus(result);
    enum status status = STATUS_OK;

    if (got != PGRES_TUPLES_OK && got != PGRES_COMMAND_OK)
        status = failed(s, result, doing, err);
    else if (out != NULL)
        (void)!text_copy(out, size, PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return status;
}

static enum status
has_column(struct agentkey_source *s, const char *name, bool *out, struct error *err)
{
    char text[SQL_SIZE], answer[16];
    struct buf sql;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add_format(&sql,
                   "SELECT count(*) FROM pg_attribute WHERE attrelid = "
                   "to_regclass('" AGENTKEY_TABLE "') AND attname = '%s' AND NOT attisdropped",
                   name);
    status = ask(s, text, "look at " AGENTKEY_TABLE, answer, sizeof(answer), err);
    *out = status == STATUS_OK && strcmp(answer, "1") == 0;
    return status;
}

/* The statement that brings all rows, by what the table has. */
static enum status
make_query(struct agentkey_source *s, struct buf *sql, struct error *err)
{
    char there[128];
    bool found;
    enum status status = ask(s, "SELECT to_regclass('" AGENTKEY_TABLE "')::text",
                             "look for " AGENTKEY_TABLE, there, sizeof(there), err);

    if (status == STATUS_OK && there[0] == '\0')
        return error_set(err, STATUS_INVALID,
                         "agentkey's %s: it has no table " AGENTKEY_TABLE
                         " (a view of that name would do)",
                         s->place);
    buf_add(sql, "SELECT ");
    for (size_t i = 0; i < AGENTKEY_COLUMNS && status == STATUS_OK; i++) {
        status = has_column(s, columns[i].name, &found, err);
        if (status == STATUS_OK && !found && columns[i].required)
            return error_set(err, STATUS_INVALID,
                             "agentkey's %s: table " AGENTKEY_TABLE
                             " has no column %s: run agentkey's own migrate() first",
                             s->place, columns[i].name);
        buf_add_format(sql, "%s%s", i > 0 ? ", " : "", found ? columns[i].expression : "NULL");
    }
    buf_add(sql, " FROM " AGENTKEY_TABLE " ORDER BY id");
    if (status == STATUS_OK && buf_failed(sql))
        return error_set(err, STATUS_INTERNAL, "the query is too long");
    return status;
}

enum status
agentkey_source_open(const char *url, struct agentkey_source **out, int64_t *count,
                     struct error *err)
{
    struct agentkey_source *s = calloc(1, sizeof(*s));
    char text[SQL_SIZE], answer[24] = "0";
    struct buf sql;
    enum status status;

    *out = NULL;
    *count = 0;
    if (s == NULL)
        return error_set(err, STATUS_NO_MEMORY, "out of memory");
    buf_init(&sql, text, sizeof(text));
    status = read_place(s, url, err);
    if (status == STATUS_OK)
        status = connect_to(s, url, err);
    if (status == STATUS_OK)
        status =
            ask(s, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone = 'UTC'",
                "begin", NULL, 0, err);
    if (status == STATUS_OK)
        status = make_query(s, &sql, err);
    if (status == STATUS_OK)
        status = ask(s, "SELECT count(*) FROM " AGENTKEY_TABLE, "count rows", answer,
                     sizeof(answer), err);
    (void)!text_to_int64(answer, 0, INT64_MAX, count);
    if (status == STATUS_OK && (!PQsendQuery(s->conn, text) || !PQsetSingleRowMode(s->conn)))
        status = error_set(err, STATUS_UNAVAILABLE, "agentkey's %s: the connection was closed",
                           s->place);
    if (status == STATUS_OK) {
        *out = s;
        s = NULL;
    }
    agentkey_source_close(s);
    return status;
}

enum status
agentkey_source_next(struct agentkey_source *s, struct agentkey_row *out, bool *more,
                     struct error *err)
{
    const char *texts[AGENTKEY_COLUMNS];
    PGresult *result = PQgetResult(s->conn);
    enum status status = STATUS_OK;

    *more = result != NULL && PQresultStatus(result) == PGRES_SINGLE_TUPLE;
    if (*more) {
        for (int i = 0; i < AGENTKEY_COLUMNS; i++)
            texts[i] = PQgetisnull(result, 0, i) ? NULL : PQgetvalue(result, 0, i);
        agentkey_row_read(texts, out);
    } else if (result == NULL || PQresultStatus(result) != PGRES_TUPLES_OK)
        status = failed(s, result, "read " AGENTKEY_TABLE, err);
    PQclear(result);
    return status;
}

void
agentkey_source_close(struct agentkey_source *s)
{
    if (s == NULL)
        return;
    PQfinish(s->conn);
    free(s);
}

#else

enum status
agentkey_source_open(const char *url, struct agentkey_source **out, int64_t *count,
                     struct error *err)
{
    (void)url;
    *out = NULL;
    *count = 0;
    return error_set(err, STATUS_UNAVAILABLE,
                     "this spendgate was built without PostgreSQL, which agentkey keeps its keys "
                     "in: configure it with libpq");
}

enum status
agentkey_source_next(struct agentkey_source *source, struct agentkey_row *out, bool *more,
                     struct error *err)
{
    (void)source;
    (void)out;
    *more = false;
    return error_set(err, STATUS_INTERNAL, "there is no such database");
}

void
agentkey_source_close(struct agentkey_source *source)
{
    (void)source;
}

#endif
