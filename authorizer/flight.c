/* SPDX-License-Identifier: MIT */
#include "authorizer/flight.h"

#include "common/log.h"
#include "common/settings.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/banned.h"

#define FLIGHTS_AT (INT64_C(1) << 32) /* slots lie before, flights behind */
#define POLL_FIRST_US 500
#define POLL_LONGEST_US 5000

struct flight {
    char path[FILE_PATH_SIZE];
    char group[NAME_SIZE];
    int slots;
    struct clock clock;
    int fd;        /* -1: not open */
    bool bypassed; /* the file cannot be used, and that has been logged */
    int64_t retry_us;
    int slot;         /* taken, -1 none */
    int64_t airborne; /* the byte of the flight in hand, 0 none */
};

enum status
flight_open(const struct flight_options *options, struct flight **out, struct error *err)
{
    struct flight *flight = calloc(1, sizeof(*flight));

    *out = NULL;
    if (flight == NULL)
        return error_set(err, STATUS_NO_MEMORY, "flight: out of memory");
    flight->fd = -1;
    flight->slot = -1;
    flight->slots = options->slots;
    flight->clock = options->clock;
    if (!text_copy(flight->path, sizeof(flight->path), options->path) ||
        !text_copy(flight->group, sizeof(flight->group), options->group)) {
        free(flight);
        return error_set(err, STATUS_OVERFLOW, "cache { path } is too long");
    }
    *out = flight;
    return STATUS_OK;
}

void
flight_close(struct flight *flight)
{
    if (flight == NULL)
        return;
    if (flight->fd >= 0)
        close(flight->fd);
    free(flight);
}

static void
give_to_group(const struct flight *flight, int fd)
{
    struct group *group = flight->group[0] == '\0' ? NULL : getgrnam(flight->group);

    if (group != NULL && fchown(fd, (uid_t)-1, group->gr_gid) == 0)
        (void)!fchmod(fd, 0660);
}

/* Whoever owns the file can hold its locks for ever. */
static bool
is_ours(int fd)
{
    struct stat file;

    return fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_uid == geteuid();
}

static int
open_lock_file(const struct flight *flight)
{
    int fd = open(flight->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0 || errno != ENOENT)
        return fd;
    fd = open(flight->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0)
        give_to_group(flight, fd);
    else if (errno == EEXIST) /* another process was quicker */
        fd = open(flight->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    return fd;
}

/* The file is open and still has a name: locks on a removed one exclude nobody who comes later. */
static bool
ready(struct flight *flight)
{
    int64_t boot_us = clock_boot_us(&flight->clock);
    struct stat file;

    if (flight->fd >= 0 && fstat(flight->fd, &file) == 0 && file.st_nlink > 0)
        return true;
    if (flight->fd >= 0)
        close(flight->fd);
    flight->fd = -1;
    if (flight->bypassed && boot_us < flight->retry_us)
        return false;
    flight->fd = open_lock_file(flight);
    if (flight->fd >= 0 && !is_ours(flight->fd)) {
        close(flight->fd);
        flight->fd = -1;
        errno = EPERM;
    }
    if (flight->fd < 0) {
        if (!flight->bypassed)
            log_event(LOG_WARN, "locks_bypassed", "path", flight->path, "message", strerror(errno),
                      "effect", "the number of processes that wait for Clerk is not limited", NULL);
        flight->bypassed = true;
        flight->retry_us = boot_us + 10 * US_PER_SECOND;
        return false;
    }
    flight->bypassed = false;
    return true;
}

/* One byte, for this open file: a second holder in the same process would be shut out as well. */
static bool
lock_byte(const struct flight *flight, int64_t at, short type)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

    return fcntl(flight->fd, F_OFD_SETLK, &lock) == 0;
}

bool
flight_take_slot(struct flight *flight, bool known)
{
    int slots = !known && flight->slots > 1 ? flight->slots - 1 : flight->slots;

    assert(flight->slot < 0);
    if (!ready(flight))
        return true;
    for (int i = 0; i < slots; i++) {
        /* A known one tries the kept slot first and leaves the others free. */
        int slot = known ? slots - 1 - i : i;

        if (lock_byte(flight, slot, F_WRLCK)) {
            flight->slot = slot;
            return true;
        }
    }
    return false;
}

void
flight_give_slot(struct flight *flight)
{
    if (flight->slot >= 0)
        (void)!lock_byte(flight, flight->slot, F_UNLCK);
    flight->slot = -1;
}

/* Two credentials with the same byte wait for each other needlessly; of 2^61 bytes that is no
 * matter. */
static int64_t
byte_of(const uint8_t digest[SHA256_BYTES])
{
    uint64_t bits;

    memcpy(&bits, digest, sizeof(bits));
    return FLIGHTS_AT + (int64_t)(bits >> 3);
}

static void
sleep_us(int64_t us)
{
    struct timespec time = { .tv_nsec = us * 1000 };

    nanosleep(&time, NULL);
}

bool
flight_join(struct flight *flight, const uint8_t digest[SHA256_BYTES], int64_t deadline_us)
{
    int64_t at = byte_of(digest);

    assert(flight->airborne == 0);
    if (flight->fd < 0)
        return true; /* each for itself */
    for (int64_t step_us = POLL_FIRST_US; !lock_byte(flight, at, F_WRLCK);) {
        if (clock_boot_us(&flight->clock) + step_us >= deadline_us)
            return false;
        sleep_us(step_us);
        step_us = step_us * 2 < POLL_LONGEST_US ? step_us * 2 : POLL_LONGEST_US;
    }
    flight->airborne = at;
    return true;
}

void
flight_leave(struct flight *flight)
{
    if (flight->airborne != 0)
        (void)!lock_byte(flight, flight->airborne, F_UNLCK);
    flight->airborne = 0;
}
