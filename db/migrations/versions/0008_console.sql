-- The support console: its role, the people who use it and their sessions, what two of them decide, their notes.

-- ── The role ────────────────────────────────────────────────────────────────────────────────────────────────────
-- paygate_console reads; it writes people, sessions, approvals, notes and audit lines only. What moves money goes
-- through the use cases, under the roles that those need.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'paygate_console') THEN
        CREATE ROLE paygate_console NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
    END IF;
    IF NOT pg_has_role(current_user, 'paygate_console', 'MEMBER') THEN
        GRANT paygate_console TO CURRENT_USER;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of the cluster migrates right now
END $$;
GRANT USAGE ON SCHEMA public TO paygate_console;
GRANT SELECT ON alembic_version, feed_numbering, currencies, payment_methods TO paygate_console;

CREATE POLICY console ON partners FOR SELECT TO paygate_console USING (true);
GRANT SELECT ON partners TO paygate_console;

-- Partitions are read through their parents, whose policies hold.
DO $$
DECLARE target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['transactions', 'refunds', 'attempts', 'disputes', 'transaction_events', 'audit_logs',
            'ledger_accounts', 'ledger_entries', 'webhook_endpoints', 'events', 'webhook_deliveries', 'webhook_attempts',
            'webhook_replays', 'provider_events', 'provider_calls', 'review_decisions', 'routing_rules',
            'routing_activations'] LOOP
        EXECUTE format('CREATE POLICY console ON %I FOR SELECT TO paygate_console
                        USING (partner_id = current_partner() OR across_partners())', target);
        EXECUTE format('GRANT SELECT ON %I TO paygate_console', target);
    END LOOP;
    FOREACH target IN ARRAY ARRAY['provider_accounts', 'findings'] LOOP
        EXECUTE format('CREATE POLICY console ON %I FOR SELECT TO paygate_console
                        USING (partner_id IS NULL OR partner_id = current_partner() OR across_partners())', target);
        EXECUTE format('GRANT SELECT ON %I TO paygate_console', target);
    END LOOP;
END $$;
GRANT SELECT ON provider_health TO paygate_console;
CREATE POLICY console_writes ON audit_logs FOR INSERT TO paygate_console WITH CHECK (true);
GRANT INSERT ON audit_logs TO paygate_console;

-- ── People ──────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TYPE support_role AS ENUM ('viewer', 'support', 'finance', 'admin');

CREATE TABLE support_users (
    id                  uuid PRIMARY KEY,
    email               varchar(255) NOT NULL,
    name                varchar(100) NOT NULL,
    role                support_role NOT NULL,
    password            text NOT NULL,           -- argon2id, in its own notation
    password_changed_at timestamptz,             -- NULL: still the one that was handed over, to be changed at once
    totp_secret         bytea,                   -- sealed; NULL: no second factor yet
    second_factor       boolean GENERATED ALWAYS AS (totp_secret IS NOT NULL) STORED,
    totp_step           bigint NOT NULL DEFAULT 0,  -- 30 s steps since 1970; a code of this step or before was used
    failures            integer NOT NULL DEFAULT 0 CHECK (failures >= 0),  -- tries that did not succeed (yet)
    locked_until        timestamptz,
    signed_in_at        timestamptz,             -- last, with all that was asked for
    created_by          varchar(100) NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    disabled_at         timestamptz
);
CREATE UNIQUE INDEX support_users_email ON support_users (lower(email));
CREATE TRIGGER updated_at BEFORE UPDATE ON support_users FOR EACH ROW EXECUTE FUNCTION set_updated_at();
ALTER TABLE support_users ENABLE ROW LEVEL SECURITY;
ALTER TABLE support_users FORCE ROW LEVEL SECURITY;
CREATE POLICY people ON support_users TO paygate_console, paygate_operator USING (true);
GRANT SELECT, INSERT, UPDATE ON support_users TO paygate_console, paygate_operator;

CREATE TABLE support_sessions (
    id             uuid PRIMARY KEY,
    token_hash     bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),  -- SHA-256 of 256 random bits
    user_id        uuid NOT NULL REFERENCES support_users (id),
    verified       boolean NOT NULL,  -- the second factor, too; false: may only give it, or set it up
    livemode       boolean NOT NULL,  -- which mode's payments it shows
    partner_id     uuid REFERENCES partners (id),  -- whose payments; NULL: nobody's, or all with a reason
    across_reason  varchar(255) CHECK (length(across_reason) >= 10),
    across_until   timestamptz,
    told           varchar(500),  -- what the next page tells once: how the last act ended
    ip_address     inet,
    user_agent     varchar(255),
    created_at     timestamptz NOT NULL DEFAULT now(),
    seen_at        timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    CHECK ((across_reason IS NULL) = (across_until IS NULL))
);
CREATE INDEX support_sessions_user ON support_sessions (user_id) WHERE ended_at IS NULL;
ALTER TABLE support_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE support_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY people ON support_sessions TO paygate_console, paygate_operator USING (true);
GRANT SELECT, INSERT, UPDATE ON support_sessions TO paygate_console;
GRANT SELECT, UPDATE (ended_at) ON support_sessions TO paygate_operator;
CREATE POLICY housekeeping ON support_sessions TO paygate_worker USING (expires_at < now());
GRANT SELECT (id, expires_at), DELETE ON support_sessions TO paygate_worker;

-- ── Four eyes ───────────────────────────────────────────────────────────────────────────────────────────────────
-- What one person asks for above a limit is done once another one approves exactly that, in time.

CREATE TYPE approval_state AS ENUM ('requested', 'approved', 'rejected', 'withdrawn');

CREATE TABLE approvals (
    partner_id     uuid NOT NULL,
    id             uuid NOT NULL,
    transaction_id uuid NOT NULL,
    livemode       boolean NOT NULL,
    amount         numeric(19,4) NOT NULL CHECK (amount > 0),  -- to refund, exactly
    currency       char(3) NOT NULL REFERENCES currencies (code),
    reason         refund_reason NOT NULL,
    note           varchar(1000),
    state          approval_state NOT NULL DEFAULT 'requested',
    requested_by   uuid NOT NULL REFERENCES support_users (id),
    requested_at   timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL DEFAULT now() + interval '24 hours',
    decided_by     uuid REFERENCES support_users (id),
    decided_at     timestamptz,
    decision_note  varchar(1000),
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, transaction_id) REFERENCES transactions (partner_id, id),
    CONSTRAINT four_eyes CHECK (state NOT IN ('approved', 'rejected') OR decided_by <> requested_by),
    CHECK (state <> 'withdrawn' OR decided_by = requested_by),
    CHECK ((state = 'requested') = (decided_by IS NULL) AND (decided_by IS NULL) = (decided_at IS NULL))
);
CREATE INDEX approvals_transaction ON approvals (partner_id, transaction_id, id DESC);
CREATE INDEX approvals_open ON approvals (id) WHERE state = 'requested';
CREATE FUNCTION approvals_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'requested' OR OLD.expires_at <= now()
       OR to_jsonb(NEW) - ARRAY['state', 'decided_by', 'decided_at', 'decision_note']
          <> to_jsonb(OLD) - ARRAY['state', 'decided_by', 'decided_at', 'decision_note'] THEN
        RAISE EXCEPTION 'a refund is approved once, as it was asked for and before the request expires'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON approvals FOR EACH ROW EXECUTE FUNCTION approvals_guard();
CREATE TRIGGER keep BEFORE DELETE ON approvals FOR EACH ROW EXECUTE FUNCTION refuse_delete();
CREATE TRIGGER keep_truncate BEFORE TRUNCATE ON approvals FOR EACH STATEMENT EXECUTE FUNCTION refuse_delete();
CALL isolate_partners('approvals');
CREATE POLICY console ON approvals TO paygate_console USING (partner_id = current_partner() OR across_partners());
GRANT SELECT, INSERT, UPDATE (state, decided_by, decided_at, decision_note) ON approvals TO paygate_console;
GRANT SELECT ON approvals TO paygate_operator;

-- ── Notes ───────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE transaction_notes (
    partner_id     uuid NOT NULL,
    id             uuid NOT NULL,
    transaction_id uuid NOT NULL,
    author_id      uuid NOT NULL REFERENCES support_users (id),
    note           varchar(4000) NOT NULL CHECK (note <> ''),
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, transaction_id) REFERENCES transactions (partner_id, id)
);
CREATE INDEX transaction_notes_transaction ON transaction_notes (partner_id, transaction_id, id);
CALL make_append_only('transaction_notes');
CALL isolate_partners('transaction_notes');
CREATE POLICY console ON transaction_notes TO paygate_console USING (partner_id = current_partner() OR across_partners());
GRANT SELECT, INSERT ON transaction_notes TO paygate_console;
GRANT SELECT ON transaction_notes TO paygate_operator;
