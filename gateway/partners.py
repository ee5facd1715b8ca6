"""Operators' use cases: partners, their API keys, accounts at PSPs. Each leaves its line in the audit log.

Run under `Role.OPERATOR`. Plain keys and credentials pass through here and are stored only hashed or sealed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar, Unpack
from uuid import UUID

from db import api_keys as stored_keys
from db import audit, currencies, ids, provider_accounts, routing, seals, signing_keys
from db import partners as stored_partners
from db.api_keys import ApiKey, KeyScope
from db.database import Connection, Database
from db.partners import Partner, PartnerLimits
from db.provider_accounts import ProviderAccount
from db.routing_records import BreakerOverride, Health
from db.signing_keys import SigningKey
from db.vault import Vault
from gateway import api_keys, trials
from gateway.trials import Trial
from providers import PROVIDERS

ROTATION_OVERLAP = timedelta(hours=24)
"""How long the old key of a rotation stays valid."""
LIST_MAX = 1000
NAME_MAX = 255
"""Characters of a partner's name or e-mail address, and of why a breaker was set: what their columns hold."""


class NotFound(Exception):
    """There is no such partner, key or account."""


class Refused(Exception):
    """The input cannot be accepted; the message says why and repeats no secret."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key: the only moment its text is known."""

    key: ApiKey
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where an operator works: the database as operator, the keys of the vault, and who sits there."""

    database: Database
    vault: Vault
    actor: str
    ip_address: str | None = None
    request_id: str | None = None

    # ── Partners ────────────────────────────────────────────────────────────────────────────────────────────────

    async def create_partner(
        self,
        *,
        name: str,
        email: str,
        rate_limit_per_minute: int = 100,
        amount_limits: Mapping[str, Decimal] | None = None,
    ) -> Partner:
        """Raises `Refused`."""
        name, email = name.strip(), email.strip()
        _refuse_unless(0 < len(name) <= NAME_MAX and name.isprintable(), "the name must be 1 to 255 characters")
        _refuse_unless("@" in email and email.isprintable() and len(email) <= NAME_MAX, "the e-mail address is not one")
        async with self.database.as_system() as connection:
            try:
                partner = await stored_partners.insert(
                    connection,
                    ids.new(),
                    name=name,
                    email=email,
                    rate_limit_per_minute=rate_limit_per_minute,
                    amount_limits=amount_limits or {},
                )
            except stored_partners.EmailTaken:
                raise Refused("another partner has this e-mail address") from None
            await self._record(connection, "partner.created", ids.encode("prt", partner.id), partner.id)
        return partner

    async def list_partners(self, named: str | None = None) -> list[Partner]:
        async with self.database.as_system() as connection:
            return await stored_partners.newest(connection, LIST_MAX, named=named)

    async def show_partner(self, partner_id: UUID) -> Partner:
        async with self.database.as_system() as connection:
            return _found(await stored_partners.find(connection, partner_id), "partner")

    async def change_partner(self, partner_id: UUID, **limits: Unpack[PartnerLimits]) -> Partner:
        """What is given, anew. Raises `Refused` for an unknown currency."""
        async with self.database.as_system() as connection:
            await _know(connection, [*limits.get("amount_limits", ()), *limits.get("review_above", ())])
            partner = _found(await stored_partners.change(connection, partner_id, **limits), "partner")
            await self._record(connection, "partner.updated", ids.encode("prt", partner_id), partner_id, **limits)
        return partner

    async def deactivate_partner(self, partner_id: UUID) -> Partner:
        """Within a second none of its keys opens anything. Again: nothing changes."""
        async with self.database.as_system() as connection:
            if await stored_partners.deactivate(connection, partner_id):
                await self._record(connection, "partner.deactivated", ids.encode("prt", partner_id), partner_id)
            return _found(await stored_partners.find(connection, partner_id), "partner")

    # ── Keys ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def issue_key(
        self,
        partner_id: UUID,
        *,
        livemode: bool,
        scopes: Iterable[str] = tuple(KeyScope),
        name: str | None = None,
        expires_at: datetime | None = None,
    ) -> Issued:
        async with self.database.as_system() as connection:
            _found(await stored_partners.find(connection, partner_id), "partner")
            key = api_keys.issue(livemode=livemode)
            stored = await self._store_key(connection, partner_id, key, scopes, name, expires_at)
        return Issued(stored, key.text)

    async def list_keys(self, partner_id: UUID) -> list[ApiKey]:
        async with self.database.as_system() as connection:
            _found(await stored_partners.find(connection, partner_id), "partner")
            return await stored_keys.of_partner(connection, partner_id)

    async def revoke_key(self, key_id: UUID) -> ApiKey:
        """Within a second it opens nothing. Again: nothing changes."""
        async with self.database.as_system() as connection:
            key = _found(await stored_keys.find(connection, key_id), "key")
            if await stored_keys.revoke(connection, key.partner_id, key_id):
                await self._record(connection, "api_key.revoked", ids.encode("key", key_id), key.partner_id)
            return _found(await stored_keys.find(connection, key_id), "key")

    async def rotate_key(self, key_id: UUID, *, overlap: timedelta = ROTATION_OVERLAP) -> Issued:
        """A new key with the old one's mode, scopes and name; the old one ends after `overlap`."""
        async with self.database.as_system() as connection:
            old = _found(await stored_keys.find(connection, key_id), "key")
            _refuse_unless(old.revoked_at is None, "a revoked key cannot be rotated: issue a new one")
            key = api_keys.issue(livemode=old.livemode)
            stored = await self._store_key(connection, old.partner_id, key, old.scopes, old.name, None)
            await stored_keys.expire_in(connection, old.partner_id, old.id, overlap)
            await self._record(
                connection,
                "api_key.rotated",
                ids.encode("key", old.id),
                old.partner_id,
                successor=ids.encode("key", stored.id),
                overlap_seconds=int(overlap.total_seconds()),
            )
        return Issued(stored, key.text)

    # ── PSP accounts ────────────────────────────────────────────────────────────────────────────────────────────

    async def add_account(
        self,
        *,
        provider: str,
        livemode: bool,
        credentials: Mapping[str, object],
        base_url: str | None = None,
        partner_id: UUID | None = None,
        label: str | None = None,
        priority: int = 100,
    ) -> ProviderAccount:
        """Raises `Refused` for an unknown provider or credentials its adapter cannot work with."""
        _refuse_unless(base_url is None or not livemode, "a base URL is for test-mode accounts only")
        account_id = ids.new()
        account = ProviderAccount(
            id=account_id,
            partner_id=partner_id,
            provider=provider,
            livemode=livemode,
            label=label or f"{provider} {'live' if livemode else 'test'}",
            credentials=b"",
            base_url=base_url,
            priority=priority,
            enabled=True,
            version=1,
            created_at=datetime.now(UTC),
        )
        account = replace(account, credentials=await self._sealed(account, credentials))
        async with self.database.as_system() as connection:
            if partner_id is not None:
                _found(await stored_partners.find(connection, partner_id), "partner")
            await provider_accounts.insert(connection, account)
            await self._record(
                connection,
                "provider_account.added",
                ids.encode("pac", account_id),
                partner_id,
                provider=provider,
                livemode=livemode,
            )
        return account

    async def list_accounts(self, partner_id: UUID | None = None) -> list[ProviderAccount]:
        async with self.database.as_system() as connection:
            return await provider_accounts.all_accounts(connection, partner_id)

    async def change_account(self, account_id: UUID, *, credentials: Mapping[str, object]) -> ProviderAccount:
        """New credentials in the old ones' place, used within a second by every process. Raises `Refused`."""
        account = await self.show_account(account_id)
        sealed = await self._sealed(account, credentials)
        async with self.database.as_system() as connection:
            await provider_accounts.replace_credentials(connection, account_id, sealed)
            resource = ids.encode("pac", account_id)
            await self._record(connection, "provider_account.credentials_changed", resource, account.partner_id)
            return _found(await provider_accounts.find(connection, account_id), "account")

    async def try_account(self, account_id: UUID) -> Trial:
        """Asks its PSP for a payment that does not exist."""
        account = await self.show_account(account_id)
        async with trials.doorway() as doorway:
            tried = await trials.tried(account, self.vault, doorway)
        async with self.database.as_system() as connection:
            resource = ids.encode("pac", account_id)
            await self._record(connection, "provider_account.tried", resource, account.partner_id, ok=tried.ok)
        return tried

    async def disable_account(self, account_id: UUID) -> ProviderAccount:
        """No new attempt goes there; what is under way is still looked up there. Again: nothing changes."""
        async with self.database.as_system() as connection:
            account = _found(await provider_accounts.find(connection, account_id), "account")
            if await provider_accounts.disable(connection, account_id):
                resource = ids.encode("pac", account_id)
                await self._record(connection, "provider_account.disabled", resource, account.partner_id)
            return _found(await provider_accounts.find(connection, account_id), "account")

    # ── What charges are routed by ──────────────────────────────────────────────────────────────────────────────

    async def show_account(self, account_id: UUID) -> ProviderAccount:
        async with self.database.as_system() as connection:
            return _found(await provider_accounts.find(connection, account_id), "account")

    async def health_of(self, accounts: Iterable[ProviderAccount]) -> list[Health]:
        async with self.database.as_system() as connection:
            return await routing.health_of(connection, [account.id for account in accounts])

    async def set_fees(self, account_id: UUID, fees: Mapping[str, Any] | None) -> ProviderAccount:
        """What its PSP keeps of an approved charge; None: not known. Raises `Refused` for an unknown currency."""
        async with self.database.as_system() as connection:
            account = _found(await provider_accounts.find(connection, account_id), "account")
            await _know(connection, fees["fixed"] if fees else ())
            await provider_accounts.set_fees(connection, account_id, fees)
            resource = ids.encode("pac", account_id)
            await self._record(connection, "provider_account.fees_set", resource, account.partner_id, fees=fees)
            return _found(await provider_accounts.find(connection, account_id), "account")

    async def override_breaker(
        self, account_id: UUID, override: BreakerOverride | None, *, method: str | None, reason: str
    ) -> ProviderAccount:
        """An operator's word until it is taken back (None), for one method or all that the PSP takes."""
        _refuse_unless(0 < len(reason) <= NAME_MAX and reason.isprintable(), "say why, in 1 to 255 characters")
        async with self.database.as_system() as connection:
            account = _found(await provider_accounts.find(connection, account_id), "account")
            able = PROVIDERS[account.provider].capabilities.methods
            _refuse_unless(method is None or method in able, f"{account.provider} takes {', '.join(sorted(able))}")
            methods = sorted(able) if method is None else [method]
            for one in methods:
                await routing.override_health(connection, account_id, one, override, reason=reason, by=self.actor)
            told = {"breaker": override or "auto", "methods": methods, "reason": reason}
            resource = ids.encode("pac", account_id)
            await self._record(connection, "provider_account.breaker_set", resource, account.partner_id, **told)
        return account

    # ── Secret keys ─────────────────────────────────────────────────────────────────────────────────────────────

    async def secrets_in_use(self) -> list[tuple[int, str, int]]:
        """(version, what, how many) of all that needs a version of the secret keys."""
        async with self.database.as_system() as connection:
            return await seals.versions_in_use(connection)

    async def reseal(self) -> int:
        """Seal everything with the key that seals now; how many things changed. Raises `db.vault.CannotOpen`."""
        async with self.database.as_system() as connection:
            changed = await seals.reseal(connection, self.vault)
            await self._record(connection, "secrets.resealed", "secrets", None, count=changed)
        return changed

    async def rotate_signing_key(self, *, overlap: timedelta) -> SigningKey:
        async with self.database.as_system() as connection:
            fresh = await signing_keys.rotate(connection, self.vault, overlap=overlap)
            told = {"overlap_hours": overlap // timedelta(hours=1)}
            await self._record(connection, "signing_key.rotated", ids.encode("wsk", fresh.id), None, **told)
        return fresh

    async def _sealed(self, account: ProviderAccount, credentials: Mapping[str, object]) -> bytes:
        wrong = await trials.mistake(account, credentials)
        _refuse_unless(wrong is None, wrong or "")
        return self.vault.seal(json.dumps(credentials).encode(), provider_accounts.credentials_context(account.id))

    async def _store_key(
        self,
        connection: Connection,
        partner_id: UUID,
        key: api_keys.Key,
        scopes: Iterable[str],
        name: str | None,
        expires_at: datetime | None,
    ) -> ApiKey:
        wanted = frozenset(scopes)
        _refuse_unless(bool(wanted) and wanted <= frozenset(KeyScope), f"scopes are {', '.join(KeyScope)}")
        peppers = api_keys.Peppers.of(self.vault)
        fresh = stored_keys.Fresh(
            partner_id=partner_id,
            id=ids.new(),
            prefix=key.prefix,
            last4=key.last4,
            hash=peppers.hash(key),
            pepper_id=peppers.current_id,
            livemode=key.livemode,
            scopes=wanted,
            name=name,
            created_by=self.actor,
            expires_at=expires_at,
        )
        stored = await stored_keys.insert(connection, fresh)
        await self._record(
            connection,
            "api_key.issued",
            ids.encode("key", stored.id),
            partner_id,
            livemode=key.livemode,
            scopes=sorted(wanted),
        )
        return stored

    async def _record(
        self, connection: Connection, action: str, resource_id: str, partner_id: UUID | None, **changes: object
    ) -> None:
        act = audit.Act(
            actor=self.actor,
            action=action,
            resource_type=action.partition(".")[0],
            resource_id=resource_id,
            partner_id=partner_id,
            ip_address=self.ip_address,
            request_id=self.request_id,
            changes=changes,
        )
        await audit.append(connection, act)


async def _know(connection: Connection, codes: Iterable[str]) -> None:
    known = await currencies.all_currencies(connection)
    for code in codes:
        _refuse_unless(code in known, f"{code} is not a currency this gateway knows")


Stored = TypeVar("Stored")


def _found(stored: Stored | None, what: str) -> Stored:
    if stored is None:
        raise NotFound(f"there is no such {what}")
    return stored


def _refuse_unless(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise Refused(message)
