/* SPDX-License-Identifier: MIT */
/*
 * Who may call the tracker: `Authorization: Bearer <token>` against the tokens of the settings, of
 * which only the SHA-256 is known here. Source: contract, section 5.
 */
#ifndef SPENDGATE_TRACKER_TOKEN_H
#define SPENDGATE_TRACKER_TOKEN_H

#include <stdbool.h>

#include "common/settings.h"

/* The text after `Bearer ` (scheme compared case-insensitively) of an Authorization header, or NULL
 * when there is no header, another scheme, or nothing after it. Points into `authorization`. */
const char *token_presented(const char *authorization);

/* The configured token that `presented` is, or NULL. Compares with every one of them, each in
 * constant time, so that the time taken tells nothing about any. */
const struct tracker_token *token_find(const struct settings *settings, const char *presented);

/* An admin token may do everything, the others what their name says. TOKEN_NONE: nobody needs a
 * token. */
bool token_allows(enum token_role have, enum token_role need);

#endif
