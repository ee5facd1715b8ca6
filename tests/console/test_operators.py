"""Promise: operators run partners, keys, accounts and rules in a browser, and no secret is seen twice."""

from __future__ import annotations

import html
import json
import re

import httpx
import pytest

from db import ids
from gateway.console import accounts, partners, reach
from providers.simulator import CREDENTIALS
from tests.acceptance.steps import until
from tests.house import House, Partner, new_key
from tests.support_desk import Clerk, SupportDesk

KEY = re.compile(r"sk_test_[A-Za-z0-9_]+")
CANARY = "AQEcanary0123456789"


def path_of(partner: Partner) -> str:
    return f"/console/partners/{ids.encode('prt', partner.id)}"


async def told(clerk: Clerk, answer: httpx.Response) -> str:
    """The page after an act."""
    assert answer.status_code == 303, answer.text
    page = await clerk.get(answer.headers["location"])
    assert page.status_code == 200, page.text
    return html.unescape(page.text)


async def answered(house: House, key: str) -> int:
    path = f"{house.base_url}/v1/transactions"
    return (await house.http.get(path, headers={"Authorization": f"Bearer {key}"})).status_code


# ── Partners and their keys ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_is_shown_once_works_and_stops_when_it_is_revoked(
    shared_house: House, admin: Clerk, partner: Partner
) -> None:
    answer = await admin.post(f"{path_of(partner)}/keys", {"mode": "test", "scope.transactions:read": "yes"})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    (key,) = set(KEY.findall(answer.text))
    assert await answered(shared_house, key) == 200
    assert key not in (await admin.get(path_of(partner))).text
    issued = await shared_house.owner.fetchrow(
        "SELECT id, scopes::text[] AS scopes FROM api_keys WHERE created_by = $1", admin.actor
    )
    assert issued is not None
    assert issued["scopes"] == ["transactions:read"]
    revoked = await admin.post(f"/console/keys/{ids.encode('key', issued['id'])}/revoke")
    assert "is revoked" in await told(admin, revoked)
    await until(lambda: answered(shared_house, key), lambda status: status == 401)


async def test_a_rotated_key_has_a_successor_and_an_end(shared_house: House, admin: Clerk, partner: Partner) -> None:
    (old,) = await shared_house.desk.list_keys(partner.id)
    answer = await admin.post(f"/console/keys/{ids.encode('key', old.id)}/rotate", {"overlap_hours": "24"})
    (key,) = set(KEY.findall(answer.text))
    assert await answered(shared_house, key) == 200
    assert await answered(shared_house, partner.api_key) == 200
    ends = {one.id: one.expires_at for one in await shared_house.desk.list_keys(partner.id)}
    assert ends[old.id] is not None


async def test_what_is_wrong_with_a_new_key_is_named(admin: Clerk, partner: Partner) -> None:
    answer = await admin.post(f"{path_of(partner)}/keys", {"mode": "test", "expires_in_days": "3"})
    assert answer.status_code == 422
    assert "scopes must be one at least" in answer.text


async def test_a_partner_is_created_limited_and_shut_out(shared_house: House, admin: Clerk) -> None:
    made = await admin.post("/console/partners", {"name": "<b>Shop</b>", "email": f"{new_key()}@shop.example"})
    page = await told(admin, made)
    assert "<h1><b>Shop" not in (await admin.get(made.headers["location"])).text
    assert "needs an API key" in page
    path = made.headers["location"]
    partner_id = ids.decode("prt", path.rpartition("/")[2])
    assert partner_id is not None
    wrong = await admin.post(f"{path}/limits", {"rate_limit_per_minute": "0", "review_above": "EUR 5k"})
    assert wrong.status_code == 422
    assert "must be at least 1" in wrong.text
    assert "must look like EUR=5000" in wrong.text
    unknown = await admin.post(f"{path}/limits", {"rate_limit_per_minute": "60", "review_above": "XXX=5"})
    assert "XXX is not a currency" in unknown.text
    limits = {"rate_limit_per_minute": "60", "amount_limits": "EUR=5000\r\nUSD=10.50", "review_above": "EUR=100"}
    assert "The limits are changed" in await told(admin, await admin.post(f"{path}/limits", limits))
    changed = await shared_house.desk.show_partner(partner_id)
    assert changed.rate_limit_per_minute == 60
    assert {code: str(amount) for code, amount in changed.amount_limits.items()} == {"EUR": "5000", "USD": "10.50"}
    assert (await admin.post(f"{path}/deactivate")).status_code == 422
    assert (await shared_house.desk.show_partner(partner_id)).is_active
    assert "is deactivated" in await told(admin, await admin.post(f"{path}/deactivate", {"sure": "yes"}))
    assert not (await shared_house.desk.show_partner(partner_id)).is_active
    acts = await shared_house.owner.fetch(
        "SELECT action, actor, request_id FROM audit_logs WHERE partner_id = $1 ORDER BY id", partner_id
    )
    assert [row["action"] for row in acts] == ["partner.created", "partner.updated", "partner.deactivated"]
    assert {row["actor"] for row in acts} == {admin.actor}
    assert all(row["request_id"] for row in acts)


async def test_every_partner_is_met_page_by_page_and_found_by_what_is_known_of_it(
    shared_house: House, admin: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partners, "PAGE", 2)
    monkeypatch.setattr(reach, "CHOICES_MAX", 2)
    monkeypatch.setattr(accounts, "PARTNERS_MAX", 2)
    made = [
        await shared_house.desk.create_partner(name=f"Old 100% Shop & Co {number}", email=f"{new_key()}@old.example")
        for number in range(5)
    ]
    newest_first = [ids.encode("prt", one.id) for one in reversed(made)]
    met, path = list[list[str]](), "/console/partners?named=100%25+shop+%26"
    while path:
        page = (await admin.get(path)).text
        met.append(re.findall(r'href="/console/partners/(prt_\w+)"', page))
        path = html.unescape(page).rpartition('" rel="next"')[0].rpartition('href="')[2]
    assert met == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    oldest, option = made[0], f'<option value="{newest_first[-1]}"'
    offered = (await admin.get("/console/reach")).text
    assert option not in offered
    assert "find the others" in offered
    for named in ("SHOP & CO 0", oldest.email[:20], newest_first[-1]):
        assert option in (await admin.get("/console/reach", named=named)).text, named
    assert "No partner fits" in (await admin.get("/console/reach", named="prt_0")).text
    assert f"{option} selected>" in (await admin.get("/console/accounts/new", partner=newest_first[-1])).text


@pytest.mark.parametrize("path", ["partners", "accounts", "routing", "accounts/new", "partners/new"])
async def test_only_an_admin_gets_in(shared_support: SupportDesk, path: str) -> None:
    clerk = await shared_support.clerk("finance")
    assert (await clerk.get(f"/console/{path}")).status_code == 403


# ── Accounts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def an_account(house: House, **fields: str) -> dict[str, str]:
    given = dict(CREDENTIALS["adyen"]) | {
        "api_key": CANARY,
        "hmac_keys": " ".join(_texts(CREDENTIALS["adyen"]["hmac_keys"])),
    }
    credentials = {f"credential.{name}": str(text) for name, text in given.items()}
    return {"provider": "adyen", "mode": "test", "base_url": house.simulators["adyen"], **credentials, **fields}


def _texts(values: object) -> list[str]:
    assert isinstance(values, list)
    return [str(value) for value in values]


async def added(admin: Clerk, house: House, **fields: str) -> str:
    """The path of a new account."""
    answer = await admin.post("/console/accounts", an_account(house, **fields))
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def test_an_account_is_added_tried_and_run(shared_house: House, admin: Clerk, partner: Partner) -> None:
    whose = ids.encode("prt", partner.id)
    path = await added(admin, shared_house, partner=whose, label="Ours at Adyen")
    account_id = ids.decode("pac", path.rpartition("/")[2])
    assert account_id is not None
    assert "there is no call to try it with" in await told(admin, await admin.post(f"{path}/try"))
    fees = {"percent": "1.4", "fixed": "EUR=0.25"}
    assert "1.4 % + 0.25 EUR" in await told(admin, await admin.post(f"{path}/fees", fees))
    open_it = {"state": "open", "method": "card", "reason": "Incident 12"}
    assert "open: Incident 12" in await told(admin, await admin.post(f"{path}/breaker", open_it))
    assert (await admin.post(f"{path}/breaker", {"state": "open"})).status_code == 422
    listed = html.unescape((await admin.get("/console/accounts")).text)
    assert "Ours at Adyen" in listed
    assert "1.4 % + 0.25 EUR" in listed
    assert "gets no new attempt" in await told(admin, await admin.post(f"{path}/disable"))
    assert not (await shared_house.desk.show_account(account_id)).enabled


async def test_the_connection_is_tried_at_the_psp(shared_house: House, admin: Clerk) -> None:
    path = f"/console/accounts/{shared_house.accounts['stripe']}"
    assert f"stripe {shared_house.accounts['stripe']}: answers" in await told(admin, await admin.post(f"{path}/try"))


async def test_bad_credentials_are_named_and_never_repeated(
    shared_house: House, admin: Clerk, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = await admin.post("/console/accounts", an_account(shared_house, **{"credential.merchant_account": "a b"}))
    assert wrong.status_code == 422
    assert "merchant_account: " in html.unescape(wrong.text)
    path = await added(admin, shared_house)
    replaced = await admin.post(
        f"{path}/credentials", {"credential.api_key": f"{CANARY}2", "credential.merchant_account": "Shop"}
    )
    pages = [wrong.text, await told(admin, replaced), (await admin.get("/console/accounts")).text]
    bad = await admin.post(f"{path}/credentials", {"credential.api_key": CANARY})
    assert bad.status_code == 422
    tried = await told(admin, await admin.post(f"{path}/try"))
    rows = await shared_house.owner.fetch("SELECT * FROM audit_logs WHERE actor = $1", admin.actor)
    assert {"provider_account.added", "provider_account.credentials_changed"} <= {row["action"] for row in rows}
    seen = [*pages, bad.text, tried, caplog.text, *(str(dict(row)) for row in rows)]
    assert not [text for text in seen if CANARY in text]


# ── Rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def document(target: str, **members: object) -> str:
    return json.dumps({"rules": [{"name": "all", "then": {"priority": [target]}} | members]}, indent=2)


async def written(admin: Clerk, text: str) -> str:
    answer = await admin.post("/console/routing", {"document": text})
    assert answer.status_code == 303, html.unescape(answer.text)
    return str(answer.headers["location"])


async def test_a_mistake_is_named_with_its_place_and_what_was_typed_is_kept(admin: Clerk) -> None:
    text = document("nowhere", when={"currency": ["EUR", "XXQ"]}, unknown=1)
    answer = await admin.post("/console/routing", {"document": text})
    assert answer.status_code == 422
    assert "<code>rules.0.unknown</code> is not a field" in answer.text
    answer = await admin.post("/console/routing", {"document": document("nowhere", when={"currency": ["EUR", "XXQ"]})})
    page = html.unescape(answer.text)
    assert "<code>rules.0.when.currency.1</code> is not a currency" in page
    assert "<code>rules.0.then.priority.0</code> must be a provider" in page
    assert '"XXQ"' in page
    answer = await admin.post("/console/routing", {"document": '{"rules": [}'})
    assert "line 1, column 12" in answer.text


async def test_a_document_longer_than_a_field_is_taken_and_card_data_is_not(admin: Clerk) -> None:
    many = [{"name": f"rule {number}", "then": {"priority": ["stripe"]}} for number in range(90)]
    assert len(json.dumps({"rules": many}, indent=2)) > 4_096
    await written(admin, json.dumps({"rules": many}, indent=2))
    answer = await admin.post("/console/routing", {"document": document("4242424242424242")})
    assert answer.status_code == 422
    assert "looks like card data" in answer.text
    assert "4242424242424242" not in answer.text


async def test_rules_are_activated_rolled_back_and_their_history_told(admin: Clerk, partner: Partner) -> None:
    first, second = [await written(admin, document(target)) for target in ("stripe", "adyen")]
    assert "Version 1 decides" in await told(admin, await admin.post(f"{first}/activate", {"lane": "live"}))
    assert "Version 2 decides" in await told(admin, await admin.post(f"{second}/activate", {"lane": "live"}))
    method = {"type": "card", "tokens": {"stripe": "pm_card_visa", "adyen": "ada/APPROVED"}}

    async def provider() -> str:
        return str((await partner.charge(payment_method=method)).json()["provider"])

    await until(provider, lambda chosen: chosen == "adyen")
    assert "Rolled back to version 1" in await told(admin, await admin.post("/console/routing/roll-back"))
    page = await told(admin, await admin.post("/console/routing/roll-back"))
    assert "no rules: the accounts' own priority decides" in page
    assert page.count("<li><time") == 4
    assert "by Robin" in page
    assert "nothing to go back to" in await told(admin, await admin.post("/console/routing/roll-back"))


async def test_a_draft_is_put_to_the_past_and_nothing_is_written(admin: Clerk, partner: Partner) -> None:
    await partner.charge()
    answer = await admin.post("/console/routing/backtest", {"document": document("adyen"), "days": "1"})
    assert answer.status_code == 200, answer.text
    assert "1 decisions from" in answer.text
    assert "stripe has 1 of 30" in answer.text
    assert "No version yet" in (await admin.get("/console/routing")).text


async def test_rules_of_another_partner_are_not_there(shared_house: House, admin: Clerk) -> None:
    path = await written(admin, document("stripe"))
    other = await shared_house.partner()
    await admin.look_at(other.id)
    assert (await admin.get(path)).status_code == 404
    assert (await admin.post(f"{path}/activate", {"lane": "live"})).status_code == 404
