"""PayPal's objects as JSON. Pure: what the bank holds in, what PayPal would show out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from providers.simulator.paypal_bank import VALID_SECONDS, Authorization, Capture, Order, Refund
from providers.simulator.paypal_wire import Json, money, timestamp

_FEE_SHARE = Decimal("0.03")


def link(rel: str, href: str, method: str = "GET") -> Json:
    return {"href": href, "rel": rel, "method": method}


def approval_url(shown: Order, base_url: str) -> str:
    return f"{base_url}/checkoutnow?token={shown.id}"


def order(shown: Order, base_url: str) -> Json:
    path = f"{base_url}/v2/checkout/orders/{shown.id}"
    links = [link("self", path)]
    if shown.status == "PAYER_ACTION_REQUIRED":
        links.append(link("payer-action", approval_url(shown, base_url)))
    elif shown.status == "CREATED" and shown.behaviour is None:
        links.append(link("approve", approval_url(shown, base_url)))
    if shown.status in ("APPROVED", "CREATED"):
        verb = shown.intent.lower()
        links.append(link(verb, f"{path}/{verb}", "POST"))
    return _present(
        {
            "id": shown.id,
            "intent": shown.intent,
            "status": shown.status,
            "payment_source": _payment_source(shown),
            "purchase_units": [_unit(shown, base_url)],
            "create_time": timestamp(shown.created),
            "links": links,
        }
    )


def minimal(shown: Json) -> Json:
    """What PayPal answers without `Prefer: return=representation`."""
    return {name: shown[name] for name in ("id", "status", "payment_source", "links") if name in shown}


def _payment_source(shown: Order) -> Json | None:
    behaviour = shown.behaviour
    if behaviour is None or behaviour.wallet:
        return {"paypal": {"email_address": "payer@example.com", "account_id": "QYR5Z8XDVJNXQ"}}
    card: Json = {"last_digits": behaviour.last_digits, "brand": behaviour.brand, "type": "CREDIT"}
    if shown.authentication:
        card["authentication_result"] = {
            "liability_shift": "POSSIBLE" if shown.authentication == "Y" else "NO",
            "three_d_secure": {"enrollment_status": "Y", "authentication_status": shown.authentication},
        }
    return {"card": card}


def _unit(shown: Order, base_url: str) -> Json:
    payments = {
        "authorizations": [authorization(one, base_url) for one in shown.authorizations],
        "captures": [capture(one, base_url) for one in shown.captures],
        "refunds": [refund(one, base_url) for one in shown.refunds],
    }
    return _present(
        {
            "reference_id": shown.reference_id,
            "amount": money(shown.amount, shown.currency),
            "payee": {"email_address": "shop@example.com", "merchant_id": "SHKPAYPAL2SHP"},
            "description": shown.description,
            "custom_id": shown.custom_id,
            "invoice_id": shown.invoice_id,
            "soft_descriptor": shown.soft_descriptor,
            "payments": {name: listed for name, listed in payments.items() if listed} or None,
        }
    )


def authorization(shown: Authorization, base_url: str, *, alone: bool = False) -> Json:
    order = shown.order
    path = f"{base_url}/v2/payments/authorizations/{shown.id}"
    body = {
        "id": shown.id,
        "status": shown.status,
        "amount": money(order.amount, order.currency),
        "invoice_id": order.invoice_id,
        "custom_id": order.custom_id,
        "seller_protection": {"status": "NOT_ELIGIBLE"},
        "expiration_time": timestamp(shown.created + VALID_SECONDS),
        "processor_response": _processor_response(shown.processor_code, order),
        "supplementary_data": {"related_ids": {"order_id": order.id}} if alone else None,
        "create_time": timestamp(shown.created),
        "update_time": timestamp(shown.created),
        "links": [link("self", path), _up(order, base_url)],
    }
    return _present(body)


def capture(shown: Capture, base_url: str, *, alone: bool = False) -> Json:
    order = shown.order
    path = f"{base_url}/v2/payments/captures/{shown.id}"
    related = {"order_id": order.id} | ({"authorization_id": shown.authorization.id} if shown.authorization else {})
    fee = (shown.amount * _FEE_SHARE).quantize(Decimal("0.01"))
    breakdown = {
        "gross_amount": money(shown.amount, order.currency),
        "paypal_fee": money(fee, order.currency),
        "net_amount": money(shown.amount - fee, order.currency),
    }
    settled = shown.status not in ("PENDING", "DECLINED")
    body = {
        "id": shown.id,
        "status": shown.status,
        "status_details": {"reason": "PENDING_REVIEW"} if shown.status == "PENDING" else None,
        "amount": money(shown.amount, order.currency),
        "final_capture": shown.final,
        "invoice_id": shown.invoice_id,
        "custom_id": order.custom_id,
        "seller_protection": {"status": "NOT_ELIGIBLE"},
        "seller_receivable_breakdown": breakdown if settled else None,
        "processor_response": _processor_response(shown.processor_code, order),
        "supplementary_data": {"related_ids": related} if alone else None,
        "create_time": timestamp(shown.created),
        "update_time": timestamp(shown.created),
        "links": [link("self", path), link("refund", f"{path}/refund", "POST"), _up(order, base_url)],
    }
    return _present(body)


def refund(shown: Refund, base_url: str) -> Json:
    up = f"{base_url}/v2/payments/captures/{shown.capture.id}"
    body = {
        "id": shown.id,
        "status": shown.status,
        "status_details": {"reason": "ECHECK"} if shown.status == "PENDING" else None,
        "amount": money(shown.amount, shown.order.currency),
        "custom_id": shown.custom_id or shown.order.custom_id,
        "invoice_id": shown.invoice_id,
        "seller_payable_breakdown": {
            "gross_amount": money(shown.amount, shown.order.currency),
            "total_refunded_amount": money(shown.capture.refunded, shown.order.currency),
        },
        "create_time": timestamp(shown.created),
        "update_time": timestamp(shown.created),
        "links": [link("self", f"{base_url}/v2/payments/refunds/{shown.id}"), link("up", up)],
    }
    return _present(body)


def dispute(shown: Capture, dispute_id: str, moment: float, outcome: str | None) -> Json:
    order = shown.order
    body = {
        "dispute_id": dispute_id,
        "create_time": timestamp(moment),
        "disputed_transactions": [
            _present(
                {
                    "seller_transaction_id": shown.id,
                    "custom": order.custom_id,
                    "invoice_number": shown.invoice_id,
                    "gross_amount": money(shown.amount, order.currency),
                }
            )
        ],
        "reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
        "status": "RESOLVED" if outcome else "OPEN",
        "dispute_amount": money(shown.amount, order.currency),
        "dispute_life_cycle_stage": "INQUIRY",
        "dispute_outcome": {"outcome_code": outcome} if outcome else None,
    }
    return _present(body)


def event(event_id: str, kind: str, resource_type: str, resource: Json, moment: float) -> Json:
    return {
        "id": event_id,
        "event_version": "1.0",
        "create_time": timestamp(moment),
        "resource_type": resource_type,
        "resource_version": "2.0",
        "event_type": kind,
        "summary": kind.replace(".", " ").capitalize(),
        "resource": resource,
        "links": [],
    }


def page(events: Sequence[Json], next_url: str | None) -> Json:
    return {"events": list(events), "count": len(events), "links": [link("next", next_url)] if next_url else []}


def _up(order: Order, base_url: str) -> Json:
    return link("up", f"{base_url}/v2/checkout/orders/{order.id}")


def _processor_response(code: str | None, order: Order) -> Json | None:
    if order.behaviour is None or order.behaviour.wallet:
        return None
    advice = order.behaviour.advice_code if code else None
    told = {"response_code": code or "0000", "avs_code": "Y", "cvv_code": "M", "payment_advice_code": advice}
    return _present(told)


def _present(body: Mapping[str, object | None]) -> Json:
    return {name: value for name, value in body.items() if value is not None}
