#!/bin/sh
# SPDX-License-Identifier: MIT
# What the C files promise each other by what they include, as CONTRIBUTING.md has it.
set -u
cd "${srcdir:-.}" || exit 99
. tests/verdict.sh

# Not the preloaded clock of the end-to-end tests: it is nobody's program.
sources=$(find admin authorizer common tracker fuzz tests bench -name '*.c' ! -path 'tests/e2e/*' | sort)
programs=$(find admin authorizer common tracker -name '*.c' | sort)
[ -n "$programs" ] || exit 99

# includes FILE: what it includes, in order, with its quotes or brackets.
includes() {
    sed -n 's/^ *# *include *//p' "$1"
}

verdict "common/banned.h is the last include" "$(for file in $sources; do
    [ -z "$(includes "$file")" ] || [ "$(includes "$file" | tail -n 1)" = '"common/banned.h"' ] || echo "$file"
done)"
verdict "a C file includes its own header first" "$(for file in $programs; do
    header=${file%.c}.h
    [ ! -e "$header" ] || [ "$(includes "$file" | head -n 1)" = "\"$header\"" ] || echo "$file"
done)"
verdict "a header has the guard of its name" "$(for file in $(find admin authorizer common tracker -name '*.h' \
    ! -name 'schema_*' ! -name 'sample_conf.h' | sort); do
    name=$(basename "$file" .h | tr '[:lower:]' '[:upper:]')
    grep -q "^#ifndef SPENDGATE_\([A-Z]*_\)\{0,1\}$name\(_H\)\{0,1\}\$" "$file" || echo "$file"
done)"
verdict "common/ includes nothing from the programs" \
    "$(grep -n '# *include "\(admin\|authorizer\|tracker\)/' common/*.[ch])"
verdict "the programs include nothing from each other" "$(for program in admin authorizer tracker; do
    for other in admin authorizer tracker; do
        [ "$program" = "$other" ] || grep -n "# *include \"$other/" "$program"/*.[ch]
    done
done)"

# door HEADER FILE ...: the only files that may include a library's header (a regular expression).
door() {
    header=$1
    shift
    verdict "<$header> is included by ${*:-nobody} only" "$(for file in $(find admin authorizer common tracker \
        -name '*.[ch]' | sort); do
        for allowed in "$@"; do
            [ "$file" != "$allowed" ] || continue 2
        done
        grep -Hn "# *include <$header" "$file"
    done)"
}
door 'fcgi_stdio\.h'
door 'fcgiapp\.h' common/request.c
door 'fcgios\.h' common/request.c
door 'confuse\.h' common/settings.c
# The second one asks web servers what they do: raw requests and answers, no retry, no quota, nothing of Clerk's.
door 'curl/' common/clerk_http.c admin/doctor_http.c
door 'json-c/' common/json.c
door 'openssl/' common/crypto.c
# The second one reads another program's database, once: nothing of the store's sessions fits it.
door 'libpq-fe\.h' common/store_postgres.h admin/agentkey_source.c
for backend in store_postgres store_sqlite host_cache_file; do
    verdict "$backend.h, which includes its library, stays with the backend" "$(find admin authorizer common tracker \
        -name '*.[ch]' ! -name "${backend%_file}*" -exec grep -Hn "# *include \"common/$backend.h\"" {} +)"
done
verdict "store_internal.h stays with the shared part of the store" "$(find admin authorizer common tracker \
    -name '*.[ch]' ! -path 'common/store*' -exec grep -Hn '# *include "common/store_internal.h"' {} +)"
door 'sqlite3\.h' common/store_sqlite.h common/sqlite_vfs.c common/host_cache_file.h

conclude check_headers
