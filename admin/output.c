/* SPDX-License-Identifier: MIT */
/* Tables, bars, CSV and JSON for the `spendgate` command; see output.h. */
#include "admin/output.h"

#include <assert.h>
#include <inttypes.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/money.h"

#include "common/banned.h"

#define PROGRESS_COLUMNS 30

const char *
human_money(int64_t nanos, char out[HUMAN_SIZE])
{
    char plain[MONEY_TEXT_SIZE];
    struct buf text;
    const char *digits, *point;

    buf_init(&text, plain, sizeof(plain));
    money_add_usd(&text, nanos);
    digits = nanos < 0 ? plain + 1 : plain;
    point = strchr(digits, '.');
    (void)snprintf(out, HUMAN_SIZE, "%s$%s%s", nanos < 0 ? "-" : "", digits,
                   point == NULL      ? ".00"
                   : point[2] == '\0' ? "0"
                                      : "");
    return out;
}

const char *
human_time(int64_t time_us, char out[HUMAN_SIZE])
{
    struct buf text;

    buf_init(&text, out, HUMAN_SIZE);
    if (!buf_add_time(&text, time_us - time_us % US_PER_SECOND))
        buf_add_char(&text, '-');
    return out;
}

const char *
human_duration(int64_t us, char out[HUMAN_SIZE])
{
    static const struct {
        int64_t us;
        const char *name;
    } units[] = {
        { 86400 * US_PER_SECOND, "d" }, { 3600 * US_PER_SECOND, "h" },  { 60 * US_PER_SECOND, "m" },
        { US_PER_SECOND, "s" },         { US_PER_SECOND / 1000, "ms" }, { 1, "us" },
    };
    size_t i = 0;

    while (us % units[i].us != 0)
        i++;
    (void)snprintf(out, HUMAN_SIZE, "%" PRId64 "%s", us / units[i].us, units[i].name);
    return out;
}

const char *
human_text(const char *text)
{
    return text == NULL || *text == '\0' ? "-" : text;
}

/* Bytes of the character at `text` if it is fit to print, else 0. */
static size_t
printable(const char *text, size_t length)
{
    size_t bytes = text_utf8_length(text, length);
    unsigned char c = (unsigned char)*text;

    if (bytes == 1)
        return c >= 0x20 && c != 0x7f ? 1 : 0;
    /* C1 controls steer terminals as well */
    return bytes == 2 && c == 0xc2 && (unsigned char)text[1] < 0xa0 ? 0 : bytes;
}

/* Print up to the end of `text`; returns the columns used, a character being one. */
static size_t
print_counted(FILE *out, const char *text)
{
    size_t length = strlen(text), columns = 0;

    for (size_t i = 0; i < length; columns++) {
        size_t bytes = printable(text + i, length - i);

        if (out != NULL && bytes > 0)
            (void)fwrite(text + i, 1, bytes, out);
        else if (out != NULL)
            (void)fputc('?', out);
        i += bytes > 0 ? bytes : 1;
    }
    return columns;
}

void
print_text(FILE *out, const char *text)
{
    (void)print_counted(out, text);
}

void
table_init(struct table *table, const char *const *titles)
{
    memset(table, 0, sizeof(*table));
    for (size_t i = 0; titles[i] != NULL; i++) {
        assert(i < TABLE_COLUMNS_MAX);
        table->right[i] = titles[i][0] == '>';
        table->columns++;
        table_add(table, titles[i] + (table->right[i] ? 1 : 0));
    }
}

void
table_add(struct table *table, const char *cell)
{
    if (table->failed)
        return;
    if (table->cell_count == table->cell_room) {
        size_t room = table->cell_room * 2 + 64;
        char **cells = reallocarray(table->cells, room, sizeof(*cells));

        if (cells == NULL) {
            table->failed = true;
            return;
        }
        table->cells = cells;
        table->cell_room = room;
    }
    table->cells[table->cell_count] = strdup(cell);
    if (table->cells[table->cell_count] == NULL)
        table->failed = true;
    else
        table->cell_count++;
}

static void
print_row(const struct table *table, const size_t *widths, size_t row)
{
    for (size_t i = 0; i < table->columns; i++) {
        const char *cell = table->cells[row * table->columns + i];
        size_t pad = widths[i] - print_counted(NULL, cell);
        bool last = i + 1 == table->columns;

        if (table->right[i])
            printf("%*s", (int)pad, "");
        print_text(stdout, cell);
        if (!table->right[i] && !last)
            printf("%*s", (int)pad, "");
        (void)fputs(last ? "\n" : "  ", stdout);
    }
}

void
table_clear(struct table *table)
{
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    memset(table, 0, sizeof(*table));
}

bool
table_print(struct table *table)
{
    size_t widths[TABLE_COLUMNS_MAX] = { 0 };
    bool ok = !table->failed;

    for (size_t i = 0; i < table->cell_count; i++) {
        size_t width = print_counted(NULL, table->cells[i]);

        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    if (ok) {
        assert(table->cell_count % table->columns == 0);
        for (size_t row = 0; row < table->cell_count / table->columns; row++)
            print_row(table, widths, row);
    } else {
        (void)fputs("spendgate: out of memory: ask for fewer rows with --limit\n", stderr);
    }
    table_clear(table);
    return ok;
}

void
print_csv(FILE *out, bool first, const char *field)
{
    if (!first)
        (void)fputc(',', out);
    if (strpbrk(field, "\",\r\n") == NULL) {
        (void)fputs(field, out);
        return;
    }
    (void)fputc('"', out);
    for (const char *c = field; *c != '\0'; c++) {
        if (*c == '"')
            (void)fputc('"', out);
        (void)fputc(*c, out);
    }
    (void)fputc('"', out);
}

static bool
print_buf(struct buf *json)
{
    bool ok = !buf_failed(json);

    if (ok)
        (void)fputs(buf_text(json), stdout);
    else
        (void)fputs("spendgate: an entry is too long to be printed as JSON\n", stderr);
    buf_clear(json);
    return ok;
}

bool
print_json(struct buf *json)
{
    bool ok = print_buf(json);

    (void)putchar('\n');
    return ok;
}

bool
print_json_item(struct buf *json, bool *any)
{
    if (*any)
        (void)fputs(",\n", stdout);
    *any = true;
    return print_buf(json);
}

size_t
terminal_columns(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

static void
write_bar(FILE *out, int64_t part, int64_t whole, size_t columns, bool fill)
{
    const char *block = strcmp(nl_langinfo(CODESET), "UTF-8") == 0 ? "\xe2\x96\x88" : "#";
    size_t length = 0;

    if (part > 0 && whole > 0)
        length = (size_t)((__int128)part * (int64_t)columns / whole);
    if (part > 0 && length == 0)
        length = 1; /* something is not nothing */
    for (size_t i = 0; i < columns; i++) {
        if (i < length)
            (void)fputs(block, out);
        else if (fill)
            (void)fputc(' ', out);
    }
}

void
print_bar(int64_t part, int64_t whole, size_t columns)
{
    write_bar(stdout, part, whole, columns, false);
}

void
progress_show(int64_t part, int64_t whole, const char *text)
{
    if (isatty(STDERR_FILENO) != 1)
        return;
    (void)fputs("\r\033[K", stderr);
    if (whole > 0) {
        (void)fputc('[', stderr);
        write_bar(stderr, part, whole, PROGRESS_COLUMNS, true);
        (void)fprintf(stderr, "] %" PRId64 "/%" PRId64 "  ", part, whole);
    } else
        (void)fprintf(stderr, "%" PRId64 "  ", part);
    print_text(stderr, text);
}

void
progress_clear(void)
{
    if (isatty(STDERR_FILENO) == 1)
        (void)fputs("\r\033[K", stderr);
}
