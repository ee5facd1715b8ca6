"""Stripe, API version `VERSION`, over the official SDK; a secret key as bearer token, form-encoded bodies.

Its surprise: a refused card is HTTP 402, while 429, 401 and most 400s are answered before the idempotency layer, so the
same key may later give another result. Only parameters that API versions since 2023 all accept are sent.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self, assert_never

import httpx
import stripe

from providers import contract, currency, http, ruling_out, stripe_answers, stripe_events, stripe_lists
from providers.contract import NotSentReason, Operation
from providers.stripe_json import Json

VERSION = "2026-10-28.endive"
BASE_URL = "https://api.stripe.com"

# A charge is found again among the payments created around its sending: clocks differ, and a late one still arrives.
LOOK_BACK = timedelta(minutes=5)
LOOK_AHEAD = timedelta(hours=1)
PAGE_SIZE = 100  # Stripe's largest
PAGES_MAX = 20
LIST_PAGES_MAX = 200  # a day of a busy account; who needs more asks for a shorter one
EVENTS_KEPT_SECONDS = 30 * 86_400

_REFUND_REASONS = frozenset({"duplicate", "fraudulent", "requested_by_customer"})

stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(logging.WARNING)  # below this the SDK writes tokens and whole answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Stripe:
    """One Stripe account."""

    name: ClassVar[str] = "stripe"
    capabilities: ClassVar[contract.Capabilities] = contract.Capabilities(
        methods=frozenset({"card"}),
        currencies=None,
        tokenless_methods=frozenset(),
        key_lifetime_seconds=24 * 3600,
        events_kept_seconds=EVENTS_KEPT_SECONDS,
        payments_listed_after_seconds=0,
    )
    credential_fields: ClassVar[frozenset[str]] = frozenset({"api_key", "ugx_hundredfold", "webhook_secrets"})

    client: stripe.StripeClient = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(repr=False)
    livemode: bool = field(repr=False)
    spelling: currency.Spelling = field(default=currency.STRIPE, repr=False)

    @classmethod
    def open(
        cls, credentials: Mapping[str, object], *, base_url: str | None, livemode: bool, doorway: http.Doorway
    ) -> Self:
        """Raises `contract.BadCredentials`."""
        client = stripe.StripeClient(
            _api_key(credentials, livemode=livemode),
            base_addresses={"api": base_url or BASE_URL},
            http_client=_Channel(doorway),
            max_network_retries=0,
        )
        spelling = currency.stripe(ugx_hundredfold=credentials.get("ugx_hundredfold", True) is True)
        secrets = _webhook_secrets(credentials)
        return cls(client=client, webhook_secrets=secrets, livemode=livemode, spelling=spelling)

    def prepare(self, ask: contract.Ask) -> contract.Prepared:
        match ask:
            case contract.Charge():
                return build_charge(ask, self.spelling)
            case contract.Capture():
                return build_capture(ask, self.spelling)
            case contract.Cancel():
                return build_cancel(ask)
            case contract.Refund():
                return build_refund(ask, self.spelling)
            case _:
                assert_never(ask)

    async def send(self, prepared: contract.Prepared, *, key: str) -> contract.Outcome:
        try:
            answer = await self._post(prepared, prepared.path, json.loads(prepared.body), key=key)
        except http.Unreachable as error:
            return contract.NotSent(reason=NotSentReason.UNREACHABLE, trace=contract.Trace(message=str(error)))
        except http.NoAnswer as error:
            return contract.Unknown(reason="no_answer", trace=contract.Trace(message=str(error)))
        return stripe_answers.read(answer, prepared, self.spelling)

    async def look_up(
        self, prepared: contract.Prepared, *, provider_id: str | None, sent_at: datetime | None = None
    ) -> contract.Outcome:
        path, params = where(prepared, provider_id, sent_at)
        try:
            for _ in range(PAGES_MAX):
                answer = await self._get(path, params, version=prepared.headers["Stripe-Version"])
                found = stripe_answers.read_look_up(answer, prepared, self.spelling)
                if not isinstance(found, stripe_answers.MoreAfter):
                    return found
                params = params | {"starting_after": found.last_id}
        except (http.Unreachable, http.NoAnswer) as error:
            return contract.Unknown(reason="look_up_failed", trace=contract.Trace(message=str(error)))
        return contract.Unknown(reason="too_many_to_look_through")

    async def proceed(
        self,
        prepared: contract.Prepared,
        *,
        key: str,  # noqa: ARG002 - nothing is sent: Stripe went on by itself when the customer came back
        provider_id: str | None,
        returned: Mapping[str, str],  # noqa: ARG002 - a query anybody can write
    ) -> contract.Outcome:
        return await self.look_up(prepared, provider_id=provider_id)

    async def rule_out(
        self, prepared: contract.Prepared, *, key: str, provider_id: str | None, sent_at: datetime | None = None
    ) -> contract.Outcome:
        before = await self.look_up(prepared, provider_id=provider_id, sent_at=sent_at)
        path = stripe_answers.cancel_path(before)
        if path is None:
            return ruling_out.settled(before)
        # Stripe repeats under a key what it first answered, also "not in this status": another status, another key.
        key = f"{key}-{before.trace.provider_status}"
        after: contract.Outcome
        try:
            answer = await self._post(prepared, path, RULE_OUT, key=key)
            after = stripe_answers.read(answer, prepared, self.spelling)
        except (http.Unreachable, http.NoAnswer) as error:
            after = contract.Unknown(reason="no_answer", trace=contract.Trace(message=str(error)))
        return ruling_out.concluded(before=before, after=after)

    async def missed(self, *, since: datetime, until: datetime | None = None) -> AsyncIterator[contract.Received]:
        async for event in self._listed(stripe_lists.EVENTS, stripe_lists.events(since, until)):
            yield stripe_lists.read_event(event, livemode=self.livemode)

    async def payments(self, *, since: datetime, until: datetime) -> AsyncIterator[contract.Seen]:
        window = stripe_lists.created(since, until)
        async for payment in self._listed(stripe_lists.PAYMENTS, window | {"expand": ["data.latest_charge"]}):
            yield stripe_lists.read_payment(payment, self.spelling)
        async for refund in self._listed(stripe_lists.REFUNDS, window):
            yield stripe_lists.read_refund(refund, self.spelling)

    async def _listed(self, path: str, params: dict[str, Any]) -> AsyncIterator[Json]:
        """Every object of a list, newest first. Raises `contract.CannotList`."""
        for _ in range(LIST_PAGES_MAX):
            try:
                answer = await self._get(path, params, version=VERSION)
            except (http.Unreachable, http.NoAnswer) as error:
                raise contract.CannotList(str(error)) from error
            things, last_id = stripe_lists.read_page(answer)
            for thing in things:
                yield thing
            if last_id is None:
                return
            params = params | {"starting_after": last_id}
        raise contract.CannotList("too many to list")

    async def verify_webhook(self, headers: Mapping[str, str], body: bytes, *, now: float) -> list[contract.Received]:
        secrets, livemode = self.webhook_secrets, self.livemode
        return [stripe_events.verify(headers, body, secrets=secrets, livemode=livemode, now=now)]

    def read_webhook(self, body: bytes) -> contract.Told:
        return stripe_events.read(body, self.spelling)

    async def _post(
        self, prepared: contract.Prepared, path: str, params: Mapping[str, Any], *, key: str
    ) -> stripe_answers.Answer:
        version = prepared.headers["Stripe-Version"]
        return await self._call("post", path, params, idempotency_key=key, stripe_version=version)

    async def _get(self, path: str, params: Mapping[str, Any], *, version: str) -> stripe_answers.Answer:
        return await self._call("get", path, params, stripe_version=version)

    async def _call(self, method: str, path: str, params: Mapping[str, Any], **options: str) -> stripe_answers.Answer:
        try:
            response = await self.client.raw_request_async(method, path, **options, **params)
        except stripe.StripeError as error:
            return stripe_answers.Answer(error.http_status or 0, error.headers or {}, error.json_body)
        except (AttributeError, TypeError, ValueError) as error:  # the SDK stumbles over odd bodies
            raise http.NoAnswer("an answer the SDK cannot read") from error
        return stripe_answers.Answer(response.code, response.headers, response.data)


class _Channel(stripe.HTTPClient):
    """Lets the SDK's requests leave through our doorway, and the doorway's two failures reach the adapter."""

    name = "httpx"

    def __init__(self, doorway: http.Doorway) -> None:
        super().__init__()
        self._doorway = doorway

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        request = httpx.Request(method.upper(), _url(url), headers=headers, content=post_data)
        response = await self._doorway.send(request)
        return response.content, response.status_code, response.headers


_url = functools.lru_cache(maxsize=256)(httpx.URL)  # parsing one costs as much as sending the request


# --- Credentials ---


def _api_key(credentials: Mapping[str, object], *, livemode: bool) -> str:
    api_key = credentials.get("api_key")
    mode = "live" if livemode else "test"
    if not isinstance(api_key, str) or not re.fullmatch(rf"(sk|rk)_{mode}_[A-Za-z0-9_]+", api_key):
        raise contract.BadCredentials(
            "api_key", f"must be a secret or restricted {mode} key (sk_{mode}_…, rk_{mode}_…)"
        )
    return api_key


def _webhook_secrets(credentials: Mapping[str, object]) -> tuple[str, ...]:
    secrets = credentials.get("webhook_secrets", [])
    if not isinstance(secrets, list | tuple):
        raise contract.BadCredentials("webhook_secrets", "must be a list")
    if not all(isinstance(secret, str) and secret.startswith("whsec_") for secret in secrets):
        raise contract.BadCredentials("webhook_secrets", "each must be a signing secret (whsec_…)")
    return tuple(secrets)


# --- Requests ---

RULE_OUT: Mapping[str, Any] = {"cancellation_reason": "abandoned", "expand": ["latest_charge"]}


def build_charge(ask: contract.Charge, spelling: currency.Spelling) -> contract.Prepared:
    if ask.method not in Stripe.capabilities.methods:
        raise contract.Unsupported("payment_method", f"{ask.method} is not available at this provider")
    if ask.token is None:
        raise contract.Unsupported("payment_method", "a token for stripe is needed")
    optional = {
        "return_url": ask.return_url,
        "description": ask.description,
        "statement_descriptor_suffix": ask.statement_descriptor,
    }
    params = {
        "amount": spelling.to_integer(ask.amount, ask.currency),
        "currency": ask.currency.lower(),
        "payment_method": ask.token,
        "confirm": True,
        "capture_method": "automatic" if ask.capture else "manual",
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "always" if ask.return_url else "never"},
        "metadata": _present({"gateway_reference": ask.reference, "merchant_reference": ask.merchant_reference}),
        "expand": ["latest_charge"],
    }
    return _prepared(Operation.CHARGE, "/v1/payment_intents", params | _present(optional), ask)


def build_capture(ask: contract.Capture, spelling: currency.Spelling) -> contract.Prepared:
    params = {"amount_to_capture": spelling.to_integer(ask.amount, ask.currency), "expand": ["latest_charge"]}
    return _prepared(Operation.CAPTURE, f"{_payment_path(ask.provider_transaction_id)}/capture", params, ask)


def build_cancel(ask: contract.Cancel) -> contract.Prepared:
    params = {"cancellation_reason": "requested_by_customer"}
    return _prepared(Operation.CANCEL, f"{_payment_path(ask.provider_transaction_id)}/cancel", params, ask)


def build_refund(ask: contract.Refund, spelling: currency.Spelling) -> contract.Prepared:
    params = {
        "payment_intent": _payment_id(ask.provider_transaction_id),
        "amount": spelling.to_integer(ask.amount, ask.currency),
        "metadata": {"gateway_reference": ask.reference},
    }
    reason = {"reason": ask.reason} if ask.reason in _REFUND_REASONS else {}
    return _prepared(Operation.REFUND, "/v1/refunds", params | reason, ask)


def _prepared(operation: Operation, path: str, params: Mapping[str, object], ask: contract.Ask) -> contract.Prepared:
    return contract.Prepared(
        operation=operation,
        method="POST",
        path=path,
        body=json.dumps(params, sort_keys=True, separators=(",", ":")),
        reference=ask.reference,
        amount=ask.amount,
        currency=ask.currency,
        headers={"Stripe-Version": VERSION},
    )


def _payment_path(payment_id: str) -> str:
    return f"/v1/payment_intents/{_payment_id(payment_id)}"


def _payment_id(payment_id: str) -> str:
    if not re.fullmatch(r"pi_[A-Za-z0-9_]+", payment_id):  # it becomes part of a path
        raise contract.Unsupported("provider_transaction_id", "is not a Stripe payment")
    return payment_id


def _present(fields: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


def where(prepared: contract.Prepared, provider_id: str | None, sent_at: datetime | None) -> tuple[str, dict[str, Any]]:
    """The GET that tells what became of `prepared`: one object where its id is known, else a list to look through."""
    match prepared.operation:
        case Operation.CAPTURE | Operation.CANCEL:
            return prepared.path.rpartition("/")[0], {"expand": ["latest_charge"]}
        case Operation.CHARGE if provider_id:
            return _payment_path(provider_id), {"expand": ["latest_charge"]}
        case Operation.CHARGE:
            return prepared.path, _window(sent_at) | {"expand": ["data.latest_charge"], "limit": PAGE_SIZE}
        case Operation.REFUND if provider_id:
            return f"/v1/refunds/{provider_id}", {}
        case Operation.REFUND:
            return prepared.path, {"payment_intent": json.loads(prepared.body)["payment_intent"], "limit": PAGE_SIZE}


def _window(sent_at: datetime | None) -> dict[str, Any]:
    if sent_at is None:
        return {}
    return {
        "created": {
            "gte": int((sent_at - LOOK_BACK).timestamp()),
            "lte": int((sent_at + LOOK_AHEAD).timestamp()),
        }
    }
