/* SPDX-License-Identifier: MIT */
/*
 * What was spent: GET /v1/charges, GET /v1/report and POST /v1/charges/{id}/refund.
 * Source: contract, section 5.
 */
#ifndef SPENDGATE_TRACKER_CHARGES_H
#define SPENDGATE_TRACKER_CHARGES_H

#include "tracker/call.h"

void charges_list(struct call *call);
void charges_refund(struct call *call);
void charges_report(struct call *call);

#endif
