"""The rows of the route table for what makes deliveries complete: replays and manifests."""

from __future__ import annotations

from gateway.api import manifests, replays
from gateway.api.lists import Page, PageQuery
from gateway.api.paths import Route

_READ = "transactions:read"
_WEBHOOKS = "webhooks:write"

REPLAYS: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/webhook-endpoints/{id}/replay",
        endpoint=replays.create,
        summary="Send a range of events once more",
        tag="Webhooks",
        scope=_WEBHOOKS,
        body=replays.CreateReplay,
        answers={202: replays.WebhookReplay},
        errors=("invalid_state",),
        description=(
            "Every event whose `timestamp` lies in the range is delivered anew, under its own `webhook-id` and with all"
            " tries, whether it arrived before or not, also from before the endpoint existed. A replay never has more"
            " than 100 deliveries on their way, and live events go first. One at a time runs to an endpoint: 409 while"
            " there is one. A range is at most 90 days and 1,000,000 events. Send an Idempotency-Key to repeat safely."
        ),
        example={"since": "2026-01-31T00:00:00Z", "until": "2026-02-01T00:00:00Z"},
    ),
    Route(
        method="GET",
        path="/v1/webhook-endpoints/{id}/replays",
        endpoint=replays.list_replays,
        summary="List a webhook endpoint's replays",
        tag="Webhooks",
        scope=_READ,
        query=PageQuery,
        answers={200: Page[replays.WebhookReplay]},
    ),
    Route(
        method="GET",
        path="/v1/webhook-replays/{id}",
        endpoint=replays.show,
        summary="Show a replay and how far it is",
        tag="Webhooks",
        scope=_READ,
        answers={200: replays.WebhookReplay},
    ),
    Route(
        method="POST",
        path="/v1/webhook-replays/{id}/cancel",
        endpoint=replays.cancel,
        summary="Cancel a replay",
        tag="Webhooks",
        scope=_WEBHOOKS,
        answers={200: replays.WebhookReplay},
        errors=("invalid_state",),
        description="What it queued and did not deliver is cancelled. Cancelling again changes nothing.",
    ),
)

MANIFESTS: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/webhook-endpoints/{id}/manifests",
        endpoint=manifests.list_manifests,
        summary="List a webhook endpoint's manifests",
        tag="Webhooks",
        scope=_READ,
        query=PageQuery,
        answers={200: Page[manifests.WebhookManifest]},
        description=(
            "One for each day in UTC, the newest first: how many events of that day the endpoint was to be sent, and"
            " SHA-256 over their sorted ids, each followed by a line end. Written the next day, from 02:00 on."
        ),
    ),
)
