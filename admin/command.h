/* SPDX-License-Identifier: MIT */
/*
 * What the sub-commands of `spendgate` share: the table that describes them, the state of one run,
 * and the ways to open the store, read an argument and fail. Each group of commands is one file,
 * with one function per row of the table in command.c. Printing is output.h.
 */
#ifndef SPENDGATE_COMMAND_H
#define SPENDGATE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/period.h"
#include "common/settings.h"
#include "common/store.h"

/* Exit codes of every command. */
enum { DONE = 0, FAILED = 1, USAGE = 2 };

/* The options of all commands; a command takes those in its mask. */
enum option_name {
    OPTION_JSON,
    OPTION_CSV,
    OPTION_NOTE,
    OPTION_ROLE,
    OPTION_NAME,
    OPTION_ACCOUNT,
    OPTION_SUBJECT,
    OPTION_KEY_ID,
    OPTION_ORG,
    OPTION_PARENT,
    OPTION_SCOPES,
    OPTION_PATH,
    OPTION_ROUTE,
    OPTION_PLAN,
    OPTION_MODEL,
    OPTION_STATE,
    OPTION_BY,
    OPTION_FROM,
    OPTION_TO,
    OPTION_LIMIT,
    OPTION_PERIOD,
    OPTION_UNTIL,
    OPTION_ENFORCE,
    OPTION_CLEAR,
    OPTION_OLDER_THAN,
    OPTION_DIR,
    OPTION_USER,
    OPTION_URL,
    OPTION_KEY_FILE,
    OPTION_FOLDER,
    OPTION_SERVER_CONFIG,
    OPTION_PROVIDER,
    OPTION_HISTORY,
    OPTION_DRY_RUN,
    OPTION_COUNT
};
#define WITH(name) (UINT64_C(1) << OPTION_##name)

struct option_text {
    const char *name;
    const char *argument; /* what stands for its value in the help; NULL: a flag */
    const char *help;
};
extern const struct option_text option_texts[OPTION_COUNT];

/* What a command finds opened when it runs. */
enum need {
    NEED_NOTHING,
    NEED_SETTINGS,
    NEED_NEW_STORE_LATER, /* the command opens the store itself, and a missing one is made */
    NEED_STORE,           /* the store has to be there */
    NEED_NEW_STORE,       /* a missing SQLite file is made */
};

struct admin;

struct command {
    const char *group;     /* "account" */
    const char *verb;      /* "freeze", or NULL when the group is one command */
    const char *arguments; /* "ACCOUNT PERIOD USD" */
    int arguments_min, arguments_max;
    uint64_t options; /* mask of WITH() */
    enum need need;
    int (*run)(struct admin *admin);
    const char *summary; /* one line */
    const char *detail;  /* more lines for `spendgate help`, or NULL */
};
extern const struct command commands[];
extern const size_t command_count;

/* One run. */
struct admin {
    const struct command *command;
    const char *config;                /* --config, or NULL */
    const char *options[OPTION_COUNT]; /* value, "" for a flag that was given, NULL: not given */
    int argument_count;
    char **arguments;
    char who[NAME_SIZE]; /* who runs the command, for the journal */
    struct settings *settings;
    struct store *store;
    int64_t now_us; /* the one clock reading */
};

/* Read the arguments, open what the command needs, run it, close. Returns an exit code. */
int command_run(struct admin *admin, const struct command *command, int argc, char **argv);
/* The help of one command to standard output. */
void command_help(const struct command *command);

/* "spendgate: message" to standard error; both return their exit code, so that failing is one
 * statement. */
int command_fail(const char *format, ...) PRINTF_LIKE(1, 2);
int command_usage(const struct admin *admin, const char *format, ...) PRINTF_LIKE(2, 3);
int command_error(const struct error *err);
/* An outcome other than OUTCOME_DONE, in words; `name` is the account, hold or charge that was
 * named. */
int command_outcome(const struct result *result, const char *name);

/* Whoever is answerable: SUDO_USER when root runs us, else the login name, else that of the user
 * id. */
void command_who(char out[NAME_SIZE]);
/*
 * When root runs us and `folder` belongs to another user, become that user (groups, group, user
 * id), so that no file is left that the servers cannot open. Errors: STATUS_NOT_FOUND (no such
 * folder), STATUS_IO.
 */
enum status command_become_owner(const char *folder, struct error *err) MUST_CHECK;
/* Open the store as the settings and the command's need say; admin->now_us is then its clock. A
 * command that needs no store to begin with may do this later, and it is closed for it. Returns an
 * exit code. */
int command_open_store(struct admin *admin);
/*
 * What the servers of this host share (its quota of calls to Clerk, for one), as the owner of that
 * file when root runs us. NULL when root runs us and there is no file. To be closed with
 * host_cache_close. Errors: STATUS_IO, STATUS_NO_MEMORY, STATUS_OVERFLOW.
 */
struct host_cache;
enum status command_host_cache(const struct admin *admin, struct host_cache **out,
                               struct error *err) MUST_CHECK;
/* The folder of the SQLite file in `url`; false when `url` is no SQLite store. */
bool command_store_folder(const char *url, char out[FILE_PATH_SIZE]) MUST_CHECK;
void command_store_options(const struct settings *settings, bool create, struct store_options *out);
/* The --note and who, for a change. */
struct actor command_actor(const struct admin *admin);
bool command_has(const struct admin *admin, enum option_name option);

/* Arguments. False, and a line on standard error, when the text is not what is wanted. */
bool command_money(const struct admin *admin, const char *text, int64_t *nanos) MUST_CHECK;
bool command_period(const struct admin *admin, const char *text, enum period_kind *out) MUST_CHECK;
bool command_account_name(const struct admin *admin, const char *text) MUST_CHECK;
/*
 * A time: RFC 3339, a date (its start, UTC), or a duration counted from now: ahead with `direction`
 * 1, back with -1.
 */
bool command_time(const struct admin *admin, const char *text, int direction,
                  int64_t *out) MUST_CHECK;
/* An option's whole number, or `fallback` when it was not given. */
bool command_number(const struct admin *admin, enum option_name option, int64_t min, int64_t max,
                    int64_t fallback, int64_t *out) MUST_CHECK;
/* --from and --to as [from, to); `from_us` is kept when --from was not given. */
bool command_range(const struct admin *admin, int64_t *from_us, int64_t *to_us) MUST_CHECK;

int run_init(struct admin *admin);
int run_migrate(struct admin *admin);
int run_token_new(struct admin *admin);
int run_account_list(struct admin *admin);
int run_account_show(struct admin *admin);
int run_account_change(struct admin *admin); /* freeze, unfreeze, revoke, unrevoke, reverify */
int run_account_renew(struct admin *admin);
int run_account_parent(struct admin *admin);
int run_account_plan(struct admin *admin);
/* Show the account after a change, as `account show` does. */
int account_print(struct admin *admin, const char *name);
int run_budget_set(struct admin *admin);
int run_budget_clear(struct admin *admin);
int run_budget_credit(struct admin *admin); /* topup, boost */
int run_hold_list(struct admin *admin);
int run_hold_void(struct admin *admin);
int run_charge_list(struct admin *admin);
int run_charge_refund(struct admin *admin);
int run_price_import(struct admin *admin);
int run_price_list(struct admin *admin);
int run_report(struct admin *admin);
int run_doctor(struct admin *admin);
int run_verify(struct admin *admin);
int run_explain(struct admin *admin);
int run_prune(struct admin *admin);
int run_spool_replay(struct admin *admin);
int run_cache_purge(struct admin *admin);
int run_clerk_sync(struct admin *admin);
int run_dump(struct admin *admin);
int run_load(struct admin *admin);
int run_import_agentkey(struct admin *admin);

#endif
