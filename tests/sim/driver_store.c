/* SPDX-License-Identifier: MIT */
/*
 * The real store, on a real SQLite file in a throwaway folder. A crash is a process of its own that
 * opens the file, starts the operation and is killed at some moment; whether it was done, nobody is
 * told, as in life.
 */
#include "tests/sim/world.h"

#include <assert.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/banned.h"

#define IDEMPOTENCY_TTL_US (INT64_C(100) * 86400 * 1000000)
#define NAME_SIZE 32
#define HOLDS_LISTED SIM_OPS_MAX
#define KILL_WITHIN_US 600 /* what an operation takes, and some */

struct shop {
    const struct world *world;
    char folder[64], url[128];
    struct store *store;
    int op_of_hold[SIM_OPS_MAX * 2]; /* by the hold's number: operation + 1 */
    struct hold holds[SIM_OPS_MAX];  /* by operation */
    char charges[SIM_OPS_MAX][PUBLIC_ID_SIZE];
    char replies[SIM_OPS_MAX][64];
    uint64_t kills;
    struct result result;
    struct ledger ledger;
};

static struct store_options
options_of(const struct shop *shop)
{
    return (struct store_options){ .url = shop->url,
                                   .group = "",
                                   .policy = &shop->world->policy,
                                   .hold_ttl_us = SIM_HOLD_TTL_US,
                                   .charge_on_expiry = shop->world->charge_on_expiry,
                                   .idempotency_ttl_us = IDEMPOTENCY_TTL_US,
                                   .create = true };
}

static struct store *
open_or_abort(const struct shop *shop)
{
    struct store_options options = options_of(shop);
    struct store *store;
    struct error err;

    if (store_open(&options, &store, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    return store;
}

static void
setup(struct shop *shop, const char *account, enum account_change change, const char *text)
{
    const struct actor actor = { "sim", NULL };
    struct error err;

    if (store_account_change(shop->store, account, change, 0, text, &actor, SIM_START_US,
                             &shop->result, &err) != STATUS_OK)
        abort();
}

static void *
store_driver_open(const struct world *world)
{
    struct shop *shop = calloc(1, sizeof(*shop));
    const char *temporary = getenv("TMPDIR");

    if (shop == NULL)
        abort();
    shop->world = world;
    snprintf(shop->folder, sizeof(shop->folder), "%s/spendgate-sim-XXXXXX",
             temporary != NULL ? temporary : "/tmp");
    if (mkdtemp(shop->folder) == NULL)
        abort();
    snprintf(shop->url, sizeof(shop->url), "sqlite:%s/s.db", shop->folder);
    shop->store = open_or_abort(shop);
    setup(shop, sim_accounts[USER_B], ACCOUNT_FREEZE, NULL); /* makes it */
    setup(shop, sim_accounts[USER_B], ACCOUNT_UNFREEZE, NULL);
    setup(shop, sim_accounts[USER_B], ACCOUNT_PARENT, sim_accounts[GROUP]);
    return shop;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void
store_driver_close(void *state)
{
    struct shop *shop = state;

    store_close(shop->store);
    nftw(shop->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(shop);
}

static int
account_named(const char *name)
{
    for (int i = 0; i < ACCOUNTS; i++) {
        if (strcmp(sim_accounts[i], name) == 0)
            return i;
    }
    return NOBODY;
}

static void
verdict_tell(struct shop *shop, const struct verdict *v, int number, struct answer *out)
{
    out->allow = v->allow;
    out->reason = v->reason;
    out->account = v->allow ? NOBODY : account_named(v->account);
    out->has_budget = v->has_budget;
    out->retry_after_us = v->allow ? 0 : v->retry_after_us;
    out->expired_us = v->expired_us;
    if (v->reason == REASON_BUDGET) {
        out->limit = v->limit_nanos;
        out->spent = v->spent_nanos;
        out->held = v->held_nanos;
    }
    if (v->allow)
        out->remaining = v->remaining_nanos;
    out->warned = warnings_count(v->warn);
    if (v->hold_placed) {
        int *op = &shop->op_of_hold[v->hold.id];

        if (*op == 0)
            *op = number + 1;
        out->hold_op = *op - 1;
        out->hold_nanos = v->hold.amount_nanos;
        out->hold_expires_us = v->hold.expires_us;
        shop->holds[*op - 1] = v->hold;
    }
}

static enum status
run_admit(struct shop *shop, struct store *store, const struct op *op, int64_t now_us,
          struct answer *out, struct error *err)
{
    const struct sim_credential *who = &sim_credentials[op->credential];
    struct chain_names names = { 0 };
    char unique_id[NAME_SIZE];
    struct admission ask = { .names = &names,
                             .plan = &shop->world->plans[op->plan],
                             .route = &shop->world->routes[0],
                             .unique_id = unique_id };
    struct verdict verdict;
    enum status status = store_verification_number(store, &ask.verification, err);

    if (status != STATUS_OK)
        return status;
    ask.verification -= op->stale && ask.verification > 0;
    memset(ask.credential, op->credential, sizeof(ask.credential));
    snprintf(unique_id, sizeof(unique_id), "op%d", op->kind == OP_AGAIN ? op->ref : op->number);
    snprintf(names.key_id, sizeof(names.key_id), "%s", sim_accounts[who->key] + strlen("key:"));
    snprintf(names.subject, sizeof(names.subject), "%s", sim_accounts[who->subject]);
    if (who->organization != NOBODY)
        snprintf(names.organization, sizeof(names.organization), "%s",
                 sim_accounts[who->organization]);
    status = store_admit(store, &ask, now_us, &verdict, err);
    if (status == STATUS_OK)
        verdict_tell(shop, &verdict, op->number, out);
    return status;
}

/* The answer's bytes: the charge's id, which is all that is asked of them. */
static void
write_reply(void *context, const struct result *result, struct buf *out)
{
    char id[PUBLIC_ID_SIZE];

    (void)context;
    public_id_format("chg_", result->charge.id > 0 ? result->charge.id : 1, result->charge.nonce,
                     id);
    buf_add(out, id);
}

static enum result_word
word_of(enum outcome outcome)
{
    switch (outcome) {
    case OUTCOME_DONE:
        return WORD_DONE;
    case OUTCOME_REPLAYED:
        return WORD_REPLAYED;
    case OUTCOME_DENIED:
        return WORD_DENIED;
    case OUTCOME_HOLD_SETTLED:
    case OUTCOME_HOLD_VOIDED:
    case OUTCOME_REFUND_EXCEEDS:
        return WORD_CONFLICT;
    default:
        return WORD_UNKNOWN;
    }
}

static void
hold_text(const struct shop *shop, int op, char out[PUBLIC_ID_SIZE])
{
    public_id_format("hld_", shop->holds[op].id, shop->holds[op].nonce, out);
}

/* A call with a reply; `key` is the operation's own idempotency key, "" none. */
static enum status
run_call(struct shop *shop, struct store *store, const struct op *op, int64_t now_us, char *bytes,
         struct error *err)
{
    const struct reply_writer writer = { write_reply, NULL };
    char key[NAME_SIZE], hold_id[PUBLIC_ID_SIZE];
    struct idempotency idempotency = { .scope = "sim", .key = key };
    struct spend spend = { .cost_nanos = op->amount_nanos, .token = "sim" };
    struct credit_request credit = { .account = sim_accounts[op->account],
                                     .amount_nanos = op->amount_nanos,
                                     .period = sim_kinds[op->period],
                                     .expires_us = op->until_us > 0 ? now_us + op->until_us : 0,
                                     .boost = op->until_us > 0 };
    const struct actor actor = { "sim", "" };
    struct buf reply;

    buf_init(&reply, bytes, 64);
    snprintf(key, sizeof(key), "op%d", op->number);
    switch (op->kind) {
    case OP_SETTLE:
        hold_text(shop, op->ref, hold_id);
        spend.hold_id = hold_id;
        return store_spend(store, &spend, NULL, &writer, now_us, &shop->result, &reply, err);
    case OP_SPEND:
        spend.subject = sim_accounts[sim_credentials[op->credential].subject];
        spend.key_id = sim_accounts[sim_credentials[op->credential].key] + strlen("key:");
        return store_spend(store, &spend, &idempotency, &writer, now_us, &shop->result, &reply,
                           err);
    case OP_VOID:
        hold_text(shop, op->ref, hold_id);
        return store_hold_void(store, hold_id, NULL, &writer, now_us, &shop->result, &reply, err);
    case OP_EXTEND:
        hold_text(shop, op->ref, hold_id);
        return store_hold_extend(store, hold_id, op->amount_nanos, &idempotency, &writer, now_us,
                                 &shop->result, &reply, err);
    case OP_REFUND:
        return store_refund(store, shop->charges[op->ref], op->amount_nanos, "sim", "",
                            &idempotency, &writer, now_us, &shop->result, &reply, err);
    default:
        return store_credit(store, &credit, &actor, &idempotency, &writer, now_us, &shop->result,
                            &reply, err);
    }
}

static enum status
run_admin(struct shop *shop, struct store *store, const struct op *op, int64_t now_us,
          struct error *err)
{
    const char *account = sim_accounts[op->account];
    const struct actor actor = { "sim", "" };
    enum enforce enforce = (enum enforce)op->enforce;

    if (op->kind == OP_BUDGET_SET)
        return store_budget_set(store, account, sim_kinds[op->period], op->amount_nanos,
                                op->enforce < 0 ? NULL : &enforce, &actor, now_us, &shop->result,
                                err);
    if (op->kind == OP_BUDGET_CLEAR)
        return store_budget_clear(store, account, sim_kinds[op->period], &actor, now_us,
                                  &shop->result, err);
    return store_account_change(store, account, op->change,
                                op->until_us == 0 ? 0 : now_us + op->until_us, NULL, &actor, now_us,
                                &shop->result, err);
}

static enum status
run_once(struct shop *shop, struct store *store, const struct op *op, int64_t now_us,
         struct answer *out, char *reply, struct error *err)
{
    enum status status;

    *out = (struct answer){ .account = NOBODY, .hold_op = NOBODY };
    out->thresholds = out->overruns = out->expired_holds = -1;
    if (op->kind == OP_ADMIT || op->kind == OP_AGAIN)
        return run_admit(shop, store, op, now_us, out, err);
    if (op->kind == OP_PLAN_EDIT) {
        out->word = WORD_DONE;
        return STATUS_OK;
    }
    if (op->kind >= OP_SETTLE && op->kind <= OP_CREDIT)
        status = run_call(shop, store, op, now_us, reply, err);
    else
        status = run_admin(shop, store, op, now_us, err);
    if (status != STATUS_OK)
        return status;
    out->word = word_of(shop->result.outcome);
    if (op->kind == OP_EXTEND && (out->word == WORD_DONE || out->word == WORD_DENIED))
        verdict_tell(shop, &shop->result.verdict, op->ref, out);
    if (out->word == WORD_DONE && (op->kind == OP_SETTLE || op->kind == OP_SPEND)) {
        out->over = shop->result.effect.over_budget;
        out->overrun = shop->result.effect.overrun_nanos;
    }
    return STATUS_OK;
}

/* Somebody else does it, and is killed at some moment once the store is open. */
static void
run_killed(struct shop *shop, const struct op *op, int64_t now_us)
{
    int ready[2];
    char byte, reply[64];
    pid_t pid;

    if (pipe(ready) != 0 || (pid = fork()) < 0)
        abort();
    if (pid == 0) {
        struct store *store = open_or_abort(shop);
        struct answer ignored;

        if (write(ready[1], "", 1) == 1)
            (void)run_once(shop, store, op, now_us, &ignored, reply, &(struct error){ 0 });
        _exit(0);
    }
    if (read(ready[0], &byte, 1) == 1) {
        shop->kills = shop->kills * UINT64_C(6364136223846793005) + 1;
        usleep((useconds_t)((shop->kills >> 33) % KILL_WITHIN_US));
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

static bool
store_driver_run(void *state, const struct op *op, int64_t now_us, bool lose, struct answer *out,
                 char *problem, size_t problem_size)
{
    struct shop *shop = state;
    struct error err = { 0 };
    char reply[64] = "";

    if (lose) {
        run_killed(shop, op, now_us);
        return true;
    }
    if (run_once(shop, shop->store, op, now_us, out, reply, &err) != STATUS_OK) {
        snprintf(problem, problem_size, "%s", err.message);
        return false;
    }
    store_after(shop->store);
    if (out->word != WORD_DONE && out->word != WORD_REPLAYED)
        return true;
    if (out->word == WORD_REPLAYED && op->kind != OP_SETTLE &&
        shop->replies[op->number][0] != '\0' && strcmp(shop->replies[op->number], reply) != 0) {
        snprintf(problem, problem_size, "I4: the answer was %s, the repeated one is %s",
                 shop->replies[op->number], reply);
        return false;
    }
    memcpy(shop->replies[op->number], reply, sizeof(reply));
    if (op->kind == OP_SETTLE || op->kind == OP_SPEND)
        snprintf(shop->charges[op->number], PUBLIC_ID_SIZE, "%.*s", PUBLIC_ID_SIZE - 1, reply);
    return true;
}

static int
store_driver_counters(void *state, int account, int64_t now_us, struct counter out[COUNTERS_MAX],
                      int64_t *live_holds)
{
    struct shop *shop = state;
    char parent[ACCOUNT_NAME_SIZE];
    struct error err;
    enum status status =
        store_account_load(shop->store, sim_accounts[account], now_us, &shop->ledger, parent, &err);
    int count = 0;

    if (status == STATUS_NOT_FOUND)
        return -1;
    assert(status == STATUS_OK);
    *live_holds = shop->ledger.accounts[0].live_holds;
    for (size_t i = 0; i < shop->ledger.line_count; i++) {
        const struct budget_line *line = &shop->ledger.lines[i];

        out[count++] = (struct counter){ .kind = line->spec.kind,
                                         .start_us = line->period.start_us,
                                         .spent = line->spent_nanos,
                                         .held = line->held_nanos };
    }
    return count;
}

struct search {
    int64_t id;
    bool found;
};

static bool
search_hold(void *context, const struct hold *hold, const char *account)
{
    struct search *search = context;

    (void)account;
    search->found = hold->id == search->id;
    return !search->found;
}

static enum hold_state
store_driver_hold_state(void *state, int op)
{
    struct shop *shop = state;

    for (int s = HOLD_HELD; s <= HOLD_EXPIRED; s++) {
        struct search search = { shop->holds[op].id, false };
        struct error err;

        if (store_holds(shop->store, NULL, (enum hold_state)s, HOLDS_LISTED, search_hold, &search,
                        &err) == STATUS_OK &&
            search.found)
            return (enum hold_state)s;
    }
    return (enum hold_state)99; /* lost */
}

struct complaint {
    char *text;
    size_t size;
};

static void
note_difference(void *context, const char *invariant, const char *text)
{
    const struct complaint *complaint = context;

    snprintf(complaint->text, complaint->size, "verify: %s: %s", invariant, text);
}

static bool
store_driver_restart(void *state, int64_t now_us, char *problem, size_t problem_size)
{
    struct shop *shop = state;
    struct complaint complaint = { problem, problem_size };
    struct verify_summary summary;
    struct error err;

    store_close(shop->store);
    shop->store = open_or_abort(shop);
    if (store_verify(shop->store, now_us, note_difference, &complaint, &summary, &err) !=
        STATUS_OK) {
        snprintf(problem, problem_size, "verify: %s", err.message);
        return false;
    }
    return summary.differences == 0;
}

const struct driver sim_driver_store = {
    .name = "store",
    .is_store = true,
    .open = store_driver_open,
    .close = store_driver_close,
    .run = store_driver_run,
    .counters = store_driver_counters,
    .hold_state = store_driver_hold_state,
    .restart = store_driver_restart,
};
