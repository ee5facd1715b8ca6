"""What a partner does to its own things, as lines of the audit log."""

from __future__ import annotations

from collections.abc import Mapping

from db import audit, ids
from db.database import Connection
from gateway.api.calls import Call


async def record(
    connection: Connection, call: Call, action: str, resource_id: str, changes: Mapping[str, object]
) -> None:
    """`action` is the resource's type and what was done, such as `customer.update`."""
    act = audit.Act(
        actor=f"partner:{ids.encode('key', call.principal.key_id)}",
        action=action,
        resource_type=action.partition(".")[0],
        resource_id=resource_id,
        partner_id=call.scope.partner_id,
        ip_address=call.ip_address,
        user_agent=call.user_agent,
        request_id=call.request_id,
        changes=changes,
    )
    await audit.append(connection, act)
