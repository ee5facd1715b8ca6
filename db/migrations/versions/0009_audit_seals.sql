-- Seals: what the audit log and the ledger held of each stretch of time, chained, and what came of verifying them. Only
-- adds: the program before it runs on this schema too.

-- By time, for the sealer: rows lie in that order already, so a summary per range of pages is enough.
CREATE INDEX audit_logs_created ON audit_logs USING brin (created_at) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX ledger_entries_created ON ledger_entries
    USING brin (created_at) WITH (pages_per_range = 16, autosummarize = on);
-- Newest first, for whoever asks what somebody did, or who did something.
CREATE INDEX audit_logs_actor ON audit_logs (actor, id DESC);
CREATE INDEX audit_logs_action ON audit_logs (action, id DESC);
-- Over all partners, and never while the worker acts as one.
CREATE POLICY seal ON audit_logs FOR SELECT TO paygate_worker USING (current_partner() IS NULL);
CREATE POLICY seal ON ledger_entries FOR SELECT TO paygate_worker USING (current_partner() IS NULL);

CREATE TABLE audit_seals (
    table_name varchar(63) NOT NULL,
    number     integer NOT NULL CHECK (number > 0),
    format     smallint NOT NULL,     -- which columns were sealed, and how
    since      timestamptz NOT NULL,  -- where the seal before ends; the first begins at -infinity
    until      timestamptz NOT NULL,
    count      bigint NOT NULL CHECK (count >= 0),
    digest     bytea NOT NULL CHECK (length(digest) = 32),  -- of the rows
    chain      bytea NOT NULL CHECK (length(chain) = 32),   -- of all this and the chain before
    sealed_at  timestamptz NOT NULL,
    PRIMARY KEY (table_name, number),
    CONSTRAINT sealed_forward CHECK (since < until)
);
CALL make_append_only('audit_seals');
ALTER TABLE audit_seals ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_seals FORCE ROW LEVEL SECURITY;
CREATE POLICY seal ON audit_seals TO paygate_worker USING (true);
CREATE POLICY look ON audit_seals FOR SELECT TO paygate_operator, paygate_console USING (true);
GRANT SELECT, INSERT ON audit_seals TO paygate_worker;
GRANT SELECT ON audit_seals TO paygate_operator, paygate_console;

CREATE TABLE audit_verifications (
    table_name  varchar(63) NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    number      integer NOT NULL DEFAULT 0 CHECK (number >= 0),  -- the last seal that was looked at
    chain       bytea,                                           -- of that seal
    rows        bigint NOT NULL DEFAULT 0 CHECK (rows >= 0),
    retired     integer NOT NULL DEFAULT 0 CHECK (retired >= 0),  -- seals whose rows' partition is detached
    broken      integer NOT NULL DEFAULT 0 CHECK (broken >= 0),
    finished_at timestamptz,
    PRIMARY KEY (table_name, started_at)
);
CREATE UNIQUE INDEX one_verification ON audit_verifications (table_name) WHERE finished_at IS NULL;
ALTER TABLE audit_verifications ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_verifications FORCE ROW LEVEL SECURITY;
CREATE POLICY verify ON audit_verifications TO paygate_worker USING (true);
CREATE POLICY look ON audit_verifications FOR SELECT TO paygate_operator, paygate_console USING (true);
GRANT SELECT, INSERT, UPDATE ON audit_verifications TO paygate_worker;
GRANT SELECT ON audit_verifications TO paygate_operator, paygate_console;

ALTER TABLE findings DROP CONSTRAINT findings_source_check,
    ADD CHECK (source IN ('watchdog', 'reconciler', 'sealer'));
