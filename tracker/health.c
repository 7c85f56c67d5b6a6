/* SPDX-License-Identifier: MIT */
#include "tracker/health.h"

#include "common/clerk_quota.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/money.h"

#include <string.h>

#include "common/banned.h"

/* Periods, holds and credits are only as right as the clock. A machine that says it is earlier than
 * this program has no time yet; one that differs this much from the database's has a wrong one. */
#define CLOCK_EARLIEST_US (INT64_C(1767225600) * US_PER_SECOND) /* 2026-01-01 */
#define CLOCK_DIFFERENCE_MAX_US (5 * US_PER_SECOND)
#define METRICS_SIZE 8192
#define DAY_US (86400 * US_PER_SECOND)

void
health_live(struct call *call)
{
    call->answer->http_status = 200;
    answer_add_text(call->answer, "{\"status\":\"ok\"}");
}

/* What keeps us from working, as a refusal that says it. */
static void
check_ready(struct call *call, struct refusal *refusal)
{
    const int64_t machine_us = call->now_us;
    struct store *store = NULL;
    struct error err;
    enum status status = call_open_store(call, &store, &err);

    if (status == STATUS_OK)
        status = store_check(store, &err);
    if (status != STATUS_OK) {
        refusal_set(refusal, 503, "store_unavailable", "store: %s", err.message);
        call_store_failed(call, &err, refusal);
    } else if (machine_us < CLOCK_EARLIEST_US ||
               machine_us > call->now_us + CLOCK_DIFFERENCE_MAX_US ||
               machine_us < call->now_us - CLOCK_DIFFERENCE_MAX_US) {
        refusal_set(refusal, 503, "clock_wrong",
                    "clock: this machine's time is wrong; is its time service running?");
    }
}

/* As the authorizers of this host see Clerk, by their cache file; false where there is none. */
static bool
look_at_clerk(const struct call *call, int64_t boot_us, struct clerk_quota_state *out)
{
    const struct settings *settings = call->tracker->settings;
    const struct host_cache_options cache = { .path = settings->cache_path,
                                              .group = settings->store_group };

    return clerk_quota_peek(&cache, &settings->clerk.rate, boot_us, out);
}

void
health_ready(struct call *call)
{
    struct refusal refusal = { .http_status = 0 };
    const struct clock clock = clock_system();
    const char *told = "unknown"; /* no authorizer has run on this host */
    struct clerk_quota_state clerk;

    check_ready(call, &refusal);
    if (refused(&refusal)) {
        call_refuse(call, &refusal);
        return;
    }
    call->answer->http_status = 200;
    answer_add_text(call->answer, "{\"status\":\"ready\",\"store\":\"ok\",\"clerk\":\"");
    /* Told, and no reason to send posts elsewhere: the money of what was allowed has to come in. */
    if (look_at_clerk(call, clock_boot_us(&clock), &clerk))
        told = clerk.breaker_open ? "breaker_open" : "ok";
    answer_add_text(call->answer, told);
    answer_add_text(call->answer, "\",\"clock\":\"ok\"}");
}

/* ---- metrics -------------------------------------------------------------------------------- */

struct metrics {
    int64_t now_us;
    int64_t accounts;
    int64_t holds, held_nanos;    /* live ones */
    int64_t charges, spent_nanos; /* of today, UTC */
};

static bool
count_account(void *context, const char *name)
{
    struct metrics *metrics = context;

    (void)name;
    metrics->accounts++;
    return true;
}

static bool
count_hold(void *context, const struct hold *hold, const char *account)
{
    struct metrics *metrics = context;

    (void)account;
    /* An expired one may not have been journalled yet. */
    if (hold->expires_us <= metrics->now_us)
        return true;
    metrics->holds++;
    /* Each is at most MONEY_MAX_NANOS; a sum that would wrap stays where it is. */
    (void)__builtin_add_overflow(metrics->held_nanos, hold->amount_nanos, &metrics->held_nanos);
    return true;
}

static bool
count_day(void *context, const struct report_row *row)
{
    struct metrics *metrics = context;

    metrics->charges += row->charge_count;
    metrics->spent_nanos += row->spent_nanos;
    return true;
}

static enum status
metrics_read(struct store *store, struct metrics *metrics, struct error *err)
{
    const int64_t day_us = metrics->now_us - metrics->now_us % DAY_US;
    enum status status = store_account_names(store, "", INT32_MAX, count_account, metrics, err);

    if (status == STATUS_OK)
        status = store_holds(store, NULL, HOLD_HELD, INT32_MAX, count_hold, metrics, err);
    if (status == STATUS_OK)
        status = store_report(store, REPORT_DAY, day_us, INT64_MAX, count_day, metrics, err);
    return status;
}

static void
add_metric(struct buf *out, const char *name, const char *help, int64_t value, bool money)
{
    buf_add_format(out, "# HELP %s %s\n# TYPE %s gauge\n%s ", name, help, name, name);
    if (!money) {
        buf_add_int(out, value);
    } else {
        if (value < 0)
            buf_add_char(out, '-');
        money_add_usd(out, value < 0 ? -value : value);
    }
    buf_add_char(out, '\n');
}

struct share_metric {
    const char *name, *help;
    int64_t all, of_new;
};

static void
add_share_metric(struct buf *out, const struct share_metric *metric)
{
    buf_add_format(out, "# HELP %s %s\n# TYPE %s gauge\n", metric->name, metric->help,
                   metric->name);
    buf_add_format(out, "%s{share=\"all\"} %lld\n", metric->name, (long long)metric->all);
    buf_add_format(out, "%s{share=\"new\"} %lld\n", metric->name, (long long)metric->of_new);
}

/* When something was on the boot clock, as Unix time; 0 stays 0. */
static int64_t
unix_seconds(int64_t then_boot_us, int64_t boot_us, int64_t now_us)
{
    return then_boot_us == 0 ? 0 : (now_us - (boot_us - then_boot_us)) / US_PER_SECOND;
}

static void
clerk_metrics_write(struct buf *out, const struct clerk_quota_state *clerk, int64_t boot_us,
                    int64_t now_us)
{
    const struct share_metric metrics[] = {
        { "spendgate_clerk_quota_calls",
          "Calls to Clerk that this host may make at once: by all, and for credentials not valid "
          "before.",
          clerk->calls, clerk->new_calls },
        { "spendgate_clerk_quota_remaining_calls", "How many of them are left now.",
          clerk->calls_left, clerk->new_calls_left },
        { "spendgate_clerk_quota_low_timestamp_seconds",
          "When the log last warned that less than a tenth was left, 0 for never.",
          unix_seconds(clerk->low_us, boot_us, now_us),
          unix_seconds(clerk->new_low_us, boot_us, now_us) },
    };

    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
        add_share_metric(out, &metrics[i]);
    add_metric(out, "spendgate_clerk_pause_seconds", "How long Clerk's Retry-After still holds.",
               (clerk->pause_us + US_PER_SECOND - 1) / US_PER_SECOND, false);
    add_metric(out, "spendgate_clerk_breaker_open",
               "Whether calls to Clerk are held back because it did not answer.",
               clerk->breaker_open, false);
}

static void
metrics_write(struct buf *out, const struct metrics *metrics)
{
    buf_add(out, "# HELP spendgate_info The running version.\n# TYPE spendgate_info gauge\n"
                 "spendgate_info{version=\"" PACKAGE_VERSION "\"} 1\n");
    add_metric(out, "spendgate_store_up", "Whether the store answers.", 1, false);
    add_metric(out, "spendgate_accounts", "Accounts in the store.", metrics->accounts, false);
    add_metric(out, "spendgate_holds_live", "Holds that are neither settled, voided nor expired.",
               metrics->holds, false);
    add_metric(out, "spendgate_held_usd", "Money set aside by them, in USD.", metrics->held_nanos,
               true);
    add_metric(out, "spendgate_charges_today", "Charges and refunds posted since 00:00 UTC.",
               metrics->charges, false);
    add_metric(out, "spendgate_spent_usd_today",
               "Charges minus refunds posted since 00:00 UTC, in USD.", metrics->spent_nanos, true);
}

void
health_metrics(struct call *call)
{
    struct refusal refusal = { .http_status = 0 };
    struct store *store = call_store(call, &refusal);
    struct metrics metrics = { .now_us = call->now_us };
    const struct clock clock = clock_system();
    const int64_t boot_us = clock_boot_us(&clock);
    struct clerk_quota_state clerk;
    char storage[METRICS_SIZE];
    struct error err;
    struct buf text;

    if (store != NULL && metrics_read(store, &metrics, &err) != STATUS_OK)
        call_listing_failed(call, &err, &refusal);
    if (refused(&refusal)) {
        call_refuse(call, &refusal);
        return;
    }
    buf_init(&text, storage, sizeof(storage));
    metrics_write(&text, &metrics);
    if (look_at_clerk(call, boot_us, &clerk))
        clerk_metrics_write(&text, &clerk, boot_us, clock_now_us(&clock));
    call->answer->http_status = 200;
    call->answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
    answer_add_buf(call->answer, &text);
}
