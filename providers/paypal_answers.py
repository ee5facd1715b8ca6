"""What PayPal's answers mean: pure readers from JSON to `contract.Outcome`.

No reader raises, whatever the JSON: what cannot be believed is `Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus

from providers import contract, paypal_declines
from providers.contract import NotSentReason, Operation
from providers.paypal_json import as_object, first, text
from providers.paypal_orders import read_capture, read_order, read_refund
from providers.paypal_outcomes import (
    About,
    Answer,
    Ready,
    Settled,
    approved,
    declined_by_issue,
    refused,
    retry_after,
    trace_of,
    unknown,
)

_SUCCESS = range(200, 300)


def read_charge(answer: Answer, prepared: contract.Prepared) -> contract.Outcome | Ready:
    """What the answer to creating the order (or to taking it) proves."""
    if answer.status in _SUCCESS:
        return read_order(as_object(answer.body), prepared, trace_of(answer))
    refused = _read_error(answer, About(prepared, None, trace_of(answer, prepared)))
    return refused.otherwise if isinstance(refused, Settled) else refused


def read_taking(answer: Answer, prepared: contract.Prepared, ready: Ready) -> contract.Outcome | Ready | Settled:
    """What the answer to capturing or authorizing an order proves; an earlier call may have been executed."""
    if answer.status in _SUCCESS:
        return read_order(as_object(answer.body), prepared, trace_of(answer))
    about = About(prepared, ready.order_id, trace_of(answer, prepared))
    issue = _issue(answer)
    if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY and issue in paypal_declines.CUSTOMER_ISSUES:
        if ready.url is None:
            return unknown("customer_needed", about)
        return contract.ActionRequired(provider_id=ready.order_id, url=ready.url, trace=about.trace)
    outcome = _read_error(answer, about)
    return unknown(outcome.reason.value, about) if isinstance(outcome, contract.NotSent) else outcome


def read_follow_up(answer: Answer, prepared: contract.Prepared, order_id: str) -> contract.Outcome | Settled:
    """What the answer to a capture, void or refund proves."""
    about = About(prepared, order_id, trace_of(answer, prepared))
    if answer.status not in _SUCCESS:
        return _read_error(answer, about)
    thing = as_object(answer.body)
    match prepared.operation:
        case Operation.CAPTURE:
            return read_capture(thing, about)
        case Operation.REFUND:
            return read_refund(thing, about)
        case _ if answer.status == HTTPStatus.NO_CONTENT or text(thing, "status") == "VOIDED":
            return approved(about)
        case _:
            return unknown("unexpected_status", about)


def read_missing_order(answer: Answer, prepared: contract.Prepared) -> contract.Outcome:
    """Why the order that a follow-up needs could not be read; so nothing was done about it."""
    outcome = _read_error(answer, About(prepared, None, trace_of(answer)))
    if isinstance(outcome, contract.NotSent | contract.Rejected):
        return outcome
    return contract.NotSent(reason=NotSentReason.UNAVAILABLE, trace=trace_of(answer))


def read_mark(answer: Answer, prepared: contract.Prepared, order_id: str) -> contract.Outcome:
    """What the answer to marking an order as given up means. That PayPal will not be marked takes no money either."""
    about = About(prepared, order_id, trace_of(answer))
    outcome = _read_error(answer, about) if answer.status not in _SUCCESS else approved(about)
    if isinstance(outcome, contract.Rejected):
        return approved(about)
    return outcome.otherwise if isinstance(outcome, Settled) else outcome


def read_look_up(answer: Answer, prepared: contract.Prepared) -> contract.Outcome | Ready:
    """What an order tells of `prepared`. An error here proves nothing about the request that is looked for."""
    if answer.status == HTTPStatus.NOT_FOUND and text(as_object(answer.body), "name") == "RESOURCE_NOT_FOUND":
        return contract.Absent(trace=trace_of(answer))  # orders that nobody approves disappear after some hours
    if answer.status not in _SUCCESS:
        return contract.Unknown(reason="look_up_failed", trace=trace_of(answer))
    return read_order(as_object(answer.body), prepared, trace_of(answer))


def read_refund_look_up(answer: Answer, prepared: contract.Prepared) -> contract.Outcome:
    trace = trace_of(answer)
    if answer.status not in _SUCCESS:
        return contract.Unknown(reason="look_up_failed", trace=trace)
    return read_refund(as_object(answer.body), About(prepared, None, trace))


# --- Errors ---


def _read_error(answer: Answer, about: About) -> contract.Outcome | Settled:
    issue, charging = _issue(answer), about.prepared.operation is Operation.CHARGE
    match answer.status:
        case 403 if charging and issue in paypal_declines.CAPABILITY_ISSUES:
            return _rejected(issue, about)
        case 401 | 403:
            return contract.NotSent(reason=NotSentReason.CREDENTIALS, trace=about.trace)
        case 429:
            seconds = retry_after(answer.headers)
            return contract.NotSent(reason=NotSentReason.THROTTLED, retry_after_seconds=seconds, trace=about.trace)
        case 400 | 404 if text(as_object(answer.body), "name"):
            return _rejected(issue, about)
        case 422 if issue is not None:
            return _ISSUE_READERS[about.prepared.operation](issue, about)
        case status:
            return unknown("in_progress" if status == HTTPStatus.CONFLICT else f"http_{status}", about)


def _read_charge_issue(issue: str, about: About) -> contract.Outcome | Settled:
    if issue in paypal_declines.SETTLED_ISSUES:
        return Settled(unknown(issue.lower(), about))
    if issue in paypal_declines.CUSTOMER_ISSUES:
        return unknown("customer_needed", about)
    return declined_by_issue(issue, about) or _rejected(issue, about)


def _read_capture_issue(issue: str, about: About) -> contract.Outcome | Settled:
    if issue in paypal_declines.SETTLED_ISSUES:
        return Settled(unknown(issue.lower(), about))
    if issue in paypal_declines.EXPIRED_ISSUES:
        return refused("expired_authorization", "The authorization has expired or was cancelled.", about)
    return declined_by_issue(issue, about) or _rejected(issue, about)


def _read_cancel_issue(issue: str, about: About) -> contract.Outcome | Settled:
    if issue in paypal_declines.VOIDED_ISSUES:
        return approved(about)
    if issue == "ORDER_ALREADY_COMPLETED":
        return unknown("order_completed", about)
    refusal = refused("cancel_refused", "PayPal does not let go of this authorization any more.", about)
    return Settled(refusal) if issue in paypal_declines.SETTLED_ISSUES else _rejected(issue, about)


def _read_refund_issue(issue: str, about: About) -> contract.Outcome | Settled:
    refusal = refused("refund_refused", "PayPal refuses to return this amount of this payment.", about)
    if issue == "DUPLICATE_INVOICE_ID":
        return Settled(unknown(issue.lower(), about, provider_id=None))
    if issue in paypal_declines.SETTLED_ISSUES:
        return Settled(replace(refusal, provider_id=None))
    return replace(refusal, provider_id=None) if issue in paypal_declines.REFUND_ISSUES else _rejected(issue, about)


_ISSUE_READERS: Mapping[Operation, Callable[[str, About], contract.Outcome | Settled]] = {
    Operation.CHARGE: _read_charge_issue,
    Operation.CAPTURE: _read_capture_issue,
    Operation.CANCEL: _read_cancel_issue,
    Operation.REFUND: _read_refund_issue,
}


def _issue(answer: Answer) -> str | None:
    """The classifying word of an error: the first detail's issue, where there is one."""
    return text(first(as_object(answer.body), "details"), "issue")


def _rejected(issue: str | None, about: About) -> contract.Rejected:
    charging = about.prepared.operation is Operation.CHARGE
    return contract.Rejected(
        provider_code=issue or about.trace.provider_code,
        message=about.trace.message or "PayPal refused the request as invalid.",
        may_fail_over=charging and issue in paypal_declines.CAPABILITY_ISSUES,
        trace=about.trace,
    )
