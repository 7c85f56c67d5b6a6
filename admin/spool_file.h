/* SPDX-License-Identifier: MIT */
/*
 * One post that a client could not deliver, as it lies in a spool folder:
 *
 *     {"version":1,"path":"/v1/spend","token_sha256":"…","spooled_at":"2026-11-21T06:12:05Z","body":{…}}
 *
 * `body` is the post itself and `token_sha256` says in whose name it was sent, which is where the
 * tracker keeps its idempotency key. Source: clients/php, clients/perl; contract, section 10.
 */
#ifndef SPENDGATE_SPOOL_FILE_H
#define SPENDGATE_SPOOL_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "common/crypto.h"
#include "common/refusal.h"
#include "common/spend_post.h"

#define SPOOL_FILE_MAX (1024 * 1024) /* the tracker takes no larger post either */

enum spool_file {
    SPOOL_CORRUPT, /* not what a client writes, or cut off */
    SPOOL_REFUSED, /* a post that the tracker would refuse as well */
    SPOOL_GOOD,
};

struct spool_post {
    uint8_t token_sha256[SHA256_BYTES];
    int64_t spooled_us;             /* when the client gave up, by its own clock */
    char key[IDEMPOTENCY_KEY_SIZE]; /* "" none: the hold is the key */
    struct spend_post post;
};

/*
 * Read a file's text. Unless it is SPOOL_GOOD, `refusal` has the reason and `out` is not to be
 * used. A post with neither a hold_id nor an idempotency key is corrupt: it would count again with
 * each replay.
 */
enum spool_file spool_file_parse(const char *text, size_t length, int64_t max_charge_nanos,
                                 struct spool_post *out, struct refusal *refusal) MUST_CHECK;

#endif
