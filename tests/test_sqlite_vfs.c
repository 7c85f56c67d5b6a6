/* SPDX-License-Identifier: MIT */
/*
 * The VFS that writes a transaction's frames at once, against SQLite's own: the same statements
 * leave the same rows, also in a copy of the files taken as a crash would leave them (which SQLite
 * then recovers from the log's checksums alone).
 */
#include "common/sqlite_vfs.h"

#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "tests/check.h"

#include "common/banned.h"

#define ROWS 400

struct fixture {
    char folder[64];
    char path[96];
    sqlite3 *db;
};

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void
run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        printf("%s: %s\n", sql, sqlite3_errmsg(db));
        CHECK_TRUE("statement", false);
    }
}

static sqlite3 *
open_db(const char *path, const char *vfs)
{
    sqlite3 *db;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs) != SQLITE_OK)
        abort();
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    run(db, "PRAGMA synchronous = NORMAL; PRAGMA cache_size = 10; PRAGMA wal_autocheckpoint = 0;"
            "PRAGMA busy_timeout = 1000");
    return db;
}

static struct fixture *
setup(const char *vfs)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct buf path;

    if (f == NULL)
        abort();
    (void)!text_copy(f->folder, sizeof(f->folder), "/tmp/sqlite-vfs-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        abort();
    buf_init(&path, f->path, sizeof(f->path));
    buf_add_format(&path, "%s/a.db", f->folder);
    f->db = open_db(f->path, vfs);
    run(f->db, "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL;"
               "CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER, filler TEXT)");
    return f;
}

static void
teardown(struct fixture *f)
{
    sqlite3_close(f->db);
    nftw(f->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
}

static int64_t
query(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt;
    int64_t out = -1;

    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return -2;
    if (sqlite3_step(stmt) == SQLITE_ROW)
        out = sqlite3_column_type(stmt, 0) == SQLITE_TEXT
                  ? strcmp((const char *)sqlite3_column_text(stmt, 0), "ok")
                  : sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return out;
}

static int64_t
fingerprint(sqlite3 *db)
{
    return query(db, "SELECT sum((id * 31 + value) * (length(filler) + 7)) FROM t");
}

static uint64_t
random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void
change_row(sqlite3 *db, uint64_t *seed)
{
    char text[256];
    struct buf sql;
    unsigned id = (unsigned)(random_next(seed) % ROWS),
             value = (unsigned)(random_next(seed) % 1000);

    buf_init(&sql, text, sizeof(text));
    buf_add_format(&sql,
                   "INSERT INTO t VALUES (%u, %u, printf('%%.%uc', 'x')) ON CONFLICT DO UPDATE "
                   "SET value = excluded.value, filler = excluded.filler",
                   id, value, value % 700);
    run(db, text);
}

/* One transaction of `changes` rows; far more than the cache holds, so that pages are written
 * before the commit, read back, and written again. */
static void
transact(sqlite3 *db, uint64_t *seed, int changes, bool commit)
{
    run(db, "BEGIN IMMEDIATE");
    for (int i = 0; i < changes; i++)
        change_row(db, seed);
    run(db, commit ? "COMMIT" : "ROLLBACK");
}

static void
copy_file(const char *from, const char *to)
{
    char bytes[65536];
    ssize_t count;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    while ((count = read(in, bytes, sizeof(bytes))) > 0) {
        if (write(out, bytes, (size_t)count) != count)
            abort();
    }
    close(in);
    close(out);
}

/* What a crash of the machine right now would leave, if the disk had everything that was written.
 */
static int64_t
after_a_crash(struct fixture *f)
{
    char from[128], to[128];
    struct buf text;
    sqlite3 *db;
    int64_t out;

    for (int log = 0; log < 2; log++) {
        buf_init(&text, from, sizeof(from));
        buf_add_format(&text, "%s%s", f->path, log ? "-wal" : "");
        buf_init(&text, to, sizeof(to));
        buf_add_format(&text, "%s.copy%s", f->path, log ? "-wal" : "");
        copy_file(from, to);
    }
    buf_init(&text, to, sizeof(to));
    buf_add_format(&text, "%s.copy", f->path);
    db = open_db(to, "unix");
    CHECK_INT("integrity", 0, query(db, "PRAGMA integrity_check"));
    out = fingerprint(db);
    sqlite3_close(db);
    buf_init(&text, to, sizeof(to));
    buf_add_format(&text, "%s.copy-shm", f->path);
    unlink(to);
    return out;
}

static void
test_the_same_statements_leave_the_same_rows_also_after_a_crash(void)
{
    struct fixture *mine = setup(sqlite_vfs_name()), *theirs = setup("unix");
    uint64_t seed_mine = 12345, seed_theirs = 12345, seed = 99;

    for (int i = 0; i < 120; i++) {
        int changes = (int)(random_next(&seed) % 120);
        bool commit = random_next(&seed) % 3 != 0;

        transact(mine->db, &seed_mine, changes, commit);
        transact(theirs->db, &seed_theirs, changes, commit);
        CHECK_INT("rows", fingerprint(theirs->db), fingerprint(mine->db));
        CHECK_INT("recovered", fingerprint(theirs->db), after_a_crash(mine));
        if (i % 25 == 24)
            run(mine->db, "PRAGMA wal_checkpoint(PASSIVE)");
    }
    teardown(mine);
    teardown(theirs);
}

static void
test_what_was_rolled_back_does_not_reach_what_another_connection_wrote(void)
{
    struct fixture *f = setup(sqlite_vfs_name());
    sqlite3 *other = open_db(f->path, sqlite_vfs_name());
    uint64_t seed = 5, seed_other = 7;

    transact(f->db, &seed, 2000, true);
    for (int i = 0; i < 60; i++) {
        /* With every page in the database file nothing reads the log back, so that the rollback
         * leaves frames behind that were never written. */
        run(other, "PRAGMA wal_checkpoint(PASSIVE)");
        transact(f->db, &seed, 60, false);
        transact(other, &seed_other, 1 + i % 9, true);
        CHECK_INT("seen", fingerprint(other), fingerprint(f->db));
        CHECK_INT("recovered", fingerprint(other), after_a_crash(f));
        transact(f->db, &seed, 2, true);
        CHECK_INT("seen back", fingerprint(f->db), fingerprint(other));
    }
    sqlite3_close(other);
    teardown(f);
}

static void
test_full_sync_mode_works_too(void)
{
    struct fixture *f = setup(sqlite_vfs_name());
    uint64_t seed = 3;

    run(f->db, "PRAGMA synchronous = FULL");
    for (int i = 0; i < 20; i++)
        transact(f->db, &seed, 15, true);
    CHECK_INT("recovered", fingerprint(f->db), after_a_crash(f));
    teardown(f);
}

static void
test_a_small_transaction_is_one_write(void)
{
    struct fixture *f = setup(sqlite_vfs_name());
    struct stat before, after;
    char log[128];
    struct buf text;

    buf_init(&text, log, sizeof(log));
    buf_add_format(&text, "%s-wal", f->path);
    run(f->db, "BEGIN IMMEDIATE");
    run(f->db, "INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y')");
    CHECK_INT("stat", 0, stat(log, &before));
    run(f->db, "COMMIT");
    CHECK_INT("stat", 0, stat(log, &after));
    CHECK_TRUE("grew at the commit", after.st_size > before.st_size);
    CHECK_STRING("registered once", sqlite_vfs_name(), sqlite_vfs_name());
    teardown(f);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_the_same_statements_leave_the_same_rows_also_after_a_crash),
        CHECK_TEST(test_what_was_rolled_back_does_not_reach_what_another_connection_wrote),
        CHECK_TEST(test_full_sync_mode_works_too),
        CHECK_TEST(test_a_small_transaction_is_one_write),
    };

    return check_main("sqlite_vfs", tests, CHECK_COUNT(tests));
}
