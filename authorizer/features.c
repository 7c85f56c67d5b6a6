/* SPDX-License-Identifier: MIT */
#include "authorizer/features.h"

#include "common/buf.h"

#include <string.h>

#include "common/banned.h"

#define NUMBER_DIGITS_MAX 1024 /* 3,400 permissions */

/* A list with commas between, walked from the front. */
struct list {
    const char *at; /* NULL: at the end */
};

static bool
next_entry(struct list *list, const char **entry, size_t *length)
{
    if (list->at == NULL)
        return false;
    *entry = list->at + strspn(list->at, " ");
    *length = strcspn(*entry, ",");
    list->at = (*entry)[*length] == ',' ? *entry + *length + 1 : NULL;
    while (*length > 0 && (*entry)[*length - 1] == ' ')
        (*length)--;
    return true;
}

/* "ou:name": whose feature it is, and its name. */
struct feature {
    bool of_organization, of_user;
    const char *name;
    size_t length;
};

static bool
split_feature(const char *entry, size_t length, struct feature *out)
{
    size_t prefix = 0;

    *out = (struct feature){ .name = NULL };
    for (; prefix < length && entry[prefix] != ':'; prefix++) {
        out->of_organization = out->of_organization || entry[prefix] == 'o';
        out->of_user = out->of_user || entry[prefix] == 'u';
        if (entry[prefix] != 'o' && entry[prefix] != 'u')
            return false;
    }
    if (prefix == 0 || prefix + 1 >= length)
        return false;
    out->name = entry + prefix + 1;
    out->length = length - prefix - 1;
    return true;
}

static void
add_scope(struct identity *identity, const char *prefix, const char *feature, size_t feature_length,
          const char *permission, size_t permission_length)
{
    char storage[SCOPE_SIZE];
    struct buf scope;

    buf_init(&scope, storage, sizeof(storage));
    buf_add(&scope, prefix);
    buf_add_bytes(&scope, feature, feature_length);
    if (permission != NULL)
        buf_add_char(&scope, ':');
    if (permission != NULL)
        buf_add_bytes(&scope, permission, permission_length);
    if (!buf_failed(&scope))
        identity_scope_add(identity, storage, scope.length);
}

/* Halve a number in decimal digits (values, not characters); what is left over is its lowest bit.
 */
static bool
take_bit(unsigned char *digits, size_t length)
{
    unsigned carry = 0;

    for (size_t i = 0; i < length; i++) {
        unsigned value = carry * 10 + digits[i];

        digits[i] = (unsigned char)(value / 2);
        carry = value % 2;
    }
    return carry == 1;
}

static void
add_permissions(struct identity *identity, const struct feature *feature, const char *permissions,
                const char *number, size_t number_length)
{
    unsigned char digits[NUMBER_DIGITS_MAX];
    struct list list = { permissions };
    const char *permission;
    size_t length;

    if (number_length == 0 || number_length > sizeof(digits))
        return;
    for (size_t i = 0; i < number_length; i++) {
        if (number[i] < '0' || number[i] > '9')
            return;
        digits[i] = (unsigned char)(number[i] - '0');
    }
    while (next_entry(&list, &permission, &length)) {
        if (take_bit(digits, number_length) && length > 0)
            add_scope(identity, "org:", feature->name, feature->length, permission, length);
    }
}

static void
add_features(const struct json *claims, struct identity *identity)
{
    const char *permissions = json_string(json_path(claims, "o.per"));
    struct list features = { json_string(json_member(claims, "fea")) };
    struct list numbers = { permissions == NULL ? NULL : json_string(json_path(claims, "o.fpm")) };
    const char *entry, *number;
    size_t length, number_length;

    while (next_entry(&features, &entry, &length)) {
        struct feature feature;

        if (!split_feature(entry, length, &feature))
            continue;
        if (feature.of_user)
            add_scope(identity, "u:", feature.name, feature.length, NULL, 0);
        if (!feature.of_organization)
            continue;
        add_scope(identity, "o:", feature.name, feature.length, NULL, 0);
        if (next_entry(&numbers, &number, &number_length))
            add_permissions(identity, &feature, permissions, number, number_length);
    }
}

void
features_add_scopes(const struct json *claims, struct identity *identity)
{
    const struct json *permissions = json_member(claims, "org_permissions");

    if (json_has(claims, "v")) {
        add_features(claims, identity);
        return;
    }
    for (size_t i = 0; i < json_count(permissions); i++) {
        const char *permission = json_string(json_element(permissions, i));

        if (permission != NULL)
            identity_scope_add(identity, permission, strlen(permission));
    }
}
