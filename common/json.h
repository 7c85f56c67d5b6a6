/* SPDX-License-Identifier: MIT */
/*
 * The one door to json-c, for reading: strict RFC 8259. Writing goes through buf_add_json_* of
 * buf.h, which needs no tree.
 *
 * Refused: bytes that are not UTF-8, NaN and other extensions, a member name that stands twice in
 * one object, nesting deeper than JSON_DEPTH_MAX, anything after the value.
 */
#ifndef SPENDGATE_JSON_H
#define SPENDGATE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"

#define JSON_DEPTH_MAX 32

struct json; /* a value inside a tree; owned by the tree */

enum json_type { JSON_NULL, JSON_BOOLEAN, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* Parse `length` bytes. On STATUS_OK `*out` is the root, to be freed with json_free; else NULL.
 * Errors: STATUS_INVALID, STATUS_NO_MEMORY. */
enum status json_parse(const char *text, size_t length, struct json **out,
                       struct error *err) MUST_CHECK;
void json_free(struct json *root); /* NULL is fine */

enum json_type json_type(const struct json *value); /* NULL counts as JSON_NULL */

/* The member of an object, or NULL (also when `object` is NULL or no object). A member whose value
 * is null is a value of JSON_NULL: json_has tells it from a missing one. */
const struct json *json_member(const struct json *object, const char *name);
bool json_has(const struct json *object, const char *name);
/* Follow "a.b.c" through objects; NULL where it ends early. */
const struct json *json_path(const struct json *object, const char *path);
/* Elements of an array, members of an object, else 0. */
size_t json_count(const struct json *value);
const struct json *json_element(const struct json *array, size_t index);
/* Visit the members in the order of the text. `visit` returns false to stop. */
void json_each(const struct json *object,
               bool (*visit)(const char *name, const struct json *value, void *context),
               void *context);

/* The text of a string, or NULL when it is no string or holds a NUL. Valid as long as the tree. */
const char *json_string(const struct json *value);
bool json_boolean(const struct json *value, bool fallback);
/* A number exactly as it stands in the text ("0.1", "1e5", "-3"), or NULL. Valid as long as the
 * tree. Money is read from this and never from a double. */
const char *json_number_text(const struct json *value);
/* A whole number min..max, without fraction or exponent. */
bool json_int64(const struct json *value, int64_t min, int64_t max, int64_t *out) MUST_CHECK;

/* Append the value's canonical text: no white space, members sorted by name, numbers as written. */
void json_write(const struct json *value, struct buf *out);

#endif
