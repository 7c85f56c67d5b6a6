/* SPDX-License-Identifier: MIT */
/* spendgate dump: every row of the store as lines of JSON, in one consistent state. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/command.h"
#include "admin/dump_format.h"
#include "admin/output.h"

#include "common/banned.h"

#define PROGRESS_ROWS 1000 /* between two looks at the bar */

struct dump {
    struct store *store;
    const char *path; /* NULL: standard output */
    FILE *out;
    struct dump_writer writer;
    size_t table;
    bool bar; /* how far it is may be shown */
    int64_t rows, whole;
    enum status status; /* of the writing */
    struct error err;
};

static bool
too_long(struct dump *d)
{
    d->status = error_set(&d->err, STATUS_OVERFLOW, "a row of %s does not fit a line of %d bytes",
                          row_tables[d->table].name, DUMP_LINE_MAX);
    return false;
}

static bool
put_line(struct dump *d)
{
    const struct buf *line = &d->writer.line;

    if (fwrite(line->data, 1, line->length, d->out) == line->length)
        return true;
    d->status = error_set(&d->err, STATUS_IO, "%s: %s",
                          d->path != NULL ? d->path : "standard output", strerror(errno));
    return false;
}

static bool
put_row(void *context, const struct row_value *values)
{
    struct dump *d = context;

    if (!dump_write_row(&d->writer, d->table, values))
        return too_long(d);
    d->rows++;
    if (d->bar && d->rows % PROGRESS_ROWS == 0)
        progress_show(d->rows, d->whole, "rows");
    return put_line(d);
}

static enum status
put_table(struct dump *d, struct error *err)
{
    enum status status;

    if (!dump_write_table(&d->writer, d->table))
        (void)too_long(d);
    else if (put_line(d)) {
        status = store_rows_visit(d->store, &row_tables[d->table], put_row, d, err);
        if (status != STATUS_OK)
            return status;
    }
    if (d->status != STATUS_OK)
        *err = d->err;
    return d->status;
}

/* Only for the bar: the rows that will come. */
static enum status
count_rows(struct dump *d, struct error *err)
{
    enum status status = STATUS_OK;
    int64_t rows;

    for (size_t i = 0; i < ROW_TABLES && status == STATUS_OK; i++) {
        status = store_rows_count(d->store, &row_tables[i], &rows, err);
        d->whole += rows;
    }
    return status;
}

static enum status
put_all(struct dump *d, struct error *err)
{
    enum status status = STATUS_OK;

    d->bar = isatty(STDERR_FILENO) == 1 && (d->path != NULL || isatty(STDOUT_FILENO) != 1);
    if (d->bar)
        status = count_rows(d, err);

    if (status != STATUS_OK)
        return status;
    if (!dump_write_begin(&d->writer))
        (void)too_long(d);
    else
        (void)put_line(d);
    if (d->status != STATUS_OK)
        *err = d->err;
    status = d->status;
    for (d->table = 0; d->table < ROW_TABLES && status == STATUS_OK; d->table++)
        status = put_table(d, err);
    if (d->bar)
        progress_clear();
    if (status == STATUS_OK && (!dump_write_end(&d->writer) || !put_line(d))) {
        *err = d->err;
        status = d->status != STATUS_OK
                     ? d->status
                     : error_set(err, STATUS_INTERNAL, "the end of the dump does not fit");
    }
    return status;
}

/* On the disk, or told. */
static enum status
finish_output(struct dump *d, struct error *err)
{
    bool ok = fflush(d->out) == 0 && ferror(d->out) == 0;

    if (ok && d->path != NULL)
        ok = fsync(fileno(d->out)) == 0;
    if (ok)
        return STATUS_OK;
    return error_set(err, STATUS_IO, "%s: %s", d->path != NULL ? d->path : "standard output",
                     strerror(errno));
}

static enum status
dump_all(struct dump *d, struct error *err)
{
    char *storage = malloc(DUMP_LINE_MAX + 2);
    enum status status;

    if (storage == NULL)
        return error_set(err, STATUS_NO_MEMORY, "out of memory");
    dump_writer_init(&d->writer, &dump_tables_of_store, storage, DUMP_LINE_MAX + 2);
    status = store_rows_begin(d->store, err);
    if (status == STATUS_OK) {
        status = put_all(d, err);
        store_rows_end(d->store);
    }
    if (status == STATUS_OK)
        status = finish_output(d, err);
    free(storage);
    return status;
}

/* It holds whatever clients and operators wrote: for nobody else's eyes. Never over a file. */
static int
open_output(struct dump *d)
{
    int fd;

    if (d->path == NULL) {
        d->out = stdout;
        return DONE;
    }
    fd = open(d->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == EEXIST)
        return command_fail("%s is there already: name another file, or remove it", d->path);
    d->out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (d->out != NULL)
        return DONE;
    (void)command_fail("%s: %s", d->path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return FAILED;
}

/* What is not whole must not lie there as if it were. */
static void
give_up_output(struct dump *d)
{
    if (d->path == NULL)
        return;
    (void)!ftruncate(fileno(d->out), 0);
    if (unlink(d->path) != 0)
        (void)command_fail("%s is not whole: remove it (%s)", d->path, strerror(errno));
}

int
run_dump(struct admin *admin)
{
    struct dump *d = calloc(1, sizeof(*d));
    struct error err = { 0 };
    int code;

    if (d == NULL)
        return command_fail("out of memory");
    d->path = admin->argument_count > 0 ? admin->arguments[0] : NULL;
    /* The file first: to open the store may be to become another user. */
    code = open_output(d);
    if (code == DONE) {
        code = command_open_store(admin);
        d->store = admin->store;
        if (code == DONE && dump_all(d, &err) != STATUS_OK)
            code = command_error(&err);
        if (code != DONE)
            give_up_output(d);
        else if (d->path != NULL)
            printf("%" PRId64 " rows written to %s.\n", d->rows, d->path);
    }
    if (d->path != NULL && d->out != NULL)
        (void)fclose(d->out);
    free(d);
    return code;
}
