#!/bin/sh
# SPDX-License-Identifier: MIT
# `make lint`: layout (clang-format), licences, clang-tidy (.clang-tidy), and a syntax check of everything that is no C.
# Ends with "N passed, N failed".
#   lint.sh SOURCE_FOLDER BUILD_FOLDER CPPFLAGS ...
set -u
top=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
shift 2
cd "$top" || exit 1
. tests/verdict.sh

for tool in clang-format clang-tidy shellcheck mandoc perl; do
    command -v "$tool" >/dev/null || verdict "$tool: install it" missing
done
[ "$failed" = 0 ] || {
    conclude lint
    exit 1
}

sources=$(find admin authorizer common tracker -name '*.c' | sort)
all=$(find admin authorizer bench common fuzz tests tracker \( -name '*.c' -o -name '*.h' \) ! -name 'schema_*' ! -name sample_conf.h | sort)
scripts=$(find . -path ./build -prune -o -path './build-*' -prune -o -type f \( -name '*.sh' -o -name '*.cgi' -o -path './.ci/run' \) -print |
    sort)
others=$(find clients examples tests -type f \( -name '*.t' -o -name '*.p[lm]' -o -name '*.php' -o -name clerk-standin -o -name llm-standin -o -name ways_table -o -name echo-backend \) |
    sort)

# shellcheck disable=SC2086
verdict "clang-format: run clang-format -i on these" \
    "$(clang-format --dry-run $all 2>&1 | grep 'warning:' | cut -d: -f1,2 | sort -u)"
verdict "every file says its licence" "$(for file in $all $scripts $others $(find conf sql -name '*.sql'); do
    head -n 3 "$file" | grep -q 'SPDX-License-Identifier: MIT' || echo "$file"
done)"
# shellcheck disable=SC2086
verdict "shellcheck" "$(shellcheck -x -P "$top" -f gcc $scripts)"
verdict "mandoc" "$(mandoc -Tlint man/*.[1-8] | grep -v 'referenced manual not found')"
verdict "Perl compiles" "$(for file in $others; do
    head -n 1 "$file" | grep -q perl || case $file in *.pl | *.pm | *.t) ;; *) continue ;; esac
    perl -Itests/e2e/lib -Iclients/perl/lib -wc "$file" 2>&1 | grep -v ' syntax OK$'
done)"
if command -v php >/dev/null; then
    verdict "PHP compiles" "$(for file in $others; do
        case $file in *.php) php -l "$file" 2>&1 | grep -v -e '^No syntax errors' -e '^$' ;; esac
    done)"
fi

found=$build/lint.found
# shellcheck disable=SC2086
printf '%s\n' $sources | xargs -P "$(nproc)" -I '{}' \
    clang-tidy --quiet '{}' -- -std=gnu11 -D_GNU_SOURCE -I. "-I$build" "$@" >"$found" 2>/dev/null
verdict "clang-tidy" "$(grep -E '(warning|error):' "$found" | sort -u)"
rm -f "$found"

conclude lint
