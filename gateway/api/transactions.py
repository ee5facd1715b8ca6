"""Transactions over HTTP: parse, call the use case, present. Every decision is made below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from db import ids, ledger, outbox, payment_methods, provider_calls, refunds, search, transactions
from db.database import Connection
from db.payment_methods import Instrument, Named
from db.records import Attempt, CaptureMode, Transaction
from gateway.api import amounts, fields, lists
from gateway.api.answers import answered
from gateway.api.body import QueryModel, RequestModel
from gateway.api.calls import Answer, Call
from gateway.api.errors import Problem, invalid
from gateway.api.lists import PageQuery
from gateway.api.webhooks import delivery_body
from gateway.transactions import charge, commands, explanation, followups, recovery, representation
from gateway.transactions.commands import NotFound
from providers import PROVIDERS

EXPANDABLE = ("events", "refunds", "ledger", "deliveries")
LOOK_SECONDS = 2.0
"""How long an answer waits for a PSP that is asked about an unknown outcome; later ones are shown the next time."""
LEDGER_MAX = 100
"""Entries that a transaction shows when expanded: two for each movement, and movements are few."""


def _known_provider(name: str) -> str:
    if name not in PROVIDERS:
        raise ValueError(f"must be one of {', '.join(PROVIDERS)}")
    return name


class PaymentMethod(RequestModel):
    """How the customer pays. Only tokens of PSPs, never card numbers."""

    type: fields.PaymentMethodType | None = Field(None, description="Required, except beside `id`.")
    tokens: fields.Tokens | None = Field(None, description="Provider → the token that is valid there.")
    token: fields.Token | None = Field(None, description="Short form of `tokens` beside a forced `provider`.")
    id: fields.PaymentMethodId | None = Field(None, description="A stored payment method.")
    brand: fields.Brand | None = Field(None, description="What is known of the card, for routing.")
    country: fields.Country | None = Field(None, description="Of the card's issuer, for routing.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(given is not None for given in (self.tokens, self.token, self.id)) > 1:
            raise ValueError("give one of tokens, token and id")
        if self.id is not None and (self.brand or self.country):
            raise ValueError("brand and country of a stored payment method are stored with it")
        return self


class Customer(RequestModel):
    """Who pays; shown again in answers and webhooks, never sent to a PSP unasked."""

    email: fields.Email | None = None
    name: fields.Name | None = None
    phone: fields.Phone | None = None
    id: fields.CustomerId | None = Field(default=None, description="A customer, who fills in what is not given here.")


class CreateTransaction(RequestModel):
    amount: fields.Money
    currency: fields.Currency
    payment_method: PaymentMethod
    capture: Literal["automatic", "manual"] = "automatic"
    customer: Customer | None = None
    business_unit: fields.BusinessUnit | None = Field(None, description="A part of the partner's business.")
    reference: fields.Reference | None = Field(None, description="The partner's own order number.")
    description: fields.Description | None = None
    statement_descriptor: fields.StatementDescriptor | None = None
    metadata: fields.Metadata | None = None
    return_url: fields.ReturnUrl | None = Field(None, description="Where a redirected customer comes back to.")
    provider: Annotated[str, AfterValidator(_known_provider)] | None = Field(None, description="Use this PSP only.")


class CreateCapture(RequestModel):
    amount: fields.Money | None = Field(None, description="All that is authorized where absent; the rest is released.")


class TransactionQuery(PageQuery):
    status: list[
        Literal[
            "pending",
            "processing",
            "requires_action",
            "authorized",
            "completed",
            "partially_refunded",
            "refunded",
            "failed",
            "cancelled",
        ]
    ] = Field(default_factory=list, description="May be repeated.", max_length=9)
    currency: fields.Currency | None = None
    provider: fields.ProviderName | None = None
    payment_method: fields.PaymentMethodType | None = None
    reference: fields.Reference | None = None
    customer_email: fields.Email | None = None
    provider_transaction_id: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    amount: fields.Money | None = None
    amount_gte: fields.Money | None = None
    amount_lte: fields.Money | None = None
    created_after: fields.Moment | None = None
    created_before: fields.Moment | None = None
    metadata: dict[str, str] = Field(default_factory=dict, description="As metadata[key]=value.", max_length=10)
    needs_review: bool | None = None


def _expandable(names: str) -> str:
    if not set(names.split(",")) <= set(EXPANDABLE):
        raise ValueError(f"may name {', '.join(EXPANDABLE)}, separated by commas")
    return names


class ExpandQuery(QueryModel):
    expand: Annotated[str, StringConstraints(max_length=100), AfterValidator(_expandable)] | None = Field(
        None, description="events,refunds,ledger,deliveries", examples=["events,refunds"]
    )


async def create(call: Call) -> Answer:
    body: CreateTransaction = call.body
    amounts.check(call, body.amount, body.currency)
    try:
        named = await _named(call, body)
    except Problem:
        # A repeat is answered as before, even where what it names is gone since.
        again = await call.runtime.carry_out(charge.answered_before(call.runtime, call.caller))
        if again is None:
            raise
        return answered(again)
    command = _command(body, named)
    return answered(await call.runtime.carry_out(charge.charge(call.runtime, call.caller, command)))


async def create_capture(call: Call) -> Answer:
    body: CreateCapture = call.body
    transaction_id = call.id("txn")
    if body.amount is not None:
        await amounts.check_followup(call, transaction_id, body.amount)
    command = commands.Capture(transaction_id=transaction_id, amount=body.amount)
    return answered(await call.runtime.carry_out(followups.capture(call.runtime, call.caller, command)))


async def cancel(call: Call) -> Answer:
    command = commands.Cancel(transaction_id=call.id("txn"))
    return answered(await call.runtime.carry_out(followups.cancel(call.runtime, call.caller, command)))


async def show(call: Call) -> Answer:
    """Who asks about a payment without an outcome has the PSP asked, too."""
    body, attempts = await _shown(call)
    if await recovery.look_again(call.runtime, call.scope.partner_id, attempts, wait_seconds=LOOK_SECONDS):
        body, _ = await _shown(call)
    return Answer(status=200, body=dict(body))


async def explain(call: Call) -> Answer:
    partner_id = call.scope.partner_id
    async with call.runtime.database.as_partner(partner_id) as connection:
        transaction = await _found(connection, call)
        attempts = await transactions.attempts(connection, partner_id, [transaction.id])
        calls = await provider_calls.of_transaction(connection, partner_id, transaction.id)
    places = call.runtime.places(transaction.currency)
    return Answer(status=200, body=dict(explanation.explanation(transaction, attempts, calls, places=places)))


async def list_transactions(call: Call) -> Answer:
    query: TransactionQuery = call.query
    filters = search.Filters(**query.model_dump(exclude={"limit", "cursor"}))
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await search.transactions(
            connection, call.scope, filters, before=lists.before(call, "transactions"), limit=query.limit + 1
        )
        bodies = await _bodies(connection, call, found)
    return lists.page(call, "transactions", [(row.id, body) for row, body in zip(found, bodies, strict=True)])


async def list_events(call: Call) -> Answer:
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        transaction = await _found(connection, call)
        events = await transactions.events(connection, call.scope.partner_id, transaction.id)
    return lists.whole([representation.transaction_event_body(event) for event in events])


async def list_deliveries(call: Call) -> Answer:
    query: PageQuery = call.query
    listing = f"deliveries of {call.id('txn')}"
    before = lists.before(call, listing)
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        transaction = await _found(connection, call)
        found = await outbox.page_of_transaction(
            connection, transaction.partner_id, transaction.id, before=before, limit=query.limit + 1
        )
    return lists.page(call, listing, [(one.id, delivery_body(one)) for one in found])


async def _named(call: Call, body: CreateTransaction) -> Named:
    """What the request names by id, in one read; nothing is read where it names nothing."""
    method, customer = body.payment_method, body.customer or Customer()
    if method.id is None and customer.id is None:
        return Named()
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await payment_methods.named(
            connection,
            call.scope,
            method_id=None if method.id is None else ids.decode("pmt", method.id),
            customer_id=None if customer.id is None else ids.decode("cus", customer.id),
            vault=call.runtime.vault,
        )
    if wrong := list(_mismatches(method, customer, found)):
        raise Problem("invalid_request", errors=wrong)
    return found


def _mismatches(method: PaymentMethod, customer: Customer, found: Named) -> Iterator[tuple[str, str]]:
    stored = found.instrument
    if method.id is not None and stored is None:
        yield "payment_method.id", "is not a stored payment method of this account"
    if stored is not None and method.type not in {None, stored.type}:
        yield "payment_method.type", "is not the type of this stored payment method"
    if customer.id is not None and found.customer_id is None:
        yield "customer.id", "is not a customer of this account"
    elif stored is not None and stored.owner_id not in {None, found.customer_id}:
        yield "payment_method.id", "belongs to another customer"


def _command(body: CreateTransaction, named: Named) -> commands.Charge:
    given, known = body.customer or Customer(), named.personal
    instrument = named.instrument or _given(body)
    return commands.Charge(
        amount=body.amount,
        currency=body.currency,
        method=instrument.type,
        tokens=instrument.tokens,
        stored_payment_method_id=instrument.id,
        brand=instrument.brand,
        country=instrument.country,
        provider=body.provider,
        capture=CaptureMode(body.capture),
        customer=commands.Customer(
            id=named.customer_id,
            email=given.email or known.email,
            name=given.name or known.name,
            phone=given.phone or known.phone,
        ),
        business_unit=body.business_unit,
        reference=body.reference,
        description=body.description,
        statement_descriptor=body.statement_descriptor,
        metadata=body.metadata or {},
        return_url=body.return_url,
    )


def _given(body: CreateTransaction) -> Instrument:
    method = body.payment_method
    if method.type is None:
        raise invalid("payment_method.type", "is required")
    return Instrument(type=method.type, tokens=_tokens(body), brand=method.brand, country=method.country)


def _tokens(body: CreateTransaction) -> dict[str, str]:
    method = body.payment_method
    if method.token is not None:
        if body.provider is None:
            raise invalid("provider", "is required beside payment_method.token: a token is valid at one provider only")
        return {body.provider: method.token}
    if method.type == "card" and not method.tokens and body.provider is None:
        raise invalid("payment_method.tokens", "is required for a card")
    return method.tokens or {}


async def _found(connection: Connection, call: Call) -> Transaction:
    transaction = await transactions.get(connection, call.scope, call.id("txn"))
    if transaction is None:
        raise NotFound
    return transaction


async def _shown(call: Call) -> tuple[representation.TransactionBody, list[Attempt]]:
    query: ExpandQuery = call.query
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        transaction = await _found(connection, call)
        attempts = await transactions.attempts(connection, call.scope.partner_id, [transaction.id])
        places = call.runtime.places(transaction.currency)
        body = representation.transaction_body(transaction, attempts, places=places)
        for name in query.expand.split(",") if query.expand else ():
            body[name] = await _EXPANSIONS[name](connection, call, transaction)  # type: ignore[literal-required]  # keys of EXPANDABLE
    return body, attempts


async def _bodies(
    connection: Connection, call: Call, found: Sequence[Transaction]
) -> list[representation.TransactionBody]:
    """One query for the attempts of all, not one each."""
    attempts = await transactions.attempts(connection, call.scope.partner_id, [row.id for row in found])
    return [
        representation.transaction_body(
            row,
            [attempt for attempt in attempts if attempt.transaction_id == row.id],
            places=call.runtime.places(row.currency),
        )
        for row in found
    ]


async def _events(connection: Connection, call: Call, transaction: Transaction) -> list[Any]:
    events = await transactions.events(connection, call.scope.partner_id, transaction.id)
    return [representation.transaction_event_body(event) for event in events]


async def _refunds(connection: Connection, call: Call, transaction: Transaction) -> list[Any]:
    found = await refunds.of_transaction(connection, call.scope.partner_id, transaction.id)
    return [representation.refund_body(refund, places=call.runtime.places(refund.currency)) for refund in found]


async def _ledger(connection: Connection, call: Call, transaction: Transaction) -> list[Any]:
    entries = await ledger.page(connection, call.scope, transaction_id=transaction.id, limit=LEDGER_MAX)
    return [representation.ledger_entry_body(entry, places=call.runtime.places(entry.currency)) for entry in entries]


async def _deliveries(connection: Connection, call: Call, transaction: Transaction) -> list[Any]:
    found = await outbox.of_transaction(connection, call.scope.partner_id, transaction.id)
    return [delivery_body(delivery) for delivery in found]


_EXPANSIONS = {"events": _events, "refunds": _refunds, "ledger": _ledger, "deliveries": _deliveries}
