/* SPDX-License-Identifier: MIT */
#include "authorizer/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/banned.h"

/* ---- which file ---------------------------------------------------------------------------------
 */

/* The kernel itself refuses whatever leads out of `root`: "..", absolute links, links to elsewhere.
 */
static int
open_beneath(int root, const char *path)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };

    return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

static bool
has_parent_step(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")) != NULL; at += 2) {
        bool starts = at == path || at[-1] == '/';

        if (starts && (at[2] == '/' || at[2] == '\0'))
            return true;
    }
    return false;
}

/* What `path` has behind `folder`, from its slash on, or NULL when it is not below it. */
static const char *
behind(const char *folder, const char *path)
{
    size_t length = strlen(folder);

    while (length > 0 && folder[length - 1] == '/')
        length--;
    return strncmp(path, folder, length) == 0 && path[length] == '/' ? path + length : NULL;
}

/* Whether the root lies in a folder from which the web server serves files. */
static bool
is_served_from(const char *root, const char *folder)
{
    char real_root[PATH_MAX];
    char real_folder[PATH_MAX];

    if (folder == NULL || folder[0] != '/')
        return false;
    if (realpath(root, real_root) == NULL || realpath(folder, real_folder) == NULL)
        return strcmp(root, folder) == 0 || behind(folder, root) != NULL;
    return strcmp(real_root, real_folder) == 0 || behind(real_folder, real_root) != NULL;
}

/*
 * The part of the file's path that is below the root, without a slash in front. A root in the web
 * space has URLs of its own, by which its files are judged; below such a root a path that the web
 * server maps to elsewhere ("/spendgate/gate.cgi/x.php" for /api/x.php) would be the same file by a
 * name with another route.
 */
static const char *
below_root(const char *root, const struct gate_target *target)
{
    const char *below = target->translated == NULL ? NULL : behind(root, target->translated);

    if (below == NULL && !is_served_from(root, target->document_root) &&
        !is_served_from(root, target->context_root))
        below = target->path;
    return below == NULL ? "" : below + strspn(below, "/");
}

/* Open the longest beginning of `path` that is a file; cuts `path` there. -1 with errno. */
static int
open_longest(int root, char *path)
{
    for (;;) {
        int fd = open_beneath(root, path);
        char *slash;

        if (fd >= 0 || (errno != ENOTDIR && errno != ENOENT))
            return fd;
        slash = strrchr(path, '/');
        if (slash == NULL)
            return -1;
        *slash = '\0';
    }
}

static const struct interpreter *
find_runner(const struct settings *settings, const char *file)
{
    size_t length = strlen(file);

    for (size_t i = 0; i < settings->interpreter_count; i++) {
        size_t suffix = strlen(settings->interpreters[i].suffix);

        if (length > suffix &&
            strcmp(file + length - suffix, settings->interpreters[i].suffix) == 0)
            return &settings->interpreters[i];
    }
    return NULL;
}

/* The name of an open file, as the kernel has it. */
static bool
name_of(int fd, char out[GATE_PATH_SIZE])
{
    char link[64];
    struct buf path;
    ssize_t length;

    buf_init(&path, link, sizeof(link));
    buf_add_format(&path, "/proc/self/fd/%d", fd);
    length = readlink(link, out, GATE_PATH_SIZE - 1);
    out[length > 0 ? length : 0] = '\0';
    return length > 0 && length < GATE_PATH_SIZE - 1 && out[0] == '/';
}

static enum status
judge_file(const struct settings *settings, int fd, struct gate_script *out, struct error *err)
{
    struct stat file;

    if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode) || !name_of(fd, out->file))
        return error_set(err, STATUS_NOT_FOUND, "gate: there is no file for this path");
    out->runner = find_runner(settings, out->file);
    if (out->runner == NULL && faccessat(fd, "", X_OK, AT_EMPTY_PATH | AT_EACCESS) != 0)
        return error_set(err, STATUS_CONFLICT,
                         "gate: %s is not executable, and gate { interpreter } has none for it",
                         out->file);
    return STATUS_OK;
}

enum status
gate_find(const struct settings *settings, const struct gate_target *target,
          struct gate_script *out, struct error *err)
{
    const char *below = below_root(settings->gate_root, target);
    char copy[GATE_PATH_SIZE];
    enum status status;
    int root, fd;

    *out = (struct gate_script){ .runner = NULL };
    if (settings->gate_root[0] == '\0')
        return error_set(
            err, STATUS_INVALID,
            "started as plain CGI, but gate { root } is not set: set it, or use FastCGI");
    if (!text_copy(copy, sizeof(copy), below))
        return error_set(err, STATUS_OVERFLOW, "gate: the path is too long");
    if (copy[0] == '\0' || has_parent_step(copy))
        return error_set(err, STATUS_NOT_FOUND, "gate: there is no file for this path");
    root = open(settings->gate_root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return error_set(err, STATUS_INVALID, "gate { root }: %s: %s", settings->gate_root,
                         strerror(errno));
    fd = open_longest(root, copy);
    close(root);
    if (fd < 0)
        return error_set(err, STATUS_NOT_FOUND, "gate: there is no file for this path: %s",
                         strerror(errno));
    status = judge_file(settings, fd, out, err);
    close(fd);
    if (status == STATUS_OK && !text_copy(out->extra, sizeof(out->extra), below + strlen(copy)))
        status = error_set(err, STATUS_OVERFLOW, "gate: the path is too long");
    return status;
}

/* ---- what it is told ----------------------------------------------------------------------------
 */

/* Whether an entry is ours alone (secrets), or something that only we may say, or describes this
 * program as the script. What else begins with SPENDGATE_ is the script's own, such as where the
 * tracker is. */
static bool
is_withheld(const char *entry)
{
    static const char *const beginnings[] = {
        "CLERK_",
        "HANDLER=", /* REDIRECT_HANDLER and REDIRECT_URL tell how Apache came to the gate; */
        "PATH_INFO=",
        "PATH_TRANSLATED=",
        "REMOTE_USER=",
        "SCRIPT_FILENAME=",
        "SCRIPT_NAME=",
        "SPENDGATE_CLAIM_",
        "SPENDGATE_CONFIG=",
        "SPENDGATE_DENIAL=",
        "SPENDGATE_HOLD_",
        "SPENDGATE_KEY_ID=",
        "SPENDGATE_KIND=",
        "SPENDGATE_LIMIT_USD=",
        "SPENDGATE_MODE=",
        "SPENDGATE_ORG=",
        "SPENDGATE_PLAN=",
        "SPENDGATE_REMAINING_USD=",
        "SPENDGATE_REQUEST_ID=",
        "SPENDGATE_RESET=",
        "SPENDGATE_ROUTE=",
        "SPENDGATE_SCOPES=",
        "SPENDGATE_STORE_URL=",
        "SPENDGATE_SUBJECT=",
        "SPENDGATE_WARN=",
        "STATUS=", /* REDIRECT_STATUS */
        "URL=",    /* with REDIRECT_URL php-cgi drops PATH_INFO */
    };
    static const char redirected[] = "REDIRECT_";
    bool is_redirected = strncmp(entry, redirected, sizeof(redirected) - 1) == 0;

    if (is_redirected)
        entry += sizeof(redirected) - 1;
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++) {
        if (strncmp(entry, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    }
    return false;
}

struct environment {
    struct buf *storage;
    char **entries;
    size_t count;
    bool full;
};

static void
put_entry(struct environment *environment, char *entry)
{
    if (environment->count + 1 >= GATE_VARIABLES_MAX) {
        environment->full = true;
        return;
    }
    environment->entries[environment->count++] = entry;
    environment->entries[environment->count] = NULL;
}

static void
put(struct environment *environment, const char *name, size_t name_length, const char *value,
    size_t value_length)
{
    struct buf *storage = environment->storage;
    char *entry = storage->data + storage->length;

    buf_add_bytes(storage, name, name_length);
    buf_add_char(storage, '=');
    buf_add_bytes(storage, value, value_length);
    buf_add_char(storage, '\0');
    put_entry(environment, entry);
}

static void
put_text(struct environment *environment, const char *name, const char *value)
{
    put(environment, name, strlen(name), value, strlen(value));
}

/* Each "Variable-NAME: value" line. */
static void
put_variables(struct environment *environment, const char *answer)
{
    static const char prefix[] = "Variable-";

    while (*answer != '\0') {
        size_t length = strcspn(answer, "\r");

        if (strncmp(answer, prefix, sizeof(prefix) - 1) == 0) {
            const char *name = answer + sizeof(prefix) - 1;
            size_t name_length = strcspn(name, ":");
            const char *value = name + name_length + 2;

            put(environment, name, name_length, value, length - (size_t)(value - answer));
        }
        answer += length;
        answer += strspn(answer, "\r\n");
    }
}

static const char *
value_of(char **ours, const char *name)
{
    size_t length = strlen(name);

    for (; *ours != NULL; ours++) {
        if (strncmp(*ours, name, length) == 0 && (*ours)[length] == '=')
            return *ours + length + 1;
    }
    return "";
}

/* PATH_INFO is the URL's whole path; the script's name is that without what comes behind it. */
static void
put_script(struct environment *environment, const struct gate_script *script, char **ours)
{
    const char *path = value_of(ours, "PATH_INFO");
    size_t length = strlen(path);
    size_t extra = strlen(script->extra);

    if (extra <= length && strcmp(path + length - extra, script->extra) == 0)
        length -= extra;
    put(environment, "SCRIPT_NAME", strlen("SCRIPT_NAME"), path, length);
    put_text(environment, "SCRIPT_FILENAME", script->file);
    put_text(environment, "REDIRECT_STATUS", "200"); /* php-cgi runs nothing without it */
    if (extra > 0)
        put_text(environment, "PATH_INFO", script->extra);
}

enum status
gate_environment(const struct gate_script *script, char **ours, const char *answer,
                 struct buf *storage, char *out[GATE_VARIABLES_MAX], struct error *err)
{
    struct environment environment = { .storage = storage, .entries = out };

    out[0] = NULL;
    for (char **entry = ours; *entry != NULL; entry++) {
        if (!is_withheld(*entry))
            put_entry(&environment, *entry);
    }
    put_variables(&environment, answer);
    put_script(&environment, script, ours);
    if (environment.full || buf_failed(storage))
        return error_set(err, STATUS_OVERFLOW, "gate: the environment is too large");
    return STATUS_OK;
}

/* ---- becoming it --------------------------------------------------------------------------------
 */

enum status
gate_run(const struct gate_script *script, char *const *environment, struct error *err)
{
    const char *program = script->runner != NULL ? script->runner->command : script->file;
    char folder[GATE_PATH_SIZE];
    char *arguments[2] = { NULL, NULL };
    sigset_t none;
    int failure;

    if (!text_copy(folder, sizeof(folder), script->file))
        return error_set(err, STATUS_OVERFLOW, "gate: the path is too long");
    *strrchr(folder, '/') = '\0';
    if (chdir(folder[0] == '\0' ? "/" : folder) != 0)
        return error_set(err, STATUS_IO, "gate: %s: %s", folder, strerror(errno));
    arguments[0] = strdup(program);
    if (arguments[0] == NULL)
        return error_set(err, STATUS_NO_MEMORY, "gate: out of memory");
    /* What is ignored or blocked here would stay so in the script. */
    (void)signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    execve(program, arguments, environment);
    failure = errno;
    free(arguments[0]);
    return error_set(err, STATUS_IO, "gate: %s cannot be started: %s", program, strerror(failure));
}
