"""The lists about who works with the gateway that can be exported: partners, keys, accounts, rules, people, acts.

No secret is in any: of keys what may be shown, of accounts nothing of their credentials.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from db import api_keys, audit, ids, partners, provider_accounts, routing_rules, support_users
from db.api_keys import ApiKey
from db.audit import AuditLog
from db.partners import Partner
from db.routing_rules import RulesVersion
from db.support_users import SupportRole, SupportUser
from gateway.api.body import RequestModel
from gateway.api.errors import invalid
from gateway.console import accounts, audit_log, routing
from gateway.console.export import BATCH, Batches, Row
from gateway.console.inputs import Named, PartnerId
from gateway.console.listing import Listing, NoFilters, Source, in_batches
from gateway.console.visits import Visit


class OfPartners(RequestModel):
    named: Named | None = None


class OfKeys(RequestModel):
    partner: PartnerId | None = None


# ── Partners ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _partners(visit: Visit, filters: OfPartners) -> Source:
    async def read(before: UUID | None) -> Sequence[Partner]:
        async with visit.console.reading.as_system() as connection:
            return await partners.newest(connection, BATCH, before=before, named=filters.named)

    return Source(batches=in_batches(read, _partner))


def _partner(one: Partner) -> Row:
    return (ids.encode("prt", one.id), one.name, one.email, one.is_active, one.rate_limit_per_minute, one.created_at)


PARTNERS = Listing(
    told="All partners.",
    role=SupportRole.ADMIN,
    columns=("id", "name", "email", "active", "calls_per_minute", "created_at"),
    filters=OfPartners,
    fields={"named": "Name, e-mail or id"},
    open=_partners,
)


# ── API keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _keys(visit: Visit, filters: OfKeys) -> Source:
    """Partner by partner."""
    async with visit.console.reading.as_system() as connection:
        whose = [filters.partner] if filters.partner else await partners.all_ids(connection)
        if filters.partner and await partners.find(connection, filters.partner) is None:
            raise invalid("partner", "is not one of ours")

    async def batches() -> Batches:
        row = partial(_key, now=visit.console.acting.clock())
        for partner_id in whose:
            async with visit.console.operating.as_system() as connection:
                found = await api_keys.of_partner(connection, partner_id)
            yield [row(one) for one in found]

    return Source(batches=batches(), partner_id=filters.partner)


def _key(one: ApiKey, now: datetime) -> Row:
    return (
        *(ids.encode("key", one.id), ids.encode("prt", one.partner_id), one.livemode, one.name, one.prefix, one.last4),
        *(" ".join(sorted(one.scopes)), one.state(now), one.created_by, one.created_at, one.last_used_at),
        *(one.expires_at, one.revoked_at),
    )


KEYS = Listing(
    told="API keys of one partner, or of all: what may be shown of them, never the keys.",
    role=SupportRole.ADMIN,
    columns=(
        *("id", "partner", "livemode", "name", "prefix", "last4", "scopes", "state", "created_by", "created_at"),
        *("last_used_at", "expires_at", "revoked_at"),
    ),
    filters=OfKeys,
    fields={"partner": "Partner (empty: all)"},
    open=_keys,
)


# ── Accounts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _accounts(visit: Visit, _filters: NoFilters) -> Source:
    async def read(before: UUID | None) -> Sequence[accounts.Row]:
        async with visit.console.operating.as_system() as connection:
            found = await provider_accounts.page(connection, before=before, limit=BATCH)
        return await accounts.rows(visit, found)

    return Source(batches=in_batches(read, _account, lambda row: row.account.id))


def _account(row: accounts.Row) -> Row:
    one, fees = row.account, row.account.fees or {}
    fixed = "; ".join(f"{code}={amount}" for code, amount in sorted(fees.get("fixed", {}).items()))
    breakers = "; ".join(f"{method}={standing}" for method, standing, _ in row.breakers)
    return (
        *(ids.encode("pac", one.id), one.provider, one.label, one.livemode),
        *(one.partner_id and ids.encode("prt", one.partner_id), row.partner_name, one.enabled, one.priority),
        *(breakers, fees.get("percent"), fixed, one.base_url, one.created_at),
    )


ACCOUNTS = Listing(
    told="Accounts at PSPs, the platform's and partners' own, without their credentials.",
    role=SupportRole.ADMIN,
    columns=(
        *("id", "provider", "label", "livemode", "partner", "partner_name", "enabled", "priority", "breakers"),
        *("fee_percent", "fee_fixed", "base_url", "created_at"),
    ),
    open=_accounts,
)


# ── Routing rules ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _rules(visit: Visit, _filters: NoFilters) -> Source:
    scope = routing.scope_of(visit)

    async def read(before: UUID | None) -> Sequence[RulesVersion]:
        async with visit.console.operating.as_partner(scope.partner_id) as connection:
            return await routing_rules.page(connection, scope, before=before, limit=BATCH)

    return Source(batches=in_batches(read, _version), partner_id=scope.partner_id)


def _version(one: RulesVersion) -> Row:
    return (
        *(ids.encode("rul", one.id), ids.encode("prt", one.partner_id), one.livemode, one.version, one.description),
        *(one.live, one.shadow, one.created_by, one.created_at),
        json.dumps(one.rules, ensure_ascii=False),
    )


RULES = Listing(
    told="Versions of the routing rules, of the partner and the mode that you look at.",
    role=SupportRole.ADMIN,
    columns=(
        *("id", "partner", "livemode", "version", "description", "live", "shadow", "written_by", "written_at"),
        "rules",
    ),
    open=_rules,
)


# ── People ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _people(visit: Visit, _filters: NoFilters) -> Source:
    async def read(before: UUID | None) -> Sequence[SupportUser]:
        async with visit.console.reading.as_system() as connection:
            return await support_users.newest(connection, BATCH, before=before)

    return Source(batches=in_batches(read, partial(_person, now=visit.console.acting.clock())))


def _person(one: SupportUser, now: datetime) -> Row:
    return (
        *(ids.encode("sup", one.id), one.name, one.email, one.role, one.state(now), one.second_factor),
        *(one.signed_in_at, one.password_changed_at, one.created_by, one.created_at, one.disabled_at),
    )


PEOPLE = Listing(
    told="The people of the console, disabled ones too.",
    role=SupportRole.ADMIN,
    columns=(
        *("id", "name", "email", "role", "state", "second_factor", "signed_in_at", "password_changed_at"),
        *("invited_by", "created_at", "disabled_at"),
    ),
    open=_people,
)


# ── The audit log ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _audit(visit: Visit, filters: audit_log.Filters) -> Source:
    async def read(before: UUID | None) -> Sequence[AuditLog]:
        async with visit.console.operating.as_system() as connection:
            return await audit.page(connection, filters.wanted(), before=before, limit=BATCH)

    return Source(batches=in_batches(read, _act), partner_id=filters.partner)


def _act(one: AuditLog) -> Row:
    return (
        *(ids.encode("aud", one.id), one.created_at, one.actor, one.action, one.resource_type, one.resource_id),
        *(ids.encode("prt", one.partner_id) if one.partner_id else None, one.ip_address, one.request_id),
        json.dumps(one.changes, ensure_ascii=False, sort_keys=True),
    )


AUDIT = Listing(
    told="The audit log, of all partners.",
    role=SupportRole.ADMIN,
    columns=(
        *("id", "at", "actor", "action", "resource_type", "resource", "partner", "ip_address", "request"),
        "changes",
    ),
    filters=audit_log.Filters,
    fields={
        "partner": "Partner",
        "actor": "Actor",
        "action": "Action",
        "resource": "Resource",
        "since": "Since, in UTC",
        "until": "Until, in UTC",
    },
    open=_audit,
)
