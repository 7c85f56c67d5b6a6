/* SPDX-License-Identifier: MIT */
/*
 * One line of key=value per event to standard error. Values are escaped, so one event is one line.
 * Secrets have no formatter (secret.h) and cannot get here.
 */
#ifndef SPENDGATE_LOG_H
#define SPENDGATE_LOG_H

#include "common/error.h"

#define LOG_LINE_SIZE 2048

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO };

/*
 * Write `level=… event=… key=value …` to standard error with one write(2). The arguments after
 * `event` are pairs of const char * key and value, ended by one NULL; a NULL value is skipped. A
 * line longer than LOG_LINE_SIZE is cut and marked with a final "…".
 *
 *   log_event(LOG_WARN, "deny", "error", "frozen", "subject", subject, "request_id", id, NULL);
 */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));

/* The line of a failure: `level=error event=<event> status=… message=… request_id=…`.
 * `request_id` may be NULL. */
void log_failure(const char *event, const struct error *err, const char *request_id);

#endif
