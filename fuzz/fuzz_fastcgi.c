/* SPDX-License-Identifier: MIT */
/*
 * What comes over a FastCGI connection: a head that looks whole is one that libfcgi takes, without
 * waiting for more, and its body ends.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/connections.h"
#include "common/request.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

#define IDLE_MS 100
#define HANG_SECONDS 5
#define BODY_SIZE 4096
#define ROLE_RESPONDER 1
#define ROLE_AUTHORIZER 2

static struct sockaddr_un address;
static socklen_t address_length;

/* An abstract address: nothing to remove afterwards. */
static int
open_listener(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int length;

    address.sun_family = AF_UNIX;
    length = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "spendgate-fuzz-%d",
                      (int)getpid());
    address_length = (socklen_t)(sizeof(sa_family_t) + 1 + (size_t)length);
    assert(bind(fd, (struct sockaddr *)&address, address_length) == 0 && listen(fd, 8) == 0);
    return fd;
}

static void
check_request(struct request *request)
{
    char storage[BODY_SIZE];
    struct buf body;
    struct error err;
    enum status status;
    char **variables = request_environment(request);
    size_t length = 0;

    /* libfcgi adds the role first, so that no parameter can pretend another. */
    assert(strncmp(variables[0], "FCGI_ROLE=", 10) == 0);
    while (*variables != NULL) /* each can be read; a name with a NUL has no value */
        length += strlen(*variables++);
    assert(length >= 10);
    assert(request_param(request, "SPENDGATE_NOT_THERE") == NULL);
    buf_init(&body, storage, sizeof(storage));
    status = request_read_body(request, &body, &err);
    if (request_role(request) == REQUEST_AUTHORIZER)
        assert(status == STATUS_INTERNAL);
    else
        assert(status == STATUS_OK || status == STATUS_IO || status == STATUS_OVERFLOW);
    status = request_write(request, "Status: 403\r\n\r\n", 15, &err);
    assert(status == STATUS_OK || status == STATUS_IO);
    request_finish(request);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int listen_fd = -1;
    struct request_source *source; /* a new one each time: no kept connection of the last input */
    struct connection_begin begin;
    struct request *request;
    struct error err;
    enum status status;
    int client;

    if (size > 65536) /* what surely fits the socket's buffer */
        return 0;
    if (connection_head_look(data, size, &begin) != CONNECTION_WHOLE) {
        fuzz_result(false);
        return 0;
    }
    assert(begin.begun && begin.length <= size);
    if (listen_fd < 0)
        listen_fd = open_listener();
    assert(request_source_open(listen_fd, IDLE_MS, &source, &err) == STATUS_OK);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert(connect(client, (struct sockaddr *)&address, address_length) == 0);
    assert(send(client, data, size, MSG_NOSIGNAL) == (ssize_t)size);
    alarm(HANG_SECONDS); /* the connection stays open, so a wait for more would be for ever */
    status = request_accept(source, &request, &err);
    alarm(0);
    shutdown(client, SHUT_WR);
    if (begin.role == ROLE_RESPONDER || begin.role == ROLE_AUTHORIZER) {
        assert(status == STATUS_OK);
        check_request(request);
    } else {
        assert(status == STATUS_IO);
    }
    close(client);
    request_source_close(source);
    fuzz_result(status == STATUS_OK);
    return 0;
}
