/* SPDX-License-Identifier: MIT */
/*
 * POST /v1/webhooks/clerk: Clerk's events, signed as Svix does it. They shorten the time in which
 * an old answer of Clerk's still counts, and never replace it. Source: clerk-api document, section
 * 9; contract, section 5.
 */
#ifndef SPENDGATE_TRACKER_WEBHOOK_H
#define SPENDGATE_TRACKER_WEBHOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tracker/call.h"

#define WEBHOOK_ACTIONS_MAX 4
#define WEBHOOK_TOLERANCE_S 300 /* either way, between its timestamp and now */
#define WEBHOOK_KEY_MIN 16      /* bytes of a signing secret, decoded */

struct webhook_headers { /* each may be NULL */
    const char *id, *timestamp, *signatures;
};

enum webhook_check {
    WEBHOOK_FORGED = 0, /* or too old, or from the future, or not signed at all */
    WEBHOOK_SIGNED,
    WEBHOOK_NO_SECRET, /* none, or none that can be decoded: nothing can be checked */
};

/* Check the signature over the body's own bytes. `now_us` is this machine's time. */
enum webhook_check webhook_verify(const struct secret *secret,
                                  const struct webhook_headers *headers, const void *body,
                                  size_t length, int64_t now_us) MUST_CHECK;

/* What an event asks for. */
struct webhook_action {
    enum account_change change; /* FREEZE, REVOKE or REVERIFY */
    char account[ACCOUNT_NAME_SIZE];
};
struct webhook_event {
    char type[TEXT_FIELD_SIZE];
    size_t action_count; /* 0: nothing to do, as for an event that we do not know */
    struct webhook_action actions[WEBHOOK_ACTIONS_MAX];
};

/* Read a body whose signature was checked. Errors: STATUS_INVALID (no JSON, no type, or an event
 * that has to name somebody and does not), STATUS_NO_MEMORY. */
enum status webhook_read(const char *body, size_t length, struct webhook_event *out,
                         struct error *err) MUST_CHECK;

void webhook_clerk(struct call *call);

#endif
