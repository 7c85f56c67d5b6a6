/* SPDX-License-Identifier: MIT */
/* tests/vectors: money.json and posts.json, which the PHP and the Perl client read as well;
 * usages.json with its prices, which tests/e2e/pricing.t posts. */
#include "common/json.h"
#include "common/money.h"
#include "common/price_import.h"
#include "common/spend_post.h"

#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define FILE_MAX 65536
#define MAX_CHARGE (INT64_C(1000000000) * MONEY_NANOS_PER_USD)

/* One of the files, whole; the tests end when it cannot be read. */
static const char *
read_file(const char *name, size_t *length)
{
    static char text[FILE_MAX];
    const char *folder = getenv("srcdir");
    char path[512];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/tests/vectors/%s", folder != NULL ? folder : ".", name);
    file = fopen(path, "rb");
    if (file == NULL)
        abort();
    *length = fread(text, 1, sizeof(text), file);
    (void)fclose(file);
    if (*length == sizeof(text))
        abort();
    return text;
}

static struct json *
vectors(const char *name)
{
    struct json *root = NULL;
    size_t length;
    const char *text = read_file(name, &length);

    if (json_parse(text, length, &root, NULL) != STATUS_OK)
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

/* ---- usages --------------------------------------------------------------------------------- */

#define MODELS_MAX 32

struct prices {
    size_t count;
    struct price_entry entries[MODELS_MAX];
    size_t left_out;
};

static enum status
take_price(void *context, const struct price_entry *entry, struct error *err)
{
    struct prices *prices = context;

    (void)err;
    if (prices->count == MODELS_MAX)
        abort();
    prices->entries[prices->count++] = *entry;
    return STATUS_OK;
}

static void
take_left_out(void *context, const char *model, bool whole, const char *why)
{
    struct prices *prices = context;

    (void)model;
    (void)why;
    prices->left_out += whole;
}

static void
read_prices(struct prices *prices)
{
    const struct price_sink sink = { take_price, take_left_out, prices };
    struct error err = { 0 };
    size_t length;
    const char *text = read_file("litellm-prices.json", &length);

    memset(prices, 0, sizeof(*prices));
    CHECK_STATUS(STATUS_OK, price_import(text, length, &sink, &err), &err);
}

static const struct price *
price_of(const struct prices *prices, const struct json *vector)
{
    const char *provider = json_string(json_member(vector, "provider"));

    for (size_t i = 0; i < prices->count; i++) {
        const struct price_entry *entry = &prices->entries[i];

        if (strcmp(entry->model, member_text(vector, "model")) == 0 &&
            (provider == NULL || strcmp(entry->provider, provider) == 0))
            return &entry->price;
    }
    return NULL;
}

static enum status
parse_usage(const struct json *vector, struct usage *usage, struct error *err)
{
    return usage_parse(json_member(vector, "usage"),
                       json_string(json_member(vector, "service_tier")), usage, err);
}

static void
check_priced(const struct prices *prices, const struct json *vector)
{
    const char *name = member_text(vector, "name");
    const struct price *price = price_of(prices, vector);
    struct usage usage, kept;
    struct error err = { 0 };
    int64_t nanos = -1, want = -1;

    CHECK_STATUS(STATUS_OK, parse_usage(vector, &usage, &err), &err);
    CHECK_STATUS(STATUS_OK, usage_read(json_member(vector, "kept"), &kept, &err), &err);
    for (int part = 0; part < PRICE_PARTS; part++) {
        if (kept.units[part] != usage.units[part])
            printf("%s: %s\n", name, price_part_name((enum price_part)part));
        CHECK_INT("units", kept.units[part], usage.units[part]);
    }
    CHECK_INT("tier", kept.tier, usage.tier);
    CHECK_INT("step", kept.step, usage.step);
    CHECK_INT("factors", kept.fast * 2 + kept.regional, usage.fast * 2 + usage.regional);
    if (price == NULL)
        abort();
    CHECK_STATUS(STATUS_OK, usage_cost(&usage, price, &nanos, &err), &err);
    CHECK_TRUE("cost", money_parse_usd(member_text(vector, "cost_usd"), &want));
    CHECK_INT(name, want, nanos);
}

static void
check_refused(const struct prices *prices, const struct json *vector)
{
    const char *name = member_text(vector, "name"), *got = "";
    const struct price *price = price_of(prices, vector);
    struct usage usage;
    struct error err = { 0 };
    int64_t nanos;

    if (parse_usage(vector, &usage, &err) != STATUS_OK)
        got = "usage_inconsistent";
    else if (price == NULL || usage_cost(&usage, price, &nanos, &err) == STATUS_NOT_FOUND)
        got = "unknown_model";
    CHECK_STRING(name, member_text(vector, "error"), got);
}

static void
test_usages_of_every_vendor_cost_what_the_price_file_says(void)
{
    static struct prices prices;
    struct json *root;
    const struct json *priced, *not_priced;

    read_prices(&prices);
    CHECK_INT("prices", 12, prices.count);
    CHECK_INT("left out", 2, prices.left_out);
    root = vectors("usages.json");
    priced = json_member(root, "priced");
    not_priced = json_member(root, "refused");
    CHECK_TRUE("vectors", json_count(priced) > 15 && json_count(not_priced) > 10);
    for (size_t i = 0; i < json_count(priced); i++)
        check_priced(&prices, json_element(priced, i));
    for (size_t i = 0; i < json_count(not_priced); i++)
        check_refused(&prices, json_element(not_priced, i));
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
        CHECK_TEST(test_usages_of_every_vendor_cost_what_the_price_file_says),
    };

    return check_main("vectors", tests, CHECK_COUNT(tests));
}
