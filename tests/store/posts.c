/* SPDX-License-Identifier: MIT */
/*
 * Posts: refunds, idempotency keys, batches, and what prune keeps and removes.
 */
#include "tests/store/fixture.h"

#include "common/banned.h"

static void
test_refunds_of_a_charge_never_exceed_it(void)
{
    struct fixture *f = setup();
    struct charge charge;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("spend", OUTCOME_DONE, spend_as(f, "user_1", 10 * CENT, NULL, NOON));
    charge = f->result.charge;
    CHECK_INT("part", OUTCOME_DONE, refund(f, 4 * CENT, "r1"));
    CHECK_INT("kind", CHARGE_REFUND, f->result.charge.kind);
    CHECK_INT("of", charge.id, f->result.charge.refund_of);
    f->result.charge = charge;
    CHECK_INT("same key", OUTCOME_REPLAYED, refund(f, 4 * CENT, "r1"));
    f->result.charge = charge;
    CHECK_INT("too much", OUTCOME_REFUND_EXCEEDS, refund(f, 7 * CENT, NULL));
    f->result.charge = charge;
    CHECK_INT("the rest", OUTCOME_DONE, refund(f, -1, NULL));
    CHECK_INT("rest", 6 * CENT, f->result.charge.amount_nanos);
    CHECK_INT("a refund of a refund", OUTCOME_UNKNOWN_CHARGE, refund(f, 1, NULL));
    f->result.charge = charge;
    CHECK_INT("nothing left", OUTCOME_REFUND_EXCEEDS, refund(f, -1, NULL));
    CHECK_STATUS(STATUS_OK,
                 store_refund(f->store, "chg_", -1, "ops", NULL, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_INT("malformed", OUTCOME_UNKNOWN_CHARGE, f->result.outcome);
    CHECK_INT("spent", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_a_charge_above_hold_and_budget_is_recorded_in_full(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("post", OUTCOME_DONE, spend_hold(f, id, NULL, 3 * USD, NOON));
    CHECK_TRUE("over", f->result.effect.over_budget);
    CHECK_INT("overrun", 2 * USD, f->result.effect.overrun_nanos);
    CHECK_INT("spent", 3 * USD, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_FALSE("closed", admit(f, "user_1", NOON));
    teardown(f);
}

static void
test_i4_a_key_used_for_another_request_is_refused_also_with_a_hold(void)
{
    struct fixture *f = setup();
    struct idempotency key = { .scope = "php", .key = "k", .fingerprint = { 1 } };
    struct spend spend = { .cost_nanos = CENT, .token = "php" };
    char a[PUBLIC_ID_SIZE], b[PUBLIC_ID_SIZE];

    CHECK_TRUE("a", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, a);
    CHECK_TRUE("b", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, b);
    spend.hold_id = a;
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, &key, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("first", OUTCOME_DONE, f->result.outcome);
    key.fingerprint[0] = 2;
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, &key, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("only the cost is compared", OUTCOME_REPLAYED, f->result.outcome);
    spend.hold_id = b;
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, &key, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("another hold", OUTCOME_KEY_REUSED, f->result.outcome);
    CHECK_INT("spent", CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    key.scope = "perl";
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, &key, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("another token's key", OUTCOME_DONE, f->result.outcome);
    teardown(f);
}

static void
test_prune_keeps_replies_for_the_promised_time(void)
{
    struct fixture *f = setup();
    const int64_t day = INT64_C(86400) * SECOND;
    int64_t removed;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("spend", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, 0, NOON + 32 * day, &removed, &f->err), &f->err);
    CHECK_INT("kept", OUTCOME_REPLAYED, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, 0, NOON + 32 * day + 1, &removed, &f->err),
                 &f->err);
    CHECK_INT("removed", 1, removed);
    CHECK_INT("forgotten", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    teardown(f);
}

static void
test_the_reply_of_a_settled_hold_is_made_again_after_prune(void)
{
    struct fixture *f = setup();
    const int64_t day = INT64_C(86400) * SECOND;
    char id[PUBLIC_ID_SIZE], first[256];
    int64_t removed;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("post", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, NOON));
    (void)!text_copy(first, sizeof(first), buf_text(&f->reply));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, 0, NOON + 40 * day, &removed, &f->err), &f->err);
    CHECK_INT("again", OUTCOME_REPLAYED, spend_hold(f, id, NULL, CENT, NOON + 40 * day));
    CHECK_STRING("reply", first, buf_text(&f->reply));
    CHECK_INT("other", OUTCOME_HOLD_SETTLED, spend_hold(f, id, NULL, 2 * CENT, NOON + 40 * day));
    teardown(f);
}

static void
test_prune_removes_old_periods_with_their_charges_and_holds(void)
{
    struct fixture *f = setup();
    const int64_t day = INT64_C(86400) * SECOND;
    int64_t removed, later = NOON + 100 * day;
    char id[PUBLIC_ID_SIZE];

    add_budget(&f->plans[0], PERIOD_DAY, USD);
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("post", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, NOON));
    CHECK_INT("refund", OUTCOME_DONE, refund(f, 1, NULL));
    CHECK_TRUE("later", admit(f, "user_1", later));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("post", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, later));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, later - 50 * day, later, &removed, &f->err),
                 &f->err);
    CHECK_INT("2 periods, 2 charges, 1 hold, 1 reply", 6, removed);
    CHECK_INT("kept", CENT, charges(f, (struct charge_filter){ 0 }).nanos);
    CHECK_INT("verify", 0, differences(f, later));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, later - 50 * day, later, &removed, &f->err),
                 &f->err);
    CHECK_INT("nothing left", 0, removed);
    teardown(f);
}

static void
test_prune_keeps_a_charge_whose_longer_period_is_kept(void)
{
    struct fixture *f = setup();
    const int64_t day = INT64_C(86400) * SECOND;
    int64_t removed, early = NOON - 60 * day;
    struct result posted;

    add_budget(&f->plans[0], PERIOD_YEAR, USD);
    CHECK_TRUE("first", admit(f, "user_1", early));
    CHECK_INT("spend", OUTCOME_DONE, spend_as(f, "user_1", 2 * CENT, NULL, early));
    posted = f->result;
    CHECK_INT("expired", 0, line_of(f, "user_1", PERIOD_YEAR, NOON).held_nanos);
    CHECK_STATUS(STATUS_OK, store_prune(f->store, NOON, NOON, &removed, &f->err), &f->err);
    CHECK_INT("the month and the hold", 2, removed);
    CHECK_INT("verify", 0, differences(f, NOON));
    f->result = posted;
    CHECK_INT("refund", OUTCOME_DONE, refund(f, CENT, NULL));
    CHECK_INT("the month again", CENT, line_of(f, "user_1", PERIOD_MONTH, early).spent_nanos);
    CHECK_INT("year", CENT, line_of(f, "user_1", PERIOD_YEAR, NOON).spent_nanos);
    teardown(f);
}

static void
write_too_much(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    (void)result;
    for (int i = 0; i < REPLY_SIZE; i++)
        buf_add_char(out, 'x');
}

static void
test_an_answer_that_does_not_fit_records_nothing(void)
{
    struct fixture *f = setup();
    struct spend spend = { .subject = "user_1", .cost_nanos = CENT, .token = "php" };
    struct reply_writer big = { write_too_much, NULL };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OVERFLOW,
                 store_spend(f->store, &spend, NULL, &big, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("outcome", OUTCOME_NONE, f->result.outcome);
    CHECK_INT("reply", 0, f->reply.length);
    CHECK_INT("spent", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_a_batch_records_each_post(void)
{
    struct fixture *f = setup();

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_INT("a", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_INT("b", OUTCOME_DONE, spend_as(f, "user_1", 2 * CENT, "b", NOON));
    CHECK_INT("a again", OUTCOME_REPLAYED, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_INT("nobody", OUTCOME_UNKNOWN_ACCOUNT, spend_as(f, "user_9", CENT, "c", NOON));
    CHECK_STATUS(STATUS_OK, store_batch_end(f->store, true, &f->err), &f->err);
    CHECK_INT("spent", 3 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_i6_a_batch_that_is_not_kept_records_nothing(void)
{
    struct fixture *f = setup();
    struct spend spend = { .subject = "user_1", .cost_nanos = CENT, .token = "php" };
    struct reply_writer big = { write_too_much, NULL };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_INT("no key", OUTCOME_DONE, spend_as(f, "user_1", CENT, NULL, NOON));
    CHECK_INT("with a key", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_STATUS(STATUS_OVERFLOW,
                 store_spend(f->store, &spend, NULL, &big, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_OK, store_batch_end(f->store, false, &f->err), &f->err);
    CHECK_INT("spent", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_INT("the key is free", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_INT("spent once", CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_an_element_that_fails_takes_only_itself_back(void)
{
    struct fixture *f = setup();
    struct spend spend = { .subject = "user_1", .cost_nanos = CENT, .token = "php" };
    struct reply_writer big = { write_too_much, NULL };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_INT("before", OUTCOME_DONE, spend_as(f, "user_1", CENT, NULL, NOON));
    CHECK_STATUS(STATUS_OVERFLOW,
                 store_spend(f->store, &spend, NULL, &big, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("after", OUTCOME_DONE, spend_as(f, "user_1", 2 * CENT, NULL, NOON));
    CHECK_STATUS(STATUS_OK, store_batch_end(f->store, true, &f->err), &f->err);
    CHECK_INT("spent", 3 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_refunds_of_a_charge_never_exceed_it),
    CHECK_TEST(test_a_charge_above_hold_and_budget_is_recorded_in_full),
    CHECK_TEST(test_i4_a_key_used_for_another_request_is_refused_also_with_a_hold),
    CHECK_TEST(test_prune_keeps_replies_for_the_promised_time),
    CHECK_TEST(test_the_reply_of_a_settled_hold_is_made_again_after_prune),
    CHECK_TEST(test_prune_removes_old_periods_with_their_charges_and_holds),
    CHECK_TEST(test_prune_keeps_a_charge_whose_longer_period_is_kept),
    CHECK_TEST(test_an_answer_that_does_not_fit_records_nothing),
    CHECK_TEST(test_a_batch_records_each_post),
    CHECK_TEST(test_i6_a_batch_that_is_not_kept_records_nothing),
    CHECK_TEST(test_an_element_that_fails_takes_only_itself_back),
};
const struct check_group store_posts_tests = { tests, CHECK_COUNT(tests) };
