/* SPDX-License-Identifier: MIT */
/*
 * Where money is kept. Every function here is one transaction: it loads the rows an event needs,
 * lets ledger.h decide, and writes the changed rows back. Nothing above this header knows which
 * database is behind it; the split between the shared part and a backend is
 * store_backend.h. Source: design document, sections 4 and 5.
 *
 * Errors of every function: STATUS_BUSY (a bounded wait for a lock ended), STATUS_UNAVAILABLE (the
 * store is not there, not answering, of an unknown schema, or marked as failed), STATUS_NO_MEMORY,
 * STATUS_OVERFLOW, STATUS_CORRUPT; each message says what to do. After an error nothing was
 * recorded, or (STATUS_UNAVAILABLE) it is unknown and the same idempotency key settles it.
 */
#ifndef SPENDGATE_STORE_H
#define SPENDGATE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/crypto.h"
#include "common/error.h"
#include "common/finding.h"
#include "common/ledger.h"
#include "common/policy.h"
#include "common/pricing.h"
#include "common/usage.h"

#define PUBLIC_ID_SIZE 32 /* "hld_" or "chg_" and 24 hex digits, with the NUL */
#define REPLY_SIZE 32768  /* longest stored reply with its NUL */
#define IDEMPOTENCY_KEY_SIZE 256
#define TEXT_FIELD_SIZE 256 /* model, tags, note and the like */
#define METADATA_SIZE 4097
#define HOLD_TEXT_SIZE 65 /* a hold_id as a client wrote it */

struct store;
struct actor;

struct store_options {
    const char *url;             /* "sqlite:/path" or "postgresql://…" */
    const char *group;           /* files are 0660 and of this group; "" for 0600 */
    const struct policy *policy; /* borrowed until store_close */
    int64_t hold_ttl_us;
    bool charge_on_expiry;
    int64_t idempotency_ttl_us;
    bool create; /* make a missing SQLite file and apply the schema */
    bool lazy;   /* a server that is away is no error of store_open: whatever is asked of the store
                    says so, until it is back */
    int listing_ms; /* how long a listing or report may take, then it is STATUS_BUSY; 0: as long as
                       it needs, and so may what a new budget begins with on an account with a long
                       history, for which others are refused meanwhile: an operator is waiting */
};

enum status store_open(const struct store_options *options, struct store **out,
                       struct error *err) MUST_CHECK;
void store_close(struct store *store); /* NULL is fine */
/* Apply the missing schema steps; `applied` is their number. */
enum status store_migrate(const struct store_options *options, int *applied,
                          struct error *err) MUST_CHECK;
/* Answering, of our schema, and able to acknowledge? For /readyz and doctor. */
enum status store_check(struct store *store, struct error *err) MUST_CHECK;
/* Tell everything an operator should know about the store that `options` name: whether it opens,
 * who may read and write it, what it runs on. Opens and closes it itself; makes nothing. */
void store_examine(const struct store_options *options, const struct finding_sink *sink);
/* After STATUS_UNAVAILABLE: will it find its database again by itself, or does it have to be closed
 * and opened anew (a file, which may be another one by then)? */
bool store_comes_back(const struct store *store);
/* Work put off until the answer is out: the checkpoint, and others' expired holds. Cheap when there
 * is nothing to do; a failure is logged there. Call it after every request. */
void store_after(struct store *store);
/* The store's clock for a request that starts now: the machine's (SQLite) or the database's; falls
 * back to `machine_now_us`. */
int64_t store_now_us(struct store *store, int64_t machine_now_us);

/* ---- ids ------------------------------------------------------------------------------------ */

/* "hld_" / "chg_", twelve hex digits of the row's number, twelve of its random part. */
void public_id_format(const char *prefix, int64_t id, uint64_t nonce, char out[PUBLIC_ID_SIZE]);
/* "prc_17": a version of a price. */
#define PRICE_ID_SIZE 32
void price_id_format(int64_t id, char out[PRICE_ID_SIZE]);
bool public_id_parse(const char *prefix, const char *text, int64_t *id, uint64_t *nonce) MUST_CHECK;

/* ---- admission ------------------------------------------------------------------------------ */

/* The names that one request counts on; "" where there is none. */
struct chain_names {
    char key_id[ACCOUNT_NAME_SIZE - 4]; /* without "key:" */
    char subject[ACCOUNT_NAME_SIZE];
    char organization[ACCOUNT_NAME_SIZE];
    char parent[ACCOUNT_NAME_SIZE]; /* from a claim; beside the stored parent of the subject */
};

struct admission {
    const struct chain_names *names;
    const struct plan *plan;
    const struct route *route; /* NULL: none applies */
    const char *missing_scope; /* NULL: none */
    int64_t verification;      /* from store_verification_number, before Clerk was asked */
    uint8_t credential[SHA256_BYTES];
    const char *unique_id; /* Apache's UNIQUE_ID, or "" */
    /* A redirected call (contract, "Once per client request"): the hold named in its parameters, or
     * NULL. It is then only looked for: nothing is placed or counted. */
    bool redirected;
    const char *redirected_hold_id; /* "" none */
};

/*
 * Decide one request at `now_us`. An allow has been recorded when this returns. A refusal changes
 * no money row. The accounts of the chain are created on first sight, in this transaction. `out` is
 * a denial unless STATUS_OK.
 */
enum status store_admit(struct store *store, const struct admission *admission, int64_t now_us,
                        struct verdict *out, struct error *err) MUST_CHECK;
/* The same decision on the rows as they are, nothing of it recorded (holds whose time is over are
 * journalled first, as by any look); `ledger` shows every number behind it. */
enum status store_explain(struct store *store, const struct admission *admission, int64_t now_us,
                          struct ledger *ledger, struct verdict *out, struct error *err) MUST_CHECK;
/* The number to note on a verification that starts now; see account.verify_after. */
enum status store_verification_number(struct store *store, int64_t *out,
                                      struct error *err) MUST_CHECK;
/* The subject, the organization, and the parent from a claim, that this key (or, with "" for it,
 * this subject) was last seen with, so that `explain` can ask for the chain that a request would
 * count on; "" where there is none. Only what is "" in `names` is filled in. */
enum status store_names_last_seen(struct store *store, struct chain_names *names,
                                  struct error *err) MUST_CHECK;

/* ---- spending ------------------------------------------------------------------------------- */

enum charge_kind { CHARGE_SPEND = 0, CHARGE_REFUND = 1 };

struct charge {
    int64_t id;
    uint64_t nonce;
    enum charge_kind kind;
    int64_t amount_nanos;            /* >= 0; a refund is taken away from the balance */
    int64_t at_us;                   /* the instant whose periods it counts in */
    int64_t created_us;              /* when it was posted */
    int64_t occurred_us;             /* as told by the client; 0 none */
    int64_t refund_of;               /* charge id; 0 none */
    uint64_t refund_of_nonce;        /* its random part, so that it can be named outside */
    char account[ACCOUNT_NAME_SIZE]; /* who pays */
    char key_id[ACCOUNT_NAME_SIZE];  /* "" none */
    char hold_id[HOLD_TEXT_SIZE];    /* "" none */
    char model[TEXT_FIELD_SIZE], route[ROUTE_PREFIX_SIZE], tags[TEXT_FIELD_SIZE];
    char token[TEXT_FIELD_SIZE]; /* the name of the tracker token, or who at the command line */
    char note[TEXT_FIELD_SIZE];
    char metadata[METADATA_SIZE]; /* JSON object, "" none */
    char usage[USAGE_TEXT_SIZE];  /* what usage_write wrote, "" none */
    int64_t price_id;             /* the version that priced it; 0 none */
};

enum outcome {
    OUTCOME_NONE = 0,
    OUTCOME_DONE,
    OUTCOME_REPLAYED,   /* `reply` holds the first answer's bytes */
    OUTCOME_KEY_REUSED, /* the idempotency key was used for another request */
    OUTCOME_UNKNOWN_ACCOUNT,
    OUTCOME_UNKNOWN_HOLD,
    OUTCOME_UNKNOWN_CHARGE,
    OUTCOME_UNKNOWN_BUDGET, /* no such line, or several and none was named */
    OUTCOME_HOLD_SETTLED,   /* with another amount, or by the operation asked for no longer possible
                             */
    OUTCOME_HOLD_VOIDED,
    OUTCOME_REFUND_EXCEEDS,
    OUTCOME_NO_PLAN, /* the plan that would judge it is not in the settings, nor a default one */
    OUTCOME_DENIED,  /* `verdict` says why */
};

/* What a change did. `ledger` is the store's, valid until its next call. */
struct result {
    enum outcome outcome;
    struct charge charge;  /* spend, refund */
    struct hold hold;      /* hold operations, and a spend that named one */
    const char *hold_word; /* spend: "settled", "expired", "unknown" or NULL. Static storage */
    struct charge_effect effect;
    struct verdict verdict;
    const struct ledger *ledger; /* the rows after the change, for "budgets" */
};

/* A client's key. With `key` NULL there is none. `fingerprint` is the SHA-256 of the parsed
 * members. */
struct idempotency {
    const char *scope; /* name of the tracker token */
    const char *key;   /* 1..255 visible ASCII bytes */
    uint8_t fingerprint[SHA256_BYTES];
};

/* Writes the 200 answer of a change into `out`, inside the transaction, so that it can be stored
 * with it. */
struct reply_writer {
    void (*write)(void *context, const struct result *result, struct buf *out);
    void *context;
};

struct spend {
    const char *hold_id; /* as the client wrote it, or NULL */
    const char *subject; /* or NULL */
    const char *key_id;  /* or NULL */
    int64_t cost_nanos;
    int64_t occurred_us;
    /* Without a hold: the earlier instant whose periods it counts in, for what was spent elsewhere
     * before; 0: now. */
    int64_t at_us;
    const char *model, *route, *tags, *metadata; /* NULL none */
    const char *token;
    const char *usage; /* what the cost was computed from, as usage_write has it; NULL none */
    int64_t price_id;  /* by which version of a price; 0 none */
};

/*
 * Record one spend, durably: when this returns STATUS_OK with OUTCOME_DONE or OUTCOME_REPLAYED the
 * money survives a crash of the machine (I3). `reply` receives the bytes to answer with on DONE and
 * REPLAYED. A repeat of a settled hold with the same amount is REPLAYED. An unknown hold with a
 * subject is recorded once per hold_id, and makes the account if the crash that lost the hold lost
 * it too.
 */
enum status store_spend(struct store *store, const struct spend *spend,
                        const struct idempotency *idempotency, const struct reply_writer *writer,
                        int64_t now_us, struct result *out, struct buf *reply,
                        struct error *err) MUST_CHECK;
/* Between these two, store_spend calls are one transaction with one durable commit (batch): with
 * `keep` all that they recorded is kept, else nothing is. An error of one of them (no refusal) must
 * end the batch without `keep`; an error of `end` means that none may be acknowledged. Other
 * processes' writes wait meanwhile. */
enum status store_batch_begin(struct store *store, struct error *err) MUST_CHECK;
enum status store_batch_end(struct store *store, bool keep, struct error *err) MUST_CHECK;

struct hold_request {
    const char *subject;
    const char *key_id; /* or NULL */
    const char *route;  /* or NULL */
    int64_t amount_nanos;
    int64_t ttl_us; /* 0: the setting */
};
/* Place a hold outside a request. The account must exist; judged by the plan last seen. */
enum status store_hold_place(struct store *store, const struct hold_request *request,
                             const struct idempotency *idempotency,
                             const struct reply_writer *writer, int64_t now_us, struct result *out,
                             struct buf *reply, struct error *err) MUST_CHECK;
enum status store_hold_extend(struct store *store, const char *hold_id, int64_t add_nanos,
                              const struct idempotency *idempotency,
                              const struct reply_writer *writer, int64_t now_us, struct result *out,
                              struct buf *reply, struct error *err) MUST_CHECK;
enum status store_hold_void(struct store *store, const char *hold_id,
                            const struct idempotency *idempotency,
                            const struct reply_writer *writer, int64_t now_us, struct result *out,
                            struct buf *reply, struct error *err) MUST_CHECK;
/* The same by an operator; who and why go into the event journal, in the same transaction. */
enum status store_hold_void_as(struct store *store, const char *hold_id, const struct actor *actor,
                               int64_t now_us, struct result *out, struct error *err) MUST_CHECK;
/* `amount_nanos` -1: all that is left of the charge. */
enum status store_refund(struct store *store, const char *charge_id, int64_t amount_nanos,
                         const char *token, const char *note, const struct idempotency *idempotency,
                         const struct reply_writer *writer, int64_t now_us, struct result *out,
                         struct buf *reply, struct error *err) MUST_CHECK;

/*
 * Note that a message (a webhook's) has come. `*seen` tells that it had come before, and nothing
 * changes then. Kept as long as idempotency keys are. Inside a batch it is kept with the changes
 * that the message causes, or not at all. `scope` shares its names with tracker tokens.
 */
enum status store_message_note(struct store *store, const char *scope, const char *message_id,
                               const uint8_t fingerprint[SHA256_BYTES], int64_t now_us, bool *seen,
                               struct error *err) MUST_CHECK;

/* ---- operators' changes; all durable, all written to the event journal with who and why ------ */

struct actor {
    const char *who;  /* token name, or the user at the command line */
    const char *note; /* or NULL */
};

struct credit_request {
    const char *account;
    int64_t amount_nanos;
    enum period_kind period; /* 0: the account's only budget */
    int64_t expires_us;      /* 0: with the period (`none`: never) */
    bool boost;              /* raises every period until `expires_us`, not only the current one */
};
enum status store_credit(struct store *store, const struct credit_request *request,
                         const struct actor *actor, const struct idempotency *idempotency,
                         const struct reply_writer *writer, int64_t now_us, struct result *out,
                         struct buf *reply, struct error *err) MUST_CHECK;

enum account_change {
    ACCOUNT_FREEZE,
    ACCOUNT_UNFREEZE,
    ACCOUNT_REVOKE,
    ACCOUNT_UNREVOKE,
    ACCOUNT_REVERIFY,
    ACCOUNT_RENEW,  /* `until_us`; 0: never expires */
    ACCOUNT_PARENT, /* `text`: the parent's name, "" none; refused when it closes a circle or passes
                       4 */
    ACCOUNT_PLAN,   /* `text`: the plan noted as last seen */
    ACCOUNT_MAKE,   /* the same, and a missing account is made */
};
/* FREEZE, REVOKE and MAKE create a missing account; the others answer OUTCOME_UNKNOWN_ACCOUNT.
 * `out->ledger` shows the account afterwards. */
enum status store_account_change(struct store *store, const char *account,
                                 enum account_change change, int64_t until_us, const char *text,
                                 const struct actor *actor, int64_t now_us, struct result *out,
                                 struct error *err) MUST_CHECK;
/* Set a limit by hand on every line of that kind of period; with none, a UTC line is made. */
enum status store_budget_set(struct store *store, const char *account, enum period_kind period,
                             int64_t limit_nanos, const enum enforce *enforce,
                             const struct actor *actor, int64_t now_us, struct result *out,
                             struct error *err) MUST_CHECK;
/* Back to the plan. OUTCOME_UNKNOWN_BUDGET when there is no line of that kind. */
enum status store_budget_clear(struct store *store, const char *account, enum period_kind period,
                               const struct actor *actor, int64_t now_us, struct result *out,
                               struct error *err) MUST_CHECK;

/* ---- reading -------------------------------------------------------------------------------- */

/* One account with its lines in the periods of now, judged by the plan last seen; `parent` its
 * parent's name. STATUS_NOT_FOUND when there is none. The ledger holds this one account only. */
enum status store_account_load(struct store *store, const char *account, int64_t now_us,
                               struct ledger *out, char parent[ACCOUNT_NAME_SIZE],
                               struct error *err) MUST_CHECK;
/* Up to `limit` names after `after` ("" from the start), in byte order. `visit` returns false to
 * stop. */
enum status store_account_names(struct store *store, const char *after, size_t limit,
                                bool (*visit)(void *context, const char *name), void *context,
                                struct error *err) MUST_CHECK;

/*
 * What Clerk's listings say of an account (`spendgate clerk sync`); no decision reads it. Of a key:
 * `title`, `expires_us` and `gone`. Of a subject: when its keys were listed last. Of `all`: when
 * the sync that is under way began.
 */
struct clerk_note {
    char title[TEXT_FIELD_SIZE]; /* the key's name at Clerk; "" none */
    int64_t expires_us;          /* 0: never */
    bool gone;                   /* listed no more */
    int64_t listed_us;           /* 0: never */
};
/* Replaces the account's note, if there is such an account. */
enum status store_clerk_note_put(struct store *store, const char *account,
                                 const struct clerk_note *note, bool *found,
                                 struct error *err) MUST_CHECK;
enum status store_clerk_note_get(struct store *store, const char *account, bool *found,
                                 struct clerk_note *out, struct error *err) MUST_CHECK;
/* Up to `limit` accounts behind `after`, in byte order, that are neither a key nor a group nor
 * `all`, and were not listed at `before_us` or later. */
enum status store_clerk_subjects(struct store *store, int64_t before_us, const char *after,
                                 size_t limit, bool (*visit)(void *context, const char *name),
                                 void *context, struct error *err) MUST_CHECK;
/* The accounts of API keys (key:ak_...) that were seen with this subject, in byte order. */
enum status store_clerk_keys(struct store *store, const char *subject,
                             bool (*visit)(void *context, const char *name), void *context,
                             struct error *err) MUST_CHECK;

struct charge_filter {
    const char *account, *key_id, *route,
        *model;             /* NULL: any. An account's charges are all that count on it */
    int64_t from_us, to_us; /* created, [from, to); 0 and INT64_MAX: open */
    int64_t before_id;      /* only ids below it (the cursor); INT64_MAX from the newest */
    size_t limit;           /* at most this many, >= 1 */
};
/* Newest first. */
enum status store_charges(struct store *store, const struct charge_filter *filter,
                          bool (*visit)(void *context, const struct charge *charge), void *context,
                          struct error *err) MUST_CHECK;

enum report_by { REPORT_ACCOUNT, REPORT_KEY, REPORT_ROUTE, REPORT_MODEL, REPORT_DAY };
struct report_row {
    char name[ROUTE_PREFIX_SIZE]; /* "" for charges without one; a day is YYYY-MM-DD, UTC */
    int64_t spent_nanos; /* charges - refunds, by when they were posted; negative when refunds
                            prevail */
    int64_t charge_count;
};
/* Largest sum first (days: in order). */
enum status store_report(struct store *store, enum report_by by, int64_t from_us, int64_t to_us,
                         bool (*visit)(void *context, const struct report_row *row), void *context,
                         struct error *err) MUST_CHECK;

/* Holds in `state` (HOLD_HELD for the live ones), newest first, of `account` or of all (NULL). */
enum status store_holds(struct store *store, const char *account, enum hold_state state,
                        size_t limit,
                        bool (*visit)(void *context, const struct hold *hold, const char *account),
                        void *context, struct error *err) MUST_CHECK;

/* ---- prices --------------------------------------------------------------------------------- */

/* The price of a model from an instant on, until a newer version. Never edited. */
struct price_version {
    int64_t id;
    char provider[PROVIDER_NAME_SIZE]; /* "" none was named */
    char model[MODEL_NAME_SIZE];
    int64_t from_us;
    char source[TEXT_FIELD_SIZE]; /* the file it came from */
    struct price price;
};

/*
 * The version that prices a usage which is posted at `now_us`: the one in force when its hold was
 * placed (an unknown hold: when it was charged; else, and with `hold_id` NULL: now), so that a
 * repeat of the post has the same cost.
 * A model that had no price then has the first one it got. `provider` NULL: any. `*count` is how
 * many providers have the model: 0, 1, or 2 for more; `out` is set when it is not 0.
 */
enum status store_price_find(struct store *store, const char *model, const char *provider,
                             const char *hold_id, int64_t now_us, struct price_version *out,
                             size_t *count, struct error *err) MUST_CHECK;

enum price_change {
    PRICE_CHANGE_NONE, /* the version in force is the same */
    PRICE_CHANGE_NEW,  /* the model had none before */
    PRICE_CHANGE_VERSION,
    PRICE_CHANGE_CONFLICT, /* another one begins at that very instant */
};
/*
 * Add what is new of `prices`, durably and all at once; `changes[i]` tells what became of
 * `prices[i]`. Where one conflicts, and without `keep`, nothing is added. Journalled with who, why
 * and `what`.
 */
enum status store_price_import(struct store *store, const struct price_version *prices,
                               size_t count, bool keep, const struct actor *actor, const char *what,
                               int64_t now_us, enum price_change *changes,
                               struct error *err) MUST_CHECK;

struct price_filter {
    const char *provider, *model; /* NULL: any */
    bool history;                 /* every version; else those in force at `at_us` */
    int64_t at_us;
};
/* By model, provider (byte order), then time. `visit` returns false to stop. */
enum status store_prices(struct store *store, const struct price_filter *filter,
                         bool (*visit)(void *context, const struct price_version *version),
                         void *context, struct error *err) MUST_CHECK;

/* ---- looking after it ----------------------------------------------------------------------- */

struct verify_summary {
    int64_t accounts, periods, holds, charges, credits;
    int64_t priced; /* charges that were computed from a usage, and are again */
    int64_t differences;
};
/* Recompute every balance from its journal and check what the data can show of I1 to I8. `report`
 * is called once per difference with the invariant ("I7") and one line of text. Reads one
 * consistent state. */
enum status store_verify(struct store *store, int64_t now_us,
                         void (*report)(void *context, const char *invariant, const char *text),
                         void *context, struct verify_summary *out, struct error *err) MUST_CHECK;

/* Remove what is past keeping: idempotency rows and told events older than the promised time,
 * admissions, and with `older_than_us` > 0 settled holds and period rows that ended before it.
 * Never a charge whose period is kept. Before that the holds whose time is over expire. In short
 * pieces. */
enum status store_prune(struct store *store, int64_t older_than_us, int64_t now_us,
                        int64_t *removed, struct error *err) MUST_CHECK;

#endif
