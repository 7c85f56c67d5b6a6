/* SPDX-License-Identifier: MIT */
/*
 * How `spendgate doctor` asks, through a web server, which authorizer is behind it and how it was
 * called. The question is a request header that only a holder of the Clerk secret key can write,
 * and only a denial answers it, so that it opens nothing and tells a stranger nothing.
 */
#ifndef SPENDGATE_PROBE_H
#define SPENDGATE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/secret.h"
#include "common/settings.h"

/* The header, in the question and in the answer. */
#define PROBE_HEADER "X-Spendgate-Doctor"
#define PROBE_TICKET_SIZE 96     /* with its NUL */
#define PROBE_FINGERPRINT_SIZE 9 /* eight hex digits, with the NUL */
/* How far a ticket's time may lie from the clock of whoever reads it. */
#define PROBE_AGE_MAX_US (INT64_C(300) * 1000000)

/* "SECONDS.HEX": the time and the HMAC-SHA256 of it. False, and an empty `out`, without a key. */
bool probe_ticket(const struct secret *key, int64_t now_us, char out[PROBE_TICKET_SIZE]) MUST_CHECK;
/* Whether `text` is a ticket made with `key` at about `now_us`. False for NULL, and without a key.
 */
bool probe_ticket_valid(const struct secret *key, const char *text, int64_t now_us) MUST_CHECK;

/* Programs with one secret key run with the same settings file, and count in the same store, when
 * these agree. */
void probe_settings_fingerprint(const struct settings *settings, char out[PROBE_FINGERPRINT_SIZE]);
void probe_store_fingerprint(const struct settings *settings, char out[PROBE_FINGERPRINT_SIZE]);

#endif
