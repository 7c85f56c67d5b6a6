/* SPDX-License-Identifier: MIT */
#include "authorizer/identity.h"

#include "common/json.h"
#include "common/log.h"

#include <string.h>

#include "common/banned.h"

#define ENCODING_VERSION 2
#define NUMERIC_DATE_MAX (INT64_C(1) << 53)

/* ---- reading what Clerk says ------------------------------------------------------------------
 */

bool
identity_time(const struct json *value, int64_t unit_us, int64_t *out_us)
{
    const char *text = json_number_text(value);
    char whole[20];
    size_t length;

    if (text == NULL)
        return false;
    length = strspn(text, "0123456789");
    if (length == 0 || length >= sizeof(whole))
        return false;
    if (text[length] != '\0' && /* a fraction is fine, an exponent is not what Clerk sends */
        (text[length] != '.' || text[length + 1 + strspn(text + length + 1, "0123456789")] != '\0'))
        return false;
    memcpy(whole, text, length);
    whole[length] = '\0';
    if (!text_to_int64(whole, 0, NUMERIC_DATE_MAX, out_us))
        return false;
    if (__builtin_mul_overflow(*out_us, unit_us, out_us))
        *out_us = IDENTITY_NEVER_US;
    return true;
}

/* The text of an optional account name; STATUS_INVALID when it is there and is none. */
static enum status
read_account(const struct json *value, const char *what, char *out, size_t size, struct error *err)
{
    const char *text = json_string(value);

    out[0] = '\0';
    if (json_type(value) == JSON_NULL)
        return STATUS_OK;
    if (text == NULL || !account_name_valid(text) || !text_copy(out, size, text))
        return error_set(err, STATUS_INVALID, "the %s of this credential is no account's name",
                         what);
    return STATUS_OK;
}

/* A parent that is not spelled as an account of a known kind is the name of a group. */
static enum status
read_parent(const struct json *value, char *out, size_t size, struct error *err)
{
    enum status status = read_account(value, "parent", out, size, err);
    char group[ACCOUNT_NAME_SIZE + 8];
    struct buf name;

    if (status != STATUS_OK || out[0] == '\0' || account_kind_of(out) != ACCOUNT_SUBJECT)
        return status;
    buf_init(&name, group, sizeof(group));
    buf_add(&name, "group:");
    buf_add(&name, out);
    if (!account_name_valid(group) || !text_copy(out, size, group))
        return error_set(err, STATUS_INVALID, "the parent of this credential is no account's name");
    return STATUS_OK;
}

static void
write_claim_name(struct buf *out, const char *claim)
{
    for (; *claim != '\0'; claim++) {
        char c = *claim;

        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        else if (!((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')))
            c = '_';
        buf_add_char(out, c);
    }
}

/* One claim at the end of identity->claims; false when it cannot be passed on. */
static bool
add_claim(struct identity *identity, const char *claim, const struct json *value)
{
    char text[IDENTITY_CLAIM_MAX + 1];
    struct buf header;
    struct buf packed;

    buf_init(&header, text, sizeof(text));
    if (json_type(value) == JSON_STRING && json_string(value) == NULL)
        return false; /* holds a NUL */
    if (json_type(value) == JSON_STRING)
        buf_add_header_value(&header, json_string(value));
    else
        json_write(value, &header);
    if (buf_failed(&header) || identity->claims_length == IDENTITY_CLAIMS_SIZE)
        return false;
    buf_init(&packed, identity->claims + identity->claims_length,
             IDENTITY_CLAIMS_SIZE - identity->claims_length);
    write_claim_name(&packed, claim);
    buf_add_char(&packed, '\0');
    buf_add(&packed, buf_text(&header));
    if (buf_failed(&packed))
        return false;
    identity->claims_length += (uint32_t)(packed.length + 1);
    return true;
}

static void
add_claims(struct identity *identity, const struct json *claims, const struct text_list *wanted)
{
    identity->claims_length = 0;
    for (size_t i = 0; i < wanted->count; i++) {
        const char *name = wanted->items[i];
        const struct json *value = json_member(claims, name);

        if (value == NULL)
            value = json_path(claims, name);
        if (value != NULL && !add_claim(identity, name, value))
            log_event(LOG_WARN, "claim_left_out", "claim", name, "subject", identity->subject,
                      "message", "too long, or not the text of a header line", NULL);
    }
}

enum status
identity_complete(struct identity *identity, const struct json *object, const struct json *claims,
                  const struct json *organization, const struct settings *settings,
                  struct error *err)
{
    const struct plan *plan = policy_plan_match(&settings->policy, object);
    char key_account[ACCOUNT_NAME_SIZE] = "key:";
    enum status status;

    memcpy(key_account + 4, identity->key_id, sizeof(identity->key_id));
    if (!account_name_valid(identity->subject) || account_kind_of(identity->subject) >= ACCOUNT_KEY)
        return error_set(err, STATUS_INVALID,
                         "the subject of this credential is no account's name");
    if (!account_name_valid(key_account) || identity->key_id[0] == '\0')
        return error_set(err, STATUS_INVALID, "the id of this credential is no account's name");
    status = read_account(organization, "organization", identity->organization,
                          sizeof(identity->organization), err);
    if (status != STATUS_OK)
        return status;
    if (identity->organization[0] != '\0' &&
        account_kind_of(identity->organization) != ACCOUNT_ORGANIZATION)
        return error_set(err, STATUS_INVALID, "the organization of this credential is none");
    identity->plan[0] = '\0';
    identity->parent[0] = '\0';
    add_claims(identity, claims, &settings->clerk.pass_claims);
    if (plan == NULL)
        return STATUS_OK;
    memcpy(identity->plan, plan->name, sizeof(identity->plan));
    if (plan->parent_claim[0] == '\0')
        return STATUS_OK;
    return read_parent(json_path(object, plan->parent_claim), identity->parent,
                       sizeof(identity->parent), err);
}

bool
identity_claim_next(const struct identity *identity, size_t *offset, const char **name,
                    const char **value)
{
    if (*offset >= identity->claims_length)
        return false;
    *name = identity->claims + *offset;
    *value = *name + strlen(*name) + 1;
    *offset = (size_t)(*value - identity->claims) + strlen(*value) + 1;
    return true;
}

/* ---- scopes -------------------------------------------------------------------------------------
 */

static bool
has_scope(const struct identity *identity, const char *scope, size_t length)
{
    for (const char *at = identity->scopes; *at != '\0';) {
        size_t here = strcspn(at, " ");

        if (here == length && memcmp(at, scope, length) == 0)
            return true;
        at += here;
        at += strspn(at, " ");
    }
    return false;
}

void
identity_scope_add(struct identity *identity, const char *scope, size_t length)
{
    struct buf text;

    if (length == 0 || length >= SCOPE_SIZE || has_scope(identity, scope, length))
        return;
    for (size_t i = 0; i < length; i++) {
        if (scope[i] <= ' ' || scope[i] > '~' || strchr("*\"\\", scope[i]) != NULL)
            return;
    }
    if (strlen(identity->scopes) + 1 + length >= sizeof(identity->scopes)) {
        log_event(LOG_WARN, "scope_left_out", "subject", identity->subject, "message",
                  "this credential has more scopes than fit", NULL);
        return;
    }
    buf_init(&text, identity->scopes + strlen(identity->scopes),
             sizeof(identity->scopes) - strlen(identity->scopes));
    if (identity->scopes[0] != '\0')
        buf_add_char(&text, ' ');
    buf_add_bytes(&text, scope, length);
}

bool
identity_scope_granted(const struct identity *identity, const char *scope)
{
    return has_scope(identity, scope, strlen(scope));
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

static void
put_int(struct buf *out, int64_t value)
{
    uint64_t bits = (uint64_t)value;
    unsigned char bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(bits >> (8 * i));
    buf_add_bytes(out, bytes, sizeof(bytes));
}

static void
put_text(struct buf *out, const char *text)
{
    size_t length = strlen(text); /* every field is shorter than 256 bytes */

    buf_add_char(out, (char)length);
    buf_add_bytes(out, text, length);
}

void
identity_encode(const struct identity *identity, struct buf *out)
{
    _Static_assert(ACCOUNT_NAME_SIZE <= 256 && PLAN_NAME_SIZE <= 256, "a length is one byte");

    buf_add_char(out, ENCODING_VERSION);
    buf_add_char(out, (char)identity->kind);
    put_text(out, identity->subject);
    put_text(out, identity->key_id);
    put_text(out, identity->organization);
    put_text(out, identity->parent);
    put_text(out, identity->plan);
    put_int(out, identity->expires_us);
    put_int(out, identity->verification);
    put_int(out, identity->verified_us);
    put_int(out, (int64_t)strlen(identity->scopes));
    buf_add(out, identity->scopes);
    put_int(out, identity->claims_length);
    buf_add_bytes(out, identity->claims, identity->claims_length);
}

/* Sticky like buf: after the first byte too few everything reads as empty. */
struct reader {
    const unsigned char *bytes;
    size_t left;
    bool failed;
};

static const unsigned char *
take(struct reader *reader, size_t length)
{
    const unsigned char *bytes = reader->bytes;

    if (reader->failed || reader->left < length) {
        reader->failed = true;
        return NULL;
    }
    reader->bytes += length;
    reader->left -= length;
    return bytes;
}

static unsigned
get_byte(struct reader *reader)
{
    const unsigned char *byte = take(reader, 1);

    return byte == NULL ? 0 : *byte;
}

static int64_t
get_int(struct reader *reader)
{
    const unsigned char *bytes = take(reader, 8);
    uint64_t bits = 0;

    for (int i = 0; bytes != NULL && i < 8; i++)
        bits |= (uint64_t)bytes[i] << (8 * i);
    return (int64_t)bits;
}

static void
get_text(struct reader *reader, char *out, size_t size)
{
    size_t length = get_byte(reader);
    const unsigned char *bytes = take(reader, length);

    if (bytes == NULL || length >= size || memchr(bytes, '\0', length) != NULL) {
        reader->failed = true;
        return;
    }
    memcpy(out, bytes, length);
    out[length] = '\0';
}

/* Pairs of strings, each ended by its own NUL, up to the last byte. */
static bool
claims_are_whole(const struct identity *identity)
{
    uint32_t ends = 0;

    for (uint32_t i = 0; i < identity->claims_length; i++)
        ends += identity->claims[i] == '\0';
    return ends % 2 == 0 &&
           (identity->claims_length == 0 || identity->claims[identity->claims_length - 1] == '\0');
}

static void
get_scopes(struct reader *reader, struct identity *out)
{
    int64_t length = get_int(reader);
    const unsigned char *bytes = NULL;

    if (length >= 0 && length < IDENTITY_SCOPES_SIZE)
        bytes = take(reader, (size_t)length);
    if (bytes == NULL || memchr(bytes, '\0', (size_t)length) != NULL) {
        reader->failed = true;
        return;
    }
    memcpy(out->scopes, bytes, (size_t)length);
    out->scopes[length] = '\0';
}

static void
get_claims(struct reader *reader, struct identity *out)
{
    int64_t length = get_int(reader);
    const unsigned char *bytes;

    if (length < 0 || length > IDENTITY_CLAIMS_SIZE) {
        reader->failed = true;
        return;
    }
    bytes = take(reader, (size_t)length);
    if (bytes == NULL)
        return;
    memcpy(out->claims, bytes, (size_t)length);
    out->claims_length = (uint32_t)length;
    if (!claims_are_whole(out))
        reader->failed = true;
}

static bool
is_one_kind(unsigned kind)
{
    return kind == CREDENTIAL_API_KEY || kind == CREDENTIAL_M2M_TOKEN ||
           kind == CREDENTIAL_SESSION_TOKEN || kind == CREDENTIAL_OAUTH_TOKEN;
}

enum status
identity_decode(const void *bytes, size_t length, struct identity *out, struct error *err)
{
    struct reader reader = { .bytes = bytes, .left = length };
    unsigned version = get_byte(&reader);
    unsigned kind = get_byte(&reader);

    out->claims_length = 0;
    out->kind = (enum credential_kind)kind;
    get_text(&reader, out->subject, sizeof(out->subject));
    get_text(&reader, out->key_id, sizeof(out->key_id));
    get_text(&reader, out->organization, sizeof(out->organization));
    get_text(&reader, out->parent, sizeof(out->parent));
    get_text(&reader, out->plan, sizeof(out->plan));
    out->expires_us = get_int(&reader);
    out->verification = get_int(&reader);
    out->verified_us = get_int(&reader);
    out->scopes[0] = '\0';
    get_scopes(&reader, out);
    get_claims(&reader, out);
    if (reader.failed || reader.left != 0 || version != ENCODING_VERSION || !is_one_kind(kind) ||
        out->subject[0] == '\0') {
        out->kind = CREDENTIAL_NONE;
        out->subject[0] = '\0';
        out->scopes[0] = '\0';
        return error_set(err, STATUS_CORRUPT, "cache: an identity that does not read back");
    }
    return STATUS_OK;
}
