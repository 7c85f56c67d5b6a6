/* SPDX-License-Identifier: MIT */
#include "common/clerk_quota.h"

#include "common/ledger.h"
#include "common/log.h"

#include <stdlib.h>

#include "common/banned.h"

#define STATE_NAME "clerk"
#define RATE_UNKNOWN_NAME "clerk-unknown"

/* Places in host_state.values of STATE_NAME. */
enum {
    TAT_NS,    /* GCRA of all calls */
    PAUSED_US, /* nobody calls before this */
    FAILURES,  /* in a row */
    OPEN_US,   /* the breaker is open until this; 0: closed */
    PROBE_US,  /* while it is half open: when the probe was sent; 0: none is under way */
};
#define UNKNOWN_TAT_NS \
    0 /* of RATE_UNKNOWN_NAME: GCRA of the calls for credentials never valid before */

struct clerk_quota {
    struct host_cache *cache;
    struct rate rate;         /* of all calls */
    struct rate unknown_rate; /* what the others may use of it */
    struct host_state own;    /* when the file cannot be used */
    struct host_state own_unknown;
};

enum status
clerk_quota_open(struct host_cache *cache, const struct rate *rate, struct clerk_quota **out,
                 struct error *err)
{
    struct clerk_quota *quota = calloc(1, sizeof(*quota));

    *out = NULL;
    if (quota == NULL)
        return error_set(err, STATUS_NO_MEMORY, "quota: out of memory");
    quota->cache = cache;
    quota->rate = *rate;
    quota->unknown_rate = *rate;
    quota->unknown_rate.count = rate->count * (100 - QUOTA_RESERVED_PERCENT) / 100;
    quota->unknown_rate.burst = rate->burst * (100 - QUOTA_RESERVED_PERCENT) / 100;
    if (quota->unknown_rate.count < 1)
        quota->unknown_rate.count = 1;
    if (quota->unknown_rate.burst < 1)
        quota->unknown_rate.burst = 1;
    *out = quota;
    return STATUS_OK;
}

void
clerk_quota_close(struct clerk_quota *quota)
{
    free(quota);
}

/* Change the shared numbers, or our own copy when they cannot be had. */
static void
change(struct clerk_quota *quota, const char *name, struct host_state *own,
       bool (*how)(void *context, struct host_state *state, int64_t *until_us), void *context,
       int64_t boot_us)
{
    int64_t until_us = 0;

    if (!host_cache_change(quota->cache, name, how, context, boot_us))
        (void)how(context, own, &until_us);
}

struct take {
    const struct rate *rate;
    int64_t boot_us;
    int64_t retry_after_us;
    enum quota_answer answer;
};

static bool
take_unknown(void *context, struct host_state *state, int64_t *until_us)
{
    struct take *take = context;
    bool taken =
        rate_take(take->rate, &state->values[UNKNOWN_TAT_NS], take->boot_us, &take->retry_after_us);

    take->answer = taken ? QUOTA_GRANTED : QUOTA_PAUSED;
    *until_us = take->boot_us + take->rate->per_us;
    return taken;
}

/* Whether the breaker lets this call through; it becomes the probe of a half-open one. */
static bool
pass_breaker(struct take *take, int64_t values[HOST_STATE_VALUES])
{
    if (values[OPEN_US] == 0)
        return true;
    if (take->boot_us < values[OPEN_US]) {
        take->retry_after_us = values[OPEN_US] - take->boot_us;
        return false;
    }
    if (values[PROBE_US] != 0 && take->boot_us - values[PROBE_US] < BREAKER_PROBE_US) {
        take->retry_after_us = US_PER_SECOND;
        return false;
    }
    values[PROBE_US] = take->boot_us;
    return true;
}

static bool
take_call(void *context, struct host_state *state, int64_t *until_us)
{
    struct take *take = context;
    int64_t *values = state->values;

    *until_us = INT64_MAX;
    take->answer = QUOTA_PAUSED;
    if (take->boot_us < values[PAUSED_US]) {
        take->retry_after_us = values[PAUSED_US] - take->boot_us;
        return false;
    }
    if (!rate_would_allow(take->rate, values[TAT_NS], take->boot_us, &take->retry_after_us))
        return false;
    if (!pass_breaker(take, values)) {
        take->answer = QUOTA_BROKEN;
        return false;
    }
    (void)rate_take(take->rate, &values[TAT_NS], take->boot_us, &take->retry_after_us);
    take->answer = QUOTA_GRANTED;
    return true;
}

enum quota_answer
clerk_quota_take(struct clerk_quota *quota, bool known, int64_t boot_us, int64_t *retry_after_us)
{
    struct take take = { .rate = &quota->unknown_rate, .boot_us = boot_us };

    if (!known) {
        change(quota, RATE_UNKNOWN_NAME, &quota->own_unknown, take_unknown, &take, boot_us);
        *retry_after_us = take.retry_after_us;
        if (take.answer != QUOTA_GRANTED)
            return take.answer;
    }
    take = (struct take){ .rate = &quota->rate, .boot_us = boot_us };
    change(quota, STATE_NAME, &quota->own, take_call, &take, boot_us);
    *retry_after_us = take.retry_after_us;
    return take.answer;
}

static bool
take_uncounted(void *context, struct host_state *state, int64_t *until_us)
{
    struct take *take = context;

    *until_us = INT64_MAX;
    take->answer = pass_breaker(take, state->values) ? QUOTA_GRANTED : QUOTA_BROKEN;
    return take->answer == QUOTA_GRANTED;
}

enum quota_answer
clerk_quota_take_uncounted(struct clerk_quota *quota, int64_t boot_us, int64_t *retry_after_us)
{
    struct take take = { .rate = &quota->rate, .boot_us = boot_us };

    change(quota, STATE_NAME, &quota->own, take_uncounted, &take, boot_us);
    *retry_after_us = take.retry_after_us;
    return take.answer;
}

struct report {
    enum quota_report report;
    int64_t retry_after_us;
    int64_t boot_us;
    bool opened, closed; /* by this report */
};

static bool
note_answer(struct report *report, int64_t values[HOST_STATE_VALUES])
{
    bool news = values[FAILURES] != 0 || values[OPEN_US] != 0;

    report->closed = values[OPEN_US] != 0;
    values[FAILURES] = 0;
    values[OPEN_US] = 0;
    values[PROBE_US] = 0;
    if (report->report != QUOTA_CALL_LIMITED)
        return news;
    if (values[PAUSED_US] < report->boot_us + report->retry_after_us)
        values[PAUSED_US] = report->boot_us + report->retry_after_us;
    return true;
}

static bool
note_report(void *context, struct host_state *state, int64_t *until_us)
{
    struct report *report = context;
    int64_t *values = state->values;

    *until_us = INT64_MAX;
    if (report->report != QUOTA_CALL_FAILED)
        return note_answer(report, values);
    values[FAILURES]++;
    if (values[FAILURES] >= BREAKER_FAILURES) {
        report->opened = values[OPEN_US] == 0;
        values[OPEN_US] = report->boot_us + BREAKER_OPEN_US;
        values[PROBE_US] = 0;
    }
    return true;
}

void
clerk_quota_report(struct clerk_quota *quota, enum quota_report report, int64_t retry_after_us,
                   int64_t boot_us)
{
    struct report note = { .report = report, .boot_us = boot_us, .retry_after_us = retry_after_us };
    struct host_state now;

    if (note.retry_after_us > QUOTA_PAUSE_MAX_US)
        note.retry_after_us = QUOTA_PAUSE_MAX_US;
    /* The ordinary case, an answer after an answer, changes nothing and needs no lock. */
    if (report == QUOTA_CALL_ANSWERED && host_cache_read(quota->cache, STATE_NAME, &now, boot_us) &&
        now.values[FAILURES] == 0 && now.values[OPEN_US] == 0)
        return;
    change(quota, STATE_NAME, &quota->own, note_report, &note, boot_us);
    if (note.opened)
        log_event(LOG_ERROR, "clerk_breaker_open", "message",
                  "Clerk does not answer: no call for ten seconds; see the errors before this line",
                  NULL);
    if (note.closed)
        log_event(LOG_INFO, "clerk_breaker_closed", NULL);
}
