"""What the gateway does with money: each entry is an act that faults will strike at every point it passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from db.reviews import ReviewVerdict
from gateway import worker
from tests.failpoints import acts, scenes
from tests.failpoints.acts import CHALLENGED, DECLINED, Act
from tests.failpoints.scenes import Prepare
from tests.failpoints.strikes import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    name: str
    act: Act
    ends: str
    """The status of the scene's transaction in the end."""
    prepare: Prepare = scenes.nothing
    mend: Prepare = scenes.nothing
    """What the scene broke or left open on purpose."""
    provider: str = "stripe"
    told: bool = False
    """The PSP's notifications arrive in the end; elsewhere only answers, repeats and look-ups tell."""
    otherwise: Operation | None = None
    """What it may end like, too: who has died does not go on to another provider."""
    first_only: bool = False
    """A point is struck when it is first reached: how often it is, depends on timing."""
    only: str = ""
    """What the points to strike have in their names: the others depend on timing, and are other operations'."""

    def strikes(self, point: Point) -> bool:
        return self.only in point.name and (point.nth == 1 or not self.first_only)


def _requests() -> Iterator[Operation]:
    """What a client asks for."""
    charge, held = acts.charge, scenes.charged(capture="manual")
    capture = partial(acts.follow, step="captures", amount="7.00")
    refund = partial(acts.follow, step="refunds", amount="5.00")
    yield Operation(name="charge", act=charge, ends="completed")
    yield Operation(name="authorize", act=partial(charge, capture="manual"), ends="authorized")
    yield Operation(name="charge, declined", act=partial(charge, token=DECLINED), ends="failed")
    yield Operation(name="charge, customer asked", act=partial(charge, token=CHALLENGED), ends="requires_action")
    yield Operation(name="charge, an answer lost", prepare=scenes.answers_lost(1), act=charge, ends="completed")
    yield Operation(name="charge, both answers lost", prepare=scenes.answers_lost(2), act=charge, ends="completed")
    soft = {"adyen": "ada/ISSUER_UNAVAILABLE"}
    turned_away = {"type": "card", "tokens": soft}
    two_ways = {"type": "card", "tokens": soft | {"stripe": "pm_card_visa"}}
    yield Operation(
        name="charge, gone on at another provider",
        act=partial(charge, payment_method=two_ways),
        ends="completed",
        otherwise=Operation(name="charge, turned away", act=partial(charge, payment_method=turned_away), ends="failed"),
    )
    yield Operation(name="charge offline", act=acts.charge_offline, ends="processing")
    yield Operation(name="capture", prepare=held, act=capture, ends="completed")
    yield Operation(name="cancel", prepare=held, act=partial(acts.follow, step="cancel"), ends="cancelled")
    yield Operation(
        name="cancel, customer asked",
        prepare=scenes.charged(token=CHALLENGED),
        act=partial(acts.follow, step="cancel"),
        ends="cancelled",
    )
    yield Operation(name="refund", prepare=scenes.charged(), act=refund, ends="partially_refunded")
    yield Operation(name="repeat of an unknown charge", prepare=scenes.unknown(), act=charge, ends="completed")
    yield Operation(
        name="repeat of an unknown refund", prepare=scenes.unknown("refund"), act=refund, ends="partially_refunded"
    )
    yield Operation(
        name="repeat of a forgotten charge", prepare=scenes.forgotten(scenes.charged()), act=charge, ends="completed"
    )
    yield Operation(
        name="repeat of a forgotten refund",
        prepare=scenes.forgotten(scenes.refunded),
        act=refund,
        ends="partially_refunded",
    )
    yield Operation(name="repeat, account gone", prepare=scenes.account_gone, act=charge, ends="completed")
    yield Operation(name="look at an unknown charge", prepare=scenes.unknown(hours=1), act=acts.look, ends="completed")
    yield Operation(
        name="capture of an unknown charge",
        prepare=scenes.unknown(hours=1, capture="manual"),
        act=capture,
        ends="completed",
    )


def _returns() -> Iterator[Operation]:
    for provider in ("stripe", "paypal"):
        yield Operation(
            name=f"customer's return, {provider}",
            provider=provider,
            prepare=scenes.approved_by_customer(provider),
            act=acts.customer_returns,
            ends="completed",
        )


def _recovery() -> Iterator[Operation]:
    resolve, unknown = acts.due_resolved, scenes.unknown
    late = scenes.too_late_to_resend
    yield Operation(name="recovery by resend", prepare=unknown(), act=resolve, ends="completed")
    yield Operation(name="recovery of two", prepare=scenes.silent_for_long, act=resolve, ends="completed")
    yield Operation(name="recovery by look-up", prepare=late(unknown()), act=resolve, ends="completed")
    yield Operation(
        name="recovery by ruling out",
        provider="adyen",
        told=True,
        prepare=scenes.unheard("AUTHORISATION", late(unknown(provider="adyen", capture="manual"))),
        act=resolve,
        ends="failed",
    )
    yield Operation(name="recovery of a refund", prepare=unknown("refund"), act=resolve, ends="partially_refunded")
    yield Operation(name="late success given back", prepare=scenes.given_up, act=_apply, ends="failed")
    yield Operation(name="reconciled", prepare=unknown(), act=acts.reconciled, ends="completed")
    yield Operation(
        name="reconciled, unknown to us", prepare=scenes.made_elsewhere, act=acts.reconciled, ends="completed"
    )
    yield Operation(
        name="reconciled, amount differs",
        prepare=scenes.tampered,
        act=acts.reconciled,
        ends="completed",
        mend=scenes.mended,
    )
    yield Operation(
        name="reconciled, not listed",
        prepare=scenes.booked_yesterday,
        act=acts.reconciled_yesterday,
        ends="completed",
    )


def _told() -> Iterator[Operation]:
    """What PSPs tell."""
    tell = acts.psp_tells
    yield Operation(name="notified", prepare=scenes.unknown(), act=tell, ends="completed")
    yield Operation(
        name="notified, paypal",
        provider="paypal",
        prepare=scenes.unknown(provider="paypal"),
        act=partial(tell, provider="paypal"),
        ends="completed",
    )
    for provider in ("stripe", "adyen", "paypal"):
        yield Operation(
            name=f"notification applied, {provider}",
            provider=provider,
            prepare=scenes.told(scenes.unknown(provider=provider), provider),
            act=_apply,
            ends="completed",
        )
    yield Operation(
        name="notification applied late",
        prepare=scenes.long_ago(scenes.told(scenes.unknown())),
        act=_apply,
        ends="completed",
    )
    yield Operation(name="dispute applied", prepare=scenes.contested, act=_apply, ends="completed")
    yield Operation(name="contradiction applied", prepare=scenes.wrongly_told, act=_apply, ends="completed")
    yield Operation(name="end by the PSP applied", prepare=scenes.ended_by_the_psp, act=_apply, ends="failed")
    for provider, token in (("stripe", "pm_card_refundFail"), ("paypal", "vault_refundFail")):
        yield Operation(
            name=f"returned refund applied, {provider}",
            provider=provider,
            prepare=scenes.refund_failed_later(provider, token),
            act=_apply,
            ends="completed",
        )


def _people() -> Iterator[Operation]:
    """What people decide."""
    yield Operation(
        name="offline payment decided",
        prepare=lambda scene: acts.charge_offline(scene, scene.stage.heir),
        act=acts.decided_offline,
        ends="completed",
    )
    reviewed, late = scenes.in_review, scenes.too_late_to_resend
    yield Operation(
        name="review, asked again", prepare=reviewed(scenes.unknown()), act=acts.asked_by_people, ends="completed"
    )
    yield Operation(
        name="review, cancelled",
        provider="adyen",
        told=True,
        prepare=scenes.unheard("AUTHORISATION", reviewed(late(scenes.unknown(provider="adyen", capture="manual")))),
        act=acts.cancelled_by_people,
        ends="failed",
    )
    yield Operation(
        name="review, decided",
        prepare=reviewed(late(scenes.unknown(kind="lose_request"))),
        act=acts.decided_by_people,
        ends="failed",
    )
    yield Operation(
        name="review, settled",
        prepare=scenes.contradicted,
        act=partial(acts.decided_by_people, verdict=ReviewVerdict.SETTLED),
        ends="completed",
    )


def _delivery() -> Iterator[Operation]:
    yield Operation(name="webhooks delivered", prepare=scenes.charged(), act=acts.delivered, ends="completed")
    yield Operation(name="endpoint disabled", prepare=scenes.endpoint_gone, act=acts.delivered, ends="completed")


def _loops() -> Iterator[Operation]:
    """The worker as a whole."""
    loops = partial(Operation, prepare=scenes.unknown(), act=acts.worked, ends="completed", first_only=True)
    yield loops(name="the worker's loops", only="/round.")
    yield loops(name="the deliverer's loop", only="/turn")


def _worker() -> Iterator[Operation]:
    """Each job that the worker has; those that need no scene of their own get a common one."""
    special: dict[str, tuple[Prepare, Act | None, str]] = {
        "expire_due": (scenes.abandoned, None, "failed"),
        "fill_due": (scenes.never_told, None, "completed"),
        "flag_overdue": (scenes.overlooked, None, "processing"),
        "reconcile_due": (scenes.not_reconciled, None, "completed"),
        "Sealer.seal_due": (scenes.unsealed, None, "completed"),
        "verify_due": (scenes.unverified, None, "completed"),
        "Rounds.watch": (scenes.tampered, acts.watched, "completed"),
    }
    mends: dict[Prepare, Prepare] = {scenes.tampered: scenes.mended, scenes.overlooked: scenes.given_up_on}
    for work, _ in worker.jobs():
        name = acts.job_name(work)
        prepare, act, ends = special.get(name, (scenes.unknown(), None, "completed"))
        yield Operation(
            name=f"worker: {name}",
            prepare=prepare,
            act=act or acts.job(name),
            ends=ends,
            first_only=True,
            mend=mends.get(prepare, scenes.nothing),
        )


def _other_psps() -> Iterator[Operation]:
    for provider in ("adyen", "paypal"):
        at = partial(Operation, provider=provider, told=provider == "adyen")
        held = scenes.charged(provider=provider, capture="manual")
        yield at(name=f"charge, {provider}", act=partial(acts.charge, provider=provider), ends="completed")
        yield at(
            name=f"capture, {provider}",
            prepare=held,
            act=partial(acts.follow, step="captures", amount="7.00"),
            ends="completed",
        )
        yield at(
            name=f"refund, {provider}",
            prepare=scenes.charged(provider=provider),
            act=partial(acts.follow, step="refunds", amount="5.00"),
            ends="partially_refunded",
        )


_apply = acts.notifications_applied

OPERATIONS = [
    *_loops(),  # first: the watchdog and the reconciler look at everything there is
    *_requests(),
    *_worker(),
    *_returns(),
    *_recovery(),
    *_told(),
    *_people(),
    *_delivery(),
    *_other_psps(),
]
