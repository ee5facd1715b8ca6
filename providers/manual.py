"""Offline payments: cash, bank transfers, anything a person confirms. No network, no credentials, no notifications.

Its surprise: nothing is ever decided here. A charge, capture or refund stays `Pending` until support records what
happened; only a cancel is approved at once, as there is nobody who could have taken the money.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Never, Self, assert_never

from providers import contract, currency, http
from providers.contract import Operation

KEY_LIFETIME_SECONDS = 10 * 365 * 24 * 3600  # a second send does nothing, whenever it comes

SPELLING = currency.Spelling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manual:
    """The desk where offline payments are confirmed."""

    name: ClassVar[str] = "manual"
    capabilities: ClassVar[contract.Capabilities] = contract.Capabilities(
        methods=frozenset({"bank_transfer", "card", "crypto", "e_wallet"}),
        currencies=None,
        tokenless_methods=frozenset({"bank_transfer", "card", "crypto", "e_wallet"}),
        key_lifetime_seconds=KEY_LIFETIME_SECONDS,
        offline=True,
        readable=False,
    )
    credential_fields: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def open(
        cls, credentials: Mapping[str, object], *, base_url: str | None, livemode: bool, doorway: http.Doorway
    ) -> Self:
        """Raises `contract.BadCredentials` for any: they were meant for another PSP."""
        del base_url, livemode, doorway
        for name in credentials:
            raise contract.BadCredentials(name, "is not needed: manual payments take no credentials")
        return cls()

    def prepare(self, ask: contract.Ask) -> contract.Prepared:
        return build(ask)

    async def send(self, prepared: contract.Prepared, *, key: str) -> contract.Outcome:
        del key
        return outcome_of(prepared)

    async def look_up(
        self, prepared: contract.Prepared, *, provider_id: str | None, sent_at: datetime | None = None
    ) -> contract.Outcome:
        del provider_id, sent_at
        return outcome_of(prepared)

    async def proceed(
        self, prepared: contract.Prepared, *, key: str, provider_id: str | None, returned: Mapping[str, str]
    ) -> contract.Outcome:
        del key, provider_id, returned
        return outcome_of(prepared)

    async def rule_out(
        self, prepared: contract.Prepared, *, key: str, provider_id: str | None, sent_at: datetime | None = None
    ) -> contract.Outcome:
        """Only a person knows whether the money came."""
        del key, provider_id, sent_at
        return outcome_of(prepared)

    def missed(self, *, since: datetime, until: datetime | None = None) -> Never:
        del since, until
        raise contract.CannotList("nobody keeps a list of manual payments' events")

    def payments(self, *, since: datetime, until: datetime) -> Never:
        del since, until
        raise contract.CannotList("nobody keeps a list of manual payments")

    async def verify_webhook(self, headers: Mapping[str, str], body: bytes, *, now: float) -> Never:
        del headers, body, now
        raise contract.Forged("nobody notifies us of manual payments")

    def read_webhook(self, body: bytes) -> Never:
        del body
        raise contract.Unreadable("nobody notifies us of manual payments")


def build(ask: contract.Ask) -> contract.Prepared:
    """The path is the id under which the outcome is told: a new one, or the payment's for what changes a payment."""
    match ask:
        case contract.Charge():
            operation, path = Operation.CHARGE, f"manual_{ask.reference}"
        case contract.Capture():
            operation, path = Operation.CAPTURE, ask.provider_transaction_id
        case contract.Cancel():
            operation, path = Operation.CANCEL, ask.provider_transaction_id
        case contract.Refund():
            operation, path = Operation.REFUND, f"manual_{ask.reference}"
        case _:
            assert_never(ask)
    return contract.Prepared(
        operation=operation,
        method="NONE",
        path=path,
        body=json.dumps({"amount": SPELLING.to_text(ask.amount, ask.currency), "currency": ask.currency}),
        reference=ask.reference,
        amount=ask.amount,
        currency=ask.currency,
    )


def outcome_of(prepared: contract.Prepared) -> contract.Outcome:
    if prepared.operation is Operation.CANCEL:
        return contract.Approved(provider_id=prepared.path)
    return contract.Pending(provider_id=prepared.path)
