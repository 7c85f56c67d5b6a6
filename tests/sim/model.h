/* SPDX-License-Identifier: MIT */
/*
 * The model of the money: a list of journal rows, of credits and of holds, and nothing kept that
 * can be summed up. Every balance, every limit and what is left of it is computed anew from those
 * lists whenever it is asked for. Written from the design document and the contract, not from
 * ledger.c. Who may pass and what is answered is expect.c's.
 */
#ifndef SPENDGATE_SIM_MODEL_H
#define SPENDGATE_SIM_MODEL_H

#include "tests/sim/world.h"

#define LINES_MAX (CHAIN_MAX * KINDS)

struct model_row {
    int64_t at_us, amount;
    unsigned chain; /* it counts on these accounts, a bit each, in the periods of `at_us` */
};
struct model_credit {
    int account;
    enum period_kind kind;
    int64_t amount, from_us, until_us;
};
struct model_hold {
    bool placed;
    enum hold_state state;
    int credential, plan;
    int64_t at_us, amount, expires_us;
};
struct model_budget { /* of an account, per kind of period */
    int64_t since_us; /* when the counter came to be; 0: it has not */
    bool limited, enforced;
    int64_t limit; /* set by hand */
    enum enforce enforce;
};
struct model {
    const struct world *world;
    int64_t now_us;
    size_t row_count, credit_count, live_count;
    struct model_row rows[3 * SIM_OPS_MAX];
    struct model_credit credits[SIM_OPS_MAX];
    struct model_hold holds[SIM_OPS_MAX]; /* by the operation that placed them */
    int live[SIM_OPS_MAX];                /* those that are held, so that not all are looked at */
    struct model_budget budgets[ACCOUNTS][PERIOD_NONE + 1];
};

/* Whose counters, by which plan (or NOBODY), in the periods of which instant. */
struct caller {
    int credential, plan;
    int64_t at_us;
};

/* A counter that has a limit for this caller. */
struct line {
    int account, order; /* in the plan */
    enum period_kind kind;
    const struct plan_budget *budget; /* of the plan; NULL: set by hand only */
    enum enforce enforce;
    int64_t limit, spent, held, left, start_us;
};

void model_row_add(struct model *m, int credential, int64_t at_us, int64_t amount);
void model_hold_place(struct model *m, int op); /* now */
void model_hold_end(struct model *m, int op, enum hold_state state);
/* What is spent and held on an account in the period of `at_us`. */
void model_counter(const struct model *m, int account, enum period_kind kind, int64_t at_us,
                   struct line *out);
/* The limited counters of a caller as they are now, in chain order; returns how many. */
int model_lines(const struct model *m, const struct caller *who, struct line out[LINES_MAX]);
int64_t model_live_holds(const struct model *m, int payer);
void model_period(enum period_kind kind, int64_t at_us, int64_t *start_us, int64_t *end_us);

#endif
