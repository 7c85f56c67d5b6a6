/* SPDX-License-Identifier: MIT */
#include "admin/spool_file.h"

#include "common/idempotency.h"

#include <string.h>

#include "common/banned.h"

static const char *const envelope_names[] = { "version",    "path", "token_sha256",
                                              "spooled_at", "body", NULL };

static void
read_token(const struct fields *fields, uint8_t out[SHA256_BYTES], struct refusal *refusal)
{
    const char *text = fields_text(fields, "token_sha256", refusal);
    size_t length = 0;

    if (text == NULL || !hex_decode(text, strlen(text), out, SHA256_BYTES, &length) ||
        length != SHA256_BYTES)
        refusal_set(refusal, 400, "invalid_field", "token_sha256: has to be 64 hex digits");
}

/* All but the body. */
static void
read_envelope(const struct fields *fields, struct spool_post *out, struct refusal *refusal)
{
    const char *path = fields_text(fields, "path", refusal);

    if (fields_number(fields, "version", 0, INT64_MAX, 0, refusal) != 1)
        refusal_set(refusal, 400, "invalid_field", "version: only 1 is known here");
    if (path == NULL || strcmp(path, "/v1/spend") != 0)
        refusal_set(refusal, 400, "invalid_field", "path: has to be /v1/spend");
    read_token(fields, out->token_sha256, refusal);
    out->spooled_us = fields_time(fields, "spooled_at", refusal);
    if (out->spooled_us == 0)
        refusal_set(refusal, 400, "missing_field", "spooled_at: is needed");
    fields_only(fields, envelope_names, refusal);
}

static void
read_key(const struct fields *body, struct spool_post *out, struct refusal *refusal)
{
    const char *key = fields_text(body, "idempotency_key", refusal);
    const char *hold_id = fields_text(body, "hold_id", refusal);

    if (key == NULL && (hold_id == NULL || *hold_id == '\0'))
        refusal_set(refusal, 400, "missing_field",
                    "body: has neither a hold_id nor an idempotency_key, so that each replay would "
                    "count it again");
    else if (key != NULL &&
             (!idempotency_key_valid(key) || !text_copy(out->key, sizeof(out->key), key)))
        refusal_set(refusal, 400, "invalid_field", IDEMPOTENCY_KEY_PROBLEM,
                    IDEMPOTENCY_KEY_SIZE - 1);
}

enum spool_file
spool_file_parse(const char *text, size_t length, int64_t max_charge_nanos, struct spool_post *out,
                 struct refusal *refusal)
{
    enum spool_file kind = SPOOL_CORRUPT;
    struct fields envelope, body;

    *out = (struct spool_post){ .spooled_us = 0 };
    fields_read_json(&envelope, text, length, refusal);
    body = (struct fields){ .root = NULL };
    if (!refused(refusal))
        read_envelope(&envelope, out, refusal);
    if (!refused(refusal))
        fields_borrow(&body, json_member(envelope.object, "body"), refusal);
    if (!refused(refusal))
        read_key(&body, out, refusal);
    if (!refused(refusal)) {
        spend_parse(&body, max_charge_nanos, &out->post, refusal);
        kind = refused(refusal) ? SPOOL_REFUSED : SPOOL_GOOD;
    }
    fields_clear(&body);
    fields_clear(&envelope);
    return kind;
}
