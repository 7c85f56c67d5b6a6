/* SPDX-License-Identifier: MIT */
/* spendgate hold: what is set aside, and giving it back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/command.h"
#include "admin/output.h"
#include "common/account_json.h"

#include "common/banned.h"

#define HOLDS_DEFAULT 100
#define HOLDS_MAX 1000000

struct listing {
    struct table table;
    bool as_json, any, failed;
    struct buf json;
    char storage[CHARGE_JSON_SIZE];
};

static void
add_hold_row(struct table *table, const struct hold *hold, const char *account)
{
    char id[PUBLIC_ID_SIZE], text[HUMAN_SIZE];

    public_id_format("hld_", hold->id, hold->nonce, id);
    table_add(table, id);
    table_add(table, human_text(account));
    table_add(table, hold_state_name(hold->state));
    table_add(table, human_money(hold->amount_nanos, text));
    table_add(table, hold->charge_id > 0 ? human_money(hold->charged_nanos, text) : "-");
    table_add(table, human_time(hold->placed_us, text));
    table_add(table, human_time(hold->expires_us, text));
    table_add(table, human_text(hold->route));
}

static bool
add_hold(void *context, const struct hold *hold, const char *account)
{
    struct listing *listing = context;

    if (!listing->as_json) {
        add_hold_row(&listing->table, hold, account);
        return !listing->table.failed;
    }
    account_json_add_hold(&listing->json, hold, account);
    listing->failed = !print_json_item(&listing->json, &listing->any);
    return !listing->failed;
}

static bool
read_state(const struct admin *admin, enum hold_state *state)
{
    static const enum hold_state states[] = { HOLD_HELD, HOLD_SETTLED, HOLD_VOIDED, HOLD_EXPIRED };
    const char *wanted = admin->options[OPTION_STATE];

    *state = HOLD_HELD;
    if (wanted == NULL)
        return true;
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(hold_state_name(states[i]), wanted) == 0) {
            *state = states[i];
            return true;
        }
    }
    (void)command_usage(admin, "--state: '%s' is not held, settled, voided or expired", wanted);
    return false;
}

int
run_hold_list(struct admin *admin)
{
    static const char *const titles[] = { "HOLD",   "ACCOUNT", "STATE", ">AMOUNT", ">CHARGED",
                                          "PLACED", "EXPIRES", "ROUTE", NULL };
    struct listing *listing;
    struct error err = { 0 };
    enum hold_state state;
    int64_t limit;
    int code = DONE;

    if (!read_state(admin, &state) ||
        !command_number(admin, OPTION_LIMIT, 1, HOLDS_MAX, HOLDS_DEFAULT, &limit) ||
        (command_has(admin, OPTION_ACCOUNT) &&
         !command_account_name(admin, admin->options[OPTION_ACCOUNT])))
        return USAGE;
    listing = calloc(1, sizeof(*listing));
    if (listing == NULL)
        return command_fail("out of memory");
    listing->as_json = command_has(admin, OPTION_JSON);
    buf_init(&listing->json, listing->storage, sizeof(listing->storage));
    table_init(&listing->table, titles);
    if (listing->as_json)
        (void)puts("{\"holds\":[");
    if (store_holds(admin->store, admin->options[OPTION_ACCOUNT], state, (size_t)limit, add_hold,
                    listing, &err) != STATUS_OK)
        code = command_error(&err);
    if (listing->failed)
        code = FAILED;
    if (listing->as_json) {
        (void)puts("\n]}");
        table_clear(&listing->table);
    } else if (!table_print(&listing->table)) {
        code = FAILED;
    }
    free(listing);
    return code;
}

static int
print_voided(const struct admin *admin, const char *id, const struct result *result)
{
    char storage[CHARGE_JSON_SIZE], text[HUMAN_SIZE];
    struct buf json;
    int payer = ledger_payer(result->ledger);

    if (!command_has(admin, OPTION_JSON)) {
        print_text(stdout, id);
        printf(" is voided: %s is free again\n", human_money(result->hold.amount_nanos, text));
        return DONE;
    }
    buf_init(&json, storage, sizeof(storage));
    account_json_add_hold(&json, &result->hold,
                          payer >= 0 ? result->ledger->accounts[payer].name : NULL);
    return print_json(&json) ? DONE : FAILED;
}

int
run_hold_void(struct admin *admin)
{
    const char *id = admin->arguments[0];
    const struct actor actor = command_actor(admin);
    struct result *result = calloc(1, sizeof(*result));
    struct error err = { 0 };
    int code;

    if (result == NULL)
        return command_fail("out of memory");
    if (store_hold_void_as(admin->store, id, &actor, admin->now_us, result, &err) != STATUS_OK)
        code = command_error(&err);
    else if (result->outcome != OUTCOME_DONE)
        code = command_outcome(result, id);
    else
        code = print_voided(admin, id, result);
    free(result);
    return code;
}
