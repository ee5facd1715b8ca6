"""Whether an amount fits its currency and its partner: the checks that need the currencies' table."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from db import transactions
from db.currencies import Currency
from gateway.api.calls import Call, Principal
from gateway.api.errors import Problem, invalid
from gateway.transactions.commands import NotFound


def check(call: Call, amount: Decimal, code: str, field: str = "amount") -> Currency:
    """The currency, after all checks. Raises `Problem`."""
    currency = call.runtime.currencies.get(code)
    if currency is None or not currency.is_active:
        raise Problem("currency_not_supported", errors=[("currency", "is not a currency this API supports")])
    check_amount(amount, currency, call.principal, field)
    return currency


async def check_followup(call: Call, transaction_id: UUID, amount: Decimal) -> None:
    """The amount of a capture or refund: positive, with the decimals of its transaction's currency."""
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        transaction = await transactions.get(connection, call.scope, transaction_id)
    if transaction is None:
        raise NotFound
    _check_places(amount, call.runtime.currencies[transaction.currency], "amount")
    if amount <= 0:
        raise invalid("amount", "must be more than zero")


def check_amount(amount: Decimal, currency: Currency, principal: Principal, field: str = "amount") -> None:
    """Decimal places, the currency's smallest amount, and the partner's largest (else the currency's)."""
    _check_places(amount, currency, field)
    if amount < currency.amount_min:
        raise invalid(field, f"must be at least {currency.spell(currency.amount_min)} {currency.code}")
    largest = principal.amount_limits.get(currency.code, currency.amount_max)
    if amount > largest:
        raise invalid(field, f"must be at most {currency.spell(largest)} {currency.code}")


def too_fine(amount: Decimal, currency: Currency) -> str | None:
    """What to say of an amount with more decimal places than its currency has."""
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int), "fields.Money admits finite amounts only"
    if -exponent <= currency.decimal_places:
        return None
    if currency.decimal_places == 0:
        return f"must have no decimal places in {currency.code}"
    return f"must have at most {currency.decimal_places} decimal places in {currency.code}"


def _check_places(amount: Decimal, currency: Currency, field: str) -> None:
    if wrong := too_fine(amount, currency):
        raise invalid(field, wrong)
