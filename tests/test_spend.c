/* SPDX-License-Identifier: MIT */
/* Members as JSON and as a form, the rules of a spend post, and its fingerprint. */
#include "tracker/spend.h"

#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define CENT INT64_C(10000000)
#define MAX_CHARGE (INT64_C(1000) * 100 * CENT)

static struct spend_post post;
static struct refusal refusal;

static void
parse_json(const char *text)
{
    struct fields fields;

    memset(&refusal, 0, sizeof(refusal));
    fields_read_json(&fields, text, strlen(text), &refusal);
    spend_parse(&fields, MAX_CHARGE, &post, &refusal);
    fields_clear(&fields);
}

static void
parse_form(const char *text)
{
    struct fields fields;
    char copy[8192];

    if (!text_copy(copy, sizeof(copy), text))
        abort();
    memset(&refusal, 0, sizeof(refusal));
    fields_read_form(&fields, copy, strlen(copy), &refusal);
    spend_parse(&fields, MAX_CHARGE, &post, &refusal);
    fields_clear(&fields);
}

/* `got` is refused with this status and code, and a message that begins with `message`. */
#define CHECK_REFUSED(status, error, begin)               \
    do {                                                  \
        CHECK_INT("status", status, refusal.http_status); \
        CHECK_STRING("code", error, refusal.code);        \
        refusal.message[strlen(begin)] = '\0';            \
        CHECK_STRING("message", begin, refusal.message);  \
    } while (0)

#define CHECK_TAKEN()                                 \
    do {                                              \
        CHECK_INT("status", 0, refusal.http_status);  \
        CHECK_STRING("message", "", refusal.message); \
    } while (0)

static void
test_json_post_is_read_whole(void)
{
    parse_json("{\"hold_id\":\"hld_1\",\"subject\":\"user_1\",\"key_id\":\"ak_1\","
               "\"cost_usd\":\"0.0123\",\"model\":\"m\",\"provider\":\"p\",\"route\":\"/api/\","
               "\"tags\":[\"a\",\"b c\"],\"metadata\":{\"z\":1.50,\"a\":[true,null]},"
               "\"occurred_at\":\"2026-11-21T07:12:05+01:00\",\"idempotency_key\":\"k\"}");
    CHECK_TAKEN();
    CHECK_STRING("hold_id", "hld_1", post.hold_id);
    CHECK_STRING("subject", "user_1", post.subject);
    CHECK_STRING("key_id", "ak_1", post.key_id);
    CHECK_INT("cost", 12300000, post.cost_nanos);
    CHECK_STRING("model", "m", post.model);
    CHECK_STRING("route", "/api/", post.route);
    CHECK_STRING("tags", "a,b c", post.tags);
    CHECK_STRING("metadata", "{\"a\":[true,null],\"z\":1.50}", post.metadata);
    CHECK_INT("occurred", INT64_C(1795241525000000), post.occurred_us);
}

static void
test_form_post_is_read_whole(void)
{
    parse_form("subject=user_1&cost_cents=1.23&model=a%20b+c&tags=a,b&"
               "metadata=%7B%22b%22%3A1%2C%22a%22%3A2%7D&occurred_at=2026-11-21T06%3A12%3A05Z&&");
    CHECK_TAKEN();
    CHECK_STRING("hold_id", "", post.hold_id);
    CHECK_STRING("subject", "user_1", post.subject);
    CHECK_INT("cost", 12300000, post.cost_nanos);
    CHECK_STRING("model", "a b c", post.model);
    CHECK_STRING("tags", "a,b", post.tags);
    CHECK_STRING("metadata", "{\"a\":2,\"b\":1}", post.metadata);
    CHECK_INT("occurred", INT64_C(1795241525000000), post.occurred_us);
}

static void
test_null_and_empty_names_count_as_not_given(void)
{
    parse_json("{\"hold_id\":null,\"key_id\":\"\",\"subject\":\"user_1\",\"cost_usd\":1,"
               "\"cost_cents\":null,\"metadata\":null,\"tags\":null,\"model\":null}");
    CHECK_TAKEN();
    CHECK_STRING("hold_id", "", post.hold_id);
    CHECK_STRING("key_id", "", post.key_id);
    CHECK_STRING("metadata", "", post.metadata);
    parse_form("hold_id=&subject=user_1&cost_usd=0");
    CHECK_TAKEN();
    CHECK_STRING("hold_id", "", post.hold_id);
    CHECK_INT("cost", 0, post.cost_nanos);
}

/* A number of JSON is read from its digits: 2^53 + 1 and nine decimals keep every one of them. */
static void
test_cost_is_exact_as_number_and_as_text(void)
{
    parse_json("{\"subject\":\"u\",\"cost_usd\":0.1}");
    CHECK_TAKEN();
    CHECK_INT("0.1", 100000000, post.cost_nanos);
    parse_json("{\"subject\":\"u\",\"cost_usd\":9.007199254}");
    CHECK_INT("nine decimals", INT64_C(9007199254), post.cost_nanos);
    parse_json("{\"subject\":\"u\",\"cost_cents\":0.0000001}");
    CHECK_INT("a nano in cents", 1, post.cost_nanos);
    parse_json("{\"subject\":\"u\",\"cost_usd\":\"1000\"}");
    CHECK_TAKEN();
    CHECK_INT("the largest", MAX_CHARGE, post.cost_nanos);
}

static void
test_cost_that_is_no_plain_decimal_is_invalid(void)
{
    static const char *const costs[] = { "-1",     "\"-1\"",       "1e2",    "\"\"",    "\"1.\"",
                                         "\".5\"", "0.0000000001", "true",   "[1]",     "{}",
                                         "\" 1\"", "\"1,5\"",      "\"+1\"", "\"0x1\"", "\"NaN\"" };
    char text[128];

    for (size_t i = 0; i < CHECK_COUNT(costs); i++) {
        struct buf body;

        buf_init(&body, text, sizeof(text));
        buf_add_format(&body, "{\"subject\":\"u\",\"cost_usd\":%s}", costs[i]);
        parse_json(text);
        CHECK_REFUSED(400, "invalid_cost", "cost_usd: ");
    }
    parse_json("{\"subject\":\"u\",\"cost_cents\":0.00000001}");
    CHECK_REFUSED(400, "invalid_cost", "cost_cents: ");
    parse_form("subject=u&cost_usd=");
    CHECK_REFUSED(400, "invalid_cost", "cost_usd: ");
    parse_form("subject=u&cost_usd=%201");
    CHECK_REFUSED(400, "invalid_cost", "cost_usd: ");
}

static void
test_cost_above_the_largest_charge_is_invalid(void)
{
    parse_json("{\"subject\":\"u\",\"cost_usd\":\"1000.000000001\"}");
    CHECK_REFUSED(400, "invalid_cost", "cost_usd: above max_charge_usd of the settings, 1000");
    parse_json("{\"subject\":\"u\",\"cost_cents\":\"100000.1\"}");
    CHECK_REFUSED(400, "invalid_cost", "cost_cents: above max_charge_usd of the settings, 1000");
}

static void
test_exactly_one_cost_is_needed(void)
{
    parse_json("{\"subject\":\"u\"}");
    CHECK_REFUSED(400, "missing_field", "cost_usd: one of");
    parse_json("{\"subject\":\"u\",\"cost_usd\":1,\"cost_cents\":100}");
    CHECK_REFUSED(400, "invalid_field", "cost_usd: only one of");
    parse_json("{\"subject\":\"u\",\"cost_usd\":1,\"usage\":{}}");
    CHECK_REFUSED(400, "invalid_field", "cost_usd: only one of");
    parse_json("{}");
    CHECK_REFUSED(400, "missing_field", "cost_usd: ");
    parse_json("{\"subject\":\"u\",\"cost_usd\":null}");
    CHECK_REFUSED(400, "invalid_cost", "cost_usd: null");
}

static void
test_usage_is_read_for_its_price(void)
{
    parse_json("{\"subject\":\"u\",\"usage\":{\"input_tokens\":1}}");
    CHECK_REFUSED(400, "missing_field", "model: ");
    parse_json("{\"subject\":\"u\",\"usage\":5,\"model\":\"m\"}");
    CHECK_REFUSED(400, "invalid_field", "usage: has to be a JSON object");
    parse_json("{\"subject\":\"u\",\"usage\":{},\"model\":\"m\"}");
    CHECK_REFUSED(422, "usage_inconsistent", "usage: neither OpenAI's");
    parse_json("{\"subject\":\"u\",\"usage\":{\"prompt_tokens\":1,\"prompt_tokens_details\":"
               "{\"cached_tokens\":2}},\"model\":\"m\"}");
    CHECK_REFUSED(422, "usage_inconsistent", "usage: cached tokens exceed");
    parse_json(
        "{\"subject\":\"u\",\"usage\":{\"input_tokens\":7},\"model\":\"m\",\"provider\":\"x\","
        "\"service_tier\":\"flex\"}");
    CHECK_TAKEN();
    CHECK_TRUE("by usage", post.by_usage);
    CHECK_STRING("model", "m", post.usage.model);
    CHECK_STRING("provider", "x", post.usage.provider);
    CHECK_INT("tokens", 7, post.usage.usage.units[PRICE_INPUT]);
    CHECK_INT("tier", PRICE_FLEX, post.usage.usage.tier);
    parse_json("{\"subject\":\"u\",\"usage\":{\"input_tokens\":7},\"model\":\"m\","
               "\"service_tier\":1}");
    CHECK_REFUSED(400, "invalid_field", "service_tier: has to be a text");
    parse_form("subject=u&model=m&usage=%7B%22prompt_tokens%22%3A7%7D");
    CHECK_TAKEN();
    CHECK_INT("of a form", 7, post.usage.usage.units[PRICE_INPUT]);
    parse_form("subject=u&model=m&usage=7");
    CHECK_REFUSED(400, "invalid_field", "usage: has to be a JSON object");
}

static void
fingerprint_of(const char *text, uint8_t out[SHA256_BYTES])
{
    parse_json(text);
    CHECK_TAKEN();
    memcpy(out, post.fingerprint, SHA256_BYTES);
}

static void
check_same_fingerprint(bool want, const char *one, const char *other)
{
    uint8_t a[SHA256_BYTES], b[SHA256_BYTES];

    fingerprint_of(one, a);
    fingerprint_of(other, b);
    CHECK_INT(other, want, memcmp(a, b, sizeof(a)) == 0);
}

static void
test_the_fingerprint_of_a_usage_is_what_was_used(void)
{
    static const char usage[] = "{\"subject\":\"u\",\"model\":\"m\",\"usage\":"
                                "{\"prompt_tokens\":7,\"completion_tokens\":2}}";

    check_same_fingerprint(true, usage,
                           "{\"usage\":{\"completion_tokens\":2,\"prompt_tokens\":7,\"x\":1},"
                           "\"model\":\"m\",\"subject\":\"u\"}");
    check_same_fingerprint(false, usage,
                           "{\"subject\":\"u\",\"model\":\"m\",\"usage\":"
                           "{\"prompt_tokens\":7,\"completion_tokens\":3}}");
    check_same_fingerprint(false, usage,
                           "{\"subject\":\"u\",\"model\":\"n\",\"usage\":"
                           "{\"prompt_tokens\":7,\"completion_tokens\":2}}");
    check_same_fingerprint(false, usage,
                           "{\"subject\":\"u\",\"model\":\"m\",\"service_tier\":\"flex\",\"usage\":"
                           "{\"prompt_tokens\":7,\"completion_tokens\":2}}");
    check_same_fingerprint(false, usage, "{\"subject\":\"u\",\"model\":\"m\",\"cost_usd\":0}");
}

static void
test_somebody_has_to_pay(void)
{
    parse_json("{\"cost_usd\":1}");
    CHECK_REFUSED(400, "missing_field", "subject: ");
    parse_json("{\"cost_usd\":1,\"key_id\":\"ak_1\"}");
    CHECK_TAKEN();
    parse_json("{\"cost_usd\":1,\"hold_id\":\"x\"}");
    CHECK_TAKEN();
}

static void
test_names_that_cannot_be_accounts_are_unknown(void)
{
    parse_json("{\"cost_usd\":1,\"subject\":\"a b\"}");
    CHECK_REFUSED(404, "unknown_account", "subject: ");
    parse_json("{\"cost_usd\":1,\"subject\":\"a/b\"}");
    CHECK_REFUSED(404, "unknown_account", "subject: ");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"key_id\":\"\\u00e9\"}");
    CHECK_REFUSED(404, "unknown_account", "key_id: ");
    parse_json("{\"cost_usd\":1,\"subject\":7}");
    CHECK_REFUSED(400, "invalid_field", "subject: has to be a text");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\\u0000x\"}");
    CHECK_REFUSED(400, "invalid_field", "subject: has to be a text");
}

/* `length` times "a" as the value of `name` beside a cost and, unless it is `name`, a subject. */
static void
parse_long(const char *name, size_t length)
{
    char text[8192];
    struct buf body;

    buf_init(&body, text, sizeof(text));
    buf_add(&body, "{\"cost_usd\":1,");
    if (strcmp(name, "subject") != 0)
        buf_add(&body, "\"subject\":\"u\",");
    buf_add_format(&body, "\"%s\":\"", name);
    for (size_t i = 0; i < length; i++)
        buf_add_char(&body, 'a');
    buf_add(&body, "\"}");
    parse_json(buf_text(&body));
}

static void
test_texts_have_a_longest_length(void)
{
    parse_long("subject", ACCOUNT_NAME_SIZE - 1);
    CHECK_TAKEN();
    parse_long("subject", ACCOUNT_NAME_SIZE);
    CHECK_REFUSED(404, "unknown_account", "subject: ");
    parse_long("key_id", ACCOUNT_NAME_SIZE - 5);
    CHECK_TAKEN();
    parse_long("key_id", ACCOUNT_NAME_SIZE - 4);
    CHECK_REFUSED(404, "unknown_account", "key_id: ");
    parse_long("hold_id", 64);
    CHECK_TAKEN();
    parse_long("hold_id", 65);
    CHECK_REFUSED(404, "unknown_hold", "There is no such hold.");
    parse_long("model", 255);
    CHECK_TAKEN();
    parse_long("model", 256);
    CHECK_REFUSED(400, "invalid_field", "model: longer than 255 bytes");
    parse_long("route", 511);
    CHECK_TAKEN();
    parse_long("route", 512);
    CHECK_REFUSED(400, "invalid_field", "route: longer than 511 bytes");
    parse_long("tags", 255);
    CHECK_TAKEN();
    parse_long("tags", 256);
    CHECK_REFUSED(400, "invalid_field", "tags: longer than 255 bytes");
}

static void
test_hold_id_is_visible_ascii(void)
{
    parse_json("{\"cost_usd\":1,\"hold_id\":\"a b\",\"subject\":\"u\"}");
    CHECK_REFUSED(404, "unknown_hold", "There is no such hold.");
    parse_json("{\"cost_usd\":1,\"hold_id\":\"\\u00e9\",\"subject\":\"u\"}");
    CHECK_REFUSED(404, "unknown_hold", "There is no such hold.");
}

/* Metadata {"m":"aaa…"} that is `length` bytes of compact JSON. */
static void
parse_metadata(size_t length)
{
    char text[8192];
    struct buf body;

    buf_init(&body, text, sizeof(text));
    buf_add(&body, "{\"cost_usd\":1,\"subject\":\"u\",\"metadata\": { \"m\" : \"");
    for (size_t i = strlen("{\"m\":\"\"}"); i < length; i++)
        buf_add_char(&body, 'a');
    buf_add(&body, "\" } }");
    parse_json(buf_text(&body));
}

static void
test_metadata_is_an_object_of_at_most_4096_compact_bytes(void)
{
    parse_metadata(4096);
    CHECK_TAKEN();
    CHECK_INT("length", 4096, strlen(post.metadata));
    parse_metadata(4097);
    CHECK_REFUSED(400, "invalid_field", "metadata: longer than 4096 bytes");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"metadata\":[1]}");
    CHECK_REFUSED(400, "invalid_field", "metadata: has to be a JSON object");
    parse_form("cost_usd=1&subject=u&metadata=%7B");
    CHECK_REFUSED(400, "invalid_field", "metadata: has to be a JSON object");
    parse_form("cost_usd=1&subject=u&metadata=1");
    CHECK_REFUSED(400, "invalid_field", "metadata: has to be a JSON object");
}

static void
test_tags_are_texts_without_commas(void)
{
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"tags\":[]}");
    CHECK_TAKEN();
    CHECK_STRING("none", "", post.tags);
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"tags\":[\"a,b\"]}");
    CHECK_REFUSED(400, "invalid_field", "tags: each tag");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"tags\":[\"a\",7]}");
    CHECK_REFUSED(400, "invalid_field", "tags: each tag");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"tags\":[\"\"]}");
    CHECK_REFUSED(400, "invalid_field", "tags: each tag");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"tags\":\"a\\nb\"}");
    CHECK_REFUSED(400, "invalid_field", "tags: each tag");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"tags\":\"a,,b\"}");
    CHECK_REFUSED(400, "invalid_field", "tags: each tag");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"tags\":{}}");
    CHECK_REFUSED(400, "invalid_field", "tags: has to be a text");
}

static void
test_times_and_texts_are_checked(void)
{
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"occurred_at\":\"yesterday\"}");
    CHECK_REFUSED(400, "invalid_field", "occurred_at: has to be an RFC 3339 time");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"occurred_at\":1795241525}");
    CHECK_REFUSED(400, "invalid_field", "occurred_at: has to be a text");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"model\":\"a\\nb\"}");
    CHECK_REFUSED(400, "invalid_field", "model: control characters");
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"route\":[]}");
    CHECK_REFUSED(400, "invalid_field", "route: has to be a text");
}

static void
test_members_that_do_not_exist_are_named(void)
{
    parse_json("{\"cost_usd\":1,\"subject\":\"u\",\"modell\":\"x\"}");
    CHECK_REFUSED(400, "invalid_field", "modell: there is no such member");
    parse_form("cost_usd=1&subject=u&Model=x");
    CHECK_REFUSED(400, "invalid_field", "Model: there is no such member");
}

static void
test_json_that_is_no_object_is_invalid_json(void)
{
    static const char *const bodies[] = {
        "", "[]", "7", "{\"cost_usd\":1", "{\"a\":1,\"a\":2}", "{a:1}", "nul", "{} x"
    };

    for (size_t i = 0; i < CHECK_COUNT(bodies); i++) {
        parse_json(bodies[i]);
        CHECK_INT("status", 400, refusal.http_status);
        CHECK_STRING("code", "invalid_json", refusal.code);
    }
}

static void
test_forms_are_strict(void)
{
    parse_form("cost_usd=1&cost_usd=1&subject=u");
    CHECK_REFUSED(400, "invalid_field", "cost_usd: given twice");
    parse_form("cost%5Fusd=1&cost_usd=1&subject=u");
    CHECK_REFUSED(400, "invalid_field", "cost_usd: given twice");
    parse_form("subject=%zz&cost_usd=1");
    CHECK_REFUSED(400, "invalid_field", "subject: not UTF-8");
    parse_form("subject=u&cost_usd=1%");
    CHECK_REFUSED(400, "invalid_field", "cost_usd: not UTF-8");
    parse_form("subject=u&cost_usd=1%3");
    CHECK_REFUSED(400, "invalid_field", "cost_usd: not UTF-8");
    parse_form("subject=u%00&cost_usd=1");
    CHECK_REFUSED(400, "invalid_field", "subject: not UTF-8");
    parse_form("model=%ff&subject=u&cost_usd=1");
    CHECK_REFUSED(400, "invalid_field", "model: not UTF-8");
    parse_form("=1&subject=u&cost_usd=1");
    CHECK_REFUSED(400, "invalid_field", "a member's name is empty");
    parse_form("%ff=1&subject=u&cost_usd=1");
    CHECK_REFUSED(400, "invalid_field", "a member's name is empty");
    parse_form("subject&cost_usd=1");
    CHECK_REFUSED(400, "missing_field", "subject: ");
}

static void
test_form_has_at_most_64_members(void)
{
    char text[1024];
    struct error err;
    struct form form;
    struct buf body;

    for (int count = FORM_PAIRS_MAX; count <= FORM_PAIRS_MAX + 1; count++) {
        buf_init(&body, text, sizeof(text));
        for (int i = 0; i < count; i++)
            buf_add_format(&body, "m%d=%d&", i, i);
        if (count == FORM_PAIRS_MAX) {
            CHECK_STATUS(STATUS_OK, form_parse(text, body.length, &form, &err), &err);
            CHECK_STRING("last", "63", form_value(&form, "m63"));
        } else {
            CHECK_STATUS(STATUS_INVALID, form_parse(text, body.length, &form, &err), &err);
            CHECK_INT("emptied", 0, form.count);
        }
    }
}

/* ---- fingerprints --------------------------------------------------------------------------- */

static uint8_t first[SHA256_BYTES];

static void
remember(void)
{
    CHECK_TAKEN();
    memcpy(first, post.fingerprint, sizeof(first));
}

#define CHECK_SAME(what) CHECK_TRUE(what, memcmp(first, post.fingerprint, sizeof(first)) == 0)
#define CHECK_OTHER(what) CHECK_FALSE(what, memcmp(first, post.fingerprint, sizeof(first)) == 0)

static void
test_fingerprint_ignores_order_bytes_and_transport(void)
{
    parse_json("{\"subject\":\"u\",\"cost_usd\":\"0.10\",\"model\":\"m\",\"tags\":[\"a\",\"b\"],"
               "\"metadata\":{\"x\":1,\"y\":2}}");
    remember();
    parse_json(" { \"metadata\":{\"y\":2, \"x\":1},\"tags\":\"a,b\",\"model\":\"\\u006d\","
               "\"cost_usd\":0.1,\"subject\":\"u\"} ");
    CHECK_SAME("order and spaces");
    parse_form("model=m&subject=u&cost_cents=10&tags=a,b&metadata={\"y\":2,\"x\":1}");
    CHECK_SAME("form");
    parse_json("{\"subject\":\"u\",\"cost_usd\":0.1,\"model\":\"m\",\"tags\":[\"a\",\"b\"],"
               "\"metadata\":{\"x\":1,\"y\":2},\"idempotency_key\":\"k\",\"route\":null}");
    CHECK_SAME("the key itself and null");
}

static void
test_fingerprint_covers_every_member(void)
{
    parse_json("{\"subject\":\"u\",\"cost_usd\":1}");
    remember();
    parse_json("{\"subject\":\"u\",\"cost_usd\":1.000000001}");
    CHECK_OTHER("cost");
    parse_json("{\"subject\":\"v\",\"cost_usd\":1}");
    CHECK_OTHER("subject");
    parse_json("{\"subject\":\"u\",\"cost_usd\":1,\"key_id\":\"k\"}");
    CHECK_OTHER("key");
    parse_json("{\"key_id\":\"u\",\"cost_usd\":1}");
    CHECK_OTHER("key instead of subject");
    parse_json("{\"subject\":\"u\",\"cost_usd\":1,\"model\":\"m\"}");
    CHECK_OTHER("model");
    parse_json("{\"subject\":\"u\",\"cost_usd\":1,\"route\":\"m\"}");
    CHECK_OTHER("route");
    parse_json("{\"subject\":\"u\",\"cost_usd\":1,\"tags\":\"m\"}");
    CHECK_OTHER("tags");
    parse_json("{\"subject\":\"u\",\"cost_usd\":1,\"metadata\":{}}");
    CHECK_OTHER("metadata");
    parse_json("{\"subject\":\"u\",\"cost_usd\":1,\"occurred_at\":\"2026-01-01T00:00:00Z\"}");
    CHECK_OTHER("time");
    parse_json("{\"subject\":\"u\",\"cost_usd\":1,\"hold_id\":\"h\"}");
    CHECK_OTHER("hold");
}

static void
test_fingerprint_of_a_hold_covers_hold_and_cost_only(void)
{
    parse_json("{\"hold_id\":\"h\",\"cost_usd\":1}");
    remember();
    parse_json("{\"hold_id\":\"h\",\"cost_cents\":100,\"subject\":\"u\",\"model\":\"m\"}");
    CHECK_SAME("other members");
    parse_json("{\"hold_id\":\"h\",\"cost_usd\":2}");
    CHECK_OTHER("cost");
    parse_json("{\"hold_id\":\"i\",\"cost_usd\":1}");
    CHECK_OTHER("hold");
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_json_post_is_read_whole),
        CHECK_TEST(test_form_post_is_read_whole),
        CHECK_TEST(test_null_and_empty_names_count_as_not_given),
        CHECK_TEST(test_cost_is_exact_as_number_and_as_text),
        CHECK_TEST(test_cost_that_is_no_plain_decimal_is_invalid),
        CHECK_TEST(test_cost_above_the_largest_charge_is_invalid),
        CHECK_TEST(test_exactly_one_cost_is_needed),
        CHECK_TEST(test_usage_is_read_for_its_price),
        CHECK_TEST(test_the_fingerprint_of_a_usage_is_what_was_used),
        CHECK_TEST(test_somebody_has_to_pay),
        CHECK_TEST(test_names_that_cannot_be_accounts_are_unknown),
        CHECK_TEST(test_texts_have_a_longest_length),
        CHECK_TEST(test_hold_id_is_visible_ascii),
        CHECK_TEST(test_metadata_is_an_object_of_at_most_4096_compact_bytes),
        CHECK_TEST(test_tags_are_texts_without_commas),
        CHECK_TEST(test_times_and_texts_are_checked),
        CHECK_TEST(test_members_that_do_not_exist_are_named),
        CHECK_TEST(test_json_that_is_no_object_is_invalid_json),
        CHECK_TEST(test_forms_are_strict),
        CHECK_TEST(test_form_has_at_most_64_members),
        CHECK_TEST(test_fingerprint_ignores_order_bytes_and_transport),
        CHECK_TEST(test_fingerprint_covers_every_member),
        CHECK_TEST(test_fingerprint_of_a_hold_covers_hold_and_cost_only),
    };

    return check_main("spend", tests, CHECK_COUNT(tests));
}
