/* SPDX-License-Identifier: MIT */
/*
 * A small master that keeps N children alive on one listening socket, as php-fpm does. It opens no
 * store, cache or lock. Source: contract, section 1; design document, section 2.
 */
#ifndef SPENDGATE_PREFORK_H
#define SPENDGATE_PREFORK_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/error.h"

/*
 * Open a listening socket: "unix:/path" (mode `socket_mode`; a stale socket is replaced, a live one
 * is STATUS_CONFLICT) or "HOST:PORT" (an IPv6 host in brackets; an empty host is refused: it would
 * bind every address). Close-on-exec.
 */
enum status listen_open(const char *address, mode_t socket_mode, int *fd,
                        struct error *err) MUST_CHECK;
/* The first socket of systemd's LISTEN_FDS for this process, or -1. Clears the variables. */
int listen_inherited(void);

struct prefork {
    int workers; /* 1..1024 */
    /* The whole life of a child; returns its exit code. Called after fork, default signal handlers.
     */
    int (*child)(void *context);
    /* SIGHUP: read the settings again. STATUS_OK: the children are replaced one after the other,
     * new ones first; else the old ones stay and the error is logged. */
    enum status (*reload)(void *context, struct error *err);
    void *context;
};

/*
 * Run until SIGTERM, SIGINT or SIGUSR1; children then finish their request, those that have not
 * ended after 10 s are killed. A child that dies is replaced at once; one that dies in its first
 * second more than ten times in a row is replaced only every second, with a log line. Children get
 * SIGTERM when the master dies (PR_SET_PDEATHSIG). Returns an exit code.
 */
int prefork_run(const struct prefork *prefork);

#endif
