/* SPDX-License-Identifier: MIT */
/*
 * What all changes that a client asked for share: the idempotency key, the stored reply, the end of
 * the transaction.
 */

#include <string.h>

#include "common/crypto.h"
#include "common/store_internal.h"

#include "common/banned.h"

void
change_init(struct change *c, struct store *s, const struct idempotency *idempotency,
            const struct reply_writer *writer, int64_t now_us, struct result *out,
            struct buf *reply)
{
    struct room room = c->room;

    room.again = false;
    *c = (struct change){ idempotency, writer, now_us, out, reply, NULL, room };
    if (idempotency != NULL && idempotency->key == NULL)
        c->idempotency = NULL;
    memset(out, 0, sizeof(*out));
    out->ledger = &s->ledger;
    s->ledger.account_count = s->ledger.line_count = s->ledger.rate_count = s->ledger.event_count =
        0;
    if (reply != NULL)
        buf_clear(reply);
}

bool
change_has_key(const struct idempotency *idempotency)
{
    return idempotency != NULL && idempotency->key != NULL;
}

void
change_load(struct store *s, const struct change *c)
{
    struct store_load *load = &s->load;

    memset(load, 0, sizeof(*load));
    s->ledger.rate_count = 0;
    load->ledger = &s->ledger;
    load->now_us = c->now_us;
    load->want_expiry = true;
    if (c->idempotency != NULL) {
        load->idempotency_scope = c->idempotency->scope;
        load->idempotency_key = c->idempotency->key;
        load->idempotency = &s->idempotency;
    }
}

enum status
change_replay(struct store *s, const struct change *c, struct error *err)
{
    enum status status;

    s->ops->rollback(s->backend);
    status = s->ops->settle_disk(s->backend, err);
    if (status != STATUS_OK)
        return status;
    if (c->reply != NULL)
        buf_add_bytes(c->reply, s->idempotency.reply, s->idempotency.reply_length);
    c->out->outcome = OUTCOME_REPLAYED;
    return STATUS_OK;
}

enum status
change_refuse(struct store *s, const struct change *c, enum outcome outcome)
{
    s->ops->rollback(s->backend);
    c->out->outcome = outcome;
    return STATUS_OK;
}

enum status
change_known_key(struct store *s, const struct change *c, bool *done, struct error *err)
{
    *done = c->idempotency != NULL && s->idempotency.found;
    if (!*done)
        return STATUS_OK;
    if (!crypto_equal(s->idempotency.fingerprint, c->idempotency->fingerprint, SHA256_BYTES))
        return change_refuse(s, c, OUTCOME_KEY_REUSED);
    return change_replay(s, c, err);
}

enum status
change_commit(struct store *s, const struct change *c, const char *hold_text, bool durable,
              struct error *err)
{
    static const uint8_t no_fingerprint[SHA256_BYTES];
    struct buf *reply = c->reply;
    enum status status = STATUS_OK;

    c->out->outcome = OUTCOME_DONE;
    if (c->writer != NULL && reply != NULL)
        c->writer->write(c->writer->context, c->out, reply);
    if (reply != NULL && (buf_failed(reply) || reply->length >= REPLY_SIZE))
        status = error_set(err, STATUS_OVERFLOW, "store: the answer is longer than %d bytes",
                           REPLY_SIZE - 1);
    if (status == STATUS_OK && hold_text != NULL && reply != NULL)
        status = s->ops->idempotency_write(s->backend, HOLD_SCOPE, hold_text, no_fingerprint,
                                           buf_text(reply), reply->length, c->now_us, err);
    if (status == STATUS_OK && c->idempotency != NULL && reply != NULL)
        status = s->ops->idempotency_write(s->backend, c->idempotency->scope, c->idempotency->key,
                                           c->idempotency->fingerprint, buf_text(reply),
                                           reply->length, c->now_us, err);
    return status == STATUS_OK ? s->ops->commit(s->backend, durable, err) : status;
}

enum status
change_end(struct store *s, const struct change *c, enum status status)
{
    if (status == STATUS_OK)
        return status;
    if (c->reply != NULL)
        buf_clear(c->reply);
    memset(c->out, 0, sizeof(*c->out));
    return store_give_up(s, status);
}

enum status
change_make_room(struct store *s, struct change *c, struct error *err)
{
    s->ops->rollback(s->backend);
    c->room.again = true;
    return store_make_room(s, &c->room, c->now_us, err);
}

bool
change_looks(struct store *s, const struct change *c)
{
    store_note_expiry(s, c->now_us);
    return !c->room.looked && (s->load.expiry_in_chain || store_hold_is_late(s, c->now_us));
}

enum status
change_begin(struct store *s, struct change *c, struct error *err)
{
    enum status status = s->ops->begin(s->backend, STORE_WRITE, err);
    struct store_load asked = s->load;

    if (status != STATUS_OK)
        return status;
    status = s->ops->load(s->backend, &s->load, err);
    if (status != STATUS_OK || !change_looks(s, c))
        return status;
    status = change_make_room(s, c, err);
    c->room.again = false; /* here and now */
    if (status != STATUS_OK)
        return status;
    s->load = asked;
    status = s->ops->begin(s->backend, STORE_WRITE, err);
    if (status == STATUS_OK)
        status = s->ops->load(s->backend, &s->load, err);
    if (status == STATUS_OK)
        store_note_expiry(s, c->now_us);
    return status;
}

bool
change_once_more(const struct store *s, const struct change *c, enum status status, bool repeatable,
                 int *tries)
{
    return (status == STATUS_OK && c->room.again) || store_once_more(s, status, repeatable, tries);
}

bool
change_copy_text(char *out, size_t size, const char *text)
{
    return text_copy(out, size, text != NULL ? text : "");
}
