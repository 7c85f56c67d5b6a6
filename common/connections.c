/* SPDX-License-Identifier: MIT */
/* The connections of one worker to its web server; see connections.h. */
#include "common/connections.h"

#include "common/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/banned.h"

/* FastCGI 1.0, section 3.3 and 8. */
#define RECORD_HEADER_SIZE 8
#define RECORD_PADDING_MAX 255
#define FCGI_VERSION 1
#define TYPE_BEGIN_REQUEST 1
#define TYPE_PARAMS 4
#define TYPE_STDIN 5
#define BEGIN_BODY_SIZE 8

/* A head of this many bytes that is still incomplete is read at once instead of looked at again:
 * waiting for more could wait for ever, because the socket's buffer may be full. */
#define LONG_HEAD 32768
#define LOOK_SIZE 131072 /* more than any record */
/* A web server sends its request right after it connects. So long does a fresh connection have the
 * worker to itself; longer, and others could be served first while this one's request is there. */
#define FRESH_WAIT_MS 5
/* After connections_stop, what was already taken gets this long to complete its head. */
#define STOP_WAIT_MS 1000
#define ALLOWED_MAX 32
/* A TCP connection closed with unread bytes is reset, and the peer may lose the answer. */
#define UNREAD_MAX 65536

struct connections {
    int listen_fd;
    int epoll_fd;
    int wake_fd;
    int idle_ms;
    int family;
    struct clock clock;
    volatile sig_atomic_t stop;
    bool stopping;
    int64_t stop_deadline_us;
    size_t allowed_count; /* 0: everybody */
    struct in6_addr allowed[ALLOWED_MAX];
    size_t waiting_count;
    struct connection waiting[CONNECTIONS_WAITING_MAX];
    uint8_t look[LOOK_SIZE];
};

static size_t
content_length(const uint8_t header[RECORD_HEADER_SIZE])
{
    return (size_t)header[4] << 8 | header[5];
}

static unsigned
request_id(const uint8_t header[RECORD_HEADER_SIZE])
{
    return (unsigned)header[2] << 8 | header[3];
}

/* False: a pair that is longer than a head may be. */
static bool
follow_pairs(struct connection_pairs *pairs, const uint8_t *bytes, size_t length)
{
    size_t at = 0;

    while (at < length) {
        if (pairs->skip > 0) {
            size_t step = pairs->skip < length - at ? pairs->skip : length - at;

            pairs->skip -= step;
            at += step;
            continue;
        }
        if (pairs->length_left > 0) {
            pairs->length_left--;
            pairs->number = pairs->number << 8 | bytes[at];
        } else {
            pairs->length_left = bytes[at] & 0x80 ? 3 : 0;
            pairs->number = bytes[at] & 0x7f;
        }
        at++;
        if (pairs->length_left > 0)
            continue;
        pairs->pair_length += pairs->number;
        if (pairs->pair_length > CONNECTION_HEAD_MAX)
            return false;
        if (pairs->have_name) {
            pairs->skip = pairs->pair_length;
            pairs->pair_length = 0;
        }
        pairs->have_name = !pairs->have_name;
    }
    return true;
}

static enum connection_head
step_begin(struct connection_begin *begin, const uint8_t header[RECORD_HEADER_SIZE],
           const uint8_t *body)
{
    /* Padding: nobody adds any here, and libfcgi takes it for the next record. */
    if (header[1] != TYPE_BEGIN_REQUEST || content_length(header) != BEGIN_BODY_SIZE ||
        header[6] != 0)
        return CONNECTION_BAD;
    begin->begun = true;
    begin->id = request_id(header);
    begin->role = (unsigned)body[0] << 8 | body[1];
    return begin->id == 0 ? CONNECTION_BAD : CONNECTION_PART;
}

/*
 * One record of a head, of which `body` is there. Other records than BEGIN_REQUEST and PARAMS of
 * one request are bad: no web server sends any to a program that cannot multiplex, and libfcgi
 * loses its place after an empty one that it skips.
 */
static enum connection_head
step(struct connection_begin *begin, const uint8_t header[RECORD_HEADER_SIZE], const uint8_t *body)
{
    size_t length = content_length(header);

    if (!begin->begun)
        return step_begin(begin, header, body);
    if (header[1] != TYPE_PARAMS || request_id(header) != begin->id ||
        !follow_pairs(&begin->pairs, body, length))
        return CONNECTION_BAD;
    if (length > 0)
        return CONNECTION_PART;
    return begin->pairs.skip == 0 && begin->pairs.length_left == 0 && !begin->pairs.have_name
               ? CONNECTION_WHOLE
               : CONNECTION_BAD;
}

enum connection_head
connection_head_look(const uint8_t *bytes, size_t length, struct connection_begin *begin)
{
    enum connection_head head = CONNECTION_PART;
    size_t at = 0;

    *begin = (struct connection_begin){ .begun = false };
    while (head == CONNECTION_PART && at < length) {
        const uint8_t *header = bytes + at;
        size_t record;

        if (header[0] != FCGI_VERSION)
            return CONNECTION_BAD;
        if (length - at < RECORD_HEADER_SIZE)
            return CONNECTION_PART;
        record = RECORD_HEADER_SIZE + content_length(header) + header[6];
        if (length - at < record)
            return CONNECTION_PART;
        head = step(begin, header, header + RECORD_HEADER_SIZE);
        at += record;
    }
    begin->length = at;
    return head;
}

static enum status
parse_allowed(struct connections *all, const char *list, struct error *err)
{
    while (*list != '\0') {
        char text[INET6_ADDRSTRLEN];
        size_t length = strcspn(list, ",");
        struct in6_addr *address = &all->allowed[all->allowed_count];

        if (all->allowed_count == ALLOWED_MAX)
            return error_set(err, STATUS_INVALID, "FCGI_WEB_SERVER_ADDRS: more than %d addresses",
                             ALLOWED_MAX);
        if (length >= sizeof(text))
            return error_set(err, STATUS_INVALID, "FCGI_WEB_SERVER_ADDRS: not an address list");
        memcpy(text, list, length);
        text[length] = '\0';
        memset(address, 0, sizeof(*address));
        memset(address->s6_addr + 10, 0xff, 2);
        if (inet_pton(AF_INET, text, address->s6_addr + 12) != 1 &&
            inet_pton(AF_INET6, text, address) != 1)
            return error_set(err, STATUS_INVALID, "FCGI_WEB_SERVER_ADDRS: not an address list");
        all->allowed_count++;
        list += length;
        if (*list == ',')
            list++;
    }
    return STATUS_OK;
}

static bool
is_allowed(const struct connections *all, const struct sockaddr_storage *peer)
{
    struct in6_addr address = IN6ADDR_ANY_INIT;

    if (all->allowed_count == 0 || peer->ss_family == AF_UNIX)
        return true;
    if (peer->ss_family == AF_INET) {
        memset(address.s6_addr + 10, 0xff, 2);
        memcpy(address.s6_addr + 12, &((const struct sockaddr_in *)peer)->sin_addr, 4);
    } else if (peer->ss_family == AF_INET6) {
        address = ((const struct sockaddr_in6 *)peer)->sin6_addr;
    }
    for (size_t i = 0; i < all->allowed_count; i++) {
        if (memcmp(&all->allowed[i], &address, sizeof(address)) == 0)
            return true;
    }
    return false;
}

static enum status
prepare_listener(struct connections *all, struct error *err)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof(name);
    int listening = 0;
    int on = 1;
    socklen_t size = sizeof(listening);
    int flags;

    if (getsockopt(all->listen_fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 ||
        listening == 0 || getsockname(all->listen_fd, (struct sockaddr *)&name, &length) != 0)
        return error_set(err, STATUS_INVALID, "descriptor %d is not a listening socket",
                         all->listen_fd);
    all->family = name.ss_family;
    flags = fcntl(all->listen_fd, F_GETFL);
    if (flags < 0 || fcntl(all->listen_fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(all->listen_fd, F_SETFD, FD_CLOEXEC) != 0)
        return error_set(err, STATUS_IO, "listening socket: %s", strerror(errno));
    /* What is accepted inherits it. A failure costs time, never an answer. */
    if (all->family != AF_UNIX)
        (void)setsockopt(all->listen_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return STATUS_OK;
}

static bool
watch(const struct connections *all, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.fd = fd };

    return epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

enum status
connections_open(int listen_fd, int idle_ms, struct connections **out, struct error *err)
{
    enum status status = STATUS_INTERNAL;
    const char *allowed = getenv("FCGI_WEB_SERVER_ADDRS");
    struct connections *all;

    *out = NULL;
    all = calloc(1, sizeof(*all));
    if (all == NULL)
        return error_set(err, STATUS_NO_MEMORY, "connections: out of memory");
    all->listen_fd = listen_fd;
    all->idle_ms = idle_ms;
    all->clock = clock_system();
    all->wake_fd = -1;
    all->epoll_fd = -1;
    status = prepare_listener(all, err);
    if (status == STATUS_OK && allowed != NULL)
        status = parse_allowed(all, allowed, err);
    if (status != STATUS_OK)
        goto out;
    all->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    all->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* Exclusive: a connection wakes one of the workers that wait, not all of them. */
    if (all->epoll_fd < 0 || all->wake_fd < 0 || !watch(all, all->wake_fd, EPOLLIN) ||
        !watch(all, listen_fd, EPOLLIN | EPOLLEXCLUSIVE)) {
        status = error_set(err, STATUS_IO, "connections: %s", strerror(errno));
        goto out;
    }
    *out = all;
    all = NULL;
out:
    connections_close(all);
    return status;
}

void
connections_close(struct connections *all)
{
    if (all == NULL)
        return;
    for (size_t i = 0; i < all->waiting_count; i++)
        close(all->waiting[i].fd);
    if (all->epoll_fd >= 0)
        close(all->epoll_fd);
    if (all->wake_fd >= 0)
        close(all->wake_fd);
    free(all);
}

void
connections_stop(struct connections *all)
{
    const uint64_t one = 1;
    int saved = errno;
    ssize_t written;

    all->stop = 1;
    written = write(all->wake_fd, &one, sizeof(one));
    (void)written; /* a full counter wakes as well */
    errno = saved;
}

/* STATUS_BUSY: nobody there. */
static enum status
accept_one(struct connections *all, struct connection *out, struct error *err)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof(peer);
    bool ask = all->allowed_count > 0;
    int fd = accept4(all->listen_fd, ask ? (struct sockaddr *)&peer : NULL, ask ? &length : NULL,
                     SOCK_CLOEXEC);

    if (fd >= 0) {
        if (ask && !is_allowed(all, &peer)) {
            close(fd);
            return STATUS_BUSY;
        }
        *out = (struct connection){ .fd = fd };
        return STATUS_OK;
    }
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return error_set(err, STATUS_UNAVAILABLE, "accept: %s", strerror(errno));
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
    case EFAULT:
        return error_set(err, STATUS_INTERNAL, "accept: %s", strerror(errno));
    default: /* nobody, another worker was faster, or the network's own errors: accept(2) */
        return STATUS_BUSY;
    }
}

static void
look(struct connections *all, struct connection *c, uint32_t events)
{
    ssize_t length = recv(c->fd, all->look, sizeof(all->look), MSG_PEEK | MSG_DONTWAIT);

    c->head = CONNECTION_PART;
    if (length > 0) {
        c->head = connection_head_look(all->look, (size_t)length, &c->begin);
        explicit_bzero(all->look, (size_t)length); /* it has a credential in it */
    } else if (length == 0 || (errno != EAGAIN && errno != EINTR))
        c->head = CONNECTION_GONE;
    if (c->head != CONNECTION_PART)
        return;
    if (length >= LONG_HEAD) /* and a BEGIN_REQUEST record at its start, or it were bad */
        c->head = CONNECTION_LONG;
    else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) /* the rest will never come */
        c->head = CONNECTION_GONE;
}

static void
remove_waiting(struct connections *all, size_t i)
{
    all->waiting_count--;
    memmove(&all->waiting[i], &all->waiting[i + 1],
            (all->waiting_count - i) * sizeof(all->waiting[0]));
}

static void
add_waiting(struct connections *all, struct connection *c)
{
    if (all->waiting_count == CONNECTIONS_WAITING_MAX) {
        close(all->waiting[0].fd);
        remove_waiting(all, 0);
    }
    /* Edge-triggered, because half a head stays readable. Adding reports what is already there. */
    if (!c->watched && !watch(all, c->fd, EPOLLIN | EPOLLRDHUP | EPOLLET)) {
        close(c->fd);
        return;
    }
    c->watched = true;
    all->waiting[all->waiting_count++] = *c;
}

/* Milliseconds from now to `deadline_us`, rounded up so that waiting them is enough. */
static int
ms_until(int64_t deadline_us, int64_t now_us)
{
    int64_t us = deadline_us - now_us;

    return us <= 0 ? 0 : (int)((us + 999) / 1000);
}

/* STATUS_BUSY: none of those that count (a kept connection may end at any time). */
static enum status
drop_expired(struct connections *all, struct error *err)
{
    int64_t now_us = clock_boot_us(&all->clock);

    for (size_t i = 0; i < all->waiting_count; i++) {
        struct connection c = all->waiting[i];

        if (c.deadline_us > now_us)
            continue;
        close(c.fd);
        remove_waiting(all, i);
        if (!c.kept)
            return error_set(err, STATUS_IO,
                             "a connection without a whole request was dropped after %d ms",
                             all->idle_ms);
        i--;
    }
    return STATUS_BUSY;
}

static int
wait_ms(const struct connections *all)
{
    int64_t first_us = INT64_MAX;

    for (size_t i = 0; i < all->waiting_count; i++) {
        if (all->waiting[i].deadline_us < first_us)
            first_us = all->waiting[i].deadline_us;
    }
    return first_us == INT64_MAX ? -1 : ms_until(first_us, clock_boot_us(&all->clock));
}

static enum status
take_waiting(struct connections *all, const struct epoll_event *event, struct connection *out)
{
    for (size_t i = 0; i < all->waiting_count; i++) {
        if (all->waiting[i].fd != event->data.fd)
            continue;
        *out = all->waiting[i];
        remove_waiting(all, i);
        look(all, out, event->events);
        return STATUS_OK;
    }
    return STATUS_BUSY;
}

/* A connection has just been taken: wait a moment for its request, before it joins the others. */
static void
look_fresh(struct connections *all, struct connection *c)
{
    struct pollfd polled[2] = { { .fd = c->fd, .events = POLLIN },
                                { .fd = all->wake_fd, .events = POLLIN } };

    look(all, c, 0);
    if (c->head == CONNECTION_PART) {
        /* We may have been quicker than the web server's write. To let it run costs less than to
         * sleep and be woken: 4 to 30 % more requests behind lighttpd on two processors. */
        (void)sched_yield();
        look(all, c, 0);
    }
    if (c->head == CONNECTION_PART && poll(polled, 2, FRESH_WAIT_MS) > 0)
        look(all, c, 0);
    if (c->head == CONNECTION_PART)
        c->deadline_us = clock_boot_us(&all->clock) + (int64_t)all->idle_ms * 1000;
}

/* STATUS_BUSY: nothing that can be handed out yet. */
static enum status
next_event(struct connections *all, struct connection *out, struct error *err)
{
    struct epoll_event event;
    enum status status;
    int count;

    if (all->waiting_count == 0) {
        /* Under load there is always one, and no other system call is needed to find it. */
        status = accept_one(all, out, err);
        if (status == STATUS_OK)
            look_fresh(all, out);
        if (status != STATUS_BUSY)
            return status;
    } else {
        status = drop_expired(all, err);
        if (status != STATUS_BUSY)
            return status;
    }
    count = epoll_wait(all->epoll_fd, &event, 1, wait_ms(all));
    if (count < 0 && errno != EINTR)
        return error_set(err, STATUS_INTERNAL, "epoll_wait: %s", strerror(errno));
    if (count <= 0 || event.data.fd == all->wake_fd)
        return STATUS_BUSY;
    if (event.data.fd != all->listen_fd)
        return take_waiting(all, &event, out);
    status = accept_one(all, out, err);
    if (status == STATUS_OK)
        look_fresh(all, out);
    return status;
}

/* Nobody else would serve what this process has taken, so it gets its answer. */
static enum status
next_stopping(struct connections *all, struct connection *out)
{
    struct epoll_event event;

    if (!all->stopping) {
        all->stopping = true;
        all->stop_deadline_us = clock_boot_us(&all->clock) + STOP_WAIT_MS * INT64_C(1000);
        (void)epoll_ctl(all->epoll_fd, EPOLL_CTL_DEL, all->listen_fd, NULL);
        (void)epoll_ctl(all->epoll_fd, EPOLL_CTL_DEL, all->wake_fd, NULL);
    }
    for (size_t i = all->waiting_count; i-- > 0;) {
        struct connection c = all->waiting[i];

        look(all, &c, 0);
        if (c.head == CONNECTION_PART && !c.kept)
            continue;
        remove_waiting(all, i);
        if (c.head == CONNECTION_WHOLE || c.head == CONNECTION_LONG) {
            *out = c;
            return STATUS_OK;
        }
        close(c.fd);
    }
    if (all->waiting_count == 0 || clock_boot_us(&all->clock) >= all->stop_deadline_us)
        return STATUS_STOP;
    (void)epoll_wait(all->epoll_fd, &event, 1,
                     ms_until(all->stop_deadline_us, clock_boot_us(&all->clock)));
    return STATUS_BUSY;
}

enum status
connections_next(struct connections *all, struct connection *out, struct error *err)
{
    for (;;) {
        enum status status = all->stop ? next_stopping(all, out) : next_event(all, out, err);

        if (status == STATUS_BUSY)
            continue;
        if (status != STATUS_OK)
            return status;
        switch (out->head) {
        case CONNECTION_WHOLE:
        case CONNECTION_LONG:
            out->body_ended = false;
            return STATUS_OK;
        case CONNECTION_PART:
            add_waiting(all, out);
            break;
        case CONNECTION_GONE:
            close(out->fd);
            break;
        case CONNECTION_BAD:
            close(out->fd);
            return error_set(err, STATUS_IO, "a connection did not speak FastCGI");
        }
    }
}

void
connections_keep(struct connections *all, struct connection *connection)
{
    if (all->stop) {
        connections_drop(all, connection);
        return;
    }
    connection->kept = true;
    connection->deadline_us = clock_boot_us(&all->clock) + CONNECTION_KEEP_MS * INT64_C(1000);
    add_waiting(all, connection);
    connection->fd = -1;
}

void
connections_drop(struct connections *all, struct connection *connection)
{
    char unread[4096];
    size_t total = 0;

    if (connection->fd < 0)
        return;
    while (all->family != AF_UNIX && total < UNREAD_MAX) {
        ssize_t length = recv(connection->fd, unread, sizeof(unread), MSG_DONTWAIT);

        if (length <= 0)
            break;
        total += (size_t)length;
    }
    close(connection->fd);
    connection->fd = -1;
}

void
connection_limit(const struct connections *all, struct connection *connection)
{
    struct timeval limit = { .tv_sec = all->idle_ms / 1000,
                             .tv_usec = (all->idle_ms % 1000) * 1000 };

    if (connection->limited)
        return;
    (void)setsockopt(connection->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    connection->limited = true;
}

/* At least one byte, unless the connection ends or nothing comes until `deadline_us`. */
static ssize_t
receive(const struct connections *all, int fd, void *bytes, size_t length, int64_t deadline_us)
{
    struct pollfd polled = { .fd = fd, .events = POLLIN };

    for (;;) {
        ssize_t count = recv(fd, bytes, length, MSG_DONTWAIT);

        if (count > 0)
            return count;
        if (count == 0 || (errno != EAGAIN && errno != EINTR))
            return -1;
        if (poll(&polled, 1, ms_until(deadline_us, clock_boot_us(&all->clock))) == 0)
            return -1;
    }
}

static bool
receive_exactly(const struct connections *all, int fd, uint8_t *bytes, size_t length,
                int64_t deadline_us)
{
    while (length > 0) {
        ssize_t count = receive(all, fd, bytes, length, deadline_us);

        if (count < 0)
            return false;
        bytes += count;
        length -= (size_t)count;
    }
    return true;
}

static int64_t
idle_deadline(const struct connections *all)
{
    return clock_boot_us(&all->clock) + (int64_t)all->idle_ms * 1000;
}

static enum status
write_file(int fd, const uint8_t *bytes, size_t length, struct error *err)
{
    while (length > 0) {
        ssize_t count = write(fd, bytes, length);

        if (count < 0 && errno != EINTR)
            return error_set(err, STATUS_IO, "memory file: %s", strerror(errno));
        if (count > 0) {
            bytes += count;
            length -= (size_t)count;
        }
    }
    return STATUS_OK;
}

/* Record by record, because nothing after the head may be read. */
static enum status
copy_long_head(struct connections *all, int from, int to, struct error *err)
{
    int64_t deadline_us = idle_deadline(all);
    struct connection_begin begin = { .begun = false };
    enum connection_head head = CONNECTION_PART;
    uint8_t *record = all->look;
    size_t total = 0;

    while (head == CONNECTION_PART) {
        enum status status;
        size_t rest;

        if (!receive_exactly(all, from, record, RECORD_HEADER_SIZE, deadline_us))
            return error_set(err, STATUS_IO, "a request's parameters broke off");
        rest = content_length(record) + record[6];
        if (!receive_exactly(all, from, record + RECORD_HEADER_SIZE, rest, deadline_us))
            return error_set(err, STATUS_IO, "a request's parameters broke off");
        total += RECORD_HEADER_SIZE + rest;
        if (total > CONNECTION_HEAD_MAX)
            return error_set(err, STATUS_OVERFLOW, "a request's parameters pass %d bytes",
                             CONNECTION_HEAD_MAX);
        head = record[0] == FCGI_VERSION ? step(&begin, record, record + RECORD_HEADER_SIZE)
                                         : CONNECTION_BAD;
        status = write_file(to, record, RECORD_HEADER_SIZE + rest, err);
        if (status != STATUS_OK)
            return status;
    }
    if (head == CONNECTION_BAD)
        return error_set(err, STATUS_IO, "a connection did not speak FastCGI");
    return STATUS_OK;
}

static enum status
copy_whole_head(struct connections *all, const struct connection *c, int to, struct error *err)
{
    if (!receive_exactly(all, c->fd, all->look, c->begin.length, idle_deadline(all)))
        return error_set(err, STATUS_IO, "a request's parameters broke off");
    return write_file(to, all->look, c->begin.length, err);
}

enum status
connection_take_head(struct connections *all, struct connection *connection, int *fd,
                     struct error *err)
{
    enum status status;

    *fd = memfd_create("fastcgi-head", MFD_CLOEXEC);
    if (*fd < 0)
        return error_set(err, STATUS_IO, "memory file: %s", strerror(errno));
    if (connection->head == CONNECTION_LONG)
        status = copy_long_head(all, connection->fd, *fd, err);
    else
        status = copy_whole_head(all, connection, *fd, err);
    explicit_bzero(all->look, connection->head == CONNECTION_LONG ? sizeof(all->look)
                                                                  : connection->begin.length);
    if (status == STATUS_OK && lseek(*fd, 0, SEEK_SET) != 0)
        status = error_set(err, STATUS_IO, "memory file: %s", strerror(errno));
    if (status != STATUS_OK) {
        close(*fd);
        *fd = -1;
    }
    connection->body_left = 0;
    connection->padding_left = 0;
    return status;
}

/* Up to the next record of the body. False: there will be none. */
static bool
next_body_record(const struct connections *all, struct connection *c)
{
    uint8_t header[RECORD_HEADER_SIZE];
    uint8_t padding[RECORD_PADDING_MAX];

    if (!receive_exactly(all, c->fd, padding, c->padding_left, idle_deadline(all)) ||
        !receive_exactly(all, c->fd, header, sizeof(header), idle_deadline(all)))
        return false;
    c->body_left = content_length(header);
    c->padding_left = header[6];
    /* ABORT_REQUEST, a second request, a management record: nothing that goes on as a body. */
    if (header[0] != FCGI_VERSION || header[1] != TYPE_STDIN || request_id(header) != c->begin.id)
        return false;
    if (c->body_left > 0)
        return true;
    c->body_ended = receive_exactly(all, c->fd, padding, c->padding_left, idle_deadline(all));
    return c->body_ended;
}

ssize_t
connection_read_body(const struct connections *all, struct connection *connection, void *bytes,
                     size_t size)
{
    ssize_t count;

    if (connection->body_ended)
        return 0;
    if (connection->body_left == 0 && !next_body_record(all, connection))
        return -1;
    if (connection->body_ended)
        return 0;
    if (size > connection->body_left)
        size = connection->body_left;
    count = receive(all, connection->fd, bytes, size, idle_deadline(all));
    if (count > 0)
        connection->body_left -= (size_t)count;
    return count;
}
