/* SPDX-License-Identifier: MIT */
#include "common/buf.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/period.h"
#include "tests/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/banned.h"

/* Linked with --wrap, so that running out of memory can be played. */
static int fail_setenv, fail_strdup;
int __real_setenv(const char *name, const char *value, int overwrite);
int __wrap_setenv(const char *name, const char *value, int overwrite);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);

int
__wrap_setenv(const char *name, const char *value, int overwrite)
{
    return fail_setenv > 0 && --fail_setenv == 0 ? -1 : __real_setenv(name, value, overwrite);
}

char *
__wrap_strdup(const char *text)
{
    return fail_strdup > 0 && --fail_strdup == 0 ? NULL : __real_strdup(text);
}

static int64_t
at(const char *text)
{
    int64_t time_us = -1;

    CHECK_TRUE("time of the test", text_to_time_us(text, &time_us));
    return time_us;
}

static struct period_spec
spec_of(enum period_kind kind, const char *zone)
{
    struct period_spec spec = { .kind = kind, .anchor_day = 1, .week_start = 1 };

    snprintf(spec.timezone, sizeof(spec.timezone), "%s", zone);
    return spec;
}

/* The period of `when` is [start, end), asked at its first, its own and its last instant. */
#define CHECK_PERIOD(spec, when, start, end) \
    check_period(&(spec), at(when), at(start), at(end), __FILE__, __LINE__)

static void
check_period(const struct period_spec *spec, int64_t when_us, int64_t start_us, int64_t end_us,
             const char *file, unsigned line)
{
    const int64_t instants[] = { start_us < 0 ? 0 : start_us, when_us, end_us - 1 };
    struct period period;
    struct error err;

    for (size_t i = 0; i < CHECK_COUNT(instants); i++) {
        enum status status = period_containing(spec, instants[i], &period, &err);

        check_status(STATUS_OK, status, &err, file, line);
        check_int("start", start_us, period.start_us, file, line);
        check_int("end", end_us, period.end_us, file, line);
    }
}

static void
test_kind_names_are_read_and_written(void)
{
    const char *const names[] = { "hour", "day", "week", "month", "year", "none" };
    enum period_kind kind;

    for (int i = 0; i < 6; i++) {
        kind = 0;
        CHECK_TRUE("read", period_kind_parse(names[i], &kind));
        CHECK_INT("kind", PERIOD_HOUR + i, kind);
        CHECK_STRING("name", names[i], period_kind_name(kind));
    }
    kind = PERIOD_DAY;
    CHECK_FALSE("unknown", period_kind_parse("fortnight", &kind));
    CHECK_FALSE("empty", period_kind_parse("", &kind));
    CHECK_FALSE("capital", period_kind_parse("Day", &kind));
    CHECK_INT("untouched", PERIOD_DAY, kind);
}

static void
test_normalize_fixes_what_a_kind_does_not_use(void)
{
    const struct {
        enum period_kind kind;
        const char *timezone;
        int anchor_day, week_start;
    } wanted[] = {
        { PERIOD_HOUR, "Asia/Tokyo", 1, 1 },  { PERIOD_DAY, "Asia/Tokyo", 1, 1 },
        { PERIOD_WEEK, "Asia/Tokyo", 1, 5 },  { PERIOD_MONTH, "Asia/Tokyo", 31, 1 },
        { PERIOD_YEAR, "Asia/Tokyo", 31, 1 }, { PERIOD_NONE, "UTC", 1, 1 },
    };

    for (size_t i = 0; i < CHECK_COUNT(wanted); i++) {
        struct period_spec spec = spec_of(wanted[i].kind, "Asia/Tokyo");

        spec.anchor_day = 31;
        spec.week_start = 5;
        period_spec_normalize(&spec);
        CHECK_STRING("zone", wanted[i].timezone, spec.timezone);
        CHECK_INT("anchor", wanted[i].anchor_day, spec.anchor_day);
        CHECK_INT("week start", wanted[i].week_start, spec.week_start);
    }
}

static void
test_specs_are_equal_only_in_every_part(void)
{
    struct period_spec a = spec_of(PERIOD_MONTH, "Asia/Tokyo"), b = a;

    CHECK_TRUE("same", period_spec_equal(&a, &b));
    b.kind = PERIOD_YEAR;
    CHECK_FALSE("kind", period_spec_equal(&a, &b));
    b = a;
    b.anchor_day = 2;
    CHECK_FALSE("anchor", period_spec_equal(&a, &b));
    b = a;
    b.week_start = 2;
    CHECK_FALSE("week start", period_spec_equal(&a, &b));
    b = spec_of(PERIOD_MONTH, "Asia/Toky");
    CHECK_FALSE("zone", period_spec_equal(&a, &b));
}

static void
test_timezone_known_takes_names_of_the_zone_database_only(void)
{
    const char *const known[] = { "UTC", "Etc/GMT+12", "America/Argentina/ComodRivadavia",
                                  "EST5EDT", "America/Port-au-Prince" };
    const char *const unknown[] = {
        "",
        "Mars/Olympus",
        "Europe",
        "Europe/",
        "/usr/share/zoneinfo/UTC",
        "../zoneinfo/UTC",
        "Europe/../UTC",
        "localtime",
        "posixrules",
        "right/UTC",
        "posix/UTC",
        "tzdata.zi",
        "zone.tab",
        ":UTC",
        "UTC ",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "AmericaAmericaAmericaAmericaAmericaAmericaAmerica",
    };

    for (size_t i = 0; i < CHECK_COUNT(known); i++)
        CHECK_TRUE(known[i], period_timezone_known(known[i]));
    for (size_t i = 0; i < CHECK_COUNT(unknown); i++)
        check_true(unknown[i], !period_timezone_known(unknown[i]), __FILE__, __LINE__);
}

/* A zone database of our own: what it lacks is unknown, what is no zone file is refused. */
static void
test_timezone_known_follows_tzdir(void)
{
    char folder[] = "/tmp/test_period.XXXXXX", path[64], deep[5000];
    struct period_spec spec = spec_of(PERIOD_DAY, "Tokyo");
    int fd;

    CHECK_TRUE("folder", mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/Tokyo", folder);
    CHECK_INT("link", 0, symlink("/usr/share/zoneinfo/Asia/Tokyo", path));
    CHECK_INT("TZDIR", 0, setenv("TZDIR", folder, 1));
    CHECK_TRUE("there", period_timezone_known("Tokyo"));
    CHECK_FALSE("not there", period_timezone_known("Europe/Berlin"));
    CHECK_PERIOD(spec, "2024-05-01T00:00:00Z", "2024-04-30T15:00:00Z", "2024-05-01T15:00:00Z");
    CHECK_INT("unlink", 0, unlink(path));
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    CHECK_INT("three bytes", 3, write(fd, "TZi", 3));
    CHECK_FALSE("short", period_timezone_known("Tokyo"));
    CHECK_INT("other bytes", 3, write(fd, "xyz", 3));
    CHECK_FALSE("not a zone file", period_timezone_known("Tokyo"));
    close(fd);
    CHECK_INT("unlink", 0, unlink(path));
    CHECK_INT("rmdir", 0, rmdir(folder));
    memset(deep, 'a', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    CHECK_INT("TZDIR", 0, setenv("TZDIR", deep, 1));
    CHECK_FALSE("path too long", period_timezone_known("Tokyo"));
    CHECK_INT("TZDIR", 0, setenv("TZDIR", "", 1));
    CHECK_TRUE("an empty one is none", period_timezone_known("Asia/Tokyo"));
    CHECK_INT("TZDIR", 0, unsetenv("TZDIR"));
}

static void
test_none_is_one_period_for_good(void)
{
    struct period_spec spec = spec_of(PERIOD_NONE, "UTC");
    struct period period;
    struct error err;

    CHECK_STATUS(STATUS_OK, period_containing(&spec, at("2024-05-01T00:00:00Z"), &period, &err),
                 &err);
    CHECK_INT("start", 0, period.start_us);
    CHECK_INT("end", PERIOD_NEVER_US, period.end_us);
}

static void
test_utc_periods_follow_the_calendar(void)
{
    struct period_spec spec = spec_of(PERIOD_HOUR, "UTC");

    CHECK_PERIOD(spec, "2024-02-29T23:59:59.999999Z", "2024-02-29T23:00:00Z",
                 "2024-03-01T00:00:00Z");
    spec.kind = PERIOD_DAY;
    CHECK_PERIOD(spec, "2024-02-29T12:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z");
    spec.kind = PERIOD_WEEK;
    CHECK_PERIOD(spec, "2024-02-29T12:00:00Z", "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z");
    spec.week_start = 0;
    CHECK_PERIOD(spec, "2024-02-29T12:00:00Z", "2024-02-25T00:00:00Z", "2024-03-03T00:00:00Z");
    spec.week_start = 4; /* the day itself */
    CHECK_PERIOD(spec, "2024-02-29T12:00:00Z", "2024-02-29T00:00:00Z", "2024-03-07T00:00:00Z");
    spec = spec_of(PERIOD_MONTH, "UTC");
    CHECK_PERIOD(spec, "2024-12-31T12:00:00Z", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z");
    spec.kind = PERIOD_YEAR;
    CHECK_PERIOD(spec, "2024-12-31T12:00:00Z", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
}

static void
test_anchor_day_is_kept_across_short_months(void)
{
    struct period_spec spec = spec_of(PERIOD_MONTH, "UTC");

    spec.anchor_day = 31;
    CHECK_PERIOD(spec, "2023-02-10T00:00:00Z", "2023-01-31T00:00:00Z", "2023-02-28T00:00:00Z");
    CHECK_PERIOD(spec, "2023-03-10T00:00:00Z", "2023-02-28T00:00:00Z", "2023-03-31T00:00:00Z");
    CHECK_PERIOD(spec, "2023-04-10T00:00:00Z", "2023-03-31T00:00:00Z", "2023-04-30T00:00:00Z");
    CHECK_PERIOD(spec, "2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z");
    CHECK_PERIOD(spec, "2023-01-10T00:00:00Z", "2022-12-31T00:00:00Z", "2023-01-31T00:00:00Z");
    spec.anchor_day = 15;
    CHECK_PERIOD(spec, "2023-12-20T00:00:00Z", "2023-12-15T00:00:00Z", "2024-01-15T00:00:00Z");
    CHECK_PERIOD(spec, "2023-01-14T00:00:00Z", "2022-12-15T00:00:00Z", "2023-01-15T00:00:00Z");
}

static void
test_a_year_starts_in_january_on_its_anchor_day(void)
{
    struct period_spec spec = spec_of(PERIOD_YEAR, "UTC");

    spec.anchor_day = 31;
    CHECK_PERIOD(spec, "2024-01-30T00:00:00Z", "2023-01-31T00:00:00Z", "2024-01-31T00:00:00Z");
    CHECK_PERIOD(spec, "2024-12-31T00:00:00Z", "2024-01-31T00:00:00Z", "2025-01-31T00:00:00Z");
}

static void
test_days_of_23_and_25_hours(void)
{
    struct period_spec spec = spec_of(PERIOD_DAY, "America/New_York");

    CHECK_PERIOD(spec, "2024-03-10T12:00:00Z", "2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z");
    CHECK_PERIOD(spec, "2024-11-03T12:00:00Z", "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z");
}

/* 2018-11-04 began at 01:00 in Brazil. */
static void
test_a_midnight_that_does_not_exist_is_the_jump(void)
{
    struct period_spec spec = spec_of(PERIOD_DAY, "America/Sao_Paulo");

    CHECK_PERIOD(spec, "2018-11-03T12:00:00Z", "2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z");
    CHECK_PERIOD(spec, "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
}

/* Cuba's clock goes from 01:00 back to 00:00. */
static void
test_a_midnight_that_comes_twice_counts_the_first_time(void)
{
    struct period_spec spec = spec_of(PERIOD_DAY, "America/Havana");

    CHECK_PERIOD(spec, "2023-11-05T05:30:00Z", "2023-11-05T04:00:00Z", "2023-11-06T05:00:00Z");
}

/* Newfoundland's clock went from 00:01 back to 23:01 of the day before. */
static void
test_a_clock_that_goes_back_over_midnight_does_not_reopen_the_day(void)
{
    struct period_spec spec = spec_of(PERIOD_DAY, "America/St_Johns");

    CHECK_PERIOD(spec, "2006-10-29T02:29:59Z", "2006-10-28T02:30:00Z", "2006-10-29T02:30:00Z");
    CHECK_PERIOD(spec, "2006-10-29T02:45:00Z", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z");
    spec.kind = PERIOD_WEEK;
    spec.week_start = 0;
    CHECK_PERIOD(spec, "2006-10-29T02:45:00Z", "2006-10-29T02:30:00Z", "2006-11-05T03:30:00Z");
}

/* Samoa had no 2011-12-30. */
static void
test_a_date_that_was_skipped_is_no_period(void)
{
    struct period_spec spec = spec_of(PERIOD_DAY, "Pacific/Apia");

    CHECK_PERIOD(spec, "2011-12-30T09:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
    CHECK_PERIOD(spec, "2011-12-30T12:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z");
    spec.kind = PERIOD_WEEK;
    spec.week_start = 5; /* that date was a Friday */
    CHECK_PERIOD(spec, "2011-12-30T12:00:00Z", "2011-12-30T10:00:00Z", "2012-01-05T10:00:00Z");
    spec = spec_of(PERIOD_MONTH, "Pacific/Apia");
    spec.anchor_day = 30;
    CHECK_PERIOD(spec, "2011-12-30T12:00:00Z", "2011-12-30T10:00:00Z", "2012-01-29T10:00:00Z");
}

static void
test_an_hour_that_comes_twice_is_two_hours(void)
{
    struct period_spec spec = spec_of(PERIOD_HOUR, "America/New_York");

    CHECK_PERIOD(spec, "2024-11-03T05:30:00Z", "2024-11-03T05:00:00Z", "2024-11-03T06:00:00Z");
    CHECK_PERIOD(spec, "2024-11-03T06:30:00Z", "2024-11-03T06:00:00Z", "2024-11-03T07:00:00Z");
    CHECK_PERIOD(spec, "2024-03-10T07:30:00Z", "2024-03-10T07:00:00Z", "2024-03-10T08:00:00Z");
}

/* Lord Howe Island moves its clock by half an hour: 02:00 to 01:30, and 02:00 to 02:30. */
static void
test_a_change_of_half_an_hour_lengthens_and_shortens_an_hour(void)
{
    struct period_spec spec = spec_of(PERIOD_HOUR, "Australia/Lord_Howe");

    CHECK_PERIOD(spec, "2024-04-06T15:10:00Z", "2024-04-06T14:00:00Z", "2024-04-06T15:30:00Z");
    CHECK_PERIOD(spec, "2024-04-06T15:40:00Z", "2024-04-06T15:30:00Z", "2024-04-06T16:30:00Z");
    CHECK_PERIOD(spec, "2024-10-05T15:00:00Z", "2024-10-05T14:30:00Z", "2024-10-05T15:30:00Z");
    CHECK_PERIOD(spec, "2024-10-05T15:40:00Z", "2024-10-05T15:30:00Z", "2024-10-05T16:00:00Z");
}

/* 00:01 back to 23:01: the hour of midnight lasts a minute, the repeated 23 o'clock 59 minutes. */
static void
test_an_hour_ends_where_the_clock_leaves_it(void)
{
    struct period_spec spec = spec_of(PERIOD_HOUR, "America/St_Johns");

    CHECK_PERIOD(spec, "2006-10-29T02:30:30Z", "2006-10-29T02:30:00Z", "2006-10-29T02:31:00Z");
    CHECK_PERIOD(spec, "2006-10-29T02:40:00Z", "2006-10-29T02:31:00Z", "2006-10-29T03:30:00Z");
    spec = spec_of(PERIOD_HOUR,
                   "Asia/Kathmandu"); /* 1986: five and a half to five and three quarters */
    CHECK_PERIOD(spec, "1985-12-31T18:40:00Z", "1985-12-31T18:30:00Z", "1985-12-31T19:15:00Z");
}

static void
test_the_first_period_may_begin_before_1970(void)
{
    struct period_spec spec = spec_of(PERIOD_MONTH, "America/New_York");
    struct period period;
    struct error err;

    CHECK_STATUS(STATUS_OK, period_containing(&spec, 0, &period, &err), &err);
    CHECK_INT("start", -(31 * INT64_C(86400) - 5 * 3600) * US_PER_SECOND, period.start_us);
    CHECK_INT("end", at("1970-01-01T05:00:00Z"), period.end_us);
    spec.kind = PERIOD_HOUR;
    CHECK_STATUS(STATUS_OK, period_containing(&spec, 0, &period, &err), &err);
    CHECK_INT("start", 0, period.start_us);
}

static void
test_the_last_year_is_9998(void)
{
    struct period_spec spec = spec_of(PERIOD_YEAR, "Europe/Berlin");
    struct period period = { 1, 1 };
    struct error err;

    CHECK_PERIOD(spec, "9998-07-01T00:00:00Z", "9997-12-31T23:00:00Z", "9998-12-31T23:00:00Z");
    CHECK_STATUS(STATUS_INVALID,
                 period_containing(&spec, at("9999-01-01T00:00:00Z"), &period, &err), &err);
    CHECK_STRING("message", "period: the time is outside the years 1970 to 9998", err.message);
    CHECK_INT("no period", 0, period.end_us);
    CHECK_STATUS(STATUS_INVALID, period_containing(&spec, -1, &period, &err), &err);
}

static void
test_an_unknown_zone_or_kind_is_refused(void)
{
    struct period_spec spec = spec_of(PERIOD_DAY, "Mars/Olympus");
    struct period period = { 1, 1 };
    struct error err;

    CHECK_STATUS(STATUS_INVALID, period_containing(&spec, 0, &period, &err), &err);
    CHECK_STRING("message",
                 "time zone Mars/Olympus is not in this machine's zone database: install tzdata",
                 err.message);
    CHECK_INT("no period", 0, period.end_us);
    spec.kind = 0;
    CHECK_STATUS(STATUS_INVALID, period_containing(&spec, 0, &period, &err), &err);
    CHECK_STRING("message", "period: 0 is no kind of period", err.message);
    spec.kind = PERIOD_NONE + 1;
    CHECK_STATUS(STATUS_INVALID, period_containing(&spec, 0, &period, &err), &err);
}

static void
test_count_takes_the_periods_that_begin_in_the_span(void)
{
    struct period_spec spec = spec_of(PERIOD_DAY, "Pacific/Apia");
    const int64_t from_us = at("2011-12-29T10:00:00Z"), until_us = at("2012-01-01T10:00:00Z");
    int64_t count = -1;
    struct error err;

    CHECK_STATUS(STATUS_OK, period_count(&spec, from_us, until_us, 99, &count, &err), &err);
    CHECK_INT("a date was skipped", 3, count);
    CHECK_STATUS(STATUS_OK, period_count(&spec, from_us + 1, until_us + 1, 99, &count, &err), &err);
    CHECK_INT("the first has begun, another begins", 3, count);
    CHECK_STATUS(STATUS_OK, period_count(&spec, from_us, until_us, 2, &count, &err), &err);
    CHECK_INT("up to", 2, count);
    CHECK_STATUS(STATUS_OK, period_count(&spec, from_us, from_us, 99, &count, &err), &err);
    CHECK_INT("empty", 0, count);
    CHECK_STATUS(STATUS_OK, period_count(&spec, from_us + 1, from_us + 2, 99, &count, &err), &err);
    CHECK_INT("inside one", 0, count);
    spec.kind = PERIOD_HOUR;
    CHECK_STATUS(STATUS_OK, period_count(&spec, from_us, until_us, 99, &count, &err), &err);
    CHECK_INT("hours", 72, count);
    spec.kind = PERIOD_NONE;
    CHECK_STATUS(STATUS_OK, period_count(&spec, from_us, until_us, 99, &count, &err), &err);
    CHECK_INT("none begins", 0, count);
    spec = spec_of(PERIOD_DAY, "Mars/Olympus");
    CHECK_STATUS(STATUS_INVALID, period_count(&spec, from_us, until_us, 99, &count, &err), &err);
    CHECK_STATUS(STATUS_INVALID, period_count(&spec, -1, until_us, 99, &count, &err), &err);
    CHECK_STATUS(STATUS_INVALID, period_count(&spec, from_us, -1, 99, &count, &err), &err);
    CHECK_STRING("message", "period: the time is outside the years 1970 to 9998", err.message);
}

static void
test_the_process_keeps_its_own_zone(void)
{
    struct period_spec spec = spec_of(PERIOD_DAY, "Asia/Tokyo");
    struct period period;
    struct error err;

    CHECK_INT("TZ", 0, setenv("TZ", "America/Lima", 1));
    CHECK_PERIOD(spec, "2024-05-01T00:00:00Z", "2024-04-30T15:00:00Z", "2024-05-01T15:00:00Z");
    CHECK_STRING("TZ", "America/Lima", getenv("TZ"));
    CHECK_INT("zone in use", 5 * 3600, timezone);
    CHECK_INT("TZ", 0, setenv("TZ", ":Asia/Tokyo", 1)); /* the one that is wanted */
    CHECK_PERIOD(spec, "2024-05-01T00:00:00Z", "2024-04-30T15:00:00Z", "2024-05-01T15:00:00Z");
    CHECK_STRING("TZ", ":Asia/Tokyo", getenv("TZ"));
    CHECK_INT("TZ", 0, unsetenv("TZ"));
    CHECK_PERIOD(spec, "2024-05-01T00:00:00Z", "2024-04-30T15:00:00Z", "2024-05-01T15:00:00Z");
    CHECK_STRING("TZ", NULL, getenv("TZ"));
    spec = spec_of(PERIOD_DAY, "UTC");
    CHECK_STATUS(STATUS_OK, period_containing(&spec, 0, &period, &err), &err);
    CHECK_STRING("TZ", NULL, getenv("TZ"));
}

static void
test_running_out_of_memory_is_an_error_and_leaves_no_other_zone(void)
{
    struct period_spec spec = spec_of(PERIOD_DAY, "Asia/Tokyo");
    struct period period = { 1, 1 };
    struct error err;

    CHECK_INT("TZ", 0, setenv("TZ", "America/Lima", 1));
    fail_strdup = 1;
    CHECK_STATUS(STATUS_NO_MEMORY, period_containing(&spec, 0, &period, &err), &err);
    CHECK_STRING("message", "period: out of memory", err.message);
    fail_setenv = 1;
    CHECK_STATUS(STATUS_NO_MEMORY, period_containing(&spec, 0, &period, &err), &err);
    CHECK_STRING("message", "period: out of memory", err.message);
    CHECK_INT("no period", 0, period.end_us);
    CHECK_STRING("TZ", "America/Lima", getenv("TZ"));
    fail_setenv = 2; /* on the way back */
    CHECK_STATUS(STATUS_OK, period_containing(&spec, 0, &period, &err), &err);
    CHECK_STRING("rather none than a customer's", NULL, getenv("TZ"));
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_kind_names_are_read_and_written),
        CHECK_TEST(test_normalize_fixes_what_a_kind_does_not_use),
        CHECK_TEST(test_specs_are_equal_only_in_every_part),
        CHECK_TEST(test_timezone_known_takes_names_of_the_zone_database_only),
        CHECK_TEST(test_timezone_known_follows_tzdir),
        CHECK_TEST(test_none_is_one_period_for_good),
        CHECK_TEST(test_utc_periods_follow_the_calendar),
        CHECK_TEST(test_anchor_day_is_kept_across_short_months),
        CHECK_TEST(test_a_year_starts_in_january_on_its_anchor_day),
        CHECK_TEST(test_days_of_23_and_25_hours),
        CHECK_TEST(test_a_midnight_that_does_not_exist_is_the_jump),
        CHECK_TEST(test_a_midnight_that_comes_twice_counts_the_first_time),
        CHECK_TEST(test_a_clock_that_goes_back_over_midnight_does_not_reopen_the_day),
        CHECK_TEST(test_a_date_that_was_skipped_is_no_period),
        CHECK_TEST(test_an_hour_that_comes_twice_is_two_hours),
        CHECK_TEST(test_a_change_of_half_an_hour_lengthens_and_shortens_an_hour),
        CHECK_TEST(test_an_hour_ends_where_the_clock_leaves_it),
        CHECK_TEST(test_the_first_period_may_begin_before_1970),
        CHECK_TEST(test_the_last_year_is_9998),
        CHECK_TEST(test_an_unknown_zone_or_kind_is_refused),
        CHECK_TEST(test_count_takes_the_periods_that_begin_in_the_span),
        CHECK_TEST(test_the_process_keeps_its_own_zone),
        CHECK_TEST(test_running_out_of_memory_is_an_error_and_leaves_no_other_zone),
    };

    return check_main("period", tests, CHECK_COUNT(tests));
}
