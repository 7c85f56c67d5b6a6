/* SPDX-License-Identifier: MIT */
/*
 * One HTTP request from a web server, the same whether it comes as FastCGI authorizer, FastCGI
 * responder or plain CGI. The one door to libfcgi.
 * Source: web-servers document, sections 1, 3.5, 6.4 and 7.
 */
#ifndef SPENDGATE_REQUEST_H
#define SPENDGATE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/error.h"

enum request_role { REQUEST_AUTHORIZER, REQUEST_RESPONDER, REQUEST_CGI };

struct request;        /* one at a time per listener; owned by the listener */
struct request_source; /* where requests come from */

/* Whether descriptor 0 is a FastCGI socket; else we were started as plain CGI. */
bool request_is_fastcgi(void);
/*
 * Requests from the listening FastCGI socket `fd` (0 under a web server's process manager), or, with
 * fd -1, the one request of a plain CGI start (environment and standard input).
 * A connection that sends nothing is dropped after `idle_ms`, so that it cannot pin a worker.
 * Installs no signal handler; `request_stop` may be called from one.
 */
enum status request_source_open(int fd, int idle_ms, struct request_source **out,
                                struct error *err) MUST_CHECK;
void request_source_close(struct request_source *source);
/* The next request. STATUS_STOP: end the loop (request_stop was called, or the one CGI request was
 * served). STATUS_IO: the connection broke before it was a request; go on. */
enum status request_accept(struct request_source *source, struct request **out,
                           struct error *err) MUST_CHECK;
/* Finish the request in hand, then let request_accept answer STATUS_STOP. Async-signal-safe. */
void request_stop(struct request_source *source);

enum request_role request_role(const struct request *request);
/* A CGI variable, or NULL. Valid until the request is finished. */
const char *request_param(const struct request *request, const char *name);
/* All variables as NAME=value, ended by NULL. Same lifetime. */
char **request_environment(const struct request *request);

/*
 * Read the body to its end, whatever CONTENT_LENGTH says. Never in the authorizer role (STATUS_INTERNAL: its
 * servers send no body record and a read would hang). STATUS_OVERFLOW when it does not fit `body`, after
 * the rest was drained up to REQUEST_DRAIN_MAX bytes; STATUS_IO when it broke off.
 */
#define REQUEST_DRAIN_MAX (64 * 1024 * 1024)
enum status request_read_body(struct request *request, struct buf *body, struct error *err) MUST_CHECK;
/* Read and throw away the body (roles with one), so that a denial is not lost under mod_cgid. */
void request_drain_body(struct request *request);
/* Write bytes of the answer, headers first. A client that went away is no error worth more than STATUS_IO. */
enum status request_write(struct request *request, const void *bytes, size_t length,
                          struct error *err) MUST_CHECK;
/* End the request and send what was written. `answered` false (nothing was written) makes it print
 * "Status: 503" itself: an empty answer is an allow under lighttpd. */
void request_finish(struct request *request);

#endif
