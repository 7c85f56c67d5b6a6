/* SPDX-License-Identifier: MIT */
/* The bounded writer, the text helpers, and the error that travels with them. */
#include "common/buf.h"

#include <string.h>

#include "common/clock.h"
#include "tests/check.h"

#include "common/banned.h"

static char storage[256];
static struct buf buf;

static struct buf *
fresh(size_t size)
{
    memset(storage, '#', sizeof(storage));
    buf_init(&buf, storage, size);
    return &buf;
}

static void
test_writes_are_terminated_and_counted(void)
{
    fresh(sizeof(storage));
    CHECK_STRING("empty", "", buf_text(&buf));
    buf_add(&buf, "ab");
    buf_add_char(&buf, 'c');
    buf_add_bytes(&buf, "def", 2);
    buf_add_bytes(&buf, NULL, 0);
    buf_add_format(&buf, "-%d-%s", 7, "x");
    CHECK_STRING("text", "abcde-7-x", buf_text(&buf));
    CHECK_INT("length", 9, buf.length);
    CHECK_FALSE("failed", buf_failed(&buf));
}

static void
test_a_write_fits_to_the_last_byte_and_no_further(void)
{
    fresh(4);
    buf_add(&buf, "abc");
    CHECK_FALSE("fits", buf_failed(&buf));
    CHECK_STRING("text", "abc", buf_text(&buf));
    CHECK_INT("next byte", '#', storage[4]);
    buf_add(&buf, "");
    CHECK_FALSE("nothing fits", buf_failed(&buf));
    buf_add(&buf, "d");
    CHECK_TRUE("one more", buf_failed(&buf));
    CHECK_STRING("unchanged", "abc", buf_text(&buf));
    CHECK_INT("next byte", '#', storage[4]);
}

static void
test_failure_is_sticky_until_cleared(void)
{
    fresh(4);
    buf_add(&buf, "abcd");
    buf_add(&buf, "a");
    buf_add_format(&buf, "%d", 1);
    CHECK_TRUE("failed", buf_failed(&buf));
    CHECK_STRING("nothing after the failure", "", buf_text(&buf));
    buf_clear(&buf);
    buf_add(&buf, "a");
    CHECK_FALSE("cleared", buf_failed(&buf));
    CHECK_STRING("written again", "a", buf_text(&buf));
}

static void
test_format_that_does_not_fit_leaves_no_part(void)
{
    fresh(8);
    buf_add(&buf, "ab");
    buf_add_format(&buf, "%s", "12345");
    CHECK_STRING("fits", "ab12345", buf_text(&buf));
    buf_clear(&buf);
    buf_add(&buf, "ab");
    buf_add_format(&buf, "%s", "123456");
    CHECK_TRUE("failed", buf_failed(&buf));
    CHECK_STRING("no part", "ab", buf_text(&buf));
}

static void
test_int_writes_the_extremes(void)
{
    fresh(sizeof(storage));
    buf_add_int(&buf, 0);
    buf_add_char(&buf, ' ');
    buf_add_int(&buf, INT64_MAX);
    buf_add_char(&buf, ' ');
    buf_add_int(&buf, INT64_MIN);
    CHECK_STRING("ints", "0 9223372036854775807 -9223372036854775808", buf_text(&buf));
}

static void
check_header_value(const char *value, bool ok)
{
    fresh(sizeof(storage));
    buf_add_header_value(&buf, value);
    CHECK_INT(value, !ok, buf_failed(&buf));
    CHECK_STRING("written", ok ? value : "", buf_text(&buf));
}

static void
test_header_value_refuses_what_would_end_the_line(void)
{
    check_header_value("", true);
    check_header_value("plain ~\ttext \xc3\xa9\xff", true);
    check_header_value("a\r\nSet-Cookie: x", false);
    check_header_value("a\n", false);
    check_header_value("a\r", false);
    check_header_value("a\x01", false);
    check_header_value("a\x7f", false);
}

static void
check_json(const char *text, const char *want)
{
    fresh(sizeof(storage));
    buf_add_json_string(&buf, text);
    CHECK_STRING("json", want, buf_text(&buf));
}

static void
test_json_string_escapes(void)
{
    check_json(NULL, "null");
    check_json("", "\"\"");
    check_json("a\"b\\c/", "\"a\\\"b\\\\c/\"");
    check_json("\n\r\t\b\x1f\x7f", "\"\\n\\r\\t\\u0008\\u001f\\u007f\"");
    check_json("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    fresh(sizeof(storage));
    buf_add_json_bytes(&buf, "a\0b", 3);
    CHECK_STRING("NUL", "\"a\\u0000b\"", buf_text(&buf));
}

static void
test_json_string_replaces_what_is_not_utf8(void)
{
    check_json("a\xff", "\"a\xef\xbf\xbd\"");
    check_json("\xc3", "\"\xef\xbf\xbd\"");
    check_json("\xc0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    check_json("\xe2\x82x", "\"\xef\xbf\xbd\xef\xbf\xbdx\"");
}

static void
test_json_string_that_does_not_fit_fails(void)
{
    fresh(5);
    buf_add_json_string(&buf, "abc");
    CHECK_TRUE("failed", buf_failed(&buf));
    fresh(6);
    buf_add_json_string(&buf, "abc");
    CHECK_FALSE("fits", buf_failed(&buf));
}

static void
test_utf8_length_of_every_boundary(void)
{
    static const struct {
        const char *text;
        size_t want;
    } cases[] = {
        { "a", 1 },
        { "\x7f", 1 },
        { "\x80", 0 },
        { "\xc1\xbf", 0 },
        { "\xc2\x80", 2 },
        { "\xc2\xc0", 0 },
        { "\xdf\xbf", 2 },
        { "\xe0\x9f\xbf", 0 },
        { "\xe0\xa0\x80", 3 },
        { "\xed\x9f\xbf", 3 },
        { "\xed\xa0\x80", 0 },
        { "\xee\x80\x80", 3 },
        { "\xef\xbf\xbf", 3 },
        { "\xe1\x80\x7f", 0 },
        { "\xf0\x8f\xbf\xbf", 0 },
        { "\xf0\x90\x80\x80", 4 },
        { "\xf4\x8f\xbf\xbf", 4 },
        { "\xf4\x90\x80\x80", 0 },
        { "\xf1\x80\x80\xc0", 0 },
        { "\xf5\x80\x80\x80", 0 },
    };

    for (size_t i = 0; i < CHECK_COUNT(cases); i++)
        CHECK_INT(cases[i].text, cases[i].want,
                  text_utf8_length(cases[i].text, strlen(cases[i].text)));
    CHECK_INT("empty", 0, text_utf8_length("", 0));
    CHECK_INT("cut short", 0, text_utf8_length("\xe2\x82\xac", 2));
}

static void
test_json_money_is_quoted(void)
{
    fresh(sizeof(storage));
    buf_add_json_money(&buf, 50000000);
    CHECK_STRING("money", "\"0.05\"", buf_text(&buf));
}

static void
check_time(int64_t time_us, const char *want)
{
    fresh(sizeof(storage));
    buf_add_json_time(&buf, time_us);
    CHECK_STRING("time", want, buf_text(&buf));
}

static void
test_json_time_is_rfc_3339(void)
{
    check_time(INT64_C(1795241525) * US_PER_SECOND, "\"2026-11-21T06:12:05Z\"");
    check_time(INT64_C(1795241525) * US_PER_SECOND + 1, "\"2026-11-21T06:12:05.000001Z\"");
    check_time(1, "\"1970-01-01T00:00:00.000001Z\"");
    check_time(INT64_C(253402300799999999), "\"9999-12-31T23:59:59.999999Z\"");
}

static void
test_json_time_writes_null_for_no_time(void)
{
    check_time(0, "null");
    check_time(-1, "null");
    check_time(INT64_MIN, "null");
    check_time(INT64_C(253402300800000000), "null");
    check_time(INT64_MAX, "null");
    fresh(sizeof(storage));
    CHECK_FALSE("plain", buf_add_time(&buf, INT64_MAX));
    CHECK_STRING("nothing", "", buf_text(&buf));
}

static void
check_parsed_time(const char *text, int64_t want)
{
    int64_t got = -77;

    CHECK_TRUE(text, text_to_time_us(text, &got));
    CHECK_INT(text, want, got);
}

static void
test_time_parses_what_rfc_3339_allows(void)
{
    check_parsed_time("1970-01-01T00:00:00Z", 0);
    check_parsed_time("2026-11-21T06:12:05Z", INT64_C(1795241525000000));
    check_parsed_time("2026-11-21t06:12:05z", INT64_C(1795241525000000));
    check_parsed_time("2026-11-21T06:12:05.5Z", INT64_C(1795241525500000));
    check_parsed_time("2026-11-21T06:12:05.123456Z", INT64_C(1795241525123456));
    check_parsed_time("2026-11-21T06:12:05.123456999999999Z", INT64_C(1795241525123456));
    check_parsed_time("2026-11-21T07:12:05+01:00", INT64_C(1795241525000000));
    check_parsed_time("2026-11-21T00:42:05-05:30", INT64_C(1795241525000000));
    check_parsed_time("2026-11-21T06:12:05-00:00", INT64_C(1795241525000000));
    check_parsed_time("2024-02-29T00:00:00Z", INT64_C(1709164800000000));
    check_parsed_time("2000-02-29T00:00:00Z", INT64_C(951782400000000));
    check_parsed_time("9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999));
}

static void
test_time_refuses_everything_else(void)
{
    static const char *const texts[] = {
        "",
        "2026-11-21",
        "2026-11-21T06:12:05",
        "2026-11-21 06:12:05Z",
        "2026-11-21T06:12Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "10000-01-01T00:00:00Z",
        "2026-00-21T06:12:05Z",
        "2026-13-21T06:12:05Z",
        "2026-11-00T06:12:05Z",
        "2026-11-31T06:12:05Z",
        "2026-11-32T06:12:05Z",
        "2026-02-29T06:12:05Z",
        "2100-02-29T06:12:05Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T06:60:05Z",
        "2026-11-21T06:12:60Z",
        "2026-11-21T06:12:05.Z",
        "2026-11-21T06:12:05+0100",
        "2026-11-21T06:12:05+24:00",
        "2026-11-21T06:12:05+01:60",
        "2026-11-21T06:12:05+1:00",
        "2026-11-21T06:12:05ZZ",
        "2026-11-21T06:12:05Z ",
        " 2026-11-21T06:12:05Z",
        "2026-1-21T06:12:05Z",
        "+026-11-21T06:12:05Z",
        "2026/11-21T06:12:05Z",
        "2026-11/21T06:12:05Z",
        "2026-11-21T06-12:05Z",
        "2026-11-21T06:12-05Z",
        "2026-11-21T06:1a:05Z",
        "2026-11-21T0a:12:05Z",
    };

    for (size_t i = 0; i < CHECK_COUNT(texts); i++) {
        int64_t got = -77;

        CHECK_FALSE("parsed", text_to_time_us(texts[i], &got));
        CHECK_INT(texts[i], -77, got);
    }
    CHECK_FALSE("NULL", text_to_time_us(NULL, &(int64_t){ 0 }));
}

static void
check_log_value(const char *value, const char *want)
{
    fresh(sizeof(storage));
    buf_add_log_value(&buf, value);
    CHECK_STRING("log", want, buf_text(&buf));
}

static void
test_log_value_is_quoted_when_it_is_no_plain_word(void)
{
    check_log_value("user_2abc/~", "user_2abc/~");
    check_log_value("", "\"\"");
    check_log_value("two words", "\"two words\"");
    check_log_value("a=b", "\"a=b\"");
    check_log_value("a\"b\\c", "\"a\\\"b\\\\c\"");
    check_log_value("a\nlevel=info", "\"a\\nlevel=info\"");
    check_log_value("\x1b[31m\r\x7f", "\"\\x1b[31m\\x0d\\x7f\"");
    check_log_value("caf\xc3\xa9", "\"caf\xc3\xa9\"");
    check_log_value("\xff", "\"\\xff\"");
    check_log_value("\xc2\x9b"
                    "31m\xc2\xa0",
                    "\"\\xc2\\x9b31m\xc2\xa0\"");
}

static void
test_text_copy_is_whole_or_nothing(void)
{
    char out[4] = "zzz";

    CHECK_TRUE("fits", text_copy(out, sizeof(out), "abc"));
    CHECK_STRING("fits", "abc", out);
    CHECK_FALSE("too long", text_copy(out, sizeof(out), "abcd"));
    CHECK_STRING("emptied", "", out);
}

static void
test_int64_parses_whole_numbers_only(void)
{
    static const char *const refused[] = { "",
                                           "-1",
                                           "+1",
                                           " 1",
                                           "1 ",
                                           "1.0",
                                           "0x1",
                                           "1e3",
                                           "a",
                                           "1a",
                                           "101",
                                           "9",
                                           "9223372036854775808",
                                           "99999999999999999999999" };
    int64_t value = -77;

    for (size_t i = 0; i < CHECK_COUNT(refused); i++)
        CHECK_FALSE("parsed", text_to_int64(refused[i], 10, 100, &value));
    CHECK_FALSE("NULL", text_to_int64(NULL, 0, 1, &value));
    CHECK_FALSE("above 64 bits", text_to_int64("9223372036854775808", 0, INT64_MAX, &value));
    CHECK_INT("untouched", -77, value);
    CHECK_TRUE("least", text_to_int64("10", 10, 100, &value));
    CHECK_INT("least", 10, value);
    CHECK_TRUE("most", text_to_int64("100", 10, 100, &value));
    CHECK_INT("most", 100, value);
    CHECK_TRUE("largest", text_to_int64("9223372036854775807", 0, INT64_MAX, &value));
    CHECK_INT("largest", INT64_MAX, value);
    CHECK_TRUE("zero", text_to_int64("0", 0, 5, &value));
    CHECK_INT("zero", 0, value);
}

static void
test_error_is_one_line_and_cut_at_its_maximum(void)
{
    struct error err = { 0 };
    char long_text[2 * ERROR_MESSAGE_SIZE];

    CHECK_INT("status", STATUS_BUSY, error_set(&err, STATUS_BUSY, "a\nb %d\x7f", 7));
    CHECK_INT("status", STATUS_BUSY, err.status);
    CHECK_STRING("one line", "a b 7 ", err.message);
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    CHECK_INT("status", STATUS_IO, error_set(&err, STATUS_IO, "%s", long_text));
    CHECK_INT("cut", ERROR_MESSAGE_SIZE - 1, strlen(err.message));
    CHECK_INT("no error wanted", STATUS_IO, error_set(NULL, STATUS_IO, "x"));
}

static void
test_error_may_quote_its_own_message(void)
{
    struct error err = { 0 };

    error_set(&err, STATUS_IO, "inner");
    error_set(&err, STATUS_UNAVAILABLE, "outer: %s", err.message);
    CHECK_STRING("message", "outer: inner", err.message);
}

static void
test_status_names_are_distinct_words(void)
{
    for (int a = STATUS_OK; a <= STATUS_INTERNAL; a++) {
        CHECK_FALSE("named", strcmp(status_name((enum status)a), "unknown") == 0);
        for (int b = STATUS_OK; b < a; b++)
            CHECK_FALSE("same",
                        strcmp(status_name((enum status)a), status_name((enum status)b)) == 0);
    }
    CHECK_STRING("other", "unknown", status_name((enum status)99));
}

static void
test_system_clocks_tell_a_plausible_time(void)
{
    struct clock clock = clock_system();
    int64_t boot_us = clock_boot_us(&clock);

    /* 2020 to 2200: seconds taken for microseconds would be outside */
    CHECK_TRUE("after 2020", clock_now_us(&clock) > INT64_C(1577836800000000));
    CHECK_TRUE("before 2200", clock_now_us(&clock) < INT64_C(7258118400000000));
    CHECK_TRUE("since boot", boot_us > 0 && clock_boot_us(&clock) >= boot_us);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_writes_are_terminated_and_counted),
        CHECK_TEST(test_a_write_fits_to_the_last_byte_and_no_further),
        CHECK_TEST(test_failure_is_sticky_until_cleared),
        CHECK_TEST(test_format_that_does_not_fit_leaves_no_part),
        CHECK_TEST(test_int_writes_the_extremes),
        CHECK_TEST(test_header_value_refuses_what_would_end_the_line),
        CHECK_TEST(test_json_string_escapes),
        CHECK_TEST(test_json_string_replaces_what_is_not_utf8),
        CHECK_TEST(test_json_string_that_does_not_fit_fails),
        CHECK_TEST(test_utf8_length_of_every_boundary),
        CHECK_TEST(test_json_money_is_quoted),
        CHECK_TEST(test_json_time_is_rfc_3339),
        CHECK_TEST(test_json_time_writes_null_for_no_time),
        CHECK_TEST(test_time_parses_what_rfc_3339_allows),
        CHECK_TEST(test_time_refuses_everything_else),
        CHECK_TEST(test_log_value_is_quoted_when_it_is_no_plain_word),
        CHECK_TEST(test_text_copy_is_whole_or_nothing),
        CHECK_TEST(test_int64_parses_whole_numbers_only),
        CHECK_TEST(test_error_is_one_line_and_cut_at_its_maximum),
        CHECK_TEST(test_error_may_quote_its_own_message),
        CHECK_TEST(test_status_names_are_distinct_words),
        CHECK_TEST(test_system_clocks_tell_a_plausible_time),
    };

    return check_main("buf", tests, CHECK_COUNT(tests));
}
