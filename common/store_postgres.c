/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL store: transactions and the table of operations. Many hosts, one database. The
 * session is in store_postgres_session.c, how statements travel in store_postgres_queue.c, their
 * texts in store_postgres_text.c, what is read in store_postgres_load.c, what is written in
 * store_postgres_write.c, listings in store_postgres_list.c, the schema in store_postgres_schema.c.
 * Design document, section 5.
 *
 * READ COMMITTED: one statement locks the accounts of a chain in id order, later statements of the
 * same pipeline bring the values, so each sees what the holders of the locks before it committed.
 * Writes are queued and go out with COMMIT. No commit waits for the disk while it holds a lock:
 * what must be durable is committed first and then flushed by a second, empty transaction with
 * synchronous_commit = on, in the same round trip; its flush covers everything committed before.
 *
 * The account `all` is in every chain, and its row would make one queue of the writers of all
 * hosts. So it has a lock of its own (an advisory one), which every transaction that writes takes
 * before anything else: shared, as long as `all` has no budget line, since nothing of it is written
 * then; alone, when it has one. Who gives it its first line is alone as well: whatever counts
 * on it has committed before, and is in the journal that the line begins with, or comes later and
 * sees the line. A transaction that took it shared and then finds a line begins again. A batch,
 * which locks the accounts of its elements in any order, is alone too; so nothing else waits in the
 * middle for what another one holds.
 */
#include "common/store_postgres.h"

#include <assert.h>

#include "common/banned.h"

struct postgres_store *
postgres_of(struct store_backend *backend)
{
    return (struct postgres_store *)(void *)backend;
}

/* ---- transactions --------------------------------------------------------------------------- */

static enum status
refuse_if_lost(struct postgres_store *s, struct error *err)
{
    if (!s->batch_lost)
        return STATUS_OK;
    return error_set(err, STATUS_UNAVAILABLE,
                     "store %s: the batch was given up after an error; post it again", s->place);
}

static enum status
postgres_begin(struct store_backend *backend, enum store_mode mode, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status;

    assert(!s->in_transaction);
    s->failure = STORE_FAILED;
    s->begun = s->committing = s->committed = s->broken = false;
    s->numbers[PG_HOLDS] = s->numbers[PG_CHARGES] = 0;
    s->alone = s->batch;
    status = s->batch ? refuse_if_lost(s, err) : pg_session_ready(s, err);
    if (status != STATUS_OK)
        return status;
    s->mode = mode;
    s->in_transaction = true;
    return STATUS_OK;
}

static enum status
queue_begin_write(struct postgres_store *s, struct error *err)
{
    enum status status = pg_queue(s, PG_BEGIN_WRITE, NULL, NULL, err);

    s->alone = s->batch || s->want_alone || s->all_counted;
    s->want_alone = false;
    if (status != STATUS_OK)
        return status;
    return pg_queue(s, s->alone ? PG_LIMITS_ALONE : PG_LIMITS, NULL, NULL, err);
}

enum status
pg_ensure_begun(struct postgres_store *s, struct error *err)
{
    enum status status = STATUS_OK;

    if (!s->in_transaction || s->begun || (s->mode == STORE_READ && !s->batch))
        return STATUS_OK;
    if (s->batch && !s->batch_begun) {
        status = queue_begin_write(s, err);
        s->batch_begun = status == STATUS_OK;
    }
    if (status == STATUS_OK && s->batch)
        status = pg_queue(s, PG_SAVEPOINT, NULL, NULL, err);
    else if (status == STATUS_OK && s->mode == STORE_WRITE)
        status = queue_begin_write(s, err);
    else if (status == STATUS_OK)
        status = pg_queue(s, PG_BEGIN_READ, NULL, NULL, err);
    s->begun = status == STATUS_OK;
    return status;
}

/* Queue a transaction that makes everything committed before it durable. */
static enum status
queue_flush(struct postgres_store *s, struct error *err)
{
    enum status status = pg_queue(s, PG_BEGIN_WRITE, NULL, NULL, err);

    if (status == STATUS_OK)
        status = pg_queue(s, PG_FLUSH, NULL, NULL, err);
    return status == STATUS_OK ? pg_queue(s, PG_COMMIT, NULL, NULL, err) : status;
}

/* When an administrator cancels the wait for a synchronous standby, the server says COMMIT all the
 * same, beside a warning. */
static enum status
flush_now(struct postgres_store *s, struct error *err)
{
    enum status status;

    s->warned = false;
    status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status != STATUS_OK || !s->warned)
        return status;
    s->failure = STORE_ANSWER_LOST;
    return error_set(err, STATUS_UNAVAILABLE,
                     "store %s: the server gave up waiting for its standby: whether this would "
                     "survive is unknown; a retry with the same idempotency key settles it",
                     s->place);
}

static enum status
commit_now(struct postgres_store *s, bool durable, struct error *err)
{
    enum status status = pg_queue(s, PG_COMMIT, NULL, NULL, err);

    if (status == STATUS_OK) {
        s->queue[s->queue_count - 1].committing = true;
        s->committing = true;
    }
    if (status == STATUS_OK && durable)
        status = queue_flush(s, err);
    if (status != STATUS_OK)
        return status;
    return durable ? flush_now(s, err) : pg_exchange(s, PG_ANSWER_MS, err);
}

static enum status
postgres_commit(struct store_backend *backend, bool durable, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status = STATUS_OK;

    assert(s->in_transaction);
    if (s->begun && s->batch) {
        status = pg_queue(s, PG_RELEASE, NULL, NULL, err);
        if (status == STATUS_OK) /* so that what is wrong with this element shows here */
            status = pg_exchange(s, PG_ANSWER_MS, err);
        s->batch_unsynced |= durable;
    } else if (s->begun)
        status = commit_now(s, durable, err);
    if (status != STATUS_OK)
        return status;
    s->in_transaction = s->begun = false;
    return STATUS_OK;
}

/* End the server's transaction, or go back to where the element of a batch began. */
static void
roll_back(struct postgres_store *s, enum pg_statement how)
{
    struct error err;
    enum status status;

    s->committing = s->committed = false;
    status = pg_queue(s, how, NULL, NULL, &err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, &err);
    /* What was queued before it may have failed, and the return with it. */
    if (status != STATUS_OK && s->conn != NULL)
        pg_disconnect(s);
}

static void
postgres_rollback(struct store_backend *backend)
{
    struct postgres_store *s = postgres_of(backend);
    enum store_failure failure = s->failure;

    if (s->begun && s->conn != NULL)
        roll_back(s, s->batch ? PG_ROLLBACK_TO : PG_ROLLBACK);
    s->in_transaction = s->begun = false;
    s->failure = failure;
}

static enum store_failure
postgres_failure(const struct store_backend *backend)
{
    return ((const struct postgres_store *)(const void *)backend)->failure;
}

/* A reply that is given again may be of a commit that another process has not flushed yet. */
static enum status
postgres_settle_disk(struct store_backend *backend, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status;

    assert(!s->in_transaction);
    if (s->batch) {
        s->batch_unsynced = true;
        return STATUS_OK;
    }
    status = queue_flush(s, err);
    return status == STATUS_OK ? flush_now(s, err) : status;
}

static enum status
postgres_batch_begin(struct store_backend *backend, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status;

    assert(!s->batch && !s->in_transaction);
    status = pg_session_ready(s, err);
    if (status != STATUS_OK)
        return status;
    s->batch = true;
    s->batch_begun = s->batch_unsynced = s->batch_lost = false;
    return STATUS_OK;
}

static enum status
postgres_batch_end(struct store_backend *backend, bool keep, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    enum status status = STATUS_OK;

    assert(s->batch && !s->in_transaction);
    s->batch = false;
    s->committing = s->committed = false;
    if (keep)
        status = refuse_if_lost(s, err);
    if (keep && status == STATUS_OK && s->batch_begun)
        status = commit_now(s, s->batch_unsynced, err);
    else if (keep && status == STATUS_OK && s->batch_unsynced)
        status = postgres_settle_disk(backend, err);
    else if (s->batch_begun && s->conn != NULL)
        roll_back(s, PG_ROLLBACK);
    if (status != STATUS_OK && s->conn != NULL && s->batch_begun)
        roll_back(s, PG_ROLLBACK);
    return status;
}

/* ---- numbers -------------------------------------------------------------------------------- */

enum status
pg_number(struct postgres_store *s, enum pg_number_kind kind, int64_t *out, struct error *err)
{
    static const enum pg_statement fetch[] = { PG_HOLD_NUMBER, PG_CHARGE_NUMBER };
    PGresult *result;
    enum status status = STATUS_OK;

    *out = s->numbers[kind];
    s->numbers[kind] = 0;
    if (*out != 0) /* `load` fetched it in passing */
        return STATUS_OK;
    status = pg_run(s, fetch[kind], NULL, &result, err);
    if (status == STATUS_OK)
        *out = pg_get_int(result, 0, 0);
    PQclear(result);
    return status;
}

const struct store_ops store_postgres_ops = {
    .scheme = "postgresql",
    .comes_back = true,
    .open = postgres_open,
    .close = postgres_close,
    .migrate = postgres_migrate,
    .check = postgres_check,
    .examine = postgres_examine,
    .after = postgres_after,
    .now_us = postgres_now_us,
    .begin = postgres_begin,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .failure = postgres_failure,
    .settle_disk = postgres_settle_disk,
    .batch_begin = postgres_batch_begin,
    .batch_end = postgres_batch_end,
    .accounts_find = postgres_accounts_find,
    .account_lock = postgres_account_lock,
    .account_get = postgres_account_get,
    .generations_below = postgres_generations_below,
    .chain_intern = postgres_chain_intern,
    .last_seen = postgres_last_seen,
    .load = postgres_load,
    .load_lines = postgres_load_lines,
    .journal_sum = postgres_journal_sum,
    .credit_sum = postgres_credit_sum,
    .history = postgres_history,
    .route_amounts = postgres_route_amounts,
    .expired = postgres_expired,
    .lock_chains = postgres_lock_chains,
    .unknown_hold = postgres_unknown_hold,
    .idempotency_find = postgres_idempotency_find,
    .verification_number = postgres_verification_number,
    .price_find = postgres_price_find,
    .account_write = postgres_account_write,
    .line_write = postgres_line_write,
    .period_write = postgres_period_write,
    .hold_write = postgres_hold_write,
    .charge_write = postgres_charge_write,
    .credit_write = postgres_credit_write,
    .rate_write = postgres_rate_write,
    .admission_write = postgres_admission_write,
    .idempotency_write = postgres_idempotency_write,
    .event_write = postgres_event_write,
    .price_write = postgres_price_write,
    .account_names = postgres_account_names,
    .clerk_note_write = postgres_clerk_note_write,
    .clerk_note_read = postgres_clerk_note_read,
    .clerk_subjects = postgres_clerk_subjects,
    .clerk_keys = postgres_clerk_keys,
    .charges = postgres_charges,
    .report = postgres_report,
    .holds = postgres_holds,
    .prices = postgres_prices,
    .scan = postgres_scan,
    .pruned_until = postgres_pruned_until,
    .prune = postgres_prune,
    .rows_count = postgres_rows_count,
    .rows_visit = postgres_rows_visit,
    .fill_begin = postgres_fill_begin,
    .fill_row = postgres_fill_row,
    .fill_end = postgres_fill_end,
};
