from __future__ import annotations

from tests.support_desk import SupportDesk


async def test_whoever_signs_in_is_in(shared_support: SupportDesk) -> None:
    clerk = await shared_support.clerk("viewer")
    assert (await clerk.get("/console/reach")).status_code == 200
