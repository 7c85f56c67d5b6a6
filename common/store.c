/* SPDX-License-Identifier: MIT */
/*
 * What all stores share: the order of a transaction's steps, chains, missing periods, plans,
 * idempotency and stored replies. Which rows change is ledger.c's to say; how rows are kept is a
 * backend's (store_backend.h).
 *
 * Only facts that never change are remembered between calls: the number of a chain of names, the
 * bounds of a period. Nothing about money is.
 */
#include "common/store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/store_backend.h"

#include "common/banned.h"

#define CHAIN_MEMO_SLOTS 8192
#define PERIOD_MEMO_SLOTS 64
#define EXPIRE_PIECE 64
#define NONCE_BITS 48
#define NONCE_SUPPLY 40
#define ADMISSION_KEEP_US (60 * US_PER_SECOND)
#define PLAN_NOTE_US \
    (60 * US_PER_SECOND) /* how often one process notes a plan that keeps changing */
#define AUTO_HOLD_CHARGES 100
#define AUTO_HOLD_PERCENT 95
#define EVENT_TEXT_SIZE 256
#define UNIQUE_ID_MAX 255
#define TRIES 6       /* of one transaction that other sessions keep getting in the way of */
#define HOLD_SCOPE "" /* of the replies of settled holds: no token has this name */

static const struct store_ops *const backends[] = {
    &store_sqlite_ops,
#ifdef HAVE_POSTGRES
    &store_postgres_ops,
#endif
};

/* Where the caller's accounts stand in a chain. */
struct chain_place {
    int64_t id;                                  /* 0: not in the store */
    int64_t key_id, subject_id, organization_id; /* account.id; 0 none */
    int key, subject, organization;              /* index, -1 none */
};

/* `hash` only finds the slot: what is loaded is compared with the names themselves. */
struct chain_memo {
    uint64_t hash;
    struct chain_place place;
    int64_t noted_us; /* when this process last noted the plan; see PLAN_NOTE_US */
};

struct period_memo {
    struct period_spec spec;
    struct period period;
};

struct store {
    const struct store_ops *ops;
    struct store_backend *backend;
    const struct policy *policy;
    int64_t hold_ttl_us;
    bool charge_on_expiry;
    int64_t idempotency_ttl_us;
    struct ledger ledger;
    struct store_load load;
    struct idempotency_row idempotency;
    struct period_memo periods[PERIOD_MEMO_SLOTS];
    struct chain_memo *chains;
    struct period_history history[LEDGER_CARRY_PERIODS_MAX];
    struct hold expired[EXPIRE_PIECE];
    uint8_t nonces[NONCE_SUPPLY][NONCE_BITS / 8];
    size_t nonces_left;
};

/* ---- opening -------------------------------------------------------------------------------- */

static enum status
find_backend(const char *url, const struct store_ops **out, struct error *err)
{
    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        size_t length = strlen(backends[i]->scheme);

        if (strncmp(url, backends[i]->scheme, length) == 0 && url[length] == ':') {
            *out = backends[i];
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_INVALID,
                     "store: the url begins with no store this program has (sqlite:/path"
#ifdef HAVE_POSTGRES
                     ", postgresql://..."
#endif
                     ")");
}

enum status
store_open(const struct store_options *options, struct store **out, struct error *err)
{
    enum status status;
    struct store *s;

    *out = NULL;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    s->policy = options->policy;
    s->hold_ttl_us = options->hold_ttl_us;
    s->charge_on_expiry = options->charge_on_expiry;
    s->idempotency_ttl_us = options->idempotency_ttl_us;
    s->chains = calloc(CHAIN_MEMO_SLOTS, sizeof(*s->chains));
    status = s->chains == NULL ? error_set(err, STATUS_NO_MEMORY, "store: out of memory")
                               : find_backend(options->url, &s->ops, err);
    if (status == STATUS_OK)
        status = s->ops->open(options, &s->backend, err);
    if (status == STATUS_OK) {
        *out = s;
        s = NULL;
    }
    store_close(s);
    assert((status == STATUS_OK) == (*out != NULL));
    return status;
}

void
store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (s->backend != NULL)
        s->ops->close(s->backend);
    free(s->chains);
    free(s);
}

enum status
store_migrate(const struct store_options *options, int *applied, struct error *err)
{
    const struct store_ops *ops;
    enum status status = find_backend(options->url, &ops, err);

    *applied = 0;
    return status == STATUS_OK ? ops->migrate(options, applied, err) : status;
}

enum status
store_check(struct store *s, struct error *err)
{
    return s->ops->check(s->backend, err);
}

void
store_after(struct store *s)
{
    s->ops->after(s->backend);
}

int64_t
store_now_us(struct store *s, int64_t machine_now_us)
{
    return s->ops->now_us(s->backend, machine_now_us);
}

static enum status
give_up(struct store *s, enum status status)
{
    s->ops->rollback(s->backend);
    return status;
}

/* Whether a transaction that ended with `status` is to be done once more: nothing of it was
 * recorded, or that is unknown and `repeatable` says that doing it twice counts once. */
static bool
once_more(const struct store *s, enum status status, bool repeatable, int *tries)
{
    enum store_failure failure = status == STATUS_OK ? STORE_FAILED : s->ops->failure(s->backend);

    return ++*tries < TRIES &&
           (failure == STORE_TRY_AGAIN || (failure == STORE_ANSWER_LOST && repeatable));
}

/* ---- ids ------------------------------------------------------------------------------------ */

void
public_id_format(const char *prefix, int64_t id, uint64_t nonce, char out[PUBLIC_ID_SIZE])
{
    struct buf text;

    buf_init(&text, out, PUBLIC_ID_SIZE);
    buf_add_format(&text, "%s%012" PRIx64 "%012" PRIx64, prefix, (uint64_t)id, nonce);
    assert(!buf_failed(&text));
}

static bool
parse_hex48(const char *text, uint64_t *out)
{
    uint64_t value = 0;

    for (int i = 0; i < NONCE_BITS / 4; i++) {
        char c = text[i];

        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = value;
    return true;
}

bool
public_id_parse(const char *prefix, const char *text, int64_t *id, uint64_t *nonce)
{
    size_t length = strlen(prefix);
    uint64_t number, random;

    if (strncmp(text, prefix, length) != 0 || strlen(text) != length + 2 * NONCE_BITS / 4)
        return false;
    if (!parse_hex48(text + length, &number) || number == 0 ||
        !parse_hex48(text + length + NONCE_BITS / 4, &random))
        return false;
    *id = (int64_t)number;
    *nonce = random;
    return true;
}

/* From a supply, so that not every hold asks the kernel. */
static uint64_t
new_nonce(struct store *s)
{
    uint64_t nonce = 0;

    if (s->nonces_left == 0) {
        crypto_random(s->nonces, sizeof(s->nonces));
        s->nonces_left = NONCE_SUPPLY;
    }
    s->nonces_left--;
    memcpy(&nonce, s->nonces[s->nonces_left], NONCE_BITS / 8);
    return nonce;
}

/* ---- periods -------------------------------------------------------------------------------- */

/* The calendar is asked once per spec and period; its answer never changes. */
static enum status
find_period(struct store *s, const struct period_spec *spec, int64_t at_us, struct period *out,
            struct error *err)
{
    size_t slot = (size_t)spec->kind * 7 + (size_t)spec->anchor_day + (size_t)spec->week_start * 3;
    struct period_memo *memo;
    enum status status;

    for (const char *c = spec->timezone; *c != '\0'; c++)
        slot = slot * 31 + (unsigned char)*c;
    memo = &s->periods[slot % PERIOD_MEMO_SLOTS];
    if (memo->period.start_us <= at_us && at_us < memo->period.end_us &&
        period_spec_equal(&memo->spec, spec)) {
        *out = memo->period;
        return STATUS_OK;
    }
    status = period_containing(spec, at_us, out, err);
    if (status == STATUS_OK) {
        memo->spec = *spec;
        memo->period = *out;
    }
    return status;
}

/* ---- lines ---------------------------------------------------------------------------------- */

/*
 * A period without a row. A line that was there before the period began would have got a row with
 * the first hold or charge, so there was none; a younger line starts at what the journal holds. A
 * line is young for as long as a clock may go back: what was placed before it is later by the
 * clock.
 */
static enum status
fill_missing_period(struct store *s, struct ledger *ledger, struct budget_line *line, int64_t at_us,
                    int64_t now_us, struct error *err)
{
    int64_t account_id = ledger->accounts[line->account].id, credit_us;
    enum status status = find_period(s, &line->spec, at_us, &line->period, err);

    line->spent_nanos = line->held_nanos = 0;
    line->alerted = 0;
    if (status == STATUS_OK && account_id != 0 &&
        (line->id == 0 || line->created_us + STORE_CLOCK_BACK_US > line->period.start_us ||
         line->period.end_us <= now_us)) {
        status =
            s->ops->journal_sum(s->backend, account_id, line->period.start_us, line->period.end_us,
                                &line->spent_nanos, &line->held_nanos, err);
        line->changed = true; /* so that the next look finds a row */
    }
    if (status == STATUS_OK && line->has_credits) {
        credit_us = now_us < line->period.end_us ? now_us : line->period.end_us - 1;
        status = s->ops->credit_sum(s->backend, line->id, credit_us, credit_us + 1,
                                    &line->credit_nanos, err);
    }
    return status;
}

static enum status
fill_carry(struct store *s, struct budget_line *line, struct error *err)
{
    size_t count = LEDGER_CARRY_PERIODS_MAX;
    enum status status = STATUS_OK;

    if (line->id == 0 || line->spec.kind == PERIOD_NONE)
        return STATUS_OK;
    status = s->ops->history(s->backend, line->id, line->period.start_us, s->history, &count, err);
    if (status != STATUS_OK)
        return status;
    return ledger_carry(line, s->history, count, line->period.start_us, &line->carry_nanos, err);
}

/* Give the loaded lines their rules, periods, credits and carry. */
static enum status
prepare_lines(struct store *s, struct ledger *ledger, const struct plan *plan, int64_t at_us,
              int64_t now_us, struct error *err)
{
    int64_t credits[LEDGER_LINES_MAX];
    size_t loaded = ledger->line_count;
    enum status status;

    for (size_t i = 0; i < loaded; i++) /* binding clears them */
        credits[i] = ledger->lines[i].credit_nanos;
    status = ledger_bind(ledger, plan, now_us, err);
    for (size_t i = 0; i < ledger->line_count && status == STATUS_OK; i++) {
        struct budget_line *line = &ledger->lines[i];

        line->credit_nanos = i < loaded ? credits[i] : 0;
        line->carry_nanos = 0;
        if (!line->period_stored)
            status = fill_missing_period(s, ledger, line, at_us, now_us, err);
        if (status == STATUS_OK && line->limited && line->overage == OVERAGE_CARRY)
            status = fill_carry(s, line, err);
    }
    return status;
}

static bool
has_unborn_line(const struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->line_count; i++) {
        if (ledger->lines[i].id == 0)
            return true;
    }
    return false;
}

/* A budget of the plan that never counted anything is not one of the account's lines. */
static void
drop_unborn_lines(struct ledger *ledger)
{
    size_t kept = 0;

    for (size_t i = 0; i < ledger->line_count; i++) {
        if (ledger->lines[i].id != 0)
            ledger->lines[kept++] = ledger->lines[i];
    }
    ledger->line_count = kept;
}

/* For a look at one account: what its plan will count on it at the next request is shown before it
 * is there. A budget of another account of the chain is not: seen alone, an account takes the place
 * of those that are missing. */
static void
drop_foreign_lines(const struct store *s, struct ledger *ledger)
{
    const struct account *account = &ledger->accounts[0];
    const struct plan *plan = policy_plan_named(s->policy, account->plan);
    enum account_kind kind = account_kind_of(account->name);
    enum budget_per per = kind == ACCOUNT_KEY            ? PER_KEY
                          : kind == ACCOUNT_ORGANIZATION ? PER_ORG
                                                         : PER_SUBJECT;
    size_t kept = 0;

    for (size_t i = 0; i < ledger->line_count; i++) {
        const struct budget_line *line = &ledger->lines[i];

        if (line->id != 0 ||
            (plan != NULL && line->plan_index >= 0 && plan->budgets[line->plan_index].per == per))
            ledger->lines[kept++] = *line;
    }
    ledger->line_count = kept;
}

static enum status
write_lines(struct store *s, struct ledger *ledger, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < ledger->line_count && status == STATUS_OK; i++) {
        struct budget_line *line = &ledger->lines[i];
        bool born = line->id == 0;

        if (born)
            status = s->ops->line_write(s->backend, ledger->accounts[line->account].id, line, err);
        if (status == STATUS_OK && (born || line->changed))
            status = s->ops->period_write(s->backend, line, err);
    }
    return status;
}

static enum status
write_accounts(struct store *s, struct ledger *ledger, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < ledger->account_count && status == STATUS_OK; i++) {
        if (ledger->accounts[i].changed)
            status = s->ops->account_write(s->backend, &ledger->accounts[i], err);
    }
    return status;
}

static enum status
write_rates(struct store *s, struct ledger *ledger, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < ledger->rate_count && status == STATUS_OK; i++) {
        if (ledger->rates[i].changed)
            status = s->ops->rate_write(s->backend, &ledger->rates[i], err);
    }
    return status;
}

static enum status
write_events(struct store *s, const struct ledger *ledger, int64_t hold_number, int64_t now_us,
             struct error *err)
{
    enum status status = STATUS_OK;
    int payer = ledger_payer(ledger);

    for (size_t i = 0; i < ledger->event_count && status == STATUS_OK; i++) {
        const struct ledger_event *event = &ledger->events[i];
        const struct budget_line *line = event->line >= 0 ? &ledger->lines[event->line] : NULL;
        struct event_row row = {
            .kind = event->kind,
            .account_id = line != NULL ? ledger->accounts[line->account].id
                          : payer >= 0 ? ledger->accounts[payer].id
                                       : 0,
            .budget_id = line != NULL ? line->id : 0,
            .period_start_us = line != NULL ? line->period.start_us : 0,
            .hold_number = hold_number,
            .percent = event->percent,
            .created_us = now_us,
            .who = "",
            .text = "",
            .note = "",
        };

        status = s->ops->event_write(s->backend, &row, err);
    }
    return status;
}

/* Everything a change marked in the ledger. Lines first: an event names its line's number. */
static enum status
write_ledger(struct store *s, struct ledger *ledger, int64_t hold_number, int64_t now_us,
             struct error *err)
{
    enum status status = write_lines(s, ledger, err);

    if (status == STATUS_OK)
        status = write_accounts(s, ledger, err);
    if (status == STATUS_OK)
        status = write_rates(s, ledger, err);
    if (status == STATUS_OK)
        status = write_events(s, ledger, hold_number, now_us, err);
    return status;
}

/* ---- chains --------------------------------------------------------------------------------- */

/* A chain while it is put together. Accounts that are not in the store have id 0. */
struct chain_build {
    size_t count;
    struct account accounts[LEDGER_ACCOUNTS_MAX];
    int roles[LEDGER_ACCOUNTS_MAX];
    size_t parents;
};

static uint64_t
hash_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211); /* FNV-1a */
    return (hash ^ 0xff) * UINT64_C(1099511628211);
}

static uint64_t
hash_names(const struct chain_names *names)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    hash = hash_text(hash, names->key_id);
    hash = hash_text(hash, names->subject);
    hash = hash_text(hash, names->organization);
    return hash_text(hash, names->parent);
}

static struct chain_memo *
memo_of(struct store *s, uint64_t hash)
{
    return &s->chains[(hash ^ hash >> 32) % CHAIN_MEMO_SLOTS];
}

static enum status
new_account(struct store *s, const char *name, int64_t now_us, struct account *out,
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

/* `account`'s stored parents, nearest first. A circle cannot be stored (account_change refuses it);
 * the bound on parents ends one that was made by hand. */
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

        status = new_account(s, names[at], now_us, &made, err);
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

/* The accounts of a chain in its order: key, subject, organization, the subject's stored parents,
 * the parent from a claim and its parents, all. */
static enum status
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
    buf_init(&text, key, sizeof(key));
    if (names->key_id[0] != '\0')
        buf_add_format(&text, "key:%s", names->key_id);
    status = find_named(s, wanted, create, now_us, found, err);
    for (size_t i = 0; i < NAMED_COUNT && status == STATUS_OK; i++) {
        if (i == NAMED_PARENT && names->subject[0] != '\0')
            status = chain_append_parents(s, build, found[NAMED_SUBJECT].parent_id, err);
        if (status != STATUS_OK || wanted[i][0] == '\0')
            continue;
        status = chain_append(build, &found[i], roles[i], err);
        if (i == NAMED_PARENT && status == STATUS_OK)
            status = chain_append_parents(s, build, found[i].parent_id, err);
    }
    return status;
}

/* Find or make the chain of `build`; place->id 0 when an account or the chain is missing. */
static enum status
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

/* Whether the chain that was loaded is the one of these names, and still is: parents can be
 * changed. */
static bool
chain_is_current(const struct ledger *ledger, const struct chain_names *names)
{
    bool expected[LEDGER_ACCOUNTS_MAX] = { false };
    bool claimed = names->parent[0] == '\0';
    const char *key = ledger->key >= 0 ? ledger->accounts[ledger->key].name + strlen("key:") : "";

    if (strcmp(key, names->key_id) != 0 || !stands_at(ledger, ledger->subject, names->subject) ||
        !stands_at(ledger, ledger->organization, names->organization))
        return false;
    if (ledger->subject >= 0 &&
        !mark_parents(ledger, ledger->accounts[ledger->subject].parent_id, expected))
        return false;
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

/* ---- expired holds -------------------------------------------------------------------------- */

/* A charge of a hold, in the periods of its placement. */
static void
charge_of_hold(struct store *s, struct charge_row *row, const struct hold *hold,
               enum charge_kind kind, int64_t amount_nanos, int64_t now_us)
{
    memset(row, 0, sizeof(*row));
    row->chain_id = hold->chain_id;
    row->hold_number = hold->id;
    row->charge.nonce = new_nonce(s);
    row->charge.kind = kind;
    row->charge.amount_nanos = amount_nanos;
    row->charge.at_us = hold->placed_us;
    row->charge.created_us = now_us;
    public_id_format("hld_", hold->id, hold->nonce, row->charge.hold_id);
    (void)!text_copy(row->charge.route, sizeof(row->charge.route), hold->route);
}

/* Journal one expired hold, inside a write transaction. One that was settled or renewed meanwhile
 * is left alone. */
static enum status
expire_hold(struct store *s, const struct hold *which, int64_t now_us, struct error *err)
{
    struct store_load *load = &s->load;
    struct hold *hold = &load->hold;
    struct charge_row charge;
    enum status status;

    memset(load, 0, sizeof(*load));
    s->ledger.rate_count = 0;
    load->ledger = &s->ledger;
    load->hold_id = which->id;
    load->hold_nonce = which->nonce;
    load->now_us = now_us;
    status = s->ops->load(s->backend, load, err);
    if (status != STATUS_OK || !load->hold_found || hold->state != HOLD_HELD ||
        hold->expires_us > now_us)
        return status;
    status = prepare_lines(s, &s->ledger, policy_plan_named(s->policy, hold->plan), hold->placed_us,
                           now_us, err);
    if (status == STATUS_OK)
        status = ledger_expire(&s->ledger, hold, s->charge_on_expiry, now_us, err);
    if (status == STATUS_OK && hold->expiry_charged_nanos > 0) {
        charge_of_hold(s, &charge, hold, CHARGE_SPEND, hold->expiry_charged_nanos, now_us);
        (void)!text_copy(charge.charge.note, sizeof(charge.charge.note), "hold expired");
        status = s->ops->charge_write(s->backend, &charge, err);
        hold->expiry_charge_id = charge.charge.id;
    }
    if (status == STATUS_OK)
        status = s->ops->hold_write(s->backend, hold, err);
    return status == STATUS_OK ? write_ledger(s, &s->ledger, hold->id, now_us, err) : status;
}

static enum status
expire_piece(struct store *s, size_t *count, int64_t now_us, struct error *err)
{
    bool together = s->ops->one_transaction_for_all;
    enum status status = s->ops->begin(s->backend, together ? STORE_WRITE : STORE_READ, err);

    if (status != STATUS_OK)
        return status;
    status = s->ops->expired(s->backend, now_us, s->expired, count, err);
    if (status == STATUS_OK && !together)
        status = s->ops->commit(s->backend, false, err);
    for (size_t i = 0; i < *count && status == STATUS_OK; i++) {
        if (!together)
            status = s->ops->begin(s->backend, STORE_WRITE, err);
        if (status == STATUS_OK)
            status = expire_hold(s, &s->expired[i], now_us, err);
        if (status == STATUS_OK && !together)
            status = s->ops->commit(s->backend, false, err);
    }
    if (status != STATUS_OK)
        return give_up(s, status);
    return together ? s->ops->commit(s->backend, false, err) : STATUS_OK;
}

/* Free the room of holds whose time is over: the request that looks first does it, before its own
 * transaction, and they are journalled once. */
static enum status
expire_holds(struct store *s, int64_t now_us, struct error *err)
{
    size_t done = 0, count;
    enum status status;

    do {
        count = EXPIRE_PIECE;
        status = expire_piece(s, &count, now_us, err);
        done += count;
    } while (status == STATUS_OK && count == EXPIRE_PIECE &&
             (s->ops->expire_max == 0 || done < s->ops->expire_max));
    return status;
}

/* ---- admission ------------------------------------------------------------------------------ */

/* One admission while it is being decided. */
struct admit {
    const struct admission *ask;
    int64_t now_us;
    bool explain; /* nothing may be recorded */
    const struct hold_rule *rule;
    bool hold_due;
    bool once; /* there is something that counts once per client request */
    enum store_mode mode;
    bool swept;    /* expired holds were looked for */
    uint64_t hash; /* of the names */
    struct chain_memo *memo;
    struct chain_place place;
    uint8_t key[ADMISSION_KEY_BYTES];
    bool not_yours; /* redirected, and the hold named is not this caller's */
    bool repeated;
    bool has_earlier;
    struct hold earlier;
    bool born; /* accounts or the chain were made in this transaction */
};

/* What one attempt came to; the others start over with what they say. */
enum attempt { ATTEMPT_DONE, ATTEMPT_WRITE, ATTEMPT_EXPIRE };

static void
digest_of(const uint8_t credential[SHA256_BYTES], const char *route, const char *unique_id,
          uint8_t out[16])
{
    uint8_t digest[SHA256_BYTES];
    char storage[SHA256_BYTES + ROUTE_PREFIX_SIZE + UNIQUE_ID_MAX + 2];
    struct buf text;

    buf_init(&text, storage, sizeof(storage));
    buf_add_bytes(&text, credential, SHA256_BYTES);
    if (route != NULL) {
        buf_add(&text, route);
        buf_add_char(&text, '\n');
    }
    buf_add(&text, unique_id);
    assert(!buf_failed(&text));
    crypto_sha256(storage, text.length, digest);
    memcpy(out, digest, 16);
}

/* mod_unique_id's is 24 bytes; one that is too long is none, and then every call counts. */
static const char *
unique_id_of(const struct admission *ask)
{
    return ask->unique_id != NULL && strlen(ask->unique_id) <= UNIQUE_ID_MAX ? ask->unique_id : "";
}

static const char *
route_name(const struct route *route)
{
    return route != NULL ? route->prefix : "";
}

static bool
add_rate(struct ledger *ledger, const char *name, const struct rate *rate, int64_t account_id,
         int account)
{
    struct rate_row *row = &ledger->rates[ledger->rate_count];

    if (rate->count == 0 || account < 0)
        return true;
    memset(row, 0, sizeof(*row));
    row->account_id = account_id;
    row->account = account;
    row->rate = *rate;
    ledger->rate_count++;
    return text_copy(row->name, sizeof(row->name), name);
}

/* The limits that this request counts on. */
static bool
collect_rates(struct ledger *ledger, const struct admission *ask, const struct chain_place *place)
{
    char name[8 + ROUTE_PREFIX_SIZE];
    struct buf text;
    int payer = place->subject >= 0 ? place->subject : place->key;
    int64_t payer_id = place->subject >= 0 ? place->subject_id : place->key_id;

    ledger->rate_count = 0;
    buf_init(&text, name, sizeof(name));
    buf_add_format(&text, "route:%s", route_name(ask->route));
    return add_rate(ledger, "key", &ask->plan->key_rate, place->key_id, place->key) &&
           add_rate(ledger, "subject", &ask->plan->rate, payer_id, payer) &&
           add_rate(ledger, "org", &ask->plan->org_rate, place->organization_id,
                    place->organization) &&
           (ask->route == NULL || add_rate(ledger, name, &ask->route->rate, payer_id, payer));
}

static bool
has_rates(const struct admission *ask)
{
    return ask->plan->rate.count != 0 || ask->plan->key_rate.count != 0 ||
           ask->plan->org_rate.count != 0 || (ask->route != NULL && ask->route->rate.count != 0);
}

static void
admit_init(struct admit *a, struct store *s, const struct admission *ask, bool explain,
           int64_t now_us)
{
    memset(a, 0, sizeof(*a));
    a->ask = ask;
    a->now_us = now_us;
    a->explain = explain;
    a->rule = policy_hold_rule(ask->plan, ask->route);
    a->hold_due = (a->rule != NULL && a->rule->set && (a->rule->automatic || a->rule->nanos > 0)) ||
                  ask->plan->concurrency > 0;
    a->once = (a->hold_due || has_rates(ask)) && unique_id_of(ask)[0] != '\0';
    a->mode =
        (a->hold_due || has_rates(ask)) && !ask->redirected && !explain ? STORE_WRITE : STORE_READ;
    a->hash = hash_names(ask->names);
    a->memo = memo_of(s, a->hash);
    if (a->once)
        digest_of(ask->credential, route_name(ask->route), unique_id_of(ask), a->key);
}

static int
compare_nanos(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* hold_usd = "auto": the 95th percentile (nearest rank) of the route's last charges; the least
 * allowed while it has none, since a route must be able to begin. */
static enum status
automatic_hold(struct store *s, const struct admit *a, int64_t *nanos, struct error *err)
{
    int64_t amounts[AUTO_HOLD_CHARGES];
    size_t count = AUTO_HOLD_CHARGES;
    enum status status = STATUS_OK;

    *nanos = a->rule->min_nanos;
    if (a->ask->route == NULL)
        return STATUS_OK;
    status = s->ops->route_amounts(s->backend, a->ask->route->prefix, amounts, &count, err);
    if (status != STATUS_OK || count == 0)
        return status;
    qsort(amounts, count, sizeof(amounts[0]), compare_nanos);
    *nanos = amounts[(count * AUTO_HOLD_PERCENT + 99) / 100 - 1];
    if (*nanos < a->rule->min_nanos)
        *nanos = a->rule->min_nanos;
    if (*nanos > a->rule->max_nanos)
        *nanos = a->rule->max_nanos;
    return STATUS_OK;
}

/* Where the caller's accounts stand in a chain that is not in the store; a missing one has id 0. */
static void
place_unborn(const struct chain_build *build, struct chain_place *place)
{
    memset(place, 0, sizeof(*place));
    place->key = place->subject = place->organization = -1;
    for (size_t i = 0; i < build->count; i++) {
        if ((build->roles[i] & CHAIN_KEY) != 0) {
            place->key = (int)i;
            place->key_id = build->accounts[i].id;
        }
        if ((build->roles[i] & CHAIN_SUBJECT) != 0) {
            place->subject = (int)i;
            place->subject_id = build->accounts[i].id;
        }
        if ((build->roles[i] & CHAIN_ORGANIZATION) != 0) {
            place->organization = (int)i;
            place->organization_id = build->accounts[i].id;
        }
    }
}

/* The accounts of the chain as they are, none of them or not all of them in the store: for a look.
 */
static enum status
load_unborn(struct store *s, struct admit *a, struct chain_build *build, struct error *err)
{
    struct ledger *ledger = &s->ledger;
    struct chain_place place;
    enum status status;

    place_unborn(build, &place);
    memset(ledger, 0, sizeof(*ledger));
    memset(&s->load, 0, sizeof(s->load));
    s->load.ledger = ledger;
    s->load.at_us = s->load.now_us = a->now_us;
    if (!collect_rates(ledger, a->ask, &place))
        return error_set(err, STATUS_INTERNAL, "store: the name of a rate is too long");
    status = s->ops->load(s->backend, &s->load, err); /* of no chain: the rates */
    ledger->account_count = build->count;
    ledger->key = place.key;
    ledger->subject = place.subject;
    ledger->organization = place.organization;
    for (size_t i = 0; i < build->count && status == STATUS_OK; i++) {
        ledger->accounts[i] = build->accounts[i];
        if (ledger->accounts[i].id != 0)
            status = s->ops->load_lines(s->backend, ledger, (int)i, a->now_us, a->now_us, err);
    }
    return status;
}

/* On first sight the caller's own accounts get their plan, and the payer its end. */
static enum status
greet(struct store *s, const struct admit *a, struct chain_build *build, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < build->count && status == STATUS_OK; i++) {
        struct account *account = &build->accounts[i];
        int roles = build->roles[i];

        if (!account->changed || account->plan[0] != '\0' ||
            (roles & (CHAIN_KEY | CHAIN_SUBJECT | CHAIN_ORGANIZATION)) == 0)
            continue;
        (void)!text_copy(account->plan, sizeof(account->plan), a->ask->plan->name);
        if ((roles & CHAIN_SUBJECT) != 0 && a->ask->plan->expires_in_us > 0)
            account->expires_us = a->now_us + a->ask->plan->expires_in_us;
        status = s->ops->account_write(s->backend, account, err);
    }
    return status;
}

/* Resolve the names into a chain, the slow way; in a write transaction what is missing is made. */
static enum status
admit_resolve(struct store *s, struct admit *a, struct chain_build *build, struct error *err)
{
    bool create = a->mode == STORE_WRITE;
    enum status status = chain_collect(s, a->ask->names, create, a->now_us, build, err);

    if (status == STATUS_OK)
        status = chain_place(s, build, create, &a->place, err);
    if (status == STATUS_OK && create)
        status = greet(s, a, build, err);
    return status;
}

static enum status
admit_load(struct store *s, struct admit *a, struct error *err)
{
    struct store_load *load = &s->load;
    const char *named = a->ask->redirected ? a->ask->redirected_hold_id : NULL;

    memset(load, 0, sizeof(*load));
    load->ledger = &s->ledger;
    load->chain_id = a->place.id;
    load->at_us = load->now_us = a->now_us;
    load->admission_key = a->once && !a->ask->redirected ? a->key : NULL;
    load->want_expiry = !a->swept;
    if (named != NULL && !public_id_parse("hld_", named, &load->hold_id, &load->hold_nonce))
        load->hold_id = 0;
    s->ledger.rate_count = 0;
    if (!a->ask->redirected && !collect_rates(&s->ledger, a->ask, &a->place))
        return error_set(err, STATUS_INTERNAL, "store: the name of a rate is too long");
    return s->ops->load(s->backend, load, err);
}

/* The rows of the chain: by its number when this process has met the names before, else, and when a
 * parent was changed since, by the names. */
static enum status
admit_fetch(struct store *s, struct admit *a, struct error *err)
{
    struct chain_build build;
    enum status status = STATUS_OK;

    memset(&a->place, 0, sizeof(a->place));
    if (a->memo->place.id != 0 && a->memo->hash == a->hash) {
        a->place = a->memo->place;
        status = admit_load(s, a, err);
        if (status != STATUS_OK ||
            (s->ledger.account_count > 0 && chain_is_current(&s->ledger, a->ask->names)))
            return status;
        a->memo->place.id = 0;
    }
    /* The names are resolved before anything is locked: a parent may be changed in between. */
    for (int tries = 0; tries < TRIES; tries++) {
        status = admit_resolve(s, a, &build, err);
        if (status != STATUS_OK)
            return status;
        if (a->place.id == 0)
            return a->explain ? load_unborn(s, a, &build, err) : STATUS_OK;
        status = admit_load(s, a, err);
        if (status != STATUS_OK || chain_is_current(&s->ledger, a->ask->names))
            return status;
    }
    return error_set(err, STATUS_BUSY, "store: the parents of an account keep changing; try again");
}

/* The hold that a redirected call names: of this caller, placed for this client request, not
 * voided. */
static bool
hold_is_yours(const struct store_load *load, const struct admission *ask)
{
    uint8_t caller[CALLER_BYTES];

    if (!load->hold_found || load->hold.state == HOLD_VOIDED || unique_id_of(ask)[0] == '\0')
        return false;
    digest_of(ask->credential, NULL, unique_id_of(ask), caller);
    return crypto_equal(caller, load->hold.caller, sizeof(caller));
}

/*
 * Was an earlier call of this client request counted? For a redirected call the hold that it names
 * is taken for a living one, whatever became of it: such a call counts and places nothing.
 */
static void
find_earlier(const struct store_load *load, struct admit *a)
{
    if (a->ask->redirected) {
        a->repeated = true;
        a->not_yours = a->hold_due && !hold_is_yours(load, a->ask);
        a->has_earlier = a->hold_due;
        a->earlier = load->hold;
        a->earlier.state = HOLD_HELD;
        a->earlier.expires_us = INT64_MAX;
    } else if (load->admission_found) {
        a->repeated = true;
        a->has_earlier = load->hold_found;
        a->earlier = load->hold;
    }
}

static enum status
admit_decide(struct store *s, struct admit *a, struct verdict *out, struct error *err)
{
    struct admission_event event = {
        .plan = a->ask->plan,
        .missing_scope = a->ask->missing_scope,
        .verification = a->ask->verification,
        .hold_due = a->hold_due,
        .hold_nanos = a->rule != NULL && a->rule->set ? a->rule->nanos : 0,
        .hold_ttl_us = s->hold_ttl_us,
    };
    enum status status = STATUS_OK;

    find_earlier(&s->load, a);
    if (a->rule != NULL && a->rule->set && a->rule->automatic)
        status = automatic_hold(s, a, &event.hold_nanos, err);
    if (status != STATUS_OK)
        return status;
    event.repeated = a->repeated;
    event.earlier = a->has_earlier ? &a->earlier : NULL;
    ledger_admit(&s->ledger, &event, a->now_us, out);
    if (out->allow && a->not_yours) {
        memset(out, 0, sizeof(*out));
        out->reason = REASON_NOT_YOURS;
    } else if (out->allow && a->ask->redirected && a->has_earlier)
        out->hold = s->load.hold;
    return STATUS_OK;
}

/* Write a hold that was just placed, and note the client request. */
static enum status
record_admission(struct store *s, struct admit *a, struct verdict *out, struct error *err)
{
    bool placed = out->hold_placed && out->hold.id == 0;
    int64_t keep_us = a->now_us + ADMISSION_KEEP_US;
    enum status status = STATUS_OK;

    if (placed) {
        out->hold.nonce = new_nonce(s);
        out->hold.chain_id = a->place.id;
        (void)!text_copy(out->hold.route, sizeof(out->hold.route), route_name(a->ask->route));
        if (unique_id_of(a->ask)[0] != '\0')
            digest_of(a->ask->credential, NULL, unique_id_of(a->ask), out->hold.caller);
        status = s->ops->hold_write(s->backend, &out->hold, err);
        keep_us = out->hold.expires_us;
    }
    if (status == STATUS_OK && a->once && (placed || !a->repeated))
        status =
            s->ops->admission_write(s->backend, a->key, placed ? out->hold.id : 0, keep_us, err);
    return status;
}

/* The plan last seen, on the caller's key and organization too; the subject's is the ledger's to
 * note. */
static void
note_plan(struct ledger *ledger, const struct plan *plan)
{
    const int places[] = { ledger->key, ledger->organization };

    for (size_t i = 0; i < 2; i++) {
        struct account *account = places[i] >= 0 ? &ledger->accounts[places[i]] : NULL;

        if (account == NULL || strcmp(account->plan, plan->name) == 0)
            continue;
        (void)!text_copy(account->plan, sizeof(account->plan), plan->name);
        account->changed = true;
    }
}

/* Whether a decision on rows that were only read has to be made again as a writer: something of it
 * is to be recorded. Keys of one subject with different plans would make every request a writer, so
 * a process notes such a change at most once in PLAN_NOTE_US. */
static bool
must_write(const struct store *s, struct admit *a, const struct verdict *out)
{
    const struct ledger *ledger = &s->ledger;

    if (a->explain || a->mode == STORE_WRITE)
        return false;
    if (has_unborn_line(ledger) || ledger->event_count > 0)
        return true;
    for (size_t i = 0; out->allow && i < ledger->account_count; i++) {
        if (ledger->accounts[i].changed)
            return a->memo->noted_us == 0 || a->now_us < a->memo->noted_us ||
                   a->now_us >= a->memo->noted_us + PLAN_NOTE_US;
    }
    return false;
}

static enum status
admit_finish(struct store *s, struct admit *a, struct verdict *out, struct error *err)
{
    enum status status = STATUS_OK;

    if (a->mode == STORE_READ)
        return s->ops->commit(s->backend, false, err);
    if (out->allow) {
        status = record_admission(s, a, out, err);
        a->memo->noted_us = a->now_us;
    }
    if (status == STATUS_OK)
        status = write_ledger(s, &s->ledger, out->hold_placed ? out->hold.id : 0, a->now_us, err);
    return status == STATUS_OK ? s->ops->commit(s->backend, false, err) : status;
}

/* One transaction. A refusal changes no money row; accounts, their chain and lines that were met
 * for the first time stay, so that an operator finds them. */
static enum status
admit_once(struct store *s, struct admit *a, enum attempt *attempt, struct verdict *out,
           struct error *err)
{
    enum status status = s->ops->begin(s->backend, a->mode, err);

    *attempt = ATTEMPT_DONE;
    a->repeated = a->has_earlier = a->not_yours = false;
    if (status != STATUS_OK)
        return status;
    status = admit_fetch(s, a, err);
    if (status == STATUS_OK && a->place.id == 0 && !a->explain)
        *attempt = ATTEMPT_WRITE;
    else if (status == STATUS_OK && s->load.oldest_expiry_us <= a->now_us && !a->swept &&
             !a->explain)
        *attempt = ATTEMPT_EXPIRE;
    if (status != STATUS_OK || *attempt != ATTEMPT_DONE)
        return give_up(s, status);
    status = prepare_lines(s, &s->ledger, a->ask->plan, a->now_us, a->now_us, err);
    if (status == STATUS_OK)
        status = admit_decide(s, a, out, err);
    if (status == STATUS_OK && out->allow)
        note_plan(&s->ledger, a->ask->plan);
    if (status == STATUS_OK && must_write(s, a, out))
        *attempt = ATTEMPT_WRITE;
    if (status != STATUS_OK || *attempt != ATTEMPT_DONE)
        return give_up(s, status);
    status = admit_finish(s, a, out, err);
    if (status != STATUS_OK)
        return give_up(s, status);
    if (a->place.id != 0 && (a->memo->place.id != a->place.id || a->memo->hash != a->hash)) {
        a->memo->hash = a->hash;
        a->memo->place = a->place;
        a->memo->noted_us = 0;
    }
    return STATUS_OK;
}

static enum status
admit_until_done(struct store *s, struct admit *a, struct verdict *out, struct error *err)
{
    enum attempt attempt;
    enum status status;

    do {
        memset(out, 0, sizeof(*out));
        status = admit_once(s, a, &attempt, out, err);
        if (status == STATUS_OK && attempt == ATTEMPT_WRITE)
            a->mode = STORE_WRITE;
        if (status == STATUS_OK && attempt == ATTEMPT_EXPIRE) {
            status = expire_holds(s, a->now_us, err);
            a->swept = true;
        }
    } while (status == STATUS_OK && attempt != ATTEMPT_DONE);
    if (status != STATUS_OK)
        memset(out, 0, sizeof(*out));
    return status;
}

enum status
store_admit(struct store *s, const struct admission *ask, int64_t now_us, struct verdict *out,
            struct error *err)
{
    struct admit a;
    int tries = 0;
    enum status status;

    do {
        admit_init(&a, s, ask, false, now_us);
        status = admit_until_done(s, &a, out, err);
    } while (once_more(s, status, a.once, &tries)); /* `once`: the hold is found again */
    return status;
}

enum status
store_explain(struct store *s, const struct admission *ask, int64_t now_us, struct ledger *ledger,
              struct verdict *out, struct error *err)
{
    struct admit a;
    int tries = 0;
    enum status status;

    memset(out, 0, sizeof(*out));
    memset(ledger, 0, sizeof(*ledger));
    do {
        admit_init(&a, s, ask, true, now_us);
        /* As every look does: else a request that would pass were told to be refused. */
        status = expire_holds(s, now_us, err);
        if (status == STATUS_OK)
            status = admit_until_done(s, &a, out, err);
    } while (once_more(s, status, true, &tries));
    if (status == STATUS_OK)
        *ledger = s->ledger;
    return status;
}

static enum status
read_number(struct store *s, int64_t *out, struct error *err)
{
    enum status status = s->ops->begin(s->backend, STORE_READ, err);

    if (status != STATUS_OK)
        return status;
    status = s->ops->verification_number(s->backend, false, out, err);
    return status == STATUS_OK ? s->ops->commit(s->backend, false, err) : give_up(s, status);
}

enum status
store_verification_number(struct store *s, int64_t *out, struct error *err)
{
    *out = 0;
    return read_number(s, out, err);
}

/* What a caller without a credential cannot know of the names. */
static enum status
complete_names(struct store *s, struct chain_names *names, struct error *err)
{
    enum status status = STATUS_OK;

    if (names->organization[0] == '\0')
        status = s->ops->last_seen(s->backend, CHAIN_ORGANIZATION, names->key_id, names->subject,
                                   names->organization, err);
    if (status == STATUS_OK && names->parent[0] == '\0')
        status = s->ops->last_seen(s->backend, CHAIN_CLAIMED, names->key_id, names->subject,
                                   names->parent, err);
    return status;
}

enum status
store_names_last_seen(struct store *s, struct chain_names *names, struct error *err)
{
    enum status status = s->ops->begin(s->backend, STORE_READ, err);

    if (status != STATUS_OK)
        return status;
    status = complete_names(s, names, err);
    return status == STATUS_OK ? s->ops->commit(s->backend, false, err) : give_up(s, status);
}

/* ---- spending ------------------------------------------------------------------------------- */

/* A change that a client asked for: what all of them share. */
struct change {
    const struct idempotency *idempotency; /* or NULL */
    const struct reply_writer *writer;     /* or NULL */
    int64_t now_us;
    struct result *out;
    struct buf *reply;         /* or NULL */
    const struct actor *actor; /* an operator, for the journal; NULL: a client */
};

static void
change_init(struct change *c, struct store *s, const struct idempotency *idempotency,
            const struct reply_writer *writer, int64_t now_us, struct result *out,
            struct buf *reply)
{
    *c = (struct change){ idempotency, writer, now_us, out, reply, NULL };
    if (idempotency != NULL && idempotency->key == NULL)
        c->idempotency = NULL;
    memset(out, 0, sizeof(*out));
    out->ledger = &s->ledger;
    s->ledger.account_count = s->ledger.line_count = s->ledger.rate_count = s->ledger.event_count =
        0;
    if (reply != NULL)
        buf_clear(reply);
}

/* Does a second run of this change count once? */
static bool
has_key(const struct idempotency *idempotency)
{
    return idempotency != NULL && idempotency->key != NULL;
}

/* What `load` is to bring for this change, beside what the caller adds. */
static void
change_load(struct store *s, const struct change *c)
{
    struct store_load *load = &s->load;

    memset(load, 0, sizeof(*load));
    s->ledger.rate_count = 0;
    load->ledger = &s->ledger;
    load->now_us = c->now_us;
    load->want_expiry = true;
    if (c->idempotency != NULL) {
        load->idempotency_scope = c->idempotency->scope;
        load->idempotency_key = c->idempotency->key;
        load->idempotency = &s->idempotency;
    }
}

/* The same bytes again. What they acknowledge may have been committed by a process that died before
 * its sync, so sync first. */
static enum status
change_replay(struct store *s, const struct change *c, struct error *err)
{
    enum status status;

    s->ops->rollback(s->backend);
    status = s->ops->settle_disk(s->backend, err);
    if (status != STATUS_OK)
        return status;
    if (c->reply != NULL)
        buf_add_bytes(c->reply, s->idempotency.reply, s->idempotency.reply_length);
    c->out->outcome = OUTCOME_REPLAYED;
    return STATUS_OK;
}

/* Nothing is to be recorded; `outcome` says why. */
static enum status
change_refuse(struct store *s, const struct change *c, enum outcome outcome)
{
    s->ops->rollback(s->backend);
    c->out->outcome = outcome;
    return STATUS_OK;
}

/* Answer a key that was used before. `*done` when there is nothing more to do. */
static enum status
change_known_key(struct store *s, const struct change *c, bool *done, struct error *err)
{
    *done = c->idempotency != NULL && s->idempotency.found;
    if (!*done)
        return STATUS_OK;
    if (!crypto_equal(s->idempotency.fingerprint, c->idempotency->fingerprint, SHA256_BYTES))
        return change_refuse(s, c, OUTCOME_KEY_REUSED);
    return change_replay(s, c, err);
}

/* The answer's bytes, kept with the change under the client's key and, for a spend that settles a
 * hold, under the hold's. Then the end of the transaction. */
static enum status
change_commit(struct store *s, const struct change *c, const char *hold_text, bool durable,
              struct error *err)
{
    static const uint8_t no_fingerprint[SHA256_BYTES];
    struct buf *reply = c->reply;
    enum status status = STATUS_OK;

    c->out->outcome = OUTCOME_DONE;
    if (c->writer != NULL && reply != NULL)
        c->writer->write(c->writer->context, c->out, reply);
    if (reply != NULL && (buf_failed(reply) || reply->length >= REPLY_SIZE))
        status = error_set(err, STATUS_OVERFLOW, "store: the answer is longer than %d bytes",
                           REPLY_SIZE - 1);
    if (status == STATUS_OK && hold_text != NULL && reply != NULL)
        status = s->ops->idempotency_write(s->backend, HOLD_SCOPE, hold_text, no_fingerprint,
                                           buf_text(reply), reply->length, c->now_us, err);
    if (status == STATUS_OK && c->idempotency != NULL && reply != NULL)
        status = s->ops->idempotency_write(s->backend, c->idempotency->scope, c->idempotency->key,
                                           c->idempotency->fingerprint, buf_text(reply),
                                           reply->length, c->now_us, err);
    return status == STATUS_OK ? s->ops->commit(s->backend, durable, err) : status;
}

/* After an error nothing of it may look like an answer. */
static enum status
change_end(struct store *s, const struct change *c, enum status status)
{
    if (status == STATUS_OK)
        return status;
    if (c->reply != NULL)
        buf_clear(c->reply);
    memset(c->out, 0, sizeof(*c->out));
    return give_up(s, status);
}

/* Start a change: a write transaction with the rows asked for by `load`, expired holds journalled
 * before it. */
static enum status
change_begin(struct store *s, const struct change *c, struct error *err)
{
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);
    struct store_load asked = s->load;

    if (status != STATUS_OK)
        return status;
    status = s->ops->load(s->backend, &s->load, err);
    if (status != STATUS_OK || s->load.oldest_expiry_us > c->now_us)
        return status;
    s->ops->rollback(s->backend);
    status = expire_holds(s, c->now_us, err);
    if (status != STATUS_OK)
        return status;
    asked.want_expiry = false;
    s->load = asked;
    status = s->ops->begin(s->backend, STORE_WRITE, err);
    return status == STATUS_OK ? s->ops->load(s->backend, &s->load, err) : status;
}

static bool
copy_name(char *out, size_t size, const char *text)
{
    return text_copy(out, size, text != NULL ? text : "");
}

/* The chain of a post that names who: subject and key; the organization, and the parent from a
 * claim, as last seen with that key. */
static enum status
spend_chain(struct store *s, const char *subject, const char *key_id, bool create, int64_t now_us,
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
    if (!copy_name(names.subject, sizeof(names.subject), subject) ||
        !copy_name(names.key_id, sizeof(names.key_id), key_id))
        return STATUS_OK;
    buf_init(&text, key, sizeof(key));
    buf_add_format(&text, "key:%s", names.key_id);
    wanted[0] = names.subject[0] != '\0' ? names.subject : key;
    status = s->ops->accounts_find(s->backend, wanted, 1, &payer, err);
    if (status != STATUS_OK || (payer.id == 0 && !create))
        return status;
    if (!account_name_valid(wanted[0]))
        return STATUS_OK;
    *known = true;
    status = complete_names(s, &names, err);
    if (status == STATUS_OK)
        status = chain_collect(s, &names, true, now_us, &build, err);
    return status == STATUS_OK ? chain_place(s, &build, true, place, err) : status;
}

/* Load the chain of a post without a known hold, in a transaction that is open. */
static enum status
load_named(struct store *s, const struct chain_place *place, int64_t now_us, struct error *err)
{
    struct store_load *load = &s->load;

    memset(load, 0, sizeof(*load));
    s->ledger.rate_count = 0;
    load->ledger = &s->ledger;
    load->chain_id = place->id;
    load->at_us = load->now_us = now_us;
    return s->ops->load(s->backend, load, err);
}

static const struct plan *
last_seen_plan(const struct store *s, const struct ledger *ledger)
{
    int payer = ledger_payer(ledger);

    return payer >= 0 ? policy_plan_named(s->policy, ledger->accounts[payer].plan) : NULL;
}

/* Copy what the client told into the row. A text that is too long was not checked by the caller. */
static enum status
describe_charge(const struct spend *spend, struct charge *charge, struct error *err)
{
    if (!copy_name(charge->model, sizeof(charge->model), spend->model) ||
        !copy_name(charge->tags, sizeof(charge->tags), spend->tags) ||
        !copy_name(charge->token, sizeof(charge->token), spend->token) ||
        !copy_name(charge->metadata, sizeof(charge->metadata), spend->metadata) ||
        (spend->route != NULL && !text_copy(charge->route, sizeof(charge->route), spend->route)))
        return error_set(err, STATUS_INVALID, "store: a text of the charge is too long");
    charge->occurred_us = spend->occurred_us;
    return STATUS_OK;
}

/* The names of the accounts in the chain, for the answer. */
static void
name_charge(const struct ledger *ledger, struct charge *charge)
{
    int payer = ledger_payer(ledger);

    if (payer >= 0)
        (void)!text_copy(charge->account, sizeof(charge->account), ledger->accounts[payer].name);
    if (ledger->key >= 0)
        (void)!text_copy(charge->key_id, sizeof(charge->key_id),
                         ledger->accounts[ledger->key].name + strlen("key:"));
}

/* Write the charge and whatever the ledger changed, and commit durably. */
static enum status
spend_finish(struct store *s, const struct change *c, struct charge_row *row, struct hold *hold,
             enum status status, struct error *err)
{
    const char *reply_key = row->charge.hold_id[0] != '\0' ? row->charge.hold_id : NULL;

    if (status != STATUS_OK)
        return status;
    name_charge(&s->ledger, &row->charge);
    status = s->ops->charge_write(s->backend, row, err);
    if (status == STATUS_OK && hold != NULL) {
        hold->charge_id = row->charge.id;
        status = s->ops->hold_write(s->backend, hold, err);
        c->out->hold = *hold;
    }
    if (status == STATUS_OK)
        status = write_ledger(s, &s->ledger, hold != NULL ? hold->id : 0, c->now_us, err);
    if (status != STATUS_OK)
        return status;
    c->out->charge = row->charge;
    return change_commit(s, c, reply_key, true, err);
}

/* on_expiry = "charge" and a late post: the expiry's charge is taken back by a row of its own. */
static enum status
correct_expiry(struct store *s, const struct change *c, const struct hold *hold, struct error *err)
{
    struct charge_row row;

    if (hold->expiry_charged_nanos == 0)
        return STATUS_OK;
    charge_of_hold(s, &row, hold, CHARGE_REFUND, hold->expiry_charged_nanos, c->now_us);
    row.charge.refund_of = hold->expiry_charge_id;
    (void)!text_copy(row.charge.note, sizeof(row.charge.note), "corrected by the late post");
    return s->ops->charge_write(s->backend, &row, err);
}

/* Post the cost of a hold that is held, or that expired without a post. */
static enum status
spend_settle(struct store *s, const struct spend *spend, const struct change *c, struct error *err)
{
    struct hold hold = s->load.hold;
    struct charge_row row;
    enum status status;

    charge_of_hold(s, &row, &hold, CHARGE_SPEND, spend->cost_nanos, c->now_us);
    c->out->hold_word = hold.state == HOLD_EXPIRED ? "expired" : "settled";
    status = describe_charge(spend, &row.charge, err);
    if (status == STATUS_OK)
        status = prepare_lines(s, &s->ledger, policy_plan_named(s->policy, hold.plan),
                               hold.placed_us, c->now_us, err);
    if (status == STATUS_OK)
        status = correct_expiry(s, c, &hold, err);
    if (status == STATUS_OK)
        status =
            ledger_settle(&s->ledger, &hold, spend->cost_nanos, c->now_us, &c->out->effect, err);
    return spend_finish(s, c, &row, &hold, status, err);
}

/* The answer to a post that was recorded before, from its stored bytes, or made again from the rows
 * when they were pruned. */
static enum status
spend_replay(struct store *s, const struct change *c, const char *hold_text,
             const struct charge_row *row, struct error *err)
{
    enum status status =
        s->ops->idempotency_find(s->backend, HOLD_SCOPE, hold_text, &s->idempotency, err);

    if (status != STATUS_OK)
        return status;
    if (!s->idempotency.found && c->writer != NULL && c->reply != NULL) {
        status = prepare_lines(s, &s->ledger, last_seen_plan(s, &s->ledger), row->charge.at_us,
                               c->now_us, err);
        if (status != STATUS_OK)
            return status;
        c->out->charge = row->charge;
        c->writer->write(c->writer->context, c->out, c->reply);
        if (buf_failed(c->reply))
            return error_set(err, STATUS_OVERFLOW, "store: the answer is too long");
    }
    return change_replay(s, c, err);
}

/* A post for a hold that had one already: the same cost is a repeat. */
static enum status
spend_again(struct store *s, const struct spend *spend, const struct change *c, struct error *err)
{
    const struct hold *hold = &s->load.hold;
    struct charge_row row;

    c->out->hold = *hold;
    if (hold->charged_nanos != spend->cost_nanos)
        return change_refuse(s, c, OUTCOME_HOLD_SETTLED);
    c->out->hold_word = hold->state == HOLD_EXPIRED ? "expired" : "settled";
    charge_of_hold(s, &row, hold, CHARGE_SPEND, hold->charged_nanos, hold->placed_us);
    row.charge.id = hold->charge_id;
    name_charge(&s->ledger, &row.charge);
    return spend_replay(s, c, row.charge.hold_id, &row, err);
}

static bool
visible_ascii(const char *text, size_t max)
{
    size_t length = strlen(text);

    for (size_t i = 0; i < length; i++) {
        if (text[i] < '!' || text[i] > '~')
            return false;
    }
    return length > 0 && length <= max;
}

/* A post without a hold, or for one that the store does not know (a crash may have lost it, and the
 * money must not be lost): recorded once per hold id. */
static enum status
spend_without_hold(struct store *s, const struct spend *spend, const struct change *c,
                   struct error *err)
{
    bool unknown_hold = spend->hold_id != NULL, known, found = false;
    struct chain_place place;
    struct charge_row row;
    enum status status = STATUS_OK;

    memset(&row, 0, sizeof(row));
    if (unknown_hold &&
        (spend->subject == NULL || !visible_ascii(spend->hold_id, HOLD_TEXT_SIZE - 1)))
        return change_refuse(s, c, OUTCOME_UNKNOWN_HOLD);
    if (unknown_hold) {
        c->out->hold_word = "unknown";
        status = s->ops->unknown_hold(s->backend, spend->hold_id, &found, &row, err);
    }
    if (status == STATUS_OK && found && row.charge.amount_nanos != spend->cost_nanos)
        return change_refuse(s, c, OUTCOME_HOLD_SETTLED);
    if (status == STATUS_OK)
        status = spend_chain(s, spend->subject, spend->key_id, unknown_hold, c->now_us, &place,
                             &known, err);
    if (status == STATUS_OK && !known)
        return change_refuse(s, c, OUTCOME_UNKNOWN_ACCOUNT);
    if (status == STATUS_OK)
        status = load_named(s, &place, found ? row.charge.at_us : c->now_us, err);
    if (status != STATUS_OK)
        return status;
    if (found)
        return spend_replay(s, c, spend->hold_id, &row, err);
    row.chain_id = place.id;
    row.charge.nonce = new_nonce(s);
    row.charge.amount_nanos = spend->cost_nanos;
    row.charge.at_us = row.charge.created_us = c->now_us;
    if (unknown_hold)
        (void)!text_copy(row.charge.hold_id, sizeof(row.charge.hold_id), spend->hold_id);
    status = describe_charge(spend, &row.charge, err);
    if (status == STATUS_OK)
        status =
            prepare_lines(s, &s->ledger, last_seen_plan(s, &s->ledger), c->now_us, c->now_us, err);
    if (status == STATUS_OK)
        status = ledger_charge(&s->ledger, spend->cost_nanos, c->now_us, &c->out->effect, err);
    return spend_finish(s, c, &row, NULL, status, err);
}

/* Which case is it? A hold that had its post decides by itself; its key, by then, is only a repeat.
 */
static enum status
spend_decide(struct store *s, const struct spend *spend, const struct change *c, struct error *err)
{
    const struct hold *hold = &s->load.hold;
    bool done;
    enum status status;

    if (s->load.hold_found && hold->charge_id != 0)
        return spend_again(s, spend, c, err);
    status = change_known_key(s, c, &done, err);
    if (status != STATUS_OK || done)
        return status;
    if (s->load.hold_found && hold->state == HOLD_VOIDED) {
        c->out->hold = *hold;
        return change_refuse(s, c, OUTCOME_HOLD_VOIDED);
    }
    if (s->load.hold_found)
        return spend_settle(s, spend, c, err);
    return spend_without_hold(s, spend, c, err);
}

enum status
store_spend(struct store *s, const struct spend *spend, const struct idempotency *idempotency,
            const struct reply_writer *writer, int64_t now_us, struct result *out,
            struct buf *reply, struct error *err)
{
    struct change c;
    int tries = 0;
    enum status status;

    do {
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        change_load(s, &c);
        if (spend->hold_id != NULL &&
            !public_id_parse("hld_", spend->hold_id, &s->load.hold_id, &s->load.hold_nonce))
            s->load.hold_id = 0;
        status = change_begin(s, &c, err);
        if (status == STATUS_OK)
            status = spend_decide(s, spend, &c, err);
        status = change_end(s, &c, status);
    } while (once_more(s, status, spend->hold_id != NULL || has_key(idempotency), &tries));
    return status;
}

enum status
store_batch_begin(struct store *s, struct error *err)
{
    return s->ops->batch_begin(s->backend, err);
}

enum status
store_batch_end(struct store *s, bool keep, struct error *err)
{
    return s->ops->batch_end(s->backend, keep, err);
}

enum status
store_message_note(struct store *s, const char *scope, const char *message_id,
                   const uint8_t fingerprint[SHA256_BYTES], int64_t now_us, bool *seen,
                   struct error *err)
{
    static const char reply[] = "{}";
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);

    *seen = false;
    if (status != STATUS_OK)
        return status;
    status = s->ops->idempotency_find(s->backend, scope, message_id, &s->idempotency, err);
    if (status == STATUS_OK && s->idempotency.found) {
        s->ops->rollback(s->backend);
        status = s->ops->settle_disk(s->backend, err);
        *seen = status == STATUS_OK;
        return status;
    }
    if (status == STATUS_OK)
        status = s->ops->idempotency_write(s->backend, scope, message_id, fingerprint, reply,
                                           sizeof(reply) - 1, now_us, err);
    if (status == STATUS_OK)
        status = s->ops->commit(s->backend, true, err);
    return status == STATUS_OK ? STATUS_OK : give_up(s, status);
}

/* ---- one account ---------------------------------------------------------------------------- */

/* Load one account alone into the ledger, judged by the plan last seen; `lock` for an edit.
 * `*found` false: there is none. */
static enum status
load_account(struct store *s, const char *name, bool lock, int64_t now_us, bool *found,
             struct error *err)
{
    struct ledger *ledger = &s->ledger;
    enum account_kind kind = account_kind_of(name);
    enum status status;

    memset(ledger, 0, sizeof(*ledger));
    ledger->key = kind == ACCOUNT_KEY ? 0 : -1;
    ledger->organization = kind == ACCOUNT_ORGANIZATION ? 0 : -1;
    ledger->subject = kind == ACCOUNT_KEY || kind == ACCOUNT_GROUP || kind == ACCOUNT_ALL ? -1 : 0;
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
    if (status != STATUS_OK)
        return status;
    return prepare_lines(s, ledger, policy_plan_named(s->policy, ledger->accounts[0].plan), now_us,
                         now_us, err);
}

/* Journal the holds whose time is over, if there are any. */
static enum status
expire_due(struct store *s, int64_t now_us, struct error *err)
{
    size_t count = 1;
    enum status status = s->ops->begin(s->backend, STORE_READ, err);

    if (status != STATUS_OK)
        return status;
    status = s->ops->expired(s->backend, now_us, s->expired, &count, err);
    if (status == STATUS_OK)
        status = s->ops->commit(s->backend, false, err);
    if (status != STATUS_OK)
        return give_up(s, status);
    return count > 0 ? expire_holds(s, now_us, err) : STATUS_OK;
}

static enum status
account_load_once(struct store *s, const char *name, int64_t now_us, struct ledger *out,
                  char parent[ACCOUNT_NAME_SIZE], struct error *err)
{
    struct account up;
    bool found;
    enum status status = expire_due(s, now_us, err);

    memset(out, 0, sizeof(*out));
    parent[0] = '\0';
    if (status == STATUS_OK)
        status = s->ops->begin(s->backend, STORE_READ, err);
    if (status != STATUS_OK)
        return status;
    status = load_account(s, name, false, now_us, &found, err);
    if (status == STATUS_OK && !found)
        status = error_set(err, STATUS_NOT_FOUND, "store: there is no such account");
    if (status == STATUS_OK && s->ledger.accounts[0].parent_id != 0) {
        status = s->ops->account_get(s->backend, s->ledger.accounts[0].parent_id, &up, err);
        if (status == STATUS_OK)
            memcpy(parent, up.name, sizeof(up.name));
    }
    if (status == STATUS_OK)
        status = s->ops->commit(s->backend, false, err);
    if (status != STATUS_OK)
        return give_up(s, status);
    drop_foreign_lines(s, &s->ledger);
    *out = s->ledger;
    return STATUS_OK;
}

enum status
store_account_load(struct store *s, const char *name, int64_t now_us, struct ledger *out,
                   char parent[ACCOUNT_NAME_SIZE], struct error *err)
{
    int tries = 0;
    enum status status;

    do
        status = account_load_once(s, name, now_us, out, parent, err);
    while (once_more(s, status, true, &tries));
    return status;
}

/* An operator's change of one account: which, by whom, and what to tell. */
struct edit {
    const char *name;
    const struct actor *actor;
    int64_t now_us;
    enum event_kind kind;
    char text[EVENT_TEXT_SIZE]; /* what was done, for the journal */
    struct buf what;
};

static void
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

static const char *
or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* Write what was edited, with its journal row, durably. `drop`: leave the ledger as an operator
 * sees it. */
static enum status
edit_journal(struct store *s, struct edit *e, int64_t budget_id, struct error *err)
{
    struct event_row event = {
        .kind = e->kind,
        .account_id = s->ledger.accounts[0].id,
        .budget_id = budget_id,
        .created_us = e->now_us,
        .who = or_empty(e->actor->who),
        .text = buf_text(&e->what),
        .note = or_empty(e->actor->note),
    };

    return s->ops->event_write(s->backend, &event, err);
}

/* Load the account for an edit, in a write transaction that is open; missing ones are made when
 * `create`. */
static enum status
edit_load(struct store *s, const struct edit *e, bool create, bool *found, struct error *err)
{
    struct account made;
    enum status status = load_account(s, e->name, true, e->now_us, found, err);

    if (status != STATUS_OK || *found || !create)
        return status;
    status = new_account(s, e->name, e->now_us, &made, err);
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
    if (name[0] != '\0') {
        status = s->ops->accounts_find(s->backend, &name, 1, &parent, err);
        if (status == STATUS_OK && parent.id == 0)
            status = new_account(s, name, e->now_us, &parent, err);
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
        buf_add_format(&e->what, "parent %s", or_empty(text));
        return set_parent(s, e, account, or_empty(text), err);
    case ACCOUNT_PLAN:
        buf_add_format(&e->what, "plan %s", or_empty(text));
        if (!copy_name(account->plan, sizeof(account->plan), text))
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
    if (status == STATUS_OK) {
        drop_foreign_lines(s, &s->ledger);
        return STATUS_OK;
    }
    memset(out, 0, sizeof(*out));
    return give_up(s, status);
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
    return new_account(s, parent, e->now_us, &found[1], err);
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
    bool make = edit->change == ACCOUNT_FREEZE || edit->change == ACCOUNT_REVOKE, found = false;
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);

    if (status != STATUS_OK)
        return status;
    if (edit->change == ACCOUNT_PARENT)
        status = make_parent(s, e, or_empty(edit->text), err);
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
    } while (once_more(s, status, true, &tries));
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
    return fill_missing_period(s, ledger, line, now_us, now_us, err);
}

/* The rules of the lines again, after a hand-set value changed. */
static enum status
rebind(struct store *s, int64_t now_us, struct error *err)
{
    return prepare_lines(s, &s->ledger, policy_plan_named(s->policy, s->ledger.accounts[0].plan),
                         now_us, now_us, err);
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
        bool born = line->id == 0;

        if (line->spec.kind != kind)
            continue;
        line->hand_limited = true;
        line->hand_limit_nanos = limit_nanos;
        if (enforce != NULL) {
            line->hand_enforced = true;
            line->hand_enforce = *enforce;
        }
        status = s->ops->line_write(s->backend, ledger->accounts[0].id, line, err);
        if (status == STATUS_OK && born)
            status = s->ops->period_write(s->backend, line, err);
        if (status == STATUS_OK)
            status = edit_journal(s, e, line->id, err);
    }
    return status == STATUS_OK ? rebind(s, e->now_us, err) : status;
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
    } while (once_more(s, status, true, &tries));
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
        status = s->ops->line_write(s->backend, ledger->accounts[0].id, line, err);
        if (status == STATUS_OK)
            status = edit_journal(s, e, line->id, err);
    }
    return status == STATUS_OK ? rebind(s, e->now_us, err) : status;
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
    } while (once_more(s, status, true, &tries));
    return status;
}

/* ---- holds outside a request ---------------------------------------------------------------- */

static enum status
change_denied(struct store *s, const struct change *c, const struct verdict *verdict)
{
    c->out->verdict = *verdict;
    return change_refuse(s, c, OUTCOME_DENIED);
}

static enum status
place_hold(struct store *s, const struct hold_request *request, const struct change *c,
           struct error *err)
{
    struct admission_event event = {
        .verification = INT64_MAX, /* a tracker token asks, no credential */
        .hold_due = true,
        .hold_nanos = request->amount_nanos,
        .hold_ttl_us = request->ttl_us > 0 ? request->ttl_us : s->hold_ttl_us,
    };
    struct chain_place place;
    struct verdict verdict;
    bool known;
    enum status status =
        spend_chain(s, request->subject, request->key_id, false, c->now_us, &place, &known, err);

    if (status == STATUS_OK && !known)
        return change_refuse(s, c, OUTCOME_UNKNOWN_ACCOUNT);
    if (status == STATUS_OK)
        status = load_named(s, &place, c->now_us, err);
    if (status != STATUS_OK)
        return status;
    event.plan = last_seen_plan(s, &s->ledger);
    status = prepare_lines(s, &s->ledger, event.plan, c->now_us, c->now_us, err);
    if (status != STATUS_OK)
        return status;
    ledger_admit(&s->ledger, &event, c->now_us, &verdict);
    if (!verdict.allow)
        return change_denied(s, c, &verdict);
    verdict.hold.nonce = new_nonce(s);
    verdict.hold.chain_id = place.id;
    if (!copy_name(verdict.hold.route, sizeof(verdict.hold.route), request->route))
        return error_set(err, STATUS_INVALID, "store: the name of a route is too long");
    status = s->ops->hold_write(s->backend, &verdict.hold, err);
    if (status == STATUS_OK)
        status = write_ledger(s, &s->ledger, verdict.hold.id, c->now_us, err);
    c->out->verdict = verdict;
    c->out->hold = verdict.hold;
    return status == STATUS_OK ? change_commit(s, c, NULL, false, err) : status;
}

enum status
store_hold_place(struct store *s, const struct hold_request *request,
                 const struct idempotency *idempotency, const struct reply_writer *writer,
                 int64_t now_us, struct result *out, struct buf *reply, struct error *err)
{
    struct change c;
    int tries = 0;
    bool done;
    enum status status;

    do {
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        change_load(s, &c);
        done = false;
        status = change_begin(s, &c, err);
        if (status == STATUS_OK)
            status = change_known_key(s, &c, &done, err);
        if (status == STATUS_OK && !done)
            status = place_hold(s, request, &c, err);
        status = change_end(s, &c, status);
    } while (once_more(s, status, has_key(idempotency), &tries));
    return status;
}

static enum status
write_hold_change(struct store *s, const struct change *c, struct hold *hold, bool durable,
                  struct error *err)
{
    enum status status = s->ops->hold_write(s->backend, hold, err);

    if (status == STATUS_OK)
        status = write_ledger(s, &s->ledger, hold->id, c->now_us, err);
    c->out->hold = *hold;
    return status == STATUS_OK ? change_commit(s, c, NULL, durable, err) : status;
}

static enum status
extend_hold(struct store *s, int64_t add_nanos, const struct change *c, struct error *err)
{
    struct hold hold = s->load.hold;
    const struct plan *plan = policy_plan_named(s->policy, hold.plan);
    int64_t at_us = hold_extend_at(&hold, c->now_us);
    struct store_load *load = &s->load;
    struct verdict verdict;
    enum status status = STATUS_OK;

    c->out->hold = hold;
    if (hold.state == HOLD_VOIDED)
        return change_refuse(s, c, OUTCOME_HOLD_VOIDED);
    if (hold.state == HOLD_SETTLED || hold.charge_id != 0 || hold.expiry_charge_id != 0)
        return change_refuse(s, c, OUTCOME_HOLD_SETTLED);
    if (at_us != hold.placed_us) { /* an admission again, in the periods of now */
        load->at_us = at_us;
        load->want_expiry = false;
        load->idempotency = NULL;
        status = s->ops->load(s->backend, load, err);
    }
    if (status == STATUS_OK)
        status = prepare_lines(s, &s->ledger, plan, at_us, c->now_us, err);
    if (status == STATUS_OK)
        status = ledger_extend(&s->ledger, plan, &hold, add_nanos, c->now_us, &verdict, err);
    if (status != STATUS_OK)
        return status;
    if (!verdict.allow)
        return change_denied(s, c, &verdict);
    c->out->verdict = verdict;
    return write_hold_change(s, c, &hold, false, err);
}

/* Who gave a hold back at the command line, and why; on the account that pays. */
static enum status
journal_void(struct store *s, const struct change *c, const struct hold *hold, struct error *err)
{
    int payer = ledger_payer(&s->ledger);
    const struct event_row event = {
        .kind = EVENT_ADMIN,
        .account_id = payer >= 0 ? s->ledger.accounts[payer].id : 0,
        .hold_number = hold->id,
        .created_us = c->now_us,
        .who = or_empty(c->actor->who),
        .text = "void a hold",
        .note = or_empty(c->actor->note),
    };

    return s->ops->event_write(s->backend, &event, err);
}

static enum status
void_hold(struct store *s, const struct change *c, struct error *err)
{
    struct hold hold = s->load.hold;
    enum status status;

    c->out->hold = hold;
    if (hold.state != HOLD_HELD && hold.state != HOLD_VOIDED)
        return change_refuse(s, c, OUTCOME_HOLD_SETTLED);
    status = prepare_lines(s, &s->ledger, policy_plan_named(s->policy, hold.plan), hold.placed_us,
                           c->now_us, err);
    if (status == STATUS_OK)
        status = ledger_void(&s->ledger, &hold, c->now_us, err);
    if (status == STATUS_OK && c->actor != NULL)
        status = journal_void(s, c, &hold, err);
    /* Durable: with on_expiry = "charge" a void that is lost would be charged. */
    return status == STATUS_OK ? write_hold_change(s, c, &hold, true, err) : status;
}

/* A change of a hold named by its public id. `add_nanos` -1: void it. */
static enum status
change_hold(struct store *s, const char *hold_id, int64_t add_nanos, struct change *c,
            struct error *err)
{
    bool done = false;
    enum status status;

    change_load(s, c);
    if (!public_id_parse("hld_", hold_id, &s->load.hold_id, &s->load.hold_nonce)) {
        c->out->outcome = OUTCOME_UNKNOWN_HOLD;
        return STATUS_OK;
    }
    status = change_begin(s, c, err);
    if (status == STATUS_OK)
        status = change_known_key(s, c, &done, err);
    if (status == STATUS_OK && !done && !s->load.hold_found)
        return change_refuse(s, c, OUTCOME_UNKNOWN_HOLD);
    if (status == STATUS_OK && !done)
        status = add_nanos < 0 ? void_hold(s, c, err) : extend_hold(s, add_nanos, c, err);
    return change_end(s, c, status);
}

enum status
store_hold_extend(struct store *s, const char *hold_id, int64_t add_nanos,
                  const struct idempotency *idempotency, const struct reply_writer *writer,
                  int64_t now_us, struct result *out, struct buf *reply, struct error *err)
{
    struct change c;
    int tries = 0;
    enum status status;

    do {
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        if (add_nanos < 0)
            return error_set(err, STATUS_INVALID, "store: a hold is raised by 0 or more");
        status = change_hold(s, hold_id, add_nanos, &c, err);
    } while (once_more(s, status, add_nanos == 0 || has_key(idempotency), &tries));
    return status;
}

enum status
store_hold_void(struct store *s, const char *hold_id, const struct idempotency *idempotency,
                const struct reply_writer *writer, int64_t now_us, struct result *out,
                struct buf *reply, struct error *err)
{
    struct change c;
    int tries = 0;
    enum status status;

    do {
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        status = change_hold(s, hold_id, -1, &c, err);
    } while (once_more(s, status, true, &tries));
    return status;
}

enum status
store_hold_void_as(struct store *s, const char *hold_id, const struct actor *actor, int64_t now_us,
                   struct result *out, struct error *err)
{
    struct change c;
    int tries = 0;
    enum status status;

    do {
        change_init(&c, s, NULL, NULL, now_us, out, NULL);
        c.actor = actor;
        status = change_hold(s, hold_id, -1, &c, err);
    } while (once_more(s, status, true, &tries));
    return status;
}

/* ---- refunds and credits -------------------------------------------------------------------- */

/* The hold of the charge, beside the charge's own periods. */
static enum status
load_refunded_hold(struct store *s, struct error *err)
{
    struct store_load *load = &s->load;

    if (load->charge.hold_number == 0 ||
        !public_id_parse("hld_", load->charge.charge.hold_id, &load->hold_id, &load->hold_nonce))
        return STATUS_OK;
    load->chain_id = load->charge.chain_id;
    load->at_us = load->charge.charge.at_us;
    load->want_expiry = false;
    load->idempotency = NULL;
    return s->ops->load(s->backend, load, err);
}

/* A refund of what an expired hold was charged leaves less for the late post to take back. */
static enum status
refund_of_expiry(struct store *s, const struct charge_row *charge, int64_t amount_nanos,
                 struct error *err)
{
    struct hold *hold = &s->load.hold;

    if (!s->load.hold_found || hold->expiry_charge_id != charge->charge.id || hold->charge_id != 0)
        return STATUS_OK;
    if (!money_sub(hold->expiry_charged_nanos, amount_nanos, &hold->expiry_charged_nanos))
        return error_set(
            err, STATUS_CORRUPT,
            "store: a refund passes what the hold's expiry charged; run `spendgate verify`");
    return s->ops->hold_write(s->backend, hold, err);
}

static enum status
record_refund(struct store *s, int64_t amount_nanos, const char *token, const char *note,
              const struct change *c, struct error *err)
{
    const struct charge_row *of = &s->load.charge;
    struct charge_row row = *of;
    int64_t left = money_sub_floor(of->charge.amount_nanos, s->load.refunded_nanos);
    enum status status;

    if (amount_nanos < 0)
        amount_nanos = left;
    if (amount_nanos > left || left == 0)
        return change_refuse(s, c, OUTCOME_REFUND_EXCEEDS);
    row.charge.id = 0;
    row.charge.nonce = new_nonce(s);
    row.charge.kind = CHARGE_REFUND;
    row.charge.amount_nanos = amount_nanos;
    row.charge.created_us = c->now_us;
    row.charge.occurred_us = 0;
    row.charge.refund_of = of->charge.id;
    row.charge.refund_of_nonce = of->charge.nonce;
    row.charge.metadata[0] = '\0';
    if (!copy_name(row.charge.token, sizeof(row.charge.token), token) ||
        !copy_name(row.charge.note, sizeof(row.charge.note), note))
        return error_set(err, STATUS_INVALID, "store: a text of the refund is too long");
    if (row.hold_number == 0)
        row.charge.hold_id[0] = '\0'; /* an unknown hold's id stands on its one charge only */
    status = prepare_lines(s, &s->ledger, last_seen_plan(s, &s->ledger), of->charge.at_us,
                           c->now_us, err);
    if (status == STATUS_OK)
        status = ledger_refund(&s->ledger, of->charge.amount_nanos, s->load.refunded_nanos,
                               amount_nanos, err);
    if (status == STATUS_OK)
        status = s->ops->charge_write(s->backend, &row, err);
    if (status == STATUS_OK)
        status = refund_of_expiry(s, of, amount_nanos, err);
    if (status == STATUS_OK)
        status = write_ledger(s, &s->ledger, row.hold_number, c->now_us, err);
    c->out->charge = row.charge;
    return status == STATUS_OK ? change_commit(s, c, NULL, true, err) : status;
}

static enum status
refund_once(struct store *s, int64_t amount_nanos, const char *token, const char *note,
            const struct change *c, struct error *err)
{
    bool done = false;
    enum status status = change_begin(s, c, err);

    if (status == STATUS_OK)
        status = change_known_key(s, c, &done, err);
    if (status == STATUS_OK && !done &&
        (!s->load.charge_found || s->load.charge.charge.kind != CHARGE_SPEND))
        return change_refuse(s, c, OUTCOME_UNKNOWN_CHARGE);
    if (status == STATUS_OK && !done)
        status = load_refunded_hold(s, err);
    if (status == STATUS_OK && !done)
        status = record_refund(s, amount_nanos, token, note, c, err);
    return change_end(s, c, status);
}

enum status
store_refund(struct store *s, const char *charge_id, int64_t amount_nanos, const char *token,
             const char *note, const struct idempotency *idempotency,
             const struct reply_writer *writer, int64_t now_us, struct result *out,
             struct buf *reply, struct error *err)
{
    struct change c;
    int tries = 0;
    enum status status;

    do {
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        change_load(s, &c);
        if (!public_id_parse("chg_", charge_id, &s->load.charge_id, &s->load.charge_nonce)) {
            out->outcome = OUTCOME_UNKNOWN_CHARGE;
            return STATUS_OK;
        }
        status = refund_once(s, amount_nanos, token, note, &c, err);
    } while (once_more(s, status, has_key(idempotency), &tries));
    return status;
}

/* The lines that a credit raises: those of the period named, or the account's only one that has a
 * limit. */
static size_t
credited_lines(const struct ledger *ledger, enum period_kind period, size_t *first)
{
    size_t count = 0;

    for (size_t i = ledger->line_count; i-- > 0;) {
        if (!ledger->lines[i].limited || (period != 0 && ledger->lines[i].spec.kind != period))
            continue;
        *first = i;
        count++;
    }
    return count;
}

static enum status
credit_line(struct store *s, const struct credit_request *request, struct edit *e,
            struct budget_line *line, struct error *err)
{
    struct credit_row row = {
        .amount_nanos = request->amount_nanos,
        .from_us = request->boost ? e->now_us : line->period.start_us,
        .until_us = request->boost ? request->expires_us : line->period.end_us,
        .created_us = e->now_us,
        .who = or_empty(e->actor->who),
        .note = or_empty(e->actor->note),
    };
    enum status status = STATUS_OK;

    if (request->expires_us > 0 && request->expires_us < row.until_us)
        row.until_us = request->expires_us;
    if (row.until_us <= e->now_us)
        return error_set(err, STATUS_INVALID, "a credit must end in the future");
    if (!money_add(line->credit_nanos, request->amount_nanos, &line->credit_nanos))
        return error_set(err, STATUS_OVERFLOW,
                         "with this the credits of a budget would pass a billion dollars");
    line->has_credits = true;
    status = s->ops->line_write(s->backend, s->ledger.accounts[0].id, line, err);
    /* A top-up pays off a carried overage later only where the period has a row. */
    if (status == STATUS_OK && !line->period_stored)
        status = s->ops->period_write(s->backend, line, err);
    row.budget_id = line->id;
    if (status == STATUS_OK)
        status = s->ops->credit_write(s->backend, &row, err);
    return status == STATUS_OK ? edit_journal(s, e, line->id, err) : status;
}

static enum status
record_credit(struct store *s, const struct credit_request *request, struct edit *e,
              const struct change *c, struct error *err)
{
    struct ledger *ledger = &s->ledger;
    size_t first = 0, count;
    bool found;
    enum status status = edit_load(s, e, false, &found, err);

    if (status != STATUS_OK)
        return status;
    if (!found)
        return change_refuse(s, c, OUTCOME_UNKNOWN_ACCOUNT);
    count = credited_lines(ledger, request->period, &first);
    if (count == 0 || (request->period == 0 && count > 1))
        return change_refuse(s, c, OUTCOME_UNKNOWN_BUDGET);
    buf_add_format(&e->what, "%s %" PRId64 " nanos", request->boost ? "boost" : "credit",
                   request->amount_nanos);
    for (size_t i = first; i < ledger->line_count && status == STATUS_OK; i++) {
        struct budget_line *line = &ledger->lines[i];

        if (line->limited && line->spec.kind == ledger->lines[first].spec.kind)
            status = credit_line(s, request, e, line, err);
    }
    drop_unborn_lines(ledger);
    return status == STATUS_OK ? change_commit(s, c, NULL, true, err) : status;
}

static enum status
credit_once(struct store *s, const struct credit_request *request, struct edit *e,
            const struct change *c, struct error *err)
{
    bool done = false;
    enum status status = change_begin(s, c, err);

    if (status == STATUS_OK)
        status = change_known_key(s, c, &done, err);
    if (status == STATUS_OK && !done)
        status = record_credit(s, request, e, c, err);
    return change_end(s, c, status);
}

enum status
store_credit(struct store *s, const struct credit_request *request, const struct actor *actor,
             const struct idempotency *idempotency, const struct reply_writer *writer,
             int64_t now_us, struct result *out, struct buf *reply, struct error *err)
{
    struct change c;
    struct edit e;
    int tries = 0;
    enum status status;

    do {
        edit_init(&e, request->account, actor, now_us, out, s);
        change_init(&c, s, idempotency, writer, now_us, out, reply);
        change_load(s, &c);
        if (request->boost && request->expires_us == 0)
            return error_set(err, STATUS_INVALID, "a boost needs an end");
        status = credit_once(s, request, &e, &c, err);
    } while (once_more(s, status, has_key(idempotency), &tries));
    return status;
}

/* ---- listings ------------------------------------------------------------------------------- */

enum status
store_account_names(struct store *s, const char *after, size_t limit,
                    bool (*visit)(void *context, const char *name), void *context,
                    struct error *err)
{
    return s->ops->account_names(s->backend, after, limit, visit, context, err);
}

enum status
store_charges(struct store *s, const struct charge_filter *filter,
              bool (*visit)(void *context, const struct charge *charge), void *context,
              struct error *err)
{
    return s->ops->charges(s->backend, filter, visit, context, err);
}

enum status
store_report(struct store *s, enum report_by by, int64_t from_us, int64_t to_us,
             bool (*visit)(void *context, const struct report_row *row), void *context,
             struct error *err)
{
    return s->ops->report(s->backend, by, from_us, to_us, visit, context, err);
}

enum status
store_holds(struct store *s, const char *account, enum hold_state state, size_t limit,
            bool (*visit)(void *context, const struct hold *hold, const char *account),
            void *context, struct error *err)
{
    return s->ops->holds(s->backend, account, state, limit, visit, context, err);
}

enum status
store_prune(struct store *s, int64_t older_than_us, int64_t now_us, int64_t *removed,
            struct error *err)
{
    *removed = 0;
    return s->ops->prune(s->backend, now_us - s->idempotency_ttl_us, older_than_us, now_us, removed,
                         err);
}

enum status
store_verify(struct store *s, int64_t now_us,
             void (*report)(void *context, const char *invariant, const char *text), void *context,
             struct verify_summary *out, struct error *err)
{
    enum status status = s->ops->begin(s->backend, STORE_INSPECT, err);

    (void)now_us;
    memset(out, 0, sizeof(*out));
    if (status != STATUS_OK)
        return status;
    status = store_verify_rows(s->ops, s->backend, report, context, out, err);
    return status == STATUS_OK ? s->ops->commit(s->backend, false, err) : give_up(s, status);
}
