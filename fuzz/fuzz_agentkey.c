/* SPDX-License-Identifier: MIT */
/* A row of agentkey's table: its columns as lines, an empty one for NULL. Whatever comes, the row
 * is safe to print and its amounts are in range. */
#include <assert.h>
#include <string.h>

#include "admin/agentkey.h"
#include "common/money.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

#define INPUT_MAX 4096

static void
check_printable(const char *text, size_t size)
{
    assert(memchr(text, '\0', size) != NULL);
    for (; *text != '\0'; text++)
        assert(*text >= ' ' && *text <= '~');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char input[INPUT_MAX + 1];
    static struct agentkey_row row;
    const char *texts[AGENTKEY_COLUMNS] = { NULL };
    char *at = input;

    if (size > INPUT_MAX || memchr(data, '\0', size) != NULL)
        return 0; /* libpq's texts end at a NUL */
    memcpy(input, data, size);
    input[size] = '\0';
    for (int i = 0; i < AGENTKEY_COLUMNS && at != NULL; i++) {
        char *end = strchr(at, '\n');

        if (end != NULL)
            *end++ = '\0';
        texts[i] = *at != '\0' ? at : NULL;
        at = end;
    }
    agentkey_row_read(texts, &row);
    check_printable(row.id, sizeof(row.id));
    check_printable(row.subject, sizeof(row.subject));
    check_printable(row.scopes, sizeof(row.scopes));
    check_printable(row.period_text, sizeof(row.period_text));
    check_printable(row.budget_text, sizeof(row.budget_text));
    check_printable(row.used_text, sizeof(row.used_text));
    assert(row.subject[0] == '\0' || (row.has_subject && account_name_valid(row.subject)));
    assert(row.budget_nanos >= 0 && row.budget_nanos <= MONEY_MAX_NANOS);
    assert(row.used_nanos >= 0 && row.used_nanos <= MONEY_MAX_NANOS);
    assert(row.reset_us >= 0 && row.expires_us >= 0 && row.created_us >= 0);
    fuzz_result(row.subject[0] != '\0' && row.id[0] != '\0' && row.budget != AGENTKEY_UNREADABLE &&
                row.used != AGENTKEY_UNREADABLE && row.period_known);
    return 0;
}
