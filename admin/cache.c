/* SPDX-License-Identifier: MIT */
/* spendgate cache purge: this host asks Clerk again about every credential. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "admin/command.h"
#include "admin/output.h"
#include "common/clock.h"
#include "common/host_cache.h"

#include "common/banned.h"

static int
print_purged(const struct admin *admin, int64_t rows)
{
    if (command_has(admin, OPTION_JSON))
        printf("{\"removed\":%" PRId64 "}\n", rows);
    else
        printf("%" PRId64 " answers of Clerk forgotten. Every credential is verified again at its "
               "next request.\n",
               rows);
    return DONE;
}

static int
print_missing(const struct admin *admin, const char *path)
{
    char text[HUMAN_SIZE];

    if (command_has(admin, OPTION_JSON))
        return print_purged(admin, 0);
    print_text(stdout, path);
    printf(" is not there, so nothing was forgotten. A server that runs without it verifies each "
           "credential\nagain after %s (clerk { cache_ttl }).\n",
           human_duration(admin->settings->clerk.cache_ttl_us, text));
    return DONE;
}

/* Until every process has looked: nobody then answers from what he knew. */
static void
wait_until_noticed(void)
{
    const struct timespec time = { .tv_sec = HOST_CACHE_PURGED_WITHIN_US / US_PER_SECOND };

    (void)fflush(stdout);
    (void)nanosleep(&time, NULL);
}

enum status
command_host_cache(const struct admin *admin, struct host_cache **out, struct error *err)
{
    const struct host_cache_options options = {
        .path = admin->settings->cache_path,
        .group = admin->settings->store_group,
        .negative_keep_us = admin->settings->clerk.negative_ttl_us,
    };
    struct stat file;

    *out = NULL;
    if (lstat(options.path, &file) == 0) {
        if (command_become_owner(options.path, err) != STATUS_OK)
            return err->status;
    } else if (geteuid() == 0) {
        return STATUS_OK; /* root would make one that the servers cannot open */
    }
    return host_cache_open(&options, out, err);
}

static int
purge(const struct admin *admin)
{
    const struct clock clock = clock_system();
    struct host_cache *cache = NULL;
    struct error err = { 0 };
    int64_t rows = 0;
    int code = FAILED;

    if (command_host_cache(admin, &cache, &err) != STATUS_OK ||
        host_cache_purge(cache, clock_boot_us(&clock), &rows, &err) != STATUS_OK) {
        (void)command_error(&err);
    } else {
        wait_until_noticed();
        code = print_purged(admin, rows);
    }
    host_cache_close(cache);
    return code;
}

int
run_cache_purge(struct admin *admin)
{
    const char *path = admin->settings->cache_path;
    struct stat file;

    if (lstat(path, &file) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return print_missing(admin, path);
    if (geteuid() != 0 && file.st_uid != geteuid())
        return command_fail("%s belongs to another user: run this as that user, or as root", path);
    return purge(admin);
}
