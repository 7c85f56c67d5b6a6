/* SPDX-License-Identifier: MIT */
/*
 * A program on common/server.h for tests/test_server.c: it answers what it knows about itself. Its
 * "store" is a file, named in FIXTURE_STORE, that has to be there when a worker's context is
 * opened.
 */
#include "common/server.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/banned.h"

struct fixture {
    const struct settings *settings;
    struct server_start start;
    int after_calls;
};

static enum status
check(const struct settings *settings, const struct settings_problems *problems, struct error *err)
{
    if (settings->hold_ttl_us != 7 * US_PER_SECOND)
        return STATUS_OK;
    problems->report(problems->context, false, "fixture: hold_ttl must not be 7s");
    return error_set(err, STATUS_INVALID, "fixture: hold_ttl must not be 7s");
}

static enum status
open_worker(const struct settings *settings, const struct server_start *start, void **context,
            struct error *err)
{
    const char *store = getenv("FIXTURE_STORE");
    struct fixture *fixture;

    if (store != NULL && access(store, F_OK) != 0)
        return error_set(err, STATUS_UNAVAILABLE, "the store is gone");
    fixture = calloc(1, sizeof(*fixture));
    if (fixture == NULL)
        return error_set(err, STATUS_NO_MEMORY, "out of memory");
    fixture->settings = settings;
    fixture->start = *start;
    *context = fixture;
    return STATUS_OK;
}

static void
write_text(struct request *request, const char *text)
{
    struct error err;

    if (request_write(request, text, strlen(text), &err) != STATUS_OK)
        exit(9);
}

/* Descriptors above 2 that a program we execute would get. */
static int
count_leaks(void)
{
    DIR *directory = opendir("/proc/self/fd");
    const struct dirent *entry;
    int leaks = 0;

    if (directory == NULL)
        return -1;
    while ((entry = readdir(directory)) != NULL) {
        int64_t fd;

        if (text_to_int64(entry->d_name, 3, INT32_MAX, &fd))
            leaks += (fcntl((int)fd, F_GETFD) & FD_CLOEXEC) == 0;
    }
    closedir(directory);
    return leaks;
}

static void
handle(void *context, struct request *request, int64_t now_us)
{
    const struct fixture *fixture = context;
    const char *what = request_param(request, "DO");
    struct rlimit core;
    char text[512];
    char byte;

    if (what != NULL && strcmp(what, "nothing") == 0)
        return;
    if (what != NULL && strcmp(what, "die") == 0)
        abort();
    if (what != NULL && strcmp(what, "wait") == 0) /* until the test has closed the fifo */
        (void)!read(open(getenv("FIXTURE_FIFO"), O_RDONLY | O_CLOEXEC), &byte, 1);
    getrlimit(RLIMIT_CORE, &core);
    snprintf(text, sizeof(text),
             "Status: 200\r\n\r\npid=%d workers=%d cgi=%d ttl=%" PRId64
             " core=%d dumpable=%d leaks=%d time=%d after=%d",
             (int)getpid(), fixture->start.workers, fixture->start.plain_cgi,
             fixture->settings->hold_ttl_us / US_PER_SECOND, (int)core.rlim_cur,
             prctl(PR_GET_DUMPABLE), count_leaks(), now_us > INT64_C(1700000000) * US_PER_SECOND,
             fixture->after_calls);
    write_text(request, text);
}

static void
unavailable(struct request *request, const struct error *err)
{
    write_text(request, "Status: 503\r\n\r\nunavailable: ");
    write_text(request, err->message);
}

static void
after(void *context)
{
    struct fixture *fixture = context;

    fixture->after_calls++;
}

int
main(int argc, char **argv)
{
    static const struct server_program program = {
        .name = "spendgate-fixture",
        .summary = "answer what a test wants to know",
        .check = check,
        .open = open_worker,
        .unavailable = unavailable,
        .handle = handle,
        .after = after,
        .close = free,
    };

    return server_main(argc, argv, &program);
}
