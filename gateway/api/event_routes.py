"""The routes of the feed."""

from __future__ import annotations

from gateway.api import events
from gateway.api.lists import Page
from gateway.api.paths import Route

_READ = "transactions:read"

EVENTS: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/events",
        endpoint=events.list_events,
        summary="Read all events in order",
        tag="Events",
        scope=_READ,
        query=events.EventQuery,
        answers={200: Page[events.Event]},
        description=(
            "The events of the webhooks, the oldest first, in an order that never changes: no event ever appears before"
            " one that was served. Go on with `after` = `next_cursor`; at the end of the feed it stays the same, so"
            " that it can be asked again. A page that names `types` may be empty though `has_more` is true."
        ),
    ),
    Route(
        method="GET",
        path="/v1/events/{id}",
        endpoint=events.show,
        summary="Show an event",
        tag="Events",
        scope=_READ,
        answers={200: events.Event},
        description="Byte for byte the body of its webhooks.",
    ),
)
