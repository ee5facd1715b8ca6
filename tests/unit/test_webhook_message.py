"""What a delivery carries: our headers, every signature, and what the partner asked for, which never replaces ours."""

from __future__ import annotations

import time
from typing import Any

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.api import body
from gateway.api.errors import Problem
from gateway.api.webhooks import CreateWebhookEndpoint, UpdateWebhookEndpoint
from webhooks import message, signing

BODY = b'{"id":"evt_1","type":"ping"}'
URL = "https://shop.example/hooks"


def headers(*, keys: int = 0, own: dict[str, str] | None = None, secrets: list[str] | None = None) -> dict[str, str]:
    return message.headers(
        message.Signed("evt_1", int(time.time()), BODY),
        secrets=secrets or [signing.new_secret()],
        private_keys=[Ed25519PrivateKey.generate() for _ in range(keys)],
        own=own or {},
    )


def test_a_message_says_what_it_is_and_who_sends_it() -> None:
    sent = headers()
    assert sent.pop("webhook-signature").startswith("v1,")
    assert abs(int(sent.pop("webhook-timestamp")) - time.time()) < 60
    assert sent == {
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": "Paygate-Webhooks/1",
        "webhook-id": "evt_1",
    }


def test_public_signatures_stand_behind_the_others_and_the_published_library_ignores_them() -> None:
    secrets = [signing.new_secret(), signing.new_secret()]
    sent = headers(keys=2, secrets=secrets)
    schemes = [signature.partition(",")[0] for signature in sent["webhook-signature"].split(" ")]
    assert schemes == ["v1", "v1", "v1a", "v1a"]
    for secret in secrets:
        standardwebhooks.Webhook(secret).verify(BODY, sent)


def test_a_partners_headers_are_sent_and_none_takes_the_place_of_ours() -> None:
    sent = headers(own={"authorization": "Bearer a b", "webhook-id": "evt_2", "content-type": "text/plain"})
    assert sent["authorization"] == "Bearer a b"
    assert (sent["webhook-id"], sent["content-type"]) == ("evt_1", "application/json")
    assert len(sent) == 7


@pytest.mark.parametrize("name", ["authorization", "X-Shop", "x", "!#$%&'*+-.^_`|~9", "cookie", "contents", "x" * 100])
def test_a_partner_may_have_most_headers_sent(name: str) -> None:
    assert message.check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("host", "Host", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"),
        *("user-agent", "accept-encoding", "http2-settings", "content-length", "Content-Type", "content-"),
        *("proxy-authorization", "webhook-id", "WEBHOOK-SIGNATURE", "webhook-timestamp"),
        *("", " ", "x shop", "x:shop", "x\r\n", "x\n", "ä", "x(y)", ":path", '"x"', "x,y", "x/y", "x\x00"),
    ],
)
def test_what_is_ours_or_no_name_at_all_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"is a header that we set|is no name"):
        message.check_name(name)


@pytest.mark.parametrize("value", ["x", "Bearer a b", "!", "~ ~", "a" * 1024])
def test_a_value_is_printable_ascii(value: str) -> None:
    assert message.check_value(value) == value


@pytest.mark.parametrize("value", ["", " ", " x", "x ", "x\r\nhost: y", "x\n", "x\t", "x\ty", "ü", "x\x7f", "\x00"])
def test_a_value_that_could_end_the_line_or_be_read_in_two_ways_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="must be printable ASCII"):
        message.check_value(value)


# ── What the API makes of it ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"x-shop": "a\nb"}, "headers.x-shop"),
        ({"X-Shop": "a" * 1025}, "headers.X-Shop"),
        ({"x-shop": ""}, "headers.x-shop"),
        ({"x-shop": 1}, "headers.x-shop"),
        ({"webhook-id": "a"}, "headers.webhook-id"),
        ({"x shop": "a"}, "headers.x shop"),
        ({"x" * 101: "a"}, f"headers.{'x' * 100}"),
        ({"x-shop": "a", "X-Shop": "b"}, "headers"),
        ({f"x-{number}": "a" for number in range(11)}, "headers"),
        ([], "headers"),
    ],
)
def test_an_error_names_the_header_and_not_its_value(given: Any, field: str) -> None:
    for model, others in ((CreateWebhookEndpoint, {"url": URL}), (UpdateWebhookEndpoint, {})):
        with pytest.raises(Problem) as refused:
            body.validate(model, {"headers": given, **others})
        assert {name for name, _ in refused.value.errors} == {field}


def test_names_are_kept_in_lower_case() -> None:
    asked = body.validate(UpdateWebhookEndpoint, {"headers": {f"X-{number}": "a" for number in range(10)}})
    assert asked.headers == {f"x-{number}": "a" for number in range(10)}


@pytest.mark.parametrize("given", [0, -1, 1001, 1.5, "10", True])
def test_a_rate_limit_is_a_whole_number_up_to_a_thousand(given: Any) -> None:
    with pytest.raises(Problem) as refused:
        body.validate(UpdateWebhookEndpoint, {"rate_limit_per_second": given})
    assert {name for name, _ in refused.value.errors} == {"rate_limit_per_second"}
