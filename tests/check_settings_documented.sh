#!/bin/sh
# SPDX-License-Identifier: MIT
# The settings table against its documents: every key stands in man/spendgate.conf.5 with its default and what it
# accepts, and in conf/spendgate.conf; neither has a key that the table lacks; the sample loads as it is shipped, and
# with every commented line put to use.
set -u
top=${srcdir:-.}
man=$top/man/spendgate.conf.5
sample=$top/conf/spendgate.conf
folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT

. "$top/tests/verdict.sh"

# The table: KEY <tab> DEFAULT <tab> ACCEPTED, without quotes.
tests/print_settings | cut -f 1,3,4 | tr -d '"' >"$folder/table" || exit 99
[ -s "$folder/table" ] || exit 99

# The manual page in the same form.
awk '
function finish() {
    if (key == "")
        return
    gsub(/"/, "", text)
    accepted = text
    sub(/.*Accepted: /, "", accepted)
    fallback = accepted
    sub(/\. (Default: .*|Required\.)$/, "", accepted)
    if (!sub(/.*\. Default: /, "", fallback))
        fallback = fallback ~ /\. Required\.$/ ? "required" : "?"
    sub(/ ?\.$/, "", fallback)
    print section key "\t" fallback "\t" accepted
    key = ""
}
/^\.S[hs] / { finish(); keys = 0 }
/^\.Sh SECTIONS AND KEYS/ { in_keys = 1 }
/^\.Sh/ && !/SECTIONS AND KEYS/ { in_keys = 0 }
/^\.Ss / && in_keys {
    section = substr($0, 5)
    gsub(/ /, ".", section)
    section = section == "Top.level" ? "" : section "."
    keys = 1
}
/^\.It Ic / && keys { finish(); key = $3; text = ""; next }
/^\.El/ { finish() }
key != "" {
    sub(/^\.[A-Z][a-z] /, "")
    text = text (text == "" ? "" : " ") $0
}
' "$man" >"$folder/man"
verdict "the manual page has every key with its default and what is accepted" \
    "$(diff "$folder/table" "$folder/man" | grep '^[<>]')"

# The sample with its commented lines as settings: "#key" and "#    key"; "# prose" stays a comment.
sed -e 's/^\( *\)#\([^ ]\)/\1\2/' -e 's/^#\(    \)/\1/' "$sample" >"$folder/all.conf"

# Settings as KEY <tab> VALUE, values of a list joined.
awk '
function token() {
    if (match(rest, /^[ \t]+/)) { rest = substr(rest, RLENGTH + 1); return "" }
    if (match(rest, /^"[^"]*"/)) {
        found = substr(rest, 2, RLENGTH - 2)
        rest = substr(rest, RLENGTH + 1)
        return "text"
    }
    if (match(rest, /^[A-Za-z0-9_.:\/@%-]+/)) {
        found = substr(rest, 1, RLENGTH)
        rest = substr(rest, RLENGTH + 1)
        return "text"
    }
    found = substr(rest, 1, 1)
    rest = substr(rest, 2)
    return found
}
function path(    i, text) {
    text = ""
    for (i = 1; i <= depth; i++)
        text = text names[i] "."
    return text
}
{
    rest = $0
    sub(/^ *#.*/, "", rest)
    while (rest != "") {
        kind = token()
        if (kind == "text" && state == "value") { print path() key "\t" found; state = "" }
        else if (kind == "text" && state == "list") { list = list (list == "" ? "" : " ") found }
        else if (kind == "text" && state == "") { key = found; state = "key" }
        else if (kind == "=") { state = "value" }
        else if (kind == "{" && state == "value") { state = "list"; list = "" }
        else if (kind == "}" && state == "list") { print path() key "\t" list; state = "" }
        else if (kind == "{") { names[++depth] = key; state = "" }
        else if (kind == "}") { depth-- }
    }
}
' "$folder/all.conf" | sort -u >"$folder/sample"

cut -f 1 "$folder/table" | sort >"$folder/keys"
cut -f 1 "$folder/sample" | sort -u >"$folder/sample.keys"
verdict "the sample has every key" "$(diff "$folder/keys" "$folder/sample.keys" | grep '^[<>]')"
# In sections that may come several times the sample shows examples, not defaults.
verdict "the sample shows the defaults" "$(awk -F '\t' '
    NR == FNR { fallback[$1] = $2; next }
    $1 !~ /^(plan|route|tracker|gate)\./ && fallback[$1] != "none" && fallback[$1] != $2 \
        { print $1 ": the default is " fallback[$1] ", the sample has " $2 }
' "$folder/table" "$folder/sample")"

# loads FILE: what --check-config finds, warnings included.
loads() {
    env -u SPENDGATE_STORE_URL -u CLERK_API_URL CLERK_SECRET_KEY=sk_test_sample \
        CLERK_JWT_KEY='-----BEGIN PUBLIC KEY-----' CLERK_WEBHOOK_SIGNING_SECRET=whsec_sample \
        ./spendgate-tracker --config "$1" --check-config 2>&1 | grep -v ': no problem found$'
}
verdict "the sample loads with only the secret added" "$(loads "$sample")"
(umask 077 && echo secret >"$folder/alerts_webhook_secret")
sed "s|/etc/spendgate/alerts_webhook_secret|$folder/alerts_webhook_secret|" "$folder/all.conf" >"$folder/use.conf"
verdict "the sample loads with every line put to use" "$(loads "$folder/use.conf")"

conclude check_settings_documented
