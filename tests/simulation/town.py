"""A whole town of one seed: partners, their shoppers, a gateway of two processes, three PSPs, and the weather over all.

Everything that happens is noted; the digest of the notes says whether two runs were the same.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import io
import json
import sys
import traceback
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import httpx
from standardwebhooks.webhooks import Webhook

from db import ids
from db.database import Role, Unavailable
from gateway import partners, telemetry
from gateway.config import Settings
from providers.simulator import CREDENTIALS
from tests.simulation import network, weather
from tests.simulation.machine import EPOCH, Process, VirtualLoop
from tests.simulation.network import PSPS, Psp
from tests.simulation.processes import Api, Running, Worker
from tests.simulation.turns import Turns
from webhooks.posting import Answer, Failed

T = TypeVar("T")
Json = dict[str, Any]

LAST_NOTES = 60
PATIENCE_SECONDS = 60.0
RESTART_SECONDS = 5.0
SCOPES = ("transactions:read", "transactions:write", "refunds:write", "webhooks:write")

_DUE = """
    SELECT extract(epoch FROM (SELECT min(next_check_at) FROM attempts))::float8 AS attempts,
           extract(epoch FROM (SELECT min(next_try_at) FROM provider_events WHERE state = 'received'))::float8
               AS notifications,
           extract(epoch FROM (SELECT min(next_attempt_at) FROM webhook_deliveries WHERE state = 'pending'))::float8
               AS deliveries,
           extract(epoch FROM (SELECT min(a.created_at) + make_interval(secs => $1) FROM attempts a
               JOIN transactions t ON t.partner_id = a.partner_id AND t.id = a.transaction_id
               WHERE a.operation = 'charge' AND a.state = 'waiting' AND t.status = 'requires_action'))::float8
               AS customers
"""


@dataclass(frozen=True, slots=True)
class Partner:
    id: UUID
    api_key: str
    endpoint_url: str


@dataclass
class Receivers:
    """The partners' webhook endpoints, in the place of `webhooks.posting.Poster`: they keep what is truly signed."""

    town: Town
    secrets: dict[str, str] = field(default_factory=dict)
    """By address."""
    events: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By address, the bodies by event."""
    forged: int = 0

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answer | Failed:
        town, chance = self.town, self.town.weather.chance
        now = town.loop.time()
        await asyncio.sleep(chance.lognormvariate(-1.5, 0.8))
        away = any(begins <= now < ends for begins, ends in town.weather.receiver_outages)
        if away or (town.stormy and chance.random() < town.weather.drop / 10):
            town.weather.counts["delivery_refused"] += 1
            return chance.choice((Answer(500, "", None), Answer(429, "", "120"), Failed("no whole answer")))
        signed = headers["webhook-signature"] == self._signature(url, headers, body)
        self.forged += not signed
        known = self.events.setdefault(url, {}).setdefault(headers["webhook-id"], body)
        town.note("delivered", url, headers["webhook-id"], body)
        assert known == body, "one event, two bodies"
        if town.stormy and chance.random() < town.weather.drop / 10:
            return Failed("the connection was closed before a whole answer")  # it came, but we are not told
        return Answer(204 if signed else 401, "", None)

    def _signature(self, url: str, headers: dict[str, str], body: bytes) -> str:
        moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        return Webhook(self.secrets[url]).sign(headers["webhook-id"], moment, body.decode())


class Town:
    def __init__(
        self, seed: int, loop: VirtualLoop, owner: asyncpg.Connection[asyncpg.Record], database_url: str
    ) -> None:
        self.seed, self.loop = seed, loop
        self.weather = weather.forecast(seed, tuple(PSPS))
        self.turns = Turns(loop, owner)
        self.url = "https://gateway.simulated"
        self.settings = Settings(
            database_url=database_url,
            secret_keys={1: bytes(range(seed % 200, seed % 200 + 32))},
            action_seconds=self.weather.chance.choice((1_800, 7_200, 21_600)),
        )
        self.psps = {name: Psp(name, create(clock=loop.wall)) for name, create in PSPS.items()}
        self.receivers = Receivers(self)
        self.running: dict[str, Running] = {}
        self.processes: list[Process] = []
        self.partners: list[Partner] = []
        self.crashes = 0
        self.over = False
        self.falsified: list[bytes] = []
        """Answers of PSPs with a wrong amount."""
        self.errors = io.StringIO()
        """What the gateway logged as an error."""
        self.failures: list[str] = []
        """What the town itself failed at."""
        self.trace = False
        """Whether notes are printed."""
        self.notes: deque[str] = deque(maxlen=LAST_NOTES)
        self._digest = hashlib.sha256()

    # ── What happened ───────────────────────────────────────────────────────────────────────────────────────────

    def note(self, *words: str | bytes) -> None:
        told = [word if isinstance(word, str) else hashlib.sha256(word).hexdigest()[:16] for word in words]
        line = f"{self.loop.time():.6f} {' '.join(told)}"
        self.notes.append(line)
        if self.trace:
            print(line, file=sys.stderr)
        self._digest.update(line.encode() + b"\n")

    @property
    def stormy(self) -> bool:
        return self.loop.time() < self.weather.calm_at

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    # ── Building it ─────────────────────────────────────────────────────────────────────────────────────────────

    async def build(self, count: int) -> None:
        """Partners with an endpoint each, an account at each PSP, the two processes."""
        telemetry.configure_logging("ERROR", self.errors)
        operators = await Running(self, "operator").open(Role.OPERATOR)
        desk = partners.Desk(operators.database, operators.vault, "operator:simulated")
        for psp in self.psps.values():
            made = await desk.add_account(
                provider=psp.name, livemode=False, credentials=CREDENTIALS[psp.name], base_url=psp.url
            )
            psp.account_id = ids.encode("pac", made.id)
        await self._start(Api(self))
        for number in range(count):
            partner = await desk.create_partner(
                name=f"Shop {number}", email=f"shop{number}@simulated.example", rate_limit_per_minute=100_000
            )
            key = await desk.issue_key(partner.id, livemode=False, scopes=SCOPES)
            self.partners.append(Partner(partner.id, key.text, f"https://shop{number}.example/hooks"))
            await self._subscribe(self.partners[-1])
        await self._start(Worker(self))
        for at, name, seconds in self.weather.kills:
            self.begin(self._kill_at(at, name, seconds))
        for at, name, seconds in self.weather.freezes:
            self.begin(self._freeze_at(at, name, seconds))
        for begins, ends in self.weather.database_outages:
            self.begin(self._database_away(begins, ends))

    async def _subscribe(self, partner: Partner) -> None:
        body = {"url": partner.endpoint_url, "event_types": ["*"]}
        answer = await self.ask(self.request(partner, "POST", "/v1/webhook-endpoints", body, key="subscribe-1"))
        assert answer is not None
        assert answer.status_code == 201, answer.text
        self.receivers.secrets[partner.endpoint_url] = answer.json()["secret"]

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """It goes on by itself, and outlives every process."""
        _begun = self.task(work)

    def task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self.loop.create_task(work, context=contextvars.Context())
        task.add_done_callback(self.ended, context=contextvars.Context())
        return task

    def ended(self, task: asyncio.Task[Any]) -> None:
        """A task that should have gone on, or ended well."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append("".join(traceback.format_exception(error)))

    # ── Processes come and go ───────────────────────────────────────────────────────────────────────────────────

    async def _start(self, running: Api | Worker) -> None:
        """As a service manager does: again, until the database is there."""
        self.running[running.process.name] = running
        while True:
            try:
                await running.start()
            except Unavailable:
                await asyncio.sleep(RESTART_SECONDS)
            else:
                self.note("started", running.process.name)
                return

    async def kill(self, running: Running, seconds: float) -> None:
        """And start another in its place after a while."""
        if running.process.dead:
            return
        self.crashes += 1
        self.note("killed", running.process.name)
        await running.kill()
        await asyncio.sleep(min(seconds, max(1.0, self.weather.calm_at - self.loop.time())))
        await self._start(Api(self) if isinstance(running, Api) else Worker(self))

    async def freeze(self, running: Running, seconds: float) -> None:
        if running.process.dead or running.process.frozen or self.turns.held_by(running.process):
            return
        self.note("frozen", running.process.name)
        running.process.frozen = True
        await asyncio.sleep(seconds)
        running.process.thaw()
        self.turns.offer()

    async def _kill_at(self, at: float, name: str, seconds: float) -> None:
        await asyncio.sleep(at)
        self.weather.counts["kill"] += 1
        await self.kill(self.running[name], seconds)

    async def _freeze_at(self, at: float, name: str, seconds: float) -> None:
        await asyncio.sleep(at)
        self.weather.counts["freeze"] += 1
        await self.freeze(self.running[name], seconds)

    async def _database_away(self, begins: float, ends: float) -> None:
        await asyncio.sleep(begins)
        self.weather.counts["database_outage"] += 1
        self.turns.down = True
        await asyncio.sleep(ends - begins)
        self.turns.down = False

    async def pull_down(self) -> None:
        """End every task, those of the dead too: else they would be finalised at any time later."""
        self.over = self.turns.down = True
        for process in self.processes:
            process.bury()
        others = [task for task in self.loop.under_way if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=3_600)

    # ── Asking it ───────────────────────────────────────────────────────────────────────────────────────────────

    def request(
        self, partner: Partner, method: str, path: str, body: Json | None = None, *, key: str | None = None
    ) -> httpx.Request:
        headers = {"Authorization": f"Bearer {partner.api_key}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        content = json.dumps(body).encode() if body is not None else None
        return httpx.Request(method, f"{self.url}{path}", headers=headers, content=content)

    async def ask(self, request: httpx.Request, *, patience: float = PATIENCE_SECONDS) -> httpx.Response | None:
        """Of the API; None where it does not answer."""
        api = self.running["api"]
        assert isinstance(api, Api)
        answer = await api.ask(request, patience=patience)
        status = str(answer.status_code) if answer is not None else "no answer"
        self.note("asked", request.method, request.url.path, status, answer.content if answer is not None else b"")
        return answer

    async def at_psp(self, psp: Psp, method: str, path: str, **form: str) -> httpx.Response:
        """What a customer or the passing of time does there: nothing is in the way."""
        request = httpx.Request(method, f"{psp.url}{path}", data=form or None)
        return await network.arrive(self, psp, request, weather.Fate.ARRIVES)

    async def due(self) -> dict[str, float]:
        """When the worker's kinds of work fall due next, in seconds since the run began."""
        async with self.turns.looking() as connection:
            row = await connection.fetchrow(_DUE, float(self.settings.action_seconds))
        assert row is not None
        return {what: at - EPOCH for what, at in row.items() if at is not None}
