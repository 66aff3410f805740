"""All MCP servers: those of the settings, and those that were added over HTTP."""

import asyncio
from collections.abc import Container, Mapping, Sequence
from importlib import import_module
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.background import Background
from app.clock import utc_now
from app.crypto import SecretBox
from app.database.engine import Database
from app.errors import Conflict, NotFound, Unavailable
from app.files.service import FileService
from app.tools.mcp import store
from app.tools.mcp.models import ServerReport, ServerSpec, Transport
from app.tools.mcp.supervisor import Supervisor
from app.tools.models import Tool

SYNC_SECONDS = 15.0
RETRY_SECONDS = 5.0
SECRET_FIELDS = frozenset(("url", "headers"))


class McpServers:
    """The servers and their tools. Nothing of it waits for a server but `test`.

    Servers of the settings come first: one of the same name in the database stands back. Several Palavers on one
    database see each other's changes within SYNC_SECONDS.
    """

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        files: FileService,
        configured: Sequence[ServerSpec],
        *,
        allow_private: bool = False,
        reserved: Container[str] = (),
    ) -> None:
        """`allow_private` is for the servers of the database; `reserved` are names that no tool may have."""
        self.allow_private = allow_private
        self._database = database
        self._secrets = secrets
        self._files = files
        self._configured = {spec.name: spec for spec in configured}
        self._reserved = reserved
        self._supervisors: dict[str, Supervisor] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._syncing = asyncio.Lock()
        self._sdk: asyncio.Task[Any] | None = None
        self.background = Background(self.sync, "mcp_servers_unknown", SYNC_SECONDS, RETRY_SECONDS)

    @property
    def tools(self) -> Sequence[Tool]:
        return [tool for supervisor in self._supervisors.values() for tool in supervisor.tools]

    async def reports(self) -> list[ServerReport]:
        """Report on all servers: those of the settings first, the others by name. Raises Unavailable."""
        await self.sync()
        return [self._report(supervisor) for supervisor in self._supervisors.values()]

    async def get(self, name: str) -> ServerReport:
        """Raises NotFound, Unavailable."""
        return self._report(await self._find(name))

    async def put(self, spec: ServerSpec) -> ServerReport:
        """Add a server, or replace all of it. Raises Conflict for one of the settings, BadRequest, Unavailable."""
        self._check_not_configured(spec.name)
        fields = {field: value for field, value in msgspec.to_builtins(spec).items() if field != "name"}
        secrets = self._secrets.encrypt(msgspec.json.encode({field: fields.pop(field) for field in SECRET_FIELDS}))

        def put(connection: Connection) -> None:
            store.put_server(connection, spec.name, fields, secrets, utc_now())

        await self._database.write(put)
        return await self.get(spec.name)

    async def delete(self, name: str) -> None:
        """Raises NotFound, Conflict for a server of the settings, Unavailable."""
        self._check_not_configured(name)
        await self._find(name)
        await self._database.write(lambda connection: store.delete_server(connection, name))
        await self.sync()

    async def test(self, name: str) -> ServerReport:
        """Ask a server for its tools now. Raises NotFound, Unavailable."""
        supervisor = await self._find(name)
        await supervisor.check()
        return self._report(supervisor)

    async def sync(self) -> None:
        """Bring the connections in line with settings and database. Raises Unavailable."""
        async with self._syncing:
            rows = await self._database.read(store.list_servers)
            entries: dict[str, tuple[ServerSpec, str | None]] = {
                name: (spec, None) for name, spec in self._configured.items()
            }
            for name, config, secrets in rows:
                entries.setdefault(name, self._read(name, config, secrets))
            previous = self._supervisors
            self._supervisors = {
                name: previous[name]
                if name in previous and previous[name].spec == spec
                else Supervisor(spec, self._files, self._load_sdk, self._reserved, problem)
                for name, (spec, problem) in entries.items()
            }
            for name, supervisor in previous.items():
                if self._supervisors.get(name) is not supervisor:
                    self._end(supervisor)

    async def close(self) -> None:
        """End all connections and processes, within the time that a supervisor takes for it."""
        async with self._syncing:
            for supervisor in self._supervisors.values():
                self._end(supervisor)
            self._supervisors = {}
        if self._ending:
            await asyncio.wait(self._ending)

    async def settle(self) -> None:
        """Wait until each server has answered or failed once."""
        await self.sync()
        await asyncio.gather(*(supervisor.check() for supervisor in self._supervisors.values()))

    def _end(self, supervisor: Supervisor) -> None:
        task = asyncio.create_task(supervisor.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _load_sdk(self) -> None:
        """Import the SDK, in a thread: it takes seconds."""
        if self._sdk is None:
            self._sdk = asyncio.create_task(asyncio.to_thread(import_module, "app.tools.mcp.connection"))
        await asyncio.shield(self._sdk)

    async def _find(self, name: str) -> Supervisor:
        await self.sync()
        if name not in self._supervisors:
            raise NotFound("MCP server not found", code="mcp_server_not_found")
        return self._supervisors[name]

    def _check_not_configured(self, name: str) -> None:
        if name in self._configured:
            raise Conflict("The MCP server is one of the settings", code="mcp_server_configured")

    def _read(self, name: str, config: Mapping[str, Any], secrets: bytes) -> tuple[ServerSpec, str | None]:
        """Return the server of a row, and what is wrong with it."""
        try:
            fields = msgspec.json.decode(self._secrets.decrypt(secrets))
        except Unavailable as error:
            return ServerSpec(name=name, transport=Transport.STREAMABLE_HTTP), error.message
        return msgspec.convert(
            {**config, **fields, "name": name, "allow_private": self.allow_private}, ServerSpec
        ), None

    def _report(self, supervisor: Supervisor) -> ServerReport:
        spec = supervisor.spec
        return ServerReport(
            name=spec.name,
            transport=spec.transport,
            source="settings" if spec.name in self._configured else "api",
            url=spec.shown_url,
            state=supervisor.state,
            error=supervisor.error,
            tools=[tool.spec.name for tool in supervisor.tools],
        )
