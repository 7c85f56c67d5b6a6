/* SPDX-License-Identifier: MIT */
/*
 * One account: looked at, and edited by an operator; limits set by hand.
 */

#include <inttypes.h>
#include <string.h>

#include "common/store_internal.h"

#include "common/banned.h"

#define STRANGER 1 /* behind the account that is looked at alone */

/* Give the lines of an account that was loaded alone what the plan last seen gives it: in the
 * places of a chain where it does not stand there is a stranger, whose lines are dropped. What a
 * subject's requests count on for the want of an organization is its own. */
static enum status
prepare_alone(struct store *s, int64_t now_us, struct error *err)
{
    struct ledger *ledger = &s->ledger;
    const struct account *account = &ledger->accounts[0];
    enum account_kind kind = account_kind_of(account->name);
    bool shared = kind == ACCOUNT_KEY || kind == ACCOUNT_GROUP || kind == ACCOUNT_ALL;
    char organization[ACCOUNT_NAME_SIZE] = "";
    enum status status = STATUS_OK;

    if (!shared)
        status =
            s->ops->last_seen(s->backend, CHAIN_ORGANIZATION, "", account->name, organization, err);
    memset(&ledger->accounts[STRANGER], 0, sizeof(ledger->accounts[STRANGER]));
    ledger->key = kind == ACCOUNT_KEY ? 0 : STRANGER;
    ledger->subject =
        shared || (kind == ACCOUNT_ORGANIZATION && strcmp(organization, account->name) != 0)
            ? STRANGER
            : 0;
    ledger->organization = kind == ACCOUNT_ORGANIZATION        ? 0
                           : shared || organization[0] != '\0' ? STRANGER
                                                               : -1;
    if (status == STATUS_OK)
        status = lines_prepare(s, ledger, policy_plan_named(s->policy, account->plan), now_us,
                               now_us, err);
    lines_drop_others(ledger, 0);
    ledger->key = kind == ACCOUNT_KEY ? 0 : -1;
    ledger->subject = shared ? -1 : 0;
    ledger->organization = kind == ACCOUNT_ORGANIZATION ? 0 : -1;
    return status;
}

/* Load one account alone into the ledger, judged by the plan last seen; `lock` for an edit.
 * `*found` false: there is none. */
static enum status
load_account(struct store *s, const char *name, bool lock, int64_t now_us, bool *found,
             struct error *err)
{
    struct ledger *ledger = &s->ledger;
    enum status status;

    memset(ledger, 0, sizeof(*ledger));
    *found = false;
    if (!account_name_valid(name))
        return STATUS_OK;
    status = lock ? s->ops->account_lock(s->backend, name, &ledger->accounts[0], err)
                  : s->ops->accounts_find(s->backend, &name, 1, &ledger->accounts[0], err);
    if (status != STATUS_OK || ledger->accounts[0].id == 0)
        return status;
    *found = true;
    ledger->account_count = 1;
    status = s->ops->load_lines(s->backend, ledger, 0, now_us, now_us, err);
    return status == STATUS_OK ? prepare_alone(s, now_us, err) : status;
}

/* The account and its parent's name; `*late`: expired holds are to be journalled first, or there
 * is none of that name. */
static enum status
look_once(struct store *s, const char *name, int64_t now_us, char parent[ACCOUNT_NAME_SIZE],
          bool *late, struct error *err)
{
    struct account up;
    bool found;
    enum status status = s->ops->begin(s->backend, STORE_READ, err);

    *late = false;
    parent[0] = '\0';
    if (status != STATUS_OK)
        return status;
    status = load_account(s, name, false, now_us, &found, err);
    if (status == STATUS_OK && !found)
        status = error_set(err, STATUS_NOT_FOUND, "store: there is no such account");
    if (status == STATUS_OK)
        status = store_expired_in_ledger(s, now_us, late, err);
    if (status == STATUS_OK && s->ledger.accounts[0].parent_id != 0) {
        status = s->ops->account_get(s->backend, s->ledger.accounts[0].parent_id, &up, err);
        if (status == STATUS_OK)
            memcpy(parent, up.name, sizeof(up.name));
    }
    if (status == STATUS_OK)
        status = s->ops->commit(s->backend, false, err);
    return status == STATUS_OK ? status : store_give_up(s, status);
}

static enum status
account_load_once(struct store *s, const char *name, int64_t now_us, struct ledger *out,
                  char parent[ACCOUNT_NAME_SIZE], struct error *err)
{
    bool late;
    enum status status = look_once(s, name, now_us, parent, &late, err);

    memset(out, 0, sizeof(*out));
    if (status == STATUS_OK && late) {
        status = store_expire_all(s, s->ledger.accounts[0].id, now_us, err);
        if (status == STATUS_OK)
            status = look_once(s, name, now_us, parent, &late, err);
    }
    if (status == STATUS_OK)
        *out = s->ledger;
    return status;
}

enum status
store_account_load(struct store *s, const char *name, int64_t now_us, struct ledger *out,
                   char parent[ACCOUNT_NAME_SIZE], struct error *err)
{
    int tries = 0;
    enum status status;

    do
        status = account_load_once(s, name, now_us, out, parent, err);
    while (store_once_more(s, status, true, &tries));
    return status;
}

void
edit_init(struct edit *e, const char *name, const struct actor *actor, int64_t now_us,
          struct result *out, struct store *s)
{
    e->name = name;
    e->actor = actor;
    e->now_us = now_us;
    e->kind = EVENT_ADMIN;
    buf_init(&e->what, e->text, sizeof(e->text));
    memset(out, 0, sizeof(*out));
    out->ledger = &s->ledger;
}

const char *
edit_text(const char *text)
{
    return text != NULL ? text : "";
}

enum status
edit_journal(struct store *s, struct edit *e, int64_t budget_id, struct error *err)
{
    struct event_row event = {
        .kind = e->kind,
        .account_id = s->ledger.accounts[0].id,
        .budget_id = budget_id,
        .created_us = e->now_us,
        .who = edit_text(e->actor->who),
        .text = buf_text(&e->what),
        .note = edit_text(e->actor->note),
    };

    return s->ops->event_write(s->backend, &event, err);
}

enum status
edit_load(struct store *s, const struct edit *e, bool create, bool *found, struct error *err)
{
    struct account made;
    enum status status = load_account(s, e->name, true, e->now_us, found, err);

    if (status != STATUS_OK || *found || !create)
        return status;
    status = chain_new_account(s, e->name, e->now_us, &made, err);
    return status == STATUS_OK ? load_account(s, e->name, true, e->now_us, found, err) : status;
}

/* Does `id` stand above `account` or is it the account itself, and how long is the way up from
 * `id`? */
static enum status
climb(struct store *s, int64_t id, int64_t account, bool *circle, int *steps, struct error *err)
{
    struct account at;
    enum status status = STATUS_OK;

    *circle = false;
    for (*steps = 0; id != 0 && !*circle && *steps <= LEDGER_PARENTS_MAX; (*steps)++) {
        *circle = id == account;
        status = s->ops->account_get(s->backend, id, &at, err);
        if (status != STATUS_OK)
            return status;
        id = at.parent_id;
    }
    return STATUS_OK;
}

static enum status
set_parent(struct store *s, const struct edit *e, struct account *account, const char *name,
           struct error *err)
{
    struct account parent;
    bool circle;
    int above, below;
    enum status status = STATUS_OK;

    memset(&parent, 0, sizeof(parent));
    if (account_kind_of(account->name) == ACCOUNT_ALL && name[0] != '\0')
        return error_set(err, STATUS_CONFLICT, "`all` is above everybody and has no parent");
    if (name[0] != '\0') {
        status = s->ops->accounts_find(s->backend, &name, 1, &parent, err);
        if (status == STATUS_OK && parent.id == 0)
            status = chain_new_account(s, name, e->now_us, &parent, err);
        /* First: it keeps the tree as it is. */
        if (status == STATUS_OK)
            status = s->ops->generations_below(s->backend, account->id, &below, err);
        if (status == STATUS_OK)
            status = climb(s, parent.id, account->id, &circle, &above, err);
        if (status == STATUS_OK && circle)
            return error_set(err, STATUS_CONFLICT, "%s is above or is %s itself: a circle",
                             account->name, name);
        if (status == STATUS_OK && above + below > LEDGER_PARENTS_MAX)
            return error_set(err, STATUS_CONFLICT,
                             "%s, or an account below it, would have more than %d parents",
                             account->name, LEDGER_PARENTS_MAX);
    }
    account->parent_id = parent.id;
    return status;
}

/* Set the account's fields, and say in `e->what` what was done. */
static enum status
change_fields(struct store *s, struct edit *e, enum account_change change, int64_t until_us,
              const char *text, struct error *err)
{
    struct account *account = &s->ledger.accounts[0];

    account->changed = true;
    switch (change) {
    case ACCOUNT_FREEZE:
        buf_add(&e->what, "freeze");
        e->kind = EVENT_ACCOUNT_FROZEN;
        account->frozen = true;
        return STATUS_OK;
    case ACCOUNT_UNFREEZE:
        buf_add(&e->what, "unfreeze");
        account->frozen = false;
        return STATUS_OK;
    case ACCOUNT_REVOKE:
        buf_add(&e->what, "revoke");
        account->revoked = true;
        return STATUS_OK;
    case ACCOUNT_UNREVOKE:
        buf_add(&e->what, "unrevoke");
        account->revoked = false;
        return STATUS_OK;
    case ACCOUNT_REVERIFY:
        buf_add(&e->what, "reverify");
        return s->ops->verification_number(s->backend, true, &account->verify_after, err);
    case ACCOUNT_RENEW:
        buf_add_format(&e->what, "renew until %" PRId64, until_us);
        account->expires_us = until_us;
        return STATUS_OK;
    case ACCOUNT_PARENT:
        buf_add_format(&e->what, "parent %s", edit_text(text));
        return set_parent(s, e, account, edit_text(text), err);
    case ACCOUNT_PLAN:
    case ACCOUNT_MAKE:
        buf_add_format(&e->what, "plan %s", edit_text(text));
        if (!change_copy_text(account->plan, sizeof(account->plan), text))
            return error_set(err, STATUS_INVALID, "the name of a plan has at most %d bytes",
                             PLAN_NAME_SIZE - 1);
        return STATUS_OK;
    }
    return error_set(err, STATUS_INTERNAL, "store: unknown change of an account");
}

static enum status
edit_end(struct store *s, struct result *out, enum status status, struct error *err)
{
    if (status == STATUS_OK && out->outcome != OUTCOME_DONE) {
        s->ops->rollback(s->backend);
        return STATUS_OK;
    }
    if (status == STATUS_OK)
        status = s->ops->commit(s->backend, true, err);
    if (status == STATUS_OK)
        return STATUS_OK;
    memset(out, 0, sizeof(*out));
    return store_give_up(s, status);
}

/* A parent that is not there yet is made before the account is locked. */
static enum status
make_parent(struct store *s, const struct edit *e, const char *parent, struct error *err)
{
    const char *const names[] = { e->name, parent };
    struct account found[2];
    enum status status;

    if (parent[0] == '\0' || strcmp(parent, e->name) == 0)
        return STATUS_OK;
    status = s->ops->accounts_find(s->backend, names, 2, found, err);
    if (status != STATUS_OK || found[0].id == 0 || found[1].id != 0)
        return status;
    return chain_new_account(s, parent, e->now_us, &found[1], err);
}

struct account_edit {
    enum account_change change;
    int64_t until_us;
    const char *text;
};

static enum status
account_change_once(struct store *s, struct edit *e, const struct account_edit *edit,
                    struct result *out, struct error *err)
{
    bool make = edit->change == ACCOUNT_FREEZE || edit->change == ACCOUNT_REVOKE ||
                edit->change == ACCOUNT_MAKE;
    bool found = false;
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);

    if (status != STATUS_OK)
        return status;
    if (edit->change == ACCOUNT_PARENT)
        status = make_parent(s, e, edit_text(edit->text), err);
    if (status == STATUS_OK)
        status = edit_load(s, e, make, &found, err);
    out->outcome = found ? OUTCOME_DONE : OUTCOME_UNKNOWN_ACCOUNT;
    if (status == STATUS_OK && found) {
        status = change_fields(s, e, edit->change, edit->until_us, edit->text, err);
        if (status == STATUS_OK)
            status = s->ops->account_write(s->backend, &s->ledger.accounts[0], err);
        if (status == STATUS_OK)
            status = edit_journal(s, e, 0, err);
    }
    return edit_end(s, out, status, err);
}

enum status
store_account_change(struct store *s, const char *name, enum account_change change,
                     int64_t until_us, const char *text, const struct actor *actor, int64_t now_us,
                     struct result *out, struct error *err)
{
    const struct account_edit edit = { change, until_us, text };
    struct edit e;
    int tries = 0;
    enum status status;

    do {
        edit_init(&e, name, actor, now_us, out, s);
        status = account_change_once(s, &e, &edit, out, err);
    } while (store_once_more(s, status, true, &tries));
    return status;
}

/* The account's first line of that kind of period, made in UTC when it has none. */
static enum status
line_of_kind(struct store *s, enum period_kind kind, int64_t now_us, struct error *err)
{
    struct ledger *ledger = &s->ledger;
    struct budget_line *line;

    for (size_t i = 0; i < ledger->line_count; i++) {
        if (ledger->lines[i].spec.kind == kind)
            return STATUS_OK;
    }
    if (ledger->line_count == LEDGER_LINES_MAX)
        return error_set(err, STATUS_OVERFLOW, "store: the account has %d budget lines already",
                         LEDGER_LINES_MAX);
    line = &ledger->lines[ledger->line_count++];
    memset(line, 0, sizeof(*line));
    line->spec.kind = kind;
    (void)!text_copy(line->spec.timezone, sizeof(line->spec.timezone), "UTC");
    line->spec.anchor_day = 1;
    line->spec.week_start = 1;
    period_spec_normalize(&line->spec);
    line->created_us = now_us;
    line->plan_index = -1;
    return line_fill_missing_period(s, ledger, line, now_us, now_us, err);
}

static enum status
set_hand_limit(struct store *s, struct edit *e, enum period_kind kind, int64_t limit_nanos,
               const enum enforce *enforce, struct error *err)
{
    struct ledger *ledger = &s->ledger;
    enum status status = line_of_kind(s, kind, e->now_us, err);

    buf_add_format(&e->what, "budget %s set to %" PRId64 " nanos", period_kind_name(kind),
                   limit_nanos);
    if (enforce != NULL)
        buf_add_format(&e->what, ", %s", enforce_name(*enforce));
    for (size_t i = 0; i < ledger->line_count && status == STATUS_OK; i++) {
        struct budget_line *line = &ledger->lines[i];

        if (line->spec.kind != kind)
            continue;
        line->hand_limited = true;
        line->hand_limit_nanos = limit_nanos;
        if (enforce != NULL) {
            line->hand_enforced = true;
            line->hand_enforce = *enforce;
        }
        status = line_write(s, ledger->accounts[0].id, line, err);
        if (status == STATUS_OK)
            status = edit_journal(s, e, line->id, err);
    }
    return status == STATUS_OK ? prepare_alone(s, e->now_us, err) : status;
}

static enum status
budget_set_once(struct store *s, struct edit *e, enum period_kind period, int64_t limit_nanos,
                const enum enforce *enforce, struct result *out, struct error *err)
{
    bool found;
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);

    if (status != STATUS_OK)
        return status;
    status = edit_load(s, e, false, &found, err);
    out->outcome = found ? OUTCOME_DONE : OUTCOME_UNKNOWN_ACCOUNT;
    if (status == STATUS_OK && found)
        status = set_hand_limit(s, e, period, limit_nanos, enforce, err);
    return edit_end(s, out, status, err);
}

enum status
store_budget_set(struct store *s, const char *account, enum period_kind period, int64_t limit_nanos,
                 const enum enforce *enforce, const struct actor *actor, int64_t now_us,
                 struct result *out, struct error *err)
{
    struct edit e;
    int tries = 0;
    enum status status;

    do {
        edit_init(&e, account, actor, now_us, out, s);
        status = budget_set_once(s, &e, period, limit_nanos, enforce, out, err);
    } while (store_once_more(s, status, true, &tries));
    return status;
}

static enum status
clear_hand_limit(struct store *s, struct edit *e, enum period_kind kind, struct result *out,
                 struct error *err)
{
    struct ledger *ledger = &s->ledger;
    enum status status = STATUS_OK;

    out->outcome = OUTCOME_UNKNOWN_BUDGET;
    buf_add_format(&e->what, "budget %s back to the plan", period_kind_name(kind));
    for (size_t i = 0; i < ledger->line_count && status == STATUS_OK; i++) {
        struct budget_line *line = &ledger->lines[i];

        if (line->spec.kind != kind || line->id == 0)
            continue;
        out->outcome = OUTCOME_DONE;
        line->hand_limited = line->hand_enforced = false;
        line->hand_limit_nanos = 0;
        line->hand_enforce = ENFORCE_HARD;
        status = line_write(s, ledger->accounts[0].id, line, err);
        if (status == STATUS_OK)
            status = edit_journal(s, e, line->id, err);
    }
    return status == STATUS_OK ? prepare_alone(s, e->now_us, err) : status;
}

static enum status
budget_clear_once(struct store *s, struct edit *e, enum period_kind period, struct result *out,
                  struct error *err)
{
    bool found;
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);

    if (status != STATUS_OK)
        return status;
    status = edit_load(s, e, false, &found, err);
    out->outcome = found ? OUTCOME_DONE : OUTCOME_UNKNOWN_ACCOUNT;
    if (status == STATUS_OK && found)
        status = clear_hand_limit(s, e, period, out, err);
    return edit_end(s, out, status, err);
}

enum status
store_budget_clear(struct store *s, const char *account, enum period_kind period,
                   const struct actor *actor, int64_t now_us, struct result *out, struct error *err)
{
    struct edit e;
    int tries = 0;
    enum status status;

    do {
        edit_init(&e, account, actor, now_us, out, s);
        status = budget_clear_once(s, &e, period, out, err);
    } while (store_once_more(s, status, true, &tries));
    return status;
}
