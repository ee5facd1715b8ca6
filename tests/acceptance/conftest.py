from __future__ import annotations

import pytest

from tests.house import House, Partner


@pytest.fixture
async def partner(shared_house: House) -> Partner:
    """A new partner of the house that the tests of one file share."""
    return await shared_house.partner()


@pytest.fixture(scope="module")
async def silent_psp(shared_house: House) -> None:
    """No notifications come, so that only answers, repeats and look-ups can tell what happened."""
    for simulator in shared_house.simulators.values():
        answer = await shared_house.http.post(f"{simulator}/_simulator/webhooks", json={"url": None})
        assert answer.status_code == 204, answer.text
