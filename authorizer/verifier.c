/* SPDX-License-Identifier: MIT */
#include "authorizer/verifier.h"

#include <stddef.h>

#include "common/banned.h"

const struct verifier *const verifiers[] = {
    &verifier_api_key,
    &verifier_m2m_opaque,
    &verifier_oauth_opaque,
    &verifier_session_jwt,
    &verifier_m2m_jwt,
    &verifier_oauth_jwt,
    NULL,
};

const struct verifier *
verifier_find(const struct verifier *const *rows, enum credential_kind kind,
              enum credential_form form)
{
    for (; *rows != NULL; rows++) {
        if ((*rows)->kind == kind && (*rows)->form == form)
            return *rows;
    }
    return NULL;
}

/* The lowest accepted kind that no row verifies, or CREDENTIAL_NONE. */
static enum credential_kind
first_unverified(const struct verifier *const *rows, unsigned accept)
{
    unsigned left = accept;

    for (; *rows != NULL; rows++)
        left &= ~(unsigned)(*rows)->kind;
    return (enum credential_kind)(left & (~left + 1));
}

enum status
verifier_check_settings(const struct verifier *const *rows, const struct settings *settings,
                        struct error *err)
{
    enum credential_kind kind = first_unverified(rows, settings->clerk.accept);

    if (kind != CREDENTIAL_NONE)
        return error_set(err, STATUS_INVALID,
                         "clerk { accept } names %s, which this program cannot verify: remove it",
                         credential_kind_name(kind));
    for (size_t i = 0; i < settings->policy.route_count; i++) {
        const struct route *route = &settings->policy.routes[i];

        kind = first_unverified(rows, route->accept);
        if (kind != CREDENTIAL_NONE)
            return error_set(
                err, STATUS_INVALID,
                "route \"%.200s\" accepts %s, which this program cannot verify: remove it",
                route->prefix, credential_kind_name(kind));
    }
    return STATUS_OK;
}
