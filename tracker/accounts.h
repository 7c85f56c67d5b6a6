/* SPDX-License-Identifier: MIT */
/*
 * Accounts: GET /v1/accounts, GET /v1/accounts/{account}, the switches of an operator (freeze,
 * revoke, …), and GET /v1/me for the caller's own. Every one answers with the account as it then
 * is. Source: contract, section 5.
 */
#ifndef SPENDGATE_TRACKER_ACCOUNTS_H
#define SPENDGATE_TRACKER_ACCOUNTS_H

#include "tracker/call.h"

void accounts_list(struct call *call);
void accounts_get(struct call *call);
void accounts_freeze(struct call *call);
void accounts_unfreeze(struct call *call);
void accounts_revoke(struct call *call);
void accounts_unrevoke(struct call *call);
void accounts_reverify(struct call *call);

#endif
