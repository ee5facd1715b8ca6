"""Adyen's Payments accounting report: one line per step of a payment, one file per day. No rules about when."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from providers.simulator.adyen_records import Payment

NAME = "payments_accounting_report_%Y_%m_%d.csv"
COLUMNS = (
    *("Company Account", "Merchant Account", "Psp Reference", "Merchant Reference", "Payment Method", "Booking Date"),
    *("TimeZone", "Main Currency", "Main Amount", "Record Type", "Payment Currency", "Received (PC)"),
    *("Authorized (PC)", "Captured (PC)", "Settlement Currency", "Payable (SC)", "Commission (SC)", "Markup (SC)"),
    *("Scheme Fees (SC)", "Interchange (SC)", "Processing Fee Currency", "Processing Fee (FC)", "User Name"),
    *("Payment Method Variant", "Modification Merchant Reference", "Modification Psp Reference"),
)
_MOVES = {
    "Received": {"Received (PC)": 1},
    "Authorised": {"Received (PC)": -1, "Authorized (PC)": 1},
    "Refused": {"Received (PC)": -1},
    "Cancelled": {"Authorized (PC)": -1},
    "Expired": {"Authorized (PC)": -1},
    "SentForSettle": {"Authorized (PC)": -1, "Captured (PC)": 1},
    "CaptureFailed": {"Captured (PC)": -1},
    "SentForRefund": {"Captured (PC)": -1},
    "RefundFailed": {"Captured (PC)": 1},
}
"""Out of which column a step books the amount, and into which."""
_PLACES = {"JPY": 0, "KRW": 0, "ISK": 2, "BHD": 3, "KWD": 3, "JOD": 3, "OMR": 3, "TND": 3}


@dataclass(slots=True)
class Journal:
    clock: Callable[[], float]
    lines: list[tuple[datetime, dict[str, str]]] = field(default_factory=list)

    def enter(
        self, record: str, payment: Payment, amount: int, *, psp_reference: str = "", reference: str = ""
    ) -> None:
        """`psp_reference` and `reference` are the modification's."""
        at, value = datetime.fromtimestamp(self.clock(), UTC), Decimal(amount).scaleb(-_PLACES.get(payment.currency, 2))
        line = dict.fromkeys(COLUMNS, "") | {
            "Company Account": "SimulatedCompany",
            "Merchant Account": payment.merchant_account,
            "Psp Reference": payment.psp_reference,
            "Merchant Reference": payment.reference,
            "Payment Method": payment.brand,
            "Booking Date": f"{at:%Y-%m-%d %H:%M:%S}",
            "TimeZone": "UTC",
            "Main Currency": payment.currency,
            "Main Amount": str(value),
            "Record Type": record,
            "Payment Currency": payment.currency,
            "Modification Psp Reference": psp_reference,
            "Modification Merchant Reference": reference,
        }
        self.lines.append((at, line | {column: str(sign * value) for column, sign in _MOVES[record].items()}))

    def report(self, merchant_account: str, name: str) -> str | None:
        """As far as its day has come; the next two are empty. None for what is no report or lies further ahead."""
        try:
            day = datetime.strptime(name, NAME).replace(tzinfo=UTC).date()
        except ValueError:
            return None
        if day > (datetime.fromtimestamp(self.clock(), UTC) + timedelta(days=2)).date():
            return None
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            line for at, line in self.lines if at.date() == day and line["Merchant Account"] == merchant_account
        )
        return text.getvalue()
