"""The published documentation, made of the routes that an application has."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Final

import msgspec
from quart import Quart

from app import __version__
from app.edge.openapi import build_document
from app.edge.openapi_3_0 import as_openapi_3_0
from app.ops.assets import File
from app.ops.schemas import Info

SWAGGER_UI: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
OWN_ASSETS: Final = ("docs.js", "docs.css")


@dataclass(frozen=True, slots=True)
class Published:
    """The documentation as it is served: the document in two versions, the answer of `/`, and the page at `/docs`."""

    document: File
    document_3_0: File
    info: Info
    page: bytes
    assets: Mapping[str, File]


class Publisher:
    """Makes the documentation when it is first asked for, once, in a thread: the start need not wait for it.

    See `app.edge.openapi.build_document` for `extra_schemas`.
    """

    def __init__(self, app: Quart, extra_schemas: Mapping[str, Any] | None = None) -> None:
        self._publish = partial(_publish, app, extra_schemas)
        self._lock = asyncio.Lock()
        self._published: Published | None = None

    async def published(self) -> Published:
        async with self._lock:
            if self._published is None:
                self._published = await asyncio.to_thread(self._publish)
            return self._published


def _publish(app: Quart, extra_schemas: Mapping[str, Any] | None) -> Published:
    document = build_document(app, extra_schemas)
    swagger_ui, static = files("flask_swagger_ui") / "dist", files("app") / "static"
    assets = {name: (swagger_ui / name).read_bytes() for name in SWAGGER_UI}
    assets |= {name: (static / name).read_bytes() for name in OWN_ASSETS}
    # Browsers keep the assets for a year: changed ones need another address.
    version = hashlib.sha256(b"".join(assets.values())).hexdigest()[:16]
    return Published(
        document=File.of(msgspec.json.encode(document)),
        document_3_0=File.of(msgspec.json.encode(as_openapi_3_0(document))),
        info=_info(document),
        page=(static / "docs.html").read_bytes().replace(b"@VERSION@", version.encode()),
        assets={name: File.of(content) for name, content in assets.items()},
    )


def _info(document: Mapping[str, Any]) -> Info:
    return Info(
        name="Palaver",
        message="Palaver Open API",
        version=__version__,
        description="A self-hosted Open API for chat bots: one dependable door to LLM conversations.",
        authentication="Bearer Token (API Key), or the same key in the header X-API-Key",
        endpoints={path: "; ".join(_summaries(item)) for path, item in document["paths"].items()},
    )


def _summaries(item: Mapping[str, Any]) -> list[str]:
    """Each method of a path, with its summary; a WebSocket's summary is that of its path."""
    return [
        f"{'WebSocket' if method == 'x-websocket' else method.upper()} - "
        f"{operation.get('summary', item.get('summary'))}"
        for method, operation in item.items()
        if isinstance(operation, dict)
    ]
