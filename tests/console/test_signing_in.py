"""Coming into the console: passwords, tries, second factors, and the sessions that they begin."""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from argon2 import PasswordHasher

from db import ids, support_sessions, support_users
from db.support_users import FAILURES_MAX
from db.vault import CannotOpen, Vault
from gateway.partners import Desk
from gateway.people import Invited
from gateway.second_factors import STEP_SECONDS, SecondFactor
from tests import support_desk
from tests.house import House
from tests.support_desk import Browser, SupportDesk

OWN = "tigers eat lavender"
"""A password that nobody refuses."""


@pytest.fixture
async def strict(house: House) -> AsyncIterator[SupportDesk]:
    """Where nobody comes in without a second factor."""
    async with support_desk.opened(house, console_second_factor=True) as opened:
        yield opened


async def acts(desk: SupportDesk, about: str) -> list[str]:
    """The audit log's lines about one, oldest first."""
    rows = await desk.house.owner.fetch("SELECT action FROM audit_logs WHERE resource_id = $1 ORDER BY id", about)
    return [row["action"] for row in rows]


def name_of(invited: Invited) -> str:
    return ids.encode("sup", invited.person.id)


async def enrolled(desk: SupportDesk, invited: Invited) -> SecondFactor:
    """With a second factor, none of whose codes was used."""
    factor = SecondFactor.fresh()
    sealed = desk.console.acting.vault.seal(factor.secret, f"support_users.totp_secret/{invited.person.id}")
    await desk.house.owner.execute("UPDATE support_users SET totp_secret = $2 WHERE id = $1", invited.person.id, sealed)
    return factor


def code(factor: SecondFactor, steps: int = 0) -> str:
    """As the app shows it now, or some steps later."""
    return factor.code(datetime.now(UTC).timestamp() + steps * STEP_SECONDS)


async def is_in(browser: Browser) -> bool:
    return (await browser.get("/console/account")).status_code == 200


# ── The password ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_wrong_password_and_an_unknown_address_are_answered_alike(shared_support: SupportDesk) -> None:
    invited, browser = await shared_support.invited(), shared_support.browser()
    wrong = await browser.sign_in(invited.person.email, "not the password")
    unknown = await browser.sign_in("nobody@support.example", "not the password")
    assert wrong.status_code == unknown.status_code == 401
    assert (
        wrong.text.replace(invited.person.email, "").split("nonce", 1)[0]
        == unknown.text.replace("nobody@support.example", "").split("nonce", 1)[0]
    )
    assert browser.cookie is None
    assert await acts(shared_support, name_of(invited)) == ["support_user.invited", "support_user.sign_in_failed"]
    told = await shared_support.house.owner.fetch("SELECT audit_logs::text AS line FROM audit_logs")
    assert not [row for row in told if "nobody@support.example" in row["line"]]


async def test_the_cookie_is_sent_to_this_host_over_tls_only_and_no_script_reads_it(
    shared_support: SupportDesk,
) -> None:
    invited, browser = await shared_support.invited(), shared_support.browser()
    answer = await browser.sign_in(invited.person.email.upper(), invited.password)
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith("__Host-")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=lax", "Secure"]
    assert answer.headers["cache-control"] == "no-store"


async def test_a_session_begins_under_a_token_that_nobody_knew_before(shared_support: SupportDesk) -> None:
    invited, browser = await shared_support.invited(), shared_support.browser()
    browser.cookie = planted = "a-token-that-somebody-planted-here-0123456789"
    await browser.sign_in(invited.person.email, invited.password)
    assert browser.cookie not in {None, planted}
    assert await is_in(browser)
    browser.cookie = planted
    assert (await browser.get("/console/account")).headers["location"].startswith("/console/sign-in")


@pytest.mark.parametrize(
    "then",
    [
        "//evil.example/",
        "/\\evil.example",
        "http://evil.example/",
        "/console//evil.example",
        "/console/\\evil",
        "/v1/x",
    ],
)
async def test_signing_in_leads_nowhere_else(shared_support: SupportDesk, then: str) -> None:
    invited, browser = await shared_support.invited(), shared_support.browser()
    assert then not in (await browser.get("/console/sign-in", then=then)).text
    answer = await browser.sign_in(invited.person.email, invited.password, then=then)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")


async def test_signing_in_leads_where_one_was_going(shared_support: SupportDesk) -> None:
    invited, browser = await shared_support.invited(), shared_support.browser()
    asked = await browser.get("/console/account", a="b")
    assert asked.headers["location"] == "/console/sign-in?then=%2Fconsole%2Faccount%3Fa%3Db"
    answer = await browser.sign_in(invited.person.email, invited.password, then="/console/account?a=b")
    assert answer.headers["location"] == "/console/account?a=b"


async def test_a_password_that_was_handed_over_opens_nothing_but_its_change(support: SupportDesk) -> None:
    admin = await support.clerk()
    shown = await admin.post("/console/people", {"email": "kim@shop.example", "name": "Kim", "role": "viewer"})
    password = shown.text.partition("<dt>Password</dt>")[2].partition("</code>")[0].rpartition(">")[2]
    browser = support.browser()
    answer = await browser.sign_in("kim@shop.example", password)
    assert answer.headers["location"].startswith("/console/second-factor")
    assert not await is_in(browser)
    form = await browser.get("/console/second-factor")
    assert "Choose your own password" in form.text
    for given, told in [("kim@shop.example", "words"), ("short", "12"), (password, "the one that you had")]:
        refused = await browser.post("/console/first-password", {"password": given, "repeated": given})
        assert (refused.status_code, told in refused.text, given in refused.text) == (422, True, False)
    refused = await browser.post("/console/first-password", {"password": OWN, "repeated": "another"})
    assert refused.status_code == 422
    before = browser.cookie
    chosen = await browser.post("/console/first-password", {"password": OWN, "repeated": OWN})
    assert chosen.headers["location"] == "/console/"
    assert await is_in(browser)
    browser.cookie = before
    assert not await is_in(browser)
    assert (await support.browser().sign_in("kim@shop.example", password)).status_code == 401


async def test_a_hash_of_yesterdays_parameters_is_replaced(shared_support: SupportDesk) -> None:
    invited, owner = await shared_support.invited(), shared_support.house.owner
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(invited.password)
    await owner.execute("UPDATE support_users SET password = $2 WHERE id = $1", invited.person.id, old)
    for _ in range(2):
        browser = shared_support.browser()
        await browser.sign_in(invited.person.email, invited.password)
        assert await is_in(browser)
    stored = await owner.fetchval("SELECT password FROM support_users WHERE id = $1", invited.person.id)
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


# ── Tries ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_of_any_number_of_guesses_at_once_ten_are_looked_at(support: SupportDesk) -> None:
    invited = await support.invited()
    guesses = [support.browser().sign_in(invited.person.email, f"guess {number}") for number in range(3 * FAILURES_MAX)]
    answers = await asyncio.gather(*guesses)
    assert {answer.status_code for answer in answers} == {401}
    told = await acts(support, name_of(invited))
    assert told.count("support_user.locked") == 1
    owner = support.house.owner
    assert await owner.fetchval("SELECT failures FROM support_users WHERE id = $1", invited.person.id) == FAILURES_MAX
    locked = await support.browser().sign_in(invited.person.email, invited.password)
    assert (locked.status_code, locked.text.count("wrong")) == (401, answers[0].text.count("wrong"))
    await owner.execute("UPDATE support_users SET locked_until = now() WHERE id = $1", invited.person.id)
    browser = support.browser()
    await browser.sign_in(invited.person.email, "one more guess")
    assert await owner.fetchval("SELECT failures FROM support_users WHERE id = $1", invited.person.id) == 1
    await browser.sign_in(invited.person.email, invited.password)
    assert await is_in(browser)
    assert await owner.fetchval("SELECT failures FROM support_users WHERE id = $1", invited.person.id) == 0


async def test_an_address_that_fails_too_often_is_refused_for_a_while(house: House) -> None:
    async with support_desk.opened(house, failed_auth_per_minute=3) as desk:
        invited, browser = await desk.invited(), desk.browser()
        answers = [await browser.sign_in("nobody@support.example", "guess") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
        assert int(answers[3].headers["retry-after"]) > 0
        assert (await browser.sign_in(invited.person.email, invited.password)).status_code == 429


# ── The second factor ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_without_its_second_factor_a_session_reaches_nothing(strict: SupportDesk) -> None:
    invited, browser = await strict.invited(), strict.browser()
    await enrolled(strict, invited)
    answer = await browser.sign_in(invited.person.email, invited.password, then="/console/people")
    assert answer.headers["location"] == "/console/second-factor?then=%2Fconsole%2Fpeople"
    for path in ("/console/", "/console/account", "/console/people", "/console/reach"):
        assert (await browser.get(path)).headers["location"].startswith("/console/second-factor")
    await browser.get("/console/second-factor")
    for path in ("/console/account/password", "/console/account/second-factor", "/console/people", "/console/reach"):
        assert (await browser.post(path)).headers["location"] == "/console/second-factor"
    stolen = await browser.post("/console/second-factor/set-up", {"sealed": "AQ==", "code": "000000"})
    assert stolen.headers["location"] == "/console/second-factor"
    chosen = await browser.post("/console/first-password", {"password": OWN, "repeated": OWN})
    assert chosen.headers["location"] == "/console/"
    assert not await is_in(browser)


async def test_a_code_opens_once_and_the_session_is_another_one_then(strict: SupportDesk) -> None:
    invited, browser, second = await strict.invited(), strict.browser(), strict.browser()
    factor = await enrolled(strict, invited)
    for one in (browser, second):
        await one.sign_in(invited.person.email, invited.password)
        await one.get("/console/second-factor")
    before, used = browser.cookie, code(factor)
    shown = f"{used[:3]} {used[3:]}"
    answer = await browser.post("/console/second-factor", {"code": shown, "then": "/console/account"})
    assert (answer.headers["location"], await is_in(browser)) == ("/console/account", True)
    assert browser.cookie != before
    browser.cookie = before
    assert not await is_in(browser)
    assert (await second.post("/console/second-factor", {"code": used})).status_code == 401
    assert (await second.post("/console/second-factor", {"code": code(factor, 1)})).status_code == 303
    assert await is_in(second)
    told = await acts(strict, name_of(invited))
    assert told[1:] == ["support_user.signed_in", "support_user.sign_in_failed", "support_user.signed_in"]


async def test_of_two_uses_of_one_code_at_once_one_opens(strict: SupportDesk) -> None:
    invited = await strict.invited()
    factor = await enrolled(strict, invited)
    browsers = [strict.browser() for _ in range(6)]
    for browser in browsers:
        await browser.sign_in(invited.person.email, invited.password)
        await browser.get("/console/second-factor")
    used = code(factor)
    answers = await asyncio.gather(*(browser.post("/console/second-factor", {"code": used}) for browser in browsers))
    assert sorted(answer.status_code for answer in answers) == [303, *[401] * 5]


async def test_the_right_password_forgives_no_wrong_code(strict: SupportDesk) -> None:
    invited, browser = await strict.invited(), strict.browser()
    factor = await enrolled(strict, invited)
    for _ in range(FAILURES_MAX):
        await browser.sign_in(invited.person.email, invited.password)
        await browser.get("/console/second-factor")
        assert (await browser.post("/console/second-factor", {"code": code(factor, 9)})).status_code == 401
    assert (await browser.post("/console/second-factor", {"code": code(factor)})).status_code == 401
    assert (await acts(strict, name_of(invited)))[-2:] == ["support_user.locked", "support_user.sign_in_failed"]


async def test_whoever_has_no_second_factor_sets_one_up_at_the_first_sign_in(strict: SupportDesk) -> None:
    invited, browser, other = await strict.invited(), strict.browser(), strict.browser()
    for one in (browser, other):
        await one.sign_in(invited.person.email, invited.password)
        assert not await is_in(one)
    factor, form = await set_up(browser)
    wrong = await browser.post("/console/second-factor/set-up", form | {"code": code(factor, 9)})
    assert (wrong.status_code, factor.text in wrong.text) == (422, True)
    elsewhere, _ = await set_up(other)
    foreign = await other.post("/console/second-factor/set-up", form | {"code": code(factor)})
    assert foreign.status_code == 422
    used = code(factor)
    assert (await browser.post("/console/second-factor/set-up", form | {"code": used})).status_code == 303
    assert await is_in(browser)
    assert (await other.get("/console/second-factor")).headers["location"].startswith("/console/sign-in")
    await other.sign_in(invited.person.email, invited.password)
    await other.get("/console/second-factor")
    assert (await other.post("/console/second-factor", {"code": used})).status_code == 401
    assert (await other.post("/console/second-factor", {"code": code(elsewhere, 1)})).status_code == 401
    assert (await other.post("/console/second-factor", {"code": code(factor, 1)})).status_code == 303


async def set_up(browser: Browser, page: str = "") -> tuple[SecondFactor, dict[str, str]]:
    """What the page proposes, and what it sends back."""
    page = page or (await browser.get("/console/second-factor")).text
    secret = re.search(r'<code class="id">([A-Z2-7]{32})</code>', page)
    sealed = re.search(r'name="sealed" value="([^"]+)"', page)
    assert secret is not None
    assert sealed is not None
    assert 'src="data:image/svg+xml' in page
    return SecondFactor(base64.b32decode(secret[1])), {"sealed": sealed[1]}


async def test_where_it_is_voluntary_whoever_has_set_it_up_is_asked(support: SupportDesk) -> None:
    clerk = await support.clerk("viewer")
    refused = await clerk.post("/console/account/second-factor", {"proof": "not the password"})
    assert (refused.status_code, "not your password" in refused.text) == (422, True)
    page = await clerk.post("/console/account/second-factor", {"proof": clerk.password})
    factor, form = await set_up(clerk, page.text)
    confirmed = await clerk.post(
        "/console/second-factor/set-up", form | {"code": code(factor), "then": "/console/account"}
    )
    assert confirmed.headers["location"] == "/console/account"
    assert "set up" in (await clerk.get("/console/account")).text
    browser = support.browser()
    answer = await browser.sign_in(clerk.person.email, clerk.password)
    assert answer.headers["location"].startswith("/console/second-factor")
    assert not await is_in(browser)


async def test_a_second_factor_lies_sealed_in_its_own_row_and_moves_to_a_new_key(support: SupportDesk) -> None:
    (one, factor), (other, _) = [
        (invited.person, await enrolled(support, invited))
        for invited in (await support.invited(), await support.invited())
    ]
    old = support.console.acting.vault
    new = Vault({2: os.urandom(32), **old.keys})

    async def sealed() -> bytes:
        found: bytes = await support.house.owner.fetchval("SELECT totp_secret FROM support_users WHERE id = $1", one.id)
        return found

    assert factor.secret not in await sealed()
    with pytest.raises(CannotOpen):
        support_users.open_secret(old, await sealed(), user_id=other.id)
    desk = Desk(support.console.operating, new, "operator:test")
    assert (1, "second factor", 2) in await desk.secrets_in_use()
    assert await desk.reseal() >= 2
    assert (2, "second factor", 2) in await desk.secrets_in_use()
    assert support_users.open_secret(new, await sealed(), user_id=one.id) == factor.secret
    with pytest.raises(CannotOpen):
        support_users.open_secret(old, await sealed(), user_id=one.id)


# ── Sessions ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_another_password_ends_every_other_session(support: SupportDesk) -> None:
    clerk, second = await support.clerk("viewer"), support.browser()
    await second.sign_in(clerk.person.email, clerk.password)
    form = {"current": clerk.password, "password": OWN, "repeated": OWN}
    wrong = await clerk.post("/console/account/password", form | {"current": "something else"})
    assert (wrong.status_code, OWN in wrong.text) == (422, False)
    assert await is_in(second)
    before = clerk.cookie
    assert (await clerk.post("/console/account/password", form)).status_code == 303
    assert await is_in(clerk)
    assert not await is_in(second)
    clerk.cookie = before
    assert not await is_in(clerk)


async def test_one_ends_ones_other_sessions_and_ones_own(support: SupportDesk) -> None:
    clerk, second = await support.clerk("viewer"), support.browser()
    await second.sign_in(clerk.person.email, clerk.password)
    assert (await clerk.get("/console/account")).text.count("this one") == 1
    assert (await clerk.post("/console/account/sessions/end")).status_code == 303
    assert "Ended: 1." in (await clerk.get("/console/account")).text
    assert not await is_in(second)
    left = clerk.cookie
    answer = await clerk.post("/console/sign-out")
    assert (answer.headers["location"], clerk.cookie) == ("/console/sign-in", None)
    clerk.cookie = left
    assert not await is_in(clerk)


async def test_a_session_is_over_when_nobody_uses_it_and_forgotten_after_a_month(support: SupportDesk) -> None:
    idle, old = await support.clerk("viewer"), await support.clerk("viewer")
    owner = support.house.owner
    await owner.execute(
        "UPDATE support_sessions SET seen_at = now() - interval '15 minutes' WHERE user_id = $1", idle.person.id
    )
    await owner.execute("UPDATE support_sessions SET expires_at = now() WHERE user_id = $1", old.person.id)
    assert not await is_in(idle)
    assert not await is_in(old)
    await owner.execute(
        "UPDATE support_sessions SET expires_at = now() - interval '32 days' WHERE user_id = $1", old.person.id
    )
    async with support.house.background.database.as_system() as connection:
        assert await support_sessions.forget(connection, 10) == 1
    assert await owner.fetchval("SELECT count(*) FROM support_sessions") == 1


async def test_a_fresh_session_looks_at_the_only_partner(support: SupportDesk) -> None:
    partner = await support.house.partner()
    clerk = await support.clerk("viewer")
    assert "Partner 1" in (await clerk.get("/console/account")).text
    entered = await support.house.owner.fetchrow("SELECT * FROM audit_logs WHERE action = 'console.entered'")
    assert entered is not None
    assert (entered["actor"], entered["partner_id"]) == (clerk.actor, partner.id)
    await support.house.partner()
    assert "Choose a partner" in (await (await support.clerk("viewer")).get("/console/account")).text


async def test_a_fresh_session_is_live_where_anything_is(support: SupportDesk) -> None:
    looks = "SELECT livemode FROM support_sessions ORDER BY id DESC LIMIT 1"
    await support.clerk("viewer")
    assert await support.house.owner.fetchval(looks) is False
    await support.house.desk.add_account(provider="manual", livemode=True, credentials={})
    await support.clerk("viewer")
    assert await support.house.owner.fetchval(looks) is True
