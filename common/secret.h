/* SPDX-License-Identifier: MIT */
/*
 * A secret: bytes that have no formatter, are compared in constant time and wiped before they are
 * freed. Nothing but the module that must send it may look inside.
 */
#ifndef SPENDGATE_SECRET_H
#define SPENDGATE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define SECRET_BYTES_MAX 4096

struct secret {
    size_t length;                             /* 0: none */
    unsigned char bytes[SECRET_BYTES_MAX + 1]; /* terminated, so that it can be a header or PEM */
};

void secret_clear(struct secret *secret); /* wipes */
bool secret_is_set(const struct secret *secret);
/* STATUS_OVERFLOW when `length` > SECRET_BYTES_MAX. */
enum status secret_set(struct secret *secret, const void *bytes, size_t length,
                       struct error *err) MUST_CHECK;
/*
 * Read a secret from a file, without its final line end. Refused: a file that is missing, empty,
 * over SECRET_BYTES_MAX, not regular, or readable or writable by others (mode & 07 != 0).
 * Errors: STATUS_INVALID, STATUS_IO, each naming the file and what to do; never its content.
 */
enum status secret_read_file(struct secret *secret, const char *path, struct error *err) MUST_CHECK;
/* Equal in a time that depends on the lengths only. */
bool secret_equal(const struct secret *a, const struct secret *b);

#endif
