/* SPDX-License-Identifier: MIT */
/*
 * The text of a dump: what store_rows.h brings, as lines of JSON, and back. One line each:
 *
 *     {"spendgate":"dump","format":1}
 *     {"table":"account","columns":["id","name",...]}      each table, in the order of row_tables
 *     [1,"all",...]                                        its rows, in the order of their keys
 *     {"end":"spendgate dump","rows":{"counter":2,...},"sha256":"..."}
 *
 * Numbers are whole and as they are stored (nano-dollars, microseconds); bytes are base64url; a
 * text that is not UTF-8 is {"bytes":"base64url"}. The digest is of all lines before the last, with
 * their ends. Nothing in it depends on when or from which kind of store it was made: two dumps of
 * the same rows are the same bytes.
 *
 * The reader takes exactly that: a dump that was cut off, edited, or made by a program with other
 * tables is refused, with the line. Rows come before the digest can be known, so whoever uses them
 * must be able to take them back until DUMP_END.
 */
#ifndef SPENDGATE_DUMP_FORMAT_H
#define SPENDGATE_DUMP_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/crypto.h"
#include "common/error.h"
#include "common/store_rows.h"

#define DUMP_FORMAT 1
#define DUMP_LINE_MAX (1024 * 1024) /* bytes of a line without its end */

struct json;

/* Which tables a dump has; row_tables, except in a test of the format. */
struct dump_tables {
    const struct row_table *tables;
    size_t count; /* at most ROW_TABLES */
};
extern const struct dump_tables dump_tables_of_store;

struct dump_writer {
    const struct dump_tables *tables;
    struct buf line; /* what the last call made, with its line end; over the caller's storage */
    struct sha256 digest;
    int64_t rows[ROW_TABLES];
};

/* `storage` of DUMP_LINE_MAX + 2 bytes, the caller's. Then the calls in this order; each leaves one
 * line in writer->line. False: the line would be longer than DUMP_LINE_MAX. */
void dump_writer_init(struct dump_writer *writer, const struct dump_tables *tables, char *storage,
                      size_t size);
bool dump_write_begin(struct dump_writer *writer) MUST_CHECK;
bool dump_write_table(struct dump_writer *writer, size_t table) MUST_CHECK;
bool dump_write_row(struct dump_writer *writer, size_t table,
                    const struct row_value *values) MUST_CHECK;
bool dump_write_end(struct dump_writer *writer) MUST_CHECK;

enum dump_kind { DUMP_BEGIN, DUMP_TABLE, DUMP_ROW, DUMP_END };

struct dump_reader {
    const struct dump_tables *tables;
    int64_t line; /* number of the last line, from 1 */
    bool begun, ended;
    size_t tables_seen; /* a row is of the last of them */
    int64_t rows[ROW_TABLES];
    int64_t last_id; /* of a table whose key is one number: they ascend */
    struct sha256 digest;
    struct row_value values[ROW_COLUMNS_MAX]; /* of a DUMP_ROW, until the next call */
    struct json *tree;
    char *bytes; /* decoded, of this row */
    size_t room;
};

void dump_reader_init(struct dump_reader *reader, const struct dump_tables *tables);
void dump_reader_clear(struct dump_reader *reader);
/*
 * Read the next line, `length` bytes without its end. Errors, each with the number of the line:
 * STATUS_INVALID, STATUS_NO_MEMORY. After an error the reader is of no use any more.
 */
enum status dump_read(struct dump_reader *reader, const char *line, size_t length,
                      enum dump_kind *kind, struct error *err) MUST_CHECK;
/* At the end of the input: STATUS_INVALID when the dump does not end there. */
enum status dump_read_end(const struct dump_reader *reader, struct error *err) MUST_CHECK;

#endif
