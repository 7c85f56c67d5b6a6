/* SPDX-License-Identifier: MIT */
/*
 * Writes: the rows that a change left.
 */
#include "common/store_sqlite.h"

#include "common/crypto.h"

#include "common/banned.h"

#define LINES_PER_ACCOUNT 256 /* budget.id = account_id * 256 + n */

enum status
sqlite_account_write(struct store_backend *backend, struct account *account, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    bool insert = account->id == 0;
    int at = 0;
    sqlite3_stmt *stmt;
    enum status status =
        sqlite_prepared(s, insert ? SQL_ACCOUNT_INSERT : SQL_ACCOUNT_UPDATE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    if (insert)
        sqlite_bind_text(stmt, ++at, account->name);
    sqlite_bind_text(stmt, ++at, account->plan);
    sqlite3_bind_int64(stmt, ++at, account->parent_id);
    sqlite3_bind_int(stmt, ++at, account->frozen);
    sqlite3_bind_int(stmt, ++at, account->revoked);
    sqlite3_bind_int64(stmt, ++at, account->expires_us);
    sqlite3_bind_int64(stmt, ++at, account->verify_after);
    sqlite3_bind_int64(stmt, ++at, account->live_holds);
    sqlite3_bind_int64(stmt, ++at, insert ? account->first_seen_us : account->id);
    status = sqlite_run(s, stmt, "write an account", err);
    if (status == STATUS_OK && insert)
        account->id = sqlite3_last_insert_rowid(s->db);
    return status;
}

static void
bind_hand_set(sqlite3_stmt *stmt, int first, const struct budget_line *line)
{
    if (line->hand_limited)
        sqlite3_bind_int64(stmt, first, line->hand_limit_nanos);
    else
        sqlite3_bind_null(stmt, first);
    if (line->hand_enforced)
        sqlite3_bind_int(stmt, first + 1, (int)line->hand_enforce);
    else
        sqlite3_bind_null(stmt, first + 1);
}

static enum status
line_insert(struct sqlite_store *s, int64_t account_id, struct budget_line *line, struct error *err)
{
    sqlite3_stmt *stmt;
    int64_t id;
    enum status status = sqlite_prepared(s, SQL_LINE_NEXT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, account_id);
    status = sqlite_one_int(s, stmt, 0, &id, "make a budget line", err);
    if (status == STATUS_OK && id >= (account_id + 1) * LINES_PER_ACCOUNT)
        return error_set(err, STATUS_OVERFLOW, "store %s: an account has too many budget lines",
                         s->path);
    if (status == STATUS_OK)
        status = sqlite_prepared(s, SQL_LINE_INSERT, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, id);
    sqlite3_bind_int64(stmt, 2, account_id);
    sqlite3_bind_int(stmt, 3, (int)line->spec.kind);
    sqlite_bind_text(stmt, 4, line->spec.timezone);
    sqlite3_bind_int(stmt, 5, line->spec.anchor_day);
    sqlite3_bind_int(stmt, 6, line->spec.week_start);
    sqlite3_bind_int64(stmt, 7, line->created_us);
    bind_hand_set(stmt, 8, line);
    status = sqlite_run(s, stmt, "make a budget line", err);
    if (status == STATUS_OK)
        line->id = id;
    return status;
}

enum status
sqlite_line_write(struct store_backend *backend, int64_t account_id, struct budget_line *line,
                  struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status;

    if (line->id == 0)
        return line_insert(s, account_id, line, err);
    status = sqlite_prepared(s, SQL_LINE_UPDATE, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, line->id);
    bind_hand_set(stmt, 2, line);
    return sqlite_run(s, stmt, "write a budget line", err);
}

enum status
sqlite_period_write(struct store_backend *backend, const struct budget_line *line,
                    struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_PERIOD_WRITE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, line->id);
    sqlite3_bind_int64(stmt, 2, line->period.start_us);
    sqlite3_bind_int64(stmt, 3, line->period.end_us);
    sqlite3_bind_int64(stmt, 4, line->spent_nanos);
    sqlite3_bind_int64(stmt, 5, line->held_nanos);
    sqlite3_bind_int(stmt, 6, line->alerted);
    return sqlite_run(s, stmt, "write a period", err);
}

static bool
all_zero(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

static enum status
hold_insert(struct sqlite_store *s, struct hold *hold, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_HOLD_INSERT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, (int64_t)hold->nonce);
    sqlite3_bind_int64(stmt, 2, hold->chain_id);
    sqlite3_bind_int(stmt, 3, (int)hold->state);
    sqlite3_bind_int64(stmt, 4, hold->amount_nanos);
    sqlite3_bind_int64(stmt, 5, hold->placed_us);
    sqlite3_bind_int64(stmt, 6, hold->expires_us);
    sqlite3_bind_int64(stmt, 7, hold->ttl_us);
    sqlite3_bind_int64(stmt, 8, hold->charge_id);
    if (all_zero(hold->caller, sizeof(hold->caller)))
        sqlite3_bind_null(stmt, 9);
    else
        sqlite3_bind_blob(stmt, 9, hold->caller, sizeof(hold->caller), SQLITE_STATIC);
    sqlite_bind_text(stmt, 10, hold->plan);
    sqlite_bind_text(stmt, 11, hold->route);
    status = sqlite_run(s, stmt, "place a hold", err);
    if (status == STATUS_OK)
        hold->id = sqlite3_last_insert_rowid(s->db);
    return status;
}

enum status
sqlite_hold_write(struct store_backend *backend, struct hold *hold, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status;

    if (hold->id == 0)
        return hold_insert(s, hold, err);
    status = sqlite_prepared(s, SQL_HOLD_UPDATE, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, hold->id);
    sqlite3_bind_int(stmt, 2, (int)hold->state);
    sqlite3_bind_int64(stmt, 3, hold->amount_nanos);
    sqlite3_bind_int64(stmt, 4, hold->expires_us);
    sqlite3_bind_int64(stmt, 5, hold->charge_id);
    sqlite3_bind_int64(stmt, 6, hold->placed_us);
    sqlite3_bind_int64(stmt, 7, hold->expiry_charged_nanos);
    sqlite3_bind_int64(stmt, 8, hold->expiry_charge_id);
    return sqlite_run(s, stmt, "write a hold", err);
}

enum status
sqlite_charge_write(struct store_backend *backend, struct charge_row *row, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    struct charge *c = &row->charge;
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_CHARGE_INSERT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, (int64_t)c->nonce);
    sqlite3_bind_int(stmt, 2, (int)c->kind);
    sqlite3_bind_int64(stmt, 3, row->chain_id);
    sqlite3_bind_int64(stmt, 4, c->amount_nanos);
    sqlite3_bind_int64(stmt, 5, c->at_us);
    sqlite3_bind_int64(stmt, 6, c->created_us);
    sqlite3_bind_int64(stmt, 7, c->occurred_us);
    sqlite3_bind_int64(stmt, 8, row->hold_number);
    sqlite3_bind_int64(stmt, 9, c->refund_of);
    sqlite_bind_optional(stmt, 10, row->hold_number == 0 ? c->hold_id : NULL);
    sqlite_bind_optional(stmt, 11, c->model);
    sqlite_bind_optional(stmt, 12, c->route);
    sqlite_bind_optional(stmt, 13, c->tags);
    sqlite_bind_optional(stmt, 14, c->token);
    sqlite_bind_optional(stmt, 15, c->note);
    sqlite_bind_optional(stmt, 16, c->metadata);
    sqlite_bind_optional(stmt, 17, c->usage);
    sqlite3_bind_int64(stmt, 18, c->price_id);
    status = sqlite_run(s, stmt, "record a charge", err);
    if (status == STATUS_OK)
        c->id = sqlite3_last_insert_rowid(s->db);
    return status;
}

enum status
sqlite_credit_write(struct store_backend *backend, struct credit_row *credit, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_CREDIT_INSERT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, credit->budget_id);
    sqlite3_bind_int64(stmt, 2, credit->amount_nanos);
    sqlite3_bind_int64(stmt, 3, credit->from_us);
    sqlite3_bind_int64(stmt, 4, credit->until_us);
    sqlite3_bind_int64(stmt, 5, credit->created_us);
    sqlite_bind_text(stmt, 6, credit->who);
    sqlite_bind_text(stmt, 7, credit->note);
    status = sqlite_run(s, stmt, "record a credit", err);
    if (status != STATUS_OK)
        return status;
    status = sqlite_prepared(s, SQL_CREDIT_ADD, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, credit->budget_id);
    sqlite3_bind_int64(stmt, 2, credit->amount_nanos);
    return sqlite_run(s, stmt, "record a credit", err);
}

enum status
sqlite_rate_write(struct store_backend *backend, const struct rate_row *rate, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_RATE_WRITE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, rate->account_id);
    sqlite_bind_text(stmt, 2, rate->name);
    sqlite3_bind_int64(stmt, 3, rate->tat_ns);
    return sqlite_run(s, stmt, "write a rate", err);
}

enum status
sqlite_admission_write(struct store_backend *backend, const uint8_t key[ADMISSION_KEY_BYTES],
                       int64_t hold_id, int64_t expires_us, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_ADMISSION_WRITE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_blob(stmt, 1, key, ADMISSION_KEY_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, hold_id);
    sqlite3_bind_int64(stmt, 3, expires_us);
    s->admissions_written++;
    return sqlite_run(s, stmt, "note an admission", err);
}

enum status
sqlite_idempotency_write(struct store_backend *backend, const char *scope, const char *key,
                         const uint8_t fingerprint[SHA256_BYTES], const char *reply,
                         size_t reply_length, int64_t now_us, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_IDEMPOTENCY_WRITE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite_bind_text(stmt, 1, scope);
    sqlite_bind_text(stmt, 2, key);
    sqlite3_bind_blob(stmt, 3, fingerprint, SHA256_BYTES, SQLITE_STATIC);
    sqlite3_bind_blob64(stmt, 4, reply, reply_length, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 5, now_us);
    return sqlite_run(s, stmt, "keep a reply", err);
}

enum status
sqlite_event_write(struct store_backend *backend, const struct event_row *event, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_EVENT_INSERT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int(stmt, 1, (int)event->kind);
    sqlite3_bind_int64(stmt, 2, event->account_id);
    sqlite3_bind_int64(stmt, 3, event->budget_id);
    sqlite3_bind_int64(stmt, 4, event->period_start_us);
    sqlite3_bind_int64(stmt, 5, event->hold_number);
    sqlite3_bind_int(stmt, 6, event->percent);
    sqlite3_bind_int64(stmt, 7, event->created_us);
    sqlite_bind_text(stmt, 8, event->who);
    sqlite_bind_text(stmt, 9, event->text);
    sqlite_bind_text(stmt, 10, event->note);
    return sqlite_run(s, stmt, "write an event", err);
}
