/* SPDX-License-Identifier: MIT */
#include "tests/store/mixed.h"

#include <stdatomic.h>

#include "common/clock.h"
#include "common/crypto.h"

#include "common/banned.h"

#define KEYS 12
#define SUBJECTS 6
#define BATCH_MAX 12
#define CAPPED "user_capped"

const struct mixed_action mixed_actions[ACTIONS] = {
    [DO_ADMIT] = { "admission", 60 },
    [DO_READ] = { "admission that reads", 20 },
    [DO_CAPPED] = { "admission below a cap", 12 },
    [DO_CAP] = { "look at the cap", 4 },
    [DO_EXPLAIN] = { "explain", 4 },
    [DO_SETTLE] = { "settlement", 30 },
    [DO_SPEND] = { "spend without a hold", 12 },
    [DO_SPEND_UNKNOWN] = { "spend for an unknown hold", 3 },
    [DO_VOID] = { "void", 6 },
    [DO_EXTEND] = { "extend", 10 },
    [DO_PLACE] = { "hold outside a request", 5 },
    [DO_REFUND] = { "refund", 6 },
    [DO_CREDIT] = { "credit", 4 },
    [DO_BUDGET] = { "budget set", 4 },
    [DO_CLEAR] = { "budget cleared", 2 },
    [DO_PARENT] = { "parent changed", 6 },
    [DO_ACCOUNT] = { "account changed", 6 },
    [DO_BATCH] = { "batch", 4 },
    [DO_WEBHOOK] = { "webhook", 4 },
    [DO_PRUNE] = { "prune, and others listings", 4 },
    [DO_PRICES] = { "price import", 1 },
    [DO_LOOK] = { "look at an account", 6 },
    [DO_LIST] = { "listings", 1 },
};

static uint64_t
draw(struct worker *f, uint64_t below)
{
    f->seed ^= f->seed << 13; /* xorshift64 */
    f->seed ^= f->seed >> 7;
    f->seed ^= f->seed << 17;
    return (f->seed >> 11) % below;
}

static const char *
any_subject(struct worker *f)
{
    static const char *const names[SUBJECTS] = { "user_1", "user_2", "user_3",
                                                 "org_1",  "org_2",  "mch_1" };

    return names[draw(f, SUBJECTS)];
}

static const char *
any_account(struct worker *f)
{
    static const char *const names[] = { "group:a",  "group:b",  "group:c", "all",
                                         "key:ak_1", "key:ak_2", "org_1",   "org_2" };

    return draw(f, 2) ? any_subject(f) : names[draw(f, CHECK_COUNT(names))];
}

static const char *
any_key(struct worker *f)
{
    static const char *const names[KEYS] = { "ak_1", "ak_2", "ak_3", "ak_4",  "ak_5",  "ak_6",
                                             "ak_7", "ak_8", "ak_9", "ak_10", "ak_11", "ak_12" };

    return names[draw(f, KEYS)];
}

static const struct actor actor = { "mixed", "load" };

static void
write_reply(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    buf_add_format(out, "%lld", (long long)result->charge.id);
}
static const struct reply_writer writer = { write_reply, NULL };

static void
remember_hold(struct worker *f, const struct hold *hold)
{
    public_id_format("hld_", hold->id, hold->nonce, f->holds[f->hold_count++ % OWN_MAX]);
}

static const char *
own(struct worker *f, char ids[OWN_MAX][PUBLIC_ID_SIZE], size_t count)
{
    return count == 0 ? "hld_000000000001000000000001"
                      : ids[draw(f, count < OWN_MAX ? count : OWN_MAX)];
}

/* ---- what a process does -------------------------------------------------------------------- */

static struct chain_names
any_names(struct worker *f)
{
    struct chain_names names;

    memset(&names, 0, sizeof(names));
    (void)!text_copy(names.subject, sizeof(names.subject), any_subject(f));
    if (draw(f, 8) != 0)
        (void)!text_copy(names.key_id, sizeof(names.key_id), any_key(f));
    if (draw(f, 3) == 0)
        (void)!text_copy(names.organization, sizeof(names.organization), "org_1");
    if (draw(f, 10) == 0)
        (void)!text_copy(names.parent, sizeof(names.parent), "group:c");
    return names;
}

static enum status
admit(struct worker *f, const struct plan *plan, int64_t now_us)
{
    char unique_id[32] = "";
    struct chain_names names = any_names(f);
    struct admission ask = {
        .names = &names, .plan = plan, .verification = INT64_MAX, .unique_id = unique_id
    };
    struct buf text;
    enum status status;

    if (draw(f, 4) == 0) { /* Apache's, and each of them several times */
        buf_init(&text, unique_id, sizeof(unique_id));
        buf_add_format(&text, "request-%d", (int)draw(f, 1000));
    }
    status = store_admit(f->store, &ask, now_us, &f->verdict, &f->err);
    if (status == STATUS_OK && f->verdict.allow && f->verdict.hold_placed)
        remember_hold(f, &f->verdict.hold);
    return status;
}

/* By any key, in an organization or not: what was left behind is in other chains. */
static enum status
admit_capped(struct worker *f, int64_t now_us)
{
    struct chain_names names = any_names(f);
    struct admission ask = {
        .names = &names, .plan = &f->plans[2], .verification = INT64_MAX, .unique_id = ""
    };
    enum status status;

    (void)!text_copy(names.subject, sizeof(names.subject), CAPPED);
    status = store_admit(f->store, &ask, now_us, &f->verdict, &f->err);
    if (status != STATUS_OK)
        return status;
    if (f->verdict.allow) {
        remember_hold(f, &f->verdict.hold);
        f->totals->below_cap++;
    } else if (f->verdict.reason == REASON_BUDGET && strcmp(f->verdict.account, CAPPED) == 0)
        f->totals->at_cap++;
    return status;
}

/* The actual costs are below their holds, so the cap is never passed. */
enum status
mixed_look_at_cap(struct worker *f, int64_t now_us)
{
    char parent[ACCOUNT_NAME_SIZE];
    enum status status = store_account_load(f->store, CAPPED, now_us, &f->ledger, parent, &f->err);

    for (size_t i = 0; status == STATUS_OK && i < f->ledger.line_count; i++) {
        const struct budget_line *line = &f->ledger.lines[i];

        if (line->spent_nanos + line->held_nanos > CAP) {
            f->totals->past_cap++;
            printf("past the cap: %lld spent, %lld held\n", (long long)line->spent_nanos,
                   (long long)line->held_nanos);
        }
    }
    return status;
}

static enum status
explain(struct worker *f, int64_t now_us)
{
    struct chain_names names = any_names(f);
    const struct admission ask = {
        .names = &names, .plan = &f->plans[0], .verification = INT64_MAX, .unique_id = ""
    };

    return store_explain(f->store, &ask, now_us, &f->ledger, &f->verdict, &f->err);
}

static enum status
spend(struct worker *f, const char *hold_id, const char *subject, int64_t now_us)
{
    char key[32];
    struct spend post = { .hold_id = hold_id,
                          .subject = subject,
                          .key_id = draw(f, 2) ? any_key(f) : NULL,
                          .cost_nanos = (int64_t)draw(f, 5 * CENT),
                          .model = draw(f, 2) ? "large" : NULL,
                          .token = "php" };
    struct idempotency idempotency = { .scope = "php", .key = NULL };
    struct buf text;
    enum status status;

    buf_init(&text, key, sizeof(key));
    buf_add_format(&text, "k%d", (int)draw(f, 100000));
    if (draw(f, 2))
        idempotency.key = key;
    status =
        store_spend(f->store, &post, &idempotency, &writer, now_us, &f->result, &f->reply, &f->err);
    if (status == STATUS_OK && f->result.outcome == OUTCOME_DONE)
        public_id_format("chg_", f->result.charge.id, f->result.charge.nonce,
                         f->charges[f->charge_count++ % OWN_MAX]);
    return status;
}

static enum status
spend_unknown(struct worker *f, int64_t now_us)
{
    char id[PUBLIC_ID_SIZE];

    public_id_format("hld_", (int64_t)draw(f, 1000) + INT64_C(1000000000), 1, id);
    return spend(f, id, any_subject(f), now_us);
}

static enum status
place(struct worker *f, int64_t now_us)
{
    struct hold_request request = { .subject = any_subject(f),
                                    .key_id = draw(f, 2) ? any_key(f) : NULL,
                                    .amount_nanos = CENT };
    enum status status =
        store_hold_place(f->store, &request, NULL, &writer, now_us, &f->result, &f->reply, &f->err);

    if (status == STATUS_OK && f->result.outcome == OUTCOME_DONE)
        remember_hold(f, &f->result.hold);
    return status;
}

static enum status
credit(struct worker *f, int64_t now_us)
{
    struct credit_request request = { .account = any_account(f),
                                      .amount_nanos = CENT,
                                      .period = draw(f, 2) ? PERIOD_MONTH : PERIOD_DAY };

    return store_credit(f->store, &request, &actor, NULL, &writer, now_us, &f->result, &f->reply,
                        &f->err);
}

/* `all` gets its budgets in the second half: until then writers of different accounts do not wait
 * for each other. */
static enum status
budget_set(struct worker *f, int64_t now_us)
{
    static const enum period_kind kinds[] = { PERIOD_DAY, PERIOD_MONTH, PERIOD_NONE };
    const struct clock clock = clock_system();
    const char *account = any_account(f);

    if (clock_boot_us(&clock) < f->totals->half_us && strcmp(account, "all") == 0)
        account = "group:a";
    return store_budget_set(f->store, account, kinds[draw(f, 3)], 1000 * USD, NULL, &actor, now_us,
                            &f->result, &f->err);
}

static enum status
change_account(struct worker *f, int64_t now_us)
{
    static const enum account_change changes[] = { ACCOUNT_FREEZE,   ACCOUNT_UNFREEZE,
                                                   ACCOUNT_UNFREEZE, ACCOUNT_REVERIFY,
                                                   ACCOUNT_REVERIFY, ACCOUNT_RENEW };
    const char *account = any_account(f);
    enum account_change change = changes[draw(f, CHECK_COUNT(changes))];
    enum status status;

    status = store_account_change(f->store, account, change, 0, NULL, &actor, now_us, &f->result,
                                  &f->err);
    if (status == STATUS_OK && change == ACCOUNT_FREEZE)
        status = store_account_change(f->store, account, ACCOUNT_UNFREEZE, 0, NULL, &actor, now_us,
                                      &f->result, &f->err);
    return status;
}

static enum status
change_parent(struct worker *f, int64_t now_us)
{
    static const char *const parents[] = { "group:a", "group:b", "group:c", "user_1", "" };

    return store_account_change(f->store, any_subject(f), ACCOUNT_PARENT, 0,
                                parents[draw(f, CHECK_COUNT(parents))], &actor, now_us, &f->result,
                                &f->err);
}

static enum status
batch(struct worker *f, int64_t now_us)
{
    bool keep = draw(f, 4) != 0;
    enum status status = store_batch_begin(f->store, &f->err), end;
    struct error err;

    if (status != STATUS_OK)
        return status;
    for (uint64_t i = draw(f, BATCH_MAX) + 1; i > 0 && status == STATUS_OK; i--)
        status = draw(f, 3) ? spend(f, NULL, any_subject(f), now_us)
                            : spend(f, own(f, f->holds, f->hold_count), any_subject(f), now_us);
    end = store_batch_end(f->store, keep && status == STATUS_OK, &err);
    if (status != STATUS_OK)
        return status;
    f->err = err;
    return end;
}

/* A message that is noted once, and what it causes, kept together. */
static enum status
webhook(struct worker *f, int64_t now_us)
{
    uint8_t fingerprint[SHA256_BYTES] = { 1 };
    char id[32];
    struct buf text;
    bool seen = false;
    enum status status = store_batch_begin(f->store, &f->err), end;
    struct error err;

    if (status != STATUS_OK)
        return status;
    buf_init(&text, id, sizeof(id));
    buf_add_format(&text, "msg_%d", (int)draw(f, 100000));
    status = store_message_note(f->store, "svix", id, fingerprint, now_us, &seen, &f->err);
    for (int i = 0; i < 3 && status == STATUS_OK && !seen; i++)
        status = store_account_change(f->store, any_subject(f), ACCOUNT_REVERIFY, 0, NULL, &actor,
                                      now_us, &f->result, &f->err);
    end = store_batch_end(f->store, status == STATUS_OK, &err);
    if (status != STATUS_OK)
        return status;
    f->err = err;
    return end;
}

static enum status
import_prices(struct worker *f, int64_t now_us)
{
    static struct price_version versions[2];
    enum price_change changes[2];

    memset(versions, 0, sizeof(versions));
    price_init(&versions[0].price);
    price_init(&versions[1].price);
    for (size_t i = 0; i < 2; i++) {
        (void)!text_copy(versions[i].model, MODEL_NAME_SIZE, i == 0 ? "large" : "small");
        versions[i].from_us = now_us;
        for (size_t part = 0; part < PRICE_PARTS; part++)
            versions[i].price.rates[PRICE_STANDARD][PRICE_BASE][part] = (int64_t)draw(f, USD);
    }
    return store_price_import(f->store, versions, 2, true, &actor, "prices", now_us, changes,
                              &f->err);
}

static bool
see_charge(void *context, const struct charge *charge)
{
    (void)context;
    (void)charge;
    return true;
}

static bool
see_hold(void *context, const struct hold *hold, const char *account)
{
    (void)context;
    (void)hold;
    (void)account;
    return true;
}

static bool
see_row(void *context, const struct report_row *row)
{
    (void)context;
    (void)row;
    return true;
}

static enum status
listings(struct worker *f)
{
    struct charge_filter filter = { .account = draw(f, 2) ? any_account(f) : NULL,
                                    .to_us = INT64_MAX,
                                    .before_id = INT64_MAX,
                                    .limit = 50 };
    enum status status = store_charges(f->store, &filter, see_charge, NULL, &f->err);

    if (status == STATUS_OK)
        status = store_holds(f->store, NULL, HOLD_HELD, 50, see_hold, NULL, &f->err);
    return status == STATUS_OK ? store_report(f->store, (enum report_by)draw(f, 5), 0, INT64_MAX,
                                              see_row, NULL, &f->err)
                               : status;
}

static enum status
look(struct worker *f, int64_t now_us)
{
    char parent[ACCOUNT_NAME_SIZE];

    return store_account_load(f->store, any_account(f), now_us, &f->ledger, parent, &f->err);
}

enum status
mixed_act(struct worker *f, enum action action, int64_t now_us)
{
    int64_t removed = 0;

    switch (action) {
    case DO_ADMIT:
        return admit(f, &f->plans[0], now_us);
    case DO_READ:
        return admit(f, &f->plans[1], now_us);
    case DO_CAPPED:
        return admit_capped(f, now_us);
    case DO_CAP:
        return mixed_look_at_cap(f, now_us);
    case DO_EXPLAIN:
        return explain(f, now_us);
    case DO_SETTLE:
        return spend(f, own(f, f->holds, f->hold_count), NULL, now_us);
    case DO_SPEND:
        return spend(f, NULL, any_subject(f), now_us);
    case DO_SPEND_UNKNOWN:
        return spend_unknown(f, now_us);
    case DO_VOID:
        return store_hold_void(f->store, own(f, f->holds, f->hold_count), NULL, NULL, now_us,
                               &f->result, NULL, &f->err);
    case DO_EXTEND:
        return store_hold_extend(f->store, own(f, f->holds, f->hold_count), draw(f, 2) ? CENT : 0,
                                 NULL, NULL, now_us, &f->result, NULL, &f->err);
    case DO_PLACE:
        return place(f, now_us);
    case DO_REFUND:
        return store_refund(f->store, own(f, f->charges, f->charge_count), (int64_t)draw(f, CENT),
                            "php", NULL, NULL, &writer, now_us, &f->result, &f->reply, &f->err);
    case DO_CREDIT:
        return credit(f, now_us);
    case DO_BUDGET:
        return budget_set(f, now_us);
    case DO_CLEAR:
        return store_budget_clear(f->store, any_account(f), PERIOD_DAY, &actor, now_us, &f->result,
                                  &f->err);
    case DO_PARENT:
        return change_parent(f, now_us);
    case DO_ACCOUNT:
        return change_account(f, now_us);
    case DO_BATCH:
        return batch(f, now_us);
    case DO_WEBHOOK:
        return webhook(f, now_us);
    case DO_PRUNE:
        if (!f->prunes)
            return listings(f);
        return store_prune(f->store, now_us - US_PER_SECOND, now_us, &removed, &f->err);
    case DO_PRICES:
        return import_prices(f, now_us);
    case DO_LOOK:
        return look(f, now_us);
    case DO_LIST:
        return listings(f);
    case ACTIONS:
        break;
    }
    return STATUS_INTERNAL;
}

enum action
mixed_any(struct worker *f)
{
    unsigned total = 0;
    uint64_t drawn;

    for (size_t i = 0; i < ACTIONS; i++)
        total += mixed_actions[i].weight;
    drawn = draw(f, total);
    for (size_t i = 0; i < ACTIONS; i++) {
        if (drawn < mixed_actions[i].weight)
            return (enum action)i;
        drawn -= mixed_actions[i].weight;
    }
    return DO_ADMIT;
}
