/* SPDX-License-Identifier: MIT */
#include "admin/doctor_config.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"

#include "common/banned.h"

/* ---- words ---------------------------------------------------------------------------------- */

void
config_add_word(struct config_words *words, const char *bytes, size_t length)
{
    char *word;

    if (words->count == CONFIG_WORDS_MAX)
        return;
    word = words->words[words->count++];
    if (length >= CONFIG_WORD_SIZE)
        length = CONFIG_WORD_SIZE - 1;
    memcpy(word, bytes, length);
    word[length] = '\0';
}

const char *
config_word(const struct config_words *words, size_t n)
{
    return n < words->count ? words->words[n] : "";
}

bool
config_is(const struct config_words *words, size_t n, const char *text)
{
    return n < words->count && strcasecmp(words->words[n], text) == 0;
}

bool
config_below(const char *path, const char *prefix)
{
    size_t length = strlen(prefix);

    while (length > 0 && prefix[length - 1] == '/')
        length--;
    return strncmp(path, prefix, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

void
config_tell(struct config *config, const struct config_place *place, enum finding_level level,
            const char *format, ...)
{
    char text[FINDING_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    config->told++;
    finding_tell(config->sink, level, "config", "%s:%d: %s", place->file, place->line, text);
}

/* ---- files ---------------------------------------------------------------------------------- */

/* The text of a regular file, to be freed; NULL with errno. */
static char *
load(const char *path, size_t *length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char *text = NULL;
    struct stat st;
    ssize_t got;

    if (fd < 0)
        return NULL;
    errno = EFBIG;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= CONFIG_FILE_MAX)
        text = malloc((size_t)st.st_size + 1);
    if (text != NULL) {
        *length = 0;
        while (*length < (size_t)st.st_size &&
               (got = read(fd, text + *length, (size_t)st.st_size - *length)) > 0)
            *length += (size_t)got;
        text[*length] = '\0';
    }
    close(fd);
    return text;
}

static bool
read_file(struct config *config, const char *path)
{
    struct config_place outer = config->place;
    size_t length;
    char *text;

    if (config->files == CONFIG_FILES_MAX || config->depth == CONFIG_DEPTH_MAX ||
        !text_copy(config->place.file, sizeof(config->place.file), path)) {
        config->place = outer;
        config->cut = true;
        return false;
    }
    text = load(path, &length);
    if (text == NULL) {
        config->place = outer;
        config->cut = true;
        return false;
    }
    config->files++;
    config->depth++;
    config->place.line = 1;
    config->language->read(config, config->state, text, length);
    config->depth--;
    config->place = outer;
    free(text);
    return true;
}

void
config_include(struct config *config, const char *pattern, const char *folder)
{
    char whole[2 * CONFIG_NAME_SIZE];
    struct stat st;
    glob_t found;

    if (config->root[0] == '\0')
        return; /* a text without files */
    if (strstr(pattern, "${") != NULL) {
        config->cut = true;
        return;
    }
    (void)snprintf(whole, sizeof(whole), "%s%s%s",
                   pattern[0] == '/' ? ""
                   : folder != NULL  ? folder
                                     : config->root,
                   pattern[0] == '/' ? "" : "/", pattern);
    /* Apache takes a folder for all the files in it. */
    if (stat(whole, &st) == 0 && S_ISDIR(st.st_mode) && strlen(whole) + 3 < sizeof(whole))
        (void)snprintf(whole + strlen(whole), 3, "/*");
    if (glob(whole, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        (void)read_file(config, found.gl_pathv[i]);
    globfree(&found);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static const struct config_language *const languages[] = { &config_apache, &config_lighttpd,
                                                           &config_nginx };

/* By words that only one of them has. */
static const struct config_language *
guess_language(const char *path)
{
    static const char *const marks[][4] = {
        { "<VirtualHost", "ServerRoot", "LoadModule", "IncludeOptional" },
        { "server.modules", "server.document-root", "server.port", "fastcgi.server" },
        { "http {", "events {", "server {", "location " },
    };
    const struct config_language *best = NULL;
    size_t length, most = 0;
    char *text = load(path, &length);

    for (size_t i = 0; text != NULL && i < sizeof(marks) / sizeof(marks[0]); i++) {
        size_t count = 0;

        for (size_t j = 0; j < sizeof(marks[i]) / sizeof(marks[i][0]); j++)
            count += strstr(text, marks[i][j]) != NULL;
        if (count > most) {
            most = count;
            best = languages[i];
        }
    }
    free(text);
    return best;
}

static void
set_root(struct config *config, const char *path)
{
    const char *slash = strrchr(path, '/');

    (void)snprintf(config->root, sizeof(config->root), "%.*s",
                   slash != NULL ? (int)(slash - path) : 1, slash != NULL ? path : ".");
}

static bool
begin(struct config *config)
{
    config->state = calloc(1, config->language->state_size);
    if (config->state == NULL)
        finding_tell(config->sink, FINDING_PROBLEM, "config", "out of memory");
    return config->state != NULL;
}

bool
config_examine(const char *path, const struct finding_sink *sink)
{
    struct config config = { .language = guess_language(path), .sink = sink };
    bool read;

    if (config.language == NULL) {
        finding_tell(
            sink, FINDING_PROBLEM, "config",
            "%s: cannot be read, or is no configuration of Apache, lighttpd or nginx\ngive "
            "the main file: apache2.conf, lighttpd.conf or nginx.conf",
            path);
        return false;
    }
    set_root(&config, path);
    if (!begin(&config))
        return false;
    read = read_file(&config, path);
    (void)!text_copy(config.place.file, sizeof(config.place.file), path);
    config.place.line = 1;
    config.language->end(&config, config.state);
    free(config.state);
    if (config.told == 0 && read)
        finding_tell(sink, FINDING_OK, "config",
                     "%s (%s, %zu file%s): no line that is known to open a gate", path,
                     reading_server_name(config.language->server), config.files,
                     config.files == 1 ? "" : "s");
    if (config.cut)
        finding_tell(sink, FINDING_NOTE, "config", "%s: not everything it includes could be read",
                     path);
    return read;
}

void
config_examine_text(enum reading_server server, const char *text, size_t length,
                    const struct finding_sink *sink)
{
    struct config config = { .sink = sink, .place = { .file = "text", .line = 1 } };

    for (size_t i = 0; i < sizeof(languages) / sizeof(languages[0]); i++) {
        if (languages[i]->server == server)
            config.language = languages[i];
    }
    if (config.language == NULL || !begin(&config))
        return;
    config.language->read(&config, config.state, text, length);
    config.language->end(&config, config.state);
    free(config.state);
}
