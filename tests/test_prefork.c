/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets, and a real master with real children. A child answers each byte on a
 * connection with its process id and generation; the test is the client.
 */
#include "common/prefork.h"

#include "tests/check.h"
#include "tests/fastcgi_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/banned.h"

#define PATIENCE_MS 20000

static char folder[] = "/tmp/spendgate-prefork-XXXXXX";
static char path[64];
static char address[72];

static void
set_up(void)
{
    memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6);
    if (mkdtemp(folder) == NULL)
        abort();
    snprintf(path, sizeof(path), "%s/socket", folder);
    snprintf(address, sizeof(address), "unix:%s", path);
}

static void
tear_down(void)
{
    unlink(path);
    rmdir(folder);
}

/* Sockets */

static void
test_a_unix_socket_gets_exactly_its_mode(void)
{
    static const mode_t modes[] = { 0600, 0660, 0666, 0777 };
    static const mode_t masks[] = { 0, 022, 0777 };

    set_up();
    for (size_t m = 0; m < CHECK_COUNT(masks); m++) {
        mode_t saved = umask(masks[m]);

        for (size_t i = 0; i < CHECK_COUNT(modes); i++) {
            struct error err;
            struct stat info;
            int fd;

            CHECK_STATUS(STATUS_OK, listen_open(address, modes[i], &fd, &err), &err);
            CHECK_INT("stat", 0, stat(path, &info));
            CHECK_INT("mode", modes[i], info.st_mode & 07777);
            CHECK_INT("close-on-exec", FD_CLOEXEC, fcntl(fd, F_GETFD));
            close(fd);
        }
        umask(saved);
    }
    tear_down();
}

static void
test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(void)
{
    struct error err;
    char want[200];
    int first;
    int second;

    set_up();
    CHECK_STATUS(STATUS_OK, listen_open(address, 0600, &first, &err), &err);
    CHECK_STATUS(STATUS_CONFLICT, listen_open(address, 0600, &second, &err), &err);
    snprintf(want, sizeof(want), "%s: another process listens there", address);
    CHECK_STRING("message", want, err.message);
    CHECK_INT("no descriptor", -1, second);
    close(first);
    CHECK_STATUS(STATUS_OK, listen_open(address, 0600, &second, &err), &err);
    first = client_connect_unix(path);
    CHECK_TRUE("works", first >= 0);
    close(first);
    close(second);
    tear_down();
}

static void
test_a_socket_with_a_full_queue_is_live(void)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    struct error err;
    int full = socket(AF_UNIX, SOCK_STREAM, 0);
    int waiting;
    int refused;

    set_up();
    snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
    CHECK_INT("bind", 0, bind(full, (struct sockaddr *)&name, sizeof(name)));
    CHECK_INT("listen", 0, listen(full, 0));
    waiting = client_connect_unix(path);
    CHECK_STATUS(STATUS_CONFLICT, listen_open(address, 0600, &refused, &err), &err);
    close(waiting);
    close(full);
    tear_down();
}

static void
test_a_file_that_is_no_socket_is_left_alone(void)
{
    struct error err;
    struct stat info;
    char want[200];
    int fd;

    set_up();
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    CHECK_STATUS(STATUS_CONFLICT, listen_open(address, 0600, &fd, &err), &err);
    snprintf(want, sizeof(want), "%s: exists and is not a socket", address);
    CHECK_STRING("message", want, err.message);
    CHECK_INT("still there", 0, stat(path, &info));
    tear_down();
}

/* Eight starters find one stale socket; one gets it, and what clients then reach is alive. */
static void
test_starters_do_not_steal_a_socket_from_each_other(void)
{
    for (int round = 0; round < 10; round++) {
        struct error err;
        int stale;
        int start[2];
        int hold[2];
        int winners = 0;
        pid_t pids[8];

        set_up();
        CHECK_STATUS(STATUS_OK, listen_open(address, 0600, &stale, &err), &err);
        close(stale);
        if (pipe(start) != 0 || pipe(hold) != 0)
            abort();
        for (size_t i = 0; i < 8; i++) {
            pids[i] = fork();
            if (pids[i] == 0) {
                char byte;
                int fd;
                enum status status;

                close(start[1]);
                close(hold[1]);
                (void)!read(start[0], &byte, 1); /* ends when the parent closes */
                status = listen_open(address, 0600, &fd, &err);
                if (status != STATUS_OK)
                    _exit(status == STATUS_CONFLICT ? 1 : 2);
                (void)!read(hold[0], &byte, 1);
                _exit(0);
            }
        }
        close(start[0]);
        close(start[1]);
        for (size_t i = 0; i < 7; i++) { /* the losers end, the winner holds on */
            int status;

            CHECK_TRUE("ended", waitpid(-1, &status, 0) > 0);
            CHECK_INT("lost", 1, WEXITSTATUS(status));
        }
        stale = client_connect_unix(path);
        CHECK_TRUE("the winner's socket is there", stale >= 0);
        close(stale);
        close(hold[0]);
        close(hold[1]);
        for (size_t i = 0; i < 8; i++) {
            int status;

            winners += waitpid(pids[i], &status, 0) > 0 && WEXITSTATUS(status) == 0;
        }
        CHECK_INT("winners", 1, winners);
        tear_down();
    }
}

static void
test_bad_addresses_say_what_is_wrong(void)
{
    static const struct {
        const char *address;
        const char *message;
    } cases[] = {
        { "", ": not an address; want unix:/PATH or HOST:PORT (port 1 to 65535)" },
        { "9000", "9000: not an address; want unix:/PATH or HOST:PORT (port 1 to 65535)" },
        { "/run/x", "/run/x: not an address; want unix:/PATH or HOST:PORT (port 1 to 65535)" },
        { "127.0.0.1:0",
          "127.0.0.1:0: not an address; want unix:/PATH or HOST:PORT (port 1 to 65535)" },
        { "127.0.0.1:65536",
          "127.0.0.1:65536: not an address; want unix:/PATH or HOST:PORT (port 1 to 65535)" },
        { "127.0.0.1:http",
          "127.0.0.1:http: not an address; want unix:/PATH or HOST:PORT (port 1 to 65535)" },
        { ":9000", ":9000: no host, which would listen on every address; say 127.0.0.1:9000, or "
                   "0.0.0.0:9000 if that is meant" },
        { "[]:9000", "[]:9000: no host, which would listen on every address; say 127.0.0.1:9000, "
                     "or 0.0.0.0:9000 if that is meant" },
        { "::1:9000", "::1:9000: write an IPv6 address in brackets: [::1]:9000" },
        { "unix:relative", "unix:relative: the path must begin with /" },
        { "unix:", "unix:: the path must begin with /" },
    };

    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        struct error err;
        int fd;

        CHECK_STATUS(STATUS_INVALID, listen_open(cases[i].address, 0600, &fd, &err), &err);
        CHECK_STRING("message", cases[i].message, err.message);
        CHECK_INT("no descriptor", -1, fd);
    }
}

static void
test_too_long_addresses_are_refused(void)
{
    char text[400];
    struct error err;
    int fd;

    snprintf(text, sizeof(text), "unix:/%0150d", 0);
    CHECK_STATUS(STATUS_INVALID, listen_open(text, 0600, &fd, &err), &err);
    CHECK_TRUE("message", strstr(err.message, "the path is longer than 107 bytes") != NULL);
    snprintf(text, sizeof(text), "%0300d:80", 0);
    CHECK_STATUS(STATUS_INVALID, listen_open(text, 0600, &fd, &err), &err);
    CHECK_TRUE("message", strstr(err.message, "the host is too long") != NULL);
}

static void
test_a_missing_folder_is_named(void)
{
    struct error err;
    char text[200];
    char want[300];
    int fd;

    set_up();
    snprintf(text, sizeof(text), "unix:%s/missing/socket", folder);
    snprintf(want, sizeof(want), "%s: cannot open %s/missing: No such file or directory", text,
             folder);
    CHECK_STATUS(STATUS_IO, listen_open(text, 0600, &fd, &err), &err);
    CHECK_STRING("message", want, err.message);
    tear_down();
}

static uint16_t
free_port(void)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (bind(fd, (struct sockaddr *)&in, sizeof(in)) != 0 ||
        getsockname(fd, (struct sockaddr *)&in, &length) != 0)
        abort();
    close(fd);
    return ntohs(in.sin_port);
}

static void
test_a_tcp_port_is_taken_once(void)
{
    char text[32];
    char want[100];
    struct error err;
    int fd;
    int second;

    snprintf(text, sizeof(text), "127.0.0.1:%u", free_port());
    snprintf(want, sizeof(want), "%s: cannot listen: another process listens there", text);
    CHECK_STATUS(STATUS_OK, listen_open(text, 0600, &fd, &err), &err);
    CHECK_STATUS(STATUS_CONFLICT, listen_open(text, 0600, &second, &err), &err);
    CHECK_STRING("message", want, err.message);
    close(fd);
    CHECK_STATUS(STATUS_OK, listen_open(text, 0600, &fd, &err), &err); /* SO_REUSEADDR */
    close(fd);
}

static void
test_ipv6_in_brackets_and_names_are_addresses(void)
{
    struct sockaddr_in6 loopback = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    bool have_ipv6 = probe >= 0 && bind(probe, (struct sockaddr *)&loopback, sizeof(loopback)) == 0;
    struct error err;
    char text[40];
    int fd;

    snprintf(text, sizeof(text), "localhost:%u", free_port());
    CHECK_STATUS(STATUS_OK, listen_open(text, 0600, &fd, &err), &err);
    close(fd);
    snprintf(text, sizeof(text), "[::1]:%u", free_port());
    CHECK_STATUS(have_ipv6 ? STATUS_OK : STATUS_IO, listen_open(text, 0600, &fd, &err), &err);
    close(fd);
    close(probe);
    CHECK_STATUS(STATUS_INVALID, listen_open("no.such.host.invalid:80", 0600, &fd, &err), &err);
}

/* systemd's sockets: in a child, because descriptor 3 and the environment are the process's. */
static int
inherited_with(const char *fds, long pid_offset, bool listening)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct sockaddr_in in = { .sin_family = AF_INET };
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        char text[32];
        int got;

        if (bind(fd, (struct sockaddr *)&in, sizeof(in)) != 0 || (listening && listen(fd, 1) != 0))
            _exit(90);
        if (fd != 3)
            dup2(fd, 3);
        snprintf(text, sizeof(text), "%ld", (long)getpid() + pid_offset);
        setenv("LISTEN_PID", text, 1);
        if (fds != NULL)
            setenv("LISTEN_FDS", fds, 1);
        got = listen_inherited();
        if (getenv("LISTEN_PID") != NULL || getenv("LISTEN_FDS") != NULL)
            _exit(91);
        if (got == 3 && fcntl(3, F_GETFD) != FD_CLOEXEC)
            _exit(92);
        _exit(got == 3 ? 3 : got == -1 ? 1 : 93);
    }
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static void
test_a_socket_of_systemd_is_taken_if_it_is_for_us_and_listens(void)
{
    CHECK_INT("one", 3, inherited_with("1", 0, true));
    CHECK_INT("two", 3, inherited_with("2", 0, true));
    CHECK_INT("of another process", 1, inherited_with("1", 1, true));
    CHECK_INT("none", 1, inherited_with("0", 0, true));
    CHECK_INT("not a number", 1, inherited_with("one", 0, true));
    CHECK_INT("no variable", 1, inherited_with(NULL, 0, true));
    CHECK_INT("does not listen", 1, inherited_with("1", 0, false));
}

/* The master */

enum child_kind { CHILD_SERVES, CHILD_DIES, CHILD_DIES_TWELVE_TIMES, CHILD_HANGS };

struct fixture {
    enum child_kind kind;
    int workers;
    int listen_fd;
    int log[2];     /* the master's standard error */
    int *starts;    /* shared: how often a child was started */
    int generation; /* counted by reload */
    bool refuse_reload;
    pid_t master;
};

static volatile sig_atomic_t stopped;

static void
on_term(int number)
{
    (void)number;
    stopped = 1;
}

/* One connection at a time; after SIGTERM the one in hand is finished. */
static int
serve(const struct fixture *f)
{
    struct sigaction action = { .sa_handler = on_term };
    sigset_t term;
    sigset_t none;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, &none);
    sigaction(SIGTERM, &action, NULL);
    while (!stopped) {
        struct pollfd polled = { .fd = f->listen_fd, .events = POLLIN };
        char text[64];
        char byte;
        int fd;

        if (ppoll(&polled, 1, NULL, &none) != 1)
            continue;
        fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        snprintf(text, sizeof(text), "%d %d\n", (int)getpid(), f->generation);
        while (read(fd, &byte, 1) == 1)
            (void)!write(fd, text, strlen(text));
        close(fd);
    }
    return 0;
}

static int
child(void *context)
{
    const struct fixture *f = context;
    int start = __atomic_add_fetch(f->starts, 1, __ATOMIC_SEQ_CST);

    if (f->kind == CHILD_DIES || (f->kind == CHILD_DIES_TWELVE_TIMES && start <= 12))
        return 9;
    if (f->kind == CHILD_HANGS) {
        signal(SIGTERM, SIG_IGN);
        for (;;)
            pause();
    }
    return serve(f);
}

static enum status
reload(void *context, struct error *err)
{
    struct fixture *f = context;

    if (f->refuse_reload)
        return error_set(err, STATUS_INVALID, "x.conf:7: the test says no");
    f->generation++;
    return STATUS_OK;
}

static void
start(struct fixture *f)
{
    struct error err;

    set_up();
    f->starts = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK_STATUS(STATUS_OK, listen_open(address, 0600, &f->listen_fd, &err), &err);
    fcntl(f->listen_fd, F_SETFL, O_NONBLOCK);
    if (f->starts == MAP_FAILED || pipe2(f->log, O_CLOEXEC | O_NONBLOCK) != 0)
        abort();
    f->master = fork();
    if (f->master == 0) {
        const struct prefork prefork = {
            .workers = f->workers, .child = child, .reload = reload, .context = f
        };

        dup2(f->log[1], STDERR_FILENO);
        _exit(prefork_run(&prefork));
    }
    close(f->log[1]);
}

/* The exit code, or -signal; -1000 when it does not end. */
static int
wait_for(pid_t pid)
{
    int64_t end_ms = client_now_ms() + PATIENCE_MS;
    int status;
    pid_t ended;

    while ((ended = waitpid(pid, &status, WNOHANG)) == 0) {
        if (client_now_ms() > end_ms) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1000;
        }
        poll(NULL, 0, 2);
    }
    if (ended != pid)
        abort();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void
clean(struct fixture *f)
{
    close(f->listen_fd);
    close(f->log[0]);
    munmap(f->starts, sizeof(int));
    tear_down();
}

static void
finish(struct fixture *f)
{
    kill(f->master, SIGTERM);
    CHECK_INT("the master's exit", 0, wait_for(f->master));
    clean(f);
}

static bool
ask_on(int fd, pid_t *pid, int *generation)
{
    char text[64];
    char *space;
    ssize_t length;
    int64_t number = 0;

    if (fd < 0 || send(fd, "?", 1, MSG_NOSIGNAL) != 1)
        return false;
    length = recv(fd, text, sizeof(text) - 1, 0);
    if (length <= 0)
        return false;
    text[length - 1] = '\0';
    space = strchr(text, ' ');
    *generation = space[1] - '0';
    *space = '\0';
    if (space[2] != '\0')
        return false;
    for (const char *digit = text; *digit != '\0'; digit++)
        number = number * 10 + (*digit - '0');
    *pid = (pid_t)number;
    return true;
}

static bool
ask(pid_t *pid, int *generation)
{
    int fd = client_connect_unix(path);
    bool answered = ask_on(fd, pid, generation);

    close(fd);
    return answered;
}

/* The log up to now, waiting until it contains `text`. */
static bool
log_has(struct fixture *f, const char *text)
{
    static char all[100000];
    static int of_log = -1;
    static size_t length;
    int64_t end_ms = client_now_ms() + PATIENCE_MS;

    if (of_log != f->master) {
        of_log = f->master;
        length = 0;
    }
    do {
        ssize_t count = read(f->log[0], all + length, sizeof(all) - 1 - length);

        if (count > 0)
            length += (size_t)count;
        all[length] = '\0';
        if (strstr(all, text) != NULL)
            return true;
        poll(NULL, 0, 2);
    } while (client_now_ms() < end_ms);
    return false;
}

static void
wait_for_starts(const struct fixture *f, int count)
{
    int64_t end_ms = client_now_ms() + PATIENCE_MS;

    while (__atomic_load_n(f->starts, __ATOMIC_SEQ_CST) < count && client_now_ms() < end_ms)
        poll(NULL, 0, 2);
    CHECK_TRUE("started", __atomic_load_n(f->starts, __ATOMIC_SEQ_CST) >= count);
}

static void
test_children_serve_and_a_killed_one_is_replaced_at_once(void)
{
    struct fixture f = { .kind = CHILD_SERVES, .workers = 1 };
    pid_t first;
    pid_t second;
    int generation;
    int64_t start_ms;

    start(&f);
    CHECK_TRUE("answer", ask(&first, &generation));
    start_ms = client_now_ms();
    kill(first, SIGKILL);
    CHECK_TRUE("answer after the kill", ask(&second, &generation));
    CHECK_TRUE("another process", second != first);
    CHECK_TRUE("at once", client_now_ms() - start_ms < 900);
    CHECK_TRUE("logged", log_has(&f, "event=child_died"));
    CHECK_TRUE("how", log_has(&f, "how=\"signal 9\""));
    finish(&f);
}

static void
test_every_worker_is_started(void)
{
    struct fixture f = { .kind = CHILD_SERVES, .workers = 5 };
    int fds[5];
    pid_t pids[5];

    start(&f);
    for (int i = 0; i < 5; i++) { /* each connection keeps one child busy */
        int generation;

        fds[i] = client_connect_unix(path);
        CHECK_TRUE("answer", ask_on(fds[i], &pids[i], &generation));
        for (int j = 0; j < i; j++)
            CHECK_TRUE("another process", pids[i] != pids[j]);
    }
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    finish(&f);
}

static void
test_stop_signals_finish_the_request_in_hand(void)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGUSR1 };

    for (size_t i = 0; i < CHECK_COUNT(signals); i++) {
        struct fixture f = { .kind = CHILD_SERVES, .workers = 2 };
        int generation;
        pid_t pid;
        int fd;

        start(&f);
        fd = client_connect_unix(path);
        CHECK_TRUE("in hand", ask_on(fd, &pid, &generation));
        kill(f.master, signals[i]);
        poll(NULL, 0, 50);
        CHECK_TRUE("still answered", ask_on(fd, &pid, &generation));
        close(fd);
        CHECK_INT("exit", 0, wait_for(f.master));
        CHECK_INT("no child is left", -1, kill(pid, 0));
        clean(&f);
    }
}

static void
test_a_child_that_does_not_end_is_killed_after_ten_seconds(void)
{
    struct fixture f = { .kind = CHILD_HANGS, .workers = 2 };
    int64_t start_ms;

    start(&f);
    wait_for_starts(&f, 2);
    poll(NULL, 0, 50); /* until they ignore the signal */
    start_ms = client_now_ms();
    kill(f.master, SIGTERM);
    CHECK_INT("exit", 0, wait_for(f.master));
    CHECK_TRUE("not before", client_now_ms() - start_ms >= 9900);
    CHECK_TRUE("soon after", client_now_ms() - start_ms < 13000);
    CHECK_TRUE("logged", log_has(&f, "event=child_killed"));
    clean(&f);
}

static void
test_reload_replaces_the_children_and_refuses_no_connection(void)
{
    struct fixture f = { .kind = CHILD_SERVES, .workers = 3 };
    int newest = 0;
    int generation;
    int busy;
    pid_t busy_pid;
    pid_t pid;

    start(&f);
    busy = client_connect_unix(path);
    CHECK_TRUE("in hand", ask_on(busy, &busy_pid, &generation));
    for (int round = 1; round <= 3; round++) {
        int64_t end_ms = client_now_ms() + PATIENCE_MS;

        kill(f.master, SIGHUP);
        do {
            if (!CHECK_TRUE("answered", ask(&pid, &newest)))
                break;
        } while (newest < round && client_now_ms() < end_ms);
        CHECK_INT("generation", round, newest);
    }
    CHECK_TRUE("the request in hand goes on", ask_on(busy, &pid, &generation));
    CHECK_INT("in the old child", busy_pid, pid);
    close(busy);
    CHECK_TRUE("logged", log_has(&f, "event=reloaded"));
    finish(&f);
}

static void
test_a_refused_reload_changes_nothing(void)
{
    struct fixture f = { .kind = CHILD_SERVES, .workers = 1, .refuse_reload = true };
    int generation;
    pid_t first;
    pid_t second;

    start(&f);
    CHECK_TRUE("answer", ask(&first, &generation));
    kill(f.master, SIGHUP);
    CHECK_TRUE("logged", log_has(&f, "event=reload_refused"));
    CHECK_TRUE("why", log_has(&f, "x.conf:7: the test says no"));
    CHECK_TRUE("answer", ask(&second, &generation));
    CHECK_INT("the same child", first, second);
    CHECK_INT("the same settings", 0, generation);
    finish(&f);
}

static void
test_a_crash_loop_is_slowed_and_logged(void)
{
    struct fixture f = { .kind = CHILD_DIES, .workers = 1 };

    start(&f);
    CHECK_TRUE("logged", log_has(&f, "from now on it is restarted once a second"));
    CHECK_INT("ten more tries came at once", 11, __atomic_load_n(f.starts, __ATOMIC_SEQ_CST));
    poll(NULL, 0, 2500);
    CHECK_TRUE("then two or three", *f.starts >= 12 && *f.starts <= 14);
    CHECK_TRUE("how", log_has(&f, "how=\"exit 9\""));
    finish(&f);
}

static void
test_a_crash_loop_that_ends_is_forgotten(void)
{
    struct fixture f = { .kind = CHILD_DIES_TWELVE_TIMES, .workers = 1 };
    int generation;
    int64_t start_ms;
    pid_t pid;

    start(&f);
    wait_for_starts(&f, 13);
    poll(NULL, 0, 1100); /* it has lived for more than a second */
    CHECK_TRUE("answer", ask(&pid, &generation));
    start_ms = client_now_ms();
    kill(pid, SIGKILL);
    CHECK_TRUE("answer", ask(&pid, &generation));
    CHECK_TRUE("at once again", client_now_ms() - start_ms < 900);
    finish(&f);
}

static void
test_children_end_when_the_master_is_killed(void)
{
    struct fixture f = { .kind = CHILD_SERVES, .workers = 1 };
    int64_t end_ms = client_now_ms() + PATIENCE_MS;
    int generation;
    pid_t pid;

    start(&f);
    CHECK_TRUE("answer", ask(&pid, &generation));
    kill(f.master, SIGKILL);
    CHECK_INT("killed", -SIGKILL, wait_for(f.master));
    close(f.listen_fd);
    f.listen_fd = -1;
    /* An orphan may stay a zombie when nobody reaps it, so look for its socket instead. */
    while (ask(&pid, &generation) && client_now_ms() < end_ms)
        poll(NULL, 0, 2);
    CHECK_FALSE("nobody serves", ask(&pid, &generation));
    clean(&f);
}

static void
test_a_senseless_number_of_workers_is_refused(void)
{
    const struct prefork none = { .workers = 0, .child = child };
    const struct prefork many = { .workers = 1025, .child = child };

    CHECK_INT("none", 1, prefork_run(&none));
    CHECK_INT("many", 1, prefork_run(&many));
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_a_unix_socket_gets_exactly_its_mode),
        CHECK_TEST(test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not),
        CHECK_TEST(test_a_socket_with_a_full_queue_is_live),
        CHECK_TEST(test_a_file_that_is_no_socket_is_left_alone),
        CHECK_TEST(test_starters_do_not_steal_a_socket_from_each_other),
        CHECK_TEST(test_bad_addresses_say_what_is_wrong),
        CHECK_TEST(test_too_long_addresses_are_refused),
        CHECK_TEST(test_a_missing_folder_is_named),
        CHECK_TEST(test_a_tcp_port_is_taken_once),
        CHECK_TEST(test_ipv6_in_brackets_and_names_are_addresses),
        CHECK_TEST(test_a_socket_of_systemd_is_taken_if_it_is_for_us_and_listens),
        CHECK_TEST(test_children_serve_and_a_killed_one_is_replaced_at_once),
        CHECK_TEST(test_every_worker_is_started),
        CHECK_TEST(test_stop_signals_finish_the_request_in_hand),
        CHECK_TEST(test_a_child_that_does_not_end_is_killed_after_ten_seconds),
        CHECK_TEST(test_reload_replaces_the_children_and_refuses_no_connection),
        CHECK_TEST(test_a_refused_reload_changes_nothing),
        CHECK_TEST(test_a_crash_loop_is_slowed_and_logged),
        CHECK_TEST(test_a_crash_loop_that_ends_is_forgotten),
        CHECK_TEST(test_children_end_when_the_master_is_killed),
        CHECK_TEST(test_a_senseless_number_of_workers_is_refused),
    };

    signal(SIGPIPE, SIG_IGN);
    return check_main("prefork", tests, CHECK_COUNT(tests));
}
