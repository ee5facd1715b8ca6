"""All planted bugs, by the room of the house that they stand in."""

from __future__ import annotations

from tests.planted import in_db, in_gateway, in_providers, in_recovery, in_routing, in_webhooks

BUGS = (*in_gateway.BUGS, *in_recovery.BUGS, *in_routing.BUGS, *in_providers.BUGS, *in_webhooks.BUGS, *in_db.BUGS)
