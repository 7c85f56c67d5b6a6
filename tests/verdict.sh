# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# For the source guards, which read it: count what passes, and end with "NAME: N passed, N failed".
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

# conclude NAME: say the sum, and be its status.
conclude() {
    echo "$1: $passed passed, $failed failed"
    [ "$failed" = 0 ]
}
