/* SPDX-License-Identifier: MIT */
/*
 * Who of this host may wait for Clerk: a number of slots, and one verification in flight per
 * credential. Both are kernel locks on byte ranges of one file beside the cache, so they die with
 * their process. Used by one process for one request at a time. Source: design document, sections 2
 * and 6.
 */
#ifndef SPENDGATE_FLIGHT_H
#define SPENDGATE_FLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/error.h"

struct flight;

struct flight_options {
    const char *path;  /* of the lock file; made when it is missing */
    const char *group; /* 0660 and of this group; "" for 0600 */
    int slots;         /* >= 1 */
    struct clock clock;
};

/* Opens the file at the first use. Errors: STATUS_NO_MEMORY, STATUS_OVERFLOW. */
enum status flight_open(const struct flight_options *options, struct flight **out,
                        struct error *err) MUST_CHECK;
void flight_close(struct flight *flight); /* NULL is fine */

/*
 * Take one of the slots, without waiting; false when there is none. One of two or more is kept for
 * credentials that were valid before (`known`), so that a flood of unknown ones cannot take them
 * all. When the file cannot be used there is no limit, and one log line says so.
 */
bool flight_take_slot(struct flight *flight, bool known) MUST_CHECK;
void flight_give_slot(struct flight *flight);

/* Wait until no other process verifies this credential; false when `deadline_us` (boot clock) came
 * first. */
bool flight_join(struct flight *flight, const uint8_t digest[SHA256_BYTES],
                 int64_t deadline_us) MUST_CHECK;
void flight_leave(struct flight *flight);

#endif
