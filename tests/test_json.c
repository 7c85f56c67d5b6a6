/* SPDX-License-Identifier: MIT */
/* Strict reading of JSON, exact numbers, canonical writing. */
#include "common/json.h"

#include <stdlib.h>
#include <string.h>

#include "tests/alloc_fail.h"
#include "tests/check.h"

#include "common/banned.h"

struct text {
    const char *bytes;
    size_t length;
};
#define TEXT(literal)                \
    {                                \
        literal, sizeof(literal) - 1 \
    }

static struct json *
parsed(const char *text)
{
    struct json *root = NULL;
    struct error err = { 0 };

    CHECK_STATUS(STATUS_OK, json_parse(text, strlen(text), &root, &err), &err);
    return root;
}

static void
check_refused(const char *text, size_t length, const char *message)
{
    struct json *root = NULL;
    struct error err = { 0 };

    CHECK_STATUS(STATUS_INVALID, json_parse(text, length, &root, &err), &err);
    CHECK_STRING(text, message, err.message);
    CHECK_TRUE("no tree", root == NULL);
    json_free(root);
}
#define REFUSED(literal, message) check_refused(literal, sizeof(literal) - 1, message)

static void
check_canonical(const char *text, const char *want)
{
    struct json *root = parsed(text);
    char storage[1024];
    struct buf out;

    buf_init(&out, storage, sizeof(storage));
    json_write(root, &out);
    CHECK_FALSE("fits", buf_failed(&out));
    CHECK_STRING(text, want, buf_text(&out));
    json_free(root);
}

static void
test_parse_refuses_words_that_are_not_json(void)
{
    REFUSED("NaN", "JSON, byte 0: a value is wanted");
    REFUSED("[Infinity]", "JSON, byte 1: a value is wanted");
    REFUSED("-Infinity", "JSON, byte 1: a number without digits");
    REFUSED("True", "JSON, byte 0: a value is wanted");
    REFUSED("nul", "JSON, byte 0: a value is wanted");
    REFUSED("nulls", "JSON, byte 4: more after the value");
    REFUSED("", "JSON, byte 0: a value is wanted");
    REFUSED("  ", "JSON, byte 2: a value is wanted");
}

static void
test_parse_refuses_a_member_name_that_stands_twice(void)
{
    REFUSED("{\"a\":1,\"a\":2}", "JSON, byte 10: a member name stands twice");
    REFUSED("{\"a\":1,\"\\u0061\":2}", "JSON, byte 15: a member name stands twice");
    REFUSED("[{\"b\":{\"a\":[1,2,3],\"c\":4,\"a\":null}}]",
            "JSON, byte 28: a member name stands twice");
    REFUSED("{\"\":1,\"\":1}", "JSON, byte 8: a member name stands twice");
}

static void
test_parse_takes_the_same_name_in_different_objects(void)
{
    check_canonical("[{\"a\":1},{\"a\":{\"a\":2}}]", "[{\"a\":1},{\"a\":{\"a\":2}}]");
}

static void
test_parse_refuses_a_nul_in_a_member_name(void)
{
    REFUSED("{\"a\\u0000b\":1}", "JSON, byte 11: a NUL in a member name");
}

static void
test_parse_refuses_numbers_of_other_grammars(void)
{
    REFUSED("01", "JSON, byte 1: more after the value");
    REFUSED("[-01]", "JSON, byte 3: a comma or ] is wanted");
    REFUSED("+1", "JSON, byte 0: a value is wanted");
    REFUSED("1.", "JSON, byte 2: a number without digits after its point");
    REFUSED("1.e5", "JSON, byte 2: a number without digits after its point");
    REFUSED(".5", "JSON, byte 0: a value is wanted");
    REFUSED("-.5", "JSON, byte 1: a number without digits");
    REFUSED("-", "JSON, byte 1: a number without digits");
    REFUSED("1e", "JSON, byte 2: a number without digits in its exponent");
    REFUSED("1e+", "JSON, byte 3: a number without digits in its exponent");
    REFUSED("0x10", "JSON, byte 1: more after the value");
    REFUSED("1 2", "JSON, byte 2: more after the value");
}

static void
test_parse_refuses_bytes_that_no_string_may_hold(void)
{
    REFUSED("\"a\tb\"", "JSON, byte 2: a control byte in a string");
    REFUSED("\"a\nb\"", "JSON, byte 2: a control byte in a string");
    REFUSED("\"a\x1f\"", "JSON, byte 2: a control byte in a string");
    REFUSED("\"a\0b\"", "JSON, byte 2: a control byte in a string");
    REFUSED("\"abc", "JSON, byte 4: a string that does not end");
    REFUSED("\"abc\\", "JSON, byte 5: an unknown escape");
    REFUSED("\"\\x\"", "JSON, byte 2: an unknown escape");
    REFUSED("\"\\'\"", "JSON, byte 2: an unknown escape");
    REFUSED("\"\\\0\"", "JSON, byte 2: an unknown escape");
    REFUSED("\"\\u00\"", "JSON, byte 3: \\u without four hex digits");
    REFUSED("\"\\u00g0\"", "JSON, byte 5: \\u without four hex digits");
}

static void
test_parse_refuses_half_a_surrogate_pair(void)
{
    REFUSED("\"\\ud800\"", "JSON, byte 7: half a surrogate pair");
    REFUSED("\"\\udc00\"", "JSON, byte 7: half a surrogate pair");
    REFUSED("\"\\ud800\\n\"", "JSON, byte 8: half a surrogate pair");
    REFUSED("\"\\ud800\\u0041\"", "JSON, byte 13: half a surrogate pair");
    REFUSED("\"\\uD800\\uD800\"", "JSON, byte 13: half a surrogate pair");
}

static void
test_parse_refuses_bytes_that_are_not_utf8(void)
{
    REFUSED("\"\xff\"", "JSON, byte 1: not UTF-8");
    REFUSED("\"\x80\"", "JSON, byte 1: not UTF-8");
    REFUSED("\"\xc0\x80\"", "JSON, byte 1: not UTF-8");
    REFUSED("\"\xe0\x80\x80\"", "JSON, byte 1: not UTF-8");
    REFUSED("\"\xed\xa0\x80\"", "JSON, byte 1: not UTF-8");
    REFUSED("\"\xf0\x80\x80\x80\"", "JSON, byte 1: not UTF-8");
    REFUSED("\"\xf4\x90\x80\x80\"", "JSON, byte 1: not UTF-8");
    REFUSED("\"\xe2\x82\"", "JSON, byte 1: not UTF-8");
    REFUSED("{\"\xe2\":1}", "JSON, byte 2: not UTF-8");
    REFUSED("\xef\xbb\xbf[]", "JSON, byte 0: a value is wanted");
}

static void
test_parse_refuses_relaxed_syntax(void)
{
    REFUSED("'a'", "JSON, byte 0: a value is wanted");
    REFUSED("{'a':1}", "JSON, byte 1: a string is wanted");
    REFUSED("{a:1}", "JSON, byte 1: a string is wanted");
    REFUSED("[1,]", "JSON, byte 3: a value is wanted");
    REFUSED("{\"a\":1,}", "JSON, byte 7: a string is wanted");
    REFUSED("[1 2]", "JSON, byte 3: a comma or ] is wanted");
    REFUSED("[1", "JSON, byte 2: a comma or ] is wanted");
    REFUSED("{\"a\":1", "JSON, byte 6: a comma or } is wanted");
    REFUSED("{\"a\" 1}", "JSON, byte 5: a colon is wanted");
    REFUSED("{\"a\"}", "JSON, byte 4: a colon is wanted");
    REFUSED("/*c*/1", "JSON, byte 0: a value is wanted");
    REFUSED("[1/*c*/]", "JSON, byte 2: a comma or ] is wanted");
    REFUSED("1//", "JSON, byte 1: more after the value");
    REFUSED("\v1", "JSON, byte 0: a value is wanted");
}

static void
test_parse_refuses_anything_after_the_value(void)
{
    REFUSED("{} x", "JSON, byte 3: more after the value");
    REFUSED("[]\0", "JSON, byte 2: more after the value");
    REFUSED("[1]\0{\"a\":2}", "JSON, byte 3: more after the value");
    REFUSED("{}{}", "JSON, byte 2: more after the value");
}

static void
test_parse_takes_nesting_up_to_its_maximum_and_no_deeper(void)
{
    char text[2 * (JSON_DEPTH_MAX + 1) + 1] = "";
    struct json *root = NULL;
    struct error err = { 0 };

    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    CHECK_STATUS(STATUS_OK, json_parse(text, strlen(text), &root, &err), &err);
    json_free(root);
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    check_refused(text, sizeof(text) - 1, "JSON, byte 33: nested too deep");
}

static void
test_parse_counts_depth_not_containers(void)
{
    char text[3 * 100 + 3] = "[[]";
    struct json *root;

    for (size_t i = 3; i < 300; i += 3)
        memcpy(text + i, ",[]", 3);
    text[300] = ']';
    root = parsed(text);
    CHECK_INT("elements", 100, json_count(root));
    json_free(root);
}

static void
test_parse_does_not_read_past_its_length(void)
{
    struct json *root = NULL;
    struct error err = { 0 };
    char *exact = malloc(2); /* the sanitizer watches the byte behind it */

    memcpy(exact, "12", 2);
    CHECK_STATUS(STATUS_OK, json_parse(exact, 2, &root, &err), &err);
    CHECK_STRING("12", "12", json_number_text(root));
    json_free(root);
    CHECK_STATUS(STATUS_OK, json_parse(exact, 1, &root, &err), &err);
    CHECK_STRING("1", "1", json_number_text(root));
    json_free(root);
    free(exact);
}

static void
test_numbers_keep_their_text(void)
{
    static const char *const numbers[] = { "0",
                                           "-0",
                                           "0.10",
                                           "1e5",
                                           "1E+5",
                                           "-1.5e-3",
                                           "9007199254740993",
                                           "9223372036854775807",
                                           "9223372036854775808",
                                           "18446744073709551616",
                                           "-9223372036854775809",
                                           "0.1000000000000000055511151231",
                                           "99999999999999999999999999999999",
                                           "1e400" };
    char text[512];
    struct buf all;
    struct json *root;

    buf_init(&all, text, sizeof(text));
    buf_add(&all, "[");
    for (size_t i = 0; i < CHECK_COUNT(numbers); i++) {
        root = parsed(numbers[i]);
        CHECK_STRING("alone", numbers[i], json_number_text(root));
        json_free(root);
        buf_add_format(&all, "%s%s", i > 0 ? " ,\"7\", " : "", numbers[i]);
    }
    buf_add(&all, "]");
    root = parsed(text);
    for (size_t i = 0; i < CHECK_COUNT(numbers); i++)
        CHECK_STRING("in an array", numbers[i], json_number_text(json_element(root, 2 * i)));
    json_free(root);
}

static void
test_numbers_keep_their_text_in_nested_objects(void)
{
    struct json *root = parsed("{\"z\":1.0,\"a\":{\"y\":[2.0,{\"q\":3.0}],\"b\":4.0},\"m\":5.0}");

    CHECK_STRING("z", "1.0", json_number_text(json_path(root, "z")));
    CHECK_STRING("a.y[0]", "2.0", json_number_text(json_element(json_path(root, "a.y"), 0)));
    CHECK_STRING("a.y[1].q", "3.0",
                 json_number_text(json_path(json_element(json_path(root, "a.y"), 1), "q")));
    CHECK_STRING("a.b", "4.0", json_number_text(json_path(root, "a.b")));
    CHECK_STRING("m", "5.0", json_number_text(json_path(root, "m")));
    CHECK_TRUE("an object is no number", json_number_text(root) == NULL);
    json_free(root);
}

static bool
as_int64(const char *text, int64_t min, int64_t max, int64_t *out)
{
    struct json *root = parsed(text);
    bool ok = json_int64(root, min, max, out);

    json_free(root);
    return ok;
}

static void
test_int64_takes_whole_numbers_in_range_only(void)
{
    int64_t value = 77;

    CHECK_TRUE("max", as_int64("9223372036854775807", INT64_MIN, INT64_MAX, &value));
    CHECK_INT("max", INT64_MAX, value);
    CHECK_TRUE("min", as_int64("-9223372036854775808", INT64_MIN, INT64_MAX, &value));
    CHECK_INT("min", INT64_MIN, value);
    CHECK_TRUE("minus zero", as_int64("-0", 0, 5, &value));
    CHECK_INT("minus zero", 0, value);
    value = 77;
    CHECK_FALSE("max + 1", as_int64("9223372036854775808", INT64_MIN, INT64_MAX, &value));
    CHECK_FALSE("min - 1", as_int64("-9223372036854775809", INT64_MIN, INT64_MAX, &value));
    CHECK_FALSE("large", as_int64("99999999999999999999", INT64_MIN, INT64_MAX, &value));
    CHECK_FALSE("fraction", as_int64("1.0", 0, 5, &value));
    CHECK_FALSE("exponent", as_int64("1e0", 0, 5, &value));
    CHECK_FALSE("below", as_int64("-1", 0, 5, &value));
    CHECK_FALSE("above", as_int64("6", 0, 5, &value));
    CHECK_FALSE("string", as_int64("\"1\"", 0, 5, &value));
    CHECK_FALSE("null", as_int64("null", 0, 5, &value));
    CHECK_INT("untouched", 77, value);
}

static void
test_types_and_members_of_each_kind(void)
{
    struct json *root = parsed("{\"n\":null,\"t\":true,\"f\":false,\"i\":1,\"d\":1.5,\"s\":\"x\","
                               "\"a\":[1,null],\"o\":{}}");

    CHECK_INT("n", JSON_NULL, json_type(json_member(root, "n")));
    CHECK_INT("t", JSON_BOOLEAN, json_type(json_member(root, "t")));
    CHECK_INT("i", JSON_NUMBER, json_type(json_member(root, "i")));
    CHECK_INT("d", JSON_NUMBER, json_type(json_member(root, "d")));
    CHECK_INT("s", JSON_STRING, json_type(json_member(root, "s")));
    CHECK_INT("a", JSON_ARRAY, json_type(json_member(root, "a")));
    CHECK_INT("o", JSON_OBJECT, json_type(json_member(root, "o")));
    CHECK_INT("NULL", JSON_NULL, json_type(NULL));
    CHECK_TRUE("has null member", json_has(root, "n"));
    CHECK_FALSE("has missing", json_has(root, "missing"));
    CHECK_FALSE("array has", json_has(json_member(root, "a"), "a"));
    CHECK_FALSE("NULL has", json_has(NULL, "a"));
    CHECK_TRUE("missing", json_member(root, "missing") == NULL);
    CHECK_TRUE("member of a string", json_member(json_member(root, "s"), "x") == NULL);
    CHECK_TRUE("true", json_boolean(json_member(root, "t"), false));
    CHECK_FALSE("false", json_boolean(json_member(root, "f"), true));
    CHECK_TRUE("fallback", json_boolean(json_member(root, "i"), true));
    CHECK_INT("members", 8, json_count(root));
    CHECK_INT("elements", 2, json_count(json_member(root, "a")));
    CHECK_INT("count of a string", 0, json_count(json_member(root, "s")));
    CHECK_TRUE("element past the end", json_element(json_member(root, "a"), 2) == NULL);
    CHECK_TRUE("element of an object", json_element(root, 0) == NULL);
    json_free(root);
}

static void
test_a_text_of_null_is_no_error(void)
{
    struct json *root = parsed(" null ");

    CHECK_INT("type", JSON_NULL, json_type(root));
    json_free(root);
}

static void
test_path_follows_objects_and_ends_early(void)
{
    char long_name[400] = "";
    struct json *root = parsed("{\"a\":{\"b\":{\"c\":\"x\"}},\"\":{\"\":\"empty\"}}");

    CHECK_STRING("a.b.c", "x", json_string(json_path(root, "a.b.c")));
    CHECK_TRUE("past the end", json_path(root, "a.b.c.d") == NULL);
    CHECK_TRUE("missing", json_path(root, "a.x.c") == NULL);
    CHECK_STRING("empty names", "empty", json_string(json_path(root, ".")));
    memset(long_name, 'n', sizeof(long_name) - 1);
    CHECK_TRUE("long name", json_path(root, long_name) == NULL);
    json_free(root);
}

static void
test_string_is_decoded_and_refuses_a_nul(void)
{
    struct json *root =
        parsed("[\"\\u00e9\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"a\\u0000b\",1]");

    CHECK_STRING("escapes", "\xc3\xa9\xf0\x9f\x98\x80\"\\/\b\f\n\r\t",
                 json_string(json_element(root, 0)));
    CHECK_TRUE("NUL", json_string(json_element(root, 1)) == NULL);
    CHECK_TRUE("number", json_string(json_element(root, 2)) == NULL);
    json_free(root);
}

static bool
add_name(const char *name, const struct json *value, void *context)
{
    buf_add_format(context, "%s=%s ", name, json_number_text(value));
    return strcmp(name, "stop") != 0;
}

static void
test_each_visits_in_the_order_of_the_text(void)
{
    struct json *root = parsed("{\"z\":1,\"a\":2,\"stop\":3,\"b\":4}");
    char storage[64];
    struct buf names;

    buf_init(&names, storage, sizeof(storage));
    json_each(root, add_name, &names);
    CHECK_STRING("names", "z=1 a=2 stop=3 ", buf_text(&names));
    buf_clear(&names);
    json_each(json_member(root, "z"), add_name, &names);
    json_each(NULL, add_name, &names);
    CHECK_STRING("no object", "", buf_text(&names));
    json_free(root);
}

static void
test_write_is_canonical(void)
{
    check_canonical(" { \"b\" : [ 1.50 , true,false,null ] , \"a\" : { } , \"B\":[] } ",
                    "{\"B\":[],\"a\":{},\"b\":[1.50,true,false,null]}");
    check_canonical("\"\\u0041\\/\\u0000\\u001f\\u007f\\u00e9\"",
                    "\"A/\\u0000\\u001f\\u007f\xc3\xa9\"");
    check_canonical("{\"\\n\":1,\"a\":2}", "{\"\\n\":1,\"a\":2}");
    check_canonical("null", "null");
    check_canonical("-0", "-0");
}

static void
test_write_into_too_little_room_fails(void)
{
    struct json *root = parsed("{\"a\":[1,2,3]}");
    char storage[13];
    struct buf out;

    buf_init(&out, storage, sizeof(storage));
    json_write(root, &out);
    CHECK_TRUE("failed", buf_failed(&out));
    json_free(root);
}

static void
test_parse_takes_what_rfc_8259_allows(void)
{
    static const struct text texts[] = {
        TEXT(" \t\r\n[ ] \t\r\n"), TEXT("\"\""),
        TEXT("\"\x7f\""),          TEXT("\"\xf4\x8f\xbf\xbf\""),
        TEXT("\"\xee\x80\x80\""),  TEXT("{\"\":{}}"),
        TEXT("[true,false,null]"), TEXT("\"\\u0000\""),
    };

    for (size_t i = 0; i < CHECK_COUNT(texts); i++) {
        struct json *root = NULL;
        struct error err = { 0 };

        CHECK_STATUS(STATUS_OK, json_parse(texts[i].bytes, texts[i].length, &root, &err), &err);
        CHECK_TRUE("a tree", root != NULL);
        json_free(root);
    }
}

#if ALLOC_FAIL_AVAILABLE
/* Enough of each kind, and long enough, that every buffer of json-c grows. */
static void
long_text(struct buf *text)
{
    buf_add(text, "{\"short\":[1,2.5,true,null],\"object\":{");
    for (int i = 0; i < 40; i++)
        buf_add_format(text, "%s\"a name of some length %d\":\"%0200d\"", i > 0 ? "," : "", i, i);
    buf_add(text, "},\"array\":[");
    for (int i = 0; i < 40; i++)
        buf_add_format(text, "%s%d.%050d", i > 0 ? "," : "", i, i);
    buf_add(text, "]}");
}

static void
test_parse_tells_every_failed_allocation(void)
{
    static char text[20000], want[20000], got[20000];
    struct buf source, canonical;
    struct json *root;
    struct error err;
    int failures = 0;

    buf_init(&source, text, sizeof(text));
    long_text(&source);
    root = parsed(text);
    buf_init(&canonical, want, sizeof(want));
    json_write(root, &canonical);
    CHECK_FALSE("fits", buf_failed(&canonical));
    json_free(root);
    for (bool failed = true; failed; failures++) {
        enum status status;

        alloc_fail_at(failures);
        status = json_parse(text, source.length, &root, &err);
        failed = alloc_fail_end();
        if (status == STATUS_OK) { /* json-c did without, or nothing failed any more */
            buf_init(&canonical, got, sizeof(got));
            json_write(root, &canonical);
            CHECK_STRING("a tree is whole", want, got);
        } else {
            CHECK_STATUS(STATUS_NO_MEMORY, status, &err);
            CHECK_TRUE("no tree", root == NULL);
        }
        json_free(root);
    }
    CHECK_TRUE("many were tried", failures > 100);
}

static void
test_write_fails_without_memory(void)
{
    struct json *root = parsed("{\"a\":1}");
    char storage[64];
    struct buf out;

    buf_init(&out, storage, sizeof(storage));
    alloc_fail_at(0);
    json_write(root, &out);
    CHECK_TRUE("one failed", alloc_fail_end());
    CHECK_TRUE("failed", buf_failed(&out));
    json_free(root);
}
#endif

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_parse_refuses_words_that_are_not_json),
        CHECK_TEST(test_parse_refuses_a_member_name_that_stands_twice),
        CHECK_TEST(test_parse_takes_the_same_name_in_different_objects),
        CHECK_TEST(test_parse_refuses_a_nul_in_a_member_name),
        CHECK_TEST(test_parse_refuses_numbers_of_other_grammars),
        CHECK_TEST(test_parse_refuses_bytes_that_no_string_may_hold),
        CHECK_TEST(test_parse_refuses_half_a_surrogate_pair),
        CHECK_TEST(test_parse_refuses_bytes_that_are_not_utf8),
        CHECK_TEST(test_parse_refuses_relaxed_syntax),
        CHECK_TEST(test_parse_refuses_anything_after_the_value),
        CHECK_TEST(test_parse_takes_nesting_up_to_its_maximum_and_no_deeper),
        CHECK_TEST(test_parse_counts_depth_not_containers),
        CHECK_TEST(test_parse_does_not_read_past_its_length),
        CHECK_TEST(test_numbers_keep_their_text),
        CHECK_TEST(test_numbers_keep_their_text_in_nested_objects),
        CHECK_TEST(test_int64_takes_whole_numbers_in_range_only),
        CHECK_TEST(test_types_and_members_of_each_kind),
        CHECK_TEST(test_a_text_of_null_is_no_error),
        CHECK_TEST(test_path_follows_objects_and_ends_early),
        CHECK_TEST(test_string_is_decoded_and_refuses_a_nul),
        CHECK_TEST(test_each_visits_in_the_order_of_the_text),
        CHECK_TEST(test_write_is_canonical),
        CHECK_TEST(test_write_into_too_little_room_fails),
        CHECK_TEST(test_parse_takes_what_rfc_8259_allows),
#if ALLOC_FAIL_AVAILABLE
        CHECK_TEST(test_parse_tells_every_failed_allocation),
        CHECK_TEST(test_write_fails_without_memory),
#endif
    };

    return check_main("json", tests, CHECK_COUNT(tests));
}
