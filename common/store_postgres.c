/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL store: the session, transactions and the table of operations. Many hosts, one
 * database. What is read is in store_postgres_load.c, what is written in store_postgres_write.c,
 * listings in store_postgres_list.c, the schema in store_postgres_schema.c. Design document,
 * section 5.
 *
 * READ COMMITTED: one statement locks the accounts of a chain in id order, later statements of the
 * same pipeline bring the values, so each sees what the holders of the locks before it committed.
 * Writes are queued and go out with COMMIT. No commit waits for the disk while it holds a lock:
 * what must be durable is committed first and then flushed by a second, empty transaction with
 * synchronous_commit = on, in the same round trip; its flush covers everything committed before.
 */
#include "common/store_postgres.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include "common/banned.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 5000
#define CLOCK_REFRESH_US (5 * US_PER_SECOND) /* read again with what is read anyway */
#define CLOCK_KEEP_US (60 * US_PER_SECOND)   /* or in a round trip of its own */

#define STATEMENT_NAME_SIZE 32
#define LAST_WORDS 4 /* reads until the end of a connection must show */

struct postgres_store *
postgres_of(struct store_backend *backend)
{
    return (struct postgres_store *)(void *)backend;
}

static int64_t
boot_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

static int64_t
boot_ms(void)
{
    return boot_us() / 1000;
}

/* ---- parameters ----------------------------------------------------------------------------- */

void
pg_int(struct pg_params *p, int64_t value)
{
    struct buf text;

    assert(p->count < PG_PARAMS_MAX);
    buf_init(&text, p->numbers[p->count], PG_NUMBER_SIZE);
    buf_add_int(&text, value);
    p->values[p->count++] = buf_text(&text);
}

void
pg_string(struct pg_params *p, const char *text)
{
    assert(p->count < PG_PARAMS_MAX);
    p->values[p->count++] = text;
}

void
pg_null(struct pg_params *p)
{
    pg_string(p, NULL);
}

void
pg_optional(struct pg_params *p, const char *text)
{
    pg_string(p, text != NULL && text[0] != '\0' ? text : NULL);
}

void
pg_bytes(struct pg_params *p, const void *bytes, size_t length)
{
    assert(p->count < PG_PARAMS_MAX);
    p->lengths[p->count] = (int)length;
    p->formats[p->count] = 1;
    p->values[p->count++] = length > 0 ? bytes : ""; /* NULL would be SQL's */
}

/* ---- errors --------------------------------------------------------------------------------- */

/* What the server said, on one line. Nothing of the password: libpq never repeats it, and what
 * cannot be read of the URL is not told at all. */
static void
add_line(struct buf *out, const char *text)
{
    bool space = false;

    for (; *text != '\0'; text++) {
        if (*text == '\n' || *text == '\t' || *text == ' ') {
            space = out->length > 0;
            continue;
        }
        if (space)
            buf_add_char(out, ' ');
        space = false;
        buf_add_char(out, *text);
    }
}

/* How a class of SQLSTATE (its first characters) is answered. The first that fits. */
static const struct {
    const char *sqlstate;
    enum status status;
    enum store_failure failure;
    const char *advice;
} sqlstates[] = {
    { "40", STATUS_BUSY, STORE_TRY_AGAIN, "another request was in the way; try again" },
    { "23505", STATUS_BUSY, STORE_TRY_AGAIN,
      "the same was recorded at the same instant; try again" },
    { "55P03", STATUS_BUSY, STORE_FAILED,
      "a row stayed locked for too long; see pg_stat_activity for who holds it" },
    { "57014", STATUS_BUSY, STORE_FAILED, "the statement took too long" },
    { "25P03", STATUS_UNAVAILABLE, STORE_TRY_AGAIN, "this process was stopped for too long" },
    { "25006", STATUS_UNAVAILABLE, STORE_TRY_AGAIN,
      "the server is read-only: a standby, or one that was demoted" },
    { "26000", STATUS_UNAVAILABLE, STORE_TRY_AGAIN,
      "a pooler lost our prepared statement; add prepare=no to the url" },
    { "42P05", STATUS_UNAVAILABLE, STORE_TRY_AGAIN,
      "a pooler mixed up our prepared statements; add prepare=no to the url" },
    { "0A000", STATUS_UNAVAILABLE, STORE_TRY_AGAIN, "the schema was changed meanwhile" },
    { "3F000", STATUS_UNAVAILABLE, STORE_FAILED, "run `spendgate migrate`" },
    { "42P01", STATUS_UNAVAILABLE, STORE_FAILED, "run `spendgate migrate`" },
    { "42703", STATUS_UNAVAILABLE, STORE_FAILED, "run `spendgate migrate`" },
    { "42501", STATUS_UNAVAILABLE, STORE_FAILED,
      "grant the role spendgate_app to this user, or for `spendgate migrate` use the owner" },
    { "22021", STATUS_INVALID, STORE_FAILED, "a text is not UTF-8" },
    { "22P05", STATUS_INVALID, STORE_FAILED, "a text is not UTF-8" },
    { "22003", STATUS_OVERFLOW, STORE_FAILED, "a number is too large" },
    { "23", STATUS_CORRUPT, STORE_FAILED, "run `spendgate verify`" },
    { "XX", STATUS_CORRUPT, STORE_FAILED, "look at the server's log; restore a backup" },
    { "53", STATUS_UNAVAILABLE, STORE_FAILED, "the server lacks memory, disk or connections" },
    { "57", STATUS_UNAVAILABLE, STORE_TRY_AGAIN, "the server is stopping or starting" },
    { "58", STATUS_UNAVAILABLE, STORE_FAILED, "look at the server's log" },
    { "08", STATUS_UNAVAILABLE, STORE_TRY_AGAIN, "the connection failed" },
};

static enum status
server_error(struct postgres_store *s, const char *doing, const PGresult *result, struct error *err)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char storage[256];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    add_line(&text, primary != NULL ? primary : "the connection was closed");
    s->failure = STORE_FAILED;
    for (size_t i = 0; sqlstate != NULL && i < sizeof(sqlstates) / sizeof(sqlstates[0]); i++) {
        if (strncmp(sqlstate, sqlstates[i].sqlstate, strlen(sqlstates[i].sqlstate)) != 0)
            continue;
        s->failure = sqlstates[i].failure;
        return error_set(err, sqlstates[i].status, "store %s: %s: %s (%s); %s", s->place, doing,
                         buf_text(&text), sqlstate, sqlstates[i].advice);
    }
    if (sqlstate == NULL) {
        s->failure = STORE_TRY_AGAIN;
        return error_set(err, STATUS_UNAVAILABLE, "store %s: %s: %s", s->place, doing,
                         buf_text(&text));
    }
    return error_set(err, STATUS_INTERNAL, "store %s: %s: %s (%s)", s->place, doing,
                     buf_text(&text), sqlstate);
}

static void
disconnect(struct postgres_store *s)
{
    PQfinish(s->conn);
    s->conn = NULL;
    s->broken = s->in_transaction;
    s->batch_lost = s->batch;
    s->queue_count = 0;
    memset(s->prepared, 0, sizeof(s->prepared));
}

/* The connection is of no use any more. Whether the transaction was recorded is unknown only when
 * its COMMIT is on the way. */
static enum status
connection_lost(struct postgres_store *s, const char *why, struct error *err)
{
    s->failure = s->committing && !s->committed ? STORE_ANSWER_LOST : STORE_TRY_AGAIN;
    disconnect(s);
    if (s->failure == STORE_ANSWER_LOST)
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: %s while a commit was on its way: whether it was recorded is "
                         "unknown; a retry with the same idempotency key settles it",
                         s->place, why);
    return error_set(err, STATUS_UNAVAILABLE, "store %s: %s; look at the server and the network",
                     s->place, why);
}

/* ---- the queue ------------------------------------------------------------------------------ */

static enum status
push(struct postgres_store *s, enum pg_statement which, bool preparing, const char *doing,
     PGresult **out)
{
    s->queue[s->queue_count++] =
        (struct pg_queued){ .which = which, .preparing = preparing, .doing = doing, .out = out };
    return STATUS_OK;
}

static enum status
could_not_send(struct postgres_store *s, struct error *err)
{
    if (PQstatus(s->conn) != CONNECTION_OK)
        return connection_lost(s, "the connection was closed", err);
    return error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->place);
}

static enum status session_begin(struct postgres_store *s, struct error *err);

/* A connection, and room for two more statements. */
static enum status
make_room(struct postgres_store *s, struct error *err)
{
    if (s->conn == NULL && s->in_transaction && s->broken)
        return connection_lost(s, "the connection was closed", err);
    if (s->conn == NULL) {
        enum status status = session_begin(s, err);

        if (status != STATUS_OK)
            return status;
    }
    return s->queue_count + 2 > PG_QUEUE_MAX ? pg_exchange(s, PG_ANSWER_MS, err) : STATUS_OK;
}

enum status
pg_queue_text(struct postgres_store *s, const char *sql, const char *doing,
              const struct pg_params *p, PGresult **out, struct error *err)
{
    enum status status = make_room(s, err);

    if (status != STATUS_OK)
        return status;
    if (!PQsendQueryParams(s->conn, sql, p != NULL ? p->count : 0, NULL,
                           p != NULL ? p->values : NULL, p != NULL ? p->lengths : NULL,
                           p != NULL ? p->formats : NULL, 0))
        return could_not_send(s, err);
    return push(s, PG_UNNAMED, false, doing, out);
}

static enum status
send_prepare(struct postgres_store *s, enum pg_statement which, const char *name, struct error *err)
{
    if (s->prepared[which])
        return STATUS_OK;
    if (!PQsendPrepare(s->conn, name, pg_texts[which].sql, 0, NULL))
        return could_not_send(s, err);
    s->prepared[which] = true; /* taken back when its answer is no success */
    return push(s, which, true, pg_texts[which].doing, NULL);
}

enum status
pg_queue(struct postgres_store *s, enum pg_statement which, const struct pg_params *p,
         PGresult **out, struct error *err)
{
    static const struct pg_params none;
    const struct pg_text *text = &pg_texts[which];
    char storage[STATEMENT_NAME_SIZE];
    struct buf name;
    int sent;
    enum status status = make_room(s, err);

    if (p == NULL)
        p = &none;
    buf_init(&name, storage, sizeof(storage));
    buf_add_format(&name, "spendgate_%d", (int)which);
    if (status == STATUS_OK && s->prepare)
        status = send_prepare(s, which, buf_text(&name), err);
    if (status != STATUS_OK)
        return status;
    if (s->prepare)
        sent = PQsendQueryPrepared(s->conn, buf_text(&name), p->count, p->values, p->lengths,
                                   p->formats, text->binary);
    else
        sent = PQsendQueryParams(s->conn, text->sql, p->count, NULL, p->values, p->lengths,
                                 p->formats, text->binary);
    return sent ? push(s, which, false, text->doing, out) : could_not_send(s, err);
}

/* Wait until the next answer is there. false: the connection is gone, or the time is over. */
static bool
wait_for_answer(struct postgres_store *s, int64_t deadline_ms, const char **why)
{
    *why = "the connection was closed";
    while (PQisBusy(s->conn)) {
        int unsent = PQflush(s->conn);
        int64_t left_ms = deadline_ms - boot_ms();
        struct pollfd ready = { .fd = PQsocket(s->conn), .events = POLLIN };

        if (unsent < 0)
            return false;
        if (unsent > 0)
            ready.events |= POLLOUT;
        if (left_ms <= 0) {
            *why = "the server did not answer in time";
            return false;
        }
        if (poll(&ready, 1, (int)left_ms) < 0 && errno != EINTR)
            return false;
        if ((ready.revents & (POLLIN | POLLERR | POLLHUP)) != 0 && !PQconsumeInput(s->conn))
            return false;
    }
    return true;
}

static void
forget_prepared(struct postgres_store *s, const struct pg_queued *item)
{
    if (item->preparing)
        s->prepared[item->which] = false;
}

/* One answer of the server, to the statement `item`. */
static void
take_answer(struct postgres_store *s, const struct pg_queued *item, PGresult *result,
            enum status *status, struct error *err)
{
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        if (item->committing && strcmp(PQcmdStatus(result), "COMMIT") == 0)
            s->committed = true;
        else if (item->committing && *status == STATUS_OK)
            *status =
                error_set(err, STATUS_INTERNAL, "store %s: a commit was a rollback", s->place);
        if (item->out != NULL) {
            *item->out = result;
            return;
        }
        break;
    case PGRES_PIPELINE_ABORTED:
        forget_prepared(s, item);
        break;
    default:
        forget_prepared(s, item);
        if (*status == STATUS_OK)
            *status = server_error(s, item->doing, result, err);
        if (s->committed) /* recorded, but not known to be on the disk */
            s->failure = STORE_ANSWER_LOST;
        break;
    }
    PQclear(result);
}

static enum status
take_answers(struct postgres_store *s, int64_t deadline_ms, struct error *err)
{
    const char *why;
    PGresult *result;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < s->queue_count; i++) {
        if (!wait_for_answer(s, deadline_ms, &why))
            return status != STATUS_OK ? status : connection_lost(s, why, err);
        result = PQgetResult(s->conn);
        take_answer(s, &s->queue[i], result, &status, err);
        if (!wait_for_answer(s, deadline_ms, &why) || PQstatus(s->conn) != CONNECTION_OK)
            return status != STATUS_OK ? status : connection_lost(s, why, err);
        PQclear(PQgetResult(s->conn)); /* the NULL that ends one statement's answers */
    }
    if (!wait_for_answer(s, deadline_ms, &why))
        return status != STATUS_OK ? status : connection_lost(s, why, err);
    PQclear(PQgetResult(s->conn)); /* the synchronization point */
    return status;
}

/* A session after a failure: gone, or for what is wrong with it to be given up. */
static void
after_failure(struct postgres_store *s, enum status status)
{
    for (size_t i = 0; i < s->queue_count; i++) {
        if (s->queue[i].out != NULL) {
            PQclear(*s->queue[i].out);
            *s->queue[i].out = NULL;
        }
    }
    if (s->conn == NULL)
        return;
    if (PQstatus(s->conn) != CONNECTION_OK && s->committing && !s->committed)
        s->failure = STORE_ANSWER_LOST;
    /* What another session may cure: a standby, a pooler's mix-up. */
    if (PQstatus(s->conn) != CONNECTION_OK ||
        (status == STATUS_UNAVAILABLE && s->failure == STORE_TRY_AGAIN))
        disconnect(s);
}

enum status
pg_exchange(struct postgres_store *s, int timeout_ms, struct error *err)
{
    enum status status;

    if (s->queue_count == 0)
        return STATUS_OK;
    s->sent_us = boot_us();
    if (!PQpipelineSync(s->conn))
        status = could_not_send(s, err);
    else
        status = take_answers(s, boot_ms() + timeout_ms, err);
    if (status != STATUS_OK)
        after_failure(s, status);
    s->queue_count = 0;
    return status;
}

enum status
pg_run(struct postgres_store *s, enum pg_statement which, const struct pg_params *p, PGresult **out,
       struct error *err)
{
    enum status status = pg_ensure_begun(s, err);

    *out = NULL;
    if (status == STATUS_OK)
        status = pg_queue(s, which, p, out, err);
    return status == STATUS_OK ? pg_exchange(s, PG_ANSWER_MS, err) : status;
}

enum status
pg_stream(struct postgres_store *s, const char *sql, const char *doing,
          bool (*visit)(void *context, const PGresult *row), void *context, struct error *err)
{
    int64_t deadline_ms = boot_ms() + PG_LISTING_MS;
    struct pg_queued item = { .which = PG_UNNAMED, .doing = doing };
    bool more = true;
    const char *why;
    PGresult *result;
    enum status status = pg_queue_text(s, sql, doing, NULL, NULL, err);

    if (status == STATUS_OK && (!PQsetSingleRowMode(s->conn) || !PQpipelineSync(s->conn)))
        status = could_not_send(s, err);
    while (status == STATUS_OK) {
        if (!wait_for_answer(s, deadline_ms, &why)) {
            status = connection_lost(s, why, err);
            break;
        }
        result = PQgetResult(s->conn);
        if (result == NULL && PQstatus(s->conn) == CONNECTION_OK)
            continue; /* between the last row and the synchronization point */
        if (result == NULL) {
            status = connection_lost(s, "the connection was closed", err);
            break;
        }
        if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            break;
        }
        if (PQresultStatus(result) == PGRES_SINGLE_TUPLE) {
            more = more && visit(context, result);
            PQclear(result);
            deadline_ms = boot_ms() + PG_LISTING_MS;
        } else
            take_answer(s, &item, result, &status, err);
    }
    if (status != STATUS_OK && s->conn != NULL)
        disconnect(s); /* in the middle of an answer */
    s->queue_count = 0;
    return status;
}

/* ---- the database's clock ------------------------------------------------------------------- */

/* A reading that came between `sent_us` and now: whatever we believed has to lie in between. */
void
pg_note_clock(struct postgres_store *s, int64_t database_us)
{
    int64_t now_us = boot_us();
    int64_t least = database_us - now_us, most = database_us - s->sent_us;

    if (s->clock_read_us == 0)
        s->clock_offset_us = least + (most - least) / 2;
    else if (s->clock_offset_us < least)
        s->clock_offset_us = least;
    else if (s->clock_offset_us > most)
        s->clock_offset_us = most;
    s->clock_read_us = now_us;
}

bool
pg_clock_due(const struct postgres_store *s)
{
    return boot_us() - s->clock_read_us > CLOCK_REFRESH_US;
}

static int64_t
postgres_now_us(struct store_backend *backend, int64_t machine_now_us)
{
    struct postgres_store *s = postgres_of(backend);
    struct error err;
    PGresult *result;

    if (boot_us() - s->clock_read_us > CLOCK_KEEP_US && !s->in_transaction &&
        pg_run(s, PG_CLOCK, NULL, &result, &err) == STATUS_OK) {
        pg_note_clock(s, pg_get_int(result, 0, 0));
        PQclear(result);
    }
    return s->clock_read_us != 0 ? boot_us() + s->clock_offset_us : machine_now_us;
}

/* ---- the session ---------------------------------------------------------------------------- */

static void
quiet(void *context, const PGresult *result)
{
    (void)context;
    (void)result;
}

/* Copy the URL without our own parameter, prepare=yes|no, which libpq would refuse. */
static enum status
read_url(struct postgres_store *s, const char *url, struct error *err)
{
    size_t length = strlen(url), query;
    struct buf out;

    s->prepare = true;
    s->url = calloc(1, length + 1);
    if (s->url == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    buf_init(&out, s->url, length + 1);
    query = strcspn(url, "?");
    buf_add_bytes(&out, url, query);
    for (const char *at = url + query; *at != '\0';) {
        size_t part = 1 + strcspn(at + 1, "&");

        if (part == strlen("?prepare=no") && strncmp(at + 1, "prepare=no", part - 1) == 0)
            s->prepare = false;
        else if (part != strlen("?prepare=yes") || strncmp(at + 1, "prepare=yes", part - 1) != 0) {
            buf_add_char(&out, out.length == query ? '?' : '&');
            buf_add_bytes(&out, at + 1, part - 1);
        }
        at += part;
    }
    return STATUS_OK;
}

/* What to call this store in messages: host and database, never user or password. */
static enum status
read_place(struct postgres_store *s, struct error *err)
{
    PQconninfoOption *options = PQconninfoParse(s->url, NULL);
    const char *host = NULL, *database = NULL;
    struct buf text;

    buf_init(&text, s->place, sizeof(s->place));
    buf_add(&text, "postgresql");
    if (options == NULL) /* libpq's own words could quote a part of the password */
        return error_set(err, STATUS_INVALID,
                         "store: the url cannot be read; it is postgresql://USER@HOST/DATABASE?"
                         "NAME=VALUE&..., with %%25 and the like for special characters");
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (strcmp(o->keyword, "host") == 0)
            host = o->val;
        if (strcmp(o->keyword, "dbname") == 0)
            database = o->val;
    }
    buf_add_format(&text, " %s/%s", host != NULL ? host : "", database != NULL ? database : "");
    PQconninfoFree(options);
    return STATUS_OK;
}

static enum status
connect_failed(struct postgres_store *s, struct error *err)
{
    char storage[384];
    const char *password = PQpass(s->conn);
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    if (password != NULL && password[0] != '\0' &&
        strstr(PQerrorMessage(s->conn), password) != NULL)
        buf_add(&text, "the connection was refused; the server's log says why");
    else
        add_line(&text, PQerrorMessage(s->conn));
    disconnect(s);
    s->backoff_ms = s->backoff_ms == 0 ? BACKOFF_MIN_MS : s->backoff_ms * 2;
    if (s->backoff_ms > BACKOFF_MAX_MS)
        s->backoff_ms = BACKOFF_MAX_MS;
    /* Spread by process, so that they do not all come back at one instant. */
    s->retry_at_ms = boot_ms() + s->backoff_ms + getpid() % (s->backoff_ms / 2 + 1);
    s->failure = STORE_FAILED;
    return error_set(err, STATUS_UNAVAILABLE, "store %s: cannot connect: %s", s->place,
                     buf_text(&text));
}

static enum status
connect_now(struct postgres_store *s, struct error *err)
{
    /* What stands before dbname is a default that the URL may change. */
    static const char *const keywords[] = {
        "connect_timeout",  "tcp_user_timeout",
        "keepalives_idle",  "keepalives_interval",
        "keepalives_count", "target_session_attrs",
        "application_name", "dbname",
        "client_encoding",  NULL,
    };
    const char *const values[] = {
        "3", "10000", "30", "5", "3", "read-write", "spendgate", s->url, "UTF8", NULL,
    };

    s->failure = STORE_FAILED;
    if (boot_ms() < s->retry_at_ms)
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: away; it is tried again in %d ms at the earliest", s->place,
                         (int)(s->retry_at_ms - boot_ms()));
    s->conn = PQconnectdbParams(keywords, values, 1);
    if (s->conn == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->place);
    if (PQstatus(s->conn) != CONNECTION_OK || PQsetnonblocking(s->conn, 1) != 0 ||
        !PQenterPipelineMode(s->conn))
        return connect_failed(s, err);
    PQsetNoticeReceiver(s->conn, quiet, NULL);
    s->backoff_ms = s->retry_at_ms = 0;
    s->broken = false;
    return STATUS_OK;
}

/* 0: no schema of ours. Reads the clock on the way. */
static enum status
schema_version(struct postgres_store *s, int64_t *version, struct error *err)
{
    PGresult *there = NULL, *clock = NULL, *newest = NULL;
    bool found = false;
    enum status status =
        pg_queue_text(s, "SELECT (to_regclass('spendgate.schema_step') IS NOT NULL)::int",
                      "look for the schema", NULL, &there, err);

    *version = 0;
    if (status == STATUS_OK)
        status = pg_queue(s, PG_CLOCK, NULL, &clock, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status == STATUS_OK) {
        pg_note_clock(s, pg_get_int(clock, 0, 0));
        found = pg_get_int(there, 0, 0) != 0;
    }
    if (status == STATUS_OK && found)
        status = pg_queue(s, PG_SCHEMA, NULL, &newest, err);
    if (status == STATUS_OK && found)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status == STATUS_OK && found)
        *version = pg_get_int(newest, 0, 0);
    PQclear(there);
    PQclear(clock);
    PQclear(newest);
    return status;
}

static enum status
require_version(const struct postgres_store *s, int64_t version, struct error *err)
{
    if (version > postgres_newest_step())
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: its schema is %" PRId64 ", this program knows %" PRId64
                         "; install the newer Spendgate",
                         s->place, version, postgres_newest_step());
    if (version < postgres_newest_step())
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: its schema is %" PRId64 ", this program needs %" PRId64
                         "; run `spendgate migrate`",
                         s->place, version, postgres_newest_step());
    return STATUS_OK;
}

/* A connection to a database of our schema. */
static enum status
session_begin(struct postgres_store *s, struct error *err)
{
    int64_t version;
    enum status status = connect_now(s, err);

    if (status == STATUS_OK)
        status = schema_version(s, &version, err);
    if (status == STATUS_OK)
        status = require_version(s, version, err);
    if (status != STATUS_OK && s->conn != NULL)
        disconnect(s);
    return status;
}

/* Whether an idle connection is still there. One that the server closed meanwhile has something to
 * read: its last words, then the end. */
static bool
still_connected(PGconn *conn)
{
    struct pollfd ready = { .fd = PQsocket(conn), .events = POLLIN };

    for (int i = 0; i < LAST_WORDS && poll(&ready, 1, 0) > 0; i++) {
        if (!PQconsumeInput(conn) || PQstatus(conn) != CONNECTION_OK)
            return false;
    }
    return PQstatus(conn) == CONNECTION_OK;
}

static enum status
session_ready(struct postgres_store *s, struct error *err)
{
    if (s->conn != NULL && !still_connected(s->conn))
        disconnect(s);
    return s->conn != NULL ? STATUS_OK : session_begin(s, err);
}

static enum status
postgres_check(struct store_backend *backend, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    PGresult *newest = NULL;
    enum status status = session_ready(s, err);

    if (status == STATUS_OK)
        status = pg_run(s, PG_SCHEMA, NULL, &newest, err);
    if (status == STATUS_OK)
        status = require_version(s, pg_get_int(newest, 0, 0), err);
    PQclear(newest);
    return status;
}

static void
postgres_close(struct store_backend *backend)
{
    struct postgres_store *s;

    if (backend == NULL)
        return;
    s = postgres_of(backend);
    PQfinish(s->conn);
    if (s->url != NULL)
        explicit_bzero(s->url, strlen(s->url));
    free(s->url);
    free(s);
}

/* Connected to a database of whatever schema. */
static enum status
open_any(const struct store_options *options, struct postgres_store **out, int64_t *version,
         struct error *err)
{
    struct postgres_store *s = calloc(1, sizeof(*s));
    enum status status;

    *out = NULL;
    if (s == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    s->base.ops = &store_postgres_ops;
    status = read_url(s, options->url, err);
    if (status == STATUS_OK)
        status = read_place(s, err);
    if (status == STATUS_OK)
        status = connect_now(s, err);
    if (status == STATUS_OK)
        status = schema_version(s, version, err);
    if (status != STATUS_OK) {
        postgres_close(&s->base);
        return status;
    }
    *out = s;
    return STATUS_OK;
}

static enum status
postgres_open(const struct store_options *options, struct store_backend **out, struct error *err)
{
    struct postgres_store *s;
    int64_t version;
    int applied;
    enum status status = open_any(options, &s, &version, err);

    *out = NULL;
    if (status != STATUS_OK)
        return status;
    if (version == 0 && options->create) {
        status = postgres_apply_schema(s, &applied, err);
        if (status == STATUS_OK)
            status = schema_version(s, &version, err);
    }
    if (status == STATUS_OK)
        status = require_version(s, version, err);
    if (status != STATUS_OK) {
        postgres_close(&s->base);
        return status;
    }
    *out = &s->base;
    return STATUS_OK;
}

static enum status
postgres_migrate(const struct store_options *options, int *applied, struct error *err)
{
    struct postgres_store *s;
    int64_t version;
    enum status status = open_any(options, &s, &version, err);

    *applied = 0;
    if (status != STATUS_OK)
        return status;
    status = postgres_apply_schema(s, applied, err);
    postgres_close(&s->base);
    return status;
}

/* ---- transactions --------------------------------------------------------------------------- */

static enum status
refuse_if_lost(struct postgres_store *s, struct error *err)
{
    if (!s->batch_lost)
        return STATUS_OK;
    return error_set(err, STATUS_UNAVAILABLE,
                     "store %s: the batch was given up after an error; post it again", s->place);
}

static enum status
postgres_begin(struct store_backend *backend, enum store_mode mode, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status;

    assert(!s->in_transaction);
    s->failure = STORE_FAILED;
    s->begun = s->committing = s->committed = s->broken = false;
    status = s->batch ? refuse_if_lost(s, err) : session_ready(s, err);
    if (status != STATUS_OK)
        return status;
    s->mode = mode;
    s->in_transaction = true;
    return STATUS_OK;
}

static enum status
queue_begin_write(struct postgres_store *s, struct error *err)
{
    enum status status = pg_queue(s, PG_BEGIN_WRITE, NULL, NULL, err);

    return status == STATUS_OK ? pg_queue(s, PG_LIMITS, NULL, NULL, err) : status;
}

enum status
pg_ensure_begun(struct postgres_store *s, struct error *err)
{
    enum status status = STATUS_OK;

    if (!s->in_transaction || s->begun || (s->mode == STORE_READ && !s->batch))
        return STATUS_OK;
    if (s->batch && !s->batch_begun) {
        status = queue_begin_write(s, err);
        s->batch_begun = status == STATUS_OK;
    }
    if (status == STATUS_OK && s->batch)
        status = pg_queue(s, PG_SAVEPOINT, NULL, NULL, err);
    else if (status == STATUS_OK && s->mode == STORE_WRITE)
        status = queue_begin_write(s, err);
    else if (status == STATUS_OK)
        status = pg_queue(s, PG_BEGIN_READ, NULL, NULL, err);
    s->begun = status == STATUS_OK;
    return status;
}

/* Queue a transaction that makes everything committed before it durable. */
static enum status
queue_flush(struct postgres_store *s, struct error *err)
{
    enum status status = pg_queue(s, PG_BEGIN_WRITE, NULL, NULL, err);

    if (status == STATUS_OK)
        status = pg_queue(s, PG_FLUSH, NULL, NULL, err);
    return status == STATUS_OK ? pg_queue(s, PG_COMMIT, NULL, NULL, err) : status;
}

static enum status
commit_now(struct postgres_store *s, bool durable, struct error *err)
{
    enum status status = pg_queue(s, PG_COMMIT, NULL, NULL, err);

    if (status == STATUS_OK) {
        s->queue[s->queue_count - 1].committing = true;
        s->committing = true;
    }
    if (status == STATUS_OK && durable)
        status = queue_flush(s, err);
    return status == STATUS_OK ? pg_exchange(s, PG_ANSWER_MS, err) : status;
}

static enum status
postgres_commit(struct store_backend *backend, bool durable, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status = STATUS_OK;

    assert(s->in_transaction);
    if (s->begun && s->batch) {
        status = pg_queue(s, PG_RELEASE, NULL, NULL, err);
        if (status == STATUS_OK) /* so that what is wrong with this element shows here */
            status = pg_exchange(s, PG_ANSWER_MS, err);
        s->batch_unsynced |= durable;
    } else if (s->begun)
        status = commit_now(s, durable, err);
    if (status != STATUS_OK)
        return status;
    s->in_transaction = s->begun = false;
    return STATUS_OK;
}

/* End the server's transaction, or go back to where the element of a batch began. */
static void
roll_back(struct postgres_store *s, enum pg_statement how)
{
    struct error err;
    enum status status;

    s->committing = s->committed = false;
    status = pg_queue(s, how, NULL, NULL, &err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, &err);
    /* What was queued before it may have failed, and the return with it. */
    if (status != STATUS_OK && s->conn != NULL)
        disconnect(s);
}

static void
postgres_rollback(struct store_backend *backend)
{
    struct postgres_store *s = postgres_of(backend);
    enum store_failure failure = s->failure;

    if (s->begun && s->conn != NULL)
        roll_back(s, s->batch ? PG_ROLLBACK_TO : PG_ROLLBACK);
    s->in_transaction = s->begun = false;
    s->failure = failure;
}

static enum store_failure
postgres_failure(const struct store_backend *backend)
{
    return ((const struct postgres_store *)(const void *)backend)->failure;
}

/* A reply that is given again may be of a commit that another process has not flushed yet. */
static enum status
postgres_settle_disk(struct store_backend *backend, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status;

    assert(!s->in_transaction);
    if (s->batch) {
        s->batch_unsynced = true;
        return STATUS_OK;
    }
    status = queue_flush(s, err);
    return status == STATUS_OK ? pg_exchange(s, PG_ANSWER_MS, err) : status;
}

static enum status
postgres_batch_begin(struct store_backend *backend, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status;

    assert(!s->batch && !s->in_transaction);
    status = session_ready(s, err);
    if (status != STATUS_OK)
        return status;
    s->batch = true;
    s->batch_begun = s->batch_unsynced = s->batch_lost = false;
    return STATUS_OK;
}

static enum status
postgres_batch_end(struct store_backend *backend, bool keep, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status = STATUS_OK;

    assert(s->batch && !s->in_transaction);
    s->batch = false;
    s->committing = s->committed = false;
    if (keep)
        status = refuse_if_lost(s, err);
    if (keep && status == STATUS_OK && s->batch_begun)
        status = commit_now(s, s->batch_unsynced, err);
    else if (keep && status == STATUS_OK && s->batch_unsynced)
        status = postgres_settle_disk(backend, err);
    else if (s->batch_begun && s->conn != NULL)
        roll_back(s, PG_ROLLBACK);
    if (status != STATUS_OK && s->conn != NULL && s->batch_begun)
        roll_back(s, PG_ROLLBACK);
    return status;
}

/* ---- numbers -------------------------------------------------------------------------------- */

enum status
pg_number(struct postgres_store *s, enum pg_block_kind kind, int64_t *out, struct error *err)
{
    static const enum pg_statement fetch[] = { PG_BLOCK_HOLD, PG_BLOCK_CHARGE, PG_BLOCK_CREDIT,
                                               PG_BLOCK_EVENT };
    struct pg_block *block = &s->blocks[kind];
    PGresult *result;
    enum status status = STATUS_OK;

    *out = 0;
    if (block->next == block->end) { /* rare: `load` fetches them in passing */
        status = pg_run(s, fetch[kind], NULL, &result, err);
        if (status != STATUS_OK)
            return status;
        block->next = pg_get_int(result, 0, 0);
        block->end = block->next + PG_ID_BLOCK;
        PQclear(result);
    }
    *out = block->next++;
    return STATUS_OK;
}

const struct store_ops store_postgres_ops = {
    .scheme = "postgresql",
    .expire_max = 64,
    .one_transaction_for_all = false,
    .open = postgres_open,
    .close = postgres_close,
    .migrate = postgres_migrate,
    .check = postgres_check,
    .examine = postgres_examine,
    .after = postgres_after,
    .now_us = postgres_now_us,
    .begin = postgres_begin,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .failure = postgres_failure,
    .settle_disk = postgres_settle_disk,
    .batch_begin = postgres_batch_begin,
    .batch_end = postgres_batch_end,
    .accounts_find = postgres_accounts_find,
    .account_lock = postgres_account_lock,
    .account_get = postgres_account_get,
    .generations_below = postgres_generations_below,
    .chain_intern = postgres_chain_intern,
    .last_seen = postgres_last_seen,
    .load = postgres_load,
    .load_lines = postgres_load_lines,
    .journal_sum = postgres_journal_sum,
    .credit_sum = postgres_credit_sum,
    .history = postgres_history,
    .route_amounts = postgres_route_amounts,
    .expired = postgres_expired,
    .unknown_hold = postgres_unknown_hold,
    .idempotency_find = postgres_idempotency_find,
    .verification_number = postgres_verification_number,
    .price_find = postgres_price_find,
    .account_write = postgres_account_write,
    .line_write = postgres_line_write,
    .period_write = postgres_period_write,
    .hold_write = postgres_hold_write,
    .charge_write = postgres_charge_write,
    .credit_write = postgres_credit_write,
    .rate_write = postgres_rate_write,
    .admission_write = postgres_admission_write,
    .idempotency_write = postgres_idempotency_write,
    .event_write = postgres_event_write,
    .price_write = postgres_price_write,
    .account_names = postgres_account_names,
    .clerk_note_write = postgres_clerk_note_write,
    .clerk_note_read = postgres_clerk_note_read,
    .clerk_subjects = postgres_clerk_subjects,
    .clerk_keys = postgres_clerk_keys,
    .charges = postgres_charges,
    .report = postgres_report,
    .holds = postgres_holds,
    .prices = postgres_prices,
    .scan = postgres_scan,
    .pruned_until = postgres_pruned_until,
    .prune = postgres_prune,
};
