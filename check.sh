#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs every test there is and ends with "N passed, N failed", counted from what really ran; exit 1 on any failure.
# Installs what it needs (as root or through sudo), builds below build/.
#
#   ./check.sh           everything
#   ./check.sh --quick   without the end-to-end tests, valgrind, the demo and distcheck
#   ./check.sh --sdk     only Clerk's JavaScript SDK against our verifiers, and OpenAI's before examples/llm-proxy
#   ./check.sh --sdk-npm-node   the same with Node.js from npm, as where the system's is older than 22
set -uo pipefail

# No setting of whoever runs this reaches the tests.
unset "${!CLERK_@}" "${!SPENDGATE_@}" DEMO_API_KEY
top=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/prepare.sh
. "$top/tests/prepare.sh"
export LC_ALL=C.UTF-8

quick='' sdk='' npm_node=''
case "${1:-}" in
'') ;;
--quick) quick=1 ;;
--sdk) sdk=1 ;;
--sdk-npm-node) sdk=1 npm_node=1 ;;
-h | --help)
    sed -n '4,10s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
*)
    say "usage: ./check.sh [--quick|--sdk|--sdk-npm-node]"
    exit 2
    ;;
esac

CHECK_PACKAGES="nginx fcgiwrap lighttpd-modules-lua apache2-suexec-pristine libcunit1-dev clang clang-format clang-tidy mandoc shellcheck sqlite3 php-cli postgresql pgbouncer valgrind xz-utils file python3 phpunit php-curl systemd libseccomp-dev"
# shellcheck disable=SC2086
need_packages $BUILD_PACKAGES $DEMO_PACKAGES $APACHE_PACKAGES $CHECK_PACKAGES || {
    echo "0 passed, 1 failed"
    exit 1
}

logs=$top/build/logs
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0

# count NAME PASSED FAILED SECONDS: add to the sum and say so.
count() {
    passed=$((passed + $2))
    failed=$((failed + $3))
    printf '%-34s %5d passed, %d failed  (%d s)\n' "$1" "$2" "$3" "$4"
}

# The last "N passed, N failed" of a log as "N N", or nothing.
last_sum() {
    grep -aoE '[0-9]+ passed, [0-9]+ failed' "$1" | tail -n 1 | sed 's/ passed, / /; s/ failed//'
}

# step NAME COMMAND ...: counts what its output says ("N passed, N failed"), else as one. Shown when it fails.
step() {
    local name=$1 log begin=$SECONDS status p f
    shift
    log=$logs/${name//[^A-Za-z0-9]/-}.log
    "$@" >"$log" 2>&1
    status=$?
    read -r p f <<<"$(last_sum "$log")"
    if [ -z "$p" ]; then
        p=$((status == 0)) f=$((status != 0))
    elif [ "$status" != 0 ] && [ "$f" = 0 ]; then
        f=1
    fi
    count "$name" "$p" "$f" $((SECONDS - begin))
    [ "$f" = 0 ] && return 0
    tail -n 200 "$log"
    return 1
}

# Sum up what the programs of a `make check` said of themselves; one that says nothing counts as one, and so does a bad
# end without a counted failure. A skipped test is a failure: it did not run.
unit_tests() {
    local name=$1 folder=$2 begin=$SECONDS p=0 f=0 made trs test_p test_f result
    find "$folder" -name '*.trs' -delete
    make -C "$folder" -k -j "$(nproc)" check >"$logs/$name.log" 2>&1
    made=$?
    while IFS= read -r trs; do
        result=$(sed -n 's/^:global-test-result: *//p' "$trs")
        read -r test_p test_f <<<"$(last_sum "${trs%.trs}.log")"
        [ -n "$test_p" ] || test_p=$([ "$result" = PASS ] && echo 1 || echo 0)
        [ -n "$test_f" ] || test_f=0
        if [ "$result" != PASS ]; then
            [ "$test_f" != 0 ] || test_f=1
            printf -- '---- %s: %s\n' "${trs%.trs}" "$result"
            tail -n 100 "${trs%.trs}.log"
        fi
        p=$((p + test_p)) f=$((f + test_f))
    done < <(find "$folder" -name '*.trs' | sort)
    if [ "$made" != 0 ] && [ "$f" = 0 ]; then
        f=1
        tail -n 100 "$logs/$name.log"
    fi
    count "$name" "$p" "$f" $((SECONDS - begin))
}

# Branch coverage of the money rules; of the tree only what that needs is built.
branch_coverage() {
    local folder=$top/build/coverage
    mkdir -p "$folder" &&
        { [ -e "$folder/Makefile" ] || (cd "$folder" && "$top/configure" -q CC=gcc --enable-coverage); } &&
        make -C "$folder" -j "$(nproc)" coverage
}

# end_to_end NAME BUILD STORE [FILE ...]: end-to-end tests on one store, counted by tests/e2e/run, which prints their lines.
end_to_end() {
    local name=$1 folder=$2 store=$3 log p f status
    shift 3
    log=$logs/$name-$store.log
    NAME=$name LOGS=$logs "$top/tests/e2e/run" "$folder" "$store" "$@" 2>&1 | tee "$log" | sed '$d'
    status=${PIPESTATUS[0]}
    read -r p f <<<"$(last_sum "$log")"
    passed=$((passed + ${p:-0}))
    if [ -z "$p" ] || { [ "$status" != 0 ] && [ "$f" = 0 ]; }; then
        f=1
    fi
    failed=$((failed + f))
    [ "$f" = 0 ]
}

# Node.js 22 or newer, which OpenAI's library needs: Debian's, else the one of the npm package "node"; and Clerk's SDK.
sdk_install() {
    local folder=$top/build/sdk have
    mkdir -p "$folder"
    cp "$top"/tests/sdk/* "$folder"
    command -v npm >/dev/null || need_packages nodejs npm || return 1
    have=$(node -p 'let v = process.versions.node.split("."); +(+v[0] >= 22)')
    [ -z "$npm_node" ] || have=0
    rm -rf "$folder/node_modules/node" # of a run with the other Node.js
    (cd "$folder" && npm install --no-package-lock --no-audit --no-fund --ignore-scripts &&
        { [ "$have" = 1 ] || npm install --no-save --no-package-lock --no-audit --no-fund node@22; })
}

if [ -n "$sdk" ]; then
    step "build with gcc" build "$top/build/gcc" CC=gcc && step "install the SDK" sdk_install &&
        end_to_end sdk "$top/build/gcc" sqlite "$top"/tests/sdk/{sdk,openai}.t
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
    exit
fi

step "build with gcc" build "$top/build/gcc" CC=gcc && {
    unit_tests unit "$top/build/gcc"
    step "lint" make -C "$top/build/gcc" lint
    step "clients as packages" "$top/tests/clients.sh"
    step "branch coverage" branch_coverage
}
step "build with clang" build "$top/build/clang" CC=clang &&
    step "build the tests with clang" make -C "$top/build/clang" -j "$(nproc)" check TESTS=
step "build with sanitizers" build "$top/build/sanitizers" CC=gcc --enable-sanitizers &&
    unit_tests unit-sanitizers "$top/build/sanitizers"

if [ -z "$quick" ]; then
    end_to_end e2e "$top/build/gcc" sqlite
    end_to_end e2e "$top/build/gcc" postgresql
    money=("$top"/tests/e2e/money_{hierarchy,rates,requests,time}.t)
    end_to_end sanitizers "$top/build/sanitizers" sqlite "$top"/tests/e2e/{caps,cache,clerk,failures,tracker,operator}.t "${money[@]}"
    end_to_end sanitizers "$top/build/sanitizers" postgresql "$top"/tests/e2e/{failures,operator}.t "${money[@]}"
    step "demo" "$top/demo.sh"
    step "demo behind Apache" "$top/demo.sh" --apache
    step "the proof, 2 s each" "$top/prove.sh" --seconds 2
    # 32 processes on 4 accounts of one hierarchy, undisturbed and with workers killed.
    step "store chaos, 15 s each" env SPENDGATE_CHAOS_SECONDS=15 "$top/build/gcc/tests/store_chaos"
    step "mixed load, 10 s on each store" env SPENDGATE_MIXED_SECONDS=10 "$top/build/gcc/tests/test_store_mixed"
    step "pricing proof" make -C "$top/build/gcc" pricing-proof
    step "calendar proof" make -C "$top/build/gcc" calendar-proof
    step "distcheck" make -C "$top/build/gcc" distcheck TESTS= DISTCHECK_CONFIGURE_FLAGS=--disable-silent-rules
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
