"""Lists in keyset pages: a cursor names the last row seen and is sealed for one partner, mode and list."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Generic, TypeVar
from uuid import UUID

from typing_extensions import TypedDict

from gateway.api.body import QueryModel
from gateway.api.calls import Answer, Call
from gateway.api.errors import Problem, invalid
from gateway.api.fields import Cursor, Limit

T = TypeVar("T")

LIMIT_DEFAULT = 20
_ID_BYTES = 16
_SEAL_BYTES = 12  # nobody gains from forging one: row-level security hides other partners' rows whatever it names


class Page(TypedDict, Generic[T]):
    data: Sequence[T]
    has_more: bool
    next_cursor: str | None


class PageQuery(QueryModel):
    """What every list takes."""

    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor | None = None


def before(call: Call, listing: str) -> UUID | None:
    """The id this page of `listing` starts after. Raises a problem that names the field `cursor`."""
    cursor: str | None = call.query.cursor
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise _bad_cursor() from None
    last, seal = raw[:_ID_BYTES], raw[_ID_BYTES:]
    seals = [_seal(call, listing, last, version) for version in call.runtime.vault.keys]
    if len(last) != _ID_BYTES or not any(hmac.compare_digest(seal, good) for good in seals):
        raise _bad_cursor()
    return UUID(bytes=last)


def page(call: Call, listing: str, found: Sequence[tuple[UUID, T]]) -> Answer:
    """An answer from `limit + 1` rows at most: the extra one tells that there are more."""
    limit: int = call.query.limit
    shown = found[:limit]
    more = len(found) > limit
    body: Page[T] = {
        "data": [row for _, row in shown],
        "has_more": more,
        "next_cursor": _cursor(call, listing, shown[-1][0]) if more else None,
    }
    return Answer(status=200, body=dict(body))


def whole(rows: Sequence[object]) -> Answer:
    """A list that always fits one page."""
    return Answer(status=200, body={"data": rows, "has_more": False, "next_cursor": None})


def _cursor(call: Call, listing: str, last: UUID) -> str:
    sealed = last.bytes + _seal(call, listing, last.bytes, call.runtime.vault.sealing)
    return base64.urlsafe_b64encode(sealed).decode()


def _seal(call: Call, listing: str, last: bytes, version: int) -> bytes:
    key = call.runtime.vault.derive("cursor", version)
    scope = f"{call.principal.partner_id}/{call.principal.livemode}/{listing}/".encode()
    return hmac.digest(key, scope + last, hashlib.sha256)[:_SEAL_BYTES]


def _bad_cursor() -> Problem:
    return invalid("cursor", "is not a cursor of this list")
