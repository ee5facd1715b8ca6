"""Promise: kill any process at any moment; no money moves twice, no answer and no event is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import httpx
import pytest

from db import embedded
from tests.acceptance.processes import Process, Town, built
from tests.acceptance.steps import leases_run_out, refused, until
from tests.house import Json, Receiver, new_key, serve

CARD = "4242424242424242"


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
        base_url=server.url, headers={"Authorization": f"Bearer {town.api_key}"}, timeout=httpx.Timeout(60)
    )


def sale(reference: str, **members: str) -> Json:
    method = {"type": "card", "tokens": {"stripe": "pm_card_visa"}}
    return {"amount": "19.99", "currency": "USD", "payment_method": method, "reference": reference} | members


async def killed_in_flight(town: Town, operation: str, fault: str, reference: str, path: str, body: Json) -> str:
    """The key of a request whose server was killed while the PSP was at work on it."""
    server, key = await town.serving(), new_key()
    await town.fault(fault, operation=operation, reference=reference, seconds=120)
    async with client_of(town, server) as client:
        asking = asyncio.create_task(client.post(path, json=body, headers={"Idempotency-Key": key}))
        await town.called(operation, reference)
        server.kill()
        with pytest.raises(httpx.TransportError):
            await asking
    await town.let_held_calls_go_on()
    return key


@pytest.mark.parametrize("fault", ["answer_late", "act_late"])
async def test_a_charge_whose_server_was_killed_is_made_once_and_answered_to_the_same_key(
    town: Town, owner: asyncpg.Connection[asyncpg.Record], fault: str
) -> None:
    body = sale(f"killed-{fault}")
    key = await killed_in_flight(town, "charge", fault, f"killed-{fault}", "/v1/transactions", body)
    server = await town.serving()
    async with client_of(town, server) as client:
        answer = await client.post("/v1/transactions", json=body, headers={"Idempotency-Key": key})
        problem = refused(answer, 409, "idempotency_in_progress")  # the dead server's lease still holds
        assert (problem["money_moved"], problem["safe_to_retry"]) == ("unknown", True)
        assert int(answer.headers["retry-after"]) >= 1
        await leases_run_out(owner)
        final = await client.post("/v1/transactions", json=body, headers={"Idempotency-Key": key})
        assert (final.status_code, final.json()["status"]) == (201, "completed")
        assert len(final.json()["attempts"]) == 1
        again = await client.post("/v1/transactions", json=body, headers={"Idempotency-Key": key})
        assert (again.content, again.headers["idempotent-replayed"]) == (final.content, "true")
        listed = (await client.get("/v1/transactions", params={"reference": f"killed-{fault}"})).json()["data"]
        assert [row["id"] for row in listed] == [final.json()["id"]]
    books = await town.books(f"killed-{fault}")
    assert (books["charges"], books["captures"]) == ({"count": 1, "amount": 1999},) * 2
    assert await server.stopped() == 0


@pytest.mark.parametrize(("operation", "follow_up"), [("capture", "captures"), ("refund", "refunds")])
async def test_a_follow_up_whose_server_was_killed_is_made_once(
    town: Town, owner: asyncpg.Connection[asyncpg.Record], operation: str, follow_up: str
) -> None:
    reference = f"killed-{operation}"
    server = await town.serving()
    async with client_of(town, server) as client:
        body = sale(reference, capture="manual" if operation == "capture" else "automatic")
        made = await client.post("/v1/transactions", json=body, headers={"Idempotency-Key": new_key()})
    assert await server.stopped() == 0
    path = f"/v1/transactions/{made.json()['id']}/{follow_up}"
    key = await killed_in_flight(town, operation, "answer_late", reference, path, {"amount": "5.00"})
    server = await town.serving()
    async with client_of(town, server) as client:
        refused(
            await client.post(path, json={"amount": "5.00"}, headers={"Idempotency-Key": key}),
            409,
            "idempotency_in_progress",
        )
        await leases_run_out(owner)
        final = await client.post(path, json={"amount": "5.00"}, headers={"Idempotency-Key": key})
        assert final.json()["status"] == "completed"
        assert final.status_code in (200, 201)
    assert (await town.books(reference))[f"{operation}s"] == {"count": 1, "amount": 500}
    assert await server.stopped() == 0


async def test_the_worker_finishes_what_a_killed_server_began(
    town: Town, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await killed_in_flight(town, "charge", "answer_late", "worker", "/v1/transactions", sale("worker"))
    await leases_run_out(owner)
    worker = town.start("worker")

    async def status() -> str:
        return str(await owner.fetchval("SELECT status FROM transactions WHERE reference = 'worker'"))

    assert await until(status, lambda status: status != "processing") == "completed"
    assert await worker.stopped() == 0
    assert (await town.books("worker"))["charges"] == {"count": 1, "amount": 1999}


async def test_an_event_whose_delivery_was_killed_arrives_under_the_same_id(
    town: Town, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    server = await town.serving()
    receiver = Receiver()
    held = asyncio.Event()
    arrived: list[str] = []

    async def holding(scope, receive, send) -> None:  # type: ignore[no-untyped-def]  # ASGI
        arrived.append(dict(scope["headers"])[b"webhook-id"].decode())
        if len(arrived) == 1:
            await held.wait()  # the first answer never comes while its asker lives
        await receiver.app(scope, receive, send)

    async with AsyncExitStack() as stack:
        url = await serve(stack, holding)
        stack.callback(held.set)
        client = await stack.enter_async_context(client_of(town, server))
        endpoint = await client.post(
            "/v1/webhook-endpoints",
            json={"url": f"{url}/hooks", "event_types": ["transaction.completed"]},
            headers={"Idempotency-Key": new_key()},
        )
        assert endpoint.status_code == 201, endpoint.text
        receiver.secrets.append(endpoint.json()["secret"])
        made = await client.post("/v1/transactions", json=sale("delivery"), headers={"Idempotency-Key": new_key()})
        worker = town.start("worker")

        async def count() -> int:
            return len(arrived)

        await until(count, lambda count: count == 1)
        worker.kill()
        held.set()
        await leases_run_out(owner)
        await owner.execute("UPDATE webhook_deliveries SET next_attempt_at = now() WHERE state = 'pending'")
        worker = town.start("worker")
        event = await receiver.event("transaction.completed", made.json()["id"])
        await until(count, lambda count: count == 2)
        assert arrived == [event["id"]] * 2
        await client.delete(f"/v1/webhook-endpoints/{endpoint.json()['id']}")
        assert await worker.stopped() == 0
    assert await server.stopped() == 0


async def test_a_server_told_to_stop_finishes_what_it_has_begun(town: Town) -> None:
    server = await town.serving()
    await town.fault("answer_late", operation="charge", reference="stopped", seconds=120)
    async with client_of(town, server) as client:
        asking = asyncio.create_task(
            client.post("/v1/transactions", json=sale("stopped"), headers={"Idempotency-Key": new_key()})
        )
        await town.called("charge", "stopped")
        stopping = asyncio.create_task(server.stopped())

        async def refuses() -> bool:
            try:
                async with httpx.AsyncClient() as other:
                    await other.get(f"{server.url}/healthz")
            except httpx.TransportError:
                return True
            return False

        await until(refuses, bool)  # nothing new is let in; what is under way goes on
        assert not asking.done()
        await town.let_held_calls_go_on()
        answer = await asking
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert await stopping == 0


async def test_a_card_number_is_in_no_log_and_in_no_table(
    town: Town, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    server = await town.serving()
    async with client_of(town, server) as client:
        for place in ("reference", "description", "payment_method", "number"):
            refused(
                await client.post(
                    "/v1/transactions", json=sale("card") | {place: CARD}, headers={"Idempotency-Key": new_key()}
                ),
                422,
                "card_data_refused",
                place,
            )
        keyed = {"Idempotency-Key": new_key(), "User-Agent": f"shop/{CARD}", "Request-Id": f"order-{CARD}"}
        requests = [
            client.get("/v1/transactions", params={"reference": CARD}),
            client.get(f"/v1/transactions/{CARD}"),
            client.get(f"/{CARD}"),
            client.post("/v1/transactions", json={}, headers={"Idempotency-Key": CARD}),
            client.post("/v1/transactions", content=f'{{"amount": {CARD}'.encode()),
            client.get("/v1/balance", headers={"Request-Id": CARD, "Authorization": f"Bearer {CARD}"}),
            client.post("/v1/transactions", json=sale("agent"), headers=keyed),
        ]
        for request in requests:
            answer = await request
            assert CARD not in answer.text + str(answer.headers)
    assert await server.stopped() == 0
    log = server.errors.read_text()
    assert "request answered" in log
    assert "audit_logs" in " ".join(await tables_holding(owner, "transaction.charge"))
    for secret in (CARD, town.api_key, "sk_test_simulated"):
        assert secret not in log
        assert await tables_holding(owner, secret) == []


async def tables_holding(owner: asyncpg.Connection[asyncpg.Record], text: str) -> list[str]:
    """Every table with the text in any column, as text or as bytes."""
    tables = await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return [
        row["tablename"]
        for row in tables
        if await owner.fetchval(
            f'SELECT EXISTS (SELECT FROM "{row["tablename"]}" t WHERE t::text LIKE $1 OR t::text LIKE $2)',
            f"%{text}%",
            f"%{text.encode().hex()}%",
        )
    ]
