/* SPDX-License-Identifier: MIT */
/* The PostgreSQL store: the columns of an answer, as our rows. */
#include "common/store_postgres.h"

#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

bool
pg_is_null(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) != 0;
}

/* The server writes bigints in full and in range. */
int64_t
pg_get_int(const PGresult *result, int row, int column)
{
    const char *text = row < PQntuples(result) ? PQgetvalue(result, row, column) : "";
    bool negative = text[0] == '-';
    uint64_t value = 0;

    for (text += negative; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    return (int64_t)(negative ? 0 - value : value);
}

bool
pg_get_text(const PGresult *result, int row, int column, char *out, size_t size)
{
    return text_copy(out, size, PQgetvalue(result, row, column)); /* "" for NULL */
}

enum status
pg_too_long(const struct postgres_store *s, struct error *err)
{
    return error_set(err, STATUS_CORRUPT,
                     "store %s: a stored text is longer than it can be; run `spendgate verify`",
                     s->place);
}

bool
pg_read_account(const PGresult *r, int row, int first, struct account *out)
{
    memset(out, 0, sizeof(*out));
    out->id = pg_get_int(r, row, first);
    out->parent_id = pg_get_int(r, row, first + 3);
    out->frozen = pg_get_int(r, row, first + 4) != 0;
    out->revoked = pg_get_int(r, row, first + 5) != 0;
    out->expires_us = pg_get_int(r, row, first + 6);
    out->verify_after = pg_get_int(r, row, first + 7);
    out->live_holds = pg_get_int(r, row, first + 8);
    out->first_seen_us = pg_get_int(r, row, first + 9);
    return pg_get_text(r, row, first + 1, out->name, sizeof(out->name)) &&
           pg_get_text(r, row, first + 2, out->plan, sizeof(out->plan));
}

bool
pg_read_line(const PGresult *r, int row, int first, int account, struct budget_line *out)
{
    memset(out, 0, sizeof(*out));
    out->account = account;
    out->id = pg_get_int(r, row, first);
    out->spec.kind = (enum period_kind)pg_get_int(r, row, first + 1);
    out->spec.anchor_day = (int)pg_get_int(r, row, first + 3);
    out->spec.week_start = (int)pg_get_int(r, row, first + 4);
    out->created_us = pg_get_int(r, row, first + 5);
    out->hand_limited = !pg_is_null(r, row, first + 6);
    out->hand_limit_nanos = pg_get_int(r, row, first + 6);
    out->hand_enforced = !pg_is_null(r, row, first + 7);
    out->hand_enforce = (enum enforce)pg_get_int(r, row, first + 7);
    out->has_credits = pg_get_int(r, row, first + 8) != 0;
    return pg_get_text(r, row, first + 2, out->spec.timezone, sizeof(out->spec.timezone));
}

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void
read_caller(const char *hex, uint8_t out[CALLER_BYTES])
{
    for (size_t i = 0; i < CALLER_BYTES && hex_digit(hex[0]) >= 0 && hex_digit(hex[1]) >= 0; i++) {
        out[i] = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
        hex += 2;
    }
}

bool
pg_read_hold(const PGresult *r, int row, int first, struct hold *out)
{
    memset(out, 0, sizeof(*out));
    out->id = pg_get_int(r, row, first);
    out->nonce = (uint64_t)pg_get_int(r, row, first + 1);
    out->chain_id = pg_get_int(r, row, first + 2);
    out->state = (enum hold_state)pg_get_int(r, row, first + 3);
    out->amount_nanos = pg_get_int(r, row, first + 4);
    out->placed_us = pg_get_int(r, row, first + 5);
    out->expires_us = pg_get_int(r, row, first + 6);
    out->ttl_us = pg_get_int(r, row, first + 7);
    out->charge_id = pg_get_int(r, row, first + 8);
    read_caller(PQgetvalue(r, row, first + 9), out->caller);
    out->expiry_charged_nanos = pg_get_int(r, row, first + 12);
    out->expiry_charge_id = pg_get_int(r, row, first + 13);
    return pg_get_text(r, row, first + 10, out->plan, sizeof(out->plan)) &&
           pg_get_text(r, row, first + 11, out->route, sizeof(out->route));
}

bool
pg_read_charge(const PGresult *r, int row, struct charge_row *out)
{
    struct charge *c = &out->charge;

    memset(out, 0, sizeof(*out));
    c->id = pg_get_int(r, row, 0);
    c->nonce = (uint64_t)pg_get_int(r, row, 1);
    c->kind = (enum charge_kind)pg_get_int(r, row, 2);
    out->chain_id = pg_get_int(r, row, 3);
    c->amount_nanos = pg_get_int(r, row, 4);
    c->at_us = pg_get_int(r, row, 5);
    c->created_us = pg_get_int(r, row, 6);
    c->occurred_us = pg_get_int(r, row, 7);
    out->hold_number = pg_get_int(r, row, 8);
    c->refund_of = pg_get_int(r, row, 9);
    c->refund_of_nonce = (uint64_t)pg_get_int(r, row, 20);
    c->price_id = pg_get_int(r, row, 22);
    if (!pg_get_text(r, row, 10, c->hold_id, sizeof(c->hold_id)))
        return false;
    if (out->hold_number != 0 && !pg_is_null(r, row, 11))
        public_id_format("hld_", out->hold_number, (uint64_t)pg_get_int(r, row, 11), c->hold_id);
    return pg_get_text(r, row, 12, c->account, sizeof(c->account)) &&
           pg_get_text(r, row, 13, c->key_id, sizeof(c->key_id)) &&
           pg_get_text(r, row, 14, c->model, sizeof(c->model)) &&
           pg_get_text(r, row, 15, c->route, sizeof(c->route)) &&
           pg_get_text(r, row, 16, c->tags, sizeof(c->tags)) &&
           pg_get_text(r, row, 17, c->token, sizeof(c->token)) &&
           pg_get_text(r, row, 18, c->note, sizeof(c->note)) &&
           pg_get_text(r, row, 19, c->metadata, sizeof(c->metadata)) &&
           pg_get_text(r, row, 21, c->usage, sizeof(c->usage));
}
