/* SPDX-License-Identifier: MIT */
/*
 * Runs every file of a corpus through a fuzz target, each in a process of its own, with the
 * ordinary compiler:
 *
 *     fuzz_json [FOLDER]      else $srcdir/fuzz/corpus/json, from the program's name
 *
 * Exit 1 when an input fails, when the corpus is empty, or when a target that tells its result
 * (fuzz_result) finds only inputs that are taken, or only inputs that are refused.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

#include "common/banned.h"

#define PATH_BYTES 4096
#define INPUT_BYTES_MAX (4 << 20)

/* How a child ends when its target told a result. */
enum { EXIT_ACCEPTED = 40, EXIT_REFUSED = 41, EXIT_UNREADABLE = 42 };

struct tally {
    unsigned passed, failed, accepted, refused;
};

static int child_exit; /* of the process of one input */

void
fuzz_note(bool accepted)
{
    child_exit = accepted ? EXIT_ACCEPTED : EXIT_REFUSED;
}

/* Exactly as many bytes as the file has, so that a sanitizer sees a read behind them. */
static uint8_t *
read_input(const char *path, size_t *size)
{
    uint8_t *storage = malloc(INPUT_BYTES_MAX + 1), *input = NULL;
    FILE *file = fopen(path, "rbe");

    if (storage != NULL && file != NULL) {
        *size = fread(storage, 1, INPUT_BYTES_MAX + 1, file);
        if (ferror(file) == 0 && *size <= INPUT_BYTES_MAX)
            input = malloc(*size > 0 ? *size : 1);
        if (input != NULL)
            memcpy(input, storage, *size);
    }
    if (file != NULL)
        (void)fclose(file);
    free(storage);
    return input;
}

static int
run_input(const char *path)
{
    size_t size = 0;
    uint8_t *input = read_input(path, &size);

    if (input == NULL)
        return EXIT_UNREADABLE;
    (void)LLVMFuzzerTestOneInput(input, size);
    free(input);
    return child_exit;
}

/* A result that the file's name contradicts. */
static bool
is_contradiction(const char *name, int code)
{
    return (code == EXIT_REFUSED && strncmp(name, "ok-", 3) == 0) ||
           (code == EXIT_ACCEPTED && strncmp(name, "bad-", 4) == 0);
}

static void
count_input(const char *folder, const char *name, struct tally *tally)
{
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof(path), "%s/%s", folder, name);
    int status = -1, code = -1;
    pid_t child;

    (void)fflush(stdout);
    child = fork();
    if (child == 0)
        exit(length < (int)sizeof(path) ? run_input(path) : EXIT_UNREADABLE);
    if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status))
        code = WEXITSTATUS(status);
    tally->accepted += code == EXIT_ACCEPTED;
    tally->refused += code == EXIT_REFUSED;
    if ((code == 0 || code == EXIT_ACCEPTED || code == EXIT_REFUSED) &&
        !is_contradiction(name, code)) {
        tally->passed++;
        return;
    }
    tally->failed++;
    printf("FAIL %s: %s (wait status 0x%x)\n", path,
           is_contradiction(name, code) ? "the name says otherwise" : "crashed or not readable",
           (unsigned)status);
}

static int
is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void
count_folder(const char *folder, struct tally *tally)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_input, alphasort);

    if (count <= 0) {
        printf("FAIL %s: no inputs\n", folder);
        tally->failed++;
    }
    for (int i = 0; i < count; i++) {
        count_input(folder, entries[i]->d_name, tally);
        free(entries[i]);
    }
    free(entries);
    if ((tally->accepted == 0) != (tally->refused == 0)) {
        printf("FAIL %s: no input that is %s\n", folder,
               tally->accepted == 0 ? "taken" : "refused");
        tally->failed++;
    }
}

int
main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/');
    const char *source = getenv("srcdir"); /* set by make check */
    char folder[PATH_BYTES];
    struct tally tally = { 0 };

    name = name != NULL ? name + 1 : argv[0];
    if (argc > 1)
        (void)snprintf(folder, sizeof(folder), "%s", argv[1]);
    else
        (void)snprintf(folder, sizeof(folder), "%s/fuzz/corpus/%s", source != NULL ? source : ".",
                       strncmp(name, "fuzz_", 5) == 0 ? name + 5 : name);
    count_folder(folder, &tally);
    printf("%s: %u passed, %u failed\n", name, tally.passed, tally.failed);
    return tally.failed == 0 ? 0 : 1;
}
