/* SPDX-License-Identifier: MIT */
/*
 * Time as an argument. The request loop reads the clock once per request and passes the value
 * down; nothing below it calls a clock. Tests bring a clock of their own.
 */
#ifndef SPENDGATE_CLOCK_H
#define SPENDGATE_CLOCK_H

#include <stdint.h>

#define US_PER_SECOND INT64_C(1000000)

struct clock {
    /* UTC microseconds since 1970-01-01 00:00. */
    int64_t (*now_us)(void *context);
    /* Microseconds since boot, time asleep included (CLOCK_BOOTTIME); never goes back. For ages and
     * intervals, comparable between processes of one host until it restarts. */
    int64_t (*boot_us)(void *context);
    void *context;
};

/* The machine's clocks. */
struct clock clock_system(void);

static inline int64_t
clock_now_us(const struct clock *clock)
{
    return clock->now_us(clock->context);
}

static inline int64_t
clock_boot_us(const struct clock *clock)
{
    return clock->boot_us(clock->context);
}

#endif
