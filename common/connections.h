/* SPDX-License-Identifier: MIT */
/*
 * The connections of one worker to its web server: accepts them, keeps those that have no whole
 * request yet in a table, and hands out one that has. A connection that sends nothing, half a head,
 * or nothing more after an answer (FCGI_KEEP_CONN) costs a place in the table and never a worker.
 * Knows where the head of a FastCGI request ends, and nothing else of the protocol: that is
 * libfcgi's, in request.c.
 * Source: web-servers document, section 7; design document, section 2.
 */
#ifndef SPENDGATE_CONNECTIONS_H
#define SPENDGATE_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
    CONNECTION_PART,  /* less than a head; go on waiting */
    CONNECTION_WHOLE, /* libfcgi can read the head, or find out that it is none, and not wait */
    CONNECTION_MANAGEMENT, /* a management record, which libfcgi answers itself */
    CONNECTION_LONG,       /* too long to be looked at in place: connection_read_head */
    CONNECTION_GONE,       /* closed by the web server */
};

struct connection {
    int fd; /* -1: none */
    enum connection_head head;
    bool kept;           /* has served a request */
    bool watched;        /* is in the epoll set */
    bool limited;        /* connection_limit was called */
    int64_t deadline_us; /* boot clock; while it waits */
};

struct connections;

/*
 * Connections from the listening stream socket `listen_fd`, which stays the caller's and is made
 * non-blocking and close-on-exec. A head has to be complete `idle_ms` after its connection was
 * taken; a single read or write after connection_limit waits no longer than that either.
 * Addresses in FCGI_WEB_SERVER_ADDRS (comma separated) are the only TCP clients served, as in
 * libfcgi.
 * Errors: STATUS_INVALID (not a listening socket, a bad address list), STATUS_NO_MEMORY, STATUS_IO.
 */
enum status connections_open(int listen_fd, int idle_ms, struct connections **out,
                             struct error *err) MUST_CHECK;
void connections_close(struct connections *all); /* NULL is fine */
/*
 * Wait for a connection with something for libfcgi: `head` is WHOLE, MANAGEMENT or LONG, and the
 * caller gives it to connections_keep or connections_drop. STATUS_STOP after connections_stop;
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

/* Let reads and writes of `connection` wait no longer than `idle_ms`. */
void connection_limit(const struct connections *all, struct connection *connection);
/*
 * Read a head marked CONNECTION_LONG, at most CONNECTION_HEAD_MAX bytes within `idle_ms`, and not
 * one byte more than it. `*fd`: a file of these bytes, positioned at its start; the caller's.
 * Errors: STATUS_IO, STATUS_OVERFLOW.
 */
enum status connection_read_head(const struct connections *all, struct connection *connection,
                                 int *fd, struct error *err) MUST_CHECK;

/* What `bytes`, the first of a connection, amount to: PART, WHOLE or MANAGEMENT. Public for its
 * tests and fuzz target. */
enum connection_head connection_head_look(const uint8_t *bytes, size_t length);

#endif
