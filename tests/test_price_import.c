/* SPDX-License-Identifier: MIT */
#include "common/error.h"

#include "common/price_import.h"
#include "common/pricing.h"
#include "tests/check.h"

#include "common/banned.h"

static void
test_prices_per_unit_are_read_exactly(void)
{
    int64_t nanos = -1;

    CHECK_TRUE("3e-06", price_per_unit_parse("3e-06", &nanos));
    CHECK_INT("3 per million", INT64_C(3000000000), nanos);
    CHECK_TRUE("0.00025", price_per_unit_parse("0.00025", &nanos));
    CHECK_INT("250 per million", INT64_C(250000000000), nanos);
    CHECK_TRUE("2.8e-09", price_per_unit_parse("2.8e-09", &nanos));
    CHECK_INT("0.0028 per million", 2800000, nanos);
    CHECK_TRUE("0", price_per_unit_parse("0", &nanos));
    CHECK_INT("free", 0, nanos);
    CHECK_TRUE("0.0", price_per_unit_parse("0.0", &nanos));
    CHECK_FALSE("finer than 1e-15", price_per_unit_parse("1e-16", &nanos));
    CHECK_FALSE("finer than 1e-15", price_per_unit_parse("3.3333333333333335e-05", &nanos));
    CHECK_FALSE("negative", price_per_unit_parse("-1", &nanos));
    CHECK_FALSE("too large", price_per_unit_parse("1e9", &nanos));
    CHECK_FALSE("empty", price_per_unit_parse("", &nanos));
    CHECK_FALSE("text", price_per_unit_parse("3e-06x", &nanos));
    CHECK_TRUE("E", price_per_unit_parse("3E-6", &nanos));
    CHECK_INT("3 per million", INT64_C(3000000000), nanos);
    CHECK_TRUE("e+", price_per_unit_parse("1e+2", &nanos));
    CHECK_INT("100 per unit", INT64_C(100000000000000000), nanos);
    CHECK_TRUE("e", price_per_unit_parse("1e2", &nanos));
    CHECK_TRUE("zero is zero", price_per_unit_parse("0e-99", &nanos));
    CHECK_INT("free", 0, nanos);
    CHECK_TRUE("1e-15, in other words", price_per_unit_parse("10e-16", &nanos));
    CHECK_INT("the least", 1, nanos);
    CHECK_TRUE("the most", price_per_unit_parse("1000", &nanos));
    CHECK_INT("a billion per million", INT64_C(1000000000000000000), nanos);
    CHECK_FALSE("more", price_per_unit_parse("1000.000000000000001", &nanos));
    CHECK_FALSE("too many digits", price_per_unit_parse("12345678901234567890", &nanos));
    CHECK_FALSE("two points", price_per_unit_parse("1.2.3", &nanos));
    CHECK_FALSE("no digit", price_per_unit_parse(".", &nanos));
    CHECK_FALSE("no exponent", price_per_unit_parse("1e", &nanos));
    CHECK_FALSE("a large exponent", price_per_unit_parse("1e100", &nanos));
}

/* ---- importing ---- */

struct imported {
    int prices, whole, figures;
    struct price_entry last;
    char why[256];
};

static enum status
take_price(void *context, const struct price_entry *entry, struct error *err)
{
    struct imported *imported = context;

    (void)err;
    imported->prices++;
    imported->last = *entry;
    return STATUS_OK;
}

static void
take_left_out(void *context, const char *model, bool whole, const char *why)
{
    struct imported *imported = context;

    (void)model;
    imported->whole += whole;
    imported->figures += !whole;
    CHECK_TRUE("why", text_copy(imported->why, sizeof(imported->why), why));
}

static enum status
import_text(const char *text, struct imported *imported, struct error *err)
{
    const struct price_sink sink = { take_price, take_left_out, imported };

    memset(imported, 0, sizeof(*imported));
    return price_import(text, strlen(text), &sink, err);
}

static void
test_litellm_figures_become_rates(void)
{
    struct error err = { 0 };
    struct imported got;

    CHECK_STATUS(
        STATUS_OK,
        import_text("{\"sample_spec\":{\"litellm_provider\":\"x\",\"input_cost_per_token\":0},"
                    "\"m\":{\"litellm_provider\":\"anthropic\",\"mode\":\"chat\","
                    "\"input_cost_per_token\":3e-06,\"output_cost_per_token\":1.5e-05,"
                    "\"cache_creation_input_token_cost_above_1hr_above_200k_tokens\":1.2e-05,"
                    "\"input_cost_per_token_above_200k_tokens_priority\":7e-06,"
                    "\"search_context_cost_per_query\":{\"search_context_size_medium\":0.01},"
                    "\"output_cost_per_image\":0.04,\"max_tokens\":5}}",
                    &got, &err),
        &err);
    CHECK_INT("prices", 1, got.prices);
    CHECK_INT("left out whole", 0, got.whole);
    CHECK_INT("figures left out", 1, got.figures);
    CHECK_STRING("why",
                 "output_cost_per_image: usage objects count tokens: images are charged as "
                 "image_output",
                 got.why);
    CHECK_STRING("provider", "anthropic", got.last.provider);
    CHECK_INT("input", INT64_C(3000000000), *price_rate_named(&got.last.price, "input"));
    CHECK_INT("one hour above 200k", INT64_C(12000000000),
              *price_rate_named(&got.last.price, "cache_write_1h.above_200k"));
    CHECK_INT("above 200k, priority", INT64_C(7000000000),
              *price_rate_named(&got.last.price, "input.above_200k.priority"));
    CHECK_INT("search", INT64_C(10000000000000), *price_rate_named(&got.last.price, "web_search"));
}

static void
test_litellm_models_without_token_prices_are_left_out(void)
{
    struct error err = { 0 };
    struct imported got;

    CHECK_STATUS(STATUS_OK,
                 import_text("{\"m\":{\"litellm_provider\":\"x\",\"input_cost_per_second\":0.1}}",
                             &got, &err),
                 &err);
    CHECK_INT("prices", 0, got.prices);
    CHECK_INT("left out whole", 1, got.whole);
    CHECK_STRING("why", "no price per token", got.why);
    CHECK_STATUS(STATUS_OK,
                 import_text("{\"m\":{\"litellm_provider\":\"x\",\"input_cost_per_token\":0,"
                             "\"output_cost_per_token\":0.0,\"output_cost_per_image\":0.1}}",
                             &got, &err),
                 &err);
    CHECK_INT("prices", 0, got.prices);
    CHECK_INT("left out whole", 1, got.whole);
    CHECK_STRING("why", "every price per token is 0, which stands for unknown prices as well",
                 got.why);
    CHECK_STATUS(STATUS_OK, import_text("{\"m\":7}", &got, &err), &err);
    CHECK_STRING("why", "no JSON object", got.why);
    CHECK_STATUS(
        STATUS_OK,
        import_text("{\"m\":{\"litellm_provider\":\"0123456789012345678901234567890123456789"
                    "012345678901234567890123\",\"input_cost_per_token\":1e-6}}",
                    &got, &err),
        &err);
    CHECK_STRING("why", "litellm_provider is too long, or no text", got.why);
    CHECK_STATUS(STATUS_OK, import_text("{\"m\":{\"output_cost_per_token\":1e-6}}", &got, &err),
                 &err);
    CHECK_INT("an output alone", 1, got.prices);
    CHECK_STATUS(
        STATUS_OK,
        import_text("{\"m\":{\"litellm_provider\":7,\"input_cost_per_token\":1e-6}}", &got, &err),
        &err);
    CHECK_STRING("why", "litellm_provider is too long, or no text", got.why);
    CHECK_STATUS(STATUS_OK, import_text("{\"m\":{\"input_cost_per_token\":1e-6}}", &got, &err),
                 &err);
    CHECK_INT("without a provider", 1, got.prices);
    CHECK_STRING("none", "", got.last.provider);
}

static void
check_why(const char *want, const char *figure)
{
    struct error err = { 0 };
    struct imported got;
    char storage[512];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    buf_add_format(&text, "{\"m\":{\"litellm_provider\":\"x\",\"input_cost_per_token\":1e-6,%s}}",
                   figure);
    CHECK_STATUS(STATUS_OK, import_text(buf_text(&text), &got, &err), &err);
    CHECK_INT("price", 1, got.prices);
    CHECK_INT("figures", *want != '\0', got.figures);
    CHECK_STRING("why", want, got.why);
}

static void
test_litellm_figures_that_are_not_used_say_why(void)
{
    check_why("", "\"max_tokens\":5,\"supports_vision\":true,\"source\":\"y\"");
    check_why("input_cost_per_second: usage objects count tokens, not seconds",
              "\"input_cost_per_second\":0.1");
    check_why("input_cost_per_audio_per_second: usage objects count tokens: sound is charged as "
              "audio_input",
              "\"input_cost_per_audio_per_second\":0.1");
    check_why("input_cost_per_video_per_second: usage objects count tokens: video is charged as "
              "image_input",
              "\"input_cost_per_video_per_second\":0.1");
    check_why(
        "input_cost_per_token_above_128k_tokens: no step or lifetime that is known here: such "
        "requests are charged without it",
        "\"input_cost_per_token_above_128k_tokens\":0.1");
    check_why("vector_store_cost_per_gb_per_day: no usage object counts this",
              "\"vector_store_cost_per_gb_per_day\":0.1");
    check_why("", "\"vector_store_cost_per_gb_per_day\":null");
    check_why("output_cost_per_token: not a price of at most 15 decimals",
              "\"output_cost_per_token\":3.3333333333333335e-05");
    check_why("output_cost_per_token: not a price of at most 15 decimals",
              "\"output_cost_per_token\":\"1e-6\"");
    check_why("fastest: no factor that is known here",
              "\"provider_specific_entry\":{\"fastest\":2}");
    check_why("fast: not a factor of at most nine decimals",
              "\"provider_specific_entry\":{\"fast\":\"6\"}");
    check_why("fast: not a factor of at most nine decimals",
              "\"provider_specific_entry\":{\"fast\":1e3}");
    check_why("search_context_cost_per_query: no price of a search of medium size",
              "\"search_context_cost_per_query\":{\"search_context_size_medium\":1e-20}");
    check_why("search_context_cost_per_query: no usage object tells the size of a search: taken is "
              "the medium one",
              "\"search_context_cost_per_query\":{\"search_context_size_low\":\"x\","
              "\"search_context_size_medium\":0.02,\"search_context_size_high\":1e-20}");
    check_why("search_context_cost_per_query: no usage object tells the size of a search: taken is "
              "the medium one",
              "\"search_context_cost_per_query\":{\"search_context_size_low\":1e-20,"
              "\"search_context_size_medium\":0.02}");
    check_why("search_context_cost_per_query: no usage object tells the size of a search: taken is "
              "the medium one",
              "\"search_context_cost_per_query\":{\"search_context_size_low\":0.02,"
              "\"search_context_size_medium\":0.02,\"search_context_size_high\":0.03}");
    check_why("", "\"search_context_cost_per_query\":{\"search_context_size_low\":0.02,"
                  "\"search_context_size_medium\":0.02,\"search_context_size_high\":0.02}");
    check_why("", "\"search_context_cost_per_query\":{\"search_context_size_medium\":0.02}");
    check_why("search_context_cost_per_query: no price of a search of medium size",
              "\"search_context_cost_per_query\":{\"search_context_size_low\":0.01}");
    check_why("search_context_cost_per_query: no usage object tells the size of a search: taken is "
              "the medium one",
              "\"search_context_cost_per_query\":{\"search_context_size_low\":0.01,"
              "\"search_context_size_medium\":0.02,\"search_context_size_high\":0.03}");
}

static void
test_litellm_factors(void)
{
    struct error err = { 0 };
    struct imported got;

    CHECK_STATUS(STATUS_OK,
                 import_text("{\"m\":{\"litellm_provider\":\"x\",\"input_cost_per_token\":1e-6,"
                             "\"provider_specific_entry\":{\"fast\":6.0,\"us\":1.1}}}",
                             &got, &err),
                 &err);
    CHECK_INT("fast", INT64_C(6000000000), got.last.price.factors[PRICE_FAST]);
    CHECK_INT("regional", INT64_C(1100000000), got.last.price.factors[PRICE_REGIONAL]);
    CHECK_STATUS(STATUS_OK,
                 import_text("{\"m\":{\"litellm_provider\":\"x\",\"input_cost_per_token\":1e-6,"
                             "\"regional_processing_uplift_multiplier_eu\":1.2,"
                             "\"regional_processing_uplift_multiplier_us\":1.1}}",
                             &got, &err),
                 &err);
    CHECK_INT("the larger", INT64_C(1200000000), got.last.price.factors[PRICE_REGIONAL]);
    CHECK_INT("none left out", 0, got.figures);
}

static void
test_litellm_image_models_make_image_tokens(void)
{
    struct error err = { 0 };
    struct imported got;

    CHECK_STATUS(STATUS_OK,
                 import_text("{\"m\":{\"litellm_provider\":\"x\",\"input_cost_per_token\":1e-6,"
                             "\"output_cost_per_image_token\":4e-5}}",
                             &got, &err),
                 &err);
    CHECK_INT("output", INT64_C(40000000000), *price_rate_named(&got.last.price, "output"));
}

static void
test_litellm_names_that_cannot_be_kept_are_left_out(void)
{
    struct error err = { 0 };
    struct imported got;

    CHECK_STATUS(STATUS_OK,
                 import_text("{\"a\\u0007b\":{\"litellm_provider\":\"x\","
                             "\"input_cost_per_token\":1e-6}}",
                             &got, &err),
                 &err);
    CHECK_INT("whole", 1, got.whole);
    CHECK_STRING("why", "the model's name is too long, or no text", got.why);
}

static void
test_a_figure_with_an_endless_name_is_left_out_by_its_reason(void)
{
    struct error err = { 0 };
    struct imported got;
    char storage[2048];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    buf_add(&text, "{\"m\":{\"input_cost_per_token\":1e-6,\"cost_");
    for (int i = 0; i < 512; i++)
        buf_add_char(&text, 'x');
    buf_add(&text, "\":1}}");
    CHECK_STATUS(STATUS_OK, import_text(buf_text(&text), &got, &err), &err);
    CHECK_STRING("why", "no usage object counts this", got.why);
}

static void
test_csv_lines_become_prices(void)
{
    struct error err = { 0 };
    struct imported got;

    CHECK_STATUS(STATUS_OK,
                 import_text("provider,model,from,input,output.priority\r\n"
                             "openai,\"a \"\"b\"\", c\",2026-01-01T00:00:00Z,2.5,\n"
                             "\n"
                             "openai,d,,0.1,3",
                             &got, &err),
                 &err);
    CHECK_INT("prices", 2, got.prices);
    CHECK_STRING("model", "d", got.last.model);
    CHECK_INT("from", 0, got.last.from_us);
    CHECK_INT("output", INT64_C(3000000000), *price_rate_named(&got.last.price, "output.priority"));
    CHECK_INT("unset", PRICE_UNSET, *price_rate_named(&got.last.price, "output"));
}

static void
test_csv_of_spreadsheets(void)
{
    struct error err = { 0 };
    struct imported got;

    CHECK_STATUS(
        STATUS_OK,
        import_text("\xef\xbb\xbfmodel,from,fast_factor,cache_write_1h.above_272k.priority\r\n"
                    "\r\na,2026-03-01,6,0.000000001\r\n\r\n",
                    &got, &err),
        &err);
    CHECK_INT("prices", 1, got.prices);
    CHECK_STRING("no provider", "", got.last.provider);
    CHECK_INT("from its first instant", INT64_C(1772323200000000), got.last.from_us);
    CHECK_INT("factor", INT64_C(6000000000), got.last.price.factors[PRICE_FAST]);
    CHECK_INT("the last rate", 1,
              got.last.price.rates[PRICE_PRIORITY][PRICE_ABOVE_272K][PRICE_CACHE_WRITE_1H]);
}

static void
test_csv_errors_name_their_line(void)
{
    struct error err = { 0 };
    struct imported got;

    CHECK_STATUS(STATUS_INVALID, import_text("provider,input\nx,1\n", &got, &err), &err);
    CHECK_STRING("message", "price file: line 1: no column \"model\"", err.message);
    CHECK_STATUS(STATUS_INVALID, import_text("model,gold\nx,1\n", &got, &err), &err);
    CHECK_STRING("message", "price file: line 1: unknown column \"gold\"", err.message);
    CHECK_STATUS(STATUS_INVALID, import_text("model,input\nx,1\ny,-1\n", &got, &err), &err);
    CHECK_STRING("message", "price file: line 3: field 2 is malformed", err.message);
    CHECK_STATUS(STATUS_INVALID, import_text("model,input\nx\n", &got, &err), &err);
    CHECK_STRING("message", "price file: line 2: 1 fields, the header has 2", err.message);
    CHECK_STATUS(STATUS_INVALID, import_text("model,input\n\"x,1\n", &got, &err), &err);
    CHECK_STRING("message", "price file: line 2: not 2 fields of CSV", err.message);
    CHECK_STATUS(STATUS_INVALID, import_text("model,input,model\nx,1,y\n", &got, &err), &err);
    CHECK_STRING("message", "price file: line 1: column \"model\" twice", err.message);
    CHECK_STATUS(STATUS_INVALID, import_text("model,input\n,1\n", &got, &err), &err);
    CHECK_STRING("message", "price file: line 2: field 1 is malformed", err.message);
    CHECK_STATUS(STATUS_INVALID, import_text("model,input\nx\xff,1\n", &got, &err), &err);
    CHECK_STRING("message", "price file: line 2: field 1 is malformed", err.message);
    CHECK_STATUS(STATUS_INVALID, import_text("model,from\nx,tomorrow\n", &got, &err), &err);
    CHECK_STRING("message", "price file: line 2: field 2 is malformed", err.message);
    CHECK_STATUS(STATUS_INVALID, import_text("  \n", &got, &err), &err);
    CHECK_STRING("message", "price file: empty", err.message);
}

static void
check_bad(const char *message, const char *text, size_t length)
{
    struct imported got = { .prices = 0 };
    const struct price_sink sink = { take_price, take_left_out, &got };
    struct error err = { 0 };

    CHECK_STATUS(STATUS_INVALID, price_import(text, length, &sink, &err), &err);
    CHECK_STRING("message", message, err.message);
}

/* With the NUL inside that a text literal may have. */
#define CHECK_BAD(message, text) check_bad(message, text, sizeof(text) - 1)

static void
test_csv_is_quoted_as_rfc_4180_has_it(void)
{
    struct error err = { 0 };
    struct imported got;

    CHECK_STATUS(STATUS_OK, import_text("input,model\n1,\"a\"", &got, &err), &err);
    CHECK_STRING("quotes at the end", "a", got.last.model);
    CHECK_STATUS(STATUS_OK, import_text("model,input\na,", &got, &err), &err);
    CHECK_STATUS(STATUS_OK, import_text("provider,model,input\n,a,", &got, &err), &err);
    CHECK_STRING("no provider", "", got.last.provider);
    CHECK_INT("an empty last field", PRICE_UNSET, *price_rate_named(&got.last.price, "input"));
    CHECK_STATUS(STATUS_OK, import_text("model\na\r\nb\r\n", &got, &err), &err);
    CHECK_INT("two lines", 2, got.prices);
    CHECK_BAD("price file: line 2: not 1 fields of CSV", "model\n\"a");
    CHECK_BAD("price file: line 2: not 1 fields of CSV", "model\n\"a\nb\"");
    CHECK_BAD("price file: line 2: not 1 fields of CSV", "model\n\"a\"b");
    CHECK_BAD("price file: line 2: not 1 fields of CSV", "model\na\"b");
    CHECK_BAD("price file: line 2: not 1 fields of CSV", "model\na\0b");
    CHECK_BAD("price file: line 2: not 1 fields of CSV", "model\na,b");
    CHECK_BAD("price file: line 2: field 1 is malformed", "model\na\rb");
    CHECK_BAD("price file: line 2: field 1 is malformed", "model\na\r");
    CHECK_BAD("price file: line 2: field 1 is malformed", "model\na\x7f");
    CHECK_BAD("price file: line 2: field 1 is malformed", "provider,model\n\x01,b");
    CHECK_BAD("price file: line 2: field 1 is malformed", "model\n\r");
    CHECK_BAD("price file: line 1: not a header line", "mod\"el\na\n");
    CHECK_BAD("price file: line 1: unknown column \"m\"", "m");
}

static void
test_a_file_that_is_too_large_or_no_json_is_refused(void)
{
    char text[512];
    struct buf out;

    check_bad("price file: larger than 16777216 bytes", "model", PRICE_FILE_BYTES_MAX + 1);
    CHECK_BAD("JSON, byte 1: a string is wanted", "{");
    buf_init(&out, text, sizeof(text));
    buf_add(&out, "model\n");
    for (int i = 0; i < 256; i++)
        buf_add_char(&out, 'x');
    check_bad("price file: line 2: not 1 fields of CSV", text, out.length);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_prices_per_unit_are_read_exactly),
        CHECK_TEST(test_litellm_figures_become_rates),
        CHECK_TEST(test_litellm_models_without_token_prices_are_left_out),
        CHECK_TEST(test_litellm_figures_that_are_not_used_say_why),
        CHECK_TEST(test_litellm_factors),
        CHECK_TEST(test_litellm_image_models_make_image_tokens),
        CHECK_TEST(test_litellm_names_that_cannot_be_kept_are_left_out),
        CHECK_TEST(test_csv_lines_become_prices),
        CHECK_TEST(test_csv_of_spreadsheets),
        CHECK_TEST(test_csv_errors_name_their_line),
        CHECK_TEST(test_a_figure_with_an_endless_name_is_left_out_by_its_reason),
        CHECK_TEST(test_csv_is_quoted_as_rfc_4180_has_it),
        CHECK_TEST(test_a_file_that_is_too_large_or_no_json_is_refused),
    };

    return check_main("price_import", tests, CHECK_COUNT(tests));
}
