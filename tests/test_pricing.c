/* SPDX-License-Identifier: MIT */
#include "common/error.h"

#include "common/json.h"
#include "common/price_import.h"
#include "common/pricing.h"
#include "tests/check.h"

#include "common/banned.h"

/* USD per million: input 3, cached 0.3, writes 3.75 and 6, output 15, search 10,000 (0.01 each). */
static const char rates[] = "{\"input\":\"3\",\"cache_read\":\"0.3\",\"cache_write\":\"3.75\","
                            "\"cache_write_1h\":\"6\",\"output\":\"15\",\"web_search\":\"10000\","
                            "\"input.above_200k\":\"6\",\"output.priority\":\"30\"}";

static enum status
cost_of(const char *usage_text, const char *provider, const char *rates_text, int64_t *nanos,
        struct error *err)
{
    struct json *usage_json = NULL;
    struct json *rates_json = NULL;
    struct price price;
    struct usage usage;
    enum status status;

    status = json_parse(rates_text, strlen(rates_text), &rates_json, err);
    if (status == STATUS_OK)
        status = price_parse(rates_json, &price, err);
    if (status == STATUS_OK)
        status = json_parse(usage_text, strlen(usage_text), &usage_json, err);
    if (status == STATUS_OK)
        status = usage_parse(usage_json, provider, &usage, err);
    if (status == STATUS_OK)
        status = usage_cost(&usage, &price, nanos, err);
    json_free(usage_json);
    json_free(rates_json);
    return status;
}

static void
check_cost(const char *what, int64_t want_nanos, const char *usage, const char *provider)
{
    struct error err = { 0 };
    int64_t nanos = -1;

    CHECK_STATUS(STATUS_OK, cost_of(usage, provider, rates, &nanos, &err), &err);
    CHECK_INT(what, want_nanos, nanos);
}

static void
check_refused(const char *message, enum status want, const char *usage)
{
    struct error err = { 0 };
    int64_t nanos = -1;

    CHECK_STATUS(want, cost_of(usage, NULL, rates, &nanos, &err), &err);
    CHECK_STRING("message", message, err.message);
    CHECK_INT("untouched", -1, nanos);
}

static void
test_openai_cached_tokens_are_inside_the_prompt(void)
{
    /* 600 * 3 + 400 * 0.3 + 100 * 15 = 3420 per million dollars */
    check_cost("chat", 3420000,
               "{\"prompt_tokens\":1000,\"completion_tokens\":100,\"total_tokens\":1100,"
               "\"prompt_tokens_details\":{\"cached_tokens\":400},"
               "\"completion_tokens_details\":{\"reasoning_tokens\":60}}",
               NULL);
    check_cost("responses", 3420000,
               "{\"input_tokens\":1000,\"output_tokens\":100,"
               "\"input_tokens_details\":{\"cached_tokens\":400}}",
               "openai");
    check_cost("embeddings", 3000000, "{\"prompt_tokens\":1000,\"total_tokens\":1000}", NULL);
}

static void
test_anthropic_cached_tokens_are_beside_the_input(void)
{
    /* 1000 * 3 + 400 * 0.3 + 100 * 3.75 + 50 * 6 + 10 * 15 + 2 * 10000 */
    check_cost("with lifetimes", INT64_C(23945000000) / 1000,
               "{\"input_tokens\":1000,\"cache_read_input_tokens\":400,"
               "\"cache_creation_input_tokens\":150,\"cache_creation\":"
               "{\"ephemeral_5m_input_tokens\":100,\"ephemeral_1h_input_tokens\":50},"
               "\"output_tokens\":10,\"server_tool_use\":{\"web_search_requests\":2}}",
               NULL);
    check_cost("by provider", 3000000, "{\"input_tokens\":1000,\"output_tokens\":0}", "anthropic");
}

static void
test_gemini_thoughts_are_beside_the_candidates(void)
{
    /* 600 * 3 + 400 * 0.3 + (100 + 60) * 15 */
    check_cost("gemini", 4320000,
               "{\"promptTokenCount\":1000,\"cachedContentTokenCount\":400,"
               "\"candidatesTokenCount\":100,\"thoughtsTokenCount\":60,\"totalTokenCount\":1160}",
               NULL);
}

static void
test_a_request_above_200k_tokens_is_priced_by_its_step(void)
{
    check_cost("at the edge", INT64_C(600000000),
               "{\"prompt_tokens\":200000,\"completion_tokens\":0}", NULL);
    check_cost("one above", INT64_C(1200006000),
               "{\"prompt_tokens\":200001,\"completion_tokens\":0}", NULL);
    check_cost("above 272k without a step of its own", INT64_C(1800000000),
               "{\"prompt_tokens\":300000,\"completion_tokens\":0}", NULL);
}

static void
test_a_tier_prices_what_it_names_and_the_rest_as_standard(void)
{
    check_cost("priority", 3000000 + 3000000,
               "{\"prompt_tokens\":1000,\"completion_tokens\":100,\"service_tier\":\"priority\"}",
               NULL);
    check_refused("usage: unknown service_tier", STATUS_INVALID,
                  "{\"prompt_tokens\":1,\"service_tier\":\"gold\"}");
}

static void
test_i8_a_charge_is_rounded_up_once(void)
{
    struct error err = { 0 };
    int64_t nanos = -1;

    /* Two parts of a third of a nano-dollar each are one nano-dollar, not two. */
    CHECK_STATUS(STATUS_OK,
                 cost_of("{\"prompt_tokens\":1,\"completion_tokens\":1}", NULL,
                         "{\"input\":\"0.000333333\",\"output\":\"0.000333333\"}", &nanos, &err),
                 &err);
    CHECK_INT("one", 1, nanos);
    CHECK_STATUS(STATUS_OK,
                 cost_of("{\"prompt_tokens\":0}", NULL, "{\"input\":\"1\"}", &nanos, &err), &err);
    CHECK_INT("nothing", 0, nanos);
}

static void
test_parts_that_exceed_their_whole_are_refused(void)
{
    check_refused("usage: cached tokens exceed the tokens they are part of", STATUS_INVALID,
                  "{\"prompt_tokens\":10,\"prompt_tokens_details\":{\"cached_tokens\":11}}");
    check_refused("usage: reasoning tokens exceed the tokens they are part of", STATUS_INVALID,
                  "{\"prompt_tokens\":1,\"completion_tokens\":1,"
                  "\"completion_tokens_details\":{\"reasoning_tokens\":2}}");
    check_refused("usage: its parts exceed total_tokens", STATUS_INVALID,
                  "{\"prompt_tokens\":10,\"completion_tokens\":1,\"total_tokens\":10}");
    check_refused("usage: cache writes exceed cache_creation_input_tokens", STATUS_INVALID,
                  "{\"input_tokens\":1,\"cache_creation_input_tokens\":1,"
                  "\"cache_creation\":{\"ephemeral_1h_input_tokens\":2}}");
}

static void
test_malformed_counts_and_shapes_are_refused(void)
{
    check_refused("usage: prompt_tokens is not a whole number from 0", STATUS_INVALID,
                  "{\"prompt_tokens\":-1}");
    check_refused("usage: prompt_tokens is not a whole number from 0", STATUS_INVALID,
                  "{\"prompt_tokens\":1.5}");
    check_refused("usage: prompt_tokens is not a whole number from 0", STATUS_INVALID,
                  "{\"prompt_tokens\":\"1\"}");
    check_refused("usage: neither OpenAI's, Anthropic's nor Gemini's usage object", STATUS_INVALID,
                  "{\"tokens\":1}");
    check_refused("usage: neither OpenAI's, Anthropic's nor Gemini's usage object", STATUS_INVALID,
                  "[]");
}

static void
test_a_part_without_any_price_is_not_free(void)
{
    struct error err = { 0 };
    int64_t nanos = -1;

    CHECK_STATUS(STATUS_NOT_FOUND,
                 cost_of("{\"prompt_tokens\":1,\"completion_tokens\":1}", NULL, "{\"input\":\"1\"}",
                         &nanos, &err),
                 &err);
    CHECK_STRING("message", "price: this model has no price for output", err.message);
    CHECK_STATUS(STATUS_OVERFLOW,
                 cost_of("{\"prompt_tokens\":1000000000000}", NULL, "{\"input\":\"1000000000\"}",
                         &nanos, &err),
                 &err);
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
    CHECK_STRING("why", "output_cost_per_image: no usage object counts this", got.why);
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
    CHECK_STATUS(STATUS_OK, import_text("{\"m\":{\"input_cost_per_token\":1}}", &got, &err), &err);
    CHECK_STRING("why", "no litellm_provider, or a too long one", got.why);
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
    CHECK_STATUS(STATUS_INVALID, import_text("  \n", &got, &err), &err);
    CHECK_STRING("message", "price file: empty", err.message);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_openai_cached_tokens_are_inside_the_prompt),
        CHECK_TEST(test_anthropic_cached_tokens_are_beside_the_input),
        CHECK_TEST(test_gemini_thoughts_are_beside_the_candidates),
        CHECK_TEST(test_a_request_above_200k_tokens_is_priced_by_its_step),
        CHECK_TEST(test_a_tier_prices_what_it_names_and_the_rest_as_standard),
        CHECK_TEST(test_i8_a_charge_is_rounded_up_once),
        CHECK_TEST(test_parts_that_exceed_their_whole_are_refused),
        CHECK_TEST(test_malformed_counts_and_shapes_are_refused),
        CHECK_TEST(test_a_part_without_any_price_is_not_free),
        CHECK_TEST(test_rates_write_and_parse_back),
        CHECK_TEST(test_prices_per_unit_are_read_exactly),
        CHECK_TEST(test_litellm_figures_become_rates),
        CHECK_TEST(test_litellm_models_without_token_prices_are_left_out),
        CHECK_TEST(test_csv_lines_become_prices),
        CHECK_TEST(test_csv_errors_name_their_line),
    };

    return check_main("pricing", tests, CHECK_COUNT(tests));
}
