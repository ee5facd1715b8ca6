"""Promise: a charge goes on at another provider where it is certain that no money moved at the first, and only there;
and whoever asks is told why it went where it went.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from functools import partial

import httpx
import pytest

from db import ids, routing
from db.records import Scope
from db.routing_records import BreakerOverride
from gateway.routing import breaker
from gateway.routing.breaker import Seen, Standing
from providers.simulator import CREDENTIALS
from tests.acceptance.steps import checks_fall_due, moved, refused, settled, until
from tests.house import House, Json, Partner, new_key

pytestmark = pytest.mark.usefixtures("silent_psp")

BOTH = {"stripe": "pm_card_visa", "adyen": "ada/APPROVED"}
ONE_SALE: Json = {"charges": (1, 1999), "captures": (1, 1999)}


async def pay(partner: Partner, tokens: Json = BOTH, *, key: str | None = None, **members: object) -> httpx.Response:
    body = {
        "amount": "19.99",
        "currency": "USD",
        "payment_method": {"type": "card", "tokens": tokens},
    } | members
    return await partner.post("/v1/transactions", body, key=key)


async def explained(partner: Partner, transaction_id: str) -> Json:
    answer = await partner.get(f"/v1/transactions/{transaction_id}/explain")
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    return told


def ways(shown: Json) -> list[tuple[str, str, str]]:
    return [(one["provider"], one["state"], one["outcome"]) for one in shown["attempts"]]


async def own_account(house: House, partner: Partner, provider: str, url: str) -> str:
    """An account of the partner's own, before all others; its id."""
    made = await house.desk.add_account(
        provider=provider,
        livemode=False,
        credentials=CREDENTIALS[provider],
        base_url=url,
        partner_id=partner.id,
        priority=1,
    )
    return ids.encode("pac", made.id)


@pytest.fixture
async def stripe_first(shared_house: House, partner: Partner) -> str:
    return await own_account(shared_house, partner, "stripe", shared_house.simulators["stripe"])


@pytest.fixture
async def adyen_first(shared_house: House, partner: Partner) -> str:
    return await own_account(shared_house, partner, "adyen", shared_house.simulators["adyen"])


@pytest.fixture
async def stripe_away(shared_house: House, partner: Partner) -> str:
    """At this one nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return await own_account(shared_house, partner, "stripe", f"http://127.0.0.1:{port}")


@pytest.mark.usefixtures("stripe_away")
async def test_what_could_not_be_sent_goes_on_at_the_next_provider(shared_house: House, partner: Partner) -> None:
    key = new_key()
    answer = await pay(partner, key=key, reference="away")
    shown = answer.json()
    assert (answer.status_code, shown["status"], shown["provider"]) == (201, "completed", "adyen")
    assert ways(shown) == [("stripe", "failed_not_sent", "not_sent"), ("adyen", "succeeded", "approved")]
    assert await moved(shared_house, "away", "adyen") == ONE_SALE
    assert await moved(shared_house, "away", "stripe") == {}
    again = await pay(partner, key=key, reference="away")
    assert (again.content, again.headers["idempotent-replayed"]) == (answer.content, "true")
    events = (await partner.get(f"/v1/transactions/{shown['id']}/events")).json()["data"]
    assert [one["type"] for one in events] == [
        "created",
        "payment_initiated",
        "payment_failed_over",
        "payment_completed",
    ]
    assert events[2]["data"]["to"] == {"attempt": shown["attempts"][1]["id"], "provider": "adyen"}


async def test_an_account_at_a_provider_of_tomorrow_keeps_no_charge_from_the_others(
    shared_house: House, partner: Partner
) -> None:
    """Old and new versions run together while a new one is rolled out."""
    await shared_house.owner.execute(
        "INSERT INTO provider_accounts (id, partner_id, provider, livemode, label, credentials)"
        " VALUES (uuid_v7(), $1, 'tomorrow', false, 'new', '')",
        partner.id,
    )
    assert (await pay(partner)).json()["status"] == "completed"


@pytest.mark.usefixtures("stripe_away")
async def test_what_is_dear_is_dear_at_the_next_provider_too(shared_house: House, partner: Partner) -> None:
    await shared_house.desk.change_partner(partner.id, review_above={"USD": Decimal(10)})
    await pay(partner)
    bounds = await shared_house.owner.fetch("SELECT review_after FROM attempts WHERE partner_id = $1", partner.id)
    assert [row["review_after"] for row in bounds] == [timedelta(hours=1)] * 2


async def test_the_explanation_says_why(partner: Partner, stripe_away: str) -> None:
    shown = (await pay(partner, reference="why")).json()
    told = await explained(partner, shown["id"])
    assert told["summary"] == "19.99 USD was captured at adyen, after stripe could not be reached."
    assert told["decision"]["candidates"][0] == {
        "account": stripe_away,
        "provider": "stripe",
        "breaker": "closed",
        "score": None,
        "approval_rate": None,
        "observed": None,
    }
    reasons = {one["provider"]: one["reason"] for one in told["decision"]["exclusions"]}
    assert reasons["paypal"] == "no token for this provider"
    assert reasons["manual"] == "takes offline payments, which a request must name"
    first, second = told["attempts"]
    assert (first["answered"]["outcome"], first["answered"]["reason"]) == ("not_sent", "unreachable")
    assert (second["because"], second["asked"]["amount"]) == ("failover", "19.99")
    assert "ada/APPROVED" not in str(told)
    assert told["tell_the_customer"] == "Your payment was received."


@pytest.mark.usefixtures("stripe_away")
async def test_a_token_is_never_tried_at_another_account_of_its_provider(partner: Partner) -> None:
    """The platform's account at Stripe is well, but the token is the partner's own account's."""
    problem = refused(await pay(partner, {"stripe": "pm_card_visa"}), 503, "temporarily_unavailable")
    assert (problem["money_moved"], problem["safe_to_retry"]) == ("no", True)


@pytest.mark.usefixtures("stripe_first")
async def test_a_soft_decline_goes_on_and_a_hard_one_is_final(shared_house: House, partner: Partner) -> None:
    soft = await pay(partner, {"stripe": "pm_card_chargeDeclinedProcessingError", "adyen": "ada/APPROVED"})
    assert (soft.json()["status"], soft.json()["provider"]) == ("completed", "adyen")
    assert ways(soft.json()) == [("stripe", "declined", "declined"), ("adyen", "succeeded", "approved")]
    hard = await pay(
        partner, {"stripe": "pm_card_visa_chargeDeclinedStolenCard", "adyen": "ada/APPROVED"}, reference="stolen"
    )
    assert (hard.json()["status"], hard.json()["provider"]) == ("failed", "stripe")
    assert hard.json()["failure"]["advice"] == "do_not_retry"
    assert await moved(shared_house, "stolen", "adyen") == {}


@pytest.mark.usefixtures("adyen_first", "stripe_away")
async def test_declined_here_and_unreachable_there_is_a_lasting_failure(partner: Partner) -> None:
    """Something was sent: the key keeps its answer and nothing is tried twice."""
    tokens = {"adyen": "ada/ISSUER_UNAVAILABLE", "stripe": "pm_card_visa"}
    key = new_key()
    answer = await pay(partner, tokens, key=key, reference="both")
    assert (answer.status_code, answer.json()["status"]) == (201, "failed")
    assert ways(answer.json()) == [("adyen", "declined", "declined"), ("stripe", "failed_not_sent", "not_sent")]
    assert answer.json()["money_moved"] == "no"
    again = await pay(partner, tokens, key=key, reference="both")
    assert (again.content, again.headers["idempotent-replayed"]) == (answer.content, "true")


@pytest.mark.usefixtures("stripe_first")
async def test_an_unknown_outcome_never_goes_on(shared_house: House, partner: Partner) -> None:
    await shared_house.fault("act_then_lose_answer", operation="charge", reference="acted", times=2)
    answer = await pay(partner, reference="acted")
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    assert len(answer.json()["attempts"]) == 1
    told = await explained(partner, answer.json()["id"])
    assert told["next_step"].startswith("Nothing: the provider is asked again at ")
    await checks_fall_due(shared_house.owner)
    done = await settled(partner, answer.json()["id"], "completed", "failed")
    assert (done["status"], done["provider"]) == ("completed", "stripe")
    assert await moved(shared_house, "acted", "stripe") == ONE_SALE
    assert await moved(shared_house, "acted", "adyen") == {}
    assert (await explained(partner, done["id"]))["attempts"][0]["answered"]["outcome"] == "approved"


@pytest.mark.usefixtures("stripe_away")
async def test_a_key_is_answered_by_the_attempt_that_its_charge_went_on_with(
    shared_house: House, partner: Partner
) -> None:
    await shared_house.fault("act_then_lose_answer", provider="adyen", operation="charge", reference="lost", times=2)
    key = new_key()
    first = await pay(partner, key=key, reference="lost")
    assert (first.status_code, ways(first.json())[1][:2]) == (202, ("adyen", "unknown"))
    final = await pay(partner, key=key, reference="lost")
    assert (final.status_code, final.json()["status"]) == (201, "completed")
    assert final.json()["id"] == first.json()["id"]
    assert await moved(shared_house, "lost", "adyen") == ONE_SALE


# ── Breakers ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def breakers_closed(shared_house: House) -> AsyncIterator[None]:
    yield
    await shared_house.breakers_close()


@pytest.mark.usefixtures("breakers_closed")
async def test_outages_open_a_breaker_and_an_answer_closes_it(
    shared_house: House, partner: Partner, stripe_away: str
) -> None:
    for _ in range(breaker.STREAK):
        assert (await pay(partner)).json()["provider"] == "adyen"
    switchboard, account_id = shared_house.runtime.switchboard, ids.decode("pac", stripe_away)
    assert account_id is not None
    await switchboard.aclose()  # what it saw is told now, not within a second
    switchboard.routes.cache_clear()
    shown = (await pay(partner)).json()
    assert ways(shown) == [("adyen", "succeeded", "approved")]
    last = (await explained(partner, shown["id"]))["decision"]["candidates"][-1]
    assert (last["account"], last["breaker"]) == (stripe_away, "open")
    routes = await switchboard.routes(Scope(partner.id, livemode=False))
    health = routes.health[account_id, "card"]
    assert health.retry_at is not None
    assert breaker.standing(health, health.retry_at) is Standing.HALF_OPEN
    well = breaker.step(health, Seen(answers=1), health.retry_at + timedelta(seconds=1))
    assert breaker.standing(well, well.as_of) is Standing.CLOSED


@pytest.mark.usefixtures("breakers_closed")
async def test_what_is_being_told_when_a_process_ends_is_not_forgotten(
    shared_house: House, partner: Partner, stripe_away: str
) -> None:
    owner, account_id = shared_house.owner, ids.decode("pac", stripe_away)
    async with owner.transaction():
        await owner.execute("LOCK TABLE provider_health IN EXCLUSIVE MODE")
        await pay(partner)
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'provider_health'::regclass AND NOT granted"
        await until(partial(owner.fetchval, waiting), bool)
        ending = asyncio.create_task(shared_house.runtime.switchboard.aclose())
        await until(partial(owner.fetchval, waiting), bool)
    await ending
    assert await owner.fetchval("SELECT outages FROM provider_health WHERE account_id = $1", account_id) == 1


@pytest.mark.usefixtures("breakers_closed")
async def test_a_wave_of_declines_opens_nothing(shared_house: House, partner: Partner) -> None:
    declined = {"stripe": "pm_card_visa_chargeDeclinedStolenCard"}
    answers = await asyncio.gather(*(pay(partner, declined) for _ in range(3 * breaker.STREAK)))
    assert {one.json()["status"] for one in answers} == {"failed"}
    await shared_house.runtime.switchboard.aclose()
    assert not await shared_house.owner.fetchval("SELECT count(*) FROM provider_health WHERE retry_at IS NOT NULL")


@pytest.mark.usefixtures("breakers_closed")
async def test_an_operator_switches_an_account_off_and_on(
    shared_house: House, partner: Partner, stripe_first: str
) -> None:
    account_id = ids.decode("pac", stripe_first)
    assert account_id is not None

    async def say(override: BreakerOverride | None) -> None:
        async with shared_house.desk.database.as_system() as connection:
            await routing.override_health(connection, account_id, "card", override, reason="drill", by="ada")
        shared_house.runtime.switchboard.routes.cache_clear()

    await say(BreakerOverride.OPEN)
    assert (await pay(partner)).json()["provider"] == "adyen"
    told = await explained(partner, (await pay(partner)).json()["id"])
    assert {one["account"]: one["reason"] for one in told["decision"]["exclusions"]}[stripe_first] == (
        "is switched off by an operator"
    )
    await say(None)
    assert (await pay(partner)).json()["provider"] == "stripe"
