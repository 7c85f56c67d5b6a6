/* SPDX-License-Identifier: MIT */
/* Listening sockets and the master with its children; see prefork.h. */
#include "common/prefork.h"

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/banned.h"

#define HOST_SIZE 256
#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */
#define DEFER_SECONDS 1
#define DIRECTORY_LOCK_MS 5000
#define FIRST_INHERITED 3 /* SD_LISTEN_FDS_START */

#define WORKERS_MAX 1024
#define QUICK_DEATH_US US_PER_SECOND
#define QUICK_DEATHS_MAX 10
#define SLOW_RESTART_US US_PER_SECOND
#define STOP_GRACE_US (10 * US_PER_SECOND)

/* Unix sockets */

static enum status
unix_address(const char *path, struct sockaddr_un *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    out->sun_family = AF_UNIX;
    if (path[0] != '/')
        return error_set(err, STATUS_INVALID, "unix:%s: the path must begin with /", path);
    if (!text_copy(out->sun_path, sizeof(out->sun_path), path))
        return error_set(err, STATUS_INVALID, "unix:%s: the path is longer than %zu bytes", path,
                         sizeof(out->sun_path) - 1);
    return STATUS_OK;
}

/*
 * Two starters that find the same stale socket must not both replace it. They wait for each other
 * with a lock on the folder, which leaves no file behind.
 */
static enum status
lock_directory(const char *path, int *fd, struct error *err)
{
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    char directory[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    char *slash;

    if (!text_copy(directory, sizeof(directory), path))
        return error_set(err, STATUS_INVALID, "unix:%s: the path is too long", path);
    slash = strrchr(directory, '/');
    slash[slash == directory ? 1 : 0] = '\0';
    *fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return error_set(err, STATUS_IO, "unix:%s: cannot open %s: %s", path, directory,
                         strerror(errno));
    for (int waited_ms = 0; flock(*fd, LOCK_EX | LOCK_NB) != 0; waited_ms += 10) {
        int error = errno;

        if ((error == EWOULDBLOCK || error == EINTR) && waited_ms < DIRECTORY_LOCK_MS) {
            (void)nanosleep(&pause, NULL);
            continue;
        }
        close(*fd);
        *fd = -1;
        return error_set(err, error == EWOULDBLOCK ? STATUS_BUSY : STATUS_IO,
                         "unix:%s: cannot lock %s: %s", path, directory, strerror(error));
    }
    return STATUS_OK;
}

/* Whether `address` can be bound, after a stale socket was removed. */
static enum status
clear_path(const struct sockaddr_un *address, struct error *err)
{
    const char *path = address->sun_path;
    struct stat info;
    int probe;
    int error;

    if (lstat(path, &info) != 0)
        return errno == ENOENT ? STATUS_OK
                               : error_set(err, STATUS_IO, "unix:%s: %s", path, strerror(errno));
    if (!S_ISSOCK(info.st_mode))
        return error_set(err, STATUS_CONFLICT, "unix:%s: exists and is not a socket", path);
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return error_set(err, STATUS_IO, "socket: %s", strerror(errno));
    error = connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : errno;
    close(probe);
    if (error == ECONNREFUSED) {
        if (unlink(path) != 0)
            return error_set(err, STATUS_IO, "unix:%s: cannot remove the stale socket: %s", path,
                             strerror(errno));
        return STATUS_OK;
    }
    if (error == 0 || error == EAGAIN || error == EPROTOTYPE) /* EAGAIN: its queue is full */
        return error_set(err, STATUS_CONFLICT, "unix:%s: another process listens there", path);
    return error_set(err, STATUS_IO, "unix:%s: cannot tell whether it is in use: %s", path,
                     strerror(error));
}

static enum status
bind_unix(const char *path, mode_t mode, int *fd, struct error *err)
{
    enum status status;
    struct sockaddr_un address;
    mode_t saved;
    int directory = -1;
    int result;

    status = unix_address(path, &address, err);
    if (status == STATUS_OK)
        status = lock_directory(path, &directory, err);
    if (status == STATUS_OK)
        status = clear_path(&address, err);
    if (status != STATUS_OK)
        goto out;
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0) {
        status = error_set(err, STATUS_IO, "socket: %s", strerror(errno));
        goto out;
    }
    saved = umask(~mode & 0777); /* so that it never exists with more permissions than it gets */
    result = bind(*fd, (const struct sockaddr *)&address, sizeof(address));
    (void)umask(saved);
    if (result != 0)
        status = error_set(err, STATUS_IO, "unix:%s: cannot bind: %s", path, strerror(errno));
    else if (listen(*fd, BACKLOG) != 0)
        status = error_set(err, STATUS_IO, "unix:%s: cannot listen: %s", path, strerror(errno));
out:
    if (directory >= 0)
        close(directory);
    return status;
}

/* TCP sockets */

/* "HOST:PORT" or "[IPV6]:PORT" in two. */
static enum status
split_address(const char *text, char host[HOST_SIZE], char port[8], struct error *err)
{
    const char *colon = strrchr(text, ':');
    const char *start = text;
    size_t length = colon == NULL ? 0 : (size_t)(colon - text);
    int64_t number;

    if (colon == NULL || !text_to_int64(colon + 1, 1, 65535, &number) ||
        !text_copy(port, 8, colon + 1))
        return error_set(err, STATUS_INVALID,
                         "%s: not an address; want unix:/PATH or HOST:PORT (port 1 to 65535)",
                         text);
    if (length >= 2 && text[0] == '[' && colon[-1] == ']') {
        start++;
        length -= 2;
    } else if (memchr(text, ':', length) != NULL) {
        return error_set(err, STATUS_INVALID, "%s: write an IPv6 address in brackets: [::1]:9000",
                         text);
    }
    if (length == 0)
        return error_set(err, STATUS_INVALID,
                         "%s: no host, which would listen on every address; say 127.0.0.1:%s, or "
                         "0.0.0.0:%s if that is meant",
                         text, port, port);
    if (length >= HOST_SIZE)
        return error_set(err, STATUS_INVALID, "%s: the host is too long", text);
    memcpy(host, start, length);
    host[length] = '\0';
    return STATUS_OK;
}

static enum status
bind_tcp(const char *text, int *fd, struct error *err)
{
    const struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                    .ai_socktype = SOCK_STREAM };
    struct addrinfo *list = NULL;
    char host[HOST_SIZE];
    char port[8];
    enum status status = split_address(text, host, port, err);
    const int on = 1;
    const int defer = DEFER_SECONDS;
    int result;

    if (status != STATUS_OK)
        return status;
    result = getaddrinfo(host, port, &hints, &list);
    if (result != 0)
        return error_set(err, STATUS_INVALID, "%s: %s", text, gai_strerror(result));
    *fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0) {
        status = error_set(err, STATUS_IO, "%s: socket: %s", text, strerror(errno));
        goto out;
    }
    if (list->ai_family == AF_INET6)
        (void)setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    (void)setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    /* The kernel hands out a connection when its first bytes are there: the worker's wait less. */
    (void)setsockopt(*fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof(defer));
    if (bind(*fd, list->ai_addr, list->ai_addrlen) != 0 || listen(*fd, BACKLOG) != 0)
        status = error_set(err, errno == EADDRINUSE ? STATUS_CONFLICT : STATUS_IO,
                           "%s: cannot listen: %s", text,
                           errno == EADDRINUSE ? "another process listens there" : strerror(errno));
out:
    freeaddrinfo(list);
    return status;
}

enum status
listen_open(const char *address, mode_t socket_mode, int *fd, struct error *err)
{
    enum status status;

    *fd = -1;
    if (strncmp(address, "unix:", 5) == 0)
        status = bind_unix(address + 5, socket_mode, fd, err);
    else
        status = bind_tcp(address, fd, err);
    if (status != STATUS_OK && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

int
listen_inherited(void)
{
    const char *pid_text = getenv("LISTEN_PID");
    const char *count_text = getenv("LISTEN_FDS");
    int64_t pid = 0;
    int64_t count = 0;
    int listening = 0;
    socklen_t size = sizeof(listening);
    bool ours = pid_text != NULL && count_text != NULL &&
                text_to_int64(pid_text, 1, INT32_MAX, &pid) &&
                text_to_int64(count_text, 1, INT32_MAX, &count) && pid == getpid();

    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    if (!ours || getsockopt(FIRST_INHERITED, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 ||
        listening == 0 || fcntl(FIRST_INHERITED, F_SETFD, FD_CLOEXEC) != 0)
        return -1;
    return FIRST_INHERITED;
}

/* The master */

struct child {
    pid_t pid; /* 0: none */
    int64_t started_us;
    int64_t start_at_us; /* none: not before this time */
    unsigned quick_deaths;
};

struct leaver { /* was told to end */
    pid_t pid;
    int64_t kill_at_us;
};

struct master {
    const struct prefork *prefork;
    struct clock clock;
    sigset_t signals;  /* what the master waits for */
    sigset_t original; /* the mask it was started with, which children get back */
    size_t child_count;
    struct child children[WORKERS_MAX];
    size_t leaver_count;
    struct leaver leavers[2 * WORKERS_MAX];
    bool stopping;
};

static void
run_child(const struct master *master, pid_t parent)
{
    const int signals[] = { SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGCHLD };
    const struct sigaction fresh = { .sa_handler = SIG_DFL };

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaction(signals[i], &fresh, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it died before it could be watched */
        _exit(0);
    (void)sigprocmask(SIG_SETMASK, &master->original, NULL);
    exit(master->prefork->child(master->prefork->context));
}

static void
start_child(struct master *master, struct child *child)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0)
        run_child(master, parent);
    child->started_us = clock_boot_us(&master->clock);
    if (pid < 0) {
        log_event(LOG_ERROR, "fork", "message", strerror(errno), "retry", "1s", NULL);
        child->start_at_us = child->started_us + SLOW_RESTART_US;
        return;
    }
    child->pid = pid;
}

static void
start_children(struct master *master)
{
    int64_t now_us = clock_boot_us(&master->clock);

    for (size_t i = 0; i < master->child_count && !master->stopping; i++) {
        struct child *child = &master->children[i];

        if (child->pid == 0 && child->start_at_us <= now_us)
            start_child(master, child);
    }
}

static void
retire(struct master *master, pid_t pid)
{
    (void)kill(pid, SIGTERM);
    if (master->leaver_count < sizeof(master->leavers) / sizeof(master->leavers[0]))
        master->leavers[master->leaver_count++] =
            (struct leaver){ .pid = pid,
                             .kill_at_us = clock_boot_us(&master->clock) + STOP_GRACE_US };
    else /* reloaded over and over: this one gets no grace */
        (void)kill(pid, SIGKILL);
}

static void
kill_overdue(struct master *master)
{
    int64_t now_us = clock_boot_us(&master->clock);

    for (size_t i = 0; i < master->leaver_count; i++) {
        struct leaver *leaver = &master->leavers[i];

        if (leaver->kill_at_us > now_us)
            continue;
        log_event(LOG_WARN, "child_killed", "message",
                  "it had not finished its request 10 s after it was told to end", NULL);
        (void)kill(leaver->pid, SIGKILL);
        leaver->kill_at_us = INT64_MAX;
    }
}

static void
log_death(pid_t pid, int status, bool slowed)
{
    char number[32];
    char how[48];
    struct buf text;

    buf_init(&text, number, sizeof(number));
    buf_add_int(&text, pid);
    buf_init(&text, how, sizeof(how));
    buf_add_format(&text, WIFSIGNALED(status) ? "signal %d" : "exit %d",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    log_event(slowed ? LOG_ERROR : LOG_WARN, "child_died", "pid", number, "how", how, "message",
              slowed ? "it dies as soon as it starts; from now on it is restarted once a second"
                     : NULL,
              NULL);
}

static void
reap_child(struct master *master, struct child *child, int status)
{
    int64_t now_us = clock_boot_us(&master->clock);
    bool quick = now_us - child->started_us < QUICK_DEATH_US;

    child->quick_deaths = quick ? child->quick_deaths + 1 : 0;
    log_death(child->pid, status, child->quick_deaths > QUICK_DEATHS_MAX);
    child->pid = 0;
    child->start_at_us =
        child->quick_deaths > QUICK_DEATHS_MAX ? child->started_us + SLOW_RESTART_US : now_us;
}

static void
reap(struct master *master)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < master->child_count; i++) {
            if (master->children[i].pid == pid)
                reap_child(master, &master->children[i], status);
        }
        for (size_t i = 0; i < master->leaver_count; i++) {
            if (master->leavers[i].pid == pid)
                master->leavers[i] = master->leavers[--master->leaver_count];
        }
    }
}

/* Each child's successor runs before it is told to end, so somebody always accepts. */
static void
reload(struct master *master)
{
    struct error err;

    if (master->prefork->reload == NULL)
        return;
    if (master->prefork->reload(master->prefork->context, &err) != STATUS_OK) {
        log_failure("reload_refused", &err, NULL);
        return;
    }
    for (size_t i = 0; i < master->child_count; i++) {
        struct child *child = &master->children[i];
        pid_t old = child->pid;

        *child = (struct child){ .pid = 0 };
        start_child(master, child);
        if (child->pid == 0 && old != 0) { /* no fork, no change; old settings serve on */
            child->pid = old;
            continue;
        }
        if (old != 0)
            retire(master, old);
    }
    log_event(LOG_INFO, "reloaded", NULL);
}

static void
stop(struct master *master)
{
    if (master->stopping)
        return;
    master->stopping = true;
    for (size_t i = 0; i < master->child_count; i++) {
        if (master->children[i].pid != 0)
            retire(master, master->children[i].pid);
        master->children[i].pid = 0;
    }
}

/* Until the next thing that has its time, at most a minute. */
static struct timespec
wait_time(const struct master *master)
{
    int64_t now_us = clock_boot_us(&master->clock);
    int64_t next_us = now_us + 60 * US_PER_SECOND;

    for (size_t i = 0; i < master->child_count && !master->stopping; i++) {
        const struct child *child = &master->children[i];

        if (child->pid == 0 && child->start_at_us < next_us)
            next_us = child->start_at_us;
    }
    for (size_t i = 0; i < master->leaver_count; i++) {
        if (master->leavers[i].kill_at_us < next_us)
            next_us = master->leavers[i].kill_at_us;
    }
    if (next_us < now_us)
        next_us = now_us;
    return (struct timespec){ .tv_sec = (next_us - now_us) / US_PER_SECOND,
                              .tv_nsec = (next_us - now_us) % US_PER_SECOND * 1000 };
}

static void
serve(struct master *master)
{
    while (!master->stopping || master->leaver_count > 0) {
        struct timespec wait;

        start_children(master);
        kill_overdue(master);
        wait = wait_time(master);
        switch (sigtimedwait(&master->signals, NULL, &wait)) {
        case SIGTERM:
        case SIGINT:
        case SIGUSR1:
            stop(master);
            break;
        case SIGHUP:
            if (!master->stopping)
                reload(master);
            break;
        default: /* SIGCHLD, or the time has come for something */
            break;
        }
        reap(master);
    }
}

int
prefork_run(const struct prefork *prefork)
{
    const int signals[] = { SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGCHLD };
    const struct sigaction fresh = { .sa_handler = SIG_DFL };
    struct master *master;

    if (prefork->workers < 1 || prefork->workers > WORKERS_MAX)
        return 1;
    master = calloc(1, sizeof(*master));
    if (master == NULL)
        return 1;
    master->prefork = prefork;
    master->clock = clock_system();
    master->child_count = (size_t)prefork->workers;
    (void)sigemptyset(&master->signals);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaddset(&master->signals, signals[i]);
    (void)sigaction(SIGCHLD, &fresh, NULL); /* inherited as ignored, it would reap by itself */
    (void)sigprocmask(SIG_BLOCK, &master->signals, &master->original);
    serve(master);
    (void)sigprocmask(SIG_SETMASK, &master->original, NULL);
    free(master);
    return 0;
}
