"""What every adapter promises without anybody at the far end, also the one that has none."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from providers import PROVIDERS, contract, http
from tests.providers.far_ends import FAR_ENDS, a_cancel, a_capture, a_charge, a_refund

NOWHERE = http.Doorway(transport=httpx.MockTransport(lambda _request: httpx.Response(500)))


@pytest.fixture(params=sorted(PROVIDERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def adapter(name: str) -> contract.Provider:
    made = FAR_ENDS[name]
    return PROVIDERS[name].open(made().credentials if made else {}, base_url=None, livemode=False, doorway=NOWHERE)


def token(name: str) -> str:
    made = FAR_ENDS[name]
    return made().approved if made else ""


def test_it_is_registered_under_its_own_name_and_has_a_far_end_or_says_that_it_has_none(name: str) -> None:
    assert PROVIDERS[name].name == name
    assert name in FAR_ENDS


def test_it_can_charge_something(name: str) -> None:
    able = PROVIDERS[name].capabilities

    assert able.methods
    assert able.tokenless_methods <= able.methods
    assert able.key_lifetime_seconds > 0


def test_every_request_is_built_alike_each_time_and_survives_storage(name: str, adapter: contract.Provider) -> None:
    prepared = adapter.prepare(a_charge(token(name), "at_1"))

    assert prepared == adapter.prepare(a_charge(token(name), "at_1"))
    assert contract.Prepared.from_json(prepared.to_json()) == prepared
    assert (prepared.operation, prepared.reference) == (contract.Operation.CHARGE, "at_1")
    assert (prepared.amount, prepared.currency) == (Decimal("10.99"), "EUR")


@pytest.mark.parametrize("amount", ["10.999", "0", "-1", "NaN"])
def test_an_amount_that_cannot_be_is_refused(name: str, adapter: contract.Provider, amount: str) -> None:
    with pytest.raises(contract.Unsupported) as refused:
        adapter.prepare(a_charge(token(name), "at_1", amount=amount))

    assert refused.value.field == "amount"


@pytest.mark.parametrize("headers", [{}, {"stripe-signature": "t=1,v1=0"}, {"authorization": "Basic eDp5"}])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff"])
async def test_what_nobody_signed_is_forged(adapter: contract.Provider, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises((contract.Forged, contract.Unreadable)):
        await adapter.verify_webhook(headers, body, now=1.0)


def test_what_is_unknown_here_is_never_echoed_in_a_repr(name: str, adapter: contract.Provider) -> None:
    made = FAR_ENDS[name]

    assert not any(secret in repr(adapter) for secret in (made().secrets if made else ()))


class TestWithoutAFarEnd:
    """A PSP that speaks to nobody decides nothing: it waits to be told, and can be asked as often as one likes."""

    @pytest.fixture(params=sorted(name for name, made in FAR_ENDS.items() if made is None))
    def adapter(self, request: pytest.FixtureRequest) -> contract.Provider:
        return PROVIDERS[request.param].open({}, base_url=None, livemode=False, doorway=NOWHERE)

    @pytest.mark.parametrize(
        ("ask", "outcome"),
        [
            (a_charge("", "at_1"), contract.Pending),
            (a_charge("", "at_1", capture=False), contract.Pending),
            (a_capture("manual_at_1"), contract.Pending),
            (a_cancel("manual_at_1"), contract.Approved),
            (a_refund("manual_at_1"), contract.Pending),
        ],
    )
    async def test_everything_but_a_cancel_waits(
        self, adapter: contract.Provider, ask: contract.Ask, outcome: type[contract.Outcome]
    ) -> None:
        prepared = adapter.prepare(ask)
        told: list[Any] = [
            await adapter.send(prepared, key="k1"),
            await adapter.send(prepared, key="k1"),
            await adapter.look_up(prepared, provider_id=None),
            await adapter.proceed(prepared, key="k2", provider_id=None, returned={}),
        ]

        assert isinstance(told[0], outcome)
        assert all(one == told[0] for one in told)

    async def test_no_charge_is_ruled_out_before_a_person_says_so(self, adapter: contract.Provider) -> None:
        prepared = adapter.prepare(a_charge("", "at_1"))

        assert isinstance(await adapter.rule_out(prepared, key="k2", provider_id=None), contract.Pending)

    async def test_it_keeps_no_lists(self, adapter: contract.Provider) -> None:
        noon = datetime(2026, 11, 20, 12, tzinfo=UTC)

        assert adapter.capabilities.events_kept_seconds is None
        assert adapter.capabilities.payments_listed_after_seconds is None
        with pytest.raises(contract.CannotList):
            adapter.missed(since=noon)
        with pytest.raises(contract.CannotList):
            adapter.payments(since=noon, until=noon)
