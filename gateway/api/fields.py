"""The types of fields that requests share, each with its sentence for whoever gets it wrong and its OpenAPI schema."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic.functional_validators import AfterValidator

from providers import PROVIDERS

AMOUNT = r"^(0|[1-9]\d{0,14})(\.\d{1,4})?$"
_AMOUNT = re.compile(AMOUNT.removesuffix("$"), re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EMAIL = re.compile(r"[^\s@<>()\[\],;:\\\"]{1,64}@[^\s@<>()\[\],;:\\\"]{1,190}")
METADATA_MAX, METADATA_KEY_MAX, METADATA_VALUE_MAX = 50, 40, 500
URL_MAX = 2048


def _amount(value: Any) -> Decimal:
    if not isinstance(value, str):
        raise ValueError('must be a string such as "19.99"')  # noqa: TRY004 - pydantic collects ValueError
    if not _AMOUNT.fullmatch(value):
        raise ValueError('must be a decimal number such as "19.99", without sign, exponent or leading zeros')
    return Decimal(value)


def _currency(value: Any) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise ValueError('must be three upper-case letters (ISO 4217), such as "USD"')
    return value


def _moment(value: Any) -> datetime:
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # such as the 30th of February
    raise ValueError('must be a time with its zone (RFC 3339), such as "2026-01-31T12:00:00Z"')


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(inner, str) for inner in value.values()):
        raise ValueError("must be an object whose values are strings")
    if len(value) > METADATA_MAX:
        raise ValueError(f"must hold at most {METADATA_MAX} pairs")
    if any(not 1 <= len(key) <= METADATA_KEY_MAX for key in value):
        raise ValueError(f"must have keys of 1 to {METADATA_KEY_MAX} characters")
    if any(len(inner) > METADATA_VALUE_MAX for inner in value.values()):
        raise ValueError(f"must have values of at most {METADATA_VALUE_MAX} characters")
    return value


def _single_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be a single line of printable characters")
    return value


def _email(value: str) -> str:
    if not _EMAIL.fullmatch(value):
        raise ValueError("must be an e-mail address")
    return value


def _known_providers(tokens: dict[str, str]) -> dict[str, str]:
    unknown = sorted(set(tokens) - set(PROVIDERS))
    if unknown:
        raise ValueError(f"names a provider this gateway does not know; known are {', '.join(PROVIDERS)}")
    return tokens


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.username is None
    except ValueError:
        usable = False
    if not usable or not value.isascii() or " " in value or not value.isprintable():
        raise ValueError('must be an absolute URL such as "https://shop.example/return"')
    return value


Money = Annotated[
    Decimal,
    BeforeValidator(_amount),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": AMOUNT,
            "description": "Major units, at most the currency's decimal places.",
            "examples": ["19.99"],
        }
    ),
]
"""An amount as a string. Its decimals and limits depend on the currency: `amounts.check_amount`."""

Currency = Annotated[
    str,
    BeforeValidator(_currency),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217.", "examples": ["USD"]}),
]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00Z"]}),
]
Metadata = Annotated[
    dict[str, str],
    BeforeValidator(_metadata),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": METADATA_MAX,
            "propertyNames": {"minLength": 1, "maxLength": METADATA_KEY_MAX},
            "additionalProperties": {"type": "string", "maxLength": METADATA_VALUE_MAX},
        }
    ),
]
Line = Annotated[str, AfterValidator(_single_line)]
"""One line of text; give it a length beside."""
Name = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_single_line)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_single_line)]
Description = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
"""Free text; line ends are allowed."""
StatementDescriptor = Annotated[str, StringConstraints(min_length=1, max_length=22, pattern=r"^[A-Za-z0-9 .,&/+_-]+$")]
"""What the payer's bank prints."""
Email = Annotated[
    str,
    StringConstraints(max_length=255),
    AfterValidator(_email),
    WithJsonSchema({"type": "string", "format": "email"}),
]
Phone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9 ()./-]{3,50}$", max_length=50)]
ReturnUrl = Annotated[
    str,
    StringConstraints(max_length=URL_MAX),
    AfterValidator(_web_address),
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": URL_MAX}),
]
Token = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_single_line)]
"""A PSP's token for an instrument."""
Tokens = Annotated[dict[str, Token], Field(max_length=10), AfterValidator(_known_providers)]
"""Provider → the token that is valid there."""
PaymentMethodId = Annotated[str, StringConstraints(pattern=r"^pmt_[0-9a-z]{26}$")]
CustomerId = Annotated[str, StringConstraints(pattern=r"^cus_[0-9a-z]{26}$")]
Brand = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,29}$"), Field(examples=["visa"])]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$"), Field(examples=["DE"])]
"""ISO 3166 alpha-2."""
BusinessUnit = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Limit = Annotated[int, Field(ge=1, le=100, description="At most this many; default 20.")]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=512)]
ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,29}$")]
PaymentMethodType = Literal["card", "bank_transfer", "e_wallet", "crypto"]
