/* SPDX-License-Identifier: MIT */
/*
 * What a session token says its user may do, as scopes: features, and the permissions of the active
 * organization. Source: clerk-api document, section 5.
 */
#ifndef SPENDGATE_FEATURES_H
#define SPENDGATE_FEATURES_H

#include "authorizer/identity.h"
#include "common/json.h"

/*
 * Add to the identity's scopes, of version 2: each feature of `fea` as "o:NAME" or "u:NAME" ("ou:"
 * and "uo:" stand for both), and each permission that `fpm` selects of `o.per` as
 * "org:FEATURE:PERMISSION"; of version 1: `org_permissions`. The n-th number of `fpm` belongs to
 * the n-th feature of the organization, its bits, least significant first, to the entries of `per`;
 * it may have more than 64 bits. What is not of this form adds nothing.
 */
void features_add_scopes(const struct json *claims, struct identity *identity);

#endif
