/* SPDX-License-Identifier: MIT */
/* The settings table, and the file read by it; see settings.h. */
#include "common/settings.h"

#include <assert.h>
#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crypto.h"
#include "common/money.h"
#include "common/settings_check.h"
#include "common/settings_scan.h"

#include "common/banned.h"

#define BUILT_IN_FILE SYSCONFDIR "/spendgate/spendgate.conf"

#define MS INT64_C(1000)
#define SECOND US_PER_SECOND
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

/* ---- the table ------------------------------------------------------------------------------ */

enum section {
    TOP,
    STORE,
    CACHE,
    CLERK,
    PLAN,
    BUDGET,
    ROUTE,
    TRACKER,
    TOKEN,
    LEDGER,
    ALERTS,
    GATE,
    INTERPRETER,
    SECTION_COUNT,
};

/* Sections with a title may come several times, and their rows are fields of a struct of their own;
 * the rows of all others are fields of struct settings. */
static const struct {
    const char *name;
    const char *path; /* what a key of it is called outside */
    enum section parent;
    bool titled;
} sections[SECTION_COUNT] = {
    [TOP] = { "", "", TOP, false },
    [STORE] = { "store", "store.", TOP, false },
    [CACHE] = { "cache", "cache.", TOP, false },
    [CLERK] = { "clerk", "clerk.", TOP, false },
    [PLAN] = { "plan", "plan.", TOP, true },
    [BUDGET] = { "budget", "plan.budget.", PLAN, true },
    [ROUTE] = { "route", "route.", TOP, true },
    [TRACKER] = { "tracker", "tracker.", TOP, false },
    [TOKEN] = { "token", "tracker.token.", TRACKER, true },
    [LEDGER] = { "ledger", "ledger.", TOP, false },
    [ALERTS] = { "alerts", "alerts.", TOP, false },
    [GATE] = { "gate", "gate.", TOP, false },
    [INTERPRETER] = { "interpreter", "gate.interpreter.", GATE, true },
};

static const struct value_word compat_words[] = {
    { "", COMPAT_NONE }, { "agentkey", COMPAT_AGENTKEY }, { "openai", COMPAT_OPENAI }, { NULL, 0 }
};
static const struct value_word route_words[] = { { "deny", 0 }, { "allow", 1 }, { NULL, 0 } };
static const struct value_word expiry_words[] = { { "release", 0 }, { "charge", 1 }, { NULL, 0 } };
static const struct value_word kind_words[] = {
    { "api_key", CREDENTIAL_API_KEY },
    { "m2m_token", CREDENTIAL_M2M_TOKEN },
    { "session_token", CREDENTIAL_SESSION_TOKEN },
    { "oauth_token", CREDENTIAL_OAUTH_TOKEN },
    { NULL, 0 },
};
static const struct value_word period_words[] = {
    { "hour", PERIOD_HOUR },
    { "day", PERIOD_DAY },
    { "week", PERIOD_WEEK },
    { "month", PERIOD_MONTH },
    { "year", PERIOD_YEAR },
    { "none", PERIOD_NONE },
    { NULL, 0 },
};
static const struct value_word week_words[] = {
    { "sunday", 0 },   { "monday", 1 }, { "tuesday", 2 },  { "wednesday", 3 },
    { "thursday", 4 }, { "friday", 5 }, { "saturday", 6 }, { NULL, 0 },
};
static const struct value_word per_words[] = {
    { "subject", PER_SUBJECT },
    { "key", PER_KEY },
    { "org", PER_ORG },
    { NULL, 0 },
};
static const struct value_word enforce_words[] = {
    { "hard", ENFORCE_HARD },
    { "warn", ENFORCE_WARN },
    { "off", ENFORCE_OFF },
    { NULL, 0 },
};
static const struct value_word overage_words[] = {
    { "forgive", OVERAGE_FORGIVE },
    { "carry", OVERAGE_CARRY },
    { NULL, 0 },
};
static const struct value_word role_words[] = {
    { "post", TOKEN_POST },
    { "read", TOKEN_READ },
    { "admin", TOKEN_ADMIN },
    { NULL, 0 },
};

#define NO_COUNT SIZE_MAX /* not a list */

struct setting {
    enum section section;
    const char *key;
    const char *fallback; /* the default, as it would stand in the file; NULL: none */
    const char *help;
    struct value_rule rule;
    size_t offset;       /* of the field in the section's struct */
    size_t count_offset; /* of a list's size_t count */
    bool secret;         /* its value is never told */
    bool required;
    const char *environment; /* wins over the file */
};

/* How the rows below are spelled: a type with its range, and where the value goes. */
#define OF(value_type) .rule.type = (value_type)
#define OR_EMPTY .rule.empty = true
#define DURATION(least, most) OF(VALUE_DURATION), .rule.min = (least), .rule.max = (most)
#define MONEY(least) OF(VALUE_MONEY), .rule.min = (least), .rule.max = MONEY_MAX_NANOS
#define HOLD OF(VALUE_HOLD), .rule.max = MONEY_MAX_NANOS
#define INTEGER(least, most) OF(VALUE_INTEGER), .rule.min = (least), .rule.max = (most)
#define WORD(list) OF(VALUE_WORD), .rule.words = (list)
#define WORDS(list) OF(VALUE_WORDS), .rule.words = (list)
/* NOLINTBEGIN(bugprone-macro-parentheses): names of types and fields */
#define SIZE_OF(type, field) sizeof(((struct type *)NULL)->field)
#define AT(type, field)                                                        \
    .offset = offsetof(struct type, field), .rule.size = SIZE_OF(type, field), \
    .count_offset = NO_COUNT
#define LIST_AT(type, field, counter)                                             \
    .offset = offsetof(struct type, field), .rule.size = SIZE_OF(type, field[0]), \
    .rule.max = (int64_t)(SIZE_OF(type, field) / SIZE_OF(type, field[0])),        \
    .count_offset = offsetof(struct type, counter)
/* NOLINTEND(bugprone-macro-parentheses) */
#define BURST_MAX 1000000
#define CONCURRENCY_MAX 1000000

static const struct setting table[] = {
    { TOP, "default_plan", "", "the plan of an account that no plan matches", OF(VALUE_NAME),
      OR_EMPTY, AT(settings, policy.default_plan) },
    { TOP, "default_route", "deny", "what becomes of a path that no route names", WORD(route_words),
      AT(settings, policy.default_route_allow) },
    { TOP, "trusted_proxies", NULL, "whose X-Forwarded-For gives the client's address",
      OF(VALUE_RANGES), LIST_AT(settings, trusted_proxies, trusted_proxy_count) },
    { TOP, "metrics_token", "true", "whether /metrics wants a token", OF(VALUE_BOOLEAN),
      AT(settings, metrics_token) },
    { TOP, "compat", "", "whose answers to give on a refusal", WORD(compat_words),
      AT(settings, compat) },

    { STORE, "url", "sqlite:/var/lib/spendgate/spendgate.db", "where the money is kept",
      OF(VALUE_STORE_URL), AT(settings, store_url), .secret = true,
      .environment = "SPENDGATE_STORE_URL" },
    { STORE, "group", "", "the group that may open the files too", OF(VALUE_NAME), OR_EMPTY,
      AT(settings, store_group) },

    { CACHE, "path", "/run/spendgate/cache.db", "where verified credentials are kept",
      OF(VALUE_PATH), AT(settings, cache_path) },

    { CLERK, "secret_key_file", NULL, "the instance's secret key", OF(VALUE_SECRET_FILE),
      AT(settings, clerk.secret_key), .secret = true, .environment = "CLERK_SECRET_KEY" },
    { CLERK, "api_url", "https://api.clerk.com", "Clerk's Backend API, without /v1", OF(VALUE_URL),
      AT(settings, clerk.api_url), .environment = "CLERK_API_URL" },
    { CLERK, "accept", "api_key", "kinds of credential", WORDS(kind_words),
      AT(settings, clerk.accept) },
    { CLERK, "cache_ttl", "60s", "how long a verification is believed", DURATION(SECOND, DAY),
      AT(settings, clerk.cache_ttl_us) },
    { CLERK, "negative_ttl", "10s", "how long a refusal by Clerk is believed",
      DURATION(SECOND, DAY), AT(settings, clerk.negative_ttl_us) },
    { CLERK, "stale_if_error", "0s", "how much longer while Clerk does not answer",
      DURATION(0, 7 * DAY), AT(settings, clerk.stale_if_error_us) },
    { CLERK, "connect_timeout", "300ms", "for a connection to Clerk", DURATION(10 * MS, MINUTE),
      AT(settings, clerk.connect_timeout_us) },
    { CLERK, "timeout", "1500ms", "for a whole verification by Clerk", DURATION(10 * MS, MINUTE),
      AT(settings, clerk.timeout_us) },
    { CLERK, "rate", "1000/10s", "this host's calls to Clerk", OF(VALUE_RATE),
      AT(settings, clerk.rate) },
    { CLERK, "failure_rate", "20/1m", "failed verifications of one client address", OF(VALUE_RATE),
      AT(settings, clerk.failure_rate) },
    { CLERK, "max_waiting", "0", "processes of this host that may wait for Clerk",
      INTEGER(0, 10000), AT(settings, clerk.max_waiting) },
    { CLERK, "jwt_key_file", NULL, "public key that verifies JWTs without any network",
      OF(VALUE_PEM_FILE), AT(settings, clerk.jwt_key), .secret = true,
      .environment = "CLERK_JWT_KEY" },
    { CLERK, "issuer", "", "the iss that a session token must have", OF(VALUE_URL), OR_EMPTY,
      AT(settings, clerk.issuer) },
    { CLERK, "authorized_parties", NULL, "the azp that a session token may have", OF(VALUE_TEXTS),
      LIST_AT(settings, clerk.authorized_parties.items, clerk.authorized_parties.count) },
    { CLERK, "machine_id", "", "our own mch_ id, which an M2M token must name", OF(VALUE_NAME),
      OR_EMPTY, AT(settings, clerk.machine_id) },
    { CLERK, "clock_skew", "5s", "how far apart clocks may be", DURATION(0, 5 * MINUTE),
      AT(settings, clerk.clock_skew_us) },
    { CLERK, "session_cookie", "false", "also read the __session cookie", OF(VALUE_BOOLEAN),
      AT(settings, clerk.session_cookie) },
    { CLERK, "key_scopes", "false", "the credential's own scopes count beside the plan's",
      OF(VALUE_BOOLEAN), AT(settings, clerk.key_scopes) },
    { CLERK, "pass_claims", NULL, "claims handed to the backend", OF(VALUE_TEXTS),
      LIST_AT(settings, clerk.pass_claims.items, clerk.pass_claims.count) },
    { CLERK, "webhook_secret_file", NULL, "the signing secret of Clerk's webhooks",
      OF(VALUE_SECRET_FILE), AT(settings, clerk.webhook_secret), .secret = true,
      .environment = "CLERK_WEBHOOK_SIGNING_SECRET" },

    { PLAN, "match", NULL, "who is on it: any one of these", OF(VALUE_MATCHES),
      LIST_AT(plan, matches, match_count) },
    { PLAN, "scopes", NULL, "scopes granted", OF(VALUE_SCOPES),
      LIST_AT(plan, scopes.names, scopes.count) },
    { PLAN, "hold_usd", NULL, "set aside for a request while it runs", HOLD, AT(plan, hold) },
    { PLAN, "hold_min_usd", "0.01", "least automatic hold", MONEY(0), AT(plan, hold.min_nanos) },
    { PLAN, "hold_max_usd", "1", "largest automatic hold", MONEY(0), AT(plan, hold.max_nanos) },
    { PLAN, "rate", NULL, "requests of a subject", OF(VALUE_RATE), AT(plan, rate) },
    { PLAN, "burst", NULL, "requests of a subject at once", INTEGER(1, BURST_MAX),
      AT(plan, rate.burst) },
    { PLAN, "key_rate", NULL, "requests of a key", OF(VALUE_RATE), AT(plan, key_rate) },
    { PLAN, "key_burst", NULL, "requests of a key at once", INTEGER(1, BURST_MAX),
      AT(plan, key_rate.burst) },
    { PLAN, "org_rate", NULL, "requests of an organization", OF(VALUE_RATE), AT(plan, org_rate) },
    { PLAN, "org_burst", NULL, "requests of an organization at once", INTEGER(1, BURST_MAX),
      AT(plan, org_rate.burst) },
    { PLAN, "concurrency", "0", "requests of a subject that run at the same time",
      INTEGER(0, CONCURRENCY_MAX), AT(plan, concurrency) },
    { PLAN, "expires_in", "0s", "life of an account from first sight", DURATION(0, 3660 * DAY),
      AT(plan, expires_in_us) },
    { PLAN, "parent_claim", "", "where the name of the parent account stands", OF(VALUE_CLAIM_PATH),
      OR_EMPTY, AT(plan, parent_claim) },

    { BUDGET, "limit_usd", NULL, "most that may be spent in a period", MONEY(0),
      AT(plan_budget, limit_nanos), .required = true },
    { BUDGET, "period", NULL, "how long a period is", WORD(period_words),
      AT(plan_budget, spec.kind), .required = true },
    { BUDGET, "timezone", "UTC", "whose midnight ends a period", OF(VALUE_TIMEZONE),
      AT(plan_budget, spec.timezone) },
    { BUDGET, "anchor_day", "1", "day on which a month or year begins", INTEGER(1, 31),
      AT(plan_budget, spec.anchor_day) },
    { BUDGET, "week_start", "monday", "day on which a week begins", WORD(week_words),
      AT(plan_budget, spec.week_start) },
    { BUDGET, "per", "subject", "whose spending counts", WORD(per_words), AT(plan_budget, per) },
    { BUDGET, "enforce", "hard", "what passing the limit does", WORD(enforce_words),
      AT(plan_budget, enforce) },
    { BUDGET, "overage", "forgive", "what becomes of spending above the limit", WORD(overage_words),
      AT(plan_budget, overage) },
    { BUDGET, "alerts", NULL, "percentages of the limit that are told", OF(VALUE_PERCENTS),
      LIST_AT(plan_budget, alerts, alert_count), .rule.min = 1 },

    { ROUTE, "scopes", NULL, "scopes that a caller needs, every one", OF(VALUE_WHOLE_SCOPES),
      LIST_AT(route, scopes.names, scopes.count) },
    { ROUTE, "hold_usd", NULL, "set aside for a request while it runs", HOLD, AT(route, hold) },
    { ROUTE, "hold_min_usd", "0.01", "least automatic hold", MONEY(0), AT(route, hold.min_nanos) },
    { ROUTE, "hold_max_usd", "1", "largest automatic hold", MONEY(0), AT(route, hold.max_nanos) },
    { ROUTE, "rate", NULL, "requests of a subject on this route", OF(VALUE_RATE), AT(route, rate) },
    { ROUTE, "burst", NULL, "requests of a subject on this route at once", INTEGER(1, BURST_MAX),
      AT(route, rate.burst) },
    { ROUTE, "accept", NULL, "kinds of credential, fewer than clerk.accept", WORDS(kind_words),
      AT(route, accept) },
    { ROUTE, "free", "false", "costs nothing: no hold, and budgets are not asked",
      OF(VALUE_BOOLEAN), AT(route, free) },

    { TOKEN, "sha256", NULL, "digest of the token", OF(VALUE_SHA256), AT(tracker_token, sha256),
      .secret = true, .required = true },
    { TOKEN, "role", NULL, "what it may do", WORD(role_words), AT(tracker_token, role),
      .required = true },

    { LEDGER, "hold_ttl", "5m", "life of a hold that is not renewed", DURATION(SECOND, 7 * DAY),
      AT(settings, hold_ttl_us) },
    { LEDGER, "on_expiry", "release", "what becomes of the money of an expired hold",
      WORD(expiry_words), AT(settings, charge_on_expiry) },
    { LEDGER, "max_charge_usd", "1000", "largest single charge", MONEY(1),
      AT(settings, max_charge_nanos) },
    { LEDGER, "idempotency_ttl", "32d", "how long a repeat is recognised", DURATION(DAY, 366 * DAY),
      AT(settings, idempotency_ttl_us) },

    { ALERTS, "webhook_url", "", "where alerts are posted", OF(VALUE_LINK), OR_EMPTY,
      AT(settings, alerts_webhook_url), .secret = true },
    { ALERTS, "webhook_secret_file", NULL, "secret that signs them", OF(VALUE_SECRET_FILE),
      AT(settings, alerts_webhook_secret), .secret = true },
    { ALERTS, "command", "", "command that is run with them", OF(VALUE_PATH), OR_EMPTY,
      AT(settings, alerts_command) },

    { GATE, "root", "", "directory whose files the plain CGI gate may serve", OF(VALUE_PATH),
      OR_EMPTY, AT(settings, gate_root) },
    { INTERPRETER, "command", NULL, "program that runs files with this suffix", OF(VALUE_PATH),
      AT(interpreter, command), .required = true },
};

#define ROW_COUNT (sizeof(table) / sizeof(table[0]))

/* ---- one reading ---------------------------------------------------------------------------- */

/* libconfuse hands its callbacks no pointer of ours, so an option that no file can name (words have
 * no control bytes: settings_scan.c) carries it. */
#define CONTEXT_OPTION "\001"
#define FLAG_GIVEN (1 << 30) /* of an option: a bit that libconfuse has no use for */
#define OPTIONS_MAX 32       /* of a section: rows, sub-sections, the context and the end mark */
#define LINE_TEXT_SIZE 16
#define ECHO_MAX 64 /* bytes of a bad value that are told */
#define WORD_ECHO_MAX 32

struct reading {
    struct problem_list problems;
    struct settings *settings;
    struct settings_lines lines;
    char *text; /* of the file */
    size_t length;
    char *tagged;  /* one value with its line, for tag_value */
    void *context; /* this reading */
    cfg_t *root;
    bool no_memory;
    cfg_opt_t options[SECTION_COUNT][OPTIONS_MAX];
};

static void
wipe_and_free(void *bytes, size_t length)
{
    if (bytes == NULL)
        return;
    crypto_wipe(bytes, length);
    free(bytes);
}

static void
reading_free(struct reading *reading)
{
    if (reading == NULL)
        return;
    if (reading->root != NULL)
        cfg_free(reading->root);
    wipe_and_free(reading->text, reading->length);
    wipe_and_free(reading->tagged, reading->length + LINE_TEXT_SIZE);
    free(reading);
}

static struct reading *
reading_of(cfg_t *cfg)
{
    return cfg_getptr(cfg, CONTEXT_OPTION);
}

/* "clerk.cache_ttl" */
static const char *
full_key(const struct setting *row, char *storage, size_t size)
{
    struct buf key;

    buf_init(&key, storage, size);
    buf_add(&key, sections[row->section].path);
    buf_add(&key, row->key);
    return buf_text(&key);
}

/* ---- libconfuse ----------------------------------------------------------------------------- */

/* Store a value together with its line, which libconfuse forgets, as "LINE VALUE". A second "=" for
 * one key, which libconfuse takes without a word, is told. */
static int
tag_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    struct reading *reading = reading_of(cfg);
    const char **out = result;
    struct buf text;

    /* the room for this value is counted already: it is the first one after a "=" */
    if (cfg_opt_size(opt) == 1 && (opt->flags & FLAG_GIVEN) != 0)
        problem_error(&reading->problems, cfg->line, cfg_opt_name(opt), "is given twice");
    opt->flags |= FLAG_GIVEN;
    buf_init(&text, reading->tagged, reading->length + LINE_TEXT_SIZE);
    buf_add_int(&text, cfg->line);
    buf_add_char(&text, ' ');
    buf_add(&text, value);
    assert(!buf_failed(&text)); /* a value is a part of the file */
    *out = buf_text(&text);
    return 0;
}

/* libconfuse's own words for what ends the reading. A long word in them may be a secret that was
 * put in the wrong place. */
static void PRINTF_LIKE(2, 0) syntax_error(cfg_t *cfg, const char *format, va_list arguments)
{
    struct reading *reading = reading_of(cfg);
    char message[ERROR_MESSAGE_SIZE];
    const char *quote;

    if (vsnprintf(message, sizeof(message), format, arguments) < 0)
        message[0] = '\0';
    quote = strchr(message, '\'');
    if (quote != NULL && strlen(quote) > WORD_ECHO_MAX + 2)
        problem_error(&reading->problems, cfg->line, NULL, "%.*s(a long word, not shown)",
                      (int)(quote - message), message);
    else
        problem_error(&reading->problems, cfg->line, NULL, "%s", message);
}

/* The options of one section, in the order of the table; sub-sections are made before their
 * parents. */
static void
make_options(struct reading *reading, enum section section)
{
    cfg_opt_t *options = reading->options[section];
    size_t count = 0;

    options[count++] = (cfg_opt_t){ .name = CONTEXT_OPTION,
                                    .type = CFGT_PTR,
                                    .simple_value = { .ptr = &reading->context } };
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (table[i].section != section)
            continue;
        assert(count < OPTIONS_MAX - 1);
        options[count++] = (cfg_opt_t){
            .name = table[i].key,
            .type = CFGT_STR,
            .flags = CFGF_NODEFAULT | (table[i].rule.type >= VALUE_LIST_FIRST ? CFGF_LIST : 0),
            .parsecb = tag_value,
        };
    }
    for (size_t i = TOP + 1; i < SECTION_COUNT; i++) {
        if (sections[i].parent != section)
            continue;
        assert(count < OPTIONS_MAX - 1);
        options[count++] = (cfg_opt_t){
            .name = sections[i].name,
            .type = CFGT_SEC,
            .flags = sections[i].titled ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES : CFGF_NONE,
            .subopts = reading->options[i],
        };
    }
    options[count] = (cfg_opt_t)CFG_END();
}

/* Neither include() nor any other function is among the options, so that no file reaches another.
 * False when the reading has to end here; bad values are told and read over. */
static bool
parse(struct reading *reading)
{
    FILE *stream;
    int result;

    reading->context = reading;
    for (size_t i = SECTION_COUNT; i > 0; i--)
        make_options(reading, (enum section)(i - 1));
    reading->root = cfg_init(reading->options[TOP], CFGF_NONE);
    if (reading->root == NULL) {
        reading->no_memory = true;
        return false;
    }
    if (reading->length == 0)
        return true;
    (void)cfg_set_error_function(reading->root, syntax_error);
    stream = fmemopen(reading->text, reading->length, "r");
    if (stream == NULL) {
        reading->no_memory = true;
        return false;
    }
    result = cfg_parse_fp(reading->root, stream);
    (void)fclose(stream);
    /* what libconfuse does not tell is that it had no memory */
    reading->no_memory = result != CFG_SUCCESS && reading->problems.errors == 0;
    return result == CFG_SUCCESS;
}

/* ---- what was read -------------------------------------------------------------------------- */

/* The value at `index` and its line. */
static const char *
tagged_value(cfg_opt_t *opt, unsigned index, int *line)
{
    const char *c = cfg_opt_getnstr(opt, index);

    *line = 0;
    for (; *c != ' '; c++)
        *line = *line * 10 + (*c - '0');
    return c + 1;
}

static bool
is_given(cfg_opt_t *opt)
{
    return (opt->flags & CFGF_MODIFIED) != 0;
}

/* The first line of a section that has a value; its last line when it has none. */
static int
section_line(cfg_t *cfg)
{
    int first = cfg->line;

    for (cfg_opt_t *opt = cfg->opts; opt->name != NULL; opt++) {
        for (unsigned i = 0; i < cfg_opt_size(opt); i++) {
            int line = cfg->line;

            if (opt->type == CFGT_SEC)
                line = section_line(cfg_opt_getnsec(opt, i));
            else if (opt->type == CFGT_STR)
                (void)tagged_value(opt, i, &line);
            if (line < first)
                first = line;
        }
    }
    return first;
}

static int
key_line(cfg_t *cfg, const char *key)
{
    cfg_opt_t *opt = cfg_getopt(cfg, key);
    int line = 0;

    if (cfg_opt_size(opt) > 0)
        (void)tagged_value(opt, 0, &line);
    return line;
}

static void
refuse_value(struct reading *reading, const struct setting *row, const char *text, int line,
             const char *key, const size_t *count)
{
    char storage[ERROR_MESSAGE_SIZE];
    struct buf problem;

    buf_init(&problem, storage, sizeof(storage));
    value_explain(&row->rule, text, count, &problem);
    if (row->secret)
        problem_error(&reading->problems, line, key, "the value %s", buf_text(&problem));
    else
        problem_error(&reading->problems, line, key, "\"%.*s\" %s", ECHO_MAX, text,
                      buf_text(&problem));
}

static void
apply_value(struct reading *reading, const struct setting *row, const char *text, int line,
            const char *key, void *base)
{
    char *field = (char *)base + row->offset;
    size_t *count = NULL;

    if (row->count_offset != NO_COUNT)
        count = (size_t *)(void *)((char *)base + row->count_offset);
    if (!value_parse(&row->rule, text, field, count))
        refuse_value(reading, row, text, line, key, count);
}

/* A secret must fit one header line; a PEM file must be a public key. */
static void
check_secret(struct reading *reading, const struct setting *row, const struct secret *secret,
             int line, const char *key)
{
    if (row->rule.type == VALUE_PEM_FILE) {
        if (strstr((const char *)secret->bytes, "-----BEGIN PUBLIC KEY-----") == NULL)
            problem_error(&reading->problems, line, key,
                          "the secret is not a public key in PEM (-----BEGIN PUBLIC KEY-----)");
        return;
    }
    for (size_t i = 0; i < secret->length; i++) {
        if (secret->bytes[i] <= 0x20 || secret->bytes[i] >= 0x7f) {
            problem_error(&reading->problems, line, key,
                          "the secret is not one line of visible ASCII characters");
            return;
        }
    }
}

static const char *
environment_value(const struct setting *row)
{
    const char *value = row->environment == NULL ? NULL : getenv(row->environment);

    return value != NULL && *value != '\0' ? value : NULL;
}

/* The file is not even opened when the environment has the secret. */
static void
apply_secret(struct reading *reading, const struct setting *row, cfg_opt_t *opt, const char *key,
             void *base)
{
    struct secret *secret = (struct secret *)(void *)((char *)base + row->offset);
    const char *text = environment_value(row);
    enum status status;
    struct error err;
    int line = 0;

    if (text != NULL) {
        key = row->environment;
        status = secret_set(secret, text, strlen(text), &err);
    } else if (cfg_opt_size(opt) > 0) {
        text = tagged_value(opt, 0, &line);
        if (*text == '\0')
            return;
        if (!value_parse(&row->rule, text, NULL, NULL)) {
            refuse_value(reading, row, text, line, key, NULL);
            return;
        }
        status = secret_read_file(secret, text, &err);
    } else {
        return;
    }
    if (status != STATUS_OK)
        problem_error(&reading->problems, line, key, "%s", err.message);
    else
        check_secret(reading, row, secret, line, key);
}

static void
apply_row(struct reading *reading, const struct setting *row, cfg_t *cfg, void *base)
{
    char storage[NAME_SIZE];
    const char *key = full_key(row, storage, sizeof(storage));
    cfg_opt_t *opt = cfg_getopt(cfg, row->key);
    const char *environment = environment_value(row);

    if (row->rule.type == VALUE_SECRET_FILE || row->rule.type == VALUE_PEM_FILE) {
        apply_secret(reading, row, opt, key, base);
        return;
    }
    for (unsigned i = 0; i < cfg_opt_size(opt); i++) {
        int line;
        const char *text = tagged_value(opt, i, &line);

        apply_value(reading, row, text, line, key, base);
    }
    if (environment != NULL)
        apply_value(reading, row, environment, 0, row->environment, base);
    else if (row->required && !is_given(opt))
        problem_error(&reading->problems, section_line(cfg), key, "has to be given");
    else if (row->fallback != NULL && !is_given(opt))
        apply_value(reading, row, row->fallback, 0, key, base);
    else if (row->fallback != NULL && cfg_opt_size(opt) == 0)
        problem_error(&reading->problems, section_line(cfg), key, "is an empty list");
}

/* All rows of one section into the struct at `base`. */
static void
apply_section(struct reading *reading, enum section section, cfg_t *cfg, void *base)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (table[i].section == section)
            apply_row(reading, &table[i], cfg, base);
    }
}

static void
apply_title(struct reading *reading, const struct value_rule *rule, cfg_t *cfg, const char *key,
            char *field)
{
    char storage[ERROR_MESSAGE_SIZE];
    struct buf problem;

    if (value_parse(rule, cfg_title(cfg), field, NULL))
        return;
    buf_init(&problem, storage, sizeof(storage));
    value_explain(rule, cfg_title(cfg), NULL, &problem);
    problem_error(&reading->problems, section_line(cfg), key, "the title \"%.*s\" %s", ECHO_MAX,
                  cfg_title(cfg), buf_text(&problem));
}

/* How many sections of a kind there are, no more than `max`; one more is told. */
static size_t
count_sections(struct reading *reading, cfg_t *cfg, const char *name, size_t max)
{
    cfg_opt_t *opt = cfg_getopt(cfg, name);
    size_t count = cfg_opt_size(opt);

    if (count <= max)
        return count;
    problem_error(&reading->problems, section_line(cfg_opt_getnsec(opt, (unsigned)max)), name,
                  "is one section more than the %zu that fit", max);
    return max;
}

/* ---- sections with titles ------------------------------------------------------------------- */

static void
apply_plan(struct reading *reading, size_t index, cfg_t *cfg, struct plan *plan)
{
    static const struct value_rule title = { .type = VALUE_NAME, .size = PLAN_NAME_SIZE };

    reading->lines.plans[index] = section_line(cfg);
    apply_title(reading, &title, cfg, "plan", plan->name);
    apply_section(reading, PLAN, cfg, plan);
    plan->budget_count = count_sections(reading, cfg, "budget", PLAN_BUDGETS_MAX);
    for (size_t i = 0; i < plan->budget_count; i++) {
        struct plan_budget *budget = &plan->budgets[i];
        cfg_t *section = cfg_getnsec(cfg, "budget", (unsigned)i);

        reading->lines.budgets[index][i] = section_line(section);
        apply_title(reading, &title, section, "plan.budget", budget->name);
        apply_section(reading, BUDGET, section, budget);
    }
}

/* The prefix as a request's path will look. */
static void
apply_route(struct reading *reading, size_t index, cfg_t *cfg, struct route *route)
{
    const char *title = cfg_title(cfg);
    struct buf prefix;
    struct error err;

    reading->lines.routes[index] = section_line(cfg);
    buf_init(&prefix, route->prefix, sizeof(route->prefix));
    if (*title != '/' || strpbrk(title, "?#") != NULL)
        problem_error(&reading->problems, section_line(cfg), "route",
                      "the title \"%.*s\" is not a path such as \"/api/\"", ECHO_MAX, title);
    else if (policy_path_normalize(title, &prefix, &err) != STATUS_OK)
        problem_error(&reading->problems, section_line(cfg), "route", "the title \"%.*s\": %s",
                      ECHO_MAX, title, err.message);
    apply_section(reading, ROUTE, cfg, route);
}

static void
apply_policy(struct reading *reading)
{
    struct policy *policy = &reading->settings->policy;
    size_t plans = count_sections(reading, reading->root, "plan", PLANS_MAX);
    size_t routes = count_sections(reading, reading->root, "route", ROUTES_MAX);

    /* one more than needed, so that none is no special case */
    policy->plans = calloc(plans + 1, sizeof(policy->plans[0]));
    policy->routes = calloc(routes + 1, sizeof(policy->routes[0]));
    if (policy->plans == NULL || policy->routes == NULL) {
        reading->no_memory = true;
        return;
    }
    policy->plan_count = plans;
    policy->route_count = routes;
    for (size_t i = 0; i < plans; i++)
        apply_plan(reading, i, cfg_getnsec(reading->root, "plan", (unsigned)i), &policy->plans[i]);
    for (size_t i = 0; i < routes; i++)
        apply_route(reading, i, cfg_getnsec(reading->root, "route", (unsigned)i),
                    &policy->routes[i]);
    if (routes == 0 && key_line(reading->root, "default_route") == 0)
        policy->default_route_allow = true;
}

static void
apply_tokens(struct reading *reading)
{
    static const struct value_rule title = { .type = VALUE_NAME, .size = NAME_SIZE };
    struct settings *settings = reading->settings;
    cfg_t *tracker = cfg_getsec(reading->root, "tracker");

    settings->token_count = count_sections(reading, tracker, "token", LIST_MAX);
    for (size_t i = 0; i < settings->token_count; i++) {
        cfg_t *section = cfg_getnsec(tracker, "token", (unsigned)i);

        reading->lines.tokens[i] = section_line(section);
        apply_title(reading, &title, section, "tracker.token", settings->tokens[i].name);
        apply_section(reading, TOKEN, section, &settings->tokens[i]);
    }
}

static void
apply_interpreters(struct reading *reading)
{
    static const struct value_rule title = { .type = VALUE_NAME,
                                             .size = SIZE_OF(interpreter, suffix) };
    struct settings *settings = reading->settings;
    cfg_t *gate = cfg_getsec(reading->root, "gate");

    settings->interpreter_count = count_sections(reading, gate, "interpreter", LIST_MAX);
    for (size_t i = 0; i < settings->interpreter_count; i++) {
        cfg_t *section = cfg_getnsec(gate, "interpreter", (unsigned)i);
        struct interpreter *interpreter = &settings->interpreters[i];

        apply_title(reading, &title, section, "gate.interpreter", interpreter->suffix);
        if (interpreter->suffix[0] != '\0' && interpreter->suffix[0] != '.')
            problem_error(&reading->problems, section_line(section), "gate.interpreter",
                          "the title \"%s\" is not a suffix such as \".php\"", interpreter->suffix);
        apply_section(reading, INTERPRETER, section, interpreter);
    }
}

/* After settings_check, which tells what this would overwrite. */
static void
normalize_budgets(struct policy *policy)
{
    for (size_t i = 0; i < policy->plan_count; i++) {
        for (size_t j = 0; j < policy->plans[i].budget_count; j++)
            period_spec_normalize(&policy->plans[i].budgets[j].spec);
    }
}

static void
apply_all(struct reading *reading)
{
    struct settings_lines *lines = &reading->lines;
    cfg_t *root = reading->root;
    cfg_t *clerk = cfg_getsec(root, "clerk");

    apply_section(reading, TOP, root, reading->settings);
    for (size_t i = TOP + 1; i < SECTION_COUNT; i++) {
        if (sections[i].parent == TOP && !sections[i].titled)
            apply_section(reading, (enum section)i, cfg_getsec(root, sections[i].name),
                          reading->settings);
    }
    apply_policy(reading);
    apply_tokens(reading);
    apply_interpreters(reading);
    lines->default_plan = key_line(root, "default_plan");
    lines->default_route = key_line(root, "default_route");
    lines->accept = key_line(clerk, "accept");
    lines->api_url = key_line(clerk, "api_url");
    lines->timeout = key_line(clerk, "timeout");
    if (reading->no_memory)
        return;
    settings_check(reading->settings, lines, &reading->problems);
    if (reading->problems.errors == 0)
        normalize_budgets(&reading->settings->policy);
}

/* ---- the file ------------------------------------------------------------------------------- */

static bool
read_whole(int fd, char *text, size_t length)
{
    size_t done = 0;

    while (done < length) {
        ssize_t got = read(fd, text + done, length - done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0) /* cut while we read */
            break;
        done += (size_t)got;
    }
    memset(text + done, ' ', length - done);
    return true;
}

static bool
load_descriptor(struct reading *reading, int fd)
{
    struct problem_list *problems = &reading->problems;
    struct stat info;

    if (fstat(fd, &info) != 0) {
        problem_error(problems, 0, NULL, "%s", strerror(errno));
        return false;
    }
    if (!S_ISREG(info.st_mode))
        problem_error(problems, 0, NULL, "not a regular file");
    else if ((info.st_mode & 02) != 0)
        problem_error(problems, 0, NULL, "writable by others: run chmod o-w on it");
    else if (info.st_size > SETTINGS_FILE_MAX)
        problem_error(problems, 0, NULL, "larger than %d bytes", SETTINGS_FILE_MAX);
    if (problems->errors > 0)
        return false;
    reading->length = (size_t)info.st_size;
    reading->text = malloc(reading->length + 1);
    reading->tagged = malloc(reading->length + LINE_TEXT_SIZE);
    if (reading->text == NULL || reading->tagged == NULL) {
        reading->no_memory = true;
        return false;
    }
    if (!read_whole(fd, reading->text, reading->length)) {
        problem_error(problems, 0, NULL, "%s", strerror(errno));
        return false;
    }
    crypto_sha256(reading->text, reading->length, reading->settings->digest);
    return true;
}

static bool
load_file(struct reading *reading)
{
    /* non-blocking, so that a FIFO put there does not hang the start */
    int fd = open(reading->problems.file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    bool loaded;

    if (fd < 0) {
        problem_error(&reading->problems, 0, NULL, "%s%s", strerror(errno),
                      errno == ENOENT ? ": copy the sample there, or name a file with --config"
                                      : "");
        return false;
    }
    loaded = load_descriptor(reading, fd);
    (void)close(fd);
    return loaded;
}

static const char *
settings_file(const char *path)
{
    const char *named = getenv("SPENDGATE_CONFIG");

    if (path != NULL)
        return path;
    return named != NULL && *named != '\0' ? named : BUILT_IN_FILE;
}

static void
read_settings(struct reading *reading)
{
    if (!text_copy(reading->settings->file, sizeof(reading->settings->file),
                   reading->problems.file)) {
        problem_error(&reading->problems, 0, NULL, "the name is too long");
        return;
    }
    if (!load_file(reading))
        return;
    if (!settings_scan(reading->text, reading->length, &reading->problems))
        return;
    if (parse(reading))
        apply_all(reading);
}

enum status
settings_open(const char *path, const struct settings_problems *problems, struct settings **out,
              struct error *err)
{
    enum status status = STATUS_INTERNAL;
    struct reading *reading = NULL;
    struct settings *settings = NULL;

    *out = NULL;
    reading = calloc(1, sizeof(*reading));
    settings = calloc(1, sizeof(*settings));
    if (reading == NULL || settings == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "settings: out of memory");
        goto out;
    }
    reading->settings = settings;
    reading->problems.file = settings_file(path);
    reading->problems.told = problems;
    reading->problems.err = err;
    read_settings(reading);
    if (reading->no_memory) {
        status = error_set(err, STATUS_NO_MEMORY, "settings: out of memory");
        goto out;
    }
    if (reading->problems.errors > 0) {
        status = STATUS_INVALID; /* the first one is in `err` */
        goto out;
    }
    status = STATUS_OK;
    *out = settings;
    settings = NULL;
out:
    settings_close(settings);
    reading_free(reading);
    assert((status == STATUS_OK) == (*out != NULL));
    return status;
}

void
settings_close(struct settings *settings)
{
    if (settings == NULL)
        return;
    wipe_and_free(settings->policy.plans,
                  settings->policy.plan_count * sizeof(settings->policy.plans[0]));
    wipe_and_free(settings->policy.routes,
                  settings->policy.route_count * sizeof(settings->policy.routes[0]));
    wipe_and_free(settings, sizeof(*settings));
}

enum status
settings_require_clerk(const struct settings *settings, const struct settings_problems *problems,
                       struct error *err)
{
    struct problem_list list = { .file = settings->file, .told = problems, .err = err };

    if (secret_is_set(&settings->clerk.secret_key))
        return STATUS_OK;
    if (settings->clerk.accept == CREDENTIAL_SESSION_TOKEN &&
        secret_is_set(&settings->clerk.jwt_key))
        return STATUS_OK;
    problem_error(&list, 0, "clerk.secret_key_file",
                  "no Clerk secret key: name a file with it here, or set CLERK_SECRET_KEY");
    return STATUS_INVALID;
}

/* ---- the table as text ---------------------------------------------------------------------- */

void
settings_describe(void (*line)(void *context, const char *text), void *context)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct setting *row = &table[i];
        char storage[1024];
        char key[NAME_SIZE];
        struct buf text;

        buf_init(&text, storage, sizeof(storage));
        buf_add(&text, full_key(row, key, sizeof(key)));
        buf_add_format(&text, "\t%s\t", value_type_name(row->rule.type));
        if (row->required)
            buf_add(&text, "required");
        else if (row->fallback == NULL || row->fallback[0] == '\0')
            buf_add(&text, "none");
        else
            buf_add(&text, row->fallback);
        buf_add_char(&text, '\t');
        value_describe(&row->rule, &text);
        buf_add_format(&text, "\t%s", row->help);
        assert(!buf_failed(&text));
        line(context, buf_text(&text));
    }
}
