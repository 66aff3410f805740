"""The bus on PostgreSQL: LISTEN and NOTIFY by one connection, which also holds the lock that shows that it lives."""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import make_url

from app.cluster.live_bus import Frame, Receive, Send
from app.cluster.store import TRY_LOCK

TIMEOUT_SECONDS = 5.0
NOTIFY = "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS frames (channel, payload)"
_OF_SQLALCHEMY = ("prepared_statement_cache_size", "prepared_statement_name_func", "async_fallback", "dbapi")


class PostgresTransport:
    """Frames as notifications of the database at `url`, which no pooler in transaction mode may be before.

    `on_lock` is told when the lock of the server `server_id` is held, and when it no longer is.
    """

    name = "PostgreSQL"
    max_frame_bytes = 5_900
    """A payload has at most 7,999 bytes, and base64 makes four bytes of three."""

    def __init__(self, url: str, server_id: str, on_lock: Callable[[bool], None]) -> None:
        self._url = make_url(url)
        self._server_id = server_id
        self._on_lock = on_lock

    @asynccontextmanager
    async def connect(self, channels: Sequence[str], receive: Receive) -> AsyncIterator[Send]:
        connection = await self._connect()
        is_locked = False
        try:
            for channel in channels:
                await connection.add_listener(channel, lambda *arguments: receive(b64decode(arguments[3])))

            async def send(frames: Sequence[Frame]) -> None:
                nonlocal is_locked
                if not is_locked:  # the connection before may have it, until PostgreSQL notices its end
                    is_locked = await connection.fetchval(TRY_LOCK, self._server_id)
                    self._on_lock(is_locked)
                texts = [b64encode(frame).decode() for _, frame in frames]
                await connection.execute(NOTIFY, [channel for channel, _ in frames], texts)

            yield send
        finally:
            self._on_lock(False)
            connection.terminate()

    async def _connect(self) -> Any:
        import asyncpg  # type: ignore[import-not-found, import-untyped, unused-ignore]

        dialect = self._url.get_dialect()()
        _, arguments = dialect.create_connect_args(self._url)
        for name in _OF_SQLALCHEMY:
            arguments.pop(name, None)
        settings = {"application_name": "palaver_bus"}
        own = {"timeout": TIMEOUT_SECONDS, "command_timeout": TIMEOUT_SECONDS, "server_settings": settings}
        return await asyncpg.connect(**{**arguments, **own})
