"""Admins' use cases for the people of the support console: who may come in, and as what. Each leaves its audit line.

Run under `Role.OPERATOR` or `Role.CONSOLE`. How people prove who they are: `gateway.console.porter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from db import audit, ids, support_sessions, support_users
from db.database import Connection, Database
from db.support_users import EmailTaken, SupportRole, SupportUser
from gateway import passwords

EMAIL_MAX, NAME_MAX = 255, 100
LIST_MAX = 1_000


class NotFound(Exception):
    """There is no such person."""


class Refused(Exception):
    """It cannot be done; the message says why."""


@dataclass(frozen=True, slots=True)
class Invited:
    """A person and the password to hand over: the only moment it is known."""

    person: SupportUser
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whence:
    """Where a request came from, for the audit log and the list of one's sessions."""

    ip_address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class People:
    database: Database
    actor: str
    acting: UUID | None = None
    """The person who acts, where it is one of these; None: the command line."""
    whence: Whence = field(default_factory=Whence)

    async def invite(self, *, email: str, name: str, role: SupportRole, settled: bool = False) -> Invited:
        """`settled`: the password need not be changed at the first sign-in. Raises `Refused`."""
        email, name = email.strip(), name.strip()
        _refuse_unless("@" in email and email.isprintable() and len(email) <= EMAIL_MAX, "this is no e-mail address")
        _refuse_unless(bool(name) and name.isprintable() and len(name) <= NAME_MAX, "a name has 1 to 100 characters")
        password = passwords.random()
        hashed = await passwords.hashed(password)
        try:
            async with self.database.as_system() as connection:
                person = await support_users.insert(
                    connection,
                    ids.new(),
                    email=email,
                    name=name,
                    role=role,
                    password=hashed,
                    settled=settled,
                    created_by=self.actor,
                )
                await self._record(connection, "invited", person.id, role=role.value)
        except EmailTaken:
            raise Refused("somebody with this e-mail address is here already") from None
        return Invited(person, password)

    async def all(self) -> list[SupportUser]:
        async with self.database.as_system() as connection:
            return await support_users.all_users(connection, LIST_MAX)

    async def change_role(self, user_id: UUID, role: SupportRole) -> SupportUser:
        """Raises `NotFound`, `Refused`."""
        async with self.database.as_system() as connection:
            person = await self._held(connection, user_id)
            if role is not person.role:
                await self._keep_an_admin(connection, person)
                await support_users.set_role(connection, user_id, role)
                await support_sessions.end_all(connection, user_id)
                await self._record(connection, "role_changed", user_id, **{"from": person.role.value, "to": role.value})
            return await _found(connection, user_id)

    async def reset(self, user_id: UUID) -> Invited:
        """As if newly invited: another password to hand over, no second factor, unlocked. Raises as `change_role`."""
        password = passwords.random()
        hashed = await passwords.hashed(password)
        async with self.database.as_system() as connection:
            await self._held(connection, user_id)
            await support_users.reset(connection, user_id, hashed)
            await support_sessions.end_all(connection, user_id)
            await self._record(connection, "reset", user_id)
            return Invited(await _found(connection, user_id), password)

    async def disable(self, user_id: UUID) -> SupportUser:
        """Nothing opens for this person any more. Again: nothing changes. Raises as `change_role`."""
        async with self.database.as_system() as connection:
            person = await self._held(connection, user_id)
            if person.disabled_at is None:
                await self._keep_an_admin(connection, person)
                await support_users.set_disabled(connection, user_id, disabled=True)
                await support_sessions.end_all(connection, user_id)
                await self._record(connection, "disabled", user_id)
            return await _found(connection, user_id)

    async def enable(self, user_id: UUID) -> SupportUser:
        """With the password of before. Again: nothing changes. Raises as `change_role`."""
        async with self.database.as_system() as connection:
            person = await self._held(connection, user_id)
            if person.disabled_at is not None:
                await support_users.set_disabled(connection, user_id, disabled=False)
                await self._record(connection, "enabled", user_id)
            return await _found(connection, user_id)

    async def _held(self, connection: Connection, user_id: UUID) -> SupportUser:
        """The person, who stays as they are now, and so do the admins; nobody acts upon themselves."""
        person = await support_users.lock(connection, user_id)
        if person is None:
            raise NotFound("there is no such person")
        _refuse_unless(user_id != self.acting, "nobody changes their own role, or resets or disables themselves")
        if self.acting is not None:
            _refuse_unless(self.acting in await support_users.admins(connection), "you are no admin any more")
        return person

    async def _keep_an_admin(self, connection: Connection, person: SupportUser) -> None:
        others = await support_users.admins(connection) - {person.id}
        is_admin = person.role is SupportRole.ADMIN and person.disabled_at is None
        _refuse_unless(bool(others) or not is_admin, "this is the last admin: make somebody else one first")

    async def _record(self, connection: Connection, act: str, user_id: UUID, **changes: object) -> None:
        about = ids.encode("sup", user_id)
        await audit.append(connection, line(f"support_user.{act}", self.actor, about, self.whence, changes=changes))


def line(
    action: str,
    actor: str,
    resource_id: str,
    whence: Whence,
    *,
    changes: Mapping[str, object] | None = None,
    partner_id: UUID | None = None,
) -> audit.Act:
    return audit.Act(
        actor=actor,
        action=action,
        resource_type=action.partition(".")[0],
        resource_id=resource_id,
        partner_id=partner_id,
        ip_address=whence.ip_address,
        user_agent=whence.user_agent,
        request_id=whence.request_id,
        changes=changes or {},
    )


async def _found(connection: Connection, user_id: UUID) -> SupportUser:
    person = await support_users.find(connection, user_id)
    assert person is not None, "people are never deleted"
    return person


def _refuse_unless(condition: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise Refused(message)
