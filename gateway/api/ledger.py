"""The partner's ledger over HTTP: balances per currency and account, and the entries behind them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints
from typing_extensions import TypedDict

from db import ids, ledger
from gateway.api import fields, lists
from gateway.api.calls import Answer, Call
from gateway.api.errors import invalid
from gateway.api.lists import PageQuery
from gateway.transactions import representation


class AccountBalance(TypedDict):
    account: str
    direction: Literal["debit", "credit"]
    amount: str


class CurrencyBalance(TypedDict):
    currency: str
    accounts: list[AccountBalance]


class Balance(TypedDict):
    object: Literal["balance"]
    livemode: bool
    balances: list[CurrencyBalance]


class EntryQuery(PageQuery):
    transaction: Annotated[str, StringConstraints(max_length=64)] | None = None
    currency: fields.Currency | None = None
    account: Annotated[str, StringConstraints(max_length=100)] | None = None


async def balance(call: Call) -> Answer:
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await ledger.balances(connection, call.scope)
    balances: dict[str, list[AccountBalance]] = {}
    for one in found:
        shown: AccountBalance = {
            "account": one.account,
            "direction": "credit" if one.amount < 0 else "debit",
            "amount": representation.money(abs(one.amount), call.runtime.places(one.currency)),
        }
        balances.setdefault(one.currency, []).append(shown)
    body: Balance = {
        "object": "balance",
        "livemode": call.principal.livemode,
        "balances": [{"currency": currency, "accounts": accounts} for currency, accounts in balances.items()],
    }
    return Answer(status=200, body=dict(body))


async def list_entries(call: Call) -> Answer:
    query: EntryQuery = call.query
    transaction_id = None if query.transaction is None else ids.decode("txn", query.transaction)
    if query.transaction is not None and transaction_id is None:
        raise invalid("transaction", "is not the id of a transaction")
    before = lists.before(call, "ledger-entries")
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await ledger.page(
            connection,
            call.scope,
            transaction_id=transaction_id,
            currency=query.currency,
            account=query.account,
            before=before,
            limit=query.limit + 1,
        )
    bodies = [
        (entry.id, representation.ledger_entry_body(entry, places=call.runtime.places(entry.currency)))
        for entry in found
    ]
    return lists.page(call, "ledger-entries", bodies)
