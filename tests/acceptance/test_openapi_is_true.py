"""Promise: the served OpenAPI document is true: generated requests, good and bad, are answered as it says."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.api import openapi
from gateway.api.errors import CODES
from gateway.api.routes import ROUTES
from tests.house import House, Json, Partner, new_key

EXAMPLES = int(os.environ.get("PAYGATE_TEST_EXAMPLES", "8"))
"""Requests per operation and kind; more of them in a long run."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
GOOD, BAD = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
REQUESTS = [
    pytest.param(route.method, route.path, mode, id=f"{mode.value} {route.method} {route.path}")
    for route in ROUTES
    for mode in (GOOD, BAD)
    if mode is GOOD or route.keyed or route.body or route.query  # where nothing is asked nothing can be wrong
]


@pytest.fixture(scope="module")
async def document(shared_house: House) -> Json:
    served: Json = (await shared_house.http.get(f"{shared_house.base_url}/openapi.json")).json()
    return served


@pytest.fixture(scope="module")
async def customer(shared_house: House) -> Partner:
    """A partner with one of everything."""
    return await shared_house.partner(rate_limit=1_000_000)


@pytest.fixture(scope="module")
async def things(shared_house: House, customer: Partner) -> dict[str, str]:
    """Ids of things that are there, by what their address begins with."""
    endpoint = await shared_house.subscribed(customer)
    sale = (await customer.charge(amount="1000.00")).json()
    refund = (await customer.post(f"/v1/transactions/{sale['id']}/refunds", {"amount": "1.00"})).json()
    await shared_house.receiver.event("refund.completed", refund["id"])
    rules = (await customer.post("/v1/routing-rules", {"rules": [{"name": "all", "then": {"adaptive": []}}]})).json()
    payer = (await customer.post("/v1/customers", {"name": "Ada"})).json()
    method = {"type": "card", "tokens": {"stripe": "pm_card_visa"}, "customer": payer["id"]}
    stored = (await customer.post("/v1/payment-methods", method)).json()
    deliveries = (await customer.get(f"/v1/webhook-endpoints/{endpoint['id']}/deliveries")).json()["data"]
    range_of_old = {"since": "2026-01-31T00:00:00Z", "until": "2026-02-01T00:00:00Z"}
    replay = (await customer.post(f"/v1/webhook-endpoints/{endpoint['id']}/replay", range_of_old)).json()
    return {
        "/v1/transactions": sale["id"],
        "/v1/refunds": refund["id"],
        "/v1/payment-methods": stored["id"],
        "/v1/customers": payer["id"],
        "/v1/webhook-endpoints": endpoint["id"],
        "/v1/webhook-deliveries": deliveries[0]["id"],
        "/v1/events": deliveries[0]["event_id"],
        "/v1/webhook-replays": replay["id"],
        "/v1/routing-rules": rules["id"],
    }


def test_every_route_is_described_with_every_error_it_can_answer(document: Json) -> None:
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}
    for route in ROUTES:
        responses = document["paths"][route.path][route.method.lower()]["responses"]
        assert set(responses) == {str(status) for status in route.answers} | {
            str(CODES[code].status) for code in openapi.codes(route)
        }
        for code in openapi.codes(route):
            assert f"`{code}`" in responses[str(CODES[code].status)]["description"]


# Hypothesis takes the house's own jitter, drawn in the other thread meanwhile, for a strategy's.
@pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")
@pytest.mark.parametrize(("method", "path", "mode"), REQUESTS)
async def test_generated_requests_are_answered_as_described(
    shared_house: House,
    customer: Partner,
    document: Json,
    things: dict[str, str],
    method: str,
    path: str,
    mode: GenerationMode,
) -> None:
    schema = schemathesis.openapi.from_dict(document)
    operation = schema[path][method]
    known = next((thing for start, thing in things.items() if path.startswith(start)), None)
    checks = [*CHECKS, negative_data_rejection] if mode is BAD else CHECKS
    headers = {"Authorization": f"Bearer {customer.api_key}"}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), there=st.booleans())
    def ask(case: Any, there: bool) -> None:
        if mode is GOOD:
            if there and known and method != "DELETE" and case.path_parameters:
                case.path_parameters["id"] = known
            if "Idempotency-Key" in (case.headers or {}):
                case.headers["Idempotency-Key"] = new_key()
        answer = case.call(base_url=shared_house.base_url, headers=headers, timeout=60)
        case.validate_response(answer, checks=checks, headers=headers)

    await asyncio.to_thread(ask)


async def test_what_the_description_shows_as_an_example_works(
    shared_house: House, customer: Partner, document: Json
) -> None:
    endpoint = await shared_house.subscribed(customer)
    for path, operation in posts(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in content:
            thing = endpoint if path.startswith("/v1/webhook-endpoints") else (await customer.charge()).json()
            answer = await customer.post(path.replace("{id}", thing["id"]), content["example"])
            assert answer.status_code in (200, 201, 202), (path, answer.text)


def posts(document: Json) -> Iterator[tuple[str, Json]]:
    return ((path, methods["post"]) for path, methods in document["paths"].items() if "post" in methods)


async def test_the_reference_pages_show_every_operation_and_load_nothing(shared_house: House, document: Json) -> None:
    page = (await shared_house.http.get(f"{shared_house.base_url}/docs")).text
    for methods in document["paths"].values():
        for operation in methods.values():
            assert f"id='{operation['operationId']}'" in page
    assert "<script" not in page
    assert not re.search(r"""(src|href)=['"](https?:)?//""", page)
