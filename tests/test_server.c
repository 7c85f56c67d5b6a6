/* SPDX-License-Identifier: MIT */
/* The life of a program on common/server.h, from outside: tests/server_fixture in each way it can
 * be started. */
#include "common/error.h"
#include "common/settings.h"

#include "tests/check.h"
#include "tests/fastcgi_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/banned.h"

#define PATIENCE_MS 20000
#define OUTPUT_SIZE 65536

static char folder[64];
static char config[96];
static char socket_path[96];
static char store[96];
static char fifo[96];
static char log_path[96];
static char program[4096];
static struct client_bytes sent;
static struct client_answer answer;
static char output[OUTPUT_SIZE]; /* standard output and error of what run() ran */

static void
write_settings(const char *more)
{
    FILE *file = fopen(config, "we");

    fprintf(file,
            "store { url = \"sqlite:%s/x.db\" }\ncache { path = \"%s/cache.db\" }\n"
            "plan \"free\" { budget \"month\" { limit_usd = \"1\"  period = \"month\" } "
            "hold_usd = \"0\" }\ndefault_plan = \"free\"\n%s\n",
            folder, folder, more);
    fclose(file);
}

static void
set_up(void)
{
    snprintf(folder, sizeof(folder), "/tmp/spendgate-server-XXXXXX");
    if (mkdtemp(folder) == NULL)
        abort();
    snprintf(config, sizeof(config), "%s/conf", folder);
    snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
    snprintf(store, sizeof(store), "%s/store", folder);
    snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    snprintf(log_path, sizeof(log_path), "%s/log", folder);
    write_settings("ledger { hold_ttl = \"60s\" }");
    close(open(store, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    if (mkfifo(fifo, 0600) != 0)
        abort();
    setenv("FIXTURE_STORE", store, 1);
    setenv("FIXTURE_FIFO", fifo, 1);
}

static void
tear_down(void)
{
    const char *const files[] = { config, socket_path, store, fifo, log_path };

    for (size_t i = 0; i < CHECK_COUNT(files); i++)
        unlink(files[i]);
    rmdir(folder);
}

static void
read_all(int fd)
{
    size_t length = 0;
    ssize_t count;

    while (length < sizeof(output) - 1 &&
           (count = read(fd, output + length, sizeof(output) - 1 - length)) > 0)
        length += (size_t)count;
    output[length] = '\0';
}

/* The log of a program that start() started, until it contains `text`. */
static bool
log_has(const char *text)
{
    int64_t end_ms = client_now_ms() + PATIENCE_MS;

    do {
        int fd = open(log_path, O_RDONLY | O_CLOEXEC);

        read_all(fd);
        close(fd);
        if (strstr(output, text) != NULL)
            return true;
        poll(NULL, 0, 5);
    } while (client_now_ms() < end_ms);
    return false;
}

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

enum input { INPUT_NULL, INPUT_SOCKET, INPUT_INHERITED, INPUT_CLOSED };

static int
listen_unix(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 16) != 0)
        abort();
    return fd;
}

static void
execute(enum input input, const char *const *arguments, int listener, int out)
{
    char pid[32];

    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    if (input == INPUT_SOCKET) {
        dup2(listener, STDIN_FILENO);
    } else {
        dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
    }
    if (input == INPUT_INHERITED) {
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        if (dup2(listener, 3) != 3)
            abort();
        fcntl(3, F_SETFD, 0);
    }
    if (input == INPUT_CLOSED) {
        for (int fd = 0; fd <= STDERR_FILENO; fd++)
            close(fd);
    }
    execv(program, (char *const *)(uintptr_t)arguments);
    _exit(99);
}

/* Start the program with `listener` as its input; what it says goes to the log. */
static pid_t
start(enum input input, int listener, const char *const *arguments)
{
    pid_t pid = fork();

    if (pid == 0)
        execute(input, arguments, listener,
                open(log_path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
    return pid;
}

/* Run it to its end: the exit code, and what it said in `output`. */
static int
run(const char *const *arguments)
{
    int both[2];
    pid_t pid;

    if (pipe2(both, O_CLOEXEC) != 0)
        abort();
    pid = fork();
    if (pid == 0)
        execute(INPUT_NULL, arguments, -1, both[1]);
    close(both[1]);
    read_all(both[0]);
    close(both[0]);
    return wait_for(pid);
}

static const char *
ask_for(const char *what)
{
    const char *const pairs[] = { "DO", what, NULL };
    int64_t end_ms = client_now_ms() + PATIENCE_MS;
    int fd;

    while ((fd = client_connect_unix(socket_path)) < 0 && client_now_ms() < end_ms)
        poll(NULL, 0, 2);
    client_request(&sent, CLIENT_AUTHORIZER, false, pairs, NULL);
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
    client_take(fd, &answer);
    close(fd);
    return answer.text;
}

/* The number after `name`= in the last answer; -1: not there. */
static int64_t
answered(const char *name)
{
    const char *at = strstr(answer.text, name);
    int64_t number = 0;

    if (at == NULL || at[strlen(name)] != '=')
        return -1;
    for (at += strlen(name) + 1; *at >= '0' && *at <= '9'; at++)
        number = number * 10 + (*at - '0');
    return number;
}

static void
stop(pid_t pid, int number)
{
    kill(pid, number);
    CHECK_INT("exit", 0, wait_for(pid));
}

static void
test_help_and_version_are_answered(void)
{
    const char *const help[] = { "spendgate-fixture", "--help", NULL };
    const char *const version[] = { "spendgate-fixture", "--version", NULL };

    set_up();
    CHECK_INT("exit", 0, run(help));
    CHECK_TRUE("usage", strncmp("Usage: spendgate-fixture [OPTION]...\n", output, 37) == 0);
    for (size_t i = 0; i < 7; i++) {
        static const char *const options[] = { "--config FILE",      "--listen ADDR",
                                               "--socket-mode MODE", "--workers N",
                                               "-t, --check-config", "--help",
                                               "--version" };

        CHECK_TRUE(options[i], strstr(output, options[i]) != NULL);
    }
    CHECK_INT("exit", 0, run(version));
    CHECK_STRING("version", "spendgate-fixture (spendgate) " PACKAGE_VERSION "\n", output);
    tear_down();
}

static void
test_bad_usage_is_exit_2_and_says_what_is_wrong(void)
{
    static const struct {
        const char *option, *value, *message;
    } cases[] = {
        { "--nonsense", NULL, "--nonsense" },
        { "--config", NULL, "--config" },
        { "extra", NULL, "extra: takes no arguments, only options\n" },
        { "--workers", "0", "0: not a number of workers from 1 to 1024\n" },
        { "--workers", "1025", "1025: not a number of workers from 1 to 1024\n" },
        { "--workers", "four", "four: not a number of workers from 1 to 1024\n" },
        { "--socket-mode", "0888", "0888: not an octal mode such as 0660\n" },
        { "--socket-mode", "1777", "1777: not an octal mode such as 0660\n" },
        { "--socket-mode", "66", "66: not an octal mode such as 0660\n" },
        { "--socket-mode", "rw", "rw: not an octal mode such as 0660\n" },
    };

    set_up();
    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        const char *const arguments[] = { "spendgate-fixture", cases[i].option, cases[i].value,
                                          NULL };

        CHECK_INT(cases[i].message, 2, run(arguments));
        CHECK_TRUE(cases[i].message, strstr(output, cases[i].message) != NULL);
        CHECK_TRUE("hint", strstr(output, "Try 'spendgate-fixture --help'.\n") != NULL);
    }
    tear_down();
}

static void
test_check_config_tells_every_problem_and_exits_2_or_0(void)
{
    const char *const shortly[] = { "spendgate-fixture", "-t", "--config", config, NULL };
    const char *const longly[] = { "spendgate-fixture", "--check-config", "--config", config,
                                   NULL };
    char want[200];

    set_up();
    CHECK_INT("good", 0, run(shortly));
    snprintf(want, sizeof(want), "%s: no problem found\n", config);
    CHECK_STRING("good", want, output);
    write_settings("ledger {\nhold_ttl = \"soon\"\nidempotency_ttl = \"never\"\n}");
    CHECK_INT("bad", 2, run(longly));
    snprintf(want, sizeof(want), "%s:6: ", config);
    CHECK_TRUE("the first", strncmp(output, want, strlen(want)) == 0);
    snprintf(want, sizeof(want), "\n%s:7: ", config);
    CHECK_TRUE("the second", strstr(output, want) != NULL);
    write_settings("ledger { hold_ttl = \"7s\" }");
    CHECK_INT("the program's own check", 2, run(shortly));
    CHECK_STRING("the program's own check", "fixture: hold_ttl must not be 7s\n", output);
    unlink(config);
    CHECK_INT("no file", 2, run(shortly));
    CHECK_TRUE("no file", strstr(output, config) != NULL);
    tear_down();
}

static void
test_bad_settings_stop_the_start(void)
{
    const char *const arguments[] = { "spendgate-fixture",        "--config", config, "--listen",
                                      "unix:/nonexistent/socket", NULL };

    set_up();
    write_settings("nonsense = 1");
    CHECK_INT("exit", 2, run(arguments));
    CHECK_TRUE("logged", strncmp(output, "level=error event=settings ", 27) == 0);
    CHECK_TRUE("the socket comes later", strstr(output, "/nonexistent") == NULL);
    tear_down();
}

static void
test_nothing_to_serve_is_exit_2(void)
{
    const char *const arguments[] = { "spendgate-fixture", "--config", config, NULL };

    set_up();
    CHECK_INT("exit", 2, run(arguments));
    CHECK_TRUE("message", strstr(output, "give --listen unix:/PATH or --listen HOST:PORT") != NULL);
    tear_down();
}

static void
test_a_bad_address_is_exit_2_and_a_taken_one_exit_1(void)
{
    char address[128];
    const char *const bad[] = { "spendgate-fixture", "--config", config, "--listen", ":80", NULL };
    const char *const taken[] = {
        "spendgate-fixture", "--config", config, "--listen", address, NULL
    };
    int fd;

    set_up();
    snprintf(address, sizeof(address), "unix:%s", socket_path);
    CHECK_INT("bad", 2, run(bad));
    CHECK_TRUE("bad", strstr(output, "no host") != NULL);
    fd = listen_unix();
    CHECK_INT("taken", 1, run(taken));
    CHECK_TRUE("taken", strstr(output, "another process listens there") != NULL);
    close(fd);
    tear_down();
}

static void
test_descriptor_0_is_served_by_this_process_alone(void)
{
    const char *const arguments[] = { "spendgate-fixture", "--config", config,
                                      "--workers",         "3",        NULL };
    static const int signals[] = { SIGTERM, SIGUSR1, SIGINT };

    for (size_t i = 0; i < CHECK_COUNT(signals); i++) {
        int listener;
        pid_t pid;

        set_up();
        listener = listen_unix();
        pid = start(INPUT_SOCKET, listener, arguments);
        for (int round = 0; round < 3; round++) {
            ask_for("report");
            CHECK_INT("process", pid, answered("pid"));
            CHECK_INT("workers", 0, answered("workers"));
            CHECK_INT("cgi", 0, answered("cgi"));
            CHECK_INT("clock", 1, answered("time"));
            CHECK_INT("after each answer", round, answered("after"));
        }
        kill(pid, SIGHUP); /* for masters; here it must not end anything */
        ask_for("report");
        CHECK_INT("process", pid, answered("pid"));
        stop(pid, signals[i]);
        close(listener);
        tear_down();
    }
}

static void
test_secrets_stay_in_the_process(void)
{
    const char *const arguments[] = { "spendgate-fixture", "--config", config, NULL };
    int listener;
    pid_t pid;

    set_up();
    listener = listen_unix();
    pid = start(INPUT_SOCKET, listener, arguments);
    ask_for("report");
    CHECK_INT("core dumps", 0, answered("core"));
#if !defined(__SANITIZE_ADDRESS__)
#if !defined(__has_feature)
    CHECK_INT("dumpable", 0, answered("dumpable"));
#endif
#endif
    CHECK_INT("inheritable descriptors", 0, answered("leaks"));
    stop(pid, SIGTERM);
    close(listener);
    tear_down();
}

static void
test_an_unanswered_request_is_a_503(void)
{
    const char *const arguments[] = { "spendgate-fixture", "--config", config, NULL };
    int listener;
    pid_t pid;

    set_up();
    listener = listen_unix();
    pid = start(INPUT_SOCKET, listener, arguments);
    CHECK_TRUE("503", strncmp(ask_for("nothing"), "Status: 503 ", 12) == 0);
    stop(pid, SIGTERM);
    close(listener);
    tear_down();
}

static void
test_a_store_that_is_gone_is_503_until_it_is_back(void)
{
    const char *const arguments[] = { "spendgate-fixture", "--config", config, NULL };
    int64_t end_ms = client_now_ms() + PATIENCE_MS;
    int listener;
    pid_t pid;

    set_up();
    unlink(store);
    listener = listen_unix();
    pid = start(INPUT_SOCKET, listener, arguments);
    for (int i = 0; i < 5; i++)
        CHECK_STRING("gone", "Status: 503\r\n\r\nunavailable: the store is gone",
                     ask_for("report"));
    close(open(store, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    while (strncmp(ask_for("report"), "Status: 503", 11) == 0 && client_now_ms() < end_ms)
        poll(NULL, 0, 20);
    CHECK_INT("back, in the same process", pid, answered("pid"));
    CHECK_TRUE("logged", log_has("event=open status=unavailable message=\"the store is gone\""));
    stop(pid, SIGTERM);
    close(listener);
    tear_down();
}

/* Every request tries at most once a second: the log has one line for each try. */
static void
test_a_store_that_is_gone_is_tried_once_a_second(void)
{
    const char *const arguments[] = { "spendgate-fixture", "--config", config, NULL };
    int64_t start_ms;
    int64_t lines = 0;
    int listener;
    pid_t pid;

    set_up();
    unlink(store);
    listener = listen_unix();
    pid = start(INPUT_SOCKET, listener, arguments);
    start_ms = client_now_ms();
    for (int i = 0; i < 200; i++)
        ask_for("report");
    CHECK_TRUE("logged", log_has("event=open"));
    for (const char *at = output; (at = strstr(at, "event=open")) != NULL; at++)
        lines++;
    CHECK_TRUE("once a second", lines <= 2 + (client_now_ms() - start_ms) / 1000);
    stop(pid, SIGTERM);
    close(listener);
    tear_down();
}

static void
test_listen_runs_children_behind_a_socket_of_the_given_mode(void)
{
    char address[128];
    const char *const arguments[] = {
        "spendgate-fixture", "--config", config,          "--listen", address,
        "--workers",         "2",        "--socket-mode", "0600",     NULL
    };
    struct stat info;
    pid_t pid;

    set_up();
    snprintf(address, sizeof(address), "unix:%s", socket_path);
    pid = start(INPUT_NULL, -1, arguments);
    ask_for("report");
    CHECK_TRUE("a child", answered("pid") > 0 && answered("pid") != pid);
    CHECK_INT("workers", 2, answered("workers"));
    CHECK_INT("inheritable descriptors", 0, answered("leaks"));
    CHECK_INT("stat", 0, stat(socket_path, &info));
    CHECK_INT("mode", 0600, info.st_mode & 0777);
    CHECK_TRUE("started", log_has("event=started program=spendgate-fixture"));
    stop(pid, SIGTERM);
    tear_down();
}

static void
test_a_child_that_dies_costs_one_request(void)
{
    char address[128];
    const char *const arguments[] = { "spendgate-fixture", "--config", config, "--listen", address,
                                      "--workers",         "1",        NULL };
    pid_t pid;
    int64_t dead;

    set_up();
    snprintf(address, sizeof(address), "unix:%s", socket_path);
    pid = start(INPUT_NULL, -1, arguments);
    ask_for("report");
    dead = answered("pid");
    ask_for("die");
    CHECK_TRUE("no answer", answer.closed);
    ask_for("report");
    CHECK_TRUE("another child", answered("pid") > 0 && answered("pid") != dead);
    CHECK_TRUE("logged", log_has("event=child_died"));
    stop(pid, SIGTERM);
    tear_down();
}

static void
wait_for_ttl(int64_t want)
{
    int64_t end_ms = client_now_ms() + PATIENCE_MS;

    do {
        CHECK_TRUE("answered", strncmp(ask_for("report"), "Status: 200", 11) == 0);
    } while (answered("ttl") != want && client_now_ms() < end_ms);
    CHECK_INT("hold_ttl", want, answered("ttl"));
}

static void
test_hangup_reads_the_settings_again_and_refuses_bad_ones(void)
{
    char address[128];
    const char *const arguments[] = { "spendgate-fixture", "--config", config, "--listen", address,
                                      "--workers",         "1",        NULL };
    pid_t pid;

    set_up();
    snprintf(address, sizeof(address), "unix:%s", socket_path);
    pid = start(INPUT_NULL, -1, arguments);
    wait_for_ttl(60);
    write_settings("ledger { hold_ttl = \"90s\" }");
    kill(pid, SIGHUP);
    wait_for_ttl(90);
    write_settings("ledger { hold_ttl = \"7s\" }");
    kill(pid, SIGHUP);
    CHECK_TRUE("refused", log_has("event=reload_refused"));
    CHECK_TRUE("why", log_has("fixture: hold_ttl must not be 7s"));
    wait_for_ttl(90);
    stop(pid, SIGTERM);
    tear_down();
}

static void
test_termination_finishes_the_request_in_hand(void)
{
    char address[128];
    const char *const arguments[] = { "spendgate-fixture", "--config", config, "--listen", address,
                                      "--workers",         "1",        NULL };
    static const char *const pairs[] = { "DO", "wait", NULL };
    int writer;
    pid_t pid;
    int fd;

    set_up();
    snprintf(address, sizeof(address), "unix:%s", socket_path);
    pid = start(INPUT_NULL, -1, arguments);
    ask_for("report");
    fd = client_connect_unix(socket_path);
    client_request(&sent, CLIENT_AUTHORIZER, false, pairs, NULL);
    CHECK_TRUE("sent", client_send(fd, sent.data, sent.length));
    writer = open(fifo, O_WRONLY | O_CLOEXEC); /* returns when the child is inside the request */
    kill(pid, SIGTERM);
    poll(NULL, 0, 50);
    close(writer);
    client_take(fd, &answer);
    CHECK_TRUE("answered", strncmp(answer.text, "Status: 200\r\n\r\npid=", 19) == 0);
    CHECK_INT("exit", 0, wait_for(pid));
    close(fd);
    tear_down();
}

static void
test_a_socket_of_systemd_is_served_by_children(void)
{
    const char *const arguments[] = { "spendgate-fixture", "--config", config,
                                      "--workers",         "2",        NULL };
    int listener;
    pid_t pid;

    set_up();
    listener = listen_unix();
    pid = start(INPUT_INHERITED, listener, arguments);
    ask_for("report");
    CHECK_TRUE("a child", answered("pid") > 0 && answered("pid") != pid);
    CHECK_INT("workers", 2, answered("workers"));
    CHECK_INT("inheritable descriptors", 0, answered("leaks"));
    stop(pid, SIGTERM);
    close(listener);
    tear_down();
}

static void
test_closed_standard_descriptors_are_filled(void)
{
    char address[128];
    const char *const arguments[] = { "spendgate-fixture", "--config", config, "--listen", address,
                                      "--workers",         "1",        NULL };
    char link[64];
    char target[64] = "";
    pid_t pid;

    set_up();
    snprintf(address, sizeof(address), "unix:%s", socket_path);
    pid = start(INPUT_CLOSED, -1, arguments);
    ask_for("report");
    for (int fd = 0; fd <= STDERR_FILENO; fd++) {
        snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)answered("pid"), fd);
        memset(target, 0, sizeof(target));
        CHECK_TRUE("there", readlink(link, target, sizeof(target) - 1) > 0);
        CHECK_STRING("what", "/dev/null", target);
    }
    stop(pid, SIGTERM);
    tear_down();
}

static void
test_a_cgi_request_is_answered_once(void)
{
    const char *const arguments[] = { "spendgate-fixture", "--config", config, NULL };

    set_up();
    setenv("REQUEST_METHOD", "GET", 1);
    CHECK_INT("exit", 0, run(arguments));
    CHECK_TRUE("answer", strncmp(output, "Status: 200\r\n\r\npid=", 19) == 0);
    CHECK_TRUE("cgi", strstr(output, "workers=0 cgi=1") != NULL);
    unlink(store);
    CHECK_INT("exit", 0, run(arguments));
    CHECK_TRUE("gone", strstr(output, "Status: 503\r\n\r\nunavailable: the store is gone") != NULL);
    write_settings("nonsense = 1");
    CHECK_INT("exit", 2, run(arguments));
    CHECK_TRUE("settings", strstr(output, "Status: 503\r\n\r\nunavailable: ") != NULL);
    CHECK_TRUE("logged", strstr(output, "level=error event=settings ") != NULL);
    unsetenv("REQUEST_METHOD");
    tear_down();
}

static void
test_a_query_string_gives_no_options(void)
{
    const char *const told[] = { "spendgate-fixture", "--config", config, NULL };
    const char *const version[] = { "spendgate-fixture", "--version", NULL };

    set_up();
    setenv("SPENDGATE_CONFIG", config, 1);
    setenv("GATEWAY_INTERFACE", "CGI/1.1", 1);
    setenv("QUERY_STRING", "--version", 1);
    CHECK_INT("exit", 0, run(version));
    CHECK_TRUE("answer", strstr(output, "cgi=1") != NULL);
    setenv("REQUEST_METHOD", "GET", 1);
    unsetenv("GATEWAY_INTERFACE");
    CHECK_INT("exit", 0, run(version));
    CHECK_TRUE("answer", strstr(output, "cgi=1") != NULL);
    unsetenv("SPENDGATE_CONFIG");
    setenv("QUERY_STRING", "a=b", 1);
    CHECK_INT("exit", 0, run(told));
    setenv("QUERY_STRING", "", 1);
    CHECK_INT("exit", 0, run(told));
    unsetenv("QUERY_STRING");
    unsetenv("REQUEST_METHOD");
    tear_down();
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_help_and_version_are_answered),
        CHECK_TEST(test_bad_usage_is_exit_2_and_says_what_is_wrong),
        CHECK_TEST(test_check_config_tells_every_problem_and_exits_2_or_0),
        CHECK_TEST(test_bad_settings_stop_the_start),
        CHECK_TEST(test_nothing_to_serve_is_exit_2),
        CHECK_TEST(test_a_bad_address_is_exit_2_and_a_taken_one_exit_1),
        CHECK_TEST(test_descriptor_0_is_served_by_this_process_alone),
        CHECK_TEST(test_secrets_stay_in_the_process),
        CHECK_TEST(test_an_unanswered_request_is_a_503),
        CHECK_TEST(test_a_store_that_is_gone_is_503_until_it_is_back),
        CHECK_TEST(test_a_store_that_is_gone_is_tried_once_a_second),
        CHECK_TEST(test_listen_runs_children_behind_a_socket_of_the_given_mode),
        CHECK_TEST(test_a_child_that_dies_costs_one_request),
        CHECK_TEST(test_hangup_reads_the_settings_again_and_refuses_bad_ones),
        CHECK_TEST(test_termination_finishes_the_request_in_hand),
        CHECK_TEST(test_a_socket_of_systemd_is_served_by_children),
        CHECK_TEST(test_closed_standard_descriptors_are_filled),
        CHECK_TEST(test_a_cgi_request_is_answered_once),
        CHECK_TEST(test_a_query_string_gives_no_options),
    };
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 32);

    if (length <= 0)
        return 99;
    program[length] = '\0';
    snprintf(strrchr(program, '/') + 1, 20, "server_fixture");
    signal(SIGPIPE, SIG_IGN);
    unsetenv("REQUEST_METHOD");
    unsetenv("GATEWAY_INTERFACE");
    return check_main("server", tests, CHECK_COUNT(tests));
}
