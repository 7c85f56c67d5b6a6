/* SPDX-License-Identifier: MIT */
/* A page of Clerk's listing of keys: whatever it says, a key that is handed on has an account's
 * name and texts that both stores keep. */
#include <assert.h>
#include <string.h>

#include "admin/clerk_list.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

#define SUBJECT "user_2abcdefghijklmnopqrstuvwxyz"
#define NOW_US INT64_C(1767225600000000)

static void
check_text(const char *text, size_t size)
{
    size_t length = strlen(text);

    assert(length < size);
    for (size_t at = 0; at < length;) {
        size_t bytes = text_utf8_length(text + at, length - at);

        assert(bytes > 0);
        at += bytes;
    }
}

static bool
check_key(void *context, const struct clerk_key *key)
{
    size_t *seen = context;

    (*seen)++;
    assert(strncmp(key->account, "key:", 4) == 0 && account_name_valid(key->account));
    check_text(key->title, sizeof(key->title));
    check_text(key->reason, sizeof(key->reason));
    assert(key->expires_us >= 0);
    assert(key->expired || key->expires_us == 0 || key->expires_us > NOW_US);
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct clerk_page page;
    struct error err;
    size_t seen = 0;
    enum status status =
        clerk_list_read((const char *)data, size, SUBJECT, NOW_US, check_key, &seen, &page, &err);

    assert(status != STATUS_OK || seen + page.odd == page.keys);
    fuzz_result(status == STATUS_OK && page.odd == 0);
    return 0;
}
