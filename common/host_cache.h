/* SPDX-License-Identifier: MIT */
/*
 * What the processes of one host share, in an SQLite file on tmpfs: rows of bytes under a digest
 * (what Clerk said of a credential; see authorizer/verification_cache.h), and small numbers under a
 * name (the quota of calls to Clerk, failed attempts per address). Beside the store, the one door
 * to SQLite.
 *
 * It only ever saves work. A file that is missing, foreign, full, corrupt or on a broken disk is
 * made anew or gone without, with one log line when that begins and one when it ends (a damaged one
 * is kept as `.damaged`); nothing here can turn into an allow. Ages use the boot clock, and rows of
 * an earlier boot are dropped. The file is opened at the first use. Source: design document,
 * sections 5 and 6.
 */
#ifndef SPENDGATE_HOST_CACHE_H
#define SPENDGATE_HOST_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/error.h"

#define HOST_CACHE_KEY_BYTES (16 + SHA256_BYTES)
#define HOST_CACHE_REASON_SIZE 16
#define HOST_STATE_VALUES 5
#define HOST_CACHE_KEEP_US (24 * 3600 * US_PER_SECOND) /* how long a row is kept */
#define HOST_CACHE_RETRY_US (10 * US_PER_SECOND) /* between two attempts to open a broken file */
#define HOST_CACHE_PAGES_MAX 32768               /* 128 MiB */

struct host_cache;

struct host_cache_options {
    const char *path;
    const char *group;        /* files are 0660 and of this group; "" for 0600 */
    int64_t negative_keep_us; /* how long an invalid row that never was valid is of use */
    int64_t page_max;         /* of the file, 4 KiB each; 0: HOST_CACHE_PAGES_MAX */
};

/* Opens nothing yet. Keeps no pointer of `options`. Errors: STATUS_NO_MEMORY, STATUS_OVERFLOW
 * (path). */
enum status host_cache_open(const struct host_cache_options *options, struct host_cache **out,
                            struct error *err) MUST_CHECK;
void host_cache_close(struct host_cache *cache); /* NULL is fine */
/* Whether the file can be used, opening it if it is not open; else it has been logged why. */
bool host_cache_usable(struct host_cache *cache, int64_t boot_us) MUST_CHECK;

/* ---- rows ----------------------------------------------------------------------------------- */

enum host_row_kind {
    HOST_ROW_INVALID = 0, /* no bytes */
    HOST_ROW_VALID = 1,
    HOST_ROW_DOCUMENT = 2, /* bytes that are nobody's credential */
};

struct host_row {
    enum host_row_kind kind;
    int64_t checked_us;                  /* when it was put last, boot clock */
    int64_t verified_us;                 /* when it was put last with bytes; 0: never (for a day) */
    char reason[HOST_CACHE_REASON_SIZE]; /* of HOST_ROW_INVALID */
};

/* Find a row, and append its bytes. False when it is not there, its bytes do not fit or are not
 * what was put under this key, or the file cannot be used; `out` is then an invalid one that never
 * was valid. */
bool host_cache_get(struct host_cache *cache, const uint8_t key[HOST_CACHE_KEY_BYTES],
                    int64_t boot_us, struct host_row *out, struct buf *bytes) MUST_CHECK;
/* `kind` is not HOST_ROW_INVALID. */
void host_cache_put(struct host_cache *cache, const uint8_t key[HOST_CACHE_KEY_BYTES],
                    enum host_row_kind kind, const void *bytes, size_t length, int64_t boot_us);
/* Its bytes go; when it was last valid stays. `reason` has less than HOST_CACHE_REASON_SIZE
 * bytes. */
void host_cache_put_invalid(struct host_cache *cache, const uint8_t key[HOST_CACHE_KEY_BYTES],
                            const char *reason, int64_t boot_us);

/* ---- numbers -------------------------------------------------------------------------------- */

/* A few numbers under a name, changed by one process at a time; all zero at first. A purge forgets
 * names with a colon. */
struct host_state {
    int64_t values[HOST_STATE_VALUES];
};

/*
 * Let `change` alter the numbers; it returns whether they are to be kept, and until when
 * (`*until_us`, boot clock: the row may be dropped after that). False when the file cannot be used:
 * `change` was not called, or its changes are lost.
 */
bool host_cache_change(struct host_cache *cache, const char *name,
                       bool (*change)(void *context, struct host_state *state, int64_t *until_us),
                       void *context, int64_t boot_us);
/* The numbers as they are; false when the file cannot be used. */
bool host_cache_read(struct host_cache *cache, const char *name, struct host_state *out,
                     int64_t boot_us);

/* ---- looking after it ----------------------------------------------------------------------- */

/* Work put off until the answer is out: drop old rows, checkpoint. Cheap when there is nothing to
 * do. */
void host_cache_after(struct host_cache *cache, int64_t boot_us);

/*
 * Forget every row, and the numbers whose names have a colon (the quota's stay: its calls were
 * made). `rows` is how many there were. Errors: the file cannot be used (STATUS_IO,
 * STATUS_INVALID, STATUS_BUSY, STATUS_CORRUPT); unlike elsewhere here nothing is logged.
 */
enum status host_cache_purge(struct host_cache *cache, int64_t boot_us, int64_t *rows,
                             struct error *err) MUST_CHECK;
#define HOST_CACHE_PURGED_WITHIN_US US_PER_SECOND /* how soon everybody has noticed it */
/* When that was done last (boot clock); 0: not since the machine started, or the file cannot be
 * used. */
int64_t host_cache_purged_us(struct host_cache *cache, int64_t boot_us);

/*
 * The numbers of `count` names, from outside: the file is opened for reading and closed again, is
 * never made nor waited for, and nothing is logged. False when there is none, or none of ours, or
 * none of this boot.
 */
bool host_cache_peek(const struct host_cache_options *options, const char *const *names,
                     size_t count, struct host_state *out) MUST_CHECK;

#endif
