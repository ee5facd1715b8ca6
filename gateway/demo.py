"""`paygate demo`: the whole gateway in one process, with simulated PSPs, and a short tour through it.

Everything but the simulators is what runs in production: PostgreSQL, the roles, the API over HTTP, the worker. What is
loosened (webhooks to loopback over plain http, a generous rate limit) is loosened by settings, and only here.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from uuid import UUID

import click
from starlette.applications import Starlette
from starlette.types import ASGIApp

from db import embedded, ids, provider_accounts, schema
from db.database import Database, Role
from db.support_users import SupportRole
from db.vault import Vault
from gateway import listener, partners, runtime, telemetry, tour, worker
from gateway.app import create_app
from gateway.config import Settings
from gateway.console import access, gates
from gateway.people import People
from gateway.tour import Screen
from providers.simulator import CREDENTIALS, SIMULATORS

DIRECTORY = Path(".paygate")
CONSOLE_USER = "admin@shop.example"
RATE_LIMIT_PER_MINUTE = 10_000
SHUTDOWN_SECONDS = 3
"""For requests and deliveries under way; the whole stop takes less than ten."""
KEY_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a second run on the same folder needs to know; kept in `demo.json`, readable by its owner only."""

    secret_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    partner_id: str = ""
    api_key: str = field(default="", repr=False)
    accounts: dict[str, str] = field(default_factory=dict)
    console_password: str = field(default="", repr=False)
    endpoint_id: str = ""
    webhook_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The demo once it is set up and serves."""

    base_url: str
    shop: tour.Shop
    simulators: dict[str, str]
    memory: Memory


def run(port: int, data: Path | None, as_json: bool) -> int:  # noqa: FBT001 - the command's three options
    """Until SIGTERM or SIGINT; the exit status. With `as_json` standard output carries one line only."""
    screen = Screen(sys.stderr if as_json else sys.stdout)
    directory = (data or DIRECTORY).absolute()
    telemetry.configure_logging("WARNING")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the loop runs, both end the same way
    try:
        listening = _listen(port)
        directory.mkdir(parents=True, exist_ok=True)
        screen.say("Starting PostgreSQL")
        server = embedded.start(directory / "postgresql", progress=screen.detail)
    except (OSError, embedded.EmbeddedError) as error:
        click.echo(f"paygate demo: {error}", err=True)
        return 1
    except KeyboardInterrupt:
        return 0
    try:
        listener.run_loop(_perform(server, listening, directory, screen, as_json=as_json))
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
        server.stop()
    screen.say("Stopped. The data stays in", str(directory))
    return 0


async def _perform(
    server: embedded.Server, listening: socket.socket, directory: Path, screen: Screen, *, as_json: bool
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    showing = asyncio.create_task(_show(server, listening, directory, screen, stop, as_json=as_json))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({showing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not stop.is_set():
        await showing  # it ended by itself: with what went wrong
    stop.set()
    done, _ = await asyncio.wait({showing}, timeout=2 * SHUTDOWN_SECONDS)
    if not done:
        showing.cancel()
    await asyncio.gather(showing, return_exceptions=True)


async def _show(
    server: embedded.Server,
    listening: socket.socket,
    directory: Path,
    screen: Screen,
    stop: asyncio.Event,
    *,
    as_json: bool,
) -> None:
    screen.detail("bringing the schema up to date")
    await schema.migrate(server.url())
    async with _opened(server, listening, directory, screen, stop) as stage:
        told = await tour.walk(stage.base_url, stage.memory.api_key, stage.shop, screen)
        if as_json:
            click.echo(json.dumps(_told(stage, server)))
        else:
            console = (f"{stage.base_url}/console", CONSOLE_USER, stage.memory.console_password)
            tour.invite(screen, stage.base_url, stage.memory.api_key, stage.simulators, told, console)
        await stop.wait()
        screen.say("Stopping")


@asynccontextmanager
async def _opened(
    server: embedded.Server, listening: socket.socket, directory: Path, screen: Screen, stop: asyncio.Event
) -> AsyncIterator[Stage]:
    """Simulators, API, worker and receiver, serving; closed in the opposite order."""
    memory = _remembered(directory)
    settings = Settings(
        database_url=server.url(),
        secret_keys={KEY_VERSION: bytes.fromhex(memory.secret_key)},
        port=listening.getsockname()[1],
        webhook_allow_loopback=True,
        console_second_factor=False,
        security_contact="mailto:security@localhost",
        shutdown_seconds=SHUTDOWN_SECONDS,
    )
    async with AsyncExitStack() as stack:
        screen.say("Starting the PSP simulators")
        simulators = {name: await _simulated(stack, create()) for name, create in SIMULATORS.items()}
        memory = await _seeded(settings, memory, simulators)
        _remember(directory, memory)
        screen.say("Starting the API and the worker")
        api = await stack.enter_async_context(runtime.opened(settings, Role.APP))
        background = await stack.enter_async_context(runtime.opened(settings, Role.WORKER))
        delivering = await stack.enter_async_context(worker.deliverer(background))
        api.wake_deliverer = background.wake_deliverer = delivering.wake
        api.notified = background.notified
        console = await stack.enter_async_context(access.opened(background))
        base_url = await _served(stack, create_app(api, also=gates.doors(console)), listening)
        await tour.direct_notifications(base_url, simulators, memory.accounts)
        working = asyncio.create_task(worker.work(background, delivering, stop))
        stack.push_async_callback(_ended, working, stop)
        receiver = tour.Receiver()
        receiver_url = await _served(stack, receiver.app)
        memory = await _registered(base_url, memory, receiver, receiver_url)
        _remember(directory, memory)
        shop = tour.Shop(
            url=receiver_url,
            receiver=receiver,
            cards={name: token for name, token in CARDS.items() if name in simulators},
            declined_card=DECLINED_CARD,
            wallet=WALLET if WALLET in simulators else None,
        )
        yield Stage(base_url=base_url, shop=shop, simulators=simulators, memory=memory)


async def _served(stack: AsyncExitStack, app: ASGIApp, listening: socket.socket | None = None) -> str:
    """Serve on loopback until the stack unwinds; the base address."""
    server = listener.server(app, listening or listener.bind("127.0.0.1", 0), shutdown_seconds=SHUTDOWN_SECONDS)
    serving = asyncio.create_task(listener.run([server]))

    async def end() -> None:
        server.should_exit = True
        await serving

    stack.push_async_callback(end)
    return f"http://127.0.0.1:{server.port}"


async def _simulated(stack: AsyncExitStack, app: Starlette) -> str:
    stack.push_async_callback(app.state.notifier.aclose)
    return await _served(stack, app)


async def _ended(working: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    await working


async def _seeded(settings: Settings, memory: Memory, simulators: dict[str, str]) -> Memory:
    """A partner, its key and an account at each simulator: made once, and pointed at today's simulators."""
    vault = Vault(settings.secret_keys)
    database = await Database.open(settings.database_url, Role.OPERATOR)
    try:
        desk = partners.Desk(database, vault, "paygate:demo")
        if not memory.partner_id:
            partner = await desk.create_partner(
                name="Demo Shop", email="demo@shop.example", rate_limit_per_minute=RATE_LIMIT_PER_MINUTE
            )
            issued = await desk.issue_key(partner.id, livemode=False, name="demo")
            memory = replace(memory, partner_id=ids.encode("prt", partner.id), api_key=issued.text)
        if not memory.console_password:
            invited = await People(database, desk.actor).invite(
                email=CONSOLE_USER, name="Demo Admin", role=SupportRole.ADMIN, settled=True
            )
            memory = replace(memory, console_password=invited.password)
        accounts = dict(memory.accounts)
        for name, base_url in simulators.items():
            if name in accounts:
                async with database.as_system() as connection:
                    await provider_accounts.move(connection, _account_id(accounts[name]), base_url)
            else:
                account = await desk.add_account(
                    provider=name, livemode=False, credentials=CREDENTIALS[name], base_url=base_url
                )
                accounts[name] = ids.encode("pac", account.id)
        return replace(memory, accounts=accounts)
    finally:
        await database.close()


def _account_id(text: str) -> UUID:
    account_id = ids.decode("pac", text)
    assert account_id is not None, "demo.json was edited"
    return account_id


async def _registered(base_url: str, memory: Memory, receiver: tour.Receiver, receiver_url: str) -> Memory:
    """The receiver as the partner's webhook endpoint: made once, and pointed at today's address."""
    endpoint = await tour.register(base_url, memory.api_key, f"{receiver_url}/webhooks", memory.endpoint_id)
    memory = replace(memory, endpoint_id=endpoint["id"], webhook_secret=endpoint.get("secret") or memory.webhook_secret)
    receiver.trust(memory.webhook_secret)
    return memory


def _listen(port: int) -> socket.socket:
    try:
        return listener.bind("127.0.0.1", port)
    except OSError as error:
        raise OSError(f"port {port} cannot be used ({error.strerror}); choose another with --port") from error


def _told(stage: Stage, server: embedded.Server) -> dict[str, object]:
    """The one line of `--json`."""
    return {
        "base_url": stage.base_url,
        "api_key": stage.memory.api_key,
        "partner_id": stage.memory.partner_id,
        "console_url": f"{stage.base_url}/console",
        "console_user": CONSOLE_USER,
        "console_password": stage.memory.console_password,
        "simulators": stage.simulators,
        "webhook_secret": stage.memory.webhook_secret,
        "database_url": server.tcp_url(),
        "pid": os.getpid(),
    }


def _remembered(directory: Path) -> Memory:
    path = directory / "demo.json"
    return Memory(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else Memory()


def _remember(directory: Path, memory: Memory) -> None:
    fresh = directory / "demo.json.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(memory), file)
    fresh.replace(directory / "demo.json")


CARDS = {"stripe": "pm_card_visa", "adyen": "ada/APPROVED", "paypal": "vault_card_visa"}
DECLINED_CARD = ("stripe", "pm_card_visa_chargeDeclinedInsufficientFunds")
WALLET = "paypal"
"""Magic values of the simulators."""
