"""Promise: no webhook connects to the inside, whatever its URL, its name's answers, redirects or the environment say.

Every case is tried where an endpoint is made and where a webhook is sent. The resolver here sends every name to a trap
on loopback, and every socket that connects anywhere is written down: what is let through is seen, wherever it goes.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests import inside
from tests.acceptance.steps import refused
from tests.house import House, Partner, serve
from webhooks import addresses
from webhooks.addresses import AddressPolicy
from webhooks.posting import Answer, Failed, Poster

PUBLIC = ("93.184.216.34", "2606:4700:4700::1111")
NOT_PUBLIC = Failed("the host name resolves to an address that is not public")
REFUSALS = ("the URL", "the host name resolves")


class Names:
    """A resolver that gives one answer after the other, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@dataclass
class Dials:
    """Every internet address that a socket of this process connects to while it is on."""

    on: bool = False
    made: list[str] = field(default_factory=list)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event == "socket.connect" and isinstance(arguments[1], tuple):
            self.made.append(arguments[1][0])


_DIALS = Dials()
sys.addaudithook(_DIALS.hear)  # for good: Python takes none back


@pytest.fixture
def dials() -> Iterator[list[str]]:
    _DIALS.on, _DIALS.made = True, []
    yield _DIALS.made
    _DIALS.on = False


@dataclass
class Trap:
    """Somebody listens where nothing may arrive."""

    port: int = 0
    came: list[Request] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.came.append(request)
        status = int(request.query_params.get("status", "200"))
        return Response(status_code=status, headers={"location": f"http://127.0.0.1:{self.port}/followed"})


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    trap = Trap()
    async with AsyncExitStack() as stack:
        app = Starlette(routes=[Route("/{rest:path}", trap.answer, methods=["GET", "HEAD", "POST", "CONNECT"])])
        trap.port = int((await serve(stack, app)).rpartition(":")[2])
        yield trap


PLACES = ("https://{}", "https://{}:443/hook?x=1", "https://{}:<trap>/", "http://{}:<trap>/")


def urls(family: str, trap: Trap, *places: str) -> list[str]:
    """A host of the family in each of the places; the trap's port is an allowed one where something is sent."""
    if family in inside.URLS:
        return list(inside.URLS[family])
    told = [place.replace("<trap>", str(trap.port)) for place in places]
    return [place.format(host) for host in inside.HOSTS[family] for place in told]


async def test_the_trap_is_reached_where_it_is_allowed(trap: Trap, dials: list[str]) -> None:
    names = Names(["127.0.0.1"])
    async with Poster(AddressPolicy(allow_loopback_http=True), look_up=names) as poster:
        for host in ("127.0.0.1", "localhost"):
            assert isinstance(await poster.post(f"http://{host}:{trap.port}/", {}, b"{}"), Answer)
    own = AddressPolicy(extra_ports=frozenset({trap.port}), extra_networks=(ipaddress.ip_network("127.0.0.1/32"),))
    async with Poster(own, look_up=names) as poster:
        outcome = await poster.post(f"https://hooks.example.com:{trap.port}/", {}, b"{}")
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("TLS failed")  # it was connected
    assert len(trap.came) == 2
    assert dials == ["127.0.0.1"] * 3


@pytest.mark.parametrize("family", [*inside.HOSTS, *inside.URLS])
async def test_no_spelling_is_sent_to(trap: Trap, dials: list[str], family: str) -> None:
    names = Names(["127.0.0.1"])
    async with Poster(AddressPolicy(extra_ports=frozenset({trap.port})), look_up=names) as poster:
        for url in urls(family, trap, *PLACES):
            outcome = await poster.post(url, {}, b"{}")
            assert isinstance(outcome, Failed), url
            assert outcome.reason.startswith(REFUSALS), url
            assert not outcome.ours
    assert (names.asked, dials, trap.came) == ([], [], [])


@pytest.mark.parametrize("public", [(), PUBLIC], ids=["alone", "among public ones"])
async def test_no_name_is_sent_to_that_resolves_to_the_inside(dials: list[str], public: tuple[str, ...]) -> None:
    answers = [
        [*public[:place], address, *public[place:]] for address in inside.ADDRESSES for place in range(len(public) + 1)
    ]
    names = Names(*answers)
    async with Poster(look_up=names) as poster:
        for answer in answers:
            assert await poster.post("https://hooks.example.com/", {}, b"{}") == NOT_PUBLIC, answer
    assert len(names.asked) == len(answers)
    assert dials == []


@dataclass(frozen=True, slots=True)
class Registering:
    """A partner whose endpoints are checked as in production, against a resolver of the test's."""

    house: House
    partner: Partner
    patch: pytest.MonkeyPatch

    def resolve(self, names: Names) -> Names:
        self.patch.setattr(self.house.runtime, "look_up", names)
        return names


@pytest.fixture
async def registering(shared_house: House, monkeypatch: pytest.MonkeyPatch) -> Registering:
    monkeypatch.setattr(shared_house.runtime, "address_policy", addresses.STRICT)
    return Registering(shared_house, await shared_house.partner(), monkeypatch)


@pytest.mark.parametrize("family", [*inside.HOSTS, *inside.URLS])
async def test_no_spelling_can_be_registered(registering: Registering, trap: Trap, family: str) -> None:
    names = registering.resolve(Names(["127.0.0.1"]))
    for url in urls(family, trap, "https://{}/hook"):
        answer = await registering.partner.post("/v1/webhook-endpoints", {"url": url})
        refused(answer, 422, "invalid_request", "url")
    assert (names.asked, trap.came) == ([], [])


async def test_no_name_can_be_registered_that_resolves_to_the_inside(registering: Registering) -> None:
    for address in inside.ADDRESSES:
        names = registering.resolve(Names([PUBLIC[0], address, PUBLIC[1]]))
        answer = await registering.partner.post("/v1/webhook-endpoints", {"url": "https://hooks.example.com/"})
        refused(answer, 422, "invalid_request", "url")
        assert names.asked == ["hooks.example.com"]


async def test_an_endpoint_cannot_be_moved_inside(registering: Registering) -> None:
    registering.resolve(Names([PUBLIC[0]], ["127.0.0.1"]))
    made = await registering.partner.post("/v1/webhook-endpoints", {"url": "https://hooks.example.com/"})
    assert made.status_code == 201, made.text
    for url in ("https://moved.example.com/", "https://127.0.0.1/"):
        answer = await registering.partner.client.patch(f"/v1/webhook-endpoints/{made.json()['id']}", json={"url": url})
        refused(answer, 422, "invalid_request", "url")


@pytest.fixture
def half_open(trap: Trap) -> AddressPolicy:
    """127.0.0.1 stands for a public address here, 127.0.0.2 for the inside: the dials tell whether it is called."""
    return AddressPolicy(extra_ports=frozenset({trap.port}), extra_networks=(ipaddress.ip_network("127.0.0.1/32"),))


async def test_a_name_that_moves_between_check_and_dial_is_dialled_where_it_was_checked(
    half_open: AddressPolicy, trap: Trap, dials: list[str]
) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    async with Poster(half_open, look_up=names) as poster:
        outcome = await poster.post(f"https://hooks.example.com:{trap.port}/", {}, b"{}")
        assert outcome != NOT_PUBLIC
        assert (names.asked, dials) == (["hooks.example.com"], ["127.0.0.1"])
        assert await poster.post(f"https://hooks.example.com:{trap.port}/", {}, b"{}") == NOT_PUBLIC
    assert dials == ["127.0.0.1"]


async def test_a_name_that_was_inside_at_the_check_is_not_dialled_though_it_has_moved_out(
    half_open: AddressPolicy, trap: Trap, dials: list[str]
) -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    async with Poster(half_open, look_up=names) as poster:
        assert await poster.post(f"https://hooks.example.com:{trap.port}/", {}, b"{}") == NOT_PUBLIC
    assert (names.asked, dials) == (["hooks.example.com"], [])


async def test_a_name_that_was_public_when_registered_is_checked_again_at_each_send(
    registering: Registering, dials: list[str]
) -> None:
    names = registering.resolve(Names([PUBLIC[0]], ["127.0.0.1"]))
    made = await registering.partner.post("/v1/webhook-endpoints", {"url": "https://hooks.example.com/"})
    assert made.status_code == 201, made.text
    dials.clear()  # the client's own
    async with Poster(look_up=names) as poster:
        assert await poster.post(made.json()["url"], {}, b"{}") == NOT_PUBLIC
    assert dials == []


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 306, 307, 308])
async def test_no_redirect_is_followed(trap: Trap, dials: list[str], status: int) -> None:
    async with Poster(AddressPolicy(allow_loopback_http=True), look_up=Names(["127.0.0.1"])) as poster:
        outcome = await poster.post(f"http://127.0.0.1:{trap.port}/?status={status}", {}, b"{}")
    assert isinstance(outcome, Answer)
    assert outcome.status == status
    assert (len(trap.came), dials) == (1, ["127.0.0.1"])


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    trap: Trap, dials: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    proxy = "127.0.0.3"  # dialled by nobody else
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY"):
        monkeypatch.setenv(name, f"http://{proxy}:{trap.port}")
        monkeypatch.setenv(name.lower(), f"http://{proxy}:{trap.port}")
    monkeypatch.setenv("NO_PROXY", "*.invalid")
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("default login somebody password secret\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    own = AddressPolicy(
        allow_loopback_http=True,
        extra_ports=frozenset({trap.port}),
        extra_networks=(ipaddress.ip_network("127.0.0.1/32"),),
    )
    async with Poster(own, look_up=Names(["127.0.0.1"])) as poster:
        assert isinstance(await poster.post(f"http://127.0.0.1:{trap.port}/", {}, b"{}"), Answer)
        await poster.post(f"https://hooks.example.com:{trap.port}/", {}, b"{}")
    assert dials == ["127.0.0.1", "127.0.0.1"]
    [request] = trap.came
    assert "authorization" not in request.headers
    assert "proxy-authorization" not in request.headers


async def test_an_exception_for_every_proxy_opens_nothing(
    trap: Trap, dials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    async with Poster(look_up=Names(["127.0.0.1"])) as poster:
        assert await poster.post("https://hooks.example.com/", {}, b"{}") == NOT_PUBLIC
    assert (dials, trap.came) == ([], [])
