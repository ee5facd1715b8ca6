"""Promise: Adyen's report is read whole or not at all, and never from anywhere but Adyen's own address."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from providers import adyen, adyen_reports, http
from providers.contract import CannotList, Operation, Seen, SeenState
from providers.simulator.adyen_reports import COLUMNS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = (NOON - timedelta(hours=12), NOON + timedelta(hours=12))
PAYMENT, MODIFICATION = "P" * 16, "M" * 16


def a_line(record: str, amount: str = "10.00", at: str = "12:00:00", **changes: str) -> dict[str, str]:
    given = {
        "Merchant Account": "Shop",
        "Psp Reference": PAYMENT,
        "Merchant Reference": "at_1-hold",
        "Record Type": record,
        "Booking Date": f"2026-03-01 {at}",
        "TimeZone": "UTC",
        "Payment Currency": "EUR",
        "Captured (PC)": amount,
    }
    return dict.fromkeys(COLUMNS, "") | given | changes


def a_refund(record: str, amount: str = "-4.00", at: str = "12:00:00") -> dict[str, str]:
    return a_line(record, amount, at) | {
        "Modification Psp Reference": MODIFICATION,
        "Modification Merchant Reference": "rf_1",
    }


def a_file(*lines: Mapping[str, str], columns: tuple[str, ...] = COLUMNS) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


async def read(*files: bytes, piece: int = 7) -> list[Seen]:
    reader = adyen_reports.Reader("Shop")
    for body in files:
        await reader.read_file(_pieces(body, piece))
    return list(reader.seen(*DAY))


async def _pieces(body: bytes, length: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), length):
        yield body[at : at + length]


# ── What it says ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_payment_and_its_refund_are_listed_as_they_stand_at_the_end() -> None:
    charge, refund = await read(
        a_file(a_line("Received", ""), a_line("Authorised", ""), a_line("SentForSettle", at="12:00:01")),
        a_file(a_refund("SentForRefund"), a_refund("Refunded", "4.00", at="13:00:00"), a_line("Settled", "-10.00")),
    )
    assert (charge.kind, charge.reference, charge.provider_id) == (Operation.CHARGE, "at_1", PAYMENT)
    assert (charge.state, charge.amount, charge.currency) == (SeenState.MOVED, Decimal(10), "EUR")
    assert charge.created_at == refund.created_at == NOON
    assert (refund.kind, refund.reference, refund.state) == (Operation.REFUND, "rf_1", SeenState.MOVED)
    assert (refund.provider_id, refund.provider_transaction_id) == (MODIFICATION, PAYMENT)
    assert refund.amount == Decimal(4)


@pytest.mark.parametrize(
    ("records", "state"),
    [
        (["Received"], SeenState.OPEN),
        (["Received", "Authorised"], SeenState.AUTHORIZED),
        (["Authorised", "Cancelled"], SeenState.ENDED),
        (["Authorised", "Expired"], SeenState.ENDED),
        (["Received", "Refused"], SeenState.ENDED),
        (["Authorised", "SentForSettle", "CaptureFailed"], SeenState.ENDED),
        (["Authorised", "SentForSettle", "Settled", "Chargeback"], SeenState.MOVED),
    ],
)
async def test_the_last_step_counts_in_whatever_order_the_lines_are(records: list[str], state: SeenState) -> None:
    lines = [a_line(record, at=f"12:00:{second:02}") for second, record in enumerate(records)]
    for order in (lines, lines[::-1]):
        (seen,) = await read(a_file(*order))
        assert (seen.state, seen.created_at) == (state, NOON)


async def test_steps_of_one_second_end_with_the_one_that_moved_or_ended_it() -> None:
    for lines in (["SentForSettle", "Authorised", "Received"], ["Received", "Authorised", "SentForSettle"]):
        (seen,) = await read(a_file(*map(a_line, lines)))
        assert seen.state is SeenState.MOVED


async def test_a_time_is_that_of_its_zone_and_only_the_window_is_listed() -> None:
    at_midnight = {"TimeZone": "CET", "Booking Date": "2026-03-01 13:00:00"}
    (seen,) = await read(a_file(a_line("Authorised", **at_midnight)))
    assert seen.created_at == NOON
    assert await read(a_file(a_line("Authorised", **{"Booking Date": "2026-03-02 00:00:01"}))) == []


async def test_other_accounts_and_what_is_no_payment_are_left_out() -> None:
    assert (
        await read(a_file(a_line("Settled", **{"Merchant Account": "Other"}), a_line("Fee"), a_line("PaidOut"))) == []
    )
    assert await read(a_file()) == []


async def test_both_spellings_of_a_column_are_read() -> None:
    renamed = tuple({"Authorized (PC)": "Authorised (PC)", "Booking Date": "Creation Date"}.get(n, n) for n in COLUMNS)
    line = {**a_line("Authorised", ""), "Authorised (PC)": "7.50", "Creation Date": "2026-03-01 12:00:00"}
    (seen,) = await read(b"\xef\xbb\xbf" + a_file(line, columns=renamed))
    assert (seen.amount, seen.created_at) == (Decimal("7.50"), NOON)


# ── What it must not do ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        {"Captured (PC)": "1e9"},
        {"Captured (PC)": "NaN"},
        {"Captured (PC)": "9" * 16},
        {"Captured (PC)": "1,000.00"},
        {"Payment Currency": "euro"},
        {"Booking Date": "yesterday"},
        {"TimeZone": "Mars"},
    ],
)
async def test_a_line_that_cannot_be_read_makes_the_whole_list_unreadable(change: dict[str, str]) -> None:
    with pytest.raises(CannotList):
        await read(a_file(a_line("Settled"), a_line("Settled", **change)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>maintenance</html>\n",
        a_file(columns=COLUMNS[:-1]),
        a_file(a_line("Settled")) + b"one,cell\n",
        a_file(a_line("Settled")).rstrip()[:-30],
        a_file(a_line("Settled")) + b'"never ended\n',
        a_file(a_line("Settled")) + b"\xff\xfe\n",
        a_file(a_line("Settled")) + b"x" * (adyen_reports.LINE_MAX + 1),
    ],
)
@pytest.mark.parametrize("piece", [5, 1_000_000])
async def test_a_file_that_is_no_report_is_no_empty_list(body: bytes, piece: int) -> None:
    with pytest.raises(CannotList):
        await read(body, piece=piece)


async def test_a_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adyen_reports, "ENTRIES_MAX", 2)
    lines = [a_line("Settled", **{"Psp Reference": f"{number:016}"}) for number in range(3)]
    assert len(await read(a_file(*lines[:2], *lines[:2]))) == 2
    with pytest.raises(CannotList, match="more than 2"):
        await read(a_file(*lines))


# ── Which files, and from where ─────────────────────────────────────────────────────────────────────────────────────


def test_a_window_is_read_wherever_the_account_keeps_its_clock() -> None:
    first, last = datetime(2026, 3, 1, 6, tzinfo=UTC), datetime(2026, 3, 2, 6, tzinfo=UTC)
    assert adyen_reports.days(first, last) == [
        (date(2026, 2, 28), False),
        (date(2026, 3, 1), True),
        (date(2026, 3, 2), True),
    ]
    assert adyen_reports.days(last, last + timedelta(hours=16))[-1] == (date(2026, 3, 3), True)


class Far(httpx.AsyncBaseTransport):
    """Answers every request alike, and remembers it."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.status, self.body, self.headers, self.asked = status, body, headers, list[httpx.Request]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(self.status, headers=self.headers, stream=httpx.ByteStream(self.body), request=request)


async def listed(far: Far, *, livemode: bool = False) -> list[Seen]:
    credentials: dict[str, object] = {"api_key": "AQE_x", "report_api_key": "AQE_reports", "merchant_account": "Shop"}
    credentials |= {"live_prefix": "prefix"}
    async with http.Doorway(transport=far) as doorway:
        account = adyen.Adyen.open(credentials, base_url=None, livemode=livemode, doorway=doorway)
        return [seen async for seen in account.payments(since=DAY[0], until=DAY[0] + timedelta(hours=1))]


@pytest.mark.parametrize(("livemode", "host"), [(False, "ca-test.adyen.com"), (True, "ca-live.adyen.com")])
async def test_reports_are_fetched_from_adyen_alone_under_their_own_key(livemode: bool, host: str) -> None:
    far = Far(200, a_file())
    assert await listed(far, livemode=livemode) == []
    assert [(str(one.url), one.headers["X-API-Key"]) for one in far.asked] == [
        (f"https://{host}/reports/download/MerchantAccount/Shop/payments_accounting_report_{day}.csv", "AQE_reports")
        for day in ("2026_02_28", "2026_03_01")
    ]


@pytest.mark.parametrize("status", [204, 302, 401, 403, 404, 500])
async def test_whatever_is_no_report_is_not_followed_and_no_empty_list(status: int) -> None:
    far = Far(status, location="http://169.254.169.254/latest/meta-data")
    with pytest.raises(CannotList):
        await listed(far)
    assert {one.url.host for one in far.asked} == {"ca-test.adyen.com"}


async def test_an_endless_report_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adyen, "REPORT_BYTES_MAX", 1_000)
    with pytest.raises(CannotList, match="more than 1000 bytes"):
        await listed(Far(200, a_file(*[a_line("Settled")] * 20)))


async def test_without_a_key_for_reports_nothing_is_asked() -> None:
    far = Far(200)
    async with http.Doorway(transport=far) as doorway:
        credentials = {"api_key": "AQE_x", "merchant_account": "Shop"}
        account = adyen.Adyen.open(credentials, base_url=None, livemode=False, doorway=doorway)
        with pytest.raises(CannotList, match="report_api_key"):
            _ = [seen async for seen in account.payments(since=DAY[0], until=DAY[1])]
    assert far.asked == []
