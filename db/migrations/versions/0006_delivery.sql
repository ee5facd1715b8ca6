-- Webhook delivery: what is due is found endpoint by endpoint, so that none hides another's. The program before it runs
-- on this schema too; its claims are slower without the index that is dropped.

-- Ids in the order of their making within a millisecond too: its microseconds take the place of twelve random bits
-- (RFC 9562, 6.2, method 3), as in the program's own ids.
CREATE OR REPLACE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(overlay(uuid_send(gen_random_uuid())
                          PLACING substring(int8send(at / 1000) FROM 3) || int2send((28672 + at % 1000 * 4096 / 1000)::int2)
                          FROM 1 FOR 8), 'hex')::uuid
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS at) AS microseconds
$$;

-- ── Endpoints ───────────────────────────────────────────────────────────────────────────────────────────────────

ALTER TABLE webhook_endpoints
    ADD COLUMN headers               bytea,  -- sealed: name → value, as receivers take bearer tokens there
    ADD COLUMN header_names          varchar(100)[] NOT NULL DEFAULT '{}',
    ADD COLUMN rate_limit_per_second integer CHECK (rate_limit_per_second BETWEEN 1 AND 1000),
    ADD COLUMN paced_until           timestamptz NOT NULL DEFAULT '-infinity',  -- what was claimed fills the limit so far
    ADD COLUMN ed25519               boolean NOT NULL DEFAULT false,
    ADD COLUMN probe_at              timestamptz,  -- when one held delivery is tried, to see whether it is back
    ADD COLUMN probes                integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT headers_named CHECK ((headers IS NULL) = (header_names = '{}')),
    ADD CONSTRAINT probed_while_disabled CHECK (probe_at IS NULL OR state = 'disabled');
-- Its pace is not a change that anybody made.
DROP TRIGGER updated_at ON webhook_endpoints;
CREATE TRIGGER updated_at BEFORE UPDATE ON webhook_endpoints FOR EACH ROW
    WHEN (NEW.paced_until = OLD.paced_until) EXECUTE FUNCTION set_updated_at();
CREATE INDEX webhook_endpoints_probe ON webhook_endpoints (probe_at) WHERE probe_at IS NOT NULL;
GRANT UPDATE (headers) ON webhook_endpoints TO paygate_operator;  -- to move them to another key

-- ── Deliveries ──────────────────────────────────────────────────────────────────────────────────────────────────

ALTER TABLE webhook_deliveries ADD COLUMN replay_id uuid;
-- One queue for what happens and one for what is replayed, to each endpoint.
CREATE INDEX webhook_deliveries_queue
    ON webhook_deliveries (partner_id, endpoint_id, (replay_id IS NOT NULL), next_attempt_at) WHERE state = 'pending';
DROP INDEX webhook_deliveries_due;
CREATE INDEX webhook_deliveries_replay ON webhook_deliveries (partner_id, replay_id, state) WHERE replay_id IS NOT NULL;

-- ── Replays: a range of events once more, to one endpoint ───────────────────────────────────────────────────────

CREATE TYPE replay_state AS ENUM ('running', 'completed', 'cancelled');

CREATE TABLE webhook_replays (
    partner_id  uuid NOT NULL,
    id          uuid NOT NULL,
    livemode    boolean NOT NULL,
    endpoint_id uuid NOT NULL,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    event_types varchar(50)[] NOT NULL CHECK (cardinality(event_types) BETWEEN 1 AND 50),
    state       replay_state NOT NULL DEFAULT 'running',
    total       integer NOT NULL CHECK (total >= 0),
    queued      integer NOT NULL DEFAULT 0 CHECK (queued >= 0),
    reached     uuid,  -- the last event that was queued
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, endpoint_id) REFERENCES webhook_endpoints (partner_id, id),
    CONSTRAINT since_before_until CHECK (since < until),
    CONSTRAINT finished_once_over CHECK ((state = 'running') = (finished_at IS NULL))
);
CREATE UNIQUE INDEX one_replay ON webhook_replays (partner_id, endpoint_id) WHERE state = 'running';
CREATE INDEX webhook_replays_list ON webhook_replays (partner_id, endpoint_id, id DESC);
CREATE TRIGGER updated_at BEFORE UPDATE ON webhook_replays FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('webhook_replays');
CREATE POLICY deliver ON webhook_replays TO paygate_worker USING (true);
GRANT SELECT, INSERT, UPDATE ON webhook_replays TO paygate_app;
GRANT SELECT, UPDATE ON webhook_replays TO paygate_worker;
GRANT SELECT ON webhook_replays TO paygate_operator;

-- ── Manifests: what an endpoint was sent of a day, for its partner to compare ───────────────────────────────────

CREATE TABLE webhook_manifests (
    partner_id  uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    day         date NOT NULL,     -- in UTC, of the events' timestamps
    count       integer NOT NULL CHECK (count >= 0),
    digest      bytea NOT NULL CHECK (length(digest) = 32),
    event_id    uuid NOT NULL,     -- the event that told it
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partner_id, endpoint_id, day),
    FOREIGN KEY (partner_id, endpoint_id) REFERENCES webhook_endpoints (partner_id, id),
    FOREIGN KEY (partner_id, event_id) REFERENCES events (partner_id, id)
);
CALL make_append_only('webhook_manifests');
CALL isolate_partners('webhook_manifests');
CREATE POLICY deliver ON webhook_manifests TO paygate_worker USING (true);
GRANT SELECT ON webhook_manifests TO paygate_app, paygate_operator;
GRANT SELECT, INSERT ON webhook_manifests TO paygate_worker;

-- ── Keys that sign for every partner; who has the public half can prove what we sent ────────────────────────────

CREATE TABLE signing_keys (
    id          uuid PRIMARY KEY,
    public_key  bytea NOT NULL CHECK (length(public_key) = 32),
    private_key bytea NOT NULL,  -- sealed
    created_at  timestamptz NOT NULL DEFAULT now(),
    retires_at  timestamptz      -- signs beside its successor until then
);
CREATE UNIQUE INDEX one_signing_key ON signing_keys ((true)) WHERE retires_at IS NULL;
GRANT SELECT (id, public_key, created_at, retires_at) ON signing_keys TO paygate_app;
GRANT SELECT, INSERT ON signing_keys TO paygate_worker;  -- the first is made by whoever signs first
GRANT SELECT, INSERT, UPDATE ON signing_keys TO paygate_operator;

-- ── The feed: events in commit order ────────────────────────────────────────────────────────────────────────────

-- Order is that of transaction numbers, which begin anew where a dump is restored into another server. There they are
-- counted on from the last event's: `ahead` is added to each. Written by `settle_feed` alone.
CREATE TABLE feed_numbering (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    cluster  bigint NOT NULL,  -- the server that these numbers are of
    ahead    bigint NOT NULL CHECK (ahead >= 0)
);
GRANT SELECT ON feed_numbering TO paygate_app, paygate_worker, paygate_operator;

CREATE FUNCTION feed_position(xid xid8) RETURNS xid8 LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT (xid::text::bigint + ahead)::text::xid8 FROM public.feed_numbering
$$;

CREATE FUNCTION feed_moved() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT s.system_identifier IS DISTINCT FROM (SELECT cluster FROM public.feed_numbering) FROM pg_control_system() s
$$;

-- By the owner, who is let past the policies meanwhile; the lock that this takes keeps every writer out.
CREATE PROCEDURE settle_feed() LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE events NO FORCE ROW LEVEL SECURITY;
    INSERT INTO feed_numbering (cluster, ahead)
        SELECT s.system_identifier, greatest(0, (
            SELECT max(xid)::text::bigint + 1 - pg_current_xact_id()::text::bigint FROM events))
        FROM pg_control_system() s
        ON CONFLICT (only_one) DO UPDATE SET cluster = excluded.cluster, ahead = excluded.ahead;
    ALTER TABLE events FORCE ROW LEVEL SECURITY;
END $$;
CALL settle_feed();
ALTER TABLE events ALTER COLUMN xid SET DEFAULT feed_position(pg_current_xact_id());
