/* SPDX-License-Identifier: MIT */
#include "authorizer/credential.h"

#include "common/crypto.h"
#include "common/json.h"

#include <string.h>
#include <strings.h>

#include "common/banned.h"

#define SESSION_COOKIE "__session"

static bool
is_word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* b64token of RFC 6750: 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" */
static bool
is_b64token(const char *text, size_t length)
{
    size_t i = 0;

    while (i < length && (is_word_byte(text[i]) || (text[i] != '\0' && strchr(".~+/", text[i]))))
        i++;
    if (i == 0)
        return false;
    while (i < length && text[i] == '=')
        i++;
    return i == length;
}

/* Three base64url parts with a dot between, none of them empty. */
static bool
is_jwt_shaped(const char *text, size_t length)
{
    size_t dots = 0;
    size_t part = 0;

    for (size_t i = 0; i < length; i++) {
        if (text[i] == '.') {
            if (part == 0)
                return false;
            dots++;
            part = 0;
        } else if (is_word_byte(text[i])) {
            part++;
        } else {
            return false;
        }
    }
    return dots == 2 && part > 0;
}

static void
judge(const char *text, size_t length, struct credential *out)
{
    bool jwt = is_jwt_shaped(text, length);

    out->state = CREDENTIAL_MALFORMED;
    if (length > (jwt ? CREDENTIAL_JWT_MAX : CREDENTIAL_OPAQUE_MAX) || !is_b64token(text, length))
        return;
    out->state = CREDENTIAL_PRESENT;
    out->form = jwt ? CREDENTIAL_JWT : CREDENTIAL_OPAQUE;
    out->text = text;
    out->length = length;
}

static void
find_in_header(const char *header, struct credential *out)
{
    static const char scheme[] = "bearer";
    size_t length;

    while (*header == ' ' || *header == '\t')
        header++;
    if (strncasecmp(header, scheme, sizeof(scheme) - 1) != 0)
        return;
    header += sizeof(scheme) - 1;
    if (*header != ' ')
        return;
    while (*header == ' ')
        header++;
    length = strlen(header);
    while (length > 0 && (header[length - 1] == ' ' || header[length - 1] == '\t'))
        length--;
    if (length > 0)
        judge(header, length, out);
}

/* The value of the cookie called `name`, or of the first whose name begins with it when
 * `as_prefix`. */
static const char *
cookie_value(const char *cookies, const char *name, bool as_prefix, size_t *length)
{
    size_t name_length = strlen(name);

    while (*cookies != '\0') {
        size_t equals;

        cookies += strspn(cookies, "; \t");
        equals = strcspn(cookies, "=;");
        if (cookies[equals] == '=' && strncmp(cookies, name, name_length) == 0 &&
            (equals == name_length || (as_prefix && equals > name_length))) {
            const char *value = cookies + equals + 1;

            *length = strcspn(value, "; \t");
            return value;
        }
        cookies += strcspn(cookies, ";");
    }
    return NULL;
}

static void
find_in_cookies(const char *cookies, struct credential *out)
{
    size_t length = 0;
    const char *value = cookie_value(cookies, SESSION_COOKIE, false, &length);

    if (value == NULL)
        value = cookie_value(cookies, SESSION_COOKIE "_", true, &length);
    if (value == NULL || length == 0)
        return;
    judge(value, length, out);
    out->from_cookie = true;
}

void
credential_find(const struct credential_source *source, struct credential *out)
{
    const char *header = source->authorization;

    *out = (struct credential){ .state = CREDENTIAL_ABSENT };
    if (header == NULL || *header == '\0')
        header = source->redirected_authorization;
    if (header != NULL)
        find_in_header(header, out);
    if (out->state == CREDENTIAL_ABSENT && source->cookies != NULL)
        find_in_cookies(source->cookies, out);
}

static bool
has_prefix(const struct credential *credential, const char *prefix)
{
    size_t length = strlen(prefix);

    return credential->length > length && memcmp(credential->text, prefix, length) == 0;
}

/* One base64url part of a JWT as a JSON tree, or NULL. */
static struct json *
jwt_part(const char *text, size_t length)
{
    unsigned char bytes[CREDENTIAL_JWT_MAX];
    struct json *tree = NULL;
    size_t bytes_length = 0;

    if (base64url_decode(text, length, bytes, sizeof(bytes), &bytes_length) &&
        json_parse((const char *)bytes, bytes_length, &tree, NULL) != STATUS_OK)
        tree = NULL;
    crypto_wipe(bytes, sizeof(bytes));
    return tree;
}

static bool
is_access_token_type(const char *type)
{
    return type != NULL && (strcmp(type, "at+jwt") == 0 || strcmp(type, "application/at+jwt") == 0);
}

static enum credential_kind
kind_of_jwt(const char *text)
{
    enum credential_kind kind = CREDENTIAL_SESSION_TOKEN;
    size_t header_length = strcspn(text, "."); /* its shape has been checked: there are two dots */
    const char *payload = text + header_length + 1;
    struct json *header = jwt_part(text, header_length);
    struct json *claims = jwt_part(payload, strcspn(payload, "."));
    const char *subject = json_string(json_member(claims, "sub"));

    if (subject != NULL && strncmp(subject, "mch_", 4) == 0)
        kind = CREDENTIAL_M2M_TOKEN;
    else if (is_access_token_type(json_string(json_member(header, "typ"))))
        kind = CREDENTIAL_OAUTH_TOKEN;
    json_free(header);
    json_free(claims);
    return kind;
}

static enum credential_kind
kind_by_shape(const struct credential *credential)
{
    if (credential->form == CREDENTIAL_JWT)
        return kind_of_jwt(credential->text);
    if (has_prefix(credential, "ak_"))
        return CREDENTIAL_API_KEY;
    if (has_prefix(credential, "mt_"))
        return CREDENTIAL_M2M_TOKEN;
    if (has_prefix(credential, "oat_"))
        return CREDENTIAL_OAUTH_TOKEN;
    return CREDENTIAL_NONE;
}

enum credential_kind
credential_kind_of(const struct credential *credential)
{
    enum credential_kind kind = kind_by_shape(credential);

    if (credential->from_cookie && kind != CREDENTIAL_SESSION_TOKEN)
        return CREDENTIAL_NONE;
    return kind;
}
