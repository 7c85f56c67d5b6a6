/* SPDX-License-Identifier: MIT */
#include "common/refusal.h"

#include "common/period.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/banned.h"

void
refusal_set(struct refusal *refusal, int http_status, const char *code, const char *format, ...)
{
    va_list arguments;

    if (refused(refusal))
        return;
    refusal->http_status = http_status;
    refusal->code = code;
    va_start(arguments, format);
    /* A cut message is still a message. */
    (void)vsnprintf(refusal->message, sizeof(refusal->message), format, arguments);
    va_end(arguments);
}

/* The numbers behind a denial, named as in the authorizer's own denials. */
static void
write_verdict(struct buf *out, const struct verdict *verdict)
{
    switch (verdict->reason) {
    case REASON_BUDGET:
        buf_add(out, ",\"account\":");
        buf_add_json_string(out, verdict->account);
        buf_add(out, ",\"period\":");
        buf_add_json_string(out, period_kind_name(verdict->period));
        buf_add(out, ",\"limit_usd\":");
        buf_add_json_money(out, verdict->limit_nanos);
        buf_add(out, ",\"spent_usd\":");
        buf_add_json_money(out, verdict->spent_nanos);
        buf_add(out, ",\"held_usd\":");
        buf_add_json_money(out, verdict->held_nanos);
        buf_add(out, ",\"resets_at\":");
        buf_add_json_time(out, verdict->resets_us);
        break;
    case REASON_RATE:
        buf_add(out, ",\"limit\":");
        buf_add_json_string(out, verdict->rate_text);
        break;
    case REASON_CONCURRENCY:
        buf_add(out, ",\"limit\":");
        buf_add_int(out, verdict->concurrency);
        break;
    case REASON_REVOKED:
        buf_add(out, ",\"reason\":\"revoked\"");
        break;
    case REASON_EXPIRED:
        buf_add(out, ",\"expired_at\":");
        buf_add_json_time(out, verdict->expired_us);
        break;
    default:
        break;
    }
}

void
refusal_write(struct buf *out, const struct refusal *refusal, const char *request_id, bool item)
{
    buf_add_char(out, '{');
    if (item) {
        buf_add(out, "\"status\":");
        buf_add_int(out, refusal->http_status);
        buf_add_char(out, ',');
    }
    buf_add(out, "\"error\":");
    buf_add_json_string(out, refusal->code);
    buf_add(out, ",\"message\":");
    buf_add_json_string(out, refusal->message);
    buf_add(out, ",\"request_id\":");
    buf_add_json_string(out, request_id);
    if (refusal->verdict != NULL)
        write_verdict(out, refusal->verdict);
    buf_add_char(out, '}');
}
