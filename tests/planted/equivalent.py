"""Mutants that nobody can notice, because they do the same; and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Equivalent:
    function: str
    removed: str
    added: str
    because: str


_SIGNED = "webhooks.signing"
_NO_HEADER = "a header that is missing is no signature, no time and no id that anybody signed, whatever stands for it"

_LEARNED = "gateway.routing.decisions._learned"
_ZIPPED = (
    "for account, belief, drawn, fee in zip(accounts, beliefs, learning.draws(payment, beliefs), fees, strict=True)"
)
_AS_LONG = "each list holds one of every account"

EQUIVALENT = (
    Equivalent(
        "gateway.routing.breaker._opened",
        "wait = min(WAIT * 2 ** min(trips, 10), WAIT_MAX)",
        "wait = min(WAIT * 2 ** min(trips, 11), WAIT_MAX)",
        because="either is more than the longest wait",
    ),
    Equivalent(_LEARNED, _ZIPPED, _ZIPPED.replace("strict=True", "strict=None"), because=_AS_LONG),
    Equivalent(_LEARNED, _ZIPPED, _ZIPPED.replace("strict=True", "strict=False"), because=_AS_LONG),
    Equivalent(_LEARNED, _ZIPPED, _ZIPPED.replace("strict=True", ""), because=_AS_LONG),
    Equivalent(
        "gateway.transactions.conclusions._compensated",
        'captured = (attempt.routing or {}).get("captured", False)',
        'captured = (attempt.routing or {}).get("captured", None)',
        because="only asked whether it is true",
    ),
    Equivalent(
        "gateway.transactions.conclusions._compensated",
        'captured = (attempt.routing or {}).get("captured", False)',
        'captured = (attempt.routing or {}).get("captured", )',
        because="only asked whether it is true",
    ),
    Equivalent(
        "gateway.transactions.representation.ledger_entry_body",
        '"direction": "debit" if entry.amount > 0 else "credit",',
        '"direction": "debit" if entry.amount >= 0 else "credit",',
        because="no entry is zero: the table refuses it",
    ),
    Equivalent(
        "providers.currency.Spelling._require",
        "representable = False",
        "representable = None",
        because="only asked whether it is true",
    ),
    Equivalent(
        "webhooks.schedule.retry_after_seconds",
        'value = (value or "").strip()',
        'value = (value or "XXXX").strip()',
        because="neither is a number or a date",
    ),
    Equivalent(
        f"{_SIGNED}.new_secret",
        "return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()",
        "return _PREFIX + base64.b64encode(secrets.token_bytes(None)).decode()",
        because="32 bytes are also what the standard library takes by default",
    ),
    Equivalent(
        f"{_SIGNED}.verify",
        'timestamp = headers.get("webhook-timestamp", "")',
        'timestamp = headers.get("webhook-timestamp", "XXXX")',
        because=_NO_HEADER,
    ),
    Equivalent(
        f"{_SIGNED}.verify",
        'expected = _signature(secret, headers.get("webhook-id", ""), int(timestamp), body).encode()',
        'expected = _signature(secret, headers.get("webhook-id", "XXXX"), int(timestamp), body).encode()',
        because=_NO_HEADER,
    ),
    Equivalent(
        f"{_SIGNED}.verify",
        'offered = headers.get("webhook-signature", "").split(" ")',
        'offered = headers.get("webhook-signature", "XXXX").split(" ")',
        because=_NO_HEADER,
    ),
    Equivalent(
        f"{_SIGNED}.verify",
        'offered = headers.get("webhook-signature", "").split(" ")',
        'offered = headers.get("webhook-signature", "").split(None)',
        because="base64 holds no white space",
    ),
)
