/* SPDX-License-Identifier: MIT */
/*
 * One call in hand, and the worker that answers it: what the router gives to the file of each
 * resource, and what those have in common (the store, the body, the answers of the store). Source:
 * contract, section 5; design document, section 2.
 */
#ifndef SPENDGATE_TRACKER_CALL_H
#define SPENDGATE_TRACKER_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/account_json.h"
#include "common/buf.h"
#include "common/fields.h"
#include "common/idempotency.h"
#include "common/ledger.h"
#include "common/request.h"
#include "common/settings.h"
#include "common/store.h"

#include "common/fields.h"
#include "tracker/respond.h"

#define TRACKER_BODY_MAX (1024 * 1024)
#define TRACKER_TARGET_SIZE 8192 /* longest path, and longest query */
#define TRACKER_CAPTURES 2
#define CALL_REQUEST_ID_BYTES 12 /* random; twice as many hex digits */
#define PAGE_LIMIT_DEFAULT 100
#define PAGE_LIMIT_MAX 1000
#define LISTING_MS 15000 /* how long a listing or report may keep a worker */
#define LISTING_RETRY_S 30

/* A worker's context: nothing here outlives one request but the store and the storage. */
struct tracker {
    const struct settings *settings;
    struct store *store; /* NULL until a request needs it, and after it failed */
    struct answer answer;
    struct ledger ledger; /* of an account that is read */
    char body[TRACKER_BODY_MAX + 1];
    char path[TRACKER_TARGET_SIZE];     /* as it came, for the log */
    char segments[TRACKER_TARGET_SIZE]; /* cut and decoded */
    char allow[64];
    char query[TRACKER_TARGET_SIZE];
    char json[ACCOUNT_JSON_SIZE]; /* one answer of the store, or one element of a listing */
};

/* What a body may be; a call that takes none accepts an empty one of any type. */
enum body_type { BODY_EMPTY, BODY_JSON, BODY_FORM, BODY_NDJSON, BODY_OTHER };

struct call {
    struct tracker *tracker;
    struct request *request;
    const char *captures[TRACKER_CAPTURES]; /* what stood in the path for each "*" */
    const struct tracker_token *token;      /* NULL where none is needed */
    const char *actor;                      /* name of the token, "" without one */
    char request_id[REQUEST_ID_SIZE];
    int64_t now_us;
    bool clock_read; /* now_us is the store's already */
    struct buf body;
    enum body_type body_type;
    struct answer *answer;
};

/* Answer with a refusal and write its log line. */
void call_refuse(struct call *call, const struct refusal *refusal);
/* The log line alone, for a refusal inside an answer (batch). */
void call_log(const struct call *call, const struct refusal *refusal);

/* The store, opened when this is the first request that needs it, with `call->now_us` as its clock
 * has it; NULL after a failure, which is then the refusal. */
struct store *call_store(struct call *call, struct refusal *refusal);
/* The same with the store's own words. */
enum status call_open_store(struct call *call, struct store **out, struct error *err) MUST_CHECK;
/* A store function failed: 503 store_unavailable with Retry-After, and its own words to the log. A
 * store that is not there any more is closed, so that the next request opens it again. */
void call_store_failed(struct call *call, const struct error *err, struct refusal *refusal);
/* The same for a listing or report, which may also have taken longer than LISTING_MS. */
void call_listing_failed(struct call *call, const struct error *err, struct refusal *refusal);
/* 503 for want of memory. */
void call_no_memory(struct refusal *refusal);
/* What an outcome other than DONE and REPLAYED says to the client. */
void call_outcome(const struct call *call, const struct result *result, struct refusal *refusal);

/* The members of the body. Refusals: 415 and those of fields.h. Clear `fields` in any case. */
void call_fields(struct call *call, struct fields *fields, struct refusal *refusal);
/* The name list of a call that takes no members, for fields_only. */
extern const char *const call_no_names[];
/* The members of the query string. */
void call_query(struct call *call, struct fields *fields, struct refusal *refusal);
/* The path's account name; "" and 404 unknown_account when it cannot be one. */
const char *call_account(const struct call *call, struct refusal *refusal);
/* Who changes something, and why: the token's name, and the member `note`. */
struct call_actor {
    struct actor actor; /* its note is NULL for "" */
    char note[TEXT_FIELD_SIZE];
};
void call_actor_read(const struct call *call, const struct fields *fields, struct call_actor *out,
                     struct refusal *refusal);
/* The path's id of a hold or charge; 404 with `code` when it cannot be one. */
const char *call_id(const struct call *call, const char *code, struct refusal *refusal);

/*
 * The client's idempotency key, from the member `idempotency_key` or the header; `out->key` is NULL
 * without one. Both and different, or not 1..255 visible ASCII: 400 invalid_field. `fields` NULL:
 * the header only. The key is borrowed from `fields` or the request. The fingerprint is left to the
 * caller.
 */
void call_idempotency(const struct call *call, const struct fields *fields, struct idempotency *out,
                      struct refusal *refusal);

/* Answer 200 with the bytes of the store (a reply_writer's, now or at an earlier time). */
void call_reply(struct call *call, const struct result *result, const struct buf *reply);
/* Append the JSON of `tracker->ledger`'s first account to the answer. */
void call_add_account(struct call *call, const char *parent);
/* Load an account into `tracker->ledger`. Refusals: 404 unknown_account, 503. */
void call_load_account(struct call *call, struct store *store, const char *account,
                       char parent[ACCOUNT_NAME_SIZE], struct refusal *refusal);
/* Answer 200 with an account as it is now, unless there is a refusal already. */
void call_answer_account(struct call *call, const char *account, struct refusal *refusal);

#endif
