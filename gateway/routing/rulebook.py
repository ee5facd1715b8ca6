"""A partner's rule sets: written as versions, put to use, taken back. Each act leaves its line in the audit log.

Every function is a part of its caller's transaction, as the partner or as an operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import audit, ids, routing_rules
from db.database import Connection
from db.records import Scope
from db.routing_records import RoutingLane
from db.routing_rules import Activation, RulesVersion

_LIVE = RoutingLane.LIVE


class NothingBefore(Exception):
    """No rules are live and none were before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Whose rules, who acts, and what the audit log keeps of them."""

    scope: Scope
    actor: str
    ip_address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """None: no rules, the accounts' own priority."""

    live: RulesVersion | None
    shadow: RulesVersion | None


async def write(
    connection: Connection, author: Author, document: Sequence[Mapping[str, Any]], description: str | None
) -> RulesVersion:
    """A new version of a validated document. It changes nothing until it is activated."""
    await routing_rules.lock(connection, author.scope)
    made = await routing_rules.insert(
        connection, author.scope, description=description, rules=document, by=author.actor
    )
    await _record(connection, author, "created", made, version=made.version)
    return made


async def activate(connection: Connection, author: Author, rules_id: UUID, lane: RoutingLane) -> RulesVersion | None:
    """None where there is no such version. One that is active already stays so, and nothing is written."""
    await routing_rules.lock(connection, author.scope)
    chosen = await routing_rules.find(connection, author.scope, rules_id)
    if chosen is None:
        return None
    last = await routing_rules.newest(connection, author.scope, lane)
    if last is not None and last.version == chosen.version:
        return chosen
    await _put(connection, author, lane, version=chosen.version, last=last, follows=last.id if last else None)
    await _record(connection, author, "activated", chosen, lane=lane, before=_version(last), after=chosen.version)
    return await routing_rules.find(connection, author.scope, rules_id)


async def roll_back(connection: Connection, author: Author) -> State:
    """Live again is what was before the last change, be it no rules; again goes further. Raises `NothingBefore`."""
    await routing_rules.lock(connection, author.scope)
    last = await routing_rules.newest(connection, author.scope, _LIVE)
    if last is None or (last.version is None and last.follows is None):
        raise NothingBefore
    before = await routing_rules.followed(connection, author.scope, last)
    further = before.follows if before else None
    await _put(connection, author, _LIVE, version=_version(before), last=last, follows=further)
    left = await _rules(connection, author.scope, last) or await _rules(connection, author.scope, before)
    assert left is not None, "of two activations one after the other, one names rules"
    await _record(connection, author, "rolled_back", left, lane=_LIVE, before=_version(last), after=_version(before))
    return await state(connection, author.scope)


async def deactivate(connection: Connection, author: Author, lane: RoutingLane) -> State:
    """No rules in this lane. Where none are, nothing is written."""
    await routing_rules.lock(connection, author.scope)
    last = await routing_rules.newest(connection, author.scope, lane)
    left = await _rules(connection, author.scope, last)
    if last is not None and left is not None:
        await _put(connection, author, lane, version=None, last=last, follows=last.id)
        await _record(connection, author, "deactivated", left, lane=lane, before=left.version, after=None)
    return await state(connection, author.scope)


async def state(connection: Connection, scope: Scope) -> State:
    live, shadow = [
        await _rules(connection, scope, await routing_rules.newest(connection, scope, lane))
        for lane in (_LIVE, RoutingLane.SHADOW)
    ]
    return State(live=live, shadow=shadow)


def _version(activation: Activation | None) -> int | None:
    return activation.version if activation else None


async def _rules(connection: Connection, scope: Scope, activation: Activation | None) -> RulesVersion | None:
    version = _version(activation)
    return None if version is None else await routing_rules.of_version(connection, scope, version)


async def _put(
    connection: Connection,
    author: Author,
    lane: RoutingLane,
    *,
    version: int | None,
    last: Activation | None,
    follows: UUID | None,
) -> None:
    activation = Activation(id=ids.after(last.id if last else None), version=version, follows=follows)
    await routing_rules.put(connection, author.scope, activation, lane=lane, by=author.actor)


async def _record(connection: Connection, author: Author, action: str, about: RulesVersion, **changes: object) -> None:
    act = audit.Act(
        actor=author.actor,
        action=f"routing_rules.{action}",
        resource_type="routing_rules",
        resource_id=ids.encode("rul", about.id),
        partner_id=author.scope.partner_id,
        ip_address=author.ip_address,
        user_agent=author.user_agent,
        request_id=author.request_id,
        changes=changes,
    )
    await audit.append(connection, act)
