/* SPDX-License-Identifier: MIT */
/* Where a FastCGI head ends. What connections do is tested through requests, in test_request.c. */
#include "common/connections.h"

#include "tests/check.h"
#include "tests/fastcgi_client.h"

#include "common/banned.h"

static struct client_bytes bytes;
static struct connection_begin begin;

static void
begin_with(int role)
{
    bytes.length = 0;
    client_begin(&bytes, role, false);
}

static enum connection_head
seen(void)
{
    return connection_head_look(bytes.data, bytes.length, &begin);
}

static void
test_no_bytes_are_part_of_a_head(void)
{
    CHECK_INT("nothing", CONNECTION_PART, connection_head_look((const uint8_t *)"", 0, &begin));
}

static void
test_a_head_is_whole_only_with_its_last_byte(void)
{
    static const char *const pairs[] = { "A", "1", "LONGER", "value", NULL };

    client_request(&bytes, CLIENT_AUTHORIZER, false, pairs, NULL);
    CHECK_INT("all", CONNECTION_WHOLE, seen());
    for (size_t length = 0; length < bytes.length; length++)
        CHECK_INT("cut", CONNECTION_PART, connection_head_look(bytes.data, length, &begin));
}

static void
test_what_follows_a_head_does_not_matter(void)
{
    static const char *const pairs[] = { "A", "1", NULL };

    size_t length;

    client_request(&bytes, CLIENT_RESPONDER, false, pairs, NULL);
    length = bytes.length;
    client_request(&bytes, CLIENT_RESPONDER, false, pairs, "a body");
    CHECK_INT("with a body", CONNECTION_WHOLE, seen());
    CHECK_INT("its length", length, begin.length);
    CHECK_INT("its role", CLIENT_RESPONDER, begin.role);
    CHECK_INT("its id", 1, begin.id);
}

static void
test_another_version_is_bad_from_its_first_byte(void)
{
    const uint8_t http[] = "GET / HTTP/1.1\r\n";

    CHECK_INT("http", CONNECTION_BAD, connection_head_look(http, sizeof(http), &begin));
    CHECK_INT("one byte", CONNECTION_BAD, connection_head_look(http, 1, &begin));
    begin_with(CLIENT_AUTHORIZER);
    client_add(&bytes, http, sizeof(http));
    CHECK_INT("later", CONNECTION_BAD, seen());
}

static void
test_a_begin_record_of_another_form_is_bad(void)
{
    bytes.length = 0;
    client_record(&bytes, CLIENT_BEGIN, 1, "1234567", 7, 0);
    CHECK_INT("short", CONNECTION_BAD, seen());
    bytes.length = 0;
    client_record(&bytes, CLIENT_BEGIN, 0, "12345678", 8, 0);
    CHECK_INT("id 0", CONNECTION_BAD, seen());
    bytes.length = 0;
    client_record(&bytes, CLIENT_BEGIN, 1, "12345678", 8, 8);
    CHECK_INT("padded", CONNECTION_BAD, seen());
}

static void
test_records_of_another_request_are_bad(void)
{
    begin_with(CLIENT_AUTHORIZER);
    client_record(&bytes, CLIENT_PARAMS, 2, NULL, 0, 0);
    CHECK_INT("parameters", CONNECTION_BAD, seen());
    begin_with(CLIENT_AUTHORIZER);
    client_record(&bytes, CLIENT_PARAMS, 257, NULL, 0, 0); /* the same low byte */
    CHECK_INT("high byte", CONNECTION_BAD, seen());
    begin_with(CLIENT_AUTHORIZER);
    client_record(&bytes, CLIENT_BEGIN, 2, "\0\1\0\0\0\0\0\0", 8, 0);
    CHECK_INT("a second begin", CONNECTION_BAD, seen());
}

static void
test_a_head_begins_with_a_begin_record(void)
{
    bytes.length = 0;
    client_record(&bytes, CLIENT_PARAMS, 1, NULL, 0, 0);
    CHECK_INT("parameters", CONNECTION_BAD, seen());
    bytes.length = 0;
    client_record(&bytes, CLIENT_STDIN, 1, NULL, 0, 0); /* left over from a request before */
    CHECK_INT("stdin", CONNECTION_BAD, seen());
}

static void
test_another_type_among_the_parameters_is_bad(void)
{
    begin_with(CLIENT_RESPONDER);
    client_record(&bytes, CLIENT_STDIN, 1, "x", 1, 0);
    CHECK_INT("stdin", CONNECTION_BAD, seen());
}

static void
test_a_management_record_is_bad(void)
{
    bytes.length = 0;
    client_record(&bytes, 9, 0, NULL, 0, 0);
    CHECK_INT("first", CONNECTION_BAD, seen());
    begin_with(CLIENT_AUTHORIZER);
    client_record(&bytes, 9, 0, NULL, 0, 0);
    CHECK_INT("in the head", CONNECTION_BAD, seen());
}

static enum connection_head
seen_params(const void *content, size_t length)
{
    begin_with(CLIENT_AUTHORIZER);
    for (size_t at = 0; at < length; at++) /* a record for each byte: pairs may be cut anywhere */
        client_record(&bytes, CLIENT_PARAMS, 1, (const char *)content + at, 1, 0);
    client_record(&bytes, CLIENT_PARAMS, 1, NULL, 0, 0);
    return seen();
}

static void
test_pairs_must_end_where_the_parameters_end(void)
{
    static const uint8_t pairs[] = "\3\2ABC12\200\0\0\1\1Ax\0\0\1\200\0\0\1Bx";
    /* lengths at which a pair has just ended */
    static const size_t ends[] = { 0, 7, 14, 16, sizeof(pairs) - 1 };

    for (size_t length = 0, next = 0; length < sizeof(pairs); length++) {
        bool is_end = next < CHECK_COUNT(ends) && ends[next] == length;

        CHECK_INT("cut", is_end ? CONNECTION_WHOLE : CONNECTION_BAD, seen_params(pairs, length));
        next += is_end;
    }
}

/* libfcgi 2.4.2 adds the two lengths as int and crashes. */
static void
test_a_pair_longer_than_a_head_is_bad_at_once(void)
{
    static const uint8_t sum[] = { 0x80 | (CONNECTION_HEAD_MAX >> 24), CONNECTION_HEAD_MAX >> 16, 0,
                                   0, 1 };
    static const char *const huge[] = { "\377\377\377\377\377\377\377\377x",
                                        "\300\1\1\1\300\1\1\1x", "\377\1\1\1\1x" };

    begin_with(CLIENT_AUTHORIZER);
    client_record(&bytes, CLIENT_PARAMS, 1, sum, sizeof(sum), 0);
    CHECK_INT("one too many", CONNECTION_BAD, seen());
    begin_with(CLIENT_AUTHORIZER);
    client_record(&bytes, CLIENT_PARAMS, 1, sum, sizeof(sum) - 1, 0);
    client_record(&bytes, CLIENT_PARAMS, 1, "", 1, 0); /* a value of length 0 */
    CHECK_INT("just so", CONNECTION_PART, seen());
    for (size_t i = 0; i < CHECK_COUNT(huge); i++) {
        begin_with(CLIENT_AUTHORIZER);
        client_record(&bytes, CLIENT_PARAMS, 1, huge[i], strlen(huge[i]), 0);
        CHECK_INT("huge", CONNECTION_BAD, seen());
    }
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_no_bytes_are_part_of_a_head),
        CHECK_TEST(test_a_head_is_whole_only_with_its_last_byte),
        CHECK_TEST(test_what_follows_a_head_does_not_matter),
        CHECK_TEST(test_another_version_is_bad_from_its_first_byte),
        CHECK_TEST(test_a_begin_record_of_another_form_is_bad),
        CHECK_TEST(test_records_of_another_request_are_bad),
        CHECK_TEST(test_a_head_begins_with_a_begin_record),
        CHECK_TEST(test_another_type_among_the_parameters_is_bad),
        CHECK_TEST(test_a_management_record_is_bad),
        CHECK_TEST(test_pairs_must_end_where_the_parameters_end),
        CHECK_TEST(test_a_pair_longer_than_a_head_is_bad_at_once),
    };

    return check_main("connections", tests, CHECK_COUNT(tests));
}
