/* SPDX-License-Identifier: MIT */
/*
 * What every store has to do, in one process; several are in store_races.c.
 */
#include "tests/store/fixture.h"

#include "common/banned.h"

extern const struct check_group store_admission_tests;
extern const struct check_group store_budgets_tests;
extern const struct check_group store_accounts_tests;
extern const struct check_group store_holds_tests;
extern const struct check_group store_expiry_tests;
extern const struct check_group store_requests_tests;
extern const struct check_group store_posts_tests;
extern const struct check_group store_listings_tests;
extern const struct check_group store_prices_tests;

int
main(void)
{
    const struct check_group *const groups[] = {
        &store_admission_tests, &store_budgets_tests,  &store_accounts_tests,
        &store_holds_tests,     &store_expiry_tests,   &store_requests_tests,
        &store_posts_tests,     &store_listings_tests, &store_prices_tests,
    };

    return store_main(groups, CHECK_COUNT(groups), true);
}
