-- SPDX-License-Identifier: MIT
-- What listings, reports and sums over the journal need when it is long (bench/listings, docs/performance.md).

-- By time: a range of months is found by partition, a day or the time of holds within them by these. A block
-- range index is a thousandth of the size of another, since rows lie in the order in which they came.
CREATE INDEX charge_time ON spendgate.charge USING brin (at_us, created_us)
    WITH (pages_per_range = 32, autosummarize = on);

CREATE INDEX charge_model ON spendgate.charge (model, id) WHERE model IS NOT NULL;

-- With refunds, so that a listing by route can use it too.
DROP INDEX spendgate.charge_route;
CREATE INDEX charge_route ON spendgate.charge (route, id) INCLUDE (amount_nanos, kind)
    WHERE route IS NOT NULL;

-- What of an account's journal is summed for a new budget, without looking at the rows themselves.
DROP INDEX spendgate.charge_chain;
CREATE INDEX charge_chain ON spendgate.charge (chain_id, id) INCLUDE (at_us, amount_nanos, kind);
