-- Routing: what a partner wants (rule sets, and which of them is live), what all processes know of the accounts (their
-- breakers, what approvals taught, what they cost), and failover in a transaction's history. Only adds.

ALTER TYPE transaction_event_type ADD VALUE 'payment_failed_over';
ALTER TYPE key_scope ADD VALUE 'routing:write';

ALTER TABLE provider_accounts ADD COLUMN fees jsonb;  -- {"percent": "1.4", "fixed": {"EUR": "0.25"}}: what the PSP keeps

-- ── Rules ───────────────────────────────────────────────────────────────────────────────────────────────────────
-- A version is a whole ordered set and never changes; which one is live is the last activation's word.

CREATE TABLE routing_rules (
    partner_id  uuid NOT NULL REFERENCES partners (id),
    id          uuid NOT NULL,
    livemode    boolean NOT NULL,
    version     integer NOT NULL CHECK (version > 0),
    description varchar(255),
    rules       jsonb NOT NULL CHECK (jsonb_typeof(rules) = 'array'),
    created_by  varchar(100) NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partner_id, id),
    UNIQUE (partner_id, livemode, version)
);
CALL make_append_only('routing_rules');
CALL isolate_partners('routing_rules');
GRANT SELECT, INSERT ON routing_rules TO paygate_app, paygate_operator;

CREATE TYPE routing_lane AS ENUM ('live', 'shadow');

CREATE TABLE routing_activations (
    partner_id   uuid NOT NULL REFERENCES partners (id),
    id           uuid NOT NULL,
    livemode     boolean NOT NULL,
    lane         routing_lane NOT NULL,
    version      integer,  -- NULL: no rules, the accounts' own priority
    follows      uuid,     -- the activation that a roll-back returns to
    activated_by varchar(100) NOT NULL,
    activated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, livemode, version) REFERENCES routing_rules (partner_id, livemode, version),
    FOREIGN KEY (partner_id, follows) REFERENCES routing_activations (partner_id, id)
);
CREATE INDEX routing_activations_newest ON routing_activations (partner_id, livemode, lane, id DESC);
CALL make_append_only('routing_activations');
CALL isolate_partners('routing_activations');
GRANT SELECT, INSERT ON routing_activations TO paygate_app, paygate_operator;

-- ── What is known of the accounts ───────────────────────────────────────────────────────────────────────────────
-- Each process adds what it saw about once a second. Losing a second of it costs a little time, never money.

CREATE TYPE breaker_override AS ENUM ('closed', 'open');

CREATE TABLE provider_health (
    account_id      uuid NOT NULL REFERENCES provider_accounts (id),
    method          varchar(30) NOT NULL,
    answers         double precision NOT NULL DEFAULT 0,  -- decayed, as of as_of
    outages         double precision NOT NULL DEFAULT 0,
    streak          integer NOT NULL DEFAULT 0,
    as_of           timestamptz NOT NULL,
    opened_at       timestamptz,
    retry_at        timestamptz,  -- NULL: closed
    trips           integer NOT NULL DEFAULT 0,
    override        breaker_override,
    override_reason varchar(255),
    override_by     varchar(100),
    PRIMARY KEY (account_id, method),
    CHECK ((override IS NULL) = (override_by IS NULL))
);
GRANT SELECT, INSERT (account_id, method, answers, outages, streak, as_of, opened_at, retry_at, trips),
    UPDATE (answers, outages, streak, as_of, opened_at, retry_at, trips) ON provider_health TO paygate_app, paygate_worker;
GRANT SELECT, INSERT (account_id, method, as_of, override, override_reason, override_by),
    UPDATE (override, override_reason, override_by) ON provider_health TO paygate_operator;

CREATE TABLE routing_tallies (
    partner_id uuid NOT NULL REFERENCES partners (id),
    account_id uuid NOT NULL REFERENCES provider_accounts (id),
    method     varchar(30) NOT NULL,
    currency   char(3) NOT NULL,
    brand      varchar(30) NOT NULL DEFAULT '',  -- '': not known
    approved   double precision NOT NULL DEFAULT 0,  -- decayed, as of as_of
    declined   double precision NOT NULL DEFAULT 0,
    as_of      timestamptz NOT NULL,
    PRIMARY KEY (partner_id, account_id, method, currency, brand)
);
CALL isolate_partners('routing_tallies');
GRANT SELECT, INSERT, UPDATE (approved, declined, as_of) ON routing_tallies TO paygate_app, paygate_worker;
GRANT SELECT ON routing_tallies TO paygate_operator;
