/* SPDX-License-Identifier: MIT */
/*
 * Prune where there is much to do: it goes on behind its pieces, leaves what has to stay in the
 * middle, can be stopped anywhere with the books still right, and hides no lost charge.
 */
#include "common/store.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/store/place.h"

#include "common/banned.h"

#define DAY (INT64_C(86400) * SECOND)
#define AUGUST INT64_C(1785542400000000)
#define SEPTEMBER INT64_C(1788220800000000)
#define NOVEMBER INT64_C(1793491200000000)
#define SPENDING INT64_C(1786320000000000) /* 2026-08-10; a charge each second from then on */
#define OLDER_THAN (NOON - 50 * DAY)
#define SQL_SIZE 4096
/* Two looks of SQLite's, five pieces of PostgreSQL's. */
#define MANY(kind) ((kind) == SQLITE ? 60000 : 9000)
#define SOME 6000
#define FIRST 10 /* number of the first charge, and of its hold */
#define COST 1000
#define REFUND 500
/* Each REFUND_EACH-th charge is refunded in part. Each KEPT_EACH-th has its refund today: so it
 * stays, and its hold. Each EXPIRED_EACH-th was charged by the expiry of its hold. */
#define REFUND_EACH 97
#define KEPT_EACH (REFUND_EACH * 11)
#define EXPIRED_EACH 101

/* ---- a store with a past -------------------------------------------------------------------- */

static void run(struct place *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* SQL that both understand, with the names of tables as they are in SQLite. */
static void
run(struct place *p, const char *format, ...)
{
    char sql[SQL_SIZE] = "";
    size_t used = 0;
    va_list arguments;
    int length;

    if (p->kind == POSTGRES && text_copy(sql, sizeof(sql), "SET search_path = spendgate;"))
        used = strlen(sql);
    va_start(arguments, format);
    length = vsnprintf(sql + used, sizeof(sql) - used, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof(sql) - used)
        abort();
    raw_sql(p, sql, NULL, 0);
}

static int64_t
rows_of(struct place *p, const char *table)
{
    char sql[128], out[32] = "";
    int64_t count = -1;

    snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s%s", p->kind == POSTGRES ? "spendgate." : "",
             table);
    raw_sql(p, sql, out, sizeof(out));
    CHECK_TRUE("a number", text_to_int64(out, 0, INT64_MAX, &count));
    return count;
}

static int64_t
each(int64_t count, int64_t step)
{
    return (count + step - 1) / step;
}

/* An account with its lines, and a hold that waits. */
static void
first_sight(struct place *p, int number)
{
    struct chain_names names = { .key_id = "ak_1" };
    struct admission ask = {
        .names = &names, .plan = &p->plan, .route = &p->route, .verification = 1, .unique_id = ""
    };

    snprintf(names.subject, sizeof(names.subject), "user_%d", number);
    CHECK_STATUS(STATUS_OK, store_admit(p->store, &ask, NOON, &p->verdict, &p->err), &p->err);
    CHECK_TRUE("admit", p->verdict.allow);
}

#define NUMBERS                                                                                  \
    "WITH RECURSIVE n (i) AS (SELECT CAST(0 AS bigint) UNION ALL SELECT i + 1 FROM n WHERE i < " \
    "%d - 1) "

static void
add_charges(struct place *p, int count)
{
    run(p,
        NUMBERS
        "INSERT INTO hold (id, nonce, chain_id, state, amount_nanos, placed_us, expires_us, "
        "ttl_us, charge_id, expiry_charge_id, expiry_charged_nanos) SELECT %d + i, 1, 1, "
        "CASE WHEN i %% %d = 0 THEN 3 ELSE 1 END, 2000, %" PRId64 " + i * 1000000, %" PRId64
        " + i * 1000000, 1, CASE WHEN i %% %d = 0 THEN 0 ELSE %d + i END, "
        "CASE WHEN i %% %d = 0 THEN %d + i ELSE 0 END, CASE WHEN i %% %d = 0 THEN "
        "CASE WHEN i %% %d = 0 THEN %d ELSE %d END ELSE 0 END FROM n",
        count, FIRST, EXPIRED_EACH, SPENDING, SPENDING + TTL, EXPIRED_EACH, FIRST, EXPIRED_EACH,
        FIRST, EXPIRED_EACH, REFUND_EACH, COST - REFUND, COST);
    run(p,
        NUMBERS "INSERT INTO charge (id, nonce, kind, chain_id, amount_nanos, at_us, created_us, "
                "hold_id) SELECT %d + i, 1, 0, 1, %d, %" PRId64 " + i * 1000000, %" PRId64
                " + i * 1000000, %d + i FROM n",
        count, FIRST, COST, SPENDING, SPENDING + 2 * SECOND, FIRST);
    run(p,
        NUMBERS "INSERT INTO charge (id, nonce, kind, chain_id, amount_nanos, at_us, created_us, "
                "hold_id, refund_of) SELECT %d + i, 1, 1, 1, %d, %" PRId64
                " + i * 1000000, CASE WHEN i %% %d = 0 THEN %" PRId64 " ELSE %" PRId64
                " + i * 1000000 END, %d + i, %d + i FROM n WHERE i %% %d = 0",
        count, FIRST + count, REFUND, SPENDING, KEPT_EACH, NOON, SPENDING + DAY, FIRST, FIRST,
        REFUND_EACH);
}

/* `count` charges of August with their holds, refunds and replies. */
static struct place *
make_past(enum kind kind, int count)
{
    struct place *p = make_place(kind);

    first_sight(p, 1);
    if (kind == POSTGRES) {
        run(p, "SELECT charge_partitions(%" PRId64 ", 4)", AUGUST);
        run(p, "SELECT setval('hold_number', 1000000), setval('charge_number', 1000000)");
    }
    add_charges(p, count);
    run(p,
        NUMBERS "INSERT INTO idempotency (scope, key, fingerprint, reply, created_us) SELECT '', "
                "'hld_' || i, %s, %s, %" PRId64 " + i * 1000000 FROM n",
        count, kind == SQLITE ? "x'01'" : "'\\x01'", kind == SQLITE ? "x'02'" : "'\\x02'",
        SPENDING + 2 * SECOND);
    run(p,
        "INSERT INTO budget_period (budget_id, start_us, end_us, spent_nanos, held_nanos) SELECT "
        "id, %" PRId64 ", %" PRId64 ", %" PRId64 ", 0 FROM budget",
        AUGUST, SEPTEMBER, (int64_t)count * COST - each(count, REFUND_EACH) * REFUND);
    CHECK_INT("verify of the past", 0, differences(p));
    return p;
}

static void
check_only_kept(struct place *p, int count)
{
    int64_t kept = each(count, KEPT_EACH);

    CHECK_INT("charges and their refunds", 2 * kept, rows_of(p, "charge"));
    CHECK_INT("holds", kept + 1, rows_of(p, "hold"));
    CHECK_INT("replies", 0, rows_of(p, "idempotency"));
    CHECK_INT("periods", 1, rows_of(p, "budget_period"));
    CHECK_INT("verify", 0, differences(p));
}

static enum status
prune(struct place *p, int64_t *removed)
{
    *removed = 0;
    return store_prune(p->store, OLDER_THAN, NOON, removed, &p->err);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void
test_prune_goes_on_behind_each_piece_and_around_what_is_kept(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        int count = MANY(kind);
        int64_t kept = each(count, KEPT_EACH), refunds = each(count, REFUND_EACH), removed;
        struct place *p = make_past((enum kind)kind, count);

        CHECK_STATUS(STATUS_OK, prune(p, &removed), &p->err);
        CHECK_INT("a period; replies, charges, holds; refunds",
                  1 + count + 2 * (count - kept) + refunds - kept, removed);
        check_only_kept(p, count);
        CHECK_STATUS(STATUS_OK, prune(p, &removed), &p->err);
        CHECK_INT("nothing is left", 0, removed);
        first_sight(p, 1);
        CHECK_INT("verify", 0, differences(p));
        drop_place(p);
    }
}

/* As another process may do while prune is at work: it refunds one of the charges that were found,
 * and begins a period with the sum of another one. */
static void
when_the_first_goes(struct place *p, int refunded, int counted)
{
    char work[1024];
    const char *schema = p->kind == POSTGRES ? "spendgate." : "";

    snprintf(work, sizeof(work),
             "INSERT INTO %scharge (id, nonce, kind, chain_id, amount_nanos, at_us, created_us, "
             "hold_id, refund_of) VALUES (900000, 1, 1, 1, %d, %" PRId64 ", %" PRId64
             ", %d, %d); INSERT INTO %sbudget_period (budget_id, start_us, end_us, spent_nanos, "
             "held_nanos) SELECT id, %" PRId64 ", %" PRId64 ", %d, 0 FROM %sbudget;",
             schema, REFUND, SPENDING + refunded * SECOND, NOON, FIRST + refunded, FIRST + refunded,
             schema, SPENDING + counted * SECOND, SPENDING + (counted + 1) * SECOND, COST, schema);
    if (p->kind == SQLITE)
        run(p, "CREATE TRIGGER other AFTER DELETE ON charge WHEN OLD.id = %d BEGIN %s END",
            FIRST + 1, work);
    else
        run(p,
            "CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN %s RETURN NULL; "
            "END'; CREATE TRIGGER other AFTER DELETE ON charge FOR EACH ROW WHEN (OLD.id = %d) "
            "EXECUTE FUNCTION other()",
            work, FIRST + 1);
}

static void
test_a_charge_that_is_needed_again_meanwhile_stays(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        struct place *p = make_past((enum kind)kind, SOME);
        int64_t kept = each(SOME, KEPT_EACH), removed;

        when_the_first_goes(p, 5490, 5000);
        CHECK_STATUS(STATUS_OK, prune(p, &removed), &p->err);
        CHECK_INT("charges and refunds", 2 * kept + 3, rows_of(p, "charge"));
        CHECK_INT("holds", kept + 1 + 2, rows_of(p, "hold"));
        CHECK_INT("verify", 0, differences(p));
        drop_place(p);
    }
}

/* ---- a part of it --------------------------------------------------------------------------- */

/* From now on, whoever deletes that row gets an error. */
static void
put_stone(struct place *p, const char *table, const char *condition)
{
    if (p->kind == SQLITE)
        run(p,
            "CREATE TRIGGER stone BEFORE DELETE ON %s WHEN %s BEGIN SELECT RAISE(ABORT, "
            "'a stone'); END",
            table, condition);
    else
        run(p,
            "CREATE OR REPLACE FUNCTION stone() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE "
            "EXCEPTION $$a stone$$; END'; CREATE TRIGGER stone BEFORE DELETE ON %s FOR EACH ROW "
            "WHEN (%s) EXECUTE FUNCTION stone()",
            table, condition);
}

static void
take_stone(struct place *p, const char *table)
{
    if (p->kind == SQLITE)
        run(p, "DROP TRIGGER stone");
    else
        run(p, "DROP TRIGGER stone ON %s", table);
}

static void
test_a_prune_that_stops_in_any_step_leaves_the_books_right(void)
{
    static const struct {
        const char *table, *condition;
    } stones[] = {
        { "idempotency", "OLD.key = 'hld_700'" },
        { "budget_period", "OLD.held_nanos = 0" },
        { "charge", "OLD.id = 11" },
        { "charge", "OLD.id = 3013" },
        { "hold", "OLD.id = 11" },
        { "hold", "OLD.id = 3013" },
    };

    for (int kind = 0; kind < KINDS; kind++) {
        struct place *p = make_past((enum kind)kind, SOME);
        int64_t removed;

        for (size_t i = 0; i < CHECK_COUNT(stones); i++) {
            put_stone(p, stones[i].table, stones[i].condition);
            CHECK_TRUE(stones[i].condition, prune(p, &removed) != STATUS_OK);
            take_stone(p, stones[i].table);
            CHECK_INT(stones[i].condition, 0, differences(p));
        }
        CHECK_STATUS(STATUS_OK, prune(p, &removed), &p->err);
        check_only_kept(p, SOME);
        drop_place(p);
    }
}

/* In a process of its own that is killed after that time. Whether it came to its end. */
static bool
prune_until_killed(struct place *p, int64_t after_us)
{
    struct timespec wait = { after_us / SECOND, after_us % SECOND * 1000 };
    int64_t removed;
    int status = -1;
    pid_t child;

    store_close(p->store);
    p->store = NULL;
    fflush(stdout);
    child = fork();
    if (child == 0)
        _exit(open_place(p) == STATUS_OK && prune(p, &removed) == STATUS_OK ? 0 : 1);
    if (child < 0)
        abort();
    nanosleep(&wait, NULL);
    kill(child, SIGKILL);
    if (waitpid(child, &status, 0) != child)
        abort();
    CHECK_STATUS(STATUS_OK, open_place(p), &p->err);
    CHECK_TRUE("killed or done", WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFEXITED(status);
}

static void
test_a_prune_that_is_killed_again_and_again_comes_to_its_end(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        struct place *p = make_past((enum kind)kind, SOME);
        int64_t after_us = SECOND / 200, removed;
        int kills = 0;

        while (!prune_until_killed(p, after_us)) {
            CHECK_INT("verify after a kill", 0, differences(p));
            after_us += after_us / 2;
            kills++;
        }
        CHECK_TRUE("was killed", kills > 0);
        CHECK_STATUS(STATUS_OK, prune(p, &removed), &p->err);
        check_only_kept(p, SOME);
        drop_place(p);
    }
}

/* ---- what it may not hide ------------------------------------------------------------------- */

/* A hold of that instant, and the charge that settled it, or that its expiry was. */
static void
add_one(struct place *p, int id, int64_t at_us, bool expired)
{
    run(p,
        "INSERT INTO hold (id, nonce, chain_id, state, amount_nanos, placed_us, expires_us, "
        "ttl_us, charge_id, expiry_charge_id, expiry_charged_nanos) VALUES (%d, 1, 1, %d, 2000, "
        "%" PRId64 ", %" PRId64 ", 1, %d, %d, %d)",
        id, expired ? 3 : 1, at_us, at_us + TTL, expired ? 0 : id, expired ? id : 0,
        expired ? COST : 0);
    run(p,
        "INSERT INTO charge (id, nonce, kind, chain_id, amount_nanos, at_us, created_us, hold_id) "
        "VALUES (%d, 1, 0, 1, %d, %" PRId64 ", %" PRId64 ", %d)",
        id, COST, at_us, at_us, id);
    run(p,
        "UPDATE budget_period SET spent_nanos = spent_nanos + %d WHERE start_us <= %" PRId64
        " AND end_us > %" PRId64,
        COST, at_us, at_us);
}

static void
test_a_charge_that_is_lost_is_found_also_after_a_prune_that_stopped(void)
{
    const int64_t pruned_until = NOVEMBER + 5 * DAY;

    for (int kind = 0; kind < KINDS; kind++) {
        struct place *p = make_past((enum kind)kind, SOME);
        int64_t removed = 0;

        add_one(p, 7001, pruned_until, false);
        add_one(p, 7002, pruned_until, true);
        add_one(p, 7003, pruned_until - 1, false); /* its month is kept */
        CHECK_INT("verify", 0, differences(p));
        put_stone(p, "hold", "OLD.id = 3013");
        CHECK_TRUE("stopped",
                   store_prune(p->store, pruned_until, NOON, &removed, &p->err) != STATUS_OK);
        take_stone(p, "hold");
        CHECK_TRUE("charges are gone, holds are not",
                   rows_of(p, "charge") < SOME / 2 && rows_of(p, "hold") > SOME / 4);
        CHECK_INT("and that is in order", 0, differences(p));
        run(p, "DELETE FROM charge WHERE id = 7001");
        CHECK_INT("I5 of its hold and I7 of its month", 2, differences(p));
        run(p, "DELETE FROM charge WHERE id = 7002");
        CHECK_INT("I5 of each hold and I7", 3, differences(p));
        run(p,
            "DELETE FROM charge WHERE id = 7003; UPDATE budget_period SET spent_nanos = "
            "spent_nanos - %d",
            2 * COST);
        CHECK_INT("I5 of two and I7 by the cost of the third", 3, differences(p));
        drop_place(p);
    }
}

#ifdef HAVE_POSTGRES
/* ---- beside others, in PostgreSQL ----------------------------------------------------------- */

typedef int (*child_work)(struct place *p, const void *what);

/* Exits with what `work` returns. Its store is its own. */
static pid_t
beside(struct place *p, child_work work, const void *what)
{
    struct place own = *p;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        own.store = NULL;
        buf_init(&own.reply, own.reply_bytes, sizeof(own.reply_bytes));
        _exit(open_place(&own) == STATUS_OK ? work(&own, what) : 99);
    }
    if (child < 0)
        abort();
    return child;
}

static int
exit_of(pid_t child)
{
    int status = -1;

    if (waitpid(child, &status, 0) != child)
        abort();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* SQL of a session of its own: what another program does there. */
static int
work_sql(struct place *p, const void *what)
{
    store_close(p->store);
    cluster_sql(&place_cluster, p->database, what, NULL, 0);
    return 0;
}

static int
work_prune(struct place *p, const void *what)
{
    int64_t removed;

    (void)what;
    return prune(p, &removed) == STATUS_OK ? 0 : 1;
}

static int
work_refund(struct place *p, const void *what)
{
    enum status status = store_refund(p->store, what, REFUND, "operator", "late", NULL, NULL, NOON,
                                      &p->result, &p->reply, &p->err);

    return status == STATUS_OK && p->result.outcome == OUTCOME_DONE ? 0 : 1;
}

static int
work_late_post(struct place *p, const void *what)
{
    const struct spend late = { .hold_id = what, .cost_nanos = COST, .token = "php" };
    enum status status =
        store_spend(p->store, &late, NULL, NULL, NOON, &p->result, &p->reply, &p->err);

    return status == STATUS_OK && p->result.outcome == OUTCOME_DONE ? 0 : 1;
}

/* Wait until that is so; false: it did not come about within some seconds. */
static bool
comes_about(struct place *p, const char *condition)
{
    const struct timespec pause = { 0, 2000000 };
    char sql[512], out[16] = "";

    snprintf(sql, sizeof(sql), "SELECT 1 WHERE %s", condition);
    for (int i = 0; i < 3000; i++) {
        cluster_sql(&place_cluster, p->database, sql, out, sizeof(out));
        if (strcmp(out, "1") == 0)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

#define WAITS(type) "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype " type ")"
#define ASLEEP(count) \
    "(SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep') = " count
#define ROW "IN ('transactionid', 'tuple')"
#define ADVISORY "= 'advisory'"
/* Keeps the account until a request has waited for it and the prune waits as well, or was not made
 * to wait in all that time. */
#define HOLD_THE_ACCOUNT                                                            \
    "DO $$ BEGIN PERFORM FROM spendgate.account WHERE name = 'user_1' FOR UPDATE; " \
    "FOR i IN 1..500 LOOP PERFORM pg_sleep(0.02); EXIT WHEN " WAITS(                \
        ROW) "; END LOOP; "                                                         \
             "FOR i IN 1..75 LOOP PERFORM pg_sleep(0.02); EXIT WHEN " WAITS(        \
                 ADVISORY) "; END LOOP; END $$"

static void
check_others(struct place *p, pid_t request, pid_t pruner, int64_t charges)
{
    int64_t removed;

    CHECK_INT("request", 0, exit_of(request));
    CHECK_INT("prune", 0, exit_of(pruner));
    CHECK_STATUS(STATUS_OK, open_place(p), &p->err);
    CHECK_INT("verify", 0, differences(p));
    CHECK_TRUE("its period is there again", rows_of(p, "budget_period") == 2);
    CHECK_STATUS(STATUS_OK, prune(p, &removed), &p->err);
    CHECK_INT("verify", 0, differences(p));
    CHECK_INT("the next one takes the rest", 2 * each(SOME, KEPT_EACH) + charges,
              rows_of(p, "charge"));
}

/* The post has read its old period, and before it writes it back the prune removes it. */
static void
test_nothing_goes_of_a_period_that_is_written_back(void)
{
    struct place *p = make_past(POSTGRES, SOME);
    char hold[PUBLIC_ID_SIZE];
    pid_t poster, pruner;

    run(p,
        "INSERT INTO hold (id, nonce, chain_id, state, amount_nanos, placed_us, expires_us, "
        "ttl_us) "
        "VALUES (8000, 1, 1, 3, 2000, %" PRId64 ", %" PRId64 ", 1)",
        SPENDING, SPENDING + TTL);
    run(p,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..75 LOOP "
        "PERFORM pg_sleep(0.02); EXIT WHEN " WAITS(
            ADVISORY) "; END LOOP; RETURN NEW; END $$; "
                      "CREATE TRIGGER slow BEFORE INSERT ON budget_period FOR EACH ROW EXECUTE "
                      "FUNCTION slow()");
    public_id_format("hld_", 8000, 1, hold);
    store_close(p->store);
    p->store = NULL;
    poster = beside(p, work_late_post, hold);
    CHECK_TRUE("the post writes", comes_about(p, ASLEEP("1")));
    pruner = beside(p, work_prune, NULL);
    check_others(p, poster, pruner, 1);
    drop_place(p);
}

/* The first piece waits until the refund does, which then reads its charge and waits for the
 * account; the next pieces find no refund. */
static void
test_a_charge_that_is_being_refunded_stays(void)
{
    struct place *p = make_past(POSTGRES, SOME);
    char charge[PUBLIC_ID_SIZE];
    pid_t holder, refunder, pruner;

    public_id_format("chg_", FIRST + 5000, 1, charge);
    run(p,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..500 LOOP "
        "EXIT WHEN " WAITS(
            "IS NOT NULL") "; PERFORM pg_sleep(0.02); END LOOP; RETURN NULL; END $$; "
                           "CREATE TRIGGER slow AFTER DELETE ON charge FOR EACH ROW WHEN (OLD.id = "
                           "%d) "
                           "EXECUTE FUNCTION slow()",
        FIRST + 1);
    store_close(p->store);
    p->store = NULL;
    holder = beside(p, work_sql, HOLD_THE_ACCOUNT);
    CHECK_TRUE("the account is held", comes_about(p, ASLEEP("1")));
    pruner = beside(p, work_prune, NULL);
    CHECK_TRUE("a first piece", comes_about(p, ASLEEP("2")));
    refunder = beside(p, work_refund, charge);
    CHECK_INT("holder", 0, exit_of(holder));
    check_others(p, refunder, pruner, 2);
    drop_place(p);
}

/* Whoever has to wait for a table that is being read makes all others wait behind him. */
static void
test_requests_go_on_while_a_partition_cannot_be_made(void)
{
    struct place *p = make_place(POSTGRES);
    pid_t reader, pruner;
    char found[8];
    int users = 1;

    first_sight(p, 1);
    run(p, "DROP TABLE charge_2027_03");
    reader = beside(p, work_sql,
                    "DO $$ BEGIN PERFORM FROM spendgate.charge_default; FOR i IN 1..150 LOOP "
                    "PERFORM pg_sleep(0.02); END LOOP; END $$");
    CHECK_TRUE("it is read", comes_about(p, ASLEEP("1")));
    pruner = beside(p, work_prune, NULL);
    CHECK_TRUE("prune waits", comes_about(p, WAITS("= 'relation'")));
    for (int status; waitpid(reader, &status, WNOHANG) == 0;)
        first_sight(p, ++users);
    CHECK_TRUE("many", users > 10);
    CHECK_INT("prune", 0, exit_of(pruner));
    raw_sql(p, "SELECT to_regclass('spendgate.charge_2027_03') IS NOT NULL", found, sizeof(found));
    CHECK_STRING("made in the end", "t", found);
    CHECK_INT("verify", 0, differences(p));
    drop_place(p);
}
#endif

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_prune_goes_on_behind_each_piece_and_around_what_is_kept),
        CHECK_TEST(test_a_charge_that_is_needed_again_meanwhile_stays),
        CHECK_TEST(test_a_prune_that_stops_in_any_step_leaves_the_books_right),
        CHECK_TEST(test_a_prune_that_is_killed_again_and_again_comes_to_its_end),
        CHECK_TEST(test_a_charge_that_is_lost_is_found_also_after_a_prune_that_stopped),
#ifdef HAVE_POSTGRES
        CHECK_TEST(test_nothing_goes_of_a_period_that_is_written_back),
        CHECK_TEST(test_a_charge_that_is_being_refunded_stays),
        CHECK_TEST(test_requests_go_on_while_a_partition_cannot_be_made),
#endif
    };

    return place_main("store_prune", tests, CHECK_COUNT(tests));
}
