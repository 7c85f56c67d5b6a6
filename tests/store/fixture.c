/* SPDX-License-Identifier: MIT */
#include "tests/store/fixture.h"

#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/crypto.h"
#include "common/store_rows.h"
#ifdef HAVE_POSTGRES
#include "tests/postgres_cluster.h"
#endif

#include "common/banned.h"

#define NOT_HERE 77 /* to automake: skipped */

/* ---- stores under test ---------------------------------------------------------------------- */

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
static char migrated[64];               /* what each of them is a copy of */

static bool
postgres_begin(void)
{
    char url[256];
    const struct store_options options = { .url = url };
    struct error err;
    int applied;

    if (!cluster_make(&cluster))
        return false;
    cluster_start(&cluster);
    cluster_database(&cluster, NULL, migrated, sizeof(migrated));
    cluster_url(&cluster, migrated, "", url, sizeof(url));
    if (store_migrate(&options, &applied, &err) != STATUS_OK) {
        printf("%s\n", err.message);
        abort();
    }
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
    cluster_database(&cluster, migrated, f->database, sizeof(f->database));
    cluster_url(&cluster, f->database, more, f->url, sizeof(f->url));
    return true;
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
    bool pooled;         /* sessions are another program's: the same store once more */
    bool (*begin)(void); /* once before the suite; false: not on this machine */
    bool (*end)(void);   /* false: something showed only then */
    bool (*make)(struct fixture *f);
    void (*remove)(struct fixture *f);
} stores[] = {
    { "sqlite", false, false, NULL, NULL, sqlite_make, sqlite_remove },
#ifdef HAVE_POSTGRES
    { "postgresql", true, false, postgres_begin, postgres_end, postgres_make, postgres_remove },
    { "postgresql behind PgBouncer", true, true, pooler_begin, postgres_end, pooler_make,
      postgres_remove },
#endif
};
static const struct kind_of_store *under_test; /* set once per run of a suite, in store_main */

bool
store_has_clock(void)
{
    return under_test->has_clock;
}

struct plan_budget *
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

struct plan *
add_plan(struct fixture *f, const char *name, int64_t hold_nanos)
{
    struct plan *plan = &f->plans[f->policy.plan_count++];

    memset(plan, 0, sizeof(*plan));
    (void)!text_copy(plan->name, sizeof(plan->name), name);
    plan->hold.set = true;
    plan->hold.nanos = hold_nanos;
    return plan;
}

void
open_store(struct fixture *f)
{
    CHECK_STATUS(STATUS_OK, store_open(&f->options, &f->store, &f->err), &f->err);
    if (f->store == NULL)
        abort(); /* nothing after this could mean anything */
}

struct fixture *
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

int64_t
differences(struct fixture *f, int64_t now_us)
{
    struct verify_summary summary;

    CHECK_STATUS(STATUS_OK,
                 store_verify(f->store, now_us, count_difference, NULL, &summary, &f->err),
                 &f->err);
    return summary.differences;
}

void
make_anew(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
    under_test->remove(f);
    if (!under_test->make(f))
        abort();
}

void
discard(struct fixture *f)
{
    store_close(f->store);
    under_test->remove(f);
    free(f);
}

void
teardown(struct fixture *f)
{
    CHECK_INT("verify", 0, differences(f, NOON));
    discard(f);
}

/* ---- requests and posts --------------------------------------------------------------------- */

const struct actor ops = { "ops", "because" };

struct chain_names
names_of(const char *key, const char *subject, const char *organization)
{
    struct chain_names names;

    memset(&names, 0, sizeof(names));
    (void)!text_copy(names.key_id, sizeof(names.key_id), key);
    (void)!text_copy(names.subject, sizeof(names.subject), subject);
    (void)!text_copy(names.organization, sizeof(names.organization), organization);
    return names;
}

bool
admit_names(struct fixture *f, const struct chain_names *names, const struct plan *plan,
            int64_t now_us)
{
    struct admission ask = { .names = names, .plan = plan, .verification = 1, .unique_id = "" };

    CHECK_STATUS(STATUS_OK, store_admit(f->store, &ask, now_us, &f->verdict, &f->err), &f->err);
    return f->verdict.allow;
}

bool
admit(struct fixture *f, const char *subject, int64_t now_us)
{
    struct chain_names names = names_of("ak_1", subject, "");

    return admit_names(f, &names, &f->plans[0], now_us);
}

const char *
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
const struct reply_writer writer = { write_reply, NULL };

enum outcome
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

enum outcome
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

struct budget_line
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

enum outcome
set_budget(struct fixture *f, const char *account, enum period_kind kind, int64_t limit_nanos)
{
    CHECK_STATUS(STATUS_OK,
                 store_budget_set(f->store, account, kind, limit_nanos, NULL, &ops, NOON,
                                  &f->result, &f->err),
                 &f->err);
    return f->result.outcome;
}

enum outcome
change(struct fixture *f, const char *account, enum account_change what, int64_t until_us,
       const char *text)
{
    CHECK_STATUS(STATUS_OK,
                 store_account_change(f->store, account, what, until_us, text, &ops, NOON,
                                      &f->result, &f->err),
                 &f->err);
    return f->result.outcome;
}

bool
take_charge(void *context, const struct charge *charge)
{
    *(struct charge *)context = *charge;
    return true;
}

struct tally {
    enum event_kind kind;
    int percent, count;
};

static bool
count_event(void *context, const struct row_value *values)
{
    struct tally *tally = context;

    tally->count += values[1].number == tally->kind && values[6].number == tally->percent;
    return true;
}

int
events_told(struct fixture *f, enum event_kind kind, int percent)
{
    const struct row_table *table = row_tables;
    struct tally tally = { .kind = kind, .percent = percent };

    while (strcmp(table->name, "event") != 0)
        table++;
    CHECK_STRING("column", "kind", table->columns[1].name);
    CHECK_STRING("column", "percent", table->columns[6].name);
    CHECK_STATUS(STATUS_OK, store_rows_begin(f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, store_rows_visit(f->store, table, count_event, &tally, &f->err),
                 &f->err);
    store_rows_end(f->store);
    return tally.count;
}

enum outcome
void_hold(struct fixture *f, const char *id, int64_t now_us)
{
    CHECK_STATUS(
        STATUS_OK,
        store_hold_void(f->store, id, NULL, &writer, now_us, &f->result, &f->reply, &f->err),
        &f->err);
    return f->result.outcome;
}

static bool
sum_charge(void *context, const struct charge *charge)
{
    struct sums *sums = context;

    sums->count++;
    sums->nanos += charge->amount_nanos;
    sums->last_id = charge->id;
    return true;
}

struct sums
charges(struct fixture *f, struct charge_filter filter)
{
    struct sums sums = { 0, 0, 0 };

    filter.limit = filter.limit != 0 ? filter.limit : 1000;
    filter.to_us = filter.to_us != 0 ? filter.to_us : INT64_MAX;
    filter.before_id = filter.before_id != 0 ? filter.before_id : INT64_MAX;
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &filter, sum_charge, &sums, &f->err), &f->err);
    return sums;
}

enum outcome
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

/* ---- the suite ------------------------------------------------------------------------------ */

static int
run_on(const struct kind_of_store *store, const struct check_group *const groups[],
       size_t group_count)
{
    int code;

    under_test = store;
    if (store->begin != NULL && !store->begin())
        return NOT_HERE;
    code = check_groups(store->name, groups, group_count);
    return store->end != NULL && !store->end() ? 1 : code;
}

int
store_main(const struct check_group *const groups[], size_t group_count, bool pooled)
{
    int worst = 0;

    for (size_t i = 0; i < CHECK_COUNT(stores); i++) {
        int code = stores[i].pooled && !pooled ? 0 : run_on(&stores[i], groups, group_count);

        /* what failed says more than what is not here */
        if (code != 0 && (worst == 0 || worst == NOT_HERE))
            worst = code;
    }
    return worst;
}
