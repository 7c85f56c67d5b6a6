/* SPDX-License-Identifier: MIT */
/*
 * Requests over real sockets: the test is the web server, a child process runs the request loop.
 * The parameter DO says what the child does with a request.
 */
#include "common/request.h"

#include "common/connections.h"
#include "common/prefork.h"

#include "tests/check.h"
#include "tests/fastcgi_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/banned.h"

#define IDLE_MS 400
#define SOON_MS (IDLE_MS / 2) /* for what must not wait for an idle connection */
#define BODY_SIZE (64 * 1024 + 1)

struct server {
    pid_t pid;
    int listen_fd;
    int started[2]; /* the child tells that a request is in hand */
    int go[2];      /* and waits for this */
    bool tcp;
    uint16_t port;
    char folder[64];
    char path[96];
};

static struct client_bytes sent;
static struct client_answer answer;
static struct request_source *source;
static char filler[2 * CONNECTION_HEAD_MAX];

/* The child */

static void
on_term(int number)
{
    (void)number;
    request_stop(source);
}

static void
say(struct request *request, const char *text)
{
    struct error err;

    if (request_write(request, text, strlen(text), &err) != STATUS_OK)
        dprintf(STDERR_FILENO, "write: %s\n", err.message);
}

static void
answer_with_params(struct request *request)
{
    const char *echo = request_param(request, "ECHO");
    char **environment = request_environment(request);
    char text[256];
    int count = 0;

    while (environment[count] != NULL)
        count++;
    snprintf(text, sizeof(text), "Status: 200\r\n\r\nrole=%d count=%d length=%zu missing=%s echo=",
             (int)request_role(request), count, echo != NULL ? strlen(echo) : 0,
             request_param(request, "ECH") == NULL ? "yes" : "no");
    say(request, text);
    if (echo != NULL && strlen(echo) < 100)
        say(request, echo);
}

static void
answer_with_body(struct request *request)
{
    static char storage[BODY_SIZE];
    struct buf body;
    struct error err;
    enum status status;

    buf_init(&body, storage, sizeof(storage));
    status = request_read_body(request, &body, &err);
    say(request, "Status: 200\r\n\r\n");
    say(request, status_name(status));
    say(request, " ");
    say(request, status == STATUS_OK ? buf_text(&body) : err.message);
}

static void
answer_with_bytes(struct request *request, const char *count)
{
    int64_t left = 0;
    struct error err;
    static char piece[50000];

    CHECK_TRUE("a number", text_to_int64(count, 0, INT64_MAX, &left));
    memset(piece, 'x', sizeof(piece));
    while (left > 0) {
        size_t length = left < (int64_t)sizeof(piece) ? (size_t)left : sizeof(piece);

        if (request_write(request, piece, length, &err) != STATUS_OK)
            return;
        left -= (int64_t)length;
    }
}

static void
handle(const struct server *server, struct request *request)
{
    const char *what = request_param(request, "DO");
    char byte = 0;

    if (what == NULL || strcmp(what, "nothing") == 0)
        return;
    if (strcmp(what, "params") == 0)
        answer_with_params(request);
    else if (strcmp(what, "body") == 0)
        answer_with_body(request);
    else if (strcmp(what, "bytes") == 0)
        answer_with_bytes(request, request_param(request, "COUNT"));
    else if (strcmp(what, "wait") == 0) {
        if (write(server->started[1], &byte, 1) == 1 && read(server->go[0], &byte, 1) == 1)
            say(request, "Status: 200\r\n\r\nwaited");
    }
}

static int
serve(const struct server *server)
{
    struct request *request;
    struct error err;

    if (request_source_open(server->listen_fd, IDLE_MS, &source, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 3;
    }
    signal(SIGTERM, on_term);
    for (;;) {
        switch (request_accept(source, &request, &err)) {
        case STATUS_OK:
            handle(server, request);
            request_finish(request);
            break;
        case STATUS_STOP:
            request_source_close(source);
            return 0;
        case STATUS_IO:
            break;
        default:
            fprintf(stderr, "%s\n", err.message);
            return 4;
        }
    }
}

/* The parent */

static void
open_socket(struct server *server, int type)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    socklen_t length = sizeof(in);
    int result;

    snprintf(server->folder, sizeof(server->folder), "/tmp/spendgate-request-XXXXXX");
    if (mkdtemp(server->folder) == NULL)
        abort();
    snprintf(server->path, sizeof(server->path), "%s/s", server->folder);
    server->listen_fd = socket(server->tcp ? AF_INET : AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (server->tcp) {
        result = bind(server->listen_fd, (struct sockaddr *)&in, sizeof(in));
    } else {
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", server->path);
        result = bind(server->listen_fd, (struct sockaddr *)&un, sizeof(un));
    }
    if (result != 0 || listen(server->listen_fd, 128) != 0)
        abort();
    if (server->tcp) {
        getsockname(server->listen_fd, (struct sockaddr *)&in, &length);
        server->port = ntohs(in.sin_port);
    }
}

static void
start_type(struct server *server, bool tcp, int type)
{
    memset(server, 0, sizeof(*server));
    server->tcp = tcp;
    open_socket(server, type);
    if (pipe2(server->started, O_CLOEXEC) != 0 || pipe2(server->go, O_CLOEXEC) != 0)
        abort();
    server->pid = fork();
    if (server->pid == 0)
        _exit(serve(server));
}

static void
start(struct server *server, bool tcp)
{
    start_type(server, tcp, SOCK_STREAM);
}

/* The child's exit code, or -signal; -1000 when it does not end. */
static int
wait_for(pid_t pid)
{
    int64_t end_ms = client_now_ms() + CLIENT_PATIENCE_S * 1000;
    int status;
    pid_t ended;

    while ((ended = waitpid(pid, &status, WNOHANG)) == 0) {
        if (client_now_ms() > end_ms) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1000;
        }
        poll(NULL, 0, 1);
    }
    if (ended != pid)
        abort();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void
clean(struct server *server)
{
    close(server->listen_fd);
    for (int i = 0; i < 2; i++) {
        close(server->started[i]);
        close(server->go[i]);
    }
    unlink(server->path);
    rmdir(server->folder);
}

static void
finish(struct server *server)
{
    kill(server->pid, SIGTERM);
    CHECK_INT("the server's exit", 0, wait_for(server->pid));
    clean(server);
}

static int
connect_to(const struct server *server)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons(server->port) };

    return server->tcp ? client_connect((const struct sockaddr *)&in, sizeof(in))
                       : client_connect_unix(server->path);
}

static const char *
ask_on(int fd, int role, bool keep, const char *const *pairs, const char *body)
{
    client_request(&sent, role, keep, pairs, body);
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
    client_take(fd, &answer);
    return answer.text;
}

static const char *
ask(const struct server *server, int role, const char *const *pairs, const char *body)
{
    int fd = connect_to(server);

    ask_on(fd, role, false, pairs, body);
    CHECK_TRUE("the answer has an end", answer.ended);
    CHECK_TRUE("the connection is closed", client_is_closed(fd));
    close(fd);
    return answer.text;
}

static const char *const simple[] = { "DO", "params", "ECHO", "hello", NULL };
static const char simple_answer[] =
    "Status: 200\r\n\r\nrole=0 count=3 length=5 missing=yes echo=hello";

static void
check_served_at_once(const struct server *server)
{
    int64_t start_ms = client_now_ms();

    CHECK_STRING("answer", simple_answer, ask(server, CLIENT_AUTHORIZER, simple, NULL));
    CHECK_TRUE("at once", client_now_ms() - start_ms < SOON_MS);
}

static void
test_an_authorizer_request_has_its_parameters_and_no_body(void)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct server server;

        start(&server, tcp != 0);
        CHECK_STRING("without STDIN", simple_answer, ask(&server, CLIENT_AUTHORIZER, simple, NULL));
        CHECK_STRING("with an empty STDIN", simple_answer,
                     ask(&server, CLIENT_AUTHORIZER, simple, ""));
        finish(&server);
    }
}

static void
test_the_first_of_two_parameters_wins(void)
{
    static const char *const pairs[] = { "DO", "params", "ECHO", "first", "ECHO", "second", NULL };
    struct server server;

    start(&server, false);
    CHECK_STRING("answer", "Status: 200\r\n\r\nrole=1 count=4 length=5 missing=yes echo=first",
                 ask(&server, CLIENT_RESPONDER, pairs, ""));
    finish(&server);
}

static void
test_a_filter_request_is_dropped(void)
{
    struct server server;
    int fd;

    start(&server, false);
    fd = connect_to(&server);
    ask_on(fd, CLIENT_FILTER, false, simple, "");
    CHECK_TRUE("closed", answer.closed);
    CHECK_INT("bytes", 0, answer.length);
    close(fd);
    check_served_at_once(&server);
    finish(&server);
}

static void
test_a_body_is_read_to_its_end_whatever_content_length_says(void)
{
    static const char *const lengths[] = { "11", "3", "5000", "nonsense", "-1", NULL };
    static const char *const without[] = { "DO", "body", NULL };
    struct server server;

    start(&server, false);
    for (size_t i = 0; lengths[i] != NULL; i++) {
        const char *const pairs[] = { "DO", "body", "CONTENT_LENGTH", lengths[i], NULL };

        CHECK_STRING("answer", "Status: 200\r\n\r\nok hello world",
                     ask(&server, CLIENT_RESPONDER, pairs, "hello world"));
    }
    CHECK_STRING("no length", "Status: 200\r\n\r\nok hello world",
                 ask(&server, CLIENT_RESPONDER, without, "hello world"));
    CHECK_STRING("no body", "Status: 200\r\n\r\nok ", ask(&server, CLIENT_RESPONDER, without, ""));
    finish(&server);
}

static void
test_a_body_of_exactly_the_buffers_size_fits(void)
{
    static const char *const pairs[] = { "DO", "body", NULL };
    struct server server;

    start(&server, false);
    memset(filler, 'b', BODY_SIZE - 1);
    filler[BODY_SIZE - 1] = '\0';
    ask(&server, CLIENT_RESPONDER, pairs, filler);
    CHECK_INT("length", strlen("Status: 200\r\n\r\nok ") + BODY_SIZE - 1, answer.length);
    CHECK_STRING("bytes", filler, answer.text + strlen("Status: 200\r\n\r\nok "));
    finish(&server);
}

static void
test_a_body_too_large_is_drained_and_answered(void)
{
    static const char *const pairs[] = { "DO", "body", NULL };

    for (int tcp = 0; tcp < 2; tcp++) {
        struct server server;

        start(&server, tcp != 0);
        memset(filler, 'b', BODY_SIZE * 10);
        filler[BODY_SIZE * 10] = '\0';
        CHECK_STRING("answer", "Status: 200\r\n\r\noverflow the request's body passes 65536 bytes",
                     ask(&server, CLIENT_RESPONDER, pairs, filler));
        filler[BODY_SIZE] = '\0';
        CHECK_STRING("one byte",
                     "Status: 200\r\n\r\noverflow the request's body passes 65536 bytes",
                     ask(&server, CLIENT_RESPONDER, pairs, filler));
        finish(&server);
    }
}

static void
test_a_body_nobody_read_does_not_lose_the_answer(void)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct server server;

        start(&server, tcp != 0);
        memset(filler, 'b', 500000);
        filler[500000] = '\0';
        CHECK_STRING("answer", "Status: 200\r\n\r\nrole=1 count=3 length=5 missing=yes echo=hello",
                     ask(&server, CLIENT_RESPONDER, simple, filler));
        finish(&server);
    }
}

static void
test_a_body_that_breaks_off_is_an_error_and_the_next_request_is_served(void)
{
    static const char *const pairs[] = { "DO", "body", NULL };
    struct server server;
    int fd;

    start(&server, false);
    client_request(&sent, CLIENT_RESPONDER, false, pairs, "hello");
    fd = connect_to(&server);
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length - 8)); /* not the end of STDIN */
    shutdown(fd, SHUT_WR);
    client_take(fd, &answer);
    CHECK_STRING("answer", "Status: 200\r\n\r\nio the request's body broke off", answer.text);
    close(fd);
    check_served_at_once(&server);
    finish(&server);
}

static void
test_a_body_that_stops_arriving_pins_a_worker_for_idle_ms_only(void)
{
    static const char *const pairs[] = { "DO", "body", NULL };

    for (int tcp = 0; tcp < 2; tcp++) {
        struct server server;
        int64_t start_ms;
        int fd;

        start(&server, tcp != 0);
        client_request(&sent, CLIENT_RESPONDER, false, pairs, "hello");
        fd = connect_to(&server);
        start_ms = client_now_ms();
        CHECK_TRUE("sent", client_send(fd, sent.data, sent.length - 8));
        client_take(fd, &answer);
        CHECK_STRING("answer", "Status: 200\r\n\r\nio the request's body broke off", answer.text);
        CHECK_TRUE("not before", client_now_ms() - start_ms >= IDLE_MS - 20);
        CHECK_TRUE("not long after", client_now_ms() - start_ms < 4 * IDLE_MS);
        close(fd);
        finish(&server);
    }
}

static void
test_the_authorizer_role_never_reads_a_body(void)
{
    static const char *const pairs[] = { "DO", "body", "CONTENT_LENGTH", "10", NULL };
    struct server server;
    int64_t start_ms;

    start(&server, false);
    start_ms = client_now_ms();
    CHECK_STRING("answer", "Status: 200\r\n\r\ninternal an authorizer request has no body",
                 ask(&server, CLIENT_AUTHORIZER, pairs, NULL));
    CHECK_TRUE("at once", client_now_ms() - start_ms < SOON_MS);
    finish(&server);
}

static void
test_an_unanswered_request_is_a_503(void)
{
    static const char *const pairs[] = { "DO", "nothing", NULL };
    struct server server;

    start(&server, false);
    CHECK_TRUE("authorizer",
               strncmp("Status: 503 ", ask(&server, CLIENT_AUTHORIZER, pairs, NULL), 12) == 0);
    CHECK_TRUE("responder",
               strncmp("Status: 503 ", ask(&server, CLIENT_RESPONDER, pairs, "x"), 12) == 0);
    finish(&server);
}

static void
test_idle_connections_pin_no_worker_and_are_dropped(void)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct server server;
        int idle[10];
        int64_t start_ms;

        start(&server, tcp != 0);
        start_ms = client_now_ms();
        client_request(&sent, CLIENT_AUTHORIZER, false, simple, NULL);
        for (int i = 0; i < 10; i++) {
            idle[i] = connect_to(&server);
            if (i % 2 == 1) /* half a header; then all but the last byte */
                CHECK_TRUE("sent", client_send(idle[i], sent.data, i == 1 ? 4 : sent.length - 1));
        }
        check_served_at_once(&server);
        for (int i = 0; i < 10; i++)
            CHECK_TRUE("closed", client_is_closed(idle[i]));
        CHECK_TRUE("not before", client_now_ms() - start_ms >= IDLE_MS - 20);
        CHECK_TRUE("soon after", client_now_ms() - start_ms < 3 * IDLE_MS);
        for (int i = 0; i < 10; i++)
            close(idle[i]);
        check_served_at_once(&server);
        finish(&server);
    }
}

static void
test_a_head_that_trickles_is_dropped_idle_ms_after_its_start(void)
{
    struct server server;
    int64_t start_ms = client_now_ms();
    size_t at = 0;
    int fd;

    start(&server, false);
    client_request(&sent, CLIENT_AUTHORIZER, false, simple, NULL);
    fd = connect_to(&server);
    while (at < sent.length && client_send(fd, sent.data + at, 1)) {
        at++;
        poll(NULL, 0, IDLE_MS / 10);
    }
    CHECK_TRUE("dropped on the way", at < sent.length);
    CHECK_TRUE("in time", client_now_ms() - start_ms < 3 * IDLE_MS);
    close(fd);
    finish(&server);
}

static void
test_a_head_that_comes_in_pieces_is_served(void)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct server server;
        int fd;

        start(&server, tcp != 0);
        client_request(&sent, CLIENT_AUTHORIZER, false, simple, NULL);
        fd = connect_to(&server);
        for (size_t at = 0; at < sent.length; at += 7) {
            size_t rest = sent.length - at;

            CHECK_TRUE("sent", client_send(fd, sent.data + at, rest < 7 ? rest : 7));
            poll(NULL, 0, 5);
        }
        client_take(fd, &answer);
        CHECK_STRING("answer", simple_answer, answer.text);
        close(fd);
        finish(&server);
    }
}

static void
test_more_idle_connections_than_places_drop_the_oldest(void)
{
    struct server server;
    int idle[CONNECTIONS_WAITING_MAX + 2];
    int64_t start_ms;

    start(&server, false);
    start_ms = client_now_ms();
    for (int i = 0; i < CONNECTIONS_WAITING_MAX + 2; i++)
        idle[i] = connect_to(&server);
    CHECK_TRUE("first", client_is_closed(idle[0]));
    CHECK_TRUE("second", client_is_closed(idle[1]));
    CHECK_TRUE("for its place", client_now_ms() - start_ms < (CONNECTIONS_WAITING_MAX + 2) * 20);
    CHECK_STRING("the last is served", simple_answer,
                 ask_on(idle[CONNECTIONS_WAITING_MAX + 1], CLIENT_AUTHORIZER, false, simple, NULL));
    for (int i = 0; i < CONNECTIONS_WAITING_MAX + 2; i++)
        close(idle[i]);
    finish(&server);
}

static void
test_a_client_that_hangs_up_early_hurts_nobody(void)
{
    struct server server;

    start(&server, false);
    client_request(&sent, CLIENT_AUTHORIZER, false, simple, NULL);
    for (size_t length = 0; length <= sent.length; length += 3) {
        int fd = connect_to(&server);

        CHECK_TRUE("sent", length == 0 || client_send(fd, sent.data, length));
        close(fd);
    }
    check_served_at_once(&server);
    finish(&server);
}

static void
test_a_client_that_stops_reading_pins_a_worker_for_idle_ms_only(void)
{
    static const char *const pairs[] = { "DO", "bytes", "COUNT", "50000000", NULL };

    for (int tcp = 0; tcp < 2; tcp++) {
        struct server server;
        int64_t start_ms;
        int fd;

        start(&server, tcp != 0);
        client_request(&sent, CLIENT_RESPONDER, false, pairs, "");
        fd = connect_to(&server);
        start_ms = client_now_ms();
        CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
        CHECK_STRING("answer", simple_answer, ask(&server, CLIENT_AUTHORIZER, simple, NULL));
        CHECK_TRUE("in time", client_now_ms() - start_ms < 4 * IDLE_MS);
        client_take(fd, &answer);
        CHECK_FALSE("a cut answer has no end", answer.ended);
        close(fd);
        finish(&server);
    }
}

static void
test_a_long_answer_arrives_whole(void)
{
    static const char *const pairs[] = { "DO", "bytes", "COUNT", "3000000", NULL };
    struct server server;

    start(&server, false);
    ask(&server, CLIENT_RESPONDER, pairs, "");
    CHECK_INT("length", 3000000, answer.length);
    finish(&server);
}

static void
test_an_answer_that_fits_goes_out_in_one_write(void)
{
    static const char *const pairs[] = { "DO", "bytes", "COUNT", "8000", NULL };
    static char bytes[20000];
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct server server;
    int fd;

    /* Every write is a packet of its own here, and reads as one. */
    start_type(&server, false, SOCK_SEQPACKET);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", server.path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    CHECK_INT("connect", 0, connect(fd, (const struct sockaddr *)&address, sizeof(address)));
    client_request(&sent, CLIENT_AUTHORIZER, false, pairs, NULL);
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
    CHECK_INT("header, bytes, end of STDOUT, END_REQUEST", 8 + 8000 + 8 + 16,
              recv(fd, bytes, sizeof(bytes), 0));
    CHECK_INT("nothing more", 0, recv(fd, bytes, sizeof(bytes), 0));
    close(fd);
    finish(&server);
}

static void
test_a_kept_connection_serves_again_and_pins_no_worker(void)
{
    struct server server;
    int kept[3];

    start(&server, false);
    for (int i = 0; i < 3; i++)
        kept[i] = connect_to(&server);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            CHECK_STRING("answer",
                         "Status: 200\r\n\r\nrole=1 count=3 length=5 missing=yes echo=hello",
                         ask_on(kept[i], CLIENT_RESPONDER, true, simple, "unread body"));
            CHECK_TRUE("ended", answer.ended);
        }
        check_served_at_once(&server);
    }
    /* Longer than a connection may take for its head: a kept one has its own, longer time. */
    poll(NULL, 0, IDLE_MS + 50);
    CHECK_STRING("answer", "Status: 200\r\n\r\nrole=1 count=3 length=5 missing=yes echo=hello",
                 ask_on(kept[0], CLIENT_RESPONDER, false, simple, ""));
    CHECK_TRUE("closed when asked", client_is_closed(kept[0]));
    for (int i = 0; i < 3; i++)
        close(kept[i]);
    finish(&server);
}

static void
test_an_authorizer_connection_is_never_kept(void)
{
    struct server server;
    int fd;

    start(&server, false);
    fd = connect_to(&server);
    ask_on(fd, CLIENT_AUTHORIZER, true, simple, NULL);
    CHECK_TRUE("closed", client_is_closed(fd));
    close(fd);
    finish(&server);
}

static void
ask_long(struct server *server, size_t length, size_t piece, bool served)
{
    const char *const pairs[] = { "DO", "params", "ECHO", filler, NULL };
    char want[100];
    int fd = connect_to(server);

    memset(filler, 'p', length);
    filler[length] = '\0';
    sent.length = 0;
    client_begin(&sent, CLIENT_RESPONDER, false);
    client_params(&sent, piece, pairs);
    client_record(&sent, CLIENT_STDIN, 1, "body", 4, 0);
    client_record(&sent, CLIENT_STDIN, 1, NULL, 0, 0);
    snprintf(want, sizeof(want),
             "Status: 200\r\n\r\nrole=1 count=3 length=%zu missing=yes echo=", length);
    /* What is too long may be dropped before its last byte was sent, or after. */
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length) || !served);
    client_take(fd, &answer);
    CHECK_STRING("answer", served ? want : "", answer.text);
    close(fd);
}

static void
test_long_parameters_are_served_and_too_long_ones_dropped(void)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct server server;

        start(&server, tcp != 0);
        ask_long(&server, 30000, 65535, true);
        ask_long(&server, 65000, 65535, true);
        ask_long(&server, 100000, 16384, true);
        ask_long(&server, 200000, 65535, true);
        ask_long(&server, CONNECTION_HEAD_MAX - 5000, 16384, true);
        ask_long(&server, CONNECTION_HEAD_MAX + 5000, 16384, false);
        check_served_at_once(&server);
        finish(&server);
    }
}

static void
test_a_long_head_that_stops_is_dropped_after_idle_ms(void)
{
    const char *const pairs[] = { "DO", "params", "ECHO", filler, NULL };
    struct server server;
    int64_t start_ms;
    int fd;

    start(&server, false);
    memset(filler, 'p', 100000);
    filler[100000] = '\0';
    client_request(&sent, CLIENT_AUTHORIZER, false, pairs, NULL);
    fd = connect_to(&server);
    start_ms = client_now_ms();
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length - 1));
    CHECK_TRUE("closed", client_is_closed(fd));
    CHECK_TRUE("in time", client_now_ms() - start_ms < 3 * IDLE_MS);
    close(fd);
    check_served_at_once(&server);
    finish(&server);
}

/* libfcgi 2.4.2 overruns its stack when it answers four names or more. It must not see them. */
static void
test_management_records_are_refused_wherever_they_come(void)
{
    static const char *const pairs[] = { "DO", "body", NULL };
    char names[10 * 17];
    struct server server;
    int fd;

    for (size_t i = 0; i < 10; i++)
        memcpy(names + 17 * i, "\x0f\0FCGI_MPXS_CONNS", 17);
    start(&server, false);
    sent.length = 0;
    client_record(&sent, 9, 0, names, sizeof(names), 6);
    fd = connect_to(&server);
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
    CHECK_TRUE("closed", client_is_closed(fd));
    close(fd);
    sent.length = 0;
    client_begin(&sent, CLIENT_RESPONDER, false);
    client_params(&sent, 16384, pairs);
    client_record(&sent, 9, 0, names, sizeof(names), 6);
    fd = connect_to(&server);
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
    client_take(fd, &answer);
    CHECK_STRING("answer", "Status: 200\r\n\r\nio the request's body broke off", answer.text);
    close(fd);
    finish(&server);
}

static void
test_an_aborted_request_has_no_body(void)
{
    static const char *const pairs[] = { "DO", "body", NULL };
    struct server server;
    int fd;

    start(&server, false);
    sent.length = 0;
    client_begin(&sent, CLIENT_RESPONDER, true);
    client_params(&sent, 16384, pairs);
    client_record(&sent, CLIENT_STDIN, 1, "cost_usd=1", 10, 6);
    client_record(&sent, 2, 1, NULL, 0, 0);
    fd = connect_to(&server);
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
    client_take(fd, &answer);
    CHECK_STRING("answer", "Status: 200\r\n\r\nio the request's body broke off", answer.text);
    CHECK_TRUE("not kept", client_is_closed(fd));
    close(fd);
    finish(&server);
}

static void
test_padded_body_records_are_one_body(void)
{
    static const char *const pairs[] = { "DO", "body", NULL };
    struct server server;
    int fd;

    start(&server, false);
    fd = connect_to(&server);
    for (int round = 0; round < 2; round++) { /* kept: nothing of the first may be left over */
        sent.length = 0;
        client_begin(&sent, CLIENT_RESPONDER, true);
        client_params(&sent, 16384, pairs);
        client_record(&sent, CLIENT_STDIN, 1, "hello ", 6, 2);
        client_record(&sent, CLIENT_STDIN, 1, "world", 5, 255);
        client_record(&sent, CLIENT_STDIN, 1, NULL, 0, 8);
        CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
        client_take(fd, &answer);
        CHECK_STRING("answer", "Status: 200\r\n\r\nok hello world", answer.text);
    }
    close(fd);
    finish(&server);
}

static void
test_malformed_parameters_are_refused(void)
{
    static const char *const roles[] = { "\2", "\1" };
    struct server server;

    start(&server, false);
    for (size_t i = 0; i < 2; i++) {
        int fd = connect_to(&server);

        sent.length = 0;
        client_begin(&sent, roles[i][0], false);
        client_record(&sent, CLIENT_PARAMS, 1, "\5\5ab", 4, 0); /* ten bytes promised, two there */
        client_record(&sent, CLIENT_PARAMS, 1, NULL, 0, 0);
        CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
        CHECK_TRUE("closed", client_is_closed(fd));
        close(fd);
    }
    check_served_at_once(&server);
    finish(&server);
}

static void
test_what_is_not_fastcgi_is_dropped_at_once(void)
{
    static const char *const texts[] = { "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                         "\xff\xff\xff\xff\xff\xff\xff\xff",
                                         "\1\1\0\0\0\0\0\0 begin without an id", NULL };
    struct server server;

    start(&server, false);
    for (size_t i = 0; texts[i] != NULL; i++) {
        int64_t start_ms = client_now_ms();
        int fd = connect_to(&server);

        CHECK_TRUE("sent", client_send(fd, texts[i], 8 + strlen(texts[i] + 8)));
        CHECK_TRUE("closed", client_is_closed(fd));
        CHECK_TRUE("at once", client_now_ms() - start_ms < SOON_MS);
        close(fd);
    }
    check_served_at_once(&server);
    finish(&server);
}

static void
test_stopping_finishes_the_request_in_hand(void)
{
    static const char *const pairs[] = { "DO", "wait", NULL };
    struct server server;
    char byte;
    int fd;

    start(&server, false);
    fd = connect_to(&server);
    client_request(&sent, CLIENT_AUTHORIZER, false, pairs, NULL);
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
    CHECK_INT("in hand", 1, read(server.started[0], &byte, 1));
    kill(server.pid, SIGTERM);
    CHECK_INT("go on", 1, write(server.go[1], &byte, 1));
    client_take(fd, &answer);
    CHECK_STRING("answer", "Status: 200\r\n\r\nwaited", answer.text);
    CHECK_INT("exit", 0, wait_for(server.pid));
    close(fd);
    clean(&server);
}

static void
test_stopping_serves_a_connection_that_was_already_taken(void)
{
    struct server server;
    int idle;
    int fd;

    start(&server, false);
    client_request(&sent, CLIENT_AUTHORIZER, false, simple, NULL);
    idle = connect_to(&server);
    fd = connect_to(&server);
    CHECK_TRUE("half", client_send(fd, sent.data, 20));
    check_served_at_once(&server); /* so both have been taken */
    kill(server.pid, SIGTERM);
    client_request(&sent, CLIENT_AUTHORIZER, false, simple, NULL);
    CHECK_TRUE("the rest", client_send(fd, sent.data + 20, sent.length - 20));
    client_take(fd, &answer);
    CHECK_STRING("answer", simple_answer, answer.text);
    CHECK_INT("exit", 0, wait_for(server.pid));
    close(fd);
    close(idle);
    clean(&server);
}

static void
test_stopping_ends_idle_and_kept_connections_soon(void)
{
    struct server server;
    int64_t start_ms;
    int kept;
    int idle;

    start(&server, false);
    kept = connect_to(&server);
    ask_on(kept, CLIENT_RESPONDER, true, simple, "");
    idle = connect_to(&server);
    check_served_at_once(&server);
    start_ms = client_now_ms();
    kill(server.pid, SIGTERM);
    CHECK_TRUE("kept", client_is_closed(kept));
    CHECK_TRUE("idle", client_is_closed(idle));
    CHECK_INT("exit", 0, wait_for(server.pid));
    CHECK_TRUE("soon", client_now_ms() - start_ms < 3000);
    close(kept);
    close(idle);
    clean(&server);
}

/* A signal between a look at a flag and the wait for a connection must not be lost. The child is
 * asked for something and then stopped at varying distances from its next wait. */
static void
test_a_stop_is_never_lost(void)
{
    for (int round = 0; round < 150; round++) {
        struct server server;
        struct timespec pause = { .tv_nsec = round * 700 };

        start(&server, false);
        ask(&server, CLIENT_AUTHORIZER, simple, NULL);
        nanosleep(&pause, NULL);
        kill(server.pid, SIGTERM);
        if (!CHECK_INT("exit", 0, wait_for(server.pid)))
            break;
        clean(&server);
    }
}

static void
test_only_listed_tcp_clients_are_served(void)
{
    static const char *const served[] = { "127.0.0.1", "192.0.2.1,127.0.0.1", "::1,127.0.0.1",
                                          "::ffff:127.0.0.1", NULL };
    struct server server;
    int fd;

    for (size_t i = 0; served[i] != NULL; i++) {
        setenv("FCGI_WEB_SERVER_ADDRS", served[i], 1);
        start(&server, true);
        check_served_at_once(&server);
        finish(&server);
    }
    setenv("FCGI_WEB_SERVER_ADDRS", "192.0.2.1", 1);
    start(&server, true);
    fd = connect_to(&server);
    CHECK_TRUE("closed", client_is_closed(fd));
    close(fd);
    finish(&server);
    start(&server, false); /* does not concern unix sockets */
    check_served_at_once(&server);
    finish(&server);
    unsetenv("FCGI_WEB_SERVER_ADDRS");
}

static void
test_a_bad_address_list_is_refused(void)
{
    static const char *const bad[] = { "localhost", "127.0.0.1, 127.0.0.2",
                                       "1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222",
                                       NULL };
    struct server server;
    struct request_source *refused;
    struct error err;
    char many[40 * 10 + 1] = "";

    memset(&server, 0, sizeof(server));
    open_socket(&server, SOCK_STREAM);
    for (size_t i = 0; bad[i] != NULL; i++) {
        setenv("FCGI_WEB_SERVER_ADDRS", bad[i], 1);
        CHECK_STATUS(STATUS_INVALID, request_source_open(server.listen_fd, 1, &refused, &err),
                     &err);
        CHECK_STRING("message", "FCGI_WEB_SERVER_ADDRS: not an address list", err.message);
    }
    for (size_t i = 0; i < 40; i++)
        memcpy(many + i * 10, "127.0.0.1,", 11);
    setenv("FCGI_WEB_SERVER_ADDRS", many, 1);
    CHECK_STATUS(STATUS_INVALID, request_source_open(server.listen_fd, 1, &refused, &err), &err);
    CHECK_STRING("message", "FCGI_WEB_SERVER_ADDRS: more than 32 addresses", err.message);
    unsetenv("FCGI_WEB_SERVER_ADDRS");
    clean(&server);
}

static void
test_only_a_listening_socket_is_a_source(void)
{
    struct request_source *refused;
    struct error err;
    int pair[2];

    CHECK_INT("socketpair", 0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    CHECK_STATUS(STATUS_INVALID, request_source_open(pair[0], 1, &refused, &err), &err);
    CHECK_STATUS(STATUS_INVALID, request_source_open(9999, 1, &refused, &err), &err);
    CHECK_STRING("message", "descriptor 9999 is not a listening socket", err.message);
    CHECK_TRUE("nothing", refused == NULL);
    close(pair[0]);
    close(pair[1]);
}

static void
test_opening_leaves_the_programs_signal_handlers_alone(void)
{
    struct server server;
    struct request_source *opened;
    struct sigaction now;
    struct error err;

    memset(&server, 0, sizeof(server));
    open_socket(&server, SOCK_STREAM);
    signal(SIGTERM, SIG_DFL);
    signal(SIGUSR1, SIG_DFL);
    CHECK_STATUS(STATUS_OK, request_source_open(server.listen_fd, 1, &opened, &err), &err);
    sigaction(SIGTERM, NULL, &now);
    CHECK_TRUE("TERM", now.sa_handler == SIG_DFL);
    sigaction(SIGUSR1, NULL, &now);
    CHECK_TRUE("USR1", now.sa_handler == SIG_DFL);
    sigaction(SIGPIPE, NULL, &now);
    CHECK_TRUE("PIPE", now.sa_handler == SIG_IGN);
    CHECK_INT("close-on-exec", FD_CLOEXEC, fcntl(server.listen_fd, F_GETFD));
    request_source_close(opened);
    request_source_close(NULL);
    clean(&server);
}

/* Plain CGI: the child's standard input and output are pipes, its environment is the request. */

static int
serve_cgi(const struct server *server)
{
    struct request *request;
    struct error err;

    if (request_is_fastcgi())
        return 5;
    if (request_source_open(-1, IDLE_MS, &source, &err) != STATUS_OK ||
        request_accept(source, &request, &err) != STATUS_OK)
        return 3;
    handle(server, request);
    request_finish(request);
    if (request_accept(source, &request, &err) != STATUS_STOP)
        return 4;
    request_source_close(source);
    return 0;
}

/* Gives `body`, leaves standard input open if `open_end`, and puts the output into `answer`. */
static void
run_cgi(char **variables, const char *body, bool open_end)
{
    struct server server;
    int in[2];
    int out[2];
    ssize_t count;
    pid_t pid;

    memset(&server, 0, sizeof(server));
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        abort();
    pid = fork();
    if (pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        environ = variables;
        _exit(serve_cgi(&server));
    }
    close(in[0]);
    close(out[1]);
    CHECK_INT("body", strlen(body), write(in[1], body, strlen(body)));
    if (!open_end)
        close(in[1]);
    answer.length = 0;
    while ((count = read(out[0], answer.text + answer.length,
                         sizeof(answer.text) - 1 - answer.length)) > 0)
        answer.length += (size_t)count;
    answer.text[answer.length] = '\0';
    CHECK_INT("exit", 0, wait_for(pid));
    if (open_end)
        close(in[1]);
    close(out[0]);
}

static void
test_cgi_has_its_variables_in_the_environment(void)
{
    char *variables[] = { (char[]){ "DO=params" }, (char[]){ "ECHO=hello" }, NULL };

    run_cgi(variables, "", false);
    CHECK_STRING("answer", "Status: 200\r\n\r\nrole=2 count=2 length=5 missing=yes echo=hello",
                 answer.text);
}

static void
test_a_cgi_body_ends_at_the_end_of_input(void)
{
    char *variables[] = { (char[]){ "DO=body" }, NULL };
    char *short_length[] = { (char[]){ "DO=body" }, (char[]){ "CONTENT_LENGTH=3" }, NULL };
    char *exact[] = { (char[]){ "DO=body" }, (char[]){ "CONTENT_LENGTH=11" }, NULL };
    char *bad[] = { (char[]){ "DO=body" }, (char[]){ "CONTENT_LENGTH=eleven" }, NULL };

    run_cgi(variables, "hello world", false);
    CHECK_STRING("no length", "Status: 200\r\n\r\nok hello world", answer.text);
    run_cgi(short_length, "hello world", false);
    CHECK_STRING("short length", "Status: 200\r\n\r\nok hello world", answer.text);
    run_cgi(exact, "hello world", false);
    CHECK_STRING("exact length", "Status: 200\r\n\r\nok hello world", answer.text);
    run_cgi(bad, "hello world", false);
    CHECK_STRING("bad length", "Status: 200\r\n\r\nok hello world", answer.text);
}

static void
test_a_cgi_body_ends_at_content_length_when_input_stays_open(void)
{
    char *variables[] = { (char[]){ "DO=body" }, (char[]){ "CONTENT_LENGTH=11" }, NULL };

    run_cgi(variables, "hello world", true);
    CHECK_STRING("answer", "Status: 200\r\n\r\nok hello world", answer.text);
}

static void
test_a_cut_cgi_body_is_an_error(void)
{
    char *variables[] = { (char[]){ "DO=body" }, (char[]){ "CONTENT_LENGTH=12" }, NULL };

    run_cgi(variables, "hello world", false);
    CHECK_STRING("closed", "Status: 200\r\n\r\nio the request's body broke off", answer.text);
    run_cgi(variables, "hello world", true);
    CHECK_STRING("silent", "Status: 200\r\n\r\nio the request's body broke off", answer.text);
}

static void
test_cgi_without_an_answer_is_a_503(void)
{
    char *variables[] = { (char[]){ "DO=nothing" }, NULL };

    run_cgi(variables, "body", false);
    CHECK_TRUE("503", strncmp("Status: 503 ", answer.text, 12) == 0);
}

static void
test_a_long_cgi_answer_arrives_whole(void)
{
    char *variables[] = { (char[]){ "DO=bytes" }, (char[]){ "COUNT=300001" }, NULL };

    run_cgi(variables, "", false);
    CHECK_INT("length", 300001, answer.length);
}

static void
test_a_listening_descriptor_0_is_fastcgi(void)
{
    struct server server;
    pid_t pid;

    memset(&server, 0, sizeof(server));
    open_socket(&server, SOCK_STREAM);
    pid = fork();
    if (pid == 0) {
        dup2(server.listen_fd, STDIN_FILENO);
        _exit(request_is_fastcgi() ? 7 : 0);
    }
    CHECK_INT("recognised", 7, wait_for(pid));
    clean(&server);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_an_authorizer_request_has_its_parameters_and_no_body),
        CHECK_TEST(test_the_first_of_two_parameters_wins),
        CHECK_TEST(test_a_filter_request_is_dropped),
        CHECK_TEST(test_a_body_is_read_to_its_end_whatever_content_length_says),
        CHECK_TEST(test_a_body_of_exactly_the_buffers_size_fits),
        CHECK_TEST(test_a_body_too_large_is_drained_and_answered),
        CHECK_TEST(test_a_body_nobody_read_does_not_lose_the_answer),
        CHECK_TEST(test_a_body_that_breaks_off_is_an_error_and_the_next_request_is_served),
        CHECK_TEST(test_a_body_that_stops_arriving_pins_a_worker_for_idle_ms_only),
        CHECK_TEST(test_the_authorizer_role_never_reads_a_body),
        CHECK_TEST(test_an_unanswered_request_is_a_503),
        CHECK_TEST(test_idle_connections_pin_no_worker_and_are_dropped),
        CHECK_TEST(test_a_head_that_trickles_is_dropped_idle_ms_after_its_start),
        CHECK_TEST(test_a_head_that_comes_in_pieces_is_served),
        CHECK_TEST(test_more_idle_connections_than_places_drop_the_oldest),
        CHECK_TEST(test_a_client_that_hangs_up_early_hurts_nobody),
        CHECK_TEST(test_a_client_that_stops_reading_pins_a_worker_for_idle_ms_only),
        CHECK_TEST(test_a_long_answer_arrives_whole),
        CHECK_TEST(test_an_answer_that_fits_goes_out_in_one_write),
        CHECK_TEST(test_a_kept_connection_serves_again_and_pins_no_worker),
        CHECK_TEST(test_an_authorizer_connection_is_never_kept),
        CHECK_TEST(test_long_parameters_are_served_and_too_long_ones_dropped),
        CHECK_TEST(test_a_long_head_that_stops_is_dropped_after_idle_ms),
        CHECK_TEST(test_management_records_are_refused_wherever_they_come),
        CHECK_TEST(test_an_aborted_request_has_no_body),
        CHECK_TEST(test_padded_body_records_are_one_body),
        CHECK_TEST(test_malformed_parameters_are_refused),
        CHECK_TEST(test_what_is_not_fastcgi_is_dropped_at_once),
        CHECK_TEST(test_stopping_finishes_the_request_in_hand),
        CHECK_TEST(test_stopping_serves_a_connection_that_was_already_taken),
        CHECK_TEST(test_stopping_ends_idle_and_kept_connections_soon),
        CHECK_TEST(test_a_stop_is_never_lost),
        CHECK_TEST(test_only_listed_tcp_clients_are_served),
        CHECK_TEST(test_a_bad_address_list_is_refused),
        CHECK_TEST(test_only_a_listening_socket_is_a_source),
        CHECK_TEST(test_opening_leaves_the_programs_signal_handlers_alone),
        CHECK_TEST(test_cgi_has_its_variables_in_the_environment),
        CHECK_TEST(test_a_cgi_body_ends_at_the_end_of_input),
        CHECK_TEST(test_a_cgi_body_ends_at_content_length_when_input_stays_open),
        CHECK_TEST(test_a_cut_cgi_body_is_an_error),
        CHECK_TEST(test_cgi_without_an_answer_is_a_503),
        CHECK_TEST(test_a_long_cgi_answer_arrives_whole),
        CHECK_TEST(test_a_listening_descriptor_0_is_fastcgi),
    };

    return check_main("request", tests, CHECK_COUNT(tests));
}
