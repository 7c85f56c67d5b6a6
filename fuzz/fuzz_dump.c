/* SPDX-License-Identifier: MIT */
/* A dump, line by line: what is read and written again is read as the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "admin/dump_format.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

/* Tables of every shape, and not the store's own: seeds outlive its schema. */
static const struct row_table shapes[] = {
    { "names", 1, NULL, { { "name", ROW_TEXT, false }, { "value", ROW_INT, false } } },
    { "rows",
      1,
      NULL,
      { { "id", ROW_INT, false },
        { "text", ROW_TEXT, true },
        { "bytes", ROW_BYTES, true },
        { "number", ROW_INT, true },
        { "reply", ROW_BYTES, false } } },
    { "pairs", 2, NULL, { { "left", ROW_INT, false }, { "right", ROW_INT, false } } },
};
static const struct dump_tables tables = { shapes, sizeof(shapes) / sizeof(shapes[0]) };

static void
check_same(const struct row_table *table, const struct row_value *a, const struct row_value *b)
{
    for (size_t i = 0; i < row_column_count(table); i++) {
        assert(a[i].null == b[i].null);
        assert(a[i].null ? table->columns[i].nullable : true);
        assert(a[i].number == b[i].number && a[i].length == b[i].length);
        assert(a[i].length == 0 || memcmp(a[i].bytes, b[i].bytes, a[i].length) == 0);
    }
}

/* Write what `first` has just read, and let `second` read that. */
static void
repeat(const struct dump_reader *first, enum dump_kind kind, struct dump_writer *writer,
       struct dump_reader *second)
{
    enum dump_kind again;
    struct error err;
    bool fits = true;

    if (kind == DUMP_BEGIN)
        fits = dump_write_begin(writer);
    else if (kind == DUMP_TABLE)
        fits = dump_write_table(writer, first->tables_seen - 1);
    else if (kind == DUMP_ROW)
        fits = dump_write_row(writer, first->tables_seen - 1, first->values);
    else
        fits = dump_write_end(writer);
    assert(fits); /* escapes may make it longer, but not that much: the input is small */
    assert(dump_read(second, writer->line.data, writer->line.length - 1, &again, &err) ==
           STATUS_OK);
    assert(again == kind && second->tables_seen == first->tables_seen);
    if (kind == DUMP_ROW)
        check_same(&shapes[first->tables_seen - 1], first->values, second->values);
}

#define INPUT_MAX 65536

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *input_end = at + size, *end;
    char *storage = malloc(DUMP_LINE_MAX + 2);
    struct dump_reader first, second;
    enum status status = STATUS_OK;
    struct dump_writer writer;
    enum dump_kind kind;
    struct error err;

    if (storage == NULL || size > INPUT_MAX) {
        free(storage);
        return 0;
    }
    dump_reader_init(&first, &tables);
    dump_reader_init(&second, &tables);
    dump_writer_init(&writer, &tables, storage, DUMP_LINE_MAX + 2);
    while (status == STATUS_OK && (end = memchr(at, '\n', (size_t)(input_end - at))) != NULL) {
        status = dump_read(&first, at, (size_t)(end - at), &kind, &err);
        if (status == STATUS_OK)
            repeat(&first, kind, &writer, &second);
        at = end + 1;
    }
    if (status == STATUS_OK)
        status = dump_read_end(&first, &err);
    assert(status == STATUS_OK || status == STATUS_INVALID || status == STATUS_NO_MEMORY);
    assert(status != STATUS_OK || second.ended);
    fuzz_result(status == STATUS_OK);
    dump_reader_clear(&first);
    dump_reader_clear(&second);
    free(storage);
    return 0;
}
