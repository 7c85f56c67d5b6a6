/* SPDX-License-Identifier: MIT */
/* A settings file of any bytes: it loads with values in range, or is refused with a reason. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/settings.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

struct counts {
    size_t errors;
    size_t warnings;
};

static void
count(void *context, bool warning, const char *text)
{
    struct counts *counts = context;

    assert(strncmp(text, "/proc/self/fd/", 14) == 0);
    assert(strchr(text, '\n') == NULL);
    if (warning)
        counts->warnings++;
    else
        counts->errors++;
}

static void
check_settings(const struct settings *settings)
{
    const struct policy *policy = &settings->policy;

    assert(settings->clerk.accept != 0 && settings->clerk.rate.count > 0);
    assert(settings->hold_ttl_us > 0 && settings->max_charge_nanos > 0);
    assert(policy->plan_count <= PLANS_MAX && policy->route_count <= ROUTES_MAX);
    assert(policy->default_plan[0] == '\0' ||
           policy_plan_named(policy, policy->default_plan) != NULL);
    for (size_t i = 0; i < policy->plan_count; i++) {
        assert(policy_plan_named(policy, policy->plans[i].name) == &policy->plans[i]);
        assert(policy->plans[i].budget_count <= PLAN_BUDGETS_MAX);
    }
    for (size_t i = 0; i < policy->route_count; i++)
        assert(policy_route_find(policy, policy->routes[i].prefix) == &policy->routes[i]);
    (void)policy_plan_match(policy, NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct counts counts = { 0, 0 };
    const struct settings_problems problems = { count, &counts };
    struct settings *settings = NULL;
    struct error err = { 0 };
    char path[64];
    enum status status;
    int fd = memfd_create("spendgate.conf", MFD_CLOEXEC);

    assert(fd >= 0 && fchmod(fd, 0600) == 0);
    assert(write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    status = settings_open(path, &problems, &settings, &err);
    fuzz_result(status == STATUS_OK);
    if (status == STATUS_OK) {
        assert(counts.errors == 0);
        check_settings(settings);
    } else {
        assert(status == STATUS_INVALID && counts.errors > 0 && err.message[0] != '\0');
    }
    settings_close(settings);
    (void)close(fd);
    return 0;
}
