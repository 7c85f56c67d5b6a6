/* SPDX-License-Identifier: MIT */
/* spendgate token new: a token for the tracker, of which the settings keep the digest only. */
#include <stdio.h>
#include <string.h>

#include "admin/command.h"
#include "admin/output.h"
#include "common/crypto.h"

#include "common/banned.h"

#define TOKEN_PREFIX "sgt_" /* lets a secret scanner find one that was committed */
#define TOKEN_RANDOM_BYTES 32
#define TOKEN_SIZE 64
#define SETTINGS_LINE_SIZE 256

struct token {
    char text[TOKEN_SIZE];
    char sha256[SHA256_HEX_SIZE];
    char settings[SETTINGS_LINE_SIZE];
};

static bool
is_name(const char *name)
{
    size_t length =
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");

    return length > 0 && length < NAME_SIZE && name[length] == '\0';
}

static void
make_token(const char *name, const char *role, struct token *token)
{
    uint8_t random[TOKEN_RANDOM_BYTES], digest[SHA256_BYTES];
    struct buf text;

    crypto_random(random, sizeof(random));
    buf_init(&text, token->text, sizeof(token->text));
    buf_add(&text, TOKEN_PREFIX);
    buf_add_base64url(&text, random, sizeof(random));
    crypto_sha256(token->text, text.length, digest);
    buf_init(&text, token->sha256, sizeof(token->sha256));
    buf_add_hex(&text, digest, sizeof(digest));
    (void)snprintf(token->settings, sizeof(token->settings),
                   "token \"%s\" { sha256 = \"%s\"  role = \"%s\" }", name, token->sha256, role);
    crypto_wipe(random, sizeof(random));
}

static int
print_token_json(const char *name, const char *role, const struct token *token)
{
    char storage[1024];
    struct buf json;
    bool ok;

    buf_init(&json, storage, sizeof(storage));
    buf_add(&json, "{\"token\":");
    buf_add_json_string(&json, token->text);
    buf_add(&json, ",\"name\":");
    buf_add_json_string(&json, name);
    buf_add(&json, ",\"role\":");
    buf_add_json_string(&json, role);
    buf_add(&json, ",\"sha256\":");
    buf_add_json_string(&json, token->sha256);
    buf_add(&json, ",\"settings\":");
    buf_add_json_string(&json, token->settings);
    buf_add_char(&json, '}');
    ok = print_json(&json);
    crypto_wipe(storage, sizeof(storage));
    return ok ? DONE : FAILED;
}

int
run_token_new(struct admin *admin)
{
    const char *role = command_has(admin, OPTION_ROLE) ? admin->options[OPTION_ROLE] : "post";
    const char *name = admin->argument_count > 0         ? admin->arguments[0]
                       : command_has(admin, OPTION_NAME) ? admin->options[OPTION_NAME]
                                                         : role;
    struct token token;
    int code = DONE;

    if (admin->argument_count > 0 && command_has(admin, OPTION_NAME))
        return command_usage(admin, "the name is given twice");
    if (strcmp(role, "post") != 0 && strcmp(role, "read") != 0 && strcmp(role, "admin") != 0)
        return command_usage(admin, "--role: '%s' is not post, read or admin", role);
    if (!is_name(name))
        return command_usage(admin,
                             "'%s' is no name: letters, digits, '-', '_' and '.', at most %d", name,
                             NAME_SIZE - 1);
    make_token(name, role, &token);
    if (command_has(admin, OPTION_JSON))
        code = print_token_json(name, role, &token);
    else
        printf("The token, shown this once; give it to whoever posts:\n\n    %s\n\n"
               "Its line in the tracker section of the settings:\n\n    %s\n\n"
               "Then make the servers read the settings again (SIGHUP, or restart them).\n",
               token.text, token.settings);
    crypto_wipe(&token, sizeof(token));
    return code;
}
