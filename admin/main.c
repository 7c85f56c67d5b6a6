/* SPDX-License-Identifier: MIT */
/* `spendgate`, the operator's command: finds the sub-command and runs it. */
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/command.h"

#include "common/banned.h"

static void
print_commands(const char *group)
{
    for (size_t i = 0; i < command_count; i++) {
        const struct command *command = &commands[i];
        char name[80];

        if (group != NULL && strcmp(command->group, group) != 0)
            continue;
        (void)snprintf(name, sizeof(name), "%s%s%s", command->group,
                       command->verb != NULL ? " " : "",
                       command->verb != NULL ? command->verb : "");
        printf("  %-17s  %s\n", name, command->summary);
    }
}

static void
print_help(void)
{
    (void)fputs("Usage: spendgate [--config=FILE] COMMAND [ARGUMENT]...\n"
                "Look after the accounts, budgets and charges of Spendgate.\n\n"
                "  --config=FILE  settings; else $SPENDGATE_CONFIG, else\n"
                "                 " SYSCONFDIR "/spendgate/spendgate.conf\n"
                "  --help         show this help and exit\n"
                "  --version      show the version and exit\n\n"
                "Commands:\n",
                stdout);
    print_commands(NULL);
    (void)fputs("\n'spendgate help COMMAND' tells more about one.\n"
                "Exit codes: 0 done; 1 the answer is no, or it failed; 2 usage or settings.\n",
                stdout);
}

static void
print_version(void)
{
    (void)fputs("spendgate " PACKAGE_VERSION "\n"
                "License MIT. There is NO WARRANTY, to the extent permitted by law.\n",
                stdout);
}

static bool
group_exists(const char *group)
{
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(commands[i].group, group) == 0)
            return true;
    }
    return false;
}

static const struct command *
find_command(const char *group, const char *verb)
{
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(commands[i].group, group) != 0)
            continue;
        if (commands[i].verb == NULL || (verb != NULL && strcmp(commands[i].verb, verb) == 0))
            return &commands[i];
    }
    return NULL;
}

static int
usage_error(const char *problem, const char *word)
{
    (void)fprintf(stderr, "spendgate: %s%s%s%s\nTry 'spendgate --help' for more information.\n",
                  problem, word != NULL ? " '" : "", word != NULL ? word : "",
                  word != NULL ? "'" : "");
    return USAGE;
}

/* `spendgate help [GROUP [VERB]]` */
static int
run_help(int argc, char **argv)
{
    const struct command *command;

    if (argc < 2) {
        print_help();
        return DONE;
    }
    if (!group_exists(argv[1]))
        return usage_error("no command", argv[1]);
    command = find_command(argv[1], argc > 2 ? argv[2] : NULL);
    if (command != NULL)
        command_help(command);
    else
        print_commands(argv[1]);
    return DONE;
}

/* argv[0] is the name of the group. */
static int
run_group(struct admin *admin, int argc, char **argv)
{
    const struct command *command;

    if (strcmp(argv[0], "help") == 0)
        return run_help(argc, argv);
    if (!group_exists(argv[0]))
        return usage_error("no command", argv[0]);
    if (argc > 1 && strcmp(argv[1], "--help") == 0 && find_command(argv[0], NULL) == NULL)
        return run_help(2, (char *[]){ NULL, argv[0] });
    command = find_command(argv[0], argc > 1 ? argv[1] : NULL);
    if (command == NULL) {
        (void)fprintf(stderr, "spendgate: %s what?\n", argv[0]);
        for (size_t i = 0; i < command_count; i++) {
            if (strcmp(commands[i].group, argv[0]) == 0)
                (void)fprintf(stderr, "  spendgate %s %s %s\n", argv[0], commands[i].verb,
                              commands[i].arguments);
        }
        return USAGE;
    }
    if (command->verb != NULL)
        argc--, argv++;
    return command_run(admin, command, argc, argv);
}

static int
run(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    struct admin admin = { 0 };
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            admin.config = optarg;
            break;
        case 'h':
            print_help();
            return DONE;
        case 'V':
            print_version();
            return DONE;
        case ':':
            return usage_error("option requires an argument:", argv[optind - 1]);
        default:
            return usage_error("unrecognized option", argv[optind - 1]);
        }
    }
    if (optind == argc)
        return usage_error("a command is wanted", NULL);
    return run_group(&admin, argc - optind, argv + optind);
}

int
main(int argc, char **argv)
{
    int code;

    (void)setlocale(LC_CTYPE, "");
    code = run(argc, argv);
    /* A full disk or a closed pipe must not look like success. */
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        perror("spendgate: standard output");
        return FAILED;
    }
    return code;
}
