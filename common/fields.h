/* SPDX-License-Identifier: MIT */
/*
 * The members of a request, the same whether they came as a JSON object, a form or a query string,
 * with a check for each kind of value. A JSON null counts as not given. A getter notes the first
 * problem in its refusal and answers as if the member were not there. Source: contract, section 5.
 */
#ifndef SPENDGATE_FIELDS_H
#define SPENDGATE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/ledger.h"

#include "common/form.h"
#include "common/refusal.h"

struct fields {
    struct json *root;         /* owned; NULL for a form or nothing */
    const struct json *object; /* borrowed: the root, or an element of a batch */
    struct form form;          /* empty for JSON */
};

/* Each makes `fields` what the text holds; on a refusal it is empty. Clear it in any case. A form
 * is decoded in place (form.h). Refusals: 400 invalid_json (also: no object), 400 invalid_field. */
void fields_read_json(struct fields *fields, const char *text, size_t length,
                      struct refusal *refusal);
void fields_read_form(struct fields *fields, char *text, size_t length, struct refusal *refusal);
/* Borrow an element of an array. */
void fields_borrow(struct fields *fields, const struct json *object, struct refusal *refusal);
void fields_clear(struct fields *fields);

/* Refuse (400 invalid_field) a member that is none of `names` (ended by NULL): a misspelt one must
 * not be taken for a missing one. */
void fields_only(const struct fields *fields, const char *const *names, struct refusal *refusal);
bool fields_has(const struct fields *fields, const char *name);
bool fields_is_null(const struct fields *fields, const char *name); /* a JSON null stands there */

/* The text of a member, NULL when it is not there. 400 invalid_field when it is no string. */
const char *fields_text(const struct fields *fields, const char *name, struct refusal *refusal);
/* Copy a text without control characters that fits `size` with its NUL; "" when it is not there. */
void fields_copy(const struct fields *fields, const char *name, char *out, size_t size,
                 struct refusal *refusal);
/* The digits of a decimal, given as a string or as a number, as they stand in the text; NULL when
 * the member is not there, "" when it is neither. Money is read from this. */
const char *fields_decimal(const struct fields *fields, const char *name);
/* Money in USD, 0..MONEY_MAX_NANOS; -1 when it is not there. */
int64_t fields_money(const struct fields *fields, const char *name, struct refusal *refusal);
/* The same for a member that has to be there: 400 missing_field. */
int64_t fields_money_required(const struct fields *fields, const char *name,
                              struct refusal *refusal);
/* An RFC 3339 time; 0 when it is not there. */
int64_t fields_time(const struct fields *fields, const char *name, struct refusal *refusal);
/* A whole number min..max; `fallback` when it is not there. */
int64_t fields_number(const struct fields *fields, const char *name, int64_t min, int64_t max,
                      int64_t fallback, struct refusal *refusal);
/* A JSON object (in a form: JSON text); NULL when it is not there. It is valid as long as `fields`
 * and `*owned`, which the caller frees with json_free, are. */
const struct json *fields_json(const struct fields *fields, const char *name, struct json **owned,
                               struct refusal *refusal);
/* Append the canonical text of a JSON object; nothing when it is not there. */
void fields_object(const struct fields *fields, const char *name, struct buf *out,
                   struct refusal *refusal);
/* Append tags, comma separated: an array of texts, or one text that is comma separated already. */
void fields_tags(const struct fields *fields, const char *name, struct buf *out,
                 struct refusal *refusal);
/* A member that names an account, without `prefix` ("key:" or ""); "" when it is not there or
 * empty. What cannot be a name is an unknown account: 404. */
void fields_account(const struct fields *fields, const char *name, const char *prefix,
                    char out[ACCOUNT_NAME_SIZE], struct refusal *refusal);

#endif
