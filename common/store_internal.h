/* SPDX-License-Identifier: MIT */
/*
 * Private to the part that all stores share (store*.c without a backend's name): the order of a
 * transaction's steps, chains, missing periods, plans, idempotency and stored replies. Which rows
 * change is ledger.c's to say; how rows are kept is a backend's (store_backend.h).
 *
 * Only facts that never change are remembered between calls: the number of a chain of names, the
 * bounds of a period. Nothing about money is.
 */
#ifndef SPENDGATE_STORE_INTERNAL_H
#define SPENDGATE_STORE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/store.h"
#include "common/store_backend.h"

#define CHAIN_MEMO_SLOTS 8192
#define PERIOD_MEMO_SLOTS 64
#define EXPIRE_PIECE 64  /* expired holds that one transaction journals */
#define EXPIRE_CHAINS 16 /* of so many chains */
#define EXPIRE_AFTER 4   /* such transactions after one answer */
#define NONCE_BITS 48
#define NONCE_SUPPLY 40
#define PLAN_NOTE_US \
    (60 * US_PER_SECOND) /* how often one process notes a plan that keeps changing */
#define EVENT_TEXT_SIZE 256
#define STORE_TRIES 6 /* of one transaction that other sessions keep getting in the way of */
#define FILL_ALWAYS_THERE 3
#define HOLD_SCOPE "" /* of the replies of settled holds: no token has this name */

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
    struct hold expired[EXPIRE_PIECE - 1]; /* beside the one that stands for its chain */
    bool expiry_waits;                     /* somewhere, when this process last looked */
    int64_t expiry_now_us;                 /* the now of that look */
    uint8_t nonces[NONCE_SUPPLY][NONCE_BITS / 8];
    size_t nonces_left;
    unsigned filled; /* which rows of FILL_ALWAYS_THERE a fill has brought, as bits */
};

/* ---- store.c -------------------------------------------------------------------------------- */

enum status store_give_up(struct store *s, enum status status) MUST_CHECK;
/* Whether a transaction that ended with `status` is to be done once more: nothing of it was
 * recorded, or that is unknown and `repeatable` says that doing it twice counts once. */
bool store_once_more(const struct store *s, enum status status, bool repeatable, int *tries);
/* From a supply, so that not every hold asks the kernel. */
uint64_t store_new_nonce(struct store *s);

/* ---- store_lines.c -------------------------------------------------------------------------- */

/*
 * A period without a row. A line that was there before the period began would have got a row with
 * the first hold or charge, or with its birth, so there was none; a younger line starts at what the
 * journal holds. What counts is only which came first by the clock's readings that were stored,
 * so a clock may go back as far as it likes.
 */
enum status line_fill_missing_period(struct store *s, struct ledger *ledger,
                                     struct budget_line *line, int64_t at_us, int64_t now_us,
                                     struct error *err) MUST_CHECK;
/*
 * Write a line, and with a new one the period it has and every period from its birth on that the
 * journal has rows of: a clock that was ahead placed them, and from now on a period after the
 * birth without a row is taken for an empty one.
 */
enum status line_write(struct store *s, int64_t account_id, struct budget_line *line,
                       struct error *err) MUST_CHECK;
/* Give the loaded lines their rules, periods, credits and carry. */
enum status lines_prepare(struct store *s, struct ledger *ledger, const struct plan *plan,
                          int64_t at_us, int64_t now_us, struct error *err) MUST_CHECK;
bool lines_any_unborn(const struct ledger *ledger);
/* A budget of the plan that never counted anything is not one of the account's lines. */
void lines_drop_unborn(struct ledger *ledger);
/* Keep the lines of one account: its index in the ledger. */
void lines_drop_others(struct ledger *ledger, int account);
/* Everything a change marked in the ledger. Lines first: an event names its line's number. */
enum status lines_write(struct store *s, struct ledger *ledger, int64_t hold_number, int64_t now_us,
                        struct error *err) MUST_CHECK;

/* Only its events, once no line is new. */
enum status lines_write_events(struct store *s, const struct ledger *ledger, int64_t hold_number,
                               int64_t now_us, struct error *err) MUST_CHECK;

/* ---- store_chain.c -------------------------------------------------------------------------- */

/* A chain while it is put together. Accounts that are not in the store have id 0. */
struct chain_build {
    size_t count;
    struct account accounts[LEDGER_ACCOUNTS_MAX];
    int roles[LEDGER_ACCOUNTS_MAX];
    size_t parents;
};

uint64_t chain_hash_names(const struct chain_names *names);
struct chain_memo *chain_memo_of(struct store *s, uint64_t hash);
enum status chain_new_account(struct store *s, const char *name, int64_t now_us,
                              struct account *out, struct error *err) MUST_CHECK;
/* The accounts of a chain in its order: key, subject, organization, their stored parents (the
 * subject's first, then the organization's, then the key's), the parent from a claim and its
 * parents, all. */
enum status chain_collect(struct store *s, const struct chain_names *names, bool create,
                          int64_t now_us, struct chain_build *build, struct error *err) MUST_CHECK;
/* Find or make the chain of `build`; place->id 0 when an account or the chain is missing. */
enum status chain_place(struct store *s, const struct chain_build *build, bool create,
                        struct chain_place *place, struct error *err) MUST_CHECK;
/* Whether the chain that was loaded is the one of these names, and still is: parents can be
 * changed. */
bool chain_is_current(const struct ledger *ledger, const struct chain_names *names);
/* What a caller without a credential cannot know of the names. */
enum status chain_complete_names(struct store *s, struct chain_names *names,
                                 struct error *err) MUST_CHECK;
/* The chain of a post that names who: subject, key, or both; the subject where only the key is
 * named, the organization, and the parent from a claim are those last seen with that key. */
enum status chain_of_post(struct store *s, const char *subject, const char *key_id, bool create,
                          int64_t now_us, struct chain_place *place, bool *known,
                          struct error *err) MUST_CHECK;
/* Load the chain of a post without a known hold, in a transaction that is open. */
enum status chain_load(struct store *s, const struct chain_place *place, int64_t at_us,
                       int64_t now_us, struct error *err) MUST_CHECK;
/* The plan of that name ("": NULL). When the settings have it no more: the one last seen with the
 * payer, else the default one, else NULL, which is not to be taken for "no limits". */
const struct plan *chain_plan_named(const struct store *s, const struct ledger *ledger,
                                    const char *name);
const struct plan *chain_plan_last_seen(const struct store *s, const struct ledger *ledger);

/* ---- store_expire.c ------------------------------------------------------------------------- */

/* A charge of a hold, in the periods of its placement. */
void store_charge_of_hold(struct store *s, struct charge_row *row, const struct hold *hold,
                          enum charge_kind kind, int64_t amount_nanos, int64_t now_us);
/*
 * Holds whose time is over keep their room until they are journalled, which anybody may do, in
 * transactions of their own of at most EXPIRE_PIECE holds. A request does it for its
 * own accounts: once in front of it, so that its numbers are right, unless somebody is at it; and
 * then only as long as it would be refused for want of room. Everybody else's are done after
 * answers, by whoever notices.
 */
/* How far the making of room for one request has come. Zero before its first attempt. */
struct room {
    bool looked;     /* once, before anything is decided */
    bool spent;      /* nothing more is to be had */
    bool again;      /* some was made: nothing is decided yet, begin again */
    int64_t from_us; /* nothing of these accounts waits that was over before */
};
/* One transaction's worth of what frees room for the chain that was loaded last: first the hold
 * that was loaded with it. The first time not while somebody else is journalling. */
enum status store_make_room(struct store *s, struct room *room, int64_t now_us,
                            struct error *err) MUST_CHECK;
/* Whether the hold that was loaded is past its time, and nobody has noted that yet. */
bool store_hold_is_late(const struct store *s, int64_t now_us);
/* Whether a refusal may be for want of room that an expired hold still keeps. */
bool store_lacks_room(const struct verdict *verdict);
/* All there are of an account; of the whole store with an id of 0. */
enum status store_expire_all(struct store *s, int64_t account_id, int64_t now_us,
                             struct error *err) MUST_CHECK;
/* In an open transaction: does one count on the loaded ledger's accounts? */
enum status store_expired_in_ledger(struct store *s, int64_t now_us, bool *found,
                                    struct error *err) MUST_CHECK;
/* Remember what the last load noticed, for after the answer. */
void store_note_expiry(struct store *s, int64_t now_us);
/* After an answer. */
void store_expire_elsewhere(struct store *s);

/* ---- store_change.c ------------------------------------------------------------------------- */

/* A change that a client asked for: what all of them share. */
struct change {
    const struct idempotency *idempotency; /* or NULL */
    const struct reply_writer *writer;     /* or NULL */
    int64_t now_us;
    struct result *out;
    struct buf *reply;         /* or NULL */
    const struct actor *actor; /* an operator, for the journal; NULL: a client */
    struct room room;
};

/* Keeps how far `room` has come: zero `*c` before the first attempt. */
void change_init(struct change *c, struct store *s, const struct idempotency *idempotency,
                 const struct reply_writer *writer, int64_t now_us, struct result *out,
                 struct buf *reply);
/* Does a second run of this change count once? */
bool change_has_key(const struct idempotency *idempotency);
/* What `load` is to bring for this change, beside what the caller adds. */
void change_load(struct store *s, const struct change *c);
/* The same bytes again. What they acknowledge may have been committed by a process that died before
 * its sync, so sync first. */
enum status change_replay(struct store *s, const struct change *c, struct error *err) MUST_CHECK;
/* Nothing is to be recorded; `outcome` says why. */
enum status change_refuse(struct store *s, const struct change *c, enum outcome outcome) MUST_CHECK;
/* Answer a key that was used before. `*done` when there is nothing more to do. */
enum status change_known_key(struct store *s, const struct change *c, bool *done,
                             struct error *err) MUST_CHECK;
/* The answer's bytes, kept with the change under the client's key and, for a spend that settles a
 * hold, under the hold's. Then the end of the transaction. */
enum status change_commit(struct store *s, const struct change *c, const char *hold_text,
                          bool durable, struct error *err) MUST_CHECK;
/* After an error nothing of it may look like an answer. */
enum status change_end(struct store *s, const struct change *c, enum status status) MUST_CHECK;
/* Start a change: a write transaction with the rows asked for by `load`, expired holds of its chain
 * journalled before it. */
enum status change_begin(struct store *s, struct change *c, struct error *err) MUST_CHECK;
/* Whether a chain that was loaded later has expired holds to journal before it is decided on. */
bool change_looks(struct store *s, const struct change *c);
/* Give the transaction up and free some of the room that expired holds keep, to begin again. */
enum status change_make_room(struct store *s, struct change *c, struct error *err) MUST_CHECK;
/* Whether to begin again: for that, or as store_once_more says. */
bool change_once_more(const struct store *s, const struct change *c, enum status status,
                      bool repeatable, int *tries);
bool change_copy_text(char *out, size_t size, const char *text);

/* ---- store_account.c ------------------------------------------------------------------------ */

/* An operator's change of one account: which, by whom, and what to tell. */
struct edit {
    const char *name;
    const struct actor *actor;
    int64_t now_us;
    enum event_kind kind;
    char text[EVENT_TEXT_SIZE]; /* what was done, for the journal */
    struct buf what;
};

void edit_init(struct edit *e, const char *name, const struct actor *actor, int64_t now_us,
               struct result *out, struct store *s);
const char *edit_text(const char *text);
/* Write what was edited, with its journal row, durably. `drop`: leave the ledger as an operator
 * sees it. */
enum status edit_journal(struct store *s, struct edit *e, int64_t budget_id,
                         struct error *err) MUST_CHECK;
/* Load the account for an edit, in a write transaction that is open; missing ones are made when
 * `create`. */
enum status edit_load(struct store *s, const struct edit *e, bool create, bool *found,
                      struct error *err) MUST_CHECK;

#endif
