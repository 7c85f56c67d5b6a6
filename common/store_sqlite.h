/* SPDX-License-Identifier: MIT */
/*
 * Private to the SQLite store (store_sqlite*.c), and its door to sqlite3.h: the open store, its
 * statements, and what its files need of each other. Source: design document, section 5.
 */
#ifndef SPENDGATE_STORE_SQLITE_H
#define SPENDGATE_STORE_SQLITE_H

#include <limits.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "common/store_backend.h"

#define NO_GROUP ((gid_t)-1) /* no store { group } */
#define LOCK_WAIT_MS 2000
#define CHECKPOINT_FRAMES 16000
/* A client request is remembered as long as its hold lives, which an extend may prolong. */
#define ADMISSION_HOLD_LIVES \
    "EXISTS (SELECT 1 FROM hold WHERE hold.id = admission.hold_id AND hold.state = 0)"
#define ACCOUNT_COLUMNS                                                                      \
    "a.id, a.name, a.plan, a.parent_id, a.frozen, a.revoked, a.expires_us, a.verify_after, " \
    "a.live_holds, a.first_seen_us"
#define LINE_COLUMNS                                                                           \
    "b.id, b.kind, b.timezone, b.anchor_day, b.week_start, b.created_us, b.hand_limit_nanos, " \
    "b.hand_enforce, b.credits_nanos"
#define HOLD_COLUMNS                                                                            \
    "h.id, h.nonce, h.chain_id, h.state, h.amount_nanos, h.placed_us, h.expires_us, h.ttl_us, " \
    "h.charge_id, h.caller, h.plan, h.route, h.expiry_charged_nanos, h.expiry_charge_id"
#define CHARGE_COLUMNS                                                                           \
    "c.id, c.nonce, c.kind, c.chain_id, c.amount_nanos, c.at_us, c.created_us, c.occurred_us, "  \
    "c.hold_id, c.refund_of, c.hold_text, h.nonce, "                                             \
    "(SELECT a.name FROM chain n JOIN account a ON a.id = n.payer_id WHERE n.id = c.chain_id), " \
    "(SELECT substr(a.name, 5) FROM chain_account m JOIN account a ON a.id = m.account_id "      \
    "WHERE m.chain_id = c.chain_id AND m.position = 0 AND m.roles & 1), "                        \
    "c.model, c.route, c.tags, c.token, c.note, c.metadata, "                                    \
    "(SELECT r.nonce FROM charge r WHERE r.id = c.refund_of), c.usage, c.price_id"
#define CHARGE_FROM "FROM charge c LEFT JOIN hold h ON h.id = c.hold_id "

/* How many columns each of these has. */
enum { ACCOUNT_WIDTH = 10, LINE_WIDTH = 9, PERIOD_WIDTH = 6, HOLD_WIDTH = 14 };

enum statement {
    SQL_BEGIN,
    SQL_BEGIN_IMMEDIATE,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_SAVEPOINT,
    SQL_RELEASE,
    SQL_ROLLBACK_TO,
    SQL_LOAD,
    SQL_LINES,
    SQL_OLDEST,
    SQL_EXPIRY_IN_CHAIN,
    SQL_EXPIRED_WITH,
    SQL_RATE,
    SQL_HOLD,
    SQL_HOLD_BY_ID,
    SQL_CHARGE,
    SQL_REFUNDED,
    SQL_ADMISSION,
    SQL_IDEMPOTENCY,
    SQL_ACCOUNT_BY_NAME,
    SQL_ACCOUNT_BY_ID,
    SQL_GENERATIONS,
    SQL_CHAIN_FIND,
    SQL_CHAIN_INSERT,
    SQL_CHAIN_MEMBER,
    SQL_LAST_SEEN,
    SQL_SPENT,
    SQL_HELD,
    SQL_CREDIT_SUM,
    SQL_HISTORY,
    SQL_ROUTE_AMOUNTS,
    SQL_EXPIRED,
    SQL_EXPIRED_OF,
    SQL_UNKNOWN_HOLD,
    SQL_VERIFICATION,
    SQL_VERIFICATION_NEXT,
    SQL_ACCOUNT_INSERT,
    SQL_ACCOUNT_UPDATE,
    SQL_LINE_NEXT,
    SQL_LINE_INSERT,
    SQL_LINE_UPDATE,
    SQL_PERIOD_WRITE,
    SQL_HOLD_INSERT,
    SQL_HOLD_UPDATE,
    SQL_CHARGE_INSERT,
    SQL_CREDIT_INSERT,
    SQL_CREDIT_ADD,
    SQL_RATE_WRITE,
    SQL_ADMISSION_WRITE,
    SQL_IDEMPOTENCY_WRITE,
    SQL_EVENT_INSERT,
    SQL_TOUCH,
    SQL_ACCOUNT_NAMES,
    SQL_CLERK_NOTE,
    SQL_CLERK_NOTE_WRITE,
    SQL_CLERK_SUBJECTS,
    SQL_CLERK_KEYS,
    SQL_PRICE_FIND,
    SQL_PRICE_INSERT,
    SQL_COUNT
};

struct sqlite_store {
    struct store_backend base;
    sqlite3 *db;
    char path[PATH_MAX];
    char failed_path[PATH_MAX];
    int lock_fd;
    int checkpoint_fd; /* -1 until the first checkpoint */
    bool timer_made;
    timer_t timer; /* ticks while this process waits for the lock */
    enum store_mode mode;
    bool in_transaction;
    bool locked;
    bool batch;          /* an outer transaction is open; begin and commit are savepoints in it */
    bool batch_unsynced; /* something in it must be durable */
    bool batch_lost;     /* SQLite gave the outer transaction up by itself */
    int listing_ms;      /* how long a listing or report may take; 0: as long as it needs */
    int64_t listing_end_us; /* of the one that runs, CLOCK_MONOTONIC */
    int wal_frames;         /* after this process's last commit */
    int admissions_written; /* since this process last removed those that are over */
    int64_t now_us;         /* of the last load */
    sqlite3_stmt *statements[SQL_COUNT];
    sqlite3_stmt *fill; /* the insert of a fill, and its table */
    const struct row_table *fill_table;
};

static inline struct sqlite_store *
sqlite_of(struct store_backend *backend)
{
    return (struct sqlite_store *)(void *)backend;
}

/* ---- store_sqlite.c ------------------------------------------------------------------------- */

enum status sqlite_execute(struct sqlite_store *s, const char *sql, const char *doing,
                           struct error *err) MUST_CHECK;
enum status sqlite_pragma_int(struct sqlite_store *s, const char *sql, int64_t *out,
                              struct error *err) MUST_CHECK;

/* ---- store_sqlite_statement.c --------------------------------------------------------------- */

enum status sqlite_failed(const struct sqlite_store *s, int rc, const char *doing,
                          struct error *err) MUST_CHECK;
enum status sqlite_prepared(struct sqlite_store *s, enum statement which, sqlite3_stmt **out,
                            struct error *err) MUST_CHECK;
void sqlite_bind_text(sqlite3_stmt *stmt, int index, const char *text);
/* "" is stored as NULL. */
void sqlite_bind_optional(sqlite3_stmt *stmt, int index, const char *text);
/* Run a statement that answers no row. A binding that failed (memory) shows here as a NULL in a
 * column that takes none, or as the same failure again. */
enum status sqlite_run(struct sqlite_store *s, sqlite3_stmt *stmt, const char *doing,
                       struct error *err) MUST_CHECK;
/* Step to the next row. At the end, and on a failure, the statement is reset. */
enum status sqlite_next(struct sqlite_store *s, sqlite3_stmt *stmt, bool *row, const char *doing,
                        struct error *err) MUST_CHECK;
/* The one integer of the one row; `fallback` when there is no row or NULL. */
enum status sqlite_one_int(struct sqlite_store *s, sqlite3_stmt *stmt, int64_t fallback,
                           int64_t *out, const char *doing, struct error *err) MUST_CHECK;
bool sqlite_text(sqlite3_stmt *stmt, int column, char *out, size_t size);
enum status sqlite_too_long(struct sqlite_store *s, sqlite3_stmt *stmt,
                            struct error *err) MUST_CHECK;

/* ---- store_sqlite_file.c -------------------------------------------------------------------- */

/* `path`'s folder; an absolute path. */
bool sqlite_folder_of(const char *path, char folder[PATH_MAX]);
enum status sqlite_find_group(const char *name, gid_t *out, struct error *err) MUST_CHECK;
enum status sqlite_check_file_system(const char *path, struct error *err) MUST_CHECK;
/* `missing` NULL: it has to be there. */
enum status sqlite_check_file(const char *path, gid_t group, bool *missing,
                              struct error *err) MUST_CHECK;
/* Open <database><suffix>, made when it is missing; -1 and a message. */
int sqlite_open_side_file(const struct sqlite_store *s, const char *suffix, gid_t group,
                          struct error *err);
/* Make the empty database file; another process may do the same at this instant. Never opens one
 * that is there: closing that descriptor would drop the locks of other connections of this process.
 */
enum status sqlite_create_file(const char *path, gid_t group, struct error *err) MUST_CHECK;
/* SQLite makes -wal and -shm with the database's mode, but not its group. */
enum status sqlite_share_files(const struct sqlite_store *s, gid_t group,
                               struct error *err) MUST_CHECK;

/* ---- store_sqlite_commit.c ------------------------------------------------------------------ */

/* CLOCK_MONOTONIC, in microseconds: for how long something takes. */
int64_t sqlite_monotonic_us(void);

enum status sqlite_writer_lock(struct sqlite_store *s, struct error *err) MUST_CHECK;
void sqlite_writer_unlock(struct sqlite_store *s);
enum status sqlite_refuse_if_marked(struct sqlite_store *s, struct error *err) MUST_CHECK;
bool sqlite_sync_folder(const char *path);
int sqlite_on_commit(void *context, sqlite3 *db, const char *name, int frames);
void sqlite_checkpoint_if_alone(struct sqlite_store *s);

/* Of struct store_ops: store_backend.h has the contracts. */
enum status sqlite_settle_disk(struct store_backend *backend, struct error *err) MUST_CHECK;
void sqlite_rollback(struct store_backend *backend);
/* There is one writer at a time, and no connection to lose. */
enum store_failure sqlite_failure(const struct store_backend *backend);
enum status sqlite_begin(struct store_backend *backend, enum store_mode mode,
                         struct error *err) MUST_CHECK;
enum status sqlite_commit(struct store_backend *backend, bool durable,
                          struct error *err) MUST_CHECK;
enum status sqlite_batch_begin(struct store_backend *backend, struct error *err) MUST_CHECK;
enum status sqlite_batch_end(struct store_backend *backend, bool keep,
                             struct error *err) MUST_CHECK;

/* ---- store_sqlite_expiry.c ------------------------------------------------------------------ */

/* What a load asks about expired holds. `chain` 0: none. */
enum status sqlite_load_expiry(struct sqlite_store *s, struct store_load *load, int64_t chain,
                               struct error *err) MUST_CHECK;
enum status sqlite_expired(struct store_backend *backend, const struct expiry_scope *scope,
                           int64_t from_us, int64_t now_us, struct hold *out, size_t *count,
                           struct error *err) MUST_CHECK;
enum status sqlite_lock_chains(struct store_backend *backend, const struct hold *holds,
                               size_t count, struct error *err) MUST_CHECK;

/* ---- store_sqlite_load.c -------------------------------------------------------------------- */

bool sqlite_read_account(sqlite3_stmt *stmt, int first, struct account *out);
bool sqlite_read_line(sqlite3_stmt *stmt, int first, int account, struct budget_line *out);
bool sqlite_read_hold(sqlite3_stmt *stmt, int first, struct hold *out);
bool sqlite_read_charge(sqlite3_stmt *stmt, struct charge_row *out);

/* Of struct store_ops: store_backend.h has the contracts. */
enum status sqlite_accounts_find(struct store_backend *backend, const char *const *names,
                                 size_t count, struct account *out, struct error *err) MUST_CHECK;
/* Nothing more to lock: the transaction has the writer lock. */
enum status sqlite_account_lock(struct store_backend *backend, const char *name,
                                struct account *out, struct error *err) MUST_CHECK;
enum status sqlite_account_get(struct store_backend *backend, int64_t id, struct account *out,
                               struct error *err) MUST_CHECK;
enum status sqlite_generations_below(struct store_backend *backend, int64_t id, int *out,
                                     struct error *err) MUST_CHECK;
enum status sqlite_chain_intern(struct store_backend *backend, const char *spec,
                                const struct chain_member *members, size_t count, int64_t payer_id,
                                bool create, int64_t *id, struct error *err) MUST_CHECK;
enum status sqlite_last_seen(struct store_backend *backend, enum chain_role role,
                             const char *key_id, const char *subject, char out[ACCOUNT_NAME_SIZE],
                             struct error *err) MUST_CHECK;
enum status sqlite_load_lines(struct store_backend *backend, struct ledger *ledger, int index,
                              int64_t at_us, int64_t now_us, struct error *err) MUST_CHECK;
enum status sqlite_idempotency_find(struct store_backend *backend, const char *scope,
                                    const char *key, struct idempotency_row *out,
                                    struct error *err) MUST_CHECK;
enum status sqlite_load(struct store_backend *backend, struct store_load *load,
                        struct error *err) MUST_CHECK;
enum status sqlite_journal_sum(struct store_backend *backend, int64_t account_id, int64_t start_us,
                               int64_t end_us, int64_t *spent_nanos, int64_t *held_nanos,
                               int64_t *later_us, struct error *err) MUST_CHECK;
enum status sqlite_credit_sum(struct store_backend *backend, int64_t budget_id, int64_t from_us,
                              int64_t to_us, int64_t *nanos, struct error *err) MUST_CHECK;
enum status sqlite_history(struct store_backend *backend, int64_t budget_id, int64_t before_us,
                           struct period_history *out, size_t *count, struct error *err) MUST_CHECK;
enum status sqlite_route_amounts(struct store_backend *backend, const char *route, int64_t *out,
                                 size_t *count, struct error *err) MUST_CHECK;
enum status sqlite_unknown_hold(struct store_backend *backend, const char *hold_text, bool *found,
                                struct charge_row *out, struct error *err) MUST_CHECK;
enum status sqlite_verification_number(struct store_backend *backend, bool advance, int64_t *out,
                                       struct error *err) MUST_CHECK;

/* ---- store_sqlite_write.c ------------------------------------------------------------------- */

/* Of struct store_ops: store_backend.h has the contracts. */
enum status sqlite_account_write(struct store_backend *backend, struct account *account,
                                 struct error *err) MUST_CHECK;
enum status sqlite_line_write(struct store_backend *backend, int64_t account_id,
                              struct budget_line *line, struct error *err) MUST_CHECK;
enum status sqlite_period_write(struct store_backend *backend, const struct budget_line *line,
                                struct error *err) MUST_CHECK;
enum status sqlite_hold_write(struct store_backend *backend, struct hold *hold,
                              struct error *err) MUST_CHECK;
enum status sqlite_charge_write(struct store_backend *backend, struct charge_row *row,
                                struct error *err) MUST_CHECK;
enum status sqlite_credit_write(struct store_backend *backend, struct credit_row *credit,
                                struct error *err) MUST_CHECK;
enum status sqlite_rate_write(struct store_backend *backend, const struct rate_row *rate,
                              struct error *err) MUST_CHECK;
enum status sqlite_admission_write(struct store_backend *backend,
                                   const uint8_t key[ADMISSION_KEY_BYTES], int64_t hold_id,
                                   int64_t expires_us, struct error *err) MUST_CHECK;
enum status sqlite_idempotency_write(struct store_backend *backend, const char *scope,
                                     const char *key, const uint8_t fingerprint[SHA256_BYTES],
                                     const char *reply, size_t reply_length, int64_t now_us,
                                     struct error *err) MUST_CHECK;
enum status sqlite_event_write(struct store_backend *backend, const struct event_row *event,
                               struct error *err) MUST_CHECK;

/* ---- store_sqlite_price.c ------------------------------------------------------------------- */

/* Of struct store_ops: store_backend.h has the contracts. */
enum status sqlite_price_find(struct store_backend *backend, const struct price_query *query,
                              struct price_version *out, size_t *count,
                              struct error *err) MUST_CHECK;
enum status sqlite_price_write(struct store_backend *backend, const struct price_version *version,
                               struct error *err) MUST_CHECK;
enum status sqlite_prices(struct store_backend *backend, const struct price_filter *filter,
                          bool (*visit)(void *context, const struct price_version *version),
                          void *context, struct error *err) MUST_CHECK;

/* ---- store_sqlite_list.c -------------------------------------------------------------------- */

/* Of struct store_ops: store_backend.h has the contracts. */
enum status sqlite_account_names(struct store_backend *backend, const char *after, size_t limit,
                                 bool (*visit)(void *context, const char *name), void *context,
                                 struct error *err) MUST_CHECK;
enum status sqlite_charges(struct store_backend *backend, const struct charge_filter *filter,
                           bool (*visit)(void *context, const struct charge *charge), void *context,
                           struct error *err) MUST_CHECK;
enum status sqlite_report(struct store_backend *backend, enum report_by by, int64_t from_us,
                          int64_t to_us, bool (*visit)(void *context, const struct report_row *row),
                          void *context, struct error *err) MUST_CHECK;
enum status sqlite_holds(struct store_backend *backend, const char *account, enum hold_state state,
                         size_t limit,
                         bool (*visit)(void *context, const struct hold *hold, const char *account),
                         void *context, struct error *err) MUST_CHECK;
enum status sqlite_scan(struct store_backend *backend, enum scan_kind kind,
                        bool (*visit)(void *context, const struct scan_row *row), void *context,
                        struct error *err) MUST_CHECK;

/* ---- store_sqlite_clerk.c ------------------------------------------------------------------- */

/* Of struct store_ops: store_backend.h has the contracts. */
enum status sqlite_clerk_note_write(struct store_backend *backend, int64_t account_id,
                                    const struct clerk_note *note, struct error *err) MUST_CHECK;
enum status sqlite_clerk_note_read(struct store_backend *backend, const char *account, bool *found,
                                   struct clerk_note *out, struct error *err) MUST_CHECK;
enum status sqlite_clerk_subjects(struct store_backend *backend, int64_t before_us,
                                  const char *after, size_t limit,
                                  bool (*visit)(void *context, const char *name), void *context,
                                  struct error *err) MUST_CHECK;
enum status sqlite_clerk_keys(struct store_backend *backend, const char *subject,
                              bool (*visit)(void *context, const char *name), void *context,
                              struct error *err) MUST_CHECK;

/* ---- store_sqlite_prune.c ------------------------------------------------------------------- */

/* Of struct store_ops: store_backend.h has the contracts. */
enum status sqlite_prune(struct store_backend *backend, int64_t keep_us, int64_t older_than_us,
                         int64_t now_us, int64_t *removed, struct error *err) MUST_CHECK;
enum status sqlite_pruned_until(struct store_backend *backend, int64_t *out,
                                struct error *err) MUST_CHECK;
void sqlite_after(struct store_backend *backend);

/* ---- store_sqlite_examine.c ----------------------------------------------------------------- */

/* Of struct store_ops: store_backend.h has the contract. */
void sqlite_examine(const struct store_options *options, const struct finding_sink *sink);

/* ---- store_sqlite_rows.c -------------------------------------------------------------------- */

/* Of struct store_ops: store_backend.h has the contracts. */
enum status sqlite_rows_count(struct store_backend *backend, const struct row_table *table,
                              int64_t *out, struct error *err) MUST_CHECK;
enum status sqlite_rows_visit(struct store_backend *backend, const struct row_table *table,
                              bool (*visit)(void *context, const struct row_value *values),
                              void *context, struct error *err) MUST_CHECK;
enum status sqlite_fill_begin(struct store_backend *backend, struct error *err) MUST_CHECK;
enum status sqlite_fill_row(struct store_backend *backend, const struct row_table *table,
                            const struct row_value *values, struct error *err) MUST_CHECK;
enum status sqlite_fill_end(struct store_backend *backend, bool keep, struct error *err) MUST_CHECK;

#endif
