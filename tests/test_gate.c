/* SPDX-License-Identifier: MIT */
/* The plain CGI gate: which file a request gets, what never, and what that file is told. */
#include "authorizer/gate.h"

#include "tests/check.h"
#include "tests/scratch.h"

#include "common/banned.h"

/* Text that may be written to, as an environment's may. */
#define ENTRY(text) ((char[]){ text })

struct fixture {
    struct scratch scratch;
    struct settings *settings;
    struct gate_script script;
    struct error err;
};

static void
make_file(struct fixture *f, const char *name, mode_t mode)
{
    char path[128];

    scratch_write(&f->scratch, name, "#!/bin/sh\n");
    CHECK_INT(name, 0, chmod(scratch_path(&f->scratch, name, path), mode));
}

static void
make_folder(struct fixture *f, const char *name)
{
    char path[128];

    CHECK_INT(name, 0, mkdir(scratch_path(&f->scratch, name, path), 0755));
}

static void
make_link(struct fixture *f, const char *target, const char *name)
{
    char path[128];

    CHECK_INT(name, 0, symlink(target, scratch_path(&f->scratch, name, path)));
}

static void
set_up(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    scratch_open(&f->scratch);
    f->settings = calloc(1, sizeof(*f->settings));
    snprintf(f->settings->gate_root, FILE_PATH_SIZE, "%s/root", f->scratch.folder);
    f->settings->interpreter_count = 1;
    snprintf(f->settings->interpreters[0].suffix, sizeof(f->settings->interpreters[0].suffix),
             ".php");
    snprintf(f->settings->interpreters[0].command, FILE_PATH_SIZE, "/usr/bin/php-cgi");
    make_folder(f, "root");
    make_folder(f, "root/deep");
    make_folder(f, "outside");
    make_file(f, "root/run.cgi", 0755);
    make_file(f, "root/deep/page.php", 0644);
    make_file(f, "root/secret.txt", 0644);
    make_file(f, "outside/run.cgi", 0755);
}

static void
tear_down(struct fixture *f)
{
    free(f->settings);
    scratch_close(&f->scratch);
}

static void
check_found(struct fixture *f, const char *translated, const char *path, const char *want_file,
            const char *want_extra)
{
    const struct gate_target target = { .path = path, .translated = translated };
    char want[256];

    snprintf(want, sizeof(want), "%s/root/%s", f->scratch.folder, want_file);
    CHECK_STATUS(STATUS_OK, gate_find(f->settings, &target, &f->script, &f->err), &f->err);
    CHECK_STRING(path, want, f->script.file);
    CHECK_STRING(path, want_extra, f->script.extra);
}

static void
check_refused(struct fixture *f, const char *translated, const char *path, enum status want)
{
    const struct gate_target target = { .path = path, .translated = translated };

    CHECK_STATUS(want, gate_find(f->settings, &target, &f->script, &f->err), &f->err);
}

static void
test_file_below_the_root_is_found_by_path(void)
{
    struct fixture f;

    set_up(&f);
    check_found(&f, NULL, "/run.cgi", "run.cgi", "");
    CHECK_TRUE("runs itself", f.script.runner == NULL);
    check_found(&f, NULL, "/run.cgi/a/b", "run.cgi", "/a/b");
    check_found(&f, NULL, "/deep/page.php", "deep/page.php", "");
    CHECK_TRUE("interpreter", f.script.runner == &f.settings->interpreters[0]);
    tear_down(&f);
}

static void
test_file_that_the_server_found_is_taken_when_it_is_below_the_root(void)
{
    char translated[256];
    struct fixture f;

    set_up(&f);
    snprintf(translated, sizeof(translated), "%s/root/deep/page.php/x", f.scratch.folder);
    check_found(&f, translated, "/api/page.php/x", "deep/page.php", "/x");
    snprintf(translated, sizeof(translated), "%s/outside/run.cgi", f.scratch.folder);
    check_found(&f, translated, "/deep/page.php", "deep/page.php", "");
    check_refused(&f, translated, "/outside/run.cgi", STATUS_NOT_FOUND);
    snprintf(translated, sizeof(translated), "%s/root-other/run.cgi", f.scratch.folder);
    check_found(&f, translated, "/run.cgi", "run.cgi", "");
    tear_down(&f);
}

/* /cgi-bin/gate.cgi/deep/page.php must not be /api/deep/page.php by a name with another route. */
static void
test_file_with_a_url_is_found_by_that_url_only(void)
{
    char translated[256], served[256], elsewhere[256];
    struct gate_target target = { .path = "/deep/page.php", .translated = elsewhere };
    struct fixture f;

    set_up(&f);
    snprintf(elsewhere, sizeof(elsewhere), "%s/deep/page.php", f.scratch.folder);
    make_link(&f, ".", "link");
    make_link(&f, "root", "other-name");
    for (int i = 0; i < 6; i++) {
        const char *const folders[] = {
            "", "/root", "/link", "/other-name", "/outside", "/absent"
        };
        enum status want = i < 4 ? STATUS_NOT_FOUND : STATUS_OK;

        snprintf(served, sizeof(served), "%s%s", f.scratch.folder, folders[i]);
        target.document_root = served;
        target.context_root = NULL;
        CHECK_STATUS(want, gate_find(f.settings, &target, &f.script, &f.err), &f.err);
        target.document_root = "/absent";
        target.context_root = served;
        CHECK_STATUS(want, gate_find(f.settings, &target, &f.script, &f.err), &f.err);
    }
    target.document_root = f.scratch.folder;
    target.translated = translated;
    snprintf(translated, sizeof(translated), "%s/root/deep/page.php", f.scratch.folder);
    CHECK_STATUS(STATUS_OK, gate_find(f.settings, &target, &f.script, &f.err), &f.err);
    target.translated = NULL;
    CHECK_STATUS(STATUS_NOT_FOUND, gate_find(f.settings, &target, &f.script, &f.err), &f.err);
    snprintf(f.settings->gate_root, FILE_PATH_SIZE, "%s/absent-root", f.scratch.folder);
    CHECK_STATUS(STATUS_NOT_FOUND, gate_find(f.settings, &target, &f.script, &f.err), &f.err);
    tear_down(&f);
}

static void
test_nothing_leads_out_of_the_root(void)
{
    char absolute[256];
    struct fixture f;

    set_up(&f);
    snprintf(absolute, sizeof(absolute), "%s/outside/run.cgi", f.scratch.folder);
    make_link(&f, "../outside/run.cgi", "root/relative.cgi");
    make_link(&f, absolute, "root/absolute.cgi");
    make_link(&f, "../outside", "root/folder");
    make_link(&f, "run.cgi", "root/inside.cgi");
    check_refused(&f, NULL, "/../outside/run.cgi", STATUS_NOT_FOUND);
    check_refused(&f, NULL, "/deep/../../outside/run.cgi", STATUS_NOT_FOUND);
    check_refused(&f, NULL, "/deep/..", STATUS_NOT_FOUND);
    check_refused(&f, NULL, "/relative.cgi", STATUS_NOT_FOUND);
    check_refused(&f, NULL, "/absolute.cgi", STATUS_NOT_FOUND);
    check_refused(&f, NULL, "/folder/run.cgi", STATUS_NOT_FOUND);
    check_found(&f, NULL, "/inside.cgi", "run.cgi", "");
    tear_down(&f);
}

static void
test_nothing_there(void)
{
    struct fixture f;

    set_up(&f);
    check_refused(&f, NULL, "/absent", STATUS_NOT_FOUND);
    check_refused(&f, NULL, "/deep", STATUS_NOT_FOUND);
    check_refused(&f, NULL, "/", STATUS_NOT_FOUND);
    check_refused(&f, NULL, "", STATUS_NOT_FOUND);
    check_refused(&f, NULL, NULL, STATUS_NOT_FOUND);
    tear_down(&f);
}

static void
test_file_that_cannot_be_run(void)
{
    struct fixture f;

    set_up(&f);
    check_refused(&f, NULL, "/secret.txt", STATUS_CONFLICT);
    CHECK_TRUE("says why",
               strstr(f.err.message,
                      "is not executable, and gate { interpreter } has none for it") != NULL);
    tear_down(&f);
}

static void
test_root_has_to_be_set(void)
{
    struct fixture f;

    set_up(&f);
    snprintf(f.settings->gate_root, FILE_PATH_SIZE, "%s/absent", f.scratch.folder);
    check_refused(&f, NULL, "/run.cgi", STATUS_INVALID);
    f.settings->gate_root[0] = '\0';
    check_refused(&f, NULL, "/run.cgi", STATUS_INVALID);
    CHECK_STRING("message",
                 "started as plain CGI, but gate { root } is not set: set it, or use FastCGI",
                 f.err.message);
    tear_down(&f);
}

static void
test_environment_is_the_scripts_own(void)
{
    char *ours[] = { ENTRY("PATH=/bin"),
                     ENTRY("HTTP_X=1"),
                     ENTRY("CLERK_SECRET_KEY=sk"),
                     ENTRY("SPENDGATE_STORE_URL=postgresql://user:password@host/db"),
                     ENTRY("SPENDGATE_TRACKER_URL=http://127.0.0.1/track"),
                     ENTRY("SPENDGATE_SUBJECT=user_forged"),
                     ENTRY("REDIRECT_SPENDGATE_HOLD_ID=hld_forged"),
                     ENTRY("SPENDGATE_CLAIM_TIER=forged"),
                     ENTRY("REMOTE_USER=forged"),
                     ENTRY("REDIRECT_REMOTE_USER=forged"),
                     ENTRY("REDIRECT_STATUS=404"),
                     ENTRY("REDIRECT_URL=/api/run.cgi/a/b"),
                     ENTRY("REDIRECT_HANDLER=spendgate"),
                     ENTRY("PATH_INFO=/api/run.cgi/a/b"),
                     ENTRY("PATH_TRANSLATED=/x/run.cgi/a/b"),
                     ENTRY("SCRIPT_NAME=/cgi-bin/gate.cgi"),
                     ENTRY("SCRIPT_FILENAME=/usr/lib/cgi-bin/gate.cgi"),
                     NULL };
    static const char *const want[] = { "PATH=/bin",
                                        "HTTP_X=1",
                                        "SPENDGATE_TRACKER_URL=http://127.0.0.1/track",
                                        "REMOTE_USER=user_1",
                                        "SPENDGATE_ORG=",
                                        "SPENDGATE_WARN=a: b",
                                        "SCRIPT_NAME=/api/run.cgi",
                                        "SCRIPT_FILENAME=/root/run.cgi",
                                        "REDIRECT_STATUS=200",
                                        "PATH_INFO=/a/b" };
    struct gate_script script = { .file = "/root/run.cgi", .extra = "/a/b" };
    char *out[GATE_VARIABLES_MAX];
    char bytes[1024];
    struct buf storage;
    struct error err;

    buf_init(&storage, bytes, sizeof(bytes));
    CHECK_STATUS(
        STATUS_OK,
        gate_environment(&script, ours,
                         "Status: 200\r\nVariable-REMOTE_USER: user_1\r\n"
                         "Variable-SPENDGATE_ORG: \r\nVariable-SPENDGATE_WARN: a: b\r\n\r\n",
                         &storage, out, &err),
        &err);
    for (size_t i = 0; i < CHECK_COUNT(want); i++)
        CHECK_STRING("entry", want[i], out[i]);
    CHECK_TRUE("no more", out[CHECK_COUNT(want)] == NULL);
}

static void
test_environment_without_anything_behind_the_script(void)
{
    char *ours[] = { ENTRY("PATH_INFO=/api/run.cgi"), NULL };
    struct gate_script script = { .file = "/root/run.cgi" };
    char *out[GATE_VARIABLES_MAX];
    char bytes[256];
    struct buf storage;
    struct error err;

    buf_init(&storage, bytes, sizeof(bytes));
    CHECK_STATUS(STATUS_OK,
                 gate_environment(&script, ours, "Status: 200\r\n\r\n", &storage, out, &err), &err);
    CHECK_STRING("name", "SCRIPT_NAME=/api/run.cgi", out[0]);
    CHECK_STRING("status", "REDIRECT_STATUS=200", out[2]);
    CHECK_TRUE("no PATH_INFO", out[3] == NULL);
}

static void
test_environment_that_is_too_large_is_refused(void)
{
    static char *many[GATE_VARIABLES_MAX + 1];
    char entry[] = "A=b";
    struct gate_script script = { .file = "/root/run.cgi" };
    char *out[GATE_VARIABLES_MAX];
    char bytes[256];
    struct buf storage;
    struct error err;

    for (size_t i = 0; i < GATE_VARIABLES_MAX; i++)
        many[i] = entry;
    buf_init(&storage, bytes, sizeof(bytes));
    CHECK_STATUS(STATUS_OVERFLOW, gate_environment(&script, many, "", &storage, out, &err), &err);
    many[1] = NULL;
    buf_init(&storage, bytes, 20);
    CHECK_STATUS(STATUS_OVERFLOW, gate_environment(&script, many, "", &storage, out, &err), &err);
    CHECK_STRING("message", "gate: the environment is too large", err.message);
}

static void
test_script_that_cannot_be_started(void)
{
    char *environment[] = { NULL };
    struct fixture f;

    set_up(&f);
    snprintf(f.script.file, sizeof(f.script.file), "%s/root/secret.txt", f.scratch.folder);
    CHECK_STATUS(STATUS_IO, gate_run(&f.script, environment, &f.err), &f.err);
    CHECK_TRUE("message", strstr(f.err.message, "cannot be started") != NULL);
    tear_down(&f);
}

int
main(void)
{
    const struct check_test tests[] = {
        CHECK_TEST(test_file_below_the_root_is_found_by_path),
        CHECK_TEST(test_file_that_the_server_found_is_taken_when_it_is_below_the_root),
        CHECK_TEST(test_file_with_a_url_is_found_by_that_url_only),
        CHECK_TEST(test_nothing_leads_out_of_the_root),
        CHECK_TEST(test_nothing_there),
        CHECK_TEST(test_file_that_cannot_be_run),
        CHECK_TEST(test_root_has_to_be_set),
        CHECK_TEST(test_environment_is_the_scripts_own),
        CHECK_TEST(test_environment_without_anything_behind_the_script),
        CHECK_TEST(test_environment_that_is_too_large_is_refused),
        CHECK_TEST(test_script_that_cannot_be_started),
    };

    return check_main("gate", tests, CHECK_COUNT(tests));
}
