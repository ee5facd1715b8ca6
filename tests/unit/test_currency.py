"""Every amount a PSP can represent survives the way there and back; every other is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from providers import contract, currency
from providers.currency import ADYEN, ISO_EXPONENTS, PAYPAL, STRIPE, Spelling


def _codes(listed: str) -> list[str]:
    return listed.split()


ISO_4217 = _codes(
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE"
    " CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ"
    " GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL"
    " LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR"
    " PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY"
    " TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG"
)
SPELLINGS = {
    "stripe": STRIPE,
    "stripe, UGX as listed": currency.stripe(ugx_hundredfold=False),
    "paypal": PAYPAL,
    "adyen": ADYEN,
}

spellings = st.sampled_from(sorted(SPELLINGS)).map(SPELLINGS.__getitem__)
codes = st.sampled_from(ISO_4217)
amounts = st.decimals(min_value=Decimal("0.0001"), max_value=Decimal(10) ** 14, places=4)


@given(spellings, codes, amounts)
def test_an_amount_is_refused_or_comes_back_exactly(spelling: Spelling, code: str, amount: Decimal) -> None:
    try:
        units = spelling.to_integer(amount, code)
    except contract.Unsupported:
        return

    assert spelling.from_integer(units, code) == amount
    assert spelling.from_text(spelling.to_text(amount, code)) == amount


@given(spellings, codes, st.integers(min_value=1, max_value=10**14))
def test_every_multiple_of_the_smallest_amount_is_accepted(spelling: Spelling, code: str, count: int) -> None:
    amount = spelling.smallest(code) * count
    assume(code not in spelling.never and (spelling.only is None or code in spelling.only))

    assert spelling.from_integer(spelling.to_integer(amount, code), code) == amount


@given(spellings, codes, amounts)
def test_nothing_finer_than_the_currencys_own_unit_is_accepted(spelling: Spelling, code: str, amount: Decimal) -> None:
    exponent = ISO_EXPONENTS.get(code, 2)
    assume(amount != round(amount, exponent))

    with pytest.raises(contract.Unsupported):
        spelling.to_integer(amount, code)


@pytest.mark.parametrize(
    ("psp", "code", "amount", "units"),
    [
        ("stripe", "USD", "10.99", 1099),
        ("stripe", "USD", "19.99", 1999),
        ("stripe", "JPY", "500", 500),
        ("stripe", "CLP", "500", 500),
        ("stripe", "MGA", "500", 500),
        ("stripe", "ISK", "5", 500),
        ("stripe", "UGX", "5", 500),
        ("stripe, UGX as listed", "UGX", "5", 5),
        ("stripe", "HUF", "10.50", 1050),
        ("stripe", "TWD", "10.50", 1050),
        ("stripe", "KWD", "5.120", 5120),
        ("adyen", "EUR", "10.00", 1000),
        ("adyen", "CLP", "5", 500),
        ("adyen", "CVE", "5", 5),
        ("adyen", "IDR", "5", 5),
        ("adyen", "ISK", "5", 500),
        ("adyen", "UGX", "5", 5),
        ("adyen", "KWD", "5.123", 5123),
    ],
)
def test_integer_spellings(psp: str, code: str, amount: str, units: int) -> None:
    assert SPELLINGS[psp].to_integer(Decimal(amount), code) == units
    assert SPELLINGS[psp].from_integer(units, code) == Decimal(amount)


@pytest.mark.parametrize(
    ("code", "amount", "text"),
    [
        ("USD", "10", "10.00"),
        ("USD", "10.9000", "10.90"),
        ("JPY", "500.0", "500"),
        ("HUF", "10", "10"),
        ("TWD", "7", "7"),
    ],
)
def test_text_spellings_at_paypal(code: str, amount: str, text: str) -> None:
    assert PAYPAL.to_text(Decimal(amount), code) == text


@pytest.mark.parametrize(
    ("psp", "code", "amount", "field"),
    [
        ("stripe", "ISK", "5.50", "amount"),
        ("stripe", "UGX", "5.50", "amount"),
        ("stripe", "MGA", "5.20", "amount"),
        ("stripe", "KWD", "5.123", "amount"),
        ("stripe", "USD", "10.999", "amount"),
        ("stripe", "IQD", "5", "currency"),
        ("paypal", "HUF", "10.50", "amount"),
        ("paypal", "TWD", "10.50", "amount"),
        ("paypal", "JPY", "10.50", "amount"),
        ("paypal", "KWD", "5", "currency"),
        ("paypal", "ISK", "5", "currency"),
        ("adyen", "CLP", "5.50", "amount"),
        ("adyen", "CVE", "5.50", "amount"),
        ("adyen", "IDR", "5.50", "amount"),
        ("adyen", "MGA", "5", "currency"),
    ],
)
def test_what_a_psp_cannot_represent_is_refused(psp: str, code: str, amount: str, field: str) -> None:
    with pytest.raises(contract.Unsupported) as refused:
        SPELLINGS[psp].to_integer(Decimal(amount), code)

    assert refused.value.field == field


@pytest.mark.parametrize(
    ("psp", "code", "message"),
    [
        ("stripe", "KWD", "must be a positive multiple of 0.010 KWD"),
        ("paypal", "JPY", "must be a positive multiple of 1 JPY"),
        ("paypal", "KWD", "KWD is not available at this provider"),
    ],
)
def test_a_refusal_says_what_would_be_taken(psp: str, code: str, message: str) -> None:
    with pytest.raises(contract.Unsupported) as refused:
        SPELLINGS[psp].to_integer(Decimal("0.5555"), code)

    assert refused.value.message == message


def test_no_amount_is_finer_than_the_currencys_own_unit_however_fine_the_psps_is() -> None:
    assert Spelling(exponents={"USD": 4}).smallest("USD") == Decimal("0.01")


@pytest.mark.parametrize(("hundredfold", "ugx"), [(True, {"UGX": 2}), (False, {})])
def test_stripe_spells_ugandan_shillings_as_its_account_does(hundredfold: bool, ugx: dict[str, int]) -> None:
    spelling = currency.stripe(ugx_hundredfold=hundredfold)
    assert spelling.exponents == {"ISK": 2, "MGA": 0} | ugx
    assert spelling.multiples == dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 10)
    assert spelling.never == {"CLF", "IQD", "LYD", "UYI", "UYW"}


def test_stripe_takes_a_hundredfold_of_ugandan_shillings_unless_told_otherwise() -> None:
    assert currency.stripe() == currency.stripe(ugx_hundredfold=True)


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "sNaN", "Infinity", "-Infinity", "1E+40"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(contract.Unsupported):
        STRIPE.to_integer(Decimal(amount), "USD")


@pytest.mark.parametrize("text", ["", ".", "-1.00", "1e5", "NaN", "1.0.0", "1,00", "١٠", " 1"])
def test_text_that_is_no_plain_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a plain decimal number$"):
        PAYPAL.from_text(text)
