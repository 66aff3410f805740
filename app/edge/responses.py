"""JSON answers."""

from collections.abc import Mapping
from typing import Any

import msgspec
from quart import Response


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(value),
        status=status,
        headers=None if headers is None else dict(headers),
        content_type="application/json",
    )


def ok(data: Any, status: int = 200) -> Response:
    """A successful answer in the Open API's envelope."""
    return json_response({"status": "ok", "message": None, "data": data}, status)
