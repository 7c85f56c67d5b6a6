#!/bin/sh
# SPDX-License-Identifier: MIT
# The gate, called by the .htaccess file of a guarded directory. Your paths:
program=/home/me/bin/spendgate-authorizer
SPENDGATE_CONFIG=/home/me/spendgate/spendgate.conf

# The settings go by the environment, and nothing by arguments: a web server passes the words of a query string as arguments.
export SPENDGATE_CONFIG
[ -x "$program" ] && exec "$program"
# Not there: closed. The body is read first; under mod_cgid an answer is lost otherwise.
cat >/dev/null
printf 'Status: 503 Service Unavailable\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nRetry-After: 2\r\n\r\n%s\n' \
    '{"error":"auth_unavailable","message":"Access cannot be checked at the moment. Try again later."}'
