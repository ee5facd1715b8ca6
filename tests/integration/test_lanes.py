"""Promise: why an account's lane ended early is told, also where nobody looks at that lane again."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest

from db.database import Role, Unavailable
from gateway import runtime
from gateway.config import Settings
from gateway.transactions.lanes import Lanes


async def test_a_lane_tells_why_it_ended_early(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def lost() -> None:
        raise Unavailable("the pool is closing")

    settings = Settings(database_url=database_url, secret_keys={1: os.urandom(32)})
    async with runtime.opened(settings, Role.WORKER) as opened:
        Lanes().begin(opened, uuid4(), lost())
    assert '"event": "lane ended early"' in capsys.readouterr().err
