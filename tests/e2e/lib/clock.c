/* SPDX-License-Identifier: MIT */
/*
 * A wall clock that a test can move, for LD_PRELOAD: CLOCK_REALTIME runs ahead of the machine's by
 * the microseconds that the file named by SPENDGATE_TEST_CLOCK holds. The other clocks are left
 * alone. It is read at every look, so that running servers travel too; a PostgreSQL server asks
 * gettimeofday.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long
ahead_us(void)
{
    const char *path = getenv("SPENDGATE_TEST_CLOCK");
    char text[32] = "";
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
        text[0] = '\0';
    if (fd >= 0)
        close(fd);
    return strtoll(text, NULL, 10);
}

int
clock_gettime(clockid_t id, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, now);
    long long us;

    if (failed != 0 || id != CLOCK_REALTIME)
        return failed;
    us = now->tv_sec * 1000000LL + now->tv_nsec / 1000 + ahead_us();
    now->tv_sec = us / 1000000;
    now->tv_nsec = us % 1000000 * 1000;
    return 0;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec at;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &at) != 0)
        return -1;
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}
