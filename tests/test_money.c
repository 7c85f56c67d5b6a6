/* SPDX-License-Identifier: MIT */
/* Money: exact parsing and printing, and arithmetic that says "no". */
#include "common/money.h"

#include "tests/check.h"

#include "common/banned.h"

#define UNTOUCHED (-77)

static void
check_usd(const char *text, int64_t want)
{
    int64_t nanos = UNTOUCHED;

    CHECK_TRUE(text, money_parse_usd(text, &nanos));
    CHECK_INT(text, want, nanos);
}

static void
check_usd_refused(const char *text)
{
    int64_t nanos = UNTOUCHED;

    CHECK_FALSE("parsed", money_parse_usd(text, &nanos));
    CHECK_INT(text, UNTOUCHED, nanos);
}

static void
check_text(int64_t nanos, const char *want)
{
    char storage[MONEY_TEXT_SIZE];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    money_add_usd(&text, nanos);
    CHECK_FALSE("fits", buf_failed(&text));
    CHECK_STRING("usd", want, buf_text(&text));
}

static void
test_parse_reads_plain_decimals_exactly(void)
{
    check_usd("0", 0);
    check_usd("1", MONEY_NANOS_PER_USD);
    check_usd("0.1", 100000000);
    check_usd("0.10", 100000000);
    check_usd("0.000000001", 1);
    check_usd("0.000000000", 0);
    check_usd("12.345678901", 12345678901);
    check_usd("007.5", 7500000000);
    check_usd("00000000000000000000000001", MONEY_NANOS_PER_USD);
}

static void
test_parse_is_exact_where_a_double_is_not(void)
{
    /* 2^53 and the first whole number that a double cannot hold, as nano-dollars */
    check_usd("9007199.254740992", INT64_C(9007199254740992));
    check_usd("9007199.254740993", INT64_C(9007199254740993));
    check_usd("9007199.254740995", INT64_C(9007199254740995));
    check_usd("999999999.999999999", MONEY_MAX_NANOS - 1);
    check_text(INT64_C(9007199254740992), "9007199.254740992");
    check_text(INT64_C(9007199254740993), "9007199.254740993");
}

static void
test_parse_takes_the_maximum_and_nothing_above(void)
{
    check_usd("1000000000", MONEY_MAX_NANOS);
    check_usd("1000000000.000000000", MONEY_MAX_NANOS);
    check_usd_refused("1000000000.000000001");
    check_usd_refused("1000000001");
    check_usd_refused("9223372036.854775808");
    check_usd_refused("18446744073.709551616");
    check_usd_refused("99999999999999999999999999");
}

static void
test_parse_refuses_what_is_no_plain_decimal(void)
{
    static const char *const texts[] = {
        "",    ".",   "1.",           ".5",           "+1",           "-1",           "-0",   " 1",
        "1 ",  "1e5", "1E5",          "0x1",          "1,5",          "1..5",         "1.5.", "1.a",
        "a",   "1a",  "1.2 ",         "1.-2",         "NaN",          "inf",          "1_0",  "$1",
        "\t1", "1\n", "1.000000000 ", "1.0000000001", "1.0000000000", "1.000000000.",
    };

    for (size_t i = 0; i < CHECK_COUNT(texts); i++)
        check_usd_refused(texts[i]);
    check_usd_refused(NULL);
}

static void
test_parse_cents_reads_a_hundredth(void)
{
    int64_t nanos = UNTOUCHED;

    CHECK_TRUE("1.5", money_parse_cents("1.5", &nanos));
    CHECK_INT("1.5", 15000000, nanos);
    CHECK_TRUE("least", money_parse_cents("0.0000001", &nanos));
    CHECK_INT("least", 1, nanos);
    CHECK_TRUE("most", money_parse_cents("100000000000", &nanos));
    CHECK_INT("most", MONEY_MAX_NANOS, nanos);
    nanos = UNTOUCHED;
    CHECK_FALSE("eight decimals", money_parse_cents("0.00000001", &nanos));
    CHECK_FALSE("too much", money_parse_cents("100000000000.0000001", &nanos));
    CHECK_FALSE("sign", money_parse_cents("-1", &nanos));
    CHECK_INT("untouched", UNTOUCHED, nanos);
}

static void
test_print_cuts_trailing_zeros(void)
{
    check_text(0, "0");
    check_text(1, "0.000000001");
    check_text(50000000, "0.05");
    check_text(12 * MONEY_NANOS_PER_USD, "12");
    check_text(120 * MONEY_NANOS_PER_USD + 100, "120.0000001");
    check_text(MONEY_MAX_NANOS, "1000000000");
    check_text(MONEY_MAX_NANOS - 1, "999999999.999999999");
}

static void
test_print_writes_a_negative_sum_with_a_sign(void)
{
    check_text(-1, "-0.000000001");
    check_text(-1500000000, "-1.5");
    check_text(INT64_MIN, "-9223372036.854775808");
}

static void
test_add_stops_at_the_maximum(void)
{
    int64_t sum = UNTOUCHED;

    CHECK_TRUE("to the maximum", money_add(MONEY_MAX_NANOS - 1, 1, &sum));
    CHECK_INT("to the maximum", MONEY_MAX_NANOS, sum);
    CHECK_TRUE("zero", money_add(0, 0, &sum));
    CHECK_INT("zero", 0, sum);
    sum = UNTOUCHED;
    CHECK_FALSE("above", money_add(MONEY_MAX_NANOS, 1, &sum));
    CHECK_FALSE("both large", money_add(MONEY_MAX_NANOS, MONEY_MAX_NANOS, &sum));
    CHECK_FALSE("negative a", money_add(-1, 5, &sum));
    CHECK_FALSE("negative b", money_add(5, -1, &sum));
    CHECK_FALSE("a out of range", money_add(INT64_MAX, 0, &sum));
    CHECK_FALSE("b out of range", money_add(0, INT64_MAX, &sum));
    CHECK_INT("untouched", UNTOUCHED, sum);
}

static void
test_sub_stops_at_zero(void)
{
    int64_t rest = UNTOUCHED;

    CHECK_TRUE("to zero", money_sub(5, 5, &rest));
    CHECK_INT("to zero", 0, rest);
    CHECK_TRUE("all", money_sub(MONEY_MAX_NANOS, 1, &rest));
    CHECK_INT("all", MONEY_MAX_NANOS - 1, rest);
    rest = UNTOUCHED;
    CHECK_FALSE("below", money_sub(5, 6, &rest));
    CHECK_FALSE("negative a", money_sub(-1, 0, &rest));
    CHECK_FALSE("negative b", money_sub(1, -1, &rest));
    CHECK_FALSE("out of range", money_sub(INT64_MAX, 1, &rest));
    CHECK_INT("untouched", UNTOUCHED, rest);
    CHECK_INT("floor below", 0, money_sub_floor(5, 6));
    CHECK_INT("floor equal", 0, money_sub_floor(6, 6));
    CHECK_INT("floor above", 1, money_sub_floor(6, 5));
}

static void
test_mul_div_rounds_up_once(void)
{
    int64_t cost = UNTOUCHED;

    CHECK_TRUE("exact", money_mul_div(10, 3, 2, &cost));
    CHECK_INT("exact", 15, cost);
    CHECK_TRUE("up", money_mul_div(10, 1, 3, &cost));
    CHECK_INT("up", 4, cost);
    CHECK_TRUE("least", money_mul_div(1, 1, INT64_MAX, &cost));
    CHECK_INT("least", 1, cost);
    CHECK_TRUE("nothing", money_mul_div(0, INT64_MAX, 1, &cost));
    CHECK_INT("nothing", 0, cost);
    CHECK_TRUE("times zero", money_mul_div(MONEY_MAX_NANOS, 0, 7, &cost));
    CHECK_INT("times zero", 0, cost);
}

static void
test_mul_div_is_exact_above_64_bits_and_refuses_the_range(void)
{
    int64_t cost = UNTOUCHED;

    CHECK_TRUE("wide", money_mul_div(MONEY_MAX_NANOS, INT64_MAX, INT64_MAX, &cost));
    CHECK_INT("wide", MONEY_MAX_NANOS, cost);
    CHECK_TRUE("wide, up", money_mul_div(MONEY_MAX_NANOS, INT64_MAX - 1, INT64_MAX, &cost));
    CHECK_INT("wide, up", MONEY_MAX_NANOS, cost);
    cost = UNTOUCHED;
    CHECK_FALSE("above", money_mul_div(MONEY_MAX_NANOS, 2, 1, &cost));
    CHECK_FALSE("just above", money_mul_div(MONEY_MAX_NANOS, 1000000001, 1000000000, &cost));
    CHECK_FALSE("far above", money_mul_div(MONEY_MAX_NANOS, INT64_MAX, 1, &cost));
    CHECK_FALSE("negative amount", money_mul_div(-1, 1, 1, &cost));
    CHECK_FALSE("amount out of range", money_mul_div(MONEY_MAX_NANOS + 1, 0, 1, &cost));
    CHECK_FALSE("negative multiplier", money_mul_div(1, -1, 1, &cost));
    CHECK_FALSE("zero divisor", money_mul_div(1, 1, 0, &cost));
    CHECK_FALSE("negative divisor", money_mul_div(1, 1, -1, &cost));
    CHECK_INT("untouched", UNTOUCHED, cost);
}

static void
test_parse_of_printed_money_is_the_same(void)
{
    /* every decimal position, with nothing, one and nine in it, and its neighbours */
    for (int64_t unit = MONEY_MAX_NANOS; unit > 0; unit /= 10) {
        const int64_t samples[] = { unit - 1, unit, unit + 1, unit / 10 * 9, unit / 7 };

        for (size_t i = 0; i < CHECK_COUNT(samples); i++) {
            char storage[MONEY_TEXT_SIZE];
            struct buf text;
            int64_t back = UNTOUCHED;

            if (samples[i] > MONEY_MAX_NANOS)
                continue;
            buf_init(&text, storage, sizeof(storage));
            money_add_usd(&text, samples[i]);
            CHECK_TRUE(buf_text(&text), money_parse_usd(buf_text(&text), &back));
            CHECK_INT(buf_text(&text), samples[i], back);
        }
    }
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_parse_reads_plain_decimals_exactly),
        CHECK_TEST(test_parse_is_exact_where_a_double_is_not),
        CHECK_TEST(test_parse_takes_the_maximum_and_nothing_above),
        CHECK_TEST(test_parse_refuses_what_is_no_plain_decimal),
        CHECK_TEST(test_parse_cents_reads_a_hundredth),
        CHECK_TEST(test_print_cuts_trailing_zeros),
        CHECK_TEST(test_print_writes_a_negative_sum_with_a_sign),
        CHECK_TEST(test_add_stops_at_the_maximum),
        CHECK_TEST(test_sub_stops_at_zero),
        CHECK_TEST(test_mul_div_rounds_up_once),
        CHECK_TEST(test_mul_div_is_exact_above_64_bits_and_refuses_the_range),
        CHECK_TEST(test_parse_of_printed_money_is_the_same),
    };

    return check_main("money", tests, CHECK_COUNT(tests));
}
