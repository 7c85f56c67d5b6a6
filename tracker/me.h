/* SPDX-License-Identifier: MIT */
/*
 * GET /v1/me: the caller's own budgets, for a caller that the authorizer has identified; readable
 * by the pages of the origins in `clerk { authorized_parties }`. Source: contract, section 5; Fetch
 * standard, section 3.2 (CORS).
 */
#ifndef SPENDGATE_TRACKER_ME_H
#define SPENDGATE_TRACKER_ME_H

#include "tracker/call.h"

void me_get(struct call *call);
/* OPTIONS: may a page of this origin ask? It comes without a credential, past the authorizer. */
void me_preflight(struct call *call);

#endif
