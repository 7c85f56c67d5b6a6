/* SPDX-License-Identifier: MIT */
#include "tests/settings/fixture.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/banned.h"

extern const struct check_group settings_examples_tests;
extern const struct check_group settings_values_tests;
extern const struct check_group settings_sections_tests;
extern const struct check_group settings_problems_tests;
extern const struct check_group settings_relations_tests;
extern const struct check_group settings_sources_tests;

static void
enter_new_folder(char *folder)
{
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) {
        perror(folder);
        exit(99);
    }
}

static void
remove_folder(const char *folder)
{
    static const char *const names[] = { FILE_NAME, "secret", "open", "fifo", "big", "named" };

    for (size_t i = 0; i < CHECK_COUNT(names); i++)
        (void)unlink(names[i]);
    if (chdir("/") != 0 || rmdir(folder) != 0)
        perror(folder);
}

int
main(void)
{
    static const char *const variables[] = {
        "SPENDGATE_CONFIG", "SPENDGATE_STORE_URL", "CLERK_SECRET_KEY",
        "CLERK_API_URL",    "CLERK_JWT_KEY",       "CLERK_WEBHOOK_SIGNING_SECRET",
    };
    static const struct check_group *const groups[] = {
        &settings_examples_tests, &settings_values_tests,    &settings_sections_tests,
        &settings_problems_tests, &settings_relations_tests, &settings_sources_tests,
    };
    char folder[] = "/tmp/test_settings.XXXXXX";
    int result;

    for (size_t i = 0; i < CHECK_COUNT(variables); i++)
        (void)unsetenv(variables[i]);
    (void)umask(022);
    enter_new_folder(folder);
    result = check_groups("settings", groups, CHECK_COUNT(groups));
    remove_folder(folder);
    return result;
}
