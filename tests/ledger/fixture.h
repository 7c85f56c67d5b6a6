/* SPDX-License-Identifier: MIT */
/*
 * The pure money rules on one chain with every kind of account.
 */
#ifndef SPENDGATE_TESTS_LEDGER_FIXTURE_H
#define SPENDGATE_TESTS_LEDGER_FIXTURE_H

#include "common/clock.h"
#include "common/ledger.h"
#include "common/money.h"
#include "tests/check.h"

#define NOW (INT64_C(1700000000) * US_PER_SECOND) /* 2023-11-14T22:13:20Z */
#define MINUTE (60 * US_PER_SECOND)
#define DAY_US (INT64_C(86400) * US_PER_SECOND)
#define DOLLAR MONEY_NANOS_PER_USD

enum { KEY, SUBJECT, ORGANIZATION, PARENT, ALL, ACCOUNTS };

/* One chain with every kind of account; tests add the lines they are about. */
extern struct ledger ledger;
extern struct plan plan;
extern struct verdict verdict;
extern struct charge_effect effect;
extern struct error err;

/* Start a test: no lines, no plan, every account open. */
void fresh(void);

/* A hard budget with nothing spent or held; `account` is KEY to ALL. */
struct budget_line *line_add(int account, enum period_kind kind, int64_t limit_nanos);

/* Whether a request at NOW with a hold of that amount passes; the rest is in `verdict`. */
bool admit(int64_t hold_nanos);

/* A hold of that amount as the store would give it back later. */
struct hold hold_placed(int64_t nanos);

/* A refusal leaves every row as it was. */
void check_refused(const struct ledger *before, enum reason reason, int account);

/* What a charge of that amount at NOW does is in `effect`. */
void charge(int64_t nanos);

#endif
