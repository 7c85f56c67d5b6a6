/* SPDX-License-Identifier: MIT */
/*
 * What both FastCGI programs are made of: options, settings, the listening socket, the master with
 * its children (prefork.h) or the single process of a web server's process manager, and the request
 * loop. A program brings a context and a handler. Source: contract, section 1; design document,
 * section 2.
 */
#ifndef SPENDGATE_SERVER_H
#define SPENDGATE_SERVER_H

#include <stdint.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/request.h"
#include "common/settings.h"

/* How the process was started, for what depends on the number of processes. */
struct server_start {
    int workers;    /* children of our own master; 0 without --listen */
    bool plain_cgi; /* one request from the environment */
    struct clock clock;
};

struct server_program {
    const char *name;    /* "spendgate-authorizer" */
    const char *summary; /* one line for --help */
    /* What this program needs of the settings beyond settings_open, e.g. settings_require_clerk.
     * Called where the settings are read (master, --check-config, reload). May be NULL. */
    enum status (*check)(const struct settings *settings, const struct settings_problems *problems,
                         struct error *err);
    /* Make a worker's context. Called in the child, never in the master; opens nothing that not
     * every request needs when `plain_cgi`. */
    enum status (*open)(const struct settings *settings, const struct server_start *start,
                        void **context, struct error *err);
    /* Answer one request with 503, because `open` failed with `err` (it is tried again, at most
     * once a second), or because the settings of a plain CGI start cannot be used. Has no context.
     * NULL: request_finish answers. */
    void (*unavailable)(struct request *request, const struct error *err);
    /* Answer one request. Must write an answer; if it does not, request_finish writes 503. */
    void (*handle)(void *context, struct request *request, int64_t now_us);
    /* After the answer is out: checkpoints and the like. May be NULL. */
    void (*after)(void *context);
    void (*close)(void *context);
};

/* The whole of main(): returns the exit code (0, 1, or 2 for usage and settings). */
int server_main(int argc, char **argv, const struct server_program *program);

#endif
