/* SPDX-License-Identifier: MIT */
/*
 * Several processes on the store of one test, each with a connection of its own.
 */
#ifndef SPENDGATE_TESTS_STORE_PROCESSES_H
#define SPENDGATE_TESTS_STORE_PROCESSES_H

#include "tests/store/fixture.h"

/* Seen by all of them. */
struct shared {
    _Atomic int64_t clock_us;
    _Atomic int passed, refused, failed;
    _Atomic int hold_count;
    char holds[1024][PUBLIC_ID_SIZE];
    int64_t end_us; /* by the boot clock; of a run that lasts a set time */
};

typedef void (*child_work)(struct fixture *f, struct shared *shared, int index);

/* Zeroed; for munmap(). */
struct shared *share(void);
/* In a process just forked: open a store, wait until the pipe `go` is closed, and work. */
void child(struct fixture *f, struct shared *shared, int go, int index, child_work work)
    __attribute__((noreturn));
/* Run `work` in `count` processes at once, at most 64. The parent's store is closed meanwhile. */
void race(struct fixture *f, struct shared *shared, int count, child_work work);

#endif
