/* SPDX-License-Identifier: MIT */
/*
 * A store is opened, asked whether it is well, and closed; and what every file of the shared part
 * needs: which backend, ids, the end of a transaction.
 */
#include "common/store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/crypto.h"
#include "common/store_internal.h"

#include "common/banned.h"

static const struct store_ops *const backends[] = {
    &store_sqlite_ops,
#ifdef HAVE_POSTGRES
    &store_postgres_ops,
#endif
};

static enum status
find_backend(const char *url, const struct store_ops **out, struct error *err)
{
    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        size_t length = strlen(backends[i]->scheme);

        if (strncmp(url, backends[i]->scheme, length) == 0 && url[length] == ':') {
            *out = backends[i];
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_INVALID,
                     "store: the url begins with no store this program has (sqlite:/path"
#ifdef HAVE_POSTGRES
                     ", postgresql://..."
#endif
                     ")");
}

enum status
store_open(const struct store_options *options, struct store **out, struct error *err)
{
    enum status status;
    struct store *s;

    *out = NULL;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    s->policy = options->policy;
    s->hold_ttl_us = options->hold_ttl_us;
    s->charge_on_expiry = options->charge_on_expiry;
    s->idempotency_ttl_us = options->idempotency_ttl_us;
    s->chains = calloc(CHAIN_MEMO_SLOTS, sizeof(*s->chains));
    status = s->chains == NULL ? error_set(err, STATUS_NO_MEMORY, "store: out of memory")
                               : find_backend(options->url, &s->ops, err);
    if (status == STATUS_OK)
        status = s->ops->open(options, &s->backend, err);
    if (status == STATUS_OK) {
        *out = s;
        s = NULL;
    }
    store_close(s);
    assert((status == STATUS_OK) == (*out != NULL));
    return status;
}

void
store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (s->backend != NULL)
        s->ops->close(s->backend);
    free(s->chains);
    free(s);
}

enum status
store_migrate(const struct store_options *options, int *applied, struct error *err)
{
    const struct store_ops *ops;
    enum status status = find_backend(options->url, &ops, err);

    *applied = 0;
    return status == STATUS_OK ? ops->migrate(options, applied, err) : status;
}

enum status
store_check(struct store *s, struct error *err)
{
    return s->ops->check(s->backend, err);
}

bool
store_comes_back(const struct store *s)
{
    return s->ops->comes_back;
}

void
store_examine(const struct store_options *options, const struct finding_sink *sink)
{
    const struct store_ops *ops;
    struct error err;

    if (find_backend(options->url, &ops, &err) == STATUS_OK)
        ops->examine(options, sink);
    else
        finding_tell(sink, FINDING_PROBLEM, "store", "%s", err.message);
}

void
store_after(struct store *s)
{
    store_expire_elsewhere(s);
    s->ops->after(s->backend);
}

int64_t
store_now_us(struct store *s, int64_t machine_now_us)
{
    return s->ops->now_us(s->backend, machine_now_us);
}

enum status
store_give_up(struct store *s, enum status status)
{
    s->ops->rollback(s->backend);
    return status;
}

bool
store_once_more(const struct store *s, enum status status, bool repeatable, int *tries)
{
    enum store_failure failure = status == STATUS_OK ? STORE_FAILED : s->ops->failure(s->backend);

    return ++*tries < STORE_TRIES &&
           (failure == STORE_TRY_AGAIN || (failure == STORE_ANSWER_LOST && repeatable));
}

void
public_id_format(const char *prefix, int64_t id, uint64_t nonce, char out[PUBLIC_ID_SIZE])
{
    struct buf text;

    buf_init(&text, out, PUBLIC_ID_SIZE);
    buf_add_format(&text, "%s%012" PRIx64 "%012" PRIx64, prefix, (uint64_t)id, nonce);
    assert(!buf_failed(&text));
}

static bool
parse_hex48(const char *text, uint64_t *out)
{
    uint64_t value = 0;

    for (int i = 0; i < NONCE_BITS / 4; i++) {
        char c = text[i];

        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = value;
    return true;
}

bool
public_id_parse(const char *prefix, const char *text, int64_t *id, uint64_t *nonce)
{
    size_t length = strlen(prefix);
    uint64_t number, random;

    if (strncmp(text, prefix, length) != 0 || strlen(text) != length + 2 * NONCE_BITS / 4)
        return false;
    if (!parse_hex48(text + length, &number) || number == 0 ||
        !parse_hex48(text + length + NONCE_BITS / 4, &random))
        return false;
    *id = (int64_t)number;
    *nonce = random;
    return true;
}

uint64_t
store_new_nonce(struct store *s)
{
    uint64_t nonce = 0;

    if (s->nonces_left == 0) {
        crypto_random(s->nonces, sizeof(s->nonces));
        s->nonces_left = NONCE_SUPPLY;
    }
    s->nonces_left--;
    memcpy(&nonce, s->nonces[s->nonces_left], NONCE_BITS / 8);
    return nonce;
}
