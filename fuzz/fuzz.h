/* SPDX-License-Identifier: MIT */
/*
 * What a fuzz target is: LLVMFuzzerTestOneInput, called by libFuzzer or by replay.c, and a word to
 * the latter about what the parser said. A target checks with `assert`, which stays on in every
 * build.
 */
#ifndef SPENDGATE_FUZZ_H
#define SPENDGATE_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In replay.c; not there in a build with libFuzzer. */
void fuzz_note(bool accepted) __attribute__((weak));

/* Say whether the parser took the input, so that the replay can tell that a corpus holds inputs of
 * both kinds, and that those named ok-* are taken and those named bad-* refused. */
static inline void
fuzz_result(bool accepted)
{
    if (fuzz_note != NULL)
        fuzz_note(accepted);
}

#endif
