"""For each rule of the schema something that it refuses, and that nothing else would: see test_every_rule.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from db import ids
from tests.integration.rows import GRACE

NOWHERE = "00000000-0000-7000-8000-000000000000"
OTHER_HASH = "\\x" + "c0" * 32
TOO_LONG = "\\x" + "00" * 1_048_577


@dataclass(frozen=True, slots=True)
class Example:
    """SQL with the rule's table as {table}. `aside` leaves out what else would refuse it."""

    sql: str
    aside: str = ""


def same(*, of: str = "true", **changes: object) -> Example:
    """A copy of a row with changes; in a text, $name is the copied row's own column."""
    own = {name: value[1:] for name, value in changes.items() if isinstance(value, str) and value.startswith("$")}
    plain = json.dumps({name: value for name, value in changes.items() if name not in own}, default=str)
    taken = "".join(f" || jsonb_build_object('{name}', t.{column})" for name, column in own.items())
    row = f"jsonb_populate_record(t, '{plain}'::jsonb{taken})"
    return Example(f"INSERT INTO {{table}} SELECT r.* FROM {{table}} t, {row} r WHERE {of} LIMIT 1")


def new(*, of: str = "true", **changes: object) -> Example:
    """The same under an id of its own."""
    return same(of=of, **{"id": ids.new()} | changes)


def update(assignments: str) -> Example:
    return Example(f"UPDATE {{table}} SET {assignments}")


def both(*examples: Example) -> Example:
    return Example("; ".join(example.sql for example in examples))


_HISTORY = {
    "append_only": update("partner_id = partner_id"),
    "append_only_truncate": Example("TRUNCATE {table} CASCADE"),
}
_PARTITIONED = _HISTORY | {
    "append_only_truncate": Example(
        "TRUNCATE {table}",
        # Its partitions have the rule too.
        "DO $$ DECLARE part regclass; BEGIN FOR part IN SELECT inhrelid FROM pg_inherits"
        " WHERE inhparent = '{table}'::regclass LOOP"
        " EXECUTE format('DROP TRIGGER append_only_truncate ON %s', part); END LOOP; END $$",
    )
}
_PARTITION = {"append_only_truncate": Example("TRUNCATE {table}")}
_OVER = {"state": "completed", "finished_at": "2020-01-01"}  # of a replay
_KEPT = {"keep": Example("DELETE FROM {table}"), "keep_truncate": Example("TRUNCATE {table}")}
_CHARGE = {"of": "t.operation = 'charge'", "state": "declined"}
_OPEN = {"of": "t.operation = 'charge'", "state": "sending"}
_REFUND = {"of": "t.operation = 'refund'", "state": "sending"}

_TOKEN = {"token_hash": OTHER_HASH}

EXAMPLES: Mapping[str, Mapping[str, Example]] = {
    "account_readings": {"account_readings_pkey": same(), "account_readings_account_id_fkey": same(account_id=NOWHERE)},
    "api_keys": {
        "api_keys_pkey": same(hash=OTHER_HASH),
        "api_keys_hash_key": new(),
        "api_keys_hash_check": new(hash="\\x00"),
        "api_keys_scopes_check": new(hash=OTHER_HASH, scopes=[]),
        "api_keys_partner_id_fkey": new(hash=OTHER_HASH, partner_id=NOWHERE),
    },
    "approvals": _KEPT
    | {
        "approvals_pkey": same(),
        "approvals_amount_check": new(amount=0),
        "approvals_currency_fkey": new(currency="XXA"),
        "approvals_partner_id_transaction_id_fkey": new(transaction_id=NOWHERE),
        "approvals_requested_by_fkey": new(requested_by=NOWHERE),
        "approvals_decided_by_fkey": new(state="rejected", decided_by=NOWHERE, decided_at="2020-01-01"),
        "approvals_check": update(f"state = 'withdrawn', decided_by = '{GRACE}', decided_at = now()"),
        "approvals_check1": update(f"decided_by = '{GRACE}'"),
        "four_eyes": update("state = 'approved', decided_by = requested_by, decided_at = now()"),
        "guard": update("amount = 1"),
    },
    "attempts": {
        "attempts_pkey": same(**_CHARGE),
        "attempts_amount_check": new(**_CHARGE, amount=0),
        "attempts_check": new(**_CHARGE, operation="refund"),
        "attempts_number_check": new(**_CHARGE, number=0),
        "attempts_account_id_fkey": new(**_CHARGE, account_id=NOWHERE),
        "attempts_partner_id_compensates_fkey": new(**_CHARGE, compensates=NOWHERE),
        "attempts_partner_id_refund_id_fkey": new(**_REFUND, refund_id=NOWHERE),
        "attempts_partner_id_transaction_id_fkey": new(**_CHARGE, transaction_id=NOWHERE),
        "one_live_charge": new(**_OPEN),
        "one_live_followup": both(new(**_OPEN, operation="capture"), new(**_OPEN, operation="cancel")),
        "one_live_refund": both(new(**_REFUND), new(**_REFUND)),
        "one_compensation": both(*(new(**_OPEN, operation="compensate", compensates="$id") for _ in range(2))),
        "guard": update("request = 'another'"),
        "keep": Example("DELETE FROM {table} WHERE operation = 'refund'"),
        "keep_truncate": Example("TRUNCATE {table} CASCADE", "DROP TRIGGER keep_truncate ON review_decisions"),
    },
    "audit_logs": _PARTITIONED | {"audit_logs_pkey": same(), "audit_logs_partner_id_fkey": new(partner_id=NOWHERE)},
    "audit_logs_other": _PARTITION,
    "audit_seals": {
        "audit_seals_pkey": same(),
        "audit_seals_number_check": same(number=0),
        "audit_seals_count_check": same(number=2, count=-1),
        "audit_seals_digest_check": same(number=2, digest="\\x00"),
        "audit_seals_chain_check": same(number=2, chain="\\x00"),
        "sealed_forward": same(number=2, until="2020-01-01T00:00:00Z"),
        "append_only": update("count = count"),
        "append_only_truncate": Example("TRUNCATE {table}"),
    },
    "audit_verifications": {
        "audit_verifications_pkey": same(finished_at="2020-01-01"),
        "audit_verifications_number_check": update("number = -1"),
        "audit_verifications_rows_check": update("rows = -1"),
        "audit_verifications_retired_check": update("retired = -1"),
        "audit_verifications_broken_check": update("broken = -1"),
        "audit_verifications_accepted_check": update("accepted = -1"),
        "one_verification": same(started_at="2020-01-01"),
    },
    "charge_counting": {
        "charge_counting_pkey": same(),
        "charge_counting_only_one_check": update("only_one = false"),
    },
    "charge_counts": {
        "charge_counts_pkey": same(),
        "charge_counts_partner_id_fkey": same(partner_id=NOWHERE),
        "charge_counts_currency_fkey": same(currency="ZZZ"),
        "charge_counts_hours_check": same(hours=2),
        "whole_spans": same(since="2020-01-01T00:00:01Z"),
        "charge_counts_approved_check": update("approved = -1"),
        "charge_counts_declined_check": update("declined = -1"),
        "charge_counts_failed_check": update("failed = -1"),
        "charge_counts_undecided_check": update("undecided = -1"),
        "charge_counts_amount_check": update("amount = -1"),
        "charge_counts_durations_check": update("durations = durations || 0"),
    },
    "charge_totals": {
        "charge_totals_pkey": same(),
        "charge_totals_currency_fkey": same(currency="ZZZ"),
        "charge_totals_hours_check": same(hours=2),
        "whole_spans": same(since="2020-01-01T00:00:01Z"),
        "charge_totals_approved_check": update("approved = -1"),
        "charge_totals_declined_check": update("declined = -1"),
        "charge_totals_failed_check": update("failed = -1"),
        "charge_totals_undecided_check": update("undecided = -1"),
        "charge_totals_amount_check": update("amount = -1"),
        "charge_totals_durations_check": update("durations = durations || 0"),
    },
    "currencies": {
        "currencies_pkey": same(),
        "currencies_amount_min_check": update("amount_min = 0"),
        "currencies_check": update("amount_max = amount_min - 0.0001"),
        "currencies_code_check": same(code="usd"),
        "currencies_decimal_places_check": same(code="XXA", decimal_places=5),
    },
    "customers": {
        "customers_pkey": same(),
        "customers_partner_id_fkey": new(partner_id=NOWHERE),
        "customer_erased": update("deleted_at = now()"),
    },
    "disputes": {
        "disputes_pkey": same(provider_dispute_id="x"),
        "disputes_partner_id_transaction_id_provider_dispute_id_key": new(),
        "disputes_amount_check": new(provider_dispute_id="x", amount=0),
        "disputes_amount_withdrawn_check": update("amount_withdrawn = -1"),
        "disputes_currency_fkey": new(provider_dispute_id="x", currency="XXA"),
        "disputes_partner_id_fkey": Example(
            new(partner_id=NOWHERE).sql, "ALTER TABLE disputes DROP CONSTRAINT disputes_partner_id_transaction_id_fkey"
        ),
        "disputes_partner_id_transaction_id_fkey": new(transaction_id=NOWHERE),
    },
    "events": _HISTORY
    | {
        "events_pkey": same(sequence=2),
        "events_partner_id_transaction_id_sequence_key": new(),
        "events_partner_id_transaction_id_fkey": new(transaction_id=NOWHERE),
        "append_only_truncate": Example(
            "TRUNCATE {table} CASCADE", "DROP TRIGGER append_only_truncate ON webhook_manifests"
        ),
    },
    "feed_numbering": {
        "feed_numbering_pkey": same(),
        "feed_numbering_only_one_check": update("only_one = false"),
        "feed_numbering_ahead_check": update("ahead = -1"),
    },
    "findings": {
        "findings_pkey": same(subject="x"),
        "findings_open": new(),
        "findings_accepted_check": update("accepted_at = now()"),
        "findings_source_check": new(subject="x", source="rumour"),
        "findings_account_id_fkey": new(subject="x", account_id=NOWHERE),
        "findings_partner_id_fkey": new(subject="x", partner_id=NOWHERE),
    },
    "idempotency_keys": {
        "idempotency_keys_pkey": same(),
        "idempotency_keys_check": update("response_body = '', response_sealed = ''"),
        "idempotency_keys_fingerprint_check": update("fingerprint = ''"),
        "idempotency_keys_partner_id_fkey": same(partner_id=NOWHERE),
    },
    "ledger_accounts": _HISTORY
    | {
        "append_only_truncate": Example(
            "TRUNCATE {table} CASCADE", "DROP TRIGGER append_only_truncate ON ledger_entries"
        ),
        "ledger_accounts_pkey": same(),
        "ledger_accounts_name_check": same(name="my pocket"),
        "ledger_accounts_currency_fkey": same(currency="XXA"),
        "ledger_accounts_partner_id_fkey": same(partner_id=NOWHERE),
    },
    "ledger_entries": _HISTORY
    | {
        "ledger_entries_pkey": same(),
        "ledger_entries_amount_check": same(sequence=2, amount=0),
        "ledger_entries_partner_id_currency_account_fkey": same(account="suspense"),
        "ledger_entries_partner_id_transaction_id_fkey": same(transaction_id=NOWHERE),
        "ledger_balanced": same(sequence=2),
    },
    "partners": {
        "partners_pkey": same(email="x"),
        "partners_email_key": new(),
        "partners_name_check": new(email="x", name=""),
        "partners_rate_limit_per_minute_check": update("rate_limit_per_minute = 0"),
    },
    "payment_methods": {"payment_methods_pkey": same()},
    "provider_accounts": {
        "provider_accounts_pkey": same(),
        "provider_accounts_check": new(livemode=True, base_url="https://psp.example"),
        "provider_accounts_partner_id_fkey": new(partner_id=NOWHERE),
    },
    "provider_calls": _PARTITIONED | {"provider_calls_pkey": same()},
    "provider_calls_other": _PARTITION,
    "provider_events": _KEPT
    | {
        "provider_events_pkey": same(dedupe_key="x"),
        "provider_events_account_id_dedupe_key_key": new(),
        "provider_events_body_check": new(dedupe_key="x", body=TOO_LONG),
        "provider_events_account_id_fkey": new(account_id=NOWHERE),
        "provider_events_partner_id_fkey": new(dedupe_key="x", partner_id=NOWHERE),
        "provider_events_partner_id_transaction_id_fkey": new(dedupe_key="x", transaction_id=NOWHERE),
        "guard": update("body = 'another'"),
    },
    "provider_health": {
        "provider_health_pkey": same(),
        "provider_health_account_id_fkey": same(account_id=NOWHERE),
        "provider_health_check": same(method="crypto", override="open"),
    },
    "refunds": {
        "refunds_pkey": same(idempotency_key=None),
        "one_refund_per_key": new(),
        "refunds_amount_check": new(idempotency_key=None, amount=0),
        "refunds_currency_fkey": new(idempotency_key=None, currency="XXA"),
        "refunds_partner_id_transaction_id_fkey": new(idempotency_key=None, transaction_id=NOWHERE),
        "refunds_agree": update("status = 'completed'"),
        "refunds_stopped": Example(new(idempotency_key=None).sql, "UPDATE findings SET source = 'watchdog'"),
    },
    "review_decisions": _KEPT
    | {
        "review_decisions_pkey": same(),
        "four_eyes": update("approved_by = requested_by, approved_at = now()"),
        "review_decisions_check": update("approved_by = 'grace'"),
        "review_decisions_check1": new(verdict="settled"),
        "review_decisions_evidence_check": new(evidence="trust me"),
        "review_decisions_partner_id_attempt_id_fkey": new(attempt_id=NOWHERE),
        "review_decisions_partner_id_transaction_id_fkey": new(transaction_id=NOWHERE),
        "guard": update("evidence = 'another story'"),
    },
    "routing_activations": _HISTORY
    | {
        "routing_activations_pkey": same(),
        "routing_activations_partner_id_fkey": new(partner_id=NOWHERE, version=None),
        "routing_activations_partner_id_livemode_version_fkey": new(version=7),
        "routing_activations_partner_id_follows_fkey": new(follows=NOWHERE),
    },
    "routing_rules": _HISTORY
    | {
        "append_only_truncate": Example(
            "TRUNCATE {table} CASCADE", "DROP TRIGGER append_only_truncate ON routing_activations"
        ),
        "routing_rules_pkey": same(version=2),
        "routing_rules_partner_id_livemode_version_key": new(),
        "routing_rules_version_check": new(version=0),
        "routing_rules_rules_check": new(version=2, rules={}),
        "routing_rules_partner_id_fkey": new(partner_id=NOWHERE),
    },
    "routing_tallies": {
        "routing_tallies_pkey": same(),
        "routing_tallies_partner_id_fkey": same(partner_id=NOWHERE),
        "routing_tallies_account_id_fkey": same(account_id=NOWHERE),
    },
    "signing_keys": {
        "signing_keys_pkey": same(retires_at="2020-01-01"),
        "signing_keys_public_key_check": update("public_key = ''"),
        "one_signing_key": new(),
    },
    "stored_payment_methods": {
        "stored_payment_methods_pkey": same(),
        "stored_payment_methods_exp_month_check": update("exp_month = 13"),
        "stored_payment_methods_providers_check": update("providers = ARRAY[]::varchar[]"),
        "stored_payment_methods_partner_id_customer_id_fkey": new(customer_id=NOWHERE),
        "stored_payment_methods_partner_id_fkey": new(partner_id=NOWHERE),
        "stored_payment_methods_type_fkey": new(type="barter"),
        "tokens_erased": update("tokens = ''"),
    },
    "support_sessions": {
        "support_sessions_pkey": same(**_TOKEN),
        "support_sessions_token_hash_key": new(),
        "support_sessions_token_hash_check": new(token_hash="\\x00"),
        "support_sessions_user_id_fkey": new(**_TOKEN, user_id=NOWHERE),
        "support_sessions_partner_id_fkey": new(**_TOKEN, partner_id=NOWHERE),
        "support_sessions_across_reason_check": new(**_TOKEN, across_reason="too short", across_until="2020-01-01"),
        "support_sessions_check": new(**_TOKEN, across_reason="a reason that is long enough"),
    },
    "support_users": {
        "support_users_pkey": update(f"id = '{NOWHERE}'"),
        "support_users_email": update("email = 'Ada@support.example'"),
        "support_users_failures_check": update("failures = -1"),
    },
    "transaction_events": _PARTITIONED
    | {
        "transaction_events_pkey": same(),
        "transaction_events_sequence_check": same(sequence=0),
        "transaction_events_partner_id_transaction_id_fkey": same(transaction_id=NOWHERE),
    },
    "transaction_events_other": _PARTITION,
    "transaction_notes": _HISTORY
    | {
        "transaction_notes_pkey": same(),
        "transaction_notes_author_id_fkey": new(author_id=NOWHERE),
        "transaction_notes_note_check": new(note=""),
        "transaction_notes_partner_id_transaction_id_fkey": new(transaction_id=NOWHERE),
    },
    "transactions": {
        "transactions_pkey": same(idempotency_key=None),
        "one_transaction_per_key": new(),
        "captured_within_authorized": update("capture_pending = 0.01"),
        "refunded_within_captured": update("refund_reserved = 10.01"),
        "transactions_amount_captured_check": Example(
            update("amount_captured = -1").sql, "ALTER TABLE transactions DROP CONSTRAINT refunded_within_captured"
        ),
        "transactions_amount_check": new(idempotency_key=None, amount=0, amount_captured=0),
        "transactions_amount_refunded_check": update("amount_refunded = -1"),
        "transactions_capture_pending_check": update("capture_pending = -1"),
        "transactions_published_check": update("published = -1"),
        "transactions_refund_reserved_check": update("refund_reserved = -1"),
        "transactions_version_check": new(idempotency_key=None, version=0),
        "transactions_currency_fkey": new(idempotency_key=None, currency="XXA"),
        "transactions_partner_id_customer_id_fkey": new(idempotency_key=None, customer_id=NOWHERE),
        "transactions_partner_id_fkey": new(partner_id=NOWHERE),
        "transactions_partner_id_stored_payment_method_id_fkey": new(
            idempotency_key=None, stored_payment_method_id=NOWHERE
        ),
        "transactions_payment_method_fkey": new(idempotency_key=None, payment_method="barter"),
        "transactions_provider_account_id_fkey": new(idempotency_key=None, provider_account_id=NOWHERE),
        "guard": update("livemode = NOT livemode"),
        "refunds_agree": update("refund_reserved = 1"),
        "refunds_agree_first": Example(
            new(idempotency_key=None, refund_reserved=1).sql, "DROP TRIGGER transactions_have_event ON transactions"
        ),
        "transactions_have_event": new(idempotency_key=None),
    },
    "webhook_attempts": _HISTORY
    | {
        "webhook_attempts_pkey": same(),
        "webhook_attempts_duration_ms_check": same(number=2, duration_ms=-1),
        "webhook_attempts_number_check": same(number=0),
    },
    "webhook_deliveries": {
        "webhook_deliveries_pkey": same(),
        "webhook_deliveries_check": update("state = 'pending'"),
        "webhook_deliveries_partner_id_endpoint_id_fkey": new(endpoint_id=NOWHERE),
        "webhook_deliveries_partner_id_event_id_fkey": new(event_id=NOWHERE),
    },
    "webhook_endpoints": {
        "webhook_endpoints_pkey": same(),
        "webhook_endpoints_event_types_check": update("event_types = ARRAY[]::varchar[]"),
        "webhook_endpoints_partner_id_fkey": new(partner_id=NOWHERE),
        "webhook_endpoints_rate_limit_per_second_check": update("rate_limit_per_second = 0"),
        "headers_named": update("header_names = ARRAY['x-shop']"),
        "probed_while_disabled": update("probe_at = now()"),
    },
    "webhook_manifests": _HISTORY
    | {
        "webhook_manifests_pkey": same(),
        "webhook_manifests_count_check": same(day="2020-01-01", count=-1),
        "webhook_manifests_digest_check": same(day="2020-01-01", digest="\\x00"),
        "webhook_manifests_partner_id_endpoint_id_fkey": same(endpoint_id=NOWHERE),
        "webhook_manifests_partner_id_event_id_fkey": same(day="2020-01-01", event_id=NOWHERE),
    },
    "webhook_replays": {
        "webhook_replays_pkey": same(**_OVER),
        "one_replay": new(),
        "webhook_replays_event_types_check": new(**_OVER, event_types=[]),
        "webhook_replays_partner_id_endpoint_id_fkey": new(**_OVER, endpoint_id=NOWHERE),
        "webhook_replays_queued_check": update("queued = -1"),
        "webhook_replays_total_check": update("total = -1"),
        "since_before_until": update("until = since"),
        "finished_once_over": update("finished_at = now()"),
    },
}
