/* SPDX-License-Identifier: MIT */
#include "common/sqlite_vfs.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/banned.h"

#define VFS_NAME "spendgate"
#define FRAME_HEADER_BYTES 24
#define WAL_HEADER_BYTES 32
#define BUFFER_BYTES (64 * 1024)
#define WAL_WRITE_LOCK 0 /* its offset among SQLite's shared-memory locks */

/* A database file or a write-ahead log; SQLite's own file lies behind it in memory. */
struct vfs_file {
    sqlite3_file base;
    sqlite3_file *real;
    struct vfs_file *log;      /* of a database: its log while that is open */
    struct vfs_file *database; /* of a log */
    /* of a log: bytes not written yet */
    unsigned char *bytes; /* NULL: no memory, everything goes straight through */
    sqlite3_int64 start;
    int count;
    bool commits; /* the frame whose header came last is the one that commits */
    bool direct;  /* committed: until the lock goes nothing is kept back */
};

static struct vfs_file *
vfs_file(sqlite3_file *file)
{
    return (struct vfs_file *)(void *)file;
}

static const sqlite3_io_methods *
methods(sqlite3_file *file)
{
    return vfs_file(file)->real->pMethods;
}

static int
flush(struct vfs_file *log)
{
    int count = log->count;

    log->count = 0;
    if (count == 0)
        return SQLITE_OK;
    return log->real->pMethods->xWrite(log->real, log->bytes, count, log->start);
}

static int
flush_file(sqlite3_file *file)
{
    return flush(vfs_file(file));
}

/* ---- the log's writes ----------------------------------------------------------------------- */

static bool
is_frame_header(int count, sqlite3_int64 at)
{
    return count == FRAME_HEADER_BYTES && at >= WAL_HEADER_BYTES;
}

static int
write_log(struct vfs_file *log, const void *bytes, int count, sqlite3_int64 at)
{
    const unsigned char *header = bytes;
    int rc = SQLITE_OK;

    if (log->count > 0 && (at != log->start + log->count || log->count + count > BUFFER_BYTES))
        rc = flush(log);
    if (rc != SQLITE_OK)
        return rc;
    if (log->bytes == NULL || log->direct || at < WAL_HEADER_BYTES || count > BUFFER_BYTES)
        return log->real->pMethods->xWrite(log->real, bytes, count, at);
    if (log->count == 0)
        log->start = at;
    memcpy(log->bytes + log->count, bytes, (size_t)count);
    log->count += count;
    if (is_frame_header(count, at)) {
        /* bytes 4 to 7: the size of the database after the commit; 0 in every other frame */
        log->commits = (header[4] | header[5] | header[6] | header[7]) != 0;
        return SQLITE_OK;
    }
    if (!log->commits)
        return SQLITE_OK;
    log->direct = true;
    return flush(log);
}

static int
vfs_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 at)
{
    struct vfs_file *f = vfs_file(file);

    return f->database != NULL ? write_log(f, bytes, count, at)
                               : f->real->pMethods->xWrite(f->real, bytes, count, at);
}

/* A new transaction, or the end of one: what is still there was rolled back. */
static void
forget(struct vfs_file *log)
{
    log->count = 0;
    log->commits = log->direct = false;
}

static int
vfs_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    struct vfs_file *f = vfs_file(file);

    if (offset <= WAL_WRITE_LOCK && WAL_WRITE_LOCK < offset + count && f->log != NULL)
        forget(f->log);
    return f->real->pMethods->xShmLock(f->real, offset, count, flags);
}

/* ---- what only passes through, behind what was kept back ------------------------------------ */

static int
vfs_close(sqlite3_file *file)
{
    struct vfs_file *f = vfs_file(file);

    if (f->database != NULL)
        f->database->log = NULL;
    free(f->bytes);
    f->bytes = NULL;
    return f->real->pMethods->xClose(f->real);
}

static int
vfs_read(sqlite3_file *file, void *bytes, int count, sqlite3_int64 at)
{
    int rc = flush_file(file);

    return rc == SQLITE_OK ? methods(file)->xRead(vfs_file(file)->real, bytes, count, at) : rc;
}

static int
vfs_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int rc = flush_file(file);

    return rc == SQLITE_OK ? methods(file)->xTruncate(vfs_file(file)->real, size) : rc;
}

static int
vfs_sync(sqlite3_file *file, int flags)
{
    int rc = flush_file(file);

    return rc == SQLITE_OK ? methods(file)->xSync(vfs_file(file)->real, flags) : rc;
}

static int
vfs_size(sqlite3_file *file, sqlite3_int64 *size)
{
    int rc = flush_file(file);

    return rc == SQLITE_OK ? methods(file)->xFileSize(vfs_file(file)->real, size) : rc;
}

static int
vfs_lock(sqlite3_file *file, int level)
{
    return methods(file)->xLock(vfs_file(file)->real, level);
}

static int
vfs_unlock(sqlite3_file *file, int level)
{
    return methods(file)->xUnlock(vfs_file(file)->real, level);
}

static int
vfs_check_reserved(sqlite3_file *file, int *out)
{
    return methods(file)->xCheckReservedLock(vfs_file(file)->real, out);
}

static int
vfs_control(sqlite3_file *file, int op, void *argument)
{
    return methods(file)->xFileControl(vfs_file(file)->real, op, argument);
}

static int
vfs_sector_size(sqlite3_file *file)
{
    return methods(file)->xSectorSize(vfs_file(file)->real);
}

static int
vfs_device(sqlite3_file *file)
{
    return methods(file)->xDeviceCharacteristics(vfs_file(file)->real);
}

static int
vfs_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return methods(file)->xShmMap(vfs_file(file)->real, page, size, extend, out);
}

static void
vfs_shm_barrier(sqlite3_file *file)
{
    methods(file)->xShmBarrier(vfs_file(file)->real);
}

static int
vfs_shm_unmap(sqlite3_file *file, int remove)
{
    return methods(file)->xShmUnmap(vfs_file(file)->real, remove);
}

static const sqlite3_io_methods vfs_methods = {
    .iVersion = 2, /* without memory-mapped reads */
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_unlock,
    .xCheckReservedLock = vfs_check_reserved,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector_size,
    .xDeviceCharacteristics = vfs_device,
    .xShmMap = vfs_shm_map,
    .xShmLock = vfs_shm_lock,
    .xShmBarrier = vfs_shm_barrier,
    .xShmUnmap = vfs_shm_unmap,
};

/* ---- opening -------------------------------------------------------------------------------- */

static int
vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    sqlite3_vfs *real = vfs->pAppData;
    struct vfs_file *f = vfs_file(file);
    bool log = (flags & SQLITE_OPEN_WAL) != 0;
    int rc;

    if (!log && (flags & SQLITE_OPEN_MAIN_DB) == 0)
        return real->xOpen(real, name, file, flags, out_flags);
    memset(f, 0, sizeof(*f));
    f->real = (sqlite3_file *)(void *)&f[1];
    rc = real->xOpen(real, name, f->real, flags, out_flags);
    if (f->real->pMethods == NULL)
        return rc;
    file->pMethods = &vfs_methods;
    if (log && rc == SQLITE_OK) {
        f->database = vfs_file(sqlite3_database_file_object(name));
        f->database->log = f;
        f->bytes = malloc(BUFFER_BYTES);
    }
    return rc;
}

const char *
sqlite_vfs_name(void)
{
    sqlite3_vfs *real, *mine;

    if (sqlite3_vfs_find(VFS_NAME) != NULL)
        return VFS_NAME;
    real = sqlite3_vfs_find(NULL);
    mine = real != NULL ? malloc(sizeof(*mine)) : NULL;
    if (mine == NULL)
        return NULL;
    *mine = *real;
    mine->zName = VFS_NAME;
    mine->pNext = NULL;
    mine->pAppData = real;
    mine->szOsFile = (int)sizeof(struct vfs_file) + real->szOsFile;
    mine->xOpen = vfs_open;
    if (sqlite3_vfs_register(mine, 0) != SQLITE_OK) {
        free(mine);
        return NULL;
    }
    return VFS_NAME; /* registered for the life of the process */
}
