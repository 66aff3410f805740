"""Plain requests: what a key check and all that is around it cost, and how soon a new server answers."""

import asyncio
import sys
from contextlib import suppress

from bench.load import Job
from bench.processes import ROOT, ServerProcess, free_port, generate, plain_environment, serving, until_answering
from bench.scenario import Bench, Figures
from bench.systems import API_KEY, get, palaver, palaver_command, palaver_environment

CONFIGS = "/api/v1/configs"


async def json_request(bench: Bench) -> Figures:
    """GET /api/v1/configs with a key, against the same answer from a bare Quart application on the same server."""
    figures = Figures()
    port = free_port()
    command = (sys.executable, "-m", "bench.baseline", str(port), bench.server)
    async with (
        palaver(bench.new_folder("requests"), bench.model, PALAVER_SERVER=bench.server) as server,
        serving(command, port, bench.folder / "baseline.log") as baseline,
    ):
        requests = bench.scaled(3000, 20)
        for warm in (server, baseline):
            await _ask(warm, bench.scaled(300, 8))
        for _ in range(bench.rounds):
            bare_cpu, bare_wall = await _ask(baseline, requests)
            cpu, wall = await _ask(server, requests)
            figures.add(ratio=cpu / bare_cpu, cpu=cpu, bare_cpu=bare_cpu, wall_ratio=wall / bare_wall)
    return figures


async def _ask(server: ServerProcess, requests: int) -> tuple[float, float]:
    """The server's CPU and the whole time, each in milliseconds per request."""
    texts = [get(CONFIGS, {"X-API-Key": API_KEY})] * requests
    before = server.cpu_seconds()
    load = await generate(Job(server.host, server.port, 8, texts, '"configs"', '"configs"'))
    cpu = server.cpu_seconds() - before
    return 1000 * cpu / requests, 1000 * load.seconds / requests


async def starting(bench: Bench) -> Figures:
    """From starting the process, on an empty data folder, to its first answer."""
    figures = Figures()
    for _ in range(bench.rounds + bench.scaled(2, 0)):
        folder = bench.new_folder("starting")
        folder.mkdir(parents=True)
        log_file = folder.with_name("data.log")
        port = free_port()
        with log_file.open("ab") as log:
            began = asyncio.get_running_loop().time()
            process = await asyncio.create_subprocess_exec(
                *palaver_command(folder, port),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**plain_environment(), **palaver_environment(PALAVER_SERVER=bench.server)},
            )
        try:
            await until_answering(process, port, log_file)
            figures.add(seconds=asyncio.get_running_loop().time() - began)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return figures
