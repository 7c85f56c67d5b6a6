/* SPDX-License-Identifier: MIT */
/* spendgate migrate: make the store, or apply the schema steps that it lacks. */
#include <stdio.h>

#include "admin/command.h"

#include "common/banned.h"

int
run_migrate(struct admin *admin)
{
    struct store_options options;
    char folder[FILE_PATH_SIZE];
    struct error err = { 0 };
    int applied = 0;

    command_store_options(admin->settings, true, &options);
    if (command_store_folder(options.url, folder) &&
        command_become_owner(folder, &err) != STATUS_OK)
        return command_error(&err);
    if (store_migrate(&options, &applied, &err) != STATUS_OK)
        return command_error(&err);
    if (command_has(admin, OPTION_JSON))
        printf("{\"applied\":%d}\n", applied);
    else if (applied == 0)
        (void)puts("The store is up to date.");
    else
        printf("The store is up to date: %d schema step%s applied.\n", applied,
               applied == 1 ? "" : "s");
    return DONE;
}
