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
/* key, subject, organization, parents, all */
#define LEDGER_ACCOUNTS_MAX (3 + LEDGER_PARENTS_MAX + 1)
#define LEDGER_LINES_MAX 64
#define LEDGER_RATES_MAX 4
/* all that one change can cause */
#define LEDGER_EVENTS_MAX (LEDGER_LINES_MAX * (BUDGET_ALERTS_MAX + 1) + 1)
#define LEDGER_CARRY_PERIODS_MAX 64 /* how many earlier period rows a carried overage looks at */
#define LEDGER_OVERRUN_TOLD 1000000

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
    bool period_stored; /* false: no row yet; spent and held come from the journal */
    struct period period;
    int64_t spent_nanos; /* charges minus refunds */
    int64_t held_nanos;  /* live holds */
    int alerted; /* highest threshold in percent already told; LEDGER_OVERRUN_TOLD more once an
                    overrun was */

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

    int64_t later_us; /* the store's; no rule looks at it: of a new line, the journal's first
                         instant behind the period, 0 none */

    bool changed; /* the period row */
};

/* State of one GCRA limit: the theoretical arrival time in nanoseconds since 1970. The store fills
 * in `rate` from the plan and the route; a row without a limit (count 0) need not be there. */
struct rate_row {
    int64_t account_id;               /* the store's; no rule looks at it */
    int account;                      /* index into ledger.accounts: whose limit it is */
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
const char *hold_state_name(enum hold_state state); /* "held", "settled", "voided", "expired" */

struct hold {
    int64_t id;     /* 0: not in the store yet */
    uint64_t nonce; /* random part of the public id, 48 bits */
    int64_t chain_id;
    enum hold_state state;
    int64_t amount_nanos;
    int64_t placed_us;  /* it counts in the periods that contain this instant */
    int64_t expires_us; /* past its time from this instant on */
    int64_t ttl_us;     /* what a renewal adds from its own now */
    int64_t charge_id; /* the charge that settled it, or was posted after expiry; 0 none. Set by the
                          store */
    int64_t charged_nanos;        /* of that charge */
    int64_t expiry_charged_nanos; /* on_expiry = "charge": what its expiry charged; 0 none */
    int64_t expiry_charge_id;     /* that charge; set by the store */
    uint8_t caller[16]; /* SHA-256(credential digest, UNIQUE_ID), cut: who may find it again */
    char plan[PLAN_NAME_SIZE]; /* the plan of the credential that placed it */
    char route[ROUTE_PREFIX_SIZE];
    bool changed;
};

/* ---- identity of the budgets --------------------------------------------------------------- */

/* The account that pays, and of whose live holds a hold is one: the subject, else the key, else the
 * first; -1 in an empty chain. */
int ledger_payer(const struct ledger *ledger);

/*
 * Give every line its rule: a limit (and `enforce`) set by hand wins, else `plan`'s budget of the
 * same account and spec, else none (only counted). Credit and carry are the store's and stay
 * as they are. A budget of the plan that has no line yet gets a new one behind the others (id 0,
 * created `now_us`, no period: the store sets the period and what the journal holds). PER_ORG
 * without an organization counts on the subject, so that no caller escapes a cap; PER_KEY without a
 * key, as PER_SUBJECT without a subject, does not apply. Two budgets of the plan that meet on one
 * line: hard before warn before off, then the smaller limit. `plan` may be NULL (hand-set limits
 * only). Errors: STATUS_OVERFLOW (more than LEDGER_LINES_MAX lines).
 */
enum status ledger_bind(struct ledger *ledger, const struct plan *plan, int64_t now_us,
                        struct error *err) MUST_CHECK;

/* limit = base + credits - carry, in 0..MONEY_MAX_NANOS. Only for a line that is `limited`. */
int64_t ledger_limit(const struct budget_line *line);
/* limit - spent - held, or 0. */
int64_t ledger_remaining(const struct budget_line *line);

/* An earlier period of a line, for a carried overage. */
struct period_history {
    struct period period;
    int64_t spent_nanos;
    int64_t credit_nanos;
};
/*
 * The overage carried into the period that starts at `start_us`: each earlier period hands on what
 * was spent there, and carried into it, above today's base limit and its own credits; a period
 * without a row pays off one base limit, and what ended before the line was created had no limit to
 * overrun. `history` is in ascending order and ends at or before `start_us`. Errors: STATUS_INVALID
 * (unknown zone), STATUS_OVERFLOW (the carry would pass MONEY_MAX_NANOS).
 */
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
    bool own_account;                /* the caller's own key or subject: numbers may be told */
    int64_t expired_us;              /* REASON_EXPIRED */
    enum period_kind period;         /* REASON_BUDGET, or of the tightest budget */
    int64_t limit_nanos, spent_nanos, held_nanos; /* same */
    int64_t remaining_nanos;                      /* after this hold */
    int64_t resets_us;                            /* PERIOD_NEVER_US for `none` */
    bool has_budget;                              /* a hard budget governs this caller */
    char rate_text[RATE_TEXT_SIZE];               /* REASON_RATE */
    struct rate rate;
    int64_t retry_after_us; /* from now; RATE and CONCURRENCY */
    int64_t concurrency;    /* REASON_CONCURRENCY: the limit */
    char warn[256];         /* `warn` budgets that are over, "account period", comma separated */
    bool hold_placed;
    struct hold hold; /* set when hold_placed (or found again, for a repeated call) */
};

struct admission_event {
    const struct plan *plan;
    const char *missing_scope; /* NULL none */
    int64_t verification;      /* number of the verification used; see account.verify_after */
    bool hold_due; /* place a hold, if only of 0. Implied by hold_nanos > 0 and by concurrency */
    int64_t hold_nanos;
    int64_t hold_ttl_us;
    bool free; /* what is asked for costs nothing: budgets and concurrency are not asked, and no
                  hold is placed */
    /* An earlier call of this client request was counted, and placed `earlier` (NULL: no hold).
     * While that hold lives, nothing is counted or placed again and budgets and concurrency, which
     * it holds its place in, are not asked; without a hold the rates are not asked (and one that is
     * due by now is placed). Every other check runs. Once the hold is settled, voided, expired or
     * past its time, the call counts like a first one. */
    bool repeated;
    const struct hold *earlier;
};

/*
 * Decide one request. Order: revoked, reverify, frozen, expired, scope, rate, concurrency, budgets;
 * each in chain order, but the rate that refuses for longest and the tightest budget (smallest
 * remaining, then chain order, then plan order, then the shorter period) are the ones that are
 * named. On allow the rates, and with a hold every line's held and the payer's live_holds, are
 * changed and `out->hold` is filled (id 0; nonce, chain, caller and route left to the store). A
 * refusal changes nothing. A new subject account (id 0) gets `expires_us` from the plan, and `plan`
 * is noted on the subject. A budget refuses when spent + held + hold would pass its limit, or
 * without a hold when spent + held is at it. `out->warn` names the `warn` budgets that would have
 * refused.
 */
void ledger_admit(struct ledger *ledger, const struct admission_event *event, int64_t now_us,
                  struct verdict *out);

/* ---- spending ------------------------------------------------------------------------------- */

/*
 * What all of these have in common: the lines are those of every account of the chain, in the
 * periods that contain the instant named; all lines change together or none does. Thresholds and
 * overruns that a charge reaches are appended to ledger.events, each once per line and period:
 * spent >= percent of the limit, for hard and warn budgets; spent > limit, for hard ones. Amounts
 * outside 0..MONEY_MAX_NANOS are STATUS_INVALID; a counter that would pass MONEY_MAX_NANOS is
 * STATUS_OVERFLOW, and one that would become negative STATUS_CORRUPT (the rows contradict the
 * journal). After an error nothing has changed.
 */

struct charge_effect {
    bool over_budget;      /* a hard budget of the chain is passed: spent > limit */
    bool over_hold;        /* the cost is above what was held for it (a hold of 0 holds nothing) */
    int64_t overrun_nanos; /* by how much the tightest one is: the largest spent - limit */
};

/* Record a charge without a hold. Lines of `now_us`, its arrival. */
enum status ledger_charge(struct ledger *ledger, int64_t cost_nanos, int64_t now_us,
                          struct charge_effect *out, struct error *err) MUST_CHECK;
/*
 * Post the cost of a hold. Lines of its placement. HELD becomes SETTLED, also when it is past its
 * time and nobody has looked yet, and its held amount is returned; EXPIRED stays EXPIRED, and what
 * the expiry charged is taken back. `charged_nanos` is set; the store sets `charge_id`. Errors:
 * STATUS_CONFLICT (voided, settled, or expired with a charge posted: charge_id > 0).
 */
enum status ledger_settle(struct ledger *ledger, struct hold *hold, int64_t cost_nanos,
                          int64_t now_us, struct charge_effect *out, struct error *err) MUST_CHECK;
/* HELD becomes VOIDED. Lines of its placement. Voiding twice is STATUS_OK; else STATUS_CONFLICT. */
enum status ledger_void(struct ledger *ledger, struct hold *hold, int64_t now_us,
                        struct error *err) MUST_CHECK;
/* HELD and past its time becomes EXPIRED, and the room is free; with `charge` the amount is charged
 * (expiry_charged_nanos), or nothing where a counter cannot take it. Lines of its placement.
 * Appends EVENT_HOLD_EXPIRED. STATUS_CONFLICT otherwise. */
enum status ledger_expire(struct ledger *ledger, struct hold *hold, bool charge, int64_t now_us,
                          struct error *err) MUST_CHECK;
/*
 * Raise a hold by `add_nanos` (0: a heartbeat) and renew its time to `now_us` + ttl_us. Lines of
 * `hold_extend_at`. On an EXPIRED hold without a charge this is an admission again, of the whole
 * new amount: revoked, frozen, expired, concurrency and budgets are asked, and its placement
 * becomes `now_us`. On a HELD one revoked and frozen are asked, and a raise must fit the budgets (a
 * heartbeat always does). A refusal is a denial in `out` and changes nothing; on allow `out->hold`
 * is the hold as it now is. plan    judges the concurrency; NULL: no limit. Errors: STATUS_CONFLICT
 * (settled, voided, expired and charged, or HELD and past its time: expire it first).
 */
enum status ledger_extend(struct ledger *ledger, const struct plan *plan, struct hold *hold,
                          int64_t add_nanos, int64_t now_us, struct verdict *out,
                          struct error *err) MUST_CHECK;
/* The instant whose periods ledger_extend changes: the placement of a HELD hold, else `now_us`. */
int64_t hold_extend_at(const struct hold *hold, int64_t now_us);
/* Take back `amount_nanos` of a charge of `charge_nanos` of which `refunded_nanos` was taken back
 * already. Lines of the charge's instant. STATUS_CONFLICT when that passes the charge. */
enum status ledger_refund(struct ledger *ledger, int64_t charge_nanos, int64_t refunded_nanos,
                          int64_t amount_nanos, struct error *err) MUST_CHECK;

/* ---- rates ---------------------------------------------------------------------------------- */

/* How far a clock reading may lie behind one that was used before it: processes read the clock,
 * then wait for the lock (at most 2 s). */
#define RATE_CLOCK_SLACK_US (INT64_C(5) * 1000000)

/*
 * GCRA: one more request at `now_us`? True moves `tat_ns` on. False leaves it and sets
 * `retry_after_us` (rounded up). `count` requests per `per_us`, up to `burst` at once; the interval
 * is rounded down to a nanosecond, and a burst worth more than a hundred years counts as a hundred
 * years. A TAT that is further ahead than the burst by more than RATE_CLOCK_SLACK_US comes from a
 * clock that was wrong: it is cut, so that this request is the last of a full burst.
 */
bool rate_take(const struct rate *rate, int64_t *tat_ns, int64_t now_us, int64_t *retry_after_us);
/* The same question without taking anything. */
bool rate_would_allow(const struct rate *rate, int64_t tat_ns, int64_t now_us,
                      int64_t *retry_after_us);
/* How many requests it would allow at once, 0..burst; of a rate without a limit (count 0) its
 * burst. */
int64_t rate_left(const struct rate *rate, int64_t tat_ns, int64_t now_us);

#endif
