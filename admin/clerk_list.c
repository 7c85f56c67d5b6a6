/* SPDX-License-Identifier: MIT */
#include "admin/clerk_list.h"

#include "common/clock.h"
#include "common/json.h"

#include <string.h>

#include "common/banned.h"

#define NUMBER_MAX (INT64_C(1) << 53)
/* Clerk's page says milliseconds, its examples are in seconds: 10^11 ms is 1973. */
#define SECONDS_BELOW INT64_C(100000000000)

void
clerk_text_cut(char *out, size_t size, const char *text)
{
    size_t length = strlen(text);
    size_t kept = 0;

    while (length - kept > 0) {
        size_t bytes = text_utf8_length(text + kept, length - kept);

        if (bytes == 0 || kept + bytes >= size)
            break;
        kept += bytes;
    }
    memcpy(out, text, kept);
    out[kept] = '\0';
}

static void
add_escaped(struct buf *out, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    for (; *text != '\0'; text++) {
        if (strchr(plain, *text) != NULL)
            buf_add_char(out, *text);
        else
            buf_add_format(out, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

void
clerk_list_path(const char *subject, int64_t offset, struct buf *out)
{
    buf_add(out, "/v1/api_keys?subject=");
    add_escaped(out, subject);
    buf_add_format(out, "&include_invalid=true&limit=%d&offset=%lld", CLERK_LIST_LIMIT,
                   (long long)offset);
}

static bool
read_boolean(const struct json *key, const char *name, bool *out)
{
    const struct json *value = json_member(key, name);

    *out = json_boolean(value, false);
    return json_type(value) == JSON_BOOLEAN;
}

/* A missing one is as good as null, which is "never". */
static bool
read_expiry(const struct json *key, int64_t *out_us)
{
    const struct json *value = json_member(key, "expiration");
    int64_t number;

    *out_us = 0;
    if (json_type(value) == JSON_NULL)
        return true;
    if (!json_int64(value, 1, NUMBER_MAX, &number))
        return false;
    *out_us = number < SECONDS_BELOW ? number * US_PER_SECOND : number * 1000; /* both fit */
    return true;
}

static void
read_text(const struct json *key, const char *name, char *out, size_t size)
{
    const char *text = json_string(json_member(key, name));

    clerk_text_cut(out, size, text != NULL ? text : "");
}

static bool
read_key(const struct json *value, const char *subject, int64_t now_us, struct clerk_key *out)
{
    const char *id = json_string(json_member(value, "id"));
    const char *whose = json_string(json_member(value, "subject"));
    struct buf account;

    if (id == NULL || id[0] == '\0' || whose == NULL || strcmp(whose, subject) != 0)
        return false;
    buf_init(&account, out->account, sizeof(out->account));
    buf_add(&account, "key:");
    buf_add(&account, id);
    if (buf_failed(&account) || !account_name_valid(out->account))
        return false;
    if (!read_boolean(value, "revoked", &out->revoked) ||
        !read_boolean(value, "expired", &out->expired) || !read_expiry(value, &out->expires_us))
        return false;
    if (out->expires_us != 0 && out->expires_us <= now_us)
        out->expired = true;
    read_text(value, "name", out->title, sizeof(out->title));
    read_text(value, "revocation_reason", out->reason, sizeof(out->reason));
    return true;
}

static enum status
read_page(const struct json *root, const char *subject, int64_t now_us,
          bool (*visit)(void *context, const struct clerk_key *key), void *context,
          struct clerk_page *out, struct error *err)
{
    const struct json *data = json_member(root, "data");
    struct clerk_key key;

    if (json_type(data) != JSON_ARRAY)
        return error_set(err, STATUS_INVALID, "Clerk's list of keys has no array \"data\"");
    if (!json_int64(json_member(root, "total_count"), 0, CLERK_LIST_TOTAL_MAX, &out->total))
        return error_set(err, STATUS_INVALID,
                         "Clerk's list of keys has no \"total_count\" from 0 to %d",
                         CLERK_LIST_TOTAL_MAX);
    out->keys = json_count(data);
    for (size_t i = 0; i < out->keys; i++) {
        if (!read_key(json_element(data, i), subject, now_us, &key))
            out->odd++;
        else if (!visit(context, &key))
            break;
    }
    return STATUS_OK;
}

enum status
clerk_list_read(const char *text, size_t length, const char *subject, int64_t now_us,
                bool (*visit)(void *context, const struct clerk_key *key), void *context,
                struct clerk_page *out, struct error *err)
{
    struct json *root = NULL;
    struct error why;
    enum status status = json_parse(text, length, &root, &why);

    *out = (struct clerk_page){ 0 };
    if (status == STATUS_INVALID)
        return error_set(err, STATUS_INVALID, "Clerk's list of keys is no JSON: %s", why.message);
    if (status != STATUS_OK)
        return error_set(err, status, "%s", why.message);
    status = read_page(root, subject, now_us, visit, context, out, err);
    json_free(root);
    return status;
}
