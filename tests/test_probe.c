/* SPDX-License-Identifier: MIT */
/* common/probe: a ticket is taken for a while, from whoever has the key, and from nobody else. */
#include "common/probe.h"

#include <stdlib.h>
#include <string.h>

#include "tests/check.h"

#include "common/banned.h"

#define NOW_US (INT64_C(1770000000) * 1000000)

static struct secret key, other, none;

static void
set_up(void)
{
    struct error err;

    CHECK_STATUS(STATUS_OK, secret_set(&key, "sk_test_one", 11, &err), &err);
    CHECK_STATUS(STATUS_OK, secret_set(&other, "sk_test_two", 11, &err), &err);
}

static void
test_a_ticket_is_taken_with_its_key_only(void)
{
    char ticket[PROBE_TICKET_SIZE];

    set_up();
    CHECK_TRUE("made", probe_ticket(&key, NOW_US, ticket));
    CHECK_TRUE("seconds", strncmp(ticket, "1770000000.", 11) == 0);
    CHECK_TRUE("its key", probe_ticket_valid(&key, ticket, NOW_US));
    CHECK_FALSE("another key", probe_ticket_valid(&other, ticket, NOW_US));
    CHECK_FALSE("no key", probe_ticket_valid(&none, ticket, NOW_US));
    CHECK_FALSE("no ticket", probe_ticket_valid(&key, NULL, NOW_US));
    CHECK_FALSE("made without a key", probe_ticket(&none, NOW_US, ticket));
    CHECK_STRING("empty", "", ticket);
}

static void
test_a_ticket_has_its_time(void)
{
    char ticket[PROBE_TICKET_SIZE];

    set_up();
    CHECK_TRUE("made", probe_ticket(&key, NOW_US, ticket));
    CHECK_TRUE("as late as can be", probe_ticket_valid(&key, ticket, NOW_US + PROBE_AGE_MAX_US));
    CHECK_FALSE("too late", probe_ticket_valid(&key, ticket, NOW_US + PROBE_AGE_MAX_US + 1));
    CHECK_TRUE("as early", probe_ticket_valid(&key, ticket, NOW_US - PROBE_AGE_MAX_US));
    CHECK_FALSE("too early", probe_ticket_valid(&key, ticket, NOW_US - PROBE_AGE_MAX_US - 1));
}

/* Every byte of it counts. */
static void
test_a_changed_ticket_is_refused(void)
{
    char ticket[PROBE_TICKET_SIZE], changed[PROBE_TICKET_SIZE + 1];
    size_t length;

    set_up();
    CHECK_TRUE("made", probe_ticket(&key, NOW_US, ticket));
    length = strlen(ticket);
    for (size_t i = 0; i < length; i++) {
        memcpy(changed, ticket, length + 1);
        changed[i] = changed[i] == '1' ? '2' : '1';
        CHECK_FALSE("another byte", probe_ticket_valid(&key, changed, NOW_US));
        changed[i] = '\0';
        CHECK_FALSE("cut", probe_ticket_valid(&key, changed, NOW_US));
    }
    memcpy(changed, ticket, length);
    memcpy(changed + length, "0", 2);
    CHECK_FALSE("longer", probe_ticket_valid(&key, changed, NOW_US));
    CHECK_FALSE("a sign", probe_ticket_valid(&key, "+1770000000.00", NOW_US));
    CHECK_FALSE("empty", probe_ticket_valid(&key, "", NOW_US));
    CHECK_FALSE("a point", probe_ticket_valid(&key, ".", NOW_US));
    CHECK_FALSE("many digits", probe_ticket_valid(&key, "1770000000000000000000.00", NOW_US));
}

static void
test_fingerprints_tell_files_and_stores_apart(void)
{
    struct settings *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
    char one[PROBE_FINGERPRINT_SIZE], two[PROBE_FINGERPRINT_SIZE];

    if (!CHECK_TRUE("memory", a != NULL && b != NULL))
        goto out;
    set_up();
    a->clerk.secret_key = b->clerk.secret_key = key;
    memcpy(a->store_url, "sqlite:/a", 10);
    memcpy(b->store_url, "sqlite:/b", 10);
    probe_store_fingerprint(a, one);
    probe_store_fingerprint(b, two);
    CHECK_INT("length", PROBE_FINGERPRINT_SIZE - 1, strlen(one));
    CHECK_TRUE("stores", strcmp(one, two) != 0);
    probe_settings_fingerprint(a, one);
    probe_settings_fingerprint(b, two);
    CHECK_STRING("the same file", one, two);
    b->digest[31] = 1;
    probe_settings_fingerprint(b, two);
    CHECK_TRUE("another file", strcmp(one, two) != 0);
    b->digest[31] = 0;
    b->clerk.secret_key = other;
    probe_settings_fingerprint(b, two);
    CHECK_TRUE("not without the key", strcmp(one, two) != 0);
out:
    free(a);
    free(b);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_a_ticket_is_taken_with_its_key_only),
        CHECK_TEST(test_a_ticket_has_its_time),
        CHECK_TEST(test_a_changed_ticket_is_refused),
        CHECK_TEST(test_fingerprints_tell_files_and_stores_apart),
    };

    return check_main("probe", tests, CHECK_COUNT(tests));
}
