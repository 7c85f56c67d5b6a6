/* SPDX-License-Identifier: MIT */
#include "common/finding.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/banned.h"

void
finding_tell(const struct finding_sink *sink, enum finding_level level, const char *subject,
             const char *format, ...)
{
    char text[FINDING_SIZE];
    char *advice;
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    advice = strchr(text, '\n');
    if (advice != NULL)
        *advice++ = '\0';
    sink->take(
        sink->context,
        &(struct finding){ .level = level, .subject = subject, .text = text, .advice = advice });
}

const char *
finding_level_name(enum finding_level level)
{
    switch (level) {
    case FINDING_OK:
        return "ok";
    case FINDING_NOTE:
        return "note";
    case FINDING_WARNING:
        return "warning";
    default:
        return "problem";
    }
}
