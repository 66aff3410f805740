"""A server of the S3 protocol: moto's, as a process of its own."""

import asyncio
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

START_SECONDS = 60
BUCKET = "palaver"


@dataclass(frozen=True, slots=True)
class S3:
    """One bucket of a server, looked at past Palaver."""

    endpoint: str
    http: httpx2.AsyncClient

    @property
    def environment(self) -> dict[str, str]:
        """What a Palaver needs to use it, beside PALAVER_STORAGE_URL."""
        return {
            "AWS_ENDPOINT": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
        }

    async def keys(self) -> list[str]:
        """The objects that can be seen."""
        return re.findall("<Key>(.*?)</Key>", (await self._get("list-type=2")).text)

    async def unfinished(self) -> list[str]:
        """The objects of which there are parts only."""
        return re.findall("<Key>(.*?)</Key>", (await self._get("uploads")).text)

    async def parts_of(self, key: str) -> int:
        """How many parts of an unfinished object have come."""
        (upload_id,) = re.findall("<UploadId>(.*?)</UploadId>", (await self._get("uploads")).text)
        answer = await self.http.get(f"/{BUCKET}/{key}?uploadId={upload_id}")
        return answer.text.count("<PartNumber>")

    async def put(self, key: str, content: bytes) -> None:
        (await self.http.put(f"/{BUCKET}/{key}", content=content)).raise_for_status()

    async def _get(self, query: str) -> httpx2.Response:
        answer = await self.http.get(f"/{BUCKET}?{query}")
        answer.raise_for_status()
        return answer


@asynccontextmanager
async def s3_server() -> AsyncIterator[S3]:
    """Run a server with an empty bucket until the block ends."""
    command = ("-m", "moto.server", "-H", "127.0.0.1", "-p", "0")
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=DEVNULL, stderr=PIPE)
    assert process.stderr is not None
    try:
        endpoint = None
        async with asyncio.timeout(START_SECONDS):
            while endpoint is None:
                line = (await process.stderr.readline()).decode()
                assert line, "moto did not start"
                endpoint = re.search(r"http://127\.0\.0\.1:\d+", line)
        drained = asyncio.create_task(process.stderr.read())  # it logs every request
        async with httpx2.AsyncClient(base_url=endpoint[0], trust_env=False, timeout=30) as http:
            (await http.put(f"/{BUCKET}")).raise_for_status()
            yield S3(endpoint[0], http)
    finally:
        process.kill()
        await process.wait()
    await drained
