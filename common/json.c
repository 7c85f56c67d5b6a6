/* SPDX-License-Identifier: MIT */
/*
 * json-c behind json.h: its tree, but a parser of our own.
 *
 * json-c 0.16 with STRICT and VALIDATE_UTF8 still takes NaN and Infinity, "-01", "1.", "-.5",
 * control bytes in strings, names in single quotes, a second member of the same name (the last
 * wins), a name cut at an escaped NUL, lone surrogates, overlong UTF-8, and whatever follows a NUL
 * byte; it turns whole numbers beyond its integers into others; and when an allocation fails it may
 * lose a part of a string and say nothing. So the grammar of RFC 8259 is read here, in one pass,
 * and json-c keeps the values. All texts are decoded into one block that the root owns; a number
 * keeps its text there as user data, and the names of members stay there.
 */
#include "common/json.h"

/* json-c has a type of the name that json.h gives to ours. */
#define json_type json_c_type
#include <json-c/json.h>
#undef json_type
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define PATH_PART_SIZE 256

#ifndef JSON_C_OBJECT_ADD_CONSTANT_KEY /* its name before 0.16 */
#define JSON_C_OBJECT_ADD_CONSTANT_KEY JSON_C_OBJECT_KEY_IS_CONSTANT
#endif

/* ---- parsing -------------------------------------------------------------------------------- */

struct scan {
    const char *start, *next, *end;
    const char *problem; /* what is wrong at `next`; NULL: nothing yet */
    bool no_memory;
    int depth;
    /* Where texts are decoded to. Each takes at most as many bytes as in the source: a string's NUL
     * stands for its quotes, a number's for what has to follow it. */
    char *texts;
    size_t texts_length;
};

/* A text in scan.texts, terminated; it may hold a NUL of its own. */
struct text {
    char *bytes;
    size_t length;
    bool nul;
};

static bool
scan_fail(struct scan *scan, const char *problem)
{
    scan->problem = problem;
    return false;
}

static bool
scan_no_memory(struct scan *scan)
{
    scan->no_memory = true;
    return false;
}

static bool
scan_char(struct scan *scan, char c)
{
    if (scan->next == scan->end || *scan->next != c)
        return false;
    scan->next++;
    return true;
}

static void
scan_space(struct scan *scan)
{
    while (scan->next < scan->end && (*scan->next == ' ' || *scan->next == '\t' ||
                                      *scan->next == '\n' || *scan->next == '\r'))
        scan->next++;
}

static void
text_add(struct scan *scan, const char *bytes, size_t length)
{
    memcpy(scan->texts + scan->texts_length, bytes, length);
    scan->texts_length += length;
}

static bool
scan_digits(struct scan *scan)
{
    const char *first = scan->next;

    while (scan->next < scan->end && *scan->next >= '0' && *scan->next <= '9')
        scan->next++;
    return scan->next > first;
}

static bool
scan_number(struct scan *scan, struct json_object **out)
{
    const char *first = scan->next;
    char *text = scan->texts + scan->texts_length;

    (void)scan_char(scan, '-');
    if (!scan_char(scan, '0') && !scan_digits(scan))
        return scan_fail(scan, "a number without digits");
    if (scan_char(scan, '.') && !scan_digits(scan))
        return scan_fail(scan, "a number without digits after its point");
    if (scan_char(scan, 'e') || scan_char(scan, 'E')) {
        if (!scan_char(scan, '+'))
            (void)scan_char(scan, '-');
        if (!scan_digits(scan))
            return scan_fail(scan, "a number without digits in its exponent");
    }
    text_add(scan, first, (size_t)(scan->next - first));
    text_add(scan, "", 1);
    *out = json_object_new_int64(0); /* the value is its text */
    if (*out == NULL)
        return scan_no_memory(scan);
    json_object_set_userdata(*out, text, NULL);
    return true;
}

/* The four digits of a \u escape, or -1. */
static int
scan_hex4(struct scan *scan)
{
    int value = 0;

    if (scan->end - scan->next < 4)
        return -1;
    for (int i = 0; i < 4; i++, scan->next++) {
        char c = *scan->next;

        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value * 16 + (c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            value = value * 16 + (c - 'A' + 10);
        else
            return -1;
    }
    return value;
}

/* Six bytes of an escape (twelve of a pair) become at most three (four). */
static void
text_add_utf8(struct scan *scan, int code_point)
{
    char bytes[4];
    size_t length;

    if (code_point < 0x80) {
        bytes[0] = (char)code_point;
        length = 1;
    } else if (code_point < 0x800) {
        bytes[0] = (char)(0xc0 | code_point >> 6);
        length = 2;
    } else if (code_point < 0x10000) {
        bytes[0] = (char)(0xe0 | code_point >> 12);
        length = 3;
    } else {
        bytes[0] = (char)(0xf0 | code_point >> 18);
        length = 4;
    }
    for (size_t i = length - 1; i > 0; i--, code_point >>= 6)
        bytes[i] = (char)(0x80 | (code_point & 0x3f));
    text_add(scan, bytes, length);
}

/* What follows "\u". */
static bool
scan_unicode_escape(struct scan *scan, struct text *text)
{
    int unit = scan_hex4(scan), low;

    if (unit < 0)
        return scan_fail(scan, "\\u without four hex digits");
    if (unit == 0)
        text->nul = true;
    if (unit < 0xd800 || unit > 0xdfff) {
        text_add_utf8(scan, unit);
        return true;
    }
    if (unit < 0xdc00 && scan_char(scan, '\\') && scan_char(scan, 'u')) {
        low = scan_hex4(scan);
        if (low >= 0xdc00 && low <= 0xdfff) {
            text_add_utf8(scan, 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
            return true;
        }
    }
    return scan_fail(scan, "half a surrogate pair");
}

static bool
scan_escape(struct scan *scan, struct text *text)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *found;

    if (scan_char(scan, 'u'))
        return scan_unicode_escape(scan, text);
    if (scan->next == scan->end || *scan->next == '\0')
        return scan_fail(scan, "an unknown escape");
    found = strchr(names, *scan->next);
    if (found == NULL)
        return scan_fail(scan, "an unknown escape");
    text_add(scan, values + (found - names), 1);
    scan->next++;
    return true;
}

static bool
scan_string(struct scan *scan, struct text *text)
{
    *text = (struct text){ .bytes = scan->texts + scan->texts_length };
    if (!scan_char(scan, '"'))
        return scan_fail(scan, "a string is wanted");
    while (scan->next < scan->end) {
        size_t bytes = text_utf8_length(scan->next, (size_t)(scan->end - scan->next));

        if (bytes == 0)
            return scan_fail(scan, "not UTF-8");
        if ((unsigned char)*scan->next < 0x20)
            return scan_fail(scan, "a control byte in a string");
        if (scan_char(scan, '"')) {
            text->length = (size_t)(scan->texts + scan->texts_length - text->bytes);
            text_add(scan, "", 1);
            return true;
        }
        if (scan_char(scan, '\\')) {
            if (!scan_escape(scan, text))
                return false;
            continue;
        }
        text_add(scan, scan->next, bytes);
        scan->next += bytes;
    }
    return scan_fail(scan, "a string that does not end");
}

static bool
scan_text_value(struct scan *scan, struct json_object **out)
{
    struct text text;

    if (!scan_string(scan, &text))
        return false;
    /* json-c's limit of a string is that of json_parse. */
    *out = json_object_new_string_len(text.bytes, (int)text.length);
    return *out != NULL || scan_no_memory(scan);
}

static bool scan_value(struct scan *scan, struct json_object **out);

static bool
scan_element(struct scan *scan, struct json_object *array)
{
    struct json_object *value = NULL;

    if (!scan_value(scan, &value))
        return false;
    if (json_object_array_add(array, value) == 0)
        return true;
    json_object_put(value);
    return scan_no_memory(scan);
}

static bool
scan_member(struct scan *scan, struct json_object *object)
{
    struct json_object *value = NULL;
    struct text name;

    scan_space(scan);
    if (!scan_string(scan, &name))
        return false;
    if (name.nul)
        return scan_fail(scan, "a NUL in a member name");
    if (json_object_object_get_ex(object, name.bytes, NULL))
        return scan_fail(scan, "a member name stands twice");
    scan_space(scan);
    if (!scan_char(scan, ':'))
        return scan_fail(scan, "a colon is wanted");
    if (!scan_value(scan, &value))
        return false;
    if (json_object_object_add_ex(object, name.bytes, value,
                                  JSON_C_OBJECT_ADD_KEY_IS_NEW | JSON_C_OBJECT_ADD_CONSTANT_KEY) ==
        0)
        return true;
    json_object_put(value);
    return scan_no_memory(scan);
}

/* The rest of an array or object, up to and with `close`. What it has so far is freed by whoever
 * owns `container`. */
static bool
scan_container(struct scan *scan, char close, struct json_object *container,
               bool (*scan_part)(struct scan *scan, struct json_object *container))
{
    if (container == NULL)
        return scan_no_memory(scan);
    if (++scan->depth > JSON_DEPTH_MAX)
        return scan_fail(scan, "nested too deep");
    scan_space(scan);
    if (!scan_char(scan, close)) {
        do {
            if (!scan_part(scan, container))
                return false;
        } while (scan_char(scan, ','));
        if (!scan_char(scan, close))
            return scan_fail(scan,
                             close == ']' ? "a comma or ] is wanted" : "a comma or } is wanted");
    }
    scan->depth--;
    return true;
}

static bool
scan_word(struct scan *scan, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(scan->end - scan->next) < length || memcmp(scan->next, word, length) != 0)
        return false;
    scan->next += length;
    return true;
}

/* true, false or null, which json-c has no object for. */
static bool
scan_literal(struct scan *scan, struct json_object **out)
{
    if (scan_word(scan, "null"))
        return true;
    if (scan_word(scan, "true"))
        *out = json_object_new_boolean(1);
    else if (scan_word(scan, "false"))
        *out = json_object_new_boolean(0);
    else
        return scan_fail(scan, "a value is wanted");
    return *out != NULL || scan_no_memory(scan);
}

/* One value and the white space on both sides of it. On failure `*out` is NULL. */
static bool
scan_value(struct scan *scan, struct json_object **out)
{
    bool ok;
    char c;

    scan_space(scan);
    if (scan->next == scan->end)
        return scan_fail(scan, "a value is wanted");
    c = *scan->next;
    if (c == '-' || (c >= '0' && c <= '9')) {
        ok = scan_number(scan, out);
    } else if (c == '"') {
        ok = scan_text_value(scan, out);
    } else if (scan_char(scan, '{')) {
        *out = json_object_new_object();
        ok = scan_container(scan, '}', *out, scan_member);
    } else if (scan_char(scan, '[')) {
        *out = json_object_new_array();
        ok = scan_container(scan, ']', *out, scan_element);
    } else {
        ok = scan_literal(scan, out);
    }
    if (ok) {
        scan_space(scan);
        return true;
    }
    json_object_put(*out);
    *out = NULL;
    return false;
}

static void
free_texts(struct json_object *root, void *texts)
{
    (void)root;
    free(texts);
}

enum status
json_parse(const char *text, size_t length, struct json **out, struct error *err)
{
    struct scan scan = { .start = text, .next = text, .end = text + length };
    struct json_object *root = NULL;

    *out = NULL;
    if (length >= INT_MAX)
        return error_set(err, STATUS_INVALID, "JSON: longer than 2 GiB");
    scan.texts = malloc(length + 1);
    if (scan.texts == NULL)
        return error_set(err, STATUS_NO_MEMORY, "JSON: out of memory");
    if (scan_value(&scan, &root) && scan.next < scan.end)
        (void)scan_fail(&scan, "more after the value");
    if (scan.problem == NULL && !scan.no_memory && root != NULL) {
        /* The root owns the texts; if it is a number, its own is where they begin. */
        json_object_set_userdata(root, scan.texts, free_texts);
        *out = (struct json *)root;
        return STATUS_OK;
    }
    json_object_put(root);
    free(scan.texts);
    if (scan.no_memory)
        return error_set(err, STATUS_NO_MEMORY, "JSON: out of memory");
    if (scan.problem != NULL)
        return error_set(err, STATUS_INVALID, "JSON, byte %zu: %s",
                         (size_t)(scan.next - scan.start), scan.problem);
    return STATUS_OK; /* the value `null` */
}

/* ---- looking -------------------------------------------------------------------------------- */

/* `struct json` is json-c's object; its functions that only look take pointers without const. */
static struct json_object *
object_of(const struct json *value)
{
    return (struct json_object *)(uintptr_t)value;
}

static const struct json *
json_of(const struct json_object *object)
{
    return (const struct json *)object;
}

void
json_free(struct json *root)
{
    json_object_put((struct json_object *)root);
}

enum json_type
json_type(const struct json *value)
{
    switch (json_object_get_type(object_of(value))) {
    case json_type_boolean:
        return JSON_BOOLEAN;
    case json_type_double:
    case json_type_int:
        return JSON_NUMBER;
    case json_type_object:
        return JSON_OBJECT;
    case json_type_array:
        return JSON_ARRAY;
    case json_type_string:
        return JSON_STRING;
    case json_type_null:
        break;
    }
    return JSON_NULL;
}

static bool
find_member(const struct json *object, const char *name, struct json_object **member)
{
    *member = NULL;
    return json_type(object) == JSON_OBJECT &&
           json_object_object_get_ex(object_of(object), name, member);
}

const struct json *
json_member(const struct json *object, const char *name)
{
    struct json_object *member;

    (void)find_member(object, name, &member);
    return json_of(member);
}

bool
json_has(const struct json *object, const char *name)
{
    struct json_object *member;

    return find_member(object, name, &member);
}

const struct json *
json_path(const struct json *object, const char *path)
{
    const struct json *value = object;

    for (;;) {
        size_t length = strcspn(path, ".");
        char name[PATH_PART_SIZE];

        if (length >= sizeof(name))
            return NULL;
        memcpy(name, path, length);
        name[length] = '\0';
        value = json_member(value, name);
        if (path[length] == '\0')
            return value;
        path += length + 1;
    }
}

size_t
json_count(const struct json *value)
{
    switch (json_type(value)) {
    case JSON_ARRAY:
        return json_object_array_length(object_of(value));
    case JSON_OBJECT:
        return (size_t)json_object_object_length(object_of(value));
    default:
        return 0;
    }
}

const struct json *
json_element(const struct json *array, size_t index)
{
    if (json_type(array) != JSON_ARRAY)
        return NULL;
    return json_of(json_object_array_get_idx(object_of(array), index));
}

void
json_each(const struct json *object,
          bool (*visit)(const char *name, const struct json *value, void *context), void *context)
{
    if (json_type(object) != JSON_OBJECT)
        return;
    json_object_object_foreach(object_of(object), name, member)
    {
        if (!visit(name, json_of(member), context))
            return;
    }
}

const char *
json_string(const struct json *value)
{
    const char *text;

    if (json_type(value) != JSON_STRING)
        return NULL;
    text = json_object_get_string(object_of(value));
    return strlen(text) == (size_t)json_object_get_string_len(object_of(value)) ? text : NULL;
}

bool
json_boolean(const struct json *value, bool fallback)
{
    return json_type(value) == JSON_BOOLEAN ? json_object_get_boolean(object_of(value)) != 0
                                            : fallback;
}

const char *
json_number_text(const struct json *value)
{
    return json_type(value) == JSON_NUMBER ? json_object_get_userdata(object_of(value)) : NULL;
}

bool
json_int64(const struct json *value, int64_t min, int64_t max, int64_t *out)
{
    const char *text = json_number_text(value);
    uint64_t limit, magnitude = 0;
    bool negative;
    int64_t result;

    if (text == NULL)
        return false;
    negative = *text == '-';
    limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    for (const char *c = text + (negative ? 1 : 0); *c != '\0'; c++) {
        if (*c < '0' || *c > '9' || magnitude > (limit - (uint64_t)(*c - '0')) / 10)
            return false;
        magnitude = magnitude * 10 + (uint64_t)(*c - '0');
    }
    result = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    if (result < min || result > max)
        return false;
    *out = result;
    return true;
}

/* ---- writing -------------------------------------------------------------------------------- */

struct member {
    const char *name;
    const struct json *value;
};

static int
compare_members(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static void
write_object(const struct json *object, struct buf *out)
{
    size_t count = json_count(object), i = 0;
    struct member *members = calloc(count + 1, sizeof(*members));

    if (members == NULL) {
        out->failed = true;
        return;
    }
    json_object_object_foreach(object_of(object), name, value)
    {
        members[i].name = name;
        members[i++].value = json_of(value);
    }
    qsort(members, count, sizeof(*members), compare_members);
    buf_add_char(out, '{');
    for (i = 0; i < count && !buf_failed(out); i++) {
        if (i > 0)
            buf_add_char(out, ',');
        buf_add_json_string(out, members[i].name);
        buf_add_char(out, ':');
        json_write(members[i].value, out);
    }
    buf_add_char(out, '}');
    free(members);
}

static void
write_array(const struct json *array, struct buf *out)
{
    buf_add_char(out, '[');
    for (size_t i = 0; i < json_count(array) && !buf_failed(out); i++) {
        if (i > 0)
            buf_add_char(out, ',');
        json_write(json_element(array, i), out);
    }
    buf_add_char(out, ']');
}

void
json_write(const struct json *value, struct buf *out)
{
    struct json_object *object = object_of(value);

    switch (json_type(value)) {
    case JSON_NULL:
        buf_add(out, "null");
        break;
    case JSON_BOOLEAN:
        buf_add(out, json_boolean(value, false) ? "true" : "false");
        break;
    case JSON_NUMBER:
        buf_add(out, json_number_text(value));
        break;
    case JSON_STRING:
        buf_add_json_bytes(out, json_object_get_string(object),
                           (size_t)json_object_get_string_len(object));
        break;
    case JSON_ARRAY:
        write_array(value, out);
        break;
    case JSON_OBJECT:
        write_object(value, out);
        break;
    }
}
