/* SPDX-License-Identifier: MIT */
/*
 * Files that `spendgate doctor --folder FOLDER` puts below the guarded address for as long as it
 * runs: pages with a mark that nobody else can know, so that an opening is proven by it, and
 * .htaccess files that would open a gate that lets them. A process of its own makes and removes
 * them, with the rights that doctor was started with, also when doctor is killed.
 */
#ifndef SPENDGATE_DOCTOR_TRIAL_H
#define SPENDGATE_DOCTOR_TRIAL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define TRIAL_NAME_SIZE 64
#define TRIAL_MARK_SIZE 64
#define TRIAL_TEXT_SIZE 256

struct trial;

/* One file, by its name below the trial's folder. */
struct trial_page {
    const char *name;     /* "page.php" */
    const char *what;     /* "a PHP script" */
    const char *htaccess; /* the .htaccess beside it, or NULL */
    const char *advice;   /* what keeps such an .htaccess from opening the gate */
};
extern const struct trial_page trial_pages[];
extern const size_t trial_page_count;

/* Make FOLDER/<name>/ with the pages in it. Errors: STATUS_INVALID (no such folder), STATUS_IO. */
enum status trial_open(const char *folder, struct trial **out, struct error *err) MUST_CHECK;
/* Remove everything that was made. NULL is fine. */
void trial_close(struct trial *trial);

/* The name of the folder that was made, and the real path of the one it is in. */
const char *trial_name(const struct trial *trial);
const char *trial_folder(const struct trial *trial);
/* Whether this is, or has in it, the content of one of the pages: as it is, or what it prints. */
bool trial_mark_found(const struct trial *trial, const char *body, size_t length);

#endif
