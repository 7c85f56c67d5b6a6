/* SPDX-License-Identifier: MIT */
/* tests/vectors/money.json and posts.json, which the PHP and the Perl client read as well. */
#include "common/json.h"
#include "common/money.h"
#include "common/spend_post.h"

#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define FILE_MAX 65536
#define MAX_CHARGE (INT64_C(1000000000) * MONEY_NANOS_PER_USD)

/* The vectors of one file; the tests end when they cannot be read. */
static struct json *
vectors(const char *name)
{
    static char text[FILE_MAX];
    const char *folder = getenv("srcdir");
    char path[512];
    struct json *root = NULL;
    size_t length;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/tests/vectors/%s", folder != NULL ? folder : ".", name);
    file = fopen(path, "rb");
    if (file == NULL)
        abort();
    length = fread(text, 1, sizeof(text), file);
    (void)fclose(file);
    if (length == sizeof(text) || json_parse(text, length, &root, NULL) != STATUS_OK)
        abort();
    return root;
}

static const char *
member_text(const struct json *object, const char *name)
{
    const char *text = json_string(json_member(object, name));

    if (text == NULL)
        abort();
    return text;
}

static int64_t
member_nanos(const struct json *object)
{
    int64_t nanos;

    if (!text_to_int64(member_text(object, "nanos"), 0, INT64_MAX, &nanos))
        abort();
    return nanos;
}

static void
check_usd(const char *want, int64_t nanos)
{
    char storage[MONEY_TEXT_SIZE];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    money_add_usd(&text, nanos);
    CHECK_STRING("usd", want, buf_text(&text));
}

static void
test_money_is_parsed_and_refused_as_by_the_clients(void)
{
    struct json *root = vectors("money.json");
    const struct json *parse = json_member(root, "parse"), *refuse = json_member(root, "refuse");
    int64_t nanos;

    CHECK_TRUE("vectors", json_count(parse) > 10 && json_count(refuse) > 10);
    for (size_t i = 0; i < json_count(parse); i++) {
        const char *usd = member_text(json_element(parse, i), "usd");

        nanos = -1;
        CHECK_TRUE("parse", money_parse_usd(usd, &nanos));
        CHECK_INT("nanos", member_nanos(json_element(parse, i)), nanos);
    }
    for (size_t i = 0; i < json_count(refuse); i++) {
        const char *usd = json_string(json_element(refuse, i));

        CHECK_FALSE("refuse", money_parse_usd(usd, &nanos));
    }
    json_free(root);
}

static void
test_money_is_written_as_by_the_clients(void)
{
    struct json *root = vectors("money.json");
    const struct json *format = json_member(root, "format");

    CHECK_TRUE("vectors", json_count(format) > 5);
    for (size_t i = 0; i < json_count(format); i++)
        check_usd(member_text(json_element(format, i), "usd"),
                  member_nanos(json_element(format, i)));
    json_free(root);
}

/* The sum of an array of amounts; false when it passes the maximum. */
static bool
add_up(const struct json *amounts, int64_t *total)
{
    int64_t nanos;

    *total = 0;
    for (size_t i = 0; i < json_count(amounts); i++) {
        if (!money_parse_usd(json_string(json_element(amounts, i)), &nanos))
            abort();
        if (!money_add(*total, nanos, total))
            return false;
    }
    return true;
}

static void
test_money_adds_up_as_in_the_clients(void)
{
    struct json *root = vectors("money.json");
    const struct json *sums = json_member(root, "sum"),
                      *refused_sums = json_member(root, "sum_refused");
    int64_t total;

    CHECK_TRUE("vectors", json_count(sums) > 2 && json_count(refused_sums) > 1);
    for (size_t i = 0; i < json_count(sums); i++) {
        CHECK_TRUE("sum", add_up(json_member(json_element(sums, i), "usd"), &total));
        check_usd(member_text(json_element(sums, i), "total"), total);
    }
    for (size_t i = 0; i < json_count(refused_sums); i++)
        CHECK_FALSE("sum", add_up(json_element(refused_sums, i), &total));
    json_free(root);
}

/* What a client posts is what the tracker takes. The idempotency key stands as `true` there. */
static void
test_posts_of_the_clients_are_taken(void)
{
    struct json *root = vectors("posts.json");
    int priced = 0;

    for (size_t i = 0; i < json_count(root); i++) {
        const struct json *posts = json_member(json_element(root, i), "posts");

        for (size_t j = 0; j < json_count(posts); j++) {
            const struct json *body = json_element(posts, j);
            struct refusal refusal = { .http_status = 0 };
            struct spend_post post;
            struct fields fields = { .root = NULL };
            int64_t nanos;

            if (!json_has(body, "cost_usd"))
                continue;
            fields_borrow(&fields, body, &refusal);
            spend_parse(&fields, MAX_CHARGE, &post, &refusal);
            CHECK_INT("refused", 0, refusal.http_status);
            CHECK_STRING("message", "", refusal.message);
            CHECK_TRUE("cost", money_parse_usd(member_text(body, "cost_usd"), &nanos));
            CHECK_INT("cost", nanos, post.cost_nanos);
            fields_clear(&fields);
            priced++;
        }
    }
    CHECK_TRUE("vectors", priced > 3);
    json_free(root);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_money_is_parsed_and_refused_as_by_the_clients),
        CHECK_TEST(test_money_is_written_as_by_the_clients),
        CHECK_TEST(test_money_adds_up_as_in_the_clients),
        CHECK_TEST(test_posts_of_the_clients_are_taken),
    };

    return check_main("vectors", tests, CHECK_COUNT(tests));
}
