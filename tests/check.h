/* SPDX-License-Identifier: MIT */
/*
 * CUnit with messages that say what was wanted and what came:
 *     tests/test_money.c:41 sum: want 1000, got 999
 * Each macro evaluates its arguments once and counts as one CUnit assertion. A test program is
 *
 *     static void test_add_refuses_overflow(void) { CHECK_INT("sum", 1000, got); }
 *     int main(void) { const struct check_test tests[] = { CHECK_TEST(test_add_refuses_overflow) };
 *                      return check_main("money", tests, CHECK_COUNT(tests)); }
 *
 * and ends with the line "N passed, N failed", counted in tests. One of several files has a main()
 * that hands their groups to check_groups().
 */
#ifndef SPENDGATE_CHECK_H
#define SPENDGATE_CHECK_H

#include <CUnit/CUnit.h>
#include <CUnit/TestRun.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct check_test {
    const char *name;
    void (*run)(void);
};

/* The tests of one file of several. */
struct check_group {
    const struct check_test *tests;
    size_t count;
};

/* clang-format off */
#define CHECK_TEST(function) { #function, function }
/* clang-format on */
#define CHECK_COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline void
check_assert(bool ok, const char *what, const char *file, unsigned line)
{
    CU_assertImplementation(ok ? CU_TRUE : CU_FALSE, line, what, file, "", CU_FALSE);
}

static inline bool
check_int(const char *what, int64_t want, int64_t got, const char *file, unsigned line)
{
    if (want != got)
        printf("%s:%u %s: want %" PRId64 ", got %" PRId64 "\n", file, line, what, want, got);
    check_assert(want == got, what, file, line);
    return want == got;
}

static inline bool
check_string(const char *what, const char *want, const char *got, const char *file, unsigned line)
{
    bool same = want == NULL || got == NULL ? want == got : strcmp(want, got) == 0;

    if (!same)
        printf("%s:%u %s: want \"%s\", got \"%s\"\n", file, line, what, want ? want : "(null)",
               got ? got : "(null)");
    check_assert(same, what, file, line);
    return same;
}

static inline bool
check_true(const char *what, bool got, const char *file, unsigned line)
{
    if (!got)
        printf("%s:%u %s: want true, got false\n", file, line, what);
    check_assert(got, what, file, line);
    return got;
}

#define CHECK_INT(what, want, got) \
    check_int(what, (int64_t)(want), (int64_t)(got), __FILE__, __LINE__)
#define CHECK_STRING(what, want, got) check_string(what, want, got, __FILE__, __LINE__)
#define CHECK_TRUE(what, got) check_true(what, got, __FILE__, __LINE__)
#define CHECK_FALSE(what, got) check_true("not " what, !(got), __FILE__, __LINE__)
/* A status, and the exact message when `message` is not NULL. */
#define CHECK_STATUS(want, got, err) check_status(want, got, err, __FILE__, __LINE__)

#ifdef SPENDGATE_ERROR_H
static inline bool
check_status(enum status want, enum status got, const struct error *err, const char *file,
             unsigned line)
{
    if (want != got)
        printf("%s:%u status: want %s, got %s (%s)\n", file, line, status_name(want),
               status_name(got), err != NULL ? err->message : "");
    check_assert(want == got, "status", file, line);
    return want == got;
}
#endif

static inline int
check_groups(const char *suite_name, const struct check_group *const groups[], size_t count)
{
    unsigned failed;
    CU_pSuite suite;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 99;
    suite = CU_add_suite(suite_name, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < groups[i]->count; j++) {
            if (CU_add_test(suite, groups[i]->tests[j].name, groups[i]->tests[j].run) == NULL)
                return 99;
        }
    }
    CU_run_all_tests();
    for (CU_pFailureRecord f = CU_get_failure_list(); f != NULL; f = f->pNext)
        printf("FAIL %s:%u %s (%s)\n", f->strFileName, f->uiLineNumber, f->strCondition,
               f->pTest != NULL ? f->pTest->pName : "");
    failed = CU_get_number_of_tests_failed();
    printf("%s: %u passed, %u failed\n", suite_name, CU_get_number_of_tests_run() - failed, failed);
    CU_cleanup_registry();
    return failed == 0 ? 0 : 1;
}

static inline int
check_main(const char *suite_name, const struct check_test *tests, size_t count)
{
    const struct check_group group = { tests, count };
    const struct check_group *const groups[] = { &group };

    return check_groups(suite_name, groups, 1);
}

#endif
