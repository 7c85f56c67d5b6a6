/* SPDX-License-Identifier: MIT */
/*
 * POST /v1/holds, /v1/holds/{id}/extend and /v1/holds/{id}/void: money set aside outside a request.
 * Source: contract, section 5.
 */
#ifndef SPENDGATE_TRACKER_HOLDS_H
#define SPENDGATE_TRACKER_HOLDS_H

#include "tracker/call.h"

#define HOLD_TTL_MIN_US (1 * INT64_C(1000000))
#define HOLD_TTL_MAX_US (30 * 24 * 3600 * INT64_C(1000000))

void holds_place(struct call *call);
void holds_extend(struct call *call);
void holds_void(struct call *call);

#endif
