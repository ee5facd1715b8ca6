"""However a PSP's notifications arrive, doubled, late, out of order or forged, the books end where the money is."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
import stripe

from db import ids, search
from db.search import Filters, Reach
from tests.acceptance.steps import listed, settled, until
from tests.house import House, Json, Partner

SECRET = "whsec_simulated"


def signed(event: Json, *, secret: str = SECRET, at: float | None = None) -> tuple[bytes, dict[str, str]]:
    """A Stripe event, signed by the official library."""
    body = json.dumps(event).encode()
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=int(at or time.time()))
    return body, {"Stripe-Signature": header}


def an_event(event_type: str, subject: Json, name: str) -> Json:
    return {
        "id": f"evt_{name}",
        "object": "event",
        "type": event_type,
        "livemode": False,
        "created": int(time.time()),
        "data": {"object": subject},
    }


async def payment_of(house: House, transaction: Json, **members: Any) -> Json:
    """The payment as the PSP shows it."""
    url = f"{house.simulators['stripe']}/v1/payment_intents/{transaction['provider_transaction_id']}"
    shown: Json = (await house.http.get(url, headers={"Authorization": "Bearer sk_test_simulated"})).json()
    return shown | members


async def told(house: House, event: Json) -> None:
    answer = await house.notify(*signed(event))
    assert answer.status_code == 200, answer.text
    assert answer.text == "[accepted]"


async def applied(house: House, event_id: str) -> str:
    """What became of a notification, once the worker has looked at it."""

    async def ask() -> list[Any]:
        found: list[Any] = await house.owner.fetch(
            "SELECT state::text, reason FROM provider_events WHERE dedupe_key = $1 AND state <> 'received'", event_id
        )
        return found

    return str((await until(ask, bool))[0]["state"])


async def test_a_lost_answer_is_learned_from_the_notification(house: House) -> None:
    partner = await house.partner()
    await house.fault("act_then_lose_answer", times=2)
    answer = await partner.charge(reference="lost")
    assert answer.status_code == 202
    assert answer.json()["money_moved"] == "unknown"
    assert (await settled(partner, answer.json()["id"], "completed"))["money_moved"] == "yes"


async def test_a_hundred_repeats_have_one_effect(house: House) -> None:
    await house.silence()
    partner = await house.partner()
    await house.fault("act_then_lose_answer", times=2)
    waiting = (await partner.charge(reference="repeated")).json()
    await house.owner.execute("UPDATE attempts SET next_check_at = now() + interval '1 hour'")  # nobody else asks
    account = (await house.oracle())["merchant_references"]["repeated"]
    assert account["captures"]["count"] == 1
    payments = f"{house.simulators['stripe']}/v1/payment_intents"
    found = (await house.http.get(payments, headers={"Authorization": "Bearer sk_test_simulated"})).json()["data"][0]
    for _ in range(100):
        await told(house, an_event("payment_intent.succeeded", found, "same"))
    done = await settled(partner, waiting["id"], "completed")
    events = (await partner.get(f"/v1/transactions/{done['id']}/events")).json()["data"]
    assert [event["type"] for event in events].count("payment_completed") == 1
    notified = "SELECT count(*) FROM provider_events WHERE headers <> '{}'"  # without: read from the PSP's own list
    assert await house.owner.fetchval(notified) == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_every_order_of_notifications_ends_in_one_state(house: House, order: tuple[int, ...]) -> None:
    await house.silence()
    partner = await house.partner()
    charged = (await partner.charge(capture="manual")).json()
    payment = await payment_of(house, charged)
    captured = (await partner.post(f"/v1/transactions/{charged['id']}/captures")).json()
    taken = await payment_of(house, charged)
    refund = (await partner.post(f"/v1/transactions/{charged['id']}/refunds", {"amount": "5.00"})).json()
    url = f"{house.simulators['stripe']}/v1/refunds/{refund['provider_refund_id']}"
    given = (await house.http.get(url, headers={"Authorization": "Bearer sk_test_simulated"})).json()
    events = [
        an_event("payment_intent.amount_capturable_updated", payment, "authorized"),
        an_event("payment_intent.succeeded", taken, "captured"),
        an_event("refund.updated", given, "refunded"),
    ]
    for place in order:
        await told(house, events[place])
    for event in events:
        assert await applied(house, event["id"]) in {"applied", "ignored"}
    shown = (await partner.get(f"/v1/transactions/{charged['id']}")).json()
    assert (shown["status"], shown["amount_captured"], shown["amount_refunded"]) == (
        "partially_refunded",
        captured["amount_captured"],
        "5.00",
    )
    assert not shown["needs_review"]


async def test_a_forged_a_stale_and_a_future_notification_are_refused_and_not_stored(house: House) -> None:
    event = an_event("payment_intent.succeeded", {"id": "pi_1", "object": "payment_intent"}, "forged")
    for body, headers in (
        signed(event, secret="whsec_other"),
        signed(event, at=time.time() - 3_600),
        signed(event, at=time.time() + 3_600),
        (json.dumps(event).encode(), {}),
    ):
        answer = await house.notify(body, headers)
        assert (answer.status_code, answer.content) == (400, b"")
    assert await house.owner.fetchval("SELECT count(*) FROM provider_events") == 0


async def test_an_unknown_address_is_answered_like_a_forgery(house: House) -> None:
    for path in ("/webhooks/stripe/pac_00000000000000000000000000", "/webhooks/stripe/x", "/webhooks/nobody/x"):
        answer = await house.http.post(f"{house.base_url}{path}", content=b"{}")
        assert (answer.status_code, answer.content) == (400, b"")


async def test_an_endless_notification_is_cut_off(house: House) -> None:
    answer = await house.notify(b"x" * 1_100_000, {})
    assert answer.status_code == 413


async def test_a_type_we_do_not_know_is_kept_and_ignored(house: House) -> None:
    await told(house, an_event("radar.early_fraud_warning.created", {"id": "issfr_1", "object": "x"}, "unknown"))
    assert await applied(house, "evt_unknown") == "ignored"


async def test_what_makes_no_sense_is_parked_and_keeps_nothing_else_waiting(house: House) -> None:
    poison = an_event("payment_intent.succeeded", {"object": "payment_intent", "status": "succeeded"}, "poison")
    await told(house, poison)  # a payment without an id
    await told(house, an_event("customer.created", {"id": "cus_1", "object": "customer"}, "after"))
    assert await applied(house, "evt_poison") == "parked"
    assert await applied(house, "evt_after") == "ignored"


async def test_what_was_tried_thousands_of_times_keeps_nothing_else_waiting(house: House) -> None:
    reference = house.runtime.reference((await house.partner()).id, ids.new())
    nobodys = {
        "id": "pi_nobodys",
        "object": "payment_intent",
        "status": "succeeded",
        "amount": 1999,
        "amount_received": 1999,
        "currency": "usd",
        "capture_method": "automatic",
        "metadata": {"gateway_reference": reference},
    }
    await told(house, an_event("payment_intent.succeeded", nobodys, "nobodys"))
    await house.owner.execute("UPDATE provider_events SET state = 'received', tries = 5000, next_try_at = now()")
    await told(house, an_event("customer.created", {"id": "cus_1", "object": "customer"}, "after"))
    assert await applied(house, "evt_after") == "ignored"
    tried = "SELECT tries, next_try_at > now() AS later FROM provider_events WHERE dedupe_key = 'evt_nobodys'"
    assert tuple(await house.owner.fetchrow(tried) or ()) == (5001, True)


async def test_a_notification_with_another_amount_is_not_believed(house: House) -> None:
    await house.silence()
    partner = await house.partner()
    await house.fault("act_then_lose_answer", times=2)
    waiting = (await partner.charge(reference="wrong")).json()
    await house.owner.execute("UPDATE attempts SET next_check_at = now() + interval '1 hour'")
    url = f"{house.simulators['stripe']}/v1/payment_intents"
    payment = (await house.http.get(url, headers={"Authorization": "Bearer sk_test_simulated"})).json()["data"][0]
    wrong = payment | {"amount": payment["amount"] - 1, "amount_received": payment["amount_received"] - 1}
    await told(house, an_event("payment_intent.succeeded", wrong, "wrong"))
    await applied(house, "evt_wrong")
    shown = (await partner.get(f"/v1/transactions/{waiting['id']}")).json()
    assert (shown["status"], shown["amount_captured"]) == ("processing", "0.00")


async def test_a_notification_that_does_not_tell_all_is_not_believed_before_the_psp_confirms_it(house: House) -> None:
    await house.silence()
    partner = await house.partner()
    await house.fault("lose_request", operation="charge", reference="claimed", times=2)
    waiting = (await partner.charge(reference="claimed")).json()
    assert waiting["status"] == "processing"
    await house.owner.execute("UPDATE attempts SET next_check_at = now() + interval '1 hour'")
    attempt_id = await house.owner.fetchval("SELECT id FROM attempts")
    claimed = {
        "id": "pi_claimed",
        "object": "payment_intent",
        "status": "succeeded",
        "capture_method": "automatic",
        "amount": 1999,
        "amount_received": 1999,
        "currency": "usd",
        "latest_charge": "ch_claimed",
        "metadata": {"gateway_reference": house.runtime.reference(partner.id, attempt_id)},
    }
    await told(house, an_event("payment_intent.succeeded", claimed, "claimed"))
    assert await applied(house, "evt_claimed") == "applied"
    shown = (await partner.get(f"/v1/transactions/{waiting['id']}")).json()
    moved = (await house.oracle())["merchant_references"].get("claimed", {"captures": {"amount": 0}})
    assert shown["amount_captured"] == f"{moved['captures']['amount'] / 100:.2f}"
    assert shown["provider_transaction_id"] != "pi_claimed"


async def test_a_refund_that_fails_days_later_is_booked_back(house: House) -> None:
    partner = await house.partner()
    await house.subscribed(partner)
    charged = (await partner.charge("pm_card_refundFail", reference="back")).json()
    path = f"/v1/transactions/{charged['id']}/refunds"
    refund = (await partner.post(path, {"amount": "5.00"})).json()
    url = f"{house.simulators['stripe']}/_simulator/refunds/{refund['provider_refund_id']}/settle"
    assert (await house.http.post(url)).is_success
    failed = await house.receiver.event("refund.failed", refund["id"])
    assert failed["data"]["failure"]["code"] == "refund_failed_later"
    shown = (await partner.get(f"/v1/transactions/{charged['id']}", expand="ledger")).json()
    assert (shown["status"], shown["amount_refunded"], shown["amount_refundable"]) == ("completed", "0.00", "19.99")
    assert len(shown["ledger"]) == 6  # taken, given back, and given back taken back: nothing is erased


async def test_an_authorization_that_the_provider_ends_has_failed(house: House) -> None:
    partner = await house.partner()
    charged = (await partner.charge(capture="manual")).json()
    url = f"{house.simulators['stripe']}/_simulator/payments/{charged['provider_transaction_id']}/expire"
    assert (await house.http.post(url)).is_success
    ended = await settled(partner, charged["id"], "failed")
    assert (ended["failure"]["code"], ended["money_moved"]) == ("authorization_expired", "no")


async def test_a_customer_who_does_not_come_back_ends_the_charge(house: House) -> None:
    partner = await house.partner()
    waiting = (await partner.charge("pm_card_threeDSecure2Required", return_url="https://shop.example/return")).json()
    assert waiting["status"] == "requires_action"
    await house.owner.execute("ALTER TABLE attempts DISABLE TRIGGER guard")
    await house.owner.execute("UPDATE attempts SET created_at = created_at - interval '2 days'")
    await house.owner.execute("ALTER TABLE attempts ENABLE TRIGGER guard")
    ended = await settled(partner, waiting["id"], "failed")
    assert (ended["failure"]["code"], ended["money_moved"]) == ("action_expired", "no")


async def test_a_dispute_is_told_and_lies_in_chargebacks_until_it_is_won(house: House) -> None:
    await house.silence()
    partner = await house.partner()
    await house.subscribed(partner, ["dispute.opened", "dispute.won"])
    charged = (await partner.charge()).json()
    dispute = {
        "id": "dp_1",
        "object": "dispute",
        "amount": 1999,
        "currency": "usd",
        "charge": "ch_1",
        "payment_intent": charged["provider_transaction_id"],
        "reason": "fraudulent",
        "status": "needs_response",
        "livemode": False,
        "metadata": {},
    }
    await told(house, an_event("charge.dispute.created", dispute, "opened"))
    await told(house, an_event("charge.dispute.funds_withdrawn", dispute, "withdrawn"))
    opened = await house.receiver.event("dispute.opened")
    assert opened["data"]["transaction_id"] == charged["id"]
    await applied(house, "evt_withdrawn")
    assert await balance(partner, "chargebacks") == ("debit", "19.99")
    won = dispute | {"status": "won"}
    await told(house, an_event("charge.dispute.funds_reinstated", won, "reinstated"))
    await told(house, an_event("charge.dispute.closed", won, "closed"))
    await house.receiver.event("dispute.won")
    await applied(house, "evt_reinstated")
    assert (await balance(partner, "chargebacks"))[1] == "0.00"


async def test_a_payment_of_another_account_is_not_to_be_spoken_for(house: House) -> None:
    await house.silence()
    partner = await house.partner()
    await house.account("stripe", house.simulators["stripe"], partner_id=partner.id)
    own = await house.owner.fetchval("SELECT id FROM provider_accounts WHERE partner_id = $1", partner.id)
    await house.owner.execute("UPDATE provider_accounts SET priority = 1 WHERE id = $1", own)
    await house.silence()
    charged = (await partner.charge(capture="manual")).json()
    ended = await payment_of(house, charged, status="canceled", cancellation_reason="automatic")
    await told(house, an_event("payment_intent.canceled", ended, "foreign"))  # signed by the platform's account
    await told(house, an_event("customer.created", {"id": "cus_1", "object": "customer"}, "after"))
    assert await applied(house, "evt_after") == "ignored"  # so the one before it was looked at
    shown = (await partner.get(f"/v1/transactions/{charged['id']}")).json()
    assert shown["status"] == "authorized"
    assert (await listed(partner))[0]["id"] == charged["id"]
    state = await house.owner.fetchval("SELECT state::text FROM provider_events WHERE dedupe_key = 'evt_foreign'")
    assert state == "received"


async def balance(partner: Partner, account: str) -> tuple[str, str]:
    balances = (await partner.get("/v1/balance")).json()["balances"]
    found = [one for row in balances for one in row["accounts"] if one["account"] == account]
    return found[0]["direction"], found[0]["amount"]


async def test_a_payment_is_found_by_the_psps_id_of_a_refund_and_of_a_notification(house: House) -> None:
    await house.silence()
    partner = await house.partner()
    charged = (await partner.charge()).json()
    refund = (await partner.post(f"/v1/transactions/{charged['id']}/refunds", {"amount": "5.00"})).json()
    notified = an_event("payment_intent.succeeded", await payment_of(house, charged), "told")
    await told(house, notified)
    await applied(house, notified["id"])
    support: Any = house.owner
    for named in (refund["provider_refund_id"], notified["id"]):
        async with support.transaction():
            await support.execute("SET LOCAL ROLE paygate_console")
            await support.execute("SET LOCAL app.across_partners = 'on'")
            reach, filters = Reach(None, livemode=False), Filters(provider_id=named)
            page = await search.page(support, reach, [filters], before=None, limit=2)
        assert [ids.encode("txn", row.id) for row in page.transactions] == [charged["id"]]
