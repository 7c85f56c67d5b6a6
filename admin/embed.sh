#!/bin/sh
# SPDX-License-Identifier: MIT
# Print a C header with a text file as one string: embed.sh NAME FILE
set -eu
echo "/* Made by admin/embed.sh; do not edit. */"
echo "static const char $1[] ="
sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/    "/' -e 's/$/\\n"/' "$2"
echo "    ;"
