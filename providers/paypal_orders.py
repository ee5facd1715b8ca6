"""A PayPal order as the source of truth: what it says about one of our requests. Pure.

An order's status says nothing about money; its captures and authorizations do.
"""

from __future__ import annotations

import json
from dataclasses import replace

from providers import contract
from providers.contract import DeclineKind, Operation
from providers.paypal_json import NOTHING, Json, as_object, first, inner, items, link, object_id, text
from providers.paypal_outcomes import (
    About,
    Ready,
    approved,
    declined_by_processor,
    doubt_about_money,
    pending,
    refused,
    seen,
    token_of,
    unknown,
)

GIVEN_UP = "given-up."
"""What a cancelled order's `custom_id` begins with: PayPal cannot cancel an order, so its mark makes it nobody's."""


def read_order(order: Json, prepared: contract.Prepared, trace: contract.Trace) -> contract.Outcome | Ready:
    """What a whole order says of one of our requests. `Absent`: it has not seen this capture, void or refund."""
    order_id = object_id(order)
    about = About(prepared, order_id, replace(trace, provider_status=text(order, "status")))
    if order_id is None or not items(order, "purchase_units"):
        return unknown("unreadable_answer", about)
    if prepared.operation is not Operation.CHARGE and order_id not in prepared.path.split("/"):
        return unknown("reference_mismatch", about)
    match prepared.operation:
        case Operation.CHARGE:
            return _charge_in(order, about)
        case Operation.CAPTURE:
            return _capture_in(order, about)
        case Operation.CANCEL:
            return _cancel_in(order, about)
        case Operation.REFUND:
            return _refund_in(order, about)


def target_of(order: Json, operation: Operation) -> str | None:
    """The path that a follow-up is sent to: the order's authorization, or its capture."""
    match operation:
        case Operation.REFUND:
            capture_id = next((object_id(one) for one in _payments(order, "captures") if _took_money(one)), None)
            return capture_id and f"/v2/payments/captures/{capture_id}/refund"
        case _:
            authorization_id = object_id(_authorization(order))
            verb = "capture" if operation is Operation.CAPTURE else "void"
            return authorization_id and f"/v2/payments/authorizations/{authorization_id}/{verb}"


def is_held(order: Json) -> bool:
    """There is an authorization that can be voided."""
    return text(_authorization(order), "status") in ("CREATED", "PENDING")


def is_untouched(order: Json) -> bool:
    """Nothing was authorized or taken of it, and it is not over."""
    given_up = (text(first(order, "purchase_units"), "custom_id") or "").startswith(GIVEN_UP)
    touched = _payments(order, "captures") or _payments(order, "authorizations")
    return not (given_up or touched) and text(order, "status") in _OPEN


def _charge_in(order: Json, about: About) -> contract.Outcome | Ready:
    unit, asked = first(order, "purchase_units"), as_object(json.loads(about.prepared.body))
    captures, authorization = _payments(order, "captures"), _authorization(order)
    given_up = text(unit, "custom_id") == f"{GIVEN_UP}{about.prepared.reference}"
    if given_up and not captures and not authorization:
        return refused("cancelled", "The payment was given up before the customer completed it.", about)
    if text(unit, "custom_id") != about.prepared.reference:
        return unknown("reference_mismatch", about)
    doubt = doubt_about_money(unit, about)
    if doubt is None and text(order, "intent") not in (None, asked.get("intent")):
        doubt = "intent_mismatch"
    if doubt is not None:
        return unknown(doubt, about)
    if asked.get("intent") == "AUTHORIZE":
        return _read_authorization(authorization, order, about) if authorization else _open_order(order, about)
    return _read_sale(_decisive(captures), order, about) if captures else _open_order(order, about)


def _open_order(order: Json, about: About) -> contract.Outcome | Ready:
    """No money has moved yet: who is to act?"""
    assert about.order_id is not None
    status, url = text(order, "status"), link(order, "payer-action", "approve")
    authentication = text(
        order, "payment_source", "card", "authentication_result", "three_d_secure", "authentication_status"
    )
    ready = Ready(about.order_id, url, about.trace)
    unauthenticated = status in _OPEN and authentication in _NOT_AUTHENTICATED
    vaulted = token_of(about.prepared) is not None and link(order, "payer-action") is None
    match status:
        case _ if unauthenticated:
            message = "The customer could not be authenticated."
            return refused("authentication_failed", message, about, kind=DeclineKind.AUTHENTICATION)
        case "APPROVED":
            return ready
        case "CREATED" | "SAVED" | "PAYER_ACTION_REQUIRED" if authentication in _AUTHENTICATED or (
            status == "CREATED" and vaulted
        ):
            return ready
        case "CREATED" | "PAYER_ACTION_REQUIRED" if url is not None:
            return _customer_needed(url, about)
        case "VOIDED":
            return refused("cancelled", "The order was voided at PayPal.", about)
        case _:
            return unknown("unexpected_status", about)


def _customer_needed(url: str, about: About) -> contract.Outcome:
    assert about.order_id is not None
    if "return_url" in about.prepared.body:
        return contract.ActionRequired(provider_id=about.order_id, url=url, trace=about.trace)
    message = "The customer must authenticate; charge again with a return URL."
    return refused("authentication_required", message, about, kind=DeclineKind.AUTHENTICATION)


def _read_sale(capture: Json, order: Json, about: About) -> contract.Outcome:
    about, status = seen(capture, about)
    doubt = doubt_about_money(capture, about)
    if doubt is not None:
        return unknown(doubt, about)
    match status:
        case "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED":
            return approved(about, card=_card(order))
        case "PENDING":
            return pending(about)
        case "DECLINED" | "FAILED":
            return declined_by_processor(capture, about, _card(order))
        case _:
            return unknown("unexpected_status", about)


def _read_authorization(authorization: Json, order: Json, about: About) -> contract.Outcome:
    about, status = seen(authorization, about)
    doubt = doubt_about_money(authorization, about)
    if doubt is not None:
        return unknown(doubt, about)
    match status:
        case "CREATED" | "CAPTURED" | "PARTIALLY_CAPTURED":
            return approved(about, captured=False, card=_card(order))
        case "PENDING":
            return pending(about)
        case "DENIED":
            return declined_by_processor(authorization, about, _card(order))
        case "VOIDED" | "EXPIRED":
            return refused("cancelled", "The authorization was released.", about)
        case _:
            return unknown("unexpected_status", about)


def _capture_in(order: Json, about: About) -> contract.Outcome:
    ours = [one for one in _payments(order, "captures") if text(one, "invoice_id") == about.prepared.reference]
    if ours:
        return read_capture(_decisive(ours), about)
    about, status = seen(_authorization(order), about)
    match status:
        case "CREATED" | "PENDING":
            return contract.Absent(trace=about.trace)
        case "VOIDED" | "EXPIRED" | "DENIED":
            return refused("expired_authorization", "The authorization has expired or was cancelled.", about)
        case _:
            return unknown("reference_mismatch", about)


def read_capture(capture: Json, about: About) -> contract.Outcome:
    capture_id = object_id(capture)
    about, status = seen(capture, about)
    if capture_id is None or text(capture, "invoice_id") != about.prepared.reference:
        return unknown("reference_mismatch", about)
    doubt = doubt_about_money(capture, about)
    status = None if doubt else status
    match status:
        case "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED":
            return contract.Approved(provider_id=capture_id, trace=about.trace)
        case "PENDING":
            return contract.Pending(provider_id=capture_id, trace=about.trace)
        case "DECLINED" | "FAILED":
            return declined_by_processor(capture, about, None)
        case _:
            return unknown(doubt or "unexpected_status", about)


def _cancel_in(order: Json, about: About) -> contract.Outcome:
    about, status = seen(_authorization(order), about)
    given_up = (text(first(order, "purchase_units"), "custom_id") or "").startswith(GIVEN_UP)
    taken = any(_took_money(capture) for capture in _payments(order, "captures"))
    match status:
        case _ if taken or status in ("CAPTURED", "PARTIALLY_CAPTURED"):
            return refused("cancel_refused", "The payment was captured already; refund it.", about)
        case "VOIDED" | "EXPIRED" | "DENIED":
            return approved(about)
        case None if given_up or text(order, "status") == "VOIDED":
            return approved(about)
        case _:
            return contract.Absent(trace=about.trace)


def _refund_in(order: Json, about: About) -> contract.Outcome:
    ours = [one for one in _payments(order, "refunds") if text(one, "custom_id") == about.prepared.reference]
    return read_refund(ours[-1], about) if ours else contract.Absent(trace=about.trace)


def read_refund(refund: Json, about: About) -> contract.Outcome:
    refund_id = object_id(refund)
    about, status = seen(refund, about)
    if refund_id is None:
        return unknown("unreadable_answer", about, provider_id=None)
    doubt = doubt_about_money(refund, about)
    if text(refund, "custom_id") != about.prepared.reference:
        doubt = "reference_mismatch"
    if doubt is not None:
        return unknown(doubt, about, provider_id=refund_id)
    match status:
        case "COMPLETED":
            return contract.Approved(provider_id=refund_id, trace=about.trace)
        case "PENDING":
            return contract.Pending(provider_id=refund_id, trace=about.trace)
        case "FAILED" | "CANCELLED":
            refusal = refused("refund_failed", "PayPal could not return the money.", about)
            return replace(refusal, provider_id=refund_id)
        case _:
            return unknown("unexpected_status", about, provider_id=refund_id)


_OPEN = frozenset({"APPROVED", "CREATED", "PAYER_ACTION_REQUIRED", "SAVED"})

_AUTHENTICATED = frozenset({"A", "Y"})
_NOT_AUTHENTICATED = frozenset({"N", "R"})
"""3-D Secure: authenticated or attempted; failed or rejected by the issuer. Anything else waits for the customer."""


def _payments(order: Json, kind: str) -> list[Json]:
    return items(first(order, "purchase_units"), "payments", kind)


def _authorization(order: Json) -> Json:
    return next(iter(_payments(order, "authorizations")), NOTHING)


def _took_money(capture: Json) -> bool:
    return text(capture, "status") not in ("DECLINED", "FAILED")


def _decisive(captures: list[Json]) -> Json:
    """A declined try may stand beside one that took the money: then that one counts."""
    return next((capture for capture in captures if _took_money(capture)), captures[-1])


def _card(order: Json) -> contract.Card | None:
    card = inner(order, "payment_source", "card")
    brand = text(card, "brand")
    return contract.Card(brand=brand.lower() if brand else None, last4=text(card, "last_digits")) if card else None
