"""The routes of an application, with the operations that their views declare."""

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
    """One method at one path, and its view's operation; `method` is `WEBSOCKET` for a WebSocket."""

    method: str
    rule: str
    operation: Operation | None

    @property
    def path(self) -> str:
        """The path template: `/sessions/{session_id}`."""
        return CONVERTER.sub(lambda match: f"{{{match['name']}}}", self.rule)


def routes(app: Quart) -> list[Route]:
    """Every route of the application, in the order of the paths.

    Routes that the framework adds are left out: OPTIONS, the HEAD of a GET, and static files.
    """
    return sorted(_walk(app), key=lambda route: (route.path, route.method))


def _walk(app: Quart) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static" or rule.endpoint.endswith(".static"):
            continue
        operation = operation_of(app.view_functions[rule.endpoint])
        methods = rule.methods or set()
        if rule.websocket:
            yield Route("WEBSOCKET", rule.rule, operation)
            continue
        for method in _METHODS:
            if method in methods and not (method == "HEAD" and "GET" in methods):
                yield Route(method, rule.rule, operation)
