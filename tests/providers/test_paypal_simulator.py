"""The PayPal simulator keeps PayPal's rules, so that what passes against it means something."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from providers.simulator.paypal_tokens import PROCESSOR_CODES
from tests.providers.far_ends import Line, Switchboard, line_to

ORDERS = "/v2/checkout/orders"


@pytest.fixture
async def line(switchboard: Switchboard) -> AsyncIterator[Line]:
    async with line_to("paypal", switchboard) as line:
        yield line


class Speaker:
    """A client that writes its own requests."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.token = ""

    async def sign_in(self) -> None:
        basic = httpx.BasicAuth("client_right", "secret_right")
        self.token = (await self.line.control.post("/v1/oauth2/token", auth=basic)).json()["access_token"]

    async def post(self, path: str, body: object = None, *, key: str | None = None, **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.token}", "Prefer": "return=representation"} | headers
        sent |= {"PayPal-Request-Id": key} if key else {}
        return await self.line.control.post(path, content=json.dumps(body) if body is not None else None, headers=sent)

    async def order(
        self, vault_id: str = "vault_card_visa", *, key: str | None = "k1", **changed: Any
    ) -> httpx.Response:
        headers = changed.pop("headers", {})
        unit = {"amount": {"currency_code": "EUR", "value": "10.99"}, "custom_id": "at_1"} | changed
        source = {"card": {"vault_id": vault_id}}
        body = {"intent": "CAPTURE", "purchase_units": [unit], "payment_source": source}
        return await self.post(ORDERS, body, key=key, **headers)


@pytest.fixture
async def speaker(line: Line) -> Speaker:
    speaker = Speaker(line)
    await speaker.sign_in()
    return speaker


def issue(answer: httpx.Response) -> str:
    return str(answer.json()["details"][0]["issue"])


def captures(answer: httpx.Response) -> Any:
    return answer.json()["purchase_units"][0]["payments"]["captures"]


class TestRequestIds:
    async def test_lead_to_the_first_thing_as_it_is_now(self, line: Line, speaker: Speaker) -> None:
        first = await speaker.order()
        capture = captures(first)[0]["id"]
        await speaker.post(f"/v2/payments/captures/{capture}/refund", {}, key="k2")
        again = await speaker.order()

        assert (first.status_code, again.status_code) == (201, 200)
        assert captures(first)[0]["status"] == "COMPLETED"
        assert captures(again)[0]["status"] == "REFUNDED"
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_lead_there_whatever_the_second_body_says(self, line: Line, speaker: Speaker) -> None:
        first = await speaker.order()
        other = await speaker.order(custom_id="at_2")

        assert other.json()["id"] == first.json()["id"]
        assert await line.moved("at_2", "charges") == (0, 0)

    async def test_forget_what_was_refused_or_failed(self, line: Line, speaker: Speaker) -> None:
        refused = await speaker.order("vault_refuse-TRANSACTION_REFUSED")
        await line.order("error_without_acting")
        failed = await speaker.order()

        assert (issue(refused), failed.status_code) == ("TRANSACTION_REFUSED", 500)
        assert (await speaker.order()).status_code == 201

    async def test_are_kept_through_an_error_after_acting(self, line: Line, speaker: Speaker) -> None:
        await line.order("error_after_acting")
        failed, again = await speaker.order(), await speaker.order()

        assert (failed.status_code, again.status_code) == (500, 200)
        assert await line.moved("at_1", "captures") == (1, 1099)

    async def test_are_needed_with_a_payment_source(self, speaker: Speaker) -> None:
        assert issue(await speaker.order(key=None)) == "PAYPAL_REQUEST_ID_REQUIRED"


class TestRules:
    @pytest.mark.parametrize(("name", "code"), sorted(PROCESSOR_CODES.items()))
    async def test_a_rejecting_card_is_declined_with_http_201(
        self, line: Line, speaker: Speaker, name: str, code: str
    ) -> None:
        declined = await speaker.order(f"vault_CCREJECT-{name}_03")
        (capture,) = captures(declined)

        assert declined.status_code == 201
        assert (declined.json()["status"], capture["status"]) == ("COMPLETED", "DECLINED")
        assert capture["processor_response"]["response_code"] == code
        assert capture["processor_response"]["payment_advice_code"] == "03"
        assert await line.moved("at_1", "charges") == (0, 0)

    @pytest.mark.parametrize(
        ("issued", "status"),
        [("INSTRUMENT_DECLINED", 422), ("INTERNAL_SERVER_ERROR", 500), ("PERMISSION_DENIED", 403)],
    )
    async def test_its_mock_header_makes_it_refuse(self, speaker: Speaker, issued: str, status: int) -> None:
        mocked = {"PayPal-Mock-Response": json.dumps({"mock_application_codes": issued})}
        refused = await speaker.order(headers=mocked)

        assert refused.status_code == status
        assert (await speaker.order()).status_code == 201

    @pytest.mark.parametrize(
        ("amount", "expected"),
        [
            ({"currency_code": "EUR", "value": "1.999"}, "DECIMAL_PRECISION"),
            ({"currency_code": "JPY", "value": "1.50"}, "DECIMALS_NOT_SUPPORTED"),
            ({"currency_code": "KWD", "value": "1.00"}, "INVALID_CURRENCY_CODE"),
            ({"currency_code": "EUR", "value": "0.00"}, "CANNOT_BE_ZERO_OR_NEGATIVE"),
            ({"currency_code": "EUR", "value": "one"}, "INVALID_PARAMETER_SYNTAX"),
            ({"currency_code": "EUR"}, "MISSING_REQUIRED_PARAMETER"),
        ],
    )
    async def test_money_is_spelled_its_way(self, speaker: Speaker, amount: object, expected: str) -> None:
        assert issue(await speaker.order(amount=amount)) == expected

    async def test_an_invoice_is_used_once(self, speaker: Speaker) -> None:
        await speaker.order(invoice_id="i1")

        assert issue(await speaker.order(key="k2", invoice_id="i1")) == "DUPLICATE_INVOICE_ID"

    async def test_a_partial_capture_leaves_the_rest_open_unless_it_is_final(self, speaker: Speaker) -> None:
        body = {
            "intent": "AUTHORIZE",
            "purchase_units": [{"amount": {"currency_code": "EUR", "value": "10.00"}}],
            "payment_source": {"card": {"vault_id": "vault_card_visa"}},
        }
        held = (await speaker.post(ORDERS, body, key="k1")).json()
        path = f"/v2/payments/authorizations/{held['purchase_units'][0]['payments']['authorizations'][0]['id']}"
        part = {"amount": {"currency_code": "EUR", "value": "4.00"}}
        first = await speaker.post(f"{path}/capture", part, key="c1")
        final = await speaker.post(f"{path}/capture", part | {"final_capture": True}, key="c2")
        beyond = await speaker.post(f"{path}/capture", part, key="c3")

        assert (first.status_code, final.status_code) == (201, 201)
        assert issue(beyond) == "AUTHORIZATION_ALREADY_CAPTURED"
        assert issue(await speaker.post(f"{path}/void", key="v1")) == "PREVIOUSLY_CAPTURED"

    async def test_without_a_wish_for_the_whole_it_answers_briefly(self, speaker: Speaker) -> None:
        brief = (await speaker.order(headers={"Prefer": "return=minimal"})).json()

        assert brief.keys() == {"id", "status", "payment_source", "links"}

    async def test_an_unheard_of_vault_id_is_refused(self, speaker: Speaker) -> None:
        refused = await speaker.order("vault_nobody")

        assert (refused.status_code, issue(refused)) == (400, "INVALID_PARAMETER_VALUE")

    async def test_nobody_gets_in_without_a_token(self, line: Line, speaker: Speaker) -> None:
        wrong = await line.control.post("/v1/oauth2/token", auth=httpx.BasicAuth("client_right", "wrong"))
        assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")

        speaker.token = "A21AAmade-up"
        assert (await speaker.order()).status_code == 401

    async def test_there_is_nothing_to_approve_twice(self, line: Line, speaker: Speaker) -> None:
        paid = (await speaker.order()).json()["id"]
        for token in (paid, "NOBODY"):
            assert (await line.control.get(f"/checkoutnow?token={token}")).status_code == 404
            assert (await line.customer_decides(f"/checkoutnow?token={token}", "approve")).status_code == 404


class TestFaults:
    async def test_can_be_named_by_the_merchants_reference(self, line: Line, speaker: Speaker) -> None:
        await line.order("error_without_acting", reference="order-7")

        assert (await speaker.order(invoice_id="order-8 at_1")).status_code == 201
        assert (await speaker.order(key="k2", invoice_id="order-7 at_2")).status_code == 500

    async def test_strike_the_signing_in_only_by_its_name(self, line: Line, speaker: Speaker) -> None:
        await line.order("error_without_acting")
        await speaker.sign_in()

        assert (await speaker.order()).status_code == 500
