"""Promise: what is not known is found out, at once where somebody asks and within seconds of a PSP's return; what came
late is given back; what nobody tells is for people, and two of them decide.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from click.testing import CliRunner

from db import embedded, ids, transactions
from db.account_readings import Due
from db.records import Transaction
from db.reviews import ReviewVerdict
from gateway import cli_reviews, worker
from gateway.attention import Attention
from gateway.transactions import gaps, provider_events, reconciler, recovery, reviews, watchdog
from providers.contract import CannotList
from providers.simulator import CREDENTIALS
from providers.simulator.adyen_events import HMAC_KEY, signature
from tests.acceptance.processes import free_port
from tests.acceptance.steps import listed, moved, refused, until
from tests.acceptance.test_notifications_converge import an_event, signed
from tests.conftest import cloned
from tests.house import House, Json, Partner, new_key

ALICE, BOB = "operator:alice", "operator:bob"
SALE: Json = {"charges": (1, 1999), "captures": (1, 1999)}
GIVEN_BACK: Json = SALE | {"refunds": (1, 1999)}
SEEN = "it is in the PSP's dashboard, ticket 4711"


@pytest.fixture(scope="module")
async def quiet(postgres: embedded.Server, template: str) -> AsyncIterator[House]:
    """No loop of the worker runs and no PSP notifies: only what a test does, happens."""
    async with cloned(postgres, template) as url, House.opened(url, working=False) as opened:
        for provider in opened.simulators:
            await opened.silence(provider)
        yield opened
        await opened.check_invariants()


@pytest.fixture
async def partner(quiet: House) -> Partner:
    return await quiet.partner()


def attending(house: House) -> Attention:
    return Attention(house.desk.database, house.desk.actor)


async def unknown(house: House, partner: Partner, reference: str, **members: Any) -> Json:
    """A charge that the PSP made and whose answer was lost twice: nobody has asked about it for hours."""
    await house.fault("act_then_lose_answer", operation="charge", reference=reference, times=2)
    answer = await partner.charge(reference=reference, **members)
    assert answer.json()["status"] == "processing", answer.text
    await _age(house, answer.json(), "3 hours")
    shown: Json = answer.json()
    return shown


async def _age(house: House, transaction: Json, interval: str) -> None:
    """So long ago it was begun and asked about, and the next check is as far away."""
    await house.owner.execute(
        "UPDATE attempts SET created_at = created_at - $2::text::interval, updated_at = now() - $2::text::interval,"
        " next_check_at = now() + $2::text::interval, checks = 7"
        " WHERE transaction_id = $1 AND finished_at IS NULL",
        ids.decode("txn", transaction["id"]),
        interval,
    )


def the_id(transaction: Json) -> UUID:
    found = ids.decode("txn", transaction["id"])
    assert found is not None
    return found


async def decided(house: House, transaction: Json, verdict: str, **members: object) -> Transaction:
    """Alice decides and Bob approves."""
    told = {"attempt_id": None, "provider_id": None, "evidence": SEEN} | members
    await reviews.request(house.background, the_id(transaction), ReviewVerdict(verdict), actor=ALICE, **told)  # type: ignore[arg-type]  # of one test each
    return await reviews.approve(house.background, the_id(transaction), actor=BOB)


async def in_review(house: House, transaction: Json) -> None:
    await _age(house, transaction, "23 hours")
    await recovery.flag_overdue(house.background)


# ── Asked at once ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_who_looks_at_an_unknown_payment_has_the_provider_asked(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "looked-at")
    shown = (await partner.get(f"/v1/transactions/{made['id']}")).json()
    assert (shown["status"], shown["money_moved"], shown["next_check_at"]) == ("completed", "yes", None)
    assert await moved(quiet, "looked-at") == SALE


async def test_a_capture_asks_first_about_the_authorization_that_is_in_its_way(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "captured-after", capture="manual")
    answer = await partner.post(f"/v1/transactions/{made['id']}/captures", {"amount": "5.00"})
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert (await moved(quiet, "captured-after"))["captures"] == (1, 500)


async def test_a_refund_asks_first_about_the_charge_that_is_in_its_way(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "refunded-after")
    answer = await partner.post(f"/v1/transactions/{made['id']}/refunds")
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert await moved(quiet, "refunded-after") == GIVEN_BACK


async def test_who_looks_at_an_unknown_refund_has_the_provider_asked(quiet: House, partner: Partner) -> None:
    made = (await partner.charge(reference="refund-looked-at")).json()
    await quiet.fault("act_then_lose_answer", operation="refund", times=2)
    refund = (await partner.post(f"/v1/transactions/{made['id']}/refunds")).json()
    assert refund["status"] == "processing"
    await _age(quiet, made, "3 hours")
    assert (await partner.get(f"/v1/refunds/{refund['id']}")).json()["status"] == "completed"


async def test_when_a_silent_provider_is_back_all_that_waits_for_it_is_settled(quiet: House, partner: Partner) -> None:
    for number in range(6):
        await unknown(quiet, partner, f"silent-{number}")
    rounds = [await recovery.resolve_due(quiet.background) for _ in range(4)]
    # None is due for hours: one is tried, it is answered, and that brings the others forward.
    assert rounds == [1, 4, 1, 0]
    assert [await moved(quiet, f"silent-{number}") for number in range(6)] == [SALE] * 6
    assert {row["status"] for row in await listed(partner)} == {"completed"}


async def test_a_provider_that_stays_silent_is_tried_with_one_payment_every_few_seconds(
    quiet: House, partner: Partner
) -> None:
    made = [await unknown(quiet, partner, f"still-silent-{number}") for number in range(3)]
    await quiet.fault("lose_request", times=100)
    assert [await recovery.resolve_due(quiet.background) for _ in range(4)] == [1, 1, 1, 0]
    await quiet.http.delete(f"{quiet.simulators['stripe']}/_simulator/faults")
    for one in made:
        await _age(quiet, one, "1 minute")
        await partner.get(f"/v1/transactions/{one['id']}")
    assert {row["status"] for row in await listed(partner)} == {"completed"}


# ── Late successes ──────────────────────────────────────────────────────────────────────────────────────────────────


async def given_up(house: House, partner: Partner, reference: str, **members: Any) -> Json:
    """A charge that the PSP made, of which two people wrongly established that it was not."""
    made = await unknown(house, partner, reference, **members)
    await in_review(house, made)
    after = await decided(house, made, "failed")
    assert (after.status, after.needs_review, after.error_code) == ("failed", False, "payment_not_made")
    return made


async def told_again(house: House, provider: str = "stripe") -> None:
    """The provider tells everything once more, and it is applied."""
    url = house.simulators[provider]
    address = f"{house.base_url}/webhooks/{provider}/{house.accounts[provider]}"
    await house.http.post(f"{url}/_simulator/webhooks", json={"url": address})
    await house.http.post(f"{url}/_simulator/webhooks/resend")

    async def is_settled() -> bool:
        return bool((await house.http.get(f"{url}/_simulator/webhooks")).json()["settled"])

    await until(is_settled, bool)
    await house.silence(provider)
    while await provider_events.apply_due(house.background):
        pass


async def test_money_that_comes_after_the_payment_was_over_is_given_back_and_shown(
    quiet: House, partner: Partner
) -> None:
    await quiet.subscribed(partner, ["transaction.duplicate_compensated"])
    made = await given_up(quiet, partner, "late")
    await told_again(quiet)
    shown = (await partner.get(f"/v1/transactions/{made['id']}", expand="events,ledger,deliveries")).json()
    assert (shown["status"], shown["money_moved"], len(shown["deliveries"])) == ("failed", "yes", 1)
    states = [(one["operation"], one["state"]) for one in shown["attempts"]]
    assert states == [("charge", "compensated"), ("compensate", "succeeded")]
    assert [one["type"] for one in shown["events"]][-2:] == ["late_success_found", "duplicate_compensated"]
    suspense = [one["direction"] for one in shown["ledger"] if one["account"] == "suspense"]
    assert sorted(suspense) == ["credit", "debit"]
    assert await moved(quiet, "late") == GIVEN_BACK
    assert await refunded_units(quiet, shown) == 1999
    await quiet.owner.execute("UPDATE provider_events SET state = 'received', next_try_at = now()")
    await told_again(quiet)  # the late success, as if its first application had not been heard of, and the giving back
    again = (await partner.get(f"/v1/transactions/{made['id']}", expand="events")).json()
    assert (again["needs_review"], again["events"]) == (False, shown["events"])


async def test_a_hold_that_comes_after_the_payment_was_over_is_released(quiet: House, partner: Partner) -> None:
    made = await given_up(quiet, partner, "late-hold", capture="manual")
    url = quiet.simulators["stripe"]
    listed_there = (
        await quiet.http.get(f"{url}/v1/payment_intents", headers={"Authorization": "Bearer sk_test_simulated"})
    ).json()
    (payment,) = [one for one in listed_there["data"] if one["metadata"].get("merchant_reference") == "late-hold"]
    assert payment["status"] == "requires_capture"
    await reconciled(quiet)
    shown = (await partner.get(f"/v1/transactions/{made['id']}")).json()
    assert [one["state"] for one in shown["attempts"]] == ["compensated", "succeeded"]
    assert (shown["status"], shown["money_moved"]) == ("failed", "no")
    assert (await moved(quiet, "late-hold"))["voids"][0] == 1


async def test_nothing_is_given_back_on_a_notifications_word_alone(quiet: House, partner: Partner) -> None:
    declined = (await partner.charge("pm_card_visa_chargeDeclined", reference="never-late")).json()
    assert declined["status"] == "failed"
    attempt_id = ids.decode("att", declined["attempts"][0]["id"])
    assert attempt_id is not None
    claimed = {
        "id": declined["provider_transaction_id"],
        "object": "payment_intent",
        "status": "succeeded",
        "capture_method": "automatic",
        "amount": 1999,
        "amount_received": 1999,
        "currency": "usd",
        "metadata": {"gateway_reference": quiet.background.reference(partner.id, attempt_id)},
    }
    assert (await quiet.notify(*signed(an_event("payment_intent.succeeded", claimed, "never-late")))).is_success
    while await provider_events.apply_due(quiet.background):
        pass
    shown = (await partner.get(f"/v1/transactions/{declined['id']}")).json()
    assert [(one["operation"], one["state"]) for one in shown["attempts"]] == [("charge", "declined")]
    assert await moved(quiet, "never-late") == {}


async def test_what_gives_back_and_gets_no_answer_is_found_out_like_any_other(quiet: House, partner: Partner) -> None:
    made = await given_up(quiet, partner, "late-lost")
    await quiet.fault("act_then_lose_answer", operation="refund", times=2)
    await told_again(quiet)
    attempts = (await partner.get(f"/v1/transactions/{made['id']}")).json()["attempts"]
    assert [one["state"] for one in attempts] == ["compensating", "unknown"]
    await _age(quiet, made, "1 hour")
    shown = (await partner.get(f"/v1/transactions/{made['id']}")).json()
    assert [one["state"] for one in shown["attempts"]] == ["compensated", "succeeded"]
    assert await refunded_units(quiet, shown) == 1999


async def refunded_units(house: House, shown: Json) -> int:
    back = shown["attempts"][-1]["id"]
    partner_id = await house.owner.fetchval(
        "SELECT partner_id FROM transactions WHERE id = $1", ids.decode("txn", shown["id"])
    )
    attempt_id = ids.decode("att", back)
    assert attempt_id is not None
    reference = house.background.reference(partner_id, attempt_id)
    account = (await house.oracle())["gateway_references"][reference]
    assert account["refunds"]["count"] == 1
    return int(account["refunds"]["amount"])


# ── What PSPs list ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_a_provider_lists_and_never_told_is_applied(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "never-told")
    account_id = ids.decode("pac", quiet.accounts["stripe"])
    assert account_id is not None
    since = quiet.background.clock() - timedelta(hours=1)
    await gaps.fill(quiet.background, Due(account_id=account_id, provider="stripe", until=since))
    await provider_events.apply_due(quiet.background)
    assert (await listed(partner, reference="never-told"))[0]["status"] == "completed"
    stored = await quiet.owner.fetchval("SELECT count(*) FROM provider_events")
    await gaps.fill(quiet.background, Due(account_id=account_id, provider="stripe", until=since))
    assert await quiet.owner.fetchval("SELECT count(*) FROM provider_events") == stored
    assert made["status"] == "processing"


async def test_what_a_provider_listed_late_is_applied_too(quiet: House, partner: Partner) -> None:
    await unknown(quiet, partner, "listed-late")
    account_id = ids.decode("pac", quiet.accounts["stripe"])
    assert account_id is not None
    # A minute after the payment the list was read, and its event was not there yet.
    read_until = quiet.background.clock() + timedelta(minutes=1)
    await gaps.fill(quiet.background, Due(account_id=account_id, provider="stripe", until=read_until))
    await provider_events.apply_due(quiet.background)
    assert (await listed(partner, reference="listed-late"))[0]["status"] == "completed"


async def test_a_notification_waits_for_a_provider_that_is_away_for_hours(quiet: House, partner: Partner) -> None:
    method = {"type": "card", "tokens": {"paypal": "vault_refundFail"}}
    sale = (await partner.charge(payment_method=method)).json()
    refund = (await partner.post(f"/v1/transactions/{sale['id']}/refunds")).json()
    assert refund["status"] == "completed"
    settle = f"{quiet.simulators['paypal']}/_simulator/refunds/{refund['provider_refund_id']}/settle"
    assert (await quiet.http.post(settle)).is_success
    account_id = ids.decode("pac", quiet.accounts["paypal"])
    assert account_id is not None
    await gaps.fill(quiet.background, Due(account_id=account_id, provider="paypal", until=quiet.background.clock()))
    hours_later = replace(quiet.background, clock=lambda: quiet.background.clock() + timedelta(hours=5))
    await quiet.fault("error_without_acting", provider="paypal", operation="look_up", times=100)
    await provider_events.apply_due(hours_later)
    assert (await partner.get(f"/v1/refunds/{refund['id']}")).json()["status"] == "completed"
    await quiet.calm("paypal")
    await quiet.owner.execute("UPDATE provider_events SET next_try_at = now() WHERE state = 'received'")
    await provider_events.apply_due(hours_later)
    assert (await partner.get(f"/v1/refunds/{refund['id']}")).json()["status"] == "failed"


@pytest.mark.parametrize(
    ("event", "ends"), [("CAPTURE_FAILED", ("failed", "no")), ("SECOND_CHARGEBACK", ("completed", "yes"))]
)
async def test_a_notification_waits_for_a_payment_whose_id_is_learned_after_hours(
    quiet: House, partner: Partner, event: str, ends: tuple[str, str]
) -> None:
    """Adyen's word of a chargeback names its own id only, and the answer that would have told it was lost."""
    method = {"type": "card", "tokens": {"adyen": f"ada/{event}"}}
    await quiet.fault("act_then_lose_answer", provider="adyen", operation="charge", reference="late-id", times=2)
    sale = (await partner.charge(payment_method=method, reference="late-id")).json()
    assert sale["status"] == "processing"
    await told_by_adyen(quiet, event)
    hours_later = replace(quiet.background, clock=lambda: quiet.background.clock() + timedelta(hours=5))
    await provider_events.apply_due(hours_later)
    await _age(quiet, sale, "5 hours")
    assert (await partner.get(f"/v1/transactions/{sale['id']}")).json()["status"] == "completed"
    await quiet.owner.execute("UPDATE provider_events SET next_try_at = now() WHERE state = 'received'")
    await provider_events.apply_due(hours_later)
    shown = (await partner.get(f"/v1/transactions/{sale['id']}")).json()
    assert (shown["status"], shown["money_moved"]) == ends
    assert await state_of_the_last(quiet) == "applied"


async def test_a_refund_whose_error_adyen_keeps_under_its_key_is_concluded_by_its_notification(
    quiet: House, partner: Partner
) -> None:
    """No answer will ever tell its id: the notification is found by our own reference of it."""
    sale, refund = await nameless_refund(quiet, partner, "stored-error")
    await told_by_adyen(quiet, "REFUND")
    await provider_events.apply_due(quiet.background)
    shown = (await partner.get(f"/v1/refunds/{refund['id']}")).json()
    assert (shown["status"], shown["money_moved"]) == ("completed", "yes")
    assert (await partner.get(f"/v1/transactions/{sale['id']}")).json()["amount_refunded"] == "4.00"
    assert (await moved(quiet, "stored-error", "adyen"))["refunds"] == (1, 400)


async def test_a_second_refund_under_the_reference_of_one_that_is_over_is_for_people(
    quiet: House, partner: Partner
) -> None:
    sale, refund = await nameless_refund(quiet, partner, "told-as-two")
    await told_by_adyen(quiet, "REFUND")
    await told_by_adyen(quiet, "REFUND", pspReference="ANOTHERREFUND234")
    await provider_events.apply_due(quiet.background)
    assert (await partner.get(f"/v1/refunds/{refund['id']}")).json()["status"] == "completed"
    shown = (await partner.get(f"/v1/transactions/{sale['id']}")).json()
    assert (shown["amount_refunded"], shown["needs_review"]) == ("4.00", True)


async def test_what_is_parked_about_a_payment_is_shown_to_people(quiet: House, partner: Partner) -> None:
    """A refund that was made elsewhere, or ours under its payment's name: nobody can tell while ours has no id."""
    sale, _ = await nameless_refund(quiet, partner, "parked")
    await told_by_adyen(quiet, "REFUND", merchantReference="made elsewhere")
    await provider_events.apply_due(quiet.background)
    assert await state_of_the_last(quiet) == "received"
    assert not (await partner.get(f"/v1/transactions/{sale['id']}")).json()["needs_review"]
    await quiet.owner.execute("UPDATE provider_events SET next_try_at = now() WHERE state = 'received'")
    await provider_events.apply_due(
        replace(quiet.background, clock=lambda: quiet.background.clock() + timedelta(hours=23))
    )
    assert await state_of_the_last(quiet) == "parked"
    case = await reviews.case(quiet.background, the_id(sale))
    event_id = await quiet.owner.fetchval("SELECT id FROM provider_events ORDER BY id DESC LIMIT 1")
    assert case.transaction.needs_review
    assert case.history[-1].data["provider_event"] == str(event_id)
    await told_by_adyen(quiet, "REFUND")
    await provider_events.apply_due(quiet.background)


async def nameless_refund(house: House, partner: Partner, reference: str) -> tuple[Json, Json]:
    """The payment and its refund, which Adyen made and answered with an error: its id is never told."""
    method = {"type": "card", "tokens": {"adyen": "ada/APPROVED"}}
    sale = (await partner.charge(payment_method=method, reference=reference)).json()
    await house.fault("error_after_acting", provider="adyen", operation="refund", times=1)
    refund = (await partner.post(f"/v1/transactions/{sale['id']}/refunds", {"amount": "4.00"})).json()
    await _age(house, sale, "1 hour")
    again = (await partner.get(f"/v1/refunds/{refund['id']}")).json()
    assert (again["status"], again["money_moved"], again["provider_refund_id"]) == ("processing", "unknown", None)
    return sale, refund


async def told_by_adyen(house: House, event: str, **changed: str) -> None:
    """The last notification of that kind, as it is or as it might be."""
    told = [one for one in house.notifiers["adyen"].remembered if one.event == event][-1]
    body = json.loads(told.body)
    item = body["notificationItems"][0]["NotificationRequestItem"]
    item |= changed
    item["additionalData"]["hmacSignature"] = signature(item, HMAC_KEY)
    assert not callable(told.headers)
    assert (await house.notify(json.dumps(body).encode(), told.headers, "adyen")).is_success


async def state_of_the_last(house: House) -> str:
    return str(await house.owner.fetchval("SELECT state::text FROM provider_events ORDER BY id DESC LIMIT 1"))


async def test_a_list_that_could_not_be_read_is_read_again_from_where_it_was(quiet: House, partner: Partner) -> None:
    away = await quiet.desk.add_account(
        provider="stripe",
        livemode=False,
        credentials=CREDENTIALS["stripe"],
        base_url=f"http://127.0.0.1:{free_port()}",
        partner_id=partner.id,
    )
    query = "SELECT events_until FROM account_readings WHERE account_id = $1"
    await gaps.fill_due(quiet.background)
    before = await quiet.owner.fetchval(query, away.id)
    await quiet.owner.execute("UPDATE account_readings SET events_due_at = now()")
    await gaps.fill_due(quiet.background)
    assert before == await quiet.owner.fetchval(query, away.id)


async def reconciled(house: House, provider: str = "stripe") -> None:
    account_id = ids.decode("pac", house.accounts[provider])
    assert account_id is not None
    now = house.background.clock()
    await reconciler.reconcile(
        house.background, account_id, since=now - timedelta(hours=30), until=now - reconciler.SKEW
    )


async def found(house: House, kind: str) -> list[asyncpg.Record]:
    return await house.owner.fetch("SELECT * FROM findings WHERE kind = $1 AND closed_at IS NULL", kind)


@pytest.mark.parametrize("provider", ["stripe", "paypal"])
async def test_books_that_agree_with_the_providers_list_have_no_finding(
    quiet: House, partner: Partner, provider: str
) -> None:
    token = {"stripe": "pm_card_visa", "paypal": "vault_card_visa"}[provider]
    body: Json = {"payment_method": {"type": "card", "tokens": {provider: token}}}
    made = (await partner.charge(**body)).json()
    assert made["status"] == "completed", made
    await partner.post(f"/v1/transactions/{made['id']}/refunds", {"amount": "5.00"})
    hold = (await partner.charge(**body, capture="manual")).json()
    await partner.post(f"/v1/transactions/{hold['id']}/captures", {"amount": "3.00"})
    before = await quiet.owner.fetch("SELECT kind, subject, data FROM findings")
    await reconciled(quiet, provider)
    assert await quiet.owner.fetch("SELECT kind, subject, data FROM findings") == before


async def test_a_payment_with_our_reference_that_we_do_not_know_is_found(quiet: House, partner: Partner) -> None:
    reference = quiet.background.reference(partner.id, ids.new())
    form = {
        "amount": "777",
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "confirm": "true",
        "metadata[gateway_reference]": reference,
        "automatic_payment_methods[enabled]": "true",
        "automatic_payment_methods[allow_redirects]": "never",
    }
    url = f"{quiet.simulators['stripe']}/v1/payment_intents"
    headers = {"Authorization": "Bearer sk_test_simulated", "Stripe-Version": "2026-10-28.endive"}
    assert (await quiet.http.post(url, data=form, headers=headers)).status_code == 200
    await reconciled(quiet)
    (row,) = await found(quiet, "unknown_payment")
    data = json.loads(row["data"])
    assert (data["reference"], data["amount"], row["partner_id"]) == (reference, "7.77", None)


async def test_what_the_provider_lists_and_waits_here_for_an_answer_is_asked_about(
    quiet: House, partner: Partner
) -> None:
    await unknown(quiet, partner, "listed-there")
    await reconciled(quiet)
    assert (await listed(partner, reference="listed-there"))[0]["status"] == "completed"


ADA: Json = {"payment_method": {"type": "card", "tokens": {"adyen": "ada/APPROVED"}}}


async def test_what_adyen_confirmed_in_lost_notifications_is_concluded_from_its_report(
    quiet: House, partner: Partner
) -> None:
    held = (await partner.charge(**ADA, capture="manual", reference="report-held")).json()
    taken = (await partner.charge(**ADA, reference="report-taken")).json()
    capture = await partner.post(f"/v1/transactions/{held['id']}/captures", {"amount": "5.00"})
    refund = await partner.post(f"/v1/transactions/{taken['id']}/refunds", {"amount": "4.00"})
    assert (capture.status_code, refund.status_code) == (202, 202)
    await reconciled(quiet, "adyen")
    held = (await partner.get(f"/v1/transactions/{held['id']}")).json()
    assert (held["status"], held["amount_captured"], held["needs_review"]) == ("completed", "5.00", False)
    assert (await partner.get(f"/v1/refunds/{refund.json()['id']}")).json()["status"] == "completed"
    before = await quiet.owner.fetch("SELECT kind, subject, data FROM findings")
    await reconciled(quiet, "adyen")
    assert await quiet.owner.fetch("SELECT kind, subject, data FROM findings") == before


async def test_a_customer_who_paid_and_did_not_come_back_is_found_in_adyens_report(
    quiet: House, partner: Partner
) -> None:
    wallet: Json = {"payment_method": {"type": "e_wallet"}, "return_url": "https://shop.test/back"}
    paid, left = [
        (await partner.charge(**wallet, provider="adyen", reference=f"page-{end}")).json() for end in ("paid", "left")
    ]
    for made, action in ((paid, "approve"), (left, "refuse")):
        await quiet.http.post(made["next_action"]["url"], data={"action": action})
    await reconciled(quiet, "adyen")
    shown = [(await partner.get(f"/v1/transactions/{made['id']}")).json() for made in (paid, left)]
    assert [(one["status"], one["money_moved"]) for one in shown] == [("completed", "yes"), ("failed", "no")]


async def test_a_refund_that_failed_at_adyen_without_a_word_is_refundable_again(quiet: House, partner: Partner) -> None:
    method = {"type": "card", "tokens": {"adyen": "ada/REFUND_FAILED"}}
    made = (await partner.charge(payment_method=method)).json()
    refund = (await partner.post(f"/v1/transactions/{made['id']}/refunds")).json()
    await reconciled(quiet, "adyen")
    assert (await partner.get(f"/v1/refunds/{refund['id']}")).json()["status"] == "failed"
    assert (await partner.get(f"/v1/transactions/{made['id']}")).json()["amount_refundable"] == "19.99"


async def test_what_adyen_took_of_a_payment_that_was_given_up_is_given_back(quiet: House, partner: Partner) -> None:
    await quiet.fault("act_then_lose_answer", provider="adyen", operation="charge", reference="report-late", times=2)
    made = (await partner.charge(**ADA, reference="report-late")).json()
    await _age(quiet, made, "23 hours")
    await recovery.flag_overdue(quiet.background)
    await decided(quiet, made, "failed")
    await reconciled(quiet, "adyen")
    shown = (await partner.get(f"/v1/transactions/{made['id']}")).json()
    assert shown["attempts"][0]["state"] == "compensating"  # Adyen tells the end of it later
    await reconciled(quiet, "adyen")
    shown = (await partner.get(f"/v1/transactions/{made['id']}")).json()
    assert [one["state"] for one in shown["attempts"]] == ["compensated", "succeeded"]
    assert (await moved(quiet, "report-late", "adyen"))["refunds"] == (1, 1999)


async def test_what_is_booked_and_in_no_report_of_adyen_is_found(quiet: House, partner: Partner) -> None:
    own = await quiet.desk.add_account(
        provider="adyen",
        livemode=False,
        credentials={**CREDENTIALS["adyen"], "merchant_account": "OwnShop"},
        base_url=quiet.simulators["adyen"],
        partner_id=partner.id,
        priority=1,
    )
    made = (await partner.charge(**ADA)).json()
    now = quiet.background.clock()
    window = {"since": now - timedelta(hours=1), "until": now + timedelta(minutes=1)}
    assert await reconciler.reconcile(quiet.background, own.id, **window) == 1
    assert await found(quiet, "missing_at_provider") == []
    await quiet.desk.change_account(own.id, credentials={**CREDENTIALS["adyen"], "merchant_account": "AnotherShop"})
    assert await reconciler.reconcile(quiet.background, own.id, **window) == 0
    (row,) = await found(quiet, "missing_at_provider")
    assert (row["subject"], row["partner_id"]) == (made["attempts"][0]["id"], partner.id)
    assert (await partner.get(f"/v1/transactions/{made['id']}")).json()["needs_review"]
    await attending(quiet).close_finding(row["id"], because="it was the test")


async def test_without_a_key_for_reports_nothing_is_called_missing(quiet: House, partner: Partner) -> None:
    keyless = {name: value for name, value in CREDENTIALS["adyen"].items() if name != "report_api_key"}
    own = await quiet.desk.add_account(
        provider="adyen",
        livemode=False,
        credentials=keyless,
        base_url=quiet.simulators["adyen"],
        partner_id=partner.id,
    )
    now = quiet.background.clock()
    with pytest.raises(CannotList, match="report_api_key"):
        await reconciler.reconcile(quiet.background, own.id, since=now - timedelta(hours=1), until=now)


async def test_adyens_reports_are_read_by_the_day_once_they_must_be_there(quiet: House) -> None:
    account_id = ids.decode("pac", quiet.accounts["adyen"])
    read = "SELECT payments_until FROM account_readings WHERE account_id = $1"
    await reconciler.reconcile_due(quiet.background)
    for hours, expected in ((95, 95), (97, 73)):
        await quiet.owner.execute(
            "UPDATE account_readings SET payments_due_at = CASE WHEN account_id = $1 THEN now() ELSE 'infinity' END,"
            " payments_until = date_trunc('hour', now()) - make_interval(hours => $2)",
            account_id,
            hours,
        )
        await reconciler.reconcile_due(quiet.background)
        ago = await quiet.owner.fetchval(f"SELECT date_trunc('hour', now()) - ({read})", account_id)
        assert ago == timedelta(hours=expected)
    await quiet.owner.execute("UPDATE account_readings SET payments_due_at = now(), payments_until = now()")


async def test_an_adyen_charge_that_can_no_longer_be_sent_again_is_cancelled_by_its_reference(
    quiet: House, partner: Partner
) -> None:
    method = {"type": "card", "tokens": {"adyen": "ada/APPROVED"}}
    await quiet.fault("act_then_lose_answer", provider="adyen", operation="charge", reference="adyen-lost", times=2)
    made = (await partner.charge(payment_method=method, reference="adyen-lost", capture="manual")).json()
    assert made["status"] == "processing", made
    await quiet.owner.execute("UPDATE attempts SET resend_until = now() WHERE transaction_id = $1", the_id(made))
    await _age(quiet, made, "6 days")
    await partner.get(f"/v1/transactions/{made['id']}")
    assert "voids" in await moved(quiet, "adyen-lost", "adyen")
    await told_again(quiet, "adyen")
    shown = (await partner.get(f"/v1/transactions/{made['id']}")).json()
    assert (shown["status"], shown["money_moved"]) == ("failed", "no")


async def test_each_round_of_ruling_out_is_a_question_of_its_own(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "rounds")
    async with quiet.background.database.as_partner(partner.id) as connection:
        (attempt,) = await transactions.attempts(connection, partner.id, [the_id(made)])
    keys = [recovery.rule_out_key(quiet.background, replace(attempt, checks=checks)) for checks in (0, 1, 2, 2)]
    assert len(set(keys)) == 3
    assert attempt.provider_key not in keys


# ── Watched ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_row_that_breaks_a_promise_is_found_and_is_whole_again_when_mended(
    quiet: House, partner: Partner
) -> None:
    made = (await partner.charge(reference="tampered")).json()
    rounds = watchdog.Rounds()
    assert await rounds.watch(quiet.background) == 0
    await tampered(quiet, made, "9.99")
    assert await watchdog.look_at(quiet.background, partner.id, [the_id(made)]) > 0
    kinds = {row["kind"] for row in await quiet.owner.fetch("SELECT kind FROM findings WHERE subject = $1", made["id"])}
    assert "ledger_differs_from_transaction" in kinds
    shown = (await partner.get(f"/v1/transactions/{made['id']}")).json()
    assert shown["needs_review"]
    audit = "SELECT count(*) FROM audit_logs WHERE action = 'invariant.broken' AND resource_id = $1"
    assert await quiet.owner.fetchval(audit, made["id"]) == len(kinds)
    await tampered(quiet, made, "19.99")
    assert await watchdog.look_at(quiet.background, partner.id, [the_id(made)]) == 0
    open_ones = "SELECT count(*) FROM findings WHERE subject = $1 AND closed_at IS NULL"
    assert await quiet.owner.fetchval(open_ones, made["id"]) == 0


async def broken(house: House, partner: Partner, amount: str = "9.99") -> Json:
    """A completed charge whose row was tampered with, as the watchdog has seen."""
    made: Json = (await partner.charge()).json()
    await tampered(house, made, amount)
    assert await watchdog.look_at(house.background, partner.id, [the_id(made)]) == 1
    return made


async def mended(house: House, partner: Partner, transaction: Json) -> None:
    await tampered(house, transaction, "19.99")
    assert await watchdog.look_at(house.background, partner.id, [the_id(transaction)]) == 0


async def test_a_broken_promise_stops_its_partners_refunds_until_it_is_whole_again(
    quiet: House, partner: Partner
) -> None:
    sale = (await partner.charge(reference="not-refunded-now")).json()
    path, key, before = f"/v1/transactions/{sale['id']}/refunds", new_key(), new_key()
    first = await partner.post(path, {"amount": "1.00"}, key=before)
    made = await broken(quiet, partner)
    answer = await partner.post(path, {"amount": "5.00"}, key=key)
    problem = refused(answer, 503, "temporarily_unavailable")
    assert (problem["money_moved"], problem["safe_to_retry"], answer.headers["Retry-After"]) == ("no", True, "60")
    assert (await moved(quiet, "not-refunded-now"))["refunds"] == (1, 100)
    again = await partner.post(path, {"amount": "1.00"}, key=before)  # what was done is told all the same
    assert (again.status_code, again.content) == (201, first.content)
    await mended(quiet, partner, made)
    assert (await partner.post(path, {"amount": "5.00"}, key=key)).json()["status"] == "completed"


async def test_a_broken_promise_stops_no_refund_of_another_partner(quiet: House, partner: Partner) -> None:
    made = await broken(quiet, partner)
    other = await quiet.partner()
    sale = (await other.charge()).json()
    assert (await other.post(f"/v1/transactions/{sale['id']}/refunds")).status_code == 201
    await mended(quiet, partner, made)


async def test_a_broken_promise_stops_nothing_that_was_asked_before_and_nothing_that_is_owed(
    quiet: House, partner: Partner
) -> None:
    sale = (await partner.charge(reference="asked-before")).json()
    await quiet.fault("lose_request", operation="refund", times=2)
    refund = (await partner.post(f"/v1/transactions/{sale['id']}/refunds")).json()
    late = await given_up(quiet, partner, "owed")
    made = await broken(quiet, partner)
    await _age(quiet, sale, "1 hour")
    assert (await partner.get(f"/v1/refunds/{refund['id']}")).json()["status"] == "completed"
    await told_again(quiet)
    assert (await partner.get(f"/v1/transactions/{late['id']}")).json()["attempts"][0]["state"] == "compensated"
    await mended(quiet, partner, made)


async def test_a_person_lets_refunds_go_on_until_something_else_breaks(quiet: House, partner: Partner) -> None:
    sale = (await partner.charge()).json()
    made = await broken(quiet, partner)
    (finding,) = [one for one in await attending(quiet).open_findings() if one.subject == made["id"]]
    assert finding.stops_refunds
    lifted = await attending(quiet).lift_finding(finding.id, because="one row, ticket 4711")
    assert not lifted.stops_refunds
    await watchdog.look_at(quiet.background, partner.id, [the_id(made)])  # it still stands
    path = f"/v1/transactions/{sale['id']}/refunds"
    assert (await partner.post(path, {"amount": "1.00"})).status_code == 201
    more = await broken(quiet, partner)
    refused(await partner.post(path, {"amount": "1.00"}), 503, "temporarily_unavailable")
    await mended(quiet, partner, made)
    await mended(quiet, partner, more)
    assert (await partner.post(path, {"amount": "1.00"})).status_code == 201


async def test_what_is_closed_and_still_broken_stops_refunds_again(quiet: House, partner: Partner) -> None:
    sale = (await partner.charge()).json()
    path = f"/v1/transactions/{sale['id']}/refunds"
    made = await broken(quiet, partner)
    (finding,) = [one for one in await attending(quiet).open_findings() if one.subject == made["id"]]
    await attending(quiet).close_finding(finding.id, because="seen to")
    assert (await partner.post(path, {"amount": "1.00"})).status_code == 201
    assert await watchdog.look_at(quiet.background, partner.id, [the_id(made)]) == 1
    refused(await partner.post(path, {"amount": "1.00"}), 503, "temporarily_unavailable")
    await mended(quiet, partner, made)


async def tampered(house: House, transaction: Json, amount: str) -> None:
    """As a superuser could, past every trigger."""
    async with house.owner.transaction():
        await house.owner.execute("SET LOCAL session_replication_role = replica")
        await house.owner.execute(
            "UPDATE transactions SET amount_captured = $2::text::numeric WHERE id = $1", the_id(transaction), amount
        )


async def test_every_job_of_the_worker_runs_on_a_busy_house(quiet: House, partner: Partner) -> None:
    assert (await partner.charge()).status_code == 201
    for job, seconds in worker.jobs():
        await job(quiet.background)
        assert seconds > 0


# ── For people ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_has_no_outcome_for_a_day_is_for_people_and_ends_when_the_provider_speaks(
    quiet: House, partner: Partner
) -> None:
    made = await unknown(quiet, partner, "a-day")
    await quiet.fault("error_without_acting", operation="charge", reference="a-day", times=1)
    await in_review(quiet, made)
    (row,) = await listed(partner, needs_review="true", reference="a-day")
    assert (row["status"], row["money_moved"]) == ("processing", "unknown")
    after = await reviews.ask(quiet.background, the_id(made), actor=ALICE)
    assert (after.status, after.needs_review) == ("completed", False)


async def test_what_is_of_high_value_is_for_people_after_an_hour(quiet: House, partner: Partner) -> None:
    await quiet.desk.change_partner(partner.id, review_above={"USD": Decimal(1000)})
    dear = await unknown(quiet, partner, "dear", amount="1000.00")
    cheap = await unknown(quiet, partner, "cheap", amount="999.99")
    assert await recovery.flag_overdue(quiet.background) == 1
    assert [row["id"] for row in await listed(partner, needs_review="true")] == [dear["id"]]
    for made in (dear, cheap):
        shown = (await partner.get(f"/v1/transactions/{made['id']}")).json()
        assert (shown["status"], shown["needs_review"]) == ("completed", False)


async def test_what_was_sent_and_every_answer_is_shown(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "shown")
    await quiet.fault("lose_request", operation="charge", reference="shown", times=1)
    await quiet.fault("garbage", operation="look_up", times=1)
    await recovery.resolve(quiet.background, partner.id, the_id(made), (await attempt_ids(quiet, made))[0])
    await in_review(quiet, made)
    case = await reviews.case(quiet.background, the_id(made))
    assert [one.state for one in case.attempts] == ["unknown"]
    assert [one.event_type for one in case.history] == [
        "created",
        "payment_initiated",
        "payment_processing",
        "review_requested",
    ]
    assert [call.purpose for call in case.calls] == ["look_up"]
    await reviews.ask(quiet.background, the_id(made), actor=ALICE)


async def attempt_ids(house: House, transaction: Json) -> list[UUID]:
    rows = await house.owner.fetch(
        "SELECT id FROM attempts WHERE transaction_id = $1 ORDER BY number", the_id(transaction)
    )
    return [row["id"] for row in rows]


async def test_a_charge_is_cancelled_at_its_provider_and_takes_no_money(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "cancelled-there", capture="manual")
    await in_review(quiet, made)
    after = await reviews.cancel(quiet.background, the_id(made), actor=ALICE)
    assert (after.status, after.error_code, after.needs_review) == ("failed", "payment_ruled_out", False)
    shown = (await partner.get(f"/v1/transactions/{made['id']}")).json()
    assert (shown["money_moved"], shown["attempts"][0]["state"]) == ("no", "cancelled_confirmed")
    books = await moved(quiet, "cancelled-there")
    assert (books["voids"][0], "captures" in books) == (1, False)


async def test_a_charge_that_has_succeeded_cannot_be_cancelled_and_is_completed(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "too-late")
    await in_review(quiet, made)
    after = await reviews.cancel(quiet.background, the_id(made), actor=ALICE)
    assert (after.status, after.needs_review) == ("completed", False)


async def test_two_people_decide_that_it_succeeded(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "decided")
    await in_review(quiet, made)
    books = (await quiet.oracle())["merchant_references"]["decided"]
    assert books["captures"]["count"] == 1
    url = f"{quiet.simulators['stripe']}/v1/payment_intents"
    payments = (await quiet.http.get(url, headers={"Authorization": "Bearer sk_test_simulated"})).json()["data"]
    (payment,) = [one for one in payments if one["metadata"].get("merchant_reference") == "decided"]
    after = await decided(quiet, made, "succeeded", provider_id=payment["id"])
    assert (after.status, after.provider_transaction_id) == ("completed", payment["id"])
    shown = (await partner.get(f"/v1/transactions/{made['id']}", expand="events")).json()
    assert shown["money_moved"] == "yes"
    assert {"operator:bob"} <= {event["created_by"] for event in shown["events"]}


async def test_reviews_are_listed_shown_and_resolved_on_the_command_line(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "by-command")
    await in_review(quiet, made)
    listed_there = await paygate_reviews(quiet, "list")
    assert (made["id"], "silence") in [(row["subject"], row["reason"]) for row in listed_there]
    case = await paygate_reviews(quiet, "show", made["id"])
    assert case["attempts"][0]["reference"].startswith("pg1_")
    assert "pm_card_visa" not in json.dumps(case)
    marked = await paygate_reviews(quiet, "resolve", made["id"], "--mark", "failed", "--evidence", SEEN, user="alice")
    assert (marked["verdict"], marked["requested by"]) == ("failed", ALICE)
    assert "a second person" in await paygate_reviews(quiet, "resolve", made["id"], "--approve", user="alice")
    done = await paygate_reviews(quiet, "resolve", made["id"], "--approve", user="bob")
    assert (done["status"], done["reason"]) == ("failed", None)
    await reconciled(quiet)  # the charge was made all the same: it is given back


async def paygate_reviews(house: House, *arguments: str, user: str = "alice") -> Any:
    """What the command says: its JSON, or the one line of its refusal."""
    (version, key), *_ = house.background.settings.secret_keys.items()
    told = {
        "PAYGATE_DATABASE_URL": house.background.settings.database_url,
        "PAYGATE_SECRET_KEYS": f"{version}:{base64.b64encode(key).decode()}",
        "LOGNAME": user,
    }
    runner = CliRunner(env=told)
    done = await asyncio.to_thread(runner.invoke, cli_reviews.commands, [*arguments, "--json"])
    return done.output if done.exit_code else json.loads(done.stdout)


async def test_nobody_approves_what_he_decided_himself(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "alone")
    await in_review(quiet, made)
    await reviews.request(
        quiet.background,
        the_id(made),
        ReviewVerdict.FAILED,
        attempt_id=None,
        provider_id=None,
        evidence=SEEN,
        actor=ALICE,
    )
    with pytest.raises(reviews.Refused, match="a second person"):
        await reviews.approve(quiet.background, the_id(made), actor=ALICE)
    shown = (await listed(partner, reference="alone"))[0]
    assert (shown["status"], shown["needs_review"]) == ("processing", True)
    await reviews.ask(quiet.background, the_id(made), actor=ALICE)


async def test_what_changed_since_is_decided_anew(quiet: House, partner: Partner) -> None:
    made = await broken(quiet, partner)
    await mended(quiet, partner, made)
    settle = {"attempt_id": None, "provider_id": None, "evidence": SEEN, "actor": ALICE}
    await reviews.request(quiet.background, the_id(made), ReviewVerdict.SETTLED, **settle)  # type: ignore[arg-type]  # as above
    assert (await partner.post(f"/v1/transactions/{made['id']}/refunds", {"amount": "1.00"})).status_code == 201
    with pytest.raises(reviews.Refused, match="changed since"):
        await reviews.approve(quiet.background, the_id(made), actor=BOB)
    after = await decided(quiet, made, "settled")
    assert not after.needs_review
    refused(await partner.get(f"/v1/transactions/{ids.encode('txn', ids.new())}"), 404, "not_found")


async def test_the_database_refuses_what_one_person_or_an_old_decision_would_do(quiet: House, partner: Partner) -> None:
    made = await unknown(quiet, partner, "refused-there")
    await in_review(quiet, made)
    decision = await reviews.request(
        quiet.background,
        the_id(made),
        ReviewVerdict.FAILED,
        attempt_id=None,
        provider_id=None,
        evidence=SEEN,
        actor=ALICE,
    )
    approve = "UPDATE review_decisions SET approved_by = $2, approved_at = now() WHERE id = $1"
    with pytest.raises(asyncpg.CheckViolationError):
        await quiet.owner.execute(approve, decision.id, ALICE)
    for change in ("evidence = 'something else'", "verdict = 'succeeded'", "requested_by = 'operator:eve'"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await quiet.owner.execute(f"UPDATE review_decisions SET {change} WHERE id = $1", decision.id)
    with pytest.raises(asyncpg.RestrictViolationError):
        await quiet.owner.execute("DELETE FROM review_decisions")
    await reviews.ask(quiet.background, the_id(made), actor=ALICE)


async def test_what_was_given_back_and_came_back_is_for_people(quiet: House, partner: Partner) -> None:
    made = await given_up(quiet, partner, "late-back", token="pm_card_refundFail")
    await told_again(quiet)
    giving = "SELECT provider_id FROM attempts WHERE operation = 'compensate' AND transaction_id = $1"
    refund = await quiet.owner.fetchval(giving, the_id(made))
    assert (await quiet.http.post(f"{quiet.simulators['stripe']}/_simulator/refunds/{refund}/settle")).is_success
    await told_again(quiet)
    shown = (await partner.get(f"/v1/transactions/{made['id']}")).json()
    assert ([one["state"] for one in shown["attempts"]], shown["needs_review"]) == (["compensated", "succeeded"], True)
