"""Idempotency claims of requests with large bodies."""

import asyncio
from typing import Any

from quart import request

from app.auth.guards import caller
from app.idempotency import Claim, claim_of

LARGE_BYTES = 1024**2
"""The size from which bodies are hashed in a thread."""


async def claim_by_header(operation: str, body: Any) -> Claim | None:
    """The claim in the present request's `Idempotency-Key`; its repeats have the same `body`. Raises BadRequest."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if (request.content_length or LARGE_BYTES) < LARGE_BYTES:
        return claim_of(caller().key_id, operation, key, body)
    return await asyncio.to_thread(claim_of, caller().key_id, operation, key, body)
