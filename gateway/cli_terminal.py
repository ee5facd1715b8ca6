"""How commands speak: tables for people, JSON with --json, and every expected failure as one line on standard error."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import update_wrapper
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import asyncpg
import click

from db import ids
from db.database import CommitUncertain, Database, Role, Unavailable
from db.vault import CannotOpen, Vault
from gateway import config, doctor, partners, people, telemetry
from gateway.attention import Attention
from gateway.config import Settings
from gateway.partners import Desk

P = ParamSpec("P")
T = TypeVar("T")

EXPECTED = (
    config.Invalid,
    doctor.Unfit,
    partners.NotFound,
    partners.Refused,
    people.NotFound,
    people.Refused,
    Unavailable,
    CommitUncertain,
    CannotOpen,
    asyncpg.PostgresError,
    OSError,
)
"""What can go wrong without a mistake in the program; anything else shows its traceback."""

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON value on standard output.")
mode_option: Callable[[Any], Any] = click.option("--mode", type=click.Choice(["test", "live"]), required=True)
AMOUNT_BOUND = 10**15
"""Major units: amounts are numeric(19, 4), fifteen digits before the point."""


def settings() -> Settings:
    """Raises `config.Invalid`."""
    return config.read(os.environ)


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """Where an operator's command works, and under whose name the audit log writes it down."""
    known = settings()
    telemetry.configure_logging("WARNING")
    database = await Database.open(known.database_url, Role.OPERATOR, pool_max=1)
    try:
        yield Desk(database, Vault(known.secret_keys), f"cli:{getpass.getuser()}")
    finally:
        await database.close()


@asynccontextmanager
async def attention() -> AsyncIterator[Attention]:
    """The same for what asks for a person."""
    async with desk() as at:
        yield Attention(at.database, at.actor)


@contextmanager
def one_line() -> Iterator[None]:
    try:
        yield
    except EXPECTED as error:
        first = str(error).partition("\n")[0] or type(error).__name__
        raise click.ClickException(first) from None


def plainly(command: Callable[P, T]) -> Callable[P, T]:
    """A command whose expected failures are one line and exit status 1."""

    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with one_line():
            return command(*args, **kwargs)

    return update_wrapper(wrapped, command)


def waiting(command: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The same for one that is a coroutine."""

    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with one_line():
            return asyncio.run(command(*args, **kwargs))

    return update_wrapper(wrapped, command)


class IdType(click.ParamType[UUID]):
    """An id with its prefix, such as `prt_…`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.name = f"{prefix}_…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        if isinstance(value, UUID):
            return value
        found = ids.decode(self.prefix, value)
        if found is None:
            self.fail(f"an id here looks like {self.prefix}_ and 26 characters", param, ctx)
        return found


def amounts(texts: Iterable[str], option: str) -> dict[str, Decimal]:
    """`EUR=5000` and the like, by currency."""
    return dict(_amount(text, option) for text in texts)


def _amount(text: str, option: str) -> tuple[str, Decimal]:
    currency, _, number = text.partition("=")
    try:
        amount = Decimal(number)
    except InvalidOperation:
        amount = Decimal(0)
    if not re.fullmatch("[A-Z]{3}", currency) or not (amount.is_finite() and 0 < amount < AMOUNT_BOUND):
        raise click.BadParameter("must look like EUR=5000", param_hint=option)
    return currency, amount


Row = Mapping[str, object]


def show(rows: Row | Sequence[Row], *, as_json: bool) -> None:
    """One row as lines, several as a table."""
    if as_json:
        click.echo(json.dumps(rows, default=_plain))
    elif isinstance(rows, Mapping):
        width = max(map(len, rows))
        for name, value in rows.items():
            click.echo(f"{name:<{width}}  {_text(value)}")
    elif rows:
        _table(rows)
    else:
        click.echo("none")


def _table(rows: Sequence[Row]) -> None:
    names = [name for name in rows[0] if name != "object"]
    lines = [names, *([_text(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat(timespec="seconds")
        case list() | tuple():
            return ",".join(map(str, value))
        case dict():
            return ",".join(f"{name}={_text(inner)}" for name, inner in value.items()) or "-"
        case _:
            return str(value)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return str(value)
