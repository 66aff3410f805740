"""A SOCKS proxy on loopback that connects every request to one port, whatever host it asks for."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

SUCCEEDED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
REFUSED = b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"


class SocksProxy:
    """The proxy. `hosts` are those that it was asked for, `logins` the names and passwords that it was told, `first`
    the first byte of every connection."""

    def __init__(self, target_port: int, *, refuses: bool = False) -> None:
        self.hosts: list[str] = []
        self.logins: list[tuple[str, str]] = []
        self.first: list[bytes] = []
        self._target_port = target_port
        self._refuses = refuses

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            version = await reader.readexactly(1)
            self.first.append(version)
            if version == b"\x05":
                await self._greet_5(reader, writer)
                self.hosts.append(await _host_5(reader))
                writer.write(REFUSED if self._refuses else SUCCEEDED)
            elif version == b"\x04":
                self.hosts.append(await _host_4(reader))
                writer.write(b"\x00\x5b" + bytes(6) if self._refuses else b"\x00\x5a" + bytes(6))
            if version in (b"\x04", b"\x05") and not self._refuses:
                target = await asyncio.open_connection("127.0.0.1", self._target_port)
                await asyncio.gather(_pipe(reader, target[1]), _pipe(target[0], writer))

    async def _greet_5(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        if 2 in methods:
            writer.write(b"\x05\x02")
            await reader.readexactly(1)
            name, password = [await _counted(reader) for _ in range(2)]
            self.logins.append((name.decode(), password.decode()))
            writer.write(b"\x01\x00")
        else:
            writer.write(b"\x05\x00")


async def _counted(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly((await reader.readexactly(1))[0])


async def _host_5(reader: asyncio.StreamReader) -> str:
    kind = (await reader.readexactly(4))[3]
    if kind == 3:
        host = (await _counted(reader)).decode()
    else:
        host = ".".join(map(str, await reader.readexactly(4 if kind == 1 else 16)))
    await reader.readexactly(2)
    return host


async def _host_4(reader: asyncio.StreamReader) -> str:
    await reader.readexactly(7)
    await reader.readuntil(b"\0")
    return (await reader.readuntil(b"\0"))[:-1].decode()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
