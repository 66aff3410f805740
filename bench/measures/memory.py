"""Memory: of streams that are open and silent, and of a reader that does not read."""

import asyncio
import signal

import msgspec

from bench.measures.streams import Subject, hold, run
from bench.processes import ServerProcess, generating
from bench.scenario import Bench, Figures
from bench.systems import CHAT, palaver

SILENT = "t2-d3600000"
"""A token, and then an hour of silence."""


async def idle_streams(bench: Bench) -> Figures:
    """What each open stream keeps, beyond what the first ones brought with them."""
    figures = Figures()
    few, many = bench.scaled(64, 4), bench.scaled(500, 16)
    for _ in range(bench.rounds):
        folder = bench.new_folder("idle")
        async with palaver(folder, bench.model, program=bench.program, PALAVER_SERVER=bench.server) as server:
            subject = Subject(CHAT, server)
            # What fills with use, the database's caches above all, is full before it is measured.
            await run(subject, "t64", 2 * many, few)
            first = CHAT.job(server, SILENT, few, few, first=10_000)
            others = CHAT.job(server, SILENT, many, many, first=20_000)
            async with generating(hold(first)) as one:
                await one.announced()
                before = server.rss()
                async with generating(hold(others)) as more:
                    await more.announced()
                    await asyncio.sleep(1.5)  # past the next checkpoint
                    figures.add(stream=(server.rss() - before) / many / 1000, rss=server.rss() / 1e6)
    return figures


async def stopped_reader(bench: Bench) -> Figures:
    """A reader that gets SIGSTOP at its first token, and the 5,000 that follow."""
    figures = Figures()
    tokens = bench.scaled(5000, 300)
    model = f"t{tokens}-d1"
    async with palaver(bench.new_folder("stopped"), bench.model, PALAVER_SERVER=bench.server) as server:
        subject = Subject(CHAT, server)
        # What such a reply needs is there before it is measured: for several at once.
        await run(subject, model, 2, 2)
        for index in range(bench.rounds):
            alone = await run(subject, "t64", bench.scaled(100, 3), 1)
            job = CHAT.job(server, model, 1, 1, first=50_000 + index)
            narrow = msgspec.structs.replace(job, announce=True, receive_buffer=4096)
            before = server.rss()
            async with generating(narrow) as reader:
                await reader.announced()
                reader.process.send_signal(signal.SIGSTOP)
                try:
                    watching = _growth(server, before, seconds=tokens / 1000 + 1.0)
                    others = run(subject, "t64", bench.scaled(100, 3), 1)
                    growth, meanwhile = await asyncio.gather(watching, others)
                finally:
                    reader.process.send_signal(signal.SIGCONT)
                await reader.result()
            figures.add(growth=growth / 1e6, others=meanwhile.first_ms(0.5) / alone.first_ms(0.5))
    return figures


async def _growth(server: ServerProcess, before: int, *, seconds: float) -> int:
    """The most that the server's memory is above `before` in that time, in bytes."""
    most = before
    for _ in range(int(seconds / 0.1)):
        await asyncio.sleep(0.1)
        most = max(most, server.rss())
    return most - before
