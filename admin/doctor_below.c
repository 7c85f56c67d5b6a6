/* SPDX-License-Identifier: MIT */
/* spendgate doctor --url: addresses below the guarded one, other spellings of it, and the trial
 * pages of --folder. */
#include "admin/doctor_gate.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "admin/doctor_trial.h"

#include "common/banned.h"

#define MISSING_PAGE "spendgate-doctor-missing"

/* ---- pages that do not exist ---------------------------------------------------------------- */

static void
look_below(struct gate *gate)
{
    if (!gate->below)
        return;
    (void)snprintf(gate->missing_page, sizeof(gate->missing_page), "%s" MISSING_PAGE,
                   gate->place.path);
    if (!gate_ask(gate, &(struct question){ .target = gate->missing_page }, &gate->missing))
        gate->missing.kind = READING_NONE;
}

/* The same in the folders above an open page: is one of them guarded? */
static void
look_above(struct gate *gate)
{
    char target[TARGET_SIZE];
    struct reading reading;

    for (const char *slash = gate->place.path + strlen(gate->place.path);
         slash > gate->place.path;) {
        slash = memrchr(gate->place.path, '/', (size_t)(slash - gate->place.path));
        if (slash == NULL)
            return;
        (void)snprintf(target, sizeof(target), "%.*s/" MISSING_PAGE,
                       (int)(slash - gate->place.path), gate->place.path);
        if (strcmp(target, gate->missing_page) == 0)
            continue;
        if (!gate_ask(gate, &(struct question){ .target = target }, &reading))
            return;
        if (gate->above.kind == READING_NONE || reading_is_denial(&reading))
            gate->above = reading;
        if (reading_is_denial(&reading))
            return;
    }
}

void
gate_look_around(struct gate *gate)
{
    look_below(gate);
    if (!reading_is_denial(&gate->base) && !reading_is_denial(&gate->missing))
        look_above(gate);
}

bool
gate_was_passed(const struct reading *reading)
{
    return reading->kind == READING_OPEN || reading->kind == READING_COVERED ||
           (reading->kind == READING_REFUSED && (reading->status == 403 || reading->status == 404 ||
                                                 reading->status == 405 || reading->status == 410));
}

void
gate_check_below(struct gate *gate)
{
    static const char *const endings[] = { "",     ".php",  ".php/path", ".pl", ".cgi",
                                           ".py",  ".html", ".txt",      ".js", ".css",
                                           ".png", "/",     "/.htaccess" };
    struct offenders unasked;
    struct reading reading;

    if (!gate->below) {
        gate_tell(gate, FINDING_NOTE,
                  "only this page was looked at, and nothing below it\ngive the address of the "
                  "guarded folder, with a / at its end");
        return;
    }
    offenders_init(&unasked);
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char target[TARGET_SIZE];

        (void)snprintf(target, sizeof(target), "%s" MISSING_PAGE "%s", gate->place.path,
                       endings[i]);
        if (!gate_ask(gate, &(struct question){ .target = target }, &reading))
            return;
        if (gate_was_passed(&reading))
            offenders_add(&unasked, target, reading.status);
    }
    if (unasked.count > 0)
        gate_tell(gate, FINDING_PROBLEM, "pages below are answered without the gate: %s\n%s",
                  offenders_text(&unasked), advice_below(gate));
    else
        gate_tell(gate, FINDING_OK, "pages below it are guarded, whatever they are called");
}

/* ---- other spellings ------------------------------------------------------------------------ */

enum spelling_way {
    PREFIX,  /* in front of the path */
    SUFFIX,  /* behind it */
    SLASH,   /* in place of its last slash */
    ESCAPED, /* in front of the two digits of a letter's code */
    UPPER,   /* all letters */
    WHOLE,   /* the absolute form, RFC 9112 section 3.2.2 */
};

/* `equivalent`: every server takes it for the same path. The others may be a path of their own. */
static const struct spelling {
    enum spelling_way way;
    const char *text;
    bool equivalent, capital;
} spellings[] = {
    { ESCAPED, "%", true, false },        { ESCAPED, "%", true, true },
    { PREFIX, "/", true, false },         { PREFIX, "/.", true, false },
    { PREFIX, "/x/..", true, false },     { PREFIX, "/%2e", true, false },
    { PREFIX, "/x/%2e%2e", true, false }, { PREFIX, "/%2E", true, false },
    { SLASH, "//", true, false },         { SLASH, "/./", true, false },
    { SUFFIX, "?x=1", true, false },      { WHOLE, "", true, false },
    { ESCAPED, "%25", false, false },     { SLASH, "%2F", false, false },
    { SLASH, "%2f", false, false },       { SLASH, "%5C", false, false },
    { SLASH, "\\", false, false },        { SLASH, "./", false, false },
    { SLASH, ";x/", false, false },       { SUFFIX, ".", false, false },
    { SUFFIX, "%00", false, false },      { SUFFIX, "%20", false, false },
    { SUFFIX, ";x", false, false },       { UPPER, "", false, false },
};

/* A letter whose code has a letter in it, if there is one, so that upper and lower case differ. */
static size_t
letter_to_escape(const char *path)
{
    size_t at = strcspn(path, "jklmnozJKLMNOZ");

    return path[at] != '\0' ? at : strcspn(path, "abcdefghipqrstuvwxyABCDEFGHIPQRSTUVWXY");
}

static bool
spell_escaped(const struct spelling *spelling, const char *path, struct buf *out)
{
    size_t at = letter_to_escape(path);

    if (path[at] == '\0')
        return false;
    buf_add_bytes(out, path, at);
    buf_add(out, spelling->text);
    if (spelling->capital)
        buf_add_format(out, "%02X", (unsigned)(unsigned char)path[at]);
    else
        buf_add_format(out, "%02x", (unsigned)(unsigned char)path[at]);
    buf_add(out, path + at + 1);
    return true;
}

static bool
spell_slash(const struct spelling *spelling, const char *path, struct buf *out)
{
    const char *slash = strrchr(path, '/');

    if (slash == path) /* the first one is what makes it a path */
        return false;
    buf_add_bytes(out, path, (size_t)(slash - path));
    buf_add(out, spelling->text);
    buf_add(out, slash + 1);
    return true;
}

static bool
spell_upper(const char *path, struct buf *out)
{
    bool changed = false;

    for (; *path != '\0'; path++) {
        buf_add_char(out, (char)toupper((unsigned char)*path));
        changed = changed || islower((unsigned char)*path);
    }
    return changed;
}

/* False: there is no such spelling of this path. */
static bool
spell(const struct gate *gate, const struct spelling *spelling, const char *path, struct buf *out)
{
    buf_clear(out);
    switch (spelling->way) {
    case PREFIX:
        buf_add(out, spelling->text);
        buf_add(out, path);
        break;
    case SUFFIX:
        buf_add(out, path);
        buf_add(out, spelling->text);
        break;
    case WHOLE:
        buf_add(out, gate->place.origin);
        buf_add(out, path);
        break;
    case SLASH:
        return spell_slash(spelling, path, out) && !buf_failed(out);
    case ESCAPED:
        return spell_escaped(spelling, path, out) && !buf_failed(out);
    case UPPER:
        return spell_upper(path, out) && !buf_failed(out);
    }
    return !buf_failed(out);
}

/* The page whose spellings are tried: one with a mark, where there is one. */
static void
page_to_spell(const struct gate *gate, char out[TARGET_SIZE])
{
    const struct trial *trial = gate->doctor->trial;

    if (trial != NULL && gate->below)
        (void)snprintf(out, TARGET_SIZE, "%s%s/%s", gate->place.path, trial_name(trial),
                       trial_pages[0].name);
    else
        (void)snprintf(out, TARGET_SIZE, "%s", gate->place.path);
}

/* What answers at the folder's name itself, such as a proxy's prefix. */
static void
check_without_slash(struct gate *gate)
{
    const char *path = gate->place.path;
    size_t length = strlen(path);
    char folder[TARGET_SIZE];
    struct reading reading;

    if (length < 2 || path[length - 1] != '/')
        return;
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(length - 1), path);
    if (gate_ask(gate, &(struct question){ .target = folder }, &reading) &&
        reading.kind == READING_OPEN && !gate_is_control(gate))
        gate_tell(gate, FINDING_PROBLEM, "is OPEN without the slash at its end: %s (%d)\n%s",
                  folder, reading.status, advice_slash(gate));
}

void
gate_check_paths(struct gate *gate)
{
    char page[TARGET_SIZE], storage[TARGET_SIZE + HTTP_ORIGIN_SIZE];
    struct offenders open, doubtful;
    struct reading reading;
    struct buf target;
    size_t asked = 0;

    offenders_init(&open);
    offenders_init(&doubtful);
    buf_init(&target, storage, sizeof(storage));
    check_without_slash(gate);
    page_to_spell(gate, page);
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        if (!spell(gate, &spellings[i], page, &target))
            continue;
        if (!gate_ask(gate, &(struct question){ .target = storage }, &reading))
            return;
        asked++;
        if (gate_mark_found(gate))
            offenders_add(&open, storage, reading.status);
        else if (reading.kind == READING_OPEN && !gate_is_control(gate))
            offenders_add(spellings[i].equivalent ? &open : &doubtful, storage, reading.status);
    }
    if (open.count > 0)
        gate_tell(gate, FINDING_PROBLEM, "is OPEN by other spellings of its path: %s\n%s",
                  offenders_text(&open), advice_paths(gate));
    if (doubtful.count > 0)
        gate_tell(gate, FINDING_WARNING,
                  "pages answer without the gate at addresses that look like this one: %s\nif one "
                  "of them is the guarded page: %s",
                  offenders_text(&doubtful), advice_paths(gate));
    if (open.count == 0 && doubtful.count == 0)
        gate_tell(gate, FINDING_OK, "is guarded under %zu other spellings of its path", asked);
}

/* ---- trial pages ---------------------------------------------------------------------------- */

static bool
ask_page(struct gate *gate, const char *before, const struct trial_page *page, const char *host,
         struct reading *out)
{
    char target[TARGET_SIZE];

    (void)snprintf(target, sizeof(target), "%s%s/%s", before, trial_name(gate->doctor->trial),
                   page->name);
    return gate_ask(gate, &(struct question){ .target = target, .headers = { host } }, out);
}

/* The pages as they are, and with each .htaccess that would open a gate that lets it. */
static void
check_pages(struct gate *gate)
{
    struct reading reading;
    size_t open = 0;

    for (size_t i = 0; i < trial_page_count; i++) {
        const struct trial_page *page = &trial_pages[i];

        if (!ask_page(gate, gate->place.path, page, NULL, &reading))
            return;
        if (!gate_mark_found(gate) && reading.kind != READING_OPEN)
            continue;
        open++;
        if (page->htaccess == NULL)
            gate_tell(gate, FINDING_PROBLEM, "%s in the folder is OPEN (%d)\n%s", page->what,
                      reading.status, advice_open(gate));
        else
            gate_tell(gate, FINDING_PROBLEM, "an .htaccess in the folder can open it (%d): %s\n%s",
                      reading.status, page->what, page->advice);
    }
    if (open == 0)
        gate_tell(gate, FINDING_OK,
                  "files and scripts in the folder are guarded, and no .htaccess opens it");
}

/* The same files by another way: an Alias, a document root, another virtual host. */
static void
check_other_ways(struct gate *gate)
{
    const struct trial *trial = gate->doctor->trial;
    const char *folder = trial_folder(trial);
    char before[TARGET_SIZE];
    struct offenders open;
    struct reading reading;

    offenders_init(&open);
    for (const char *slash = folder + strlen(folder); slash != NULL;
         slash = slash == folder ? NULL : memrchr(folder, '/', (size_t)(slash - folder))) {
        (void)snprintf(before, sizeof(before), "%s/", slash);
        if (!ask_page(gate, before, &trial_pages[0], NULL, &reading))
            return;
        if (gate_mark_found(gate) && strcmp(before, gate->place.path) != 0)
            offenders_add(&open, before, reading.status);
    }
    if (!ask_page(gate, gate->place.path, &trial_pages[0], "Host: spendgate-doctor.invalid",
                  &reading))
        return;
    if (gate_mark_found(gate))
        offenders_add(&open, "another Host header", reading.status);
    if (open.count > 0)
        gate_tell(gate, FINDING_PROBLEM,
                  "its files are OPEN by another way: %s\nguard that way as well, or move the "
                  "folder to where only the guarded address leads (Alias, document root, virtual "
                  "host)",
                  offenders_text(&open));
    else
        gate_tell(gate, FINDING_OK, "its files are not found by another way that was tried");
}

void
gate_check_trial(struct gate *gate)
{
    if (gate->doctor->trial == NULL || !gate->below)
        return;
    check_pages(gate);
    check_other_ways(gate);
}
