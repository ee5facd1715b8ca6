-- Stops: no new refund of a partner against whom the watchdog has a finding; and when a person is to look at an unknown
-- outcome. Only adds: the program before it runs on this schema too.

-- ── Refunds ─────────────────────────────────────────────────────────────────────────────────────────────────────

ALTER TABLE findings ADD COLUMN lifted_at timestamptz;  -- it stands, and a person lets refunds go on all the same
GRANT UPDATE (lifted_at) ON findings TO paygate_operator;
CREATE INDEX findings_stopping ON findings (partner_id)
    WHERE source = 'watchdog' AND closed_at IS NULL AND lifted_at IS NULL;
-- A refund looks there: partners' rows, and of those no more than whether they stop it.
CREATE POLICY own_partner ON findings FOR SELECT TO paygate_app USING (partner_id = current_partner());
GRANT SELECT (partner_id, source, closed_at, lifted_at) ON findings TO paygate_app;

CREATE FUNCTION refunds_stopped() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM findings WHERE partner_id = NEW.partner_id
               AND source = 'watchdog' AND closed_at IS NULL AND lifted_at IS NULL) THEN
        RAISE EXCEPTION 'refunds of partner % are stopped: a promise about its money is broken', NEW.partner_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refunds_stopped';
    END IF;
    RETURN NULL;
END $$;
-- After the insert, so that a repeat meets the key of its first request before it meets this.
CREATE TRIGGER refunds_stopped AFTER INSERT ON refunds FOR EACH ROW EXECUTE FUNCTION refunds_stopped();

-- ── Reviews ─────────────────────────────────────────────────────────────────────────────────────────────────────

-- Currency → amount from which on a transaction is of high value: its unknown outcomes are reviewed after an hour.
ALTER TABLE partners ADD COLUMN review_above jsonb NOT NULL DEFAULT '{}';
ALTER TABLE attempts ADD COLUMN review_after interval NOT NULL DEFAULT interval '22 hours';
