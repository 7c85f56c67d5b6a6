/* SPDX-License-Identifier: MIT */
/* Lines of a dump, written and read; see dump_format.h. */
#include "admin/dump_format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

#include "common/banned.h"

#define BEGIN_VALUE "dump"
#define END_VALUE "spendgate dump"

/* ---- writing -------------------------------------------------------------------------------- */

const struct dump_tables dump_tables_of_store = { row_tables, ROW_TABLES };

void
dump_writer_init(struct dump_writer *w, const struct dump_tables *tables, char *storage,
                 size_t size)
{
    memset(w, 0, sizeof(*w));
    w->tables = tables;
    buf_init(&w->line, storage, size);
    sha256_begin(&w->digest);
}

/* The end of a line that the digest is of. */
static bool
finish_line(struct dump_writer *w)
{
    buf_add_char(&w->line, '\n');
    if (buf_failed(&w->line) || w->line.length > DUMP_LINE_MAX + 1)
        return false;
    sha256_add(&w->digest, w->line.data, w->line.length);
    return true;
}

bool
dump_write_begin(struct dump_writer *w)
{
    buf_clear(&w->line);
    buf_add(&w->line, "{\"spendgate\":\"" BEGIN_VALUE "\",\"format\":");
    buf_add_int(&w->line, DUMP_FORMAT);
    buf_add_char(&w->line, '}');
    return finish_line(w);
}

bool
dump_write_table(struct dump_writer *w, size_t table)
{
    const struct row_table *t = &w->tables->tables[table];

    buf_clear(&w->line);
    buf_add_format(&w->line, "{\"table\":\"%s\",\"columns\":[", t->name);
    for (size_t i = 0; i < row_column_count(t); i++)
        buf_add_format(&w->line, "%s\"%s\"", i > 0 ? "," : "", t->columns[i].name);
    buf_add(&w->line, "]}");
    return finish_line(w);
}

static bool
plain_utf8(const struct row_value *value)
{
    for (size_t i = 0; i < value->length;) {
        size_t bytes = text_utf8_length(value->bytes + i, value->length - i);

        if (bytes == 0 || value->bytes[i] == '\0')
            return false;
        i += bytes;
    }
    return true;
}

static void
add_base64(struct buf *out, const struct row_value *value)
{
    buf_add_char(out, '"');
    buf_add_base64url(out, value->bytes, value->length);
    buf_add_char(out, '"');
}

static void
add_value(struct buf *out, enum row_type type, const struct row_value *value)
{
    if (value->null)
        buf_add(out, "null");
    else if (type == ROW_INT)
        buf_add_int(out, value->number);
    else if (type == ROW_BYTES)
        add_base64(out, value);
    else if (plain_utf8(value))
        buf_add_json_bytes(out, value->bytes, value->length);
    else {
        buf_add(out, "{\"bytes\":");
        add_base64(out, value);
        buf_add_char(out, '}');
    }
}

bool
dump_write_row(struct dump_writer *w, size_t table, const struct row_value *values)
{
    const struct row_table *t = &w->tables->tables[table];

    buf_clear(&w->line);
    buf_add_char(&w->line, '[');
    for (size_t i = 0; i < row_column_count(t); i++) {
        if (i > 0)
            buf_add_char(&w->line, ',');
        add_value(&w->line, t->columns[i].type, &values[i]);
    }
    buf_add_char(&w->line, ']');
    w->rows[table]++;
    return finish_line(w);
}

bool
dump_write_end(struct dump_writer *w)
{
    uint8_t digest[SHA256_BYTES];

    sha256_end(&w->digest, digest);
    buf_clear(&w->line);
    buf_add(&w->line, "{\"end\":\"" END_VALUE "\",\"rows\":{");
    for (size_t i = 0; i < w->tables->count; i++) {
        buf_add_format(&w->line, "%s\"%s\":", i > 0 ? "," : "", w->tables->tables[i].name);
        buf_add_int(&w->line, w->rows[i]);
    }
    buf_add(&w->line, "},\"sha256\":\"");
    buf_add_hex(&w->line, digest, sizeof(digest));
    buf_add(&w->line, "\"}\n");
    return !buf_failed(&w->line);
}

/* ---- reading -------------------------------------------------------------------------------- */

void
dump_reader_init(struct dump_reader *r, const struct dump_tables *tables)
{
    memset(r, 0, sizeof(*r));
    r->tables = tables;
    sha256_begin(&r->digest);
}

void
dump_reader_clear(struct dump_reader *r)
{
    json_free(r->tree);
    free(r->bytes);
    r->tree = NULL;
    r->bytes = NULL;
}

static enum status
bad(const struct dump_reader *r, struct error *err, const char *what)
{
    return error_set(err, STATUS_INVALID, "line %" PRId64 ": %s", r->line, what);
}

static bool
is_text(const struct json *value, const char *text)
{
    const char *string = json_string(value);

    return string != NULL && strcmp(string, text) == 0;
}

static enum status
read_begin(struct dump_reader *r, struct error *err)
{
    int64_t format;

    if (json_count(r->tree) != 2 || !is_text(json_member(r->tree, "spendgate"), BEGIN_VALUE) ||
        !json_int64(json_member(r->tree, "format"), 1, INT64_MAX, &format))
        return bad(r, err, "this is no dump of Spendgate");
    if (format != DUMP_FORMAT)
        return error_set(err, STATUS_INVALID,
                         "line 1: the dump has format %" PRId64 ", this program reads %d: load it "
                         "with the Spendgate that made it",
                         format, DUMP_FORMAT);
    r->begun = true;
    return STATUS_OK;
}

static enum status
read_table(struct dump_reader *r, struct error *err)
{
    const struct json *columns = json_member(r->tree, "columns");
    const struct row_table *t;
    size_t count;

    if (r->tables_seen == r->tables->count)
        return bad(r, err, "a table behind the last one");
    t = &r->tables->tables[r->tables_seen];
    count = row_column_count(t);
    if (json_count(r->tree) != 2 || !is_text(json_member(r->tree, "table"), t->name) ||
        json_type(columns) != JSON_ARRAY)
        return error_set(err, STATUS_INVALID,
                         "line %" PRId64 ": the rows of table %s are to begin here", r->line,
                         t->name);
    for (size_t i = 0; i < count || i < json_count(columns); i++) {
        if (i >= count || !is_text(json_element(columns, i), t->columns[i].name))
            return error_set(err, STATUS_INVALID,
                             "line %" PRId64 ": table %s has other columns than here: load the "
                             "dump with the Spendgate that made it, then `spendgate migrate`",
                             r->line, t->name);
    }
    r->tables_seen++;
    r->last_id = INT64_MIN;
    return STATUS_OK;
}

/* Decoded bytes of one row lie side by side, with room for all of them. */
static bool
read_bytes(struct dump_reader *r, const struct json *value, size_t *used, struct row_value *out)
{
    const char *text = json_string(value);

    if (text == NULL ||
        !base64url_decode(text, strlen(text), r->bytes + *used, r->room - *used, &out->length))
        return false;
    out->bytes = r->bytes + *used;
    *used += out->length;
    return true;
}

static bool
read_text(struct dump_reader *r, const struct json *value, size_t *used, struct row_value *out)
{
    if (json_type(value) == JSON_OBJECT)
        return json_count(value) == 1 && read_bytes(r, json_member(value, "bytes"), used, out) &&
               !plain_utf8(out); /* else there would be two ways to write it */
    out->bytes = json_string(value);
    out->length = out->bytes != NULL ? strlen(out->bytes) : 0;
    return out->bytes != NULL;
}

static bool
read_value(struct dump_reader *r, const struct row_column *column, const struct json *value,
           size_t *used, struct row_value *out)
{
    *out = (struct row_value){ .null = json_type(value) == JSON_NULL };
    if (out->null)
        return column->nullable;
    if (column->type == ROW_INT)
        return json_int64(value, INT64_MIN, INT64_MAX, &out->number);
    return column->type == ROW_TEXT ? read_text(r, value, used, out)
                                    : read_bytes(r, value, used, out);
}

static enum status
read_row(struct dump_reader *r, size_t length, struct error *err)
{
    const struct row_table *t;
    size_t used = 0;
    char *bytes;

    if (r->tables_seen == 0)
        return bad(r, err, "a row in front of the first table");
    t = &r->tables->tables[r->tables_seen - 1];
    if (r->room < length) { /* more than any row of this length decodes to */
        bytes = realloc(r->bytes, length);
        if (bytes == NULL)
            return error_set(err, STATUS_NO_MEMORY, "out of memory");
        r->bytes = bytes;
        r->room = length;
    }
    if (json_count(r->tree) != row_column_count(t))
        return error_set(err, STATUS_INVALID,
                         "line %" PRId64 ": a row of %s has %zu values, not %zu", r->line, t->name,
                         row_column_count(t), json_count(r->tree));
    for (size_t i = 0; i < row_column_count(t); i++) {
        if (!read_value(r, &t->columns[i], json_element(r->tree, i), &used, &r->values[i]))
            return error_set(err, STATUS_INVALID, "line %" PRId64 ": %s.%s cannot have this value",
                             r->line, t->name, t->columns[i].name);
    }
    if (t->key_columns == 1 && t->columns[0].type == ROW_INT) {
        if (r->values[0].number <= r->last_id)
            return bad(r, err, "the rows are not in order");
        r->last_id = r->values[0].number;
    }
    r->rows[r->tables_seen - 1]++;
    return STATUS_OK;
}

static enum status
read_end(struct dump_reader *r, struct error *err)
{
    const struct json *rows = json_member(r->tree, "rows");
    uint8_t digest[SHA256_BYTES];
    char text[SHA256_HEX_SIZE];
    struct buf hex;
    int64_t count;

    if (json_count(r->tree) != 3 || !is_text(json_member(r->tree, "end"), END_VALUE) ||
        json_count(rows) != r->tables->count)
        return bad(r, err, "this is no end of a dump");
    if (r->tables_seen != r->tables->count)
        return bad(r, err, "the end comes before the last table");
    for (size_t i = 0; i < r->tables->count; i++) {
        if (!json_int64(json_member(rows, r->tables->tables[i].name), 0, INT64_MAX, &count) ||
            count != r->rows[i])
            return error_set(err, STATUS_INVALID,
                             "line %" PRId64 ": %" PRId64 " rows of %s came, and that is not what "
                             "the end says: the dump was changed or damaged",
                             r->line, r->rows[i], r->tables->tables[i].name);
    }
    sha256_end(&r->digest, digest);
    buf_init(&hex, text, sizeof(text));
    buf_add_hex(&hex, digest, sizeof(digest));
    if (!is_text(json_member(r->tree, "sha256"), text))
        return bad(r, err, "the digest is another: the dump was changed or damaged");
    r->ended = true;
    return STATUS_OK;
}

static enum status
read_line(struct dump_reader *r, size_t length, enum dump_kind *kind, struct error *err)
{
    if (!r->begun) {
        *kind = DUMP_BEGIN;
        return read_begin(r, err);
    }
    if (json_type(r->tree) == JSON_ARRAY) {
        *kind = DUMP_ROW;
        return read_row(r, length, err);
    }
    if (json_has(r->tree, "end")) {
        *kind = DUMP_END;
        return read_end(r, err);
    }
    *kind = DUMP_TABLE;
    return read_table(r, err);
}

enum status
dump_read(struct dump_reader *r, const char *line, size_t length, enum dump_kind *kind,
          struct error *err)
{
    struct error json;
    enum status status;

    *kind = DUMP_BEGIN;
    r->line++;
    json_free(r->tree);
    r->tree = NULL;
    if (r->ended)
        return bad(r, err, "something stands behind the end of the dump");
    if (length > DUMP_LINE_MAX)
        return bad(r, err, "the line is longer than any of a dump");
    status = json_parse(line, length, &r->tree, &json);
    if (status == STATUS_INVALID)
        return error_set(err, status, "line %" PRId64 ": %s", r->line,
                         r->begun ? "no JSON: the dump was changed or damaged"
                                  : "this is no dump of Spendgate");
    if (status != STATUS_OK)
        return error_set(err, status, "line %" PRId64 ": %s", r->line, json.message);
    status = read_line(r, length, kind, err);
    if (status == STATUS_OK && *kind != DUMP_END) {
        sha256_add(&r->digest, line, length);
        sha256_add(&r->digest, "\n", 1);
    }
    return status;
}

enum status
dump_read_end(const struct dump_reader *r, struct error *err)
{
    if (r->ended)
        return STATUS_OK;
    if (r->line == 0)
        return error_set(err, STATUS_INVALID, "the dump is empty");
    return error_set(err, STATUS_INVALID,
                     "line %" PRId64 " is the last one, and no end of a dump: it was cut off",
                     r->line);
}
