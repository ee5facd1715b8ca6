"""The campaign: `pytest tests/stateful --hypothesis-profile=soak`, with `--hypothesis-seed=N` for one of many."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("soak", max_examples=300, stateful_step_count=60, database=None, print_blob=True)
