"""Adyen, Checkout API `VERSION`: JSON under an API key, always for one merchant account.

Its surprise: a refused card is HTTP 200; a capture, cancel or refund is only *received* and told of by webhook; and
nothing can be read back but a report, days later. What became of a request is learned by sending it again (a key is
kept for a week, an error too) or from a webhook. A card's token is `shopperReference/storedPaymentMethodId`, or the
latter alone.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import ClassVar, Never, Self, assert_never

import httpx

from providers import adyen_answers, adyen_reports, adyen_requests, adyen_webhooks, contract, http
from providers.contract import NotSentReason

VERSION = "v71"
TEST_URL = "https://checkout-test.adyen.com"
LIVE_URL = "https://{prefix}-checkout-live.adyenpayments.com/checkout"
TEST_REPORTS, LIVE_REPORTS = "https://ca-test.adyen.com", "https://ca-live.adyen.com"
REPORT_BYTES_MAX = 1_000_000_000

SHOPPER_REFERENCE = "paygate"
"""The shopper whose tokens come without one, unless the account's credentials name another."""
PAYMENT_METHODS = {"bank_transfer": "ideal", "e_wallet": "alipay"}
"""What a redirect method is at Adyen, unless the account's credentials name another of Adyen's simple types."""
RECURRING_MODELS = ("CardOnFile", "Subscription", "UnscheduledCardOnFile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adyen:
    """One merchant account at Adyen, on one of its regional endpoints."""

    name: ClassVar[str] = "adyen"
    capabilities: ClassVar[contract.Capabilities] = contract.Capabilities(
        methods=frozenset({"card", *PAYMENT_METHODS}),
        currencies=None,
        tokenless_methods=frozenset(PAYMENT_METHODS),
        key_lifetime_seconds=7 * 24 * 3600,
        readable=False,
        payments_listed_after_seconds=adyen_reports.LISTED_AFTER_SECONDS,
        payments_listed_every_seconds=adyen_reports.LISTED_EVERY_SECONDS,
    )
    credential_fields: ClassVar[frozenset[str]] = frozenset(
        {"api_key", "hmac_keys", "live_prefix", "merchant_account", "payment_methods", "recurring_model"}
        | {"report_api_key", "shopper_reference", "webhook_password", "webhook_username"}
    )

    doorway: http.Doorway = field(repr=False)
    api_key: str = field(repr=False)
    account: adyen_requests.Account
    watch: adyen_webhooks.Watch = field(repr=False)
    reports: str
    """Where reports are fetched, whatever a notification may say."""
    report_api_key: str | None = field(repr=False)

    @classmethod
    def open(
        cls, credentials: Mapping[str, object], *, base_url: str | None, livemode: bool, doorway: http.Doorway
    ) -> Self:
        """Raises `contract.BadCredentials`."""
        merchant_account = _text(credentials, "merchant_account", r"[A-Za-z0-9_.-]{1,80}")
        account = adyen_requests.Account(
            endpoint=f"{base_url or _base_url(credentials, livemode=livemode)}/{VERSION}",
            merchant_account=merchant_account,
            shopper_reference=_text(credentials, "shopper_reference", r"[^/\s]{3,256}", SHOPPER_REFERENCE),
            recurring_model=_text(credentials, "recurring_model", "|".join(RECURRING_MODELS), RECURRING_MODELS[0]),
            payment_methods=_payment_methods(credentials),
        )
        watch = adyen_webhooks.Watch(
            merchant_account=merchant_account,
            livemode=livemode,
            hmac_keys=_hmac_keys(credentials),
            authorization=_webhook_authorization(credentials),
        )
        return cls(
            doorway=doorway,
            api_key=_text(credentials, "api_key", "[!-~]+"),
            account=account,
            watch=watch,
            reports=base_url or (LIVE_REPORTS if livemode else TEST_REPORTS),
            report_api_key=_text(credentials, "report_api_key", "[!-~]+") if "report_api_key" in credentials else None,
        )

    def prepare(self, ask: contract.Ask) -> contract.Prepared:
        match ask:
            case contract.Charge():
                return adyen_requests.build_charge(ask, self.account)
            case contract.Capture():
                return adyen_requests.build_capture(ask, self.account)
            case contract.Cancel():
                return adyen_requests.build_cancel(ask, self.account)
            case contract.Refund():
                return adyen_requests.build_refund(ask, self.account)
            case _:
                assert_never(ask)

    async def send(self, prepared: contract.Prepared, *, key: str) -> contract.Outcome:
        try:
            answer = await self._post(prepared.path, prepared.body, key=key)
        except _ElsewhereError:
            return contract.Unknown(reason="endpoint_changed")
        except http.Unreachable as error:
            return contract.NotSent(reason=NotSentReason.UNREACHABLE, trace=contract.Trace(message=str(error)))
        except http.NoAnswer as error:
            return contract.Unknown(reason="no_answer", trace=contract.Trace(message=str(error)))
        return adyen_answers.read(answer, prepared)

    async def look_up(
        self,
        prepared: contract.Prepared,  # noqa: ARG002 - the interface's: nothing can be asked
        *,
        provider_id: str | None,
        sent_at: datetime | None = None,  # noqa: ARG002 - the interface's
    ) -> contract.Outcome:
        """Always `Unknown`: Adyen has no call to read a payment. Sending again under the same key is the way to ask."""
        return contract.Unknown(reason="no_read_call", provider_id=provider_id)

    async def proceed(
        self, prepared: contract.Prepared, *, key: str, provider_id: str | None, returned: Mapping[str, str]
    ) -> contract.Outcome:
        """Hand Adyen what the customer came back with. A refusal of *that* proves nothing: anyone can write a query."""
        result = returned.get("redirectResult")
        if not result:
            return contract.Unknown(reason="nothing_returned", provider_id=provider_id)
        body = json.dumps({"details": {"redirectResult": result}}, separators=(",", ":"))
        try:
            answer = await self._post(f"{prepared.path}/details", body, key=_derived(key, result))
        except _ElsewhereError:
            return contract.Unknown(reason="endpoint_changed", provider_id=provider_id)
        except (http.Unreachable, http.NoAnswer) as error:
            trace = contract.Trace(message=str(error))
            return contract.Unknown(reason="no_answer", provider_id=provider_id, trace=trace)
        return adyen_answers.read_details(answer, prepared, provider_id)

    async def rule_out(
        self,
        prepared: contract.Prepared,
        *,
        key: str,
        provider_id: str | None,
        sent_at: datetime | None = None,  # noqa: ARG002 - the interface's: Adyen finds it by our reference
    ) -> contract.Outcome:
        """Adyen takes note and tells by a TECHNICAL_CANCEL. Under a used key it only repeats that it took note."""
        asked = await self.send(adyen_requests.build_rule_out(prepared), key=key)
        return adyen_answers.read_rule_out(asked, prepared, provider_id)

    def missed(self, *, since: datetime, until: datetime | None = None) -> Never:
        del since, until
        raise contract.CannotList("Adyen has no call that lists its events")

    async def payments(self, *, since: datetime, until: datetime) -> AsyncIterator[contract.Seen]:
        """Out of the reports of every day that the window touches. Raises `contract.CannotList`."""
        reader = adyen_reports.Reader(self.account.merchant_account)
        for day, must_exist in adyen_reports.days(since, until):
            await self._read_report(reader, day, must_exist=must_exist)
        for seen in reader.seen(since, until):
            yield seen

    async def _read_report(self, reader: adyen_reports.Reader, day: date, *, must_exist: bool) -> None:
        if self.report_api_key is None:
            raise contract.CannotList("the account's credentials have no report_api_key")
        path = adyen_reports.path(self.account.merchant_account, day)
        request = httpx.Request("GET", f"{self.reports}{path}", headers={"X-API-Key": self.report_api_key})
        try:
            async with aclosing(self.doorway.pieces(request, bytes_max=REPORT_BYTES_MAX)) as body:
                await reader.read_file(body)
        except http.Refused as error:
            if must_exist or error.status != httpx.codes.NOT_FOUND:
                raise contract.CannotList(f"Adyen's report of {day} is not there: {error}") from None
        except (http.Unreachable, http.NoAnswer) as error:
            raise contract.CannotList(str(error)) from error

    async def verify_webhook(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        now: float,  # noqa: ARG002 - the interface's: Adyen signs no time
    ) -> list[contract.Received]:
        """Adyen signs no time, so `now` cannot tell a replay: the dedupe key must."""
        return adyen_webhooks.verify(headers, body, self.watch)

    def read_webhook(self, body: bytes) -> contract.Told:
        return adyen_webhooks.read(body)

    async def _post(self, url: str, body: str, *, key: str) -> adyen_answers.Answer:
        if not url.startswith(f"{self.account.endpoint}/"):
            # Each of Adyen's regions keeps its own keys: elsewhere the same request would be executed again.
            raise _ElsewhereError
        headers = {"X-API-Key": self.api_key, "Content-Type": "application/json", "Idempotency-Key": key}
        response = await self.doorway.send(httpx.Request("POST", _url(url), headers=headers, content=body.encode()))
        return adyen_answers.Answer.of(response.status_code, response.headers, response.content)


class _ElsewhereError(Exception):
    """The request was prepared for another endpoint than this account's."""


_url = functools.lru_cache(maxsize=256)(httpx.URL)  # parsing one costs as much as sending the request


def _derived(key: str, result: str) -> str:
    """One key per thing that is returned: Adyen would answer a second, true one with its refusal of a forged first."""
    digest = hashlib.sha256(f"{key}/{result}".encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


# --- Credentials ---


def _text(credentials: Mapping[str, object], name: str, pattern: str, default: str | None = None) -> str:
    value = credentials.get(name, default)
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise contract.BadCredentials(name, f"must be text like {pattern}")
    return value


def _base_url(credentials: Mapping[str, object], *, livemode: bool) -> str:
    if not livemode:
        return TEST_URL
    return LIVE_URL.format(prefix=_text(credentials, "live_prefix", "[A-Za-z0-9-]+"))


def _payment_methods(credentials: Mapping[str, object]) -> Mapping[str, str]:
    named = credentials.get("payment_methods", {})
    if not isinstance(named, dict) or not named.keys() <= PAYMENT_METHODS.keys():
        raise contract.BadCredentials("payment_methods", f"may name {' and '.join(PAYMENT_METHODS)}")
    return {ours: _text(named, ours, "[A-Za-z0-9_]+", theirs) for ours, theirs in PAYMENT_METHODS.items()}


def _hmac_keys(credentials: Mapping[str, object]) -> tuple[bytes, ...]:
    keys = credentials.get("hmac_keys", [])
    if not isinstance(keys, list | tuple):
        raise contract.BadCredentials("hmac_keys", "must be a list")
    if not all(isinstance(key, str) and re.fullmatch("([0-9A-Fa-f]{2}){16,}", key) for key in keys):
        raise contract.BadCredentials("hmac_keys", "each must be hexadecimal, as the Customer Area shows it")
    return tuple(bytes.fromhex(key) for key in keys)


def _webhook_authorization(credentials: Mapping[str, object]) -> bytes | None:
    """The header that a webhook must carry, where the account has a user name and password for them."""
    if "webhook_username" not in credentials and "webhook_password" not in credentials:
        return None
    username = _text(credentials, "webhook_username", "[^:]+")
    password = _text(credentials, "webhook_password", ".+")
    return b"Basic " + base64.b64encode(f"{username}:{password}".encode())
