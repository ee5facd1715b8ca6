"""Promise: a request's body is read within bounds, refused with a sentence, and no card data gets past."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from starlette.types import Message, Receive

from gateway.api import body, card_data, fields
from gateway.api.errors import Problem

JSON = {b"content-type": b"application/json"}


class Customer(body.RequestModel):
    email: fields.Email | None = None


class Order(body.RequestModel):
    amount: fields.Money
    currency: fields.Currency
    customer: Customer | None = None
    reference: fields.Reference | None = None
    metadata: fields.Metadata | None = None


class Page(body.QueryModel):
    limit: fields.Limit = 20
    status: list[str] = Field(default_factory=list)
    metadata: dict[str, str] = Field(default_factory=dict)
    created_after: fields.Moment | None = None


def arriving(*pieces: bytes) -> Receive:
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}
        for index, piece in enumerate(pieces)
    ]
    left = iter(messages)

    async def receive() -> Message:
        return next(left)

    return receive


def problem_of(act: Callable[[], Any]) -> Problem:
    with pytest.raises(Problem) as caught:
        act()
    return caught.value


async def refused(receive: Receive, headers: dict[bytes, bytes] = JSON) -> Problem:
    with pytest.raises(Problem) as caught:
        await body.read(receive, headers)
    return caught.value


def accept(text: str | bytes) -> Order:
    value = body.parse(text.encode() if isinstance(text, str) else text)
    body.inspect(value)
    return body.validate(Order, value)


# ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_body_in_pieces_is_put_together() -> None:
    assert await body.read(arriving(b'{"a"', b":", b"1}"), JSON) == b'{"a":1}'


async def test_a_body_of_exactly_64_kb_is_read() -> None:
    assert len(await body.read(arriving(b"x" * 65_536), JSON)) == 65_536


@pytest.mark.parametrize("pieces", [[b"x" * 65_537], [b"x" * 40_000, b"x" * 40_000, b"never read"]])
async def test_a_longer_body_is_refused_as_soon_as_it_is_too_long(pieces: list[bytes]) -> None:
    problem = await refused(arriving(*pieces))
    assert (problem.code, problem.status) == ("payload_too_large", 413)
    assert problem.headers["Connection"] == "close"


@pytest.mark.parametrize("length", [b"65537", b"9" * 5_000])
async def test_a_body_announced_as_too_long_is_not_read_at_all(length: bytes) -> None:
    assert (await refused(arriving(), {**JSON, b"content-length": length})).code == "payload_too_large"


async def test_a_body_that_does_not_arrive_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.01)

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    assert (await refused(never)).status == 408


async def test_a_client_that_hangs_up_leaves_no_half_a_body() -> None:
    sent: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    messages = iter(sent)

    async def receive() -> Message:
        return next(messages)

    assert (await refused(receive)).code == "malformed_json"


@pytest.mark.parametrize("kind", [None, b"text/plain", b"application/jsonp", b"application/x-www-form-urlencoded"])
async def test_a_body_of_another_type_is_refused(kind: bytes | None) -> None:
    headers = {b"content-type": kind} if kind else {}
    assert (await refused(arriving(b"{}"), headers)).status == 415


@pytest.mark.parametrize("kind", [b"application/json; charset=utf-8", b"Application/JSON", b"application/json ;x=y"])
async def test_the_json_type_may_carry_parameters(kind: bytes) -> None:
    assert await body.read(arriving(b"{}"), {b"content-type": kind}) == b"{}"


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 1}',
        b'{"b": {"a": 1, "\\u0061": 2}}',
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": ' + b"9" * 10_000 + b"}",
        b"[" * 60_000,
        b'{"a":' * 10_000,
    ],
)
def test_what_is_not_json_is_called_malformed(text: bytes) -> None:
    problem = problem_of(lambda: body.parse(text))
    assert (problem.code, problem.status) == ("malformed_json", 400)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"description": "a\x00b"}, "description"),
        ({"description": "\ud800"}, "description"),
        ({"a": {"b": ["ok", "\x1b[0m"]}}, "a.b.1"),
        ({"a": "x" * 4_097}, "a"),
        ({"a": 1e999}, "a"),
        ({"a": 2**63}, "a"),
        ({"a": -(2**64)}, "a"),
        ({str(number): 1 for number in range(201)}, ""),
    ],
)
def test_well_formed_json_beyond_the_bounds_is_invalid_and_the_field_is_named(value: Any, field: str) -> None:
    problem = problem_of(lambda: body.inspect(value))
    assert problem.code == "invalid_request"
    assert [name for name, _ in problem.errors] == [field]


def test_more_than_twenty_levels_are_refused() -> None:
    value: Any = "deep"
    for _ in range(20):
        value = {"a": value}
    body.inspect(value)
    assert problem_of(lambda: body.inspect({"a": value})).code == "invalid_request"


def test_line_ends_and_tabs_are_text() -> None:
    body.inspect({"description": "first\r\n\tsecond – ✓"})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@given(st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()) | st.text().map(str.encode))
def test_whatever_arrives_the_answer_is_a_value_or_a_problem(raw: bytes) -> None:
    try:
        accept(raw)
    except Problem as problem:
        json.dumps(problem.body("req_1", money=True))


# ── Validation ──────────────────────────────────────────────────────────────────────────────────────────────────────


def errors_of(value: Any) -> dict[str, str]:
    return dict(problem_of(lambda: body.validate(Order, value)).errors)


def test_every_bad_field_is_named() -> None:
    value = {"amount": 19.99, "currency": "usd", "customer": {"email": "x", "age": 3}, "color": "red"}
    assert errors_of(value) == {
        "amount": 'must be a string such as "19.99"',
        "currency": 'must be three upper-case letters (ISO 4217), such as "USD"',
        "customer.email": "must be an e-mail address",
        "customer.age": "is not a field of this request",
        "color": "is not a field of this request",
    }


def test_what_is_missing_is_named() -> None:
    assert errors_of({}) == {"amount": "is required", "currency": "is required"}


@pytest.mark.parametrize("value", [[], "text", 3, None, True])
def test_a_body_that_is_no_object_is_invalid(value: Any) -> None:
    assert errors_of(value) == {"": "must be an object"}


@pytest.mark.parametrize("amount", ["0", "19.99", "0.0001", "500", "999999999999999.9999"])
def test_amounts_are_decimal_strings(amount: str) -> None:
    assert str(accept(json.dumps({"amount": amount, "currency": "USD"})).amount) == amount


@pytest.mark.parametrize(
    "amount",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        "-1",
        "01",
        "1.",
        ".5",
        "1e3",
        "1,00",
        "NaN",
        "Infinity",
        "1.23456",
        "1" * 16,
        "٣",
        1,
        1.5,
        None,
        True,
        [],
        {},
    ],
)
def test_other_spellings_of_an_amount_are_refused(amount: Any) -> None:
    assert list(errors_of({"amount": amount, "currency": "USD"})) == ["amount"]


@pytest.mark.parametrize(
    "metadata",
    [{"a": 1}, {"a": None}, {"": "x"}, {"k" * 41: "x"}, {"k": "x" * 501}, {str(n): "x" for n in range(51)}, [], "a"],
)
def test_metadata_is_at_most_fifty_short_pairs_of_text(metadata: Any) -> None:
    assert list(errors_of({"amount": "1", "currency": "USD", "metadata": metadata})) == ["metadata"]


def test_a_reference_is_a_single_line() -> None:
    assert list(errors_of({"amount": "1", "currency": "USD", "reference": "a\nb"})) == ["reference"]


SECRETS = st.from_regex(r"\A[a-z]{12}\Z").map("canary-".__add__)


@given(SECRETS)
def test_no_answer_repeats_a_value(secret: str) -> None:
    value = {"amount": secret, "currency": secret, "customer": {"email": secret}, "reference": f"{secret}\n"}
    body_text = json.dumps(problem_of(lambda: body.validate(Order, value)).body("req_1", money=True))
    assert secret not in body_text


# ── Queries ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def query(raw: str) -> Page:
    return body.validate(Page, body.parse_query(Page, raw.encode("latin-1")))


def test_a_query_is_read_as_its_fields_types() -> None:
    read = query(
        "limit=5&status=failed&status=completed&metadata[order_id]=7&created_after=2026-01-31T12:00:00%2B02:00"
    )
    assert (read.limit, read.status, read.metadata) == (5, ["failed", "completed"], {"order_id": "7"})
    assert read.created_after is not None
    assert read.created_after.isoformat() == "2026-01-31T10:00:00+00:00"


@pytest.mark.parametrize(
    "raw",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=1&limit=2",
        "metadata[a]=1&metadata[a]=2",
        "other=1",
        "limit=%ff",
        "limit",
        "created_after=yesterday",
        "created_after=1700000000",
        "created_after=2026-02-30T00:00:00Z",
        "=",
        "limit=é",
        "metadata[cvc]=123",
        "status=4242424242424242",
        "&".join(f"status={n}" for n in range(101)),
    ],
)
def test_other_queries_are_refused(raw: str) -> None:
    assert problem_of(lambda: query(raw)).status == 422


# ── Fingerprints ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_spacing_and_order_do_not_change_a_request() -> None:
    one, other = body.parse(b'{"a":1,"b":[1,2]}'), body.parse(b'{ "b": [1, 2], "a": 1 }')
    assert body.fingerprint("POST", "/v1/x", one) == body.fingerprint("POST", "/v1/x", other)


def test_method_path_and_content_do() -> None:
    requests = itertools.product(("POST", "PATCH"), ("/v1/x", "/v1/y"), ({"a": 1}, {"a": "1"}, {"a": [1]}, {}))
    prints = [body.fingerprint(*request) for request in requests]
    assert len(set(prints)) == len(prints)


# ── Card data ───────────────────────────────────────────────────────────────────────────────────────────────────────

CARDS = [
    "4242424242424242",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "30569309025904",
    "6011111111111117",
    "3530111333300000",
    "4222222222222",
    "6304000000000000000",
]


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize(
    "frame", ["{}", "card {} please", "order-{}", "a:{},", "{}.", "№{}", "({})", "12/27 {} 123", "\n{}\n", "order_{}"]
)
def test_a_card_number_is_found_in_any_text(card: str, frame: str) -> None:
    assert card_data.holds_card_number(frame.format(card))


@pytest.mark.parametrize(
    "text",
    [
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "4 2 4 2 4 2 4 2 4 2 4 2 4 2 4 2",
        "3782 822463 10005",
        "4242\u00a04242\u00a04242\u00a04242",
        "12 4242 4242 4242 4242 99",
        "４２４２４２４２４２４２４２４２",
    ],
)
def test_grouping_does_not_hide_a_card_number(text: str) -> None:
    assert card_data.holds_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "4242424242424241",  # no valid Luhn digit
        "x4242424242424242",
        "4242424242424242x",
        "txn_01kb4242424242424242424242",
        "42424242424242424242424",
        "2026-11-20 12:00:00",
        "1700000000000000000",
        "+49 170 1234 5678 90",
        "tok_4242424242424242abc",
        "3c9d4242-4242-4242-4242-aaaaaaaaaaaa",
    ],
)
def test_what_only_looks_like_one_passes(text: str) -> None:
    assert not card_data.holds_card_number(text)


@given(st.integers(1_000_000_000, 4_000_000_000))
def test_times_are_no_card_numbers(second: int) -> None:
    for unit in (1, 10**3, 10**6, 10**9):
        if str(second)[0] == "1":
            assert not card_data.holds_card_number(f"order-{second * unit}")


@given(st.text("0123456789 -x", max_size=4_000))
def test_looking_for_cards_never_fails(text: str) -> None:
    card_data.holds_card_number(text)


@pytest.mark.parametrize("name", ["cvc", "CVV", "cvv2", "card_number", "card-number", "cardNumber", "pan", "track1"])
def test_a_name_that_announces_card_data_is_refused_whatever_it_holds(name: str) -> None:
    problem = problem_of(lambda: body.inspect({"payment_method": {name: None}}))
    assert problem.code == "card_data_refused"
    assert [field for field, _ in problem.errors] == [f"payment_method.{name}"]


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize(
    "wrap", [lambda c: c, int, float, lambda c: [c], lambda c: {c: "x"}, lambda c: {"a": {"b": c}}]
)
def test_a_card_number_is_refused_anywhere_and_repeated_nowhere(card: str, wrap: Callable[[str], Any]) -> None:
    problem = problem_of(lambda: body.inspect({"metadata": wrap(card)}))
    assert problem.code == "card_data_refused"
    assert card not in json.dumps(problem.body("req_1", money=True))


def luhn_complete(digits: str) -> str:
    return next(digits + last for last in "0123456789" if luhn_valid(digits + last))


def luhn_valid(digits: str) -> bool:
    doubled = (sum(divmod(int(digit) * (1 + index % 2), 10)) for index, digit in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0


@given(st.from_regex(r"\A[3-9][0-9]{11,17}\Z").map(luhn_complete), st.sampled_from(["{}", "a {} b", "#{};"]))
def test_every_luhn_valid_number_of_a_card_network_is_found(card: str, frame: str) -> None:
    assert card_data.holds_card_number(frame.format(card))


def test_the_scan_stays_quick_on_hostile_text() -> None:
    hostile: Iterable[str] = ("1 " * 2_048, "1" * 4_096, "1 1 1 1 1 1 1 1 1 1 1 1 x" * 160, "1-" * 2_047 + "x")
    for text in hostile:
        card_data.holds_card_number(text)  # quadratic work would be felt: the suite's time limit is the assertion
