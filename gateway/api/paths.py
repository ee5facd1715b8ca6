"""What a route of the partner API is, and how a path finds its routes. The table itself is `routes.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.api.body import QueryModel, RequestModel
from gateway.api.calls import Answer, Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`answers` maps a status to the TypedDict of its body (None: no body)."""

    method: str
    path: str
    endpoint: Callable[[Call], Awaitable[Answer]]
    summary: str
    tag: str
    answers: Mapping[int, Any]
    scope: str | None = None
    """What the key must be allowed; None: any key."""
    body: type[RequestModel] | None = None
    """A POST, PUT or PATCH without one takes no body or `{}`."""
    query: type[QueryModel] | None = None
    keyed: bool = False
    """An Idempotency-Key is required."""
    money: bool = False
    """Problems say `money_moved` and `safe_to_retry`."""
    errors: tuple[str, ...] = ()
    """Codes beyond those every route, every body, every keyed route and every path with an id can answer."""
    description: str = ""
    example: Mapping[str, object] | None = None
    """A body to try."""


@dataclass(frozen=True, slots=True)
class Match:
    """Where a path leads: the routes there by method, and the values of the path's variables."""

    template: str
    methods: Mapping[str, Route]
    values: Mapping[str, str]

    @property
    def allow(self) -> str:
        methods = set(self.methods) | {"OPTIONS"} | ({"HEAD"} if "GET" in self.methods else set())
        return ", ".join(sorted(methods))


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    template: str = ""
    names: tuple[str, ...] = ()
    methods: dict[str, Route] = field(default_factory=dict)


class Table:
    """Finds a path segment by segment: the cost does not grow with the number of routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def find(self, path: str) -> Match | None:
        node, values = self._root, []
        for segment in path[1:].split("/"):
            child = node.children.get(segment)
            if child is None:
                child = node.variable
                if child is None or not segment:
                    return None
                values.append(segment)
            node = child
        if not node.methods:
            return None
        return Match(node.template, node.methods, dict(zip(node.names, values, strict=True)))

    def _add(self, route: Route) -> None:
        node, names = self._root, []
        for segment in route.path[1:].split("/"):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.variable = node = node.variable or _Node()
            else:
                node = node.children.setdefault(segment, _Node())
        assert route.method not in node.methods, f"{route.method} {route.path} stands twice in the table"
        node.template, node.names = route.path, tuple(names)
        node.methods[route.method] = route
