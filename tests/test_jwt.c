/* SPDX-License-Identifier: MIT */
/*
 * JWTs: the table of tests/vectors/jwt.json (made by tests/jwt_table.pl), each token on the way it
 * takes in a request, and the key set: when it is fetched, shared, kept and given up.
 */
#include "authorizer/jwks.h"
#include "authorizer/jwt.h"

#include "authorizer/verifier.h"

#include "tests/check.h"
#include "tests/scratch.h"

#include "common/banned.h"

#define VECTORS_MAX (1 << 20)
#define SHAPE "the credential is malformed, or of no known kind"

/* ---- fixture ------------------------------------------------------------------------------------
 */

static struct {
    char *text; /* the vectors */
    struct json *vectors;
    int64_t now_us, boot_us;
    struct settings *settings;
    struct plan plan;
    struct scratch scratch;
    struct host_cache *host;
    struct verification_cache cache;
    struct flight *flight;
    struct jwks *keys;
    struct verifier_finding finding;
    struct error err;
    /* the scripted Clerk */
    int calls;
    enum status status;
    int http_status;
    bool not_json;
    const char *body;
    char jwks[16384];
} f;

static int64_t
fixture_now(void *context)
{
    (void)context;
    return f.now_us;
}

static int64_t
fixture_boot(void *context)
{
    (void)context;
    return f.boot_us;
}

static const struct clock fixture_clock = { fixture_now, fixture_boot, NULL };

static enum status
scripted_ask(void *context, const struct clerk_call *call, struct clerk_answer *out,
             struct error *err)
{
    CHECK_TRUE("context", context == &f);
    CHECK_STRING("path", "/v1/jwks", call->path);
    CHECK_TRUE("a GET that nobody counts", call->body == NULL && call->use == QUOTA_FOR_UNCOUNTED);
    f.calls++;
    *out = (struct clerk_answer){ .outcome = CLERK_UNAVAILABLE, .body = "" };
    if (f.status != STATUS_OK)
        return error_set(err, f.status, "the scripted Clerk does not answer");
    *out = (struct clerk_answer){ .outcome = CLERK_ANSWERED,
                                  .http_status = f.http_status,
                                  .json = !f.not_json,
                                  .body = f.body,
                                  .body_length = strlen(f.body) };
    return STATUS_OK;
}

static void
read_vectors(void)
{
    const char *folder = getenv("srcdir");
    char path[512];
    FILE *file;
    size_t length;

    snprintf(path, sizeof(path), "%s/tests/vectors/jwt.json", folder == NULL ? "." : folder);
    file = fopen(path, "re");
    f.text = calloc(1, VECTORS_MAX);
    if (file == NULL || f.text == NULL) {
        printf("%s cannot be read\n", path);
        exit(1);
    }
    length = fread(f.text, 1, VECTORS_MAX - 1, file);
    fclose(file);
    if (json_parse(f.text, length, &f.vectors, &f.err) != STATUS_OK)
        exit(1);
}

static void
copy_member(const char *name, char *out, size_t size)
{
    CHECK_TRUE(name, text_copy(out, size, json_string(json_member(f.vectors, name))));
}

static void
open_host(const char *path)
{
    const struct host_cache_options options = { .path = path, .group = "" };

    CHECK_STATUS(STATUS_OK, host_cache_open(&options, &f.host, &f.err), &f.err);
    f.cache.host = f.host;
}

static struct jwks *
open_keys(const char *pem)
{
    struct jwks *keys = NULL;
    static struct secret secret;
    struct jwks_options options = { .pem = &secret,
                                    .cache = &f.cache,
                                    .flight = f.flight,
                                    .clock = fixture_clock,
                                    .ask = scripted_ask,
                                    .context = &f };

    secret_clear(&secret);
    if (pem != NULL)
        CHECK_STATUS(STATUS_OK, secret_set(&secret, pem, strlen(pem), &f.err), &f.err);
    CHECK_STATUS(STATUS_OK, jwks_open(&options, &keys, &f.err), &f.err);
    return keys;
}

static void
set_up(void)
{
    struct buf jwks;
    char path[128];

    scratch_open(&f.scratch);
    scratch_catch_log(&f.scratch);
    CHECK_TRUE("now",
               json_int64(json_member(f.vectors, "now"), 0, INT64_MAX / US_PER_SECOND, &f.now_us));
    f.now_us *= US_PER_SECOND;
    f.boot_us = 1000 * US_PER_SECOND;
    f.settings = calloc(1, sizeof(*f.settings));
    if (f.settings == NULL)
        abort();
    copy_member("issuer", f.settings->clerk.issuer, URL_SIZE);
    copy_member("machine_id", f.settings->clerk.machine_id, NAME_SIZE);
    f.settings->clerk.authorized_parties.count = 1;
    CHECK_TRUE(
        "party",
        text_copy(f.settings->clerk.authorized_parties.items[0], 256,
                  json_string(json_element(json_member(f.vectors, "authorized_parties"), 0))));
    f.settings->clerk.clock_skew_us = 5 * US_PER_SECOND;
    f.settings->clerk.key_scopes = true;
    f.plan = (struct plan){ .name = "free" };
    f.settings->policy.plans = &f.plan;
    f.settings->policy.plan_count = 1;
    memcpy(f.settings->policy.default_plan, "free", sizeof("free"));
    buf_init(&jwks, f.jwks, sizeof(f.jwks));
    json_write(json_member(f.vectors, "jwks"), &jwks);
    f.body = buf_text(&jwks);
    f.status = STATUS_OK;
    f.http_status = 200;
    f.not_json = false;
    f.calls = 0;
    scratch_path(&f.scratch, "cache.db", path);
    open_host(path);
    scratch_path(&f.scratch, "waiting", path);
    CHECK_STATUS(
        STATUS_OK,
        flight_open(&(struct flight_options){ path, "", 2, fixture_clock }, &f.flight, &f.err),
        &f.err);
    f.keys = open_keys(NULL);
}

static void
tear_down(void)
{
    jwks_close(f.keys);
    flight_close(f.flight);
    host_cache_close(f.host);
    free(f.settings);
    scratch_close(&f.scratch);
}

/* The vector of this name. */
static const struct json *
vector(const char *name)
{
    const struct json *tokens = json_member(f.vectors, "tokens");

    for (size_t i = 0; i < json_count(tokens); i++) {
        const struct json *one = json_element(tokens, i);

        if (strcmp(json_string(json_member(one, "name")), name) == 0)
            return one;
    }
    printf("no vector \"%s\"\n", name);
    exit(1);
}

/* What becomes of a token in the header; f.finding says what was found. */
static enum status
verify_with(struct jwks *keys, const char *token)
{
    char header[CREDENTIAL_JWT_MAX + 8192];
    struct credential credential;
    struct credential_source source = { .authorization = header };
    struct verifier_tools tools = { .settings = f.settings, .keys = keys };
    struct verifier_question question = { .credential = &credential,
                                          .now_us = f.now_us,
                                          .deadline_us = f.boot_us + US_PER_SECOND };
    const struct verifier *verifier = NULL;

    snprintf(header, sizeof(header), "Bearer %s", token);
    memset(&f.finding, 0, sizeof(f.finding));
    f.finding.valid = true;
    credential_find(&source, &credential);
    if (credential.state == CREDENTIAL_PRESENT) {
        question.kind = credential_kind_of(&credential);
        verifier = verifier_find(verifiers, question.kind, credential.form);
    }
    if (verifier != NULL)
        return verifier->check(&tools, &question, &f.finding, &f.err);
    f.finding.valid = false;
    return error_set(&f.finding.why, STATUS_INVALID, SHAPE) == STATUS_INVALID ? STATUS_OK
                                                                              : STATUS_INTERNAL;
}

static enum status
verify(const char *name)
{
    return verify_with(f.keys, json_string(json_member(vector(name), "token")));
}

/* ---- the table ----------------------------------------------------------------------------------
 */

static bool
check_member(const struct json *vector, const char *name, const char *got)
{
    return CHECK_STRING(name, json_string(json_member(vector, name)), got);
}

static bool
check_vector(const struct json *one)
{
    const struct identity *identity = &f.finding.identity;
    bool valid = json_boolean(json_member(one, "valid"), false);
    bool good;

    if (!CHECK_STATUS(STATUS_OK, verify_with(f.keys, json_string(json_member(one, "token"))),
                      &f.err))
        return false;
    good = CHECK_INT("valid", valid, f.finding.valid);
    if (!valid)
        return check_member(one, "why", f.finding.why.message) && good;
    good = CHECK_STRING("why", "", f.finding.why.message) && good;
    good = check_member(one, "subject", identity->subject) && good;
    good = check_member(one, "key_id", identity->key_id) && good;
    good = check_member(one, "organization", identity->organization) && good;
    good = CHECK_STRING("plan", "free", identity->plan) && good;
    return check_member(one, "scopes", identity->scopes) && good;
}

static void
test_table_holds_token_by_token(void)
{
    const struct json *tokens = json_member(f.vectors, "tokens");
    int valid = 0;

    set_up();
    for (size_t i = 0; i < json_count(tokens); i++) {
        const struct json *one = json_element(tokens, i);

        valid += json_boolean(json_member(one, "valid"), false);
        if (!check_vector(one))
            printf("    in \"%s\"\n", json_string(json_member(one, "name")));
    }
    CHECK_TRUE("good ones", valid >= 10);
    CHECK_TRUE("bad ones", (int)json_count(tokens) - valid >= 40);
    CHECK_INT("the key set is fetched once for all of them", 1, f.calls);
    tear_down();
}

/* Every cut and every changed bit of a good token is refused. */
static void
test_no_part_of_a_token_can_be_missing_or_changed(void)
{
    char token[4096];
    size_t length;

    set_up();
    CHECK_TRUE("fits", text_copy(token, sizeof(token),
                                 json_string(json_member(vector("a session token"), "token"))));
    length = strlen(token);
    CHECK_STATUS(STATUS_OK, verify_with(f.keys, token), &f.err);
    CHECK_TRUE("whole", f.finding.valid);
    for (size_t i = 0; i < length; i++) {
        char kept = token[i];

        token[i] = kept == 'A' ? 'B' : 'A';
        if (verify_with(f.keys, token) == STATUS_OK && f.finding.valid)
            CHECK_INT("changed", -1, i);
        token[i] = '\0';
        if (verify_with(f.keys, token) == STATUS_OK && f.finding.valid)
            CHECK_INT("cut", -1, i);
        token[i] = kept;
    }
    tear_down();
}

static void
test_expiry_is_the_first_moment_of_refusal(void)
{
    int64_t expires_us;

    set_up();
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    expires_us = f.finding.identity.expires_us;
    CHECK_INT("exp and the skew", f.now_us + 65 * US_PER_SECOND, expires_us);
    f.now_us = expires_us - 1;
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_TRUE("a microsecond before", f.finding.valid);
    f.now_us = expires_us;
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_FALSE("then", f.finding.valid);
    CHECK_STRING("reason", "expired", f.finding.reason);
    tear_down();
}

static void
test_settings_decide_what_a_token_must_say(void)
{
    set_up();
    f.settings->clerk.authorized_parties.count = 0;
    CHECK_STATUS(STATUS_OK, verify("no party"), &f.err);
    CHECK_TRUE("no party asked for", f.finding.valid);
    f.settings->clerk.key_scopes = false;
    CHECK_STATUS(STATUS_OK, verify("version 2, with an organization"), &f.err);
    CHECK_TRUE("valid", f.finding.valid);
    CHECK_STRING("no scopes of its own", "", f.finding.identity.scopes);
    f.settings->clerk.machine_id[0] = '\0';
    CHECK_STATUS(STATUS_OK, verify("an M2M token"), &f.err);
    CHECK_FALSE("no machine of ours", f.finding.valid);
    f.settings->clerk.issuer[0] = '\0';
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_FALSE("a session needs the issuer", f.finding.valid);
    CHECK_STATUS(STATUS_OK, verify("OAuth of another issuer"), &f.err);
    CHECK_TRUE("an OAuth token does not", f.finding.valid);
    tear_down();
}

static void
test_plan_is_chosen_by_claims(void)
{
    set_up();
    f.plan = (struct plan){ .name = "pro", .match_count = 1, .matches = { "pla=o:pro" } };
    CHECK_STATUS(STATUS_OK, verify("version 2, with an organization"), &f.err);
    CHECK_STRING("plan", "pro", f.finding.identity.plan);
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_TRUE("valid without a plan", f.finding.valid);
    CHECK_STRING("none", "", f.finding.identity.plan);
    tear_down();
}

/* ---- the key set --------------------------------------------------------------------------------
 */

static void
test_pem_needs_no_network_and_no_kid(void)
{
    struct jwks *keys;

    set_up();
    keys = open_keys(json_string(json_member(f.vectors, "pem")));
    CHECK_STATUS(STATUS_OK, verify_with(keys, json_string(json_member(vector("no kid"), "token"))),
                 &f.err);
    CHECK_TRUE("no kid", f.finding.valid);
    CHECK_STATUS(
        STATUS_OK,
        verify_with(keys, json_string(json_member(vector("the second key of the set"), "token"))),
        &f.err);
    CHECK_FALSE("another key", f.finding.valid);
    jwks_after(keys, US_PER_SECOND);
    CHECK_INT("calls", 0, f.calls);
    jwks_close(keys);
    tear_down();
}

static void
test_pem_that_is_none_stops_the_start(void)
{
    struct jwks *keys = NULL;
    static struct secret secret;
    struct jwks_options options = { .pem = &secret };

    CHECK_STATUS(STATUS_OK, secret_set(&secret, "x", 1, &f.err), &f.err);
    CHECK_STATUS(STATUS_INVALID, jwks_open(&options, &keys, &f.err), &f.err);
    CHECK_STRING("message",
                 "clerk { jwt_key_file } or CLERK_JWT_KEY: not a PEM public key "
                 "(-----BEGIN PUBLIC KEY-----)",
                 f.err.message);
    CHECK_TRUE("none", keys == NULL);
}

static void
test_forged_kids_cost_one_fetch_in_ten_seconds(void)
{
    set_up();
    for (int i = 0; i < 50; i++) {
        CHECK_STATUS(STATUS_OK, verify("kid of nobody"), &f.err);
        CHECK_FALSE("forged", f.finding.valid);
    }
    CHECK_INT("at first", 1, f.calls);
    f.boot_us += JWKS_PAUSE_US;
    for (int i = 0; i < 50; i++)
        CHECK_STATUS(STATUS_OK, verify("kid of nobody"), &f.err);
    CHECK_INT("ten seconds later", 2, f.calls);
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_TRUE("a good one passes", f.finding.valid);
    CHECK_INT("and costs none", 2, f.calls);
    tear_down();
}

static void
test_processes_share_the_set(void)
{
    struct jwks *other;

    set_up();
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    other = open_keys(NULL);
    CHECK_STATUS(STATUS_OK,
                 verify_with(other, json_string(json_member(vector("a session token"), "token"))),
                 &f.err);
    CHECK_TRUE("valid", f.finding.valid);
    CHECK_INT("calls", 1, f.calls);
    jwks_close(other);
    tear_down();
}

static void
test_rotation_is_seen_at_the_first_new_kid(void)
{
    static const char nothing[] = "{\"keys\":[]}";
    const char *all = NULL;

    set_up();
    all = f.body;
    f.body = nothing;
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_FALSE("not yet there", f.finding.valid);
    f.body = all;
    f.boot_us += JWKS_PAUSE_US - 1;
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_FALSE("asked a moment ago", f.finding.valid);
    f.boot_us++;
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_TRUE("there", f.finding.valid);
    CHECK_INT("calls", 2, f.calls);
    tear_down();
}

/* A key that Clerk takes away counts no longer than the set is fresh and one request more. */
static void
test_stale_set_is_fetched_again_after_the_answer(void)
{
    set_up();
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    jwks_after(f.keys, US_PER_SECOND);
    CHECK_INT("fresh", 1, f.calls);
    f.boot_us += JWKS_FRESH_US;
    f.now_us += 0;
    f.body = "{\"keys\":[]}";
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_TRUE("answered from the old set", f.finding.valid);
    CHECK_INT("without waiting", 1, f.calls);
    jwks_after(f.keys, US_PER_SECOND);
    CHECK_INT("then fetched", 2, f.calls);
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_FALSE("taken away", f.finding.valid);
    tear_down();
}

static void
test_set_is_kept_for_a_day_while_clerk_is_down(void)
{
    set_up();
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    f.status = STATUS_UNAVAILABLE;
    f.boot_us += HOST_CACHE_KEEP_US;
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_TRUE("a day later", f.finding.valid);
    jwks_after(f.keys, US_PER_SECOND);
    CHECK_INT("fetched again, in vain", 2, f.calls);
    CHECK_INT("which is logged", 1, scratch_log_count(&f.scratch, "event=jwks"));
    CHECK_STATUS(STATUS_UNAVAILABLE, verify("kid of nobody"), &f.err);
    CHECK_FALSE("an unknown kid is neither valid nor invalid", f.finding.valid);
    CHECK_STRING("message",
                 "Clerk's key set could not be fetched a moment ago: see the error before",
                 f.err.message);
    CHECK_INT("nor asked about", 2, f.calls);
    f.boot_us += JWKS_PAUSE_US;
    CHECK_STATUS(STATUS_UNAVAILABLE, verify("a session token"), &f.err);
    CHECK_STRING("message", "the scripted Clerk does not answer", f.err.message);
    tear_down();
}

static void
test_answers_that_are_no_key_set_change_nothing(void)
{
    static char large[CACHE_DOCUMENT_MAX + 2];
    static const struct {
        const char *body;
        int http_status;
        bool not_json;
    } answers[] = { { "{\"keys\":[]}", 404, false },
                    { "{\"keys\":[]}", 200, true },
                    { "<html>", 200, false },
                    { "{}", 200, false },
                    { "[]", 200, false },
                    { "{\"keys\":{}}", 200, false },
                    { large, 200, false } };

    memset(large, ' ', sizeof(large) - 1);
    memcpy(large, "{\"keys\":[]}", 11);
    for (size_t i = 0; i < CHECK_COUNT(answers); i++) {
        const char *all = NULL;

        set_up();
        all = f.body;
        CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
        f.boot_us += JWKS_PAUSE_US;
        f.body = answers[i].body;
        f.http_status = answers[i].http_status;
        f.not_json = answers[i].not_json;
        CHECK_STATUS(STATUS_UNAVAILABLE, verify("kid of nobody"), &f.err);
        CHECK_TRUE("what to do", strstr(f.err.message, "check clerk { api_url }") != NULL);
        CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
        CHECK_TRUE("the set in hand counts", f.finding.valid);
        f.body = all;
        tear_down();
    }
}

/* Nobody waits behind more than `max_waiting` others. */
static void
test_no_slot_means_not_now(void)
{
    struct flight *other = NULL;
    char path[128];

    set_up();
    scratch_path(&f.scratch, "waiting", path);
    CHECK_STATUS(
        STATUS_OK,
        flight_open(&(struct flight_options){ path, "", 2, fixture_clock }, &other, &f.err),
        &f.err);
    CHECK_TRUE("the only slot", flight_take_slot(other, false));
    CHECK_STATUS(STATUS_BUSY, verify("a session token"), &f.err);
    CHECK_FALSE("not valid", f.finding.valid);
    flight_give_slot(other);
    CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
    CHECK_TRUE("valid", f.finding.valid);
    flight_close(other);
    tear_down();
}

static void
test_without_a_cache_file_each_process_counts_for_itself(void)
{
    set_up();
    host_cache_close(f.host);
    open_host("/nonexistent/cache.db");
    jwks_close(f.keys);
    f.keys = open_keys(NULL);
    for (int i = 0; i < 5; i++) {
        CHECK_STATUS(STATUS_OK, verify("a session token"), &f.err);
        CHECK_TRUE("valid", f.finding.valid);
        CHECK_STATUS(STATUS_OK, verify("kid of nobody"), &f.err);
    }
    CHECK_INT("calls", 1, f.calls);
    tear_down();
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_table_holds_token_by_token),
        CHECK_TEST(test_no_part_of_a_token_can_be_missing_or_changed),
        CHECK_TEST(test_expiry_is_the_first_moment_of_refusal),
        CHECK_TEST(test_settings_decide_what_a_token_must_say),
        CHECK_TEST(test_plan_is_chosen_by_claims),
        CHECK_TEST(test_pem_needs_no_network_and_no_kid),
        CHECK_TEST(test_pem_that_is_none_stops_the_start),
        CHECK_TEST(test_forged_kids_cost_one_fetch_in_ten_seconds),
        CHECK_TEST(test_processes_share_the_set),
        CHECK_TEST(test_rotation_is_seen_at_the_first_new_kid),
        CHECK_TEST(test_stale_set_is_fetched_again_after_the_answer),
        CHECK_TEST(test_set_is_kept_for_a_day_while_clerk_is_down),
        CHECK_TEST(test_answers_that_are_no_key_set_change_nothing),
        CHECK_TEST(test_no_slot_means_not_now),
        CHECK_TEST(test_without_a_cache_file_each_process_counts_for_itself),
    };
    int failed;

    read_vectors();
    failed = check_main("jwt", tests, CHECK_COUNT(tests));
    json_free(f.vectors);
    free(f.text);
    return failed;
}
