/* SPDX-License-Identifier: MIT */
/*
 * Problems of a settings file as they are found: told one by one, counted, the first one kept. For
 * the settings_*.c files only.
 */
#ifndef SPENDGATE_SETTINGS_PROBLEM_H
#define SPENDGATE_SETTINGS_PROBLEM_H

#include <stddef.h>

#include "common/error.h"
#include "common/settings.h"

struct problem_list {
    const char *file;
    const struct settings_problems *told; /* may be NULL */
    struct error *err;                    /* gets the first error; may be NULL */
    size_t errors;
};

/* "FILE:LINE: KEY: problem". Without ":LINE" when `line` is 0, without "KEY: " when `key` is NULL.
 */
void problem_error(struct problem_list *list, int line, const char *key, const char *format, ...)
    PRINTF_LIKE(4, 5);
void problem_warning(struct problem_list *list, int line, const char *key, const char *format, ...)
    PRINTF_LIKE(4, 5);

#endif
