/* SPDX-License-Identifier: MIT */
/* Lines of Apache's configuration that open a gate. Sections for conditions (<If...>) are taken as
 * if they held. */
#include "admin/doctor_config.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/buf.h"

#include "common/banned.h"

#define SECTIONS_MAX 16
#define GATES_MAX 64
#define WAYS_MAX 64
#define DEFINES_MAX 64
#define PATH_BYTES 256

/* A <Location>, <Directory>, ... being read. */
struct section {
    char kind[32], argument[PATH_BYTES];
    struct config_place place;
    bool checker, authnz; /* FcgidAccessChecker, AuthnzFcgiCheckAuthnProvider */
    bool satisfy_all, authoritative, passes, user, granted;
    struct config_place granted_place;
};

/* What Apache takes a URL for: an Alias, or the document root ("/"). */
struct way {
    char url[PATH_BYTES], folder[PATH_BYTES];
    struct config_place place;
};

struct define {
    char name[64], value[PATH_BYTES];
};

struct apache {
    size_t depth;   /* sections open; those past SECTIONS_MAX are counted only */
    size_t skipped; /* the depth inside an <IfDefine> that does not hold; 0: none */
    struct section sections[SECTIONS_MAX];
    size_t gate_count, granted_count, way_count, define_count;
    char gates[GATES_MAX][PATH_BYTES]; /* the <Location>s that are guarded */
    struct section granted[GATES_MAX]; /* unguarded ones that say "Require all granted" */
    struct way ways[WAYS_MAX];
    struct define defines[DEFINES_MAX];
    bool cache, quick_off;
    struct config_place cache_place;
    struct config_words words;
};

/* ---- words ---------------------------------------------------------------------------------- */

static const char *
defined(const struct apache *state, const char *name, size_t length)
{
    for (size_t i = 0; i < state->define_count; i++) {
        if (strncmp(state->defines[i].name, name, length) == 0 &&
            state->defines[i].name[length] == '\0')
            return state->defines[i].value;
    }
    return NULL;
}

/* ${NAME} by what was Defined; an unknown one stays as it is. */
static void
substitute(const struct apache *state, char word[CONFIG_WORD_SIZE])
{
    char storage[CONFIG_WORD_SIZE];
    struct buf out;

    if (strstr(word, "${") == NULL)
        return;
    buf_init(&out, storage, sizeof(storage));
    for (const char *at = word; *at != '\0';) {
        size_t length = at[0] == '$' && at[1] == '{' ? strcspn(at, "}") : 0;
        const char *value =
            length > 2 && at[length] == '}' ? defined(state, at + 2, length - 2) : NULL;

        if (value != NULL) {
            buf_add(&out, value);
            at += length + 1;
        } else {
            buf_add_char(&out, *at++);
        }
    }
    if (!buf_failed(&out))
        memcpy(word, storage, out.length + 1);
}

static bool
is_blank(const char *line, size_t at, size_t length)
{
    if (line[at] == ' ' || line[at] == '\t' || line[at] == '\r' || line[at] == '\n')
        return true;
    return line[at] == '\\' && at + 1 < length && line[at + 1] == '\n'; /* it goes on */
}

/* Split a line at blanks; quotes of both kinds keep them, and a backslash keeps a quote. */
static void
split(struct apache *state, const char *line, size_t length)
{
    size_t at = 0;

    state->words.count = 0;
    while (at < length) {
        char word[CONFIG_WORD_SIZE], quote = '\0';
        size_t kept = 0;

        while (at < length && is_blank(line, at, length))
            at++;
        if (at == length)
            return;
        if (line[at] == '"' || line[at] == '\'')
            quote = line[at++];
        while (at < length && (quote != '\0' ? line[at] != quote : !is_blank(line, at, length))) {
            if (line[at] == '\\' && at + 1 < length && quote != '\0' && line[at + 1] == quote)
                at++;
            if (kept < sizeof(word) - 1)
                word[kept++] = (char)(line[at] != '\0' ? line[at] : '?');
            at++;
        }
        at += quote != '\0' && at < length;
        config_add_word(&state->words, word, kept);
        substitute(state, state->words.words[state->words.count - 1]);
    }
}

/* ---- sections ------------------------------------------------------------------------------- */

static bool
is_place(const struct section *section)
{
    static const char *const kinds[] = { "Location", "LocationMatch", "Directory", "DirectoryMatch",
                                         "Files",    "FilesMatch",    "Proxy" };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcasecmp(section->kind, kinds[i]) == 0)
            return true;
    }
    return false;
}

/* The innermost section that is a place; directives outside of one belong to a file of their own
 * (.htaccess). */
static struct section *
place_in_hand(struct apache *state)
{
    for (size_t i = state->depth < SECTIONS_MAX ? state->depth : SECTIONS_MAX; i > 0; i--) {
        if (is_place(&state->sections[i - 1]))
            return &state->sections[i - 1];
    }
    return NULL;
}

static bool
inside(const struct apache *state, const char *kind)
{
    for (size_t i = 0; i < state->depth && i < SECTIONS_MAX; i++) {
        if (strcasecmp(state->sections[i].kind, kind) == 0)
            return true;
    }
    return false;
}

/* <IfDefine NAME>, <IfDefine !NAME>. What is defined on the command line is not known. */
static bool
holds(const struct apache *state)
{
    const char *name = config_word(&state->words, 1);
    bool inverse = name[0] == '!';
    size_t length;

    if (!config_is(&state->words, 0, "<IfDefine"))
        return true;
    name += inverse;
    length = strcspn(name, ">");
    return (defined(state, name, length) != NULL) != inverse;
}

static void
open_section(struct config *config, struct apache *state)
{
    const char *kind = config_word(&state->words, 0) + 1;
    struct section *section;

    if (state->depth++ >= SECTIONS_MAX)
        return;
    if (state->skipped == 0 && !holds(state))
        state->skipped = state->depth;
    section = &state->sections[state->depth - 1];
    memset(section, 0, sizeof(*section));
    section->place = config->place;
    (void)!text_copy(section->kind, sizeof(section->kind), kind);
    (void)!text_copy(section->argument, sizeof(section->argument), config_word(&state->words, 1));
    if (section->kind[0] != '\0' && section->kind[strlen(section->kind) - 1] == '>')
        section->kind[strlen(section->kind) - 1] = '\0';
    if (section->argument[0] != '\0' && section->argument[strlen(section->argument) - 1] == '>')
        section->argument[strlen(section->argument) - 1] = '\0';
    if (state->skipped == 0 &&
        (strcasecmp(section->kind, "Limit") == 0 || strcasecmp(section->kind, "LimitExcept") == 0))
        config_tell(config, &config->place, FINDING_WARNING,
                    "<%s>: what is said in it holds for some methods only; others pass\nsay it "
                    "outside of <%s>",
                    section->kind, section->kind);
}

/* A guarded place, when all of it has been seen. */
static void
judge_gate(struct config *config, struct apache *state, const struct section *section)
{
    const char *kind = section->kind;

    if (section->authnz && section->granted && !section->user)
        config_tell(
            config, &section->granted_place, FINDING_WARNING,
            "`Require all granted': mod_authnz_fcgi is called only when a user is wanted, so "
            "nobody is asked\nRequire valid-user");
    if (!section->satisfy_all)
        config_tell(
            config, &section->place, FINDING_WARNING,
            "<%s %s> has no `Satisfy All': an .htaccess with `Satisfy Any' opens it\nSatisfy "
            "All",
            kind, section->argument);
    if (strncasecmp(kind, "Directory", 9) == 0)
        config_tell(config, &section->place, FINDING_WARNING,
                    "<%s %s>: .htaccess files below have more to say than this\nguard the address, "
                    "by <Location>",
                    kind, section->argument);
    if (section->checker && !section->authoritative)
        config_tell(
            config, &section->place, FINDING_WARNING,
            "<%s %s> has no `FcgidAccessCheckerAuthoritative On': an .htaccess with Off opens "
            "it\nFcgidAccessCheckerAuthoritative On",
            kind, section->argument);
    if (!section->passes)
        config_tell(config, &section->place, FINDING_WARNING,
                    "<%s %s> has no `CGIPassAuth On': the authorizer does not see the credential\n"
                    "CGIPassAuth On",
                    kind, section->argument);
    if (state->gate_count < GATES_MAX && strncasecmp(kind, "Location", 8) == 0)
        memcpy(state->gates[state->gate_count++], section->argument, PATH_BYTES);
}

static void
close_section(struct config *config, struct apache *state)
{
    const struct section *section;

    if (state->depth == 0)
        return;
    if (state->depth == state->skipped)
        state->skipped = 0;
    if (--state->depth >= SECTIONS_MAX)
        return;
    section = &state->sections[state->depth];
    if (!is_place(section))
        return;
    if (section->checker || section->authnz)
        judge_gate(config, state, section);
    else if (section->granted && state->granted_count < GATES_MAX)
        state->granted[state->granted_count++] = *section;
}

/* ---- directives ----------------------------------------------------------------------------- */

static void
note_define(struct apache *state)
{
    const char *name = config_word(&state->words, 1);
    struct define *define;

    if (state->define_count == DEFINES_MAX || defined(state, name, strlen(name)) != NULL)
        return;
    define = &state->defines[state->define_count];
    if (text_copy(define->name, sizeof(define->name), name) &&
        text_copy(define->value, sizeof(define->value), config_word(&state->words, 2)))
        state->define_count++;
}

static void
note_way(struct config *config, struct apache *state, const char *url, const char *folder)
{
    struct way *way;

    if (state->way_count == WAYS_MAX || url[0] != '/')
        return;
    way = &state->ways[state->way_count];
    way->place = config->place;
    if (text_copy(way->url, sizeof(way->url), url) &&
        text_copy(way->folder, sizeof(way->folder), folder))
        state->way_count++;
}

static void
take_require(struct config *config, struct apache *state, struct section *section)
{
    const struct config_words *words = &state->words;

    if (config_is(words, 1, "all") && config_is(words, 2, "granted")) {
        if (section != NULL) {
            section->granted = true;
            section->granted_place = config->place;
        }
        return;
    }
    if (config_is(words, 1, "valid-user") && section != NULL)
        section->user = true;
    if (inside(state, "RequireAny>") || inside(state, "RequireAny")) {
        if (config_is(words, 1, "method") || config_is(words, 1, "local") ||
            config_is(words, 1, "ip") || config_is(words, 1, "host") ||
            config_is(words, 1, "env") || config_is(words, 1, "expr"))
            config_tell(
                config, &config->place, FINDING_WARNING,
                "`Require %s %s' in <RequireAny>: whoever meets it passes without the gate\n"
                "take it out, or let it stand in <RequireAll>",
                config_word(words, 1), config_word(words, 2));
    }
}

/* Directives that are a trap wherever they stand. */
static void
take_trap(struct config *config, const struct config_words *words)
{
    const char *name = config_word(words, 0);
    const struct config_place *place = &config->place;

    if (config_is(words, 0, "FcgidAuthorizer") || config_is(words, 0, "FcgidAuthenticator"))
        config_tell(config, place, FINDING_WARNING,
                    "%s is never called for a bearer token\nFcgidAccessChecker in place of %s",
                    name, name);
    if (config_is(words, 0, "FcgidAccessCheckerAuthoritative") && config_is(words, 1, "Off"))
        config_tell(config, place, FINDING_WARNING,
                    "FcgidAccessCheckerAuthoritative Off serves the page when the gate denies or "
                    "fails\nFcgidAccessCheckerAuthoritative On");
    if (config_is(words, 0, "Satisfy") && config_is(words, 1, "Any"))
        config_tell(
            config, place, FINDING_WARNING,
            "`Satisfy Any': a `Require all granted' beside it is enough to pass\nSatisfy All");
    if (config_is(words, 0, "RewriteCond") &&
        strstr(config_word(words, 1), "REDIRECT_STATUS") != NULL)
        config_tell(config, place, FINDING_WARNING,
                    "a condition on REDIRECT_STATUS stops direct requests only: any script of the "
                    "site that prints a Location leads past it\nkeep the scripts outside of the "
                    "document root, and let the gate run them");
    for (size_t i = 1; config_is(words, 0, "Options") && i < words->count; i++) {
        if (config_is(words, i, "MultiViews") || config_is(words, i, "+MultiViews"))
            config_tell(
                config, place, FINDING_WARNING,
                "MultiViews: /api/admin is the page of /api/admin.php too, and is judged by "
                "the route of the address that was asked for\nOptions -MultiViews, or routes "
                "that name folders");
    }
    if (strncasecmp(name, "SetEnvIf", 8) == 0) {
        for (size_t i = 1; i < words->count; i++) {
            if (strstr(words->words[i], "SPENDGATE_SUBJECT") != NULL)
                config_tell(config, place, FINDING_NOTE,
                            "%s sets what the authorizer says of a caller: whoever may write it is "
                            "trusted like the server\ntake it out",
                            name);
        }
    }
}

static void
take_gate(struct config *config, const struct config_words *words, struct section *section)
{
    if (config_is(words, 0, "FcgidAccessChecker"))
        section->checker = true;
    if (config_is(words, 0, "AuthnzFcgiCheckAuthnProvider") && !config_is(words, 1, "None")) {
        section->authnz = true;
        for (size_t i = 2; i + 1 < words->count; i++) {
            if (config_is(words, i, "Authoritative") && config_is(words, i + 1, "Off"))
                config_tell(
                    config, &config->place, FINDING_WARNING,
                    "AuthnzFcgiCheckAuthnProvider with `Authoritative Off': a denial becomes "
                    "500\nAuthoritative On");
            if (config_is(words, i, "DefaultUser"))
                config_tell(config, &config->place, FINDING_WARNING,
                            "AuthnzFcgiCheckAuthnProvider with DefaultUser: nobody in particular "
                            "passes\ntake it out; UserExpr \"%%{reqenv:SPENDGATE_SUBJECT}\"");
        }
    }
    if (config_is(words, 0, "Satisfy") && config_is(words, 1, "All"))
        section->satisfy_all = true;
    if (config_is(words, 0, "FcgidAccessCheckerAuthoritative"))
        section->authoritative = true; /* Off has been told */
    if (config_is(words, 0, "CGIPassAuth") && config_is(words, 1, "On"))
        section->passes = true;
}

static void
take_directive(struct config *config, struct apache *state)
{
    const struct config_words *words = &state->words;
    struct section *section = place_in_hand(state);

    if (words->count == 0)
        return;
    if (strncmp(words->words[0], "</", 2) == 0) {
        close_section(config, state);
    } else if (state->skipped != 0 && words->words[0][0] != '<') {
        return;
    } else if (words->words[0][0] == '<') {
        open_section(config, state);
    } else if (config_is(words, 0, "Include") || config_is(words, 0, "IncludeOptional")) {
        char pattern[CONFIG_WORD_SIZE]; /* the words are used again by what is included */

        memcpy(pattern, config_word(words, 1), strlen(config_word(words, 1)) + 1);
        config_include(config, pattern, NULL);
        return;
    }
    if (config_is(words, 0, "Define"))
        note_define(state);
    if (config_is(words, 0, "ServerRoot") && config->root[0] != '\0')
        (void)!text_copy(config->root, sizeof(config->root), config_word(words, 1));
    if (config_is(words, 0, "DocumentRoot"))
        note_way(config, state, "/", config_word(words, 1));
    if (config_is(words, 0, "Alias") || config_is(words, 0, "ScriptAlias"))
        note_way(config, state, config_word(words, 1), config_word(words, 2));
    if (config_is(words, 0, "CacheEnable") && !state->cache) {
        state->cache = true;
        state->cache_place = config->place;
    }
    if (config_is(words, 0, "CacheQuickHandler"))
        state->quick_off = config_is(words, 1, "off");
    if (config_is(words, 0, "Require"))
        take_require(config, state, section);
    take_trap(config, words);
    if (section != NULL)
        take_gate(config, words, section);
}

static void
read_apache(struct config *config, void *context, const char *text, size_t length)
{
    struct apache *state = context;
    int line = 1;

    for (size_t at = 0; at < length;) {
        size_t end = at, lines = 1;

        /* a backslash at its end goes on with the next line */
        while (end < length && text[end] != '\n')
            end++;
        while (end < length && end > at && text[end - 1] == '\\') {
            end++;
            while (end < length && text[end] != '\n')
                end++;
            lines++;
        }
        config->place.line = line;
        split(state, text + at, end - at);
        if (config_word(&state->words, 0)[0] != '#')
            take_directive(config, state);
        line += (int)lines;
        at = end + 1;
    }
}

/* ---- when everything has been read ----------------------------------------------------------- */

static bool
is_guarded(const struct apache *state, const char *url)
{
    for (size_t i = 0; i < state->gate_count; i++) {
        if (config_below(url, state->gates[i]))
            return true;
    }
    return false;
}

/* A section that is read later, and more specific, takes the place of the gate's Require lines. */
static void
judge_granted(struct config *config, const struct apache *state)
{
    for (size_t i = 0; i < state->granted_count; i++) {
        const struct section *section = &state->granted[i];

        if (strncasecmp(section->kind, "Location", 8) == 0 && is_guarded(state, section->argument))
            config_tell(config, &section->granted_place, FINDING_WARNING,
                        "`Require all granted' in <%s %s>, below a guarded <Location>, takes the "
                        "place of its `Require valid-user'\ntake it out",
                        section->kind, section->argument);
    }
}

/* Two ways to one folder, of which one is guarded. */
static void
judge_ways(struct config *config, const struct apache *state)
{
    for (size_t i = 0; i < state->way_count; i++) {
        const struct way *guarded = &state->ways[i];

        for (size_t j = 0; j < state->way_count && is_guarded(state, guarded->url); j++) {
            const struct way *other = &state->ways[j];

            if (i == j || is_guarded(state, other->url) ||
                !config_below(guarded->folder, other->folder))
                continue;
            config_tell(
                config, &other->place, FINDING_WARNING,
                "%s leads to %s, and so to the files of the guarded %s (%s)\nguard that way as "
                "well, or move the folder out of it",
                other->url, other->folder, guarded->url, guarded->folder);
        }
    }
}

static void
end_apache(struct config *config, void *context)
{
    const struct apache *state = context;

    judge_granted(config, state);
    judge_ways(config, state);
    if (state->cache && !state->quick_off)
        config_tell(
            config, &state->cache_place, FINDING_WARNING,
            "CacheEnable without `CacheQuickHandler off': cached pages are served before any "
            "gate is asked\nCacheQuickHandler off");
}

const struct config_language config_apache = {
    .server = SERVER_APACHE,
    .state_size = sizeof(struct apache),
    .read = read_apache,
    .end = end_apache,
};
