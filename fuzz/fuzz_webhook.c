/* SPDX-License-Identifier: MIT */
/* The payload of a webhook of Clerk's: whom it names is an account that such an event may change.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "tracker/webhook.h"

#include "common/banned.h"

static void
check_action(const struct webhook_action *action)
{
    const char *name = action->account;

    assert(account_name_valid(name));
    switch (action->change) {
    case ACCOUNT_REVOKE:
        assert(strncmp(name, "key:sess_", 9) == 0);
        break;
    case ACCOUNT_FREEZE:
    case ACCOUNT_REVERIFY:
        assert(strncmp(name, "user_", 5) == 0 || strncmp(name, "org_", 4) == 0);
        break;
    default:
        abort(); /* no event asks for another change */
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct webhook_event event;
    struct error err = { 0 };
    bool taken = webhook_read((const char *)data, size, &event, &err) == STATUS_OK;

    fuzz_result(taken);
    assert(taken || event.action_count == 0);
    assert(event.action_count <= WEBHOOK_ACTIONS_MAX);
    for (size_t i = 0; i < event.action_count; i++)
        check_action(&event.actions[i]);
    return 0;
}
