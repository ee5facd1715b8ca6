"""Promise: rules can be put to past decisions, which says who moves, what to expect and what nobody knows."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db import provider_accounts
from db.records import Scope
from gateway import cli_rules
from gateway.api import routing_backtest
from gateway.routing import replay, rules
from gateway.routing.replay import Window
from tests.acceptance.steps import listed, refused
from tests.house import House, Json, Partner

pytestmark = pytest.mark.usefixtures("silent_psp")

PATH = "/v1/routing-rules"
TOKENS = {"stripe": "pm_card_visa", "adyen": "ada/APPROVED"}
DECLINED = TOKENS | {"stripe": "pm_card_visa_chargeDeclinedStolenCard"}
TO_ADYEN = [{"name": "all", "then": {"priority": ["adyen", "stripe"]}}]


@pytest.fixture
async def own(shared_house: House) -> dict[str, str]:
    """The partner's own accounts by provider, with fees; filled by `partner`."""
    return {}


@pytest.fixture
async def partner(shared_house: House, own: dict[str, str]) -> Partner:
    """One whose charges go to its own account at Stripe, while it has a second one at Adyen."""
    made = await shared_house.partner()
    for priority, provider in enumerate(("stripe", "adyen"), 1):
        own[provider] = await shared_house.account(provider, shared_house.simulators[provider], partner_id=made.id)
        await shared_house.owner.execute(
            "UPDATE provider_accounts SET priority = $3, fees = $4::jsonb WHERE partner_id = $1 AND provider = $2",
            made.id,
            provider,
            priority,
            json.dumps({"percent": str(4 - priority), "fixed": {"USD": "0.10"}}),
        )
    return made


async def charged(partner: Partner, count: int, tokens: Json = TOKENS) -> None:
    how = {"type": "card", "tokens": tokens}
    answers = await asyncio.gather(*(partner.charge(amount="10.00", payment_method=how) for _ in range(count)))
    assert {answer.status_code for answer in answers} == {201}


async def activated(partner: Partner, rules: list[Json], lane: str) -> str:
    made = (await partner.post(PATH, {"rules": rules})).json()
    answer = await partner.post(f"{PATH}/{made['id']}/activate", {"lane": lane})
    assert answer.status_code == 200, answer.text
    rules_id: str = made["id"]
    return rules_id


async def judged(partner: Partner, **body: Any) -> Json:
    answer = await partner.post(f"{PATH}/backtest", body)
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    return told


async def test_a_draft_is_judged_by_what_was_decided(partner: Partner, own: dict[str, str]) -> None:
    await charged(partner, 6)
    await charged(partner, 2, DECLINED)
    await activated(partner, [{"name": "only", "then": {"priority": ["adyen"]}}], "live")
    await charged(partner, 30)
    told = await judged(partner, rules=TO_ADYEN)
    (segment,) = told["segments"]
    assert segment.pop("foretold") == told["total"].pop("foretold")
    assert segment == {
        "payment_method": "card",
        "currency": "USD",
        "card_brand": None,
        "decisions": 38,
        "moved": 8,
        "judged": 38,
        "approval_rate": f"{36 / 38:.4f}",
        "costs": segment["costs"],
        "moves": [{"from": own["stripe"], "to": own["adyen"], "decisions": 8}],
        "not_enough_data": [],
    }
    (cost,) = segment["costs"]
    assert cost["currency"] == "USD"
    assert cost["observed"] == "11.40"  # 6 × (0.30 + 0.10) + 30 × (0.20 + 0.10)
    assert cost["expected"] == "11.22"  # 38 × 0.30 at a rate of 30.5 / 31
    assert float(cost["low"]) < 11.22 < float(cost["high"])
    assert (told["decisions"], told["complete"], told["left_out"]) == (38, True, 0)
    assert told["total"]["costs"] == segment["costs"]


async def test_the_rate_to_expect_lies_in_its_interval(partner: Partner) -> None:
    await charged(partner, 28)
    await charged(partner, 4, DECLINED)
    told = (await judged(partner, rules=[{"name": "all", "then": {"priority": ["stripe"]}}]))["total"]
    assert told["approval_rate"] == "0.8750"
    assert told["foretold"]["expected"] == f"{28.5 / 33:.4f}"
    low, expected, high = (float(told["foretold"][name]) for name in ("low", "expected", "high"))
    assert 0.6 < low < expected < high <= 1


async def test_of_what_too_little_is_known_nothing_is_foretold(partner: Partner, own: dict[str, str]) -> None:
    await charged(partner, 3)
    told = await judged(partner, rules=TO_ADYEN)
    (segment,) = told["segments"]
    assert segment["not_enough_data"] == [{"account": own["adyen"], "provider": "adyen", "outcomes": 0, "needed": 30}]
    assert (segment["moved"], segment["foretold"], segment["costs"]) == (3, None, [])
    assert (told["total"]["decisions"], told["left_out"]) == (0, 3)


async def test_a_version_is_judged_like_a_draft(partner: Partner) -> None:
    await charged(partner, 2)
    version = (await partner.post(PATH, {"rules": TO_ADYEN})).json()["id"]
    by_id, by_rules = await judged(partner, id=version), await judged(partner, rules=TO_ADYEN)
    assert by_id["segments"] == by_rules["segments"]


async def test_operators_are_told_the_same(shared_house: House, partner: Partner, own: dict[str, str]) -> None:
    """As `paygate rules backtest` reads: under another role, which sees every partner."""
    await charged(partner, 3)
    told = await judged(partner, rules=TO_ADYEN)
    now = datetime.now(UTC)
    window = Window(scope=Scope(partner.id, livemode=False), since=now - timedelta(days=1), until=now)
    database = shared_house.desk.database
    async with database.as_system() as connection:
        accounts = await provider_accounts.open_to(connection, window.scope)
    report, reading = await replay.backtested(database, window, rules.read(TO_ADYEN), accounts)
    shown = routing_backtest.backtest_body(window, report, reading, shared_house.runtime.places)
    assert shown["segments"] == told["segments"]
    assert cli_rules._foretold(shown["segments"][0]) == {
        "segment": "card USD",
        "decisions": 3,
        "moved": 3,
        "approved": "1.0000",
        "expected": None,
        "too little known": f"{own['adyen']} has 0 of 30",
    }


async def test_only_the_window_is_read(partner: Partner) -> None:
    await charged(partner, 3)
    newest, _, oldest = [datetime.fromisoformat(one["created_at"]) for one in await listed(partner)]
    second = timedelta(seconds=1)
    for since, before, count in (
        (oldest - second, newest + second, 3),
        (oldest - second, oldest - second / 2, 0),
        (newest + second, newest + 2 * second, 0),
    ):
        told = await judged(partner, rules=TO_ADYEN, since=since.isoformat(), until=before.isoformat())
        assert told["decisions"] == count, (since, before)


async def test_others_decisions_are_not_read(shared_house: House, partner: Partner) -> None:
    await charged(partner, 1)
    other = await shared_house.partner()
    assert (await judged(other, rules=TO_ADYEN))["decisions"] == 0


async def test_all_pages_are_read_up_to_the_bound(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    await charged(partner, 7)
    monkeypatch.setattr(replay, "PAGE", 3)
    whole = await judged(partner, rules=TO_ADYEN)
    assert (whole["decisions"], whole["complete"]) == (7, True)
    monkeypatch.setattr(replay, "DECISIONS_MAX", 6)
    part = await judged(partner, rules=TO_ADYEN)
    assert (part["decisions"], part["complete"]) == (6, False)


async def test_one_is_read_at_a_time(shared_house: House, partner: Partner) -> None:
    async with shared_house.runtime.replaying:
        answer = await partner.post(f"{PATH}/backtest", {"rules": TO_ADYEN})
        refused(answer, 429, "rate_limited")
        assert answer.headers["retry-after"] == "10"
    await judged(partner, rules=TO_ADYEN)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"rules": TO_ADYEN, "id": "rul_1"}, ""),
        ({"id": "rul_1"}, "id"),
        ({"id": f"rul_{'0' * 26}"}, "id"),
        ({"rules": [{"name": "a", "then": {"priority": ["nobody"]}}]}, "rules.0.then.priority.0"),
        ({"rules": TO_ADYEN, "since": "2026-01-02T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, "since"),
        ({"rules": TO_ADYEN, "since": "2026-01-01T00:00:00Z", "until": "2026-04-01T00:00:01Z"}, "since"),
        ({"rules": TO_ADYEN, "until": "0001-01-30T23:59:59Z"}, "until"),
    ],
)
async def test_a_test_that_makes_no_sense_is_refused(partner: Partner, body: Json, field: str) -> None:
    refused(await partner.post(f"{PATH}/backtest", body), 422, "invalid_request", *([field] if field else []))


async def test_a_shadow_is_told_of_where_it_disagreed(partner: Partner) -> None:
    await charged(partner, 1)
    shadow = await activated(partner, TO_ADYEN, "shadow")
    await charged(partner, 3)
    await activated(partner, TO_ADYEN, "live")
    await charged(partner, 2)
    told = (await partner.get(f"{PATH}/{shadow}/shadow-report")).json()
    segment = {"payment_method": "card", "currency": "USD", "card_brand": None, "agreed": 2, "disagreed": 3}
    assert (told["rules"], told["segments"]) == (shadow, [segment])
    assert (told["agreed"], told["disagreed"], told["complete"]) == (2, 3, True)
    refused(await partner.get(f"{PATH}/rul_{'0' * 26}/shadow-report"), 404, "not_found")
