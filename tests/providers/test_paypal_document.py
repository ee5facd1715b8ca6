"""Our requests and our simulator's answers agree with PayPal's official interface documents.

The documents are other people's data and not part of this project: without `../shared/psp-specs` these tests skip.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis

from providers import contract
from tests.providers.far_ends import Line, Switchboard, a_cancel, a_capture, a_charge, a_refund, line_to

FOLDER = Path(__file__).parents[3] / "shared" / "psp-specs"
FILES = {
    "/v2/checkout/": FOLDER / "paypal-checkout-orders-v2.json",
    "/v2/payments/": FOLDER / "paypal-payments-v2.json",
    "/v1/notifications/": FOLDER / "paypal-notifications-webhooks-v1.json",
}

pytestmark = pytest.mark.skipif(
    not all(file.exists() for file in FILES.values()), reason="PayPal's interface documents are not at hand"
)

BACK = "https://shop.test/back"
PARTS = [
    (r"/orders/[^/]+", "/orders/{id}"),
    (r"/authorizations/[^/]+", "/authorizations/{authorization_id}"),
    (r"/captures/[^/]+", "/captures/{capture_id}"),
    (r"/refunds/[^/]+", "/refunds/{refund_id}"),
]


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    return {prefix: json.loads(file.read_text()) for prefix, file in FILES.items()}


@pytest.fixture(scope="module")
def described() -> dict[str, schemathesis.schemas.BaseSchema]:
    return {prefix: schemathesis.openapi.from_path(str(file)) for prefix, file in FILES.items()}


@pytest.fixture
async def line(switchboard: Switchboard) -> AsyncIterator[Line]:
    async with line_to("paypal", switchboard) as line:
        yield line


def template(path: str) -> str:
    for pattern, name in PARTS:
        path = re.sub(pattern, name, path)
    return path


def prefix(path: str) -> str:
    return next(prefix for prefix in FILES if path.startswith(prefix))


async def a_life(line: Line) -> None:
    """Everything the adapter ever sends, sent."""
    adapter = line.adapter()
    full = {"description": "Two books", "statement_descriptor": "BOOKS", "return_url": BACK}

    async def charged(token: str | None, reference: str, **changed: Any) -> tuple[contract.Prepared, str]:
        prepared = adapter.prepare(a_charge(token, reference, **changed))  # type: ignore[arg-type]  # fields by name
        outcome = await adapter.send(prepared, key=f"key-{reference}")
        assert isinstance(outcome, contract.Approved | contract.ActionRequired)
        return prepared, outcome.provider_id

    _, sale = await charged("vault_card_visa", "at_1", **full)
    prepared, _ = await charged("vault_uncaptured", "at_2")
    _, held = await charged("vault_card_visa", "at_3", capture=False)
    _, dropped = await charged("vault_paypal", "at_4", capture=False, method="e_wallet")
    waiting, order = await charged(None, "at_5", method="e_wallet", return_url=BACK)
    authorized, other = await charged(None, "at_6", method="e_wallet", return_url=BACK, capture=False)
    url = f"/checkoutnow?token={other}"
    await line.customer_decides(url, "approve")
    await adapter.proceed(authorized, key="k6", provider_id=other, returned={})
    asks: list[contract.Ask] = [a_refund(sale), a_capture(held, "6.00"), a_cancel(dropped), a_cancel(order)]
    for number, ask in enumerate(asks):
        assert isinstance(await adapter.send(adapter.prepare(ask), key=f"k{number}"), contract.Approved)
    await adapter.look_up(prepared, provider_id=None)
    await adapter.look_up(waiting, provider_id=order)


async def test_every_request_fits_the_documents(line: Line, documents: dict[str, Any]) -> None:
    await a_life(line)
    seen = set()
    for request in line.recorder.requests:
        document = documents[prefix(request.url.path)]
        operation = document["paths"][template(request.url.path)][request.method.lower()]
        seen.add((request.method, template(request.url.path)))
        key = request.headers.get("PayPal-Request-Id", "k")
        assert len(key) <= 108
        if not request.content:
            assert not operation.get("requestBody", {}).get("required")
            continue
        told = operation["requestBody"]
        if "$ref" in told:
            told = document["components"]["requestBodies"][told["$ref"].rpartition("/")[2]]
        schema = told["content"]["application/json"]["schema"] | {"components": document["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(json.loads(request.content))

    assert {path.rpartition("/")[2] for method, path in seen if method == "POST"} == {
        "orders",
        "capture",
        "authorize",
        "void",
        "refund",
    }
    assert ("PATCH", "/v2/checkout/orders/{id}") in seen
    assert ("GET", "/v1/notifications/webhooks-events") in seen


class Spoken:
    """Calls made directly, so that every kind of answer is seen."""

    def __init__(self, line: Line, token: str) -> None:
        self.answers: list[httpx.Response] = []
        self._line = line
        self._headers = {"Authorization": f"Bearer {token}", "Prefer": "return=representation"}

    async def call(self, method: str, path: str, body: object = None, **extra: str) -> Any:
        headers = self._headers | {"PayPal-Request-Id": f"k{len(self.answers)}"} | extra
        content = None if body is None else json.dumps(body).encode()
        answer = await self._line.control.request(method, path, headers=headers, content=content)
        self.answers.append(answer)
        return answer.json() if answer.content else None

    async def order(self, source: dict[str, Any], intent: str = "CAPTURE", value: str = "10.99") -> Any:
        unit = {"amount": {"currency_code": "EUR", "value": value}, "custom_id": "at_1"}
        body = {"intent": intent, "purchase_units": [unit], "payment_source": source}
        return await self.call("POST", "/v2/checkout/orders", body)

    async def paid(self, token: str, intent: str = "CAPTURE") -> str:
        """The id of the capture or authorization."""
        shown = await self.order({"card": {"vault_id": token}}, intent)
        (listed,) = shown["purchase_units"][0]["payments"].values()
        return str(listed[0]["id"])

    async def decide(self, order: Any, action: str) -> None:
        await self._line.customer_decides(f"/checkoutnow?token={order['id']}", action)


async def exchange(line: Line) -> list[httpx.Response]:
    basic = httpx.BasicAuth("client_right", "secret_right")
    spoken = Spoken(line, (await line.control.post("/v1/oauth2/token", auth=basic)).json()["access_token"])
    half = {"amount": {"currency_code": "EUR", "value": "5.00"}}
    capture, held = await spoken.paid("vault_card_visa"), await spoken.paid("vault_card_visa", "AUTHORIZE")
    await refused_orders(spoken)
    await approved_order(spoken)
    for body in (half | {"final_capture": True}, half):
        await spoken.call("POST", f"/v2/payments/authorizations/{held}/capture", body)
    dropped = await spoken.paid("vault_card_visa", "AUTHORIZE")
    for prefer in ("return=representation", "return=minimal"):
        await spoken.call("POST", f"/v2/payments/authorizations/{dropped}/void", Prefer=prefer)
    other = await spoken.paid("vault_card_visa", "AUTHORIZE")
    await spoken.call("POST", f"/v2/payments/authorizations/{other}/void", Prefer="return=minimal")
    for told in (half, {}, {}):
        await spoken.call("POST", f"/v2/payments/captures/{capture}/refund", told)
    for path in (f"authorizations/{held}", f"captures/{capture}", "captures/NOBODY"):
        await spoken.call("GET", f"/v2/payments/{path}")
    await spoken.call("GET", "/v1/notifications/webhooks-events?page_size=2")
    return spoken.answers


async def refused_orders(spoken: Spoken) -> None:
    for token in ("CCREJECT-IF_02", "3ds", "uncaptured", "pendingCapture", "nobody", "refuse-TRANSACTION_REFUSED"):
        await spoken.order({"card": {"vault_id": f"vault_{token}"}})
    await spoken.order({"card": {"vault_id": "vault_card_visa"}}, value="10.999")


async def approved_order(spoken: Spoken) -> None:
    waiting = await spoken.order({"paypal": {"experience_context": {"return_url": BACK, "cancel_url": BACK}}})
    path = f"/v2/checkout/orders/{waiting['id']}"
    await spoken.call("POST", "/v2/checkout/orders/NOBODY/capture", {})
    await spoken.call("POST", f"{path}/capture", {})
    await spoken.decide(waiting, "approve_declining")
    await spoken.call("POST", f"{path}/capture", {})
    await spoken.decide(waiting, "approve")
    await spoken.call("GET", path)
    for _ in range(2):
        await spoken.call("POST", f"{path}/capture", {})


async def test_every_answer_of_the_simulator_fits_the_documents(
    line: Line, described: dict[str, schemathesis.schemas.BaseSchema]
) -> None:
    answers = await exchange(line)

    assert {answer.status_code for answer in answers} == {200, 201, 204, 400, 404, 422}
    for answer in answers:
        path = answer.request.url.path
        described[prefix(path)][template(path)][answer.request.method].validate_response(answer)
