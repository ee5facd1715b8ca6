"""Our requests and our simulator's answers agree with Stripe's official interface document.

The document is other people's data and not part of this project: without `../shared/psp-specs` these tests skip.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis

from providers import contract
from tests.providers.far_ends import Line, Switchboard, a_charge, line_to

DOCUMENT = Path(__file__).parents[3] / "shared" / "psp-specs" / "stripe-v1-2023-08-16.trimmed.json"

pytestmark = pytest.mark.skipif(not DOCUMENT.exists(), reason="Stripe's interface document is not at hand")

TARGET: dict[str, Any] = {"amount": Decimal("5.00"), "currency": "EUR"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DOCUMENT.read_text())
    return read


@pytest.fixture(scope="module")
def described() -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_path(str(DOCUMENT))


@pytest.fixture
async def line(switchboard: Switchboard) -> AsyncIterator[Line]:
    async with line_to("stripe", switchboard) as line:
        yield line


def asks() -> list[contract.Ask]:
    everything: dict[str, Any] = {
        "return_url": "https://shop.test/back",
        "description": "Two books",
        "statement_descriptor": "BOOKS",
        "merchant_reference": "order-1",
    }
    return [
        a_charge("pm_card_visa", "at_1"),
        a_charge("pm_card_visa", "at_1", capture=False, **everything),
        contract.Capture(reference="cp_1", provider_transaction_id="pi_1", **TARGET),
        contract.Cancel(reference="cn_1", provider_transaction_id="pi_1", **TARGET),
        contract.Refund(reference="rf_1", provider_transaction_id="pi_1", reason="other", **TARGET),
        contract.Refund(reference="rf_1", provider_transaction_id="pi_1", reason="duplicate", **TARGET),
    ]


def template(path: str) -> str:
    for prefix, name in (("pi", "intent"), ("re", "refund"), ("ch", "charge"), ("du", "dispute")):
        path = re.sub(rf"/{prefix}_[^/]+", f"/{{{name}}}", path)
    return path


@pytest.mark.parametrize("ask", asks(), ids=lambda ask: type(ask).__name__)
async def test_every_request_fits_the_document(ask: contract.Ask, line: Line, document: dict[str, Any]) -> None:
    prepared = line.adapter().prepare(ask)
    body = document["paths"][template(prepared.path)]["post"]["requestBody"]
    schema = body["content"]["application/x-www-form-urlencoded"]["schema"] | {"components": document["components"]}

    jsonschema_rs.Draft202012Validator(schema).validate(json.loads(prepared.body))


async def exchange(line: Line) -> list[httpx.Response]:
    """A whole life of payments, spoken directly, so that every kind of answer is seen."""
    answers: list[httpx.Response] = []
    headers = {"Authorization": "Bearer sk_test_right"}

    async def call(method: str, path: str, **params: str | int) -> Any:
        sent = {"params": params} if method == "GET" else {"data": params}
        answer = await line.control.request(method, path, headers=headers, **sent)  # type: ignore[arg-type]  # fields by name
        answers.append(answer)
        return answer.json()

    def charge(token: str, **params: str | int) -> Any:
        basics: dict[str, str | int] = {"amount": 1099, "currency": "eur", "confirm": "true", "payment_method": token}
        return call("POST", "/v1/payment_intents", **basics | {"metadata[gateway_reference]": "at_1"} | params)

    sale = await charge("pm_card_visa", **{"expand[0]": "latest_charge"})
    held = await charge("pm_card_mastercard", capture_method="manual")
    await call("POST", f"/v1/payment_intents/{held['id']}/capture", amount_to_capture=600)
    dropped = await charge("pm_card_visa", capture_method="manual")
    await call("POST", f"/v1/payment_intents/{dropped['id']}/cancel", cancellation_reason="duplicate")
    await call("POST", f"/v1/payment_intents/{dropped['id']}/cancel")
    await charge("pm_card_visa_chargeDeclinedInsufficientFunds")
    await charge("pm_card_threeDSecure2Required")
    await charge("pm_card_threeDSecure2Required", return_url="https://shop.test/back")
    await charge("pm_card_visa", amount=1)
    await charge("pm_nobody")
    refund = await call("POST", "/v1/refunds", payment_intent=sale["id"], amount=100, reason="duplicate")
    await call("POST", "/v1/refunds", payment_intent=sale["id"], amount=5000)
    await call("GET", f"/v1/refunds/{refund['id']}")
    await call("GET", "/v1/refunds", payment_intent=sale["id"])
    await call("GET", f"/v1/payment_intents/{sale['id']}")
    await call("GET", "/v1/payment_intents", limit=3)
    window: dict[str, str | int] = {"types[0]": "payment_intent.succeeded", "created[gte]": 1}
    await call("GET", "/v1/events", **window)
    await call("GET", "/v1/payment_intents/pi_nobody")
    await call("GET", f"/v1/charges/{held['latest_charge']}")
    await charge("pm_usBankAccount_success")
    await charge("pm_card_createDispute")
    contested = (await call("GET", "/v1/disputes"))["data"][0]["id"]
    await call("GET", f"/v1/disputes/{contested}")
    evidence: dict[str, str | int] = {"evidence[uncategorized_text]": "winning_evidence"}
    await call("POST", f"/v1/disputes/{contested}", **evidence)
    await call("POST", f"/v1/disputes/{contested}/close")
    headers["Authorization"] = "Bearer sk_test_wrong"
    await charge("pm_card_visa")
    return answers


async def test_every_answer_of_the_simulator_fits_the_document(
    line: Line, described: schemathesis.schemas.BaseSchema
) -> None:
    answers = await exchange(line)

    assert {answer.status_code for answer in answers} == {200, 400, 401, 402, 404}
    for answer in answers:
        operation = described[template(answer.request.url.path)][answer.request.method]
        operation.validate_response(answer)


async def test_every_event_of_the_simulator_fits_the_document(line: Line, document: dict[str, Any]) -> None:
    await exchange(line)
    notices = await line.notices()

    seen = set()
    for notice in notices:
        event = json.loads(notice.body)
        thing = event["data"]["object"]
        for name, shown in (("event", event), (thing["object"], thing)):
            schema = document["components"]["schemas"][name] | {"components": document["components"]}
            jsonschema_rs.Draft4Validator(schema).validate(_without_nulls(shown))
        seen.add(event["type"])
    assert len(seen) > 10


def _without_nulls(shown: Any) -> Any:
    """OpenAPI 3.0 says `nullable`, which a schema validator does not know."""
    if isinstance(shown, dict):
        return {name: _without_nulls(value) for name, value in shown.items() if value is not None}
    return [_without_nulls(value) for value in shown] if isinstance(shown, list) else shown
