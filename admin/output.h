/* SPDX-License-Identifier: MIT */
/*
 * What the `spendgate` command prints: aligned tables, money and times for people, JSON and CSV for
 * programs. Whatever comes from the store may hold any text, so control characters never reach the
 * terminal.
 */
#ifndef SPENDGATE_OUTPUT_H
#define SPENDGATE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/buf.h"

#define TABLE_COLUMNS_MAX 16
#define HUMAN_SIZE 40 /* fits money and times as people read them */

/* "$5.00", "$0.0123", "-$1.50": at least two decimals. Returns `out`. */
const char *human_money(int64_t nanos, char out[HUMAN_SIZE]);
/* RFC 3339 UTC to the second, "-" for no time. Returns `out`. */
const char *human_time(int64_t time_us, char out[HUMAN_SIZE]);
/* "250ms", "3s", "5m", "24h", "30d": the largest unit that is exact. Returns `out`. */
const char *human_duration(int64_t us, char out[HUMAN_SIZE]);
/* `text`, or "-" when it is empty or NULL. */
const char *human_text(const char *text);

/* A table grows row by row and is printed at once, when the widths are known. */
struct table {
    size_t columns;
    bool right[TABLE_COLUMNS_MAX]; /* aligned to the right: numbers */
    char **cells;                  /* row after row, the titles first */
    size_t cell_count, cell_room;
    bool failed; /* out of memory */
};

/* `titles` ends with NULL; one that begins with '>' is aligned to the right. */
void table_init(struct table *table, const char *const *titles);
void table_add(struct table *table, const char *cell);
void table_clear(struct table *table);
/* Print to standard output and free. False when memory ran out (told). */
bool table_print(struct table *table);

/* Print text with control characters and broken UTF-8 replaced by '?'. */
void print_text(FILE *out, const char *text);
/* One CSV field (RFC 4180), with a comma before it unless it is the first. */
void print_csv(FILE *out, bool first, const char *field);
/* Print a finished JSON text and a line end, and empty the buf; false, and told, when it did not
 * fit. */
bool print_json(struct buf *json);
/* The same for an element of an array: on a line of its own, with a comma before it when `*any`
 * came before. */
bool print_json_item(struct buf *json, bool *any);

/* Columns of the terminal behind standard output, 80 when unknown. */
size_t terminal_columns(void);
/* A bar of `part` of `whole`, at most `columns` wide; blocks where the locale has UTF-8. */
void print_bar(int64_t part, int64_t whole, size_t columns);

/*
 * How far long work is: a bar and `text` on the last line of the terminal behind standard error,
 * written over by the next one; no bar where `whole` is 0, not known. Nothing where that is no
 * terminal. progress_clear takes it away,
 * before anything else is printed and at the end.
 */
void progress_show(int64_t part, int64_t whole, const char *text);
void progress_clear(void);

#endif
