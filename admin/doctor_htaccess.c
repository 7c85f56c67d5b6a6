/* SPDX-License-Identifier: MIT */
/* spendgate doctor --folder: the .htaccess files that are there below it. Each folder that has one
 * is asked for: a single file deep down can open a part of what is guarded. */
#include "admin/doctor_gate.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/doctor_trial.h"

#include "common/banned.h"

#define DEPTH_MAX 12
#define FOLDERS_MAX 20000 /* looked into */
#define ASKED_MAX 200     /* of those that have the file */

struct walk {
    struct gate *gate;
    char below[TARGET_SIZE]; /* path of the folder in hand below --folder, escaped, with a final "/"
                              */
    size_t folders, asked, open;
    bool cut; /* not everything was looked at */
};

/* A name as a segment of a URL's path. */
static void
add_segment(const char *name, struct buf *out)
{
    for (; *name != '\0'; name++) {
        bool plain = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
                     (*name >= '0' && *name <= '9') || strchr("-._~", *name) != NULL;

        if (plain)
            buf_add_char(out, *name);
        else
            buf_add_format(out, "%%%02X", (unsigned)(unsigned char)*name);
    }
}

/* The folder itself, and a page in it that does not exist: its index may be missing. */
static void
ask_folder(struct walk *walk)
{
    static const char *const pages[] = { "", "spendgate-doctor-missing.txt" };
    struct gate *gate = walk->gate;
    char target[2 * TARGET_SIZE];
    struct reading reading;

    walk->asked++;
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        (void)snprintf(target, sizeof(target), "%s%s%s", gate->place.path, walk->below, pages[i]);
        if (!gate_ask(gate, &(struct question){ .target = target }, &reading))
            return;
        if (!gate_was_passed(&reading))
            continue;
        walk->open++;
        gate_tell(
            gate, FINDING_PROBLEM,
            "%s%s is OPEN (%d), through %s/%s.htaccess\nlook for `Satisfy', `Require', `Allow' "
            "and `Fcgid...' in that file; with the gate in a <Location> that says `Satisfy All' "
            "no .htaccess can do that",
            gate->place.path, walk->below, reading.status, trial_folder(gate->doctor->trial),
            walk->below);
        return;
    }
}

static void walk_folder(struct walk *walk, int folder, int depth);

static void
walk_entry(struct walk *walk, int folder, const char *name, int depth)
{
    size_t length = strlen(walk->below);
    struct buf below;
    struct stat st;
    int inner;

    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode) ||
        strcmp(name, trial_name(walk->gate->doctor->trial)) == 0)
        return;
    if (depth == DEPTH_MAX || walk->folders == FOLDERS_MAX) {
        walk->cut = true;
        return;
    }
    inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner < 0) {
        walk->cut = true;
        return;
    }
    buf_init(&below, walk->below + length, sizeof(walk->below) - length);
    add_segment(name, &below);
    buf_add_char(&below, '/');
    if (buf_failed(&below)) {
        walk->cut = true;
        close(inner);
    } else {
        walk_folder(walk, inner, depth + 1);
    }
    walk->below[length] = '\0';
}

/* Takes the descriptor. */
static void
walk_folder(struct walk *walk, int folder, int depth)
{
    DIR *entries = fdopendir(folder);
    const struct dirent *entry;
    struct stat st;

    if (entries == NULL) {
        close(folder);
        return;
    }
    walk->folders++;
    if (fstatat(folder, ".htaccess", &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (walk->asked < ASKED_MAX)
            ask_folder(walk);
        else
            walk->cut = true;
    }
    while ((entry = readdir(entries)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            walk_entry(walk, folder, entry->d_name, depth);
    }
    closedir(entries);
}

void
gate_check_htaccess(struct gate *gate)
{
    struct walk walk = { .gate = gate };
    int folder;

    if (gate->doctor->trial == NULL || !gate->below)
        return;
    folder = open(trial_folder(gate->doctor->trial), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        gate_tell(gate, FINDING_NOTE,
                  "%s cannot be read, so .htaccess files in it were not looked for: "
                  "%s",
                  trial_folder(gate->doctor->trial), strerror(errno));
        return;
    }
    walk_folder(&walk, folder, 0);
    if (walk.open == 0 && walk.asked > 0)
        gate_tell(gate, FINDING_OK, "%zu folder%s with an .htaccess of %s own %s guarded",
                  walk.asked, walk.asked == 1 ? "" : "s", walk.asked == 1 ? "its" : "their",
                  walk.asked == 1 ? "is" : "are");
    if (walk.cut)
        gate_tell(gate, FINDING_NOTE,
                  "not every folder below %s was looked at\ngive --folder and --url for the others",
                  trial_folder(gate->doctor->trial));
}
