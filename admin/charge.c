/* SPDX-License-Identifier: MIT */
/* spendgate charge: what was spent, and refunds. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/command.h"
#include "admin/output.h"
#include "common/account_json.h"

#include "common/banned.h"

#define CHARGES_DEFAULT 50
#define CHARGES_MAX INT64_C(1000000000)
#define CHARGES_PER_PAGE 1000

enum form { FORM_TABLE, FORM_JSON, FORM_CSV };

struct listing {
    enum form form;
    struct table table;
    bool any, failed;
    int64_t last_id; /* of the page, to go on behind it */
    size_t page_count;
    struct buf json;
    char storage[CHARGE_JSON_SIZE];
};

static int64_t
signed_amount(const struct charge *charge)
{
    return charge->kind == CHARGE_REFUND ? -charge->amount_nanos : charge->amount_nanos;
}

static void
add_charge_row(struct table *table, const struct charge *charge)
{
    char id[PUBLIC_ID_SIZE], text[HUMAN_SIZE];

    public_id_format("chg_", charge->id, charge->nonce, id);
    table_add(table, human_time(charge->created_us, text));
    table_add(table, id);
    table_add(table, human_text(charge->account));
    table_add(table, human_text(charge->key_id));
    table_add(table, human_money(signed_amount(charge), text));
    table_add(table, human_text(charge->model));
    table_add(table, human_text(charge->route));
    table_add(table, human_text(charge->token));
    table_add(table, human_text(charge->note));
}

static void
print_charge_csv(const struct charge *charge)
{
    char id[PUBLIC_ID_SIZE], refund_of[PUBLIC_ID_SIZE] = "", time[HUMAN_SIZE];
    char amount[MONEY_TEXT_SIZE];
    struct buf text;

    buf_init(&text, time, sizeof(time));
    (void)buf_add_time(&text, charge->created_us);

    public_id_format("chg_", charge->id, charge->nonce, id);
    if (charge->refund_of > 0)
        public_id_format("chg_", charge->refund_of, charge->refund_of_nonce, refund_of);
    buf_init(&text, amount, sizeof(amount));
    money_add_usd(&text, signed_amount(charge));
    print_csv(stdout, true, time);
    print_csv(stdout, false, id);
    print_csv(stdout, false, charge->account);
    print_csv(stdout, false, charge->key_id);
    print_csv(stdout, false, amount);
    print_csv(stdout, false, charge->model);
    print_csv(stdout, false, charge->route);
    print_csv(stdout, false, charge->hold_id);
    print_csv(stdout, false, refund_of);
    print_csv(stdout, false, charge->token);
    print_csv(stdout, false, charge->note);
    (void)fputs("\r\n", stdout);
}

static bool
add_charge(void *context, const struct charge *charge)
{
    struct listing *listing = context;

    listing->last_id = charge->id;
    listing->page_count++;
    switch (listing->form) {
    case FORM_TABLE:
        add_charge_row(&listing->table, charge);
        return !listing->table.failed;
    case FORM_CSV:
        print_charge_csv(charge);
        return true;
    case FORM_JSON:
        break;
    }
    account_json_add_charge(&listing->json, charge);
    listing->failed = !print_json_item(&listing->json, &listing->any);
    return !listing->failed;
}

static int
list_pages(struct admin *admin, struct charge_filter *filter, int64_t left, struct listing *listing)
{
    struct error err = { 0 };

    filter->before_id = INT64_MAX;
    do {
        filter->limit = left < CHARGES_PER_PAGE ? (size_t)left : CHARGES_PER_PAGE;
        listing->page_count = 0;
        if (store_charges(admin->store, filter, add_charge, listing, &err) != STATUS_OK)
            return command_error(&err);
        left -= (int64_t)listing->page_count;
        filter->before_id = listing->last_id;
    } while (listing->page_count == filter->limit && left > 0 && !listing->failed);
    return listing->failed ? FAILED : DONE;
}

static bool
read_filter(const struct admin *admin, struct charge_filter *filter, int64_t *limit)
{
    *filter = (struct charge_filter){
        .account = admin->options[OPTION_ACCOUNT],
        .key_id = admin->options[OPTION_KEY_ID],
        .route = admin->options[OPTION_ROUTE],
        .model = admin->options[OPTION_MODEL],
    };
    return command_range(admin, &filter->from_us, &filter->to_us) &&
           command_number(admin, OPTION_LIMIT, 1, CHARGES_MAX, CHARGES_DEFAULT, limit) &&
           (filter->account == NULL || command_account_name(admin, filter->account));
}

int
run_charge_list(struct admin *admin)
{
    static const char *const titles[] = { "POSTED", "CHARGE", "ACCOUNT", "KEY",  ">COST",
                                          "MODEL",  "ROUTE",  "BY",      "NOTE", NULL };
    struct charge_filter filter;
    struct listing *listing;
    int64_t limit;
    int code;

    if (!read_filter(admin, &filter, &limit))
        return USAGE;
    listing = calloc(1, sizeof(*listing));
    if (listing == NULL)
        return command_fail("out of memory");
    listing->form = command_has(admin, OPTION_JSON)  ? FORM_JSON
                    : command_has(admin, OPTION_CSV) ? FORM_CSV
                                                     : FORM_TABLE;
    buf_init(&listing->json, listing->storage, sizeof(listing->storage));
    table_init(&listing->table, titles);
    if (listing->form == FORM_JSON)
        (void)puts("{\"charges\":[");
    else if (listing->form == FORM_CSV)
        (void)fputs("created_at,charge_id,account,key_id,cost_usd,model,route,hold_id,refund_of,by,"
                    "note\r\n",
                    stdout);
    code = list_pages(admin, &filter, limit, listing);
    if (listing->form == FORM_JSON)
        (void)puts("\n]}");
    if (listing->form != FORM_TABLE)
        table_clear(&listing->table);
    else if (!table_print(&listing->table))
        code = FAILED;
    free(listing);
    return code;
}

static int
print_refund(const struct admin *admin, const char *id, const struct charge *refund)
{
    char storage[CHARGE_JSON_SIZE], text[HUMAN_SIZE];
    struct buf json;

    if (!command_has(admin, OPTION_JSON)) {
        printf("%s of ", human_money(refund->amount_nanos, text));
        print_text(stdout, id);
        public_id_format("chg_", refund->id, refund->nonce, text);
        printf(" is refunded, as %s\n", text);
        return DONE;
    }
    buf_init(&json, storage, sizeof(storage));
    account_json_add_charge(&json, refund);
    return print_json(&json) ? DONE : FAILED;
}

int
run_charge_refund(struct admin *admin)
{
    const char *id = admin->arguments[0];
    struct result *result;
    struct error err = { 0 };
    int64_t amount_nanos = -1;
    int code;

    if (admin->argument_count == 2 && !command_money(admin, admin->arguments[1], &amount_nanos))
        return USAGE;
    result = calloc(1, sizeof(*result));
    if (result == NULL)
        return command_fail("out of memory");
    if (store_refund(admin->store, id, amount_nanos, admin->who, admin->options[OPTION_NOTE], NULL,
                     NULL, admin->now_us, result, NULL, &err) != STATUS_OK)
        code = command_error(&err);
    else if (result->outcome != OUTCOME_DONE)
        code = command_outcome(result, id);
    else
        code = print_refund(admin, id, &result->charge);
    free(result);
    return code;
}
