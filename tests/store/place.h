/* SPDX-License-Identifier: MIT */
/*
 * A store of either kind for a test that needs both side by side, or SQL of its own in them.
 */
#ifndef SPENDGATE_TESTS_STORE_PLACE_H
#define SPENDGATE_TESTS_STORE_PLACE_H

#include "common/clock.h"
#include "common/store.h"
#include "tests/check.h"
#ifdef HAVE_POSTGRES
#include "tests/postgres_cluster.h"
#endif

#define USD MONEY_NANOS_PER_USD
#define CENT MONEY_NANOS_PER_CENT
#define SECOND US_PER_SECOND
#define NOON INT64_C(1795003200000000) /* 2026-11-18 12:00 UTC */
#define TTL (300 * SECOND)

enum kind { SQLITE, POSTGRES };
#ifdef HAVE_POSTGRES
#define KINDS 2
extern struct postgres_cluster place_cluster; /* of the whole run */
#else
#define KINDS 1
#endif
extern const char *const kind_names[];

struct place {
    enum kind kind;
    char folder[64];
    char url[256];
    char database[64];
    bool made; /* the schema is there */
    struct plan plan;
    struct route route;
    struct policy policy;
    struct store *store;
    struct result result;
    struct verdict verdict;
    struct error err;
    char reply_bytes[REPLY_SIZE];
    struct buf reply;
};

/* What main() returns: the tests with a PostgreSQL server beside them, or "skipped". */
int place_main(const char *name, const struct check_test *tests, size_t count);

/* A new store: a dollar a month, holds of 5 cents, a rate. Aborts without one. */
struct place *make_place(enum kind kind);
void drop_place(struct place *p);
enum status open_place(struct place *p);
/* SQL of the test's own, with the store closed meanwhile. `out`, if not NULL: the first value of
 * the first row. Aborts when it fails. */
void raw_sql(struct place *p, const char *sql, char *out, size_t size);
/* What verify finds; printed. */
int64_t differences(struct place *p);

#endif
