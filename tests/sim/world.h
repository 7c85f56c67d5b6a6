/* SPDX-License-Identifier: MIT */
/*
 * What the simulator, the model and the drivers have in common: a small fixed world of accounts and
 * plans, the operations of a schedule, and what one operation came to. An operation names another
 * by its number in the schedule, so that a schedule stays one when operations are dropped from it.
 */
#ifndef SPENDGATE_SIM_WORLD_H
#define SPENDGATE_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/ledger.h"
#include "common/policy.h"
#include "common/store.h"

#define SIM_OPS_MAX 20000
#define SIM_START_US INT64_C(1706000000000000) /* 2024-01-23, so that a month ends soon */
#define SIM_SPAN_US (INT64_C(45) * 86400 * 1000000)
#define SIM_HOLD_TTL_US (INT64_C(300) * 1000000)
#define SIM_REPEAT_US \
    (INT64_C(60) * 1000000) /* a request without a hold is remembered for so long */
#define NOBODY (-1)

enum {
    KEY_1,
    KEY_2,
    KEY_3,
    KEY_4,
    USER_A,
    USER_B,
    MACHINE,
    ORGANIZATION,
    GROUP,
    ALL, /* accounts */
    ACCOUNTS
};
enum { PLANS = 3, CREDENTIALS = 4, KINDS = 4, CHAIN_MAX = 5 };

extern const char *const sim_accounts[ACCOUNTS];
extern const enum period_kind sim_kinds[KINDS]; /* all in UTC */

struct sim_credential {
    int key, subject, organization, parent; /* accounts, or NOBODY */
};
extern const struct sim_credential sim_credentials[CREDENTIALS];
/* The accounts of a credential in chain order; returns how many. */
int sim_chain(int credential, int out[CHAIN_MAX]);

/* The settings, which a schedule edits. */
struct world {
    struct policy policy;
    struct plan plans[PLANS];
    struct route routes[1]; /* its hold is what the request wants */
    bool charge_on_expiry;
};
int warnings_count(const char *warn); /* of a verdict */
void world_init(struct world *world, uint64_t seed);
/* Whether a plan (or NOBODY) has a budget of that kind on an account, for a look at it alone. */
bool world_plan_limits(const struct world *world, int plan, int account, enum period_kind kind);
int64_t world_scale(uint64_t seed); /* what all amounts of this seed are multiplied by */

enum op_kind {
    OP_ADMIT,      /* credential, plan, amount (hold) */
    OP_AGAIN,      /* `ref`'s client request asks once more */
    OP_SETTLE,     /* `ref`'s hold, amount */
    OP_SPEND,      /* credential, amount, without a hold */
    OP_VOID,       /* `ref`'s hold */
    OP_EXTEND,     /* `ref`'s hold, amount */
    OP_REFUND,     /* `ref`'s charge, amount; -1 all that is left */
    OP_CREDIT,     /* account, kind, amount; until_us > 0: a boost until so much later */
    OP_ACCOUNT,    /* account, change, until_us (renew) */
    OP_BUDGET_SET, /* account, kind, amount, enforce (-1: as it is) */
    OP_BUDGET_CLEAR,
    OP_PLAN_EDIT, /* plan, budget, amount (limit), enforce, overage */
    OP_KINDS
};
enum fault {
    FAULT_NONE,
    FAULT_CRASH,      /* dies before the commit; then it is tried again */
    FAULT_LOST_REPLY, /* done, but the caller does not hear of it and tries again */
};

struct op {
    int number; /* in the schedule as it was generated */
    enum op_kind kind;
    enum fault fault;
    int64_t step_us; /* how far the clock moves first; may be negative */
    int credential, plan, account, period, budget, ref, enforce, overage;
    enum account_change change;
    bool stale; /* the verification is older than the last reverify */
    int64_t amount_nanos, until_us;
};

enum result_word { WORD_NONE, WORD_DONE, WORD_REPLAYED, WORD_CONFLICT, WORD_DENIED, WORD_UNKNOWN };

/* What an operation came to, as far as the documents fix it. Everything else is zero. */
struct answer {
    enum result_word word; /* all but OP_ADMIT and OP_AGAIN */
    bool allow;
    enum reason reason;
    int account;                /* that refuses; NOBODY */
    int64_t limit, spent, held; /* of the budget that refuses */
    bool has_budget;
    int64_t remaining; /* of the tightest budget, on allow */
    int warned;        /* `warn` budgets that are named, on allow */
    int64_t retry_after_us, expired_us;
    int hold_op; /* whose hold it is, NOBODY none */
    int64_t hold_nanos, hold_expires_us;
    bool over;
    int64_t overrun;
    int thresholds, overruns, expired_holds; /* events told; -1: the driver cannot see them */
};

/* One counter as the driver has it. */
struct counter {
    enum period_kind kind;
    int64_t start_us, spent, held;
    bool hard; /* and `limit` is its limit now */
    int64_t limit;
};
#define COUNTERS_MAX 8

struct driver {
    const char *name;
    /* The accounts that exist from the start are USER_B (below GROUP), GROUP and ALL. */
    bool is_store; /* a crash may come after the commit, and a look at an account sweeps */
    void *(*open)(const struct world *world);
    void (*close)(void *state);
    /* False: a failure, told in `problem`. `lose`: nothing of it may stay. */
    bool (*run)(void *state, const struct op *op, int64_t now_us, bool lose, struct answer *out,
                char *problem, size_t problem_size);
    /* The counters of an account in the periods of now; -1: there is no such account. */
    int (*counters)(void *state, int account, int64_t now_us, struct counter out[COUNTERS_MAX],
                    int64_t *live_holds);
    enum hold_state (*hold_state)(void *state, int op); /* of a hold that was placed */
    /* Stop without warning and come back; then check what is there. */
    bool (*restart)(void *state, int64_t now_us, char *problem, size_t problem_size);
};
extern const struct driver sim_driver_ledger, sim_driver_store;

#endif
