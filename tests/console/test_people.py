"""What admins do about people, in the console and from the command line."""

from __future__ import annotations

import asyncio

import pytest

from db import ids
from tests.integration.commands import paygate, told
from tests.support_desk import SupportDesk

HOSTILE = "<script>alert(1)</script>"


async def acts(desk: SupportDesk, about: str) -> list[tuple[str, str]]:
    """The audit log's lines about one, oldest first: what, and by whom."""
    rows = await desk.house.owner.fetch(
        "SELECT action, actor FROM audit_logs WHERE resource_id = $1 ORDER BY id", about
    )
    return [(row["action"].removeprefix("support_user."), row["actor"]) for row in rows]


async def test_an_admin_invites_and_the_password_is_shown_once(shared_support: SupportDesk) -> None:
    admin = await shared_support.clerk()
    form = {"email": "kim.b@shop.example", "name": HOSTILE, "role": "finance"}
    answer = await admin.post("/console/people", form)
    assert answer.status_code == 200
    assert "Hand this over to &lt;script&gt;" in answer.text
    later = await admin.get("/console/people")
    assert ("kim.b@shop.example" in later.text, "Hand this over" in later.text) == (True, False)
    assert HOSTILE not in later.text
    again = await admin.post("/console/people", form | {"email": "KIM.B@shop.example"})
    assert (again.status_code, "already" in again.text) == (422, True)
    for wrong in ({"email": "nobody"}, {"role": "owner"}, {"name": ""}):
        assert (await admin.post("/console/people", form | wrong)).status_code == 422
    owner = shared_support.house.owner
    lines = await owner.fetch("SELECT changes FROM audit_logs WHERE actor = $1 AND action ~ 'invited'", admin.actor)
    assert [line["changes"] for line in lines] == ['{"role": "finance"}']


async def test_another_role_ends_every_session(shared_support: SupportDesk) -> None:
    admin, clerk = await shared_support.clerk(), await shared_support.clerk("viewer")
    answer = await admin.post(f"/console/people/{clerk.id}/role", {"role": "support"})
    assert answer.headers["location"] == "/console/people"
    assert "is support now" in (await admin.get("/console/people")).text
    assert (await clerk.get("/console/account")).headers["location"].startswith("/console/sign-in")
    await clerk.sign_in(clerk.person.email, clerk.password)
    assert "support" in (await clerk.get("/console/account")).text
    assert ("role_changed", admin.actor) in await acts(shared_support, clerk.id)


async def test_a_reset_is_like_an_invitation(shared_support: SupportDesk) -> None:
    admin, clerk = await shared_support.clerk(), await shared_support.clerk("viewer")
    owner = shared_support.house.owner
    await owner.execute(
        """UPDATE support_users SET totp_secret = '\\x00', failures = 10, locked_until = now() + interval '1 hour'
           WHERE id = $1""",
        clerk.person.id,
    )
    assert "locked</span> until" in (await admin.get("/console/people")).text
    answer = await admin.post(f"/console/people/{clerk.id}/reset")
    assert (answer.status_code, "Hand this over to Robin" in answer.text) == (200, True)
    assert (await clerk.get("/console/account")).status_code == 303
    after = await owner.fetchrow("SELECT * FROM support_users WHERE id = $1", clerk.person.id)
    assert after is not None
    assert (after["second_factor"], after["failures"], after["locked_until"]) == (False, 0, None)
    assert after["password_changed_at"] is None
    assert ("reset", admin.actor) in await acts(shared_support, clerk.id)


async def test_nobody_disabled_is_let_in(shared_support: SupportDesk) -> None:
    admin, clerk = await shared_support.clerk(), await shared_support.clerk("viewer")
    for _ in range(2):
        assert (await admin.post(f"/console/people/{clerk.id}/disable")).status_code == 303
    assert (await clerk.get("/console/account")).status_code == 303
    assert (await shared_support.browser().sign_in(clerk.person.email, clerk.password)).status_code == 401
    assert (await admin.post(f"/console/people/{clerk.id}/enable")).status_code == 303
    assert (await shared_support.browser().sign_in(clerk.person.email, clerk.password)).status_code == 303
    told_of = [act for act, _ in await acts(shared_support, clerk.id)]
    assert [act for act in told_of if act in {"disabled", "enabled"}] == ["disabled", "enabled"]


@pytest.mark.parametrize("act", ["role", "reset", "disable"])
async def test_nobody_acts_upon_themselves(shared_support: SupportDesk, act: str) -> None:
    admin = await shared_support.clerk()
    answer = await admin.post(f"/console/people/{admin.id}/{act}", {"role": "viewer"} if act == "role" else {})
    assert (answer.status_code, "their own role" in answer.text) == (422, True)
    assert (await admin.get("/console/people")).status_code == 200


async def test_an_unknown_person_is_not_found(shared_support: SupportDesk) -> None:
    admin = await shared_support.clerk()
    for name in (ids.encode("sup", ids.new()), "sup_0", ids.encode("prt", admin.person.id)):
        for act in ("reset", "disable", "enable"):
            assert (await admin.post(f"/console/people/{name}/{act}")).status_code == 404


async def test_of_two_admins_who_demote_each_other_at_once_one_stays(support: SupportDesk) -> None:
    for _ in range(5):
        await support.house.owner.execute("UPDATE support_users SET disabled_at = now()")
        one, other = await support.clerk(), await support.clerk()
        answers = await asyncio.gather(
            one.post(f"/console/people/{other.id}/role", {"role": "viewer"}),
            other.post(f"/console/people/{one.id}/disable"),
        )
        assert min(answer.status_code for answer in answers) == 303
        admins = "SELECT count(*) FROM support_users WHERE role = 'admin' AND disabled_at IS NULL"
        assert await support.house.owner.fetchval(admins) == 1


# ── From the command line ───────────────────────────────────────────────────────────────────────────────────────────


async def test_the_first_admin_comes_from_the_command_line(support: SupportDesk) -> None:
    settings = support.house.background.settings
    made = await told(
        settings, "support-users", "create", "--email", "ada@shop.example", "--name", "Ada", "--role", "admin"
    )
    browser = support.browser()
    answer = await browser.sign_in("ada@shop.example", made["password"])
    assert answer.headers["location"].startswith("/console/second-factor")
    (listed,) = await told(settings, "support-users", "list")
    assert listed == {name: value for name, value in made.items() if name != "password"}
    last = await asyncio.to_thread(paygate, settings, "support-users", "disable", made["id"])
    assert (last.returncode, "the last admin" in last.stderr) == (1, True)
    again = await told(settings, "support-users", "reset", made["id"])
    assert again["password"] != made["password"]
    await support.invited("admin")
    disabled = await told(settings, "support-users", "disable", made["id"])
    assert disabled["disabled_at"] is not None
    assert [act for act, _ in await acts(support, made["id"])] == ["invited", "reset", "disabled"]
    nobody = await asyncio.to_thread(paygate, settings, "support-users", "reset", ids.encode("sup", ids.new()))
    assert (nobody.returncode, nobody.stderr) == (1, "Error: there is no such person\n")
