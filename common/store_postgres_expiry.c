/* SPDX-License-Identifier: MIT */
/* The PostgreSQL store: holds whose time is over. */
#include "common/store_postgres.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

#define LOCKED_MAX 64 /* holds whose chains are locked at once */

static enum status
queue_look(struct postgres_store *s, const struct store_load *load, int64_t chain, PGresult **out,
           struct error *err)
{
    struct pg_params p = { 0 };

    if (chain == 0 && load->hold_id == 0)
        return pg_queue(s, PG_EXPIRY_ANY, NULL, out, err);
    pg_int(&p, chain != 0 ? chain : load->hold_id);
    pg_int(&p, load->now_us);
    pg_int(&p, EXPIRY_LOOK);
    if (chain == 0)
        pg_int(&p, (int64_t)load->hold_nonce);
    return pg_queue(s, chain != 0 ? PG_EXPIRY_OF_CHAIN : PG_EXPIRY_OF_HOLD, &p, out, err);
}

enum status
pg_queue_expiry(struct postgres_store *s, const struct store_load *load, int64_t chain,
                PGresult **look, PGresult **expired, struct error *err)
{
    struct pg_params p = { 0 };
    enum status status = STATUS_OK;

    if (load->want_expiry)
        status = queue_look(s, load, chain, look, err);
    if (status != STATUS_OK || load->expired == NULL)
        return status;
    pg_int(&p, load->hold_id);
    pg_int(&p, load->now_us);
    pg_int(&p, (int64_t)load->expired_count);
    pg_int(&p, (int64_t)load->hold_nonce);
    pg_int(&p, EXPIRY_LOOK);
    return pg_queue(s, PG_EXPIRED_WITH, &p, expired, err);
}

enum status
pg_read_expiry(struct postgres_store *s, const PGresult *look, const PGresult *expired,
               struct store_load *load, struct error *err)
{
    int rows = expired != NULL ? PQntuples(expired) : 0;

    if (look != NULL && !pg_is_null(look, 0, 0)) {
        load->expiry_waits = pg_get_int(look, 0, 0) <= load->now_us;
        load->expiry_in_chain = pg_get_int(look, 0, 1) != 0;
    }
    for (int row = 0; row < rows; row++) {
        if (!pg_read_hold(expired, row, 0, &load->expired[row]))
            return pg_too_long(s, err);
    }
    load->expired_count = (size_t)rows;
    return STATUS_OK;
}

static void
begin_array(struct buf *out, char *storage, size_t size)
{
    buf_init(out, storage, size);
    buf_add_char(out, '{');
}

static void
add_id(struct buf *out, int64_t id)
{
    buf_add_format(out, out->length == 1 ? "%" PRId64 : ",%" PRId64, id);
}

/* With `unless_busy` under a lock of its own, that nobody ever waits for. */
enum status
postgres_expired(struct store_backend *backend, const struct expiry_scope *scope, int64_t from_us,
                 int64_t now_us, struct hold *out, size_t *count, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    char storage[LEDGER_ACCOUNTS_MAX * PG_NUMBER_SIZE + 2];
    bool some = scope->account_count > 0, try = scope->unless_busy && s->mode == STORE_WRITE;
    struct buf ids;
    struct pg_params p = { 0 };
    PGresult *mine = NULL, *result = NULL;
    enum status status = pg_ensure_begun(s, err);

    pg_int(&p, from_us);
    pg_int(&p, now_us);
    pg_int(&p, (int64_t)*count);
    *count = 0;
    begin_array(&ids, storage, sizeof(storage));
    for (size_t i = 0; i < scope->account_count; i++)
        add_id(&ids, scope->accounts[i]);
    buf_add_char(&ids, '}');
    if (some)
        pg_string(&p, buf_text(&ids));
    if (status == STATUS_OK && try)
        status = pg_queue(s, PG_EXPIRY_TRY, NULL, &mine, err);
    if (status == STATUS_OK)
        status = pg_queue(s, some ? PG_EXPIRED_OF : PG_EXPIRED, &p, &result, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status == STATUS_OK && (!try || pg_get_int(mine, 0, 0) != 0))
        *count = (size_t)PQntuples(result);
    for (size_t i = 0; i < *count; i++) {
        memset(&out[i], 0, sizeof(out[i]));
        out[i].id = pg_get_int(result, (int)i, 0);
        out[i].nonce = (uint64_t)pg_get_int(result, (int)i, 1);
        out[i].expires_us = pg_get_int(result, (int)i, 2);
    }
    PQclear(mine);
    PQclear(result);
    return status;
}

enum status
postgres_lock_chains(struct store_backend *backend, const struct hold *holds, size_t count,
                     struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    char storage[LOCKED_MAX * PG_NUMBER_SIZE + 2];
    struct buf ids;
    struct pg_params p = { 0 };
    enum status status = pg_ensure_begun(s, err);

    assert(count <= LOCKED_MAX);
    begin_array(&ids, storage, sizeof(storage));
    for (size_t i = 0; i < count; i++)
        add_id(&ids, holds[i].id);
    buf_add_char(&ids, '}');
    pg_string(&p, buf_text(&ids));
    return status == STATUS_OK ? pg_queue(s, PG_LOCK_CHAINS, &p, NULL, err) : status;
}
