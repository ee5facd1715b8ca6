"""Promise: kill the process, cancel its work, cut off its database or hold it up, at any point where it waits: the
money moves once, no answer and no event is lost, and everything ends as if nothing had been.
"""

from __future__ import annotations

import pytest

from tests.failpoints import cases
from tests.failpoints.cases import Recordings
from tests.failpoints.matrix import Tally
from tests.failpoints.operations import OPERATIONS, Operation
from tests.failpoints.stage import Stage


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_an_operation_struck_at_any_point_ends_as_if_nothing_had_been(
    stage: Stage, recordings: Recordings, tally: Tally, operation: Operation
) -> None:
    recording = await recordings.of(operation)
    assert {status for status, *_ in recording.ending["transactions"]} == {operation.ends}
    endings = await recordings.endings_of(operation)
    found = []
    for point, fault in tally.cases_of(operation.name, recording.points):
        wrong, _ = await cases.disturbed(stage, operation, point, fault, endings)
        found += [f"{operation.name}, {fault} at {point}: {what}" for what in wrong]
    tally.violations += found
    assert not found, "\n".join(found)
