/* SPDX-License-Identifier: MIT */
/* The PostgreSQL store: prices. */
#include "common/store_postgres.h"

#include <string.h>

#include "common/banned.h"

#define SQL_SIZE 1024

/* id, provider, model, from_us, source, rates */
static enum status
read_version(const struct postgres_store *s, const PGresult *result, int row,
             struct price_version *out, struct error *err)
{
    const char *rates = PQgetvalue(result, row, 5);
    struct error why;

    out->id = pg_get_int(result, row, 0);
    out->from_us = pg_get_int(result, row, 3);
    if (!pg_get_text(result, row, 1, out->provider, sizeof(out->provider)) ||
        !pg_get_text(result, row, 2, out->model, sizeof(out->model)) ||
        !pg_get_text(result, row, 4, out->source, sizeof(out->source)))
        return pg_too_long(s, err);
    if (price_parse_text(rates, strlen(rates), &out->price, &why) == STATUS_OK)
        return STATUS_OK;
    return error_set(err, STATUS_CORRUPT, "store %s: price version %lld: %s", s->place,
                     (long long)out->id, why.message);
}

/* Two imports of one file at once would add its prices twice. */
static enum status
lock_prices(struct postgres_store *s, struct error *err)
{
    enum status status = pg_ensure_begun(s, err);

    return status == STATUS_OK ? pg_queue(s, PG_PRICE_LOCK, NULL, NULL, err) : status;
}

enum status
postgres_price_find(struct store_backend *backend, const struct price_query *query,
                    struct price_version *out, size_t *count, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result = NULL;
    enum status status = STATUS_OK;

    pg_string(&p, query->model);
    pg_string(&p, query->provider);
    pg_int(&p, query->hold_number);
    pg_int(&p, (int64_t)query->hold_nonce);
    pg_int(&p, query->now_us);
    pg_string(&p, query->hold_text);
    if (s->in_transaction && s->mode == STORE_WRITE)
        status = lock_prices(s, err);
    if (status == STATUS_OK)
        status = pg_run(s, PG_PRICE_FIND, &p, &result, err);
    *count = status == STATUS_OK ? (size_t)PQntuples(result) : 0;
    if (*count > 0)
        status = read_version(s, result, 0, out, err);
    PQclear(result);
    return status;
}

enum status
postgres_price_write(struct store_backend *backend, const struct price_version *version,
                     struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    char storage[PRICE_RATES_SIZE];
    struct pg_params p = { 0 };
    struct buf rates;
    enum status status;

    buf_init(&rates, storage, sizeof(storage));
    price_write(&version->price, &rates);
    pg_string(&p, version->provider);
    pg_string(&p, version->model);
    pg_int(&p, version->from_us);
    pg_string(&p, version->source);
    pg_string(&p, buf_text(&rates));
    status = pg_ensure_begun(s, err);
    return status == STATUS_OK ? pg_queue(s, PG_PRICE_INSERT, &p, NULL, err) : status;
}

enum status
postgres_prices(struct store_backend *backend, const struct price_filter *filter,
                bool (*visit)(void *context, const struct price_version *version), void *context,
                struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    struct price_version version;
    char text[SQL_SIZE];
    struct buf sql;
    PGresult *result = NULL;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    pg_string(&p, filter->provider);
    pg_string(&p, filter->model);
    buf_add(&sql, "SELECT p.id, p.provider, p.model, p.from_us, p.source, p.rates FROM "
                  "spendgate.price p WHERE ($1::text IS NULL OR p.provider = $1) AND "
                  "($2::text IS NULL OR p.model = $2)");
    if (!filter->history) {
        pg_int(&p, filter->at_us);
        buf_add(&sql, " AND p.from_us = (SELECT max(q.from_us) FROM spendgate.price q WHERE "
                      "q.model = p.model AND q.provider = p.provider AND q.from_us <= $3)");
    }
    buf_add(&sql, " ORDER BY p.model, p.provider, p.from_us");
    status = pg_queue_text(s, buf_text(&sql), "list prices", &p, &result, err);
    if (status == STATUS_OK)
        status = pg_exchange(s, PG_LISTING_MS, err);
    for (int row = 0; status == STATUS_OK && row < PQntuples(result); row++) {
        status = read_version(s, result, row, &version, err);
        if (status == STATUS_OK && !visit(context, &version))
            break;
    }
    PQclear(result);
    return status;
}
