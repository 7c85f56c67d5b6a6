/* SPDX-License-Identifier: MIT */
/*
 * A tiny HTTP server on a loopback port, in a child process, that answers request after request by
 * a script: also wrongly, slowly or not at all.
 */
#ifndef SPENDGATE_SCRIPTED_SERVER_H
#define SPENDGATE_SCRIPTED_SERVER_H

#include <stddef.h>
#include <sys/types.h>

enum scripted_end {
    SCRIPTED_KEEP = 0, /* wait for the next request on the connection */
    SCRIPTED_CLOSE,
    SCRIPTED_RESET,
    SCRIPTED_HANG, /* keep the connection and say nothing more */
};

struct scripted_answer {
    const char *bytes; /* written as they are; NULL: nothing */
    size_t filler;     /* so many 'x' behind them */
    enum scripted_end end;
    int delay_ms; /* before it */
};

#define SCRIPTED_REQUEST_SIZE 16384

struct scripted_shared { /* by both processes */
    int requests;
    int connections;
    char last[SCRIPTED_REQUEST_SIZE]; /* the last request whole, terminated */
};

struct scripted_server {
    pid_t pid;
    int port;
    char url[64]; /* http://127.0.0.1:PORT */
    volatile struct scripted_shared *shared;
};

/* The last answer of the script is repeated. */
void scripted_server_start(struct scripted_server *server, const struct scripted_answer *script,
                           size_t count);
void scripted_server_stop(struct scripted_server *server);

/* A whole answer with its Content-Length, in storage of the caller. */
const char *scripted_json(char *out, size_t size, const char *status, const char *headers,
                          const char *body);

#endif
