"""The look-up tables: currencies and payment method types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from db.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Currency:
    """`decimal_places` is ISO 4217's; a PSP's own spelling belongs to its adapter."""

    code: str
    name: str
    symbol: str
    decimal_places: int
    amount_min: Decimal
    amount_max: Decimal
    is_active: bool

    def spell(self, amount: Decimal) -> str:
        """With the currency's decimal places, as everywhere in the API."""
        return f"{amount:.{self.decimal_places}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMethodType:
    code: str
    name: str
    is_active: bool


async def all_currencies(connection: Connection) -> Mapping[str, Currency]:
    """By code, in its order; those switched off too."""
    rows = await connection.fetch(
        "SELECT code, name, symbol, decimal_places, amount_min, amount_max, is_active FROM currencies ORDER BY code"
    )
    return {row["code"]: Currency(**row) for row in rows}


async def payment_method_types(connection: Connection) -> list[PaymentMethodType]:
    rows = await connection.fetch("SELECT code, name, is_active FROM payment_methods ORDER BY code")
    return [PaymentMethodType(**row) for row in rows]
