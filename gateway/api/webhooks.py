"""Webhook endpoints and their deliveries over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints
from typing_extensions import TypedDict

from db import endpoints, ids, outbox
from db.database import Connection
from db.records import Delivery, DeliveryAttempt, Endpoint, PublishedEvent
from gateway.api import acts, fields, lists
from gateway.api.body import RequestModel
from gateway.api.calls import Answer, Call
from gateway.api.errors import Problem, invalid
from gateway.api.lists import PageQuery
from gateway.api.once import once
from gateway.transactions import representation
from gateway.transactions.commands import NotFound
from webhooks import addresses, message, signing

LOOK_UP_SECONDS = 2.0
RATE_LIMIT_MAX = 1_000
ENDPOINTS_MAX = 50
"""Of one partner and mode: each event makes one delivery for each."""


class WebhookEndpoint(TypedDict):
    id: str
    object: Literal["webhook_endpoint"]
    livemode: bool
    url: str
    event_types: list[str]
    description: str | None
    status: str
    disabled_reason: str | None
    secret: NotRequired[str]
    previous_secret_expires_at: str | None
    header_names: list[str]
    rate_limit_per_second: int | None
    ed25519: bool
    created_at: str
    updated_at: str


class WebhookAttempt(TypedDict):
    number: int
    started_at: str
    duration_ms: int
    status_code: int | None
    error: str | None
    response_excerpt: str | None


class WebhookDelivery(TypedDict):
    id: str
    object: Literal["webhook_delivery"]
    endpoint_id: str
    event_id: str
    event_type: str
    transaction_id: str | None
    sequence: int | None
    status: str
    attempt_count: int
    last_status_code: int | None
    replay_id: str | None
    next_attempt_at: str | None
    delivered_at: str | None
    created_at: str
    updated_at: str
    attempts: NotRequired[list[WebhookAttempt]]


class Ping(TypedDict):
    object: Literal["webhook_ping"]
    endpoint_id: str
    event_id: str
    delivery_id: str


def _known_events(names: list[str]) -> list[str]:
    unknown = sorted(set(names) - {"*", *representation.EVENT_TYPES})
    if unknown:
        raise ValueError(f"may name * and {', '.join(representation.EVENT_TYPES)}")
    return sorted(set(names), key=names.index)


def _named_once(headers: dict[str, str]) -> dict[str, str]:
    lowered = {name.lower(): value for name, value in headers.items()}
    if len(lowered) != len(headers):
        raise ValueError("names one header twice: upper and lower case are the same")
    return lowered


EventTypes = Annotated[list[str], Field(min_length=1, max_length=30), AfterValidator(_known_events)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=addresses.URL_MAX)]

HeaderName = Annotated[
    str, StringConstraints(min_length=1, max_length=message.NAME_MAX), AfterValidator(message.check_name)
]
HeaderValue = Annotated[
    str, StringConstraints(min_length=1, max_length=message.VALUE_MAX), AfterValidator(message.check_value)
]
Headers = Annotated[
    dict[HeaderName, HeaderValue],
    Field(
        max_length=message.OWN_MAX,
        description="Sent with every delivery; never shown again, as they may hold what opens the receiver's door.",
        examples=[{"authorization": "Bearer 6f1c9a"}],
    ),
    AfterValidator(_named_once),
]
RateLimit = Annotated[int, Field(ge=1, le=RATE_LIMIT_MAX, description="Deliveries a second; null: no limit.")]
PUBLIC_KEY = "Sign with ed25519 too (`v1a`), by the keys at `/.well-known/webhook-signing-keys`."


class CreateWebhookEndpoint(RequestModel):
    url: Url = Field(description="https, a public name, port 443.", examples=["https://shop.example.com/webhooks"])
    event_types: EventTypes = Field(default=["*"], description="`*` means every type.")
    description: Annotated[fields.Line, StringConstraints(max_length=255)] | None = None
    headers: Headers | None = None
    rate_limit_per_second: RateLimit | None = None
    ed25519: bool = Field(default=False, description=PUBLIC_KEY)


class UpdateWebhookEndpoint(RequestModel):
    url: Url | None = None
    event_types: EventTypes | None = None
    description: Annotated[fields.Line, StringConstraints(max_length=255)] | None = None
    headers: Headers | None = Field(default=None, description="All of them anew; null or `{}` removes them.")
    rate_limit_per_second: RateLimit | None = None
    ed25519: bool | None = Field(default=None, description=PUBLIC_KEY)


async def create(call: Call) -> Answer:
    body: CreateWebhookEndpoint = call.body
    options = body.model_dump(include={"headers", "rate_limit_per_second", "ed25519"}, exclude_defaults=True)
    target = await _checked(call, body.url)

    async def work(connection: Connection) -> tuple[int, Mapping[str, object]]:
        present = await endpoints.page(connection, call.scope, before=None, limit=ENDPOINTS_MAX)
        if len(present) == ENDPOINTS_MAX:
            raise Problem(
                "invalid_request", f"An account may have {ENDPOINTS_MAX} webhook endpoints; delete one first."
            )
        secret = signing.new_secret()
        made = await endpoints.create(
            connection,
            call.scope,
            ids.new(),
            url=target.url,
            event_types=body.event_types,
            description=body.description,
            secret=secret,
            vault=call.runtime.vault,
        )
        if options:
            made = await _change(connection, call, made, options)
        await _audit(connection, call, "create", made.id, {"host": target.host})
        return 201, {**endpoint_body(made), "secret": secret}

    return await once(call, work, secret=True)


async def list_endpoints(call: Call) -> Answer:
    query: PageQuery = call.query
    before = lists.before(call, "webhook-endpoints")
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await endpoints.page(connection, call.scope, before=before, limit=query.limit + 1)
    return lists.page(call, "webhook-endpoints", [(one.id, endpoint_body(one)) for one in found])


async def show(call: Call) -> Answer:
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await found_endpoint(connection, call)
    return Answer(status=200, body=dict(endpoint_body(found)))


async def update(call: Call) -> Answer:
    body: UpdateWebhookEndpoint = call.body
    given = body.model_dump(exclude_unset=True)
    for name in ("url", "event_types", "ed25519"):
        if name in given and given[name] is None:
            raise invalid(name, "cannot be removed")
    if body.url is not None:
        given["url"] = (await _checked(call, body.url)).url
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await found_endpoint(connection, call)
        changed = await _change(connection, call, found, given)
        await _audit(connection, call, "update", found.id, {"fields": sorted(given)})
    return Answer(status=200, body=dict(endpoint_body(changed)))


async def delete(call: Call) -> Answer:
    endpoint_id = call.id("whe")
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        if not await endpoints.delete(connection, call.scope, endpoint_id):
            raise NotFound
        await _audit(connection, call, "delete", endpoint_id, {})
    return Answer(status=204)


async def rotate_secret(call: Call) -> Answer:
    endpoint_id = call.id("whe")

    async def work(connection: Connection) -> tuple[int, Mapping[str, object]]:
        secret = signing.new_secret()
        rotated = await endpoints.rotate_secret(
            connection, call.scope, endpoint_id, secret=secret, vault=call.runtime.vault
        )
        if rotated is None:
            raise NotFound
        await _audit(connection, call, "rotate_secret", endpoint_id, {})
        return 200, {**endpoint_body(rotated), "secret": secret}

    return await once(call, work, secret=True)


async def ping(call: Call) -> Answer:
    endpoint_id, event_id, at = call.id("whe"), ids.new(), call.runtime.clock()
    data = {"endpoint_id": ids.encode("whe", endpoint_id)}
    event = PublishedEvent(
        partner_id=call.scope.partner_id,
        id=event_id,
        livemode=call.scope.livemode,
        type="ping",
        transaction_id=None,
        sequence=None,
        body=representation.event_text(event_id, "ping", at=at, sequence=None, data=representation.encode(data)),
        created_at=at,
    )

    async def work(connection: Connection) -> tuple[int, Mapping[str, object]]:
        delivery_id = await outbox.publish_to(connection, endpoint_id, event)
        if delivery_id is None:
            raise NotFound
        shown: Ping = {
            "object": "webhook_ping",
            "endpoint_id": ids.encode("whe", endpoint_id),
            "event_id": ids.encode("evt", event_id),
            "delivery_id": ids.encode("whd", delivery_id),
        }
        return 202, dict(shown)

    answer = await once(call, work)
    call.runtime.published(1)
    return answer


async def enable(call: Call) -> Answer:
    endpoint_id = call.id("whe")
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        enabled = await endpoints.enable(connection, call.scope, endpoint_id)
        if enabled is None:
            raise NotFound
        await _audit(connection, call, "enable", endpoint_id, {})
    call.runtime.published(1)
    return Answer(status=200, body=dict(endpoint_body(enabled)))


async def disable(call: Call) -> Answer:
    endpoint_id = call.id("whe")
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        disabled = await endpoints.disable(connection, call.scope, endpoint_id, reason="by_partner")
        if disabled is None:
            raise NotFound
        await _audit(connection, call, "disable", endpoint_id, {})
    return Answer(status=200, body=dict(endpoint_body(disabled)))


async def list_deliveries(call: Call) -> Answer:
    query: PageQuery = call.query
    endpoint_id = call.id("whe")
    listing = f"deliveries of {endpoint_id}"
    before = lists.before(call, listing)
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        await found_endpoint(connection, call)
        found = await outbox.page(connection, call.scope, endpoint_id, before=before, limit=query.limit + 1)
    return lists.page(call, listing, [(one.id, delivery_body(one)) for one in found])


async def show_delivery(call: Call) -> Answer:
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await outbox.get(connection, call.scope, call.id("whd"))
        if found is None:
            raise NotFound
        attempts = await outbox.attempts(connection, call.scope.partner_id, found.id)
    body = delivery_body(found)
    body["attempts"] = [_attempt_body(attempt) for attempt in attempts]
    return Answer(status=200, body=dict(body))


async def retry_delivery(call: Call) -> Answer:
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        found = await outbox.retry(connection, call.scope, call.id("whd"))
        if found is None:
            raise NotFound
    call.runtime.published(1)
    return Answer(status=202, body=dict(delivery_body(found)))


def endpoint_body(endpoint: Endpoint) -> WebhookEndpoint:
    return {
        "id": ids.encode("whe", endpoint.id),
        "object": "webhook_endpoint",
        "livemode": endpoint.livemode,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types),
        "description": endpoint.description,
        "status": endpoint.state.value,
        "disabled_reason": endpoint.disabled_reason,
        "previous_secret_expires_at": representation.time(endpoint.previous_secret_expires_at),
        "header_names": list(endpoint.header_names),
        "rate_limit_per_second": endpoint.rate_limit_per_second,
        "ed25519": endpoint.ed25519,
        "created_at": representation.instant(endpoint.created_at),
        "updated_at": representation.instant(endpoint.updated_at),
    }


def delivery_body(delivery: Delivery) -> WebhookDelivery:
    return {
        "id": ids.encode("whd", delivery.id),
        "object": "webhook_delivery",
        "endpoint_id": ids.encode("whe", delivery.endpoint_id),
        "event_id": ids.encode("evt", delivery.event_id),
        "event_type": delivery.event_type,
        "transaction_id": None if delivery.transaction_id is None else ids.encode("txn", delivery.transaction_id),
        "sequence": delivery.sequence,
        "status": delivery.state.value,
        "attempt_count": delivery.attempts,
        "last_status_code": delivery.last_status,
        "replay_id": None if delivery.replay_id is None else ids.encode("whr", delivery.replay_id),
        "next_attempt_at": representation.time(delivery.next_attempt_at),
        "delivered_at": representation.time(delivery.delivered_at),
        "created_at": representation.instant(delivery.created_at),
        "updated_at": representation.instant(delivery.updated_at),
    }


def _attempt_body(attempt: DeliveryAttempt) -> WebhookAttempt:
    return {
        "number": attempt.number,
        "started_at": representation.instant(attempt.started_at),
        "duration_ms": attempt.duration_ms,
        "status_code": attempt.status_code,
        "error": attempt.error,
        "response_excerpt": attempt.response_excerpt,
    }


async def found_endpoint(connection: Connection, call: Call) -> Endpoint:
    """The one that the path names. Raises `NotFound`."""
    found = await endpoints.get(connection, call.scope, call.id("whe"))
    if found is None:
        raise NotFound
    return found


async def _change(connection: Connection, call: Call, endpoint: Endpoint, given: Mapping[str, Any]) -> Endpoint:
    plain = {name: value for name, value in given.items() if name != "headers"}
    changed = await endpoints.update(connection, replace(endpoint, **plain))
    if changed is not None and "headers" in given:
        headers = given["headers"] or {}
        changed = await endpoints.set_headers(connection, call.scope, endpoint.id, headers, vault=call.runtime.vault)
    if changed is None:
        raise NotFound
    return changed


async def _checked(call: Call, url: str) -> addresses.Target:
    """Spelling, and what the name means now. A name that does not resolve yet is let in: each send checks again."""
    policy = call.runtime.address_policy
    try:
        target = addresses.check_url(url, policy)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LOOK_UP_SECONDS):
                found = await call.runtime.look_up(target.host, target.port)
            addresses.check_answers(target.host, found, policy)
    except addresses.Refused as refused:
        raise invalid("url", str(refused)) from None
    return target


async def _audit(
    connection: Connection, call: Call, action: str, endpoint_id: UUID, changes: Mapping[str, Any]
) -> None:
    await acts.record(connection, call, f"webhook_endpoint.{action}", ids.encode("whe", endpoint_id), changes)
