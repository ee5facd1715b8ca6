"""Every page of the console in one table: who may see it, who may act. What is not listed does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from db.support_users import SupportRole
from gateway.console import (
    account,
    accounts,
    approvals,
    attention,
    audit_log,
    exports,
    keys,
    overview,
    partners,
    payments,
    people,
    reach,
    reviews,
    routing,
    seals,
    sign_in,
    transaction_acts,
    transactions,
    webhooks,
)

Page = Callable[[Any], Awaitable[Response]]

VIEWER, SUPPORT, FINANCE, ADMIN = SupportRole


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is below /console. `role` is the least that may; None: whoever knocks (see `half`)."""

    method: str
    path: str
    page: Page
    role: SupportRole | None
    half: bool = False
    """For whoever has given the password, and not yet what else a session needs."""
    documents: frozenset[str] = frozenset()
    """Fields of the form that hold JSON: the page parses and inspects them, by the rules for what JSON holds."""


_RULES = frozenset({routing.DOCUMENT})
ROUTES: Sequence[Route] = (
    Route("GET", "/sign-in", sign_in.ask, None),
    Route("POST", "/sign-in", sign_in.enter, None),
    Route("POST", "/sign-out", sign_in.leave, None, half=True),
    Route("GET", "/second-factor", sign_in.complete, None, half=True),
    Route("POST", "/second-factor", sign_in.give_code, None, half=True),
    Route("POST", "/second-factor/set-up", sign_in.enrol, None, half=True),
    Route("POST", "/first-password", sign_in.choose_password, None, half=True),
    Route("GET", "/account", account.show, VIEWER),
    Route("POST", "/account/password", account.change_password, VIEWER),
    Route("POST", "/account/second-factor", account.set_up, VIEWER),
    Route("POST", "/account/sessions/end", account.end_others, VIEWER),
    Route("GET", "/people", people.show, ADMIN),
    Route("POST", "/people", people.invite, ADMIN),
    Route("POST", "/people/{id}/role", people.change_role, ADMIN),
    Route("POST", "/people/{id}/reset", people.reset, ADMIN),
    Route("POST", "/people/{id}/disable", people.disable, ADMIN),
    Route("POST", "/people/{id}/enable", people.enable, ADMIN),
    Route("GET", "/", reach.home, VIEWER),
    Route("GET", "/search", payments.find, VIEWER),
    Route("GET", "/overview", overview.show, VIEWER),
    Route("GET", "/reach", reach.choose, VIEWER),
    Route("POST", "/reach", reach.look, VIEWER),
    Route("GET", "/transactions/{id}.json", transactions.raw, VIEWER),
    Route("GET", "/transactions/{id}", transactions.show, VIEWER),
    Route("POST", "/transactions/{id}/refund", transaction_acts.refund, SUPPORT),
    Route("POST", "/transactions/{id}/capture", transaction_acts.capture, FINANCE),
    Route("POST", "/transactions/{id}/cancel", transaction_acts.cancel, FINANCE),
    Route("POST", "/transactions/{id}/ask", transaction_acts.ask_again, SUPPORT),
    Route("POST", "/transactions/{id}/confirm", transaction_acts.confirm, FINANCE),
    Route("POST", "/transactions/{id}/notes", transaction_acts.write_note, SUPPORT),
    Route("POST", "/transactions/{id}/review/request", reviews.request, SUPPORT),
    Route("POST", "/transactions/{id}/review/cancel", reviews.cancel, FINANCE),
    Route("POST", "/transactions/{id}/review/approve", reviews.approve, FINANCE),
    Route("POST", "/transactions/{id}/approvals/{approval}/approve", approvals.approve, FINANCE),
    Route("POST", "/transactions/{id}/approvals/{approval}/reject", approvals.reject, FINANCE),
    Route("POST", "/transactions/{id}/approvals/{approval}/withdraw", approvals.withdraw, SUPPORT),
    Route("GET", "/approvals", approvals.listed, VIEWER),
    Route("GET", "/reviews", reviews.waiting, VIEWER),
    Route("GET", "/findings/{id}", attention.show_finding, ADMIN),
    Route("POST", "/findings/{id}/close", attention.close_finding, ADMIN),
    Route("POST", "/findings/{id}/lift", attention.lift_finding, ADMIN),
    Route("POST", "/findings/{id}/accept", attention.accept_finding, ADMIN),
    Route("POST", "/notifications/{id}/retry", attention.retry_notification, SUPPORT),
    Route("GET", "/partners", partners.everyone, ADMIN),
    Route("GET", "/partners/new", partners.ask, ADMIN),
    Route("POST", "/partners", partners.create, ADMIN),
    Route("GET", "/partners/{id}", partners.show, ADMIN),
    Route("POST", "/partners/{id}/limits", partners.limit, ADMIN),
    Route("POST", "/partners/{id}/deactivate", partners.deactivate, ADMIN),
    Route("POST", "/partners/{id}/keys", keys.issue, ADMIN),
    Route("POST", "/keys/{id}/rotate", keys.rotate, ADMIN),
    Route("POST", "/keys/{id}/revoke", keys.revoke, ADMIN),
    Route("GET", "/accounts", accounts.everything, ADMIN),
    Route("GET", "/accounts/new", accounts.ask, ADMIN),
    Route("POST", "/accounts", accounts.add, ADMIN),
    Route("GET", "/accounts/{id}", accounts.show, ADMIN),
    Route("POST", "/accounts/{id}/try", accounts.attempt, ADMIN),
    Route("POST", "/accounts/{id}/credentials", accounts.replace_credentials, ADMIN),
    Route("POST", "/accounts/{id}/disable", accounts.disable, ADMIN),
    Route("POST", "/accounts/{id}/breaker", accounts.set_breaker, ADMIN),
    Route("POST", "/accounts/{id}/fees", accounts.set_fees, ADMIN),
    Route("GET", "/routing", routing.overview, ADMIN),
    Route("GET", "/routing/new", routing.ask, ADMIN),
    Route("POST", "/routing", routing.write, ADMIN, documents=_RULES),
    Route("POST", "/routing/backtest", routing.backtest, ADMIN, documents=_RULES),
    Route("POST", "/routing/roll-back", routing.roll_back, ADMIN),
    Route("POST", "/routing/deactivate", routing.deactivate, ADMIN),
    Route("GET", "/routing/{id}", routing.show, ADMIN),
    Route("POST", "/routing/{id}/activate", routing.activate, ADMIN),
    Route("GET", "/webhooks", webhooks.everything, VIEWER),
    Route("GET", "/webhooks/{id}", webhooks.show, VIEWER),
    Route("POST", "/webhooks/{id}/enable", webhooks.enable, SUPPORT),
    Route("POST", "/webhooks/{id}/disable", webhooks.disable, SUPPORT),
    Route("GET", "/webhooks/deliveries/{id}", webhooks.show_delivery, VIEWER),
    Route("POST", "/webhooks/deliveries/{id}/retry", webhooks.retry, SUPPORT),
    Route("GET", "/audit", audit_log.show, ADMIN),
    Route("GET", "/audit/seals", seals.show, ADMIN),
    Route("POST", "/audit/verify", seals.verify, ADMIN),
    Route("GET", "/exports", exports.everything, SUPPORT),
    Route("GET", "/exports/progress/{id}", exports.progress, SUPPORT),
    Route("GET", "/exports/{listing}", exports.ask, SUPPORT),
    Route("POST", "/exports/{listing}", exports.download, SUPPORT),
)
