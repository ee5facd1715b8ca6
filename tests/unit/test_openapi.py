"""Promise: /openapi.json tells what the route table does, and the reference pages show it without outside help."""

import json
import re

from gateway.api import openapi, reference
from gateway.api.errors import CODES
from gateway.api.routes import ROUTES

DOCUMENT = openapi.document(ROUTES, "1.0")
TEXT = json.dumps(DOCUMENT)


def test_every_route_is_described() -> None:
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    headers = DOCUMENT["components"]["headers"]
    for kind, name in re.findall(r'"#/components/(\w+)/([^"]+)"', TEXT):
        assert name in {"schemas": schemas, "headers": headers}[kind]


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)


def test_every_route_says_which_errors_it_can_answer() -> None:
    for route in ROUTES:
        assert {"unauthenticated", "rate_limited", "internal_error"} <= set(openapi.codes(route))
        assert set(openapi.codes(route)) <= set(CODES)
        assert ("idempotency_key_missing" in openapi.codes(route)) == route.keyed


def test_amounts_are_described_as_strings() -> None:
    assert '"type": "number"' not in TEXT


def test_unknown_fields_are_described_as_refused() -> None:
    for route in ROUTES:
        if route.body is not None:
            assert DOCUMENT["components"]["schemas"][route.body.__name__]["additionalProperties"] is False


def test_the_reference_loads_nothing_from_elsewhere_and_runs_no_script() -> None:
    for page in (reference.page(DOCUMENT), reference.errors_page()):
        assert "<script" not in page
        assert not re.search(r"""(src|href)=['"](https?:)?//""", page)
        assert "style=" not in page


def test_every_code_has_its_anchor() -> None:
    page = reference.errors_page()
    for code in CODES:
        assert f"id='{code}'" in page


def test_the_reference_names_every_operation() -> None:
    page = reference.page(DOCUMENT)
    for route in ROUTES:
        assert f"id='{openapi.operation_id(route)}'" in page
