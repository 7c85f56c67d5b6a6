/* SPDX-License-Identifier: MIT */
/*
 * Compares period.c with what expect.py writes: every period of every kind, anchor day and week
 * start is asked for at its first and its last instant and at every offset change inside it, and
 * has to be exactly the expected one. So the periods tile time, and none is affected by what lies
 * within it. Reads standard input; prints the differences and one line with the counts.
 */
#include "common/clock.h"
#include "common/error.h"
#include "common/period.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define SPECS_MAX 128
#define DAYS_MAX 40000
#define CHANGES_MAX 4000
#define RUNS_MAX 4000
#define RUN_MAX 64
/* Changes that undo each other must not lie closer than period.c compares offsets. */
#define CHANGES_APART_SECONDS INT64_C(57600)
#define DIFFERENCES_SHOWN 20

struct boundaries {
    struct period_spec spec;
    int64_t count;
    int64_t days[DAYS_MAX];
};

static struct boundaries specs[SPECS_MAX];
static int64_t spec_count;

/* One zone: the start of each day from `first_day` on, and the offset changes. */
static int64_t first_day, day_count, day_starts[DAYS_MAX];
static int64_t change_count, changes[CHANGES_MAX];
static int64_t run_count, run_lengths[RUNS_MAX], runs[RUNS_MAX][RUN_MAX];
static int64_t period_count_checked, asked, differences;

static int64_t
number_read(int64_t max)
{
    int64_t number;

    if (fread(&number, sizeof(number), 1, stdin) != 1 || number > max) {
        fprintf(stderr, "the expected values are cut off or damaged\n");
        exit(2);
    }
    return number;
}

static void
numbers_read(int64_t *out, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = number_read(INT64_MAX);
}

/* The period at second `t` has to be [start, end). */
static void
ask(const struct period_spec *spec, int64_t at_us, int64_t start, int64_t end)
{
    struct period period;
    struct error err = { 0 };
    enum status status = period_containing(spec, at_us, &period, &err);

    asked++;
    if (status == STATUS_OK && period.start_us == start * US_PER_SECOND &&
        period.end_us == end * US_PER_SECOND)
        return;
    if (differences++ < DIFFERENCES_SHOWN)
        printf("%s %s anchor %d week start %d at %" PRId64 ": want [%" PRId64 ", %" PRId64
               "), got [%" PRId64 ", %" PRId64 ") %s\n",
               spec->timezone, period_kind_name(spec->kind), spec->anchor_day, spec->week_start,
               at_us, start, end, period.start_us / US_PER_SECOND, period.end_us / US_PER_SECOND,
               err.message);
}

/* `change` is the index of the first offset change at or after `start`. */
static void
period_check(const struct period_spec *spec, int64_t start, int64_t end, int64_t change)
{
    if (end <= 0) /* before 1970 */
        return;
    ask(spec, (start < 0 ? 0 : start) * US_PER_SECOND, start, end);
    ask(spec, end * US_PER_SECOND - 1, start, end);
    for (; change < change_count && changes[change] < end; change++) {
        if (changes[change] > start && changes[change] > 0) {
            ask(spec, changes[change] * US_PER_SECOND, start, end);
            ask(spec, changes[change] * US_PER_SECOND - 1, start, end);
        }
    }
    period_count_checked++;
}

static void
run_check(const struct period_spec *spec, const int64_t *starts, int64_t count)
{
    int64_t change = 0;

    for (int64_t i = 0; i + 1 < count; i++) {
        while (change < change_count && changes[change] < starts[i])
            change++;
        if (starts[i] != starts[i + 1]) /* a date that was skipped whole is no period */
            period_check(spec, starts[i], starts[i + 1], change);
    }
}

static void
spec_check(const struct boundaries *boundaries, const char *timezone)
{
    static int64_t starts[DAYS_MAX];
    struct period_spec spec = boundaries->spec;

    snprintf(spec.timezone, sizeof(spec.timezone), "%s", timezone);
    for (int64_t i = 0; i < boundaries->count; i++)
        starts[i] = day_starts[boundaries->days[i] - first_day];
    run_check(&spec, starts, boundaries->count);
}

static void
hours_check(const char *timezone)
{
    struct period_spec spec = { .kind = PERIOD_HOUR, .anchor_day = 1, .week_start = 1 };

    snprintf(spec.timezone, sizeof(spec.timezone), "%s", timezone);
    for (int64_t i = 0; i < run_count; i++)
        run_check(&spec, runs[i], run_lengths[i]);
}

static void
zone_read(const char *timezone)
{
    first_day = number_read(INT64_MAX);
    day_count = number_read(DAYS_MAX);
    numbers_read(day_starts, day_count);
    change_count = number_read(CHANGES_MAX);
    numbers_read(changes, change_count);
    run_count = number_read(RUNS_MAX);
    for (int64_t i = 0; i < run_count; i++) {
        run_lengths[i] = number_read(RUN_MAX);
        numbers_read(runs[i], run_lengths[i]);
    }
    for (int64_t i = 0; i + 1 < change_count; i++) {
        if (changes[i + 1] - changes[i] <= CHANGES_APART_SECONDS) {
            differences++;
            printf("%s: two changes of the offset within %" PRId64 " s at %" PRId64
                   ": period.c looks too seldom\n",
                   timezone, CHANGES_APART_SECONDS, changes[i]);
        }
    }
}

/* A zone that does the same as the one before is asked for its days and hours only. */
static void
zone_check(const char *timezone)
{
    bool same = number_read(1) == 1;
    char tz[1 + TIMEZONE_SIZE];

    if (!same)
        zone_read(timezone);
    /* TZ is set beforehand, which only saves reading the zone's file millions of times;
     * tests/test_period.c asks from a process of another zone. */
    snprintf(tz, sizeof(tz), ":%s", timezone);
    setenv("TZ", tz, 1);
    if (!period_timezone_known(timezone)) {
        differences++;
        printf("%s: unknown\n", timezone);
    }
    for (int64_t i = 0; i < spec_count; i++) {
        if (!same || specs[i].spec.kind == PERIOD_DAY)
            spec_check(&specs[i], timezone);
    }
    hours_check(timezone);
}

int
main(void)
{
    char timezone[TIMEZONE_SIZE];
    int64_t zones = 0;

    spec_count = number_read(SPECS_MAX);
    for (int64_t i = 0; i < spec_count; i++) {
        specs[i].spec.kind = (enum period_kind)number_read(PERIOD_NONE);
        specs[i].spec.anchor_day = (int)number_read(31);
        specs[i].spec.week_start = (int)number_read(6);
        specs[i].count = number_read(DAYS_MAX);
        numbers_read(specs[i].days, specs[i].count);
    }
    for (; fread(timezone, sizeof(timezone), 1, stdin) == 1; zones++)
        zone_check(timezone);
    printf("calendar: %" PRId64 " zones, %" PRId64 " periods, asked %" PRId64 " times, %" PRId64
           " differences\n",
           zones, period_count_checked, asked, differences);
    return differences == 0 && zones > 0 ? 0 : 1;
}
