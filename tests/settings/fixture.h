/* SPDX-License-Identifier: MIT */
/*
 * The settings file: what loads, with which values, and what every bad file is told. The tests run
 * in a fresh folder of their own.
 */
#ifndef SPENDGATE_TESTS_SETTINGS_FIXTURE_H
#define SPENDGATE_TESTS_SETTINGS_FIXTURE_H

#include <sys/types.h>

#include "common/clock.h"
#include "common/money.h"
#include "common/settings.h"
#include "tests/check.h"

#define FILE_NAME "spendgate.conf" /* in a fresh folder, which main() makes and enters */
#define SHA_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define SHA_B "FF112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"
#define HOUR_US (3600 * US_PER_SECOND)
#define DAY_US (24 * HOUR_US)
#define USD MONEY_NANOS_PER_USD

/* What one reading told: errors as they are, warnings with "warning " before them. */
struct told {
    char storage[16384];
    struct buf text;
};

#define NO_PLAN "warning spendgate.conf: no plan: every request will be refused with no_plan"

/* Our own allocations, of which one can be made to fail (--wrap in Makefile.am). */
extern int allocations_left; /* -1: all succeed */

/* For `struct settings_problems`: notes in a `struct told`. */
void tell(void *context, bool warning, const char *text);

/* A file of that mode. */
void write_bytes(const char *name, const char *bytes, size_t length, mode_t mode);

/* What settings_open() makes of a file with these bytes; NULL unless `want` is STATUS_OK. */
struct settings *read_bytes(const char *bytes, size_t length, enum status want, struct told *told,
                            struct error *err);

/* The settings of `text`, which must load and tell exactly `warnings`. */
struct settings *load_with(const char *text, const char *warnings);

/* The same for a text that has no plan. */
struct settings *load(const char *text);

/* `text` is refused, telling exactly `problems`, of which the first is in the error. */
void check_refused_bytes(const char *text, size_t length, const char *problems);

void check_refused(const char *text, const char *problems);

/* The same for a text that has no plan, whose warning comes first. */
void check_refused_too(const char *text, const char *problem);

/* `pattern` with `value` in place of its "%s". */
const char *with_value(const char *pattern, const char *value, char *storage, size_t size);

/* It loads, whatever is told. */
void check_accepted(const char *pattern, const char *value);

#endif
