/* SPDX-License-Identifier: MIT */
/*
 * A web server as far as tests need one: builds FastCGI requests byte by byte, sends as much of
 * them as a test wants, and takes the answer apart.
 */
#ifndef SPENDGATE_FASTCGI_CLIENT_H
#define SPENDGATE_FASTCGI_CLIENT_H

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLIENT_BYTES_MAX (4 * 1024 * 1024)
#define CLIENT_PATIENCE_S 20

enum { CLIENT_RESPONDER = 1, CLIENT_AUTHORIZER = 2, CLIENT_FILTER = 3 };
enum { CLIENT_BEGIN = 1, CLIENT_END = 3, CLIENT_PARAMS = 4, CLIENT_STDIN = 5, CLIENT_STDOUT = 6 };

struct client_bytes {
    size_t length;
    uint8_t data[CLIENT_BYTES_MAX];
};

struct client_answer {
    bool ended;  /* an END_REQUEST record came */
    bool closed; /* the connection was closed after it, or without it */
    size_t length;
    char text[CLIENT_BYTES_MAX]; /* terminated; empty when it does not fit */
};

static inline int64_t
client_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void
client_add(struct client_bytes *out, const void *bytes, size_t length)
{
    assert(length <= sizeof(out->data) - out->length);
    if (length > 0)
        memcpy(out->data + out->length, bytes, length);
    out->length += length;
}

static inline void
client_record(struct client_bytes *out, int type, int id, const void *content, size_t length,
              int padding)
{
    static const uint8_t zeros[255];
    uint8_t header[8] = { 1,
                          (uint8_t)type,
                          (uint8_t)(id >> 8),
                          (uint8_t)id,
                          (uint8_t)(length >> 8),
                          (uint8_t)length,
                          (uint8_t)padding,
                          0 };

    assert(length <= UINT16_MAX);
    client_add(out, header, sizeof(header));
    client_add(out, content, length);
    client_add(out, zeros, (size_t)padding);
}

static inline void
client_begin(struct client_bytes *out, int role, bool keep)
{
    const uint8_t body[8] = { 0, (uint8_t)role, keep ? 1 : 0 };

    client_record(out, CLIENT_BEGIN, 1, body, sizeof(body), 0);
}

static inline void
client_pair(struct client_bytes *out, const char *name, const char *value, size_t value_length)
{
    size_t name_length = strlen(name);
    uint8_t lengths[5] = { (uint8_t)name_length, (uint8_t)(0x80 | value_length >> 24),
                           (uint8_t)(value_length >> 16), (uint8_t)(value_length >> 8),
                           (uint8_t)value_length };

    assert(name_length < 128);
    client_add(out, lengths, sizeof(lengths));
    client_add(out, name, name_length);
    client_add(out, value, value_length);
}

/* Name and value pairs, ended by NULL, as parameter records of at most `piece` bytes. */
static inline void
client_params(struct client_bytes *out, size_t piece, const char *const *pairs)
{
    static struct client_bytes all;

    all.length = 0;
    for (; pairs[0] != NULL; pairs += 2)
        client_pair(&all, pairs[0], pairs[1], strlen(pairs[1]));
    for (size_t at = 0; at < all.length; at += piece) {
        size_t rest = all.length - at;

        client_record(out, CLIENT_PARAMS, 1, all.data + at, rest < piece ? rest : piece, 3);
    }
    client_record(out, CLIENT_PARAMS, 1, NULL, 0, 0);
}

/* A whole request; `body` NULL: no STDIN record at all. */
static inline void
client_request(struct client_bytes *out, int role, bool keep, const char *const *pairs,
               const char *body)
{
    out->length = 0;
    client_begin(out, role, keep);
    client_params(out, 16384, pairs);
    if (body == NULL)
        return;
    for (size_t rest = strlen(body); rest > 0;) {
        size_t piece = rest < 10000 ? rest : 10000;

        client_record(out, CLIENT_STDIN, 1, body, piece, 0);
        body += piece;
        rest -= piece;
    }
    client_record(out, CLIENT_STDIN, 1, NULL, 0, 0);
}

static inline int
client_connect(const struct sockaddr *address, socklen_t length)
{
    const struct timeval patience = { .tv_sec = CLIENT_PATIENCE_S };
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, address, length) != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    return fd;
}

static inline int
client_connect_unix(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return client_connect((const struct sockaddr *)&address, sizeof(address));
}

static inline bool
client_send(int fd, const void *bytes, size_t length)
{
    const uint8_t *next = bytes;

    while (length > 0) {
        ssize_t count = send(fd, next, length, MSG_NOSIGNAL);

        if (count <= 0)
            return false;
        next += count;
        length -= (size_t)count;
    }
    return true;
}

static inline bool
client_read(int fd, void *bytes, size_t length)
{
    uint8_t *next = bytes;

    while (length > 0) {
        ssize_t count = recv(fd, next, length, 0);

        if (count <= 0)
            return false;
        next += count;
        length -= (size_t)count;
    }
    return true;
}

/* Everything up to END_REQUEST, or to the end of the connection. */
static inline void
client_take(int fd, struct client_answer *out)
{
    out->ended = false;
    out->closed = false;
    out->length = 0;
    while (!out->ended && !out->closed) {
        uint8_t header[8];
        uint8_t content[UINT16_MAX + 255];
        size_t length;

        if (!client_read(fd, header, sizeof(header))) {
            out->closed = true;
            break;
        }
        length = (size_t)header[4] << 8 | header[5];
        if (!client_read(fd, content, length + header[6])) {
            out->closed = true;
            break;
        }
        out->ended = header[1] == CLIENT_END;
        if (header[1] == CLIENT_STDOUT) {
            if (out->length + length < sizeof(out->text))
                memcpy(out->text + out->length, content, length);
            out->length += length;
        }
    }
    out->text[out->length < sizeof(out->text) ? out->length : 0] = '\0';
}

/* Whether the other side has closed, waiting for it. */
static inline bool
client_is_closed(int fd)
{
    char byte;
    ssize_t count = recv(fd, &byte, 1, 0);

    return count == 0 || (count < 0 && (errno == ECONNRESET || errno == EPIPE));
}

#endif
