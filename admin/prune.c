/* SPDX-License-Identifier: MIT */
/* spendgate prune: remove what is past its promised time. */
#include <inttypes.h>
#include <stdio.h>

#include "admin/command.h"

#include "common/banned.h"

int
run_prune(struct admin *admin)
{
    const char *age = admin->options[OPTION_OLDER_THAN];
    struct error err = { 0 };
    int64_t age_us = 0, before_us = 0, removed = 0;

    if (age != NULL && (!settings_parse_duration(age, &age_us) || age_us <= 0))
        return command_usage(admin, "--older-than: '%s' is no age like 400d", age);
    if (age != NULL && age_us >= admin->now_us)
        return command_usage(admin, "--older-than: nothing is as old as %s", age);
    if (age != NULL)
        before_us = admin->now_us - age_us;
    if (store_prune(admin->store, before_us, admin->now_us, &removed, &err) != STATUS_OK)
        return command_error(&err);
    printf(command_has(admin, OPTION_JSON) ? "{\"removed\":%" PRId64 "}\n"
                                           : "%" PRId64 " rows removed.\n",
           removed);
    return DONE;
}
