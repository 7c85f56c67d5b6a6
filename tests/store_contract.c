/* SPDX-License-Identifier: MIT */
/*
 * What every store has to do, through store.h: the same suite for each backend, in one process and
 * with several processes racing for one budget. Time is an argument everywhere; nothing here waits
 * for a clock.
 */
#include "common/store.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/store_rows.h"
#include "tests/check.h"
#ifdef HAVE_POSTGRES
#include "tests/postgres_cluster.h"
#endif

#include "common/banned.h"

#define USD MONEY_NANOS_PER_USD
#define CENT MONEY_NANOS_PER_CENT
#define SECOND US_PER_SECOND
#define NOON INT64_C(1795003200000000) /* 2026-11-18 12:00 UTC */
#define MONTH_START INT64_C(1793491200000000)
#define NEXT_MONTH INT64_C(1796083200000000)
#define HOUR (3600 * SECOND)
#define TTL (300 * SECOND)
#define NOT_HERE 77 /* to automake: skipped */

/* ---- stores under test ---------------------------------------------------------------------- */

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

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static bool
sqlite_make(struct fixture *f)
{
    struct buf url;

    (void)!text_copy(f->folder, sizeof(f->folder), "/tmp/store-contract-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return false;
    buf_init(&url, f->url, sizeof(f->url));
    buf_add_format(&url, "sqlite:%s/s.db", f->folder);
    return true;
}

static void
sqlite_remove(struct fixture *f)
{
    nftw(f->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#ifdef HAVE_POSTGRES
static struct postgres_cluster cluster; /* of the whole run; a database per test */

static bool
postgres_begin(void)
{
    if (!cluster_make(&cluster))
        return false;
    cluster_start(&cluster);
    return true;
}

/* Each failed transaction that it tells of was retried, and a deadlock would be our mistake. */
static bool
postgres_end(void)
{
    int deadlocks = cluster_log_lines(&cluster, "deadlock detected");

    if (deadlocks != 0)
        printf("FAIL %d deadlocks in the server's log\n", deadlocks);
    cluster_remove(&cluster);
    return deadlocks == 0;
}

static bool
postgres_make_with(struct fixture *f, const char *more)
{
    const struct store_options options = { .url = f->url };
    int applied;

    cluster_database(&cluster, f->database, sizeof(f->database));
    cluster_url(&cluster, f->database, more, f->url, sizeof(f->url));
    return store_migrate(&options, &applied, &f->err) == STATUS_OK;
}

static bool
postgres_make(struct fixture *f)
{
    return postgres_make_with(f, "");
}

static bool
pooler_begin(void)
{
    return postgres_begin() && cluster_start_pooler(&cluster);
}

/* PgBouncer of Debian 12 in transaction mode: a session is another one after each transaction. */
static bool
pooler_make(struct fixture *f)
{
    return postgres_make_with(f, "&prepare=no&port=" CLUSTER_POOLER_PORT);
}

static void
postgres_remove(struct fixture *f)
{
    char sql[128];
    struct buf text;

    buf_init(&text, sql, sizeof(sql));
    buf_add_format(&text, "DROP DATABASE %s WITH (FORCE)", f->database);
    cluster_sql(&cluster, "postgres", sql, NULL, 0);
}
#endif

static const struct kind_of_store {
    const char *name;
    bool has_clock;      /* of its own: requests go by it and not by the machine's */
    bool (*begin)(void); /* once before the suite; false: not on this machine */
    bool (*end)(void);   /* false: something showed only then */
    size_t without;      /* the last tests of the table, that are not run again: races */
    bool (*make)(struct fixture *f);
    void (*remove)(struct fixture *f);
} stores[] = {
    { "sqlite", false, NULL, NULL, 0, sqlite_make, sqlite_remove },
#ifdef HAVE_POSTGRES
    { "postgresql", true, postgres_begin, postgres_end, 0, postgres_make, postgres_remove },
    { "postgresql behind PgBouncer", true, pooler_begin, postgres_end, 1, pooler_make,
      postgres_remove },
#endif
};
static const struct kind_of_store *under_test; /* set once per run of the suite, in main */

static struct plan_budget *
add_budget(struct plan *plan, enum period_kind kind, int64_t limit_nanos)
{
    struct plan_budget *b = &plan->budgets[plan->budget_count++];

    memset(b, 0, sizeof(*b));
    (void)!text_copy(b->name, sizeof(b->name), period_kind_name(kind));
    b->per = PER_SUBJECT;
    b->spec.kind = kind;
    (void)!text_copy(b->spec.timezone, sizeof(b->spec.timezone), "UTC");
    b->spec.anchor_day = 1;
    b->spec.week_start = 1;
    period_spec_normalize(&b->spec);
    b->limit_nanos = limit_nanos;
    return b;
}

static struct plan *
add_plan(struct fixture *f, const char *name, int64_t hold_nanos)
{
    struct plan *plan = &f->plans[f->policy.plan_count++];

    memset(plan, 0, sizeof(*plan));
    (void)!text_copy(plan->name, sizeof(plan->name), name);
    plan->hold.set = true;
    plan->hold.nanos = hold_nanos;
    return plan;
}

static void
open_store(struct fixture *f)
{
    CHECK_STATUS(STATUS_OK, store_open(&f->options, &f->store, &f->err), &f->err);
    if (f->store == NULL)
        abort(); /* nothing after this could mean anything */
}

/* A fresh store with the plan "pro": 1 dollar a month, holds of 5 cents. */
static struct fixture *
setup(void)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (f == NULL || !under_test->make(f))
        abort();
    f->policy.plans = f->plans;
    f->policy.routes = f->routes;
    add_budget(add_plan(f, "pro", 5 * CENT), PERIOD_MONTH, USD);
    f->options = (struct store_options){
        .url = f->url,
        .group = "",
        .policy = &f->policy,
        .hold_ttl_us = TTL,
        .idempotency_ttl_us = 32 * INT64_C(86400) * SECOND,
        .create = true,
    };
    buf_init(&f->reply, f->reply_bytes, sizeof(f->reply_bytes));
    open_store(f);
    return f;
}

static void
count_difference(void *context, const char *invariant, const char *text)
{
    (void)context;
    printf("verify: %s %s\n", invariant, text);
}

static int64_t
differences(struct fixture *f, int64_t now_us)
{
    struct verify_summary summary;

    CHECK_STATUS(STATUS_OK,
                 store_verify(f->store, now_us, count_difference, NULL, &summary, &f->err),
                 &f->err);
    return summary.differences;
}

static void
teardown(struct fixture *f)
{
    CHECK_INT("verify", 0, differences(f, NOON));
    store_close(f->store);
    under_test->remove(f);
    free(f);
}

/* ---- requests ------------------------------------------------------------------------------- */

static struct chain_names
names_of(const char *key, const char *subject, const char *organization)
{
    struct chain_names names;

    memset(&names, 0, sizeof(names));
    (void)!text_copy(names.key_id, sizeof(names.key_id), key);
    (void)!text_copy(names.subject, sizeof(names.subject), subject);
    (void)!text_copy(names.organization, sizeof(names.organization), organization);
    return names;
}

static bool
admit_names(struct fixture *f, const struct chain_names *names, const struct plan *plan,
            int64_t now_us)
{
    struct admission ask = { .names = names, .plan = plan, .verification = 1, .unique_id = "" };

    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, now_us, &f->verdict, &f->err), &f->err);
    return f->verdict.allow;
}

static bool
admit(struct fixture *f, const char *subject, int64_t now_us)
{
    struct chain_names names = names_of("ak_1", subject, "");

    return admit_names(f, &names, &f->plans[0], now_us);
}

static const char *
hold_text(const struct hold *hold, char out[PUBLIC_ID_SIZE])
{
    public_id_format("hld_", hold->id, hold->nonce, out);
    return out;
}

static void
write_reply(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    buf_add_format(out, "charge %lld of %lld %s", (long long)result->charge.id,
                   (long long)result->charge.amount_nanos,
                   result->hold_word != NULL ? result->hold_word : "-");
}
static const struct reply_writer writer = { write_reply, NULL };

static enum outcome
spend_hold(struct fixture *f, const char *hold_id, const char *subject, int64_t cost_nanos,
           int64_t now_us)
{
    struct spend spend = {
        .hold_id = hold_id, .subject = subject, .cost_nanos = cost_nanos, .token = "php"
    };

    CHECK_STATUS(
        STATUS_OK,
        store_spend(f->store, &spend, NULL, &writer, now_us, &f->result, &f->reply, &f->err),
        &f->err);
    return f->result.outcome;
}

static enum outcome
spend_as(struct fixture *f, const char *subject, int64_t cost_nanos, const char *key,
         int64_t now_us)
{
    struct spend spend = { .subject = subject, .cost_nanos = cost_nanos, .token = "php" };
    struct idempotency idempotency = { .scope = "php", .key = key };

    crypto_sha256(&cost_nanos, sizeof(cost_nanos), idempotency.fingerprint);
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, &idempotency, &writer, now_us, &f->result, &f->reply,
                             &f->err),
                 &f->err);
    return f->result.outcome;
}

/* The account's line of that kind, or an empty one. */
static struct budget_line
line_of(struct fixture *f, const char *account, enum period_kind kind, int64_t now_us)
{
    struct budget_line none;
    char parent[ACCOUNT_NAME_SIZE];

    memset(&none, 0, sizeof(none));
    none.spent_nanos = none.held_nanos = -1;
    if (store_account_load(f->store, account, now_us, &f->ledger, parent, &f->err) != STATUS_OK)
        return none;
    for (size_t i = 0; i < f->ledger.line_count; i++) {
        if (f->ledger.lines[i].spec.kind == kind)
            return f->ledger.lines[i];
    }
    return none;
}

/* ---- admission and settlement --------------------------------------------------------------- */

static void
test_first_sight_creates_the_accounts_and_admits(void)
{
    struct fixture *f = setup();
    struct budget_line line;

    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    CHECK_TRUE("hold", f->verdict.hold_placed);
    CHECK_INT("hold amount", 5 * CENT, f->verdict.hold.amount_nanos);
    CHECK_INT("remaining", 95 * CENT, f->verdict.remaining_nanos);
    line = line_of(f, "user_1", PERIOD_MONTH, NOON);
    CHECK_INT("held", 5 * CENT, line.held_nanos);
    CHECK_INT("spent", 0, line.spent_nanos);
    CHECK_INT("start", MONTH_START, line.period.start_us);
    CHECK_STRING("plan", "pro", f->ledger.accounts[0].plan);
    CHECK_INT("live holds", 1, f->ledger.accounts[0].live_holds);
    teardown(f);
}

static void
test_a_budget_of_the_last_plan_is_shown_before_it_counts(void)
{
    struct fixture *f = setup();
    struct plan *day = add_plan(f, "day", 0);
    const struct actor actor = { "operator", NULL };

    add_budget(day, PERIOD_DAY, 7 * CENT);
    add_budget(day, PERIOD_YEAR, USD)->per = PER_ORG;
    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK,
                 store_account_change(f->store, "user_1", ACCOUNT_PLAN, 0, "day", &actor, NOON,
                                      &f->result, &f->err),
                 &f->err);
    CHECK_INT("limit", 7 * CENT, line_of(f, "user_1", PERIOD_DAY, NOON).base_limit_nanos);
    CHECK_INT("not the organization's", -1, line_of(f, "user_1", PERIOD_YEAR, NOON).spent_nanos);
    CHECK_INT("not the key's", -1, line_of(f, "key:ak_1", PERIOD_DAY, NOON).spent_nanos);
    teardown(f);
}

static void
test_exactly_as_many_holds_as_fit_pass(void)
{
    struct fixture *f = setup();

    for (int i = 0; i < 20; i++)
        CHECK_TRUE("allow", admit(f, "user_1", NOON));
    CHECK_FALSE("21st", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_BUDGET, f->verdict.reason);
    CHECK_STRING("account", "user_1", f->verdict.account);
    CHECK_INT("held", USD, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_settling_returns_the_hold_and_counts_the_cost(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    struct budget_line line;

    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("outcome", OUTCOME_DONE, spend_hold(f, id, NULL, 3 * CENT, NOON + SECOND));
    CHECK_STRING("word", "settled", f->result.hold_word);
    CHECK_STRING("account", "user_1", f->result.charge.account);
    CHECK_STRING("key", "ak_1", f->result.charge.key_id);
    line = line_of(f, "user_1", PERIOD_MONTH, NOON);
    CHECK_INT("held", 0, line.held_nanos);
    CHECK_INT("spent", 3 * CENT, line.spent_nanos);
    CHECK_INT("live holds", 0, f->ledger.accounts[0].live_holds);
    teardown(f);
}

static void
test_settling_twice_answers_the_same_bytes_and_counts_once(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE], first[256];

    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("first", OUTCOME_DONE, spend_hold(f, id, NULL, 3 * CENT, NOON));
    (void)!text_copy(first, sizeof(first), buf_text(&f->reply));
    CHECK_INT("again", OUTCOME_REPLAYED, spend_hold(f, id, NULL, 3 * CENT, NOON + SECOND));
    CHECK_STRING("reply", first, buf_text(&f->reply));
    CHECK_INT("other amount", OUTCOME_HOLD_SETTLED,
              spend_hold(f, id, NULL, 4 * CENT, NOON + SECOND));
    CHECK_INT("spent", 3 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_spend_without_a_hold_counts_once_per_key(void)
{
    struct fixture *f = setup();
    char first[256];

    CHECK_INT("unknown", OUTCOME_UNKNOWN_ACCOUNT, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    CHECK_INT("first", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    (void)!text_copy(first, sizeof(first), buf_text(&f->reply));
    CHECK_INT("again", OUTCOME_REPLAYED, spend_as(f, "user_1", CENT, "a", NOON + SECOND));
    CHECK_STRING("reply", first, buf_text(&f->reply));
    CHECK_INT("reuse", OUTCOME_KEY_REUSED, spend_as(f, "user_1", 2 * CENT, "a", NOON));
    CHECK_INT("no key", OUTCOME_DONE, spend_as(f, "user_1", CENT, NULL, NOON));
    CHECK_INT("spent", 2 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

/* ---- budgets -------------------------------------------------------------------------------- */

static const struct actor actor = { "ops", "because" };

static enum outcome
set_budget(struct fixture *f, const char *account, enum period_kind kind, int64_t limit_nanos)
{
    CHECK_STATUS(STATUS_OK,
                 store_budget_set(f->store, account, kind, limit_nanos, NULL, &actor, NOON,
                                  &f->result, &f->err),
                 &f->err);
    return f->result.outcome;
}

static enum outcome
change(struct fixture *f, const char *account, enum account_change what, int64_t until_us,
       const char *text)
{
    CHECK_STATUS(STATUS_OK,
                 store_account_change(f->store, account, what, until_us, text, &actor, NOON,
                                      &f->result, &f->err),
                 &f->err);
    return f->result.outcome;
}

static bool
take_charge(void *context, const struct charge *charge)
{
    *(struct charge *)context = *charge;
    return true;
}

static bool
count_overrun(void *context, const struct row_value *values)
{
    int *count = context;

    *count += values[1].number == EVENT_OVERRUN;
    return true;
}

static int
overruns_told(struct fixture *f)
{
    const struct row_table *table = row_tables;
    int count = 0;

    while (strcmp(table->name, "event") != 0)
        table++;
    CHECK_STRING("column", "kind", table->columns[1].name);
    CHECK_STATUS(STATUS_OK, store_rows_begin(f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, store_rows_visit(f->store, table, count_overrun, &count, &f->err),
                 &f->err);
    store_rows_end(f->store);
    return count;
}

/* What was spent elsewhere before counts in the periods of then: in this month, but not today. */
static void
test_an_earlier_spend_counts_in_the_periods_of_then(void)
{
    struct fixture *f = setup();
    struct spend spend = {
        .subject = "user_1", .cost_nanos = 2 * USD, .at_us = MONTH_START, .token = "import"
    };
    struct charge_filter filter = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };
    struct charge charge;

    add_budget(&f->plans[0], PERIOD_DAY, 3 * USD);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(f->store, "user_1", ACCOUNT_MAKE, 0, "pro", &actor, NOON,
                                      &f->result, &f->err),
                 &f->err);
    CHECK_INT("made", OUTCOME_DONE, f->result.outcome);
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("outcome", OUTCOME_DONE, f->result.outcome);
    CHECK_INT("month", 2 * USD, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_STRING("plan", "pro", f->ledger.accounts[0].plan);
    CHECK_INT("today", 0, line_of(f, "user_1", PERIOD_DAY, NOON).spent_nanos);
    CHECK_INT("that day", 2 * USD, line_of(f, "user_1", PERIOD_DAY, MONTH_START).spent_nanos);
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &filter, take_charge, &charge, &f->err),
                 &f->err);
    CHECK_INT("at", MONTH_START, charge.at_us);
    CHECK_INT("posted", NOON, charge.created_us);
    CHECK_FALSE("the month is over its limit", admit(f, "user_1", NOON));
    CHECK_INT("one event: the month's", 1, overruns_told(f));
    spend.at_us = MONTH_START - 1; /* of a month that is over: no news */
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("this month", 2 * USD, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_INT("last month", 2 * USD,
              line_of(f, "user_1", PERIOD_MONTH, MONTH_START - 1).spent_nanos);
    CHECK_INT("no other event", 1, overruns_told(f));
    teardown(f);
}

static void
test_a_refused_first_sight_leaves_an_account_that_can_be_topped_up(void)
{
    struct fixture *f = setup();
    struct credit_request credit = { .account = "user_1", .amount_nanos = USD };

    f->plans[0].budgets[0].spec.kind = PERIOD_NONE;
    f->plans[0].budgets[0].limit_nanos = 0;
    CHECK_FALSE("prepaid", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_BUDGET, f->verdict.reason);
    CHECK_STATUS(STATUS_OK,
                 store_credit(f->store, &credit, &actor, NULL, &writer, NOON, &f->result, &f->reply,
                              &f->err),
                 &f->err);
    CHECK_INT("credit", OUTCOME_DONE, f->result.outcome);
    CHECK_TRUE("paid", admit(f, "user_1", NOON));
    CHECK_INT("limit", USD, ledger_limit(&(struct budget_line){ .credit_nanos = USD }));
    CHECK_INT("stored limit", USD, f->verdict.limit_nanos);
    teardown(f);
}

static void
test_a_line_gained_later_starts_at_its_journal_with_live_holds(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    struct budget_line line;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_TRUE("second", admit(f, "user_1", NOON));
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 3 * CENT, NOON));
    CHECK_INT("all", OUTCOME_DONE, set_budget(f, "all", PERIOD_DAY, USD));
    line = line_of(f, "all", PERIOD_DAY, NOON);
    CHECK_INT("spent", 3 * CENT, line.spent_nanos);
    CHECK_INT("held", 5 * CENT, line.held_nanos);
    add_budget(&f->plans[0], PERIOD_YEAR, USD);
    CHECK_TRUE("third", admit(f, "user_1", NOON));
    line = line_of(f, "user_1", PERIOD_YEAR, NOON);
    CHECK_INT("year spent", 3 * CENT, line.spent_nanos);
    CHECK_INT("year held", 10 * CENT, line.held_nanos);
    teardown(f);
}

/* However far: what was placed and charged before the line came is later than its birth. */
static void
test_a_line_gained_after_the_clock_went_back_counts_what_is_later(void)
{
    struct fixture *f = setup();
    const int64_t ahead = NOON + 5 * HOUR, further = NOON + 7 * HOUR;
    char id[PUBLIC_ID_SIZE];
    struct budget_line line;

    CHECK_TRUE("seen", admit(f, "user_1", further));
    CHECK_INT("charge", OUTCOME_DONE, spend_as(f, "user_1", 2 * CENT, "k1", further + HOUR));
    CHECK_TRUE("first", admit(f, "user_1", ahead));
    hold_text(&f->verdict.hold, id);
    CHECK_TRUE("second", admit(f, "user_1", ahead));
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 3 * CENT, ahead));
    CHECK_TRUE("back", admit(f, "user_1", NOON));
    CHECK_INT("all", OUTCOME_DONE, set_budget(f, "all", PERIOD_HOUR, USD)); /* at noon */
    add_budget(&f->plans[0], PERIOD_HOUR, 16 * CENT);
    CHECK_TRUE("the plan's", admit(f, "user_1", NOON));
    CHECK_INT("verify", 0, differences(f, NOON));
    CHECK_INT("held now", 10 * CENT, line_of(f, "all", PERIOD_HOUR, NOON).held_nanos);
    CHECK_INT("held now", 10 * CENT, line_of(f, "user_1", PERIOD_HOUR, NOON).held_nanos);
    line = line_of(f, "all", PERIOD_HOUR, ahead - HOUR);
    CHECK_INT("nothing there", 0, line.spent_nanos + line.held_nanos);
    for (int i = 0; i < 2; i++) {
        line = line_of(f, i == 0 ? "all" : "user_1", PERIOD_HOUR, ahead);
        CHECK_INT("spent ahead", 3 * CENT, line.spent_nanos);
        CHECK_INT("held ahead", 5 * CENT, line.held_nanos);
    }
    CHECK_TRUE("8 of 16 are left there", admit(f, "user_1", ahead));
    CHECK_FALSE("and then 3", admit(f, "user_1", ahead));
    line = line_of(f, "all", PERIOD_HOUR, further + HOUR);
    CHECK_INT("all, further ahead", 2 * CENT, line.spent_nanos);
    line = line_of(f, "user_1", PERIOD_HOUR, further + HOUR);
    CHECK_INT("further ahead", 2 * CENT, line.spent_nanos);
    CHECK_INT("before the birth", OUTCOME_DONE, spend_as(f, "user_1", CENT, "k2", NOON - 3 * HOUR));
    line = line_of(f, "all", PERIOD_HOUR, NOON - 3 * HOUR);
    CHECK_INT("counts too", CENT, line.spent_nanos);
    teardown(f);
}

/* The post of a hold that was placed later than now, by a clock that was ahead. */
static void
test_a_line_gained_by_a_post_for_later_counts_from_its_birth(void)
{
    struct fixture *f = setup();
    const int64_t between = NOON + 2 * HOUR, ahead = NOON + 5 * HOUR;
    char id[PUBLIC_ID_SIZE];

    CHECK_TRUE("hold", admit(f, "user_1", ahead));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("charge", OUTCOME_DONE, spend_as(f, "user_1", 2 * CENT, "k1", between));
    CHECK_INT("charge", OUTCOME_DONE, spend_as(f, "user_1", 3 * CENT, "k2", ahead));
    add_budget(&f->plans[0], PERIOD_HOUR, 16 * CENT);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 4 * CENT, NOON));
    CHECK_INT("verify", 0, differences(f, NOON));
    CHECK_INT("between", 2 * CENT, line_of(f, "user_1", PERIOD_HOUR, between).spent_nanos);
    CHECK_INT("ahead", 7 * CENT, line_of(f, "user_1", PERIOD_HOUR, ahead).spent_nanos);
    teardown(f);
}

static void
test_a_new_period_is_a_new_row_and_a_late_settlement_belongs_to_the_old_one(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    int64_t before = NEXT_MONTH - SECOND, after = NEXT_MONTH + SECOND;

    CHECK_TRUE("hold", admit(f, "user_1", before));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("new month", 0, line_of(f, "user_1", PERIOD_MONTH, after).held_nanos);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 4 * CENT, after));
    CHECK_INT("new month", 0, line_of(f, "user_1", PERIOD_MONTH, after).spent_nanos);
    CHECK_INT("old month", 4 * CENT, line_of(f, "user_1", PERIOD_MONTH, before).spent_nanos);
    CHECK_INT("old held", 0, line_of(f, "user_1", PERIOD_MONTH, before).held_nanos);
    teardown(f);
}

static void
test_every_account_of_the_chain_is_counted_and_the_tightest_wins(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "org_1");

    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_INT("parent", OUTCOME_DONE, change(f, "user_1", ACCOUNT_PARENT, 0, "group:west"));
    CHECK_INT("group", OUTCOME_DONE, set_budget(f, "group:west", PERIOD_MONTH, 10 * CENT));
    CHECK_INT("org", OUTCOME_DONE, set_budget(f, "org_1", PERIOD_MONTH, 50 * CENT));
    CHECK_TRUE("second", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_TRUE("third", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_FALSE("fourth", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STRING("whose", "group:west", f->verdict.account);
    CHECK_FALSE("own", f->verdict.own_account);
    CHECK_INT("group held", 10 * CENT, line_of(f, "group:west", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("org held", 15 * CENT, line_of(f, "org_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_a_changed_parent_acts_on_the_next_request_of_every_process(void)
{
    struct fixture *f = setup();
    struct store *other;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK, store_open(&f->options, &other, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(other, "user_1", ACCOUNT_PARENT, 0, "group:west", &actor,
                                      NOON, &f->result, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(other, "group:west", ACCOUNT_FREEZE, 0, NULL, &actor, NOON,
                                      &f->result, &f->err),
                 &f->err);
    store_close(other);
    CHECK_FALSE("frozen above", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_FROZEN, f->verdict.reason);
    CHECK_STRING("who", "group:west", f->verdict.account);
    CHECK_INT("none", OUTCOME_DONE, change(f, "user_1", ACCOUNT_PARENT, 0, ""));
    CHECK_TRUE("free", admit(f, "user_1", NOON));
    teardown(f);
}

static void
test_parents_neither_form_a_circle_nor_pass_four(void)
{
    struct fixture *f = setup();
    const char *up[] = { "user_1", "group:a", "group:b", "group:c", "group:d", "group:e" };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    for (int i = 0; i < 4; i++)
        CHECK_INT("parent", OUTCOME_DONE, change(f, up[i], ACCOUNT_PARENT, 0, up[i + 1]));
    CHECK_TRUE("four", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_CONFLICT,
                 store_account_change(f->store, "group:d", ACCOUNT_PARENT, 0, "user_1", &actor,
                                      NOON, &f->result, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_CONFLICT,
                 store_account_change(f->store, "user_1", ACCOUNT_PARENT, 0, "user_1", &actor, NOON,
                                      &f->result, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_CONFLICT,
                 store_account_change(f->store, "group:d", ACCOUNT_PARENT, 0, "group:e", &actor,
                                      NOON, &f->result, &f->err),
                 &f->err);
    CHECK_TRUE("still", admit(f, "user_1", NOON));
    teardown(f);
}

static void
test_a_parent_from_a_claim_counts_beside_the_stored_one(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("parent", OUTCOME_DONE, change(f, "user_1", ACCOUNT_PARENT, 0, "group:stored"));
    (void)!text_copy(names.parent, sizeof(names.parent), "group:claim");
    CHECK_TRUE("claim", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_INT("stored", OUTCOME_DONE, set_budget(f, "group:stored", PERIOD_MONTH, USD));
    CHECK_INT("claimed", OUTCOME_DONE, set_budget(f, "group:claim", PERIOD_MONTH, USD));
    CHECK_TRUE("again", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_INT("stored held", 10 * CENT, line_of(f, "group:stored", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("claim held", 10 * CENT, line_of(f, "group:claim", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_more_than_four_parents_in_all_are_no_allow(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    const char *up[] = { "user_1", "group:a", "group:b", "group:c", "group:d" };
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = ""
    };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    for (int i = 0; i < 4; i++)
        CHECK_INT("parent", OUTCOME_DONE, change(f, up[i], ACCOUNT_PARENT, 0, up[i + 1]));
    (void)!text_copy(names.parent, sizeof(names.parent), "group:claim");
    CHECK_STATUS(STATUS_OVERFLOW, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("no allow", f->verdict.allow);
    CHECK_STRING("what to do",
                 "store: key:ak_1 has more than 4 parents, one from a claim included; shorten the "
                 "chain with `spendgate account parent`",
                 f->err.message);
    (void)!text_copy(names.parent, sizeof(names.parent), "group:c"); /* one of the four */
    CHECK_TRUE("the same one twice", admit_names(f, &names, &f->plans[0], NOON));
    teardown(f);
}

static void
test_names_that_cannot_be_are_no_allow(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("", "", "");
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = ""
    };
    char parent[ACCOUNT_NAME_SIZE];

    CHECK_STATUS(STATUS_INVALID, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("nobody", f->verdict.allow);
    names = names_of("ak_1", "user 1", "");
    CHECK_STATUS(STATUS_INVALID, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("a space", f->verdict.allow);
    CHECK_INT("a space", OUTCOME_UNKNOWN_HOLD, spend_hold(f, "hld_x", NULL, CENT, NOON));
    CHECK_INT("a space", OUTCOME_UNKNOWN_ACCOUNT, spend_hold(f, "hld_x", "user 1", CENT, NOON));
    CHECK_STATUS(STATUS_NOT_FOUND,
                 store_account_load(f->store, "user 1", NOON, &f->ledger, parent, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_NOT_FOUND,
                 store_account_load(f->store, "user_1", NOON, &f->ledger, parent, &f->err),
                 &f->err);
    names = names_of("ak_1", "", "");
    CHECK_TRUE("a key alone", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_INT("it pays", 1,
              line_of(f, "key:ak_1", PERIOD_MONTH, NOON).account == 0
                  ? f->ledger.accounts[0].live_holds
                  : -1);
    teardown(f);
}

static void
test_two_keys_of_one_customer_keep_their_own_plans_and_share_the_counters(void)
{
    struct fixture *f = setup();
    struct plan *small = add_plan(f, "small", 5 * CENT);
    struct chain_names one = names_of("ak_1", "user_1", ""), two = names_of("ak_2", "user_1", "");

    add_budget(small, PERIOD_MONTH, 10 * CENT);
    CHECK_TRUE("small", admit_names(f, &two, small, NOON));
    CHECK_TRUE("pro", admit_names(f, &one, &f->plans[0], NOON));
    CHECK_FALSE("small is full", admit_names(f, &two, small, NOON));
    CHECK_TRUE("pro is not", admit_names(f, &one, &f->plans[0], NOON));
    CHECK_INT("held", 15 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    CHECK_STRING("last seen", "pro", f->ledger.accounts[0].plan);
    teardown(f);
}

static void
test_a_hand_set_limit_wins_until_it_is_cleared(void)
{
    struct fixture *f = setup();
    enum enforce warn = ENFORCE_WARN;

    CHECK_INT("unknown", OUTCOME_UNKNOWN_ACCOUNT, set_budget(f, "user_1", PERIOD_MONTH, USD));
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("set", OUTCOME_DONE, set_budget(f, "user_1", PERIOD_MONTH, 5 * CENT));
    CHECK_FALSE("by hand", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK,
                 store_budget_set(f->store, "user_1", PERIOD_MONTH, 5 * CENT, &warn, &actor, NOON,
                                  &f->result, &f->err),
                 &f->err);
    CHECK_TRUE("warns", admit(f, "user_1", NOON));
    CHECK_STRING("warn", "user_1 month", f->verdict.warn);
    CHECK_STATUS(
        STATUS_OK,
        store_budget_clear(f->store, "user_1", PERIOD_MONTH, &actor, NOON, &f->result, &f->err),
        &f->err);
    CHECK_INT("cleared", OUTCOME_DONE, f->result.outcome);
    CHECK_TRUE("plan", admit(f, "user_1", NOON));
    CHECK_INT("limit", USD, f->verdict.limit_nanos);
    CHECK_STATUS(
        STATUS_OK,
        store_budget_clear(f->store, "user_1", PERIOD_HOUR, &actor, NOON, &f->result, &f->err),
        &f->err);
    CHECK_INT("no hour", OUTCOME_UNKNOWN_BUDGET, f->result.outcome);
    teardown(f);
}

static void
test_a_boost_ends_by_itself_and_a_top_up_with_its_period(void)
{
    struct fixture *f = setup();
    struct credit_request request = { .account = "user_1", .amount_nanos = 2 * USD };
    int64_t later = NEXT_MONTH + SECOND;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK,
                 store_credit(f->store, &request, &actor, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    request = (struct credit_request){
        .account = "user_1", .amount_nanos = USD, .expires_us = later + SECOND, .boost = true
    };
    CHECK_STATUS(STATUS_OK,
                 store_credit(f->store, &request, &actor, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_TRUE("both", admit(f, "user_1", NOON));
    CHECK_INT("both", 4 * USD, f->verdict.limit_nanos);
    CHECK_TRUE("boost", admit(f, "user_1", later));
    CHECK_INT("boost", 2 * USD, f->verdict.limit_nanos);
    CHECK_TRUE("over", admit(f, "user_1", later + SECOND));
    CHECK_INT("over", USD, f->verdict.limit_nanos);
    request.expires_us = 0;
    CHECK_STATUS(STATUS_INVALID,
                 store_credit(f->store, &request, &actor, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    teardown(f);
}

static void
test_a_credit_names_its_budget_where_there_are_several(void)
{
    struct fixture *f = setup();
    struct credit_request request = { .account = "user_1", .amount_nanos = USD };

    add_budget(&f->plans[0], PERIOD_DAY, USD);
    CHECK_STATUS(STATUS_OK,
                 store_credit(f->store, &request, &actor, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_INT("unknown", OUTCOME_UNKNOWN_ACCOUNT, f->result.outcome);
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK,
                 store_credit(f->store, &request, &actor, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_INT("which", OUTCOME_UNKNOWN_BUDGET, f->result.outcome);
    request.period = PERIOD_DAY;
    CHECK_STATUS(STATUS_OK,
                 store_credit(f->store, &request, &actor, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_INT("day", OUTCOME_DONE, f->result.outcome);
    CHECK_INT("day", USD, line_of(f, "user_1", PERIOD_DAY, NOON).credit_nanos);
    CHECK_INT("month", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).credit_nanos);
    teardown(f);
}

static void
test_a_credit_that_is_over_or_too_large_is_refused(void)
{
    struct fixture *f = setup();
    struct credit_request request = { .account = "user_1",
                                      .amount_nanos = USD,
                                      .expires_us = NOON };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_INVALID,
                 store_credit(f->store, &request, &actor, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_STRING("why", "a credit must end in the future", f->err.message);
    request = (struct credit_request){ .account = "user_1", .amount_nanos = MONEY_MAX_NANOS };
    CHECK_STATUS(STATUS_OK,
                 store_credit(f->store, &request, &actor, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_OVERFLOW,
                 store_credit(f->store, &request, &actor, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_INT("one", MONEY_MAX_NANOS, line_of(f, "user_1", PERIOD_MONTH, NOON).credit_nanos);
    teardown(f);
}

static void
test_a_credit_may_end_before_its_period(void)
{
    struct fixture *f = setup();
    struct credit_request request = { .account = "user_1",
                                      .amount_nanos = USD,
                                      .expires_us = NOON + SECOND };
    struct idempotency key = { .scope = "ops", .key = "c1" };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(STATUS_OK,
                     store_credit(f->store, &request, &actor, &key, &writer, NOON, &f->result,
                                  &f->reply, &f->err),
                     &f->err);
        CHECK_INT("once", i == 0 ? OUTCOME_DONE : OUTCOME_REPLAYED, f->result.outcome);
    }
    CHECK_TRUE("with it", admit(f, "user_1", NOON));
    CHECK_INT("with it", 2 * USD, f->verdict.limit_nanos);
    CHECK_TRUE("after it", admit(f, "user_1", NOON + SECOND));
    CHECK_INT("after it", USD, f->verdict.limit_nanos);
    teardown(f);
}

static void
test_an_overrun_is_carried_into_the_next_period(void)
{
    struct fixture *f = setup();

    f->plans[0].budgets[0].overage = OVERAGE_CARRY;
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("spend", OUTCOME_DONE, spend_as(f, "user_1", 3 * USD / 2, NULL, NOON));
    CHECK_TRUE("over", f->result.effect.over_budget);
    CHECK_INT("overrun", USD / 2, f->result.effect.overrun_nanos);
    CHECK_TRUE("next month", admit(f, "user_1", NEXT_MONTH));
    CHECK_INT("limit", USD / 2, f->verdict.limit_nanos);
    CHECK_TRUE("paid off", admit(f, "user_1", NEXT_MONTH + 31 * INT64_C(86400) * SECOND));
    CHECK_INT("limit", USD, f->verdict.limit_nanos);
    teardown(f);
}

/* ---- accounts ------------------------------------------------------------------------------- */

static void
test_i9_frozen_revoked_and_expired_are_refused_on_the_next_request(void)
{
    struct fixture *f = setup();

    f->plans[0].expires_in_us = 100 * SECOND;
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("freeze", OUTCOME_DONE, change(f, "user_1", ACCOUNT_FREEZE, 0, NULL));
    CHECK_FALSE("frozen", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_FROZEN, f->verdict.reason);
    CHECK_INT("unfreeze", OUTCOME_DONE, change(f, "user_1", ACCOUNT_UNFREEZE, 0, NULL));
    CHECK_INT("revoke", OUTCOME_DONE, change(f, "key:ak_1", ACCOUNT_REVOKE, 0, NULL));
    CHECK_FALSE("revoked", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_REVOKED, f->verdict.reason);
    CHECK_INT("unrevoke", OUTCOME_DONE, change(f, "key:ak_1", ACCOUNT_UNREVOKE, 0, NULL));
    CHECK_TRUE("again", admit(f, "user_1", NOON + 99 * SECOND));
    CHECK_FALSE("expired", admit(f, "user_1", NOON + 100 * SECOND));
    CHECK_INT("reason", REASON_EXPIRED, f->verdict.reason);
    CHECK_INT("since", NOON + 100 * SECOND, f->verdict.expired_us);
    CHECK_INT("renew", OUTCOME_DONE, change(f, "user_1", ACCOUNT_RENEW, NOON + 200 * SECOND, NULL));
    CHECK_TRUE("renewed", admit(f, "user_1", NOON + 100 * SECOND));
    CHECK_INT("made", OUTCOME_DONE, change(f, "key:ak_9", ACCOUNT_REVOKE, 0, NULL));
    CHECK_INT("not made", OUTCOME_UNKNOWN_ACCOUNT,
              change(f, "key:ak_8", ACCOUNT_UNREVOKE, 0, NULL));
    teardown(f);
}

static void
test_reverify_asks_for_a_newer_verification(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = { .names = &names, .plan = &f->plans[0], .unique_id = "" };

    CHECK_STATUS(STATUS_OK, store_verification_number(f->store, &ask.verification, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    CHECK_INT("reverify", OUTCOME_DONE, change(f, "user_1", ACCOUNT_REVERIFY, 0, NULL));
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("old", f->verdict.allow);
    CHECK_INT("reason", REASON_REVERIFY, f->verdict.reason);
    CHECK_STATUS(STATUS_OK, store_verification_number(f->store, &ask.verification, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("new", f->verdict.allow);
    teardown(f);
}

/* ---- holds ---------------------------------------------------------------------------------- */

static void
test_i5_an_expired_hold_frees_its_room_and_its_late_post_is_recorded_once(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    int64_t late = NOON + TTL;

    f->plans[0].budgets[0].limit_nanos = 5 * CENT;
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_FALSE("full", admit(f, "user_1", late - 1));
    CHECK_TRUE("free", admit(f, "user_1", late));
    CHECK_INT("late", OUTCOME_DONE, spend_hold(f, id, NULL, 2 * CENT, late));
    CHECK_STRING("word", "expired", f->result.hold_word);
    CHECK_TRUE("kept", f->result.hold.state == HOLD_EXPIRED);
    CHECK_INT("again", OUTCOME_REPLAYED, spend_hold(f, id, NULL, 2 * CENT, late));
    CHECK_INT("other", OUTCOME_HOLD_SETTLED, spend_hold(f, id, NULL, CENT, late));
    CHECK_INT("spent", 2 * CENT, line_of(f, "user_1", PERIOD_MONTH, late).spent_nanos);
    teardown(f);
}

static void
test_a_post_after_the_time_is_expired_also_when_nobody_looked_before(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("late", OUTCOME_DONE, spend_hold(f, id, NULL, 2 * CENT, NOON + TTL));
    CHECK_STRING("word", "expired", f->result.hold_word);
    teardown(f);
}

static void
test_on_expiry_charge_charges_once_and_a_late_post_corrects_it(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    int64_t late = NOON + TTL;

    store_close(f->store);
    f->options.charge_on_expiry = true;
    open_store(f);
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("charged", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, late).spent_nanos);
    CHECK_INT("held", 0, line_of(f, "user_1", PERIOD_MONTH, late).held_nanos);
    CHECK_INT("verify", 0, differences(f, late));
    CHECK_INT("late", OUTCOME_DONE, spend_hold(f, id, NULL, 2 * CENT, late));
    CHECK_STRING("word", "expired", f->result.hold_word);
    CHECK_INT("corrected", 2 * CENT, line_of(f, "user_1", PERIOD_MONTH, late).spent_nanos);
    CHECK_INT("again", OUTCOME_REPLAYED, spend_hold(f, id, NULL, 2 * CENT, late));
    teardown(f);
}

static bool
first_charge(void *context, const struct charge *charge)
{
    *(struct charge *)context = *charge;
    return false;
}

static void
test_a_refund_of_what_an_expiry_charged_leaves_less_for_the_late_post(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE], charge_id[PUBLIC_ID_SIZE];
    int64_t late = NOON + TTL;
    struct charge charge;
    struct charge_filter any = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };

    store_close(f->store);
    f->options.charge_on_expiry = true;
    open_store(f);
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("charged", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, late).spent_nanos);
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &any, first_charge, &charge, &f->err), &f->err);
    public_id_format("chg_", charge.id, charge.nonce, charge_id);
    CHECK_STATUS(STATUS_OK,
                 store_refund(f->store, charge_id, 3 * CENT, "ops", NULL, NULL, &writer, late,
                              &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("refund", OUTCOME_DONE, f->result.outcome);
    CHECK_INT("verify", 0, differences(f, late));
    CHECK_INT("late", OUTCOME_DONE, spend_hold(f, id, NULL, 4 * CENT, late));
    CHECK_INT("spent", 4 * CENT, line_of(f, "user_1", PERIOD_MONTH, late).spent_nanos);
    teardown(f);
}

static enum outcome
extend(struct fixture *f, const char *id, int64_t nanos, int64_t now_us)
{
    CHECK_STATUS(STATUS_OK,
                 store_hold_extend(f->store, id, nanos, NULL, &writer, now_us, &f->result,
                                   &f->reply, &f->err),
                 &f->err);
    return f->result.outcome;
}

static enum outcome
void_hold(struct fixture *f, const char *id, int64_t now_us)
{
    CHECK_STATUS(
        STATUS_OK,
        store_hold_void(f->store, id, NULL, &writer, now_us, &f->result, &f->reply, &f->err),
        &f->err);
    return f->result.outcome;
}

static void
test_a_heartbeat_keeps_a_hold_and_a_raise_must_fit(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    f->plans[0].budgets[0].limit_nanos = 8 * CENT;
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("heartbeat", OUTCOME_DONE, extend(f, id, 0, NOON + TTL - 1));
    CHECK_INT("expires", NOON + 2 * TTL - 1, f->result.hold.expires_us);
    CHECK_INT("raise", OUTCOME_DONE, extend(f, id, 3 * CENT, NOON + TTL));
    CHECK_INT("held", 8 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON + TTL).held_nanos);
    CHECK_INT("too much", OUTCOME_DENIED, extend(f, id, 1, NOON + TTL));
    CHECK_INT("why", REASON_BUDGET, f->result.verdict.reason);
    CHECK_INT("unknown", OUTCOME_UNKNOWN_HOLD, extend(f, "hld_000000000009000000000009", 1, NOON));
    CHECK_INT("malformed", OUTCOME_UNKNOWN_HOLD, extend(f, "nonsense", 1, NOON));
    CHECK_STATUS(
        STATUS_INVALID,
        store_hold_extend(f->store, id, -1, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    teardown(f);
}

static void
test_extending_an_expired_hold_is_an_admission_again(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    int64_t later = NEXT_MONTH + SECOND;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("extend", OUTCOME_DONE, extend(f, id, CENT, later));
    CHECK_INT("old", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("new", 6 * CENT, line_of(f, "user_1", PERIOD_MONTH, later).held_nanos);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 6 * CENT, later));
    CHECK_STRING("word", "settled", f->result.hold_word);
    CHECK_INT("new", 6 * CENT, line_of(f, "user_1", PERIOD_MONTH, later).spent_nanos);
    CHECK_INT("extend settled", OUTCOME_HOLD_SETTLED, extend(f, id, CENT, later));
    teardown(f);
}

static void
test_a_voided_hold_gives_its_room_back_and_refuses_a_post(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("void", OUTCOME_DONE, void_hold(f, id, NOON));
    CHECK_INT("twice", OUTCOME_DONE, void_hold(f, id, NOON));
    CHECK_INT("held", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("post", OUTCOME_HOLD_VOIDED, spend_hold(f, id, NULL, CENT, NOON));
    CHECK_INT("extend", OUTCOME_HOLD_VOIDED, extend(f, id, CENT, NOON));
    CHECK_TRUE("second", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, NOON));
    CHECK_INT("void settled", OUTCOME_HOLD_SETTLED, void_hold(f, id, NOON));
    teardown(f);
}

static void
test_a_hold_outside_a_request_is_an_admission_with_its_own_reply(void)
{
    struct fixture *f = setup();
    struct hold_request request = { .subject = "user_1",
                                    .amount_nanos = 60 * CENT,
                                    .route = "/queue" };
    struct idempotency key = { .scope = "php", .key = "job-1" };
    char first[256];

    CHECK_STATUS(
        STATUS_OK,
        store_hold_place(f->store, &request, &key, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("unknown", OUTCOME_UNKNOWN_ACCOUNT, f->result.outcome);
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(
        STATUS_OK,
        store_hold_place(f->store, &request, &key, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("placed", OUTCOME_DONE, f->result.outcome);
    CHECK_STRING("route", "/queue", f->result.hold.route);
    (void)!text_copy(first, sizeof(first), buf_text(&f->reply));
    CHECK_STATUS(
        STATUS_OK,
        store_hold_place(f->store, &request, &key, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("again", OUTCOME_REPLAYED, f->result.outcome);
    CHECK_STRING("reply", first, buf_text(&f->reply));
    key.key = "job-2";
    CHECK_STATUS(
        STATUS_OK,
        store_hold_place(f->store, &request, &key, &writer, NOON, &f->result, &f->reply, &f->err),
        &f->err);
    CHECK_INT("too much", OUTCOME_DENIED, f->result.outcome);
    CHECK_INT("why", REASON_BUDGET, f->result.verdict.reason);
    CHECK_INT("held", 65 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_an_unknown_hold_with_a_subject_is_recorded_once(void)
{
    struct fixture *f = setup();
    const char *lost = "hld_0000000000ff0123456789ab";
    struct charge charge;
    struct charge_filter any = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };

    CHECK_INT("no subject", OUTCOME_UNKNOWN_HOLD, spend_hold(f, lost, NULL, CENT, NOON));
    CHECK_INT("first", OUTCOME_DONE, spend_hold(f, lost, "user_lost", CENT, NOON));
    CHECK_STRING("word", "unknown", f->result.hold_word);
    CHECK_INT("again", OUTCOME_REPLAYED, spend_hold(f, lost, "user_lost", CENT, NOON));
    CHECK_INT("other", OUTCOME_HOLD_SETTLED, spend_hold(f, lost, "user_lost", 2 * CENT, NOON));
    CHECK_INT("malformed", OUTCOME_DONE, spend_hold(f, "what-is-this", "user_lost", CENT, NOON));
    CHECK_INT("empty", OUTCOME_UNKNOWN_HOLD, spend_hold(f, "", "user_lost", CENT, NOON));
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &any, first_charge, &charge, &f->err), &f->err);
    CHECK_STRING("hold", "what-is-this", charge.hold_id);
    CHECK_STRING("account", "user_lost", charge.account);
    CHECK_INT("all", OUTCOME_DONE, set_budget(f, "user_lost", PERIOD_MONTH, USD));
    CHECK_INT("spent", 2 * CENT, line_of(f, "user_lost", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_concurrency_counts_live_holds_and_frees_itself(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    f->plans[0].concurrency = 2;
    f->plans[0].hold.nanos = 0;
    CHECK_TRUE("one", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_TRUE("placed", f->verdict.hold_placed);
    CHECK_TRUE("two", admit(f, "user_1", NOON));
    CHECK_FALSE("three", admit(f, "user_1", NOON));
    CHECK_INT("reason", REASON_CONCURRENCY, f->verdict.reason);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, 0, NOON));
    CHECK_TRUE("after a post", admit(f, "user_1", NOON));
    CHECK_FALSE("full", admit(f, "user_1", NOON + TTL - 1));
    CHECK_TRUE("after the time", admit(f, "user_1", NOON + TTL));
    teardown(f);
}

static void
test_an_automatic_hold_is_the_95th_percentile_of_the_routes_charges(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = { .names = &names,
                             .plan = &f->plans[0],
                             .verification = 1,
                             .unique_id = "",
                             .route = &f->routes[0] };
    char id[PUBLIC_ID_SIZE];

    (void)!text_copy(f->routes[0].prefix, sizeof(f->routes[0].prefix), "/chat");
    f->routes[0].hold =
        (struct hold_rule){ .set = true, .automatic = true, .min_nanos = 10, .max_nanos = CENT };
    for (int i = 1; i <= 120; i++) {
        CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
        if (i == 1)
            CHECK_INT("least", 10, f->verdict.hold.amount_nanos);
        hold_text(&f->verdict.hold, id);
        CHECK_INT("post", OUTCOME_DONE, spend_hold(f, id, NULL, i * 1000, NOON));
    }
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("95th of 21..120", 115 * 1000, f->verdict.hold.amount_nanos);
    f->routes[0].hold.max_nanos = 5000;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("most", 5000, f->verdict.hold.amount_nanos);
    teardown(f);
}

/* ---- once per client request ---------------------------------------------------------------- */

static void
test_calls_of_one_client_request_share_hold_rate_and_slot(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = { .names = &names,
                             .plan = &f->plans[0],
                             .verification = 1,
                             .credential = { 7 },
                             .unique_id = "uid-1" };
    int64_t first;

    f->plans[0].concurrency = 1;
    f->plans[0].rate =
        (struct rate){ .count = 1, .per_us = 3600 * SECOND, .burst = 1, .text = "1/1h" };
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("first", f->verdict.allow);
    first = f->verdict.hold.id;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("second", f->verdict.allow);
    CHECK_INT("same hold", first, f->verdict.hold.id);
    ask.credential[0] = 8;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("another credential", f->verdict.allow);
    CHECK_INT("reason", REASON_RATE, f->verdict.reason);
    ask.credential[0] = 7;
    CHECK_INT("freeze", OUTCOME_DONE, change(f, "user_1", ACCOUNT_FREEZE, 0, NULL));
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("every other check runs again", f->verdict.allow);
    CHECK_INT("held", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_calls_without_a_hold_share_their_rate_for_a_minute(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = "uid-1"
    };

    f->plans[0].hold.nanos = 0;
    f->plans[0].rate =
        (struct rate){ .count = 1, .per_us = 3600 * SECOND, .burst = 1, .text = "1/1h" };
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("first", f->verdict.allow);
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON + 59 * SECOND, &f->verdict, &f->err),
                 &f->err);
    CHECK_TRUE("within the minute", f->verdict.allow);
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON + 60 * SECOND, &f->verdict, &f->err),
                 &f->err);
    CHECK_FALSE("after it", f->verdict.allow);
    teardown(f);
}

static void
test_a_redirected_call_passes_only_with_its_own_hold(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = { .names = &names,
                             .plan = &f->plans[0],
                             .verification = 1,
                             .credential = { 7 },
                             .unique_id = "uid-1" };
    char id[PUBLIC_ID_SIZE];

    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    hold_text(&f->verdict.hold, id);
    ask.redirected = true;
    ask.redirected_hold_id = id;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("its own", f->verdict.allow);
    CHECK_INT("settle", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, NOON));
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_TRUE("settled", f->verdict.allow);
    ask.unique_id = "uid-2";
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_FALSE("another request", f->verdict.allow);
    CHECK_INT("reason", REASON_NOT_YOURS, f->verdict.reason);
    ask.unique_id = "uid-1";
    ask.credential[0] = 8;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("another credential", REASON_NOT_YOURS, f->verdict.reason);
    ask.credential[0] = 7;
    ask.redirected_hold_id = "";
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("no hold", REASON_NOT_YOURS, f->verdict.reason);
    CHECK_INT("held", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

static void
test_a_redirected_call_with_a_voided_hold_is_refused(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = "uid-1"
    };
    char id[PUBLIC_ID_SIZE];

    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    hold_text(&f->verdict.hold, id);
    CHECK_INT("void", OUTCOME_DONE, void_hold(f, id, NOON));
    ask.redirected = true;
    ask.redirected_hold_id = id;
    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("voided", REASON_NOT_YOURS, f->verdict.reason);
    teardown(f);
}

static void
test_a_unique_id_that_is_too_long_is_none(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "");
    char unique[300];
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = unique
    };

    memset(unique, 'u', sizeof(unique));
    unique[255] = '\0';
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("one hold", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    unique[255] = 'u';
    unique[256] = '\0';
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, NOON, &f->verdict, &f->err), &f->err);
    CHECK_INT("two more", 15 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

/* ---- refunds, replies, prune --------------------------------------------------------------- */

struct sums {
    int64_t count, nanos, last_id;
};

static bool
sum_charge(void *context, const struct charge *charge)
{
    struct sums *sums = context;

    sums->count++;
    sums->nanos += charge->amount_nanos;
    sums->last_id = charge->id;
    return true;
}

static struct sums
charges(struct fixture *f, struct charge_filter filter)
{
    struct sums sums = { 0, 0, 0 };

    filter.limit = filter.limit != 0 ? filter.limit : 1000;
    filter.to_us = filter.to_us != 0 ? filter.to_us : INT64_MAX;
    filter.before_id = filter.before_id != 0 ? filter.before_id : INT64_MAX;
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &filter, sum_charge, &sums, &f->err), &f->err);
    return sums;
}

static enum outcome
refund(struct fixture *f, int64_t nanos, const char *key)
{
    char id[PUBLIC_ID_SIZE];
    struct idempotency idempotency = { .scope = "ops", .key = key };

    public_id_format("chg_", f->result.charge.id, f->result.charge.nonce, id);
    CHECK_STATUS(STATUS_OK,
                 store_refund(f->store, id, nanos, "ops", "sorry", &idempotency, &writer, NOON,
                              &f->result, &f->reply, &f->err),
                 &f->err);
    return f->result.outcome;
}

static void
test_refunds_of_a_charge_never_exceed_it(void)
{
    struct fixture *f = setup();
    struct charge charge;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("spend", OUTCOME_DONE, spend_as(f, "user_1", 10 * CENT, NULL, NOON));
    charge = f->result.charge;
    CHECK_INT("part", OUTCOME_DONE, refund(f, 4 * CENT, "r1"));
    CHECK_INT("kind", CHARGE_REFUND, f->result.charge.kind);
    CHECK_INT("of", charge.id, f->result.charge.refund_of);
    f->result.charge = charge;
    CHECK_INT("same key", OUTCOME_REPLAYED, refund(f, 4 * CENT, "r1"));
    f->result.charge = charge;
    CHECK_INT("too much", OUTCOME_REFUND_EXCEEDS, refund(f, 7 * CENT, NULL));
    f->result.charge = charge;
    CHECK_INT("the rest", OUTCOME_DONE, refund(f, -1, NULL));
    CHECK_INT("rest", 6 * CENT, f->result.charge.amount_nanos);
    CHECK_INT("a refund of a refund", OUTCOME_UNKNOWN_CHARGE, refund(f, 1, NULL));
    f->result.charge = charge;
    CHECK_INT("nothing left", OUTCOME_REFUND_EXCEEDS, refund(f, -1, NULL));
    CHECK_STATUS(STATUS_OK,
                 store_refund(f->store, "chg_", -1, "ops", NULL, NULL, &writer, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_INT("malformed", OUTCOME_UNKNOWN_CHARGE, f->result.outcome);
    CHECK_INT("spent", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_a_charge_above_hold_and_budget_is_recorded_in_full(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("post", OUTCOME_DONE, spend_hold(f, id, NULL, 3 * USD, NOON));
    CHECK_TRUE("over", f->result.effect.over_budget);
    CHECK_INT("overrun", 2 * USD, f->result.effect.overrun_nanos);
    CHECK_INT("spent", 3 * USD, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_FALSE("closed", admit(f, "user_1", NOON));
    teardown(f);
}

static void
test_i4_a_key_used_for_another_request_is_refused_also_with_a_hold(void)
{
    struct fixture *f = setup();
    struct idempotency key = { .scope = "php", .key = "k", .fingerprint = { 1 } };
    struct spend spend = { .cost_nanos = CENT, .token = "php" };
    char a[PUBLIC_ID_SIZE], b[PUBLIC_ID_SIZE];

    CHECK_TRUE("a", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, a);
    CHECK_TRUE("b", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, b);
    spend.hold_id = a;
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, &key, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("first", OUTCOME_DONE, f->result.outcome);
    key.fingerprint[0] = 2;
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, &key, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("only the cost is compared", OUTCOME_REPLAYED, f->result.outcome);
    spend.hold_id = b;
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, &key, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("another hold", OUTCOME_KEY_REUSED, f->result.outcome);
    CHECK_INT("spent", CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    key.scope = "perl";
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, &key, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("another token's key", OUTCOME_DONE, f->result.outcome);
    teardown(f);
}

static void
test_prune_keeps_replies_for_the_promised_time(void)
{
    struct fixture *f = setup();
    const int64_t day = INT64_C(86400) * SECOND;
    int64_t removed;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_INT("spend", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, 0, NOON + 32 * day, &removed, &f->err), &f->err);
    CHECK_INT("kept", OUTCOME_REPLAYED, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, 0, NOON + 32 * day + 1, &removed, &f->err),
                 &f->err);
    CHECK_INT("removed", 1, removed);
    CHECK_INT("forgotten", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    teardown(f);
}

static void
test_the_reply_of_a_settled_hold_is_made_again_after_prune(void)
{
    struct fixture *f = setup();
    const int64_t day = INT64_C(86400) * SECOND;
    char id[PUBLIC_ID_SIZE], first[256];
    int64_t removed;

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("post", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, NOON));
    (void)!text_copy(first, sizeof(first), buf_text(&f->reply));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, 0, NOON + 40 * day, &removed, &f->err), &f->err);
    CHECK_INT("again", OUTCOME_REPLAYED, spend_hold(f, id, NULL, CENT, NOON + 40 * day));
    CHECK_STRING("reply", first, buf_text(&f->reply));
    CHECK_INT("other", OUTCOME_HOLD_SETTLED, spend_hold(f, id, NULL, 2 * CENT, NOON + 40 * day));
    teardown(f);
}

static void
test_prune_removes_old_periods_with_their_charges_and_holds(void)
{
    struct fixture *f = setup();
    const int64_t day = INT64_C(86400) * SECOND;
    int64_t removed, later = NOON + 100 * day;
    char id[PUBLIC_ID_SIZE];

    add_budget(&f->plans[0], PERIOD_DAY, USD);
    CHECK_TRUE("first", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("post", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, NOON));
    CHECK_INT("refund", OUTCOME_DONE, refund(f, 1, NULL));
    CHECK_TRUE("later", admit(f, "user_1", later));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("post", OUTCOME_DONE, spend_hold(f, id, NULL, CENT, later));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, later - 50 * day, later, &removed, &f->err),
                 &f->err);
    CHECK_INT("2 periods, 2 charges, 1 hold, 1 reply", 6, removed);
    CHECK_INT("kept", CENT, charges(f, (struct charge_filter){ 0 }).nanos);
    CHECK_INT("verify", 0, differences(f, later));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, later - 50 * day, later, &removed, &f->err),
                 &f->err);
    CHECK_INT("nothing left", 0, removed);
    teardown(f);
}

static void
test_prune_keeps_a_charge_whose_longer_period_is_kept(void)
{
    struct fixture *f = setup();
    const int64_t day = INT64_C(86400) * SECOND;
    int64_t removed, early = NOON - 60 * day;
    struct result posted;

    add_budget(&f->plans[0], PERIOD_YEAR, USD);
    CHECK_TRUE("first", admit(f, "user_1", early));
    CHECK_INT("spend", OUTCOME_DONE, spend_as(f, "user_1", 2 * CENT, NULL, early));
    posted = f->result;
    CHECK_INT("expired", 0, line_of(f, "user_1", PERIOD_YEAR, NOON).held_nanos);
    CHECK_STATUS(STATUS_OK, store_prune(f->store, NOON, NOON, &removed, &f->err), &f->err);
    CHECK_INT("the month and the hold", 2, removed);
    CHECK_INT("verify", 0, differences(f, NOON));
    f->result = posted;
    CHECK_INT("refund", OUTCOME_DONE, refund(f, CENT, NULL));
    CHECK_INT("the month again", CENT, line_of(f, "user_1", PERIOD_MONTH, early).spent_nanos);
    CHECK_INT("year", CENT, line_of(f, "user_1", PERIOD_YEAR, NOON).spent_nanos);
    teardown(f);
}

static void
write_too_much(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    (void)result;
    for (int i = 0; i < REPLY_SIZE; i++)
        buf_add_char(out, 'x');
}

static void
test_an_answer_that_does_not_fit_records_nothing(void)
{
    struct fixture *f = setup();
    struct spend spend = { .subject = "user_1", .cost_nanos = CENT, .token = "php" };
    struct reply_writer big = { write_too_much, NULL };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OVERFLOW,
                 store_spend(f->store, &spend, NULL, &big, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("outcome", OUTCOME_NONE, f->result.outcome);
    CHECK_INT("reply", 0, f->reply.length);
    CHECK_INT("spent", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_a_batch_records_each_post(void)
{
    struct fixture *f = setup();

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_INT("a", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_INT("b", OUTCOME_DONE, spend_as(f, "user_1", 2 * CENT, "b", NOON));
    CHECK_INT("a again", OUTCOME_REPLAYED, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_INT("nobody", OUTCOME_UNKNOWN_ACCOUNT, spend_as(f, "user_9", CENT, "c", NOON));
    CHECK_STATUS(STATUS_OK, store_batch_end(f->store, true, &f->err), &f->err);
    CHECK_INT("spent", 3 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_i6_a_batch_that_is_not_kept_records_nothing(void)
{
    struct fixture *f = setup();
    struct spend spend = { .subject = "user_1", .cost_nanos = CENT, .token = "php" };
    struct reply_writer big = { write_too_much, NULL };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_INT("no key", OUTCOME_DONE, spend_as(f, "user_1", CENT, NULL, NOON));
    CHECK_INT("with a key", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_STATUS(STATUS_OVERFLOW,
                 store_spend(f->store, &spend, NULL, &big, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_OK, store_batch_end(f->store, false, &f->err), &f->err);
    CHECK_INT("spent", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_INT("the key is free", OUTCOME_DONE, spend_as(f, "user_1", CENT, "a", NOON));
    CHECK_INT("spent once", CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

static void
test_an_element_that_fails_takes_only_itself_back(void)
{
    struct fixture *f = setup();
    struct spend spend = { .subject = "user_1", .cost_nanos = CENT, .token = "php" };
    struct reply_writer big = { write_too_much, NULL };

    CHECK_TRUE("first", admit(f, "user_1", NOON));
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_INT("before", OUTCOME_DONE, spend_as(f, "user_1", CENT, NULL, NOON));
    CHECK_STATUS(STATUS_OVERFLOW,
                 store_spend(f->store, &spend, NULL, &big, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("after", OUTCOME_DONE, spend_as(f, "user_1", 2 * CENT, NULL, NOON));
    CHECK_STATUS(STATUS_OK, store_batch_end(f->store, true, &f->err), &f->err);
    CHECK_INT("spent", 3 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    teardown(f);
}

/* ---- who a post counts on ------------------------------------------------------------------- */

static void
test_a_post_without_a_hold_counts_on_the_parent_that_a_claim_named(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", ""), seen = names_of("ak_1", "", "");
    struct spend spend = { .subject = "user_1", .key_id = "ak_1", .cost_nanos = CENT };

    f->plans[0].hold.nanos = 0;
    (void)!text_copy(names.parent, sizeof(names.parent), "group:claim");
    CHECK_INT("parent", OUTCOME_DONE, change(f, "group:claim", ACCOUNT_FREEZE, 0, NULL));
    CHECK_INT("parent", OUTCOME_DONE, change(f, "group:claim", ACCOUNT_UNFREEZE, 0, NULL));
    CHECK_STATUS(STATUS_OK,
                 store_budget_set(f->store, "group:claim", PERIOD_MONTH, 2 * CENT, NULL, &actor,
                                  NOON, &f->result, &f->err),
                 &f->err);
    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    for (int i = 1; i <= 2; i++) {
        CHECK_STATUS(
            STATUS_OK,
            store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
            &f->err);
        CHECK_INT("group", i * CENT, line_of(f, "group:claim", PERIOD_MONTH, NOON).spent_nanos);
    }
    CHECK_FALSE("full", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STRING("who", "group:claim", f->verdict.account);
    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &seen, &f->err), &f->err);
    CHECK_STRING("last seen", "group:claim", seen.parent);
    CHECK_STRING("and no organization", "", seen.organization);
    teardown(f);
}

static void
test_a_post_without_a_hold_counts_on_the_organization_of_its_key(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "org_1");
    struct spend spend = { .subject = "user_1", .key_id = "ak_1", .cost_nanos = CENT };

    f->plans[0].hold.nanos = 0;
    add_budget(&f->plans[0], PERIOD_DAY, 2 * CENT)->per = PER_ORG;
    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("org", CENT, line_of(f, "org_1", PERIOD_DAY, NOON).spent_nanos);
    CHECK_INT("user", CENT, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_FALSE("full", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STRING("who", "org_1", f->verdict.account);
    teardown(f);
}

static void
test_the_names_last_seen_are_those_of_the_key_else_of_the_subject(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "org_1");
    struct chain_names asked = names_of("ak_1", "user_1", "");

    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &asked, &f->err), &f->err);
    CHECK_STRING("none yet", "", asked.organization);
    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &asked, &f->err), &f->err);
    CHECK_STRING("of the key", "org_1", asked.organization);
    asked = names_of("", "user_1", "");
    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &asked, &f->err), &f->err);
    CHECK_STRING("of the subject", "org_1", asked.organization);
    asked = names_of("", "user_1", "org_2");
    CHECK_STATUS(STATUS_OK, store_names_last_seen(f->store, &asked, &f->err), &f->err);
    CHECK_STRING("what is known is kept", "org_2", asked.organization);
    if (!under_test->has_clock)
        CHECK_INT("the machine's clock", 7, store_now_us(f->store, 7));
    teardown(f);
}

static void
test_an_organization_that_is_the_subject_counts_once(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "org_1", "org_1");

    CHECK_TRUE("first", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_TRUE("second", admit_names(f, &names, &f->plans[0], NOON));
    CHECK_INT("held", 10 * CENT, line_of(f, "org_1", PERIOD_MONTH, NOON).held_nanos);
    CHECK_INT("live", 2, f->ledger.accounts[0].live_holds);
    teardown(f);
}

/* ---- listings ------------------------------------------------------------------------------- */

struct names_seen {
    char text[512];
    struct buf buf;
    size_t count, stop_after;
};

static bool
see_name(void *context, const char *name)
{
    struct names_seen *seen = context;

    buf_add_format(&seen->buf, "%s ", name);
    return ++seen->count < seen->stop_after;
}

static void
test_accounts_are_listed_in_byte_order(void)
{
    struct fixture *f = setup();
    struct names_seen seen = { .stop_after = 10 };

    CHECK_TRUE("b", admit(f, "user_b", NOON));
    CHECK_TRUE("a", admit(f, "user_a", NOON));
    buf_init(&seen.buf, seen.text, sizeof(seen.text));
    CHECK_STATUS(STATUS_OK, store_account_names(f->store, "", 10, see_name, &seen, &f->err),
                 &f->err);
    CHECK_STRING("all", "all key:ak_1 user_a user_b ", seen.text);
    buf_clear(&seen.buf);
    CHECK_STATUS(STATUS_OK, store_account_names(f->store, "key:ak_1", 1, see_name, &seen, &f->err),
                 &f->err);
    CHECK_STRING("page", "user_a ", seen.text);
    seen.stop_after = 0;
    buf_clear(&seen.buf);
    CHECK_STATUS(STATUS_OK, store_account_names(f->store, "", 10, see_name, &seen, &f->err),
                 &f->err);
    CHECK_STRING("stopped", "all ", seen.text);
    teardown(f);
}

/* ---- what Clerk's listings say -------------------------------------------------------------- */

static bool
note(struct fixture *f, const char *account, const struct clerk_note *note)
{
    bool found = false;

    CHECK_STATUS(STATUS_OK, store_clerk_note_put(f->store, account, note, &found, &f->err),
                 &f->err);
    return found;
}

static struct clerk_note
note_of(struct fixture *f, const char *account, bool want)
{
    struct clerk_note got;
    bool found = false;

    CHECK_STATUS(STATUS_OK, store_clerk_note_get(f->store, account, &found, &got, &f->err),
                 &f->err);
    CHECK_INT(account, want, found);
    return got;
}

static void
test_a_note_of_clerk_is_kept_beside_its_account(void)
{
    struct fixture *f = setup();
    const struct chain_names names = names_of("ak_1", "user_1", "");
    const struct clerk_note first = { .title = "ci key", .expires_us = NOON, .gone = true };
    const struct clerk_note second = { .title = "K\xc3\xbc"
                                                "che",
                                       .listed_us = NOON + 1 };
    struct clerk_note got;

    CHECK_FALSE("no such account", note(f, "key:ak_1", &first));
    CHECK_TRUE("admitted", admit_names(f, &names, &f->plans[0], NOON));
    (void)note_of(f, "key:ak_1", false);
    CHECK_TRUE("noted", note(f, "key:ak_1", &first));
    got = note_of(f, "key:ak_1", true);
    CHECK_STRING("title", "ci key", got.title);
    CHECK_INT("expires", NOON, got.expires_us);
    CHECK_TRUE("gone", got.gone);
    CHECK_INT("listed", 0, got.listed_us);
    CHECK_TRUE("replaced", note(f, "key:ak_1", &second));
    got = note_of(f, "key:ak_1", true);
    CHECK_STRING("title", second.title, got.title);
    CHECK_INT("expires", 0, got.expires_us);
    CHECK_FALSE("gone", got.gone);
    CHECK_INT("listed", NOON + 1, got.listed_us);
    (void)note_of(f, "user_1", false);
    teardown(f);
}

static void
list_subjects(struct fixture *f, int64_t before_us, const char *after, size_t limit,
              const char *want)
{
    struct names_seen seen = { .stop_after = 10 };

    buf_init(&seen.buf, seen.text, sizeof(seen.text));
    CHECK_STATUS(STATUS_OK,
                 store_clerk_subjects(f->store, before_us, after, limit, see_name, &seen, &f->err),
                 &f->err);
    CHECK_STRING("subjects", want, seen.text);
}

static void
test_subjects_that_were_not_listed_since_are_found(void)
{
    struct fixture *f = setup();
    const struct clerk_note listed = { .listed_us = NOON };
    const struct chain_names names = {
        .key_id = "ak_1", .subject = "user_b", .organization = "org_1", .parent = "group:red"
    };

    list_subjects(f, NOON, "", 10, "");
    CHECK_TRUE("a", admit(f, "user_a", NOON));
    CHECK_TRUE("b", admit_names(f, &names, &f->plans[0], NOON));
    list_subjects(f, NOON, "", 10, "org_1 user_a user_b ");
    list_subjects(f, NOON, "", 2, "org_1 user_a ");
    list_subjects(f, NOON, "org_1", 10, "user_a user_b ");
    CHECK_TRUE("listed", note(f, "user_a", &listed));
    list_subjects(f, NOON, "", 10, "org_1 user_b ");
    list_subjects(f, NOON + 1, "", 10, "org_1 user_a user_b ");
    teardown(f);
}

static void
list_keys(struct fixture *f, const char *subject, const char *want)
{
    struct names_seen seen = { .stop_after = 10 };

    buf_init(&seen.buf, seen.text, sizeof(seen.text));
    CHECK_STATUS(STATUS_OK, store_clerk_keys(f->store, subject, see_name, &seen, &f->err), &f->err);
    CHECK_STRING(subject, want, seen.text);
}

static void
test_the_api_keys_of_a_subject_are_those_it_was_seen_with(void)
{
    struct fixture *f = setup();
    static const char *const seen[][3] = {
        { "ak_2", "user_1", "" },   { "ak_1", "user_1", "" },      { "ak_1", "user_1", "org_1" },
        { "sess_1", "user_1", "" }, { "ak_3", "user_2", "org_1" }, { "api_key_4", "org_1", "org_1" }
    };

    for (size_t i = 0; i < CHECK_COUNT(seen); i++) {
        const struct chain_names names = names_of(seen[i][0], seen[i][1], seen[i][2]);

        CHECK_TRUE("admitted", admit_names(f, &names, &f->plans[0], NOON));
    }
    list_keys(f, "user_1", "key:ak_1 key:ak_2 ");
    list_keys(f, "user_2", "key:ak_3 ");
    list_keys(f, "org_1", "key:api_key_4 ");
    list_keys(f, "user_3", "");
    teardown(f);
}

static bool
first_row(void *context, const struct report_row *row)
{
    *(struct report_row *)context = *row;
    return false;
}

static struct report_row
report(struct fixture *f, enum report_by by)
{
    struct report_row row;

    memset(&row, 0, sizeof(row));
    CHECK_STATUS(STATUS_OK, store_report(f->store, by, 0, INT64_MAX, first_row, &row, &f->err),
                 &f->err);
    return row;
}

static void
test_charges_are_filtered_paged_and_summed(void)
{
    struct fixture *f = setup();
    struct spend spend = { .subject = "user_a",
                           .key_id = "ak_1",
                           .cost_nanos = 1,
                           .model = "gpt",
                           .route = "/chat",
                           .token = "php" };
    struct sums sums;

    CHECK_TRUE("a", admit(f, "user_a", NOON));
    CHECK_TRUE("b", admit(f, "user_b", NOON));
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(STATUS_OK,
                     store_spend(f->store, &spend, NULL, &writer, NOON + i * SECOND, &f->result,
                                 &f->reply, &f->err),
                     &f->err);
    CHECK_INT("b", OUTCOME_DONE, spend_as(f, "user_b", 10, NULL, NOON));
    CHECK_INT("all", 13, charges(f, (struct charge_filter){ 0 }).nanos);
    CHECK_INT("account", 3, charges(f, (struct charge_filter){ .account = "user_a" }).nanos);
    CHECK_INT("everybody", 13, charges(f, (struct charge_filter){ .account = "all" }).nanos);
    CHECK_INT("key", 3, charges(f, (struct charge_filter){ .key_id = "ak_1" }).nanos);
    CHECK_INT("model", 3, charges(f, (struct charge_filter){ .model = "gpt" }).nanos);
    CHECK_INT("route", 3, charges(f, (struct charge_filter){ .route = "/chat" }).nanos);
    CHECK_INT("from", 2, charges(f, (struct charge_filter){ .from_us = NOON + SECOND }).nanos);
    CHECK_INT("to", 11, charges(f, (struct charge_filter){ .to_us = NOON + SECOND }).nanos);
    sums = charges(f, (struct charge_filter){ .limit = 2 });
    CHECK_INT("page", 2, sums.count);
    CHECK_INT("next", 2, charges(f, (struct charge_filter){ .before_id = sums.last_id }).nanos);
    CHECK_STRING("by account", "user_b", report(f, REPORT_ACCOUNT).name);
    CHECK_INT("sum", 10, report(f, REPORT_ACCOUNT).spent_nanos);
    CHECK_INT("by key", 10, report(f, REPORT_KEY).spent_nanos);
    CHECK_STRING("by day", "2026-11-18", report(f, REPORT_DAY).name);
    CHECK_INT("count", 4, report(f, REPORT_DAY).charge_count);
    CHECK_INT("by model", 10, report(f, REPORT_MODEL).spent_nanos);
    CHECK_INT("by route", 10, report(f, REPORT_ROUTE).spent_nanos);
    teardown(f);
}

static bool
note_amount(void *context, const struct charge *charge)
{
    struct buf *amounts = context;

    buf_add_format(amounts, " %lld", (long long)charge->amount_nanos);
    return true;
}

static bool
note_hold(void *context, const struct hold *hold, const char *account)
{
    struct buf *amounts = context;

    (void)account;
    buf_add_format(amounts, " %lld", (long long)(hold->amount_nanos / CENT));
    return true;
}

static void
test_listings_are_newest_first_whichever_process_wrote(void)
{
    struct fixture *f = setup();
    struct store *stores_open[3] = { f->store };
    struct charge_filter every = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 100 };
    char storage[128];
    struct buf amounts;

    CHECK_TRUE("first sight", admit(f, "user_1", NOON));
    for (int i = 1; i < 3; i++)
        CHECK_STATUS(STATUS_OK, store_open(&f->options, &stores_open[i], &f->err), &f->err);
    for (int i = 1; i <= 7; i++) {
        f->store = stores_open[i % 3];
        f->plans[0].hold.nanos = i * CENT;
        CHECK_TRUE("hold", admit(f, "user_1", NOON));
        (void)spend_as(f, "user_1", i, NULL, NOON);
    }
    buf_init(&amounts, storage, sizeof(storage));
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &every, note_amount, &amounts, &f->err),
                 &f->err);
    CHECK_STRING("charges", " 7 6 5 4 3 2 1", buf_text(&amounts));
    buf_clear(&amounts);
    CHECK_STATUS(STATUS_OK,
                 store_holds(f->store, NULL, HOLD_HELD, 100, note_hold, &amounts, &f->err),
                 &f->err);
    CHECK_STRING("holds", " 7 6 5 4 3 2 1 5", buf_text(&amounts));
    f->store = stores_open[0];
    store_close(stores_open[1]);
    store_close(stores_open[2]);
    teardown(f);
}

static bool
count_hold(void *context, const struct hold *hold, const char *account)
{
    int64_t *held = context;

    CHECK_STRING("payer", "user_1", account);
    *held += hold->amount_nanos;
    return true;
}

static void
test_holds_are_listed_by_state_and_account(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];
    int64_t held = 0;

    CHECK_TRUE("one", admit(f, "user_1", NOON));
    CHECK_TRUE("two", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    CHECK_INT("void", OUTCOME_DONE, void_hold(f, id, NOON));
    CHECK_STATUS(STATUS_OK, store_holds(f->store, NULL, HOLD_HELD, 10, count_hold, &held, &f->err),
                 &f->err);
    CHECK_INT("held", 5 * CENT, held);
    CHECK_STATUS(STATUS_OK,
                 store_holds(f->store, "user_1", HOLD_VOIDED, 10, count_hold, &held, &f->err),
                 &f->err);
    CHECK_INT("voided too", 10 * CENT, held);
    CHECK_STATUS(STATUS_OK,
                 store_holds(f->store, "user_2", HOLD_HELD, 10, count_hold, &held, &f->err),
                 &f->err);
    CHECK_INT("nobody's", 10 * CENT, held);
    teardown(f);
}

/* ---- holds that many left behind ------------------------------------------------------------ */

#define LEFT_BEHIND 80 /* more than are journalled in front of one request */

static void
admit_many_others(struct fixture *f, int64_t now_us)
{
    for (int i = 0; i < LEFT_BEHIND; i++) {
        char key[16], subject[16];
        struct chain_names names;
        struct buf text;

        buf_init(&text, key, sizeof(key));
        buf_add_format(&text, "ak_o%d", i);
        buf_init(&text, subject, sizeof(subject));
        buf_add_format(&text, "user_o%d", i);
        names = names_of(key, subject, "");
        CHECK_TRUE("other", admit_names(f, &names, &f->plans[0], now_us));
    }
}

static int64_t
holds_in(struct fixture *f, enum hold_state state)
{
    struct buf amounts;
    char storage[4096];

    buf_init(&amounts, storage, sizeof(storage));
    CHECK_STATUS(STATUS_OK, store_holds(f->store, NULL, state, 1000, note_hold, &amounts, &f->err),
                 &f->err);
    return (int64_t)amounts.length / 2; /* " 5" each */
}

static void
test_an_expired_hold_frees_its_room_whatever_others_left_behind(void)
{
    struct fixture *f = setup();
    const struct hold_request request = { .subject = "user_1", .amount_nanos = 5 * CENT };
    int64_t late_us = NOON + 2 * TTL;

    f->plans[0].budgets[0].limit_nanos = 5 * CENT;
    admit_many_others(f, NOON);
    CHECK_TRUE("mine", admit(f, "user_1", NOON + SECOND));
    CHECK_TRUE("its time is over", admit(f, "user_1", late_us));
    CHECK_TRUE("and again", admit(f, "user_1", late_us + TTL));
    CHECK_STATUS(STATUS_OK,
                 store_hold_place(f->store, &request, NULL, &writer, late_us + 3 * TTL, &f->result,
                                  &f->reply, &f->err),
                 &f->err);
    CHECK_INT("outside a request", OUTCOME_DONE, f->result.outcome);
    CHECK_INT("held", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, late_us + 3 * TTL).held_nanos);
    teardown(f);
}

static void
test_with_a_budget_on_all_every_expired_hold_frees_its_room(void)
{
    struct fixture *f = setup();

    admit_many_others(f, NOON);
    CHECK_INT("all", OUTCOME_DONE,
              set_budget(f, "all", PERIOD_MONTH, LEFT_BEHIND * (int64_t)(5 * CENT)));
    CHECK_FALSE("full", admit(f, "user_1", NOON + SECOND));
    for (int i = 0; i < 2 && holds_in(f, HOLD_HELD) > 0; i++)
        (void)admit(f, "user_1", NOON + TTL); /* the second finds what the first left */
    CHECK_TRUE("room", admit(f, "user_1", NOON + TTL));
    teardown(f);
}

/* Nobody comes back for them: whoever answers a request sees to some of them afterwards. */
static void
test_expired_holds_of_others_are_journalled_after_answers(void)
{
    struct fixture *f = setup();

    admit_many_others(f, NOON);
    CHECK_INT("held", LEFT_BEHIND, holds_in(f, HOLD_HELD));
    for (int i = 0; i < 10; i++) {
        CHECK_TRUE("mine", admit(f, "user_1", NOON + TTL));
        store_after(f->store);
    }
    CHECK_INT("held by me", 10, holds_in(f, HOLD_HELD));
    CHECK_INT("expired", LEFT_BEHIND, holds_in(f, HOLD_EXPIRED));
    teardown(f);
}

/* ---- explain -------------------------------------------------------------------------------- */

static void
test_explain_agrees_with_the_verdict_and_records_nothing(void)
{
    struct fixture *f = setup();
    struct chain_names names = names_of("ak_1", "user_1", "org_1");
    struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = ""
    };
    struct names_seen seen = { .stop_after = 10 };

    CHECK_STATUS(STATUS_OK, store_explain(f->store, &ask, NOON, &f->ledger, &f->verdict, &f->err),
                 &f->err);
    CHECK_TRUE("never seen", f->verdict.allow);
    CHECK_INT("accounts", 4, f->ledger.account_count);
    CHECK_INT("remaining", 95 * CENT, f->verdict.remaining_nanos);
    buf_init(&seen.buf, seen.text, sizeof(seen.text));
    CHECK_STATUS(STATUS_OK, store_account_names(f->store, "", 10, see_name, &seen, &f->err),
                 &f->err);
    CHECK_STRING("nothing made", "all ", seen.text);
    for (int i = 0; i < 21; i++) {
        struct verdict told;

        CHECK_STATUS(STATUS_OK, store_explain(f->store, &ask, NOON, &f->ledger, &told, &f->err),
                     &f->err);
        CHECK_INT("agrees", admit_names(f, &names, &f->plans[0], NOON), told.allow);
        CHECK_INT("reason", f->verdict.reason, told.reason);
    }
    CHECK_INT("held", USD, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    teardown(f);
}

/* ---- several processes ---------------------------------------------------------------------- */

struct shared {
    _Atomic int64_t clock_us;
    _Atomic int passed, refused, failed;
    _Atomic int hold_count;
    char holds[1024][PUBLIC_ID_SIZE];
    int64_t end_us; /* by the boot clock; of a run that lasts a set time */
};

static struct shared *
share(void)
{
    void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        abort();
    return memory;
}

typedef void (*child_work)(struct fixture *f, struct shared *shared, int index);

/* A child with a store of its own. It starts when `go` is closed. Never returns. */
static void
child(struct fixture *f, struct shared *shared, int go, int index, child_work work)
{
    char byte;

    if (store_open(&f->options, &f->store, &f->err) != STATUS_OK) {
        printf("child: %s\n", f->err.message);
        shared->failed++;
        _exit(1);
    }
    while (read(go, &byte, 1) < 0 && errno == EINTR)
        continue;
    work(f, shared, index);
    store_close(f->store);
    _exit(0);
}

/* Run `work` in `count` processes at once. The parent's store is closed meanwhile. */
static void
race(struct fixture *f, struct shared *shared, int count, child_work work)
{
    int gate[2], status;
    pid_t pids[64];

    store_close(f->store);
    f->store = NULL;
    if (pipe(gate) != 0)
        abort();
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            close(gate[1]);
            child(f, shared, gate[0], i, work);
        }
    }
    close(gate[0]);
    close(gate[1]);
    for (int i = 0; i < count; i++) {
        CHECK_INT("waited", pids[i], waitpid(pids[i], &status, 0));
        CHECK_INT("exit", 0, status);
    }
    open_store(f);
}

static void
admit_quietly(struct fixture *f, struct shared *shared, const struct chain_names *names,
              int64_t now_us)
{
    struct admission ask = {
        .names = names, .plan = &f->plans[0], .verification = 1, .unique_id = ""
    };

    if (store_admit(f->store, &ask, now_us, &f->verdict, &f->err) != STATUS_OK) {
        printf("child: %s\n", f->err.message);
        shared->failed++;
    } else if (f->verdict.allow) {
        shared->passed++;
        if (f->verdict.hold_placed)
            hold_text(&f->verdict.hold, shared->holds[shared->hold_count++]);
    } else {
        shared->refused++;
    }
}

static void
admit_25(struct fixture *f, struct shared *shared, int index)
{
    struct chain_names names = names_of("ak_1", "user_1", "");

    (void)index;
    for (int i = 0; i < 25; i++)
        admit_quietly(f, shared, &names, NOON);
}

static void
settle_all(struct fixture *f, struct shared *shared, int index)
{
    struct spend spend = { .cost_nanos = 5 * CENT, .token = "php" };

    (void)index;
    for (int i = 0; i < shared->hold_count; i++) {
        spend.hold_id = shared->holds[i];
        if (store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err) !=
            STATUS_OK)
            shared->failed++;
        else if (f->result.outcome == OUTCOME_DONE)
            shared->passed++;
        else if (f->result.outcome == OUTCOME_REPLAYED)
            shared->refused++;
        else
            shared->failed++;
    }
}

static void
test_i1_eight_processes_on_first_sight_pass_exactly_as_many_as_fit(void)
{
    struct fixture *f = setup();
    struct shared *shared = share();

    store_close(f->store); /* the eight make the store itself, too */
    under_test->remove(f);
    f->store = NULL;
    if (!under_test->make(f))
        abort();
    race(f, shared, 8, admit_25);
    CHECK_INT("failed", 0, shared->failed);
    CHECK_INT("passed", 20, shared->passed);
    CHECK_INT("refused", 180, shared->refused);
    CHECK_INT("held", USD, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    shared->passed = shared->refused = 0;
    race(f, shared, 4, settle_all);
    CHECK_INT("failed", 0, shared->failed);
    CHECK_INT("settled once", 20, shared->passed);
    CHECK_INT("repeats", 60, shared->refused);
    CHECK_INT("spent", USD, line_of(f, "user_1", PERIOD_MONTH, NOON).spent_nanos);
    CHECK_INT("held", 0, line_of(f, "user_1", PERIOD_MONTH, NOON).held_nanos);
    munmap(shared, sizeof(*shared));
    teardown(f);
}

static void
admit_own_key(struct fixture *f, struct shared *shared, int index)
{
    struct chain_names names = names_of("ak_1", "user_1", "org_1");

    names.key_id[3] = (char)('1' + index);
    for (int i = 0; i < 50; i++)
        admit_quietly(f, shared, &names, NOON);
}

static void
test_rates_are_exact_over_eight_processes(void)
{
    struct fixture *f = setup();
    struct shared *shared = share();

    f->plans[0].hold.nanos = 0;
    f->plans[0].rate =
        (struct rate){ .count = 100, .per_us = 60 * SECOND, .burst = 100, .text = "100/1m" };
    race(f, shared, 8, admit_own_key);
    CHECK_INT("failed", 0, shared->failed);
    CHECK_INT("passed", 100, shared->passed);
    CHECK_INT("refused", 300, shared->refused);
    munmap(shared, sizeof(*shared));
    teardown(f);
}

static void
hold_and_die(struct fixture *f, struct shared *shared, int index)
{
    struct chain_names names = names_of("ak_1", "user_1", "");

    (void)index;
    admit_quietly(f, shared, &names, NOON);
    _exit(0); /* with everything open */
}

static void
test_a_hold_whose_owner_died_frees_its_room_and_its_late_post_counts_once(void)
{
    struct fixture *f = setup();
    struct shared *shared = share();

    f->plans[0].budgets[0].limit_nanos = 5 * CENT;
    race(f, shared, 1, hold_and_die);
    CHECK_INT("passed", 1, shared->passed);
    CHECK_FALSE("full", admit(f, "user_1", NOON + TTL - 1));
    shared->passed = shared->refused = 0;
    CHECK_TRUE("free", admit(f, "user_1", NOON + TTL));
    race(f, shared, 4, settle_all);
    CHECK_INT("recorded", 1, shared->passed);
    CHECK_INT("repeats", 3, shared->refused);
    CHECK_INT("spent", 5 * CENT, line_of(f, "user_1", PERIOD_MONTH, NOON + TTL).spent_nanos);
    munmap(shared, sizeof(*shared));
    teardown(f);
}

/* Half of the 5 cents of each hold is spent, until the budget of `all` refuses. */
static void
spend_until_all_is_full(struct fixture *f, struct shared *shared, int index)
{
    struct chain_names names = names_of("ak_1", "user_1", "");
    struct spend spend = { .cost_nanos = 5 * CENT / 2, .token = "php" };
    char id[PUBLIC_ID_SIZE];

    names.key_id[3] = names.subject[5] = (char)('a' + index);
    f->verdict.reason = REASON_NONE;
    while (f->verdict.reason != REASON_BUDGET && shared->failed == 0) {
        admit_quietly(f, shared, &names, NOON);
        if (!f->verdict.allow)
            continue;
        spend.hold_id = hold_text(&f->verdict.hold, id);
        if (store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err) !=
            STATUS_OK)
            shared->failed++;
    }
}

/* One line after the other on `all`, each beginning at what the journal holds by then. */
static void
give_all_its_lines(struct fixture *f, struct shared *shared)
{
    static const enum period_kind kinds[] = { PERIOD_NONE, PERIOD_DAY, PERIOD_YEAR, PERIOD_MONTH };

    for (size_t i = 0; i < CHECK_COUNT(kinds); i++) {
        while (shared->passed < 30 * (int)(i + 1) && shared->failed == 0)
            usleep(1000);
        if (store_budget_set(f->store, "all", kinds[i], 6 * USD, NULL, &actor, NOON, &f->result,
                             &f->err) == STATUS_OK)
            continue;
        printf("child: %s\n", f->err.message);
        shared->failed++;
    }
}

static void
set_all_or_spend(struct fixture *f, struct shared *shared, int index)
{
    if (index == 0)
        give_all_its_lines(f, shared);
    else
        spend_until_all_is_full(f, shared, index);
}

static void
test_i7_a_budget_set_on_all_under_load_counts_every_charge_and_hold(void)
{
    struct fixture *f = setup();
    struct shared *shared = share();
    struct budget_line line;

    f->plans[0].budgets[0].limit_nanos = 100 * USD;
    race(f, shared, 8, set_all_or_spend);
    CHECK_INT("failed", 0, shared->failed);
    for (enum period_kind kind = PERIOD_DAY; kind <= PERIOD_NONE; kind++) {
        line = line_of(f, "all", kind, NOON);
        if (line.spent_nanos < 0) /* no such line */
            continue;
        CHECK_INT("spent", shared->passed * (5 * CENT / 2), line.spent_nanos);
        CHECK_INT("held", 0, line.held_nanos);
        CHECK_TRUE("I1", line.spent_nanos <= 6 * USD);
        CHECK_TRUE("full", line.spent_nanos > 6 * USD - 8 * 5 * CENT);
    }
    munmap(shared, sizeof(*shared));
    teardown(f);
}

/* ---- chaos ---------------------------------------------------------------------------------- */

#define CHAOS_PROCESSES 32
#define CHAOS_ROUNDS 150
#define CHAOS_KILLS 24
#define CHAOS_KILL_WAITS 200
#define CHAOS_LIMIT (20 * USD)
/* A longer run on demand: SPENDGATE_CHAOS_SECONDS=30. */
#define CHAOS_SECONDS_VARIABLE "SPENDGATE_CHAOS_SECONDS"
#define CHAOS_SECONDS_MAX 3600
#define CHAOS_LIMIT_PER_SECOND (50 * USD) /* reached in about a third of the time */

static int64_t
chaos_seconds(void)
{
    const char *text = getenv(CHAOS_SECONDS_VARIABLE);
    int64_t seconds = 0;

    if (text != NULL && !text_to_int64(text, 1, CHAOS_SECONDS_MAX, &seconds))
        abort();
    return seconds;
}

static int64_t
chaos_limit(void)
{
    int64_t seconds = chaos_seconds();

    return seconds > 0 ? seconds * CHAOS_LIMIT_PER_SECOND : CHAOS_LIMIT;
}

static bool
chaos_goes_on(const struct shared *shared, int round)
{
    const struct clock clock = clock_system();

    if (chaos_seconds() == 0)
        return round < CHAOS_ROUNDS;
    return clock_boot_us(&clock) < shared->end_us;
}

static bool
kills_go_on(const struct shared *shared, int kills, int killed)
{
    if (chaos_seconds() == 0 || kills == 0)
        return killed < kills;
    return chaos_goes_on(shared, 0);
}

static uint64_t
random_next(uint64_t *state)
{
    *state ^= *state << 13; /* xorshift64 */
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* What becomes of a hold: abandoned, voided, renewed, or settled for at most its amount. */
static enum status
chaos_follow_up(struct fixture *f, const char *id, uint64_t *seed, int64_t now_us)
{
    struct spend spend = { .hold_id = id, .token = "php" };

    switch (random_next(seed) % 8) {
    case 0:
        return STATUS_OK;
    case 1:
        return store_hold_void(f->store, id, NULL, NULL, now_us, &f->result, NULL, &f->err);
    case 2:
        return store_hold_extend(f->store, id, 0, NULL, NULL, now_us, &f->result, NULL, &f->err);
    default:
        spend.cost_nanos = (int64_t)(random_next(seed) % (uint64_t)(5 * CENT + 1));
        return store_spend(f->store, &spend, NULL, NULL, now_us, &f->result, NULL, &f->err);
    }
}

/* A machine under load may keep the lock from a process for longer than it waits: that is a 503,
 * and the client asks again. Anything else is a failure. */
static void
chaos_failed(struct fixture *f, struct shared *shared, enum status status)
{
    if (status == STATUS_OK || status == STATUS_BUSY)
        return;
    printf("chaos: %s\n", f->err.message);
    shared->failed++;
}

static void
chaos(struct fixture *f, struct shared *shared, int index)
{
    struct chain_names names = names_of("ak_1", "user_1", "org_1");
    uint64_t seed = UINT64_C(88172645463325252) + (uint64_t)index * 977;
    char id[PUBLIC_ID_SIZE];

    names.key_id[3] = (char)('1' + index % 4);
    names.subject[5] = (char)('1' + index % 2);
    for (int i = 0; chaos_goes_on(shared, i); i++) {
        int64_t step_us = 1 + (int64_t)(random_next(&seed) % 1000000);
        int64_t now_us = atomic_fetch_add(&shared->clock_us, step_us) + step_us;
        struct admission ask = {
            .names = &names, .plan = &f->plans[0], .verification = 1, .unique_id = ""
        };
        enum status status = store_admit(f->store, &ask, now_us, &f->verdict, &f->err);

        chaos_failed(f, shared, status);
        if (status != STATUS_OK || !f->verdict.allow)
            continue;
        shared->passed++;
        hold_text(&f->verdict.hold, id);
        chaos_failed(f, shared, chaos_follow_up(f, id, &seed, now_us));
        store_after(f->store);
    }
}

static pid_t
spawn_chaos(struct fixture *f, struct shared *shared, int index)
{
    pid_t pid = fork();
    int gate[2];

    if (pid != 0)
        return pid;
    if (pipe(gate) != 0)
        _exit(1);
    close(gate[1]);
    child(f, shared, gate[0], index, chaos);
    return 0;
}

/* 32 processes on 4 levels; with `kills` a worker dies whenever another has finished, and is
 * replaced. */
static void
run_chaos(struct fixture *f, struct shared *shared, int kills)
{
    pid_t pids[CHAOS_PROCESSES];
    uint64_t seed = 42;
    int alive = CHAOS_PROCESSES, status;

    store_close(f->store);
    f->store = NULL;
    fflush(stdout);
    for (int i = 0; i < CHAOS_PROCESSES; i++)
        pids[i] = spawn_chaos(f, shared, i);
    for (int killed = 0; kills_go_on(shared, kills, killed); killed++) {
        int victim = (int)(random_next(&seed) % CHAOS_PROCESSES);
        int before = shared->passed;

        /* only so that the kills are spread over the run */
        for (int i = 0; i < CHAOS_KILL_WAITS && shared->passed < before + 3; i++) {
            if (waitpid(-1, &status, WNOHANG | WNOWAIT) != 0)
                break;
            usleep(100);
        }
        kill(pids[victim], SIGKILL);
        waitpid(pids[victim], &status, 0);
        pids[victim] = spawn_chaos(f, shared, CHAOS_PROCESSES + killed);
    }
    while (alive > 0 && waitpid(-1, &status, 0) > 0)
        alive--;
    open_store(f);
}

static bool
sum_late(void *context, const struct hold *hold, const char *account)
{
    int64_t *late_nanos = context;

    (void)account;
    *late_nanos += hold->charged_nanos;
    return true;
}

/* The cap does not protect from what was posted after its hold's time was over (I2). */
static void
check_cap(struct fixture *f, const struct shared *shared, const char *account)
{
    struct budget_line line = line_of(f, account, PERIOD_MONTH, shared->clock_us);
    int64_t late_nanos = 0;

    CHECK_STATUS(
        STATUS_OK,
        store_holds(f->store, account, HOLD_EXPIRED, SIZE_MAX >> 1, sum_late, &late_nanos, &f->err),
        &f->err);
    CHECK_TRUE("under the cap", line.spent_nanos + line.held_nanos <= chaos_limit() + late_nanos);
    CHECK_TRUE("used", line.spent_nanos > 0);
}

static void
chaos_test(int kills)
{
    const struct clock clock = clock_system();
    struct fixture *f = setup();
    struct shared *shared = share();

    shared->clock_us = NOON;
    shared->end_us = clock_boot_us(&clock) + chaos_seconds() * SECOND;
    f->plans[0].budgets[0].limit_nanos = chaos_limit();
    CHECK_TRUE("one", admit(f, "user_1", NOON));
    CHECK_TRUE("two", admit(f, "user_2", NOON));
    CHECK_INT("parent", OUTCOME_DONE, change(f, "user_1", ACCOUNT_PARENT, 0, "group:g"));
    CHECK_INT("parent", OUTCOME_DONE, change(f, "user_2", ACCOUNT_PARENT, 0, "group:g"));
    CHECK_INT("org", OUTCOME_DONE, change(f, "org_1", ACCOUNT_FREEZE, 0, NULL));
    CHECK_INT("org", OUTCOME_DONE, change(f, "org_1", ACCOUNT_UNFREEZE, 0, NULL));
    CHECK_INT("org", OUTCOME_DONE, set_budget(f, "org_1", PERIOD_MONTH, chaos_limit()));
    CHECK_INT("group", OUTCOME_DONE, set_budget(f, "group:g", PERIOD_MONTH, chaos_limit()));
    CHECK_INT("all", OUTCOME_DONE, set_budget(f, "all", PERIOD_MONTH, chaos_limit()));
    run_chaos(f, shared, kills);
    CHECK_INT("failed", 0, shared->failed);
    CHECK_TRUE("refused some", shared->passed > 40);
    check_cap(f, shared, "user_1");
    check_cap(f, shared, "user_2");
    check_cap(f, shared, "org_1");
    check_cap(f, shared, "group:g");
    check_cap(f, shared, "all");
    if (chaos_seconds() > 0)
        printf("chaos: %d admitted in %d s%s\n", shared->passed, (int)chaos_seconds(),
               kills > 0 ? ", workers killed all the time" : "");
    munmap(shared, sizeof(*shared));
    teardown(f);
}

static void
test_i2_i6_i7_no_cap_is_passed_by_32_processes_in_one_hierarchy(void)
{
    chaos_test(0);
}

static void
test_i2_i6_i7_no_cap_is_passed_when_workers_are_killed(void)
{
    chaos_test(CHAOS_KILLS);
}

/* ---- ids ------------------------------------------------------------------------------------ */

/* ---- prices --------------------------------------------------------------------------------- */

static struct price_version
version_of(const char *model, const char *provider, int64_t from_us, int64_t input_nanos)
{
    struct price_version version;

    memset(&version, 0, sizeof(version));
    (void)!text_copy(version.model, sizeof(version.model), model);
    (void)!text_copy(version.provider, sizeof(version.provider), provider);
    (void)!text_copy(version.source, sizeof(version.source), "prices.csv");
    version.from_us = from_us;
    price_init(&version.price);
    version.price.rates[PRICE_STANDARD][PRICE_BASE][PRICE_INPUT] = input_nanos;
    return version;
}

static enum price_change
import_one(struct fixture *f, const struct price_version *version, bool keep)
{
    const struct actor who = { "operator", "why" };
    enum price_change change = PRICE_CHANGE_CONFLICT;

    CHECK_STATUS(STATUS_OK,
                 store_price_import(f->store, version, 1, keep, &who, "price import", NOON, &change,
                                    &f->err),
                 &f->err);
    return change;
}

/* The input rate of the one price that is found; -1: none, -2: several. */
static int64_t
input_rate(struct fixture *f, const char *model, const char *provider, const char *hold_id,
           int64_t now_us)
{
    struct price_version version;
    size_t count;

    CHECK_STATUS(
        STATUS_OK,
        store_price_find(f->store, model, provider, hold_id, now_us, &version, &count, &f->err),
        &f->err);
    if (count != 1)
        return count == 0 ? -1 : -2;
    CHECK_STRING("model", model, version.model);
    CHECK_STRING("source", "prices.csv", version.source);
    CHECK_TRUE("id", version.id > 0);
    return version.price.rates[PRICE_STANDARD][PRICE_BASE][PRICE_INPUT];
}

struct seen_prices {
    size_t count;
    char text[256]; /* "model provider rate; " of each */
    struct buf buf;
};

static bool
see_price(void *context, const struct price_version *version)
{
    struct seen_prices *seen = context;

    seen->count++;
    buf_add_format(&seen->buf, "%s %s %lld; ", version->model, version->provider,
                   (long long)version->price.rates[PRICE_STANDARD][PRICE_BASE][PRICE_INPUT]);
    return seen->count < 4;
}

static void
check_prices(struct fixture *f, const char *want, const char *provider, const char *model,
             bool history, int64_t at_us)
{
    struct price_filter filter = { provider, model, history, at_us };
    struct seen_prices seen = { .count = 0 };

    buf_init(&seen.buf, seen.text, sizeof(seen.text));
    CHECK_STATUS(STATUS_OK, store_prices(f->store, &filter, see_price, &seen, &f->err), &f->err);
    CHECK_STRING("prices", want, seen.text);
}

static void
test_a_price_that_changes_is_a_new_version(void)
{
    struct fixture *f = setup();
    struct price_version first = version_of("m", "x", NOON, 3);
    struct price_version same = version_of("m", "x", NOON + SECOND, 3);
    struct price_version second = version_of("m", "x", NOON + 2 * SECOND, 5);
    struct price_version other = version_of("a", "y", NOON, 7);
    struct price_version edited = version_of("m", "x", NOON + 2 * SECOND, 6);

    CHECK_INT("dry run", PRICE_CHANGE_NEW, import_one(f, &first, false));
    CHECK_INT("nothing", -1, input_rate(f, "m", NULL, NULL, NOON));
    CHECK_INT("new", PRICE_CHANGE_NEW, import_one(f, &first, true));
    CHECK_INT("again", PRICE_CHANGE_NONE, import_one(f, &first, true));
    CHECK_INT("the same later", PRICE_CHANGE_NONE, import_one(f, &same, true));
    CHECK_INT("changed", PRICE_CHANGE_VERSION, import_one(f, &second, true));
    CHECK_INT("again", PRICE_CHANGE_NONE, import_one(f, &second, true));
    CHECK_INT("never edited", PRICE_CHANGE_CONFLICT, import_one(f, &edited, true));
    CHECK_INT("another model", PRICE_CHANGE_NEW, import_one(f, &other, true));
    CHECK_INT("before", -1, input_rate(f, "m", NULL, NULL, NOON - 1));
    CHECK_INT("first", 3, input_rate(f, "m", NULL, NULL, NOON));
    CHECK_INT("to its last instant", 3, input_rate(f, "m", NULL, NULL, NOON + 2 * SECOND - 1));
    CHECK_INT("second", 5, input_rate(f, "m", NULL, NULL, NOON + 2 * SECOND));
    check_prices(f, "a y 7; m x 3; m x 5; ", NULL, NULL, true, 0);
    check_prices(f, "a y 7; m x 3; ", NULL, NULL, false, NOON);
    check_prices(f, "m x 5; ", "x", "m", false, NOON + 2 * SECOND);
    check_prices(f, "", "y", "m", true, 0);
    teardown(f);
}

static void
test_a_price_file_is_imported_whole_or_not_at_all(void)
{
    struct fixture *f = setup();
    const struct actor who = { "operator", NULL };
    struct price_version prices[3] = { version_of("m", "x", NOON, 3), version_of("n", "x", NOON, 4),
                                       version_of("m", "x", NOON, 5) };
    enum price_change changes[3];

    CHECK_STATUS(
        STATUS_OK,
        store_price_import(f->store, prices, 3, true, &who, "import", NOON, changes, &f->err),
        &f->err);
    CHECK_INT("first", PRICE_CHANGE_NEW, changes[0]);
    CHECK_INT("the same instant twice", PRICE_CHANGE_CONFLICT, changes[2]);
    check_prices(f, "", NULL, NULL, true, 0);
    CHECK_STATUS(
        STATUS_OK,
        store_price_import(f->store, prices, 2, true, &who, "import", NOON, changes, &f->err),
        &f->err);
    check_prices(f, "m x 3; n x 4; ", NULL, NULL, true, 0);
    CHECK_STATUS(
        STATUS_OK,
        store_price_import(f->store, NULL, 0, true, &who, "import", NOON, changes, &f->err),
        &f->err);
    teardown(f);
}

static void
test_a_usage_is_priced_as_of_its_holds_placement(void)
{
    struct fixture *f = setup();
    struct price_version first = version_of("m", "x", NOON - SECOND, 3);
    struct price_version second = version_of("m", "x", NOON + SECOND, 5);
    struct price_version late = version_of("late", "x", NOON + SECOND, 7);
    struct price_version later = version_of("late", "x", NOON + 2 * SECOND, 8);
    char id[PUBLIC_ID_SIZE], other[PUBLIC_ID_SIZE];

    (void)import_one(f, &first, true);
    (void)import_one(f, &second, true);
    (void)import_one(f, &late, true);
    (void)import_one(f, &later, true);
    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    hold_text(&f->verdict.hold, id);
    public_id_format("hld_", f->verdict.hold.id, f->verdict.hold.nonce ^ 1, other);
    CHECK_INT("of the hold", 3, input_rate(f, "m", NULL, id, NOON + 3 * SECOND));
    CHECK_INT("without a hold", 5, input_rate(f, "m", NULL, NULL, NOON + 3 * SECOND));
    CHECK_INT("an unknown hold", 5, input_rate(f, "m", NULL, other, NOON + 3 * SECOND));
    CHECK_INT("no id of ours", 5, input_rate(f, "m", NULL, "hld_x", NOON + 3 * SECOND));
    CHECK_INT("outcome", OUTCOME_DONE, spend_hold(f, "hld_x", "user_1", CENT, NOON));
    CHECK_INT("one that was charged", 3, input_rate(f, "m", NULL, "hld_x", NOON + 3 * SECOND));
    /* A price that was imported because a post was refused must let the post pass. */
    CHECK_INT("its first one", 7, input_rate(f, "late", NULL, id, NOON + 3 * SECOND));
    CHECK_INT("not one of the future", -1, input_rate(f, "late", NULL, id, NOON));
    teardown(f);
}

static void
test_a_model_of_several_providers_needs_its_provider(void)
{
    struct fixture *f = setup();
    struct price_version x = version_of("m", "x", NOON, 3), y = version_of("m", "y", NOON, 4);
    struct price_version unnamed = version_of("m", "", NOON, 5);

    CHECK_INT("x", PRICE_CHANGE_NEW, import_one(f, &x, true));
    CHECK_INT("one", 3, input_rate(f, "m", NULL, NULL, NOON));
    CHECK_INT("y", PRICE_CHANGE_NEW, import_one(f, &y, true));
    CHECK_INT("unnamed", PRICE_CHANGE_NEW, import_one(f, &unnamed, true));
    CHECK_INT("unnamed, again", PRICE_CHANGE_NONE, import_one(f, &unnamed, true));
    CHECK_INT("several", -2, input_rate(f, "m", NULL, NULL, NOON));
    CHECK_INT("named", 4, input_rate(f, "m", "y", NULL, NOON));
    CHECK_INT("the unnamed one", 5, input_rate(f, "m", "", NULL, NOON));
    CHECK_INT("another", -1, input_rate(f, "m", "z", NULL, NOON));
    CHECK_INT("names are exact", -1, input_rate(f, "M", NULL, NULL, NOON));
    teardown(f);
}

struct findings {
    int count;
    char text[512];
};

static void
note_difference(void *context, const char *invariant, const char *text)
{
    struct findings *findings = context;
    struct buf out;

    findings->count++;
    buf_init(&out, findings->text, sizeof(findings->text));
    buf_add_format(&out, "%s %s", invariant, text);
}

/* Record a charge for 1,000 input tokens by a price. */
static void
spend_priced(struct fixture *f, int64_t cost_nanos, const char *usage, int64_t price_id)
{
    struct spend spend = { .subject = "user_1",
                           .cost_nanos = cost_nanos,
                           .token = "php",
                           .usage = usage,
                           .price_id = price_id };

    CHECK_STATUS(STATUS_OK,
                 store_spend(f->store, &spend, NULL, &writer, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("outcome", OUTCOME_DONE, f->result.outcome);
}

/* One more difference than before, with this text. */
static void
check_finding(struct fixture *f, int want, const char *what)
{
    struct findings findings = { .count = 0 };
    struct verify_summary summary;
    char text[512];
    struct buf out;

    buf_init(&out, text, sizeof(text));
    buf_add_format(&out, "I8 charge %lld: %s", (long long)f->result.charge.id, what);
    CHECK_STATUS(STATUS_OK,
                 store_verify(f->store, NOON, note_difference, &findings, &summary, &f->err),
                 &f->err);
    CHECK_INT("differences", want, findings.count);
    CHECK_STRING("what", text, findings.text);
    CHECK_INT("priced", want + 1, summary.priced);
}

static void
test_i8_a_priced_charge_is_recomputed_by_verify(void)
{
    struct fixture *f = setup();
    struct price_version version = version_of("m", "x", NOON, 3 * INT64_C(1000000000));
    struct charge_filter filter = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };
    struct charge charge;
    size_t count;

    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    (void)import_one(f, &version, true);
    CHECK_STATUS(STATUS_OK,
                 store_price_find(f->store, "m", NULL, NULL, NOON, &version, &count, &f->err),
                 &f->err);
    spend_priced(f, 3000000, "{\"input\":1000}", version.id);
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &filter, take_charge, &charge, &f->err),
                 &f->err);
    CHECK_STRING("usage is kept", "{\"input\":1000}", charge.usage);
    CHECK_INT("and the version", version.id, charge.price_id);
    CHECK_INT("no difference", 0, differences(f, NOON));
    spend_priced(f, 3000001, "{\"input\":1000}", version.id);
    check_finding(f, 1, "charged 3000001 nanos, its usage costs 3000000 by price version 1");
    spend_priced(f, 3000000, "{\"input\":1000}", 999);
    check_finding(f, 2, "its price version 999 is missing");
    spend_priced(f, 3000000, "{\"gold\":1000}", version.id);
    check_finding(f, 3, "its usage cannot be read");
    spend_priced(f, 3000000, "{\"output\":1000}", version.id);
    check_finding(f, 4, "price version 1 does not price its usage");
    store_close(f->store);
    under_test->remove(f);
    free(f);
}

/* A part of the cost is not what the usage costs. */
static void
test_i8_a_refund_of_a_priced_charge_is_no_charge_of_its_usage(void)
{
    struct fixture *f = setup();
    struct price_version version = version_of("m", "x", NOON, 3 * INT64_C(1000000000));
    struct charge_filter filter = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };
    struct charge charge;
    char id[PUBLIC_ID_SIZE];

    CHECK_TRUE("allow", admit(f, "user_1", NOON));
    (void)import_one(f, &version, true);
    spend_priced(f, 3000000, "{\"input\":1000}", 1);
    public_id_format("chg_", f->result.charge.id, f->result.charge.nonce, id);
    CHECK_STATUS(STATUS_OK,
                 store_refund(f->store, id, 1000000, "operator", NULL, NULL, NULL, NOON, &f->result,
                              &f->reply, &f->err),
                 &f->err);
    CHECK_INT("outcome", OUTCOME_DONE, f->result.outcome);
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &filter, take_charge, &charge, &f->err),
                 &f->err);
    CHECK_INT("the refund", CHARGE_REFUND, charge.kind);
    CHECK_STRING("usage", "", charge.usage);
    CHECK_INT("price version", 0, charge.price_id);
    teardown(f);
}

static void
test_public_ids_are_parsed_whole_or_refused(void)
{
    char text[PUBLIC_ID_SIZE];
    uint64_t nonce;
    int64_t id;

    public_id_format("hld_", 0x1234, 0xabcdef012345, text);
    CHECK_STRING("text", "hld_000000001234abcdef012345", text);
    CHECK_TRUE("parse", public_id_parse("hld_", text, &id, &nonce));
    CHECK_INT("id", 0x1234, id);
    CHECK_INT("nonce", 0xabcdef012345, nonce);
    CHECK_FALSE("other prefix", public_id_parse("chg_", text, &id, &nonce));
    CHECK_FALSE("zero", public_id_parse("hld_", "hld_000000000000abcdef012345", &id, &nonce));
    CHECK_FALSE("upper", public_id_parse("hld_", "hld_000000001234ABCDEF012345", &id, &nonce));
    CHECK_FALSE("upper number",
                public_id_parse("hld_", "hld_00000000123Aabcdef012345", &id, &nonce));
    CHECK_FALSE("short", public_id_parse("hld_", "hld_000000001234abcdef01234", &id, &nonce));
    CHECK_FALSE("long", public_id_parse("hld_", "hld_000000001234abcdef0123450", &id, &nonce));
    CHECK_FALSE("empty", public_id_parse("hld_", "", &id, &nonce));
}

static void
test_an_url_of_no_known_store_is_refused(void)
{
    struct fixture *f = setup();
    struct store_options options = f->options;
    struct store *store;
    int applied;

    options.url = "mysql:/x";
    CHECK_STATUS(STATUS_INVALID, store_open(&options, &store, &f->err), &f->err);
    CHECK_TRUE("none", store == NULL);
    CHECK_STATUS(STATUS_INVALID, store_migrate(&options, &applied, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, store_migrate(&f->options, &applied, &f->err), &f->err);
    CHECK_INT("nothing to apply", 0, applied);
    CHECK_STATUS(STATUS_OK, store_check(f->store, &f->err), &f->err);
    store_close(NULL);
    teardown(f);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_first_sight_creates_the_accounts_and_admits),
        CHECK_TEST(test_a_budget_of_the_last_plan_is_shown_before_it_counts),
        CHECK_TEST(test_exactly_as_many_holds_as_fit_pass),
        CHECK_TEST(test_settling_returns_the_hold_and_counts_the_cost),
        CHECK_TEST(test_settling_twice_answers_the_same_bytes_and_counts_once),
        CHECK_TEST(test_spend_without_a_hold_counts_once_per_key),
        CHECK_TEST(test_an_earlier_spend_counts_in_the_periods_of_then),
        CHECK_TEST(test_a_refused_first_sight_leaves_an_account_that_can_be_topped_up),
        CHECK_TEST(test_a_line_gained_later_starts_at_its_journal_with_live_holds),
        CHECK_TEST(test_a_line_gained_after_the_clock_went_back_counts_what_is_later),
        CHECK_TEST(test_a_line_gained_by_a_post_for_later_counts_from_its_birth),
        CHECK_TEST(test_a_new_period_is_a_new_row_and_a_late_settlement_belongs_to_the_old_one),
        CHECK_TEST(test_every_account_of_the_chain_is_counted_and_the_tightest_wins),
        CHECK_TEST(test_a_changed_parent_acts_on_the_next_request_of_every_process),
        CHECK_TEST(test_parents_neither_form_a_circle_nor_pass_four),
        CHECK_TEST(test_a_parent_from_a_claim_counts_beside_the_stored_one),
        CHECK_TEST(test_more_than_four_parents_in_all_are_no_allow),
        CHECK_TEST(test_names_that_cannot_be_are_no_allow),
        CHECK_TEST(test_two_keys_of_one_customer_keep_their_own_plans_and_share_the_counters),
        CHECK_TEST(test_a_hand_set_limit_wins_until_it_is_cleared),
        CHECK_TEST(test_a_boost_ends_by_itself_and_a_top_up_with_its_period),
        CHECK_TEST(test_a_credit_names_its_budget_where_there_are_several),
        CHECK_TEST(test_a_credit_that_is_over_or_too_large_is_refused),
        CHECK_TEST(test_a_credit_may_end_before_its_period),
        CHECK_TEST(test_an_overrun_is_carried_into_the_next_period),
        CHECK_TEST(test_i9_frozen_revoked_and_expired_are_refused_on_the_next_request),
        CHECK_TEST(test_reverify_asks_for_a_newer_verification),
        CHECK_TEST(test_i5_an_expired_hold_frees_its_room_and_its_late_post_is_recorded_once),
        CHECK_TEST(test_a_post_after_the_time_is_expired_also_when_nobody_looked_before),
        CHECK_TEST(test_on_expiry_charge_charges_once_and_a_late_post_corrects_it),
        CHECK_TEST(test_a_refund_of_what_an_expiry_charged_leaves_less_for_the_late_post),
        CHECK_TEST(test_a_heartbeat_keeps_a_hold_and_a_raise_must_fit),
        CHECK_TEST(test_extending_an_expired_hold_is_an_admission_again),
        CHECK_TEST(test_a_voided_hold_gives_its_room_back_and_refuses_a_post),
        CHECK_TEST(test_a_hold_outside_a_request_is_an_admission_with_its_own_reply),
        CHECK_TEST(test_an_unknown_hold_with_a_subject_is_recorded_once),
        CHECK_TEST(test_concurrency_counts_live_holds_and_frees_itself),
        CHECK_TEST(test_an_automatic_hold_is_the_95th_percentile_of_the_routes_charges),
        CHECK_TEST(test_calls_of_one_client_request_share_hold_rate_and_slot),
        CHECK_TEST(test_calls_without_a_hold_share_their_rate_for_a_minute),
        CHECK_TEST(test_a_redirected_call_passes_only_with_its_own_hold),
        CHECK_TEST(test_a_redirected_call_with_a_voided_hold_is_refused),
        CHECK_TEST(test_a_unique_id_that_is_too_long_is_none),
        CHECK_TEST(test_refunds_of_a_charge_never_exceed_it),
        CHECK_TEST(test_a_charge_above_hold_and_budget_is_recorded_in_full),
        CHECK_TEST(test_i4_a_key_used_for_another_request_is_refused_also_with_a_hold),
        CHECK_TEST(test_prune_keeps_replies_for_the_promised_time),
        CHECK_TEST(test_the_reply_of_a_settled_hold_is_made_again_after_prune),
        CHECK_TEST(test_prune_removes_old_periods_with_their_charges_and_holds),
        CHECK_TEST(test_prune_keeps_a_charge_whose_longer_period_is_kept),
        CHECK_TEST(test_an_answer_that_does_not_fit_records_nothing),
        CHECK_TEST(test_a_batch_records_each_post),
        CHECK_TEST(test_i6_a_batch_that_is_not_kept_records_nothing),
        CHECK_TEST(test_an_element_that_fails_takes_only_itself_back),
        CHECK_TEST(test_a_post_without_a_hold_counts_on_the_parent_that_a_claim_named),
        CHECK_TEST(test_a_post_without_a_hold_counts_on_the_organization_of_its_key),
        CHECK_TEST(test_the_names_last_seen_are_those_of_the_key_else_of_the_subject),
        CHECK_TEST(test_an_organization_that_is_the_subject_counts_once),
        CHECK_TEST(test_accounts_are_listed_in_byte_order),
        CHECK_TEST(test_a_note_of_clerk_is_kept_beside_its_account),
        CHECK_TEST(test_subjects_that_were_not_listed_since_are_found),
        CHECK_TEST(test_the_api_keys_of_a_subject_are_those_it_was_seen_with),
        CHECK_TEST(test_charges_are_filtered_paged_and_summed),
        CHECK_TEST(test_listings_are_newest_first_whichever_process_wrote),
        CHECK_TEST(test_holds_are_listed_by_state_and_account),
        CHECK_TEST(test_an_expired_hold_frees_its_room_whatever_others_left_behind),
        CHECK_TEST(test_with_a_budget_on_all_every_expired_hold_frees_its_room),
        CHECK_TEST(test_expired_holds_of_others_are_journalled_after_answers),
        CHECK_TEST(test_explain_agrees_with_the_verdict_and_records_nothing),
        CHECK_TEST(test_a_price_that_changes_is_a_new_version),
        CHECK_TEST(test_a_price_file_is_imported_whole_or_not_at_all),
        CHECK_TEST(test_a_usage_is_priced_as_of_its_holds_placement),
        CHECK_TEST(test_a_model_of_several_providers_needs_its_provider),
        CHECK_TEST(test_i8_a_priced_charge_is_recomputed_by_verify),
        CHECK_TEST(test_i8_a_refund_of_a_priced_charge_is_no_charge_of_its_usage),
        CHECK_TEST(test_public_ids_are_parsed_whole_or_refused),
        CHECK_TEST(test_an_url_of_no_known_store_is_refused),
        CHECK_TEST(test_i1_eight_processes_on_first_sight_pass_exactly_as_many_as_fit),
        CHECK_TEST(test_rates_are_exact_over_eight_processes),
        CHECK_TEST(test_a_hold_whose_owner_died_frees_its_room_and_its_late_post_counts_once),
        CHECK_TEST(test_i7_a_budget_set_on_all_under_load_counts_every_charge_and_hold),
        CHECK_TEST(test_i2_i6_i7_no_cap_is_passed_by_32_processes_in_one_hierarchy),
        CHECK_TEST(test_i2_i6_i7_no_cap_is_passed_when_workers_are_killed),
    };
    int worst = 0;

    for (size_t i = 0; i < CHECK_COUNT(stores); i++) {
        int code;

        under_test = &stores[i];
        if (under_test->begin != NULL && !under_test->begin()) {
            worst = worst > 0 ? worst : NOT_HERE;
            continue;
        }
        code = check_main(under_test->name, tests, CHECK_COUNT(tests) - under_test->without);
        if (under_test->end != NULL && !under_test->end())
            code = 1;
        worst = code > worst || worst == NOT_HERE ? code : worst;
    }
    return worst;
}
