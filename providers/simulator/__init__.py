"""Stateful stand-ins for the PSPs, for tests, demos and rehearsals: real wire shapes over HTTP, truth in memory.

Written from the PSPs' documents, not from our adapters: nothing here imports an adapter or `providers.currency`.
"""

from collections.abc import Callable, Mapping

from starlette.applications import Starlette

from providers.simulator import stripe

SIMULATORS: Mapping[str, Callable[[], Starlette]] = {"stripe": stripe.create}
"""By the name of the PSP's adapter; each call makes one with an empty memory."""
