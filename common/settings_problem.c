/* SPDX-License-Identifier: MIT */
/* Problems of a settings file; see settings_problem.h. */
#include "common/settings_problem.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/buf.h"

#include "common/banned.h"

#define PROBLEM_SIZE (FILE_PATH_SIZE + 1024)

static void PRINTF_LIKE(5, 0) add_problem(struct problem_list *list, bool warning, int line,
                                          const char *key, const char *format, va_list arguments)
{
    char storage[PROBLEM_SIZE];
    char problem[ERROR_MESSAGE_SIZE];
    struct buf text;

    if (vsnprintf(problem, sizeof(problem), format, arguments) < 0)
        problem[0] = '\0';
    buf_init(&text, storage, sizeof(storage));
    buf_add(&text, list->file);
    if (line > 0)
        buf_add_format(&text, ":%d", line);
    buf_add(&text, ": ");
    if (key != NULL)
        buf_add_format(&text, "%s: ", key);
    buf_add(&text, problem);
    if (list->told != NULL && list->told->report != NULL)
        list->told->report(list->told->context, warning, buf_text(&text));
    if (warning)
        return;
    if (list->errors++ == 0)
        (void)error_set(list->err, STATUS_INVALID, "%s", buf_text(&text));
}

void
problem_error(struct problem_list *list, int line, const char *key, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    add_problem(list, false, line, key, format, arguments);
    va_end(arguments);
}

void
problem_warning(struct problem_list *list, int line, const char *key, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    add_problem(list, true, line, key, format, arguments);
    va_end(arguments);
}
