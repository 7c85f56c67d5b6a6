#!/bin/sh
# SPDX-License-Identifier: MIT
# The systemd units and the tmpfiles.d file are ones that systemd understands, down to the last key. Run by `make check'.
set -u
srcdir=${srcdir:-.}
command -v systemd-analyze >/dev/null || {
    echo "units: systemd-analyze is not installed"
    exit 77
}
folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT
passed=0 failed=0

# systemd wants the programs to be there; any will do.
for unit in spendgate-authorizer spendgate-tracker; do
    cp "$srcdir/conf/systemd/$unit.socket" "$folder/" || exit 99
    sed -e "s|@bindir@/$unit|/bin/true|" -e 's|@sysconfdir@|/etc|' "$srcdir/conf/systemd/$unit.service.in" \
        >"$folder/$unit.service" || exit 99
done
for file in "$folder"/*.s*; do
    name=${file##*/}
    said=$(SYSTEMD_UNIT_PATH="$folder:" systemd-analyze verify --man=no --recursive-errors=no "$file" 2>&1 | grep -F spendgate)
    if [ -z "$said" ] && ! grep -q '@[a-z]*dir@' "$file"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n%s\n' "$name" "$said"
    fi
done

# Only path and owner are replaced, so that anybody can run it.
sed -e "s|/run/spendgate|$folder/made|" -e "s|:www-data :www-data|:$(id -un) :$(id -gn)|" "$srcdir/conf/tmpfiles/spendgate.conf" \
    >"$folder/tmpfiles.conf"
said=$(systemd-tmpfiles --create "$folder/tmpfiles.conf" 2>&1)
mode=$(stat -c %a "$folder/made")
# The units' own folder, with another mode and owner, is left alone.
chmod 0755 "$folder/made"
said="$said$(systemd-tmpfiles --create "$folder/tmpfiles.conf" 2>&1)"
if [ -z "$said" ] && [ "$mode $(stat -c %a "$folder/made")" = "750 755" ]; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
    printf 'FAIL tmpfiles\n%s\n' "$said"
fi
# What `spendgate init' says to write leaves it alone as well.
line=$(sed -n "s/.*echo '\(d %s [^']*\)' > .*/\1/p" "$srcdir/admin/init.c")
# shellcheck disable=SC2059
printf "$line\n" "$folder/made" "$(id -un)" "$(id -gn)" >"$folder/tmpfiles.conf"
said=$(systemd-tmpfiles --create "$folder/tmpfiles.conf" 2>&1)
if [ -n "$line" ] && [ -z "$said" ] && [ "$(stat -c %a "$folder/made")" = 755 ]; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
    printf 'FAIL the line of spendgate init\n%s\n' "$said"
fi
echo "units: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
