/* SPDX-License-Identifier: MIT */
/* The table of commands, and what they share; see command.h. */
#include "admin/command.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/output.h"
#include "common/clock.h"
#include "common/money.h"

#include "common/banned.h"

const struct option_text option_texts[OPTION_COUNT] = {
    [OPTION_JSON] = { "json", NULL, "print JSON" },
    [OPTION_CSV] = { "csv", NULL, "print CSV" },
    [OPTION_NOTE] = { "note", "TEXT", "why; kept in the journal with who you are" },
    [OPTION_ROLE] = { "role", "ROLE", "post (default), read or admin" },
    [OPTION_NAME] = { "name", "NAME", "what the token is called in the settings and the journal" },
    [OPTION_ACCOUNT] = { "account", "ACCOUNT", "only what counts on this account" },
    [OPTION_SUBJECT] = { "subject", "SUBJECT", "the subject who asks" },
    [OPTION_KEY_ID] = { "key-id", "ID", "the key that is used, ak_..." },
    [OPTION_ORG] = { "org", "ORG", "the organization of the caller, org_..." },
    [OPTION_PARENT] = { "parent", "ACCOUNT", "the parent that a claim names" },
    [OPTION_SCOPES] = { "scopes", "LIST", "the credential's own, where key_scopes counts them" },
    [OPTION_PATH] = { "path", "PATH", "the path that is asked for, /api/chat" },
    [OPTION_ROUTE] = { "route", "ROUTE", "only this route" },
    [OPTION_PLAN] = { "plan", "PLAN", "this plan, not the one last seen or the default" },
    [OPTION_MODEL] = { "model", "MODEL", "only this model" },
    [OPTION_STATE] = { "state", "STATE", "held (default), settled, voided or expired" },
    [OPTION_BY] = { "by", "WHAT", "account (default), key, route, model or day" },
    [OPTION_FROM] = { "from", "TIME",
                      "from this time on: RFC 3339, 2026-11-01, or 7d for 7 days ago" },
    [OPTION_TO] = { "to", "TIME", "before this time, in the same forms" },
    [OPTION_LIMIT] = { "limit", "N", "at most so many entries" },
    [OPTION_PERIOD] = { "period", "PERIOD", "hour, day, week, month, year or none" },
    [OPTION_UNTIL] = { "until", "TIME",
                       "RFC 3339, 2027-01-01, or 30d from now; for renew also never" },
    [OPTION_ENFORCE] = { "enforce", "HOW", "hard, warn or off" },
    [OPTION_CLEAR] = { "clear", NULL, "take the parent away" },
    [OPTION_OLDER_THAN] = { "older-than", "AGE",
                            "also settled holds and past periods older than this, 400d" },
    [OPTION_DIR] = { "dir", "FOLDER", "put settings, store and cache into this folder" },
    [OPTION_URL] = { "url", "URL", "an address that the gate is supposed to guard" },
    [OPTION_KEY_FILE] = { "key-file", "FILE", "a credential for a request that is allowed" },
    [OPTION_FOLDER] = { "folder", "FOLDER",
                        "the folder whose files --url serves; trial pages go there meanwhile" },
    [OPTION_PROVIDER] = { "provider", "NAME", "only this provider" },
    [OPTION_HISTORY] = { "history", NULL, "every version, also those of the past and the future" },
    [OPTION_DRY_RUN] = { "dry-run", NULL, "tell what would be done, and do nothing" },
    [OPTION_SERVER_CONFIG] = { "server-config", "FILE",
                               "the web server's main file: look for lines that open a gate" },
    [OPTION_USER] = { "user", "USER", "whom the servers run as (run as root: www-data)" },
};

#define CHANGE (WITH(NOTE) | WITH(JSON))

const struct command commands[] = {
    { "init", NULL, "", 0, 0, WITH(DIR) | WITH(USER), NEED_NOTHING, run_init,
      "write commented settings and make the folders",
      "Nothing that is there already is overwritten. The settings go to --config, else to --dir, "
      "else to\n"
      "the place where the programs look for them. Says what to do next." },
    { "migrate", NULL, "", 0, 0, WITH(JSON), NEED_SETTINGS, run_migrate,
      "make the store, or bring its schema up to date", NULL },
    { "doctor", NULL, "[URL]...", 0, 99,
      WITH(URL) | WITH(KEY_FILE) | WITH(FOLDER) | WITH(SERVER_CONFIG) | WITH(JSON), NEED_NOTHING,
      run_doctor, "look for whatever is wrong, and say what to do about it",
      "Settings, store, files, Clerk and clocks; with --url also the web server in front, by "
      "requests that\n"
      "must not pass. More URLs are more ways to the same pages. Exits 1 when there is a "
      "problem." },
    { "token", "new", "[NAME]", 0, 1, WITH(ROLE) | WITH(NAME) | WITH(JSON), NEED_NOTHING,
      run_token_new, "make a token for the tracker, and the settings line with its digest",
      "The token is shown once. The settings hold its SHA-256 only." },
    { "account", "list", "", 0, 0, WITH(JSON) | WITH(LIMIT), NEED_STORE, run_account_list,
      "list the accounts with their tightest budget", NULL },
    { "account", "show", "ACCOUNT", 1, 1, WITH(JSON), NEED_STORE, run_account_show,
      "show one account and all its budgets", NULL },
    { "account", "freeze", "ACCOUNT", 1, 1, CHANGE, NEED_NEW_STORE, run_account_change,
      "refuse every request of it from now on (403 frozen)",
      "An account that has not been seen yet is made." },
    { "account", "unfreeze", "ACCOUNT", 1, 1, CHANGE, NEED_STORE, run_account_change,
      "lift a freeze", NULL },
    { "account", "revoke", "ACCOUNT", 1, 1, CHANGE, NEED_NEW_STORE, run_account_change,
      "refuse its credentials from now on (401), whatever Clerk says",
      "ACCOUNT is usually key:<id>, for one API key. One that has not been seen yet is made." },
    { "account", "unrevoke", "ACCOUNT", 1, 1, CHANGE, NEED_STORE, run_account_change,
      "lift a revocation", NULL },
    { "account", "reverify", "ACCOUNT", 1, 1, CHANGE, NEED_STORE, run_account_change,
      "make the next request ask Clerk again", NULL },
    { "account", "renew", "ACCOUNT", 1, 1, CHANGE | WITH(UNTIL), NEED_STORE, run_account_renew,
      "move the time at which it expires (--until)", NULL },
    { "account", "parent", "ACCOUNT [PARENT]", 1, 2, CHANGE | WITH(CLEAR), NEED_STORE,
      run_account_parent, "count its spending on a parent account as well",
      "The parent's budgets then hold for this account too. --clear takes the parent away." },
    { "account", "plan", "ACCOUNT PLAN", 2, 2, CHANGE, NEED_STORE, run_account_plan,
      "note a plan for display and for holds placed without a request",
      "A request is judged by the plan of its own credential, which this does not change." },
    { "budget", "set", "ACCOUNT PERIOD USD", 3, 3, CHANGE | WITH(ENFORCE), NEED_STORE,
      run_budget_set, "set a limit by hand",
      "It holds for every budget of that kind of period until `budget clear'. PERIOD is hour, day, "
      "week,\n"
      "month, year or none." },
    { "budget", "clear", "ACCOUNT PERIOD", 2, 2, CHANGE, NEED_STORE, run_budget_clear,
      "return a budget to the plan's limit", NULL },
    { "budget", "topup", "ACCOUNT USD", 2, 2, CHANGE | WITH(PERIOD) | WITH(UNTIL), NEED_STORE,
      run_budget_credit, "add money to a budget's current period",
      "Of period none: for good. --period may be left out where the account has one budget." },
    { "budget", "boost", "ACCOUNT USD", 2, 2, CHANGE | WITH(PERIOD) | WITH(UNTIL), NEED_STORE,
      run_budget_credit, "raise a budget until a time, in every period until then (--until)",
      NULL },
    { "hold", "list", "", 0, 0, WITH(JSON) | WITH(ACCOUNT) | WITH(STATE) | WITH(LIMIT), NEED_STORE,
      run_hold_list, "list holds, newest first", NULL },
    { "hold", "void", "HOLD_ID", 1, 1, CHANGE, NEED_STORE, run_hold_void,
      "give back what a hold set aside", NULL },
    { "charge", "list", "", 0, 0,
      WITH(JSON) | WITH(CSV) | WITH(ACCOUNT) | WITH(KEY_ID) | WITH(ROUTE) | WITH(MODEL) |
          WITH(FROM) | WITH(TO) | WITH(LIMIT),
      NEED_STORE, run_charge_list, "list charges, newest first", NULL },
    { "charge", "refund", "CHARGE_ID [USD]", 1, 2, CHANGE, NEED_STORE, run_charge_refund,
      "take back a charge, or a part of it",
      "A correcting row in the charge's own periods; without USD, all that is left of it." },
    { "price", "import", "FILE", 1, 1, CHANGE | WITH(FROM) | WITH(DRY_RUN), NEED_NEW_STORE,
      run_price_import, "read prices of models: our CSV, or LiteLLM's JSON file",
      "FILE may be - for standard input. A price that changed is a new version, from --from (now) "
      "on; what\n"
      "is the same changes nothing. Tells what was left out, and why." },
    { "price", "list", "", 0, 0, WITH(JSON) | WITH(MODEL) | WITH(PROVIDER) | WITH(HISTORY),
      NEED_STORE, run_price_list, "list the prices in force", NULL },
    { "report", NULL, "", 0, 0,
      WITH(BY) | WITH(FROM) | WITH(TO) | WITH(LIMIT) | WITH(JSON) | WITH(CSV), NEED_STORE,
      run_report, "sum up what was spent (since the first of the month, UTC)",
      "With bars in a terminal. Refunds count in the time they were posted." },
    { "verify", NULL, "", 0, 0, WITH(JSON), NEED_STORE, run_verify,
      "recompute every balance from its journal (I1 to I8)",
      "Tells every difference and exits 1 if there is one." },
    { "explain", NULL, "", 0, 0,
      WITH(SUBJECT) | WITH(KEY_ID) | WITH(ORG) | WITH(PARENT) | WITH(SCOPES) | WITH(PATH) |
          WITH(PLAN) | WITH(JSON),
      NEED_STORE, run_explain, "every rule and number behind the answer to a request",
      "The request need not have happened, and nothing is recorded. Give --path and --subject or "
      "--key-id.\n"
      "The credential is taken as verified. Exits 0 for an allow and 1 for a denial." },
    { "spool", "replay", "DIR", 1, 1, WITH(JSON), NEED_SETTINGS, run_spool_replay,
      "record the posts that clients could not deliver",
      "Each counts once, however often and from how many places this is run. What cannot be "
      "recorded is kept,\n"
      "and the exit code is 1." },
    { "dump", NULL, "[FILE]", 0, 1, 0, NEED_SETTINGS, run_dump,
      "write every row of the store, to move it or to keep it",
      "Lines of JSON in one consistent state, to standard output or to a new FILE. What programs "
      "record\n"
      "later is not in it: stop them first to move the store." },
    { "load", NULL, "[FILE]", 0, 1, WITH(JSON), NEED_NEW_STORE_LATER, run_load,
      "fill an empty store from a dump, all of it or nothing",
      "From FILE or standard input. With PostgreSQL, after `spendgate migrate' and like it as the "
      "owner of\n"
      "the schema. Afterwards run `spendgate verify'." },
    { "import", "agentkey", "URL", 1, 1, WITH(PLAN) | WITH(DRY_RUN) | WITH(NOTE) | WITH(JSON),
      NEED_SETTINGS, run_import_agentkey, "take over budgets from an agentkey-clerk database",
      "Reads table sdk_api_keys at URL, postgresql://USER@HOST/DATABASE, and writes nothing there. "
      "Tells what\n"
      "could not be carried over. Safe to run again: what was used meanwhile is then added." },
    { "prune", NULL, "", 0, 0, WITH(OLDER_THAN) | WITH(JSON), NEED_STORE, run_prune,
      "remove what is past its promised time",
      "Idempotency keys, delivered events and the like; with --older-than also settled holds and "
      "past\n"
      "periods. Never a charge whose period is kept." },
    { "clerk", "sync", "", 0, 0, WITH(NOTE) | WITH(JSON), NEED_STORE, run_clerk_sync,
      "learn names and expiry of the known subjects' API keys, refuse what was revoked",
      "Lists the keys of every subject at Clerk, within this host's quota, and waits where Clerk "
      "asks "
      "for it.\n"
      "A key that was revoked there is revoked here; one that is not listed any more is verified "
      "again at its\n"
      "next request. What was broken off goes on where it stopped." },
    { "cache", "purge", "", 0, 0, WITH(JSON), NEED_SETTINGS, run_cache_purge,
      "forget what this host knows of credentials, so that Clerk is asked again",
      "Also its key set, and failed attempts. The quota of calls to Clerk is not given back. On "
      "every\n"
      "host: `spendgate account reverify all'." },
};
const size_t command_count = sizeof(commands) / sizeof(commands[0]);

/* ---- failing -------------------------------------------------------------------------------- */

static void print_problem(const char *format, va_list arguments)
    __attribute__((format(printf, 1, 0)));

static void
print_problem(const char *format, va_list arguments)
{
    char line[1024];

    (void)vsnprintf(line, sizeof(line), format, arguments);
    (void)fflush(stdout);
    (void)fputs("spendgate: ", stderr);
    print_text(stderr, line);
    (void)fputc('\n', stderr);
}

int
command_fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_problem(format, arguments);
    va_end(arguments);
    return FAILED;
}

static void
print_command_name(FILE *out, const struct command *command)
{
    (void)fprintf(out, "spendgate %s%s%s", command->group, command->verb != NULL ? " " : "",
                  command->verb != NULL ? command->verb : "");
}

int
command_usage(const struct admin *admin, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_problem(format, arguments);
    va_end(arguments);
    (void)fputs("Try '", stderr);
    print_command_name(stderr, admin->command);
    (void)fputs(" --help' for more information.\n", stderr);
    return USAGE;
}

int
command_error(const struct error *err)
{
    return command_fail("%s", err->message);
}

int
command_outcome(const struct result *result, const char *name)
{
    switch (result->outcome) {
    case OUTCOME_UNKNOWN_ACCOUNT:
        return command_fail("no account %s: see `spendgate account list'", name);
    case OUTCOME_UNKNOWN_HOLD:
        return command_fail("no hold %s: see `spendgate hold list'", name);
    case OUTCOME_UNKNOWN_CHARGE:
        return command_fail("no charge %s: see `spendgate charge list'", name);
    case OUTCOME_UNKNOWN_BUDGET:
        return command_fail("%s has no budget of that period, or several and none was named: see "
                            "`spendgate account show %s'",
                            name, name);
    case OUTCOME_HOLD_SETTLED:
        return command_fail("%s is settled: refund its charge instead", name);
    case OUTCOME_HOLD_VOIDED:
        return command_fail("%s is voided already", name);
    case OUTCOME_REFUND_EXCEEDS:
        return command_fail("%s: the refunds of a charge cannot be more than the charge", name);
    default:
        return command_fail("%s: the store did not make the change (outcome %d)", name,
                            (int)result->outcome);
    }
}

/* ---- help ----------------------------------------------------------------------------------- */

void
command_help(const struct command *command)
{
    (void)fputs("Usage: ", stdout);
    print_command_name(stdout, command);
    printf("%s%s [OPTION]...\n%c%s.\n", command->arguments[0] != '\0' ? " " : "",
           command->arguments, command->summary[0] - 'a' + 'A', command->summary + 1);
    if (command->detail != NULL)
        printf("%s\n", command->detail);
    (void)putchar('\n');
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char name[40];

        if ((command->options & UINT64_C(1) << i) == 0)
            continue;
        (void)snprintf(name, sizeof(name), "--%s%s%s", option_texts[i].name,
                       option_texts[i].argument != NULL ? "=" : "",
                       option_texts[i].argument != NULL ? option_texts[i].argument : "");
        printf("  %-20s  %s\n", name, option_texts[i].help);
    }
    printf("  %-20s  %s\n", "--help", "show this help and exit");
}

/* ---- arguments ------------------------------------------------------------------------------ */

/* The values of options are their places behind this one, above any letter. */
#define GETOPT_OPTIONS 256
_Static_assert(OPTION_COUNT < 64, "the mask of a command's options has 64 bits");
#define GETOPT_HELP 1000
#define GETOPT_CONFIG 1001

static void
list_options(const struct command *command, struct option out[OPTION_COUNT + 3])
{
    size_t count = 0;

    for (int i = 0; i < OPTION_COUNT; i++) {
        if ((command->options & UINT64_C(1) << i) == 0)
            continue;
        out[count++] = (struct option){
            .name = option_texts[i].name,
            .has_arg = option_texts[i].argument != NULL ? required_argument : no_argument,
            .val = GETOPT_OPTIONS + i,
        };
    }
    out[count++] = (struct option){ .name = "help", .val = GETOPT_HELP };
    out[count++] = (struct option){ "config", required_argument, NULL, GETOPT_CONFIG };
    out[count] = (struct option){ .name = NULL };
}

bool
command_has(const struct admin *admin, enum option_name option)
{
    return admin->options[option] != NULL;
}

bool
command_money(const struct admin *admin, const char *text, int64_t *nanos)
{
    if (money_parse_usd(text, nanos))
        return true;
    (void)command_usage(admin, "'%s' is no amount: dollars like 12.50 are wanted", text);
    return false;
}

bool
command_period(const struct admin *admin, const char *text, enum period_kind *out)
{
    if (period_kind_parse(text, out))
        return true;
    (void)command_usage(admin, "'%s' is no period: hour, day, week, month, year or none is wanted",
                        text);
    return false;
}

bool
command_account_name(const struct admin *admin, const char *text)
{
    if (account_name_valid(text))
        return true;
    (void)command_usage(admin,
                        "'%s' is no account name: something like user_..., org_..., "
                        "key:ak_..., group:... or all is wanted",
                        text);
    return false;
}

/* An operand by what its help calls it, so that a mistake is told before anything is opened. */
static bool
check_operand(const struct admin *admin, const char *word, size_t length, const char *text)
{
    enum period_kind period;
    int64_t nanos;

    if (length == 7 && strncmp(word, "ACCOUNT", length) == 0)
        return command_account_name(admin, text);
    if (length == 6 && strncmp(word, "PARENT", length) == 0)
        return command_account_name(admin, text);
    if (length == 6 && strncmp(word, "PERIOD", length) == 0)
        return command_period(admin, text, &period);
    if (length == 3 && strncmp(word, "USD", length) == 0)
        return command_money(admin, text, &nanos);
    return true;
}

static bool
check_operands(const struct admin *admin)
{
    const char *word = admin->command->arguments;

    for (int i = 0; i < admin->argument_count; i++) {
        size_t length;

        word += strspn(word, " [");
        length = strcspn(word, " ]");
        if (!check_operand(admin, word, length, admin->arguments[i]))
            return false;
        word += length + strspn(word + length, "]");
    }
    return true;
}

/* A note that one store kept and another refused could not be moved between them. */
static bool
check_note(const struct admin *admin)
{
    const char *note = admin->options[OPTION_NOTE];
    size_t length = note != NULL ? strlen(note) : 0, bytes;

    if (length >= TEXT_FIELD_SIZE) {
        (void)command_usage(admin, "--note: longer than %d bytes", TEXT_FIELD_SIZE - 1);
        return false;
    }
    for (; length > 0; note += bytes, length -= bytes) {
        bytes = text_utf8_length(note, length);
        if (bytes == 0) {
            (void)command_usage(admin, "--note: is not UTF-8");
            return false;
        }
    }
    return true;
}

/* Fill admin->options and ->arguments. DONE, USAGE, or -1 after --help. */
static int
parse_arguments(struct admin *admin, int argc, char **argv)
{
    struct option options[OPTION_COUNT + 3];
    int option;

    list_options(admin->command, options);
    optind = 0; /* GNU: begin anew */
    opterr = 0; /* getopt would name the program wrongly */
    while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (option == GETOPT_HELP) {
            command_help(admin->command);
            return -1;
        }
        if (option == ':')
            return command_usage(admin, "option '%s' requires an argument", argv[optind - 1]);
        if (option == '?' && optopt > ' ' && optopt < GETOPT_OPTIONS) /* none has one letter */
            return command_usage(admin, "invalid option -- '%c'", optopt);
        if (option == '?')
            return command_usage(admin, "unrecognized option '%s'", argv[optind - 1]);
        if (option == GETOPT_CONFIG) /* belongs before the command; forgiven behind it */
            admin->config = optarg;
        else
            admin->options[option - GETOPT_OPTIONS] = optarg != NULL ? optarg : "";
    }
    admin->argument_count = argc - optind;
    admin->arguments = argv + optind;
    if (admin->argument_count < admin->command->arguments_min)
        return command_usage(admin, "missing operand: %s is wanted", admin->command->arguments);
    if (admin->argument_count > admin->command->arguments_max)
        return command_usage(admin, "extra operand '%s'",
                             admin->arguments[admin->command->arguments_max]);
    return check_note(admin) && check_operands(admin) ? DONE : USAGE;
}

bool
command_time(const struct admin *admin, const char *text, int direction, int64_t *out)
{
    char start[64];
    int64_t duration_us;

    if (text_to_time_us(text, out))
        return true;
    if (strlen(text) == 10) {
        (void)snprintf(start, sizeof(start), "%sT00:00:00Z", text);
        if (text_to_time_us(start, out))
            return true;
    }
    if (settings_parse_duration(text, &duration_us) &&
        !__builtin_add_overflow(admin->now_us, direction * duration_us, out) && *out >= 0)
        return true;
    (void)command_usage(admin, "'%s' is no time: 2026-11-21T12:00:00Z, 2026-11-21 or 7d is wanted",
                        text);
    return false;
}

bool
command_number(const struct admin *admin, enum option_name option, int64_t min, int64_t max,
               int64_t fallback, int64_t *out)
{
    *out = fallback;
    if (!command_has(admin, option) || text_to_int64(admin->options[option], min, max, out))
        return true;
    (void)command_usage(admin, "--%s: '%s' is not a number from %" PRId64 " to %" PRId64,
                        option_texts[option].name, admin->options[option], min, max);
    return false;
}

bool
command_range(const struct admin *admin, int64_t *from_us, int64_t *to_us)
{
    *to_us = INT64_MAX;
    if (command_has(admin, OPTION_FROM) &&
        !command_time(admin, admin->options[OPTION_FROM], -1, from_us))
        return false;
    return !command_has(admin, OPTION_TO) ||
           command_time(admin, admin->options[OPTION_TO], -1, to_us);
}

/* ---- who ------------------------------------------------------------------------------------ */

void
command_who(char out[NAME_SIZE])
{
    const char *sudo = geteuid() == 0 ? getenv("SUDO_USER") : NULL;
    const struct passwd *user;
    char login[LOGIN_NAME_MAX + 1] = "";

    /* Only root's environment is trusted: anyone else could name another person there. */
    if (sudo != NULL && *sudo != '\0' && text_copy(out, NAME_SIZE, sudo))
        return;
    if (getlogin_r(login, sizeof(login)) == 0 && login[0] != '\0' &&
        text_copy(out, NAME_SIZE, login))
        return;
    user = getpwuid(getuid());
    if (user != NULL && text_copy(out, NAME_SIZE, user->pw_name))
        return;
    (void)snprintf(out, NAME_SIZE, "uid %lu", (unsigned long)getuid());
}

struct actor
command_actor(const struct admin *admin)
{
    return (struct actor){ .who = admin->who, .note = admin->options[OPTION_NOTE] };
}

/* Supplementary groups first, user id last: after it nothing more may be changed. */
static int
become(uid_t uid, gid_t folder_gid)
{
    const struct passwd *user = getpwuid(uid);
    gid_t gid = user != NULL ? user->pw_gid : folder_gid;

    if (user != NULL ? initgroups(user->pw_name, gid) != 0 : setgroups(0, NULL) != 0)
        return -1;
    if (setgid(gid) != 0 || setuid(uid) != 0)
        return -1;
    return 0;
}

enum status
command_become_owner(const char *folder, struct error *err)
{
    struct stat info;

    if (stat(folder, &info) != 0)
        return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO,
                         "%s: %s: run `spendgate init', or make the folder", folder,
                         strerror(errno));
    if (geteuid() != 0 || info.st_uid == 0)
        return STATUS_OK;
    if (become(info.st_uid, info.st_gid) != 0)
        return error_set(err, STATUS_IO, "cannot become the owner of %s (user %lu): %s", folder,
                         (unsigned long)info.st_uid, strerror(errno));
    return STATUS_OK;
}

/* ---- running -------------------------------------------------------------------------------- */

bool
command_store_folder(const char *url, char out[FILE_PATH_SIZE])
{
    const char *slash;

    if (strncmp(url, "sqlite:", 7) != 0)
        return false;
    url += 7;
    slash = strrchr(url, '/');
    if (slash == NULL)
        return text_copy(out, FILE_PATH_SIZE, ".");
    (void)snprintf(out, FILE_PATH_SIZE, "%.*s", slash == url ? 1 : (int)(slash - url), url);
    return true;
}

void
command_store_options(const struct settings *settings, bool create, struct store_options *out)
{
    *out = (struct store_options){
        .url = settings->store_url,
        .group = settings->store_group,
        .policy = &settings->policy,
        .hold_ttl_us = settings->hold_ttl_us,
        .charge_on_expiry = settings->charge_on_expiry,
        .idempotency_ttl_us = settings->idempotency_ttl_us,
        .create = create,
    };
}

static void
report_problem(void *context, bool warning, const char *text)
{
    bool *told = context;

    /* Warnings are for `spendgate-authorizer --check-config`; here they would stand before every
     * answer. */
    if (warning)
        return;
    (void)command_fail("%s", text);
    *told = true;
}

static int
open_settings(struct admin *admin)
{
    bool told = false;
    const struct settings_problems problems = { .report = report_problem, .context = &told };
    struct error err = { 0 };

    if (settings_open(admin->config, &problems, &admin->settings, &err) == STATUS_OK)
        return DONE;
    if (!told) /* else it is the first of them again */
        (void)command_error(&err);
    return USAGE;
}

int
command_open_store(struct admin *admin)
{
    struct store_options options;
    char folder[FILE_PATH_SIZE];
    struct error err = { 0 };

    command_store_options(admin->settings,
                          admin->command->need == NEED_NEW_STORE ||
                              admin->command->need == NEED_NEW_STORE_LATER,
                          &options);
    if (command_store_folder(options.url, folder) &&
        command_become_owner(folder, &err) != STATUS_OK)
        return command_error(&err);
    if (store_open(&options, &admin->store, &err) != STATUS_OK)
        return command_error(&err);
    admin->now_us = store_now_us(admin->store, admin->now_us);
    return DONE;
}

static int
open_and_run(struct admin *admin)
{
    struct clock clock = clock_system();
    int code = DONE;

    admin->now_us = clock_now_us(&clock);
    command_who(admin->who);
    if (admin->command->need >= NEED_SETTINGS)
        code = open_settings(admin);
    if (code == DONE && admin->command->need >= NEED_STORE)
        code = command_open_store(admin);
    if (code == DONE)
        code = admin->command->run(admin);
    if (admin->store != NULL)
        store_after(admin->store);
    store_close(admin->store);
    settings_close(admin->settings);
    return code;
}

int
command_run(struct admin *admin, const struct command *command, int argc, char **argv)
{
    int code;

    admin->command = command;
    code = parse_arguments(admin, argc, argv);
    if (code == -1)
        return DONE;
    return code == DONE ? open_and_run(admin) : code;
}
