#!/bin/sh
# SPDX-License-Identifier: MIT
# The calendar proof: every period from 1970 to 2037, of every kind, anchor day and week start, against
# Python's zoneinfo; of the hours those around every change of the clock, and a day of them every 30 days.
# Run in the build folder.
#
#   calendar_proof.sh          the zones with the oddest clocks
#   calendar_proof.sh --all    every zone; two and a half minutes of processor time
set -eu
here=${srcdir:-$(dirname "$0")/..}/tests/calendar
check=tests/calendar/check
odd='UTC America/Havana America/Sao_Paulo America/St_Johns Pacific/Apia Australia/Lord_Howe Asia/Kathmandu
    Africa/Monrovia Africa/Casablanca Asia/Gaza Antarctica/Troll Europe/Dublin'

if ! python3 -c 'import zoneinfo; open(zoneinfo.TZPATH[0] + "/tzdata.zi")' 2>/dev/null; then
    echo "calendar proof: skipped, it needs python3 (3.9 or later) and tzdata"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export here check folder
if [ "${1:-}" = --all ]; then
    seq 0 7 | sed 's/$/ 8/'
else
    echo "$odd" | xargs -n 3
fi >"$folder/parts"
# shellcheck disable=SC2016  # for the inner shell
xargs -P "$(nproc)" -L 1 sh -c '
    python3 "$here/expect.py" "$@" >"$folder/$$.expected" &&
        "$check" <"$folder/$$.expected" >"$folder/$$.out" || echo "$@" >>"$folder/failed"
    rm -f "$folder/$$.expected"' part <"$folder/parts"
grep -hv '^calendar:' "$folder"/*.out || true
awk '$1 == "calendar:" { zones += $2; periods += $4; asked += $7; differences += $9 }
    END { printf "calendar proof: %d zones, %d periods, asked %d times, %d differences\n",
        zones, periods, asked, differences }' "$folder"/*.out
if [ -e "$folder/failed" ]; then
    echo "0 passed, 1 failed"
    exit 1
fi
echo "1 passed, 0 failed"
