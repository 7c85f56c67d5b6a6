/* SPDX-License-Identifier: MIT */
#include "authorizer/client_address.h"

#include "common/crypto.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "common/banned.h"

#define HOPS_MAX 32 /* entries of X-Forwarded-For that are looked at */
#define V4_MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff"

/* One address as text: IPv4 or IPv6, perhaps in brackets, perhaps with a port. */
static bool
parse(const char *text, size_t length, struct client_address *out)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr v6;
    struct in_addr v4;
    const char *colon = memchr(text, ':', length);

    if (length > 0 && text[0] == '[') {
        const char *end = memchr(text, ']', length);

        if (end == NULL)
            return false;
        text++;
        length = (size_t)(end - text);
    } else if (colon != NULL &&
               memchr(colon + 1, ':', length - (size_t)(colon + 1 - text)) == NULL) {
        length = (size_t)(colon - text); /* one colon: IPv4 with a port */
    }
    if (length == 0 || length >= sizeof(copy))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (inet_pton(AF_INET, copy, &v4) == 1) {
        memcpy(out->bytes, V4_MAPPED, 12);
        memcpy(out->bytes + 12, &v4, 4);
        return true;
    }
    if (inet_pton(AF_INET6, copy, &v6) != 1)
        return false;
    memcpy(out->bytes, &v6, 16);
    return true;
}

static bool
is_in_range(const struct client_address *address, const struct address_range *range)
{
    int bits = range->prefix_bits;

    for (int i = 0; i < 16 && bits > 0; i++, bits -= 8) {
        unsigned mask = bits >= 8 ? 0xffU : 0xffU << (8 - bits) & 0xffU;

        if ((address->bytes[i] & mask) != (range->address[i] & mask))
            return false;
    }
    return true;
}

static bool
is_trusted(const struct client_address *address, const struct address_range *trusted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_in_range(address, &trusted[i]))
            return true;
    }
    return false;
}

void
client_address_find(const char *remote, const char *forwarded, const struct address_range *trusted,
                    size_t trusted_count, struct client_address *out)
{
    size_t end = forwarded == NULL ? 0 : strlen(forwarded);

    *out = (struct client_address){ { 0 } };
    if (remote == NULL || !parse(remote, strlen(remote), out))
        return;
    /* Each proxy adds the address it was called from at the end: walk back while whoever added the
     * entry is trusted. */
    for (int hop = 0; hop < HOPS_MAX && end > 0 && is_trusted(out, trusted, trusted_count); hop++) {
        size_t start = end;
        size_t length;

        while (start > 0 && forwarded[start - 1] != ',')
            start--;
        length = end - start;
        end = start > 0 ? start - 1 : 0;
        while (length > 0 && (forwarded[start] == ' ' || forwarded[start] == '\t')) {
            start++;
            length--;
        }
        while (length > 0 &&
               (forwarded[start + length - 1] == ' ' || forwarded[start + length - 1] == '\t'))
            length--;
        if (!parse(forwarded + start, length, out))
            return;
    }
}

void
client_address_name(const struct client_address *address, char out[CLIENT_ADDRESS_TEXT_SIZE])
{
    bool v4 = memcmp(address->bytes, V4_MAPPED, 12) == 0;
    struct buf text;

    buf_init(&text, out, CLIENT_ADDRESS_TEXT_SIZE);
    buf_add_hex(&text, address->bytes, v4 ? 16 : 8);
    assert(!buf_failed(&text));
}
