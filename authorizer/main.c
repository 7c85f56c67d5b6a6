/* SPDX-License-Identifier: MIT */
/* spendgate-authorizer: what it is made of. The rest is common/server.h and decide.h. */
#include "authorizer/decide.h"
#include "authorizer/verifier.h"
#include "common/server.h"

#include "common/banned.h"

static enum status
check(const struct settings *settings, const struct settings_problems *problems, struct error *err)
{
    return decider_check_settings(settings, problems, verifiers, err);
}

static enum status
open_worker(const struct settings *settings, const struct server_start *start, void **context,
            struct error *err)
{
    struct decider *decider = NULL;
    enum status status = decider_open(&(struct decider_options){ .settings = settings,
                                                                 .rows = verifiers,
                                                                 .workers = start->workers,
                                                                 .clock = start->clock },
                                      &decider, err);

    *context = decider;
    return status;
}

static void
handle(void *context, struct request *request, int64_t now_us)
{
    decider_handle(context, request, now_us);
}

static void
after(void *context)
{
    decider_after(context);
}

static void
close_worker(void *context)
{
    decider_close(context);
}

int
main(int argc, char **argv)
{
    static const struct server_program program = {
        .name = "spendgate-authorizer",
        .summary = "decide for a web server whether a request may run, and on whose budget",
        .check = check,
        .open = open_worker,
        .unavailable = decider_unavailable,
        .handle = handle,
        .after = after,
        .close = close_worker,
    };

    return server_main(argc, argv, &program);
}
