/* SPDX-License-Identifier: MIT */
/*
 * The SQLite store: prices.
 */
#include "common/store_sqlite.h"

#include <string.h>

#include "common/banned.h"

#define SQL_SIZE 1024

/* id, provider, model, from_us, source, rates */
static enum status
read_version(struct sqlite_store *s, sqlite3_stmt *stmt, struct price_version *out,
             struct error *err)
{
    const char *rates = (const char *)sqlite3_column_text(stmt, 5);
    struct error why;

    out->id = sqlite3_column_int64(stmt, 0);
    out->from_us = sqlite3_column_int64(stmt, 3);
    if (rates == NULL || !sqlite_text(stmt, 1, out->provider, sizeof(out->provider)) ||
        !sqlite_text(stmt, 2, out->model, sizeof(out->model)) ||
        !sqlite_text(stmt, 4, out->source, sizeof(out->source)))
        return sqlite_too_long(s, stmt, err);
    if (price_parse_text(rates, strlen(rates), &out->price, &why) == STATUS_OK)
        return STATUS_OK;
    sqlite3_reset(stmt);
    return error_set(err, STATUS_CORRUPT, "store %s: price version %lld: %s", s->path,
                     (long long)out->id, why.message);
}

enum status
sqlite_price_find(struct store_backend *backend, const struct price_query *query,
                  struct price_version *out, size_t *count, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    bool row;
    enum status status = sqlite_prepared(s, SQL_PRICE_FIND, &stmt, err);

    *count = 0;
    if (status != STATUS_OK)
        return status;
    sqlite_bind_text(stmt, 1, query->model);
    sqlite_bind_text(stmt, 2, query->provider);
    sqlite3_bind_int64(stmt, 3, query->hold_number);
    sqlite3_bind_int64(stmt, 4, (int64_t)query->hold_nonce);
    sqlite3_bind_int64(stmt, 5, query->now_us);
    sqlite_bind_text(stmt, 6, query->hold_text);
    while ((status = sqlite_next(s, stmt, &row, "read a price", err)) == STATUS_OK && row) {
        if (++*count == 1)
            status = read_version(s, stmt, out, err);
        if (status != STATUS_OK)
            break;
    }
    return status;
}

enum status
sqlite_price_write(struct store_backend *backend, const struct price_version *version,
                   struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    char storage[PRICE_RATES_SIZE];
    struct buf rates;
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_PRICE_INSERT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    buf_init(&rates, storage, sizeof(storage));
    price_write(&version->price, &rates);
    sqlite_bind_text(stmt, 1, version->provider);
    sqlite_bind_text(stmt, 2, version->model);
    sqlite3_bind_int64(stmt, 3, version->from_us);
    sqlite_bind_text(stmt, 4, version->source);
    sqlite_bind_text(stmt, 5, buf_text(&rates));
    return sqlite_run(s, stmt, "write a price", err);
}

enum status
sqlite_prices(struct store_backend *backend, const struct price_filter *filter,
              bool (*visit)(void *context, const struct price_version *version), void *context,
              struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    struct price_version version;
    char text[SQL_SIZE];
    struct buf sql;
    sqlite3_stmt *stmt = NULL;
    bool row;
    int rc;
    enum status status = STATUS_OK;

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "SELECT p.id, p.provider, p.model, p.from_us, p.source, p.rates FROM price p "
                  "WHERE (?1 IS NULL OR p.provider = ?1) AND (?2 IS NULL OR p.model = ?2)");
    if (!filter->history)
        buf_add(&sql, " AND p.from_us = (SELECT max(q.from_us) FROM price q WHERE "
                      "q.model = p.model AND q.provider = p.provider AND q.from_us <= ?3)");
    buf_add(&sql, " ORDER BY p.model, p.provider, p.from_us");
    rc = sqlite3_prepare_v2(s->db, buf_text(&sql), -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return sqlite_failed(s, rc, "prepare a listing", err);
    sqlite_bind_text(stmt, 1, filter->provider);
    sqlite_bind_text(stmt, 2, filter->model);
    if (!filter->history)
        sqlite3_bind_int64(stmt, 3, filter->at_us);
    while (status == STATUS_OK &&
           (status = sqlite_next(s, stmt, &row, "list prices", err)) == STATUS_OK && row) {
        status = read_version(s, stmt, &version, err);
        if (status == STATUS_OK && !visit(context, &version))
            break;
    }
    sqlite3_finalize(stmt);
    return status;
}
