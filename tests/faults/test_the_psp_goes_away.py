"""Promise: whatever becomes of the wire to a PSP, money moves at most once and nothing unknown is called failed."""

from __future__ import annotations

import httpx
import pytest

from tests.acceptance.steps import calls, checks_fall_due, moved, refused, settled, until
from tests.faults.wires import MOVED, ONE_SALE, Order, Wires
from tests.house import Partner, new_key
from tests.proxy import Toxic, ToxicKind

HOURS = (1, 4, 7, 12)
"""Together longer than the PSP remembers a key, and than we wait before a person is asked."""
LOST = [ToxicKind.DROP_BEFORE, ToxicKind.DROP_AFTER_REPLY, ToxicKind.RESET]


async def test_a_psp_that_refuses_connections_was_sent_nothing_and_the_key_is_free_for_its_return(
    wires: Wires, partner: Partner
) -> None:
    key = new_key()
    assert (await partner.charge(reference="before")).status_code == 201  # over a connection that is kept
    wires.psp.add(Toxic(ToxicKind.DOWN))

    async def charge() -> httpx.Response:
        return await partner.charge(key=key, reference="refused")

    # A kept connection found dead proves nothing, so its charge would be unknown: by now ours has been seen to close.
    problem = refused(await charge(), 503, "temporarily_unavailable")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", True)
    assert await calls(wires.house, "refused") == {}
    wires.heal()
    taken = await until(charge, lambda answer: answer.status_code != 503)
    assert (taken.status_code, taken.json()["status"]) == (201, "completed")
    assert await moved(wires.house, "refused") == ONE_SALE


@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("operation", MOVED)
async def test_what_breaks_on_the_wire_is_asked_again_until_it_is_known(
    wires: Wires, partner: Partner, operation: str, kind: ToxicKind
) -> None:
    order = await Order(wires, partner, operation, f"{operation}-{kind}").prepared()
    wires.psp.add(Toxic(kind, times=2, about=b"POST "))  # the first send and the second try
    first = await order.ask()
    assert wires.psp.counts[kind] == 2
    assert first.status_code == 202, first.text
    final = await order.insist()
    assert final.json()["status"] == ("cancelled" if operation == "cancel" else "completed")
    assert await moved(wires.house, order.reference) == MOVED[operation]


async def test_an_answer_that_dribbles_in_counts_like_any_other(wires: Wires, partner: Partner) -> None:
    wires.psp.add(Toxic(ToxicKind.SLICE))
    answer = await partner.charge(reference="dribble")
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert await moved(wires.house, "dribble") == ONE_SALE


@pytest.mark.parametrize(
    "toxic", [Toxic(ToxicKind.SLICE, seconds=0.05), Toxic(ToxicKind.TIMEOUT)], ids=lambda t: t.kind
)
async def test_an_answer_that_does_not_end_in_time_is_no_answer(
    wires: Wires, partner: Partner, toxic: Toxic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires.house.runtime.doorway, "_deadline_seconds", 0.5)
    wires.psp.add(toxic)
    reference = f"late-{toxic.kind}"
    answer = await partner.charge(reference=reference)
    assert (answer.status_code, answer.json()["money_moved"]) == (202, "unknown")
    wires.heal()
    await checks_fall_due(wires.house.owner)
    assert (await settled(partner, answer.json()["id"], "completed", "failed"))["status"] == "completed"
    assert await moved(wires.house, reference) == ONE_SALE


async def test_what_an_outage_left_unknown_is_settled_once_the_psp_is_back(wires: Wires, partner: Partner) -> None:
    wires.psp.add(Toxic(ToxicKind.DROP_AFTER_REPLY))
    left = [(await partner.charge(reference="outage")).json() for _ in range(5)]
    assert {shown["status"] for shown in left} == {"processing"}
    # Hours into the outage the next checks are hours away: nobody but the PSP's return brings them forward.
    later = "UPDATE attempts SET checks = 7, next_check_at = now() + interval '6 hours' WHERE finished_at IS NULL"
    await wires.house.owner.execute(later)
    wires.heal()
    for shown in left:
        assert (await settled(partner, shown["id"], "completed", "failed"))["status"] == "completed"
    assert await moved(wires.house, "outage") == {"charges": (5, 5 * 1999), "captures": (5, 5 * 1999)}


async def test_a_psp_that_acts_and_says_nothing_for_hours_is_neither_called_failed_nor_left_for_another(
    wires: Wires, partner: Partner
) -> None:
    tokens = {"stripe": "pm_card_visa", "adyen": "ada/APPROVED", "paypal": "vault_card_visa"}
    key, method = new_key(), {"type": "card", "tokens": tokens}
    await wires.house.breakers_close()  # what went before would send it elsewhere from the start
    wires.psp.add(Toxic(ToxicKind.DROP_AFTER_REPLY))
    made = await partner.charge(key=key, reference="silent", payment_method=method)
    assert (made.status_code, made.json()["provider"]) == (202, "stripe")
    path = f"/v1/transactions/{made.json()['id']}"
    for hours in HOURS:
        await time_passes(wires, hours)
        shown = (await partner.get(path)).json()
        assert (shown["status"], shown["money_moved"], len(shown["attempts"])) == ("processing", "unknown", 1)
    assert (await partner.get(path)).json()["needs_review"]
    assert (await partner.charge(key=key, reference="silent", payment_method=method)).status_code == 202
    for provider in ("adyen", "paypal"):
        assert "silent" not in (await wires.house.oracle(provider))["merchant_references"]
    wires.heal()
    await checks_fall_due(wires.house.owner)
    assert (await settled(partner, made.json()["id"], "completed", "failed"))["status"] == "completed"
    assert await moved(wires.house, "silent") == ONE_SALE


async def time_passes(wires: Wires, hours: int) -> None:
    """All moments of the open attempt lie further back, some checks were made, and one falls due."""
    owner = wires.house.owner
    checks = await owner.fetchval(
        "UPDATE attempts SET created_at = created_at - make_interval(hours => $1), checks = checks + 2,"
        " resend_until = resend_until - make_interval(hours => $1), next_check_at = now()"
        " WHERE finished_at IS NULL RETURNING checks",
        hours,
    )

    async def made() -> bool:
        query = "SELECT checks > $1 AND lease_until IS NULL FROM attempts WHERE finished_at IS NULL"
        return bool(await owner.fetchval(query, checks))

    await until(made, bool)
