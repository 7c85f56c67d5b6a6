/* SPDX-License-Identifier: MIT */
/* spendgate load: fill an empty store from a dump, all of it or nothing. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/command.h"
#include "admin/dump_format.h"
#include "admin/output.h"

#include "common/banned.h"

#define PROGRESS_ROWS 1000 /* between two looks at the bar */
#define READ_BYTES (64 * 1024)
#define INPUT_SIZE (DUMP_LINE_MAX + READ_BYTES)

struct load {
    struct admin *admin;
    const char *name; /* of the input, for messages */
    int fd;
    char *input; /* INPUT_SIZE bytes, of which [start, end) are not taken yet */
    size_t start, end;
    int64_t taken, size; /* bytes; size 0: not known */
    bool filling;
    int64_t rows;
    struct dump_reader reader;
};

/* ---- lines ---------------------------------------------------------------------------------- */

static enum status
read_more(struct load *l, bool *any, struct error *err)
{
    ssize_t got;

    if (l->start > 0) {
        memmove(l->input, l->input + l->start, l->end - l->start);
        l->end -= l->start;
        l->start = 0;
    }
    do
        got = read(l->fd, l->input + l->end, INPUT_SIZE - l->end);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return error_set(err, STATUS_IO, "%s", strerror(errno));
    l->end += (size_t)got;
    *any = got > 0;
    return STATUS_OK;
}

/* The next line, in l->input until the next call. `*line` NULL at the end of the input; what stands
 * there without a line end is no line. */
static enum status
next_line(struct load *l, const char **line, size_t *length, struct error *err)
{
    bool any = true;
    const char *end;
    enum status status = STATUS_OK;

    *line = NULL;
    while ((end = memchr(l->input + l->start, '\n', l->end - l->start)) == NULL && any) {
        if (l->end - l->start > DUMP_LINE_MAX)
            return error_set(err, STATUS_INVALID,
                             "line %" PRId64 ": the line is longer than any of a dump",
                             l->reader.line + 1);
        status = read_more(l, &any, err);
        if (status != STATUS_OK)
            return status;
    }
    if (end == NULL)
        return STATUS_OK;
    *line = l->input + l->start;
    *length = (size_t)(end - *line);
    l->start += *length + 1;
    l->taken += (int64_t)*length + 1;
    return STATUS_OK;
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* The input is a dump: only now is the store opened, and made when it is missing. */
static int
begin_filling(struct load *l, struct error *err)
{
    int code = command_open_store(l->admin);

    if (code != DONE)
        return code;
    l->filling = true;
    if (store_fill_begin(l->admin->store, err) == STATUS_OK)
        return DONE;
    return command_fail("%s", err->message);
}

/* An error of the input, with its name; or of the store, which names itself. */
static int
input_error(const struct load *l, const struct error *err)
{
    progress_clear();
    return command_fail("%s: %s%s", l->name, err->message,
                        l->filling ? "; nothing was loaded" : "");
}

static int
take_line(struct load *l, const char *line, size_t length, enum dump_kind *kind)
{
    struct error err = { 0 };

    if (dump_read(&l->reader, line, length, kind, &err) != STATUS_OK)
        return input_error(l, &err);
    if (*kind == DUMP_BEGIN)
        return begin_filling(l, &err);
    if (*kind != DUMP_ROW)
        return DONE;
    l->rows++;
    if (l->rows % PROGRESS_ROWS == 0)
        progress_show(l->taken, l->size, "bytes");
    if (store_fill_row(l->admin->store, &row_tables[l->reader.tables_seen - 1], l->reader.values,
                       &err) == STATUS_OK)
        return DONE;
    progress_clear();
    return command_fail("%s; nothing was loaded", err.message);
}

static int
take_lines(struct load *l)
{
    struct error err = { 0 };
    enum dump_kind kind;
    const char *line;
    size_t length;
    int code;

    do {
        if (next_line(l, &line, &length, &err) != STATUS_OK)
            return input_error(l, &err);
        if (line == NULL)
            break;
        code = take_line(l, line, length, &kind);
        if (code != DONE)
            return code;
    } while (true);
    if (l->start < l->end && l->reader.ended)
        l->reader.ended = false; /* a piece of something behind it */
    if (dump_read_end(&l->reader, &err) != STATUS_OK)
        return input_error(l, &err);
    return DONE;
}

static int
load_all(struct load *l)
{
    struct error err = { 0 };
    int code;

    code = take_lines(l);
    if (code == DONE && store_fill_end(l->admin->store, true, &err) != STATUS_OK) {
        progress_clear();
        return command_error(&err);
    }
    progress_clear();
    if (code != DONE && l->filling && store_fill_end(l->admin->store, false, &err) != STATUS_OK)
        return command_error(&err);
    return code;
}

/* ---- the command ---------------------------------------------------------------------------- */

static void
print_summary(const struct load *l)
{
    bool any = false;

    if (command_has(l->admin, OPTION_JSON)) {
        printf("{\"rows\":%" PRId64 ",\"tables\":{", l->rows);
        for (size_t i = 0; i < ROW_TABLES; i++)
            printf("%s\"%s\":%" PRId64, i > 0 ? "," : "", row_tables[i].name, l->reader.rows[i]);
        (void)puts("}}");
        return;
    }
    printf("%" PRId64 " rows loaded", l->rows);
    for (size_t i = 0; i < ROW_TABLES; i++) {
        if (l->reader.rows[i] > 0)
            printf("%s %s %" PRId64, any ? "," : ":", row_tables[i].name, l->reader.rows[i]);
        any |= l->reader.rows[i] > 0;
    }
    (void)puts(". Now run `spendgate verify'.");
}

/* The file first: to open the store may be to become another user. */
static int
open_input(struct load *l)
{
    struct stat info;

    l->name = "standard input";
    if (l->admin->argument_count > 0) {
        l->name = l->admin->arguments[0];
        l->fd = open(l->name, O_RDONLY | O_CLOEXEC);
        if (l->fd < 0)
            return command_fail("%s: %s", l->name, strerror(errno));
    } else if (isatty(STDIN_FILENO) == 1)
        return command_usage(l->admin, "give a FILE, or a dump on standard input");
    if (fstat(l->fd, &info) == 0 && S_ISREG(info.st_mode))
        l->size = info.st_size;
    return DONE;
}

int
run_load(struct admin *admin)
{
    struct load *l = calloc(1, sizeof(*l));
    int code;

    if (l == NULL)
        return command_fail("out of memory");
    l->admin = admin;
    l->fd = STDIN_FILENO;
    dump_reader_init(&l->reader, &dump_tables_of_store);
    code = open_input(l);
    l->input = code == DONE ? malloc(INPUT_SIZE) : NULL;
    if (code == DONE)
        code = l->input != NULL ? load_all(l) : command_fail("out of memory");
    if (code == DONE)
        print_summary(l);
    if (l->fd > STDIN_FILENO)
        (void)close(l->fd);
    dump_reader_clear(&l->reader);
    free(l->input);
    free(l);
    return code;
}
