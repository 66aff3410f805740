"""A real server on a real socket, in the test's own event loop, on a data folder made by the migrations."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quart import Quart

from app.bootstrap import create_app
from app.core import Core, database_url_of, open_core
from app.database import migrations
from app.server.options import ServerOptions
from app.server.run import serve_of
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; `core` reaches its data folder from beside it, as the command line would."""

    app: Quart
    base_url: str
    settings: Settings
    core: Core

    @property
    def port(self) -> int:
        return int(self.base_url.rsplit(":", 1)[1])

    async def new_key(self, *scopes: str, username: str | None = None, **options: Any) -> str:
        """A key's text; without scopes, the seed's."""
        chosen = scopes or ("chat", "config", "file", "im")
        _, text = await self.core.keys.create(name="test", scopes=chosen, username=username, **options)
        return text


def make_settings(data_dir: Path, **values: Any) -> Settings:
    """Settings for a test: no environment, no network."""
    return Settings(data_dir=data_dir, **{"log_level": "warning", **values})


def migrated_template(folder: Path) -> Path:
    """A database file made by the migrations, to be copied into data folders."""
    settings = make_settings(folder)
    migrations.upgrade(database_url_of(settings))
    return folder / "palaver.db"


@asynccontextmanager
async def running(settings: Settings, template: Path | None = None) -> AsyncIterator[Server]:
    """Serve `settings` until the block ends; the data folder may hold what an earlier server left."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = settings.data_dir / "palaver.db"
    if template is not None and not database.exists():
        shutil.copy(template, database)
    app = create_app(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    stopping = asyncio.Event()
    options = ServerOptions(
        max_websocket_bytes=settings.max_body_bytes, cleartext_http2=settings.cleartext_http2, graceful=1
    )
    serving = asyncio.create_task(serve_of(settings.server)(app, [listener], options, stopping.wait))
    core = open_core(settings)
    try:
        yield Server(app, f"http://127.0.0.1:{port}", settings, core)
    finally:
        stopping.set()
        await serving
        await core.database.close()
