/* SPDX-License-Identifier: MIT */
/*
 * Make the n-th allocation of the process fail, whoever asks for it: our code, json-c, strdup.
 * Included by one file of a test program, which thereby brings its own malloc, calloc and realloc
 * in front of glibc's. Not under a sanitizer, which brings its own as well: ALLOC_FAIL_AVAILABLE is
 * 0 there, and the test is left out.
 *
 *     for (int n = 0;; n++) {
 *         alloc_fail_at(n);
 *         status = parse(...);
 *         if (!alloc_fail_end())
 *             break; // the n-th allocation was never asked for: all were tried
 *         CHECK_STATUS(STATUS_NO_MEMORY, status, &err);
 *     }
 */
#ifndef SPENDGATE_ALLOC_FAIL_H
#define SPENDGATE_ALLOC_FAIL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define ALLOC_FAIL_AVAILABLE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ALLOC_FAIL_AVAILABLE 0
#else
#define ALLOC_FAIL_AVAILABLE 1
#endif
#else
#define ALLOC_FAIL_AVAILABLE 1
#endif

#if ALLOC_FAIL_AVAILABLE

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static int alloc_fail_left = -1; /* allocations until the one that fails; -1: none does */
static bool alloc_failed;

/* The allocation after `count` more ones fails, once. */
static inline void
alloc_fail_at(int count)
{
    alloc_failed = false;
    alloc_fail_left = count;
}

/* All succeed again; whether one had failed. */
static inline bool
alloc_fail_end(void)
{
    alloc_fail_left = -1;
    return alloc_failed;
}

static inline bool
alloc_fails(void)
{
    if (alloc_fail_left < 0 || alloc_fail_left-- > 0)
        return false;
    alloc_failed = true;
    errno = ENOMEM;
    return true;
}

void *
malloc(size_t size)
{
    return alloc_fails() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
    return alloc_fails() ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *old, size_t size)
{
    return alloc_fails() ? NULL : __libc_realloc(old, size);
}

#endif
#endif
