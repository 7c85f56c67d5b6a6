/* SPDX-License-Identifier: MIT */
/* spendgate report: sums of what was spent, with bars in a terminal. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/command.h"
#include "admin/output.h"
#include "common/account_json.h"
#include "common/money.h"

#include "common/banned.h"

#define BAR_COLUMNS_MIN 10
#define BAR_COLUMNS_MAX 60
#define NAME_COLUMNS_MAX 48

static const char *const by_names[] = {
    [REPORT_ACCOUNT] = "account", [REPORT_KEY] = "key", [REPORT_ROUTE] = "route",
    [REPORT_MODEL] = "model",     [REPORT_DAY] = "day",
};

/* The rows, kept because a bar is relative to the largest. */
struct report {
    struct report_row *rows;
    size_t count, room, limit;
    bool out_of_memory;
    int64_t spent_nanos, charge_count; /* of all rows, also those beyond the limit */
    int64_t largest_nanos;
};

static bool
add_row(void *context, const struct report_row *row)
{
    struct report *report = context;

    report->spent_nanos += row->spent_nanos;
    report->charge_count += row->charge_count;
    if (report->count == report->limit)
        return true;
    if (report->count == report->room) {
        size_t room = report->room * 2 + 64;
        struct report_row *rows = reallocarray(report->rows, room, sizeof(*rows));

        if (rows == NULL) {
            report->out_of_memory = true;
            return false;
        }
        report->rows = rows;
        report->room = room;
    }
    report->rows[report->count++] = *row;
    if (row->spent_nanos > report->largest_nanos)
        report->largest_nanos = row->spent_nanos;
    return true;
}

static const char *
row_name(const struct report_row *row)
{
    return row->name[0] != '\0' ? row->name : "(none)";
}

static void
print_bars(const struct report *report)
{
    size_t name_columns = 5, bar_columns, columns = terminal_columns();
    char text[HUMAN_SIZE];

    for (size_t i = 0; i < report->count; i++) {
        size_t length = strlen(row_name(&report->rows[i]));

        if (length > name_columns)
            name_columns = length < NAME_COLUMNS_MAX ? length : NAME_COLUMNS_MAX;
    }
    bar_columns = columns > name_columns + 20 + BAR_COLUMNS_MIN ? columns - name_columns - 20
                                                                : BAR_COLUMNS_MIN;
    if (bar_columns > BAR_COLUMNS_MAX)
        bar_columns = BAR_COLUMNS_MAX;
    for (size_t i = 0; i < report->count; i++) {
        char name[NAME_COLUMNS_MAX + 1];

        (void)snprintf(name, sizeof(name), "%.*s", (int)name_columns, row_name(&report->rows[i]));
        print_text(stdout, name);
        printf("%*s %16s  ", (int)(name_columns - strlen(name)), "",
               human_money(report->rows[i].spent_nanos, text));
        print_bar(report->rows[i].spent_nanos, report->largest_nanos, bar_columns);
        (void)putchar('\n');
    }
    printf("%-*s %16s  %" PRId64 " charges\n", (int)name_columns, "Total",
           human_money(report->spent_nanos, text), report->charge_count);
}

static int
print_table(const struct report *report, const char *by)
{
    char title[16], text[HUMAN_SIZE];
    const char *const titles[] = { title, ">SPENT", ">CHARGES", NULL };
    struct table table;

    (void)snprintf(title, sizeof(title), "%s", by);
    for (char *c = title; *c != '\0'; c++)
        *c = (char)(*c - 'a' + 'A');
    table_init(&table, titles);
    for (size_t i = 0; i <= report->count; i++) {
        bool total = i == report->count;

        table_add(&table, total ? "Total" : row_name(&report->rows[i]));
        table_add(&table,
                  human_money(total ? report->spent_nanos : report->rows[i].spent_nanos, text));
        (void)snprintf(text, sizeof(text), "%" PRId64,
                       total ? report->charge_count : report->rows[i].charge_count);
        table_add(&table, text);
    }
    return table_print(&table) ? DONE : FAILED;
}

static void
print_csv_rows(const struct report *report, const char *by)
{
    printf("%s,spent_usd,charges\r\n", by);
    for (size_t i = 0; i < report->count; i++) {
        char amount[MONEY_TEXT_SIZE], count[24];
        struct buf text;

        buf_init(&text, amount, sizeof(amount));
        money_add_usd(&text, report->rows[i].spent_nanos);
        (void)snprintf(count, sizeof(count), "%" PRId64, report->rows[i].charge_count);
        print_csv(stdout, true, report->rows[i].name);
        print_csv(stdout, false, amount);
        print_csv(stdout, false, count);
        (void)fputs("\r\n", stdout);
    }
}

static int
print_report_json(const struct report *report, const char *by, int64_t from_us, int64_t to_us)
{
    char storage[2 * ROUTE_PREFIX_SIZE + 8192];
    struct buf json;
    bool any = false;

    buf_init(&json, storage, sizeof(storage));
    buf_add_format(&json, "{\"by\":\"%s\",\"from\":", by);
    buf_add_json_time(&json, from_us);
    buf_add(&json, ",\"to\":");
    buf_add_json_time(&json, to_us);
    buf_add(&json, ",\"spent_usd\":");
    account_json_add_signed_money(&json, report->spent_nanos);
    buf_add_format(&json, ",\"charges\":%" PRId64 ",\"rows\":[", report->charge_count);
    if (!print_json(&json))
        return FAILED;
    for (size_t i = 0; i < report->count; i++) {
        buf_add_format(&json, "{\"%s\":", by);
        account_json_add_text(&json, report->rows[i].name);
        buf_add(&json, ",\"spent_usd\":");
        account_json_add_signed_money(&json, report->rows[i].spent_nanos);
        buf_add_format(&json, ",\"charges\":%" PRId64 "}", report->rows[i].charge_count);
        if (!print_json_item(&json, &any))
            return FAILED;
    }
    (void)puts("\n]}");
    return DONE;
}

static bool
read_by(const struct admin *admin, enum report_by *by)
{
    const char *wanted = admin->options[OPTION_BY];

    *by = REPORT_ACCOUNT;
    if (wanted == NULL)
        return true;
    for (size_t i = 0; i < sizeof(by_names) / sizeof(by_names[0]); i++) {
        if (strcmp(wanted, by_names[i]) == 0) {
            *by = (enum report_by)i;
            return true;
        }
    }
    (void)command_usage(admin, "--by: '%s' is not account, key, route, model or day", wanted);
    return false;
}

/* Since the first of the month; --from moves it. */
static bool
read_range(const struct admin *admin, int64_t *from_us, int64_t *to_us)
{
    struct period_spec month = { .kind = PERIOD_MONTH, .timezone = "UTC", .anchor_day = 1 };
    struct period period = { 0 };
    struct error err;

    period_spec_normalize(&month);
    if (period_containing(&month, admin->now_us, &period, &err) != STATUS_OK) {
        (void)command_error(&err);
        return false;
    }
    *from_us = period.start_us;
    return command_range(admin, from_us, to_us);
}

int
run_report(struct admin *admin)
{
    struct report report = { 0 };
    struct error err = { 0 };
    enum report_by by;
    int64_t from_us = 0, to_us = 0, limit = 0;
    int code = DONE;

    if (!read_by(admin, &by) || !read_range(admin, &from_us, &to_us) ||
        !command_number(admin, OPTION_LIMIT, 1, INT32_MAX, INT32_MAX, &limit))
        return USAGE;
    report.limit = (size_t)limit;
    if (store_report(admin->store, by, from_us, to_us, add_row, &report, &err) != STATUS_OK)
        code = command_error(&err);
    else if (report.out_of_memory)
        code = command_fail("out of memory: ask for fewer rows with --limit");
    else if (command_has(admin, OPTION_JSON))
        code = print_report_json(&report, by_names[by], from_us, to_us);
    else if (command_has(admin, OPTION_CSV))
        print_csv_rows(&report, by_names[by]);
    else if (isatty(STDOUT_FILENO) == 1)
        print_bars(&report);
    else
        code = print_table(&report, by_names[by]);
    free(report.rows);
    return code;
}
