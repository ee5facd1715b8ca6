"""What an endpoint is given and what it gives back. An endpoint is `async def name(call: Call) -> Answer`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from db import ids
from db.records import Scope
from gateway.transactions.commands import Caller, NotFound

if TYPE_CHECKING:
    from gateway.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls, as the key told."""

    partner_id: UUID
    key_id: UUID
    livemode: bool
    scopes: frozenset[str]
    rate_limit_per_minute: int
    amount_limits: Mapping[str, Decimal]
    """Currency → largest amount, where it differs from the currency's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated, admitted, parsed and validated request."""

    runtime: Runtime
    principal: Principal
    path: Mapping[str, str]
    body: Any
    """The validated instance of the route's `body` model; None where the route has none."""
    query: Any
    """The validated instance of the route's `query` model; None where the route has none."""
    key: str | None
    """The Idempotency-Key without its quotes; never None where the route is `keyed`."""
    fingerprint: bytes
    """SHA-256 over method, path and canonical body."""
    request_id: str
    ip_address: str | None
    user_agent: str | None

    @property
    def scope(self) -> Scope:
        return Scope(self.principal.partner_id, self.principal.livemode)

    @property
    def caller(self) -> Caller:
        """Who asks, the way the use cases take it. Only for routes that are `keyed`."""
        assert self.key is not None
        return Caller(
            scope=self.scope,
            actor=f"partner:{ids.encode('key', self.principal.key_id)}",
            key=self.key,
            fingerprint=self.fingerprint,
            request_id=self.request_id,
            ip_address=self.ip_address,
            user_agent=self.user_agent,
        )

    def id(self, prefix: str, name: str = "id") -> UUID:
        """The id in the path; what is none of ours is not found, like any other. Raises `NotFound`."""
        found = ids.decode(prefix, self.path[name])
        if found is None:
            raise NotFound
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`body` as bytes is sent as it is, a mapping as JSON."""

    status: int
    body: bytes | Mapping[str, object] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
