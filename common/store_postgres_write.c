/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL store: writes. They are only queued, and go out with the commit; those that need
 * an answer (a new account, chain or budget line) are of a first sight.
 */
#include "common/store_postgres.h"

#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

#define LINES_PER_ACCOUNT 256 /* budget.id = account_id * 256 + n */

static enum status
queue_write(struct postgres_store *s, enum pg_statement which, const struct pg_params *p,
            struct error *err)
{
    enum status status = pg_ensure_begun(s, err);

    return status == STATUS_OK ? pg_queue(s, which, p, NULL, err) : status;
}

/* ---- chains --------------------------------------------------------------------------------- */

static void
add_member(struct buf *accounts, struct buf *roles, const struct chain_member *member, bool first)
{
    buf_add_char(accounts, first ? '{' : ',');
    buf_add_int(accounts, member->account_id);
    buf_add_char(roles, first ? '{' : ',');
    buf_add_int(roles, member->roles);
}

static enum status
queue_chain(struct postgres_store *s, const char *spec, const struct chain_member *members,
            size_t count, int64_t payer_id, struct error *err)
{
    char account_text[CHAIN_SPEC_SIZE], role_text[CHAIN_SPEC_SIZE];
    struct pg_params chain = { 0 }, rows = { 0 };
    struct buf accounts, roles;
    enum status status;

    buf_init(&accounts, account_text, sizeof(account_text));
    buf_init(&roles, role_text, sizeof(role_text));
    for (size_t i = 0; i < count; i++)
        add_member(&accounts, &roles, &members[i], i == 0);
    buf_add_char(&accounts, '}');
    buf_add_char(&roles, '}');
    if (buf_failed(&accounts) || buf_failed(&roles))
        return error_set(err, STATUS_INTERNAL, "store %s: a chain is too long", s->place);
    pg_string(&chain, spec);
    pg_int(&chain, payer_id);
    status = pg_queue(s, PG_CHAIN_INSERT, &chain, NULL, err);
    pg_string(&rows, spec);
    pg_string(&rows, account_text);
    pg_string(&rows, role_text);
    return status == STATUS_OK ? pg_queue(s, PG_CHAIN_MEMBERS, &rows, NULL, err) : status;
}

enum status
postgres_chain_intern(struct store_backend *backend, const char *spec,
                      const struct chain_member *members, size_t count, int64_t payer_id,
                      bool create, int64_t *id, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_string(&p, spec);
    for (int attempt = 0; attempt < 2; attempt++) {
        status = pg_run(s, PG_CHAIN_FIND, &p, &result, err);
        *id = status == STATUS_OK ? pg_get_int(result, 0, 0) : 0;
        PQclear(result);
        if (status != STATUS_OK || *id != 0 || !create || attempt > 0)
            return status;
        /* It goes out in front of the second look; another process may make the same one. */
        status = queue_chain(s, spec, members, count, payer_id, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* ---- accounts ------------------------------------------------------------------------------- */

static enum status
account_insert(struct postgres_store *s, struct account *account, struct error *err)
{
    struct pg_params p = { 0 }, name = { 0 };
    PGresult *made = NULL, *there = NULL;
    struct account found;
    enum status status = pg_ensure_begun(s, err);

    pg_string(&p, account->name);
    pg_string(&p, account->plan);
    pg_int(&p, account->parent_id);
    pg_int(&p, account->frozen);
    pg_int(&p, account->revoked);
    pg_int(&p, account->expires_us);
    pg_int(&p, account->verify_after);
    pg_int(&p, account->live_holds);
    pg_int(&p, account->first_seen_us);
    pg_string(&name, account->name);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_ACCOUNT_INSERT, &p, &made, err);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_ACCOUNT_BY_NAME, &name, &there, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status == STATUS_OK && PQntuples(made) > 0)
        account->id = pg_get_int(made, 0, 0);
    else if (status == STATUS_OK && PQntuples(there) > 0 && pg_read_account(there, 0, 0, &found))
        *account = found; /* made by another process while we waited for its commit */
    else if (status == STATUS_OK)
        status = pg_too_long(s, err);
    PQclear(made);
    PQclear(there);
    return status;
}

enum status
postgres_account_write(struct store_backend *backend, struct account *account, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };

    if (account->id == 0)
        return account_insert(s, account, err);
    pg_int(&p, account->id);
    pg_string(&p, account->plan);
    pg_int(&p, account->parent_id);
    pg_int(&p, account->frozen);
    pg_int(&p, account->revoked);
    pg_int(&p, account->expires_us);
    pg_int(&p, account->verify_after);
    pg_int(&p, account->live_holds);
    return queue_write(s, PG_ACCOUNT_UPDATE, &p, err);
}

/* ---- budgets -------------------------------------------------------------------------------- */

static void
add_hand_set(struct pg_params *p, const struct budget_line *line)
{
    if (line->hand_limited)
        pg_int(p, line->hand_limit_nanos);
    else
        pg_null(p);
    if (line->hand_enforced)
        pg_int(p, (int64_t)line->hand_enforce);
    else
        pg_null(p);
}

static enum status
line_insert(struct postgres_store *s, int64_t account_id, struct budget_line *line,
            struct error *err)
{
    struct pg_params next = { 0 }, p = { 0 };
    PGresult *result;
    int64_t id;
    enum status status;

    pg_int(&next, account_id);
    status = pg_run(s, PG_LINE_NEXT, &next, &result, err);
    id = status == STATUS_OK ? pg_get_int(result, 0, 0) : 0;
    PQclear(result);
    if (status == STATUS_OK && id >= (account_id + 1) * LINES_PER_ACCOUNT)
        return error_set(err, STATUS_OVERFLOW, "store %s: an account has too many budget lines",
                         s->place);
    if (status != STATUS_OK)
        return status;
    pg_int(&p, id);
    pg_int(&p, account_id);
    pg_int(&p, (int64_t)line->spec.kind);
    pg_string(&p, line->spec.timezone);
    pg_int(&p, line->spec.anchor_day);
    pg_int(&p, line->spec.week_start);
    pg_int(&p, line->created_us);
    add_hand_set(&p, line);
    status = queue_write(s, PG_LINE_INSERT, &p, err);
    if (status == STATUS_OK)
        line->id = id;
    return status;
}

enum status
postgres_line_write(struct store_backend *backend, int64_t account_id, struct budget_line *line,
                    struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };

    if (line->id == 0)
        return line_insert(s, account_id, line, err);
    pg_int(&p, line->id);
    add_hand_set(&p, line);
    return queue_write(s, PG_LINE_UPDATE, &p, err);
}

enum status
postgres_period_write(struct store_backend *backend, const struct budget_line *line,
                      struct error *err)
{
    struct pg_params p = { 0 };

    pg_int(&p, line->id);
    pg_int(&p, line->period.start_us);
    pg_int(&p, line->period.end_us);
    pg_int(&p, line->spent_nanos);
    pg_int(&p, line->held_nanos);
    pg_int(&p, line->alerted);
    return queue_write(postgres_of(backend), PG_PERIOD_WRITE, &p, err);
}

enum status
postgres_credit_write(struct store_backend *backend, struct credit_row *credit, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 }, add = { 0 };
    enum status status;

    pg_int(&p, credit->budget_id);
    pg_int(&p, credit->amount_nanos);
    pg_int(&p, credit->from_us);
    pg_int(&p, credit->until_us);
    pg_int(&p, credit->created_us);
    pg_string(&p, credit->who);
    pg_string(&p, credit->note);
    status = queue_write(s, PG_CREDIT_INSERT, &p, err);
    pg_int(&add, credit->budget_id);
    pg_int(&add, credit->amount_nanos);
    return status == STATUS_OK ? queue_write(s, PG_CREDIT_ADD, &add, err) : status;
}

/* ---- holds and charges ---------------------------------------------------------------------- */

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
hold_insert(struct postgres_store *s, struct hold *hold, struct error *err)
{
    struct pg_params p = { 0 };
    int64_t id;
    enum status status = pg_number(s, PG_HOLDS, &id, err);

    if (status != STATUS_OK)
        return status;
    pg_int(&p, id);
    pg_int(&p, (int64_t)hold->nonce);
    pg_int(&p, hold->chain_id);
    pg_int(&p, (int64_t)hold->state);
    pg_int(&p, hold->amount_nanos);
    pg_int(&p, hold->placed_us);
    pg_int(&p, hold->expires_us);
    pg_int(&p, hold->ttl_us);
    pg_int(&p, hold->charge_id);
    if (all_zero(hold->caller, sizeof(hold->caller)))
        pg_null(&p);
    else
        pg_bytes(&p, hold->caller, sizeof(hold->caller));
    pg_string(&p, hold->plan);
    pg_string(&p, hold->route);
    status = queue_write(s, PG_HOLD_INSERT, &p, err);
    if (status == STATUS_OK)
        hold->id = id;
    return status;
}

enum status
postgres_hold_write(struct store_backend *backend, struct hold *hold, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };

    if (hold->id == 0)
        return hold_insert(s, hold, err);
    pg_int(&p, hold->id);
    pg_int(&p, (int64_t)hold->state);
    pg_int(&p, hold->amount_nanos);
    pg_int(&p, hold->expires_us);
    pg_int(&p, hold->charge_id);
    pg_int(&p, hold->placed_us);
    pg_int(&p, hold->expiry_charged_nanos);
    pg_int(&p, hold->expiry_charge_id);
    return queue_write(s, PG_HOLD_UPDATE, &p, err);
}

enum status
postgres_charge_write(struct store_backend *backend, struct charge_row *row, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct charge *c = &row->charge;
    const char *unknown_hold = row->hold_number == 0 && c->hold_id[0] != '\0' ? c->hold_id : NULL;
    struct pg_params p = { 0 }, once = { 0 };
    int64_t id;
    enum status status = pg_number(s, PG_CHARGES, &id, err);

    if (status != STATUS_OK)
        return status;
    pg_int(&p, id);
    pg_int(&p, (int64_t)c->nonce);
    pg_int(&p, (int64_t)c->kind);
    pg_int(&p, row->chain_id);
    pg_int(&p, c->amount_nanos);
    pg_int(&p, c->at_us);
    pg_int(&p, c->created_us);
    pg_int(&p, c->occurred_us);
    pg_int(&p, row->hold_number);
    pg_int(&p, c->refund_of);
    pg_string(&p, unknown_hold);
    pg_optional(&p, c->model);
    pg_optional(&p, c->route);
    pg_optional(&p, c->tags);
    pg_optional(&p, c->token);
    pg_optional(&p, c->note);
    pg_optional(&p, c->metadata);
    pg_optional(&p, c->usage);
    pg_int(&p, c->price_id);
    status = queue_write(s, PG_CHARGE_INSERT, &p, err);
    if (status == STATUS_OK && unknown_hold != NULL) {
        pg_string(&once, unknown_hold);
        pg_int(&once, id);
        status = queue_write(s, PG_CHARGE_HOLD_TEXT, &once, err);
    }
    if (status == STATUS_OK)
        c->id = id;
    return status;
}

/* ---- the rest of a request ------------------------------------------------------------------ */

enum status
postgres_rate_write(struct store_backend *backend, const struct rate_row *rate, struct error *err)
{
    struct pg_params p = { 0 };

    pg_int(&p, rate->account_id);
    pg_string(&p, rate->name);
    pg_int(&p, rate->tat_ns);
    return queue_write(postgres_of(backend), PG_RATE_WRITE, &p, err);
}

enum status
postgres_admission_write(struct store_backend *backend, const uint8_t key[ADMISSION_KEY_BYTES],
                         int64_t hold_id, int64_t expires_us, struct error *err)
{
    struct pg_params p = { 0 };

    pg_bytes(&p, key, ADMISSION_KEY_BYTES);
    pg_int(&p, hold_id);
    pg_int(&p, expires_us);
    postgres_of(backend)->admissions_written++;
    return queue_write(postgres_of(backend), PG_ADMISSION_WRITE, &p, err);
}

enum status
postgres_idempotency_write(struct store_backend *backend, const char *scope, const char *key,
                           const uint8_t fingerprint[SHA256_BYTES], const char *reply,
                           size_t reply_length, int64_t now_us, struct error *err)
{
    struct pg_params p = { 0 };

    pg_string(&p, scope);
    pg_string(&p, key);
    pg_bytes(&p, fingerprint, SHA256_BYTES);
    pg_bytes(&p, reply, reply_length);
    pg_int(&p, now_us);
    return queue_write(postgres_of(backend), PG_IDEMPOTENCY_WRITE, &p, err);
}

enum status
postgres_event_write(struct store_backend *backend, const struct event_row *event,
                     struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };

    pg_int(&p, (int64_t)event->kind);
    pg_int(&p, event->account_id);
    pg_int(&p, event->budget_id);
    pg_int(&p, event->period_start_us);
    pg_int(&p, event->hold_number);
    pg_int(&p, event->percent);
    pg_int(&p, event->created_us);
    pg_string(&p, event->who);
    pg_string(&p, event->text);
    pg_string(&p, event->note);
    return queue_write(s, PG_EVENT_INSERT, &p, err);
}
