/* SPDX-License-Identifier: MIT */
/*
 * One HTTP request from a web server, the same whether it comes as FastCGI authorizer, FastCGI
 * responder or plain CGI. The one door to libfcgi.
 * Source: web-servers document, sections 1, 3.5, 6.4 and 7; design document, section 2.
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

/* Most bytes read and thrown away after the body could not be used. */
#define REQUEST_DRAIN_MAX (64 * 1024 * 1024)
/* A body has to arrive, and an answer has to be taken, within this time whatever the pace. */
#define REQUEST_TRANSFER_MS 60000

/* Whether descriptor 0 is a FastCGI socket (a listening one); else we were started as plain CGI. */
bool request_is_fastcgi(void);
/*
 * Requests from the listening FastCGI socket `fd` (0 under a web server's process manager), or,
 * with fd -1, the one request of a plain CGI start (environment and standard input). The socket
 * stays the caller's; it is made non-blocking and close-on-exec.
 * A connection whose head is not complete `idle_ms` after it was accepted is dropped; a single read
 * or write waits no longer than that either.
 * Addresses in FCGI_WEB_SERVER_ADDRS (comma separated) are the only TCP clients served, as libfcgi
 * does it. Ignores SIGPIPE; installs no signal handler; `request_stop` may be called from one.
 * Errors: STATUS_INVALID (not a listening socket, a bad address list), STATUS_NO_MEMORY, STATUS_IO.
 */
enum status request_source_open(int fd, int idle_ms, struct request_source **out,
                                struct error *err) MUST_CHECK;
void request_source_close(struct request_source *source);
/*
 * The next request. STATUS_STOP: end the loop (request_stop was called, or the one CGI request was
 * served). STATUS_IO: a connection broke or timed out before it was a request; go on.
 * STATUS_UNAVAILABLE: no descriptors or memory for a connection just now; go on after a pause.
 * STATUS_INTERNAL: the listening socket is unusable; give up.
 */
enum status request_accept(struct request_source *source, struct request **out,
                           struct error *err) MUST_CHECK;
/* Finish the request in hand and those whose connection this process has already taken, then let
 * request_accept answer STATUS_STOP. Async-signal-safe; no window in which the call is lost. */
void request_stop(struct request_source *source);

enum request_role request_role(const struct request *request);
/* A CGI variable, or NULL. Valid until the request is finished. */
const char *request_param(const struct request *request, const char *name);
/* All variables as NAME=value, ended by NULL. Same lifetime. */
char **request_environment(const struct request *request);

/*
 * Read the body to its end, whatever CONTENT_LENGTH says (plain CGI: a body that ends before it is
 * STATUS_IO, because there the end of a cut body looks like any other). Never in the authorizer
 * role (STATUS_INTERNAL: its servers send no body record and a read would hang). STATUS_OVERFLOW
 * when it does not fit `body`, after the rest was drained up to REQUEST_DRAIN_MAX bytes; STATUS_IO
 * when it broke off or took longer than REQUEST_TRANSFER_MS.
 */
enum status request_read_body(struct request *request, struct buf *body,
                              struct error *err) MUST_CHECK;
/* Read and throw away the body (roles with one), so that a denial is not lost under mod_cgid. */
void request_drain_body(struct request *request);
/* Write bytes of the answer, headers first. They are sent by request_finish, in one write if they
 * fit 8 KiB, else as they come. A client that went away is no error worth more than STATUS_IO. */
enum status request_write(struct request *request, const void *bytes, size_t length,
                          struct error *err) MUST_CHECK;
/* End the request and send what was written. When nothing was written it prints "Status: 503"
 * itself: an empty answer is an allow under lighttpd. */
void request_finish(struct request *request);

#endif
