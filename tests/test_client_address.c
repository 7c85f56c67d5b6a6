/* SPDX-License-Identifier: MIT */
/* Whom failures are counted on, behind proxies and without. */
#include "authorizer/client_address.h"

#include "tests/check.h"

#include "common/banned.h"

#define V4(text) "00000000000000000000ffff" text

static void
check_name(const char *remote, const char *forwarded, const char *want)
{
    /* 10.0.0.0/9, 2001:db8:1::/48, ::1 */
    static const struct address_range trusted[] = {
        { .address = { [10] = 0xff, 0xff, 10, 0, 0, 0 }, .prefix_bits = 96 + 9 },
        { .address = { 0x20, 0x01, 0x0d, 0xb8, 0, 1 }, .prefix_bits = 48 },
        { .address = { [15] = 1 }, .prefix_bits = 128 },
    };
    char name[CLIENT_ADDRESS_TEXT_SIZE];
    struct client_address address;

    client_address_find(remote, forwarded, trusted, CHECK_COUNT(trusted), &address);
    client_address_name(&address, name);
    CHECK_STRING(forwarded != NULL ? forwarded : "no header", want, name);
}

static void
test_ipv4_counts_alone_and_ipv6_by_its_network(void)
{
    check_name("192.0.2.7", NULL, V4("c0000207"));
    check_name("::ffff:192.0.2.7", NULL, V4("c0000207"));
    check_name("2001:db8:0:1:2:3:4:5", NULL, "20010db800000001");
    check_name("2001:db8:0:1:ffff::", NULL, "20010db800000001");
}

static void
test_unreadable_addresses_share_one_name(void)
{
    check_name(NULL, "192.0.2.7", "0000000000000000");
    check_name("", NULL, "0000000000000000");
    check_name("unix:", NULL, "0000000000000000");
    check_name("1.2.3", NULL, "0000000000000000");
    check_name("12345678901234567890123456789012345678901234567890", NULL, "0000000000000000");
}

static void
test_header_of_an_untrusted_client_is_not_believed(void)
{
    check_name("192.0.2.7", "198.51.100.1", V4("c0000207"));
    check_name("10.128.0.1", "198.51.100.1", V4("0a800001"));
}

static void
test_header_of_a_trusted_proxy_names_the_client(void)
{
    check_name("10.1.2.3", "198.51.100.1", V4("c6336401"));
    check_name("2001:db8:1::5", " 198.51.100.1\t", V4("c6336401"));
    check_name("::1", "2001:db8:9:9::1", "20010db800090009");
}

static void
test_only_what_trusted_proxies_added_counts(void)
{
    check_name("10.1.2.3", "203.0.113.9, 198.51.100.1", V4("c6336401"));
    check_name("10.1.2.3", "203.0.113.9, 198.51.100.1, 10.0.0.2", V4("c6336401"));
    check_name("10.1.2.3", "10.0.0.9", V4("0a000009"));
    check_name("10.1.2.3", "10.0.0.9,10.0.0.8", V4("0a000009"));
}

static void
test_entries_may_have_ports_and_brackets(void)
{
    check_name("10.1.2.3", "198.51.100.1:4711", V4("c6336401"));
    check_name("10.1.2.3", "[2001:db8:9:9::1]:4711", "20010db800090009");
    check_name("10.1.2.3", "[2001:db8:9:9::1]", "20010db800090009");
}

static void
test_entry_that_cannot_be_read_ends_the_walk(void)
{
    check_name("10.1.2.3", "unknown", V4("0a010203"));
    check_name("10.1.2.3", "198.51.100.1, ", V4("0a010203"));
    check_name("10.1.2.3", "198.51.100.1, x, 10.0.0.2", V4("0a000002"));
    check_name("10.1.2.3", "[2001:db8::1", V4("0a010203"));
    check_name("10.1.2.3", "", V4("0a010203"));
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_ipv4_counts_alone_and_ipv6_by_its_network),
        CHECK_TEST(test_unreadable_addresses_share_one_name),
        CHECK_TEST(test_header_of_an_untrusted_client_is_not_believed),
        CHECK_TEST(test_header_of_a_trusted_proxy_names_the_client),
        CHECK_TEST(test_only_what_trusted_proxies_added_counts),
        CHECK_TEST(test_entries_may_have_ports_and_brackets),
        CHECK_TEST(test_entry_that_cannot_be_read_ends_the_walk),
    };

    return check_main("client_address", tests, CHECK_COUNT(tests));
}
