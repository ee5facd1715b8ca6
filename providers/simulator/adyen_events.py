"""Adyen's standard notifications: one item each, signed over eight of its fields. No rules about when."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from providers.simulator.adyen_wire import Json
from providers.simulator.ledger import References
from providers.simulator.notifier import Notifier

HMAC_KEY = "53494d554c4154454453494d554c4154454453494d554c4154454453494d554c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    code: str
    psp_reference: str
    merchant_account: str
    merchant_reference: str
    amount: int
    currency: str
    payment_method: str
    original_reference: str | None = None
    success: bool = True
    reason: str = ""
    additional: Mapping[str, str] | None = None


@dataclass(slots=True)
class Events:
    notifier: Notifier
    hmac_key: str
    login: tuple[str, str] | None
    """User name and password that go with every notification."""
    clock: Callable[[], float]

    def announce(self, event: Event, references: References) -> None:
        item = self._item(event)
        item["additionalData"] = {**(event.additional or {}), "hmacSignature": signature(item, self.hmac_key)}
        body = json.dumps({"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}).encode()
        event_id = f"{event.code}:{event.psp_reference}:{item['success']}"
        self.notifier.notify(body, self._headers(), event_id=event_id, event=event.code, references=references)

    def _item(self, event: Event) -> Json:
        item: Json = {
            "amount": {"currency": event.currency, "value": event.amount},
            "eventCode": event.code,
            "eventDate": datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="seconds"),
            "merchantAccountCode": event.merchant_account,
            "merchantReference": event.merchant_reference,
            "paymentMethod": event.payment_method,
            "pspReference": event.psp_reference,
            "reason": event.reason,
            "success": "true" if event.success else "false",
        }
        if event.original_reference:
            item["originalReference"] = event.original_reference
        if event.code == "AUTHORISATION" and event.success:
            item["operations"] = ["CANCEL", "CAPTURE", "REFUND"]
        return item

    def _headers(self) -> Mapping[str, str]:
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Adyen HttpClient 1.0"}
        if self.login is None:
            return headers
        shown = base64.b64encode(":".join(self.login).encode()).decode()
        return headers | {"Authorization": f"Basic {shown}"}


def signature(item: Json, hmac_key: str) -> str:
    amount = item["amount"]
    assert isinstance(amount, dict)
    named = [item.get(name, "") for name in ("pspReference", "originalReference", "merchantAccountCode")]
    named += [
        item.get("merchantReference", ""),
        amount["value"],
        amount["currency"],
        item["eventCode"],
        item["success"],
    ]
    digest = hmac.new(bytes.fromhex(hmac_key), ":".join(map(str, named)).encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
