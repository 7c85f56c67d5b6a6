/* SPDX-License-Identifier: MIT */
/*
 * Run a program with what a systemd unit takes away from it, as far as that can be had without
 * systemd: its system calls and address families (seccomp), memory that is written and then run,
 * and its view of /proc.
 *
 *   sandbox SYSCALLS FAMILIES PROC UID GID PROGRAM [ARGUMENT...]
 *
 * SYSCALLS: a file with one name a line, whatever is not in it fails with EPERM. FAMILIES: numbers
 * with commas. PROC: mount options of a /proc of its own (needs root), or "". UID, GID: who runs
 * it, or "-".
 */
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

static void
need(bool done, const char *what)
{
    if (done)
        return;
    fprintf(stderr, "sandbox: %s: %s\n", what, strerror(errno));
    exit(126);
}

static void
allow_families(scmp_filter_ctx filter, char *families)
{
    for (char *at = strtok(families, ","); at != NULL; at = strtok(NULL, ","))
        need(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)atoi(at))) == 0,
             "socket");
}

static void
allow_calls(scmp_filter_ctx filter, const char *names)
{
    FILE *file = fopen(names, "r");
    char name[64];

    need(file != NULL, names);
    while (fscanf(file, "%63s", name) == 1) {
        int call = seccomp_syscall_resolve_name(name);

        /* names of other machines, and of kernels that are newer than the library */
        if (call == __NR_SCMP_ERROR || call < 0 || strcmp(name, "socket") == 0)
            continue;
        need(seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) == 0, name);
    }
    fclose(file);
}

int
main(int argc, char **argv)
{
    scmp_filter_ctx filter;

    if (argc < 7)
        return 125;
    if (argv[3][0] != '\0') {
        need(unshare(CLONE_NEWNS) == 0, "unshare");
        need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "mount /");
        need(mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, argv[3]) == 0,
             "mount /proc");
    }
    umask(0077);
    if (strcmp(argv[4], "-") != 0) {
        gid_t gid = (gid_t)atol(argv[5]);

        need(setgroups(1, &gid) == 0 && setgid(gid) == 0 && setuid((uid_t)atol(argv[4])) == 0,
             "user");
    }
    need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    (void)prctl(PR_SET_MDWE, 1, 0, 0, 0); /* Linux 6.3 */
    filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    need(filter != NULL, "seccomp");
    allow_families(filter, argv[2]);
    allow_calls(filter, argv[1]);
    need(seccomp_load(filter) == 0, "seccomp_load");
    execv(argv[6], argv + 6);
    need(false, argv[6]);
}
