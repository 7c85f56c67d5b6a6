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
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "tests/check.h"

#include "common/banned.h"

#define USD MONEY_NANOS_PER_USD
#define CENT MONEY_NANOS_PER_CENT
#define SECOND US_PER_SECOND
#define NOON INT64_C(1795003200000000) /* 2026-11-18 12:00 UTC */
#define MONTH_START INT64_C(1793491200000000)
#define NEXT_MONTH INT64_C(1796083200000000)
#define TTL (300 * SECOND)

/* ---- stores under test ---------------------------------------------------------------------- */

struct fixture {
    char folder[64];
    char url[128];
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

static const struct kind_of_store {
    const char *name;
    bool (*make)(struct fixture *f); /* false: not on this machine */
    void (*remove)(struct fixture *f);
} stores[] = {
    { "sqlite", sqlite_make, sqlite_remove },
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
                 store_verify(f->store, now_us, count_difference, NULL, &summary, &f->err), &f->err);
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
    struct spend spend = { .hold_id = hold_id, .subject = subject, .cost_nanos = cost_nanos,
                           .token = "php" };

    CHECK_STATUS(STATUS_OK,
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
    CHECK_INT("other amount", OUTCOME_HOLD_SETTLED, spend_hold(f, id, NULL, 4 * CENT, NOON + SECOND));
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

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_first_sight_creates_the_accounts_and_admits),
        CHECK_TEST(test_exactly_as_many_holds_as_fit_pass),
        CHECK_TEST(test_settling_returns_the_hold_and_counts_the_cost),
        CHECK_TEST(test_settling_twice_answers_the_same_bytes_and_counts_once),
        CHECK_TEST(test_spend_without_a_hold_counts_once_per_key),
    };
    int worst = 0;

    for (size_t i = 0; i < CHECK_COUNT(stores); i++) {
        int code;

        under_test = &stores[i];
        code = check_main(under_test->name, tests, CHECK_COUNT(tests));
        worst = code > worst ? code : worst;
    }
    return worst;
}
