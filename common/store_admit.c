/* SPDX-License-Identifier: MIT */
/*
 * Admission and explain: one request, decided on the rows of its chain.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/store_internal.h"

#include "common/banned.h"

#define ADMISSION_KEEP_US (60 * US_PER_SECOND)
#define AUTO_HOLD_CHARGES 100
#define AUTO_HOLD_PERCENT 95
#define UNIQUE_ID_MAX 255

/* One admission while it is being decided. */
struct admit {
    const struct admission *ask;
    int64_t now_us;
    bool explain; /* nothing may be recorded */
    const struct hold_rule *rule;
    bool hold_due;
    bool once; /* there is something that counts once per client request */
    enum store_mode mode;
    struct room room;
    int chains;    /* that were not current any more when they were loaded */
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

/* What one attempt came to; the others start over with what they say. EXPIRE: expired holds may
 * still keep room. AGAIN: the chain that was locked is not the one of the names any more. */
enum attempt { ATTEMPT_DONE, ATTEMPT_WRITE, ATTEMPT_EXPIRE, ATTEMPT_AGAIN };

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
    a->hold_due = a->hold_due && (ask->route == NULL || !ask->route->free);
    a->once = (a->hold_due || has_rates(ask)) && unique_id_of(ask)[0] != '\0';
    a->mode =
        (a->hold_due || has_rates(ask)) && !ask->redirected && !explain ? STORE_WRITE : STORE_READ;
    a->hash = chain_hash_names(ask->names);
    a->memo = chain_memo_of(s, a->hash);
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
    s->load.want_expiry = true;
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
    if (status == STATUS_OK && s->load.expiry_waits)
        status = store_expired_in_ledger(s, a->now_us, &s->load.expiry_in_chain, err);
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
    enum status status;

    memset(load, 0, sizeof(*load));
    load->ledger = &s->ledger;
    load->chain_id = a->place.id;
    load->at_us = load->now_us = a->now_us;
    load->admission_key = a->once && !a->ask->redirected ? a->key : NULL;
    load->want_expiry = true;
    load->will_hold = a->hold_due;
    if (named != NULL && !public_id_parse("hld_", named, &load->hold_id, &load->hold_nonce))
        load->hold_id = 0;
    s->ledger.rate_count = 0;
    if (!a->ask->redirected && !collect_rates(&s->ledger, a->ask, &a->place))
        return error_set(err, STATUS_INTERNAL, "store: the name of a rate is too long");
    status = s->ops->load(s->backend, load, err);
    if (status == STATUS_OK)
        store_note_expiry(s, a->now_us);
    return status;
}

static enum status
admit_resolve_and_load(struct store *s, struct admit *a, struct error *err)
{
    struct chain_build build;
    enum status status = admit_resolve(s, a, &build, err);

    if (status != STATUS_OK)
        return status;
    if (a->place.id == 0)
        return a->explain ? load_unborn(s, a, &build, err) : STATUS_OK;
    return admit_load(s, a, err);
}

/* The rows of the chain: by its number when this process has met the names before, else, and when a
 * parent was changed since, by the names. What turns out not to be current begins again from the
 * start: a transaction that locked the accounts of one chain must not lock those of another. */
static enum status
admit_fetch(struct store *s, struct admit *a, enum attempt *attempt, struct error *err)
{
    enum status status;

    memset(&a->place, 0, sizeof(a->place));
    if (a->memo->place.id != 0 && a->memo->hash == a->hash) {
        a->place = a->memo->place;
        status = admit_load(s, a, err);
    } else
        status = admit_resolve_and_load(s, a, err);
    if (status != STATUS_OK || a->place.id == 0 ||
        (s->ledger.account_count > 0 && chain_is_current(&s->ledger, a->ask->names)))
        return status;
    a->memo->place.id = 0;
    *attempt = ATTEMPT_AGAIN;
    if (++a->chains > STORE_TRIES)
        return error_set(err, STATUS_BUSY,
                         "store: the parents of an account keep changing; try again");
    return STATUS_OK;
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
        .free = a->ask->route != NULL && a->ask->route->free,
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
        out->hold.nonce = store_new_nonce(s);
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

/* Whether expired holds are to be journalled first: once, so that the numbers are right, and then
 * for as long as their room is what is missing. */
static bool
must_expire(const struct store *s, const struct admit *a, const struct verdict *decided)
{
    if (decided == NULL)
        return s->load.expiry_in_chain && !a->room.looked;
    return s->load.expiry_waits && !a->room.spent && store_lacks_room(decided);
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
    if (lines_any_unborn(ledger) || ledger->event_count > 0)
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
        status = lines_write(s, &s->ledger, out->hold_placed ? out->hold.id : 0, a->now_us, err);
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
    status = admit_fetch(s, a, attempt, err);
    if (status == STATUS_OK && a->place.id == 0 && !a->explain)
        *attempt = ATTEMPT_WRITE;
    else if (status == STATUS_OK && *attempt == ATTEMPT_DONE && must_expire(s, a, NULL))
        *attempt = ATTEMPT_EXPIRE;
    if (status != STATUS_OK || *attempt != ATTEMPT_DONE)
        return store_give_up(s, status);
    status = lines_prepare(s, &s->ledger, a->ask->plan, a->now_us, a->now_us, err);
    if (status == STATUS_OK)
        status = admit_decide(s, a, out, err);
    if (status == STATUS_OK && out->allow)
        note_plan(&s->ledger, a->ask->plan);
    if (status == STATUS_OK && must_expire(s, a, out))
        *attempt = ATTEMPT_EXPIRE;
    else if (status == STATUS_OK && must_write(s, a, out))
        *attempt = ATTEMPT_WRITE;
    if (status != STATUS_OK || *attempt != ATTEMPT_DONE)
        return store_give_up(s, status);
    status = admit_finish(s, a, out, err);
    if (status != STATUS_OK)
        return store_give_up(s, status);
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
        if (status == STATUS_OK && attempt == ATTEMPT_EXPIRE)
            status = store_make_room(s, &a->room, a->now_us, err);
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
    } while (store_once_more(s, status, a.once, &tries)); /* `once`: the hold is found again */
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
        status = admit_until_done(s, &a, out, err);
    } while (store_once_more(s, status, true, &tries));
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
    return status == STATUS_OK ? s->ops->commit(s->backend, false, err) : store_give_up(s, status);
}

enum status
store_verification_number(struct store *s, int64_t *out, struct error *err)
{
    *out = 0;
    return read_number(s, out, err);
}

enum status
store_names_last_seen(struct store *s, struct chain_names *names, struct error *err)
{
    enum status status = s->ops->begin(s->backend, STORE_READ, err);

    if (status != STATUS_OK)
        return status;
    status = chain_complete_names(s, names, err);
    return status == STATUS_OK ? s->ops->commit(s->backend, false, err) : store_give_up(s, status);
}
