"""The promises about money as questions to the tables, for the watchdog: which transactions break one.

The same promises that the constraints and triggers hold; this finds what got past them (a superuser, a restore, a bug).
"""

from __future__ import annotations

from uuid import UUID

from db.database import Connection

Place = tuple[UUID, UUID]
"""(partner, transaction)."""

_BREACHES = {
    "refunds_do_not_add_up": """
        SELECT t.id FROM transactions t LEFT JOIN refunds r ON r.partner_id = t.partner_id AND r.transaction_id = t.id
        WHERE t.partner_id = $1 AND t.id = ANY ($2) GROUP BY t.partner_id, t.id
        HAVING t.amount_refunded <> coalesce(sum(r.amount) FILTER (WHERE r.status = 'completed'), 0)
            OR t.refund_reserved <> coalesce(sum(r.amount) FILTER (WHERE r.status IN ('pending', 'processing')), 0)
            OR t.amount_refunded + t.refund_reserved > t.amount_captured OR t.amount_captured > t.amount""",
    "ledger_does_not_balance": """
        SELECT DISTINCT transaction_id AS id FROM ledger_entries WHERE partner_id = $1 AND transaction_id = ANY ($2)
        GROUP BY transaction_id, sequence HAVING sum(amount) <> 0 OR count(DISTINCT currency) > 1""",
    "ledger_differs_from_transaction": """
        SELECT t.id FROM transactions t LEFT JOIN ledger_entries e
            ON e.partner_id = t.partner_id AND e.transaction_id = t.id
        WHERE t.partner_id = $1 AND t.id = ANY ($2) GROUP BY t.partner_id, t.id
        HAVING t.amount_captured <> -coalesce(sum(e.amount) FILTER (WHERE e.account = 'partner_payable'), 0)
            OR t.amount_refunded <> coalesce(sum(e.amount) FILTER (WHERE e.account = 'refunds'), 0)""",
    "history_has_gaps": """
        SELECT t.id FROM transactions t LEFT JOIN transaction_events e
            ON e.partner_id = t.partner_id AND e.transaction_id = t.id
        WHERE t.partner_id = $1 AND t.id = ANY ($2) GROUP BY t.partner_id, t.id
        HAVING count(e.sequence) <> t.version OR max(e.sequence) IS DISTINCT FROM t.version""",
    "published_events_have_gaps": """
        SELECT t.id FROM transactions t LEFT JOIN events e ON e.partner_id = t.partner_id AND e.transaction_id = t.id
        WHERE t.partner_id = $1 AND t.id = ANY ($2) GROUP BY t.partner_id, t.id
        HAVING count(e.id) <> t.published OR coalesce(max(e.sequence), 0) <> t.published""",
    "failed_with_money_taken": """
        SELECT id FROM transactions
        WHERE partner_id = $1 AND id = ANY ($2) AND status IN ('failed', 'cancelled') AND amount_captured > 0""",
    "charged_twice": """
        SELECT transaction_id AS id FROM attempts WHERE partner_id = $1 AND transaction_id = ANY ($2)
        AND operation = 'charge' AND state = 'succeeded' GROUP BY transaction_id HAVING count(*) > 1""",
    "forgotten_unknown": """
        SELECT a.transaction_id AS id FROM attempts a JOIN transactions t
            ON t.partner_id = a.partner_id AND t.id = a.transaction_id
        WHERE a.partner_id = $1 AND a.transaction_id = ANY ($2) AND a.finished_at IS NULL
          AND a.state IN ('created', 'sending', 'unknown', 'resolving') AND t.status <> 'requires_action'
          AND a.created_at + a.review_after < now() - interval '2 hours' AND NOT t.needs_review""",
}

KINDS = frozenset(_BREACHES)


async def changed_lately(connection: Connection, seconds: float, limit: int) -> list[Place]:
    """Transactions whose attempts changed since then, over all partners; as the worker."""
    rows = await connection.fetch(
        "SELECT DISTINCT partner_id, transaction_id FROM attempts"
        " WHERE updated_at >= now() - make_interval(secs => $1) LIMIT $2",
        seconds,
        limit,
    )
    return [(row["partner_id"], row["transaction_id"]) for row in rows]


async def next_places(
    connection: Connection, after: tuple[UUID, UUID], limit: int
) -> tuple[list[Place], tuple[UUID, UUID] | None]:
    """The next transactions in the order of their attempts' keys, and the key to go on after; None at the end."""
    rows = await connection.fetch(
        "SELECT partner_id, id, transaction_id FROM attempts WHERE (partner_id, id) > ($1, $2)"
        " ORDER BY partner_id, id LIMIT $3",
        *after,
        limit,
    )
    last = (rows[-1]["partner_id"], rows[-1]["id"]) if len(rows) == limit else None
    return [(row["partner_id"], row["transaction_id"]) for row in rows], last


async def breaches(connection: Connection, partner_id: UUID, transaction_ids: list[UUID]) -> list[tuple[str, UUID]]:
    """(kind, transaction) for every promise that one of these breaks; as their partner."""
    return [
        (kind, row["id"])
        for kind, query in _BREACHES.items()
        for row in await connection.fetch(query, partner_id, transaction_ids)
    ]
