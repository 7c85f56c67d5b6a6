/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL store: the session. The URL, connecting and coming back, the schema's version, and
 * the database's clock.
 */
#include "common/store_postgres.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"

#include "common/banned.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
#define CLOCK_REFRESH_US (5 * US_PER_SECOND) /* read again with what is read anyway */
#define CLOCK_KEEP_US (60 * US_PER_SECOND)   /* or in a round trip of its own */
#define LAST_WORDS 4                         /* reads until the end of a connection must show */

/* ---- the database's clock ------------------------------------------------------------------- */

/* A reading that came between `sent_us` and now: whatever we believed has to lie in between. */
void
pg_note_clock(struct postgres_store *s, int64_t database_us)
{
    int64_t now_us = pg_boot_us();
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
    return pg_boot_us() - s->clock_read_us > CLOCK_REFRESH_US;
}

int64_t
postgres_now_us(struct store_backend *backend, int64_t machine_now_us)
{
    struct postgres_store *s = postgres_of(backend);
    struct error err;
    PGresult *result;

    if (pg_boot_us() - s->clock_read_us > CLOCK_KEEP_US && !s->in_transaction &&
        pg_run(s, PG_CLOCK, NULL, &result, &err) == STATUS_OK) {
        pg_note_clock(s, pg_get_int(result, 0, 0));
        PQclear(result);
    }
    return s->clock_read_us != 0 ? pg_boot_us() + s->clock_offset_us : machine_now_us;
}

/* ---- the session ---------------------------------------------------------------------------- */

static int64_t
boot_ms(void)
{
    return pg_boot_us() / 1000;
}

/* Nothing of it is for our log; that the server gave up waiting for its standby, a commit asks for.
 */
static void
take_notice(void *context, const PGresult *result)
{
    struct postgres_store *s = context;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    s->warned |= severity != NULL && strcmp(severity, "WARNING") == 0;
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

/* When to try again: a little later each time, and an attempt that took long is not begun again at
 * once, so that a server that swallows packets cannot keep a process for itself. */
static void
back_off(struct postgres_store *s, int64_t began_ms)
{
    int64_t pause_ms = boot_ms() - began_ms;

    s->backoff_ms = s->backoff_ms == 0 ? BACKOFF_MIN_MS : s->backoff_ms * 2;
    if (s->backoff_ms > BACKOFF_MAX_MS)
        s->backoff_ms = BACKOFF_MAX_MS;
    if (pause_ms < s->backoff_ms)
        pause_ms = s->backoff_ms;
    /* Spread by process, so that they do not all come back at one instant. */
    s->retry_at_ms = boot_ms() + pause_ms + getpid() % (s->backoff_ms / 2 + 1);
}

static enum status
connect_failed(struct postgres_store *s, struct error *err)
{
    const char *password = PQpass(s->conn);
    struct buf text;

    buf_init(&text, s->why, sizeof(s->why));
    if (password != NULL && password[0] != '\0' &&
        strstr(PQerrorMessage(s->conn), password) != NULL)
        buf_add(&text, "the connection was refused; the server's log says why");
    else
        pg_add_line(&text, PQerrorMessage(s->conn));
    pg_disconnect(s);
    s->failure = STORE_FAILED;
    return error_set(err, STATUS_UNAVAILABLE, "store %s: cannot connect: %s", s->place, s->why);
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
    s->conn = PQconnectdbParams(keywords, values, 1);
    if (s->conn == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->place);
    if (PQstatus(s->conn) != CONNECTION_OK || PQsetnonblocking(s->conn, 1) != 0 ||
        !PQenterPipelineMode(s->conn))
        return connect_failed(s, err);
    PQsetNoticeReceiver(s->conn, take_notice, s);
    s->broken = false;
    return STATUS_OK;
}

/* 0: no schema of ours. Reads the clock on the way, twice: a new connection's first statements take
 * milliseconds, and the reading lies anywhere in them. The second one is made as soon as it
 * arrives, so that two processes do not order by milliseconds what came one after the other. */
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
    if (status != STATUS_OK || !found)
        goto out;
    PQclear(clock);
    clock = NULL;
    status = pg_queue(s, PG_CLOCK, NULL, &clock, err);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_SCHEMA, NULL, &newest, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status == STATUS_OK) {
        pg_note_clock(s, pg_get_int(clock, 0, 0));
        *version = pg_get_int(newest, 0, 0);
    }
out:
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

/* Connected, to a database of whatever schema. */
static enum status
connect_any(struct postgres_store *s, int64_t *version, struct error *err)
{
    enum status status = connect_now(s, err);

    if (status == STATUS_OK)
        status = schema_version(s, version, err);
    if (status != STATUS_OK && s->conn != NULL)
        pg_disconnect(s);
    return status;
}

enum status
pg_session_begin(struct postgres_store *s, struct error *err)
{
    int64_t version, began_ms = boot_ms();
    enum status status;

    if (began_ms < s->retry_at_ms) {
        s->failure = STORE_FAILED;
        return error_set(err, STATUS_UNAVAILABLE, "%s; tried again in %d ms at the earliest",
                         s->why, (int)(s->retry_at_ms - began_ms));
    }
    status = connect_any(s, &version, err);
    if (status == STATUS_OK)
        status = require_version(s, version, err);
    if (status == STATUS_OK) {
        s->backoff_ms = s->retry_at_ms = 0;
        return STATUS_OK;
    }
    if (s->conn != NULL)
        pg_disconnect(s);
    (void)!text_copy(s->why, sizeof(s->why), err->message);
    back_off(s, began_ms);
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

enum status
pg_session_ready(struct postgres_store *s, struct error *err)
{
    if (s->conn != NULL && !still_connected(s->conn))
        pg_disconnect(s);
    return s->conn != NULL ? STATUS_OK : pg_session_begin(s, err);
}

enum status
postgres_check(struct store_backend *backend, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    PGresult *newest = NULL;
    enum status status = pg_session_ready(s, err);

    if (status == STATUS_OK)
        status = pg_run(s, PG_SCHEMA, NULL, &newest, err);
    if (status == STATUS_OK)
        status = require_version(s, pg_get_int(newest, 0, 0), err);
    PQclear(newest);
    return status;
}

void
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

/* Not connected yet. */
static enum status
prepare_store(const struct store_options *options, struct postgres_store **out, struct error *err)
{
    struct postgres_store *s = calloc(1, sizeof(*s));
    enum status status;

    *out = NULL;
    if (s == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    s->base.ops = &store_postgres_ops;
    s->listing_ms = options->listing_ms != 0 ? options->listing_ms : PG_LISTING_MS;
    s->sum_ms = options->listing_ms != 0 ? PG_SUM_MS : PG_LISTING_MS;
    status = read_url(s, options->url, err);
    if (status == STATUS_OK)
        status = read_place(s, err);
    if (status != STATUS_OK) {
        postgres_close(&s->base);
        return status;
    }
    *out = s;
    return STATUS_OK;
}

enum status
postgres_open(const struct store_options *options, struct store_backend **out, struct error *err)
{
    struct postgres_store *s;
    enum status status = prepare_store(options, &s, err);

    *out = NULL;
    if (status != STATUS_OK)
        return status;
    status = pg_session_begin(s, err);
    if (status != STATUS_OK && !(options->lazy && status == STATUS_UNAVAILABLE)) {
        postgres_close(&s->base);
        return status;
    }
    *out = &s->base;
    return STATUS_OK;
}

enum status
postgres_migrate(const struct store_options *options, int *applied, struct error *err)
{
    struct postgres_store *s;
    int64_t version;
    enum status status = prepare_store(options, &s, err);

    *applied = 0;
    if (status != STATUS_OK)
        return status;
    status = connect_any(s, &version, err);
    if (status == STATUS_OK)
        status = postgres_apply_schema(s, applied, err);
    postgres_close(&s->base);
    return status;
}
