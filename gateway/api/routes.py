"""Every URL of the partner API, in one table: it routes the requests and writes /openapi.json.

A new route is one row here (or in `event_routes.py`, `replay_routes.py`, `routing_routes.py`, `stored_routes.py`) and
one endpoint `async def name(call: Call) -> Answer`.
"""

from __future__ import annotations

from gateway.api import ledger, lookups, refunds, transactions, webhooks
from gateway.api.event_routes import EVENTS
from gateway.api.lists import Page, PageQuery
from gateway.api.paths import Route
from gateway.api.replay_routes import MANIFESTS, REPLAYS
from gateway.api.routing_routes import ROUTING
from gateway.api.stored_routes import CUSTOMERS, PAYMENT_METHODS
from gateway.transactions.explanation import ExplanationBody
from gateway.transactions.representation import (
    LedgerEntryBody,
    RefundBody,
    TransactionBody,
    TransactionEventBody,
)

_READ = "transactions:read"
_WRITE = "transactions:write"
_REFUND = "refunds:write"
_WEBHOOKS = "webhooks:write"
_PROVIDER = ("temporarily_unavailable",)

TRANSACTIONS: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/transactions",
        endpoint=transactions.create,
        summary="Charge or authorize",
        tag="Transactions",
        scope=_WRITE,
        body=transactions.CreateTransaction,
        answers={201: TransactionBody, 202: TransactionBody},
        keyed=True,
        money=True,
        errors=("currency_not_supported", "no_eligible_provider", *_PROVIDER),
        description=(
            "201 once the outcome is known: `status` says whether the payment is completed, authorized, failed or waits"
            " for the customer. 202 with `status: processing` where the provider has not told yet: ask again after"
            " Retry-After, or repeat the request with the same key."
        ),
        example={
            "amount": "19.99",
            "currency": "USD",
            "payment_method": {"type": "card", "tokens": {"stripe": "pm_card_visa"}},
            "reference": "order-1042",
        },
    ),
    Route(
        method="GET",
        path="/v1/transactions",
        endpoint=transactions.list_transactions,
        summary="List and search transactions",
        tag="Transactions",
        scope=_READ,
        query=transactions.TransactionQuery,
        answers={200: Page[TransactionBody]},
        description="Newest first. Filters combine; `created_after` and `created_before` exclude the moment itself.",
    ),
    Route(
        method="GET",
        path="/v1/transactions/{id}",
        endpoint=transactions.show,
        summary="Show a transaction",
        tag="Transactions",
        scope=_READ,
        query=transactions.ExpandQuery,
        answers={200: TransactionBody},
    ),
    Route(
        method="POST",
        path="/v1/transactions/{id}/captures",
        endpoint=transactions.create_capture,
        summary="Capture an authorization",
        tag="Transactions",
        scope=_WRITE,
        body=transactions.CreateCapture,
        answers={200: TransactionBody, 202: TransactionBody},
        keyed=True,
        money=True,
        errors=("invalid_state", "capture_exceeds_authorized", *_PROVIDER),
        description="Wholly or in part, once: what is not captured is released.",
    ),
    Route(
        method="POST",
        path="/v1/transactions/{id}/cancel",
        endpoint=transactions.cancel,
        summary="Release an authorization, or give up waiting for the customer",
        tag="Transactions",
        scope=_WRITE,
        answers={200: TransactionBody, 202: TransactionBody},
        keyed=True,
        money=True,
        errors=("invalid_state", *_PROVIDER),
    ),
    Route(
        method="GET",
        path="/v1/transactions/{id}/explain",
        endpoint=transactions.explain,
        summary="Explain a transaction",
        tag="Transactions",
        scope=_READ,
        answers={200: ExplanationBody},
        description=(
            "Why it went where it went: the rule and its version, the candidates with their breakers and scores, who"
            " was left out and why; what each attempt asked and was answered; what to tell the customer; what to do."
        ),
    ),
    Route(
        method="GET",
        path="/v1/transactions/{id}/events",
        endpoint=transactions.list_events,
        summary="Show a transaction's history",
        tag="Transactions",
        scope=_READ,
        answers={200: Page[TransactionEventBody]},
        description="All that happened, oldest first, `sequence` without gaps.",
    ),
    Route(
        method="GET",
        path="/v1/transactions/{id}/deliveries",
        endpoint=transactions.list_deliveries,
        summary="List the webhook deliveries of a transaction",
        tag="Transactions",
        scope=_READ,
        query=PageQuery,
        answers={200: Page[webhooks.WebhookDelivery]},
        description=(
            "To every endpoint, newest first, those of refunds included. `GET /v1/webhook-deliveries/{id}` shows the"
            " attempts of each."
        ),
    ),
)

REFUNDS: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/transactions/{id}/refunds",
        endpoint=refunds.create,
        summary="Refund",
        tag="Refunds",
        scope=_REFUND,
        body=refunds.CreateRefund,
        answers={201: RefundBody, 202: RefundBody},
        keyed=True,
        money=True,
        errors=("invalid_state", "refund_exceeds_captured"),
        description=(
            "Pending and completed refunds together never exceed what was captured, however many are asked for at once."
            " 202 while the provider has not told the outcome: the amount stays reserved."
            " 503 temporarily_unavailable also while refunds are stopped because something is wrong in our books."
        ),
        example={"amount": "5.00", "reason": "requested_by_customer"},
    ),
    Route(
        method="GET",
        path="/v1/transactions/{id}/refunds",
        endpoint=refunds.list_of_transaction,
        summary="List a transaction's refunds",
        tag="Refunds",
        scope=_READ,
        query=PageQuery,
        answers={200: Page[RefundBody]},
    ),
    Route(
        method="GET",
        path="/v1/refunds",
        endpoint=refunds.list_refunds,
        summary="List refunds",
        tag="Refunds",
        scope=_READ,
        query=PageQuery,
        answers={200: Page[RefundBody]},
    ),
    Route(
        method="GET",
        path="/v1/refunds/{id}",
        endpoint=refunds.show,
        summary="Show a refund",
        tag="Refunds",
        scope=_READ,
        answers={200: RefundBody},
    ),
)

WEBHOOKS: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/webhook-endpoints",
        endpoint=webhooks.create,
        summary="Register a webhook endpoint",
        tag="Webhooks",
        scope=_WEBHOOKS,
        body=webhooks.CreateWebhookEndpoint,
        answers={201: webhooks.WebhookEndpoint},
        keyed=True,
        description="The answer holds the `secret` that signs its deliveries: it is shown here only.",
        example={"url": "https://shop.example.com/webhooks", "event_types": ["*"]},
    ),
    Route(
        method="GET",
        path="/v1/webhook-endpoints",
        endpoint=webhooks.list_endpoints,
        summary="List webhook endpoints",
        tag="Webhooks",
        scope=_READ,
        query=PageQuery,
        answers={200: Page[webhooks.WebhookEndpoint]},
    ),
    Route(
        method="GET",
        path="/v1/webhook-endpoints/{id}",
        endpoint=webhooks.show,
        summary="Show a webhook endpoint",
        tag="Webhooks",
        scope=_READ,
        answers={200: webhooks.WebhookEndpoint},
    ),
    Route(
        method="PATCH",
        path="/v1/webhook-endpoints/{id}",
        endpoint=webhooks.update,
        summary="Change a webhook endpoint",
        tag="Webhooks",
        scope=_WEBHOOKS,
        body=webhooks.UpdateWebhookEndpoint,
        answers={200: webhooks.WebhookEndpoint},
    ),
    Route(
        method="DELETE",
        path="/v1/webhook-endpoints/{id}",
        endpoint=webhooks.delete,
        summary="Delete a webhook endpoint",
        tag="Webhooks",
        scope=_WEBHOOKS,
        answers={204: None},
        description="What was not delivered to it yet is cancelled; its history stays.",
    ),
    Route(
        method="POST",
        path="/v1/webhook-endpoints/{id}/rotate-secret",
        endpoint=webhooks.rotate_secret,
        summary="Rotate a webhook endpoint's secret",
        tag="Webhooks",
        scope=_WEBHOOKS,
        answers={200: webhooks.WebhookEndpoint},
        description="The old secret signs beside the new one for 24 hours. Send an Idempotency-Key to repeat safely.",
    ),
    Route(
        method="POST",
        path="/v1/webhook-endpoints/{id}/ping",
        endpoint=webhooks.ping,
        summary="Send a test event",
        tag="Webhooks",
        scope=_WEBHOOKS,
        answers={202: webhooks.Ping},
    ),
    Route(
        method="POST",
        path="/v1/webhook-endpoints/{id}/enable",
        endpoint=webhooks.enable,
        summary="Enable a disabled webhook endpoint",
        tag="Webhooks",
        scope=_WEBHOOKS,
        answers={200: webhooks.WebhookEndpoint},
        description="What was held while it was disabled is delivered.",
    ),
    Route(
        method="POST",
        path="/v1/webhook-endpoints/{id}/disable",
        endpoint=webhooks.disable,
        summary="Disable a webhook endpoint",
        tag="Webhooks",
        scope=_WEBHOOKS,
        answers={200: webhooks.WebhookEndpoint},
        description="Its events are held until it is enabled again.",
    ),
    Route(
        method="GET",
        path="/v1/webhook-endpoints/{id}/deliveries",
        endpoint=webhooks.list_deliveries,
        summary="List a webhook endpoint's deliveries",
        tag="Webhooks",
        scope=_READ,
        query=PageQuery,
        answers={200: Page[webhooks.WebhookDelivery]},
    ),
    Route(
        method="GET",
        path="/v1/webhook-deliveries/{id}",
        endpoint=webhooks.show_delivery,
        summary="Show a delivery and its attempts",
        tag="Webhooks",
        scope=_READ,
        answers={200: webhooks.WebhookDelivery},
    ),
    Route(
        method="POST",
        path="/v1/webhook-deliveries/{id}/retry",
        endpoint=webhooks.retry_delivery,
        summary="Deliver once more",
        tag="Webhooks",
        scope=_WEBHOOKS,
        answers={202: webhooks.WebhookDelivery},
    ),
)

LEDGER: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/balance",
        endpoint=ledger.balance,
        summary="Show the balance per currency and account",
        tag="Ledger",
        scope=_READ,
        answers={200: ledger.Balance},
    ),
    Route(
        method="GET",
        path="/v1/ledger-entries",
        endpoint=ledger.list_entries,
        summary="List ledger entries",
        tag="Ledger",
        scope=_READ,
        query=ledger.EntryQuery,
        answers={200: Page[LedgerEntryBody]},
    ),
)

LOOK_UPS: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/payment-method-types",
        endpoint=lookups.list_payment_method_types,
        summary="List payment method types",
        tag="Look-ups",
        answers={200: lookups.PaymentMethodTypes},
    ),
    Route(
        method="GET",
        path="/v1/currencies",
        endpoint=lookups.list_currencies,
        summary="List currencies",
        tag="Look-ups",
        answers={200: lookups.Currencies},
        description="Decimal places, and the smallest and largest amount this partner may charge in each.",
    ),
)

ROUTES: tuple[Route, ...] = (
    *TRANSACTIONS,
    *REFUNDS,
    *PAYMENT_METHODS,
    *CUSTOMERS,
    *WEBHOOKS,
    *EVENTS,
    *REPLAYS,
    *MANIFESTS,
    *ROUTING,
    *LEDGER,
    *LOOK_UPS,
)
