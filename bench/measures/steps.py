"""Replies that use tools: what a step costs beside the model server and the tool."""

from bench.load import Job
from bench.processes import ServerProcess, generate
from bench.scenario import Bench, Figures, quantile
from bench.systems import CHAT, palaver, write_provider

STEPS = 5


async def steps(bench: Bench) -> Figures:
    """Chats of eight tokens, without calls and with five calls of the tool `now` before them, in turns."""
    figures = Figures()
    folder = bench.new_folder("steps")
    write_provider(folder, bench.model)
    (folder / "configs").mkdir()
    (folder / "configs" / "default.toml").write_text('[tools]\nuse = ["now"]\n')
    requests = bench.scaled(200, 4)
    async with palaver(folder, bench.model, PALAVER_SERVER=bench.server) as server:
        asked = 0
        for index in range(bench.rounds + 1):
            plain_cpu, plain_wall = await _chats(server, "t8", requests, asked)
            cpu, wall = await _chats(server, f"t8-s{STEPS}", requests, asked + requests)
            asked += 2 * requests
            if index:  # the first is the warm-up
                figures.add(step=(wall - plain_wall) / STEPS, cpu=(cpu - plain_cpu) / STEPS)
    return figures


async def _chats(server: ServerProcess, model: str, requests: int, first: int) -> tuple[float, float]:
    """The server's CPU per chat, and the median time of one, in milliseconds."""
    job: Job = CHAT.job(server, model, requests, 1, first=first)
    before = server.cpu_seconds()
    load = await generate(job)
    return 1000 * (server.cpu_seconds() - before) / requests, 1000 * quantile(load.whole, 0.5)
