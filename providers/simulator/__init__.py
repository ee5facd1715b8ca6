"""Stateful stand-ins for the PSPs, for tests, demos and rehearsals: real wire shapes over HTTP, truth in memory.

Written from the PSPs' documents, not from our adapters: nothing here imports an adapter or `providers.currency`.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.applications import Starlette

from providers.simulator import adyen, adyen_events, paypal, stripe, stripe_events


class Create(Protocol):
    """Makes one with an empty memory. `clock` counts seconds since the epoch; nothing else in it tells the time."""

    def __call__(self, *, clock: Callable[[], float] = ...) -> Starlette: ...


SIMULATORS: Mapping[str, Create] = {
    "adyen": adyen.create,
    "paypal": paypal.create,
    "stripe": stripe.create,
}
"""By the name of the PSP's adapter."""

CREDENTIALS: Mapping[str, Mapping[str, object]] = {
    "adyen": {
        "api_key": "AQEsimulated",
        "report_api_key": "AQEreports",
        "merchant_account": "SimulatedShop",
        "hmac_keys": [adyen_events.HMAC_KEY],
    },
    "paypal": {"client_id": "simulated", "client_secret": "simulated", "webhook_id": paypal.WEBHOOK_ID},
    "stripe": {"api_key": "sk_test_simulated", "webhook_secrets": [stripe_events.WEBHOOK_SECRET]},
}
"""An account at each, as an adapter wants it: any key gets in, and these secrets sign the notifications."""
