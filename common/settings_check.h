/* SPDX-License-Identifier: MIT */
/*
 * What has to hold between the values of a settings file, each of which is good by itself. For
 * settings.c only.
 * Source: contract, section 2.
 */
#ifndef SPENDGATE_SETTINGS_CHECK_H
#define SPENDGATE_SETTINGS_CHECK_H

#include "common/settings.h"
#include "common/settings_problem.h"

/* Where things stand in the file; 0 where they do not. */
struct settings_lines {
    int default_plan, default_route;
    int accept, api_url, timeout;
    int plans[PLANS_MAX];
    int budgets[PLANS_MAX][PLAN_BUDGETS_MAX];
    int routes[ROUTES_MAX];
    int tokens[LIST_MAX];
};

/* Add every contradiction to `problems`. */
void settings_check(const struct settings *settings, const struct settings_lines *lines,
                    struct problem_list *problems);

#endif
