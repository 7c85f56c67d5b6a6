/* SPDX-License-Identifier: MIT */
/*
 * The PostgreSQL store: what Clerk's listings say of accounts.
 */
#include "common/store_postgres.h"

#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

enum status
postgres_clerk_note_write(struct store_backend *backend, int64_t account_id,
                          const struct clerk_note *note, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    enum status status = pg_ensure_begun(s, err);

    pg_int(&p, account_id);
    pg_string(&p, note->title);
    pg_int(&p, note->expires_us);
    pg_int(&p, note->gone);
    pg_int(&p, note->listed_us);
    if (status != STATUS_OK)
        return status;
    return pg_queue_text(s,
                         "INSERT INTO spendgate.clerk_note (account_id, title, expires_us, gone, "
                         "listed_us) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account_id) DO "
                         "UPDATE SET title = $2, expires_us = $3, gone = $4, listed_us = $5",
                         "note what Clerk says of an account", &p, NULL, err);
}

/* One query, one round trip. */
static enum status
ask(struct postgres_store *s, const char *sql, const char *doing, const struct pg_params *p,
    PGresult **out, struct error *err)
{
    enum status status;

    *out = NULL;
    status = pg_queue_text(s, sql, doing, p, out, err);
    return status == STATUS_OK ? pg_exchange(s, PG_LISTING_MS, err) : status;
}

enum status
postgres_clerk_note_read(struct store_backend *backend, const char *account, bool *found,
                         struct clerk_note *out, struct error *err)
{
    struct postgres_store *s = postgres_of(backend);
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_string(&p, account);
    status = ask(s,
                 "SELECT n.title, n.expires_us, n.gone, n.listed_us FROM spendgate.clerk_note n "
                 "JOIN spendgate.account a ON a.id = n.account_id WHERE a.name = $1",
                 "read what Clerk says of an account", &p, &result, err);
    *found = status == STATUS_OK && PQntuples(result) > 0;
    if (*found) {
        if (!pg_get_text(result, 0, 0, out->title, sizeof(out->title)))
            status = pg_too_long(s, err);
        out->expires_us = pg_get_int(result, 0, 1);
        out->gone = pg_get_int(result, 0, 2) != 0;
        out->listed_us = pg_get_int(result, 0, 3);
    }
    PQclear(result);
    return status;
}

static void
visit_names(const PGresult *result, bool (*visit)(void *context, const char *name), void *context)
{
    for (int row = 0; row < PQntuples(result); row++) {
        if (!visit(context, PQgetvalue(result, row, 0)))
            break;
    }
}

enum status
postgres_clerk_subjects(struct store_backend *backend, int64_t before_us, const char *after,
                        size_t limit, bool (*visit)(void *context, const char *name), void *context,
                        struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_int(&p, before_us);
    pg_string(&p, after);
    pg_int(&p, (int64_t)limit);
    status = ask(postgres_of(backend),
                 "SELECT a.name FROM spendgate.account a LEFT JOIN spendgate.clerk_note n "
                 "ON n.account_id = a.id WHERE a.name > $2 AND a.name <> 'all' "
                 "AND left(a.name, 4) <> 'key:' AND left(a.name, 6) <> 'group:' "
                 "AND coalesce(n.listed_us, 0) < $1 ORDER BY a.name LIMIT $3",
                 "list subjects", &p, &result, err);
    if (status == STATUS_OK)
        visit_names(result, visit, context);
    PQclear(result);
    return status;
}

enum status
postgres_clerk_keys(struct store_backend *backend, const char *subject,
                    bool (*visit)(void *context, const char *name), void *context,
                    struct error *err)
{
    struct pg_params p = { 0 };
    PGresult *result;
    enum status status;

    pg_string(&p, subject);
    status = ask(postgres_of(backend),
                 "SELECT DISTINCT k.name FROM spendgate.account s "
                 "JOIN spendgate.chain_account m ON m.account_id = s.id AND m.roles & 2 <> 0 "
                 "JOIN spendgate.chain_account x ON x.chain_id = m.chain_id AND x.roles & 1 <> 0 "
                 "JOIN spendgate.account k ON k.id = x.account_id WHERE s.name = $1 "
                 "AND (left(k.name, 7) = 'key:ak_' OR left(k.name, 12) = 'key:api_key_') "
                 "ORDER BY k.name",
                 "list the keys of a subject", &p, &result, err);
    if (status == STATUS_OK)
        visit_names(result, visit, context);
    PQclear(result);
    return status;
}
