/* SPDX-License-Identifier: MIT */
/*
 * What each operation has to answer, by the documents, and what it leaves in the model: who may
 * pass, at what rate, once or again, and what is told. Written from the contract, not from
 * ledger.c.
 */
#ifndef SPENDGATE_SIM_EXPECT_H
#define SPENDGATE_SIM_EXPECT_H

#include "tests/sim/model.h"

struct expect_account {
    bool exists, frozen, revoked;
    int64_t expires_us;
    int plan, verify_after;
    int64_t rate_empty_ns[3]; /* when the bucket of the key, subject, org rate is empty */
};
struct expect_past { /* what one operation left behind, beside its hold */
    struct caller who;
    bool done;                   /* under its idempotency key */
    bool is_charge;              /* at who.at_us */
    int64_t left;                /* of the charge, to be refunded */
    bool posted, expiry_charged; /* the hold */
    int64_t posted_amount;       /* and with what */
    bool counted;                /* the client request */
    int hold;                    /* and with which hold; NOBODY: */
    int64_t until_us;            /* until when it is remembered */
};
struct expect {
    struct model model;
    struct expect_account accounts[ACCOUNTS];
    struct expect_past past[SIM_OPS_MAX];
    bool seen[CREDENTIALS];
    int verifications;
    struct {
        int percent; /* the highest threshold that was told */
        bool overrun;
    } told[ACCOUNTS][PERIOD_NONE + 1][(SIM_SPAN_US / 86400000000 + 2) * 24];
};

struct expect *expect_new(const struct world *world);
/*
 * What `op` has to come to at `now_us`, and what is so from then on. `again`: the caller sends the
 * same request a second time.
 */
void expect_run(struct expect *e, const struct op *op, int64_t now_us, bool again,
                struct answer *want);
/* Whether what the operation refers to exists. */
bool expect_runnable(const struct expect *e, const struct op *op);
/* Only journal the holds whose time is over. */
void expect_look(struct expect *e, int64_t now_us, struct answer *want);

#endif
