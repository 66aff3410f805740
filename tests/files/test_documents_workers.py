"""Worker processes: they hold nobody up, they keep to their limits, and they end with what they work for."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import msgspec
import psutil
import pytest

from app.errors import Unavailable
from app.files.extraction.models import DocumentLimits, ExtractionRequest, Reason
from app.files.extraction.reader import DocumentReader
from app.files.refusals import DocumentRefused
from app.workers import pool
from app.workers.framing import END, framed
from tests.files import hostile

SHEET = hostile.workbook(hostile.rows(20_000))
MAX_GAP_SECONDS = 0.05
OTHERS: frozenset[int] = frozenset()
"""The workers of a server that other tests share."""


@pytest.fixture(autouse=True)
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    pids = frozenset(worker.pid for worker in workers_of(os.getpid()))
    monkeypatch.setattr(f"{__name__}.OTHERS", pids)


@asynccontextmanager
async def a_reader(workers: int = 1, **limits: float) -> AsyncIterator[DocumentReader]:
    reader = DocumentReader(DocumentLimits(**limits), workers=workers)  # type: ignore[arg-type]
    try:
        yield reader
    finally:
        await reader.close()
    assert workers_of(os.getpid()) == []


def workers_of(pid: int) -> list[psutil.Process]:
    workers = []
    for child in psutil.Process(pid).children():
        try:
            if child.pid not in OTHERS and "app.files.extraction.worker" in child.cmdline():
                workers.append(child)
        except psutil.NoSuchProcess:
            continue
    return workers


async def until_busy() -> psutil.Process:
    """The worker, once it has begun to compute: it has used more CPU time than its start takes."""
    while True:
        for worker in workers_of(os.getpid()):
            times = worker.cpu_times()
            if times.user + times.system > 0.4:
                return worker
        await asyncio.sleep(0.01)


@contextmanager
def loop_lag() -> Iterator[list[float]]:
    """The gaps between turns of the event loop that want to be 2 ms apart, as a stream's tokens would be."""
    gaps: list[float] = []

    async def probe() -> None:
        previous = time.perf_counter()
        while True:
            await asyncio.sleep(0.002)
            now = time.perf_counter()
            gaps.append(now - previous)
            previous = now

    task = asyncio.get_running_loop().create_task(probe())
    try:
        yield gaps
    finally:
        task.cancel()


@pytest.mark.xdist_group("timing")
async def test_streams_do_not_notice_that_a_sheet_of_20000_rows_is_read() -> None:
    # A busy machine makes a gap now and then; reading that kept the event loop would make one each time.
    longest = []
    for _ in range(3):
        async with a_reader(max_text_chars=10_000_000) as reader:
            with loop_lag() as gaps:
                text = await reader.read(SHEET, "large.xlsx")
        assert "row 19999 column 0" in text.text
        assert len(gaps) > 50
        longest.append(max(gaps))
        if longest[-1] < MAX_GAP_SECONDS:
            return
    raise AssertionError(f"the event loop stood still for {longest} seconds")


async def test_reading_that_takes_too_long_is_ended_and_refused() -> None:
    async with a_reader(max_text_chars=10_000_000, timeout_seconds=0.3) as reader:
        await reader.read(b"warm", "a.txt")
        with pytest.raises(DocumentRefused, match=r"longer than 0\.3 seconds") as caught:
            await reader.read(SHEET, "slow.xlsx")
        assert caught.value.reason is Reason.TOO_SLOW
        assert (await reader.read(b"next", "a.txt")).text == "next"


def test_a_worker_ends_itself_when_its_cpu_time_is_used_up() -> None:
    """As one must whose server was killed."""
    limits = DocumentLimits(max_text_chars=10_000_000, timeout_seconds=0.1)
    request = msgspec.json.encode(ExtractionRequest("slow.xlsx", "", limits))
    command = [sys.executable, "-m", "app.files.extraction.worker", str(limits.memory_bytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        worker.stdin.write(framed(request) + framed(hostile.workbook(hostile.rows(60_000))) + END)
        worker.stdin.flush()
        assert worker.wait(120) == -signal.SIGXCPU  # a busy machine gives it little time


def test_a_worker_ends_with_its_server() -> None:
    command = [sys.executable, "-m", "app.files.extraction.worker", str(512 * 1024**2)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        worker.stdin.close()
        assert worker.wait(30) == 0


async def test_reading_that_takes_too_much_memory_is_refused() -> None:
    paragraphs = [f"<w:document {hostile.WORD}><w:body>".encode(), b"<w:p><w:r><w:t>x</w:t></w:r></w:p>" * 400_000]
    document = hostile.office("docx", [*paragraphs, b"</w:body></w:document>"], DOCX_PARTS)
    async with a_reader(memory_bytes=160 * 1024**2, max_ratio=10_000) as reader:
        with pytest.raises(DocumentRefused) as caught:
            await reader.read(document, "fat.docx")
        assert caught.value.reason is Reason.TOO_MUCH_MEMORY
        assert (await reader.read(b"next", "a.txt")).text == "next"


DOCX_PARTS = {"word/_rels/document.xml.rels": hostile.relationships({})}


async def test_a_worker_that_is_killed_refuses_its_document_only() -> None:
    async with a_reader(max_text_chars=10_000_000) as reader:
        reading = asyncio.create_task(reader.read(SHEET, "fatal.xlsx"))
        waiting = asyncio.create_task(reader.read(b"next", "a.txt"))
        (await until_busy()).kill()
        with pytest.raises(DocumentRefused, match="too much memory"):
            await reading
        assert (await waiting).text == "next"


async def test_leaving_ends_the_work() -> None:
    async with a_reader(max_text_chars=10_000_000) as reader:
        reading = asyncio.create_task(reader.read(SHEET, "unwanted.xlsx"))
        worker = await until_busy()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (await reader.read(b"next", "a.txt")).text == "next"
        assert worker.pid not in {other.pid for other in workers_of(os.getpid())}


async def test_closing_ends_the_work_and_tells_who_waits() -> None:
    async with a_reader(max_text_chars=10_000_000) as reader:
        reading = asyncio.create_task(reader.read(SHEET, "a.xlsx"))
        waiting = asyncio.create_task(reader.read(b"next", "a.txt"))
        await until_busy()
        await reader.close()
        for task in (reading, waiting):
            with pytest.raises(Unavailable):
                await task
        with pytest.raises(Unavailable):
            await reader.read(b"late", "a.txt")


async def test_a_source_that_fails_passes_its_error_on() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"some"
        raise OSError("the disk")

    async with a_reader() as reader:
        with pytest.raises(OSError, match="the disk"):
            await reader.read(failing(), "a.txt")
        assert (await reader.read(b"next", "a.txt")).text == "next"


async def test_no_more_workers_than_wanted_and_none_before_they_are_wanted() -> None:
    async with a_reader(workers=2) as reader:
        assert workers_of(os.getpid()) == []
        await asyncio.gather(*(reader.read(b"text", "a.txt") for _ in range(6)))
        assert 1 <= len(workers_of(os.getpid())) <= 2


async def test_workers_are_replaced_after_many_documents_and_end_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "JOBS_PER_WORKER", 2)
    async with a_reader() as reader:
        pids = []
        for _ in range(4):
            with_worker = asyncio.create_task(reader.read(b"text", "a.txt"))
            await with_worker
            pids += [worker.pid for worker in workers_of(os.getpid())]
        assert len(set(pids)) >= 2
        monkeypatch.setattr(pool, "IDLE_SECONDS", 0.0)
        await reader.read(b"text", "a.txt")
        async with asyncio.timeout(10):
            while workers_of(os.getpid()):
                await asyncio.sleep(0.01)
        assert (await reader.read(b"text", "a.txt")).text == "text"


async def test_too_many_that_wait_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_WAITING", 1)
    async with a_reader(max_text_chars=10_000_000) as reader:
        reading = asyncio.create_task(reader.read(SHEET, "a.xlsx"))
        await until_busy()
        waiting = asyncio.create_task(reader.read(b"text", "a.txt"))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await reader.read(b"text", "a.txt")
        reading.cancel()
        assert (await waiting).text == "text"


async def test_workers_see_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with a_reader() as reader:
        await reader.read(b"text", "a.txt")
        (worker,) = workers_of(os.getpid())
        assert "OPENAI_API_KEY" not in worker.environ()
