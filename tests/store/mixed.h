/* SPDX-License-Identifier: MIT */
/*
 * What a process of the mixed load does (test_store_mixed.c): everything that the programs can ask
 * of a store, at random, on accounts that all have to do with each other.
 */
#ifndef SPENDGATE_TESTS_STORE_MIXED_H
#define SPENDGATE_TESTS_STORE_MIXED_H

#include "common/store.h"
#include "tests/check.h"
#include "tests/scratch.h"

#define CENT MONEY_NANOS_PER_CENT
#define USD MONEY_NANOS_PER_USD
#define OWN_MAX 64      /* holds and charges that a process remembers */
#define CAP (25 * CENT) /* of one account that nothing counts on but holds and their posts */

enum action {
    DO_ADMIT,
    DO_READ,
    DO_CAPPED,
    DO_CAP,
    DO_EXPLAIN,
    DO_SETTLE,
    DO_SPEND,
    DO_SPEND_UNKNOWN,
    DO_VOID,
    DO_EXTEND,
    DO_PLACE,
    DO_REFUND,
    DO_CREDIT,
    DO_BUDGET,
    DO_CLEAR,
    DO_PARENT,
    DO_ACCOUNT,
    DO_BATCH,
    DO_WEBHOOK,
    DO_PRUNE,
    DO_PRICES,
    DO_LOOK,
    DO_LIST,
    ACTIONS
};
struct mixed_action {
    const char *name;
    unsigned weight;
};
extern const struct mixed_action mixed_actions[ACTIONS];

/* Of all processes. */
struct totals {
    int64_t half_us, end_us; /* by the boot clock */
    _Atomic int64_t done[ACTIONS], refused[ACTIONS], busy[ACTIONS], failed[ACTIONS];
    /* Round trips of the admissions and settlements that were done without a retry. */
    _Atomic int64_t trips[ACTIONS][8];
    _Atomic int64_t below_cap, at_cap, past_cap;
};
struct worker {
    struct totals *totals; /* of all processes */
    bool postgres;
    bool prunes; /* one does, as cron would; its pieces hold all others up for a moment */
    struct scratch scratch; /* of SQLite's file */
    char database[64], url[256];
    struct plan plans[3];
    struct policy policy;
    struct store_options options;
    struct store *store;
    struct verdict verdict;
    struct result result;
    struct ledger ledger;
    struct error err;
    char reply_bytes[REPLY_SIZE];
    struct buf reply;
    uint64_t seed;
    size_t hold_count, charge_count; /* ever; the last OWN_MAX are there */
    char holds[OWN_MAX][PUBLIC_ID_SIZE], charges[OWN_MAX][PUBLIC_ID_SIZE];
};

enum action mixed_any(struct worker *f);
enum status mixed_act(struct worker *f, enum action action, int64_t now_us);
/* Counts in totals->past_cap. */
enum status mixed_look_at_cap(struct worker *f, int64_t now_us);

#endif
