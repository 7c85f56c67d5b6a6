/* SPDX-License-Identifier: MIT */
/* spendgate doctor: the store, the cache, and the user who owns them. */
#include "admin/doctor.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "common/store.h"

#include "common/banned.h"

#define TMPFS_KIND 0x01021994UL
#define RAMFS_KIND 0x858458f6UL

/* ---- whose they are ------------------------------------------------------------------------- */

static bool
folder_of(const char *path, char out[FILE_PATH_SIZE])
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return false;
    (void)snprintf(out, FILE_PATH_SIZE, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return true;
}

static void
user_name(uid_t uid, char out[NAME_SIZE])
{
    const struct passwd *user = getpwuid(uid);

    if (user == NULL || !text_copy(out, NAME_SIZE, user->pw_name))
        (void)snprintf(out, NAME_SIZE, "%lu", (unsigned long)uid);
}

/*
 * Root sees everything; the servers do not. Become the user who owns the store (with PostgreSQL:
 * the cache), and read the settings again as that user.
 */
static void
become_owner(struct doctor *doctor)
{
    char folder[FILE_PATH_SIZE], name[NAME_SIZE];
    struct settings *again = NULL;
    struct error err;

    if (geteuid() != 0 || (!command_store_folder(doctor->settings->store_url, folder) &&
                           !folder_of(doctor->settings->cache_path, folder)))
        return;
    if (command_become_owner(folder, &err) != STATUS_OK) {
        finding_tell(&doctor->sink, FINDING_PROBLEM, "files", "%s", err.message);
        return;
    }
    user_name(geteuid(), name);
    if (geteuid() == 0) {
        finding_tell(&doctor->sink, FINDING_WARNING, "files",
                     "%s belongs to root: the servers would have to run as root\nchown it to the "
                     "user of the servers (www-data, or spendgate)",
                     folder);
        return;
    }
    if (settings_open(doctor->admin->config, NULL, &again, &err) == STATUS_OK)
        finding_tell(&doctor->sink, FINDING_OK, "files",
                     "the user %s, who owns %s, can read the settings and the secrets", name,
                     folder);
    else
        finding_tell(&doctor->sink, FINDING_PROBLEM, "files",
                     "the user %s, who owns %s and runs the servers, cannot use the settings: %s\n"
                     "chgrp the file to the group of %s, and chmod 0640",
                     name, folder, err.message, name);
    settings_close(again);
}

void
doctor_store(struct doctor *doctor)
{
    struct store_options options;

    become_owner(doctor);
    doctor_progress(doctor, "the store");
    command_store_options(doctor->settings, false, &options);
    store_examine(&options, &doctor->sink);
}

/* ---- the cache ------------------------------------------------------------------------------ */

static void
check_cache_file(struct doctor *doctor, const char *suffix, bool *clean)
{
    bool shared = doctor->settings->store_group[0] != '\0';
    char path[FILE_PATH_SIZE + 16], name[NAME_SIZE];
    const char *wrong = NULL;
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s%s", doctor->settings->cache_path, suffix);
    if (lstat(path, &st) != 0)
        return;
    if (!S_ISREG(st.st_mode))
        wrong = "is no regular file";
    else if (st.st_uid != geteuid())
        wrong = "belongs to another user than the store";
    else if ((st.st_mode & S_IWOTH) != 0 || (!shared && (st.st_mode & S_IWGRP) != 0))
        wrong = "may be written by others, who could invent identities";
    *clean = *clean && wrong == NULL;
    user_name(st.st_uid, name);
    if (wrong != NULL)
        finding_tell(&doctor->sink, FINDING_PROBLEM, "cache",
                     "%s %s (user %s, mode %04o): it is not used, and every request asks Clerk\n"
                     "remove it; the authorizer makes a new one",
                     path, wrong, name, (unsigned)st.st_mode & 07777);
    else if ((st.st_mode & S_IROTH) != 0)
        finding_tell(&doctor->sink, FINDING_WARNING, "cache",
                     "%s: everybody on this machine may read who your callers are (mode %04o)\n"
                     "chmod 0600 %s",
                     path, (unsigned)st.st_mode & 07777, path);
}

/* Told by a folder that is there: who may write it, and what it is on. */
static bool
check_cache_folder(struct doctor *doctor, const char *folder)
{
    struct statfs fs;
    struct stat st;

    if (stat(folder, &st) != 0) {
        finding_tell(&doctor->sink, FINDING_PROBLEM, "cache",
                     "%s: %s: nothing is remembered, and every request asks Clerk\nmake it, owned "
                     "by the user of the servers; below /run also in /etc/tmpfiles.d, since it is "
                     "empty after a reboot",
                     folder, strerror(errno));
        return false;
    }
    if ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0) {
        finding_tell(
            &doctor->sink, FINDING_PROBLEM, "cache",
            "%s: everybody on this machine may write this folder (mode %04o): the cache is "
            "not used, and every request asks Clerk\nchmod 0750 %s",
            folder, (unsigned)st.st_mode & 07777, folder);
        return false;
    }
    if (access(folder, W_OK | X_OK) != 0) {
        finding_tell(&doctor->sink, FINDING_PROBLEM, "cache",
                     "%s: this user may not write there: %s\nchown it to the user of the servers, "
                     "or run this as that user",
                     folder, strerror(errno));
        return false;
    }
    if (statfs(folder, &fs) == 0 && (unsigned long)fs.f_type != TMPFS_KIND &&
        (unsigned long)fs.f_type != RAMFS_KIND)
        finding_tell(
            &doctor->sink, FINDING_WARNING, "cache",
            "%s is not on a tmpfs: identities stay on a disk, and on a network file system "
            "locks may not hold\ncache { path } below /run or /dev/shm",
            folder);
    return true;
}

void
doctor_files(struct doctor *doctor)
{
    static const char *const suffixes[] = { "", "-wal", "-shm", ".lock" };
    const char *path = doctor->settings->cache_path;
    char folder[FILE_PATH_SIZE];
    bool clean = true;

    if (!folder_of(path, folder) || !check_cache_folder(doctor, folder))
        return;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
        check_cache_file(doctor, suffixes[i], &clean);
    if (clean)
        finding_tell(&doctor->sink, FINDING_OK, "cache", "%s: can be used, and is closed to others",
                     path);
}
