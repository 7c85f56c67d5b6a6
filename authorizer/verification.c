/* SPDX-License-Identifier: MIT */
#include "authorizer/verification.h"

#include "authorizer/flight.h"
#include "authorizer/identity_memory.h"
#include "authorizer/jwks.h"
#include "common/clerk_http.h"
#include "common/clerk_quota.h"
#include "common/ledger.h"
#include "common/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define WAITING_WITHOUT_MASTER 4
#define RETRY_US US_PER_SECOND

struct verification {
    const struct settings *settings;
    struct store *store;
    const struct verifier *const *rows;
    struct clock clock;
    struct host_cache *host;
    struct verification_cache cache;
    struct flight *flight;
    struct clerk_quota *quota;
    struct clerk_http *http; /* made at the first use */
    struct jwks *keys;
    struct identity_memory *memory;
    int64_t purged_us;        /* what was learned before this is forgotten, boot clock */
    int64_t purge_looked_us;  /* when that was looked up */
    struct cache_entry entry; /* of the credential in hand */
    struct verifier_finding finding;
};

/* ---- opening ------------------------------------------------------------------------------------
 */

int
verification_slots(const struct clerk_settings *clerk, int workers)
{
    if (clerk->max_waiting > 0)
        return clerk->max_waiting > INT32_MAX ? INT32_MAX : (int)clerk->max_waiting;
    if (workers == 0)
        return WAITING_WITHOUT_MASTER;
    return workers / 2 > 1 ? workers / 2 : 1;
}

static void
mix(uint8_t sum[SHA256_BYTES], const void *bytes, size_t length)
{
    uint8_t item[SHA256_BYTES];

    crypto_hmac_sha256(sum, SHA256_BYTES, bytes, length, item);
    memcpy(sum, item, SHA256_BYTES);
}

static void
mix_text(uint8_t sum[SHA256_BYTES], const char *text)
{
    mix(sum, text, strlen(text));
}

/* Whatever an identity depends on beside its credential. Under other settings it is another
 * identity. */
static void
make_scope(const struct settings *settings, uint8_t scope[CACHE_SCOPE_BYTES])
{
    const struct clerk_settings *clerk = &settings->clerk;
    const struct policy *policy = &settings->policy;
    uint8_t sum[SHA256_BYTES] = { 0 };

    mix_text(sum, clerk->api_url);
    mix(sum, clerk->secret_key.bytes, clerk->secret_key.length);
    mix(sum, clerk->jwt_key.bytes, clerk->jwt_key.length);
    mix_text(sum, clerk->issuer);
    mix_text(sum, clerk->machine_id);
    mix(sum, &clerk->accept, sizeof(clerk->accept));
    mix(sum, &clerk->key_scopes, sizeof(clerk->key_scopes));
    for (size_t i = 0; i < clerk->authorized_parties.count; i++)
        mix_text(sum, clerk->authorized_parties.items[i]);
    mix_text(sum, "claims");
    for (size_t i = 0; i < clerk->pass_claims.count; i++)
        mix_text(sum, clerk->pass_claims.items[i]);
    for (size_t i = 0; i < policy->plan_count; i++) {
        const struct plan *plan = &policy->plans[i];

        mix_text(sum, "plan");
        mix_text(sum, plan->name);
        mix_text(sum, plan->parent_claim);
        for (size_t match = 0; match < plan->match_count; match++)
            mix_text(sum, plan->matches[match]);
    }
    mix_text(sum, policy->default_plan);
    memcpy(scope, sum, CACHE_SCOPE_BYTES);
}

static enum status
open_clerk(struct verification *v, struct error *err)
{
    if (v->http != NULL)
        return STATUS_OK;
    return clerk_http_open(
        &(struct clerk_http_options){ .api_url = v->settings->clerk.api_url,
                                      .secret_key = &v->settings->clerk.secret_key,
                                      .connect_timeout_us = v->settings->clerk.connect_timeout_us,
                                      .clock = v->clock,
                                      .quota = v->quota },
        &v->http, err);
}

/* For the key set. */
static enum status
ask_clerk(void *context, const struct clerk_call *call, struct clerk_answer *out, struct error *err)
{
    struct verification *v = context;
    enum status status = open_clerk(v, err);

    return status == STATUS_OK ? clerk_http_call(v->http, call, out, err) : status;
}

static enum status
open_shared(struct verification *v, const struct verification_options *options, struct error *err)
{
    const struct settings *settings = options->settings;
    const struct host_cache_options cache = { .path = settings->cache_path,
                                              .group = settings->store_group,
                                              .negative_keep_us = settings->clerk.negative_ttl_us };
    char path[FILE_PATH_SIZE + 16];
    struct buf text;
    enum status status;

    status = host_cache_open(&cache, &v->host, err);
    if (status != STATUS_OK)
        return status;
    v->cache.host = v->host;
    make_scope(settings, v->cache.scope);
    status = clerk_quota_open(v->host, &settings->clerk.rate, &v->quota, err);
    if (status != STATUS_OK)
        return status;
    buf_init(&text, path, sizeof(path));
    buf_add(&text, settings->cache_path);
    buf_add(&text, ".waiting");
    assert(!buf_failed(&text));
    return flight_open(
        &(struct flight_options){ .path = path,
                                  .group = settings->store_group,
                                  .slots = verification_slots(&settings->clerk, options->workers),
                                  .clock = options->clock },
        &v->flight, err);
}

enum status
verification_open(const struct verification_options *options, struct verification **out,
                  struct error *err)
{
    enum status status = verifier_check_settings(options->rows, options->settings, err);
    struct verification *v;
    bool loopback;

    *out = NULL;
    if (status != STATUS_OK)
        return status;
    if (!clerk_url_allowed(options->settings->clerk.api_url, &loopback))
        return error_set(err, STATUS_INVALID,
                         "clerk { api_url } must be https, or http to a loopback address");
    v = calloc(1, sizeof(*v));
    if (v == NULL)
        return error_set(err, STATUS_NO_MEMORY, "verification: out of memory");
    v->settings = options->settings;
    v->store = options->store;
    v->rows = options->rows;
    v->clock = options->clock;
    status = open_shared(v, options, err);
    if (status == STATUS_OK)
        status = jwks_open(&(struct jwks_options){ .pem = &options->settings->clerk.jwt_key,
                                                   .cache = &v->cache,
                                                   .flight = v->flight,
                                                   .clock = v->clock,
                                                   .ask = ask_clerk,
                                                   .context = v },
                           &v->keys, err);
    if (status == STATUS_OK)
        status = identity_memory_open(VERIFICATION_REMEMBERED, &v->memory, err);
    if (status != STATUS_OK) {
        verification_close(v);
        return status;
    }
    *out = v;
    return STATUS_OK;
}

void
verification_close(struct verification *v)
{
    if (v == NULL)
        return;
    jwks_close(v->keys);
    clerk_http_close(v->http);
    clerk_quota_close(v->quota);
    flight_close(v->flight);
    host_cache_close(v->host);
    identity_memory_close(v->memory);
    free(v);
}

bool
verification_has_cache(struct verification *v)
{
    return host_cache_usable(v->host, clock_boot_us(&v->clock));
}

void
verification_after(struct verification *v)
{
    jwks_after(v->keys, v->settings->clerk.timeout_us);
    host_cache_after(v->host, clock_boot_us(&v->clock));
}

/* ---- what is known already ----------------------------------------------------------------------
 */

/* `spendgate cache purge` speaks to us through the file, which the hot path does not read. */
static void
notice_purge(struct verification *v, int64_t boot_us)
{
    int64_t purged_us;

    if (boot_us - v->purge_looked_us < HOST_CACHE_PURGED_WITHIN_US)
        return;
    if (v->purge_looked_us == 0) { /* nothing is known yet: a plain CGI process looks never */
        v->purge_looked_us = boot_us;
        return;
    }
    v->purge_looked_us = boot_us;
    purged_us = host_cache_purged_us(v->host, boot_us);
    if (purged_us <= v->purged_us)
        return;
    v->purged_us = purged_us;
    jwks_forget(v->keys, purged_us);
}

static bool
is_usable(const struct identity *identity, int64_t newer_than, int64_t now_us)
{
    return identity->expires_us > now_us && identity->verification > newer_than;
}

const struct identity *
verification_recall(struct verification *v, const uint8_t digest[SHA256_BYTES], int64_t newer_than,
                    int64_t now_us)
{
    int64_t boot_us = clock_boot_us(&v->clock);
    const struct identity *identity;

    notice_purge(v, boot_us);
    identity = identity_memory_get(v->memory, digest);
    if (identity == NULL || identity->verified_us <= v->purged_us ||
        !is_usable(identity, newer_than, now_us) ||
        boot_us - identity->verified_us >= v->settings->clerk.cache_ttl_us)
        return NULL;
    return identity;
}

static void
answer_valid(struct verification *v, const struct verification_query *query,
             const struct identity *identity, struct verification_answer *out)
{
    identity_memory_put(v->memory, query->digest, identity);
    out->identity = identity;
    out->outcome = VERIFICATION_VALID;
}

static void
answer_invalid(struct verification *v, const struct verification_query *query, const char *reason,
               struct verification_answer *out)
{
    identity_memory_remove(v->memory, query->digest);
    out->outcome = VERIFICATION_INVALID;
    if (!text_copy(out->reason, sizeof(out->reason), reason))
        out->reason[0] = '\0';
}

/* Read the file's row into v->entry. True when it answers the query: it is fresh, or as new as the
 * query itself. */
static bool
answer_from_file(struct verification *v, const struct verification_query *query, int64_t started_us,
                 struct verification_answer *out)
{
    const struct clerk_settings *clerk = &v->settings->clerk;
    struct cache_entry *entry = &v->entry;
    int64_t boot_us = clock_boot_us(&v->clock);
    int64_t ttl_us;

    cache_get(&v->cache, query->digest, boot_us, entry);
    if (entry->found && entry->checked_us <= v->purged_us)
        entry->found = false; /* asked before the purge, put after it */
    if (!entry->found)
        return false;
    ttl_us = entry->valid ? clerk->cache_ttl_us : clerk->negative_ttl_us;
    if (boot_us - entry->checked_us >= ttl_us && entry->checked_us < started_us)
        return false;
    if (!entry->valid) {
        answer_invalid(v, query, entry->reason, out);
        return true;
    }
    if (entry->identity.kind != query->kind ||
        !is_usable(&entry->identity, query->newer_than, query->now_us))
        return false;
    answer_valid(v, query, &entry->identity, out);
    return true;
}

/* Clerk could not be asked: perhaps the operator prefers an old answer. */
static void
answer_stale(struct verification *v, const struct verification_query *query,
             struct verification_answer *out, const struct error *err)
{
    const struct clerk_settings *clerk = &v->settings->clerk;
    const struct identity *identity = &v->entry.identity;
    int64_t age_us;

    if (!v->entry.found || !v->entry.valid || clerk->stale_if_error_us == 0)
        return;
    age_us = clock_boot_us(&v->clock) - identity->verified_us;
    if (age_us >= clerk->cache_ttl_us + clerk->stale_if_error_us || identity->kind != query->kind ||
        !is_usable(identity, query->newer_than, query->now_us))
        return;
    log_event(LOG_WARN, "stale_identity", "subject", identity->subject, "key_id", identity->key_id,
              "message", err->message, NULL);
    out->identity = identity;
    out->outcome = VERIFICATION_VALID;
}

/* ---- failures per address -----------------------------------------------------------------------
 */

#define FAILURES_NAME_SIZE (CLIENT_ADDRESS_TEXT_SIZE + 8)

static void
failures_name(const struct client_address *address, char out[FAILURES_NAME_SIZE])
{
    char text[CLIENT_ADDRESS_TEXT_SIZE];
    struct buf name;

    client_address_name(address, text);
    buf_init(&name, out, FAILURES_NAME_SIZE);
    buf_add(&name, "failed:");
    buf_add(&name, text);
    assert(!buf_failed(&name));
}

static bool
failed_too_often(struct verification *v, const struct client_address *address,
                 int64_t *retry_after_us)
{
    const struct rate *rate = &v->settings->clerk.failure_rate;
    int64_t boot_us = clock_boot_us(&v->clock);
    char name[FAILURES_NAME_SIZE];
    struct host_state state;

    if (rate->count == 0)
        return false;
    failures_name(address, name);
    return host_cache_read(v->host, name, &state, boot_us) &&
           !rate_would_allow(rate, state.values[0], boot_us, retry_after_us);
}

struct failure {
    const struct rate *rate;
    int64_t boot_us;
};

static bool
count_one(void *context, struct host_state *state, int64_t *until_us)
{
    const struct failure *failure = context;
    int64_t retry_after_us;

    (void)rate_take(failure->rate, &state->values[0], failure->boot_us, &retry_after_us);
    *until_us = state->values[0] / 1000 + 1;
    return true;
}

static void
count_failure(struct verification *v, const struct client_address *address)
{
    struct failure failure = { &v->settings->clerk.failure_rate, clock_boot_us(&v->clock) };
    char name[FAILURES_NAME_SIZE];

    if (failure.rate->count == 0)
        return;
    failures_name(address, name);
    (void)host_cache_change(v->host, name, count_one, &failure, failure.boot_us);
}

/* ---- asking -------------------------------------------------------------------------------------
 */

/* Ask the verifier. The number is read first: a `reverify` that comes while we ask must not be
 * missed. */
static void
ask(struct verification *v, const struct verifier *verifier, const struct verification_query *query,
    int64_t deadline_us, struct verification_answer *out, struct error *err)
{
    struct verifier_finding *finding = &v->finding;
    struct verifier_question question = { .credential = query->credential,
                                          .kind = query->kind,
                                          .known = v->entry.found && v->entry.verified_us > 0,
                                          .now_us = query->now_us,
                                          .deadline_us = deadline_us };
    struct verifier_tools tools = { .settings = v->settings };
    int64_t number = 0;
    int64_t boot_us;

    if (store_verification_number(v->store, &number, err) != STATUS_OK)
        return;
    if (verifier->asks_clerk && open_clerk(v, err) != STATUS_OK)
        return;
    tools.clerk = v->http;
    tools.keys = v->keys;
    finding->retry_after_us = 0;
    finding->why.message[0] = '\0';
    finding->identity.scopes[0] = '\0';
    boot_us = clock_boot_us(&v->clock); /* ages count from before the question */
    if (verifier->check(&tools, &question, finding, err) != STATUS_OK) {
        if (finding->retry_after_us > 0)
            out->retry_after_us = finding->retry_after_us;
        return;
    }
    if (!finding->valid) {
        /* One that is judged here costs no call and cannot be guessed: it is not counted. Expired
         * session tokens are an ordinary thing. */
        if (verifier->asks_clerk) {
            cache_put_invalid(&v->cache, query->digest, finding->reason, boot_us);
            count_failure(v, &query->address);
        }
        answer_invalid(v, query, finding->reason, out);
        out->why = finding->why;
        return;
    }
    finding->identity.verification = number;
    finding->identity.verified_us = boot_us;
    if (verifier->asks_clerk)
        cache_put_valid(&v->cache, query->digest, &finding->identity, boot_us);
    answer_valid(v, query, &finding->identity, out);
}

/* With a slot: wait for whoever asks about the same credential, and take his answer, or ask. */
static void
ask_alone(struct verification *v, const struct verifier *verifier,
          const struct verification_query *query, int64_t started_us,
          struct verification_answer *out, struct error *err)
{
    int64_t deadline_us = started_us + v->settings->clerk.timeout_us;

    if (!flight_join(v->flight, query->digest, deadline_us)) {
        (void)error_set(
            err, STATUS_BUSY,
            "another process still asks Clerk about this credential: see clerk { timeout }");
        return;
    }
    if (!answer_from_file(v, query, started_us, out))
        ask(v, verifier, query, deadline_us, out, err);
    flight_leave(v->flight);
}

static void
check_with_clerk(struct verification *v, const struct verifier *verifier,
                 const struct verification_query *query, struct verification_answer *out,
                 struct error *err)
{
    int64_t started_us = clock_boot_us(&v->clock);
    bool known;

    if (answer_from_file(v, query, started_us, out))
        return;
    known = v->entry.found && v->entry.verified_us > 0;
    if (!known && failed_too_often(v, &query->address, &out->retry_after_us)) {
        out->outcome = VERIFICATION_TOO_MANY;
        (void)error_set(err, STATUS_BUSY, "too many failed attempts from this address");
        return;
    }
    if (flight_take_slot(v->flight, known)) {
        ask_alone(v, verifier, query, started_us, out, err);
        flight_give_slot(v->flight);
    } else {
        (void)error_set(err, STATUS_BUSY, "clerk { max_waiting } processes wait for Clerk already");
    }
    if (out->outcome == VERIFICATION_UNAVAILABLE)
        answer_stale(v, query, out, err);
}

void
verification_check(struct verification *v, const struct verification_query *query,
                   struct verification_answer *out, struct error *err)
{
    const struct verifier *verifier = verifier_find(v->rows, query->kind, query->credential->form);

    *out = (struct verification_answer){ .outcome = VERIFICATION_UNAVAILABLE,
                                         .retry_after_us = RETRY_US };
    (void)error_set(err, STATUS_INTERNAL, "the verification did not say why it failed");
    v->entry.found = false;
    notice_purge(v, clock_boot_us(&v->clock));
    if (verifier == NULL)
        answer_invalid(v, query, "", out);
    else if (verifier->asks_clerk)
        check_with_clerk(v, verifier, query, out, err);
    else
        ask(v, verifier, query, clock_boot_us(&v->clock) + v->settings->clerk.timeout_us, out, err);
    assert((out->outcome == VERIFICATION_VALID) == (out->identity != NULL));
}
