-- SPDX-License-Identifier: MIT
-- Money is nano-dollars, time is UTC microseconds since 1970. Keys are ascending integers, so that
-- what is written per request lands on the last page of its table; texts that go outside are derived.
-- Rows point at each other without enforced foreign keys (they cost on every write): `spendgate verify`
-- looks for a pointer to nothing.

CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, value) VALUES ('verification', 1), ('checkpoint', 0), ('pruned_until_us', 0);

CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    plan TEXT NOT NULL DEFAULT '',
    parent_id INTEGER NOT NULL DEFAULT 0,
    frozen INTEGER NOT NULL DEFAULT 0 CHECK (frozen IN (0, 1)),
    revoked INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1)),
    expires_us INTEGER NOT NULL DEFAULT 0,
    verify_after INTEGER NOT NULL DEFAULT 0,
    live_holds INTEGER NOT NULL DEFAULT 0 CHECK (live_holds >= 0),
    first_seen_us INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX account_parent ON account (parent_id) WHERE parent_id <> 0;
INSERT INTO account (id, name) VALUES (1, 'all');

-- What Clerk's listings say (`spendgate clerk sync`). Of a key: its name there, when it ends, whether it
-- is listed no more. Of a subject: when its keys were listed last; of `all`: when the sync that is under
-- way began.
CREATE TABLE clerk_note (
    account_id INTEGER PRIMARY KEY,
    title TEXT NOT NULL DEFAULT '',
    expires_us INTEGER NOT NULL DEFAULT 0,
    gone INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1)),
    listed_us INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The set of accounts that one request counts on. `spec` is its members as text, "id:roles,…".
CREATE TABLE chain (
    id INTEGER PRIMARY KEY,
    spec TEXT NOT NULL UNIQUE,
    payer_id INTEGER NOT NULL
) STRICT;
CREATE TABLE chain_account (
    chain_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    roles INTEGER NOT NULL,
    PRIMARY KEY (chain_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX chain_account_account ON chain_account (account_id, chain_id);

-- id = account_id * 256 + 1, 2, …: an account's lines, and their periods, lie side by side.
CREATE TABLE budget (
    id INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL CHECK (id >> 8 = account_id),
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 6),
    timezone TEXT NOT NULL,
    anchor_day INTEGER NOT NULL,
    week_start INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    hand_limit_nanos INTEGER CHECK (hand_limit_nanos >= 0),
    hand_enforce INTEGER CHECK (hand_enforce BETWEEN 0 AND 2),
    credits_nanos INTEGER NOT NULL DEFAULT 0 CHECK (credits_nanos >= 0) -- all there ever were
) STRICT;

CREATE TABLE budget_period (
    budget_id INTEGER NOT NULL,
    start_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL CHECK (end_us > start_us),
    spent_nanos INTEGER NOT NULL CHECK (spent_nanos >= 0),
    held_nanos INTEGER NOT NULL CHECK (held_nanos >= 0),
    alerted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (budget_id, start_us)
) STRICT, WITHOUT ROWID;

CREATE TABLE hold (
    id INTEGER PRIMARY KEY,
    nonce INTEGER NOT NULL,
    chain_id INTEGER NOT NULL,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
    amount_nanos INTEGER NOT NULL CHECK (amount_nanos >= 0),
    placed_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    ttl_us INTEGER NOT NULL,
    charge_id INTEGER NOT NULL DEFAULT 0,
    expiry_charged_nanos INTEGER NOT NULL DEFAULT 0 CHECK (expiry_charged_nanos >= 0),
    expiry_charge_id INTEGER NOT NULL DEFAULT 0,
    caller BLOB,
    plan TEXT NOT NULL DEFAULT '',
    route TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX hold_live ON hold (expires_us) WHERE state = 0;

CREATE TABLE charge (
    id INTEGER PRIMARY KEY,
    nonce INTEGER NOT NULL,
    kind INTEGER NOT NULL CHECK (kind IN (0, 1)),
    chain_id INTEGER NOT NULL,
    amount_nanos INTEGER NOT NULL CHECK (amount_nanos >= 0),
    at_us INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    occurred_us INTEGER NOT NULL DEFAULT 0,
    hold_id INTEGER NOT NULL DEFAULT 0,
    refund_of INTEGER NOT NULL DEFAULT 0,
    hold_text TEXT, -- a hold_id that the store did not know
    model TEXT,
    route TEXT,
    tags TEXT,
    token TEXT,
    note TEXT,
    metadata TEXT,
    usage TEXT,     -- token counts, JSON
    price_id INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX charge_chain ON charge (chain_id);
CREATE INDEX charge_route ON charge (route, id, amount_nanos) WHERE route IS NOT NULL AND kind = 0;
CREATE INDEX charge_refund ON charge (refund_of) WHERE refund_of <> 0;
CREATE UNIQUE INDEX charge_hold_text ON charge (hold_text) WHERE hold_text IS NOT NULL;

-- In force in [from_us, until_us).
CREATE TABLE credit (
    id INTEGER PRIMARY KEY,
    budget_id INTEGER NOT NULL,
    amount_nanos INTEGER NOT NULL CHECK (amount_nanos >= 0),
    from_us INTEGER NOT NULL,
    until_us INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    who TEXT NOT NULL,
    note TEXT NOT NULL
) STRICT;
CREATE INDEX credit_budget ON credit (budget_id);

-- Replies by key. The settlement of a hold is here with scope '' and the hold's id as its key.
CREATE TABLE idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    reply BLOB NOT NULL,
    created_us INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    budget_id INTEGER NOT NULL DEFAULT 0,
    period_start_us INTEGER NOT NULL DEFAULT 0,
    hold_id INTEGER NOT NULL DEFAULT 0,
    percent INTEGER NOT NULL DEFAULT 0,
    created_us INTEGER NOT NULL,
    told_us INTEGER NOT NULL DEFAULT 0, -- 0: not delivered yet
    who TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT ''
) STRICT;

-- GCRA: the theoretical arrival time in nanoseconds since 1970.
CREATE TABLE rate (
    account_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    tat_ns INTEGER NOT NULL,
    PRIMARY KEY (account_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE admission (
    key BLOB PRIMARY KEY,
    hold_id INTEGER NOT NULL,
    expires_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Versions are never edited: what a charge says it was priced by stays what it was.
CREATE TABLE price (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    from_us INTEGER NOT NULL,
    rates TEXT NOT NULL, -- JSON: what a token of each kind costs
    source TEXT NOT NULL,
    UNIQUE (model, provider, from_us)
) STRICT;
