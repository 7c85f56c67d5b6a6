/* SPDX-License-Identifier: MIT */
#include "tracker/token.h"

#include "common/crypto.h"

#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

static void
test_presented_is_what_follows_bearer_in_any_case(void)
{
    CHECK_STRING("plain", "abc", token_presented("Bearer abc"));
    CHECK_STRING("case", "abc", token_presented("bEARER abc"));
    CHECK_STRING("spaces", "abc", token_presented("Bearer   abc"));
}

static void
test_nothing_is_presented_without_a_bearer_token(void)
{
    CHECK_STRING("no header", NULL, token_presented(NULL));
    CHECK_STRING("empty header", NULL, token_presented(""));
    CHECK_STRING("scheme alone", NULL, token_presented("Bearer"));
    CHECK_STRING("empty token", NULL, token_presented("Bearer  "));
    CHECK_STRING("another scheme", NULL, token_presented("Basic abc"));
    CHECK_STRING("longer scheme", NULL, token_presented("Bearerabc"));
    CHECK_STRING("tab", NULL, token_presented("Bearer\tabc"));
}

static struct settings *
settings_with(const char *const *tokens, size_t count)
{
    struct settings *settings = calloc(1, sizeof(*settings));

    if (settings == NULL)
        abort();
    for (size_t i = 0; i < count; i++) {
        struct tracker_token *token = &settings->tokens[settings->token_count++];

        CHECK_TRUE("name", text_copy(token->name, sizeof(token->name), tokens[i]));
        crypto_sha256(tokens[i], strlen(tokens[i]), token->sha256);
    }
    return settings;
}

static void
test_find_takes_exactly_the_configured_tokens(void)
{
    static const char *const tokens[] = { "first", "second", "third" };
    struct settings *settings = settings_with(tokens, 3);

    for (size_t i = 0; i < 3; i++) {
        const struct tracker_token *found = token_find(settings, tokens[i]);

        CHECK_STRING("found", tokens[i], found != NULL ? found->name : NULL);
    }
    CHECK_TRUE("another", token_find(settings, "fourth") == NULL);
    CHECK_TRUE("shorter", token_find(settings, "firs") == NULL);
    CHECK_TRUE("longer", token_find(settings, "first ") == NULL);
    CHECK_TRUE("empty", token_find(settings, "") == NULL);
    CHECK_TRUE("none", token_find(settings, NULL) == NULL);
    free(settings);
}

static void
test_find_knows_nobody_without_tokens(void)
{
    struct settings *settings = settings_with(NULL, 0);

    CHECK_TRUE("none configured", token_find(settings, "first") == NULL);
    free(settings);
}

static void
test_find_refuses_a_token_that_is_too_long_to_be_one(void)
{
    char *text = malloc(4098);
    const char *tokens[1] = { text };
    struct settings *settings = calloc(1, sizeof(*settings));

    if (text == NULL || settings == NULL)
        abort();
    memset(text, 'a', 4097);
    text[4097] = '\0';
    settings->token_count = 1;
    crypto_sha256(tokens[0], 4097, settings->tokens[0].sha256);
    CHECK_TRUE("4097", token_find(settings, text) == NULL);
    text[4096] = '\0';
    crypto_sha256(tokens[0], 4096, settings->tokens[0].sha256);
    CHECK_TRUE("4096", token_find(settings, text) == &settings->tokens[0]);
    free(text);
    free(settings);
}

static void
test_roles_allow_what_they_name_and_admin_everything(void)
{
    static const enum token_role roles[] = { TOKEN_POST, TOKEN_READ, TOKEN_ADMIN };

    for (size_t have = 0; have < 3; have++) {
        for (size_t need = 0; need < 3; need++) {
            bool want = have == need || roles[have] == TOKEN_ADMIN;

            CHECK_INT("allowed", want, token_allows(roles[have], roles[need]));
        }
        CHECK_FALSE("none has", token_allows(TOKEN_NONE, roles[have]));
        CHECK_TRUE("none needed", token_allows(roles[have], TOKEN_NONE));
    }
    CHECK_TRUE("nobody needs one", token_allows(TOKEN_NONE, TOKEN_NONE));
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_presented_is_what_follows_bearer_in_any_case),
        CHECK_TEST(test_nothing_is_presented_without_a_bearer_token),
        CHECK_TEST(test_find_takes_exactly_the_configured_tokens),
        CHECK_TEST(test_find_knows_nobody_without_tokens),
        CHECK_TEST(test_find_refuses_a_token_that_is_too_long_to_be_one),
        CHECK_TEST(test_roles_allow_what_they_name_and_admin_everything),
    };

    return check_main("token", tests, CHECK_COUNT(tests));
}
