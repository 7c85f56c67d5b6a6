/* SPDX-License-Identifier: MIT */
#include "common/error.h"

#include "common/json.h"
#include "common/money.h"
#include "common/pricing.h"
#include "tests/check.h"

#include "common/banned.h"

/* Rates of the tests, in USD per million. */
static const char rates[] = "{\"input\":\"3\",\"cache_read\":\"0.3\",\"cache_write\":\"3.75\","
                            "\"cache_write_1h\":\"6\",\"output\":\"15\",\"web_search\":\"10000\","
                            "\"input.above_200k\":\"6\",\"output.priority\":\"30\"}";

static struct price
price_of(const char *text)
{
    struct error err = { 0 };
    struct price price;

    price_init(&price);
    CHECK_STATUS(STATUS_OK, price_parse_text(text, strlen(text), &price, &err), &err);
    return price;
}

/* The rate in millionths of a dollar per million, so that numbers here stay short. */
static void
check_rate(const char *what, int64_t want_micros, const struct price *price, enum price_tier tier,
           enum price_step step, enum price_part part)
{
    CHECK_INT(what, want_micros * 1000, price_rate(price, tier, step, part));
}

static void
test_a_rate_that_is_set_is_the_rate(void)
{
    struct price price = price_of(rates);

    check_rate("input", 3000000, &price, PRICE_STANDARD, PRICE_BASE, PRICE_INPUT);
    check_rate("above 200k", 6000000, &price, PRICE_STANDARD, PRICE_ABOVE_200K, PRICE_INPUT);
    check_rate("above 272k: the step below", 6000000, &price, PRICE_STANDARD, PRICE_ABOVE_272K,
               PRICE_INPUT);
    check_rate("priority", 30000000, &price, PRICE_PRIORITY, PRICE_BASE, PRICE_OUTPUT);
    check_rate("another tier", 15000000, &price, PRICE_BATCH, PRICE_BASE, PRICE_OUTPUT);
    CHECK_INT("none", PRICE_UNSET,
              price_rate(&price, PRICE_STANDARD, PRICE_BASE, PRICE_FILE_SEARCH));
    check_rate("a call has no step", 10000000000, &price, PRICE_FLEX, PRICE_ABOVE_272K,
               PRICE_WEB_SEARCH);
}

static void
test_a_part_without_a_rate_is_priced_as_what_it_is_a_kind_of(void)
{
    struct price price = price_of("{\"input\":\"2\",\"output\":\"8\",\"output.batch\":\"4\"}");

    for (int part = PRICE_INPUT; part < PRICE_WEB_SEARCH; part++) {
        bool output = part == PRICE_OUTPUT || part == PRICE_REASONING ||
                      part == PRICE_AUDIO_OUTPUT || part == PRICE_IMAGE_OUTPUT ||
                      part == PRICE_VIDEO_OUTPUT;

        check_rate(price_part_name((enum price_part)part), output ? 4000000 : 2000000, &price,
                   PRICE_BATCH, PRICE_BASE, (enum price_part)part);
    }
}

/* gpt-5.6's prices: flex above 272k is published for no part. */
static void
test_a_tier_takes_the_step_of_the_standard_tier(void)
{
    struct price price = price_of("{\"input\":\"5\",\"input.above_272k\":\"10\",\"input.flex\":"
                                  "\"2.5\",\"output\":\"30\",\"output.above_272k\":\"45\","
                                  "\"output.flex\":\"15\",\"cache_read\":\"0\","
                                  "\"cache_read.above_272k\":\"1\",\"cache_read.flex\":\"0\"}");

    check_rate("input", 5000000, &price, PRICE_FLEX, PRICE_ABOVE_272K, PRICE_INPUT);
    check_rate("output", 22500000, &price, PRICE_FLEX, PRICE_ABOVE_272K, PRICE_OUTPUT);
    check_rate("not below it", 15000000, &price, PRICE_FLEX, PRICE_ABOVE_200K, PRICE_OUTPUT);
    check_rate("what was free is not", 1000000, &price, PRICE_FLEX, PRICE_ABOVE_272K,
               PRICE_CACHE_READ);
}

/* Claude Sonnet 4's: the one-hour lifetime has no price above 200k of its own. */
static void
test_a_part_is_raised_as_what_it_is_a_kind_of(void)
{
    struct price price = price_of(
        "{\"input\":\"3\",\"input.above_200k\":\"6\",\"cache_write\":\"3.75\","
        "\"cache_write.above_200k\":\"7.5\",\"cache_write_1h\":\"6\",\"cache_read\":\"0.3\"}");

    check_rate("one hour", 12000000, &price, PRICE_STANDARD, PRICE_ABOVE_200K,
               PRICE_CACHE_WRITE_1H);
    check_rate("cached", 600000, &price, PRICE_STANDARD, PRICE_ABOVE_200K, PRICE_CACHE_READ);
}

static void
test_a_discount_is_not_taken_for_granted(void)
{
    struct price price =
        price_of("{\"input\":\"2\",\"input.batch\":\"1\",\"cache_read\":\"0.2\","
                 "\"output\":\"8\",\"output.batch\":\"4\",\"output.priority\":\"16\",\"reasoning\":"
                 "\"8\",\"audio_output\":\"20\"}");

    check_rate("cached", 200000, &price, PRICE_BATCH, PRICE_BASE, PRICE_CACHE_READ);
    check_rate("sound", 20000000, &price, PRICE_BATCH, PRICE_BASE, PRICE_AUDIO_OUTPUT);
    check_rate("sound, faster", 40000000, &price, PRICE_PRIORITY, PRICE_BASE, PRICE_AUDIO_OUTPUT);
    /* Gemini 3 Flash has the same price for both, and one of them only by tier. */
    check_rate("thoughts are output", 4000000, &price, PRICE_BATCH, PRICE_BASE, PRICE_REASONING);
    check_rate("in every tier", 16000000, &price, PRICE_PRIORITY, PRICE_BASE, PRICE_REASONING);
}

/* gpt-image-1's and Gemini 2.5 Flash's: the vendors' pages have 2.50 and 0.10. */
static void
test_cached_media_have_the_discount_of_cached_text(void)
{
    struct price image =
        price_of("{\"input\":\"5\",\"cache_read\":\"1.25\",\"image_input\":\"10\"}");
    struct price audio =
        price_of("{\"input\":\"0.3\",\"cache_read\":\"0.03\",\"audio_input\":\"1\"}");
    struct price own = price_of("{\"input\":\"4\",\"cache_read\":\"0.4\",\"audio_input\":\"32\","
                                "\"audio_cache_read\":\"0.4\"}");
    struct price none = price_of("{\"input\":\"4\",\"audio_input\":\"32\"}");

    check_rate("image", 2500000, &image, PRICE_STANDARD, PRICE_BASE, PRICE_IMAGE_CACHE_READ);
    check_rate("sound", 100000, &audio, PRICE_STANDARD, PRICE_BASE, PRICE_AUDIO_CACHE_READ);
    check_rate("an image is text here", 30000, &audio, PRICE_STANDARD, PRICE_BASE,
               PRICE_IMAGE_CACHE_READ);
    check_rate("its own", 400000, &own, PRICE_STANDARD, PRICE_BASE, PRICE_AUDIO_CACHE_READ);
    check_rate("no discount", 32000000, &none, PRICE_STANDARD, PRICE_BASE, PRICE_AUDIO_CACHE_READ);
}

static void
test_a_computed_rate_is_rounded_up_and_bounded(void)
{
    struct price price =
        price_of("{\"input\":\"0.000000003\",\"input.priority\":\"0.000000007\","
                 "\"cache_read\":\"0.000000001\",\"output\":\"0.000000001\","
                 "\"output.flex\":\"1000000000\",\"audio_output\":\"1000000000\"}");

    CHECK_INT("7/3", 3, price_rate(&price, PRICE_PRIORITY, PRICE_BASE, PRICE_CACHE_READ));
    CHECK_INT("bounded", MONEY_MAX_NANOS,
              price_rate(&price, PRICE_FLEX, PRICE_BASE, PRICE_AUDIO_OUTPUT));
    CHECK_INT("factor", 4, price_multiply(3, INT64_C(1100000000)));
    CHECK_INT("factor, bounded", MONEY_MAX_NANOS, price_multiply(MONEY_MAX_NANOS, MONEY_MAX_NANOS));
}

static void
test_what_is_known_of_a_part_alone_is_its_rate(void)
{
    struct price none = price_of("{}");
    struct price cached = price_of("{\"cache_read\":\"1\"}");
    struct price tier = price_of("{\"cache_read\":\"1\",\"input.flex\":\"5\"}");
    struct price image = price_of("{\"image_input\":\"10\",\"cache_read\":\"1\"}");
    struct price step = price_of("{\"input.flex\":\"1\",\"input.above_200k\":\"3\"}");

    CHECK_INT("nothing", PRICE_UNSET,
              price_rate(&none, PRICE_STANDARD, PRICE_BASE, PRICE_AUDIO_CACHE_READ));
    check_rate("no input", 1000000, &cached, PRICE_FLEX, PRICE_BASE, PRICE_CACHE_READ);
    check_rate("the dearer of two", 5000000, &tier, PRICE_FLEX, PRICE_BASE, PRICE_CACHE_READ);
    check_rate("no discount is known", 10000000, &image, PRICE_STANDARD, PRICE_BASE,
               PRICE_IMAGE_CACHE_READ);
    check_rate("no base to compare with", 3000000, &step, PRICE_FLEX, PRICE_ABOVE_200K,
               PRICE_INPUT);
}

static void
check_no_price(const char *message, const char *text)
{
    struct error err = { 0 };
    struct price price;

    CHECK_STATUS(STATUS_INVALID, price_parse_text(text, strlen(text), &price, &err), &err);
    CHECK_STRING("message", message, err.message);
}

static void
test_rates_that_are_none_are_refused(void)
{
    struct price number = price_of("{\"input\":3}");

    check_rate("a number", 3000000, &number, PRICE_STANDARD, PRICE_BASE, PRICE_INPUT);
    check_no_price("price: the rates are no JSON object", "[]");
    check_no_price("price: input is not a decimal of USD with at most nine decimals",
                   "{\"input\":true}");
    check_no_price("price: input is not a decimal of USD with at most nine decimals",
                   "{\"input\":\"1e3\"}");
    check_no_price("JSON, byte 8: a colon is wanted", "{\"input\"");
}

static void
test_tiers_are_read_as_vendors_write_them(void)
{
    enum price_tier tier = PRICE_BATCH;

    CHECK_TRUE("default", price_tier_parse("default", &tier));
    CHECK_INT("standard", PRICE_STANDARD, tier);
    CHECK_TRUE("any case", price_tier_parse("FLEX", &tier));
    CHECK_INT("flex", PRICE_FLEX, tier);
    CHECK_FALSE("unknown", price_tier_parse("gold", &tier));
    CHECK_FALSE("empty", price_tier_parse("", &tier));
    CHECK_INT("untouched", PRICE_FLEX, tier);
    for (int i = 0; i < PRICE_TIERS; i++) {
        CHECK_TRUE("ours", price_tier_parse(price_tier_name((enum price_tier)i), &tier));
        CHECK_INT("the same", i, tier);
    }
}

static void
test_every_rate_has_a_name_that_reads_back(void)
{
    struct price full, got;
    char storage[PRICE_RATES_SIZE];
    struct buf out;

    price_init(&full);
    CHECK_TRUE("none is set", price_is_empty(&full));
    for (int part = 0; part < PRICE_PARTS; part++) {
        for (int cell = 0; cell < PRICE_TIERS * PRICE_STEPS; cell++)
            full.rates[cell % PRICE_TIERS][cell / PRICE_TIERS][part] =
                MONEY_MAX_NANOS - 1 - part * 100 - cell;
    }
    full.factors[PRICE_FAST] = 6;
    full.factors[PRICE_REGIONAL] = 7;
    CHECK_FALSE("all are", price_is_empty(&full));
    buf_init(&out, storage, sizeof(storage));
    price_write(&full, &out);
    CHECK_FALSE("the longest fits", buf_failed(&out));
    got = price_of(buf_text(&out));
    CHECK_TRUE("the same", price_same(&full, &got));
    got.factors[PRICE_FAST]++;
    CHECK_FALSE("a factor counts", price_same(&full, &got));
    got = full;
    got.rates[PRICE_PRIORITY][PRICE_ABOVE_272K][PRICE_CODE_INTERPRETER]++;
    CHECK_FALSE("the last rate counts", price_same(&full, &got));
    CHECK_TRUE("no name", price_rate_named(&got, "input.above_200k.gold") == NULL);
    CHECK_TRUE("no name", price_rate_named(&got, "cache") == NULL);
    CHECK_TRUE("no name", price_rate_named(&got, "input.priority.above_200k") == NULL);
    CHECK_TRUE("no name", price_rate_named(&got, "") == NULL);
}

static void
test_rates_write_and_parse_back(void)
{
    struct error err = { 0 };
    struct json *json = NULL;
    struct price price;
    char storage[PRICE_RATES_SIZE];
    struct buf out;

    CHECK_STATUS(STATUS_OK, json_parse(rates, strlen(rates), &json, &err), &err);
    CHECK_STATUS(STATUS_OK, price_parse(json, &price, &err), &err);
    json_free(json);
    buf_init(&out, storage, sizeof(storage));
    price_write(&price, &out);
    CHECK_STRING("written",
                 "{\"input\":\"3\",\"input.above_200k\":\"6\",\"cache_read\":\"0.3\","
                 "\"cache_write\":\"3.75\",\"cache_write_1h\":\"6\",\"output\":\"15\","
                 "\"output.priority\":\"30\",\"web_search\":\"10000\"}",
                 buf_text(&out));
    price_init(&price);
    buf_clear(&out);
    price_write(&price, &out);
    CHECK_STRING("none", "{}", buf_text(&out));
    CHECK_STATUS(STATUS_OK, json_parse("{\"gold\":\"1\"}", 12, &json, &err), &err);
    CHECK_STATUS(STATUS_INVALID, price_parse(json, &price, &err), &err);
    CHECK_STRING("message", "price: unknown rate \"gold\"", err.message);
    json_free(json);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_a_rate_that_is_set_is_the_rate),
        CHECK_TEST(test_a_part_without_a_rate_is_priced_as_what_it_is_a_kind_of),
        CHECK_TEST(test_a_tier_takes_the_step_of_the_standard_tier),
        CHECK_TEST(test_a_part_is_raised_as_what_it_is_a_kind_of),
        CHECK_TEST(test_a_discount_is_not_taken_for_granted),
        CHECK_TEST(test_cached_media_have_the_discount_of_cached_text),
        CHECK_TEST(test_a_computed_rate_is_rounded_up_and_bounded),
        CHECK_TEST(test_what_is_known_of_a_part_alone_is_its_rate),
        CHECK_TEST(test_rates_that_are_none_are_refused),
        CHECK_TEST(test_tiers_are_read_as_vendors_write_them),
        CHECK_TEST(test_every_rate_has_a_name_that_reads_back),
        CHECK_TEST(test_rates_write_and_parse_back),
    };

    return check_main("pricing", tests, CHECK_COUNT(tests));
}
