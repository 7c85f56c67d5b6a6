/* SPDX-License-Identifier: MIT */
#include "common/form.h"

#include "common/buf.h"
#include "common/crypto.h"

#include <string.h>

#include "common/banned.h"

static bool
is_utf8(const char *text, size_t length)
{
    while (length > 0) {
        size_t step = text_utf8_length(text, length);

        if (step == 0)
            return false;
        text += step;
        length -= step;
    }
    return true;
}

bool
percent_decode(char *text, size_t length, bool plus)
{
    size_t written = 0;

    for (size_t i = 0; i < length; i++) {
        char c = text[i];

        if (c == '%') {
            size_t decoded;

            if (length - i < 3 || !hex_decode(text + i + 1, 2, &c, 1, &decoded))
                return false;
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c == '\0')
            return false;
        text[written++] = c;
    }
    text[written] = '\0';
    return is_utf8(text, written);
}

/* One piece between two "&". */
static enum status
add_pair(char *piece, size_t length, struct form *out, struct error *err)
{
    char *equals = memchr(piece, '=', length);
    size_t name_length = equals != NULL ? (size_t)(equals - piece) : length;
    char *value = equals != NULL ? equals + 1 : piece + length;
    size_t value_length = equals != NULL ? length - name_length - 1 : 0;

    if (out->count == FORM_PAIRS_MAX)
        return error_set(err, STATUS_INVALID, "more than %d members", FORM_PAIRS_MAX);
    /* The name's end is the "=" or the byte behind the piece, the value's is the latter. */
    if (!percent_decode(piece, name_length, true) || *piece == '\0')
        return error_set(err, STATUS_INVALID,
                         "a member's name is empty, or not UTF-8 in proper percent escapes");
    if (equals == NULL)
        value = piece + strlen(piece);
    else if (!percent_decode(value, value_length, true))
        return error_set(err, STATUS_INVALID, "%.64s: not UTF-8 in proper percent escapes", piece);
    if (form_value(out, piece) != NULL)
        return error_set(err, STATUS_INVALID, "%.64s: given twice", piece);
    out->pairs[out->count++] = (struct form_pair){ piece, value };
    return STATUS_OK;
}

enum status
form_parse(char *text, size_t length, struct form *out, struct error *err)
{
    out->count = 0;
    for (size_t at = 0; at < length;) {
        char *end = memchr(text + at, '&', length - at);
        size_t piece = end != NULL ? (size_t)(end - (text + at)) : length - at;
        enum status status = STATUS_OK;

        if (piece > 0)
            status = add_pair(text + at, piece, out, err);
        if (status != STATUS_OK) {
            out->count = 0;
            return status;
        }
        at += piece + 1;
    }
    return STATUS_OK;
}

const char *
form_value(const struct form *form, const char *name)
{
    for (size_t i = 0; i < form->count; i++) {
        if (strcmp(form->pairs[i].name, name) == 0)
            return form->pairs[i].value;
    }
    return NULL;
}
