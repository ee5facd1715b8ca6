"""`paygate support-users`: the first admin of the support console, and what nobody in it can do any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import click

from db import ids
from db.support_users import SupportRole, SupportUser
from gateway.cli_terminal import IdType, desk, json_option, show, waiting
from gateway.people import Invited, People

PERSON = IdType("sup")


@click.group(name="support-users")
def commands() -> None:
    """The people of the support console."""


@commands.command(name="create")
@click.option("--email", required=True)
@click.option("--name", required=True)
@click.option("--role", type=click.Choice([role.value for role in SupportRole]), required=True)
@json_option
@waiting
async def create(*, email: str, name: str, role: str, as_json: bool) -> None:
    """Create a person and show the first password, once. It must be changed at the first sign-in."""
    async with _people() as people:
        invited = await people.invite(email=email, name=name, role=SupportRole(role))
    _show_invited(invited, as_json=as_json)


@commands.command(name="list")
@json_option
@waiting
async def list_people(*, as_json: bool) -> None:
    """List everybody, by e-mail address."""
    async with _people() as people:
        found = await people.all()
    show([_person(person) for person in found], as_json=as_json)


@commands.command(name="disable")
@click.argument("person", type=PERSON)
@json_option
@waiting
async def disable(*, person: UUID, as_json: bool) -> None:
    """Sign a person out everywhere and let them in no more. The last admin stays."""
    async with _people() as people:
        disabled = await people.disable(person)
    show(_person(disabled), as_json=as_json)


@commands.command(name="reset")
@click.argument("person", type=PERSON)
@json_option
@waiting
async def reset(*, person: UUID, as_json: bool) -> None:
    """Give a person another first password, without second factor and lock, and show it, once."""
    async with _people() as people:
        invited = await people.reset(person)
    _show_invited(invited, as_json=as_json)


@asynccontextmanager
async def _people() -> AsyncIterator[People]:
    async with desk() as at:
        yield People(at.database, at.actor)


def _show_invited(invited: Invited, *, as_json: bool) -> None:
    show(_person(invited.person) | {"password": invited.password}, as_json=as_json)
    if not as_json:
        click.echo("This is the only time the password is shown.", err=True)


def _person(person: SupportUser) -> dict[str, object]:
    return {
        "id": ids.encode("sup", person.id),
        "object": "support_user",
        "email": person.email,
        "name": person.name,
        "role": person.role.value,
        "second_factor": person.second_factor,
        "signed_in_at": person.signed_in_at,
        "locked_until": person.locked_until,
        "created_by": person.created_by,
        "created_at": person.created_at,
        "disabled_at": person.disabled_at,
    }
