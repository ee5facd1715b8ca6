"""What PSPs answered when they were asked again about an attempt. Written by `journal_write`, never changed.

The first answer is a line of the transaction's history; here is what later questions told without changing anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from db import shapes
from db.database import Connection


class CallPurpose(StrEnum):
    """Why a PSP was asked again."""

    RESEND = "resend"
    LOOK_UP = "look_up"
    PROCEED = "proceed"
    RULE_OUT = "rule_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCall:
    """`outcome` is redacted: no token, no credential, no personal datum."""

    partner_id: UUID
    id: UUID
    transaction_id: UUID
    attempt_id: UUID
    purpose: CallPurpose
    outcome: Mapping[str, Any]
    called_at: datetime


_CALL = shapes.columns(ProviderCall)


async def of_transaction(connection: Connection, partner_id: UUID, transaction_id: UUID) -> list[ProviderCall]:
    """In the order they were made; the last thousand."""
    rows = await connection.fetch(
        f"SELECT {_CALL} FROM provider_calls WHERE partner_id = $1 AND transaction_id = $2 ORDER BY id DESC LIMIT 1000",
        partner_id,
        transaction_id,
    )
    return [shapes.read(ProviderCall, row) for row in reversed(rows)]
