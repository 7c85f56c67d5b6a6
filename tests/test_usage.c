/* SPDX-License-Identifier: MIT */
#include "common/error.h"

#include "common/json.h"
#include "common/money.h"
#include "common/pricing.h"
#include "common/usage.h"
#include "tests/check.h"

#include "common/banned.h"

/* USD per million: input 3, cached 0.3, writes 3.75 and 6, output 15, search 10,000 (0.01 each). */
static const char rates[] = "{\"input\":\"3\",\"cache_read\":\"0.3\",\"cache_write\":\"3.75\","
                            "\"cache_write_1h\":\"6\",\"output\":\"15\",\"web_search\":\"10000\","
                            "\"input.above_200k\":\"6\",\"output.priority\":\"30\"}";

static enum status
parse_usage(const char *text, const char *service_tier, struct usage *out, struct error *err)
{
    struct json *json = NULL;
    enum status status = json_parse(text, strlen(text), &json, err);

    if (status == STATUS_OK)
        status = usage_parse(json, service_tier, out, err);
    json_free(json);
    return status;
}

static enum status
cost_of(const char *usage_text, const char *service_tier, const char *rates_text, int64_t *nanos,
        struct error *err)
{
    struct json *rates_json = NULL;
    struct price price;
    struct usage usage;
    enum status status;

    status = json_parse(rates_text, strlen(rates_text), &rates_json, err);
    if (status == STATUS_OK)
        status = price_parse(rates_json, &price, err);
    if (status == STATUS_OK)
        status = parse_usage(usage_text, service_tier, &usage, err);
    if (status == STATUS_OK)
        status = usage_cost(&usage, &price, nanos, err);
    json_free(rates_json);
    return status;
}

static void
check_cost(const char *what, int64_t want_nanos, const char *usage, const char *service_tier)
{
    struct error err = { 0 };
    int64_t nanos = -1;

    CHECK_STATUS(STATUS_OK, cost_of(usage, service_tier, rates, &nanos, &err), &err);
    CHECK_INT(what, want_nanos, nanos);
}

static void
check_refused_beside(const char *message, const char *usage, const char *service_tier)
{
    struct error err = { 0 };
    int64_t nanos = -1;

    CHECK_STATUS(STATUS_INVALID, cost_of(usage, service_tier, rates, &nanos, &err), &err);
    CHECK_STRING("message", message, err.message);
    CHECK_INT("untouched", -1, nanos);
}

static void
check_refused(const char *message, const char *usage)
{
    check_refused_beside(message, usage, NULL);
}

/* What a usage is kept as: which units are in which part. */
static void
check_kept(const char *want, const char *usage_text)
{
    struct error err = { 0 };
    struct usage usage;
    char storage[USAGE_TEXT_SIZE];
    struct buf out;

    CHECK_STATUS(STATUS_OK, parse_usage(usage_text, NULL, &usage, &err), &err);
    buf_init(&out, storage, sizeof(storage));
    usage_write(&usage, &out);
    CHECK_STRING("kept", want, buf_text(&out));
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
               NULL);
    check_cost("embeddings", 3000000, "{\"prompt_tokens\":1000,\"total_tokens\":1000}", NULL);
    check_kept("{\"input\":500,\"cache_read\":400,\"cache_write\":100,\"output\":3}",
               "{\"input_tokens\":1000,\"output_tokens\":3,"
               "\"input_tokens_details\":{\"cached_tokens\":400,\"cache_write_tokens\":100}}");
}

static void
test_openai_reasoning_audio_and_images_are_parts(void)
{
    check_kept("{\"input\":50,\"cache_read\":10,\"output\":20,\"reasoning\":30,"
               "\"audio_input\":15,\"audio_cache_read\":5,\"audio_output\":7,\"image_input\":12,"
               "\"image_cache_read\":8,\"image_output\":3}",
               "{\"input_tokens\":100,\"output_tokens\":60,\"total_tokens\":160,"
               "\"input_tokens_details\":{\"cached_tokens\":23,\"audio_tokens\":20,"
               "\"image_tokens\":20,\"text_tokens\":60,"
               "\"cached_tokens_details\":{\"audio_tokens\":5,\"image_tokens\":8}},"
               "\"output_tokens_details\":{\"reasoning_tokens\":30,\"audio_tokens\":7,"
               "\"image_tokens\":3}}");
    check_kept("{\"input\":2,\"output\":4,\"audio_input\":8}",
               "{\"input_tokens\":10,\"output_tokens\":4,\"type\":\"tokens\","
               "\"input_token_details\":{\"text_tokens\":2,\"audio_tokens\":8}}");
}

static void
test_cached_tokens_are_taken_for_text_first(void)
{
    /* 100 of text, 50 of sound, 120 of them cached: 20 of the sound, at least. */
    check_kept("{\"cache_read\":100,\"audio_input\":30,\"audio_cache_read\":20}",
               "{\"prompt_tokens\":150,\"prompt_tokens_details\":{\"cached_tokens\":120,"
               "\"audio_tokens\":50}}");
    check_kept("{\"input\":10,\"cache_read\":90,\"audio_input\":50}",
               "{\"promptTokenCount\":150,\"cachedContentTokenCount\":90,"
               "\"promptTokensDetails\":[{\"modality\":\"AUDIO\",\"tokenCount\":50}]}");
    check_kept("{\"input\":60,\"cache_read\":40,\"audio_cache_read\":50}",
               "{\"promptTokenCount\":150,\"cachedContentTokenCount\":90,"
               "\"promptTokensDetails\":[{\"modality\":\"AUDIO\",\"tokenCount\":50}],"
               "\"cacheTokensDetails\":[{\"modality\":\"AUDIO\",\"tokenCount\":50}]}");
}

static void
test_reasoning_beside_the_completion_shows_in_the_total(void)
{
    check_kept("{\"input\":9992,\"cache_read\":128,\"output\":1499,\"reasoning\":2809}",
               "{\"prompt_tokens\":10120,\"completion_tokens\":1499,\"total_tokens\":14428,"
               "\"prompt_tokens_details\":{\"cached_tokens\":128},"
               "\"completion_tokens_details\":{\"reasoning_tokens\":2809}}");
}

static void
test_cached_tokens_of_deepseek_and_moonshot(void)
{
    check_kept("{\"input\":2,\"cache_read\":8}",
               "{\"prompt_tokens\":10,\"prompt_cache_hit_tokens\":8,"
               "\"prompt_cache_miss_tokens\":2}");
    check_kept("{\"input\":2,\"cache_read\":8}", "{\"prompt_tokens\":10,\"cached_tokens\":8}");
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
    check_cost("two counts", 3000000, "{\"input_tokens\":1000,\"output_tokens\":0}", NULL);
    check_kept("{\"input\":1,\"cache_write\":7}",
               "{\"input_tokens\":1,\"cache_creation_input_tokens\":7,\"cache_creation\":null}");
    check_kept("{\"input\":1,\"cache_write\":3,\"cache_write_1h\":4}",
               "{\"input_tokens\":1,\"cache_creation_input_tokens\":null,\"cache_creation\":"
               "{\"ephemeral_5m_input_tokens\":3,\"ephemeral_1h_input_tokens\":4}}");
}

static void
test_anthropic_compactions_are_added(void)
{
    check_kept("{\"input\":203000,\"output\":4500}",
               "{\"input_tokens\":23000,\"output_tokens\":1000,\"iterations\":["
               "{\"type\":\"compaction\",\"input_tokens\":180000,\"output_tokens\":3500},"
               "{\"type\":\"message\",\"input_tokens\":23000,\"output_tokens\":1000}]}");
    check_kept("{\"input\":201002,\"step\":\"above_200k\"}",
               "{\"input_tokens\":1,\"output_tokens\":0,\"iterations\":["
               "{\"type\":\"compaction\",\"input_tokens\":201001}]}");
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
test_gemini_modalities_are_parts(void)
{
    check_kept("{\"input\":75,\"output\":5,\"reasoning\":9,\"audio_input\":20,\"audio_output\":4,"
               "\"image_input\":10,\"image_output\":3,\"video_output\":2}",
               "{\"promptTokenCount\":100,\"candidatesTokenCount\":14,\"thoughtsTokenCount\":9,"
               "\"toolUsePromptTokenCount\":5,\"totalTokenCount\":128,"
               "\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":70},"
               "{\"modality\":\"AUDIO\",\"tokenCount\":20},{\"modality\":\"IMAGE\","
               "\"tokenCount\":6},{\"modality\":\"VIDEO\",\"tokenCount\":4}],"
               "\"candidatesTokensDetails\":[{\"modality\":\"AUDIO\",\"tokenCount\":4},"
               "{\"modality\":\"IMAGE\",\"tokenCount\":3},{\"modality\":\"VIDEO\","
               "\"tokenCount\":2}]}");
    check_kept("{\"input\":1,\"audio_output\":2}",
               "{\"promptTokenCount\":1,\"responseTokenCount\":2,\"totalTokenCount\":3,"
               "\"responseTokensDetails\":[{\"modality\":\"AUDIO\",\"tokenCount\":2}]}");
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
    check_kept("{\"input\":272000,\"step\":\"above_200k\"}", "{\"prompt_tokens\":272000}");
    check_kept("{\"input\":272001,\"step\":\"above_272k\"}", "{\"prompt_tokens\":272001}");
    check_kept("{\"input\":1,\"cache_read\":150000,\"cache_write\":50000,\"step\":\"above_200k\"}",
               "{\"input_tokens\":1,\"cache_read_input_tokens\":150000,"
               "\"cache_creation_input_tokens\":50000}");
}

static void
test_a_tier_prices_what_it_names_and_the_rest_as_standard(void)
{
    static const char chat[] = "{\"prompt_tokens\":1000,\"completion_tokens\":100}";

    check_cost("priority", 3000000 + 3000000,
               "{\"prompt_tokens\":1000,\"completion_tokens\":100,\"service_tier\":\"priority\"}",
               NULL);
    check_cost("told beside it", 3000000 + 3000000, chat, "priority");
    check_cost("told the usual one", 3000000 + 1500000, chat, "default");
    check_cost("told twice the same", 3000000 + 3000000,
               "{\"prompt_tokens\":1000,\"completion_tokens\":100,\"service_tier\":\"priority\"}",
               "priority");
    check_refused("usage: unknown service_tier", "{\"prompt_tokens\":1,\"service_tier\":\"gold\"}");
    check_refused_beside("usage: unknown service_tier", chat, "gold");
    check_refused("usage: service_tier is no text", "{\"prompt_tokens\":1,\"service_tier\":1}");
    check_refused_beside("usage: the service_tier beside it is another than its own",
                         "{\"prompt_tokens\":1,\"service_tier\":\"flex\"}", "batch");
    check_kept("{\"input\":1,\"tier\":\"batch\"}",
               "{\"input_tokens\":1,\"service_tier\":\"batch\",\"cache_creation\":null}");
    check_kept("{\"input\":1,\"tier\":\"flex\"}",
               "{\"promptTokenCount\":1,\"trafficType\":\"ON_DEMAND_FLEX\"}");
    check_kept("{\"input\":1,\"tier\":\"priority\"}",
               "{\"promptTokenCount\":1,\"serviceTier\":\"priority\"}");
}

static void
test_speed_and_region_are_factors(void)
{
    static const char price[] = "{\"input\":\"5\",\"output\":\"25\",\"web_search\":\"10000\","
                                "\"fast_factor\":\"6\",\"regional_factor\":\"1.1\"}";
    static const char usage[] =
        "{\"input_tokens\":1000,\"output_tokens\":100,\"speed\":\"fast\",\"inference_geo\":\"us\","
        "\"server_tool_use\":{\"web_search_requests\":1}}";
    struct error err = { 0 };
    int64_t nanos = -1;

    CHECK_STATUS(STATUS_OK, cost_of(usage, NULL, price, &nanos, &err), &err);
    /* (1000 * 5 + 100 * 25) * 6 * 1.1, and the search as it is */
    CHECK_INT("fast, in a region", 49500000 + 10000000, nanos);
    CHECK_STATUS(STATUS_OK,
                 cost_of("{\"input_tokens\":1000,\"speed\":\"standard\","
                         "\"inference_geo\":\"global\"}",
                         NULL, price, &nanos, &err),
                 &err);
    CHECK_INT("neither", 5000000, nanos);
    check_cost("no factor for regions", 3000000, "{\"input_tokens\":1000,\"inference_geo\":\"us\"}",
               NULL);
    CHECK_STATUS(STATUS_NOT_FOUND, cost_of(usage, NULL, "{\"input\":\"1\"}", &nanos, &err), &err);
    CHECK_STRING("message", "price: this model has no price for input in the fast mode",
                 err.message);
    check_refused("usage: unknown speed", "{\"input_tokens\":1,\"speed\":\"warp\"}");
    check_kept("{\"input\":1,\"fast\":true,\"regional\":true}",
               "{\"input_tokens\":1,\"speed\":\"fast\",\"inference_geo\":\"eu\"}");
}

static void
test_tools_are_counted_in_calls_in_every_shape(void)
{
    check_cost("chat", 20000000,
               "{\"prompt_tokens\":0,\"server_tool_use\":{\"web_search_requests\":2}}", NULL);
    check_cost("gemini", 20000000,
               "{\"promptTokenCount\":0,\"server_tool_use\":{\"web_search_requests\":2}}", NULL);
    check_kept("{\"output\":1,\"web_search\":2,\"file_search\":3,\"code_interpreter\":4}",
               "{\"input_tokens\":0,\"output_tokens\":1,\"server_tool_use\":"
               "{\"web_search_requests\":2,\"web_fetch_requests\":9,\"file_search_requests\":3,"
               "\"code_interpreter_sessions\":4}}");
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
    check_refused("usage: cached tokens exceed the tokens they are part of",
                  "{\"prompt_tokens\":10,\"prompt_tokens_details\":{\"cached_tokens\":11}}");
    check_refused("usage: audio tokens exceed the tokens they are part of",
                  "{\"prompt_tokens\":10,\"prompt_tokens_details\":{\"audio_tokens\":11}}");
    check_refused("usage: cached audio tokens exceed the tokens they are part of",
                  "{\"input_tokens\":10,\"input_tokens_details\":{\"audio_tokens\":1,"
                  "\"cached_tokens\":3,\"cached_tokens_details\":{\"audio_tokens\":2}}}");
    check_refused("usage: cached image tokens exceed the tokens they are part of",
                  "{\"input_tokens\":10,\"input_tokens_details\":{\"image_tokens\":3,"
                  "\"cached_tokens\":1,\"cached_tokens_details\":{\"image_tokens\":2}}}");
    check_refused("usage: reasoning tokens exceed the tokens they are part of",
                  "{\"prompt_tokens\":1,\"completion_tokens\":1,"
                  "\"completion_tokens_details\":{\"reasoning_tokens\":2}}");
    check_refused("usage: its parts exceed total_tokens",
                  "{\"prompt_tokens\":10,\"completion_tokens\":1,\"total_tokens\":10}");
    check_refused("usage: cache writes exceed cache_creation_input_tokens",
                  "{\"input_tokens\":1,\"cache_creation_input_tokens\":1,"
                  "\"cache_creation\":{\"ephemeral_1h_input_tokens\":2}}");
    check_refused("usage: cached tokens exceed the tokens they are part of",
                  "{\"promptTokenCount\":10,\"cachedContentTokenCount\":11}");
    check_refused("usage: its parts exceed totalTokenCount",
                  "{\"promptTokenCount\":10,\"thoughtsTokenCount\":1,\"totalTokenCount\":10}");
}

static void
test_malformed_counts_and_shapes_are_refused(void)
{
    check_refused("usage: prompt_tokens is not a whole number from 0", "{\"prompt_tokens\":-1}");
    check_refused("usage: prompt_tokens is not a whole number from 0", "{\"prompt_tokens\":1.5}");
    check_refused("usage: prompt_tokens is not a whole number from 0", "{\"prompt_tokens\":\"1\"}");
    check_refused("usage: input_tokens is not a whole number from 0",
                  "{\"input_tokens\":1000000000001}");
    check_refused("usage: web_search_requests is not a whole number from 0",
                  "{\"input_tokens\":1,\"server_tool_use\":{\"web_search_requests\":-1}}");
    check_refused("usage: neither OpenAI's, Anthropic's nor Gemini's usage object",
                  "{\"tokens\":1}");
    check_refused("usage: neither OpenAI's, Anthropic's nor Gemini's usage object", "[]");
    check_refused("usage: a count is too large", "{\"input_tokens\":1000000000000,\"iterations\":["
                                                 "{\"type\":\"compaction\",\"input_tokens\":1}]}");
}

static void
test_odd_objects_are_read_or_refused_but_never_half(void)
{
    check_kept("{}", "{\"prompt_tokens\":0}");
    check_kept("{\"output\":2}", "{\"totalTokenCount\":2,\"candidatesTokenCount\":2}");
    check_kept("{\"input\":1,\"cache_read\":2}",
               "{\"input_tokens\":1,\"cache_read_input_tokens\":2}");
    check_kept("{\"input\":1,\"cache_write_1h\":2}",
               "{\"input_tokens\":1,\"cache_creation\":{\"ephemeral_1h_input_tokens\":2}}");
    check_kept(
        "{\"input\":4}",
        "{\"promptTokenCount\":4,\"promptTokensDetails\":[7,{\"modality\":3,\"tokenCount\":1}]}");
    check_kept("{\"input\":1}", "{\"input_tokens\":1,\"iterations\":[{\"input_tokens\":5}]}");
    check_refused("usage: audio tokens exceed the tokens they are part of",
                  "{\"promptTokenCount\":1,\"promptTokensDetails\":["
                  "{\"modality\":\"AUDIO\",\"tokenCount\":1000000000000},"
                  "{\"modality\":\"AUDIO\",\"tokenCount\":1000000000000},"
                  "{\"modality\":\"AUDIO\",\"tokenCount\":1}]}");
    check_refused(
        "usage: input_tokens is not a whole number from 0",
        "{\"input_tokens\":1,\"iterations\":[{\"type\":\"compaction\",\"input_tokens\":-1},"
        "{\"type\":\"compaction\",\"output_tokens\":-1}],\"service_tier\":7}");
    /* The first thing that is wrong is told. */
    check_refused("usage: prompt_tokens is not a whole number from 0",
                  "{\"prompt_tokens\":-1,\"service_tier\":\"gold\",\"speed\":\"warp\"}");
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
    CHECK_STATUS(STATUS_NOT_FOUND,
                 cost_of("{\"prompt_tokens\":1,\"server_tool_use\":{\"file_search_requests\":1}}",
                         NULL, "{\"input\":\"1\"}", &nanos, &err),
                 &err);
    CHECK_STRING("message", "price: this model has no price for file_search", err.message);
    CHECK_STATUS(STATUS_NOT_FOUND,
                 cost_of("{\"prompt_tokens\":0,\"speed\":\"fast\","
                         "\"server_tool_use\":{\"file_search_requests\":1}}",
                         NULL, "{\"input\":\"1\"}", &nanos, &err),
                 &err);
    CHECK_STRING("a tool has no mode", "price: this model has no price for file_search",
                 err.message);
    CHECK_STATUS(STATUS_OVERFLOW,
                 cost_of("{\"prompt_tokens\":1000000000000}", NULL, "{\"input\":\"1000000000\"}",
                         &nanos, &err),
                 &err);
    CHECK_INT("untouched", -1, nanos);
}

static enum status
read_kept(const char *text, struct usage *out)
{
    struct error err = { 0 };
    struct json *json = NULL;
    enum status status = json_parse(text, strlen(text), &json, &err);

    if (status == STATUS_OK)
        status = usage_read(json, out, &err);
    json_free(json);
    return status;
}

static void
test_a_kept_usage_reads_back(void)
{
    struct usage all = { .tier = PRICE_PRIORITY, .step = PRICE_ABOVE_272K };
    struct usage got;
    char storage[USAGE_TEXT_SIZE];
    struct buf out;

    all.fast = all.regional = true;
    for (int part = 0; part < PRICE_PARTS; part++)
        all.units[part] = USAGE_UNITS_MAX - part;
    buf_init(&out, storage, sizeof(storage));
    usage_write(&all, &out);
    CHECK_FALSE("the longest fits", buf_failed(&out));
    CHECK_INT("read", STATUS_OK, read_kept(buf_text(&out), &got));
    CHECK_INT("units", 0, memcmp(all.units, got.units, sizeof(all.units)));
    CHECK_INT("tier", PRICE_PRIORITY, got.tier);
    CHECK_INT("step", PRICE_ABOVE_272K, got.step);
    CHECK_TRUE("factors", got.fast && got.regional);
    CHECK_INT("nothing", STATUS_OK, read_kept("{}", &got));
    CHECK_INT("unknown member", STATUS_INVALID, read_kept("{\"gold\":1}", &got));
    CHECK_INT("bad count", STATUS_INVALID, read_kept("{\"input\":-1}", &got));
    CHECK_INT("bad tier", STATUS_INVALID, read_kept("{\"tier\":\"gold\"}", &got));
    CHECK_INT("no tier", STATUS_INVALID, read_kept("{\"tier\":1}", &got));
    CHECK_INT("no step", STATUS_INVALID, read_kept("{\"step\":1}", &got));
    CHECK_INT("the middle step", STATUS_OK, read_kept("{\"step\":\"above_200k\"}", &got));
    CHECK_INT("bad step", STATUS_INVALID, read_kept("{\"step\":\"above_1m\"}", &got));
    CHECK_INT("bad flag", STATUS_INVALID, read_kept("{\"fast\":1}", &got));
    CHECK_INT("no object", STATUS_INVALID, read_kept("[]", &got));
}

static void
check_part_cost(const char *want, int64_t units, int64_t rate)
{
    char storage[64];
    struct buf out;

    buf_init(&out, storage, sizeof(storage));
    usage_add_part_cost(&out, units, rate);
    CHECK_STRING("cost", want, buf_text(&out));
}

static void
test_the_cost_of_a_part_is_exact(void)
{
    check_part_cost("0", 0, 5);
    check_part_cost("0.000000000000001", 1, 1);
    check_part_cost("0.0018", 600, INT64_C(3000000000));
    check_part_cost("1", 1000000, MONEY_NANOS_PER_USD);
    check_part_cost("10.5", 1, INT64_C(10500000000000000));
    check_part_cost("1000000000000000", USAGE_UNITS_MAX, MONEY_MAX_NANOS);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_openai_cached_tokens_are_inside_the_prompt),
        CHECK_TEST(test_openai_reasoning_audio_and_images_are_parts),
        CHECK_TEST(test_cached_tokens_are_taken_for_text_first),
        CHECK_TEST(test_reasoning_beside_the_completion_shows_in_the_total),
        CHECK_TEST(test_cached_tokens_of_deepseek_and_moonshot),
        CHECK_TEST(test_anthropic_cached_tokens_are_beside_the_input),
        CHECK_TEST(test_anthropic_compactions_are_added),
        CHECK_TEST(test_gemini_thoughts_are_beside_the_candidates),
        CHECK_TEST(test_gemini_modalities_are_parts),
        CHECK_TEST(test_a_request_above_200k_tokens_is_priced_by_its_step),
        CHECK_TEST(test_a_tier_prices_what_it_names_and_the_rest_as_standard),
        CHECK_TEST(test_speed_and_region_are_factors),
        CHECK_TEST(test_tools_are_counted_in_calls_in_every_shape),
        CHECK_TEST(test_i8_a_charge_is_rounded_up_once),
        CHECK_TEST(test_parts_that_exceed_their_whole_are_refused),
        CHECK_TEST(test_malformed_counts_and_shapes_are_refused),
        CHECK_TEST(test_odd_objects_are_read_or_refused_but_never_half),
        CHECK_TEST(test_a_part_without_any_price_is_not_free),
        CHECK_TEST(test_a_kept_usage_reads_back),
        CHECK_TEST(test_the_cost_of_a_part_is_exact),
    };

    return check_main("usage", tests, CHECK_COUNT(tests));
}
