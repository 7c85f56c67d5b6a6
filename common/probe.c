/* SPDX-License-Identifier: MIT */
#include "common/probe.h"

#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/crypto.h"

#include "common/banned.h"

#define SECONDS_MAX INT64_C(99999999999)
#define SECONDS_SIZE 12
#define MESSAGE_SIZE 64

/* Of this purpose only: the key signs nothing else that could be taken for a ticket. */
static void
sign(const struct secret *key, const char *seconds, uint8_t out[SHA256_BYTES])
{
    char storage[MESSAGE_SIZE];
    struct buf message;

    buf_init(&message, storage, sizeof(storage));
    buf_add(&message, "spendgate doctor ");
    buf_add(&message, seconds);
    crypto_hmac_sha256(key->bytes, key->length, message.data, message.length, out);
}

bool
probe_ticket(const struct secret *key, int64_t now_us, char out[PROBE_TICKET_SIZE])
{
    uint8_t mac[SHA256_BYTES];
    char seconds[SECONDS_SIZE];
    struct buf text;

    out[0] = '\0';
    if (!secret_is_set(key) || now_us < 0 || now_us / US_PER_SECOND > SECONDS_MAX)
        return false;
    buf_init(&text, seconds, sizeof(seconds));
    buf_add_int(&text, now_us / US_PER_SECOND);
    sign(key, seconds, mac);
    buf_init(&text, out, PROBE_TICKET_SIZE);
    buf_add(&text, seconds);
    buf_add_char(&text, '.');
    buf_add_hex(&text, mac, sizeof(mac));
    return !buf_failed(&text);
}

bool
probe_ticket_valid(const struct secret *key, const char *text, int64_t now_us)
{
    uint8_t expected[SHA256_BYTES], given[SHA256_BYTES];
    char seconds[SECONDS_SIZE];
    int64_t seconds_number;
    size_t digits, length;

    if (!secret_is_set(key) || text == NULL)
        return false;
    digits = strspn(text, "0123456789");
    if (digits == 0 || digits >= sizeof(seconds) || text[digits] != '.')
        return false;
    memcpy(seconds, text, digits);
    seconds[digits] = '\0';
    text += digits + 1;
    if (!text_to_int64(seconds, 0, SECONDS_MAX, &seconds_number) ||
        seconds_number * US_PER_SECOND < now_us - PROBE_AGE_MAX_US ||
        seconds_number * US_PER_SECOND > now_us + PROBE_AGE_MAX_US)
        return false;
    if (strnlen(text, SHA256_HEX_SIZE) != SHA256_HEX_SIZE - 1 ||
        !hex_decode(text, SHA256_HEX_SIZE - 1, given, sizeof(given), &length))
        return false;
    sign(key, seconds, expected);
    return crypto_equal(given, expected, sizeof(expected));
}

/* With the key, because a store's URL may hold a password that could be guessed from a bare digest.
 */
static void
write_fingerprint(const struct settings *settings, const char *purpose, const void *bytes,
                  size_t length, char out[PROBE_FINGERPRINT_SIZE])
{
    const struct secret *key = &settings->clerk.secret_key;
    uint8_t digest[SHA256_BYTES], own[SHA256_BYTES];
    struct buf text;

    crypto_hmac_sha256(key->bytes, key->length, purpose, strlen(purpose), own);
    crypto_hmac_sha256(own, sizeof(own), bytes, length, digest);
    crypto_wipe(own, sizeof(own));
    buf_init(&text, out, PROBE_FINGERPRINT_SIZE);
    buf_add_hex(&text, digest, (PROBE_FINGERPRINT_SIZE - 1) / 2);
}

void
probe_settings_fingerprint(const struct settings *settings, char out[PROBE_FINGERPRINT_SIZE])
{
    write_fingerprint(settings, "spendgate doctor settings", settings->digest,
                      sizeof(settings->digest), out);
}

void
probe_store_fingerprint(const struct settings *settings, char out[PROBE_FINGERPRINT_SIZE])
{
    write_fingerprint(settings, "spendgate doctor store", settings->store_url,
                      strlen(settings->store_url), out);
}
