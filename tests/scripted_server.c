/* SPDX-License-Identifier: MIT */
#include "tests/scripted_server.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/banned.h"

/* Bytes of the body that the head announces. */
static size_t
announced(const char *head)
{
    const char *line = strcasestr(head, "\r\ncontent-length:");
    size_t length = 0;

    if (line == NULL)
        return 0;
    line += sizeof("\r\ncontent-length:") - 1;
    while (*line == ' ')
        line++;
    for (; *line >= '0' && *line <= '9'; line++)
        length = length * 10 + (size_t)(*line - '0');
    return length;
}

/* One whole request; false when the client went away. */
static bool
read_request(int fd, char *text)
{
    size_t length = 0;

    while (length < SCRIPTED_REQUEST_SIZE - 1) {
        ssize_t got = read(fd, text + length, SCRIPTED_REQUEST_SIZE - 1 - length);
        const char *end;

        if (got <= 0)
            return false;
        length += (size_t)got;
        text[length] = '\0';
        end = strstr(text, "\r\n\r\n");
        if (end != NULL && length >= (size_t)(end + 4 - text) + announced(text))
            return true;
    }
    return false;
}

static bool
write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);

        if (written <= 0)
            return false;
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

static bool
write_answer(int fd, const struct scripted_answer *answer)
{
    char filler[65536];

    memset(filler, 'x', sizeof(filler));
    if (answer->delay_ms > 0)
        usleep((useconds_t)answer->delay_ms * 1000);
    if (answer->bytes != NULL && !write_all(fd, answer->bytes, strlen(answer->bytes)))
        return false;
    for (size_t left = answer->filler; left > 0;) {
        size_t length = left < sizeof(filler) ? left : sizeof(filler);

        if (!write_all(fd, filler, length))
            return false;
        left -= length;
    }
    return true;
}

static void
serve_connection(int fd, volatile struct scripted_shared *shared,
                 const struct scripted_answer *script, size_t count)
{
    static const struct linger reset = { .l_onoff = 1, .l_linger = 0 };
    char text[SCRIPTED_REQUEST_SIZE];

    while (read_request(fd, text)) {
        int number = __atomic_fetch_add(&shared->requests, 1, __ATOMIC_SEQ_CST);
        const struct scripted_answer *answer =
            &script[(size_t)number < count ? (size_t)number : count - 1];

        for (size_t i = 0; i < sizeof(text); i++)
            shared->last[i] = text[i];
        if (!write_answer(fd, answer) || answer->end == SCRIPTED_CLOSE)
            break;
        if (answer->end == SCRIPTED_RESET) {
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
            break;
        }
        if (answer->end == SCRIPTED_HANG) {
            if (read(fd, text, 1) > 0) /* until the client gives up */
                abort();
            break;
        }
    }
    close(fd);
}

static void
serve(int listener, volatile struct scripted_shared *shared, const struct scripted_answer *script,
      size_t count)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            continue;
        shared->connections++;
        if (fork() == 0) { /* each connection by itself, as a server does */
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(listener);
            serve_connection(fd, shared, script, count);
            _exit(0);
        }
        close(fd);
    }
}

void
scripted_server_start(struct scripted_server *server, const struct scripted_answer *script,
                      size_t count)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 ||
        listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        abort();
    server->shared = mmap(NULL, sizeof(*server->shared), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (server->shared == MAP_FAILED)
        abort();
    server->port = ntohs(address.sin_port);
    snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%d", server->port);
    server->pid = fork();
    if (server->pid == 0)
        serve(listener, server->shared, script, count);
    close(listener);
}

void
scripted_server_stop(struct scripted_server *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
        munmap((void *)(size_t)server->shared, sizeof(*server->shared));
    }
    server->pid = 0;
}

const char *
scripted_json(char *out, size_t size, const char *status, const char *headers, const char *body)
{
    snprintf(out, size,
             "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n%s",
             status, strlen(body), headers, body);
    return out;
}
