"""Which provider account a charge goes to, and why not to the others. Pure: one function decides, another explains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from db import ids
from gateway.transactions.commands import Charge
from providers.contract import Capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An enabled account of the right mode. Lower `priority` goes first."""

    account_id: UUID
    provider: str
    priority: int
    capabilities: Capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    account_id: UUID
    provider: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Accounts to try, best first, and the ones that cannot take this charge."""

    order: tuple[Candidate, ...]
    exclusions: tuple[Exclusion, ...]

    def explained(self) -> dict[str, Any]:
        """What is stamped on the attempt, so that the decision can be told later."""
        return {
            "rule": "priority",
            "candidates": [ids.encode("pac", candidate.account_id) for candidate in self.order],
            "exclusions": [
                {"account": ids.encode("pac", one.account_id), "provider": one.provider, "reason": one.reason}
                for one in self.exclusions
            ],
        }


class NoEligibleProvider(Exception):
    """No account can take this charge; each says why. Nothing was stored or sent."""

    def __init__(self, exclusions: tuple[Exclusion, ...]) -> None:
        super().__init__("no provider account can take this charge")
        self.exclusions = exclusions


def plan(charge: Charge, candidates: Iterable[Candidate]) -> Plan:
    """Order by priority (then by age) what is eligible. A token is valid at one PSP only, so it decides first."""
    order: list[Candidate] = []
    exclusions: list[Exclusion] = []
    for candidate in sorted(candidates, key=lambda one: (one.priority, one.account_id)):
        reason = _why_not(charge, candidate)
        if reason is None:
            order.append(candidate)
        else:
            exclusions.append(Exclusion(account_id=candidate.account_id, provider=candidate.provider, reason=reason))
    return Plan(order=tuple(order), exclusions=tuple(exclusions))


def _why_not(charge: Charge, candidate: Candidate) -> str | None:
    able = candidate.capabilities
    if charge.provider is not None and candidate.provider != charge.provider:
        return f"the request names {charge.provider}"
    if able.offline and charge.provider is None:
        return "takes offline payments, which a request must name"
    if charge.method not in able.methods:
        return f"does not take {charge.method}"
    if able.currencies is not None and charge.currency not in able.currencies:
        return f"does not take {charge.currency}"
    if candidate.provider not in charge.tokens and charge.method not in able.tokenless_methods:
        return "no token for this provider"
    return None
