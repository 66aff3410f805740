"""A data folder on a file system that is really full."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.processes import API_KEY, ServerProcess

SIZE = "12m"


@pytest.fixture
def small_folder(data_dir: Path) -> Iterator[Path]:
    """The data folder as a small file system of its own; skips the test where none can be mounted."""
    data_dir.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", data_dir], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a small file system: {getattr(error, 'stderr', error)!r}")
    yield data_dir
    subprocess.run(["umount", "--lazy", data_dir], check=True)


@pytest.fixture
async def process(small_folder: Path) -> AsyncIterator[ServerProcess]:
    started = ServerProcess(small_folder)
    try:
        await started.start()
        yield started
    finally:
        await started.close()


def fill(folder: Path) -> Path:
    """Write a file that takes all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1024**2, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


async def checks_once(http: httpx2.AsyncClient, status: int) -> Any:
    """Ask until /ready answers so: it writes once a second at most."""
    async with asyncio.timeout(30):
        while (answer := await http.get("/ready")).status_code != status:
            await asyncio.sleep(0.2)
    return answer.json()["checks"]


async def test_not_ready_while_the_disk_is_full(process: ServerProcess) -> None:
    headers = {"X-API-Key": API_KEY}
    async with httpx2.AsyncClient(base_url=process.base_url, headers=headers, trust_env=False, timeout=30) as http:
        await checks_once(http, 200)
        filler = fill(process.data_dir)
        checks = await checks_once(http, 503)
        assert checks["storage"] == "failed"
        upload = await http.post("/api/v1/file", files={"file": ("a.bin", bytes(100_000))})
        assert (upload.status_code, upload.json()["code"]) == (503, "storage_unavailable")
        assert (await http.get("/health")).status_code == 200
        filler.unlink()
        assert await checks_once(http, 200) == {"database": "ok", "storage": "ok"}
        assert (await http.post("/api/v1/file", files={"file": ("a.bin", b"room again")})).status_code == 200
