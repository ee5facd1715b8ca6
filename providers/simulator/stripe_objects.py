"""Stripe's objects as JSON. Pure: what the bank holds in, what Stripe would show out."""

from __future__ import annotations

from providers.simulator.stripe_records import Charge, Dispute, Payment, Refund
from providers.simulator.stripe_tokens import Behaviour
from providers.simulator.stripe_wire import Json

_NO_BILLING_DETAILS: Json = {
    "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")),
    "email": None,
    "name": None,
    "phone": None,
}
_EXPIRY: Json = {"exp_month": 12, "exp_year": 2034}


def payment(shown: Payment, *, base_url: str, expand_charge: bool = False) -> Json:
    latest = shown.charge
    open_amount = shown.amount if shown.status == "requires_capture" else 0
    return {
        "id": shown.id,
        "object": "payment_intent",
        "amount": shown.amount,
        "amount_capturable": open_amount,
        "amount_details": {"tip": {}},
        "amount_received": shown.amount_received,
        "automatic_payment_methods": {"allow_redirects": "always" if shown.redirects else "never", "enabled": True},
        "canceled_at": shown.cancelled_at,
        "cancellation_reason": shown.cancellation_reason,
        "capture_method": shown.capture_method,
        "client_secret": shown.client_secret,
        "confirmation_method": "automatic",
        "created": shown.created,
        "currency": shown.currency,
        "customer": None,
        "description": shown.description,
        "last_payment_error": last_error(shown),
        "latest_charge": (charge(latest) if expand_charge else latest.id) if latest else None,
        "livemode": False,
        "metadata": shown.metadata,
        "next_action": _next_action(shown, base_url),
        "payment_method": _payment_method_id(shown.id) if shown.token else None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "setup_future_usage": None,
        "shipping": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": shown.statement_descriptor_suffix,
        "status": shown.status,
        "transfer_data": None,
    }


def last_error(shown: Payment) -> Json | None:
    if shown.last_error is None or shown.charge is None:
        return None
    return shown.last_error | {"charge": shown.charge.id, "payment_method": payment_method(shown.charge)}


def authentication_url(shown: Payment, base_url: str) -> str:
    return f"{base_url}/3d_secure_2/hosted/{shown.id}"


def _next_action(shown: Payment, base_url: str) -> Json | None:
    if shown.status != "requires_action":
        return None
    url = authentication_url(shown, base_url)
    if shown.return_url and shown.redirects:
        return {"type": "redirect_to_url", "redirect_to_url": {"url": url, "return_url": shown.return_url}}
    return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url}}


def charge(shown: Charge) -> Json:
    decline = shown.decline
    return {
        "id": shown.id,
        "object": "charge",
        "amount": shown.amount,
        "amount_captured": shown.amount_captured,
        "amount_refunded": shown.amount_refunded,
        "balance_transaction": None,
        "billing_details": _NO_BILLING_DETAILS,
        "captured": shown.captured,
        "created": shown.created,
        "currency": shown.currency,
        "disputed": bool(shown.disputes),
        "failure_code": decline.code if decline else None,
        "failure_message": decline.message if decline else None,
        "livemode": False,
        "metadata": shown.metadata,
        "outcome": {
            "network_status": "declined_by_network" if decline else "approved_by_network",
            "reason": decline.decline_code if decline else None,
            "risk_level": "normal",
            "seller_message": "The bank declined the payment." if decline else "Payment complete.",
            "type": "issuer_declined" if decline else "authorized",
        },
        "paid": shown.paid,
        "payment_intent": shown.payment_id,
        "payment_method": _payment_method_id(shown.payment_id),
        "payment_method_details": _method(shown.behaviour),
        "refunded": shown.captured and shown.amount_refunded == shown.amount_captured,
        "status": "succeeded" if shown.paid else "failed",
    }


def _method(shown: Behaviour) -> Json:
    if shown.brand is None:
        account: Json = {"bank_name": "STRIPE TEST BANK", "last4": shown.last4}
        return {"type": "us_bank_account", "us_bank_account": account}
    return {"type": "card", "card": _card(shown)}


def _card(shown: Behaviour) -> Json:
    return _EXPIRY | {
        "brand": shown.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "fingerprint": f"simulated{shown.last4}",
        "funding": "credit",
        "last4": shown.last4,
        "network": shown.brand,
        "three_d_secure": None,
        "wallet": None,
    }


def payment_method(shown: Charge) -> Json:
    """As the error of a declined charge carries it."""
    return {
        "id": _payment_method_id(shown.payment_id),
        "object": "payment_method",
        "billing_details": _NO_BILLING_DETAILS,
        "created": shown.created,
        "customer": None,
        "livemode": False,
        "metadata": {},
    } | _method(shown.behaviour)


def _payment_method_id(payment_id: str) -> str:
    """The charged method is a fresh one, not the magic name that was sent."""
    return f"pm_{payment_id[3:]}"


def refund(shown: Refund) -> Json:
    failed: Json = {"failure_reason": shown.failure_reason} if shown.failure_reason else {}
    return {
        "id": shown.id,
        "object": "refund",
        "amount": shown.amount,
        "balance_transaction": None,
        "charge": shown.charge.id,
        "created": shown.created,
        "currency": shown.payment.currency,
        "metadata": shown.metadata,
        "payment_intent": shown.payment.id,
        "reason": shown.reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": shown.status,
        "transfer_reversal": None,
    } | failed


def dispute(shown: Dispute) -> Json:
    return {
        "id": shown.id,
        "object": "dispute",
        "amount": shown.amount,
        "balance_transactions": [],
        "charge": shown.charge.id,
        "created": shown.created,
        "currency": shown.payment.currency,
        "evidence": {name: shown.evidence.get(name) for name in EVIDENCE},
        "evidence_details": {
            "due_by": shown.created + _EVIDENCE_SECONDS,
            "has_evidence": bool(shown.evidence),
            "past_due": False,
            "submission_count": shown.submissions,
        },
        "is_charge_refundable": shown.inquiry,
        "livemode": False,
        "metadata": {},
        "payment_intent": shown.payment.id,
        "reason": shown.reason,
        "status": shown.status,
    }


_EVIDENCE_SECONDS = 9 * 86_400
EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name",
    "customer_purchase_ip", "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation",
    "duplicate_charge_id", "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address", "shipping_carrier",
    "shipping_date", "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip
