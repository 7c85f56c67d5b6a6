/* SPDX-License-Identifier: MIT */
/*
 * What Clerk's listings say of accounts: names and expiry of keys, and when a subject was listed
 * last. For display and for `spendgate clerk sync`; no decision reads it.
 */

#include <string.h>

#include "common/store_internal.h"

#include "common/banned.h"

static enum status
put_once(struct store *s, const char *account, const struct clerk_note *note, bool *found,
         struct error *err)
{
    struct account row;
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);

    *found = false;
    if (status != STATUS_OK)
        return status;
    status = s->ops->accounts_find(s->backend, &account, 1, &row, err);
    if (status == STATUS_OK && row.id == 0) {
        s->ops->rollback(s->backend);
        return STATUS_OK;
    }
    if (status == STATUS_OK)
        status = s->ops->clerk_note_write(s->backend, row.id, note, err);
    if (status == STATUS_OK)
        status = s->ops->commit(s->backend, false, err);
    if (status != STATUS_OK)
        return store_give_up(s, status);
    *found = true;
    return STATUS_OK;
}

enum status
store_clerk_note_put(struct store *s, const char *account, const struct clerk_note *note,
                     bool *found, struct error *err)
{
    int tries = 0;
    enum status status;

    do
        status = put_once(s, account, note, found, err);
    while (store_once_more(s, status, true, &tries));
    return status;
}

enum status
store_clerk_note_get(struct store *s, const char *account, bool *found, struct clerk_note *out,
                     struct error *err)
{
    memset(out, 0, sizeof(*out));
    return s->ops->clerk_note_read(s->backend, account, found, out, err);
}

enum status
store_clerk_subjects(struct store *s, int64_t before_us, const char *after, size_t limit,
                     bool (*visit)(void *context, const char *name), void *context,
                     struct error *err)
{
    return s->ops->clerk_subjects(s->backend, before_us, after, limit, visit, context, err);
}

enum status
store_clerk_keys(struct store *s, const char *subject,
                 bool (*visit)(void *context, const char *name), void *context, struct error *err)
{
    return s->ops->clerk_keys(s->backend, subject, visit, context, err);
}
