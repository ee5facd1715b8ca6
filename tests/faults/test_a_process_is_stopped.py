"""Promise: a process told to stop under load ends what it has begun; one that was frozen finds its work done."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import httpx
import pytest

from db import embedded
from tests.acceptance.processes import Process, Town, built
from tests.acceptance.steps import leases_run_out, until
from tests.house import TLS, Json, Receiver, new_key, serve

REQUESTS = 200
HELD = 50
"""Of them, those whose charge is at the PSP when the signal comes."""
EVENTS = 40


@pytest.fixture(scope="module")
async def town(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with built(postgres, tmp_path_factory.mktemp("town")) as town:
        yield town


@pytest.fixture
async def owner(town: Town) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(town.database_url)
    yield connection
    await connection.close()


def client_of(town: Town, server: Process) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=server.url,
        headers={"Authorization": f"Bearer {town.api_key}"},
        timeout=60,
        limits=httpx.Limits(max_connections=REQUESTS),
        verify=TLS,
    )


async def charge(client: httpx.AsyncClient, reference: str) -> httpx.Response:
    """Under a key that is the order's own, so that it may be repeated anywhere."""
    method = {"type": "card", "tokens": {"stripe": "pm_card_visa"}}
    body = {"amount": "19.99", "currency": "USD", "payment_method": method, "reference": reference}
    return await client.post("/v1/transactions", json=body, headers={"Idempotency-Key": f"key-of-{reference}"})


async def sold(town: Town) -> dict[str, int]:
    """In the PSP's own books: how often each order was paid."""
    async with httpx.AsyncClient(verify=TLS) as client:
        books: Json = (await client.get(f"{town.psp}/_simulator/ledger")).json()["merchant_references"]
    return {reference: book["captures"]["count"] for reference, book in books.items()}


async def test_a_server_stopped_under_load_answers_what_it_has_begun_and_the_next_goes_on(
    town: Town, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    server = await town.serving()
    await town.fault("answer_late", operation="charge", times=HELD, seconds=120)
    references = [f"load-{number}" for number in range(REQUESTS)]
    async with client_of(town, server) as client:
        asking = [asyncio.create_task(charge(client, reference)) for reference in references]

        async def begun() -> int:
            return len(await sold(town))

        await until(begun, lambda count: count >= 2 * HELD)  # some are answered, some held, the others on their way
        stopping = asyncio.create_task(server.stopped())
        await until(lambda: refuses(server), bool)
        await town.let_held_calls_go_on()
        ended = await asyncio.gather(*asking, return_exceptions=True)
    assert await stopping == 0
    answers = {one: answer for one, answer in zip(references, ended, strict=True) if isinstance(answer, httpx.Response)}
    lost = [error for error in ended if not isinstance(error, httpx.Response)]
    assert {type(error) for error in lost} <= {httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError}
    paid = {reference for reference, answer in answers.items() if answer.status_code == 201}
    assert {answers[reference].status_code for reference in answers.keys() - paid} <= {503}  # more than it could take
    rows = await owner.fetch("SELECT reference FROM transactions")
    assert {row["reference"] for row in rows} == paid == (await sold(town)).keys()

    server = await town.serving()
    async with client_of(town, server) as client:
        for reference in references:
            repeat = await charge(client, reference)
            assert repeat.status_code == 201
            assert ("idempotent-replayed" in repeat.headers) == (reference in paid)
    assert await server.stopped() == 0
    assert await sold(town) == dict.fromkeys(references, 1)


async def test_what_is_not_over_when_the_server_must_end_is_not_told_to_have_failed(
    town: Town, owner: asyncpg.Connection[asyncpg.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(town.variables, "PAYGATE_SHUTDOWN_SECONDS", "1")
    server = await town.serving()
    await town.fault("answer_late", operation="charge", reference="too-long", seconds=120)
    async with client_of(town, server) as client:
        asking = asyncio.create_task(charge(client, "too-long"))
        await town.called("charge", "too-long")
        assert await server.stopped() == 0
        cut = await asking
    told = cut.json()
    assert (cut.status_code, cut.headers["content-type"]) == (503, "application/problem+json")
    assert (told["code"], told["money_moved"], told["safe_to_retry"]) == ("temporarily_unavailable", "unknown", True)
    assert int(cut.headers["retry-after"]) > 0

    await town.let_held_calls_go_on()
    await leases_run_out(owner)
    server = await town.serving()
    async with client_of(town, server) as client:
        repeat = await charge(client, "too-long")
    assert (repeat.status_code, repeat.json()["status"]) == (201, "completed")
    assert await server.stopped() == 0
    assert (await sold(town))["too-long"] == 1


async def refuses(server: Process) -> bool:
    try:
        async with httpx.AsyncClient(verify=TLS) as client:
            await client.get(f"{server.url}/healthz")
    except httpx.TransportError:
        return True
    return False


async def test_a_worker_stopped_while_delivering_records_what_arrived_and_the_next_sends_the_rest(
    town: Town, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    receiver, going_on = Receiver(), asyncio.Event()
    arrived: Counter[str] = Counter()

    async def holding(scope, receive, send) -> None:  # type: ignore[no-untyped-def]  # ASGI
        arrived[dict(scope["headers"])[b"webhook-id"].decode()] += 1
        await going_on.wait()
        await receiver.app(scope, receive, send)

    async def count() -> int:
        return len(arrived)

    async with AsyncExitStack() as stack:
        url = await serve(stack, holding)
        stack.callback(going_on.set)
        server = await town.serving()
        async with client_of(town, server) as client:
            wanted = {"url": f"{url}/hooks", "event_types": ["transaction.completed"]}
            made = await client.post("/v1/webhook-endpoints", json=wanted, headers={"Idempotency-Key": new_key()})
            receiver.secrets.append(made.json()["secret"])
            await asyncio.gather(*(charge(client, f"told-{number}") for number in range(EVENTS)))
        assert await server.stopped() == 0
        worker = town.start("worker")
        under_way = await until(count, bool)
        assert under_way < EVENTS  # an endpoint is sent only so many at once
        stopping = asyncio.create_task(worker.stopped())
        going_on.set()
        assert await stopping == 0
        delivered = "SELECT event_id FROM webhook_deliveries WHERE state = 'delivered'"
        assert len(await owner.fetch(delivered)) == len(arrived) < EVENTS
        worker = town.start("worker")
        await receiver.until(lambda events: len(events) == EVENTS)
        assert await worker.stopped() == 0
    assert len(await owner.fetch(delivered)) == len(arrived) == EVENTS
    assert set(arrived.values()) == {1}


async def test_a_server_frozen_in_mid_charge_writes_nothing_when_it_wakes(
    town: Town, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    frozen, awake = await asyncio.gather(town.serving(), town.serving())
    await town.fault("answer_late", operation="charge", reference="frozen", seconds=120)
    async with client_of(town, frozen) as client, client_of(town, awake) as other:
        asking = asyncio.create_task(charge(client, "frozen"))
        await town.called("charge", "frozen")
        frozen.popen.send_signal(signal.SIGSTOP)
        await leases_run_out(owner)
        concluded = await charge(other, "frozen")
        assert (concluded.status_code, concluded.json()["status"]) == (201, "completed")
        written = await everything_about(owner, "frozen")
        await town.let_held_calls_go_on()
        frozen.popen.send_signal(signal.SIGCONT)
        answer = await asking
    assert (answer.status_code, answer.json()) == (201, concluded.json())
    assert await everything_about(owner, "frozen") == written
    assert (await sold(town))["frozen"] == 1
    assert [await server.stopped() for server in (frozen, awake)] == [0, 0]


async def everything_about(owner: asyncpg.Connection[asyncpg.Record], reference: str) -> list[list[str]]:
    """The order's rows, in one order, each with the transaction that wrote it last."""
    tables = ("attempts", "transaction_events", "events", "ledger_entries")
    transaction = "SELECT xmin, * FROM transactions WHERE reference = $1"
    about = "SELECT xmin, * FROM {} WHERE transaction_id = (SELECT id FROM transactions WHERE reference = $1)"
    return [
        sorted(map(str, await owner.fetch(query, reference))) for query in (transaction, *map(about.format, tables))
    ]
