/* SPDX-License-Identifier: MIT */
/*
 * Where a request carries its credential, and of which kind it is by its looks. Nothing here says
 * whether it is genuine (verifier.h), and nothing here is a network call. Source: contract, section
 * 3; clerk-api document, section 7; RFC 6750, section 2.1.
 */
#ifndef SPENDGATE_CREDENTIAL_H
#define SPENDGATE_CREDENTIAL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/policy.h"

#define CREDENTIAL_OPAQUE_MAX 4096
#define CREDENTIAL_JWT_MAX 16384

enum credential_state {
    CREDENTIAL_ABSENT = 0, /* none, an empty one, or another scheme than Bearer */
    CREDENTIAL_MALFORMED,  /* too long, or bytes that no credential has */
    CREDENTIAL_PRESENT,
};

enum credential_form { CREDENTIAL_OPAQUE = 0, CREDENTIAL_JWT };

struct credential {
    enum credential_state state;
    enum credential_form form;
    bool from_cookie;
    const char
        *text; /* borrowed from the request, not terminated; visible ASCII without '"' and '\' */
    size_t length;
};

/* Where to look. Each may be NULL. */
struct credential_source {
    const char *authorization; /* HTTP_AUTHORIZATION */
    const char
        *redirected_authorization; /* REDIRECT_HTTP_AUTHORIZATION, used when the first is missing */
    const char *cookies;           /* HTTP_COOKIE; NULL when the cookie is not to be read */
};

/*
 * Find the credential: the Authorization header, else a JWT in the cookie `__session` (or, without
 * that one, in a
 * `__session_…`). `out` borrows from `source`. Allocates nothing.
 */
void credential_find(const struct credential_source *source, struct credential *out);

/*
 * The kind of a CREDENTIAL_PRESENT. A JWT is taken apart for it, without any trust in what it says;
 * one that cannot be is a session token, whose verifier then refuses it, as Clerk's own SDK does.
 * An opaque one of no known prefix is CREDENTIAL_NONE. In a cookie only a session token counts:
 * anything else there is CREDENTIAL_NONE.
 */
enum credential_kind credential_kind_of(const struct credential *credential);

#endif
