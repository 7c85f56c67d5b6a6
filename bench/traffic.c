/* SPDX-License-Identifier: MIT */
/*
 * What requests get from a store while something else goes on in it (a prune, a verify, a dump):
 *
 *   bench/traffic URL [SECONDS [PROCESSES [ACCOUNTS [PAUSE_MS]]]]
 *
 * Each process admits with a hold, settles it, and pauses, as the customers of bench/years do. It
 * prints for both how long they took, and how many were refused with an error (a 503).
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/store.h"

#include "common/banned.h"

#define PROCESSES_MAX 64
#define TIMES_MAX 200000 /* of a process and a kind */
#define DAY_US (INT64_C(86400) * US_PER_SECOND)

enum { ADMIT, SETTLE, KINDS };
static const char *const kind_names[] = { "admission", "settlement" };

struct times {
    int count;
    int32_t us[TIMES_MAX];
};

/* Seen by all processes. */
struct shared {
    _Atomic int errors[KINDS], refused;
    struct times times[PROCESSES_MAX][KINDS];
};

struct options {
    const char *url;
    int64_t seconds, processes, accounts, pause_ms;
};

static void
set_plan(struct plan *plan, struct policy *policy)
{
    static const enum period_kind kinds[] = { PERIOD_MONTH, PERIOD_DAY };

    (void)!text_copy(plan->name, sizeof(plan->name), "free");
    plan->hold.set = true;
    plan->hold.nanos = 5 * MONEY_NANOS_PER_CENT;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct plan_budget *budget = &plan->budgets[plan->budget_count++];

        budget->spec.kind = kinds[i];
        (void)!text_copy(budget->spec.timezone, sizeof(budget->spec.timezone), "UTC");
        budget->spec.anchor_day = 1;
        budget->spec.week_start = 1;
        period_spec_normalize(&budget->spec);
        budget->limit_nanos = MONEY_MAX_NANOS / 2;
    }
    *policy = (struct policy){ .plans = plan, .plan_count = 1 };
}

/* ---- one process ---------------------------------------------------------------------------- */

struct worker {
    struct store *store;
    struct shared *shared;
    struct times *times; /* by kind */
    struct plan plan;
    struct policy policy;
    struct verdict verdict;
    struct result result;
    char reply_bytes[REPLY_SIZE];
    struct buf reply;
};

static void
took(struct worker *w, int kind, int64_t us, enum status status, const struct error *err)
{
    struct times *times = &w->times[kind];

    if (times->count < TIMES_MAX)
        times->us[times->count++] = (int32_t)(us < INT32_MAX ? us : INT32_MAX);
    if (status != STATUS_OK && w->shared->errors[kind]++ < 3)
        printf("%s: %s\n", kind_names[kind], err->message);
}

static void
write_reply(void *context, const struct result *result, struct buf *out)
{
    (void)context;
    buf_add_format(out, "%lld", (long long)result->charge.id);
}

static void
request(struct worker *w, int64_t account, const struct clock *clock)
{
    const struct reply_writer writer = { write_reply, NULL };
    struct chain_names names = { 0 };
    struct admission ask = {
        .names = &names, .plan = &w->plan, .verification = 1, .unique_id = ""
    };
    struct spend what = { .cost_nanos = 1234567, .token = "php", .model = "model-1" };
    char id[PUBLIC_ID_SIZE];
    struct error err = { 0 };
    int64_t begin = clock_boot_us(clock);
    enum status status;

    snprintf(names.key_id, sizeof(names.key_id), "ak_%lld", (long long)account);
    snprintf(names.subject, sizeof(names.subject), "user_%lld", (long long)account);
    status =
        store_admit(w->store, &ask, store_now_us(w->store, clock_now_us(clock)), &w->verdict, &err);
    took(w, ADMIT, clock_boot_us(clock) - begin, status, &err);
    store_after(w->store);
    if (status != STATUS_OK || !w->verdict.allow) {
        w->shared->refused += status == STATUS_OK;
        return;
    }
    public_id_format("hld_", w->verdict.hold.id, w->verdict.hold.nonce, id);
    what.hold_id = id;
    begin = clock_boot_us(clock);
    status = store_spend(w->store, &what, NULL, &writer,
                         store_now_us(w->store, clock_now_us(clock)), &w->result, &w->reply, &err);
    took(w, SETTLE, clock_boot_us(clock) - begin, status, &err);
    store_after(w->store);
}

static int
work(const struct options *options, struct shared *shared, int index)
{
    const struct clock clock = clock_system();
    const struct timespec pause = { options->pause_ms / 1000, options->pause_ms % 1000 * 1000000 };
    int64_t end = clock_boot_us(&clock) + options->seconds * US_PER_SECOND;
    int64_t account = index * INT64_C(7919);
    struct worker *w = calloc(1, sizeof(*w));
    struct error err = { 0 };

    if (w == NULL)
        return 1;
    set_plan(&w->plan, &w->policy);
    buf_init(&w->reply, w->reply_bytes, sizeof(w->reply_bytes));
    w->shared = shared;
    w->times = shared->times[index];
    const struct store_options store = {
        .url = options->url,
        .group = "",
        .policy = &w->policy,
        .hold_ttl_us = 300 * US_PER_SECOND,
        .idempotency_ttl_us = 32 * DAY_US,
    };
    if (store_open(&store, &w->store, &err) != STATUS_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    for (; clock_boot_us(&clock) < end; account += 104729) {
        request(w, account % options->accounts, &clock);
        nanosleep(&pause, NULL);
    }
    store_close(w->store);
    free(w);
    return 0;
}

/* ---- all of them ---------------------------------------------------------------------------- */

static int
by_size(const void *a, const void *b)
{
    int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;

    return (left > right) - (left < right);
}

static double
ms_at(const int32_t *sorted_us, size_t i)
{
    return sorted_us[i] / 1e3;
}

static void
tell(const struct shared *shared, int kind, int64_t processes)
{
    int32_t *all = calloc((size_t)processes * TIMES_MAX, sizeof(*all));
    size_t count = 0;

    if (all == NULL)
        return;
    for (int64_t i = 0; i < processes; i++) {
        const struct times *times = &shared->times[i][kind];

        memcpy(all + count, times->us, (size_t)times->count * sizeof(*all));
        count += (size_t)times->count;
    }
    qsort(all, count, sizeof(*all), by_size);
    if (count > 0)
        printf("%-10s %7zu, %d errors; p50 %6.2f ms, p99 %6.2f, p99.9 %6.2f, worst %6.2f\n",
               kind_names[kind], count, shared->errors[kind], ms_at(all, count / 2),
               ms_at(all, count * 99 / 100), ms_at(all, count * 999 / 1000), ms_at(all, count - 1));
    free(all);
}

static bool
read_options(int argc, char **argv, struct options *out)
{
    int64_t *const numbers[] = { &out->seconds, &out->processes, &out->accounts, &out->pause_ms };

    if (argc < 2 || argc > 6)
        return false;
    out->url = argv[1];
    for (int i = 2; i < argc; i++) {
        if (!text_to_int64(argv[i], i == 5 ? 0 : 1, 1000000, numbers[i - 2]))
            return false;
    }
    return out->processes <= PROCESSES_MAX;
}

int
main(int argc, char **argv)
{
    struct options options = { NULL, 10, 4, 1000, 5 };
    struct shared *shared;
    int status, failed = 0;

    if (!read_options(argc, argv, &options)) {
        fprintf(stderr, "usage: traffic URL [SECONDS [PROCESSES [ACCOUNTS [PAUSE_MS]]]]\n");
        return 2;
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    fflush(stdout);
    for (int i = 0; i < options.processes; i++) {
        pid_t child = fork();

        if (child < 0)
            return 1;
        if (child == 0) {
            status = work(&options, shared, i);
            fflush(stdout);
            _exit(status);
        }
    }
    while (wait(&status) > 0)
        failed += status != 0;
    for (int kind = 0; kind < KINDS; kind++)
        tell(shared, kind, options.processes);
    if (shared->refused > 0)
        printf("%d were over a budget\n", shared->refused);
    return failed > 0;
}
