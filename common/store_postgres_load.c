/* SPDX-License-Identifier: MIT */
/* The PostgreSQL store: what is read on the way of a request. */
#include "common/store_postgres.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

/* ---- accounts ------------------------------------------------------------------------------- */

static enum status
read_one_account(struct postgres_store *s, const PGresult *result, struct account *out,
                 struct error *err)
{
    memset(out, 0, sizeof(*out));
    if (PQntuples(result) == 0)
        return STATUS_OK;
    return pg_read_account(result, 0, 0, out) ? STATUS_OK : pg_too_long(s, err);
}

#define NAMES_MAX 8

enum status
postgres_accounts_find(struct store_backend *backend, const char *const *names, size_t count,
                       struct account *out, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    PGresult *found[NAMES_MAX] = { NULL };
    enum status status = pg_ensure_begun(s, err);

    assert(count <= NAMES_MAX);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        struct pg_params p = { 0 };

        pg_string(&p, names[i]);
        status = pg_queue(s, PG_ACCOUNT_BY_NAME, &p, &found[i], err);
    }
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        status = read_one_account(s, found[i], &out[i], err);
    for (size_t i = 0; i < count; i++)
        PQclear(found[i]);
    return status;
}

enum status
postgres_account_lock(struct store_backend *backend, const char *name, struct account *out,
                      struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    enum status status;

    if (account_kind_of(name) == ACCOUNT_ALL && !s->alone) {
        s->want_alone = true;
        if (s->begun) { /* something was written first: from the start again */
            s->failure = STORE_TRY_AGAIN;
            return error_set(err, STATUS_BUSY, "store %s: `all` is to be changed alone; try again",
                             s->place);
        }
    }
    status = pg_ensure_begun(s, err);
    pg_string(&p, name);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_ACCOUNT_LOCK, &p, NULL, err);
    return status == STATUS_OK ? postgres_accounts_find(backend, &name, 1, out, err) : status;
}

enum status
postgres_account_get(struct store_backend *backend, int64_t id, struct account *out,
                     struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_int(&p, id);
    status = pg_run(s, PG_ACCOUNT_BY_ID, &p, &result, err);
    if (status == STATUS_OK)
        status = read_one_account(s, result, out, err);
    PQclear(result);
    if (status == STATUS_OK && out->id == 0)
        return error_set(err, STATUS_NOT_FOUND, "store %s: there is no account %" PRId64, s->place,
                         id);
    return status;
}

/* The one integer of the one row; `fallback` when there is no row or NULL. */
static enum status
one_int(struct postgres_store *s, enum pg_statement which, const struct pg_params *p,
        int64_t fallback, int64_t *out, struct error *err)
{
    PGresult *result;
    enum status status = pg_run(s, which, p, &result, err);

    *out = fallback;
    if (status == STATUS_OK && PQntuples(result) > 0 && !pg_is_null(result, 0, 0))
        *out = pg_get_int(result, 0, 0);
    PQclear(result);
    return status;
}

enum status
postgres_generations_below(struct store_backend *backend, int64_t id, int *out, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    int64_t depth = 0;
    enum status status = pg_ensure_begun(s, err);

    pg_int(&p, id);
    pg_int(&p, LEDGER_PARENTS_MAX + 1); /* a circle made by hand ends here */
    if (status == STATUS_OK && s->mode == STORE_WRITE)
        status = pg_queue(s, PG_TREE_LOCK, NULL, NULL, err);
    if (status == STATUS_OK)
        status = one_int(s, PG_GENERATIONS, &p, 0, &depth, err);
    *out = (int)depth;
    return status;
}

enum status
postgres_last_seen(struct store_backend *backend, enum chain_role role, const char *key_id,
                   const char *subject, char out[ACCOUNT_NAME_SIZE], struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    char name[ACCOUNT_NAME_SIZE + 4];
    struct pg_params p = { 0 };
    struct buf text;
    PGresult *result;
    enum status status;

    out[0] = '\0';
    buf_init(&text, name, sizeof(name));
    buf_add_format(&text, "%s%s", key_id[0] != '\0' ? "key:" : "",
                   key_id[0] != '\0' ? key_id : subject);
    pg_string(&p, name);
    pg_int(&p, key_id[0] != '\0' ? (int64_t)CHAIN_KEY : (int64_t)CHAIN_SUBJECT);
    pg_int(&p, (int64_t)role);
    status = pg_run(s, PG_LAST_SEEN, &p, &result, err);
    if (status == STATUS_OK && PQntuples(result) > 0 &&
        !pg_get_text(result, 0, 0, out, ACCOUNT_NAME_SIZE))
        status = pg_too_long(s, err);
    PQclear(result);
    return status;
}

/* ---- load ----------------------------------------------------------------------------------- */

/* The answers of one load; NULL where nothing was asked. */
struct answers {
    PGresult *hold, *refunded, *idempotency, *admission, *expiry, *expired, *chain, *clock;
    PGresult *rates[LEDGER_RATES_MAX];
    PGresult *numbers[PG_NUMBERS];
};

static void
clear_answers(struct answers *a)
{
    PQclear(a->hold);
    PQclear(a->refunded);
    PQclear(a->idempotency);
    PQclear(a->admission);
    PQclear(a->expiry);
    PQclear(a->expired);
    PQclear(a->chain);
    PQclear(a->clock);
    for (size_t i = 0; i < LEDGER_RATES_MAX; i++)
        PQclear(a->rates[i]);
    for (size_t i = 0; i < PG_NUMBERS; i++)
        PQclear(a->numbers[i]);
}

/* The last period row that starts at or before `at_us`; it is the one asked for only when it has
 * not ended by then. */
static void
read_period(const PGresult *r, int row, int first, int64_t at_us, struct budget_line *line)
{
    if (pg_is_null(r, row, first) || pg_get_int(r, row, first + 1) <= at_us)
        return;
    line->period_stored = true;
    line->period.start_us = pg_get_int(r, row, first);
    line->period.end_us = pg_get_int(r, row, first + 1);
    line->spent_nanos = pg_get_int(r, row, first + 2);
    line->held_nanos = pg_get_int(r, row, first + 3);
    line->alerted = (int)pg_get_int(r, row, first + 4);
    line->credit_nanos = pg_get_int(r, row, first + 5);
}

/* The line in columns `first`.. with its period, appended to the ledger. */
static enum status
append_line(struct postgres_store *s, const PGresult *r, int row, int first, int account,
            int64_t at_us, struct ledger *ledger, struct error *err)
{
    struct budget_line *line;

    if (ledger->line_count == LEDGER_LINES_MAX)
        return error_set(
            err, STATUS_OVERFLOW,
            "store %s: a request counts on more than %d budget lines; give its accounts fewer",
            s->place, LEDGER_LINES_MAX);
    line = &ledger->lines[ledger->line_count++];
    if (!pg_read_line(r, row, first, account, line))
        return pg_too_long(s, err);
    read_period(r, row, first + PG_LINE_WIDTH, at_us, line);
    return STATUS_OK;
}

static enum status
append_account(struct postgres_store *s, const PGresult *r, int row, struct ledger *ledger,
               struct error *err)
{
    int index = (int)ledger->account_count;
    int64_t roles = pg_get_int(r, row, PG_ACCOUNT_WIDTH);

    if (index == LEDGER_ACCOUNTS_MAX)
        return error_set(err, STATUS_CORRUPT, "store %s: a chain has too many accounts", s->place);
    if (!pg_read_account(r, row, 0, &ledger->accounts[index]))
        return pg_too_long(s, err);
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
read_chain(struct postgres_store *s, const PGresult *r, int64_t at_us, struct ledger *ledger,
           struct error *err)
{
    int64_t account = 0;
    enum status status = STATUS_OK;

    for (int row = 0; row < PQntuples(r) && status == STATUS_OK; row++) {
        if (pg_get_int(r, row, 0) != account) {
            account = pg_get_int(r, row, 0);
            status = append_account(s, r, row, ledger, err);
        }
        if (status == STATUS_OK && !pg_is_null(r, row, PG_ACCOUNT_WIDTH + 1))
            status = append_line(s, r, row, PG_ACCOUNT_WIDTH + 1, (int)ledger->account_count - 1,
                                 at_us, ledger, err);
    }
    return status;
}

enum status
postgres_load_lines(struct store_backend *backend, struct ledger *ledger, int index, int64_t at_us,
                    int64_t now_us, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_int(&p, ledger->accounts[index].id);
    pg_int(&p, now_us);
    pg_int(&p, at_us);
    status = pg_run(s, PG_LINES, &p, &result, err);
    for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++)
        status = append_line(s, result, row, 0, index, at_us, ledger, err);
    PQclear(result);
    return status;
}

/* What is read of the past, to be written back, is not pruned meanwhile. */
static enum status
keep_past(struct postgres_store *s, enum status status, struct error *err)
{
    return status == STATUS_OK && s->mode == STORE_WRITE ? pg_queue(s, PG_PAST, NULL, NULL, err)
                                                         : status;
}

/* A charge never changes, so it is read before its accounts are locked: it says which they are. */
static enum status
load_charge(struct postgres_store *s, struct store_load *load, struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result = NULL;
    enum status status = keep_past(s, pg_ensure_begun(s, err), err);

    pg_int(&p, load->charge_id);
    pg_int(&p, (int64_t)load->charge_nonce);
    if (status == STATUS_OK)
        status = pg_run(s, PG_CHARGE, &p, &result, err);
    load->charge_found = status == STATUS_OK && PQntuples(result) > 0;
    if (load->charge_found && !pg_read_charge(result, 0, &load->charge))
        status = pg_too_long(s, err);
    PQclear(result);
    return status;
}

static enum status
queue_locks(struct postgres_store *s, const struct store_load *load, int64_t chain,
            struct error *err)
{
    struct pg_params p = { 0 };

    if (chain != 0) {
        pg_int(&p, chain);
        return pg_queue(s, PG_LOCK_CHAIN, &p, NULL, err);
    }
    if (load->hold_id == 0)
        return STATUS_OK;
    pg_int(&p, load->hold_id);
    pg_int(&p, (int64_t)load->hold_nonce);
    return pg_queue(s, PG_LOCK_CHAIN_OF_HOLD, &p, NULL, err);
}

static enum status
queue_chain(struct postgres_store *s, const struct store_load *load, int64_t chain, int64_t at_us,
            PGresult **out, struct error *err)
{
    struct pg_params p = { 0 };

    if (chain == 0 && load->hold_id == 0)
        return STATUS_OK;
    pg_int(&p, chain != 0 ? chain : load->hold_id);
    pg_int(&p, load->now_us);
    pg_int(&p, at_us);
    if (chain == 0)
        pg_int(&p, (int64_t)load->hold_nonce);
    return pg_queue(s, chain != 0 ? PG_LOAD_CHAIN : PG_LOAD_CHAIN_OF_HOLD, &p, out, err);
}

static enum status
queue_hold(struct postgres_store *s, const struct store_load *load, PGresult **out,
           struct error *err)
{
    struct pg_params p = { 0 };

    if (load->hold_id == 0)
        return STATUS_OK;
    pg_int(&p, load->hold_id);
    pg_int(&p, (int64_t)load->hold_nonce);
    return pg_queue(s, s->mode == STORE_WRITE ? PG_HOLD_LOCKED : PG_HOLD, &p, out, err);
}

/* What may be in the store about this very request: earlier replies, calls and refunds. */
static enum status
queue_earlier(struct postgres_store *s, const struct store_load *load, struct answers *a,
              struct error *err)
{
    struct pg_params charge = { 0 }, key = { 0 }, admission = { 0 };
    enum status status = STATUS_OK;

    if (load->charge_found) {
        pg_int(&charge, load->charge_id);
        status = pg_queue(s, PG_REFUNDED, &charge, &a->refunded, err);
    }
    if (status == STATUS_OK && load->idempotency != NULL) {
        pg_string(&key, load->idempotency_scope);
        pg_string(&key, load->idempotency_key);
        status = pg_queue(s, PG_IDEMPOTENCY, &key, &a->idempotency, err);
    }
    if (status == STATUS_OK && load->admission_key != NULL) {
        pg_bytes(&admission, load->admission_key, ADMISSION_KEY_BYTES);
        pg_int(&admission, load->now_us);
        status = pg_queue(s, PG_ADMISSION, &admission, &a->admission, err);
    }
    return status;
}

static enum status
queue_rates(struct postgres_store *s, const struct ledger *ledger, struct answers *a,
            struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < ledger->rate_count && status == STATUS_OK; i++) {
        struct pg_params p = { 0 };

        pg_int(&p, ledger->rates[i].account_id);
        pg_string(&p, ledger->rates[i].name);
        status = pg_queue(s, PG_RATE, &p, &a->rates[i], err);
    }
    return status;
}

/* What costs no round trip when it is asked for here: numbers for what will be written, and the
 * clock. */
static enum status
queue_supplies(struct postgres_store *s, const struct store_load *load, struct answers *a,
               struct error *err)
{
    enum status status = STATUS_OK;

    if (pg_clock_due(s))
        status = pg_queue(s, PG_CLOCK, NULL, &a->clock, err);
    if (status == STATUS_OK && load->will_hold && s->mode == STORE_WRITE && !s->numbers[PG_HOLDS])
        status = pg_queue(s, PG_HOLD_NUMBER, NULL, &a->numbers[PG_HOLDS], err);
    if (status == STATUS_OK && load->will_charge && s->mode == STORE_WRITE &&
        !s->numbers[PG_CHARGES])
        status = pg_queue(s, PG_CHARGE_NUMBER, NULL, &a->numbers[PG_CHARGES], err);
    return status;
}

static void
read_supplies(struct postgres_store *s, const struct answers *a)
{
    if (a->clock != NULL)
        pg_note_clock(s, pg_get_int(a->clock, 0, 0));
    for (size_t i = 0; i < PG_NUMBERS; i++) {
        if (a->numbers[i] != NULL)
            s->numbers[i] = pg_get_int(a->numbers[i], 0, 0);
    }
}

static enum status
read_idempotency(struct postgres_store *s, const PGresult *result, struct idempotency_row *out,
                 struct error *err)
{
    size_t length;

    out->found = PQntuples(result) > 0;
    out->reply_length = 0;
    if (!out->found)
        return STATUS_OK;
    length = (size_t)PQgetlength(result, 0, 1);
    if (PQgetlength(result, 0, 0) != SHA256_BYTES || length >= sizeof(out->reply))
        return pg_too_long(s, err);
    memcpy(out->fingerprint, PQgetvalue(result, 0, 0), SHA256_BYTES);
    memcpy(out->reply, PQgetvalue(result, 0, 1), length);
    out->reply[length] = '\0';
    out->reply_length = length;
    return STATUS_OK;
}

/* The hold that was named, or that an earlier call of this client request placed. */
static enum status
read_load_hold(struct postgres_store *s, const struct answers *a, struct store_load *load,
               struct error *err)
{
    const PGresult *from = a->hold;

    if (a->admission != NULL && PQntuples(a->admission) > 0) {
        load->admission_found = true;
        load->admission_hold = pg_get_int(a->admission, 0, PG_HOLD_WIDTH);
        if (load->admission_hold != 0)
            from = a->admission;
    }
    load->hold_found = from != NULL && PQntuples(from) > 0 && !pg_is_null(from, 0, 0);
    if (load->hold_found && !pg_read_hold(from, 0, 0, &load->hold))
        return pg_too_long(s, err);
    return STATUS_OK;
}

static enum status
read_answers(struct postgres_store *s, const struct answers *a, struct store_load *load,
             int64_t at_us, struct error *err)
{
    struct ledger *ledger = load->ledger;
    enum status status = read_load_hold(s, a, load, err);

    read_supplies(s, a);
    if (a->refunded != NULL)
        load->refunded_nanos = pg_get_int(a->refunded, 0, 0);
    if (status == STATUS_OK && a->idempotency != NULL)
        status = read_idempotency(s, a->idempotency, load->idempotency, err);
    if (status == STATUS_OK)
        status = pg_read_expiry(s, a->expiry, a->expired, load, err);
    for (size_t i = 0; i < ledger->rate_count; i++)
        ledger->rates[i].tat_ns = pg_get_int(a->rates[i], 0, 0); /* 0 without a row */
    if (at_us == 0)
        at_us = load->hold_found ? load->hold.placed_us : load->now_us;
    if (status == STATUS_OK && a->chain != NULL)
        status = read_chain(s, a->chain, at_us, ledger, err);
    return status;
}

static enum status
queue_load(struct postgres_store *s, const struct store_load *load, int64_t chain, int64_t at_us,
           struct answers *a, struct error *err)
{
    /* One state for all of it, and no second round trip to end it. */
    bool alone = s->mode == STORE_READ && !s->batch;
    enum status status =
        alone ? pg_queue(s, PG_BEGIN_READ, NULL, NULL, err) : pg_ensure_begun(s, err);

    if (status == STATUS_OK && s->mode == STORE_WRITE)
        status = queue_locks(s, load, chain, err);
    if (status == STATUS_OK)
        status = queue_hold(s, load, &a->hold, err);
    if (status == STATUS_OK)
        status = queue_earlier(s, load, a, err);
    if (status == STATUS_OK)
        status = pg_queue_expiry(s, load, chain, &a->expiry, &a->expired, err);
    if (status == STATUS_OK)
        status = queue_chain(s, load, chain, at_us, &a->chain, err);
    if (status == STATUS_OK)
        status = queue_rates(s, load->ledger, a, err);
    if (status == STATUS_OK)
        status = queue_supplies(s, load, a, err);
    return status == STATUS_OK && alone ? pg_queue(s, PG_COMMIT, NULL, NULL, err) : status;
}

/* A line of `all` may be changed only by who is alone; see store_postgres.c. */
static enum status
refuse_if_all_counts(struct postgres_store *s, const struct ledger *ledger, struct error *err)
{
    if (s->mode != STORE_WRITE || s->alone)
        return STATUS_OK;
    for (size_t i = 0; i < ledger->line_count; i++) {
        if (account_kind_of(ledger->accounts[ledger->lines[i].account].name) != ACCOUNT_ALL)
            continue;
        s->all_counted = true;
        s->failure = STORE_TRY_AGAIN;
        return error_set(err, STATUS_BUSY, "store %s: `all` has a budget by now; try again",
                         s->place);
    }
    return STATUS_OK;
}

/* Only a post that is repeated asks for it. */
static enum status
load_charged(struct postgres_store *s, struct hold *hold, struct error *err)
{
    struct pg_params p = { 0 };

    pg_int(&p, hold->charge_id);
    return one_int(s, PG_CHARGED, &p, 0, &hold->charged_nanos, err);
}

enum status
postgres_load(struct store_backend *backend, struct store_load *load, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct ledger *ledger = load->ledger;
    int64_t chain = load->chain_id, at_us = load->at_us;
    struct answers a;
    enum status status = STATUS_OK;

    memset(&a, 0, sizeof(a));
    s->now_us = load->now_us;
    load->hold_found = load->charge_found = load->admission_found = false;
    load->refunded_nanos = load->admission_hold = 0;
    load->expiry_waits = load->expiry_in_chain = false;
    ledger->chain_id = chain;
    ledger->account_count = ledger->line_count = ledger->event_count = 0;
    ledger->key = ledger->subject = ledger->organization = -1;
    if (load->charge_id != 0)
        status = load_charge(s, load, err);
    if (chain == 0 && load->hold_id == 0 && load->charge_found) {
        chain = load->charge.chain_id;
        at_us = at_us != 0 ? at_us : load->charge.charge.at_us;
    }
    if (chain != 0 && at_us == 0)
        at_us = load->now_us;
    if (status == STATUS_OK)
        status = queue_load(s, load, chain, at_us, &a, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status == STATUS_OK)
        status = read_answers(s, &a, load, at_us, err);
    clear_answers(&a);
    if (status == STATUS_OK)
        status = refuse_if_all_counts(s, ledger, err);
    if (status == STATUS_OK && ledger->account_count > 0)
        ledger->chain_id = chain != 0 ? chain : load->hold.chain_id;
    if (status == STATUS_OK && load->hold_found && load->hold.charge_id != 0)
        status = load_charged(s, &load->hold, err);
    return status;
}

/* ---- single questions ----------------------------------------------------------------------- */

enum status
postgres_idempotency_find(struct store_backend *backend, const char *scope, const char *key,
                          struct idempotency_row *out, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    out->found = false;
    out->reply_length = 0;
    pg_string(&p, scope);
    pg_string(&p, key);
    status = pg_run(s, PG_IDEMPOTENCY, &p, &result, err);
    if (status == STATUS_OK)
        status = read_idempotency(s, result, out, err);
    PQclear(result);
    return status;
}

enum status
postgres_journal_sum(struct store_backend *backend, int64_t account_id, int64_t start_us,
                     int64_t end_us, int64_t *spent_nanos, int64_t *held_nanos, int64_t *later_us,
                     struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    const struct pg_text *text = &pg_texts[PG_SPENT];
    struct pg_params p = { 0 }, limit = { 0 };
    PGresult *spent = NULL, *held = NULL;
    enum status status = keep_past(s, pg_ensure_begun(s, err), err);

    pg_int(&p, account_id);
    pg_int(&p, start_us);
    pg_int(&p, end_us);
    pg_int(&limit, s->sum_ms);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_LISTING_LIMIT, &limit, NULL, err);
    if (status == STATUS_OK) /* planned for these times: see PG_SPENT */
        status = pg_queue_text(s, text->sql, text->doing, &p, &spent, err);
    if (status == STATUS_OK)
        status = pg_queue(s, PG_HELD, &p, &held, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, s->sum_ms + PG_ANSWER_MS - PG_SUM_MS, err);
    if (status == STATUS_BUSY && s->sum_ms == PG_SUM_MS && s->timed_out)
        status = error_set(err, STATUS_BUSY,
                           "store %s: the journal is too long for a new budget of this account to "
                           "be summed within a request; set one of that period with `spendgate "
                           "budget set', which takes its time",
                           s->place);
    if (status == STATUS_OK) {
        *spent_nanos = pg_get_int(spent, 0, 0);
        *held_nanos = pg_get_int(held, 0, 0);
        *later_us = pg_get_int(spent, 0, 1);
        if (*later_us == 0 || (pg_get_int(held, 0, 1) != 0 && pg_get_int(held, 0, 1) < *later_us))
            *later_us = pg_get_int(held, 0, 1);
    }
    PQclear(spent);
    PQclear(held);
    return status;
}

enum status
postgres_credit_sum(struct store_backend *backend, int64_t budget_id, int64_t from_us,
                    int64_t to_us, int64_t *nanos, struct error *err)
{
    struct pg_params p = { 0 };

    pg_int(&p, budget_id);
    pg_int(&p, from_us);
    pg_int(&p, to_us);
    return one_int(postgres_of(backend), PG_CREDIT_SUM, &p, 0, nanos, err);
}

enum status
postgres_history(struct store_backend *backend, int64_t budget_id, int64_t before_us,
                 struct period_history *out, size_t *count, struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result;
    int rows;
    enum status status;

    pg_int(&p, budget_id);
    pg_int(&p, before_us);
    pg_int(&p, (int64_t)*count);
    status = pg_run(postgres_of(backend), PG_HISTORY, &p, &result, err);
    rows = status == STATUS_OK ? PQntuples(result) : 0;
    for (int row = 0; row < rows; row++) { /* newest first */
        struct period_history *h = &out[rows - 1 - row];

        h->period.start_us = pg_get_int(result, row, 0);
        h->period.end_us = pg_get_int(result, row, 1);
        h->spent_nanos = pg_get_int(result, row, 2);
        h->credit_nanos = pg_get_int(result, row, 3);
    }
    *count = (size_t)rows;
    PQclear(result);
    return status;
}

enum status
postgres_route_amounts(struct store_backend *backend, const char *route, int64_t *out,
                       size_t *count, struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result;
    int rows;
    enum status status;

    pg_string(&p, route);
    pg_int(&p, (int64_t)*count);
    status = pg_run(postgres_of(backend), PG_ROUTE_AMOUNTS, &p, &result, err);
    rows = status == STATUS_OK ? PQntuples(result) : 0;
    for (int row = 0; row < rows; row++)
        out[row] = pg_get_int(result, row, 0);
    *count = (size_t)rows;
    PQclear(result);
    return status;
}

enum status
postgres_unknown_hold(struct store_backend *backend, const char *hold_text, bool *found,
                      struct charge_row *out, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_string(&p, hold_text);
    status = pg_run(s, PG_UNKNOWN_HOLD, &p, &result, err);
    *found = status == STATUS_OK && PQntuples(result) > 0;
    if (*found && !pg_read_charge(result, 0, out))
        status = pg_too_long(s, err);
    PQclear(result);
    return status;
}

enum status
postgres_verification_number(struct store_backend *backend, bool advance, int64_t *out,
                             struct error *err)
{
    return one_int(postgres_of(backend), advance ? PG_VERIFICATION_NEXT : PG_VERIFICATION, NULL, 0,
                   out, err);
}

enum status
postgres_pruned_until(struct store_backend *backend, int64_t *out, struct error *err)
{
    return one_int(postgres_of(backend), PG_PRUNED_UNTIL, NULL, 0, out, err);
}
