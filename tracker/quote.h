/* SPDX-License-Identifier: MIT */
/*
 * POST /v1/quote: what a usage costs, part by part; nothing is recorded. Source: contract,
 * section 5.
 */
#ifndef SPENDGATE_TRACKER_QUOTE_H
#define SPENDGATE_TRACKER_QUOTE_H

#include "tracker/call.h"

void quote_post(struct call *call);

#endif
