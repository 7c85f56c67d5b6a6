/* SPDX-License-Identifier: MIT */
/*
 * What libconfuse 3.3 would take from a settings file without a word, found before it reads it. For
 * settings.c only.
 */
#ifndef SPENDGATE_SETTINGS_SCAN_H
#define SPENDGATE_SETTINGS_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "common/settings_problem.h"

/*
 * Check the words, strings and comments of `length` bytes at `text`, and overwrite the comments
 * with spaces, in place, so that both readers agree on what is one. False after the first problem,
 * which is added to `problems` with its line.
 *
 * Refused: control bytes; characters outside quotes that belong to no word, which libconfuse skips;
 * a comment, a string or a section without its end, which libconfuse takes to the end of the file;
 * a string over several lines; a quoted key, in which "=" and "|" walk through sections; and "${",
 * which libconfuse replaces from the environment: a plain CGI process has its client's headers
 * there. A literal "${" is written "\${". Escapes other than \\ \" \$ are refused.
 */
bool settings_scan(char *text, size_t length, struct problem_list *problems);

#endif
