/* SPDX-License-Identifier: MIT */
/*
 * What a bad file is told: every problem, with its line.
 */
#include "tests/settings/fixture.h"

#include "common/banned.h"

static void
test_every_bad_value_is_told_with_its_line(void)
{
    check_refused("# one\n"
                  "clerk {\n"
                  "    cache_ttl = \"0s\"   /* over\n"
                  "    two lines */ timeout = 5\n"
                  "    accept = { \"api_key\",\n"
                  "               \"cookie\" }\n"
                  "}\n"
                  "plan \"p\" { match = { 'a=b' } rate = \"often\" }\n"
                  "default_plan = \"q\"\n"
                  "ledger { on_expiry = \"keep\" }\n",
                  "spendgate.conf:6: clerk.accept: \"cookie\" is not \"api_key\", \"m2m_token\", "
                  "\"session_token\" or \"oauth_token\"\n"
                  "spendgate.conf:3: clerk.cache_ttl: \"0s\" is not a duration from 1s to 1d\n"
                  "spendgate.conf:4: clerk.timeout: \"5\" is not a duration from 10ms to 1m\n"
                  "spendgate.conf:10: ledger.on_expiry: \"keep\" is not \"release\" or \"charge\"\n"
                  "spendgate.conf:8: plan.rate: \"often\" is not a rate such as \"60/1m\": 1 to "
                  "1000000 per 1ms to 31d\n"
                  "spendgate.conf:4: clerk.timeout: is shorter than clerk.connect_timeout\n"
                  "spendgate.conf:9: default_plan: there is no plan \"q\"");
}

static void
test_problems_need_nobody_to_tell_them_to(void)
{
    const struct settings_problems nobody = { NULL, NULL };
    struct settings *settings = NULL;
    struct error err = { 0 };

    write_bytes(FILE_NAME, "x", 1, 0640);
    CHECK_STATUS(STATUS_INVALID, settings_open(FILE_NAME, NULL, &settings, &err), &err);
    CHECK_STRING("error", "spendgate.conf:1: no such option 'x'", err.message);
    CHECK_STATUS(STATUS_INVALID, settings_open(FILE_NAME, &nobody, &settings, NULL), NULL);
    CHECK_TRUE("nothing", settings == NULL);
}

static void
test_unknown_keys_end_the_reading(void)
{
    check_refused("clerk { cache_ttl = 0s }\n\nplam \"x\" {}\n", "spendgate.conf:3: no such option "
                                                                 "'plam'");
    check_refused("store { path = \"/x\" }", "spendgate.conf:1: no such option 'path'");
    check_refused("include(\"/etc/passwd\")",
                  "spendgate.conf:1: an unexpected character: quote the "
                  "value it belongs to");
    check_refused("include = \"/etc/passwd\"", "spendgate.conf:1: no such option 'include'");
}

static void
test_syntax_errors_end_the_reading(void)
{
    check_refused("\nclerk { cache_ttl \"5s\" }",
                  "spendgate.conf:2: missing equal sign after option "
                  "'cache_ttl'");
    check_refused("clerk = 5", "spendgate.conf:1: missing opening brace for section 'clerk'");
    check_refused("plan { }", "spendgate.conf:1: missing title for section 'plan'");
    check_refused("clerk {\n\n", "spendgate.conf:1: an opening brace without its closing one");
    check_refused("}", "spendgate.conf:1: a closing brace without its opening one");
    check_refused("clerk { pass_claims = { \"a\" \"b\" } }",
                  "spendgate.conf:1: unexpected token 'b'");
    check_refused("compat += agentkey", "spendgate.conf:1: attempt to append to non-list option "
                                        "'compat'");
    check_refused("compat = = agentkey", "spendgate.conf:1: unexpected token '='");
    check_refused(",", "spendgate.conf:1: unexpected token ','");
}

static void
test_braces_are_balanced(void)
{
    check_refused("clerk {\ncache { path = \"/a\" }",
                  "spendgate.conf:1: an opening brace without its "
                  "closing one");
    check_refused("clerk { pass_claims = { a, b\n",
                  "spendgate.conf:1: an opening brace without its "
                  "closing one");
    check_refused("{{{{\n{{{{{", "spendgate.conf:2: braces nested too deeply");
    check_refused("cache { }\n}", "spendgate.conf:2: a closing brace without its opening one");
}

static void
test_titles_given_twice_end_the_reading(void)
{
    check_refused("plan \"a\" {}\nplan \"b\" {}\nplan \"a\" {}",
                  "spendgate.conf:3: found duplicate title 'a'");
    check_refused("tracker { token \"t\" {} token \"t\" {} }",
                  "spendgate.conf:1: found duplicate title 't'");
    check_refused("plan \"a\" { budget \"b\" {}\n budget \"b\" {} }",
                  "spendgate.conf:2: found duplicate title 'b'");
}

static void
test_keys_given_twice_are_told(void)
{
    check_refused_too("compat = agentkey\nmetrics_token = 7\ncompat = \"\"",
                      "spendgate.conf:3: compat: is given twice\n"
                      "spendgate.conf:2: metrics_token: \"7\" is not true or false");
    check_refused_too("clerk { pass_claims = a }\nclerk { pass_claims = { b, c } }",
                      "spendgate.conf:2: pass_claims: is given twice");
}

static void
test_empty_list_is_no_way_to_the_default(void)
{
    check_refused_too("clerk {\n accept = {}\n}",
                      "spendgate.conf:3: clerk.accept: is an empty list");
}

static void
test_what_libconfuse_would_swallow_is_refused(void)
{
    static const char character[] =
        "spendgate.conf:2: an unexpected character: quote the value it belongs to";

    check_refused("\nledger { max_charge_usd = 5*3 }", character);
    check_refused("\ncompat = a+b", character);
    check_refused("\nclerk|cache_ttl = 5s", character);
    check_refused("\ncompat = ${HOME}", character);
    check_refused("\ncompat = \x01", character);
    check_refused("\ncompat = caf\xc3\xa9", character);
    check_refused_bytes("\n\0", 2, character);
    check_refused("compat = agentkey \"x\" = 1",
                  "spendgate.conf:1: a quoted text where a key belongs");
    check_refused("\"clerk|cache_ttl\" = 5s",
                  "spendgate.conf:1: a quoted text where a key belongs");
    check_refused("\n/* a\n\nb", "spendgate.conf:2: a comment without its end");
    check_refused("\n/*/", "spendgate.conf:2: a comment without its end");
}

static void
test_texts_end_on_their_line(void)
{
    static const char no_quote[] = "spendgate.conf:2: a text without its closing quote";

    check_refused("\ncompat = \"agentkey", no_quote);
    check_refused("\ncompat = \"agentkey\nmetrics_token = \"no\"", no_quote);
    check_refused("\ncompat = 'agentkey\n'", no_quote);
    check_refused("\ncompat = '", no_quote);
    check_refused_bytes("compat = \"a\0b\"", 14, "spendgate.conf:1: a control byte in a text");
    check_refused("compat = \"a\tb\"", "spendgate.conf:1: a control byte in a text");
    check_refused("compat = \"a\x7f\"", "spendgate.conf:1: a control byte in a text");
}

static void
test_texts_reach_neither_environment_nor_bytes_by_number(void)
{
    static const char escape[] = "spendgate.conf:1: an unknown escape: write \\\\ for a backslash";

    check_refused("compat = \"${HOME}\"", "spendgate.conf:1: \"${\" is not replaced from the "
                                          "environment: write \"\\${\"");
    check_refused("compat = \"\\n\"", escape);
    check_refused("compat = \"\\x41\"", escape);
    check_refused("compat = \"\\101\"", escape);
    check_refused("compat = \"\\\n\"", escape);
    check_refused("compat = '\\n'", escape);
    check_refused("compat = \"\\", escape);
    check_refused_bytes("compat = \"\\\0\"", 12, escape);
}

static void
test_comments_of_every_form_are_skipped(void)
{
    char comment[64 + 3];
    struct settings *s = load("#\n//\n/**/ /***/ # ${HOME} \" \x01\n//x\ncompat = agentkey # end");

    CHECK_INT("read", COMPAT_AGENTKEY, s->compat);
    settings_close(s);
    memset(comment, '#', sizeof(comment));
    comment[65] = '\n';
    comment[66] = '\0';
    settings_close(load(comment));
}

static void
test_last_line_needs_no_end(void)
{
    struct settings *s = load("\r\ncompat = agentkey\r\n\tmetrics_token = no");

    CHECK_INT("compat", COMPAT_AGENTKEY, s->compat);
    CHECK_FALSE("metrics_token", s->metrics_token);
    settings_close(s);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_every_bad_value_is_told_with_its_line),
    CHECK_TEST(test_problems_need_nobody_to_tell_them_to),
    CHECK_TEST(test_unknown_keys_end_the_reading),
    CHECK_TEST(test_syntax_errors_end_the_reading),
    CHECK_TEST(test_braces_are_balanced),
    CHECK_TEST(test_titles_given_twice_end_the_reading),
    CHECK_TEST(test_keys_given_twice_are_told),
    CHECK_TEST(test_empty_list_is_no_way_to_the_default),
    CHECK_TEST(test_what_libconfuse_would_swallow_is_refused),
    CHECK_TEST(test_texts_end_on_their_line),
    CHECK_TEST(test_texts_reach_neither_environment_nor_bytes_by_number),
    CHECK_TEST(test_comments_of_every_form_are_skipped),
    CHECK_TEST(test_last_line_needs_no_end),
};
const struct check_group settings_problems_tests = { tests, CHECK_COUNT(tests) };
