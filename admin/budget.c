/* SPDX-License-Identifier: MIT */
/* spendgate budget: limits set by hand, top-ups and boosts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/command.h"
#include "admin/output.h"

#include "common/banned.h"

/* The end of every budget change: the account with its new numbers. */
static int
report_budget(struct admin *admin, enum status status, const struct result *result,
              const struct error *err)
{
    const char *name = admin->arguments[0];

    if (status != STATUS_OK)
        return command_error(err);
    if (result->outcome != OUTCOME_DONE)
        return command_outcome(result, name);
    return account_print(admin, name);
}

int
run_budget_set(struct admin *admin)
{
    const struct actor actor = command_actor(admin);
    struct result *result;
    struct error err = { 0 };
    enum period_kind period;
    enum enforce enforce = ENFORCE_HARD;
    enum status status;
    int64_t limit_nanos;
    int code;

    if (!command_period(admin, admin->arguments[1], &period) ||
        !command_money(admin, admin->arguments[2], &limit_nanos))
        return USAGE;
    if (command_has(admin, OPTION_ENFORCE) &&
        !enforce_parse(admin->options[OPTION_ENFORCE], &enforce))
        return command_usage(admin, "--enforce: '%s' is not hard, warn or off",
                             admin->options[OPTION_ENFORCE]);
    result = calloc(1, sizeof(*result));
    if (result == NULL)
        return command_fail("out of memory");
    status = store_budget_set(admin->store, admin->arguments[0], period, limit_nanos,
                              command_has(admin, OPTION_ENFORCE) ? &enforce : NULL, &actor,
                              admin->now_us, result, &err);
    code = report_budget(admin, status, result, &err);
    free(result);
    return code;
}

int
run_budget_clear(struct admin *admin)
{
    const struct actor actor = command_actor(admin);
    struct result *result;
    struct error err = { 0 };
    enum period_kind period;
    enum status status;
    int code;

    if (!command_period(admin, admin->arguments[1], &period))
        return USAGE;
    result = calloc(1, sizeof(*result));
    if (result == NULL)
        return command_fail("out of memory");
    status = store_budget_clear(admin->store, admin->arguments[0], period, &actor, admin->now_us,
                                result, &err);
    code = report_budget(admin, status, result, &err);
    free(result);
    return code;
}

/* Read what `topup` and `boost` have in common. */
static bool
read_credit(const struct admin *admin, struct credit_request *request)
{
    const char *until = admin->options[OPTION_UNTIL];

    request->account = admin->arguments[0];
    request->boost = strcmp(admin->command->verb, "boost") == 0;
    if (!command_money(admin, admin->arguments[1], &request->amount_nanos))
        return false;
    if (request->amount_nanos == 0) {
        (void)command_usage(admin, "an amount of more than 0 is wanted");
        return false;
    }
    if (command_has(admin, OPTION_PERIOD) &&
        !command_period(admin, admin->options[OPTION_PERIOD], &request->period))
        return false;
    if (until == NULL && request->boost) {
        (void)command_usage(admin, "--until is wanted: a boost ends by itself");
        return false;
    }
    if (until != NULL && !command_time(admin, until, 1, &request->expires_us))
        return false;
    if (until != NULL && request->expires_us <= admin->now_us) {
        (void)command_usage(admin, "--until: %s is over already", until);
        return false;
    }
    return true;
}

int
run_budget_credit(struct admin *admin)
{
    const struct actor actor = command_actor(admin);
    struct credit_request request = { 0 };
    struct result *result;
    struct error err = { 0 };
    enum status status;
    int code;

    if (!read_credit(admin, &request))
        return USAGE;
    result = calloc(1, sizeof(*result));
    if (result == NULL)
        return command_fail("out of memory");
    status =
        store_credit(admin->store, &request, &actor, NULL, NULL, admin->now_us, result, NULL, &err);
    code = report_budget(admin, status, result, &err);
    free(result);
    return code;
}
