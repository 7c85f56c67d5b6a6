/* SPDX-License-Identifier: MIT */
/* Clerk's listing of keys: what is asked for, what a page says. */
#include "admin/clerk_list.h"

#include "common/clock.h"

#include "tests/check.h"

#include "common/banned.h"

#define NOW_US INT64_C(1767225600000000)
#define EXPIRATION_NEGATIVE                                                        \
    "{\"id\":\"ak_1\",\"subject\":\"user_1\",\"revoked\":false,\"expired\":false," \
    "\"expiration\":-1}"

struct seen {
    size_t count, stop_after;
    struct clerk_key keys[4];
};

static bool
see(void *context, const struct clerk_key *key)
{
    struct seen *seen = context;

    if (seen->count < CHECK_COUNT(seen->keys))
        seen->keys[seen->count] = *key;
    return ++seen->count != seen->stop_after;
}

static enum status
read_list(const char *text, struct seen *seen, struct clerk_page *page, struct error *err)
{
    memset(seen, 0, sizeof(*seen));
    return clerk_list_read(text, strlen(text), "user_1", NOW_US, see, seen, page, err);
}

static void
test_path_escapes_the_subject(void)
{
    char storage[256];
    struct buf path;

    buf_init(&path, storage, sizeof(storage));
    clerk_list_path("user_a-B.9~", 0, &path);
    CHECK_STRING("plain",
                 "/v1/api_keys?subject=user_a-B.9~&include_invalid=true&limit=100&offset=0",
                 buf_text(&path));
    buf_clear(&path);
    clerk_list_path("a&b=c+d\xc3\xbc", 1200, &path);
    CHECK_STRING("escaped",
                 "/v1/api_keys?subject=a%26b%3Dc%2Bd%C3%BC&include_invalid=true&limit=100"
                 "&offset=1200",
                 buf_text(&path));
}

static void
test_page_is_read(void)
{
    static const char text[] =
        "{\"data\":[{\"id\":\"ak_1\",\"subject\":\"user_1\",\"name\":\"ci key\",\"revoked\":false,"
        "\"expired\":false,\"expiration\":1798761600000},"
        "{\"id\":\"ak_2\",\"subject\":\"user_1\",\"name\":null,\"revoked\":true,"
        "\"revocation_reason\":\"lost\",\"expired\":false,\"expiration\":null}],"
        "\"total_count\":250}";
    struct clerk_page page;
    struct seen seen;
    struct error err;

    CHECK_STATUS(STATUS_OK, read_list(text, &seen, &page, &err), &err);
    CHECK_INT("total", 250, page.total);
    CHECK_INT("keys", 2, page.keys);
    CHECK_INT("odd", 0, page.odd);
    CHECK_INT("seen", 2, seen.count);
    CHECK_STRING("account", "key:ak_1", seen.keys[0].account);
    CHECK_STRING("title", "ci key", seen.keys[0].title);
    CHECK_INT("expires", INT64_C(1798761600) * US_PER_SECOND, seen.keys[0].expires_us);
    CHECK_FALSE("expired", seen.keys[0].expired);
    CHECK_FALSE("revoked", seen.keys[0].revoked);
    CHECK_STRING("no title", "", seen.keys[1].title);
    CHECK_TRUE("revoked", seen.keys[1].revoked);
    CHECK_STRING("reason", "lost", seen.keys[1].reason);
    CHECK_INT("never", 0, seen.keys[1].expires_us);
}

static void
test_expiry_counts_from_its_instant_and_in_seconds_too(void)
{
    static const struct {
        const char *expiration;
        int64_t want_us;
        bool expired;
    } cases[] = {
        { "1767225600000", NOW_US, true },
        { "1767225600001", NOW_US + 1000, false },
        { "1767225600", NOW_US, true },
        { "1767225601", NOW_US + US_PER_SECOND, false },
        { "9007199254740992", INT64_C(9007199254740992) * 1000, false },
    };
    struct clerk_page page;
    struct seen seen;
    struct error err;
    char text[256];

    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        snprintf(text, sizeof(text),
                 "{\"data\":[{\"id\":\"ak_1\",\"subject\":\"user_1\",\"revoked\":false,"
                 "\"expired\":false,\"expiration\":%s}],\"total_count\":1}",
                 cases[i].expiration);
        CHECK_STATUS(STATUS_OK, read_list(text, &seen, &page, &err), &err);
        CHECK_INT(cases[i].expiration, cases[i].want_us, seen.keys[0].expires_us);
        CHECK_INT(cases[i].expiration, cases[i].expired, seen.keys[0].expired);
    }
}

/* What cannot be read is counted, and the rest of the page is good all the same. */
static void
test_odd_entries_are_passed_over(void)
{
    static const char *const odd[] = {
        "7",
        "null",
        "[]",
        "{}",
        "{\"id\":\"ak_1\",\"revoked\":false,\"expired\":false}",
        "{\"id\":\"ak_1\",\"subject\":\"user_2\",\"revoked\":false,\"expired\":false}",
        "{\"id\":7,\"subject\":\"user_1\",\"revoked\":false,\"expired\":false}",
        "{\"id\":\"ak 1\",\"subject\":\"user_1\",\"revoked\":false,\"expired\":false}",
        "{\"id\":\"\",\"subject\":\"user_1\",\"revoked\":false,\"expired\":false}",
        "{\"id\":\"ak_1\",\"subject\":\"user_1\",\"revoked\":\"no\",\"expired\":false}",
        "{\"id\":\"ak_1\",\"subject\":\"user_1\",\"revoked\":false,\"expired\":0}",
        "{\"id\":\"ak_1\",\"subject\":\"user_1\",\"revoked\":false}",
        "{\"id\":\"ak_1\",\"subject\":\"user_1\",\"revoked\":false,\"expired\":0.5}",
        EXPIRATION_NEGATIVE,
    };
    struct clerk_page page;
    struct seen seen;
    struct error err;
    char text[512];

    for (size_t i = 0; i < CHECK_COUNT(odd); i++) {
        snprintf(text, sizeof(text),
                 "{\"data\":[%s,{\"id\":\"ak_9\",\"subject\":\"user_1\",\"revoked\":false,"
                 "\"expired\":false}],\"total_count\":2}",
                 odd[i]);
        CHECK_STATUS(STATUS_OK, read_list(text, &seen, &page, &err), &err);
        CHECK_INT(odd[i], 1, page.odd);
        CHECK_INT(odd[i], 1, seen.count);
        CHECK_STRING(odd[i], "key:ak_9", seen.keys[0].account);
    }
}

static void
test_what_is_no_listing_is_refused(void)
{
    static const char *const cases[][2] = {
        { "{\"total_count\":0}", "Clerk's list of keys has no array \"data\"" },
        { "{\"data\":{},\"total_count\":0}", "Clerk's list of keys has no array \"data\"" },
        { "[]", "Clerk's list of keys has no array \"data\"" },
        { "{\"data\":[]}", "Clerk's list of keys has no \"total_count\" from 0 to 1000000" },
        { "{\"data\":[],\"total_count\":1000001}",
          "Clerk's list of keys has no \"total_count\" from 0 to 1000000" },
    };
    struct clerk_page page;
    struct seen seen;
    struct error err;

    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        CHECK_STATUS(STATUS_INVALID, read_list(cases[i][0], &seen, &page, &err), &err);
        CHECK_STRING(cases[i][0], cases[i][1], err.message);
    }
    CHECK_STATUS(STATUS_INVALID, read_list("<html>", &seen, &page, &err), &err);
    CHECK_TRUE("no JSON", strncmp(err.message, "Clerk's list of keys is no JSON: ", 33) == 0);
}

static void
test_visitor_may_stop(void)
{
    static const char text[] =
        "{\"data\":[{\"id\":\"ak_1\",\"subject\":\"user_1\",\"revoked\":false,\"expired\":false},"
        "{\"id\":\"ak_2\",\"subject\":\"user_1\",\"revoked\":false,\"expired\":false}],"
        "\"total_count\":2}";
    struct seen seen = { .stop_after = 1 };
    struct clerk_page page;
    struct error err;

    CHECK_STATUS(STATUS_OK,
                 clerk_list_read(text, strlen(text), "user_1", NOW_US, see, &seen, &page, &err),
                 &err);
    CHECK_INT("one", 1, seen.count);
}

static void
test_texts_are_cut_between_characters(void)
{
    char out[6];

    clerk_text_cut(out, sizeof(out), "short");
    CHECK_STRING("fits", "short", out);
    clerk_text_cut(out, sizeof(out), "longer");
    CHECK_STRING("cut", "longe", out);
    clerk_text_cut(out, sizeof(out), "abc\xf0\x9f\x98\x80");
    CHECK_STRING("not inside a character", "abc", out);
    clerk_text_cut(out, sizeof(out), "a\xf0\x9f\x98\x80");
    CHECK_STRING("a whole one", "a\xf0\x9f\x98\x80", out);
    clerk_text_cut(out, sizeof(out), "");
    CHECK_STRING("empty", "", out);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_path_escapes_the_subject),
        CHECK_TEST(test_page_is_read),
        CHECK_TEST(test_expiry_counts_from_its_instant_and_in_seconds_too),
        CHECK_TEST(test_odd_entries_are_passed_over),
        CHECK_TEST(test_what_is_no_listing_is_refused),
        CHECK_TEST(test_visitor_may_stop),
        CHECK_TEST(test_texts_are_cut_between_characters),
    };

    return check_main("clerk_list", tests, CHECK_COUNT(tests));
}
