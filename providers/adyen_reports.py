"""Adyen's Payments accounting report: a CSV file per day, one line per step of a payment or of its refunds. Pure.

Adyen announces a file by a notification and signs its name, not its address. Nobody has to be told: a file's name
follows from its day, so the announcement may be lost, and no address but the account's own is ever called.
"""

from __future__ import annotations

import csv
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

from providers import adyen_requests, contract
from providers.contract import Operation, Seen, SeenState

LISTED_AFTER_SECONDS = 72 * 3600  # the day after is over everywhere, and Adyen has had its morning to write it down
LISTED_EVERY_SECONDS = 24 * 3600
LINE_MAX = 16_384
ENTRIES_MAX = 500_000
"""Payments and refunds of one window; a busier account needs another way than one file a day."""
_EARLIEST, _LATEST = timedelta(hours=-12), timedelta(hours=14)
"""How far from UTC an account's own midnight may be: which zone its files are in only their lines tell."""
_ZONES = {
    "UTC": 0, "GMT": 0, "WET": 0, "BST": 1, "WEST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3,
    "HST": -10, "PST": -8, "PDT": -7, "MST": -7, "MDT": -6, "CST": -6, "CDT": -5, "EST": -5, "EDT": -4, "BRT": -3,
    "SGT": 8, "HKT": 8, "AWST": 8, "JST": 9, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13,
}  # fmt: skip
"""Hours from UTC of what Adyen calls a zone; a file in another one is not read."""
_CHARGES = {
    "Received": SeenState.OPEN,
    "AuthorisedPending": SeenState.OPEN,
    "Authorised": SeenState.AUTHORIZED,
    "SentForSettle": SeenState.MOVED,
    "Settled": SeenState.MOVED,
    "SettledBulk": SeenState.MOVED,
    "SettledExternally": SeenState.MOVED,
    "Refused": SeenState.ENDED,
    "Error": SeenState.ENDED,
    "Cancelled": SeenState.ENDED,
    "Expired": SeenState.ENDED,
    "CaptureFailed": SeenState.ENDED,
}
_REFUNDS = {
    "SentForRefund": SeenState.MOVED,
    "Refunded": SeenState.MOVED,
    "RefundedBulk": SeenState.MOVED,
    "RefundedExternally": SeenState.MOVED,
    "RefundFailed": SeenState.ENDED,
    "RefundedReversed": SeenState.ENDED,
}
"""Record types that say how a payment or refund stands; the others are fees, payouts and disputes."""
_OVER = frozenset({SeenState.MOVED, SeenState.ENDED})
_NEEDED = (
    *("Merchant Account", "Psp Reference", "Merchant Reference", "Record Type", "TimeZone", "Payment Currency"),
    *("Modification Psp Reference", "Modification Merchant Reference", "Received (PC)", "Captured (PC)"),
)
_SPELLINGS = {"Authorized (PC)": "Authorised (PC)", "Creation Date": "Booking Date"}


def days(since: datetime, until: datetime) -> list[tuple[date, bool]]:
    """The files that hold this window wherever the account keeps its clock, and whether each must exist."""
    first, last = (since + _EARLIEST).astimezone(UTC).date(), (until + _LATEST).astimezone(UTC).date()
    count = (last - first).days + 1
    # An account's very first file has none before it.
    return [(day := first + timedelta(days=number), day >= since.astimezone(UTC).date()) for number in range(count)]


def path(merchant_account: str, day: date) -> str:
    return f"/reports/download/MerchantAccount/{merchant_account}/payments_accounting_report_{day:%Y_%m_%d}.csv"


@dataclass(slots=True)
class Reader:
    """Fed with the files of a window line by line; holds how each payment and refund stood at their end."""

    merchant_account: str
    _columns: Mapping[str, int] = field(default_factory=dict)
    _found: dict[tuple[str, str], tuple[Seen, datetime]] = field(default_factory=dict)

    async def read_file(self, pieces: AsyncIterator[bytes]) -> None:
        """Raises `contract.CannotList`."""
        began, rest = False, b""
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LINE_MAX:
                raise contract.CannotList("a line of Adyen's report is too long")
            for line in lines:
                self._read_line(line, is_header=not began)
                began = True
        if rest:
            self._read_line(rest, is_header=not began)
        elif not began:
            raise contract.CannotList("Adyen's report is empty")

    def _read_line(self, line: bytes, *, is_header: bool) -> None:
        try:
            text = line.decode().removesuffix("\r")
        except UnicodeDecodeError:
            raise contract.CannotList("Adyen's report is not UTF-8") from None
        if is_header:
            self._begin(text)
        elif text:
            self._read(text)

    def _begin(self, header: str) -> None:
        names = [_SPELLINGS.get(name.strip(), name.strip()) for name in _cells(header.removeprefix("\ufeff"))]
        self._columns = {name: place for place, name in enumerate(names)}
        if missing := {*_NEEDED, "Booking Date", "Authorised (PC)"} - self._columns.keys():
            raise contract.CannotList(f"Adyen's report has no column {min(missing)}")

    def _read(self, line: str) -> None:
        cells = _cells(line)
        if len(cells) != len(self._columns):
            raise contract.CannotList("a line of Adyen's report is not like its header")
        entry = {name: cells[place] for name, place in self._columns.items()}
        record = entry["Record Type"]
        if entry["Merchant Account"] != self.merchant_account or record not in (_CHARGES | _REFUNDS):
            return
        seen = _refund(entry) if record in _REFUNDS else _charge(entry)
        key = (entry["Psp Reference"], seen.provider_id)
        if key not in self._found and len(self._found) >= ENTRIES_MAX:
            raise contract.CannotList(f"Adyen's reports have more than {ENTRIES_MAX} payments")
        self._found[key] = _merged(self._found.get(key), seen)

    def seen(self, since: datetime, until: datetime) -> Iterator[Seen]:
        """What was begun in the window; the files tell whole seconds."""
        first = since.replace(microsecond=0)
        return (one for one, _ in self._found.values() if first <= one.created_at <= until)


def _merged(before: tuple[Seen, datetime] | None, now: Seen) -> tuple[Seen, datetime]:
    """How it stands after one step more, and since when: lines need not be in the order of time."""
    if before is None:
        return now, now.created_at
    known, at = before
    begun = min(known.created_at, now.created_at)
    # What is only received or held is no news of what has moved or ended.
    over = known.state in _OVER and now.state not in _OVER
    if over or now.created_at < at:
        return replace(known, created_at=begun), at
    return replace(now, created_at=begun), now.created_at


def _charge(entry: Mapping[str, str]) -> Seen:
    reference, _ = adyen_requests.named_in(entry["Merchant Reference"])
    return Seen(
        kind=Operation.CHARGE,
        reference=reference or None,
        provider_id=entry["Psp Reference"],
        provider_transaction_id=entry["Psp Reference"],
        state=_CHARGES[entry["Record Type"]],
        amount=_amount(entry, "Captured (PC)", "Authorised (PC)", "Received (PC)"),
        currency=_currency(entry),
        refunded=None,
        created_at=_booked_at(entry),
    )


def _refund(entry: Mapping[str, str]) -> Seen:
    return Seen(
        kind=Operation.REFUND,
        reference=entry["Modification Merchant Reference"] or None,
        provider_id=entry["Modification Psp Reference"],
        provider_transaction_id=entry["Psp Reference"],
        state=_REFUNDS[entry["Record Type"]],
        amount=_amount(entry, "Captured (PC)"),
        currency=_currency(entry),
        refunded=None,
        created_at=_booked_at(entry),
    )


def _cells(line: str) -> Sequence[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        raise contract.CannotList("a line of Adyen's report is no CSV") from None


def _amount(entry: Mapping[str, str], *columns: str) -> Decimal:
    """Of the first column that has one; every step is booked out of one column and into the next, so without sign."""
    for text in (entry[column] for column in columns if entry[column]):
        if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,8})?", text):
            raise contract.CannotList("an amount of Adyen's report is none")
        if amount := abs(Decimal(text)):
            return amount
    return Decimal(0)


def _currency(entry: Mapping[str, str]) -> str:
    if not re.fullmatch("[A-Z]{3}", entry["Payment Currency"]):
        raise contract.CannotList("a currency of Adyen's report is none")
    return entry["Payment Currency"]


def _booked_at(entry: Mapping[str, str]) -> datetime:
    try:
        moment = datetime.strptime(entry["Booking Date"], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - its zone stands beside
        return moment.replace(tzinfo=timezone(timedelta(hours=_ZONES[entry["TimeZone"]])))
    except (KeyError, ValueError):
        raise contract.CannotList("a date of Adyen's report cannot be read") from None
