/* SPDX-License-Identifier: MIT */
/*
 * Price versions, and verify's second look at what was charged by them.
 */
#include "tests/store/fixture.h"

#include "common/banned.h"

static struct price_version
version_of(const char *model, const char *provider, int64_t from_us, int64_t input_nanos)
{
    struct price_version version;

    memset(&version, 0, sizeof(version));
    (void)!text_copy(version.model, sizeof(version.model), model);
    (void)!text_copy(version.provider, sizeof(version.provider), provider);
    (void)!text_copy(version.source, sizeof(version.source), "prices.csv");
    version.from_us = from_us;
    price_init(&version.price);
    version.price.rates[PRICE_STANDARD][PRICE_BASE][PRICE_INPUT] = input_nanos;
    return version;
}

static enum price_change
import_one(struct fixture *f, const struct price_version *version, bool keep)
{
    const struct actor who = { "operator", "why" };
    enum price_change change = PRICE_CHANGE_CONFLICT;

    CHECK_STATUS(STATUS_OK,
                 store_price_import(f->store, version, 1, keep, &who, "price import", NOON, &change,
                                    &f->err),
                 &f->err);
    return change;
}

/* The input rate of the one price that is found; -1: none, -2: several. */
static int64_t
input_rate(struct fixture *f, const char *model, const char *provider, const char *hold_id,
           int64_t now_us)
{
    struct price_version version;
    size_t count;

    CHECK_STATUS(
        STATUS_OK,
        store_price_find(f->store, model, provider, hold_id, now_us, &version, &count, &f->err),
        &f->err);
    if (count != 1)
        return count == 0 ? -1 : -2;
    CHECK_STRING("model", model, version.model);
    CHECK_STRING("source", "prices.csv", version.source);
    CHECK_TRUE("id", version.id > 0);
    return version.price.rates[PRICE_STANDARD][PRICE_BASE][PRICE_INPUT];
}

struct seen_prices {
    size_t count;
    char text[256]; /* "model provider rate; " of each */
    struct buf buf;
};

static bool
see_price(void *context, const struct price_version *version)
{
    struct seen_prices *seen = context;

    seen->count++;
    buf_add_format(&seen->buf, "%s %s %lld; ", version->model, version->provider,
                   (long long)version->price.rates[PRICE_STANDARD][PRICE_BASE][PRICE_INPUT]);
    return seen->count < 4;
}

static void
check_prices(struct fixture *f, const char *want, const char *provider, const char *model,
             bool history, int64_t at_us)
{
    struct price_filter filter = { provider, model, history, at_us };
    struct seen_prices seen = { .count = 0 };

    buf_init(&seen.buf, seen.text, sizeof(seen.text));
    CHECK_STATUS(STATUS_OK, store_prices(f->store, &filter, see_price, &seen, &f->err), &f->err);
    CHECK_STRING("prices", want, seen.text);
}

static void
test_a_price_that_changes_is_a_new_version(void)
{
    struct fixture *f = setup();
    struct price_version first = version_of("m", "x", NOON, 3);
    struct price_version same = version_of("m", "x", NOON + SECOND, 3);
    struct price_version second = version_of("m", "x", NOON + 2 * SECOND, 5);
    struct price_version other = version_of("a", "y", NOON, 7);
    struct price_version edited = version_of("m", "x", NOON + 2 * SECOND, 6);

    CHECK_INT("dry run", PRICE_CHANGE_NEW, import_one(f, &first, false));
    CHECK_INT("nothing", -1, input_rate(f, "m", NULL, NULL, NOON));
    CHECK_INT("new", PRICE_CHANGE_NEW, import_one(f, &first, true));
    CHECK_INT("again", PRICE_CHANGE_NONE, import_one(f, &first, true));
    CHECK_INT("the same later", PRICE_CHANGE_NONE, import_one(f, &same, true));
    CHECK_INT("changed", PRICE_CHANGE_VERSION, import_one(f, &second, true));
    CHECK_INT("again", PRICE_CHANGE_NONE, import_one(f, &second, true));
    CHECK_INT("never edited", PRICE_CHANGE_CONFLICT, import_one(f, &edited, true));
    CHECK_INT("another model", PRICE_CHANGE_NEW, import_one(f, &other, true));
    CHECK_INT("before", -1, input_rate(f, "m", NULL, NULL, NOON - 1));
    CHECK_INT("first", 3, input_rate(f, "m", NULL, NULL, NOON));
    CHECK_INT("to its last instant", 3, input_rate(f, "m", NULL, NULL, NOON + 2 * SECOND - 1));
    CHECK_INT("second", 5, input_rate(f, "m", NULL, NULL, NOON + 2 * SECOND));
    check_prices(f, "a y 7; m x 3; m x 5; ", NULL, NULL, true, 0);
    check_prices(f, "a y 7; m x 3; ", NULL, NULL, false, NOON);
    check_prices(f, "m x 5; ", "x", "m", false, NOON + 2 * SECOND);
    check_prices(f, "", "y", "m", true, 0);
    teardown(f);
}

static void
test_a_price_file_is_imported_whole_or_not_at_all(void)
{
    struct fixture *f = setup();
    const struct actor who = { "operator", NULL };
    struct price_version prices[3] = { version_of("m", "x", NOON, 3), version_of("n", "x", NOON, 4),
                                       version_of("m", "x", NOON, 5) };
    enum price_change changes[3];

    CHECK_STATUS(
        STATUS_OK,
        store_price_import(f->store, prices, 3, true, &who, "import", NOON, changes, &f->err),
        &f->err);
    CHECK_INT("first", PRICE_CHANGE_NEW, changes[0]);
    CHECK_INT("the same instant twice", PRICE_CHANGE_CONFLICT, changes[2]);
    check_prices(f, "", NULL, NULL, true, 0);
    CHECK_STATUS(
        STATUS_OK,
        store_price_import(f->store, prices, 2, true, &who, "import", NOON, changes, &f->err),
        &f->err);
    check_prices(f, "m x 3; n x 4; ", NULL, NULL, true, 0);
    CHECK_STATUS(
        STATUS_OK,
        store_price_import(f->store, NULL, 0, true, &who, "import", NOON, changes, &f->err),
        &f->err);
    teardown(f);
}

static void
test_a_usage_is_priced_as_of_its_holds_placement(void)
{
    struct fixture *f = setup();
    struct price_version first = version_of("m", "x", NOON - SECOND, 3);
    struct price_version second = version_of("m", "x", NOON + SECOND, 5);
    struct price_version late = version_of("late", "x", NOON + SECOND, 7);
    struct price_version later = version_of("late", "x", NOON + 2 * SECOND, 8);
    char id[PUBLIC_ID_SIZE], other[PUBLIC_ID_SIZE];

    (void)import_one(f, &first, true);
    (void)import_one(f, &second, true);
    (void)import_one(f, &late, true);
    (void)import_one(f, &later, true);
    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    public_id_format("hld_", f->verdict.hold.id, f->verdict.hold.nonce ^ 1, other);
    CHECK_INT("of the hold", 3, input_rate(f, "m", NULL, id, NOON + 3 * SECOND));
    CHECK_INT("without a hold", 5, input_rate(f, "m", NULL, NULL, NOON + 3 * SECOND));
    CHECK_INT("an unknown hold", 5, input_rate(f, "m", NULL, other, NOON + 3 * SECOND));
    CHECK_INT("no id of ours", 5, input_rate(f, "m", NULL, "hld_x", NOON + 3 * SECOND));
    CHECK_INT("outcome", OUTCOME_DONE, spend_hold(f, "hld_x", "user_1", CENT, NOON));
    CHECK_INT("one that was charged", 3, input_rate(f, "m", NULL, "hld_x", NOON + 3 * SECOND));
    /* A price that was imported because a post was refused must let the post pass. */
    CHECK_INT("its first one", 7, input_rate(f, "late", NULL, id, NOON + 3 * SECOND));
    CHECK_INT("not one of the future", -1, input_rate(f, "late", NULL, id, NOON));
    teardown(f);
}

static void
test_a_model_of_several_providers_needs_its_provider(void)
{
    struct fixture *f = setup();
    struct price_version x = version_of("m", "x", NOON, 3), y = version_of("m", "y", NOON, 4);
    struct price_version unnamed = version_of("m", "", NOON, 5);

    CHECK_INT("x", PRICE_CHANGE_NEW, import_one(f, &x, true));
    CHECK_INT("one", 3, input_rate(f, "m", NULL, NULL, NOON));
    CHECK_INT("y", PRICE_CHANGE_NEW, import_one(f, &y, true));
    CHECK_INT("unnamed", PRICE_CHANGE_NEW, import_one(f, &unnamed, true));
    CHECK_INT("unnamed, again", PRICE_CHANGE_NONE, import_one(f, &unnamed, true));
    CHECK_INT("several", -2, input_rate(f, "m", NULL, NULL, NOON));
    CHECK_INT("named", 4, input_rate(f, "m", "y", NULL, NOON));
    CHECK_INT("the unnamed one", 5, input_rate(f, "m", "", NULL, NOON));
    CHECK_INT("another", -1, input_rate(f, "m", "z", NULL, NOON));
    CHECK_INT("names are exact", -1, input_rate(f, "M", NULL, NULL, NOON));
    teardown(f);
}

struct findings {
    int count;
    char text[512];
};

static void
note_difference(void *context, const char *invariant, const char *text)
{
    struct findings *findings = context;
    struct buf out;

    findings->count++;
    buf_init(&out, findings->text, sizeof(findings->text));
    buf_add_format(&out, "%s %s", invariant, text);
}

/* Record a charge for 1,000 input tokens by a price. */
static void
spend_priced(struct fixture *f, int64_t cost_nanos, const char *usage, int64_t price_id)
{
    struct spend spend = { .subject = "user_1",
                           .cost_nanos = cost_nanos,
                           .token = "php",
                           .usage = usage,
                           .price_id = price_id };

    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("outcome", OUTCOME_DONE, f->result.outcome);
}

/* One more difference than before, with this text. */
static void
check_finding(struct fixture *f, int want, const char *what)
{
    struct findings findings = { .count = 0 };
    struct verify_summary summary;
    char text[512];
    struct buf out;

    buf_init(&out, text, sizeof(text));
    buf_add_format(&out, "I8 charge %lld: %s", (long long)f->result.charge.id, what);
    CHECK_STATUS(STATUS_OK,
                 store_verify(f->store, NOON, note_difference, &findings, &summary, &f->err),
                 &f->err);
    CHECK_INT("differences", want, findings.count);
    CHECK_STRING("what", text, findings.text);
    CHECK_INT("priced", want + 1, summary.priced);
}

static void
test_i8_a_priced_charge_is_recomputed_by_verify(void)
{
    struct fixture *f = setup();
    struct price_version version = version_of("m", "x", NOON, 3 * INT64_C(1000000000));
    struct charge_filter filter = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };
    struct charge charge;
    size_t count;

    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    (void)import_one(f, &version, true);
    CHECK_STATUS(STATUS_OK,
                 store_price_find(f->store, "m", NULL, NULL, NOON, &version, &count, &f->err),
                 &f->err);
    spend_priced(f, 3000000, "{\"input\":1000}", version.id);
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &filter, take_charge, &charge, &f->err),
                 &f->err);
    CHECK_STRING("usage is kept", "{\"input\":1000}", charge.usage);
    CHECK_INT("and the version", version.id, charge.price_id);
    CHECK_INT("no difference", 0, differences(f, NOON));
    spend_priced(f, 3000001, "{\"input\":1000}", version.id);
    check_finding(f, 1, "charged 3000001 nanos, its usage costs 3000000 by price version 1");
    spend_priced(f, 3000000, "{\"input\":1000}", 999);
    check_finding(f, 2, "its price version 999 is missing");
    spend_priced(f, 3000000, "{\"gold\":1000}", version.id);
    check_finding(f, 3, "its usage cannot be read");
    spend_priced(f, 3000000, "{\"output\":1000}", version.id);
    check_finding(f, 4, "price version 1 does not price its usage");
    discard(f);
}

/* A part of the cost is not what the usage costs. */
static void
test_i8_a_refund_of_a_priced_charge_is_no_charge_of_its_usage(void)
{
    struct fixture *f = setup();
    struct price_version version = version_of("m", "x", NOON, 3 * INT64_C(1000000000));
    struct charge_filter filter = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };
    struct charge charge;
    char id[PUBLIC_ID_SIZE];

    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    (void)import_one(f, &version, true);
    spend_priced(f, 3000000, "{\"input\":1000}", 1);
    public_id_format("chg_", f->result.charge.id, f->result.charge.nonce, id);
    CHECK_STATUS(STATUS_OK,
                 store_refund(f->store, id, 1000000, "operator", NULL, NULL, NULL, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_INT("outcome", OUTCOME_DONE, f->result.outcome);
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &filter, take_charge, &charge, &f->err),
                 &f->err);
    CHECK_INT("the refund", CHARGE_REFUND, charge.kind);
    CHECK_STRING("usage", "", charge.usage);
    CHECK_INT("price version", 0, charge.price_id);
    teardown(f);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_price_that_changes_is_a_new_version),
    CHECK_TEST(test_a_price_file_is_imported_whole_or_not_at_all),
    CHECK_TEST(test_a_usage_is_priced_as_of_its_holds_placement),
    CHECK_TEST(test_a_model_of_several_providers_needs_its_provider),
    CHECK_TEST(test_i8_a_priced_charge_is_recomputed_by_verify),
    CHECK_TEST(test_i8_a_refund_of_a_priced_charge_is_no_charge_of_its_usage),
};
const struct check_group store_prices_tests = { tests, CHECK_COUNT(tests) };
