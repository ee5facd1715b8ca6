"""Customers over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal
from uuid import UUID

from typing_extensions import TypedDict

from db import customers, ids, payment_methods
from db.customers import Customer, Personal
from db.database import Connection
from gateway.api import acts, fields, lists
from gateway.api.body import RequestModel
from gateway.api.calls import Answer, Call
from gateway.api.lists import PageQuery
from gateway.api.once import once
from gateway.transactions import representation
from gateway.transactions.commands import NotFound

_PERSONAL = frozenset(Personal.__slots__)


class StoredCustomer(TypedDict):
    id: str
    object: Literal["customer"]
    livemode: bool
    email: str | None
    name: str | None
    phone: str | None
    reference: str | None
    metadata: Mapping[str, str]
    created_at: str
    updated_at: str


class WriteCustomer(RequestModel):
    """At a change, what is not given stays as it is, null removes it, and `metadata` is replaced as a whole."""

    email: fields.Email | None = None
    name: fields.Name | None = None
    phone: fields.Phone | None = None
    reference: fields.Reference | None = None
    metadata: fields.Metadata | None = None


class CustomerQuery(PageQuery):
    email: fields.Email | None = None
    reference: fields.Reference | None = None


async def create(call: Call) -> Answer:
    body: WriteCustomer = call.body

    async def work(connection: Connection) -> tuple[int, Mapping[str, object]]:
        made = await customers.create(
            connection,
            call.scope,
            ids.new(),
            personal=Personal(email=body.email, name=body.name, phone=body.phone),
            reference=body.reference,
            metadata=body.metadata or {},
            vault=call.runtime.vault,
        )
        await _audit(connection, call, "create", made.id, {})
        return 201, dict(_body(made))

    return await once(call, work, secret=True)


async def list_customers(call: Call) -> Answer:
    query: CustomerQuery = call.query
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await customers.page(
            connection,
            call.scope,
            email=query.email,
            reference=query.reference,
            before=lists.before(call, "customers"),
            limit=query.limit + 1,
            vault=call.runtime.vault,
        )
    return lists.page(call, "customers", [(one.id, _body(one)) for one in found])


async def show(call: Call) -> Answer:
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await customers.get(connection, call.scope, call.id("cus"), call.runtime.vault)
    if found is None:
        raise NotFound
    return Answer(status=200, body=dict(_body(found)))


async def update(call: Call) -> Answer:
    body: WriteCustomer = call.body
    given = body.model_dump(exclude_unset=True)
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await customers.lock(connection, call.scope, call.id("cus"), call.runtime.vault)
        if found is None:
            raise NotFound
        changed = await customers.update(connection, call.scope, _changed(found, given), call.runtime.vault)
        await _audit(connection, call, "update", found.id, {"fields": sorted(given)})
    return Answer(status=200, body=dict(_body(changed)))


async def delete(call: Call) -> Answer:
    """Stored payment methods go with their customer."""
    customer_id = call.id("cus")
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        if not await customers.erase(connection, call.scope, customer_id):
            raise NotFound
        await payment_methods.erase_of_customer(connection, call.scope, customer_id)
        await _audit(connection, call, "delete", customer_id, {})
    return Answer(status=204)


def _changed(customer: Customer, given: Mapping[str, Any]) -> Customer:
    personal = {name: value for name, value in given.items() if name in _PERSONAL}
    return replace(
        customer,
        personal=replace(customer.personal, **personal),
        reference=given.get("reference", customer.reference),
        metadata=given.get("metadata", customer.metadata) or {},
    )


def _body(customer: Customer) -> StoredCustomer:
    return {
        "id": ids.encode("cus", customer.id),
        "object": "customer",
        "livemode": customer.livemode,
        "email": customer.personal.email,
        "name": customer.personal.name,
        "phone": customer.personal.phone,
        "reference": customer.reference,
        "metadata": customer.metadata,
        "created_at": representation.instant(customer.created_at),
        "updated_at": representation.instant(customer.updated_at),
    }


async def _audit(
    connection: Connection, call: Call, action: str, customer_id: UUID, changes: Mapping[str, object]
) -> None:
    await acts.record(connection, call, f"customer.{action}", ids.encode("cus", customer_id), changes)
