/* SPDX-License-Identifier: MIT */
/*
 * The settings file. One table in settings.c gives each key its type, unit, range, default, secret
 * flag and help; parsing, --check-config and the drift tests all read it. A value here has been
 * checked: nobody checks it again. The one door to libconfuse.
 * Source: contract, section 2.
 */
#ifndef SPENDGATE_SETTINGS_H
#define SPENDGATE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/policy.h"
#include "common/secret.h"
#include "common/settings_value.h"

#define SETTINGS_FILE_MAX (1024 * 1024) /* bytes */
#define PLANS_MAX 64
#define ROUTES_MAX 256
#define URL_SIZE 1024
#define NAME_SIZE 64
#define FILE_PATH_SIZE 4096
#define LIST_MAX 32

struct text_list {
    size_t count;
    char items[LIST_MAX][256];
};

/* Whose words a denial has: ours, agentkey-clerk's, or those of OpenAI's API. */
enum compat { COMPAT_NONE = 0, COMPAT_AGENTKEY, COMPAT_OPENAI };

enum token_role { TOKEN_NONE = 0, TOKEN_POST, TOKEN_READ, TOKEN_ADMIN };

struct tracker_token {
    char name[NAME_SIZE];
    uint8_t sha256[32];
    enum token_role role;
};

struct clerk_settings {
    struct secret secret_key;
    char api_url[URL_SIZE]; /* without a final slash */
    unsigned accept;        /* mask of enum credential_kind */
    int64_t cache_ttl_us, negative_ttl_us, stale_if_error_us;
    int64_t connect_timeout_us, timeout_us;
    struct rate rate, failure_rate;
    int64_t max_waiting;   /* 0: chosen from the number of workers */
    struct secret jwt_key; /* PEM */
    char issuer[URL_SIZE];
    struct text_list authorized_parties;
    char machine_id[NAME_SIZE];
    int64_t clock_skew_us;
    bool session_cookie;
    bool key_scopes; /* the credential's own scopes count beside the plan's */
    struct text_list pass_claims;
    struct secret webhook_secret;
};

struct interpreter {
    char suffix[16]; /* ".php" */
    char command[FILE_PATH_SIZE];
};

struct settings {
    char file[FILE_PATH_SIZE];
    uint8_t digest[32]; /* SHA-256 of the file as it was read */
    char store_url[URL_SIZE];
    char store_group[NAME_SIZE];
    char cache_path[FILE_PATH_SIZE];
    struct clerk_settings clerk;
    struct policy policy; /* arrays owned by the settings */
    size_t token_count;
    struct tracker_token tokens[LIST_MAX];
    int64_t hold_ttl_us;
    bool charge_on_expiry;
    int64_t max_charge_nanos;
    int64_t idempotency_ttl_us;
    char alerts_webhook_url[URL_SIZE];
    struct secret alerts_webhook_secret;
    char alerts_command[FILE_PATH_SIZE];
    enum compat compat;
    bool metrics_token; /* /metrics wants a token */
    size_t trusted_proxy_count;
    struct address_range trusted_proxies[LIST_MAX];
    char gate_root[FILE_PATH_SIZE];
    size_t interpreter_count;
    struct interpreter interpreters[LIST_MAX];
};

/* Told each problem: "FILE:LINE: key: problem". `warning` problems do not stop start-up. */
struct settings_problems {
    void (*report)(void *context, bool warning, const char *text);
    void *context;
};

/*
 * Read the settings: `path`, else $SPENDGATE_CONFIG, else the built-in place. Environment values
 * win over the file (SPENDGATE_STORE_URL, CLERK_SECRET_KEY, CLERK_API_URL, CLERK_JWT_KEY,
 * CLERK_WEBHOOK_SIGNING_SECRET); an empty one counts as none. Every bad value is reported; a syntax
 * error, an unknown key or a title given twice ends the reading. Refused as a whole: a file that is
 * missing, not regular, writable by others or larger than SETTINGS_FILE_MAX.
 * STATUS_INVALID after any error, with the first one in `err`; STATUS_NO_MEMORY. No Clerk secret
 * key is not an error here: the authorizer asks for it (settings_require_clerk), the tracker does
 * not need it. `problems` may be NULL.
 */
enum status settings_open(const char *path, const struct settings_problems *problems,
                          struct settings **out, struct error *err) MUST_CHECK;
void settings_close(struct settings *settings); /* wipes everything; NULL is fine */
/* What the authorizer cannot start without and the others can: the secret key, or a jwt_key when
 * only session tokens are accepted. STATUS_INVALID, reported and in `err`. */
enum status settings_require_clerk(const struct settings *settings,
                                   const struct settings_problems *problems,
                                   struct error *err) MUST_CHECK;

/* The table as text for spendgate.conf(5) and its drift test: one line per key, five fields between
 * tabs: "clerk.cache_ttl", "duration", the default ("none", "required"), what is accepted, what
 * for. */
void settings_describe(void (*line)(void *context, const char *text), void *context);

#endif
