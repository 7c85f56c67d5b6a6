/* SPDX-License-Identifier: MIT */
/* What Clerk's answer makes of a caller, and that an identity survives being written down. */
#include "authorizer/identity.h"

#include "authorizer/features.h"

#include "authorizer/identity_memory.h"
#include "authorizer/verifier.h"
#include "common/json.h"

#include "tests/check.h"

#include <stdlib.h>

#include "common/banned.h"

#define NOW_US (INT64_C(1767225600) * US_PER_SECOND)
#define KEY_ID "ak_00112233445566778899aabbccddeeff"
#define USER "user_2abcdefghijklmnopqrstuvwxyz"

struct fixture {
    struct settings *settings;
    struct plan plans[2];
    struct verifier_finding finding;
    struct error err;
};

static void
set_up(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->settings = calloc(1, sizeof(*f->settings));
    f->settings->clerk.accept = CREDENTIAL_API_KEY;
    f->settings->policy.plans = f->plans;
    f->settings->policy.plan_count = 2;
    CHECK_TRUE("plan", text_copy(f->plans[0].name, PLAN_NAME_SIZE, "pro"));
    CHECK_TRUE("match", text_copy(f->plans[0].matches[0], PLAN_MATCH_SIZE, "claims.tier=pro"));
    f->plans[0].match_count = 1;
    CHECK_TRUE("plan", text_copy(f->plans[1].name, PLAN_NAME_SIZE, "free"));
    CHECK_TRUE("default", text_copy(f->settings->policy.default_plan, PLAN_NAME_SIZE, "free"));
}

static void
tear_down(struct fixture *f)
{
    free(f->settings);
}

static enum status
read_answer(struct fixture *f, int http_status, bool is_json, const char *body)
{
    struct clerk_answer answer = { .outcome = CLERK_ANSWERED,
                                   .http_status = http_status,
                                   .json = is_json,
                                   .body = body,
                                   .body_length = strlen(body) };

    memset(&f->finding, 0x5a, sizeof(f->finding));
    return verifier_opaque_read(CREDENTIAL_API_KEY, &answer, f->settings, NOW_US, &f->finding,
                                &f->err);
}

/* A key as Clerk shows it, with `members` at its end. */
static enum status
read_key(struct fixture *f, const char *subject, const char *flags, const char *members)
{
    char text[8192];
    struct buf body;

    buf_init(&body, text, sizeof(text));
    buf_add_format(&body,
                   "{\"object\":\"api_key\",\"id\":\"" KEY_ID
                   "\",\"type\":\"api_key\",\"subject\":\"%s\",\"name\":\"ci\",%s%s}",
                   subject, flags, members);
    CHECK_FALSE("failed", buf_failed(&body));
    return read_answer(f, 200, true, text);
}

#define GOOD "\"revoked\":false,\"expired\":false"

static void
check_invalid(struct fixture *f, const char *what, enum status status, const char *reason)
{
    CHECK_STATUS(STATUS_OK, status, &f->err);
    CHECK_TRUE(what, !f->finding.valid);
    CHECK_STRING(what, reason, f->finding.reason);
}

static void
check_strange(struct fixture *f, enum status status, const char *what)
{
    char want[ERROR_MESSAGE_SIZE];
    struct buf message;

    buf_init(&message, want, sizeof(want));
    buf_add_format(&message,
                   "Clerk's answer about a credential cannot be used (%s): check clerk { api_url }",
                   what);
    CHECK_STATUS(STATUS_UNAVAILABLE, status, &f->err);
    CHECK_STRING("message", want, f->err.message);
    CHECK_TRUE(what, !f->finding.valid);
}

static void
test_good_key_is_an_identity(void)
{
    struct fixture f;

    set_up(&f);
    CHECK_STATUS(STATUS_OK,
                 read_key(&f, USER, GOOD, ",\"expiration\":null,\"claims\":{\"tier\":\"pro\"}"),
                 &f.err);
    CHECK_TRUE("valid", f.finding.valid);
    CHECK_INT("kind", CREDENTIAL_API_KEY, f.finding.identity.kind);
    CHECK_STRING("subject", USER, f.finding.identity.subject);
    CHECK_STRING("key", KEY_ID, f.finding.identity.key_id);
    CHECK_STRING("organization", "", f.finding.identity.organization);
    CHECK_STRING("plan", "pro", f.finding.identity.plan);
    CHECK_STRING("parent", "", f.finding.identity.parent);
    CHECK_INT("expires", IDENTITY_NEVER_US, f.finding.identity.expires_us);
    tear_down(&f);
}

static void
test_no_plan_matches_and_none_is_the_default(void)
{
    struct fixture f;

    set_up(&f);
    f.settings->policy.default_plan[0] = '\0';
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, ",\"claims\":null"), &f.err);
    CHECK_TRUE("valid", f.finding.valid);
    CHECK_STRING("plan", "", f.finding.identity.plan);
    tear_down(&f);
}

static void
test_answers_that_mean_an_invalid_key(void)
{
    struct fixture f;

    set_up(&f);
    check_invalid(&f, "404", read_answer(&f, 404, true, "{\"errors\":[]}"), "");
    check_invalid(&f, "404 {}", read_answer(&f, 404, false, "{}"), "");
    check_invalid(&f, "400", read_answer(&f, 400, true, "{\"errors\":[]}"), "");
    check_invalid(&f, "revoked", read_key(&f, USER, "\"revoked\":true,\"expired\":false", ""),
                  "revoked");
    check_invalid(&f, "expired", read_key(&f, USER, "\"revoked\":false,\"expired\":true", ""),
                  "expired");
    tear_down(&f);
}

static void
test_expiration_is_milliseconds_or_seconds(void)
{
    struct fixture f;

    set_up(&f);
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, ",\"expiration\":1767225600001"), &f.err);
    CHECK_TRUE("one millisecond left", f.finding.valid);
    CHECK_INT("expires", NOW_US + 1000, f.finding.identity.expires_us);
    check_invalid(&f, "now", read_key(&f, USER, GOOD, ",\"expiration\":1767225600000"), "expired");
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, ",\"expiration\":1767225601"), &f.err);
    CHECK_TRUE("one second left", f.finding.valid);
    CHECK_INT("expires", NOW_US + US_PER_SECOND, f.finding.identity.expires_us);
    check_invalid(&f, "seconds", read_key(&f, USER, GOOD, ",\"expiration\":1767225600"), "expired");
    check_invalid(&f, "zero", read_key(&f, USER, GOOD, ",\"expiration\":0"), "expired");
    tear_down(&f);
}

static void
test_expiration_that_is_no_time_is_invalid(void)
{
    static const char *const bad[] = {
        "\"never\"", "-1", "1e12", "9007199254740993", "true", "[]", "99999999999999999999999999"
    };
    struct fixture f;

    set_up(&f);
    for (size_t i = 0; i < CHECK_COUNT(bad); i++) {
        char member[64];
        struct buf out;

        buf_init(&out, member, sizeof(member));
        buf_add_format(&out, ",\"expiration\":%s", bad[i]);
        check_invalid(&f, bad[i], read_key(&f, USER, GOOD, member), "");
    }
    tear_down(&f);
}

static void
test_answers_that_say_nothing(void)
{
    struct fixture f;

    set_up(&f);
    check_strange(&f, read_answer(&f, 201, true, "{}"), "status");
    check_strange(&f, read_answer(&f, 200, false, "<html>"), "not application/json");
    check_strange(&f, read_answer(&f, 200, true, ""), "not JSON");
    check_strange(&f, read_answer(&f, 200, true, "{\"object\":\"api_key\""), "not JSON");
    check_strange(&f, read_answer(&f, 200, true, "[]"), "object is of another kind");
    check_strange(&f, read_answer(&f, 200, true, "{\"object\":\"m2m_token\"}"),
                  "object is of another kind");
    check_strange(&f, read_answer(&f, 200, true, "{\"object\":\"api_key\"}"), "id");
    check_strange(&f, read_answer(&f, 200, true, "{\"object\":\"api_key\",\"id\":\"ak_1\"}"),
                  "subject");
    check_strange(
        &f,
        read_answer(
            &f, 200, true,
            "{\"object\":\"api_key\",\"id\":\"ak_1\",\"subject\":\"user_1\",\"revoked\":0}"),
        "revoked");
    check_strange(&f,
                  read_answer(&f, 200, true,
                              "{\"object\":\"api_key\",\"id\":\"ak_1\",\"subject\":\"user_1\","
                              "\"revoked\":false,\"expired\":null}"),
                  "expired");
    check_strange(&f,
                  read_answer(&f, 200, true,
                              "{\"object\":\"api_key\",\"id\":\"ak_1\",\"subject\":\"user_1\","
                              "\"revoked\":true,\"revoked\":false,\"expired\":false}"),
                  "not JSON");
    tear_down(&f);
}

static void
test_subject_that_cannot_be_an_account_says_nothing(void)
{
    struct fixture f;

    set_up(&f);
    check_strange(&f, read_key(&f, "user 1", GOOD, ""), "subject");
    check_strange(&f, read_key(&f, "", GOOD, ""), "subject");
    check_strange(&f, read_key(&f, "user/1", GOOD, ""), "subject");
    check_strange(&f, read_key(&f, "user\\n1", GOOD, ""), "subject");
    check_strange(&f, read_answer(&f, 200, true, "{\"object\":\"api_key\",\"id\":\"a b\"}"), "id");
    tear_down(&f);
}

/* It would be counted on another's account, or take everybody's. */
static void
test_subject_that_names_a_key_a_group_or_all_is_invalid(void)
{
    static const char *const names[] = { "all", "key:ak_1", "group:red" };
    struct fixture f;

    set_up(&f);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        check_invalid(&f, names[i], read_key(&f, names[i], GOOD, ""), "");
    CHECK_STATUS(STATUS_OK, read_key(&f, "allie", GOOD, ""), &f.err);
    CHECK_TRUE("any other name", f.finding.valid);
    tear_down(&f);
}

static void
test_machine_is_refused_unless_machines_are_accepted(void)
{
    struct fixture f;

    set_up(&f);
    check_invalid(&f, "machine", read_key(&f, "mch_1", GOOD, ""), "");
    f.settings->clerk.accept |= CREDENTIAL_M2M_TOKEN;
    CHECK_STATUS(STATUS_OK, read_key(&f, "mch_1", GOOD, ""), &f.err);
    CHECK_TRUE("accepted", f.finding.valid);
    tear_down(&f);
}

static void
test_organization_is_the_subject_or_a_claim(void)
{
    struct fixture f;

    set_up(&f);
    CHECK_STATUS(STATUS_OK, read_key(&f, "org_1", GOOD, ",\"claims\":{\"org_id\":\"org_2\"}"),
                 &f.err);
    CHECK_STRING("subject", "org_1", f.finding.identity.organization);
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, ",\"claims\":{\"org_id\":\"org_2\"}"), &f.err);
    CHECK_STRING("claim", "org_2", f.finding.identity.organization);
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, ",\"claims\":{\"org_id\":null}"), &f.err);
    CHECK_STRING("null", "", f.finding.identity.organization);
    tear_down(&f);
}

/* Its budget would not be counted: an organization that cannot be read is no organization to be
 * without. */
static void
test_organization_that_is_none_is_invalid(void)
{
    struct fixture f;

    set_up(&f);
    check_invalid(&f, "number", read_key(&f, USER, GOOD, ",\"claims\":{\"org_id\":7}"), "");
    check_invalid(&f, "empty", read_key(&f, USER, GOOD, ",\"claims\":{\"org_id\":\"\"}"), "");
    check_invalid(&f, "a user", read_key(&f, USER, GOOD, ",\"claims\":{\"org_id\":\"user_9\"}"),
                  "");
    check_invalid(&f, "all", read_key(&f, USER, GOOD, ",\"claims\":{\"org_id\":\"all\"}"), "");
    tear_down(&f);
}

static void
test_parent_comes_from_the_claim_that_the_plan_names(void)
{
    struct fixture f;

    set_up(&f);
    CHECK_TRUE("claim", text_copy(f.plans[1].parent_claim, PLAN_MATCH_SIZE, "claims.team"));
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, ",\"claims\":{\"team\":\"group:x\"}"), &f.err);
    CHECK_STRING("parent", "group:x", f.finding.identity.parent);
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, ",\"claims\":{}"), &f.err);
    CHECK_STRING("none", "", f.finding.identity.parent);
    check_invalid(&f, "object", read_key(&f, USER, GOOD, ",\"claims\":{\"team\":{}}"), "");
    tear_down(&f);
}

static void
test_parent_without_a_kind_is_a_group(void)
{
    char claims[256];
    struct fixture f;

    set_up(&f);
    CHECK_TRUE("claim", text_copy(f.plans[1].parent_claim, PLAN_MATCH_SIZE, "claims.team"));
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, ",\"claims\":{\"team\":\"red\"}"), &f.err);
    CHECK_STRING("group", "group:red", f.finding.identity.parent);
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, ",\"claims\":{\"team\":\"org_1\"}"), &f.err);
    CHECK_STRING("organization", "org_1", f.finding.identity.parent);
    /* the longest account's name has no room for "group:" */
    (void)snprintf(claims, sizeof(claims), ",\"claims\":{\"team\":\"%0*d\"}", ACCOUNT_NAME_SIZE - 1,
                   0);
    check_invalid(&f, "long", read_key(&f, USER, GOOD, claims), "");
    tear_down(&f);
}

static void
want_claim(struct fixture *f, const char *name)
{
    struct text_list *wanted = &f->settings->clerk.pass_claims;

    CHECK_TRUE(name, text_copy(wanted->items[wanted->count++], 256, name));
}

static void
check_claims(const struct identity *identity, const char *want)
{
    char text[2 * IDENTITY_CLAIMS_SIZE];
    const char *name, *value;
    size_t offset = 0;
    struct buf out;

    buf_init(&out, text, sizeof(text));
    while (identity_claim_next(identity, &offset, &name, &value))
        buf_add_format(&out, "%s=%s;", name, value);
    CHECK_STRING("claims", want, text);
}

static void
test_claims_are_passed_as_text_or_json(void)
{
    struct fixture f;

    set_up(&f);
    want_claim(&f, "tier");
    want_claim(&f, "max-size");
    want_claim(&f, "list");
    want_claim(&f, "absent");
    want_claim(&f, "deep.er");
    CHECK_STATUS(
        STATUS_OK,
        read_key(&f, USER, GOOD,
                 ",\"claims\":{\"tier\":\"pro\",\"max-size\":1.50,\"list\":[1, {\"b\":null}],"
                 "\"deep\":{\"er\":true}}"),
        &f.err);
    check_claims(&f.finding.identity, "TIER=pro;MAX_SIZE=1.50;LIST=[1,{\"b\":null}];DEEP_ER=true;");
    tear_down(&f);
}

static void
test_claims_that_no_header_can_hold_are_left_out(void)
{
    char members[4096];
    struct buf out;
    struct fixture f;

    set_up(&f);
    want_claim(&f, "line");
    want_claim(&f, "nul");
    want_claim(&f, "longest");
    want_claim(&f, "longer");
    want_claim(&f, "good");
    buf_init(&out, members, sizeof(members));
    buf_add(&out, ",\"claims\":{\"line\":\"a\\r\\nX: y\",\"nul\":\"a\\u0000b\",\"good\":\"yes\",");
    buf_add(&out, "\"longest\":\"");
    for (int i = 0; i < IDENTITY_CLAIM_MAX; i++)
        buf_add_char(&out, 'x');
    buf_add(&out, "\",\"longer\":\"");
    for (int i = 0; i < IDENTITY_CLAIM_MAX + 1; i++)
        buf_add_char(&out, 'x');
    buf_add(&out, "\"}");
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, members), &f.err);
    CHECK_INT("length", strlen("LONGEST") + 1 + IDENTITY_CLAIM_MAX + 1 + strlen("GOOD yes") + 1,
              f.finding.identity.claims_length);
    tear_down(&f);
}

static void
test_claims_stop_where_their_room_ends(void)
{
    char members[8192];
    struct buf out;
    struct fixture f;

    set_up(&f);
    buf_init(&out, members, sizeof(members));
    buf_add(&out, ",\"claims\":{\"z\":1");
    for (int claim = 0; claim < 5; claim++) {
        char name[4] = { 'c', (char)('0' + claim), '\0' };

        want_claim(&f, name);
        buf_add_format(&out, ",\"%s\":\"", name);
        for (int i = 0; i < IDENTITY_CLAIM_MAX; i++)
            buf_add_char(&out, 'x');
        buf_add_char(&out, '"');
    }
    want_claim(&f, "z");
    buf_add_char(&out, '}');
    CHECK_STATUS(STATUS_OK, read_key(&f, USER, GOOD, members), &f.err);
    /* three of them, and then there is still room for the short one */
    CHECK_INT("length", 3 * (3 + IDENTITY_CLAIM_MAX + 1) + 4, f.finding.identity.claims_length);
    tear_down(&f);
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

static struct identity
sample(void)
{
    struct identity identity = { .kind = CREDENTIAL_API_KEY,
                                 .subject = USER,
                                 .key_id = KEY_ID,
                                 .organization = "org_1",
                                 .parent = "group:x",
                                 .plan = "pro",
                                 .expires_us = IDENTITY_NEVER_US,
                                 .verification = -7,
                                 .verified_us = INT64_MIN,
                                 .claims_length = 13,
                                 .claims = "TIER\0pro\0A\0B" };

    return identity;
}

static void
test_identity_survives_being_written_down(void)
{
    char bytes[IDENTITY_ENCODED_SIZE];
    struct identity want = sample();
    struct identity got;
    struct error err;
    struct buf out;

    memset(&got, 0x5a, sizeof(got));
    buf_init(&out, bytes, sizeof(bytes));
    identity_encode(&want, &out);
    CHECK_FALSE("failed", buf_failed(&out));
    CHECK_STATUS(STATUS_OK, identity_decode(bytes, out.length, &got, &err), &err);
    CHECK_INT("kind", want.kind, got.kind);
    CHECK_STRING("subject", want.subject, got.subject);
    CHECK_STRING("key", want.key_id, got.key_id);
    CHECK_STRING("organization", want.organization, got.organization);
    CHECK_STRING("parent", want.parent, got.parent);
    CHECK_STRING("plan", want.plan, got.plan);
    CHECK_INT("expires", want.expires_us, got.expires_us);
    CHECK_INT("verification", want.verification, got.verification);
    CHECK_INT("verified", want.verified_us, got.verified_us);
    check_claims(&got, "TIER=pro;A=B;");
}

static void
test_every_cut_and_every_extra_byte_is_noticed(void)
{
    char bytes[IDENTITY_ENCODED_SIZE];
    struct identity want = sample();
    struct identity got;
    struct error err;
    struct buf out;

    buf_init(&out, bytes, sizeof(bytes));
    identity_encode(&want, &out);
    for (size_t length = 0; length < out.length; length++) {
        if (identity_decode(bytes, length, &got, &err) != STATUS_CORRUPT)
            CHECK_INT("cut at", -1, length);
    }
    CHECK_STATUS(STATUS_CORRUPT, identity_decode(bytes, out.length + 1, &got, &err), &err);
    CHECK_STRING("message", "cache: an identity that does not read back", err.message);
    CHECK_INT("kind", CREDENTIAL_NONE, got.kind);
    CHECK_STRING("subject", "", got.subject);
}

static void
test_claims_without_their_ends_are_corrupt(void)
{
    char bytes[IDENTITY_ENCODED_SIZE];
    struct identity identity = sample();
    struct identity got;
    struct buf out;

    buf_init(&out, bytes, sizeof(bytes));
    identity.claims_length = 12; /* the last NUL is missing */
    identity_encode(&identity, &out);
    CHECK_STATUS(STATUS_CORRUPT, identity_decode(bytes, out.length, &got, NULL), NULL);
    buf_clear(&out);
    identity.claims_length = 5; /* a name without a value */
    identity_encode(&identity, &out);
    CHECK_STATUS(STATUS_CORRUPT, identity_decode(bytes, out.length, &got, NULL), NULL);
}

/* ---- a worker's memory --------------------------------------------------------------------------
 */

static void
make_digest(uint8_t digest[SHA256_BYTES], uint8_t number)
{
    memset(digest, 0, SHA256_BYTES);
    digest[SHA256_BYTES - 1] = number; /* all in one bucket */
}

static void
put(struct identity_memory *memory, uint8_t number)
{
    struct identity identity = sample();
    uint8_t digest[SHA256_BYTES];

    make_digest(digest, number);
    identity.verification = number;
    identity_memory_put(memory, digest, &identity);
}

static int64_t
get(struct identity_memory *memory, uint8_t number)
{
    const struct identity *identity;
    uint8_t digest[SHA256_BYTES];

    make_digest(digest, number);
    identity = identity_memory_get(memory, digest);
    return identity == NULL ? -1 : identity->verification;
}

static void
test_memory_forgets_what_was_not_used_for_longest(void)
{
    struct identity_memory *memory;
    struct error err;

    CHECK_STATUS(STATUS_OK, identity_memory_open(3, &memory, &err), &err);
    CHECK_INT("empty", -1, get(memory, 1));
    for (uint8_t i = 1; i <= 3; i++)
        put(memory, i);
    CHECK_INT("first", 1, get(memory, 1)); /* used: now the second is the oldest */
    put(memory, 4);
    CHECK_INT("second", -1, get(memory, 2));
    CHECK_INT("first", 1, get(memory, 1));
    CHECK_INT("third", 3, get(memory, 3));
    CHECK_INT("fourth", 4, get(memory, 4));
    identity_memory_close(memory);
}

static void
test_memory_removes_and_uses_the_place_again(void)
{
    struct identity_memory *memory;
    uint8_t digest[SHA256_BYTES];
    struct error err;

    CHECK_STATUS(STATUS_OK, identity_memory_open(2, &memory, &err), &err);
    for (uint8_t i = 1; i <= 100; i++) {
        put(memory, i);
        put(memory, i); /* the same again */
        make_digest(digest, (uint8_t)(i - 1));
        identity_memory_remove(memory, digest);
        identity_memory_remove(memory, digest);
        CHECK_INT("kept", i, get(memory, i));
        CHECK_INT("removed", -1, get(memory, (uint8_t)(i - 1)));
    }
    identity_memory_close(memory);
    identity_memory_close(NULL);
}

static void
test_registry_names_a_kind_that_nobody_verifies(void)
{
    static const struct verifier *const few[] = { &verifier_api_key, NULL };
    struct route route = { .prefix = "/api/", .accept = CREDENTIAL_SESSION_TOKEN };
    struct fixture f;

    set_up(&f);
    CHECK_STATUS(STATUS_OK, verifier_check_settings(few, f.settings, &f.err), &f.err);
    f.settings->clerk.accept = CREDENTIAL_API_KEY | CREDENTIAL_M2M_TOKEN | CREDENTIAL_OAUTH_TOKEN;
    CHECK_STATUS(STATUS_INVALID, verifier_check_settings(few, f.settings, &f.err), &f.err);
    CHECK_STRING("message",
                 "clerk { accept } names m2m_token, which this program cannot verify: remove it",
                 f.err.message);
    f.settings->clerk.accept = CREDENTIAL_API_KEY;
    f.settings->policy.routes = &route;
    f.settings->policy.route_count = 1;
    CHECK_STATUS(STATUS_INVALID, verifier_check_settings(few, f.settings, &f.err), &f.err);
    CHECK_STRING(
        "message",
        "route \"/api/\" accepts session_token, which this program cannot verify: remove it",
        f.err.message);
    CHECK_TRUE("found", verifier_find(verifiers, CREDENTIAL_API_KEY, CREDENTIAL_OPAQUE) != NULL);
    CHECK_TRUE("form", verifier_find(verifiers, CREDENTIAL_API_KEY, CREDENTIAL_JWT) == NULL);
    f.settings->clerk.accept = CREDENTIAL_API_KEY | CREDENTIAL_M2M_TOKEN |
                               CREDENTIAL_SESSION_TOKEN | CREDENTIAL_OAUTH_TOKEN;
    CHECK_STATUS(STATUS_OK, verifier_check_settings(verifiers, f.settings, &f.err), &f.err);
    tear_down(&f);
}

/* ---- other opaque credentials -------------------------------------------------------------------
 */

#define MACHINE "mch_2abcdefghijklmnopqrstuvwxyz"

static enum status
read_token(struct fixture *f, enum credential_kind kind, const char *body)
{
    struct clerk_answer answer = { .outcome = CLERK_ANSWERED,
                                   .http_status = 200,
                                   .json = true,
                                   .body = body,
                                   .body_length = strlen(body) };

    memset(&f->finding, 0x5a, sizeof(f->finding));
    return verifier_opaque_read(kind, &answer, f->settings, NOW_US, &f->finding, &f->err);
}

static enum status
read_machine(struct fixture *f, const char *subject, const char *scopes)
{
    char text[1024];
    struct buf body;

    buf_init(&body, text, sizeof(text));
    buf_add_format(&body,
                   "{\"object\":\"machine_to_machine_token\",\"id\":\"mt_1\",\"subject\":\"%s\","
                   "\"revoked\":false,\"expired\":false,\"expiration\":1798761600000%s}",
                   subject, scopes);
    return read_token(f, CREDENTIAL_M2M_TOKEN, text);
}

static void
test_m2m_token_must_name_our_machine(void)
{
    struct fixture f;

    set_up(&f);
    f.settings->clerk.key_scopes = true;
    CHECK_STATUS(STATUS_OK, read_machine(&f, MACHINE, ",\"scopes\":[\"mch_ours\"]"), &f.err);
    CHECK_FALSE("no machine of ours", f.finding.valid);
    CHECK_TRUE("ours", text_copy(f.settings->clerk.machine_id, NAME_SIZE, "mch_ours"));
    CHECK_STATUS(STATUS_OK, read_machine(&f, MACHINE, ",\"scopes\":[\"mch_x\",\"mch_ours\"]"),
                 &f.err);
    CHECK_TRUE("named", f.finding.valid);
    CHECK_STRING("key id", "mt_1", f.finding.identity.key_id);
    CHECK_STRING("machines are no scopes", "", f.finding.identity.scopes);
    CHECK_STATUS(STATUS_OK, read_machine(&f, MACHINE, ",\"scopes\":[\"mch_oursx\",7,null]"),
                 &f.err);
    CHECK_FALSE("others", f.finding.valid);
    CHECK_STATUS(STATUS_OK, read_machine(&f, MACHINE, ",\"scopes\":\"mch_ours\""), &f.err);
    CHECK_FALSE("a text", f.finding.valid);
    CHECK_STATUS(STATUS_OK, read_machine(&f, MACHINE, ""), &f.err);
    CHECK_FALSE("none", f.finding.valid);
    CHECK_STATUS(STATUS_OK, read_machine(&f, "user_1", ",\"scopes\":[\"mch_ours\"]"), &f.err);
    CHECK_FALSE("no machine", f.finding.valid);
    /* With the machine's own key Clerk has looked. */
    f.settings->clerk.machine_id[0] = '\0';
    CHECK_STATUS(STATUS_OK, secret_set(&f.settings->clerk.secret_key, "ak_machine", 10, &f.err),
                 &f.err);
    CHECK_STATUS(STATUS_OK, read_machine(&f, MACHINE, ""), &f.err);
    CHECK_TRUE("by its own key", f.finding.valid);
    tear_down(&f);
}

#define OAUTH                                                                          \
    "{\"object\":\"clerk_idp_oauth_access_token\",\"id\":\"oat_1\",\"revoked\":false," \
    "\"expired\":false,\"client_id\":\"client_1\","

static void
test_oauth_token_is_its_clients(void)
{
    struct fixture f;

    set_up(&f);
    f.settings->clerk.key_scopes = true;
    CHECK_STATUS(STATUS_OK,
                 read_token(&f, CREDENTIAL_OAUTH_TOKEN,
                            OAUTH "\"subject\":\"user_1\",\"expiration\":1798761600,\"org_id\":"
                                  "\"org_1\",\"scopes\":[\"profile\",\"a*\",\"profile\",3]}"),
                 &f.err);
    CHECK_TRUE("valid", f.finding.valid);
    CHECK_STRING("key id", "client_1", f.finding.identity.key_id);
    CHECK_STRING("organization", "org_1", f.finding.identity.organization);
    CHECK_STRING("scopes", "profile", f.finding.identity.scopes);
    CHECK_TRUE("seconds", f.finding.identity.expires_us == INT64_C(1798761600) * US_PER_SECOND);
    CHECK_STATUS(STATUS_OK, read_token(&f, CREDENTIAL_OAUTH_TOKEN, "{\"active\":false}"), &f.err);
    CHECK_FALSE("inactive", f.finding.valid);
    CHECK_STATUS(STATUS_OK, read_token(&f, CREDENTIAL_OAUTH_TOKEN, "{\"active\":null}"), &f.err);
    CHECK_FALSE("not said to be active", f.finding.valid);
    CHECK_STATUS(STATUS_OK,
                 read_token(&f, CREDENTIAL_OAUTH_TOKEN, OAUTH "\"subject\":\"" MACHINE "\"}"),
                 &f.err);
    CHECK_FALSE("a machine", f.finding.valid);
    CHECK_STATUS(STATUS_UNAVAILABLE,
                 read_token(&f, CREDENTIAL_OAUTH_TOKEN, "{\"object\":\"api_key\"}"), &f.err);
    CHECK_FALSE("another object", f.finding.valid);
    tear_down(&f);
}

/* ---- scopes of the credential -------------------------------------------------------------------
 */

static const char *
features_of(struct fixture *f, const char *claims)
{
    struct json *tree = NULL;

    f->finding.identity.scopes[0] = '\0';
    f->finding.identity.subject[0] = '\0';
    CHECK_STATUS(STATUS_OK, json_parse(claims, strlen(claims), &tree, &f->err), &f->err);
    features_add_scopes(tree, &f->finding.identity);
    json_free(tree);
    return f->finding.identity.scopes;
}

static void
test_features_that_are_malformed_add_nothing(void)
{
    struct fixture f;

    set_up(&f);
    CHECK_STRING("blanks", "o:a org:a:x u:b",
                 features_of(&f, "{\"v\":2,\"fea\":\" o:a , u:b\",\"o\":{\"per\":\"x, y\",\"fpm\":"
                                 "\"1 \"}}"));
    CHECK_STRING("prefixes", "", features_of(&f, "{\"v\":2,\"fea\":\"a,:a,x:a,o:,,o\",\"o\":{}}"));
    CHECK_STRING("no numbers", "o:a",
                 features_of(&f, "{\"v\":2,\"fea\":\"o:a\",\"o\":{\"per\":\"x\"}}"));
    CHECK_STRING("no permissions", "o:a",
                 features_of(&f, "{\"v\":2,\"fea\":\"o:a\",\"o\":{\"fpm\":\"1\"}}"));
    CHECK_STRING("no number", "o:a o:b org:b:x",
                 features_of(&f, "{\"v\":2,\"fea\":\"o:a,o:b\",\"o\":{\"per\":\"x\",\"fpm\":"
                                 "\"-1,1\"}}"));
    CHECK_STRING("of version 1", "org:a:x",
                 features_of(&f, "{\"fea\":\"o:a\",\"org_permissions\":[\"org:a:x\",5,\"*\"]}"));
    CHECK_STRING("other types", "", features_of(&f, "{\"v\":2,\"fea\":[\"o:a\"],\"o\":7}"));
    tear_down(&f);
}

static void
test_scopes_beyond_their_room_are_left_out(void)
{
    struct fixture f;
    struct identity *identity = &f.finding.identity;
    char scope[SCOPE_SIZE + 1];

    set_up(&f);
    memset(scope, 'x', sizeof(scope));
    identity->scopes[0] = '\0';
    identity->subject[0] = '\0';
    identity_scope_add(identity, scope, SCOPE_SIZE);
    CHECK_STRING("too long", "", identity->scopes);
    for (int i = 0; i < 100; i++) {
        scope[0] = (char)('0' + i % 10);
        scope[1] = (char)('0' + i / 10);
        identity_scope_add(identity, scope, SCOPE_SIZE - 1);
    }
    CHECK_INT("sixteen", 16 * SCOPE_SIZE - 1, strlen(identity->scopes));
    scope[SCOPE_SIZE - 1] = '\0';
    memcpy(scope, "00", 2);
    CHECK_TRUE("the first", identity_scope_granted(identity, scope));
    scope[SCOPE_SIZE - 2] = '\0';
    CHECK_FALSE("not its beginning", identity_scope_granted(identity, scope));
    CHECK_FALSE("nor nothing", identity_scope_granted(identity, ""));
    tear_down(&f);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_good_key_is_an_identity),
        CHECK_TEST(test_no_plan_matches_and_none_is_the_default),
        CHECK_TEST(test_answers_that_mean_an_invalid_key),
        CHECK_TEST(test_expiration_is_milliseconds_or_seconds),
        CHECK_TEST(test_expiration_that_is_no_time_is_invalid),
        CHECK_TEST(test_answers_that_say_nothing),
        CHECK_TEST(test_subject_that_cannot_be_an_account_says_nothing),
        CHECK_TEST(test_subject_that_names_a_key_a_group_or_all_is_invalid),
        CHECK_TEST(test_machine_is_refused_unless_machines_are_accepted),
        CHECK_TEST(test_organization_is_the_subject_or_a_claim),
        CHECK_TEST(test_organization_that_is_none_is_invalid),
        CHECK_TEST(test_parent_comes_from_the_claim_that_the_plan_names),
        CHECK_TEST(test_parent_without_a_kind_is_a_group),
        CHECK_TEST(test_claims_are_passed_as_text_or_json),
        CHECK_TEST(test_claims_that_no_header_can_hold_are_left_out),
        CHECK_TEST(test_claims_stop_where_their_room_ends),
        CHECK_TEST(test_identity_survives_being_written_down),
        CHECK_TEST(test_every_cut_and_every_extra_byte_is_noticed),
        CHECK_TEST(test_claims_without_their_ends_are_corrupt),
        CHECK_TEST(test_memory_forgets_what_was_not_used_for_longest),
        CHECK_TEST(test_memory_removes_and_uses_the_place_again),
        CHECK_TEST(test_registry_names_a_kind_that_nobody_verifies),
        CHECK_TEST(test_m2m_token_must_name_our_machine),
        CHECK_TEST(test_oauth_token_is_its_clients),
        CHECK_TEST(test_features_that_are_malformed_add_nothing),
        CHECK_TEST(test_scopes_beyond_their_room_are_left_out),
    };

    return check_main("identity", tests, CHECK_COUNT(tests));
}
