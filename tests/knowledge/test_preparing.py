"""Passages of long texts: made in a process, the same as in a thread, and no worse for its end."""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

import psutil
import pytest

from app.errors import Unavailable
from app.knowledge import preparing
from app.knowledge.preparing import PassageMaker

TEXT = "\n\n".join(f"# Part {number}\n\n" + f"ferns of kind {number} like the shade. " * 20 for number in range(300))


@pytest.fixture
async def maker() -> AsyncIterator[PassageMaker]:
    maker = PassageMaker(size=800, overlap=100, batch_size=50)
    yield maker
    await maker.close()
    assert workers() == []


def workers() -> list[psutil.Process]:
    alive = []
    for child in psutil.Process(os.getpid()).children():
        with suppress(psutil.NoSuchProcess):
            if "app.knowledge.worker" in child.cmdline():
                alive.append(child)
    return alive


async def test_a_process_makes_the_same_passages_as_a_thread(
    maker: PassageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process = [batch async for batch in maker.make("Ferns", TEXT)]
    assert len(workers()) == 1
    monkeypatch.setattr(preparing, "LONG_CHARS", len(TEXT))
    assert [batch async for batch in maker.make("Ferns", TEXT)] == in_process
    assert len(in_process[0]) == 50


async def test_a_process_that_is_killed_makes_the_text_unavailable_and_is_replaced(maker: PassageMaker) -> None:
    async with aclosing(maker.make("Ferns", TEXT * 10)) as batches:
        await anext(batches)
        workers()[0].kill()
        with pytest.raises(Unavailable):
            async for _ in batches:
                pass
    assert [batch async for batch in maker.make("Ferns", TEXT)]


async def test_a_text_that_is_given_up_ends_its_process(maker: PassageMaker) -> None:
    async with aclosing(maker.make("Ferns", TEXT * 10)) as batches:
        await anext(batches)
        (busy,) = workers()
    assert [batch async for batch in maker.make("Ferns", TEXT)]
    assert busy.pid not in {worker.pid for worker in workers()}
