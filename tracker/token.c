/* SPDX-License-Identifier: MIT */
#include "tracker/token.h"

#include "common/crypto.h"

#include <string.h>
#include <strings.h>

#include "common/banned.h"

#define TOKEN_BYTES_MAX 4096 /* longer than any we print; bounds the work for a stranger */

const char *
token_presented(const char *authorization)
{
    static const char scheme[] = "Bearer";
    const size_t length = sizeof(scheme) - 1;

    if (authorization == NULL || strncasecmp(authorization, scheme, length) != 0 ||
        authorization[length] != ' ')
        return NULL;
    authorization += length;
    authorization += strspn(authorization, " ");
    return *authorization != '\0' ? authorization : NULL;
}

const struct tracker_token *
token_find(const struct settings *settings, const char *presented)
{
    const struct tracker_token *found = NULL;
    uint8_t digest[SHA256_BYTES];
    size_t length;

    if (presented == NULL)
        return NULL;
    length = strnlen(presented, TOKEN_BYTES_MAX + 1);
    if (length == 0 || length > TOKEN_BYTES_MAX)
        return NULL;
    crypto_sha256(presented, length, digest);
    for (size_t i = 0; i < settings->token_count; i++) {
        if (crypto_equal(digest, settings->tokens[i].sha256, sizeof(digest)))
            found = &settings->tokens[i];
    }
    return found;
}

bool
token_allows(enum token_role have, enum token_role need)
{
    return need == TOKEN_NONE || have == need || have == TOKEN_ADMIN;
}
