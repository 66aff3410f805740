"""The routes of an application, as they were declared."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from quart import Quart

from app.edge.operation import Operation, operation_of

CONVERTER: Final = re.compile(r"<(?:(?P<kind>[a-z]+)(?:\([^)]*\))?:)?(?P<name>\w+)>")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Route:
    """One method at one path, and what its view declares; `method` is `WEBSOCKET` for a WebSocket."""

    method: str
    rule: str
    operation: Operation | None

    @property
    def path(self) -> str:
        """The path template: `/sessions/{session_id}`."""
        return CONVERTER.sub(lambda found: f"{{{found['name']}}}", self.rule)


def routes(app: Quart) -> list[Route]:
    """Every route of the app that someone wrote, in the order of the paths.

    OPTIONS, the HEAD that comes with a GET, and static files are the framework's own and are left out; a HEAD that
    has a view to itself is not.
    """
    return sorted(_walk(app), key=lambda route: (route.path, route.method))


def _walk(app: Quart) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static" or rule.endpoint.endswith(".static"):
            continue
        declared = operation_of(app.view_functions[rule.endpoint])
        methods = rule.methods or set()
        if rule.websocket:
            yield Route("WEBSOCKET", rule.rule, declared)
            continue
        for method in _METHODS:
            if method in methods and not (method == "HEAD" and "GET" in methods):
                yield Route(method, rule.rule, declared)
