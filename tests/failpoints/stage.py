"""The stage on which one failpoint after another is struck: a process that may be killed, one that takes over from it,
simulated PSPs, a partner's endpoint. Nothing runs by itself: what the worker would do in time is done when it is due.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from db import ids
from db.database import CommitUncertain, Database, Role, Unavailable
from gateway import partners, runtime, worker
from gateway.app import create_app
from gateway.config import Settings
from gateway.runtime import Runtime
from gateway.transactions import followups, provider_events, recovery
from providers.simulator import CREDENTIALS, SIMULATORS
from providers.simulator.ledger import Ledger
from providers.simulator.notifier import Notification, Notifier
from tests import invariants
from tests.acceptance.steps import until
from tests.house import ALL_SCOPES, TLS, Json, serve
from webhooks.outbound import Deliverer
from webhooks.posting import Poster

ROUNDS_MAX = 3
"""Of recovery for one case; what is still open then stays open."""
TURNS_MAX = 20
"""Of a deliverer; one whose database is gone would go on for ever."""
URL = "http://gateway.test"


@dataclass(slots=True, kw_only=True)
class Process:
    """API and worker of one process: they die together, by losing every connection at once."""

    api: Runtime
    worker: Runtime
    app: ASGIApp
    poster: Poster

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncIterator[Process]:
        async with (
            runtime.opened(settings, Role.APP) as api,
            runtime.opened(settings, Role.WORKER) as background,
            Poster(background.address_policy, tls=TLS) as poster,
        ):
            yield cls(api=api, worker=background, app=create_app(api), poster=poster)

    def deliverer(self) -> Deliverer:
        announce = worker._announce_with(self.worker)
        return Deliverer(self.worker.database, self.worker.vault, self.poster, announce=announce, chance=lambda: 0.5)

    def backends(self) -> list[int]:
        """The process ids of its connections, at the server."""
        pools: list[Any] = [one.database._pool for one in (self.api, self.worker)]
        connections = [holder._con for pool in pools for holder in pool._holders if holder._con]
        return [connection.get_server_pid() for connection in connections if not connection.is_closed()]

    async def heard_of_losing(self, backends: list[int]) -> bool:
        """Its side of these connections is closed as well: what it asks for next goes over others."""
        return set(backends).isdisjoint(self.backends())

    def die(self) -> None:
        """At once, as by SIGKILL: the server finds its connections closed, transactions open or not."""
        for one in (self.api, self.worker):
            one.database._pool.terminate()

    async def born(self) -> None:
        """A new process in the dead one's place: new connections, nothing remembered."""
        for one, role in ((self.api, Role.APP), (self.worker, Role.WORKER)):
            for task in list(one._tasks):
                task.cancel()
            await asyncio.gather(*one._tasks, return_exceptions=True)
            one.switchboard.die()
            one.database._pool = (await Database.open(one.settings.database_url, role))._pool
        self.forget()

    def forget(self) -> None:
        """As if just started: the same points are reached each time."""
        for one in (self.api, self.worker):
            one.switchboard.routes.cache_clear()
            one.accounts._adapters.clear()


class Endpoint:
    """A partner's webhook endpoint: which events came, by id."""

    def __init__(self) -> None:
        self.app = Starlette(routes=[Route("/{name}", self._receive, methods=["POST"])])
        self.came: list[str] = []
        self.status = 204

    async def _receive(self, request: Request) -> Response:
        await request.body()
        self.came.append(request.headers["webhook-id"])
        return Response(status_code=410 if request.path_params["name"] == "gone" else self.status)


@dataclass(slots=True, kw_only=True)
class Stage:
    victim: Process
    heir: Process
    """Never struck: it takes over."""
    owner: asyncpg.Connection[asyncpg.Record]
    desk: partners.Desk
    endpoint: Endpoint
    endpoint_url: str
    simulators: Mapping[str, str]
    notifiers: Mapping[str, Notifier]
    ledgers: Mapping[str, Ledger]
    """What money really moved."""
    accounts: Mapping[str, str]
    http: httpx.AsyncClient
    _count: int = field(default=0)

    @classmethod
    @asynccontextmanager
    async def opened(cls, database_url: str) -> AsyncIterator[Stage]:
        settings = Settings(
            database_url=database_url,
            secret_keys={1: os.urandom(32)},
            public_url=URL,
            webhook_allow_loopback=True,
            lease_seconds=30,
        )
        async with AsyncExitStack() as stack:
            apps = {name: create() for name, create in SIMULATORS.items()}
            endpoint = Endpoint()
            simulators = {name: await serve(stack, app) for name, app in apps.items()}
            endpoint_url = await serve(stack, endpoint.app)
            victim = await stack.enter_async_context(Process.opened(settings))
            heir = await stack.enter_async_context(Process.opened(settings))
            operators = await Database.open(database_url, Role.OPERATOR)
            stack.push_async_callback(operators.close)
            owner = await asyncpg.connect(database_url)
            stack.push_async_callback(owner.close)
            desk = partners.Desk(operators, heir.api.vault, "operator:test")
            await desk.rotate_signing_key(overlap=timedelta(0))  # the first one: each deliverer finds it
            accounts = {}
            for priority, name in enumerate((*sorted(simulators), "manual")):
                made = await desk.add_account(
                    provider=name,
                    livemode=False,
                    credentials=CREDENTIALS.get(name, {}),
                    base_url=simulators.get(name),
                    priority=priority,
                )
                accounts[name] = ids.encode("pac", made.id)
            yield cls(
                victim=victim,
                heir=heir,
                owner=owner,
                desk=desk,
                endpoint=endpoint,
                endpoint_url=endpoint_url,
                simulators=simulators,
                notifiers={name: app.state.notifier for name, app in apps.items()},
                ledgers={name: app.state.ledger for name, app in apps.items()},
                accounts=accounts,
                http=await stack.enter_async_context(httpx.AsyncClient(verify=TLS)),
            )

    async def scene(self, name: str) -> Scene:
        """A new partner, subscribed to everything, whose orders are called `name`."""
        self._count += 1
        made = await self.desk.create_partner(
            name=name[:100], email=f"{self._count}@test.example", rate_limit_per_minute=100_000
        )
        issued = await self.desk.issue_key(made.id, livemode=False, scopes=ALL_SCOPES)
        for notifier in self.notifiers.values():
            notifier.remembered.clear()
        self.endpoint.came.clear()
        await self._clear()
        scene = Scene(
            stage=self,
            partner_id=made.id,
            api_key=issued.text,
            reference=f"order-{self._count}",
            began=self.heir.worker.clock(),
        )
        endpoint = {"url": f"{self.endpoint_url}/in", "event_types": ["*"], "ed25519": True}
        await scene.post(self.heir, "/v1/webhook-endpoints", endpoint)
        return scene

    async def _clear(self) -> None:
        """What earlier scenes left is over: accounts are enabled again, and nobody looks into what had no end."""
        parked = "UPDATE provider_events SET state = 'parked', next_try_at = NULL WHERE state = 'received'"
        await self.owner.execute(parked)
        await self.owner.execute("UPDATE provider_accounts SET enabled = true WHERE NOT enabled")
        await self.owner.execute(
            "UPDATE attempts SET next_check_at = now() + interval '1 year', lease_until = now() + interval '1 year'"
            " WHERE finished_at IS NULL AND next_check_at < now() + interval '1 month'"
        )

    async def cut(self, *, only_open: bool = False) -> None:
        """The victim's connections are lost; with `only_open` those whose transaction stands open."""
        condition = " AND state LIKE 'idle in transaction%'" if only_open else ""
        mine = f"FROM pg_stat_activity WHERE pid = ANY ($1){condition}"
        backends = self.victim.backends()
        await self.owner.execute(f"SELECT pg_terminate_backend(pid) {mine}", backends)
        await until(partial(self.owner.fetchval, f"SELECT count(*) {mine}", backends), lambda left: left == 0)
        if not only_open:
            await until(partial(self.victim.heard_of_losing, backends), bool)

    async def violations(self) -> list[str]:
        oracles = {name: ledger.to_json() for name, ledger in self.ledgers.items()}
        return await invariants.violations(self.owner, oracles)


@dataclass(slots=True, kw_only=True)
class Scene:
    """One partner and what it does; every answer it saw is kept."""

    stage: Stage
    partner_id: UUID
    api_key: str
    reference: str
    began: datetime
    seen: dict[str, list[httpx.Response]] = field(default_factory=dict)
    """Answers by idempotency key."""
    made: Json = field(default_factory=dict)
    """The transaction, as it was when it was made."""
    unheard: frozenset[str] = frozenset()
    """Notifications that are lost on their way, by the PSP's name of the event."""
    way_back: str = ""
    """Where the PSP sends the customer's browser."""

    async def post(self, process: Process, path: str, body: Json, *, name: str = "") -> httpx.Response:
        """A keyed request; `name` tells the keys of one scene apart."""
        key = f"{self.reference}-{name or path.rpartition('/')[2]}"
        async with self._client(process) as client:
            answer = await client.post(path, json=body, headers={"Idempotency-Key": key})
        self.seen.setdefault(key, []).append(answer)
        return answer

    def last(self) -> httpx.Response:
        return list(self.seen.values())[-1][-1]

    async def get(self, process: Process, path: str) -> httpx.Response:
        async with self._client(process) as client:
            return await client.get(path)

    async def come_back(self, process: Process) -> httpx.Response:
        """The customer's browser follows the PSP to our address."""
        async with self._client(process) as client:
            return await client.get(self.way_back, headers={"Authorization": ""})

    def notifications(self, provider: str) -> list[Notification]:
        """What the PSP has to tell since the scene began; by itself it tells nobody."""
        return [one for one in self.stage.notifiers[provider].remembered if one.event not in self.unheard]

    async def notify(self, process: Process, provider: str, notification: Notification) -> httpx.Response:
        """The PSP posts it, as it signs it now."""
        made = notification.headers
        headers = made(time.time()) if callable(made) else made
        async with self._client(process) as client:
            path = f"/webhooks/{provider}/{self.stage.accounts[provider]}"
            return await client.post(path, content=notification.body, headers={**headers, "Authorization": ""})

    async def fault(self, kind: str, *, provider: str = "stripe", **members: Any) -> None:
        """Order misbehaviour of a simulator."""
        url = f"{self.stage.simulators[provider]}/_simulator/faults"
        answer = await self.stage.http.post(url, json={"kind": kind, "reference": self.reference} | members)
        assert answer.status_code == 204, answer.text

    async def time_passes(self) -> None:
        """Leases run out, checks and retries fall due."""
        for statement in _LATER:
            await self.stage.owner.execute(statement, self.partner_id)
        await self.stage.owner.execute("UPDATE provider_events SET next_try_at = now() WHERE state = 'received'")

    async def change(self, statement: str) -> None:
        """What time, or a long history, would have done: past every trigger, as a superuser. $1 is the partner."""
        async with self.stage.owner.transaction():
            await self.stage.owner.execute("SET LOCAL session_replication_role = replica")
            await self.stage.owner.execute(statement, self.partner_id)

    async def age(self, hours: int, *, everything: bool = False) -> None:
        """Attempts without an outcome (or all) were made so long ago; the next check of open ones is due."""
        which = "" if everything else " AND finished_at IS NULL"
        await self.change(
            f"UPDATE attempts SET created_at = created_at - interval '{hours} h',"
            f" updated_at = updated_at - interval '{hours} h', finished_at = finished_at - interval '{hours} h',"
            f" next_check_at = CASE WHEN finished_at IS NULL THEN now() END WHERE partner_id = $1{which}"
        )

    async def open_count(self) -> int:
        """What is not over: attempts that nobody but us can bring to an end, notifications not applied."""
        count: int = await self.stage.owner.fetchval(_OPEN, self.partner_id)
        return count

    def _client(self, process: Process) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(process.app),
            base_url=URL,
            headers={"Authorization": f"Bearer {self.api_key}"},
            verify=TLS,
            trust_env=False,
        )


_LATER = (
    "UPDATE attempts SET lease_until = now(), next_check_at = now() WHERE partner_id = $1 AND finished_at IS NULL",
    "UPDATE webhook_deliveries SET lease_until = now() WHERE partner_id = $1 AND lease_until IS NOT NULL",
    "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE partner_id = $1 AND state = 'pending'",
)
_OPEN = """
    SELECT (SELECT count(*) FROM attempts WHERE partner_id = $1 AND finished_at IS NULL AND state <> 'waiting')
         + (SELECT count(*) FROM provider_events WHERE state = 'received')"""


async def recover(process: Process) -> None:
    """One round of what settles anything."""
    await provider_events.apply_due(process.worker)
    await recovery.resolve_due(process.worker)
    await followups.expire_due(process.worker)


async def deliver(deliverer: Deliverer) -> None:
    """Whatever is due, to the end: claim, post, record, until there is nothing left."""
    for _ in range(TURNS_MAX):
        for turn in (deliverer._record, deliverer._claim):
            with suppress(Unavailable, CommitUncertain):  # as its loops do
                await turn()
        if not deliverer._tries and not deliverer._results:
            return
        if deliverer._tries:
            await asyncio.wait(deliverer._tries)
