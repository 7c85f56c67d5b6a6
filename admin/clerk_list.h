/* SPDX-License-Identifier: MIT */
/*
 * Clerk's listing of the API keys of one subject: what to ask for, and what a page of the answer
 * says. Pure; asking is clerk_sync.c. Source: clerk-api document, section 2.
 */
#ifndef SPENDGATE_CLERK_LIST_H
#define SPENDGATE_CLERK_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/ledger.h"
#include "common/store.h"

#define CLERK_LIST_LIMIT 100         /* keys of a page: the most that Clerk gives */
#define CLERK_LIST_TOTAL_MAX 1000000 /* keys of a subject; more is not believed */

/* One key of a page. */
struct clerk_key {
    char account[ACCOUNT_NAME_SIZE]; /* "key:<id>" */
    char title[TEXT_FIELD_SIZE];     /* its name, cut between two characters; "" none */
    char reason[TEXT_FIELD_SIZE];    /* why it was revoked, cut as well; "" not told */
    bool revoked, expired;
    int64_t expires_us; /* UTC; 0 never */
};

struct clerk_page {
    size_t keys;   /* entries of the page, whatever they are */
    size_t odd;    /* of them, those that could not be read or are of another subject */
    int64_t total; /* keys of the subject, says Clerk */
};

/* The path and query of the page of `subject`'s keys that begins behind `offset` keys; revoked and
 * expired ones are asked for as well. */
void clerk_list_path(const char *subject, int64_t offset, struct buf *out);

/*
 * Read a page. `visit` is called for each key that can be read and is `subject`'s, in order; it
 * returns false to stop.
 *
 *   now_us  an expiry at it or before counts as expired, also where Clerk does not say so yet.
 *
 * Errors: STATUS_INVALID (no listing; the message says what is wrong), STATUS_NO_MEMORY.
 */
enum status clerk_list_read(const char *text, size_t length, const char *subject, int64_t now_us,
                            bool (*visit)(void *context, const struct clerk_key *key),
                            void *context, struct clerk_page *out, struct error *err) MUST_CHECK;

/* Copy as much of `text` as fits, whole UTF-8 characters only. */
void clerk_text_cut(char *out, size_t size, const char *text);

#endif
