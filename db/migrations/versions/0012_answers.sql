-- What people answer to what waits for them. Only adds: the program before it runs on this schema too.

-- An operator has a parked notification tried again, and can do nothing else to one.
GRANT UPDATE (state, next_try_at) ON provider_events TO paygate_operator;
CREATE POLICY retry ON provider_events AS RESTRICTIVE FOR UPDATE TO paygate_operator
    USING (state = 'parked') WITH CHECK (state = 'received');

-- What a seal's rows are now, and stay: a person knows of it. Found again once they are otherwise.
ALTER TABLE findings ADD COLUMN accepted_at timestamptz,
    ADD CONSTRAINT findings_accepted_check CHECK (accepted_at IS NULL OR closed_at IS NOT NULL);
GRANT UPDATE (accepted_at) ON findings TO paygate_operator, paygate_worker;
ALTER TABLE audit_verifications ADD COLUMN accepted integer NOT NULL DEFAULT 0 CHECK (accepted >= 0);
