/* SPDX-License-Identifier: MIT */
/*
 * POST /v1/spend and POST /v1/spend/batch: what a backend's work cost.
 * Source: contract, section 5.
 */
#ifndef SPENDGATE_TRACKER_SPEND_H
#define SPENDGATE_TRACKER_SPEND_H

#include "common/spend_post.h"

#include "tracker/call.h"

#define BATCH_MAX 1000

void spend_post_one(struct call *call);
void spend_post_batch(struct call *call);

#endif
