/* SPDX-License-Identifier: MIT */
/*
 * Whom failed verifications are counted on: the client's address, an IPv6 one by its /64, behind
 * proxies that the settings trust the one that X-Forwarded-For names. Source: contract, section 2
 * (`failure_rate`, `trusted_proxies`).
 */
#ifndef SPENDGATE_CLIENT_ADDRESS_H
#define SPENDGATE_CLIENT_ADDRESS_H

#include <stdbool.h>

#include "common/settings.h"

#define CLIENT_ADDRESS_TEXT_SIZE 48

struct client_address {
    uint8_t bytes[16]; /* IPv4 as mapped IPv6; all zero: unknown */
};

/* `remote` is REMOTE_ADDR and `forwarded` HTTP_X_FORWARDED_FOR; each may be NULL. What cannot be
 * read is not believed: the last address that could is taken, and all that have none share one. */
void client_address_find(const char *remote, const char *forwarded,
                         const struct address_range *trusted, size_t trusted_count,
                         struct client_address *out);

/* The name that the failures are counted under: lower-case hex, 32 digits of an IPv4 address, 16 of
 * an IPv6 network. */
void client_address_name(const struct client_address *address, char out[CLIENT_ADDRESS_TEXT_SIZE]);

#endif
