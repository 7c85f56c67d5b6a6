#!/bin/sh
# SPDX-License-Identifier: MIT
# Error pages of fcgid.htaccess: mod_fcgid made a 401 page of every denial; this prints the authorizer's own again. Your paths:
program=/home/me/bin/spendgate-authorizer
SPENDGATE_CONFIG=/home/me/spendgate/spendgate.conf

SPENDGATE_MODE=deny
export SPENDGATE_CONFIG SPENDGATE_MODE
case $QUERY_STRING in
page=?*)
    # Somebody was allowed and then the page failed: not a 503, after which a client would spend again. The status is the page's.
    cat >/dev/null
    printf 'Content-Type: application/json\r\nCache-Control: no-store\r\n\r\n%s\n' \
        '{"error":"backend_error","message":"The page behind the gate failed."}'
    exit
    ;;
esac
[ -x "$program" ] && exec "$program"
cat >/dev/null
printf 'Status: 503 Service Unavailable\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nRetry-After: 2\r\n\r\n%s\n' \
    '{"error":"auth_unavailable","message":"Access cannot be checked at the moment. Try again later."}'
