"""Files: a large upload and its download, their speed against `cp` on the same disk, and the server's memory."""

import asyncio
import http.client
import json
import os
import socket
import time
from collections.abc import Awaitable
from pathlib import Path

from bench.processes import BenchError, ServerProcess
from bench.scenario import Bench, Figures
from bench.systems import API_KEY, NO_NGINX, nginx, palaver

BOUNDARY = "palaver-bench"
BLOCK = 1024 * 1024


async def files(bench: Bench) -> Figures:
    """A file goes up and comes down again; `cp` makes a copy of it. All of it stays in the page cache, or none does."""
    figures = Figures()
    megabytes = bench.scaled(1024, 4)
    source = bench.folder / "large.bin"
    block = os.urandom(BLOCK)
    with source.open("wb") as file:
        for _ in range(megabytes):
            file.write(block)
    limit = str(megabytes * BLOCK + 1024)
    async with (
        palaver(
            bench.new_folder("files"), bench.model, PALAVER_SERVER=bench.server, PALAVER_MAX_UPLOAD_BYTES=limit
        ) as server,
        nginx(bench.folder, server) as proxy,
    ):
        await asyncio.to_thread(_upload, server, _small(bench.folder))  # what the first one brings with it
        for _ in range(bench.rounds):
            copied = await _cp(source, bench.folder / "copy.bin")
            before = server.cpu_seconds()
            up, up_growth, attachment_id = await _watched(server, asyncio.to_thread(_upload, server, source))
            up_cpu = (server.cpu_seconds() - before) * 1024 / megabytes
            down, down_growth, _ = await _watched(
                server, asyncio.to_thread(_download, server, attachment_id, megabytes * BLOCK)
            )
            figures.add(
                up_to_cp=copied / up,
                down_to_cp=copied / down,
                up_speed=megabytes / up,
                down_speed=megabytes / down,
                cp_speed=megabytes / copied,
                up_cpu=up_cpu,
                up_growth=up_growth / 1e6,
                down_growth=down_growth / 1e6,
            )
            await asyncio.to_thread(_delete, server, attachment_id)
            if proxy is not None:
                await _through(proxy, server, source, copied, figures)
    if proxy is None:
        figures.skipped.update({"up_by_nginx": NO_NGINX, "down_by_nginx": NO_NGINX})
    source.unlink()
    return figures


async def _through(proxy: ServerProcess, server: ServerProcess, source: Path, copied: float, figures: Figures) -> None:
    """The same file up and down by way of the proxy."""
    began = time.perf_counter()
    attachment_id = await asyncio.to_thread(_upload, proxy, source)
    up = time.perf_counter() - began
    began = time.perf_counter()
    await asyncio.to_thread(_download, proxy, attachment_id, source.stat().st_size)
    figures.add(up_by_nginx=copied / up, down_by_nginx=copied / (time.perf_counter() - began))
    await asyncio.to_thread(_delete, server, attachment_id)


async def _watched(server: ServerProcess, act: Awaitable[str]) -> tuple[float, int, str]:
    """Seconds of `act`, by how many bytes the server's memory grew meanwhile at most, and what came of it."""
    before = most = server.rss()
    began = time.perf_counter()
    acting = asyncio.ensure_future(act)
    while not acting.done():
        await asyncio.wait([acting], timeout=0.05)
        most = max(most, server.rss())
    return time.perf_counter() - began, most - before, acting.result()


async def _cp(source: Path, target: Path) -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec("cp", "--reflink=never", str(source), str(target))
    if await process.wait():
        raise BenchError("cp failed")
    seconds = time.perf_counter() - began
    target.unlink()
    return seconds


def _small(folder: Path) -> Path:
    path = folder / "small.bin"
    path.write_bytes(os.urandom(BLOCK))
    return path


def _upload(server: ServerProcess, source: Path) -> str:
    """The id of the attachment that `source` has become. Raises BenchError."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{source.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
    connection.putrequest("POST", "/api/v1/file")
    connection.putheader("X-API-Key", API_KEY)
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(len(head) + source.stat().st_size + len(tail)))
    connection.endheaders(head)
    assert isinstance(connection.sock, socket.socket)
    with source.open("rb") as file:
        connection.sock.sendfile(file)
    connection.send(tail)
    answer = connection.getresponse().read()
    connection.close()
    try:
        return str(json.loads(answer)["data"]["attachment_id"])
    except (KeyError, TypeError, ValueError):
        raise BenchError(f"the upload failed: {answer[:300]!r}") from None


def _download(server: ServerProcess, attachment_id: str, expected: int) -> str:
    connection = _request(server, "GET", f"/api/v1/file?attachment_id={attachment_id}")
    buffer, received = memoryview(bytearray(BLOCK)), 0
    response = connection.getresponse()
    while count := response.readinto(buffer):
        received += count
    connection.close()
    if received != expected:
        raise BenchError(f"the download brought {received} bytes of {expected}")
    return attachment_id


def _delete(server: ServerProcess, attachment_id: str) -> None:
    connection = _request(server, "DELETE", f"/api/v1/files/{attachment_id}")
    connection.getresponse().read()
    connection.close()


def _request(server: ServerProcess, method: str, path: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
    connection.request(method, path, headers={"X-API-Key": API_KEY})
    return connection
