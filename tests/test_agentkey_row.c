/* SPDX-License-Identifier: MIT */
/* What a row of agentkey's table says, and what of it cannot be understood. */
#include "admin/agentkey.h"

#include "common/money.h"
#include "tests/check.h"

#include "common/banned.h"

#define CENT MONEY_NANOS_PER_CENT

static struct agentkey_row
read_row(enum agentkey_column column, const char *text)
{
    const char *texts[AGENTKEY_COLUMNS] = { [AGENTKEY_ID] = "1", [AGENTKEY_SUBJECT] = "user_1" };
    struct agentkey_row row;

    texts[column] = text;
    agentkey_row_read(texts, &row);
    return row;
}

static void
test_null_is_no_budget_no_period_no_time_and_all_scopes(void)
{
    struct agentkey_row row = read_row(AGENTKEY_BUDGET, NULL);

    CHECK_STRING("id", "1", row.id);
    CHECK_TRUE("subject", row.has_subject);
    CHECK_STRING("subject", "user_1", row.subject);
    CHECK_INT("budget", AGENTKEY_NONE, row.budget);
    CHECK_INT("used", AGENTKEY_NONE, row.used);
    CHECK_TRUE("period", row.period_known);
    CHECK_INT("period", PERIOD_NONE, row.period);
    CHECK_INT("reset", 0, row.reset_us);
    CHECK_INT("expires", 0, row.expires_us);
    CHECK_TRUE("all scopes", row.all_scopes);
    CHECK_FALSE("revoked", row.revoked);
}

static void
test_amounts_are_cents_of_any_type(void)
{
    static const struct {
        const char *text;
        enum agentkey_amount want;
        int64_t nanos;
    } cases[] = {
        { "0", AGENTKEY_AMOUNT, 0 },
        { "5000", AGENTKEY_AMOUNT, 5000 * CENT },
        { "5000.00", AGENTKEY_AMOUNT, 5000 * CENT },
        { "0.00", AGENTKEY_AMOUNT, 0 },
        { "12.5", AGENTKEY_AMOUNT, 12 * CENT + CENT / 2 },
        { "100", AGENTKEY_AMOUNT, 100 * CENT },
        { "100000000000", AGENTKEY_AMOUNT, MONEY_MAX_NANOS },
        { "100000000001", AGENTKEY_UNREADABLE, 0 },
        { "-1", AGENTKEY_UNREADABLE, 0 },
        { "NaN", AGENTKEY_UNREADABLE, 0 },
        { "1e3", AGENTKEY_UNREADABLE, 0 },
        { "", AGENTKEY_UNREADABLE, 0 },
        { ".0", AGENTKEY_UNREADABLE, 0 },
    };

    for (size_t i = 0; i < CHECK_COUNT(cases); i++) {
        struct agentkey_row row = read_row(AGENTKEY_BUDGET, cases[i].text);

        CHECK_INT(cases[i].text, cases[i].want, row.budget);
        CHECK_INT(cases[i].text, cases[i].nanos, row.budget_nanos);
        CHECK_STRING("quoted", cases[i].want == AGENTKEY_UNREADABLE ? cases[i].text : "",
                     row.budget_text);
        row = read_row(AGENTKEY_USED, cases[i].text);
        CHECK_INT(cases[i].text, cases[i].want, row.used);
        CHECK_INT(cases[i].text, cases[i].nanos, row.used_nanos);
    }
}

static void
test_periods_are_those_that_agentkey_knows(void)
{
    CHECK_INT("day", PERIOD_DAY, read_row(AGENTKEY_PERIOD, "day").period);
    CHECK_INT("month", PERIOD_MONTH, read_row(AGENTKEY_PERIOD, "month").period);
    CHECK_FALSE("week", read_row(AGENTKEY_PERIOD, "week").period_known);
    CHECK_FALSE("Month", read_row(AGENTKEY_PERIOD, "Month").period_known);
    CHECK_STRING("quoted", "we?k", read_row(AGENTKEY_PERIOD, "we\033k").period_text);
}

static void
test_a_subject_is_no_account_of_ours(void)
{
    CHECK_STRING("organization", "org_1", read_row(AGENTKEY_SUBJECT, "org_1").subject);
    CHECK_STRING("machine", "mch_1", read_row(AGENTKEY_SUBJECT, "mch_1").subject);
    CHECK_STRING("all", "", read_row(AGENTKEY_SUBJECT, "all").subject);
    CHECK_STRING("key", "", read_row(AGENTKEY_SUBJECT, "key:ak_1").subject);
    CHECK_STRING("group", "", read_row(AGENTKEY_SUBJECT, "group:red").subject);
    CHECK_STRING("space", "", read_row(AGENTKEY_SUBJECT, "user 1").subject);
    CHECK_TRUE("but it has one", read_row(AGENTKEY_SUBJECT, "user 1").has_subject);
    CHECK_FALSE("none", read_row(AGENTKEY_SUBJECT, NULL).has_subject);
    CHECK_FALSE("empty", read_row(AGENTKEY_SUBJECT, "").has_subject);
}

static void
test_scopes_are_listed_and_admin_is_all(void)
{
    char many[1000];
    struct agentkey_row row = read_row(AGENTKEY_SCOPES, "[\"a.b\",\"c\"]");
    struct buf text;

    CHECK_FALSE("all", row.all_scopes);
    CHECK_STRING("scopes", "a.b c", row.scopes);
    row = read_row(AGENTKEY_SCOPES, "[\"a\",\"admin\"]");
    CHECK_TRUE("admin", row.all_scopes);
    row = read_row(AGENTKEY_SCOPES, "[]");
    CHECK_FALSE("none", row.all_scopes);
    CHECK_STRING("none", "", row.scopes);
    CHECK_STRING("nonsense", "{\"a\":1}", read_row(AGENTKEY_SCOPES, "{\"a\":1}").scopes);
    CHECK_STRING("no text", "? a?", read_row(AGENTKEY_SCOPES, "[7,\"a\\u0007\"]").scopes);
    buf_init(&text, many, sizeof(many));
    for (int i = 0; i < 60; i++)
        buf_add_format(&text, "%s\"sc%02d\"", i == 0 ? "[" : ",", i);
    buf_add(&text, "]");
    row = read_row(AGENTKEY_SCOPES, many);
    CHECK_TRUE("cut", strlen(row.scopes) < sizeof(row.scopes));
    CHECK_STRING("and told", " ...", row.scopes + strlen(row.scopes) - 4);
}

static void
test_times_and_ids(void)
{
    char id[AGENTKEY_ID_SIZE + 1];

    CHECK_INT("time", 1798761600000000, read_row(AGENTKEY_RESET, "1798761600000000").reset_us);
    CHECK_INT("before 1970", 0, read_row(AGENTKEY_EXPIRES, "-5").expires_us);
    CHECK_TRUE("revoked", read_row(AGENTKEY_REVOKED, "1").revoked);
    CHECK_FALSE("not", read_row(AGENTKEY_REVOKED, "0").revoked);
    memset(id, '9', sizeof(id) - 1);
    id[sizeof(id) - 1] = '\0';
    CHECK_STRING("too long to tell apart", "", read_row(AGENTKEY_ID, id).id);
    id[sizeof(id) - 2] = '\0';
    CHECK_STRING("as long as it may be", id, read_row(AGENTKEY_ID, id).id);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_null_is_no_budget_no_period_no_time_and_all_scopes),
        CHECK_TEST(test_amounts_are_cents_of_any_type),
        CHECK_TEST(test_periods_are_those_that_agentkey_knows),
        CHECK_TEST(test_a_subject_is_no_account_of_ours),
        CHECK_TEST(test_scopes_are_listed_and_admin_is_all),
        CHECK_TEST(test_times_and_ids),
    };

    return check_main("agentkey_row", tests, CHECK_COUNT(tests));
}
