/* SPDX-License-Identifier: MIT */
/* What one row of agentkey's table says. */
#include <string.h>

#include "admin/agentkey.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/money.h"

#include "common/banned.h"

/* As much of it as fits, without what a terminal or a log line would take for its own. */
static void
quote(char *out, size_t size, const char *text)
{
    struct buf quoted;

    buf_init(&quoted, out, size);
    for (; *text != '\0' && quoted.length + 1 < size; text++) {
        if (*text >= ' ' && *text <= '~')
            buf_add_char(&quoted, *text);
        else
            buf_add_char(&quoted, '?');
    }
}

/* numeric is written with its decimals ("5000.00"): zeros at the end say nothing. */
static bool
parse_cents(const char *text, int64_t *nanos)
{
    char plain[AGENTKEY_TEXT_SIZE];
    size_t length;

    if (!text_copy(plain, sizeof(plain), text))
        return false;
    length = strlen(plain);
    if (strchr(plain, '.') != NULL) {
        while (length > 0 && plain[length - 1] == '0')
            plain[--length] = '\0';
        if (length > 0 && plain[length - 1] == '.')
            plain[--length] = '\0';
    }
    return money_parse_cents(plain, nanos);
}

static enum agentkey_amount
read_amount(const char *text, int64_t *nanos, char quoted[AGENTKEY_TEXT_SIZE])
{
    if (text == NULL)
        return AGENTKEY_NONE;
    if (parse_cents(text, nanos))
        return AGENTKEY_AMOUNT;
    quote(quoted, AGENTKEY_TEXT_SIZE, text);
    return AGENTKEY_UNREADABLE;
}

static int64_t
read_time(const char *text)
{
    int64_t time_us;

    return text != NULL && text_to_int64(text, 1, INT64_MAX, &time_us) ? time_us : 0;
}

/* agentkey knows two; any other, it would move by days. */
static void
read_period(const char *text, struct agentkey_row *out)
{
    out->period_known = true;
    out->period = PERIOD_NONE;
    if (text == NULL)
        return;
    quote(out->period_text, sizeof(out->period_text), text);
    if (strcmp(text, "day") == 0)
        out->period = PERIOD_DAY;
    else if (strcmp(text, "month") == 0)
        out->period = PERIOD_MONTH;
    else
        out->period_known = false;
}

static void
add_scope(struct buf *scopes, const char *scope)
{
    char quoted[AGENTKEY_TEXT_SIZE];

    quote(quoted, sizeof(quoted), scope);
    if (scopes->length + strlen(quoted) + strlen("  ...") >= scopes->size) {
        if (scopes->length == 0 || scopes->data[scopes->length - 1] != '.')
            buf_add(scopes, " ...");
        return;
    }
    buf_add_format(scopes, "%s%s", scopes->length > 0 ? " " : "", quoted);
}

/* NULL is all, and so is agentkey's "admin". */
static void
read_scopes(const char *text, struct agentkey_row *out)
{
    struct json *json = NULL;
    struct buf scopes;

    out->all_scopes = text == NULL;
    if (text == NULL)
        return;
    buf_init(&scopes, out->scopes, sizeof(out->scopes));
    if (json_parse(text, strlen(text), &json, NULL) != STATUS_OK || json_type(json) != JSON_ARRAY) {
        add_scope(&scopes, text);
        json_free(json);
        return;
    }
    for (size_t i = 0; i < json_count(json); i++) {
        const char *scope = json_string(json_element(json, i));

        if (scope != NULL && strcmp(scope, "admin") == 0)
            out->all_scopes = true;
        add_scope(&scopes, scope != NULL ? scope : "?");
    }
    json_free(json);
}

void
agentkey_row_read(const char *const texts[AGENTKEY_COLUMNS], struct agentkey_row *out)
{
    const char *id = texts[AGENTKEY_ID], *subject = texts[AGENTKEY_SUBJECT];

    memset(out, 0, sizeof(*out));
    if (id != NULL && strlen(id) < sizeof(out->id))
        quote(out->id, sizeof(out->id), id);
    out->has_subject = subject != NULL && subject[0] != '\0';
    if (out->has_subject && account_name_valid(subject) &&
        account_kind_of(subject) != ACCOUNT_KEY && account_kind_of(subject) != ACCOUNT_GROUP &&
        account_kind_of(subject) != ACCOUNT_ALL)
        (void)!text_copy(out->subject, sizeof(out->subject), subject);
    out->budget = read_amount(texts[AGENTKEY_BUDGET], &out->budget_nanos, out->budget_text);
    out->used = read_amount(texts[AGENTKEY_USED], &out->used_nanos, out->used_text);
    read_period(texts[AGENTKEY_PERIOD], out);
    out->reset_us = read_time(texts[AGENTKEY_RESET]);
    read_scopes(texts[AGENTKEY_SCOPES], out);
    out->expires_us = read_time(texts[AGENTKEY_EXPIRES]);
    out->revoked = texts[AGENTKEY_REVOKED] != NULL && strcmp(texts[AGENTKEY_REVOKED], "1") == 0;
    out->created_us = read_time(texts[AGENTKEY_CREATED]);
}
