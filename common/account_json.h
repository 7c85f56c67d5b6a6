/* SPDX-License-Identifier: MIT */
/*
 * What an account, a budget, a charge and a hold look like outside: the JSON of the tracker's
 * answers and of the `--json` listings of the `spendgate` command. Writing only; each function
 * appends one value to a bounded buffer and leaves it failed when it does not fit. Times are RFC
 * 3339 UTC, null for none; money is a decimal string; a text that is not there is null. Source:
 * contract, section 5.
 */
#ifndef SPENDGATE_ACCOUNT_JSON_H
#define SPENDGATE_ACCOUNT_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/ledger.h"
#include "common/policy.h"
#include "common/store.h"

/* Fits one account with LEDGER_LINES_MAX budgets and SCOPES_MAX scopes, with its NUL. */
#define ACCOUNT_JSON_SIZE 49152
/* Fits one charge with its metadata and every character escaped, with its NUL. */
#define CHARGE_JSON_SIZE 32768

/*
 * {"account","kind","plan","parent","scopes":[…],"frozen","revoked","expires_at","budgets":[…]}
 *
 *   account  index into ledger->accounts.
 *   parent   the name of its parent, NULL or "" none.
 *   plan     the settings' plan of that name, for the scopes; NULL: none are granted.
 */
void account_json_add(struct buf *out, const struct ledger *ledger, size_t account,
                      const char *parent, const struct plan *plan);

/* {"account","period","limit_usd","spent_usd","held_usd","remaining_usd","starts_at","resets_at",
 * "enforce","origin"}; `line` is an index into ledger->lines, of a line that is `limited`. */
void account_json_add_budget(struct buf *out, const struct ledger *ledger, size_t line);
/* [budget, …]: the lines with a limit, of one account (an index) or of all (-1); first the plan's
 * in the plan's order, then those set by hand, each by account in chain order. */
void account_json_add_budgets(struct buf *out, const struct ledger *ledger, int account);

/*
 * {"charge_id","account","key_id","hold_id","cost_usd","model","route","created_at"}, and only
 * where there is one: "occurred_at", "tags" (an array), "metadata" (as posted), "refund_of" and
 * "note". A refund's cost_usd is negative, so that a column of charges adds up to what was spent.
 */
void account_json_add_charge(struct buf *out, const struct charge *charge);

/* A refund as that, with "amount_usd" (what was given back, positive) and the "budgets" it changed.
 */
void account_json_add_refund(struct buf *out, const struct charge *refund,
                             const struct ledger *ledger);

/* {"hold_id","account","state","amount_usd","route","placed_at","expires_at"}, and once a charge
 * was posted "charged_usd". `account` is who pays, NULL unknown. */
void account_json_add_hold(struct buf *out, const struct hold *hold, const char *account);
/* The same with "budgets" behind it: all lines of the hold's chain. The account is the chain's
 * payer: the subject, else the key. */
void account_json_add_hold_budgets(struct buf *out, const struct hold *hold,
                                   const struct ledger *ledger);

/* A sum that may be negative as a quoted decimal of USD, "-0.05". */
void account_json_add_signed_money(struct buf *out, int64_t nanos);
/* `text` as a JSON string, null for NULL and "". */
void account_json_add_text(struct buf *out, const char *text);

#endif
