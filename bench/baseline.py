"""What Palaver's own answers are compared with: the same Quart on the same Hypercorn, and nothing else.

`python -m bench.baseline PORT` answers GET /health and GET /api/v1/configs, the latter with Palaver's own body for a
fresh data folder: no key, no log, no metrics, no database.
"""

import sys

import msgspec
from quart import Quart, Response

from app.server import listen, resolve, run

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

    return app


async def _nothing() -> None:
    pass


def main(port: int) -> None:
    sockets = listen(resolve("127.0.0.1", port))
    run(create_app(), sockets, max_websocket_bytes=1024, on_ready=_nothing, on_stop=_nothing)


if __name__ == "__main__":
    main(int(sys.argv[1]))
