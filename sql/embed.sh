#!/bin/sh
# SPDX-License-Identifier: MIT
# Print a C header with one string per schema step: embed.sh NAME STEP.sql...
# Each step's number is the leading digits of its file name.
set -eu
name=$1
shift
echo "/* Made by sql/embed.sh; do not edit. */"
echo "static const struct { int number; const char *sql; } ${name}[] = {"
for step in "$@"; do
    base=${step##*/}
    number=$(printf '%s\n' "${base%%_*}" | sed 's/^0*//')
    echo "{ $number,"
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/"/' -e 's/$/\\n"/' "$step"
    echo "},"
done
echo "};"
