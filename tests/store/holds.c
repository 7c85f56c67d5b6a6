/* SPDX-License-Identifier: MIT */
/*
 * Holds: expiry, late posts, heartbeats, voids, slots, and holds outside a request.
 */
#include "tests/store/fixture.h"

#include "common/banned.h"

static void
test_i5_an_expired_hold_frees_its_room_and_its_late_post_is_recorded_once(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    int64_t late = NOON + TTL;

    f->plans[0].budgets[0].limit_nanos = 5 * CENT;
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_FALSE("full", admit(f, "user_1", late - 1));
    CHECK_TRUE("free", admit(f, "user_1", late));
    CHECK_INT("late", OUTCOME_DONE, spend_hold(f, id, NULL, 2 * CENT, late));
    CHECK_STRING("word", "expired", f->result.hold_word);
    CHECK_TRUE("kept", f->result.hold.state == HOLD_EXPIRED);
    CHECK_INT("again", OUTCOME_REPLAYED, spend_hold(f, id, NULL, 2 * CENT, late));
    CHECK_INT("other", OUTCOME_HOLD_SETTLED, spend_hold(f, id, NULL, CENT, late));
    CHECK_INT("spent", 2 * CENT, line_of(f, "user_1", PERIOD_MONTH, late).spent_nanos);
    teardown(f);
}

static void
test_a_post_after_the_time_is_expired_also_when_nobody_looked_before(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("late", OUTCOME_DONE, spend_hold(f, id, NULL, 2 * CENT, NOON + TTL));
    CHECK_STRING("word", "expired", f->result.hold_word);
    teardown(f);
}

static void
test_on_expiry_charge_charges_once_and_a_late_post_corrects_it(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    int64_t late = NOON + TTL;

    store_close(f->store);
    f->options.charge_on_expiry = true;
    open_store(f);
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("charged", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, late).spent_nanos);
    CHECK_INT("held", 0, line_of(f, "user_1", PERIOD_MONTH, late).held_nanos);
    CHECK_INT("verify", 0, differences(f, late));
    CHECK_INT("late", OUTCOME_DONE, spend_hold(f, id, NULL, 2 * CENT, late));
    CHECK_STRING("word", "expired", f->result.hold_word);
    CHECK_INT("corrected", 2 * CENT, line_of(f, "user_1", PERIOD_MONTH, late).spent_nanos);
    CHECK_INT("again", OUTCOME_REPLAYED, spend_hold(f, id, NULL, 2 * CENT, late));
    teardown(f);
}

static bool
first_charge(void *context, const struct charge *charge)
{
    *(struct charge *)context = *charge;
    return false;
}

static void
test_a_refund_of_what_an_expiry_charged_leaves_less_for_the_late_post(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE], charge_id[PUBLIC_ID_SIZE];
    int64_t late = NOON + TTL;
    struct charge charge;
    struct charge_filter any = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };

    store_close(f->store);
    f->options.charge_on_expiry = true;
    open_store(f);
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("charged", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, late).spent_nanos);
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &any, first_charge, &charge, &f->err), &f->err);
    public_id_format("chg_", charge.id, charge.nonce, charge_id);
    CHECK_STATUS(STATUS_OK,
                 store_refund(f->store, charge_id, 3 * CENT, "ops", NULL, NULL, &writer, late,
                              &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("refund", OUTCOME_DONE, f->result.outcome);
    CHECK_INT("verify", 0, differences(f, late));
    CHECK_INT("late", OUTCOME_DONE, spend_hold(f, id, NULL, 4 * CENT, late));
    CHECK_INT("spent", 4 * CENT, line_of(f, "user_1", PERIOD_MONTH, late).spent_nanos);
    teardown(f);
}

static enum outcome
extend(struct fixture *f, const char *id, int64_t nanos, int64_t now_us)
{
    CHECK_STATUS(STATUS_OK,
                 store_hold_extend(f->store, id, nanos, NULL, &writer, now_us, &f->result,
                                   &f->reply, &f->err),
                 &f->err);
    return f->result.outcome;
}

static void
test_a_heartbeat_keeps_a_hold_and_a_raise_must_fit(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    f->plans[0].budgets[0].limit_nanos = 8 * CENT;
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("heartbeat", OUTCOME_DONE, extend(f, id, 0, NOON + TTL - 1));
    CHECK_INT("expires", NOON + 2 * TTL - 1, f->result.hold.expires_us);
    CHECK_INT("raise", OUTCOME_DONE, extend(f, id, 3 * CENT, NOON + TTL));
    CHECK_INT("held", 8 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON + TTL).held_nanos);
    CHECK_INT("too much", OUTCOME_DENIED, extend(f, id, 1, NOON + TTL));
    CHECK_INT("why", REASON_BUDGET, f->result.verdict.reason);
    CHECK_INT("unknown", OUTCOME_UNKNOWN_HOLD, extend(f, "hld_000000000009000000000009", 1, NOON));
    CHECK_INT("malformed", OUTCOME_UNKNOWN_HOLD, extend(f, "nonsense", 1, NOON));
    CHECK_STATUS(
        STATUS_INVALID,
        store_hold_extend(f->store, id, -1, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    teardown(f);
}

static void
test_extending_an_expired_hold_is_an_admission_again(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    int64_t later = NEXT_MONTH + SECOND;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("extend", OUTCOME_DONE, extend(f, id, CENT, later));
    CHECK_INT("old", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("new", 6 * CENT, line_of(f, "user_1", PERIOD_MONTH, later).held_nanos);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 6 * CENT, later));
    CHECK_STRING("word", "settled", f->result.hold_word);
    CHECK_INT("new", 6 * CENT, line_of(f, "user_1", PERIOD_MONTH, later).spent_nanos);
    CHECK_INT("extend settled", OUTCOME_HOLD_SETTLED, extend(f, id, CENT, later));
    teardown(f);
}

static void
test_a_voided_hold_gives_its_room_back_and_refuses_a_post(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("void", OUTCOME_DONE, void_hold(f, id, NOON));
    CHECK_INT("twice", OUTCOME_DONE, void_hold(f, id, NOON));
    CHECK_INT("held", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("post", OUTCOME_HOLD_VOIDED, spend_hold(f, id, NULL, CENT, NOON));
    CHECK_INT("extend", OUTCOME_HOLD_VOIDED, extend(f, id, CENT, NOON));
    CHECK_TRUE("second", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, NOON));
    CHECK_INT("void settled", OUTCOME_HOLD_SETTLED, void_hold(f, id, NOON));
    teardown(f);
}

static void
test_a_hold_outside_a_request_is_an_admission_with_its_own_reply(void)
{
    struct fixture *f = setup();
    struct hold_request request = { .subject = "user_1",
                                    .amount_nanos = 60 * CENT,
                                    .route = "/queue" };
    struct idempotency key = { .scope = "php", .key = "job-1" };
    char first[256];

    CHECK_STATUS(
        STATUS_OK,
        store_hold_place(f->store, &request, &key, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("unknown", OUTCOME_UNKNOWN_ACCOUNT, f->result.outcome);
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(
        STATUS_OK,
        store_hold_place(f->store, &request, &key, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("placed", OUTCOME_DONE, f->result.outcome);
    CHECK_STRING("route", "/queue", f->result.hold.route);
    (void)!text_copy(first, sizeof(first), buf_text(&f->reply));
    CHECK_STATUS(
        STATUS_OK,
        store_hold_place(f->store, &request, &key, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("again", OUTCOME_REPLAYED, f->result.outcome);
    CHECK_STRING("reply", first, buf_text(&f->reply));
    key.key = "job-2";
    CHECK_STATUS(
        STATUS_OK,
        store_hold_place(f->store, &request, &key, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("too much", OUTCOME_DENIED, f->result.outcome);
    CHECK_INT("why", REASON_BUDGET, f->result.verdict.reason);
    CHECK_INT("held", 65 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_an_unknown_hold_with_a_subject_is_recorded_once(void)
{
    struct fixture *f = setup();
    const char *lost = "hld_0000000000ff0123456789ab";
    struct charge charge;
    struct charge_filter any = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };

    CHECK_INT("no subject", OUTCOME_UNKNOWN_HOLD, spend_hold(f, lost, NULL, CENT, NOON));
    CHECK_INT("first", OUTCOME_DONE, spend_hold(f, lost, "user_lost", CENT, NOON));
    CHECK_STRING("word", "unknown", f->result.hold_word);
    CHECK_INT("again", OUTCOME_REPLAYED, spend_hold(f, lost, "user_lost", CENT, NOON));
    CHECK_INT("other", OUTCOME_HOLD_SETTLED, spend_hold(f, lost, "user_lost", 2 * CENT, NOON));
    CHECK_INT("malformed", OUTCOME_DONE, spend_hold(f, "what-is-this", "user_lost", CENT, NOON));
    CHECK_INT("empty", OUTCOME_UNKNOWN_HOLD, spend_hold(f, "", "user_lost", CENT, NOON));
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &any, first_charge, &charge, &f->err), &f->err);
    CHECK_STRING("hold", "what-is-this", charge.hold_id);
    CHECK_STRING("account", "user_lost", charge.account);
    CHECK_INT("all", OUTCOME_DONE, set_budget(f, "user_lost", PERIOD_MONTH, USD));
    CHECK_INT("spent", 2 * CENT, line_of(f, "user_lost", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_concurrency_counts_live_holds_and_frees_itself(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    f->plans[0].concurrency = 2;
    f->plans[0].hold.nanos = 0;
    CHECK_TRUE("one", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_TRUE("placed", f->verdict.hold_placed);
    CHECK_TRUE("two", admit(f, "user_1", NOON));
    CHECK_FALSE("three", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_CONCURRENCY, f->verdict.reason);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 0, NOON));
    CHECK_TRUE("after a post", admit(f, "user_1", NOON));
    CHECK_FALSE("full", admit(f, "user_1", NOON + TTL - 1));
    CHECK_TRUE("after the time", admit(f, "user_1", NOON + TTL));
    teardown(f);
}

static void
test_an_automatic_hold_is_the_95th_percentile_of_the_routes_charges(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = { .names = &names,
                             .plan = &f->plans[0],
                             .verification = 1,
                             .unique_id = "",
                             .route = &f->routes[0] };
    char id[PUBLIC_ID_SIZE];

    (void)!text_copy(f->routes[0].prefix, sizeof(f->routes[0].prefix), "/chat");
    f->routes[0].hold =
        (struct hold_rule){ .set = true, .automatic = true, .min_nanos = 10, .max_nanos = CENT };
    for (int i = 1; i <= 120; i++) {
        CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
        if (i == 1)
            CHECK_INT("least", 10, f->verdict.hold.amount_nanos);
        hold_text(&f->verdict.hold, id);
        CHECK_INT("post", OUTCOME_DONE, spend_hold(f, id, NULL, i * 1000, NOON));
    }
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("95th of 21..120", 115 * 1000, f->verdict.hold.amount_nanos);
    f->routes[0].hold.max_nanos = 5000;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("most", 5000, f->verdict.hold.amount_nanos);
    teardown(f);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_i5_an_expired_hold_frees_its_room_and_its_late_post_is_recorded_once),
    CHECK_TEST(test_a_post_after_the_time_is_expired_also_when_nobody_looked_before),
    CHECK_TEST(test_on_expiry_charge_charges_once_and_a_late_post_corrects_it),
    CHECK_TEST(test_a_refund_of_what_an_expiry_charged_leaves_less_for_the_late_post),
    CHECK_TEST(test_a_heartbeat_keeps_a_hold_and_a_raise_must_fit),
    CHECK_TEST(test_extending_an_expired_hold_is_an_admission_again),
    CHECK_TEST(test_a_voided_hold_gives_its_room_back_and_refuses_a_post),
    CHECK_TEST(test_a_hold_outside_a_request_is_an_admission_with_its_own_reply),
    CHECK_TEST(test_an_unknown_hold_with_a_subject_is_recorded_once),
    CHECK_TEST(test_concurrency_counts_live_holds_and_frees_itself),
    CHECK_TEST(test_an_automatic_hold_is_the_95th_percentile_of_the_routes_charges),
};
const struct check_group store_holds_tests = { tests, CHECK_COUNT(tests) };
