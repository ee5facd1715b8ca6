"""How the scenes are set: what was before the act."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import stripe

from db import ids
from db.account_readings import Reading
from gateway import sealing
from gateway.transactions import gaps, journal, provider_events, reconciler, recovery
from providers.simulator.stripe_events import WEBHOOK_SECRET
from tests.failpoints.acts import CHALLENGED, account_id, charge, decided_by_people, follow, psp_tells, transaction_id
from tests.failpoints.stage import Scene

Prepare = Callable[[Scene], Awaitable[object]]


async def nothing(_scene: Scene) -> None: ...


def charged(**members: Any) -> Prepare:
    """A charge that everybody has heard of."""

    async def prepare(scene: Scene) -> None:
        heir = scene.stage.heir
        await charge(scene, heir, **members)
        for provider in scene.stage.notifiers:
            await psp_tells(scene, heir, provider)
        await provider_events.apply_due(heir.worker)

    return prepare


def answers_lost(times: int, *, kind: str = "act_then_lose_answer", provider: str = "stripe") -> Prepare:
    """The PSP will not answer a charge so often."""

    async def prepare(scene: Scene) -> None:
        await scene.fault(kind, provider=provider, operation="charge", times=times)

    return prepare


def unknown(
    operation: str = "charge", *, kind: str = "act_then_lose_answer", hours: int = 0, **members: Any
) -> Prepare:
    """An attempt without an answer, whose next check is due; it was sent so many hours ago."""

    async def prepare(scene: Scene) -> None:
        heir, provider = scene.stage.heir, members.get("provider", "stripe")
        if operation != "charge":
            await charge(scene, heir, **members)
        await scene.fault(kind, provider=provider, operation=operation, times=2)
        if operation == "charge":
            await charge(scene, heir, **members)
        else:
            await follow(scene, heir, f"{operation}s", "5.00")
        await scene.age(hours)

    return prepare


def unheard(event: str, prepare: Prepare) -> Prepare:
    """And such notifications are lost on their way."""

    async def prepared(scene: Scene) -> None:
        await prepare(scene)
        scene.unheard = frozenset({event})

    return prepared


def too_late_to_resend(prepare: Prepare) -> Prepare:
    async def prepared(scene: Scene) -> None:
        await prepare(scene)
        await scene.change("UPDATE attempts SET resend_until = now() WHERE finished_at IS NULL AND partner_id = $1")

    return prepared


def told(prepare: Prepare, provider: str = "stripe") -> Prepare:
    """And the PSP's notifications are in our inbox."""

    async def prepared(scene: Scene) -> None:
        await prepare(scene)
        await psp_tells(scene, scene.stage.heir, provider)

    return prepared


def long_ago(prepare: Prepare) -> Prepare:
    """And they have waited there for longer than what is about nothing of ours."""

    async def prepared(scene: Scene) -> None:
        await prepare(scene)
        await scene.stage.owner.execute(
            "ALTER TABLE provider_events DISABLE TRIGGER USER;"
            "UPDATE provider_events SET received_at = received_at - interval '2 hours' WHERE state = 'received';"
            "ALTER TABLE provider_events ENABLE TRIGGER USER"
        )

    return prepared


def forgotten(prepare: Prepare) -> Prepare:
    """And the key's answer was deleted after its time."""

    async def prepared(scene: Scene) -> None:
        await prepare(scene)
        await scene.change("DELETE FROM idempotency_keys WHERE partner_id = $1")

    return prepared


async def refunded(scene: Scene) -> None:
    await charged()(scene)
    await follow(scene, scene.stage.heir, "refunds", "5.00")


async def contradicted(scene: Scene) -> None:
    """A completed charge of which something was found that our books cannot hold."""
    await charge(scene, scene.stage.heir)
    worker_of_heir = scene.stage.heir.worker
    await journal.flag(
        worker_of_heir, scene.partner_id, transaction_id(scene), {"reason": "amount_differs"}, actor="test"
    )


def in_review(prepare: Prepare) -> Prepare:
    """And it has had no outcome for so long that people are asked."""

    async def prepared(scene: Scene) -> None:
        await prepare(scene)
        await scene.age(25)
        await recovery.flag_overdue(scene.stage.heir.worker)

    return prepared


async def given_up(scene: Scene) -> None:
    """People established wrongly that nothing came of a charge; now the PSP tells."""
    await in_review(unknown())(scene)
    await decided_by_people(scene, scene.stage.heir)
    await psp_tells(scene, scene.stage.heir)


async def account_gone(scene: Scene) -> None:
    await charged()(scene)
    await scene.stage.owner.execute("UPDATE provider_accounts SET enabled = false WHERE provider = 'stripe'")


def approved_by_customer(provider: str) -> Prepare:
    """The customer has pressed the button on the PSP's page."""

    async def prepare(scene: Scene) -> None:
        await charge(scene, scene.stage.heir, provider, CHALLENGED)
        left = await scene.stage.http.post(scene.made["next_action"]["url"], data={"action": "approve"})
        assert left.status_code == 303, left.text
        scene.way_back = left.headers["location"]

    return prepare


async def abandoned(scene: Scene) -> None:
    await charge(scene, scene.stage.heir, token=CHALLENGED)
    await scene.age(48)


async def contested(scene: Scene) -> None:
    """The payer disputes it at once, and the PSP tells."""
    await charge(scene, scene.stage.heir, token="pm_card_createDispute")
    await psp_tells(scene, scene.stage.heir)


async def ended_by_the_psp(scene: Scene) -> None:
    """An authorization that the PSP let expire, and tells so."""
    await charge(scene, scene.stage.heir, capture="manual")
    url = f"{scene.stage.simulators['stripe']}/_simulator/payments/{scene.made['provider_transaction_id']}/expire"
    assert (await scene.stage.http.post(url)).is_success
    await psp_tells(scene, scene.stage.heir)


def refund_failed_later(provider: str, token: str) -> Prepare:
    async def prepare(scene: Scene) -> None:
        heir = scene.stage.heir
        await charge(scene, heir, provider, token)
        await follow(scene, heir, "refunds", "5.00")
        refund_id = scene.last().json()["provider_refund_id"]
        url = f"{scene.stage.simulators[provider]}/_simulator/refunds/{refund_id}/settle"
        assert (await scene.stage.http.post(url)).is_success
        await psp_tells(scene, heir, provider)

    return prepare


async def wrongly_told(scene: Scene) -> None:
    """Of an unknown charge the PSP's signed notification names another amount."""
    await unknown()(scene)
    (notification, *_) = [one for one in scene.notifications("stripe") if one.event == "payment_intent.succeeded"]
    event = json.loads(notification.body)
    event["data"]["object"]["amount_received"] -= 1
    event["data"]["object"]["amount"] -= 1
    body = json.dumps(event)
    signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, timestamp=int(time.time()))
    wrong = replace(notification, body=body.encode(), headers={"Stripe-Signature": signature})
    await scene.notify(scene.stage.heir, "stripe", wrong)


async def endpoint_gone(scene: Scene) -> None:
    body = {"url": f"{scene.stage.endpoint_url}/gone", "event_types": ["transaction.completed"]}
    await scene.post(scene.stage.heir, "/v1/webhook-endpoints", body, name="gone")
    await charge(scene, scene.stage.heir)


async def never_told(scene: Scene) -> None:
    """An unknown charge of whose notification we never heard; of all lists only its account's is due to be read."""
    await unknown()(scene)
    await _read_next(scene, Reading.EVENTS, since=scene.began + gaps.OVERLAP)


async def not_reconciled(scene: Scene) -> None:
    """A list that was not read for a while; it ends before the scene began."""
    await unknown()(scene)
    await _read_next(scene, Reading.PAYMENTS, since=scene.began - reconciler.SETTLED - timedelta(seconds=1))


async def _read_next(scene: Scene, reading: Reading, *, since: datetime) -> None:
    owner = scene.stage.owner
    await owner.execute(
        "INSERT INTO account_readings (account_id, events_until, payments_until)"
        " SELECT id, now(), now() FROM provider_accounts ON CONFLICT DO NOTHING"
    )
    await owner.execute(
        f"UPDATE account_readings SET {reading}_until = $2, {reading}_due_at = now() + CASE WHEN account_id = $1"
        " THEN interval '0' ELSE interval '1 day' END",
        account_id(scene),
        since,
    )


async def silent_for_long(scene: Scene) -> None:
    """Two charges without an answer, of which one is due to be asked about."""
    for number in range(2):
        await scene.fault("act_then_lose_answer", operation="charge", times=2)
        await charge(scene, scene.stage.heir, name=f"silent-{number}")
    await scene.change(
        "UPDATE attempts SET next_check_at = now() + CASE WHEN id = (SELECT min(id::text)::uuid FROM attempts"
        " WHERE partner_id = $1) THEN interval '0' ELSE interval '1 hour' END WHERE partner_id = $1"
    )


async def overlooked(scene: Scene) -> None:
    """A charge that never was, without an outcome for a day, and nobody was asked to look."""
    await too_late_to_resend(unknown(kind="lose_request", hours=25))(scene)


async def given_up_on(scene: Scene) -> None:
    """People end it: what stays unknown at a PSP would be asked about in every scene that comes after."""
    await decided_by_people(scene, scene.stage.heir)


async def made_elsewhere(scene: Scene) -> None:
    """A payment at the PSP that bears a reference of ours and is in no book of ours."""
    await charge(scene, scene.stage.heir)
    form = {
        "amount": "777",
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "confirm": "true",
        "metadata[gateway_reference]": scene.stage.heir.api.reference(scene.partner_id, ids.new()),
        "automatic_payment_methods[enabled]": "true",
        "automatic_payment_methods[allow_redirects]": "never",
    }
    url = f"{scene.stage.simulators['stripe']}/v1/payment_intents"
    headers = {"Authorization": "Bearer sk_test_simulated", "Stripe-Version": "2026-10-28.endive"}
    assert (await scene.stage.http.post(url, data=form, headers=headers)).is_success


async def booked_yesterday(scene: Scene) -> None:
    await charge(scene, scene.stage.heir)
    await scene.age(24, everything=True)


async def unsealed(scene: Scene) -> None:
    """History that nobody has sealed: there is as much to do each time."""
    await unknown()(scene)
    await scene.stage.owner.execute(
        "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM audit_seals; DELETE FROM audit_verifications;"
        " COMMIT"
    )


async def unverified(scene: Scene) -> None:
    await unsealed(scene)
    await sealing.Sealer().seal_due(scene.stage.heir.worker)


async def tampered(scene: Scene) -> None:
    """A charge of which somebody changed the amount past every trigger."""
    await charge(scene, scene.stage.heir)
    await scene.change("UPDATE transactions SET amount_captured = 9.99 WHERE partner_id = $1")
    await watched_alone(scene)


async def mended(scene: Scene) -> None:
    await scene.change("UPDATE transactions SET amount_captured = amount WHERE partner_id = $1")


async def watched_alone(scene: Scene) -> None:
    """Nobody else's transactions have changed lately."""
    await scene.change(
        "UPDATE attempts SET updated_at = now() - interval '1 hour'"
        " WHERE partner_id <> $1 AND updated_at > now() - interval '10 minutes'"
    )
