/* SPDX-License-Identifier: MIT */
/*
 * The chain of accounts that one request or post counts on: collected, found or made, remembered.
 */

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "common/store_internal.h"

#include "common/banned.h"

static uint64_t
hash_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211); /* FNV-1a */
    return (hash ^ 0xff) * UINT64_C(1099511628211);
}

uint64_t
chain_hash_names(const struct chain_names *names)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    hash = hash_text(hash, names->key_id);
    hash = hash_text(hash, names->subject);
    hash = hash_text(hash, names->organization);
    return hash_text(hash, names->parent);
}

struct chain_memo *
chain_memo_of(struct store *s, uint64_t hash)
{
    return &s->chains[(hash ^ hash >> 32) % CHAIN_MEMO_SLOTS];
}

enum status
chain_new_account(struct store *s, const char *name, int64_t now_us, struct account *out,
                  struct error *err)
{
    memset(out, 0, sizeof(*out));
    if (!account_name_valid(name) || !text_copy(out->name, sizeof(out->name), name))
        return error_set(err, STATUS_INVALID,
                         "store: an account name must be 1 to %d visible ASCII "
                         "characters without / ? # %% \" \\",
                         ACCOUNT_NAME_SIZE - 1);
    out->first_seen_us = now_us;
    out->changed = true; /* made here, and not by another process at the same instant */
    return s->ops->account_write(s->backend, out, err);
}

/* Append an account, or add a role to the place where it already stands. */
static enum status
chain_append(struct chain_build *build, const struct account *account, int role, struct error *err)
{
    for (size_t i = 0; i < build->count; i++) {
        if (strcmp(build->accounts[i].name, account->name) == 0) {
            build->roles[i] |= role;
            return STATUS_OK;
        }
    }
    if ((role & CHAIN_PARENT) != 0 && build->parents == LEDGER_PARENTS_MAX)
        return error_set(
            err, STATUS_OVERFLOW,
            "store: %s has more than %d parents, one from a claim included; shorten the "
            "chain with `spendgate account parent`",
            build->accounts[0].name, LEDGER_PARENTS_MAX);
    assert(build->count < LEDGER_ACCOUNTS_MAX);
    build->parents += (role & CHAIN_PARENT) != 0;
    build->roles[build->count] = role;
    build->accounts[build->count++] = *account;
    return STATUS_OK;
}

/* The stored parents of an account, nearest first. A circle cannot be stored (account_change
 * refuses it); the bound on parents ends one that was made by hand. */
static enum status
chain_append_parents(struct store *s, struct chain_build *build, int64_t parent_id,
                     struct error *err)
{
    struct account parent;
    enum status status = STATUS_OK;

    for (int steps = 0; parent_id != 0 && status == STATUS_OK; steps++) {
        if (steps > LEDGER_PARENTS_MAX)
            return error_set(err, STATUS_CORRUPT, "store: the parents of an account form a circle");
        status = s->ops->account_get(s->backend, parent_id, &parent, err);
        if (status == STATUS_OK)
            status = chain_append(build, &parent, CHAIN_PARENT, err);
        parent_id = parent.parent_id;
    }
    return status;
}

enum { NAMED_KEY, NAMED_SUBJECT, NAMED_ORGANIZATION, NAMED_PARENT, NAMED_ALL, NAMED_COUNT };

/* The first in byte order of the names that are not in the store yet; NAMED_COUNT: none. */
static size_t
first_missing(const char *const *names, const struct account *found)
{
    size_t first = NAMED_COUNT;

    for (size_t i = 0; i < NAMED_COUNT; i++) {
        if (names[i][0] != '\0' && found[i].id == 0 &&
            (first == NAMED_COUNT || strcmp(names[i], names[first]) < 0))
            first = i;
    }
    return first;
}

/* The accounts of the names; a missing one is made when `create`, else it has id 0. They are made
 * in byte order, before anything is locked, so that two processes that make the same ones never
 * wait for each other. */
static enum status
find_named(struct store *s, const char *const *names, bool create, int64_t now_us,
           struct account *found, struct error *err)
{
    enum status status = s->ops->accounts_find(s->backend, names, NAMED_COUNT, found, err);
    size_t at;

    while (status == STATUS_OK && create && (at = first_missing(names, found)) < NAMED_COUNT) {
        struct account made;

        status = chain_new_account(s, names[at], now_us, &made, err);
        for (size_t i = 0; i < NAMED_COUNT && status == STATUS_OK; i++) {
            if (strcmp(names[i], made.name) == 0) /* it may stand in several places */
                found[i] = made;
        }
    }
    for (size_t i = 0; i < NAMED_COUNT && status == STATUS_OK; i++) {
        if (found[i].id == 0 && !text_copy(found[i].name, sizeof(found[i].name), names[i]))
            status = error_set(err, STATUS_INVALID, "store: an account name is too long");
    }
    return status;
}

/* Those of the caller's own accounts: what is spent counts on each of them, so also above it. */
static enum status
append_stored_parents(struct store *s, struct chain_build *build, const struct account *found,
                      struct error *err)
{
    static const int own[] = { NAMED_SUBJECT, NAMED_ORGANIZATION, NAMED_KEY };
    enum status status = STATUS_OK;

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]) && status == STATUS_OK; i++)
        status = chain_append_parents(s, build, found[own[i]].parent_id, err);
    return status;
}

enum status
chain_collect(struct store *s, const struct chain_names *names, bool create, int64_t now_us,
              struct chain_build *build, struct error *err)
{
    static const int roles[] = { CHAIN_KEY, CHAIN_SUBJECT, CHAIN_ORGANIZATION,
                                 CHAIN_PARENT | CHAIN_CLAIMED, CHAIN_ALL };
    char key[ACCOUNT_NAME_SIZE];
    const char *wanted[] = { key, names->subject, names->organization, names->parent, "all" };
    struct account found[NAMED_COUNT];
    struct buf text;
    enum status status;

    memset(build, 0, sizeof(*build));
    memset(found, 0, sizeof(found));
    buf_init(&text, key, sizeof(key));
    if (names->key_id[0] != '\0')
        buf_add_format(&text, "key:%s", names->key_id);
    status = find_named(s, wanted, create, now_us, found, err);
    for (size_t i = 0; i < NAMED_COUNT && status == STATUS_OK; i++) {
        if (i == NAMED_PARENT)
            status = append_stored_parents(s, build, found, err);
        if (status != STATUS_OK || wanted[i][0] == '\0')
            continue;
        status = chain_append(build, &found[i], roles[i], err);
        if (i == NAMED_PARENT && status == STATUS_OK)
            status = chain_append_parents(s, build, found[i].parent_id, err);
    }
    return status;
}

enum status
chain_place(struct store *s, const struct chain_build *build, bool create,
            struct chain_place *place, struct error *err)
{
    struct chain_member members[LEDGER_ACCOUNTS_MAX];
    char storage[CHAIN_SPEC_SIZE];
    struct buf spec;
    int64_t payer = 0;

    memset(place, 0, sizeof(*place));
    place->key = place->subject = place->organization = -1;
    buf_init(&spec, storage, sizeof(storage));
    for (size_t i = 0; i < build->count; i++) {
        int64_t id = build->accounts[i].id;

        if (id == 0)
            return STATUS_OK;
        members[i] = (struct chain_member){ id, build->roles[i] };
        buf_add_format(&spec, "%s%" PRId64 ":%d", i == 0 ? "" : ",", id, build->roles[i]);
        if ((build->roles[i] & CHAIN_KEY) != 0) {
            place->key = (int)i;
            payer = place->key_id = id;
        }
        if ((build->roles[i] & CHAIN_SUBJECT) != 0) {
            place->subject = (int)i;
            payer = place->subject_id = id;
        }
        if ((build->roles[i] & CHAIN_ORGANIZATION) != 0) {
            place->organization = (int)i;
            place->organization_id = id;
        }
    }
    if (payer == 0 || buf_failed(&spec))
        return error_set(err, STATUS_INVALID, "store: a request needs a subject or a key");
    return s->ops->chain_intern(s->backend, storage, members, build->count, payer, create,
                                &place->id, err);
}

static bool
stands_at(const struct ledger *ledger, int index, const char *name)
{
    return name[0] == '\0' ? index < 0
                           : index >= 0 && strcmp(ledger->accounts[index].name, name) == 0;
}

/* Mark the accounts on the way up from `parent_id`; false when one is not in the chain. */
static bool
mark_parents(const struct ledger *ledger, int64_t parent_id, bool *expected)
{
    for (size_t steps = 0; parent_id != 0; steps++) {
        size_t i = 0;

        while (i < ledger->account_count && ledger->accounts[i].id != parent_id)
            i++;
        if (i == ledger->account_count || steps > LEDGER_PARENTS_MAX)
            return false;
        expected[i] = true;
        parent_id = ledger->accounts[i].parent_id;
    }
    return true;
}

bool
chain_is_current(const struct ledger *ledger, const struct chain_names *names)
{
    bool expected[LEDGER_ACCOUNTS_MAX] = { false };
    bool claimed = names->parent[0] == '\0';
    const int own[] = { ledger->key, ledger->subject, ledger->organization };
    const char *key = ledger->key >= 0 ? ledger->accounts[ledger->key].name + strlen("key:") : "";

    if (strcmp(key, names->key_id) != 0 || !stands_at(ledger, ledger->subject, names->subject) ||
        !stands_at(ledger, ledger->organization, names->organization))
        return false;
    for (size_t i = 0; i < 3; i++) {
        if (own[i] >= 0 && !mark_parents(ledger, ledger->accounts[own[i]].parent_id, expected))
            return false;
    }
    for (size_t i = 0; !claimed && i < ledger->account_count; i++) {
        if (strcmp(ledger->accounts[i].name, names->parent) != 0)
            continue;
        expected[i] = claimed = true;
        if (!mark_parents(ledger, ledger->accounts[i].parent_id, expected))
            return false;
    }
    for (size_t i = 0; claimed && i < ledger->account_count; i++) {
        if (!expected[i] && (int)i != ledger->key && (int)i != ledger->subject &&
            (int)i != ledger->organization && strcmp(ledger->accounts[i].name, "all") != 0)
            return false;
    }
    return claimed;
}

enum status
chain_complete_names(struct store *s, struct chain_names *names, struct error *err)
{
    enum status status = STATUS_OK;

    if (names->subject[0] == '\0')
        status =
            s->ops->last_seen(s->backend, CHAIN_SUBJECT, names->key_id, "", names->subject, err);
    if (status == STATUS_OK && names->organization[0] == '\0')
        status = s->ops->last_seen(s->backend, CHAIN_ORGANIZATION, names->key_id, names->subject,
                                   names->organization, err);
    if (status == STATUS_OK && names->parent[0] == '\0')
        status = s->ops->last_seen(s->backend, CHAIN_CLAIMED, names->key_id, names->subject,
                                   names->parent, err);
    return status;
}

enum status
chain_of_post(struct store *s, const char *subject, const char *key_id, bool create, int64_t now_us,
              struct chain_place *place, bool *known, struct error *err)
{
    struct chain_names names;
    struct chain_build build;
    const char *wanted[1];
    struct account payer;
    char key[ACCOUNT_NAME_SIZE];
    struct buf text;
    enum status status;

    memset(&names, 0, sizeof(names));
    memset(place, 0, sizeof(*place));
    *known = false;
    if (!change_copy_text(names.subject, sizeof(names.subject), subject) ||
        !change_copy_text(names.key_id, sizeof(names.key_id), key_id))
        return STATUS_OK;
    /* The account of a key as the subject is the key, and not somebody who has no other budgets. */
    if (account_kind_of(names.subject) == ACCOUNT_KEY && names.subject[strlen("key:")] != '\0' &&
        (names.key_id[0] == '\0' || strcmp(names.subject + strlen("key:"), names.key_id) == 0)) {
        memcpy(names.key_id, names.subject + strlen("key:"), sizeof(names.key_id));
        names.subject[0] = '\0';
    }
    buf_init(&text, key, sizeof(key));
    buf_add_format(&text, "key:%s", names.key_id);
    wanted[0] = names.subject[0] != '\0' ? names.subject : key;
    status = s->ops->accounts_find(s->backend, wanted, 1, &payer, err);
    if (status != STATUS_OK || (payer.id == 0 && !create))
        return status;
    if (!account_name_valid(wanted[0]))
        return STATUS_OK;
    *known = true;
    status = chain_complete_names(s, &names, err);
    if (status == STATUS_OK)
        status = chain_collect(s, &names, true, now_us, &build, err);
    return status == STATUS_OK ? chain_place(s, &build, true, place, err) : status;
}

enum status
chain_load(struct store *s, const struct chain_place *place, int64_t at_us, int64_t now_us,
           struct error *err)
{
    struct store_load *load = &s->load;

    memset(load, 0, sizeof(*load));
    s->ledger.rate_count = 0;
    load->ledger = &s->ledger;
    load->chain_id = place->id;
    load->at_us = at_us;
    load->now_us = now_us;
    load->want_expiry = true;
    return s->ops->load(s->backend, load, err);
}

const struct plan *
chain_plan_named(const struct store *s, const struct ledger *ledger, const char *name)
{
    int payer = ledger_payer(ledger);
    const struct plan *plan = policy_plan_named(s->policy, name);

    if (name[0] != '\0' && plan == NULL && payer >= 0)
        plan = policy_plan_named(s->policy, ledger->accounts[payer].plan);
    if (name[0] != '\0' && plan == NULL)
        plan = policy_plan_named(s->policy, s->policy->default_plan);
    return plan;
}

const struct plan *
chain_plan_last_seen(const struct store *s, const struct ledger *ledger)
{
    int payer = ledger_payer(ledger);

    return payer >= 0 ? chain_plan_named(s, ledger, ledger->accounts[payer].plan) : NULL;
}
