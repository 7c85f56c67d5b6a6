#!/bin/sh
# SPDX-License-Identifier: MIT
# The tracker as plain CGI: https://…/spendgate/tracker.cgi/v1/spend. A copy in the guarded directory (gate.htaccess), such as
# https://…/api/budgets.cgi/v1/me, tells a caller its own budgets; for all else there a token is needed. Your paths:
program=/home/me/bin/spendgate-tracker
SPENDGATE_CONFIG=/home/me/spendgate/spendgate.conf

# The settings go by the environment, and nothing by arguments: a web server passes the words of a query string as arguments.
export SPENDGATE_CONFIG
[ -x "$program" ] && exec "$program"
cat >/dev/null
printf 'Status: 503 Service Unavailable\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nRetry-After: 2\r\n\r\n%s\n' \
    '{"error":"store_unavailable","message":"The tracker cannot be started. Try again later."}'
