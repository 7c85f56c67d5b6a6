/* SPDX-License-Identifier: MIT */
/*
 * The SQLite store: what Clerk's listings say of accounts.
 */
#include "common/store_sqlite.h"

#include <string.h>

#include "common/banned.h"

enum status
sqlite_clerk_note_write(struct store_backend *backend, int64_t account_id,
                        const struct clerk_note *note, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_CLERK_NOTE_WRITE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, account_id);
    sqlite_bind_text(stmt, 2, note->title);
    sqlite3_bind_int64(stmt, 3, note->expires_us);
    sqlite3_bind_int(stmt, 4, note->gone);
    sqlite3_bind_int64(stmt, 5, note->listed_us);
    return sqlite_run(s, stmt, "note what Clerk says of an account", err);
}

enum status
sqlite_clerk_note_read(struct store_backend *backend, const char *account, bool *found,
                       struct clerk_note *out, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_CLERK_NOTE, &stmt, err);

    *found = false;
    if (status != STATUS_OK)
        return status;
    sqlite_bind_text(stmt, 1, account);
    status = sqlite_next(s, stmt, found, "read what Clerk says of an account", err);
    if (status != STATUS_OK || !*found)
        return status;
    if (!sqlite_text(stmt, 0, out->title, sizeof(out->title)))
        return sqlite_too_long(s, stmt, err);
    out->expires_us = sqlite3_column_int64(stmt, 1);
    out->gone = sqlite3_column_int(stmt, 2) != 0;
    out->listed_us = sqlite3_column_int64(stmt, 3);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

/* The first column of every row. */
static enum status
visit_names(struct sqlite_store *s, sqlite3_stmt *stmt, const char *doing,
            bool (*visit)(void *context, const char *name), void *context, struct error *err)
{
    enum status status;
    bool row;

    while ((status = sqlite_next(s, stmt, &row, doing, err)) == STATUS_OK && row) {
        if (!visit(context, (const char *)sqlite3_column_text(stmt, 0))) {
            sqlite3_reset(stmt);
            return STATUS_OK;
        }
    }
    return status;
}

enum status
sqlite_clerk_subjects(struct store_backend *backend, int64_t before_us, const char *after,
                      size_t limit, bool (*visit)(void *context, const char *name), void *context,
                      struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_CLERK_SUBJECTS, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, before_us);
    sqlite_bind_text(stmt, 2, after);
    sqlite3_bind_int64(stmt, 3, (int64_t)limit);
    return visit_names(s, stmt, "list subjects", visit, context, err);
}

enum status
sqlite_clerk_keys(struct store_backend *backend, const char *subject,
                  bool (*visit)(void *context, const char *name), void *context, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = sqlite_prepared(s, SQL_CLERK_KEYS, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite_bind_text(stmt, 1, subject);
    return visit_names(s, stmt, "list the keys of a subject", visit, context, err);
}
