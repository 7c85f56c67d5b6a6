/* SPDX-License-Identifier: MIT */
/*
 * json-c behind json.h, made strict.
 *
 * json-c 0.16 with STRICT and VALIDATE_UTF8 still takes NaN and Infinity, "-01", "1.", "-.5",
 * control bytes in strings, names in single quotes, a second member of the same name (the last
 * wins), a name cut at an escaped NUL, lone surrogates, overlong UTF-8, and whatever follows a NUL
 * byte; and it turns whole numbers beyond its integers into others. So a scanner proves the grammar
 * first. It also notes the text of every number, which the tree then carries, and counts the
 * members, because a tree with fewer of them has lost one to a name that stood twice (however it
 * was escaped).
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

/* ---- the scanner ---------------------------------------------------------------------------- */

struct scan {
    const char *start, *next, *end;
    const char *problem; /* what is wrong at `next`; NULL: nothing yet */
    int depth;
    size_t member_count;
    char *numbers; /* the texts of all numbers in order, each terminated */
    size_t numbers_length;
};

static bool
scan_fail(struct scan *scan, const char *problem)
{
    scan->problem = problem;
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

static bool
scan_digits(struct scan *scan)
{
    const char *first = scan->next;

    while (scan->next < scan->end && *scan->next >= '0' && *scan->next <= '9')
        scan->next++;
    return scan->next > first;
}

static bool
scan_number(struct scan *scan)
{
    const char *first = scan->next;
    size_t length;

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
    length = (size_t)(scan->next - first);
    memcpy(scan->numbers + scan->numbers_length, first, length);
    scan->numbers[scan->numbers_length + length] = '\0';
    scan->numbers_length += length + 1;
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

/* What follows "\u". */
static bool
scan_unicode_escape(struct scan *scan, bool *nul)
{
    int unit = scan_hex4(scan);

    if (unit < 0)
        return scan_fail(scan, "\\u without four hex digits");
    if (unit == 0)
        *nul = true;
    if (unit < 0xd800 || unit > 0xdfff)
        return true;
    if (unit < 0xdc00 && scan_char(scan, '\\') && scan_char(scan, 'u')) {
        unit = scan_hex4(scan);
        if (unit >= 0xdc00 && unit <= 0xdfff)
            return true;
    }
    return scan_fail(scan, "half a surrogate pair");
}

static bool
scan_escape(struct scan *scan, bool *nul)
{
    if (scan_char(scan, 'u'))
        return scan_unicode_escape(scan, nul);
    if (scan->next == scan->end || *scan->next == '\0' || strchr("\"\\/bfnrt", *scan->next) == NULL)
        return scan_fail(scan, "an unknown escape");
    scan->next++;
    return true;
}

static bool
scan_string(struct scan *scan, bool *nul)
{
    *nul = false;
    if (!scan_char(scan, '"'))
        return scan_fail(scan, "a string is wanted");
    while (scan->next < scan->end) {
        size_t bytes = text_utf8_length(scan->next, (size_t)(scan->end - scan->next));

        if (bytes == 0)
            return scan_fail(scan, "not UTF-8");
        if ((unsigned char)*scan->next < 0x20)
            return scan_fail(scan, "a control byte in a string");
        if (scan_char(scan, '"'))
            return true;
        if (!scan_char(scan, '\\'))
            scan->next += bytes;
        else if (!scan_escape(scan, nul))
            return false;
    }
    return scan_fail(scan, "a string that does not end");
}

static bool scan_value(struct scan *scan);

static bool
scan_member(struct scan *scan)
{
    bool nul;

    scan_space(scan);
    if (!scan_string(scan, &nul))
        return false;
    if (nul)
        return scan_fail(scan, "a NUL in a member name");
    scan_space(scan);
    if (!scan_char(scan, ':'))
        return scan_fail(scan, "a colon is wanted");
    scan->member_count++;
    return scan_value(scan);
}

/* The rest of an array or object, up to and with `close`. */
static bool
scan_container(struct scan *scan, char close, bool (*scan_part)(struct scan *scan))
{
    if (++scan->depth > JSON_DEPTH_MAX)
        return scan_fail(scan, "nested too deep");
    scan_space(scan);
    if (!scan_char(scan, close)) {
        do {
            if (!scan_part(scan))
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

/* One value and the white space on both sides of it. */
static bool
scan_value(struct scan *scan)
{
    bool ok, nul;
    char c;

    scan_space(scan);
    if (scan->next == scan->end)
        return scan_fail(scan, "a value is wanted");
    c = *scan->next;
    if (c == '-' || (c >= '0' && c <= '9'))
        ok = scan_number(scan);
    else if (c == '"')
        ok = scan_string(scan, &nul);
    else if (scan_char(scan, '{'))
        ok = scan_container(scan, '}', scan_member);
    else if (scan_char(scan, '['))
        ok = scan_container(scan, ']', scan_value);
    else if (scan_word(scan, "true") || scan_word(scan, "false") || scan_word(scan, "null"))
        ok = true;
    else
        ok = scan_fail(scan, "a value is wanted");
    if (ok)
        scan_space(scan);
    return ok;
}

static enum status
scan_text(struct scan *scan, struct error *err)
{
    if (scan_value(scan) && scan->next < scan->end)
        (void)scan_fail(scan, "more after the value");
    if (scan->problem != NULL)
        return error_set(err, STATUS_INVALID, "JSON, byte %zu: %s",
                         (size_t)(scan->next - scan->start), scan->problem);
    return STATUS_OK;
}

/* ---- the tree ------------------------------------------------------------------------------- */

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

static enum status
build(const char *text, size_t length, struct json_object **out, struct error *err)
{
    struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX + 2);
    enum json_tokener_error problem;

    if (tokener == NULL)
        return error_set(err, STATUS_NO_MEMORY, "JSON: out of memory");
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    *out = json_tokener_parse_ex(tokener, text, (int)length);
    problem = json_tokener_get_error(tokener);
    if (problem == json_tokener_continue) { /* a bare number ends where the text ends: say so */
        *out = json_tokener_parse_ex(tokener, "", 1);
        problem = json_tokener_get_error(tokener);
    }
    json_tokener_free(tokener);
    /* The text is proven, so only an allocation can have failed; json-c does not tell them apart.
     */
    if (problem != json_tokener_success)
        return error_set(err, STATUS_NO_MEMORY, "JSON: %s", json_tokener_error_desc(problem));
    return STATUS_OK;
}

/* Give every number its text, in the order of the text, and count the members. When some were lost
 * to a name that stood twice, the texts no longer fit the numbers, and the count says so. */
static void
note_numbers(struct json_object *value, const char **next_number, size_t *member_count)
{
    switch (json_object_get_type(value)) {
    case json_type_int:
    case json_type_double: {
        const char *text = *next_number;

        *next_number += strlen(text) + 1;
        json_object_set_userdata(value, (void *)(uintptr_t)text, NULL);
        break;
    }
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(value); i++)
            note_numbers(json_object_array_get_idx(value, i), next_number, member_count);
        break;
    case json_type_object: {
        json_object_object_foreach(value, name, member)
        {
            (void)name;
            (*member_count)++;
            note_numbers(member, next_number, member_count);
        }
        break;
    }
    default:
        break;
    }
}

static void
free_numbers(struct json_object *root, void *numbers)
{
    (void)root;
    free(numbers);
}

enum status
json_parse(const char *text, size_t length, struct json **out, struct error *err)
{
    struct scan scan = { .start = text, .next = text, .end = text + length };
    struct json_object *root = NULL;
    const char *next_number;
    size_t member_count = 0;
    enum status status;

    *out = NULL;
    if (length >= INT_MAX)
        return error_set(err, STATUS_INVALID, "JSON: longer than 2 GiB");
    /* Two numbers have a byte between them, so the texts and their ends fit. */
    scan.numbers = malloc(length + 1);
    if (scan.numbers == NULL)
        return error_set(err, STATUS_NO_MEMORY, "JSON: out of memory");
    status = scan_text(&scan, err);
    if (status == STATUS_OK)
        status = build(text, length, &root, err);
    if (status == STATUS_OK) {
        next_number = scan.numbers;
        note_numbers(root, &next_number, &member_count);
        if (member_count != scan.member_count)
            status = error_set(err, STATUS_INVALID, "JSON: a member name stands twice");
    }
    if (status == STATUS_OK && root != NULL) {
        /* The root owns the texts; if it is a number, its own is where they begin. */
        json_object_set_userdata(root, scan.numbers, free_numbers);
        scan.numbers = NULL;
        *out = (struct json *)root;
        root = NULL;
    }
    json_object_put(root);
    free(scan.numbers); /* still ours after a failure, and for `null`, which json-c has no object
                           for */
    return status;
}

void
json_free(struct json *root)
{
    json_object_put((struct json_object *)root);
}

/* ---- looking -------------------------------------------------------------------------------- */

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
