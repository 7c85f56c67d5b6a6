/* SPDX-License-Identifier: MIT */
#include "admin/doctor_trial.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/crypto.h"

#include "common/banned.h"

#define RANDOM_BYTES 12
#define CONTENT_SIZE 512

struct trial {
    char folder[PATH_MAX]; /* real path of the one that was named */
    char name[TRIAL_NAME_SIZE];
    char id[2 * RANDOM_BYTES + 1];
    pid_t keeper;
    int pipe; /* closed when we end, however that is: then the keeper removes everything */
};

#define ONLY_LOCATION                                                                            \
    "put the gate into a <Location> of the server's configuration (a <Directory> is changed by " \
    ".htaccess files below it), or AllowOverride None for this folder"

const struct trial_page trial_pages[] = {
    { "page.txt", "a file", NULL, NULL },
    { "page.php", "a PHP script", NULL, NULL },
    { "page.pl", "a Perl script", NULL, NULL },
    { "page.cgi", "a CGI script", NULL, NULL },
    { "require/page.txt", "Require all granted", "Require all granted\n", ONLY_LOCATION },
    { "satisfy/page.txt", "Satisfy Any", "Satisfy Any\n",
      "add `Satisfy All' to the <Location> of the gate (mod_access_compat)" },
    { "both/page.txt", "Require all granted, Satisfy Any", "Require all granted\nSatisfy Any\n",
      "add `Satisfy All' to the <Location> of the gate (mod_access_compat)" },
    { "order/page.txt", "Order, Allow from all, Satisfy Any",
      "Order allow,deny\nAllow from all\nSatisfy Any\n",
      "add `Satisfy All' to the <Location> of the gate (mod_access_compat)" },
    { "fcgid/page.txt", "FcgidAccessCheckerAuthoritative Off",
      "<IfModule mod_fcgid.c>\nFcgidAccessCheckerAuthoritative Off\n</IfModule>\n",
      "add `FcgidAccessCheckerAuthoritative On' to the <Location> of the gate" },
    { "authnz/page.txt", "AuthnzFcgiCheckAuthnProvider None, Require all granted",
      "<IfModule mod_authnz_fcgi.c>\nAuthnzFcgiCheckAuthnProvider None\n</IfModule>\n"
      "Require all granted\n",
      ONLY_LOCATION },
    { "variables/page.txt", "SetEnvIf of our own variables",
      "<IfModule mod_setenvif.c>\n"
      "SetEnvIf Request_URI . REMOTE_USER=doctor SPENDGATE_SUBJECT=doctor SPENDGATE_KIND=api_key\n"
      "SetEnvIf Request_URI . REDIRECT_SPENDGATE_SUBJECT=doctor SPENDGATE_HOLD_ID=hld_0\n"
      "</IfModule>\n",
      "report this: variables of an .htaccess must never be taken for a verdict" },
};
const size_t trial_page_count = sizeof(trial_pages) / sizeof(trial_pages[0]);

/* ---- content -------------------------------------------------------------------------------- */

static bool
ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);

    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* Harmless, and the mark shows whether the source is sent or the script is run. */
static void
write_content(const struct trial *trial, const char *name, struct buf *out)
{
    if (ends_with(name, ".php"))
        buf_add_format(out, "<?php echo 'spendgate-doctor-', '%s', \"\\n\"; /* %s */\n", trial->id,
                       trial->id);
    else if (ends_with(name, ".pl") || ends_with(name, ".cgi"))
        buf_add_format(out,
                       "#!/usr/bin/perl\nprint \"Content-Type: text/plain\\r\\n\\r\\n\", "
                       "'spendgate-doctor-', '%s', \"\\n\";\n",
                       trial->id);
    else
        buf_add_format(out, "spendgate-doctor-%s\n", trial->id);
}

bool
trial_mark_found(const struct trial *trial, const char *body, size_t length)
{
    return memmem(body, length, trial->id, strlen(trial->id)) != NULL;
}

/* ---- the keeper: every path below is relative to the folder, which is its own --------------- */

/* Never follows or replaces what is there. */
static bool
make_file(const char *path, const char *content, mode_t mode)
{
    size_t length = strlen(content);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    bool made;

    if (fd < 0)
        return false;
    made = write(fd, content, length) == (ssize_t)length && fchmod(fd, mode) == 0;
    (void)close(fd);
    return made;
}

/* "NAME/page" and the folders on the way; `path` gets it. */
static bool
page_path(const struct trial *trial, const char *name, char path[PATH_MAX], bool make)
{
    const char *slash = strchr(name, '/');

    if (slash != NULL) {
        (void)snprintf(path, PATH_MAX, "%s/%.*s", trial->name, (int)(slash - name), name);
        if (make && (mkdir(path, 0755) != 0 || chmod(path, 0755) != 0))
            return false;
    }
    (void)snprintf(path, PATH_MAX, "%s/%s", trial->name, name);
    return true;
}

static bool
make_page(const struct trial *trial, const struct trial_page *page)
{
    bool program = ends_with(page->name, ".pl") || ends_with(page->name, ".cgi");
    char path[PATH_MAX], storage[CONTENT_SIZE];
    struct buf content;

    buf_init(&content, storage, sizeof(storage));
    write_content(trial, page->name, &content);
    if (buf_failed(&content) || !page_path(trial, page->name, path, true) ||
        !make_file(path, buf_text(&content), program ? 0755 : 0644))
        return false;
    if (page->htaccess == NULL)
        return true;
    (void)snprintf(strrchr(path, '/'), sizeof("/.htaccess"), "/.htaccess");
    return make_file(path, page->htaccess, 0644);
}

static void
remove_page(const struct trial *trial, const struct trial_page *page)
{
    char path[PATH_MAX];

    (void)page_path(trial, page->name, path, false);
    (void)unlink(path);
    if (page->htaccess == NULL)
        return;
    (void)snprintf(strrchr(path, '/'), sizeof("/.htaccess"), "/.htaccess");
    (void)unlink(path);
    *strrchr(path, '/') = '\0';
    (void)rmdir(path);
}

static int
make_all(const struct trial *trial)
{
    if (mkdir(trial->name, 0755) != 0 || chmod(trial->name, 0755) != 0)
        return errno;
    for (size_t i = 0; i < trial_page_count; i++) {
        errno = EIO; /* what a short write leaves */
        if (!make_page(trial, &trial_pages[i]))
            return errno;
    }
    return 0;
}

static void
remove_all(const struct trial *trial)
{
    for (size_t i = 0; i < trial_page_count; i++)
        remove_page(trial, &trial_pages[i]);
    (void)rmdir(trial->name);
}

/* A process that ignores the signals of a terminal, says how the making went, and waits for the end
 * of the pipe. */
static void
keep(const struct trial *trial, int told, int waited)
{
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
    int problem;
    char byte;

    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        (void)signal(ignored[i], SIG_IGN);
    problem = chdir(trial->folder) == 0 ? make_all(trial) : errno;
    if (write(told, &problem, sizeof(problem)) != (ssize_t)sizeof(problem))
        problem = EPIPE; /* nobody is there any more */
    while (problem == 0 && read(waited, &byte, 1) < 0 && errno == EINTR)
        continue;
    remove_all(trial);
    _exit(0);
}

/* ---- opening -------------------------------------------------------------------------------- */

static enum status
start_keeper(struct trial *trial, struct error *err)
{
    int told[2] = { -1, -1 }, waited[2] = { -1, -1 };
    int problem = EIO;

    if (pipe2(told, O_CLOEXEC) != 0 || pipe2(waited, O_CLOEXEC) != 0)
        return error_set(err, STATUS_IO, "%s", strerror(errno));
    trial->keeper = fork();
    if (trial->keeper == 0) {
        (void)close(told[0]);
        (void)close(waited[1]);
        keep(trial, told[1], waited[0]);
    }
    (void)close(told[1]);
    (void)close(waited[0]);
    trial->pipe = waited[1];
    if (trial->keeper < 0)
        problem = errno;
    else if (read(told[0], &problem, sizeof(problem)) != (ssize_t)sizeof(problem))
        problem = EIO;
    (void)close(told[0]);
    if (problem == 0)
        return STATUS_OK;
    return error_set(err, STATUS_IO, "cannot make files in %s: %s; run this as a user who may",
                     trial->folder, strerror(problem));
}

enum status
trial_open(const char *folder, struct trial **out, struct error *err)
{
    struct trial *trial = calloc(1, sizeof(*trial));
    uint8_t random[RANDOM_BYTES];
    struct buf text;
    struct stat st;
    enum status status;

    *out = NULL;
    if (trial == NULL)
        return error_set(err, STATUS_NO_MEMORY, "out of memory");
    trial->keeper = -1;
    trial->pipe = -1;
    crypto_random(random, sizeof(random));
    buf_init(&text, trial->id, sizeof(trial->id));
    buf_add_hex(&text, random, sizeof(random));
    (void)snprintf(trial->name, sizeof(trial->name), "spendgate-doctor-%.8s", trial->id);
    if (realpath(folder, trial->folder) == NULL || stat(trial->folder, &st) != 0)
        status = error_set(err, STATUS_INVALID, "%s: %s", folder, strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        status = error_set(err, STATUS_INVALID, "%s is no folder", folder);
    else
        status = start_keeper(trial, err);
    if (status == STATUS_OK)
        *out = trial;
    else
        trial_close(trial);
    return status;
}

void
trial_close(struct trial *trial)
{
    if (trial == NULL)
        return;
    if (trial->pipe >= 0)
        (void)close(trial->pipe);
    while (trial->keeper > 0 && waitpid(trial->keeper, NULL, 0) < 0 && errno == EINTR)
        continue;
    free(trial);
}

const char *
trial_name(const struct trial *trial)
{
    return trial->name;
}

const char *
trial_folder(const struct trial *trial)
{
    return trial->folder;
}
