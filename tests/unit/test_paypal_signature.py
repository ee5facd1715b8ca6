"""Which notifications are PayPal's, and where a certificate may come from."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import PurePosixPath

import httpx
import pytest
from cryptography import x509

from providers import contract, http, paypal_signature
from providers.contract import CannotVerify, Forged
from providers.paypal_session import Session
from providers.paypal_signature import Notary, Transmission, Trust
from providers.simulator.paypal_signer import Signer, shared

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
BODY = b'{"id": "WH-1",  "event_type": "X"}'
SANDBOX = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"
TRUST = Trust(webhook_id="WEBHOOK1", livemode=False)


class Answers:
    """PayPal below httpx: serves certificates and verdicts, and counts."""

    def __init__(self, certificate: bytes = b"", *, status: int = 200, verdict: object = "SUCCESS") -> None:
        self.certificate = certificate
        self.status = status
        self.verdict = verdict
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        match PurePosixPath(request.url.path).name:
            case "token":
                return httpx.Response(200, json={"access_token": "A21", "expires_in": 9})
            case "verify-webhook-signature":
                return httpx.Response(self.status, json={"verification_status": self.verdict})
            case _:
                return httpx.Response(self.status, content=self.certificate)


def notary(answers: Answers, trust: Trust = TRUST) -> Notary:
    doorway = http.Doorway(transport=httpx.MockTransport(answers))
    return Notary(Session(doorway, "https://paypal.test", client_id="c", client_secret="s"), trust)


def signed(
    signer: Signer | None = None, *, url: str = SANDBOX, at: float = NOW, webhook_id: str = "WEBHOOK1"
) -> dict[str, str]:
    made = (signer or shared()).headers(BODY, webhook_id, url, at)
    return {name.lower(): value for name, value in made.items()}


async def test_a_genuine_one_is_accepted_and_its_certificate_fetched_once() -> None:
    answers = Answers(shared().certificate)
    verifier = notary(answers)
    for _ in range(3):
        await verifier.verify(signed(), BODY, now=NOW)

    assert [str(request.url) for request in answers.requests] == [SANDBOX]
    assert "authorization" not in answers.requests[0].headers


@pytest.mark.parametrize(("age", "right"), [(0, True), (-299, True), (-301, False), (259_200, True), (262_801, False)])
async def test_its_time_is_within_what_paypal_needs_to_send_again(age: float, *, right: bool) -> None:
    verifier, headers = notary(Answers(shared().certificate)), signed(at=NOW - age)
    if right:
        await verifier.verify(headers, BODY, now=NOW)
    else:
        with pytest.raises(Forged):
            await verifier.verify(headers, BODY, now=NOW)


@pytest.mark.parametrize("told", ["", "yesterday", "2026-11-20T12:00:00", "2026-11-20", "12:00Z"])
async def test_a_time_that_is_none_is_refused(told: str) -> None:
    with pytest.raises(Forged):
        await notary(Answers(shared().certificate)).verify(signed() | {"paypal-transmission-time": told}, BODY, now=NOW)


@pytest.mark.parametrize(
    "name",
    [
        "paypal-transmission-id",
        "paypal-transmission-time",
        "paypal-transmission-sig",
        "paypal-cert-url",
        "paypal-auth-algo",
    ],
)
async def test_every_header_is_needed(name: str) -> None:
    answers = Answers(shared().certificate)
    for headers in (signed() | {name: ""}, signed() | {name: "SHA1withRSA"}):
        with pytest.raises(Forged):
            await notary(answers).verify(headers, BODY, now=NOW)


async def test_one_for_another_endpoint_is_refused() -> None:
    with pytest.raises(Forged):
        await notary(Answers(shared().certificate)).verify(signed(webhook_id="WEBHOOK2"), BODY, now=NOW)


async def test_a_signature_spelled_another_way_is_refused() -> None:
    headers = signed()
    signature = headers["paypal-transmission-sig"]
    assert signature.endswith("==")
    other = signature[:-3] + chr(ord(signature[-3]) + 1) + "=="  # the same bytes: base64 leaves four bits unused

    with pytest.raises(Forged):
        await notary(Answers(shared().certificate)).verify(headers | {"paypal-transmission-sig": other}, BODY, now=NOW)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.sandbox.paypal.com/cert",
        "https://api.sandbox.paypal.com.evil.test/cert",
        "https://evil.test/api.sandbox.paypal.com",
        "https://evil.test#api.sandbox.paypal.com",
        "https://evil.test\\@api.sandbox.paypal.com/cert",
        "https://api.sandbox.paypal.com@evil.test/cert",
        "https://user:pass@api.sandbox.paypal.com/cert",
        "https://api.sandbox.paypal.com:8443/cert",
        "https://API.sandbox.paypal.com/cert",
        "https://api.paypal.com/cert",
        "https://127.0.0.1/cert",
        "https://[::1]/cert",
        "https://[",
        "https://[api.sandbox.paypal.com]/cert",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://api.sandbox.paypal.com/cert",
        "//api.sandbox.paypal.com/cert",
        "https://api.sandbox.paypal.com/cert\r\nX: y",
        "https://api.sandbox.paypal.com/cert with space",
        "https://api.sandbox.paypal.cöm/cert",
        "https://",
        "x" * 1_000,
    ],
)
async def test_a_certificate_comes_from_paypal_or_is_not_asked_for(url: str) -> None:
    answers = Answers(shared().certificate)
    with pytest.raises(Forged):
        await notary(answers).verify(signed(url=url), BODY, now=NOW)

    assert answers.requests == []


@pytest.mark.parametrize(
    ("trust", "url", "right"),
    [
        (TRUST, "https://api-m.sandbox.paypal.com/c", True),
        (Trust(webhook_id="W", livemode=True), "https://api.paypal.com/c", True),
        (Trust(webhook_id="W", livemode=True), SANDBOX, False),
        (Trust(webhook_id="W", livemode=False, own_origin="http://127.0.0.1:9/"), "http://127.0.0.1:9/c", True),
        (Trust(webhook_id="W", livemode=False, own_origin="http://127.0.0.1:9/p"), "http://127.0.0.1:9/c", True),
        (Trust(webhook_id="W", livemode=False, own_origin="http://127.0.0.1:9"), "http://127.0.0.1:91/c", False),
        (Trust(webhook_id="W", livemode=False, own_origin="http://127.0.0.1:9"), "https://127.0.0.1:9/c", False),
    ],
)
def test_a_simulator_serves_its_own_certificate_to_accounts_that_use_it(trust: Trust, url: str, *, right: bool) -> None:
    if right:
        paypal_signature.check_address(url, trust)
    else:
        with pytest.raises(Forged):
            paypal_signature.check_address(url, trust)


@pytest.mark.parametrize("status", [301, 302, 401, 429, 500, 503])
async def test_a_certificate_that_cannot_be_had_now_lets_paypal_send_again(status: int) -> None:
    with pytest.raises(CannotVerify):
        await notary(Answers(shared().certificate, status=status)).verify(signed(), BODY, now=NOW)


@pytest.mark.parametrize("content", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
async def test_a_certificate_that_is_none_lets_paypal_send_again(content: bytes) -> None:
    with pytest.raises(CannotVerify):
        await notary(Answers(content)).verify(signed(), BODY, now=NOW)


async def test_a_certificate_that_does_not_exist_is_a_forgers() -> None:
    with pytest.raises(Forged):
        await notary(Answers(status=404)).verify(signed(), BODY, now=NOW)


@pytest.mark.parametrize("name", ["paypal.com.evil.test", "evilpaypal.com", "messageverificationcerts", "*"])
async def test_a_certificate_of_somebody_else_is_refused(name: str) -> None:
    other = Signer.made(name)
    with pytest.raises(Forged):
        await notary(Answers(other.certificate)).verify(signed(other), BODY, now=NOW)


async def test_a_certificate_not_valid_yet_is_refused() -> None:
    later = Signer.made(not_before=datetime(2027, 1, 1, tzinfo=UTC))
    with pytest.raises(Forged):
        await notary(Answers(later.certificate)).verify(signed(later), BODY, now=NOW)


async def test_a_chain_whose_links_do_not_hold_is_refused() -> None:
    chain = shared().certificate + Signer.made("ca.paypal.com").certificate
    with pytest.raises(CannotVerify):
        await notary(Answers(chain)).verify(signed(), BODY, now=NOW)


async def test_a_certificate_is_judged_again_at_every_use() -> None:
    verifier = notary(Answers(shared().certificate))
    await verifier.verify(signed(), BODY, now=NOW)
    certificate = x509.load_pem_x509_certificate(shared().certificate)
    after = certificate.not_valid_after_utc.timestamp() + 60

    with pytest.raises(Forged):
        await verifier.verify(signed(at=after), BODY, now=after)


class TestAskingPayPal:
    trust = Trust(webhook_id="WEBHOOK1", livemode=False, ask_paypal=True)

    async def test_sends_the_very_bytes(self) -> None:
        answers = Answers()
        await notary(answers, self.trust).verify(signed(), BODY, now=NOW)
        asked = answers.requests[-1]

        assert asked.url.path == "/v1/notifications/verify-webhook-signature"
        assert BODY in asked.content
        assert json.loads(asked.content)["webhook_id"] == "WEBHOOK1"
        assert json.loads(asked.content)["webhook_event"] == json.loads(BODY)

    async def test_believes_a_no(self) -> None:
        with pytest.raises(Forged):
            await notary(Answers(verdict="FAILURE"), self.trust).verify(signed(), BODY, now=NOW)

    @pytest.mark.parametrize(("status", "verdict"), [(500, None), (200, "MAYBE"), (503, "SUCCESS"), (200, None)])
    async def test_without_a_verdict_lets_paypal_send_again(self, status: int, verdict: object) -> None:
        with pytest.raises(CannotVerify):
            await notary(Answers(status=status, verdict=verdict), self.trust).verify(signed(), BODY, now=NOW)

    @pytest.mark.parametrize("body", [b"", b"7", b'{"a": 1}, "webhook_id": "MINE"', b"[]", b'{"a": 1}}'])
    async def test_lets_no_body_break_out_of_its_place(self, body: bytes) -> None:
        answers = Answers()
        with pytest.raises(Forged):
            await notary(answers, self.trust).verify(signed(), body, now=NOW)

        assert answers.requests == []


def test_the_text_is_the_one_paypal_signs() -> None:
    transmission = Transmission("t-1", "2026-11-20T12:00:00Z", "sig", SANDBOX)

    # crc32 of "123456789" is the check value of the algorithm, 0xCBF43926: unsigned, though its top bit is set.
    assert transmission.signed_text("W1", b"123456789") == b"t-1|2026-11-20T12:00:00Z|W1|3421780262"


async def test_a_network_that_fails_lets_paypal_send_again() -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    doorway = http.Doorway(transport=httpx.MockTransport(fail))
    session = Session(doorway, "https://paypal.test", client_id="c", client_secret="s")
    for trust in (TRUST, TestAskingPayPal.trust):
        with pytest.raises(contract.CannotVerify):
            await Notary(session, trust).verify(signed(), BODY, now=NOW)
