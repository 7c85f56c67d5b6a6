/* SPDX-License-Identifier: MIT */
/*
 * What an answer says about the gate: was it a denial of ours, whole or changed by the web server
 * on its way; the web server's own refusal; or a page. Pure: bytes in, words out. Source: contract,
 * section 4; web-servers document, section 8.
 */
#ifndef SPENDGATE_DOCTOR_READING_H
#define SPENDGATE_DOCTOR_READING_H

#include <stdbool.h>
#include <stddef.h>

#include "admin/doctor_http.h"

#define READING_WORD_SIZE 64
#define READING_SERVER_SIZE 128

enum reading_kind {
    READING_NONE = 0,   /* no answer */
    READING_DENIED,     /* our denial: its status, and its body to the last byte */
    READING_REPLACED,   /* its status, and a JSON body of ours that was made for the status alone */
    READING_FLATTENED,  /* the gate denied, and the client is told another status, or a web page */
    READING_COVERED,    /* the gate denied, and something else was sent: maybe the page */
    READING_AWAY,       /* 500, 502 to 504, not ours: the web server has no answer from the gate */
    READING_REFUSED,    /* another 4xx or 5xx of the web server */
    READING_REDIRECTED, /* elsewhere */
    READING_OPEN,       /* a page */
};

enum reading_server { SERVER_UNKNOWN = 0, SERVER_APACHE, SERVER_LIGHTTPD, SERVER_NGINX };

/* What the authorizer says of itself (probe_answer.h). */
struct reading_probe {
    bool there;
    char version[READING_WORD_SIZE], role[READING_WORD_SIZE], mode[READING_WORD_SIZE];
    char apache[READING_WORD_SIZE]; /* the module's role, or "" */
    bool unique_id, no_cache;
    char settings[READING_WORD_SIZE], store[READING_WORD_SIZE];
};

struct reading {
    enum reading_kind kind;
    int status;                   /* as the client sees it */
    int denied;                   /* X-Spendgate-Status; 0: none */
    char code[READING_WORD_SIZE]; /* the denial's "error"; "" unknown */
    enum reading_server server;
    char server_text[READING_SERVER_SIZE]; /* "lighttpd/1.4.69", or "" */
    int server_version;                    /* 1004069; 0: not told */
    bool basic;                            /* the web server wants Basic credentials */
    struct reading_probe probe;
};

/* `head`: the request was a HEAD, whose answer has no body. Never fails: what is not known is
 * READING_REFUSED, or READING_OPEN for 2xx and 304. */
void reading_of(const struct http_answer *answer, bool head, struct reading *out);
/* Whether the gate was asked, and refused. */
bool reading_is_denial(const struct reading *reading);
/* "Apache", ...; "the web server". */
const char *reading_server_name(enum reading_server server);

#endif
