"""The rows of the route table for routing rules."""

from __future__ import annotations

from gateway.api import routing_backtest, routing_rules
from gateway.api.lists import Page, PageQuery
from gateway.api.paths import Route
from gateway.api.rule_documents import CreateRoutingRules

_READ = "transactions:read"
_ROUTING = "routing:write"

ROUTING: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/v1/routing-rules",
        endpoint=routing_rules.create,
        summary="Write routing rules",
        tag="Routing",
        scope=_ROUTING,
        body=CreateRoutingRules,
        answers={201: routing_rules.RoutingRules},
        keyed=True,
        description=(
            "A new version of the whole set, which never changes and decides nothing until it is activated."
            " The first rule that holds, and names an account that can take the payment, decides; where none does,"
            " the accounts' own priority. Only the targets of that rule are tried."
        ),
        example={
            "description": "Large euro payments to Adyen, the others half and half",
            "rules": [
                {
                    "name": "large",
                    "when": {"currency": ["EUR"], "amount": {"gte": "500.00"}},
                    "then": {"priority": ["adyen", "stripe"]},
                },
                {"name": "others", "then": {"split": {"adyen": 1, "stripe": 1}}},
            ],
        },
    ),
    Route(
        method="GET",
        path="/v1/routing-rules",
        endpoint=routing_rules.list_rules,
        summary="List routing rules",
        tag="Routing",
        scope=_READ,
        query=PageQuery,
        answers={200: Page[routing_rules.RoutingRules]},
        description="Every version, the newest first.",
    ),
    Route(
        method="GET",
        path="/v1/routing-rules/{id}",
        endpoint=routing_rules.show,
        summary="Show a version of the routing rules",
        tag="Routing",
        scope=_READ,
        answers={200: routing_rules.RoutingRules},
    ),
    Route(
        method="POST",
        path="/v1/routing-rules/{id}/activate",
        endpoint=routing_rules.activate,
        summary="Let a version decide, or watch it",
        tag="Routing",
        scope=_ROUTING,
        body=routing_rules.Lane,
        answers={200: routing_rules.RoutingRules},
        description=(
            "Whole and within a second, in the place of the version that was there. `shadow`: it decides nothing, and"
            " each charge notes what it would have decided."
        ),
    ),
    Route(
        method="POST",
        path="/v1/routing-rules/rollback",
        endpoint=routing_rules.roll_back,
        summary="Go back to what was live before",
        tag="Routing",
        scope=_ROUTING,
        answers={200: routing_rules.RoutingState},
        errors=("invalid_state",),
        description=(
            "Undoes the last activation or deactivation; again goes further back. Send an Idempotency-Key to repeat"
            " safely."
        ),
    ),
    Route(
        method="POST",
        path="/v1/routing-rules/deactivate",
        endpoint=routing_rules.deactivate,
        summary="Use no routing rules",
        tag="Routing",
        scope=_ROUTING,
        body=routing_rules.Lane,
        answers={200: routing_rules.RoutingState},
        description="The accounts' own priority decides again (`live`), or nothing is watched (`shadow`).",
    ),
    Route(
        method="POST",
        path="/v1/routing-rules/backtest",
        endpoint=routing_backtest.backtest,
        summary="Put routing rules to past decisions",
        tag="Routing",
        scope=_READ,
        body=routing_backtest.BacktestRoutingRules,
        answers={200: routing_backtest.RoutingBacktest},
        description=(
            "Who would have gone elsewhere, per payment method, currency and card brand, and which approval rate and"
            " cost a like amount of such traffic can expect. It assumes that within such a segment an account does as"
            " well with moved payments as with its own. At most 90 days and 100,000 decisions, the oldest; `complete`"
            " is false where more are left. 429 while another one runs in the same process."
        ),
        example={"rules": [{"name": "all", "then": {"priority": ["adyen", "stripe"]}}]},
    ),
    Route(
        method="GET",
        path="/v1/routing-rules/{id}/shadow-report",
        endpoint=routing_backtest.shadow_report,
        summary="Show how often a shadow agreed",
        tag="Routing",
        scope=_READ,
        query=routing_backtest.WindowQuery,
        answers={200: routing_backtest.ShadowReport},
        description="Charges made while this version was the shadow: would it have tried the same account first?",
    ),
)
