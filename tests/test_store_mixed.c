/* SPDX-License-Identifier: MIT */
/*
 * The worst mixed load that we can make: 24 processes on one hierarchy do everything that the
 * programs can ask of a store, at random and all at once. Afterwards the books are in order, a cap
 * that only holds and their posts count on was never passed, and no deadlock is in PostgreSQL's
 * log. How long on each store: SPENDGATE_MIXED_SECONDS (default 2); SPENDGATE_MIXED_STORE=sqlite or
 * postgresql: only on that one.
 */
#include "tests/store/mixed.h"

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/postgres_cluster.h"

#include "common/banned.h"

#define NOT_HERE 77
#define PROCESSES 24
#define SECONDS_VARIABLE "SPENDGATE_MIXED_SECONDS"
#define STORE_VARIABLE "SPENDGATE_MIXED_STORE"
#define SECONDS_DEFAULT 2
#define SECONDS_MAX 3600

static struct postgres_cluster cluster;
static int round_trips; /* libpq's seam has no context argument */

int __real_PQpipelineSync(PGconn *conn);
int __wrap_PQpipelineSync(PGconn *conn);

int
__wrap_PQpipelineSync(PGconn *conn)
{
    round_trips++;
    return __real_PQpipelineSync(conn);
}

static struct totals *totals;

/* A circle, too many parents, a price of the same instant, an account that is not there yet. */
static bool
is_refusal(enum status status)
{
    return status == STATUS_CONFLICT || status == STATUS_OVERFLOW || status == STATUS_NOT_FOUND ||
           status == STATUS_INVALID;
}

static void
count(struct worker *f, enum action action, enum status status, int trips)
{
    if (status == STATUS_OK) {
        totals->done[action]++;
        totals->trips[action][trips < 8 ? trips : 7]++;
    } else if (status == STATUS_BUSY) {
        totals->busy[action]++;
        printf("busy: %s: %s\n", mixed_actions[action].name, f->err.message);
    } else if (is_refusal(status)) {
        totals->refused[action]++;
    } else {
        totals->failed[action]++;
        printf("failed: %s: %s\n", mixed_actions[action].name, f->err.message);
    }
}

static void
mixed(struct worker *f, int index)
{
    const struct clock clock = clock_system();

    f->prunes = index == 0;
    f->seed = UINT64_C(88172645463325252) + (uint64_t)index * 104729;
    if (store_open(&f->options, &f->store, &f->err) != STATUS_OK) {
        printf("child: %s\n", f->err.message);
        _exit(1);
    }
    while (clock_boot_us(&clock) < totals->end_us) {
        enum action action = mixed_any(f);
        int64_t now_us = store_now_us(f->store, clock_now_us(&clock));
        int before = round_trips;
        enum status status = mixed_act(f, action, now_us);

        count(f, action, status, round_trips - before);
        store_after(f->store);
    }
    store_close(f->store);
    fflush(stdout);
    _exit(0);
}

/* ---- the run -------------------------------------------------------------------------------- */

static int64_t
seconds(void)
{
    const char *text = getenv(SECONDS_VARIABLE);
    int64_t value = SECONDS_DEFAULT;

    if (text != NULL && !text_to_int64(text, 1, SECONDS_MAX, &value))
        abort();
    return value;
}

static void
add_budget(struct plan *plan, enum period_kind kind, enum budget_per per, int64_t limit_nanos)
{
    struct plan_budget *budget = &plan->budgets[plan->budget_count++];

    (void)!text_copy(budget->name, sizeof(budget->name), period_kind_name(kind));
    budget->per = per;
    budget->spec.kind = kind;
    (void)!text_copy(budget->spec.timezone, sizeof(budget->spec.timezone), "UTC");
    budget->spec.anchor_day = budget->spec.week_start = 1;
    period_spec_normalize(&budget->spec);
    budget->limit_nanos = limit_nanos;
}

/* "pro" holds 5 cents, counts a rate and slots, or records nothing; "capped" holds 5 cents of
 * 25. */
static void
make_plans(struct worker *f)
{
    (void)!text_copy(f->plans[0].name, sizeof(f->plans[0].name), "pro");
    (void)!text_copy(f->plans[1].name, sizeof(f->plans[1].name), "pro");
    (void)!text_copy(f->plans[2].name, sizeof(f->plans[2].name), "capped");
    for (size_t i = 0; i < 2; i++) {
        add_budget(&f->plans[i], PERIOD_MONTH, PER_SUBJECT, 100000 * USD);
        add_budget(&f->plans[i], PERIOD_DAY, PER_KEY, 100000 * USD);
        add_budget(&f->plans[i], PERIOD_HOUR, PER_ORG, 100000 * USD);
        f->plans[i].hold.set = true;
    }
    add_budget(&f->plans[2], PERIOD_NONE, PER_SUBJECT, CAP);
    f->plans[2].hold.set = true;
    f->plans[0].hold.nanos = f->plans[2].hold.nanos = 5 * CENT;
    f->plans[0].rate = f->plans[0].key_rate =
        (struct rate){ .count = 100000, .per_us = US_PER_SECOND, .burst = 100000, .text = "x" };
    f->plans[0].concurrency = 100000;
    f->policy.plans = f->plans;
    f->policy.plan_count = CHECK_COUNT(f->plans);
}

static struct worker *
prepare(bool postgres)
{
    struct worker *f = calloc(1, sizeof(*f));
    char path[128];
    struct buf url;
    int applied;

    if (f == NULL)
        abort();
    f->totals = totals;
    f->postgres = postgres;
    scratch_open(&f->scratch);
    if (postgres) {
        cluster_database(&cluster, NULL, f->database, sizeof(f->database));
        cluster_url(&cluster, f->database, "", f->url, sizeof(f->url));
    } else {
        buf_init(&url, f->url, sizeof(f->url));
        buf_add_format(&url, "sqlite:%s", scratch_path(&f->scratch, "s.db", path));
    }
    make_plans(f);
    f->options = (struct store_options){ .url = f->url,
                                         .group = "",
                                         .policy = &f->policy,
                                         .hold_ttl_us = 2 * US_PER_SECOND,
                                         .charge_on_expiry = true,
                                         .idempotency_ttl_us = 30 * US_PER_SECOND,
                                         .create = true };
    buf_init(&f->reply, f->reply_bytes, sizeof(f->reply_bytes));
    CHECK_STATUS(STATUS_OK, store_migrate(&f->options, &applied, &f->err), &f->err);
    return f;
}

static void
tell(void *context, const char *invariant, const char *text)
{
    (void)context;
    printf("verify: %s %s\n", invariant, text);
}

static void
run_all(struct worker *f)
{
    const struct clock clock = clock_system();
    pid_t pids[PROCESSES];
    int status;

    memset(totals, 0, sizeof(*totals));
    totals->half_us = clock_boot_us(&clock) + seconds() * US_PER_SECOND / 2;
    totals->end_us = clock_boot_us(&clock) + seconds() * US_PER_SECOND;
    fflush(stdout);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            mixed(f, i);
    }
    for (int i = 0; i < PROCESSES; i++) {
        CHECK_INT("waited", pids[i], waitpid(pids[i], &status, 0));
        CHECK_INT("exit", 0, status);
    }
}

/* How many requests took how many: two for what writes and one for what reads, but at first sight,
 * after an expiry, and when somebody was in the way. Never less: nothing is decided on what is
 * remembered. */
static void
check_round_trips(enum action action, int least)
{
    const _Atomic int64_t *trips = totals->trips[action];

    printf("round trips, %s:", mixed_actions[action].name);
    for (int i = 0; i < 8; i++)
        printf(" %lld", (long long)trips[i]);
    printf("%s\n", " or more");
    for (int i = 0; i < least; i++)
        CHECK_INT("none with less", 0, trips[i]);
}

/* How often each was done, and a machine under load may keep a lock from somebody for too long:
 * that is a 503. */
static void
check_counts(const struct worker *f)
{
    int64_t done = 0, busy = 0;

    printf("%s\n", f->postgres ? "PostgreSQL" : "SQLite");

    for (size_t i = 0; i < ACTIONS; i++) {
        printf("%8lld done %6lld refused %4lld busy  %s\n", (long long)totals->done[i],
               (long long)totals->refused[i], (long long)totals->busy[i], mixed_actions[i].name);
        CHECK_INT(mixed_actions[i].name, 0, totals->failed[i]);
        done += totals->done[i];
        busy += totals->busy[i];
    }
    printf("the cap: %lld passed below it, %lld refused at it\n", (long long)totals->below_cap,
           (long long)totals->at_cap);
    CHECK_TRUE("below the cap", totals->below_cap > 0);
    CHECK_TRUE("at the cap", totals->at_cap > 0);
    CHECK_INT("past the cap", 0, totals->past_cap);
    if (f->postgres) {
        check_round_trips(DO_ADMIT, 2);
        check_round_trips(DO_READ, 1);
        check_round_trips(DO_SETTLE, 1);
    }
    CHECK_TRUE("work was done", done > 10 * seconds());
    CHECK_TRUE("hardly anything waited in vain", busy * 200 < done + 1000);
}

/* The books, after everybody is gone. */
static void
check_books(struct worker *f)
{
    const struct clock clock = clock_system();
    struct verify_summary summary = { .differences = -1 };
    int64_t now_us;

    CHECK_STATUS(STATUS_OK, store_open(&f->options, &f->store, &f->err), &f->err);
    now_us = store_now_us(f->store, clock_now_us(&clock));
    CHECK_STATUS(STATUS_OK, mixed_look_at_cap(f, now_us), &f->err);
    CHECK_INT("past the cap", 0, totals->past_cap);
    CHECK_STATUS(STATUS_OK, store_verify(f->store, now_us, tell, NULL, &summary, &f->err), &f->err);
    CHECK_INT("verify", 0, summary.differences);
    CHECK_TRUE("charges", summary.charges > 0);
    store_close(f->store);
}

static bool
not_asked_for(const char *store)
{
    const char *only = getenv(STORE_VARIABLE);

    return only != NULL && strcmp(only, store) != 0;
}

static void
test_i1_to_i7_under_a_mixed_load_on_sqlite(void)
{
    struct worker *f;

    if (not_asked_for("sqlite"))
        return;
    f = prepare(false);
    run_all(f);
    check_counts(f);
    check_books(f);
    scratch_close(&f->scratch);
    free(f);
}

static void
test_i1_to_i7_under_a_mixed_load_on_postgresql_without_a_deadlock(void)
{
    struct worker *f;

    if (not_asked_for("postgresql"))
        return;
    f = prepare(true);
    run_all(f);
    check_counts(f);
    check_books(f);
    CHECK_INT("deadlocks", 0, cluster_log_lines(&cluster, "deadlock detected"));
    CHECK_INT("panics", 0, cluster_log_lines(&cluster, "PANIC"));
    scratch_close(&f->scratch);
    free(f);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_i1_to_i7_under_a_mixed_load_on_sqlite),
        CHECK_TEST(test_i1_to_i7_under_a_mixed_load_on_postgresql_without_a_deadlock),
    };
    int code;

    totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (totals == MAP_FAILED || !cluster_make(&cluster))
        return NOT_HERE;
    cluster_start(&cluster);
    code = check_main("store_mixed", tests, CHECK_COUNT(tests));
    cluster_remove(&cluster);
    munmap(totals, sizeof(*totals));
    return code;
}
