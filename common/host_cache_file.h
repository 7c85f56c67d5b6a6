/* SPDX-License-Identifier: MIT */
/*
 * The file behind host_cache.h: whose it is, opened at the first use, made anew when it is damaged,
 * gone without when it cannot be used. For host_cache.c and host_cache_file.c only.
 */
#ifndef SPENDGATE_HOST_CACHE_FILE_H
#define SPENDGATE_HOST_CACHE_FILE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/host_cache.h"
#include "common/settings.h"

#define HOST_CACHE_SUFFIX_SIZE 16 /* of the files beside it */

enum host_cache_statement {
    ROW_GET,
    ROW_PUT,
    ROW_PUT_INVALID,
    STATE_GET,
    STATE_PUT,
    DROP_NEVER_VALID,
    DROP_OLD,
    DROP_STATE,
    DROP_QUARTER,
    FORGET_ROWS,
    FORGET_STATES,
    STATEMENT_COUNT,
};
extern const char *const host_cache_statements[STATEMENT_COUNT];
extern const char host_cache_schema[];
#define HOST_CACHE_FORMAT "1"                  /* user_version in the schema */
#define HOST_CACHE_APPLICATION_ID "1397770051" /* "SPGC": this database is a cache of ours */

struct host_cache {
    char path[FILE_PATH_SIZE];
    char group[NAME_SIZE];
    int64_t negative_keep_us;
    int64_t page_max;

    sqlite3 *db; /* NULL: not open */
    sqlite3_stmt *prepared[STATEMENT_COUNT];
    int lock_fd;
    dev_t device; /* of the open file, so that a replaced one is noticed */
    ino_t inode;
    int wal_frames;
    int64_t pruned_us;

    bool bypassed;    /* the file cannot be used, and that has been logged */
    int64_t retry_us; /* not before this */
};

/* The file is open and still the one at the path; else it is opened, or gone without. */
bool host_cache_ready(struct host_cache *cache, int64_t boot_us) MUST_CHECK;
/* The same without a log line and without a pause between attempts. Errors: STATUS_IO,
 * STATUS_INVALID, STATUS_BUSY, STATUS_CORRUPT. */
enum status host_cache_try(struct host_cache *cache, struct error *err) MUST_CHECK;
void host_cache_shut(struct host_cache *cache);
/* A statement failed with `rc`. A broken file is made anew at the next use; with anything else we
 * wait. */
void host_cache_give_up(struct host_cache *cache, int rc, int64_t boot_us);
enum status host_cache_sqlite_error(const struct host_cache *cache, int rc,
                                    struct error *err) MUST_CHECK;

/* The numbers under a name, zero when there are none; an SQLite code. The statement is prepared. */
int host_cache_read_state(struct host_cache *cache, const char *name, struct host_state *out);

/* The writers' lock. False when it cannot be had in time. */
bool host_cache_lock(struct host_cache *cache) MUST_CHECK;
void host_cache_unlock(struct host_cache *cache);

#endif
