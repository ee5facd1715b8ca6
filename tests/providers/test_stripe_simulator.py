"""The Stripe simulator keeps Stripe's rules, so that what passes against it means something."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import providers.simulator
from providers import PROVIDERS, http
from providers.contract import Absent, Approved
from providers.simulator import stripe as stripe_simulator
from tests.providers.far_ends import Line, Switchboard, a_charge, line_to

SALE = {"amount": "1099", "currency": "eur", "confirm": "true", "payment_method": "pm_card_visa"}


@pytest.fixture
async def line(switchboard: Switchboard) -> AsyncIterator[Line]:
    async with line_to("stripe", switchboard) as line:
        yield line


async def call(line: Line, path: str, key: str | None = None, **params: str) -> httpx.Response:
    headers = {"Authorization": "Bearer sk_test_right"} | ({"Idempotency-Key": key} if key else {})
    return await line.control.post(path, data=params, headers=headers)


async def charge(line: Line, key: str | None = None, **params: str) -> httpx.Response:
    return await call(line, "/v1/payment_intents", key, **SALE | params)


async def error(answer: httpx.Response) -> dict[str, Any]:
    told: dict[str, Any] = answer.json()["error"]
    return told


class TestKeys:
    async def test_the_first_answer_is_replayed_and_says_so(self, line: Line) -> None:
        first, again = await charge(line, "k1"), await charge(line, "k1")

        assert first.json() == again.json()
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["Original-Request"] == first.headers["Request-Id"] != again.headers["Request-Id"]

    async def test_a_decline_is_replayed(self, line: Line) -> None:
        token = {"payment_method": "pm_card_visa_chargeDeclined"}
        first, again = await charge(line, "k1", **token), await charge(line, "k1", **token)

        assert (first.status_code, again.status_code) == (402, 402)
        assert again.headers["Idempotent-Replayed"] == "true"

    async def test_an_error_after_executing_is_replayed_for_ever(self, line: Line) -> None:
        await line.order("error_after_acting")

        assert [(await charge(line, "k1")).status_code for _ in range(3)] == [500, 500, 500]

    @pytest.mark.parametrize("kind", ["throttle", "error_without_acting"])
    async def test_what_comes_before_executing_is_forgotten(self, line: Line, kind: str) -> None:
        await line.order(kind)
        refused, executed = await charge(line, "k1"), await charge(line, "k1")

        assert refused.status_code in (429, 500)
        assert executed.status_code == 200
        assert "Idempotent-Replayed" not in executed.headers

    async def test_a_refused_parameter_is_forgotten(self, line: Line) -> None:
        refused = await charge(line, "k1", amount="a lot")

        assert (await error(refused))["code"] == "parameter_invalid_integer"
        assert (await charge(line, "k1")).status_code == 200

    async def test_other_parameters_under_the_same_key_are_refused(self, line: Line) -> None:
        await charge(line, "k1")
        refused = await charge(line, "k1", amount="2000")

        assert refused.status_code == 400
        assert (await error(refused))["type"] == "idempotency_error"
        assert "code" not in await error(refused)


class TestRules:
    @pytest.mark.parametrize(
        ("params", "status", "expected"),
        [
            ({"amount": "49"}, 400, {"code": "amount_too_small", "param": "amount"}),
            ({"amount": "100000000"}, 400, {"code": "amount_too_large", "param": "amount"}),
            ({"amount": "550", "currency": "isk"}, 400, {"code": "invalid_charge_amount_no_decimal_compatible"}),
            ({"amount": "5123", "currency": "kwd"}, 400, {"param": "amount"}),
            ({"payment_method_types[0]": "card"}, 400, {"code": "payment_method_types_no_longer_supported"}),
            ({"colour": "blue"}, 400, {"code": "parameter_unknown", "param": "colour"}),
            ({"payment_method": "pm_nobody"}, 400, {"code": "resource_missing", "param": "payment_method"}),
            (
                {"payment_method": "pm_card_chargeDeclinedIncorrectCvc"},
                402,
                {
                    "type": "card_error",
                    "code": "incorrect_cvc",
                    "decline_code": "incorrect_cvc",
                    "param": "cvc",
                    "advice_code": "confirm_card_data",
                },
            ),
            (
                {"payment_method": "pm_card_authenticationRequired", "off_session": "true"},
                402,
                {"code": "authentication_required", "decline_code": "authentication_required"},
            ),
            (
                {"payment_method": "pm_card_authenticationRequired", "error_on_requires_action": "true"},
                402,
                {"code": "authentication_required", "decline_code": "authentication_not_handled"},
            ),
        ],
    )
    async def test_a_charge_is_refused_in_stripes_words(
        self, line: Line, params: dict[str, str], status: int, expected: dict[str, str]
    ) -> None:
        refused = await charge(line, **params)

        assert refused.status_code == status
        assert expected.items() <= (await error(refused)).items()

    async def test_a_payment_confirmed_later_with_another_card(self, line: Line) -> None:
        refused = await error(await charge(line, payment_method="pm_card_visa_chargeDeclined"))
        path = f"/v1/payment_intents/{refused['payment_intent']['id']}/confirm"
        paid = await call(line, path, payment_method="pm_card_visa")

        assert paid.json()["status"] == "succeeded"

    async def test_an_expired_authorization_cannot_be_captured(self, line: Line) -> None:
        held = (await charge(line, capture_method="manual")).json()["id"]
        await line.control.post(f"/_simulator/payments/{held}/expire")
        refused = await call(line, f"/v1/payment_intents/{held}/capture")

        assert (await error(refused))["code"] == "charge_expired_for_capture"

    async def test_refunds_stop_at_what_was_captured(self, line: Line) -> None:
        paid = (await charge(line)).json()["id"]
        beyond = await call(line, "/v1/refunds", payment_intent=paid, amount="1100")
        await call(line, "/v1/refunds", payment_intent=paid)
        nothing_left = await call(line, "/v1/refunds", payment_intent=paid)

        assert (await error(beyond))["param"] == "amount"
        assert "code" not in await error(beyond)
        assert (await error(nothing_left))["code"] == "charge_already_refunded"

    @pytest.mark.parametrize(
        ("token", "status", "settled", "kept"),
        [("pm_card_pendingRefund", "pending", "succeeded", 0), ("pm_card_refundFail", "succeeded", "failed", 1099)],
    )
    async def test_a_refund_settles_days_later(
        self, line: Line, token: str, status: str, settled: str, kept: int
    ) -> None:
        paid = (await charge(line, payment_method=token, **{"metadata[gateway_reference]": "at_1"})).json()["id"]
        refund = (
            await call(line, "/v1/refunds", payment_intent=paid, **{"metadata[gateway_reference]": "rf_1"})
        ).json()
        after = (await line.control.post(f"/_simulator/refunds/{refund['id']}/settle")).json()

        assert (refund["status"], after["status"]) == (status, settled)
        _, refunded = await line.moved("rf_1", "refunds")
        _, failed = await line.moved("rf_1", "refund_failures")
        assert 1099 - refunded + failed == kept

    async def test_the_banks_page_is_a_page(self, line: Line) -> None:
        waiting = await charge(
            line, payment_method="pm_card_threeDSecure2Required", return_url="https://shop.test/back"
        )
        url = waiting.json()["next_action"]["redirect_to_url"]["url"]
        page = await line.control.get(url)

        assert page.headers["Content-Type"].startswith("text/html")
        assert "1099 EUR" in page.text
        back = await line.customer_decides(url, "approve")
        assert "redirect_status=succeeded" in back.headers["Location"]
        assert (await line.control.get(url)).status_code == 404


class TestDisputes:
    async def dispute(self, line: Line, token: str = "pm_card_createDispute") -> str:
        await charge(line, payment_method=token, **{"metadata[gateway_reference]": "at_1"})
        headers = {"Authorization": "Bearer sk_test_right"}
        listed = (await line.control.get("/v1/disputes", headers=headers)).json()["data"]
        return str(listed[0]["id"])

    async def respond(self, line: Line, dispute: str, evidence: str, **params: str) -> dict[str, Any]:
        told = {"evidence[uncategorized_text]": evidence} | params
        after: dict[str, Any] = (await call(line, f"/v1/disputes/{dispute}", **told)).json()
        return after

    async def test_take_the_money_until_the_evidence_wins(self, line: Line) -> None:
        dispute = await self.dispute(line)
        assert await line.moved("at_1", "disputes") == (1, 1099)
        assert (await self.respond(line, dispute, "It was delivered.", submit="false"))["status"] == "needs_response"
        won = await self.respond(line, dispute, "winning_evidence")

        assert (won["status"], won["evidence_details"]["submission_count"]) == ("won", 1)
        assert await line.moved("at_1", "dispute_reversals") == (1, 1099)
        assert await types(line) == [
            "payment_intent.created",
            "payment_intent.succeeded",
            "charge.dispute.created",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.updated",
            "charge.dispute.updated",
            "charge.dispute.closed",
            "charge.dispute.funds_reinstated",
        ]

    @pytest.mark.parametrize("ending", ["losing_evidence", "close"])
    async def test_keep_it_when_they_are_lost(self, line: Line, ending: str) -> None:
        dispute = await self.dispute(line)
        if ending == "close":
            await call(line, f"/v1/disputes/{dispute}/close")
        else:
            await self.respond(line, dispute, ending)
        again = await call(line, f"/v1/disputes/{dispute}/close")

        assert again.status_code == 400
        assert await line.moved("at_1", "dispute_reversals") == (0, 0)
        assert "charge.dispute.closed" in await types(line)

    async def test_are_only_a_question_when_the_bank_inquires(self, line: Line) -> None:
        dispute = await self.dispute(line, "pm_card_createDisputeInquiry")
        after = await self.respond(line, dispute, "winning_evidence")

        assert after["status"] == "warning_closed"
        assert await line.moved("at_1", "disputes") == (0, 0)

    async def test_forbid_refunds(self, line: Line) -> None:
        await self.dispute(line, "pm_card_createMultipleDisputes")
        paid = [notice["body"] for notice in await posted(line) if notice["event"] == "payment_intent.succeeded"]
        refused = await call(line, "/v1/refunds", payment_intent=json.loads(paid[0])["data"]["object"]["id"])

        assert (await error(refused))["code"] == "charge_disputed"
        assert (await types(line)).count("charge.dispute.created") == 2


async def posted(line: Line) -> list[dict[str, Any]]:
    await line.notices()
    told: list[dict[str, Any]] = (await line.control.get("/_simulator/webhooks")).json()["notifications"]
    return told


async def types(line: Line) -> list[str]:
    return [notice["event"] for notice in await posted(line)]


class TestEvents:
    async def test_tell_of_a_sale_as_the_request_made_it(self, line: Line) -> None:
        answer = await charge(line, "k1")
        created, succeeded = [json.loads(notice["body"]) for notice in await posted(line)]

        assert succeeded["id"].startswith("evt_")
        assert (succeeded["object"], succeeded["livemode"], succeeded["pending_webhooks"]) == ("event", False, 1)
        assert succeeded["request"] == {"id": answer.headers["Request-Id"], "idempotency_key": "k1"}
        assert succeeded["data"]["object"] == answer.json()
        assert created["data"]["object"]["status"] == "requires_confirmation"

    async def test_are_not_sent_again_when_a_key_is_replayed(self, line: Line) -> None:
        for _ in range(2):
            await charge(line, "k1")

        assert await types(line) == ["payment_intent.created", "payment_intent.succeeded"]

    async def test_tell_of_a_hold_and_what_becomes_of_it(self, line: Line) -> None:
        for end in ("capture", "cancel"):
            held = (await charge(line, capture_method="manual")).json()["id"]
            await call(line, f"/v1/payment_intents/{held}/{end}")
        expiring = (await charge(line, capture_method="manual")).json()["id"]
        await line.control.post(f"/_simulator/payments/{expiring}/expire")

        held_types = ["payment_intent.created", "payment_intent.amount_capturable_updated"]
        assert await types(line) == [
            *held_types,
            "payment_intent.succeeded",
            *held_types,
            "payment_intent.canceled",
            *held_types,
            "payment_intent.canceled",
            "charge.expired",
        ]
        assert json.loads((await posted(line))[-1]["body"])["request"] == {"id": None, "idempotency_key": None}

    async def test_tell_of_declines_and_of_customers(self, line: Line) -> None:
        await charge(line, payment_method="pm_card_visa_chargeDeclined")
        waiting = await charge(
            line, payment_method="pm_card_threeDSecure2Required", return_url="https://shop.test/back"
        )
        await line.customer_decides(waiting.json()["next_action"]["redirect_to_url"]["url"], "refuse")

        assert await types(line) == [
            "payment_intent.created",
            "payment_intent.payment_failed",
            "payment_intent.created",
            "payment_intent.requires_action",
            "payment_intent.payment_failed",
        ]
        waits = json.loads((await posted(line))[3]["body"])["data"]["object"]
        assert waits["next_action"] == waiting.json()["next_action"]

    @pytest.mark.parametrize(
        ("token", "ended", "status"),
        [
            ("pm_usBankAccount_success", "payment_intent.succeeded", "succeeded"),
            ("pm_usBankAccount_insufficientFunds", "payment_intent.payment_failed", "requires_payment_method"),
        ],
    )
    async def test_tell_of_what_takes_days(self, line: Line, token: str, ended: str, status: str) -> None:
        slow = (await charge(line, payment_method=token)).json()
        first, again = [(await line.control.post(f"/_simulator/payments/{slow['id']}/settle")).json() for _ in range(2)]

        assert (slow["status"], first["status"], again["status"]) == ("processing", status, status)
        assert await types(line) == ["payment_intent.created", "payment_intent.processing", ended]

    async def test_tell_of_refunds_twice(self, line: Line) -> None:
        for token in ("pm_card_pendingRefund", "pm_card_refundFail"):
            paid = (await charge(line, payment_method=token)).json()["id"]
            refund = (await call(line, "/v1/refunds", payment_intent=paid)).json()["id"]
            await line.control.post(f"/_simulator/refunds/{refund}/settle")

        refunds = [name for name in await types(line) if "refund" in name]
        created = ["refund.created", "charge.refunded"]
        assert refunds == [*created, "refund.updated", *created, "refund.updated", "refund.failed"]


class TestFaults:
    async def test_strike_only_what_they_name_and_only_so_often(self, line: Line) -> None:
        await line.order("error_without_acting", operation="charge", reference="at_2", times=1)

        async def status(reference: str) -> int:
            return (await charge(line, **{"metadata[gateway_reference]": reference})).status_code

        assert [await status("at_1"), await status("at_2"), await status("at_2")] == [200, 500, 200]

    async def test_can_be_named_by_the_merchants_reference(self, line: Line) -> None:
        await line.order("error_without_acting", reference="order-7")

        assert (await charge(line, **{"metadata[merchant_reference]": "order-7"})).status_code == 500

    async def test_unknown_ones_are_refused(self, line: Line) -> None:
        for wrong in ({"kind": "earthquake"}, {}, {"kind": "garbage", "colour": "blue"}):
            assert (await line.control.post("/_simulator/faults", json=wrong)).status_code == 400

    async def test_a_cut_leaves_no_answer_at_all(self, line: Line) -> None:
        await line.order("act_then_lose_answer")
        with pytest.raises(httpx.TransportError):
            await charge(line, **{"metadata[gateway_reference]": "at_1"})

        assert await line.moved("at_1", "captures") == (1, 1099)


class TestLists:
    async def test_a_charge_is_found_on_a_later_page(self, line: Line) -> None:
        adapter = line.adapter()
        ours = adapter.prepare(a_charge("pm_card_visa", "at_ours"))
        assert isinstance(await adapter.send(ours, key="k"), Approved)
        for number in range(105):
            await charge(line, **{"metadata[gateway_reference]": f"at_{number}"})

        assert isinstance(await adapter.look_up(ours, provider_id=None), Approved)
        pages = [request.url.query for request in line.recorder.requests if request.method == "GET"]
        assert len(pages) == 2

    async def test_a_charge_is_found_only_near_the_time_of_its_sending(self, switchboard: Switchboard) -> None:
        noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
        switchboard.app = stripe_simulator.create(clock=noon.timestamp)
        async with http.Doorway() as doorway:
            adapter = PROVIDERS["stripe"].open(
                {"api_key": "sk_test_x"}, base_url=switchboard.base_url, livemode=False, doorway=doorway
            )
            prepared = adapter.prepare(a_charge("pm_card_visa", "at_1"))
            await adapter.send(prepared, key="k1")

            assert isinstance(await adapter.look_up(prepared, provider_id=None, sent_at=noon), Approved)
            later = noon.replace(hour=13)
            assert isinstance(await adapter.look_up(prepared, provider_id=None, sent_at=later), Absent)


def test_the_simulators_share_nothing_with_our_adapters() -> None:
    folder = Path(str(providers.simulator.__file__)).parent
    imported = {
        f"{node.module}.{name.name}"
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("providers")
        for name in node.names
    }

    assert imported
    assert all(name.startswith("providers.simulator.") for name in imported)
