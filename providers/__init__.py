"""The registry: every PSP the gateway speaks to, by name. Adding one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from providers import adyen, contract, http, manual, paypal, stripe


class Adapter(Protocol):
    """An adapter class: opens accounts at its PSP."""

    name: str
    capabilities: contract.Capabilities
    credential_fields: frozenset[str]

    def open(
        self, credentials: Mapping[str, object], *, base_url: str | None, livemode: bool, doorway: http.Doorway
    ) -> contract.Provider:
        """Raises `contract.BadCredentials`."""
        ...


PROVIDERS: Mapping[str, Adapter] = {
    "adyen": adyen.Adyen,
    "manual": manual.Manual,
    "paypal": paypal.PayPal,
    "stripe": stripe.Stripe,
}
