"""Our requests and our simulator's answers and notifications agree with Adyen's official interface documents.

The documents are other people's data and not part of this project: without `../shared/psp-specs` these tests skip.
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

FOLDER = Path(__file__).parents[3] / "shared" / "psp-specs"
DOCUMENT = FOLDER / "adyen-checkout-v71.trimmed.json"
NOTIFICATIONS = FOLDER / "adyen-webhooks-v1.trimmed.json"

pytestmark = pytest.mark.skipif(
    not (DOCUMENT.exists() and NOTIFICATIONS.exists()), reason="Adyen's interface documents are not at hand"
)

PSP = "NC6HT9CRT65ZGN82"
TARGET: dict[str, Any] = {"amount": Decimal("5.00"), "currency": "EUR", "provider_transaction_id": PSP}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def notifications() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(NOTIFICATIONS.read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def described() -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_path(str(DOCUMENT))


@pytest.fixture
async def line(switchboard: Switchboard) -> AsyncIterator[Line]:
    async with line_to("adyen", switchboard) as line:
        yield line


def asks() -> list[contract.Ask]:
    everything: dict[str, Any] = {
        "return_url": "https://shop.test/back",
        "description": "Two books",
        "statement_descriptor": "BOOKS",
        "merchant_reference": "order-1",
    }
    return [
        a_charge("shopper_1/APPROVED", "at_1"),
        a_charge("APPROVED", "at_1", capture=False, **everything),
        contract.Charge(
            reference="at_1",
            amount=Decimal("5.00"),
            currency="EUR",
            method="e_wallet",
            token=None,
            capture=True,
            **everything,
        ),
        contract.Charge(
            reference="at_1",
            amount=Decimal("5.00"),
            currency="EUR",
            method="bank_transfer",
            token=None,
            capture=True,
            **everything,
        ),
        contract.Capture(reference="cp_1", **TARGET),
        contract.Cancel(reference="cn_1", **TARGET),
        contract.Cancel(reference="cn_1", **TARGET | {"provider_transaction_id": "at_1"}),
        contract.Refund(reference="rf_1", reason="other", **TARGET),
        contract.Refund(reference="rf_1", reason="fraudulent", **TARGET),
    ]


def template(url: str) -> str:
    path = httpx.URL(url).path.removeprefix("/v71")
    return re.sub(r"/payments/[A-Z0-9]{16}/", "/payments/{paymentPspReference}/", path)


@pytest.mark.parametrize("ask", asks(), ids=lambda ask: type(ask).__name__)
async def test_every_request_fits_the_document(ask: contract.Ask, line: Line, document: dict[str, Any]) -> None:
    prepared = line.adapter().prepare(ask)
    body = document["paths"][template(prepared.path)]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"] | {"components": document["components"]}

    # A payment method may be one of several that share a form: the document says `oneOf` and means any.
    text = json.dumps(schema).replace('"oneOf"', '"anyOf"')
    jsonschema_rs.Draft202012Validator(json.loads(text)).validate(json.loads(prepared.body))


async def exchange(line: Line) -> list[httpx.Response]:
    """A whole life of payments, spoken directly, so that every kind of answer is seen."""
    answers: list[httpx.Response] = []
    headers = {"X-API-Key": "AQE_right"}

    async def call(path: str, **body: Any) -> Any:
        answer = await line.control.post(f"/v71{path}", json={"merchantAccount": "M"} | body, headers=headers)
        answers.append(answer)
        return answer.json()

    async def pay(stored: str, **changed: Any) -> Any:
        usual = {
            "amount": {"currency": "EUR", "value": 1099},
            "paymentMethod": {"type": "scheme", "storedPaymentMethodId": stored},
            "recurringProcessingModel": "CardOnFile",
            "reference": "at_1",
            "returnUrl": "https://shop.test/back",
            "shopperReference": "shopper_1",
        }
        return await call("/payments", **usual | changed)

    part = {"amount": {"currency": "EUR", "value": 100}, "reference": "m_1"}
    sale = (await pay("SECOND_CHARGEBACK"))["pspReference"]
    held = (await pay("APPROVED_MC", additionalData={"manualCapture": "true"}))["pspReference"]
    await call(f"/payments/{held}/captures", **part)
    dropped = (await pay("APPROVED", additionalData={"manualCapture": "true"}))["pspReference"]
    await call(f"/payments/{dropped}/cancels", reference="m_2")
    await call("/cancels", paymentReference="at_1")
    await call(f"/payments/{sale}/refunds", merchantRefundReason="DUPLICATE", **part)
    await call(f"/payments/{sale}/refunds", **part | {"amount": {"currency": "EUR", "value": 9999}})
    await call(f"/payments/{sale}/reversals", reference="m_3")
    failing = (await pay("CAPTURE_FAILED", additionalData={"manualCapture": "true"}))["pspReference"]
    await call(f"/payments/{failing}/captures", **part)
    returned = (await pay("REFUND_FAILED"))["pspReference"]
    await call(f"/payments/{returned}/refunds", **part)
    expiring = (await pay("APPROVED", additionalData={"manualCapture": "true"}))["pspReference"]
    await line.control.post(f"/_simulator/payments/{expiring}/expire")
    for stored in ("NOT_ENOUGH_BALANCE", "ERROR", "FRAUD_CANCELLED", "PENDING", "PARTIALLY_APPROVED"):
        await pay(stored)
    for method in ({"type": "ideal"}, {"type": "alipay"}, {"type": "scheme", "storedPaymentMethodId": "CHALLENGE"}):
        action = (await pay("", paymentMethod=method))["action"]
        back = httpx.URL((await line.customer_decides(action["url"], "approve")).headers["Location"])
        headers["X-API-Key"] = "AQE_right"
        answers.append(
            await line.control.post("/v71/payments/details", json={"details": dict(back.params)}, headers=headers)
        )
    await pay("NOBODY")
    await pay("NOT_CONFIGURED")
    await pay("APPROVED", returnUrl="")
    answers.append(await line.control.post("/v71/payments", content=b"{", headers=headers))
    await call(f"/payments/{sale}/refunds", **part | {"merchantAccount": "Other"})
    headers["X-API-Key"] = "AQE_wrong"
    await pay("APPROVED")
    return answers


async def test_every_answer_of_the_simulator_fits_the_document(
    line: Line, described: schemathesis.schemas.BaseSchema
) -> None:
    answers = await exchange(line)

    assert {answer.status_code for answer in answers} == {200, 201, 400, 401, 403, 422, 500}
    for answer in answers:
        operation = described[template(str(answer.request.url))][answer.request.method]
        operation.validate_response(answer)


async def test_every_notification_of_the_simulator_fits_the_document(line: Line, notifications: dict[str, Any]) -> None:
    await exchange(line)
    seen = set()
    for notice in await line.notices():
        body = json.loads(notice.body)
        event = body["notificationItems"][0]["NotificationRequestItem"]["eventCode"]
        content = notifications["webhooks"][f"/{event}"]["post"]["requestBody"]["content"]["application/json"]
        schema = content["schema"] | {"components": notifications["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(body)
        seen.add(event)

    assert len(seen) == 13


def test_every_event_of_the_document_is_understood(line: Line, notifications: dict[str, Any]) -> None:
    adapter = line.adapter()
    examples = notifications["components"]["examples"]
    told = {}
    for event in notifications["webhooks"]:
        name = event.removeprefix("/")
        body = examples[f"post-{name}-{name.lower()}"]["value"]
        item = body["notificationItems"][0]["NotificationRequestItem"]
        if name != "CANCEL_OR_REFUND":
            told[name] = adapter.read_webhook(json.dumps(item).encode())

    unfollowed = {
        name for name, one in told.items() if isinstance(one, contract.Irrelevant) and "not followed" in one.reason
    }
    assert unfollowed == {"AUTHORISATION_ADJUSTMENT"}
