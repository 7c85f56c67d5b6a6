#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Shows Spendgate at work: an API key passes, spends, hits its dollar cap and comes back after a top-up, behind a
# real web server on a loopback port. Installs what it needs (as root or through sudo), builds below build/demo,
# and stops everything it started.
#
#   ./demo.sh            the story, with curl, behind lighttpd
#   ./demo.sh --apache   the same behind Apache httpd (mod_authnz_fcgi)
#   ./demo.sh --serve    stay up, and say what to try
#
# Clerk is a stand-in on this machine; with CLERK_SECRET_KEY set it is the real one, and DEMO_API_KEY must be an
# API key of that instance.
set -euo pipefail

top=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/prepare.sh
. "$top/tests/prepare.sh"

web=lighttpd serve=
for option in "$@"; do
    case $option in
    --apache) web=authnz-fcgi ;;
    --serve) serve=--serve ;;
    -h | --help)
        sed -n '4,14s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        say "usage: ./demo.sh [--apache] [--serve]"
        exit 2
        ;;
    esac
done
if [ -n "${CLERK_SECRET_KEY:-}" ] && [ -z "${DEMO_API_KEY:-}" ]; then
    say "CLERK_SECRET_KEY is set: set DEMO_API_KEY to an API key of that Clerk instance as well (or unset both)."
    exit 2
fi

packages="$BUILD_PACKAGES $DEMO_PACKAGES"
[ "$web" = lighttpd ] || packages="$packages $APACHE_PACKAGES"
# shellcheck disable=SC2086
need_packages $packages
say "Building (below build/demo; the first time takes a minute) ..."
build "$top/build/demo"
SPENDGATE_BUILD=$top/build/demo exec perl "$top/examples/demo/play.pl" "--web=$web" $serve
