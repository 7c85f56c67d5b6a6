/* SPDX-License-Identifier: MIT */
/* Lines of lighttpd's configuration that open a gate. Conditions ($HTTP[...]) are taken as if they
 * held, and what `include_shell' prints is not read. */
#include "admin/doctor_config.h"

#include <stdio.h>
#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

#define DEPTH_MAX 8    /* of brackets */
#define TOKENS_MAX 256 /* of one block ((...)); the rest is not looked at */

enum kind { TOKEN_WORD, TOKEN_TEXT, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_SIGN };

struct token {
    enum kind kind;
    char text[128];
    int line;
};

struct module {
    bool there;
    size_t order; /* in server.modules, over all files */
    struct config_place place;
};

struct lighttpd {
    size_t authorizers, modules_read;
    bool looks_first;             /* an authorizer has check-local */
    size_t conditions, preflight; /* how many are open, and which of them is of OPTIONS; 0 none */
    char texts[2][16];            /* the last two, the newer one first, cut */
    struct module fastcgi, proxy, cgi;
    struct token tokens[TOKENS_MAX];
};

/* ---- tokens --------------------------------------------------------------------------------- */

struct reader {
    const char *text;
    size_t length, at;
    int line;
};

static void
skip_blanks(struct reader *reader)
{
    while (reader->at < reader->length) {
        char c = reader->text[reader->at];

        if (c == '#') {
            while (reader->at < reader->length && reader->text[reader->at] != '\n')
                reader->at++;
            continue;
        }
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
            return;
        reader->line += c == '\n';
        reader->at++;
    }
}

static bool
is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '$';
}

static void
take_bytes(struct token *out, const char *bytes, size_t length)
{
    if (length >= sizeof(out->text))
        length = sizeof(out->text) - 1;
    for (size_t i = 0; i < length; i++)
        out->text[i] = (char)(bytes[i] != '\0' ? bytes[i] : '?');
    out->text[length] = '\0';
}

static bool
next_token(struct reader *reader, struct token *out)
{
    const char *text = reader->text;
    size_t start;

    skip_blanks(reader);
    if (reader->at >= reader->length)
        return false;
    out->line = reader->line;
    start = reader->at;
    if (text[start] == '"') {
        reader->at++;
        while (reader->at < reader->length && text[reader->at] != '"') {
            reader->at += text[reader->at] == '\\' && reader->at + 1 < reader->length;
            reader->line += text[reader->at] == '\n';
            reader->at++;
        }
        out->kind = TOKEN_TEXT;
        take_bytes(out, text + start + 1, reader->at - start - 1);
        reader->at += reader->at < reader->length;
        return true;
    }
    if (is_word(text[start])) {
        while (reader->at < reader->length && is_word(text[reader->at]))
            reader->at++;
        out->kind = TOKEN_WORD;
    } else {
        reader->at++;
        out->kind = text[start] == '(' ? TOKEN_OPEN : text[start] == ')' ? TOKEN_CLOSE : TOKEN_SIGN;
    }
    take_bytes(out, text + start, reader->at - start);
    return true;
}

/* ---- server.modules ------------------------------------------------------------------------- */

static void
take_module(struct config *config, struct lighttpd *state, const struct token *token)
{
    struct module *module = strcmp(token->text, "mod_fastcgi") == 0 ? &state->fastcgi
                            : strcmp(token->text, "mod_proxy") == 0 ? &state->proxy
                            : strcmp(token->text, "mod_cgi") == 0   ? &state->cgi
                                                                    : NULL;

    state->modules_read++;
    if (module == NULL || module->there) /* the first time counts */
        return;
    module->there = true;
    module->order = state->modules_read;
    module->place = config->place;
    module->place.line = token->line;
}

/* What stands between the next "(" and its ")". */
static size_t
take_block(struct reader *reader, struct token *tokens)
{
    struct token token;
    size_t count = 0, depth = 0;

    while (next_token(reader, &token)) {
        depth += token.kind == TOKEN_OPEN;
        if (count < TOKENS_MAX)
            tokens[count++] = token;
        if (token.kind == TOKEN_CLOSE && (depth == 0 || --depth == 0))
            break;
        if (depth == 0 && token.kind != TOKEN_SIGN)
            break; /* no block */
    }
    return count;
}

/* ---- fastcgi.server ------------------------------------------------------------------------- */

/* "name" => "value" among the tokens [from, to), not inside further brackets. */
static const struct token *
find_value(const struct token *tokens, size_t from, size_t to, const char *name)
{
    size_t depth = 0;

    for (size_t i = from; i + 3 < to; i++) {
        depth += tokens[i].kind == TOKEN_OPEN;
        depth -= tokens[i].kind == TOKEN_CLOSE && depth > 0;
        if (depth == 0 && tokens[i].kind == TOKEN_TEXT && strcmp(tokens[i].text, name) == 0 &&
            tokens[i + 1].text[0] == '=' && tokens[i + 2].text[0] == '>')
            return &tokens[i + 3];
    }
    return NULL;
}

static void
judge_block(struct config *config, struct lighttpd *state, const struct token *tokens, size_t from,
            size_t to)
{
    const struct token *mode = find_value(tokens, from, to, "mode");
    const struct token *check = find_value(tokens, from, to, "check-local");
    struct config_place place = config->place;

    if (mode == NULL || strcmp(mode->text, "authorizer") != 0)
        return;
    state->authorizers++;
    place.line = mode->line;
    if (check != NULL && strcmp(check->text, "disable") == 0)
        return;
    state->looks_first = true;
    config_tell(config, &place, FINDING_WARNING,
                "an authorizer without \"check-local\" => \"disable\": files are looked for "
                "first, and CGI, proxied and static pages can pass unasked\n"
                "\"check-local\" => \"disable\"");
}

/* Each "( ... )" of fastcgi.server may be one block. */
static void
judge_blocks(struct config *config, struct lighttpd *state, const struct token *tokens,
             size_t count)
{
    size_t opened[DEPTH_MAX], depth = 0;

    for (size_t i = 0; i < count; i++) {
        if (tokens[i].kind == TOKEN_OPEN && depth++ < DEPTH_MAX)
            opened[depth - 1] = i + 1;
        if (tokens[i].kind == TOKEN_CLOSE && depth > 0 && --depth < DEPTH_MAX)
            judge_block(config, state, tokens, opened[depth], i);
    }
}

/* A condition's value takes the place of the whole list. (For a preflight that may be meant:
 * nothing of FastCGI answers one then, conf/lighttpd.) */
static void
judge_replacement(struct config *config, const struct lighttpd *state, int line, size_t authorizers)
{
    if (state->conditions == 0 || state->preflight > 0 || state->tokens[0].text[0] == '+' ||
        state->authorizers != authorizers)
        return;
    config->place.line = line;
    config_tell(config, &config->place, FINDING_WARNING,
                "`fastcgi.server =' in a condition takes the place of the whole list, the "
                "authorizer's block too: nothing in the condition is guarded\n"
                "fastcgi.server += there");
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* $HTTP["..."] == "..." { ... } */
static void
follow_conditions(struct lighttpd *state, const struct token *token)
{
    if (token->kind == TOKEN_TEXT) {
        memcpy(state->texts[1], state->texts[0], sizeof(state->texts[1]));
        (void)snprintf(state->texts[0], sizeof(state->texts[0]), "%.15s", token->text);
    } else if (token->text[0] == '{') {
        state->conditions++;
        if (state->preflight == 0 && strcmp(state->texts[1], "request-method") == 0 &&
            strcmp(state->texts[0], "OPTIONS") == 0)
            state->preflight = state->conditions;
    } else if (token->text[0] == '}' && state->conditions > 0) {
        if (state->preflight == state->conditions)
            state->preflight = 0;
        state->conditions--;
    }
}

static void
include_beside(struct config *config, const char *pattern)
{
    char folder[CONFIG_NAME_SIZE];
    const char *slash = strrchr(config->place.file, '/');

    (void)snprintf(folder, sizeof(folder), "%.*s",
                   slash != NULL ? (int)(slash - config->place.file) : 1,
                   slash != NULL ? config->place.file : ".");
    config_include(config, pattern, folder);
}

static void
read_lighttpd(struct config *config, void *context, const char *text, size_t length)
{
    struct lighttpd *state = context;
    struct reader reader = { .text = text, .length = length, .line = 1 };
    struct token token, name;
    size_t count;

    while (next_token(&reader, &token)) {
        if (token.kind != TOKEN_WORD) {
            follow_conditions(state, &token);
            continue;
        }
        if (strcmp(token.text, "include") == 0 && next_token(&reader, &name)) {
            if (name.kind == TOKEN_TEXT)
                include_beside(config, name.text);
        } else if (strcmp(token.text, "include_shell") == 0) {
            config->cut = true;
        } else if (strcmp(token.text, "server.modules") == 0) {
            count = take_block(&reader, state->tokens);
            for (size_t i = 0; i < count; i++) {
                if (state->tokens[i].kind == TOKEN_TEXT)
                    take_module(config, state, &state->tokens[i]);
            }
        } else if (strcmp(token.text, "fastcgi.server") == 0) {
            size_t authorizers = state->authorizers;

            count = take_block(&reader, state->tokens);
            judge_blocks(config, state, state->tokens, count);
            if (count > 0)
                judge_replacement(config, state, token.line, authorizers);
        } else if (strcmp(token.text, "server.force-lowercase-filenames") == 0) {
            config->place.line = token.line;
            config_tell(
                config, &config->place, FINDING_WARNING,
                "server.force-lowercase-filenames: /API/ leads to the files of /api/, and is "
                "not guarded with it\ntake it out, or guard every spelling");
        }
    }
}

static void
judge_order(struct config *config, const struct lighttpd *state, const struct module *other,
            const char *name)
{
    if (other->there && state->fastcgi.there && other->order < state->fastcgi.order)
        config_tell(
            config, &other->place, FINDING_WARNING,
            "%s is loaded before mod_fastcgi (line %d of %s): it takes requests before the "
            "authorizer is asked\nload mod_fastcgi first: on Debian a name like 05-spendgate.conf",
            name, state->fastcgi.place.line, state->fastcgi.place.file);
}

static void
end_lighttpd(struct config *config, void *context)
{
    const struct lighttpd *state = context;

    config->place.line = 1;
    if (state->authorizers == 0)
        config_tell(
            config, &config->place, FINDING_WARNING,
            "no block of fastcgi.server has \"mode\" => \"authorizer\": nothing is guarded\n"
            "conf/lighttpd/05-spendgate.conf");
    judge_order(config, state, &state->proxy, "mod_proxy");
    if (state->looks_first) /* without it the authorizer is asked before any file is looked for */
        judge_order(config, state, &state->cgi, "mod_cgi");
}

const struct config_language config_lighttpd = {
    .server = SERVER_LIGHTTPD,
    .state_size = sizeof(struct lighttpd),
    .read = read_lighttpd,
    .end = end_lighttpd,
};
