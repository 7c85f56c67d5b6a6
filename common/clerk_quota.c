/* SPDX-License-Identifier: MIT */
#include "common/clerk_quota.h"

#include "common/ledger.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/banned.h"

/* The names of the shared numbers. */
#define ALL_NAME "clerk"
#define NEW_NAME "clerk-unknown"
#define BULK_NAME "clerk-bulk"
#define WARNED_NAME "clerk-warned"

/* Places in host_state.values of ALL_NAME. */
enum {
    TAT_NS,    /* GCRA of all calls */
    PAUSED_US, /* nobody calls before this */
    FAILURES,  /* in a row */
    OPEN_US,   /* the breaker is open until this; 0: closed */
    PROBE_US,  /* while it is half open: when the probe was sent; 0: none is under way */
};
/* Of NEW_NAME there is the first, of BULK_NAME the first two. Of WARNED_NAME: when it was last said
 * that little is left. */
enum share { SHARE_ALL, SHARE_NEW, SHARE_COUNT };
static const char *const share_names[SHARE_COUNT] = { "all", "new" };

#define BULK_RETRY_US (US_PER_SECOND / 5) /* while the others need what is left */

struct clerk_quota {
    struct host_cache *cache;
    struct rate rate;      /* of all calls */
    struct rate new_rate;  /* what credentials that never were valid may use of it */
    struct rate bulk_rate; /* and work that can wait */
    /* When the file cannot be used: */
    struct host_state own, own_new, own_bulk, own_warned;
    int64_t warned_us[SHARE_COUNT]; /* as far as this process knows */
};

static int64_t
percent_of(int64_t number, int percent)
{
    /* The rate's numbers are far below INT64_MAX / 100; at least one call has to be allowed. */
    return number * percent / 100 > 1 ? number * percent / 100 : 1;
}

static struct rate
share_of(const struct rate *rate, int percent)
{
    struct rate share = *rate;

    share.count = percent_of(rate->count, percent);
    share.burst = percent_of(rate->burst, percent);
    return share;
}

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
    quota->new_rate = share_of(rate, 100 - QUOTA_RESERVED_PERCENT);
    quota->bulk_rate = share_of(rate, QUOTA_BULK_PERCENT);
    quota->bulk_rate.burst = 1;
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

    if (quota->cache == NULL || !host_cache_change(quota->cache, name, how, context, boot_us))
        (void)how(context, own, &until_us);
}

/* ---- little is left -----------------------------------------------------------------------------
 */

struct warning {
    enum share share;
    int64_t boot_us;
    int64_t last_us;
    bool due;
};

static bool
note_warning(void *context, struct host_state *state, int64_t *until_us)
{
    struct warning *warning = context;
    int64_t *last_us = &state->values[warning->share];

    warning->due = *last_us == 0 || warning->boot_us - *last_us >= QUOTA_WARN_US;
    if (warning->due)
        *last_us = warning->boot_us;
    warning->last_us = *last_us;
    *until_us = INT64_MAX;
    return warning->due;
}

/* One line per host and minute; the file is asked only when this process has not seen one. */
static void
warn_when_low(struct clerk_quota *quota, enum share share, const struct rate *rate, int64_t tat_ns,
              int64_t boot_us)
{
    int64_t left = rate_left(rate, tat_ns, boot_us);
    struct warning warning = { .share = share, .boot_us = boot_us };
    int64_t *last_us = &quota->warned_us[share];
    char left_text[24], of_text[24];

    if (left >= percent_of(rate->burst, QUOTA_LOW_PERCENT) ||
        (*last_us != 0 && boot_us - *last_us < QUOTA_WARN_US))
        return;
    change(quota, WARNED_NAME, &quota->own_warned, note_warning, &warning, boot_us);
    *last_us = warning.last_us;
    if (!warning.due)
        return;
    (void)snprintf(left_text, sizeof(left_text), "%lld", (long long)left);
    (void)snprintf(of_text, sizeof(of_text), "%lld", (long long)rate->burst);
    log_event(LOG_WARN, "clerk_quota_low", "share", share_names[share], "left", left_text, "of",
              of_text, "message",
              share == SHARE_NEW
                  ? "calls to Clerk for keys not seen before are nearly used up: those keys will "
                    "get 503; see clerk { rate } and clerk { failure_rate }"
                  : "calls to Clerk are nearly used up: keys will get 503; see clerk { rate } and "
                    "clerk { cache_ttl }",
              NULL);
}

/* ---- taking -------------------------------------------------------------------------------------
 */

struct take {
    const struct rate *rate;
    enum quota_use use;
    int64_t boot_us;
    int64_t tat_ns; /* afterwards */
    int64_t retry_after_us;
    enum quota_answer answer;
};

/* From a part of the rate; with a pause of its own, which only bulk work has. */
static bool
take_share(void *context, struct host_state *state, int64_t *until_us)
{
    struct take *take = context;
    int64_t *values = state->values;
    bool taken = false;

    if (take->boot_us < values[PAUSED_US])
        take->retry_after_us = values[PAUSED_US] - take->boot_us;
    else
        taken = rate_take(take->rate, &values[TAT_NS], take->boot_us, &take->retry_after_us);
    take->answer = taken ? QUOTA_GRANTED : QUOTA_PAUSED;
    take->tat_ns = values[TAT_NS];
    *until_us = take->boot_us + QUOTA_PAUSE_MAX_US + take->rate->per_us;
    return taken;
}

/* Whether the breaker lets this call through; it becomes the probe of a half-open one, unless its
 * outcome will be no sign. */
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
    if (take->use != QUOTA_FOR_BULK)
        values[PROBE_US] = take->boot_us;
    return true;
}

static bool
bulk_may_go(struct take *take, int64_t tat_ns)
{
    int64_t left = rate_left(take->rate, tat_ns, take->boot_us);

    if (take->use != QUOTA_FOR_BULK || left * 100 > take->rate->burst * QUOTA_BULK_LEAVES_PERCENT)
        return true;
    take->retry_after_us = BULK_RETRY_US;
    return false;
}

static bool
take_call(void *context, struct host_state *state, int64_t *until_us)
{
    struct take *take = context;
    int64_t *values = state->values;

    *until_us = INT64_MAX;
    take->answer = QUOTA_PAUSED;
    take->tat_ns = values[TAT_NS];
    if (take->boot_us < values[PAUSED_US]) {
        take->retry_after_us = values[PAUSED_US] - take->boot_us;
        return false;
    }
    if (!rate_would_allow(take->rate, values[TAT_NS], take->boot_us, &take->retry_after_us) ||
        !bulk_may_go(take, values[TAT_NS]))
        return false;
    if (!pass_breaker(take, values)) {
        take->answer = QUOTA_BROKEN;
        return false;
    }
    (void)rate_take(take->rate, &values[TAT_NS], take->boot_us, &take->retry_after_us);
    take->tat_ns = values[TAT_NS];
    take->answer = QUOTA_GRANTED;
    return true;
}

static bool
take_uncounted(void *context, struct host_state *state, int64_t *until_us)
{
    struct take *take = context;

    *until_us = INT64_MAX;
    take->answer = pass_breaker(take, state->values) ? QUOTA_GRANTED : QUOTA_BROKEN;
    return take->answer == QUOTA_GRANTED;
}

/* The part of the rate that this use is bound to comes first. */
static enum quota_answer
take_part(struct clerk_quota *quota, struct take *take)
{
    take->answer = QUOTA_GRANTED;
    if (take->use == QUOTA_FOR_NEW) {
        take->rate = &quota->new_rate;
        change(quota, NEW_NAME, &quota->own_new, take_share, take, take->boot_us);
        warn_when_low(quota, SHARE_NEW, take->rate, take->tat_ns, take->boot_us);
    } else if (take->use == QUOTA_FOR_BULK) {
        take->rate = &quota->bulk_rate;
        change(quota, BULK_NAME, &quota->own_bulk, take_share, take, take->boot_us);
    }
    return take->answer;
}

enum quota_answer
clerk_quota_take(struct clerk_quota *quota, enum quota_use use, int64_t boot_us,
                 int64_t *retry_after_us)
{
    struct take take = { .use = use, .boot_us = boot_us };

    if (use == QUOTA_FOR_UNCOUNTED) {
        change(quota, ALL_NAME, &quota->own, take_uncounted, &take, boot_us);
    } else if (take_part(quota, &take) == QUOTA_GRANTED) {
        take.rate = &quota->rate;
        change(quota, ALL_NAME, &quota->own, take_call, &take, boot_us);
        warn_when_low(quota, SHARE_ALL, take.rate, take.tat_ns, boot_us);
    }
    *retry_after_us = take.retry_after_us;
    return take.answer;
}

/* ---- reporting ----------------------------------------------------------------------------------
 */

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

/* Nobody else's calls are known to fare as this one did. */
static bool
note_bulk_pause(void *context, struct host_state *state, int64_t *until_us)
{
    const struct report *report = context;

    state->values[PAUSED_US] = report->boot_us + report->retry_after_us;
    *until_us = state->values[PAUSED_US] + US_PER_SECOND;
    return true;
}

void
clerk_quota_report(struct clerk_quota *quota, enum quota_use use, enum quota_report report,
                   int64_t retry_after_us, int64_t boot_us)
{
    struct report note = { .report = report, .boot_us = boot_us, .retry_after_us = retry_after_us };
    struct host_state now;

    if (note.retry_after_us > QUOTA_PAUSE_MAX_US)
        note.retry_after_us = QUOTA_PAUSE_MAX_US;
    if (use == QUOTA_FOR_BULK) {
        if (report == QUOTA_CALL_LIMITED)
            change(quota, BULK_NAME, &quota->own_bulk, note_bulk_pause, &note, boot_us);
        return;
    }
    if (use == QUOTA_FOR_UNCOUNTED && report == QUOTA_CALL_LIMITED)
        note.report = QUOTA_CALL_ANSWERED;
    /* The ordinary case, an answer after an answer, changes nothing and needs no lock. */
    if (note.report == QUOTA_CALL_ANSWERED && quota->cache != NULL &&
        host_cache_read(quota->cache, ALL_NAME, &now, boot_us) && now.values[FAILURES] == 0 &&
        now.values[OPEN_US] == 0)
        return;
    change(quota, ALL_NAME, &quota->own, note_report, &note, boot_us);
    if (note.opened)
        log_event(LOG_ERROR, "clerk_breaker_open", "message",
                  "Clerk does not answer: no call for ten seconds; see the errors before this line",
                  NULL);
    if (note.closed)
        log_event(LOG_INFO, "clerk_breaker_closed", NULL);
}

/* ---- looking in from outside --------------------------------------------------------------------
 */

bool
clerk_quota_peek(const struct host_cache_options *options, const struct rate *rate, int64_t boot_us,
                 struct clerk_quota_state *out)
{
    static const char *const names[] = { ALL_NAME, NEW_NAME, WARNED_NAME };
    const struct rate new_rate = share_of(rate, 100 - QUOTA_RESERVED_PERCENT);
    struct host_state states[sizeof(names) / sizeof(names[0])];
    const int64_t *all = states[0].values;

    if (!host_cache_peek(options, names, sizeof(names) / sizeof(names[0]), states))
        return false;
    out->calls = rate->burst;
    out->calls_left = rate_left(rate, all[TAT_NS], boot_us);
    out->new_calls = new_rate.burst;
    out->new_calls_left = rate_left(&new_rate, states[1].values[TAT_NS], boot_us);
    if (out->new_calls_left > out->calls_left)
        out->new_calls_left = out->calls_left;
    out->low_us = states[2].values[SHARE_ALL];
    out->new_low_us = states[2].values[SHARE_NEW];
    out->pause_us = all[PAUSED_US] > boot_us ? all[PAUSED_US] - boot_us : 0;
    out->breaker_open = all[OPEN_US] != 0;
    return true;
}
