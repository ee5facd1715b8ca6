from __future__ import annotations

import pytest

from tests.house import House, Partner


@pytest.fixture
async def partner(shared_house: House) -> Partner:
    """A new partner of the house that the tests of one file share."""
    return await shared_house.partner()
