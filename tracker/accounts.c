/* SPDX-License-Identifier: MIT */
#include "tracker/accounts.h"

#include "common/crypto.h"

#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

/* ---- one ------------------------------------------------------------------------------------ */

void
accounts_get(struct call *call)
{
    struct refusal refusal = { .http_status = 0 };
    struct fields fields;
    const char *account;

    call_query(call, &fields, &refusal);
    fields_only(&fields, call_no_names, &refusal);
    account = call_account(call, &refusal);
    call_answer_account(call, account, &refusal);
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}

/* ---- all ------------------------------------------------------------------------------------ */

struct name_page {
    size_t count, limit;
    char (*names)[ACCOUNT_NAME_SIZE]; /* limit + 1 of them, so that a next page is known */
};

static bool
keep_name(void *context, const char *name)
{
    struct name_page *page = context;

    if (!text_copy(page->names[page->count], ACCOUNT_NAME_SIZE, name))
        return false;
    page->count++;
    return page->count <= page->limit;
}

/* The name after which the page begins: the cursor is the last one shown, in base64url. */
static void
read_cursor(const struct fields *fields, char after[ACCOUNT_NAME_SIZE], struct refusal *refusal)
{
    const char *cursor = fields_text(fields, "cursor", refusal);
    size_t length = 0;

    after[0] = '\0';
    if (cursor == NULL || *cursor == '\0')
        return;
    if (!base64url_decode(cursor, strlen(cursor), after, ACCOUNT_NAME_SIZE - 1, &length)) {
        refusal_set(refusal, 400, "invalid_field", "cursor: is none of ours");
        return;
    }
    after[length] = '\0';
    if (strlen(after) != length || !account_name_valid(after))
        refusal_set(refusal, 400, "invalid_field", "cursor: is none of ours");
}

static void
list_answer(struct call *call, struct store *store, const struct name_page *page,
            struct refusal *refusal)
{
    size_t shown = page->count < page->limit ? page->count : page->limit;
    char storage[2 * ACCOUNT_NAME_SIZE], parent[ACCOUNT_NAME_SIZE];
    struct buf cursor;

    answer_add_text(call->answer, "{\"accounts\":[");
    for (size_t i = 0; i < shown; i++) {
        call_load_account(call, store, page->names[i], parent, refusal);
        if (refused(refusal))
            return;
        if (i > 0)
            answer_add_text(call->answer, ",");
        call_add_account(call, parent);
    }
    answer_add_text(call->answer, "],\"next_cursor\":");
    buf_init(&cursor, storage, sizeof(storage));
    if (page->count > page->limit && shown > 0) {
        buf_add_char(&cursor, '"');
        buf_add_base64url(&cursor, page->names[shown - 1], strlen(page->names[shown - 1]));
        buf_add_char(&cursor, '"');
    } else {
        buf_add(&cursor, "null");
    }
    answer_add_buf(call->answer, &cursor);
    answer_add_text(call->answer, "}");
    call->answer->http_status = 200;
}

void
accounts_list(struct call *call)
{
    static const char *const names[] = { "limit", "cursor", NULL };
    struct refusal refusal = { .http_status = 0 };
    struct name_page page = { .names = NULL };
    char after[ACCOUNT_NAME_SIZE];
    struct fields fields;
    struct store *store = NULL;
    struct error err;

    call_query(call, &fields, &refusal);
    page.limit =
        (size_t)fields_number(&fields, "limit", 1, PAGE_LIMIT_MAX, PAGE_LIMIT_DEFAULT, &refusal);
    read_cursor(&fields, after, &refusal);
    fields_only(&fields, names, &refusal);
    if (refused(&refusal))
        goto out;
    store = call_store(call, &refusal);
    if (store == NULL)
        goto out;
    page.names = calloc(page.limit + 1, sizeof(*page.names));
    if (page.names == NULL)
        call_no_memory(&refusal);
    else if (store_account_names(store, after, page.limit + 1, keep_name, &page, &err) != STATUS_OK)
        call_store_failed(call, &err, &refusal);
    else
        list_answer(call, store, &page, &refusal);
out:
    if (refused(&refusal))
        call_refuse(call, &refusal);
    free(page.names);
    fields_clear(&fields);
}

/* ---- an operator's switches ----------------------------------------------------------------- */

static void
change(struct call *call, enum account_change change)
{
    static const char *const names[] = { "note", NULL };
    struct refusal refusal = { .http_status = 0 };
    struct call_actor actor;
    const char *account;
    struct result result;
    struct fields fields;
    struct store *store;
    struct error err;

    call_fields(call, &fields, &refusal);
    account = call_account(call, &refusal);
    call_actor_read(call, &fields, &actor, &refusal);
    fields_only(&fields, names, &refusal);
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL) {
        if (store_account_change(store, account, change, 0, NULL, &actor.actor, call->now_us,
                                 &result, &err) != STATUS_OK)
            call_store_failed(call, &err, &refusal);
        else
            call_outcome(call, &result, &refusal);
    }
    call_answer_account(call, account, &refusal);
    if (refused(&refusal))
        call_refuse(call, &refusal);
    fields_clear(&fields);
}

void
accounts_freeze(struct call *call)
{
    change(call, ACCOUNT_FREEZE);
}

void
accounts_unfreeze(struct call *call)
{
    change(call, ACCOUNT_UNFREEZE);
}

void
accounts_revoke(struct call *call)
{
    change(call, ACCOUNT_REVOKE);
}

void
accounts_unrevoke(struct call *call)
{
    change(call, ACCOUNT_UNREVOKE);
}

void
accounts_reverify(struct call *call)
{
    change(call, ACCOUNT_REVERIFY);
}
