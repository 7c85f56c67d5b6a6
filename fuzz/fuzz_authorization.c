/* SPDX-License-Identifier: MIT */
/* The Authorization header and, behind a line end, the cookies: whatever is found may be put into
 * JSON as it is. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "authorizer/credential.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

static void
check_text(const struct credential *found, const char *source)
{
    assert(found->length > 0);
    assert(found->length <=
           (found->form == CREDENTIAL_JWT ? CREDENTIAL_JWT_MAX : CREDENTIAL_OPAQUE_MAX));
    assert(found->text >= source && found->text + found->length <= source + strlen(source));
    for (size_t i = 0; i < found->length; i++)
        assert(found->text[i] > ' ' && found->text[i] < 0x7f &&
               strchr("\"\\,;", found->text[i]) == NULL);
}

static void
check_kind(const struct credential *found, enum credential_kind kind)
{
    assert(!found->from_cookie || kind == CREDENTIAL_NONE || kind == CREDENTIAL_SESSION_TOKEN);
    if (kind == CREDENTIAL_API_KEY)
        assert(found->form == CREDENTIAL_OPAQUE && memcmp(found->text, "ak_", 3) == 0);
    if (kind == CREDENTIAL_SESSION_TOKEN)
        assert(found->form == CREDENTIAL_JWT);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct credential_source source = { .authorization = NULL };
    enum credential_kind kind = CREDENTIAL_NONE;
    struct credential found;
    char *text = malloc(size + 1);
    char *line_end;

    assert(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    line_end = strchr(text, '\n');
    if (line_end != NULL) {
        *line_end = '\0';
        source.cookies = line_end + 1;
    }
    source.authorization = text;
    credential_find(&source, &found);
    if (found.state == CREDENTIAL_PRESENT) {
        check_text(&found, found.from_cookie ? source.cookies : text);
        kind = credential_kind_of(&found);
        check_kind(&found, kind);
    }
    fuzz_result(kind != CREDENTIAL_NONE);
    free(text);
    return 0;
}
