# SPDX-License-Identifier: MIT
# Sourced by demo.sh, prove.sh and check.sh: Debian packages and out-of-tree builds. Needs `top`, the checkout.
# shellcheck shell=bash disable=SC2154,SC2034

BUILD_PACKAGES="gcc libc6-dev make autoconf automake pkg-config libfcgi-dev libsqlite3-dev libpq-dev libcurl4-openssl-dev \
libjson-c-dev libconfuse-dev libssl-dev tzdata"
DEMO_PACKAGES="lighttpd php-cgi curl perl ca-certificates"
APACHE_PACKAGES="apache2-bin libapache2-mod-fcgid"

say() { printf '%s\n' "$*" >&2; }

# Of the packages named, those that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
    done
}

policy=/usr/sbin/policy-rc.d
policy_mark='# made by spendgate while it installs packages; may be removed'
policy_file=

# A package that brings a server would start it. While we install, nothing may be started (policy-rc.d says 101);
# what was there before comes back, however we end.
forbid_starting() {
    # One of ours is left from a run that was killed; what it had put aside is still aside.
    if { [ -e "$policy" ] || [ -L "$policy" ]; } && ! grep -qsF "$policy_mark" "$policy"; then
        $as_root mv -f "$policy" "$policy.before-spendgate" || return 1
    fi
    policy_file=$(mktemp) || return 1
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy_file"
    $as_root install -m 0755 "$policy_file" "$policy"
}

allow_starting() {
    [ -n "$policy_file" ] || return 0
    rm -f "$policy_file"
    policy_file=
    $as_root rm -f "$policy"
    if [ -e "$policy.before-spendgate" ] || [ -L "$policy.before-spendgate" ]; then
        $as_root mv -f "$policy.before-spendgate" "$policy"
    fi
}

# Install what is missing of the packages named: as root, or through sudo. With neither, say what is missing and fail.
need_packages() {
    local missing unit
    if ! command -v dpkg-query >/dev/null; then
        say "This is not a Debian system; these packages, by their Debian names, are needed: $*"
        return 0
    fi
    # shellcheck disable=SC2046,SC2086
    missing=$(missing_packages $(printf '%s ' "$@"))
    [ -n "$missing" ] || return 0
    as_root=
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo true; }; }; then
            say "Missing packages: $missing"
            say "Install them as root (apt-get install $missing) and start this again."
            return 1
        fi
        as_root=sudo
    fi
    say "Installing: $missing"
    trap allow_starting EXIT
    trap 'exit 130' INT TERM HUP
    forbid_starting || return 1
    # shellcheck disable=SC2086
    if ! install_packages $missing; then
        allow_starting
        return 1
    fi
    allow_starting
    trap - EXIT INT TERM HUP
    # Nor at the next start of the machine: what was not there before is nobody's server yet.
    if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
        for unit in lighttpd apache2 nginx fcgiwrap postgresql pgbouncer; do
            case " $missing" in
            *" $unit "*) $as_root systemctl disable --quiet "$unit" 2>/dev/null || true ;;
            esac
        done
    fi
}

# A package list may be too old, or not there at all: then it is fetched, and the installation tried again.
install_packages() {
    local log attempt
    log=$(mktemp) || return 1
    for attempt in 1 2; do
        [ "$attempt" = 1 ] || $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update >>"$log" 2>&1 || break
        if $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" >>"$log" 2>&1; then
            rm -f "$log"
            return 0
        fi
    done
    cat "$log" >&2
    rm -f "$log"
    return 1
}

# build FOLDER [configure options and VARIABLE=value]: configure when needed, then make. Quiet unless it fails.
build() {
    local folder=$1 log
    shift
    mkdir -p "$folder" || return 1
    log=$folder/build.log
    if ! {
        { [ -x "$top/configure" ] && [ "$top/configure" -nt "$top/configure.ac" ] && ! stale_makefiles; } ||
            (cd "$top" && autoreconf -i)
    } >"$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
    if ! {
        { [ -e "$folder/Makefile" ] && [ "$folder/Makefile" -nt "$top/configure" ]; } ||
            (cd "$folder" && "$top/configure" -q "$@")
    } >>"$log" 2>&1; then
        [ ! -e "$top/config.status" ] || say "The checkout itself is configured; run 'make distclean' there first."
        cat "$log" >&2
        return 1
    fi
    if ! make -C "$folder" -j "$(nproc)" >>"$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
}

stale_makefiles() {
    [ ! -e "$top/Makefile.in" ] || [ -n "$(find "$top" -name Makefile.am -newer "$top/Makefile.in" -not -path '*/build*' -print -quit)" ]
}
