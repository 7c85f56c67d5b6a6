/* SPDX-License-Identifier: MIT */
#include "tests/sim/world.h"

#include <stdio.h>
#include <string.h>

#include "common/banned.h"

#define MINUTE_US (INT64_C(60) * 1000000)

const char *const sim_accounts[ACCOUNTS] = {
    "key:ak_1", "key:ak_2", "key:ak_3", "key:ak_4", "user_a",
    "user_b",   "mch_m",    "org_o",    "group:g",  "all",
};
const enum period_kind sim_kinds[KINDS] = { PERIOD_HOUR, PERIOD_DAY, PERIOD_MONTH, PERIOD_NONE };
const struct sim_credential sim_credentials[CREDENTIALS] = {
    { KEY_1, USER_A, ORGANIZATION, NOBODY },
    { KEY_2, USER_A, ORGANIZATION, NOBODY },
    { KEY_3, USER_B, ORGANIZATION, GROUP },
    { KEY_4, MACHINE, NOBODY, NOBODY },
};

int
sim_chain(int credential, int out[CHAIN_MAX])
{
    const struct sim_credential *c = &sim_credentials[credential];
    const int all[CHAIN_MAX] = { c->key, c->subject, c->organization, c->parent, ALL };
    int count = 0;

    for (int i = 0; i < CHAIN_MAX; i++) {
        if (all[i] != NOBODY)
            out[count++] = all[i];
    }
    return count;
}

static struct plan_budget *
budget_add(struct plan *plan, enum budget_per per, enum period_kind kind, int64_t limit_nanos)
{
    struct plan_budget *b = &plan->budgets[plan->budget_count++];

    snprintf(b->name, sizeof(b->name), "%s%zu", period_kind_name(kind), plan->budget_count);
    b->per = per;
    b->spec.kind = kind;
    snprintf(b->spec.timezone, sizeof(b->spec.timezone), "UTC");
    b->spec.anchor_day = b->spec.week_start = 1;
    b->limit_nanos = limit_nanos;
    b->alert_count = 3;
    b->alerts[0] = 50;
    b->alerts[1] = 90;
    b->alerts[2] = 120;
    return b;
}

static void
rate_set(struct rate *rate, int64_t count, int64_t per_us, int64_t burst)
{
    *rate = (struct rate){ .count = count, .per_us = per_us, .burst = burst };
    snprintf(rate->text, sizeof(rate->text), "%d/%ds", (int)count, (int)(per_us / 1000000));
}

int64_t
world_scale(uint64_t seed)
{
    return seed % 8 == 5 ? INT64_C(100000000000) : 1;
}

void
world_init(struct world *world, uint64_t seed)
{
    static const char *const names[PLANS] = { "pro", "free", "loose" };
    struct plan *p = world->plans;

    memset(world, 0, sizeof(*world));
    for (int i = 0; i < PLANS; i++)
        snprintf(p[i].name, sizeof(p[i].name), "%s", names[i]);
    budget_add(&p[0], PER_SUBJECT, PERIOD_DAY, 600);
    budget_add(&p[0], PER_KEY, PERIOD_HOUR, 200);
    budget_add(&p[0], PER_ORG, PERIOD_MONTH, 9000);
    p[0].concurrency = 4;
    rate_set(&p[0].rate, 30, MINUTE_US, 5);
    budget_add(&p[1], PER_SUBJECT, PERIOD_DAY, 300)->overage = OVERAGE_CARRY;
    budget_add(&p[1], PER_SUBJECT, PERIOD_NONE, 4000);
    budget_add(&p[1], PER_ORG, PERIOD_DAY, 500)->enforce = ENFORCE_WARN;
    p[1].expires_in_us = INT64_C(20) * 24 * 60 * MINUTE_US;
    rate_set(&p[1].rate, 7, MINUTE_US, 7);
    rate_set(&p[1].key_rate, 1000000, 1000, 1000000);
    budget_add(&p[2], PER_SUBJECT, PERIOD_HOUR, 150)->enforce = ENFORCE_OFF;
    budget_add(&p[2], PER_SUBJECT, PERIOD_MONTH, 5000);
    rate_set(&p[2].org_rate, 100, MINUTE_US, 3);
    rate_set(&p[2].key_rate, 1000000, 1000, 1000000);
    world->routes[0].hold.set = true;
    snprintf(world->routes[0].prefix, sizeof(world->routes[0].prefix), "/");
    world->policy = (struct policy){
        .plans = world->plans, .plan_count = PLANS, .routes = world->routes, .route_count = 1
    };
    world->charge_on_expiry = seed % 3 == 1;
    for (int i = 0; i < PLANS; i++) {
        for (size_t b = 0; b < p[i].budget_count; b++)
            p[i].budgets[b].limit_nanos *= world_scale(seed);
    }
}

bool
world_plan_limits(const struct world *world, int plan, int account, enum period_kind kind)
{
    for (size_t i = 0; plan != NOBODY && i < world->plans[plan].budget_count; i++) {
        const struct plan_budget *b = &world->plans[plan].budgets[i];

        if (b->spec.kind != kind)
            continue;
        if ((b->per == PER_KEY && account <= KEY_4) ||
            (b->per == PER_SUBJECT && account >= USER_A && account <= MACHINE) ||
            (b->per == PER_ORG && (account == ORGANIZATION || account == MACHINE)))
            return true; /* the machine has no organization */
    }
    return false;
}

int
warnings_count(const char *warn)
{
    int count = warn[0] != '\0';

    for (; *warn != '\0'; warn++)
        count += *warn == ',';
    return count;
}
