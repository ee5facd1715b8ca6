"""Every rule that the schema holds, read from its catalogue, and the statement that leaves it out."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

_RULES = """
    WITH held AS (
        SELECT oid, relname AS name, relrowsecurity, relforcerowsecurity FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'alembic_version'
          AND NOT (relispartition AND relname ~ '_[0-9]{4}_[0-9]{2}$')  -- each month's are made alike
    )
    SELECT name AS table_name, 'constraint' AS kind, conname AS name,
           format('ALTER TABLE %I DROP CONSTRAINT %I CASCADE', name, conname) AS left_out
        FROM pg_constraint JOIN held ON held.oid = conrelid
        WHERE contype IN ('c', 'f', 'p', 'u') AND coninhcount = 0 AND conparentid = 0
    UNION ALL SELECT name, 'index', relname, format('DROP INDEX %I', relname)
        FROM pg_index JOIN held ON held.oid = indrelid JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indisunique AND NOT relispartition AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
    UNION ALL SELECT name, 'trigger', tgname, format('DROP TRIGGER %I ON %I', tgname, name)
        FROM pg_trigger JOIN held ON held.oid = tgrelid WHERE NOT tgisinternal AND tgparentid = 0
    UNION ALL SELECT name, 'policy', polname, format('DROP POLICY %I ON %I', polname, name)
        FROM pg_policy JOIN held ON held.oid = polrelid
    UNION ALL SELECT name, 'row level', 'security', format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', name)
        FROM held WHERE relrowsecurity
    UNION ALL SELECT name, 'forced row level', 'security', format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', name)
        FROM held WHERE relforcerowsecurity
    ORDER BY 1, 2, 3"""


@dataclass(frozen=True, slots=True)
class Rule:
    table: str
    kind: str
    name: str
    left_out: str

    def __str__(self) -> str:
        return f"{self.table} {self.kind} {self.name}"


async def rules(owner: asyncpg.Connection[asyncpg.Record], *kinds: str) -> list[Rule]:
    """All, or those of some kinds: constraint, index, trigger, policy, row level, forced row level."""
    found = (Rule(*row) for row in await owner.fetch(_RULES))
    return [rule for rule in found if not kinds or rule.kind in kinds]
