-- Charges counted by the hour, for the console's overview. Only adds: the program before it runs on this schema too.

-- An hour is counted in full, again and again while attempts that began in it change, and longer spans from their hours:
-- see db/charge_counts.py.
CREATE TABLE charge_counts (
    partner_id uuid NOT NULL REFERENCES partners (id),
    livemode   boolean NOT NULL,
    hours      smallint NOT NULL CHECK (hours IN (1, 6, 24)),
    since      timestamptz NOT NULL CHECK (since = date_bin(make_interval(hours => hours), since, '2000-01-01 00:00Z')),
    provider   varchar(30) NOT NULL,
    currency   char(3) NOT NULL REFERENCES currencies (code),
    approved   integer NOT NULL CHECK (approved >= 0),
    declined   integer NOT NULL CHECK (declined >= 0),
    failed     integer NOT NULL CHECK (failed >= 0),     -- by errors: not sent, refused as a request, no known outcome
    undecided  integer NOT NULL CHECK (undecided >= 0),  -- under way, or given up by the customer
    amount     numeric(24,4) NOT NULL CHECK (amount >= 0),  -- of what was approved
    durations  integer[] NOT NULL CHECK (cardinality(durations) = 19),  -- how many verdicts took how long
    PRIMARY KEY (partner_id, livemode, hours, since, provider, currency)
);
CREATE INDEX charge_counts_across ON charge_counts (hours, livemode, since);
CALL isolate_partners('charge_counts');
CREATE POLICY console ON charge_counts FOR SELECT TO paygate_console
    USING (partner_id = current_partner() OR across_partners());
GRANT SELECT, INSERT, UPDATE ON charge_counts TO paygate_worker;
GRANT SELECT ON charge_counts TO paygate_console, paygate_operator;

-- How far changes of attempts were counted. What was there before is counted by the worker's first rounds.
CREATE TABLE charge_counting (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    until    timestamptz NOT NULL
);
ALTER TABLE attempts NO FORCE ROW LEVEL SECURITY;
INSERT INTO charge_counting (until)
SELECT CASE WHEN EXISTS (SELECT FROM attempts) THEN now() - interval '90 days' ELSE now() END;
ALTER TABLE attempts FORCE ROW LEVEL SECURITY;
GRANT SELECT, UPDATE (until) ON charge_counting TO paygate_worker;
GRANT SELECT ON charge_counting TO paygate_console, paygate_operator;

-- What waits in the inbox, among millions that do not.
CREATE INDEX provider_events_waiting ON provider_events (received_at) WHERE state IN ('received', 'parked');
