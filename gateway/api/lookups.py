"""The look-up tables: payment method types and currencies."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from db import currencies
from gateway.api.calls import Answer, Call


class PaymentMethodType(TypedDict):
    object: Literal["payment_method_type"]
    code: str
    name: str


class PaymentMethodTypes(TypedDict):
    data: list[PaymentMethodType]
    has_more: bool
    next_cursor: str | None


class Currency(TypedDict):
    object: Literal["currency"]
    code: str
    name: str
    symbol: str
    decimal_places: int
    amount_min: str
    amount_max: str


class Currencies(TypedDict):
    data: list[Currency]
    has_more: bool
    next_cursor: str | None


async def list_payment_method_types(call: Call) -> Answer:
    async with call.runtime.database.as_system() as connection:
        rows = await currencies.payment_method_types(connection)
    data: list[PaymentMethodType] = [
        {"object": "payment_method_type", "code": row.code, "name": row.name} for row in rows if row.is_active
    ]
    body: PaymentMethodTypes = {"data": data, "has_more": False, "next_cursor": None}
    return Answer(status=200, body=body)


async def list_currencies(call: Call) -> Answer:
    limits = call.principal.amount_limits
    data: list[Currency] = [
        {
            "object": "currency",
            "code": row.code,
            "name": row.name,
            "symbol": row.symbol,
            "decimal_places": row.decimal_places,
            "amount_min": row.spell(row.amount_min),
            "amount_max": row.spell(limits.get(row.code, row.amount_max)),
        }
        for row in call.runtime.currencies.values()
        if row.is_active
    ]
    body: Currencies = {"data": data, "has_more": False, "next_cursor": None}
    return Answer(status=200, body=body)
