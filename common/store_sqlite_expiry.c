/* SPDX-License-Identifier: MIT */
/*
 * Holds whose time is over.
 */
#include "common/store_sqlite.h"

#include <string.h>

#include "common/banned.h"

static enum status
look(struct sqlite_store *s, struct store_load *load, int64_t chain, struct error *err)
{
    sqlite3_stmt *stmt;
    int64_t value = INT64_MAX;
    enum status status = sqlite_prepared(s, SQL_OLDEST, &stmt, err);

    if (status == STATUS_OK)
        status = sqlite_one_int(s, stmt, INT64_MAX, &value, "look for expired holds", err);
    load->expiry_waits = status == STATUS_OK && value <= load->now_us;
    if (!load->expiry_waits || chain == 0)
        return status;
    status = sqlite_prepared(s, SQL_EXPIRY_IN_CHAIN, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, chain);
    sqlite3_bind_int64(stmt, 2, load->now_us);
    sqlite3_bind_int64(stmt, 3, EXPIRY_LOOK);
    status = sqlite_one_int(s, stmt, 0, &value, "look for expired holds", err);
    load->expiry_in_chain = status == STATUS_OK && value != 0;
    return status;
}

static enum status
read_expired(struct sqlite_store *s, struct store_load *load, int64_t chain, struct error *err)
{
    sqlite3_stmt *stmt;
    size_t count = 0;
    bool row;
    enum status status = sqlite_prepared(s, SQL_EXPIRED_WITH, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, chain);
    sqlite3_bind_int64(stmt, 2, load->now_us);
    sqlite3_bind_int64(stmt, 3, (int64_t)load->expired_count);
    sqlite3_bind_int64(stmt, 4, load->hold_id);
    sqlite3_bind_int64(stmt, 5, load->hold.expires_us);
    sqlite3_bind_int64(stmt, 6, EXPIRY_LOOK);
    while ((status = sqlite_next(s, stmt, &row, "read expired holds", err)) == STATUS_OK && row) {
        if (!sqlite_read_hold(stmt, 0, &load->expired[count++]))
            return sqlite_too_long(s, stmt, err);
    }
    load->expired_count = count;
    return status;
}

enum status
sqlite_load_expiry(struct sqlite_store *s, struct store_load *load, int64_t chain,
                   struct error *err)
{
    enum status status = load->want_expiry ? look(s, load, chain, err) : STATUS_OK;

    return status == STATUS_OK && load->expired != NULL ? read_expired(s, load, chain, err)
                                                        : status;
}

_Static_assert(LEDGER_ACCOUNTS_MAX == 8, "SQL_EXPIRED_OF has one parameter for each account");

/* `unless_busy` is of no use here: whoever writes is alone, and finds what is left. */
enum status
sqlite_expired(struct store_backend *backend, const struct expiry_scope *scope, int64_t from_us,
               int64_t now_us, struct hold *out, size_t *count, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    bool some = scope->account_count > 0, row;
    size_t n = 0;
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, some ? SQL_EXPIRED_OF : SQL_EXPIRED, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, from_us);
    sqlite3_bind_int64(stmt, 2, now_us);
    sqlite3_bind_int64(stmt, 3, (int64_t)*count);
    for (int i = 0; some && i < LEDGER_ACCOUNTS_MAX; i++)
        sqlite3_bind_int64(stmt, 4 + i, scope->accounts[i]);
    while ((status = sqlite_next(s, stmt, &row, "read expired holds", err)) == STATUS_OK && row) {
        memset(&out[n], 0, sizeof(out[n]));
        out[n].id = sqlite3_column_int64(stmt, 0);
        out[n].nonce = (uint64_t)sqlite3_column_int64(stmt, 1);
        out[n++].expires_us = sqlite3_column_int64(stmt, 2);
    }
    *count = n;
    return status;
}

/* There is one writer. */
enum status
sqlite_lock_chains(struct store_backend *backend, const struct hold *holds, size_t count,
                   struct error *err)
{
    (void)backend;
    (void)holds;
    (void)count;
    (void)err;
    return STATUS_OK;
}
