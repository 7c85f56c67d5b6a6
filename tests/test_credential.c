/* SPDX-License-Identifier: MIT */
/* Where a credential is found, what is refused by its looks, and which kind it is. */
#include "authorizer/credential.h"

#include "common/buf.h"
#include "common/crypto.h"

#include "tests/check.h"

#include <stdlib.h>

#include "common/banned.h"

static struct credential
find(const char *authorization, const char *redirected, const char *cookies)
{
    struct credential_source source = { authorization, redirected, cookies };
    struct credential found;

    credential_find(&source, &found);
    return found;
}

static void
check_found(const char *what, struct credential found, const char *want)
{
    char text[256] = "";

    CHECK_INT(what, CREDENTIAL_PRESENT, found.state);
    if (found.state != CREDENTIAL_PRESENT || !CHECK_TRUE(what, found.length < sizeof(text)))
        return;
    memcpy(text, found.text, found.length);
    CHECK_STRING(what, want, text);
}

static void
check_kind(enum credential_kind want, const char *header)
{
    struct credential found = find(header, NULL, NULL);

    CHECK_INT(header, CREDENTIAL_PRESENT, found.state);
    CHECK_INT(header, want, credential_kind_of(&found));
}

/* A JWT of these two JSON texts, with a signature that nobody made. The caller frees it. */
static char *
make_jwt(const char *before, const char *header, const char *payload, const char *after)
{
    size_t size = 1024 + 2 * (strlen(header) + strlen(payload));
    char *text = malloc(size);
    struct buf out;

    buf_init(&out, text, size);
    buf_add(&out, before);
    buf_add_base64url(&out, header, strlen(header));
    buf_add_char(&out, '.');
    buf_add_base64url(&out, payload, strlen(payload));
    buf_add(&out, ".c2lnbmF0dXJl");
    buf_add(&out, after);
    CHECK_FALSE("failed", buf_failed(&out));
    return text;
}

static void
check_jwt(enum credential_kind want, const char *header, const char *payload)
{
    char *text = make_jwt("Bearer ", header, payload, "");
    struct credential found = find(text, NULL, NULL);

    CHECK_INT(payload, CREDENTIAL_PRESENT, found.state);
    CHECK_INT(payload, CREDENTIAL_JWT, found.form);
    CHECK_INT(payload, want, credential_kind_of(&found));
    free(text);
}

static void
test_scheme_is_compared_without_case(void)
{
    check_found("Bearer", find("Bearer ak_1", NULL, NULL), "ak_1");
    check_found("bearer", find("bearer ak_1", NULL, NULL), "ak_1");
    check_found("BEARER", find("BEARER ak_1", NULL, NULL), "ak_1");
}

static void
test_spaces_around_the_credential_do_not_count(void)
{
    check_found("before", find("  Bearer   ak_1", NULL, NULL), "ak_1");
    check_found("behind", find("Bearer ak_1 \t ", NULL, NULL), "ak_1");
}

static void
test_nothing_is_absent(void)
{
    static const char *const none[] = { NULL,      "",           " ",         "Bearer",
                                        "Bearer ", "Bearer \t ", "Basic YQ",  "Bearerak_1",
                                        "ak_1",    "Token ak_1", "Beare ak_1" };

    for (size_t i = 0; i < CHECK_COUNT(none); i++)
        CHECK_INT(none[i] != NULL ? none[i] : "NULL", CREDENTIAL_ABSENT,
                  find(none[i], NULL, NULL).state);
}

static void
test_bytes_outside_the_token_alphabet_are_malformed(void)
{
    static const char *const bad[] = {
        "Bearer ak_1 x",    "Bearer ak_\"1",      "Bearer ak_1, Bearer ak_2",
        "Bearer ak_\x01",   "Bearer ak_\xc3\xa4", "Bearer =",
        "Bearer ak_1=x",    "Bearer ak_1\\",      "Bearer \tak_1",
        "Bearer a.b.c.d e", "Bearer ak_1\r\nX: y"
    };

    for (size_t i = 0; i < CHECK_COUNT(bad); i++)
        CHECK_INT(bad[i], CREDENTIAL_MALFORMED, find(bad[i], NULL, NULL).state);
}

static void
test_the_whole_token_alphabet_is_taken(void)
{
    check_found("alphabet", find("Bearer ak_aZ09-._~+/==", NULL, NULL), "ak_aZ09-._~+/==");
}

static void
check_length(bool jwt, size_t length, enum credential_state want)
{
    char *text = malloc(length + 8);

    memcpy(text, "Bearer ", 7);
    memset(text + 7, 'a', length);
    if (jwt) {
        text[7 + 10] = '.';
        text[7 + 20] = '.';
    }
    text[7 + length] = '\0';
    CHECK_INT(jwt ? "jwt" : "opaque", want, find(text, NULL, NULL).state);
    free(text);
}

static void
test_length_has_a_limit_that_depends_on_the_form(void)
{
    check_length(false, CREDENTIAL_OPAQUE_MAX, CREDENTIAL_PRESENT);
    check_length(false, CREDENTIAL_OPAQUE_MAX + 1, CREDENTIAL_MALFORMED);
    check_length(true, CREDENTIAL_JWT_MAX, CREDENTIAL_PRESENT);
    check_length(true, CREDENTIAL_JWT_MAX + 1, CREDENTIAL_MALFORMED);
}

static void
test_redirected_header_counts_when_the_other_is_missing(void)
{
    check_found("missing", find(NULL, "Bearer ak_2", NULL), "ak_2");
    check_found("empty", find("", "Bearer ak_2", NULL), "ak_2");
    check_found("both", find("Bearer ak_1", "Bearer ak_2", NULL), "ak_1");
    CHECK_INT("other scheme", CREDENTIAL_ABSENT, find("Basic YQ", "Bearer ak_2", NULL).state);
}

static void
test_opaque_kinds_go_by_prefix(void)
{
    check_kind(CREDENTIAL_API_KEY, "Bearer ak_1");
    check_kind(CREDENTIAL_M2M_TOKEN, "Bearer mt_1");
    check_kind(CREDENTIAL_OAUTH_TOKEN, "Bearer oat_1");
    check_kind(CREDENTIAL_NONE, "Bearer sk_test_1");
    check_kind(CREDENTIAL_NONE, "Bearer AK_1");
    check_kind(CREDENTIAL_NONE, "Bearer ak_");
    check_kind(CREDENTIAL_NONE, "Bearer a.b");
    check_kind(CREDENTIAL_NONE, "Bearer a..c");
    check_kind(CREDENTIAL_NONE, "Bearer .b.c");
    check_kind(CREDENTIAL_NONE, "Bearer a.b.");
    check_kind(CREDENTIAL_NONE, "Bearer a.b.c.d");
}

static void
test_jwt_kinds_go_by_subject_and_type(void)
{
    check_jwt(CREDENTIAL_SESSION_TOKEN, "{\"alg\":\"RS256\",\"typ\":\"JWT\"}",
              "{\"sub\":\"user_1\"}");
    check_jwt(CREDENTIAL_M2M_TOKEN, "{\"alg\":\"RS256\"}", "{\"sub\":\"mch_1\"}");
    check_jwt(CREDENTIAL_OAUTH_TOKEN, "{\"typ\":\"at+jwt\"}", "{\"sub\":\"user_1\"}");
    check_jwt(CREDENTIAL_OAUTH_TOKEN, "{\"typ\":\"application/at+jwt\"}", "{\"sub\":\"user_1\"}");
    check_jwt(CREDENTIAL_M2M_TOKEN, "{\"typ\":\"at+jwt\"}", "{\"sub\":\"mch_1\"}");
}

static void
test_jwt_that_cannot_be_read_is_a_session_token(void)
{
    check_kind(CREDENTIAL_SESSION_TOKEN, "Bearer a.b.c");
    check_kind(CREDENTIAL_SESSION_TOKEN, "Bearer ak_.mt_.oat_");
    check_jwt(CREDENTIAL_SESSION_TOKEN, "[]", "7");
    check_jwt(CREDENTIAL_SESSION_TOKEN, "{\"typ\":3}", "{\"sub\":[\"mch_1\"]}");
}

static void
test_cookie_is_read_only_when_it_is_given(void)
{
    char *cookies = make_jwt("a=b; __session=", "{}", "{\"sub\":\"user_1\"}", "; c=d");
    struct credential found = find(NULL, NULL, cookies);

    CHECK_INT("state", CREDENTIAL_PRESENT, found.state);
    CHECK_TRUE("cookie", found.from_cookie);
    CHECK_INT("kind", CREDENTIAL_SESSION_TOKEN, credential_kind_of(&found));
    CHECK_INT("off", CREDENTIAL_ABSENT, find(NULL, NULL, NULL).state);
    free(cookies);
}

static void
test_header_wins_over_cookie(void)
{
    check_found("header", find("Bearer ak_1", NULL, "__session=a.b.c"), "ak_1");
    check_found("other scheme", find("Basic YQ", NULL, "__session=a.b.c"), "a.b.c");
}

static void
test_cookie_name_is_exact_or_has_a_suffix(void)
{
    check_found("exact first", find(NULL, NULL, "__session_x=d.e.f; __session=a.b.c"), "a.b.c");
    check_found("suffix", find(NULL, NULL, "__session_x=d.e.f"), "d.e.f");
    CHECK_INT("other", CREDENTIAL_ABSENT, find(NULL, NULL, "__sessions=a.b.c").state);
    CHECK_INT("inside", CREDENTIAL_ABSENT, find(NULL, NULL, "x__session=a.b.c").state);
    CHECK_INT("empty", CREDENTIAL_ABSENT, find(NULL, NULL, "__session=; a=b").state);
    CHECK_INT("no value", CREDENTIAL_ABSENT, find(NULL, NULL, "__session; a=b").state);
    CHECK_INT("nothing", CREDENTIAL_ABSENT, find(NULL, NULL, ";;; ;").state);
}

static void
test_machine_credentials_do_not_count_in_a_cookie(void)
{
    char *cookies = make_jwt("__session=", "{}", "{\"sub\":\"mch_1\"}", "");
    struct credential machine = find(NULL, NULL, cookies);
    struct credential key = find(NULL, NULL, "__session=ak_1");

    CHECK_INT("machine", CREDENTIAL_NONE, credential_kind_of(&machine));
    CHECK_INT("key", CREDENTIAL_NONE, credential_kind_of(&key));
    free(cookies);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_scheme_is_compared_without_case),
        CHECK_TEST(test_spaces_around_the_credential_do_not_count),
        CHECK_TEST(test_nothing_is_absent),
        CHECK_TEST(test_bytes_outside_the_token_alphabet_are_malformed),
        CHECK_TEST(test_the_whole_token_alphabet_is_taken),
        CHECK_TEST(test_length_has_a_limit_that_depends_on_the_form),
        CHECK_TEST(test_redirected_header_counts_when_the_other_is_missing),
        CHECK_TEST(test_opaque_kinds_go_by_prefix),
        CHECK_TEST(test_jwt_kinds_go_by_subject_and_type),
        CHECK_TEST(test_jwt_that_cannot_be_read_is_a_session_token),
        CHECK_TEST(test_cookie_is_read_only_when_it_is_given),
        CHECK_TEST(test_header_wins_over_cookie),
        CHECK_TEST(test_cookie_name_is_exact_or_has_a_suffix),
        CHECK_TEST(test_machine_credentials_do_not_count_in_a_cookie),
    };

    return check_main("credential", tests, CHECK_COUNT(tests));
}
