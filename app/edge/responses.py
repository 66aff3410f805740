"""JSON answers."""

from collections.abc import Mapping
from typing import Any

import msgspec
from quart import Response


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return encoded_json(msgspec.json.encode(value), status, headers)


def encoded_json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of JSON, which no browser is to take for something else."""
    return Response(
        body,
        status=status,
        headers={"X-Content-Type-Options": "nosniff", **(headers or {})},
        content_type="application/json",
    )


def ok(data: Any, status: int = 200, message: str | None = None) -> Response:
    """A successful answer in the Open API's envelope."""
    return json_response({"status": "ok", "message": message, "data": data}, status)
