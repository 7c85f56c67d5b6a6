/* SPDX-License-Identifier: MIT */
/* spendgate account: list, show, and what an operator can do to an account. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/command.h"
#include "admin/output.h"
#include "common/account_json.h"

#include "common/banned.h"

#define NAMES_PER_PAGE 200

/* ---- list ----------------------------------------------------------------------------------- */

/* Names are taken page by page, so that no statement is open while an account is loaded. */
struct name_page {
    size_t count;
    char names[NAMES_PER_PAGE][ACCOUNT_NAME_SIZE];
};

static bool
add_name(void *context, const char *name)
{
    struct name_page *page = context;

    if (page->count == NAMES_PER_PAGE ||
        !text_copy(page->names[page->count], ACCOUNT_NAME_SIZE, name))
        return false;
    page->count++;
    return true;
}

static const char *
state_text(const struct account *account, int64_t now_us, char out[HUMAN_SIZE])
{
    bool expired = account->expires_us > 0 && account->expires_us <= now_us;

    (void)snprintf(out, HUMAN_SIZE, "%s%s%s", account->revoked ? "revoked " : "",
                   account->frozen ? "frozen " : "", expired ? "expired " : "");
    if (out[0] == '\0')
        return "ok";
    out[strlen(out) - 1] = '\0';
    return out;
}

/* The hard line with the smallest remaining, else the first with a limit; -1 none. */
static int
tightest_line(const struct ledger *ledger)
{
    int best = -1;

    for (size_t i = 0; i < ledger->line_count; i++) {
        const struct budget_line *line = &ledger->lines[i];
        const struct budget_line *than = best >= 0 ? &ledger->lines[best] : NULL;

        if (!line->limited)
            continue;
        if (than == NULL ||
            (line->enforce == ENFORCE_HARD &&
             (than->enforce != ENFORCE_HARD || ledger_remaining(line) < ledger_remaining(than))))
            best = (int)i;
    }
    return best;
}

static void
add_account_row(struct table *table, const struct ledger *ledger, const struct clerk_note *note,
                int64_t now_us)
{
    const struct account *account = &ledger->accounts[0];
    int best = tightest_line(ledger);
    char text[HUMAN_SIZE];

    table_add(table, account->name);
    table_add(table, human_text(account->plan));
    table_add(table, state_text(account, now_us, text));
    if (best < 0) {
        for (int i = 0; i < 6; i++)
            table_add(table, "-");
        table_add(table, human_text(note->title));
        return;
    }
    table_add(table, period_kind_name(ledger->lines[best].spec.kind));
    table_add(table, human_money(ledger->lines[best].spent_nanos, text));
    table_add(table, human_money(ledger->lines[best].held_nanos, text));
    table_add(table, human_money(ledger_limit(&ledger->lines[best]), text));
    table_add(table, human_money(ledger_remaining(&ledger->lines[best]), text));
    table_add(table, human_time(ledger->lines[best].period.end_us, text));
    table_add(table, human_text(note->title));
}

/* What `clerk sync` noted of a key; nothing for any other account. */
static enum status
load_note(const struct admin *admin, const char *name, bool *noted, struct clerk_note *out,
          struct error *err)
{
    memset(out, 0, sizeof(*out));
    *noted = false;
    if (account_kind_of(name) != ACCOUNT_KEY)
        return STATUS_OK;
    return store_clerk_note_get(admin->store, name, noted, out, err);
}

/* As the tracker writes it; a key also has what `clerk sync` noted (`note`, NULL for nothing). */
static void
add_account_json(const struct admin *admin, struct buf *json, const struct ledger *ledger,
                 const char *parent, const struct clerk_note *note)
{
    account_json_add(json, ledger, 0, parent,
                     policy_plan_named(&admin->settings->policy, ledger->accounts[0].plan));
    if (note == NULL || buf_failed(json))
        return;
    json->length--; /* the closing brace */
    buf_add(json, ",\"clerk\":{\"name\":");
    buf_add_json_string(json, note->title);
    buf_add(json, ",\"expires_at\":");
    buf_add_json_time(json, note->expires_us);
    buf_add(json, note->gone ? ",\"listed\":false}}" : ",\"listed\":true}}");
}

struct listing {
    struct admin *admin;
    struct table table;
    struct ledger ledger;
    struct name_page page;
    char json[ACCOUNT_JSON_SIZE];
    int64_t left; /* entries until --limit */
    bool any;
};

/* One account of a listing; one that went away meanwhile is left out. */
static int
list_one(struct listing *listing, const char *name)
{
    char parent[ACCOUNT_NAME_SIZE];
    struct clerk_note note;
    struct error err = { 0 };
    struct buf json;
    bool noted = false;
    enum status status = store_account_load(listing->admin->store, name, listing->admin->now_us,
                                            &listing->ledger, parent, &err);

    if (status == STATUS_NOT_FOUND)
        return DONE;
    if (status == STATUS_OK)
        status = load_note(listing->admin, name, &noted, &note, &err);
    if (status != STATUS_OK)
        return command_error(&err);
    if (!command_has(listing->admin, OPTION_JSON)) {
        add_account_row(&listing->table, &listing->ledger, &note, listing->admin->now_us);
        return DONE;
    }
    buf_init(&json, listing->json, sizeof(listing->json));
    add_account_json(listing->admin, &json, &listing->ledger, parent, noted ? &note : NULL);
    return print_json_item(&json, &listing->any) ? DONE : FAILED;
}

static int
list_pages(struct listing *listing)
{
    char after[ACCOUNT_NAME_SIZE] = "";
    struct error err = { 0 };

    do {
        listing->page.count = 0;
        if (store_account_names(listing->admin->store, after, NAMES_PER_PAGE, add_name,
                                &listing->page, &err) != STATUS_OK)
            return command_error(&err);
        for (size_t i = 0; i < listing->page.count && listing->left > 0; i++, listing->left--) {
            if (list_one(listing, listing->page.names[i]) != DONE)
                return FAILED;
        }
        if (listing->page.count > 0)
            memcpy(after, listing->page.names[listing->page.count - 1], sizeof(after));
    } while (listing->page.count == NAMES_PER_PAGE && listing->left > 0);
    return DONE;
}

int
run_account_list(struct admin *admin)
{
    static const char *const titles[] = { "ACCOUNT", "PLAN",  "STATE",  "PERIOD",
                                          ">SPENT",  ">HELD", ">LIMIT", ">REMAINING",
                                          "RESETS",  "NAME",  NULL };
    struct listing *listing = calloc(1, sizeof(*listing));
    int code;

    if (listing == NULL)
        return command_fail("out of memory");
    listing->admin = admin;
    if (!command_number(admin, OPTION_LIMIT, 1, INT64_MAX, INT64_MAX, &listing->left)) {
        free(listing);
        return USAGE;
    }
    if (command_has(admin, OPTION_JSON)) {
        (void)puts("{\"accounts\":[");
        code = list_pages(listing);
        (void)puts("\n]}");
    } else {
        table_init(&listing->table, titles);
        code = list_pages(listing);
        if (!table_print(&listing->table))
            code = FAILED;
    }
    free(listing);
    return code;
}

/* ---- show ----------------------------------------------------------------------------------- */

static void
print_budgets(const struct ledger *ledger)
{
    static const char *const titles[] = { "PERIOD",     "ZONE",   ">SPENT",  ">HELD",  ">LIMIT",
                                          ">REMAINING", "RESETS", "ENFORCE", "ORIGIN", NULL };
    struct table table;
    char text[HUMAN_SIZE];
    bool any = false;

    table_init(&table, titles);
    for (size_t i = 0; i < ledger->line_count; i++) {
        const struct budget_line *line = &ledger->lines[i];

        if (!line->limited)
            continue;
        any = true;
        table_add(&table, period_kind_name(line->spec.kind));
        table_add(&table, line->spec.timezone);
        table_add(&table, human_money(line->spent_nanos, text));
        table_add(&table, human_money(line->held_nanos, text));
        table_add(&table, human_money(ledger_limit(line), text));
        table_add(&table, human_money(ledger_remaining(line), text));
        table_add(&table, human_time(line->period.end_us, text));
        table_add(&table, enforce_name(line->enforce));
        table_add(&table, line->hand_limited ? "hand" : "plan");
    }
    if (any) {
        (void)putchar('\n');
        (void)table_print(&table);
        return;
    }
    (void)puts("\nNo budget limits this account: see `spendgate budget set'.");
    table_clear(&table);
}

static void
print_line(const char *title, const char *text)
{
    printf("%-12s", title);
    print_text(stdout, human_text(text));
    (void)putchar('\n');
}

static void
print_note(const struct clerk_note *note)
{
    char text[HUMAN_SIZE];

    print_line("Name", note->title);
    print_line("At Clerk", note->gone             ? "not in its list of keys any more"
                           : note->expires_us > 0 ? human_time(note->expires_us, text)
                                                  : "never expires");
}

static void
print_account(const struct admin *admin, const struct ledger *ledger, const char *parent,
              const struct clerk_note *note)
{
    const struct account *account = &ledger->accounts[0];
    const struct plan *plan = policy_plan_named(&admin->settings->policy, account->plan);
    char text[HUMAN_SIZE];

    print_line("Account", account->name);
    if (note != NULL)
        print_note(note);
    print_line("Kind", account_kind_name(account_kind_of(account->name)));
    print_line("State", state_text(account, admin->now_us, text));
    print_line("Plan", account->plan);
    if (account->plan[0] != '\0' && plan == NULL)
        print_line("", "(the settings have no such plan any more)");
    print_line("Parent", parent);
    if (plan != NULL) {
        (void)fputs("Scopes     ", stdout);
        for (size_t i = 0; i < plan->scopes.count; i++)
            printf(" %s", plan->scopes.names[i]);
        (void)fputs(plan->scopes.count == 0 ? " -\n" : "\n", stdout);
    }
    print_line("First seen", human_time(account->first_seen_us, text));
    print_line("Expires",
               account->expires_us > 0 ? human_time(account->expires_us, text) : "never");
    printf("%-12s%" PRId64 " live\n", "Holds", account->live_holds);
    print_budgets(ledger);
}

int
account_print(struct admin *admin, const char *name)
{
    struct ledger *ledger = calloc(1, sizeof(*ledger));
    char *storage = calloc(1, ACCOUNT_JSON_SIZE);
    char parent[ACCOUNT_NAME_SIZE];
    struct clerk_note note;
    bool noted = false;
    struct error err = { 0 };
    enum status status = STATUS_NO_MEMORY;
    int code = FAILED;
    struct buf json;

    if (ledger == NULL || storage == NULL) {
        (void)command_fail("out of memory");
        goto out;
    }
    status = store_account_load(admin->store, name, admin->now_us, ledger, parent, &err);
    if (status == STATUS_OK)
        status = load_note(admin, name, &noted, &note, &err);
    if (status == STATUS_NOT_FOUND) {
        (void)command_fail("no account %s: see `spendgate account list'", name);
        goto out;
    }
    if (status != STATUS_OK) {
        (void)command_error(&err);
        goto out;
    }
    code = DONE;
    if (command_has(admin, OPTION_JSON)) {
        buf_init(&json, storage, ACCOUNT_JSON_SIZE);
        add_account_json(admin, &json, ledger, parent, noted ? &note : NULL);
        code = print_json(&json) ? DONE : FAILED;
    } else {
        print_account(admin, ledger, parent, noted ? &note : NULL);
    }
out:
    free(storage);
    free(ledger);
    return code;
}

int
run_account_show(struct admin *admin)
{
    return account_print(admin, admin->arguments[0]);
}

/* ---- changes -------------------------------------------------------------------------------- */

/* One line of what was done, for people; the account as JSON for programs. */
static int
report_change(struct admin *admin, const char *name, const char *done)
{
    if (command_has(admin, OPTION_JSON))
        return account_print(admin, name);
    print_text(stdout, name);
    printf(" %s\n", done);
    return DONE;
}

static int
change(struct admin *admin, enum account_change what, int64_t until_us, const char *text,
       const char *done)
{
    const char *name = admin->arguments[0];
    const struct actor actor = command_actor(admin);
    struct result *result = calloc(1, sizeof(*result));
    struct error err = { 0 };
    int code;

    if (result == NULL)
        return command_fail("out of memory");
    if (store_account_change(admin->store, name, what, until_us, text, &actor, admin->now_us,
                             result, &err) != STATUS_OK)
        code = command_error(&err);
    else if (result->outcome != OUTCOME_DONE)
        code = command_outcome(result, name);
    else
        code = report_change(admin, name, done);
    free(result);
    return code;
}

int
run_account_change(struct admin *admin)
{
    static const struct {
        const char *verb;
        enum account_change change;
        const char *done;
    } changes[] = {
        { "freeze", ACCOUNT_FREEZE,
          "is frozen: its requests are refused until `account unfreeze'" },
        { "unfreeze", ACCOUNT_UNFREEZE, "is not frozen" },
        { "revoke", ACCOUNT_REVOKE, "is revoked until `account unrevoke'" },
        { "unrevoke", ACCOUNT_UNREVOKE, "is not revoked" },
        { "reverify", ACCOUNT_REVERIFY, "is verified with Clerk again at its next request" },
    };

    size_t i = 0;

    while (i < sizeof(changes) / sizeof(changes[0]) &&
           strcmp(admin->command->verb, changes[i].verb) != 0)
        i++;
    assert(i < sizeof(changes) / sizeof(changes[0])); /* a command without its change */
    return change(admin, changes[i].change, 0, NULL, changes[i].done);
}

int
run_account_renew(struct admin *admin)
{
    const char *until = admin->options[OPTION_UNTIL];
    char done[80], text[HUMAN_SIZE];
    int64_t until_us = 0;

    if (until == NULL)
        return command_usage(admin, "--until is wanted: a time, 30d from now, or never");
    if (strcmp(until, "never") == 0)
        return change(admin, ACCOUNT_RENEW, 0, NULL, "never expires");
    if (!command_time(admin, until, 1, &until_us))
        return USAGE;
    if (until_us <= admin->now_us)
        return command_usage(admin, "--until: %s is over already", until);
    (void)snprintf(done, sizeof(done), "expires %s", human_time(until_us, text));
    return change(admin, ACCOUNT_RENEW, until_us, NULL, done);
}

int
run_account_parent(struct admin *admin)
{
    bool clear = command_has(admin, OPTION_CLEAR);
    char done[ACCOUNT_NAME_SIZE + 40];

    if (clear == (admin->argument_count == 2))
        return command_usage(admin, "either a parent or --clear is wanted");
    if (clear)
        return change(admin, ACCOUNT_PARENT, 0, "", "has no parent");
    (void)snprintf(done, sizeof(done), "counts on %s as well", admin->arguments[1]);
    return change(admin, ACCOUNT_PARENT, 0, admin->arguments[1], done);
}

int
run_account_plan(struct admin *admin)
{
    const char *plan = admin->arguments[1];
    char done[PLAN_NAME_SIZE + 40];

    if (policy_plan_named(&admin->settings->policy, plan) == NULL)
        return command_usage(admin, "the settings (%s) have no plan '%s'", admin->settings->file,
                             plan);
    (void)snprintf(done, sizeof(done), "has plan %s noted", plan);
    return change(admin, ACCOUNT_PLAN, 0, plan, done);
}
