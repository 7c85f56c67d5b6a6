/* SPDX-License-Identifier: MIT */
/* Lines of nginx's configuration that open a gate. */
#include "admin/doctor_config.h"

#include <stdio.h>
#include <string.h>

#include "common/buf.h"

#include "common/banned.h"

#define BLOCKS_MAX 32
#define NAMES_MAX 64
#define NAME_BYTES 256

/* A block being read. */
struct block {
    char kind[16];         /* "location", "server", "if", ... */
    char how[8];           /* of a location: "=", "^~", "~", "~*" or "" */
    char name[NAME_BYTES]; /* of a location */
    struct config_place place;
    bool guarded;          /* auth_request holds in it */
    bool asked;            /* it has auth_request itself */
    bool cached, answered; /* by a `return' or a redirection */
    struct config_place cached_place, answered_place;
    char answer[16];
    char left_to[NAME_BYTES]; /* of a location: a rewrite leads out of it, to there; "" none */
    struct config_place left_place;
};

/* A location of a server, once it has been read. */
struct location {
    struct block block;
    size_t server; /* which one, counted */
};

struct nginx {
    size_t depth; /* blocks open; those past BLOCKS_MAX are counted only */
    struct block blocks[BLOCKS_MAX];
    size_t servers, requests, location_count, question_count;
    struct location locations[NAMES_MAX];  /* directly below a server */
    char questions[NAMES_MAX][NAME_BYTES]; /* what auth_request names */
    struct location cached[NAMES_MAX];
    size_t cached_count;
    struct config_words words;
};

/* ---- blocks --------------------------------------------------------------------------------- */

static struct block *
innermost(struct nginx *state)
{
    return state->depth > 0 && state->depth <= BLOCKS_MAX ? &state->blocks[state->depth - 1] : NULL;
}

static void
read_location(const struct config_words *words, struct block *out)
{
    bool has_modifier = words->count > 2;

    if (has_modifier)
        (void)!text_copy(out->how, sizeof(out->how), config_word(words, 1));
    (void)!text_copy(out->name, sizeof(out->name), config_word(words, has_modifier ? 2 : 1));
}

static void
open_block(struct config *config, struct nginx *state)
{
    const struct block *outer = innermost(state);
    struct block *block;

    if (config_is(&state->words, 0, "server"))
        state->servers++;
    if (state->depth++ >= BLOCKS_MAX)
        return;
    block = &state->blocks[state->depth - 1];
    memset(block, 0, sizeof(*block));
    block->place = config->place;
    block->guarded = outer != NULL && outer->guarded;
    (void)!text_copy(block->kind, sizeof(block->kind), config_word(&state->words, 0));
    if (strcmp(block->kind, "location") == 0)
        read_location(&state->words, block);
    if (strcmp(block->kind, "limit_except") == 0 && block->guarded)
        config_tell(
            config, &config->place, FINDING_NOTE,
            "limit_except in a guarded location: look whether the other methods are guarded");
}

/* Whether it is guarded is known when all of the location has been read. */
static void
judge_answer(struct config *config, const struct block *block, struct block *outer)
{
    if (!block->answered)
        return;
    if (strcmp(block->kind, "location") != 0 && outer != NULL && !outer->answered) {
        outer->answered = true; /* of an `if' in it */
        outer->answered_place = block->answered_place;
        memcpy(outer->answer, block->answer, sizeof(outer->answer));
    }
    if (strcmp(block->kind, "location") == 0 && block->guarded)
        config_tell(
            config, &block->answered_place, FINDING_WARNING,
            "`%s' in the guarded location %s is answered before auth_request\nput it into a "
            "location of its own, reached by try_files or error_page",
            block->answer, block->name);
}

static void
judge_rewrite(struct config *config, const struct block *location)
{
    if (location->guarded && location->left_to[0] != '\0')
        config_tell(config, &location->left_place, FINDING_WARNING,
                    "`rewrite' leads from the guarded location %s to %s before anything is "
                    "checked\nspendgate-guard.conf in the location of that as well, or `break' at "
                    "the end of the rewrite",
                    location->name, location->left_to);
}

static void
close_block(struct config *config, struct nginx *state)
{
    const struct block *block;
    struct block *outer;

    if (state->depth == 0)
        return;
    if (state->depth-- > BLOCKS_MAX)
        return;
    block = &state->blocks[state->depth];
    outer = innermost(state);
    judge_answer(config, block, outer);
    if (strcmp(block->kind, "location") != 0)
        return;
    judge_rewrite(config, block);
    if (block->cached && state->cached_count < NAMES_MAX)
        state->cached[state->cached_count++] =
            (struct location){ .block = *block, .server = state->servers };
    if (outer != NULL && strcmp(outer->kind, "server") == 0 && state->location_count < NAMES_MAX)
        state->locations[state->location_count++] =
            (struct location){ .block = *block, .server = state->servers };
}

/* ---- directives ----------------------------------------------------------------------------- */

static void
take_question(struct config *config, struct nginx *state, struct block *block)
{
    const char *name = config_word(&state->words, 1);

    if (config_is(&state->words, 1, "off")) {
        if (block->guarded)
            config_tell(config, &config->place, FINDING_WARNING,
                        "`auth_request off' opens this part of what is guarded\ntake it out");
        block->guarded = false;
        return;
    }
    block->guarded = block->asked = true;
    state->requests++;
    if (state->question_count < NAMES_MAX &&
        text_copy(state->questions[state->question_count], NAME_BYTES, name))
        state->question_count++;
}

/* "rewrite ... redirect|permanent" is an answer; others change the path before it is checked. */
static bool
is_answer(const struct config_words *words)
{
    if (config_is(words, 0, "return"))
        return true;
    return config_is(words, 0, "rewrite") &&
           (config_is(words, 3, "redirect") || config_is(words, 3, "permanent"));
}

/* The location that a directive in hand is in, also of an `if' in it; NULL outside of one. */
static struct block *
location_around(struct nginx *state)
{
    for (size_t i = state->depth < BLOCKS_MAX ? state->depth : BLOCKS_MAX; i > 0; i--) {
        if (strcmp(state->blocks[i - 1].kind, "location") == 0)
            return &state->blocks[i - 1];
    }
    return NULL;
}

/* A rewrite to another location, which alone is asked whether it is guarded. (spendgate-me.conf has
 * one for preflights.) */
static void
take_rewrite(struct config *config, struct nginx *state)
{
    const struct config_words *words = &state->words;
    struct block *location = location_around(state);
    const char *to = config_word(words, 2);

    if (!config_is(words, 0, "rewrite") || is_answer(words) || config_is(words, 3, "break") ||
        location == NULL || location->how[0] == '~' || location->left_to[0] != '\0' ||
        to[0] != '/' || config_below(to, location->name) || config_below(to, "/.spendgate"))
        return;
    location->left_place = config->place;
    (void)!text_copy(location->left_to, sizeof(location->left_to), to);
}

/* "=200", or "=" with the answer of the page. */
static bool
changes_status(const struct config_words *words)
{
    for (size_t i = 1; i < words->count; i++) {
        if (strcmp(words->words[i], "=") == 0 || strncmp(words->words[i], "=2", 2) == 0)
            return words->words[words->count - 1][0] != '@';
    }
    return false;
}

static void
take_in_block(struct config *config, struct nginx *state, struct block *block)
{
    const struct config_words *words = &state->words;

    if (config_is(words, 0, "auth_request"))
        take_question(config, state, block);
    take_rewrite(config, state);
    if (is_answer(words) && !block->answered) {
        block->answered = true;
        block->answered_place = config->place;
        (void)!text_copy(block->answer, sizeof(block->answer), config_word(words, 0));
    }
    if (config_is(words, 0, "satisfy") && config_is(words, 1, "any"))
        config_tell(config, &config->place, FINDING_WARNING,
                    "`satisfy any': an `allow' beside it is enough to pass\nsatisfy all");
    if (config_is(words, 0, "error_page") && changes_status(words))
        config_tell(
            config, &config->place, block->guarded ? FINDING_WARNING : FINDING_NOTE,
            "error_page with = gives another status to errors; a denial among them looks like "
            "a page\nerror_page 401 403 500 = @spendgate_deny in the guarded location");
    if ((config_is(words, 0, "fastcgi_cache") || config_is(words, 0, "proxy_cache")) &&
        !config_is(words, 1, "off")) {
        block->cached = true;
        block->cached_place = config->place;
    }
    if (config_is(words, 0, "underscores_in_headers") && config_is(words, 1, "on"))
        config_tell(
            config, &config->place, FINDING_WARNING,
            "underscores_in_headers on: a client's X_Spendgate_Subject may be taken for ours "
            "by the backend\nunderscores_in_headers off");
}

static void
take_directive(struct config *config, struct nginx *state)
{
    struct block outside = { .kind = "" };
    struct block *block = innermost(state);

    if (state->words.count == 0)
        return;
    if (config_is(&state->words, 0, "include")) {
        char pattern[CONFIG_WORD_SIZE]; /* the words are used again by what is included */

        memcpy(pattern, config_word(&state->words, 1), strlen(config_word(&state->words, 1)) + 1);
        config_include(config, pattern, NULL);
        return;
    }
    take_in_block(config, state, block != NULL ? block : &outside);
}

/* ---- the language --------------------------------------------------------------------------- */

struct reader {
    const char *text;
    size_t length, at;
    int line;
};

/* One quoted or plain word. */
static void
take_word(struct reader *reader, struct config_words *words)
{
    char word[CONFIG_WORD_SIZE], quote = '\0';
    size_t kept = 0;

    if (reader->text[reader->at] == '"' || reader->text[reader->at] == '\'')
        quote = reader->text[reader->at++];
    while (reader->at < reader->length) {
        char c = reader->text[reader->at];

        if (quote != '\0' ? c == quote : c == '\0' || strchr(" \t\r\n;{}", c) != NULL)
            break;
        if (c == '$' && reader->at + 1 < reader->length && reader->text[reader->at + 1] == '{')
            while (reader->at < reader->length && reader->text[reader->at] != '}')
                reader->at++; /* ${name}: its braces are no block */
        else if (c == '\\' && reader->at + 1 < reader->length)
            reader->at++;
        if (reader->at >= reader->length)
            break;
        c = reader->text[reader->at++];
        reader->line += c == '\n';
        if (kept < sizeof(word) - 1)
            word[kept++] = (char)(c != '\0' ? c : '?');
    }
    if (quote == '\0' && kept == 0)
        reader->at++; /* a NUL byte */
    reader->at += quote != '\0' && reader->at < reader->length;
    config_add_word(words, word, kept);
}

static void
read_nginx(struct config *config, void *context, const char *text, size_t length)
{
    struct nginx *state = context;
    struct reader reader = { .text = text, .length = length, .line = 1 };

    state->words.count = 0;
    while (reader.at < reader.length) {
        char c = text[reader.at];

        config->place.line = reader.line;
        if (c == '#') {
            while (reader.at < length && text[reader.at] != '\n')
                reader.at++;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            reader.line += c == '\n';
            reader.at++;
        } else if (c == ';' || c == '{' || c == '}') {
            reader.at++;
            if (c == ';')
                take_directive(config, state);
            else if (c == '{')
                open_block(config, state);
            else
                close_block(config, state);
            state->words.count = 0;
        } else {
            take_word(&reader, &state->words);
        }
    }
    state->words.count = 0;
}

/* ---- when everything has been read ----------------------------------------------------------- */

/* A regular expression beside a guarded prefix takes the pages it fits, unless that says ^~. */
static void
judge_beside(struct config *config, const struct nginx *state, const struct location *guarded)
{
    for (size_t i = 0; i < state->location_count; i++) {
        const struct location *other = &state->locations[i];

        if (other->server != guarded->server || other->block.how[0] != '~' || other->block.guarded)
            continue;
        config_tell(
            config, &other->block.place, FINDING_WARNING,
            "location %s %s takes the pages it fits away from the guarded location %s (line "
            "%d)\nlocation ^~ %s { ... }, with the other location inside it",
            other->block.how, other->block.name, guarded->block.name, guarded->block.place.line,
            guarded->block.name);
    }
}

/* A verdict that is stored for anybody. */
static void
judge_cached(struct config *config, const struct nginx *state)
{
    for (size_t i = 0; i < state->cached_count; i++) {
        for (size_t j = 0; j < state->question_count; j++) {
            if (strcmp(state->cached[i].block.name, state->questions[j]) != 0)
                continue;
            config_tell(config, &state->cached[i].block.cached_place, FINDING_WARNING,
                        "the location that auth_request names is cached: one allow is given to "
                        "everybody\ntake the cache out of it");
            break;
        }
    }
}

static void
end_nginx(struct config *config, void *context)
{
    const struct nginx *state = context;

    config->place.line = 1;
    if (state->requests == 0)
        config_tell(
            config, &config->place, FINDING_WARNING,
            "there is no auth_request: nothing is guarded\nconf/nginx/spendgate-guard.conf in "
            "each guarded location");
    for (size_t i = 0; i < state->location_count; i++) {
        const struct block *block = &state->locations[i].block;

        if (block->guarded && block->how[0] == '\0')
            judge_beside(config, state, &state->locations[i]);
    }
    judge_cached(config, state);
}

const struct config_language config_nginx = {
    .server = SERVER_NGINX,
    .state_size = sizeof(struct nginx),
    .read = read_nginx,
    .end = end_nginx,
};
