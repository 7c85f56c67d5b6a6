/* SPDX-License-Identifier: MIT */
/*
 * The configuration of a web server, read for the lines that open a gate. It only points: whether a
 * gate is open is found out by requests (doctor_gate.h), and what stands in a configuration may be
 * changed by what is not read here. So nothing here is more than a warning, with file and line.
 * Source: web-servers document, sections 2 to 6.
 */
#ifndef SPENDGATE_DOCTOR_CONFIG_H
#define SPENDGATE_DOCTOR_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "admin/doctor_reading.h"
#include "common/finding.h"

#define CONFIG_FILE_MAX (1024 * 1024) /* bytes of one file */
#define CONFIG_FILES_MAX 1000         /* files of one configuration */
#define CONFIG_DEPTH_MAX 16           /* of inclusions */
#define CONFIG_WORDS_MAX 64           /* of one directive; the rest is not looked at */
#define CONFIG_WORD_SIZE 1024
#define CONFIG_NAME_SIZE 1024 /* of a file */

/* One directive: its words without their quotes. */
struct config_words {
    size_t count;
    char words[CONFIG_WORDS_MAX][CONFIG_WORD_SIZE];
};

/* Where something stands. */
struct config_place {
    char file[CONFIG_NAME_SIZE];
    int line;
};

struct config;

/* What each web server's language brings. */
struct config_language {
    enum reading_server server;
    size_t state_size; /* zeroed before the first file */
    /* Look at the text of one file, whose includes are read by config_include from here. */
    void (*read)(struct config *config, void *state, const char *text, size_t length);
    void (*end)(struct config *config, void *state);
};
extern const struct config_language config_apache, config_lighttpd, config_nginx;

/* One reading of a configuration. */
struct config {
    const struct config_language *language;
    const struct finding_sink *sink;
    void *state;
    char root[CONFIG_NAME_SIZE]; /* relative names are below it */
    struct config_place place;   /* in hand */
    size_t files, depth, told;
    bool cut; /* not everything was read */
};

/* Read `path` and all that it includes, and tell what was found. False, and told, when it cannot be
 * read. */
bool config_examine(const char *path, const struct finding_sink *sink) MUST_CHECK;
/* The same for a text without files: includes are passed over. For tests and the fuzz target. */
void config_examine_text(enum reading_server server, const char *text, size_t length,
                         const struct finding_sink *sink);

/* ---- for the languages ---- */

/* Read the files of a pattern here; relative to the root, or to `folder` when that is not NULL. */
void config_include(struct config *config, const char *pattern, const char *folder);
/* A finding about a place. */
void config_tell(struct config *config, const struct config_place *place, enum finding_level level,
                 const char *format, ...) PRINTF_LIKE(4, 5);
/* A word to the end of `words`; what is too long is cut. */
void config_add_word(struct config_words *words, const char *bytes, size_t length);
/* The n-th word, or "". */
const char *config_word(const struct config_words *words, size_t n);
/* Whether the n-th word is this, letters of both cases alike. */
bool config_is(const struct config_words *words, size_t n, const char *text);
/* Whether `path` is `prefix` or below it; both may end with "/". */
bool config_below(const char *path, const char *prefix);

#endif
