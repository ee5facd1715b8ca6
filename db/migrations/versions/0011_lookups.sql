-- What building the console taught of its searches and counts. The program before it runs on this schema too. The index of
-- words is made anew: charges wait for that, a minute for five million payments.

-- ── Words ───────────────────────────────────────────────────────────────────────────────────────────────────────
-- Amounts of a million or more have one word, for they are rare.

DROP INDEX transactions_words;
CREATE OR REPLACE FUNCTION search_words(partner_id uuid, livemode boolean, id uuid, status transaction_status,
    amount numeric, currency text, capture capture_mode, payment_method text, card_last4 text, provider text,
    provider_transaction_id text, needs_review boolean, customer_id uuid, customer_email text, customer_name text,
    metadata jsonb) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 AS $$
DECLARE
    whose text := right(partner_id::text, 8) || CASE WHEN livemode THEN '+' ELSE '-' END;
    units text := trunc(amount)::text;
    magnitude text := whose || 'b' || chr(64 + least(length(units), 7));
    words text[] := ARRAY[whose || 'w' || left(id::text, 5),  -- three days
        whose || 'a' || trim_scale(amount)::text, magnitude,
        CASE WHEN length(units) < 7 THEN magnitude || left(units, 2) END,
        whose || 'c' || currency, whose || 's' || status::text, whose || 'k' || capture::text,
        whose || 't' || payment_method, whose || 'l' || card_last4, whose || 'p' || provider,
        whose || 'i' || provider_transaction_id, CASE WHEN needs_review THEN whose || 'v' END,
        whose || 'u' || customer_id::text, whose || 'e' || lower(customer_email COLLATE "C")];
BEGIN
    IF customer_name IS NOT NULL THEN
        words := words || string_to_array(
            whose || 'n' || replace(public.searched_name(customer_name), ' ', ' ' || whose || 'n'), ' ');
    END IF;
    IF metadata <> '{}' THEN
        words := words || ARRAY(SELECT whose || left('m' || key || '=' || value, 187) FROM jsonb_each_text(metadata));
    END IF;
    RETURN array_to_tsvector(array_remove(words, NULL));
END $$;

-- New words wait in a list that every search reads: the worker merges it every second, and where none runs the charge that
-- fills it, one of some thousand.
CREATE INDEX transactions_words ON transactions USING gin (search_words(partner_id, livemode, id, status, amount,
    currency, capture, payment_method, card_last4, provider, provider_transaction_id, needs_review, customer_id,
    customer_email, customer_name, metadata)) WITH (gin_pending_list_limit = 1024);
-- SECURITY DEFINER: an index is its owner's to keep.
CREATE FUNCTION merge_search_words() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ SELECT gin_clean_pending_list('public.transactions_words') $$;
REVOKE ALL ON FUNCTION merge_search_words() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION merge_search_words() TO paygate_worker;
DROP INDEX refunds_newest;

-- What a PSP told of, by the id of its notification; unknown of those that were applied before.
ALTER TABLE provider_events ADD COLUMN transaction_id uuid,
    ADD FOREIGN KEY (partner_id, transaction_id) REFERENCES transactions (partner_id, id);
CREATE INDEX provider_events_transaction ON provider_events (partner_id, transaction_id)
    WHERE transaction_id IS NOT NULL;

-- Under another owner, as after a dump without owners, the views of searches show no row: whether so, and the way back.
CREATE FUNCTION search_is_blind() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT count(*) < 2 FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
    WHERE c.oid IN ('public.searchable_transactions'::regclass, 'public.searchable_across'::regclass)
      AND r.rolname = 'paygate_search'
$$;
CREATE PROCEDURE give_search_its_views() LANGUAGE plpgsql AS $$
BEGIN
    GRANT CREATE ON SCHEMA public TO paygate_search;
    ALTER VIEW public.searchable_transactions OWNER TO paygate_search;
    ALTER VIEW public.searchable_across OWNER TO paygate_search;
    REVOKE CREATE ON SCHEMA public FROM paygate_search;
END $$;

-- ── Counts ──────────────────────────────────────────────────────────────────────────────────────────────────────

ALTER TABLE charge_counts ALTER COLUMN amount TYPE numeric(19,4);
ALTER TABLE charge_counts RENAME CONSTRAINT charge_counts_check TO whole_spans;
DROP INDEX charge_counts_across;
CREATE INDEX charge_counts_across ON charge_counts (hours, since);
DROP POLICY console ON charge_counts;
CREATE POLICY console ON charge_counts FOR SELECT TO paygate_console USING (partner_id = current_partner());
CREATE POLICY add_up ON charge_counts FOR SELECT TO paygate_worker USING (true);

-- The same of all partners together: nobody's rows.
CREATE TABLE charge_totals (
    livemode   boolean NOT NULL,
    hours      smallint NOT NULL CHECK (hours IN (1, 6, 24)),
    since      timestamptz NOT NULL,
    provider   varchar(30) NOT NULL,
    currency   char(3) NOT NULL REFERENCES currencies (code),
    approved   integer NOT NULL CHECK (approved >= 0),
    declined   integer NOT NULL CHECK (declined >= 0),
    failed     integer NOT NULL CHECK (failed >= 0),
    undecided  integer NOT NULL CHECK (undecided >= 0),
    amount     numeric(19,4) NOT NULL CHECK (amount >= 0),
    durations  integer[] NOT NULL CHECK (cardinality(durations) = 19),
    PRIMARY KEY (livemode, hours, since, provider, currency),
    CONSTRAINT whole_spans CHECK (since = date_bin(make_interval(hours => hours), since, '2000-01-01 00:00Z'))
);
GRANT SELECT, INSERT, UPDATE ON charge_totals TO paygate_worker;
GRANT SELECT ON charge_totals TO paygate_console, paygate_operator;

-- Those of what was counted already: once more, by the worker's next rounds.
ALTER TABLE charge_counts NO FORCE ROW LEVEL SECURITY;
UPDATE charge_counting SET until = least(until, now() - interval '90 days')
    WHERE EXISTS (SELECT FROM charge_counts);
ALTER TABLE charge_counts FORCE ROW LEVEL SECURITY;
