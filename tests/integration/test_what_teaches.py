"""Promise: what a charge's first account said teaches, under the facts that were known when it was decided."""

from __future__ import annotations

from decimal import Decimal

from db.records import Scope
from gateway.transactions import charge
from gateway.transactions.commands import Caller, Charge
from tests.acceptance.steps import until
from tests.house import House, Partner, new_key

TAKEN, REFUSED = "pm_card_visa", "pm_card_visa_chargeDeclinedStolenCard"


async def charged(house: House, partner: Partner, token: str, brand: str | None) -> None:
    caller = Caller(scope=Scope(partner.id, livemode=False), actor="partner:test", key=new_key(), fingerprint=b"f" * 32)
    command = Charge(amount=Decimal(10), currency="USD", method="card", tokens={"stripe": token}, brand=brand)
    assert (await charge.charge(house.runtime, caller, command)).status == 201


async def test_a_brand_is_the_one_that_was_known(shared_house: House) -> None:
    """The simulator tells Visa of each of these, as some PSPs do of approvals only."""
    partner = await shared_house.partner()
    for token, brand in ((TAKEN, "amex"), (REFUSED, "amex"), (TAKEN, "amex"), (TAKEN, None)):
        await charged(shared_house, partner, token, brand)

    async def learned() -> dict[str, tuple[float, float]]:
        rows = await shared_house.owner.fetch(
            "SELECT brand, round(approved) AS approved, round(declined) AS declined FROM routing_tallies"
            " WHERE partner_id = $1",
            partner.id,
        )
        return {row["brand"]: (row["approved"], row["declined"]) for row in rows}

    assert await until(learned, lambda found: found == {"amex": (2, 1), "": (1, 0)})
    stamped = await shared_house.owner.fetchval(
        "SELECT routing->'payment'->>'brand' FROM attempts WHERE partner_id = $1 ORDER BY id LIMIT 1", partner.id
    )
    assert stamped == "amex"
