/* SPDX-License-Identifier: MIT */
/*
 * For monitors: GET /healthz (this process answers), GET /readyz (it can do its work), GET
 * /metrics. Source: contract, section 5.
 */
#ifndef SPENDGATE_TRACKER_HEALTH_H
#define SPENDGATE_TRACKER_HEALTH_H

#include "tracker/call.h"

void health_live(struct call *call);
void health_ready(struct call *call);
void health_metrics(struct call *call);

#endif
