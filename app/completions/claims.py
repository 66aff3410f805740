"""Idempotency claims of requests with files in their bodies."""

import asyncio
from typing import Any

from quart import request

from app.auth.guards import caller
from app.files.forms import FormUpload
from app.idempotency import Claim, claim_of

_LARGE_BYTES = 1024**2


async def claim_by_header(operation: str, body: Any) -> Claim | None:
    """The claim in the present request's `Idempotency-Key`; its repeats have the same `body`. Raises BadRequest."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if (request.content_length or _LARGE_BYTES) < _LARGE_BYTES:
        return claim_of(caller().key_id, operation, key, _plain(body))
    return await asyncio.to_thread(claim_of, caller().key_id, operation, key, _plain(body))


def _plain(value: Any) -> Any:
    """The value, with a form's files as plain lists."""
    if isinstance(value, FormUpload):
        return [value.filename, value.data]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value
