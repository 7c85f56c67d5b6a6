/* SPDX-License-Identifier: MIT */
#include "tests/settings/fixture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/banned.h"

int allocations_left = -1; /* -1: all succeed */

void *__real_calloc(size_t count, size_t size);
void *__real_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);

void *
__wrap_calloc(size_t count, size_t size)
{
    if (allocations_left >= 0 && allocations_left-- == 0)
        return NULL;
    return __real_calloc(count, size);
}

void *
__wrap_malloc(size_t size)
{
    if (allocations_left >= 0 && allocations_left-- == 0)
        return NULL;
    return __real_malloc(size);
}

void
tell(void *context, bool warning, const char *text)
{
    struct told *told = context;

    if (told->text.length > 0)
        buf_add_char(&told->text, '\n');
    buf_add_format(&told->text, "%s%s", warning ? "warning " : "", text);
}

void
write_bytes(const char *name, const char *bytes, size_t length, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK_TRUE("file made", fd >= 0 && fchmod(fd, mode) == 0);
    CHECK_INT("file written", (ssize_t)length, write(fd, bytes, length));
    (void)close(fd);
}

struct settings *
read_bytes(const char *bytes, size_t length, enum status want, struct told *told, struct error *err)
{
    const struct settings_problems problems = { tell, told };
    struct settings *settings = NULL;

    buf_init(&told->text, told->storage, sizeof(told->storage));
    *err = (struct error){ 0 };
    write_bytes(FILE_NAME, bytes, length, 0640);
    CHECK_STATUS(want, settings_open(FILE_NAME, &problems, &settings, err), err);
    return settings;
}

struct settings *
load_with(const char *text, const char *warnings)
{
    struct told told;
    struct error err;
    struct settings *settings = read_bytes(text, strlen(text), STATUS_OK, &told, &err);

    CHECK_STRING("told", warnings, buf_text(&told.text));
    if (settings == NULL) {
        printf("%s\n", err.message);
        exit(1); /* what follows reads the settings */
    }
    return settings;
}

struct settings *
load(const char *text)
{
    return load_with(text, NO_PLAN);
}

void
check_refused_bytes(const char *text, size_t length, const char *problems)
{
    struct told told;
    struct error err;
    char first[ERROR_MESSAGE_SIZE];
    const char *line = problems;

    (void)read_bytes(text, length, STATUS_INVALID, &told, &err);
    CHECK_STRING("told", problems, buf_text(&told.text));
    while (strncmp(line, "warning ", 8) == 0)
        line = strchr(line, '\n') + 1;
    (void)snprintf(first, sizeof(first), "%.*s", (int)strcspn(line, "\n"), line);
    CHECK_STRING("error", first, err.message);
}

void
check_refused(const char *text, const char *problems)
{
    check_refused_bytes(text, strlen(text), problems);
}

void
check_refused_too(const char *text, const char *problem)
{
    char problems[2048];

    (void)snprintf(problems, sizeof(problems), "%s\n%s", problem, NO_PLAN);
    check_refused(text, problems);
}

const char *
with_value(const char *pattern, const char *value, char *storage, size_t size)
{
    const char *hole = strstr(pattern, "%s");
    struct buf text;

    buf_init(&text, storage, size);
    buf_add_bytes(&text, pattern, (size_t)(hole - pattern));
    buf_add(&text, value);
    buf_add(&text, hole + 2);
    CHECK_FALSE("fits", buf_failed(&text));
    return buf_text(&text);
}

void
check_accepted(const char *pattern, const char *value)
{
    char storage[1024];
    const char *text = with_value(pattern, value, storage, sizeof(storage));
    struct told told;
    struct error err;

    settings_close(read_bytes(text, strlen(text), STATUS_OK, &told, &err));
}
