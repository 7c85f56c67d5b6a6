/* SPDX-License-Identifier: MIT */
/*
 * The connections of one worker to its web server: accepts them, keeps those that have no whole
 * request yet in a table, and hands out one that has. A connection that sends nothing, half a head,
 * or nothing more after an answer (FCGI_KEEP_CONN) costs a place in the table and never a worker.
 *
 * Knows FastCGI's records, so that libfcgi (in request.c) is given a whole head and nothing else:
 * its reads have no timeout, and its answer to a management record overruns a buffer on its stack
 * (2.4.2: four names in one GET_VALUES). Parameters and the answer's records are libfcgi's
 * business. Source: web-servers document, section 7; design document, section 2.
 */
#ifndef SPENDGATE_CONNECTIONS_H
#define SPENDGATE_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

/* Most bytes of a request's head (all parameters). Longer: the connection is dropped, which every
 * web server reads as a denial. Apache's own limits end below it. */
#define CONNECTION_HEAD_MAX (1024 * 1024)
/* Connections of one worker that may wait for the rest of their head, or for their next request.
 * When there is one more, the one that has waited longest is dropped. */
#define CONNECTIONS_WAITING_MAX 64
/* A kept connection waits this long for its next request: longer than nginx's default of 60 s, so
 * that nginx closes first and never writes into a connection that we are closing. */
#define CONNECTION_KEEP_MS 65000

/* What the bytes that have arrived amount to. */
enum connection_head {
    CONNECTION_PART, /* less than a head; go on waiting */
    CONNECTION_WHOLE,
    CONNECTION_LONG, /* too long to be looked at in place; connection_take_head waits for its end */
    CONNECTION_BAD,  /* not FastCGI, or a part of it that nobody uses (management records) */
    CONNECTION_GONE, /* closed by the web server */
};

/* How far the parameters' name-value pairs have been followed (FastCGI 1.0, section 3.4). */
struct connection_pairs {
    unsigned length_left; /* bytes of a four-byte length still to come */
    uint32_t number;      /* that length so far */
    bool have_name;       /* the name's length is known, the value's is next */
    size_t pair_length;
    size_t skip; /* bytes of the current pair still to come */
};

/* What is known of a head: all of it when it is WHOLE. */
struct connection_begin {
    bool begun;    /* the BEGIN_REQUEST record has been seen */
    unsigned id;   /* of the request */
    unsigned role; /* FCGI_RESPONDER, ... */
    size_t length; /* of a WHOLE head */
    struct connection_pairs pairs;
};

struct connection {
    int fd; /* -1: none */
    enum connection_head head;
    struct connection_begin begin;
    bool kept;           /* has served a request */
    bool watched;        /* is in the epoll set */
    bool limited;        /* connection_limit was called */
    int64_t deadline_us; /* boot clock; while it waits */
    size_t body_left;    /* of the body's current record */
    size_t padding_left;
    bool body_ended;
};

struct connections;

/*
 * Connections from the listening stream socket `listen_fd`, which stays the caller's and is made
 * non-blocking and close-on-exec. A head has to be complete `idle_ms` after its connection was
 * taken; a single read of a body, or write after connection_limit, waits no longer than that
 * either. Addresses in FCGI_WEB_SERVER_ADDRS (comma separated) are the only TCP clients served, as
 * in libfcgi. Errors: STATUS_INVALID (not a listening socket, a bad address list),
 * STATUS_NO_MEMORY, STATUS_IO.
 */
enum status connections_open(int listen_fd, int idle_ms, struct connections **out,
                             struct error *err) MUST_CHECK;
void connections_close(struct connections *all); /* NULL is fine */
/*
 * Wait for a connection with a request: `head` is WHOLE or LONG, and the caller gives it to
 * connections_keep or connections_drop. STATUS_STOP after connections_stop;
 * STATUS_IO: one was dropped before it was a request; STATUS_UNAVAILABLE: no descriptors or memory
 * just now; STATUS_INTERNAL: the listening socket is unusable.
 */
enum status connections_next(struct connections *all, struct connection *out,
                             struct error *err) MUST_CHECK;
/* Hand out what was already taken and is complete within a second, then answer STATUS_STOP.
 * Async-signal-safe; no window in which the call is lost. */
void connections_stop(struct connections *all);
/* Wait for the next request of `connection` among the others. */
void connections_keep(struct connections *all, struct connection *connection);
void connections_drop(struct connections *all, struct connection *connection);

/* Let writes to `connection` wait no longer than `idle_ms`. */
void connection_limit(const struct connections *all, struct connection *connection);
/*
 * Read the head, at most CONNECTION_HEAD_MAX bytes, within `idle_ms`, and not one byte more than
 * it.
 * `*fd`: a file of these bytes, positioned at its start; the caller's.
 * Errors: STATUS_IO, STATUS_OVERFLOW.
 */
enum status connection_take_head(struct connections *all, struct connection *connection, int *fd,
                                 struct error *err) MUST_CHECK;
/*
 * Some bytes of the body, once connection_take_head has read the head: 1..`size`, or 0 at its end.
 * -1: it broke off, stopped for `idle_ms`, or the web server aborted the request.
 */
ssize_t connection_read_body(const struct connections *all, struct connection *connection,
                             void *bytes, size_t size) MUST_CHECK;

/* What `bytes`, the first of a connection, amount to: PART, WHOLE or BAD. Public for its tests and
 * fuzz target. */
enum connection_head connection_head_look(const uint8_t *bytes, size_t length,
                                          struct connection_begin *begin);

#endif
