/* SPDX-License-Identifier: MIT */
/*
 * The price table: dated versions that are added and read, and never changed.
 */

#include <inttypes.h>
#include <string.h>

#include "common/store_internal.h"

#include "common/banned.h"

void
price_id_format(int64_t id, char out[PRICE_ID_SIZE])
{
    struct buf text;

    buf_init(&text, out, PRICE_ID_SIZE);
    buf_add_format(&text, "prc_%" PRId64, id);
}

enum status
store_price_find(struct store *s, const char *model, const char *provider, const char *hold_id,
                 int64_t now_us, struct price_version *out, size_t *count, struct error *err)
{
    struct price_query query = {
        .model = model, .provider = provider, .hold_text = hold_id, .now_us = now_us
    };
    int tries = 0;
    enum status status;

    *count = 0;
    if (hold_id != NULL && !public_id_parse("hld_", hold_id, &query.hold_number, &query.hold_nonce))
        query.hold_number = 0;
    do {
        status = s->ops->begin(s->backend, STORE_READ, err);
        if (status != STATUS_OK)
            continue;
        status = s->ops->price_find(s->backend, &query, out, count, err);
        status =
            status == STATUS_OK ? s->ops->commit(s->backend, false, err) : store_give_up(s, status);
    } while (store_once_more(s, status, true, &tries));
    if (status != STATUS_OK)
        *count = 0;
    return status;
}

/* Add one version where it says something new. */
static enum status
add_version(struct store *s, const struct price_version *version, enum price_change *change,
            struct error *err)
{
    const struct price_query query = { .model = version->model,
                                       .provider = version->provider,
                                       .now_us = version->from_us };
    struct price_version there;
    size_t count;
    enum status status = s->ops->price_find(s->backend, &query, &there, &count, err);

    if (status != STATUS_OK)
        return status;
    if (count > 0 && price_same(&there.price, &version->price))
        *change = PRICE_CHANGE_NONE;
    else if (count > 0 && there.from_us == version->from_us)
        *change = PRICE_CHANGE_CONFLICT;
    else
        *change = count > 0 ? PRICE_CHANGE_VERSION : PRICE_CHANGE_NEW;
    if (*change == PRICE_CHANGE_NONE || *change == PRICE_CHANGE_CONFLICT)
        return STATUS_OK;
    return s->ops->price_write(s->backend, version, err);
}

/* The journal's rows belong to accounts: prices concern all. */
static enum status
journal_import(struct store *s, const struct actor *actor, const char *what, int64_t now_us,
               struct error *err)
{
    static const char *const names[] = { "all" };
    struct event_row event = {
        .kind = EVENT_ADMIN,
        .created_us = now_us,
        .who = edit_text(actor->who),
        .text = what,
        .note = edit_text(actor->note),
    };
    struct account all;
    enum status status = s->ops->accounts_find(s->backend, names, 1, &all, err);

    if (status != STATUS_OK)
        return status;
    event.account_id = all.id;
    return s->ops->event_write(s->backend, &event, err);
}

/* In a write transaction that is open. `*changed` tells whether there is something to keep. */
static enum status
add_versions(struct store *s, const struct price_version *prices, size_t count, bool *changed,
             enum price_change *changes, struct error *err)
{
    bool conflict = false, any = false;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = add_version(s, &prices[i], &changes[i], err);
        conflict = conflict || changes[i] == PRICE_CHANGE_CONFLICT;
        any = any || changes[i] != PRICE_CHANGE_NONE;
    }
    *changed = any && !conflict;
    return status;
}

enum status
store_price_import(struct store *s, const struct price_version *prices, size_t count, bool keep,
                   const struct actor *actor, const char *what, int64_t now_us,
                   enum price_change *changes, struct error *err)
{
    int tries = 0;
    bool changed;
    enum status status;

    memset(changes, 0, count * sizeof(*changes));
    do {
        status = s->ops->begin(s->backend, STORE_WRITE, err);
        if (status != STATUS_OK)
            continue;
        status = add_versions(s, prices, count, &changed, changes, err);
        if (status == STATUS_OK && (!changed || !keep)) {
            s->ops->rollback(s->backend);
            return STATUS_OK;
        }
        if (status == STATUS_OK)
            status = journal_import(s, actor, what, now_us, err);
        status =
            status == STATUS_OK ? s->ops->commit(s->backend, true, err) : store_give_up(s, status);
    } while (store_once_more(s, status, true, &tries));
    return status;
}

enum status
store_prices(struct store *s, const struct price_filter *filter,
             bool (*visit)(void *context, const struct price_version *version), void *context,
             struct error *err)
{
    return s->ops->prices(s->backend, filter, visit, context, err);
}
