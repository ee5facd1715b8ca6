-- The first floor: identities, look-ups, partners, payments and their history, ledger, outbox, inbox, audit.
--
-- Rules that hold in every table below:
--   * a tenant row carries partner_id, first in every key, so that one partner is one shard and no foreign key can
--     reach another partner's row (foreign-key checks bypass row-level security);
--   * where a row belongs to a transaction, the composite key to it vouches for the partner too;
--   * row-level security is enabled and FORCED, so it binds the owner too;
--   * history is append-only: triggers refuse UPDATE, DELETE and TRUNCATE whatever a role was granted.

-- ── Identities ──────────────────────────────────────────────────────────────────────────────────────────────────
-- Nobody logs in as these: a process connects with its own login and takes the one role it needs.
--   paygate_app       the partner API: sees one partner at a time
--   paygate_worker    delivery and recovery: finds due work of all partners, then acts as one partner
--   paygate_operator  command line and console: partners, keys, accounts

DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['paygate_app', 'paygate_worker', 'paygate_operator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', role_name);
        END IF;
        IF NOT pg_has_role(current_user, role_name, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        END IF;
    END LOOP;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of the cluster migrates right now
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO paygate_app, paygate_worker, paygate_operator;
GRANT SELECT ON alembic_version TO paygate_app, paygate_worker, paygate_operator;  -- /readyz compares it

-- The partner this transaction acts as; NULL (which equals nothing) where none was set.
CREATE FUNCTION current_partner() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.current_partner_id', true), '')::uuid;

-- ── Pieces that tables share ────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- The journal names the time itself, so that the stored answer and the row agree.
    IF NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

-- Time-ordered ids made by the database (version 7 needs PostgreSQL 18; the schema serves 15 and newer).
CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                    PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                    FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- The smallest version-7 id of a moment: the bound of a partition.
CREATE FUNCTION uuid_v7_floor(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT rpad(lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

-- Append-only for good: rows by a row trigger, TRUNCATE by a statement trigger (which partitions do not inherit).
CREATE PROCEDURE make_append_only(target regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %s
                    FOR EACH ROW EXECUTE FUNCTION refuse_change()', target);
    EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %s
                    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', target);
END $$;

CREATE PROCEDURE isolate_partners(target regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY own_partner ON %s TO paygate_app, paygate_worker
                    USING (partner_id = current_partner())', target);
    EXECUTE format('CREATE POLICY operators ON %s TO paygate_operator USING (true)', target);
END $$;

-- Monthly partitions by the month in the time-ordered id that leads the table's order.
-- SECURITY DEFINER: the worker makes next month's partitions and holds no right to change the schema otherwise.
CREATE FUNCTION create_partitions(months_ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    parent text;
    month date;
    partition text;
    made integer := 0;
BEGIN
    IF months_ahead NOT BETWEEN 0 AND 24 THEN
        RAISE EXCEPTION 'months_ahead must be 0 to 24' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH parent IN ARRAY ARRAY['transaction_events', 'webhook_deliveries', 'audit_logs'] LOOP
        FOR month IN SELECT generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
                date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => months_ahead),
                interval '1 month')::date LOOP
            partition := format('%s_%s', parent, to_char(month, 'YYYY_MM'));
            CONTINUE WHEN to_regclass('public.' || partition) IS NOT NULL;
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)',
                partition, parent,
                public.uuid_v7_floor(month::timestamp AT TIME ZONE 'UTC'),
                public.uuid_v7_floor((month + interval '1 month')::timestamp AT TIME ZONE 'UTC'));
            EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', partition);
            EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', partition);
            IF parent <> 'webhook_deliveries' THEN
                EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON public.%I
                                FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change()', partition);
            END IF;
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION create_partitions(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION create_partitions(integer) TO paygate_worker;

-- ── Look-ups ────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE currencies (
    code           char(3) PRIMARY KEY CHECK (code ~ '^[A-Z]{3}$'),
    name           varchar(100) NOT NULL,
    symbol         varchar(10) NOT NULL,
    decimal_places smallint NOT NULL CHECK (decimal_places BETWEEN 0 AND 4),
    amount_min     numeric(19,4) NOT NULL CHECK (amount_min > 0),
    amount_max     numeric(19,4) NOT NULL,
    is_active      boolean NOT NULL DEFAULT true,
    CHECK (amount_max >= amount_min)
);

CREATE TABLE payment_methods (
    code       varchar(50) PRIMARY KEY,
    name       varchar(100) NOT NULL,
    is_active  boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO payment_methods (code, name) VALUES
    ('card', 'Credit/Debit Card'), ('bank_transfer', 'Bank Transfer'), ('e_wallet', 'E-Wallet'),
    ('crypto', 'Cryptocurrency');

GRANT SELECT ON currencies, payment_methods TO paygate_app, paygate_worker, paygate_operator;
GRANT UPDATE ON currencies, payment_methods TO paygate_operator;

-- ── Partners, keys, PSP accounts ────────────────────────────────────────────────────────────────────────────────

CREATE TABLE partners (
    id                    uuid PRIMARY KEY,
    name                  varchar(255) NOT NULL CHECK (name <> ''),
    email                 varchar(255) NOT NULL UNIQUE,
    is_active             boolean NOT NULL DEFAULT true,
    rate_limit_per_minute integer NOT NULL DEFAULT 100 CHECK (rate_limit_per_minute BETWEEN 1 AND 1000000),
    amount_limits         jsonb NOT NULL DEFAULT '{}',  -- currency → largest amount, where it differs from the currency's
    metadata              jsonb NOT NULL DEFAULT '{}',
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    deleted_at            timestamptz
);
CREATE TRIGGER updated_at BEFORE UPDATE ON partners FOR EACH ROW EXECUTE FUNCTION set_updated_at();
ALTER TABLE partners ENABLE ROW LEVEL SECURITY;
ALTER TABLE partners FORCE ROW LEVEL SECURITY;
CREATE POLICY own_partner ON partners FOR SELECT TO paygate_app, paygate_worker USING (id = current_partner());
CREATE POLICY operators ON partners TO paygate_operator USING (true);
GRANT SELECT ON partners TO paygate_app, paygate_worker;
GRANT SELECT, INSERT, UPDATE ON partners TO paygate_operator;

CREATE TYPE key_scope AS ENUM ('transactions:read', 'transactions:write', 'refunds:write', 'webhooks:write');

CREATE TABLE api_keys (
    partner_id   uuid NOT NULL REFERENCES partners (id),
    id           uuid NOT NULL,
    prefix       char(8) NOT NULL,
    last4        char(4) NOT NULL,
    hash         bytea NOT NULL UNIQUE CHECK (length(hash) = 32),  -- keyed hash of the whole key: reveals nothing
    pepper_id    smallint NOT NULL,
    livemode     boolean NOT NULL,
    scopes       key_scope[] NOT NULL CHECK (cardinality(scopes) > 0),
    name         varchar(100),
    created_by   varchar(100) NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    PRIMARY KEY (partner_id, id)
);
CREATE TRIGGER updated_at BEFORE UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('api_keys');
-- Before the partner is known, one row can be seen: that of the key presented.
CREATE POLICY presented_key ON api_keys FOR SELECT TO paygate_app
    USING (hash = decode(nullif(current_setting('app.key_hash', true), ''), 'hex'));
GRANT SELECT, UPDATE (last_used_at, updated_at) ON api_keys TO paygate_app;
GRANT SELECT, INSERT, UPDATE ON api_keys TO paygate_operator;

CREATE TABLE provider_accounts (
    id          uuid PRIMARY KEY,
    partner_id  uuid REFERENCES partners (id),  -- NULL: the platform's own account, open to every partner
    provider    varchar(30) NOT NULL,
    livemode    boolean NOT NULL,
    label       varchar(100) NOT NULL,
    credentials bytea NOT NULL,  -- sealed
    base_url    varchar(512) CHECK (base_url IS NULL OR NOT livemode),
    priority    integer NOT NULL DEFAULT 100,
    enabled     boolean NOT NULL DEFAULT true,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX provider_accounts_partner ON provider_accounts (partner_id, livemode) WHERE enabled;
CREATE TRIGGER updated_at BEFORE UPDATE ON provider_accounts FOR EACH ROW EXECUTE FUNCTION set_updated_at();
ALTER TABLE provider_accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY own_or_platform ON provider_accounts FOR SELECT TO paygate_app, paygate_worker
    USING (partner_id = current_partner() OR (partner_id IS NULL AND current_partner() IS NOT NULL));
-- A notification names the account in its address, before any partner is known.
CREATE POLICY addressed_account ON provider_accounts FOR SELECT TO paygate_app
    USING (id = nullif(current_setting('app.current_account_id', true), '')::uuid);
CREATE POLICY notified_account ON provider_accounts FOR SELECT TO paygate_worker USING (true);
CREATE POLICY operators ON provider_accounts TO paygate_operator USING (true);
GRANT SELECT ON provider_accounts TO paygate_app, paygate_worker;
GRANT SELECT, INSERT, UPDATE ON provider_accounts TO paygate_operator;

CREATE TABLE customers (
    partner_id uuid NOT NULL REFERENCES partners (id),
    id         uuid NOT NULL,
    livemode   boolean NOT NULL,
    personal   bytea NOT NULL,  -- sealed: e-mail, name, phone
    email_hash bytea,           -- keyed, to find a customer by exact e-mail
    metadata   jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (partner_id, id)
);
CREATE INDEX customers_email ON customers (partner_id, email_hash) WHERE deleted_at IS NULL;
CREATE TRIGGER updated_at BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('customers');
GRANT SELECT, INSERT, UPDATE ON customers TO paygate_app;
GRANT SELECT ON customers TO paygate_operator;

-- ── Transactions ────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TYPE transaction_status AS ENUM ('pending', 'processing', 'requires_action', 'authorized', 'completed',
    'partially_refunded', 'refunded', 'failed', 'cancelled');
CREATE TYPE capture_mode AS ENUM ('automatic', 'manual');

CREATE TABLE transactions (
    partner_id              uuid NOT NULL REFERENCES partners (id),
    id                      uuid NOT NULL,
    livemode                boolean NOT NULL,
    version                 integer NOT NULL CHECK (version > 0),  -- = sequence of its latest transaction_event
    published               integer NOT NULL CHECK (published >= 0),  -- = sequence of its latest event to the partner
    idempotency_key         varchar(255),  -- NULL once released: nothing was sent, the key may be used anew
    status                  transaction_status NOT NULL,
    amount                  numeric(19,4) NOT NULL CHECK (amount > 0),
    currency                char(3) NOT NULL REFERENCES currencies (code),
    amount_captured         numeric(19,4) NOT NULL DEFAULT 0 CHECK (amount_captured >= 0),
    capture_pending         numeric(19,4) NOT NULL DEFAULT 0 CHECK (capture_pending >= 0),
    amount_refunded         numeric(19,4) NOT NULL DEFAULT 0 CHECK (amount_refunded >= 0),
    refund_reserved         numeric(19,4) NOT NULL DEFAULT 0 CHECK (refund_reserved >= 0),
    capture                 capture_mode NOT NULL,
    payment_method          varchar(50) NOT NULL REFERENCES payment_methods (code),
    card_brand              varchar(30),
    card_last4              varchar(4),
    provider                varchar(30),
    provider_account_id     uuid REFERENCES provider_accounts (id),
    provider_transaction_id varchar(255),
    error_code              varchar(50),
    error_message           text,
    decline_code            varchar(50),
    advice                  varchar(30),
    provider_code           varchar(100),
    next_action             jsonb,
    next_check_at           timestamptz,
    needs_review            boolean NOT NULL DEFAULT false,
    customer_id             uuid,
    customer_email          varchar(255),
    customer_name           varchar(255),
    customer_phone          varchar(50),
    reference               varchar(255),
    description             text,
    statement_descriptor    varchar(22),
    metadata                jsonb NOT NULL DEFAULT '{}',
    return_url              text,
    created_at              timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL,
    processed_at            timestamptz,
    failed_at               timestamptz,
    deleted_at              timestamptz,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, customer_id) REFERENCES customers (partner_id, id),
    CONSTRAINT one_transaction_per_key UNIQUE (partner_id, livemode, idempotency_key),
    CONSTRAINT captured_within_authorized CHECK (amount_captured + capture_pending <= amount),
    CONSTRAINT refunded_within_captured CHECK (amount_refunded + refund_reserved <= amount_captured)
);
CREATE INDEX transactions_list ON transactions (partner_id, livemode, id DESC);
CREATE INDEX transactions_status ON transactions (partner_id, livemode, status, id DESC);
CREATE INDEX transactions_provider_id ON transactions (partner_id, provider_transaction_id)
    WHERE provider_transaction_id IS NOT NULL;
CREATE INDEX transactions_reference ON transactions (partner_id, reference) WHERE reference IS NOT NULL;
CREATE INDEX transactions_email ON transactions (partner_id, lower(customer_email) text_pattern_ops)
    WHERE customer_email IS NOT NULL;
CREATE INDEX transactions_review ON transactions (partner_id, id DESC) WHERE needs_review;
CREATE INDEX transactions_metadata ON transactions USING gin (metadata jsonb_path_ops) WHERE metadata <> '{}';
CREATE TRIGGER updated_at BEFORE UPDATE ON transactions FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('transactions');
CREATE POLICY find_abandoned ON transactions FOR SELECT TO paygate_worker
    USING (status = 'requires_action' OR needs_review);
GRANT SELECT, INSERT, UPDATE ON transactions TO paygate_app, paygate_worker;
GRANT SELECT ON transactions TO paygate_operator;

-- What was agreed never changes; a version never goes back or jumps without its events.
CREATE FUNCTION transactions_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.partner_id, NEW.id, NEW.livemode, NEW.amount, NEW.currency, NEW.capture, NEW.payment_method, NEW.created_at)
        IS DISTINCT FROM
       (OLD.partner_id, OLD.id, OLD.livemode, OLD.amount, OLD.currency, OLD.capture, OLD.payment_method, OLD.created_at)
    THEN
        RAISE EXCEPTION 'what was agreed of a transaction cannot change' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.version < OLD.version OR (NEW.status <> OLD.status AND NEW.version = OLD.version) THEN
        RAISE EXCEPTION 'a status changes with a new version only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON transactions FOR EACH ROW EXECUTE FUNCTION transactions_guard();

-- ── Refunds ─────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TYPE refund_status AS ENUM ('pending', 'processing', 'completed', 'failed');
CREATE TYPE refund_reason AS ENUM ('requested_by_customer', 'duplicate', 'fraudulent', 'other');

CREATE TABLE refunds (
    partner_id         uuid NOT NULL,
    id                 uuid NOT NULL,
    transaction_id     uuid NOT NULL,
    livemode           boolean NOT NULL,
    idempotency_key    varchar(255),
    amount             numeric(19,4) NOT NULL CHECK (amount > 0),
    currency           char(3) NOT NULL REFERENCES currencies (code),
    reason             refund_reason NOT NULL,
    note               text,
    status             refund_status NOT NULL,
    provider_refund_id varchar(255),
    error_code         varchar(50),
    error_message      text,
    decline_code       varchar(50),
    advice             varchar(30),
    provider_code      varchar(100),
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    processed_at       timestamptz,
    failed_at          timestamptz,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, transaction_id) REFERENCES transactions (partner_id, id),
    CONSTRAINT one_refund_per_key UNIQUE (partner_id, livemode, idempotency_key)
);
CREATE INDEX refunds_transaction ON refunds (partner_id, transaction_id);
CREATE INDEX refunds_list ON refunds (partner_id, livemode, id DESC);
CREATE TRIGGER updated_at BEFORE UPDATE ON refunds FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('refunds');
GRANT SELECT, INSERT, UPDATE ON refunds TO paygate_app, paygate_worker;
GRANT SELECT ON refunds TO paygate_operator;

-- The second lock behind the reservation: what lives in refunds is what the transaction's counters say, and no more
-- than was captured. Pending refunds count. Deferred: the journal writes both rows in one transaction.
CREATE FUNCTION refunds_agree() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    counted record;
    held record;
    about uuid;
BEGIN
    IF TG_TABLE_NAME = 'transactions' THEN
        about := NEW.id;
    ELSE
        about := NEW.transaction_id;
    END IF;
    SELECT coalesce(sum(amount) FILTER (WHERE status = 'completed'), 0) AS refunded,
           coalesce(sum(amount) FILTER (WHERE status IN ('pending', 'processing')), 0) AS reserved
        INTO counted FROM refunds WHERE partner_id = NEW.partner_id AND transaction_id = about;
    SELECT amount_refunded AS refunded, refund_reserved AS reserved, amount_captured AS captured
        INTO held FROM transactions WHERE partner_id = NEW.partner_id AND id = about;
    IF (counted.refunded, counted.reserved) IS DISTINCT FROM (held.refunded, held.reserved)
       OR counted.refunded + counted.reserved > held.captured THEN
        RAISE EXCEPTION 'refunds of transaction % do not agree with its totals', about
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refunds_agree';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER refunds_agree AFTER INSERT OR UPDATE ON refunds
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refunds_agree();
CREATE CONSTRAINT TRIGGER refunds_agree AFTER UPDATE ON transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((NEW.amount_refunded, NEW.refund_reserved) IS DISTINCT FROM (OLD.amount_refunded, OLD.refund_reserved))
    EXECUTE FUNCTION refunds_agree();
CREATE CONSTRAINT TRIGGER refunds_agree_first AFTER INSERT ON transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.amount_refunded > 0 OR NEW.refund_reserved > 0)
    EXECUTE FUNCTION refunds_agree();

-- ── Attempts: one row per thing asked of a PSP ──────────────────────────────────────────────────────────────────

CREATE TYPE attempt_operation AS ENUM ('charge', 'capture', 'cancel', 'refund');
CREATE TYPE attempt_state AS ENUM ('created', 'sending', 'waiting', 'unknown', 'resolving', 'succeeded', 'declined',
    'failed_not_sent', 'absent_confirmed', 'cancelled_confirmed', 'late_success', 'compensating', 'compensated');

CREATE TABLE attempts (
    partner_id      uuid NOT NULL,
    id              uuid NOT NULL,
    transaction_id  uuid NOT NULL,
    refund_id       uuid,
    number          integer NOT NULL CHECK (number > 0),
    operation       attempt_operation NOT NULL,
    amount          numeric(19,4) NOT NULL CHECK (amount > 0),
    account_id      uuid NOT NULL REFERENCES provider_accounts (id),
    provider        varchar(30) NOT NULL,
    state           attempt_state NOT NULL,
    provider_key    varchar(44) NOT NULL,  -- the idempotency key the PSP sees, the same at every resend
    request         text NOT NULL,         -- exactly what is sent, and sent again
    idempotency_key varchar(255),          -- the partner's key this attempt answers
    epoch           integer NOT NULL DEFAULT 1,  -- who may write the outcome: a worker that woke late holds an old one
    lease_until     timestamptz,
    resend_until    timestamptz NOT NULL,  -- after this the PSP may have forgotten the key: look up only
    next_check_at   timestamptz,
    checks          integer NOT NULL DEFAULT 0,
    provider_id     varchar(255),
    outcome         jsonb,
    routing         jsonb,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    finished_at     timestamptz,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, transaction_id) REFERENCES transactions (partner_id, id),
    FOREIGN KEY (partner_id, refund_id) REFERENCES refunds (partner_id, id),
    CHECK ((operation = 'refund') = (refund_id IS NOT NULL))
);
CREATE INDEX attempts_transaction ON attempts (partner_id, transaction_id, number);
-- Never two charges alive for one transaction; one capture or cancel at a time; one try at a time for a refund.
CREATE UNIQUE INDEX one_live_charge ON attempts (partner_id, transaction_id)
    WHERE operation = 'charge' AND state IN ('created', 'sending', 'waiting', 'unknown', 'resolving', 'succeeded');
CREATE UNIQUE INDEX one_live_followup ON attempts (partner_id, transaction_id)
    WHERE operation IN ('capture', 'cancel') AND state IN ('created', 'sending', 'waiting', 'unknown', 'resolving');
CREATE UNIQUE INDEX one_live_refund ON attempts (partner_id, refund_id)
    WHERE operation = 'refund' AND state IN ('created', 'sending', 'waiting', 'unknown', 'resolving', 'succeeded');
-- A notification that names the PSP's id only.
CREATE INDEX attempts_provider_id ON attempts (account_id, provider_id) WHERE provider_id IS NOT NULL;
CREATE INDEX attempts_due ON attempts (next_check_at) WHERE next_check_at IS NOT NULL;
CREATE TRIGGER updated_at BEFORE UPDATE ON attempts FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('attempts');
CREATE POLICY find_due ON attempts FOR SELECT TO paygate_worker USING (true);
GRANT SELECT, INSERT, UPDATE ON attempts TO paygate_app, paygate_worker;
GRANT SELECT ON attempts TO paygate_operator;

CREATE FUNCTION attempts_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.finished_at IS NOT NULL AND NEW.state NOT IN ('late_success', 'compensating', 'compensated') THEN
        RAISE EXCEPTION 'a finished attempt is history' USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.partner_id, NEW.id, NEW.transaction_id, NEW.operation, NEW.amount, NEW.account_id, NEW.provider_key,
        NEW.request) IS DISTINCT FROM
       (OLD.partner_id, OLD.id, OLD.transaction_id, OLD.operation, OLD.amount, OLD.account_id, OLD.provider_key,
        OLD.request) OR NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'what was asked of a PSP cannot change' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON attempts FOR EACH ROW EXECUTE FUNCTION attempts_guard();
CREATE FUNCTION refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% keeps its rows: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER keep BEFORE DELETE ON attempts FOR EACH ROW EXECUTE FUNCTION refuse_delete();
CREATE TRIGGER keep_truncate BEFORE TRUNCATE ON attempts FOR EACH STATEMENT EXECUTE FUNCTION refuse_delete();

-- ── Disputes ────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TYPE dispute_state AS ENUM ('opened', 'won', 'lost');

CREATE TABLE disputes (
    partner_id          uuid NOT NULL REFERENCES partners (id),
    id                  uuid NOT NULL,
    transaction_id      uuid NOT NULL,
    livemode            boolean NOT NULL,
    provider_dispute_id varchar(255) NOT NULL,
    state               dispute_state NOT NULL,
    reason              varchar(100),
    amount              numeric(19,4) NOT NULL CHECK (amount > 0),
    currency            char(3) NOT NULL REFERENCES currencies (code),
    amount_withdrawn    numeric(19,4) NOT NULL DEFAULT 0 CHECK (amount_withdrawn >= 0),  -- what the PSP took back
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, transaction_id) REFERENCES transactions (partner_id, id),
    UNIQUE (partner_id, transaction_id, provider_dispute_id)
);
CREATE TRIGGER updated_at BEFORE UPDATE ON disputes FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('disputes');
GRANT SELECT, INSERT, UPDATE ON disputes TO paygate_app, paygate_worker;
GRANT SELECT ON disputes TO paygate_operator;

-- ── History ─────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TYPE transaction_event_type AS ENUM ('created', 'payment_initiated', 'payment_processing',
    'payment_requires_action', 'payment_authorized', 'payment_completed', 'payment_failed', 'payment_cancelled',
    'capture_initiated', 'capture_processing', 'capture_failed', 'cancel_initiated', 'cancel_processing',
    'cancel_failed', 'refund_initiated', 'refund_processing', 'refund_completed', 'refund_failed', 'webhook_received',
    'dispute_opened', 'dispute_won', 'dispute_lost', 'review_requested');

CREATE TABLE transaction_events (
    partner_id     uuid NOT NULL,
    transaction_id uuid NOT NULL,
    sequence       integer NOT NULL CHECK (sequence > 0),
    event_type     transaction_event_type NOT NULL,
    status         transaction_status NOT NULL,  -- the transaction's, after this event
    attempt_id     uuid,
    refund_id      uuid,
    data           jsonb NOT NULL DEFAULT '{}',
    created_by     varchar(100) NOT NULL,
    created_at     timestamptz NOT NULL,
    -- Partitioned by the transaction's own time-ordered id: a transaction's history lies in one partition, and the
    -- key without gaps or doubles stays a key.
    PRIMARY KEY (partner_id, transaction_id, sequence),
    FOREIGN KEY (partner_id, transaction_id) REFERENCES transactions (partner_id, id)
) PARTITION BY RANGE (transaction_id);
CREATE TABLE transaction_events_other PARTITION OF transaction_events DEFAULT;
CALL make_append_only('transaction_events');
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON transaction_events_other
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CALL isolate_partners('transaction_events');
CALL isolate_partners('transaction_events_other');
GRANT SELECT, INSERT ON transaction_events TO paygate_app, paygate_worker;
GRANT SELECT ON transaction_events TO paygate_operator;

-- No status and no version without the event that tells of it.
CREATE FUNCTION transactions_have_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM transaction_events
                   WHERE partner_id = NEW.partner_id AND transaction_id = NEW.id
                     AND sequence = NEW.version AND status = NEW.status) THEN
        RAISE EXCEPTION 'transaction % reached version % (%) without an event', NEW.id, NEW.version, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transactions_have_event';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER transactions_have_event AFTER INSERT OR UPDATE OF version, status ON transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION transactions_have_event();

CREATE TABLE audit_logs (
    id            uuid PRIMARY KEY,
    partner_id    uuid REFERENCES partners (id),
    actor         varchar(100) NOT NULL,
    action        varchar(100) NOT NULL,
    resource_type varchar(50) NOT NULL,
    resource_id   varchar(100) NOT NULL,
    ip_address    inet,
    user_agent    varchar(255),
    request_id    varchar(64),
    changes       jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (id);
CREATE TABLE audit_logs_other PARTITION OF audit_logs DEFAULT;
CREATE INDEX audit_logs_partner ON audit_logs (partner_id, id DESC);
CREATE INDEX audit_logs_resource ON audit_logs (resource_type, resource_id);
CALL make_append_only('audit_logs');
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON audit_logs_other
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CALL isolate_partners('audit_logs');
CALL isolate_partners('audit_logs_other');
GRANT SELECT, INSERT ON audit_logs TO paygate_app, paygate_worker, paygate_operator;

-- ── Ledger ──────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE ledger_accounts (
    partner_id uuid NOT NULL REFERENCES partners (id),
    currency   char(3) NOT NULL REFERENCES currencies (code),
    name       varchar(100) NOT NULL
        CHECK (name ~ '^(psp_receivable:pac_[0-9a-z]{26}|partner_payable|fees|refunds|chargebacks|suspense)$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partner_id, currency, name)
);
CALL make_append_only('ledger_accounts');
CALL isolate_partners('ledger_accounts');
GRANT SELECT, INSERT ON ledger_accounts TO paygate_app, paygate_worker;
GRANT SELECT ON ledger_accounts TO paygate_operator;

-- A posting is the entries of one transaction event. Debits are positive, credits negative.
CREATE TABLE ledger_entries (
    partner_id     uuid NOT NULL,
    transaction_id uuid NOT NULL,
    sequence       integer NOT NULL,
    account        varchar(100) NOT NULL,
    currency       char(3) NOT NULL,
    amount         numeric(19,4) NOT NULL CHECK (amount <> 0),
    id             uuid NOT NULL,
    livemode       boolean NOT NULL,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (partner_id, transaction_id, sequence, account),
    FOREIGN KEY (partner_id, currency, account) REFERENCES ledger_accounts (partner_id, currency, name),
    -- Not to the event itself: that would keep old partitions of history from being detached.
    FOREIGN KEY (partner_id, transaction_id) REFERENCES transactions (partner_id, id)
);
CREATE INDEX ledger_entries_list ON ledger_entries (partner_id, livemode, id DESC);
CREATE INDEX ledger_entries_balance ON ledger_entries (partner_id, livemode, currency, account) INCLUDE (amount);
CALL make_append_only('ledger_entries');
CALL isolate_partners('ledger_entries');
GRANT SELECT, INSERT ON ledger_entries TO paygate_app, paygate_worker;
GRANT SELECT ON ledger_entries TO paygate_operator;

CREATE FUNCTION ledger_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE posting record;
BEGIN
    SELECT sum(amount) AS total, count(DISTINCT currency) AS currencies INTO posting FROM ledger_entries
        WHERE partner_id = NEW.partner_id AND transaction_id = NEW.transaction_id AND sequence = NEW.sequence;
    IF posting.total <> 0 OR posting.currencies <> 1 THEN
        RAISE EXCEPTION 'posting %/% does not balance', NEW.transaction_id, NEW.sequence
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balanced';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_balanced AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_balanced();

-- ── Idempotency ─────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE idempotency_keys (
    partner_id      uuid NOT NULL REFERENCES partners (id),
    livemode        boolean NOT NULL,
    key             varchar(255) NOT NULL,
    fingerprint     bytea NOT NULL CHECK (length(fingerprint) = 32),
    transaction_id  uuid,
    refund_id       uuid,
    attempt_id      uuid,
    response_status smallint,  -- NULL until the outcome is final
    response_body   text,
    response_sealed bytea,     -- in its place where the body shows a secret once
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (partner_id, livemode, key),
    CHECK (num_nonnulls(response_body, response_sealed) <= 1)
);
CREATE INDEX idempotency_keys_expired ON idempotency_keys (expires_at);
CREATE TRIGGER updated_at BEFORE UPDATE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('idempotency_keys');
CREATE POLICY find_expired ON idempotency_keys TO paygate_worker USING (expires_at < now());
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO paygate_app, paygate_worker;

-- ── Outbox: events to partners and their deliveries ─────────────────────────────────────────────────────────────

CREATE TYPE endpoint_state AS ENUM ('enabled', 'disabled');

CREATE TABLE webhook_endpoints (
    partner_id                 uuid NOT NULL REFERENCES partners (id),
    id                         uuid NOT NULL,
    livemode                   boolean NOT NULL,
    url                        varchar(2048) NOT NULL,
    event_types                varchar(50)[] NOT NULL CHECK (cardinality(event_types) BETWEEN 1 AND 50),
    description                varchar(255),
    secret                     bytea NOT NULL,  -- sealed
    previous_secret            bytea,           -- sealed; signs beside the new one until it expires
    previous_secret_expires_at timestamptz,
    state                      endpoint_state NOT NULL DEFAULT 'enabled',
    disabled_reason            varchar(100),
    consecutive_failures       integer NOT NULL DEFAULT 0,
    failing_since              timestamptz,
    created_at                 timestamptz NOT NULL DEFAULT now(),
    updated_at                 timestamptz NOT NULL DEFAULT now(),
    deleted_at                 timestamptz,
    PRIMARY KEY (partner_id, id)
);
CREATE INDEX webhook_endpoints_live ON webhook_endpoints (partner_id, livemode) WHERE deleted_at IS NULL;
CREATE TRIGGER updated_at BEFORE UPDATE ON webhook_endpoints FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('webhook_endpoints');
CREATE POLICY deliver ON webhook_endpoints TO paygate_worker USING (true);
GRANT SELECT, INSERT, UPDATE ON webhook_endpoints TO paygate_app;
GRANT SELECT, UPDATE ON webhook_endpoints TO paygate_worker;
GRANT SELECT, UPDATE (secret, previous_secret, updated_at) ON webhook_endpoints TO paygate_operator;

CREATE TABLE events (
    partner_id     uuid NOT NULL,
    id             uuid NOT NULL,
    livemode       boolean NOT NULL,
    type           varchar(50) NOT NULL,
    transaction_id uuid,
    sequence       integer,        -- gapless per transaction
    body           text NOT NULL,  -- the exact bytes that are signed
    xid            xid8 NOT NULL DEFAULT pg_current_xact_id(),  -- to read in commit order without skipping
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, transaction_id) REFERENCES transactions (partner_id, id),
    UNIQUE (partner_id, transaction_id, sequence)
);
CREATE INDEX events_feed ON events (partner_id, livemode, xid, id);
CALL make_append_only('events');
CALL isolate_partners('events');
CREATE POLICY deliver ON events FOR SELECT TO paygate_worker USING (true);
GRANT SELECT, INSERT ON events TO paygate_app, paygate_worker;
GRANT SELECT ON events TO paygate_operator;

CREATE TYPE delivery_state AS ENUM ('pending', 'held', 'delivered', 'exhausted', 'cancelled');

CREATE TABLE webhook_deliveries (
    partner_id      uuid NOT NULL,
    id              uuid NOT NULL,
    endpoint_id     uuid NOT NULL,
    event_id        uuid NOT NULL,
    event_type      varchar(50) NOT NULL,
    transaction_id  uuid,
    sequence        integer,
    state           delivery_state NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    lease_until     timestamptz,
    epoch           integer NOT NULL DEFAULT 0,
    last_status     smallint,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    delivered_at    timestamptz,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, endpoint_id) REFERENCES webhook_endpoints (partner_id, id),
    FOREIGN KEY (partner_id, event_id) REFERENCES events (partner_id, id),
    CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL))
) PARTITION BY RANGE (id);
CREATE TABLE webhook_deliveries_other PARTITION OF webhook_deliveries DEFAULT;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_attempt_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_held ON webhook_deliveries (partner_id, endpoint_id, id) WHERE state = 'held';
CREATE INDEX webhook_deliveries_endpoint ON webhook_deliveries (partner_id, endpoint_id, id DESC);
CREATE INDEX webhook_deliveries_transaction ON webhook_deliveries (partner_id, transaction_id, endpoint_id)
    WHERE transaction_id IS NOT NULL;
CREATE TRIGGER updated_at BEFORE UPDATE ON webhook_deliveries FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('webhook_deliveries');
CALL isolate_partners('webhook_deliveries_other');
CREATE POLICY deliver ON webhook_deliveries TO paygate_worker USING (true);
GRANT SELECT, INSERT, UPDATE ON webhook_deliveries TO paygate_app, paygate_worker;
GRANT SELECT ON webhook_deliveries TO paygate_operator;

CREATE TABLE webhook_attempts (
    partner_id       uuid NOT NULL,
    delivery_id      uuid NOT NULL,
    number           integer NOT NULL CHECK (number > 0),
    started_at       timestamptz NOT NULL,
    duration_ms      integer NOT NULL CHECK (duration_ms >= 0),
    status_code      smallint,      -- NULL where no answer came
    error            varchar(100),  -- why, where the attempt failed
    response_excerpt varchar(1024),
    -- No foreign key: it would keep old partitions of deliveries from being detached.
    PRIMARY KEY (partner_id, delivery_id, number)
);
CALL make_append_only('webhook_attempts');
CALL isolate_partners('webhook_attempts');
CREATE POLICY deliver ON webhook_attempts TO paygate_worker USING (true);
GRANT SELECT ON webhook_attempts TO paygate_app, paygate_operator;
GRANT SELECT, INSERT ON webhook_attempts TO paygate_worker;

-- ── Inbox: what PSPs told us, as they told it ───────────────────────────────────────────────────────────────────

CREATE TYPE provider_event_state AS ENUM ('received', 'applied', 'ignored', 'parked');

CREATE TABLE provider_events (
    id          uuid PRIMARY KEY,
    account_id  uuid NOT NULL REFERENCES provider_accounts (id),
    partner_id  uuid REFERENCES partners (id),  -- known once the reference in it was read
    provider    varchar(30) NOT NULL,
    dedupe_key  varchar(255) NOT NULL,
    headers     jsonb NOT NULL,
    body        bytea NOT NULL CHECK (length(body) <= 1048576),
    state       provider_event_state NOT NULL DEFAULT 'received',
    reason      varchar(255),
    tries       integer NOT NULL DEFAULT 0,
    next_try_at timestamptz DEFAULT now(),
    received_at timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, dedupe_key)
);
CREATE INDEX provider_events_due ON provider_events (next_try_at) WHERE state = 'received';
CREATE TRIGGER updated_at BEFORE UPDATE ON provider_events FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE FUNCTION provider_events_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.account_id, NEW.provider, NEW.dedupe_key, NEW.headers, NEW.body, NEW.received_at) IS DISTINCT FROM
       (OLD.id, OLD.account_id, OLD.provider, OLD.dedupe_key, OLD.headers, OLD.body, OLD.received_at) THEN
        RAISE EXCEPTION 'what a PSP sent cannot change' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON provider_events FOR EACH ROW EXECUTE FUNCTION provider_events_guard();
CREATE TRIGGER keep BEFORE DELETE ON provider_events FOR EACH ROW EXECUTE FUNCTION refuse_delete();
CREATE TRIGGER keep_truncate BEFORE TRUNCATE ON provider_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_delete();
ALTER TABLE provider_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_events FORCE ROW LEVEL SECURITY;
CREATE POLICY receive ON provider_events FOR INSERT TO paygate_app WITH CHECK (state = 'received');
CREATE POLICY apply ON provider_events TO paygate_worker USING (true);
CREATE POLICY operators ON provider_events TO paygate_operator USING (true);
GRANT INSERT ON provider_events TO paygate_app;
GRANT SELECT, UPDATE ON provider_events TO paygate_worker;
GRANT SELECT ON provider_events TO paygate_operator;

SELECT create_partitions(3);
