/* SPDX-License-Identifier: MIT */
/*
 * What somebody who looks for mistakes has found, for `spendgate doctor`: a level, what it is
 * about, one line for a person, and one line that says what to do. A store tells its own findings
 * this way. Never a secret.
 */
#ifndef SPENDGATE_FINDING_H
#define SPENDGATE_FINDING_H

#include "common/error.h"

#define FINDING_SIZE 4096

enum finding_level {
    FINDING_OK,
    FINDING_NOTE,    /* nothing is wrong, but it should be known; or it could not be looked at */
    FINDING_WARNING, /* it works, but not as well, as safely or as exactly as it could */
    FINDING_PROBLEM,
};

struct finding {
    enum finding_level level;
    const char *subject; /* one word: "store" */
    const char *text;
    const char *advice; /* what to do, or NULL */
};

struct finding_sink {
    void (*take)(void *context, const struct finding *finding);
    void *context;
};

/* The text and, behind a line end, the advice. What does not fit FINDING_SIZE is cut; other control
 * characters are the sink's business. */
void finding_tell(const struct finding_sink *sink, enum finding_level level, const char *subject,
                  const char *format, ...) PRINTF_LIKE(4, 5);
/* "ok", "note", "warning", "problem" */
const char *finding_level_name(enum finding_level level);

#endif
