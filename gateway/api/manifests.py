"""Manifests over HTTP: what an endpoint was to be sent of a day, for its partner to compare."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from db import ids, manifests
from db.manifests import ALGORITHM, Manifest
from gateway.api import lists
from gateway.api.calls import Answer, Call
from gateway.api.lists import PageQuery
from gateway.api.webhooks import found_endpoint
from gateway.transactions import representation


class WebhookManifest(TypedDict):
    object: Literal["webhook_manifest"]
    endpoint_id: str
    day: str
    count: int
    digest: str
    algorithm: str
    event_id: str
    created_at: str


async def list_manifests(call: Call) -> Answer:
    query: PageQuery = call.query
    endpoint_id = call.id("whe")
    listing = f"manifests of {endpoint_id}"
    before = lists.before(call, listing)
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        await found_endpoint(connection, call)
        found = await manifests.page(connection, call.scope, endpoint_id, before=before, limit=query.limit + 1)
    return lists.page(call, listing, [(one.event_id, manifest_body(one)) for one in found])


def manifest_body(manifest: Manifest) -> WebhookManifest:
    return {
        "object": "webhook_manifest",
        "endpoint_id": ids.encode("whe", manifest.endpoint_id),
        "day": manifest.day.isoformat(),
        "count": manifest.count,
        "digest": manifest.digest.hex(),
        "algorithm": ALGORITHM,
        "event_id": ids.encode("evt", manifest.event_id),
        "created_at": representation.instant(manifest.created_at),
    }
