-- Search: one index of words for everything that is known of a payment, and lists across partners. The program before it
-- runs on this schema too; its searches are slower without the indexes that are dropped.

-- ── Roles ───────────────────────────────────────────────────────────────────────────────────────────────────────
--   paygate_search   nobody's: owns the two views below, and no process takes it
--   paygate_console  the support console

DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['paygate_search', 'paygate_console'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', role_name);
        END IF;
        IF NOT pg_has_role(current_user, role_name, 'USAGE') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        END IF;
    END LOOP;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of the cluster migrates right now
END $$;
GRANT USAGE ON SCHEMA public TO paygate_search, paygate_console;

-- Whether this transaction may read across partners. The console sets it for a person who gave a reason.
CREATE FUNCTION across_partners() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(current_setting('app.across_partners', true), '') = 'on';

-- ── Words ───────────────────────────────────────────────────────────────────────────────────────────────────────
-- Each begins with whose it is, so that one partner's search meets nobody else's payments, and with a letter for what it
-- is of. `db/search_filters.py` writes the same words for what is asked. Names stand without their accents.

CREATE FUNCTION searched_name(name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN octet_length(name) = char_length(name) THEN replace(lower(name), '-', ' ')  -- quicker
        ELSE lower(translate(replace(name, 'ß', 'ss'),
            'áàâäãåāąçćčďđéèêëēęěíìîïīłńñňóòôöõøōřśšťúùûüūůýÿźżžÁÀÂÄÃÅĀĄÇĆČĎĐÉÈÊËĒĘĚÍÌÎÏĪŁŃÑŇÓÒÔÖÕØŌŘŚŠŤÚÙÛÜŪŮÝŸŹŻŽ-',
            'aaaaaaaacccddeeeeeeeiiiiilnnnooooooorsstuuuuuuyyzzzaaaaaaaacccddeeeeeeeiiiiilnnnooooooorsstuuuuuuyyzzz ')) END;

-- PL/pgSQL: a tenth of what the same costs in SQL. Its price keeps the planner from calling it row by row.
CREATE FUNCTION search_words(partner_id uuid, livemode boolean, id uuid, status transaction_status, amount numeric,
    currency text, capture capture_mode, payment_method text, card_last4 text, provider text,
    provider_transaction_id text, needs_review boolean, customer_id uuid, customer_email text, customer_name text,
    metadata jsonb) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 AS $$
DECLARE
    whose text := right(partner_id::text, 8) || CASE WHEN livemode THEN '+' ELSE '-' END;
    units text := trunc(amount)::text;
    magnitude text := whose || 'b' || chr(64 + length(units));
    words text[] := ARRAY[whose || 'w' || left(id::text, 5),  -- three days
        whose || 'a' || trim_scale(amount)::text, magnitude, magnitude || left(units, 2),
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

-- New words wait in a list that every search reads and every few hundred charges one merges: so it is kept short.
CREATE INDEX transactions_words ON transactions USING gin (search_words(partner_id, livemode, id, status, amount,
    currency, capture, payment_method, card_last4, provider, provider_transaction_id, needs_review, customer_id,
    customer_email, customer_name, metadata)) WITH (gin_pending_list_limit = 256);
DROP INDEX transactions_status, transactions_provider_id, transactions_reference, transactions_email,
    transactions_metadata;
-- References are looked for by their beginnings, and thousands begin as one does.
CREATE INDEX transactions_reference ON transactions (partner_id, livemode, reference COLLATE "C", id)
    WHERE reference IS NOT NULL;
CREATE INDEX transactions_newest ON transactions (livemode, id DESC);
CREATE INDEX refunds_newest ON refunds (livemode, id DESC);
CREATE INDEX disputes_provider_id ON disputes (partner_id, provider_dispute_id);

-- ── Views ───────────────────────────────────────────────────────────────────────────────────────────────────────
-- Under row-level security an index serves leakproof operators only, which none of words is. The views look under a role
-- that every row is shown to, and say themselves whose rows they show. What is found is then read from the table, under
-- the policies of whoever asked.

CREATE POLICY search ON transactions FOR SELECT TO paygate_search USING (true);
GRANT SELECT ON transactions TO paygate_search;

-- IS NOT DISTINCT FROM is never a reason for an index: which one serves, the search alone decides.
DO $$
DECLARE
    seen text := 'partner_id, id, livemode, status, amount, currency, capture, payment_method, card_last4, provider,
        provider_transaction_id, needs_review, customer_id, customer_email, customer_name, reference, metadata,
        created_at, deleted_at, search_words(partner_id, livemode, id, status, amount, currency, capture,
            payment_method, card_last4, provider, provider_transaction_id, needs_review, customer_id, customer_email,
            customer_name, metadata) AS words';
BEGIN
    EXECUTE format('CREATE VIEW searchable_transactions AS SELECT %s FROM transactions
                    WHERE partner_id IS NOT DISTINCT FROM current_partner()', seen);
    EXECUTE format('CREATE VIEW searchable_across AS SELECT %s FROM transactions WHERE across_partners()', seen);
END $$;
GRANT CREATE ON SCHEMA public TO paygate_search;
ALTER VIEW searchable_transactions OWNER TO paygate_search;
ALTER VIEW searchable_across OWNER TO paygate_search;
REVOKE CREATE ON SCHEMA public FROM paygate_search;
GRANT SELECT ON searchable_transactions TO paygate_app, paygate_console;
GRANT SELECT ON searchable_across TO paygate_console;
