/* SPDX-License-Identifier: MIT */
/*
 * The table of an agentkey-clerk installation (sdk_api_keys), read for `spendgate import agentkey`.
 * Source: agentkey's own migration and the code that uses it: a row with an external_subject is a
 * Clerk subject's; NULL scopes are all scopes, a NULL budget is none; the used amount goes back to
 * zero at the first use after budget_reset_at, which then moves on by a day or a month.
 */
#ifndef SPENDGATE_AGENTKEY_H
#define SPENDGATE_AGENTKEY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/ledger.h"
#include "common/period.h"

#define AGENTKEY_TABLE "sdk_api_keys"
#define AGENTKEY_ID_SIZE 128
#define AGENTKEY_TEXT_SIZE 64 /* of what is quoted in a message */
#define AGENTKEY_SCOPES_SIZE 256

/* What is asked for, as text; each may be NULL. Times are UTC microseconds since 1970. */
enum agentkey_column {
    AGENTKEY_ID,
    AGENTKEY_SUBJECT,
    AGENTKEY_BUDGET, /* cents */
    AGENTKEY_USED,   /* cents */
    AGENTKEY_PERIOD, /* "day", "month" */
    AGENTKEY_RESET,
    AGENTKEY_SCOPES, /* a JSON array */
    AGENTKEY_EXPIRES,
    AGENTKEY_REVOKED, /* "1" or "0" */
    AGENTKEY_CREATED,
    AGENTKEY_COLUMNS
};

enum agentkey_amount { AGENTKEY_NONE, AGENTKEY_AMOUNT, AGENTKEY_UNREADABLE };

struct agentkey_row {
    char id[AGENTKEY_ID_SIZE];       /* "" : it has none that can be told apart */
    bool has_subject;                /* else it is a key of agentkey's own */
    char subject[ACCOUNT_NAME_SIZE]; /* "" : no name that an account can have */
    enum agentkey_amount budget, used;
    int64_t budget_nanos, used_nanos;
    char budget_text[AGENTKEY_TEXT_SIZE], used_text[AGENTKEY_TEXT_SIZE]; /* where unreadable */
    bool period_known;
    enum period_kind period; /* PERIOD_NONE: it is never reset */
    char period_text[AGENTKEY_TEXT_SIZE];
    int64_t reset_us, expires_us, created_us; /* 0 none */
    bool revoked;
    bool all_scopes;
    char scopes[AGENTKEY_SCOPES_SIZE]; /* with spaces between, cut when there are too many */
};

/* Read one row. Whatever it holds, `out` says what can be understood. */
void agentkey_row_read(const char *const texts[AGENTKEY_COLUMNS], struct agentkey_row *out);

/* ---- the database (agentkey_source.c) -------------------------------------------------------- */

struct agentkey_source;

/* Whether `url` is one of PostgreSQL. */
bool agentkey_url_valid(const char *url);
/*
 * Connect and begin to read, in one snapshot, in the order of the ids; `*count` is how many rows
 * will come. Nothing is written there. Errors: STATUS_UNAVAILABLE (also of a program without
 * libpq), STATUS_INVALID (no such table, or another one), STATUS_NO_MEMORY; no message holds the
 * user or the password.
 */
enum status agentkey_source_open(const char *url, struct agentkey_source **out, int64_t *count,
                                 struct error *err) MUST_CHECK;
/* The next row; `*more` false at the end. */
enum status agentkey_source_next(struct agentkey_source *source, struct agentkey_row *out,
                                 bool *more, struct error *err) MUST_CHECK;
void agentkey_source_close(struct agentkey_source *source); /* NULL is fine */

#endif
