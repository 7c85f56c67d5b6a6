/* SPDX-License-Identifier: MIT */
/* spendgate-tracker: spend in, balance out. The calls are in router.c. */
#include "tracker/router.h"

#include "common/banned.h"

int
main(int argc, char **argv)
{
    return server_main(argc, argv, &tracker_program);
}
