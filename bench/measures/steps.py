"""Replies that use tools: what a step costs beside the model server and the tool."""

import asyncio
import sys

import aiohttp
import msgspec

from bench.load import Job
from bench.processes import ROOT, ServerProcess, generate
from bench.scenario import Bench, Figures, quantile
from bench.systems import CHAT, palaver, write_provider

STEPS = 5
WAIT_MS = 50
CONNECT_SECONDS = 30
RUNS = 64
SPREAD_SECONDS = 4.0
"""Over which the runs begin, so that half a core is enough for their steps."""
WAITING_TOOL = f'''
[[mcp_servers]]
name = "waiting"
command = "{sys.executable}"
args = ["-m", "bench.waiting_tool"]
cwd = "{ROOT}"
'''


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


async def tool_calls(bench: Bench) -> Figures:
    """64 chats with five calls of 50 ms each, of a process beside the server: their time over that of the calls."""
    figures = Figures()
    folder = bench.new_folder("tool-calls")
    folder.mkdir(parents=True)
    (folder / "configs").mkdir()
    (folder / "configs" / "default.toml").write_text('[tools]\nuse = ["waiting_*"]\n')
    runs = bench.scaled(RUNS, 4)
    async with palaver(folder, bench.model, tables=WAITING_TOOL, PALAVER_SERVER=bench.server) as server:
        await _until_tool_is_there(server)
        asked = 0
        for index in range(bench.rounds + 1):
            before, ratios = server.cpu_seconds(), []
            for seconds in (SPREAD_SECONDS, 0.0):
                job = CHAT.job(server, f"t8-s{STEPS}-w{WAIT_MS}", runs, runs, first=asked)
                load = await generate(msgspec.structs.replace(job, ramp=0.0 if bench.smoke else seconds))
                ratios.append(1000 * quantile(load.whole, 0.5) / (STEPS * WAIT_MS))
                asked += runs
            cpu = 1000 * (server.cpu_seconds() - before) / (2 * runs * STEPS)
            if index:  # the first is the warm-up
                figures.add(spread=ratios[0], burst=ratios[1], cpu=cpu)
    return figures


async def _until_tool_is_there(server: ServerProcess) -> None:
    url = f"http://{server.host}:{server.port}/api/v1/tools"
    async with asyncio.timeout(CONNECT_SECONDS), aiohttp.ClientSession(headers=CHAT.headers) as http:
        while b"waiting_wait" not in await (await http.get(url)).read():
            await asyncio.sleep(0.1)


async def _chats(server: ServerProcess, model: str, requests: int, first: int) -> tuple[float, float]:
    """The server's CPU per chat, and the median time of one, in milliseconds."""
    job: Job = CHAT.job(server, model, requests, 1, first=first)
    before = server.cpu_seconds()
    load = await generate(job)
    return 1000 * (server.cpu_seconds() - before) / requests, 1000 * quantile(load.whole, 0.5)
