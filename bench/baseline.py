"""What Palaver's own answers are compared with: the same Quart on the same server, and nothing else.

`python -m bench.baseline PORT hypercorn` answers GET /health, GET /api/v1/configs (with the body of a fresh Palaver:
no key, no log, no metrics, no database) and GET /events/N, a stream of N events that are sent one by one.
"""

import sys
from collections.abc import AsyncIterator
from typing import cast

import msgspec
from quart import Quart, Response

from app.server.addresses import listen, resolve
from app.server.options import ServerName, ServerOptions
from app.server.run import run

EVENT = b'data: {"type":"plain","data":"tok ","streaming":true}\n\n'
CONFIGS = {"configs": [{"id": "default", "name": "default", "path": "default.toml", "is_default": True}]}


def create_app() -> Quart:
    app = Quart("baseline", static_folder=None)

    @app.get("/health")
    async def health() -> Response:
        return Response(b'{"status":"healthy"}', content_type="application/json")

    @app.get("/api/v1/configs")
    async def configs() -> Response:
        body = msgspec.json.encode({"status": "ok", "message": None, "data": CONFIGS})
        return Response(body, content_type="application/json")

    @app.get("/events/<int:count>")
    async def events(count: int) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(count):
                yield EVENT

        return Response(pieces(), content_type="text/event-stream")

    return app


async def _nothing() -> None:
    pass


def main(port: int, server: ServerName) -> None:
    sockets = listen(resolve("127.0.0.1", port))
    run(create_app(), sockets, server, ServerOptions(max_websocket_bytes=1024), on_ready=_nothing, on_stop=_nothing)


if __name__ == "__main__":
    main(int(sys.argv[1]), cast(ServerName, sys.argv[2]))
