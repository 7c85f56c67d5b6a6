/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL store: statements in libpq's pipeline mode, what the server's errors mean, and
 * what becomes of a connection that fails.
 */
#include "common/store_postgres.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/clock.h"

#include "common/banned.h"

#define STATEMENT_NAME_SIZE 48

int64_t
pg_boot_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

static int64_t
boot_ms(void)
{
    return pg_boot_us() / 1000;
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
void
pg_add_line(struct buf *out, const char *text)
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
    pg_add_line(&text, primary != NULL ? primary : "the connection was closed");
    s->failure = STORE_FAILED;
    s->timed_out = sqlstate != NULL && strcmp(sqlstate, "57014") == 0;
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

void
pg_disconnect(struct postgres_store *s)
{
    PQfinish(s->conn);
    s->conn = NULL;
    s->broken = s->in_transaction;
    s->batch_lost = s->batch;
    s->queue_count = 0;
    memset(s->prepared, 0, sizeof(s->prepared));
}

static const char closed[] = "the connection was closed";
static const char too_late[] = "the server did not answer in time";

/* The connection is of no use any more. Whether the transaction was recorded is unknown only when
 * its COMMIT is on the way. Who waited in vain does not try again: that would be as long once
 * more. */
static enum status
connection_lost(struct postgres_store *s, const char *why, struct error *err)
{
    bool unknown = s->committing && !s->committed;

    s->failure = why == too_late ? STORE_FAILED : unknown ? STORE_ANSWER_LOST : STORE_TRY_AGAIN;
    pg_disconnect(s);
    if (unknown)
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
        return connection_lost(s, closed, err);
    return error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->place);
}

/* A connection, and room for two more statements. */
static enum status
make_room(struct postgres_store *s, struct error *err)
{
    if (s->conn == NULL && s->in_transaction && s->broken)
        return connection_lost(s, closed, err);
    if (s->conn == NULL) {
        enum status status = pg_session_begin(s, err);

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

/* A name stands for one text, whatever its number is in another version of this program: a pooler
 * may share the names of its sessions. */
static void
name_statement(struct postgres_store *s, enum pg_statement which, struct buf *out)
{
    if (s->text_hash[which] == 0) {
        uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

        for (const char *c = pg_texts[which].sql; *c != '\0'; c++)
            hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
        s->text_hash[which] = hash;
    }
    buf_add_format(out, "spendgate_%016" PRIx64, s->text_hash[which]);
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
    name_statement(s, which, &name);
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
    *why = closed;
    while (PQisBusy(s->conn)) {
        int unsent = PQflush(s->conn);
        int64_t left_ms = deadline_ms - boot_ms();
        struct pollfd ready = { .fd = PQsocket(s->conn), .events = POLLIN };

        if (unsent < 0)
            return false;
        if (unsent > 0)
            ready.events |= POLLOUT;
        if (left_ms <= 0) {
            *why = too_late;
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
    /* What another session may cure: a standby, a pooler's mix-up, and a transaction that this
     * exchange began and that nobody will roll back. */
    if (PQstatus(s->conn) != CONNECTION_OK ||
        (status == STATUS_UNAVAILABLE && s->failure == STORE_TRY_AGAIN) ||
        (!s->begun && !(s->batch && s->batch_begun) &&
         PQtransactionStatus(s->conn) != PQTRANS_IDLE))
        pg_disconnect(s);
}

enum status
pg_exchange(struct postgres_store *s, int timeout_ms, struct error *err)
{
    enum status status;

    if (s->queue_count == 0)
        return STATUS_OK;
    s->sent_us = pg_boot_us();
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
pg_run_long(struct postgres_store *s, enum pg_statement begin, const char *sql, const char *doing,
            const struct pg_params *p, PGresult **out, struct error *err)
{
    enum status status = pg_queue(s, begin, NULL, NULL, err);

    if (out != NULL)
        *out = NULL;
    if (status == STATUS_OK)
        status = pg_queue(s, PG_LISTING, NULL, NULL, err);
    if (status == STATUS_OK)
        status = pg_queue_text(s, sql, doing, p, out, err);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_COMMIT, NULL, NULL, err);
    return status == STATUS_OK ? pg_exchange(s, PG_LISTING_MS, err) : status;
}

enum status
pg_run_listing(struct postgres_store *s, const char *sql, const char *doing,
               const struct pg_params *p, PGresult **out, struct error *err)
{
    struct pg_params limit = { 0 };
    enum status status = pg_queue(s, PG_BEGIN_READ, NULL, NULL, err);

    *out = NULL;
    pg_int(&limit, s->listing_ms);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_LISTING_LIMIT, &limit, NULL, err);
    if (status == STATUS_OK)
        status = pg_queue_text(s, sql, doing, p, out, err);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_COMMIT, NULL, NULL, err);
    return status == STATUS_OK ? pg_exchange(s, s->listing_ms + PG_ANSWER_MS, err) : status;
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
            status = connection_lost(s, closed, err);
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
        pg_disconnect(s); /* in the middle of an answer */
    s->queue_count = 0;
    return status;
}
