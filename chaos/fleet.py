"""The servers of a storm: one, or several on one database behind a balancer of TCP connections."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random

from sqlalchemy import make_url

from tests.support.processes import ServerProcess
from tests.support.proxy import Proxy, proxied

CHUNK = 65536


class Fleet:
    """Servers that clients reach at one address; those on PostgreSQL reach it through a proxy of their own each."""

    def __init__(self, servers: Sequence[ServerProcess], proxies: Sequence[Proxy], base_url: str) -> None:
        self.servers = servers
        self.proxies = proxies
        self.base_url = base_url

    async def end(self) -> int:
        """End all servers with SIGTERM: the first exit code that is not 0."""
        codes = [await server.end() for server in self.servers]
        return next((code for code in codes if code != 0), 0)


@asynccontextmanager
async def fleet_of(
    count: int, folder: Path, toml: str, environment: Mapping[str, str], database_url: str | None, skew: float = 0.0
) -> AsyncIterator[Fleet]:
    """Start `count` servers with the same settings; one on SQLite when there is no `database_url`.

    The clock of the first is ahead of the last one's by `skew` seconds.
    """
    async with AsyncExitStack() as stack:
        servers, proxies = [], []
        common = {**environment, "PALAVER_SECRET_KEY": secrets.token_hex(32)}
        for number in range(count):
            data_dir = folder / ("data" if count == 1 else f"data{number}")
            (data_dir / "configs").mkdir(parents=True)
            (data_dir / "configs" / "default.toml").write_text('[tools]\nuse = ["fetch_page"]\n')
            (data_dir / "palaver.toml").write_text(toml)
            values = dict(common)
            if database_url is not None:
                url = make_url(database_url)
                proxy = await stack.enter_async_context(proxied(url.host or "127.0.0.1", url.port or 5432))
                proxies.append(proxy)
                through = url.set(host="127.0.0.1", port=proxy.port)
                values["PALAVER_DATABASE_URL"] = through.render_as_string(hide_password=False)
            if count > 1:
                storage = folder / "files"
                storage.mkdir(exist_ok=True)
                values["PALAVER_STORAGE_URL"] = storage.as_uri()
            ahead = skew * (0.5 - number / (count - 1)) if count > 1 else 0.0
            server = ServerProcess(data_dir, values, clock_seconds=ahead)
            stack.push_async_callback(server.close)
            servers.append(server)
        await asyncio.gather(*(server.start() for server in servers))
        base_url = servers[0].base_url
        if count > 1:
            base_url = await stack.enter_async_context(_balanced([server.port for server in servers]))
        yield Fleet(servers, proxies, base_url)


@asynccontextmanager
async def _balanced(ports: Sequence[int]) -> AsyncIterator[str]:
    """The address of a balancer: each connection goes to any server that takes it."""
    random = Random(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            for port in random.sample(ports, len(ports)):
                with suppress(OSError):
                    from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
                    writers.append(to_server)
                    break
            else:
                return
            pumps = [asyncio.create_task(_pump(*pair)) for pair in ((reader, to_server), (from_server, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            for each in writers:
                each.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        # What is on its way in the other direction still arrives.
        await asyncio.sleep(0.05)
