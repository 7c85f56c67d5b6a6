/* SPDX-License-Identifier: MIT */
/*
 * spendgate spool replay: record the posts that clients could not deliver.
 *
 * Straight into the store, under the key, the fingerprint and the token's name that the tracker
 * would have used. So a post that did arrive, an earlier replay, and one that runs beside this one
 * are all seen as the same charge. A file goes only after its money is durable.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/command.h"
#include "admin/output.h"
#include "admin/spool_file.h"

#include "common/banned.h"

#define FOLDER_CORRUPT "corrupt"
#define ROUND 64 /* posts of one transaction: the tracker waits for no more */
#define UNFINISHED_US INT64_C(60000000) /* a client writes a file in less */

/* Whom to be for the files of one folder; a run as root needs two (the web server's user owns the
 * spool, the tracker's the store). */
struct identity {
    uid_t uid;
    gid_t gid;
};

/* A file of this round. */
struct item {
    const char *name;
    const struct tracker_token *token;
    struct spool_post spooled;
    enum outcome outcome;
    struct refusal refusal;
};

struct spool {
    struct admin *admin;
    const char *path;
    int folder;
    bool switches; /* root, and two different owners */
    struct identity spool_owner, store_owner;
    char **names; /* owned, as each of them */
    size_t name_count, name_room;
    struct item items[ROUND];
    size_t item_count;
    int64_t recorded, counted_before, refused, corrupt, unreadable, unfinished;
    bool progress;
    char text[SPOOL_FILE_MAX + 1];
    char reply[REPLY_SIZE];
};

/* ---- two owners ----------------------------------------------------------------------------- */

static bool
act_as(const struct identity *who)
{
    const struct passwd *user;

    if (seteuid(0) != 0)
        return false;
    user = getpwuid(who->uid);
    if (user != NULL ? initgroups(user->pw_name, who->gid) != 0 : setgroups(1, &who->gid) != 0)
        return false;
    return setegid(who->gid) == 0 && seteuid(who->uid) == 0;
}

static bool
act_on_spool(struct spool *spool)
{
    return !spool->switches || act_as(&spool->spool_owner);
}

static bool
act_on_store(struct spool *spool)
{
    return !spool->switches || act_as(&spool->store_owner);
}

static int
cannot_switch(void)
{
    return command_fail("cannot switch between the owners of the spool and of the store: %s",
                        strerror(errno));
}

static struct identity
owner_of(const struct stat *info)
{
    const struct passwd *user = getpwuid(info->st_uid);

    return (struct identity){ info->st_uid, user != NULL ? user->pw_gid : info->st_gid };
}

/* Open the folder and then the store, each as its owner. */
static int
open_both(struct spool *spool)
{
    struct admin *admin = spool->admin;
    char store_folder[FILE_PATH_SIZE];
    struct stat info, store_info;

    spool->folder = open(spool->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->folder < 0 || fstat(spool->folder, &info) != 0)
        return command_fail("%s: %s: it has to be the folder in SPENDGATE_SPOOL_DIR", spool->path,
                            strerror(errno));
    if ((info.st_mode & S_IWOTH) != 0)
        (void)command_fail("warning: everybody may write into %s, and so charge anybody: "
                           "chmod o-w it",
                           spool->path);
    spool->spool_owner = spool->store_owner = owner_of(&info);
    if (geteuid() == 0) {
        if (command_store_folder(admin->settings->store_url, store_folder) &&
            stat(store_folder, &store_info) == 0)
            spool->store_owner = owner_of(&store_info);
        spool->switches = spool->store_owner.uid != spool->spool_owner.uid;
    }
    if (!act_on_store(spool))
        return cannot_switch();
    return command_open_store(admin);
}

/* ---- the folder ----------------------------------------------------------------------------- */

static bool
ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), end_length = strlen(end);

    return length > end_length && strcmp(name + length - end_length, end) == 0;
}

static bool
keep_name(struct spool *spool, const char *name)
{
    if (spool->name_count == spool->name_room) {
        size_t room = spool->name_room > 0 ? 2 * spool->name_room : 256;
        char **names = reallocarray(spool->names, room, sizeof(*names));

        if (names == NULL)
            return false;
        spool->names = names;
        spool->name_room = room;
    }
    spool->names[spool->name_count] = strdup(name);
    return spool->names[spool->name_count] != NULL && ++spool->name_count > 0;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The files in the order of their names, which begin with the time. */
static int
list_files(struct spool *spool)
{
    int copy = openat(spool->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *entry;
    bool kept = true;
    int problem;

    if (folder == NULL) {
        if (copy >= 0)
            (void)close(copy);
        return command_fail("cannot read %s: %s", spool->path, strerror(errno));
    }
    while (kept && (errno = 0, entry = readdir(folder)) != NULL) {
        if (ends_with(entry->d_name, ".json") || ends_with(entry->d_name, ".tmp"))
            kept = keep_name(spool, entry->d_name);
    }
    problem = errno;
    (void)closedir(folder);
    if (!kept)
        return command_fail("out of memory");
    if (problem != 0)
        return command_fail("cannot read %s: %s", spool->path, strerror(problem));
    if (spool->name_count > 0)
        qsort(spool->names, spool->name_count, sizeof(*spool->names), compare_names);
    return DONE;
}

/* A line about one file, to standard error. */
static void tell(struct spool *spool, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);

static void
tell(struct spool *spool, const char *name, const char *format, ...)
{
    char text[ERROR_MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (spool->progress)
        (void)fputs("\r\033[K", stderr);
    (void)fputs("spendgate: ", stderr);
    print_text(stderr, name);
    (void)fputs(": ", stderr);
    print_text(stderr, text);
    (void)fputc('\n', stderr);
}

/* Out of the way of later runs, but not gone: it may be all that is left of somebody's money. */
static void
put_aside(struct spool *spool, const char *name, const char *reason)
{
    spool->corrupt++;
    if ((mkdirat(spool->folder, FOLDER_CORRUPT, 0700) == 0 || errno == EEXIST)) {
        int aside =
            openat(spool->folder, FOLDER_CORRUPT, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        bool moved = aside >= 0 && renameat(spool->folder, name, aside, name) == 0;

        if (aside >= 0)
            (void)close(aside);
        if (moved) {
            tell(spool, name, "is corrupt and was moved to %s/%s: %s", spool->path, FOLDER_CORRUPT,
                 reason);
            return;
        }
        if (errno == ENOENT) /* another run has moved it */
            return;
    }
    tell(spool, name, "is corrupt, and cannot be moved to %s/%s (%s): %s", spool->path,
         FOLDER_CORRUPT, strerror(errno), reason);
}

/* -1: it cannot be used, which is told and counted. */
static ssize_t
read_file(struct spool *spool, const char *name, struct stat *info)
{
    int file = openat(spool->folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t length = 0, got = 1;

    if (file < 0 && errno == ENOENT) /* another run was faster */
        return -1;
    if (file < 0 && errno == ELOOP) {
        put_aside(spool, name, "it is a symbolic link");
        return -1;
    }
    if (file >= 0 && fstat(file, info) == 0 && !S_ISREG(info->st_mode)) {
        (void)close(file);
        put_aside(spool, name, "it is no file");
        return -1;
    }
    while (file >= 0 && got > 0 && length < (ssize_t)sizeof(spool->text)) {
        got = read(file, spool->text + length, sizeof(spool->text) - (size_t)length);
        if (got > 0)
            length += got;
    }
    if (file < 0 || got < 0) {
        tell(spool, name, "cannot be read and is kept: %s", strerror(errno));
        spool->unreadable++;
        length = -1;
    }
    if (file >= 0)
        (void)close(file);
    if (length > SPOOL_FILE_MAX) {
        put_aside(spool, name, "it is larger than any post");
        return -1;
    }
    return length;
}

/* ---- one round ------------------------------------------------------------------------------ */

static const struct tracker_token *
find_token(const struct settings *settings, const uint8_t sha256[SHA256_BYTES])
{
    for (size_t i = 0; i < settings->token_count; i++) {
        const struct tracker_token *token = &settings->tokens[i];

        if (memcmp(token->sha256, sha256, SHA256_BYTES) == 0 && token->role != TOKEN_READ)
            return token;
    }
    return NULL;
}

/* What the tracker would not take either, or what it is too late for. */
static void
check_item(const struct spool *spool, struct item *item)
{
    const struct settings *settings = spool->admin->settings;

    item->token = find_token(settings, item->spooled.token_sha256);
    if (item->token == NULL)
        refusal_set(&item->refusal, 403, "forbidden",
                    "the tracker's settings have no token of this SHA-256 that may post; keep an "
                    "old one there until the spools are empty");
    else if (spool->admin->now_us - item->spooled.spooled_us > settings->idempotency_ttl_us)
        refusal_set(
            &item->refusal, 409, "too_old",
            "it is older than idempotency_ttl, so that nobody knows whether it was counted: "
            "see `spendgate charge list', and post it by hand if it is not there");
}

/* Read one file into the round; a file that cannot be used is dealt with here. */
static void
load_item(struct spool *spool, const char *name)
{
    struct item *item = &spool->items[spool->item_count];
    const struct settings *settings = spool->admin->settings;
    bool unfinished = ends_with(name, ".tmp");
    enum spool_file kind;
    struct stat info;
    ssize_t length = read_file(spool, name, &info);

    if (length < 0)
        return;
    *item = (struct item){ .name = name };
    kind = spool_file_parse(spool->text, (size_t)length, settings->max_charge_nanos, &item->spooled,
                            &item->refusal);
    /* A temporary file that is whole was left by a client that died before it could rename it; it
     * is a post like any other. One that is not may be in the making. */
    if (unfinished && kind == SPOOL_CORRUPT &&
        spool->admin->now_us - (int64_t)info.st_mtime * 1000000 < UNFINISHED_US) {
        spool->unfinished++;
        return;
    }
    if (kind == SPOOL_CORRUPT) {
        put_aside(spool, name, unfinished ? "its writer died half-way" : item->refusal.message);
        return;
    }
    if (kind == SPOOL_GOOD)
        check_item(spool, item);
    spool->item_count++;
}

static enum status
record_item(struct spool *spool, struct item *item, struct error *err)
{
    struct idempotency idempotency = {
        .scope = item->token->name,
        .key = item->spooled.key[0] != '\0' ? item->spooled.key : NULL,
    };
    struct result result;
    struct buf reply;
    enum status status;

    memcpy(idempotency.fingerprint, item->spooled.post.fingerprint,
           sizeof(idempotency.fingerprint));
    buf_init(&reply, spool->reply, sizeof(spool->reply));
    status = spend_record(spool->admin->store, &item->spooled.post, item->token->name, &idempotency,
                          spool->admin->now_us, &result, &reply, &item->refusal, err);
    if (status == STATUS_OK && !refused(&item->refusal))
        item->outcome = result.outcome;
    return status;
}

/* Before the store is locked for the round. */
static enum status
price_round(struct spool *spool, struct error *err)
{
    int64_t max_charge_nanos = spool->admin->settings->max_charge_nanos;
    enum status status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < spool->item_count; i++) {
        struct item *item = &spool->items[i];

        if (!refused(&item->refusal))
            status = spend_price(spool->admin->store, &item->spooled.post, max_charge_nanos,
                                 spool->admin->now_us, &item->refusal, err);
    }
    return status;
}

/* All in one transaction; after an error none of them is recorded. */
static enum status
record_round(struct spool *spool, struct error *err)
{
    struct error end_err;
    enum status status = price_round(spool, err), end;

    if (status == STATUS_OK)
        status = store_batch_begin(spool->admin->store, err);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; status == STATUS_OK && i < spool->item_count; i++) {
        if (!refused(&spool->items[i].refusal))
            status = record_item(spool, &spool->items[i], err);
    }
    end = store_batch_end(spool->admin->store, status == STATUS_OK, &end_err);
    if (status == STATUS_OK && end != STATUS_OK) {
        *err = end_err;
        status = end;
    }
    return status;
}

static const char *
outcome_text(enum outcome outcome)
{
    switch (outcome) {
    case OUTCOME_KEY_REUSED:
        return "its idempotency key was used for another post";
    case OUTCOME_UNKNOWN_ACCOUNT:
        return "there is no such account";
    case OUTCOME_UNKNOWN_HOLD:
        return "there is no such hold, and no subject to charge instead";
    case OUTCOME_HOLD_SETTLED:
        return "its hold was settled with another amount";
    case OUTCOME_HOLD_VOIDED:
        return "its hold was given back";
    default:
        return "the store did not take it";
    }
}

/* The money is safe: remove what was recorded, tell what was not. */
static void
finish_item(struct spool *spool, const struct item *item)
{
    bool done = item->outcome == OUTCOME_DONE, before = item->outcome == OUTCOME_REPLAYED;

    if (done || before) {
        spool->recorded += done;
        spool->counted_before += before;
        if (unlinkat(spool->folder, item->name, 0) != 0 && errno != ENOENT)
            tell(spool, item->name, "is recorded, but cannot be removed: %s", strerror(errno));
        return;
    }
    spool->refused++;
    tell(spool, item->name, "is refused and kept: %s",
         refused(&item->refusal) ? item->refusal.message : outcome_text(item->outcome));
}

static int
replay_round(struct spool *spool)
{
    struct error err;

    if (spool->item_count == 0)
        return DONE;
    if (!act_on_store(spool))
        return cannot_switch();
    if (record_round(spool, &err) != STATUS_OK) {
        (void)command_error(&err);
        return command_fail("nothing of the last %zu posts was recorded; all are kept",
                            spool->item_count);
    }
    store_after(spool->admin->store);
    if (!act_on_spool(spool))
        return cannot_switch();
    for (size_t i = 0; i < spool->item_count; i++)
        finish_item(spool, &spool->items[i]);
    spool->item_count = 0;
    return DONE;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int
replay(struct spool *spool)
{
    int code = act_on_spool(spool) ? list_files(spool) : cannot_switch();

    for (size_t i = 0; code == DONE && i < spool->name_count; i++) {
        load_item(spool, spool->names[i]);
        if (spool->item_count == ROUND || i + 1 == spool->name_count)
            code = replay_round(spool);
        if (spool->progress && (i + 1) % ROUND == 0)
            (void)fprintf(stderr, "\r\033[KReplaying: %zu of %zu", i + 1, spool->name_count);
    }
    if (spool->progress)
        (void)fputs("\r\033[K", stderr);
    if (!act_on_store(spool) && code == DONE)
        code = cannot_switch();
    return code;
}

static void
print_summary(const struct spool *spool)
{
    if (command_has(spool->admin, OPTION_JSON)) {
        printf("{\"recorded\":%" PRId64 ",\"counted_before\":%" PRId64 ",\"refused\":%" PRId64
               ",\"corrupt\":%" PRId64 ",\"unreadable\":%" PRId64 ",\"unfinished\":%" PRId64 "}\n",
               spool->recorded, spool->counted_before, spool->refused, spool->corrupt,
               spool->unreadable, spool->unfinished);
        return;
    }
    printf("%" PRId64 " recorded, %" PRId64 " counted before", spool->recorded,
           spool->counted_before);
    if (spool->refused > 0)
        printf(", %" PRId64 " refused and kept", spool->refused);
    if (spool->corrupt > 0)
        printf(", %" PRId64 " corrupt and kept aside", spool->corrupt);
    if (spool->unreadable > 0)
        printf(", %" PRId64 " not readable", spool->unreadable);
    if (spool->unfinished > 0)
        printf(", %" PRId64 " being written", spool->unfinished);
    (void)fputs(".\n", stdout);
}

int
run_spool_replay(struct admin *admin)
{
    struct spool *spool = calloc(1, sizeof(*spool));
    int code;

    if (spool == NULL)
        return command_fail("out of memory");
    spool->admin = admin;
    spool->path = admin->arguments[0];
    spool->progress = isatty(STDERR_FILENO) == 1;
    code = open_both(spool);
    if (code == DONE) {
        code = replay(spool);
        print_summary(spool);
    }
    if (code == DONE && spool->refused + spool->corrupt + spool->unreadable > 0)
        code = FAILED;
    for (size_t i = 0; i < spool->name_count; i++)
        free(spool->names[i]);
    free(spool->names);
    if (spool->folder >= 0)
        (void)close(spool->folder);
    free(spool);
    return code;
}
