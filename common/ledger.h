/* SPDX-License-Identifier: MIT */
/*
 * The money rules, pure: (rows, event, now) -> (answer, changed rows). No I/O, no clock, no
 * allocation. A store loads the rows an event needs under a lock, calls one function here, and
 * writes back what is marked `changed`, in one transaction.
 * Source: design document, section 4 (I1 to I10).
 */
#ifndef SPENDGATE_LEDGER_H
#define SPENDGATE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/money.h"
#include "common/period.h"
#include "common/policy.h"

#define ACCOUNT_NAME_SIZE 160 /* 1..159 visible ASCII bytes */
#define LEDGER_PARENTS_MAX 4
#define LEDGER_ACCOUNTS_MAX (3 + LEDGER_PARENTS_MAX + 1) /* key, subject, organization, parents, all */
#define LEDGER_LINES_MAX 64
#define LEDGER_RATES_MAX 4
#define LEDGER_EVENTS_MAX 96
#define LEDGER_CARRY_PERIODS_MAX 64 /* how many earlier period rows a carried overage looks at */

/* What an account is, from its name: "user_", "org_", "mch_", "key:", "group:", "all". */
enum account_kind {
    ACCOUNT_SUBJECT, /* any other name: data, not an error */
    ACCOUNT_USER,
    ACCOUNT_ORGANIZATION,
    ACCOUNT_MACHINE,
    ACCOUNT_KEY,
    ACCOUNT_GROUP,
    ACCOUNT_ALL,
};
enum account_kind account_kind_of(const char *name);
const char *account_kind_name(enum account_kind kind); /* "user", "organization", "machine", ... */
/* 1..ACCOUNT_NAME_SIZE-1 visible ASCII bytes, no space, '/', '?', '#', '%', '"' or '\'. */
bool account_name_valid(const char *name);

struct account {
    int64_t id; /* > 0; 0: not in the store yet */
    char name[ACCOUNT_NAME_SIZE];
    char plan[PLAN_NAME_SIZE]; /* last seen, for display; "" none */
    int64_t parent_id;         /* 0 none */
    bool frozen, revoked;
    int64_t expires_us;   /* 0 never; set at first sight, moved only by renew */
    int64_t verify_after; /* verifications with a smaller number are not used */
    int64_t live_holds;   /* holds in state HOLD_HELD that this account pays */
    int64_t first_seen_us;
    bool changed;
};

/* One counter line of an account with the one period that the event is about. */
struct budget_line {
    int64_t id;  /* 0: not in the store yet */
    int account; /* index into ledger.accounts */
    struct period_spec spec;
    int64_t created_us;
    bool hand_limited; /* a limit set by hand wins over the plan's */
    int64_t hand_limit_nanos;
    bool hand_enforced;
    enum enforce hand_enforce;
    bool has_credits; /* the line has credit rows; saves a look when it has none */

    /* the period row that contains the event's instant */
    bool period_stored; /* false: the row does not exist yet, spent and held come from the journal */
    struct period period;
    int64_t spent_nanos; /* charges minus refunds */
    int64_t held_nanos;  /* live holds */
    int alerted;         /* highest threshold in percent already told; 1000000 + once an overrun was */

    /* the rule in force for this event (ledger_bind, then the store adds credit and carry) */
    bool limited; /* false: only counted */
    bool from_plan;
    int plan_index; /* position among the plan's budgets, -1 when the plan has none for it */
    int64_t base_limit_nanos;
    int64_t credit_nanos; /* top-ups and boosts in force in this period at `now` */
    int64_t carry_nanos;  /* overage of earlier periods (OVERAGE_CARRY) */
    enum enforce enforce;
    enum overage overage;
    size_t alert_count;
    int alerts[BUDGET_ALERTS_MAX];

    bool changed; /* the period row */
};

/* State of one GCRA limit: the theoretical arrival time in nanoseconds since 1970. */
struct rate_row {
    int64_t account_id;
    char name[8 + ROUTE_PREFIX_SIZE]; /* "subject", "key", "org", "route:/api/" */
    struct rate rate;
    int64_t tat_ns; /* 0: never used */
    bool changed;
};

enum event_kind {
    EVENT_THRESHOLD = 1, /* `percent` of a budget's limit was reached */
    EVENT_OVERRUN,       /* a hard budget's limit was passed */
    EVENT_HOLD_EXPIRED,
    EVENT_ACCOUNT_FROZEN,
    EVENT_ADMIN, /* a change by an operator: who, what, why */
};
const char *event_kind_name(enum event_kind kind);

struct ledger_event {
    enum event_kind kind;
    int line;    /* index into ledger.lines, or -1 */
    int percent; /* EVENT_THRESHOLD */
};

/* Everything one event needs. Accounts are in chain order: key, subject, organization, parents,
 * all; one that appears twice is there once, at its first place. */
struct ledger {
    int64_t chain_id; /* 0: this set of accounts is not in the store yet */
    size_t account_count;
    struct account accounts[LEDGER_ACCOUNTS_MAX];
    int key, subject, organization; /* indexes, -1 none; organization may equal subject */
    size_t line_count;
    struct budget_line lines[LEDGER_LINES_MAX];
    size_t rate_count;
    struct rate_row rates[LEDGER_RATES_MAX];
    size_t event_count;
    struct ledger_event events[LEDGER_EVENTS_MAX];
};

enum hold_state { HOLD_HELD = 0, HOLD_SETTLED, HOLD_VOIDED, HOLD_EXPIRED };
const char *hold_state_name(enum hold_state state); /* "held" .. */

struct hold {
    int64_t id; /* 0: not in the store yet */
    uint64_t nonce; /* random part of the public id, 48 bits */
    int64_t chain_id;
    enum hold_state state;
    int64_t amount_nanos;
    int64_t placed_us;
    int64_t expires_us;
    int64_t ttl_us;    /* what a renewal adds from its own now */
    int64_t charge_id; /* the charge that settled it, or was posted after expiry; 0 none */
    int64_t charged_nanos; /* of that charge */
    uint8_t caller[16]; /* SHA-256(credential digest, UNIQUE_ID), cut: who may find it again */
    char plan[PLAN_NAME_SIZE]; /* the plan of the credential that placed it */
    char route[ROUTE_PREFIX_SIZE];
    bool changed;
};

/* ---- identity of the budgets --------------------------------------------------------------- */

/*
 * Give every line its rule: a hand-set limit wins, else `plan`'s budget of the same account and
 * spec, else none. A budget of the plan that has no line yet gets a new one (id 0, created `now_us`).
 * PER_ORG without an organization counts on the subject, so that no caller escapes a cap.
 * `plan` may be NULL (hand-set limits only). Errors: STATUS_OVERFLOW (more than LEDGER_LINES_MAX lines).
 */
enum status ledger_bind(struct ledger *ledger, const struct plan *plan, int64_t now_us,
                        struct error *err) MUST_CHECK;

/* limit = base + credits - carry, never below 0. Only for a line that is `limited`. */
int64_t ledger_limit(const struct budget_line *line);
/* limit - spent - held, or 0. */
int64_t ledger_remaining(const struct budget_line *line);

/* An earlier period of a line, for a carried overage. */
struct period_history {
    struct period period;
    int64_t spent_nanos;
    int64_t credit_nanos;
};
/* The overage carried into the period that starts at `start_us`: each earlier period hands its
 * overrun on, and a period without a row pays off one base limit. `history` is in ascending order and
 * ends before `start_us`. */
enum status ledger_carry(const struct budget_line *line, const struct period_history *history,
                         size_t count, int64_t start_us, int64_t *carry_nanos,
                         struct error *err) MUST_CHECK;

/* ---- admission ------------------------------------------------------------------------------ */

enum reason {
    REASON_NONE = 0, /* with allow == false: a failure, 503 */
    REASON_REVOKED,
    REASON_REVERIFY, /* an account asks for a newer verification: ask Clerk again, then come back */
    REASON_FROZEN,
    REASON_EXPIRED,
    REASON_SCOPE,
    REASON_RATE,
    REASON_CONCURRENCY,
    REASON_BUDGET,
    REASON_NOT_YOURS, /* the hold named by a redirected request is not this caller's */
};

/* Zero is a denial. Holds no pointers. */
struct verdict {
    bool allow;
    enum reason reason;
    char account[ACCOUNT_NAME_SIZE]; /* whose rule refused; also for REVOKED, FROZEN, EXPIRED */
    bool own_account; /* the caller's own key or subject: numbers may be told */
    int64_t expired_us;                                  /* REASON_EXPIRED */
    enum period_kind period;                             /* REASON_BUDGET, or of the tightest budget */
    int64_t limit_nanos, spent_nanos, held_nanos;        /* same */
    int64_t remaining_nanos;                             /* after this hold */
    int64_t resets_us;                                   /* PERIOD_NEVER_US for `none` */
    bool has_budget;                                     /* a hard budget governs this caller */
    char rate_text[RATE_TEXT_SIZE];                      /* REASON_RATE */
    struct rate rate;
    int64_t retry_after_us;                              /* from now; RATE and CONCURRENCY */
    int64_t concurrency;                                 /* REASON_CONCURRENCY: the limit */
    char warn[256]; /* `warn` budgets that are over, "account period", comma separated */
    bool hold_placed;
    struct hold hold; /* set when hold_placed (or found again, for a repeated call) */
};

struct admission_event {
    const struct plan *plan;
    const char *missing_scope;  /* NULL none */
    int64_t verification;       /* number of the verification used; see account.verify_after */
    bool hold_due;              /* place a hold, if only of 0 (concurrency) */
    int64_t hold_nanos;
    int64_t hold_ttl_us;
    const struct hold *earlier; /* the hold an earlier call of the same client request placed, or NULL */
    bool repeated;              /* an earlier call of this client request was counted: no rate, no hold again */
};

/*
 * Decide one request. Order: revoked, reverify, frozen, expired, scope, rate, concurrency, budgets.
 * On allow the rates, and with `hold_due` every line's held and the payer's live_holds, are changed
 * and `out->hold` is filled (id 0, nonce and caller left to the store). A refusal changes nothing.
 * A new subject account (id 0) gets `expires_us` from the plan, and `plan` is noted on it.
 */
void ledger_admit(struct ledger *ledger, const struct admission_event *event, int64_t now_us,
                  struct verdict *out);

/* ---- spending ------------------------------------------------------------------------------- */

struct charge_effect {
    bool over_budget;      /* a hard budget of the chain is passed */
    int64_t overrun_nanos; /* by how much the tightest one is */
};

/*
 * Record a charge without a hold on every line.
 * Errors, all of which change nothing: STATUS_OVERFLOW (a counter would pass MONEY_MAX_NANOS).
 */
enum status ledger_charge(struct ledger *ledger, int64_t cost_nanos, int64_t now_us,
                          struct charge_effect *out, struct error *err) MUST_CHECK;
/*
 * Post the cost of a hold (the lines are those of its placement). HELD becomes SETTLED and its held
 * amount is returned; EXPIRED stays EXPIRED. With `already_charged_nanos` > 0 (on_expiry = "charge")
 * that much was charged at expiry and is taken back first.
 * Errors: STATUS_CONFLICT (voided, settled, or expired with a charge posted), STATUS_OVERFLOW.
 */
enum status ledger_settle(struct ledger *ledger, struct hold *hold, int64_t cost_nanos,
                          int64_t already_charged_nanos, int64_t now_us, struct charge_effect *out,
                          struct error *err) MUST_CHECK;
/* HELD becomes VOIDED; voiding twice is STATUS_OK; else STATUS_CONFLICT. */
enum status ledger_void(struct ledger *ledger, struct hold *hold, int64_t now_us,
                        struct error *err) MUST_CHECK;
/* HELD and past its time becomes EXPIRED, and the room is free; with `charge` the amount is charged.
 * STATUS_CONFLICT otherwise. */
enum status ledger_expire(struct ledger *ledger, struct hold *hold, bool charge, int64_t now_us,
                          struct error *err) MUST_CHECK;
/*
 * Raise a hold by `add_nanos` (0: a heartbeat) and renew its time. On an EXPIRED hold without a charge
 * this is an admission again, of the whole new amount. A raise that does not fit, or a frozen or revoked
 * account, is a denial in `out` and changes nothing.
 * Errors: STATUS_CONFLICT (settled, voided, or expired and charged), STATUS_OVERFLOW.
 */
enum status ledger_extend(struct ledger *ledger, struct hold *hold, int64_t add_nanos, int64_t now_us,
                          struct verdict *out, struct error *err) MUST_CHECK;
/* Take back `amount_nanos` of a charge of which `refunded_nanos` was taken back already; lines are those
 * of the charge's instant. STATUS_CONFLICT when that passes the charge. */
enum status ledger_refund(struct ledger *ledger, int64_t charge_nanos, int64_t refunded_nanos,
                          int64_t amount_nanos, struct error *err) MUST_CHECK;

/* ---- rates ---------------------------------------------------------------------------------- */

/*
 * GCRA: one more request at `now_us`? True moves `tat_ns` on. False leaves it and sets `retry_after_us`
 * (rounded up). A TAT further ahead than the burst (a clock that jumped) is cut to it first. `count`
 * requests per `per_us`, up to `burst` at once; the interval is rounded down to a nanosecond.
 */
bool rate_take(const struct rate *rate, int64_t *tat_ns, int64_t now_us, int64_t *retry_after_us);
/* The same question without taking anything. */
bool rate_would_allow(const struct rate *rate, int64_t tat_ns, int64_t now_us,
                      int64_t *retry_after_us);

#endif
