"""The reference pages at /docs: plain HTML from the OpenAPI document. No script, nothing loaded from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from gateway.api.errors import CODES, Code

CSP = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_CODE = re.compile(r"`([^`]+)`")

Document = Mapping[str, Any]


def page(document: Document) -> str:
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    tags = [tag["name"] for tag in document["tags"]]
    contents = "".join(_contents(tag, operations) for tag in tags)
    sections = "".join(_section(tag, operations) for tag in tags)
    shapes = "".join(_shape(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
    body = (
        f"<nav>{contents}<h2>More</h2><ul><li><a href='#shapes'>Objects</a></li>"
        "<li><a href='/docs/errors'>Errors</a></li><li><a href='/openapi.json'>openapi.json</a></li></ul></nav>"
        f"<main><h1>{_text(document['info']['title'])}</h1>{_paragraphs(document['info']['description'])}"
        f"{sections}<h2 id='shapes'>Objects</h2>{shapes}</main>"
    )
    return _html(f"{document['info']['title']} reference", body)


def errors_page() -> str:
    rows = "".join(_error(name, code) for name, code in CODES.items())
    intro = (
        "<p>Every error is a problem document (RFC 9457) of type <code>application/problem+json</code>. "
        "<code>code</code> is stable; titles may change. <em>Repeat</em>: the same request under the same "
        "Idempotency-Key may be sent again as it is.</p>"
    )
    table = (
        "<table><thead><tr><th>Code</th><th>Status</th><th>Meaning</th><th>Repeat</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
    return _html("Errors", f"<nav><a href='/docs'>Reference</a></nav><main><h1>Errors</h1>{intro}{table}</main>")


def _contents(tag: str, operations: Iterable[tuple[str, str, Document]]) -> str:
    items = "".join(
        f"<li><a href='#{_text(operation['operationId'])}'>{_text(operation['summary'])}</a></li>"
        for _, _, operation in operations
        if tag in operation["tags"]
    )
    return f"<h2>{_text(tag)}</h2><ul>{items}</ul>"


def _section(tag: str, operations: Iterable[tuple[str, str, Document]]) -> str:
    found = [_operation(*operation) for operation in operations if tag in operation[2]["tags"]]
    return f"<h2>{_text(tag)}</h2>{''.join(found)}"


def _operation(path: str, method: str, operation: Document) -> str:
    return (
        f"<section id='{_text(operation['operationId'])}'><h3>{_text(operation['summary'])}</h3>"
        f"<p class='path'><b>{method.upper()}</b> <code>{_text(path)}</code></p>"
        f"{_paragraphs(operation.get('description', ''))}{_parameters(operation['parameters'])}"
        f"{_request(operation.get('requestBody'))}{_responses(operation['responses'])}</section>"
    )


def _parameters(parameters: Iterable[Document]) -> str:
    rows = "".join(
        f"<tr><td><code>{_text(parameter['name'])}</code></td><td>{_text(parameter['in'])}</td>"
        f"<td>{_type(parameter['schema'])}</td><td>{_inline(parameter.get('description', ''))}</td></tr>"
        for parameter in parameters
    )
    return f"<h4>Parameters</h4><table><tbody>{rows}</tbody></table>" if rows else ""


def _request(request: Document | None) -> str:
    if request is None:
        return ""
    content = request["content"]["application/json"]
    example = f"<pre>{_text(json.dumps(content['example'], indent=2))}</pre>" if "example" in content else ""
    return f"<h4>Body</h4><p>{_type(content['schema'])}</p>{example}"


def _responses(responses: Mapping[str, Document]) -> str:
    rows = ""
    for status, response in responses.items():
        shapes = ", ".join(_type(content["schema"]) for content in response.get("content", {}).values())
        rows += f"<tr><td>{status}</td><td>{_inline(response['description'])}</td><td>{shapes}</td></tr>"
    return f"<h4>Answers</h4><table><tbody>{rows}</tbody></table>"


def _shape(name: str, schema: Document) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{_text(field)}</code>{'' if field in required else ' <i>optional</i>'}</td>"
        f"<td>{_type(kind)}</td><td>{_inline(kind.get('description', ''))}</td></tr>"
        for field, kind in schema.get("properties", {}).items()
    )
    return f"<section id='{_text(name)}'><h3>{_text(name)}</h3><table><tbody>{rows}</tbody></table></section>"


def _type(schema: Document) -> str:
    if "$ref" in schema:
        name = _text(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(_type(kind) for kind in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{_text(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{_text(str(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return _text(str(schema.get("type", "any value")))


def _error(name: str, code: Code) -> str:
    return (
        f"<tr id='{name}'><td><code>{name}</code></td><td>{code.status}</td>"
        f"<td>{_text(code.title)}. {_inline(code.meaning)}</td><td>{'yes' if code.safe_to_retry else 'no'}</td></tr>"
    )


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", _text(text))


def _text(text: str) -> str:
    return escape(text, quote=True)


def _html(title: str, body: str) -> str:
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{_text(title)}</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<link rel='stylesheet' href='/docs/style.css'></head><body>{body}</body></html>"
    )


STYLE = """\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { display: grid; grid-template-columns: minmax(12rem, 16rem) minmax(0, 60rem); gap: 2rem; margin: 0 auto;
  max-width: 80rem; padding: 1rem; }
nav { position: sticky; top: 1rem; align-self: start; max-height: 95vh; overflow: auto; font-size: .875rem; }
nav h2 { font-size: 1rem; margin: 1rem 0 .25rem; }
nav ul { list-style: none; margin: 0; padding: 0; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
td, th { border-bottom: 1px solid #8884; padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
td:first-child { white-space: nowrap; }
code, pre { font: .85rem/1.4 ui-monospace, monospace; }
pre { background: #8881; padding: .75rem; overflow: auto; }
section { border-top: 1px solid #8884; margin-top: 1.5rem; }
:target { background: #fd02; }
.path b { background: #0693; border-radius: .2rem; padding: 0 .4rem; }
@media (max-width: 50rem) { body { display: block; } nav { position: static; } }
"""
