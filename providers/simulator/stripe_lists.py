"""Stripe's lists as its API pages through them: newest first, by when a thing was created and what it belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from providers.simulator import stripe_objects, stripe_wire
from providers.simulator.stripe_bank import Bank
from providers.simulator.stripe_records import Dispute, Payment, Refund
from providers.simulator.stripe_wire import Json, Params

Thing = TypeVar("Thing", Refund, Dispute)

LIST_PARAMS = frozenset({"charge", "created", "customer", "expand", "limit", "payment_intent", "starting_after"})
EVENT_PARAMS = frozenset({"created", "expand", "limit", "starting_after", "type", "types"})


def payments(bank: Bank, params: Params, base_url: str) -> Json:
    window = stripe_wire.mapping(params, "created")
    found = [one for one in reversed(bank.payments.values()) if stripe_wire.within(one.created, window)]
    expand = "data.latest_charge" in stripe_wire.expanded(params)

    def shown(payment: Payment) -> Json:
        return stripe_objects.payment(payment, base_url=base_url, expand_charge=expand)

    return stripe_wire.page("/v1/payment_intents", [shown(payment) for payment in found], params)


def refunds(bank: Bank, params: Params) -> Json:
    found = [stripe_objects.refund(one) for one in _wanted(bank.refunds.values(), params)]
    return stripe_wire.page("/v1/refunds", found, params)


def disputes(bank: Bank, params: Params) -> Json:
    found = [stripe_objects.dispute(one) for one in _wanted(bank.disputes.values(), params)]
    return stripe_wire.page("/v1/disputes", found, params)


def events(told: Iterable[Json], params: Params) -> Json:
    """Every event that there was, whether or not its notification arrived anywhere."""
    window, listed = stripe_wire.mapping(params, "created"), params.get("types")
    types = {str(name) for name in listed} if isinstance(listed, list) else set()
    types |= {stripe_wire.text(params, "type")} - {""}

    def wanted(event: Json) -> bool:
        return stripe_wire.within(int(str(event["created"])), window) and (not types or event["type"] in types)

    return stripe_wire.page("/v1/events", [event for event in reversed(list(told)) if wanted(event)], params)


def _wanted(things: Iterable[Thing], params: Params) -> list[Thing]:
    payment_id, charge_id = (stripe_wire.text(params, name) for name in ("payment_intent", "charge"))
    window = stripe_wire.mapping(params, "created")

    def wanted(thing: Thing) -> bool:
        of_these = payment_id in ("", thing.payment.id) and charge_id in ("", thing.charge.id)
        return of_these and stripe_wire.within(thing.created, window)

    return [thing for thing in reversed(list(things)) if wanted(thing)]
