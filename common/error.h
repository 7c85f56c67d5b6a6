/* SPDX-License-Identifier: MIT */
/*
 * How a function says that it failed: a status to act on and one line for a person.
 * A denial is an answer, not an error; verdicts live in ledger.h.
 */
#ifndef SPENDGATE_ERROR_H
#define SPENDGATE_ERROR_H

#define ERROR_MESSAGE_SIZE 512

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first) __attribute__((format(printf, format_index, first)))

enum status {
    STATUS_OK = 0,
    STATUS_INVALID,     /* the input is malformed or out of range */
    STATUS_NOT_FOUND,   /* what was named does not exist */
    STATUS_CONFLICT,    /* it exists, but its state forbids the operation */
    STATUS_OVERFLOW,    /* a number or a buffer would pass its maximum */
    STATUS_BUSY,        /* a bounded wait ended; trying again may help */
    STATUS_UNAVAILABLE, /* a store, server or network is not there or not answering */
    STATUS_NO_MEMORY,
    STATUS_IO,       /* reading or writing a file or descriptor failed */
    STATUS_CORRUPT,  /* stored data contradicts itself */
    STATUS_STOP,     /* not a failure: the loop that asked is to end (signal, end of input) */
    STATUS_INTERNAL, /* our own mistake */
};

/* Lives on the caller's stack and never allocates. `message` is one line, always terminated, and
 * holds no secret. */
struct error {
    enum status status;
    char message[ERROR_MESSAGE_SIZE];
};

/* Record a failure and return `status`, so that failing is one statement. A message that is too
 * long is cut. `err` may be NULL when the caller needs the status only. */
enum status error_set(struct error *err, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* The status as a lower-case word for logs, e.g. "unavailable". Static storage. */
const char *status_name(enum status status);

#endif
