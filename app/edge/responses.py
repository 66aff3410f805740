"""JSON answers."""

from collections.abc import Mapping
from typing import Any

import msgspec
from quart import Response


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    given = None if headers is None else dict(headers)
    return Response(msgspec.json.encode(value), status=status, headers=given, content_type="application/json")


def ok(data: Any, status: int = 200) -> Response:
    """The Open API's envelope around what went well."""
    return json_response({"status": "ok", "message": None, "data": data}, status)
