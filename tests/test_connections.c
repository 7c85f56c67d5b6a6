/* SPDX-License-Identifier: MIT */
/* Where a FastCGI head ends. What connections do is tested through requests, in test_request.c. */
#include "common/connections.h"

#include "tests/check.h"
#include "tests/fastcgi_client.h"

#include "common/banned.h"

static struct client_bytes bytes;

static void
begin_with(int role)
{
    bytes.length = 0;
    client_begin(&bytes, role, false);
}

static enum connection_head
seen(void)
{
    return connection_head_look(bytes.data, bytes.length);
}

static void
test_no_bytes_are_part_of_a_head(void)
{
    CHECK_INT("nothing", CONNECTION_PART, connection_head_look((const uint8_t *)"", 0));
}

static void
test_a_head_is_whole_only_with_its_last_byte(void)
{
    static const char *const pairs[] = { "A", "1", "LONGER", "value", NULL };

    client_request(&bytes, CLIENT_AUTHORIZER, false, pairs, NULL);
    CHECK_INT("all", CONNECTION_WHOLE, seen());
    for (size_t length = 0; length < bytes.length; length++)
        CHECK_INT("cut", CONNECTION_PART, connection_head_look(bytes.data, length));
}

static void
test_what_follows_a_head_does_not_matter(void)
{
    static const char *const pairs[] = { "A", "1", NULL };

    client_request(&bytes, CLIENT_RESPONDER, false, pairs, "a body");
    CHECK_INT("with a body", CONNECTION_WHOLE, seen());
}

static void
test_another_version_is_not_waited_for(void)
{
    const uint8_t http[] = "GET / HTTP/1.1\r\n";

    CHECK_INT("http", CONNECTION_WHOLE, connection_head_look(http, sizeof(http)));
}

static void
test_a_begin_record_libfcgi_refuses_is_not_waited_for(void)
{
    bytes.length = 0;
    client_record(&bytes, CLIENT_BEGIN, 1, "1234567", 7, 0);
    CHECK_INT("short", CONNECTION_WHOLE, seen());
    bytes.length = 0;
    client_record(&bytes, CLIENT_BEGIN, 0, "12345678", 8, 0);
    CHECK_INT("id 0", CONNECTION_WHOLE, seen());
}

static void
test_the_end_of_another_requests_parameters_is_skipped(void)
{
    begin_with(CLIENT_AUTHORIZER);
    client_record(&bytes, CLIENT_PARAMS, 2, NULL, 0, 0);
    CHECK_INT("other id", CONNECTION_PART, seen());
    client_record(&bytes, CLIENT_PARAMS, 257, NULL, 0, 0); /* the same low byte */
    CHECK_INT("low byte", CONNECTION_PART, seen());
    client_record(&bytes, CLIENT_PARAMS, 1, NULL, 0, 0);
    CHECK_INT("own id", CONNECTION_WHOLE, seen());
}

static void
test_parameters_before_a_begin_record_end_nothing(void)
{
    bytes.length = 0;
    client_record(&bytes, CLIENT_PARAMS, 1, NULL, 0, 0);
    CHECK_INT("before", CONNECTION_PART, seen());
}

static void
test_a_second_begin_record_does_not_change_the_request(void)
{
    begin_with(CLIENT_AUTHORIZER);
    client_record(&bytes, CLIENT_BEGIN, 2, "\0\1\0\0\0\0\0\0", 8, 0);
    client_record(&bytes, CLIENT_PARAMS, 2, NULL, 0, 0);
    CHECK_INT("second", CONNECTION_PART, seen());
    client_record(&bytes, CLIENT_PARAMS, 1, NULL, 0, 0);
    CHECK_INT("first", CONNECTION_WHOLE, seen());
}

static void
test_another_type_among_the_parameters_is_not_waited_for(void)
{
    begin_with(CLIENT_RESPONDER);
    client_record(&bytes, CLIENT_STDIN, 1, "x", 1, 0);
    CHECK_INT("stdin", CONNECTION_WHOLE, seen());
}

static void
test_a_management_record_is_recognised(void)
{
    bytes.length = 0;
    client_record(&bytes, 9, 0, NULL, 0, 0);
    CHECK_INT("get values", CONNECTION_MANAGEMENT, seen());
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_no_bytes_are_part_of_a_head),
        CHECK_TEST(test_a_head_is_whole_only_with_its_last_byte),
        CHECK_TEST(test_what_follows_a_head_does_not_matter),
        CHECK_TEST(test_another_version_is_not_waited_for),
        CHECK_TEST(test_a_begin_record_libfcgi_refuses_is_not_waited_for),
        CHECK_TEST(test_the_end_of_another_requests_parameters_is_skipped),
        CHECK_TEST(test_parameters_before_a_begin_record_end_nothing),
        CHECK_TEST(test_a_second_begin_record_does_not_change_the_request),
        CHECK_TEST(test_another_type_among_the_parameters_is_not_waited_for),
        CHECK_TEST(test_a_management_record_is_recognised),
    };

    return check_main("connections", tests, CHECK_COUNT(tests));
}
