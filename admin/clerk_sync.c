/* SPDX-License-Identifier: MIT */
/*
 * spendgate clerk sync: page through the API keys of every known subject at Clerk, note their names
 * and expiry, and refuse at once here what was revoked there. There is no event of Clerk for that.
 *
 * Where it stands is in the store: the note of `all` says when the sync under way began, that of a
 * subject when it was listed last. So a sync that was broken off goes on with the subjects that
 * were not listed since it began, for a day; after that, and after a finished one, it begins anew.
 * Source: design document, section 6; clerk-api document, sections 2 and 8.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/clerk_list.h"
#include "admin/command.h"
#include "admin/output.h"
#include "common/clerk_http.h"
#include "common/clock.h"
#include "common/host_cache.h"

#include "common/banned.h"

#define CALL_US (10 * US_PER_SECOND)
#define RESUME_US (24 * 3600 * US_PER_SECOND) /* what was broken off longer ago begins anew */
#define BODY_MAX_BYTES (16 * 1024 * 1024)     /* 100 keys with large claims */
#define TRIES 3                               /* of a call that Clerk does not answer */
#define SUBJECTS_PER_PAGE 200
#define KEYS_FIRST 64
#define WHOLE_SYNC "all" /* whose note is that of the sync itself */
#define PROGRESS_SIZE 128

/* An API key of the subject in hand that was seen here. */
struct known_key {
    char account[ACCOUNT_NAME_SIZE];
    bool listed;
};

struct counts {
    int64_t subjects;         /* listed */
    int64_t subjects_unknown; /* Clerk does not know them */
    int64_t keys;             /* listed, and seen here */
    int64_t named;            /* of them, names or expiries learned or changed */
    int64_t revoked;          /* refused here from now on */
    int64_t reverified;       /* verified again at their next request */
    int64_t odd;              /* entries that could not be read */
};

struct sync {
    struct admin *admin;
    struct clock clock;
    struct host_cache *cache;
    struct clerk_quota *quota;
    struct clerk_http *http;
    int64_t now_us;   /* by the store's clock, read for each subject */
    int64_t begun_us; /* subjects listed since then are done */
    bool resumed, finished;
    int64_t subjects_whole; /* to be done, when it began */
    struct counts counts;
    const char *subject;    /* in hand */
    struct known_key *keys; /* its own, by name */
    size_t key_count, key_room;
    bool failed; /* while keys were visited; told */
    struct result result;
    struct ledger ledger;
};

/* ---- on the terminal ------------------------------------------------------------------------ */

static void show(const struct sync *sync, const char *format, ...) PRINTF_LIKE(2, 3);

static void
show(const struct sync *sync, const char *format, ...)
{
    char text[PROGRESS_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    progress_show(sync->counts.subjects + sync->counts.subjects_unknown, sync->subjects_whole,
                  text);
}

/* Something that people want to know of one account. */
static void
tell(const struct sync *sync, const char *account, const char *what, const char *why)
{
    if (command_has(sync->admin, OPTION_JSON))
        return;
    progress_clear();
    print_text(stdout, account);
    (void)fputs(what, stdout);
    print_text(stdout, why);
    (void)putchar('\n');
}

static int
fail(const struct error *err)
{
    progress_clear();
    return command_error(err);
}

/* ---- asking Clerk --------------------------------------------------------------------------- */

static void
wait_for(const struct sync *sync, int64_t us, const char *why)
{
    while (us > 0) {
        int64_t step_us = us < US_PER_SECOND ? us : US_PER_SECOND;
        const struct timespec time = { .tv_sec = step_us / US_PER_SECOND,
                                       .tv_nsec = step_us % US_PER_SECOND * 1000 };

        if (us >= US_PER_SECOND)
            show(sync, "%s: %" PRId64 " s", why, us / US_PER_SECOND);
        (void)nanosleep(&time, NULL);
        us -= step_us;
    }
}

/*
 * One page, however long that takes: a 429 and the quota are waited for. DONE: `answer` is Clerk's
 * 200, 400 or 404. FAILED, told: Clerk refuses us, or did not answer several times.
 */
static int
ask(const struct sync *sync, int64_t offset, struct clerk_answer *answer)
{
    char storage[CLERK_PATH_SIZE];
    struct clerk_call call = { .path = storage, .use = QUOTA_FOR_BULK };
    struct error err = { 0 };
    struct buf path;
    int failures = 0;

    buf_init(&path, storage, sizeof(storage));
    clerk_list_path(sync->subject, offset, &path);
    if (buf_failed(&path))
        return command_fail("%s is too long a name to ask Clerk about", sync->subject);
    for (;;) {
        call.deadline_us = clock_boot_us(&sync->clock) + CALL_US;
        if (clerk_http_call(sync->http, &call, answer, &err) == STATUS_OK)
            return DONE;
        if (answer->outcome == CLERK_RATE_LIMITED) {
            wait_for(sync, answer->retry_after_us > 0 ? answer->retry_after_us : US_PER_SECOND,
                     answer->http_status == 429 ? "Clerk asks us to wait"
                                                : "the servers need the calls to Clerk");
            continue;
        }
        if (answer->outcome == CLERK_KEY_REFUSED || ++failures == TRIES)
            return fail(&err);
        wait_for(sync,
                 answer->retry_after_us > 0 ? answer->retry_after_us
                                            : (int64_t)failures * US_PER_SECOND,
                 "Clerk does not answer");
    }
}

/* ---- one key -------------------------------------------------------------------------------- */

static int
compare_keys(const void *a, const void *b)
{
    const struct known_key *left = a, *right = b;

    return strcmp(left->account, right->account);
}

static struct known_key *
find_key(const struct sync *sync, const char *account)
{
    struct known_key wanted;

    memcpy(wanted.account, account, sizeof(wanted.account));
    if (sync->key_count == 0)
        return NULL;
    return bsearch(&wanted, sync->keys, sync->key_count, sizeof(*sync->keys), compare_keys);
}

static bool
change(struct sync *sync, const char *account, enum account_change what, const char *why)
{
    struct actor actor = command_actor(sync->admin);
    struct error err = { 0 };

    if (actor.note == NULL)
        actor.note = why;
    if (store_account_change(sync->admin->store, account, what, 0, NULL, &actor, sync->now_us,
                             &sync->result, &err) != STATUS_OK) {
        (void)fail(&err);
        return false;
    }
    return true;
}

/* Revoke it here, unless it is. */
static bool
revoke(struct sync *sync, const struct clerk_key *key)
{
    char why[TEXT_FIELD_SIZE + 32], note[TEXT_FIELD_SIZE], parent[ACCOUNT_NAME_SIZE];
    struct error err = { 0 };
    enum status status = store_account_load(sync->admin->store, key->account, sync->now_us,
                                            &sync->ledger, parent, &err);

    if (status != STATUS_OK) {
        (void)fail(&err);
        return false;
    }
    if (sync->ledger.accounts[0].revoked)
        return true;
    (void)snprintf(why, sizeof(why), "revoked at Clerk%s%s", key->reason[0] != '\0' ? ": " : "",
                   key->reason);
    clerk_text_cut(note, sizeof(note), why);
    if (!change(sync, key->account, ACCOUNT_REVOKE, note))
        return false;
    sync->counts.revoked++;
    tell(sync, key->account, " is revoked here: ", why);
    return true;
}

static bool
reverify(struct sync *sync, const char *account, const char *why)
{
    if (!change(sync, account, ACCOUNT_REVERIFY, why))
        return false;
    sync->counts.reverified++;
    tell(sync, account, " is verified again at its next request: ", why);
    return true;
}

static bool
read_note(const struct sync *sync, const char *account, bool *found, struct clerk_note *out)
{
    struct error err = { 0 };

    if (store_clerk_note_get(sync->admin->store, account, found, out, &err) == STATUS_OK)
        return true;
    (void)fail(&err);
    return false;
}

static bool
write_note(const struct sync *sync, const char *account, const struct clerk_note *note)
{
    struct error err = { 0 };
    bool found;

    if (store_clerk_note_put(sync->admin->store, account, note, &found, &err) == STATUS_OK)
        return true;
    (void)fail(&err);
    return false;
}

/* What Clerk says of a key that was seen here. First what refuses it, then the note that says so.
 */
static bool
take_key(struct sync *sync, const struct clerk_key *key)
{
    struct clerk_note old, new = { .expires_us = key->expires_us };
    bool noted, news;

    if (!read_note(sync, key->account, &noted, &old))
        return false;
    memcpy(new.title, key->title, sizeof(new.title));
    news =
        !noted || old.gone || old.expires_us != new.expires_us || strcmp(old.title, new.title) != 0;
    if (key->revoked && !revoke(sync, key))
        return false;
    /* The servers know its end from its last verification; this is another one. */
    if (!key->revoked && key->expired && (!noted || old.expires_us != new.expires_us) &&
        !reverify(sync, key->account, "expired at Clerk"))
        return false;
    sync->counts.keys++;
    if (!news)
        return true;
    sync->counts.named++;
    return write_note(sync, key->account, &new);
}

static bool
visit_key(void *context, const struct clerk_key *key)
{
    struct sync *sync = context;
    struct known_key *known = find_key(sync, key->account);

    if (known == NULL)
        return true; /* never seen here: Clerk is asked about it anyway */
    known->listed = true;
    sync->failed = !take_key(sync, key);
    return !sync->failed;
}

/* Listed no more: deleted, moved to another subject, or something that we cannot read. Clerk is
 * asked about it, once. */
static int
take_missing(struct sync *sync)
{
    for (size_t i = 0; i < sync->key_count; i++) {
        const char *account = sync->keys[i].account;
        struct clerk_note note;
        bool noted;

        if (sync->keys[i].listed)
            continue;
        if (!read_note(sync, account, &noted, &note))
            return FAILED;
        if (noted && note.gone)
            continue;
        note.gone = true;
        if (!reverify(sync, account, "not in Clerk's list of keys") ||
            !write_note(sync, account, &note))
            return FAILED;
    }
    return DONE;
}

/* ---- one subject ---------------------------------------------------------------------------- */

static bool
add_known(void *context, const char *account)
{
    struct sync *sync = context;
    size_t room = sync->key_room == 0 ? KEYS_FIRST : sync->key_room;

    while (room <= sync->key_count)
        room *= 2;
    if (room != sync->key_room) {
        struct known_key *keys = reallocarray(sync->keys, room, sizeof(*keys));

        if (keys == NULL) {
            sync->failed = true;
            return false;
        }
        sync->keys = keys;
        sync->key_room = room;
    }
    sync->keys[sync->key_count].listed = false;
    if (!text_copy(sync->keys[sync->key_count].account, ACCOUNT_NAME_SIZE, account))
        return true; /* no account has such a name */
    sync->key_count++;
    return true;
}

static int
load_known(struct sync *sync)
{
    struct error err = { 0 };

    sync->key_count = 0;
    sync->failed = false;
    if (store_clerk_keys(sync->admin->store, sync->subject, add_known, sync, &err) != STATUS_OK)
        return fail(&err);
    return sync->failed ? command_fail("out of memory") : DONE;
}

/* The pages of the subject in hand; `known` false: Clerk does not know it. */
static int
list_pages(struct sync *sync, bool *known)
{
    struct clerk_page page = { 0 };
    struct clerk_answer answer;
    struct error err = { 0 };
    int64_t offset = 0;

    do {
        show(sync, "%s", sync->subject);
        if (ask(sync, offset, &answer) != DONE)
            return FAILED;
        *known = answer.http_status == 200;
        if (!*known)
            return DONE;
        if (clerk_list_read(answer.body, answer.body_length, sync->subject, sync->now_us, visit_key,
                            sync, &page, &err) != STATUS_OK)
            return fail(&err);
        if (sync->failed)
            return FAILED;
        sync->counts.odd += (int64_t)page.odd;
        offset += (int64_t)page.keys;
    } while (page.keys > 0 && offset < page.total);
    return DONE;
}

static int
sync_subject(struct sync *sync, const char *subject)
{
    struct clerk_note note = { .listed_us = 0 };
    bool known = true;

    sync->subject = subject;
    sync->now_us = store_now_us(sync->admin->store, clock_now_us(&sync->clock));
    note.listed_us = sync->now_us > sync->begun_us ? sync->now_us : sync->begun_us;
    if (load_known(sync) != DONE || list_pages(sync, &known) != DONE ||
        (known && take_missing(sync) != DONE) || !write_note(sync, subject, &note))
        return FAILED;
    if (known)
        sync->counts.subjects++;
    else
        sync->counts.subjects_unknown++;
    return DONE;
}

/* ---- all of them ---------------------------------------------------------------------------- */

struct subject_page {
    size_t count;
    char names[SUBJECTS_PER_PAGE][ACCOUNT_NAME_SIZE];
};

static bool
add_subject(void *context, const char *name)
{
    struct subject_page *page = context;

    if (page->count < SUBJECTS_PER_PAGE &&
        text_copy(page->names[page->count], ACCOUNT_NAME_SIZE, name))
        page->count++;
    return true;
}

static bool
count_subject(void *context, const char *name)
{
    (void)name;
    ++*(int64_t *)context;
    return true;
}

/* When the sync that this one is, or goes on with, began. */
static int
begin(struct sync *sync)
{
    struct clerk_note note;
    struct error err = { 0 };
    bool found;

    sync->now_us = sync->admin->now_us;
    if (!read_note(sync, WHOLE_SYNC, &found, &note))
        return FAILED;
    sync->resumed = note.listed_us > 0 && note.listed_us <= sync->now_us &&
                    sync->now_us - note.listed_us < RESUME_US;
    sync->begun_us = sync->resumed ? note.listed_us : sync->now_us;
    note.listed_us = sync->begun_us;
    if (!write_note(sync, WHOLE_SYNC, &note))
        return FAILED;
    if (store_clerk_subjects(sync->admin->store, sync->begun_us, "", INT32_MAX, count_subject,
                             &sync->subjects_whole, &err) != STATUS_OK)
        return fail(&err);
    return DONE;
}

static int
sync_all(struct sync *sync)
{
    const struct clerk_note finished = { .listed_us = 0 };
    struct subject_page *page = calloc(1, sizeof(*page));
    char after[ACCOUNT_NAME_SIZE] = "";
    struct error err = { 0 };
    int code = page == NULL ? command_fail("out of memory") : begin(sync);

    while (code == DONE) {
        page->count = 0;
        if (store_clerk_subjects(sync->admin->store, sync->begun_us, after, SUBJECTS_PER_PAGE,
                                 add_subject, page, &err) != STATUS_OK)
            code = fail(&err);
        if (code != DONE || page->count == 0)
            break;
        for (size_t i = 0; code == DONE && i < page->count; i++)
            code = sync_subject(sync, page->names[i]);
        memcpy(after, page->names[page->count - 1], sizeof(after));
    }
    if (code == DONE && !write_note(sync, WHOLE_SYNC, &finished))
        code = FAILED;
    sync->finished = code == DONE;
    progress_clear();
    free(page);
    return code;
}

/* ---- the command ---------------------------------------------------------------------------- */

static void
print_summary(const struct sync *sync)
{
    const struct counts *counts = &sync->counts;
    char since[HUMAN_SIZE];

    if (command_has(sync->admin, OPTION_JSON)) {
        printf("{\"finished\":%s,\"resumed\":%s,\"subjects\":%" PRId64
               ",\"subjects_unknown\":%" PRId64 ",\"keys\":%" PRId64 ",\"noted\":%" PRId64
               ",\"revoked\":%" PRId64 ",\"reverified\":%" PRId64 ",\"unreadable\":%" PRId64 "}\n",
               sync->finished ? "true" : "false", sync->resumed ? "true" : "false",
               counts->subjects, counts->subjects_unknown, counts->keys, counts->named,
               counts->revoked, counts->reverified, counts->odd);
        return;
    }
    if (sync->resumed)
        printf("Went on with the sync that was broken off; what it listed since %s was not listed "
               "again.\n",
               human_time(sync->begun_us, since));
    printf("%" PRId64 " subjects listed, %" PRId64 " keys of theirs known here: %" PRId64
           " names or expiries noted, %" PRId64 " revoked, %" PRId64 " to be verified again.\n",
           counts->subjects, counts->keys, counts->named, counts->revoked, counts->reverified);
    if (counts->subjects_unknown > 0)
        printf("%" PRId64 " subjects are not known at Clerk; their keys were left alone.\n",
               counts->subjects_unknown);
    if (counts->odd > 0)
        printf("%" PRId64 " entries of Clerk's lists could not be read.\n", counts->odd);
    if (!sync->finished)
        (void)puts("It did not get to the end: run it again to go on from there.");
}

static enum status
open_clerk(struct sync *sync, struct error *err)
{
    const struct clerk_settings *clerk = &sync->admin->settings->clerk;
    enum status status = command_host_cache(sync->admin, &sync->cache, err);

    if (status == STATUS_OK)
        status = clerk_quota_open(sync->cache, &clerk->rate, &sync->quota, err);
    if (status == STATUS_OK)
        status = clerk_http_open(
            &(struct clerk_http_options){ .api_url = clerk->api_url,
                                          .secret_key = &clerk->secret_key,
                                          .connect_timeout_us = clerk->connect_timeout_us,
                                          .clock = sync->clock,
                                          .quota = sync->quota,
                                          .body_max = BODY_MAX_BYTES },
            &sync->http, err);
    return status;
}

int
run_clerk_sync(struct admin *admin)
{
    struct sync *sync;
    struct error err = { 0 };
    int code;

    if (!secret_is_set(&admin->settings->clerk.secret_key)) {
        (void)command_fail(
            "Clerk's secret key is needed: clerk { secret_key_file } or CLERK_SECRET_KEY");
        return USAGE;
    }
    sync = calloc(1, sizeof(*sync));
    if (sync == NULL)
        return command_fail("out of memory");
    sync->admin = admin;
    sync->clock = clock_system();
    if (open_clerk(sync, &err) != STATUS_OK) {
        code = command_error(&err);
    } else {
        code = sync_all(sync);
        print_summary(sync);
    }
    clerk_http_close(sync->http);
    clerk_quota_close(sync->quota);
    host_cache_close(sync->cache);
    free(sync->keys);
    free(sync);
    return code;
}
