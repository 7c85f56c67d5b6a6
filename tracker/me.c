/* SPDX-License-Identifier: MIT */
#include "tracker/me.h"

#include <string.h>

#include "common/banned.h"

/* A parameter that the authorizer set; Apache renames it when the request was redirected inside. */
static const char *
authorizer_param(const struct call *call, const char *name, const char *redirected)
{
    const char *value = request_param(call->request, name);

    return value != NULL ? value : request_param(call->request, redirected);
}

/* The origin that asks, as the settings have it; NULL for none of theirs. */
static const char *
known_origin(const struct call *call)
{
    const struct text_list *origins = &call->tracker->settings->clerk.authorized_parties;
    const char *origin = request_param(call->request, "HTTP_ORIGIN");

    for (size_t i = 0; origin != NULL && i < origins->count; i++) {
        if (strcmp(origins->items[i], origin) == 0)
            return origins->items[i];
    }
    return NULL;
}

/* Let the pages of a known origin read this answer, whatever it will be. */
static void
allow_origin(struct call *call)
{
    call->answer->vary_origin = true;
    call->answer->allow_origin = known_origin(call);
    call->answer->allow_cookies = call->tracker->settings->clerk.session_cookie;
}

/* The caller's own account, and that of the key beside it. A parent is not the caller's to know. */
void
me_get(struct call *call)
{
    const char *subject = authorizer_param(call, "SPENDGATE_SUBJECT", "REDIRECT_SPENDGATE_SUBJECT");
    const char *key_id = authorizer_param(call, "SPENDGATE_KEY_ID", "REDIRECT_SPENDGATE_KEY_ID");
    char storage[ACCOUNT_NAME_SIZE], parent[ACCOUNT_NAME_SIZE];
    struct refusal refusal = { .http_status = 0 }, no_key = { .http_status = 0 };
    struct buf key;
    struct store *store;

    allow_origin(call);
    if (subject == NULL || *subject == '\0') {
        refusal_set(&refusal, 401, "missing_credential",
                    "This call has to come through the authorizer, which says who is calling.");
        refusal.challenge = "Bearer realm=\"spendgate\"";
    } else if (!account_name_valid(subject)) {
        refusal_set(&refusal, 404, "unknown_account", "There is no such account.");
    }
    store = refused(&refusal) ? NULL : call_store(call, &refusal);
    if (store != NULL)
        call_load_account(call, store, subject, parent, &refusal);
    if (refused(&refusal)) {
        call_refuse(call, &refusal);
        return;
    }
    call->answer->http_status = 200;
    call_add_account(call, NULL);
    buf_init(&key, storage, sizeof(storage));
    buf_add(&key, "key:");
    buf_add(&key, key_id != NULL ? key_id : "");
    if (buf_failed(&key) || key.length == strlen("key:"))
        return;
    call_load_account(call, store, buf_text(&key), parent, &no_key);
    if (refused(&no_key))
        return;
    call->answer->length--; /* the key goes inside the object */
    answer_add_text(call->answer, ",\"key\":");
    call_add_account(call, NULL);
    answer_add_text(call->answer, "}");
}

void
me_preflight(struct call *call)
{
    struct refusal refusal = { .http_status = 0 };

    allow_origin(call);
    if (call->answer->allow_origin == NULL) {
        refusal_set(&refusal, 403, "forbidden",
                    "Pages of this origin may not ask: it is not in authorized_parties.");
        call_refuse(call, &refusal);
        return;
    }
    call->answer->preflight = true;
    call->answer->http_status = 200;
    answer_add_text(call->answer, "{}");
}
