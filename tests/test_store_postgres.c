/* SPDX-License-Identifier: MIT */
/*
 * What can go wrong between a store and its PostgreSQL server: the server gone, a session killed in
 * the middle, a commit whose answer is lost, locks held too long, a schema from elsewhere, wrong
 * passwords. And what only this store promises: round trips, roles, partitions. What a store does
 * when nothing goes wrong is in store_contract.c.
 */
#include "common/store.h"

#include <libpq-fe.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/check.h"
#include "tests/postgres_cluster.h"

#include "common/banned.h"

#define CENT MONEY_NANOS_PER_CENT
#define USD MONEY_NANOS_PER_USD
#define NOON INT64_C(1795003200000000) /* 2026-11-18 12:00 UTC */
#define DAY (INT64_C(86400) * US_PER_SECOND)
#define NOT_HERE 77

static struct postgres_cluster cluster;

/* ---- what is injected: libpq's seam has no context argument --------------------------------- */

enum fault { FAULT_NONE, FAULT_LOSE_ANSWER, FAULT_KILL_SESSION };
static struct {
    int round_trips;
    enum fault fault;
    int strike_at; /* the fault strikes with this round trip, counted from 1 */
    const char *database;
} inject;

int __real_PQpipelineSync(PGconn *conn);
int __wrap_PQpipelineSync(PGconn *conn);

/* The statement is on its way; wait until the server has done it, then cut the line. */
static void
lose_answer(PGconn *conn)
{
    char bytes[4096];

    while (PQflush(conn) > 0)
        usleep(1000);
    for (int i = 0; i < 500; i++) {
        char idle[32];

        cluster_sql(&cluster, inject.database,
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'spendgate' "
                    "AND datname = current_database() AND state <> 'idle'",
                    idle, sizeof(idle));
        if (strcmp(idle, "0") == 0)
            break;
        usleep(10000);
    }
    while (recv(PQsocket(conn), bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
    shutdown(PQsocket(conn), SHUT_RDWR);
}

static void
kill_sessions(void)
{
    cluster_sql(&cluster, inject.database,
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
                "WHERE application_name = 'spendgate' AND datname = current_database()",
                NULL, 0);
}

int
__wrap_PQpipelineSync(PGconn *conn)
{
    bool strikes = ++inject.round_trips == inject.strike_at;
    int done;

    if (strikes && inject.fault == FAULT_KILL_SESSION)
        kill_sessions();
    done = __real_PQpipelineSync(conn);
    if (strikes && inject.fault == FAULT_LOSE_ANSWER)
        lose_answer(conn);
    return done;
}

/* From here on count round trips; `fault` strikes with the `at`th. */
static void
arm(enum fault fault, int at)
{
    inject.round_trips = 0;
    inject.fault = fault;
    inject.strike_at = at;
}

/* ---- the fixture ---------------------------------------------------------------------------- */

struct fixture {
    char database[64];
    char url[256];
    struct plan plan;
    struct policy policy;
    struct store_options options;
    struct store *store;
    struct verdict verdict;
    struct result result;
    struct ledger ledger;
    struct error err;
    char reply_bytes[REPLY_SIZE];
    struct buf reply;
};

/* With `create` the schema is made first, by the owner. */
static void
open_store(struct fixture *f)
{
    int applied;

    if (f->options.create)
        CHECK_STATUS(STATUS_OK, store_migrate(&f->options, &applied, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, store_open(&f->options, &f->store, &f->err), &f->err);
    if (f->store == NULL)
        abort();
}

/* A database without anything in it, and the plan "pro": 1 dollar a month, holds of 5 cents. */
static struct fixture *
prepare(const char *more)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct plan_budget *budget;

    if (f == NULL)
        abort();
    cluster_database(&cluster, NULL, f->database, sizeof(f->database));
    cluster_url(&cluster, f->database, more, f->url, sizeof(f->url));
    (void)!text_copy(f->plan.name, sizeof(f->plan.name), "pro");
    f->plan.hold.set = true;
    f->plan.hold.nanos = 5 * CENT;
    budget = &f->plan.budgets[f->plan.budget_count++];
    (void)!text_copy(budget->name, sizeof(budget->name), "month");
    budget->per = PER_SUBJECT;
    budget->spec.kind = PERIOD_MONTH;
    (void)!text_copy(budget->spec.timezone, sizeof(budget->spec.timezone), "UTC");
    budget->spec.anchor_day = budget->spec.week_start = 1;
    period_spec_normalize(&budget->spec);
    budget->limit_nanos = USD;
    f->policy.plans = &f->plan;
    f->policy.plan_count = 1;
    f->options = (struct store_options){ .url = f->url,
                                         .group = "",
                                         .policy = &f->policy,
                                         .hold_ttl_us = 300 * US_PER_SECOND,
                                         .idempotency_ttl_us = 32 * DAY,
                                         .create = true };
    buf_init(&f->reply, f->reply_bytes, sizeof(f->reply_bytes));
    inject.database = f->database;
    arm(FAULT_NONE, 0);
    return f;
}

static struct fixture *
setup(void)
{
    struct fixture *f = prepare("");

    open_store(f);
    return f;
}

static void
tell(void *context, const char *invariant, const char *text)
{
    (void)context;
    printf("verify: %s %s\n", invariant, text);
}

static void
teardown(struct fixture *f)
{
    struct verify_summary summary = { .differences = -1 };
    char sql[128];
    struct buf text;

    arm(FAULT_NONE, 0);
    if (f->store != NULL) {
        CHECK_STATUS(STATUS_OK, store_verify(f->store, NOON, tell, NULL, &summary, &f->err),
                     &f->err);
        CHECK_INT("verify", 0, summary.differences);
    }
    store_close(f->store);
    buf_init(&text, sql, sizeof(sql));
    buf_add_format(&text, "DROP DATABASE %s WITH (FORCE)", f->database);
    cluster_sql(&cluster, "postgres", sql, NULL, 0);
    free(f);
}

static enum status
admit_as(struct fixture *f, const char *key_id, const char *subject)
{
    struct chain_names names;
    struct admission ask = {
        .names = &names, .plan = &f->plan, .verification = 1, .unique_id = ""
    };

    memset(&names, 0, sizeof(names));
    (void)!text_copy(names.key_id, sizeof(names.key_id), key_id);
    (void)!text_copy(names.subject, sizeof(names.subject), subject);
    return store_admit(f->store, &ask, NOON, &f->verdict, &f->err);
}

static enum status
admit(struct fixture *f)
{
    return admit_as(f, "ak_1", "user_1");
}

static void
write_reply(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    buf_add_format(out, "charge of %lld", (long long)result->charge.amount_nanos);
}

static enum status
spend(struct fixture *f, const char *hold_id, const char *key, int64_t now_us)
{
    const struct reply_writer writer = { write_reply, NULL };
    struct spend post = { .hold_id = hold_id,
                          .subject = hold_id == NULL ? "user_1" : NULL,
                          .cost_nanos = CENT,
                          .token = "php" };
    struct idempotency idempotency = { .scope = "php", .key = key, .fingerprint = { 1 } };

    return store_spend(f->store, &post, &idempotency, &writer, now_us, &f->result, &f->reply,
                       &f->err);
}

static int64_t
spent(struct fixture *f)
{
    char parent[ACCOUNT_NAME_SIZE];

    CHECK_STATUS(STATUS_OK,
                 store_account_load(f->store, "user_1", NOON, &f->ledger, parent, &f->err),
                 &f->err);
    return f->ledger.line_count > 0 ? f->ledger.lines[0].spent_nanos : -1;
}

static int64_t
ask(struct fixture *f, const char *sql)
{
    char text[32];
    int64_t number = -1;

    cluster_sql(&cluster, f->database, sql, text, sizeof(text));
    CHECK_TRUE("a number", text_to_int64(text, 0, INT64_MAX, &number));
    return number;
}

static void
check_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        CHECK_STRING("message", part, text);
}

/* ---- round trips ---------------------------------------------------------------------------- */

static void
test_an_admission_that_writes_is_two_round_trips_and_one_that_reads_is_one(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    arm(FAULT_NONE, 0);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_INT("with a hold", 2, inject.round_trips);
    public_id_format("hld_", f->verdict.hold.id, f->verdict.hold.nonce, id);
    arm(FAULT_NONE, 0);
    CHECK_STATUS(STATUS_OK, spend(f, id, "a", NOON), &f->err);
    CHECK_INT("a settlement", 2, inject.round_trips);
    f->plan.hold.nanos = 0;
    arm(FAULT_NONE, 0);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    CHECK_INT("nothing to write", 1, inject.round_trips);
    teardown(f);
}

static void
test_expired_holds_of_others_cost_no_round_trip(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    CHECK_STATUS(STATUS_OK, admit_as(f, "ak_2", "user_2"), &f->err);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    cluster_sql(&cluster, f->database, "UPDATE spendgate.hold SET expires_us = 1 WHERE id = 1",
                NULL, 0);
    arm(FAULT_NONE, 0);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_INT("with a hold", 2, inject.round_trips);
    public_id_format("hld_", f->verdict.hold.id, f->verdict.hold.nonce, id);
    arm(FAULT_NONE, 0);
    CHECK_STATUS(STATUS_OK, spend(f, id, "a", NOON), &f->err);
    CHECK_INT("a settlement", 2, inject.round_trips);
    f->plan.hold.nanos = 0;
    arm(FAULT_NONE, 0);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_INT("nothing to write", 1, inject.round_trips);
    CHECK_INT("still there", 1,
              ask(f, "SELECT count(*) FROM spendgate.hold WHERE state = 0 AND expires_us = 1"));
    store_after(f->store);
    CHECK_INT("after the answer", 0,
              ask(f, "SELECT count(*) FROM spendgate.hold WHERE state = 0 AND expires_us = 1"));
    teardown(f);
}

/* Who has room does not wait for it, nor ask again; who has none gets what the hold kept. */
static void
test_while_another_process_journals_only_a_request_without_room_does_too(void)
{
    struct fixture *f = setup();
    PGconn *other = PQconnectdb(f->url);

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    cluster_sql(&cluster, f->database, "UPDATE spendgate.hold SET expires_us = 1", NULL, 0);
    PQclear(PQexec(other, "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended("
                          "'spendgate.expiry', 0))"));
    f->plan.budgets[0].limit_nanos = 10 * CENT;
    arm(FAULT_NONE, 0);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("room", f->verdict.allow);
    CHECK_INT("round trips", 2, inject.round_trips);
    CHECK_INT("counted as if it lived", 10 * CENT, f->verdict.held_nanos);
    store_after(f->store);
    CHECK_INT("not after the answer either", 2,
              ask(f, "SELECT count(*) FROM spendgate.hold WHERE state = 0"));
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("no room", f->verdict.allow);
    CHECK_INT("journalled", 1, ask(f, "SELECT count(*) FROM spendgate.hold WHERE state = 3"));
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_FALSE("full", f->verdict.allow);
    PQfinish(other);
    teardown(f);
}

static void
test_the_clock_is_the_databases(void)
{
    struct fixture *f = setup();
    struct timespec real;
    int64_t real_us;

    clock_gettime(CLOCK_REALTIME, &real);
    real_us = (int64_t)real.tv_sec * US_PER_SECOND + real.tv_nsec / 1000;
    CHECK_TRUE("not the argument", store_now_us(f->store, 1) > real_us - US_PER_SECOND);
    CHECK_TRUE("near", store_now_us(f->store, 1) < real_us + 5 * US_PER_SECOND);
    teardown(f);
}

/* ---- failures ------------------------------------------------------------------------------- */

static void
test_i10_without_its_server_a_store_refuses_until_it_is_back(void)
{
    struct fixture *f = setup();

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    cluster_stop(&cluster, SIGQUIT);
    CHECK_STATUS(STATUS_UNAVAILABLE, admit(f), &f->err);
    CHECK_FALSE("allow", f->verdict.allow);
    check_has(f->err.message, "cannot connect");
    CHECK_STATUS(STATUS_UNAVAILABLE, store_check(f->store, &f->err), &f->err);
    check_has(f->err.message, "cannot connect");
    check_has(f->err.message, "; tried again in");
    cluster_start(&cluster);
    usleep(200000); /* longer than the first pause between two attempts */
    CHECK_STATUS(STATUS_OK, store_check(f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    teardown(f);
}

static void
test_a_store_may_be_opened_while_its_server_is_away(void)
{
    struct fixture *f = setup();
    struct store *store;

    store_close(f->store);
    f->store = NULL;
    f->options.create = false;
    cluster_stop(&cluster, SIGQUIT);
    CHECK_STATUS(STATUS_UNAVAILABLE, store_open(&f->options, &store, &f->err), &f->err);
    CHECK_TRUE("none", store == NULL);
    f->options.lazy = true;
    open_store(f);
    CHECK_TRUE("comes back", store_comes_back(f->store));
    CHECK_STATUS(STATUS_UNAVAILABLE, admit(f), &f->err);
    check_has(f->err.message, "cannot connect");
    cluster_start(&cluster);
    usleep(200000);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    teardown(f);
}

static void
test_i3_a_charge_that_was_answered_survives_a_crash_of_the_server(void)
{
    struct fixture *f = setup();

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "a", NOON), &f->err);
    cluster_stop(&cluster, SIGQUIT);
    cluster_start(&cluster);
    CHECK_INT("charges", 1, ask(f, "SELECT count(*) FROM spendgate.charge"));
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "b", NOON), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "c", NOON), &f->err);
    CHECK_STATUS(STATUS_OK, store_batch_end(f->store, true, &f->err), &f->err);
    cluster_stop(&cluster, SIGQUIT);
    cluster_start(&cluster);
    CHECK_INT("a batch", 3, ask(f, "SELECT count(*) FROM spendgate.charge"));
    teardown(f);
}

static void
test_a_session_that_the_server_closed_while_idle_is_replaced(void)
{
    struct fixture *f = setup();

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    kill_sessions();
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    CHECK_INT("holds", 2, ask(f, "SELECT count(*) FROM spendgate.hold"));
    teardown(f);
}

static void
test_a_session_killed_between_load_and_commit_records_once(void)
{
    struct fixture *f = setup();

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    arm(FAULT_KILL_SESSION, 1);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_INT("before the load", 2, ask(f, "SELECT count(*) FROM spendgate.hold"));
    arm(FAULT_KILL_SESSION, 5); /* load, names, organization, load; now the commit */
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "a", NOON), &f->err);
    CHECK_INT("done", OUTCOME_DONE, f->result.outcome);
    CHECK_INT("spent", CENT, spent(f));
    teardown(f);
}

/* Which round trip of a post without a hold brings its commit. The first makes its chain. */
static int
commit_of_a_post(struct fixture *f)
{
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "first", NOON), &f->err);
    arm(FAULT_NONE, 0);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "measure", NOON), &f->err);
    return inject.round_trips;
}

static void
test_i4_a_commit_whose_answer_was_lost_is_settled_by_its_key(void)
{
    struct fixture *f = setup();
    int commit;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    commit = commit_of_a_post(f);
    arm(FAULT_LOSE_ANSWER, commit);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "a", NOON), &f->err);
    CHECK_TRUE("it struck", inject.round_trips > commit);
    CHECK_INT("the second run found it", OUTCOME_REPLAYED, f->result.outcome);
    CHECK_STRING("reply", "charge of 10000000", buf_text(&f->reply));
    CHECK_INT("once", 3 * CENT, spent(f));
    teardown(f);
}

static void
test_a_lost_answer_without_a_key_is_told_as_unknown(void)
{
    struct fixture *f = setup();

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    arm(FAULT_LOSE_ANSWER, commit_of_a_post(f));
    CHECK_STATUS(STATUS_UNAVAILABLE, spend(f, NULL, NULL, NOON), &f->err);
    check_has(f->err.message, "whether it was recorded is unknown");
    CHECK_INT("outcome", OUTCOME_NONE, f->result.outcome);
    CHECK_INT("reply", 0, f->reply.length);
    arm(FAULT_NONE, 0);
    CHECK_INT("it was", 3 * CENT, spent(f));
    teardown(f);
}

static void
test_a_settlement_whose_answer_was_lost_is_settled_by_its_hold(void)
{
    struct fixture *f = setup();
    char id[PUBLIC_ID_SIZE];

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    public_id_format("hld_", f->verdict.hold.id, f->verdict.hold.nonce, id);
    arm(FAULT_LOSE_ANSWER, 2);
    CHECK_STATUS(STATUS_OK, spend(f, id, NULL, NOON), &f->err);
    CHECK_INT("outcome", OUTCOME_REPLAYED, f->result.outcome);
    CHECK_INT("once", CENT, spent(f));
    teardown(f);
}

static void
test_an_admission_whose_answer_was_lost_is_no_allow(void)
{
    struct fixture *f = setup();

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    arm(FAULT_LOSE_ANSWER, 2);
    CHECK_STATUS(STATUS_UNAVAILABLE, admit(f), &f->err);
    CHECK_FALSE("allow", f->verdict.allow);
    teardown(f);
}

static void
test_a_batch_that_lost_its_session_is_not_acknowledged(void)
{
    struct fixture *f = setup();

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "a", NOON), &f->err);
    kill_sessions();
    CHECK_STATUS(STATUS_UNAVAILABLE, spend(f, NULL, "b", NOON), &f->err);
    CHECK_STATUS(STATUS_UNAVAILABLE, store_batch_end(f->store, true, &f->err), &f->err);
    check_has(f->err.message, "the batch was given up after an error; post it again");
    CHECK_INT("nothing of it", 0, spent(f));
    CHECK_STATUS(STATUS_OK, store_batch_begin(f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "a", NOON), &f->err);
    arm(FAULT_LOSE_ANSWER, 1);
    CHECK_STATUS(STATUS_UNAVAILABLE, store_batch_end(f->store, true, &f->err), &f->err);
    check_has(f->err.message, "whether it was recorded is unknown");
    teardown(f);
}

static void
test_a_row_that_stays_locked_ends_the_wait(void)
{
    struct fixture *f = setup();
    PGconn *other = PQconnectdb(f->url);
    int64_t begin_us;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    PQclear(PQexec(other, "BEGIN; SELECT * FROM spendgate.account WHERE name = 'user_1' "
                          "FOR UPDATE"));
    begin_us = store_now_us(f->store, 0);
    CHECK_STATUS(STATUS_BUSY, admit(f), &f->err);
    check_has(f->err.message, "a row stayed locked for too long");
    CHECK_TRUE("waited", store_now_us(f->store, 0) - begin_us < 4 * US_PER_SECOND);
    CHECK_FALSE("allow", f->verdict.allow);
    PQclear(PQexec(other, "ROLLBACK; BEGIN; "
                          "SELECT pg_advisory_xact_lock(hashtextextended('spendgate.all', 0))"));
    CHECK_STATUS(STATUS_BUSY, admit(f), &f->err);
    check_has(f->err.message, "a row stayed locked for too long");
    CHECK_FALSE("allow", f->verdict.allow);
    PQfinish(other);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    teardown(f);
}

static void
test_writers_of_different_accounts_wait_for_each_other_only_when_all_counts(void)
{
    struct fixture *f = setup();
    PGconn *other = PQconnectdb(f->url);
    const struct actor actor = { .who = "root" };

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    /* What a request of another account has locked between its two round trips. */
    PQclear(PQexec(other, "BEGIN; "
                          "SELECT pg_advisory_xact_lock_shared(hashtextextended('spendgate.all', "
                          "0)); INSERT INTO spendgate.account (name) VALUES ('user_2')"));
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("beside it", f->verdict.allow);
    CHECK_STATUS(
        STATUS_BUSY,
        store_budget_set(f->store, "all", PERIOD_DAY, USD, NULL, &actor, NOON, &f->result, &f->err),
        &f->err);
    PQclear(PQexec(other, "COMMIT"));
    CHECK_STATUS(
        STATUS_OK,
        store_budget_set(f->store, "all", PERIOD_DAY, USD, NULL, &actor, NOON, &f->result, &f->err),
        &f->err);
    PQclear(PQexec(other, "BEGIN; SELECT pg_advisory_xact_lock_shared(hashtextextended("
                          "'spendgate.all', 0))"));
    CHECK_STATUS(STATUS_BUSY, admit(f), &f->err);
    PQfinish(other);
    arm(FAULT_NONE, 0);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_INT("round trips", 2, inject.round_trips);
    CHECK_INT("held on all", 15 * CENT,
              ask(f, "SELECT held_nanos FROM spendgate.budget_period p "
                     "JOIN spendgate.budget b ON b.id = p.budget_id "
                     "JOIN spendgate.account a ON a.id = b.account_id "
                     "WHERE a.name = 'all'"));
    teardown(f);
}

static void
test_a_read_that_was_cancelled_leaves_no_session_behind(void)
{
    struct fixture *f = prepare("&options=-c%20statement_timeout%3D300");
    PGconn *other = PQconnectdb(f->url);

    open_store(f);
    f->plan.hold.nanos = 0;
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    PQclear(PQexec(other, "BEGIN; LOCK TABLE spendgate.account IN ACCESS EXCLUSIVE MODE"));
    CHECK_STATUS(STATUS_BUSY, admit(f), &f->err);
    check_has(f->err.message, "the statement took too long");
    CHECK_FALSE("allow", f->verdict.allow);
    PQfinish(other);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    teardown(f);
}

/* An administrator who cancels the wait for a standby: the server then says COMMIT, and it may be
 * gone with the machine. */
static void
cancel_waits_for_a_standby(void)
{
    for (;;) {
        cluster_sql(&cluster, inject.database,
                    "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity "
                    "WHERE wait_event = 'SyncRep'",
                    NULL, 0);
        usleep(20000);
    }
}

static void
set_standby_names(const char *names)
{
    char sql[128], there[8];
    struct buf text;

    buf_init(&text, sql, sizeof(sql));
    buf_add_format(&text, "ALTER SYSTEM SET synchronous_standby_names = '%s'", names);
    cluster_sql(&cluster, "postgres", sql, NULL, 0);
    cluster_sql(&cluster, "postgres", "SELECT pg_reload_conf()", NULL, 0);
    buf_init(&text, sql, sizeof(sql));
    buf_add_format(&text, "SELECT current_setting('synchronous_standby_names') = '%s'", names);
    do {
        usleep(20000);
        cluster_sql(&cluster, "postgres", sql, there, sizeof(there));
    } while (there[0] != 't');
    usleep(200000); /* until the server's own processes have read it */
}

static void
test_i3_a_commit_that_its_standby_does_not_have_is_not_acknowledged(void)
{
    struct fixture *f = setup();
    pid_t child;
    int status;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "a", NOON), &f->err);
    set_standby_names("nobody");
    fflush(stdout);
    child = fork();
    if (child == 0)
        cancel_waits_for_a_standby();
    CHECK_STATUS(STATUS_UNAVAILABLE, spend(f, NULL, "b", NOON), &f->err);
    check_has(f->err.message, "the server gave up waiting for its standby");
    CHECK_INT("outcome", OUTCOME_NONE, f->result.outcome);
    CHECK_STATUS(STATUS_UNAVAILABLE, spend(f, NULL, "a", NOON), &f->err);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err); /* which a crash may lose */
    kill(child, SIGKILL);
    CHECK_TRUE("child", waitpid(child, &status, 0) == child);
    set_standby_names("");
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "b", NOON), &f->err);
    CHECK_INT("its key settles it", OUTCOME_REPLAYED, f->result.outcome);
    CHECK_INT("once", 2 * CENT, spent(f));
    teardown(f);
}

static void
test_a_text_that_is_not_utf8_is_refused_and_records_nothing(void)
{
    struct fixture *f = setup();
    struct spend post = { .subject = "user_1", .cost_nanos = CENT, .model = "\xff" };

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_INVALID,
                 store_spend(f->store, &post, NULL, NULL, NOON, &f->result, &f->reply, &f->err),
                 &f->err);
    CHECK_INT("spent", 0, spent(f));
    teardown(f);
}

/* ---- listings ------------------------------------------------------------------------------- */

static bool
note_nanos(void *context, const struct charge *charge)
{
    buf_add_format(context, " %lld", (long long)charge->amount_nanos);
    return true;
}

static void
check_charges(struct fixture *f, const char *name, struct charge_filter filter, const char *want)
{
    char storage[256];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    filter.to_us = filter.to_us == 0 ? INT64_MAX : filter.to_us;
    filter.before_id = INT64_MAX;
    filter.limit = filter.limit == 0 ? 100 : filter.limit;
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &filter, note_nanos, &text, &f->err), &f->err);
    CHECK_STRING(name, want, buf_text(&text));
}

static void
check_pages(struct fixture *f)
{
    check_charges(f, "account", (struct charge_filter){ .account = "group:a" }, " 6 4 3 1");
    check_charges(f, "limit", (struct charge_filter){ .account = "group:a", .limit = 2 }, " 6 4");
    check_charges(f, "model", (struct charge_filter){ .account = "group:a", .model = "m" }, " 4 1");
    check_charges(f, "route", (struct charge_filter){ .account = "group:a", .route = "/r" }, " 4");
    check_charges(f, "key", (struct charge_filter){ .account = "group:a", .key_id = "ak_3" },
                  " 6 3");
    check_charges(f, "from", (struct charge_filter){ .account = "group:a", .from_us = NOON + 3 },
                  " 6 4");
    check_charges(f, "to", (struct charge_filter){ .account = "group:a", .to_us = NOON + 3 },
                  " 3 1");
    check_charges(f, "another", (struct charge_filter){ .account = "user_2" }, " 5 2");
    check_charges(f, "all", (struct charge_filter){ .account = "all" }, " 6 5 4 3 2 1");
    check_charges(f, "key alone", (struct charge_filter){ .key_id = "ak_3" }, " 6 3");
    check_charges(f, "nobody's", (struct charge_filter){ .key_id = "ak_9" }, "");
}

static void
test_charges_are_listed_alike_chain_by_chain_and_back_in_time(void)
{
    static const char *const keys[] = { "ak_1", "ak_2", "ak_3", "ak_1", "ak_2", "ak_3" };
    struct fixture *f = setup();
    const struct actor actor = { .who = "root" };

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(f->store, "user_1", ACCOUNT_PARENT, 0, "group:a", &actor,
                                      NOON, &f->result, &f->err),
                 &f->err);
    CHECK_STATUS(STATUS_OK,
                 store_account_change(f->store, "user_2", ACCOUNT_MAKE, 0, "pro", &actor, NOON,
                                      &f->result, &f->err),
                 &f->err);
    for (int i = 0; i < 6; i++) {
        struct spend post = { .subject = i % 3 == 1 ? "user_2" : "user_1",
                              .key_id = keys[i],
                              .cost_nanos = i + 1,
                              .model = i % 3 == 0 ? "m" : "other",
                              .route = i >= 3 ? "/r" : NULL };

        if (i == 5)
            post.route = NULL;
        buf_clear(&f->reply);
        CHECK_STATUS(
            STATUS_OK,
            store_spend(f->store, &post, NULL, NULL, NOON + i, &f->result, &f->reply, &f->err),
            &f->err);
    }
    check_pages(f);
    /* So many chains that nobody looks at them one by one. */
    cluster_sql(&cluster, f->database,
                "WITH n AS (INSERT INTO spendgate.chain (spec, payer_id) SELECT 'x' || i, a.id "
                "FROM generate_series(1, 1001) i, spendgate.account a WHERE a.name = 'group:a' "
                "RETURNING id) INSERT INTO spendgate.chain_account "
                "SELECT n.id, 0, a.id, 8 FROM n, spendgate.account a WHERE a.name = 'group:a'",
                NULL, 0);
    check_pages(f);
    teardown(f);
}

static void
test_a_listing_that_takes_too_long_is_given_up(void)
{
    struct fixture *f = prepare("");
    struct charge_filter every = { .to_us = INT64_MAX, .before_id = INT64_MAX, .limit = 1 };
    PGconn *other = PQconnectdb(f->url);
    char storage[64];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    f->options.listing_ms = 50;
    open_store(f);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "a", NOON), &f->err);
    PQclear(PQexec(other, "BEGIN; LOCK TABLE spendgate.charge IN ACCESS EXCLUSIVE MODE"));
    CHECK_STATUS(STATUS_BUSY, store_charges(f->store, &every, note_nanos, &text, &f->err), &f->err);
    check_has(f->err.message, "list charges: canceling statement due to statement timeout (57014)");
    CHECK_STRING("nothing", "", buf_text(&text));
    PQfinish(other);
    CHECK_STATUS(STATUS_OK, store_charges(f->store, &every, note_nanos, &text, &f->err), &f->err);
    CHECK_STRING("afterwards", " 10000000", buf_text(&text));
    teardown(f);
}

static enum status
set_budget(struct fixture *f, enum period_kind period)
{
    const struct actor actor = { .who = "root" };

    return store_budget_set(f->store, "user_1", period, USD, NULL, &actor, NOON, &f->result,
                            &f->err);
}

/* As if there were millions of charges: a sum that takes 4.5 s a row. */
static void
test_a_sum_that_takes_too_long_is_for_an_operator_to_wait_for(void)
{
    struct fixture *f = prepare("");
    char sql[1024];

    f->options.listing_ms = 1000;
    open_store(f);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "a", NOON), &f->err);
    (void)snprintf(sql, sizeof(sql),
                   "CREATE SCHEMA slow; CREATE FUNCTION slow.step(numeric, bigint) RETURNS numeric "
                   "LANGUAGE sql AS 'SELECT $1 + $2 FROM pg_sleep(4.5)'; "
                   "CREATE AGGREGATE slow.sum(bigint) (SFUNC = slow.step, STYPE = numeric, "
                   "INITCOND = 0); ALTER DATABASE %s SET search_path = slow, pg_catalog",
                   f->database);
    cluster_sql(&cluster, f->database, sql, NULL, 0);
    store_close(f->store);
    CHECK_STATUS(STATUS_OK, store_open(&f->options, &f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_BUSY, set_budget(f, PERIOD_DAY), &f->err);
    check_has(f->err.message, "set one of that period with `spendgate budget set'");
    store_close(f->store);
    f->options.listing_ms = 0;
    CHECK_STATUS(STATUS_OK, store_open(&f->options, &f->store, &f->err), &f->err);
    CHECK_STATUS(STATUS_OK, set_budget(f, PERIOD_DAY), &f->err);
    CHECK_INT("it begins with what was spent", CENT,
              ask(f, "SELECT p.spent_nanos FROM spendgate.budget_period p JOIN spendgate.budget b "
                     "ON b.id = p.budget_id WHERE b.kind = 2"));
    (void)snprintf(sql, sizeof(sql), "ALTER DATABASE %s RESET ALL", f->database);
    cluster_sql(&cluster, f->database, sql, NULL, 0);
    store_close(f->store);
    CHECK_STATUS(STATUS_OK, store_open(&f->options, &f->store, &f->err), &f->err);
    teardown(f);
}

/* ---- opening -------------------------------------------------------------------------------- */

static void
test_an_unknown_schema_is_refused_with_the_command_to_run(void)
{
    struct fixture *f = prepare("");
    int applied;

    f->options.create = false;
    CHECK_STATUS(STATUS_UNAVAILABLE, store_open(&f->options, &f->store, &f->err), &f->err);
    check_has(f->err.message, "its schema is 0, this program needs 2; run `spendgate migrate`");
    CHECK_STATUS(STATUS_OK, store_migrate(&f->options, &applied, &f->err), &f->err);
    CHECK_INT("applied", 2, applied);
    CHECK_STATUS(STATUS_OK, store_migrate(&f->options, &applied, &f->err), &f->err);
    CHECK_INT("again", 0, applied);
    open_store(f);
    cluster_sql(&cluster, f->database, "INSERT INTO spendgate.schema_step VALUES (99)", NULL, 0);
    CHECK_STATUS(STATUS_UNAVAILABLE, store_check(f->store, &f->err), &f->err);
    check_has(f->err.message, "its schema is 99, this program knows 2; install the newer");
    CHECK_STATUS(STATUS_UNAVAILABLE, store_migrate(&f->options, &applied, &f->err), &f->err);
    CHECK_INT("nothing", 0, applied);
    cluster_sql(&cluster, f->database, "DELETE FROM spendgate.schema_step WHERE number = 99", NULL,
                0);
    teardown(f);
}

static void
check_refused_quietly(struct fixture *f, const char *url, enum status want)
{
    struct store *store;

    f->options.url = url;
    CHECK_STATUS(want, store_open(&f->options, &store, &f->err), &f->err);
    CHECK_TRUE("none", store == NULL);
    CHECK_TRUE("no password", strstr(f->err.message, "hunter2") == NULL);
    f->options.url = f->url;
}

static void
test_no_password_is_told_in_any_message(void)
{
    struct fixture *f = prepare("");
    char url[512];
    struct buf text;

    cluster_sql(&cluster, f->database,
                "DROP ROLE IF EXISTS with_password; "
                "CREATE ROLE with_password LOGIN PASSWORD 'right'",
                NULL, 0);
    buf_init(&text, url, sizeof(url));
    buf_add_format(&text, "postgresql://with_password:hunter2@/%s?host=%s", f->database,
                   cluster.folder);
    check_refused_quietly(f, url, STATUS_UNAVAILABLE);
    check_has(f->err.message, "password authentication failed");
    check_refused_quietly(f, "postgresql://u:hunter2%zz@127.0.0.1:1/x", STATUS_INVALID);
    check_refused_quietly(f, "postgresql://u:hunter2@127.0.0.1:1/x?nonsense=hunter2",
                          STATUS_INVALID);
    check_refused_quietly(f, "postgresql://u:hunter2@127.0.0.1:1/x", STATUS_UNAVAILABLE);
    check_refused_quietly(f, "postgresql://hunter2:hunter2@127.0.0.1:1/x", STATUS_UNAVAILABLE);
    teardown(f);
}

static void
test_several_hosts_find_the_one_that_writes(void)
{
    struct fixture *f = prepare("&connect_timeout=2&prepare=yes");
    char url[512];
    struct buf text;

    buf_init(&text, url, sizeof(url));
    buf_add_format(&text, "postgresql:///%s?host=%s,%s&port=1,5432&user=postgres", f->database,
                   cluster.folder, cluster.folder);
    f->options.url = url;
    open_store(f);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_TRUE("allow", f->verdict.allow);
    f->options.url = f->url;
    teardown(f);
}

/* ---- roles, partitions, keys ---------------------------------------------------------------- */

static bool
may(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    bool done =
        PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK;

    PQclear(result);
    return done;
}

static void
test_the_programs_role_may_not_change_schema_charges_or_credits(void)
{
    struct fixture *f = prepare("");
    char url[512];
    struct buf text;
    int64_t removed;
    PGconn *conn;

    open_store(f); /* as the owner: makes the schema and its roles */
    store_close(f->store);
    cluster_sql(&cluster, f->database,
                "DROP ROLE IF EXISTS site; CREATE ROLE site LOGIN IN ROLE spendgate_app", NULL, 0);
    buf_init(&text, url, sizeof(url));
    buf_add_format(&text, "postgresql://site@/%s?host=%s", f->database, cluster.folder);
    f->options.url = url;
    f->options.create = false;
    open_store(f);
    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "a", NOON), &f->err);
    CHECK_INT("spent", CENT, spent(f));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, 1, NOON, &removed, &f->err), &f->err);
    conn = PQconnectdb(url);
    CHECK_TRUE("read", may(conn, "SELECT count(*) FROM spendgate.charge"));
    CHECK_FALSE("update", may(conn, "UPDATE spendgate.charge SET amount_nanos = 0"));
    CHECK_FALSE("delete", may(conn, "DELETE FROM spendgate.charge"));
    CHECK_FALSE("credit", may(conn, "UPDATE spendgate.credit SET amount_nanos = 0"));
    CHECK_FALSE("table", may(conn, "CREATE TABLE spendgate.x ()"));
    CHECK_FALSE("drop", may(conn, "DROP TABLE spendgate.hold"));
    CHECK_TRUE("report", may(conn, "SELECT 1"));
    PQfinish(conn);
    teardown(f);
}

static void
test_a_charge_of_a_month_without_a_partition_is_kept_and_moved_by_prune(void)
{
    struct fixture *f = setup();
    int64_t later = NOON + 800 * DAY, removed;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "now", NOON), &f->err);
    CHECK_STATUS(STATUS_OK, spend(f, NULL, "later", later), &f->err);
    CHECK_INT("waits", 1, ask(f, "SELECT count(*) FROM spendgate.charge_default"));
    CHECK_STATUS(STATUS_OK, store_prune(f->store, 0, later, &removed, &f->err), &f->err);
    CHECK_INT("moved", 0, ask(f, "SELECT count(*) FROM spendgate.charge_default"));
    CHECK_INT("kept", 2, ask(f, "SELECT count(*) FROM spendgate.charge"));
    CHECK_INT("in its month", 1, ask(f, "SELECT count(*) FROM spendgate.charge_2029_01"));
    teardown(f);
}

/* ---- what doctor is told ---- */

#define FINDINGS_SIZE 16384
struct findings {
    char text[FINDINGS_SIZE]; /* "warning postgres: ...\n-> advice\n" */
    struct buf lines;
};

static void
take_finding(void *context, const struct finding *finding)
{
    struct findings *findings = context;

    buf_add_format(&findings->lines, "%s %s: %s\n-> %s\n", finding_level_name(finding->level),
                   finding->subject, finding->text, finding->advice != NULL ? finding->advice : "");
}

static const char *
examine(struct fixture *f, const char *url, struct findings *findings)
{
    const struct finding_sink sink = { .take = take_finding, .context = findings };

    f->options.url = url;
    buf_init(&findings->lines, findings->text, sizeof(findings->text));
    store_examine(&f->options, &sink);
    CHECK_FALSE("fits", buf_failed(&findings->lines));
    f->options.url = f->url;
    return findings->text;
}

static void
test_examine_tells_who_could_rewrite_the_books(void)
{
    static struct findings findings;
    struct fixture *f = setup();
    char url[512];
    struct buf text;
    const char *told = examine(f, f->url, &findings);

    check_has(told, "warning postgres: postgresql ");
    check_has(told,
              "the user postgres is a superuser: whoever gets hold of a program could rewrite");
    check_has(told, "-> log in as a user of its own");
    cluster_sql(&cluster, f->database,
                "DROP ROLE IF EXISTS site; CREATE ROLE site LOGIN IN ROLE spendgate_app;"
                "DROP ROLE IF EXISTS builder; CREATE ROLE builder LOGIN IN ROLE spendgate_app;"
                "GRANT CREATE ON SCHEMA spendgate TO builder;"
                "DROP ROLE IF EXISTS editor; CREATE ROLE editor LOGIN IN ROLE spendgate_app;"
                "GRANT UPDATE ON spendgate.charge TO editor;"
                "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN IN ROLE spendgate_report;"
                "DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN",
                NULL, 0);
    for (const char *const *pair =
             (const char *const[]){
                 "site", "ok postgres: ", "site", "may do what the programs need, and not change",
                 "builder", "the user builder may create tables in the schema", "editor",
                 "the user editor may change charges and credits", "reader", "problem postgres: ",
                 "reader", "the user reader lacks INSERT on account", "reader",
                 "-> as the owner of the database: GRANT spendgate_app TO \"reader\"", "stranger",
                 "problem store: ", "stranger", "grant the role spendgate_app to this user", NULL };
         *pair != NULL; pair += 2) {
        buf_init(&text, url, sizeof(url));
        buf_add_format(&text, "postgresql://%s@/%s?host=%s", pair[0], f->database, cluster.folder);
        check_has(examine(f, url, &findings), pair[1]);
    }
    cluster_sql(&cluster, f->database, "DROP OWNED BY builder, editor", NULL, 0);
    teardown(f);
}

static void
test_examine_tells_a_way_that_others_can_listen_to(void)
{
    static const char *const weak[] = { "disable", "allow", "prefer", NULL };
    static struct findings findings;
    struct fixture *f = setup();
    char url[512];
    struct buf text;

    CHECK_TRUE("a socket of this machine is not told",
               strstr(examine(f, f->url, &findings), "sslmode") == NULL);
    for (const char *const *mode = weak; *mode != NULL; mode++) {
        buf_init(&text, url, sizeof(url));
        buf_add_format(&text, "postgresql://postgres:hunter2@/%s?host=%s,db2.example&sslmode=%s",
                       f->database, cluster.folder, *mode);
        check_has(examine(f, url, &findings), "warning postgres: ");
        check_has(findings.text, "so the password and all money may go over the network in clear");
        check_has(findings.text, "-> add sslmode=verify-full");
        CHECK_TRUE("no password", strstr(findings.text, "hunter2") == NULL);
    }
    buf_init(&text, url, sizeof(url));
    buf_add_format(&text, "postgresql://postgres@/%s?host=%s,127.0.0.1,::1,localhost", f->database,
                   cluster.folder);
    CHECK_TRUE("local", strstr(examine(f, url, &findings), "sslmode") == NULL);
    teardown(f);
}

static void
test_examine_tells_months_without_a_partition(void)
{
    static struct findings findings;
    struct fixture *f = setup();

    check_has(examine(f, f->url, &findings), "the partitions of this month and the next are there");
    check_has(findings.text, "ok clock: this host and the database differ by ");
    cluster_sql(&cluster, f->database,
                "DO $$ BEGIN EXECUTE 'DROP TABLE spendgate.charge_' || to_char(now() AT TIME ZONE "
                "'UTC' + interval '1 month', 'YYYY_MM'); END $$",
                NULL, 0);
    check_has(examine(f, f->url, &findings), "the partitions of the coming months are missing");
    check_has(findings.text, "-> run `spendgate prune' every day");
    teardown(f);
}

static void
test_examine_tells_a_server_that_is_not_there_or_of_another_schema(void)
{
    static struct findings findings;
    struct fixture *f = prepare("");

    f->options.create = false;
    check_has(examine(f, f->url, &findings), "problem store: ");
    check_has(findings.text, "its schema is 0, this program needs 2; run `spendgate migrate`");
    check_has(examine(f, "postgresql://postgres@/x?host=/nowhere", &findings), "problem store: ");
    check_has(findings.text, "cannot connect");
    check_has(examine(f, "mysql://x", &findings), "begins with no store this program has");
    teardown(f);
}

static void
post_one_key(struct fixture *f)
{
    if (store_open(&f->options, &f->store, &f->err) != STATUS_OK)
        _exit(1);
    for (int i = 0; i < 20; i++) {
        char key[16];
        struct buf text;

        buf_init(&text, key, sizeof(key));
        buf_add_format(&text, "k%d", i);
        if (spend(f, NULL, key, NOON) != STATUS_OK ||
            (f->result.outcome != OUTCOME_DONE && f->result.outcome != OUTCOME_REPLAYED)) {
            printf("child: %s, outcome %d\n", f->err.message, (int)f->result.outcome);
            _exit(2);
        }
    }
    store_close(f->store);
    _exit(0);
}

static void
test_i4_eight_processes_with_the_same_keys_make_one_charge_each(void)
{
    struct fixture *f = setup();
    int status;

    CHECK_STATUS(STATUS_OK, admit(f), &f->err);
    store_close(f->store);
    f->store = NULL;
    fflush(stdout);
    for (int i = 0; i < 8; i++) {
        if (fork() == 0)
            post_one_key(f);
    }
    for (int i = 0; i < 8; i++) {
        CHECK_TRUE("child", wait(&status) > 0);
        CHECK_INT("exit", 0, status);
    }
    open_store(f);
    CHECK_INT("charges", 20, ask(f, "SELECT count(*) FROM spendgate.charge"));
    CHECK_INT("spent", 20 * CENT, spent(f));
    teardown(f);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_an_admission_that_writes_is_two_round_trips_and_one_that_reads_is_one),
        CHECK_TEST(test_expired_holds_of_others_cost_no_round_trip),
        CHECK_TEST(test_while_another_process_journals_only_a_request_without_room_does_too),
        CHECK_TEST(test_the_clock_is_the_databases),
        CHECK_TEST(test_i10_without_its_server_a_store_refuses_until_it_is_back),
        CHECK_TEST(test_a_store_may_be_opened_while_its_server_is_away),
        CHECK_TEST(test_i3_a_charge_that_was_answered_survives_a_crash_of_the_server),
        CHECK_TEST(test_a_session_that_the_server_closed_while_idle_is_replaced),
        CHECK_TEST(test_a_session_killed_between_load_and_commit_records_once),
        CHECK_TEST(test_i4_a_commit_whose_answer_was_lost_is_settled_by_its_key),
        CHECK_TEST(test_a_lost_answer_without_a_key_is_told_as_unknown),
        CHECK_TEST(test_a_settlement_whose_answer_was_lost_is_settled_by_its_hold),
        CHECK_TEST(test_an_admission_whose_answer_was_lost_is_no_allow),
        CHECK_TEST(test_a_batch_that_lost_its_session_is_not_acknowledged),
        CHECK_TEST(test_a_row_that_stays_locked_ends_the_wait),
        CHECK_TEST(test_writers_of_different_accounts_wait_for_each_other_only_when_all_counts),
        CHECK_TEST(test_a_read_that_was_cancelled_leaves_no_session_behind),
        CHECK_TEST(test_i3_a_commit_that_its_standby_does_not_have_is_not_acknowledged),
        CHECK_TEST(test_a_text_that_is_not_utf8_is_refused_and_records_nothing),
        CHECK_TEST(test_charges_are_listed_alike_chain_by_chain_and_back_in_time),
        CHECK_TEST(test_a_listing_that_takes_too_long_is_given_up),
        CHECK_TEST(test_a_sum_that_takes_too_long_is_for_an_operator_to_wait_for),
        CHECK_TEST(test_an_unknown_schema_is_refused_with_the_command_to_run),
        CHECK_TEST(test_no_password_is_told_in_any_message),
        CHECK_TEST(test_several_hosts_find_the_one_that_writes),
        CHECK_TEST(test_the_programs_role_may_not_change_schema_charges_or_credits),
        CHECK_TEST(test_a_charge_of_a_month_without_a_partition_is_kept_and_moved_by_prune),
        CHECK_TEST(test_examine_tells_who_could_rewrite_the_books),
        CHECK_TEST(test_examine_tells_a_way_that_others_can_listen_to),
        CHECK_TEST(test_examine_tells_months_without_a_partition),
        CHECK_TEST(test_examine_tells_a_server_that_is_not_there_or_of_another_schema),
        CHECK_TEST(test_i4_eight_processes_with_the_same_keys_make_one_charge_each),
    };
    int code;

    if (!cluster_make(&cluster))
        return NOT_HERE;
    cluster_start(&cluster);
    code = check_main("store_postgres", tests, CHECK_COUNT(tests));
    cluster_remove(&cluster);
    return code;
}
