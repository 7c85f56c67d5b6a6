/* SPDX-License-Identifier: MIT */
#include "common/fields.h"

#include "common/money.h"

#include <string.h>

#include "common/banned.h"

#define TIME_TEXT_MAX 64 /* RFC 3339 with more decimals than anybody has */

static void
refuse(struct refusal *refusal, const char *name, const char *problem)
{
    refusal_set(refusal, 400, "invalid_field", "%.64s: %s", name, problem);
}

void
fields_read_json(struct fields *fields, const char *text, size_t length, struct refusal *refusal)
{
    struct error err;

    *fields = (struct fields){ .root = NULL };
    if (json_parse(text, length, &fields->root, &err) != STATUS_OK) {
        refusal_set(refusal, 400, "invalid_json", "The body is not JSON: %s", err.message);
        return;
    }
    fields_borrow(fields, fields->root, refusal);
}

void
fields_read_form(struct fields *fields, char *text, size_t length, struct refusal *refusal)
{
    struct error err;

    *fields = (struct fields){ .root = NULL };
    if (form_parse(text, length, &fields->form, &err) != STATUS_OK)
        refusal_set(refusal, 400, "invalid_field", "%s", err.message);
}

void
fields_borrow(struct fields *fields, const struct json *object, struct refusal *refusal)
{
    fields->form.count = 0;
    fields->object = NULL;
    if (json_type(object) != JSON_OBJECT) {
        refusal_set(refusal, 400, "invalid_json", "A JSON object is expected here.");
        return;
    }
    fields->object = object;
}

void
fields_clear(struct fields *fields)
{
    json_free(fields->root);
    fields->root = NULL;
    fields->object = NULL;
    fields->form.count = 0;
}

struct name_check {
    const char *const *names;
    struct refusal *refusal;
};

static bool
check_name(const char *name, const struct json *value, void *context)
{
    const struct name_check *check = context;

    (void)value;
    for (const char *const *known = check->names; *known != NULL; known++) {
        if (strcmp(*known, name) == 0)
            return true;
    }
    refuse(check->refusal, name, "there is no such member");
    return false;
}

void
fields_only(const struct fields *fields, const char *const *names, struct refusal *refusal)
{
    struct name_check check = { names, refusal };

    json_each(fields->object, check_name, &check);
    for (size_t i = 0; i < fields->form.count; i++)
        (void)check_name(fields->form.pairs[i].name, NULL, &check);
}

/* The member's value, NULL when it is null or not there (or in a form). */
static const struct json *
json_field(const struct fields *fields, const char *name)
{
    const struct json *value = json_member(fields->object, name);

    return json_type(value) != JSON_NULL ? value : NULL;
}

bool
fields_has(const struct fields *fields, const char *name)
{
    return json_field(fields, name) != NULL || form_value(&fields->form, name) != NULL;
}

bool
fields_is_null(const struct fields *fields, const char *name)
{
    return json_has(fields->object, name) && json_field(fields, name) == NULL;
}

const char *
fields_text(const struct fields *fields, const char *name, struct refusal *refusal)
{
    const struct json *value = json_field(fields, name);
    const char *text;

    if (value == NULL)
        return form_value(&fields->form, name);
    text = json_string(value);
    if (text == NULL)
        refuse(refusal, name, "has to be a text without NUL");
    return text;
}

static bool
is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static bool
has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        if (is_control(*text))
            return true;
    }
    return false;
}

void
fields_copy(const struct fields *fields, const char *name, char *out, size_t size,
            struct refusal *refusal)
{
    const char *text = fields_text(fields, name, refusal);

    *out = '\0';
    if (text == NULL)
        return;
    if (has_control(text))
        refuse(refusal, name, "control characters are not allowed");
    else if (!text_copy(out, size, text))
        refusal_set(refusal, 400, "invalid_field", "%.64s: longer than %zu bytes", name, size - 1);
}

const char *
fields_decimal(const struct fields *fields, const char *name)
{
    const struct json *value = json_field(fields, name);
    const char *text;

    if (value == NULL)
        return form_value(&fields->form, name);
    text = json_type(value) == JSON_NUMBER ? json_number_text(value) : json_string(value);
    return text != NULL ? text : "";
}

int64_t
fields_money(const struct fields *fields, const char *name, struct refusal *refusal)
{
    const char *text = fields_decimal(fields, name);
    int64_t nanos = -1;

    if (text != NULL && !money_parse_usd(text, &nanos))
        refuse(refusal, name,
               "has to be USD as a plain decimal with at most nine decimals, 0 to 1000000000");
    return nanos;
}

int64_t
fields_money_required(const struct fields *fields, const char *name, struct refusal *refusal)
{
    if (!fields_has(fields, name))
        refusal_set(refusal, 400, "missing_field", "%s: is needed", name);
    return fields_money(fields, name, refusal);
}

/* In a form and a query a "+" that was not escaped is a space: before an offset it was a "+". */
static bool
form_time(const char *text, int64_t *time_us)
{
    char copy[TIME_TEXT_MAX];
    size_t length = strlen(text);

    if (!text_copy(copy, sizeof(copy), text))
        return false;
    if (length > strlen("+01:00") && copy[length - strlen("+01:00")] == ' ')
        copy[length - strlen("+01:00")] = '+';
    return text_to_time_us(copy, time_us);
}

int64_t
fields_time(const struct fields *fields, const char *name, struct refusal *refusal)
{
    const char *text = fields_text(fields, name, refusal);
    bool form = json_field(fields, name) == NULL;
    int64_t time_us = 0;

    if (text != NULL && !(form ? form_time(text, &time_us) : text_to_time_us(text, &time_us)))
        refuse(refusal, name, "has to be an RFC 3339 time such as 2026-11-21T06:12:05Z");
    return time_us;
}

int64_t
fields_number(const struct fields *fields, const char *name, int64_t min, int64_t max,
              int64_t fallback, struct refusal *refusal)
{
    const char *text = fields_decimal(fields, name);
    int64_t number = fallback;

    if (text != NULL && !text_to_int64(text, min, max, &number))
        refusal_set(refusal, 400, "invalid_field", "%s: has to be a whole number %lld to %lld",
                    name, (long long)min, (long long)max);
    return number;
}

const struct json *
fields_json(const struct fields *fields, const char *name, struct json **owned,
            struct refusal *refusal)
{
    const struct json *value = json_field(fields, name);
    const char *text = form_value(&fields->form, name);

    *owned = NULL;
    if (value == NULL && text == NULL)
        return NULL;
    if (value == NULL) {
        if (json_parse(text, strlen(text), owned, NULL) != STATUS_OK)
            *owned = NULL;
        value = *owned;
    }
    if (json_type(value) == JSON_OBJECT)
        return value;
    refuse(refusal, name, "has to be a JSON object");
    return NULL;
}

void
fields_object(const struct fields *fields, const char *name, struct buf *out,
              struct refusal *refusal)
{
    struct json *owned;
    const struct json *value = fields_json(fields, name, &owned, refusal);

    if (value != NULL)
        json_write(value, out);
    if (buf_failed(out))
        refusal_set(refusal, 400, "invalid_field", "%s: longer than %zu bytes as compact JSON",
                    name, out->size - 1);
    json_free(owned);
}

/* One tag of `length` bytes. */
static void
add_tag(const char *name, const char *tag, size_t length, struct buf *out, struct refusal *refusal)
{
    bool good = length > 0 && memchr(tag, ',', length) == NULL;

    for (size_t i = 0; i < length; i++)
        good = good && !is_control(tag[i]);
    if (!good) {
        refuse(refusal, name,
               "each tag has to be a text that is not empty and has no comma or control character");
        return;
    }
    if (out->length > 0)
        buf_add_char(out, ',');
    buf_add_bytes(out, tag, length);
}

/* "a,b" as two tags; an empty text is none. */
static void
add_tag_list(const char *name, const char *text, struct buf *out, struct refusal *refusal)
{
    for (; *text != '\0' && !refused(refusal);) {
        size_t length = strcspn(text, ",");

        add_tag(name, text, length, out, refusal);
        text += length;
        if (*text == ',' && *++text == '\0')
            refuse(refusal, name, "a comma at the end");
    }
}

void
fields_tags(const struct fields *fields, const char *name, struct buf *out, struct refusal *refusal)
{
    const struct json *value = json_field(fields, name);
    const char *text;

    if (json_type(value) == JSON_ARRAY) {
        for (size_t i = 0; i < json_count(value); i++) {
            text = json_string(json_element(value, i));
            add_tag(name, text != NULL ? text : "", text != NULL ? strlen(text) : 0, out, refusal);
        }
    } else if ((text = fields_text(fields, name, refusal)) != NULL) {
        add_tag_list(name, text, out, refusal);
    }
    if (buf_failed(out))
        refusal_set(refusal, 400, "invalid_field", "%s: longer than %zu bytes together", name,
                    out->size - 1);
}

void
fields_account(const struct fields *fields, const char *name, const char *prefix,
               char out[ACCOUNT_NAME_SIZE], struct refusal *refusal)
{
    const char *text = fields_text(fields, name, refusal);
    char storage[ACCOUNT_NAME_SIZE];
    struct buf account;

    out[0] = '\0';
    if (text == NULL || *text == '\0')
        return;
    buf_init(&account, storage, sizeof(storage));
    buf_add(&account, prefix);
    buf_add(&account, text);
    if (buf_failed(&account) || !account_name_valid(buf_text(&account)) ||
        !text_copy(out, ACCOUNT_NAME_SIZE, text))
        refusal_set(refusal, 404, "unknown_account", "%s: there is no such account", name);
}
