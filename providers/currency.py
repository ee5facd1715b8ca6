"""How each PSP spells an amount: `Decimal` major units to and from its integer or text. Pure.

A PSP's exponent differs from ISO 4217's for some currencies; what cannot be represented is refused, never rounded.
Sources: the PSPs' currency pages, listed in the design notes on PSP contracts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from providers import contract


def _codes(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


ISO_EXPONENTS: Mapping[str, int] = (
    dict.fromkeys(_codes("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"), 0)
    | dict.fromkeys(_codes("BHD IQD JOD KWD LYD OMR TND"), 3)
    | dict.fromkeys(_codes("CLF UYW"), 4)
)
"""Decimals of the currencies that do not have the usual two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """One PSP's way of writing amounts, as deviations from ISO 4217."""

    exponents: Mapping[str, int] = field(default_factory=dict)
    multiples: Mapping[str, int] = field(default_factory=dict)
    """The PSP's integer must be a multiple of this."""
    only: frozenset[str] | None = None
    never: frozenset[str] = frozenset()

    def to_integer(self, amount: Decimal, currency: str) -> int:
        """The PSP's minor units. Raises `contract.Unsupported` for what it cannot represent."""
        self._require(amount, currency)
        return int(amount.scaleb(self.exponent(currency)))

    def from_integer(self, units: int, currency: str) -> Decimal:
        return Decimal(units).scaleb(-self.exponent(currency))

    def to_text(self, amount: Decimal, currency: str) -> str:
        """Major units with exactly the PSP's decimals. Raises `contract.Unsupported` like `to_integer`."""
        return f"{self.from_integer(self.to_integer(amount, currency), currency):f}"

    def from_text(self, text: str) -> Decimal:
        """Raises ValueError for anything but a plain decimal number."""
        if not text.isascii() or not text.replace(".", "", 1).isdigit():
            raise ValueError("not a plain decimal number")
        return Decimal(text)

    def exponent(self, currency: str) -> int:
        return self.exponents.get(currency, ISO_EXPONENTS.get(currency, 2))

    def smallest(self, currency: str) -> Decimal:
        """The smallest amount, and step: never finer than ISO 4217 even where the PSP's integer is (5 ISK = 500)."""
        ours = Decimal(1).scaleb(-ISO_EXPONENTS.get(currency, 2))
        return max(ours, self.from_integer(self.multiples.get(currency, 1), currency))

    def _require(self, amount: Decimal, currency: str) -> None:
        if currency in self.never or (self.only is not None and currency not in self.only):
            raise contract.Unsupported("currency", f"{currency} is not available at this provider")
        try:
            representable = amount > 0 and not amount % self.smallest(currency)
        except InvalidOperation:  # NaN, or more digits than any amount has
            representable = False
        if not representable:
            raise contract.Unsupported("amount", f"must be a positive multiple of {self.smallest(currency)} {currency}")


def stripe(*, ugx_hundredfold: bool = True) -> Spelling:
    """Stripe's documents contradict each other on UGX: zero-decimal, or a hundredfold that always ends in 00."""
    return Spelling(
        exponents={"ISK": 2, "MGA": 0} | ({"UGX": 2} if ugx_hundredfold else {}),
        multiples=dict.fromkeys(_codes("BHD JOD KWD OMR TND"), 10),
        never=_codes("CLF IQD LYD UYI UYW"),
    )


STRIPE = stripe()

PAYPAL = Spelling(
    exponents={"HUF": 0, "TWD": 0},
    only=_codes("AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF ILS INR JPY MXN MYR NOK NZD PHP PLN SEK SGD THB TWD USD"),
)

ADYEN = Spelling(exponents={"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}, never=_codes("CLF MGA UYI UYW"))
