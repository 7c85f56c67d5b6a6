#!/bin/sh
# SPDX-License-Identifier: MIT
# A test that is written is run: every test function is in its table, every program and every guard is in Makefile.am,
# every fuzz target has seeds of both kinds.
set -u
cd "${srcdir:-.}" || exit 99
. tests/verdict.sh

[ -e tests/check.h ] || exit 99
suites=$(grep -l 'CHECK_TEST(' tests/*.c tests/*/*.c)
programs=$(grep -lE '^main\(' tests/test_*.c tests/store_*.c)

verdict "every test function is in its table" "$(for file in $suites; do
    sed -n 's/^\(test_[a-z0-9_]*\)(.*/\1/p' "$file" | sort | while read -r name; do
        grep -q "CHECK_TEST($name)" "$file" || echo "$file: $name"
    done
done)"
verdict "no test function is in a table twice" "$(for file in $suites; do
    grep -o 'CHECK_TEST([a-z0-9_]*)' "$file" | sort | uniq -d | sed "s|^|$file: |"
done)"
verdict "every C file of the tests is built" "$(for file in tests/*.c tests/*/*.c; do
    grep -qw "$file" tests/Makefile.am || echo "$file"
done)"
verdict "every group of tests is in a program" "$(grep -ho '^const struct check_group [a-z0-9_]*' tests/*/*.c | while read -r _ _ _ group; do
    grep -qw "&$group" tests/*.c || echo "$group"
done)"
verdict "every program with tests is run" "$(for file in $programs; do
    sed -n '/_TESTS +\{0,1\}= /,/[^\\]$/p' tests/Makefile.am | grep -qw "${file%.c}" || echo "$file"
done)"
verdict "every guard is run" "$(for file in tests/check_*.sh; do
    sed -n '/^SOURCE_GUARDS = /,/[^\\]$/p' tests/Makefile.am | grep -qw "$file" || echo "$file"
done)"
verdict "every fuzz target is built" "$(for file in fuzz/fuzz_*.c; do
    sed -n '/^FUZZ_TARGETS = /,/[^\\]$/p' fuzz/Makefile.am | grep -qw "${file%.c}" || echo "$file"
done)"
verdict "every fuzz target has seeds that are taken and seeds that are refused" "$(for file in fuzz/fuzz_*.c; do
    corpus=fuzz/corpus/$(basename "${file#fuzz/fuzz_}" .c)
    for kind in ok bad; do
        [ -n "$(find "$corpus" -name "$kind-*" 2>/dev/null)" ] || echo "$corpus/$kind-*"
    done
done)"

conclude check_tests_registered
