/* SPDX-License-Identifier: MIT */
#include "tests/ledger/fixture.h"

#include "common/banned.h"

struct ledger ledger;
struct plan plan;
struct verdict verdict;
struct charge_effect effect;
struct error err;

void
fresh(void)
{
    static const char *const names[ACCOUNTS] = { "key:ak_1", "user_1", "org_1", "group:g", "all" };

    memset(&ledger, 0, sizeof(ledger));
    memset(&plan, 0, sizeof(plan));
    memset(&err, 0, sizeof(err));
    ledger.account_count = ACCOUNTS;
    ledger.key = KEY;
    ledger.subject = SUBJECT;
    ledger.organization = ORGANIZATION;
    for (int i = 0; i < ACCOUNTS; i++) {
        ledger.accounts[i].id = i + 1;
        snprintf(ledger.accounts[i].name, ACCOUNT_NAME_SIZE, "%s", names[i]);
    }
    snprintf(plan.name, sizeof(plan.name), "pro");
}

struct budget_line *
line_add(int account, enum period_kind kind, int64_t limit_nanos)
{
    struct budget_line *line = &ledger.lines[ledger.line_count++];

    memset(line, 0, sizeof(*line));
    line->id = (int64_t)ledger.line_count;
    line->account = account;
    line->spec =
        (struct period_spec){ .kind = kind, .timezone = "UTC", .anchor_day = 1, .week_start = 1 };
    line->period.start_us = NOW - MINUTE;
    line->period.end_us = NOW + MINUTE;
    line->limited = limit_nanos >= 0;
    line->base_limit_nanos = limit_nanos >= 0 ? limit_nanos : 0;
    line->plan_index = -1;
    return line;
}

bool
admit(int64_t hold_nanos)
{
    struct admission_event event = { .plan = &plan,
                                     .hold_due = hold_nanos > 0,
                                     .hold_nanos = hold_nanos,
                                     .hold_ttl_us = 5 * MINUTE };

    ledger_admit(&ledger, &event, NOW, &verdict);
    return verdict.allow;
}

struct hold
hold_placed(int64_t nanos)
{
    CHECK_TRUE("admit", admit(nanos));
    CHECK_TRUE("placed", verdict.hold_placed);
    return verdict.hold;
}

void
check_refused(const struct ledger *before, enum reason reason, int account)
{
    CHECK_FALSE("allow", verdict.allow);
    CHECK_INT("reason", reason, verdict.reason);
    CHECK_STRING("account", account < 0 ? "" : ledger.accounts[account].name, verdict.account);
    CHECK_INT("own account", account == KEY || account == SUBJECT, verdict.own_account);
    CHECK_FALSE("hold", verdict.hold_placed);
    CHECK_INT("rows", 0, memcmp(before, &ledger, sizeof(ledger)));
}

void
charge(int64_t nanos)
{
    ledger.event_count = 0;
    for (size_t i = 0; i < ledger.line_count; i++)
        ledger.lines[i].changed = false;
    CHECK_STATUS(STATUS_OK, ledger_charge(&ledger, nanos, NOW, &effect, &err), &err);
}
