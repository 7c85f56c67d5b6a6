/* SPDX-License-Identifier: MIT */
/*
 * The worst mixed load that we can make on PostgreSQL: 24 processes on one hierarchy do everything
 * that the programs can ask of a store, at random and all at once. Afterwards there is no deadlock
 * in the server's log, and the books are in order. How long: SPENDGATE_MIXED_SECONDS (default 3).
 */
#include "common/store.h"

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "tests/check.h"
#include "tests/postgres_cluster.h"

#include "common/banned.h"

#define CENT MONEY_NANOS_PER_CENT
#define USD MONEY_NANOS_PER_USD
#define NOT_HERE 77
#define PROCESSES 24
#define SECONDS_VARIABLE "SPENDGATE_MIXED_SECONDS"
#define SECONDS_DEFAULT 3
#define SECONDS_MAX 3600
#define KEYS 12
#define SUBJECTS 6
#define OWN_MAX 64 /* holds and charges that a process remembers */
#define BATCH_MAX 12

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

enum action {
    DO_ADMIT,
    DO_READ,
    DO_SETTLE,
    DO_SPEND,
    DO_SPEND_UNKNOWN,
    DO_VOID,
    DO_EXTEND,
    DO_PLACE,
    DO_REFUND,
    DO_CREDIT,
    DO_BUDGET,
    DO_CLEAR,
    DO_PARENT,
    DO_ACCOUNT,
    DO_BATCH,
    DO_WEBHOOK,
    DO_PRUNE,
    DO_PRICES,
    DO_LOOK,
    DO_LIST,
    ACTIONS
};
static const struct {
    const char *name;
    unsigned weight;
} actions[ACTIONS] = {
    [DO_ADMIT] = { "admission", 60 },
    [DO_READ] = { "admission that reads", 20 },
    [DO_SETTLE] = { "settlement", 30 },
    [DO_SPEND] = { "spend without a hold", 12 },
    [DO_SPEND_UNKNOWN] = { "spend for an unknown hold", 3 },
    [DO_VOID] = { "void", 6 },
    [DO_EXTEND] = { "extend", 10 },
    [DO_PLACE] = { "hold outside a request", 5 },
    [DO_REFUND] = { "refund", 6 },
    [DO_CREDIT] = { "credit", 4 },
    [DO_BUDGET] = { "budget set", 4 },
    [DO_CLEAR] = { "budget cleared", 2 },
    [DO_PARENT] = { "parent changed", 6 },
    [DO_ACCOUNT] = { "account changed", 6 },
    [DO_BATCH] = { "batch", 4 },
    [DO_WEBHOOK] = { "webhook", 4 },
    [DO_PRUNE] = { "prune", 1 },
    [DO_PRICES] = { "price import", 1 },
    [DO_LOOK] = { "look at an account", 6 },
    [DO_LIST] = { "listings", 2 },
};

/* Of all processes. */
struct shared {
    int64_t half_us, end_us; /* by the boot clock */
    _Atomic int64_t done[ACTIONS], refused[ACTIONS], busy[ACTIONS], failed[ACTIONS];
    /* Round trips of the admissions and settlements that were done without a retry. */
    _Atomic int64_t trips[ACTIONS][8];
};
static struct shared *shared;

struct fixture {
    char database[64], url[256];
    struct plan plans[2];
    struct policy policy;
    struct store_options options;
    struct store *store;
    struct verdict verdict;
    struct result result;
    struct ledger ledger;
    struct error err;
    char reply_bytes[REPLY_SIZE];
    struct buf reply;
    uint64_t seed;
    size_t hold_count, charge_count; /* ever; the last OWN_MAX are there */
    char holds[OWN_MAX][PUBLIC_ID_SIZE], charges[OWN_MAX][PUBLIC_ID_SIZE];
};

static uint64_t
draw(struct fixture *f, uint64_t below)
{
    f->seed ^= f->seed << 13; /* xorshift64 */
    f->seed ^= f->seed >> 7;
    f->seed ^= f->seed << 17;
    return (f->seed >> 11) % below;
}

static const char *
any_subject(struct fixture *f)
{
    static const char *const names[SUBJECTS] = { "user_1", "user_2", "user_3",
                                                 "org_1",  "org_2",  "mch_1" };

    return names[draw(f, SUBJECTS)];
}

static const char *
any_account(struct fixture *f)
{
    static const char *const names[] = { "group:a",  "group:b",  "group:c", "all",
                                         "key:ak_1", "key:ak_2", "org_1",   "org_2" };

    return draw(f, 2) ? any_subject(f) : names[draw(f, CHECK_COUNT(names))];
}

static const char *
any_key(struct fixture *f)
{
    static const char *const names[KEYS] = { "ak_1", "ak_2", "ak_3", "ak_4",  "ak_5",  "ak_6",
                                             "ak_7", "ak_8", "ak_9", "ak_10", "ak_11", "ak_12" };

    return names[draw(f, KEYS)];
}

static const struct actor actor = { "mixed", "load" };

static void
write_reply(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    buf_add_format(out, "%lld", (long long)result->charge.id);
}
static const struct reply_writer writer = { write_reply, NULL };

static void
remember_hold(struct fixture *f, const struct hold *hold)
{
    public_id_format("hld_", hold->id, hold->nonce, f->holds[f->hold_count++ % OWN_MAX]);
}

static const char *
own(struct fixture *f, char ids[OWN_MAX][PUBLIC_ID_SIZE], size_t count)
{
    return count == 0 ? "hld_000000000001000000000001"
                      : ids[draw(f, count < OWN_MAX ? count : OWN_MAX)];
}

/* ---- what a process does -------------------------------------------------------------------- */

static enum status
admit(struct fixture *f, const struct plan *plan, int64_t now_us)
{
    char unique_id[32] = "";
    struct chain_names names;
    struct admission ask = {
        .names = &names, .plan = plan, .verification = INT64_MAX, .unique_id = unique_id
    };
    struct buf text;
    enum status status;

    memset(&names, 0, sizeof(names));
    (void)!text_copy(names.subject, sizeof(names.subject), any_subject(f));
    if (draw(f, 8) != 0)
        (void)!text_copy(names.key_id, sizeof(names.key_id), any_key(f));
    if (draw(f, 3) == 0)
        (void)!text_copy(names.organization, sizeof(names.organization), "org_1");
    if (draw(f, 10) == 0)
        (void)!text_copy(names.parent, sizeof(names.parent), "group:c");
    if (draw(f, 4) == 0) { /* Apache's, and each of them several times */
        buf_init(&text, unique_id, sizeof(unique_id));
        buf_add_format(&text, "request-%d", (int)draw(f, 1000));
    }
    status = store_admit(f->store, &ask, now_us, &f->verdict, &f->err);
    if (status == STATUS_OK && f->verdict.allow && f->verdict.hold_placed)
        remember_hold(f, &f->verdict.hold);
    return status;
}

static enum status
spend(struct fixture *f, const char *hold_id, const char *subject, int64_t now_us)
{
    char key[32];
    struct spend post = { .hold_id = hold_id,
                          .subject = subject,
                          .key_id = draw(f, 2) ? any_key(f) : NULL,
                          .cost_nanos = (int64_t)draw(f, 5 * CENT),
                          .model = draw(f, 2) ? "large" : NULL,
                          .token = "php" };
    struct idempotency idempotency = { .scope = "php", .key = NULL };
    struct buf text;
    enum status status;

    buf_init(&text, key, sizeof(key));
    buf_add_format(&text, "k%d", (int)draw(f, 100000));
    if (draw(f, 2))
        idempotency.key = key;
    status =
        store_spend(f->store, &post, &idempotency, &writer, now_us, &f->result, &f->reply, &f->err);
    if (status == STATUS_OK && f->result.outcome == OUTCOME_DONE)
        public_id_format("chg_", f->result.charge.id, f->result.charge.nonce,
                         f->charges[f->charge_count++ % OWN_MAX]);
    return status;
}

static enum status
spend_unknown(struct fixture *f, int64_t now_us)
{
    char id[PUBLIC_ID_SIZE];

    public_id_format("hld_", (int64_t)draw(f, 1000) + INT64_C(1000000000), 1, id);
    return spend(f, id, any_subject(f), now_us);
}

static enum status
place(struct fixture *f, int64_t now_us)
{
    struct hold_request request = { .subject = any_subject(f),
                                    .key_id = draw(f, 2) ? any_key(f) : NULL,
                                    .amount_nanos = CENT };
    enum status status =
        store_hold_place(f->store, &request, NULL, &writer, now_us, &f->result, &f->reply, &f->err);

    if (status == STATUS_OK && f->result.outcome == OUTCOME_DONE)
        remember_hold(f, &f->result.hold);
    return status;
}

static enum status
credit(struct fixture *f, int64_t now_us)
{
    struct credit_request request = { .account = any_account(f),
                                      .amount_nanos = CENT,
                                      .period = draw(f, 2) ? PERIOD_MONTH : PERIOD_DAY };

    return store_credit(f->store, &request, &actor, NULL, &writer, now_us, &f->result, &f->reply,
                        &f->err);
}

/* `all` gets its budgets in the second half: until then writers of different accounts do not wait
 * for each other. */
static enum status
budget_set(struct fixture *f, int64_t now_us)
{
    static const enum period_kind kinds[] = { PERIOD_DAY, PERIOD_MONTH, PERIOD_NONE };
    const struct clock clock = clock_system();
    const char *account = any_account(f);

    if (clock_boot_us(&clock) < shared->half_us && strcmp(account, "all") == 0)
        account = "group:a";
    return store_budget_set(f->store, account, kinds[draw(f, 3)], 1000 * USD, NULL, &actor, now_us,
                            &f->result, &f->err);
}

static enum status
change_account(struct fixture *f, int64_t now_us)
{
    static const enum account_change changes[] = { ACCOUNT_FREEZE,   ACCOUNT_UNFREEZE,
                                                   ACCOUNT_UNFREEZE, ACCOUNT_REVERIFY,
                                                   ACCOUNT_REVERIFY, ACCOUNT_RENEW };
    const char *account = any_account(f);
    enum account_change change = changes[draw(f, CHECK_COUNT(changes))];
    enum status status;

    status = store_account_change(f->store, account, change, 0, NULL, &actor, now_us, &f->result,
                                  &f->err);
    if (status == STATUS_OK && change == ACCOUNT_FREEZE)
        status = store_account_change(f->store, account, ACCOUNT_UNFREEZE, 0, NULL, &actor, now_us,
                                      &f->result, &f->err);
    return status;
}

static enum status
change_parent(struct fixture *f, int64_t now_us)
{
    static const char *const parents[] = { "group:a", "group:b", "group:c", "user_1", "" };

    return store_account_change(f->store, any_subject(f), ACCOUNT_PARENT, 0,
                                parents[draw(f, CHECK_COUNT(parents))], &actor, now_us, &f->result,
                                &f->err);
}

static enum status
batch(struct fixture *f, int64_t now_us)
{
    bool keep = draw(f, 4) != 0;
    enum status status = store_batch_begin(f->store, &f->err), end;
    struct error err;

    if (status != STATUS_OK)
        return status;
    for (uint64_t i = draw(f, BATCH_MAX) + 1; i > 0 && status == STATUS_OK; i--)
        status = draw(f, 3) ? spend(f, NULL, any_subject(f), now_us)
                            : spend(f, own(f, f->holds, f->hold_count), any_subject(f), now_us);
    end = store_batch_end(f->store, keep && status == STATUS_OK, &err);
    if (status != STATUS_OK)
        return status;
    f->err = err;
    return end;
}

/* A message that is noted once, and what it causes, kept together. */
static enum status
webhook(struct fixture *f, int64_t now_us)
{
    uint8_t fingerprint[SHA256_BYTES] = { 1 };
    char id[32];
    struct buf text;
    bool seen = false;
    enum status status = store_batch_begin(f->store, &f->err), end;
    struct error err;

    if (status != STATUS_OK)
        return status;
    buf_init(&text, id, sizeof(id));
    buf_add_format(&text, "msg_%d", (int)draw(f, 100000));
    status = store_message_note(f->store, "svix", id, fingerprint, now_us, &seen, &f->err);
    for (int i = 0; i < 3 && status == STATUS_OK && !seen; i++)
        status = store_account_change(f->store, any_subject(f), ACCOUNT_REVERIFY, 0, NULL, &actor,
                                      now_us, &f->result, &f->err);
    end = store_batch_end(f->store, status == STATUS_OK, &err);
    if (status != STATUS_OK)
        return status;
    f->err = err;
    return end;
}

static enum status
import_prices(struct fixture *f, int64_t now_us)
{
    static struct price_version versions[2];
    enum price_change changes[2];

    memset(versions, 0, sizeof(versions));
    price_init(&versions[0].price);
    price_init(&versions[1].price);
    for (size_t i = 0; i < 2; i++) {
        (void)!text_copy(versions[i].model, MODEL_NAME_SIZE, i == 0 ? "large" : "small");
        versions[i].from_us = now_us;
        for (size_t part = 0; part < PRICE_PARTS; part++)
            versions[i].price.rates[PRICE_STANDARD][PRICE_BASE][part] = (int64_t)draw(f, USD);
    }
    return store_price_import(f->store, versions, 2, true, &actor, "prices", now_us, changes,
                              &f->err);
}

static bool
see_charge(void *context, const struct charge *charge)
{
    (void)context;
    (void)charge;
    return true;
}

static bool
see_hold(void *context, const struct hold *hold, const char *account)
{
    (void)context;
    (void)hold;
    (void)account;
    return true;
}

static bool
see_row(void *context, const struct report_row *row)
{
    (void)context;
    (void)row;
    return true;
}

static enum status
listings(struct fixture *f)
{
    struct charge_filter filter = { .account = draw(f, 2) ? any_account(f) : NULL,
                                    .to_us = INT64_MAX,
                                    .before_id = INT64_MAX,
                                    .limit = 50 };
    enum status status = store_charges(f->store, &filter, see_charge, NULL, &f->err);

    if (status == STATUS_OK)
        status = store_holds(f->store, NULL, HOLD_HELD, 50, see_hold, NULL, &f->err);
    return status == STATUS_OK ? store_report(f->store, (enum report_by)draw(f, 5), 0, INT64_MAX,
                                              see_row, NULL, &f->err)
                               : status;
}

static enum status
look(struct fixture *f, int64_t now_us)
{
    char parent[ACCOUNT_NAME_SIZE];

    return store_account_load(f->store, any_account(f), now_us, &f->ledger, parent, &f->err);
}

static enum status
act(struct fixture *f, enum action action, int64_t now_us)
{
    int64_t removed = 0;

    switch (action) {
    case DO_ADMIT:
        return admit(f, &f->plans[0], now_us);
    case DO_READ:
        return admit(f, &f->plans[1], now_us);
    case DO_SETTLE:
        return spend(f, own(f, f->holds, f->hold_count), NULL, now_us);
    case DO_SPEND:
        return spend(f, NULL, any_subject(f), now_us);
    case DO_SPEND_UNKNOWN:
        return spend_unknown(f, now_us);
    case DO_VOID:
        return store_hold_void(f->store, own(f, f->holds, f->hold_count), NULL, NULL, now_us,
                               &f->result, NULL, &f->err);
    case DO_EXTEND:
        return store_hold_extend(f->store, own(f, f->holds, f->hold_count), draw(f, 2) ? CENT : 0,
                                 NULL, NULL, now_us, &f->result, NULL, &f->err);
    case DO_PLACE:
        return place(f, now_us);
    case DO_REFUND:
        return store_refund(f->store, own(f, f->charges, f->charge_count), (int64_t)draw(f, CENT),
                            "php", NULL, NULL, &writer, now_us, &f->result, &f->reply, &f->err);
    case DO_CREDIT:
        return credit(f, now_us);
    case DO_BUDGET:
        return budget_set(f, now_us);
    case DO_CLEAR:
        return store_budget_clear(f->store, any_account(f), PERIOD_DAY, &actor, now_us, &f->result,
                                  &f->err);
    case DO_PARENT:
        return change_parent(f, now_us);
    case DO_ACCOUNT:
        return change_account(f, now_us);
    case DO_BATCH:
        return batch(f, now_us);
    case DO_WEBHOOK:
        return webhook(f, now_us);
    case DO_PRUNE:
        return store_prune(f->store, now_us - US_PER_SECOND, now_us, &removed, &f->err);
    case DO_PRICES:
        return import_prices(f, now_us);
    case DO_LOOK:
        return look(f, now_us);
    case DO_LIST:
        return listings(f);
    case ACTIONS:
        break;
    }
    return STATUS_INTERNAL;
}

static enum action
any_action(struct fixture *f)
{
    unsigned total = 0;
    uint64_t drawn;

    for (size_t i = 0; i < ACTIONS; i++)
        total += actions[i].weight;
    drawn = draw(f, total);
    for (size_t i = 0; i < ACTIONS; i++) {
        if (drawn < actions[i].weight)
            return (enum action)i;
        drawn -= actions[i].weight;
    }
    return DO_ADMIT;
}

/* A circle, too many parents, a price of the same instant, an account that is not there yet. */
static bool
is_refusal(enum status status)
{
    return status == STATUS_CONFLICT || status == STATUS_OVERFLOW || status == STATUS_NOT_FOUND ||
           status == STATUS_INVALID;
}

static void
count(struct fixture *f, enum action action, enum status status, int trips)
{
    if (status == STATUS_OK) {
        shared->done[action]++;
        shared->trips[action][trips < 8 ? trips : 7]++;
    } else if (status == STATUS_BUSY) {
        shared->busy[action]++;
        printf("busy: %s: %s\n", actions[action].name, f->err.message);
    } else if (is_refusal(status)) {
        shared->refused[action]++;
    } else {
        shared->failed[action]++;
        printf("failed: %s: %s\n", actions[action].name, f->err.message);
    }
}

static void
mixed(struct fixture *f, int index)
{
    const struct clock clock = clock_system();

    f->seed = UINT64_C(88172645463325252) + (uint64_t)index * 104729;
    if (store_open(&f->options, &f->store, &f->err) != STATUS_OK) {
        printf("child: %s\n", f->err.message);
        _exit(1);
    }
    while (clock_boot_us(&clock) < shared->end_us) {
        enum action action = any_action(f);
        int64_t now_us = store_now_us(f->store, clock_now_us(&clock));
        int before = round_trips;
        enum status status = act(f, action, now_us);

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
add_budget(struct plan *plan, enum period_kind kind, enum budget_per per)
{
    struct plan_budget *budget = &plan->budgets[plan->budget_count++];

    (void)!text_copy(budget->name, sizeof(budget->name), period_kind_name(kind));
    budget->per = per;
    budget->spec.kind = kind;
    (void)!text_copy(budget->spec.timezone, sizeof(budget->spec.timezone), "UTC");
    budget->spec.anchor_day = budget->spec.week_start = 1;
    period_spec_normalize(&budget->spec);
    budget->limit_nanos = 100000 * USD;
}

/* "pro" holds 5 cents, counts a rate and slots; "look" records nothing. */
static struct fixture *
prepare(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int applied;

    if (f == NULL)
        abort();
    cluster_database(&cluster, NULL, f->database, sizeof(f->database));
    cluster_url(&cluster, f->database, "", f->url, sizeof(f->url));
    (void)!text_copy(f->plans[0].name, sizeof(f->plans[0].name), "pro");
    (void)!text_copy(f->plans[1].name, sizeof(f->plans[1].name), "pro");
    for (size_t i = 0; i < 2; i++) {
        add_budget(&f->plans[i], PERIOD_MONTH, PER_SUBJECT);
        add_budget(&f->plans[i], PERIOD_DAY, PER_KEY);
        add_budget(&f->plans[i], PERIOD_HOUR, PER_ORG);
        f->plans[i].hold.set = true;
    }
    f->plans[0].hold.nanos = 5 * CENT;
    f->plans[0].rate = f->plans[0].key_rate =
        (struct rate){ .count = 100000, .per_us = US_PER_SECOND, .burst = 100000, .text = "x" };
    f->plans[0].concurrency = 100000;
    f->policy.plans = f->plans;
    f->policy.plan_count = 1;
    f->options = (struct store_options){ .url = f->url,
                                         .group = "",
                                         .policy = &f->policy,
                                         .hold_ttl_us = 2 * US_PER_SECOND,
                                         .charge_on_expiry = true,
                                         .idempotency_ttl_us = 30 * US_PER_SECOND };
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
run_all(struct fixture *f)
{
    const struct clock clock = clock_system();
    pid_t pids[PROCESSES];
    int status;

    memset(shared, 0, sizeof(*shared));
    shared->half_us = clock_boot_us(&clock) + seconds() * US_PER_SECOND / 2;
    shared->end_us = clock_boot_us(&clock) + seconds() * US_PER_SECOND;
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
    const _Atomic int64_t *trips = shared->trips[action];

    printf("round trips, %s:", actions[action].name);
    for (int i = 0; i < 8; i++)
        printf(" %lld", (long long)trips[i]);
    printf("%s\n", " or more");
    for (int i = 0; i < least; i++)
        CHECK_INT("none with less", 0, trips[i]);
}

/* How often each was done, and a machine under load may keep a lock from somebody for too long:
 * that is a 503. */
static void
check_counts(void)
{
    int64_t done = 0, busy = 0;

    for (size_t i = 0; i < ACTIONS; i++) {
        printf("%8lld done %6lld refused %4lld busy  %s\n", (long long)shared->done[i],
               (long long)shared->refused[i], (long long)shared->busy[i], actions[i].name);
        CHECK_INT(actions[i].name, 0, shared->failed[i]);
        done += shared->done[i];
        busy += shared->busy[i];
    }
    check_round_trips(DO_ADMIT, 2);
    check_round_trips(DO_READ, 1);
    check_round_trips(DO_SETTLE, 1);
    CHECK_TRUE("work was done", done > 50 * seconds());
    CHECK_TRUE("hardly anything waited in vain", busy * 200 < done);
}

/* The books, after everybody is gone. */
static void
check_books(struct fixture *f)
{
    struct verify_summary summary = { .differences = -1 };

    CHECK_STATUS(STATUS_OK, store_open(&f->options, &f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK,
                 store_verify(f->store, store_now_us(f->store, 0), tell, NULL, &summary, &f->err),
                 &f->err);
    CHECK_INT("verify", 0, summary.differences);
    CHECK_TRUE("charges", summary.charges > 0);
    store_close(f->store);
}

static void
test_i1_to_i7_a_mixed_load_has_no_deadlock_and_its_books_are_right(void)
{
    struct fixture *f = prepare();

    run_all(f);
    check_counts();
    check_books(f);
    CHECK_INT("deadlocks", 0, cluster_log_lines(&cluster, "deadlock detected"));
    CHECK_INT("panics", 0, cluster_log_lines(&cluster, "PANIC"));
    free(f);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_i1_to_i7_a_mixed_load_has_no_deadlock_and_its_books_are_right),
    };
    int code;

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !cluster_make(&cluster))
        return NOT_HERE;
    cluster_start(&cluster);
    code = check_main("store_mixed", tests, CHECK_COUNT(tests));
    cluster_remove(&cluster);
    munmap(shared, sizeof(*shared));
    return code;
}
