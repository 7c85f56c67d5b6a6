/* SPDX-License-Identifier: MIT */
/*
 * What the processes of one host know together about credentials: an SQLite file (on tmpfs), keyed
 * by the SHA-256 of the credential. Also the small states that they share: the quota of calls to
 * Clerk, failed attempts per address. The authorizer's one door to SQLite.
 *
 * It only ever saves work. A file that is missing, foreign, full, corrupt or on a broken disk is
 * made anew or gone without, with one log line when that begins and one when it ends (a damaged one
 * is kept as `.damaged`); nothing here can turn into an allow. Ages use the boot clock, and rows of
 * an earlier boot are dropped. The file is opened at the first use. Source: design document,
 * sections 5 and 6.
 */
#ifndef SPENDGATE_VERIFICATION_CACHE_H
#define SPENDGATE_VERIFICATION_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "authorizer/identity.h"
#include "common/clock.h"
#include "common/crypto.h"
#include "common/error.h"

#define CACHE_SCOPE_BYTES 16
#define CACHE_REASON_SIZE 16
#define CACHE_STATE_VALUES 5
#define CACHE_KEEP_US (24 * 3600 * US_PER_SECOND) /* how long "was verified here" is remembered */
#define CACHE_RETRY_US (10 * US_PER_SECOND)       /* between two attempts to open a broken file */

struct verification_cache;

struct cache_options {
    const char *path;
    const char *group; /* files are 0660 and of this group; "" for 0600 */
    /* What the answers depend on beside the credential (Clerk instance, plans, ...): rows of
     * another scope are not seen. */
    uint8_t scope[CACHE_SCOPE_BYTES];
    int64_t negative_keep_us; /* how long a row that never was valid is of use */
    int64_t page_max;         /* of the file, 4 KiB each; 0: CACHE_PAGES_MAX */
};
#define CACHE_PAGES_MAX 32768 /* 128 MiB */

struct cache_entry {
    bool found;                     /* there is a row */
    bool valid;                     /* the last answer was: valid. Only then `identity` is set */
    int64_t checked_us;             /* of the last answer, boot clock */
    int64_t verified_us;            /* of the last answer that was valid; 0: never (for a day) */
    char reason[CACHE_REASON_SIZE]; /* of an invalid one that once was valid: "revoked", "expired";
                                       or "" */
    struct identity identity;
};

/* Opens nothing yet. Keeps no pointer of `options`. Errors: STATUS_NO_MEMORY, STATUS_OVERFLOW
 * (path). */
enum status cache_open(const struct cache_options *options, struct verification_cache **out,
                       struct error *err) MUST_CHECK;
void cache_close(struct verification_cache *cache); /* NULL is fine */

/* Look a credential up. `found` is false when it is not there or the file cannot be used. */
void cache_get(struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
               int64_t boot_us, struct cache_entry *out);
void cache_put_valid(struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
                     const struct identity *identity, int64_t boot_us);
void cache_put_invalid(struct verification_cache *cache, const uint8_t digest[SHA256_BYTES],
                       const char *reason, int64_t boot_us);

/* A text of ours that the processes share, for a day: Clerk's key set. Names are no credential's
 * text: they hold a colon. */
#define CACHE_DOCUMENT_MAX 65536
/* Append it to `out`, and say when it was put (boot clock); false when there is none that fits. */
bool cache_document_get(struct verification_cache *cache, const char *name, int64_t boot_us,
                        struct buf *out, int64_t *put_us);
void cache_document_put(struct verification_cache *cache, const char *name, const char *text,
                        size_t length, int64_t boot_us);

/* A few numbers under a name, changed by one process at a time; all zero at first. */
struct cache_state {
    int64_t values[CACHE_STATE_VALUES];
};
/*
 * Let `change` alter the numbers; it returns whether they are to be kept, and until when
 * (`*until_us`, boot clock: the row may be dropped after that). False when the file cannot be used:
 * `change` was not called, or its changes are lost.
 */
bool cache_state_change(struct verification_cache *cache, const char *name,
                        bool (*change)(void *context, struct cache_state *state, int64_t *until_us),
                        void *context, int64_t boot_us);
/* The numbers as they are; false when the file cannot be used. */
bool cache_state_read(struct verification_cache *cache, const char *name, struct cache_state *out,
                      int64_t boot_us);

/* Work put off until the answer is out: drop old rows, checkpoint. Cheap when there is nothing to
 * do. */
void cache_after(struct verification_cache *cache, int64_t boot_us);

#endif
