/* SPDX-License-Identifier: MIT */
/*
 * How often this host may call Clerk, counted for all its processes in the cache file: a rate
 * (GCRA) of which a part is reserved for credentials that were valid before, the pause that a 429
 * asks for, and a circuit breaker. When the file cannot be used, each process counts for itself.
 * Source: design document, section 6; clerk-api document, section 8.
 */
#ifndef SPENDGATE_CLERK_QUOTA_H
#define SPENDGATE_CLERK_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/host_cache.h"
#include "common/policy.h"

#define QUOTA_RESERVED_PERCENT 20 /* for credentials that were valid before */
#define QUOTA_BULK_PERCENT 20     /* of the rate, at most, for work that can wait */
#define QUOTA_BULK_LEAVES_PERCENT 50
#define QUOTA_LOW_PERCENT 10               /* with less left a warning is logged ... */
#define QUOTA_WARN_US (60 * US_PER_SECOND) /* ... at most so often by all of a host */
#define BREAKER_FAILURES 5                 /* in a row open it */
#define BREAKER_OPEN_US (10 * US_PER_SECOND)
#define BREAKER_PROBE_US (5 * US_PER_SECOND)     /* a probe not heard of for so long is given up */
#define QUOTA_PAUSE_MAX_US (300 * US_PER_SECOND) /* longest Retry-After that is believed */

struct clerk_quota;

/* `cache` (NULL: this process counts for itself) and `rate` are borrowed until clerk_quota_close.
 * Errors: STATUS_NO_MEMORY. */
enum status clerk_quota_open(struct host_cache *cache, const struct rate *rate,
                             struct clerk_quota **out, struct error *err) MUST_CHECK;
void clerk_quota_close(struct clerk_quota *quota); /* NULL is fine */

/* What a call is for. */
enum quota_use {
    QUOTA_FOR_NEW = 0, /* a credential that never was valid: not the reserved part */
    QUOTA_FOR_KNOWN,   /* one that was valid before */
    /* A call that Clerk does not count (the key set): only the breaker is asked, and its 429 is
     * nobody else's. */
    QUOTA_FOR_UNCOUNTED,
    /* Work that can wait: a steady QUOTA_BULK_PERCENT of the rate, and only while more than
     * QUOTA_BULK_LEAVES_PERCENT is left to the others. It heeds their pause and their breaker, and
     * what comes of it is no sign for them: its 429 stops such calls alone. */
    QUOTA_FOR_BULK,
};

enum quota_answer {
    QUOTA_PAUSED = 0, /* Clerk said 429, or the rate is used up */
    QUOTA_BROKEN,     /* the breaker is open: Clerk does not answer */
    QUOTA_GRANTED,    /* call, and report what came of it */
};

/* May one call be made now? When not granted, `retry_after_us` says when to ask again. */
enum quota_answer clerk_quota_take(struct clerk_quota *quota, enum quota_use use, int64_t boot_us,
                                   int64_t *retry_after_us) MUST_CHECK;

enum quota_report {
    QUOTA_CALL_FAILED = 0, /* no answer, or one that says Clerk is not well */
    QUOTA_CALL_ANSWERED,
    QUOTA_CALL_LIMITED, /* 429: nobody calls before `retry_after_us` is over */
};
void clerk_quota_report(struct clerk_quota *quota, enum quota_use use, enum quota_report report,
                        int64_t retry_after_us, int64_t boot_us);

/* How it stands; for metrics. */
struct clerk_quota_state {
    int64_t calls, calls_left;         /* at once */
    int64_t new_calls, new_calls_left; /* for credentials that never were valid */
    int64_t low_us, new_low_us;        /* when each was last said to be low, boot clock; 0 never */
    int64_t pause_us;                  /* how long Clerk still wants us to wait */
    bool breaker_open;
};
/* From outside, as host_cache_peek has it. */
bool clerk_quota_peek(const struct host_cache_options *options, const struct rate *rate,
                      int64_t boot_us, struct clerk_quota_state *out) MUST_CHECK;

#endif
