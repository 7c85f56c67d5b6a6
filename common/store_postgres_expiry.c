/* SPDX-License-Identifier: MIT */
/* The PostgreSQL store: holds whose time is over. */
#include "common/store_postgres.h"

#include <inttypes.h>
#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

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

/* With `unless_busy` under a lock of its own, that nobody ever waits for. */
enum status
postgres_expired(struct store_backend *backend, const struct expiry_scope *scope, int64_t now_us,
                 struct hold *out, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    char storage[LEDGER_ACCOUNTS_MAX * PG_NUMBER_SIZE];
    bool try = scope->unless_busy && s->mode == STORE_WRITE;
    struct buf ids;
    struct pg_params p = { 0 };
    PGresult *mine = NULL, *result = NULL;
    enum status status = pg_ensure_begun(s, err);

    memset(out, 0, sizeof(*out));
    pg_int(&p, now_us);
    buf_init(&ids, storage, sizeof(storage));
    for (size_t i = 0; i < scope->account_count; i++)
        buf_add_format(&ids, "%c%" PRId64, i == 0 ? '{' : ',', scope->accounts[i]);
    buf_add_char(&ids, '}');
    if (scope->account_count > 0)
        pg_string(&p, buf_text(&ids));
    if (status == STATUS_OK && try)
        status = pg_queue(s, PG_EXPIRY_TRY, NULL, &mine, err);
    if (status == STATUS_OK)
        status =
            pg_queue(s, scope->account_count > 0 ? PG_EXPIRED_OF : PG_EXPIRED, &p, &result, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_ANSWER_MS, err);
    if (status == STATUS_OK && PQntuples(result) > 0 && (!try || pg_get_int(mine, 0, 0) != 0)) {
        out->id = pg_get_int(result, 0, 0);
        out->nonce = (uint64_t)pg_get_int(result, 0, 1);
    }
    PQclear(mine);
    PQclear(result);
    return status;
}
