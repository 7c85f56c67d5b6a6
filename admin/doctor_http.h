/* SPDX-License-Identifier: MIT */
/*
 * One raw HTTP request and its answer, for `spendgate doctor`: nothing is followed, normalised,
 * retried or decoded, and an answer is text to look at, not to act on. Each request has a
 * connection of its own. libcurl's door of this program.
 */
#ifndef SPENDGATE_DOCTOR_HTTP_H
#define SPENDGATE_DOCTOR_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define HTTP_HEADERS_MAX 65536
#define HTTP_BODY_MAX (512 * 1024)
#define HTTP_ERROR_SIZE 512
#define HTTP_ORIGIN_SIZE 512
#define HTTP_PATH_SIZE 2048

/* Where a URL points. */
struct http_place {
    char origin[HTTP_ORIGIN_SIZE]; /* "https://host:port": the port is always there */
    char scheme[8];
    char host[256]; /* without brackets */
    long port;
    char path[HTTP_PATH_SIZE]; /* as written: "/" at least, without query and fragment */
    bool loopback;             /* a loopback address, or localhost */
    bool literal;              /* an address, and no name */
};

/* Take a URL apart. STATUS_INVALID with what is wrong: not http or https, no host, a user or a
 * password in it, too long. */
enum status http_place_parse(const char *url, struct http_place *out, struct error *err) MUST_CHECK;

enum http_failure {
    HTTP_ANSWERED = 0,
    HTTP_NOT_REACHED, /* no address, no connection */
    HTTP_TLS,         /* no TLS, or a certificate that is not trusted */
    HTTP_TIMEOUT,
    HTTP_BROKEN, /* the connection ended before a whole answer was there */
    HTTP_FAILED, /* anything else */
};

struct http_answer {
    enum http_failure failure;
    char error[HTTP_ERROR_SIZE]; /* what happened, unless HTTP_ANSWERED */
    int status;                  /* of the last answer's head; 0: there was none */
    int version;                 /* 10, 11, 20, 30 */
    int64_t elapsed_us;
    int64_t began_us; /* UTC, right before the request was sent */
    size_t headers_length, body_length;
    bool cut;                           /* headers or body were longer than what is kept */
    char headers[HTTP_HEADERS_MAX + 1]; /* "Name: value\n" each, control characters as '?' */
    char body[HTTP_BODY_MAX + 1];       /* terminated; may hold NUL bytes */
};

enum http_version { HTTP_1_1 = 0, HTTP_1_0, HTTP_2 };
enum http_family { HTTP_ANY_FAMILY = 0, HTTP_IPV4, HTTP_IPV6 };

#define HTTP_EXTRA_MAX 24

struct http_call {
    const char *origin;                  /* of an http_place */
    const char *method;                  /* "GET" */
    const char *target;                  /* sent as it is */
    const char *headers[HTTP_EXTRA_MAX]; /* "Name: value", ended by NULL */
    const char *body;                    /* NULL: none */
    size_t body_length;
    enum http_version version; /* HTTP_2: without asking first, on http as well */
    enum http_family family;
    int64_t timeout_us; /* whole request */
};

struct http_client;

/* Sets libcurl up for this process. Errors: STATUS_NO_MEMORY. */
enum status http_client_open(struct http_client **out, struct error *err) MUST_CHECK;
void http_client_close(struct http_client *client); /* NULL is fine */
/* What came back, whatever it was; `out` says. */
void http_call(struct http_client *client, const struct http_call *call, struct http_answer *out);

/* The value of the first header of that name, copied; "" and false when there is none or it does
 * not fit. */
bool http_header(const struct http_answer *answer, const char *name, char *out, size_t size);
/* The name of the n-th header that begins with `prefix`, as it came; false when there is none. */
bool http_header_like(const struct http_answer *answer, const char *prefix, size_t n, char *out,
                      size_t size);
/* The time of the Date header, UTC microseconds. */
bool http_date_us(const struct http_answer *answer, int64_t *out) MUST_CHECK;

#endif
