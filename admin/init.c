/* SPDX-License-Identifier: MIT */
/*
 * spendgate init: the commented sample as settings file, the folders, and what to do next. Never
 * overwrites: what is there already is kept and told.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/command.h"
#include "admin/output.h"
#include "admin/sample_conf.h"

#include "common/banned.h"

#define SERVER_USER "www-data" /* Debian's Apache, lighttpd and nginx */

/* The folders that the sample names, each replaced by the one in `places`. */
#define SAMPLE_SETTINGS_FOLDER "/etc/spendgate"
#define SAMPLE_STORE_FOLDER "/var/lib/spendgate"
#define SAMPLE_RUN_FOLDER "/run/spendgate"

struct places {
    char file[FILE_PATH_SIZE]; /* the settings */
    char settings_folder[FILE_PATH_SIZE];
    char store_folder[FILE_PATH_SIZE];
    char run_folder[FILE_PATH_SIZE];
    const char *user; /* whom the folders are given to; NULL: whoever runs this */
    uid_t uid;
    gid_t gid;
};

/* Make `folder` and what leads to it. *made says whether the last part was missing. */
static bool
make_folders(const char *folder, mode_t mode, bool *made)
{
    char part[FILE_PATH_SIZE];

    *made = false;
    for (const char *slash = strchr(folder + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - folder), folder);
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            goto failed;
    }
    if (mkdir(folder, mode) == 0)
        *made = true;
    else if (errno != EEXIST)
        goto failed;
    return true;
failed:
    (void)command_fail("%s: %s", folder, strerror(errno));
    return false;
}

/* A folder of the servers: theirs, and closed to others. */
static bool
make_server_folder(const struct places *places, const char *folder)
{
    bool made;

    if (!make_folders(folder, 0750, &made))
        return false;
    if (!made) {
        printf("kept     %s\n", folder);
        return true;
    }
    if (places->user != NULL && chown(folder, places->uid, places->gid) != 0) {
        (void)command_fail("%s: %s", folder, strerror(errno));
        return false;
    }
    printf("made     %s%s%s\n", folder, places->user != NULL ? ", of user " : "",
           places->user != NULL ? places->user : "");
    return true;
}

/* Bytes of the sample at `line` that are left out: the "#" before what the sample only shows, where
 * init decides it (the places of the store and of the cache). */
static size_t
comment_mark(const char *c)
{
    static const char *const decided[] = { "#url = \"sqlite:", "#path = \"" };

    for (size_t i = 0; i < sizeof(decided) / sizeof(decided[0]); i++) {
        if (strncmp(c, decided[i], strlen(decided[i])) == 0)
            return 1;
    }
    return 0;
}

/* Write the folder that stands in for the sample's at `c`, if one begins there; returns the bytes
 * it replaces. */
static size_t
write_folder(FILE *out, const struct places *places, const char *c)
{
    const struct {
        const char *from, *to;
    } folders[] = {
        { SAMPLE_SETTINGS_FOLDER, places->settings_folder },
        { SAMPLE_STORE_FOLDER, places->store_folder },
        { SAMPLE_RUN_FOLDER, places->run_folder },
    };

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        size_t length = strlen(folders[i].from);

        if (strncmp(c, folders[i].from, length) == 0 && c[length] == '/') {
            (void)fputs(folders[i].to, out);
            return length;
        }
    }
    return 0;
}

/* False with errno set. */
static bool
write_sample(FILE *out, const struct places *places)
{
    for (const char *c = sample_conf; *c != '\0';) {
        size_t taken = comment_mark(c);

        if (taken == 0)
            taken = write_folder(out, places, c);
        if (taken == 0)
            (void)fputc(*c++, out);
        c += taken;
    }
    return fflush(out) == 0 && fsync(fileno(out)) == 0;
}

static int
write_settings(const struct places *places)
{
    int fd = open(places->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    FILE *out;
    bool ok;

    if (fd < 0 && errno == EEXIST) {
        printf("kept     %s\n", places->file);
        return DONE;
    }
    out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (out == NULL)
        return command_fail("%s: %s", places->file, strerror(errno));
    /* The servers read it through their group; only whoever owns it writes. */
    ok = (places->user == NULL || fchown(fd, (uid_t)-1, places->gid) == 0) &&
         write_sample(out, places);
    if (fclose(out) != 0 || !ok) {
        int problem = errno;

        (void)unlink(places->file); /* ours, and not whole */
        return command_fail("%s: %s", places->file, strerror(problem));
    }
    printf("wrote    %s\n", places->file);
    return DONE;
}

static bool
find_user(const struct admin *admin, struct places *places)
{
    const char *name = admin->options[OPTION_USER];
    const struct passwd *user;

    if (geteuid() != 0) {
        if (name != NULL)
            (void)command_usage(admin, "--user: only root can give folders to another user");
        return name == NULL;
    }
    user = getpwnam(name != NULL ? name : SERVER_USER);
    if (user == NULL && name != NULL) {
        (void)command_usage(admin, "--user: there is no user '%s'", name);
        return false;
    }
    if (user != NULL) {
        places->user = name != NULL ? name : SERVER_USER;
        places->uid = user->pw_uid;
        places->gid = user->pw_gid;
    }
    return true;
}

/* An absolute form of `path`, which need not exist. */
static bool
absolute(const char *path, char out[FILE_PATH_SIZE])
{
    char here[FILE_PATH_SIZE / 2];

    if (path[0] == '/')
        return text_copy(out, FILE_PATH_SIZE, path);
    if (getcwd(here, sizeof(here)) == NULL || strlen(path) >= sizeof(here))
        return false;
    (void)snprintf(out, FILE_PATH_SIZE, "%s/%s", here, path);
    return true;
}

static bool
find_places(const struct admin *admin, struct places *places)
{
    const char *environment = getenv("SPENDGATE_CONFIG");
    const char *file = admin->config != NULL                           ? admin->config
                       : environment != NULL && environment[0] != '\0' ? environment
                                                                       : NULL;
    char folder[FILE_PATH_SIZE - 32];
    char *slash;

    (void)snprintf(places->store_folder, FILE_PATH_SIZE, "%s/lib/spendgate", LOCALSTATEDIR);
    (void)snprintf(places->run_folder, FILE_PATH_SIZE, "%s", SAMPLE_RUN_FOLDER);
    if (command_has(admin, OPTION_DIR)) {
        char whole[FILE_PATH_SIZE];

        if (!absolute(admin->options[OPTION_DIR], whole) ||
            !text_copy(folder, sizeof(folder), whole))
            return false;
        (void)snprintf(places->store_folder, FILE_PATH_SIZE, "%s/store", folder);
        (void)snprintf(places->run_folder, FILE_PATH_SIZE, "%s/run", folder);
        (void)snprintf(places->file, FILE_PATH_SIZE, "%s/spendgate.conf", folder);
        if (admin->config != NULL && !absolute(admin->config, places->file))
            return false;
    } else if (!absolute(file != NULL ? file : SYSCONFDIR "/spendgate/spendgate.conf",
                         places->file)) {
        return false;
    }
    if (strpbrk(places->file, "\"\\$\n") != NULL ||
        strpbrk(places->store_folder, "\"\\$\n") != NULL)
        return false; /* would end, or change, a text in the settings */
    memcpy(places->settings_folder, places->file, sizeof(places->file));
    slash = strrchr(places->settings_folder, '/');
    slash[slash == places->settings_folder ? 1 : 0] = '\0';
    return true;
}

static void
print_next_steps(const struct places *places)
{
    const char *group = places->user != NULL ? places->user : NULL;

    printf("\nNext:\n"
           "  1. Put the Clerk secret key (sk_live_... or sk_test_...) into a file of its own:\n"
           "       (umask 027; cat > %s/clerk_secret_key)\n",
           places->settings_folder);
    if (group != NULL)
        printf("       chgrp %s %s/clerk_secret_key\n", group, places->settings_folder);
    printf("  2. Read %s and set the plans, budgets and routes.\n"
           "  3. Make a token for the pages that post what they cost, and add the line it prints:\n"
           "       spendgate token new\n"
           "  4. Check the settings, and make the store:\n"
           "       spendgate-authorizer --config %s --check-config\n"
           "       spendgate --config %s migrate\n"
           "  5. Add the snippet for your web server: see %s.\n",
           places->file, places->file, places->file, PKGDATADIR);
    if (strncmp(places->run_folder, "/run/", 5) == 0)
        printf("%s is empty after a reboot; have it made again with\n"
               "       echo 'd %s :0750 :%s :%s' > /etc/tmpfiles.d/spendgate.conf\n",
               places->run_folder, places->run_folder, group != NULL ? group : "USER",
               group != NULL ? group : "GROUP");
}

int
run_init(struct admin *admin)
{
    struct places *places = calloc(1, sizeof(*places));
    bool made;
    int code = USAGE;

    if (places == NULL)
        return command_fail("out of memory");
    if (!find_user(admin, places))
        goto out;
    if (!find_places(admin, places)) {
        code = command_usage(admin,
                             "a path is too long, or has a quote, backslash, dollar or line end");
        goto out;
    }
    code = FAILED;
    if (!make_folders(places->settings_folder, 0755, &made) || write_settings(places) != DONE ||
        !make_server_folder(places, places->store_folder) ||
        !make_server_folder(places, places->run_folder))
        goto out;
    print_next_steps(places);
    code = DONE;
out:
    free(places);
    return code;
}
