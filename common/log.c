/* SPDX-License-Identifier: MIT */
/* One line per event to standard error; see log.h. */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

#include "common/buf.h"

#include "common/banned.h"

#define CUT_MARK "\xe2\x80\xa6" /* U+2026 */
#define LINE_END_SIZE (sizeof(CUT_MARK "\n"))

static const char *
level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR:
        return "error";
    case LOG_WARN:
        return "warn";
    case LOG_INFO:
        break;
    }
    return "info";
}

static void
add_pair(struct buf *line, const char *key, const char *value)
{
    if (line->length > 0)
        buf_add_char(line, ' ');
    buf_add(line, key);
    buf_add_char(line, '=');
    buf_add_log_value(line, value);
}

/* `line` keeps LINE_END_SIZE bytes of its storage free. */
static void
write_line(struct buf *line)
{
    bool cut = buf_failed(line);
    ssize_t written;

    line->failed = false;
    line->size += LINE_END_SIZE;
    if (cut)
        buf_add(line, CUT_MARK);
    buf_add_char(line, '\n');
    do {
        written = write(STDERR_FILENO, line->data, line->length);
    } while (written < 0 && errno == EINTR);
    /* A log that cannot be written cannot be complained about either. */
}

void
log_event(enum log_level level, const char *event, ...)
{
    char storage[LOG_LINE_SIZE];
    struct buf line;
    va_list pairs;

    buf_init(&line, storage, sizeof(storage) - LINE_END_SIZE);
    add_pair(&line, "level", level_name(level));
    add_pair(&line, "event", event);
    va_start(pairs, event);
    for (const char *key = va_arg(pairs, const char *); key != NULL;
         key = va_arg(pairs, const char *)) {
        const char *value = va_arg(pairs, const char *);

        if (value != NULL)
            add_pair(&line, key, value);
    }
    va_end(pairs);
    write_line(&line);
}

void
log_failure(const char *event, const struct error *err, const char *request_id)
{
    /* A NULL value is skipped, so request_id needs no case of its own. */
    log_event(LOG_ERROR, event, "status", status_name(err->status), "message", err->message,
              "request_id", request_id, NULL);
}
