/* SPDX-License-Identifier: MIT */
/*
 * The simulator: schedules at random, from a seed, through the real ledger (or, with --store, the
 * real SQLite store) and through the model, compared after every step: each answer with what is
 * expected (expect.c), each counter with the sum of its rows (model.c). A schedule that fails is
 * printed with its seed, shortened as far as it still fails.
 *
 *   sim [--store] [--seeds N] [--from SEED] [--events N] [--jobs N]
 */
#include "tests/sim/expect.h"
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/banned.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define DAY (1440 * MINUTE)
#define PROBLEM_SIZE 512
#define RESTART_EVERY 211
#define SHRINK_RUNS_MAX 4000

struct schedule {
    uint64_t seed;
    bool polite; /* every cost fits its hold and is posted in time: I2 holds */
    int count;
    struct op ops[SIM_OPS_MAX];
};

/* ---- schedules ---- */

static uint64_t
next_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static int64_t
below(uint64_t *state, int64_t limit)
{
    return (int64_t)(next_random(state) % (uint64_t)limit);
}

static bool
chance(uint64_t *state, int percent)
{
    return below(state, 100) < percent;
}

static int64_t
random_step(uint64_t *state, bool polite)
{
    int64_t kind = below(state, 1000);

    if (kind < 250)
        return 0;
    if (kind < 900)
        return below(state, 20 * SECOND);
    if (kind < 970)
        return below(state, 10 * MINUTE);
    if (kind < 985)
        return below(state, DAY / 2);
    return polite ? SECOND
                  : -below(state, kind < 995   ? 10 * SECOND
                                  : kind < 998 ? 60 * MINUTE
                                               : 3 * DAY);
}

static int64_t
random_amount(uint64_t *state)
{
    int64_t kind = below(state, 10);

    return kind < 2   ? 0
           : kind < 4 ? 1 + below(state, 4)
           : kind < 9 ? 1 + below(state, 60)
                      : 1 + below(state, 500);
}

/* An earlier operation of one of two kinds, not far back. */
static int
random_ref(uint64_t *state, const struct schedule *s, enum op_kind one, enum op_kind other)
{
    for (int tries = 0; tries < 8 && s->count > 0; tries++) {
        int back = (int)below(state, s->count < 50 ? s->count : 50) + 1;
        enum op_kind kind = s->ops[s->count - back].kind;

        if (kind == one || kind == other)
            return s->ops[s->count - back].number;
    }
    return NOBODY;
}

static enum op_kind
random_kind(uint64_t *state, bool polite)
{
    static const struct {
        enum op_kind kind;
        int weight;
    } kinds[] = {
        { OP_ADMIT, 34 }, { OP_AGAIN, 5 },      { OP_SETTLE, 26 },   { OP_VOID, 5 },
        { OP_EXTEND, 8 }, { OP_REFUND, 4 },     { OP_ACCOUNT, 5 },   { OP_SPEND, 5 },
        { OP_CREDIT, 2 }, { OP_BUDGET_SET, 2 }, { OP_PLAN_EDIT, 3 }, { OP_BUDGET_CLEAR, 1 },
    };
    int64_t at = below(state, polite ? 87 : 100);

    for (size_t i = 0;; i++) {
        at -= kinds[i].weight;
        if (at < 0)
            return kinds[i].kind;
    }
}

static void
fill_account_op(uint64_t *state, struct op *op)
{
    static const enum account_change changes[] = { ACCOUNT_FREEZE, ACCOUNT_UNFREEZE, ACCOUNT_REVOKE,
                                                   ACCOUNT_UNREVOKE, ACCOUNT_REVERIFY };

    op->change = changes[below(state, 5)];
    op->account = (int)below(state, ACCOUNTS);
    if (chance(state, 40)) {
        op->change = ACCOUNT_RENEW;
        op->account = USER_A + (int)below(state, 3);
        op->until_us = chance(state, 50) ? 0 : below(state, 20 * DAY) + 1;
    }
}

static void
fill_op(uint64_t *state, const struct schedule *s, struct op *op, int64_t scale)
{
    static const int usual_plan[CREDENTIALS] = { 0, 1, 1, 2 };

    op->credential = (int)below(state, CREDENTIALS);
    op->plan = s->polite           ? (int)(s->seed / 4 % PLANS)
               : chance(state, 80) ? usual_plan[op->credential]
                                   : (int)below(state, PLANS);
    op->amount_nanos = random_amount(state) * scale;
    op->stale = chance(state, 4);
    op->period = (int)below(state, KINDS);
    op->account = (int)below(state, ACCOUNTS);
    op->enforce = op->overage = -1;
    switch (op->kind) {
    case OP_AGAIN:
        op->ref = random_ref(state, s, OP_ADMIT, OP_ADMIT);
        break;
    case OP_SETTLE:
    case OP_VOID:
    case OP_EXTEND:
        op->ref = random_ref(state, s, OP_ADMIT, OP_AGAIN);
        break;
    case OP_REFUND:
        op->ref = random_ref(state, s, OP_SETTLE, OP_SPEND);
        if (chance(state, 30))
            op->amount_nanos = -1;
        break;
    case OP_ACCOUNT:
        fill_account_op(state, op);
        break;
    case OP_CREDIT:
        op->until_us = chance(state, 50) ? below(state, 3 * DAY) + 1 : 0;
        if (sim_kinds[op->period] ==
            PERIOD_DAY) /* a boost pays off overage only where there is a row */
            op->until_us = 0;
        op->amount_nanos += scale;
        break;
    case OP_BUDGET_SET:
        op->amount_nanos = below(state, 1000) * scale;
        op->enforce = (int)below(state, 6) - 3;
        op->enforce = op->enforce < 0 ? -1 : op->enforce;
        break;
    case OP_PLAN_EDIT:
        op->plan = (int)below(state, PLANS);
        op->budget = (int)below(state, 2);
        op->amount_nanos = below(state, 1200) * scale;
        op->enforce = chance(state, 70) ? 0 : (int)below(state, 3);
        op->overage = (int)below(state, 2);
        break;
    default:
        break;
    }
}

static void
schedule_make(struct schedule *s, uint64_t seed, int events)
{
    uint64_t state = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    int64_t scale = world_scale(seed);
    struct op undo[SIM_OPS_MAX / 500] = { 0 };
    size_t undo_count = 0;

    s->seed = seed;
    s->polite = seed % 4 == 0;
    for (s->count = 0; s->count < events;) {
        struct op *op = &s->ops[s->count];

        *op = (struct op){ .number = s->count, .kind = random_kind(&state, s->polite) };
        op->step_us = random_step(&state, s->polite);
        fill_op(&state, s, op, scale);
        if (undo_count > 0 &&
            chance(&state, 15)) { /* what was frozen or revoked does not stay so */
            undo[0].number = op->number;
            *op = undo[0];
            undo[0] = undo[--undo_count];
        }
        if ((op->kind == OP_AGAIN || op->kind == OP_REFUND ||
             (op->kind >= OP_SETTLE && op->kind <= OP_EXTEND && op->kind != OP_SPEND)) &&
            op->ref == NOBODY)
            *op = (struct op){ .number = s->count,
                               .kind = OP_ADMIT,
                               .credential = op->credential,
                               .plan = op->plan,
                               .amount_nanos = 10 * scale };
        if (op->kind == OP_AGAIN) { /* the same request */
            op->credential = s->ops[op->ref].credential;
            op->plan = s->ops[op->ref].plan;
            op->amount_nanos = s->ops[op->ref].amount_nanos;
        }
        if (op->kind == OP_ACCOUNT &&
            (op->change == ACCOUNT_FREEZE || op->change == ACCOUNT_REVOKE) &&
            undo_count < sizeof(undo) / sizeof(undo[0])) {
            undo[undo_count] = *op;
            undo[undo_count++].change =
                op->change == ACCOUNT_FREEZE ? ACCOUNT_UNFREEZE : ACCOUNT_UNREVOKE;
        }
        op->fault = chance(&state, 6)   ? FAULT_CRASH
                    : chance(&state, 8) ? FAULT_LOST_REPLY
                                        : FAULT_NONE;
        if (op->kind == OP_ACCOUNT || op->kind == OP_PLAN_EDIT)
            op->fault = FAULT_NONE;
        s->count++;
    }
}

/* ---- one run ---- */

struct run {
    const struct driver *driver;
    struct world world;
    struct expect *expect;
    void *state;
    int64_t now_us;
    char problem[PROBLEM_SIZE];
};

static bool
fail_int(struct run *r, const char *what, int64_t want, int64_t got)
{
    if (want == got)
        return true;
    snprintf(r->problem, sizeof(r->problem), "%s: want %" PRId64 ", got %" PRId64, what, want, got);
    return false;
}

static bool
answers_equal(struct run *r, const struct answer *want, const struct answer *got)
{
    return fail_int(r, "word", want->word, got->word) &&
           fail_int(r, "allow", want->allow, got->allow) &&
           fail_int(r, "reason", want->reason, got->reason) &&
           fail_int(r, "account", want->account, got->account) &&
           fail_int(r, "limit", want->limit, got->limit) &&
           fail_int(r, "spent", want->spent, got->spent) &&
           fail_int(r, "held", want->held, got->held) &&
           fail_int(r, "has budget", want->has_budget, got->has_budget) &&
           fail_int(r, "remaining", want->remaining, got->remaining) &&
           fail_int(r, "warned", want->warned, got->warned) &&
           fail_int(r, "retry after", want->retry_after_us, got->retry_after_us) &&
           fail_int(r, "expired", want->expired_us, got->expired_us) &&
           fail_int(r, "hold of operation", want->hold_op, got->hold_op) &&
           fail_int(r, "hold amount", want->hold_nanos, got->hold_nanos) &&
           fail_int(r, "hold expires", want->hold_expires_us, got->hold_expires_us) &&
           fail_int(r, "over budget", want->over, got->over) &&
           fail_int(r, "overrun", want->overrun, got->overrun) &&
           (got->thresholds < 0 ||
            (fail_int(r, "thresholds told", want->thresholds, got->thresholds) &&
             fail_int(r, "overruns told", want->overruns, got->overruns) &&
             fail_int(r, "expired holds told", want->expired_holds, got->expired_holds)));
}

/* I6, I7, I8: every counter of the account is the sum of its rows. `event` names what came before.
 */
static bool
account_check(struct run *r, int account, const char *event)
{
    struct counter counters[COUNTERS_MAX];
    int64_t live = 0;
    char what[96];
    int count = r->driver->counters(r->state, account, r->now_us, counters, &live);

    snprintf(what, sizeof(what), "%s there%s", sim_accounts[account], event);
    if (!fail_int(r, what, r->expect->accounts[account].exists, count >= 0))
        return false;
    for (int i = 0; i < count; i++) {
        const struct counter *c = &counters[i];
        struct line want;

        model_counter(&r->expect->model, account, c->kind, r->now_us, &want);
        snprintf(what, sizeof(what), "I7: %s %s spent%s", sim_accounts[account],
                 period_kind_name(c->kind), event);
        if (!fail_int(r, what, want.spent, c->spent))
            return false;
        snprintf(what, sizeof(what), "I7: %s %s held%s", sim_accounts[account],
                 period_kind_name(c->kind), event);
        if (!fail_int(r, what, want.held, c->held) ||
            !fail_int(r, "start", want.start_us, c->start_us))
            return false;
        if (c->spent < 0 || c->held < 0)
            return fail_int(r, "I8: a counter below zero", 0, -1);
    }
    snprintf(what, sizeof(what), "I7: %s live holds%s", sim_accounts[account], event);
    return (account >= USER_A && account <= MACHINE)
               ? fail_int(r, what, model_live_holds(&r->expect->model, account),
                          count < 0 ? 0 : live)
               : true;
}

static bool
chain_check(struct run *r, const struct op *op, const char *event)
{
    int chain[CHAIN_MAX], length = sim_chain(op->credential, chain), hold = op->ref;

    for (int i = 0; i < length; i++) {
        if (!account_check(r, chain[i], event))
            return false;
    }
    if (op->kind == OP_ADMIT || op->kind == OP_AGAIN)
        hold = op->number;
    return !r->expect->model.holds[hold].placed ||
           fail_int(r, "I5: state of the hold", r->expect->model.holds[hold].state,
                    r->driver->hold_state(r->state, hold));
}

static bool
invariants_check(struct run *r, const struct op *op, bool polite, const struct answer *got)
{
    struct caller who = { op->credential, op->plan, r->now_us };
    struct line lines[LINES_MAX];
    bool placed = got->allow && got->hold_op == op->number && got->hold_nanos > 0;
    bool bare = got->allow && got->hold_op == NOBODY && op->kind == OP_ADMIT;
    int count = placed || bare || polite ? model_lines(&r->expect->model, &who, lines) : 0;

    for (int i = 0; i < count; i++) {
        const struct line *line = &lines[i];

        if (line->enforce != ENFORCE_HARD)
            continue;
        if (placed && line->spent + line->held > line->limit)
            return fail_int(r, "I1: spent and held above a hard limit", line->limit,
                            line->spent + line->held);
        if (bare && line->left == 0)
            return fail_int(r, "I1: allowed without a hold and nothing left", 1, 0);
        if (polite && line->spent > line->limit)
            return fail_int(r, "I2: spent above a hard limit", line->limit, line->spent);
    }
    return true;
}

static void
plan_edit(struct world *world, const struct op *op)
{
    struct plan_budget *b = &world->plans[op->plan].budgets[op->budget];

    b->limit_nanos = op->amount_nanos;
    b->enforce = (enum enforce)op->enforce;
    if (b->spec.kind == PERIOD_DAY)
        b->overage = (enum overage)op->overage;
}

/* The driver's word, the word that is expected, and whether they agree. */
static bool
both(struct run *r, const struct op *op, bool again, bool after_crash, const struct answer *before,
     struct answer *got)
{
    struct answer want;

    if (!r->driver->run(r->state, op, r->now_us, false, got, r->problem, sizeof(r->problem)))
        return false;
    if (got->thresholds >= 0) {
        got->thresholds += before->thresholds;
        got->overruns += before->overruns;
        got->expired_holds += before->expired_holds;
    }
    expect_run(r->expect, op, r->now_us, again, &want);
    if (after_crash && got->word == WORD_REPLAYED && want.word == WORD_DONE)
        return true; /* it had been done before the crash; its answer's bytes are the driver's to
                        check */
    return answers_equal(r, &want, got);
}

static bool
step(struct run *r, const struct schedule *s, const struct op *scheduled)
{
    struct answer got = { 0 }, lost = { 0 }, nothing = { 0 };
    struct op op = *scheduled;
    bool crashed = op.fault == FAULT_CRASH;

    r->now_us += op.step_us;
    if (r->now_us < SIM_START_US || r->now_us > SIM_START_US + SIM_SPAN_US)
        r->now_us -= op.step_us;
    if (!expect_runnable(r->expect, &op))
        return true;
    if (s->polite && op.kind == OP_SETTLE) {
        const struct model_hold *hold = &r->expect->model.holds[op.ref];

        if (hold->state != HOLD_HELD || r->now_us >= hold->expires_us)
            return true;
        op.amount_nanos = op.amount_nanos < hold->amount ? op.amount_nanos : hold->amount;
    }
    if (op.kind == OP_PLAN_EDIT)
        plan_edit(&r->world, &op);
    if (op.kind == OP_ADMIT || op.kind == OP_AGAIN)
        r->world.routes[0].hold.nanos = op.amount_nanos;
    if (crashed &&
        !r->driver->run(r->state, &op, r->now_us, true, &lost, r->problem, sizeof(r->problem)))
        return false;
    if (crashed && !r->driver->is_store) { /* then nothing of it may be there */
        struct answer swept = { 0 };

        expect_look(r->expect, r->now_us, &swept);
        if (!fail_int(r, "told by the look", swept.expired_holds, lost.expired_holds) ||
            !chain_check(r, &op, " after a crash (I6)"))
            return false;
        lost = nothing;
    }
    if (!both(r, &op, false, crashed, &nothing, &got) || !chain_check(r, &op, "") ||
        !invariants_check(r, &op, s->polite, &got))
        return false;
    if (op.fault != FAULT_LOST_REPLY)
        return true;
    return both(r, &op, true, false, &nothing, &got) && chain_check(r, &op, " after a retry (I4)");
}

/* The step that failed, or -1. */
static int
run_schedule(const struct driver *driver, const struct schedule *s, char problem[PROBLEM_SIZE])
{
    struct run *r = calloc(1, sizeof(*r));
    int failed = -1;

    if (r == NULL)
        abort();
    r->driver = driver;
    r->now_us = SIM_START_US;
    world_init(&r->world, s->seed);
    r->expect = expect_new(&r->world);
    r->state = driver->open(&r->world);
    for (int i = 0; i < s->count && failed < 0; i++) {
        bool ok = step(r, s, &s->ops[i]);

        if (ok && (i % RESTART_EVERY == RESTART_EVERY - 1 || i == s->count - 1)) {
            struct answer swept = { 0 };

            ok = driver->restart(r->state, r->now_us, r->problem, sizeof(r->problem));
            if (driver->is_store) /* its look at an account journals what has expired */
                expect_look(r->expect, r->now_us, &swept);
            for (int a = 0; a < ACCOUNTS && ok; a++)
                ok = account_check(r, a, " after a restart (I3)");
        }
        if (!ok)
            failed = i;
    }
    memcpy(problem, r->problem, PROBLEM_SIZE);
    driver->close(r->state);
    free(r->expect);
    free(r);
    return failed;
}

/* ---- what failed ---- */

static const char *const kind_names[OP_KINDS] = {
    "admit",  "again",  "settle",  "spend",      "void",         "extend",
    "refund", "credit", "account", "budget set", "budget clear", "plan edit",
};

static void
op_print(const struct op *op)
{
    printf("  %5d %+" PRId64 " us  %-12s", op->number, op->step_us, kind_names[op->kind]);
    if (op->kind == OP_ADMIT || op->kind == OP_AGAIN || op->kind == OP_SPEND)
        printf(" credential %d plan %d%s", op->credential, op->plan, op->stale ? " stale" : "");
    if (op->kind >= OP_AGAIN && op->kind <= OP_REFUND && op->kind != OP_SPEND)
        printf(" of %d", op->ref);
    if (op->kind >= OP_CREDIT && op->kind <= OP_BUDGET_CLEAR)
        printf(" %s %s change %d until %+" PRId64, sim_accounts[op->account],
               period_kind_name(sim_kinds[op->period]), (int)op->change, op->until_us);
    if (op->kind >= OP_BUDGET_SET)
        printf(" plan %d budget %d enforce %d overage %d", op->plan, op->budget, op->enforce,
               op->overage);
    printf(" amount %" PRId64 "%s\n", op->amount_nanos,
           op->fault == FAULT_CRASH        ? "  (crash, then again)"
           : op->fault == FAULT_LOST_REPLY ? "  (reply lost, then again)"
                                           : "");
}

/* Drop operations while it still fails, in ever smaller pieces. */
static void
schedule_shrink(const struct driver *driver, struct schedule *s, char problem[PROBLEM_SIZE])
{
    struct schedule *shorter = malloc(sizeof(*shorter));
    int runs = 0;

    if (shorter == NULL)
        abort();
    for (int piece = s->count / 2; piece > 0; piece /= 2) {
        for (int at = s->count - piece; at >= 0 && runs < SHRINK_RUNS_MAX; at -= piece) {
            char other[PROBLEM_SIZE];
            int failed;

            shorter->seed = s->seed;
            shorter->polite = s->polite;
            shorter->count = s->count - piece;
            memcpy(shorter->ops, s->ops, (size_t)at * sizeof(s->ops[0]));
            memcpy(shorter->ops + at, s->ops + at + piece,
                   (size_t)(s->count - at - piece) * sizeof(s->ops[0]));
            failed = run_schedule(driver, shorter, other);
            runs++;
            if (failed < 0 || strncmp(problem, other, strcspn(problem, ":")) != 0)
                continue; /* a failure of another kind is another story */
            shorter->count = failed + 1;
            memcpy(s, shorter, sizeof(*s));
            memcpy(problem, other, PROBLEM_SIZE);
            at = at < s->count ? at : s->count;
        }
    }
    free(shorter);
}

static bool
seed_run(const struct driver *driver, uint64_t seed, int events, struct schedule *s)
{
    char problem[PROBLEM_SIZE];
    int failed;

    schedule_make(s, seed, events);
    failed = run_schedule(driver, s, problem);
    if (failed < 0)
        return true;
    printf("seed %" PRIu64 " fails at step %d of %d: %s\n", seed, failed, events, problem);
    s->count = failed + 1;
    schedule_shrink(driver, s, problem);
    printf("shortened to %d operations: %s\n", s->count, problem);
    for (int i = 0; i < s->count; i++)
        op_print(&s->ops[i]);
    fflush(stdout);
    return false;
}

/* ---- main ---- */

struct options {
    const struct driver *driver;
    int64_t seeds, from, events, jobs;
};

static void
usage(void)
{
    fprintf(stderr, "usage: sim [--store] [--seeds N] [--from SEED] [--events N] [--jobs N]\n");
    exit(2);
}

static void
options_read(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        int64_t *number = strcmp(argv[i], "--seeds") == 0    ? &o->seeds
                          : strcmp(argv[i], "--from") == 0   ? &o->from
                          : strcmp(argv[i], "--events") == 0 ? &o->events
                          : strcmp(argv[i], "--jobs") == 0   ? &o->jobs
                                                             : NULL;

        if (strcmp(argv[i], "--store") == 0)
            o->driver = &sim_driver_store;
        else if (number == NULL || i + 1 == argc || !text_to_int64(argv[++i], 0, INT32_MAX, number))
            usage();
    }
    if (o->events < 1 || o->events > SIM_OPS_MAX || o->jobs < 1 || o->jobs > 64)
        usage();
}

/* One process's share of the seeds: how many failed. */
static int
job_run(const struct options *o, int64_t job)
{
    struct schedule *s = malloc(sizeof(*s));
    int failed = 0;

    if (s == NULL)
        abort();
    for (int64_t i = job; i < o->seeds && failed < 3; i += o->jobs)
        failed += !seed_run(o->driver, (uint64_t)(o->from + i), (int)o->events, s);
    free(s);
    return failed;
}

int
main(int argc, char **argv)
{
    struct options o = { &sim_driver_ledger, 32, 1, 2000, sysconf(_SC_NPROCESSORS_ONLN) };
    int64_t failed = 0;

    options_read(&o, argc, argv);
    for (int64_t job = 0; job < o.jobs; job++) {
        pid_t pid = fork();

        if (pid < 0)
            abort();
        if (pid == 0) {
            int count = job_run(&o, job);

            fflush(stdout);
            _exit(count);
        }
    }
    for (int status; wait(&status) > 0;)
        failed += WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    printf("sim of the %s: %" PRId64 " seeds of %" PRId64 " events; %" PRId64 " passed, %" PRId64
           " failed\n",
           o.driver->name, o.seeds, o.events, o.seeds - failed, failed);
    return failed == 0 ? 0 : 1;
}
