/* SPDX-License-Identifier: MIT */
/*
 * Limits and top-ups by hand: PUT and DELETE /v1/accounts/{account}/budgets/{period}, and
 * POST /v1/accounts/{account}/credits.
 * Source: contract, section 5.
 */
#ifndef SPENDGATE_TRACKER_BUDGETS_H
#define SPENDGATE_TRACKER_BUDGETS_H

#include "tracker/call.h"

void budgets_set(struct call *call);
void budgets_clear(struct call *call);
void budgets_credit(struct call *call);

#endif
