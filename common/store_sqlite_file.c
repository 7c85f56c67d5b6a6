/* SPDX-License-Identifier: MIT */
/*
 * The files beside the database: whose they are, who may read them, what file system they are on.
 */
#include "common/store_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "common/buf.h"

#include "common/banned.h"

/* File systems that another machine can write to, or whose locks and shared memory may not hold. */
static const struct {
    unsigned long magic;
    const char *name;
} refused_file_systems[] = {
    { 0x6969, "NFS" },      { 0x517B, "SMB" },       { 0xFF534D42, "CIFS" },
    { 0xFE534D42, "SMB" },  { 0x73757245, "Coda" },  { 0x5346414F, "AFS" },
    { 0x01021997, "9P" },   { 0x00C36400, "Ceph" },  { 0x0BD00BD0, "Lustre" },
    { 0x01161970, "GFS2" }, { 0x7461636f, "OCFS2" }, { 0x65735546, "FUSE" },
};

bool
sqlite_folder_of(const char *path, char folder[PATH_MAX])
{
    char *slash;

    if (!text_copy(folder, PATH_MAX, path))
        return false;
    slash = strrchr(folder, '/');
    slash[slash == folder ? 1 : 0] = '\0';
    return true;
}

enum status
sqlite_find_group(const char *name, gid_t *out, struct error *err)
{
    const struct group *group;

    *out = NO_GROUP;
    if (name == NULL || name[0] == '\0')
        return STATUS_OK;
    errno = 0;
    group = getgrnam(name);
    if (group == NULL)
        return error_set(err, STATUS_INVALID, "store: there is no group \"%s\" on this machine",
                         name);
    *out = group->gr_gid;
    return STATUS_OK;
}

enum status
sqlite_check_file_system(const char *path, struct error *err)
{
    char folder[PATH_MAX];
    struct statfs fs;

    if (!sqlite_folder_of(path, folder))
        return error_set(err, STATUS_INVALID, "store %s: the path is too long", path);
    if (statfs(folder, &fs) != 0)
        return error_set(
            err, STATUS_UNAVAILABLE,
            "store %s: the folder %s cannot be read (errno %d); make it, owned by the user "
            "that runs the servers",
            path, folder, errno);
    for (size_t i = 0; i < sizeof(refused_file_systems) / sizeof(refused_file_systems[0]); i++) {
        if ((unsigned long)fs.f_type == refused_file_systems[i].magic)
            return error_set(err, STATUS_UNAVAILABLE,
                             "store %s: it is on a network file system (%s), whose locks cannot be "
                             "relied on; use a local disk, or PostgreSQL",
                             path, refused_file_systems[i].name);
    }
    return STATUS_OK;
}

/* Ours, or with `group` of that group, and not writable by anybody else. */
static enum status
check_owner(const char *path, const struct stat *st, gid_t group, struct error *err)
{
    bool shared = group != NO_GROUP && st->st_gid == group;

    if (!S_ISREG(st->st_mode))
        return error_set(err, STATUS_UNAVAILABLE, "store %s: not a regular file", path);
    if (st->st_uid != geteuid() && !shared)
        return error_set(
            err, STATUS_UNAVAILABLE,
            "store %s: owned by user %u, not by the user %u that runs this; chown it, or "
            "run as its owner",
            path, (unsigned)st->st_uid, (unsigned)geteuid());
    if ((st->st_mode & S_IWOTH) != 0 || ((st->st_mode & S_IWGRP) != 0 && !shared))
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: others may write it (mode %04o); chmod it to %s", path,
                         (unsigned)st->st_mode & 07777, group != NO_GROUP ? "0660" : "0600");
    return STATUS_OK;
}

enum status
sqlite_check_file(const char *path, gid_t group, bool *missing, struct error *err)
{
    struct stat st;

    if (missing != NULL)
        *missing = false;
    if (stat(path, &st) == 0)
        return check_owner(path, &st, group, err);
    if (errno == ENOENT && missing != NULL) {
        *missing = true;
        return STATUS_OK;
    }
    return error_set(err, STATUS_UNAVAILABLE, "store %s: cannot be read (errno %d)", path, errno);
}

static enum status
set_group(int fd, const char *path, gid_t group, struct error *err)
{
    if (group == NO_GROUP)
        return STATUS_OK;
    if (fchown(fd, (uid_t)-1, group) != 0 || fchmod(fd, 0660) != 0)
        return error_set(
            err, STATUS_UNAVAILABLE,
            "store %s: cannot be given to the group (errno %d); is this user a member?", path,
            errno);
    return STATUS_OK;
}

int
sqlite_open_side_file(const struct sqlite_store *s, const char *suffix, gid_t group,
                      struct error *err)
{
    char storage[PATH_MAX];
    struct buf path;
    struct stat st;
    bool made = true;
    int fd;

    buf_init(&path, storage, sizeof(storage));
    buf_add(&path, s->path);
    buf_add(&path, suffix);
    if (buf_failed(&path)) {
        (void)error_set(err, STATUS_INVALID, "store %s: the path is too long", s->path);
        return -1;
    }
    fd = open(storage, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == EEXIST) {
        made = false;
        fd = open(storage, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    }
    if (fd < 0) {
        (void)error_set(
            err, STATUS_UNAVAILABLE,
            "store %s: cannot be opened (errno %d); it must belong to the user that runs "
            "this, and its folder be writable",
            storage, errno);
        return -1;
    }
    if ((made && set_group(fd, storage, group, err) != STATUS_OK) || fstat(fd, &st) != 0 ||
        check_owner(storage, &st, group, err) != STATUS_OK) {
        close(fd);
        return -1;
    }
    return fd;
}

enum status
sqlite_create_file(const char *path, gid_t group, struct error *err)
{
    enum status status;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 && errno == EEXIST)
        return STATUS_OK;
    if (fd < 0)
        return error_set(
            err, STATUS_UNAVAILABLE,
            "store %s: cannot be made (errno %d); its folder must be writable by the user "
            "that runs the servers",
            path, errno);
    status = set_group(fd, path, group, err);
    close(fd);
    return status;
}

enum status
sqlite_share_files(const struct sqlite_store *s, gid_t group, struct error *err)
{
    static const char *const suffixes[] = { "-wal", "-shm" };
    char storage[PATH_MAX];
    struct buf path;
    struct stat st;

    for (size_t i = 0; i < 2 && group != NO_GROUP; i++) {
        buf_init(&path, storage, sizeof(storage));
        buf_add(&path, s->path);
        buf_add(&path, suffixes[i]);
        if (buf_failed(&path) || stat(storage, &st) != 0 || st.st_gid == group ||
            st.st_uid != geteuid())
            continue;
        if (chown(storage, (uid_t)-1, group) != 0)
            return error_set(err, STATUS_UNAVAILABLE,
                             "store %s: cannot be given to the group (errno %d)", storage, errno);
    }
    return STATUS_OK;
}
