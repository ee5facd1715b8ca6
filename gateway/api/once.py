"""Idempotency for what one database transaction does whole: the key, the work and its answer are committed together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from db import idempotency
from db.database import Connection
from gateway import telemetry
from gateway.api.calls import Answer, Call
from gateway.transactions import representation
from gateway.transactions.idempotency import KeyReused
from gateway.transactions.journal import KEEP_ANSWERS

Work = Callable[[Connection], Awaitable[tuple[int, Mapping[str, object]]]]


async def once(call: Call, work: Work, *, secret: bool = False) -> Answer:
    """Do `work` as the caller's partner, or repeat the answer its key got. `secret`: the answer is stored sealed.

    Without a key (where the route does not ask for one) the work is simply done. Raises `idempotency.KeyReused`.
    """
    async with call.runtime.database.as_partner(call.scope.partner_id) as connection:
        if call.key is None:
            status, body = await work(connection)
            return Answer(status=status, body=body)
        claimed = await idempotency.claim(
            connection, call.scope, call.key, fingerprint=call.fingerprint, keep=KEEP_ANSWERS
        )
        if not claimed:
            return await _repeat(connection, call)
        status, body = await work(connection)
        text = representation.encode(body)
        sealed = call.runtime.vault.seal(text.encode(), _context(call)) if secret else None
        await idempotency.finish(
            connection, call.scope, call.key, status=status, body=None if secret else text, sealed=sealed
        )
        return Answer(status=status, body=text.encode())


async def _repeat(connection: Connection, call: Call) -> Answer:
    assert call.key is not None
    found = await idempotency.find(connection, call.scope, call.key)
    if found is None or found.fingerprint != call.fingerprint or found.response_status is None:
        raise KeyReused
    telemetry.replays.inc()
    if found.response_sealed is not None:
        body = call.runtime.vault.open(found.response_sealed, _context(call))
    else:
        body = (found.response_body or "").encode()
    return Answer(status=found.response_status, body=body, headers={"Idempotent-Replayed": "true"})


def _context(call: Call) -> str:
    return f"idempotency_keys.response/{call.scope.partner_id}/{call.scope.livemode}/{call.key}"
