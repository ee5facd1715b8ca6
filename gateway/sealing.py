"""The worker's rounds of sealing and verifying history, and verifying it at once for a person.

What does not verify is a finding and an error in the log, unless a person has accepted it just as it is. The log also
holds the head of each chain, hour by hour: kept elsewhere, it tells when the chain's end, or all of it, was made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Self

from db import audit_seals, audit_verifications, findings
from db.audit_seals import TABLES, Checked, Seal
from db.database import CommitUncertain, Connection, Database, Unavailable
from gateway import telemetry
from gateway.runtime import Runtime

SOURCE = "sealer"
DISPLACED = "seals_displaced"
ANCHORED = timedelta(hours=1)
SEALED_MAX = 1_000
"""Seals of one table in one round: what a worker that was away for long catches up."""
PIECE_SEALS, PIECE_ROWS = 2_000, 500_000
"""What a round verifies of one table: some three seconds of the database."""
NUMBER_MAX = 2**31 - 1
"""Of a seal: what its column holds."""
FAULTS_MAX = 1_000
"""Told to a person; the first of them says when it began."""


@dataclass(frozen=True, slots=True)
class Head:
    """A seal as it was noted elsewhere."""

    table_name: str
    number: int
    chain: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """`audit_logs:12:…`, as the log has it. Raises `ValueError`."""
        table_name, number, chain = text.split(":")
        if table_name not in TABLES or not 0 < int(number) <= NUMBER_MAX:
            raise ValueError(text)
        return cls(table_name, int(number), bytes.fromhex(chain))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Of the seal `number`; `sealed` and `found` count its rows."""

    table_name: str
    number: int
    kind: str
    data: Mapping[str, object]
    accepted: bool = False

    @property
    def subject(self) -> str:
        return f"{self.table_name}/{self.number}"

    def among(self, accepted: Collection[tuple[str, str, str]]) -> Self:
        """With whether it is accepted as it is."""
        return replace(self, accepted=(self.kind, self.subject, self.data.get("fingerprint")) in accepted)


@dataclass(slots=True, kw_only=True)
class Report:
    table_name: str
    seals: int = 0
    rows: int = 0
    retired: int = 0
    """Seals whose rows are detached: that the chain runs over them is all that can be said."""
    head: Seal | None = None
    faults: list[Fault] = field(default_factory=list)


@dataclass(slots=True)
class Sealer:
    """Remembers the heads it saw: so far it notices by itself when a chain loses its end."""

    _heads: dict[str, Seal] = field(default_factory=dict)
    _anchored: dict[str, datetime] = field(default_factory=dict)

    async def seal_due(self, runtime: Runtime) -> int:
        """The number of seals made, each in a transaction of its own."""
        made = 0
        for table in TABLES:
            try:
                made += await self._seal(runtime, table)
            except (Unavailable, CommitUncertain) as loss:
                telemetry.log("history not sealed", level=logging.WARNING, table=table, reason=type(loss).__name__)
            except Exception as error:  # noqa: BLE001 - one table must not keep the other from being sealed
                telemetry.log("history not sealed", level=logging.ERROR, table=table, error=error)
        return made

    async def _seal(self, runtime: Runtime, table: str) -> int:
        seen = self._heads.get(table)
        if seen is not None and not await _stands(runtime.database, seen):
            await _found(runtime, _displaced(table, seen.number))
        made = 0
        while made < SEALED_MAX and await _seal_next(runtime, table):
            made += 1
        async with runtime.database.as_system() as connection:
            head = await audit_seals.head(connection, table)
        if head is not None and (seen is None or head.number >= seen.number):
            self._note(head)
        return made

    def _note(self, head: Seal) -> None:
        self._heads[head.table_name] = head
        anchored = self._anchored.get(head.table_name)
        if anchored is None or head.until >= anchored + ANCHORED:
            telemetry.log("history sealed", table=head.table_name, head=head.head)
            self._anchored[head.table_name] = head.until


async def _seal_next(runtime: Runtime, table: str) -> bool:
    async with runtime.database.as_system() as connection:
        return await audit_seals.seal_next(connection, table) is not None


# ── Verifying ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def verify_due(runtime: Runtime) -> int:
    """A piece of each table's pass, where one is due or under way; the number of faults in it."""
    faults = 0
    for table in TABLES:
        async with runtime.database.as_system() as connection:
            running = await audit_verifications.running(connection, table)
        if running is None:
            continue
        async with runtime.database.as_system() as connection:
            checked = await audit_seals.check(
                connection, table, after=running.number, seals_max=PIECE_SEALS, rows_max=PIECE_ROWS
            )
            gone = await audit_verifications.displaced(connection, table)
        found = await _tell(runtime, checked, [] if gone is None else [_displaced(table, gone)])
        accepted = sum(one.accepted for one in found)
        async with runtime.database.as_system() as connection:
            await audit_verifications.advance(connection, running, checked, accepted=accepted, finished=not checked)
        faults += len(found) - accepted
    return faults


async def verify(database: Database, table: str, *, heads: Iterable[Head] = ()) -> Report:
    """All of a table's history, from the first seal on, and against heads noted elsewhere; piece by piece."""
    report = Report(table_name=table)
    while checked := await _piece(database, table, report.head):
        report.head = checked[-1].seal
        report.seals += len(checked)
        report.rows += sum(one.found for one in checked)
        report.retired += sum(one.retired for one in checked)
        report.faults += _faults(checked)[: FAULTS_MAX - len(report.faults)]
    for head in heads:
        if head.table_name == table and not await _stands(database, head):
            report.faults.append(_displaced(table, head.number))
    async with database.as_system() as connection:
        report.faults = await _known(connection, report.faults)
    return report


async def _piece(database: Database, table: str, last: Seal | None) -> list[Checked]:
    after = last.number if last else 0
    async with database.as_system() as connection:
        return await audit_seals.check(connection, table, after=after, seals_max=PIECE_SEALS, rows_max=PIECE_ROWS)


async def _stands(database: Database, head: Head | Seal) -> bool:
    async with database.as_system() as connection:
        return await audit_seals.stands(connection, head.table_name, head.number, head.chain)


def _faults(checked: Iterable[Checked]) -> list[Fault]:
    return [
        Fault(
            table_name=one.seal.table_name,
            number=one.seal.number,
            kind=one.fault,
            data={"since": one.seal.since, "until": one.seal.until, "sealed": one.seal.count, "found": one.found}
            | ({"fingerprint": one.fingerprint} if one.fingerprint else {}),
        )
        for one in checked
        if one.fault is not None
    ]


def _displaced(table: str, number: int) -> Fault:
    return Fault(table_name=table, number=number, kind=DISPLACED, data={})


async def _known(connection: Connection, faults: Sequence[Fault]) -> list[Fault]:
    accepted = await findings.accepted(connection, [one.subject for one in faults])
    return [one.among(accepted) for one in faults]


async def _tell(runtime: Runtime, checked: Sequence[Checked], displaced: Sequence[Fault]) -> list[Fault]:
    """All faults, after what is new of them was reported. What verifies again is no finding any more."""
    faults = [*_faults(checked), *displaced]
    subjects = [f"{one.seal.table_name}/{one.seal.number}" for one in checked]
    async with runtime.database.as_system() as connection:
        await findings.settle(connection, SOURCE, subjects, kept=[one.subject for one in faults])
        faults = await _known(connection, faults)
    for fault in faults:
        if fault.accepted:
            _log("history broken, as accepted", fault, logging.WARNING)
        else:
            await _found(runtime, fault)
    return faults


async def _found(runtime: Runtime, fault: Fault) -> None:
    """The alarm comes before what keeps it from being raised again: it may come twice, but not never."""
    async with runtime.database.as_system() as connection:
        known = await findings.is_as_told(connection, fault.kind, fault.subject, fault.data)
    if not known:
        _log("history broken", fault, logging.CRITICAL)
    async with runtime.database.as_system() as connection:
        if not known:
            await findings.supersede(connection, fault.kind, fault.subject)
        await findings.report(connection, source=SOURCE, kind=fault.kind, subject=fault.subject, data=fault.data)


def _log(event: str, fault: Fault, level: int) -> None:
    telemetry.log(event, level=level, reason=fault.kind, table=fault.table_name, sequence=fault.number)
