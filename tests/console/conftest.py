from __future__ import annotations

import pytest

from tests.house import House, Partner
from tests.support_desk import Clerk, SupportDesk


@pytest.fixture
async def partner(shared_house: House) -> Partner:
    return await shared_house.partner()


@pytest.fixture
async def clerk(shared_support: SupportDesk, partner: Partner) -> Clerk:
    """Of the role support; looks at the partner."""
    found = await shared_support.clerk("support")
    await found.look_at(partner.id)
    return found


@pytest.fixture
async def admin(shared_support: SupportDesk, partner: Partner) -> Clerk:
    """Looks at the partner."""
    found = await shared_support.clerk("admin")
    await found.look_at(partner.id)
    return found
