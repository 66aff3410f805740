"""The model server of the abuse, as a process: it echoes, or sends a long reply, and keeps nothing of what it was sent.

`python -m chaos.abuse_model` prints its base URL.
"""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from tests.support.answers import Answer, answer_to, last_user_text, reply
from tests.support.model_server import ModelServer

LONG_REPLY = "[[long]]"
_PIECES = ("word " * 3200,) * 500
"""8,000,000 characters."""


async def _main() -> None:
    async with ModelServer() as server:

        def answer(body: Mapping[str, Any]) -> Answer:
            server.requests.clear()
            return reply(_PIECES) if LONG_REPLY in last_user_text(body) else answer_to(body)

        server.default = answer
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
