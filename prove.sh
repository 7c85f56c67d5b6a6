#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Proves on this machine that an accepted dollar is never lost, never counted twice, and never above the cap: 32 clients
# hold, settle, post twice, extend and void at random on four budgets of one hierarchy, with the real programs; then the
# same while workers are killed ten times a second. Each client keeps what was acknowledged, and the journal is compared
# with that. Installs what it needs (as root or through sudo), builds below build/demo, stops everything it started.
#
#   ./prove.sh                the store is a SQLite file
#   ./prove.sh --postgresql   two hosts with 64 clients on one PostgreSQL server; then the server itself crashes, twelve times
#   ./prove.sh --seconds N    how long each part lasts (default 30)
set -euo pipefail

# No setting of whoever runs this reaches the programs.
unset "${!CLERK_@}" "${!SPENDGATE_@}"
top=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/prepare.sh
. "$top/tests/prepare.sh"

store=sqlite seconds=30
while [ $# -gt 0 ]; do
    case $1 in
    --postgresql) store=postgresql ;;
    --seconds)
        shift
        [[ ${1:-} =~ ^[1-9][0-9]{0,3}$ ]] || {
            say "--seconds takes a number from 1 to 9999"
            exit 2
        }
        seconds=$1
        ;;
    -h | --help)
        sed -n '4,11s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        say "usage: ./prove.sh [--postgresql] [--seconds N]"
        exit 2
        ;;
    esac
    shift
done

packages="$BUILD_PACKAGES perl sqlite3"
tests=money_invariants.t
if [ "$store" = postgresql ]; then
    packages="$packages postgresql"
    tests="hosts.t crash.t"
fi
# shellcheck disable=SC2086
need_packages $packages
say "Building (below build/demo; the first time takes a minute) ..."
build "$top/build/demo"

# Of what the tests say, the promises (I1 to I7 of the ledger, by their numbers), what was done, and all that failed.
log=$top/build/demo/prove.log
: >"$log"
cd "$top/tests/e2e"
status=0
for test in $tests; do
    say "$test on $store; each part takes $seconds seconds and a little more ..."
    SPENDGATE_BUILD=$top/build/demo SPENDGATE_E2E_STORE=$store SPENDGATE_E2E_SECONDS=$seconds perl "$test" 2>&1 | tee -a "$log" |
        sed -nE 's/^# (.* x 200.*)$/        \1/p; s/^ok [0-9]+ - (I[0-9].*)/proved  \1/p; s/^not ok [0-9]+ - /FAILED  /p' || status=1
done
if [ "$status" = 0 ]; then
    echo "Proved: nothing lost, nothing twice, nothing above a cap."
else
    say "Not proved. All that was said: $log"
fi
exit "$status"
