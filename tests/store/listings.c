/* SPDX-License-Identifier: MIT */
/*
 * Listings, the report, explain, and what is known of Clerk's listings.
 */
#include "tests/store/fixture.h"

#include "common/banned.h"

struct names_seen {
    char text[512];
    struct buf buf;
    size_t count, stop_after;
};

static bool
see_name(void *context, const char *name)
{
    struct names_seen *seen = context;

    buf_add_format(&seen->buf, "%s ", name);
    return ++seen->count < seen->stop_after;
}

static void
test_accounts_are_listed_in_byte_order(void)
{
    struct fixture *f = setup();
    struct names_seen seen = { .stop_after = 10 };

    CHECK_TRUE("b", admit(f, "user_b", NOON));
    CHECK_TRUE("a", admit(f, "user_a", NOON));
    buf_init(&seen.buf, seen.text, sizeof(seen.text));
    CHECK_STATUS(STATUS_OK, store_account_names(f->store, "", 10, see_name, &seen, &f->err),
                 &f->err);
    CHECK_STRING("all", "all key:ak_1 user_a user_b ", seen.text);
    buf_clear(&seen.buf);
    CHECK_STATUS(STATUS_OK, store_account_names(f->store, "key:ak_1", 1, see_name, &seen, &f->err),
                 &f->err);
    CHECK_STRING("page", "user_a ", seen.text);
    seen.stop_after = 0;
    buf_clear(&seen.buf);
    CHECK_STATUS(STATUS_OK, store_account_names(f->store, "", 10, see_name, &seen, &f->err),
                 &f->err);
    CHECK_STRING("stopped", "all ", seen.text);
    teardown(f);
}

static bool
note(struct fixture *f, const char *account, const struct clerk_note *note)
{
    bool found = false;

    CHECK_STATUS(STATUS_OK, store_clerk_note_put(f->store, account, note, &found, &f->err),
                 &f->err);
    return found;
}

static struct clerk_note
note_of(struct fixture *f, const char *account, bool want)
{
    struct clerk_note got;
    bool found = false;

    CHECK_STATUS(STATUS_OK, store_clerk_note_get(f->store, account, &found, &got, &f->err),
                 &f->err);
    CHECK_INT(account, want, found);
    return got;
}

static void
test_a_note_of_clerk_is_kept_beside_its_account(void)
{
    struct fixture *f = setup();
    const struct chain_names names = names_of("ak_1", "user_1", "");
    const struct clerk_note first = { .title = "ci key", .expires_us = NOON, .gone = true };
    const struct clerk_note second = { .title = "K\xc3\xbc"
                                                "che",
                                       .listed_us = NOON + 1 };
    struct clerk_note got;

    CHECK_FALSE("no such account", note(f, "key:ak_1", &first));
    CHECK_TRUE("admitted", admit_names(f, &names, &f->plans[0], NOON));
    (void)note_of(f, "key:ak_1", false);
    CHECK_TRUE("noted", note(f, "key:ak_1", &first));
    got = note_of(f, "key:ak_1", true);
    CHECK_STRING("title", "ci key", got.title);
    CHECK_INT("expires", NOON, got.expires_us);
    CHECK_TRUE("gone", got.gone);
    CHECK_INT("listed", 0, got.listed_us);
    CHECK_TRUE("replaced", note(f, "key:ak_1", &second));
    got = note_of(f, "key:ak_1", true);
    CHECK_STRING("title", second.title, got.title);
    CHECK_INT("expires", 0, got.expires_us);
    CHECK_FALSE("gone", got.gone);
    CHECK_INT("listed", NOON + 1, got.listed_us);
    (void)note_of(f, "user_1", false);
    teardown(f);
}

static void
list_subjects(struct fixture *f, int64_t before_us, const char *after, size_t limit,
              const char *want)
{
    struct names_seen seen = { .stop_after = 10 };

    buf_init(&seen.buf, seen.text, sizeof(seen.text));
    CHECK_STATUS(STATUS_OK,
                 store_clerk_subjects(f->store, before_us, after, limit, see_name, &seen, &f->err),
                 &f->err);
    CHECK_STRING("subjects", want, seen.text);
}

static void
test_subjects_that_were_not_listed_since_are_found(void)
{
    struct fixture *f = setup();
    const struct clerk_note listed = { .listed_us = NOON };
    const struct chain_names names = {
        .key_id = "ak_1", .subject = "user_b", .organization = "org_1", .parent = "group:red"
    };

    list_subjects(f, NOON, "", 10, "");
    CHECK_TRUE("a", admit(f, "user_a", NOON));
    CHECK_TRUE("b", admit_names(f, &names, &f->plans[0], NOON));
    list_subjects(f, NOON, "", 10, "org_1 user_a user_b ");
    list_subjects(f, NOON, "", 2, "org_1 user_a ");
    list_subjects(f, NOON, "org_1", 10, "user_a user_b ");
    CHECK_TRUE("listed", note(f, "user_a", &listed));
    list_subjects(f, NOON, "", 10, "org_1 user_b ");
    list_subjects(f, NOON + 1, "", 10, "org_1 user_a user_b ");
    teardown(f);
}

static void
list_keys(struct fixture *f, const char *subject, const char *want)
{
    struct names_seen seen = { .stop_after = 10 };

    buf_init(&seen.buf, seen.text, sizeof(seen.text));
    CHECK_STATUS(STATUS_OK, store_clerk_keys(f->store, subject, see_name, &seen, &f->err), &f->err);
    CHECK_STRING(subject, want, seen.text);
}

static void
test_the_api_keys_of_a_subject_are_those_it_was_seen_with(void)
{
    struct fixture *f = setup();
    static const char *const seen[][3] = {
        { "ak_2", "user_1", "" },   { "ak_1", "user_1", "" },      { "ak_1", "user_1", "org_1" },
        { "sess_1", "user_1", "" }, { "ak_3", "user_2", "org_1" }, { "api_key_4", "org_1", "org_1" }
    };

    for (size_t i = 0; i < CHECK_COUNT(seen); i++) {
        const struct chain_names names = names_of(seen[i][0], seen[i][1], seen[i][2]);

        CHECK_TRUE("admitted", admit_names(f, &names, &f->plans[0], NOON));
    }
    list_keys(f, "user_1", "key:ak_1 key:ak_2 ");
    list_keys(f, "user_2", "key:ak_3 ");
    list_keys(f, "org_1", "key:api_key_4 ");
    list_keys(f, "user_3", "");
    teardown(f);
}

static bool
first_row(void *context, const struct report_row *row)
{
    *(struct report_row *)context = *row;
    return false;
}

static struct report_row
report(struct fixture *f, enum report_by by)
{
    struct report_row row;

    memset(&row, 0, sizeof(row));
    CHECK_STATUS(STATUS_OK, store_report(f->store, by, 0, INT64_MAX, first_row, &row, &f->err),
                 &f->err);
    return row;
}

static void
test_charges_are_filtered_paged_and_summed(void)
{
    struct fixture *f = setup();
    struct spend spend = { .subject = "user_a",
                           .key_id = "ak_1",
                           .cost_nanos = 1,
                           .model = "gpt",
                           .route = "/chat",
                           .token = "php" };
    struct sums sums;

    CHECK_TRUE("a", admit(f, "user_a", NOON));
    CHECK_TRUE("b", admit(f, "user_b", NOON));
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(STATUS_OK,
                     store_spend(f->store, &spend, NULL, &writer, NOON + i * SECOND, &f->result,
                                 &f->reply, &f->err),
                     &f->err);
    CHECK_INT("b", OUTCOME_DONE, spend_as(f, "user_b", 10, NULL, NOON));
    CHECK_INT("all", 13, charges(f, (struct charge_filter){ 0 }).nanos);
    CHECK_INT("account", 3, charges(f, (struct charge_filter){ .account = "user_a" }).nanos);
    CHECK_INT("everybody", 13, charges(f, (struct charge_filter){ .account = "all" }).nanos);
    CHECK_INT("key", 3, charges(f, (struct charge_filter){ .key_id = "ak_1" }).nanos);
    CHECK_INT("model", 3, charges(f, (struct charge_filter){ .model = "gpt" }).nanos);
    CHECK_INT("route", 3, charges(f, (struct charge_filter){ .route = "/chat" }).nanos);
    CHECK_INT("from", 2, charges(f, (struct charge_filter){ .from_us = NOON + SECOND }).nanos);
    CHECK_INT("to", 11, charges(f, (struct charge_filter){ .to_us = NOON + SECOND }).nanos);
    sums = charges(f, (struct charge_filter){ .limit = 2 });
    CHECK_INT("page", 2, sums.count);
    CHECK_INT("next", 2, charges(f, (struct charge_filter){ .before_id = sums.last_id }).nanos);
    CHECK_STRING("by account", "user_b", report(f, REPORT_ACCOUNT).name);
    CHECK_INT("sum", 10, report(f, REPORT_ACCOUNT).spent_nanos);
    CHECK_INT("by key", 10, report(f, REPORT_KEY).spent_nanos);
    CHECK_STRING("by day", "2026-11-18", report(f, REPORT_DAY).name);
    CHECK_INT("count", 4, report(f, REPORT_DAY).charge_count);
    CHECK_INT("by model", 10, report(f, REPORT_MODEL).spent_nanos);
    CHECK_INT("by route", 10, report(f, REPORT_ROUTE).spent_nanos);
    teardown(f);
}

static bool
note_amount(void *context, const struct charge *charge)
{
    struct buf *amounts = context;

    buf_add_format(amounts, " %lld", (long long)charge->amount_nanos);
    return true;
}

static bool
note_hold(void *context, const struct hold *hold, const char *account)
{
    struct buf *amounts = context;

    (void)account;
    buf_add_format(amounts, " %lld", (long long)(hold->amount_nanos / CENT));
    return true;
}

static void
test_listings_are_newest_first_whichever_process_wrote(void)
{
    struct fixture *f = setup();
    struct store *stores_open[3] = { f->store };
    struct charge_filter every = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 100 };
    char storage[128];
    struct buf amounts;

    CHECK_TRUE("first sight", admit(f, "user_1", NOON));
    for (int i = 1; i < 3; i++)
        CHECK_STATUS(STATUS_OK, store_open(&f->options, &stores_open[i], &f->err), &f->err);
    for (int i = 1; i <= 7; i++) {
        f->store = stores_open[i % 3];
        f->plans[0].hold.nanos = i * CENT;
        CHECK_TRUE("hold", admit(f, "user_1", NOON));
        (void)spend_as(f, "user_1", i, NULL, NOON);
    }
    buf_init(&amounts, storage, sizeof(storage));
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &every, note_amount, &amounts, &f->err),
                 &f->err);
    CHECK_STRING("charges", " 7 6 5 4 3 2 1", buf_text(&amounts));
    buf_clear(&amounts);
    CHECK_STATUS(STATUS_OK,
                 store_holds(f->store, NULL, HOLD_HELD, 100, note_hold, &amounts, &f->err),
                 &f->err);
    CHECK_STRING("holds", " 7 6 5 4 3 2 1 5", buf_text(&amounts));
    f->store = stores_open[0];
    store_close(stores_open[1]);
    store_close(stores_open[2]);
    teardown(f);
}

static bool
count_hold(void *context, const struct hold *hold, const char *account)
{
    int64_t *held = context;

    CHECK_STRING("payer", "user_1", account);
    *held += hold->amount_nanos;
    return true;
}

static void
test_holds_are_listed_by_state_and_account(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    int64_t held = 0;

    CHECK_TRUE("one", admit(f, "user_1", NOON));
    CHECK_TRUE("two", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("void", OUTCOME_DONE, void_hold(f, id, NOON));
    CHECK_STATUS(STATUS_OK, store_holds(f->store, NULL, HOLD_HELD, 10, count_hold, &held, &f->err),
                 &f->err);
    CHECK_INT("held", 5 * CENT, held);
    CHECK_STATUS(STATUS_OK,
                 store_holds(f->store, "user_1", HOLD_VOIDED, 10, count_hold, &held, &f->err),
                 &f->err);
    CHECK_INT("voided too", 10 * CENT, held);
    CHECK_STATUS(STATUS_OK,
                 store_holds(f->store, "user_2", HOLD_HELD, 10, count_hold, &held, &f->err),
                 &f->err);
    CHECK_INT("nobody's", 10 * CENT, held);
    teardown(f);
}

static void
test_explain_agrees_with_the_verdict_and_records_nothing(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "org_1");
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = ""
    };
    struct names_seen seen = { .stop_after = 10 };

    CHECK_STATUS(STATUS_OK, store_explain(f->store, &ask, NOON, &f->ledger, &f->verdict, &f->err),
                 &f->err);
    CHECK_TRUE("never seen", f->verdict.allow);
    CHECK_INT("accounts", 4, f->ledger.account_count);
    CHECK_INT("remaining", 95 * CENT, f->verdict.remaining_nanos);
    buf_init(&seen.buf, seen.text, sizeof(seen.text));
    CHECK_STATUS(STATUS_OK, store_account_names(f->store, "", 10, see_name, &seen, &f->err),
                 &f->err);
    CHECK_STRING("nothing made", "all ", seen.text);
    for (int i = 0; i < 21; i++) {
        struct verdict told;

        CHECK_STATUS(STATUS_OK, store_explain(f->store, &ask, NOON, &f->ledger, &told, &f->err),
                     &f->err);
        CHECK_INT("agrees", admit_names(f, &names, &f->plans[0], NOON), told.allow);
        CHECK_INT("reason", f->verdict.reason, told.reason);
    }
    CHECK_INT("held", USD, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_accounts_are_listed_in_byte_order),
    CHECK_TEST(test_a_note_of_clerk_is_kept_beside_its_account),
    CHECK_TEST(test_subjects_that_were_not_listed_since_are_found),
    CHECK_TEST(test_the_api_keys_of_a_subject_are_those_it_was_seen_with),
    CHECK_TEST(test_charges_are_filtered_paged_and_summed),
    CHECK_TEST(test_listings_are_newest_first_whichever_process_wrote),
    CHECK_TEST(test_holds_are_listed_by_state_and_account),
    CHECK_TEST(test_explain_agrees_with_the_verdict_and_records_nothing),
};
const struct check_group store_listings_tests = { tests, CHECK_COUNT(tests) };
