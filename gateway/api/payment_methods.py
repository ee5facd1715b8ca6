"""Stored payment methods over HTTP. A token goes in and is never shown again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from db import customers, ids, payment_methods
from db.database import Connection
from db.payment_methods import StoredMethod
from gateway.api import acts, fields, lists
from gateway.api.body import RequestModel
from gateway.api.calls import Answer, Call
from gateway.api.errors import Problem, invalid
from gateway.api.lists import PageQuery
from gateway.api.once import once
from gateway.transactions import representation
from gateway.transactions.commands import NotFound


class StoredPaymentMethod(TypedDict):
    id: str
    object: Literal["payment_method"]
    livemode: bool
    type: str
    providers: list[str]
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None
    country: str | None
    customer: str | None
    metadata: Mapping[str, str]
    created_at: str
    updated_at: str


class CreatePaymentMethod(RequestModel):
    type: fields.PaymentMethodType
    tokens: Annotated[fields.Tokens, Field(min_length=1, description="Provider → the token that is valid there.")]
    brand: fields.Brand | None = None
    last4: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")] | None = None
    exp_month: Annotated[int, Field(ge=1, le=12)] | None = None
    exp_year: Annotated[int, Field(ge=2000, le=2099)] | None = None
    country: fields.Country | None = Field(None, description="Of the card's issuer.")
    customer: fields.CustomerId | None = Field(None, description="Whose it is: it then pays for this customer only.")
    metadata: fields.Metadata | None = None


class PaymentMethodQuery(PageQuery):
    customer: fields.CustomerId | None = None


async def create(call: Call) -> Answer:
    body: CreatePaymentMethod = call.body
    customer_id = _customer_id(body.customer)

    async def work(connection: Connection) -> tuple[int, Mapping[str, object]]:
        if customer_id is not None and not await customers.keep(connection, call.scope, customer_id):
            raise _no_customer()
        made = await payment_methods.create(
            connection,
            call.scope,
            ids.new(),
            customer_id=customer_id,
            metadata=body.metadata or {},
            vault=call.runtime.vault,
            **body.model_dump(exclude={"customer", "metadata"}),
        )
        await _audit(connection, call, "create", made.id, {"providers": list(made.providers)})
        return 201, dict(_body(made))

    return await once(call, work)


async def list_payment_methods(call: Call) -> Answer:
    query: PaymentMethodQuery = call.query
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await payment_methods.page(
            connection,
            call.scope,
            customer_id=_customer_id(query.customer),
            before=lists.before(call, "payment-methods"),
            limit=query.limit + 1,
        )
    return lists.page(call, "payment-methods", [(one.id, _body(one)) for one in found])


async def show(call: Call) -> Answer:
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await payment_methods.get(connection, call.scope, call.id("pmt"))
    if found is None:
        raise NotFound
    return Answer(status=200, body=dict(_body(found)))


async def delete(call: Call) -> Answer:
    method_id = call.id("pmt")
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        if not await payment_methods.erase(connection, call.scope, method_id):
            raise NotFound
        await _audit(connection, call, "delete", method_id, {})
    return Answer(status=204)


def _customer_id(text: str | None) -> UUID | None:
    if text is None:
        return None
    found = ids.decode("cus", text)
    if found is None:
        raise _no_customer()
    return found


def _no_customer() -> Problem:
    return invalid("customer", "is not a customer of this account")


def _body(method: StoredMethod) -> StoredPaymentMethod:
    return {
        "id": ids.encode("pmt", method.id),
        "object": "payment_method",
        "livemode": method.livemode,
        "type": method.type,
        "providers": list(method.providers),
        "brand": method.brand,
        "last4": method.last4,
        "exp_month": method.exp_month,
        "exp_year": method.exp_year,
        "country": method.country,
        "customer": None if method.customer_id is None else ids.encode("cus", method.customer_id),
        "metadata": method.metadata,
        "created_at": representation.instant(method.created_at),
        "updated_at": representation.instant(method.updated_at),
    }


async def _audit(
    connection: Connection, call: Call, action: str, method_id: UUID, changes: Mapping[str, object]
) -> None:
    await acts.record(connection, call, f"payment_method.{action}", ids.encode("pmt", method_id), changes)
