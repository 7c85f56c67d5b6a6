/* SPDX-License-Identifier: MIT */
/*
 * What tests of files and logs need: a throwaway folder, and standard error caught in a file of it.
 */
#ifndef SPENDGATE_SCRATCH_H
#define SPENDGATE_SCRATCH_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
    char folder[64];
    int saved_stderr; /* -1: not caught */
};

static inline void
scratch_open(struct scratch *scratch)
{
    memcpy(scratch->folder, "/tmp/spendgate-test-XXXXXX", sizeof("/tmp/spendgate-test-XXXXXX"));
    scratch->saved_stderr = -1;
    if (mkdtemp(scratch->folder) == NULL)
        abort();
}

/* A path in the folder; storage of the caller, 128 bytes. */
static inline char *
scratch_path(const struct scratch *scratch, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", scratch->folder, name);
    return out;
}

static inline void
scratch_catch_log(struct scratch *scratch)
{
    char path[128];
    int fd = open(scratch_path(scratch, "log", path),
                  O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

    fflush(stderr);
    scratch->saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0 || scratch->saved_stderr < 0 || dup2(fd, STDERR_FILENO) < 0)
        abort();
    close(fd);
}

/* What was logged so far; to be freed. */
static inline char *
scratch_log(const struct scratch *scratch)
{
    char path[128];
    FILE *file = fopen(scratch_path(scratch, "log", path), "re");
    char *text = calloc(1, 1 << 20);
    size_t length;

    if (file == NULL || text == NULL)
        abort();
    length = fread(text, 1, (1 << 20) - 1, file);
    text[length] = '\0';
    fclose(file);
    return text;
}

/* How often `text` stands in the log. */
static inline int
scratch_log_count(const struct scratch *scratch, const char *text)
{
    char *log = scratch_log(scratch);
    int count = 0;

    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        count++;
    free(log);
    return count;
}

static inline void
scratch_release_log(struct scratch *scratch)
{
    if (scratch->saved_stderr < 0)
        return;
    if (dup2(scratch->saved_stderr, STDERR_FILENO) < 0)
        abort();
    close(scratch->saved_stderr);
    scratch->saved_stderr = -1;
}

static inline void
scratch_remove(const struct scratch *scratch, const char *name)
{
    char path[128];

    unlink(scratch_path(scratch, name, path));
}

static inline void
scratch_write(const struct scratch *scratch, const char *name, const char *text)
{
    char path[128];
    FILE *file = fopen(scratch_path(scratch, name, path), "we");

    if (file == NULL || fwrite(text, 1, strlen(text), file) != strlen(text))
        abort();
    fclose(file);
}

void scratch_close(struct scratch *scratch);

#endif
