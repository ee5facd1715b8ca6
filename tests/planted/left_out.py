"""Every rule that the schema holds, left out in turn: constraints, unique indexes, triggers, policies, row security."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from db import embedded, schema
from tests import schema_rules
from tests.planted.bug import Bug
from tests.schema_rules import Rule

_MIGRATED = '    command.upgrade(config, "head")\n'
_EXAMPLES = "tests/integration/test_every_rule.py"
_ELSEWHERE = {
    "forced row level security": (
        "tests/integration/test_row_level_security.py::test_every_table_with_partners_forces_row_level_security"
    ),
    "trigger updated_at": "tests/integration/test_schema.py::test_updated_at_is_kept_by_the_database",
}
"""What refuses no statement that an example could show."""


async def bugs(folder: Path) -> list[Bug]:
    """One per rule of a migrated database, read from its catalogue: a new rule is among them by itself."""
    server = embedded.start(folder, durable=False)
    try:
        await schema.migrate(server.url("postgres"))
        owner = await asyncpg.connect(server.url("postgres"))
        found = await schema_rules.rules(owner)
        await owner.close()
    finally:
        server.stop()
    return [_left_out(rule) for rule in found]


def _left_out(rule: Rule) -> Bug:
    return Bug(
        name=f"{rule.table} has no {rule.kind} {rule.name}",
        breaks="what PostgreSQL itself refuses, no code path can do",
        file="db/schema.py",
        text=_MIGRATED,
        becomes=f"{_MIGRATED}    connection.exec_driver_sql({rule.left_out!r})\n",
        tests=(_ELSEWHERE.get(f"{rule.kind} {rule.name}", _EXAMPLES),),
    )
