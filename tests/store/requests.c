/* SPDX-License-Identifier: MIT */
/*
 * Several calls for one client request: they share hold, rate and slot.
 */
#include "tests/store/fixture.h"

#include "common/banned.h"

static void
test_calls_of_one_client_request_share_hold_rate_and_slot(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = { .names = &names,
                             .plan = &f->plans[0],
                             .verification = 1,
                             .credential = { 7 },
                             .unique_id = "uid-1" };
    int64_t first;

    f->plans[0].concurrency = 1;
    f->plans[0].rate =
        (struct rate){ .count = 1, .per_us = 3600 * SECOND, .burst = 1, .text = "1/1h" };
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("first", f->verdict.allow);
    first = f->verdict.hold.id;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("second", f->verdict.allow);
    CHECK_INT("same hold", first, f->verdict.hold.id);
    ask.credential[0] = 8;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("another credential", f->verdict.allow);
    CHECK_INT("reason", REASON_RATE, f->verdict.reason);
    ask.credential[0] = 7;
    CHECK_INT("freeze", OUTCOME_DONE, change(f, "user_1", ACCOUNT_FREEZE, 0, NULL));
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("every other check runs again", f->verdict.allow);
    CHECK_INT("held", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_calls_without_a_hold_share_their_rate_for_a_minute(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = "uid-1"
    };

    f->plans[0].hold.nanos = 0;
    f->plans[0].rate =
        (struct rate){ .count = 1, .per_us = 3600 * SECOND, .burst = 1, .text = "1/1h" };
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("first", f->verdict.allow);
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON + 59 * SECOND, &f->verdict, &f->err),
                 &f->err);
    CHECK_TRUE("within the minute", f->verdict.allow);
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON + 60 * SECOND, &f->verdict, &f->err),
                 &f->err);
    CHECK_FALSE("after it", f->verdict.allow);
    teardown(f);
}

static void
test_a_redirected_call_passes_only_with_its_own_hold(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = { .names = &names,
                             .plan = &f->plans[0],
                             .verification = 1,
                             .credential = { 7 },
                             .unique_id = "uid-1" };
    char id[PUBLIC_ID_SIZE];

    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    hold_text(&f->verdict.hold, id);
    ask.redirected = true;
    ask.redirected_hold_id = id;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("its own", f->verdict.allow);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, NOON));
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("settled", f->verdict.allow);
    ask.unique_id = "uid-2";
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("another request", f->verdict.allow);
    CHECK_INT("reason", REASON_NOT_YOURS, f->verdict.reason);
    ask.unique_id = "uid-1";
    ask.credential[0] = 8;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("another credential", REASON_NOT_YOURS, f->verdict.reason);
    ask.credential[0] = 7;
    ask.redirected_hold_id = "";
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("no hold", REASON_NOT_YOURS, f->verdict.reason);
    CHECK_INT("held", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_a_redirected_call_with_a_voided_hold_is_refused(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = "uid-1"
    };
    char id[PUBLIC_ID_SIZE];

    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    hold_text(&f->verdict.hold, id);
    CHECK_INT("void", OUTCOME_DONE, void_hold(f, id, NOON));
    ask.redirected = true;
    ask.redirected_hold_id = id;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("voided", REASON_NOT_YOURS, f->verdict.reason);
    teardown(f);
}

static void
test_a_unique_id_that_is_too_long_is_none(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    char unique[300];
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = unique
    };

    memset(unique, 'u', sizeof(unique));
    unique[255] = '\0';
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("one hold", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    unique[255] = 'u';
    unique[256] = '\0';
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("two more", 15 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_calls_of_one_client_request_share_hold_rate_and_slot),
    CHECK_TEST(test_calls_without_a_hold_share_their_rate_for_a_minute),
    CHECK_TEST(test_a_redirected_call_passes_only_with_its_own_hold),
    CHECK_TEST(test_a_redirected_call_with_a_voided_hold_is_refused),
    CHECK_TEST(test_a_unique_id_that_is_too_long_is_none),
};
const struct check_group store_requests_tests = { tests, CHECK_COUNT(tests) };
