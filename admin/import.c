/* SPDX-License-Identifier: MIT */
/*
 * spendgate import agentkey: budgets, what was used of them, expiry and revocation of an
 * agentkey-clerk installation become accounts, limits set by hand and charges. Each row is one
 * transaction. What an account has by hand already is left alone, and what was counted before is
 * known by its charges, so running it again changes nothing, or adds what was used meanwhile.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/agentkey.h"
#include "admin/command.h"
#include "admin/output.h"
#include "common/money.h"

#include "common/banned.h"

#define SCOPE "import:agentkey" /* of our idempotency keys; no tracker token has this name */
#define TOKEN "import agentkey" /* in the charges' column of who posted them */
#define NOTES_MAX 10
#define NOTE_SIZE 400
#define CHARGES_PAGE 1000
#define JSON_SIZE 16384
#define LONG_AGO_US (INT64_C(31536000) * 1000000) /* 1971: in no period that anybody looks at */
#define DAY_US (INT64_C(86400) * 1000000)

/* What was done for one row. */
struct outcome_of_row {
    bool carried, made, limit_set, expiry_set, revoked;
    int64_t counted_nanos;
    size_t note_count;
    char notes[NOTES_MAX][NOTE_SIZE];
};

struct totals {
    int64_t rows, carried, made, limits, expiries, revoked, notes, counted_nanos;
};

struct counted {
    const char *tag;
    int64_t nanos, charges;
    int64_t last_id;
    size_t seen;
};

struct import {
    struct admin *admin;
    struct agentkey_source *source;
    const char *plan; /* of accounts that are made; "" none */
    bool dry_run, as_json, any;
    int64_t whole;
    struct agentkey_row row;
    char tag[TEXT_FIELD_SIZE]; /* of the charges of this row and this period of its */
    struct counted counted;    /* before this run */
    struct outcome_of_row out;
    struct totals totals;
    struct ledger ledger; /* the account before or after the row's changes */
    struct result result;
    char reply[REPLY_SIZE];
    char json[JSON_SIZE];
};

static struct actor
actor_of(const struct import *im)
{
    return (struct actor){ .who = im->admin->who,
                           .note = command_has(im->admin, OPTION_NOTE)
                                       ? im->admin->options[OPTION_NOTE]
                                       : TOKEN };
}

static void note(struct import *im, const char *format, ...) PRINTF_LIKE(2, 3);

/* What could not be carried over, or differs here. */
static void
note(struct import *im, const char *format, ...)
{
    va_list arguments;

    if (im->out.note_count == NOTES_MAX)
        return;
    va_start(arguments, format);
    (void)vsnprintf(im->out.notes[im->out.note_count++], NOTE_SIZE, format, arguments);
    va_end(arguments);
}

static const char *
per_period(enum period_kind kind)
{
    return kind == PERIOD_NONE ? "in all" : kind == PERIOD_DAY ? "a day" : "a month";
}

/* ---- the account ---------------------------------------------------------------------------- */

static enum status
look(struct import *im, bool *found, struct error *err)
{
    char parent[ACCOUNT_NAME_SIZE];
    enum status status = store_account_load(im->admin->store, im->row.subject, im->admin->now_us,
                                            &im->ledger, parent, err);

    *found = status == STATUS_OK;
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status
change_account(struct import *im, enum account_change change, int64_t until_us, const char *text,
               struct error *err)
{
    const struct actor actor = actor_of(im);

    return store_account_change(im->admin->store, im->row.subject, change, until_us, text, &actor,
                                im->admin->now_us, &im->result, err);
}

/* Made when it is missing. One that is made takes the row's revocation and expiry; one that is
 * there is judged by what was decided here. */
static enum status
carry_account(struct import *im, struct error *err)
{
    const struct agentkey_row *row = &im->row;
    const struct account *account = &im->ledger.accounts[0];
    bool found;
    enum status status = look(im, &found, err);

    if (status == STATUS_OK && !found) {
        status = change_account(im, ACCOUNT_MAKE, 0, im->plan, err);
        im->out.made = status == STATUS_OK;
        if (status == STATUS_OK)
            status = look(im, &found, err);
    }
    if (status != STATUS_OK)
        return status;
    if (row->revoked && im->out.made) {
        status = change_account(im, ACCOUNT_REVOKE, 0, NULL, err);
        im->out.revoked = status == STATUS_OK;
    } else if (row->revoked && !account->revoked)
        note(im, "is revoked there and not here: `spendgate account revoke %s'", row->subject);
    if (status != STATUS_OK || row->expires_us == 0 || row->expires_us == account->expires_us)
        return status;
    if (account->expires_us == 0) {
        status = change_account(im, ACCOUNT_RENEW, row->expires_us, NULL, err);
        im->out.expiry_set = status == STATUS_OK;
    } else {
        char there[HUMAN_SIZE], here[HUMAN_SIZE];

        note(im, "expires there at %s; that it expires here at %s was left as it is",
             human_time(row->expires_us, there), human_time(account->expires_us, here));
    }
    return status;
}

/* ---- the limit ------------------------------------------------------------------------------ */

enum by_hand { HAND_NONE, HAND_SAME, HAND_OTHER };

/* What the lines of that kind of period have by hand. */
static enum by_hand
set_by_hand(const struct import *im, int64_t *nanos)
{
    enum by_hand found = HAND_NONE;

    for (size_t i = 0; i < im->ledger.line_count; i++) {
        const struct budget_line *line = &im->ledger.lines[i];

        if (line->spec.kind != im->row.period || !line->hand_limited)
            continue;
        *nanos = line->hand_limit_nanos;
        if (*nanos != im->row.budget_nanos)
            return HAND_OTHER;
        found = HAND_SAME;
    }
    return found;
}

static enum status
carry_limit(struct import *im, struct error *err)
{
    const enum enforce hard = ENFORCE_HARD;
    const struct actor actor = actor_of(im);
    const struct agentkey_row *row = &im->row;
    char there[HUMAN_SIZE], here[HUMAN_SIZE];
    int64_t nanos = 0;
    bool found;
    enum status status;

    (void)human_money(row->budget_nanos, there);
    if (row->budget == AGENTKEY_NONE) {
        note(im, "has no budget there (unlimited); here its plan's limits hold");
        return STATUS_OK;
    }
    if (row->budget == AGENTKEY_UNREADABLE) {
        note(im, "its budget '%s' is no amount of cents: no limit was set", row->budget_text);
        return STATUS_OK;
    }
    if (!row->period_known) {
        note(im, "its period '%s' is unknown: no limit was set; it is %s there", row->period_text,
             there);
        return STATUS_OK;
    }
    switch (set_by_hand(im, &nanos)) {
    case HAND_SAME:
        return STATUS_OK;
    case HAND_OTHER:
        note(im,
             "may spend %s %s there; the limit of %s that was set by hand here was left as it is",
             there, per_period(row->period), human_money(nanos, here));
        return STATUS_OK;
    case HAND_NONE:
        break;
    }
    status = store_budget_set(im->admin->store, row->subject, row->period, row->budget_nanos, &hard,
                              &actor, im->admin->now_us, &im->result, err);
    im->out.limit_set = status == STATUS_OK;
    return status == STATUS_OK ? look(im, &found, err) : status;
}

/* ---- what was used -------------------------------------------------------------------------- */

/* Where the used amount of this row and this period of its is found again. */
static void
make_tag(const struct import *im, char out[TEXT_FIELD_SIZE])
{
    (void)snprintf(out, TEXT_FIELD_SIZE, "agentkey %s until %" PRId64, im->row.id,
                   im->row.reset_us);
}

static bool
add_counted(void *context, const struct charge *charge)
{
    struct counted *counted = context;

    counted->seen++;
    counted->last_id = charge->id;
    if (charge->kind != CHARGE_SPEND || strcmp(charge->token, TOKEN) != 0 ||
        strcmp(charge->tags, counted->tag) != 0)
        return true;
    counted->charges++;
    (void)!money_add(counted->nanos, charge->amount_nanos, &counted->nanos);
    return true;
}

/* What earlier runs have counted of it; nothing where there is no such account yet. */
static enum status
find_counted(struct import *im, struct error *err)
{
    struct counted *counted = &im->counted;
    struct charge_filter filter = {
        .account = im->row.subject,
        .to_us = INT64_MAX,
        .before_id = INT64_MAX,
        .limit = CHARGES_PAGE,
    };
    enum status status;

    make_tag(im, im->tag);
    *counted = (struct counted){ .tag = im->tag };
    do {
        counted->seen = 0;
        status = store_charges(im->admin->store, &filter, add_counted, counted, err);
        filter.before_id = counted->last_id;
    } while (status == STATUS_OK && counted->seen == CHARGES_PAGE);
    return status;
}

/* The instant whose periods it counts in: in agentkey's own period, and in the one of now of the
 * lines of that kind, so that it reaches no day of a month more than it must. What is never reset
 * there was spent since the row was made. */
static int64_t
counts_at(const struct import *im)
{
    const struct agentkey_row *row = &im->row;
    int64_t now_us = im->admin->now_us, at_us = 0;

    if (row->period == PERIOD_NONE)
        return row->created_us > LONG_AGO_US && row->created_us < now_us ? row->created_us
                                                                         : LONG_AGO_US;
    if (row->reset_us > now_us)
        at_us = row->reset_us - (row->period == PERIOD_DAY ? DAY_US : 31 * DAY_US);
    for (size_t i = 0; i < im->ledger.line_count; i++) {
        const struct budget_line *line = &im->ledger.lines[i];

        if (line->spec.kind == row->period && line->period.start_us > at_us)
            at_us = line->period.start_us;
    }
    return at_us > LONG_AGO_US && at_us < now_us ? at_us : now_us;
}

static void
write_nothing(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    (void)result;
    buf_add(out, "{}");
}

/* The key is made from the row's id, its period, and how many charges came before: of two imports
 * at once the second finds it used. */
static enum status
count_used(struct import *im, int64_t nanos, struct error *err)
{
    static const struct reply_writer writer = { write_nothing, NULL };
    char text[AGENTKEY_ID_SIZE + ACCOUNT_NAME_SIZE + TEXT_FIELD_SIZE], key[SHA256_HEX_SIZE];
    struct spend spend = {
        .subject = im->row.subject,
        .cost_nanos = nanos,
        .at_us = counts_at(im),
        .tags = im->tag,
        .token = TOKEN,
    };
    struct idempotency idempotency = { .scope = SCOPE, .key = key };
    uint8_t digest[SHA256_BYTES];
    char amount[HUMAN_SIZE];
    struct buf hex, reply;
    enum status status;

    (void)snprintf(text, sizeof(text), "%s %s #%" PRId64, im->row.subject, im->tag,
                   im->counted.charges);
    crypto_sha256(text, strlen(text), digest);
    buf_init(&hex, key, sizeof(key));
    buf_add_hex(&hex, digest, sizeof(digest));
    crypto_sha256(&nanos, sizeof(nanos), idempotency.fingerprint);
    buf_init(&reply, im->reply, sizeof(im->reply));
    status = store_spend(im->admin->store, &spend, &idempotency, &writer, im->admin->now_us,
                         &im->result, &reply, err);
    if (status == STATUS_OK && im->result.outcome == OUTCOME_DONE)
        im->out.counted_nanos = nanos;
    else if (status == STATUS_OK && im->result.outcome != OUTCOME_REPLAYED)
        note(im, "%s that was used was not counted: another import is at work; run this again",
             human_money(nanos, amount));
    return status;
}

static enum status
carry_used(struct import *im, struct error *err)
{
    const struct agentkey_row *row = &im->row;
    const struct counted *counted = &im->counted;
    char there[HUMAN_SIZE], here[HUMAN_SIZE];

    (void)human_money(row->used_nanos, there);
    if (row->used == AGENTKEY_UNREADABLE)
        note(im, "what it used, '%s', is no amount of cents: nothing was counted", row->used_text);
    if (row->used != AGENTKEY_AMOUNT || row->used_nanos == 0)
        return STATUS_OK;
    if (row->reset_us != 0 && row->reset_us <= im->admin->now_us)
        return STATUS_OK; /* agentkey would forget it at the next request */
    if (!row->period_known) {
        note(im, "%s that it used was not counted, for its period '%s' is unknown", there,
             row->period_text);
        return STATUS_OK;
    }
    if (counted->nanos == row->used_nanos)
        return STATUS_OK;
    if (counted->nanos > row->used_nanos) {
        note(im, "%s is used there; the %s that was counted here before was left as it is", there,
             human_money(counted->nanos, here));
        return STATUS_OK;
    }
    return count_used(im, row->used_nanos - counted->nanos, err);
}

/* ---- what differs --------------------------------------------------------------------------- */

/* Its period and ours seldom begin at the same instant. */
static void
compare_periods(struct import *im)
{
    const struct agentkey_row *row = &im->row;
    char there[HUMAN_SIZE], here[HUMAN_SIZE];

    if (!row->period_known || row->budget != AGENTKEY_AMOUNT)
        return;
    if (row->period == PERIOD_NONE && row->reset_us != 0) {
        note(im, "its budget has no period there, but goes back to zero at %s; here it never does",
             human_time(row->reset_us, there));
        return;
    }
    if (row->period != PERIOD_NONE && row->reset_us == 0)
        note(im, "its budget is never reset there, for it lacks the time; here it is each %s",
             period_kind_name(row->period));
    if (row->reset_us <= im->admin->now_us)
        return;
    for (size_t i = 0; i < im->ledger.line_count; i++) {
        const struct budget_line *line = &im->ledger.lines[i];

        if (line->spec.kind != row->period || line->period.end_us == row->reset_us)
            continue;
        note(im, "its %s ends there at %s, here at %s (%s)", period_kind_name(row->period),
             human_time(row->reset_us, there), human_time(line->period.end_us, here),
             line->spec.timezone);
        return;
    }
}

static void
compare_scopes(struct import *im)
{
    const struct agentkey_row *row = &im->row;

    if (row->all_scopes)
        return;
    if (row->scopes[0] == '\0')
        note(im, "has no scope there; here its plan gives the scopes");
    else
        note(im, "has the scopes %s there; here its plan gives them", row->scopes);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static enum status
carry_row(struct import *im, struct error *err)
{
    enum status status = carry_account(im, err);

    if (status == STATUS_OK)
        status = carry_limit(im, err);
    if (status == STATUS_OK)
        status = carry_used(im, err);
    if (status != STATUS_OK)
        return status;
    compare_periods(im);
    compare_scopes(im);
    im->out.carried = true;
    return STATUS_OK;
}

/* Why the row is nobody's here; false when it is somebody's. */
static bool
is_nobodys(struct import *im)
{
    const struct agentkey_row *row = &im->row;

    if (!row->has_subject)
        note(im, "is a key of agentkey's own, which Clerk does not know: its owner needs a key "
                 "from Clerk");
    else if (row->subject[0] == '\0')
        note(im, "its external_subject is no subject of Clerk's");
    else if (row->id[0] == '\0')
        note(im, "its id is too long to be told from others");
    else
        return false;
    return true;
}

/* All of one row or nothing; nothing with --dry-run. */
static enum status
import_row(struct import *im, struct error *err)
{
    struct store *store = im->admin->store;
    struct error ignored;
    enum status status;

    memset(&im->out, 0, sizeof(im->out));
    if (is_nobodys(im))
        return STATUS_OK;
    status = find_counted(im, err);
    if (status == STATUS_OK)
        status = store_batch_begin(store, err);
    if (status != STATUS_OK)
        return status;
    status = carry_row(im, err);
    if (status != STATUS_OK) {
        (void)!store_batch_end(store, false, &ignored);
        return status;
    }
    return store_batch_end(store, !im->dry_run, err);
}

static void
add_up(struct import *im)
{
    const struct outcome_of_row *out = &im->out;
    struct totals *t = &im->totals;

    t->rows++;
    t->carried += out->carried;
    t->made += out->made;
    t->limits += out->limit_set;
    t->expiries += out->expiry_set;
    t->revoked += out->revoked;
    t->notes += (int64_t)out->note_count;
    (void)!money_add(t->counted_nanos, out->counted_nanos, &t->counted_nanos);
}

static void
print_row(const struct import *im)
{
    for (size_t i = 0; i < im->out.note_count; i++) {
        progress_clear();
        print_text(stdout, im->row.id);
        printf("  ");
        print_text(stdout, im->row.subject[0] != '\0' ? im->row.subject : "-");
        printf("  ");
        print_text(stdout, im->out.notes[i]);
        (void)putchar('\n');
    }
}

static bool
print_row_json(struct import *im)
{
    const struct outcome_of_row *out = &im->out;
    const struct agentkey_row *row = &im->row;
    struct buf json;

    buf_init(&json, im->json, sizeof(im->json));
    buf_add(&json, "{\"row\":");
    buf_add_json_string(&json, row->id);
    buf_add(&json, ",\"account\":");
    buf_add_json_string(&json, row->subject[0] != '\0' ? row->subject : NULL);
    buf_add_format(&json, ",\"carried\":%s,\"made\":%s,\"limit_set\":%s,\"limit_usd\":",
                   out->carried ? "true" : "false", out->made ? "true" : "false",
                   out->limit_set ? "true" : "false");
    if (row->budget == AGENTKEY_AMOUNT)
        buf_add_json_money(&json, row->budget_nanos);
    else
        buf_add(&json, "null");
    buf_add(&json, ",\"period\":");
    buf_add_json_string(&json, row->period_known ? period_kind_name(row->period) : NULL);
    buf_add(&json, ",\"counted_usd\":");
    buf_add_json_money(&json, out->counted_nanos);
    buf_add(&json, ",\"expires_at\":");
    buf_add_json_time(&json, row->expires_us);
    buf_add_format(&json, ",\"expiry_set\":%s,\"revoked\":%s,\"notes\":[",
                   out->expiry_set ? "true" : "false", out->revoked ? "true" : "false");
    for (size_t i = 0; i < out->note_count; i++) {
        if (i > 0)
            buf_add_char(&json, ',');
        buf_add_json_string(&json, out->notes[i]);
    }
    buf_add(&json, "]}");
    return print_json_item(&json, &im->any);
}

static enum status
import_rows(struct import *im, struct error *err)
{
    bool more;
    enum status status = agentkey_source_next(im->source, &im->row, &more, err);

    while (status == STATUS_OK && more) {
        status = import_row(im, err);
        if (status != STATUS_OK)
            break;
        add_up(im);
        if (!im->as_json)
            print_row(im);
        else if (!print_row_json(im))
            return error_set(err, STATUS_OVERFLOW, "a row does not fit");
        progress_show(im->totals.rows, im->whole, "rows");
        status = agentkey_source_next(im->source, &im->row, &more, err);
    }
    progress_clear();
    return status;
}

static void
print_summary(const struct import *im)
{
    const struct totals *t = &im->totals;
    char storage[512], counted[HUMAN_SIZE];
    struct buf json;

    if (!im->as_json) {
        printf("%" PRId64 " rows, %" PRId64 " carried over: %" PRId64 " accounts made, %" PRId64
               " limits and %" PRId64 " expiries set, %" PRId64 " revoked, %s counted as used.%s\n",
               t->rows, t->carried, t->made, t->limits, t->expiries, t->revoked,
               human_money(t->counted_nanos, counted),
               im->dry_run ? " Nothing was changed (--dry-run)." : "");
        return;
    }
    buf_init(&json, storage, sizeof(storage));
    buf_add_format(&json,
                   "\n],\"row_count\":%" PRId64 ",\"carried\":%" PRId64
                   ",\"accounts_made\":%" PRId64 ",\"limits_set\":%" PRId64
                   ",\"expiries_set\":%" PRId64 ",\"revoked\":%" PRId64 ",\"note_count\":%" PRId64
                   ",\"dry_run\":%s,\"counted_usd\":",
                   t->rows, t->carried, t->made, t->limits, t->expiries, t->revoked, t->notes,
                   im->dry_run ? "true" : "false");
    buf_add_json_money(&json, t->counted_nanos);
    buf_add_char(&json, '}');
    (void)print_json(&json);
}

/* ---- the command ---------------------------------------------------------------------------- */

/* A password that stands in the URL was readable in the list of processes for as long as this. */
static void
hide(char *url)
{
    memset(url, 'x', strlen(url));
}

/* The plan of accounts that are made: so that a limit is set on the lines the plan will count. */
static int
choose_plan(struct import *im)
{
    const struct policy *policy = &im->admin->settings->policy;
    const char *named = im->admin->options[OPTION_PLAN];

    im->plan = named != NULL ? named : policy->default_plan;
    if (im->plan[0] == '\0' || policy_plan_named(policy, im->plan) != NULL)
        return DONE;
    return command_usage(im->admin, "--plan: the settings have no plan '%s'", im->plan);
}

static int
import_all(struct import *im, char *url)
{
    struct error err = { 0 };
    enum status status = agentkey_source_open(url, &im->source, &im->whole, &err);
    int code;

    hide(url);
    if (status != STATUS_OK)
        return command_error(&err);
    /* Now that the other database is open: to open the store may be to become another user. */
    code = command_open_store(im->admin);
    if (code == DONE && im->as_json)
        (void)fputs("{\"rows\":[\n", stdout);
    if (code == DONE)
        status = import_rows(im, &err);
    agentkey_source_close(im->source);
    if (code != DONE)
        return code;
    if (status == STATUS_OK || im->as_json)
        print_summary(im);
    return status == STATUS_OK ? DONE : command_error(&err);
}

int
run_import_agentkey(struct admin *admin)
{
    struct import *im;
    int code;

    if (!agentkey_url_valid(admin->arguments[0]))
        return command_usage(admin, "the url begins with postgresql://");
    im = calloc(1, sizeof(*im));
    if (im == NULL)
        return command_fail("out of memory");
    im->admin = admin;
    im->dry_run = command_has(admin, OPTION_DRY_RUN);
    im->as_json = command_has(admin, OPTION_JSON);
    code = choose_plan(im);
    if (code == DONE)
        code = import_all(im, admin->arguments[0]);
    free(im);
    return code;
}
