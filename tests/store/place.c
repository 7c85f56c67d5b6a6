/* SPDX-License-Identifier: MIT */
#include "tests/store/place.h"

#include <ftw.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/banned.h"

#define NOT_HERE 77 /* to automake: skipped */

const char *const kind_names[] = { "sqlite", "postgresql" };
#ifdef HAVE_POSTGRES
struct postgres_cluster place_cluster;
#endif

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void
make_url(struct place *p)
{
    struct buf url;

    buf_init(&url, p->url, sizeof(p->url));
    if (p->kind == SQLITE) {
        (void)!text_copy(p->folder, sizeof(p->folder), "/tmp/store-rows-XXXXXX");
        if (mkdtemp(p->folder) == NULL)
            abort();
        buf_add_format(&url, "sqlite:%s/s.db", p->folder);
        return;
    }
#ifdef HAVE_POSTGRES
    cluster_database(&place_cluster, NULL, p->database, sizeof(p->database));
    cluster_url(&place_cluster, p->database, "", p->url, sizeof(p->url));
#else
    abort();
#endif
}

enum status
open_place(struct place *p)
{
    int applied;
    const struct store_options options = {
        .url = p->url,
        .group = "",
        .policy = &p->policy,
        .hold_ttl_us = TTL,
        .idempotency_ttl_us = 32 * INT64_C(86400) * SECOND,
        .create = true,
    };

    if (p->store == NULL && !p->made && store_migrate(&options, &applied, &p->err) != STATUS_OK)
        return p->err.status;
    p->made = true;
    return store_open(&options, &p->store, &p->err);
}

struct place *
make_place(enum kind kind)
{
    struct place *p = calloc(1, sizeof(*p));
    struct plan_budget *budget;

    if (p == NULL)
        abort();
    p->kind = kind;
    (void)!text_copy(p->plan.name, sizeof(p->plan.name), "pro");
    p->plan.hold.set = true;
    p->plan.hold.nanos = 5 * CENT;
    p->plan.rate = (struct rate){ 100, 60 * SECOND, 100, "100/1m" };
    budget = &p->plan.budgets[p->plan.budget_count++];
    budget->spec.kind = PERIOD_MONTH;
    (void)!text_copy(budget->spec.timezone, sizeof(budget->spec.timezone), "UTC");
    budget->spec.anchor_day = 1;
    budget->spec.week_start = 1;
    period_spec_normalize(&budget->spec);
    budget->limit_nanos = USD;
    (void)!text_copy(p->route.prefix, sizeof(p->route.prefix), "/api");
    p->policy = (struct policy){
        .plans = &p->plan, .plan_count = 1, .routes = &p->route, .route_count = 1
    };
    buf_init(&p->reply, p->reply_bytes, sizeof(p->reply_bytes));
    make_url(p);
    CHECK_STATUS(STATUS_OK, open_place(p), &p->err);
    if (p->store == NULL)
        abort();
    return p;
}

void
drop_place(struct place *p)
{
    store_close(p->store);
    if (p->kind == SQLITE)
        nftw(p->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(p);
}

void
raw_sql(struct place *p, const char *sql, char *out, size_t size)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    const char *rest = sql;

    store_close(p->store);
    p->store = NULL;
    if (p->kind == SQLITE) {
        if (sqlite3_open(p->url + strlen("sqlite:"), &db) != SQLITE_OK)
            abort();
        while (*rest != '\0') {
            if (sqlite3_prepare_v2(db, rest, -1, &stmt, &rest) != SQLITE_OK) {
                printf("SQLite: %s: %s\n", sql, sqlite3_errmsg(db));
                abort();
            }
            if (sqlite3_step(stmt) == SQLITE_ROW && out != NULL)
                (void)!text_copy(out, size, (const char *)sqlite3_column_text(stmt, 0));
            sqlite3_finalize(stmt);
        }
        sqlite3_close(db);
    }
#ifdef HAVE_POSTGRES
    if (p->kind == POSTGRES)
        cluster_sql(&place_cluster, p->database, sql, out, size);
#endif
    CHECK_STATUS(STATUS_OK, open_place(p), &p->err);
}

static void
tell_difference(void *context, const char *invariant, const char *text)
{
    (void)context;
    printf("verify: %s %s\n", invariant, text);
}

int64_t
differences(struct place *p)
{
    struct verify_summary summary = { 0 };

    CHECK_STATUS(STATUS_OK, store_verify(p->store, NOON, tell_difference, NULL, &summary, &p->err),
                 &p->err);
    return summary.differences;
}

int
place_main(const char *name, const struct check_test *tests, size_t count)
{
    int code;

#ifdef HAVE_POSTGRES
    if (!cluster_make(&place_cluster))
        return NOT_HERE;
    cluster_start(&place_cluster);
#endif
    code = check_main(name, tests, count);
#ifdef HAVE_POSTGRES
    cluster_remove(&place_cluster);
#endif
    return code;
}
