-- The one way money facts are written, in one round trip: journal_write(partner, step).
-- This text is today's: every revision that changes it runs it again.
--
-- A step is computed by gateway/transactions/journal.py and holds whole rows, named after their tables' columns:
--   guard        {transaction_id, version} and {attempt_id, epoch}: what must still hold, else nothing is written
--   claim        a row of idempotency_keys: taken by whoever inserts it first, else nothing is written
--   handed_on    {livemode, key, attempt_id}: the key's answer will be that of another attempt from now on
--   transaction, refund, dispute, attempts   the rows as they are after the step, new or changed
--   history, calls, entries, published, audit   rows to append
--   answer       {livemode, key, status, body}: the final answer under the partner's key; or {…, "release": true}
--
-- SECURITY INVOKER: row-level security binds every statement below to the partner it is called for.
-- Returns 'written', or the guard that failed: 'claimed', 'version' or 'epoch'.

CREATE OR REPLACE FUNCTION journal_write(partner uuid, step jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    guard jsonb := step->'guard';
    claim jsonb := step->'claim';
    answer jsonb := step->'answer';
    high_value interval;
BEGIN
    PERFORM set_config('app.current_partner_id', partner::text, true);

    IF claim IS NOT NULL THEN
        INSERT INTO idempotency_keys (partner_id, livemode, key, fingerprint, transaction_id, refund_id, attempt_id,
                                      expires_at)
            SELECT partner, k.livemode, k.key, k.fingerprint, k.transaction_id, k.refund_id, k.attempt_id, k.expires_at
            FROM jsonb_populate_record(NULL::idempotency_keys, claim) k
            ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN 'claimed';
        END IF;
    END IF;
    IF guard ? 'version' THEN
        PERFORM FROM transactions
            WHERE partner_id = partner AND id = (guard->>'transaction_id')::uuid
              AND version = (guard->>'version')::integer
            FOR UPDATE;
        IF NOT FOUND THEN
            IF claim IS NOT NULL THEN
                DELETE FROM idempotency_keys
                    WHERE partner_id = partner AND livemode = (claim->>'livemode')::boolean AND key = claim->>'key';
            END IF;
            RETURN 'version';
        END IF;
    END IF;
    IF guard ? 'epoch' THEN
        PERFORM FROM attempts
            WHERE partner_id = partner AND id = (guard->>'attempt_id')::uuid
              AND epoch = (guard->>'epoch')::integer AND finished_at IS NULL
            FOR UPDATE;
        IF NOT FOUND THEN
            RETURN 'epoch';
        END IF;
    END IF;

    IF step ? 'transaction' THEN
        INSERT INTO transactions
            SELECT t.* FROM jsonb_populate_record(NULL::transactions, step->'transaction') t
            ON CONFLICT (partner_id, id) DO UPDATE SET
                (version, published, idempotency_key, status, amount_captured, capture_pending, amount_refunded,
                 refund_reserved, card_brand, card_last4, provider, provider_account_id, provider_transaction_id,
                 error_code, error_message, decline_code, advice, provider_code, next_action, next_check_at,
                 needs_review, review_reason, updated_at, processed_at, failed_at) =
                (excluded.version, excluded.published, excluded.idempotency_key, excluded.status,
                 excluded.amount_captured, excluded.capture_pending, excluded.amount_refunded,
                 excluded.refund_reserved, excluded.card_brand, excluded.card_last4, excluded.provider,
                 excluded.provider_account_id, excluded.provider_transaction_id, excluded.error_code,
                 excluded.error_message, excluded.decline_code, excluded.advice, excluded.provider_code,
                 excluded.next_action, excluded.next_check_at, excluded.needs_review, excluded.review_reason,
                 excluded.updated_at, excluded.processed_at, excluded.failed_at);
    END IF;
    IF step ? 'refund' THEN
        INSERT INTO refunds
            SELECT r.* FROM jsonb_populate_record(NULL::refunds, step->'refund') r
            ON CONFLICT (partner_id, id) DO UPDATE SET
                (idempotency_key, status, provider_refund_id, error_code, error_message, decline_code, advice,
                 provider_code, updated_at, processed_at, failed_at) =
                (excluded.idempotency_key, excluded.status, excluded.provider_refund_id, excluded.error_code,
                 excluded.error_message, excluded.decline_code, excluded.advice, excluded.provider_code,
                 excluded.updated_at, excluded.processed_at, excluded.failed_at);
    END IF;
    IF step ? 'dispute' THEN
        INSERT INTO disputes
            SELECT d.* FROM jsonb_populate_record(NULL::disputes, step->'dispute') d
            ON CONFLICT (partner_id, id) DO UPDATE SET
                (state, reason, amount_withdrawn, updated_at) =
                (excluded.state, excluded.reason, excluded.amount_withdrawn, excluded.updated_at);
    END IF;
    -- Of a transaction of high value an unknown outcome is for people after an hour.
    IF step->'attempts' @? '$[*].resend_seconds' THEN
        SELECT interval '1 hour' INTO high_value FROM partners WHERE id = partner
            AND (review_above->>(step->'transaction'->>'currency'))::numeric
                <= (step->'transaction'->>'amount')::numeric;
    END IF;
    -- Leases and checks run on the database's clock: each row says how far ahead (lease_seconds, check_in_seconds,
    -- and resend_seconds for a new attempt; an update leaves resend_until and review_after alone).
    INSERT INTO attempts
        SELECT a.* FROM jsonb_array_elements(step->'attempts') WITH ORDINALITY AS given(sent, position),
            jsonb_populate_record(NULL::attempts, given.sent || jsonb_build_object(
                'lease_until', now() + make_interval(secs => (given.sent->>'lease_seconds')::float8),
                'next_check_at', now() + make_interval(secs => (given.sent->>'check_in_seconds')::float8),
                'resend_until', now() + make_interval(secs => coalesce((given.sent->>'resend_seconds')::float8, 0)),
                'review_after', least((given.sent->>'review_after')::interval, high_value, interval '22 hours')
            )) a
        ORDER BY given.position
        ON CONFLICT (partner_id, id) DO UPDATE SET
            (state, lease_until, next_check_at, checks, provider_id, outcome, updated_at, finished_at) =
            (excluded.state, excluded.lease_until, excluded.next_check_at, excluded.checks, excluded.provider_id,
             excluded.outcome, excluded.updated_at, excluded.finished_at);
    INSERT INTO transaction_events
        SELECT h.* FROM jsonb_populate_recordset(NULL::transaction_events, step->'history') h;
    IF step ? 'calls' THEN
        -- Without history the version stays, and the guards let a repeat after a lost acknowledgement through.
        INSERT INTO provider_calls
            SELECT c.* FROM jsonb_populate_recordset(NULL::provider_calls, step->'calls') c
            ON CONFLICT DO NOTHING;
    END IF;
    IF step ? 'entries' THEN
        INSERT INTO ledger_accounts (partner_id, currency, name)
            SELECT DISTINCT partner, e.currency, e.account
            FROM jsonb_populate_recordset(NULL::ledger_entries, step->'entries') e
            WHERE NOT EXISTS (SELECT FROM ledger_accounts a WHERE a.partner_id = partner
                              AND a.currency = e.currency AND a.name = e.account)
            ORDER BY e.currency, e.account  -- one order for all: no deadlock between two first postings
            ON CONFLICT DO NOTHING;
        INSERT INTO ledger_entries
            SELECT e.* FROM jsonb_populate_recordset(NULL::ledger_entries, step->'entries') e;
    END IF;
    IF step ? 'published' THEN
        PERFORM publish(partner, step->'published');
    END IF;
    IF step ? 'audit' THEN
        -- Its id and time are the database's: what is sealed by time must not come late.
        INSERT INTO audit_logs (id, partner_id, actor, action, resource_type, resource_id, ip_address, user_agent,
                                request_id, changes)
            SELECT uuid_v7(), l.partner_id, l.actor, l.action, l.resource_type, l.resource_id, l.ip_address,
                   l.user_agent, l.request_id, l.changes
            FROM jsonb_populate_recordset(NULL::audit_logs, step->'audit') l;
    END IF;

    IF step ? 'handed_on' THEN
        UPDATE idempotency_keys SET attempt_id = (step->'handed_on'->>'attempt_id')::uuid
            WHERE partner_id = partner AND livemode = (step->'handed_on'->>'livemode')::boolean
              AND key = step->'handed_on'->>'key' AND response_status IS NULL;
    END IF;
    IF answer ? 'release' THEN
        DELETE FROM idempotency_keys
            WHERE partner_id = partner AND livemode = (answer->>'livemode')::boolean AND key = answer->>'key'
              AND response_status IS NULL;
    ELSIF answer IS NOT NULL THEN
        UPDATE idempotency_keys
            SET response_status = (answer->>'status')::smallint, response_body = answer->>'body'
            WHERE partner_id = partner AND livemode = (answer->>'livemode')::boolean AND key = answer->>'key'
              AND response_status IS NULL;
    END IF;
    RETURN 'written';
END $$;

-- Append events and, in the same transaction, one delivery for each endpoint that asked for them.
CREATE OR REPLACE FUNCTION publish(partner uuid, published jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (partner_id, id, livemode, type, transaction_id, sequence, body, created_at)
        SELECT partner, e.id, e.livemode, e.type, e.transaction_id, e.sequence, e.body, e.created_at
        FROM jsonb_populate_recordset(NULL::events, published) e;
    INSERT INTO webhook_deliveries (partner_id, id, endpoint_id, event_id, event_type, transaction_id, sequence, state,
                                    next_attempt_at, created_at, updated_at)
        SELECT partner, uuid_v7(), w.id, e.id, e.type, e.transaction_id, e.sequence,
               CASE w.state WHEN 'enabled' THEN 'pending' ELSE 'held' END::delivery_state,
               CASE w.state WHEN 'enabled' THEN now() END, e.created_at, e.created_at
        FROM jsonb_populate_recordset(NULL::events, published) e
        JOIN webhook_endpoints w ON w.partner_id = partner AND w.livemode = e.livemode AND w.deleted_at IS NULL
            AND (w.event_types @> ARRAY['*']::varchar[] OR e.type = ANY (w.event_types))
        ORDER BY e.sequence;
END $$;

-- Who presents this key? One round trip that sees one row: the key's, then its partner's.
CREATE OR REPLACE FUNCTION authenticate(key_hash bytea)
    RETURNS TABLE (partner_id uuid, key_id uuid, livemode boolean, scopes key_scope[], rate_limit_per_minute integer,
                   partner_active boolean, amount_limits jsonb)
    LANGUAGE plpgsql AS $$
DECLARE found_key api_keys;
BEGIN
    PERFORM set_config('app.key_hash', encode(key_hash, 'hex'), true);
    SELECT k.* INTO found_key FROM api_keys k
        WHERE k.hash = key_hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
    IF found_key.id IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('app.current_partner_id', found_key.partner_id::text, true);
    UPDATE api_keys k SET last_used_at = now()
        WHERE k.partner_id = found_key.partner_id AND k.id = found_key.id
          AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute');
    RETURN QUERY SELECT p.id, found_key.id, found_key.livemode, found_key.scopes, p.rate_limit_per_minute,
            p.is_active AND p.deleted_at IS NULL, p.amount_limits
        FROM partners p WHERE p.id = found_key.partner_id;
END $$;
