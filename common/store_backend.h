/* SPDX-License-Identifier: MIT */
/*
 * What a database has to do for the part that all stores share (store_internal.h): rows in, rows
 * out. The shared part decides when a transaction begins, asks ledger.h what changes, and hands the
 * changed rows back; a backend knows no money rule. Everything else uses store.h.
 *
 * Shape. Reads are coarse: one `load` brings everything an admission or a settlement needs. Writes
 * are fine-grained and need no answer, so a backend over a network may queue them and send them
 * together with `commit`; a row's id is handed out by the write (from a block fetched earlier,
 * where the database is remote) and is set in the caller's struct when the call returns. `begin`
 * may be sent with the first read. So an admission is two round trips: begin + load, writes +
 * commit.
 *
 * Functions take the backend first and return an enum status with a message. After an error inside
 * a transaction the shared part calls `rollback` and nothing else. Source: design document,
 * sections 4 and 5.
 */
#ifndef SPENDGATE_STORE_BACKEND_H
#define SPENDGATE_STORE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/ledger.h"
#include "common/store.h"
#include "common/store_rows.h"

#define CALLER_BYTES 16
#define ADMISSION_KEY_BYTES 16
#define CHAIN_SPEC_SIZE (LEDGER_ACCOUNTS_MAX * 24)

enum store_mode {
    STORE_INSPECT, /* one consistent state over all calls, also of a store that is marked as
                      failed: for verify */
    STORE_READ,    /* what one call brings is one consistent state; nothing is locked */
    STORE_WRITE,   /* what `load` brings stays as it is until commit (SQLite: the writer lock;
                      PostgreSQL: the accounts, locked in id order, then the hold) */
};

/* What became of a transaction that ended with an error, for whoever could do it again. */
enum store_failure {
    STORE_FAILED,      /* trying again is of no use, or was done */
    STORE_TRY_AGAIN,   /* nothing was recorded, and the same may work now: another session was in
                          the way, or the connection was lost before the commit */
    STORE_ANSWER_LOST, /* it is unknown whether it was recorded */
};

/* What an account is in a chain, as bits: an account that appears twice is there once. */
enum chain_role {
    CHAIN_KEY = 1,
    CHAIN_SUBJECT = 2,
    CHAIN_ORGANIZATION = 4,
    CHAIN_PARENT = 8,
    CHAIN_ALL = 16,
    CHAIN_CLAIMED = 32, /* the parent that a claim named, beside CHAIN_PARENT */
};
struct chain_member {
    int64_t account_id;
    int roles;
};

/* A charge with the numbers the outside does not see. */
struct charge_row {
    struct charge charge;
    int64_t chain_id;
    int64_t hold_number; /* hold.id; 0 none or unknown */
};

struct credit_row {
    int64_t budget_id;
    int64_t amount_nanos;
    int64_t from_us, until_us; /* in force in [from, until) */
    int64_t created_us;
    const char *who, *note; /* "" none */
};

struct event_row {
    enum event_kind kind;
    int64_t account_id, budget_id, hold_number; /* 0 none */
    int64_t period_start_us;
    int percent;
    int64_t created_us;
    const char *who;  /* EVENT_ADMIN: who; else "" */
    const char *text; /* what, for a person */
    const char *note; /* why; "" none */
};

/* The row of an idempotency key, if there is one. */
struct idempotency_row {
    bool found;
    uint8_t fingerprint[SHA256_BYTES];
    size_t reply_length;
    char reply[REPLY_SIZE];
};

/*
 * Everything one event needs. Set the first part; `load` sets the rest. Which chain: `chain_id`,
 * else that of the hold, else that of the charge; with none found the ledger stays without
 * accounts. The hold and the charge are looked up by number and random part; another random part is
 * not found.
 */
struct store_load {
    int64_t chain_id;
    int64_t hold_id;
    uint64_t hold_nonce;
    int64_t charge_id;
    uint64_t charge_nonce;
    int64_t at_us;  /* whose periods; 0: the hold's placement, else the charge's at_us */
    int64_t now_us; /* credits are those in force now, or at the period's last instant when it is
                       over */
    const uint8_t *admission_key;                    /* ADMISSION_KEY_BYTES, or NULL */
    const char *idempotency_scope, *idempotency_key; /* or NULL */
    struct idempotency_row *idempotency;             /* where to put it; NULL: not asked */
    bool will_hold, will_charge; /* what will probably be written: fetch its number along */

    /*
     * In: `rates[0..rate_count)` with account_id, name and rate. Out: chain_id, accounts in chain
     * order, key/subject/organization, the lines of all accounts (by account, then by id) with
     * their hand-set values, credit_nanos and the period row that contains at_us (period_stored),
     * and every rate's tat_ns. The rest of a line is zero. STATUS_OVERFLOW with more than
     * LEDGER_LINES_MAX lines.
     */
    struct ledger *ledger;
    bool hold_found;
    struct hold hold; /* charged_nanos included */
    bool charge_found;
    struct charge_row charge;
    int64_t refunded_nanos; /* taken back of that charge so far */
    bool admission_found;   /* and not past its time at now_us */
    int64_t admission_hold; /* hold.id, which is then in `hold`; 0: counted without a hold */
    /* Asked for only when `want_expiry`. `expiry_waits`: the time of some live hold is over.
     * `expiry_in_chain`: of one that counts where the chain counts (struct expiry_scope), and
     * nobody is journalling any. The latter is looked for among the oldest EXPIRY_LOOK of them;
     * there may be one behind these. */
    bool want_expiry, expiry_waits, expiry_in_chain;
    /* In: where to put what else of the hold's chain is to be journalled with it, and how many at
     * most; NULL: not asked. Out: the live holds of that chain, but for `hold`, whose time is over
     * at now_us, of the EXPIRY_LOOK that come after it in this, oldest first. */
    struct hold *expired;
    size_t expired_count;
};

/* Which price; see store_price_find. */
struct price_query {
    const char *model, *provider; /* provider NULL: any */
    int64_t hold_number;          /* 0 none */
    uint64_t hold_nonce;
    const char *hold_text; /* as the client wrote it, for a hold that the store does not know; NULL
                              none */
    int64_t now_us;
};

#define EXPIRY_LOOK 256 /* what a request looks through before it decides */

/* Which expired holds: those whose chain holds one of these accounts; without any, all. A chain
 * counts where it has budget lines or concurrency, so `all` is one of its accounts only when it has
 * a line. */
struct expiry_scope {
    size_t account_count;
    int64_t accounts[LEDGER_ACCOUNTS_MAX]; /* account.id; 0 is nobody's */
    bool unless_busy; /* none while another process asks with this in a STORE_WRITE transaction */
};

/* What `store_verify` reads, each in the order given. */
enum scan_kind {
    SCAN_ACCOUNTS,       /* account, by id */
    SCAN_LINES,          /* line without a period and account_id, by line id */
    SCAN_PERIODS,        /* line: id, period, spent_nanos, held_nanos; by line id, then start */
    SCAN_CHAINS,         /* chain_id, account_id of one member, payer_id; by chain id */
    SCAN_CHARGES,        /* charge without texts, by id */
    SCAN_HOLDS,          /* hold (charged_nanos -1: its charge is not there), by id */
    SCAN_CREDITS,        /* account_id 0; only counted */
    SCAN_PRICED,         /* charge: id, amount, price_id; usage, rates (NULL: the version is not
                            there) */
    SCAN_CONTRADICTIONS, /* invariant and text: what the database finds by itself, such as a row
                            that points at none, credits that are not their budget's sum, refunds
                            above their charge */
};
struct scan_row {
    struct account account;
    struct budget_line line;
    struct charge_row charge;
    struct hold hold;
    int64_t chain_id, account_id, payer_id;
    const char *invariant, *text;
    const char *usage, *rates; /* "" or NULL where there is none */
};

struct store_backend {
    const struct store_ops *ops;
};

struct store_ops {
    const char *scheme; /* "sqlite" */
    bool comes_back;    /* after STATUS_UNAVAILABLE it finds its database again by itself */

    enum status (*open)(const struct store_options *options, struct store_backend **out,
                        struct error *err);
    void (*close)(struct store_backend *backend);
    enum status (*migrate)(const struct store_options *options, int *applied, struct error *err);
    enum status (*check)(struct store_backend *backend, struct error *err);
    void (*examine)(const struct store_options *options, const struct finding_sink *sink);
    void (*after)(struct store_backend *backend);
    int64_t (*now_us)(struct store_backend *backend, int64_t machine_now_us);

    /* ---- transactions ---- */
    enum status (*begin)(struct store_backend *backend, enum store_mode mode, struct error *err);
    /* `durable`: when this returns STATUS_OK the transaction survives a crash of the machine;
     * inside a batch, when batch_end does. */
    enum status (*commit)(struct store_backend *backend, bool durable, struct error *err);
    void (*rollback)(struct store_backend *backend);
    /* Of the last transaction; asked after an error, also after its rollback. */
    enum store_failure (*failure)(const struct store_backend *backend);
    /* Everything this process has seen is durable (before a stored reply is given again). */
    enum status (*settle_disk)(struct store_backend *backend, struct error *err);
    /*
     * A batch is one transaction: batch_begin begins it (STORE_WRITE), and until batch_end each
     * begin, commit and rollback stands for a savepoint, its release and the return to it. So an
     * element that is refused leaves nothing, and the batch goes on. batch_end with `keep` commits
     * what the elements left and makes it durable when one of them asked for that (a durable
     * commit, settle_disk); without `keep`, and after an error of its own, nothing of the batch is
     * kept. An element whose rollback had to give up the whole transaction (SQLite does that by
     * itself when the disk is full) makes every later begin, and batch_end with `keep`, an error.
     */
    enum status (*batch_begin)(struct store_backend *backend, struct error *err);
    enum status (*batch_end)(struct store_backend *backend, bool keep, struct error *err);

    /* ---- reads ---- */
    /* The accounts of those names; id 0 for a missing one. */
    enum status (*accounts_find)(struct store_backend *backend, const char *const *names,
                                 size_t count, struct account *out, struct error *err);
    /* The account of that name for an edit: as it is, and locked, until the end of the transaction;
     * id 0 when there is none. The transaction locks nothing before it. */
    enum status (*account_lock)(struct store_backend *backend, const char *name,
                                struct account *out, struct error *err);
    /* STATUS_NOT_FOUND when there is none. */
    enum status (*account_get)(struct store_backend *backend, int64_t id, struct account *out,
                               struct error *err);
    /* How many generations of accounts have `id` above them: 0 when it is nobody's parent. In a
     * STORE_WRITE transaction nobody else changes a parent until its end. */
    enum status (*generations_below)(struct store_backend *backend, int64_t id, int *out,
                                     struct error *err);
    /* The chain of exactly these members in this order; made when `create`, else `*id` 0. `spec` is
     * their text form, unique per chain. `payer_id` is the account that pays. */
    enum status (*chain_intern)(struct store_backend *backend, const char *spec,
                                const struct chain_member *members, size_t count, int64_t payer_id,
                                bool create, int64_t *id, struct error *err);
    /* The account in the place `role` (CHAIN_SUBJECT, CHAIN_ORGANIZATION, CHAIN_CLAIMED) of the
     * newest chain with a subject that holds this key (or, with "" for it, this subject), for a
     * post that cannot know it; "" when there is none. */
    enum status (*last_seen)(struct store_backend *backend, enum chain_role role,
                             const char *key_id, const char *subject, char out[ACCOUNT_NAME_SIZE],
                             struct error *err);
    enum status (*load)(struct store_backend *backend, struct store_load *load, struct error *err);
    /* Append the lines of ledger->accounts[index], as `load` does. */
    enum status (*load_lines)(struct store_backend *backend, struct ledger *ledger, int index,
                              int64_t at_us, int64_t now_us, struct error *err);
    /* Charges minus refunds with at_us in [start, end) and live holds placed in it, of every chain
     * that holds the account; and the first instant from `end_us` on that has one of either, 0
     * none. */
    enum status (*journal_sum)(struct store_backend *backend, int64_t account_id, int64_t start_us,
                               int64_t end_us, int64_t *spent_nanos, int64_t *held_nanos,
                               int64_t *later_us, struct error *err);
    /* The credits of a line in force at some instant of [from, to). */
    enum status (*credit_sum)(struct store_backend *backend, int64_t budget_id, int64_t from_us,
                              int64_t to_us, int64_t *nanos, struct error *err);
    /* The last `*count` period rows that end at or before `before_us`, ascending; credit_nanos is
     * the sum of credits in force at some instant of the period. */
    enum status (*history)(struct store_backend *backend, int64_t budget_id, int64_t before_us,
                           struct period_history *out, size_t *count, struct error *err);
    /* The amounts of the last `*count` charges (no refunds) of a route, newest first. */
    enum status (*route_amounts)(struct store_backend *backend, const char *route, int64_t *out,
                                 size_t *count, struct error *err);
    /* The oldest live holds of that scope whose time was over at some instant of [from_us, now_us]:
     * id, nonce and expires_us. `*count`: at most so many, then how many there are. Locks nothing.
     */
    enum status (*expired)(struct store_backend *backend, const struct expiry_scope *scope,
                           int64_t from_us, int64_t now_us, struct hold *out, size_t *count,
                           struct error *err);
    /* Lock the accounts of all of their chains, as `load` does those of one. The transaction locks
     * nothing before them, and after them only what is among them. */
    enum status (*lock_chains)(struct store_backend *backend, const struct hold *holds,
                               size_t count, struct error *err);
    /* The charge recorded for a hold that the store did not know. */
    enum status (*unknown_hold)(struct store_backend *backend, const char *hold_text, bool *found,
                                struct charge_row *out, struct error *err);
    enum status (*idempotency_find)(struct store_backend *backend, const char *scope,
                                    const char *key, struct idempotency_row *out,
                                    struct error *err);
    enum status (*verification_number)(struct store_backend *backend, bool next, int64_t *out,
                                       struct error *err);
    /* store_price_find has the rule. In a STORE_WRITE transaction nobody else adds a price until
     * its end. */
    enum status (*price_find)(struct store_backend *backend, const struct price_query *query,
                              struct price_version *out, size_t *count, struct error *err);

    /* ---- writes; an id of 0 is set ---- */
    /* A new account (id 0, `changed`) that another process made meanwhile becomes that one, with
     * `changed` false. */
    enum status (*account_write)(struct store_backend *backend, struct account *account,
                                 struct error *err);
    enum status (*line_write)(struct store_backend *backend, int64_t account_id,
                              struct budget_line *line, struct error *err);
    enum status (*period_write)(struct store_backend *backend, const struct budget_line *line,
                                struct error *err);
    enum status (*hold_write)(struct store_backend *backend, struct hold *hold, struct error *err);
    enum status (*charge_write)(struct store_backend *backend, struct charge_row *charge,
                                struct error *err);
    /* Also adds to what the budget row knows of its credits (has_credits, and for
     * SCAN_CONTRADICTIONS). */
    enum status (*credit_write)(struct store_backend *backend, struct credit_row *credit,
                                struct error *err);
    enum status (*rate_write)(struct store_backend *backend, const struct rate_row *rate,
                              struct error *err);
    enum status (*admission_write)(struct store_backend *backend,
                                   const uint8_t key[ADMISSION_KEY_BYTES], int64_t hold_id,
                                   int64_t expires_us, struct error *err);
    enum status (*idempotency_write)(struct store_backend *backend, const char *scope,
                                     const char *key, const uint8_t fingerprint[SHA256_BYTES],
                                     const char *reply, size_t reply_length, int64_t now_us,
                                     struct error *err);
    enum status (*event_write)(struct store_backend *backend, const struct event_row *event,
                               struct error *err);
    /* A new version; its id is the backend's, and is not set. */
    enum status (*price_write)(struct store_backend *backend, const struct price_version *version,
                               struct error *err);

    /* ---- listings: store.h has the contracts ---- */
    enum status (*account_names)(struct store_backend *backend, const char *after, size_t limit,
                                 bool (*visit)(void *context, const char *name), void *context,
                                 struct error *err);
    /* What Clerk's listings say; the write replaces the row, inside a transaction. */
    enum status (*clerk_note_write)(struct store_backend *backend, int64_t account_id,
                                    const struct clerk_note *note, struct error *err);
    enum status (*clerk_note_read)(struct store_backend *backend, const char *account, bool *found,
                                   struct clerk_note *out, struct error *err);
    enum status (*clerk_subjects)(struct store_backend *backend, int64_t before_us,
                                  const char *after, size_t limit,
                                  bool (*visit)(void *context, const char *name), void *context,
                                  struct error *err);
    enum status (*clerk_keys)(struct store_backend *backend, const char *subject,
                              bool (*visit)(void *context, const char *name), void *context,
                              struct error *err);
    enum status (*charges)(struct store_backend *backend, const struct charge_filter *filter,
                           bool (*visit)(void *context, const struct charge *charge), void *context,
                           struct error *err);
    enum status (*report)(struct store_backend *backend, enum report_by by, int64_t from_us,
                          int64_t to_us, bool (*visit)(void *context, const struct report_row *row),
                          void *context, struct error *err);
    enum status (*holds)(struct store_backend *backend, const char *account, enum hold_state state,
                         size_t limit,
                         bool (*visit)(void *context, const struct hold *hold, const char *account),
                         void *context, struct error *err);
    enum status (*prices)(struct store_backend *backend, const struct price_filter *filter,
                          bool (*visit)(void *context, const struct price_version *version),
                          void *context, struct error *err);
    /* Inside a STORE_READ transaction. `visit` returns false to stop. */
    enum status (*scan)(struct store_backend *backend, enum scan_kind kind,
                        bool (*visit)(void *context, const struct scan_row *row), void *context,
                        struct error *err);
    /* Before this instant prune may have removed period rows. Inside a transaction. */
    enum status (*pruned_until)(struct store_backend *backend, int64_t *out, struct error *err);
    /*
     * In short transactions of its own: admissions that are over at `now_us`; idempotency rows and
     * told events made before `keep_us`; and with `older_than_us` > 0 period rows that ended by
     * then and hold nothing; then, before both times, charges that no period row contains any more
     * (refunds before their charge) and ended holds without a charge. Adds to `*removed`.
     */
    enum status (*prune)(struct store_backend *backend, int64_t keep_us, int64_t older_than_us,
                         int64_t now_us, int64_t *removed, struct error *err);

    /* ---- all rows: store_rows.h has the contracts ---- */
    /* Inside a STORE_INSPECT transaction. */
    enum status (*rows_count)(struct store_backend *backend, const struct row_table *table,
                              int64_t *out, struct error *err);
    enum status (*rows_visit)(struct store_backend *backend, const struct row_table *table,
                              bool (*visit)(void *context, const struct row_value *values),
                              void *context, struct error *err);
    /* A transaction of its own kind; what the schema itself has put into counter and account is
     * gone at its beginning. fill_end without `keep` answers STATUS_OK. */
    enum status (*fill_begin)(struct store_backend *backend, struct error *err);
    enum status (*fill_row)(struct store_backend *backend, const struct row_table *table,
                            const struct row_value *values, struct error *err);
    enum status (*fill_end)(struct store_backend *backend, bool keep, struct error *err);
};

extern const struct store_ops store_sqlite_ops;
extern const struct store_ops store_postgres_ops; /* where it is built in */

/* store_verify on a backend, inside a STORE_READ transaction (store_verify.c). */
enum status store_verify_rows(const struct store_ops *ops, struct store_backend *backend,
                              void (*report)(void *context, const char *invariant,
                                             const char *text),
                              void *context, struct verify_summary *out,
                              struct error *err) MUST_CHECK;

#endif
