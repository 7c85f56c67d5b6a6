/* SPDX-License-Identifier: MIT */
/*
 * Two halves: dates, which are plain arithmetic on day numbers (days since 1970-01-01), and the
 * zone, which is asked only for its offset at an instant. glibc answers that (TZ and localtime_r),
 * so no zone file is parsed here; what the answers mean at odd midnights is decided here.
 */
#include "common/period.h"

#include "common/buf.h"
#include "common/clock.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/banned.h"

#define HOUR_SECONDS INT64_C(3600)
#define DAY_SECONDS INT64_C(86400)
/* Offsets are compared at instants this far apart: changes that undo each other must not lie
 * closer. In no zone are they less than seven days apart (tests/calendar_proof measures it). */
#define CHANGE_STEP_SECONDS (16 * HOUR_SECONDS)
#define NO_CHANGE INT64_MAX
#define AT_END_US (INT64_C(253370764800) * US_PER_SECOND) /* 9999-01-01 */
#define ZONE_FOLDER "/usr/share/zoneinfo"
#define ZONE_MAGIC "TZif"

static const char *const kind_names[] = {
    [PERIOD_HOUR] = "hour",   [PERIOD_DAY] = "day",   [PERIOD_WEEK] = "week",
    [PERIOD_MONTH] = "month", [PERIOD_YEAR] = "year", [PERIOD_NONE] = "none",
};

const char *
period_kind_name(enum period_kind kind)
{
    assert(kind >= PERIOD_HOUR && kind <= PERIOD_NONE);
    return kind_names[kind];
}

bool
period_kind_parse(const char *name, enum period_kind *out)
{
    for (enum period_kind kind = PERIOD_HOUR; kind <= PERIOD_NONE; kind++) {
        if (strcmp(name, kind_names[kind]) == 0) {
            *out = kind;
            return true;
        }
    }
    return false;
}

void
period_spec_normalize(struct period_spec *spec)
{
    if (spec->kind == PERIOD_NONE)
        snprintf(spec->timezone, sizeof(spec->timezone), "UTC");
    if (spec->kind != PERIOD_MONTH && spec->kind != PERIOD_YEAR)
        spec->anchor_day = 1;
    if (spec->kind != PERIOD_WEEK)
        spec->week_start = 1;
}

bool
period_spec_equal(const struct period_spec *a, const struct period_spec *b)
{
    return a->kind == b->kind && a->anchor_day == b->anchor_day && a->week_start == b->week_start &&
           strcmp(a->timezone, b->timezone) == 0;
}

/* ---- the zone ------------------------------------------------------------------------------- */

/* Host-dependent files ("localtime", "posixrules") and variants with leap seconds ("right/") begin
 * with a small letter; IANA names do not. */
static bool
zone_name_valid(const char *name)
{
    size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                 "0123456789_+-/");

    return name[0] >= 'A' && name[0] <= 'Z' && name[length] == '\0' && length < TIMEZONE_SIZE;
}

bool
period_timezone_known(const char *name)
{
    const char *folder = getenv("TZDIR");
    char path[PATH_MAX], magic[sizeof(ZONE_MAGIC) - 1];
    int fd;
    ssize_t got;

    if (!zone_name_valid(name))
        return false;
    if (folder == NULL || folder[0] == '\0')
        folder = ZONE_FOLDER;
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    got = read(fd, magic, sizeof(magic));
    close(fd);
    return got == (ssize_t)sizeof(magic) && memcmp(magic, ZONE_MAGIC, sizeof(magic)) == 0;
}

/* The zone that localtime_r speaks of, and what TZ has to be again afterwards. */
struct zone {
    bool utc;
    bool switched;
    char *previous; /* owned; NULL: TZ was not set */
};

static enum status
zone_enter(struct zone *zone, const char *name, struct error *err)
{
    const char *current = getenv("TZ");
    char value[1 + TIMEZONE_SIZE];

    *zone = (struct zone){ .utc = strcmp(name, "UTC") == 0 };
    if (zone->utc)
        return STATUS_OK;
    /* With the colon the C library takes it for a file's name only, never for a rule in itself. */
    snprintf(value, sizeof(value), ":%.*s", TIMEZONE_SIZE - 1, name);
    if (current != NULL && strcmp(current, value) == 0) {
        tzset();
        return STATUS_OK;
    }
    if (!period_timezone_known(name))
        return error_set(err, STATUS_INVALID,
                         "time zone %.*s is not in this machine's zone database: install tzdata",
                         TIMEZONE_SIZE, name);
    if (current != NULL && (zone->previous = strdup(current)) == NULL)
        return error_set(err, STATUS_NO_MEMORY, "period: out of memory");
    if (setenv("TZ", value, 1) != 0) {
        free(zone->previous);
        return error_set(err, STATUS_NO_MEMORY, "period: out of memory");
    }
    zone->switched = true;
    tzset();
    return STATUS_OK;
}

static void
zone_leave(struct zone *zone)
{
    if (!zone->switched)
        return;
    if (zone->previous == NULL || setenv("TZ", zone->previous, 1) != 0)
        unsetenv("TZ");
    free(zone->previous);
    tzset();
}

/* Seconds east of UTC at `t`. */
static int64_t
offset_at(const struct zone *zone, int64_t t)
{
    time_t clock_time = (time_t)t;
    struct tm tm;

    if (zone->utc)
        return 0;
    /* untaken: fails only for years beyond an int, and the caller has checked the range */
    if (localtime_r(&clock_time, &tm) == NULL)
        abort();
    return tm.tm_gmtoff;
}

/* The first instant in (`from`, `to`] at which the offset is another than `offset`, that at `from`.
 */
static int64_t
offset_change(const struct zone *zone, int64_t from, int64_t offset, int64_t to)
{
    int64_t low = from, high;

    if (zone->utc)
        return NO_CHANGE;
    for (;; low = high) {
        if (low >= to)
            return NO_CHANGE;
        high = to - low > CHANGE_STEP_SECONDS ? low + CHANGE_STEP_SECONDS : to;
        if (offset_at(zone, high) != offset)
            break;
    }
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;

        if (offset_at(zone, middle) == offset)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* ---- dates ---------------------------------------------------------------------------------- */

static int64_t
floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static struct tm
date_of(int64_t day)
{
    time_t clock_time = (time_t)(day * DAY_SECONDS);
    struct tm tm;

    /* untaken: as in offset_at */
    if (gmtime_r(&clock_time, &tm) == NULL)
        abort();
    return tm;
}

/* The day number of a date; a month of -1 or 12 is of the year before or after. */
static int64_t
day_of(int year, int month, int day)
{
    struct tm tm = { .tm_year = year, .tm_mon = month, .tm_mday = day };

    return timegm(&tm) / DAY_SECONDS;
}

/* Day number of the anchor day in that month, or of its last day if it is shorter. */
static int64_t
anchor_of(int year, int month, int anchor_day)
{
    int64_t first = day_of(year, month, 1), anchor = first + anchor_day - 1, last;

    if (anchor_day <= 28)
        return anchor;
    last = day_of(year, month + 1, 1) - 1;
    return anchor < last ? anchor : last;
}

/* The first instant at which the wall clock shows that date's 00:00 or anything later. */
static int64_t
date_start(const struct zone *zone, int64_t day)
{
    int64_t midnight = day * DAY_SECONDS;  /* in local seconds */
    int64_t from = midnight - DAY_SECONDS; /* no offset reaches a day: it is earlier there */

    for (;;) {
        int64_t offset = offset_at(zone, from);
        int64_t start = midnight - offset;
        int64_t change = offset_change(zone, from, offset, start);

        if (change == NO_CHANGE)
            return start;
        if (change + offset_at(zone, change) >= midnight)
            return change;
        from = change;
    }
}

/* The last date that has started at `t`: the wall clock's, or a later one when the clock went back
 * over midnight. */
static int64_t
date_at(const struct zone *zone, int64_t t)
{
    int64_t day = floor_div(t + offset_at(zone, t), DAY_SECONDS);

    while (date_start(zone, day + 1) <= t)
        day++;
    return day;
}

/* The dates between which the period of `day` lies. */
static void
date_bounds(const struct period_spec *spec, int64_t day, int64_t *first, int64_t *next)
{
    struct tm tm = date_of(day);
    int month, step;

    switch (spec->kind) {
    case PERIOD_WEEK:
        *first = day - (tm.tm_wday - spec->week_start + 7) % 7;
        *next = *first + 7;
        return;
    case PERIOD_MONTH:
        month = tm.tm_mon;
        step = 1;
        break;
    case PERIOD_YEAR:
        month = 0;
        step = 12;
        break;
    default: /* a day */
        *first = day;
        *next = day + 1;
        return;
    }
    *first = anchor_of(tm.tm_year, month, spec->anchor_day);
    *next = anchor_of(tm.tm_year, *first > day ? month - step : month + step, spec->anchor_day);
    if (*first > day) {
        int64_t swap = *first;

        *first = *next;
        *next = swap;
    }
}

/* ---- hours ---------------------------------------------------------------------------------- */

/* Whether the offset change at `change` starts an hour: the wall clock then shows a whole hour, or
 * another hour than just before. */
static bool
change_starts_hour(const struct zone *zone, int64_t change)
{
    int64_t before = change - 1 + offset_at(zone, change - 1);
    int64_t after = change + offset_at(zone, change);

    return after % HOUR_SECONDS == 0 ||
           floor_div(before, HOUR_SECONDS) != floor_div(after, HOUR_SECONDS);
}

static int64_t
hour_start(const struct zone *zone, int64_t t)
{
    for (;;) {
        int64_t offset = offset_at(zone, t);
        int64_t start = floor_div(t + offset, HOUR_SECONDS) * HOUR_SECONDS - offset;
        int64_t change = offset_change(zone, start, offset_at(zone, start), t);

        if (change == NO_CHANGE)
            return start;
        if (change_starts_hour(zone, change))
            return change;
        t = change - 1;
    }
}

static int64_t
hour_end(const struct zone *zone, int64_t t)
{
    for (;;) {
        int64_t offset = offset_at(zone, t);
        int64_t end = (floor_div(t + offset, HOUR_SECONDS) + 1) * HOUR_SECONDS - offset;
        int64_t change = offset_change(zone, t, offset, end);

        if (change == NO_CHANGE)
            return end;
        if (change_starts_hour(zone, change))
            return change;
        t = change;
    }
}

/* --------------------------------------------------------------------------------------------- */

/* The period in seconds that contains the second `t`. */
static void
bounds_at(const struct zone *zone, const struct period_spec *spec, int64_t t, int64_t *start,
          int64_t *end)
{
    int64_t first, next;

    if (spec->kind == PERIOD_HOUR) {
        *start = hour_start(zone, t);
        *end = hour_end(zone, t);
        return;
    }
    date_bounds(spec, date_at(zone, t), &first, &next);
    *start = date_start(zone, first);
    *end = date_start(zone, next);
}

static enum status
arguments_check(const struct period_spec *spec, int64_t at_us, struct error *err)
{
    if (spec->kind < PERIOD_HOUR || spec->kind > PERIOD_NONE)
        return error_set(err, STATUS_INVALID, "period: %d is no kind of period", (int)spec->kind);
    if (at_us < 0 || at_us >= AT_END_US)
        return error_set(err, STATUS_INVALID, "period: the time is outside the years 1970 to 9998");
    return STATUS_OK;
}

enum status
period_containing(const struct period_spec *spec, int64_t at_us, struct period *out,
                  struct error *err)
{
    enum status status = arguments_check(spec, at_us, err);
    int64_t start, end;
    struct zone zone;

    *out = (struct period){ 0 };
    if (status != STATUS_OK)
        return status;
    if (spec->kind == PERIOD_NONE) {
        out->end_us = PERIOD_NEVER_US;
        return STATUS_OK;
    }
    status = zone_enter(&zone, spec->timezone, err);
    if (status != STATUS_OK)
        return status;
    bounds_at(&zone, spec, at_us / US_PER_SECOND, &start, &end);
    zone_leave(&zone);
    out->start_us = start * US_PER_SECOND;
    out->end_us = end * US_PER_SECOND;
    return STATUS_OK;
}

enum status
period_count(const struct period_spec *spec, int64_t from_us, int64_t until_us, int64_t max,
             int64_t *count, struct error *err)
{
    enum status status = arguments_check(spec, from_us, err);
    int64_t start, end;
    struct zone zone;

    *count = 0;
    if (status == STATUS_OK)
        status = arguments_check(spec, until_us, err);
    if (status != STATUS_OK || spec->kind == PERIOD_NONE || until_us <= from_us)
        return status;
    status = zone_enter(&zone, spec->timezone, err);
    if (status != STATUS_OK)
        return status;
    bounds_at(&zone, spec, from_us / US_PER_SECOND, &start, &end);
    if (start * US_PER_SECOND < from_us)
        start = end;
    while (*count < max && start * US_PER_SECOND < until_us) {
        bounds_at(&zone, spec, start, &start, &end);
        start = end;
        ++*count;
    }
    zone_leave(&zone);
    return STATUS_OK;
}
