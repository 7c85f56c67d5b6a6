/* SPDX-License-Identifier: MIT */
/*
 * Private to the PostgreSQL store (store_postgres*.c): the session, and statements in libpq's
 * pipeline mode. Statements are queued, `pg_exchange` sends them in one go and brings every answer:
 * one round trip. Nothing here knows what a row means. The one door to libpq.
 */
#ifndef SPENDGATE_STORE_POSTGRES_H
#define SPENDGATE_STORE_POSTGRES_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/store_backend.h"

#define PG_PARAMS_MAX 20
#define PG_NUMBER_SIZE 24
#define PG_QUEUE_MAX 256     /* statements of one round trip */
#define PG_ANSWER_MS 5000    /* how long an answer may take on the way of a request */
#define PG_SUM_MS 4000       /* the limit of a statement on the way of a request */
#define PG_LISTING_MS 600000 /* the same for listings, reports, verify and the schema */
#define PG_LISTING_MS_TEXT "600000"

enum pg_statement {
    PG_BEGIN_READ,
    PG_BEGIN_WRITE,
    PG_LIMITS,
    PG_LIMITS_ALONE,
    PG_LISTING,
    PG_LISTING_LIMIT,
    PG_COMMIT,
    PG_ROLLBACK,
    PG_SAVEPOINT,
    PG_RELEASE,
    PG_ROLLBACK_TO,
    PG_FLUSH,
    PG_CLOCK,
    PG_SCHEMA,
    PG_HOLD_NUMBER,
    PG_CHARGE_NUMBER,
    PG_LOCK_CHAIN,
    PG_LOCK_CHAIN_OF_HOLD,
    PG_LOAD_CHAIN,
    PG_LOAD_CHAIN_OF_HOLD,
    PG_LINES,
    PG_EXPIRY_OF_CHAIN,
    PG_EXPIRY_OF_HOLD,
    PG_EXPIRY_ANY,
    PG_EXPIRED_WITH,
    PG_LOCK_CHAINS,
    PG_RATE,
    PG_HOLD,
    PG_HOLD_LOCKED,
    PG_CHARGED,
    PG_CHARGE,
    PG_REFUNDED,
    PG_ADMISSION,
    PG_IDEMPOTENCY,
    PG_ACCOUNT_BY_NAME,
    PG_ACCOUNT_LOCK,
    PG_ACCOUNT_BY_ID,
    PG_TREE_LOCK,
    PG_GENERATIONS,
    PG_CHAIN_FIND,
    PG_CHAIN_INSERT,
    PG_CHAIN_MEMBERS,
    PG_LAST_SEEN,
    PG_PAST,
    PG_SPENT,
    PG_HELD,
    PG_CREDIT_SUM,
    PG_HISTORY,
    PG_ROUTE_AMOUNTS,
    PG_EXPIRY_TRY,
    PG_EXPIRED,
    PG_EXPIRED_OF,
    PG_UNKNOWN_HOLD,
    PG_VERIFICATION,
    PG_VERIFICATION_NEXT,
    PG_PRUNED_UNTIL,
    PG_ACCOUNT_INSERT,
    PG_ACCOUNT_UPDATE,
    PG_LINE_NEXT,
    PG_LINE_INSERT,
    PG_LINE_UPDATE,
    PG_PERIOD_WRITE,
    PG_HOLD_INSERT,
    PG_HOLD_UPDATE,
    PG_CHARGE_INSERT,
    PG_CHARGE_HOLD_TEXT,
    PG_CREDIT_INSERT,
    PG_CREDIT_ADD,
    PG_RATE_WRITE,
    PG_ADMISSION_WRITE,
    PG_IDEMPOTENCY_WRITE,
    PG_EVENT_INSERT,
    PG_ACCOUNT_NAMES,
    PG_PRICE_FIND,
    PG_PRICE_LOCK,
    PG_PRICE_INSERT,
    PG_STATEMENTS,
    PG_UNNAMED = PG_STATEMENTS
};

/* What is wrapped around each statement's text. */
struct pg_text {
    const char *sql, *doing;
    bool binary; /* the answer in binary form: for bytes */
};
extern const struct pg_text pg_texts[PG_STATEMENTS];

struct pg_params {
    int count;
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
    char numbers[PG_PARAMS_MAX][PG_NUMBER_SIZE];
};

/* Ids that have to be known before their row is written. */
enum pg_number_kind { PG_HOLDS, PG_CHARGES, PG_NUMBERS };

struct pg_queued {
    enum pg_statement which;
    bool preparing;
    bool committing;
    const char *doing;
    PGresult **out; /* NULL: the answer is of no interest */
};

struct postgres_store {
    struct store_backend base;
    PGconn *conn; /* NULL: not connected */
    char *url;    /* without our own parameters */
    char place[256];
    bool prepare;   /* named prepared statements */
    int listing_ms; /* how long a listing or report may take */
    int sum_ms;     /* and the sum of a journal, under the locks of a request */
    int64_t retry_at_ms, backoff_ms;
    char why[384]; /* the last attempt to connect failed */

    enum store_mode mode;
    bool in_transaction; /* store.c's */
    bool begun;          /* the server's; BEGIN may still be queued */
    bool committing;     /* COMMIT was queued */
    bool committed;      /* and answered */
    bool broken;         /* the connection was lost since begin */
    enum store_failure failure;
    bool timed_out;      /* the last error was statement_timeout */
    bool batch;          /* one transaction of the server; begin and commit are savepoints in it */
    bool batch_begun;    /* its BEGIN may still be queued */
    bool batch_unsynced; /* something in it must be durable */
    bool batch_lost;
    int admissions_written; /* since those that are over were last removed */
    int64_t now_us;         /* of the last request */

    /* The account `all`: see store_postgres.c. */
    bool alone;       /* nobody else writes beside this transaction */
    bool want_alone;  /* nor may they beside the next */
    bool all_counted; /* it has budget lines, and a line is never removed */

    bool warned; /* the server gave up waiting for its standby */

    size_t queue_count;
    struct pg_queued queue[PG_QUEUE_MAX];
    bool prepared[PG_STATEMENTS];
    uint64_t text_hash[PG_STATEMENTS]; /* of the names of prepared statements; 0 not known yet */
    int64_t numbers[PG_NUMBERS];       /* fetched by this transaction and not used yet; 0 none */

    char *filling; /* of a fill: rows that are not sent yet, or NULL */
    struct buf copy;
    const struct row_table *fill_table; /* whose COPY is open, or NULL */

    int64_t sent_us;                        /* boot clock, when the last round trip began */
    int64_t clock_offset_us, clock_read_us; /* database - boot clock, and when it was read */
};

struct postgres_store *postgres_of(struct store_backend *backend);

/* ---- parameters ---- */
void pg_int(struct pg_params *params, int64_t value);
void pg_string(struct pg_params *params, const char *text);
void pg_optional(struct pg_params *params, const char *text); /* "" and NULL are NULL */
void pg_null(struct pg_params *params);
void pg_bytes(struct pg_params *params, const void *bytes, size_t length);

/* ---- statements ---- */
/* Inside a store_begin .. commit: BEGIN goes out with the first statement that needs it. */
enum status pg_ensure_begun(struct postgres_store *s, struct error *err) MUST_CHECK;
/* Queue one statement; `*out` is set by the next exchange and cleared by the caller. `params` may
 * be NULL. */
enum status pg_queue(struct postgres_store *s, enum pg_statement which,
                     const struct pg_params *params, PGresult **out, struct error *err) MUST_CHECK;
/* The same for a text that is made each time. */
enum status pg_queue_text(struct postgres_store *s, const char *sql, const char *doing,
                          const struct pg_params *params, PGresult **out,
                          struct error *err) MUST_CHECK;
/* Send what is queued and take every answer. After a failure no `*out` is set. */
enum status pg_exchange(struct postgres_store *s, int timeout_ms, struct error *err) MUST_CHECK;
/* A transaction of its own for one text that may take its time (PG_LISTING_MS, whatever limit the
 * server sets): one round trip. `begin` is PG_BEGIN_READ or PG_BEGIN_WRITE. */
enum status pg_run_long(struct postgres_store *s, enum pg_statement begin, const char *sql,
                        const char *doing, const struct pg_params *params, PGresult **out,
                        struct error *err) MUST_CHECK;
/* A reading transaction of its own for a listing or report, whose text is made each time, within
 * the store's listing_ms (then STATUS_BUSY): one round trip. */
enum status pg_run_listing(struct postgres_store *s, const char *sql, const char *doing,
                           const struct pg_params *params, PGresult **out,
                           struct error *err) MUST_CHECK;
/* One statement, one round trip. */
enum status pg_run(struct postgres_store *s, enum pg_statement which,
                   const struct pg_params *params, PGresult **out, struct error *err) MUST_CHECK;
/* One statement whose rows are taken one by one as they arrive; `visit` returns false to stop. */
enum status pg_stream(struct postgres_store *s, const char *sql, const char *doing,
                      bool (*visit)(void *context, const PGresult *row), void *context,
                      struct error *err) MUST_CHECK;
/* A fresh number; 0 and an error when none could be fetched. Numbers are of the transaction that
 * fetched them: kept for later, one could come behind younger ones, or, after a crash of the server
 * that lost the sequence's step, be given to somebody else too. */
enum status pg_number(struct postgres_store *s, enum pg_number_kind kind, int64_t *out,
                      struct error *err) MUST_CHECK;

/* ---- the session (store_postgres_session.c) ---- */
int64_t pg_boot_us(void);
/* A connection to a database of our schema; without one, STATUS_UNAVAILABLE until it is time to try
 * again. */
enum status pg_session_begin(struct postgres_store *s, struct error *err) MUST_CHECK;
/* The same, and an idle one that the server closed is replaced. */
enum status pg_session_ready(struct postgres_store *s, struct error *err) MUST_CHECK;
void pg_disconnect(struct postgres_store *s);
/* What the server said, on one line. */
void pg_add_line(struct buf *out, const char *text);

/* The database's clock, read beside something else now and then. */
bool pg_clock_due(const struct postgres_store *s);
void pg_note_clock(struct postgres_store *s, int64_t database_us);

/* ---- columns ---- */
bool pg_is_null(const PGresult *result, int row, int column);
int64_t pg_get_int(const PGresult *result, int row, int column); /* 0 for NULL */
bool pg_get_text(const PGresult *result, int row, int column, char *out, size_t size) MUST_CHECK;
enum status pg_too_long(const struct postgres_store *s, struct error *err);
enum { PG_ACCOUNT_WIDTH = 10, PG_LINE_WIDTH = 9, PG_HOLD_WIDTH = 14, PG_CHARGE_WIDTH = 23 };
bool pg_read_account(const PGresult *result, int row, int first, struct account *out) MUST_CHECK;
bool pg_read_line(const PGresult *result, int row, int first, int account,
                  struct budget_line *out) MUST_CHECK;
bool pg_read_hold(const PGresult *result, int row, int first, struct hold *out) MUST_CHECK;
bool pg_read_charge(const PGresult *result, int row, struct charge_row *out) MUST_CHECK;

#define PG_HOLD_COLUMNS                                                                         \
    "h.id, h.nonce, h.chain_id, h.state, h.amount_nanos, h.placed_us, h.expires_us, h.ttl_us, " \
    "h.charge_id, encode(h.caller, 'hex'), h.plan, h.route, h.expiry_charged_nanos, "           \
    "h.expiry_charge_id"
#define PG_CHARGE_COLUMNS                                                                       \
    "c.id, c.nonce, c.kind, c.chain_id, c.amount_nanos, c.at_us, c.created_us, c.occurred_us, " \
    "c.hold_id, c.refund_of, c.hold_text, h.nonce, "                                            \
    "(SELECT a.name FROM spendgate.chain n JOIN spendgate.account a ON a.id = n.payer_id "      \
    "WHERE n.id = c.chain_id), "                                                                \
    "(SELECT substr(a.name, 5) FROM spendgate.chain_account m JOIN spendgate.account a "        \
    "ON a.id = m.account_id WHERE m.chain_id = c.chain_id AND m.position = 0 "                  \
    "AND m.roles & 1 <> 0), c.model, c.route, c.tags, c.token, c.note, c.metadata, "            \
    "CASE WHEN c.refund_of <> 0 THEN "                                                          \
    "(SELECT r.nonce FROM spendgate.charge r WHERE r.id = c.refund_of) END, c.usage, c.price_id"
#define PG_CHARGE_HOLD "LEFT JOIN spendgate.hold h ON h.id = c.hold_id AND c.hold_id <> 0 "
#define PG_CHARGE_FROM "FROM spendgate.charge c " PG_CHARGE_HOLD
#define PG_ACCOUNT_COLUMNS                                                                   \
    "a.id, a.name, a.plan, a.parent_id, a.frozen, a.revoked, a.expires_us, a.verify_after, " \
    "a.live_holds, a.first_seen_us"
#define PG_LINE_COLUMNS                                                                        \
    "b.id, b.kind, b.timezone, b.anchor_day, b.week_start, b.created_us, b.hand_limit_nanos, " \
    "b.hand_enforce, b.credits_nanos"

/* ---- the schema (store_postgres_schema.c) ---- */
int64_t postgres_newest_step(void);
enum status postgres_apply_schema(struct postgres_store *s, int *applied,
                                  struct error *err) MUST_CHECK;
/* `*made`: how many; -1: none, because somebody reads charges for long. Try again later. */
enum status postgres_make_partitions(struct postgres_store *s, int64_t now_us, int *made,
                                     struct error *err) MUST_CHECK;

/* ---- operations of the table, by file ---- */
void postgres_examine(const struct store_options *options, const struct finding_sink *sink);
enum status postgres_open(const struct store_options *options, struct store_backend **out,
                          struct error *err);
void postgres_close(struct store_backend *backend);
enum status postgres_migrate(const struct store_options *options, int *applied, struct error *err);
enum status postgres_check(struct store_backend *backend, struct error *err);
int64_t postgres_now_us(struct store_backend *backend, int64_t machine_now_us);

enum status postgres_accounts_find(struct store_backend *backend, const char *const *names,
                                   size_t count, struct account *out, struct error *err);
enum status postgres_account_lock(struct store_backend *backend, const char *name,
                                  struct account *out, struct error *err);
enum status postgres_account_get(struct store_backend *backend, int64_t id, struct account *out,
                                 struct error *err);
enum status postgres_generations_below(struct store_backend *backend, int64_t id, int *out,
                                       struct error *err);
enum status postgres_last_seen(struct store_backend *backend, enum chain_role role,
                               const char *key_id, const char *subject, char out[ACCOUNT_NAME_SIZE],
                               struct error *err);
enum status postgres_load(struct store_backend *backend, struct store_load *load,
                          struct error *err);
enum status postgres_load_lines(struct store_backend *backend, struct ledger *ledger, int index,
                                int64_t at_us, int64_t now_us, struct error *err);
enum status postgres_journal_sum(struct store_backend *backend, int64_t account_id,
                                 int64_t start_us, int64_t end_us, int64_t *spent_nanos,
                                 int64_t *held_nanos, int64_t *later_us, struct error *err);
enum status postgres_credit_sum(struct store_backend *backend, int64_t budget_id, int64_t from_us,
                                int64_t to_us, int64_t *nanos, struct error *err);
enum status postgres_history(struct store_backend *backend, int64_t budget_id, int64_t before_us,
                             struct period_history *out, size_t *count, struct error *err);
enum status postgres_route_amounts(struct store_backend *backend, const char *route, int64_t *out,
                                   size_t *count, struct error *err);

/* ---- store_postgres_expiry.c ---- */
/* Queue what a load asks about expired holds. `chain` 0: that of the hold, else none. */
enum status pg_queue_expiry(struct postgres_store *s, const struct store_load *load, int64_t chain,
                            PGresult **look, PGresult **expired, struct error *err) MUST_CHECK;
enum status pg_read_expiry(struct postgres_store *s, const PGresult *look, const PGresult *expired,
                           struct store_load *load, struct error *err) MUST_CHECK;
enum status postgres_expired(struct store_backend *backend, const struct expiry_scope *scope,
                             int64_t from_us, int64_t now_us, struct hold *out, size_t *count,
                             struct error *err);
enum status postgres_lock_chains(struct store_backend *backend, const struct hold *holds,
                                 size_t count, struct error *err);
enum status postgres_unknown_hold(struct store_backend *backend, const char *hold_text, bool *found,
                                  struct charge_row *out, struct error *err);
enum status postgres_idempotency_find(struct store_backend *backend, const char *scope,
                                      const char *key, struct idempotency_row *out,
                                      struct error *err);
enum status postgres_verification_number(struct store_backend *backend, bool advance, int64_t *out,
                                         struct error *err);

enum status postgres_chain_intern(struct store_backend *backend, const char *spec,
                                  const struct chain_member *members, size_t count,
                                  int64_t payer_id, bool create, int64_t *id, struct error *err);
enum status postgres_account_write(struct store_backend *backend, struct account *account,
                                   struct error *err);
enum status postgres_line_write(struct store_backend *backend, int64_t account_id,
                                struct budget_line *line, struct error *err);
enum status postgres_period_write(struct store_backend *backend, const struct budget_line *line,
                                  struct error *err);
enum status postgres_hold_write(struct store_backend *backend, struct hold *hold,
                                struct error *err);
enum status postgres_charge_write(struct store_backend *backend, struct charge_row *row,
                                  struct error *err);
enum status postgres_credit_write(struct store_backend *backend, struct credit_row *credit,
                                  struct error *err);
enum status postgres_rate_write(struct store_backend *backend, const struct rate_row *rate,
                                struct error *err);
enum status postgres_admission_write(struct store_backend *backend,
                                     const uint8_t key[ADMISSION_KEY_BYTES], int64_t hold_id,
                                     int64_t expires_us, struct error *err);
enum status postgres_idempotency_write(struct store_backend *backend, const char *scope,
                                       const char *key, const uint8_t fingerprint[SHA256_BYTES],
                                       const char *reply, size_t reply_length, int64_t now_us,
                                       struct error *err);
enum status postgres_event_write(struct store_backend *backend, const struct event_row *event,
                                 struct error *err);

enum status postgres_account_names(struct store_backend *backend, const char *after, size_t limit,
                                   bool (*visit)(void *context, const char *name), void *context,
                                   struct error *err);
enum status postgres_charges(struct store_backend *backend, const struct charge_filter *filter,
                             bool (*visit)(void *context, const struct charge *charge),
                             void *context, struct error *err);
enum status postgres_report(struct store_backend *backend, enum report_by by, int64_t from_us,
                            int64_t to_us,
                            bool (*visit)(void *context, const struct report_row *row),
                            void *context, struct error *err);
enum status postgres_holds(struct store_backend *backend, const char *account,
                           enum hold_state state, size_t limit,
                           bool (*visit)(void *context, const struct hold *hold,
                                         const char *account),
                           void *context, struct error *err);
enum status postgres_scan(struct store_backend *backend, enum scan_kind kind,
                          bool (*visit)(void *context, const struct scan_row *row), void *context,
                          struct error *err);
enum status postgres_clerk_note_write(struct store_backend *backend, int64_t account_id,
                                      const struct clerk_note *note, struct error *err);
enum status postgres_clerk_note_read(struct store_backend *backend, const char *account,
                                     bool *found, struct clerk_note *out, struct error *err);
enum status postgres_clerk_subjects(struct store_backend *backend, int64_t before_us,
                                    const char *after, size_t limit,
                                    bool (*visit)(void *context, const char *name), void *context,
                                    struct error *err);
enum status postgres_clerk_keys(struct store_backend *backend, const char *subject,
                                bool (*visit)(void *context, const char *name), void *context,
                                struct error *err);
enum status postgres_price_find(struct store_backend *backend, const struct price_query *query,
                                struct price_version *out, size_t *count, struct error *err);
enum status postgres_price_write(struct store_backend *backend, const struct price_version *version,
                                 struct error *err);
enum status postgres_prices(struct store_backend *backend, const struct price_filter *filter,
                            bool (*visit)(void *context, const struct price_version *version),
                            void *context, struct error *err);
enum status postgres_pruned_until(struct store_backend *backend, int64_t *out, struct error *err);
void postgres_after(struct store_backend *backend);
enum status postgres_prune(struct store_backend *backend, int64_t keep_us, int64_t older_than_us,
                           int64_t now_us, int64_t *removed, struct error *err);

enum status postgres_rows_count(struct store_backend *backend, const struct row_table *table,
                                int64_t *out, struct error *err);
enum status postgres_rows_visit(struct store_backend *backend, const struct row_table *table,
                                bool (*visit)(void *context, const struct row_value *values),
                                void *context, struct error *err);
enum status postgres_fill_begin(struct store_backend *backend, struct error *err);
enum status postgres_fill_row(struct store_backend *backend, const struct row_table *table,
                              const struct row_value *values, struct error *err);
enum status postgres_fill_end(struct store_backend *backend, bool keep, struct error *err);

#endif
