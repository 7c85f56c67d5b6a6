/* SPDX-License-Identifier: MIT */
/*
 * The plain CGI gate: after an allow, this process becomes the script that was asked for. Which
 * file that is, what its environment holds, and the step itself; whether it is allowed has been
 * decided before (decide.h). Source: contract, section 9; web-servers document, section 6.
 */
#ifndef SPENDGATE_GATE_H
#define SPENDGATE_GATE_H

#include <stddef.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/settings.h"

#define GATE_PATH_SIZE 4096
#define GATE_VARIABLES_MAX 1024

struct gate_script {
    char file[GATE_PATH_SIZE];        /* absolute, without symbolic links */
    char extra[GATE_PATH_SIZE];       /* what the URL has behind the script, "/a/b", or "" */
    const struct interpreter *runner; /* of the settings; NULL: the file runs itself */
};

/* What the web server says about the file; each may be NULL. */
struct gate_target {
    const char *path;          /* PATH_INFO, by which the request was judged */
    const char *translated;    /* PATH_TRANSLATED: the file of that URL (Action) */
    const char *document_root; /* DOCUMENT_ROOT and CONTEXT_DOCUMENT_ROOT: where files with */
    const char *context_root;  /* URLs of their own are */
};

/*
 * The script of a request: the translated file if that is below gate { root }; else, with a root
 * outside the web space, the path below the root. No "..", and no symbolic link that leaves the
 * root.
 *
 * Errors: STATUS_NOT_FOUND; STATUS_CONFLICT (the file is neither executable nor has an
 * interpreter); STATUS_INVALID (the root is not set, or unusable); STATUS_OVERFLOW.
 */
enum status gate_find(const struct settings *settings, const struct gate_target *target,
                      struct gate_script *out, struct error *err) MUST_CHECK;

/*
 * The script's environment: ours without secrets and without anything that claims to come from us,
 * the variables of `answer` (what answer_allow wrote), and the CGI variables that name the script.
 * Lives in `storage`, entries in `out`, ended by NULL. Errors: STATUS_OVERFLOW.
 */
enum status gate_environment(const struct gate_script *script, char **ours, const char *answer,
                             struct buf *storage, char *out[GATE_VARIABLES_MAX],
                             struct error *err) MUST_CHECK;

/* Become the script, body untouched. Returns only when that failed: STATUS_IO. */
enum status gate_run(const struct gate_script *script, char *const *environment,
                     struct error *err) MUST_CHECK;

#endif
