/* SPDX-License-Identifier: MIT */
/*
 * Reads: rows in, as the ledger wants them.
 */
#include "common/store_sqlite.h"

#include <inttypes.h>
#include <string.h>

#include "common/buf.h"
#include "common/crypto.h"

#include "common/banned.h"

bool
sqlite_read_account(sqlite3_stmt *stmt, int first, struct account *out)
{
    memset(out, 0, sizeof(*out));
    out->id = sqlite3_column_int64(stmt, first);
    out->parent_id = sqlite3_column_int64(stmt, first + 3);
    out->frozen = sqlite3_column_int(stmt, first + 4) != 0;
    out->revoked = sqlite3_column_int(stmt, first + 5) != 0;
    out->expires_us = sqlite3_column_int64(stmt, first + 6);
    out->verify_after = sqlite3_column_int64(stmt, first + 7);
    out->live_holds = sqlite3_column_int64(stmt, first + 8);
    out->first_seen_us = sqlite3_column_int64(stmt, first + 9);
    return sqlite_text(stmt, first + 1, out->name, sizeof(out->name)) &&
           sqlite_text(stmt, first + 2, out->plan, sizeof(out->plan));
}

bool
sqlite_read_line(sqlite3_stmt *stmt, int first, int account, struct budget_line *out)
{
    memset(out, 0, sizeof(*out));
    out->account = account;
    out->id = sqlite3_column_int64(stmt, first);
    out->spec.kind = (enum period_kind)sqlite3_column_int(stmt, first + 1);
    out->spec.anchor_day = sqlite3_column_int(stmt, first + 3);
    out->spec.week_start = sqlite3_column_int(stmt, first + 4);
    out->created_us = sqlite3_column_int64(stmt, first + 5);
    out->hand_limited = sqlite3_column_type(stmt, first + 6) != SQLITE_NULL;
    out->hand_limit_nanos = sqlite3_column_int64(stmt, first + 6);
    out->hand_enforced = sqlite3_column_type(stmt, first + 7) != SQLITE_NULL;
    out->hand_enforce = (enum enforce)sqlite3_column_int(stmt, first + 7);
    out->has_credits = sqlite3_column_int64(stmt, first + 8) != 0;
    return sqlite_text(stmt, first + 2, out->spec.timezone, sizeof(out->spec.timezone));
}

/* The last period row that starts at or before `at_us`; it is the one asked for only when it has
 * not ended by then. */
static void
sqlite_read_period(sqlite3_stmt *stmt, int first, int64_t at_us, struct budget_line *line)
{
    if (sqlite3_column_type(stmt, first) == SQLITE_NULL ||
        sqlite3_column_int64(stmt, first + 1) <= at_us)
        return;
    line->period_stored = true;
    line->period.start_us = sqlite3_column_int64(stmt, first);
    line->period.end_us = sqlite3_column_int64(stmt, first + 1);
    line->spent_nanos = sqlite3_column_int64(stmt, first + 2);
    line->held_nanos = sqlite3_column_int64(stmt, first + 3);
    line->alerted = sqlite3_column_int(stmt, first + 4);
    line->credit_nanos = sqlite3_column_int64(stmt, first + 5);
}

bool
sqlite_read_hold(sqlite3_stmt *stmt, int first, struct hold *out)
{
    const void *caller = sqlite3_column_blob(stmt, first + 9);

    memset(out, 0, sizeof(*out));
    out->id = sqlite3_column_int64(stmt, first);
    out->nonce = (uint64_t)sqlite3_column_int64(stmt, first + 1);
    out->chain_id = sqlite3_column_int64(stmt, first + 2);
    out->state = (enum hold_state)sqlite3_column_int(stmt, first + 3);
    out->amount_nanos = sqlite3_column_int64(stmt, first + 4);
    out->placed_us = sqlite3_column_int64(stmt, first + 5);
    out->expires_us = sqlite3_column_int64(stmt, first + 6);
    out->ttl_us = sqlite3_column_int64(stmt, first + 7);
    out->charge_id = sqlite3_column_int64(stmt, first + 8);
    if (caller != NULL && sqlite3_column_bytes(stmt, first + 9) == (int)sizeof(out->caller))
        memcpy(out->caller, caller, sizeof(out->caller));
    out->expiry_charged_nanos = sqlite3_column_int64(stmt, first + 12);
    out->expiry_charge_id = sqlite3_column_int64(stmt, first + 13);
    return sqlite_text(stmt, first + 10, out->plan, sizeof(out->plan)) &&
           sqlite_text(stmt, first + 11, out->route, sizeof(out->route));
}

bool
sqlite_read_charge(sqlite3_stmt *stmt, struct charge_row *out)
{
    struct charge *c = &out->charge;

    memset(out, 0, sizeof(*out));
    c->id = sqlite3_column_int64(stmt, 0);
    c->nonce = (uint64_t)sqlite3_column_int64(stmt, 1);
    c->kind = (enum charge_kind)sqlite3_column_int(stmt, 2);
    out->chain_id = sqlite3_column_int64(stmt, 3);
    c->amount_nanos = sqlite3_column_int64(stmt, 4);
    c->at_us = sqlite3_column_int64(stmt, 5);
    c->created_us = sqlite3_column_int64(stmt, 6);
    c->occurred_us = sqlite3_column_int64(stmt, 7);
    out->hold_number = sqlite3_column_int64(stmt, 8);
    c->refund_of = sqlite3_column_int64(stmt, 9);
    c->refund_of_nonce = (uint64_t)sqlite3_column_int64(stmt, 20);
    c->price_id = sqlite3_column_int64(stmt, 22);
    if (!sqlite_text(stmt, 10, c->hold_id, sizeof(c->hold_id)))
        return false;
    if (out->hold_number != 0 && sqlite3_column_type(stmt, 11) != SQLITE_NULL)
        public_id_format("hld_", out->hold_number, (uint64_t)sqlite3_column_int64(stmt, 11),
                         c->hold_id);
    return sqlite_text(stmt, 12, c->account, sizeof(c->account)) &&
           sqlite_text(stmt, 13, c->key_id, sizeof(c->key_id)) &&
           sqlite_text(stmt, 14, c->model, sizeof(c->model)) &&
           sqlite_text(stmt, 15, c->route, sizeof(c->route)) &&
           sqlite_text(stmt, 16, c->tags, sizeof(c->tags)) &&
           sqlite_text(stmt, 17, c->token, sizeof(c->token)) &&
           sqlite_text(stmt, 18, c->note, sizeof(c->note)) &&
           sqlite_text(stmt, 19, c->metadata, sizeof(c->metadata)) &&
           sqlite_text(stmt, 21, c->usage, sizeof(c->usage));
}

static enum status
one_account(struct sqlite_store *s, sqlite3_stmt *stmt, bool *found, struct account *out,
            struct error *err)
{
    enum status status = sqlite_next(s, stmt, found, "read an account", err);

    memset(out, 0, sizeof(*out));
    if (status != STATUS_OK || !*found)
        return status;
    if (!sqlite_read_account(stmt, 0, out))
        return sqlite_too_long(s, stmt, err);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

enum status
sqlite_accounts_find(struct store_backend *backend, const char *const *names, size_t count,
                     struct account *out, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    bool found;
    enum status status = sqlite_prepared(s, SQL_ACCOUNT_BY_NAME, &stmt, err);

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        sqlite_bind_text(stmt, 1, names[i]);
        status = one_account(s, stmt, &found, &out[i], err);
    }
    return status;
}

enum status
sqlite_account_lock(struct store_backend *backend, const char *name, struct account *out,
                    struct error *err)
{
    return sqlite_accounts_find(backend, &name, 1, out, err);
}

enum status
sqlite_account_get(struct store_backend *backend, int64_t id, struct account *out,
                   struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    bool found;
    enum status status = sqlite_prepared(s, SQL_ACCOUNT_BY_ID, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, id);
    status = one_account(s, stmt, &found, out, err);
    if (status == STATUS_OK && !found)
        return error_set(err, STATUS_NOT_FOUND, "store %s: there is no account %" PRId64, s->path,
                         id);
    return status;
}

enum status
sqlite_generations_below(struct store_backend *backend, int64_t id, int *out, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    int64_t depth = 0;
    enum status status = sqlite_prepared(s, SQL_GENERATIONS, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, id);
    sqlite3_bind_int(stmt, 2, LEDGER_PARENTS_MAX + 1); /* a circle made by hand ends here */
    status = sqlite_one_int(s, stmt, 0, &depth, "look below an account", err);
    *out = (int)depth;
    return status;
}

enum status
sqlite_chain_intern(struct store_backend *backend, const char *spec,
                    const struct chain_member *members, size_t count, int64_t payer_id, bool create,
                    int64_t *id, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_CHAIN_FIND, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite_bind_text(stmt, 1, spec);
    status = sqlite_one_int(s, stmt, 0, id, "find a chain", err);
    if (status != STATUS_OK || *id != 0 || !create)
        return status;
    status = sqlite_prepared(s, SQL_CHAIN_INSERT, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite_bind_text(stmt, 1, spec);
    sqlite3_bind_int64(stmt, 2, payer_id);
    status = sqlite_run(s, stmt, "make a chain", err);
    if (status == STATUS_OK)
        status = sqlite_prepared(s, SQL_CHAIN_MEMBER, &stmt, err);
    if (status == STATUS_OK)
        *id = sqlite3_last_insert_rowid(s->db);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        sqlite3_bind_int64(stmt, 1, *id);
        sqlite3_bind_int64(stmt, 2, (int64_t)i);
        sqlite3_bind_int64(stmt, 3, members[i].account_id);
        sqlite3_bind_int64(stmt, 4, members[i].roles);
        status = sqlite_run(s, stmt, "make a chain", err);
    }
    return status;
}

enum status
sqlite_last_seen(struct store_backend *backend, enum chain_role role, const char *key_id,
                 const char *subject, char out[ACCOUNT_NAME_SIZE], struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    char name[ACCOUNT_NAME_SIZE + 4];
    struct buf text;
    sqlite3_stmt *stmt;
    bool row;
    enum status status = sqlite_prepared(s, SQL_LAST_SEEN, &stmt, err);

    out[0] = '\0';
    if (status != STATUS_OK)
        return status;
    buf_init(&text, name, sizeof(name));
    buf_add_format(&text, "%s%s", key_id[0] != '\0' ? "key:" : "",
                   key_id[0] != '\0' ? key_id : subject);
    sqlite_bind_text(stmt, 1, name);
    sqlite3_bind_int(stmt, 2, key_id[0] != '\0' ? CHAIN_KEY : CHAIN_SUBJECT);
    sqlite3_bind_int(stmt, 3, (int)role);
    status = sqlite_next(s, stmt, &row, "find who was last seen", err);
    if (status != STATUS_OK || !row)
        return status;
    if (!sqlite_text(stmt, 0, out, ACCOUNT_NAME_SIZE))
        return sqlite_too_long(s, stmt, err);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

/* The line in columns `first`.. with its period, appended to the ledger. */
static enum status
append_line(struct sqlite_store *s, sqlite3_stmt *stmt, int first, int account, int64_t at_us,
            struct ledger *ledger, struct error *err)
{
    struct budget_line *line;

    if (ledger->line_count == LEDGER_LINES_MAX) {
        sqlite3_reset(stmt);
        return error_set(
            err, STATUS_OVERFLOW,
            "store %s: a request counts on more than %d budget lines; give its accounts "
            "fewer",
            s->path, LEDGER_LINES_MAX);
    }
    line = &ledger->lines[ledger->line_count++];
    if (!sqlite_read_line(stmt, first, account, line))
        return sqlite_too_long(s, stmt, err);
    sqlite_read_period(stmt, first + LINE_WIDTH, at_us, line);
    return STATUS_OK;
}

static enum status
append_account(struct sqlite_store *s, sqlite3_stmt *stmt, struct ledger *ledger, struct error *err)
{
    int index = (int)ledger->account_count;
    int roles = sqlite3_column_int(stmt, ACCOUNT_WIDTH);

    if (index == LEDGER_ACCOUNTS_MAX) {
        sqlite3_reset(stmt);
        return error_set(err, STATUS_CORRUPT, "store %s: a chain has too many accounts", s->path);
    }
    if (!sqlite_read_account(stmt, 0, &ledger->accounts[index]))
        return sqlite_too_long(s, stmt, err);
    ledger->account_count++;
    if ((roles & CHAIN_KEY) != 0)
        ledger->key = index;
    if ((roles & CHAIN_SUBJECT) != 0)
        ledger->subject = index;
    if ((roles & CHAIN_ORGANIZATION) != 0)
        ledger->organization = index;
    return STATUS_OK;
}

static enum status
load_chain(struct sqlite_store *s, int64_t chain_id, int64_t at_us, int64_t now_us,
           struct ledger *ledger, struct error *err)
{
    sqlite3_stmt *stmt;
    int64_t account = 0;
    bool row;
    enum status status = sqlite_prepared(s, SQL_LOAD, &stmt, err);

    ledger->chain_id = chain_id;
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, chain_id);
    sqlite3_bind_int64(stmt, 2, at_us);
    sqlite3_bind_int64(stmt, 3, now_us);
    while ((status = sqlite_next(s, stmt, &row, "read a chain", err)) == STATUS_OK && row) {
        if (sqlite3_column_int64(stmt, 0) != account) {
            account = sqlite3_column_int64(stmt, 0);
            status = append_account(s, stmt, ledger, err);
        }
        if (status == STATUS_OK && sqlite3_column_type(stmt, ACCOUNT_WIDTH + 1) != SQLITE_NULL)
            status = append_line(s, stmt, ACCOUNT_WIDTH + 1, (int)ledger->account_count - 1, at_us,
                                 ledger, err);
        if (status != STATUS_OK)
            return status;
    }
    return status;
}

enum status
sqlite_load_lines(struct store_backend *backend, struct ledger *ledger, int index, int64_t at_us,
                  int64_t now_us, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    bool row;
    enum status status = sqlite_prepared(s, SQL_LINES, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, ledger->accounts[index].id);
    sqlite3_bind_int64(stmt, 2, at_us);
    sqlite3_bind_int64(stmt, 3, now_us);
    while ((status = sqlite_next(s, stmt, &row, "read budget lines", err)) == STATUS_OK && row) {
        status = append_line(s, stmt, 0, index, at_us, ledger, err);
        if (status != STATUS_OK)
            return status;
    }
    return status;
}

static enum status
read_one_hold(struct sqlite_store *s, sqlite3_stmt *stmt, struct store_load *load,
              struct error *err)
{
    enum status status = sqlite_next(s, stmt, &load->hold_found, "read a hold", err);

    if (status != STATUS_OK || !load->hold_found)
        return status;
    if (!sqlite_read_hold(stmt, 0, &load->hold))
        return sqlite_too_long(s, stmt, err);
    load->hold.charged_nanos = sqlite3_column_int64(stmt, HOLD_WIDTH);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

static enum status
load_hold(struct sqlite_store *s, struct store_load *load, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_HOLD, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, load->hold_id);
    sqlite3_bind_int64(stmt, 2, (int64_t)load->hold_nonce);
    return read_one_hold(s, stmt, load, err);
}

static enum status
one_charge(struct sqlite_store *s, sqlite3_stmt *stmt, bool *found, struct charge_row *out,
           struct error *err)
{
    enum status status = sqlite_next(s, stmt, found, "read a charge", err);

    if (status != STATUS_OK || !*found)
        return status;
    if (!sqlite_read_charge(stmt, out))
        return sqlite_too_long(s, stmt, err);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

static enum status
load_charge(struct sqlite_store *s, struct store_load *load, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_CHARGE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, load->charge_id);
    sqlite3_bind_int64(stmt, 2, (int64_t)load->charge_nonce);
    status = one_charge(s, stmt, &load->charge_found, &load->charge, err);
    if (status != STATUS_OK || !load->charge_found)
        return status;
    status = sqlite_prepared(s, SQL_REFUNDED, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, load->charge_id);
    return sqlite_one_int(s, stmt, 0, &load->refunded_nanos, "read refunds", err);
}

static enum status
load_rates(struct sqlite_store *s, struct ledger *ledger, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_RATE, &stmt, err);

    for (size_t i = 0; i < ledger->rate_count && status == STATUS_OK; i++) {
        sqlite3_bind_int64(stmt, 1, ledger->rates[i].account_id);
        sqlite_bind_text(stmt, 2, ledger->rates[i].name);
        status = sqlite_one_int(s, stmt, 0, &ledger->rates[i].tat_ns, "read a rate", err);
    }
    return status;
}

static enum status
load_admission(struct sqlite_store *s, struct store_load *load, struct error *err)
{
    sqlite3_stmt *stmt;
    int64_t hold;
    enum status status = sqlite_prepared(s, SQL_ADMISSION, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_blob(stmt, 1, load->admission_key, ADMISSION_KEY_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, load->now_us);
    status = sqlite_one_int(s, stmt, -1, &hold, "read an admission", err);
    load->admission_found = status == STATUS_OK && hold >= 0;
    load->admission_hold = load->admission_found ? hold : 0;
    if (load->admission_hold == 0)
        return status;
    status = sqlite_prepared(s, SQL_HOLD_BY_ID, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, load->admission_hold);
    return read_one_hold(s, stmt, load, err);
}

enum status
sqlite_idempotency_find(struct store_backend *backend, const char *scope, const char *key,
                        struct idempotency_row *out, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    size_t length;
    enum status status = sqlite_prepared(s, SQL_IDEMPOTENCY, &stmt, err);

    out->found = false;
    out->reply_length = 0;
    if (status != STATUS_OK)
        return status;
    sqlite_bind_text(stmt, 1, scope);
    sqlite_bind_text(stmt, 2, key);
    status = sqlite_next(s, stmt, &out->found, "read an idempotency key", err);
    if (status != STATUS_OK || !out->found)
        return status;
    length = (size_t)sqlite3_column_bytes(stmt, 1);
    if (sqlite3_column_bytes(stmt, 0) != SHA256_BYTES || length >= sizeof(out->reply))
        return sqlite_too_long(s, stmt, err);
    memcpy(out->fingerprint, sqlite3_column_blob(stmt, 0), SHA256_BYTES);
    if (length > 0)
        memcpy(out->reply, sqlite3_column_blob(stmt, 1), length);
    out->reply[length] = '\0';
    out->reply_length = length;
    sqlite3_reset(stmt);
    return STATUS_OK;
}

enum status
sqlite_load(struct store_backend *backend, struct store_load *load, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    struct ledger *ledger = load->ledger;
    int64_t chain = load->chain_id, at_us = load->at_us;
    enum status status = STATUS_OK;

    load->hold_found = load->charge_found = load->admission_found = false;
    load->refunded_nanos = load->admission_hold = 0;
    load->expiry_waits = load->expiry_in_chain = false;
    s->now_us = load->now_us;
    ledger->account_count = ledger->line_count = ledger->event_count = 0;
    ledger->key = ledger->subject = ledger->organization = -1;
    if (load->hold_id != 0)
        status = load_hold(s, load, err);
    if (status == STATUS_OK && load->charge_id != 0)
        status = load_charge(s, load, err);
    if (status == STATUS_OK && load->idempotency != NULL)
        status = sqlite_idempotency_find(backend, load->idempotency_scope, load->idempotency_key,
                                         load->idempotency, err);
    if (status == STATUS_OK && load->admission_key != NULL)
        status = load_admission(s, load, err);
    if (chain == 0)
        chain = load->hold_found     ? load->hold.chain_id
                : load->charge_found ? load->charge.chain_id
                                     : 0;
    if (at_us == 0)
        at_us = load->hold_found     ? load->hold.placed_us
                : load->charge_found ? load->charge.charge.at_us
                                     : load->now_us;
    if (status == STATUS_OK)
        status = sqlite_load_expiry(s, load, chain, err);
    if (status == STATUS_OK && chain != 0)
        status = load_chain(s, chain, at_us, load->now_us, ledger, err);
    return status == STATUS_OK ? load_rates(s, ledger, err) : status;
}

enum status
sqlite_journal_sum(struct store_backend *backend, int64_t account_id, int64_t start_us,
                   int64_t end_us, int64_t *spent_nanos, int64_t *held_nanos, int64_t *later_us,
                   struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    const enum statement which[] = { SQL_SPENT, SQL_HELD };
    int64_t *const out[] = { spent_nanos, held_nanos };
    sqlite3_stmt *stmt;
    bool row;
    enum status status = STATUS_OK;

    *later_us = 0;
    for (size_t i = 0; i < 2 && status == STATUS_OK; i++) {
        int64_t first_us;

        status = sqlite_prepared(s, which[i], &stmt, err);
        if (status != STATUS_OK)
            break;
        sqlite3_bind_int64(stmt, 1, account_id);
        sqlite3_bind_int64(stmt, 2, start_us);
        sqlite3_bind_int64(stmt, 3, end_us);
        status = sqlite_next(s, stmt, &row, "sum the journal", err);
        if (status != STATUS_OK)
            break;
        *out[i] = sqlite3_column_int64(stmt, 0);
        first_us = sqlite3_column_int64(stmt, 1);
        if (*later_us == 0 || (first_us != 0 && first_us < *later_us))
            *later_us = first_us;
        sqlite3_reset(stmt);
    }
    return status;
}

enum status
sqlite_credit_sum(struct store_backend *backend, int64_t budget_id, int64_t from_us, int64_t to_us,
                  int64_t *nanos, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_CREDIT_SUM, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, budget_id);
    sqlite3_bind_int64(stmt, 2, from_us);
    sqlite3_bind_int64(stmt, 3, to_us);
    return sqlite_one_int(s, stmt, 0, nanos, "sum credits", err);
}

enum status
sqlite_history(struct store_backend *backend, int64_t budget_id, int64_t before_us,
               struct period_history *out, size_t *count, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    struct period_history swap;
    sqlite3_stmt *stmt;
    size_t n = 0;
    bool row;
    enum status status = sqlite_prepared(s, SQL_HISTORY, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, budget_id);
    sqlite3_bind_int64(stmt, 2, before_us);
    sqlite3_bind_int64(stmt, 3, (int64_t)*count);
    while ((status = sqlite_next(s, stmt, &row, "read earlier periods", err)) == STATUS_OK && row) {
        out[n].period.start_us = sqlite3_column_int64(stmt, 0);
        out[n].period.end_us = sqlite3_column_int64(stmt, 1);
        out[n].spent_nanos = sqlite3_column_int64(stmt, 2);
        out[n].credit_nanos = sqlite3_column_int64(stmt, 3);
        n++;
    }
    for (size_t i = 0; i < n / 2; i++) {
        swap = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = swap;
    }
    *count = n;
    return status;
}

enum status
sqlite_route_amounts(struct store_backend *backend, const char *route, int64_t *out, size_t *count,
                     struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    size_t n = 0;
    bool row;
    enum status status = sqlite_prepared(s, SQL_ROUTE_AMOUNTS, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite_bind_text(stmt, 1, route);
    sqlite3_bind_int64(stmt, 2, (int64_t)*count);
    while ((status = sqlite_next(s, stmt, &row, "read a route's charges", err)) == STATUS_OK && row)
        out[n++] = sqlite3_column_int64(stmt, 0);
    *count = n;
    return status;
}

enum status
sqlite_unknown_hold(struct store_backend *backend, const char *hold_text, bool *found,
                    struct charge_row *out, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_UNKNOWN_HOLD, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite_bind_text(stmt, 1, hold_text);
    return one_charge(s, stmt, found, out, err);
}

enum status
sqlite_verification_number(struct store_backend *backend, bool advance, int64_t *out,
                           struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status =
        sqlite_prepared(s, advance ? SQL_VERIFICATION_NEXT : SQL_VERIFICATION, &stmt, err);

    return status == STATUS_OK
               ? sqlite_one_int(s, stmt, 0, out, "read the verification counter", err)
               : status;
}
