/* SPDX-License-Identifier: MIT */
/*
 * The settings file. One table in settings.c gives each key its type, unit, range, default, secret flag and
 * help; parsing, --check-config and the drift tests all read it. A value here has been checked: nobody checks it
 * again. The one door to libconfuse.
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

#define URL_SIZE 1024
#define NAME_SIZE 64
#define FILE_PATH_SIZE 4096
#define LIST_MAX 32

struct text_list {
    size_t count;
    char items[LIST_MAX][256];
};

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
    int64_t max_waiting; /* 0: chosen from the number of workers */
    struct secret jwt_key; /* PEM */
    char issuer[URL_SIZE];
    struct text_list authorized_parties;
    char machine_id[NAME_SIZE];
    int64_t clock_skew_us;
    bool session_cookie;
    struct text_list pass_claims;
    struct secret webhook_secret;
};

struct address_range { /* CIDR; IPv4 as mapped IPv6 */
    uint8_t address[16];
    int prefix_bits;
};

struct interpreter {
    char suffix[16]; /* ".php" */
    char command[FILE_PATH_SIZE];
};

struct settings {
    char file[FILE_PATH_SIZE];
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
    bool compat_agentkey;
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
 * Read the settings: `path`, else $SPENDGATE_CONFIG, else the built-in place. Environment values win over the
 * file (SPENDGATE_STORE_URL, CLERK_SECRET_KEY, CLERK_API_URL, CLERK_JWT_KEY, CLERK_WEBHOOK_SIGNING_SECRET).
 * Every bad value is reported; a syntax error or an unknown key ends the reading. STATUS_INVALID after any error,
 * with the first one in `err`. No Clerk secret key is not an error here: the authorizer asks for it
 * (settings_require_clerk), the tracker does not need it.
 */
enum status settings_open(const char *path, const struct settings_problems *problems,
                          struct settings **out, struct error *err) MUST_CHECK;
void settings_close(struct settings *settings); /* wipes the secrets; NULL is fine */
/* What the authorizer cannot start without: the secret key (or a jwt_key when only JWTs are accepted), the issuer
 * when session tokens are accepted, ... */
enum status settings_require_clerk(const struct settings *settings,
                                   const struct settings_problems *problems,
                                   struct error *err) MUST_CHECK;

/* The table as text for spendgate.conf(5) and its drift test: one line per key, "section.key type default range". */
void settings_describe(void (*line)(void *context, const char *text), void *context);

/* Parsers of single values, public for their tests and fuzz target. */
bool settings_parse_duration(const char *text, int64_t *us) MUST_CHECK; /* 500ms 60s 5m 24h 30d */
bool settings_parse_rate(const char *text, struct rate *out) MUST_CHECK; /* N/unit, N/Ms */
bool settings_parse_address_range(const char *text, struct address_range *out) MUST_CHECK;

#endif
