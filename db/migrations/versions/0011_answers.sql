-- What people answer to what waits for them. Only adds: the program before it runs on this schema too.

-- An operator has a parked notification tried again, and can do nothing else to one.
GRANT UPDATE (state, next_try_at) ON provider_events TO paygate_operator;
CREATE POLICY retry ON provider_events AS RESTRICTIVE FOR UPDATE TO paygate_operator
    USING (state = 'parked') WITH CHECK (state = 'received');
