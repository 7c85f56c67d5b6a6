/* SPDX-License-Identifier: MIT */
/*
 * What the settings say about plans and routes, as plain values, and the pure questions asked of
 * them: which route is this path, which plan is this caller's, is a scope granted. Who has spent
 * what is not decided here (ledger.h).
 * Source: contract, sections 2 to 4.
 */
#ifndef SPENDGATE_POLICY_H
#define SPENDGATE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/error.h"
#include "common/period.h"

#define PLAN_NAME_SIZE 64
#define ROUTE_PREFIX_SIZE 512
#define PATH_SIZE 4096 /* longest normalised path with its NUL */
#define SCOPE_SIZE 128
#define SCOPES_MAX 32 /* of one plan or route */
#define PLAN_MATCHES_MAX 16
#define PLAN_MATCH_SIZE 256
#define PLAN_BUDGETS_MAX 8
#define BUDGET_ALERTS_MAX 8
#define RATE_TEXT_SIZE 32

/* Kinds of credential, as bits, so that `accept` is a mask. */
enum credential_kind {
    CREDENTIAL_NONE = 0,
    CREDENTIAL_API_KEY = 1,
    CREDENTIAL_M2M_TOKEN = 2,
    CREDENTIAL_SESSION_TOKEN = 4,
    CREDENTIAL_OAUTH_TOKEN = 8,
};
const char *credential_kind_name(enum credential_kind kind); /* "api_key" .. */
bool credential_kind_parse(const char *name, enum credential_kind *out) MUST_CHECK;

enum enforce { ENFORCE_HARD, ENFORCE_WARN, ENFORCE_OFF };
enum overage { OVERAGE_FORGIVE, OVERAGE_CARRY };
enum budget_per { PER_SUBJECT, PER_KEY, PER_ORG };
const char *enforce_name(enum enforce enforce);
bool enforce_parse(const char *name, enum enforce *out) MUST_CHECK;

struct scope_set {
    size_t count;
    char names[SCOPES_MAX][SCOPE_SIZE];
};

/* N requests per time, with a burst; count 0: no limit. GCRA, ledger.h. */
struct rate {
    int64_t count;             /* 1..1,000,000 */
    int64_t per_us;            /* 1 ms .. 31 days */
    int64_t burst;             /* 1..1,000,000; `count` unless set */
    char text[RATE_TEXT_SIZE]; /* as in the settings, "60/1m" */
};

struct hold_rule {
    bool set;       /* the settings name a hold_usd here, if only "0" */
    bool automatic; /* hold_usd = "auto" */
    int64_t nanos;
    int64_t min_nanos, max_nanos; /* of an automatic one */
};

struct plan_budget {
    char name[PLAN_NAME_SIZE];
    enum budget_per per; /* PER_ORG without an organization counts on the subject */
    struct period_spec spec;
    int64_t limit_nanos;
    enum enforce enforce;
    enum overage overage;
    size_t alert_count;
    int alerts[BUDGET_ALERTS_MAX]; /* percent, 1..1000, ascending */
};

struct plan {
    char name[PLAN_NAME_SIZE];
    size_t match_count;
    char matches[PLAN_MATCHES_MAX][PLAN_MATCH_SIZE]; /* "path=text" */
    size_t budget_count;
    struct plan_budget budgets[PLAN_BUDGETS_MAX];
    struct scope_set scopes;
    struct hold_rule hold;
    struct rate rate, key_rate, org_rate;
    int64_t concurrency;                /* live holds of the subject; 0: no limit */
    int64_t expires_in_us;              /* 0: never */
    char parent_claim[PLAN_MATCH_SIZE]; /* path into the verified object whose text names the parent
                                           account; "" none */
};

struct route {
    char prefix[ROUTE_PREFIX_SIZE]; /* normalised */
    struct scope_set scopes;        /* every one is required */
    struct hold_rule hold;
    struct rate rate; /* per subject on this route */
    unsigned accept;  /* mask of enum credential_kind; 0: what `clerk { accept }` says */
    bool free;        /* costs nothing: no hold, budgets and concurrency are not asked */
};

struct policy {
    struct plan *plans; /* in file order; owned by the settings */
    size_t plan_count;
    struct route *routes;
    size_t route_count;
    char default_plan[PLAN_NAME_SIZE]; /* "" none */
    bool default_route_allow;
};

/*
 * The path of a request target, as routes are matched against it: an absolute form is reduced to
 * its path, the query and fragment are cut, percent escapes are decoded once, "//" becomes "/", "."
 * and ".." are resolved (".." above the root is refused).
 * Refused (STATUS_INVALID, and an empty `out`): not beginning with "/", a malformed escape, a NUL
 * or control byte, a backslash, an escape that decodes to "/" or "\", a result that still holds a
 * percent escape, a dot segment with a parameter ("..;x"), more than PATH_SIZE - 1 bytes or `out`
 * can hold. A final "/" is kept; a dot segment at the end leaves one. Messages never quote the
 * target.
 */
enum status policy_path_normalize(const char *target, struct buf *out,
                                  struct error *err) MUST_CHECK;

/* The route with the longest prefix of `path` on whole segments ("/api" and "/api/" both match
 * "/api" and "/api/x", never "/apix"), or NULL. */
const struct route *policy_route_find(const struct policy *policy, const char *path);
/* The route a web server named itself (parameter SPENDGATE_ROUTE), by exact prefix, or NULL. */
const struct route *policy_route_named(const struct policy *policy, const char *prefix);

struct json;
/* The first plan in file order one of whose matches holds in `object` (the verified API object or
 * the JWT's claims), else the default plan, else NULL. Text, numbers and booleans compare as text,
 * a number as it is written; of an array it is enough that one element equals. */
const struct plan *policy_plan_match(const struct policy *policy, const struct json *object);
const struct plan *policy_plan_named(const struct policy *policy, const char *name);

/* Whether `granted` holds `scope` exactly or a pattern with a final "*" that covers it. */
bool policy_scope_granted(const struct scope_set *granted, const char *scope);
/* The first scope of `required` that is not granted, or NULL. */
const char *policy_scope_missing(const struct scope_set *granted, const struct scope_set *required);

/* The hold of a request: the route's rule, else the plan's, else NULL (none, as on a free route).
 * Both may be NULL. */
const struct hold_rule *policy_hold_rule(const struct plan *plan, const struct route *route);

#endif
