/* SPDX-License-Identifier: MIT */
/*
 * The model: what the documents say must happen, in the most obvious way. A list of journal rows
 * and one of holds; every balance is summed up again whenever it is asked for, and nothing is kept
 * that can be computed. Written from the design document and the contract, not from ledger.c.
 */
#ifndef SPENDGATE_SIM_MODEL_H
#define SPENDGATE_SIM_MODEL_H

#include "tests/sim/world.h"

struct model;

struct model *model_new(const struct world *world, bool creates_on_refusal);
void model_free(struct model *model);
/*
 * What `op` has to come to at `now_us`, and what is so from then on. `again`: the caller sends the
 * same request a second time. Whether a credit or a hand-set limit finds its budget is the driver's
 * to say: `got` is its answer. False: the operation means nothing here (what it refers to does not
 * exist).
 */
bool model_run(struct model *model, const struct op *op, int64_t now_us, bool again,
               const struct answer *got, struct answer *want);
/* Whether the operation would mean anything. */
bool model_runnable(const struct model *model, const struct op *op);
void model_counter(const struct model *model, int account, enum period_kind kind, int64_t at_us,
                   int64_t *start_us, int64_t *spent, int64_t *held);
bool model_account_exists(const struct model *model, int account);
int64_t model_live_holds(const struct model *model, int payer);
/* Only journal the holds whose time is over. */
void model_look(struct model *model, int64_t now_us, struct answer *want);
/* By how much a hard budget of this caller is passed, now: spent alone, and with what is held. */
void model_overrun(const struct model *model, int credential, int plan, int64_t now_us,
                   int64_t *spent_over, int64_t *held_over);
/* The amount of a hold that is held and in time; -1: it is not. */
int64_t model_hold_open(const struct model *model, int op, int64_t now_us);
/* The state of the hold that an operation placed; -1: it placed none. */
int model_hold_state(const struct model *model, int op);

#endif
