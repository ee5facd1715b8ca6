"""The words in which PayPal's answers are told: outcomes and what they are read for. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from providers import contract, paypal_declines
from providers.contract import DeclineKind, Operation
from providers.paypal_json import NOTHING, Json, as_object, first, inner, money, text


@dataclass(frozen=True, slots=True)
class Answer:
    """What PayPal answered: `body` is the parsed JSON, or None where there was none."""

    status: int
    headers: Mapping[str, str]
    body: object


@dataclass(frozen=True, slots=True)
class Ready:
    """An order that waits for us alone: it may be captured or authorized now. `url` leads the customer to it."""

    order_id: str
    url: str | None
    trace: contract.Trace


@dataclass(frozen=True, slots=True)
class Settled:
    """PayPal says that this is over already: the order tells how. If it shows nothing of ours, it is `otherwise`."""

    otherwise: contract.Outcome


class About(NamedTuple):
    """What an answer is read for."""

    prepared: contract.Prepared
    order_id: str | None
    trace: contract.Trace


def approved(about: About, *, captured: bool = True, card: contract.Card | None = None) -> contract.Approved:
    assert about.order_id is not None
    return contract.Approved(provider_id=about.order_id, captured=captured, card=card, trace=about.trace)


def pending(about: About) -> contract.Pending:
    assert about.order_id is not None
    return contract.Pending(provider_id=about.order_id, trace=about.trace)


_ORDERS_OWN = "the order's own"


def unknown(reason: str, about: About, *, provider_id: str | None = _ORDERS_OWN) -> contract.Unknown:
    own = about.order_id if provider_id == _ORDERS_OWN else provider_id
    return contract.Unknown(reason=reason, provider_id=own, trace=about.trace)


def declined_by_issue(issue: str, about: About) -> contract.Declined | None:
    meaning = paypal_declines.ISSUES.get(issue)
    return meaning and _declined(meaning, issue, about, None)


def declined_by_processor(payment: Json, about: About, card: contract.Card | None) -> contract.Outcome:
    response = inner(payment, "processor_response")
    code = text(response, "response_code")
    if code in paypal_declines.UNPROVEN_PROCESSOR_CODES:
        return unknown(f"processor_{code}", about)
    meaning = paypal_declines.of_processor(code, advice=text(response, "payment_advice_code"))
    return _declined(meaning, code or text(payment, "status_details", "reason"), about, card)


def _declined(
    meaning: paypal_declines.Meaning, raw: str | None, about: About, card: contract.Card | None
) -> contract.Declined:
    code, kind, may_fail_over = meaning
    return contract.Declined(
        code=code,
        kind=kind,
        may_fail_over=may_fail_over and about.prepared.operation is Operation.CHARGE,
        provider_code=raw,
        message=about.trace.message or "The payment was declined.",
        provider_id=about.order_id,
        card=card,
        trace=replace(about.trace, provider_code=raw),
    )


def refused(code: str, message: str, about: About, *, kind: DeclineKind = DeclineKind.HARD) -> contract.Declined:
    """A refusal for the state of the payment, not of the card: asking again cannot help."""
    return contract.Declined(
        code=code,
        kind=kind,
        may_fail_over=False,
        provider_code=about.trace.provider_code,
        message=message,
        provider_id=about.order_id,
        trace=about.trace,
    )


def seen(thing: Json, about: About) -> tuple[About, str | None]:
    status = text(thing, "status")
    return about._replace(trace=replace(about.trace, provider_status=status or about.trace.provider_status)), status


def doubt_about_money(thing: Json, about: About) -> str | None:
    told = money(thing)
    if told is None or told[0] != about.prepared.amount:
        return "amount_mismatch"
    return None if told[1] == about.prepared.currency else "currency_mismatch"


def token_of(prepared: contract.Prepared) -> str | None:
    source = inner(as_object(json.loads(prepared.body)) if prepared.body else NOTHING, "payment_source")
    return text(source, "card", "vault_id") or text(source, "paypal", "vault_id")


def trace_of(answer: Answer, prepared: contract.Prepared | None = None) -> contract.Trace:
    """PayPal repeats what it refuses: the token of `prepared` stays out of what support may see."""
    body = as_object(answer.body)
    detail = first(body, "details")
    message = text(detail, "description") or text(body, "message") or text(body, "error_description")
    token = token_of(prepared) if prepared and prepared.operation is Operation.CHARGE else None
    if message and token:
        message = message.replace(token, "…")
    return contract.Trace(
        http_status=answer.status or None,
        provider_request_id=answer.headers.get("Paypal-Debug-Id") or text(body, "debug_id"),
        provider_code=text(detail, "issue") or text(body, "name") or text(body, "error"),
        message=message,
    )


def retry_after(headers: Mapping[str, str]) -> int | None:
    seconds = headers.get("Retry-After", "")
    return int(seconds) if re.fullmatch("[0-9]{1,5}", seconds) else None
