/* SPDX-License-Identifier: MIT */
/*
 * One run of `spendgate doctor`: what its files share. Each check tells what it found through
 * `sink`, good or bad, as one line, and goes on; nothing here changes anything, except in the
 * folder that --folder names (doctor_trial.h).
 */
#ifndef SPENDGATE_DOCTOR_H
#define SPENDGATE_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admin/command.h"
#include "admin/doctor_http.h"
#include "common/finding.h"
#include "common/secret.h"

struct trial;

struct doctor {
    struct admin *admin;
    const struct settings *settings; /* as admin->settings */
    struct finding_sink sink;
    size_t found[FINDING_PROBLEM + 1]; /* how many of each level */
    bool as_json, any, failed;
    bool progress;              /* a line without an end stands on the terminal */
    struct http_client *client; /* opened when first needed */
    struct http_answer *answer; /* of the last request */
    struct secret key;          /* a test credential, when one was given */
    struct trial *trial;        /* NULL: no --folder */
};

/* Show on the terminal what is being waited for, until the next finding. */
void doctor_progress(struct doctor *doctor, const char *what);
/* Make one request; `doctor->answer` is what came back. False when there is no memory (told). */
bool doctor_ask(struct doctor *doctor, const struct http_call *call) MUST_CHECK;

/* Read the settings, and tell all their problems. False when they cannot be used. */
bool doctor_settings(struct doctor *doctor) MUST_CHECK;
/* What the settings allow that a careful operator would not, or might not have meant. */
void doctor_policy(struct doctor *doctor);
/* The store; run by root, as its owner from here on. */
void doctor_store(struct doctor *doctor);
/* The cache and the settings file: who may read and write them, and where they are. */
void doctor_files(struct doctor *doctor);
/* Clerk: reached, our key, the key set, the clock. */
void doctor_clerk(struct doctor *doctor);
/* The gate at one address. */
void doctor_gate(struct doctor *doctor, const char *url);

#endif
