/* SPDX-License-Identifier: MIT */
#include "tests/ledger/fixture.h"

#include "common/banned.h"

extern const struct check_group ledger_caps_tests;
extern const struct check_group ledger_holds_tests;
extern const struct check_group ledger_admission_tests;
extern const struct check_group ledger_charges_tests;
extern const struct check_group ledger_lines_tests;
extern const struct check_group ledger_rates_tests;

int
main(void)
{
    static const struct check_group *const groups[] = {
        &ledger_caps_tests,    &ledger_holds_tests, &ledger_admission_tests,
        &ledger_charges_tests, &ledger_lines_tests, &ledger_rates_tests,
    };

    return check_groups("ledger", groups, CHECK_COUNT(groups));
}
