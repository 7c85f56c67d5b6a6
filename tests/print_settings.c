/* SPDX-License-Identifier: MIT */
/* Prints the settings table for check_settings_documented.sh: one key per line, fields between
 * tabs. */
#include "common/settings.h"

#include <stdio.h>

#include "common/banned.h"

static void
print_line(void *context, const char *text)
{
    (void)context;
    puts(text);
}

int
main(void)
{
    settings_describe(print_line, NULL);
    return fflush(stdout) == 0 ? 0 : 1;
}
