"""Mistakes where the db remembers: locks, leases, guards, and the policies that keep partners apart."""

from __future__ import annotations

from tests.planted.bug import Bug

_FIRST = "db/migrations/versions/0001_first_floor.sql"
_SECOND = "db/migrations/versions/0002_recovery.sql"
_JOURNAL = "db/migrations/versions/journal.sql"
_JOURNALLED = "tests/integration/test_journal.py"
_RULES = "tests/integration/test_every_rule.py"
_SCHEMA = "tests/integration/test_schema.py"
_ROW_SECURITY = "tests/integration/test_row_level_security.py"
_FEED = "tests/integration/test_feed.py"
_DELIVERY = "tests/integration/test_delivery.py"
_REFUNDS = "tests/acceptance/test_refunds_never_exceed_what_was_captured.py"
_UNCONFIRMED = "tests/acceptance/test_nothing_unconfirmed_is_called_failed.py"
_ONCE = "tests/acceptance/test_a_key_executes_once.py"
_SEALED = "tests/integration/test_what_is_sealed_of_customers.py"

BUGS = (
    # ── Locks and leases ──
    Bug(
        name="refunds are checked outside the lock",
        breaks="M2: parallel refunds give back more than was captured",
        file="db/transactions.py",
        text="WHERE partner_id = $1 AND id = $2 FOR UPDATE",
        becomes="WHERE partner_id = $1 AND id = $2",
        tests=(f"{_REFUNDS}::test_twenty_refunds_at_once_give_back_what_there_is_and_no_more",),
    ),
    Bug(
        name="a resend is allowed whatever the time",
        breaks="M1: the PSP has forgotten the key and executes the request again",
        file="db/transactions.py",
        text='"SELECT now() < resend_until FROM attempts',
        becomes='"SELECT resend_until IS NOT NULL FROM attempts',
        tests=(f"{_UNCONFIRMED}::test_a_lookup_that_finds_nothing_is_no_proof_that_nothing_happened",),
    ),
    Bug(
        name="an attempt is taken from who still works on it",
        breaks="M1: two processes conclude one attempt",
        file="db/transactions.py",
        text='        f" AND (lease_until IS NULL OR lease_until < now()) RETURNING {_ATTEMPT}",',
        becomes='        f" RETURNING {_ATTEMPT}",',
        tests=(f"{_JOURNALLED}::test_an_attempt_is_held_by_one_at_a_time",),
    ),
    Bug(
        name="taking an attempt does not raise its epoch",
        breaks="M1: who lost its lease cannot be told from who holds it",
        file="db/transactions.py",
        text='"UPDATE attempts SET epoch = epoch + 1, checks',
        becomes='"UPDATE attempts SET checks',
        tests=(f"{_JOURNALLED}::test_an_attempt_is_held_by_one_at_a_time",),
    ),
    Bug(
        name="an outcome is written without looking at the epoch",
        breaks="M1: a paused process overwrites what another one has learned since",
        file=_JOURNAL,
        text="AND epoch = (guard->>'epoch')::integer AND finished_at IS NULL",
        becomes="AND finished_at IS NULL",
        tests=(f"{_JOURNALLED}::test_who_wakes_up_after_its_lease_writes_nothing",),
    ),
    Bug(
        name="an outcome is written without looking at the version",
        breaks="M2: of two outcomes at once the second wipes out the first",
        file=_JOURNAL,
        text="              AND version = (guard->>'version')::integer\n",
        becomes="",
        tests=(f"{_REFUNDS}::test_twenty_refunds_at_once_give_back_what_there_is_and_no_more",),
    ),
    Bug(
        name="a second claim of a key takes it over",
        breaks="A2: two requests under one key both go on",
        file=_JOURNAL,
        text="claim) k\n            ON CONFLICT DO NOTHING;",
        becomes="claim) k ON CONFLICT (partner_id, livemode, key) DO UPDATE SET attempt_id = excluded.attempt_id;",
        tests=(f"{_JOURNALLED}::test_a_key_that_is_taken_stays_with_who_took_it",),
    ),
    Bug(
        name="a key is claimed without ON CONFLICT",
        breaks="A2: a repeat is answered with an error of ours",
        file="db/idempotency.py",
        text="VALUES ($1, $2, $3, $4, now() + $5) ON CONFLICT DO NOTHING RETURNING true",
        becomes="VALUES ($1, $2, $3, $4, now() + $5) RETURNING true",
        tests=(
            "tests/acceptance/test_webhooks_reach_the_partner.py::test_a_secret_is_shown_once_and_again_to_whoever_repeats_the_request",
        ),
    ),
    Bug(
        name="an answer that was given is overwritten by a later one",
        breaks="A2: the same key is answered differently",
        file=_JOURNAL,
        text="""\
            SET response_status = (answer->>'status')::smallint, response_body = answer->>'body'
            WHERE partner_id = partner AND livemode = (answer->>'livemode')::boolean AND key = answer->>'key'
              AND response_status IS NULL;""",
        becomes="""\
            SET response_status = (answer->>'status')::smallint, response_body = answer->>'body'
            WHERE partner_id = partner AND livemode = (answer->>'livemode')::boolean AND key = answer->>'key';""",
        tests=(f"{_ONCE}::test_after_a_customers_action_the_key_still_gives_its_first_answer",),
    ),
    Bug(
        name="two deliverers claim one delivery",
        breaks="E2: the partner gets each event twice at the same moment",
        file="db/deliveries.py",
        text="        FOR UPDATE SKIP LOCKED) locked\n",
        becomes="        ) locked\n",
        tests=(f"{_DELIVERY}::test_concurrent_claims_never_take_the_same_delivery",),
    ),
    Bug(
        name="who lost a delivery's lease records all the same",
        breaks="E2: a stale failure overwrites what was delivered",
        file="db/deliveries.py",
        text="      AND d.epoch = r.epoch AND d.lease_until IS NOT NULL\n",
        becomes="      AND d.lease_until IS NOT NULL\n",
        tests=(f"{_DELIVERY}::test_a_process_that_lost_its_lease_cannot_record",),
    ),
    Bug(
        name="an event published while its endpoint is disabled is not kept for it",
        breaks="E2: enabling the endpoint again does not bring what was missed",
        file=_JOURNAL,
        text="AND w.livemode = e.livemode AND w.deleted_at IS NULL",
        becomes="AND w.livemode = e.livemode AND w.deleted_at IS NULL AND w.state = 'enabled'",
        tests=(f"{_DELIVERY}::test_410_disables_the_endpoint_holds_what_waits_and_tells_the_partner",),
    ),
    # ── What PostgreSQL refuses ──
    Bug(
        name="a second charge may start while the first one's outcome is unknown",
        breaks="M1: the customer is charged twice",
        file=_FIRST,
        text="operation = 'charge' AND state IN ('created', 'sending', 'waiting', 'unknown',",
        becomes="operation = 'charge' AND state IN ('created', 'sending', 'waiting',",
        tests=(f"{_SCHEMA}::test_a_second_live_charge_of_a_transaction_is_refused",),
    ),
    Bug(
        name="a posting may add up over two currencies",
        breaks="M3: dollars are balanced with yen",
        file=_FIRST,
        text="    IF posting.total <> 0 OR posting.currencies <> 1 THEN",
        becomes="    IF posting.total <> 0 THEN",
        tests=(f"{_SCHEMA}::test_a_posting_that_does_not_balance_in_one_currency_is_refused_at_commit",),
    ),
    Bug(
        name="refunds under way do not count against what was captured",
        breaks="M2: more is promised than was taken",
        file=_FIRST,
        text="CHECK (amount_refunded + refund_reserved <= amount_captured)",
        becomes="CHECK (amount_refunded <= amount_captured)",
        tests=(f"{_SCHEMA}::test_totals_beyond_what_there_is_are_refused",),
    ),
    Bug(
        name="what is sent to a PSP may change after it was sent",
        breaks="M1: another request goes out under a used key",
        file=_FIRST,
        text="        NEW.request) IS DISTINCT FROM\n",
        becomes="        OLD.request) IS DISTINCT FROM\n",
        tests=(f"{_RULES}::test_what_a_guard_holds_never_changes",),
    ),
    Bug(
        name="a transaction's version may go back",
        breaks="E1: history is rewritten from an earlier point",
        file=_FIRST,
        text="    IF NEW.version < OLD.version OR (NEW.status <> OLD.status AND NEW.version = OLD.version) THEN",
        becomes="    IF NEW.status <> OLD.status AND NEW.version = OLD.version THEN",
        tests=(f"{_RULES}::test_what_a_guard_holds_never_changes",),
    ),
    Bug(
        name="a status needs no event of its own",
        breaks="E1: a status changes and nobody is told",
        file=_FIRST,
        text="AND sequence = NEW.version AND status = NEW.status) THEN",
        becomes="AND sequence <= NEW.version) THEN",
        tests=(f"{_SCHEMA}::test_a_status_without_its_event_is_refused_at_commit",),
    ),
    # ── Partners apart ──
    Bug(
        name="row level security is not forced",
        breaks="T1: the schema's owner reads every partner's rows",
        file=_FIRST,
        text="    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);\n",
        becomes="",
        tests=(f"{_ROW_SECURITY}::test_every_table_with_partners_forces_row_level_security",),
    ),
    Bug(
        name="row level security is not forced in a new month's partition",
        breaks="T1: from next month on the owner reads every partner's history",
        file=_SECOND,
        text="            EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', partition);\n",
        becomes="",
        tests=(f"{_RULES}::test_a_new_month_is_guarded_as_the_months_before",),
    ),
    Bug(
        name="a new month's history can be emptied",
        breaks="M3: TRUNCATE of a partition erases history",
        file=_SECOND,
        text="IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = parent AND tgname = 'append_only_truncate') THEN",
        becomes="IF false THEN",
        tests=(f"{_RULES}::test_a_new_month_is_guarded_as_the_months_before",),
    ),
    Bug(
        name="a policy lets every partner through",
        breaks="T1: every partner sees every partner's rows",
        file=_FIRST,
        text="                    USING (partner_id = current_partner())', target);",
        becomes="                    USING (true)', target);",
        tests=(f"{_RULES}::test_everybody_sees_what_is_theirs_to_see",),
    ),
    Bug(
        name="the worker sees every transaction",
        breaks="T1: a slip in the worker mixes partners",
        file=_FIRST,
        text="    USING (status = 'requires_action' OR needs_review);",
        becomes="    USING (true);",
        tests=(f"{_RULES}::test_everybody_sees_what_is_theirs_to_see",),
    ),
    Bug(
        name="the platform's accounts are open to nobody in particular",
        breaks="T1: without a partner, accounts and their sealed credentials can be read",
        file=_FIRST,
        text="(partner_id IS NULL AND current_partner() IS NOT NULL));",
        becomes="partner_id IS NULL);",
        tests=(f"{_RULES}::test_everybody_sees_what_is_theirs_to_see",),
    ),
    Bug(
        name="the partner stays on a connection that goes back to the pool",
        breaks="T1: the next request acts as the partner of the one before",
        file="db/database.py",
        text="BEGIN; SET LOCAL app.current_partner_id",
        becomes="BEGIN; SET app.current_partner_id",
        tests=(f"{_ROW_SECURITY}::test_the_partner_does_not_stay_on_a_connection_that_goes_back_to_the_pool",),
    ),
    Bug(
        name="the API may delete transactions",
        breaks="A1: what was acknowledged can be gone",
        file=_FIRST,
        text="GRANT SELECT, INSERT, UPDATE ON transactions TO paygate_app, paygate_worker;",
        becomes="GRANT SELECT, INSERT, UPDATE, DELETE ON transactions TO paygate_app, paygate_worker;",
        tests=(f"{_RULES}::test_nothing_is_deleted_but_idempotency_keys_and_sessions",),
    ),
    Bug(
        name="a revoked key still opens",
        breaks="T1: who stole a key keeps it",
        file=_JOURNAL,
        text="WHERE k.hash = key_hash AND k.revoked_at IS NULL AND",
        becomes="WHERE k.hash = key_hash AND",
        tests=(
            "tests/acceptance/test_keys_and_limits.py::test_a_revoked_key_is_refused_and_the_partners_other_key_is_not",
        ),
    ),
    Bug(
        name="the feed serves what is committed, whoever still writes",
        breaks="E2: what commits later stands behind a reader who is past it",
        file="db/feed.py",
        text='f" AND e.xid < {_BOUND} ORDER BY e.xid, e.id LIMIT $6"',
        becomes='" ORDER BY e.xid, e.id LIMIT $6"',
        tests=(f"{_FEED}::test_what_commits_late_is_met_by_a_reader_who_came_before",),
    ),
    Bug(
        name="a restored feed goes on with the new server's numbers",
        breaks="E2: new events stand before old ones",
        file="db/migrations/versions/0006_delivery.sql",
        text="SELECT (xid::text::bigint + ahead)::text::xid8",
        becomes="SELECT xid",
        tests=(f"{_FEED}::test_a_feed_restored_on_another_server_goes_on_where_it_was",),
    ),
    # ── What partners store of their customers ──
    Bug(
        name="a payment method is stored while its customer is erased",
        breaks="S1: tokens of a customer who was erased stay, and can be paid with",
        file="db/customers.py",
        text='"FOR SHARE"',
        becomes='""',
        tests=(f"{_SEALED}::test_what_is_stored_while_its_customer_is_erased_is_erased_with_them",),
    ),
    Bug(
        name="tokens are sealed for any row",
        breaks="S1: a token that is copied to another partner's row opens there",
        file="db/payment_methods.py",
        text='return f"stored_payment_methods.tokens/{partner_id}/{method_id}"',
        becomes='return "stored_payment_methods.tokens"',
        tests=(f"{_SEALED}::test_what_is_copied_to_another_row_does_not_open",),
    ),
    Bug(
        name="a payment method of the test mode pays in live mode",
        breaks="T1: the other mode's things can be used",
        file="db/payment_methods.py",
        text='"  AND m.livemode = $2 AND m.deleted_at IS NULL"',
        becomes='"  AND m.deleted_at IS NULL"',
        tests=("tests/acceptance/test_partners_are_apart.py::test_what_another_partner_stored_cannot_be_paid_with",),
    ),
)
