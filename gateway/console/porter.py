"""Lets people in: password, then the second factor, and after each a session under a new token.

Whatever is wrong (address, password, code, a lock), the answer is the same and takes as long; the audit log tells.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from db import audit, ids, partners, provider_accounts, support_sessions, support_users
from db.database import Connection, Database
from db.support_sessions import SupportSession
from db.support_users import SupportUser, Try
from db.vault import CannotOpen, Vault
from gateway import passwords
from gateway.api.errors import Problem, invalid
from gateway.console import cookies
from gateway.people import Whence, line
from gateway.second_factors import SecondFactor

T = TypeVar("T")

NOBODY = "console:nobody"
"""In the audit log, whoever could not prove who they are."""


class Wrong(Exception):
    """Not the password, or not a code that counts now, or no more tries."""


class Missing(StrEnum):
    """What a session lacks, in the order in which it is asked for."""

    PASSWORD = "password"  # noqa: S105 - one of the person's own
    CODE = "code"
    SECOND_FACTOR = "second_factor"


@dataclass(frozen=True, slots=True)
class Entered:
    """A session that began: the only moment its token is known."""

    token: str = field(repr=False)
    verified: bool


@dataclass(frozen=True, slots=True)
class Proposal:
    """A second factor that nobody has yet, and the same sealed, for the page to bring back."""

    factor: SecondFactor
    sealed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Porter:
    reading: Database
    vault: Vault
    strict: bool
    """Nobody comes in without a second factor; otherwise those who have set one up are asked for it."""
    whence: Whence

    def missing(self, person: SupportUser, *, verified: bool) -> Missing | None:
        if verified:
            return None
        if person.password_changed_at is None:
            return Missing.PASSWORD
        if person.second_factor:
            return Missing.CODE
        return Missing.SECOND_FACTOR if self.strict else None

    # ── Coming in ───────────────────────────────────────────────────────────────────────────────────────────────

    async def enter(self, email: str, password: str) -> Entered:
        """Raises `Wrong`."""
        async with self.reading.as_system() as connection:
            known = await support_users.take_try(connection, email=email)

        async def begin(connection: Connection, person: SupportUser) -> Entered:
            return await self._begin(connection, person, verified=False)

        return await self._prove(known, password, begin)

    async def check_code(self, session: SupportSession, person: SupportUser, code: str, at: datetime) -> Entered:
        """Each code opens once. Raises `Wrong`."""
        async with self.reading.as_system() as connection:
            known = await support_users.take_try(connection, user_id=person.id)
        async with self.reading.across() as connection:
            if known is not None and await self._use(connection, known, code, at):
                await self._end(connection, session)
                return await self._begin(connection, known.user, verified=True)
        await self._refuse(known)
        raise Wrong

    async def _use(self, connection: Connection, known: Try, code: str, at: datetime) -> bool:
        if known.totp_secret is None:
            return False
        secret = support_users.open_secret(self.vault, known.totp_secret, user_id=known.user.id)
        step = SecondFactor(secret).step(code, at.timestamp())
        return step is not None and await support_users.use_step(connection, known.user.id, known.totp_secret, step)

    async def _prove(
        self, known: Try | None, password: str, then: Callable[[Connection, SupportUser], Awaitable[T]]
    ) -> T:
        """What `then` makes of the person whose password this is; it cannot change before that. Raises `Wrong`."""
        stored = None if known is None else known.password
        if await passwords.fits(password, stored) and known is not None and stored is not None:
            fresh = await passwords.hashed(password) if passwords.is_outdated(stored) else None
            async with self.reading.across() as connection:
                if await support_users.give_back(connection, known.user.id, stored):
                    if fresh is not None:
                        await support_users.change_hash(connection, known.user.id, fresh)
                    return await then(connection, known.user)
        await self._refuse(known)
        raise Wrong

    async def _refuse(self, known: Try | None) -> None:
        about = "unknown" if known is None else ids.encode("sup", known.user.id)
        async with self.reading.as_system() as connection:
            await audit.append(connection, line("support_user.sign_in_failed", NOBODY, about, self.whence))
            if known is not None and known.is_last:
                await audit.append(connection, line("support_user.locked", NOBODY, about, self.whence))

    # ── Passwords and second factors ────────────────────────────────────────────────────────────────────────────

    async def first_password(self, session: SupportSession, person: SupportUser, password: str) -> Entered:
        """In the place of the one that was handed over. Raises `Problem`."""
        if (told := passwords.weakness(password, (person.email, person.name))) is not None:
            raise invalid("password", told)
        async with self.reading.as_system() as connection:
            old = await support_users.password_of(connection, person.id)
        if await passwords.fits(password, old):
            raise invalid("password", "is the one that you had")
        fresh = await passwords.hashed(password)
        async with self.reading.across() as connection:
            if not await support_users.change_password(connection, person.id, old, fresh):
                raise _OVERTAKEN
            return await self._begin_alone(
                connection, session, "support_user.password_changed", verified=session.verified
            )

    async def change_password(
        self, session: SupportSession, person: SupportUser, current: str, password: str
    ) -> Entered:
        """Raises `Wrong`, `Problem`."""
        await self._prove_again(person, current)
        return await self.first_password(session, person, password)

    async def _prove_again(self, person: SupportUser, password: str) -> None:
        async with self.reading.as_system() as connection:
            known = await support_users.take_try(connection, user_id=person.id)

        async def nothing(_connection: Connection, _person: SupportUser) -> None:
            return None

        await self._prove(known, password, nothing)

    async def propose(self, session: SupportSession, person: SupportUser, password: str) -> Proposal:
        """A second factor for somebody who is in. Raises `Wrong`."""
        await self._prove_again(person, password)
        return self.proposal(session)

    def proposal(self, session: SupportSession) -> Proposal:
        """The page keeps it until a code proves that it was taken over; it is of use in this session only."""
        factor = SecondFactor.fresh()
        sealed = self.vault.seal(factor.secret, _enrolment(session.id))
        return Proposal(factor, base64.urlsafe_b64encode(sealed).decode())

    def proposed(self, session: SupportSession, sealed: str) -> Proposal:
        """The same once more. Raises `Problem`."""
        try:
            secret = self.vault.open(base64.urlsafe_b64decode(sealed), _enrolment(session.id))
        except (CannotOpen, binascii.Error, ValueError, IndexError):
            raise Problem("invalid_request", "This page is too old: begin again.") from None
        return Proposal(SecondFactor(secret), sealed)

    async def enrol(
        self, session: SupportSession, person: SupportUser, proposal: Proposal, code: str, at: datetime
    ) -> Entered:
        """Raises `Problem`."""
        step = proposal.factor.step(code, at.timestamp())
        if step is None:
            raise invalid("code", "is not the one that the app shows now")
        async with self.reading.across() as connection:
            await support_users.enrol(connection, person.id, proposal.factor.secret, step, vault=self.vault)
            return await self._begin_alone(connection, session, "second_factor.enrolled", verified=True)

    # ── Sessions ────────────────────────────────────────────────────────────────────────────────────────────────
    # What a transaction has changed before of the person is held until it ends, and with it whatever ends sessions.

    async def _end(self, connection: Connection, session: SupportSession) -> None:
        if not await support_sessions.end(connection, session.id):
            raise _OVERTAKEN

    async def _begin_alone(
        self, connection: Connection, session: SupportSession, act: str, *, verified: bool
    ) -> Entered:
        """In the place of this one and every other of the same person."""
        await self._end(connection, session)
        await support_sessions.end_all(connection, session.user_id)
        person = await support_users.find(connection, session.user_id)
        assert person is not None, "people are never deleted"
        await self._record(connection, act, person)
        return await self._begin(connection, person, verified=verified, instead_of=session)

    async def _begin(
        self,
        connection: Connection,
        person: SupportUser,
        *,
        verified: bool,
        instead_of: SupportSession | None = None,
    ) -> Entered:
        verified = self.missing(person, verified=verified) is None
        token, session_id = cookies.fresh(), ids.new()
        await support_sessions.begin(
            connection,
            session_id,
            token_hash=cookies.hashed(token),
            user_id=person.id,
            verified=verified,
            livemode=False,
            ip_address=self.whence.ip_address,
            user_agent=self.whence.user_agent,
        )
        if instead_of is not None and instead_of.verified:
            partner_id, livemode = instead_of.partner_id, instead_of.livemode
            await support_sessions.look_at(connection, session_id, partner_id=partner_id, livemode=livemode)
        elif verified:
            await support_users.signed_in(connection, person.id)
            await self._record(connection, "support_user.signed_in", person, second_factor=person.second_factor)
            await self._look_around(connection, session_id, person)
        return Entered(token, verified)

    async def _look_around(self, connection: Connection, session_id: UUID, person: SupportUser) -> None:
        """Live where there is anything live, and at the only partner where there is just one."""
        livemode = await provider_accounts.any_live(connection)
        known = await partners.newest(connection, 2)
        partner_id = known[0].id if len(known) == 1 else None
        await support_sessions.look_at(connection, session_id, partner_id=partner_id, livemode=livemode)
        if partner_id is not None:
            name, mode = ids.encode("prt", partner_id), "live" if livemode else "test"
            act = line(
                "console.entered", _actor(person), name, self.whence, changes={"mode": mode}, partner_id=partner_id
            )
            await audit.append(connection, act)

    async def _record(self, connection: Connection, action: str, person: SupportUser, **changes: object) -> None:
        about = ids.encode("sup", person.id)
        await audit.append(connection, line(action, _actor(person), about, self.whence, changes=changes))


def _actor(person: SupportUser) -> str:
    return f"support:{ids.encode('sup', person.id)}"


_OVERTAKEN = Problem("invalid_request", "Something changed meanwhile: sign in again.")


def _enrolment(session_id: UUID) -> str:
    return f"console.enrolment/{session_id}"
