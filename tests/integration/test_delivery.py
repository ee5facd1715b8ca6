"""Every published event reaches each endpoint that asked for it, signed and in order, or is visibly exhausted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import socket
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import standardwebhooks
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from db import deliveries, embedded, endpoints, ids, outbox, signing_keys
from db.database import Database, Role
from db.deliveries import ClaimedDelivery, Places, Result
from db.records import Delivery, DeliveryAttempt, DeliveryState, Endpoint, EndpointState, PublishedEvent, Scope
from db.vault import CannotOpen, Vault
from webhooks import outbound, schedule, signing
from webhooks.addresses import AddressPolicy
from webhooks.outbound import Deliverer, Limits
from webhooks.posting import Answer, Failed, Poster

LOOPBACK = AddressPolicy(allow_loopback_http=True)
VAULT = Vault({1: bytes(range(32))})
WAIT_SECONDS = 20

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


# ── A database and the roles that use it ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
async def database_url(postgres: embedded.Server, template: str) -> str:
    """One database for this file: its tests keep out of each other's way."""
    owner = await asyncpg.connect(postgres.url("postgres"))
    await owner.execute(f"CREATE DATABASE delivery TEMPLATE {template}")
    await owner.close()
    return postgres.url("delivery")


@pytest.fixture(scope="session")
async def worker(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url, Role.WORKER)
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def app(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url, Role.APP)
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


# ── A partner's server that answers as it is told ───────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Received:
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Each path answers by its script, the last answer for ever; an empty script answers 200."""

    port: int = 0
    scripts: dict[str, list[Handler]] = field(default_factory=lambda: defaultdict(list))
    received: dict[str, list[Received]] = field(default_factory=lambda: defaultdict(list))
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received[request.path].append(Received(headers, await request.read()))
        script = self.scripts[request.path]
        if not script:
            return web.Response()
        return await (script.pop(0) if len(script) > 1 else script[0])(request)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def webhook_ids(self, path: str) -> list[str]:
        return [request.headers["webhook-id"] for request in self.received[path]]

    def never(self, *, after: bytes | None = None) -> Handler:
        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            if after is not None:
                await response.prepare(request)
                await response.write(after)
            await self.over.wait()
            return response

        return handler


def answering(status: int, body: str | bytes = b"", **headers: str) -> Handler:
    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        content = body.encode() if isinstance(body, str) else body
        return web.Response(
            status=status, body=content, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return handler


@contextlib.asynccontextmanager
async def serving(
    handler: Handler, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    server = web.Server(handler)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=tls)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()

    async with serving(receiver.answer) as port:
        receiver.port = port
        yield receiver
        receiver.over.set()


# ── A partner, what it hears about, and a deliverer ─────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Partner:
    scope: Scope
    app: Database
    worker: Database
    owner: asyncpg.Connection[asyncpg.Record]
    secrets: dict[UUID, str] = field(default_factory=dict)

    @property
    def id(self) -> UUID:
        return self.scope.partner_id

    async def endpoint(self, url: str, event_types: tuple[str, ...] = ("*",)) -> Endpoint:
        endpoint_id, secret = ids.new(), signing.new_secret()
        self.secrets[endpoint_id] = secret
        async with self.app.as_partner(self.id) as connection:
            return await endpoints.create(
                connection,
                self.scope,
                endpoint_id,
                url=url,
                event_types=event_types,
                description=None,
                secret=secret,
                vault=VAULT,
            )

    async def transaction(self) -> UUID:
        """A row to hang events on; what a transaction is made of is not this file's subject."""
        transaction_id = ids.new()
        async with self.owner.transaction():
            await self.owner.execute("SET LOCAL session_replication_role = replica")
            await self.owner.execute(
                "INSERT INTO transactions (partner_id, id, livemode, version, published, status, amount, currency,"
                " capture, payment_method, created_at, updated_at)"
                " SELECT $1, $2, false, 1, 1, 'pending', 1, 'USD', 'automatic', code, now(), now()"
                " FROM payment_methods LIMIT 1",
                self.id,
                transaction_id,
            )
        return transaction_id

    def event(self, transaction_id: UUID | None = None, sequence: int | None = None) -> PublishedEvent:
        return published(self.scope, "transaction.completed", {"amount": "19.99 €"}, transaction_id, sequence)

    async def publish(self, transaction_id: UUID | None = None, sequence: int | None = None) -> str:
        event = self.event(transaction_id, sequence)
        async with self.app.as_partner(self.id) as connection:
            await outbox.publish(connection, event)
        return ids.encode("evt", event.id)

    async def deliveries(self, endpoint: Endpoint) -> list[Delivery]:
        """The oldest first."""
        async with self.app.as_partner(self.id) as connection:
            found = await outbox.page(connection, self.scope, endpoint.id, before=None, limit=100)
        return found[::-1]

    async def attempts(self, delivery: Delivery) -> list[DeliveryAttempt]:
        async with self.app.as_partner(self.id) as connection:
            return await outbox.attempts(connection, self.id, delivery.id)

    async def look(self, endpoint: Endpoint) -> Endpoint:
        async with self.app.as_partner(self.id) as connection:
            found = await endpoints.get(connection, self.scope, endpoint.id)
        assert found is not None
        return found

    async def time_passes(self) -> None:
        """Whatever waits for a later moment or a lease is due now."""
        await self.owner.execute(
            "UPDATE webhook_deliveries SET next_attempt_at = now() - interval '1 second', lease_until = NULL"
            " WHERE state = 'pending' AND partner_id = $1",
            self.id,
        )


def published(
    scope: Scope, kind: str, data: dict[str, Any], transaction_id: UUID | None = None, sequence: int | None = None
) -> PublishedEvent:
    event_id, now = ids.new(), datetime.now(UTC)
    body = {"id": ids.encode("evt", event_id), "type": kind, "timestamp": now.isoformat(), "sequence": sequence}
    return PublishedEvent(
        partner_id=scope.partner_id,
        id=event_id,
        livemode=scope.livemode,
        type=kind,
        transaction_id=transaction_id,
        sequence=sequence,
        body=json.dumps(body | {"data": data}, ensure_ascii=False),
        created_at=now,
    )


def announce(endpoint: Endpoint) -> PublishedEvent:
    return published(
        Scope(endpoint.partner_id, endpoint.livemode),
        f"endpoint.{endpoint.state}",
        {"id": ids.encode("whe", endpoint.id), "reason": endpoint.disabled_reason},
    )


@pytest.fixture
async def partner(app: Database, worker: Database, owner: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[Partner]:
    partner_id = ids.new()
    await owner.execute(
        "INSERT INTO partners (id, name, email) VALUES ($1, 'Shop', $2)", partner_id, f"{partner_id}@example.com"
    )
    yield Partner(Scope(partner_id, livemode=False), app, worker, owner)
    await owner.execute(
        "UPDATE webhook_deliveries SET state = 'cancelled', next_attempt_at = NULL WHERE state IN ('pending', 'held')"
    )


async def deliver(
    worker: Database, tries: int, *, deliverers: int = 1, poster: Poster | None = None, limits: Limits | None = None
) -> list[Result]:
    """Run deliverers until they have made so many tries together, then stop them cleanly."""
    stop, results = asyncio.Event(), list[Result]()

    def observe(_delivery: ClaimedDelivery, result: Result) -> None:
        results.append(result)
        if len(results) >= tries:
            stop.set()

    async with poster or Poster(LOOPBACK, deadline_seconds=5) as opened, asyncio.timeout(WAIT_SECONDS):
        loops = [
            Deliverer(
                worker, VAULT, opened, announce=announce, observe=observe, limits=limits or Limits(), chance=lambda: 0.5
            ).run(stop)
            for _ in range(deliverers)
        ]
        await asyncio.gather(*loops)
    return results


async def claim(worker: Database, *, limit: int = 64, each: int = 16) -> list[ClaimedDelivery]:
    async with worker.as_system(deliveries.PLANNING) as connection:
        return await deliveries.claim(
            connection,
            [Places(queue, each) for queue in await deliveries.waiting(connection)],
            limit=limit,
            lease_seconds=60,
            delays_seconds=schedule.DELAYS_SECONDS,
        )


async def probe(worker: Database) -> list[ClaimedDelivery]:
    async with worker.as_system() as connection:
        return await deliveries.probe(connection, limit=10, lease_seconds=60)


async def record(worker: Database, *ended: tuple[ClaimedDelivery, Answer | Failed]) -> deliveries.Recorded:
    results = [
        outbound.conclude(delivery, outcome, started_at=1_800_000_000, seconds=0.1, chance=0.5)
        for delivery, outcome in ended
    ]
    async with worker.as_system(deliveries.PLANNING) as connection:
        return await deliveries.record(connection, results)


OK = Answer(200, "", None)
ERROR = Answer(500, "", None)


# ── What arrives ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_event_arrives_signed_as_it_was_stored(partner: Partner, receiver: Receiver) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook?tenant=7"))
    event_id = await partner.publish()
    await deliver(partner.worker, 1)

    [request] = receiver.received["/hook"]
    body = standardwebhooks.Webhook(partner.secrets[endpoint.id]).verify(request.body, request.headers)
    assert body["id"] == request.headers["webhook-id"] == event_id
    assert body["data"] == {"amount": "19.99 €"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("Paygate")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert "cookie" not in request.headers
    [delivery] = await partner.deliveries(endpoint)
    assert (delivery.state, delivery.attempts, delivery.last_status) == (DeliveryState.DELIVERED, 1, 200)
    assert delivery.delivered_at is not None


async def test_an_event_goes_to_those_who_asked_for_it(partner: Partner, receiver: Receiver) -> None:
    await partner.endpoint(receiver.url("/asked"), ("transaction.completed",))
    await partner.endpoint(receiver.url("/other"), ("refund.completed",))
    await partner.endpoint(receiver.url("/all"))
    await partner.publish()
    await deliver(partner.worker, 2)
    assert {path: len(requests) for path, requests in receiver.received.items()} == {"/asked": 1, "/all": 1}


async def test_after_a_failure_it_is_sent_again_with_the_same_id(partner: Partner, receiver: Receiver) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook"))
    receiver.scripts["/hook"] = [answering(500, "no \0luck\x1b[31m\n" + "x" * 5000), answering(200)]
    event_id = await partner.publish()

    await deliver(partner.worker, 1)
    [waiting] = await partner.deliveries(endpoint)
    assert waiting.state is DeliveryState.PENDING
    assert waiting.next_attempt_at is not None
    assert timedelta(seconds=0) < waiting.next_attempt_at - datetime.now(UTC) < timedelta(seconds=6)
    assert (await partner.look(endpoint)).consecutive_failures == 1

    await partner.time_passes()
    await deliver(partner.worker, 1)
    assert receiver.webhook_ids("/hook") == [event_id, event_id]
    assert receiver.received["/hook"][0].body == receiver.received["/hook"][1].body
    [delivery] = await partner.deliveries(endpoint)
    first, second = await partner.attempts(delivery)
    assert (first.number, first.status_code, first.error) == (1, 500, "answered 500")
    assert (second.number, second.status_code, second.error) == (2, 200, None)
    assert first.response_excerpt is not None
    assert first.response_excerpt.startswith("no luck[31m xxx")
    assert len(first.response_excerpt) == 1024
    assert (await partner.look(endpoint)).consecutive_failures == 0


async def test_during_a_rotation_old_and_new_secret_verify(partner: Partner, receiver: Receiver) -> None:
    endpoint, new = await partner.endpoint(receiver.url("/hook")), signing.new_secret()
    async with partner.app.as_partner(partner.id) as connection:
        rotated = await endpoints.rotate_secret(connection, partner.scope, endpoint.id, secret=new, vault=VAULT)
    assert rotated is not None
    assert rotated.previous_secret_expires_at is not None
    await partner.publish()
    await deliver(partner.worker, 1)
    await partner.owner.execute(
        "UPDATE webhook_endpoints SET previous_secret_expires_at = now() WHERE id = $1", endpoint.id
    )
    await partner.publish()
    await deliver(partner.worker, 1)

    during, after = receiver.received["/hook"]
    for secret in (new, partner.secrets[endpoint.id]):
        standardwebhooks.Webhook(secret).verify(during.body, during.headers)
    standardwebhooks.Webhook(new).verify(after.body, after.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(partner.secrets[endpoint.id]).verify(after.body, after.headers)


async def test_a_delivery_that_cannot_be_signed_as_asked_stays_here_and_costs_the_endpoint_nothing(
    partner: Partner, receiver: Receiver
) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook"))
    async with partner.app.as_partner(partner.id) as connection:
        await endpoints.update(connection, dataclasses.replace(endpoint, ed25519=True))
    async with partner.worker.as_system() as connection:
        await signing_keys.ensure(connection, Vault({2: bytes(32)}))  # this deliverer has another key
    await partner.publish()
    [result] = await deliver(partner.worker, 1)
    assert (result.error, result.given_back) == ("our signing key is not available", True)
    assert receiver.received == {}
    assert (await partner.look(endpoint)).consecutive_failures == 0

    await partner.owner.execute("DELETE FROM signing_keys")
    await partner.time_passes()
    await deliver(partner.worker, 1)
    [request] = receiver.received["/hook"]
    schemes = [signature.partition(",")[0] for signature in request.headers["webhook-signature"].split(" ")]
    assert schemes == ["v1", "v1a"]


async def test_headers_are_sealed_and_open_for_their_own_endpoint_only(partner: Partner, receiver: Receiver) -> None:
    endpoint, other = [await partner.endpoint(receiver.url(path)) for path in ("/hook", "/other")]
    async with partner.app.as_partner(partner.id) as connection:
        for one, value in ((endpoint, "mine"), (other, "theirs")):
            await endpoints.set_headers(connection, partner.scope, one.id, {"x-key": value}, vault=VAULT)
    await partner.publish()
    await deliver(partner.worker, 2)
    carried = {path: requests[0].headers["x-key"] for path, requests in receiver.received.items()}
    assert carried == {"/hook": "mine", "/other": "theirs"}
    sealed = await partner.owner.fetchval("SELECT headers FROM webhook_endpoints WHERE id = $1", other.id)
    with pytest.raises(CannotOpen):
        endpoints.open_headers(VAULT, sealed, partner_id=partner.id, endpoint_id=endpoint.id)


async def test_a_ping_goes_to_one_endpoint_whatever_it_asked_for(partner: Partner, receiver: Receiver) -> None:
    pinged = await partner.endpoint(receiver.url("/pinged"), ("refund.completed",))
    await partner.endpoint(receiver.url("/all"))
    async with partner.app.as_partner(partner.id) as connection:
        event = published(partner.scope, "ping", {})
        assert await outbox.publish_to(connection, pinged.id, event) is not None
        assert await outbox.publish_to(connection, ids.new(), published(partner.scope, "ping", {})) is None
    await deliver(partner.worker, 1)
    assert receiver.webhook_ids("/pinged") == [ids.encode("evt", event.id)]
    assert not receiver.received["/all"]


# ── Servers that misbehave ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_redirect_is_a_failure_and_is_not_followed(partner: Partner, receiver: Receiver) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook"))
    receiver.scripts["/hook"] = [answering(307, location=receiver.url("/elsewhere"))]
    await partner.publish()
    [result] = await deliver(partner.worker, 1)
    assert (result.status_code, result.error) == (307, "redirects are not followed")
    assert not receiver.received["/elsewhere"]
    assert (await partner.deliveries(endpoint))[0].state is DeliveryState.PENDING


@pytest.mark.parametrize("beginning", [None, b"drip"])
async def test_a_server_that_never_ends_its_answer_fails_at_the_deadline(
    partner: Partner, receiver: Receiver, beginning: bytes | None
) -> None:
    await partner.endpoint(receiver.url("/hook"))
    receiver.scripts["/hook"] = [receiver.never(after=beginning)]
    await partner.publish()
    [result] = await deliver(partner.worker, 1, poster=Poster(LOOPBACK, deadline_seconds=0.2))
    assert result.error == "no whole answer within 0.2 seconds"
    assert (result.state, result.counts, result.status_code) == (DeliveryState.PENDING, True, None)


async def test_a_huge_answer_is_cut_and_counts_by_its_status(partner: Partner, receiver: Receiver) -> None:
    await partner.endpoint(receiver.url("/hook"))
    receiver.scripts["/hook"] = [answering(200, b"x" * 10_000_000)]
    await partner.publish()
    [result] = await deliver(partner.worker, 1)
    assert (result.state, result.response_excerpt) == (DeliveryState.DELIVERED, "x" * 1024)


async def test_a_compressed_answer_is_not_unpacked(partner: Partner, receiver: Receiver) -> None:
    await partner.endpoint(receiver.url("/hook"))
    receiver.scripts["/hook"] = [answering(200, b"\x1f\x8b\x00not gzip at all", content_encoding="gzip")]
    await partner.publish()
    [result] = await deliver(partner.worker, 1)
    assert result.state is DeliveryState.DELIVERED


async def test_what_is_not_http_is_a_failure(partner: Partner) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        await partner.endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        await partner.publish()
        [result] = await deliver(partner.worker, 1)
    assert result.counts
    assert result.error in ("the answer is not valid HTTP", "the connection was closed before a whole answer")


async def test_a_closed_port_is_a_failure_of_the_endpoint(partner: Partner) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        await partner.endpoint(f"http://127.0.0.1:{closed.getsockname()[1]}/")
        await partner.publish()
        [result] = await deliver(partner.worker, 1)
    assert (result.error, result.counts) == ("cannot connect: ECONNREFUSED", True)


async def test_retry_after_postpones_the_next_try(partner: Partner, receiver: Receiver) -> None:
    await partner.endpoint(receiver.url("/hook"))
    receiver.scripts["/hook"] = [answering(429, retry_after="600")]
    await partner.publish()
    [result] = await deliver(partner.worker, 1)
    assert result.retry_seconds == 600


async def test_410_disables_the_endpoint_holds_what_waits_and_tells_the_partner(
    partner: Partner, receiver: Receiver
) -> None:
    gone = await partner.endpoint(receiver.url("/gone"))
    receiver.scripts["/gone"] = [answering(410)]
    watching = await partner.endpoint(receiver.url("/watching"), ("endpoint.disabled",))
    transaction = await partner.transaction()
    await partner.publish(transaction, 1)
    await partner.publish(transaction, 2)
    await deliver(partner.worker, 2)

    disabled = await partner.look(gone)
    assert (disabled.state, disabled.disabled_reason) == (EndpointState.DISABLED, "gone")
    assert [delivery.state for delivery in await partner.deliveries(gone)] == [DeliveryState.HELD] * 3
    [told] = receiver.received["/watching"]
    body = standardwebhooks.Webhook(partner.secrets[watching.id]).verify(told.body, told.headers)
    assert body["type"] == "endpoint.disabled"
    assert body["data"] == {"id": ids.encode("whe", gone.id), "reason": "gone"}

    held = await partner.publish(transaction, 3)
    receiver.scripts["/gone"] = [answering(200)]
    async with partner.app.as_partner(partner.id) as connection:
        enabled = await endpoints.enable(connection, partner.scope, gone.id)
    assert enabled is not None
    assert (enabled.state, enabled.disabled_reason, enabled.consecutive_failures) == (EndpointState.ENABLED, None, 0)
    await deliver(partner.worker, 4)
    assert len(receiver.received["/gone"]) == 5
    assert held in receiver.webhook_ids("/gone")
    assert {delivery.state for delivery in await partner.deliveries(gone)} == {DeliveryState.DELIVERED}


# ── Where it may go ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_loopback_is_refused_unless_the_policy_opens_it(partner: Partner, receiver: Receiver) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook"))
    await partner.publish()
    [result] = await deliver(partner.worker, 1, poster=Poster())
    assert (result.error, result.counts) == ("the URL must begin with https://", True)
    assert not receiver.received
    assert len(await partner.attempts((await partner.deliveries(endpoint))[0])) == 1


@dataclass
class Names:
    """A resolver that gives one scripted answer after the other, the last one for ever."""

    answers: list[list[str] | OSError]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for hooks.example.com that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@dataclass
class TlsReceiver:
    port: int
    client: ssl.SSLContext
    names_asked: list[str | None]
    hosts: list[str]

    def poster(self, names: Names, *, networks: tuple[str, ...] = ("127.0.0.1/32",)) -> Poster:
        policy = AddressPolicy(
            extra_ports=frozenset({self.port}),
            extra_networks=tuple(ipaddress.ip_network(network) for network in networks),
        )
        return Poster(policy, look_up=names, tls=self.client, deadline_seconds=5)

    @property
    def url(self) -> str:
        return f"https://hooks.example.com:{self.port}/"


@pytest.fixture
async def tls(certificate: Path) -> AsyncIterator[TlsReceiver]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    asked, hosts = list[str | None](), list[str]()
    server.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        hosts.append(request.headers["host"])
        return web.Response(headers={"connection": "close"})

    async with serving(answer, tls=server) as port:
        yield TlsReceiver(port, ssl.create_default_context(cafile=certificate), asked, hosts)


async def test_the_checked_address_is_dialled_under_the_hosts_own_name(tls: TlsReceiver) -> None:
    names = Names([["127.0.0.1"]])
    async with tls.poster(names) as poster:
        assert await poster.post(tls.url, {}, b"{}") == Answer(200, "", None)
    assert names.asked == tls.names_asked == ["hooks.example.com"]
    assert tls.hosts == [f"hooks.example.com:{tls.port}"]


async def test_a_certificate_for_another_name_fails(tls: TlsReceiver) -> None:
    async with tls.poster(Names([["127.0.0.1"]])) as poster:
        outcome = await poster.post(tls.url.replace("hooks", "other"), {}, b"{}")
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("TLS failed: Hostname mismatch")
    assert not outcome.ours
    assert tls.hosts == []


async def test_a_server_that_speaks_no_tls_fails_like_any_other(tls: TlsReceiver, receiver: Receiver) -> None:
    plain = dataclasses.replace(tls, port=receiver.port)
    async with plain.poster(Names([["127.0.0.1"]])) as poster:
        assert await poster.post(plain.url, {}, b"{}") == Failed("TLS failed: WRONG_VERSION_NUMBER")


async def test_a_name_that_moves_inside_between_two_sends_is_refused(tls: TlsReceiver) -> None:
    names = Names([["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1", "10.0.0.1"], ["::ffff:127.0.0.1"]])
    async with tls.poster(names) as poster:
        assert isinstance(await poster.post(tls.url, {}, b"{}"), Answer)
        for _ in range(3):
            outcome = await poster.post(tls.url, {}, b"{}")
            assert outcome == Failed("the host name resolves to an address that is not public")
    assert len(tls.hosts) == 1


async def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with Poster(LOOPBACK) as poster:
        assert isinstance(await poster.post(receiver.url("/hook"), {}, b"{}"), Answer)


async def test_a_resolver_of_ours_that_is_down_is_told_from_a_name_that_is_wrong(tls: TlsReceiver) -> None:
    down, unknown = socket.gaierror(socket.EAI_AGAIN, "down"), socket.gaierror(socket.EAI_NONAME, "unknown")
    async with tls.poster(Names([down, unknown, down])) as poster:
        assert await poster.post(tls.url, {}, b"{}") == Failed("our name resolution failed", ours=True)
        assert await poster.post(tls.url, {}, b"{}") == Failed("the host name cannot be resolved")
        # It has just answered: now the failure is the name's.
        assert await poster.post(tls.url, {}, b"{}") == Failed("the host name cannot be resolved")


async def test_a_name_without_any_address_cannot_be_resolved(tls: TlsReceiver) -> None:
    async with tls.poster(Names([[]])) as poster:
        assert await poster.post(tls.url, {}, b"{}") == Failed("the host name cannot be resolved")


# ── Order ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_events_of_one_transaction_arrive_in_order(partner: Partner, receiver: Receiver) -> None:
    await partner.endpoint(receiver.url("/hook"))
    transactions = [await partner.transaction() for _ in range(3)]
    sent = {transaction: list[str]() for transaction in transactions}
    for sequence in range(1, 6):
        for transaction in transactions:
            sent[transaction].append(await partner.publish(transaction, sequence))
    await deliver(partner.worker, 15)
    arrived = receiver.webhook_ids("/hook")
    for transaction in transactions:
        assert [event for event in arrived if event in sent[transaction]] == sent[transaction]


async def test_a_later_event_waits_for_the_first_two_tries_of_the_earlier_one(partner: Partner) -> None:
    await partner.endpoint("http://127.0.0.1/")
    transaction = await partner.transaction()
    first, second = [await partner.publish(transaction, sequence) for sequence in (1, 2)]

    def event(claimed: list[ClaimedDelivery]) -> list[str]:
        return [ids.encode("evt", delivery.event_id) for delivery in claimed]

    tried = await claim(partner.worker)
    assert event(tried) == [first]
    assert await claim(partner.worker) == []  # under way
    await record(partner.worker, (tried[0], ERROR))
    assert await claim(partner.worker) == []  # its second try is near
    await partner.owner.execute(
        "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE event_id = $1", tried[0].event_id
    )
    tried = await claim(partner.worker)
    assert event(tried) == [first]
    await record(partner.worker, (tried[0], ERROR))
    assert event(await claim(partner.worker)) == [second]  # the third try is minutes away: the order is given up


async def test_an_event_told_to_come_back_later_does_not_hold_up_the_next(partner: Partner) -> None:
    await partner.endpoint("http://127.0.0.1/")
    transaction = await partner.transaction()
    await partner.publish(transaction, 1)
    second = await partner.publish(transaction, 2)
    [tried] = await claim(partner.worker)
    await record(partner.worker, (tried, Answer(429, "", "3600")))
    assert [ids.encode("evt", delivery.event_id) for delivery in await claim(partner.worker)] == [second]


# ── Leases, crashes, bounds ─────────────────────────────────────────────────────────────────────────────────────


async def test_two_deliverers_send_each_event_once(partner: Partner, receiver: Receiver) -> None:
    await partner.endpoint(receiver.url("/hook"))
    sent = [await partner.publish() for _ in range(60)]
    await deliver(partner.worker, 60, deliverers=2)
    assert sorted(receiver.webhook_ids("/hook")) == sorted(sent)


async def test_concurrent_claims_never_take_the_same_delivery(partner: Partner) -> None:
    await partner.endpoint("http://127.0.0.1/")
    for _ in range(40):
        await partner.publish()
    claims = await asyncio.gather(*(claim(partner.worker, limit=10, each=100) for _ in range(8)))
    taken = [delivery.id for claimed in claims for delivery in claimed]
    assert len(taken) == len(set(taken))


async def test_a_crash_between_post_and_record_sends_it_again_with_the_same_id(
    partner: Partner, receiver: Receiver
) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook"))
    event_id = await partner.publish()
    [claimed] = await claim(partner.worker)
    async with Poster(LOOPBACK) as poster:
        await poster.post(claimed.url, {"webhook-id": event_id}, b"{}")  # and then the process dies

    assert await claim(partner.worker) == []
    await partner.time_passes()
    await deliver(partner.worker, 1)
    assert receiver.webhook_ids("/hook") == [event_id, event_id]
    [delivery] = await partner.deliveries(endpoint)
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)
    assert [attempt.number for attempt in await partner.attempts(delivery)] == [2]


async def test_a_process_that_lost_its_lease_cannot_record(partner: Partner) -> None:
    endpoint = await partner.endpoint("http://127.0.0.1/")
    await partner.publish()
    [lost] = await claim(partner.worker)
    await partner.time_passes()
    [held] = await claim(partner.worker)
    assert (await record(partner.worker, (lost, OK))).fenced == 1
    assert (await partner.deliveries(endpoint))[0].state is DeliveryState.PENDING
    assert (await record(partner.worker, (held, ERROR))).fenced == 0
    assert (await record(partner.worker, (held, OK))).fenced == 1, "a result counts once"
    assert (await partner.look(endpoint)).consecutive_failures == 1


async def test_a_delivery_that_kills_its_process_every_time_ends_as_exhausted(partner: Partner) -> None:
    endpoint = await partner.endpoint("http://127.0.0.1/")
    await partner.publish()
    for tries in range(1, 11):
        [claimed] = await claim(partner.worker)
        assert claimed.attempts == tries
        await partner.time_passes()
    assert await claim(partner.worker) == []
    assert (await partner.deliveries(endpoint))[0].state is DeliveryState.EXHAUSTED


async def test_a_crashed_try_waits_as_a_failed_one_would(partner: Partner) -> None:
    endpoint = await partner.endpoint("http://127.0.0.1/")
    await partner.publish()
    for pause in (60, 300, 1800):
        await claim(partner.worker)
        [delivery] = await partner.deliveries(endpoint)
        assert delivery.next_attempt_at is not None
        assert abs((delivery.next_attempt_at - datetime.now(UTC)).total_seconds() - pause) < 5
        await partner.time_passes()


async def test_after_ten_failures_a_delivery_is_exhausted_and_a_retry_begins_anew(partner: Partner) -> None:
    endpoint = await partner.endpoint("http://127.0.0.1/")
    await partner.publish()
    for _ in range(10):
        [claimed] = await claim(partner.worker)
        await record(partner.worker, (claimed, ERROR))
        await partner.time_passes()
    [delivery] = await partner.deliveries(endpoint)
    assert (delivery.state, delivery.attempts) == (DeliveryState.EXHAUSTED, 10)
    assert [attempt.number for attempt in await partner.attempts(delivery)] == list(range(1, 11))

    async with partner.app.as_partner(partner.id) as connection:
        retried = await outbox.retry(connection, partner.scope, delivery.id)
    assert retried is not None
    assert (retried.state, retried.attempts) == (DeliveryState.PENDING, 0)
    [claimed] = await claim(partner.worker)
    await record(partner.worker, (claimed, OK))
    assert (await partner.attempts(delivery))[-1].number == 11


async def test_our_own_failures_use_up_no_try_and_blame_nobody(partner: Partner) -> None:
    endpoint = await partner.endpoint("http://127.0.0.1/")
    await partner.publish()
    [claimed] = await claim(partner.worker)
    await record(partner.worker, (claimed, Failed("our name resolution failed", ours=True)))
    [delivery] = await partner.deliveries(endpoint)
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 0)
    assert await partner.attempts(delivery) == []
    assert (await partner.look(endpoint)).consecutive_failures == 0


async def test_one_endpoint_cannot_fill_a_batch(partner: Partner) -> None:
    busy = await partner.endpoint("http://127.0.0.1/", ("transaction.completed",))
    for _ in range(30):
        await partner.publish()
    other = await partner.endpoint("http://127.0.0.1/", ("transaction.completed",))
    await partner.publish()
    claimed = await claim(partner.worker, limit=10, each=4)
    assert sorted(delivery.endpoint_id for delivery in claimed) == sorted([*[busy.id] * 4, other.id])


async def test_every_queue_gives_its_first_before_any_gives_its_second(partner: Partner) -> None:
    hooks = [await partner.endpoint("http://127.0.0.1/") for _ in range(5)]
    for _ in range(3):
        await partner.publish()
    for _ in range(3):
        claimed = await claim(partner.worker, limit=5)
        assert {delivery.endpoint_id for delivery in claimed} == {endpoint.id for endpoint in hooks}


async def test_a_rate_limit_holds_for_all_workers_together(partner: Partner) -> None:
    limited = await partner.endpoint("http://127.0.0.1/")
    await partner.owner.execute("UPDATE webhook_endpoints SET rate_limit_per_second = 20 WHERE id = $1", limited.id)
    before = await partner.look(limited)
    for _ in range(10):
        await partner.publish()
    claims = await asyncio.gather(*(claim(partner.worker) for _ in range(4)))
    assert sum(len(claimed) for claimed in claims) == 2, "a tenth of a second's worth"
    assert await claim(partner.worker) == [], "the next is due after a twentieth of a second"
    assert (await partner.look(limited)).updated_at == before.updated_at
    for passed, allowed in ((0.05, 1), (10, 2)):
        await partner.owner.execute(
            "UPDATE webhook_endpoints SET paced_until = paced_until - make_interval(secs => $2) WHERE id = $1",
            limited.id,
            passed,
        )
        # What was claimed runs ahead of the clock, so time that passes while this test runs can only add.
        assert len(await claim(partner.worker)) >= allowed


async def test_live_events_go_before_replayed_ones_and_do_not_wait_for_them(partner: Partner) -> None:
    await partner.endpoint("http://127.0.0.1/")
    transaction = await partner.transaction()
    replayed = [await partner.publish(transaction, sequence) for sequence in (1, 2)]
    await partner.owner.execute(
        "UPDATE webhook_deliveries SET replay_id = $2 WHERE partner_id = $1", partner.id, ids.new()
    )
    live = await partner.publish(transaction, 3)
    [first] = await claim(partner.worker, limit=1)
    assert ids.encode("evt", first.event_id) == live
    [second] = await claim(partner.worker)
    assert ids.encode("evt", second.event_id) == replayed[0], "and a replay keeps its own order"


async def test_an_endpoint_that_failed_for_a_day_is_probed_and_enabled_when_it_is_back(
    partner: Partner, receiver: Receiver
) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook"), ("transaction.completed",))
    await partner.endpoint(receiver.url("/watching"), ("endpoint.enabled",))
    sent = [await partner.publish() for _ in range(11)]
    await partner.owner.execute(
        "UPDATE webhook_endpoints SET consecutive_failures = 9, failing_since = now() - interval '25 hours'"
        " WHERE id = $1",
        endpoint.id,
    )
    receiver.scripts["/hook"] = [answering(500)]
    await record(partner.worker, *((delivery, ERROR) for delivery in await claim(partner.worker)))
    assert (await partner.look(endpoint)).state is EndpointState.DISABLED
    assert await probe(partner.worker) == [], "an hour has not passed"

    await partner.owner.execute("UPDATE webhook_endpoints SET probe_at = now() WHERE id = $1", endpoint.id)
    [probed] = await probe(partner.worker)
    assert ids.encode("evt", probed.event_id) == sent[0]
    assert await probe(partner.worker) == []
    await record(partner.worker, (probed, ERROR))
    assert (await partner.look(endpoint)).state is EndpointState.DISABLED
    assert {one.state for one in await partner.deliveries(endpoint)} == {DeliveryState.HELD}
    pause = await partner.owner.fetchval(
        "SELECT round(extract(epoch FROM probe_at - now()) / 3600) FROM webhook_endpoints WHERE id = $1", endpoint.id
    )
    assert pause == 1, "then two, four, … hours"

    receiver.scripts["/hook"] = [answering(200)]
    await partner.owner.execute("UPDATE webhook_endpoints SET probe_at = now() WHERE id = $1", endpoint.id)
    await deliver(partner.worker, len(sent) + 1)
    assert (await partner.look(endpoint)).state is EndpointState.ENABLED
    assert sorted(receiver.webhook_ids("/hook")) == sorted(sent)
    [told] = receiver.received["/watching"]
    assert json.loads(told.body)["type"] == "endpoint.enabled"


async def test_who_switched_an_endpoint_off_is_not_overruled_by_a_probe(partner: Partner) -> None:
    for reason in ("by request", "gone"):
        endpoint = await partner.endpoint("http://127.0.0.1/")
        await partner.publish()
        async with partner.app.as_partner(partner.id) as connection:
            await endpoints.disable(connection, partner.scope, endpoint.id, reason=reason)
    assert await probe(partner.worker) == []


async def test_ten_failures_over_a_day_disable_an_endpoint_and_a_success_clears_them(partner: Partner) -> None:
    endpoint = await partner.endpoint("http://127.0.0.1/")

    async def fail(times: int, outcome: Answer | Failed = ERROR) -> deliveries.Recorded:
        for _ in range(times):
            await partner.publish()
        claimed = await claim(partner.worker)
        return await record(partner.worker, *((delivery, outcome) for delivery in claimed))

    assert not (await fail(12)).changed, "volume without time"
    await partner.owner.execute(
        "UPDATE webhook_endpoints SET failing_since = now() - interval '25 hours' WHERE id = $1", endpoint.id
    )
    await fail(1, OK)
    looked = await partner.look(endpoint)
    assert (looked.consecutive_failures, looked.failing_since) == (0, None)
    assert not (await fail(9)).changed
    await partner.owner.execute(
        "UPDATE webhook_endpoints SET failing_since = now() - interval '25 hours' WHERE id = $1", endpoint.id
    )
    [disabled] = (await fail(1)).changed
    assert (disabled.id, disabled.state, disabled.disabled_reason) == (endpoint.id, EndpointState.DISABLED, "failing")
    assert {delivery.state for delivery in await partner.deliveries(endpoint)} == {
        DeliveryState.HELD,
        DeliveryState.DELIVERED,
    }


async def test_an_event_published_while_its_endpoint_changes_is_neither_lost_nor_stuck(partner: Partner) -> None:
    endpoint = await partner.endpoint("http://127.0.0.1/")
    await partner.publish()
    # As if the publishing transaction had not seen the change.
    await partner.owner.execute("UPDATE webhook_endpoints SET state = 'disabled' WHERE id = $1", endpoint.id)
    assert await claim(partner.worker) == []
    assert (await partner.deliveries(endpoint))[0].state is DeliveryState.HELD
    await partner.owner.execute("UPDATE webhook_endpoints SET state = 'enabled' WHERE id = $1", endpoint.id)
    async with partner.worker.as_system() as connection:
        assert await deliveries.release(connection, 10) == 1
    assert len(await claim(partner.worker)) == 1


# ── Endpoints ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_waits_for_a_deleted_endpoint_is_cancelled(partner: Partner, receiver: Receiver) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook"))
    await partner.publish()
    [in_flight] = await claim(partner.worker)
    await partner.publish()
    async with partner.app.as_partner(partner.id) as connection:
        assert await endpoints.delete(connection, partner.scope, endpoint.id)
        assert not await endpoints.delete(connection, partner.scope, endpoint.id)
        assert await endpoints.get(connection, partner.scope, endpoint.id) is None
    await record(partner.worker, (in_flight, OK))  # the history tells that this one arrived
    await partner.publish()
    assert await claim(partner.worker) == []
    states = await partner.owner.fetch(
        "SELECT state::text FROM webhook_deliveries WHERE endpoint_id = $1 ORDER BY created_at", endpoint.id
    )
    assert [row["state"] for row in states] == ["delivered", "cancelled"]


async def test_a_disabled_endpoint_hears_nothing_until_it_is_enabled(partner: Partner) -> None:
    endpoint = await partner.endpoint("http://127.0.0.1/")
    await partner.publish()
    async with partner.app.as_partner(partner.id) as connection:
        disabled = await endpoints.disable(connection, partner.scope, endpoint.id, reason="by request")
    assert disabled is not None
    assert disabled.disabled_reason == "by request"
    await partner.publish()
    assert await claim(partner.worker) == []
    [first, second] = await partner.deliveries(endpoint)
    assert first.state is second.state is DeliveryState.HELD
    async with partner.app.as_partner(partner.id) as connection:
        held = await outbox.retry(connection, partner.scope, first.id)
        assert held is not None
        assert held.state is DeliveryState.HELD
        await endpoints.enable(connection, partner.scope, endpoint.id)
    assert len(await claim(partner.worker)) == 2


async def test_endpoints_are_listed_newest_first_and_changed_by_their_partner_alone(
    partner: Partner, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    made = [await partner.endpoint(f"https://example.com/{number}") for number in range(3)]
    live = Scope(partner.id, livemode=True)
    stranger = Scope(ids.new(), livemode=False)
    async with partner.app.as_partner(partner.id) as connection:
        newest = await endpoints.page(connection, partner.scope, before=None, limit=2)
        rest = await endpoints.page(connection, partner.scope, before=newest[-1].id, limit=2)
        assert [endpoint.id for endpoint in [*newest, *rest]] == sorted(
            (endpoint.id for endpoint in made), reverse=True
        )
        assert await endpoints.page(connection, live, before=None, limit=2) == []
        assert await endpoints.get(connection, live, made[0].id) is None
        changed = await endpoints.update(connection, dataclasses.replace(made[0], event_types=["ping"]))
        assert changed is not None
        assert changed.event_types == ["ping"]
        assert await endpoints.update(connection, dataclasses.replace(made[0], livemode=True)) is None
    async with partner.app.as_partner(stranger.partner_id) as connection:
        assert await endpoints.get(connection, partner.scope, made[0].id) is None
        assert not await endpoints.delete(connection, partner.scope, made[0].id)
        assert await endpoints.page(connection, partner.scope, before=None, limit=9) == []


async def test_a_secret_is_sealed_and_opens_for_its_own_endpoint_only(partner: Partner) -> None:
    endpoint = await partner.endpoint("https://example.com/")
    sealed = await partner.owner.fetchval("SELECT secret FROM webhook_endpoints WHERE id = $1", endpoint.id)
    secret = partner.secrets[endpoint.id]
    assert secret.encode() not in sealed
    assert endpoints.open_secret(VAULT, sealed, partner_id=partner.id, endpoint_id=endpoint.id) == secret
    with pytest.raises(CannotOpen):
        endpoints.open_secret(VAULT, sealed, partner_id=partner.id, endpoint_id=ids.new())


async def test_deliveries_are_found_by_transaction_and_the_backlog_is_measured(partner: Partner) -> None:
    endpoint = await partner.endpoint("https://example.com/")
    transaction = await partner.transaction()
    for sequence in (1, 2):
        await partner.publish(transaction, sequence)
    async with partner.app.as_partner(partner.id) as connection:
        found = await outbox.of_transaction(connection, partner.id, transaction)
        assert [delivery.sequence for delivery in found] == [1, 2]
        assert await outbox.get(connection, partner.scope, found[0].id) == found[0]
        assert await outbox.get(connection, Scope(partner.id, livemode=True), found[0].id) is None
        newest = await outbox.page(connection, partner.scope, endpoint.id, before=None, limit=1)
        rest = await outbox.page(connection, partner.scope, endpoint.id, before=newest[0].id, limit=9)
        assert [*newest, *rest] == sorted(found, key=lambda delivery: delivery.id, reverse=True)
    await partner.time_passes()
    async with partner.worker.as_system() as connection:
        due, age = await outbox.backlog(connection)
    assert due == 2
    assert age >= 1


# ── The loop ────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def running(worker: Database, poster: Poster, limits: Limits) -> AsyncIterator[Deliverer]:
    stop = asyncio.Event()
    async with poster:
        deliverer = Deliverer(worker, VAULT, poster, announce=announce, limits=limits)
        loop = asyncio.create_task(deliverer.run(stop))
        try:
            yield deliverer
        finally:
            stop.set()
            await asyncio.wait_for(loop, WAIT_SECONDS)


async def test_an_event_that_is_announced_goes_out_without_waiting_for_the_poll(
    partner: Partner, receiver: Receiver
) -> None:
    arrived = asyncio.Event()

    async def arrive(_request: web.BaseRequest) -> web.StreamResponse:
        arrived.set()
        return web.Response()

    receiver.scripts["/hook"] = [arrive]
    await partner.endpoint(receiver.url("/hook"))
    hourly = Limits(poll_min_seconds=3600, poll_max_seconds=3600)
    async with running(partner.worker, Poster(LOOPBACK), hourly) as deliverer:
        await partner.publish()
        deliverer.wake()
        await asyncio.wait_for(arrived.wait(), WAIT_SECONDS)


async def test_a_database_that_goes_away_does_not_end_the_loop(
    partner: Partner, receiver: Receiver, database_url: str
) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook"))
    asked, release = asyncio.Semaphore(0), asyncio.Event()

    async def wait(_request: web.BaseRequest) -> web.StreamResponse:
        asked.release()
        await release.wait()
        return web.Response()

    receiver.scripts["/hook"] = [wait]
    worker = await Database.open(database_url, Role.WORKER, pool_max=1)
    async with worker.as_system() as connection:
        backend = await connection.fetchval("SELECT pg_backend_pid()")
    sent = [await partner.publish()]
    async with running(worker, Poster(LOOPBACK), Limits(poll_max_seconds=0.05)):
        await asyncio.wait_for(asked.acquire(), WAIT_SECONDS)
        await partner.owner.execute("SELECT pg_terminate_backend($1)", backend)
        release.set()
        sent.append(await partner.publish())
        await asyncio.wait_for(asked.acquire(), WAIT_SECONDS)
    await worker.close()
    assert receiver.webhook_ids("/hook") == sent
    assert {delivery.state for delivery in await partner.deliveries(endpoint)} == {DeliveryState.DELIVERED}


async def test_what_cannot_be_recorded_holds_up_what_is_due(partner: Partner, receiver: Receiver) -> None:
    """Memory stays bounded, and no lease runs out over what was sent long ago."""
    endpoint = await partner.endpoint(receiver.url("/hook"))
    sent = [await partner.publish() for _ in range(4)]
    async with Poster(LOOPBACK) as poster:
        deliverer = Deliverer(partner.worker, VAULT, poster, announce=announce, limits=Limits(in_flight_max=2))
        await deliverer._claim()
        await asyncio.gather(*deliverer._tries)
        deliverer.wake()
        await deliverer._claim()
        await asyncio.gather(*deliverer._tries)
        assert len(receiver.webhook_ids("/hook")) == 2
        await deliverer._record()
        await deliverer._claim()
        await asyncio.gather(*deliverer._tries)
        await deliverer._record()
    assert sorted(receiver.webhook_ids("/hook")) == sorted(sent)
    assert {delivery.state for delivery in await partner.deliveries(endpoint)} == {DeliveryState.DELIVERED}


async def test_a_stop_cuts_off_what_takes_too_long_and_leaves_it_leased(partner: Partner, receiver: Receiver) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook"))
    asked = asyncio.Event()

    async def wait(_request: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        return await receiver.never()(_request)

    receiver.scripts["/hook"] = [wait]
    await partner.publish()
    async with running(partner.worker, Poster(LOOPBACK), Limits(stop_seconds=0.05)):
        await asyncio.wait_for(asked.wait(), WAIT_SECONDS)
    [delivery] = await partner.deliveries(endpoint)
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 1)
    assert await claim(partner.worker) == []


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level("DEBUG", logger="paygate.webhooks"):
        yield caplog


async def test_logs_name_endpoint_and_delivery_and_tell_nothing_secret(
    partner: Partner, receiver: Receiver, records: pytest.LogCaptureFixture
) -> None:
    endpoint = await partner.endpoint(receiver.url("/hook?token=hush"))
    receiver.scripts["/hook"] = [answering(500, "answer-body")]
    await partner.publish()
    await deliver(partner.worker, 1)
    [logged] = [entry for entry in records.records if entry.name == "paygate.webhooks"]
    shown = str(logged.__dict__)
    assert ids.encode("whe", endpoint.id) in shown
    assert "500" in shown
    for secret in ("hush", "answer-body", "19.99", partner.secrets[endpoint.id], "127.0.0.1"):
        assert secret not in shown
