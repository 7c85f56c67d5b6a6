/* SPDX-License-Identifier: MIT */
/* Options, settings, processes and the request loop of both servers; see server.h. */
#include "common/server.h"

#include "common/buf.h"
#include "common/log.h"
#include "common/prefork.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/banned.h"

#define EXIT_USAGE 2
#define DEFAULT_WORKERS 8
#define WORKERS_MAX 1024
#define DEFAULT_SOCKET_MODE 0660
#define IDLE_MS 5000
#define OPEN_AGAIN_US US_PER_SECOND

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_SANITIZER 1
#endif

struct options {
    const char *config;
    const char *listen;
    mode_t socket_mode;
    int workers;
    bool check;
    bool done; /* --help or --version was answered */
};

struct server {
    const struct server_program *program;
    struct options options;
    struct server_start start;
    struct settings *settings;
    bool problem_reported;
    int listen_fd; /* -1: plain CGI */
};

struct worker {
    const struct server *server;
    void *context; /* NULL: not open, `why` */
    struct error why;
    int64_t tried_us;
};

/* For the signal handler, which gets no argument; set once per process, before the handler. */
static struct request_source *signalled_source;

static void
print_help(const struct server_program *program)
{
    printf(
        "Usage: %s [OPTION]...\n%s\n\n"
        "      --config FILE       settings (else $SPENDGATE_CONFIG, else\n"
        "                          %s/spendgate/spendgate.conf)\n"
        "      --listen ADDR       open unix:/PATH or HOST:PORT and run children on it; without\n"
        "                          it: descriptor 0 (mod_fcgid, lighttpd, spawn-fcgi), a socket\n"
        "                          of systemd, or plain CGI\n"
        "      --socket-mode MODE  permissions of the unix socket (default 0660)\n"
        "      --workers N         children with --listen or systemd (default %d)\n"
        "  -t, --check-config      report every bad value in the settings, then exit\n"
        "      --help              print this, then exit\n"
        "      --version           print the version, then exit\n\n"
        "Signals: TERM and USR1 finish the request in hand, then exit; HUP to the master reads\n"
        "the settings again and replaces the children.\n"
        "Exit status: 0 done, 1 failed, 2 usage or settings.\n",
        program->name, program->summary, SYSCONFDIR, DEFAULT_WORKERS);
}

static bool
parse_mode(const char *text, mode_t *out)
{
    mode_t mode = 0;
    size_t length = strlen(text);

    if (length < 3 || length > 4 || strspn(text, "01234567") != length)
        return false;
    for (; *text != '\0'; text++)
        mode = (mode << 3) | (mode_t)(*text - '0');
    *out = mode;
    return mode <= 0777;
}

static bool
usage_error(const struct server_program *program, const char *problem, const char *value)
{
    fprintf(stderr, "%s: %s: %s\nTry '%s --help'.\n", program->name, value, problem, program->name);
    return false;
}

static bool
take_option(const struct server_program *program, int option, struct options *out)
{
    int64_t number;

    switch (option) {
    case 'c':
        out->config = optarg;
        return true;
    case 'l':
        out->listen = optarg;
        return true;
    case 'm':
        if (!parse_mode(optarg, &out->socket_mode))
            return usage_error(program, "not an octal mode such as 0660", optarg);
        return true;
    case 'w':
        if (!text_to_int64(optarg, 1, WORKERS_MAX, &number))
            return usage_error(program, "not a number of workers from 1 to 1024", optarg);
        out->workers = (int)number;
        return true;
    case 't':
        out->check = true;
        return true;
    case 'h':
        print_help(program);
        out->done = true;
        return true;
    case 'V':
        printf("%s (spendgate) %s\n", program->name, PACKAGE_VERSION);
        out->done = true;
        return true;
    default: /* getopt_long has said what is wrong */
        fprintf(stderr, "Try '%s --help'.\n", program->name);
        return false;
    }
}

static bool
parse_options(const struct server_program *program, int argc, char **argv, struct options *out)
{
    static const struct option long_options[] = {
        { "config", required_argument, NULL, 'c' },
        { "listen", required_argument, NULL, 'l' },
        { "socket-mode", required_argument, NULL, 'm' },
        { "workers", required_argument, NULL, 'w' },
        { "check-config", no_argument, NULL, 't' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    *out = (struct options){ .socket_mode = DEFAULT_SOCKET_MODE, .workers = DEFAULT_WORKERS };
    optind = 1;
    while (!out->done && (option = getopt_long(argc, argv, "t", long_options, NULL)) != -1) {
        if (!take_option(program, option, out))
            return false;
    }
    if (!out->done && optind < argc)
        return usage_error(program, "takes no arguments, only options", argv[optind]);
    return true;
}

/* Nothing but these three is inherited from us. A log line must never end in a database file that
 * was given the number of a closed stderr. */
static bool
open_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
#ifdef CLOSE_RANGE_CLOEXEC /* what whoever started us left open is nobody's further business */
    (void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
#endif
    return fd >= 0;
}

/* The memory holds the Clerk secret key and callers' credentials. */
static void
forbid_core_dumps(void)
{
    const struct rlimit none = { .rlim_cur = 0, .rlim_max = 0 };

    (void)setrlimit(RLIMIT_CORE, &none);
#ifndef UNDER_SANITIZER /* whose leak check attaches to the process */
    (void)prctl(PR_SET_DUMPABLE, 0);
#endif
}

static bool
is_cgi_request(void)
{
    return (getenv("GATEWAY_INTERFACE") != NULL || getenv("REQUEST_METHOD") != NULL) &&
           !request_is_fastcgi();
}

static void
report_problem(void *context, bool warning, const char *text)
{
    struct server *server = context;

    server->problem_reported |= !warning;
    if (server->options.check)
        fprintf(stderr, "%s%s\n", text, warning ? " (warning)" : "");
    else if (!warning || server->options.listen != NULL || !is_cgi_request())
        /* plain CGI reads the settings at each request: a warning would fill the web server's log
         */
        log_event(warning ? LOG_WARN : LOG_ERROR, "settings", "message", text, NULL);
}

static enum status
read_settings(struct server *server, struct settings **out, struct error *err)
{
    const struct settings_problems problems = { .report = report_problem, .context = server };
    enum status status;

    server->problem_reported = false;
    status = settings_open(server->options.config, &problems, out, err);
    if (status == STATUS_OK && server->program->check != NULL)
        status = server->program->check(*out, &problems, err);
    if (status != STATUS_OK) {
        if (!server->problem_reported) /* no value is to blame: a file that cannot be read */
            report_problem(server, false, err->message);
        settings_close(*out);
        *out = NULL;
    }
    return status;
}

static enum status
reload_settings(void *context, struct error *err)
{
    struct server *server = context;
    struct settings *fresh = NULL;
    enum status status = read_settings(server, &fresh, err);

    if (status != STATUS_OK)
        return status;
    settings_close(server->settings);
    server->settings = fresh;
    return STATUS_OK;
}

static void
on_stop_signal(int number)
{
    (void)number;
    request_stop(signalled_source);
}

static void
set_signals(void (*handler)(int), const int *signals, size_t count)
{
    /* SA_RESTART: the request in hand must not notice. Waiting for the next one ends by itself. */
    const struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

    for (size_t i = 0; i < count; i++)
        (void)sigaction(signals[i], &action, NULL);
}

/* A store that is gone is no reason to end: the answers are 503 until it is back. */
static void
open_context(struct worker *worker)
{
    const struct server *server = worker->server;
    int64_t now_us = clock_boot_us(&server->start.clock);

    if (worker->tried_us != 0 && now_us - worker->tried_us < OPEN_AGAIN_US)
        return;
    worker->tried_us = now_us;
    if (server->program->open(server->settings, &server->start, &worker->context, &worker->why) ==
        STATUS_OK)
        return;
    worker->context = NULL;
    log_failure("open", &worker->why, NULL);
}

static void
answer(struct worker *worker, struct request *request)
{
    const struct server_program *program = worker->server->program;
    int64_t now_us = clock_now_us(&worker->server->start.clock);

    if (worker->context == NULL)
        open_context(worker);
    if (worker->context != NULL)
        program->handle(worker->context, request, now_us);
    else if (program->unavailable != NULL)
        program->unavailable(request, &worker->why);
    request_finish(request);
    if (worker->context != NULL && program->after != NULL)
        program->after(worker->context);
}

/* 0, or 1 when requests cannot be accepted any more. */
static int
serve_requests(struct worker *worker, struct request_source *source)
{
    const struct timespec pause = { .tv_nsec = 100 * 1000 * 1000 };
    struct request *request;
    struct error err;

    for (;;) {
        switch (request_accept(source, &request, &err)) {
        case STATUS_OK:
            answer(worker, request);
            break;
        case STATUS_STOP:
            return 0;
        case STATUS_IO:
            log_event(LOG_WARN, "connection", "message", err.message, NULL);
            break;
        case STATUS_UNAVAILABLE:
            log_failure("accept", &err, NULL);
            (void)nanosleep(&pause, NULL);
            break;
        default:
            log_failure("accept", &err, NULL);
            return 1;
        }
    }
}

/* The whole life of a process that serves requests. */
static int
run_worker(void *context)
{
    static const int stop_signals[] = { SIGTERM, SIGUSR1, SIGINT };
    static const int ignored[] = { SIGHUP }; /* for the master, even if sent to all of a name */
    const struct server *server = context;
    struct worker worker = { .server = server };
    struct request_source *source;
    struct error err;
    int code;

    if (request_source_open(server->listen_fd, IDLE_MS, &source, &err) != STATUS_OK) {
        log_failure("start", &err, NULL);
        return 1;
    }
    if (!server->start.plain_cgi) {
        signalled_source = source;
        set_signals(on_stop_signal, stop_signals, 3);
        set_signals(SIG_IGN, ignored, 1);
    }
    open_context(&worker);
    code = serve_requests(&worker, source);
    if (worker.context != NULL)
        server->program->close(worker.context);
    set_signals(SIG_IGN, stop_signals, 3); /* we are ending, and the handler's source goes now */
    request_source_close(source);
    return code;
}

/* A CGI program that only exits leaves the client with the web server's guess. */
static int
refuse_cgi(const struct server_program *program, const struct error *why)
{
    struct request_source *source;
    struct request *request;
    struct error err;

    if (request_source_open(-1, IDLE_MS, &source, &err) != STATUS_OK)
        return EXIT_USAGE;
    if (request_accept(source, &request, &err) == STATUS_OK) {
        if (program->unavailable != NULL)
            program->unavailable(request, why);
        request_finish(request);
    }
    request_source_close(source);
    return EXIT_USAGE;
}

/* Where requests come from. `*code` is set when there is nothing to serve. */
static bool
find_requests(struct server *server, int *code)
{
    struct error err;

    server->listen_fd = -1;
    if (server->options.listen != NULL) {
        enum status status = listen_open(server->options.listen, server->options.socket_mode,
                                         &server->listen_fd, &err);

        if (status != STATUS_OK) {
            log_failure("listen", &err, NULL);
            *code = status == STATUS_INVALID ? EXIT_USAGE : 1;
            return false;
        }
        server->start.workers = server->options.workers;
        return true;
    }
    if (request_is_fastcgi()) {
        server->listen_fd = STDIN_FILENO;
        return true;
    }
    server->listen_fd = listen_inherited();
    if (server->listen_fd >= 0) {
        server->start.workers = server->options.workers;
        return true;
    }
    server->start.plain_cgi = true;
    if (getenv("GATEWAY_INTERFACE") != NULL || getenv("REQUEST_METHOD") != NULL)
        return true;
    *code = EXIT_USAGE;
    return usage_error(server->program,
                       "no FastCGI socket on descriptor 0, none of systemd's, and no CGI request; "
                       "give --listen unix:/PATH or --listen HOST:PORT",
                       "nothing to serve");
}

static int
check_settings(struct server *server)
{
    struct error err;

    if (read_settings(server, &server->settings, &err) != STATUS_OK)
        return EXIT_USAGE;
    printf("%s: no problem found\n", server->settings->file);
    settings_close(server->settings);
    return 0;
}

static int
run_server(struct server *server)
{
    const struct prefork prefork = { .workers = server->start.workers,
                                     .child = run_worker,
                                     .reload = reload_settings,
                                     .context = server };

    if (server->start.workers == 0)
        return run_worker(server);
    log_event(LOG_INFO, "started", "program", server->program->name, "version", PACKAGE_VERSION,
              "listen", server->options.listen != NULL ? server->options.listen : "systemd", NULL);
    return prefork_run(&prefork);
}

/* A web server may pass the words of a query string as arguments of a CGI program (RFC 3875,
 * section 4.4): "?--config+/tmp/mine.conf" would be a stranger's settings. */
static bool
arguments_may_be_a_query(void)
{
    const char *query = getenv("QUERY_STRING");

    return query != NULL && query[0] != '\0' && strchr(query, '=') == NULL && is_cgi_request();
}

int
server_main(int argc, char **argv, const struct server_program *program)
{
    struct server server = { .program = program, .start = { .clock = clock_system() } };
    struct error err;
    int code = 1;

    if (!open_standard_descriptors())
        return 1;
    forbid_core_dumps();
    if (!parse_options(program, arguments_may_be_a_query() ? 1 : argc, argv, &server.options))
        return EXIT_USAGE;
    if (server.options.done)
        return 0;
    if (server.options.check)
        return check_settings(&server);
    /* Settings first: a bad file must not take the socket from a server that runs well. */
    if (read_settings(&server, &server.settings, &err) != STATUS_OK) {
        if (server.options.listen == NULL && !request_is_fastcgi() &&
            getenv("REQUEST_METHOD") != NULL)
            return refuse_cgi(program, &err);
        return EXIT_USAGE;
    }
    if (find_requests(&server, &code))
        code = run_server(&server);
    settings_close(server.settings);
    return code;
}
