/* SPDX-License-Identifier: MIT */
/*
 * The SQLite store: one file, one host, many processes. The three rules of the design document,
 * section 5: writers queue on a flock of their own and not in SQLite's sleeping busy handler; no
 * commit waits for the disk inside that lock, what must be durable syncs the WAL afterwards; the
 * checkpoint runs after the answer, one at a time, in two steps.
 *
 * Rows in, rows out: no money rule is here (ledger.c), and no order of events (store.c).
 */
#include "common/store_backend.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/schema_sqlite.h"
#include "common/sqlite_vfs.h"

#include "common/banned.h"

#define SCHEME "sqlite:"
#define APPLICATION_ID 0x53706e64 /* "Spnd": another program's database is refused */
#define LOCK_WAIT_MS 2000
#define LOCK_TICK_MS 20 /* how often a wait for the lock looks at the time */
#define CHECKPOINT_FRAMES 16000
/* A hold changes few bytes on four pages: half of SQLite's usual size costs 15 % less processor
 * time per hold, a quarter gains nothing more and makes deeper trees. */
#define PAGE_BYTES "2048"
#define LINES_PER_ACCOUNT 256 /* budget.id = account_id * 256 + n */
#define PRUNE_PIECE 500
#define PRUNE_FOUND_MAX 50000 /* rows looked up at once */
/* A client request is remembered as long as its hold lives, which an extend may prolong. */
#define ADMISSION_HOLD_LIVES \
    "EXISTS (SELECT 1 FROM hold WHERE hold.id = admission.hold_id AND hold.state = 0)"
#define ADMISSION_SWEEP \
    1024 /* admissions noted by one process before it removes those that are over */

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

enum statement {
    SQL_BEGIN,
    SQL_BEGIN_IMMEDIATE,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_SAVEPOINT,
    SQL_RELEASE,
    SQL_ROLLBACK_TO,
    SQL_LOAD,
    SQL_LINES,
    SQL_OLDEST,
    SQL_RATE,
    SQL_HOLD,
    SQL_HOLD_BY_ID,
    SQL_CHARGE,
    SQL_REFUNDED,
    SQL_ADMISSION,
    SQL_IDEMPOTENCY,
    SQL_ACCOUNT_BY_NAME,
    SQL_ACCOUNT_BY_ID,
    SQL_GENERATIONS,
    SQL_CHAIN_FIND,
    SQL_CHAIN_INSERT,
    SQL_CHAIN_MEMBER,
    SQL_LAST_SEEN,
    SQL_SPENT,
    SQL_HELD,
    SQL_CREDIT_SUM,
    SQL_HISTORY,
    SQL_ROUTE_AMOUNTS,
    SQL_EXPIRED,
    SQL_UNKNOWN_HOLD,
    SQL_VERIFICATION,
    SQL_VERIFICATION_NEXT,
    SQL_ACCOUNT_INSERT,
    SQL_ACCOUNT_UPDATE,
    SQL_LINE_NEXT,
    SQL_LINE_INSERT,
    SQL_LINE_UPDATE,
    SQL_PERIOD_WRITE,
    SQL_HOLD_INSERT,
    SQL_HOLD_UPDATE,
    SQL_CHARGE_INSERT,
    SQL_CREDIT_INSERT,
    SQL_CREDIT_ADD,
    SQL_RATE_WRITE,
    SQL_ADMISSION_WRITE,
    SQL_IDEMPOTENCY_WRITE,
    SQL_EVENT_INSERT,
    SQL_TOUCH,
    SQL_ACCOUNT_NAMES,
    SQL_COUNT
};

#define ACCOUNT_COLUMNS                                                                      \
    "a.id, a.name, a.plan, a.parent_id, a.frozen, a.revoked, a.expires_us, a.verify_after, " \
    "a.live_holds, a.first_seen_us"
#define LINE_COLUMNS                                                                           \
    "b.id, b.kind, b.timezone, b.anchor_day, b.week_start, b.created_us, b.hand_limit_nanos, " \
    "b.hand_enforce, b.credits_nanos"
/* ?2 the instant whose period is wanted, ?3 now: a credit counts when it is in force now, or at the
 * last instant of a period that is over. */
#define PERIOD_COLUMNS                                                                            \
    "p.start_us, p.end_us, p.spent_nanos, p.held_nanos, p.alerted, "                              \
    "CASE WHEN b.credits_nanos THEN (SELECT sum(c.amount_nanos) FROM credit c WHERE c.budget_id " \
    "= "                                                                                          \
    "b.id "                                                                                       \
    "AND c.from_us <= min(?3, p.end_us - 1) AND c.until_us > min(?3, p.end_us - 1)) ELSE 0 END"
#define PERIOD_JOIN                                                                             \
    "LEFT JOIN budget_period p ON p.budget_id = b.id AND p.start_us = (SELECT max(q.start_us) " \
    "FROM budget_period q WHERE q.budget_id = b.id AND q.start_us <= ?2) "
#define HOLD_COLUMNS                                                                            \
    "h.id, h.nonce, h.chain_id, h.state, h.amount_nanos, h.placed_us, h.expires_us, h.ttl_us, " \
    "h.charge_id, h.caller, h.plan, h.route, h.expiry_charged_nanos, h.expiry_charge_id"
#define CHARGE_COLUMNS                                                                           \
    "c.id, c.nonce, c.kind, c.chain_id, c.amount_nanos, c.at_us, c.created_us, c.occurred_us, "  \
    "c.hold_id, c.refund_of, c.hold_text, h.nonce, "                                             \
    "(SELECT a.name FROM chain n JOIN account a ON a.id = n.payer_id WHERE n.id = c.chain_id), " \
    "(SELECT substr(a.name, 5) FROM chain_account m JOIN account a ON a.id = m.account_id "      \
    "WHERE m.chain_id = c.chain_id AND m.position = 0 AND m.roles & 1), "                        \
    "c.model, c.route, c.tags, c.token, c.note, c.metadata, "                                    \
    "(SELECT r.nonce FROM charge r WHERE r.id = c.refund_of)"
#define CHARGE_FROM "FROM charge c LEFT JOIN hold h ON h.id = c.hold_id "

static const char *const statement_sql[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN",
    [SQL_BEGIN_IMMEDIATE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_SAVEPOINT] = "SAVEPOINT element",
    [SQL_RELEASE] = "RELEASE element",
    [SQL_ROLLBACK_TO] = "ROLLBACK TO element",
    [SQL_LOAD] = "SELECT " ACCOUNT_COLUMNS ", m.roles, " LINE_COLUMNS ", " PERIOD_COLUMNS
                 " FROM chain_account m JOIN account a ON a.id = m.account_id "
                 "LEFT JOIN budget b ON b.id > a.id * 256 AND b.id < a.id * 256 + 256 " PERIOD_JOIN
                 "WHERE m.chain_id = ?1 ORDER BY m.position, b.id",
    [SQL_LINES] = "SELECT " LINE_COLUMNS ", " PERIOD_COLUMNS " FROM budget b " PERIOD_JOIN
                  "WHERE b.id > ?1 * 256 AND b.id < ?1 * 256 + 256 ORDER BY b.id",
    [SQL_OLDEST] = "SELECT min(expires_us) FROM hold WHERE state = 0",
    [SQL_RATE] = "SELECT tat_ns FROM rate WHERE account_id = ?1 AND name = ?2",
    [SQL_HOLD] = "SELECT " HOLD_COLUMNS ", c.amount_nanos FROM hold h "
                 "LEFT JOIN charge c ON c.id = h.charge_id WHERE h.id = ?1 AND h.nonce = ?2",
    [SQL_HOLD_BY_ID] = "SELECT " HOLD_COLUMNS ", c.amount_nanos FROM hold h "
                       "LEFT JOIN charge c ON c.id = h.charge_id WHERE h.id = ?1",
    [SQL_CHARGE] = "SELECT " CHARGE_COLUMNS " " CHARGE_FROM "WHERE c.id = ?1 AND c.nonce = ?2",
    [SQL_REFUNDED] = "SELECT coalesce(sum(amount_nanos), 0) FROM charge WHERE refund_of = ?1 "
                     "AND refund_of <> 0",
    [SQL_ADMISSION] =
        "SELECT hold_id FROM admission WHERE key = ?1 AND (expires_us > ?2 OR " ADMISSION_HOLD_LIVES
        ")",
    [SQL_IDEMPOTENCY] = "SELECT fingerprint, reply FROM idempotency WHERE scope = ?1 AND key = ?2",
    [SQL_ACCOUNT_BY_NAME] = "SELECT " ACCOUNT_COLUMNS " FROM account a WHERE a.name = ?1",
    [SQL_ACCOUNT_BY_ID] = "SELECT " ACCOUNT_COLUMNS " FROM account a WHERE a.id = ?1",
    [SQL_GENERATIONS] =
        "WITH RECURSIVE below (id, depth) AS (VALUES (?1, 0) UNION ALL SELECT a.id, b.depth + 1 "
        "FROM below b JOIN account a ON a.parent_id = b.id AND a.parent_id <> 0 WHERE b.depth < "
        "?2) "
        "SELECT max(depth) FROM below",
    [SQL_CHAIN_FIND] = "SELECT id FROM chain WHERE spec = ?1",
    [SQL_CHAIN_INSERT] = "INSERT INTO chain (spec, payer_id) VALUES (?1, ?2)",
    [SQL_CHAIN_MEMBER] = "INSERT INTO chain_account (chain_id, position, account_id, roles) "
                         "VALUES (?1, ?2, ?3, ?4)",
    [SQL_LAST_SEEN] =
        "SELECT coalesce((SELECT o.name FROM chain_account n JOIN account o ON o.id = n.account_id "
        "WHERE n.chain_id = m.chain_id AND n.roles & ?3), '') FROM account a JOIN chain_account m "
        "ON m.account_id = a.id WHERE a.name = ?1 AND m.roles & ?2 ORDER BY m.chain_id DESC LIMIT "
        "1",
    [SQL_SPENT] = "SELECT coalesce(sum(CASE c.kind WHEN 1 THEN -c.amount_nanos ELSE c.amount_nanos "
                  "END), 0) FROM chain_account m JOIN charge c ON c.chain_id = m.chain_id "
                  "WHERE m.account_id = ?1 AND c.at_us >= ?2 AND c.at_us < ?3",
    [SQL_HELD] =
        "SELECT coalesce(sum(h.amount_nanos), 0) FROM hold h WHERE h.state = 0 "
        "AND h.placed_us >= ?2 AND h.placed_us < ?3 AND EXISTS (SELECT 1 FROM chain_account m "
        "WHERE m.account_id = ?1 AND m.chain_id = h.chain_id)",
    [SQL_CREDIT_SUM] = "SELECT coalesce(sum(amount_nanos), 0) FROM credit WHERE budget_id = ?1 "
                       "AND from_us < ?3 AND until_us > ?2",
    [SQL_HISTORY] =
        "SELECT p.start_us, p.end_us, p.spent_nanos, (SELECT coalesce(sum(c.amount_nanos), "
        "0) FROM credit c WHERE c.budget_id = p.budget_id AND c.from_us < p.end_us "
        "AND c.until_us > p.start_us) FROM budget_period p WHERE p.budget_id = ?1 "
        "AND p.end_us <= ?2 ORDER BY p.start_us DESC LIMIT ?3",
    [SQL_ROUTE_AMOUNTS] = "SELECT amount_nanos FROM charge WHERE route = ?1 AND kind = 0 "
                          "ORDER BY id DESC LIMIT ?2",
    [SQL_EXPIRED] = "SELECT id, nonce FROM hold WHERE state = 0 AND expires_us <= ?1 "
                    "ORDER BY expires_us LIMIT ?2",
    [SQL_UNKNOWN_HOLD] = "SELECT " CHARGE_COLUMNS " " CHARGE_FROM "WHERE c.hold_text = ?1",
    [SQL_VERIFICATION] = "SELECT value FROM counter WHERE name = 'verification'",
    [SQL_VERIFICATION_NEXT] = "UPDATE counter SET value = value + 1 WHERE name = 'verification' "
                              "RETURNING value",
    [SQL_ACCOUNT_INSERT] =
        "INSERT INTO account (name, plan, parent_id, frozen, revoked, expires_us, "
        "verify_after, live_holds, first_seen_us) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQL_ACCOUNT_UPDATE] =
        "UPDATE account SET plan = ?1, parent_id = ?2, frozen = ?3, revoked = ?4, "
        "expires_us = ?5, verify_after = ?6, live_holds = ?7 WHERE id = ?8",
    [SQL_LINE_NEXT] = "SELECT coalesce(max(id), ?1 * 256) + 1 FROM budget WHERE id > ?1 * 256 "
                      "AND id < ?1 * 256 + 256",
    [SQL_LINE_INSERT] =
        "INSERT INTO budget (id, account_id, kind, timezone, anchor_day, week_start, "
        "created_us, hand_limit_nanos, hand_enforce) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQL_LINE_UPDATE] = "UPDATE budget SET hand_limit_nanos = ?2, hand_enforce = ?3 "
                        "WHERE id = ?1",
    [SQL_PERIOD_WRITE] =
        "INSERT INTO budget_period (budget_id, start_us, end_us, spent_nanos, "
        "held_nanos, alerted) VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
        "ON CONFLICT DO UPDATE SET spent_nanos = ?4, held_nanos = ?5, alerted = ?6",
    [SQL_HOLD_INSERT] =
        "INSERT INTO hold (nonce, chain_id, state, amount_nanos, placed_us, expires_us, "
        "ttl_us, charge_id, caller, plan, route) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [SQL_HOLD_UPDATE] =
        "UPDATE hold SET state = ?2, amount_nanos = ?3, expires_us = ?4, charge_id = ?5, "
        "placed_us = ?6, expiry_charged_nanos = ?7, expiry_charge_id = ?8 "
        "WHERE id = ?1",
    [SQL_CHARGE_INSERT] =
        "INSERT INTO charge (nonce, kind, chain_id, amount_nanos, at_us, created_us, occurred_us, "
        "hold_id, refund_of, hold_text, model, route, tags, token, note, metadata) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    [SQL_CREDIT_ADD] = "UPDATE budget SET credits_nanos = credits_nanos + ?2 WHERE id = ?1",
    [SQL_CREDIT_INSERT] =
        "INSERT INTO credit (budget_id, amount_nanos, from_us, until_us, created_us, "
        "who, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [SQL_RATE_WRITE] = "INSERT INTO rate (account_id, name, tat_ns) VALUES (?1, ?2, ?3) "
                       "ON CONFLICT DO UPDATE SET tat_ns = ?3",
    [SQL_ADMISSION_WRITE] = "INSERT INTO admission (key, hold_id, expires_us) VALUES (?1, ?2, ?3) "
                            "ON CONFLICT DO UPDATE SET hold_id = ?2, expires_us = ?3",
    [SQL_IDEMPOTENCY_WRITE] =
        "INSERT INTO idempotency (scope, key, fingerprint, reply, created_us) "
        "VALUES (?1, ?2, ?3, ?4, ?5)",
    [SQL_EVENT_INSERT] =
        "INSERT INTO event (kind, account_id, budget_id, period_start_us, hold_id, "
        "percent, created_us, who, text, note) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [SQL_TOUCH] = "UPDATE counter SET value = value + 1 WHERE name = 'checkpoint'",
    [SQL_ACCOUNT_NAMES] = "SELECT name FROM account WHERE name > ?1 ORDER BY name LIMIT ?2",
};

struct sqlite_store {
    struct store_backend base;
    sqlite3 *db;
    char path[PATH_MAX];
    char failed_path[PATH_MAX];
    int lock_fd;
    int checkpoint_fd; /* -1 until the first checkpoint */
    bool timer_made;
    timer_t timer; /* ticks while this process waits for the lock */
    enum store_mode mode;
    bool in_transaction;
    bool locked;
    bool batch;          /* an outer transaction is open; begin and commit are savepoints in it */
    bool batch_unsynced; /* something in it must be durable */
    bool batch_lost;     /* SQLite gave the outer transaction up by itself */
    int wal_frames;      /* after this process's last commit */
    int admissions_written; /* since this process last removed those that are over */
    int64_t now_us;         /* of the last load */
    sqlite3_stmt *statements[SQL_COUNT];
};

static struct sqlite_store *
sqlite_of(struct store_backend *backend)
{
    return (struct sqlite_store *)(void *)backend;
}

/* ---- errors --------------------------------------------------------------------------------- */

static enum status
failed(const struct sqlite_store *s, int rc, const char *doing, struct error *err)
{
    const char *text = sqlite3_errstr(rc);

    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, STATUS_BUSY,
                         "store %s: %s: another program keeps the database locked; try again",
                         s->path, doing);
    case SQLITE_NOMEM:
        return error_set(err, STATUS_NO_MEMORY, "store %s: %s: out of memory", s->path, doing);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return error_set(err, STATUS_CORRUPT,
                         "store %s: %s: %s; restore a backup, then run `spendgate verify`", s->path,
                         doing, text);
    case SQLITE_CONSTRAINT:
        return error_set(
            err, STATUS_CORRUPT,
            "store %s: %s: a row breaks a rule of the schema (%s); run `spendgate verify`", s->path,
            doing, sqlite3_errmsg(s->db));
    case SQLITE_FULL:
        return error_set(err, STATUS_UNAVAILABLE, "store %s: %s: the disk is full; make room",
                         s->path, doing);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: %s: %s; the file and its folder must be writable by this user",
                         s->path, doing, text);
    case SQLITE_IOERR:
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: %s: %s (errno %d); look at the disk and the system log",
                         s->path, doing, text, sqlite3_system_errno(s->db));
    case SQLITE_TOOBIG:
        return error_set(err, STATUS_OVERFLOW, "store %s: %s: a value is too long", s->path, doing);
    default:
        return error_set(err, STATUS_INTERNAL, "store %s: %s: %s", s->path, doing,
                         sqlite3_errmsg(s->db));
    }
}

/* ---- statements ----------------------------------------------------------------------------- */

static enum status
prepared(struct sqlite_store *s, enum statement which, sqlite3_stmt **out, struct error *err)
{
    int rc;

    if (s->statements[which] == NULL) {
        rc = sqlite3_prepare_v3(s->db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT,
                                &s->statements[which], NULL);
        if (rc != SQLITE_OK)
            return failed(s, rc, "prepare a statement", err);
    }
    *out = s->statements[which];
    return STATUS_OK;
}

static void
bind_text(sqlite3_stmt *stmt, int index, const char *text)
{
    sqlite3_bind_text(stmt, index, text, -1, SQLITE_STATIC);
}

/* "" is stored as NULL. */
static void
bind_optional(sqlite3_stmt *stmt, int index, const char *text)
{
    if (text == NULL || text[0] == '\0')
        sqlite3_bind_null(stmt, index);
    else
        bind_text(stmt, index, text);
}

/* Run a statement that answers no row. A binding that failed (memory) shows here as a NULL in a
 * column that takes none, or as the same failure again. */
static enum status
run(struct sqlite_store *s, sqlite3_stmt *stmt, const char *doing, struct error *err)
{
    int rc = sqlite3_step(stmt);

    if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
        rc = sqlite3_extended_errcode(s->db);
        sqlite3_reset(stmt);
        return failed(s, rc, doing, err);
    }
    sqlite3_reset(stmt);
    return STATUS_OK;
}

/* Step to the next row. At the end, and on a failure, the statement is reset. */
static enum status
next(struct sqlite_store *s, sqlite3_stmt *stmt, bool *row, const char *doing, struct error *err)
{
    int rc = sqlite3_step(stmt);

    *row = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW)
        return STATUS_OK;
    if (rc != SQLITE_DONE)
        rc = sqlite3_extended_errcode(s->db);
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? STATUS_OK : failed(s, rc, doing, err);
}

/* The one integer of the one row; `fallback` when there is no row or NULL. */
static enum status
one_int(struct sqlite_store *s, sqlite3_stmt *stmt, int64_t fallback, int64_t *out,
        const char *doing, struct error *err)
{
    bool row;
    enum status status = next(s, stmt, &row, doing, err);

    *out = fallback;
    if (status != STATUS_OK || !row)
        return status;
    if (sqlite3_column_type(stmt, 0) != SQLITE_NULL)
        *out = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

static bool
column_text(sqlite3_stmt *stmt, int column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);
    size_t length = (size_t)sqlite3_column_bytes(stmt, column);

    if (text == NULL || length >= size) {
        out[0] = '\0';
        return text == NULL;
    }
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

static enum status
too_long(struct sqlite_store *s, sqlite3_stmt *stmt, struct error *err)
{
    sqlite3_reset(stmt);
    return error_set(err, STATUS_CORRUPT,
                     "store %s: a stored text is longer than it can be; run `spendgate verify`",
                     s->path);
}

/* ---- rows ----------------------------------------------------------------------------------- */

enum { ACCOUNT_WIDTH = 10, LINE_WIDTH = 9, PERIOD_WIDTH = 6, HOLD_WIDTH = 14 };

static bool
read_account(sqlite3_stmt *stmt, int first, struct account *out)
{
    memset(out, 0, sizeof(*out));
    out->id = sqlite3_column_int64(stmt, first);
    out->parent_id = sqlite3_column_int64(stmt, first + 3);
    out->frozen = sqlite3_column_int(stmt, first + 4) != 0;
    out->revoked = sqlite3_column_int(stmt, first + 5) != 0;
    out->expires_us = sqlite3_column_int64(stmt, first + 6);
    out->verify_after = sqlite3_column_int64(stmt, first + 7);
    out->live_holds = sqlite3_column_int64(stmt, first + 8);
    out->first_seen_us = sqlite3_column_int64(stmt, first + 9);
    return column_text(stmt, first + 1, out->name, sizeof(out->name)) &&
           column_text(stmt, first + 2, out->plan, sizeof(out->plan));
}

static bool
read_line(sqlite3_stmt *stmt, int first, int account, struct budget_line *out)
{
    memset(out, 0, sizeof(*out));
    out->account = account;
    out->id = sqlite3_column_int64(stmt, first);
    out->spec.kind = (enum period_kind)sqlite3_column_int(stmt, first + 1);
    out->spec.anchor_day = sqlite3_column_int(stmt, first + 3);
    out->spec.week_start = sqlite3_column_int(stmt, first + 4);
    out->created_us = sqlite3_column_int64(stmt, first + 5);
    out->hand_limited = sqlite3_column_type(stmt, first + 6) != SQLITE_NULL;
    out->hand_limit_nanos = sqlite3_column_int64(stmt, first + 6);
    out->hand_enforced = sqlite3_column_type(stmt, first + 7) != SQLITE_NULL;
    out->hand_enforce = (enum enforce)sqlite3_column_int(stmt, first + 7);
    out->has_credits = sqlite3_column_int64(stmt, first + 8) != 0;
    return column_text(stmt, first + 2, out->spec.timezone, sizeof(out->spec.timezone));
}

/* The last period row that starts at or before `at_us`; it is the one asked for only when it has
 * not ended by then. */
static void
read_period(sqlite3_stmt *stmt, int first, int64_t at_us, struct budget_line *line)
{
    if (sqlite3_column_type(stmt, first) == SQLITE_NULL ||
        sqlite3_column_int64(stmt, first + 1) <= at_us)
        return;
    line->period_stored = true;
    line->period.start_us = sqlite3_column_int64(stmt, first);
    line->period.end_us = sqlite3_column_int64(stmt, first + 1);
    line->spent_nanos = sqlite3_column_int64(stmt, first + 2);
    line->held_nanos = sqlite3_column_int64(stmt, first + 3);
    line->alerted = sqlite3_column_int(stmt, first + 4);
    line->credit_nanos = sqlite3_column_int64(stmt, first + 5);
}

static bool
read_hold(sqlite3_stmt *stmt, int first, struct hold *out)
{
    const void *caller = sqlite3_column_blob(stmt, first + 9);

    memset(out, 0, sizeof(*out));
    out->id = sqlite3_column_int64(stmt, first);
    out->nonce = (uint64_t)sqlite3_column_int64(stmt, first + 1);
    out->chain_id = sqlite3_column_int64(stmt, first + 2);
    out->state = (enum hold_state)sqlite3_column_int(stmt, first + 3);
    out->amount_nanos = sqlite3_column_int64(stmt, first + 4);
    out->placed_us = sqlite3_column_int64(stmt, first + 5);
    out->expires_us = sqlite3_column_int64(stmt, first + 6);
    out->ttl_us = sqlite3_column_int64(stmt, first + 7);
    out->charge_id = sqlite3_column_int64(stmt, first + 8);
    if (caller != NULL && sqlite3_column_bytes(stmt, first + 9) == (int)sizeof(out->caller))
        memcpy(out->caller, caller, sizeof(out->caller));
    out->expiry_charged_nanos = sqlite3_column_int64(stmt, first + 12);
    out->expiry_charge_id = sqlite3_column_int64(stmt, first + 13);
    return column_text(stmt, first + 10, out->plan, sizeof(out->plan)) &&
           column_text(stmt, first + 11, out->route, sizeof(out->route));
}

static bool
read_charge(sqlite3_stmt *stmt, struct charge_row *out)
{
    struct charge *c = &out->charge;

    memset(out, 0, sizeof(*out));
    c->id = sqlite3_column_int64(stmt, 0);
    c->nonce = (uint64_t)sqlite3_column_int64(stmt, 1);
    c->kind = (enum charge_kind)sqlite3_column_int(stmt, 2);
    out->chain_id = sqlite3_column_int64(stmt, 3);
    c->amount_nanos = sqlite3_column_int64(stmt, 4);
    c->at_us = sqlite3_column_int64(stmt, 5);
    c->created_us = sqlite3_column_int64(stmt, 6);
    c->occurred_us = sqlite3_column_int64(stmt, 7);
    out->hold_number = sqlite3_column_int64(stmt, 8);
    c->refund_of = sqlite3_column_int64(stmt, 9);
    c->refund_of_nonce = (uint64_t)sqlite3_column_int64(stmt, 20);
    if (!column_text(stmt, 10, c->hold_id, sizeof(c->hold_id)))
        return false;
    if (out->hold_number != 0 && sqlite3_column_type(stmt, 11) != SQLITE_NULL)
        public_id_format("hld_", out->hold_number, (uint64_t)sqlite3_column_int64(stmt, 11),
                         c->hold_id);
    return column_text(stmt, 12, c->account, sizeof(c->account)) &&
           column_text(stmt, 13, c->key_id, sizeof(c->key_id)) &&
           column_text(stmt, 14, c->model, sizeof(c->model)) &&
           column_text(stmt, 15, c->route, sizeof(c->route)) &&
           column_text(stmt, 16, c->tags, sizeof(c->tags)) &&
           column_text(stmt, 17, c->token, sizeof(c->token)) &&
           column_text(stmt, 18, c->note, sizeof(c->note)) &&
           column_text(stmt, 19, c->metadata, sizeof(c->metadata));
}

/* ---- the writer lock (rule 1) --------------------------------------------------------------- */

/* Only there so that the signal interrupts flock(2). */
static void
on_tick(int signal_number)
{
    (void)signal_number;
}

/* A signal that nobody else uses: the highest real-time one that is still at its default, or that
 * another store of this process took before. 0: none is left. */
static int
tick_signal(void)
{
    struct sigaction old, mine = { .sa_handler = on_tick };

    for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
        if (sigaction(number, NULL, &old) != 0)
            continue;
        if (old.sa_handler == on_tick)
            return number;
        if (old.sa_handler == SIG_DFL && sigaction(number, &mine, NULL) == 0)
            return number;
    }
    return 0;
}

static bool
timer_ready(struct sqlite_store *s)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL };
    sigset_t set;

    if (s->timer_made)
        return true;
    event.sigev_signo = tick_signal();
    if (event.sigev_signo == 0)
        return false;
    sigemptyset(&set);
    sigaddset(&set, event.sigev_signo);
    if (sigprocmask(SIG_UNBLOCK, &set, NULL) != 0)
        return false;
    s->timer_made = timer_create(CLOCK_MONOTONIC, &event, &s->timer) == 0;
    return s->timer_made;
}

static int64_t
monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*
 * Wait in the kernel, at most LOCK_WAIT_MS. flock(2) has no time limit: a timer of our own sends a
 * real-time signal every LOCK_TICK_MS, which interrupts it; a tick that comes before flock is
 * followed by the next. Without a timer (RLIMIT_SIGPENDING) the wait is polled.
 */
static bool
flock_bounded(struct sqlite_store *s, int fd)
{
    const struct itimerspec tick = { { 0, LOCK_TICK_MS * 1000000L },
                                     { 0, LOCK_TICK_MS * 1000000L } };
    const struct itimerspec stop = { { 0, 0 }, { 0, 0 } };
    const struct timespec pause = { 0, 1000000 };
    int64_t deadline_ms = monotonic_ms() + LOCK_WAIT_MS;
    bool ticking = timer_ready(s) && timer_settime(s->timer, 0, &tick, NULL) == 0;
    bool locked = false;

    do {
        locked = flock(fd, ticking ? LOCK_EX : LOCK_EX | LOCK_NB) == 0;
        if (!locked && errno != EINTR && errno != EWOULDBLOCK)
            break;
        if (!locked && !ticking)
            nanosleep(&pause, NULL);
    } while (!locked && monotonic_ms() < deadline_ms);
    if (ticking)
        timer_settime(s->timer, 0, &stop, NULL);
    return locked;
}

static enum status
writer_lock(struct sqlite_store *s, struct error *err)
{
    assert(!s->locked);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0 && !flock_bounded(s, s->lock_fd))
        return error_set(
            err, STATUS_BUSY,
            "store %s: the writer lock was not free within %d ms; is a process stopped "
            "while it holds %s.lock? (see lslocks)",
            s->path, LOCK_WAIT_MS, s->path);
    s->locked = true;
    return STATUS_OK;
}

static void
writer_unlock(struct sqlite_store *s)
{
    if (s->locked)
        flock(s->lock_fd, LOCK_UN);
    s->locked = false;
}

/* ---- durability (rule 2) -------------------------------------------------------------------- */

static enum status
refuse_if_marked(struct sqlite_store *s, struct error *err)
{
    if (access(s->failed_path, F_OK) != 0 && errno == ENOENT)
        return STATUS_OK;
    return error_set(
        err, STATUS_UNAVAILABLE,
        "store %s: an earlier sync to the disk failed, nothing is acknowledged any more; "
        "repair the disk, run `spendgate verify`, then remove %s",
        s->path, s->failed_path);
}

/* `path`'s folder; an absolute path. */
static bool
folder_of(const char *path, char folder[PATH_MAX])
{
    char *slash;

    if (!text_copy(folder, PATH_MAX, path))
        return false;
    slash = strrchr(folder, '/');
    slash[slash == folder ? 1 : 0] = '\0';
    return true;
}

static bool
sync_folder(const char *path)
{
    char folder[PATH_MAX];
    bool synced;
    int fd;

    if (!folder_of(path, folder))
        return false;
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return synced;
}

static void
mark_failed(struct sqlite_store *s)
{
    struct error err;
    int fd = open(s->failed_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0) {
        error_set(&err, STATUS_IO, "%s: cannot be made (errno %d); stop the servers by hand",
                  s->failed_path, errno);
        log_failure("store_mark", &err, NULL);
        return;
    }
    fsync(fd);
    close(fd);
    (void)!sync_folder(s->failed_path); /* the disk is failing: what can be done was done */
}

/* Sync through SQLite's own descriptor: closing another one of the database file would drop this
 * process's locks. After a sync that failed the next may lie, so that one is remembered for all. */
static enum status
sync_file(struct sqlite_store *s, int pointer, const char *what, struct error *err)
{
    sqlite3_file *file = NULL;
    int rc = sqlite3_file_control(s->db, "main", pointer, &file);

    if (rc != SQLITE_OK || file == NULL || file->pMethods == NULL)
        return error_set(err, STATUS_INTERNAL, "store %s: no descriptor of the %s (%d)", s->path,
                         what, rc);
    if (file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) != SQLITE_OK) {
        mark_failed(s);
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: the %s could not be synced to the disk (errno %d); nothing is "
                         "acknowledged until the disk is repaired and %s removed",
                         s->path, what, errno, s->failed_path);
    }
    return STATUS_OK;
}

static enum status
sqlite_settle_disk(struct store_backend *backend, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status;

    if (s->batch) {
        s->batch_unsynced = true;
        return STATUS_OK;
    }
    status = sync_file(s, SQLITE_FCNTL_JOURNAL_POINTER, "write-ahead log", err);
    return status == STATUS_OK ? refuse_if_marked(s, err) : status;
}

/* ---- transactions --------------------------------------------------------------------------- */

/* End the transaction without its changes, whatever state it is in. */
static void
abandon(struct sqlite_store *s)
{
    struct error ignored;
    sqlite3_stmt *stmt;

    if (!sqlite3_get_autocommit(s->db) && prepared(s, SQL_ROLLBACK, &stmt, &ignored) == STATUS_OK &&
        run(s, stmt, "roll back", &ignored) != STATUS_OK)
        log_failure("store_rollback", &ignored, NULL);
    writer_unlock(s);
}

static enum status
run_alone(struct sqlite_store *s, enum statement which, const char *doing, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = prepared(s, which, &stmt, err);

    return status == STATUS_OK ? run(s, stmt, doing, err) : status;
}

/* Back to where the element of a batch began. When SQLite has given up the whole transaction, the
 * batch is lost. */
static void
abandon_element(struct sqlite_store *s)
{
    struct error err;

    if (sqlite3_get_autocommit(s->db) ||
        run_alone(s, SQL_ROLLBACK_TO, "roll back", &err) != STATUS_OK ||
        run_alone(s, SQL_RELEASE, "roll back", &err) != STATUS_OK)
        s->batch_lost = true;
}

static void
sqlite_rollback(struct store_backend *backend)
{
    struct sqlite_store *s = sqlite_of(backend);

    for (int i = 0; i < SQL_COUNT; i++) {
        if (s->statements[i] != NULL && sqlite3_stmt_busy(s->statements[i]))
            sqlite3_reset(s->statements[i]);
    }
    if (!s->batch)
        abandon(s);
    else if (s->in_transaction)
        abandon_element(s);
    s->in_transaction = false;
}

/* There is one writer at a time, and no connection to lose. */
static enum store_failure
sqlite_failure(const struct store_backend *backend)
{
    (void)backend;
    return STORE_FAILED;
}

/* Begin for real: under the writer lock, when it is to write. */
static enum status
begin_outer(struct sqlite_store *s, enum store_mode mode, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status;

    status = prepared(s, mode == STORE_WRITE ? SQL_BEGIN_IMMEDIATE : SQL_BEGIN, &stmt, err);
    if (status == STATUS_OK && mode != STORE_INSPECT)
        status = refuse_if_marked(s, err);
    if (status == STATUS_OK && mode == STORE_WRITE)
        status = writer_lock(s, err);
    if (status != STATUS_OK)
        return status;
    status = run(s, stmt, "begin", err);
    if (status != STATUS_OK)
        writer_unlock(s);
    return status;
}

static enum status
refuse_if_lost(const struct sqlite_store *s, struct error *err)
{
    if (!s->batch_lost)
        return STATUS_OK;
    return error_set(err, STATUS_UNAVAILABLE,
                     "store %s: the batch was given up after an error; post it again", s->path);
}

static enum status
sqlite_begin(struct store_backend *backend, enum store_mode mode, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status;

    assert(!s->in_transaction);
    status = s->batch ? refuse_if_lost(s, err) : begin_outer(s, mode, err);
    if (status == STATUS_OK && s->batch)
        status = run_alone(s, SQL_SAVEPOINT, "begin", err);
    if (status != STATUS_OK)
        return status;
    s->mode = mode;
    s->in_transaction = true;
    return STATUS_OK;
}

static enum status
sqlite_commit(struct store_backend *backend, bool durable, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status;

    assert(s->in_transaction);
    status = run_alone(s, s->batch ? SQL_RELEASE : SQL_COMMIT, "commit", err);
    if (status != STATUS_OK) {
        sqlite_rollback(backend);
        return status;
    }
    s->in_transaction = false;
    if (!s->batch)
        writer_unlock(s);
    return durable && s->mode == STORE_WRITE ? sqlite_settle_disk(backend, err) : STATUS_OK;
}

static enum status
sqlite_batch_begin(struct store_backend *backend, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status;

    assert(!s->batch && !s->in_transaction);
    status = begin_outer(s, STORE_WRITE, err);
    if (status != STATUS_OK)
        return status;
    s->batch = true;
    s->batch_unsynced = s->batch_lost = false;
    return STATUS_OK;
}

static enum status
sqlite_batch_end(struct store_backend *backend, bool keep, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status = STATUS_OK;

    assert(s->batch && !s->in_transaction);
    s->batch = false;
    if (keep)
        status = refuse_if_lost(s, err);
    if (keep && status == STATUS_OK)
        status = run_alone(s, SQL_COMMIT, "commit", err);
    abandon(s); /* after a commit there is only the lock to give back */
    return keep && status == STATUS_OK && s->batch_unsynced ? sqlite_settle_disk(backend, err)
                                                            : status;
}

/* ---- the checkpoint (rule 3) ---------------------------------------------------------------- */

static int
on_commit(void *context, sqlite3 *db, const char *name, int frames)
{
    struct sqlite_store *s = context;

    (void)db;
    (void)name;
    s->wal_frames = frames;
    return SQLITE_OK;
}

/* One small write, so that a checkpoint never starts on a fully copied log: that is what SQLite's
 * WAL-reset bug (3.7.0 to 3.51.2) needs. The writer lock is kept when it succeeds. */
static enum status
touch_locked(struct sqlite_store *s, struct error *err)
{
    sqlite3_stmt *touch, *stmt;
    enum status status = writer_lock(s, err);

    if (status == STATUS_OK)
        status = prepared(s, SQL_TOUCH, &touch, err);
    if (status == STATUS_OK)
        status = prepared(s, SQL_BEGIN_IMMEDIATE, &stmt, err);
    if (status == STATUS_OK)
        status = run(s, stmt, "begin", err);
    if (status == STATUS_OK)
        status = run(s, touch, "touch", err);
    if (status == STATUS_OK)
        status = prepared(s, SQL_COMMIT, &stmt, err);
    if (status == STATUS_OK)
        status = run(s, stmt, "commit", err);
    if (status != STATUS_OK)
        sqlite_rollback(&s->base);
    return status;
}

static enum status
checkpoint_passive(struct sqlite_store *s, struct error *err)
{
    int rc = sqlite3_wal_checkpoint_v2(s->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

    if (rc == SQLITE_IOERR_FSYNC)
        mark_failed(s);
    return rc == SQLITE_OK || rc == SQLITE_BUSY ? STATUS_OK : failed(s, rc, "checkpoint", err);
}

static enum status
checkpoint(struct sqlite_store *s, struct error *err)
{
    enum status status = touch_locked(s, err);

    if (status != STATUS_OK)
        return status;
    writer_unlock(s);
    if (s->wal_frames <= CHECKPOINT_FRAMES) /* another process did it in the meantime */
        return STATUS_OK;
    /* The bulk, beside the writers, and both syncs, so that little is left to do under the lock. */
    status = checkpoint_passive(s, err);
    if (status == STATUS_OK)
        status = sync_file(s, SQLITE_FCNTL_FILE_POINTER, "database file", err);
    if (status == STATUS_OK) /* what was written meanwhile */
        status = sync_file(s, SQLITE_FCNTL_JOURNAL_POINTER, "write-ahead log", err);
    /* The rest under the lock, so that the next writer finds everything copied and starts the log
     * again; without this a busy store's log never ends. */
    if (status == STATUS_OK)
        status = touch_locked(s, err);
    if (status != STATUS_OK)
        return status;
    status = checkpoint_passive(s, err);
    writer_unlock(s);
    return status;
}

static void
checkpoint_if_alone(struct sqlite_store *s)
{
    struct error err;

    s->wal_frames = 0; /* whatever comes of it: ask again after the next commit */
    if (flock(s->checkpoint_fd, LOCK_EX | LOCK_NB) != 0)
        return;
    if (refuse_if_marked(s, &err) != STATUS_OK || checkpoint(s, &err) != STATUS_OK)
        log_failure("checkpoint", &err, NULL);
    s->wal_frames = 0;
    flock(s->checkpoint_fd, LOCK_UN);
}

/* ---- files ---------------------------------------------------------------------------------- */

#define NO_GROUP ((gid_t)-1)

static enum status
find_group(const char *name, gid_t *out, struct error *err)
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

static enum status
check_file_system(const char *path, struct error *err)
{
    char folder[PATH_MAX];
    struct statfs fs;

    if (!folder_of(path, folder))
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

/* `missing` NULL: it has to be there. */
static enum status
check_file(const char *path, gid_t group, bool *missing, struct error *err)
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

/* Open <database><suffix>, made when it is missing; -1 and a message. */
static int
open_side_file(const struct sqlite_store *s, const char *suffix, gid_t group, struct error *err)
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

/* Make the empty database file; another process may do the same at this instant. Never opens one
 * that is there: closing that descriptor would drop the locks of other connections of this process.
 */
static enum status
create_file(const char *path, gid_t group, struct error *err)
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

/* SQLite makes -wal and -shm with the database's mode, but not its group. */
static enum status
share_sqlite_files(const struct sqlite_store *s, gid_t group, struct error *err)
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

/* ---- opening -------------------------------------------------------------------------------- */

static enum status
execute(struct sqlite_store *s, const char *sql, const char *doing, struct error *err)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? STATUS_OK : failed(s, sqlite3_extended_errcode(s->db), doing, err);
}

static enum status
pragma_int(struct sqlite_store *s, const char *sql, int64_t *out, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);
    enum status status;

    *out = 0;
    status = rc == SQLITE_OK ? one_int(s, stmt, 0, out, "read the schema version", err)
                             : failed(s, rc, "read the schema version", err);
    sqlite3_finalize(stmt);
    return status;
}

static int64_t
newest_step(void)
{
    return schema_sqlite[sizeof(schema_sqlite) / sizeof(schema_sqlite[0]) - 1].number;
}

/* Someone may have switched the file with another tool; the three rules need the log. */
static enum status
require_log(struct sqlite_store *s, struct error *err)
{
    int64_t is_log;
    enum status status =
        pragma_int(s, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", &is_log, err);

    if (status == STATUS_OK && !is_log)
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: not in WAL mode; run `spendgate migrate` on a file system with "
                         "shared memory",
                         s->path);
    return status;
}

/* 0: an empty file. */
static enum status
schema_version(struct sqlite_store *s, int64_t *out, struct error *err)
{
    int64_t application, objects;
    enum status status = pragma_int(s, "PRAGMA user_version", out, err);

    if (status == STATUS_OK)
        status = pragma_int(s, "PRAGMA application_id", &application, err);
    if (status != STATUS_OK || application == APPLICATION_ID)
        return status;
    status = pragma_int(s, "SELECT count(*) FROM sqlite_schema", &objects, err);
    if (status == STATUS_OK && (application != 0 || objects != 0))
        return error_set(
            err, STATUS_UNAVAILABLE,
            "store %s: this is another program's database; give Spendgate a file of its own",
            s->path);
    *out = 0;
    return status;
}

static enum status
refuse_newer(const struct sqlite_store *s, int64_t version, struct error *err)
{
    if (version <= newest_step())
        return STATUS_OK;
    return error_set(err, STATUS_UNAVAILABLE,
                     "store %s: its schema is %" PRId64 ", this program knows %" PRId64
                     "; install the newer Spendgate",
                     s->path, version, newest_step());
}

static enum status
apply_step(struct sqlite_store *s, size_t index, struct error *err)
{
    char text[128];
    struct buf sql;
    enum status status = execute(s, "BEGIN IMMEDIATE", "begin", err);

    if (status != STATUS_OK)
        return status;
    buf_init(&sql, text, sizeof(text));
    buf_add_format(&sql, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
                   APPLICATION_ID, schema_sqlite[index].number);
    status = execute(s, schema_sqlite[index].sql, "apply a schema step", err);
    if (status == STATUS_OK)
        status = execute(s, text, "apply a schema step", err);
    if (status != STATUS_OK && !sqlite3_get_autocommit(s->db))
        (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* Every missing step, under the writer lock: of several processes that start at once the first
 * applies them and the others find them done. */
static enum status
apply_schema(struct sqlite_store *s, int *applied, struct error *err)
{
    int64_t version = 0;
    enum status status = writer_lock(s, err);

    *applied = 0;
    if (status != STATUS_OK)
        return status;
    status = execute(s, "PRAGMA page_size = " PAGE_BYTES "; PRAGMA journal_mode = WAL",
                     "switch to a write-ahead log", err);
    if (status == STATUS_OK)
        status = schema_version(s, &version, err);
    if (status == STATUS_OK)
        status = refuse_newer(s, version, err);
    for (size_t i = 0; i < sizeof(schema_sqlite) / sizeof(schema_sqlite[0]); i++) {
        if (status != STATUS_OK || schema_sqlite[i].number <= version)
            continue;
        status = apply_step(s, i, err);
        *applied += status == STATUS_OK;
    }
    writer_unlock(s);
    if (status == STATUS_OK)
        status = require_log(s, err);
    if (status == STATUS_OK && *applied > 0)
        status = sqlite_settle_disk(&s->base, err);
    /* The names of new files: SQLite syncs them in the process that made them, which may have died.
     */
    if (status == STATUS_OK && *applied > 0 && !sync_folder(s->path))
        status = error_set(err, STATUS_UNAVAILABLE,
                           "store %s: its folder cannot be synced (errno %d)", s->path, errno);
    return status;
}

static enum status
open_files(struct sqlite_store *s, const struct store_options *options, struct error *err)
{
    const char *path = options->url + sizeof(SCHEME) - 1;
    struct buf failed_path;
    gid_t group;
    bool missing;
    enum status status;

    if (path[0] != '/' || !text_copy(s->path, sizeof(s->path), path))
        return error_set(err, STATUS_INVALID, "store %s: give an absolute path, sqlite:/path",
                         options->url);
    buf_init(&failed_path, s->failed_path, sizeof(s->failed_path));
    buf_add(&failed_path, path);
    buf_add(&failed_path, ".failed");
    if (buf_failed(&failed_path))
        return error_set(err, STATUS_INVALID, "store %s: the path is too long", path);
    status = find_group(options->group, &group, err);
    if (status == STATUS_OK)
        status = check_file_system(path, err);
    if (status == STATUS_OK)
        status = check_file(path, group, &missing, err);
    if (status != STATUS_OK)
        return status;
    if (missing && !options->create)
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: there is no such file; make it with `spendgate init`", path);
    s->lock_fd = open_side_file(s, ".lock", group, err);
    s->checkpoint_fd = s->lock_fd < 0 ? -1 : open_side_file(s, ".checkpoint", group, err);
    if (s->checkpoint_fd < 0)
        return STATUS_UNAVAILABLE;
    return missing ? create_file(path, group, err) : STATUS_OK;
}

static enum status
open_database(struct sqlite_store *s, struct error *err)
{
    const char *vfs = sqlite_vfs_name();
    int rc;

    if (vfs == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->path);
    rc = sqlite3_open_v2(s->path, &s->db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                             SQLITE_OPEN_EXRESCODE,
                         vfs);
    if (s->db == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store %s: out of memory", s->path);
    if (rc != SQLITE_OK)
        return failed(s, rc, "open", err);
    sqlite3_busy_timeout(s->db, LOCK_WAIT_MS);
    sqlite3_wal_hook(s->db, on_commit, s); /* takes the place of SQLite's own checkpoints too */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return execute(
        s,
        "PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;"
        "PRAGMA cache_size = -8000",
        "configure", err);
}

static void
sqlite_close(struct store_backend *backend)
{
    struct sqlite_store *s;

    if (backend == NULL)
        return;
    s = sqlite_of(backend);
    if (s->in_transaction)
        sqlite_rollback(backend);
    for (int i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    if (s->checkpoint_fd >= 0)
        close(s->checkpoint_fd);
    if (s->timer_made)
        timer_delete(s->timer);
    free(s);
}

/* An open database of whatever schema. */
static enum status
open_any(const struct store_options *options, struct sqlite_store **out, struct error *err)
{
    struct sqlite_store *s = calloc(1, sizeof(*s));
    enum status status;

    *out = NULL;
    if (s == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    s->base.ops = &store_sqlite_ops;
    s->lock_fd = s->checkpoint_fd = -1;
    status = open_files(s, options, err);
    if (status == STATUS_OK)
        status = open_database(s, err);
    if (status != STATUS_OK) {
        sqlite_close(&s->base);
        return status;
    }
    *out = s;
    return STATUS_OK;
}

static enum status
require_schema(struct sqlite_store *s, bool create, struct error *err)
{
    int64_t version;
    int applied;
    enum status status = schema_version(s, &version, err);

    if (status == STATUS_OK && version == 0 && create) {
        status = apply_schema(s, &applied, err);
        if (status == STATUS_OK)
            status = schema_version(s, &version, err);
    }
    if (status == STATUS_OK)
        status = require_log(s, err);
    if (status == STATUS_OK)
        status = refuse_newer(s, version, err);
    if (status == STATUS_OK && version < newest_step())
        return error_set(err, STATUS_UNAVAILABLE,
                         "store %s: its schema is %" PRId64 ", this program needs %" PRId64
                         "; run `spendgate migrate`",
                         s->path, version, newest_step());
    return status;
}

static enum status
sqlite_open(const struct store_options *options, struct store_backend **out, struct error *err)
{
    struct sqlite_store *s;
    gid_t group = NO_GROUP;
    enum status status = open_any(options, &s, err);

    *out = NULL;
    if (status != STATUS_OK)
        return status;
    status = require_schema(s, options->create, err);
    if (status == STATUS_OK)
        status = find_group(options->group, &group, err);
    if (status == STATUS_OK)
        status = share_sqlite_files(s, group, err);
    if (status != STATUS_OK) {
        sqlite_close(&s->base);
        return status;
    }
    *out = &s->base;
    return STATUS_OK;
}

static enum status
sqlite_migrate(const struct store_options *options, int *applied, struct error *err)
{
    struct sqlite_store *s;
    gid_t group = NO_GROUP;
    enum status status = open_any(options, &s, err);

    *applied = 0;
    if (status != STATUS_OK)
        return status;
    status = apply_schema(s, applied, err);
    if (status == STATUS_OK)
        status = find_group(options->group, &group, err);
    if (status == STATUS_OK)
        status = share_sqlite_files(s, group, err);
    sqlite_close(&s->base);
    return status;
}

static enum status
sqlite_check(struct store_backend *backend, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    enum status status = refuse_if_marked(s, err);

    return status == STATUS_OK ? require_schema(s, false, err) : status;
}

static int64_t
sqlite_now_us(struct store_backend *backend, int64_t machine_now_us)
{
    (void)backend;
    return machine_now_us;
}

/* ---- reads ---------------------------------------------------------------------------------- */

static enum status
one_account(struct sqlite_store *s, sqlite3_stmt *stmt, bool *found, struct account *out,
            struct error *err)
{
    enum status status = next(s, stmt, found, "read an account", err);

    memset(out, 0, sizeof(*out));
    if (status != STATUS_OK || !*found)
        return status;
    if (!read_account(stmt, 0, out))
        return too_long(s, stmt, err);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

static enum status
sqlite_accounts_find(struct store_backend *backend, const char *const *names, size_t count,
                     struct account *out, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    bool found;
    enum status status = prepared(s, SQL_ACCOUNT_BY_NAME, &stmt, err);

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        bind_text(stmt, 1, names[i]);
        status = one_account(s, stmt, &found, &out[i], err);
    }
    return status;
}

/* Nothing more to lock: the transaction has the writer lock. */
static enum status
sqlite_account_lock(struct store_backend *backend, const char *name, struct account *out,
                    struct error *err)
{
    return sqlite_accounts_find(backend, &name, 1, out, err);
}

static enum status
sqlite_account_get(struct store_backend *backend, int64_t id, struct account *out,
                   struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    bool found;
    enum status status = prepared(s, SQL_ACCOUNT_BY_ID, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, id);
    status = one_account(s, stmt, &found, out, err);
    if (status == STATUS_OK && !found)
        return error_set(err, STATUS_NOT_FOUND, "store %s: there is no account %" PRId64, s->path,
                         id);
    return status;
}

static enum status
sqlite_generations_below(struct store_backend *backend, int64_t id, int *out, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    int64_t depth = 0;
    enum status status = prepared(s, SQL_GENERATIONS, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, id);
    sqlite3_bind_int(stmt, 2, LEDGER_PARENTS_MAX + 1); /* a circle made by hand ends here */
    status = one_int(s, stmt, 0, &depth, "look below an account", err);
    *out = (int)depth;
    return status;
}

static enum status
sqlite_chain_intern(struct store_backend *backend, const char *spec,
                    const struct chain_member *members, size_t count, int64_t payer_id, bool create,
                    int64_t *id, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_CHAIN_FIND, &stmt, err);

    if (status != STATUS_OK)
        return status;
    bind_text(stmt, 1, spec);
    status = one_int(s, stmt, 0, id, "find a chain", err);
    if (status != STATUS_OK || *id != 0 || !create)
        return status;
    status = prepared(s, SQL_CHAIN_INSERT, &stmt, err);
    if (status != STATUS_OK)
        return status;
    bind_text(stmt, 1, spec);
    sqlite3_bind_int64(stmt, 2, payer_id);
    status = run(s, stmt, "make a chain", err);
    if (status == STATUS_OK)
        status = prepared(s, SQL_CHAIN_MEMBER, &stmt, err);
    if (status == STATUS_OK)
        *id = sqlite3_last_insert_rowid(s->db);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        sqlite3_bind_int64(stmt, 1, *id);
        sqlite3_bind_int64(stmt, 2, (int64_t)i);
        sqlite3_bind_int64(stmt, 3, members[i].account_id);
        sqlite3_bind_int64(stmt, 4, members[i].roles);
        status = run(s, stmt, "make a chain", err);
    }
    return status;
}

static enum status
sqlite_last_seen(struct store_backend *backend, enum chain_role role, const char *key_id,
                 const char *subject, char out[ACCOUNT_NAME_SIZE], struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    char name[ACCOUNT_NAME_SIZE + 4];
    struct buf text;
    sqlite3_stmt *stmt;
    bool row;
    enum status status = prepared(s, SQL_LAST_SEEN, &stmt, err);

    out[0] = '\0';
    if (status != STATUS_OK)
        return status;
    buf_init(&text, name, sizeof(name));
    buf_add_format(&text, "%s%s", key_id[0] != '\0' ? "key:" : "",
                   key_id[0] != '\0' ? key_id : subject);
    bind_text(stmt, 1, name);
    sqlite3_bind_int(stmt, 2, key_id[0] != '\0' ? CHAIN_KEY : CHAIN_SUBJECT);
    sqlite3_bind_int(stmt, 3, (int)role);
    status = next(s, stmt, &row, "find who was last seen", err);
    if (status != STATUS_OK || !row)
        return status;
    if (!column_text(stmt, 0, out, ACCOUNT_NAME_SIZE))
        return too_long(s, stmt, err);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

/* The line in columns `first`.. with its period, appended to the ledger. */
static enum status
append_line(struct sqlite_store *s, sqlite3_stmt *stmt, int first, int account, int64_t at_us,
            struct ledger *ledger, struct error *err)
{
    struct budget_line *line;

    if (ledger->line_count == LEDGER_LINES_MAX) {
        sqlite3_reset(stmt);
        return error_set(
            err, STATUS_OVERFLOW,
            "store %s: a request counts on more than %d budget lines; give its accounts "
            "fewer",
            s->path, LEDGER_LINES_MAX);
    }
    line = &ledger->lines[ledger->line_count++];
    if (!read_line(stmt, first, account, line))
        return too_long(s, stmt, err);
    read_period(stmt, first + LINE_WIDTH, at_us, line);
    return STATUS_OK;
}

static enum status
append_account(struct sqlite_store *s, sqlite3_stmt *stmt, struct ledger *ledger, struct error *err)
{
    int index = (int)ledger->account_count;
    int roles = sqlite3_column_int(stmt, ACCOUNT_WIDTH);

    if (index == LEDGER_ACCOUNTS_MAX) {
        sqlite3_reset(stmt);
        return error_set(err, STATUS_CORRUPT, "store %s: a chain has too many accounts", s->path);
    }
    if (!read_account(stmt, 0, &ledger->accounts[index]))
        return too_long(s, stmt, err);
    ledger->account_count++;
    if ((roles & CHAIN_KEY) != 0)
        ledger->key = index;
    if ((roles & CHAIN_SUBJECT) != 0)
        ledger->subject = index;
    if ((roles & CHAIN_ORGANIZATION) != 0)
        ledger->organization = index;
    return STATUS_OK;
}

static enum status
load_chain(struct sqlite_store *s, int64_t chain_id, int64_t at_us, int64_t now_us,
           struct ledger *ledger, struct error *err)
{
    sqlite3_stmt *stmt;
    int64_t account = 0;
    bool row;
    enum status status = prepared(s, SQL_LOAD, &stmt, err);

    ledger->chain_id = chain_id;
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, chain_id);
    sqlite3_bind_int64(stmt, 2, at_us);
    sqlite3_bind_int64(stmt, 3, now_us);
    while ((status = next(s, stmt, &row, "read a chain", err)) == STATUS_OK && row) {
        if (sqlite3_column_int64(stmt, 0) != account) {
            account = sqlite3_column_int64(stmt, 0);
            status = append_account(s, stmt, ledger, err);
        }
        if (status == STATUS_OK && sqlite3_column_type(stmt, ACCOUNT_WIDTH + 1) != SQLITE_NULL)
            status = append_line(s, stmt, ACCOUNT_WIDTH + 1, (int)ledger->account_count - 1, at_us,
                                 ledger, err);
        if (status != STATUS_OK)
            return status;
    }
    return status;
}

static enum status
sqlite_load_lines(struct store_backend *backend, struct ledger *ledger, int index, int64_t at_us,
                  int64_t now_us, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    bool row;
    enum status status = prepared(s, SQL_LINES, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, ledger->accounts[index].id);
    sqlite3_bind_int64(stmt, 2, at_us);
    sqlite3_bind_int64(stmt, 3, now_us);
    while ((status = next(s, stmt, &row, "read budget lines", err)) == STATUS_OK && row) {
        status = append_line(s, stmt, 0, index, at_us, ledger, err);
        if (status != STATUS_OK)
            return status;
    }
    return status;
}

static enum status
read_one_hold(struct sqlite_store *s, sqlite3_stmt *stmt, struct store_load *load,
              struct error *err)
{
    enum status status = next(s, stmt, &load->hold_found, "read a hold", err);

    if (status != STATUS_OK || !load->hold_found)
        return status;
    if (!read_hold(stmt, 0, &load->hold))
        return too_long(s, stmt, err);
    load->hold.charged_nanos = sqlite3_column_int64(stmt, HOLD_WIDTH);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

static enum status
load_hold(struct sqlite_store *s, struct store_load *load, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_HOLD, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, load->hold_id);
    sqlite3_bind_int64(stmt, 2, (int64_t)load->hold_nonce);
    return read_one_hold(s, stmt, load, err);
}

static enum status
one_charge(struct sqlite_store *s, sqlite3_stmt *stmt, bool *found, struct charge_row *out,
           struct error *err)
{
    enum status status = next(s, stmt, found, "read a charge", err);

    if (status != STATUS_OK || !*found)
        return status;
    if (!read_charge(stmt, out))
        return too_long(s, stmt, err);
    sqlite3_reset(stmt);
    return STATUS_OK;
}

static enum status
load_charge(struct sqlite_store *s, struct store_load *load, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_CHARGE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, load->charge_id);
    sqlite3_bind_int64(stmt, 2, (int64_t)load->charge_nonce);
    status = one_charge(s, stmt, &load->charge_found, &load->charge, err);
    if (status != STATUS_OK || !load->charge_found)
        return status;
    status = prepared(s, SQL_REFUNDED, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, load->charge_id);
    return one_int(s, stmt, 0, &load->refunded_nanos, "read refunds", err);
}

static enum status
load_rates(struct sqlite_store *s, struct ledger *ledger, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_RATE, &stmt, err);

    for (size_t i = 0; i < ledger->rate_count && status == STATUS_OK; i++) {
        sqlite3_bind_int64(stmt, 1, ledger->rates[i].account_id);
        bind_text(stmt, 2, ledger->rates[i].name);
        status = one_int(s, stmt, 0, &ledger->rates[i].tat_ns, "read a rate", err);
    }
    return status;
}

static enum status
load_admission(struct sqlite_store *s, struct store_load *load, struct error *err)
{
    sqlite3_stmt *stmt;
    int64_t hold;
    enum status status = prepared(s, SQL_ADMISSION, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_blob(stmt, 1, load->admission_key, ADMISSION_KEY_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, load->now_us);
    status = one_int(s, stmt, -1, &hold, "read an admission", err);
    load->admission_found = status == STATUS_OK && hold >= 0;
    load->admission_hold = load->admission_found ? hold : 0;
    if (load->admission_hold == 0)
        return status;
    status = prepared(s, SQL_HOLD_BY_ID, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, load->admission_hold);
    return read_one_hold(s, stmt, load, err);
}

static enum status
sqlite_idempotency_find(struct store_backend *backend, const char *scope, const char *key,
                        struct idempotency_row *out, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    size_t length;
    enum status status = prepared(s, SQL_IDEMPOTENCY, &stmt, err);

    out->found = false;
    out->reply_length = 0;
    if (status != STATUS_OK)
        return status;
    bind_text(stmt, 1, scope);
    bind_text(stmt, 2, key);
    status = next(s, stmt, &out->found, "read an idempotency key", err);
    if (status != STATUS_OK || !out->found)
        return status;
    length = (size_t)sqlite3_column_bytes(stmt, 1);
    if (sqlite3_column_bytes(stmt, 0) != SHA256_BYTES || length >= sizeof(out->reply))
        return too_long(s, stmt, err);
    memcpy(out->fingerprint, sqlite3_column_blob(stmt, 0), SHA256_BYTES);
    if (length > 0)
        memcpy(out->reply, sqlite3_column_blob(stmt, 1), length);
    out->reply[length] = '\0';
    out->reply_length = length;
    sqlite3_reset(stmt);
    return STATUS_OK;
}

static enum status
load_oldest(struct sqlite_store *s, struct store_load *load, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_OLDEST, &stmt, err);

    return status == STATUS_OK
               ? one_int(s, stmt, INT64_MAX, &load->oldest_expiry_us, "look for expired holds", err)
               : status;
}

static enum status
sqlite_load(struct store_backend *backend, struct store_load *load, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    struct ledger *ledger = load->ledger;
    int64_t chain = load->chain_id, at_us = load->at_us;
    enum status status = STATUS_OK;

    load->hold_found = load->charge_found = load->admission_found = false;
    load->refunded_nanos = load->admission_hold = 0;
    load->oldest_expiry_us = INT64_MAX;
    s->now_us = load->now_us;
    ledger->account_count = ledger->line_count = ledger->event_count = 0;
    ledger->key = ledger->subject = ledger->organization = -1;
    if (load->hold_id != 0)
        status = load_hold(s, load, err);
    if (status == STATUS_OK && load->charge_id != 0)
        status = load_charge(s, load, err);
    if (status == STATUS_OK && load->idempotency != NULL)
        status = sqlite_idempotency_find(backend, load->idempotency_scope, load->idempotency_key,
                                         load->idempotency, err);
    if (status == STATUS_OK && load->admission_key != NULL)
        status = load_admission(s, load, err);
    if (status == STATUS_OK && load->want_expiry)
        status = load_oldest(s, load, err);
    if (chain == 0)
        chain = load->hold_found     ? load->hold.chain_id
                : load->charge_found ? load->charge.chain_id
                                     : 0;
    if (at_us == 0)
        at_us = load->hold_found     ? load->hold.placed_us
                : load->charge_found ? load->charge.charge.at_us
                                     : load->now_us;
    if (status == STATUS_OK && chain != 0)
        status = load_chain(s, chain, at_us, load->now_us, ledger, err);
    return status == STATUS_OK ? load_rates(s, ledger, err) : status;
}

static enum status
sqlite_journal_sum(struct store_backend *backend, int64_t account_id, int64_t start_us,
                   int64_t end_us, int64_t *spent_nanos, int64_t *held_nanos, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    const enum statement which[] = { SQL_SPENT, SQL_HELD };
    int64_t *const out[] = { spent_nanos, held_nanos };
    sqlite3_stmt *stmt;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < 2 && status == STATUS_OK; i++) {
        status = prepared(s, which[i], &stmt, err);
        if (status != STATUS_OK)
            break;
        sqlite3_bind_int64(stmt, 1, account_id);
        sqlite3_bind_int64(stmt, 2, start_us);
        sqlite3_bind_int64(stmt, 3, end_us);
        status = one_int(s, stmt, 0, out[i], "sum the journal", err);
    }
    return status;
}

static enum status
sqlite_credit_sum(struct store_backend *backend, int64_t budget_id, int64_t from_us, int64_t to_us,
                  int64_t *nanos, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_CREDIT_SUM, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, budget_id);
    sqlite3_bind_int64(stmt, 2, from_us);
    sqlite3_bind_int64(stmt, 3, to_us);
    return one_int(s, stmt, 0, nanos, "sum credits", err);
}

static enum status
sqlite_history(struct store_backend *backend, int64_t budget_id, int64_t before_us,
               struct period_history *out, size_t *count, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    struct period_history swap;
    sqlite3_stmt *stmt;
    size_t n = 0;
    bool row;
    enum status status = prepared(s, SQL_HISTORY, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, budget_id);
    sqlite3_bind_int64(stmt, 2, before_us);
    sqlite3_bind_int64(stmt, 3, (int64_t)*count);
    while ((status = next(s, stmt, &row, "read earlier periods", err)) == STATUS_OK && row) {
        out[n].period.start_us = sqlite3_column_int64(stmt, 0);
        out[n].period.end_us = sqlite3_column_int64(stmt, 1);
        out[n].spent_nanos = sqlite3_column_int64(stmt, 2);
        out[n].credit_nanos = sqlite3_column_int64(stmt, 3);
        n++;
    }
    for (size_t i = 0; i < n / 2; i++) {
        swap = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = swap;
    }
    *count = n;
    return status;
}

static enum status
sqlite_route_amounts(struct store_backend *backend, const char *route, int64_t *out, size_t *count,
                     struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    size_t n = 0;
    bool row;
    enum status status = prepared(s, SQL_ROUTE_AMOUNTS, &stmt, err);

    if (status != STATUS_OK)
        return status;
    bind_text(stmt, 1, route);
    sqlite3_bind_int64(stmt, 2, (int64_t)*count);
    while ((status = next(s, stmt, &row, "read a route's charges", err)) == STATUS_OK && row)
        out[n++] = sqlite3_column_int64(stmt, 0);
    *count = n;
    return status;
}

static enum status
sqlite_expired(struct store_backend *backend, int64_t now_us, struct hold *out, size_t *count,
               struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    size_t n = 0;
    bool row;
    enum status status = prepared(s, SQL_EXPIRED, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, now_us);
    sqlite3_bind_int64(stmt, 2, (int64_t)*count);
    while ((status = next(s, stmt, &row, "read expired holds", err)) == STATUS_OK && row) {
        memset(&out[n], 0, sizeof(out[n]));
        out[n].id = sqlite3_column_int64(stmt, 0);
        out[n++].nonce = (uint64_t)sqlite3_column_int64(stmt, 1);
    }
    *count = n;
    return status;
}

static enum status
sqlite_unknown_hold(struct store_backend *backend, const char *hold_text, bool *found,
                    struct charge_row *out, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_UNKNOWN_HOLD, &stmt, err);

    if (status != STATUS_OK)
        return status;
    bind_text(stmt, 1, hold_text);
    return one_charge(s, stmt, found, out, err);
}

static enum status
sqlite_verification_number(struct store_backend *backend, bool advance, int64_t *out,
                           struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status =
        prepared(s, advance ? SQL_VERIFICATION_NEXT : SQL_VERIFICATION, &stmt, err);

    return status == STATUS_OK ? one_int(s, stmt, 0, out, "read the verification counter", err)
                               : status;
}

/* ---- writes --------------------------------------------------------------------------------- */

static enum status
sqlite_account_write(struct store_backend *backend, struct account *account, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    bool insert = account->id == 0;
    int at = 0;
    sqlite3_stmt *stmt;
    enum status status = prepared(s, insert ? SQL_ACCOUNT_INSERT : SQL_ACCOUNT_UPDATE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    if (insert)
        bind_text(stmt, ++at, account->name);
    bind_text(stmt, ++at, account->plan);
    sqlite3_bind_int64(stmt, ++at, account->parent_id);
    sqlite3_bind_int(stmt, ++at, account->frozen);
    sqlite3_bind_int(stmt, ++at, account->revoked);
    sqlite3_bind_int64(stmt, ++at, account->expires_us);
    sqlite3_bind_int64(stmt, ++at, account->verify_after);
    sqlite3_bind_int64(stmt, ++at, account->live_holds);
    sqlite3_bind_int64(stmt, ++at, insert ? account->first_seen_us : account->id);
    status = run(s, stmt, "write an account", err);
    if (status == STATUS_OK && insert)
        account->id = sqlite3_last_insert_rowid(s->db);
    return status;
}

static void
bind_hand_set(sqlite3_stmt *stmt, int first, const struct budget_line *line)
{
    if (line->hand_limited)
        sqlite3_bind_int64(stmt, first, line->hand_limit_nanos);
    else
        sqlite3_bind_null(stmt, first);
    if (line->hand_enforced)
        sqlite3_bind_int(stmt, first + 1, (int)line->hand_enforce);
    else
        sqlite3_bind_null(stmt, first + 1);
}

static enum status
line_insert(struct sqlite_store *s, int64_t account_id, struct budget_line *line, struct error *err)
{
    sqlite3_stmt *stmt;
    int64_t id;
    enum status status = prepared(s, SQL_LINE_NEXT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, account_id);
    status = one_int(s, stmt, 0, &id, "make a budget line", err);
    if (status == STATUS_OK && id >= (account_id + 1) * LINES_PER_ACCOUNT)
        return error_set(err, STATUS_OVERFLOW, "store %s: an account has too many budget lines",
                         s->path);
    if (status == STATUS_OK)
        status = prepared(s, SQL_LINE_INSERT, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, id);
    sqlite3_bind_int64(stmt, 2, account_id);
    sqlite3_bind_int(stmt, 3, (int)line->spec.kind);
    bind_text(stmt, 4, line->spec.timezone);
    sqlite3_bind_int(stmt, 5, line->spec.anchor_day);
    sqlite3_bind_int(stmt, 6, line->spec.week_start);
    sqlite3_bind_int64(stmt, 7, line->created_us);
    bind_hand_set(stmt, 8, line);
    status = run(s, stmt, "make a budget line", err);
    if (status == STATUS_OK)
        line->id = id;
    return status;
}

static enum status
sqlite_line_write(struct store_backend *backend, int64_t account_id, struct budget_line *line,
                  struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status;

    if (line->id == 0)
        return line_insert(s, account_id, line, err);
    status = prepared(s, SQL_LINE_UPDATE, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, line->id);
    bind_hand_set(stmt, 2, line);
    return run(s, stmt, "write a budget line", err);
}

static enum status
sqlite_period_write(struct store_backend *backend, const struct budget_line *line,
                    struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_PERIOD_WRITE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, line->id);
    sqlite3_bind_int64(stmt, 2, line->period.start_us);
    sqlite3_bind_int64(stmt, 3, line->period.end_us);
    sqlite3_bind_int64(stmt, 4, line->spent_nanos);
    sqlite3_bind_int64(stmt, 5, line->held_nanos);
    sqlite3_bind_int(stmt, 6, line->alerted);
    return run(s, stmt, "write a period", err);
}

static bool
all_zero(const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

static enum status
hold_insert(struct sqlite_store *s, struct hold *hold, struct error *err)
{
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_HOLD_INSERT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, (int64_t)hold->nonce);
    sqlite3_bind_int64(stmt, 2, hold->chain_id);
    sqlite3_bind_int(stmt, 3, (int)hold->state);
    sqlite3_bind_int64(stmt, 4, hold->amount_nanos);
    sqlite3_bind_int64(stmt, 5, hold->placed_us);
    sqlite3_bind_int64(stmt, 6, hold->expires_us);
    sqlite3_bind_int64(stmt, 7, hold->ttl_us);
    sqlite3_bind_int64(stmt, 8, hold->charge_id);
    if (all_zero(hold->caller, sizeof(hold->caller)))
        sqlite3_bind_null(stmt, 9);
    else
        sqlite3_bind_blob(stmt, 9, hold->caller, sizeof(hold->caller), SQLITE_STATIC);
    bind_text(stmt, 10, hold->plan);
    bind_text(stmt, 11, hold->route);
    status = run(s, stmt, "place a hold", err);
    if (status == STATUS_OK)
        hold->id = sqlite3_last_insert_rowid(s->db);
    return status;
}

static enum status
sqlite_hold_write(struct store_backend *backend, struct hold *hold, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status;

    if (hold->id == 0)
        return hold_insert(s, hold, err);
    status = prepared(s, SQL_HOLD_UPDATE, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, hold->id);
    sqlite3_bind_int(stmt, 2, (int)hold->state);
    sqlite3_bind_int64(stmt, 3, hold->amount_nanos);
    sqlite3_bind_int64(stmt, 4, hold->expires_us);
    sqlite3_bind_int64(stmt, 5, hold->charge_id);
    sqlite3_bind_int64(stmt, 6, hold->placed_us);
    sqlite3_bind_int64(stmt, 7, hold->expiry_charged_nanos);
    sqlite3_bind_int64(stmt, 8, hold->expiry_charge_id);
    return run(s, stmt, "write a hold", err);
}

static enum status
sqlite_charge_write(struct store_backend *backend, struct charge_row *row, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    struct charge *c = &row->charge;
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_CHARGE_INSERT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, (int64_t)c->nonce);
    sqlite3_bind_int(stmt, 2, (int)c->kind);
    sqlite3_bind_int64(stmt, 3, row->chain_id);
    sqlite3_bind_int64(stmt, 4, c->amount_nanos);
    sqlite3_bind_int64(stmt, 5, c->at_us);
    sqlite3_bind_int64(stmt, 6, c->created_us);
    sqlite3_bind_int64(stmt, 7, c->occurred_us);
    sqlite3_bind_int64(stmt, 8, row->hold_number);
    sqlite3_bind_int64(stmt, 9, c->refund_of);
    bind_optional(stmt, 10, row->hold_number == 0 ? c->hold_id : NULL);
    bind_optional(stmt, 11, c->model);
    bind_optional(stmt, 12, c->route);
    bind_optional(stmt, 13, c->tags);
    bind_optional(stmt, 14, c->token);
    bind_optional(stmt, 15, c->note);
    bind_optional(stmt, 16, c->metadata);
    status = run(s, stmt, "record a charge", err);
    if (status == STATUS_OK)
        c->id = sqlite3_last_insert_rowid(s->db);
    return status;
}

static enum status
sqlite_credit_write(struct store_backend *backend, struct credit_row *credit, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_CREDIT_INSERT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, credit->budget_id);
    sqlite3_bind_int64(stmt, 2, credit->amount_nanos);
    sqlite3_bind_int64(stmt, 3, credit->from_us);
    sqlite3_bind_int64(stmt, 4, credit->until_us);
    sqlite3_bind_int64(stmt, 5, credit->created_us);
    bind_text(stmt, 6, credit->who);
    bind_text(stmt, 7, credit->note);
    status = run(s, stmt, "record a credit", err);
    if (status != STATUS_OK)
        return status;
    credit->id = sqlite3_last_insert_rowid(s->db);
    status = prepared(s, SQL_CREDIT_ADD, &stmt, err);
    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, credit->budget_id);
    sqlite3_bind_int64(stmt, 2, credit->amount_nanos);
    return run(s, stmt, "record a credit", err);
}

static enum status
sqlite_rate_write(struct store_backend *backend, const struct rate_row *rate, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_RATE_WRITE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, rate->account_id);
    bind_text(stmt, 2, rate->name);
    sqlite3_bind_int64(stmt, 3, rate->tat_ns);
    return run(s, stmt, "write a rate", err);
}

static enum status
sqlite_admission_write(struct store_backend *backend, const uint8_t key[ADMISSION_KEY_BYTES],
                       int64_t hold_id, int64_t expires_us, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_ADMISSION_WRITE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_blob(stmt, 1, key, ADMISSION_KEY_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, hold_id);
    sqlite3_bind_int64(stmt, 3, expires_us);
    s->admissions_written++;
    return run(s, stmt, "note an admission", err);
}

static enum status
sqlite_idempotency_write(struct store_backend *backend, const char *scope, const char *key,
                         const uint8_t fingerprint[SHA256_BYTES], const char *reply,
                         size_t reply_length, int64_t now_us, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_IDEMPOTENCY_WRITE, &stmt, err);

    if (status != STATUS_OK)
        return status;
    bind_text(stmt, 1, scope);
    bind_text(stmt, 2, key);
    sqlite3_bind_blob(stmt, 3, fingerprint, SHA256_BYTES, SQLITE_STATIC);
    sqlite3_bind_blob64(stmt, 4, reply, reply_length, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 5, now_us);
    return run(s, stmt, "keep a reply", err);
}

static enum status
sqlite_event_write(struct store_backend *backend, const struct event_row *event, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    enum status status = prepared(s, SQL_EVENT_INSERT, &stmt, err);

    if (status != STATUS_OK)
        return status;
    sqlite3_bind_int(stmt, 1, (int)event->kind);
    sqlite3_bind_int64(stmt, 2, event->account_id);
    sqlite3_bind_int64(stmt, 3, event->budget_id);
    sqlite3_bind_int64(stmt, 4, event->period_start_us);
    sqlite3_bind_int64(stmt, 5, event->hold_number);
    sqlite3_bind_int(stmt, 6, event->percent);
    sqlite3_bind_int64(stmt, 7, event->created_us);
    bind_text(stmt, 8, event->who);
    bind_text(stmt, 9, event->text);
    bind_text(stmt, 10, event->note);
    return run(s, stmt, "write an event", err);
}

/* ---- listings ------------------------------------------------------------------------------- */

static enum status
sqlite_account_names(struct store_backend *backend, const char *after, size_t limit,
                     bool (*visit)(void *context, const char *name), void *context,
                     struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt;
    bool row;
    enum status status = prepared(s, SQL_ACCOUNT_NAMES, &stmt, err);

    if (status != STATUS_OK)
        return status;
    bind_text(stmt, 1, after);
    sqlite3_bind_int64(stmt, 2, (int64_t)limit);
    while ((status = next(s, stmt, &row, "list accounts", err)) == STATUS_OK && row) {
        if (!visit(context, (const char *)sqlite3_column_text(stmt, 0))) {
            sqlite3_reset(stmt);
            return STATUS_OK;
        }
    }
    return status;
}

/* A statement of a listing: its text depends on the filter, so it is prepared each time. */
static enum status
prepare_once(struct sqlite_store *s, const struct buf *sql, sqlite3_stmt **out, struct error *err)
{
    int rc;

    *out = NULL;
    if (buf_failed(sql))
        return error_set(err, STATUS_INTERNAL, "store %s: a query is too long", s->path);
    rc = sqlite3_prepare_v2(s->db, sql->data, -1, out, NULL);
    return rc == SQLITE_OK ? STATUS_OK : failed(s, rc, "prepare a listing", err);
}

/* Charges that count on the account named in the bound parameter `number`. */
static void
add_account_filter(struct buf *sql, const char *chain_column, const char *parameter,
                   const char *prefix, int roles)
{
    buf_add_format(sql,
                   " AND %s IN (SELECT m.chain_id FROM chain_account m JOIN account a ON "
                   "a.id = m.account_id WHERE a.name = %s%s",
                   chain_column, prefix, parameter);
    if (roles != 0)
        buf_add_format(sql, " AND m.roles & %d", roles);
    buf_add(sql, ")");
}

static enum status
visit_charges(struct sqlite_store *s, sqlite3_stmt *stmt,
              bool (*visit)(void *context, const struct charge *charge), void *context,
              struct error *err)
{
    struct charge_row row;
    bool more;
    enum status status;

    while ((status = next(s, stmt, &more, "list charges", err)) == STATUS_OK && more) {
        if (!read_charge(stmt, &row))
            return too_long(s, stmt, err);
        if (!visit(context, &row.charge))
            break;
    }
    return status;
}

static enum status
sqlite_charges(struct store_backend *backend, const struct charge_filter *filter,
               bool (*visit)(void *context, const struct charge *charge), void *context,
               struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    char text[2048];
    struct buf sql;
    sqlite3_stmt *stmt = NULL;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql, "SELECT " CHARGE_COLUMNS " " CHARGE_FROM
                  "WHERE c.id < ?1 AND c.created_us >= ?2 AND c.created_us < ?3");
    if (filter->account != NULL)
        add_account_filter(&sql, "c.chain_id", "?4", "", 0);
    if (filter->key_id != NULL)
        add_account_filter(&sql, "c.chain_id", "?5", "'key:' || ", CHAIN_KEY);
    if (filter->route != NULL)
        buf_add(&sql, " AND c.route = ?6");
    if (filter->model != NULL)
        buf_add(&sql, " AND c.model = ?7");
    buf_add(&sql, " ORDER BY c.id DESC LIMIT ?8");
    status = prepare_once(s, &sql, &stmt, err);
    if (status == STATUS_OK) {
        sqlite3_bind_int64(stmt, 1, filter->before_id);
        sqlite3_bind_int64(stmt, 2, filter->from_us);
        sqlite3_bind_int64(stmt, 3, filter->to_us);
        bind_optional(stmt, 4, filter->account);
        bind_optional(stmt, 5, filter->key_id);
        bind_optional(stmt, 6, filter->route);
        bind_optional(stmt, 7, filter->model);
        sqlite3_bind_int64(stmt, 8, (int64_t)filter->limit);
        status = visit_charges(s, stmt, visit, context, err);
    }
    sqlite3_finalize(stmt);
    return status;
}

static enum status
sqlite_report(struct store_backend *backend, enum report_by by, int64_t from_us, int64_t to_us,
              bool (*visit)(void *context, const struct report_row *row), void *context,
              struct error *err)
{
    static const char *const names[] = {
        [REPORT_ACCOUNT] = "(SELECT a.name FROM chain n JOIN account a ON a.id = n.payer_id "
                           "WHERE n.id = c.chain_id)",
        [REPORT_KEY] = "coalesce((SELECT substr(a.name, 5) FROM chain_account m JOIN account a "
                       "ON a.id = m.account_id WHERE m.chain_id = c.chain_id AND m.position = 0 "
                       "AND m.roles & 1), '')",
        [REPORT_ROUTE] = "coalesce(c.route, '')",
        [REPORT_MODEL] = "coalesce(c.model, '')",
        [REPORT_DAY] = "date(c.created_us / 1000000, 'unixepoch')",
    };
    struct sqlite_store *s = sqlite_of(backend);
    struct report_row row;
    char text[1024];
    struct buf sql;
    sqlite3_stmt *stmt = NULL;
    bool more;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add_format(
        &sql,
        "SELECT %s AS name, sum(CASE c.kind WHEN 1 THEN -c.amount_nanos ELSE c.amount_nanos "
        "END) AS spent, sum(c.kind = 0) FROM charge c WHERE c.created_us >= ?1 "
        "AND c.created_us < ?2 GROUP BY 1 ORDER BY %s",
        names[by], by == REPORT_DAY ? "1" : "2 DESC, 1");
    status = prepare_once(s, &sql, &stmt, err);
    if (status == STATUS_OK) {
        sqlite3_bind_int64(stmt, 1, from_us);
        sqlite3_bind_int64(stmt, 2, to_us);
    }
    while (status == STATUS_OK && (status = next(s, stmt, &more, "report", err)) == STATUS_OK &&
           more) {
        if (!column_text(stmt, 0, row.name, sizeof(row.name))) {
            status = too_long(s, stmt, err);
            break;
        }
        row.spent_nanos = sqlite3_column_int64(stmt, 1);
        row.charge_count = sqlite3_column_int64(stmt, 2);
        if (!visit(context, &row))
            break;
    }
    sqlite3_finalize(stmt);
    return status;
}

static enum status
sqlite_holds(struct store_backend *backend, const char *account, enum hold_state state,
             size_t limit,
             bool (*visit)(void *context, const struct hold *hold, const char *account),
             void *context, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    char text[1024], payer[ACCOUNT_NAME_SIZE];
    struct hold hold;
    struct buf sql;
    sqlite3_stmt *stmt = NULL;
    bool more;
    enum status status;

    buf_init(&sql, text, sizeof(text));
    buf_add(&sql,
            "SELECT " HOLD_COLUMNS ", c.amount_nanos, (SELECT a.name FROM chain n JOIN account a "
            "ON a.id = n.payer_id WHERE n.id = h.chain_id) FROM hold h "
            "LEFT JOIN charge c ON c.id = h.charge_id WHERE ");
    buf_add(&sql, state == HOLD_HELD ? "h.state = 0" : "h.state = ?1");
    if (account != NULL)
        add_account_filter(&sql, "h.chain_id", "?2", "", 0);
    buf_add(&sql, " ORDER BY h.id DESC LIMIT ?3");
    status = prepare_once(s, &sql, &stmt, err);
    if (status == STATUS_OK) {
        sqlite3_bind_int(stmt, 1, (int)state);
        bind_optional(stmt, 2, account);
        sqlite3_bind_int64(stmt, 3, (int64_t)limit);
    }
    while (status == STATUS_OK && (status = next(s, stmt, &more, "list holds", err)) == STATUS_OK &&
           more) {
        if (!read_hold(stmt, 0, &hold) ||
            !column_text(stmt, HOLD_WIDTH + 1, payer, sizeof(payer))) {
            status = too_long(s, stmt, err);
            break;
        }
        hold.charged_nanos = sqlite3_column_int64(stmt, HOLD_WIDTH);
        if (!visit(context, &hold, payer))
            break;
    }
    sqlite3_finalize(stmt);
    return status;
}

/* ---- verify --------------------------------------------------------------------------------- */

static const char *const scan_sql[] = {
    [SCAN_ACCOUNTS] = "SELECT " ACCOUNT_COLUMNS " FROM account a ORDER BY a.id",
    [SCAN_LINES] = "SELECT " LINE_COLUMNS ", b.account_id FROM budget b ORDER BY b.id",
    [SCAN_PERIODS] =
        "SELECT budget_id, start_us, end_us, spent_nanos, held_nanos FROM budget_period "
        "ORDER BY budget_id, start_us",
    [SCAN_CHAINS] = "SELECT m.chain_id, m.account_id, n.payer_id FROM chain_account m JOIN chain n "
                    "ON n.id = m.chain_id ORDER BY m.chain_id, m.position",
    [SCAN_CHARGES] =
        "SELECT id, kind, chain_id, amount_nanos, at_us, created_us, hold_id, refund_of "
        "FROM charge ORDER BY id",
    [SCAN_HOLDS] = "SELECT " HOLD_COLUMNS ", c.amount_nanos FROM hold h "
                   "LEFT JOIN charge c ON c.id = h.charge_id ORDER BY h.id",
    [SCAN_CREDITS] = "SELECT 0 FROM credit",
    [SCAN_CONTRADICTIONS] =
        "SELECT 'I7', 'chain ' || n.id || ': its payer ' || n.payer_id || ' is not one of its "
        "accounts' "
        "FROM chain n WHERE NOT EXISTS (SELECT 1 FROM chain_account m WHERE m.chain_id = n.id "
        "AND m.account_id = n.payer_id) "
        "UNION ALL SELECT 'I7', 'chain ' || m.chain_id || ': account ' || m.account_id || ' is "
        "missing' "
        "FROM chain_account m WHERE NOT EXISTS (SELECT 1 FROM account a WHERE a.id = m.account_id) "
        "UNION ALL SELECT 'I7', 'account ' || a.id || ': its parent is missing' FROM account a "
        "WHERE a.parent_id <> 0 AND NOT EXISTS (SELECT 1 FROM account p WHERE p.id = a.parent_id) "
        "UNION ALL SELECT 'I7', 'budget ' || b.id || ': its account is missing' FROM budget b "
        "WHERE NOT EXISTS (SELECT 1 FROM account a WHERE a.id = b.account_id) "
        "UNION ALL SELECT 'I7', 'period ' || p.start_us || ' of budget ' || p.budget_id || "
        "': the budget is missing' FROM budget_period p WHERE NOT EXISTS (SELECT 1 FROM budget b "
        "WHERE b.id = p.budget_id) "
        "UNION ALL SELECT 'I7', 'credit ' || c.id || ': its budget is missing' FROM credit c "
        "WHERE NOT EXISTS (SELECT 1 FROM budget b WHERE b.id = c.budget_id) "
        "UNION ALL SELECT 'I7', 'budget ' || b.id || ': credits stored ' || b.credits_nanos || "
        "' nanos, in the journal ' || coalesce(sum(c.amount_nanos), 0) FROM budget b "
        "LEFT JOIN credit c ON c.budget_id = b.id GROUP BY b.id "
        "HAVING b.credits_nanos <> coalesce(sum(c.amount_nanos), 0) "
        "UNION ALL SELECT 'I7', 'charge ' || r.refund_of || ': refunds ' || sum(r.amount_nanos) || "
        "' nanos of ' || coalesce(c.amount_nanos, 0) FROM charge r LEFT JOIN charge c "
        "ON c.id = r.refund_of WHERE r.refund_of <> 0 GROUP BY r.refund_of "
        "HAVING c.id IS NULL OR sum(r.amount_nanos) > c.amount_nanos "
        "UNION ALL SELECT 'I5', 'charge ' || c.id || ': hold ' || h.id || ' has another charge' "
        "FROM charge c JOIN hold h ON h.id = c.hold_id WHERE c.kind = 0 AND h.charge_id <> c.id "
        "AND h.expiry_charge_id <> c.id "
        "UNION ALL SELECT 'I5', 'hold ' || h.id || ': its expiry charged ' || "
        "h.expiry_charged_nanos || "
        "' nanos, in the journal ' || coalesce((SELECT sum(CASE c.kind WHEN 1 THEN -c.amount_nanos "
        "ELSE c.amount_nanos END) FROM charge c WHERE c.id = h.expiry_charge_id "
        "OR (c.refund_of <> 0 AND c.refund_of = h.expiry_charge_id)), 0) FROM hold h "
        "WHERE h.expiry_charge_id <> 0 AND h.charge_id = 0 AND h.expiry_charged_nanos <> "
        "coalesce((SELECT sum(CASE c.kind WHEN 1 THEN -c.amount_nanos ELSE c.amount_nanos END) "
        "FROM charge c WHERE c.id = h.expiry_charge_id OR (c.refund_of <> 0 "
        "AND c.refund_of = h.expiry_charge_id)), 0)",
};

static void
read_scan_charge(sqlite3_stmt *stmt, struct charge_row *out)
{
    memset(out, 0, sizeof(*out));
    out->charge.id = sqlite3_column_int64(stmt, 0);
    out->charge.kind = (enum charge_kind)sqlite3_column_int(stmt, 1);
    out->chain_id = sqlite3_column_int64(stmt, 2);
    out->charge.amount_nanos = sqlite3_column_int64(stmt, 3);
    out->charge.at_us = sqlite3_column_int64(stmt, 4);
    out->charge.created_us = sqlite3_column_int64(stmt, 5);
    out->hold_number = sqlite3_column_int64(stmt, 6);
    out->charge.refund_of = sqlite3_column_int64(stmt, 7);
}

static bool
read_scan_hold(sqlite3_stmt *stmt, struct hold *out)
{
    bool charged = sqlite3_column_type(stmt, HOLD_WIDTH) != SQLITE_NULL;

    if (!read_hold(stmt, 0, out))
        return false;
    out->charged_nanos = charged ? sqlite3_column_int64(stmt, HOLD_WIDTH) : -1;
    return true;
}

static bool
read_scan_row(sqlite3_stmt *stmt, enum scan_kind kind, struct scan_row *out)
{
    switch (kind) {
    case SCAN_ACCOUNTS:
        return read_account(stmt, 0, &out->account);
    case SCAN_LINES:
        out->account_id = sqlite3_column_int64(stmt, LINE_WIDTH);
        return read_line(stmt, 0, 0, &out->line);
    case SCAN_PERIODS:
        out->line.id = sqlite3_column_int64(stmt, 0);
        out->line.period.start_us = sqlite3_column_int64(stmt, 1);
        out->line.period.end_us = sqlite3_column_int64(stmt, 2);
        out->line.spent_nanos = sqlite3_column_int64(stmt, 3);
        out->line.held_nanos = sqlite3_column_int64(stmt, 4);
        return true;
    case SCAN_CHAINS:
        out->chain_id = sqlite3_column_int64(stmt, 0);
        out->account_id = sqlite3_column_int64(stmt, 1);
        out->payer_id = sqlite3_column_int64(stmt, 2);
        return true;
    case SCAN_CHARGES:
        read_scan_charge(stmt, &out->charge);
        return true;
    case SCAN_HOLDS:
        return read_scan_hold(stmt, &out->hold);
    case SCAN_CREDITS:
        return true;
    case SCAN_CONTRADICTIONS:
        out->invariant = (const char *)sqlite3_column_text(stmt, 0);
        out->text = (const char *)sqlite3_column_text(stmt, 1);
        return true;
    }
    return false;
}

static enum status
sqlite_scan(struct store_backend *backend, enum scan_kind kind,
            bool (*visit)(void *context, const struct scan_row *row), void *context,
            struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    sqlite3_stmt *stmt = NULL;
    struct scan_row *row = calloc(1, sizeof(*row));
    bool more;
    int rc;
    enum status status = STATUS_OK;

    if (row == NULL)
        return error_set(err, STATUS_NO_MEMORY, "store: out of memory");
    rc = sqlite3_prepare_v2(s->db, scan_sql[kind], -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        status = failed(s, rc, "prepare a scan", err);
    while (status == STATUS_OK && (status = next(s, stmt, &more, "scan", err)) == STATUS_OK &&
           more) {
        if (!read_scan_row(stmt, kind, row)) {
            status = too_long(s, stmt, err);
            break;
        }
        if (!visit(context, row))
            break;
    }
    sqlite3_finalize(stmt);
    free(row);
    return status;
}

/* ---- prune ---------------------------------------------------------------------------------- */

/*
 * What may go is found without a lock, into a table of this connection, and removed in short
 * pieces. A row that is found stays removable: all of them only get older. Order matters: charges
 * go once no period row contains them, refunds before their charge, holds after their charge. ?1 is
 * the step's own time.
 */
enum prune_step {
    PRUNE_ADMISSIONS,
    PRUNE_REPLIES,
    PRUNE_EVENTS,
    PRUNE_PERIODS,
    PRUNE_CHARGES,
    PRUNE_HOLDS
};

static const struct {
    const char *find, *remove;
} prune_sql[] = {
    [PRUNE_ADMISSIONS] = { "SELECT key, NULL FROM admission WHERE expires_us <= ?1 AND "
                           "NOT " ADMISSION_HOLD_LIVES,
                           "DELETE FROM admission WHERE key IN (SELECT a FROM doomed WHERE id <= "
                           "?1)" },
    [PRUNE_REPLIES] = { "SELECT scope, key FROM idempotency WHERE created_us < ?1",
                        "DELETE FROM idempotency WHERE (scope, key) IN (SELECT a, b FROM doomed "
                        "WHERE id <= ?1)" },
    [PRUNE_EVENTS] = { "SELECT id, NULL FROM event WHERE told_us <> 0 AND created_us < ?1",
                       "DELETE FROM event WHERE id IN (SELECT a FROM doomed WHERE id <= ?1)" },
    [PRUNE_PERIODS] = { "SELECT budget_id, start_us FROM budget_period WHERE end_us <= ?1 "
                        "AND held_nanos = 0",
                        "DELETE FROM budget_period WHERE (budget_id, start_us) IN (SELECT a, b "
                        "FROM doomed WHERE id <= ?1) AND held_nanos = 0" },
    [PRUNE_CHARGES] = { "SELECT c.id, NULL FROM charge c WHERE c.at_us < ?1 AND c.created_us < ?1 "
                        "AND NOT EXISTS (SELECT 1 FROM charge r WHERE r.refund_of = c.id "
                        "AND r.refund_of <> 0) AND NOT EXISTS (SELECT 1 FROM chain_account m "
                        "JOIN budget b ON b.id > m.account_id * 256 AND b.id < m.account_id * 256 "
                        "+ 256 "
                        "JOIN budget_period p ON p.budget_id = b.id AND p.start_us <= c.at_us "
                        "AND p.end_us > c.at_us WHERE m.chain_id = c.chain_id)",
                        "DELETE FROM charge WHERE id IN (SELECT a FROM doomed WHERE id <= ?1)" },
    [PRUNE_HOLDS] = { "SELECT h.id, NULL FROM hold h WHERE h.state <> 0 AND h.expires_us < ?1 "
                      "AND NOT EXISTS (SELECT 1 FROM charge c WHERE c.id IN (h.charge_id, "
                      "h.expiry_charge_id))",
                      "DELETE FROM hold WHERE state <> 0 AND id IN (SELECT a FROM doomed "
                      "WHERE id <= ?1)" },
};

/* One statement of its own with at most two numbers; `*changed` is the rows it changed. */
static enum status
run_once(struct sqlite_store *s, const char *sql, int64_t first, int64_t second, int64_t *changed,
         struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &stmt, NULL);
    enum status status;

    if (rc == SQLITE_OK) {
        sqlite3_bind_int64(stmt, 1, first);
        if (sqlite3_bind_parameter_count(stmt) > 1)
            sqlite3_bind_int64(stmt, 2, second);
        status = run(s, stmt, "prune", err);
    } else {
        status = failed(s, rc, "prune", err);
    }
    *changed = status == STATUS_OK ? sqlite3_changes64(s->db) : 0;
    sqlite3_finalize(stmt);
    return status;
}

static enum status
find_doomed(struct sqlite_store *s, enum prune_step step, int64_t time_us, int64_t *count,
            struct error *err)
{
    char text[1024];
    struct buf sql;
    enum status status =
        execute(s,
                "CREATE TEMP TABLE IF NOT EXISTS doomed (id INTEGER PRIMARY KEY, a, b);"
                "DELETE FROM doomed",
                "prune", err);

    *count = 0;
    buf_init(&sql, text, sizeof(text));
    buf_add_format(&sql, "INSERT INTO doomed (a, b) %s LIMIT ?2", prune_sql[step].find);
    assert(!buf_failed(&sql));
    return status == STATUS_OK ? run_once(s, text, time_us, PRUNE_FOUND_MAX, count, err) : status;
}

/* Remove what was found, one short transaction per piece. */
static enum status
remove_doomed(struct sqlite_store *s, enum prune_step step, int64_t count, int64_t *removed,
              struct error *err)
{
    enum status status = STATUS_OK;
    int64_t changed;

    for (int64_t done = 0; done < count && status == STATUS_OK; done += PRUNE_PIECE) {
        status = sqlite_begin(&s->base, STORE_WRITE, err);
        if (status != STATUS_OK)
            return status;
        status = run_once(s, prune_sql[step].remove, done + PRUNE_PIECE, 0, &changed, err);
        *removed += changed;
        if (status == STATUS_OK)
            status = run_once(s, "DELETE FROM doomed WHERE id <= ?1", done + PRUNE_PIECE, 0,
                              &changed, err);
        if (status != STATUS_OK) {
            sqlite_rollback(&s->base);
            return status;
        }
        status = sqlite_commit(&s->base, false, err);
    }
    return status;
}

static enum status
prune_step(struct sqlite_store *s, enum prune_step step, int64_t time_us, int64_t *removed,
           struct error *err)
{
    int64_t count;
    enum status status;

    do {
        status = find_doomed(s, step, time_us, &count, err);
        if (status == STATUS_OK && count > 0)
            status = remove_doomed(s, step, count, removed, err);
    } while (status == STATUS_OK && count == PRUNE_FOUND_MAX);
    return status;
}

/* From here on a period row that is missing before `time_us` is no contradiction. */
static enum status
note_pruned(struct sqlite_store *s, int64_t time_us, struct error *err)
{
    int64_t changed;
    enum status status = sqlite_begin(&s->base, STORE_WRITE, err);

    if (status != STATUS_OK)
        return status;
    status = run_once(s, "UPDATE counter SET value = max(value, ?1) WHERE name = 'pruned_until_us'",
                      time_us, 0, &changed, err);
    if (status == STATUS_OK)
        return sqlite_commit(&s->base, false, err);
    sqlite_rollback(&s->base);
    return status;
}

static enum status
sqlite_prune(struct store_backend *backend, int64_t keep_us, int64_t older_than_us, int64_t now_us,
             int64_t *removed, struct error *err)
{
    struct sqlite_store *s = sqlite_of(backend);
    int64_t oldest_us = older_than_us < keep_us ? older_than_us : keep_us;
    enum status status = prune_step(s, PRUNE_ADMISSIONS, now_us, removed, err);

    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_REPLIES, keep_us, removed, err);
    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_EVENTS, keep_us, removed, err);
    if (status != STATUS_OK || older_than_us == 0)
        return status;
    status = note_pruned(s, older_than_us, err);
    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_PERIODS, older_than_us, removed, err);
    if (status == STATUS_OK)
        status = prune_step(s, PRUNE_CHARGES, oldest_us, removed, err);
    if (status == STATUS_OK) /* once more: the charges whose refunds have just gone */
        status = prune_step(s, PRUNE_CHARGES, oldest_us, removed, err);
    return status == STATUS_OK ? prune_step(s, PRUNE_HOLDS, oldest_us, removed, err) : status;
}

static enum status
sqlite_pruned_until(struct store_backend *backend, int64_t *out, struct error *err)
{
    return pragma_int(sqlite_of(backend),
                      "SELECT value FROM counter WHERE name = 'pruned_until_us'", out, err);
}

/* ---- after the answer ----------------------------------------------------------------------- */

static void
sqlite_after(struct store_backend *backend)
{
    struct sqlite_store *s = sqlite_of(backend);
    struct error err;
    int64_t removed = 0;

    if (s->in_transaction || s->batch)
        return;
    if (s->admissions_written >= ADMISSION_SWEEP) {
        s->admissions_written = 0;
        if (prune_step(s, PRUNE_ADMISSIONS, s->now_us, &removed, &err) != STATUS_OK)
            log_failure("store_after", &err, NULL);
    }
    if (s->wal_frames > CHECKPOINT_FRAMES)
        checkpoint_if_alone(s);
}

const struct store_ops store_sqlite_ops = {
    .scheme = "sqlite",
    .expire_max = 0,
    .one_transaction_for_all = true,
    .open = sqlite_open,
    .close = sqlite_close,
    .migrate = sqlite_migrate,
    .check = sqlite_check,
    .after = sqlite_after,
    .now_us = sqlite_now_us,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .failure = sqlite_failure,
    .settle_disk = sqlite_settle_disk,
    .batch_begin = sqlite_batch_begin,
    .batch_end = sqlite_batch_end,
    .accounts_find = sqlite_accounts_find,
    .account_lock = sqlite_account_lock,
    .account_get = sqlite_account_get,
    .generations_below = sqlite_generations_below,
    .chain_intern = sqlite_chain_intern,
    .last_seen = sqlite_last_seen,
    .load = sqlite_load,
    .load_lines = sqlite_load_lines,
    .journal_sum = sqlite_journal_sum,
    .credit_sum = sqlite_credit_sum,
    .history = sqlite_history,
    .route_amounts = sqlite_route_amounts,
    .expired = sqlite_expired,
    .unknown_hold = sqlite_unknown_hold,
    .idempotency_find = sqlite_idempotency_find,
    .verification_number = sqlite_verification_number,
    .account_write = sqlite_account_write,
    .line_write = sqlite_line_write,
    .period_write = sqlite_period_write,
    .hold_write = sqlite_hold_write,
    .charge_write = sqlite_charge_write,
    .credit_write = sqlite_credit_write,
    .rate_write = sqlite_rate_write,
    .admission_write = sqlite_admission_write,
    .idempotency_write = sqlite_idempotency_write,
    .event_write = sqlite_event_write,
    .account_names = sqlite_account_names,
    .charges = sqlite_charges,
    .report = sqlite_report,
    .holds = sqlite_holds,
    .scan = sqlite_scan,
    .pruned_until = sqlite_pruned_until,
    .prune = sqlite_prune,
};
