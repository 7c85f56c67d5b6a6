/* SPDX-License-Identifier: MIT */
/*
 * Calendar periods in an IANA zone. A period is [start_us, end_us) in UTC microseconds; the periods
 * of one spec follow each other without gap or overlap.
 *
 * A date starts at the first instant at which the zone's wall clock shows its 00:00 or anything
 * later. So a 00:00 that comes twice starts the day the first time (also where the clock goes back
 * at 00:01 and shows the old date again), one that the clock jumps over starts it at the jump, and
 * a date that is skipped whole is no period of its own. A day lasts until the next date's start. A
 * month (year) with an anchor day starts on that day, or on the last day of a shorter month; the
 * anchor is kept, never moved. A year starts in January on its anchor day. Weeks start on
 * `week_start`. An hour starts whenever the wall clock shows a whole hour or changes to another
 * hour: one that comes twice is two hours, and a change of less than an hour shortens or lengthens
 * one. Source: contract, section 2.
 */
#ifndef SPENDGATE_PERIOD_H
#define SPENDGATE_PERIOD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define TIMEZONE_SIZE 48          /* longest IANA name is 32 bytes */
#define PERIOD_NEVER_US INT64_MAX /* the end of a period of kind `none` */

enum period_kind {
    PERIOD_HOUR = 1,
    PERIOD_DAY,
    PERIOD_WEEK,
    PERIOD_MONTH,
    PERIOD_YEAR,
    PERIOD_NONE,
};

/* The identity of a counter line: two equal specs are the same line. */
struct period_spec {
    enum period_kind kind;
    char timezone[TIMEZONE_SIZE]; /* "UTC" for PERIOD_NONE */
    int anchor_day;               /* 1..31 for month and year, else 1 */
    int week_start;               /* 0 Sunday .. 6 Saturday for week, else 1 */
};

struct period {
    int64_t start_us; /* 0 for PERIOD_NONE */
    int64_t end_us;   /* PERIOD_NEVER_US for PERIOD_NONE */
};

const char *period_kind_name(enum period_kind kind); /* "hour" .. "none" */
bool period_kind_parse(const char *name, enum period_kind *out) MUST_CHECK;
/* Set what the kind does not use to its fixed value, so that equal lines compare equal. */
void period_spec_normalize(struct period_spec *spec);
bool period_spec_equal(const struct period_spec *a, const struct period_spec *b);

/* Whether this machine's zone database ($TZDIR, else /usr/share/zoneinfo) has `name`: an IANA name,
 * so a capital first, then letters, digits and "_+-/", at most TIMEZONE_SIZE - 1 bytes. */
bool period_timezone_known(const char *name);

/*
 * The period that contains `at_us`.
 *   spec    normalized; its zone known.
 *   at_us   0 .. year 9998.
 * Errors: STATUS_INVALID (unknown zone, out of range).
 */
enum status period_containing(const struct period_spec *spec, int64_t at_us, struct period *out,
                              struct error *err) MUST_CHECK;
/*
 * How many periods begin in [`from_us`, `until_us`), counted up to `max` >= 0. 0 for PERIOD_NONE.
 * Arguments and errors as above.
 */
enum status period_count(const struct period_spec *spec, int64_t from_us, int64_t until_us,
                         int64_t max, int64_t *count, struct error *err) MUST_CHECK;

#endif
