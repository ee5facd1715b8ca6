"""Promise: support sees all of a payment and acts on it as the API would, once, in its own name, and with four eyes."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db import ids
from gateway.console import approvals
from gateway.console.telling import OPEN
from gateway.transactions import journal
from tests import support_desk
from tests.acceptance.steps import moved
from tests.house import House, Partner, new_key
from tests.support_desk import Browser, Clerk, SupportDesk

LIMIT = Decimal(50)
ONCE = re.compile(r'name="once" value="([^"]+)"')
APPROVAL = re.compile(r"/approvals/(apr_[0-9a-z]{26})/")


@pytest.fixture(scope="module")
async def desk(shared_house: House) -> AsyncIterator[SupportDesk]:
    async with support_desk.opened(shared_house, refund_approval_above=LIMIT) as opened:
        yield opened


async def paid(partner: Partner, reference: str, amount: str = "200.00", **members: Any) -> str:
    answer = await partner.charge(amount=amount, reference=reference, **members)
    assert answer.status_code == 201, answer.text
    transaction_id: str = answer.json()["id"]
    return transaction_id


async def at_work(desk: SupportDesk, partner: Partner, role: str, name: str = "Robin") -> Clerk:
    clerk = await desk.clerk(role, name)
    await clerk.look_at(partner.id)
    return clerk


async def form(clerk: Browser, path: str) -> str:
    """What makes the forms of a page be executed once."""
    found = ONCE.search((await clerk.get(path)).text)
    assert found is not None
    return found[1]


async def refund(clerk: Clerk, transaction_id: str, amount: str, once: str | None = None) -> str:
    """What the page tells after it."""
    path = f"/console/transactions/{transaction_id}"
    fields = {"refund_amount": amount, "once": once or await form(clerk, path)}
    answer = await clerk.post(f"{path}/refund", fields)
    assert answer.status_code == 303, answer.text
    return await told(clerk, path)


async def told(clerk: Clerk, path: str) -> str:
    page = (await clerk.get(path)).text
    found = re.search(r'<p class="told" role="status">(.*?)</p>', page, re.DOTALL)
    return html.unescape(found[1]) if found else ""


def key(transaction_id: str) -> UUID:
    found = ids.decode("txn", transaction_id)
    assert found is not None
    return found


async def requested(clerk: Clerk, transaction_id: str, amount: str = "120.00") -> str:
    """The path of a new request to refund more than one person may."""
    assert "a second person approves" in await refund(clerk, transaction_id, amount)
    found = APPROVAL.search((await clerk.get(f"/console/transactions/{transaction_id}")).text)
    assert found is not None
    return f"/console/transactions/{transaction_id}/approvals/{found[1]}"


async def test_a_part_is_refunded_and_the_page_shows_what_remains_and_who_did_it(
    shared_house: House, desk: SupportDesk, partner: Partner
) -> None:
    await shared_house.subscribed(partner)
    transaction_id = await paid(partner, "part-of-it", customer={"email": "pat@shop.example", "name": "Pat Doe"})
    clerk = await at_work(desk, partner, "support", "Sam Support")
    assert await refund(clerk, transaction_id, "30.00") == "30.00 USD was refunded."
    page = (await clerk.get(f"/console/transactions/{transaction_id}")).text
    for shown in (
        "170.00",
        "Refundable, USD",
        "Sam Support",
        "pat@shop.example",
        "•••• 4242",
        "balanced",
        "Send again",
    ):
        assert shown in page
    raw = (await clerk.get(f"/console/transactions/{transaction_id}.json")).json()
    assert raw["amount_refundable"] == "170.00"
    assert {event["created_by"] for event in raw["events"]} >= {clerk.actor}
    assert len(raw["ledger"]) == 4
    api = (await partner.get(f"/v1/transactions/{transaction_id}", expand="refunds,events,ledger")).json()
    assert {**raw, "ledger": api["ledger"]} == api
    act = await shared_house.owner.fetchrow(
        "SELECT * FROM audit_logs WHERE actor = $1 AND resource_type = 'refund'", clerk.actor
    )
    assert act is not None
    assert act["action"] == "transaction.refund"


async def test_a_form_that_is_sent_twice_refunds_once(shared_house: House, desk: SupportDesk, partner: Partner) -> None:
    transaction_id = await paid(partner, "twice")
    clerk = await at_work(desk, partner, "support")
    path = f"/console/transactions/{transaction_id}"
    fields = {"refund_amount": "20.00", "once": await form(clerk, path)}
    answers = await asyncio.gather(*(clerk.post(f"{path}/refund", fields) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {303}
    assert (await moved(shared_house, "twice"))["refunds"] == (1, 2000)
    changed = await refund(clerk, transaction_id, "21.00", fields["once"])
    assert "sent before with other values" in changed
    assert (await moved(shared_house, "twice"))["refunds"] == (1, 2000)


async def test_an_outcome_that_nobody_knows_is_never_called_failed(
    shared_house: House, desk: SupportDesk, partner: Partner
) -> None:
    transaction_id = await paid(partner, "unknown")
    clerk = await at_work(desk, partner, "support")
    await shared_house.fault("act_then_lose_answer", operation="refund", reference="unknown", times=9)
    await shared_house.fault("webhook_drop", operation="webhook", times=5)
    assert await refund(clerk, transaction_id, "10.00") == OPEN
    await shared_house.calm()
    page = (await clerk.get(f"/console/transactions/{transaction_id}")).text
    assert "Ask the provider again" in page
    answer = await clerk.post(f"/console/transactions/{transaction_id}/ask")
    assert answer.status_code == 303
    raw = (await clerk.get(f"/console/transactions/{transaction_id}.json")).json()
    assert (raw["amount_refunded"], raw["refunds"][0]["status"]) == ("10.00", "completed")
    assert (await moved(shared_house, "unknown"))["refunds"] == (1, 1000)


@pytest.mark.parametrize(
    ("amount", "wrong"),
    [("", "is required"), ("-5", "without sign"), ("1.234", "decimal places"), ("0", "more than zero")],
)
async def test_an_amount_that_is_none_is_told_beside_its_field(
    desk: SupportDesk, partner: Partner, amount: str, wrong: str
) -> None:
    transaction_id = await paid(partner, "none")
    clerk = await at_work(desk, partner, "support")
    path = f"/console/transactions/{transaction_id}"
    answer = await clerk.post(
        f"{path}/refund", {"refund_amount": amount, "refund_note": "kept as typed", "once": await form(clerk, path)}
    )
    assert answer.status_code == 422
    assert wrong in answer.text
    assert "kept as typed" in answer.text
    assert 'id="refund_amount-wrong"' in answer.text


async def test_more_than_there_is_and_what_the_state_forbids_is_told(desk: SupportDesk, partner: Partner) -> None:
    transaction_id = await paid(partner, "more", "20.00")
    clerk = await at_work(desk, partner, "finance")
    assert "only 20.00 USD is available" in await refund(clerk, transaction_id, "20.01")
    path = f"/console/transactions/{transaction_id}"
    await clerk.post(f"{path}/cancel", {"once": await form(clerk, path)})
    assert "that is completed cannot be cancelled" in await told(clerk, path)


async def test_above_the_limit_nothing_moves_before_a_second_person_approves(
    shared_house: House, desk: SupportDesk, partner: Partner
) -> None:
    transaction_id = await paid(partner, "four-eyes")
    sam, fay = await at_work(desk, partner, "finance", "Sam"), await at_work(desk, partner, "finance", "Fay")
    path = await requested(sam, transaction_id)
    assert "refunds" not in await moved(shared_house, "four-eyes")
    await sam.post(f"{path}/approve")
    assert "cannot decide on it" in await told(sam, f"/console/transactions/{transaction_id}")
    listed = (await fay.get("/console/approvals")).text
    assert transaction_id in listed
    assert "120.00 USD" in listed
    answers = await asyncio.gather(*(fay.post(f"{path}/approve") for _ in range(3)))
    assert {answer.status_code for answer in answers} == {303}
    assert (await moved(shared_house, "four-eyes"))["refunds"] == (1, 12000)
    assert transaction_id not in (await fay.get("/console/approvals")).text
    over = (await fay.get("/console/approvals", show="over")).text
    assert "refund completed" in over


async def test_small_refunds_do_not_go_round_the_limit_even_at_once(
    shared_house: House, desk: SupportDesk, partner: Partner
) -> None:
    transaction_id = await paid(partner, "split")
    clerk = await at_work(desk, partner, "support")
    path = f"/console/transactions/{transaction_id}"
    forms = [{"refund_amount": "30.00", "once": await form(clerk, path)} for _ in range(3)]
    await asyncio.gather(*(clerk.post(f"{path}/refund", fields) for fields in forms))
    assert (await moved(shared_house, "split"))["refunds"] == (1, 3000)
    assert (
        await shared_house.owner.fetchval(
            "SELECT count(*) FROM approvals WHERE transaction_id = $1", key(transaction_id)
        )
        == 2
    )
    await partner.post(f"/v1/transactions/{transaction_id}/refunds", {"amount": "50.00"})
    assert await refund(clerk, transaction_id, "20.00") == "20.00 USD was refunded."


async def test_the_database_refuses_the_same_person_and_a_late_one(
    shared_house: House, desk: SupportDesk, partner: Partner
) -> None:
    transaction_id = await paid(partner, "late")
    sam, fay = await at_work(desk, partner, "support", "Sam"), await at_work(desk, partner, "finance", "Fay")
    path = await requested(sam, transaction_id)
    approval_id = ids.decode("apr", path.rpartition("/")[2])
    approve = "UPDATE approvals SET state = 'approved', decided_by = $2, decided_at = now() WHERE id = $1"
    with pytest.raises(asyncpg.CheckViolationError):
        await shared_house.owner.execute(approve, approval_id, sam.person.id)
    with pytest.raises(asyncpg.RestrictViolationError):
        await shared_house.owner.execute("UPDATE approvals SET amount = 1 WHERE id = $1", approval_id)
    await shared_house.owner.execute("ALTER TABLE approvals DISABLE TRIGGER guard")
    await shared_house.owner.execute(
        "UPDATE approvals SET expires_at = now() - interval '1 s' WHERE id = $1", approval_id
    )
    await shared_house.owner.execute("ALTER TABLE approvals ENABLE TRIGGER guard")
    await fay.post(f"{path}/approve")
    assert "has expired" in await told(fay, f"/console/transactions/{transaction_id}")
    with pytest.raises(asyncpg.RestrictViolationError):
        await shared_house.owner.execute(approve, approval_id, fay.person.id)
    assert "refunds" not in await moved(shared_house, "late")


async def test_what_was_approved_and_not_done_is_done_by_approving_again(
    shared_house: House, desk: SupportDesk, partner: Partner
) -> None:
    transaction_id = await paid(partner, "crash")
    sam, fay = await at_work(desk, partner, "support", "Sam"), await at_work(desk, partner, "finance", "Fay")
    path = await requested(sam, transaction_id)
    await shared_house.owner.execute(
        "UPDATE approvals SET state = 'approved', decided_by = $2, decided_at = now() WHERE id = $1",
        ids.decode("apr", path.rpartition("/")[2]),
        fay.person.id,
    )
    page = (await fay.get(f"/console/transactions/{transaction_id}")).text
    assert "not yet done" in page
    assert "Do it now" in page
    for _ in range(2):
        await fay.post(f"{path}/approve")
        assert await told(fay, f"/console/transactions/{transaction_id}") == "120.00 USD was refunded."
    assert (await moved(shared_house, "crash"))["refunds"] == (1, 12000)


async def test_a_request_is_rejected_with_a_reason_or_withdrawn_by_who_asked(
    shared_house: House, desk: SupportDesk, partner: Partner
) -> None:
    transaction_id = await paid(partner, "no")
    page = f"/console/transactions/{transaction_id}"
    sam, fay = await at_work(desk, partner, "support", "Sam"), await at_work(desk, partner, "finance", "Fay")
    first = await requested(sam, transaction_id)
    assert (await fay.post(f"{first}/reject")).status_code == 422
    await fay.post(f"{first}/withdraw")
    assert "Only who asked" in await told(fay, page)
    await fay.post(f"{first}/reject", {"because": "The parcel arrived"})
    assert "The parcel arrived" in (await sam.get(page)).text
    second = await requested(sam, transaction_id)
    await sam.post(f"{second}/withdraw")
    await fay.post(f"{second}/approve")
    assert "withdrawn already" in await told(fay, page)
    assert "refunds" not in await moved(shared_house, "no")


async def test_requests_are_listed_page_by_page(shared_house: House, desk: SupportDesk, partner: Partner) -> None:
    transaction_id = await paid(partner, "many")
    sam = await at_work(desk, partner, "support", "Sam")
    for number in range(approvals.PER_PAGE + 1):
        await shared_house.owner.execute(
            "INSERT INTO approvals (partner_id, id, transaction_id, livemode, amount, currency, reason, requested_by)"
            " VALUES ($1, $2, $3, false, $4, 'USD', 'other', $5)",
            partner.id,
            ids.new(),
            key(transaction_id),
            Decimal(1000 + number),
            sam.person.id,
        )
    page = (await sam.get("/console/approvals")).text
    assert page.count(f"{transaction_id}#acts") == approvals.PER_PAGE
    following = re.search(r'href="(/console/approvals\?before=apr_[0-9a-z]{26})" rel="next"', page)
    assert following is not None
    last = (await sam.get(following[1])).text
    assert last.count(f"{transaction_id}#acts") == 1
    assert "1,000.00 USD" in last
    assert 'rel="next"' not in last


async def test_finance_captures_and_cancels_and_support_does_not(
    shared_house: House, desk: SupportDesk, partner: Partner
) -> None:
    held = await paid(partner, "held", capture="manual")
    released = await paid(partner, "released", capture="manual")
    sam, fay = await at_work(desk, partner, "support"), await at_work(desk, partner, "finance")
    path = f"/console/transactions/{held}"
    once = await form(fay, path)
    assert (await sam.post(f"{path}/capture", {"capture_amount": "80.00", "once": once})).status_code == 403
    await fay.post(f"{path}/capture", {"capture_amount": "80.00", "once": once})
    assert await told(fay, path) == "80.00 USD was captured."
    path = f"/console/transactions/{released}"
    assert (await sam.post(f"{path}/cancel", {"once": once})).status_code == 403
    await fay.post(f"{path}/cancel", {"once": once})
    assert await told(fay, path) == "The payment was cancelled. Nothing was charged."
    assert (await moved(shared_house, "held"))["captures"] == (1, 8000)


async def test_every_act_needs_its_role(desk: SupportDesk, partner: Partner) -> None:
    transaction_id = await paid(partner, "roles")
    path = f"/console/transactions/{transaction_id}"
    viewer = await at_work(desk, partner, "viewer")
    page = (await viewer.get(path)).text
    main = page[page.index("<main") :]
    assert f'action="{path}' not in main
    acts = ("refund", "capture", "cancel", "ask", "confirm", "notes", "review/request", "review/approve")
    for act in (*acts, f"approvals/{ids.encode('apr', ids.new())}/approve"):
        assert (await viewer.post(f"{path}/{act}")).status_code == 403, act


async def test_another_partners_payment_is_not_reached(
    shared_house: House, desk: SupportDesk, partner: Partner
) -> None:
    transaction_id = await paid(partner, "not-yours")
    clerk = await at_work(desk, await shared_house.partner(), "admin")
    path = f"/console/transactions/{transaction_id}"
    answer = await clerk.get(path)
    assert answer.status_code == 404
    assert "look across partners and give a reason" in answer.text
    once = ids.bare(ids.new())
    for act, fields in (
        ("refund", {"refund_amount": "1.00", "once": once}),
        ("notes", {"note": "hello", "once": once}),
        ("ask", {}),
        ("review/approve", {}),
    ):
        assert (await clerk.post(f"{path}/{act}", fields)).status_code == 404, act
    assert (await clerk.get(f"{path}.json")).status_code == 404
    await clerk.look_across()
    assert (await clerk.get(path)).status_code == 200
    assert await refund(clerk, transaction_id, "1.00") == "1.00 USD was refunded."


async def test_a_payment_by_hand_is_confirmed_by_finance(
    shared_house: House, desk: SupportDesk, partner: Partner
) -> None:
    body = {"amount": "75.00", "currency": "USD", "payment_method": {"type": "bank_transfer"}, "provider": "manual"}
    transaction_id = (await partner.post("/v1/transactions", body, key=new_key())).json()["id"]
    fay = await at_work(desk, partner, "finance", "Fay")
    path = f"/console/transactions/{transaction_id}"
    assert "The money moved" in (await fay.get(path)).text
    assert (await fay.post(f"{path}/confirm", {"made": "yes"})).status_code == 422
    for _ in range(2):
        await fay.post(f"{path}/confirm", {"made": "yes", "confirm_note": "Statement 12, line 3"})
    assert await told(fay, path) == "Nothing was recorded: it is decided already."
    raw = (await fay.get(f"{path}.json")).json()
    assert raw["status"] == "completed"
    assert raw["events"][-1]["created_by"] == fay.actor
    assert await refund(fay, transaction_id, "25.00") == OPEN
    waiting = re.search(r'name="refund" value="(rfd_[0-9a-z]+)"', (await fay.get(path)).text)
    assert waiting is not None
    await fay.post(f"{path}/confirm", {"made": "yes", "refund": waiting[1], "confirm_note": "Handed out at the desk"})
    assert (await fay.get(f"{path}.json")).json()["amount_refunded"] == "25.00"


async def test_a_webhook_is_sent_once_more(shared_house: House, desk: SupportDesk, partner: Partner) -> None:
    await shared_house.subscribed(partner, ["transaction.completed"])
    transaction_id = await paid(partner, "hook")
    await shared_house.receiver.event("transaction.completed", transaction_id)
    clerk = await at_work(desk, partner, "support")
    path = f"/console/transactions/{transaction_id}"
    found = re.search(r'action="([^"]+/(whd_[0-9a-z]+)/retry)"', (await clerk.get(path)).text)
    assert found is not None
    answer = await clerk.post(found[1], {"then": path})
    assert answer.headers["location"] == path
    assert await told(clerk, path) == "transaction.completed is sent once more, now."
    await shared_house.receiver.until(
        lambda events: sum(event["data"].get("id") == transaction_id for event in events) == 2
    )
    lines = await shared_house.owner.fetch("SELECT action, resource_id FROM audit_logs WHERE actor = $1", clerk.actor)
    assert [row["action"] for row in lines if row["resource_id"] == found[2]] == ["webhook_delivery.retry"]
    assert "webhook delivery · retry" in (await clerk.get(path)).text.partition('id="audit"')[2]


async def test_notes_are_kept_once_and_never_hold_card_data(desk: SupportDesk, partner: Partner) -> None:
    transaction_id = await paid(partner, "notes")
    clerk = await at_work(desk, partner, "support", "Nora Notes")
    path = f"/console/transactions/{transaction_id}"
    fields = {"note": "Called at noon.\r\nWants a refund.", "once": await form(clerk, path)}
    for _ in range(2):
        assert (await clerk.post(f"{path}/notes", fields)).status_code == 303
    page = (await clerk.get(path)).text
    assert page.count("Called at noon.") == 1
    assert "Nora Notes" in page
    fields = {"note": "Card is 4242 4242 4242 4242", "once": await form(clerk, path)}
    refused = await clerk.post(f"{path}/notes", fields)
    assert refused.status_code == 422
    assert "4242 4242" not in refused.text
    assert "4242 4242 4242" not in (await clerk.get(path)).text


async def test_a_review_is_decided_by_two(shared_house: House, desk: SupportDesk, partner: Partner) -> None:
    transaction_id = await paid(partner, "review")
    contradiction = {"reason": "amount or currency differs"}
    await journal.flag(shared_house.background, partner.id, key(transaction_id), contradiction, actor="paygate:test")
    sam, fay = await at_work(desk, partner, "support", "Sam"), await at_work(desk, partner, "finance", "Fay")
    assert transaction_id in (await sam.get("/console/reviews")).text
    path = f"/console/transactions/{transaction_id}"
    short = await sam.post(f"{path}/review/request", {"verdict": "settled", "evidence": "short"})
    assert short.status_code == 422
    await sam.post(f"{path}/review/request", {"verdict": "settled", "evidence": "Their dashboard says the same"})
    assert "Their dashboard says the same" in (await fay.get(path)).text
    assert (await sam.post(f"{path}/review/approve")).status_code == 403
    await fay.post(f"{path}/review/approve")
    assert await told(fay, path) == "It is decided and done."
    assert transaction_id not in (await fay.get("/console/reviews")).text


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202egnp.exe \u05e9\u05dc\u05d5\u05dd",
    "{{ 7 * 7 }}",
)


async def test_hostile_text_is_shown_and_never_run(desk: SupportDesk, partner: Partner) -> None:
    transaction_id = await paid(
        partner,
        HOSTILE[0],
        customer={"name": HOSTILE[1]},
        description=HOSTILE[2] + "x" * 900,
        metadata={HOSTILE[0]: HOSTILE[1], "long": "y" * 500, "template": HOSTILE[3]},
    )
    clerk = await at_work(desk, partner, "support")
    path = f"/console/transactions/{transaction_id}"
    await clerk.post(f"{path}/notes", {"note": HOSTILE[0] + "z" * 3_900, "once": await form(clerk, path)})
    page = (await clerk.get(path)).text
    for raw in HOSTILE[:2]:
        assert raw not in page
        assert html.escape(raw, quote=False).replace('"', "&#34;") in page
    assert HOSTILE[3] in page
    assert not re.search(r"<[^>]+\son\w+=", page)
    assert "style=" not in page
