/* SPDX-License-Identifier: MIT */
/* Requests from FastCGI (through libfcgi) and from plain CGI; see request.h. */
#include "common/request.h"

#include "common/clock.h"
#include "common/connections.h"
#include "common/log.h"

#include <assert.h>
#include <errno.h>
#include <fastcgi.h>
#include <fcgiapp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/banned.h"

/* What surely fits a fresh socket's buffer and libfcgi's own of 8 KiB: its write cannot wait. */
#define UNLIMITED_ANSWER 4096
#define PIECE_SIZE 8192

struct request {
    struct request_source *source;
    enum request_role role;
    size_t written;
    bool body_ended; /* or there is no way to read more of it */
    bool broken;     /* the answer cannot be sent any more */
    int64_t answer_deadline_us;
    /* FastCGI */
    struct connection connection;
    FCGX_Request fcgi;
    /* plain CGI */
    int64_t body_length; /* CONTENT_LENGTH, -1: none or not a number */
    int64_t body_read;
    size_t out_length;
    char out[PIECE_SIZE];
};

struct request_source {
    struct connections *connections; /* NULL: plain CGI */
    int idle_ms;
    struct clock clock;
    bool cgi_served;
    volatile sig_atomic_t stop; /* of plain CGI */
    struct request request;
};

static const char no_answer[] = "Status: 503 Service Unavailable\r\n"
                                "Content-Type: text/plain\r\n"
                                "Cache-Control: no-store\r\n"
                                "Retry-After: 1\r\n"
                                "\r\n"
                                "The request was not answered. The error log says why.\n";

bool
request_is_fastcgi(void)
{
    int listening = 0;
    socklen_t size = sizeof(listening);

    return getsockopt(STDIN_FILENO, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 &&
           listening != 0;
}

/* FCGX_Init sets handlers for signals that are the program's business; put back what was there. */
static enum status
init_library(struct error *err)
{
    static const int signals[] = { SIGPIPE, SIGTERM, SIGUSR1 };
    struct sigaction saved[sizeof(signals) / sizeof(signals[0])];
    int result;

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaction(signals[i], NULL, &saved[i]);
    result = FCGX_Init();
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaction(signals[i], &saved[i], NULL);
    if (result != 0)
        return error_set(err, STATUS_NO_MEMORY, "libfcgi cannot be initialised (%d)", result);
    return STATUS_OK;
}

enum status
request_source_open(int fd, int idle_ms, struct request_source **out, struct error *err)
{
    enum status status = STATUS_INTERNAL;
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    struct request_source *source;

    *out = NULL;
    source = calloc(1, sizeof(*source));
    if (source == NULL)
        return error_set(err, STATUS_NO_MEMORY, "requests: out of memory");
    source->idle_ms = idle_ms;
    source->clock = clock_system();
    source->request.source = source;
    (void)sigaction(SIGPIPE, &ignore, NULL);
    status = fd < 0 ? STATUS_OK : init_library(err);
    if (status == STATUS_OK && fd >= 0)
        status = connections_open(fd, idle_ms, &source->connections, err);
    if (status == STATUS_OK) {
        *out = source;
        source = NULL;
    }
    request_source_close(source);
    assert((status == STATUS_OK) == (*out != NULL));
    return status;
}

void
request_source_close(struct request_source *source)
{
    if (source == NULL)
        return;
    connections_close(source->connections);
    free(source);
}

void
request_stop(struct request_source *source)
{
    if (source->connections != NULL)
        connections_stop(source->connections);
    source->stop = 1;
}

static const char *
find_param(char *const *environment, const char *name)
{
    size_t length = strlen(name);

    for (; *environment != NULL; environment++) {
        /* The first byte decides nearly always; a call per variable would show in the profile. */
        if (**environment == *name && strncmp(*environment, name, length) == 0 &&
            (*environment)[length] == '=')
            return *environment + length + 1;
    }
    return NULL;
}

static void
begin_cgi(struct request_source *source)
{
    struct request *request = &source->request;
    const char *length = find_param(environ, "CONTENT_LENGTH");

    source->cgi_served = true;
    request->role = REQUEST_CGI;
    request->body_length = -1;
    if (length != NULL && !text_to_int64(length, 0, INT64_MAX, &request->body_length))
        request->body_length = -1;
}

/* Let libfcgi read the head, from `fd`, which is closed when it cannot. */
static enum status
read_head(FCGX_Request *fcgi, int fd, struct error *err)
{
    /* Without a listening socket libfcgi cannot go on to accept by itself when this fails. */
    FCGX_InitRequest(fcgi, -1, 0);
    fcgi->ipcFd = fd;
    fcgi->keepConnection = 1; /* or FCGX_Accept_r closes the connection as one it had finished */
    fcgi->detached = 1;       /* after an error: close at once, do not wait for the peer */
    if (FCGX_Accept_r(fcgi) != 0)
        return error_set(err, STATUS_IO, "a request's parameters are malformed");
    return STATUS_OK;
}

/* From the connection itself: the fastest way, for a request whose body is never read. */
static enum status
begin_authorizer(struct request *request, struct error *err)
{
    enum status status = read_head(&request->fcgi, request->connection.fd, err);

    request->role = REQUEST_AUTHORIZER;
    if (status != STATUS_OK)
        request->connection.fd = -1;
    return status;
}

/* From a file of the head's bytes, so that libfcgi reads nothing of the body. */
static enum status
begin_from_file(struct request *request, struct error *err)
{
    int fd;
    enum status status =
        connection_take_head(request->source->connections, &request->connection, &fd, err);

    request->role =
        request->connection.begin.role == FCGI_RESPONDER ? REQUEST_RESPONDER : REQUEST_AUTHORIZER;
    if (status == STATUS_OK)
        status = read_head(&request->fcgi, fd, err);
    if (status != STATUS_OK)
        return STATUS_IO;
    close(fd);
    request->fcgi.ipcFd = request->connection.fd;
    return STATUS_OK;
}

static enum status
begin_fastcgi(struct request *request, struct error *err)
{
    const struct connection *connection = &request->connection;

    if (connection->begin.role != FCGI_AUTHORIZER && connection->begin.role != FCGI_RESPONDER)
        return error_set(err, STATUS_IO, "a web server asked for FastCGI role %u",
                         connection->begin.role);
    if (connection->begin.role == FCGI_AUTHORIZER && connection->head == CONNECTION_WHOLE)
        return begin_authorizer(request, err);
    return begin_from_file(request, err);
}

enum status
request_accept(struct request_source *source, struct request **out, struct error *err)
{
    struct request *request = &source->request;
    enum status status;

    *out = NULL;
    request->written = 0;
    request->out_length = 0;
    request->body_ended = false;
    request->body_read = 0;
    request->broken = false;
    request->answer_deadline_us = 0;
    if (source->connections == NULL) {
        if (source->cgi_served || source->stop)
            return STATUS_STOP;
        begin_cgi(source);
        *out = request;
        return STATUS_OK;
    }
    status = connections_next(source->connections, &request->connection, err);
    if (status != STATUS_OK)
        return status;
    status = begin_fastcgi(request, err);
    if (status != STATUS_OK) {
        connections_drop(source->connections, &request->connection);
        return status;
    }
    *out = request;
    return STATUS_OK;
}

enum request_role
request_role(const struct request *request)
{
    return request->role;
}

char **
request_environment(const struct request *request)
{
    return request->role == REQUEST_CGI ? environ : request->fcgi.envp;
}

const char *
request_param(const struct request *request, const char *name)
{
    return find_param(request_environment(request), name);
}

/* Some of the body: its length, 0 at the end, -1 when it broke off. */
static ssize_t
read_fastcgi(struct request *request, char *bytes, size_t size)
{
    ssize_t count =
        connection_read_body(request->source->connections, &request->connection, bytes, size);

    request->body_ended = count <= 0;
    return count;
}

static ssize_t
read_cgi(struct request *request, char *bytes, size_t size)
{
    struct pollfd polled = { .fd = STDIN_FILENO, .events = POLLIN };
    bool enough = request->body_length >= 0 && request->body_read >= request->body_length;
    ssize_t count = 0;

    /* RFC 3875 section 4.2: there may be no end of file after CONTENT_LENGTH bytes. */
    if (poll(&polled, 1, enough ? 0 : request->source->idle_ms) == 0) {
        request->body_ended = true;
        return enough ? 0 : -1;
    }
    do {
        count = read(STDIN_FILENO, bytes, size);
    } while (count < 0 && errno == EINTR);
    if (count > 0) {
        request->body_read += count;
        return count;
    }
    request->body_ended = true;
    /* A cut body ends like a whole one, and half a form may still be a charge. */
    return count == 0 && request->body_read >= request->body_length ? 0 : -1;
}

/* The body's bytes into `body` (NULL: away) until it ends. STATUS_OVERFLOW: they did not fit. */
static enum status
read_rest(struct request *request, struct buf *body, struct error *err)
{
    struct request_source *source = request->source;
    int64_t deadline_us = clock_boot_us(&source->clock) + REQUEST_TRANSFER_MS * INT64_C(1000);
    char piece[PIECE_SIZE];
    size_t total = 0;

    while (!request->body_ended) {
        ssize_t count = request->role == REQUEST_CGI ? read_cgi(request, piece, sizeof(piece))
                                                     : read_fastcgi(request, piece, sizeof(piece));

        if (count < 0)
            return error_set(err, STATUS_IO, "the request's body broke off");
        if (count == 0)
            break;
        total += (size_t)count;
        if (body != NULL)
            buf_add_bytes(body, piece, (size_t)count);
        if (total > REQUEST_DRAIN_MAX)
            return error_set(err, STATUS_OVERFLOW, "the request's body passes %d bytes",
                             REQUEST_DRAIN_MAX);
        if (clock_boot_us(&source->clock) > deadline_us)
            return error_set(err, STATUS_IO, "the request's body took longer than %d ms",
                             REQUEST_TRANSFER_MS);
    }
    if (body != NULL && buf_failed(body))
        return error_set(err, STATUS_OVERFLOW, "the request's body passes %zu bytes",
                         body->size - 1);
    return STATUS_OK;
}

enum status
request_read_body(struct request *request, struct buf *body, struct error *err)
{
    if (request->role == REQUEST_AUTHORIZER)
        return error_set(err, STATUS_INTERNAL, "an authorizer request has no body");
    return read_rest(request, body, err);
}

void
request_drain_body(struct request *request)
{
    enum status status;

    if (request->role == REQUEST_AUTHORIZER)
        return;
    status = request_read_body(request, NULL, NULL);
    (void)status; /* there is nobody to tell, and the answer is sent all the same */
}

static enum status
flush_cgi(struct request *request, struct error *err)
{
    size_t sent = 0;

    while (sent < request->out_length && !request->broken) {
        ssize_t count = write(STDOUT_FILENO, request->out + sent, request->out_length - sent);

        if (count > 0)
            sent += (size_t)count;
        else if (errno != EINTR)
            request->broken = true;
    }
    request->out_length = 0;
    return request->broken ? error_set(err, STATUS_IO, "the web server went away") : STATUS_OK;
}

static enum status
write_piece(struct request *request, const char *bytes, size_t length, struct error *err)
{
    struct request_source *source = request->source;

    if (request->role == REQUEST_CGI) {
        if (request->out_length + length > sizeof(request->out) &&
            flush_cgi(request, err) != STATUS_OK)
            return STATUS_IO;
        memcpy(request->out + request->out_length, bytes, length);
        request->out_length += length;
        return STATUS_OK;
    }
    if (request->written + length > UNLIMITED_ANSWER) {
        int64_t now_us = clock_boot_us(&source->clock);

        connection_limit(source->connections, &request->connection);
        if (request->answer_deadline_us == 0)
            request->answer_deadline_us = now_us + REQUEST_TRANSFER_MS * INT64_C(1000);
        request->broken |= now_us > request->answer_deadline_us;
    }
    if (request->broken || FCGX_PutStr(bytes, (int)length, request->fcgi.out) != (int)length) {
        request->broken = true;
        return error_set(err, STATUS_IO, "the web server went away");
    }
    return STATUS_OK;
}

enum status
request_write(struct request *request, const void *bytes, size_t length, struct error *err)
{
    const char *next = bytes;

    while (length > 0) {
        size_t piece = length < PIECE_SIZE ? length : PIECE_SIZE;
        enum status status = write_piece(request, next, piece, err);

        if (status != STATUS_OK)
            return status;
        request->written += piece;
        next += piece;
        length -= piece;
    }
    return STATUS_OK;
}

static void
finish_fastcgi(struct request *request)
{
    FCGX_Request *fcgi = &request->fcgi;
    struct connections *connections = request->source->connections;
    bool keep = fcgi->keepConnection != 0;

    /* The error stream first, or closing it costs a write of its own. A cut answer gets no end
     * record, so that the web server does not take it for a whole one. */
    request->broken = request->broken || FCGX_FClose(fcgi->err) != 0 || FCGX_FClose(fcgi->out) != 0;
    /* Unread bytes of the body would reset the connection, or pass for the next request. */
    if (!request->broken)
        request_drain_body(request);
    keep = keep && !request->broken && request->connection.body_ended;
    FCGX_Free(fcgi, 0);
    if (keep)
        connections_keep(connections, &request->connection);
    else
        connections_drop(connections, &request->connection);
}

void
request_finish(struct request *request)
{
    if (request->written == 0 && !request->broken) {
        log_event(LOG_ERROR, "unanswered", "message", "the request had no answer; 503 was sent",
                  NULL);
        request_drain_body(request);
        request->broken =
            request_write(request, no_answer, sizeof(no_answer) - 1, NULL) != STATUS_OK;
    }
    if (request->role == REQUEST_CGI)
        (void)flush_cgi(request, NULL);
    else
        finish_fastcgi(request);
}
