/* SPDX-License-Identifier: MIT */
/* spendgate doctor: look at everything that can be wrong, and say what to do about it. */
#include "admin/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/doctor_config.h"
#include "admin/doctor_trial.h"
#include "admin/output.h"

#include "common/banned.h"

#define JSON_SIZE (8 * FINDING_SIZE)

/* ---- telling -------------------------------------------------------------------------------- */

static void
progress_end(struct doctor *doctor)
{
    if (doctor->progress)
        (void)fputs("\r\033[K", stderr);
    doctor->progress = false;
}

void
doctor_progress(struct doctor *doctor, const char *what)
{
    progress_end(doctor);
    if (isatty(STDERR_FILENO) != 1)
        return;
    (void)fputs("... ", stderr);
    print_text(stderr, what);
    doctor->progress = true;
}

static void
print_line(const struct finding *finding)
{
    printf("%-8s %-9s ", finding_level_name(finding->level), finding->subject);
    print_text(stdout, finding->text);
    (void)putchar('\n');
    if (finding->advice == NULL)
        return;
    (void)fputs("                   -> ", stdout);
    print_text(stdout, finding->advice);
    (void)putchar('\n');
}

static void
print_object(struct doctor *doctor, const struct finding *finding)
{
    char *storage = malloc(JSON_SIZE);
    struct buf json;

    if (storage == NULL) {
        doctor->failed = true;
        return;
    }
    buf_init(&json, storage, JSON_SIZE);
    buf_add(&json, "{\"level\":");
    buf_add_json_string(&json, finding_level_name(finding->level));
    buf_add(&json, ",\"check\":");
    buf_add_json_string(&json, finding->subject);
    buf_add(&json, ",\"text\":");
    buf_add_json_string(&json, finding->text);
    buf_add(&json, ",\"advice\":");
    buf_add_json_string(&json, finding->advice);
    buf_add_char(&json, '}');
    doctor->failed |= !print_json_item(&json, &doctor->any);
    free(storage);
}

static void
take_finding(void *context, const struct finding *finding)
{
    struct doctor *doctor = context;

    progress_end(doctor);
    doctor->found[finding->level]++;
    if (doctor->as_json)
        print_object(doctor, finding);
    else
        print_line(finding);
    (void)fflush(stdout); /* the next one may take its time */
}

static void
print_count(const char *before, size_t count, const char *one, const char *many)
{
    printf("%s%zu %s", before, count, count == 1 ? one : many);
}

static void
print_summary(const struct doctor *doctor)
{
    const size_t *found = doctor->found;

    if (doctor->as_json) {
        printf("\n],\"ok\":%zu,\"notes\":%zu,\"warnings\":%zu,\"problems\":%zu}\n",
               found[FINDING_OK], found[FINDING_NOTE], found[FINDING_WARNING],
               found[FINDING_PROBLEM]);
        return;
    }
    print_count("\n", found[FINDING_PROBLEM], "problem", "problems");
    print_count(", ", found[FINDING_WARNING], "warning", "warnings");
    print_count(", ", found[FINDING_NOTE], "note", "notes");
    printf(", %zu ok.\n", found[FINDING_OK]);
}

/* ---- asking --------------------------------------------------------------------------------- */

bool
doctor_ask(struct doctor *doctor, const struct http_call *call)
{
    struct error err;

    if (doctor->client == NULL && http_client_open(&doctor->client, &err) != STATUS_OK) {
        finding_tell(&doctor->sink, FINDING_PROBLEM, "doctor", "%s", err.message);
        return false;
    }
    if (doctor->answer == NULL)
        doctor->answer = malloc(sizeof(*doctor->answer));
    if (doctor->answer == NULL) {
        finding_tell(&doctor->sink, FINDING_PROBLEM, "doctor", "out of memory");
        return false;
    }
    http_call(doctor->client, call, doctor->answer);
    return true;
}

/* ---- the run -------------------------------------------------------------------------------- */

/* --url and the operands, all of which are addresses. */
static bool
check_arguments(const struct admin *admin)
{
    const char *url = admin->options[OPTION_URL];
    struct http_place place;
    struct error err;

    if (url == NULL && (admin->argument_count > 0 || command_has(admin, OPTION_FOLDER) ||
                        command_has(admin, OPTION_KEY_FILE))) {
        (void)command_usage(admin, "other addresses, --folder and --key-file go with --url");
        return false;
    }
    for (int i = -1; i < admin->argument_count && url != NULL; i++) {
        const char *text = i < 0 ? url : admin->arguments[i];

        if (http_place_parse(text, &place, &err) != STATUS_OK) {
            (void)command_usage(admin, "'%s' %s", text, err.message);
            return false;
        }
    }
    return true;
}

/* What has to be read or made as the user who runs this: root, maybe. */
static bool
prepare(struct doctor *doctor)
{
    struct admin *admin = doctor->admin;
    struct error err;

    if (command_has(admin, OPTION_KEY_FILE) &&
        secret_read_file(&doctor->key, admin->options[OPTION_KEY_FILE], &err) != STATUS_OK) {
        (void)command_usage(admin, "--key-file: %s", err.message);
        return false;
    }
    if (command_has(admin, OPTION_FOLDER) &&
        trial_open(admin->options[OPTION_FOLDER], &doctor->trial, &err) != STATUS_OK) {
        (void)command_usage(admin, "--folder: %s", err.message);
        return false;
    }
    return true;
}

static void
examine(struct doctor *doctor)
{
    struct admin *admin = doctor->admin;

    if (!doctor_settings(doctor))
        return;
    doctor_policy(doctor);
    doctor_store(doctor);
    doctor_files(doctor);
    doctor_clerk(doctor);
    /* before the requests: what they find is then told with the line that may be behind it */
    if (command_has(admin, OPTION_SERVER_CONFIG))
        (void)!config_examine(admin->options[OPTION_SERVER_CONFIG], &doctor->sink);
    if (!command_has(admin, OPTION_URL)) {
        finding_tell(&doctor->sink, FINDING_NOTE, "gate",
                     "whether your web server asks at all was not looked at\nspendgate doctor "
                     "--url http://.../ with an address that the gate is supposed to guard");
        return;
    }
    doctor_gate(doctor, admin->options[OPTION_URL]);
    for (int i = 0; i < admin->argument_count; i++)
        doctor_gate(doctor, admin->arguments[i]);
}

int
run_doctor(struct admin *admin)
{
    struct doctor doctor = { .admin = admin, .as_json = command_has(admin, OPTION_JSON) };
    int code = USAGE;

    doctor.sink = (struct finding_sink){ .take = take_finding, .context = &doctor };
    if (check_arguments(admin) && prepare(&doctor)) {
        if (doctor.as_json)
            (void)puts("{\"checks\":[");
        examine(&doctor);
        progress_end(&doctor);
        print_summary(&doctor);
        code = doctor.found[FINDING_PROBLEM] == 0 && !doctor.failed ? DONE : FAILED;
    }
    trial_close(doctor.trial);
    http_client_close(doctor.client);
    free(doctor.answer);
    secret_clear(&doctor.key);
    return code;
}
