"""Promise: a partner's rules are written whole and checked, put to use at once, and taken back in one call."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from db import ids
from db.database import Role
from db.records import Scope
from gateway import runtime
from providers.simulator import CREDENTIALS
from tests.acceptance.steps import ID, TIME, listed, refused, until
from tests.house import House, Json, Partner, new_key

pytestmark = pytest.mark.usefixtures("silent_psp")

PATH = "/v1/routing-rules"
TOKENS = {"stripe": "pm_card_visa", "adyen": "ada/APPROVED", "paypal": "vault_card_visa"}
NOWHERE = f"pac_{'0' * 26}"


@pytest.fixture
async def partner(shared_house: House) -> Partner:
    """One whose charges go to Stripe where no rule says otherwise."""
    made = await shared_house.partner()
    await shared_house.desk.add_account(
        provider="stripe",
        livemode=False,
        credentials=CREDENTIALS["stripe"],
        base_url=shared_house.simulators["stripe"],
        partner_id=made.id,
        priority=1,
    )
    return made


def rule(name: str = "all", then: Json | None = None, **members: Any) -> Json:
    return {"name": name, "then": then or {"priority": ["adyen"]}} | members


async def written(partner: Partner, *rules: Json, **members: object) -> Json:
    answer = await partner.post(PATH, {"rules": list(rules), **members})
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


async def active(partner: Partner, *rules: Json, lane: str = "live") -> Json:
    made = await written(partner, *rules)
    answer = await partner.post(f"{PATH}/{made['id']}/activate", {"lane": lane})
    assert answer.status_code == 200, answer.text
    shown: Json = answer.json()
    return shown


async def rolled_back(partner: Partner) -> int | None:
    """The version that is live then."""
    answer = await partner.post(f"{PATH}/rollback")
    assert answer.status_code == 200, answer.text
    live: Json | None = answer.json()["live"]
    return live["version"] if live else None


async def went(partner: Partner, **members: Any) -> str:
    """Where a charge that may go anywhere goes."""
    sale = (await partner.charge(payment_method={"type": "card", "tokens": TOKENS}, **members)).json()
    assert sale["status"] == "completed", sale
    provider: str = sale["provider"]
    return provider


async def decisions(house: House, partner: Partner) -> list[Json]:
    """What was stamped on each charge's first attempt."""
    rows = await house.owner.fetch(
        "SELECT routing::text FROM attempts WHERE partner_id = $1 AND number = 1 ORDER BY id", partner.id
    )
    return [json.loads(row["routing"]) for row in rows]


async def test_what_is_written_is_shown_and_decides_nothing_yet(partner: Partner) -> None:
    large = rule(when={"currency": ["USD"], "amount": {"gte": "10.00"}}, unless={"card_brand": ["amex"]})
    made = await written(partner, large, description="Large ones")
    assert made.pop("id").startswith("rul_")
    assert TIME.fullmatch(made.pop("created_at"))
    assert made.pop("created_by").startswith("partner:key_")
    assert made == {
        "object": "routing_rules",
        "version": 1,
        "livemode": False,
        "description": "Large ones",
        "rules": [large],
        "live": False,
        "shadow": False,
    }
    assert await went(partner) == "stripe"


async def test_charges_follow_the_rules_once_they_are_active(partner: Partner) -> None:
    small = rule("small", {"priority": ["paypal"]}, when={"currency": ["USD"], "amount": {"lt": "5.00"}})
    shop = rule("shop 7", when={"metadata": {"shop": ["7", "8"]}}, unless={"currency": ["EUR"]})
    made = await active(partner, small, shop)
    assert (made["live"], made["shadow"]) == (True, False)
    assert await went(partner, amount="4.99") == "paypal"
    assert await went(partner, metadata={"shop": "7"}) == "adyen"
    assert await went(partner, metadata={"shop": "7"}, currency="EUR") == "stripe"
    assert await went(partner) == "stripe"
    assert (await partner.get(f"{PATH}/{made['id']}")).json() == made


async def test_a_rule_may_name_one_account(shared_house: House, partner: Partner) -> None:
    account = shared_house.accounts["adyen"]
    await active(partner, rule(then={"priority": [account, "stripe"]}))
    assert await went(partner) == "adyen"


async def test_what_no_account_of_a_rule_can_take_is_left_to_the_next(partner: Partner) -> None:
    await active(partner, rule("first", {"priority": ["manual"]}), rule("second", {"priority": ["paypal"]}))
    assert await went(partner) == "paypal"


async def test_another_process_knows_soon(shared_house: House, partner: Partner) -> None:
    scope = Scope(partner.id, livemode=False)
    async with runtime.opened(shared_house.runtime.settings, Role.APP) as other:
        assert (await other.switchboard.routes(scope)).live is None
        await active(partner, rule())
        await until(lambda: other.switchboard.routes(scope), lambda routes: routes.live is not None)


async def test_a_split_gives_each_its_share_and_the_same_payment_the_same(
    shared_house: House, partner: Partner
) -> None:
    halves = rule("halves", {"split": {"stripe": 1, "adyen": 1}})
    await active(partner, halves)
    await active(partner, halves, lane="shadow")
    assert {await went(partner) for _ in range(40)} == {"stripe", "adyen"}
    told = await decisions(shared_house, partner)
    assert len(told) == 40
    assert all(one["shadow"]["agrees"] for one in told), "another version with the same split decided otherwise"


async def test_shadow_rules_decide_nothing_and_tell_what_they_would_have(shared_house: House, partner: Partner) -> None:
    made = await active(partner, rule("draft"), lane="shadow")
    assert (made["live"], made["shadow"]) == (False, True)
    assert await went(partner) == "stripe"
    (told,) = await decisions(shared_house, partner)
    account = shared_house.accounts["adyen"]
    assert told["shadow"] == {"rule": "draft", "version": 1, "account": account, "agrees": False}


# ── Back and forth ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_roll_back_undoes_one_change_until_nothing_is_before(partner: Partner) -> None:
    await active(partner, rule(then={"priority": ["adyen"]}))
    await active(partner, rule(then={"priority": ["paypal"]}))
    deactivated = (await partner.post(f"{PATH}/deactivate")).json()
    assert (deactivated["live"], deactivated["shadow"]) == (None, None)
    assert await went(partner) == "stripe"
    assert (await rolled_back(partner), await went(partner)) == (2, "paypal")
    assert (await rolled_back(partner), await went(partner)) == (1, "adyen")
    assert (await rolled_back(partner), await went(partner)) == (None, "stripe")
    for _ in range(2):
        refused(await partner.post(f"{PATH}/rollback"), 409, "invalid_state")


async def test_a_roll_back_after_a_roll_back_and_a_new_version_returns_to_what_was_live(partner: Partner) -> None:
    first, second = await active(partner, rule()), await active(partner, rule())
    assert await rolled_back(partner) == first["version"]
    third = await active(partner, rule())
    assert third["version"] == second["version"] + 1
    assert await rolled_back(partner) == first["version"]
    assert await rolled_back(partner) is None


async def test_activating_what_is_live_changes_nothing(shared_house: House, partner: Partner) -> None:
    made = await active(partner, rule())
    assert (await partner.post(f"{PATH}/{made['id']}/activate")).json() == made
    assert await rolled_back(partner) is None


async def test_a_repeated_roll_back_goes_back_once(partner: Partner) -> None:
    for _ in range(3):
        await active(partner, rule())
    key = new_key()
    answers = [await partner.post(f"{PATH}/rollback", key=key) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert await rolled_back(partner) == 1


async def test_lanes_do_not_touch_each_other(partner: Partner) -> None:
    live = await active(partner, rule())
    await active(partner, rule(), lane="shadow")
    state = (await partner.post(f"{PATH}/deactivate", {"lane": "shadow"})).json()
    assert (state["live"], state["shadow"]) == (live, None)
    assert await rolled_back(partner) is None


async def test_versions_written_and_activated_at_once_are_numbered_and_one_is_live(partner: Partner) -> None:
    made = await asyncio.gather(*(active(partner, rule(str(number))) for number in range(8)))
    assert {one["version"] for one in made} == set(range(1, 9))
    shown = await listed(partner, PATH)
    assert [one["version"] for one in shown] == list(range(8, 0, -1))
    assert len([one for one in shown if one["live"]]) == 1
    undone = 1
    while await rolled_back(partner) is not None:
        undone += 1
    assert undone == 8, "an activation was lost"


async def test_the_order_of_activations_does_not_depend_on_clocks(shared_house: House, partner: Partner) -> None:
    """As if another process, whose clock is an hour ahead, had activated the first."""
    first, second = await written(partner, rule()), await written(partner, rule())
    ahead = UUID(int=ids.new().int + (3_600_000 << 80))
    await shared_house.owner.execute(
        "INSERT INTO routing_activations (partner_id, id, livemode, lane, version, activated_by)"
        " VALUES ($1, $2, false, 'live', $3, 'another')",
        partner.id,
        ahead,
        first["version"],
    )
    answer = await partner.post(f"{PATH}/{second['id']}/activate")
    assert answer.json()["live"] is True


async def test_every_act_is_in_the_audit_log(shared_house: House, partner: Partner) -> None:
    made = await active(partner, rule())
    await partner.post(f"{PATH}/deactivate")
    await rolled_back(partner)
    rows = await shared_house.owner.fetch(
        "SELECT action, resource_id, actor, changes FROM audit_logs"
        " WHERE partner_id = $1 AND resource_type = 'routing_rules' ORDER BY id",
        partner.id,
    )
    assert [row["action"].partition(".")[2] for row in rows] == ["created", "activated", "deactivated", "rolled_back"]
    assert {row["resource_id"] for row in rows} == {made["id"]}
    assert {row["actor"] for row in rows} == {made["created_by"]}
    assert '"after": 1' in rows[-1]["changes"]


# ── What is refused ─────────────────────────────────────────────────────────────────────────────────────────────────

HOURS = {"from": "22:00", "to": "06:00", "time_zone": "Europe/Berlin"}
CLAUSES: list[tuple[Any, str]] = [
    ({"amount": {"gte": "1.00"}}, "amount"),
    ({"amount": {"gte": "1.00"}, "currency": ["USD", "EUR"]}, "amount"),
    ({"amount": {}, "currency": ["USD"]}, "amount"),
    ({"amount": {"gte": 1}, "currency": ["USD"]}, "amount.gte"),
    ({"amount": {"gte": "1.001"}, "currency": ["USD"]}, "amount.gte"),
    ({"amount": {"lt": "1.5"}, "currency": ["JPY"]}, "amount.lt"),
    ({"amount": {"lt": "0"}, "currency": ["USD"]}, "amount.lt"),
    ({"amount": {"gte": "5.00", "lt": "5.00"}, "currency": ["USD"]}, "amount.lt"),
    ({"amount": {"gt": "5.00"}, "currency": ["USD"]}, "amount.gt"),
    ({"currency": "USD"}, "currency"),
    ({"currency": []}, "currency"),
    ({"currency": ["USD"] * 101}, "currency"),
    ({"currency": ["usd"]}, "currency.0"),
    ({"currency": ["USD", "XXX"]}, "currency.1"),
    ({"payment_method": ["cheque"]}, "payment_method.0"),
    ({"card_brand": ["Visa"]}, "card_brand.0"),
    ({"country": ["de"]}, "country.0"),
    ({"country": ["DEU"]}, "country.0"),
    ({"business_unit": ["A shop"]}, "business_unit.0"),
    ({"metadata": {}}, "metadata"),
    ({"metadata": {"shop": "7"}}, "metadata.shop"),
    ({"metadata": {"shop": []}}, "metadata.shop"),
    ({"metadata": {"": ["7"]}}, "metadata"),
    ({"metadata": {"shop": ["x" * 501]}}, "metadata.shop.0"),
    ({"time_of_day": HOURS | {"from": "24:00"}}, "time_of_day.from"),
    ({"time_of_day": HOURS | {"to": "6:00"}}, "time_of_day.to"),
    ({"time_of_day": HOURS | {"to": "22:00"}}, "time_of_day.to"),
    ({"time_of_day": HOURS | {"time_zone": "Europe/Atlantis"}}, "time_of_day.time_zone"),
    ({"time_of_day": HOURS | {"time_zone": "../../etc/passwd"}}, "time_of_day.time_zone"),
    ({"time_of_day": {"from": "22:00", "to": "06:00"}}, "time_of_day.time_zone"),
    ({"weather": ["rain"]}, "weather"),
]
WAYS: list[tuple[Any, str]] = [
    ({}, ""),
    ({"priority": ["stripe"], "adaptive": []}, ""),
    ({"priority": []}, ".priority"),
    ({"priority": ["stripe", "nobody"]}, ".priority.1"),
    ({"priority": [NOWHERE]}, ".priority.0"),
    ({"priority": ["stripe"] * 21}, ".priority"),
    ({"adaptive": ["nobody"]}, ".adaptive.0"),
    ({"split": {}}, ".split"),
    ({"split": {"stripe": 0}}, ".split.stripe"),
    ({"split": {"stripe": 1001}}, ".split.stripe"),
    ({"split": {"stripe": 0.5}}, ".split.stripe"),
    ({"split": {"stripe": 1, "nobody": 1}}, ".split.nobody"),
    ({"random": ["stripe"]}, ".random"),
]


@pytest.mark.parametrize("clause", ["when", "unless"])
@pytest.mark.parametrize(("given", "field"), CLAUSES, ids=[field for _, field in CLAUSES])
async def test_a_wrong_condition_is_named_where_it_stands(
    partner: Partner, clause: str, given: Json, field: str
) -> None:
    rules = [rule("good"), rule("also good"), rule("wrong", **{clause: given})]
    refused(await partner.post(PATH, {"rules": rules}), 422, "invalid_request", f"rules.2.{clause}.{field}")


@pytest.mark.parametrize(("then", "field"), WAYS, ids=[field or "none or two" for _, field in WAYS])
async def test_a_wrong_way_is_named_where_it_stands(partner: Partner, then: Json, field: str) -> None:
    answer = await partner.post(PATH, {"rules": [{"name": "wrong", "then": then}]})
    fields = {error["field"] for error in refused(answer, 422, "invalid_request")["errors"]}
    assert f"rules.0.then{field}" in fields


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"rules"}),
        ({"rules": []}, {"rules"}),
        ({"rules": [rule(str(number)) for number in range(101)]}, {"rules"}),
        ({"rules": [rule("a"), rule("b"), rule("a"), rule("b")]}, {"rules.2.name", "rules.3.name"}),
        ({"rules": [rule("")]}, {"rules.0.name"}),
        ({"rules": [rule("x" * 65)]}, {"rules.0.name"}),
        ({"rules": [rule("two\nlines")]}, {"rules.0.name"}),
        ({"rules": [{"name": "no way"}]}, {"rules.0.then"}),
        ({"rules": [rule(unless={})]}, {"rules.0.unless"}),
        ({"rules": [rule()], "description": "x" * 256}, {"description"}),
        ({"rules": [rule()], "version": 7}, {"version"}),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else "",
)
async def test_a_wrong_set_is_refused(partner: Partner, body: Json, fields: set[str]) -> None:
    refused(await partner.post(PATH, body), 422, "invalid_request", *fields)
    assert await listed(partner, PATH) == []


async def test_all_mistakes_are_told_at_once(partner: Partner) -> None:
    wrong = {"currency": ["XXX"]}
    rules = [rule(when=wrong, then={"priority": ["nobody"]}), rule("b", unless=wrong), rule("b")]
    fields = ("rules.0.when.currency.0", "rules.0.then.priority.0", "rules.1.unless.currency.0", "rules.2.name")
    refused(await partner.post(PATH, {"rules": rules}), 422, "invalid_request", *fields)


async def test_a_hundred_rules_are_taken(partner: Partner) -> None:
    when = {"currency": ["USD"], "amount": {"gte": "1.00"}, "metadata": {"shop": ["7"]}, "time_of_day": HOURS}
    assert len((await written(partner, *(rule(str(number), when=when) for number in range(100))))["rules"]) == 100


async def test_another_partners_account_is_none(shared_house: House, partner: Partner) -> None:
    other = await shared_house.partner()
    account = await shared_house.account("adyen", shared_house.simulators["adyen"], partner_id=other.id)
    await shared_house.silence("adyen")
    assert (await other.post(PATH, {"rules": [rule(then={"priority": [account]})]})).status_code == 201
    problems = [
        refused(await partner.post(PATH, {"rules": [rule(then={"split": {one: 1}})]}), 422, "invalid_request")
        for one in (account, NOWHERE)
    ]
    assert [problem["errors"][0]["message"] for problem in problems] == [problems[0]["errors"][0]["message"]] * 2
    assert ID.fullmatch(problems[0]["errors"][0]["field"].rpartition(".")[2])


async def test_rules_are_written_with_their_own_scope_only(shared_house: House, partner: Partner) -> None:
    made = await active(partner, rule())
    reader = await shared_house.key_of(partner.id, scopes=("transactions:read", "transactions:write"))
    assert (await reader.get(f"{PATH}/{made['id']}")).json() == made
    paths = (PATH, f"{PATH}/{made['id']}/activate", f"{PATH}/rollback", f"{PATH}/deactivate")
    for path in paths:
        assert refused(await reader.post(path), 403, "insufficient_scope")["scope"] == "routing:write"
    assert (await listed(partner, PATH)) == [made]


async def test_a_repeated_creation_makes_one_version(partner: Partner) -> None:
    key = new_key()
    answers = [await partner.post(PATH, {"rules": [rule()]}, key=key) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert len(await listed(partner, PATH)) == 1
    refused(await partner.client.post(PATH, json={"rules": [rule()]}), 400, "idempotency_key_missing")
