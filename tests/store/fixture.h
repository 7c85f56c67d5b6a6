/* SPDX-License-Identifier: MIT */
/*
 * What every store has to do, through store.h: the same suite for each backend. A test gets a store
 * of its own, asks and posts, and ends with teardown(), which is also a run of verify. Time is an
 * argument everywhere; nothing here waits for a clock.
 *
 * What only one backend can show is in test_store_sqlite.c and test_store_postgres.c.
 */
#ifndef SPENDGATE_TESTS_STORE_FIXTURE_H
#define SPENDGATE_TESTS_STORE_FIXTURE_H

#include "common/clock.h"
#include "common/store.h"
#include "tests/check.h"

#define USD MONEY_NANOS_PER_USD
#define CENT MONEY_NANOS_PER_CENT
#define SECOND US_PER_SECOND
#define NOON INT64_C(1795003200000000) /* 2026-11-18 12:00 UTC */
#define MONTH_START INT64_C(1793491200000000)
#define NEXT_MONTH INT64_C(1796083200000000)
#define HOUR (3600 * SECOND)
#define TTL (300 * SECOND)

struct fixture {
    char folder[64];
    char url[256];
    char database[64];
    struct plan plans[4];
    struct route routes[2];
    struct policy policy;
    struct store_options options;
    struct store *store;
    struct result result;
    struct verdict verdict;
    struct ledger ledger;
    struct error err;
    char reply_bytes[REPLY_SIZE];
    struct buf reply;
};

/* Run them on every store, also through a pooler when `pooled`. What main() returns. */
int store_main(const struct check_group *const groups[], size_t group_count, bool pooled);

/* ---- a store ---- */

/* A fresh one with the plan "pro": 1 dollar a month, holds of 5 cents. Aborts without one. */
struct fixture *setup(void);
/* Nothing may be amiss in it. */
void teardown(struct fixture *f);
/* The same for one that a test has spoilt. */
void discard(struct fixture *f);
void open_store(struct fixture *f);
/* Instead of it one that nobody has opened yet. */
void make_anew(struct fixture *f);
/* Whether the store under test has a clock of its own. */
bool store_has_clock(void);
/* What verify finds; printed. */
int64_t differences(struct fixture *f, int64_t now_us);

struct plan *add_plan(struct fixture *f, const char *name, int64_t hold_nanos);
/* A budget per subject in UTC; the caller changes what has to be otherwise. */
struct plan_budget *add_budget(struct plan *plan, enum period_kind kind, int64_t limit_nanos);

/* ---- requests ---- */

struct chain_names names_of(const char *key, const char *subject, const char *organization);
/* Whether it passes; f->verdict has the rest. */
bool admit_names(struct fixture *f, const struct chain_names *names, const struct plan *plan,
                 int64_t now_us);
/* The same by "ak_1" and the first plan. */
bool admit(struct fixture *f, const char *subject, int64_t now_us);
/* `out`, with the hold's public id. */
const char *hold_text(const struct hold *hold, char out[PUBLIC_ID_SIZE]);

/* ---- posts: f->result and f->reply have the rest ---- */

/* Writes the charge's number, its cost and what became of the hold. */
extern const struct reply_writer writer;
extern const struct actor ops;

/* `subject` may be NULL. */
enum outcome spend_hold(struct fixture *f, const char *hold_id, const char *subject,
                        int64_t cost_nanos, int64_t now_us);
/* Without a hold; `key` is its idempotency key, or NULL. */
enum outcome spend_as(struct fixture *f, const char *subject, int64_t cost_nanos, const char *key,
                      int64_t now_us);
enum outcome void_hold(struct fixture *f, const char *id, int64_t now_us);
/* Of the newest charge; -1: what is left of it. */
enum outcome refund(struct fixture *f, int64_t nanos, const char *key);
enum outcome set_budget(struct fixture *f, const char *account, enum period_kind kind,
                        int64_t limit_nanos);
enum outcome change(struct fixture *f, const char *account, enum account_change what,
                    int64_t until_us, const char *text);

/* ---- what is in it ---- */

/* The account's line of that kind; -1 spent and held: it has none. */
struct budget_line line_of(struct fixture *f, const char *account, enum period_kind kind,
                           int64_t now_us);
/* For store_charges(): the last one that is visited. `context` is a struct charge. */
bool take_charge(void *context, const struct charge *charge);
struct sums {
    int64_t count, nanos, last_id;
};

struct sums charges(struct fixture *f, struct charge_filter filter);
/* How many events of that kind there are. */
int events_told(struct fixture *f, enum event_kind kind, int percent);

#endif
