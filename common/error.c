/* SPDX-License-Identifier: MIT */
/* Failures as a status and one line of text; see error.h. */
#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/banned.h"

enum status
error_set(struct error *err, enum status status, const char *format, ...)
{
    /* Formatted beside `err`, because its own message may be one of the arguments. */
    char line[ERROR_MESSAGE_SIZE];
    va_list arguments;

    if (err == NULL)
        return status;
    va_start(arguments, format);
    if (vsnprintf(line, sizeof(line), format, arguments) < 0)
        line[0] = '\0';
    va_end(arguments);
    for (char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    }
    err->status = status;
    memcpy(err->message, line, sizeof(line));
    return status;
}

const char *
status_name(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return "ok";
    case STATUS_INVALID:
        return "invalid";
    case STATUS_NOT_FOUND:
        return "not_found";
    case STATUS_CONFLICT:
        return "conflict";
    case STATUS_OVERFLOW:
        return "overflow";
    case STATUS_BUSY:
        return "busy";
    case STATUS_UNAVAILABLE:
        return "unavailable";
    case STATUS_NO_MEMORY:
        return "no_memory";
    case STATUS_IO:
        return "io";
    case STATUS_CORRUPT:
        return "corrupt";
    case STATUS_STOP:
        return "stop";
    case STATUS_INTERNAL:
        return "internal";
    }
    return "unknown";
}
