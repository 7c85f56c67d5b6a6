#!/bin/sh
# SPDX-License-Identifier: MIT
# `make lint`: layout (clang-format), what the sources promise each other, and clang-tidy. Ends with "N passed, N failed".
#   lint.sh SOURCE_FOLDER BUILD_FOLDER CPPFLAGS ...
set -u
top=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
shift 2
cd "$top" || exit 1

for tool in clang-format clang-tidy; do
    command -v "$tool" >/dev/null || {
        echo "lint: $tool is not installed"
        echo "lint: 0 passed, 1 failed"
        exit 1
    }
done

passed=0 failed=0
# verdict NAME FINDINGS: passed without findings.
verdict() {
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n%s\n' "$1" "$2"
    fi
}

sources=$(find admin authorizer common tracker -name '*.c' | sort)
all=$(find admin authorizer bench common fuzz tests tracker \( -name '*.c' -o -name '*.h' \) ! -name 'schema_*' | sort)

# shellcheck disable=SC2086
verdict "clang-format: run clang-format -i on these" \
    "$(clang-format --dry-run $all 2>&1 | grep 'warning:' | cut -d: -f1,2 | sort -u)"
verdict "common/banned.h is the last include" "$(for file in $sources; do
    grep '^ *# *include' "$file" | tail -n 1 | grep -q '"common/banned.h"' || echo "$file"
done)"
verdict "a C file includes its own header first" "$(for file in $sources; do
    header=${file%.c}.h
    [ -e "$header" ] || continue
    grep '^ *# *include' "$file" | head -n 1 | grep -qF "\"$header\"" || echo "$file"
done)"
# One door per library.
for door in 'fcgi_stdio.h:none' 'fcgiapp.h:common/request.c' 'confuse.h:common/settings' 'curl/:authorizer/clerk_http.c' \
    'json-c/:common/json.c' 'openssl/:common/crypto.c' 'libpq-fe.h:common/store_postgres.c' \
    'sqlite3.h:common/store_sqlite.*\|authorizer/verification_cache.c\|authorizer/clerk_quota.c'; do
    # shellcheck disable=SC2086
    verdict "${door%%:*} is included by ${door#*:} only" \
        "$(grep -n "# *include <${door%%:*}" $sources | grep -v "^\(${door#*:}\)")"
done
verdict "common/ includes nothing from the programs" "$(grep -n 'include "\(admin\|authorizer\|tracker\)/' common/*.[ch])"
verdict "every test program is built and run" "$(for file in tests/test_*.c; do
    grep -q "${file%.c}\$\|${file%.c} " tests/Makefile.am || echo "$file"
done)"
verdict "every fuzz target has a corpus" "$(for file in fuzz/fuzz_*.c; do
    parser=${file#fuzz/fuzz_}
    [ -n "$(ls "fuzz/corpus/${parser%.c}" 2>/dev/null)" ] || echo "$file"
done)"
verdict "every file says its licence" "$(for file in $all $(find conf demo.sh check.sh tests examples sql \
    \( -name '*.sh' -o -name '*.t' -o -name '*.p[lm]' -o -name '*.php' -o -name '*.sql' \)); do
    head -n 3 "$file" | grep -q 'SPDX-License-Identifier: MIT' || echo "$file"
done)"

# Not clang-analyzer-core: it sees one file at a time, takes error_set for something that may return STATUS_OK, and then
# finds uninitialised values everywhere.
checks='-*,clang-analyzer-deadcode.*,clang-analyzer-unix.*,clang-analyzer-security.*'
checks="$checks,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling"
checks="$checks,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier"
checks="$checks,-bugprone-implicit-widening-of-multiplication-result"
checks="$checks,misc-redundant-expression,readability-misleading-indentation,readability-redundant-declaration"
checks="$checks,performance-*,-performance-no-int-to-ptr,portability-*"
found=$build/lint.found
# shellcheck disable=SC2086
printf '%s\n' $sources | xargs -P "$(nproc)" -I '{}' \
    clang-tidy --quiet "-checks=$checks" '{}' -- -std=gnu11 -D_GNU_SOURCE -I. "-I$build" "$@" >"$found" 2>/dev/null
verdict "clang-tidy" "$(grep -E '(warning|error):' "$found" | sort -u)"
rm -f "$found"

echo "lint: $passed passed, $failed failed"
[ "$failed" = 0 ]
