-- Recovery: late successes and their compensation, every answer of a PSP, reviews by two people, findings, and how far
-- each account's own lists were read. Only adds: the program before it runs on this schema too.

ALTER TYPE attempt_operation ADD VALUE 'compensate';
ALTER TYPE transaction_event_type ADD VALUE 'late_success_found';
ALTER TYPE transaction_event_type ADD VALUE 'compensation_processing';
ALTER TYPE transaction_event_type ADD VALUE 'compensation_failed';
ALTER TYPE transaction_event_type ADD VALUE 'duplicate_compensated';
ALTER TYPE transaction_event_type ADD VALUE 'review_resolved';

CREATE TYPE review_reason AS ENUM ('silence', 'contradiction', 'compensation');
ALTER TABLE transactions ADD COLUMN review_reason review_reason;  -- why needs_review: it says who can answer

-- What gives a late success back is an attempt of its own.
ALTER TABLE attempts
    ADD COLUMN compensates uuid,
    ADD FOREIGN KEY (partner_id, compensates) REFERENCES attempts (partner_id, id);
CREATE UNIQUE INDEX one_compensation ON attempts (partner_id, compensates)
    WHERE compensates IS NOT NULL AND state <> 'declined';
-- By account: a PSP that is silent must not hide what is due at the others.
CREATE INDEX attempts_due_at_account ON attempts (account_id, next_check_at) WHERE next_check_at IS NOT NULL;
DROP INDEX attempts_due;
-- By time, for the watchdog and the reconciler: rows lie in that order already, so a summary per range of pages is enough.
CREATE INDEX attempts_updated ON attempts USING brin (updated_at) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX attempts_created ON attempts USING brin (created_at) WITH (pages_per_range = 16, autosummarize = on);

-- ── What PSPs answered when they were asked again ───────────────────────────────────────────────────────────────
-- The first answer to an attempt is in transaction_events; a later one that changes nothing there is kept here.

CREATE TYPE call_purpose AS ENUM ('resend', 'look_up', 'proceed', 'rule_out');

CREATE TABLE provider_calls (
    partner_id     uuid NOT NULL,
    id             uuid NOT NULL,
    transaction_id uuid NOT NULL,
    attempt_id     uuid NOT NULL,
    purpose        call_purpose NOT NULL,
    outcome        jsonb NOT NULL,  -- redacted: no token, no credential, no personal datum
    called_at      timestamptz NOT NULL,
    PRIMARY KEY (partner_id, id)
) PARTITION BY RANGE (id);
CREATE TABLE provider_calls_other PARTITION OF provider_calls DEFAULT;
CREATE INDEX provider_calls_transaction ON provider_calls (partner_id, transaction_id, id);
CALL make_append_only('provider_calls');
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON provider_calls_other
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CALL isolate_partners('provider_calls');
CALL isolate_partners('provider_calls_other');
GRANT SELECT, INSERT ON provider_calls TO paygate_app, paygate_worker;
GRANT SELECT ON provider_calls TO paygate_operator;

-- As before, for whichever tables are partitioned; what is append-only stays so in each partition.
CREATE OR REPLACE FUNCTION create_partitions(months_ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    parent regclass;
    month date;
    partition text;
    made integer := 0;
BEGIN
    IF months_ahead NOT BETWEEN 0 AND 24 THEN
        RAISE EXCEPTION 'months_ahead must be 0 to 24' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR parent IN SELECT partrelid FROM pg_partitioned_table ORDER BY partrelid LOOP
        FOR month IN SELECT generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
                date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => months_ahead),
                interval '1 month')::date LOOP
            partition := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
            CONTINUE WHEN to_regclass('public.' || partition) IS NOT NULL;
            EXECUTE format('CREATE TABLE public.%I PARTITION OF %s FOR VALUES FROM (%L) TO (%L)',
                partition, parent,
                public.uuid_v7_floor(month::timestamp AT TIME ZONE 'UTC'),
                public.uuid_v7_floor((month + interval '1 month')::timestamp AT TIME ZONE 'UTC'));
            EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', partition);
            EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', partition);
            IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = parent AND tgname = 'append_only_truncate') THEN
                EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON public.%I
                                FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change()', partition);
            END IF;
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
SELECT create_partitions(3);

-- ── Reviews: what a person decides where no PSP tells ───────────────────────────────────────────────────────────

CREATE TYPE review_verdict AS ENUM ('succeeded', 'failed', 'settled');

CREATE TABLE review_decisions (
    partner_id     uuid NOT NULL,
    id             uuid NOT NULL,
    transaction_id uuid NOT NULL,
    attempt_id     uuid,          -- whose outcome is decided; NULL: the books are right as they are
    verdict        review_verdict NOT NULL,
    provider_id    varchar(255),  -- what the PSP calls it, where it succeeded
    evidence       text NOT NULL CHECK (length(evidence) BETWEEN 10 AND 4000),
    version        integer NOT NULL,  -- of the transaction, as the first person saw it
    requested_by   varchar(100) NOT NULL,
    requested_at   timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    approved_by    varchar(100),
    approved_at    timestamptz,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, transaction_id) REFERENCES transactions (partner_id, id),
    FOREIGN KEY (partner_id, attempt_id) REFERENCES attempts (partner_id, id),
    CONSTRAINT four_eyes CHECK (approved_by <> requested_by),
    CHECK ((approved_by IS NULL) = (approved_at IS NULL)),
    CHECK ((attempt_id IS NULL) = (verdict = 'settled'))
);
CREATE INDEX review_decisions_transaction ON review_decisions (partner_id, transaction_id, id DESC);
CREATE FUNCTION review_decisions_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.approved_at IS NOT NULL OR OLD.expires_at <= now()
       OR to_jsonb(NEW) - ARRAY['approved_by', 'approved_at'] <> to_jsonb(OLD) - ARRAY['approved_by', 'approved_at'] THEN
        RAISE EXCEPTION 'a decision is approved once, as it was asked for and before it expires'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON review_decisions FOR EACH ROW EXECUTE FUNCTION review_decisions_guard();
CREATE TRIGGER keep BEFORE DELETE ON review_decisions FOR EACH ROW EXECUTE FUNCTION refuse_delete();
CREATE TRIGGER keep_truncate BEFORE TRUNCATE ON review_decisions FOR EACH STATEMENT EXECUTE FUNCTION refuse_delete();
CALL isolate_partners('review_decisions');
GRANT SELECT, INSERT, UPDATE (approved_by, approved_at) ON review_decisions TO paygate_worker;
GRANT SELECT ON review_decisions TO paygate_operator;

-- ── Findings: what the watchdog and the reconciler hold against our books ───────────────────────────────────────

CREATE TABLE findings (
    id         uuid PRIMARY KEY,
    source     varchar(20) NOT NULL CHECK (source IN ('watchdog', 'reconciler')),
    kind       varchar(60) NOT NULL,
    subject    varchar(255) NOT NULL,  -- our id, or the PSP's where we have none
    partner_id uuid REFERENCES partners (id),
    account_id uuid REFERENCES provider_accounts (id),
    data       jsonb NOT NULL DEFAULT '{}',
    found_at   timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    closed_at  timestamptz
);
CREATE UNIQUE INDEX findings_open ON findings (kind, subject) WHERE closed_at IS NULL;
ALTER TABLE findings ENABLE ROW LEVEL SECURITY;
ALTER TABLE findings FORCE ROW LEVEL SECURITY;
CREATE POLICY find ON findings TO paygate_worker USING (true);
CREATE POLICY operators ON findings TO paygate_operator USING (true);
GRANT SELECT, INSERT, UPDATE (data, seen_at, closed_at) ON findings TO paygate_worker;
GRANT SELECT, UPDATE (closed_at) ON findings TO paygate_operator;

-- ── How far each account's own lists were read ──────────────────────────────────────────────────────────────────

CREATE TABLE account_readings (
    account_id     uuid PRIMARY KEY REFERENCES provider_accounts (id),
    events_until   timestamptz NOT NULL,
    events_due_at  timestamptz NOT NULL DEFAULT now(),
    payments_until timestamptz NOT NULL,
    payments_due_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE ON account_readings TO paygate_worker;
GRANT SELECT ON account_readings TO paygate_operator;
GRANT INSERT ON provider_events TO paygate_worker;  -- what a PSP lists and never told
